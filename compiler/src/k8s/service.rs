//! Services and EndpointSlices.

use std::net::IpAddr;

use crds::service_slice::ServicePort;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use super::{identity, port, protocol, text};
use crate::facts::{Endpoint, EndpointPort, EndpointSlice, Kind, Problem, Service};

/// Services with this label (any value) are another proxy's.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// Services with this label want no proxy.
const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// Names the Service of an EndpointSlice.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_SECONDS: u32 = 10_800;

/// What the compiler needs to know of a Service. Without a dataplane (headless, ExternalName,
/// skipped by label) it has no cluster IPs.
pub fn service(service: &core::Service) -> Service {
    let (namespace, name, uid) = identity(&service.metadata);
    let spec = service.spec.clone().unwrap_or_default();
    let labels = service.metadata.labels.as_ref();
    let skipped = labels
        .is_some_and(|labels| labels.contains_key(PROXY_NAME_LABEL) || labels.contains_key(HEADLESS_LABEL));
    let mut problems = Vec::new();
    let mut tell = |reason, message| {
        problems.push(Problem {
            object: Kind::SERVICE.of(&namespace, &name, &uid),
            reason,
            message,
        });
    };

    let external = spec.type_.as_deref() == Some("ExternalName");
    let cluster_ips = match skipped || external {
        true => Vec::new(),
        false => cluster_ips(&spec, &mut tell),
    };
    let mut ports = Vec::new();
    for entry in spec.ports.iter().flatten() {
        let name = text(entry.name.as_ref());
        match (protocol(entry.protocol.as_deref()), port(entry.port)) {
            (Some(protocol), Some(port)) => ports.push(ServicePort { name, protocol, port }),
            _ => tell(
                "InvalidPort",
                format!("port {name:?} needs protocol TCP, UDP or SCTP and a port within 1 to 65535"),
            ),
        }
    }

    let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
    let config = spec.session_affinity_config.and_then(|c| c.client_ip);
    let timeout = config.and_then(|c| c.timeout_seconds);
    let timeout = timeout.and_then(|seconds| u32::try_from(seconds).ok());
    Service {
        cluster_ips,
        ports,
        affinity_seconds: affinity.then(|| timeout.filter(|s| *s > 0).unwrap_or(AFFINITY_SECONDS)),
        problems,
        namespace,
        name,
        uid,
    }
}

fn cluster_ips(spec: &core::ServiceSpec, tell: &mut impl FnMut(&'static str, String)) -> Vec<IpAddr> {
    let mut written: Vec<&String> = spec.cluster_ips.iter().flatten().collect();
    if written.is_empty() {
        written.extend(&spec.cluster_ip);
    }
    let mut ips = Vec::new();
    // "None" is headless, "" not allocated yet.
    for text in written.into_iter().filter(|ip| *ip != "None" && !ip.is_empty()) {
        match text.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => tell("InvalidClusterIP", format!("cluster IP {text:?} is no address")),
        }
    }
    ips
}

/// What the compiler needs to know of an EndpointSlice. Of an endpoint's addresses the first
/// counts, as the API says.
pub fn endpoint_slice(slice: &discovery::EndpointSlice) -> EndpointSlice {
    let (namespace, name, _) = identity(&slice.metadata);
    let labels = slice.metadata.labels.as_ref();
    let of_family = |ip: &IpAddr| match slice.address_type.as_str() {
        "IPv4" => ip.is_ipv4(),
        "IPv6" => ip.is_ipv6(),
        _ => false,
    };
    let ports = slice.ports.iter().flatten().filter_map(|entry| {
        Some(EndpointPort {
            name: text(entry.name.as_ref()),
            protocol: protocol(entry.protocol.as_deref())?,
            number: port(entry.port?)?,
        })
    });
    let endpoints = slice.endpoints.iter().flatten();
    let endpoints = endpoints.filter_map(|endpoint| {
        let conditions = endpoint.conditions.clone().unwrap_or_default();
        Some(Endpoint {
            address: endpoint.addresses.first()?.parse().ok().filter(of_family)?,
            node: endpoint.node_name.clone(),
            // Absent means true for these two (EndpointConditions).
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
        })
    });
    EndpointSlice {
        service: labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)).cloned(),
        ports: ports.collect(),
        endpoints: endpoints.collect(),
        namespace,
        name,
    }
}
