//! What the daemon counts.

use std::time::Duration;

use cni_shim::Command;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::agent::Snapshot;
use crate::apply::{Failure, Report};
use crate::objects::Area;

/// Part of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AreaLabel {
    /// interfaces, policies, services or chains.
    pub area: &'static str,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// done, transient, final, mismatch, lost or waits.
    pub outcome: &'static str,
}

/// A CNI command.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CommandLabel {
    /// ADD, DEL, CHECK, GC or STATUS.
    pub command: &'static str,
}

/// Those of kube-proxy's network_programming_duration_seconds, to be comparable, with finer ones below.
fn programming_buckets() -> impl Iterator<Item = f64> {
    let fine = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5];
    let seconds = (1..60).map(f64::from);
    let minutes = (60..120).step_by(5).chain((120..=300).step_by(30)).map(f64::from);
    fine.into_iter().chain(seconds).chain(minutes)
}

/// The daemon's metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Whether VPP is connected.
    pub vpp_connected: Gauge,
    /// Connections to VPP that broke.
    pub vpp_disconnects: Counter,
    /// Times that VPP was read and compared.
    pub reads: Counter,
    /// Steps that repaired what was not as it had been made.
    pub drift: Counter,
    /// Steps by outcome.
    pub steps: Family<OutcomeLabel, Counter>,
    /// Duration of applying one plan.
    pub apply_seconds: Histogram,
    /// Objects in VPP as they should be.
    pub objects: Family<AreaLabel, Gauge>,
    /// Pods attached.
    pub pods: Gauge,
    /// CNI requests.
    pub cni_requests: Family<CommandLabel, Counter>,
    /// Duration of successful ADDs.
    pub add_seconds: Histogram,
    /// Writes of status.
    pub status_writes: Counter,
    /// Time from a change of a Service's endpoints until VPP has it.
    pub service_programming_seconds: Histogram,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            vpp_connected: Gauge::default(),
            vpp_disconnects: Counter::default(),
            reads: Counter::default(),
            drift: Counter::default(),
            steps: Family::default(),
            apply_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 14)),
            objects: Family::default(),
            pods: Gauge::default(),
            cni_requests: Family::default(),
            add_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 14)),
            status_writes: Counter::default(),
            service_programming_seconds: Histogram::new(programming_buckets()),
        };
        let node = registry.sub_registry_with_prefix("contiv_node");
        let m = metrics.clone();
        node.register("vpp_connected", "Whether VPP is connected", m.vpp_connected);
        node.register(
            "vpp_disconnects",
            "Connections to VPP that broke",
            m.vpp_disconnects,
        );
        node.register("vpp_reads", "Times that VPP was read and compared", m.reads);
        node.register(
            "drift_steps",
            "Steps that repaired what was not as it had been made",
            m.drift,
        );
        node.register("steps", "Steps by outcome", m.steps);
        node.register_with_unit(
            "apply",
            "Duration of applying one plan",
            Unit::Seconds,
            m.apply_seconds,
        );
        node.register("objects", "Objects in VPP as they should be", m.objects);
        node.register("pods", "Pods attached", m.pods);
        node.register("cni_requests", "CNI requests", m.cni_requests);
        node.register_with_unit(
            "cni_add",
            "Duration of successful ADDs",
            Unit::Seconds,
            m.add_seconds,
        );
        node.register_with_unit(
            "service_programming",
            "Time from a change of a Service's endpoints (endpoints.kubernetes.io/last-change-trigger-time) until VPP has it",
            Unit::Seconds,
            m.service_programming_seconds,
        );
        node.register(
            "status_writes",
            "Writes of the VppConfig's status",
            m.status_writes,
        );
        metrics
    }

    /// Counts a CNI request.
    pub fn cni_request(&self, command: Command) {
        let command = match command {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Gc => "GC",
            Command::Status => "STATUS",
        };
        self.cni_requests.get_or_create(&CommandLabel { command }).inc();
    }

    /// Counts what became of a plan.
    pub fn applied(&self, report: &Report, took: Duration) {
        self.apply_seconds.observe(took.as_secs_f64());
        let count = |outcome, n: usize| {
            if n > 0 {
                self.steps
                    .get_or_create(&OutcomeLabel { outcome })
                    .inc_by(n as u64);
            }
        };
        count("done", report.done.len());
        for failure in report.failed.values() {
            let outcome = match failure {
                Failure::Transient(_) => "transient",
                Failure::Final(_) => "final",
                Failure::Mismatch(_) => "mismatch",
                Failure::Lost(_) => "lost",
                Failure::Waits(_) => "waits",
            };
            count(outcome, 1);
        }
    }

    /// Takes over the gauges.
    pub fn observe(&self, snapshot: &Snapshot) {
        self.vpp_connected.set(i64::from(snapshot.vpp.is_some()));
        self.pods.set(i64::try_from(snapshot.pods.0).unwrap_or(i64::MAX));
        for (area, state) in &snapshot.areas {
            let area = match area {
                Area::Interfaces => "interfaces",
                Area::Policies => "policies",
                Area::Services => "services",
                Area::Chains => "chains",
            };
            let applied = i64::try_from(state.applied).unwrap_or(i64::MAX);
            self.objects.get_or_create(&AreaLabel { area }).set(applied);
        }
    }
}
