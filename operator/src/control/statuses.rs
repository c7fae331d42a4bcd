//! The part of a pass that writes what became of users' intents.

use compiler::{ObjectKey, Output};
use crds::{CNF, ServiceChain};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::ApiResource;
use serde::Serialize;
use tokio::time::Instant;
use tracing::warn;

use super::{Control, all};
use crate::plan::Target;
use crate::state::{Source, StoredStatus};
use crate::status::{chain_status, cnf_status, part};
use crate::write::StatusWrite;

impl Control {
    /// Writes the statuses that say something new; returns how many requests it made.
    pub(super) async fn write_statuses(&mut self, output: &Output) -> usize {
        let now = Time(Timestamp::now());
        let mut chains = Vec::new();
        for (key, verdict) in &output.chains {
            let Some(held) = self.state.chains.get(key) else {
                continue;
            };
            let said = |node: &str| part(&self.state, output, key, node);
            let status = chain_status(verdict, &held.status, said, &now);
            if status != held.status {
                let uid = held.uid.clone();
                let key = key.clone();
                chains.push(StatusWrite { key, uid, status });
            }
        }
        let mut cnfs = Vec::new();
        for (key, verdict) in &output.cnfs {
            let Some(held) = self.state.cnfs.get(key) else {
                continue;
            };
            let status = cnf_status(verdict, &held.status, &now);
            if status != held.status {
                let uid = held.uid.clone();
                let key = key.clone();
                cnfs.push(StatusWrite { key, uid, status });
            }
        }
        let mut count = 0;
        let resource = ApiResource::erase::<ServiceChain>(&());
        let chains = self.send(
            Source::Chains.name(),
            &resource,
            chains,
            Target::ChainStatus,
            &mut count,
        );
        for (key, stored) in chains.await {
            self.state.chains.insert(key, stored);
        }
        let resource = ApiResource::erase::<CNF>(&());
        let cnfs = self.send(
            Source::Cnfs.name(),
            &resource,
            cnfs,
            Target::CnfStatus,
            &mut count,
        );
        for (key, stored) in cnfs.await {
            self.state.cnfs.insert(key, stored);
        }
        count
    }

    async fn send<S: Serialize + Clone>(
        &mut self,
        kind: &'static str,
        resource: &ApiResource,
        writes: Vec<StatusWrite<S>>,
        target: fn(ObjectKey) -> Target,
        count: &mut usize,
    ) -> Vec<(ObjectKey, StoredStatus<S>)> {
        let now = Instant::now();
        let mut due = Vec::new();
        for write in writes {
            let revision = crds::revision::short_hash(&write.status);
            let target = target(write.key.clone());
            if !self.memory.is_paused(&target, &revision, now) {
                due.push((write, target, revision));
            }
        }
        *count += due.len();
        let writer = &self.writer;
        let answers = all(due, |(write, target, revision)| async move {
            let said = writer.status(resource, &write).await;
            (write.key, target, revision, said)
        });
        let mut done = Vec::new();
        for (key, target, revision, answer) in answers.await {
            match answer {
                Ok(stored) => {
                    self.metrics.wrote(kind, "status", "ok");
                    self.memory.succeeded(&target);
                    // `None`: gone or another one by now; the watch will tell.
                    done.extend(stored.map(|stored| (key, stored)));
                }
                Err(error) => {
                    warn!(kind, object = %key, %error, "Status not written; it is tried again");
                    self.metrics.wrote(kind, "status", "failed");
                    self.memory.failed(target, &revision, Instant::now());
                }
            }
        }
        done
    }
}
