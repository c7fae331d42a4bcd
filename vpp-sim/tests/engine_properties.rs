//! The engine against naive models: longest prefix match, ACL lists, and translation there and back.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine_common::packets;
use engine_common::world::{SECOND, neighbor, prefix};
use proptest::prelude::*;
use vpp_sim::engine::*;

const CLIENT: Mac = Mac([2, 1, 1, 1, 1, 1]);

/// Few different bits, so that prefixes overlap.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0u8..4, 0u8..4, any::<u8>()).prop_map(|(a, b, c)| IpAddr::V4(Ipv4Addr::new(10, a, b, c)));
    let v6 = (0u16..4, 0u16..4, any::<u16>())
        .prop_map(|(a, b, c)| IpAddr::V6(Ipv6Addr::new(0xfd00, a, b, 0, 0, 0, 0, c)));
    prop_oneof![v4, v6]
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    (address(), any::<u8>()).prop_map(|(address, length)| {
        let bits = Family::of(address).bits();
        Prefix {
            address,
            len: length % (bits + 1),
        }
        .normalized()
    })
}

/// Bit by bit, as one would by hand.
fn covers(prefix: &Prefix, address: IpAddr) -> bool {
    let bits = |a: IpAddr| -> Vec<bool> {
        let octets = match a {
            IpAddr::V4(a) => a.octets().to_vec(),
            IpAddr::V6(a) => a.octets().to_vec(),
        };
        octets
            .iter()
            .flat_map(|o| (0..8).rev().map(move |i| o >> i & 1 == 1))
            .collect()
    };
    let (p, a) = (bits(prefix.address), bits(address));
    p.len() == a.len() && p[..usize::from(prefix.len)] == a[..usize::from(prefix.len)]
}

/// A VPP with an entry interface and one exit, both of both families.
fn entry_and_exit(exits: &[Mac]) -> (Vpp, u32, Vec<u32>) {
    let mut vpp = Vpp::default();
    let entry = vpp.create_af_packet("entry", None, None).unwrap();
    vpp.set_admin(entry, true).unwrap();
    vpp.add_address(entry, prefix("192.0.2.1/24")).unwrap();
    vpp.add_address(entry, prefix("2001:db8::1/64")).unwrap();
    let exits = exits
        .iter()
        .enumerate()
        .map(|(n, mac)| {
            let index = vpp.create_af_packet(&format!("exit{n}"), None, None).unwrap();
            vpp.set_admin(index, true).unwrap();
            vpp.set_unnumbered(entry, index, true).unwrap();
            for nh in next_hops() {
                vpp.neighbor_add(Neighbor {
                    no_fib_entry: true,
                    ..neighbor(index, nh, *mac)
                })
                .unwrap();
            }
            index
        })
        .collect();
    (vpp, entry, exits)
}

fn next_hops() -> [IpAddr; 2] {
    ["192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap()]
}

fn next_hop(family: Family) -> IpAddr {
    next_hops()[family.index()]
}

fn from_outside(family: Family) -> IpAddr {
    match family {
        Family::V4 => "192.0.2.77".parse().unwrap(),
        Family::V6 => "2001:db8::77".parse().unwrap(),
    }
}

fn any_rule() -> impl Strategy<Value = AclRule> {
    let side = || (any::<u8>(), any::<u8>());
    (
        any_prefix(),
        side(),
        prop_oneof![Just(0u8), Just(6), Just(17), Just(132)],
        0u16..8,
        0u16..8,
        0u8..2,
    )
        .prop_map(|(src, (length, last), proto, first, span, action)| {
            let family = src.family();
            let dst = match family {
                Family::V4 => Prefix::new([10, 0, 0, last], 32 - length % 32),
                Family::V6 => Prefix::new(
                    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()),
                    128 - length % 128,
                ),
            };
            AclRule {
                proto,
                dst_ports: (first, first + span),
                ..AclRule::any_proto(AclAction::from_number(action).unwrap(), src, dst.normalized())
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lookup_finds_the_longest_prefix(
        prefixes in proptest::collection::vec(any_prefix(), 1..40),
        destinations in proptest::collection::vec(address(), 1..20),
    ) {
        let macs: Vec<Mac> = (0..prefixes.len()).map(|n| Mac([2, 0, 0, 0, 1, n as u8])).collect();
        let (mut vpp, entry, exits) = entry_and_exit(&macs);
        for (p, exit) in prefixes.iter().zip(&exits) {
            let path = RoutePath::via(*exit, next_hop(p.family()));
            vpp.ip_route_add_del(&RouteUpdate::add(0, *p, vec![path])).unwrap();
        }
        let own = vpp.interface(entry).unwrap().mac;
        for to in destinations {
            // The last of equal prefixes replaced the others.
            let expected = prefixes
                .iter()
                .zip(&exits)
                .filter(|(p, _)| covers(p, to))
                .max_by_key(|(p, exit)| (p.len, **exit))
                .map(|(_, exit)| *exit);
            let packet = packets::udp(from_outside(Family::of(to)), to, (1, 2), b"");
            let out = vpp.rx(entry, &packets::frame(own, CLIENT, &packet), SECOND);
            prop_assert_eq!(out.first().map(|o| o.sw_if_index), expected, "{}", to);
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides(
        rules in proptest::collection::vec(any_rule(), 0..12),
        cut in 0usize..12,
        flows in proptest::collection::vec((address(), any::<u8>(), 0u16..16, any::<bool>()), 1..20),
    ) {
        let (mut vpp, entry, exits) = entry_and_exit(&[Mac([2; 6])]);
        for family in Family::BOTH {
            let path = RoutePath::via(exits[0], next_hop(family));
            vpp.ip_route_add_del(&RouteUpdate::add(0, Prefix::any(family), vec![path])).unwrap();
        }
        // Two lists, one after the other, are one.
        let cut = cut.min(rules.len());
        let first = vpp.acl_add_replace(None, "a", rules[..cut].to_vec()).unwrap();
        let second = vpp.acl_add_replace(None, "b", rules[cut..].to_vec()).unwrap();
        vpp.acl_set_lists(entry, &[first, second], &[]).unwrap();
        let own = vpp.interface(entry).unwrap().mac;
        for (src, last, port, is_udp) in flows {
            let dst: IpAddr = match src {
                IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, last).into(),
                IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
            };
            let (proto, packet) = if is_udp {
                (17, packets::udp(src, dst, (4000, port), b""))
            } else {
                (6, packets::tcp(src, dst, (4000, port), packets::SYN, b""))
            };
            let expected = rules
                .iter()
                .find(|r| {
                    covers(&r.src, src)
                        && covers(&r.dst, dst)
                        && (r.proto == 0
                            || r.proto == proto && (r.dst_ports.0..=r.dst_ports.1).contains(&port))
                })
                .is_some_and(|r| r.action != AclAction::Deny);
            let out = vpp.rx(entry, &packets::frame(own, CLIENT, &packet), SECOND);
            prop_assert_eq!(out.len() == 1, expected, "{} -> {} {} {}", src, dst, proto, port);
        }
    }

    #[test]
    fn translation_keeps_checksums_right_there_and_back(
        vip in address(),
        backend in address(),
        ports in (1u16.., 1u16.., 1u16..),
        payload in proptest::collection::vec(any::<u8>(), 0..80),
        is_udp in any::<bool>(),
    ) {
        prop_assume!(Family::of(vip) == Family::of(backend) && vip != backend);
        let family = Family::of(vip);
        let (mut vpp, entry, exits) = entry_and_exit(&[Mac([2; 6])]);
        let exit = exits[0];
        let path = RoutePath::via(exit, next_hop(family));
        vpp.ip_route_add_del(&RouteUpdate::add(0, Prefix::host(backend), vec![path])).unwrap();
        let client = from_outside(family);
        vpp.neighbor_add(neighbor(entry, client, CLIENT)).unwrap();
        let flags = snat_flag::NO_CLIENT | snat_flag::USE_AS_DEFAULT;
        vpp.cnat_set_snat_addresses(SnatAddresses {
            fwd_fib_index: 0, ret_fib_index: 0, ip4: [192, 0, 2, 1].into(),
            ip6: "2001:db8::1".parse().unwrap(), sw_if_index: NONE, flags,
        }).unwrap();
        vpp.cnat_set_snat_policy(SnatPolicy::IfPfx).unwrap();
        for index in [entry, exit] {
            vpp.cnat_feature_enable(index, true).unwrap();
        }
        let (client_port, vip_port, backend_port) = ports;
        let proto = if is_udp { 17 } else { 6 };
        vpp.cnat_translation_update(&TranslationUpdate {
            vip: CnatEndpoint::new(vip, vip_port), proto, is_real_ip: false,
            flags: translation_flag::NO_CLIENT, load_balance: LoadBalance::Default, flow_hash: 0,
            paths: vec![CnatPath::to(backend, backend_port)],
        }).unwrap();
        let make = |src, dst, ports| if is_udp {
            packets::udp(src, dst, ports, &payload)
        } else {
            packets::tcp(src, dst, ports, packets::ACK, &payload)
        };
        let macs = |vpp: &Vpp, i| vpp.interface(i).unwrap().mac;
        let there = packets::frame(macs(&vpp, entry), CLIENT, &make(client, vip, (client_port, vip_port)));
        let out = vpp.rx(entry, &there, SECOND);
        prop_assert_eq!(out.len(), 1);
        // `read` verifies every checksum.
        let seen = packets::read(packets::ip_of(&out[0].frame).unwrap());
        prop_assert_eq!((seen.src, seen.dst, seen.ports), (client, backend, (client_port, backend_port)));
        let back = packets::frame(macs(&vpp, exit), Mac([2; 6]), &make(backend, client, (backend_port, client_port)));
        let out = vpp.rx(exit, &back, SECOND);
        prop_assert_eq!(out.len(), 1);
        let seen = packets::read(packets::ip_of(&out[0].frame).unwrap());
        prop_assert_eq!((seen.src, seen.dst, seen.ports), (vip, client, (vip_port, client_port)));
    }

    #[test]
    fn garbage_never_panics(frame in proptest::collection::vec(any::<u8>(), 0..120), kind in 0u8..4) {
        let (mut vpp, entry, _) = entry_and_exit(&[Mac([2; 6])]);
        vpp.cnat_set_snat_addresses(SnatAddresses {
            fwd_fib_index: 0, ret_fib_index: 0, ip4: [192, 0, 2, 1].into(),
            ip6: "2001:db8::1".parse().unwrap(), sw_if_index: NONE, flags: 6,
        }).unwrap();
        vpp.cnat_feature_enable(entry, true).unwrap();
        let own = vpp.interface(entry).unwrap().mac;
        let mut frame = frame;
        if frame.len() >= 14 {
            frame[..6].copy_from_slice(&own.0);
            let ethertype = [[8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]][usize::from(kind)];
            frame[12..14].copy_from_slice(&ethertype);
        }
        vpp.walk(entry, &frame, SECOND);
    }

    #[test]
    fn damaged_packets_never_panic(
        which in 0u8..4,
        flips in proptest::collection::vec((14usize..140, any::<u8>()), 1..6),
        cut in 14usize..160,
    ) {
        let (mut vpp, entry, exits) = entry_and_exit(&[Mac([2; 6])]);
        vpp.cnat_set_snat_addresses(SnatAddresses {
            fwd_fib_index: 0, ret_fib_index: 0, ip4: [192, 0, 2, 1].into(),
            ip6: "2001:db8::1".parse().unwrap(), sw_if_index: NONE, flags: 6,
        }).unwrap();
        for index in [entry, exits[0]] {
            vpp.cnat_feature_enable(index, true).unwrap();
        }
        let path = RoutePath::via(exits[0], next_hop(Family::V6));
        vpp.ip_route_add_del(&RouteUpdate::add(0, Prefix::any(Family::V6), vec![path])).unwrap();
        let (a, b) = (from_outside(Family::V6), "fd00::7".parse().unwrap());
        let flow = packets::udp(b, a, (53, 99), b"payload");
        let mut error = vec![1, 4, 0, 0, 0, 0, 0, 0];
        error.extend(&flow);
        let packet = match which {
            0 => packets::tcp(a, b, (1, 2), packets::SYN, b"payload"),
            1 => packets::echo(a, b, 1, true, 64, 40),
            2 => packets::sctp(a, b, (1, 2)),
            _ => packets::ip(a, b, 58, 64, error, Some(2)),
        };
        let mut frame = packets::frame(vpp.interface(entry).unwrap().mac, CLIENT, &packet);
        for (at, value) in flips {
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        frame.truncate(cut);
        vpp.rx(entry, &frame, SECOND);
        vpp.rx(entry, &frame, SECOND);
    }
}
