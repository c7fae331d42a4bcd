//! Services as kube-proxy understands them: the same objects are given to its own code (`third-party/kube-proxy`) and to
//! our compiler, and each node's backends to its own code and to ours.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as expected"
)]

mod draw;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use compiler::{Cluster, Settings, compile, k8s};
use crds::VppServiceSliceSpec;
use crds::service_slice::{FrontendKind, TrafficPolicy};
use node_daemon::cluster::{ServiceSlices, by_service};
use node_daemon::desired::service_backends::{Choice, Fate, Place};
use proptest::test_runner::TestRunner;
use serde::Deserialize;
use serde_json::{Value, json};

use draw::Draw;

const CASES: usize = 3_000;
const NODES: [(&str, Option<&str>); 4] = [
    ("n1", Some("a")),
    ("n2", Some("a")),
    ("n3", Some("b")),
    ("n4", None),
];

/// One port of a Service in one family, as kube-proxy says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    family: String,
    name: String,
    protocol: String,
    #[serde(rename = "ClusterIP")]
    cluster_ip: IpAddr,
    port: u16,
    node_port: u16,
    health_check_node_port: u16,
    affinity_seconds: u32,
    #[serde(rename = "ExternalIPs")]
    external_ips: BTreeSet<IpAddr>,
    #[serde(rename = "LoadBalancerIPs")]
    load_balancer_ips: BTreeSet<IpAddr>,
    ranges: BTreeSet<String>,
    internal_local: bool,
    external_local: bool,
    uses_cluster: bool,
    uses_local: bool,
    has_any_endpoint: bool,
    cluster: BTreeSet<SocketAddr>,
    local: BTreeSet<SocketAddr>,
}

fn ask_kube_proxy(questions: &[Value]) -> Vec<Vec<Port>> {
    let program = e2e::assets::built("kube-proxy-answers").unwrap();
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text = serde_json::to_vec(questions).unwrap();
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The compiled slices of the case's Service, by key.
fn compiled(service: &Value, slices: &[Value]) -> Vec<(String, VppServiceSliceSpec)> {
    let mut cluster = Cluster::new();
    cluster.upsert_service(k8s::service(&serde_json::from_value(service.clone()).unwrap()));
    for slice in slices {
        cluster.upsert_endpoint_slice(k8s::endpoint_slice(
            &serde_json::from_value(slice.clone()).unwrap(),
        ));
    }
    let output = compile(&cluster, &Settings::default());
    let slices = output.service_slices.into_iter();
    slices
        .map(|(key, slice)| (format!("{}/{}", key.namespace, key.name), slice.spec.clone()))
        .collect()
}

/// What the compiled Service and the node's choice of backends say against kube-proxy, in words.
fn differences(ours: &ServiceSlices<'_>, port: &Port, place: Place<'_>) -> Vec<String> {
    let first = ours.first;
    let ipv6 = port.family == "IPv6";
    let mut said = Vec::new();
    let mut same = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            said.push(format!("{what}: ours {ours}, kube-proxy's {theirs}"));
        }
    };
    let addresses = |kind: FrontendKind| -> BTreeSet<IpAddr> {
        let of_kind = first.frontends.iter().filter(|frontend| frontend.kind == kind);
        of_kind
            .map(|frontend| frontend.address)
            .filter(|address| address.is_ipv6() == ipv6)
            .collect()
    };
    same(
        "cluster IP",
        format!("{:?}", addresses(FrontendKind::ClusterIp)),
        format!("{:?}", BTreeSet::from([port.cluster_ip])),
    );
    same(
        "external IPs",
        format!("{:?}", addresses(FrontendKind::ExternalIp)),
        format!("{:?}", port.external_ips),
    );
    same(
        "load balancer",
        format!("{:?}", addresses(FrontendKind::LoadBalancer)),
        format!("{:?}", port.load_balancer_ips),
    );
    let local = |policy: TrafficPolicy| policy == TrafficPolicy::Local;
    same(
        "internal policy",
        local(first.internal_traffic_policy).to_string(),
        port.internal_local.to_string(),
    );
    same(
        "external policy",
        local(first.external_traffic_policy).to_string(),
        port.external_local.to_string(),
    );
    same(
        "affinity",
        first.affinity_seconds.unwrap_or(0).to_string(),
        port.affinity_seconds.to_string(),
    );
    same(
        "health check",
        first.health_check_node_port.unwrap_or(0).to_string(),
        port.health_check_node_port.to_string(),
    );
    // Where there are ranges but none of this family, kube-proxy leaves the family open. We close it and tell the Service's author
    // (the Event SourceRangesFamily): its ranges were to restrict.
    let of_this = first.load_balancer_source_ranges.iter().flatten();
    let of_this: Vec<_> = of_this.filter(|range| range.is_ipv6() == ipv6).collect();
    let everybody = of_this.iter().any(|range| range.prefix_len() == 0);
    let restricting = of_this.iter().filter(|_| !everybody);
    let ranges: BTreeSet<String> = restricting.map(ToString::to_string).collect();
    same(
        "source ranges",
        format!("{ranges:?}"),
        format!("{:?}", port.ranges),
    );

    let index = first.ports.iter().position(|each| {
        each.name == port.name && each.protocol.to_string() == port.protocol && each.port == port.port
    });
    let Some(index) = index else {
        said.push("we do not have the port".to_owned());
        return said;
    };
    same(
        "node port",
        first.ports[index].node_port.unwrap_or(0).to_string(),
        port.node_port.to_string(),
    );
    let choice = Choice::new(&ours.backends_of(index, ipv6), place);
    // Of the iptables and nftables proxiers: with endpoints anywhere, but none that may be used, packets are dropped.
    let meant = |endpoints: &BTreeSet<SocketAddr>| {
        if !endpoints.is_empty() {
            format!("{endpoints:?}")
        } else if port.has_any_endpoint {
            "dropped".to_owned()
        } else {
            "rejected".to_owned()
        }
    };
    let done = |policy| match choice.fate(policy) {
        Fate::To(all) => format!(
            "{:?}",
            all.into_iter().map(SocketAddr::from).collect::<BTreeSet<_>>()
        ),
        Fate::Drop => "dropped".to_owned(),
        Fate::Reject => "rejected".to_owned(),
    };
    if port.uses_cluster {
        same("Cluster", done(TrafficPolicy::Cluster), meant(&port.cluster));
    }
    if port.uses_local {
        same("Local", done(TrafficPolicy::Local), meant(&port.local));
    }
    said
}

#[test]
fn services_are_what_kube_proxys_own_code_says() {
    let mut draw = Draw(TestRunner::deterministic().new_rng());
    let mut questions = Vec::new();
    for _ in 0..CASES {
        let (service, slices) = (draw.service(), draw.slices());
        let (node, zone) = draw.of(&NODES);
        questions.push(
            json!({"node": node, "zone": zone.unwrap_or_default(), "object": service, "slices": slices}),
        );
    }
    let mut answers = ask_kube_proxy(&questions);
    assert_eq!(answers.len(), questions.len());
    let (mut served, mut dropped, mut rejected, mut preferred) = (0, 0, 0, 0);
    for (question, answer) in questions.iter().zip(&mut answers) {
        if question["object"]["metadata"]["labels"] != json!({}) {
            // kube-proxy does not even watch those: its informers select by label, before this code.
            answer.clear();
        }
        let slices = question["slices"].as_array().unwrap();
        let specs = compiled(&question["object"], slices);
        let services = by_service(specs.iter().map(|(key, spec)| (key.as_str(), spec)));
        let told = || serde_json::to_string_pretty(question).unwrap();
        let Some(ours) = services.values().next() else {
            assert!(
                answer.is_empty(),
                "kube-proxy serves it, and we do not: {answer:?}\n{}",
                told()
            );
            continue;
        };
        assert!(
            !answer.is_empty(),
            "we serve it, and kube-proxy does not\n{}",
            told()
        );
        let node = question["node"].as_str().unwrap();
        let zone = question["zone"].as_str().filter(|zone| !zone.is_empty());
        for port in answer {
            let said = differences(ours, port, Place { node, zone });
            assert!(
                said.is_empty(),
                "{} {}: {said:#?}\n{}",
                port.family,
                port.name,
                told()
            );
            served += usize::from(!port.cluster.is_empty() || !port.local.is_empty());
            dropped += usize::from(port.uses_local && port.local.is_empty() && port.has_any_endpoint);
            rejected += usize::from(!port.has_any_endpoint);
            preferred += usize::from(!port.local.is_subset(&port.cluster) && !port.cluster.is_empty());
        }
    }
    // The cases are worth something.
    for (what, count) in [
        ("served", served),
        ("dropped", dropped),
        ("rejected", rejected),
        ("apart", preferred),
    ] {
        assert!(count > CASES / 50, "{what}: {count}");
    }
}
