//! The border: API objects become facts here, and users' mistakes become values.
//!
//! Every function is total: whatever the object holds, there is a fact for it, already on the safe
//! side (a policy accepts less, a chain is refused), and the mistakes are told in the fact.

mod chain;
mod cluster_policy;
pub mod lean;
mod node;
mod pod;
mod policy;
mod service;

pub use chain::{chain, cnf};
pub use cluster_policy::{ClusterNetworkPolicy, cluster_policy};
pub use lean::{NetworkPolicy, Pod};
pub use node::{namespace, node};
pub use pod::{INTERFACE_ANNOTATION, pod};
pub use policy::policy;
pub use service::{endpoint_slice, service};

use std::net::IpAddr;

use crds::net::Protocol;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::facts::Name;

/// Kubernetes' protocol names; absent means TCP. `None` for any other name.
fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

/// A port number, if it is one.
fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}

/// The first address of each family, IPv4 first.
fn first_per_family(addresses: impl Iterator<Item = IpAddr> + Clone) -> Vec<IpAddr> {
    let v4 = addresses.clone().find(IpAddr::is_ipv4);
    let v6 = addresses.clone().find(IpAddr::is_ipv6);
    v4.into_iter().chain(v6).collect()
}

fn text(field: Option<&String>) -> String {
    field.cloned().unwrap_or_default()
}

/// As [`identity`], to be kept.
fn names(meta: &ObjectMeta) -> (Name, Name, Name) {
    let name = |field: &Option<String>| Name::from(field.as_deref().unwrap_or_default());
    (name(&meta.namespace), name(&meta.name), name(&meta.uid))
}

/// Namespace, name and UID.
fn identity(meta: &ObjectMeta) -> (String, String, String) {
    (
        text(meta.namespace.as_ref()),
        text(meta.name.as_ref()),
        text(meta.uid.as_ref()),
    )
}
