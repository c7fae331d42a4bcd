//! Which steps are not tried now: those that failed for good, and those that wait for their next try.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::apply::{Failure, Report};
use crate::objects::{Key, Object};
use crate::plan::Objects;

/// First and longest wait before a step is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Failures by key.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failed: BTreeMap<Key, Failed>,
}

#[derive(Debug)]
struct Failed {
    /// What was wanted when it failed; `None` for a deletion. Another wish is another try.
    wanted: Option<Object>,
    failure: Failure,
    wait: Duration,
    /// `None` for final failures.
    at: Option<Instant>,
}

impl Retry {
    /// Takes in what became of a plan.
    pub fn record(&mut self, report: &Report, desired: &Objects, now: Instant) {
        for key in &report.done {
            if !report.failed.contains_key(key) {
                self.failed.remove(key);
            }
        }
        for (key, failure) in &report.failed {
            let wait = self
                .failed
                .get(key)
                .map_or(FIRST_WAIT, |before| (before.wait * 2).min(LONGEST_WAIT));
            let at = match failure {
                Failure::Final(_) => None,
                // Taken up by the next pass as soon as what it waits for is there.
                Failure::Waits(_) | Failure::Lost(_) => continue,
                Failure::Transient(_) | Failure::Mismatch(_) => Some(now + wait),
            };
            let wanted = desired.get(key).cloned();
            self.failed.insert(
                key.clone(),
                Failed {
                    wanted,
                    failure: failure.clone(),
                    wait,
                    at,
                },
            );
        }
    }

    /// Forgets what is no longer wanted in the same way, and what failed for another reason than itself.
    pub fn revise(&mut self, desired: &Objects) {
        self.failed
            .retain(|key, failed| desired.get(key) == failed.wanted.as_ref());
    }

    /// Keys that must not be tried now.
    pub fn held(&self, now: Instant) -> BTreeSet<Key> {
        self.failed
            .iter()
            .filter(|(_, failed)| failed.at.is_none_or(|at| at > now))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// Whether a try has come due.
    pub fn due(&self, now: Instant) -> bool {
        self.failed
            .values()
            .any(|failed| failed.at.is_some_and(|at| at <= now))
    }

    /// What failed and why.
    pub fn failures(&self) -> impl Iterator<Item = (&Key, &Failure)> {
        self.failed.iter().map(|(key, failed)| (key, &failed.failure))
    }

    /// Why the key failed, if it did.
    pub fn failure(&self, key: &Key) -> Option<&Failure> {
        self.failed.get(key).map(|failed| &failed.failure)
    }

    /// A new VPP is a new chance for everything.
    pub fn clear(&mut self) {
        self.failed.clear();
    }
}
