//! Services and EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crds::net::{Cidr, Protocol};
use crds::service_slice::{MAX_SOURCE_RANGES, ServicePort, TrafficPolicy};
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
/// When the change that an EndpointSlice follows began (kube-proxy's network programming SLI).
const TRIGGER_ANNOTATION: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Default of `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_SECONDS: u32 = 10_800;
/// Most hints of an endpoint (the API's bound).
const MAX_HINTS: usize = 8;

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

    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let cluster_ips = match skipped || kind == "ExternalName" {
        true => Vec::new(),
        false => cluster_ips(&spec, &mut tell),
    };
    let has_dataplane = !cluster_ips.is_empty();
    let on_nodes = has_dataplane && matches!(kind, "NodePort" | "LoadBalancer");
    let balanced = has_dataplane && kind == "LoadBalancer";
    let (mut external_ips, mut load_balancer_ips) = (Vec::new(), Vec::new());
    if has_dataplane {
        let written = spec.external_ips.iter().flatten();
        external_ips = frontends("spec.externalIPs", written, &cluster_ips, &mut tell);
    }
    if balanced {
        let status = service.status.as_ref().and_then(|s| s.load_balancer.as_ref());
        let ingress = status.and_then(|s| s.ingress.as_ref()).into_iter().flatten();
        // With mode Proxy the balancer answers itself, and clients within the cluster must pass it
        // (KEP-1860). An ingress by host name is the balancer's alone.
        let captured = ingress.filter(|i| matches!(i.ip_mode.as_deref(), None | Some("VIP")));
        let written = captured.filter_map(|i| i.ip.as_ref());
        load_balancer_ips = frontends("status.loadBalancer", written, &cluster_ips, &mut tell);
    }

    let mut ports = Vec::new();
    for entry in spec.ports.iter().flatten() {
        let name = text(entry.name.as_ref());
        let node_port = entry.node_port.and_then(port).filter(|_| on_nodes);
        match (protocol(entry.protocol.as_deref()), port(entry.port)) {
            (Some(protocol), Some(port)) => ports.push(ServicePort {
                name,
                protocol,
                port,
                node_port,
            }),
            _ => tell(
                "InvalidPort",
                format!("port {name:?} needs protocol TCP, UDP or SCTP and a port within 1 to 65535"),
            ),
        }
    }

    let affinity = spec.session_affinity.as_deref() == Some("ClientIP");
    let config = spec.session_affinity_config.as_ref();
    let timeout = config.and_then(|c| c.client_ip.as_ref()?.timeout_seconds);
    let timeout = timeout.and_then(|seconds| u32::try_from(seconds).ok());
    // What VPP cannot do is said to the author; the node says it of its part too.
    if has_dataplane && affinity && timeout.is_some_and(|seconds| seconds != AFFINITY_SECONDS) {
        let message = "a client stays with its backend as long as the backends stay the same: VPP does not count \
                       sessionAffinityConfig.clientIP.timeoutSeconds";
        tell("AffinityTimeoutIgnored", message.to_owned());
    }
    let sctp = ports.iter().any(|port| port.protocol == Protocol::Sctp);
    if sctp && cluster_ips.iter().any(IpAddr::is_ipv6) {
        let message = "ports with protocol SCTP are served in IPv4 only: VPP does not translate SCTP in IPv6";
        tell("SctpIPv4Only", message.to_owned());
    }
    let external_traffic_policy = traffic_policy(spec.external_traffic_policy.as_deref());
    let checked = balanced && external_traffic_policy == TrafficPolicy::Local;
    Service {
        source_ranges: match balanced {
            true => source_ranges(&spec, &cluster_ips, &mut tell),
            false => None,
        },
        cluster_ips,
        external_ips,
        load_balancer_ips,
        ports,
        affinity_seconds: affinity.then(|| timeout.filter(|s| *s > 0).unwrap_or(AFFINITY_SECONDS)),
        internal_traffic_policy: traffic_policy(spec.internal_traffic_policy.as_deref()),
        external_traffic_policy,
        health_check_node_port: spec.health_check_node_port.and_then(port).filter(|_| checked),
        problems,
        namespace,
        name,
        uid,
    }
}

fn traffic_policy(name: Option<&str>) -> TrafficPolicy {
    match name {
        Some("Local") => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
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

/// Further addresses of the Service. One of a family that the Service does not have could only lead
/// to backends of the other family.
fn frontends<'a>(
    field: &str,
    written: impl Iterator<Item = &'a String>,
    cluster_ips: &[IpAddr],
    tell: &mut impl FnMut(&'static str, String),
) -> Vec<IpAddr> {
    let mut ips = BTreeSet::new();
    for text in written {
        match text.trim().parse::<IpAddr>() {
            Ok(ip) if cluster_ips.iter().any(|own| own.is_ipv6() == ip.is_ipv6()) => {
                ips.insert(ip);
            }
            Ok(ip) => tell(
                "AddressFamily",
                format!("{field}: {ip} is ignored, the Service has no cluster IP of its family"),
            ),
            Err(_) => tell(
                "InvalidAddress",
                format!("{field}: {text:?} is no address, and ignored"),
            ),
        }
    }
    ips.into_iter().collect()
}

/// The Service's source ranges, fewest prefixes that say the same; `None` if it has none. What
/// cannot be read admits nobody.
fn source_ranges(
    spec: &core::ServiceSpec,
    cluster_ips: &[IpAddr],
    tell: &mut impl FnMut(&'static str, String),
) -> Option<Vec<Cidr>> {
    let written = spec.load_balancer_source_ranges.as_ref()?;
    if written.is_empty() {
        return None;
    }
    let mut ranges: Vec<Cidr> = Vec::new();
    for text in written {
        match text.trim().parse() {
            Ok(cidr) => ranges.push(cidr),
            Err(_) => tell(
                "InvalidSourceRange",
                format!("loadBalancerSourceRanges: {text:?} is no CIDR and admits nobody"),
            ),
        }
    }
    let nets: Vec<_> = ranges.iter().map(Cidr::net).collect();
    ranges = ipnet::IpNet::aggregate(&nets)
        .into_iter()
        .map(Cidr::from)
        .collect();
    ranges.sort();
    for (ipv6, name) in [(false, "IPv4"), (true, "IPv6")] {
        let has = |ip: &IpAddr| ip.is_ipv6() == ipv6;
        if cluster_ips.iter().any(has) && !ranges.iter().any(|range| range.is_ipv6() == ipv6) {
            let message = format!(
                "loadBalancerSourceRanges has no {name} prefix: no {name} client may use the load balancer"
            );
            tell("SourceRangesFamily", message);
        }
    }
    if ranges.len() > MAX_SOURCE_RANGES {
        let message = format!(
            "loadBalancerSourceRanges has more than {MAX_SOURCE_RANGES} prefixes: nobody is admitted, merge some"
        );
        tell("TooManySourceRanges", message);
        ranges.clear();
    }
    Some(ranges)
}

/// What the compiler needs to know of an EndpointSlice. Of an endpoint's addresses the first
/// counts, as the API says.
pub fn endpoint_slice(slice: &discovery::EndpointSlice) -> EndpointSlice {
    let (namespace, name, _) = identity(&slice.metadata);
    let labels = slice.metadata.labels.as_ref();
    let annotations = slice.metadata.annotations.as_ref();
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
        let hints = endpoint.hints.as_ref();
        let zones = hints.and_then(|h| h.for_zones.as_ref()).into_iter().flatten();
        let nodes = hints.and_then(|h| h.for_nodes.as_ref()).into_iter().flatten();
        Some(Endpoint {
            address: endpoint.addresses.first()?.parse().ok().filter(of_family)?,
            node: endpoint.node_name.clone(),
            // Absent means true for these two (EndpointConditions).
            ready: conditions.ready.unwrap_or(true),
            serving: conditions.serving.unwrap_or(true),
            terminating: conditions.terminating.unwrap_or(false),
            for_zones: hinted(zones.map(|zone| &zone.name)),
            for_nodes: hinted(nodes.map(|node| &node.name)),
        })
    });
    let triggered = annotations.and_then(|annotations| annotations.get(TRIGGER_ANNOTATION));
    EndpointSlice {
        service: labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL)).cloned(),
        ports: ports.collect(),
        endpoints: endpoints.collect(),
        // No time is longer than one with nanoseconds and an offset.
        triggered: triggered.filter(|time| time.len() <= 35).cloned(),
        namespace,
        name,
    }
}

fn hinted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let names: BTreeSet<&String> = names.take(MAX_HINTS).collect();
    names.into_iter().cloned().collect()
}
