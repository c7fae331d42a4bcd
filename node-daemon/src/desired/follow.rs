//! Changes of Services without computing everything again: what the changed Services gave is taken out, and what they
//! give now is put in.
//!
//! That is the whole truth only while no other Service, and nothing else, claims the same addresses and ports. Where
//! one does, [`ServiceIndex::follow`] says so and [`super::desired`] computes everything: rare cases have one place
//! that decides them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use crds::VppServiceSliceSpec;
use crds::net::{Cidr, Protocol};

use super::policy;
use super::service::{self, Surroundings};
use super::{Desired, Inputs};
use crate::cluster::{by_service, namespace_of, object_key};
use crate::objects::{Area, Key};

/// Slices that changed, by key, as they were before; `None` where there was none.
pub type Moved = BTreeMap<String, Option<Arc<VppServiceSliceSpec>>>;

/// What a change of Services came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// What should be otherwise than before.
    pub keys: BTreeSet<Key>,
    /// Whether the node's own side is among it.
    pub host: bool,
}

/// Who has which slices, and who claims what. It belongs to one [`Desired`].
#[derive(Clone, Debug, Default)]
pub struct ServiceIndex {
    /// Keys of slices by their Service's namespace and name.
    slices: HashMap<String, BTreeSet<String>>,
    /// How many Services claim an address or a node port.
    claims: HashMap<Claim, u32>,
    /// How many times an address is a backend's, whether it gets connections or not.
    listed: HashMap<IpAddr, u32>,
    /// Prefixes of all nodes' pods.
    pods: BTreeSet<Cidr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Claim {
    Address(IpAddr),
    NodePort(Protocol, u16),
    HealthCheck(u16),
}

/// What a slice claims for its Service: the first slice does for all of them.
fn claims(slice: &VppServiceSliceSpec) -> Vec<Claim> {
    let first = (slice.slice == 0).then_some(slice).into_iter();
    let addresses = first.clone().flat_map(|slice| &slice.frontends);
    let addresses = addresses.map(|frontend| Claim::Address(frontend.address));
    let ports = first.clone().flat_map(|slice| &slice.ports);
    let ports = ports.filter_map(|port| Some(Claim::NodePort(port.protocol, port.node_port?)));
    let checks = first.filter_map(|slice| slice.health_check_node_port.map(Claim::HealthCheck));
    addresses.chain(ports).chain(checks).collect()
}

fn drop_one<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl ServiceIndex {
    /// The index of these inputs.
    pub fn new(inputs: &Inputs<'_>) -> Self {
        let mut index = Self {
            pods: service::pod_prefixes(inputs),
            ..Self::default()
        };
        for (key, slice) in &inputs.cluster.services {
            index.add(key, slice);
        }
        index
    }

    fn add(&mut self, key: &str, slice: &VppServiceSliceSpec) {
        let service = object_key(namespace_of(key), &slice.service);
        self.slices.entry(service).or_default().insert(key.to_owned());
        for claim in claims(slice) {
            *self.claims.entry(claim).or_default() += 1;
        }
        for backend in &slice.backends {
            *self.listed.entry(backend.address).or_default() += 1;
        }
    }

    fn remove(&mut self, key: &str, slice: &VppServiceSliceSpec) {
        let service = object_key(namespace_of(key), &slice.service);
        if let Some(keys) = self.slices.get_mut(&service) {
            keys.remove(key);
            if keys.is_empty() {
                self.slices.remove(&service);
            }
        }
        for claim in claims(slice) {
            drop_one(&mut self.claims, &claim);
        }
        for backend in &slice.backends {
            drop_one(&mut self.listed, &backend.address);
        }
    }

    /// Whether an address is a backend's in any slice.
    pub fn lists(&self, address: &IpAddr) -> bool {
        self.listed.contains_key(address)
    }

    /// Brings `desired`, which was computed from the same inputs with `moved` as it was, up to `inputs`.
    ///
    /// `None` if only computing everything can tell; `desired` is then as before, and the index is of no more use.
    pub fn follow(&mut self, inputs: &Inputs<'_>, moved: &Moved, desired: &mut Desired) -> Option<Followed> {
        if !inputs.local.cnat || !desired.frozen.is_empty() {
            return None;
        }
        let now = &inputs.cluster.services;
        let of = |key: &str, slice: &VppServiceSliceSpec| object_key(namespace_of(key), &slice.service);
        let both = || {
            moved.iter().flat_map(|(key, old)| {
                let slices = old.iter().chain(now.get(key));
                slices.map(move |slice| (key, slice))
            })
        };
        let names: BTreeSet<String> = both().map(|(key, slice)| of(key, slice)).collect();
        let keys = |index: &Self| -> Vec<String> {
            let found = names.iter().filter_map(|name| index.slices.get(name));
            found.flatten().cloned().collect()
        };
        let keys_before = keys(self);
        let before = keys_before.iter().filter_map(|key| {
            let slice = match moved.get(key) {
                Some(old) => old.as_ref(),
                None => now.get(key),
            };
            Some((key.as_str(), &**slice?))
        });
        let alone = |index: &Self, slice: &VppServiceSliceSpec| {
            claims(slice)
                .iter()
                .all(|claim| index.claims.get(claim) == Some(&1))
        };
        if !before.clone().all(|(_, slice)| alone(self, slice)) {
            return None;
        }
        let touched: BTreeSet<IpAddr> = both()
            .flat_map(|(_, slice)| slice.backends.iter().map(|backend| backend.address))
            .collect();
        for (key, old) in moved {
            if let Some(old) = old {
                self.remove(key, old);
            }
            if let Some(new) = now.get(key) {
                self.add(key, new);
            }
        }
        let keys_after = keys(self);
        let after = keys_after
            .iter()
            .filter_map(|key| Some((key.as_str(), &**now.get(key)?)));
        if !after.clone().all(|(_, slice)| alone(self, slice)) {
            return None;
        }
        if !policy::reach_themselves(inputs, &touched, |address| self.lists(address), desired) {
            return None;
        }
        let part = |slices| {
            let mut part = Desired::default();
            let surroundings = Surroundings::new(&self.pods, desired);
            service::add_services(inputs, surroundings, &slices, &mut part);
            part
        };
        let (old, new) = (part(by_service(before)), part(by_service(after)));
        swap(desired, old, new)
    }
}

/// Puts `new` in the place of `old`, if both are theirs alone.
fn swap(desired: &mut Desired, old: Desired, new: Desired) -> Option<Followed> {
    if !old.frozen.is_empty() || !new.frozen.is_empty() {
        return None;
    }
    let nat = |of: &Desired| of.host.nat.clone();
    let (was, will, have) = (nat(&old), nat(&new), &desired.host.nat);
    let free = is_free(&desired.objects, &old.objects, &new.objects)
        && is_free(&have.entries, &was.entries, &will.entries)
        && is_free(&have.own, &was.own, &will.own)
        && is_free(&have.refused, &was.refused, &will.refused)
        && was.own_refused.is_subset(&have.own_refused)
        && will
            .own_refused
            .difference(&was.own_refused)
            .all(|vip| !have.own_refused.contains(vip))
        && is_free(&have.admitted, &was.admitted, &will.admitted)
        && is_free(&desired.health, &old.health, &new.health)
        && is_free(&desired.affinities, &old.affinities, &new.affinities);
    // The address of another node is not the Service's alone.
    let of_node = |key: &Key| matches!(key, Key::Route(prefix) if desired.objects.contains_key(&Key::CnatExclude(*prefix)));
    let routes_free = !old.objects.keys().chain(new.objects.keys()).any(of_node);
    // Where ports without backends lead is shared by all of them.
    let to_none = |of: &Desired| -> Vec<Key> {
        let shared =
            |key: &&Key| matches!(key, Key::Route(prefix) if service::stands_for_none(prefix.network()));
        of.objects.keys().filter(shared).cloned().collect()
    };
    let same_sinks = to_none(&old) == to_none(&new);
    // Somebody else may be waiting for just what becomes free.
    let same_keys = old.objects.keys().eq(new.objects.keys())
        && was.entries.keys().eq(will.entries.keys())
        && was.refused.keys().eq(will.refused.keys());
    let others_wait = desired
        .pending
        .iter()
        .any(|pending| pending.area == Area::Services && !old.pending.contains(pending));
    if !free || !routes_free || !same_sinks || (!same_keys && others_wait) {
        return None;
    }
    let host = old.host != new.host;
    let objects = &mut desired.objects;
    let mut keys = BTreeSet::new();
    for (key, object) in &old.objects {
        if new.objects.get(key) != Some(object) {
            objects.remove(key);
            keys.insert(key.clone());
        }
    }
    for (key, object) in new.objects {
        if old.objects.get(&key) != Some(&object) {
            keys.insert(key.clone());
            objects.insert(key, object);
        }
    }
    if host {
        let have = &mut desired.host.nat;
        replace(&mut have.entries, &was.entries, will.entries);
        replace(&mut have.own, &was.own, will.own);
        replace(&mut have.refused, &was.refused, will.refused);
        have.own_refused.retain(|vip| !was.own_refused.contains(vip));
        have.own_refused.extend(will.own_refused);
        replace(&mut have.admitted, &was.admitted, will.admitted);
        // Stand-ins are all Services': one that is still a target stays.
        let nat = &desired.host.nat;
        let is_used = |address: &IpAddr| {
            let mut targets = nat.entries.values().chain(nat.own.values().flatten());
            service::is_stand_in(*address) && targets.any(|(target, _)| target == address)
        };
        let gone = old.host.vips.difference(&new.host.vips);
        let gone: Vec<IpAddr> = gone.copied().filter(|address| !is_used(address)).collect();
        let vips = &mut desired.host.vips;
        for address in &gone {
            vips.remove(address);
        }
        vips.extend(new.host.vips);
    }
    replace(&mut desired.health, &old.health, new.health);
    replace(&mut desired.affinities, &old.affinities, new.affinities);
    if old.pending != new.pending {
        desired.pending.retain(|pending| !old.pending.contains(pending));
        desired.pending.extend(new.pending);
    }
    Some(Followed { keys, host })
}

/// Whether all of `old` is in `all`, and what of `new` is not in `old` is not there.
fn is_free<K: Ord, V: PartialEq>(all: &BTreeMap<K, V>, old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> bool {
    old.iter().all(|(key, value)| all.get(key) == Some(value))
        && new
            .keys()
            .all(|key| old.contains_key(key) || !all.contains_key(key))
}

fn replace<K: Ord, V>(all: &mut BTreeMap<K, V>, old: &BTreeMap<K, V>, new: BTreeMap<K, V>) {
    for key in old.keys() {
        all.remove(key);
    }
    all.extend(new);
}

#[cfg(test)]
mod tests;
