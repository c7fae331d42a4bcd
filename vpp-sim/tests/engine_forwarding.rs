//! Forwarding: interfaces, addresses, routes, neighbours, tunnels, ICMP. The traps are those seen on
//! real VPP 26.06.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use std::net::IpAddr;

use engine_common::packets::{self, TCP, UDP};
use engine_common::world::{SECOND, World, addr, neighbor, prefix};
use vpp_sim::engine::*;

/// Two pods of both families behind a gateway.
fn two_pods() -> World {
    let mut world = World::new(1);
    world.gateway(0, &["10.1.1.1/24", "fd00:1::1/64"]);
    world.pod(0, "w1", &["10.1.1.2", "fd00:1::2"]);
    world.pod(0, "w2", &["10.1.1.3", "fd00:1::3"]);
    world
}

#[test]
fn pods_talk_in_both_families() {
    let mut world = two_pods();
    assert_eq!(world.ping("w1", "10.1.1.3", 2), (2, Some(63)));
    assert_eq!(world.ping("w1", "fd00:1::3", 2), (2, Some(63)));
    for to in ["10.1.1.3", "fd00:1::3"] {
        for proto in [TCP, UDP] {
            assert!(world.ask("w1", addr(to), 80, proto).unwrap().starts_with("w2 "));
        }
    }
}

#[test]
fn the_gateway_answers_echoes_with_ttl_64() {
    let mut world = two_pods();
    assert_eq!(world.ping("w1", "10.1.1.1", 1), (1, Some(64)));
    assert_eq!(world.ping("w1", "fd00:1::1", 1), (1, Some(64)));
}

#[test]
fn a_fresh_pod_without_neighbour_loses_its_first_packet_to_arp() {
    let mut world = two_pods();
    let index = world.pod(0, "w3", &[]);
    if let Some(engine_common::world::Plug::Pod { addresses, .. }) = world.plugs.get_mut(&(0, index)) {
        addresses.push(addr("10.1.1.4"));
    }
    let route = RouteUpdate::add(
        0,
        prefix("10.1.1.4/32"),
        vec![RoutePath::via(index, addr("10.1.1.4"))],
    );
    world.nodes[0].ip_route_add_del(&route).unwrap();
    assert_eq!(world.ping("w1", "10.1.1.4", 1).0, 0);
    world.now += SECOND;
    assert_eq!(world.ping("w1", "10.1.1.4", 1).0, 1);
    let learnt = world.nodes[0].neighbors(Some(index), Some(Family::V4));
    assert_eq!(learnt.len(), 1);
    assert!(!learnt[0].is_static);
}

#[test]
fn arp_for_the_gateway_is_answered_on_unnumbered_interfaces_with_their_own_mac() {
    let mut world = two_pods();
    let pod = Mac([0x0a, 0, 0, 0, 0, 1]);
    let vpp = &mut world.nodes[0];
    let request = packets::arp(
        1,
        (pod, [10, 1, 1, 2]),
        (Mac::default(), [10, 1, 1, 1]),
        Mac::BROADCAST,
    );
    let outputs = vpp.rx(2, &request, SECOND);
    assert_eq!(outputs.len(), 1);
    let reply = &outputs[0].frame;
    assert_eq!(&reply[..6], &pod.0);
    assert_eq!(reply[21], 2);
    assert_eq!(&reply[22..28], &vpp.interface(2).unwrap().mac.0);
    assert_eq!(&reply[28..32], &[10, 1, 1, 1]);
    // Not for addresses of others, and not for senders from elsewhere.
    let other = packets::arp(
        1,
        (pod, [10, 1, 1, 2]),
        (Mac::default(), [10, 1, 1, 3]),
        Mac::BROADCAST,
    );
    assert!(vpp.rx(2, &other, SECOND).is_empty());
}

#[test]
fn a_neighbour_solicitation_for_the_gateway_is_answered() {
    let mut world = two_pods();
    let pod = Mac([0x0a, 0, 0, 0, 0, 1]);
    let (source, target) = (
        addr("fd00:1::2"),
        "fd00:1::1".parse::<std::net::Ipv6Addr>().unwrap(),
    );
    let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
    body.extend(target.octets());
    body.extend([1, 1]);
    body.extend(pod.0);
    let packet = packets::ip(source, addr("ff02::1:ff00:1"), 58, 255, body, Some(2));
    let frame = packets::frame(Mac([0x33, 0x33, 0xff, 0, 0, 1]), pod, &packet);
    let vpp = &mut world.nodes[0];
    let trace = vpp.walk(2, &frame, SECOND);
    assert!(
        matches!(trace.fate, Fate::Dropped { .. }),
        "not on a borrowed address alone: {trace}"
    );
    vpp.set_ip_enabled(2, Family::V6, true).unwrap();
    let trace = vpp.walk(2, &frame, SECOND);
    assert!(matches!(trace.fate, Fate::Local { .. }), "{trace}");
    let seen = packets::read(packets::ip_of(&trace.outputs[0].frame).unwrap());
    assert_eq!(
        (seen.ports.0, seen.src, seen.dst, seen.ttl),
        (136, IpAddr::V6(target), source, 255)
    );
    assert_eq!(&seen.l4[26..32], &vpp.interface(2).unwrap().mac.0);
}

#[test]
fn ttl_exceeded_unreachable_and_prohibited_are_answered() {
    let mut world = two_pods();
    let routes = [
        ("10.96.0.66/32", PathKind::IcmpUnreach),
        ("10.96.0.67/32", PathKind::IcmpProhibit),
        ("10.96.0.68/32", PathKind::Drop),
        ("fd00:96::66/128", PathKind::IcmpUnreach),
        ("fd00:96::67/128", PathKind::IcmpProhibit),
    ];
    for (p, kind) in routes {
        let p = prefix(p);
        let path = RoutePath::special(kind, p.family());
        world.nodes[0]
            .ip_route_add_del(&RouteUpdate::add(0, p, vec![path]))
            .unwrap();
    }
    let mut refused = |from: &str, to: &str, ttl: u8| {
        let (from, to) = (addr(from), addr(to));
        let got = world.send("w1", &packets::echo(from, to, 7, true, ttl, 8));
        got.first().map(|(_, seen)| (seen.src, seen.ports))
    };
    let (gw4, gw6) = (addr("10.1.1.1"), addr("fd00:1::1"));
    assert_eq!(refused("10.1.1.2", "10.96.0.66", 64), Some((gw4, (3, 1))));
    assert_eq!(refused("10.1.1.2", "10.96.0.67", 64), Some((gw4, (3, 10))));
    assert_eq!(refused("10.1.1.2", "10.96.0.68", 64), None);
    assert_eq!(refused("fd00:1::2", "fd00:96::66", 64), Some((gw6, (1, 0))));
    assert_eq!(refused("fd00:1::2", "fd00:96::67", 64), Some((gw6, (1, 1))));
    assert_eq!(refused("10.1.1.2", "10.1.1.3", 1), Some((gw4, (11, 0))));
    assert_eq!(refused("fd00:1::2", "fd00:1::3", 1), Some((gw6, (3, 0))));
}

#[test]
fn udp_to_the_gateway_gets_port_unreachable() {
    let mut world = two_pods();
    let got = world.send(
        "w1",
        &packets::udp(addr("10.1.1.2"), addr("10.1.1.1"), (4000, 53), b"?"),
    );
    assert_eq!(got[0].1.ports, (3, 3));
    // The message carries what it is about.
    assert_eq!(&got[0].1.l4[8 + 20..8 + 24], &[0x0f, 0xa0, 0, 53]);
}

#[test]
fn routes_through_a_deleted_interface_stay_unresolved_for_ever() {
    let mut world = two_pods();
    let route = RouteUpdate::add(
        0,
        prefix("10.9.0.0/24"),
        vec![RoutePath::via(3, addr("10.1.1.3"))],
    );
    world.nodes[0].ip_route_add_del(&route).unwrap();
    let packet = packets::echo(addr("10.1.1.2"), addr("10.9.0.1"), 1, true, 64, 0);
    let frame =
        |vpp: &Vpp| packets::frame(vpp.interface(2).unwrap().mac, Mac([0x0a, 0, 0, 0, 0, 1]), &packet);
    let vpp = &mut world.nodes[0];
    let f = frame(vpp);
    assert_eq!(vpp.rx(2, &f, SECOND).len(), 1);
    vpp.delete_af_packet("v-w2").unwrap();
    // The dump shows the old index.
    assert_eq!(
        vpp.ip_route_lookup(0, prefix("10.9.0.0/24"), true).unwrap().paths[0].sw_if_index,
        3
    );
    // The index lives again, the route does not; adding it again changes nothing.
    let again = vpp.create_af_packet("v-w9", None, None).unwrap();
    assert_eq!(again, 3);
    vpp.set_admin(again, true).unwrap();
    vpp.set_unnumbered(1, again, true).unwrap();
    vpp.neighbor_add(neighbor(again, addr("10.1.1.3"), Mac([0x0a, 0, 0, 0, 0, 9])))
        .unwrap();
    assert!(vpp.rx(2, &f, SECOND).is_empty());
    vpp.ip_route_add_del(&route).unwrap();
    assert!(vpp.rx(2, &f, SECOND).is_empty());
    assert_eq!(vpp.poisoned_paths(), 1);
    vpp.ip_route_add_del(&RouteUpdate::del(0, prefix("10.9.0.0/24")))
        .unwrap();
    vpp.ip_route_add_del(&route).unwrap();
    assert_eq!(vpp.rx(2, &f, SECOND).len(), 1);
    assert_eq!(vpp.poisoned_paths(), 0);
}

#[test]
fn routes_answer_with_vpps_codes_and_keep_their_paths() {
    let mut vpp = Vpp::default();
    let via = |n: u32| RoutePath::via(n, addr("10.0.0.1"));
    let a = vpp.create_loopback(Mac::default(), None).unwrap();
    let p = prefix("10.5.0.0/16");
    let code = |r: OpResult<u32>| r.unwrap_err();
    assert_eq!(
        code(vpp.ip_route_add_del(&RouteUpdate::add(5, p, vec![via(a)]))),
        OpError::Retval(-3)
    );
    assert_eq!(
        code(vpp.ip_route_add_del(&RouteUpdate::add(0, p, vec![via(9)]))),
        OpError::Retval(-54)
    );
    assert_eq!(
        code(vpp.ip_route_add_del(&RouteUpdate::add(0, p, vec![]))),
        OpError::Retval(-52)
    );
    let long = Prefix::new([10, 5, 0, 0], 33);
    assert_eq!(
        code(vpp.ip_route_add_del(&RouteUpdate::add(0, long, vec![via(a)]))),
        OpError::Retval(-171)
    );
    // Deleting what is not there succeeds; host bits are cleared; multipath adds and removes.
    vpp.ip_route_add_del(&RouteUpdate::del(0, p)).unwrap();
    vpp.ip_route_add_del(&RouteUpdate::add(0, prefix("10.5.7.7/16"), vec![via(a)]))
        .unwrap();
    let other = RoutePath {
        weight: 3,
        ..RoutePath::via(a, addr("10.0.0.2"))
    };
    let multi = |is_add, path: &RoutePath| RouteUpdate {
        is_add,
        is_multipath: true,
        ..RouteUpdate::add(0, p, vec![path.clone()])
    };
    vpp.ip_route_add_del(&multi(true, &other)).unwrap();
    let found = vpp.ip_route_lookup(0, p, true).unwrap();
    assert_eq!(
        (found.prefix, found.source, found.paths.len()),
        (p, fib_source::API, 2)
    );
    vpp.ip_route_add_del(&multi(false, &via(a))).unwrap();
    assert_eq!(vpp.ip_route_lookup(0, p, true).unwrap().paths, vec![other]);
    assert_eq!(
        vpp.ip_route_lookup(0, prefix("10.5.1.0/24"), true),
        Err(OpError::Retval(-6))
    );
}

#[test]
fn weights_share_flows_and_preference_decides_first() {
    let mut world = two_pods();
    world.pod(0, "w3", &["10.1.1.4"]);
    let vpp = &mut world.nodes[0];
    let path = |index, nh: &str, weight, preference| RoutePath {
        weight,
        preference,
        ..RoutePath::via(index, addr(nh))
    };
    let paths = vec![
        path(3, "10.1.1.3", 1, 0),
        path(4, "10.1.1.4", 3, 0),
        path(2, "10.1.1.2", 1, 1),
    ];
    vpp.ip_route_add_del(&RouteUpdate::add(0, prefix("10.9.0.0/24"), paths))
        .unwrap();
    let mac = vpp.interface(2).unwrap().mac;
    let mut share = std::collections::BTreeMap::new();
    let mut send = |vpp: &mut Vpp| {
        share.clear();
        for port in 0..400 {
            let packet = packets::udp(addr("10.1.1.2"), addr("10.9.0.1"), (1000 + port, 53), b"");
            let out = vpp.rx(2, &packets::frame(mac, Mac([10, 0, 0, 0, 0, 1]), &packet), SECOND);
            *share.entry(out[0].sw_if_index).or_insert(0) += 1;
        }
        share.clone()
    };
    let all = send(vpp);
    assert!(
        (60..140).contains(&all[&3]) && (260..340).contains(&all[&4]),
        "{all:?}"
    );
    vpp.set_admin(3, false).unwrap();
    vpp.set_admin(4, false).unwrap();
    assert_eq!(send(vpp).into_iter().collect::<Vec<_>>(), [(2, 400)]);
}

#[test]
fn a_packet_above_the_interface_mtu_is_refused_or_cut() {
    let mut world = two_pods();
    world.nodes[0].set_mtu(3, [1000, 0, 0, 0]).unwrap();
    let refused = |world: &mut World, packet: Vec<u8>| world.send("w1", &packet)[0].1.clone();
    let long = |from: &str, to: &str| packets::echo(addr(from), addr(to), 1, true, 64, 1200);
    // The test's IPv4 packets have "don't fragment".
    let seen = refused(&mut world, long("10.1.1.2", "10.1.1.3"));
    assert_eq!((seen.ports, &seen.l4[4..8]), ((3, 4), &[0, 0, 3, 0xe8][..]));
    let seen = refused(&mut world, long("fd00:1::2", "fd00:1::3"));
    assert_eq!((seen.ports, &seen.l4[4..8]), ((2, 0), &[0, 0, 3, 0xe8][..]));
    let mut packet = long("10.1.1.2", "10.1.1.3");
    packet[6] = 0;
    // Clearing a bit of 0x4000 adds as much to the checksum.
    let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x4000;
    let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let vpp = &mut world.nodes[0];
    let mac = vpp.interface(2).unwrap().mac;
    let out = vpp.rx(2, &packets::frame(mac, Mac([10, 0, 0, 0, 0, 1]), &packet), SECOND);
    let parts: Vec<_> = out.iter().map(|o| o.frame[14..].to_vec()).collect();
    assert_eq!(parts.len(), 2);
    assert!(
        parts
            .iter()
            .all(|p| p.len() <= 1000 && verify_checksums(p).is_ok())
    );
    let whole: Vec<u8> = parts.iter().flat_map(|p| p[20..].to_vec()).collect();
    assert_eq!(whole, packet[20..]);
    assert_eq!((parts[0][6], parts[1][6] & 0x20), (0x20, 0));
}

#[test]
fn tables_are_separate() {
    let mut world = two_pods();
    let vpp = &mut world.nodes[0];
    vpp.ip_table_add_del(Family::V4, 7, "red", true);
    let index = vpp.create_af_packet("red", None, None).unwrap();
    vpp.set_table(index, Family::V4, 7).unwrap();
    vpp.add_address(index, prefix("10.1.1.1/24")).unwrap();
    vpp.set_admin(index, true).unwrap();
    let mac = vpp.interface(index).unwrap().mac;
    let packet = packets::echo(addr("10.1.1.9"), addr("10.1.1.3"), 1, true, 64, 0);
    let trace = vpp.walk(
        index,
        &packets::frame(mac, Mac([2, 0, 0, 0, 0, 7]), &packet),
        SECOND,
    );
    assert!(trace.to_string().contains("table 7"), "{trace}");
    assert!(matches!(trace.fate, Fate::Dropped { .. }), "{trace}");
    // A route into the other table leads there.
    let into = RoutePath::recursive(0, addr("0.0.0.0"));
    vpp.ip_route_add_del(&RouteUpdate::add(7, prefix("10.1.1.3/32"), vec![into]))
        .unwrap();
    let trace = vpp.walk(
        index,
        &packets::frame(mac, Mac([2, 0, 0, 0, 0, 7]), &packet),
        SECOND,
    );
    assert_eq!(trace.fate, Fate::Transmitted { sw_if_index: 3 }, "{trace}");
}
