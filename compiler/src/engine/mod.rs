//! The incremental compiler: after an event only what depends on it is computed again.
//!
//! ```text
//! events ─► facts, and what is touched
//!             │ pod        ─► its groups  ─► their sets, policies with named ports; its node
//!             │ namespace  ─► its pods, if a namespace selector sees a difference
//!             │ policy     ─► its rules; the nodes of pods that it begins or ceases to select
//!             │ service, endpoints ─► the Service
//!             │ node       ─► all identities and peers, sets of nodes' addresses
//!             └ chain, CNF, pods of theirs ─► all chains and CNFs
//!           ─► differences to what was said before
//! ```
//!
//! What was given out is remembered by hash only: a cluster's objects may be larger than all facts.
//! Equal facts give equal objects, byte for byte those of [`compile`](crate::compile).

mod author;
mod change;
mod configs;
mod groups;
mod index;
mod named_sets;
mod pods;
mod problems;
mod side_by_side;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::facts::{
    Chain, ChainEnd, ClusterPolicy, Cnf, EndpointSlice, Namespace, Node, ObjectKey, Pod, PodEnd, Policy,
    Service,
};
use crate::labels::Labels;
use crate::output::{Settings, compile_named};
use crate::sets::{self, Naming};

use change::Published;
pub use change::{Change, Delta, Removed};
use index::Index;

/// What a pod was before the first event since the last update.
#[derive(Debug)]
enum Before {
    Absent,
    /// The pod is as it was; what selects it may not be.
    Same,
    Was(Arc<Pod>),
}

/// What events have touched since the last update.
#[derive(Debug, Default)]
struct Dirty {
    pods: BTreeMap<ObjectKey, Before>,
    /// With the labels that they had.
    namespaces: BTreeMap<String, Option<Labels>>,
    /// A ClusterNetworkPolicy is in no namespace.
    policies: BTreeSet<ObjectKey>,
    services: BTreeSet<ObjectKey>,
    topology: bool,
    intents: bool,
}

impl Dirty {
    /// As if every fact had just arrived.
    fn everything(cluster: &Cluster) -> Self {
        Self {
            pods: cluster.pods().map(|pod| (pod.key(), Before::Absent)).collect(),
            namespaces: BTreeMap::new(),
            policies: {
                let wide = cluster.cluster_policies().map(|policy| wide_key(&policy.name));
                cluster.policies().map(Policy::key).chain(wide).collect()
            },
            services: cluster.services().map(Service::key).collect(),
            topology: true,
            intents: true,
        }
    }
}

/// The key by which a ClusterNetworkPolicy goes here.
fn wide_key(name: &str) -> ObjectKey {
    ObjectKey::new("", name)
}

/// Names of the EndpointSlices of each Service.
type SlicesOf = BTreeMap<ObjectKey, BTreeSet<ObjectKey>>;

/// Facts, and everything that follows from them, kept up to date.
///
/// Events change the facts; [`update`](Self::update) says what follows. As many events as there are
/// may come between two updates, in any order, as with [`Cluster`].
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    naming: Naming,
    cluster: Cluster,
    slices_of: SlicesOf,
    dirty: Dirty,
    index: Index,
    published: Published,
    /// Names of two sets collided: while they do, everything is computed anew each time.
    collided: bool,
}

impl Engine {
    /// An engine that knows of nothing.
    pub fn new(settings: Settings) -> Self {
        Self::named(settings, sets::name)
    }

    fn named(settings: Settings, naming: Naming) -> Self {
        Self {
            settings,
            naming,
            cluster: Cluster::new(),
            slices_of: SlicesOf::new(),
            dirty: Dirty::default(),
            index: Index::default(),
            published: Published::default(),
            collided: false,
        }
    }

    /// The facts.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What is different since the last update. The first one gives everything.
    pub fn update(&mut self) -> Delta {
        let mut delta = Delta::default();
        self.update_into(&mut |change| delta.add(change));
        delta
    }

    /// As [`update`](Self::update), but gives the changes one by one as they are computed, so that
    /// never all of them need be in memory. If there are two about the same thing the later counts.
    pub fn update_into(&mut self, sink: &mut dyn FnMut(Change)) {
        let dirty = std::mem::take(&mut self.dirty);
        if !self.collided && self.run(dirty, sink) {
            return;
        }
        let (output, collided) = compile_named(&self.cluster, &self.settings, self.naming);
        self.published.everything(output, sink);
        self.collided = collided;
        self.index = Index::default();
        if !collided {
            // What this gives out is what has just been given out.
            self.published = Published::default();
            let everything = Dirty::everything(&self.cluster);
            self.collided = !self.run(everything, &mut |_| ());
        }
    }

    /// Returns false if names of sets collide; then the index can't be relied upon.
    fn run(&mut self, dirty: Dirty, sink: &mut dyn FnMut(Change)) -> bool {
        let facts = index::Facts {
            cluster: &self.cluster,
            settings: &self.settings,
            naming: self.naming,
            slices_of: &self.slices_of,
        };
        let result = self.index.update(&facts, dirty, &mut self.published, sink);
        result.is_ok()
    }

    fn pod_changed(&mut self, key: ObjectKey, before: Option<Arc<Pod>>) {
        if !self.dirty.intents && self.has_intents() {
            let now = self.cluster.pod(&key);
            let mut pods = before.as_deref().into_iter().chain(now);
            self.dirty.intents = pods.any(|pod| self.is_of_intent(pod));
        }
        self.dirty.pods.entry(key).or_insert_with(|| match before {
            None => Before::Absent,
            Some(pod) => Before::Was(pod),
        });
    }

    fn has_intents(&self) -> bool {
        self.cluster.chains().next().is_some() || self.cluster.cnfs().next().is_some()
    }

    /// Whether a chain or a CNF may speak of the pod.
    fn is_of_intent(&self, pod: &Pod) -> bool {
        let mut cnfs = self.cluster.cnfs_in(&pod.namespace);
        if cnfs.any(|cnf| cnf.pods.as_ref().is_some_and(|pods| pods.matches(&pod.labels))) {
            return true;
        }
        let namespace = self.cluster.namespace(&pod.namespace);
        let is_of = |chain: &Chain, end: &PodEnd| {
            let there = match &end.namespaces {
                None => chain.namespace == pod.namespace,
                Some(selector) => namespace.is_some_and(|ns| selector.matches(&ns.labels)),
            };
            there && end.pods.matches(&pod.labels)
        };
        self.cluster.chains().any(|chain| {
            chain.classifier.as_ref().is_some_and(|classifier| {
                is_of(chain, &classifier.from)
                    || matches!(&classifier.to, ChainEnd::Pods(end) if is_of(chain, end))
            })
        })
    }

    /// Adds or replaces a pod. Like all of these, says whether anything changed.
    pub fn upsert_pod(&mut self, pod: Pod) -> bool {
        let key = pod.key();
        let Some(before) = self.cluster.replace_pod(key.clone(), pod) else {
            return false;
        };
        self.pod_changed(key, before);
        true
    }

    /// Forgets a pod.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> bool {
        let Some(pod) = self.cluster.take_pod(key) else {
            return false;
        };
        self.pod_changed(key.clone(), Some(pod));
        true
    }

    /// Chains look at which nodes there are.
    fn nodes_changed(&mut self, changed: bool) -> bool {
        self.dirty.topology |= changed;
        self.dirty.intents |= changed && self.cluster.chains().next().is_some();
        changed
    }

    /// Adds or replaces a node; for its id see [`Cluster::upsert_node`].
    pub fn upsert_node(&mut self, node: Node) -> bool {
        let name = node.name.clone();
        let id = self.cluster.node_id(&name);
        let changed = self.cluster.upsert_node(node);
        // Also a node that is as it was may have got the id that another has freed.
        self.dirty.topology |= self.cluster.node_id(&name) != id;
        self.nodes_changed(changed)
    }

    /// Forgets a node; its id becomes free.
    pub fn remove_node(&mut self, name: &str) -> bool {
        let changed = self.cluster.remove_node(name);
        self.nodes_changed(changed)
    }

    /// Says that a node has had this id before: see [`Cluster::retain_node_id`].
    pub fn retain_node_id(&mut self, node: &str, id: u16) -> bool {
        let has = self.cluster.retain_node_id(node, id);
        // A node that had none left to have gets one by this.
        self.dirty.topology = true;
        has
    }

    /// Sets the addresses of the node's VPP on the underlay, as its daemon reports them.
    pub fn set_tunnel_endpoints(&mut self, node: &str, endpoints: Vec<IpAddr>) -> bool {
        let changed = self.cluster.set_tunnel_endpoints(node, endpoints);
        self.dirty.topology |= changed;
        changed
    }

    fn namespace_changed(&mut self, name: String, before: Option<Namespace>) {
        self.dirty.intents |= self.cluster.chains().next().is_some();
        let labels = before.map(|namespace| namespace.labels);
        self.dirty.namespaces.entry(name).or_insert(labels);
    }

    /// Adds or replaces a namespace.
    pub fn upsert_namespace(&mut self, namespace: Namespace) -> bool {
        let name = namespace.name.clone();
        let Some(before) = self.cluster.replace_namespace(namespace) else {
            return false;
        };
        self.namespace_changed(name, before);
        true
    }

    /// Forgets a namespace.
    pub fn remove_namespace(&mut self, name: &str) -> bool {
        let Some(namespace) = self.cluster.take_namespace(name) else {
            return false;
        };
        self.namespace_changed(name.to_owned(), Some(namespace));
        true
    }

    /// Adds or replaces a NetworkPolicy.
    pub fn upsert_policy(&mut self, policy: Policy) -> bool {
        let key = policy.key();
        let changed = self.cluster.upsert_policy(policy);
        if changed {
            self.dirty.policies.insert(key);
        }
        changed
    }

    /// Forgets a NetworkPolicy.
    pub fn remove_policy(&mut self, key: &ObjectKey) -> bool {
        let changed = self.cluster.remove_policy(key);
        if changed {
            self.dirty.policies.insert(key.clone());
        }
        changed
    }

    /// Adds or replaces a ClusterNetworkPolicy.
    pub fn upsert_cluster_policy(&mut self, policy: ClusterPolicy) -> bool {
        let key = wide_key(&policy.name);
        let changed = self.cluster.upsert_cluster_policy(policy);
        if changed {
            self.dirty.policies.insert(key);
        }
        changed
    }

    /// Forgets a ClusterNetworkPolicy.
    pub fn remove_cluster_policy(&mut self, name: &str) -> bool {
        let changed = self.cluster.remove_cluster_policy(name);
        if changed {
            self.dirty.policies.insert(wide_key(name));
        }
        changed
    }

    /// Adds or replaces a Service.
    pub fn upsert_service(&mut self, service: Service) -> bool {
        let key = service.key();
        let changed = self.cluster.upsert_service(service);
        if changed {
            self.dirty.services.insert(key);
        }
        changed
    }

    /// Forgets a Service.
    pub fn remove_service(&mut self, key: &ObjectKey) -> bool {
        let changed = self.cluster.remove_service(key);
        if changed {
            self.dirty.services.insert(key.clone());
        }
        changed
    }

    fn endpoints_changed(&mut self, key: ObjectKey, before: Option<EndpointSlice>) {
        let service = |slice: &EndpointSlice| {
            let name = slice.service.as_ref()?;
            Some(ObjectKey::new(&slice.namespace, name))
        };
        if let Some(service) = before.as_ref().and_then(service) {
            if let Some(slices) = self.slices_of.get_mut(&service) {
                slices.remove(&key);
                if slices.is_empty() {
                    self.slices_of.remove(&service);
                }
            }
            self.dirty.services.insert(service);
        }
        if let Some(service) = self.cluster.endpoint_slice(&key).and_then(service) {
            self.slices_of.entry(service.clone()).or_default().insert(key);
            self.dirty.services.insert(service);
        }
    }

    /// Adds or replaces an EndpointSlice.
    pub fn upsert_endpoint_slice(&mut self, slice: EndpointSlice) -> bool {
        let key = slice.key();
        let Some(before) = self.cluster.replace_endpoint_slice(slice) else {
            return false;
        };
        self.endpoints_changed(key, before);
        true
    }

    /// Forgets an EndpointSlice.
    pub fn remove_endpoint_slice(&mut self, key: &ObjectKey) -> bool {
        let Some(slice) = self.cluster.take_endpoint_slice(key) else {
            return false;
        };
        self.endpoints_changed(key.clone(), Some(slice));
        true
    }

    fn intents_changed(&mut self, changed: bool) -> bool {
        self.dirty.intents |= changed;
        changed
    }

    /// Adds or replaces a ServiceChain.
    pub fn upsert_chain(&mut self, chain: Chain) -> bool {
        let changed = self.cluster.upsert_chain(chain);
        self.intents_changed(changed)
    }

    /// Forgets a ServiceChain.
    pub fn remove_chain(&mut self, key: &ObjectKey) -> bool {
        let changed = self.cluster.remove_chain(key);
        self.intents_changed(changed)
    }

    /// Adds or replaces a CNF.
    pub fn upsert_cnf(&mut self, cnf: Cnf) -> bool {
        let changed = self.cluster.upsert_cnf(cnf);
        self.intents_changed(changed)
    }

    /// Forgets a CNF.
    pub fn remove_cnf(&mut self, key: &ObjectKey) -> bool {
        let changed = self.cluster.remove_cnf(key);
        self.intents_changed(changed)
    }
}

#[cfg(test)]
mod tests;
