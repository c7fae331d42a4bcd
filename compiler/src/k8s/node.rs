//! Nodes and namespaces.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crds::net::Cidr;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{first_per_family, text};
use crate::facts::{Kind, Namespace, Node, Problem};
use crate::labels::Labels;

/// Label that Kubernetes sets on every namespace, with its name.
const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// What the compiler needs to know of a Node.
pub fn node(node: &core::Node) -> Node {
    let name = text(node.metadata.name.as_ref());
    let uid = text(node.metadata.uid.as_ref());
    let mut problems = Vec::new();

    let spec = node.spec.as_ref();
    let listed = spec.iter().flat_map(|s| s.pod_cidrs.iter().flatten());
    let mut written: Vec<&String> = listed.collect();
    if written.is_empty() {
        written.extend(spec.and_then(|s| s.pod_cidr.as_ref()));
    }
    let mut cidrs: Vec<Cidr> = Vec::new();
    for text in written {
        match text.parse::<Cidr>() {
            Ok(cidr) if cidrs.iter().all(|c| c.is_ipv6() != cidr.is_ipv6()) => cidrs.push(cidr),
            Ok(_) => {}
            Err(error) => problems.push(Problem {
                object: Kind::NODE.of_cluster(&name, &uid),
                reason: "InvalidPodCIDR",
                message: format!("spec.podCIDRs: {error}"),
            }),
        }
    }
    cidrs.sort();

    let status = node.status.as_ref();
    let addresses = status.iter().flat_map(|s| s.addresses.iter().flatten());
    let internal = addresses.clone().filter(|a| a.type_ == "InternalIP");
    // Names (Hostname, InternalDNS) parse to nothing.
    let all = addresses.filter_map(|a| a.address.parse().ok());
    let all: BTreeSet<IpAddr> = all.collect();
    let labels: Labels = node.metadata.labels.iter().flatten().collect();
    Node {
        addresses: first_per_family(internal.filter_map(|a| a.address.parse().ok())),
        all_addresses: all.into_iter().collect(),
        pod_cidrs: cidrs,
        zone: labels.get(ZONE_LABEL).map(ToString::to_string),
        labels,
        problems,
        name,
        uid,
    }
}

/// What the compiler needs to know of a Namespace: its metadata, so that a metadata watch will do.
pub fn namespace(meta: &ObjectMeta) -> Namespace {
    let name = text(meta.name.as_ref());
    let mut labels: Labels = meta.labels.iter().flatten().collect();
    // The API server sets it; manifests read from files lack it.
    if labels.get(NAMESPACE_NAME_LABEL).is_none() {
        labels = labels.with(NAMESPACE_NAME_LABEL, name.as_str());
    }
    Namespace { name, labels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Node {
        node(&serde_norway::from_str::<core::Node>(yaml).unwrap())
    }

    #[test]
    fn one_address_and_one_prefix_per_family() {
        let node = read(
            "
metadata: {name: n1, uid: u1, labels: {topology.kubernetes.io/zone: z1}}
spec: {podCIDR: 10.1.0.0/24, podCIDRs: ['fd00:1::/64', 10.1.0.0/24, 10.2.0.0/24]}
status:
  addresses:
  - {type: Hostname, address: n1}
  - {type: InternalIP, address: 'fd00::1'}
  - {type: ExternalIP, address: 203.0.113.1}
  - {type: InternalIP, address: 192.0.2.1}
  - {type: InternalIP, address: 192.0.2.2}
",
        );
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1", "fd00::1"]);
        let all: Vec<String> = node.all_addresses.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["192.0.2.1", "192.0.2.2", "203.0.113.1", "fd00::1"]);
        let cidrs: Vec<String> = node.pod_cidrs.iter().map(ToString::to_string).collect();
        assert_eq!(cidrs, ["10.1.0.0/24", "fd00:1::/64"]);
        assert_eq!(node.zone.as_deref(), Some("z1"));
        assert!(node.problems.is_empty());
    }

    #[test]
    fn a_prefix_that_is_none_is_told() {
        let node = read("metadata: {name: n1}\nspec: {podCIDRs: [10.1.0.0/33]}");
        assert!(node.pod_cidrs.is_empty());
        assert_eq!(node.problems[0].reason, "InvalidPodCIDR");
    }

    #[test]
    fn a_namespace_has_its_name_as_a_label() {
        let meta = ObjectMeta {
            name: Some("shop".into()),
            ..ObjectMeta::default()
        };
        assert_eq!(namespace(&meta).labels.get(NAMESPACE_NAME_LABEL).unwrap(), "shop");
    }
}
