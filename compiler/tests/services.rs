//! Services, row by row.

mod common;

use std::collections::BTreeMap;

use common::{compiled, ip, reasons};
use compiler::Output;
use crds::VppServiceSliceSpec;
use crds::service_slice::{Backend, FrontendKind};

fn service(meta: &str, spec: &str) -> String {
    format!("kind: Service\nmetadata: {{namespace: shop, name: web, uid: u1{meta}}}\nspec: {spec}\n")
}

const WEB: &str = "{clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, 'fd00:96::10'], ports: [{name: http, port: 80, targetPort: http}, {name: dns, port: 53, protocol: UDP}]}";

fn slice(name: &str, family: &str, ports: &str, endpoints: &str) -> String {
    format!(
        "---\nkind: EndpointSlice\nmetadata: {{namespace: shop, name: {name}, labels: {{kubernetes.io/service-name: web}}}}\naddressType: {family}\nports: {ports}\nendpoints: {endpoints}\n"
    )
}

const PORTS: &str = "[{name: http, port: 8080}, {name: dns, port: 5353, protocol: UDP}]";

/// Slices of the Service, by number.
fn slices(output: &Output) -> BTreeMap<u32, &VppServiceSliceSpec> {
    output
        .service_slices
        .values()
        .map(|s| (s.spec.slice, &s.spec))
        .collect()
}

fn backends(output: &Output) -> Vec<&Backend> {
    slices(output).into_values().flat_map(|s| &s.backends).collect()
}

#[test]
fn row_1_frontends_per_family_and_every_port() {
    let endpoints = "[{addresses: [10.1.0.2], nodeName: n1, conditions: {ready: true, serving: true}}]";
    let output = compiled(&(service("", WEB) + &slice("s1", "IPv4", PORTS, endpoints)));
    let slices = slices(&output);
    let web = slices[&0];
    let frontends: Vec<_> = web.frontends.iter().map(|f| (f.kind, f.address)).collect();
    let cluster_ip = FrontendKind::ClusterIp;
    assert_eq!(
        frontends,
        [(cluster_ip, ip("10.96.0.10")), (cluster_ip, ip("fd00:96::10"))]
    );
    let ports: Vec<_> = web
        .ports
        .iter()
        .map(|p| (p.name.as_str(), p.protocol.number(), p.port))
        .collect();
    assert_eq!(ports, [("http", 6, 80), ("dns", 17, 53)]);
    assert_eq!(web.affinity_seconds, None);
    assert_eq!((web.service.as_str(), web.service_uid.as_str()), ("web", "u1"));
    let expected = Backend {
        address: ip("10.1.0.2"),
        ports: vec![8080, 5353],
        node: Some("n1".into()),
        ready: true,
        serving: true,
        terminating: false,
    };
    assert_eq!(web.backends, [expected]);
    assert!(output.problems.is_empty());
    let owner = output
        .service_slices
        .values()
        .next()
        .unwrap()
        .owner
        .as_ref()
        .unwrap();
    assert_eq!((owner.kind, owner.uid.as_str()), ("Service", "u1"));
}

#[test]
fn row_1_an_endpoint_in_two_slices_is_one_backend() {
    let one = "[{addresses: [10.1.0.2], conditions: {ready: true}}]";
    let stale = "[{addresses: [10.1.0.2], conditions: {ready: false, serving: false, terminating: true}}]";
    let yaml = service("", WEB) + &slice("s1", "IPv4", PORTS, stale) + &slice("s2", "IPv4", PORTS, one);
    let output = compiled(&yaml);
    let backends = backends(&output);
    assert_eq!(backends.len(), 1);
    assert!(backends[0].ready && backends[0].serving && !backends[0].terminating);
}

#[test]
fn row_2_headless_and_external_name_have_no_dataplane() {
    for spec in [
        "{clusterIP: None, clusterIPs: [None], ports: [{port: 80}]}",
        "{type: ExternalName, externalName: example.org}",
        "{type: ExternalName, externalName: example.org, clusterIPs: [10.96.0.10], ports: [{port: 80}]}",
        "{clusterIP: '', ports: [{port: 80}]}",
    ] {
        let output = compiled(&service("", spec));
        assert!(output.service_slices.is_empty(), "{spec}");
        assert!(output.problems.is_empty(), "{spec}");
    }
}

#[test]
fn row_3_skip_labels() {
    for label in [
        "service.kubernetes.io/service-proxy-name: other",
        "service.kubernetes.io/headless: ''",
    ] {
        let output = compiled(&service(&format!(", labels: {{{label}}}"), WEB));
        assert!(output.service_slices.is_empty(), "{label}");
    }
}

#[test]
fn row_9_without_endpoints_the_frontends_stay_and_it_is_told() {
    for endpoints in [
        "[]",
        "[{addresses: [10.1.0.2], conditions: {ready: false, serving: false}}]",
    ] {
        let output = compiled(&(service("", WEB) + &slice("s1", "IPv4", PORTS, endpoints)));
        assert_eq!(slices(&output)[&0].frontends.len(), 2);
        assert_eq!(reasons(&output), ["NoEndpoints"]);
    }
    let output = compiled(&service("", WEB));
    assert!(slices(&output)[&0].backends.is_empty());
    assert_eq!(reasons(&output), ["NoEndpoints"]);
}

#[test]
fn row_11_affinity() {
    for (affinity, seconds) in [
        ("sessionAffinity: None", None),
        ("sessionAffinity: ClientIP", Some(10_800)),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}",
            Some(60),
        ),
    ] {
        let spec = format!("{{clusterIPs: [10.96.0.10], ports: [{{port: 80}}], {affinity}}}");
        let output = compiled(&service("", &spec));
        assert_eq!(slices(&output)[&0].affinity_seconds, seconds, "{affinity}");
    }
}

#[test]
fn row_12_absent_conditions_mean_ready_and_serving() {
    for (conditions, ready, serving, terminating) in [
        ("", true, true, false),
        (", conditions: {}", true, true, false),
        (", conditions: {ready: false}", false, true, false),
        (
            ", conditions: {ready: false, serving: true, terminating: true}",
            false,
            true,
            true,
        ),
        (
            ", conditions: {ready: false, serving: false}",
            false,
            false,
            false,
        ),
    ] {
        let endpoints = format!("[{{addresses: [10.1.0.2]{conditions}}}]");
        let output = compiled(&(service("", WEB) + &slice("s1", "IPv4", PORTS, &endpoints)));
        let found = backends(&output)[0];
        let got = (found.ready, found.serving, found.terminating);
        assert_eq!(got, (ready, serving, terminating), "{conditions}");
    }
}

#[test]
fn row_16_both_families_v4_first_and_fqdn_ignored() {
    let yaml = service("", WEB)
        + &slice("a", "IPv6", PORTS, "[{addresses: ['fd00:1::2']}]")
        + &slice(
            "b",
            "IPv4",
            PORTS,
            "[{addresses: [10.1.0.9]}, {addresses: [10.1.0.2]}]",
        )
        + &slice("c", "FQDN", PORTS, "[{addresses: [example.org]}]")
        + &slice("d", "IPv4", PORTS, "[{addresses: ['fd00:1::3']}]");
    let output = compiled(&yaml);
    let addresses: Vec<String> = backends(&output).iter().map(|b| b.address.to_string()).collect();
    assert_eq!(addresses, ["10.1.0.2", "10.1.0.9", "fd00:1::2"]);
}

#[test]
fn row_19_named_target_ports_differ_per_slice() {
    let yaml = service("", WEB)
        + &slice("a", "IPv4", "[{name: http, port: 8080}]", "[{addresses: [10.1.0.2]}]")
        + &slice("b", "IPv4", "[{name: http, port: 9090}, {name: dns, port: 53, protocol: UDP}]", "[{addresses: [10.1.0.3]}]")
        + &slice("c", "IPv4", "[{name: dns, port: 5353, protocol: UDP}]", "[{addresses: [10.1.0.2]}]")
        // Another protocol's port of that name, and a name the Service does not have.
        + &slice("d", "IPv4", "[{name: http, port: 1, protocol: UDP}, {name: x, port: 2}]", "[{addresses: [10.1.0.4]}]");
    let output = compiled(&yaml);
    let ports: Vec<_> = backends(&output)
        .iter()
        .map(|b| (b.address, b.ports.clone()))
        .collect();
    assert_eq!(
        ports,
        [
            (ip("10.1.0.2"), vec![8080, 5353]),
            (ip("10.1.0.3"), vec![9090, 53])
        ]
    );
}

#[test]
fn row_24_one_address_with_two_ports_is_two_backends() {
    let spec = "{clusterIPs: [10.96.0.10], ports: [{port: 80}]}";
    let yaml = service("", spec)
        + &slice("a", "IPv4", "[{port: 81}]", "[{addresses: [198.51.100.1]}]")
        + &slice("b", "IPv4", "[{port: 80}]", "[{addresses: [198.51.100.1]}]");
    let output = compiled(&yaml);
    let ports: Vec<_> = backends(&output).iter().map(|b| b.ports.clone()).collect();
    assert_eq!(ports, [vec![80], vec![81]]);
    assert_eq!(backends(&output)[0].node, None);
}

#[test]
fn slices_hold_100_backends_and_frontends_are_in_the_first() {
    let endpoints: Vec<String> = (0..250)
        .map(|n| format!("{{addresses: [10.1.{}.{}]}}", n / 100, n % 100))
        .collect();
    let endpoints = format!("[{}]", endpoints.join(", "));
    let output = compiled(&(service("", WEB) + &slice("s1", "IPv4", PORTS, &endpoints)));
    let slices = slices(&output);
    let sizes: Vec<usize> = slices.values().map(|s| s.backends.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert!(!slices[&0].frontends.is_empty() && slices[&1].frontends.is_empty());
    for (key, slice) in &output.service_slices {
        assert!(key.name.starts_with("web-") && key.name.ends_with(&format!("-{}", slice.spec.slice)));
        assert_eq!(slice.spec.ports.len(), 2);
    }
}

#[test]
fn a_service_created_again_gets_other_objects() {
    let first = compiled(&service("", WEB));
    let again = compiled(&service("", WEB).replace("uid: u1", "uid: u2"));
    let names = |output: &Output| output.service_slices.keys().cloned().collect::<Vec<_>>();
    assert_ne!(names(&first), names(&again));
}
