//! A cloud-native network function: pods through which service chains lead traffic. Written by users.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which pods are the function, and the interfaces on which they take and give back traffic.
///
/// The interfaces are made in the function's pods beside `eth0` when the pod starts.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "contivpp.io",
    version = "v1alpha1",
    kind = "CNF",
    plural = "cnfs",
    singular = "cnf",
    namespaced,
    status = "CnfStatus",
    category = "contiv",
    printcolumn(name = "Pods", type_ = "integer", json_path = ".status.pods"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyPods"),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Accepted')].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    derive = "PartialEq"
)]
#[x_kube(
    validation = Rule::new(
        "(self.interfaces.size() == 1 && self.interfaces[0].role == 'InOut') || (self.interfaces.size() == 2 && self.interfaces.exists_one(i, i.role == 'In') && self.interfaces.exists_one(i, i.role == 'Out'))"
    ).message("interfaces must be one with role InOut, or one with role In and one with role Out"),
    validation = Rule::new("self.interfaces.all(i, self.interfaces.exists_one(j, j.name == i.name))")
        .message("interfaces must have different names"),
    validation = Rule::new("self.interfaces.all(i, i.name != 'eth0' && i.name != 'lo')")
        .message("an interface may not be named eth0 or lo: the pod has those already; choose a name such as in or out"),
    validation = Rule::new("!self.interfaces.exists(i, i.type == 'Memif') || self.forwarding == 'Application'")
        .message("memif interfaces are invisible to the pod's kernel: set forwarding to Application, or use type Tap or Veth"),
    validation = Rule::new("(has(self.podSelector.matchLabels) && self.podSelector.matchLabels.size() > 0) || (has(self.podSelector.matchExpressions) && self.podSelector.matchExpressions.size() > 0)")
        .message("podSelector must name at least one label: an empty selector would make every pod of the namespace a network function"),
)]
#[serde(rename_all = "camelCase")]
pub struct CnfSpec {
    /// Pods of this namespace that are the function.
    pub pod_selector: LabelSelector,
    /// One interface with role InOut, or one with role In and one with role Out.
    #[schemars(length(min = 1, max = 2))]
    pub interfaces: Vec<CnfInterface>,
    /// Who forwards packets within the pod.
    #[serde(default)]
    pub forwarding: Forwarding,
}

/// An interface of a function's pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CnfInterface {
    /// Name within the pod, such as `in`; not `eth0` or `lo`.
    #[schemars(length(min = 1, max = 15), regex(pattern = "^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub name: String,
    /// Which way the chain's traffic passes it.
    pub role: InterfaceRole,
    /// What kind of interface it is.
    #[serde(default, rename = "type")]
    pub kind: InterfaceKind,
}

/// Role of a function's interface, seen from the function in the chain's forward direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum InterfaceRole {
    /// Forward traffic enters here; reverse traffic leaves here.
    In,
    /// Forward traffic leaves here; reverse traffic enters here.
    Out,
    /// Traffic enters and leaves here.
    InOut,
}

/// How a pod's interface is attached to VPP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum InterfaceKind {
    /// A tap device that VPP creates within the pod's network namespace.
    #[default]
    Tap,
    /// A veth pair, VPP on the outer end by AF_PACKET.
    Veth,
    /// Shared-memory packet interface for functions that speak memif themselves.
    Memif,
}

/// Who forwards packets within a function's pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Forwarding {
    /// The pod's kernel: the node daemon sets routes and `ip_forward` within the pod, so a plain
    /// container (with its own nftables, say) is a working function.
    #[default]
    Kernel,
    /// The application: nothing is set within the pod.
    Application,
}

/// What became of the CNF.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CnfStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that match the selector.
    #[serde(default)]
    pub pods: u32,
    /// Pods of those that are ready.
    #[serde(default)]
    pub ready_pods: u32,
    /// Accepted, Resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
