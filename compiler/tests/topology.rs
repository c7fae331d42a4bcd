//! Nodes: identities, prefixes, peers; and how large a configuration grows.

#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]

mod common;

use common::{cluster, compiled, ip, reasons};
use compiler::topology::carve;
use compiler::{PodPool, Settings, compile, size};

fn node(name: &str, rest: &str) -> String {
    format!("---\nkind: Node\nmetadata: {{name: {name}, uid: {name}-uid}}\n{rest}\n")
}

fn pool(cidr: &str, node_prefix_len: u8) -> PodPool {
    PodPool {
        cidr: cidr.parse().unwrap(),
        node_prefix_len,
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[test]
fn identity_and_peer_say_the_same() {
    let yaml = node(
        "n1",
        "spec: {podCIDRs: [10.1.0.0/24, 'fd00:1::/64']}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}",
    );
    let mut cluster = cluster(&yaml);
    cluster.set_tunnel_endpoints("n1", vec![ip("198.51.100.1"), ip("2001:db8::1")]);
    let output = compile(&cluster, &Settings::default());
    let node = &output.configs["n1"].spec.node;
    assert_eq!(node.id, 1);
    assert_eq!(texts(&node.addresses), ["192.0.2.1"]);
    assert_eq!(texts(&node.pod_cidrs), ["10.1.0.0/24", "fd00:1::/64"]);
    let peer = &output.peer_slices["peers-0"].spec.peers[0];
    assert_eq!((peer.node.as_str(), peer.id), ("n1", 1));
    assert_eq!(peer.pod_cidrs, node.pod_cidrs);
    assert_eq!(texts(&peer.tunnel_endpoints), ["198.51.100.1", "2001:db8::1"]);
}

#[test]
fn prefixes_are_carved_by_id() {
    for (pool, id, carved) in [
        (pool("10.1.0.0/16", 24), 1, Some("10.1.0.0/24")),
        (pool("10.1.0.0/16", 24), 2, Some("10.1.1.0/24")),
        (pool("10.1.0.0/16", 24), 256, Some("10.1.255.0/24")),
        (pool("10.1.0.0/16", 24), 257, None),
        (pool("10.1.0.0/16", 16), 1, Some("10.1.0.0/16")),
        (pool("10.1.0.0/16", 16), 2, None),
        (pool("10.1.0.0/16", 8), 1, None),
        (pool("10.1.0.0/16", 33), 1, None),
        (pool("fd00:1::/48", 64), 2, Some("fd00:1:0:1::/64")),
        (pool("fd00:1::/48", 64), 65535, Some("fd00:1:0:fffe::/64")),
        (pool("10.0.0.0/8", 24), 65535, Some("10.255.254.0/24")),
        (pool("0.0.0.0/0", 0), 1, Some("0.0.0.0/0")),
        (pool("10.1.0.0/16", 24), 0, None),
    ] {
        let got = carve(&pool, id).map(|cidr| cidr.to_string());
        assert_eq!(got.as_deref(), carved, "{pool:?} {id}");
    }
}

#[test]
fn nodes_without_prefixes_take_them_from_the_pools() {
    let mut cluster =
        cluster(&(node("a", "") + &node("b", "spec: {podCIDRs: [10.50.0.0/24]}") + &node("c", "")));
    let settings = Settings {
        pod_pools: vec![pool("fd00:1::/48", 64), pool("10.1.0.0/23", 24)],
        ..Settings::default()
    };
    let output = compile(&cluster, &settings);
    assert_eq!(
        texts(&output.configs["a"].spec.node.pod_cidrs),
        ["10.1.0.0/24", "fd00:1::/64"]
    );
    assert_eq!(texts(&output.configs["b"].spec.node.pod_cidrs), ["10.50.0.0/24"]);
    // The third is beyond the IPv4 pool; the rest goes on.
    assert_eq!(
        texts(&output.configs["c"].spec.node.pod_cidrs),
        ["fd00:1:0:2::/64"]
    );
    assert_eq!(reasons(&output), ["PodCIDRPoolExhausted"]);
    cluster.remove_node("c");
    assert!(compile(&cluster, &settings).problems.is_empty());
}

#[test]
fn prefixes_that_are_missing_or_overlap_are_told() {
    assert_eq!(reasons(&compiled(&node("a", ""))), ["NoPodCIDR"]);
    let output = compiled(
        &(node("a", "spec: {podCIDRs: [10.1.0.0/16]}")
            + &node("b", "spec: {podCIDRs: [10.1.7.0/24]}")
            + &node("c", "spec: {podCIDRs: [10.2.0.0/16]}")),
    );
    assert_eq!(reasons(&output), ["PodCIDROverlap"]);
    let problem = output.problems.first().unwrap();
    assert_eq!(problem.object.name, "b");
    assert!(
        problem.message.contains("10.1.0.0/16 of node a"),
        "{}",
        problem.message
    );
}

#[test]
fn a_node_stays_in_the_peer_slice_of_its_id() {
    let mut yaml = String::new();
    for n in 1..=250 {
        yaml += &node(
            &format!("n{n:03}"),
            &format!("spec: {{podCIDRs: [10.{n}.0.0/24]}}"),
        );
    }
    let mut cluster = cluster(&yaml);
    let before = compile(&cluster, &Settings::default());
    let sizes: Vec<usize> = before.peer_slices.values().map(|s| s.spec.peers.len()).collect();
    // Ids begin at 1.
    assert_eq!(sizes, [99, 100, 51]);
    cluster.remove_node("n005");
    let after = compile(&cluster, &Settings::default());
    assert_ne!(before.peer_slices["peers-0"], after.peer_slices["peers-0"]);
    assert_eq!(before.peer_slices["peers-1"], after.peer_slices["peers-1"]);
    assert_eq!(before.peer_slices["peers-2"], after.peer_slices["peers-2"]);
}

/// Nothing cluster-wide is in a VppConfig: what happens elsewhere leaves this node's bytes alone.
#[test]
fn events_elsewhere_leave_a_configuration_alone() {
    let pod = |name: &str, node: &str, labels: &str, ip: &str| {
        format!(
            "---\nkind: Pod\nmetadata: {{namespace: shop, name: {name}, uid: {name}, labels: {labels}}}\nspec: {{nodeName: {node}, containers: []}}\nstatus: {{phase: Running, podIPs: [{{ip: {ip}}}]}}\n"
        )
    };
    let base = node("n1", "spec: {podCIDRs: [10.1.0.0/24]}")
        + &pod("web", "n1", "{app: web}", "10.1.0.2")
        + "---\nkind: NetworkPolicy\nmetadata: {namespace: shop, name: p, uid: p}\nspec: {podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}\n";
    let more = base.clone()
        + &node("n2", "spec: {podCIDRs: [10.2.0.0/24]}")
        + &pod("api", "n2", "{app: api}", "10.2.0.2")
        + "---\nkind: Service\nmetadata: {namespace: shop, name: s, uid: s}\nspec: {clusterIPs: [10.96.0.1], ports: [{port: 80}]}\n";
    let (before, after) = (compiled(&base), compiled(&more));
    assert_eq!(before.configs["n1"], after.configs["n1"]);
    // The peer's address is in the shared set instead.
    assert_ne!(before.sets, after.sets);
}

/// 110 pods bound to a policy in both directions and 64 chains: far below the size guard, which
/// warns at 128 KiB, and a pod costs less than 350 bytes, a chain's entry less than 300.
#[test]
fn a_full_node_is_far_below_the_size_guard() {
    let mut yaml = node("worker-017.example.internal", "spec: {podCIDRs: [10.1.0.0/24]}")
        + &node("n2", "spec: {podCIDRs: [10.2.0.0/24]}");
    let uid = |n: usize| format!("3f2a9c1e-7b64-4d0e-9a51-{n:012}");
    let mut pod = |name: &str, uid: String, labels: &str, node: &str| {
        yaml += &format!(
            "---\nkind: Pod\nmetadata: {{namespace: shop, name: {name}, uid: {uid}, labels: {labels}}}\nspec: {{nodeName: {node}, containers: []}}\nstatus: {{phase: Running, conditions: [{{type: Ready, status: 'True'}}]}}\n"
        );
    };
    for n in 0..64 {
        pod(
            &format!("fw-{n}"),
            uid(500 + n),
            &format!("{{cnf: fw-{n}}}"),
            "n2",
        );
    }
    for n in 0..110 {
        let name = format!("frontend-6d4b75cb6d-{n:05}");
        pod(
            &name,
            uid(n),
            &format!("{{app: web, i: x{n}}}"),
            "worker-017.example.internal",
        );
    }
    for n in 0..64 {
        yaml += &format!(
            "---\nkind: CNF\napiVersion: contivpp.io/v1alpha1\nmetadata: {{namespace: shop, name: fw-{n}, uid: cnf-{n}}}\nspec: {{podSelector: {{matchLabels: {{cnf: fw-{n}}}}}, interfaces: [{{name: in, role: In}}, {{name: out, role: Out}}]}}\n---\nkind: ServiceChain\napiVersion: contivpp.io/v1alpha1\nmetadata: {{namespace: shop, name: chain-{n}, uid: chain-{n}}}\nspec: {{classifier: {{from: {{podSelector: {{matchLabels: {{i: x{n}}}}}}}, to: {{cidrs: [203.0.113.0/24]}}}}, symmetric: false, functions: [{{name: fw, cnf: fw-{n}}}]}}\n"
        );
    }
    yaml += "---\nkind: NetworkPolicy\nmetadata: {namespace: shop, name: default-deny, uid: p}\nspec: {podSelector: {}, policyTypes: [Ingress, Egress]}\n";
    let output = compiled(&yaml);
    let config = &output.configs["worker-017.example.internal"].spec;
    assert_eq!((config.pods.len(), config.chains.len()), (110, 64));
    let pods = size::check(&config.pods).bytes() / config.pods.len();
    assert!(pods < 350, "{pods} bytes a pod");
    let chains = size::check(&config.chains).bytes() / config.chains.len();
    assert!(chains < 300, "{chains} bytes a chain");
    let all = size::check(config);
    assert!(all.bytes() < 64 * 1024, "{all:?}");
}
