//! cnat: services as Kubernetes wants them. The traps are those seen on real VPP 26.06.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use std::collections::BTreeSet;

use engine_common::flow::Flow;
use engine_common::packets::{self, SYN, TCP, UDP};
use engine_common::services::{add, cluster, kubernetes, pods, service, snat};
use engine_common::world::{SECOND, World, addr, prefix};
use vpp_sim::engine::*;

fn answers(world: &mut World, from: &str, vip: &str, port: u16, proto: u8, n: usize) -> BTreeSet<String> {
    world.probe(from, vip, port, proto, n).into_keys().collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|s| (*s).to_owned()).collect()
}

#[test]
fn every_backend_is_reached_and_sees_the_client_in_both_families() {
    let mut world = cluster();
    add(
        &mut world,
        &service("10.96.0.10", 80, TCP, &[("10.1.1.4", 8080), ("10.1.1.5", 8080)]),
    );
    add(
        &mut world,
        &service(
            "fd00:96::10",
            80,
            TCP,
            &[("fd00:1::4", 8080), ("fd00:1::5", 8080)],
        ),
    );
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.10", 80, TCP, 30),
        set(&["w3 10.1.1.2", "w4 10.1.1.2"])
    );
    assert_eq!(
        answers(&mut world, "w1", "fd00:96::10", 80, TCP, 30),
        set(&["w3 fd00:1::2", "w4 fd00:1::2"])
    );
}

#[test]
fn udp_and_tcp_of_one_port_are_separate() {
    let mut world = cluster();
    let tcp = add(&mut world, &service("10.96.0.10", 53, TCP, &[("10.1.1.4", 80)]));
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.10", 53, UDP, 1),
        set(&["TimeoutError:timed out"])
    );
    let udp = add(&mut world, &service("10.96.0.10", 53, UDP, &[("10.1.1.5", 80)]));
    assert_ne!(tcp, udp);
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.10", 53, UDP, 2),
        set(&["w4 10.1.1.2"])
    );
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.10", 53, TCP, 2),
        set(&["w3 10.1.1.2"])
    );
}

#[test]
fn without_a_source_nat_policy_every_client_is_rewritten() {
    let mut world = pods();
    let vpp = &mut world.nodes[0];
    vpp.cnat_set_snat_addresses(snat(0)).unwrap();
    for index in 2..=5 {
        vpp.cnat_feature_enable(index, true).unwrap();
    }
    add(
        &mut world,
        &TranslationUpdate {
            flags: 0,
            ..service("10.96.0.9", 80, TCP, &[("10.1.1.4", 8080)])
        },
    );
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.9", 80, TCP, 3),
        set(&["w3 192.168.16.1"])
    );
    add(
        &mut world,
        &service("fd00:96::9", 80, UDP, &[("fd00:1::4", 8080)]),
    );
    assert_eq!(
        answers(&mut world, "w1", "fd00:96::9", 80, UDP, 3),
        set(&["w3 fd00:99::1"])
    );
}

#[test]
fn a_hairpin_is_source_natted() {
    let mut world = cluster();
    add(&mut world, &service("10.96.0.10", 80, TCP, &[("10.1.1.2", 8080)]));
    add(
        &mut world,
        &service("fd00:96::10", 80, TCP, &[("fd00:1::2", 8080)]),
    );
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.10", 80, TCP, 3),
        set(&["w1 192.168.16.1"])
    );
    assert_eq!(
        answers(&mut world, "w1", "fd00:96::10", 80, TCP, 3),
        set(&["w1 fd00:99::1"])
    );
}

#[test]
fn equal_low_32_bits_of_ip6_addresses_count_as_a_hairpin() {
    // cnat_snat_policy_k8s compares the IPv4 view of IPv6 addresses too.
    let mut world = cluster();
    world.nodes[0].add_address(1, prefix("fd00:2::1/64")).unwrap();
    world.nodes[0]
        .cnat_snat_exclude(prefix("fd00:2::/64"), true)
        .unwrap();
    let index = world.pod(0, "w5", &["fd00:2::2"]);
    kubernetes(&mut world.nodes[0], &[index]);
    let seen = |world: &mut World| answers(world, "w1", "fd00:2::2", 80, TCP, 1);
    assert_eq!(seen(&mut world), set(&["w5 fd00:99::1"]));
    assert_eq!(
        answers(&mut world, "w2", "fd00:2::2", 80, TCP, 1),
        set(&["w5 fd00:1::3"])
    );
}

#[test]
fn enabling_the_feature_twice_breaks_translation_until_it_is_disabled_once() {
    let mut world = cluster();
    add(&mut world, &service("10.96.0.10", 80, TCP, &[("10.1.1.4", 8080)]));
    world.nodes[0].cnat_feature_enable(2, true).unwrap();
    assert_eq!(world.nodes[0].cnat_feature_count(2), 2);
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.10", 80, TCP, 2),
        set(&["TimeoutError:timed out"])
    );
    world.nodes[0].cnat_feature_enable(2, false).unwrap();
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.10", 80, TCP, 2),
        set(&["w3 10.1.1.2"])
    );
    assert_eq!(
        world.nodes[0].cnat_feature_enable(99, true),
        Err(OpError::Retval(-2))
    );
}

#[test]
fn an_update_keeps_the_id_and_live_sessions_of_removed_backends() {
    let mut world = cluster();
    let id = add(&mut world, &service("10.96.0.20", 80, TCP, &[("10.1.1.4", 80)]));
    let flow = Flow {
        from: "w1".into(),
        source: addr("10.1.1.2"),
        to: addr("10.96.0.20"),
        ports: (5555, 80),
        proto: TCP,
    };
    assert_eq!(flow.open(&mut world).unwrap(), "w3 10.1.1.2");
    assert_eq!(
        add(&mut world, &service("10.96.0.20", 80, TCP, &[("10.1.1.5", 80)])),
        id
    );
    assert_eq!(flow.echo(&mut world).unwrap(), "w3 10.1.1.2");
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.20", 80, TCP, 4),
        set(&["w4 10.1.1.2"])
    );
    world.nodes[0].cnat_translation_del(id).unwrap();
    assert_eq!(world.nodes[0].cnat_translation_del(id), Err(OpError::Retval(-6)));
    assert_eq!(flow.echo(&mut world).unwrap(), "w3 10.1.1.2");
    assert_eq!(
        answers(&mut world, "w1", "10.96.0.20", 80, TCP, 1),
        set(&["TimeoutError:timed out"])
    );
}

#[test]
fn maglev_with_the_source_in_the_hash_keeps_one_backend_per_client() {
    let mut world = cluster();
    for (vip, backends) in [
        (
            "10.96.0.11",
            [("10.1.1.3", 80), ("10.1.1.4", 80), ("10.1.1.5", 80)],
        ),
        (
            "fd00:96::11",
            [("fd00:1::3", 80), ("fd00:1::4", 80), ("fd00:1::5", 80)],
        ),
    ] {
        let mut update = service(vip, 80, TCP, &backends);
        update.load_balance = LoadBalance::Maglev;
        update.flow_hash = 1;
        add(&mut world, &update);
        for client in ["w1", "w2", "w4"] {
            assert_eq!(
                answers(&mut world, client, vip, 80, TCP, 8).len(),
                1,
                "{client} {vip}"
            );
        }
    }
}

#[test]
fn egress_policy_sees_the_backend_and_ingress_policy_the_client() {
    let mut world = cluster();
    add(&mut world, &service("10.96.0.12", 80, TCP, &[("10.1.1.4", 8080)]));
    let vpp = &mut world.nodes[0];
    let rule = |action, src: &str, dst: &str, port| AclRule {
        proto: TCP,
        dst_ports: (port, port),
        ..AclRule::any_proto(action, prefix(src), prefix(dst))
    };
    let permit = AclAction::PermitReflect;
    let any = AclRule::any_proto(permit, prefix("0.0.0.0/0"), prefix("0.0.0.0/0"));
    let open = vpp.acl_add_replace(None, "open", vec![any]).unwrap();
    let backend = vpp
        .acl_add_replace(None, "e", vec![rule(permit, "0.0.0.0/0", "10.1.1.4/32", 8080)])
        .unwrap();
    let vip = vpp
        .acl_add_replace(None, "v", vec![rule(permit, "0.0.0.0/0", "10.96.0.12/32", 80)])
        .unwrap();
    let client = vpp
        .acl_add_replace(None, "i", vec![rule(permit, "10.1.1.2/32", "0.0.0.0/0", 8080)])
        .unwrap();
    vpp.acl_set_lists(2, &[backend], &[open]).unwrap();
    assert!(world.ask("w1", addr("10.96.0.12"), 80, TCP).is_ok());
    world.nodes[0].acl_set_lists(2, &[vip], &[open]).unwrap();
    assert!(world.ask("w1", addr("10.96.0.12"), 80, TCP).is_err());
    world.nodes[0].acl_set_lists(2, &[], &[]).unwrap();
    world.nodes[0].acl_set_lists(4, &[open], &[client]).unwrap();
    assert!(world.ask("w1", addr("10.96.0.12"), 80, TCP).is_ok());
    assert!(world.ask("w2", addr("10.96.0.12"), 80, TCP).is_err());
}

#[test]
fn the_order_is_dnat_input_acl_lookup_output_acl_unnat() {
    let mut world = cluster();
    add(&mut world, &service("10.96.0.12", 80, TCP, &[("10.1.1.4", 8080)]));
    let vpp = &mut world.nodes[0];
    let any = AclRule::any_proto(AclAction::PermitReflect, prefix("0.0.0.0/0"), prefix("0.0.0.0/0"));
    let open = vpp.acl_add_replace(None, "open", vec![any]).unwrap();
    vpp.acl_set_lists(2, &[open], &[open]).unwrap();
    vpp.acl_set_lists(4, &[open], &[open]).unwrap();
    let mac = vpp.interface(2).unwrap().mac;
    let syn = packets::tcp(addr("10.1.1.2"), addr("10.96.0.12"), (7000, 80), SYN, &[]);
    let trace = vpp.walk(2, &packets::frame(mac, Mac([10, 0, 0, 0, 0, 1]), &syn), SECOND);
    assert_eq!(
        trace.path(),
        [
            "ethernet-input",
            "ip4-input",
            "cnat-lookup-ip4",
            "cnat-input-ip4",
            "acl-plugin-in-ip4-fa",
            "ip4-lookup",
            "ip4-rewrite",
            "acl-plugin-out-ip4-fa",
            "cnat-output-ip4",
            "cnat-writeback-ip4",
            "host-v-w3-output",
            "host-v-w3-tx",
        ]
    );
    assert_eq!(trace.fate, Fate::Transmitted { sw_if_index: 4 });
}

#[test]
fn inputs_that_kill_vpp_are_fatal() {
    let mut vpp = Vpp::default();
    let fatal = |r: OpResult| assert!(matches!(r, Err(OpError::Fatal(_))), "{r:?}");
    fatal(
        vpp.cnat_translation_update(&service("10.96.0.1", 80, TCP, &[]))
            .map(|_| ()),
    );
    fatal(vpp.cnat_set_snat_policy(SnatPolicy::K8s));
    fatal(vpp.cnat_snat_exclude(prefix("10.0.0.0/8"), true));
    assert_eq!(
        vpp.cnat_snat_interface(0, SnatTable::Pod, true),
        Err(OpError::Retval(-30))
    );
    let nothing = SnatAddresses {
        ip4: [0, 0, 0, 0].into(),
        ip6: std::net::Ipv6Addr::UNSPECIFIED,
        ..snat(0)
    };
    assert_eq!(vpp.cnat_set_snat_addresses(nothing), Err(OpError::Retval(-30)));
}

#[test]
fn a_virtual_address_in_the_fib_serves_interfaces_without_the_feature() {
    let mut world = pods();
    let mut update = service("10.96.0.30", 80, TCP, &[("10.1.1.4", 8080)]);
    update.flags = 0;
    add(&mut world, &update);
    let vpp = &world.nodes[0];
    assert_eq!(
        vpp.ip_route_lookup(0, prefix("10.96.0.30/32"), true)
            .unwrap()
            .source,
        fib_source::CNAT
    );
    // The request gets there; what answers it has no client to turn it back for.
    let syn = packets::tcp(addr("10.1.1.2"), addr("10.96.0.30"), (7001, 80), SYN, &[]);
    let got = world.send("w1", &syn);
    assert_eq!((got[0].0.as_str(), got[0].1.ports), ("w3", (7001, 8080)));
}

#[test]
fn backends_are_tracked_in_the_fib_while_they_are_used() {
    let mut world = cluster();
    let before = world.nodes[0].ip_routes(Family::V4, 0, 0);
    let id = add(&mut world, &service("10.96.0.10", 80, TCP, &[("10.7.7.7", 8080)]));
    let tracked = world.nodes[0]
        .ip_route_lookup(0, prefix("10.7.7.7/32"), true)
        .unwrap();
    assert_eq!(
        (tracked.source, tracked.paths[0].kind),
        (fib_source::RECURSIVE_RESOLUTION, PathKind::Drop)
    );
    world.nodes[0].cnat_translation_del(id).unwrap();
    assert_eq!(world.nodes[0].ip_routes(Family::V4, 0, 0), before);
}
