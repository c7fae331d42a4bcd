//! What the operator counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A kind of objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// Name of the kind.
    pub kind: &'static str,
}

/// A watch event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WatchLabels {
    /// Name of the kind.
    pub kind: &'static str,
    /// list, apply, delete, unreadable or error.
    pub event: &'static str,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WriteLabels {
    /// Name of the kind.
    pub kind: &'static str,
    /// apply, delete or status.
    pub verb: &'static str,
    /// ok, failed or refused (too large).
    pub outcome: &'static str,
}

/// The operator's metrics; clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Duration of compiles.
    pub compile_seconds: Histogram,
    /// Duration of passes: compile, compare and write.
    pub pass_seconds: Histogram,
    /// Events of watches.
    pub watch_events: Family<WatchLabels, Counter>,
    /// Requests that change something.
    pub writes: Family<WriteLabels, Counter>,
    /// Objects that needed no write, summed over all passes.
    pub unchanged: Counter,
    /// Objects known.
    pub objects: Family<KindLabel, Gauge>,
    /// Mistakes told to users that are still there.
    pub problems: Gauge,
    /// Events on users' objects that found the queue full.
    pub events_dropped: Counter,
    /// Whether this process is the one that writes.
    pub leader: Gauge,
}

impl Metrics {
    /// Makes and registers them, all named `contiv_operator_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            // 0.25 ms … 8 s.
            compile_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            pass_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            watch_events: Family::default(),
            writes: Family::default(),
            unchanged: Counter::default(),
            objects: Family::default(),
            problems: Gauge::default(),
            events_dropped: Counter::default(),
            leader: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("contiv_operator");
        registry.register_with_unit(
            "compile",
            "Duration of compiles",
            Unit::Seconds,
            metrics.compile_seconds.clone(),
        );
        registry.register_with_unit(
            "pass",
            "Duration of passes: compile, compare and write",
            Unit::Seconds,
            metrics.pass_seconds.clone(),
        );
        registry.register(
            "watch_events",
            "Watch events by kind",
            metrics.watch_events.clone(),
        );
        registry.register(
            "writes",
            "Writes by kind, verb and outcome",
            metrics.writes.clone(),
        );
        registry.register(
            "unchanged",
            "Objects that a pass left as they are",
            metrics.unchanged.clone(),
        );
        registry.register("objects", "Objects known by kind", metrics.objects.clone());
        registry.register("problems", "Mistakes in users' objects", metrics.problems.clone());
        registry.register(
            "events_dropped",
            "Events on users' objects not published because the queue was full",
            metrics.events_dropped.clone(),
        );
        registry.register(
            "leader",
            "1 if this process is the one that writes",
            metrics.leader.clone(),
        );
        metrics
    }

    /// Counts a write.
    pub fn wrote(&self, kind: &'static str, verb: &'static str, outcome: &'static str) {
        let labels = WriteLabels { kind, verb, outcome };
        self.writes.get_or_create(&labels).inc();
    }

    /// Counts a watch event.
    pub fn watched(&self, kind: &'static str, event: &'static str) {
        self.watch_events
            .get_or_create(&WatchLabels { kind, event })
            .inc();
    }
}
