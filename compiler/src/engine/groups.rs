//! Groups: the pods that a selector selects, kept up to date, shared by all who select the same.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasher;

use crate::cluster::Cluster;
use crate::facts::{Name, NamedPort, ObjectKey, Pod};
use crate::labels::Labels;
use crate::policy::{Rank, Speaks};
use crate::selector::Selector;

/// A group's place in the index.
pub type GroupId = u32;
/// A pod's place in the index.
pub type Slot = u32;
/// A set's place in the index.
pub type SetId = u32;

/// In which namespaces a group's pods are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// In one.
    Namespace(Name),
    /// In those with these labels.
    Namespaces(Selector),
}

impl Scope {
    /// The scope of an end as seen from a namespace.
    pub fn new(own: &Name, namespaces: Option<&Selector>) -> Self {
        match namespaces {
            None => Self::Namespace(own.clone()),
            Some(selector) => Self::Namespaces(selector.clone()),
        }
    }

    /// The namespace, if it is one.
    fn namespace(&self) -> Option<&str> {
        match self {
            Self::Namespace(name) => Some(name),
            Self::Namespaces(_) => None,
        }
    }
}

/// Room for one more: most of these lists have one element, for which a vector would take room for four.
pub fn grow<T>(list: &mut Vec<T>) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
}

/// The pods that a selector selects, and who wants to know.
#[derive(Debug)]
pub struct Group {
    scope: Scope,
    pods: Selector,
    /// Sorted.
    pub members: Vec<Slot>,
    /// How many members have each named port.
    ports: BTreeMap<NamedPort, u32>,
    /// The policies that apply to the members, sorted.
    pub subjects: Vec<(Rank, Speaks)>,
    /// Sets that hold the members, or do without them; sorted.
    pub sets: Vec<SetId>,
    /// Policies with named ports of the members.
    pub named: BTreeSet<ObjectKey>,
}

impl Group {
    /// Adds a pod. Returns whether a policy with named ports sees a difference.
    pub fn join(&mut self, slot: Slot, pod: &Pod) -> bool {
        if let Err(place) = self.members.binary_search(&slot) {
            grow(&mut self.members);
            self.members.insert(place, slot);
        }
        let mut news = self.members.len() == 1;
        for port in &pod.ports {
            let count = self.ports.entry(port.clone()).or_default();
            *count += 1;
            news |= *count == 1;
        }
        news
    }

    /// Takes away a pod that looked so when it joined. Returns the same.
    pub fn leave(&mut self, slot: Slot, pod: &Pod) -> bool {
        if let Ok(place) = self.members.binary_search(&slot) {
            self.members.remove(place);
        }
        let mut news = self.members.is_empty();
        for port in &pod.ports {
            if let Some(count) = self.ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.ports.remove(port);
                    news = true;
                }
            }
        }
        news
    }

    /// Adds a policy that applies to the members.
    pub fn add_subject(&mut self, rank: Rank, speaks: Speaks) {
        match self.subjects.binary_search_by(|(has, _)| has.cmp(&rank)) {
            Ok(at) => self.subjects[at].1 = speaks,
            Err(at) => {
                grow(&mut self.subjects);
                self.subjects.insert(at, (rank, speaks));
            }
        }
    }

    /// Takes a policy away.
    pub fn remove_subject(&mut self, rank: &Rank) {
        if let Ok(at) = self.subjects.binary_search_by(|(has, _)| has.cmp(rank)) {
            self.subjects.remove(at);
        }
    }

    /// Adds a set of the members.
    pub fn add_set(&mut self, id: SetId) {
        if let Err(at) = self.sets.binary_search(&id) {
            grow(&mut self.sets);
            self.sets.insert(at, id);
        }
    }

    /// Takes a set away.
    pub fn remove_set(&mut self, id: SetId) {
        if let Ok(at) = self.sets.binary_search(&id) {
            self.sets.remove(at);
        }
    }

    fn unused(&self) -> bool {
        self.subjects.is_empty() && self.sets.is_empty() && self.named.is_empty()
    }
}

/// Finds the groups that may hold a pod, by a label that their selectors demand, or by place alone.
///
/// Keys are hashes: a group too many that a collision brings does no harm, since who asks looks again.
#[derive(Debug, Default)]
struct Anchors {
    hasher: RandomState,
    by_hash: HashMap<u64, Vec<GroupId>>,
}

impl Anchors {
    /// Of a place (`None`: namespaces by labels) and a label, or of all labels.
    fn hash(&self, place: Option<&str>, label: Option<(&Name, &Name)>) -> u64 {
        self.hasher.hash_one((place, label))
    }

    fn each(
        &mut self,
        scope: &Scope,
        pods: &Selector,
        mut act: impl FnMut(&mut HashMap<u64, Vec<GroupId>>, u64),
    ) {
        let place = scope.namespace();
        match pods.demanded() {
            None => {
                let hash = self.hash(place, None);
                act(&mut self.by_hash, hash);
            }
            Some((key, values)) => {
                for value in values {
                    let hash = self.hash(place, Some((key, value)));
                    act(&mut self.by_hash, hash);
                }
            }
        }
    }

    fn add(&mut self, scope: &Scope, pods: &Selector, id: GroupId) {
        self.each(scope, pods, |by_hash, hash| {
            let ids = by_hash.entry(hash).or_default();
            grow(ids);
            ids.push(id);
        });
    }

    fn remove(&mut self, scope: &Scope, pods: &Selector, id: GroupId) {
        self.each(scope, pods, |by_hash, hash| {
            if let Some(ids) = by_hash.get_mut(&hash) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    by_hash.remove(&hash);
                }
            }
        });
    }

    fn candidates(&self, place: Option<&str>, labels: &Labels, found: &mut Vec<GroupId>) {
        let labels = labels.iter().map(Some);
        for label in labels.chain([None]) {
            let ids = self.by_hash.get(&self.hash(place, label));
            found.extend(ids.into_iter().flatten());
        }
    }
}

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    slab: Vec<Option<Group>>,
    free: Vec<GroupId>,
    ids: HashMap<(Scope, Selector), GroupId>,
    anchors: Anchors,
    /// Selectors of namespaces, and how many groups have them.
    wide: BTreeMap<Selector, usize>,
}

impl Groups {
    /// The group, and whether it is new: then it has no members yet.
    pub fn intern(&mut self, scope: Scope, pods: &Selector) -> (GroupId, bool) {
        let key = (scope, pods.clone());
        if let Some(id) = self.ids.get(&key) {
            return (*id, false);
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            GroupId::try_from(self.slab.len() - 1).unwrap_or(GroupId::MAX)
        });
        self.anchors.add(&key.0, pods, id);
        if let Scope::Namespaces(selector) = &key.0 {
            *self.wide.entry(selector.clone()).or_default() += 1;
        }
        self.slab[id as usize] = Some(Group {
            scope: key.0.clone(),
            pods: pods.clone(),
            members: Vec::new(),
            ports: BTreeMap::new(),
            subjects: Vec::new(),
            sets: Vec::new(),
            named: BTreeSet::new(),
        });
        self.ids.insert(key, id);
        (id, true)
    }

    /// A group that exists.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.slab.get(id as usize)?.as_ref()
    }

    /// A group that exists.
    pub fn group_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.slab.get_mut(id as usize)?.as_mut()
    }

    /// Forgets a group that nobody uses. Returns the pods that were in it.
    pub fn sweep(&mut self, id: GroupId) -> Vec<Slot> {
        let Some(place) = self.slab.get_mut(id as usize) else {
            return Vec::new();
        };
        let Some(group) = place.take_if(|group| group.unused()) else {
            return Vec::new();
        };
        self.free.push(id);
        self.anchors.remove(&group.scope, &group.pods, id);
        if let Scope::Namespaces(selector) = &group.scope
            && let Some(count) = self.wide.get_mut(selector)
        {
            *count -= 1;
            if *count == 0 {
                self.wide.remove(selector);
            }
        }
        self.ids.remove(&(group.scope, group.pods));
        group.members
    }

    /// The groups that a pod is in, sorted.
    pub fn of(&self, cluster: &Cluster, pod: &Pod) -> Vec<GroupId> {
        if !pod.selectable() {
            return Vec::new();
        }
        let mut ids = Vec::new();
        self.anchors
            .candidates(Some(&pod.namespace), &pod.labels, &mut ids);
        let namespace = match self.wide.is_empty() {
            true => None,
            false => cluster.namespace(&pod.namespace),
        };
        if namespace.is_some() {
            self.anchors.candidates(None, &pod.labels, &mut ids);
        }
        ids.retain(|id| {
            self.group(*id).is_some_and(|group| {
                let there = match &group.scope {
                    Scope::Namespace(name) => *name == pod.namespace,
                    Scope::Namespaces(selector) => namespace.is_some_and(|ns| selector.matches(&ns.labels)),
                };
                there && group.pods.matches(&pod.labels)
            })
        });
        ids.sort_unstable();
        ids.dedup();
        ids.shrink_to_fit();
        ids
    }

    /// Namespaces where a group's pods may be.
    pub fn places(&self, cluster: &Cluster, id: GroupId) -> Vec<Name> {
        match self.group(id).map(|group| &group.scope) {
            None => Vec::new(),
            Some(Scope::Namespace(name)) => vec![name.clone()],
            Some(Scope::Namespaces(selector)) => {
                let all = cluster.namespaces();
                all.filter(|ns| selector.matches(&ns.labels))
                    .map(|ns| Name::from(&ns.name))
                    .collect()
            }
        }
    }

    /// Whether some group takes a namespace's pods with the one labels and not with the other.
    /// `None` stands for a namespace that does not exist.
    pub fn tells_apart(&self, before: Option<&Labels>, after: Option<&Labels>) -> bool {
        self.wide.keys().any(|selector| {
            let there = |labels: Option<&Labels>| labels.is_some_and(|l| selector.matches(l));
            there(before) != there(after)
        })
    }
}
