//! A busy node's configuration stays far below what the API server and its watchers bear.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;

use common::compiled;
use compiler::size;

/// As many as a node of the usual size runs (kubelet's default), of 10 Deployments in 5 namespaces.
const PODS: usize = 110;
/// Each in both directions: two steers here.
const CHAINS: usize = 32;
/// Functions of them that run here; the others are on another node.
const FUNCTIONS: usize = 8;

/// Every namespace denies by default, both ways; every Deployment has two policies of its own, for what it serves and
/// for what it calls. In each namespace chains lead some Deployments' traffic through a function.
fn cluster() -> String {
    let mut yaml = String::from(
        "{kind: Node, metadata: {name: worker-1, uid: 0b6f2b1e-5a40-4f3b-9b60-000000000000}, \
         spec: {podCIDRs: [10.244.1.0/24, 'fd00:10:244:1::/64']}}\n---\n\
         {kind: Node, metadata: {name: worker-3, uid: 0b6f2b1e-5a40-4f3b-9b60-000000000001}, \
         spec: {podCIDRs: [10.244.3.0/24, 'fd00:10:244:3::/64']}}\n",
    );
    let mut pod = |node: &str, namespace: &str, name: &str, app: &str, number: usize| {
        let _ = writeln!(
            yaml,
            "---\n{{kind: Pod, metadata: {{name: {name}, namespace: {namespace}, \
             uid: 7d0c0f5e-93a1-4c6e-8d1a-{number:012}, labels: {{app: {app}}}}}, \
             spec: {{nodeName: {node}, containers: [{{name: c}}]}}, \
             status: {{phase: Running, podIPs: [{{ip: 10.244.3.{number}}}], \
             conditions: [{{type: Ready, status: 'True'}}]}}}}"
        );
    };
    let app = |number: usize| format!("app-{number}");
    let namespace = |number: usize| format!("team-{}", number % 5);
    for number in 0..PODS - FUNCTIONS {
        let deployment = number % 10;
        let name = format!("{}-6c8f7d9b5c-{number:05}", app(deployment));
        pod(
            "worker-3",
            &namespace(deployment),
            &name,
            &app(deployment),
            number + 1,
        );
    }
    for function in 0..CHAINS {
        let name = format!("fw-{function}-5d8c9f7b4d-{function:05}");
        let node = if function < FUNCTIONS {
            "worker-3"
        } else {
            "worker-1"
        };
        pod(
            node,
            &namespace(function),
            &name,
            &format!("fw-{function}"),
            200 + function,
        );
    }
    for number in 0..5 {
        let namespace = namespace(number);
        let _ = writeln!(yaml, "---\n{{kind: Namespace, metadata: {{name: {namespace}}}}}");
        let _ = writeln!(
            yaml,
            "---\n{{kind: NetworkPolicy, metadata: {{name: default-deny, namespace: {namespace}}}, \
             spec: {{podSelector: {{}}, policyTypes: [Ingress, Egress]}}}}"
        );
    }
    for number in 0..10 {
        let (namespace, app) = (namespace(number), app(number));
        for (direction, type_, side) in [("ingress", "Ingress", "from"), ("egress", "Egress", "to")] {
            let _ = writeln!(
                yaml,
                "---\n{{kind: NetworkPolicy, metadata: {{name: {app}-{direction}, namespace: {namespace}}}, \
                 spec: {{podSelector: {{matchLabels: {{app: {app}}}}}, policyTypes: [{type_}], \
                 {direction}: [{{{side}: [{{podSelector: {{}}}}]}}]}}}}"
            );
        }
    }
    for function in 0..CHAINS {
        let (namespace, from, to) = (namespace(function), app(function % 10), app((function + 5) % 10));
        let _ = writeln!(
            yaml,
            "---\n{{kind: CNF, metadata: {{name: fw-{function}, namespace: {namespace}}}, \
             spec: {{podSelector: {{matchLabels: {{app: fw-{function}}}}}, \
             interfaces: [{{name: in, role: In}}, {{name: out, role: Out}}]}}}}"
        );
        let _ = writeln!(
            yaml,
            "---\n{{kind: ServiceChain, metadata: {{name: chain-{function}, namespace: {namespace}}}, \
             spec: {{classifier: {{from: {{podSelector: {{matchLabels: {{app: {from}}}}}}}, \
             to: {{podSelector: {{matchLabels: {{app: {to}}}}}}}, ports: [{{protocol: TCP, port: 80}}]}}, \
             functions: [{{name: inspect, cnf: fw-{function}}}], symmetric: true}}}}"
        );
    }
    yaml
}

#[test]
fn a_busy_nodes_configuration_is_small() {
    let output = compiled(&cluster());
    assert_eq!(output.problems, BTreeSet::new());
    let config = &output.configs["worker-3"].spec;
    assert_eq!((config.pods.len(), config.chains.len()), (PODS, 2 * CHAINS));
    let bytes = size::check(config).bytes();
    assert!(bytes < 32 * 1024, "{bytes} bytes");
}
