//! What users should be told, by what it follows from.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{ObjectKey, Problem};

/// Whose problems they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Pod(ObjectKey),
    Policy(ObjectKey),
    Service(ObjectKey),
    Config(String),
    Topology,
    Intents,
}

/// All problems, by source: two sources may tell the same.
#[derive(Debug, Default)]
pub(super) struct Problems {
    of: BTreeMap<Source, BTreeSet<Problem>>,
    counts: BTreeMap<Problem, u32>,
}

impl Problems {
    /// What a source tells now. What may have come or gone by that is added to `touched`.
    pub(super) fn replace(
        &mut self,
        source: Source,
        problems: BTreeSet<Problem>,
        touched: &mut BTreeSet<Problem>,
    ) {
        for problem in &problems {
            *self.counts.entry(problem.clone()).or_default() += 1;
        }
        touched.extend(problems.iter().cloned());
        let old = match problems.is_empty() {
            true => self.of.remove(&source),
            false => self.of.insert(source, problems),
        };
        for problem in old.into_iter().flatten() {
            if let Some(count) = self.counts.get_mut(&problem) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&problem);
                }
            }
            touched.insert(problem);
        }
    }

    /// Whether some source tells it.
    pub(super) fn contains(&self, problem: &Problem) -> bool {
        self.counts.contains_key(problem)
    }
}
