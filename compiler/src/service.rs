//! Services: frontends from the Service, backends from its EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::VppServiceSliceSpec;
use crds::service_slice::{Backend, Frontend, FrontendKind, MAX_SLICE_BACKENDS};
use xxhash_rust::xxh3::xxh3_64;

use crate::cluster::Cluster;
use crate::facts::{Endpoint, EndpointSlice, Kind, ObjectKey, Problem, Service};
use crate::output::{Compiled, Owner, Settings};

/// Most ports of a Service (the schema's bound).
pub const MAX_PORTS: usize = 100;
/// Most addresses of a Service (the schema's bound).
const MAX_FRONTENDS: usize = 64;

/// Deepest level of the trie of slices: leaf numbers stay within 32 bits.
const MAX_DEPTH: u32 = 30;

/// Compiles every Service that has a dataplane.
pub fn compile(
    cluster: &Cluster,
    settings: &Settings,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<ObjectKey, Compiled<VppServiceSliceSpec>> {
    let mut compiled = BTreeMap::new();
    for service in cluster.services() {
        let slices = cluster.endpoint_slices_in(&service.namespace);
        let own = slices.filter(|slice| slice.service.as_deref() == Some(&service.name));
        compiled.extend(one(service, own, settings, problems));
    }
    compiled
}

/// Compiles one Service from its EndpointSlices, which come by name.
pub(crate) fn one<'s>(
    service: &Service,
    endpoint_slices: impl Iterator<Item = &'s EndpointSlice>,
    settings: &Settings,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<ObjectKey, Compiled<VppServiceSliceSpec>> {
    problems.extend(service.problems.iter().cloned());
    if service.cluster_ips.is_empty() || service.ports.is_empty() {
        return BTreeMap::new();
    }
    let mut tell = |reason, message: String| {
        problems.insert(Problem {
            object: Kind::SERVICE.of(&service.namespace, &service.name, &service.uid),
            reason,
            message,
        });
    };
    if service.ports.len() > MAX_PORTS {
        let message = format!("more than {MAX_PORTS} ports: split the Service");
        tell("TooManyPorts", message);
        return BTreeMap::new();
    }
    let found = backends(service, endpoint_slices);
    if !found.iter().any(|(backend, _)| backend.ready || backend.serving) {
        let message = "no endpoint serves: connections are rejected until a pod that the \
                       Service selects is ready";
        tell("NoEndpoints", message.to_owned());
    }
    if !settings.external_ips && !service.external_ips.is_empty() {
        let message = "spec.externalIPs are ignored: they are switched off for this cluster";
        tell("ExternalIPsDisabled", message.to_owned());
    }
    let mut frontends = frontends(service, settings);
    if frontends.len() > MAX_FRONTENDS {
        let message = format!("more than {MAX_FRONTENDS} addresses: the last ones are ignored");
        tell("TooManyAddresses", message);
        frontends.truncate(MAX_FRONTENDS);
    }
    slices(service, frontends, found)
}

/// Addresses on which clients reach the Service. One that is of two kinds counts as the first:
/// a load balancer's source ranges must not be passed by naming the address a second time.
fn frontends(service: &Service, settings: &Settings) -> Vec<Frontend> {
    let external: &[IpAddr] = match settings.external_ips {
        true => &service.external_ips,
        false => &[],
    };
    let kinds = [
        (FrontendKind::ClusterIp, service.cluster_ips.as_slice()),
        (FrontendKind::LoadBalancer, &service.load_balancer_ips),
        (FrontendKind::ExternalIp, external),
    ];
    let mut seen = BTreeSet::new();
    let all = kinds
        .into_iter()
        .flat_map(|(kind, addresses)| addresses.iter().map(move |&address| Frontend { kind, address }));
    all.filter(|frontend| seen.insert(frontend.address)).collect()
}

/// A backend, and when the newest change of one of its EndpointSlices began.
type Found<'s> = (Backend, Option<&'s str>);

fn slices(
    service: &Service,
    frontends: Vec<Frontend>,
    found: Vec<Found<'_>>,
) -> BTreeMap<ObjectKey, Compiled<VppServiceSliceSpec>> {
    // The UID is part of the name: a Service that is deleted and created again gets new objects,
    // and those of its predecessor go with their owner.
    let id = crds::revision::short_hash(&service.uid);
    let mut leaves = BTreeMap::new();
    place(1, 0, found, &mut leaves);
    let mut first = VppServiceSliceSpec {
        frontends,
        affinity_seconds: service.affinity_seconds,
        internal_traffic_policy: service.internal_traffic_policy,
        external_traffic_policy: service.external_traffic_policy,
        health_check_node_port: service.health_check_node_port,
        load_balancer_source_ranges: service.source_ranges.clone(),
        ..VppServiceSliceSpec::default()
    };
    // While everything fits into one leaf it needs no object of its own.
    let all = leaves.remove(&1).unwrap_or_default();
    first.slices = leaves.keys().copied().collect();
    let mut specs = vec![(first, all)];
    specs.extend(leaves.into_iter().map(|(slice, found)| {
        let spec = VppServiceSliceSpec {
            slice,
            ..VppServiceSliceSpec::default()
        };
        (spec, found)
    }));
    let mut compiled = BTreeMap::new();
    for (mut spec, found) in specs {
        spec.service.clone_from(&service.name);
        spec.service_uid.clone_from(&service.uid);
        spec.ports.clone_from(&service.ports);
        // Times of one writer are of one form, whose order is that of the texts.
        let triggered = found.iter().filter_map(|(_, triggered)| *triggered).max();
        let triggered = triggered.map(str::to_owned);
        spec.backends = found.into_iter().map(|(backend, _)| backend).collect();
        spec.revision = crds::revision::short_hash(&spec);
        spec.triggered = triggered;
        let name = format!("{}-{}-{}", service.name, &id[..8], spec.slice);
        let owner = Some(Owner::new(Kind::SERVICE, &service.name, &service.uid));
        compiled.insert(ObjectKey::new(&service.namespace, name), Compiled { spec, owner });
    }
    compiled
}

/// Puts backends into the leaves of the trie. Which leaf holds a backend follows from all backends,
/// not from what was before; yet one that comes or goes moves others only when a leaf splits or two
/// merge. An empty leaf has no object.
fn place<'s>(leaf: u32, depth: u32, found: Vec<Found<'s>>, leaves: &mut BTreeMap<u32, Vec<Found<'s>>>) {
    if found.is_empty() {
        return;
    }
    if found.len() <= MAX_SLICE_BACKENDS || depth == MAX_DEPTH {
        leaves.insert(leaf, found);
        return;
    }
    let second = |(backend, _): &Found<'_>| position(backend) >> depth & 1 == 1;
    let (right, left): (Vec<_>, Vec<_>) = found.into_iter().partition(second);
    place(leaf * 2, depth + 1, left, leaves);
    place(leaf * 2 + 1, depth + 1, right, leaves);
}

/// Where a backend belongs: bits that depend on nothing but its address and ports.
fn position(backend: &Backend) -> u64 {
    let ports = backend.ports.iter().flat_map(|port| port.to_be_bytes());
    let bytes: Vec<u8> = match backend.address {
        IpAddr::V4(address) => address.octets().into_iter().chain(ports).collect(),
        IpAddr::V6(address) => address.octets().into_iter().chain(ports).collect(),
    };
    xxh3_64(&bytes)
}

/// The endpoints of all the Service's slices, IPv4 before IPv6, each once.
fn backends<'s>(service: &Service, slices: impl Iterator<Item = &'s EndpointSlice>) -> Vec<Found<'s>> {
    let mut found: BTreeMap<IpAddr, Vec<Found<'s>>> = BTreeMap::new();
    for slice in slices {
        let ports = target_ports(service, slice);
        if ports.iter().all(|port| *port == 0) {
            continue;
        }
        for endpoint in &slice.endpoints {
            let known = found.entry(endpoint.address).or_default();
            merge(known, endpoint, &ports, slice.triggered.as_deref());
        }
    }
    let mut backends: Vec<Found<'s>> = found.into_values().flatten().collect();
    backends.sort_by(|(a, _), (b, _)| (a.address, &a.ports).cmp(&(b.address, &b.ports)));
    backends
}

/// What each port of the Service is on the endpoints of a slice; 0 where they do not serve it.
/// The name and the protocol join the two, the number may differ from slice to slice.
fn target_ports(service: &Service, slice: &EndpointSlice) -> Vec<u16> {
    let ports = service.ports.iter().map(|port| {
        let mut of_slice = slice.ports.iter();
        let found = of_slice.find(|p| p.name == port.name && p.protocol == port.protocol);
        found.map_or(0, |p| p.number)
    });
    ports.collect()
}

/// Adds an endpoint to the backends of its address.
///
/// The same endpoint may be in two slices: while the EndpointSlice controller moves it, and when
/// named target ports differ. As long as the ports do not contradict each other it is one backend,
/// and the better condition counts: kube-proxy too keeps an endpoint that any slice calls ready.
fn merge<'s>(known: &mut Vec<Found<'s>>, endpoint: &Endpoint, ports: &[u16], triggered: Option<&'s str>) {
    let agrees = |(backend, _): &&mut Found<'s>| {
        let mut pairs = backend.ports.iter().zip(ports);
        pairs.all(|(a, b)| a == b || *a == 0 || *b == 0)
    };
    let Some((backend, newest)) = known.iter_mut().find(agrees) else {
        let backend = Backend {
            address: endpoint.address,
            ports: ports.to_vec(),
            node: endpoint.node.clone(),
            ready: endpoint.ready,
            serving: endpoint.serving,
            terminating: endpoint.terminating,
            for_zones: endpoint.for_zones.clone(),
            for_nodes: endpoint.for_nodes.clone(),
        };
        known.push((backend, triggered));
        return;
    };
    for (merged, port) in backend.ports.iter_mut().zip(ports) {
        *merged = (*merged).max(*port);
    }
    backend.node = backend.node.take().or_else(|| endpoint.node.clone());
    backend.ready |= endpoint.ready;
    backend.serving |= endpoint.serving;
    backend.terminating &= endpoint.terminating;
    if backend.for_zones.is_empty() {
        backend.for_zones.clone_from(&endpoint.for_zones);
    }
    if backend.for_nodes.is_empty() {
        backend.for_nodes.clone_from(&endpoint.for_nodes);
    }
    *newest = (*newest).max(triggered);
}
