//! nat44-ed. All packets and sessions were seen on VPP 26.06 with the same configuration and order: its port numbers
//! come from its own generator, which starts the same every time.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use std::net::Ipv4Addr;

use engine_common::script::Bench;
use engine_common::world::{SECOND, prefix};
use vpp_sim::engine::nat44_mapping_flag::{ADDR_ONLY, OUT2IN_ONLY, TWICE_NAT};
use vpp_sim::engine::*;

const TCP: u8 = 6;
const UDP: u8 = 17;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// Port a inside, port b outside, 20.0.0.10 in the pool.
fn nat() -> Bench {
    let mut bench = Bench::routed();
    let (inside, outside) = (bench.port("a"), bench.port("b"));
    bench.vpp.nat44_enable(Nat44Config::default()).unwrap();
    bench.vpp.nat44_interface_add(inside, true).unwrap();
    bench.vpp.nat44_interface_add(outside, false).unwrap();
    let pool = ip("20.0.0.10");
    bench
        .vpp
        .nat44_address_range(pool, pool, NONE, false, true)
        .unwrap();
    bench
}

fn mapping(proto: u8, external: (&str, u16), local: (&str, u16)) -> Nat44Mapping {
    Nat44Mapping {
        flags: 0,
        local: (ip(local.0), local.1),
        external: (ip(external.0), external.1),
        proto,
        table_id: NONE,
        interface: None,
        pool_address: None,
        is_identity: false,
        tag: String::new(),
    }
}

/// Two mappings with ports, and one of an address alone.
fn mapped() -> Bench {
    let mut bench = nat();
    for wanted in [
        mapping(TCP, ("20.0.0.20", 8080), ("10.0.0.2", 80)),
        mapping(UDP, ("20.0.0.20", 53), ("10.0.0.2", 5353)),
        Nat44Mapping {
            flags: ADDR_ONLY,
            ..mapping(0, ("20.0.0.21", 0), ("10.0.0.3", 0))
        },
    ] {
        bench.vpp.nat44_mapping_add(wanted).unwrap();
    }
    bench
}

/// Outside end, inside end, peer, bytes, packets.
fn sessions(bench: &Bench, inside: &str) -> Vec<String> {
    let end = |(address, port): (Ipv4Addr, u16)| format!("{address}:{port}");
    let all = bench.vpp.nat44_user_sessions(ip(inside), bench.now).into_iter();
    all.map(|s| {
        format!(
            "{} {} {} {} {}B {}",
            end(s.outside),
            end(s.inside),
            end(s.host),
            s.proto,
            s.bytes,
            s.packets
        )
    })
    .collect()
}

#[test]
fn an_address_serves_many_hosts_as_long_as_their_peers_differ() {
    let mut bench = nat();
    bench.run(
        "
        a udp 10.0.0.2:5000>20.0.0.2:53 => b udp 20.0.0.10:5000>20.0.0.2:53
        b udp 20.0.0.2:53>20.0.0.10:5000 => a udp 20.0.0.2:53>10.0.0.2:5000
        b udp 20.0.0.3:53>20.0.0.10:5000 =>
        a udp 10.0.0.3:5000>20.0.0.2:53 => b udp 20.0.0.10:63327>20.0.0.2:53
        a udp 10.0.0.3:5000>20.0.0.3:53 => b udp 20.0.0.10:5000>20.0.0.3:53
        a udp 10.0.0.2:500>20.0.0.2:53 => b udp 20.0.0.10:11570>20.0.0.2:53
        ",
    );
    assert_eq!(
        sessions(&bench, "10.0.0.2"),
        [
            "20.0.0.10:5000 10.0.0.2:5000 20.0.0.2:53 17 66B 2",
            "20.0.0.10:11570 10.0.0.2:500 20.0.0.2:53 17 33B 1",
        ]
    );
    assert_eq!(
        sessions(&bench, "10.0.0.3"),
        [
            "20.0.0.10:63327 10.0.0.3:5000 20.0.0.2:53 17 33B 1",
            "20.0.0.10:5000 10.0.0.3:5000 20.0.0.3:53 17 33B 1",
        ]
    );
    let users = bench.vpp.nat44_users();
    let counts: Vec<_> = users.iter().map(|u| (u.sessions, u.static_sessions)).collect();
    assert_eq!(counts, [(2, 0), (2, 0)]);
}

#[test]
fn without_a_pool_nothing_leaves() {
    let mut bench = nat();
    let pool = ip("20.0.0.10");
    bench
        .vpp
        .nat44_address_range(pool, pool, NONE, false, false)
        .unwrap();
    bench.run("a udp 10.0.0.2:5000>20.0.0.2:53 =>");
}

#[test]
fn tcp_begins_with_a_syn() {
    nat().run(
        "
        a tcp 10.0.0.2:6000>20.0.0.2:80 A =>
        a tcp 10.0.0.2:6000>20.0.0.2:80 S => b tcp 20.0.0.10:6000>20.0.0.2:80 S
        b tcp 20.0.0.2:80>20.0.0.10:6000 SA => a tcp 20.0.0.2:80>10.0.0.2:6000 SA
        a tcp 10.0.0.2:6000>20.0.0.2:80 PA => b tcp 20.0.0.10:6000>20.0.0.2:80 PA
        ",
    );
}

#[test]
fn echoes_get_an_identifier_of_the_pool() {
    // The first number VPP draws is 63327; a taken one would be drawn again.
    nat().run(
        "
        a icmp 10.0.0.2>20.0.0.2 8.0/77 => b icmp 20.0.0.10>20.0.0.2 8.0/63327
        b icmp 20.0.0.2>20.0.0.10 0.0/77 =>
        b icmp 20.0.0.2>20.0.0.10 0.0/63327 => a icmp 20.0.0.2>10.0.0.2 0.0/77
        a icmp 10.0.0.2>20.0.0.2 13.0/0 =>
        ",
    );
}

#[test]
fn icmp_errors_follow_the_flow_they_are_about() {
    let mut bench = nat();
    bench.run(
        "
        a udp 10.0.0.2:5000>20.0.0.2:53 => b udp 20.0.0.10:5000>20.0.0.2:53
        a tcp 10.0.0.2:6000>20.0.0.2:80 S => b tcp 20.0.0.10:6000>20.0.0.2:80 S
        b icmp 20.0.0.2>20.0.0.10 3.3 [udp 20.0.0.10:5000>20.0.0.2:53] => a icmp 20.0.0.2>10.0.0.2 3.3 [udp 10.0.0.2:5000>20.0.0.2:53]
        b icmp 20.0.0.3>20.0.0.10 11.0 [udp 20.0.0.10:5000>20.0.0.2:53] => a icmp 20.0.0.3>10.0.0.2 11.0 [udp 10.0.0.2:5000>20.0.0.2:53]
        b icmp 20.0.0.3>20.0.0.10 11.0 [udp 20.0.0.10:5000>20.0.0.2:53 cut28] => a icmp 20.0.0.3>10.0.0.2 11.0 [udp 10.0.0.2:5000>20.0.0.2:53]
        b icmp 20.0.0.3>20.0.0.10 11.0 [tcp 20.0.0.10:6000>20.0.0.2:80 A] => a icmp 20.0.0.3>10.0.0.2 11.0 [tcp 10.0.0.2:6000>20.0.0.2:80 A]
        b icmp 20.0.0.3>20.0.0.10 11.0 [tcp 20.0.0.10:6000>20.0.0.2:80 A cut28] =>
        a icmp 10.0.0.2>20.0.0.2 3.3 [udp 20.0.0.2:53>10.0.0.2:5000] => b icmp 20.0.0.10>20.0.0.2 3.3 [udp 20.0.0.2:53>20.0.0.10:5000]
        a udp 10.0.0.2:5000>20.0.0.2:53 ttl1 => a icmp 10.0.0.1>10.0.0.2 11.0 [udp 10.0.0.2:5000>20.0.0.2:53] ttl255
        b udp 20.0.0.2:53>20.0.0.10:5000 ttl1 => b icmp 20.0.0.1>20.0.0.2 11.0 [udp 20.0.0.2:53>20.0.0.10:5000] ttl255
        ",
    );
}

#[test]
fn what_is_not_for_nat() {
    nat().run(
        "
        b udp 20.0.0.2:9>20.0.0.10:9 =>
        b udp 20.0.0.2:9>10.0.0.2:9 =>
        b icmp 20.0.0.2>20.0.0.1 8.0/5 => b icmp 20.0.0.1>20.0.0.2 0.0/5 ttl64
        b udp 20.0.0.2:5>20.0.0.1:5 =>
        a icmp 10.0.0.2>10.0.0.1 8.0/5 => a icmp 10.0.0.1>10.0.0.2 0.0/5 ttl64
        a udp 10.0.0.2:5>30.0.0.2:5 => c udp 10.0.0.2:5>30.0.0.2:5
        b udp 20.0.0.2:5>30.0.0.2:5 =>
        ",
    );
}

#[test]
fn protocols_without_ports_go_by_their_addresses() {
    let mut bench = nat();
    bench.run(
        "
        a ip47 10.0.0.2>20.0.0.2 => b ip47 20.0.0.10>20.0.0.2
        b ip47 20.0.0.2>20.0.0.10 => a ip47 20.0.0.2>10.0.0.2
        a ip47 10.0.0.3>20.0.0.3 => b ip47 20.0.0.10>20.0.0.3
        ",
    );
    // VPP shows the protocol as port, in its own byte order, and no protocol.
    assert_eq!(
        sessions(&bench, "10.0.0.2"),
        ["20.0.0.10:12032 10.0.0.2:12032 20.0.0.2:0 0 80B 2"]
    );
}

#[test]
fn static_mappings_work_both_ways_and_for_neighbours_inside() {
    let mut bench = mapped();
    bench.run(
        "
        b tcp 20.0.0.2:1000>20.0.0.20:8080 A =>
        b tcp 20.0.0.2:1000>20.0.0.20:8080 S => a tcp 20.0.0.2:1000>10.0.0.2:80 S
        a tcp 10.0.0.2:80>20.0.0.2:1000 SA => b tcp 20.0.0.20:8080>20.0.0.2:1000 SA
        b tcp 20.0.0.2:1000>20.0.0.20:8080 A => a tcp 20.0.0.2:1000>10.0.0.2:80 A
        a tcp 10.0.0.2:80>20.0.0.3:1001 S => b tcp 20.0.0.20:8080>20.0.0.3:1001 S
        b udp 20.0.0.3:1>20.0.0.20:53 => a udp 20.0.0.3:1>10.0.0.2:5353
        b udp 20.0.0.3:1>20.0.0.20:54 =>
        b icmp 20.0.0.2>20.0.0.20 8.0/9 =>
        b icmp 20.0.0.2>20.0.0.21 8.0/9 => a icmp 20.0.0.2>10.0.0.3 8.0/9
        a icmp 10.0.0.3>20.0.0.2 0.0/9 => b icmp 20.0.0.21>20.0.0.2 0.0/9
        b udp 20.0.0.2:7>20.0.0.21:8 => a udp 20.0.0.2:7>10.0.0.3:8
        a udp 10.0.0.3:11>20.0.0.3:12 => b udp 20.0.0.21:11>20.0.0.3:12
        a tcp 10.0.0.3:2000>20.0.0.20:8080 S => a tcp 20.0.0.21:2000>10.0.0.2:80 S
        a tcp 10.0.0.2:80>20.0.0.21:2000 SA => a tcp 20.0.0.20:80>10.0.0.3:2000 SA
        ",
    );
    assert_eq!(
        sessions(&bench, "10.0.0.2"),
        [
            "20.0.0.20:8080 10.0.0.2:80 20.0.0.2:1000 6 120B 3",
            "20.0.0.20:8080 10.0.0.2:80 20.0.0.3:1001 6 40B 1",
            "20.0.0.20:53 10.0.0.2:5353 20.0.0.3:1 17 33B 1",
        ]
    );
}

#[test]
fn vpp_answers_for_outside_addresses() {
    let bench = mapped();
    let routes = bench.vpp.ip_routes(Family::V4, 0, 0);
    for (address, there) in [
        ("20.0.0.10/32", true),
        ("20.0.0.20/32", true),
        ("20.0.0.99/32", false),
    ] {
        let found = routes.iter().any(|r| r.prefix == prefix(address));
        assert_eq!(found, there, "{address}");
    }
}

fn balanced(external: &str, affinity: u32, shares: [u8; 2]) -> Nat44LbMapping {
    let backend = |address: &str, port, probability| Nat44Backend {
        address: ip(address),
        port,
        probability,
        table_id: 0,
    };
    Nat44LbMapping {
        flags: OUT2IN_ONLY,
        external: (ip(external), 80),
        proto: TCP,
        affinity,
        tag: String::new(),
        backends: vec![
            backend("10.0.0.2", 81, shares[0]),
            backend("10.0.0.3", 82, shares[1]),
        ],
    }
}

#[test]
fn backends_are_drawn_by_their_probability() {
    let mut bench = nat();
    bench.vpp.nat44_lb_add(balanced("20.0.0.30", 0, [1, 3])).unwrap();
    let mut taken = [0, 0];
    for port in 3000..3400 {
        let out = bench.send("b", &format!("tcp 20.0.0.2:{port}>20.0.0.30:80 S"));
        taken[usize::from(out.contains("10.0.0.3:82"))] += 1;
        assert!(out.starts_with("a tcp 20.0.0.2:"), "{out}");
    }
    assert!((60..140).contains(&taken[0]), "one in four: {taken:?}");
    // The answer comes from the service again.
    let back =
        ["10.0.0.2:81", "10.0.0.3:82"].map(|end| bench.send("a", &format!("tcp {end}>20.0.0.2:3000 SA")));
    assert!(
        back.contains(&"b tcp 20.0.0.30:80>20.0.0.2:3000 SA".to_owned()),
        "{back:?}"
    );
}

#[test]
fn a_client_keeps_its_backend() {
    let mut bench = nat();
    bench.vpp.nat44_lb_add(balanced("20.0.0.31", 30, [1, 1])).unwrap();
    for client in ["20.0.0.2", "20.0.0.3"] {
        let backends: std::collections::BTreeSet<String> = (3100..3110)
            .map(|port| bench.send("b", &format!("tcp {client}:{port}>20.0.0.31:80 S")))
            .map(|out| out.split('>').nth(1).unwrap().to_owned())
            .collect();
        assert_eq!(backends.len(), 1, "{client}: {backends:?}");
    }
}

#[test]
fn exemptions_and_twice_nat() {
    let mut bench = mapped();
    bench
        .vpp
        .nat44_mapping_add(Nat44Mapping {
            is_identity: true,
            table_id: 0,
            ..mapping(UDP, ("10.0.0.2", 99), ("10.0.0.2", 99))
        })
        .unwrap();
    let twice = ip("40.0.0.1");
    bench
        .vpp
        .nat44_address_range(twice, twice, NONE, true, true)
        .unwrap();
    bench
        .vpp
        .nat44_mapping_add(Nat44Mapping {
            flags: TWICE_NAT,
            ..mapping(TCP, ("20.0.0.20", 9000), ("10.0.0.2", 90))
        })
        .unwrap();
    bench.run(
        "
        a udp 10.0.0.2:99>20.0.0.2:1 => b udp 10.0.0.2:99>20.0.0.2:1
        b udp 20.0.0.2:1>10.0.0.2:99 => a udp 20.0.0.2:1>10.0.0.2:99
        b tcp 20.0.0.3:4000>20.0.0.20:9000 S => a tcp 40.0.0.1:63327>10.0.0.2:90 S
        a tcp 10.0.0.2:90>40.0.0.1:63327 SA => b tcp 20.0.0.20:9000>20.0.0.3:4000 SA
        ",
    );
}

#[test]
fn with_forwarding_what_matches_nothing_passes_and_its_answers_too() {
    let mut bench = nat();
    bench.vpp.nat44_forwarding(true);
    bench.run(
        "
        b udp 20.0.0.2:9>10.0.0.2:9 => a udp 20.0.0.2:9>10.0.0.2:9
        a udp 10.0.0.2:9>20.0.0.2:9 => b udp 10.0.0.2:9>20.0.0.2:9
        a udp 10.0.0.2:40>20.0.0.3:41 => b udp 10.0.0.2:40>20.0.0.3:41
        b icmp 20.0.0.2>10.0.0.2 8.0/3 => a icmp 20.0.0.2>10.0.0.2 8.0/3
        a icmp 10.0.0.2>20.0.0.2 0.0/3 => b icmp 10.0.0.2>20.0.0.2 0.0/3
        b ip47 20.0.0.2>10.0.0.2 => a ip47 20.0.0.2>10.0.0.2
        ",
    );
    assert_eq!(bench.vpp.nat44_session_count(), 2, "one for each answered flow");
    bench.vpp.nat44_forwarding(false);
    assert_eq!(bench.vpp.nat44_session_count(), 0);
}

#[test]
fn idle_sessions_end_and_limits_hold() {
    let mut bench = nat();
    bench.run("a udp 10.0.0.2:5000>20.0.0.2:53 => b udp 20.0.0.10:5000>20.0.0.2:53");
    bench.now += 299 * SECOND;
    bench.run("b udp 20.0.0.2:53>20.0.0.10:5000 => a udp 20.0.0.2:53>10.0.0.2:5000");
    bench.now += 300 * SECOND;
    assert!(bench.vpp.nat44_user_sessions(ip("10.0.0.2"), bench.now)[0].is_timed_out);
    bench.run("b udp 20.0.0.2:53>20.0.0.10:5000 =>");
    assert_eq!(bench.vpp.nat44_session_count(), 0);
    bench.vpp.nat44_set_session_limit(1, 0).unwrap();
    bench.run(
        "
        a udp 10.0.0.2:5000>20.0.0.2:53 => b udp 20.0.0.10:5000>20.0.0.2:53
        a udp 10.0.0.2:5001>20.0.0.2:53 =>
        ",
    );
}

#[test]
fn an_interface_on_both_sides_goes_by_the_packet() {
    let mut bench = mapped();
    let inside = bench.port("a");
    bench.vpp.nat44_interface_add(inside, false).unwrap();
    bench.run(
        "
        a udp 10.0.0.2:5001>20.0.0.2:53 => b udp 20.0.0.10:5001>20.0.0.2:53
        b udp 20.0.0.2:53>20.0.0.10:5001 => a udp 20.0.0.2:53>10.0.0.2:5001
        a tcp 10.0.0.3:2001>20.0.0.20:8080 S => a tcp 10.0.0.3:2001>10.0.0.2:80 S
        a tcp 10.0.0.2:80>10.0.0.3:2001 SA => a tcp 20.0.0.20:8080>10.0.0.3:2001 SA
        ",
    );
}

#[test]
fn after_routing_the_pool_address_goes_by_the_source() {
    let mut bench = Bench::routed();
    let outside = bench.port("b");
    bench.vpp.nat44_enable(Nat44Config::default()).unwrap();
    bench.vpp.nat44_output_interface(outside, true).unwrap();
    bench
        .vpp
        .nat44_address_range(ip("20.0.0.11"), ip("20.0.0.12"), 0, false, true)
        .unwrap();
    bench.run(
        "
        a udp 10.0.0.2:5000>20.0.0.2:53 => b udp 20.0.0.12:5000>20.0.0.2:53
        b udp 20.0.0.2:53>20.0.0.11:5000 =>
        b udp 20.0.0.2:53>20.0.0.12:5000 => a udp 20.0.0.2:53>10.0.0.2:5000
        a udp 10.0.0.3:5000>20.0.0.2:53 => b udp 20.0.0.11:5000>20.0.0.2:53
        a udp 10.0.0.2:5>30.0.0.2:5 => c udp 10.0.0.2:5>30.0.0.2:5
        a icmp 10.0.0.2>20.0.0.1 8.0/3 => a icmp 20.0.0.1>10.0.0.2 0.0/3 ttl64
        a udp 10.0.0.2:5000>20.0.0.2:53 ttl1 => a icmp 10.0.0.1>10.0.0.2 11.0 [udp 10.0.0.2:5000>20.0.0.2:53] ttl255
        ",
    );
    // The Ethernet header counts on the way out: 33 + 14, and 33 back.
    assert_eq!(
        sessions(&bench, "10.0.0.2"),
        ["20.0.0.12:5000 10.0.0.2:5000 20.0.0.2:53 17 80B 2"]
    );
}

#[test]
fn what_kills_vpp_is_fatal() {
    let mut bench = nat();
    let many = |count: usize, probability| {
        let mut wanted = balanced("20.0.0.30", 0, [1, 1]);
        wanted.backends = vec![wanted.backends[0]; count];
        wanted
            .backends
            .iter_mut()
            .for_each(|b| b.probability = probability);
        wanted
    };
    for (count, probability) in [(256, 1), (2, 0), (2, 128)] {
        let result = bench.vpp.nat44_lb_add(many(count, probability));
        assert!(
            matches!(result, Err(OpError::Fatal(_))),
            "{count} of {probability}"
        );
    }
    bench.vpp.nat44_lb_add(many(255, 1)).unwrap();
    let added = Nat44Backend {
        address: ip("10.0.0.9"),
        port: 1,
        probability: 1,
        table_id: 0,
    };
    let result = bench.vpp.nat44_lb_local((ip("20.0.0.30"), 80), TCP, added, true);
    assert!(matches!(result, Err(OpError::Fatal(_))), "the sum becomes 256");
}
