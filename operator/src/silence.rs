//! Nodes whose daemon has fallen silent: their status says what was, not what is.
//!
//! Each daemon renews a Lease `node-<node>`. When a Lease has not been renewed for its own duration,
//! measured by our clock since we last saw it change (client-go's rule: clocks of others may be
//! wrong), the leader sets `Ready` of the node's VppConfig to `Unknown`. Kubernetes' node
//! controller does the same for Nodes. The daemon takes its status back when it returns.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use crds::conditions::{self, READY};
use crds::{OPERATOR_MANAGER, VppConfig};
use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Reason of the condition that the operator sets.
pub const REASON: &str = "DaemonSilent";
/// Prefix of the daemons' Leases.
pub const LEASE_PREFIX: &str = "node-";
/// How often the Leases' ages are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// When each node's Lease was last seen to change. Pure: time is an argument.
#[derive(Debug, Default)]
pub struct Heartbeats {
    nodes: BTreeMap<String, Heartbeat>,
}

#[derive(Debug)]
struct Heartbeat {
    renewed: Option<MicroTime>,
    seen: Instant,
    duration: Duration,
    /// Whether the silence has been told.
    told: bool,
}

impl Heartbeats {
    /// Takes in a Lease as seen at `now`. Leases of others are passed over.
    pub fn observe(&mut self, lease: &Lease, now: Instant) {
        let name = lease.name_any();
        let Some(node) = name.strip_prefix(LEASE_PREFIX) else {
            return;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec.lease_duration_seconds.unwrap_or(0).max(1).unsigned_abs();
        let duration = Duration::from_secs(seconds.into());
        match self.nodes.get_mut(node) {
            Some(known) if known.renewed == spec.renew_time => known.duration = duration,
            _ => {
                let renewed = spec.renew_time;
                let heartbeat = Heartbeat {
                    renewed,
                    seen: now,
                    duration,
                    told: false,
                };
                self.nodes.insert(node.to_owned(), heartbeat);
            }
        }
    }

    /// Forgets a node whose Lease is gone.
    pub fn forget(&mut self, lease: &Lease) {
        if let Some(node) = lease.name_any().strip_prefix(LEASE_PREFIX) {
            self.nodes.remove(node);
        }
    }

    /// Nodes that have fallen silent and of which that has not been told.
    pub fn silent(&self, now: Instant) -> Vec<(String, Duration)> {
        let silent = self
            .nodes
            .iter()
            .filter(|(_, beat)| !beat.told && now.saturating_duration_since(beat.seen) > beat.duration);
        silent.map(|(node, beat)| (node.clone(), beat.duration)).collect()
    }

    /// Notes that a node's silence has been told.
    pub fn told(&mut self, node: &str) {
        if let Some(beat) = self.nodes.get_mut(node) {
            beat.told = true;
        }
    }
}

/// Watches the daemons' Leases and speaks for the silent ones while we lead, until `stop`.
pub async fn run(
    client: Client,
    namespace: String,
    leader: watch::Receiver<bool>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), &namespace);
    let configs: Api<VppConfig> = Api::all(client);
    let mut events = watcher(leases, watcher::Config::default())
        .default_backoff()
        .boxed();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beats = Heartbeats::default();
    let follow = async {
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Apply(lease) | Event::InitApply(lease))) => {
                        beats.observe(&lease, Instant::now());
                    }
                    Some(Ok(Event::Delete(lease))) => beats.forget(&lease),
                    Some(Ok(Event::Init | Event::InitDone)) => {}
                    Some(Err(error)) => warn!(%error, "Watch of heartbeats interrupted; it goes on by itself"),
                    None => return,
                },
                _ = ticks.tick() => {
                    if !*leader.borrow() {
                        continue;
                    }
                    for (node, duration) in beats.silent(Instant::now()) {
                        match speak(&configs, &node, duration).await {
                            Ok(()) => beats.told(&node),
                            Err(error) => warn!(node, %error, "Silence not told"),
                        }
                    }
                }
            }
        }
    };
    stop.run_until_cancelled(follow).await;
    Ok(())
}

/// Sets `Ready` to `Unknown`, unless the status has changed since it was read.
async fn speak(configs: &Api<VppConfig>, node: &str, duration: Duration) -> kube::Result<()> {
    let Some(config) = configs.get_opt(node).await? else {
        return Ok(());
    };
    let Some(status) = &config.status else {
        return Ok(());
    };
    let Some(conditions) = unknown(
        &status.conditions,
        duration,
        config.metadata.generation,
        Timestamp::now(),
    ) else {
        return Ok(());
    };
    // The resourceVersion makes the API server refuse if the daemon wrote since our read.
    let patch = json!({
        "metadata": {"resourceVersion": config.metadata.resource_version},
        "status": {"conditions": conditions},
    });
    let params = PatchParams {
        field_manager: Some(OPERATOR_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    configs.patch_status(node, &params, &Patch::Merge(&patch)).await?;
    info!(
        node,
        "The daemon has fallen silent: its VppConfig's Ready is Unknown"
    );
    Ok(())
}

/// The conditions with `Ready` unknown; nothing if they say so already.
fn unknown(
    held: &[Condition],
    duration: Duration,
    generation: Option<i64>,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let mut conditions = held.to_vec();
    let message = format!(
        "the node's daemon has given no sign of life for {} s; the rest of this status is what it said last",
        duration.as_secs()
    );
    conditions::set(
        &mut conditions,
        READY,
        None,
        REASON,
        &message,
        generation,
        Time(now),
    )
    .then_some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use kube::api::ObjectMeta;

    fn lease(name: &str, renewed: i64) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(name.into()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
                lease_duration_seconds: Some(40),
                ..LeaseSpec::default()
            }),
        }
    }

    fn names(beats: &Heartbeats, now: Instant) -> Vec<String> {
        beats.silent(now).into_iter().map(|(node, _)| node).collect()
    }

    #[tokio::test]
    async fn a_node_is_silent_when_its_lease_has_not_changed_for_its_duration() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut beats = Heartbeats::default();
        // A clock of years ago: only changes count.
        beats.observe(&lease("node-a", 5), at(0));
        beats.observe(&lease("node-b", 5), at(0));
        beats.observe(&lease("contiv-operator", 5), at(0));
        assert!(
            names(&beats, at(40)).is_empty(),
            "exactly the duration is not silent"
        );
        beats.observe(&lease("node-a", 6), at(30));
        // A relist shows the same Lease again: that is no sign of life.
        beats.observe(&lease("node-b", 5), at(35));
        assert_eq!(names(&beats, at(41)), ["b"]);
        beats.told("b");
        assert!(names(&beats, at(50)).is_empty(), "told once");
        beats.observe(&lease("node-b", 7), at(60));
        assert_eq!(
            names(&beats, at(101)),
            ["a", "b"],
            "silent again after a sign of life"
        );
        beats.forget(&lease("node-a", 6));
        assert_eq!(names(&beats, at(101)), ["b"]);
    }

    #[test]
    fn only_ready_becomes_unknown_and_only_once() {
        let mut held = Vec::new();
        let time = Time(Timestamp::UNIX_EPOCH);
        conditions::set(&mut held, READY, Some(true), "Applied", "", Some(3), time.clone());
        conditions::set(
            &mut held,
            "VppConnected",
            Some(true),
            "Connected",
            "26.06",
            Some(3),
            time,
        );
        let now = Timestamp::from_second(9).unwrap();
        let said = unknown(&held, Duration::from_secs(40), Some(3), now).unwrap();
        let ready = said.iter().find(|c| c.type_ == READY).unwrap();
        assert_eq!(
            (ready.status.as_str(), ready.reason.as_str()),
            ("Unknown", REASON)
        );
        assert!(
            ready.message.contains("no sign of life for 40 s"),
            "{}",
            ready.message
        );
        assert_eq!(ready.last_transition_time.0, now);
        assert!(conditions::is_true(&said, "VppConnected"));
        assert_eq!(unknown(&said, Duration::from_secs(40), Some(3), now), None);
    }
}
