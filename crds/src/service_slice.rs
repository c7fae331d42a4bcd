//! Frontends and backends of one Service. Written by the operator, read by every daemon.

use std::net::IpAddr;

use kube::CustomResource;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::{Cidr, Protocol};

/// Most backends of one slice: EndpointSlice's own compromise (KEP-752).
pub const MAX_SLICE_BACKENDS: usize = 100;

/// Most prefixes of `loadBalancerSourceRanges` (the schema's bound).
pub const MAX_SOURCE_RANGES: usize = 256;

/// A slice of one Service: its frontends (slice 0 only) and at most 100 backends.
///
/// Slice 0 holds all backends while they fit. Beyond that they are in the leaves of a binary trie
/// over a hash of the backend: leaf `1` is all of them, and a leaf `n` with too many is split into
/// `2n` and `2n + 1`. So a backend's change rewrites one slice, and a split or a merge three.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "contivpp.io",
    version = "v1alpha1",
    kind = "VppServiceSlice",
    plural = "vppserviceslices",
    namespaced,
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.service"),
    printcolumn(name = "Slice", type_ = "integer", json_path = ".spec.slice"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VppServiceSliceSpec {
    /// Hash of the rest of the spec: readers skip an equal revision.
    pub revision: String,
    /// Name of the Service, in this object's namespace.
    pub service: String,
    /// UID of the Service: a Service deleted and created again is another one.
    pub service_uid: String,
    /// Number of this slice. Slice 0 exists for every Service that has a dataplane.
    pub slice: u32,
    /// Numbers of the other slices, sorted; slice 0 only. While one of them is not known, what is
    /// known of the backends is not all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4096))]
    pub slices: Vec<u32>,
    /// Ports of the Service. A backend's `ports` are in the same order.
    #[schemars(length(max = 100))]
    pub ports: Vec<ServicePort>,
    /// Where clients reach the Service; slice 0 only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub frontends: Vec<Frontend>,
    /// Client IP affinity timeout in seconds; absent means no affinity. Slice 0 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_seconds: Option<u32>,
    /// Which backends clients within the cluster get by the cluster IPs; slice 0 only.
    #[serde(default, skip_serializing_if = "TrafficPolicy::is_cluster")]
    pub internal_traffic_policy: TrafficPolicy,
    /// Which backends clients outside the cluster get; slice 0 only.
    #[serde(default, skip_serializing_if = "TrafficPolicy::is_cluster")]
    pub external_traffic_policy: TrafficPolicy,
    /// Port on which every node says whether it has a ready backend of its own; slice 0 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_node_port: Option<u16>,
    /// Who may use the load-balancer addresses; absent means everybody, an empty list nobody.
    /// Slice 0 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub load_balancer_source_ranges: Option<Vec<Cidr>>,
    /// When the last change of these endpoints began (the newest annotation
    /// `endpoints.kubernetes.io/last-change-trigger-time` of their EndpointSlices), RFC 3339.
    ///
    /// Not part of the revision: it comes along when the slice changes and is no change itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub triggered: Option<String>,
    /// Endpoints, sorted by address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub backends: Vec<Backend>,
}

/// A port of the Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name within the Service; empty when the only port is unnamed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port on the frontends.
    pub port: u16,
    /// Port on every node's addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

/// Which of a Service's backends a client may get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrafficPolicy {
    /// All.
    #[default]
    Cluster,
    /// Those on the node where the client's packets enter.
    Local,
}

impl TrafficPolicy {
    /// Whether all backends count.
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster)
    }
}

/// An address on which clients reach the Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// Where the address comes from.
    pub kind: FrontendKind,
    /// The virtual address.
    #[schemars(with = "String")]
    pub address: IpAddr,
}

/// Origin of a frontend address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FrontendKind {
    /// One of `spec.clusterIPs`.
    #[serde(rename = "ClusterIP")]
    ClusterIp,
    /// One of `spec.externalIPs`.
    #[serde(rename = "ExternalIP")]
    ExternalIp,
    /// An address of `status.loadBalancer.ingress` with `ipMode` VIP.
    LoadBalancer,
}

/// One endpoint of the Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Endpoint address.
    #[schemars(with = "String")]
    pub address: IpAddr,
    /// Target port for each entry of the slice's `ports`; 0 where the endpoint does not serve it.
    #[schemars(length(max = 100))]
    pub ports: Vec<u16>,
    /// Node of the endpoint, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Accepts new connections (EndpointConditions.ready; absent there means true).
    pub ready: bool,
    /// Serves, even if terminating (EndpointConditions.serving).
    pub serving: bool,
    /// Is being shut down (EndpointConditions.terminating).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub terminating: bool,
    /// Zones that should use the endpoint (EndpointHints.forZones), sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub for_zones: Vec<String>,
    /// Nodes that should use the endpoint (EndpointHints.forNodes), sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub for_nodes: Vec<String>,
}
