//! The one task that owns the state: takes in changes, compiles, compares, writes.
//!
//! ```text
//! inputs ─► State ─► (changed?) ─► update ─► plan ─► write sets, slices ─► policies ─► VppConfigs
//!             ▲                                                └─► statuses of intents, Events
//!             └── what was written, from the answers
//! ```
//!
//! A pass begins with the first change, at once; while it runs and for [`QUIET`] after it wrote
//! something, changes pile up and the next pass takes them together. So one object is never written
//! twice within that time, and no timer delays the first change. Nothing is compiled before every
//! kind's list is complete. A failed write is tried again later and stops nothing.
//!
//! A pass computes what depends on the changes, and compares what came of that, what others changed
//! of our objects, and what earlier passes left. Everything is compared at the start of a leadership
//! and every [`AUDIT`].

use std::collections::BTreeSet;
use std::time::Duration;

use compiler::{Engine, Output, Problem, Settings};
use crds::VppConfig;
use futures::{StreamExt, stream};
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use kube::{Api, Client, Resource};
use runtime::Gate;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::events::Told;
use crate::metrics::{KindLabel, Metrics};
use crate::objects::{OutputKey, Written, key, stored};
use crate::plan::{Memory, Plan, Scope, Target, Write, plan};
use crate::state::{Change, Dirty, Input, State};
use crate::watch::report;
use crate::write::{self, Writer, answer};

/// Pause between two passes that write.
pub const QUIET: Duration = Duration::from_millis(100);
/// Time between two comparisons of everything.
pub const AUDIT: Duration = Duration::from_secs(300);
/// Requests in flight.
const CONCURRENCY: usize = 16;
/// Inputs taken in at once.
const BATCH: usize = 1024;
/// Pause before another try to learn the node ids.
const ADOPT_PAUSE: Duration = Duration::from_secs(1);

/// Why the loop can't go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The watches ended.
    #[error("the watches ended")]
    NoInputs,
    /// The compiler panicked: a defect of ours.
    #[error("the compiler failed: {0}")]
    Compile(#[source] tokio::task::JoinError),
}

/// The owner of the state.
pub struct Control {
    client: Client,
    writer: Writer,
    settings: Settings,
    metrics: Metrics,
    gate: Gate,
    inputs: mpsc::Receiver<Input>,
    events: mpsc::Sender<Problem>,
    leader: watch::Receiver<bool>,
    state: State,
    /// All that the engine has said.
    output: Output,
    /// Whether the next pass compares everything.
    whole: bool,
    /// When everything was last compared.
    audited: Instant,
    memory: Memory,
    /// What of objects' sizes has been told; other problems are told when the engine says that they are new.
    told: Told,
    dirty: Dirty,
    /// Whether node ids must be learnt from the stored VppConfigs before the next compile.
    adopt: bool,
    last_pass: Instant,
    quiet_until: Instant,
}

/// What a [`Control`] is connected to.
pub struct Links {
    /// Client for reads and writes.
    pub client: Client,
    /// Changes from the watches.
    pub inputs: mpsc::Receiver<Input>,
    /// Problems to be published as Events.
    pub events: mpsc::Sender<Problem>,
    /// Whether we lead.
    pub leader: watch::Receiver<bool>,
    /// Opened when the first pass is done, or when we stand by with complete caches.
    pub gate: Gate,
}

impl Control {
    /// A loop that has seen nothing yet.
    pub fn new(settings: Settings, metrics: Metrics, links: Links) -> Self {
        let now = Instant::now();
        Self {
            writer: Writer::new(links.client.clone()),
            client: links.client,
            state: State::new(settings.clone()),
            settings,
            metrics,
            gate: links.gate,
            inputs: links.inputs,
            events: links.events,
            leader: links.leader,
            output: Output::default(),
            whole: true,
            audited: now,
            memory: Memory::default(),
            told: Told::default(),
            dirty: Dirty::default(),
            adopt: true,
            last_pass: now,
            quiet_until: now,
        }
    }

    /// Runs until the token is cancelled. A pass under way is dropped: its writes are full objects,
    /// and whoever leads next compares again.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        shutdown.run_until_cancelled(self.turn()).await.unwrap_or(Ok(()))
    }

    async fn turn(&mut self) -> Result<(), Error> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let wake = self.wake();
            tokio::select! {
                count = self.inputs.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Err(Error::NoInputs);
                    }
                    for input in batch.drain(..) {
                        self.dirty |= self.state.apply(input);
                    }
                    self.measure();
                }
                changed = self.leader.changed() => match changed {
                    Ok(()) => self.elected(),
                    // The election ended, and with it the process; its own task says why.
                    Err(_) => std::future::pending().await,
                },
                () = until(wake) => {}
            }
            let missing = self.state.missing();
            if !missing.is_empty() {
                self.gate
                    .close(format!("waiting for the first list of {}", missing.join(", ")));
                continue;
            }
            if !*self.leader.borrow() {
                // Caches are complete: ready to take over.
                self.gate.open();
                continue;
            }
            if self.wake().is_some_and(|due| due <= Instant::now()) {
                self.pass().await?;
            }
        }
    }

    /// When the next pass is due; `None` if only an input can make one necessary.
    fn wake(&self) -> Option<Instant> {
        if !*self.leader.borrow() || !self.state.missing().is_empty() {
            return None;
        }
        if self.dirty.any() {
            return Some(self.last_pass.max(self.quiet_until));
        }
        let audit = self.audited + AUDIT;
        let due = self
            .memory
            .next(self.last_pass)
            .map_or(audit, |due| due.min(audit));
        Some(due.max(self.quiet_until))
    }

    fn elected(&mut self) {
        let leads = *self.leader.borrow_and_update();
        self.metrics.leader.set(i64::from(leads));
        if leads {
            info!("Leading");
            // What the last leader did is known from the watches only; its problems may have been
            // told, but to whom is not known.
            self.adopt = true;
            self.whole = true;
            self.memory.clear();
            self.told = Told::default();
            self.dirty.facts = true;
        }
    }

    async fn pass(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        self.last_pass = started;
        if self.adopt {
            if let Err(error) = self.learn_node_ids().await {
                warn!(%error, "Node ids not learnt yet: nothing is written");
                self.quiet_until = Instant::now() + ADOPT_PAUSE;
                self.dirty.facts = true;
                return Ok(());
            }
            self.adopt = false;
            self.dirty.facts = true;
        }
        let dirty = std::mem::take(&mut self.dirty);
        let mut changed = std::mem::take(&mut self.state.foreign);
        let mut news = BTreeSet::new();
        if dirty.facts {
            let (mut keys, problems) = self.compile().await?;
            changed.append(&mut keys);
            news = problems;
        }
        // What the last leader told is not known.
        if self.whole {
            news.clone_from(&self.output.problems);
        }
        let scope = if self.whole || started >= self.audited + AUDIT {
            self.whole = false;
            self.audited = started;
            Scope::Everything
        } else {
            Scope::Changed(&changed)
        };
        let mut plan = plan(&self.output, &self.state.stored, scope, &mut self.memory, started);
        let sizes = std::mem::take(&mut plan.problems);
        let problems = self.output.problems.len() + sizes.len();
        news.extend(self.told.news(sizes.into_iter().collect()));
        let output = std::mem::take(&mut self.output);
        let wrote = self.execute(plan).await + self.write_statuses(&output).await;
        self.output = output;
        self.metrics
            .problems
            .set(i64::try_from(problems).unwrap_or(i64::MAX));
        for problem in news {
            if self.events.try_send(problem).is_err() {
                self.metrics.events_dropped.inc();
            }
        }
        if wrote > 0 {
            self.quiet_until = Instant::now() + QUIET;
        }
        self.gate.open();
        let duration = started.elapsed();
        self.metrics.pass_seconds.observe(duration.as_secs_f64());
        debug!(wrote, ?duration, "Pass");
        Ok(())
    }

    /// Learns the node ids from a fresh list: our cache may be behind the last leader's writes, and
    /// an id must never be given twice.
    async fn learn_node_ids(&mut self) -> Result<(), write::Error> {
        let api: Api<DeserializeGuard<VppConfig>> = Api::all(self.client.clone());
        let list = answer(api.list(&ListParams::default())).await?;
        let objects = list
            .items
            .iter()
            .map(|object| (key(object.meta()), (stored(object), report(object))))
            .collect();
        let change = Change::Replace {
            objects,
            unreadable: Vec::new(),
        };
        self.dirty |= self.state.apply(Input::Outputs(VppConfig::KIND, change));
        self.state.adopt_node_ids();
        Ok(())
    }

    /// Brings the output up to date, and says which objects differ and which problems are new.
    ///
    /// On a thread for blocking work: at the start all is computed, and a large cluster takes longer
    /// than the lease's renewal may wait.
    async fn compile(&mut self) -> Result<(BTreeSet<OutputKey>, BTreeSet<Problem>), Error> {
        let started = Instant::now();
        let away = Engine::new(self.settings.clone());
        let mut engine = std::mem::replace(&mut self.state.engine, away);
        let mut output = std::mem::take(&mut self.output);
        let work = move || {
            let mut changed = BTreeSet::new();
            let mut problems = BTreeSet::new();
            engine.update_into(&mut |change| {
                changed.extend(OutputKey::of(&change));
                match &change {
                    compiler::Change::Problem(problem, true) => {
                        problems.insert(problem.clone());
                    }
                    compiler::Change::Problem(problem, false) => {
                        problems.remove(problem);
                    }
                    _ => {}
                }
                output.apply(change);
            });
            (engine, output, (changed, problems))
        };
        let (engine, output, news) = tokio::task::spawn_blocking(work).await.map_err(Error::Compile)?;
        self.state.engine = engine;
        self.output = output;
        self.metrics
            .compile_seconds
            .observe(started.elapsed().as_secs_f64());
        Ok(news)
    }

    /// Writes stage after stage, then deletes in reverse; returns how many requests it made.
    async fn execute(&mut self, plan: Plan) -> usize {
        self.metrics
            .unchanged
            .inc_by(u64::try_from(plan.unchanged).unwrap_or(u64::MAX));
        for key in &plan.refused {
            self.metrics.wrote(key.kind.name(), "apply", "refused");
            warn!(object = %key, "Too large to be written; the last good one stays");
        }
        let count = plan.writes.len() + plan.deletes.len();
        for stage in stages(plan.writes, |write| write.key.kind.stage()) {
            self.apply(stage).await;
        }
        for stage in stages(plan.deletes, |key| key.kind.stage()) {
            self.delete(stage).await;
        }
        count
    }

    async fn apply(&mut self, writes: Vec<Write>) {
        let writer = &self.writer;
        let answers = all(writes, |write| async move {
            let said = writer.apply(&write).await;
            (write, said)
        });
        for (write, answer) in answers.await {
            let target = Target::Object(write.key.clone());
            let kind = write.key.kind.name();
            match answer {
                Ok(stored) => {
                    debug!(object = %write.key, revision = write.revision, "Applied");
                    self.metrics.wrote(kind, "apply", "ok");
                    self.memory.succeeded(&target);
                    self.state.wrote(write.key, stored);
                }
                Err(error) => {
                    warn!(object = %write.key, %error, "Not applied; it is tried again");
                    self.metrics.wrote(kind, "apply", "failed");
                    self.memory.failed(target, &write.revision, Instant::now());
                }
            }
        }
    }

    async fn delete(&mut self, keys: Vec<OutputKey>) {
        let writer = &self.writer;
        let answers = all(keys, |key| async move {
            let said = writer.delete(&key).await;
            (key, said)
        });
        for (key, answer) in answers.await {
            let target = Target::Object(key.clone());
            match answer {
                Ok(()) => {
                    debug!(object = %key, "Deleted");
                    self.metrics.wrote(key.kind.name(), "delete", "ok");
                    self.memory.succeeded(&target);
                    self.state.deleted(&key);
                }
                Err(error) => {
                    warn!(object = %key, %error, "Not deleted; it is tried again");
                    self.metrics.wrote(key.kind.name(), "delete", "failed");
                    self.memory.failed(target, "", Instant::now());
                }
            }
        }
    }

    fn measure(&self) {
        for (kind, count) in self.state.sizes() {
            let gauge = self.metrics.objects.get_or_create(&KindLabel { kind });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Makes a request for each item, some at a time.
async fn all<T, A, F: Future<Output = A>>(items: Vec<T>, request: impl Fn(T) -> F) -> Vec<A> {
    stream::iter(items)
        .map(request)
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

/// Cuts a list that is ordered by stage into its stages.
fn stages<T>(items: Vec<T>, stage: impl Fn(&T) -> u8) -> Vec<Vec<T>> {
    let mut stages: Vec<Vec<T>> = Vec::new();
    for item in items {
        match stages.last_mut() {
            Some(last) if last.first().map(&stage) == Some(stage(&item)) => last.push(item),
            _ => stages.push(vec![item]),
        }
    }
    stages
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

mod statuses;

#[cfg(test)]
mod tests;
