//! ClusterNetworkPolicies: the conformance tests of network-policy-api, asked offline, and who is blamed.
//!
//! The conformance suite's own manifests are the input, and its own text has the expectations: every probe of a test up
//! to the first that changes the policies is read from the Go source. What comes after is written out below.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a panic is a test's failure, and a test that is skipped says so"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{ask, plugin, pod, policy, query, root};

/// The module, where Go keeps it; e2e/third-party/network-policy-api pins the version.
fn module() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("GOMODCACHE")
        .or_else(|| Some(variable("GOPATH")?.join("pkg/mod")))
        .or_else(|| Some(variable("HOME")?.join("go/pkg/mod")))?;
    let module = cache.join("sigs.k8s.io/network-policy-api@v0.2.0");
    if module.is_dir() {
        return Some(module);
    }
    println!("skipped: sigs.k8s.io/network-policy-api is not in Go's module cache");
    None
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

const HOUSES: [(&str, &str); 4] = [
    ("gryffindor", "harry-potter"),
    ("slytherin", "draco-malfoy"),
    ("hufflepuff", "cedric-diggory"),
    ("ravenclaw", "luna-lovegood"),
];

/// The suite's namespaces, and the pods that its StatefulSets would make.
fn world(module: &Path) -> String {
    let manifests = read(&module.join("conformance/base/manifests.yaml"));
    let is_namespace = |text: &&str| text.contains("kind: Namespace");
    let mut world: Vec<String> = manifests
        .split("\n---\n")
        .filter(is_namespace)
        .map(str::to_owned)
        .collect();
    assert_eq!(world.len(), 5);
    for (house, name) in HOUSES {
        for number in 0..2 {
            world.push(format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}-{number}, namespace: network-policy-conformance-{house}, \
                 labels: {{conformance-house: {house}}}}}\nspec: {{nodeName: node-{number}, containers: [{{name: c, ports: [\
                 {{containerPort: 80, protocol: TCP, name: web}}, {{containerPort: 53, protocol: UDP, name: dns}}]}}]}}"
            ));
        }
    }
    world.join("\n---\n")
}

/// A probe of the suite: client, server, protocol, port, and whether it must get through.
#[derive(Debug)]
struct Probe {
    client: String,
    server: String,
    protocol: String,
    port: u16,
    allowed: bool,
}

fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// The probes of a test before anything is changed.
fn probes(source: &str) -> Vec<Probe> {
    let before = source.find("mutate").unwrap_or(source.len());
    let before = source.find("s.Client.Delete").map_or(before, |at| at.min(before));
    let mut servers: BTreeMap<&str, String> = BTreeMap::new();
    let mut probes = Vec::new();
    for (at, _) in source[..before].match_indices("kubernetes.") {
        let call = &source[at + "kubernetes.".len()..];
        if call.starts_with("GetPod(") {
            let line = source[..at].rsplit('\n').next().unwrap();
            let variable = line.split_whitespace().next().unwrap();
            let words = quoted(call);
            servers.insert(variable, format!("{}/{}", words[0], words[1]));
        } else if call.starts_with("PokeServer(") {
            let end = call.find("s.TimeoutConfig, ").unwrap();
            let words = quoted(&call[..end]);
            let variable = call[..end].split(".Status.PodIP").next().unwrap();
            let variable = variable.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap();
            let port = call[..end]
                .split("int32(")
                .nth(1)
                .unwrap()
                .split(')')
                .next()
                .unwrap();
            probes.push(Probe {
                client: format!("{}/{}", words[0], words[1]),
                server: servers[variable].clone(),
                protocol: words[2].to_uppercase(),
                port: port.parse().unwrap(),
                allowed: call[end..].starts_with("s.TimeoutConfig, true)"),
            });
        }
    }
    probes
}

#[test]
fn the_conformance_tests_of_the_standard_channel() {
    let Some(module) = module() else { return };
    let world = world(&module);
    let folder = module.join("conformance/tests");
    let mut tests: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    tests.retain(|path| path.to_string_lossy().contains("-standard-"));
    tests.sort();
    let (mut files, mut count) = (0, 0);
    for path in tests {
        let source = read(&path);
        let manifest = source.split("Manifests:").nth(1).map(quoted).unwrap()[0];
        let manifests = format!(
            "{world}\n---\n{}",
            read(&module.join("conformance").join(manifest))
        );
        let probes = probes(&source);
        assert!(!probes.is_empty(), "{}", path.display());
        let queries: Vec<String> = probes
            .iter()
            .map(|p| query(&p.client, &p.server, &p.protocol, p.port))
            .collect();
        for (answer, probe) in ask(&manifests, &queries).iter().zip(&probes) {
            let allowed = answer["allowed"].as_bool().unwrap();
            // VPP matches SCTP without its ports: where a test tells ports apart, the one that is not meant is closed.
            if probe.protocol == "SCTP" {
                assert!(
                    !allowed || probe.allowed,
                    "{}: {probe:?}: {answer}",
                    path.display()
                );
            } else {
                assert_eq!(allowed, probe.allowed, "{}: {probe:?}: {answer}", path.display());
            }
        }
        files += 1;
        count += probes.len();
    }
    println!("{count} probes of {files} tests");
    assert!(files >= 18 && count >= 100, "{count} probes of {files} tests");
}

fn slytherin_and_gryffindor(manifests: &str, allowed: bool, by: [&str; 2]) {
    let (draco, harry) = (
        "network-policy-conformance-slytherin/draco-malfoy-0",
        "network-policy-conformance-gryffindor/harry-potter-0",
    );
    let queries = [query(draco, harry, "TCP", 80), query(harry, draco, "TCP", 8080)];
    for (answer, by) in ask(manifests, &queries).iter().zip(by) {
        assert_eq!(answer["allowed"], allowed, "{answer}");
        assert!(answer["by"].as_str().unwrap().contains(by), "{answer}");
    }
}

/// What `CNPAdminTierPriorityField` does after its change: the Pass comes before the Deny then.
#[test]
fn a_pass_of_higher_precedence_hands_over_to_baseline() {
    let Some(module) = module() else { return };
    let text = read(&module.join("conformance/base/admin_tier/standard-priority-field.yaml"));
    let world = world(&module);
    slytherin_and_gryffindor(
        &format!("{world}\n---\n{text}"),
        false,
        [
            "cnp/priority-50-example Admin ingress[0] \"deny-all-ingress-from-slytherin\"",
            "cnp/priority-50-example Admin egress[0] \"deny-all-egress-to-slytherin\"",
        ],
    );
    let changed = text.replace("priority: 60", "priority: 40");
    assert_ne!(changed, text);
    slytherin_and_gryffindor(
        &format!("{world}\n---\n{changed}"),
        true,
        [
            "cnp/default Baseline ingress[0] \"allow-all-ingress-from-slytherin\"",
            "cnp/default Baseline egress[0] \"allow-all-egress-to-slytherin\"",
        ],
    );
}

/// What `CNPAdminTierIntegration` does: Deny, then Pass to the NetworkPolicy, then without it to Baseline.
#[test]
fn admin_network_policy_and_baseline_together() {
    let Some(module) = module() else { return };
    let text = read(&module.join("conformance/base/api_integration/standard-anp-np-banp.yaml"));
    let world = world(&module);
    slytherin_and_gryffindor(
        &format!("{world}\n---\n{text}"),
        false,
        [
            "cnp/pass-example Admin ingress[0]",
            "cnp/pass-example Admin egress[0]",
        ],
    );
    let mut documents: Vec<String> = text.split("\n---\n").map(str::to_owned).collect();
    documents[0] = documents[0].replace("\"Deny\"", "\"Pass\"");
    let own = "network-policy-conformance-gryffindor/allow-gress-from-to-slytherin-to-gryffindor";
    slytherin_and_gryffindor(
        &format!("{world}\n---\n{}", documents.join("\n---\n")),
        true,
        [&format!("{own} ingress[0]"), &format!("{own} egress[0]")],
    );
    documents.remove(1);
    slytherin_and_gryffindor(
        &format!("{world}\n---\n{}", documents.join("\n---\n")),
        false,
        [
            "cnp/default Baseline ingress[0]",
            "cnp/default Baseline egress[0]",
        ],
    );
}

#[test]
fn the_examples_mean_what_they_say() {
    let base = [
        "reach",
        "--objects",
        "examples/gitops/pods.yaml",
        "--objects",
        "examples/cluster-network-policy",
    ];
    let ask = |more: &[&str], from: &str, to: &str| {
        let question = ["--from", from, "--to", to, "--port", "80", "-o", "json"];
        let said = plugin(&root(), &[&base[..], more, &question[..]].concat());
        assert_eq!(said.code, 0, "{said:#?}");
        let answer = said.answers().remove(0);
        (
            answer["allowed"].as_bool().unwrap(),
            answer["by"].as_str().unwrap().to_owned(),
        )
    };
    // Passed on within the shop, and there is nothing but Baseline.
    let (allowed, by) = ask(&[], "shop/client", "shop/web");
    assert!(
        !allowed && by.contains("cnp/default-deny Baseline ingress[0] \"from any pod\""),
        "{by}"
    );
    // A NetworkPolicy is what Baseline gives way to.
    let own = ["--objects", "examples/network-policy/allow-client.yaml"];
    let (allowed, by) = ask(&own, "shop/client", "shop/web");
    assert!(allowed && by.contains("shop/web-from-client ingress[0]"), "{by}");
    let (allowed, by) = ask(&own, "shop/stranger", "shop/web");
    assert!(
        !allowed && by.contains("default deny: ingress of shop/web is isolated by shop/web-from-client,"),
        "{by}"
    );
    // What no NetworkPolicy may override.
    let (allowed, by) = ask(&own, "shop/client", "169.254.169.254");
    assert!(
        !allowed && by.contains("cnp/no-cloud-metadata Admin egress[0] \"the cloud's metadata service\""),
        "{by}"
    );
}

#[test]
fn rules_are_blamed_by_their_place_also_behind_a_pass() {
    let own = policy(
        "own",
        "web",
        "  ingress: [{ports: [{port: 443}]}, {ports: [{port: 80}]}]",
    );
    let wide = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: wide}\n\
                spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [\
                {action: Accept, from: [{namespaces: {}}], protocols: [{destinationNamedPort: none}]}, \
                {action: Pass, from: [{pods: {podSelector: {}}}], protocols: [{tcp: {destinationPort: {range: {start: 80, end: 81}}}}]}, \
                {name: rest, action: Deny, from: [{namespaces: {}}]}]}";
    let manifests = [
        pod("web", "", &[]),
        pod("client", "", &[]),
        own,
        format!("---\n{wide}"),
    ]
    .concat();
    let queries = [80, 81, 82].map(|port| query("shop/client", "shop/web", "TCP", port));
    let answers = ask(&manifests, &queries);
    let expected = [
        (true, "shop/own ingress[1]"),
        (
            false,
            "default deny: ingress of shop/web is isolated by shop/own, and",
        ),
        (false, "cnp/wide Admin ingress[2] \"rest\""),
    ];
    for (answer, (allowed, by)) in answers.iter().zip(expected) {
        assert_eq!(answer["allowed"], allowed, "{answer}");
        assert!(answer["by"].as_str().unwrap().contains(by), "{answer}");
    }
}
