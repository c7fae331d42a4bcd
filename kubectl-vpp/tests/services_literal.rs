//! Packets to Services agree with a literal reading of Kubernetes' rules on random clusters: objects are compiled,
//! planned for every node (VPP, and the kernel's table), loaded into an engine per node, and every client asks for every
//! address of every Service.
//!
//! The reading is of the documents, not of our code: the Service API ("Virtual IPs and service proxies"), KEP-2086
//! (internalTrafficPolicy), KEP-1669 (terminating endpoints), KEP-2433, KEP-3015 and KEP-4444 (topology and traffic
//! distribution), KEP-1860 (ipMode), and for what meets where `CategorizeEndpoints` of kube-proxy.

#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use common::ask;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

const NODES: usize = 3;
const BACKENDS: usize = 6;

/// An endpoint: a backend pod by number, with conditions and hints.
#[derive(Clone, Debug)]
struct Endpoint {
    pod: usize,
    ready: bool,
    serving: bool,
    terminating: bool,
    for_nodes: Vec<usize>,
    for_zones: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct Service {
    number: usize,
    kind: &'static str,
    internal_local: bool,
    external_local: bool,
    proxied: bool,
    ranges: Option<Vec<&'static str>>,
    endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug)]
struct World {
    zones: Vec<Option<&'static str>>,
    /// Node of each backend pod.
    pods: Vec<usize>,
    services: Vec<Service>,
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let hints = (
        option::weighted(0.7, subsequence((0..NODES).collect::<Vec<_>>(), 1..=2)),
        option::weighted(0.7, subsequence(vec!["a", "b"], 1..=2)),
    );
    let conditions = select(vec![
        (true, true, false),
        (true, true, false),
        (false, true, true),
        (false, false, true),
        (false, false, false),
    ]);
    (0..BACKENDS, conditions, hints).prop_map(|(pod, (ready, serving, terminating), (nodes, zones))| {
        Endpoint {
            pod,
            ready,
            serving,
            terminating,
            for_nodes: nodes.unwrap_or_default(),
            for_zones: zones.unwrap_or_default(),
        }
    })
}

fn service(number: usize) -> impl Strategy<Value = Service> {
    let kind = select(vec!["ClusterIP", "NodePort", "LoadBalancer", "LoadBalancer"]);
    // A node's pods all, or none of them: see README, Limits.
    let ranges = option::of(subsequence(
        vec!["203.0.113.0/25", "10.0.0.0/8", "192.0.2.0/24"],
        1..=2,
    ));
    // Hints of all endpoints or of some; as a rule the controller writes all or none.
    let plain = any::<[bool; 2]>();
    (kind, any::<[bool; 3]>(), ranges, vec(endpoint(), 0..6), plain).prop_map(
        move |(
            kind,
            [internal_local, external_local, proxied],
            ranges,
            mut endpoints,
            [no_nodes, no_zones],
        )| {
            endpoints.sort_by_key(|endpoint| endpoint.pod);
            endpoints.dedup_by_key(|endpoint| endpoint.pod);
            for endpoint in &mut endpoints {
                if no_nodes {
                    endpoint.for_nodes.clear();
                }
                if no_zones {
                    endpoint.for_zones.clear();
                }
            }
            let proxied = proxied && kind == "LoadBalancer";
            Service {
                number,
                kind,
                internal_local,
                external_local,
                proxied,
                ranges,
                endpoints,
            }
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    let zone = select(vec![None, Some("a"), Some("b")]);
    (
        vec(zone, NODES),
        vec(0..NODES, BACKENDS),
        (service(0), service(1)),
    )
        .prop_map(|(zones, pods, (one, two))| World {
            zones,
            pods,
            services: vec![one, two],
        })
}

fn node_address(node: usize) -> IpAddr {
    format!("192.0.2.{}", node + 1).parse().unwrap()
}

impl World {
    fn pod_address(&self, pod: usize) -> IpAddr {
        format!("10.{}.0.{}", self.pods[pod] + 1, pod + 10)
            .parse()
            .unwrap()
    }

    fn manifests(&self) -> String {
        let mut items = Vec::new();
        for node in 0..NODES {
            let labels =
                self.zones[node].map_or(json!({}), |zone| json!({"topology.kubernetes.io/zone": zone}));
            items.push(json!({
                "apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{node}"), "labels": labels},
                "spec": {"podCIDRs": [format!("10.{}.0.0/24", node + 1)]},
                "status": {"addresses": [{"type": "InternalIP", "address": node_address(node).to_string()}]},
            }));
            items.push(pod(
                &format!("client-{node}"),
                node,
                &format!("10.{}.0.9", node + 1),
            ));
        }
        items.extend((0..BACKENDS).map(|n| {
            pod(
                &format!("backend-{n}"),
                self.pods[n],
                &self.pod_address(n).to_string(),
            )
        }));
        for service in &self.services {
            let n = service.number;
            let on_nodes = service.kind != "ClusterIP";
            let policy = |local| if local { "Local" } else { "Cluster" };
            let mut port = json!({"port": 80, "protocol": "TCP"});
            let mut spec = json!({
                "type": service.kind, "clusterIP": cluster_ip(n), "externalIPs": [external_ip(n)],
                "internalTrafficPolicy": policy(service.internal_local),
                "externalTrafficPolicy": policy(service.external_local),
            });
            if on_nodes {
                port["nodePort"] = json!(30_000 + n);
            }
            spec["ports"] = json!([port]);
            spec["loadBalancerSourceRanges"] = json!(service.ranges);
            let mode = if service.proxied { "Proxy" } else { "VIP" };
            let ingress = json!([{"ip": balancer_ip(n), "ipMode": mode}]);
            items.push(json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("s{n}"), "namespace": "default"},
                "spec": spec, "status": {"loadBalancer": {"ingress": ingress}},
            }));
            let endpoints: Vec<Value> = service.endpoints.iter().map(|e| json!({
                "addresses": [self.pod_address(e.pod).to_string()], "nodeName": format!("n{}", self.pods[e.pod]),
                "conditions": {"ready": e.ready, "serving": e.serving, "terminating": e.terminating},
                "hints": {
                    "forNodes": e.for_nodes.iter().map(|n| json!({"name": format!("n{n}")})).collect::<Vec<_>>(),
                    "forZones": e.for_zones.iter().map(|z| json!({"name": z})).collect::<Vec<_>>(),
                },
            })).collect();
            items.push(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": format!("s{n}-1"), "namespace": "default", "labels": {"kubernetes.io/service-name": format!("s{n}")}},
                "ports": [{"name": "", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
            }));
        }
        json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
    }
}

fn pod(name: &str, node: usize, ip: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [], "nodeName": format!("n{node}")}, "status": {"podIPs": [{"ip": ip}]},
    })
}

fn cluster_ip(n: usize) -> String {
    format!("10.96.0.{}", n + 10)
}

fn external_ip(n: usize) -> String {
    format!("198.51.100.{}", n + 10)
}

fn balancer_ip(n: usize) -> String {
    format!("198.51.100.{}", n + 20)
}

// ---- The literal reading.

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Pod(usize),
    Node(usize),
    /// From outside, by this node; this host of 203.0.113.0/24.
    Outside(usize, u8),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    Cluster,
    External,
    Balancer,
    /// The node port of this node.
    NodePort(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Meant {
    To(BTreeSet<usize>),
    Rejected,
    Dropped,
    /// One of the two: which one, for a client that may not ask where nobody would answer, is left open.
    Refused,
    /// No proxy's business.
    NotServed,
}

impl World {
    fn meant(&self, service: &Service, client: Client, address: Address) -> Meant {
        let node = match (client, address) {
            // Another node's port is the other node's proxy's.
            (Client::Pod(_) | Client::Node(_) | Client::Outside(..), Address::NodePort(on)) => on,
            (Client::Pod(node) | Client::Node(node) | Client::Outside(node, _), _) => node,
        };
        let served = match address {
            Address::Cluster => !matches!(client, Client::Outside(..)),
            Address::External => true,
            // status.loadBalancer of other types is cleared by the API server; ipMode Proxy is not captured (KEP-1860).
            Address::Balancer => service.kind == "LoadBalancer" && !service.proxied,
            Address::NodePort(_) => service.kind != "ClusterIP",
        };
        if !served {
            return Meant::NotServed;
        }
        let source: IpAddr = match client {
            Client::Pod(node) => format!("10.{}.0.9", node + 1).parse().unwrap(),
            Client::Node(node) => node_address(node),
            Client::Outside(_, host) => format!("203.0.113.{host}").parse().unwrap(),
        };
        // "Traffic through the load-balancer will be restricted to the specified client IPs"; not by other addresses.
        let guarded = service.ranges.as_ref().filter(|_| address == Address::Balancer);
        if guarded.is_some_and(|ranges| {
            !ranges
                .iter()
                .any(|range| range.parse::<ipnet::IpNet>().unwrap().contains(&source))
        }) {
            return match self.cluster_endpoints(&service.endpoints, node).is_empty() {
                true => Meant::Refused,
                false => Meant::Dropped,
            };
        }
        // Whoever is on the node itself uses policy Cluster for external addresses: only traffic from outside is external.
        let from_here = matches!(client, Client::Pod(on) | Client::Node(on) if on == node);
        let local = match address {
            Address::Cluster => service.internal_local,
            _ => service.external_local && !from_here,
        };
        let endpoints = &service.endpoints;
        let all = self.cluster_endpoints(endpoints, node);
        let here = |e: &&Endpoint| self.pods[e.pod] == node;
        let found = if local {
            // KEP-1669: of the node's own, the ready ones; if there is none, those that serve while they terminate.
            or(pods(endpoints.iter().filter(here).filter(|e| e.ready)), || {
                pods(
                    endpoints
                        .iter()
                        .filter(here)
                        .filter(|e| e.serving && e.terminating),
                )
            })
        } else {
            all.clone()
        };
        match (all.is_empty(), found.is_empty()) {
            (true, _) => Meant::Rejected,
            (false, true) => Meant::Dropped,
            (false, false) => Meant::To(found),
        }
    }

    /// Policy Cluster: ready endpoints by topology; if there is none, those that serve while they terminate, wherever.
    fn cluster_endpoints(&self, endpoints: &[Endpoint], node: usize) -> BTreeSet<usize> {
        let ready = || endpoints.iter().filter(|e| e.ready);
        // Hints are used only if every ready endpoint has some, and some are for this place; nodes before zones.
        let by_node =
            ready().all(|e| !e.for_nodes.is_empty()) && ready().any(|e| e.for_nodes.contains(&node));
        let zone = self.zones[node];
        let for_zone = |e: &&Endpoint| zone.is_some_and(|zone| e.for_zones.contains(&zone));
        let by_zone = ready().all(|e| !e.for_zones.is_empty()) && ready().any(|e| for_zone(&e));
        let preferred = if by_node {
            pods(ready().filter(|e| e.for_nodes.contains(&node)))
        } else if by_zone {
            pods(ready().filter(for_zone))
        } else {
            pods(ready())
        };
        or(preferred, || {
            pods(endpoints.iter().filter(|e| e.serving && e.terminating))
        })
    }
}

fn pods<'e>(endpoints: impl Iterator<Item = &'e Endpoint>) -> BTreeSet<usize> {
    endpoints.map(|e| e.pod).collect()
}

fn or(first: BTreeSet<usize>, otherwise: impl FnOnce() -> BTreeSet<usize>) -> BTreeSet<usize> {
    if first.is_empty() { otherwise() } else { first }
}

// ---- The comparison.

fn question(client: Client, service: usize, address: Address) -> String {
    let (to, port) = match address {
        Address::Cluster => (format!("default/s{service}"), 80),
        Address::External => (external_ip(service), 80),
        Address::Balancer => (balancer_ip(service), 80),
        Address::NodePort(node) => (format!("node/n{node}"), 30_000 + service),
    };
    let question = match client {
        Client::Pod(node) => json!({"from": format!("default/client-{node}"), "to": to, "port": port}),
        Client::Node(node) => json!({"from": format!("node/n{node}"), "to": to, "port": port}),
        Client::Outside(node, host) => {
            json!({"from": format!("203.0.113.{host}"), "via": format!("node/n{node}"), "to": to, "port": port})
        }
    };
    question.to_string()
}

fn check(world: &World) -> Result<(), TestCaseError> {
    let mut asked = Vec::new();
    for service in &world.services {
        for node in 0..NODES {
            for client in [
                Client::Pod(node),
                Client::Node(node),
                Client::Outside(node, 5),
                Client::Outside(node, 200),
            ] {
                for address in [
                    Address::Cluster,
                    Address::External,
                    Address::Balancer,
                    Address::NodePort(node),
                    Address::NodePort((node + 1) % NODES),
                ] {
                    // Cluster IPs are not for clients outside, and nobody says what they meet who are led to one.
                    let led = matches!((client, address), (Client::Outside(..), Address::Cluster));
                    // Whether a pod on another node is "external" is left open by the documents.
                    let elsewhere =
                        matches!((client, address), (Client::Pod(at), Address::NodePort(on)) if at != on);
                    // Kubernetes serves these; we need a node port for them, see README, Limits.
                    let portless = matches!((client, address), (Client::Outside(..), Address::External))
                        && service.kind == "ClusterIP";
                    let left_out = led
                        || elsewhere && service.external_local
                        || portless && (service.external_local || service.internal_local);
                    if !left_out {
                        asked.push((service, client, address));
                    }
                }
            }
        }
    }
    let queries: Vec<String> = asked
        .iter()
        .map(|(s, client, address)| question(*client, s.number, *address))
        .collect();
    for ((service, client, address), answer) in asked.iter().zip(ask(&world.manifests(), &queries)) {
        let meant = world.meant(service, *client, *address);
        let outcome = answer["outcome"].as_str().unwrap();
        let told = format!("{client:?} {address:?}: {meant:?}, {answer}");
        match &meant {
            Meant::To(pods) => {
                let mut wanted: Vec<SocketAddr> = pods
                    .iter()
                    .map(|pod| SocketAddr::new(world.pod_address(*pod), 8080))
                    .collect();
                wanted.sort();
                prop_assert_eq!(&answer["backends"], &json!(wanted), "{}", told);
                prop_assert_eq!(outcome, "allowed", "{}", told);
            }
            Meant::Rejected => prop_assert_eq!(outcome, "rejected", "{}", told),
            Meant::Dropped => prop_assert_eq!(outcome, "dropped", "{}", told),
            Meant::Refused => prop_assert!(["rejected", "dropped"].contains(&outcome), "{}", told),
            Meant::NotServed => {
                let backends = answer.get("backends").and_then(Value::as_array);
                prop_assert!(backends.is_none_or(Vec::is_empty), "{}", told);
            }
        }
        // Clients keep their address by cluster IPs, and by external addresses where the policy is Local.
        if let Meant::To(_) = meant {
            let kept = match (client, address) {
                (Client::Outside(..), _) => service.external_local,
                (_, Address::Cluster) => true,
                _ => continue,
            };
            prop_assert_eq!(answer["sourceNat"].as_bool(), Some(!kept), "{}", told);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn services_lead_where_kubernetes_says(world in world()) {
        check(&world)?;
    }
}
