//! What is said of Services, from objects as the API server has them.

use serde_json::{Value, json};

use super::*;
use crate::services::table;

fn read<T: serde::de::DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

fn service(name: &str, spec: Value) -> Service {
    read(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec}),
    )
}

fn slice() -> VppServiceSlice {
    read(json!({
        "apiVersion": "contivpp.io/v1alpha1", "kind": "VppServiceSlice", "metadata": {"name": "web-0123-0", "namespace": "shop"},
        "spec": {
            "revision": "r", "service": "web", "serviceUid": "u", "slice": 0,
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "nodePort": 30080}],
            "frontends": [{"kind": "ClusterIP", "address": "10.96.0.10"}, {"kind": "LoadBalancer", "address": "198.51.100.7"}],
            "internalTrafficPolicy": "Local", "affinitySeconds": 60,
            "backends": [
                {"address": "10.1.1.5", "ports": [8080], "node": "n1", "ready": true, "serving": true, "forZones": ["a"]},
                {"address": "10.1.2.5", "ports": [8080], "node": "n2", "ready": false, "serving": true, "terminating": true},
            ],
        },
    }))
}

fn config(node: &str, condition: Option<(&str, &str)>) -> VppConfig {
    let conditions: Vec<Value> = condition
        .iter()
        .map(|(status, message)| json!({
            "type": "ServicesApplied", "status": status, "reason": "R", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }))
        .collect();
    read(json!({
        "apiVersion": "contivpp.io/v1alpha1", "kind": "VppConfig", "metadata": {"name": node},
        "spec": {"revision": "r", "node": {"id": 1}},
        "status": {"pods": "0/0", "conditions": conditions},
    }))
}

fn web(configs: &[VppConfig]) -> View {
    let services = [service(
        "web",
        json!({"type": "LoadBalancer", "clusterIP": "10.96.0.10", "ports": [{"port": 80}]}),
    )];
    views(&services, &[slice()], configs).remove(0)
}

#[test]
fn frontends_backends_and_what_each_node_leads_to() {
    let view = web(&[
        config("n2", Some(("True", "9 objects"))),
        config("n1", Some(("True", ""))),
    ]);
    let frontends: Vec<String> = view
        .frontends
        .iter()
        .map(|f| format!("{} {}:{}", f.kind, f.address, f.port))
        .collect();
    assert_eq!(
        frontends,
        [
            "ClusterIP 10.96.0.10:80",
            "LoadBalancer 198.51.100.7:80",
            "NodePort *:30080"
        ]
    );
    let states: Vec<&str> = view.backends.iter().map(|backend| backend.state).collect();
    assert_eq!(states, ["Ready", "Terminating"]);
    // internalTrafficPolicy Local, KEP-1669: each node its own, the one that terminates where there is no other.
    let led: Vec<String> = view
        .nodes
        .iter()
        .map(|node| format!("{} {:?}", node.node, node.backends))
        .collect();
    assert_eq!(led, ["n1 [10.1.1.5:8080]", "n2 [10.1.2.5:8080]"]);
    assert!(view.nodes.iter().all(|node| node.state == State::Applied));
}

#[test]
fn a_node_says_what_it_has_not_and_why() {
    for (condition, state, reason) in [
        (None, State::Unknown, "has not said anything yet"),
        (
            Some(("Unknown", "VPP is not connected")),
            State::Unknown,
            "VPP is not connected",
        ),
        (
            Some((
                "False",
                "service shop/web: slice 2 is not known yet; service a/b: c",
            )),
            State::Pending,
            "slice 2 is not known yet",
        ),
        (
            Some(("False", "translation 10.96.0.10:80/TCP: no such path")),
            State::Pending,
            "no such path",
        ),
        (
            Some(("False", "translation 192.0.2.1:30080/TCP is not in VPP")),
            State::Pending,
            "is not in VPP",
        ),
        (
            Some(("False", "translation 10.96.0.11:80/TCP: no such path")),
            State::Unknown,
            "of other Services",
        ),
        (
            Some(("False", "service shop/web-2: c")),
            State::Unknown,
            "of other Services",
        ),
    ] {
        let view = web(&[config("n1", condition)]);
        assert_eq!(view.nodes[0].state, state, "{condition:?}");
        assert!(
            view.nodes[0].reason.contains(reason),
            "{condition:?}: {}",
            view.nodes[0].reason
        );
    }
}

#[test]
fn a_service_without_dataplane_says_why() {
    for (spec, why) in [
        (json!({"clusterIP": "None", "ports": [{"port": 80}]}), "headless"),
        (
            json!({"type": "ExternalName", "externalName": "example.org"}),
            "ExternalName",
        ),
        (json!({"ports": [{"port": 80}]}), "without a cluster IP"),
        (
            json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}),
            "does the operator run",
        ),
    ] {
        let view = views(&[service("other", spec)], &[slice()], &[config("n1", None)]).remove(0);
        assert!(
            view.note.clone().unwrap_or_default().contains(why),
            "{why}: {:?}",
            view.note
        );
        assert!(view.nodes.is_empty());
    }
}

#[test]
fn tables_are_plain_and_aligned() {
    let view = web(&[
        config("n1", Some(("True", ""))),
        config("node-two", Some(("False", "service shop/web: why"))),
    ]);
    let mut out = Vec::new();
    table::list(&mut out, std::slice::from_ref(&view), true, false).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "NAMESPACE   NAME   TYPE           FRONTENDS              BACKENDS   NODES   STATE     REASON\n\
         shop        web    LoadBalancer   10.96.0.10:80/TCP +2   1/2        1/2     Pending   node-two: service shop/web: why\n"
    );
    let mut out = Vec::new();
    table::detail(&mut out, &view, false).unwrap();
    let text = String::from_utf8(out).unwrap();
    for line in [
        "Service shop/web, type LoadBalancer",
        "  internal traffic policy Local, external Cluster; session affinity ClientIP, 60 s",
        "*:30080/TCP           NodePort       http",
        "10.1.2.5   8080    n2     Terminating   -",
        "node-two   Pending   0          service shop/web: why",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    let mut coloured = Vec::new();
    table::detail(&mut coloured, &view, true).unwrap();
    assert!(
        String::from_utf8(coloured)
            .unwrap()
            .contains("\x1b[33mPending\x1b[0m")
    );
}
