//! From what should be and what is to ordered steps. Pure.
//!
//! The algorithm, in order:
//! 1. What differs and cannot be changed in place is deleted first, with everything that depends on it.
//! 2. What differs is created or changed, dependencies before dependants ([`Key::rank`]).
//! 3. What should not be there is deleted, dependants before dependencies: routes before their interface, or VPP keeps
//!    them unresolved for ever.
//!
//! Additions come before removals, so that replacing a thing leaves no hole. ACLs and the lists of interfaces have an
//! order of their own: [`policy`].

mod policy;

use std::collections::{BTreeMap, BTreeSet};

use crate::objects::{Key, Object};

/// A map of things in VPP.
pub type Objects = BTreeMap<Key, Object>;

/// What to do to one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make it.
    Create(Key, Object),
    /// Turn what is there (first) into what should be (second).
    Update(Key, Object, Object),
    /// Remove it; the object is what is there.
    Delete(Key, Object),
}

impl Step {
    /// Which thing.
    pub fn key(&self) -> &Key {
        match self {
            Self::Create(key, _) | Self::Update(key, ..) | Self::Delete(key, _) => key,
        }
    }

    /// What is there afterwards.
    pub fn result(&self) -> Option<&Object> {
        match self {
            Self::Create(_, object) | Self::Update(_, _, object) => Some(object),
            Self::Delete(..) => None,
        }
    }
}

/// Steps by stage: those of one stage do not depend on each other and may be sent without waiting in between; a stage
/// starts when the answers of the one before are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The stages, none empty.
    pub stages: Vec<Vec<Step>>,
    /// What cannot be made because something it depends on is missing.
    pub pending: BTreeMap<Key, Key>,
}

impl Plan {
    /// Whether VPP is as it should be, as far as it can be.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// All steps in order.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.stages.iter().flatten()
    }
}

/// Compares and orders. `held` are keys that must not be created or changed now (they failed for good, or wait for
/// their next try); what depends on a held key that is not there is pending.
pub fn plan(desired: &Objects, actual: &Objects, held: &BTreeSet<Key>) -> Plan {
    let mut plan = Plan::default();
    let (first_deletes, remaining) = replacements(desired, actual, held);
    push_by_rank(&mut plan, first_deletes, true);

    // What exists when a step is reached; pending is whatever lacks something then.
    let mut present: BTreeSet<Key> = remaining.keys().map(|&k| k.clone()).collect();
    let mut changes = Vec::new();
    let mut by_rank: Vec<(&Key, &Object)> = desired.iter().collect();
    by_rank.sort_by_key(|(key, _)| key.rank());
    for (key, object) in by_rank {
        let current = remaining.get(key).copied();
        if current == Some(object) {
            continue;
        }
        if let Some(missing) = object
            .dependencies(key)
            .into_iter()
            .find(|d| !present.contains(d))
        {
            plan.pending.insert(key.clone(), missing);
            continue;
        }
        if held.contains(key) {
            continue;
        }
        changes.push(match current {
            Some(current) => Step::Update(key.clone(), current.clone(), object.clone()),
            None => Step::Create(key.clone(), object.clone()),
        });
        present.insert(key.clone());
    }
    let ordered = policy::order(changes, desired);
    plan.stages.extend(ordered.before);
    push_by_rank(&mut plan, ordered.between, false);
    if !ordered.after.is_empty() {
        plan.stages.push(ordered.after);
    }

    let gone = remaining
        .iter()
        .filter(|(key, _)| !desired.contains_key(**key))
        .map(|(key, object)| Step::Delete((*key).clone(), (*object).clone()))
        .collect();
    push_by_rank(&mut plan, gone, true);
    plan
}

/// [`plan`] where nothing but `keys` differs: the same steps, found without looking at the rest.
///
/// Nothing else may depend on `keys`, as nothing does on routes and translations.
pub fn plan_keys(desired: &Objects, actual: &Objects, keys: &BTreeSet<Key>) -> Plan {
    let mut scope = keys.clone();
    let mut queue: Vec<Key> = keys.iter().cloned().collect();
    while let Some(key) = queue.pop() {
        for object in desired.get(&key).into_iter().chain(actual.get(&key)) {
            for dependency in object.dependencies(&key) {
                if scope.insert(dependency.clone()) {
                    queue.push(dependency);
                }
            }
        }
    }
    let within = |all: &Objects| -> Objects {
        let found = scope.iter().filter_map(|key| all.get_key_value(key));
        found.map(|(key, object)| (key.clone(), object.clone())).collect()
    };
    plan(&within(desired), &within(actual), &BTreeSet::new())
}

/// What must be deleted before anything is made, and what is left then.
fn replacements<'a>(
    desired: &Objects,
    actual: &'a Objects,
    held: &BTreeSet<Key>,
) -> (Vec<Step>, BTreeMap<&'a Key, &'a Object>) {
    let mut doomed: BTreeSet<&Key> = actual
        .iter()
        .filter(|(key, object)| {
            desired
                .get(*key)
                .is_some_and(|next| *object != next && !object.updates_in_place(next) && !held.contains(*key))
        })
        .map(|(key, _)| key)
        .collect();
    // VPP refuses an address that overlaps one it still has: changed addresses go before new ones come.
    let new_addresses: BTreeSet<_> = desired
        .keys()
        .filter(|key| matches!(key, Key::Address(..)) && !actual.contains_key(*key))
        .filter_map(Key::link)
        .collect();
    doomed.extend(actual.keys().filter(|key| {
        matches!(key, Key::Address(link, _) if new_addresses.contains(link)) && !desired.contains_key(*key)
    }));
    loop {
        let more: Vec<&Key> = actual
            .iter()
            .filter(|(key, object)| {
                !doomed.contains(*key) && object.dependencies(key).iter().any(|d| doomed.contains(d))
            })
            .map(|(key, _)| key)
            .collect();
        if more.is_empty() {
            break;
        }
        doomed.extend(more);
    }
    let steps = doomed
        .iter()
        .map(|key| Step::Delete((*key).clone(), actual[*key].clone()))
        .collect();
    let rest = actual.iter().filter(|(key, _)| !doomed.contains(key)).collect();
    (steps, rest)
}

fn push_by_rank(plan: &mut Plan, steps: Vec<Step>, reverse: bool) {
    let mut ranks: BTreeMap<u8, Vec<Step>> = BTreeMap::new();
    for step in steps {
        ranks.entry(step.key().rank()).or_default().push(step);
    }
    let stages: Vec<Vec<Step>> = ranks.into_values().collect();
    if reverse {
        plan.stages.extend(stages.into_iter().rev());
    } else {
        plan.stages.extend(stages);
    }
}

#[cfg(test)]
pub(crate) mod tests;
