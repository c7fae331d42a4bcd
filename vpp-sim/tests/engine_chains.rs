//! Steering: ABF, l2 and l3 cross-connects. The traps are those seen on real VPP 26.06.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use engine_common::packets::{self, TCP};
use engine_common::world::{Plug, SECOND, World, addr, neighbor, prefix};
use vpp_sim::engine::*;

const C1: u32 = 2;
const S1: u32 = 3;
const IN: u32 = 5;
const OUT: u32 = 6;

/// Client, server, another pod, and a routed function whose next hops are link-local.
fn chain() -> World {
    let mut world = World::new(1);
    world.gateway(0, &["10.1.1.1/24", "fd00:1::1/64"]);
    world.pod(0, "c1", &["10.1.1.2", "fd00:1::2"]);
    world.pod(0, "s1", &["10.1.1.3", "fd00:1::3"]);
    world.pod(0, "o1", &["10.1.1.4", "fd00:1::4"]);
    let vpp = &mut world.nodes[0];
    for (name, nh, last) in [("fin", "169.254.7.1", 1), ("fout", "169.254.7.2", 2)] {
        let index = vpp.create_af_packet(name, None, None).unwrap();
        vpp.set_admin(index, true).unwrap();
        vpp.set_unnumbered(1, index, true).unwrap();
        vpp.neighbor_add(neighbor(index, addr(nh), Mac([2, 7, 7, 7, 7, last])))
            .unwrap();
    }
    let gateway = |vpp: &Vpp, index| vpp.interface(index).unwrap().mac;
    let (g_in, g_out) = (gateway(vpp, IN), gateway(vpp, OUT));
    let side = |out, last, gateway| Plug::Function {
        out,
        mac: Mac([2, 7, 7, 7, 7, last]),
        gateway,
    };
    world.plugs.insert((0, IN), side(OUT, 1, g_out));
    world.plugs.insert((0, OUT), side(IN, 2, g_in));
    let vpp = &mut world.nodes[0];
    for (id, entry, from, to, tx, nh) in [
        (1, C1, "10.1.1.2/32", "10.1.1.3/32", IN, "169.254.7.1"),
        (2, S1, "10.1.1.3/32", "10.1.1.2/32", OUT, "169.254.7.2"),
    ] {
        let rule = AclRule::any_proto(AclAction::Permit, prefix(from), prefix(to));
        let acl = vpp.acl_add_replace(None, "chain", vec![rule]).unwrap();
        vpp.abf_policy_add_del(true, id, acl, &[RoutePath::via(tx, addr(nh))])
            .unwrap();
        vpp.abf_attach(AbfAttachment {
            policy_id: id,
            sw_if_index: entry,
            priority: 10,
            family: Family::V4,
        })
        .unwrap();
    }
    world
}

#[test]
fn abf_leads_through_the_function_both_ways_and_ttl_shows_it() {
    let mut world = chain();
    assert_eq!(world.ping("c1", "10.1.1.3", 3), (3, Some(61)));
    assert_eq!(world.ask("c1", addr("10.1.1.3"), 80, TCP).unwrap(), "s1 10.1.1.2");
    assert!(world.function_packets[&(0, IN)] > 3);
    assert!(world.function_packets[&(0, OUT)] > 3);
}

#[test]
fn other_traffic_is_untouched() {
    let mut world = chain();
    assert_eq!(world.ping("o1", "10.1.1.3", 1), (1, Some(63)));
    assert_eq!(world.ping("c1", "10.1.1.4", 1), (1, Some(63)));
    assert_eq!(world.ping("c1", "fd00:1::3", 1), (1, Some(63)));
    assert!(world.function_packets.is_empty());
}

#[test]
fn with_the_functions_interface_down_packets_are_dropped_not_bypassed() {
    let mut world = chain();
    world.nodes[0].set_admin(IN, false).unwrap();
    assert_eq!(world.ping("c1", "10.1.1.3", 1).0, 0);
    world.nodes[0].set_admin(IN, true).unwrap();
    assert_eq!(world.ping("c1", "10.1.1.3", 1), (1, Some(61)));
}

#[test]
fn a_deny_rule_that_matches_first_exempts_from_the_detour() {
    let mut world = chain();
    let web = AclRule {
        proto: TCP,
        dst_ports: (80, 80),
        ..AclRule::any_proto(AclAction::Deny, prefix("10.1.1.2/32"), prefix("10.1.1.3/32"))
    };
    let vpp = &mut world.nodes[0];
    let acl = vpp.acl_add_replace(None, "not web", vec![web]).unwrap();
    vpp.abf_policy_add_del(true, 9, acl, &[RoutePath::via(IN, addr("169.254.7.1"))])
        .unwrap();
    vpp.abf_attach(AbfAttachment {
        policy_id: 9,
        sw_if_index: C1,
        priority: 1,
        family: Family::V4,
    })
    .unwrap();
    assert!(world.ask("c1", addr("10.1.1.3"), 80, TCP).is_ok());
    assert_eq!(world.function_packets.get(&(0, IN)), None);
    assert_eq!(world.ping("c1", "10.1.1.3", 1), (1, Some(61)));
}

#[test]
fn codes_and_the_attach_that_kills_vpp() {
    let mut world = chain();
    let vpp = &mut world.nodes[0];
    let attach = |policy_id| AbfAttachment {
        policy_id,
        sw_if_index: C1,
        priority: 1,
        family: Family::V4,
    };
    assert!(matches!(vpp.abf_attach(attach(77)), Err(OpError::Fatal(_))));
    assert_eq!(vpp.abf_attach(attach(1)), Err(OpError::Retval(-116)));
    assert_eq!(vpp.abf_detach(77, C1), Err(OpError::Retval(-6)));
    let path = [RoutePath::via(IN, addr("169.254.7.1"))];
    assert_eq!(
        vpp.abf_policy_add_del(true, 1, 1, &path),
        Err(OpError::Retval(-7)),
        "another ACL"
    );
    assert_eq!(vpp.abf_policy_add_del(true, 3, 0, &[]), Err(OpError::Retval(-7)));
    assert_eq!(
        vpp.abf_policy_add_del(false, 77, 0, &path),
        Err(OpError::Retval(-7))
    );
    assert_eq!(vpp.acl_del(0), Err(OpError::Retval(-149)));
}

#[test]
fn deleting_an_attached_policy_answers_0_and_forwarding_stays_until_it_is_detached() {
    let mut world = chain();
    let path = [RoutePath::via(IN, addr("169.254.7.1"))];
    assert_eq!(world.nodes[0].abf_policy_add_del(false, 1, 0, &path), Ok(()));
    assert_eq!(world.ping("c1", "10.1.1.3", 1), (1, Some(61)));
    world.nodes[0].abf_detach(1, C1).unwrap();
    // Only the way back is still steered.
    let before = world.function_packets.clone();
    assert_eq!(world.ping("c1", "10.1.1.3", 1), (1, Some(61)));
    assert_eq!(world.function_packets[&(0, IN)], before[&(0, IN)]);
    assert_eq!(world.function_packets[&(0, OUT)], before[&(0, OUT)] + 1);
    assert_eq!(world.nodes[0].abf_policies().len(), 1);
}

#[test]
fn an_attachment_outlives_its_interface_as_a_record() {
    let mut world = chain();
    let vpp = &mut world.nodes[0];
    vpp.delete_af_packet("v-c1").unwrap();
    assert_eq!(vpp.abf_attachments().len(), 2);
    let again = vpp.create_af_packet("v-new", None, None).unwrap();
    assert_eq!(again, C1);
    let same = AbfAttachment {
        policy_id: 1,
        sw_if_index: C1,
        priority: 1,
        family: Family::V4,
    };
    assert_eq!(vpp.abf_attach(same), Err(OpError::Retval(-116)));
}

#[test]
fn l2_xconnect_is_one_way_and_undoing_one_side_leaves_it_in_l3_mode() {
    let mut world = chain();
    if let Some(Plug::Pod { addresses, .. }) = world.plugs.get_mut(&(0, C1)) {
        addresses.insert(0, addr("10.99.0.1"));
    }
    if let Some(Plug::Pod { addresses, .. }) = world.plugs.get_mut(&(0, S1)) {
        addresses.insert(0, addr("10.99.0.2"));
    }
    world.nodes[0].set_l2_xconnect(C1, S1, true).unwrap();
    assert_eq!(world.ping("c1", "10.99.0.2", 1).0, 0, "the way back is missing");
    world.nodes[0].set_l2_xconnect(S1, C1, true).unwrap();
    assert_eq!(world.ping("c1", "10.99.0.2", 1), (1, Some(64)));
    // L3 features stop.
    assert_eq!(world.ping("c1", "10.1.1.4", 1).0, 0);
    world.nodes[0].set_l2_xconnect(C1, S1, false).unwrap();
    assert_eq!(world.nodes[0].l2_xconnects(), [(S1, C1)]);
    assert_eq!(world.ping("c1", "10.1.1.4", 1).0, 1);
    assert_eq!(
        world.nodes[0].set_l2_xconnect(99, C1, true),
        Err(OpError::Retval(-2))
    );
    assert_eq!(
        world.nodes[0].set_l2_xconnect(C1, 99, true),
        Err(OpError::Retval(-10))
    );
    world.nodes[0].delete_af_packet("v-c1").unwrap();
    assert!(world.nodes[0].l2_xconnects().is_empty());
}

#[test]
fn l3xc_sends_all_of_a_family_to_its_paths() {
    let mut world = chain();
    let vpp = &mut world.nodes[0];
    let path = RoutePath::via(IN, addr("169.254.7.1"));
    vpp.l3xc_update(4, Family::V4, vec![path.clone()]).unwrap();
    let mac = vpp.interface(4).unwrap().mac;
    let packet = packets::udp(addr("10.1.1.4"), addr("10.1.1.2"), (1, 2), b"");
    let trace = vpp.walk(4, &packets::frame(mac, Mac([10, 0, 0, 0, 0, 9]), &packet), SECOND);
    assert!(
        trace.passed("l3xc-input-ip4") && !trace.passed("ip4-lookup"),
        "{trace}"
    );
    assert_eq!(trace.fate, Fate::Transmitted { sw_if_index: IN });
    assert_eq!(vpp.l3xc_update(4, Family::V4, vec![]), Err(OpError::Retval(-7)));
    assert_eq!(vpp.l3xcs().len(), 1);
    vpp.l3xc_del(4, Family::V4).unwrap();
    assert_eq!(vpp.l3xc_del(4, Family::V4), Err(OpError::Retval(-7)));
}

#[test]
fn an_l2_tunnel_carries_frames_between_cross_connected_interfaces() {
    let mut world = World::new(2);
    let mut ends = Vec::new();
    for n in 0..2 {
        let vpp = &mut world.nodes[n];
        let up = vpp.create_af_packet("uplink", None, None).unwrap();
        vpp.set_admin(up, true).unwrap();
        vpp.add_address(up, prefix(&format!("192.168.16.{}/24", n + 1)))
            .unwrap();
        let tunnel = vpp
            .vxlan_add(&VxlanTunnel {
                instance: NONE,
                src: addr(&format!("192.168.16.{}", n + 1)),
                dst: addr(&format!("192.168.16.{}", 2 - n)),
                src_port: 0,
                dst_port: 0,
                mcast_sw_if_index: NONE,
                encap_table_id: 0,
                decap_next_index: NONE,
                vni: 5,
                is_l3: false,
            })
            .unwrap();
        let side = vpp.create_af_packet("side", None, None).unwrap();
        vpp.set_admin(side, true).unwrap();
        vpp.set_l2_xconnect(side, tunnel, true).unwrap();
        vpp.set_l2_xconnect(tunnel, side, true).unwrap();
        ends.push((up, side));
    }
    world.wire((0, ends[0].0), (1, ends[1].0));
    for n in 0..2 {
        let outputs = world.nodes[n].tick(SECOND);
        world.carry(n, outputs);
    }
    let frame = packets::raw_frame(Mac([2; 6]), Mac([4; 6]), [0x88, 0xb5], b"anything");
    let out = world.nodes[0].rx(ends[0].1, &frame, SECOND);
    let out = world.nodes[1].rx(ends[1].0, &out[0].frame, SECOND);
    assert_eq!(
        out,
        [Output {
            sw_if_index: ends[1].1,
            frame
        }]
    );
}
