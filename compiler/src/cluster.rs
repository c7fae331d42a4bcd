//! Everything the compiler knows of the cluster, and the only thing that changes between compiles.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::facts::{
    Chain, ClusterPolicy, Cnf, EndpointSlice, Namespace, Node, ObjectKey, Pod, Policy, Service,
};

/// All facts.
///
/// `upsert_*` and `remove_*` say whether anything changed, so that an event without meaning for
/// the compiler costs no compile. Each may be called in any order; a fact that refers to another
/// waits for it.
///
/// Node ids are the one thing that depends on history: a node keeps its id for its lifetime. At
/// start, tell the cluster the ids found in existing VppConfigs by
/// [`retain_node_id`](Self::retain_node_id) *before* the first `upsert_node`.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Shared with the index of the engine.
    pods: BTreeMap<ObjectKey, Arc<Pod>>,
    nodes: BTreeMap<String, Node>,
    namespaces: BTreeMap<String, Namespace>,
    policies: BTreeMap<ObjectKey, Policy>,
    cluster_policies: BTreeMap<String, ClusterPolicy>,
    services: BTreeMap<ObjectKey, Service>,
    endpoint_slices: BTreeMap<ObjectKey, EndpointSlice>,
    chains: BTreeMap<ObjectKey, Chain>,
    cnfs: BTreeMap<ObjectKey, Cnf>,
    node_ids: BTreeMap<String, u16>,
    ids_in_use: BTreeSet<u16>,
    tunnel_endpoints: BTreeMap<String, Vec<IpAddr>>,
}

fn upsert<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    match map.get_mut(&key) {
        Some(old) if *old == value => false,
        Some(old) => {
            *old = value;
            true
        }
        None => {
            map.insert(key, value);
            true
        }
    }
}

/// As [`upsert`], but gives back what was there: `None` if nothing changed.
fn replace<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Option<Option<V>> {
    if map.get(&key) == Some(&value) {
        return None;
    }
    Some(map.insert(key, value))
}

/// Entries of one namespace of a map keyed by namespace and name.
fn within<'a, V>(
    map: &'a BTreeMap<ObjectKey, V>,
    namespace: &'a str,
) -> impl Iterator<Item = &'a V> + use<'a, V> {
    map.range(ObjectKey::new(namespace, "")..)
        .take_while(move |(key, _)| key.namespace == namespace)
        .map(|(_, value)| value)
}

impl Cluster {
    /// A cluster of which nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a pod.
    pub fn upsert_pod(&mut self, pod: Pod) -> bool {
        upsert(&mut self.pods, pod.key(), Arc::new(pod))
    }

    /// Forgets a pod.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> bool {
        self.pods.remove(key).is_some()
    }

    /// Adds or replaces a node. A node without an id gets the smallest free one.
    pub fn upsert_node(&mut self, node: Node) -> bool {
        if self.node_id(&node.name).is_none() {
            let free = (1..=u16::MAX).find(|id| !self.ids_in_use.contains(id));
            if let Some(id) = free {
                self.ids_in_use.insert(id);
                self.node_ids.insert(node.name.clone(), id);
            }
        }
        upsert(&mut self.nodes, node.name.clone(), node)
    }

    /// Forgets a node; its id becomes free.
    pub fn remove_node(&mut self, name: &str) -> bool {
        if let Some(id) = self.node_ids.remove(name) {
            self.ids_in_use.remove(&id);
        }
        self.tunnel_endpoints.remove(name);
        self.nodes.remove(name).is_some()
    }

    /// Says that a node has had this id before. Returns whether it has it now: false if the node
    /// already has another, or another node has this one. The node need not be known yet: its id
    /// stays reserved until [`remove_node`](Self::remove_node).
    pub fn retain_node_id(&mut self, node: &str, id: u16) -> bool {
        match self.node_id(node) {
            Some(present) => present == id,
            None if id == 0 || !self.ids_in_use.insert(id) => false,
            None => {
                self.node_ids.insert(node.to_owned(), id);
                true
            }
        }
    }

    /// Sets the addresses of the node's VPP on the underlay, as its daemon reports them.
    pub fn set_tunnel_endpoints(&mut self, node: &str, endpoints: Vec<IpAddr>) -> bool {
        if endpoints.is_empty() {
            return self.tunnel_endpoints.remove(node).is_some();
        }
        upsert(&mut self.tunnel_endpoints, node.to_owned(), endpoints)
    }

    /// Adds or replaces a namespace.
    pub fn upsert_namespace(&mut self, namespace: Namespace) -> bool {
        upsert(&mut self.namespaces, namespace.name.clone(), namespace)
    }

    /// Forgets a namespace.
    pub fn remove_namespace(&mut self, name: &str) -> bool {
        self.namespaces.remove(name).is_some()
    }

    /// Adds or replaces a NetworkPolicy.
    pub fn upsert_policy(&mut self, policy: Policy) -> bool {
        upsert(&mut self.policies, policy.key(), policy)
    }

    /// Forgets a NetworkPolicy.
    pub fn remove_policy(&mut self, key: &ObjectKey) -> bool {
        self.policies.remove(key).is_some()
    }

    /// Adds or replaces a ClusterNetworkPolicy.
    pub fn upsert_cluster_policy(&mut self, policy: ClusterPolicy) -> bool {
        upsert(&mut self.cluster_policies, policy.name.clone(), policy)
    }

    /// Forgets a ClusterNetworkPolicy.
    pub fn remove_cluster_policy(&mut self, name: &str) -> bool {
        self.cluster_policies.remove(name).is_some()
    }

    /// Adds or replaces a Service.
    pub fn upsert_service(&mut self, service: Service) -> bool {
        upsert(&mut self.services, service.key(), service)
    }

    /// Forgets a Service.
    pub fn remove_service(&mut self, key: &ObjectKey) -> bool {
        self.services.remove(key).is_some()
    }

    /// Adds or replaces an EndpointSlice.
    pub fn upsert_endpoint_slice(&mut self, slice: EndpointSlice) -> bool {
        upsert(&mut self.endpoint_slices, slice.key(), slice)
    }

    /// Forgets an EndpointSlice.
    pub fn remove_endpoint_slice(&mut self, key: &ObjectKey) -> bool {
        self.endpoint_slices.remove(key).is_some()
    }

    /// Adds or replaces a ServiceChain.
    pub fn upsert_chain(&mut self, chain: Chain) -> bool {
        upsert(&mut self.chains, chain.key(), chain)
    }

    /// Forgets a ServiceChain.
    pub fn remove_chain(&mut self, key: &ObjectKey) -> bool {
        self.chains.remove(key).is_some()
    }

    /// Adds or replaces a CNF.
    pub fn upsert_cnf(&mut self, cnf: Cnf) -> bool {
        upsert(&mut self.cnfs, cnf.key(), cnf)
    }

    /// Forgets a CNF.
    pub fn remove_cnf(&mut self, key: &ObjectKey) -> bool {
        self.cnfs.remove(key).is_some()
    }

    /// As [`upsert_pod`](Self::upsert_pod), but gives back the pod that was there.
    pub(crate) fn replace_pod(&mut self, key: ObjectKey, pod: Pod) -> Option<Option<Arc<Pod>>> {
        replace(&mut self.pods, key, Arc::new(pod))
    }

    /// As [`remove_pod`](Self::remove_pod), but gives back the pod.
    pub(crate) fn take_pod(&mut self, key: &ObjectKey) -> Option<Arc<Pod>> {
        self.pods.remove(key)
    }

    /// As [`upsert_endpoint_slice`](Self::upsert_endpoint_slice), but gives back the slice that was there.
    pub(crate) fn replace_endpoint_slice(&mut self, slice: EndpointSlice) -> Option<Option<EndpointSlice>> {
        replace(&mut self.endpoint_slices, slice.key(), slice)
    }

    /// As [`remove_endpoint_slice`](Self::remove_endpoint_slice), but gives back the slice.
    pub(crate) fn take_endpoint_slice(&mut self, key: &ObjectKey) -> Option<EndpointSlice> {
        self.endpoint_slices.remove(key)
    }

    /// As [`upsert_namespace`](Self::upsert_namespace), but gives back the namespace that was there.
    pub(crate) fn replace_namespace(&mut self, namespace: Namespace) -> Option<Option<Namespace>> {
        replace(&mut self.namespaces, namespace.name.clone(), namespace)
    }

    /// As [`remove_namespace`](Self::remove_namespace), but gives back the namespace.
    pub(crate) fn take_namespace(&mut self, name: &str) -> Option<Namespace> {
        self.namespaces.remove(name)
    }

    /// All pods, by namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values().map(Arc::as_ref)
    }

    /// Pods of one namespace, by name.
    pub fn pods_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Pod> {
        within(&self.pods, namespace).map(Arc::as_ref)
    }

    /// One pod.
    pub fn pod(&self, key: &ObjectKey) -> Option<&Pod> {
        self.pods.get(key).map(Arc::as_ref)
    }

    /// One pod, to be kept.
    pub(crate) fn shared_pod(&self, key: &ObjectKey) -> Option<&Arc<Pod>> {
        self.pods.get(key)
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// Whether the node is known.
    pub fn has_node(&self, name: &str) -> bool {
        self.nodes.contains_key(name)
    }

    /// Id of a node.
    pub fn node_id(&self, name: &str) -> Option<u16> {
        self.node_ids.get(name).copied()
    }

    /// Underlay addresses of the node's VPP; empty until its daemon has reported them.
    pub fn tunnel_endpoints(&self, node: &str) -> &[IpAddr] {
        self.tunnel_endpoints.get(node).map_or(&[], Vec::as_slice)
    }

    /// All namespaces, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    /// One namespace.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// One policy.
    pub fn policy(&self, key: &ObjectKey) -> Option<&Policy> {
        self.policies.get(key)
    }

    /// All policies, by namespace and name.
    pub fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values()
    }

    /// Policies of one namespace, by name.
    pub fn policies_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Policy> {
        within(&self.policies, namespace)
    }

    /// All ClusterNetworkPolicies, by name.
    pub fn cluster_policies(&self) -> impl Iterator<Item = &ClusterPolicy> {
        self.cluster_policies.values()
    }

    /// One ClusterNetworkPolicy.
    pub fn cluster_policy(&self, name: &str) -> Option<&ClusterPolicy> {
        self.cluster_policies.get(name)
    }

    /// All Services, by namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    /// One Service.
    pub fn service(&self, key: &ObjectKey) -> Option<&Service> {
        self.services.get(key)
    }

    /// One EndpointSlice.
    pub fn endpoint_slice(&self, key: &ObjectKey) -> Option<&EndpointSlice> {
        self.endpoint_slices.get(key)
    }

    /// EndpointSlices of one namespace, by name.
    pub fn endpoint_slices_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a EndpointSlice> {
        within(&self.endpoint_slices, namespace)
    }

    /// All ServiceChains, by namespace and name.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.values()
    }

    /// All CNFs, by namespace and name.
    pub fn cnfs(&self) -> impl Iterator<Item = &Cnf> {
        self.cnfs.values()
    }

    /// CNFs of one namespace, by name.
    pub fn cnfs_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Cnf> {
        within(&self.cnfs, namespace)
    }

    /// One CNF.
    pub fn cnf(&self, key: &ObjectKey) -> Option<&Cnf> {
        self.cnfs.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node {
            name: name.into(),
            ..Node::default()
        }
    }

    #[test]
    fn nodes_get_the_smallest_free_id_and_keep_it() {
        let mut cluster = Cluster::new();
        for name in ["c", "a", "b"] {
            cluster.upsert_node(node(name));
        }
        assert_eq!(cluster.node_id("c"), Some(1));
        assert_eq!(cluster.node_id("a"), Some(2));
        assert_eq!(cluster.node_id("b"), Some(3));
        cluster.remove_node("a");
        cluster.upsert_node(node("b"));
        assert_eq!(cluster.node_id("b"), Some(3), "kept");
        cluster.upsert_node(node("d"));
        assert_eq!(cluster.node_id("d"), Some(2), "the freed one");
    }

    #[test]
    fn retained_ids_come_back_and_conflicts_are_told() {
        let mut cluster = Cluster::new();
        assert!(cluster.retain_node_id("a", 7));
        assert!(cluster.retain_node_id("a", 7), "again");
        assert!(!cluster.retain_node_id("b", 7), "taken");
        assert!(!cluster.retain_node_id("a", 8), "has 7");
        assert!(!cluster.retain_node_id("c", 0), "ids begin at 1");
        cluster.upsert_node(node("a"));
        cluster.upsert_node(node("b"));
        assert_eq!(cluster.node_id("a"), Some(7));
        assert_eq!(cluster.node_id("b"), Some(1));
    }

    #[test]
    fn an_equal_fact_is_no_change() {
        let mut cluster = Cluster::new();
        assert!(cluster.upsert_node(node("a")));
        assert!(!cluster.upsert_node(node("a")));
        assert!(cluster.set_tunnel_endpoints("a", vec!["192.0.2.1".parse().unwrap()]));
        assert!(!cluster.set_tunnel_endpoints("a", vec!["192.0.2.1".parse().unwrap()]));
        assert!(cluster.remove_node("a"));
        assert!(!cluster.remove_node("a"));
        assert!(cluster.tunnel_endpoints("a").is_empty());
    }
}
