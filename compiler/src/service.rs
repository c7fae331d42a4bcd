//! Services: frontends from the Service, backends from its EndpointSlices.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::VppServiceSliceSpec;
use crds::service_slice::{Backend, Frontend, FrontendKind, MAX_SLICE_BACKENDS};

use crate::cluster::Cluster;
use crate::facts::{Endpoint, EndpointSlice, Kind, ObjectKey, Problem, Service};
use crate::output::{Compiled, Owner};

/// Most ports of a Service (the schema's bound).
pub const MAX_PORTS: usize = 100;

/// Compiles every Service that has a dataplane.
pub fn compile(
    cluster: &Cluster,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<ObjectKey, Compiled<VppServiceSliceSpec>> {
    let mut compiled = BTreeMap::new();
    for service in cluster.services() {
        let slices = cluster.endpoint_slices_in(&service.namespace);
        let own = slices.filter(|slice| slice.service.as_deref() == Some(&service.name));
        compiled.extend(one(service, own, problems));
    }
    compiled
}

/// Compiles one Service from its EndpointSlices, which come by name.
pub(crate) fn one<'s>(
    service: &Service,
    endpoint_slices: impl Iterator<Item = &'s EndpointSlice>,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<ObjectKey, Compiled<VppServiceSliceSpec>> {
    let mut compiled = BTreeMap::new();
    problems.extend(service.problems.iter().cloned());
    if service.cluster_ips.is_empty() || service.ports.is_empty() {
        return compiled;
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
        return compiled;
    }
    let backends = backends(service, endpoint_slices);
    if !backends.iter().any(|backend| backend.ready || backend.serving) {
        let message = "no endpoint serves: connections are rejected until a pod that the \
                       Service selects is ready";
        tell("NoEndpoints", message.to_owned());
    }
    slices(service, &backends, &mut compiled);
    compiled
}

fn slices(
    service: &Service,
    backends: &[Backend],
    compiled: &mut BTreeMap<ObjectKey, Compiled<VppServiceSliceSpec>>,
) {
    // The UID is part of the name: a Service that is deleted and created again gets new objects,
    // and those of its predecessor go with their owner.
    let id = crds::revision::short_hash(&service.uid);
    let count = backends.len().div_ceil(MAX_SLICE_BACKENDS).max(1);
    for number in 0..count {
        let rest = &backends[number * MAX_SLICE_BACKENDS..];
        let mut spec = VppServiceSliceSpec {
            revision: String::new(),
            service: service.name.clone(),
            service_uid: service.uid.clone(),
            slice: u32::try_from(number).unwrap_or(u32::MAX),
            ports: service.ports.clone(),
            frontends: Vec::new(),
            affinity_seconds: None,
            backends: rest[..rest.len().min(MAX_SLICE_BACKENDS)].to_vec(),
        };
        if number == 0 {
            spec.affinity_seconds = service.affinity_seconds;
            let ips = service.cluster_ips.iter();
            spec.frontends = ips
                .map(|address| Frontend {
                    kind: FrontendKind::ClusterIp,
                    address: *address,
                })
                .collect();
        }
        spec.revision = crds::revision::short_hash(&spec);
        let name = format!("{}-{}-{number}", service.name, &id[..8]);
        let owner = Some(Owner::new(Kind::SERVICE, &service.name, &service.uid));
        compiled.insert(ObjectKey::new(&service.namespace, name), Compiled { spec, owner });
    }
}

/// The endpoints of all the Service's slices, IPv4 before IPv6, each once.
fn backends<'s>(service: &Service, slices: impl Iterator<Item = &'s EndpointSlice>) -> Vec<Backend> {
    let mut found: BTreeMap<IpAddr, Vec<Backend>> = BTreeMap::new();
    for slice in slices {
        let ports = target_ports(service, slice);
        if ports.iter().all(|port| *port == 0) {
            continue;
        }
        for endpoint in &slice.endpoints {
            merge(found.entry(endpoint.address).or_default(), endpoint, &ports);
        }
    }
    let mut backends: Vec<Backend> = found.into_values().flatten().collect();
    backends.sort_by(|a, b| (a.address, &a.ports).cmp(&(b.address, &b.ports)));
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
fn merge(known: &mut Vec<Backend>, endpoint: &Endpoint, ports: &[u16]) {
    let agrees = |backend: &&mut Backend| {
        let mut pairs = backend.ports.iter().zip(ports);
        pairs.all(|(a, b)| a == b || *a == 0 || *b == 0)
    };
    let Some(backend) = known.iter_mut().find(agrees) else {
        known.push(Backend {
            address: endpoint.address,
            ports: ports.to_vec(),
            node: endpoint.node.clone(),
            ready: endpoint.ready,
            serving: endpoint.serving,
            terminating: endpoint.terminating,
        });
        return;
    };
    for (merged, port) in backend.ports.iter_mut().zip(ports) {
        *merged = (*merged).max(*port);
    }
    backend.node = backend.node.take().or_else(|| endpoint.node.clone());
    backend.ready |= endpoint.ready;
    backend.serving |= endpoint.serving;
    backend.terminating &= endpoint.terminating;
}
