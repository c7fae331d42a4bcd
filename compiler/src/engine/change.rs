//! What an update gives: the objects that are new or different, and those that are gone.

use std::collections::{BTreeMap, BTreeSet};

use crds::{VppAddressSetSpec, VppConfigSpec, VppPeerSliceSpec, VppPolicySpec, VppServiceSliceSpec};
use xxhash_rust::xxh3::xxh3_64;

use crate::facts::{ObjectKey, Problem};
use crate::output::{ChainVerdict, CnfVerdict, Compiled, Output};

/// One difference to what was said before. `None` and `false` mean that it is gone.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A VppConfig, by node name.
    Config(String, Option<Compiled<VppConfigSpec>>),
    /// A VppPolicy.
    Policy(ObjectKey, Option<Compiled<VppPolicySpec>>),
    /// A VppAddressSet.
    Set(ObjectKey, Option<Compiled<VppAddressSetSpec>>),
    /// A VppServiceSlice.
    ServiceSlice(ObjectKey, Option<Compiled<VppServiceSliceSpec>>),
    /// A VppPeerSlice, by name.
    PeerSlice(String, Option<Compiled<VppPeerSliceSpec>>),
    /// What became of a ServiceChain.
    Chain(ObjectKey, Option<ChainVerdict>),
    /// What became of a CNF.
    Cnf(ObjectKey, Option<CnfVerdict>),
    /// What users should be told, or no longer be told.
    Problem(Problem, bool),
}

/// All differences of an update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// What is new or different.
    pub changed: Output,
    /// What is gone.
    pub removed: Removed,
}

/// Keys of what is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// VppConfigs by node name.
    pub configs: BTreeSet<String>,
    /// VppPolicies.
    pub policies: BTreeSet<ObjectKey>,
    /// VppAddressSets.
    pub sets: BTreeSet<ObjectKey>,
    /// VppServiceSlices.
    pub service_slices: BTreeSet<ObjectKey>,
    /// VppPeerSlices by name.
    pub peer_slices: BTreeSet<String>,
    /// ServiceChains.
    pub chains: BTreeSet<ObjectKey>,
    /// CNFs.
    pub cnfs: BTreeSet<ObjectKey>,
    /// What users need no longer be told.
    pub problems: BTreeSet<Problem>,
}

fn put<K: Ord, V>(changed: &mut BTreeMap<K, V>, removed: &mut BTreeSet<K>, key: K, value: Option<V>) {
    match value {
        Some(value) => {
            removed.remove(&key);
            changed.insert(key, value);
        }
        None => {
            changed.remove(&key);
            removed.insert(key);
        }
    }
}

impl Delta {
    /// Adds a change; of two that are about the same thing the later one counts.
    pub(super) fn add(&mut self, change: Change) {
        let (changed, removed) = (&mut self.changed, &mut self.removed);
        match change {
            Change::Config(key, value) => put(&mut changed.configs, &mut removed.configs, key, value),
            Change::Policy(key, value) => put(&mut changed.policies, &mut removed.policies, key, value),
            Change::Set(key, value) => put(&mut changed.sets, &mut removed.sets, key, value),
            Change::ServiceSlice(key, value) => {
                put(
                    &mut changed.service_slices,
                    &mut removed.service_slices,
                    key,
                    value,
                );
            }
            Change::PeerSlice(key, value) => {
                put(&mut changed.peer_slices, &mut removed.peer_slices, key, value);
            }
            Change::Chain(key, value) => put(&mut changed.chains, &mut removed.chains, key, value),
            Change::Cnf(key, value) => put(&mut changed.cnfs, &mut removed.cnfs, key, value),
            Change::Problem(problem, true) => {
                changed.problems.insert(problem);
            }
            Change::Problem(problem, false) => {
                removed.problems.insert(problem);
            }
        }
    }

    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Output {
    /// Takes in a change: with all changes since the first update this is what
    /// [`compile`](crate::compile) gives.
    pub fn apply(&mut self, change: Change) {
        fn set<K: Ord, V>(all: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
            match value {
                Some(value) => all.insert(key, value),
                None => all.remove(&key),
            };
        }
        match change {
            Change::Config(key, value) => set(&mut self.configs, key, value),
            Change::Policy(key, value) => set(&mut self.policies, key, value),
            Change::Set(key, value) => set(&mut self.sets, key, value),
            Change::ServiceSlice(key, value) => set(&mut self.service_slices, key, value),
            Change::PeerSlice(key, value) => set(&mut self.peer_slices, key, value),
            Change::Chain(key, value) => set(&mut self.chains, key, value),
            Change::Cnf(key, value) => set(&mut self.cnfs, key, value),
            Change::Problem(problem, true) => {
                self.problems.insert(problem);
            }
            Change::Problem(problem, false) => {
                self.problems.remove(&problem);
            }
        }
    }
}

/// What a value was when it was last given out, without the value.
pub(super) trait Print {
    fn print(&self) -> u128;
}

/// The revision is a hash of the rest of the spec, and equal revisions are equal to all readers;
/// of the owner only the UID can change while the key stays.
macro_rules! print_by_revision {
    ($($spec:ty),*) => {$(
        impl Print for Compiled<$spec> {
            fn print(&self) -> u128 {
                let owner = self.owner.as_ref().map_or("", |owner| &owner.uid);
                let revision = u64::from_str_radix(&self.spec.revision, 16);
                let revision = revision.unwrap_or_else(|_| xxh3_64(self.spec.revision.as_bytes()));
                u128::from(revision) << 64 | u128::from(xxh3_64(owner.as_bytes()))
            }
        }
    )*};
}
print_by_revision!(
    VppConfigSpec,
    VppPolicySpec,
    VppAddressSetSpec,
    VppServiceSliceSpec,
    VppPeerSliceSpec
);

/// What has been given out.
#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) configs: BTreeMap<String, u128>,
    pub(super) policies: BTreeMap<ObjectKey, u128>,
    pub(super) sets: BTreeMap<ObjectKey, u128>,
    pub(super) service_slices: BTreeMap<ObjectKey, u128>,
    pub(super) peer_slices: BTreeMap<String, u128>,
    pub(super) chains: BTreeMap<ObjectKey, ChainVerdict>,
    pub(super) cnfs: BTreeMap<ObjectKey, CnfVerdict>,
    pub(super) problems: BTreeSet<Problem>,
}

/// Gives a value out, unless it was given out before and is the same, or is gone and was never there.
pub(super) fn publish<K: Ord + Clone, C: Print>(
    prints: &mut BTreeMap<K, u128>,
    key: K,
    value: Option<C>,
    change: fn(K, Option<C>) -> Change,
    sink: &mut dyn FnMut(Change),
) {
    let differs = match &value {
        None => prints.remove(&key).is_some(),
        Some(value) => {
            let print = value.print();
            match prints.get_mut(&key) {
                Some(known) => std::mem::replace(known, print) != print,
                None => prints.insert(key.clone(), print).is_none(),
            }
        }
    };
    if differs {
        sink(change(key, value));
    }
}

/// Gives out all of a kind, and takes back what is not among it.
pub(super) fn publish_all<K: Ord + Clone, C: Print>(
    prints: &mut BTreeMap<K, u128>,
    all: BTreeMap<K, C>,
    change: fn(K, Option<C>) -> Change,
    sink: &mut dyn FnMut(Change),
) {
    let gone = prints.keys().filter(|key| !all.contains_key(key));
    for key in gone.cloned().collect::<Vec<_>>() {
        publish(prints, key, None, change, sink);
    }
    for (key, value) in all {
        publish(prints, key, Some(value), change, sink);
    }
}

fn publish_verdicts<V: PartialEq + Clone>(
    known: &mut BTreeMap<ObjectKey, V>,
    all: BTreeMap<ObjectKey, V>,
    change: fn(ObjectKey, Option<V>) -> Change,
    sink: &mut dyn FnMut(Change),
) {
    for key in known.keys().filter(|key| !all.contains_key(key)) {
        sink(change(key.clone(), None));
    }
    for (key, value) in &all {
        if known.get(key) != Some(value) {
            sink(change(key.clone(), Some(value.clone())));
        }
    }
    *known = all;
}

impl Published {
    /// Gives out all verdicts.
    pub(super) fn verdicts(
        &mut self,
        chains: BTreeMap<ObjectKey, ChainVerdict>,
        cnfs: BTreeMap<ObjectKey, CnfVerdict>,
        sink: &mut dyn FnMut(Change),
    ) {
        publish_verdicts(&mut self.cnfs, cnfs, Change::Cnf, sink);
        publish_verdicts(&mut self.chains, chains, Change::Chain, sink);
    }

    /// Says whether a problem exists.
    pub(super) fn problem(&mut self, problem: Problem, exists: bool, sink: &mut dyn FnMut(Change)) {
        let differs = match exists {
            true => self.problems.insert(problem.clone()),
            false => self.problems.remove(&problem),
        };
        if differs {
            sink(Change::Problem(problem, exists));
        }
    }

    /// Gives out everything.
    pub(super) fn everything(&mut self, output: Output, sink: &mut dyn FnMut(Change)) {
        publish_all(&mut self.sets, output.sets, Change::Set, sink);
        publish_all(&mut self.policies, output.policies, Change::Policy, sink);
        let slices = output.service_slices;
        publish_all(&mut self.service_slices, slices, Change::ServiceSlice, sink);
        publish_all(&mut self.peer_slices, output.peer_slices, Change::PeerSlice, sink);
        publish_all(&mut self.configs, output.configs, Change::Config, sink);
        self.verdicts(output.chains, output.cnfs, sink);
        let known = self.problems.difference(&output.problems);
        for problem in known.cloned().collect::<Vec<_>>() {
            self.problem(problem, false, sink);
        }
        for problem in output.problems {
            self.problem(problem, true, sink);
        }
    }
}
