//! What becomes of Services of every kind on one node: `a` with 10.1.1.0/24 and 192.168.0.1, and a peer `b`.

use crds::cnf::{InterfaceKind, InterfaceRole};
use crds::net::Cidr;
use crds::service_slice::{Frontend, FrontendKind, ServicePort, TrafficPolicy};
use crds::vpp_config::{FunctionInterface, PodBinding, TransportMode};
use crds::{Backend, VppServiceSliceSpec};

use super::*;
use crate::desired::tests::{World, backend, cidr};
use crate::host::nat::Refusal;
use crate::objects::CnatRole;

/// A Service with both families, port 80, and a backend on each node.
fn web() -> VppServiceSliceSpec {
    let frontend = |address: &str| Frontend {
        kind: FrontendKind::ClusterIp,
        address: address.parse().unwrap(),
    };
    VppServiceSliceSpec {
        service: "web".into(),
        service_uid: "u".into(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        frontends: vec![frontend("10.96.0.10"), frontend("fd00:96::10")],
        backends: vec![on("10.1.1.7", "a"), on("10.1.2.7", "b")],
        ..VppServiceSliceSpec::default()
    }
}

fn on(address: &str, node: &str) -> Backend {
    Backend {
        node: Some(node.into()),
        ..backend(address, &[8080])
    }
}

fn add_frontend(spec: &mut VppServiceSliceSpec, kind: FrontendKind, address: &str) {
    spec.frontends.push(Frontend {
        kind,
        address: address.parse().unwrap(),
    });
}

fn desired(services: &[(&str, VppServiceSliceSpec)]) -> Desired {
    let mut world = World::new();
    for (name, spec) in services {
        let key = format!("default/{name}");
        world.cluster.services.insert(key, spec.clone().into());
    }
    world.desired()
}

fn tcp(address: &str, port: u16) -> Vip {
    Vip {
        address: address.parse().unwrap(),
        port,
        protocol: Protocol::Tcp,
    }
}

/// Backends of a translation, in words.
fn backends(out: &Desired, address: &str, port: u16) -> Option<Vec<String>> {
    match out.objects.get(&Key::Translation(tcp(address, port)))? {
        Object::Translation(t) => Some(t.backends.iter().map(|(a, p)| format!("{a}:{p}")).collect()),
        _ => None,
    }
}

fn entry(out: &Desired, address: &str, port: u16) -> Option<String> {
    let (to, port) = out.host.nat.entries.get(&tcp(address, port))?;
    Some(format!("{to}:{port}"))
}

fn own(out: &Desired, address: &str, port: u16) -> Option<Vec<String>> {
    let targets = out.host.nat.own.get(&tcp(address, port))?;
    Some(targets.iter().map(|(a, p)| format!("{a}:{p}")).collect())
}

fn route<'o>(out: &'o Desired, prefix: &str) -> Option<&'o Object> {
    out.objects.get(&Key::Route(cidr(prefix)))
}

const BOTH: [&str; 2] = ["10.1.1.7:8080", "10.1.2.7:8080"];
const HERE: [&str; 1] = ["10.1.1.7:8080"];

fn node_port(policy: TrafficPolicy) -> VppServiceSliceSpec {
    let mut spec = web();
    spec.ports[0].node_port = Some(30080);
    spec.external_traffic_policy = policy;
    spec
}

/// Service documentation, "type: NodePort"; KEP-3866 for which addresses: the node's primary ones.
#[test]
fn row_4_a_node_port_is_on_the_nodes_addresses_and_the_kernel_hands_it_over() {
    let out = desired(&[("web", node_port(TrafficPolicy::Cluster))]);
    assert_eq!(backends(&out, "192.168.0.1", 30080).unwrap(), BOTH, "for pods");
    assert_eq!(
        backends(&out, "169.254.0.2", 30080).unwrap(),
        BOTH,
        "for the kernel"
    );
    assert_eq!(entry(&out, "192.168.0.1", 30080).unwrap(), "169.254.0.2:30080");
    assert_eq!(own(&out, "192.168.0.1", 30080).unwrap(), ["169.254.0.2:30080"]);
    assert!(
        out.host.vips.contains(&node_ports(TrafficPolicy::Cluster, false)),
        "the node has a route to the stand-in"
    );
    assert_eq!(backends(&out, "169.254.0.3", 30080), None);
    // The host's own ports stay the host's: the node's address is routed to the kernel as before.
    assert_eq!(
        route(&out, "192.168.0.1/32"),
        Some(&Object::Route(vec![Path::Via(
            Link::Host,
            "192.168.0.1".parse().unwrap()
        )]))
    );
    // No IPv6 backend: refused there, and never one of the other family.
    assert_eq!(
        out.host.nat.refused.get(&tcp("fd02::1", 30080)),
        Some(&Refusal::Reject)
    );
}

/// Service documentation, "External traffic policy": only node-local endpoints, the client's address kept; KEP-3458
/// and `externalPolicyLocal` of kube-proxy: pods and the node itself are short-circuited to all endpoints.
#[test]
fn row_7_external_local_holds_for_clients_outside_only() {
    let mut spec = node_port(TrafficPolicy::Local);
    add_frontend(&mut spec, FrontendKind::LoadBalancer, "192.0.2.1");
    let out = desired(&[("web", spec.clone())]);
    for (address, port) in [("192.168.0.1", 30080), ("192.0.2.1", 80)] {
        assert_eq!(
            entry(&out, address, port).unwrap(),
            "169.254.0.3:30080",
            "{address}"
        );
        assert_eq!(backends(&out, address, port).unwrap(), BOTH, "pods, {address}");
    }
    assert_eq!(backends(&out, "169.254.0.3", 30080).unwrap(), HERE);
    assert_eq!(
        own(&out, "192.168.0.1", 30080).unwrap(),
        ["169.254.0.2:30080"],
        "the node itself"
    );
    assert_eq!(
        backends(&out, "10.96.0.10", 80).unwrap(),
        BOTH,
        "the cluster IP is not concerned"
    );

    spec.backends.remove(0);
    let out = desired(&[("web", spec)]);
    for (address, port) in [("192.168.0.1", 30080), ("192.0.2.1", 80)] {
        assert_eq!(
            out.host.nat.refused.get(&tcp(address, port)),
            Some(&Refusal::Drop),
            "{address}"
        );
        assert_eq!(entry(&out, address, port), None);
        assert_eq!(
            backends(&out, address, port).unwrap(),
            ["10.1.2.7:8080"],
            "pods, {address}"
        );
    }
}

#[test]
fn row_8_internal_local_without_local_endpoint_drops() {
    let mut spec = web();
    spec.internal_traffic_policy = TrafficPolicy::Local;
    let out = desired(&[("web", spec.clone())]);
    assert_eq!(backends(&out, "10.96.0.10", 80).unwrap(), HERE);
    spec.backends.remove(0);
    let out = desired(&[("web", spec)]);
    assert_eq!(backends(&out, "10.96.0.10", 80), None);
    assert_eq!(
        route(&out, "10.96.0.10/32"),
        Some(&Object::Route(vec![Path::Drop]))
    );
    assert!(
        out.host.vips.contains(&"10.96.0.10".parse().unwrap()),
        "host-network clients too"
    );
}

#[test]
fn row_9_no_endpoint_at_all_rejects() {
    let mut spec = node_port(TrafficPolicy::Cluster);
    spec.backends.clear();
    add_frontend(&mut spec, FrontendKind::LoadBalancer, "192.0.2.1");
    let out = desired(&[("web", spec)]);
    for address in ["10.96.0.10/32", "192.0.2.1/32"] {
        assert_eq!(
            route(&out, address),
            Some(&Object::Route(vec![Path::Unreachable])),
            "{address}"
        );
    }
    assert_eq!(
        out.host.nat.refused.get(&tcp("192.0.2.1", 80)),
        Some(&Refusal::Reject)
    );
    assert_eq!(
        out.host.nat.refused.get(&tcp("192.168.0.1", 30080)),
        Some(&Refusal::Reject)
    );
}

#[test]
fn rows_5_and_6_external_and_load_balancer_addresses() {
    for kind in [FrontendKind::ExternalIp, FrontendKind::LoadBalancer] {
        let mut spec = web();
        add_frontend(&mut spec, kind, "192.0.2.1");
        let out = desired(&[("web", spec.clone())]);
        assert_eq!(backends(&out, "192.0.2.1", 80).unwrap(), BOTH);
        // Without a node port (allocateLoadBalancerNodePorts: false) the cluster IP serves clients outside.
        assert_eq!(entry(&out, "192.0.2.1", 80).unwrap(), "10.96.0.10:80");
        assert!(out.host.vips.contains(&"192.0.2.1".parse().unwrap()));
    }
}

/// kube-proxy needs no node port to serve an address: `allocateLoadBalancerNodePorts: false`, or an external IP of a
/// ClusterIP Service, with either policy Local (rows 5, 6 and 7).
#[test]
fn row_7_local_holds_for_addresses_of_ports_without_node_port() {
    let entry = |out: &Desired, address| -> (IpAddr, u16) { out.host.nat.entries[&tcp(address, 80)] };
    let translation =
        |out: &Desired, (address, port): (IpAddr, u16)| backends(out, &address.to_string(), port);
    for kind in [FrontendKind::ExternalIp, FrontendKind::LoadBalancer] {
        let mut spec = web();
        add_frontend(&mut spec, kind, "192.0.2.1");
        add_frontend(&mut spec, kind, "192.0.2.2");
        add_frontend(&mut spec, kind, "2001:db8::1");
        spec.external_traffic_policy = TrafficPolicy::Local;
        spec.backends.push(on("fd00:1:1::7", "a"));
        spec.backends.push(on("fd00:1:2::7", "b"));
        let mut other = spec.clone();
        (other.service, other.service_uid) = ("other".into(), "v".into());
        other.frontends = Vec::new();
        add_frontend(&mut other, kind, "192.0.2.3");
        let out = desired(&[("other", other), ("web", spec.clone())]);
        assert!(out.pending.is_empty(), "{:?}", out.pending);
        let all = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.3"].map(|address| entry(&out, address));
        for target in all {
            let local = if target.0.is_ipv6() {
                "fd00:1:1::7:8080"
            } else {
                "10.1.1.7:8080"
            };
            assert_eq!(translation(&out, target).unwrap(), [local], "this node's alone");
            assert!(
                kept().any(|cidr| cidr.contains(target.0)),
                "clients keep their address"
            );
            assert!(out.host.vips.contains(&target.0), "the node has a way there");
        }
        assert_eq!(all[0], all[1], "two addresses of one port");
        assert_ne!(all[0], all[3], "two Services");
        assert_eq!(backends(&out, "192.0.2.1", 80).unwrap(), BOTH, "pods have all");

        // The other way round: clients outside have all, clients of the cluster IP this node's.
        spec.external_traffic_policy = TrafficPolicy::Cluster;
        spec.internal_traffic_policy = TrafficPolicy::Local;
        let out = desired(&[("web", spec)]);
        let target = entry(&out, "192.0.2.1");
        assert_eq!(translation(&out, target).unwrap(), BOTH);
        assert!(
            !kept().any(|cidr| cidr.contains(target.0)),
            "clients look like this node"
        );
        assert_eq!(backends(&out, "10.96.0.10", 80).unwrap(), ["10.1.1.7:8080"]);
    }
}

#[test]
fn an_address_of_two_services_is_the_first_ones() {
    let mut thief = web();
    thief.service = "aaa".into();
    thief.service_uid = "v".into();
    thief.frontends[0].address = "10.96.0.66".parse().unwrap();
    thief.frontends[1].address = "fd00:96::66".parse().unwrap();
    thief.backends = vec![on("10.1.2.66", "b")];
    add_frontend(&mut thief, FrontendKind::ExternalIp, "10.96.0.10");
    let out = desired(&[("aaa", thief), ("web", web())]);
    assert_eq!(
        backends(&out, "10.96.0.10", 80).unwrap(),
        BOTH,
        "a cluster IP cannot be taken"
    );
    assert!(
        out.pending.iter().any(|p| p.reason.contains("another Service's")),
        "{:?}",
        out.pending
    );
}

fn guarded(ranges: &[&str]) -> Desired {
    let mut spec = node_port(TrafficPolicy::Cluster);
    add_frontend(&mut spec, FrontendKind::LoadBalancer, "192.0.2.1");
    spec.load_balancer_source_ranges = Some(ranges.iter().map(|range| cidr(range)).collect());
    desired(&[("web", spec)])
}

#[test]
fn row_20_source_ranges_guard_the_load_balancer_address_only() {
    let admitted = |out: &Desired| -> Vec<Cidr> { out.host.nat.admitted[&tcp("192.0.2.1", 80)].clone() };
    let out = guarded(&["203.0.113.0/24"]);
    assert_eq!(admitted(&out), [cidr("203.0.113.0/24")]);
    assert!(
        !out.host.nat.admitted.contains_key(&tcp("192.168.0.1", 30080)),
        "not the node port"
    );
    assert_eq!(
        backends(&out, "10.96.0.10", 80).unwrap(),
        BOTH,
        "nor the cluster IP"
    );
    assert_eq!(
        backends(&out, "192.0.2.1", 80),
        None,
        "pods are outside the ranges"
    );
    assert_eq!(
        route(&out, "192.0.2.1/32"),
        Some(&Object::Route(vec![Path::Drop]))
    );
    assert_eq!(
        own(&out, "192.0.2.1", 80).unwrap(),
        ["169.254.0.2:30080"],
        "the node is asked by the kernel"
    );
    assert!(out.pending.is_empty(), "{:?}", out.pending);

    let out = guarded(&["10.0.0.0/8"]);
    assert_eq!(
        backends(&out, "192.0.2.1", 80).unwrap(),
        BOTH,
        "all pods are within"
    );

    let out = guarded(&["10.1.1.64/26"]);
    assert_eq!(
        backends(&out, "192.0.2.1", 80),
        None,
        "closed where VPP cannot decide"
    );
    assert!(
        out.pending
            .iter()
            .any(|p| p.reason.contains("loadBalancerSourceRanges")),
        "{:?}",
        out.pending
    );

    let out = guarded(&[]);
    assert!(admitted(&out).is_empty(), "nobody");
    assert_eq!(backends(&out, "192.0.2.1", 80), None);
}

/// Without encapsulation the uplink takes clients outside straight to cnat, which asks nobody for his address.
#[test]
fn row_20_an_uplink_that_serves_closes_guarded_addresses_and_says_what_local_means() {
    let uplink_serves = |spec: &VppServiceSliceSpec| {
        let mut world = World::new();
        world.spec.transport.mode = TransportMode::None;
        world
            .cluster
            .services
            .insert("default/web".into(), spec.clone().into());
        world.desired()
    };
    let said = |out: &Desired, words: &str| out.pending.iter().any(|p| p.reason.contains(words));

    let mut spec = node_port(TrafficPolicy::Cluster);
    add_frontend(&mut spec, FrontendKind::LoadBalancer, "192.0.2.1");
    let out = uplink_serves(&spec);
    assert_eq!(backends(&out, "192.0.2.1", 80).unwrap(), BOTH, "no ranges");

    spec.load_balancer_source_ranges = Some(vec![cidr("10.0.0.0/8")]);
    let out = uplink_serves(&spec);
    assert_eq!(backends(&out, "192.0.2.1", 80), None);
    assert_eq!(
        route(&out, "192.0.2.1/32"),
        Some(&Object::Route(vec![Path::Drop]))
    );
    assert!(said(&out, "192.0.2.1 is closed in VPP"), "{:?}", out.pending);
    assert_eq!(backends(&out, "10.96.0.10", 80).unwrap(), BOTH);

    let out = uplink_serves(&node_port(TrafficPolicy::Local));
    assert!(said(&out, "holds for those that enter by the node's kernel"));
    assert!(!said(
        &desired(&[("web", node_port(TrafficPolicy::Local))]),
        "uplink"
    ));
}

/// `kubernetes.default`: its backends are processes of nodes, to which the kernel has the way.
#[test]
fn row_24_backends_that_are_no_pods_are_reached_by_the_kernel() {
    let mut spec = web();
    spec.backends = vec![backend("172.30.0.1", &[6443]), backend("172.30.0.2", &[6443])];
    let out = desired(&[("web", spec)]);
    assert_eq!(
        own(&out, "10.96.0.10", 80).unwrap(),
        ["172.30.0.1:6443", "172.30.0.2:6443"]
    );
    assert!(!out.host.vips.contains(&"10.96.0.10".parse().unwrap()));
    assert!(backends(&out, "10.96.0.10", 80).is_some(), "pods go through VPP");
    let default = out.objects.get(&Key::Route(cidr("0.0.0.0/0")));
    assert_eq!(
        default,
        Some(&Object::Route(vec![Path::Via(
            Link::Host,
            "192.168.0.1".parse().unwrap()
        )]))
    );
}

#[test]
fn row_10_health_checks_count_ready_local_endpoints() {
    let mut spec = node_port(TrafficPolicy::Local);
    spec.health_check_node_port = Some(32000);
    let count = |spec: &VppServiceSliceSpec| {
        let out = desired(&[("web", spec.clone())]);
        let check = &out.health[&32000];
        assert_eq!(
            (check.namespace.as_str(), check.name.as_str()),
            ("default", "web")
        );
        check.local_endpoints
    };
    assert_eq!(count(&spec), 1);
    spec.backends[0].ready = false;
    spec.backends[0].terminating = true;
    assert_eq!(count(&spec), 0, "it lingers: the balancer is to go elsewhere");
    spec.health_check_node_port = None;
    assert!(desired(&[("web", spec)]).health.is_empty());
}

/// Service documentation, "Supported protocols". cnat rewrites SCTP in IPv4 only (`cnat_translation_ip6` of VPP 26.06).
#[test]
fn row_18_sctp_is_served_in_ipv4_and_said_not_to_be_in_ipv6() {
    let mut spec = node_port(TrafficPolicy::Cluster);
    spec.ports[0].protocol = Protocol::Sctp;
    let out = desired(&[("web", spec)]);
    let sctp: Vec<String> = out
        .objects
        .keys()
        .filter_map(|key| match key {
            Key::Translation(vip) => Some(vip.to_string()),
            _ => None,
        })
        .collect();
    let all = [
        "10.96.0.10:80/SCTP",
        "169.254.0.2:30080/SCTP",
        "192.168.0.1:30080/SCTP",
    ];
    assert_eq!(sctp, all);
    let reasons: Vec<&str> = out.pending.iter().map(|p| p.reason.as_str()).collect();
    assert_eq!(
        reasons,
        ["service default/web: VPP's cnat carries SCTP in IPv4 only: it is not served in IPv6"]
    );
}

#[test]
fn a_service_with_a_slice_on_its_way_keeps_what_it_has() {
    let mut first = web();
    first.slices = vec![2, 3];
    let leaf = |slice, backends| VppServiceSliceSpec {
        slice,
        backends,
        frontends: vec![],
        ..web()
    };
    first.backends.clear();
    let two = leaf(2, vec![on("10.1.1.7", "a")]);
    let three = leaf(3, vec![on("10.1.2.7", "b")]);
    let out = desired(&[("web-0", first.clone()), ("web-2", two.clone())]);
    assert!(out.frozen.contains(&Key::Translation(tcp("10.96.0.10", 80))));
    assert_eq!(backends(&out, "10.96.0.10", 80), None);
    assert!(
        out.pending
            .iter()
            .any(|p| p.reason.contains("slice 3 is not known yet"))
    );

    // A leaf that is listed no more does not count.
    let stale = leaf(4, vec![on("10.1.2.99", "b")]);
    let all = [
        ("web-0", first),
        ("web-2", two),
        ("web-3", three),
        ("web-4", stale),
    ];
    let out = desired(&all);
    assert!(out.frozen.is_empty());
    assert_eq!(backends(&out, "10.96.0.10", 80).unwrap(), BOTH);
}

#[test]
fn every_packet_is_looked_up_before_cnat_translates_it() {
    let mut world = World::new();
    world.local.cnat_v1 = true;
    world.pod("client", 2, PodBinding::default());
    let function = FunctionInterface {
        name: "in".into(),
        role: InterfaceRole::InOut,
        kind: InterfaceKind::Tap,
    };
    let binding = PodBinding {
        interfaces: vec![function],
        ..PodBinding::default()
    };
    let id = world.pod("firewall", 3, binding);
    let out = world.desired();
    let role = |link: &Link| match out.objects.get(&Key::CnatFeature(link.clone())) {
        Some(Object::CnatFeature(role)) => Some(*role),
        _ => None,
    };
    assert_eq!(role(&Link::Function(id, "in".into())), Some(CnatRole::Passage));
    let links = out.objects.keys().filter_map(|key| match key {
        Key::Interface(link) => Some(link),
        _ => None,
    });
    for link in links {
        // Nothing comes in by the gateway; by the uplink come tunnels' packets, which are looked up in the tunnel.
        let exempt = matches!(link, Link::Gateway | Link::Uplink);
        assert_eq!(role(link).is_none(), exempt, "{link}");
    }

    world.local.cnat_v1 = false;
    let out = world.desired();
    let passages = out
        .objects
        .values()
        .filter(|object| **object == Object::CnatFeature(CnatRole::Passage));
    assert_eq!(passages.count(), 0, "before 1.0.0 each node looks for itself");
}
