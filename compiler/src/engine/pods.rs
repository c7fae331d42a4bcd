//! Pods in the index: which groups each is in, and which are on a node.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::Before;
use super::groups::{GroupId, Groups, Slot, grow};
use super::index::Work;
use crate::cluster::Cluster;
use crate::facts::{Name, ObjectKey, Pod};

/// What the index knows of a pod.
#[derive(Debug)]
pub struct Indexed {
    /// The pod as it was when last looked at: as it is now, once an update has begun to give out.
    pub pod: Arc<Pod>,
    /// Groups that it is in, sorted.
    pub groups: Vec<GroupId>,
}

/// A pod that an event has touched, looked at: the part of an update that needs nothing but the facts.
pub struct Seen<'c> {
    /// Its key.
    pub key: &'c ObjectKey,
    /// As it was when last looked at; `None` if it was not there.
    old: Option<&'c Arc<Pod>>,
    /// As it is now.
    pub now: Option<&'c Arc<Pod>>,
    /// Groups that it is in now, sorted.
    joined: Vec<GroupId>,
}

impl<'c> Seen<'c> {
    /// Looks at a pod.
    pub fn new(cluster: &'c Cluster, groups: &Groups, key: &'c ObjectKey, before: &'c Before) -> Self {
        let now = cluster.shared_pod(key);
        Self {
            key,
            old: match before {
                Before::Absent => None,
                Before::Same => now,
                Before::Was(pod) => Some(pod),
            },
            now,
            joined: now.map(|pod| groups.of(cluster, pod)).unwrap_or_default(),
        }
    }
}

/// All pods.
#[derive(Debug, Default)]
pub struct Pods {
    slots: HashMap<ObjectKey, Slot>,
    slab: Vec<Option<Indexed>>,
    free: Vec<Slot>,
    /// Pods that have a network on a node, sorted by key, by node name.
    on: HashMap<Name, Vec<Slot>>,
    holders: Holders,
}

/// Which pods are said to have an address: one, or for a while one that has gone as well.
#[derive(Debug, Default)]
struct Holders {
    one: HashMap<IpAddr, Slot>,
    /// Where it is more than one; they are not in `one`.
    many: HashMap<IpAddr, BTreeSet<Slot>>,
}

impl Holders {
    /// One more has it. Those that have it too are added to `others`.
    fn add(&mut self, ip: IpAddr, slot: Slot, others: &mut BTreeSet<Slot>) {
        if let Some(all) = self.many.get_mut(&ip) {
            others.extend(all.iter());
            all.insert(slot);
        } else if let Some(first) = self.one.insert(ip, slot).filter(|first| *first != slot) {
            self.one.remove(&ip);
            self.many.insert(ip, BTreeSet::from([first, slot]));
            others.insert(first);
        }
    }

    /// One has it no more. Those that still have it are added to `others`.
    fn remove(&mut self, ip: IpAddr, slot: Slot, others: &mut BTreeSet<Slot>) {
        let Some(all) = self.many.get_mut(&ip) else {
            self.one.remove(&ip);
            return;
        };
        all.remove(&slot);
        others.extend(all.iter());
        if let (1, Some(last)) = (all.len(), all.first()) {
            self.one.insert(ip, *last);
            self.many.remove(&ip);
        }
    }
}

/// The node where a pod has a network of its own.
fn place(pod: Option<&Pod>) -> Option<&Name> {
    pod.filter(|pod| pod.selectable())?.node.as_ref()
}

/// A pod by its slot.
fn get(slab: &[Option<Indexed>], slot: Slot) -> Option<&Indexed> {
    slab.get(slot as usize)?.as_ref()
}

/// Where a pod is, or would be, among those of a node.
fn seat(slab: &[Option<Indexed>], on: &[Slot], key: &ObjectKey) -> Result<usize, usize> {
    let order = |slot: &Slot| {
        let pod = get(slab, *slot).map(|indexed| &indexed.pod);
        let has = pod.map(|pod| (pod.namespace.as_str(), pod.name.as_str()));
        has.cmp(&Some((key.namespace.as_str(), key.name.as_str())))
    };
    // Pods that are all new come in order of their keys.
    match on.last().map(order) {
        None | Some(Ordering::Less) => Err(on.len()),
        Some(_) => on.binary_search_by(order),
    }
}

impl Pods {
    /// A pod by its slot.
    pub fn get(&self, slot: Slot) -> Option<&Indexed> {
        get(&self.slab, slot)
    }

    /// The pods that have a network on a node, sorted by key.
    pub fn on(&self, node: &str) -> impl Iterator<Item = &Indexed> {
        let slots = self.on.get(node).into_iter().flatten();
        slots.filter_map(|slot| self.get(*slot))
    }

    /// Whether an address of the pod is still its own.
    pub fn holds(&self, pod: &Pod, ip: &IpAddr) -> bool {
        let others = self.holders.many.get(ip).into_iter().flatten();
        let mut others = others.filter_map(|slot| self.get(*slot));
        !others.any(|other| other.pod.succeeds(pod))
    }

    /// A pod's addresses may be others', or those of others its own.
    fn reassign(&mut self, slot: Slot, old: &[IpAddr], now: &[IpAddr], groups: &Groups, work: &mut Work) {
        let mut others = BTreeSet::new();
        for ip in old {
            self.holders.remove(*ip, slot, &mut others);
        }
        for ip in now {
            self.holders.add(*ip, slot, &mut others);
        }
        for other in others.into_iter().filter_map(|other| self.get(other)) {
            for group in other.groups.iter().filter_map(|id| groups.group(*id)) {
                work.touch(group, false);
            }
        }
    }

    fn slot(&mut self, key: &ObjectKey, pod: &Arc<Pod>) -> Slot {
        if let Some(slot) = self.slots.get(key) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slab.push(None);
            Slot::try_from(self.slab.len() - 1).unwrap_or(Slot::MAX)
        });
        self.slots.insert(key.clone(), slot);
        self.slab[slot as usize] = Some(Indexed {
            pod: Arc::clone(pod),
            groups: Vec::new(),
        });
        slot
    }

    /// Brings a pod's groups and node up to date, and tells what that touches.
    pub fn update(&mut self, groups: &mut Groups, seen: Seen<'_>, work: &mut Work) {
        let Seen {
            key,
            old,
            now,
            joined,
        } = seen;
        let Some(any) = now.or(old) else {
            // It came and went between two updates.
            return;
        };
        let slot = self.slot(key, any);
        let mut left = Vec::new();
        if let Some(entry) = self.slab[slot as usize].as_mut() {
            left = std::mem::replace(&mut entry.groups, joined.clone());
            entry.pod = Arc::clone(any);
        }
        let (now, old) = (now.map(Arc::as_ref), old.map(Arc::as_ref));

        let same = |f: fn(&Pod, &Pod) -> bool| match (old, now) {
            (Some(old), Some(now)) => f(old, now),
            (None, None) => true,
            _ => false,
        };
        let same_ports = same(|a, b| a.ports == b.ports);
        let same_holder = same(|a, b| a.ips == b.ips && a.uid == b.uid && a.started == b.started);
        let same_member = same_ports && same_holder;
        if !same_holder || old.is_some_and(Pod::selectable) != now.is_some_and(Pod::selectable) {
            let ips = |pod: Option<&Pod>| pod.filter(|pod| pod.selectable()).map(|pod| pod.ips.clone());
            let (old, now) = (ips(old).unwrap_or_default(), ips(now).unwrap_or_default());
            self.reassign(slot, &old, &now, groups, work);
        }
        let mut same_subject = true;
        for id in &left {
            let stays = joined.binary_search(id).is_ok();
            let Some(group) = groups.group_mut(*id) else {
                continue;
            };
            let mut news = false;
            if let (Some(old), false) = (old, stays && same_ports) {
                news |= group.leave(slot, old);
            }
            if let (Some(now), true) = (now, stays && !same_ports) {
                news |= group.join(slot, now);
            }
            same_subject &= stays || group.subjects.is_empty();
            if !(stays && same_member) {
                work.touch(group, news);
            }
        }
        for id in joined.iter().filter(|id| left.binary_search(id).is_err()) {
            let (Some(group), Some(now)) = (groups.group_mut(*id), now) else {
                continue;
            };
            let news = group.join(slot, now);
            same_subject &= group.subjects.is_empty();
            work.touch(group, news);
        }

        let (from, to) = (place(old), place(now));
        if from != to {
            if let Some(node) = from
                && let Some(pods) = self.on.get_mut(node)
            {
                if let Ok(at) = seat(&self.slab, pods, key) {
                    pods.remove(at);
                }
                if pods.is_empty() {
                    self.on.remove(node);
                }
            }
            if let Some(node) = to {
                let pods = self.on.entry(node.clone()).or_default();
                if let Err(at) = seat(&self.slab, pods, key) {
                    pods.insert(at, slot);
                }
            }
        }
        let same_binding = from == to && same(|a, b| a.uid == b.uid && a.interface == b.interface);
        if !(same_binding && same_subject) {
            work.nodes.extend(from.into_iter().chain(to).cloned());
        }
        if now.is_none() {
            self.slots.remove(key);
            self.slab[slot as usize] = None;
            self.free.push(slot);
        }
    }

    /// Puts a pod into those of its groups that are new.
    pub fn fill(
        &mut self,
        cluster: &Cluster,
        groups: &mut Groups,
        pod: &Pod,
        new: &BTreeSet<GroupId>,
        work: &mut Work,
    ) {
        let mut joined = groups.of(cluster, pod);
        joined.retain(|id| new.contains(id));
        if joined.is_empty() {
            return;
        }
        // Every pod has been looked at when it came.
        let slot = self.slots.get(&pod.key());
        let Some((slot, entry)) = slot.and_then(|slot| Some((*slot, self.slab[*slot as usize].as_mut()?)))
        else {
            return;
        };
        for id in joined {
            let Err(at) = entry.groups.binary_search(&id) else {
                continue;
            };
            grow(&mut entry.groups);
            entry.groups.insert(at, id);
            if let Some(group) = groups.group_mut(id) {
                let news = group.join(slot, pod);
                work.touch(group, news);
                if !group.subjects.is_empty() {
                    work.nodes.extend(place(Some(pod)).cloned());
                }
            }
        }
    }

    /// Takes pods out of a group that is no more.
    pub fn forget(&mut self, members: &[Slot], id: GroupId) {
        for slot in members {
            let entry = self.slab.get_mut(*slot as usize).and_then(Option::as_mut);
            if let Some(entry) = entry
                && let Ok(at) = entry.groups.binary_search(&id)
            {
                entry.groups.remove(at);
            }
        }
    }
}
