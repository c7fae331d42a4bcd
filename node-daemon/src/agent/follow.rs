//! Changes of Services while everything else rests: what they come to, and nothing else, is computed, compared and
//! sent. Whatever does not go as planned is left to [`super::converge`], which looks at everything.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Agent;
use crate::apply;
use crate::desired::Inputs;
use crate::objects::{Area, Key};
use crate::plan::plan_keys;

/// How what is in VPP stands to what should be.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Objects that are there as they should be.
    pub applied: BTreeMap<Area, usize>,
    /// Objects that are not.
    pub absent: Vec<Key>,
    /// Whether VPP has nothing else of ours either.
    pub whole: bool,
}

impl Agent {
    /// Compares everything.
    pub(super) fn stand(&mut self) {
        let mut standing = Standing::default();
        for (key, object) in &self.desired.objects {
            if self.state.objects.get(key) == Some(object) {
                *standing.applied.entry(key.area()).or_default() += 1;
            } else {
                standing.absent.push(key.clone());
            }
        }
        let sizes = (self.desired.objects.len(), self.state.objects.len());
        standing.whole = standing.absent.is_empty() && sizes.0 == sizes.1;
        self.standing = standing;
    }

    /// Takes the changes of Services since the last round into VPP. `false` if everything must be looked at; then
    /// nothing was done, or something went wrong.
    pub(super) async fn follow_services(&mut self) -> bool {
        let at_rest = self.informed() && self.read && self.standing.whole && self.adding.is_empty();
        let (Some(vpp), Some(mut index)) = (self.vpp.clone().filter(|_| at_rest), self.index.take()) else {
            return false;
        };
        let mut desired = std::mem::take(&mut self.desired);
        let moved = std::mem::take(&mut self.moved);
        let followed = self.effective_spec().and_then(|spec| {
            let inputs = Inputs {
                spec: &spec,
                cluster: &self.cluster,
                attachments: &self.attachments,
                deferred: &self.deferred,
                local: &self.local,
                last_rules: &self.last_rules,
            };
            index.follow(&inputs, &moved, &mut desired)
        });
        self.desired = desired;
        let Some(followed) = followed else { return false };
        self.index = Some(index);
        for key in &followed.keys {
            if self.state.objects.contains_key(key) {
                let count = self.standing.applied.entry(key.area()).or_default();
                *count = count.saturating_sub(1);
            }
        }
        let plan = plan_keys(&self.desired.objects, &self.state.objects, &followed.keys);
        if !plan.is_empty() {
            self.note_plan(&plan);
            let started = Instant::now();
            self.spare_connections(&plan, started).await;
            let report = apply::apply(&vpp, &mut self.state, &plan).await;
            self.metrics.applied(&report, started.elapsed());
            self.retry.record(&report, &self.desired.objects, started);
            if report.lost() {
                self.lose_vpp("the connection broke".to_owned());
            }
            if report.mismatch() {
                self.read = false;
            }
            if !report.failed.is_empty() {
                return false;
            }
        }
        if !plan.pending.is_empty() {
            return false;
        }
        for key in followed
            .keys
            .iter()
            .filter(|key| self.state.objects.contains_key(*key))
        {
            *self.standing.applied.entry(key.area()).or_default() += 1;
        }
        self.measure_programming();
        if followed.host {
            self.follow_host();
        }
        self.publish();
        true
    }
}
