//! Groups: the pods that a selector selects, kept up to date, shared by all who select the same.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::cluster::Cluster;
use crate::facts::{NamedPort, ObjectKey, Pod};
use crate::policy::{Rank, Speaks};
use crate::selector::Selector;

/// A group's place in the index.
pub type GroupId = u32;
/// A pod's place in the index.
pub type Slot = u32;
/// A set's place in the index.
pub type SetId = u32;

/// In which namespaces a group's pods are.
#[derive(Clone, Debug)]
pub enum Scope {
    /// In one.
    Namespace(String),
    /// In those with these labels.
    Namespaces(Selector),
}

impl Scope {
    /// The scope of an end as seen from a namespace.
    pub fn new(own: &str, namespaces: Option<&Selector>) -> Self {
        match namespaces {
            None => Self::Namespace(own.to_owned()),
            Some(selector) => Self::Namespaces(selector.clone()),
        }
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
    /// The policies that apply to the members.
    pub subjects: BTreeMap<Rank, Speaks>,
    /// Sets that hold the members, or do without them.
    pub sets: BTreeSet<SetId>,
    /// Policies with named ports of the members.
    pub named: BTreeSet<ObjectKey>,
}

impl Group {
    /// Adds a pod. Returns whether a policy with named ports sees a difference.
    pub fn join(&mut self, slot: Slot, pod: &Pod) -> bool {
        if let Err(place) = self.members.binary_search(&slot) {
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

    fn unused(&self) -> bool {
        self.subjects.is_empty() && self.sets.is_empty() && self.named.is_empty()
    }
}

/// Finds the selectors that may select an object by a label they demand.
#[derive(Debug, Default)]
struct Anchors {
    by_label: HashMap<String, HashMap<String, Vec<GroupId>>>,
    /// Groups that demand no label.
    rest: Vec<GroupId>,
}

impl Anchors {
    fn add(&mut self, selector: &Selector, id: GroupId) {
        let Some((key, values)) = selector.demanded() else {
            self.rest.push(id);
            return;
        };
        let of_key = self.by_label.entry(key.to_owned()).or_default();
        for value in values {
            of_key.entry(value.clone()).or_default().push(id);
        }
    }

    fn remove(&mut self, selector: &Selector, id: GroupId) {
        let Some((key, values)) = selector.demanded() else {
            self.rest.retain(|other| *other != id);
            return;
        };
        let Some(of_key) = self.by_label.get_mut(key) else {
            return;
        };
        for value in values {
            if let Some(ids) = of_key.get_mut(value) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    of_key.remove(value);
                }
            }
        }
        if of_key.is_empty() {
            self.by_label.remove(key);
        }
    }

    fn candidates(&self, labels: &BTreeMap<String, String>) -> impl Iterator<Item = GroupId> {
        let labelled = labels
            .iter()
            .filter_map(|(key, value)| self.by_label.get(key)?.get(value));
        labelled.flatten().chain(&self.rest).copied()
    }
}

/// The groups whose scope is one namespace.
#[derive(Debug, Default)]
struct Space {
    ids: BTreeMap<Selector, GroupId>,
    anchors: Anchors,
}

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    slab: Vec<Option<Group>>,
    free: Vec<GroupId>,
    spaces: HashMap<String, Space>,
    /// By labels of the namespaces, then of the pods.
    wide: BTreeMap<Selector, BTreeMap<Selector, GroupId>>,
    wide_anchors: Anchors,
}

impl Groups {
    /// The group, and whether it is new: then it has no members yet.
    pub fn intern(&mut self, scope: Scope, pods: &Selector) -> (GroupId, bool) {
        let known = match &scope {
            Scope::Namespace(name) => self.spaces.get(name).and_then(|space| space.ids.get(pods)),
            Scope::Namespaces(selector) => self.wide.get(selector).and_then(|ids| ids.get(pods)),
        };
        if let Some(id) = known {
            return (*id, false);
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            GroupId::try_from(self.slab.len() - 1).unwrap_or(GroupId::MAX)
        });
        match &scope {
            Scope::Namespace(name) => {
                let space = self.spaces.entry(name.clone()).or_default();
                space.ids.insert(pods.clone(), id);
                space.anchors.add(pods, id);
            }
            Scope::Namespaces(selector) => {
                let ids = self.wide.entry(selector.clone()).or_default();
                ids.insert(pods.clone(), id);
                self.wide_anchors.add(pods, id);
            }
        }
        self.slab[id as usize] = Some(Group {
            scope,
            pods: pods.clone(),
            members: Vec::new(),
            ports: BTreeMap::new(),
            subjects: BTreeMap::new(),
            sets: BTreeSet::new(),
            named: BTreeSet::new(),
        });
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
        match &group.scope {
            Scope::Namespace(name) => {
                if let Some(space) = self.spaces.get_mut(name) {
                    space.ids.remove(&group.pods);
                    space.anchors.remove(&group.pods, id);
                    if space.ids.is_empty() {
                        self.spaces.remove(name);
                    }
                }
            }
            Scope::Namespaces(selector) => {
                if let Some(ids) = self.wide.get_mut(selector) {
                    ids.remove(&group.pods);
                    if ids.is_empty() {
                        self.wide.remove(selector);
                    }
                }
                self.wide_anchors.remove(&group.pods, id);
            }
        }
        group.members
    }

    /// The groups that a pod is in, sorted.
    pub fn of(&self, cluster: &Cluster, pod: &Pod) -> Vec<GroupId> {
        if !pod.selectable() {
            return Vec::new();
        }
        let mut ids = Vec::new();
        if let Some(space) = self.spaces.get(&pod.namespace) {
            ids.extend(space.anchors.candidates(&pod.labels));
        }
        let namespace = cluster.namespace(&pod.namespace);
        if namespace.is_some() {
            ids.extend(self.wide_anchors.candidates(&pod.labels));
        }
        ids.retain(|id| {
            self.group(*id).is_some_and(|group| {
                let there = match &group.scope {
                    Scope::Namespace(_) => true,
                    Scope::Namespaces(selector) => namespace.is_some_and(|ns| selector.matches(&ns.labels)),
                };
                there && group.pods.matches(&pod.labels)
            })
        });
        ids.sort_unstable();
        ids
    }

    /// Namespaces where a group's pods may be.
    pub fn places(&self, cluster: &Cluster, id: GroupId) -> Vec<String> {
        match self.group(id).map(|group| &group.scope) {
            None => Vec::new(),
            Some(Scope::Namespace(name)) => vec![name.clone()],
            Some(Scope::Namespaces(selector)) => {
                let all = cluster.namespaces();
                all.filter(|ns| selector.matches(&ns.labels))
                    .map(|ns| ns.name.clone())
                    .collect()
            }
        }
    }

    /// Whether some group takes a namespace's pods with the one labels and not with the other.
    /// `None` stands for a namespace that does not exist.
    pub fn tells_apart(
        &self,
        before: Option<&BTreeMap<String, String>>,
        after: Option<&BTreeMap<String, String>>,
    ) -> bool {
        self.wide.keys().any(|selector| {
            let there =
                |labels: Option<&BTreeMap<String, String>>| labels.is_some_and(|l| selector.matches(l));
            there(before) != there(after)
        })
    }
}
