//! Compiled policies agree with a literal reading of the NetworkPolicy API on random clusters.

#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]

mod common;
mod literal;

use std::net::IpAddr;

use common::{End, ip, passes};
use compiler::{Cluster, Settings, compile, k8s};
use crds::net::Protocol;
use k8s_openapi::api::core::v1 as core;
use literal::{World, world};
use proptest::prelude::*;

fn facts(world: &World) -> Cluster {
    let mut cluster = Cluster::new();
    for name in ["n0", "n1"] {
        let mut node = core::Node::default();
        node.metadata.name = Some(name.into());
        cluster.upsert_node(k8s::node(&node));
    }
    for namespace in &world.namespaces {
        cluster.upsert_namespace(k8s::namespace(&namespace.metadata));
    }
    for pod in &world.pods {
        cluster.upsert_pod(k8s::pod(&pod.try_into().unwrap()));
    }
    for policy in &world.policies {
        cluster.upsert_policy(k8s::policy(&policy.try_into().unwrap()));
    }
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn compiled_policies_mean_what_the_api_says(world in world()) {
        let output = compile(&facts(&world), &Settings::default());
        for family in ["10.0.0.", "fd00::"] {
            let outside = if family == "fd00::" { "fd00:9::9" } else { "203.0.113.9" };
            let node = if family == "fd00::" { "fd00:9::1" } else { "192.0.2.0" };
            let mut ips: Vec<IpAddr> = (0..6).map(|n| ip(&format!("{family}{n}"))).collect();
            ips.extend([ip(outside), ip(node)]);
            let ends: Vec<End<'_>> = ips
                .iter()
                .map(|ip| End {
                    pod: world.pod_at(*ip).and_then(|pod| pod.metadata.name.as_deref()),
                    ip: *ip,
                })
                .collect();
            for from in &ends {
                for to in &ends {
                    for (protocol, port) in [
                        (Protocol::Tcp, 80),
                        (Protocol::Tcp, 8080),
                        (Protocol::Tcp, 22),
                        (Protocol::Udp, 53),
                        (Protocol::Udp, 80),
                        (Protocol::Sctp, 80),
                    ] {
                        prop_assert_eq!(
                            passes(&output, *from, *to, protocol, port),
                            world.allows(from.ip, to.ip, protocol, port),
                            "{:?} → {:?} {} {}", from, to, protocol, port
                        );
                    }
                }
            }
        }
    }

    /// The order in which facts arrive, and arrive again, leaves no trace.
    #[test]
    fn order_of_arrival_leaves_no_trace(world in world(), seed in any::<u64>()) {
        let mut shuffled = world.clone();
        let mut random = seed;
        let mut next = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % bound
        };
        for n in (1..shuffled.pods.len()).rev() {
            let m = next(n + 1);
            shuffled.pods.swap(n, m);
        }
        shuffled.policies.reverse();
        shuffled.namespaces.rotate_left(1);
        // Something else first, replaced later.
        let mut stale = shuffled.clone();
        for pod in &mut stale.pods {
            pod.metadata.labels = None;
        }
        let mut cluster = facts(&stale);
        for pod in &shuffled.pods {
            cluster.upsert_pod(k8s::pod(&pod.try_into().unwrap()));
        }
        let direct = compile(&facts(&world), &Settings::default());
        let detour = compile(&cluster, &Settings::default());
        prop_assert_eq!(&direct, &detour);
        for (name, config) in &direct.configs {
            let bytes = serde_json::to_vec(&config.spec).unwrap();
            prop_assert_eq!(bytes, serde_json::to_vec(&detour.configs[name].spec).unwrap());
        }
    }
}
