//! A service chain: traffic between two ends passes network functions in order. Written by users.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector};
use kube::CustomResource;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::{Cidr, PortMatch};

/// Leads traffic from one set of pods to another through functions, in order.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "contivpp.io",
    version = "v1alpha1",
    kind = "ServiceChain",
    plural = "servicechains",
    shortname = "schain",
    namespaced,
    status = "ServiceChainStatus",
    category = "contiv",
    printcolumn(name = "Path", type_ = "string", json_path = ".status.pathSummary"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].reason"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    derive = "PartialEq"
)]
#[x_kube(
    validation = Rule::new("self.functions.all(f, self.functions.exists_one(g, g.name == f.name))")
        .message("functions must have different names"),
    validation = Rule::new("self.functions.all(f, self.functions.exists_one(g, g.cnf == f.cnf))")
        .message("a CNF may appear only once in a chain: leading traffic through it twice would make a loop; create a second CNF"),
    validation = Rule::new("!self.symmetric || !has(self.classifier.to.cidrs) || self.classifier.to.cidrs.size() == 0")
        .message("a chain to cidrs can't lead replies back: set symmetric to false, or select pods in classifier.to"),
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceChainSpec {
    /// Which traffic the chain takes.
    pub classifier: Classifier,
    /// Functions in the order in which forward traffic passes them.
    #[schemars(length(min = 1, max = 8))]
    pub functions: Vec<ChainFunction>,
    /// Whether replies pass the same functions in reverse order.
    #[serde(default = "yes")]
    pub symmetric: bool,
    /// What happens to the chain's traffic while a function has no ready pod.
    #[serde(default)]
    pub on_failure: FailurePolicy,
    /// Switches the chain off without deleting it: its traffic goes straight.
    #[serde(default)]
    pub suspend: bool,
}

fn yes() -> bool {
    true
}

/// Which traffic a chain takes: from one end to the other, of these ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Classifier {
    /// Pods that open the connections.
    pub from: PodEnd,
    /// Pods or prefixes to which they are opened.
    pub to: ChainEnd,
    /// Protocols and destination ports; absent or empty means all traffic.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub ports: Vec<PortMatch>,
}

/// Pods, by selectors with the meaning they have in a NetworkPolicy peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodEnd {
    /// Pods by label; `{}` selects all.
    pub pod_selector: LabelSelector,
    /// Namespaces by label; absent means the chain's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
}

/// Pods by selectors, or prefixes: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("has(self.podSelector) != (has(self.cidrs) && self.cidrs.size() > 0)")
        .message("give either podSelector (with or without namespaceSelector) or cidrs, and not both"),
    validation = Rule::new("!has(self.cidrs) || self.cidrs.all(c, isCIDR(c) || isIP(c))")
        .message("cidrs must be prefixes such as 10.0.0.0/8 or fd00::/64"),
    validation = Rule::new("!has(self.namespaceSelector) || has(self.podSelector)")
        .message("namespaceSelector needs a podSelector beside it; podSelector: {} selects all pods of those namespaces"),
)]
#[serde(rename_all = "camelCase")]
pub struct ChainEnd {
    /// Pods by label; `{}` selects all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces by label; absent means the chain's own namespace. Needs `podSelector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Destination prefixes outside the cluster. Such a chain can't be symmetric.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub cidrs: Vec<Cidr>,
}

/// One function of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainFunction {
    /// Name of the hop, unique within the chain.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Name of the CNF in the chain's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub cnf: String,
}

/// What happens to a chain's traffic while a function has no ready pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailurePolicy {
    /// Traffic is dropped: nothing passes around the function.
    #[default]
    Drop,
    /// Traffic goes straight to its destination, past the whole chain.
    Bypass,
}

/// What became of the chain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceChainStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The pods through which traffic is led, in forward order; empty while unresolved or suspended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<PathHop>,
    /// The path in one line for `kubectl get`, such as `firewall@node-1 → ids@node-2`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path_summary: String,
    /// Accepted, Resolved, Programmed, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// One hop of the chosen path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PathHop {
    /// Name of the function in the chain.
    pub function: String,
    /// The pod chosen for it.
    pub pod: String,
    /// Node of that pod.
    pub node: String,
}
