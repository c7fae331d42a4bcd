//! The configuration of one node. The operator writes `spec`, the node's daemon writes `status`.

use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::cnf::{Forwarding, InterfaceKind, InterfaceRole};
use crate::net::{Cidr, PortMatch};
use crate::policy::SetRef;
use crate::reference::reference;

/// What is particular to one node; the object is named like its Node.
///
/// Nothing cluster-wide appears here, not even as a hash: an event must not cost a write per node.
/// Services come from VppServiceSlices, peers from VppPeerSlices.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "contivpp.io",
    version = "v1alpha1",
    kind = "VppConfig",
    plural = "vppconfigs",
    shortname = "vc",
    status = "VppConfigStatus",
    category = "contiv",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Pods", type_ = "string", json_path = ".status.pods"),
    printcolumn(
        name = "Policies",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='PoliciesApplied')].status"
    ),
    printcolumn(
        name = "Services",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='ServicesApplied')].status"
    ),
    printcolumn(
        name = "Chains",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='ChainsApplied')].status"
    ),
    printcolumn(name = "Applied", type_ = "string", json_path = ".status.appliedRevision"),
    printcolumn(name = "VPP", type_ = "string", json_path = ".status.vppVersion"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Revision",
        type_ = "string",
        json_path = ".spec.revision",
        priority = 1
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    ),
    derive = "PartialEq"
)]
#[x_kube(
    validation = Rule::new(
        "!has(self.pods) || self.pods.all(p, (!has(p.ingress) || (has(self.policySets) && p.ingress < self.policySets.size())) && (!has(p.egress) || (has(self.policySets) && p.egress < self.policySets.size())))"
    ).message("ingress and egress of a pod must be places in policySets"),
)]
#[serde(rename_all = "camelCase")]
pub struct VppConfigSpec {
    /// Hash of the rest of the spec: readers skip an equal revision.
    pub revision: String,
    /// Who the node is.
    pub node: NodeIdentity,
    /// How pods' packets travel between nodes.
    #[serde(default)]
    pub transport: Transport,
    /// What policies say of the node's pods, each once, sorted. Pods name them by place, counted from 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub policy_sets: Vec<DirectionBinding>,
    /// Pods scheduled to the node (host-network pods excluded), sorted by namespace and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub pods: Vec<PodBinding>,
    /// What this node does for service chains, sorted by chain, hop and direction.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub chains: Vec<ChainSteer>,
}

impl VppConfigSpec {
    /// What policies say of one direction of a pod whose binding names this place in `policySets`.
    ///
    /// `None` if there is no such place: what is meant can't be told, and nothing may pass.
    pub fn policy_set(&self, place: Option<u16>) -> Option<&DirectionBinding> {
        const OPEN: &DirectionBinding = &DirectionBinding {
            isolated: false,
            policies: Vec::new(),
        };
        match place {
            None => Some(OPEN),
            Some(place) => self.policy_sets.get(usize::from(place)),
        }
    }

    /// The place of a set, which is added at the end if it is new. A direction that is open has none.
    pub fn place_of(&mut self, set: DirectionBinding) -> Option<u16> {
        if set.is_open() {
            return None;
        }
        let known = self.policy_sets.iter().position(|known| *known == set);
        let place = known.unwrap_or_else(|| {
            self.policy_sets.push(set);
            self.policy_sets.len() - 1
        });
        // Beyond all bounds it names no set, and the direction is closed.
        Some(u16::try_from(place).unwrap_or(u16::MAX))
    }
}

/// Who the node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeIdentity {
    /// Smallest free integer from 1 at the time the node was first seen; kept for its lifetime.
    #[schemars(range(min = 1))]
    pub id: u16,
    /// The node's own addresses (Node.status InternalIP), at most one per family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", length(max = 8))]
    pub addresses: Vec<IpAddr>,
    /// Prefixes from which the node's pods get addresses, at most one per family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub pod_cidrs: Vec<Cidr>,
    /// The node's zone (label `topology.kubernetes.io/zone`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub zone: Option<String>,
}

/// How pods' packets travel between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transport {
    /// Encapsulation.
    #[serde(default)]
    pub mode: TransportMode,
    /// VXLAN network identifier for IPv4 packets; IPv6 packets use the next one.
    #[serde(default = "default_vni")]
    #[schemars(range(min = 1, max = 16_777_214))]
    pub vni: u32,
}

fn default_vni() -> u32 {
    10
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            mode: TransportMode::default(),
            vni: default_vni(),
        }
    }
}

/// Encapsulation between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TransportMode {
    /// VXLAN with an inner IP packet and no inner Ethernet header (VPP's L3 mode).
    #[default]
    Vxlan,
    /// None: the underlay routes pod prefixes.
    None,
}

/// A pod of this node and what applies to it. Bound by UID as soon as the pod is scheduled, before
/// it has an address: its policies are in force before its first packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodBinding {
    /// Namespace of the pod.
    #[schemars(with = "String")]
    pub namespace: SmolStr,
    /// Name of the pod.
    #[schemars(with = "String")]
    pub name: SmolStr,
    /// UID of the pod: the same name later is another pod.
    #[schemars(with = "String")]
    pub uid: SmolStr,
    /// How `eth0` is attached.
    #[serde(default, skip_serializing_if = "is_default")]
    pub interface: InterfaceKind,
    /// What may reach the pod: a place in `policySets`; absent means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1023))]
    pub ingress: Option<u16>,
    /// What the pod may reach: a place in `policySets`; absent means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1023))]
    pub egress: Option<u16>,
    /// Further interfaces, for pods that are a network function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub interfaces: Vec<FunctionInterface>,
    /// Who forwards between those interfaces.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forwarding: Forwarding,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Policies of one direction, in order of evaluation. The direction is the pod's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DirectionBinding {
    /// Whether what no policy accepts is denied.
    #[serde(default, skip_serializing_if = "is_default")]
    pub isolated: bool,
    /// Policies to evaluate, by tier, priority, namespace and name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub policies: Vec<PolicyRef>,
}

impl DirectionBinding {
    /// Whether nothing restricts the direction.
    pub fn is_open(&self) -> bool {
        !self.isolated && self.policies.is_empty()
    }
}

/// Names a VppPolicy; in text `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyRef {
    /// Namespace of the VppPolicy.
    pub namespace: SmolStr,
    /// Name of the VppPolicy.
    pub name: SmolStr,
}

reference!(PolicyRef, "PolicyRef", "NAMESPACE/NAME of a VppPolicy.");

/// An interface of a function's pod beside `eth0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunctionInterface {
    /// Name within the pod.
    pub name: String,
    /// Which way the chain's traffic passes it.
    pub role: InterfaceRole,
    /// How it is attached.
    #[serde(default, rename = "type", skip_serializing_if = "is_default")]
    pub kind: InterfaceKind,
}

/// One thing this node does for one chain: packets that appear at `at` and match go to `to`.
///
/// After the last function no steer is needed: the packet is routed to its destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainSteer {
    /// Namespace of the ServiceChain.
    pub namespace: String,
    /// Name of the ServiceChain.
    pub chain: String,
    /// Direction of travel.
    #[serde(default, skip_serializing_if = "is_default")]
    pub direction: ChainDirection,
    /// Hop at which the packet arrives, from 0, counted in the direction of travel.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hop: u32,
    /// Where the packets appear.
    pub at: SteerPoint,
    /// Which of them; absent means all (what leaves a function or a hop's tunnel belongs to the chain).
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub match_: Option<SteerMatch>,
    /// Where they go.
    pub to: SteerTarget,
}

/// Direction of travel through a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ChainDirection {
    /// From the classifier's `from` to its `to`.
    #[default]
    Forward,
    /// Replies, functions in reverse order.
    Reverse,
}

/// Where a steer takes packets from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SteerPoint {
    /// Packets that these local pods send from `eth0`: their places in `pods`, counted from 0, sorted.
    Pods(#[schemars(length(max = 512), inner(range(max = 511)))] Vec<u16>),
    /// Packets that leave a local function's interface.
    #[serde(rename_all = "camelCase")]
    Function {
        /// UID of the function's pod.
        uid: String,
        /// Interface within the pod.
        interface: String,
    },
    /// Packets that arrive from another node through the hop's tunnel.
    #[serde(rename_all = "camelCase")]
    Tunnel {
        /// Name of the other node.
        node: String,
        /// VXLAN network identifier for IPv4 packets; IPv6 packets use the next one.
        vni: u32,
    },
}

/// Which packets a steer takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SteerMatch {
    /// Set that holds the packet's destination.
    pub destinations: SetRef,
    /// Protocols and ports; absent means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub ports: Vec<PortMatch>,
    /// Whether `ports` are the packet's source ports (replies) rather than its destination ports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source_ports: bool,
}

/// Where a steer sends packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SteerTarget {
    /// To a local function's interface.
    #[serde(rename_all = "camelCase")]
    Function {
        /// UID of the function's pod.
        uid: String,
        /// Interface within the pod.
        interface: String,
    },
    /// To another node through the hop's tunnel.
    #[serde(rename_all = "camelCase")]
    Tunnel {
        /// Name of the other node.
        node: String,
        /// VXLAN network identifier for IPv4 packets; IPv6 packets use the next one.
        vni: u32,
    },
    /// Nowhere: the chain can't be followed and must not be passed by.
    Drop {},
}

/// What the node's daemon says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VppConfigStatus {
    /// Generation whose spec the daemon has finished trying to apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Revision of the spec that VPP really has; absent until the first success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_revision: Option<String>,
    /// Version of the connected VPP, such as `26.06-release`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vpp_version: String,
    /// Pods connected of pods bound, such as `3/3`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pods: String,
    /// Underlay addresses of this node's VPP, from which peers' tunnels are made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>", length(max = 2))]
    pub tunnel_endpoints: Vec<IpAddr>,
    /// Chains of which this node has a part, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub chains: Vec<ChainReport>,
    /// VppConnected, InterfacesApplied, PoliciesApplied, ServicesApplied, ChainsApplied,
    /// ReferencesResolved, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Whether this node's part of a chain is in VPP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainReport {
    /// Namespace of the ServiceChain.
    pub namespace: String,
    /// Name of the ServiceChain.
    pub chain: String,
    /// Whether all of this node's steers of the chain are in VPP.
    pub programmed: bool,
    /// What is missing, if anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
