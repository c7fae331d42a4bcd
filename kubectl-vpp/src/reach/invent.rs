//! What manifests leave open and a cluster decides: nodes, addresses, endpoints. Everything invented follows from the
//! manifests alone, so equal manifests give equal answers.
//!
//! Invented addresses come from ranges that policies rarely name: pods 100.64.0.0/10 (RFC 6598), nodes, tunnels and
//! Services 198.18.0.0/15 (RFC 2544), all of IPv6 2001:2::/48 (RFC 5180).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::UNIX_EPOCH;

use compiler::ObjectKey;
use compiler::facts::{Endpoint, EndpointPort, EndpointSlice, Namespace, Node, Pod, PodPhase, Service};
use compiler::k8s;
use crds::net::{Cidr, Protocol};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ServiceSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use node_daemon::ipam::Ipam;

use super::objects::Objects;

/// Pods that get no node from the manifests are spread over as many nodes as hold this many each.
const PODS_PER_NODE: usize = 100;

const POD_POOL_V4: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
const POD_PREFIX_V4: u8 = 22;
const POD_PREFIX_V6: u8 = 64;
const NODE_POOL_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const UNDERLAY_POOL_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);
const SERVICE_POOL_V4: Ipv4Addr = Ipv4Addr::new(198, 19, 128, 0);
/// Third group of 2001:2::/48's subnets: pods count up from 0, the rest has one subnet each.
const NODE_SUBNET_V6: u16 = 0xfffe;
const UNDERLAY_SUBNET_V6: u16 = 0xfffd;
const SERVICE_SUBNET_V6: u16 = 0xffff;

fn v4(base: Ipv4Addr, offset: u32) -> IpAddr {
    Ipv4Addr::from_bits(base.to_bits().wrapping_add(offset)).into()
}

fn v6(subnet: u16, offset: u32) -> IpAddr {
    let base = Ipv6Addr::new(0x2001, 2, 0, subnet, 0, 0, 0, 0);
    Ipv6Addr::from_bits(base.to_bits() + u128::from(offset)).into()
}

/// Addresses of a node's dataplane on the underlay, for the node of this number (counted from 0), with the length of
/// the underlay's prefixes.
pub fn underlay(number: u32) -> [(IpAddr, u8); 2] {
    [
        (v4(UNDERLAY_POOL_V4, number + 1), 17),
        (v6(UNDERLAY_SUBNET_V6, number + 1), 64),
    ]
}

/// Routers of the underlay, behind which everything is that is not of the cluster.
pub fn routers() -> [IpAddr; 2] {
    [v4(UNDERLAY_POOL_V4, 0x7ffe), v6(UNDERLAY_SUBNET_V6, 0xffff)]
}

/// Fills in what the manifests leave open.
pub fn complete(objects: &mut Objects) {
    let mut addresses = Addresses::of(objects);
    name_nodes(objects);
    for namespace in namespaces_of(objects) {
        objects
            .namespaces
            .entry(namespace.clone())
            .or_insert_with(|| unlabelled(namespace));
    }
    address_nodes(objects, &mut addresses);
    address_pods(objects, &mut addresses);
    address_services(objects, &mut addresses);
    add_endpoints(objects);
}

fn namespaces_of(objects: &Objects) -> BTreeSet<String> {
    let keys = objects.pods.keys().chain(objects.policies.keys());
    keys.chain(objects.services.keys())
        .map(|key| key.namespace.to_string())
        .collect()
}

fn unlabelled(name: String) -> Namespace {
    let label = ("kubernetes.io/metadata.name", name.as_str());
    Namespace {
        labels: [label].into_iter().collect(),
        name,
    }
}

/// Addresses that somebody has.
struct Addresses(BTreeSet<IpAddr>);

impl Addresses {
    fn of(objects: &Objects) -> Self {
        let pods = objects.pods.values().flat_map(|pod| &pod.ips);
        let nodes = objects.nodes.values().flat_map(|node| &node.addresses);
        let services = objects
            .services
            .values()
            .flat_map(|(service, _)| &service.cluster_ips);
        let endpoints = objects
            .endpoint_slices
            .values()
            .flat_map(|slice| &slice.endpoints);
        let endpoints = endpoints.map(|endpoint| &endpoint.address);
        Self(
            pods.chain(nodes)
                .chain(services)
                .chain(endpoints)
                .copied()
                .collect(),
        )
    }

    /// The first address of these that is free, taken from now on.
    fn take(&mut self, mut candidates: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
        candidates.find(|&address| self.0.insert(address))
    }

    fn any_within(&self, cidr: &Cidr) -> bool {
        let first = cidr.network();
        self.0
            .range(first..)
            .next()
            .is_some_and(|&next| cidr.contains(next))
    }
}

/// Nodes that pods name exist; pods that name none are spread.
fn name_nodes(objects: &mut Objects) {
    let named = objects.pods.values().filter_map(|pod| pod.node.as_deref());
    let named: BTreeSet<String> = named.map(str::to_owned).collect();
    for name in named {
        objects.nodes.entry(name.clone()).or_insert_with(|| node(name));
    }
    let homeless: Vec<ObjectKey> = objects
        .pods
        .values()
        .filter(|pod| pod.node.is_none() && pod.phase == PodPhase::Active)
        .map(Pod::key)
        .collect();
    if objects.nodes.is_empty() {
        // Two at least, so that what is asked also travels between nodes.
        for number in 1..=homeless.len().div_ceil(PODS_PER_NODE).max(2) {
            let name = format!("node-{number}");
            objects.nodes.insert(name.clone(), node(name));
        }
    }
    let names: Vec<String> = objects.nodes.keys().cloned().collect();
    for (key, name) in homeless.iter().zip(names.iter().cycle()) {
        if let Some(pod) = objects.pods.get_mut(key) {
            pod.node = Some(name.into());
        }
    }
}

fn node(name: String) -> Node {
    Node {
        uid: name.clone(),
        name,
        ..Node::default()
    }
}

fn address_nodes(objects: &mut Objects, addresses: &mut Addresses) {
    let mut given: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for pod in objects.pods.values().filter(|pod| pod.selectable()) {
        if let Some(node) = &pod.node {
            given.entry(node).or_default().extend(&pod.ips);
        }
    }
    let mut pools = [0_u32, 0];
    let mut taken: Vec<Cidr> = objects
        .nodes
        .values()
        .flat_map(|node| node.pod_cidrs.clone())
        .collect();
    let everybody: BTreeMap<IpAddr, &str> = given
        .iter()
        .flat_map(|(node, ips)| ips.iter().map(move |ip| (*ip, *node)))
        .collect();
    for node in objects.nodes.values_mut() {
        if node.addresses.is_empty() {
            let free = addresses.take((1..0xffff).map(|n| v4(NODE_POOL_V4, n)));
            let free6 = addresses.take((1..0xffff).map(|n| v6(NODE_SUBNET_V6, n)));
            node.addresses = free.into_iter().chain(free6).collect();
            node.all_addresses.extend(&node.addresses);
        }
        if !node.pod_cidrs.is_empty() {
            continue;
        }
        for (ipv6, pool) in [false, true].into_iter().zip(&mut pools) {
            let own = given.get(node.name.as_str()).into_iter().flatten();
            let own: Vec<IpAddr> = own.copied().filter(|ip| ip.is_ipv6() == ipv6).collect();
            let found = around(&own, &node.name, &everybody, &taken).or_else(|| {
                std::iter::repeat_with(|| {
                    let number = *pool;
                    *pool += 1;
                    pool_prefix(ipv6, number)
                })
                .take(4096)
                .flatten()
                .find(|cidr| !addresses.any_within(cidr) && !overlaps(cidr, &taken))
            });
            if let Some(cidr) = found {
                taken.push(cidr);
                node.pod_cidrs.push(cidr);
            }
        }
    }
}

fn overlaps(cidr: &Cidr, taken: &[Cidr]) -> bool {
    let within = |other: &Cidr| cidr.contains(other.network()) || other.contains(cidr.network());
    taken.iter().any(within)
}

fn pool_prefix(ipv6: bool, number: u32) -> Option<Cidr> {
    if ipv6 {
        let subnet = u16::try_from(number).ok().filter(|n| *n < UNDERLAY_SUBNET_V6)?;
        return prefix(v6(subnet, 0), POD_PREFIX_V6);
    }
    let offset = number.checked_mul(1 << (32 - POD_PREFIX_V4))?;
    prefix(v4(POD_POOL_V4, offset), POD_PREFIX_V4)
}

/// The /24 (/64) of a node's pods, if it is as clusters usually have them: all of the node's pods in it, nobody else's,
/// and the addresses of the gateway, of the prefix itself and, in IPv4, of all of it no pod's: VPP keeps those.
fn around(own: &[IpAddr], node: &str, everybody: &BTreeMap<IpAddr, &str>, taken: &[Cidr]) -> Option<Cidr> {
    let first = *own.first()?;
    let cidr = prefix(first, if first.is_ipv6() { POD_PREFIX_V6 } else { 24 })?;
    let kept = [
        node_daemon::addressing::gateway(&cidr),
        cidr.network(),
        cidr.net().broadcast(),
    ];
    let fits = own.iter().all(|&ip| cidr.contains(ip))
        && everybody
            .iter()
            .all(|(&ip, owner)| *owner == node || !cidr.contains(ip))
        && !own.iter().any(|ip| kept.contains(ip))
        && !overlaps(&cidr, taken);
    fits.then_some(cidr)
}

fn address_pods(objects: &mut Objects, addresses: &mut Addresses) {
    let mut pools: BTreeMap<String, Ipam> = BTreeMap::new();
    for pod in objects.pods.values_mut() {
        let node = pod.node.as_deref().and_then(|node| objects.nodes.get(node));
        let Some(node) = node.filter(|_| pod.ips.is_empty() && pod.phase == PodPhase::Active) else {
            continue;
        };
        if pod.host_network {
            pod.ips.clone_from(&node.addresses);
            continue;
        }
        // As the node's daemon gives them out, but for those that are somebody's already.
        let ipam = pools.entry(node.name.clone());
        let ipam = ipam.or_insert_with(|| Ipam::new(&node.pod_cidrs));
        while let Ok(ips) = ipam.allocate(UNIX_EPOCH) {
            if ips.iter().all(|ip| addresses.0.insert(*ip)) {
                pod.ips = ips;
                break;
            }
        }
        pod.ips.sort();
    }
}

/// Cluster IPs as the API server gives them out: by `ipFamilies` and `ipFamilyPolicy`, one of IPv4 by default.
fn address_services(objects: &mut Objects, addresses: &mut Addresses) {
    for (service, object) in objects.services.values_mut() {
        let spec = object.spec.get_or_insert_default();
        let headless = spec.cluster_ip.as_deref() == Some("None");
        let external = spec.type_.as_deref() == Some("ExternalName");
        if headless || external || !service.cluster_ips.is_empty() {
            continue;
        }
        let mut families: Vec<bool> = spec
            .ip_families
            .iter()
            .flatten()
            .map(|family| family == "IPv6")
            .collect();
        if families.is_empty() {
            families.push(false);
        }
        let dual = matches!(
            spec.ip_family_policy.as_deref(),
            Some("PreferDualStack" | "RequireDualStack")
        );
        if dual && families.len() == 1 {
            families.push(!families[0]);
        }
        let mut given = Vec::new();
        for ipv6 in families {
            let candidates = (1..0x7fff).map(|n| match ipv6 {
                false => v4(SERVICE_POOL_V4, n),
                true => v6(SERVICE_SUBNET_V6, n),
            });
            given.extend(addresses.take(candidates).map(|ip| ip.to_string()));
        }
        // Only a Service with a cluster IP has node ports and further addresses.
        spec.cluster_ips = Some(given);
        *service = k8s::service(object);
    }
}

/// Endpoints as the endpoint slice controller makes them, for Services with a selector that have no slice at all.
fn add_endpoints(objects: &mut Objects) {
    let mut made = Vec::new();
    for (key, (service, object)) in &objects.services {
        let Some(spec) = &object.spec else { continue };
        let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else {
            continue;
        };
        let of = |slice: &EndpointSlice| {
            slice.namespace == key.namespace && slice.service.as_deref() == Some(key.name.as_str())
        };
        if objects.endpoint_slices.values().any(of) {
            continue;
        }
        let pods = objects.pods.values().filter(|pod| {
            pod.namespace == key.namespace
                && pod.phase == PodPhase::Active
                && selector
                    .iter()
                    .all(|(name, value)| pod.labels.get(name).is_some_and(|has| has == value))
        });
        let nodes = &objects.nodes;
        let zone = |pod: &Pod| nodes.get(pod.node.as_deref()?)?.zone.clone();
        made.extend(pods.flat_map(|pod| slices(service, spec, pod, zone(pod))));
    }
    for slice in made {
        objects.endpoint_slices.insert(slice.key(), slice);
    }
}

/// One slice per pod and family: the number behind a named port may differ from pod to pod.
///
/// Hints follow `trafficDistribution` as KEP-4444 and KEP-3015 have it: an endpoint is for its own zone, or its own node.
fn slices(service: &Service, spec: &ServiceSpec, pod: &Pod, zone: Option<String>) -> Vec<EndpointSlice> {
    let (same_zone, same_node) = match spec.traffic_distribution.as_deref() {
        Some("PreferClose" | "PreferSameZone") => (true, false),
        Some("PreferSameNode") => (true, true),
        _ => (false, false),
    };
    let written = spec.ports.iter().flatten();
    let ports: Vec<EndpointPort> = written
        .filter_map(|port| {
            let protocol = match port.protocol.as_deref() {
                None | Some("TCP") => Protocol::Tcp,
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                Some(_) => return None,
            };
            let number = match &port.target_port {
                Some(IntOrString::String(name)) => {
                    let named = |p: &&compiler::facts::NamedPort| p.name == *name && p.protocol == protocol;
                    pod.ports.iter().find(named)?.number
                }
                Some(IntOrString::Int(number)) => u16::try_from(*number).ok()?,
                None => u16::try_from(port.port).ok()?,
            };
            Some(EndpointPort {
                name: port.name.clone().unwrap_or_default(),
                protocol,
                number,
            })
        })
        .collect();
    let published = spec.publish_not_ready_addresses.unwrap_or(false);
    pod.ips
        .iter()
        .map(|&address| EndpointSlice {
            namespace: service.namespace.clone(),
            name: format!("{}/{}/{address}", service.name, pod.name),
            service: Some(service.name.clone()),
            ports: ports.clone(),
            endpoints: vec![Endpoint {
                address,
                node: pod.node.as_deref().map(str::to_owned),
                ready: published || (pod.ready && !pod.terminating),
                serving: pod.ready,
                terminating: pod.terminating,
                for_zones: zone.iter().filter(|_| same_zone).cloned().collect(),
                for_nodes: pod
                    .node
                    .iter()
                    .filter(|_| same_node)
                    .map(ToString::to_string)
                    .collect(),
            }],
            triggered: None,
        })
        .collect()
}

/// The prefix of this length around an address.
fn prefix(address: IpAddr, len: u8) -> Option<Cidr> {
    IpNet::new(address, len).ok().map(Cidr::from)
}
