//! Packets through the dataplane agree with a literal reading of the NetworkPolicy API on random clusters: objects are
//! compiled, planned as the daemon plans them, loaded into an engine per node, and every pair of ends is tried.

#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]

mod common;
#[path = "../../compiler/tests/literal/mod.rs"]
mod literal;

use std::net::IpAddr;

use common::ask;
use crds::net::Protocol;
use literal::{World, world};
use proptest::prelude::*;
use serde_json::{Value, json};

fn manifests(world: &World) -> String {
    let node = |number: u8| {
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{number}")},
            "status": {"addresses": [{"type": "InternalIP", "address": format!("192.0.2.{number}")}]},
        })
    };
    let mut items: Vec<Value> = [0, 1].map(node).to_vec();
    let object = |object: serde_json::Result<Value>| object.unwrap();
    items.extend(world.namespaces.iter().map(|n| object(serde_json::to_value(n))));
    items.extend(world.pods.iter().map(|p| object(serde_json::to_value(p))));
    items.extend(world.policies.iter().map(|p| object(serde_json::to_value(p))));
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Ends of packets: every pod's addresses, and one outside of the cluster for each family.
fn ends(world: &World) -> Vec<IpAddr> {
    let pods = (0..6).flat_map(|n| [format!("10.0.0.{n}"), format!("fd00::{n}")]);
    let pods = pods
        .map(|ip| ip.parse().unwrap())
        .filter(|ip| world.pod_at(*ip).is_some());
    let outside = ["203.0.113.9", "2001:db8::9"].map(|ip| ip.parse().unwrap());
    pods.chain(outside).collect()
}

/// A node of which only pods are known gets a prefix from their addresses; a pod that has finished has none any more.
#[test]
fn an_address_is_where_its_living_pod_is() {
    let pod = |name: &str, node: &str, phase: &str, ip: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a", "uid": name},
            "spec": {"containers": [], "nodeName": node}, "status": {"phase": phase, "podIPs": [{"ip": ip}]},
        })
    };
    for first in ["10.0.0.0", "10.0.0.7", "10.0.0.255"] {
        let items = [
            pod("now", "n0", "Running", first),
            pod("before", "n1", "Succeeded", first),
            pod("other", "n1", "Running", "10.0.0.3"),
        ];
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let queries = [
            common::query(first, "10.0.0.3", "TCP", 80),
            common::query("10.0.0.3", first, "TCP", 80),
        ];
        for answer in ask(&list, &queries) {
            assert_eq!(answer["allowed"], true, "{answer}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn packets_do_what_the_api_says(world in world()) {
        let ends = ends(&world);
        let mut asked = Vec::new();
        for from in &ends {
            for to in &ends {
                let pods = [from, to].map(|ip| world.pod_at(*ip).map(|pod| &pod.metadata.name));
                // A pod cannot be kept from itself, and from outside to outside no pod is asked.
                if from.is_ipv6() != to.is_ipv6() || pods[0] == pods[1] {
                    continue;
                }
                for (protocol, port) in [
                    (Protocol::Tcp, 80),
                    (Protocol::Tcp, 8080),
                    (Protocol::Tcp, 22),
                    (Protocol::Udp, 53),
                    (Protocol::Udp, 80),
                    (Protocol::Sctp, 80),
                ] {
                    asked.push((*from, *to, protocol, port));
                }
            }
        }
        let queries: Vec<String> = asked
            .iter()
            .map(|(from, to, protocol, port)| common::query(
                &from.to_string(), &to.to_string(), &protocol.to_string(), *port,
            ))
            .collect();
        prop_assume!(!queries.is_empty());
        for ((from, to, protocol, port), answer) in asked.iter().zip(ask(&manifests(&world), &queries)) {
            let allowed = answer["allowed"].as_bool().unwrap();
            let meant = world.allows(*from, *to, *protocol, *port);
            // VPP's ACLs know no SCTP ports: what names one stays closed.
            let closed = *protocol == Protocol::Sctp && !allowed;
            prop_assert!(allowed == meant || closed, "meant: {meant}, {answer}");
        }
    }
}
