//! What is answered. Expected values follow the texts of NetworkPolicy and Service.

mod common;

use common::{ask, folder, plugin, pod, policy, query, root};
use serde_json::{Value, json};

/// Checks answers against (from, to, protocol, port, outcome, what `by` contains).
fn check(manifests: &str, cases: &[(&str, &str, &str, u16, &str, &str)]) -> Vec<Value> {
    let queries: Vec<String> = cases.iter().map(|c| query(c.0, c.1, c.2, c.3)).collect();
    let answers = ask(manifests, &queries);
    for (answer, case) in answers.iter().zip(cases) {
        assert_eq!(answer["outcome"], case.4, "{case:?}: {answer}");
        assert_eq!(answer["allowed"], case.4 == "allowed", "{case:?}: {answer}");
        let by = answer["by"].as_str().unwrap_or_default();
        assert!(by.contains(case.5), "{case:?}: {by}");
    }
    answers
}

#[test]
fn the_examples_mean_what_they_say() {
    let folder = root();
    let base = [
        "reach",
        "--objects",
        "examples/network-policy",
        "--objects",
        "examples/service",
        "--objects",
        "examples/gitops/pods.yaml",
        "-o",
        "json",
    ];
    for family in ["IPv4", "IPv6"] {
        for (from, to, port, allowed, by) in [
            (
                "shop/client",
                "shop/web",
                "80",
                true,
                "shop/web-from-client ingress[0]",
            ),
            (
                "shop/client",
                "shop/web",
                "81",
                false,
                "default deny: ingress of shop/web is isolated by shop/web-from-client",
            ),
            (
                "shop/client",
                "service:shop/web",
                "80",
                true,
                "shop/web-from-client ingress[0]",
            ),
            ("shop/client", "shop/stranger", "81", true, "default allow"),
            (
                "shop/stranger",
                "shop/web",
                "80",
                false,
                "default deny: egress of shop/stranger is isolated by shop/stranger-egress",
            ),
            ("node/node-1", "shop/stranger", "80", true, "default allow"),
        ] {
            let question = ["--from", from, "--to", to, "--port", port, "--family", family];
            let said = plugin(&folder, &[&base[..], &question[..]].concat());
            assert_eq!(said.code, 0, "{said:#?}");
            let answer = &said.answers()[0];
            assert_eq!(answer["allowed"], allowed, "{answer}");
            assert!(
                answer["by"].as_str().is_some_and(|told| told.contains(by)),
                "{answer}"
            );
            assert_eq!(answer["from"], from);
            assert_eq!(answer["port"].to_string(), port);
        }
    }
    // Without the stranger's own policy it is the web pods' isolation that stops him.
    let said = plugin(
        &folder,
        &[
            "reach",
            "--objects",
            "examples/network-policy/allow-client.yaml",
            "--objects",
            "examples/gitops/pods.yaml",
            "--from",
            "shop/stranger",
            "--to",
            "shop/web",
            "--port",
            "80",
            "-o",
            "json",
        ],
    );
    let by = said.answers()[0]["by"].to_string();
    assert!(
        by.contains("default deny: ingress of shop/web is isolated by shop/web-from-client"),
        "{by}"
    );
}

#[test]
fn packets_travel_between_nodes_whatever_addresses_pods_have() {
    // As clusters have them (this project's differ in their low 32 bits between nodes: VPP's NAT takes
    // those for the same pod that do not), and one pod with addresses outside of its node's usual prefix.
    let manifests = [
        pod("a", "n1", &["10.1.1.5", "fd00:1::1:5"]),
        pod("b", "n2", &["10.1.2.5", "fd00:2::2:5"]),
        pod("stray", "n2", &["172.20.9.9", "fd00:9::9:9"]),
        policy(
            "b-from-a",
            "b",
            "  ingress: [{from: [{podSelector: {matchLabels: {app: a}}}]}]",
        ),
    ]
    .concat();
    check(
        &manifests,
        &[
            (
                "shop/a",
                "shop/b",
                "TCP",
                80,
                "allowed",
                "shop/b-from-a ingress[0]",
            ),
            (
                "shop/a",
                "10.1.2.5",
                "UDP",
                53,
                "allowed",
                "shop/b-from-a ingress[0]",
            ),
        ],
    );
    check(
        &manifests,
        &[
            (
                "shop/a",
                "fd00:2::2:5",
                "TCP",
                80,
                "allowed",
                "shop/b-from-a ingress[0]",
            ),
            (
                "fd00:9::9:9",
                "fd00:2::2:5",
                "TCP",
                80,
                "denied",
                "ingress of shop/b is isolated by shop/b-from-a",
            ),
            ("shop/stray", "shop/b", "TCP", 80, "denied", "default deny"),
            ("shop/a", "shop/stray", "TCP", 80, "allowed", "default allow"),
            (
                "shop/stray",
                "fd00:1::1:5",
                "SCTP",
                80,
                "allowed",
                "default allow",
            ),
            // What starts at the isolated pod is answered.
            ("shop/b", "shop/stray", "TCP", 80, "allowed", "default allow"),
            ("shop/b", "shop/a", "UDP", 80, "allowed", "default allow"),
            // The node reaches its own pods, another node does not.
            (
                "node/n2",
                "shop/b",
                "TCP",
                80,
                "allowed",
                "a node and its own pods",
            ),
            ("node/n1", "shop/b", "TCP", 80, "denied", "default deny"),
            ("203.0.113.5", "shop/b", "TCP", 80, "denied", "default deny"),
            ("203.0.113.5", "shop/a", "TCP", 80, "allowed", "default allow"),
            ("shop/a", "shop/a", "TCP", 80, "allowed", "itself"),
            // An address of n1's prefix that nobody has.
            ("shop/b", "10.1.1.77", "TCP", 80, "dropped", ""),
        ],
    );
}

#[test]
fn a_way_over_the_tunnel_is_shown() {
    let manifests = [pod("a", "n1", &["10.1.1.5"]), pod("b", "n2", &["10.1.2.5"])].concat();
    let folder = folder(&[("objects.yaml", &manifests)]);
    let question = [
        "reach",
        "--objects",
        "objects.yaml",
        "--from",
        "shop/a",
        "--to",
        "shop/b",
        "--port",
        "80",
        "--trace",
    ];
    let said = plugin(folder.path(), &[&question[..], &["-o", "json"]].concat());
    let trace = &said.answers()[0]["trace"];
    for (way, nodes, end) in [
        ("there", ["n1", "n2"], "shop/b"),
        ("back", ["n2", "n1"], "shop/a"),
    ] {
        let steps = trace[way].as_array().cloned().unwrap_or_default();
        let encapsulates = |step: &&Value| step["at"].as_str().is_some_and(|at| at.contains("vxlan"));
        assert!(steps.iter().filter(encapsulates).count() >= 2, "{steps:#?}");
        let mut passed: Vec<&str> = steps.iter().filter_map(|step| step["node"].as_str()).collect();
        passed.dedup();
        assert_eq!(passed, nodes);
        let last = steps
            .last()
            .and_then(|step| step["what"].as_str())
            .unwrap_or_default();
        assert_eq!(last, format!("pod {end} has it"));
    }
    let text = plugin(folder.path(), &question).out;
    assert!(
        text.starts_with("allowed   shop/a -> shop/b TCP 80  by default allow"),
        "{text}"
    );
    assert!(text.contains("  there:\n") && text.contains("vxlan"), "{text}");
}

#[test]
fn the_rule_that_decides_is_named() {
    let manifests = [
        pod("web", "n1", &["10.1.1.5"]),
        pod("a", "n1", &["10.1.1.6"]),
        pod("b", "n2", &["10.1.2.6"]),
        policy(
            "in",
            "web",
            "  ingress:
  - {from: [{podSelector: {matchLabels: {app: a}}}], ports: [{port: 80}, {port: 90, endPort: 99}]}
  - {from: [{podSelector: {matchLabels: {app: b}}}], ports: [{port: http}]}
  - {from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.64/26]}}]}
  - {ports: [{protocol: UDP, port: 53}]}",
        ),
        policy(
            "out",
            "b",
            "  policyTypes: [Egress]
  egress:
  - {to: [{ipBlock: {cidr: 198.51.100.0/24}}], ports: [{port: 443}]}
  - {to: [{podSelector: {matchLabels: {app: web}}}]}",
        ),
    ]
    .concat();
    check(
        &manifests,
        &[
            ("shop/a", "shop/web", "TCP", 80, "allowed", "shop/in ingress[0]"),
            ("shop/a", "shop/web", "TCP", 89, "denied", "default deny"),
            ("shop/a", "shop/web", "TCP", 90, "allowed", "shop/in ingress[0]"),
            ("shop/a", "shop/web", "TCP", 99, "allowed", "shop/in ingress[0]"),
            ("shop/a", "shop/web", "TCP", 100, "denied", "default deny"),
            ("shop/a", "shop/web", "UDP", 80, "denied", "default deny"),
            ("shop/a", "shop/web", "UDP", 53, "allowed", "shop/in ingress[3]"),
            ("shop/a", "shop/web", "SCTP", 80, "denied", "default deny"),
            (
                "shop/b",
                "shop/web",
                "TCP",
                8080,
                "allowed",
                "shop/out egress[1] and shop/in ingress[1]",
            ),
            (
                "shop/b",
                "shop/web",
                "TCP",
                80,
                "denied",
                "ingress of shop/web is isolated by shop/in",
            ),
            (
                "shop/b",
                "shop/a",
                "TCP",
                80,
                "denied",
                "egress of shop/b is isolated by shop/out",
            ),
            (
                "shop/b",
                "198.51.100.9",
                "TCP",
                443,
                "allowed",
                "shop/out egress[0]",
            ),
            ("shop/b", "198.51.101.9", "TCP", 443, "denied", "egress of shop/b"),
            (
                "203.0.113.1",
                "shop/web",
                "TCP",
                7,
                "allowed",
                "shop/in ingress[2]",
            ),
            ("203.0.113.65", "shop/web", "TCP", 7, "denied", "default deny"),
        ],
    );
}

#[test]
fn answers_do_not_depend_on_questions_before() {
    // The second question is, packet for packet, an answer to the first.
    let manifests = [
        pod("a", "n1", &["10.1.1.5"]),
        pod("b", "n2", &["10.1.2.5"]),
        policy("closed", "a", "  policyTypes: [Ingress]"),
    ]
    .concat();
    for protocol in ["TCP", "UDP"] {
        check(
            &manifests,
            &[
                ("shop/a", "shop/b", protocol, 40_000, "allowed", "default allow"),
                ("shop/b", "shop/a", protocol, 40_000, "denied", "shop/closed"),
                ("shop/a", "shop/b", protocol, 40_000, "allowed", "default allow"),
            ],
        );
    }
}

#[test]
fn services_lead_to_their_backends_and_policies_see_those() {
    let service = |name: &str, selector: &str, more: &str| {
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{namespace: shop, name: {name}}}
spec: {{selector: {{app: {selector}}}, {more}, ports: [{{port: 80, targetPort: http}}]}}
"
        )
    };
    let slice = "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: shop, name: pair-1, labels: {kubernetes.io/service-name: pair}}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.1.1.5]}, {addresses: [10.1.2.6]}, {addresses: [10.1.2.7], conditions: {ready: false}}]
";
    let manifests = [
        pod("web", "n1", &["10.1.1.5"]),
        pod("other", "n2", &["10.1.2.6"]),
        pod("client", "n2", &["10.1.2.9"]),
        pod("stranger", "n2", &["10.1.2.10"]),
        policy(
            "in",
            "web",
            "  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 8080}]}]",
        ),
        service("front", "web", "clusterIP: 10.96.0.10"),
        service("none", "nobody", "clusterIP: 10.96.0.11"),
        service("pair", "ignored", "clusterIP: 10.96.0.12"),
        service("mine", "other", "clusterIP: 10.96.0.13"),
        service("headless", "web", "clusterIP: None"),
        slice.to_owned(),
    ]
    .concat();
    let answers = check(
        &manifests,
        &[
            // The policy names the backend's port, not the Service's.
            (
                "shop/client",
                "shop/front",
                "TCP",
                80,
                "allowed",
                "shop/in ingress[0]",
            ),
            (
                "shop/client",
                "10.96.0.10",
                "TCP",
                80,
                "allowed",
                "shop/in ingress[0]",
            ),
            (
                "shop/stranger",
                "shop/front",
                "TCP",
                80,
                "denied",
                "ingress of shop/web is isolated by shop/in",
            ),
            (
                "shop/client",
                "shop/front",
                "TCP",
                81,
                "dropped",
                "has no such port",
            ),
            (
                "shop/client",
                "shop/none",
                "TCP",
                80,
                "rejected",
                "has no ready endpoint",
            ),
            (
                "shop/client",
                "shop/pair",
                "TCP",
                80,
                "allowed",
                "shop/in ingress[0]",
            ),
            // One of two backends lets nobody else in.
            (
                "shop/stranger",
                "shop/pair",
                "TCP",
                80,
                "denied",
                "(1 of 2 backends can be reached)",
            ),
            // A backend reaches itself through its Service.
            ("shop/other", "shop/mine", "TCP", 80, "allowed", "default allow"),
        ],
    );
    assert_eq!(answers[0]["backends"], json!(["10.1.1.5:8080"]));
    assert_eq!(answers[0]["sourceNat"], false, "clients keep their address");
    assert_eq!(answers[4]["backends"], json!([]));
    assert_eq!(answers[5]["backends"], json!(["10.1.1.5:8080", "10.1.2.6:8080"]));
}

#[test]
fn a_chain_is_passed_and_an_incomplete_one_is_not_passed_by() {
    let folder = root();
    let firewall = pod("firewall", "", &[]);
    for (with_firewall, outcome) in [(true, "allowed"), (false, "dropped")] {
        let objects = common::folder(&[("firewall.yaml", if with_firewall { &firewall } else { "" })]);
        let extra = objects.path().join("firewall.yaml");
        let said = plugin(
            &folder,
            &[
                "reach",
                "--objects",
                "examples/service-chain",
                "--objects",
                "examples/gitops/pods.yaml",
                "--objects",
                extra.to_str().unwrap_or_default(),
                "--from",
                "shop/client",
                "--to",
                "shop/web",
                "--port",
                "80",
                "--trace",
                "-o",
                "json",
            ],
        );
        let answer = &said.answers()[0];
        assert_eq!(answer["outcome"], outcome, "{answer:#}");
        let led = |way: &str| answer["trace"][way].to_string().contains("abf-input");
        assert!(led("there"), "{answer:#}");
        assert_eq!(
            led("back"),
            with_firewall,
            "replies take the chain too: {answer:#}"
        );
    }
}

/// A node and its own pods reach each other whatever policies say (kubelets probe); other nodes are anybody, and a pod
/// cannot be kept from itself.
#[test]
fn isolation_leaves_the_own_node_and_the_pod_itself() {
    let node = |name: &str, address: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n\
             status: {{addresses: [{{type: InternalIP, address: {address}}}]}}\n"
        )
    };
    let manifests = [
        node("n1", "192.0.2.1"),
        node("n2", "192.0.2.2"),
        pod("web", "n1", &["10.1.1.5"]),
        policy("closed", "web", "  policyTypes: [Ingress, Egress]"),
    ]
    .concat();
    let closed = "default deny";
    check(
        &manifests,
        &[
            (
                "node/n1",
                "shop/web",
                "TCP",
                80,
                "allowed",
                "a node and its own pods",
            ),
            (
                "shop/web",
                "node/n1",
                "TCP",
                80,
                "allowed",
                "a node and its own pods",
            ),
            ("node/n2", "shop/web", "TCP", 80, "denied", closed),
            ("shop/web", "node/n2", "TCP", 80, "denied", closed),
            ("192.0.2.2", "shop/web", "TCP", 80, "denied", closed),
            ("shop/web", "shop/web", "TCP", 80, "allowed", "itself"),
        ],
    );
}
