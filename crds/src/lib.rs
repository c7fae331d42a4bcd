//! The API types of Contiv-VPP, group `contivpp.io`, version `v1alpha1`.
//!
//! Users write [`ServiceChain`] and [`CNF`]; the operator writes the rest, and node daemons write
//! the status of their own [`VppConfig`]:
//!
//! ```text
//! NetworkPolicy, Service, ServiceChain, CNF ──► operator ──► VppConfig (one per node)
//!                                                            VppPolicy ─► VppAddressSet
//!                                                            VppServiceSlice, VppPeerSlice
//! ```
//!
//! This crate holds types and pure helpers only: no client, no async. The CRDs are the only
//! interface between the compiler and the node daemon.

pub mod cnf;
pub mod conditions;
pub mod manifest;
pub mod net;
pub mod peer_slice;
pub mod policy;
pub mod reference;
pub mod revision;
pub mod service_chain;
pub mod service_slice;
pub mod vpp_config;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

pub use cnf::{CNF, CnfSpec, CnfStatus};
pub use peer_slice::{Peer, VppPeerSlice, VppPeerSliceSpec};
pub use policy::{
    PolicyAction, PolicyRule, PolicyTier, SetRef, VppAddressSet, VppAddressSetSpec, VppPolicy, VppPolicySpec,
};
pub use service_chain::{ServiceChain, ServiceChainSpec, ServiceChainStatus};
pub use service_slice::{Backend, Frontend, ServicePort, VppServiceSlice, VppServiceSliceSpec};
pub use vpp_config::{VppConfig, VppConfigSpec, VppConfigStatus};

/// API group of every kind in this crate.
pub const GROUP: &str = "contivpp.io";
/// API version of every kind in this crate.
pub const VERSION: &str = "v1alpha1";
/// Namespace of the operator and of shared objects that belong to no user namespace.
pub const SYSTEM_NAMESPACE: &str = "contiv-system";
/// Field manager of the operator's server-side applies (owns every `spec` it writes).
pub const OPERATOR_MANAGER: &str = "contiv-operator";
/// Field manager of the node daemon's server-side applies (owns `status` of its `VppConfig`).
pub const NODE_MANAGER: &str = "contiv-node";
/// Label with which the operator marks every object it writes, and by which it finds its leftovers.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Every CustomResourceDefinition of the group, in the order of their file names.
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        CNF::crd(),
        ServiceChain::crd(),
        VppAddressSet::crd(),
        VppConfig::crd(),
        VppPeerSlice::crd(),
        VppPolicy::crd(),
        VppServiceSlice::crd(),
    ]
}
