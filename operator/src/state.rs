//! What the operator knows: the facts, what is stored of its own objects, and what node daemons
//! and earlier statuses say. Changed by watch events only; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::BitOrAssign;

use compiler::facts::{
    Chain, ClusterPolicy, Cnf, EndpointSlice, Namespace, Node, ObjectKey, Pod, Policy, Service,
};
use compiler::{Engine, Settings};
use crds::vpp_config::ChainReport;
use crds::{CnfStatus, ServiceChainStatus};

use crate::objects::{OutputKey, OutputKind, Stored};

/// A watched kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Pods of all nodes.
    Pods,
    /// Nodes.
    Nodes,
    /// Namespaces.
    Namespaces,
    /// NetworkPolicies.
    Policies,
    /// ClusterNetworkPolicies.
    ClusterPolicies,
    /// Services.
    Services,
    /// EndpointSlices.
    EndpointSlices,
    /// ServiceChains.
    Chains,
    /// CNFs.
    Cnfs,
    /// Our own objects of a kind.
    Output(OutputKind),
}

impl Source {
    /// All of them.
    pub fn all() -> BTreeSet<Self> {
        let inputs = [
            Self::Pods,
            Self::Nodes,
            Self::Namespaces,
            Self::Policies,
            Self::ClusterPolicies,
            Self::Services,
            Self::EndpointSlices,
            Self::Chains,
            Self::Cnfs,
        ];
        inputs
            .into_iter()
            .chain(OutputKind::ALL.map(Self::Output))
            .collect()
    }

    /// Kind of the watched objects.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pods => "Pod",
            Self::Nodes => "Node",
            Self::Namespaces => "Namespace",
            Self::Policies => "NetworkPolicy",
            Self::ClusterPolicies => "ClusterNetworkPolicy",
            Self::Services => "Service",
            Self::EndpointSlices => "EndpointSlice",
            Self::Chains => "ServiceChain",
            Self::Cnfs => "CNF",
            Self::Output(kind) => kind.name(),
        }
    }
}

/// A change of one kind's objects, already reduced to what we need.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T> {
    /// The complete list: what it does not hold is gone.
    Replace {
        /// Every object that could be read.
        objects: Vec<(ObjectKey, T)>,
        /// Objects that exist and could not be read: what was known of them stays, because
        /// forgetting a user's policy or chain would open what it closes.
        unreadable: Vec<ObjectKey>,
    },
    /// One object is there, or changed.
    Apply(ObjectKey, T),
    /// One object is gone.
    Remove(ObjectKey),
}

/// A user's intent and the status it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent<F, S> {
    /// What the compiler is to know.
    pub fact: F,
    /// Its status as stored.
    pub status: StoredStatus<S>,
}

/// The status of a user's intent as stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredStatus<S> {
    /// UID of the object: a status is never written to another one of the same name.
    pub uid: String,
    /// `metadata.resourceVersion` as a number.
    pub version: Option<u64>,
    /// The status.
    pub status: S,
}

/// What a node's daemon says in its VppConfig's status, and the id in its spec.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Node id in the spec; 0 if unreadable.
    pub id: u16,
    /// Generation whose spec the daemon has finished trying to apply.
    pub observed_generation: Option<i64>,
    /// Underlay addresses of the node's VPP.
    pub tunnel_endpoints: Vec<IpAddr>,
    /// Chains of which the node has a part.
    pub chains: Vec<ChainReport>,
}

/// One message to the owner of the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Pods.
    Pods(Change<Pod>),
    /// Nodes.
    Nodes(Change<Node>),
    /// Namespaces.
    Namespaces(Change<Namespace>),
    /// NetworkPolicies.
    Policies(Change<Policy>),
    /// ClusterNetworkPolicies.
    ClusterPolicies(Change<ClusterPolicy>),
    /// Services.
    Services(Change<Service>),
    /// EndpointSlices.
    EndpointSlices(Change<EndpointSlice>),
    /// ServiceChains.
    Chains(Change<Intent<Chain, ServiceChainStatus>>),
    /// CNFs.
    Cnfs(Change<Intent<Cnf, CnfStatus>>),
    /// Our own objects; a report for VppConfigs.
    Outputs(OutputKind, Change<(Stored, NodeReport)>),
}

/// What an input made necessary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Facts changed: compile.
    pub facts: bool,
    /// Our own objects changed under us: compare.
    pub objects: bool,
    /// Reports or statuses changed: look at the statuses.
    pub reports: bool,
}

impl Dirty {
    /// Whether anything is to be done.
    pub fn any(self) -> bool {
        self.facts || self.objects || self.reports
    }
}

impl BitOrAssign for Dirty {
    fn bitor_assign(&mut self, other: Self) {
        self.facts |= other.facts;
        self.objects |= other.objects;
        self.reports |= other.reports;
    }
}

/// A kind of which the compiler keeps facts.
trait Fact: Sized {
    fn upsert(self, engine: &mut Engine) -> bool;
    fn remove(engine: &mut Engine, key: &ObjectKey) -> bool;
}

macro_rules! facts {
    ($($fact:ty: $upsert:ident, $remove:ident($($part:ident)?);)*) => {$(
        impl Fact for $fact {
            fn upsert(self, engine: &mut Engine) -> bool {
                engine.$upsert(self)
            }
            fn remove(engine: &mut Engine, key: &ObjectKey) -> bool {
                engine.$remove(&key$(.$part)?)
            }
        }
    )*};
}

facts! {
    Pod: upsert_pod, remove_pod();
    Node: upsert_node, remove_node(name);
    Namespace: upsert_namespace, remove_namespace(name);
    Policy: upsert_policy, remove_policy();
    ClusterPolicy: upsert_cluster_policy, remove_cluster_policy(name);
    Service: upsert_service, remove_service();
    EndpointSlice: upsert_endpoint_slice, remove_endpoint_slice();
    Chain: upsert_chain, remove_chain();
    Cnf: upsert_cnf, remove_cnf();
}

/// Everything the operator knows.
#[derive(Debug)]
pub struct State {
    /// The facts, and what follows from them.
    pub engine: Engine,
    /// What the API server holds of our own kinds.
    pub stored: BTreeMap<OutputKey, Stored>,
    /// Those of our own objects that changed under us since the last pass.
    pub foreign: BTreeSet<OutputKey>,
    /// What daemons say, by node.
    pub reports: BTreeMap<String, NodeReport>,
    /// Statuses of ServiceChains.
    pub chains: BTreeMap<ObjectKey, StoredStatus<ServiceChainStatus>>,
    /// Statuses of CNFs.
    pub cnfs: BTreeMap<ObjectKey, StoredStatus<CnfStatus>>,
    /// Keys of every kind, so that a complete list tells what is gone.
    known: BTreeMap<Source, BTreeSet<ObjectKey>>,
}

impl State {
    /// Nothing is known yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            engine: Engine::new(settings),
            stored: BTreeMap::new(),
            foreign: BTreeSet::new(),
            reports: BTreeMap::new(),
            chains: BTreeMap::new(),
            cnfs: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Kinds whose complete list has not been seen yet. Acting before would take what is merely
    /// not known yet for deleted.
    pub fn missing(&self) -> Vec<&'static str> {
        Source::all()
            .into_iter()
            .filter(|source| !self.known.contains_key(source))
            .map(Source::name)
            .collect()
    }

    /// Objects known, by kind.
    pub fn sizes(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.known
            .iter()
            .map(|(source, keys)| (source.name(), keys.len()))
    }

    /// Takes in one change.
    pub fn apply(&mut self, input: Input) -> Dirty {
        match input {
            Input::Pods(change) => self.fact(Source::Pods, change),
            Input::Nodes(change) => self.fact(Source::Nodes, change),
            Input::Namespaces(change) => self.fact(Source::Namespaces, change),
            Input::Policies(change) => self.fact(Source::Policies, change),
            Input::ClusterPolicies(change) => self.fact(Source::ClusterPolicies, change),
            Input::Services(change) => self.fact(Source::Services, change),
            Input::EndpointSlices(change) => self.fact(Source::EndpointSlices, change),
            Input::Chains(change) => self.change(Source::Chains, change, |state, key, intent| match intent {
                Some(intent) => Dirty {
                    facts: intent.fact.upsert(&mut state.engine),
                    reports: keep_status(&mut state.chains, key, intent.status),
                    objects: false,
                },
                None => Dirty {
                    facts: Chain::remove(&mut state.engine, &key),
                    reports: state.chains.remove(&key).is_some(),
                    objects: false,
                },
            }),
            Input::Cnfs(change) => self.change(Source::Cnfs, change, |state, key, intent| match intent {
                Some(intent) => Dirty {
                    facts: intent.fact.upsert(&mut state.engine),
                    reports: keep_status(&mut state.cnfs, key, intent.status),
                    objects: false,
                },
                None => Dirty {
                    facts: Cnf::remove(&mut state.engine, &key),
                    reports: state.cnfs.remove(&key).is_some(),
                    objects: false,
                },
            }),
            Input::Outputs(kind, change) => {
                self.change(Source::Output(kind), change, |state, object, seen| {
                    state.output(OutputKey { kind, object }, seen)
                })
            }
        }
    }

    fn fact<F: Fact>(&mut self, source: Source, change: Change<F>) -> Dirty {
        self.change(source, change, |state, key, fact| Dirty {
            facts: match fact {
                Some(fact) => fact.upsert(&mut state.engine),
                None => F::remove(&mut state.engine, &key),
            },
            ..Dirty::default()
        })
    }

    /// Turns a change into single upserts (`Some`) and removals (`None`).
    fn change<T>(
        &mut self,
        source: Source,
        change: Change<T>,
        mut each: impl FnMut(&mut Self, ObjectKey, Option<T>) -> Dirty,
    ) -> Dirty {
        let mut dirty = Dirty::default();
        match change {
            Change::Replace { objects, unreadable } => {
                let mut present: BTreeSet<ObjectKey> = objects.iter().map(|(key, _)| key.clone()).collect();
                present.extend(unreadable);
                let first = !self.known.contains_key(&source);
                let before = self.known.insert(source, present.clone());
                for gone in before.iter().flatten().filter(|key| !present.contains(key)) {
                    dirty |= each(self, gone.clone(), None);
                }
                for (key, object) in objects {
                    dirty |= each(self, key, Some(object));
                }
                // The last list to come in makes the first compile possible, even if it is empty.
                dirty.facts |= first;
            }
            Change::Apply(key, object) => {
                // An event before the first list does not make the kind complete.
                if let Some(known) = self.known.get_mut(&source) {
                    known.insert(key.clone());
                }
                dirty |= each(self, key, Some(object));
            }
            Change::Remove(key) => {
                if let Some(known) = self.known.get_mut(&source) {
                    known.remove(&key);
                }
                dirty |= each(self, key, None);
            }
        }
        dirty
    }

    fn output(&mut self, key: OutputKey, seen: Option<(Stored, NodeReport)>) -> Dirty {
        let mut dirty = Dirty::default();
        let report = match seen {
            Some((stored, report)) => {
                let held = self.stored.get(&key);
                if held.is_some_and(|held| is_older(stored.version, held.version)) {
                    // An echo of before our last write: its spec is history.
                    return dirty;
                }
                let like = Stored {
                    version: held.and_then(|held| held.version),
                    ..stored.clone()
                };
                dirty.objects = held != Some(&like);
                self.stored.insert(key.clone(), stored);
                Some(report)
            }
            None => {
                dirty.objects = self.stored.remove(&key).is_some();
                None
            }
        };
        if dirty.objects {
            self.foreign.insert(key.clone());
        }
        if key.kind == OutputKind::Config {
            let node = key.object.name.to_string();
            let endpoints = report
                .as_ref()
                .map(|report| report.tunnel_endpoints.clone())
                .unwrap_or_default();
            dirty.facts = self.engine.set_tunnel_endpoints(&node, endpoints);
            dirty.reports = match report {
                Some(report) => self.reports.insert(node, report.clone()).as_ref() != Some(&report),
                None => self.reports.remove(&node).is_some(),
            };
        }
        dirty
    }

    /// Takes in that we wrote an object, from the API server's answer.
    pub fn wrote(&mut self, key: OutputKey, stored: Stored) {
        if let Some(known) = self.known.get_mut(&Source::Output(key.kind)) {
            known.insert(key.object.clone());
        }
        self.stored.insert(key, stored);
    }

    /// Takes in that we deleted an object.
    pub fn deleted(&mut self, key: &OutputKey) {
        self.stored.remove(key);
    }

    /// Gives every node the id in its VppConfig; nodes without one, or with one that another node
    /// has too, get a free one.
    ///
    /// To be called before the first compile as leader: until then ids were given by another
    /// operator, or by a guess of ours.
    pub fn adopt_node_ids(&mut self) {
        let nodes: Vec<Node> = self.engine.cluster().nodes().cloned().collect();
        for node in &nodes {
            self.engine.remove_node(&node.name);
        }
        for node in &nodes {
            if let Some(report) = self.reports.get(&node.name) {
                self.engine.retain_node_id(&node.name, report.id);
            }
        }
        for node in nodes {
            let name = node.name.clone();
            self.engine.upsert_node(node);
            if let Some(report) = self.reports.get(&name) {
                self.engine
                    .set_tunnel_endpoints(&name, report.tunnel_endpoints.clone());
            }
        }
    }
}

/// Whether the first version is before the second; unknown ones are not.
pub fn is_older(seen: Option<u64>, held: Option<u64>) -> bool {
    matches!((seen, held), (Some(seen), Some(held)) if seen < held)
}

fn keep_status<S: PartialEq>(
    held: &mut BTreeMap<ObjectKey, StoredStatus<S>>,
    key: ObjectKey,
    seen: StoredStatus<S>,
) -> bool {
    let before = held.get(&key);
    if before.is_some_and(|before| is_older(seen.version, before.version)) {
        return false;
    }
    let changed = before.is_none_or(|before| before.status != seen.status || before.uid != seen.uid);
    held.insert(key, seen);
    changed
}

#[cfg(test)]
mod tests;
