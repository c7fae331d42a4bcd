//! The one owner of the node's state. It drains one queue, and after each batch of events makes VPP what it should be.
//!
//! ```text
//! events ─► handle (cheap, no waiting) ─► converge: desired ─► plan ─► apply ─► CNI answers, snapshot
//! ```
//!
//! What blocks (network namespaces, veths) runs beside it and comes back as an event. Requests to VPP are waited for,
//! all of a batch together; VPP answers within milliseconds or its connection is given up.

mod add;
mod affinity;
mod cni;
mod converge;
mod follow;
mod linger;
mod pod;
mod programming;
mod retry;
mod snapshot;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cni_shim::{AttachmentKey, CniError};
use crds::{VppConfig, VppConfigSpec};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::actual::Remembered;
use crate::apply::State;
use crate::attachments::{AttachmentStore, Attachments, StoreError};
use crate::cluster::Cluster;
use crate::cni::CniCall;
use crate::desired::{Desired, Local, Moved, ServiceIndex};
use crate::host::HostSide;
use crate::ipam::Ipam;
use crate::metrics::Metrics;
use crate::objects::Rule;
use crate::statefile::{Retained, Saved, StateFile};
use crate::vpp::Vpp;
use crate::watch::{Change, KindChange};

pub use snapshot::{AreaState, Snapshot};

/// What the agent is told.
#[derive(Debug)]
pub enum Event {
    /// The node's own VppConfig; `None` when there is none, which means "no opinion", never "flush".
    Config(Option<Box<VppConfig>>),
    /// Something about the rest of the cluster.
    Cluster(Change),
    /// A CNI request.
    Cni(Box<CniCall>),
    /// VPP is there, freshly connected: what it has is not known.
    VppUp(Box<Vpp>),
    /// VPP is gone, and why.
    VppDown(String),
    /// VPP says that the interface with this index is gone, or that some such event was lost: a hint to look.
    VppEvent(Option<u32>),
    /// An attachment being made is on disk, its namespace is vacant, and its veths are there.
    Prepared(AttachmentKey, Result<(), CniError>),
    /// The pod's side of an attachment is made and, if that ends its ADD, the disk says so.
    Configured(AttachmentKey, Result<(), CniError>),
    /// The node's own side of its tap is made.
    HostConfigured(Result<(), String>),
}

/// Most events handled before VPP is made to follow.
const BATCH: usize = 1024;

/// How often time alone is looked at: deadlines of ADDs, retries, the comparison with VPP.
const TICK: Duration = Duration::from_millis(250);

/// How long the API server may take before the state on disk stands in for it: what was written last may lack the last
/// moment before a crash, and must not undo it while somebody is there who knows better.
const DISK_GRACE: Duration = Duration::from_secs(3);

/// The agent.
pub struct Agent {
    events: mpsc::Sender<Event>,
    local: Local,
    resync: Duration,
    metrics: Metrics,
    snapshots: watch::Sender<Snapshot>,

    /// The node's configuration and its generation, as last seen.
    spec: Option<(VppConfigSpec, Option<i64>)>,
    /// Bindings of attached pods that the configuration no longer has, by UID: what runs keeps its interface and its
    /// policies until the runtime deletes it.
    retained: BTreeMap<String, Retained>,
    cluster: Cluster,
    /// Whether the API server, rather than the disk, told us of the cluster, by kind.
    synced: Synced,
    /// Whether there is a state from disk, which may be a little older than what is in VPP.
    restored: bool,
    /// When to go by the state from disk if the API server has not answered by then.
    trust_disk_at: Instant,
    /// Whether that time has come.
    trusted: bool,
    statefile: Arc<Mutex<StateFile>>,
    /// A write of it under way.
    saving: Option<JoinHandle<()>>,
    /// Whether the inputs changed since they were written.
    unsaved: bool,

    attachments: Attachments,
    store: AttachmentStore,
    ipam: Ipam,
    adding: BTreeMap<AttachmentKey, add::Adding>,
    deferred: BTreeSet<String>,
    /// Answers that wait until VPP has followed.
    leaving: Vec<cni::Leaving>,

    vpp: Option<Vpp>,
    vpp_down: String,
    state: State,
    /// Whether `state` is what VPP has.
    read: bool,
    next_read: Instant,
    /// Whether the coming read is to find out what changed behind our back.
    checking: bool,
    remembered: Remembered,
    desired: Desired,
    last_rules: BTreeMap<String, Vec<Rule>>,
    retry: retry::Retry,
    /// Underlay addresses that VPP has, or has had since this daemon started.
    announced: BTreeSet<IpAddr>,
    host_side: Option<HostSide>,
    host_error: Option<String>,
    /// Whether the node's side is being made: one at a time, or the older table might come last.
    host_busy: bool,
    /// Whether it has just been made, so that what waited for it may go on.
    host_done: bool,
    /// Connections to endpoints that get no new ones.
    linger: linger::Linger,
    /// How long clients stay with their backends.
    affinities: affinity::Affinities,
    /// When changes of endpoints began that VPP does not have yet.
    triggered: Vec<k8s_openapi::jiff::Timestamp>,
    /// Whether everything is to be computed and compared.
    dirty: bool,
    /// Slices of Services that changed since `desired` was computed.
    moved: Moved,
    /// What single changes of Services are followed by; `None` when they cannot be.
    index: Option<ServiceIndex>,
    standing: follow::Standing,
}

/// Kinds whose first list has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Synced {
    config: bool,
    policies: bool,
    sets: bool,
    services: bool,
    peers: bool,
}

impl Synced {
    fn all(self) -> bool {
        self.config && self.policies && self.sets && self.services && self.peers
    }
}

/// What an agent is made of.
pub struct Parts {
    /// Its own queue, for what it starts beside itself.
    pub events: mpsc::Sender<Event>,
    /// Local settings.
    pub local: Local,
    /// Time between comparisons with VPP.
    pub resync: Duration,
    /// Counters.
    pub metrics: Metrics,
    /// Where snapshots go.
    pub snapshots: watch::Sender<Snapshot>,
    /// Files of attachments.
    pub store: AttachmentStore,
    /// File of the last inputs.
    pub statefile: StateFile,
    /// Socket of VPP's counters.
    pub stats_socket: PathBuf,
}

impl Agent {
    /// An agent that knows what the disk knows. Blocks on the disk.
    ///
    /// # Errors
    /// When the attachments cannot be read.
    pub fn restore(parts: Parts) -> Result<Self, StoreError> {
        let Parts {
            events,
            local,
            resync,
            metrics,
            snapshots,
            store,
            statefile,
            stats_socket,
        } = parts;
        let (mut attachments, quarantined) = store.load()?;
        for each in quarantined {
            tracing::error!(path = %each.path.display(), reason = each.reason, "attachment file set aside");
        }
        // An ADD that a crash interrupted was never answered: the runtime will delete it or add again.
        let interrupted: Vec<_> = attachments
            .iter()
            .filter(|each| each.state == crate::attachments::State::Reserved)
            .cloned()
            .collect();
        let saved = statefile.load();
        let restored = saved.is_some();
        let saved = saved.unwrap_or_default();
        let cidrs = saved.spec.as_ref().map_or(&[][..], |spec| &spec.node.pod_cidrs);
        let mut ipam = Ipam::new(cidrs);
        for each in &interrupted {
            attachments.remove(&each.key());
            pod::remove_veths(each, &[]);
            store.remove(&each.key())?;
        }
        for address in attachments.iter().flat_map(|each| &each.addresses) {
            ipam.reserve(*address);
        }
        let mut cooling = store.load_cooling();
        let now = SystemTime::now();
        cooling.extend(
            interrupted
                .iter()
                .flat_map(|each| &each.addresses)
                .map(|a| (*a, now)),
        );
        ipam.restore_cooling(cooling);
        Ok(Self {
            events,
            local,
            resync,
            metrics,
            snapshots,
            spec: saved.spec.map(|spec| (spec, saved.generation)),
            retained: saved.retained,
            cluster: saved.cluster,
            synced: Synced::default(),
            restored,
            trust_disk_at: Instant::now() + DISK_GRACE,
            trusted: false,
            statefile: Arc::new(Mutex::new(statefile)),
            saving: None,
            unsaved: false,
            attachments,
            store,
            ipam,
            adding: BTreeMap::new(),
            deferred: BTreeSet::new(),
            leaving: Vec::new(),
            vpp: None,
            vpp_down: "not connected yet".to_owned(),
            state: State::default(),
            read: false,
            next_read: Instant::now(),
            checking: false,
            remembered: Remembered {
                excluded: saved.excluded,
            },
            desired: Desired::default(),
            last_rules: BTreeMap::new(),
            retry: retry::Retry::default(),
            announced: BTreeSet::new(),
            host_side: None,
            host_error: None,
            host_busy: false,
            host_done: false,
            linger: linger::Linger::default(),
            affinities: affinity::Affinities::new(stats_socket),
            triggered: Vec::new(),
            dirty: true,
            moved: Moved::new(),
            index: None,
            standing: follow::Standing::default(),
        })
    }

    /// Drains the queue until `stop`, or until all senders are gone.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Event>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                event = queue.recv() => match event {
                    Some(event) => Some(event),
                    None => break,
                },
                _ = ticks.tick() => None,
            };
            if let Some(event) = event {
                self.handle(event);
                for _ in 1..BATCH {
                    let Ok(event) = queue.try_recv() else { break };
                    self.handle(event);
                }
            }
            self.step(Instant::now()).await;
        }
        // Pods are served on: nothing is undone at the end of the daemon, VPP forwards without it.
        self.save();
        if let Some(saving) = self.saving.take() {
            // One that failed has said so.
            let _ = saving.await;
        }
    }

    /// Takes in one event; what follows from it happens in [`Agent::step`].
    fn handle(&mut self, event: Event) {
        match event {
            Event::Config(config) => self.take_config(config),
            Event::Cluster(change) => self.take_cluster(change),
            Event::Cni(call) => self.take_call(*call),
            Event::VppUp(vpp) => {
                tracing::info!(version = vpp.version, "connected to VPP");
                self.local.cnat = vpp.features.cnat.is_some();
                self.local.cnat_v1 = vpp.features.cnat == Some(crate::vpp::CnatApi::V1_0);
                self.local.abf = vpp.features.abf;
                self.linger.reconnected();
                self.affinities.reconnected();
                self.vpp = Some(*vpp);
                self.read = false;
                self.retry.clear();
                self.dirty = true;
            }
            Event::VppDown(reason) => self.lose_vpp(reason),
            // Interfaces that the agent deleted itself have no index any more.
            Event::VppEvent(Some(index)) if !self.state.handles.links.values().any(|i| *i == index) => {}
            Event::VppEvent(_) => {
                self.next_read = self.next_read.min(Instant::now() + Duration::from_secs(1))
            }
            Event::Prepared(key, outcome) => self.take_prepared(&key, outcome),
            Event::Configured(key, outcome) => self.take_configured(&key, outcome),
            Event::HostConfigured(outcome) => {
                self.host_busy = false;
                self.host_done = true;
                if outcome.is_err() {
                    // The next pass tries again.
                    self.host_side = None;
                }
                self.dirty |= outcome.is_err() || self.host_error.is_some();
                self.host_error = outcome.err();
            }
        }
    }

    fn take_config(&mut self, config: Option<Box<VppConfig>>) {
        self.synced.config = true;
        self.dirty = true;
        self.unsaved = true;
        let Some(mut config) = config else {
            tracing::warn!("no VppConfig for this node: what is in VPP stays");
            return;
        };
        if self
            .spec
            .as_ref()
            .is_none_or(|(spec, _)| spec.revision != config.spec.revision)
        {
            tracing::info!(
                revision = config.spec.revision,
                pods = config.spec.pods.len(),
                "configuration changed"
            );
        }
        self.local.kernel_interfaces.settle(&mut config.spec);
        self.ipam.change_cidrs(&config.spec.node.pod_cidrs);
        let before = self.spec.replace((config.spec, config.metadata.generation));
        self.retain_bindings(before.map(|(spec, _)| spec).unwrap_or_default());
    }

    /// Keeps the bindings of attached pods that are no longer bound, and drops those of pods that are bound again or
    /// detached.
    fn retain_bindings(&mut self, mut before: VppConfigSpec) {
        for binding in std::mem::take(&mut before.pods) {
            let uid = binding.uid.to_string();
            self.retained
                .entry(uid)
                .or_insert_with(|| Retained::of(binding, &before));
        }
        let bound: BTreeSet<&str> = self
            .spec
            .iter()
            .flat_map(|(spec, _)| &spec.pods)
            .map(|binding| binding.uid.as_str())
            .collect();
        let attachments = &self.attachments;
        self.retained
            .retain(|uid, _| !bound.contains(uid.as_str()) && attachments.of_pod(uid).next().is_some());
    }

    /// The configuration with the retained bindings.
    fn effective_spec(&self) -> Option<Cow<'_, VppConfigSpec>> {
        let (spec, _) = self.spec.as_ref()?;
        if self.retained.is_empty() {
            return Some(Cow::Borrowed(spec));
        }
        let mut spec = spec.clone();
        for retained in self.retained.values() {
            retained.restore(&mut spec);
        }
        Some(Cow::Owned(spec))
    }

    fn take_cluster(&mut self, change: Change) {
        if let Change::Services(change) = &change {
            self.note_trigger(change);
        }
        self.unsaved = true;
        let synced = &mut self.synced;
        match change {
            Change::Services(KindChange::Set(name, slice)) => {
                let before = self.cluster.services.insert(name.clone(), slice);
                self.moved.entry(name).or_insert(before);
                return;
            }
            Change::Services(KindChange::Remove(name)) => {
                let before = self.cluster.services.remove(&name);
                self.moved.entry(name).or_insert(before);
                return;
            }
            Change::Policies(change) => synced.policies |= change.apply(&mut self.cluster.policies),
            Change::Sets(change) => synced.sets |= change.apply(&mut self.cluster.sets),
            Change::Services(change) => synced.services |= change.apply(&mut self.cluster.services),
            Change::Peers(change) => synced.peers |= change.apply(&mut self.cluster.peers),
        }
        self.dirty = true;
    }

    fn lose_vpp(&mut self, reason: String) {
        if self.vpp.take().is_some() {
            tracing::warn!(reason, "lost VPP");
            self.metrics.vpp_disconnects.inc();
        }
        self.vpp_down = reason;
        self.read = false;
        self.dirty = true;
    }

    /// Starts a write of the inputs to disk; one after the other.
    fn save(&mut self) {
        // Half a cluster is never written over a whole one.
        if !self.unsaved || !(self.synced.all() || self.restored) {
            return;
        }
        self.unsaved = false;
        let saved = Saved {
            spec: self.spec.as_ref().map(|(spec, _)| spec.clone()),
            generation: self.spec.as_ref().and_then(|(_, generation)| *generation),
            retained: self.retained.clone(),
            cluster: self.cluster.clone(),
            excluded: self.remembered.excluded.clone(),
        };
        let (file, before) = (self.statefile.clone(), self.saving.take());
        self.saving = Some(tokio::spawn(async move {
            if let Some(before) = before {
                // Whether it failed or not, this one replaces it.
                let _ = before.await;
            }
            let write = move || file.lock().unwrap_or_else(PoisonError::into_inner).save(saved);
            match tokio::task::spawn_blocking(write).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the last state could not be written"),
                Err(error) => tracing::error!(%error, "the last state could not be written"),
            }
        }));
    }

    /// Whether it is too soon for another write.
    fn resting(&self) -> bool {
        let busy = self.saving.as_ref().is_some_and(|saving| !saving.is_finished());
        busy || self.statefile.try_lock().is_ok_and(|file| file.resting())
    }
}
