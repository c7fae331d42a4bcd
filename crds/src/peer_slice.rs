//! The nodes as others see them. Written by the operator, read by every daemon.

use std::net::IpAddr;

use kube::CustomResource;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::Cidr;

/// Most nodes in one slice.
pub const MAX_SLICE_PEERS: usize = 100;

/// At most 100 nodes; a node stays in the slice that its id says (`id / 100`), so one node's change
/// rewrites one slice.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "contivpp.io",
    version = "v1alpha1",
    kind = "VppPeerSlice",
    plural = "vpppeerslices",
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VppPeerSliceSpec {
    /// Hash of the rest of the spec: readers skip an equal revision.
    pub revision: String,
    /// Nodes, sorted by name.
    #[schemars(length(max = 100))]
    pub peers: Vec<Peer>,
}

/// A node as a peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Node name.
    pub node: String,
    /// Node id, unique in the cluster.
    pub id: u16,
    /// The node's own addresses (Node.status InternalIP).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", length(max = 8))]
    pub addresses: Vec<IpAddr>,
    /// Pod prefixes of the node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub pod_cidrs: Vec<Cidr>,
    /// Addresses of the node's VPP on the underlay, as its daemon reports them; empty until it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", length(max = 2))]
    pub tunnel_endpoints: Vec<IpAddr>,
}
