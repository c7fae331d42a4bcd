//! Frontends and backends of one Service. Written by the operator, read by every daemon.

use std::net::IpAddr;

use kube::CustomResource;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Protocol;

/// Most backends of one slice: EndpointSlice's own compromise (KEP-752).
pub const MAX_SLICE_BACKENDS: usize = 100;

/// A slice of one Service: its frontends (slice 0 only) and at most 100 backends.
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
    /// Number of this slice, from 0. Slice 0 exists for every Service that has a dataplane.
    pub slice: u32,
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
}
