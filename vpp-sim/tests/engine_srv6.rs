//! Segment routing over IPv6: packets through policies and local SIDs, byte by byte as RFC 8754 and RFC 8986 have them
//! and as VPP makes them; codes; what kills VPP.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use std::net::{IpAddr, Ipv6Addr};

use engine_common::packets;
use engine_common::tunnels::{code, fatal};
use engine_common::world::{SECOND, World, addr, neighbor, prefix};
use vpp_sim::engine::*;

fn sid(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn localsid(address: &str, behavior: u8) -> LocalSidConfig {
    LocalSidConfig {
        localsid: sid(address),
        end_psp: false,
        behavior,
        sw_if_index: 0,
        fib_table: 0,
        next_hop: addr("::"),
        structure: None,
    }
}

fn policy(bsid: &str, segments: &[&str]) -> PolicyUpdate {
    PolicyUpdate {
        bsid: sid(bsid),
        segments: segments.iter().map(|s| sid(s)).collect(),
        num_sids: segments.len() as u8,
        weight: NONE,
        encap_source: None,
    }
}

fn steer(text: &str) -> SteeredTraffic {
    let prefix = prefix(text);
    SteeredTraffic {
        traffic_type: if prefix.address.is_ipv4() { 4 } else { 6 },
        prefix,
        table_id: 0,
        sw_if_index: 0,
    }
}

const UPLINK_MAC: [Mac; 3] = [
    Mac([2, 1, 0, 0, 0, 1]),
    Mac([2, 1, 0, 0, 0, 2]),
    Mac([2, 1, 0, 0, 0, 3]),
];

/// Nodes on one link, each with a pod and a locator `fd00:a<n>::/32` routed to it.
fn nodes(count: usize) -> (World, Vec<u32>) {
    let mut world = World::new(count);
    let mut ups = Vec::new();
    for (n, mac) in UPLINK_MAC.into_iter().enumerate().take(count) {
        world.gateway(n, &[&format!("10.1.{n}.1/24"), &format!("fd00:{n}::1/64")]);
        let vpp = &mut world.nodes[n];
        let up = vpp.create_af_packet("uplink", Some(mac), Some(1500)).unwrap();
        vpp.set_admin(up, true).unwrap();
        vpp.add_address(up, prefix(&format!("fd00:ff::{}/64", n + 1)))
            .unwrap();
        for other in (0..count).filter(|other| *other != n) {
            let peer = addr(&format!("fd00:ff::{}", other + 1));
            vpp.neighbor_add(neighbor(up, peer, UPLINK_MAC[other])).unwrap();
            let locator = prefix(&format!("fd00:a{other}::/32"));
            vpp.ip_route_add_del(&RouteUpdate::add(0, locator, vec![RoutePath::via(up, peer)]))
                .unwrap();
        }
        vpp.sr_set_encap_source(sid(&format!("fd00:ff::{}", n + 1)));
        ups.push(up);
    }
    for n in 0..count {
        world.pod(
            n,
            &format!("pod{n}"),
            &[&format!("10.1.{n}.2"), &format!("fd00:{n}::2")],
        );
    }
    (world, ups)
}

/// What leaves a node on its uplink because of a packet from its pod.
fn from_pod(world: &mut World, node: usize, packet: &[u8]) -> Vec<Vec<u8>> {
    let (_, pod) = world.find_pod(&format!("pod{node}"));
    let vpp = &mut world.nodes[node];
    let mac = vpp.interface(pod).unwrap().mac;
    let outputs = vpp.rx(
        pod,
        &packets::frame(mac, Mac([10, 0, 0, 0, 0, 9]), packet),
        SECOND,
    );
    outputs.into_iter().map(|out| out.frame[14..].to_vec()).collect()
}

/// What leaves a node because of a packet that came in on its uplink: interface and packet.
fn from_link(world: &mut World, node: usize, up: u32, packet: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let frame = packets::frame(UPLINK_MAC[node], Mac([2, 1, 0, 0, 0, 9]), packet);
    let outputs = world.nodes[node].rx(up, &frame, SECOND);
    outputs
        .into_iter()
        .map(|out| (out.sw_if_index, out.frame[14..].to_vec()))
        .collect()
}

fn ip6_header(data: &[u8]) -> (u16, u8, u8, IpAddr, IpAddr) {
    let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&data[at..at + 16]).unwrap());
    (
        u16::from_be_bytes([data[4], data[5]]),
        data[6],
        data[7],
        address(8),
        address(24),
    )
}

fn two_way(behaviors: bool) -> World {
    let (mut world, ups) = nodes(2);
    world.wire((0, ups[0]), (1, ups[1]));
    for n in 0..2 {
        let other = 1 - n;
        let vpp = &mut world.nodes[n];
        vpp.sr_localsid_add(&localsid(&format!("fd00:a{n}::4"), sr_behavior::DT4))
            .unwrap();
        vpp.sr_localsid_add(&localsid(&format!("fd00:a{n}::6"), sr_behavior::DT6))
            .unwrap();
        vpp.sr_localsid_add(&localsid(&format!("fd00:a{n}::e"), sr_behavior::END))
            .unwrap();
        for (bsid, last, to) in [
            ("fd00:b::4", 4, format!("10.1.{other}.0/24")),
            ("fd00:b::6", 6, format!("fd00:{other}::/64")),
        ] {
            let end = format!("fd00:a{other}::e");
            let decap = format!("fd00:a{other}::{last}");
            let segments: Vec<&str> = if behaviors {
                vec![&end, &decap]
            } else {
                vec![&decap]
            };
            vpp.sr_policy_add(&policy(bsid, &segments), 0, true, 0).unwrap();
            vpp.sr_steering_add(&steer(&to), sid(bsid)).unwrap();
        }
    }
    world
}

#[test]
fn both_families_cross_by_policies_of_one_and_of_two_segments() {
    for two in [false, true] {
        let mut world = two_way(two);
        // One for the policy, one for the lookup behind the decapsulation.
        world.pods_talk(if two { "two segments" } else { "one segment" });
        let sids = world.nodes[1].sr_localsids().unwrap();
        let good = |last: &str| sids.iter().find(|s| s.localsid == sid(last)).unwrap().good;
        // Two echoes of 84 bytes, then what TCP took.
        assert!(good("fd00:a1::4").0 > 2);
        assert_eq!(good("fd00:a1::e").0 > 0, two);
        assert!(sids.iter().all(|s| s.bad == (0, 0)));
    }
}

#[test]
fn a_single_segment_needs_no_routing_header() {
    let mut world = two_way(false);
    let echo = packets::echo(addr("10.1.0.2"), addr("10.1.1.2"), 7, true, 64, 56);
    let out = from_pod(&mut world, 0, &echo);
    let (length, proto, hop_limit, src, dst) = ip6_header(&out[0]);
    assert_eq!((length, proto), (84, 4), "IPv4 follows at once");
    assert_eq!(hop_limit, 63, "64, less the underlay's one");
    assert_eq!((src, dst), (addr("fd00:ff::1"), addr("fd00:a1::4")));
    assert_eq!(out[0][48], 63, "TTL of the inner packet");
    assert_eq!(packets::read(&out[0][40..]).dst, addr("10.1.1.2"));
}

#[test]
fn two_segments_are_written_in_reverse_and_visited_in_turn() {
    let (mut world, ups) = nodes(3);
    for (n, number, behavior) in [(1, "e", sr_behavior::END), (2, "4", sr_behavior::DT4)] {
        let sid = localsid(&format!("fd00:a{n}::{number}"), behavior);
        world.nodes[n].sr_localsid_add(&sid).unwrap();
    }
    let vpp = &mut world.nodes[0];
    vpp.sr_set_encap_hop_limit(20).unwrap();
    vpp.sr_policy_add(&policy("fd00:b::4", &["fd00:a1::e", "fd00:a2::4"]), 0, true, 0)
        .unwrap();
    vpp.sr_steering_add(&steer("10.1.2.0/24"), sid("fd00:b::4"))
        .unwrap();
    let mut ask = packets::udp(addr("10.1.0.2"), addr("10.1.2.2"), (4000, 53), b"hello");
    ask[1] = 0xb8;
    ask[10..12].copy_from_slice(&[0, 0]);
    let sum = ask[..20]
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
        .sum::<u32>();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ask[10..12].copy_from_slice(&sum.to_be_bytes());

    let first = from_pod(&mut world, 0, &ask).remove(0);
    let (length, proto, hop_limit, src, dst) = ip6_header(&first);
    assert_eq!((proto, hop_limit), (43, 19));
    assert_eq!((src, dst), (addr("fd00:ff::1"), addr("fd00:a1::e")));
    assert_eq!(usize::from(length), 40 + ask.len());
    assert_eq!(
        first[0] << 4 | first[1] >> 4,
        0xb8,
        "traffic class is the inner one"
    );
    assert_eq!(first[1] & 0x0f, 0, "VPP makes 16 bits of flow label");
    // RFC 8754, 2: next header, length in 8 bytes, type, segments left, last entry, flags, tag.
    let mut routing = vec![4, 4, 4, 1, 1, 0, 0, 0];
    routing.extend(sid("fd00:a2::4").octets());
    routing.extend(sid("fd00:a1::e").octets());
    assert_eq!(first[40..80], routing);

    let (out, second) = from_link(&mut world, 1, ups[1], &first).remove(0);
    assert_eq!(out, ups[1]);
    let (_, _, hop_limit, _, dst) = ip6_header(&second);
    assert_eq!((hop_limit, dst), (18, addr("fd00:a2::4")));
    assert_eq!(second[43], 0, "no segments left");

    let (_, third) = from_link(&mut world, 2, ups[2], &second).remove(0);
    assert_eq!(packets::read(&third).ttl, 62);
    assert_eq!(&packets::read(&third).l4[8..], b"hello");
    let details = world.nodes[1].sr_localsids().unwrap();
    assert_eq!(details[0].good, (1, second.len() as u64));
}

#[test]
fn the_penultimate_segment_may_take_the_routing_header_off() {
    let (mut world, ups) = nodes(3);
    let end = LocalSidConfig {
        end_psp: true,
        ..localsid("fd00:a1::e", sr_behavior::END)
    };
    world.nodes[1].sr_localsid_add(&end).unwrap();
    let vpp = &mut world.nodes[0];
    vpp.sr_policy_add(&policy("fd00:b::4", &["fd00:a1::e", "fd00:a2::6"]), 0, true, 0)
        .unwrap();
    vpp.sr_steering_add(&steer("fd00:2::/64"), sid("fd00:b::4"))
        .unwrap();
    let ask = packets::udp(addr("fd00:0::2"), addr("fd00:2::2"), (4000, 53), b"hello");
    let first = from_pod(&mut world, 0, &ask).remove(0);
    assert_eq!(first.len(), 40 + 40 + ask.len());
    let (_, second) = from_link(&mut world, 1, ups[1], &first).remove(0);
    let (length, proto, _, _, dst) = ip6_header(&second);
    assert_eq!((usize::from(length), proto), (ask.len(), 41));
    assert_eq!(dst, addr("fd00:a2::6"));
}

#[test]
fn an_inserted_header_keeps_the_destination_as_its_last_segment() {
    let (mut world, ups) = nodes(3);
    world.nodes[1]
        .sr_localsid_add(&localsid("fd00:a1::e", sr_behavior::END))
        .unwrap();
    let vpp = &mut world.nodes[0];
    vpp.sr_policy_add(&policy("fd00:b::1", &["fd00:a1::e"]), 0, false, 0)
        .unwrap();
    vpp.sr_steering_add(&steer("fd00:a2::/64"), sid("fd00:b::1"))
        .unwrap();
    let ask = packets::udp(addr("fd00:0::2"), addr("fd00:a2::2"), (4000, 53), b"hello");
    let first = from_pod(&mut world, 0, &ask).remove(0);
    let (length, proto, hop_limit, src, dst) = ip6_header(&first);
    assert_eq!((usize::from(length), proto), (40 + ask.len() - 40, 43));
    // VPP takes one at the insertion and one at the rewrite.
    assert_eq!(hop_limit, 62);
    assert_eq!((src, dst), (addr("fd00:0::2"), addr("fd00:a1::e")));
    let mut routing = vec![17, 4, 4, 1, 1, 0, 0, 0];
    routing.extend(sid("fd00:a2::2").octets());
    routing.extend(sid("fd00:a1::e").octets());
    assert_eq!(first[40..80], routing);
    let (_, second) = from_link(&mut world, 1, ups[1], &first).remove(0);
    assert_eq!(ip6_header(&second).4, addr("fd00:a2::2"));
}

/// A packet with a routing header, as another router would send it.
fn routed(dst: &str, segments: &[&str], left: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![
        next,
        (segments.len() * 2) as u8,
        4,
        left,
        segments.len() as u8 - 1,
        0,
        0,
        0,
    ];
    for segment in segments {
        body.extend(sid(segment).octets());
    }
    body.extend(payload);
    packets::ip(addr("fd00:ff::9"), addr(dst), 43, 64, body, None)
}

#[test]
fn cross_connects_go_to_their_neighbour_and_need_what_they_decapsulate() {
    let (mut world, ups) = nodes(2);
    let (_, pod) = world.find_pod("pod1");
    let inner4 = packets::udp(addr("10.9.9.9"), addr("10.8.8.8"), (1, 2), b"four");
    let inner6 = packets::udp(addr("fd09::9"), addr("fd08::8"), (1, 2), b"six");
    let cases: [(&str, u8, &str, u8, &[u8]); 2] = [
        ("fd00:a1::44", sr_behavior::DX4, "10.1.1.2", 4, &inner4),
        ("fd00:a1::66", sr_behavior::DX6, "fd00:1::2", 41, &inner6),
    ];
    for (address, behavior, next_hop, proto, inner) in cases {
        let config = LocalSidConfig {
            sw_if_index: pod,
            next_hop: addr(next_hop),
            ..localsid(address, behavior)
        };
        world.nodes[1].sr_localsid_add(&config).unwrap();
        let packet = routed(address, &[address], 0, proto, inner);
        let (out, seen) = from_link(&mut world, 1, ups[1], &packet).remove(0);
        assert_eq!((out, packets::read(&seen).ttl), (pod, 63));
        // Another payload, and segments left, are refused.
        let other = if proto == 4 { 41 } else { 4 };
        let wrong = [
            routed(address, &[address], 0, other, inner),
            routed(address, &[address, address], 1, proto, inner),
        ];
        for packet in wrong {
            assert_eq!(from_link(&mut world, 1, ups[1], &packet), []);
        }
    }
    let errors: Vec<_> = world.nodes[1]
        .errors()
        .filter(|(node, ..)| *node == "sr-localsid-d")
        .collect();
    assert_eq!(
        errors,
        [
            (
                "sr-localsid-d",
                "(SR-Error) Decaps not available (segments left > 0)",
                2
            ),
            ("sr-localsid-d", "(SR-Error) No inner IP header", 2),
        ]
    );
    for sid in world.nodes[1].sr_localsids().unwrap() {
        assert_eq!((sid.good.0, sid.bad.0), (1, 2));
        assert_eq!(sid.interface_or_table, pod);
    }
}

#[test]
fn end_needs_a_routing_header_with_segments_left() {
    let (mut world, ups) = nodes(3);
    let (_, pod) = world.find_pod("pod1");
    let config = LocalSidConfig {
        sw_if_index: pod,
        next_hop: addr("fd00:1::2"),
        ..localsid("fd00:a1::c", sr_behavior::X)
    };
    world.nodes[1].sr_localsid_add(&config).unwrap();
    let inner = packets::udp(addr("fd09::9"), addr("fd08::8"), (1, 2), b"x");
    let good = routed("fd00:a1::c", &["fd00:a2::1", "fd00:a1::c"], 1, 41, &inner);
    let (out, seen) = from_link(&mut world, 1, ups[1], &good).remove(0);
    assert_eq!(
        (out, ip6_header(&seen).4),
        (pod, addr("fd00:a2::1")),
        "to its neighbour, not by route"
    );
    let none_left = routed("fd00:a1::c", &["fd00:a1::c"], 0, 41, &inner);
    let no_header = packets::ip(
        addr("fd00:ff::9"),
        addr("fd00:a1::c"),
        41,
        64,
        inner.clone(),
        None,
    );
    // Fourteen segments end beyond the 256 bytes in which VPP looks for the header; thirteen do not.
    let fourteen = routed("fd00:a1::c", &["fd00:a2::1"; 14], 1, 41, &inner);
    for bad in [none_left, no_header, fourteen] {
        assert_eq!(from_link(&mut world, 1, ups[1], &bad), []);
    }
    let thirteen = routed("fd00:a1::c", &["fd00:a2::1"; 13], 1, 41, &inner);
    assert_eq!(from_link(&mut world, 1, ups[1], &thirteen).len(), 1);
    let details = world.nodes[1].sr_localsids().unwrap()[0];
    assert_eq!((details.good.0, details.bad.0), (2, 3));
    let count = |error: &str| {
        let vpp = &world.nodes[1];
        vpp.errors()
            .find(|(node, e, _)| *node == "sr-localsid" && *e == error)
            .map(|(.., n)| n)
    };
    assert_eq!(count("(SR-Error) No more segments"), Some(1));
    assert_eq!(count("(SR-Error) No SR header"), Some(2));
}

#[test]
fn tables_are_chosen_by_t_and_dt() {
    let (mut world, ups) = nodes(2);
    let (_, pod) = world.find_pod("pod1");
    let vpp = &mut world.nodes[1];
    for family in Family::BOTH {
        vpp.ip_table_add_del(family, 10, "", true);
    }
    for (p, nh) in [("10.77.0.0/16", "10.1.1.2"), ("fd77::/16", "fd00:1::2")] {
        vpp.ip_route_add_del(&RouteUpdate::add(
            10,
            prefix(p),
            vec![RoutePath::via(pod, addr(nh))],
        ))
        .unwrap();
    }
    for (address, behavior) in [
        ("fd00:a1::4", sr_behavior::DT4),
        ("fd00:a1::6", sr_behavior::DT6),
        ("fd00:a1::7", sr_behavior::T),
    ] {
        let config = LocalSidConfig {
            sw_if_index: 10,
            ..localsid(address, behavior)
        };
        vpp.sr_localsid_add(&config).unwrap();
    }
    assert!(
        vpp.sr_localsids()
            .unwrap()
            .iter()
            .all(|sid| sid.interface_or_table == 10)
    );
    let inner4 = packets::udp(addr("10.9.9.9"), addr("10.77.0.1"), (1, 2), b"x");
    let inner6 = packets::udp(addr("fd09::9"), addr("fd77::1"), (1, 2), b"x");
    for packet in [
        routed("fd00:a1::4", &["fd00:a1::4"], 0, 4, &inner4),
        routed("fd00:a1::6", &["fd00:a1::6"], 0, 41, &inner6),
        routed("fd00:a1::7", &["fd77::1", "fd00:a1::7"], 1, 41, &inner6),
    ] {
        assert_eq!(from_link(&mut world, 1, ups[1], &packet)[0].0, pod);
    }
}

#[test]
fn frames_are_steered_and_cross_connected() {
    let (mut world, ups) = nodes(2);
    let (_, pod) = world.find_pod("pod1");
    let frames = world.nodes[0].create_af_packet("frames", None, None).unwrap();
    world.nodes[0].set_admin(frames, true).unwrap();
    let config = LocalSidConfig {
        sw_if_index: pod,
        ..localsid("fd00:a1::2", sr_behavior::DX2)
    };
    world.nodes[1].sr_localsid_add(&config).unwrap();
    let vpp = &mut world.nodes[0];
    vpp.sr_policy_add(&policy("fd00:b::2", &["fd00:a1::2"]), 0, true, 0)
        .unwrap();
    let traffic = SteeredTraffic {
        traffic_type: 2,
        sw_if_index: frames,
        ..steer("::/0")
    };
    vpp.sr_steering_add(&traffic, sid("fd00:b::2")).unwrap();
    let frame = packets::raw_frame(Mac([6; 6]), Mac([8; 6]), [0x88, 0xb5], b"any protocol at all");
    let out = vpp.rx(frames, &frame, SECOND).remove(0);
    let (length, proto, ..) = ip6_header(&out.frame[14..]);
    assert_eq!((usize::from(length), proto), (frame.len(), 143));
    let out = world.nodes[1].rx(ups[1], &out.frame, SECOND).remove(0);
    assert_eq!((out.sw_if_index, out.frame), (pod, frame.clone()));
    // Afterwards the interface routes again.
    world.nodes[0].sr_steering_del(&traffic).unwrap();
    assert_eq!(world.nodes[0].rx(frames, &frame, SECOND), []);
}

#[test]
fn lists_share_flows_by_weight_or_all_get_a_copy() {
    for (kind, expected) in [(sr_policy_type::DEFAULT, 1), (sr_policy_type::SPRAY, 2)] {
        let (mut world, _) = nodes(3);
        let vpp = &mut world.nodes[0];
        vpp.sr_policy_add(&policy("fd00:b::4", &["fd00:a1::4"]), kind, true, 0)
            .unwrap();
        let second = PolicyUpdate {
            weight: 3,
            ..policy("fd00:b::4", &["fd00:a2::4"])
        };
        vpp.sr_policy_mod(&second, 1, 0).unwrap();
        vpp.sr_steering_add(&steer("10.5.0.0/16"), sid("fd00:b::4"))
            .unwrap();
        let mut to = [0, 0];
        for port in 0..400 {
            let ask = packets::udp(addr("10.1.0.2"), addr("10.5.1.1"), (1000 + port, 53), b"x");
            let out = from_pod(&mut world, 0, &ask);
            assert_eq!(out.len(), expected);
            for packet in out {
                to[usize::from(packet[27]) - 0xa1] += 1;
            }
        }
        match kind {
            sr_policy_type::SPRAY => assert_eq!(to, [400, 400]),
            _ => assert!((60..140).contains(&to[0]), "one in four: {to:?}"),
        }
    }
}

#[test]
fn a_packet_to_a_binding_sid_goes_on_inside_the_policy() {
    let (mut world, ups) = nodes(3);
    let vpp = &mut world.nodes[1];
    vpp.sr_policy_add(&policy("fd00:a1::b", &["fd00:a2::1"]), 0, true, 0)
        .unwrap();
    let inner = packets::udp(addr("fd09::9"), addr("fd08::8"), (1, 2), b"x");
    let packet = routed("fd00:a1::b", &["fd00:a0::9", "fd00:a1::b"], 1, 41, &inner);
    let (_, out) = from_link(&mut world, 1, ups[1], &packet).remove(0);
    let (_, proto, _, _, dst) = ip6_header(&out);
    assert_eq!((proto, dst), (41, addr("fd00:a2::1")));
    let (_, proto, hop_limit, _, dst) = ip6_header(&out[40..]);
    assert_eq!((proto, hop_limit, dst), (43, 63, addr("fd00:a0::9")));
    assert_eq!(out[83], 0, "segments left, one taken");
    // RFC 8986, 4.13: with none left it is no transit packet.
    let last = routed("fd00:a1::b", &["fd00:a1::b"], 0, 41, &inner);
    assert_eq!(from_link(&mut world, 1, ups[1], &last), []);
}

#[test]
fn micro_sids_move_up_in_the_destination() {
    let (mut world, ups) = nodes(3);
    let vpp = &mut world.nodes[1];
    let un = LocalSidConfig {
        structure: Some([32, 16, 0]),
        ..localsid("fd00:a1:100::", sr_behavior::UN)
    };
    vpp.sr_localsid_add(&un).unwrap();
    let route = RouteUpdate::add(
        0,
        prefix("fd00:a1:200::/48"),
        vec![RoutePath::via(ups[1], addr("fd00:ff::3"))],
    );
    vpp.ip_route_add_del(&route).unwrap();
    let inner = packets::udp(addr("fd09::9"), addr("fd08::8"), (1, 2), b"x");
    let carrier = addr("fd00:a1:100:200:300::");
    let packet = packets::ip(addr("fd00:ff::9"), carrier, 41, 64, inner, None);
    let (_, out) = from_link(&mut world, 1, ups[1], &packet).remove(0);
    // Uniform in what follows: the carrier moves up by one micro SID of 16 bits, zeros come in from behind.
    assert_eq!(ip6_header(&out).4, addr("fd00:a1:200:300::"));
}

#[test]
fn an_encapsulated_packet_too_long_for_the_link_is_refused() {
    let mut world = two_way(true);
    let up = world.nodes[0]
        .interface_by_name("host-uplink")
        .unwrap()
        .sw_if_index;
    world.nodes[0].set_mtu(up, [1500, 0, 0, 0]).unwrap();
    // 40 of header and 40 of routing header leave 1420 bytes.
    assert_eq!(world.ping_sized("pod0", "10.1.1.2", 1, 1420 - 28).0, 1);
    assert_eq!(world.ping_sized("pod0", "10.1.1.2", 1, 1421 - 28).0, 0);
    let errors: Vec<_> = world.nodes[0]
        .errors()
        .map(|(node, error, _)| (node, error))
        .collect();
    assert!(errors.contains(&("ip6-rewrite", "packet too big")), "{errors:?}");
}

#[test]
fn local_sids_answer_with_vpps_codes() {
    let mut vpp = Vpp::default();
    let end = localsid("fd00:a::1", sr_behavior::END);
    assert_eq!(code(vpp.sr_localsid_del(&end)), -2);
    vpp.sr_localsid_add(&end).unwrap();
    assert_eq!(code(vpp.sr_localsid_add(&end)), -1);
    let elsewhere = LocalSidConfig {
        fib_table: 9,
        ..localsid("fd00:a::2", sr_behavior::END)
    };
    assert_eq!(code(vpp.sr_localsid_add(&elsewhere)), -3);
    let route = RouteUpdate::add(
        0,
        prefix("fd00:a::3/128"),
        vec![RoutePath::special(PathKind::Drop, Family::V6)],
    );
    vpp.ip_route_add_del(&route).unwrap();
    assert_eq!(
        code(vpp.sr_localsid_add(&localsid("fd00:a::3", sr_behavior::END))),
        -4
    );
    let nowhere = LocalSidConfig {
        sw_if_index: 77,
        ..localsid("fd00:a::4", sr_behavior::X)
    };
    assert_eq!(code(vpp.sr_localsid_add(&nowhere)), -2);
    let odd = LocalSidConfig {
        structure: Some([33, 16, 0]),
        ..localsid("fd00:a::5", sr_behavior::END)
    };
    assert_eq!(code(vpp.sr_localsid_add(&odd)), -7);
    vpp.sr_localsid_del(&end).unwrap();
    assert_eq!(vpp.sr_localsids().unwrap(), []);
    vpp.sr_localsid_add(&end).unwrap();
}

#[test]
fn policies_and_steering_answer_with_vpps_codes() {
    let mut vpp = Vpp::default();
    let one = policy("fd00:b::1", &["fd00:a::1"]);
    assert_eq!(code(vpp.sr_policy_del(one.bsid)), -1);
    assert_eq!(code(vpp.sr_policy_add(&one, 0, true, 9)), -13);
    assert!(vpp.sr_hidden_tables().is_empty());
    vpp.sr_policy_add(&one, 0, false, NONE).unwrap();
    assert_eq!(vpp.sr_hidden_tables().len(), 2);
    assert_eq!(code(vpp.sr_policy_add(&one, 0, true, 0)), -12);
    assert_eq!(code(vpp.sr_policy_mod(&one, 2, 0)), -21);
    assert_eq!(code(vpp.sr_policy_mod(&one, 3, 5)), -32);
    assert_eq!(code(vpp.sr_policy_mod(&one, 4, 0)), -1);
    vpp.sr_policy_mod(&one, 1, 0).unwrap();
    assert_eq!(code(vpp.sr_policy_mod(&one, 2, 5)), -22);
    vpp.sr_policy_mod(&one, 2, 0).unwrap();
    assert_eq!(vpp.sr_policies()[0].lists[0].sl_index, 1);
    assert_eq!(code(vpp.sr_set_encap_hop_limit(0)), -7);

    let (four, six) = (steer("10.1.0.0/16"), steer("fd00:1::/32"));
    assert_eq!(code(vpp.sr_steering_del(&four)), -4);
    assert_eq!(code(vpp.sr_steering_add(&four, sid("fd00:b::9"))), -2);
    assert_eq!(code(vpp.sr_steering_add(&four, one.bsid)), -5, "it only inserts");
    let odd = SteeredTraffic {
        traffic_type: 3,
        ..four
    };
    assert_eq!(code(vpp.sr_steering_add(&odd, one.bsid)), -1);
    let frames = SteeredTraffic {
        traffic_type: 2,
        sw_if_index: 5,
        ..four
    };
    assert_eq!(code(vpp.sr_steering_add(&frames, one.bsid)), -2);
    vpp.sr_steering_add(&six, one.bsid).unwrap();
    vpp.sr_steering_add(&six, one.bsid).unwrap();
    // Left behind, it still shows the binding SID.
    vpp.sr_policy_del(one.bsid).unwrap();
    assert_eq!(vpp.sr_steering()[0].bsid, one.bsid);
    assert_eq!(vpp.sr_hidden_tables().len(), 2);
    let to = addr("fd00:1::9");
    let trace = vpp.send_local(0, &packets::udp(addr("fd00::1"), to, (1, 2), b"x"), SECOND);
    assert!(matches!(trace.fate, Fate::Dropped { .. }), "{trace}");
    vpp.sr_steering_del(&six).unwrap();
    assert!(vpp.sr_hidden_tables().is_empty());
}

#[test]
fn what_kills_vpp_is_fatal() {
    let mut vpp = Vpp::default();
    let many = PolicyUpdate {
        num_sids: 17,
        ..policy("fd00:b::1", &["fd00:a::1"; 16])
    };
    assert!(fatal(vpp.sr_policy_add(&many, 0, true, 0)).contains("17 segments"));
    assert!(fatal(vpp.sr_policy_add(&policy("fd00:b::1", &[]), 0, true, 0)).contains("no segments"));
    let config = LocalSidConfig {
        sw_if_index: 10,
        ..localsid("fd00:a::4", sr_behavior::DT4)
    };
    vpp.sr_localsid_add(&config).unwrap();
    assert!(fatal(vpp.sr_localsids()).contains("fd00:a::4"));
    let strange = localsid("fd00:a::5", 14);
    assert!(fatal(vpp.sr_localsid_add(&strange)).contains("behaviour 14"));
    vpp.sr_policy_add(&policy("fd00:b::2", &["fd00:a::1"]), 0, true, 0)
        .unwrap();
    let elsewhere = SteeredTraffic {
        table_id: 9,
        ..steer("10.1.0.0/16")
    };
    assert!(fatal(vpp.sr_steering_add(&elsewhere, sid("fd00:b::2"))).contains("table 9"));
}
