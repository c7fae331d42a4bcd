//! Carries a plan out: requests of a stage go out without waiting for answers, a stage waits for the one before.
//!
//! Each step ends in its own [`Failure`] or success; a failed one does not stop others, only what depends on it.

mod cnat;
mod interface;
mod step;

pub use cnat::{SPREADS, spread_anew};

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use crate::objects::{Key, Object};
use crate::plan::{Objects, Plan, Step};
use crate::vpp::{Handles, Vpp};

/// Requests in flight at most: bounds memory on both sides and the wait of whatever comes next.
const WINDOW: usize = 256;

/// Steps of one stage made into requests together: one takes some kilobytes while it is under way.
const PART: usize = 16 * WINDOW;

/// Why a step did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// May succeed when tried again.
    #[error("{0}")]
    Transient(String),
    /// Will not succeed with the same input.
    #[error("{0}")]
    Final(String),
    /// VPP has other things than we thought: it must be read again.
    #[error("{0}")]
    Mismatch(String),
    /// The connection is gone.
    #[error("{0}")]
    Lost(String),
    /// Something it depends on is not there.
    #[error("waits for {0}")]
    Waits(Key),
}

/// What is in VPP, as far as the daemon knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// Our objects.
    pub objects: Objects,
    /// Their indices.
    pub handles: Handles,
}

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Steps done.
    pub done: BTreeSet<Key>,
    /// Steps that failed.
    pub failed: BTreeMap<Key, Failure>,
}

impl Report {
    /// Whether the connection broke.
    pub fn lost(&self) -> bool {
        self.failed
            .values()
            .any(|failure| matches!(failure, Failure::Lost(_)))
    }

    /// Whether VPP must be read again.
    pub fn mismatch(&self) -> bool {
        self.failed
            .values()
            .any(|failure| matches!(failure, Failure::Mismatch(_)))
    }
}

/// What a step changed beside its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    Index(u32),
    Memif { index: u32, socket: u32 },
}

/// Carries out `plan` and keeps `state` equal to what VPP then has.
pub async fn apply(vpp: &Vpp, state: &mut State, plan: &Plan) -> Report {
    let mut report = Report::default();
    for stage in &plan.stages {
        let dependants = dependants(stage, &state.objects);
        let (ready, waiting) = split(stage, &state.objects, &dependants);
        report.failed.extend(waiting);
        for part in ready.chunks(PART) {
            let handles = &state.handles;
            // Collected first: a stream over a closure is not general enough for a task that may change threads.
            let mut requests = Vec::with_capacity(part.len());
            for step in part {
                requests.push(step::execute(vpp, handles, step));
            }
            let outcomes: Vec<_> = futures::stream::iter(requests).buffered(WINDOW).collect().await;
            for (step, outcome) in part.iter().zip(outcomes) {
                match outcome {
                    Ok(effect) => {
                        record(state, step, effect);
                        report.done.insert(step.key().clone());
                        report.failed.remove(step.key());
                    }
                    Err(failure) => {
                        tracing::warn!(key = %step.key(), %failure, "step failed");
                        report.failed.insert(step.key().clone(), failure);
                    }
                }
            }
            if report.lost() {
                break;
            }
        }
        if report.lost() {
            break;
        }
    }
    report
}

/// What in VPP depends on the things that a stage deletes.
fn dependants(stage: &[Step], objects: &Objects) -> BTreeMap<Key, Key> {
    let doomed: BTreeSet<&Key> = stage
        .iter()
        .filter(|step| matches!(step, Step::Delete(..)))
        .map(Step::key)
        .filter(|key| key.is_depended_on())
        .collect();
    let mut found = BTreeMap::new();
    if doomed.is_empty() {
        return found;
    }
    for (key, object) in objects {
        for dependency in object.dependencies(key) {
            if doomed.contains(&dependency) {
                found.entry(dependency).or_insert_with(|| key.clone());
            }
        }
    }
    found
}

/// Steps that can be taken, and those that lack something because an earlier step failed.
fn split<'a>(
    stage: &'a [Step],
    objects: &Objects,
    dependants: &BTreeMap<Key, Key>,
) -> (Vec<&'a Step>, Vec<(Key, Failure)>) {
    let mut ready = Vec::new();
    let mut waiting = Vec::new();
    for step in stage {
        let lacks = match step {
            Step::Create(key, object) | Step::Update(key, _, object) => object
                .dependencies(key)
                .into_iter()
                .find(|d| !objects.contains_key(d)),
            Step::Delete(key, _) => dependants.get(key).cloned(),
        };
        match lacks {
            Some(key) => waiting.push((step.key().clone(), Failure::Waits(key))),
            None => ready.push(step),
        }
    }
    (ready, waiting)
}

fn record(state: &mut State, step: &Step, effect: Effect) {
    let key = step.key();
    match step.result() {
        Some(object) => {
            state.objects.insert(key.clone(), object.clone());
        }
        None => {
            state.objects.remove(key);
        }
    }
    let gone = matches!(step, Step::Delete(..));
    let index = match effect {
        Effect::None => None,
        Effect::Index(index) => Some(index),
        Effect::Memif { index, socket } => {
            if let Some(Object::Interface(interface)) = step.result()
                && let crate::objects::Device::Memif { socket: name, .. } = &interface.device
            {
                state.handles.sockets.insert(name.clone(), socket);
            }
            Some(index)
        }
    };
    let handles = &mut state.handles;
    match (key, index) {
        (Key::Interface(link), _) if gone => {
            handles.links.remove(link);
        }
        (Key::Acl(tag), _) if gone => {
            handles.acls.remove(tag);
        }
        (Key::Translation(vip), _) if gone => {
            handles.translations.remove(vip);
        }
        (Key::Interface(link), Some(index)) => {
            handles.links.insert(link.clone(), index);
        }
        (Key::Acl(tag), Some(index)) => {
            handles.acls.insert(tag.clone(), index);
        }
        (Key::Translation(vip), Some(id)) => {
            handles.translations.insert(*vip, id);
        }
        _ => {}
    }
}

#[cfg(test)]
mod endpoints;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod hammer;
#[cfg(test)]
mod packets;
#[cfg(test)]
mod tests;

#[cfg(test)]
mod walks;
