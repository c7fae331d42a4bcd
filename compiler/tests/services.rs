//! Services, row by row.

mod common;

use std::collections::BTreeMap;

use common::{cluster, compiled, ip, reasons};
use compiler::{Output, Settings, compile};
use crds::VppServiceSliceSpec;
use crds::service_slice::{Backend, FrontendKind, TrafficPolicy};

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
        for_zones: vec![],
        for_nodes: vec![],
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
        // VPP does not count the time: who asks for another one than the default is told.
        let told = reasons(&output).contains(&"AffinityTimeoutIgnored");
        assert_eq!(told, seconds == Some(60), "{affinity}");
    }
}

#[test]
fn row_18_sctp_in_ipv6_is_told_to_its_author() {
    for (ips, told) in [("10.96.0.10", false), ("10.96.0.10, 'fd00:96::10'", true)] {
        let spec = format!("{{clusterIPs: [{ips}], ports: [{{port: 80, protocol: SCTP}}]}}");
        let output = compiled(&service("", &spec));
        assert_eq!(reasons(&output).contains(&"SctpIPv4Only"), told, "{ips}");
        assert_eq!(slices(&output)[&0].ports.len(), 1, "IPv4 is served");
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

/// The frontends of a kind.
fn addresses(output: &Output, kind: FrontendKind) -> Vec<String> {
    let first = slices(output)[&0];
    let of_kind = first.frontends.iter().filter(|f| f.kind == kind);
    of_kind.map(|f| f.address.to_string()).collect()
}

fn node_ports(output: &Output) -> Vec<Option<u16>> {
    slices(output)[&0].ports.iter().map(|p| p.node_port).collect()
}

const NODE_PORT: &str = "{type: NodePort, clusterIPs: [10.96.0.10], ports: [{name: http, port: 80, nodePort: 30080}, {name: dns, port: 53, protocol: UDP, nodePort: 30053}]}";

#[test]
fn row_2_a_type_change_adds_and_removes_the_dataplane() {
    let external = "{type: ExternalName, externalName: example.org}";
    let sizes: Vec<_> = [WEB, external, NODE_PORT, external]
        .map(|spec| compiled(&service("", spec)).service_slices.len())
        .into();
    assert_eq!(sizes, [1, 0, 1, 0]);
    let back = NODE_PORT.replace("type: NodePort", "type: ClusterIP");
    assert_eq!(node_ports(&compiled(&service("", &back))), [None, None]);
}

#[test]
fn row_4_node_ports_of_node_port_and_load_balancer_services() {
    let balancer = NODE_PORT.replace("NodePort,", "LoadBalancer,");
    for spec in [NODE_PORT, &balancer] {
        assert_eq!(
            node_ports(&compiled(&service("", spec))),
            [Some(30080), Some(30053)]
        );
    }
    // TCP to UDP with the number kept.
    let udp =
        "{type: NodePort, clusterIPs: [10.96.0.10], ports: [{port: 80, protocol: UDP, nodePort: 30080}]}";
    let output = compiled(&service("", udp));
    let port = &slices(&output)[&0].ports[0];
    assert_eq!((port.protocol.number(), port.node_port), (17, Some(30080)));
}

fn balanced(ingress: &str, more: &str) -> String {
    format!(
        "kind: Service\nmetadata: {{namespace: shop, name: web, uid: u1}}\n\
         spec: {{type: LoadBalancer, clusterIPs: [10.96.0.10, 'fd00:96::10'], ports: [{{port: 80}}]{more}}}\n\
         status: {{loadBalancer: {{ingress: {ingress}}}}}\n"
    )
}

#[test]
fn row_5_load_balancer_addresses_by_ip_mode() {
    // KEP-1860: only VIP, which is the default, is captured by the nodes.
    for (ingress, expected) in [
        ("[{ip: 192.0.2.1}]", vec!["192.0.2.1"]),
        (
            "[{ip: 192.0.2.1, ipMode: VIP}, {ip: '2001:db8::1'}]",
            vec!["192.0.2.1", "2001:db8::1"],
        ),
        ("[{ip: 192.0.2.1, ipMode: Proxy}]", vec![]),
        ("[{hostname: lb.example.org}]", vec![]),
        ("[]", vec![]),
    ] {
        let output = compiled(&balanced(ingress, ""));
        assert_eq!(
            addresses(&output, FrontendKind::LoadBalancer),
            expected,
            "{ingress}"
        );
    }
    // allocateLoadBalancerNodePorts: false leaves the ports without a number.
    assert_eq!(
        node_ports(&compiled(&balanced(
            "[]",
            ", allocateLoadBalancerNodePorts: false"
        ))),
        [None]
    );
    // What is left in the status of another type is not captured.
    let other = balanced("[{ip: 192.0.2.1}]", "").replace("LoadBalancer,", "NodePort,");
    assert!(addresses(&compiled(&other), FrontendKind::LoadBalancer).is_empty());
}

#[test]
fn row_6_external_ips_and_their_switch() {
    let spec = "{clusterIPs: [10.96.0.10], ports: [{port: 80}], externalIPs: [198.51.100.7, '2001:db8::7', 10.96.0.10]}";
    let facts = cluster(&service("", spec));
    let output = compile(&facts, &Settings::default());
    assert_eq!(addresses(&output, FrontendKind::ExternalIp), ["198.51.100.7"]);
    assert_eq!(reasons(&output), ["AddressFamily", "NoEndpoints"]);
    let off = Settings {
        external_ips: false,
        ..Settings::default()
    };
    let output = compile(&facts, &off);
    assert!(addresses(&output, FrontendKind::ExternalIp).is_empty());
    assert!(reasons(&output).contains(&"ExternalIPsDisabled"));
}

#[test]
fn rows_7_and_8_traffic_policies() {
    for (policies, internal, external) in [
        ("", TrafficPolicy::Cluster, TrafficPolicy::Cluster),
        (
            ", internalTrafficPolicy: Local",
            TrafficPolicy::Local,
            TrafficPolicy::Cluster,
        ),
        (
            ", externalTrafficPolicy: Local",
            TrafficPolicy::Cluster,
            TrafficPolicy::Local,
        ),
    ] {
        let output = compiled(&balanced("[]", policies));
        let first = slices(&output)[&0];
        let got = (first.internal_traffic_policy, first.external_traffic_policy);
        assert_eq!(got, (internal, external), "{policies}");
    }
}

#[test]
fn row_10_a_health_check_port_needs_a_load_balancer_and_local() {
    for (more, kind, expected) in [
        (", healthCheckNodePort: 32000", "LoadBalancer", None),
        (
            ", healthCheckNodePort: 32000, externalTrafficPolicy: Local",
            "LoadBalancer",
            Some(32000),
        ),
        (
            ", healthCheckNodePort: 32000, externalTrafficPolicy: Local",
            "NodePort",
            None,
        ),
    ] {
        let yaml = balanced("[]", more).replace("type: LoadBalancer", &format!("type: {kind}"));
        assert_eq!(
            slices(&compiled(&yaml))[&0].health_check_node_port,
            expected,
            "{more} {kind}"
        );
    }
}

#[test]
fn row_14_hints_reach_the_nodes() {
    let endpoints =
        "[{addresses: [10.1.0.2], hints: {forZones: [{name: b}, {name: a}], forNodes: [{name: n1}]}}]";
    let output = compiled(&(service("", WEB) + &slice("s1", "IPv4", PORTS, endpoints)));
    let found = backends(&output)[0];
    assert_eq!(found.for_zones, ["a", "b"]);
    assert_eq!(found.for_nodes, ["n1"]);
}

#[test]
fn row_18_sctp_is_compiled_like_any_protocol() {
    let spec = "{clusterIPs: [10.96.0.10], ports: [{port: 80, protocol: SCTP}]}";
    let yaml = service("", spec)
        + &slice(
            "s1",
            "IPv4",
            "[{port: 81, protocol: SCTP}]",
            "[{addresses: [10.1.0.2]}]",
        );
    let output = compiled(&yaml);
    assert_eq!(slices(&output)[&0].ports[0].protocol.number(), 132);
    assert_eq!(backends(&output)[0].ports, [81]);
}

#[test]
fn row_20_source_ranges() {
    let ranges = |more: &str, ingress: &str| {
        let output = compiled(&balanced(ingress, more));
        let ranges = slices(&output)[&0].load_balancer_source_ranges.clone();
        let text = ranges.map(|ranges| ranges.iter().map(ToString::to_string).collect::<Vec<_>>());
        (text, reasons(&output))
    };
    let (open, _) = ranges("", "[]");
    assert_eq!(open, None);
    // Spaces are cut, prefixes within others are not repeated.
    let (both, _) = ranges(
        ", loadBalancerSourceRanges: [' 192.0.2.0/24 ', 192.0.2.7/32, '2001:db8::/32']",
        "[]",
    );
    assert_eq!(both.unwrap(), ["192.0.2.0/24", "2001:db8::/32"]);
    // A family without a prefix is closed, and what cannot be read opens nothing.
    let (one, told) = ranges(", loadBalancerSourceRanges: [192.0.2.0/24]", "[]");
    assert_eq!(
        (one.unwrap(), told),
        (
            vec!["192.0.2.0/24".to_owned()],
            vec!["NoEndpoints", "SourceRangesFamily"]
        )
    );
    let (none, told) = ranges(", loadBalancerSourceRanges: [nonsense]", "[]");
    assert_eq!(none.unwrap(), Vec::<String>::new());
    assert!(told.contains(&"InvalidSourceRange"));
    // Only a load balancer has them.
    let other =
        balanced("[]", ", loadBalancerSourceRanges: [192.0.2.0/24]").replace("LoadBalancer,", "NodePort,");
    assert_eq!(slices(&compiled(&other))[&0].load_balancer_source_ranges, None);
}

#[test]
fn row_20_an_address_of_two_kinds_keeps_its_source_ranges() {
    let more = ", externalIPs: [192.0.2.1], loadBalancerSourceRanges: [10.0.0.0/8]";
    let output = compiled(&balanced("[{ip: 192.0.2.1}]", more));
    assert_eq!(addresses(&output, FrontendKind::LoadBalancer), ["192.0.2.1"]);
    assert!(addresses(&output, FrontendKind::ExternalIp).is_empty());
}

#[test]
fn row_25_the_trigger_time_comes_along_and_is_no_change() {
    let at = |time: &str| {
        let slice = slice("s1", "IPv4", PORTS, "[{addresses: [10.1.0.2]}]").replace(
            "labels:",
            &format!("annotations: {{endpoints.kubernetes.io/last-change-trigger-time: '{time}'}}, labels:"),
        );
        let output = compiled(&(service("", WEB) + &slice));
        let first = slices(&output)[&0];
        (first.triggered.clone(), first.revision.clone())
    };
    let (first, revision) = at("2026-01-01T00:00:00Z");
    assert_eq!(first.as_deref(), Some("2026-01-01T00:00:00Z"));
    let (second, same) = at("2026-01-01T00:00:05Z");
    assert_eq!(second.as_deref(), Some("2026-01-01T00:00:05Z"));
    assert_eq!(revision, same);
}

/// The Service with endpoints 10.1.0.0 + n.
fn with_endpoints(numbers: impl Iterator<Item = u32>) -> Output {
    let endpoints: Vec<String> = numbers
        .map(|n| format!("{{addresses: [10.1.{}.{}]}}", n / 250, n % 250))
        .collect();
    let endpoints = format!("[{}]", endpoints.join(", "));
    compiled(&(service("", WEB) + &slice("s1", "IPv4", PORTS, &endpoints)))
}

#[test]
fn slices_hold_100_backends_and_frontends_are_in_the_first() {
    for (count, split) in [(100, false), (101, true), (1000, true)] {
        let output = with_endpoints(0..count);
        let slices = slices(&output);
        let first = slices[&0];
        assert!(slices.values().all(|s| s.backends.len() <= 100));
        assert_eq!(backends(&output).len(), count as usize);
        let others: Vec<u32> = slices.keys().copied().filter(|number| *number != 0).collect();
        assert_eq!(first.slices, others);
        assert_eq!(first.backends.is_empty(), split);
        assert_eq!(!others.is_empty(), split);
        for (number, slice) in &slices {
            assert_eq!(slice.frontends.is_empty(), *number != 0);
            assert_eq!(slice.ports.len(), 2);
        }
        for (key, slice) in &output.service_slices {
            assert!(key.name.starts_with("web-") && key.name.ends_with(&format!("-{}", slice.spec.slice)));
        }
    }
}

#[test]
fn an_endpoint_change_rewrites_one_slice_and_a_split_three() {
    let revisions = |output: &Output| -> BTreeMap<String, String> {
        let all = output.service_slices.iter();
        all.map(|(key, slice)| (key.name.to_string(), slice.spec.revision.clone()))
            .collect()
    };
    let mut before = revisions(&with_endpoints(0..1));
    let mut splits = 0;
    for count in 2..600 {
        let now = revisions(&with_endpoints(0..count));
        let changed = now
            .iter()
            .filter(|(name, revision)| before.get(*name) != Some(revision))
            .count();
        let gone = before.keys().filter(|name| !now.contains_key(*name)).count();
        match changed + gone {
            1 => {}
            // The leaf that is no more (or slice 0 that empties), its two halves, and the list of leaves.
            3 | 4 => splits += 1,
            other => panic!("{other} writes for endpoint {count}"),
        }
        before = now;
    }
    assert!(splits >= 5, "600 endpoints need more than five leaves");
}

#[test]
fn a_service_created_again_gets_other_objects() {
    let first = compiled(&service("", WEB));
    let again = compiled(&service("", WEB).replace("uid: u1", "uid: u2"));
    let names = |output: &Output| output.service_slices.keys().cloned().collect::<Vec<_>>();
    assert_ne!(names(&first), names(&again));
}
