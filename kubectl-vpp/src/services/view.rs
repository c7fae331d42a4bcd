//! Services as they are shown. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crds::conditions::SERVICES_APPLIED;
use crds::service_slice::{FrontendKind, TrafficPolicy};
use crds::{VppConfig, VppServiceSlice, VppServiceSliceSpec};
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use node_daemon::cluster::{ServiceSlices, by_service, object_key};
use node_daemon::desired::service_backends::{Choice, Fate, Place};
use serde::Serialize;

/// A Service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `spec.type`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which backends clients inside and outside of the cluster get.
    pub internal_traffic_policy: TrafficPolicy,
    /// The same for clients outside.
    pub external_traffic_policy: TrafficPolicy,
    /// Seconds of ClientIP affinity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
    /// Why the Service has no dataplane, if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Where clients reach it.
    pub frontends: Vec<Frontend>,
    /// Endpoints.
    pub backends: Vec<Backend>,
    /// How it stands on each node.
    pub nodes: Vec<Node>,
}

/// An address and port.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// ClusterIP, ExternalIP, LoadBalancer or NodePort.
    pub kind: &'static str,
    /// The address; `*` for every node's.
    pub address: String,
    /// Port.
    pub port: u16,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// Name of the port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Port for each of the Service's; 0 where it does not serve it.
    pub ports: Vec<u16>,
    /// Its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Ready, Terminating (and serving), or NotReady.
    pub state: &'static str,
    /// Zones and nodes that it is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// How a Service stands on a node.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// The node.
    pub node: String,
    /// Whether its VPP has it.
    pub state: State,
    /// Why not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Backends of the first port that pods on the node are led to by the cluster IPs.
    pub backends: Vec<SocketAddr>,
}

/// Whether a node's VPP has a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum State {
    /// It has.
    Applied,
    /// It has not, and says why.
    Pending,
    /// It is not said.
    Unknown,
}

impl State {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Applied => "Applied",
            Self::Pending => "Pending",
            Self::Unknown => "Unknown",
        }
    }
}

/// Services in the order of namespaces and names.
pub fn views(services: &[Service], slices: &[VppServiceSlice], configs: &[VppConfig]) -> Vec<View> {
    let keyed: BTreeMap<String, &VppServiceSliceSpec> = slices
        .iter()
        .map(|slice| {
            let key = object_key(&slice.namespace().unwrap_or_default(), &slice.name_any());
            (key, &slice.spec)
        })
        .collect();
    let compiled = by_service(keyed.iter().map(|(key, slice)| (key.as_str(), *slice)));
    let mut views: Vec<View> = services
        .iter()
        .map(|service| {
            let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
            let found = compiled.get(&object_key(&namespace, &name));
            let spec = service.spec.as_ref();
            let mut view = View {
                kind: spec
                    .and_then(|spec| spec.type_.clone())
                    .unwrap_or_else(|| "ClusterIP".to_owned()),
                internal_traffic_policy: TrafficPolicy::Cluster,
                external_traffic_policy: TrafficPolicy::Cluster,
                affinity_seconds: None,
                note: None,
                frontends: Vec::new(),
                backends: Vec::new(),
                nodes: Vec::new(),
                namespace,
                name,
            };
            match found {
                None => view.note = Some(without_dataplane(service)),
                Some(found) => {
                    let first = found.first;
                    view.internal_traffic_policy = first.internal_traffic_policy;
                    view.external_traffic_policy = first.external_traffic_policy;
                    view.affinity_seconds = first.affinity_seconds;
                    view.frontends = frontends(first);
                    view.backends = found.backends().map(backend).collect();
                    view.note = found
                        .missing
                        .map(|number| format!("slice {number} is being written: nodes keep what they have"));
                    view.nodes = configs.iter().map(|config| node(config, &view, found)).collect();
                    view.nodes.sort_by(|a, b| a.node.cmp(&b.node));
                }
            }
            view
        })
        .collect();
    views.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    views
}

fn without_dataplane(service: &Service) -> String {
    let compiled = compiler::k8s::service(service);
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return "ExternalName: a name in DNS, nothing in the dataplane".to_owned();
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return "headless: clients speak to its pods themselves".to_owned();
    }
    if compiled.cluster_ips.is_empty() {
        return "left to another proxy by its labels, or without a cluster IP yet".to_owned();
    }
    "not compiled yet: does the operator run (kubectl -n contiv-system get pods), and does it say why (kubectl describe \
     service)?"
        .to_owned()
}

fn frontends(first: &VppServiceSliceSpec) -> Vec<Frontend> {
    let mut frontends = Vec::new();
    for frontend in &first.frontends {
        for port in &first.ports {
            frontends.push(Frontend {
                kind: match frontend.kind {
                    FrontendKind::ClusterIp => "ClusterIP",
                    FrontendKind::ExternalIp => "ExternalIP",
                    FrontendKind::LoadBalancer => "LoadBalancer",
                },
                address: frontend.address.to_string(),
                port: port.port,
                protocol: port.protocol.to_string(),
                name: port.name.clone(),
            });
        }
    }
    for port in &first.ports {
        frontends.extend(port.node_port.map(|number| Frontend {
            kind: "NodePort",
            address: "*".to_owned(),
            port: number,
            protocol: port.protocol.to_string(),
            name: port.name.clone(),
        }));
    }
    frontends
}

fn backend(backend: &crds::Backend) -> Backend {
    let zones = backend.for_zones.iter().map(|zone| format!("zone {zone}"));
    let nodes = backend.for_nodes.iter().map(|node| format!("node {node}"));
    Backend {
        address: backend.address,
        ports: backend.ports.clone(),
        node: backend.node.clone(),
        state: match (backend.ready, backend.serving && backend.terminating) {
            (true, _) => "Ready",
            (false, true) => "Terminating",
            (false, false) => "NotReady",
        },
        hints: nodes.chain(zones).collect(),
    }
}

fn node(config: &VppConfig, view: &View, slices: &ServiceSlices<'_>) -> Node {
    let name = config.name_any();
    let mut conditions = config.status.iter().flat_map(|status| &status.conditions);
    let condition = conditions.find(|condition| condition.type_ == SERVICES_APPLIED);
    let (state, reason) = match condition {
        None => (
            State::Unknown,
            "the node's daemon has not said anything yet".to_owned(),
        ),
        Some(condition) if condition.status == "True" => (State::Applied, String::new()),
        Some(condition) if condition.status == "Unknown" => (State::Unknown, condition.message.clone()),
        Some(condition) => {
            let start = format!("service {}/{}:", view.namespace, view.name);
            // What is not in VPP is named by its address and port.
            let own = |part: &str| {
                let of_frontend = |frontend: &Frontend| {
                    let port = format!(":{}/{}", frontend.port, frontend.protocol);
                    match frontend.address.as_str() {
                        "*" => part.contains(&port),
                        address => {
                            part.contains(&format!("{address}{port}"))
                                || part.contains(&format!("[{address}]{port}"))
                        }
                    }
                };
                part.contains(&start)
                    || (part.starts_with("translation ") && view.frontends.iter().any(of_frontend))
            };
            let parts: Vec<&str> = condition.message.split("; ").filter(|part| own(part)).collect();
            match parts.as_slice() {
                [] => (
                    State::Unknown,
                    format!("the node says of other Services: {}", condition.message),
                ),
                own => (State::Pending, own.join("; ")),
            }
        }
    };
    let place = Place {
        node: &name,
        zone: config.spec.node.zone.as_deref(),
    };
    let mut led = Vec::new();
    for ipv6 in [false, true] {
        let first_port = slices.backends_of(0, ipv6);
        if let Fate::To(targets) = Choice::new(&first_port, place).fate(slices.first.internal_traffic_policy)
        {
            led.extend(targets.into_iter().map(SocketAddr::from));
        }
    }
    Node {
        node: name,
        state,
        reason,
        backends: led,
    }
}

#[cfg(test)]
mod tests;
