//! cnat's sessions and the packets it rewrites: errors, SCTP, UDP without checksum, leaving the cluster.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use std::net::IpAddr;

use engine_common::flow::Flow;
use engine_common::packets::{self, ACK, SYN, TCP, UDP};
use engine_common::services::{add, cluster, service};
use engine_common::world::{SECOND, World, addr, prefix};
use vpp_sim::engine::*;

#[test]
fn sessions_end_by_their_kind_and_purge_takes_all() {
    let mut world = cluster();
    add(&mut world, &service("10.96.0.10", 80, TCP, &[("10.1.1.4", 80)]));
    add(&mut world, &service("10.96.0.10", 53, UDP, &[("10.1.1.4", 80)]));
    assert!(world.ask("w1", addr("10.96.0.10"), 80, TCP).is_ok());
    assert!(world.ask("w1", addr("10.96.0.10"), 53, UDP).is_ok());
    let start = world.now;
    let count = |vpp: &Vpp| vpp.cnat_sessions().len();
    let vpp = &mut world.nodes[0];
    assert_eq!(count(vpp), 4, "one entry a direction");
    vpp.tick(start + 29 * SECOND);
    assert_eq!(count(vpp), 4);
    vpp.tick(start + 31 * SECOND);
    assert_eq!(count(vpp), 2, "the established connection lives on");
    vpp.tick(start + 3601 * SECOND);
    assert_eq!(count(vpp), 0);
    assert!(world.ask("w1", addr("10.96.0.10"), 80, TCP).is_ok());
    world.nodes[0].cnat_session_purge();
    assert_eq!(count(&world.nodes[0]), 0);
    assert!(
        world.nodes[0].cnat_translations().is_empty(),
        "VPP's handler purges translations too"
    );
}

#[test]
fn a_fin_lets_the_session_end_within_seconds() {
    let mut world = cluster();
    add(&mut world, &service("10.96.0.10", 80, TCP, &[("10.1.1.4", 80)]));
    let (client, vip) = (addr("10.1.1.2"), addr("10.96.0.10"));
    for flags in [SYN, ACK, ACK | packets::FIN] {
        world.send("w1", &packets::tcp(client, vip, (6000, 80), flags, &[]));
    }
    let start = world.now;
    world.nodes[0].tick(start + 6 * SECOND);
    assert!(world.nodes[0].cnat_sessions().is_empty());
}

/// `cnat_session_is_stale` of 26.06: whatever the protocol, a session goes with its backend, and those of others stay.
#[test]
fn a_session_ends_with_its_backend_when_the_scanner_looks() {
    let mut world = cluster();
    let (both, one) = ([("10.1.1.4", 80), ("10.1.1.5", 80)], [("10.1.1.5", 80)]);
    let mut flows = Vec::new();
    for (proto, port) in [(TCP, 80), (UDP, 53)] {
        add(&mut world, &service("10.96.0.10", port, proto, &both));
        for server in ["w3 10.1.1.2", "w4 10.1.1.2"] {
            let flow = (5000..5100).find_map(|from| {
                let flow = Flow {
                    from: "w1".into(),
                    source: addr("10.1.1.2"),
                    to: addr("10.96.0.10"),
                    ports: (from, port),
                    proto,
                };
                (flow.open(&mut world).as_deref() == Ok(server)).then_some(flow)
            });
            flows.push((flow.unwrap(), server));
        }
    }
    let now = |flow: &Flow, world: &mut World| match flow.proto {
        TCP => flow.echo(world),
        _ => flow.open(world),
    };
    for (proto, port) in [(TCP, 80), (UDP, 53)] {
        add(&mut world, &service("10.96.0.10", port, proto, &one));
    }
    world.nodes[0].cnat_scanner(false);
    let later = world.now + 2 * SECOND;
    world.nodes[0].tick(later);
    for (flow, server) in &flows {
        assert_eq!(now(flow, &mut world).as_deref(), Ok(*server), "nobody has looked");
    }
    world.nodes[0].cnat_scanner(true);
    world.nodes[0].tick(later);
    for (flow, server) in &flows {
        // In the middle of a connection the other backend knows nothing of it.
        let expected = match (flow.proto, *server) {
            (UDP, _) => Ok("w4 10.1.1.2"),
            (_, "w3 10.1.1.2") => continue,
            (_, other) => Ok(other),
        };
        assert_eq!(now(flow, &mut world).as_deref(), expected, "{flow:?}");
    }
    let backends: Vec<IpAddr> = world.nodes[0]
        .cnat_sessions()
        .iter()
        .map(|session| session.key.src)
        .collect();
    assert!(!backends.contains(&addr("10.1.1.4")), "{backends:?}");
}

#[test]
fn errors_about_a_translated_flow_come_back_in_the_virtual_addresss_name() {
    let mut world = cluster();
    for (client, vip, backend, kind, code) in [
        ("10.1.1.2", "10.96.0.10", "10.1.1.4", 3u8, 3u8),
        ("fd00:1::2", "fd00:96::10", "fd00:1::4", 1, 4),
    ] {
        add(&mut world, &service(vip, 53, UDP, &[(backend, 5353)]));
        let (client, vip, backend): (IpAddr, IpAddr, IpAddr) = (addr(client), addr(vip), addr(backend));
        let ask = packets::udp(client, vip, (9000, 53), b"question");
        let got = world.send("w1", &ask);
        assert_eq!((got[0].0.as_str(), got[0].1.ports), ("w3", (9000, 5353)));
        // The backend's kernel: nobody listens.
        let mut body = vec![kind, code, 0, 0, 0, 0, 0, 0];
        body.extend(&got[0].1.data);
        let proto = if client.is_ipv4() { 1 } else { 58 };
        let error = packets::ip(backend, client, proto, 64, body, Some(2));
        let back = world.send("w3", &error);
        let seen = &back
            .iter()
            .find(|(pod, _)| pod == "w1")
            .expect("the error arrives")
            .1;
        assert_eq!(seen.src, vip);
        let inner = packets::read(&seen.l4[8..]);
        assert_eq!((inner.src, inner.dst, inner.ports), (client, vip, (9000, 53)));
    }
}

#[test]
fn udp_without_checksum_stays_without() {
    let mut world = cluster();
    add(&mut world, &service("10.96.0.10", 53, UDP, &[("10.1.1.4", 5353)]));
    let mut ask = packets::udp(addr("10.1.1.2"), addr("10.96.0.10"), (9000, 53), b"question");
    ask[26..28].copy_from_slice(&[0, 0]);
    let got = world.send("w1", &ask);
    assert_eq!(&got[0].1.l4[6..8], &[0, 0]);
}

#[test]
fn sctp_is_translated_with_its_own_checksum() {
    let mut world = cluster();
    add(
        &mut world,
        &service("10.96.0.10", 36412, packets::SCTP, &[("10.1.1.4", 36412)]),
    );
    let init = packets::sctp(addr("10.1.1.2"), addr("10.96.0.10"), (5000, 36412));
    let got = world.send("w1", &init);
    assert_eq!((got[0].0.as_str(), got[0].1.dst), ("w3", addr("10.1.1.4")));
    let answer = packets::sctp(addr("10.1.1.4"), addr("10.1.1.2"), (36412, 5000));
    assert_eq!(world.send("w3", &answer)[0].1.src, addr("10.96.0.10"));
}

#[test]
fn a_pod_that_leaves_the_cluster_is_source_natted_and_gets_its_answers() {
    let mut world = cluster();
    let vpp = &mut world.nodes[0];
    let up = vpp.create_af_packet("uplink", None, None).unwrap();
    vpp.set_admin(up, true).unwrap();
    vpp.add_address(up, prefix("192.168.16.1/24")).unwrap();
    vpp.cnat_feature_enable(up, true).unwrap();
    let router = Mac([2, 9, 9, 9, 9, 9]);
    vpp.neighbor_add(engine_common::world::neighbor(up, addr("192.168.16.254"), router))
        .unwrap();
    let default = RoutePath::via(up, addr("192.168.16.254"));
    vpp.ip_route_add_del(&RouteUpdate::add(0, prefix("0.0.0.0/0"), vec![default]))
        .unwrap();
    let (mac, up_mac) = (vpp.interface(2).unwrap().mac, vpp.interface(up).unwrap().mac);
    let syn = packets::tcp(addr("10.1.1.2"), addr("198.51.100.7"), (4000, 443), SYN, &[]);
    let out = vpp.rx(2, &packets::frame(mac, Mac([10, 0, 0, 0, 0, 1]), &syn), SECOND);
    let seen = packets::read(packets::ip_of(&out[0].frame).unwrap());
    assert_eq!(
        (out[0].sw_if_index, seen.src, seen.ports.1),
        (up, addr("192.168.16.1"), 443)
    );
    assert!(seen.ports.0 >= 0xc000);
    let answer = packets::tcp(seen.dst, seen.src, (443, seen.ports.0), SYN | ACK, &[]);
    let back = vpp.rx(up, &packets::frame(up_mac, router, &answer), SECOND);
    let seen = packets::read(packets::ip_of(&back[0].frame).unwrap());
    assert_eq!(
        (back[0].sw_if_index, seen.dst, seen.ports),
        (2, addr("10.1.1.2"), (443, 4000))
    );
}
