//! What to write and delete: compiled minus stored, stored minus compiled. Pure; time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use compiler::facts::ObjectRef;
use compiler::size::{self, Size};
use compiler::{Compiled, ObjectKey, Output, Owner, Problem};
use serde_json::Value;
use tokio::time::Instant;

use crate::objects::{OutputKey, OutputKind, Revisioned, Stored, body};

/// How long an address set must have been unnamed before it is deleted.
///
/// Daemons read policies and sets by separate watches. One that lags with its policies may still
/// hold a policy that names the set; without the set it would deny what the policy accepts.
pub const SET_GRACE: Duration = Duration::from_secs(30);

/// Pause after the first failure of an object; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Something that is written, for remembering failures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// One of our own objects.
    Object(OutputKey),
    /// Status of a ServiceChain.
    ChainStatus(ObjectKey),
    /// Status of a CNF.
    CnfStatus(ObjectKey),
}

/// What earlier passes left: failures to be tried again later, sets nobody names any more, and what
/// is too large.
#[derive(Debug, Default)]
pub struct Memory {
    failures: BTreeMap<Target, Failure>,
    unnamed: BTreeMap<OutputKey, Instant>,
    /// Objects too large to be written: told as long as they are.
    refused: BTreeSet<OutputKey>,
}

#[derive(Debug)]
struct Failure {
    attempts: u32,
    not_before: Instant,
    /// What was to be written: something else is worth an immediate try.
    revision: String,
}

impl Memory {
    /// Whether this write failed lately and is to wait.
    pub fn is_paused(&self, target: &Target, revision: &str, now: Instant) -> bool {
        self.failures
            .get(target)
            .is_some_and(|failure| failure.revision == revision && now < failure.not_before)
    }

    /// Notes a failure at `now`.
    pub fn failed(&mut self, target: Target, revision: &str, now: Instant) {
        let before = self.failures.get(&target);
        let attempts = before
            .filter(|failure| failure.revision == revision)
            .map_or(0, |failure| failure.attempts);
        let pause = FIRST_PAUSE
            .saturating_mul(1 << attempts.min(10))
            .min(LONGEST_PAUSE);
        let failure = Failure {
            attempts: attempts + 1,
            not_before: now + pause,
            revision: revision.to_owned(),
        };
        self.failures.insert(target, failure);
    }

    /// Notes a success.
    pub fn succeeded(&mut self, target: &Target) {
        self.failures.remove(target);
    }

    /// Forgets everything: what another leader did meanwhile is not known.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// When something of this is due, though nothing changes. What was due at the last pass has
    /// been tried there, or is not wanted any more.
    pub fn next(&self, last_pass: Instant) -> Option<Instant> {
        let failures = self.failures.values().map(|failure| failure.not_before);
        let unnamed = self.unnamed.values().map(|since| *since + SET_GRACE);
        failures.chain(unnamed).filter(|due| *due > last_pass).min()
    }

    /// Objects that a pass must look at, whatever changed.
    fn left(&self) -> BTreeSet<OutputKey> {
        let failed = self.failures.keys().filter_map(|target| match target {
            Target::Object(key) => Some(key),
            Target::ChainStatus(_) | Target::CnfStatus(_) => None,
        });
        let left = failed.chain(self.unnamed.keys()).chain(&self.refused);
        left.cloned().collect()
    }

    /// Forgets failures of what was not tried again when it was due.
    fn prune(&mut self, now: Instant) {
        self.failures
            .retain(|_, failure| now < failure.not_before + LONGEST_PAUSE);
    }
}

/// One object to apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// Which.
    pub key: OutputKey,
    /// Revision of its spec.
    pub revision: String,
    /// UID of its owner.
    pub owner: Option<String>,
    /// Body of the server-side apply.
    pub body: Value,
}

/// What a pass has to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Objects to apply, stage after stage: what is named before what names it.
    pub writes: Vec<Write>,
    /// Objects to delete, in reverse order of stages.
    pub deletes: Vec<OutputKey>,
    /// Objects that are as they should be, or wait for another try.
    pub unchanged: usize,
    /// Objects too large to be written or near it, to be told.
    pub problems: Vec<Problem>,
    /// Objects too large to be written: the last good one stays.
    pub refused: Vec<OutputKey>,
}

/// Which objects a pass compares.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// All of them.
    Everything,
    /// These, because something of them changed, and those that earlier passes left.
    Changed(&'a BTreeSet<OutputKey>),
}

/// Compares what was compiled with what is stored.
pub fn plan(
    output: &Output,
    stored: &BTreeMap<OutputKey, Stored>,
    scope: Scope<'_>,
    memory: &mut Memory,
    now: Instant,
) -> Plan {
    memory.prune(now);
    let scope = match scope {
        Scope::Everything => None,
        Scope::Changed(keys) => Some(keys.union(&memory.left()).cloned().collect::<BTreeSet<_>>()),
    };
    let mut pass = Pass {
        stored,
        memory,
        now,
        plan: Plan::default(),
    };
    match &scope {
        None => pass.compare_all(output),
        Some(keys) => keys.iter().for_each(|key| pass.compare_one(output, key)),
    }
    let wanted = |key: &OutputKey| match key.kind {
        OutputKind::AddressSet => output.sets.contains_key(&key.object),
        OutputKind::ServiceSlice => output.service_slices.contains_key(&key.object),
        OutputKind::PeerSlice => output.peer_slices.contains_key(key.object.name.as_str()),
        OutputKind::Policy => output.policies.contains_key(&key.object),
        OutputKind::Config => output.configs.contains_key(key.object.name.as_str()),
    };
    match &scope {
        None => pass.sweep(stored.iter().rev(), wanted),
        Some(keys) => {
            let held = keys.iter().rev().filter_map(|key| stored.get_key_value(key));
            pass.sweep(held, wanted);
        }
    }
    pass.plan
}

struct Pass<'a> {
    stored: &'a BTreeMap<OutputKey, Stored>,
    memory: &'a mut Memory,
    now: Instant,
    plan: Plan,
}

impl<'a> Pass<'a> {
    fn compare_all(&mut self, output: &Output) {
        for (key, set) in &output.sets {
            self.compare(OutputKind::AddressSet, key.clone(), set);
        }
        for (key, slice) in &output.service_slices {
            self.compare(OutputKind::ServiceSlice, key.clone(), slice);
        }
        for (name, slice) in &output.peer_slices {
            self.compare(OutputKind::PeerSlice, ObjectKey::new("", name), slice);
        }
        for (key, policy) in &output.policies {
            self.compare(OutputKind::Policy, key.clone(), policy);
        }
        for (name, config) in &output.configs {
            self.compare(OutputKind::Config, ObjectKey::new("", name), config);
        }
    }

    fn compare_one(&mut self, output: &Output, key: &OutputKey) {
        let OutputKey { kind, object } = key;
        macro_rules! compare {
            ($compiled:expr) => {
                match $compiled {
                    Some(compiled) => self.compare(*kind, object.clone(), compiled),
                    None => {
                        self.memory.refused.remove(key);
                    }
                }
            };
        }
        match kind {
            OutputKind::AddressSet => compare!(output.sets.get(object)),
            OutputKind::ServiceSlice => compare!(output.service_slices.get(object)),
            OutputKind::PeerSlice => compare!(output.peer_slices.get(object.name.as_str())),
            OutputKind::Policy => compare!(output.policies.get(object)),
            OutputKind::Config => compare!(output.configs.get(object.name.as_str())),
        }
    }

    fn compare<S: Revisioned>(&mut self, kind: OutputKind, object: ObjectKey, compiled: &Compiled<S>) {
        let key = OutputKey { kind, object };
        let revision = compiled.spec.revision();
        let owner = compiled.owner.as_ref();
        let uid = owner.map(|owner| owner.uid.clone());
        // An owner deleted and made again has another UID; with the old one in place the object
        // would be garbage-collected though nothing of its spec changed.
        let same = self.stored.get(&key).is_some_and(|stored| {
            stored.managed && stored.revision.as_deref() == Some(revision) && stored.owner == uid
        });
        self.memory.refused.remove(&key);
        let target = Target::Object(key);
        if same {
            self.memory.succeeded(&target);
            self.plan.unchanged += 1;
            return;
        }
        let paused = self.memory.is_paused(&target, revision, self.now);
        let Target::Object(key) = target else { return };
        let size = size::check(&compiled.spec);
        if let Some(problem) = size_problem(&key, owner, size) {
            self.plan.problems.push(problem);
        }
        if !size.writable() {
            self.memory.refused.insert(key.clone());
            self.plan.refused.push(key);
            return;
        }
        if paused {
            self.plan.unchanged += 1;
            return;
        }
        match body(&key, &compiled.spec, owner) {
            Ok(body) => self.plan.writes.push(Write {
                key,
                revision: revision.to_owned(),
                owner: uid,
                body,
            }),
            // Has no JSON form; `size::check` has said so already.
            Err(_) => {
                self.memory.refused.insert(key.clone());
                self.plan.refused.push(key);
            }
        }
    }

    fn sweep(
        &mut self,
        held: impl Iterator<Item = (&'a OutputKey, &'a Stored)>,
        wanted: impl Fn(&OutputKey) -> bool,
    ) {
        let now = self.now;
        let stored = self.stored;
        self.memory
            .unnamed
            .retain(|key, _| stored.contains_key(key) && !wanted(key));
        for (key, _) in held.filter(|(key, stored)| stored.managed && !wanted(key)) {
            if key.kind == OutputKind::AddressSet {
                let since = *self.memory.unnamed.entry(key.clone()).or_insert(now);
                if now < since + SET_GRACE {
                    continue;
                }
            }
            let target = Target::Object(key.clone());
            if !self.memory.is_paused(&target, "", now) {
                self.plan.deletes.push(key.clone());
            }
        }
    }
}

fn size_problem(key: &OutputKey, owner: Option<&Owner>, size: Size) -> Option<Problem> {
    let owner = owner?;
    let (reason, message) = match size {
        Size::Ok(_) => return None,
        // The size itself is left out: it moves with every change, and each would be an Event.
        Size::Large(_) => (
            "ObjectLarge",
            format!(
                "{key} is larger than {} KiB; above {} KiB it will no longer be updated",
                size::WARN_BYTES / 1024,
                size::REFUSE_BYTES / 1024
            ),
        ),
        Size::TooLarge(_) => (
            "ObjectTooLarge",
            format!(
                "{key} would be larger than {} KiB and is not updated; the last one below that stays in force",
                size::REFUSE_BYTES / 1024
            ),
        ),
    };
    Some(Problem {
        object: ObjectRef {
            api_version: owner.api_version,
            kind: owner.kind,
            namespace: (!key.object.namespace.is_empty()).then(|| key.object.namespace.to_string()),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        },
        reason,
        message,
    })
}

#[cfg(test)]
mod tests;
