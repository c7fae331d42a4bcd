//! VXLAN tunnels: two nodes, both underlays, codes, MTU.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use engine_common::packets::{self, TCP, UDP};
use engine_common::world::{SECOND, World, addr, prefix};
use vpp_sim::engine::*;

fn uplink(world: &mut World, node: usize, prefixes: &[&str]) -> u32 {
    let vpp = &mut world.nodes[node];
    let index = vpp.create_af_packet("uplink", None, Some(1500)).unwrap();
    vpp.set_admin(index, true).unwrap();
    for p in prefixes {
        vpp.add_address(index, prefix(p)).unwrap();
    }
    index
}

fn tunnel(src: &str, dst: &str, vni: u32, decap: u32) -> VxlanTunnel {
    VxlanTunnel {
        instance: NONE,
        src: addr(src),
        dst: addr(dst),
        src_port: 0,
        dst_port: 0,
        mcast_sw_if_index: NONE,
        encap_table_id: 0,
        decap_next_index: decap,
        vni,
        is_l3: true,
    }
}

/// Two nodes, one tunnel for each family, over an underlay of the given addresses.
fn two_nodes(ends: [&str; 2]) -> World {
    let mut world = World::new(2);
    let family = Family::of(addr(ends[0]));
    let length = if family == Family::V4 { 24 } else { 64 };
    let ups: Vec<u32> = (0..2)
        .map(|n| {
            world.gateway(
                n,
                &[&format!("10.1.{}.1/24", n + 1), &format!("fd00:{}::1/64", n + 1)],
            );
            uplink(&mut world, n, &[&format!("{}/{length}", ends[n])])
        })
        .collect();
    world.wire((0, ups[0]), (1, ups[1]));
    for n in 0..2 {
        let (own, peer, other) = (ends[n], ends[1 - n], 2 - n);
        let vpp = &mut world.nodes[n];
        let input = if family == Family::V4 {
            "vxlan4-input"
        } else {
            "vxlan6-input"
        };
        let to4 = vpp.add_node_next(input, "ip4-input").unwrap();
        let to6 = vpp.add_node_next(input, "ip6-input").unwrap();
        for (vni, decap, p) in [
            (10, to4, format!("10.1.{other}.0/24")),
            (11, to6, format!("fd00:{other}::/64")),
        ] {
            let index = vpp.vxlan_add(&tunnel(own, peer, vni, decap)).unwrap();
            vpp.set_unnumbered(ups[n], index, true).unwrap();
            let p = prefix(&p);
            let nh = if p.family() == family {
                addr(peer)
            } else {
                p.family().unspecified()
            };
            vpp.ip_route_add_del(&RouteUpdate::add(0, p, vec![RoutePath::via(index, nh)]))
                .unwrap();
        }
    }
    for n in 0..2 {
        let outputs = world.nodes[n].tick(world.now);
        world.carry(n, outputs);
    }
    world.pod(0, "w1", &["10.1.1.2", "fd00:1::2"]);
    world.pod(1, "x1", &["10.1.2.2", "fd00:2::2"]);
    world
}

#[test]
fn vxlan_joins_two_nodes_over_either_underlay() {
    for ends in [["192.168.16.1", "192.168.16.2"], ["fd00:16::1", "fd00:16::2"]] {
        let mut world = two_nodes(ends);
        assert_eq!(world.ping("w1", "10.1.2.2", 2), (2, Some(62)), "{ends:?}");
        assert_eq!(world.ping("w1", "fd00:2::2", 2), (2, Some(62)), "{ends:?}");
        assert_eq!(world.ask("x1", addr("10.1.1.2"), 80, TCP).unwrap(), "w1 10.1.2.2");
        assert_eq!(
            world.ask("x1", addr("fd00:1::2"), 80, UDP).unwrap(),
            "w1 fd00:2::2"
        );
    }
}

#[test]
fn a_packet_too_long_for_the_underlay_vanishes_silently() {
    let mut world = two_nodes(["192.168.16.1", "192.168.16.2"]);
    // 20 + 8 + 8 of tunnel: 1464 bytes of inner packet fit 1500.
    assert_eq!(world.ping_sized("w1", "10.1.2.2", 1, 1464 - 28).0, 1);
    assert_eq!(world.ping_sized("w1", "10.1.2.2", 1, 1465 - 28).0, 0);
    let lost = world.nodes[0]
        .interface_by_name("host-uplink")
        .unwrap()
        .counters
        .tx_errors;
    assert_eq!(lost, 1);
}

#[test]
fn the_outer_header_is_as_vxlan_wants_it() {
    let mut world = two_nodes(["192.168.16.1", "192.168.16.2"]);
    let vpp = &mut world.nodes[0];
    let gateway = vpp.interface_by_name("host-v-w1").unwrap();
    let (index, mac) = (gateway.sw_if_index, gateway.mac);
    let mut ports = std::collections::BTreeSet::new();
    for port in 0..16 {
        let inner = packets::udp(addr("10.1.1.2"), addr("10.1.2.2"), (5000 + port, 53), b"x");
        let out = vpp.rx(
            index,
            &packets::frame(mac, Mac([10, 0, 0, 0, 0, 1]), &inner),
            SECOND,
        );
        let outer = packets::read(packets::ip_of(&out[0].frame).unwrap());
        assert_eq!(
            (outer.src, outer.dst, outer.ports.1),
            (addr("192.168.16.1"), addr("192.168.16.2"), 4789)
        );
        // VPP writes 254 and the underlay's rewrite takes one.
        assert_eq!(outer.ttl, 253);
        assert_eq!(&outer.l4[8..16], &[8, 0, 0, 0, 0, 0, 10, 0]);
        assert_eq!(
            &outer.l4[16..18],
            &[0x45, 0],
            "the payload is the IP packet itself"
        );
        ports.insert(outer.ports.0);
    }
    assert!(ports.len() > 8, "flows are spread by the source port: {ports:?}");
}

#[test]
fn tunnels_answer_with_vpps_codes() {
    let mut vpp = Vpp::default();
    let good = tunnel("192.0.2.1", "192.0.2.2", 1, NONE);
    let code = |r: OpResult<u32>| match r {
        Err(OpError::Retval(code)) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        code(vpp.vxlan_add(&VxlanTunnel {
            encap_table_id: 9,
            ..good
        })),
        -3
    );
    assert_eq!(
        code(vpp.vxlan_add(&VxlanTunnel {
            dst: addr("fd00::1"),
            ..good
        })),
        -7
    );
    assert_eq!(
        code(vpp.vxlan_add(&VxlanTunnel {
            dst: good.src,
            ..good
        })),
        -82
    );
    assert_eq!(
        code(vpp.vxlan_add(&VxlanTunnel {
            decap_next_index: 7,
            ..good
        })),
        -76
    );
    assert_eq!(code(vpp.vxlan_del(&good)), -6);
    let index = vpp.vxlan_add(&good).unwrap();
    assert_eq!(vpp.interface(index).unwrap().name, "vxlan_tunnel0");
    assert_eq!(vpp.vxlan_tunnels()[0].tunnel.decap_next_index, 1);
    assert_eq!(code(vpp.vxlan_add(&good)), -75);
    assert_eq!(
        code(vpp.vxlan_add(&VxlanTunnel {
            vni: 2,
            instance: 0,
            ..good
        })),
        -147
    );
    assert_eq!(vpp.vxlan_del(&good).unwrap(), index);
    assert!(vpp.vxlan_tunnels().is_empty());
}
