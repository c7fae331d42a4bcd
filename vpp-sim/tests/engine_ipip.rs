//! IP in IP: outer headers as VPP's own tests expect them (`test/test_ipip.py`), both underlays, multipoint, fragments,
//! codes.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use engine_common::packets;
use engine_common::tunnels::mac;
use engine_common::world::{SECOND, World, addr, neighbor, prefix};
use vpp_sim::engine::*;

const DSCP_AF11: u8 = 10;
/// AF31, shifted over the two bits of ECN.
const AF31: u8 = 26 << 2;
const ECN: u8 = 3;

fn tunnel(src: &str, dst: &str) -> IpipTunnel {
    IpipTunnel {
        instance: NONE,
        src: addr(src),
        dst: addr(dst),
        table_id: 0,
        flags: 0,
        mode: 0,
        dscp: 0,
    }
}

/// A node with a pod, an uplink with static neighbours, and its indices.
fn node(world: &mut World, n: usize) -> u32 {
    world.gateway(n, &[&format!("10.1.{n}.1/24"), &format!("fd00:{n}::1/64")]);
    let vpp = &mut world.nodes[n];
    let up = vpp.create_af_packet("uplink", Some(mac(n)), None).unwrap();
    vpp.set_admin(up, true).unwrap();
    vpp.add_address(up, prefix(&format!("192.0.2.{}/24", n + 1)))
        .unwrap();
    vpp.add_address(up, prefix(&format!("fd00:ff::{}/64", n + 1)))
        .unwrap();
    for other in 0..5 {
        for peer in [
            format!("192.0.2.{}", other + 1),
            format!("fd00:ff::{}", other + 1),
        ] {
            if other != n {
                vpp.neighbor_add(neighbor(up, addr(&peer), mac(other))).unwrap();
            }
        }
    }
    world.pod(
        n,
        &format!("pod{n}"),
        &[&format!("10.1.{n}.2"), &format!("fd00:{n}::2")],
    );
    up
}

fn use_tunnel(vpp: &mut Vpp, tunnel: &IpipTunnel, up: u32, routes: &[&str]) -> u32 {
    let index = vpp.ipip_add(tunnel).unwrap();
    vpp.set_admin(index, true).unwrap();
    vpp.set_unnumbered(up, index, true).unwrap();
    for route in routes {
        let to = prefix(route);
        let path = RoutePath::attached(index, to.family());
        vpp.ip_route_add_del(&RouteUpdate::add(0, to, vec![path]))
            .unwrap();
    }
    index
}

/// What leaves a node's uplink because of a packet from its pod.
fn sent(world: &mut World, packet: &[u8]) -> Vec<Vec<u8>> {
    let (_, pod) = world.find_pod("pod0");
    let vpp = &mut world.nodes[0];
    let gateway = vpp.interface(pod).unwrap().mac;
    let outputs = vpp.rx(
        pod,
        &packets::frame(gateway, Mac([10, 0, 0, 0, 0, 9]), packet),
        SECOND,
    );
    outputs.into_iter().map(|out| out.frame[14..].to_vec()).collect()
}

fn inner4(class: u8, dont_fragment: bool, size: usize) -> Vec<u8> {
    let mut data = packets::udp(
        addr("10.1.0.2"),
        addr("130.67.0.1"),
        (1234, 1234),
        &vec![b'X'; size],
    );
    data[1] = class;
    data[6] = if dont_fragment { 0x40 } else { 0 };
    data[10..12].copy_from_slice(&[0, 0]);
    let sum: u32 = data[..20]
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    data[10..12].copy_from_slice(&sum.to_be_bytes());
    data
}

fn inner6(class: u8, label: [u8; 3], size: usize) -> Vec<u8> {
    let mut data = packets::udp(
        addr("fd00:0::2"),
        addr("dead::1"),
        (1234, 1234),
        &vec![b'X'; size],
    );
    data[0] = 0x60 | (class >> 4);
    data[1] = (class << 4) | label[0];
    data[2..4].copy_from_slice(&label[1..]);
    data
}

/// Type of service, DF and TTL of an IPv4 header.
fn outer4(data: &[u8]) -> (u8, bool, u8) {
    packets::read(data);
    (data[1], data[6] & 0x40 != 0, data[8])
}

#[test]
fn tunnels_join_two_nodes_over_either_underlay() {
    for ends in [["192.0.2.1", "192.0.2.2"], ["fd00:ff::1", "fd00:ff::2"]] {
        let mut world = World::new(2);
        let ups = [node(&mut world, 0), node(&mut world, 1)];
        world.wire((0, ups[0]), (1, ups[1]));
        let mut tunnels = Vec::new();
        for n in 0..2 {
            let other = 1 - n;
            let routes = [format!("10.1.{other}.0/24"), format!("fd00:{other}::/64")];
            let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
            let tunnel = tunnel(ends[n], ends[other]);
            tunnels.push(use_tunnel(&mut world.nodes[n], &tunnel, ups[n], &routes));
        }
        world.pods_talk(ends[0]);
        let here = world.nodes[0].interface(tunnels[0]).unwrap().counters;
        let there = world.nodes[1].interface(tunnels[1]).unwrap().counters;
        assert_eq!(
            (here.tx_packets, here.tx_bytes),
            (there.rx_packets, there.rx_bytes)
        );
        assert!(here.rx_packets >= 6 && here.rx_packets == there.tx_packets);
    }
}

/// The four tunnels of `test_ipip4`: flags, fixed DSCP, and the type of service, DF and such expected for inner classes.
#[test]
fn an_ip4_header_copies_what_the_flags_say() {
    use tunnel_flag::{DECAP_COPY_ECN, ENCAP_COPY_DF, ENCAP_COPY_DSCP, ENCAP_COPY_ECN, ENCAP_SET_DF};
    let classes = [AF31, AF31 | ECN, ECN, 0xff];
    let fixed = DSCP_AF11 << 2;
    let cases = [
        (ENCAP_COPY_DSCP, 0, [AF31, AF31, 0, 0xfc], [false; 4]),
        (
            ENCAP_COPY_DSCP | ENCAP_COPY_ECN,
            0,
            [AF31, AF31 | ECN, ECN, 0xff],
            [false; 4],
        ),
        (
            ENCAP_COPY_ECN | ENCAP_SET_DF | DECAP_COPY_ECN,
            0,
            [0, ECN, ECN, ECN],
            [true; 4],
        ),
        (ENCAP_COPY_DF, DSCP_AF11, [fixed; 4], [true, false, false, false]),
    ];
    for (flags, dscp, expected, expected_df) in cases {
        let mut world = World::new(1);
        let up = node(&mut world, 0);
        let tunnel = IpipTunnel {
            flags,
            dscp,
            ..tunnel("192.0.2.1", "192.0.2.2")
        };
        use_tunnel(&mut world.nodes[0], &tunnel, up, &["130.67.0.0/24", "dead::/64"]);
        for (at, class) in classes.into_iter().enumerate() {
            // The first packet has DF, as in the test.
            let four = sent(&mut world, &inner4(class, at == 0, 100)).remove(0);
            assert_eq!(
                outer4(&four),
                (expected[at], expected_df[at], 63),
                "{flags} {class}"
            );
            assert_eq!((four[9], four[28]), (4, 63), "one of the inner TTL");
            let six = sent(&mut world, &inner6(class, [0; 3], 100)).remove(0);
            let df = flags & ENCAP_SET_DF != 0;
            assert_eq!(outer4(&six), (expected[at], df, 63), "{flags} {class}");
            assert_eq!((six[9], six[27]), (41, 63));
        }
    }
}

#[test]
fn an_ip6_header_keeps_its_hop_limit_and_copies_what_the_flags_say() {
    use tunnel_flag::{ENCAP_COPY_DSCP, ENCAP_COPY_ECN, ENCAP_COPY_FLOW_LABEL, ENCAP_COPY_HOP_LIMIT};
    let label = [0x0a, 0xbc, 0xde];
    for (flags, hop_limit, head) in [
        (0, 64, [0x60, 0, 0, 0]),
        (ENCAP_COPY_DSCP, 64, [0x66, 0x80, 0, 0]),
        (ENCAP_COPY_DSCP | ENCAP_COPY_ECN, 64, [0x66, 0xb0, 0, 0]),
        (ENCAP_COPY_HOP_LIMIT, 63, [0x60, 0, 0, 0]),
        (ENCAP_COPY_FLOW_LABEL, 64, [0x60, 0x0a, 0xbc, 0xde]),
    ] {
        let mut world = World::new(1);
        let up = node(&mut world, 0);
        let tunnel = IpipTunnel {
            flags,
            ..tunnel("fd00:ff::1", "fd00:ff::2")
        };
        use_tunnel(&mut world.nodes[0], &tunnel, up, &["dead::/64"]);
        let out = sent(&mut world, &inner6(AF31 | ECN, label, 100)).remove(0);
        assert_eq!((&out[..4], out[6], out[7]), (&head[..], 41, hop_limit), "{flags}");
    }
}

#[test]
fn congestion_marks_come_out_where_the_tunnel_says_so() {
    for (flags, expected) in [(0, 0), (tunnel_flag::DECAP_COPY_ECN, ECN)] {
        let mut world = World::new(1);
        let up = node(&mut world, 0);
        let tunnel = IpipTunnel {
            flags,
            ..tunnel("192.0.2.1", "192.0.2.2")
        };
        use_tunnel(&mut world.nodes[0], &tunnel, up, &[]);
        for inner in [
            packets::udp(addr("10.9.9.9"), addr("10.1.0.2"), (1, 2), b"x"),
            packets::udp(addr("fd09::9"), addr("fd00:0::2"), (1, 2), b"x"),
        ] {
            let proto = if inner[0] >> 4 == 4 { 4 } else { 41 };
            let mut outer = packets::ip(addr("192.0.2.2"), addr("192.0.2.1"), proto, 64, inner, None);
            outer[1] = ECN;
            // The sum over the header with the mark in it.
            let sum = u16::from_be_bytes([outer[10], outer[11]]).wrapping_sub(u16::from(ECN));
            outer[10..12].copy_from_slice(&sum.to_be_bytes());
            let out = world.nodes[0].rx(up, &packets::frame(mac(0), mac(1), &outer), SECOND);
            let inner = &out[0].frame[14..];
            packets::read(inner);
            let class = if proto == 4 { inner[1] } else { inner[1] >> 4 };
            assert_eq!(class & ECN, expected);
        }
    }
}

/// `test_frag`: 1300 bytes of payload over 1280 leave in two pieces, each with one less of the hop limit.
#[test]
fn an_outer_ip6_packet_is_fragmented_at_its_source() {
    let mut world = World::new(1);
    let up = node(&mut world, 0);
    use_tunnel(
        &mut world.nodes[0],
        &tunnel("fd00:ff::1", "fd00:ff::2"),
        up,
        &["dead::/64"],
    );
    world.nodes[0].set_mtu(up, [1280, 0, 0, 0]).unwrap();
    let inner = inner6(0, [0; 3], 1300);
    let out = sent(&mut world, &inner);
    assert_eq!(out.len(), 2);
    let mut whole: Vec<u8> = Vec::new();
    for (n, packet) in out.iter().enumerate() {
        assert!(packet.len() <= 1280);
        assert_eq!((packet[6], packet[7], packet[40]), (44, 63, 41));
        let offset = u16::from_be_bytes([packet[42], packet[43]]);
        assert_eq!(usize::from(offset & !7), whole.len());
        assert_eq!(offset & 1 == 1, n == 0, "more follow");
        assert_eq!(packet[44..48], out[0][44..48]);
        whole.extend(&packet[48..]);
    }
    let mut expected = inner;
    expected[7] -= 1;
    assert_eq!(whole, expected);
}

#[test]
fn the_tunnels_mtu_fragments_or_refuses_the_inner_packet() {
    let mut world = World::new(1);
    let up = node(&mut world, 0);
    let routes = ["130.67.0.0/24", "dead::/64"];
    let index = use_tunnel(
        &mut world.nodes[0],
        &tunnel("192.0.2.1", "192.0.2.2"),
        up,
        &routes,
    );
    world.nodes[0].set_mtu(index, [600, 0, 0, 0]).unwrap();
    let out = sent(&mut world, &inner4(0, false, 1000));
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|packet| packet.len() <= 620 && packet[9] == 4));
    // With DF: type 3 code 4 with the MTU; IPv6: type 2.
    let refused = sent(&mut world, &inner4(0, true, 1000)).remove(0);
    let refused = packets::read(&refused);
    assert_eq!(
        (refused.proto, refused.ports, &refused.l4[6..8]),
        (1, (3, 4), &[2, 88][..])
    );
    let refused = sent(&mut world, &inner6(0, [0; 3], 1000)).remove(0);
    let refused = packets::read(&refused);
    assert_eq!(
        (refused.proto, refused.ports, &refused.l4[6..8]),
        (58, (2, 0), &[2, 88][..])
    );
}

#[test]
fn a_multipoint_tunnel_finds_its_peers_in_the_teib() {
    let mut world = World::new(1);
    let up = node(&mut world, 0);
    let vpp = &mut world.nodes[0];
    let index = use_tunnel(
        vpp,
        &IpipTunnel {
            mode: 1,
            ..tunnel("192.0.2.1", "0.0.0.0")
        },
        up,
        &[],
    );
    let entry = TeibEntry {
        sw_if_index: index,
        peer: addr("10.200.0.2"),
        next_hop: addr("192.0.2.2"),
        next_hop_table: 0,
    };
    vpp.teib_add(&entry).unwrap();
    let code = |r: OpResult| match r {
        Err(OpError::Retval(code)) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(vpp.teib_add(&entry)), -116);
    assert_eq!(code(vpp.teib_del(index, addr("10.200.0.9"))), -6);
    let other = TeibEntry {
        next_hop_table: 9,
        peer: addr("10.200.0.3"),
        ..entry
    };
    assert_eq!(code(vpp.teib_add(&other)), -3);
    let nowhere = TeibEntry {
        sw_if_index: 99,
        ..entry
    };
    assert_eq!(code(vpp.teib_add(&nowhere)), -2);
    assert_eq!(vpp.teib(), [entry]);
    for (to, via) in [("130.67.0.0/24", "10.200.0.2"), ("130.68.0.0/24", "10.200.0.3")] {
        let path = RoutePath::via(index, addr(via));
        vpp.ip_route_add_del(&RouteUpdate::add(0, prefix(to), vec![path]))
            .unwrap();
    }
    let out = sent(&mut world, &inner4(0, false, 10)).remove(0);
    assert_eq!(packets::read(&out).dst, addr("192.0.2.2"));
    // No entry, nothing sent; and what comes from the peer is taken.
    let mut unknown = inner4(0, false, 10);
    unknown[16..20].copy_from_slice(&[130, 68, 0, 1]);
    unknown[10..12].copy_from_slice(&[0, 0]);
    assert_eq!(sent(&mut world, &unknown), Vec::<Vec<u8>>::new());
    let inner = packets::udp(addr("10.9.9.9"), addr("10.1.0.2"), (1, 2), b"x");
    for (from, taken) in [("192.0.2.2", true), ("192.0.2.3", false)] {
        let outer = packets::ip(addr(from), addr("192.0.2.1"), 4, 64, inner.clone(), None);
        let out = world.nodes[0].rx(up, &packets::frame(mac(0), mac(1), &outer), SECOND);
        assert_eq!(!out.is_empty(), taken, "{from}");
    }
    let errors: Vec<_> = world.nodes[0]
        .errors()
        .filter(|(node, ..)| *node == "ipip4-input")
        .collect();
    assert_eq!(
        errors,
        [
            ("ipip4-input", "no tunnel", 1),
            ("ipip4-input", "packets decapsulated", 1)
        ]
    );
    world.nodes[0].teib_del(index, entry.peer).unwrap();
    assert_eq!(sent(&mut world, &inner4(0, false, 10)), Vec::<Vec<u8>>::new());
}

#[test]
fn tunnels_answer_with_vpps_codes() {
    let mut vpp = Vpp::default();
    let good = tunnel("192.0.2.1", "192.0.2.2");
    let code = |r: OpResult<u32>| match r {
        Err(OpError::Retval(code)) => code,
        other => panic!("{other:?}"),
    };
    for (wrong, expected) in [
        (tunnel("192.0.2.1", "fd00::1"), -153),
        (tunnel("192.0.2.1", "192.0.2.1"), -82),
        (IpipTunnel { mode: 2, ..good }, -8),
        (IpipTunnel { table_id: 9, ..good }, -3),
        (IpipTunnel { mode: 1, ..good }, -58),
    ] {
        assert_eq!(code(vpp.ipip_add(&wrong)), expected);
    }
    assert!(matches!(vpp.ipip_del(1), Err(OpError::Retval(-6))));
    let index = vpp.ipip_add(&good).unwrap();
    let interface = vpp.interface(index).unwrap();
    assert_eq!((interface.name.as_str(), interface.admin_up), ("ipip0", false));
    assert_eq!(code(vpp.ipip_add(&good)), -79);
    assert_eq!(vpp.ipip_find(&good), Some(index));
    let second = IpipTunnel {
        instance: 0,
        ..tunnel("192.0.2.1", "192.0.2.3")
    };
    assert_eq!(code(vpp.ipip_add(&second)), -147);
    assert_eq!(vpp.ipip_tunnels()[0].tunnel.instance, 0);
    vpp.ipip_del(index).unwrap();
    assert_eq!(vpp.ipip_tunnels(), []);
    vpp.ipip_add(&good).unwrap();
}
