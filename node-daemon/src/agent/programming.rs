//! How long changes of Services' endpoints take to get into VPP.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::Agent;
use crate::objects::Area;
use crate::watch::KindChange;
use crds::VppServiceSliceSpec;

impl Agent {
    /// Notes when a change began. What the first list says was programmed before, or nobody waited for it: kube-proxy
    /// leaves it out of its measure too.
    pub(super) fn note_trigger(&mut self, change: &KindChange<Arc<VppServiceSliceSpec>>) {
        let KindChange::Set(name, spec) = change else {
            return;
        };
        let known = self
            .cluster
            .services
            .get(name)
            .and_then(|slice| slice.triggered.as_deref());
        if let Some(triggered) = spec.triggered.as_deref().filter(|time| Some(*time) != known) {
            self.triggered.extend(triggered.parse::<Timestamp>().ok());
        }
    }

    /// Tells the metric of changes that VPP has now.
    pub(super) fn measure_programming(&mut self) {
        if self.triggered.is_empty() || !self.read {
            return;
        }
        let services = |key: &crate::objects::Key| key.area() == Area::Services;
        if self.standing.absent.iter().any(services) {
            return;
        }
        let now = Timestamp::now();
        for began in self.triggered.drain(..) {
            let took = delay(began, now).as_secs_f64();
            self.metrics.service_programming_seconds.observe(took);
        }
    }
}

/// Time since a change began; none if the clock that said so is ahead.
fn delay(began: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(began)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_25_delays_are_never_negative() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let began = at("2026-01-01T00:00:00Z");
        assert_eq!(
            delay(began, at("2026-01-01T00:00:01.5Z")),
            Duration::from_millis(1500)
        );
        assert_eq!(
            delay(began, at("2026-01-01T01:00:00.25+01:00")),
            Duration::from_millis(250)
        );
        assert_eq!(delay(began, at("2025-12-31T23:59:59Z")), Duration::ZERO);
    }
}
