//! Compiled policies and the address sets they name. Written by the operator, read by daemons.

use kube::CustomResource;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::net::{Cidr, PortMatch};
use crate::reference::reference;

/// Most members of one [`VppAddressSet`] slice.
pub const MAX_SET_MEMBERS: usize = 250;

/// One compiled policy: ordered rules that name address sets, ports already resolved.
///
/// Named like the NetworkPolicy it comes from, in the same namespace; one that comes from a
/// ClusterNetworkPolicy is in the system namespace and named `cnp.TIER.NAME`.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "contivpp.io",
    version = "v1alpha1",
    kind = "VppPolicy",
    plural = "vpppolicies",
    namespaced,
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".spec.revision"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VppPolicySpec {
    /// Hash of the rest of the spec: readers skip an equal revision.
    pub revision: String,
    /// Tier in which the policy is evaluated.
    #[serde(default)]
    pub tier: PolicyTier,
    /// Precedence within the tier, lower first; 0 in the NetworkPolicy tier, where order has no meaning.
    #[serde(default)]
    pub priority: i32,
    /// What may reach the selected pods, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<PolicyRule>,
    /// What the selected pods may reach, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<PolicyRule>,
}

/// Tier of a policy: Admin before NetworkPolicy before Baseline (network-policy-api v1alpha2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PolicyTier {
    /// ClusterNetworkPolicy of the Admin tier.
    Admin,
    /// networking.k8s.io/v1 NetworkPolicy.
    #[default]
    NetworkPolicy,
    /// ClusterNetworkPolicy of the Baseline tier.
    Baseline,
}

/// How the names of the VppPolicies of ClusterNetworkPolicies begin. In the system namespace no
/// NetworkPolicy's VppPolicy has such a name.
pub const CLUSTER_POLICY_PREFIX: &str = "cnp.";

/// Name of the VppPolicy (in the system namespace) of a ClusterNetworkPolicy: different for
/// different policies, and for one policy in different tiers, so that a change of tier never shows
/// as a change of rules.
pub fn cluster_policy_name(tier: PolicyTier, name: &str) -> String {
    /// Longest name of an object (RFC 1123 subdomain).
    const LONGEST: usize = 253;
    let tier = match tier {
        PolicyTier::Baseline => "baseline",
        PolicyTier::Admin | PolicyTier::NetworkPolicy => "admin",
    };
    let plain = format!("{CLUSTER_POLICY_PREFIX}{tier}.{name}");
    if plain.len() <= LONGEST {
        return plain;
    }
    // After the tier comes a dash where others have a dot: no policy can be called like that.
    format!("{CLUSTER_POLICY_PREFIX}{tier}-{}", crate::revision::hash(&name))
}

impl PolicyTier {
    /// The tier of the ClusterNetworkPolicy whose VppPolicy has this name; `None` for names of others.
    pub fn of_cluster_policy(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(CLUSTER_POLICY_PREFIX)?;
        match rest.split(['.', '-']).next() {
            Some("baseline") => Some(Self::Baseline),
            _ => Some(Self::Admin),
        }
    }
}

/// What a matching rule decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyAction {
    /// Let the connection and its replies pass.
    #[default]
    Accept,
    /// Drop.
    Deny,
    /// Skip the rest of the tier.
    Pass,
}

/// One rule. A connection matches if its peer, its ports and (where given) the selected pod match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRule {
    /// What a match decides.
    #[serde(default)]
    pub action: PolicyAction,
    /// Sets that hold the peer (source on ingress, destination on egress); absent means any peer,
    /// an empty list no peer at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<SetRef>>,
    /// Sets that hold the selected pod's own address; absent means every pod bound to the policy.
    /// Used for named ports, whose number may differ from pod to pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub targets: Option<Vec<SetRef>>,
    /// Protocols and destination ports; absent means every protocol and port, an empty list none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<PortMatch>>,
}

/// Names an address set: all [`VppAddressSet`] slices of this namespace whose `spec.set` equals `name`.
///
/// In text `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetRef {
    /// Namespace of the set's slices.
    pub namespace: String,
    /// Name of the set (`spec.set` of its slices).
    pub name: String,
}

reference!(
    SetRef,
    "SetRef",
    "NAMESPACE/NAME of an address set: all VppAddressSets of the namespace whose spec.set is the name."
);

/// A slice of an address set: at most 250 members. Slice 0 exists even when the set is empty, so a
/// reader can tell "empty" from "not seen yet".
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "contivpp.io",
    version = "v1alpha1",
    kind = "VppAddressSet",
    plural = "vppaddresssets",
    namespaced,
    printcolumn(name = "Set", type_ = "string", json_path = ".spec.set"),
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct VppAddressSetSpec {
    /// Hash of the rest of the spec: readers skip an equal revision.
    pub revision: String,
    /// Name of the set; the object's name is this with `-<slice>` appended.
    pub set: String,
    /// Number of this slice, from 0.
    pub slice: u32,
    /// What the set stands for, in words a person reads (the selector or block it was made from).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Sorted, disjoint prefixes; a pod is a /32 or /128.
    #[serde(default)]
    #[schemars(length(max = 250))]
    pub members: Vec<Cidr>,
}
