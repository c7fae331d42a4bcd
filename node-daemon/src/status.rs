//! The daemon's word on itself: conditions from a snapshot (pure), and their way to the API server.
//!
//! Written when a condition, the generation, the chains or the node's own pods change; otherwise every few minutes at
//! most, so that churn elsewhere in the cluster costs no writes here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crds::conditions::{self, CHAINS_APPLIED, INTERFACES_APPLIED, POLICIES_APPLIED, READY};
use crds::conditions::{REFERENCES_RESOLVED, SERVICES_APPLIED, VPP_CONNECTED};
use crds::{NODE_MANAGER, VppConfig, VppConfigStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::{AreaState, Snapshot};
use crate::metrics::Metrics;
use crate::objects::Area;

/// Most chains reported: the schema's limit.
const MAX_CHAINS: usize = 256;

/// Shortest time between two writes: changes within it become one.
const PAUSE: Duration = Duration::from_millis(100);

/// Time after which an unchanged status is written again, in case somebody changed it.
const REFRESH: Duration = Duration::from_secs(300);

/// Time after which a failed write is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How long one write may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The status that a snapshot says, given the one before (whose transition times are kept).
pub fn status(snapshot: &Snapshot, before: &VppConfigStatus, now: &Time) -> VppConfigStatus {
    let connected = snapshot.vpp.is_some();
    let mut status = VppConfigStatus {
        observed_generation: snapshot.generation,
        applied_revision: if snapshot.applied() {
            snapshot.revision.clone()
        } else {
            // What VPP had last, not what it has of the new one: a half applied revision is not applied.
            before.applied_revision.clone()
        },
        vpp_version: snapshot.vpp.clone().unwrap_or_default(),
        pods: format!("{}/{}", snapshot.pods.0, snapshot.pods.1),
        tunnel_endpoints: snapshot
            .tunnel_endpoints
            .iter()
            .copied()
            // Told when VPP answers for it; what was told once stays through restarts of either.
            .filter(|e| snapshot.announced.contains(e) || before.tunnel_endpoints.contains(e))
            .collect(),
        chains: snapshot.chains.iter().take(MAX_CHAINS).cloned().collect(),
        conditions: before.conditions.clone(),
    };
    let mut set = |type_: &str, value: Option<bool>, reason: &str, message: &str| {
        conditions::set(
            &mut status.conditions,
            type_,
            value,
            reason,
            message,
            snapshot.generation,
            now.clone(),
        );
    };
    match &snapshot.vpp {
        Some(version) => set(VPP_CONNECTED, Some(true), "Connected", version),
        None => set(VPP_CONNECTED, Some(false), "Disconnected", &snapshot.vpp_down),
    }
    for (area, type_) in [
        (Area::Interfaces, INTERFACES_APPLIED),
        (Area::Policies, POLICIES_APPLIED),
        (Area::Services, SERVICES_APPLIED),
        (Area::Chains, CHAINS_APPLIED),
    ] {
        let state = snapshot.areas.get(&area).cloned().unwrap_or_default();
        let (value, reason, message) = area_condition(&state, snapshot, connected);
        set(type_, value, reason, &message);
    }
    if snapshot.unresolved.is_empty() {
        set(REFERENCES_RESOLVED, Some(true), "Resolved", "");
    } else {
        let message = format!("not known: {}", snapshot.unresolved.join(", "));
        set(REFERENCES_RESOLVED, Some(false), "NotFound", &message);
    }
    if snapshot.applied() {
        set(READY, Some(true), "Applied", "");
    } else {
        let (reason, message) = not_ready(snapshot);
        set(READY, Some(false), reason, &message);
    }
    status
}

fn area_condition(
    state: &AreaState,
    snapshot: &Snapshot,
    connected: bool,
) -> (Option<bool>, &'static str, String) {
    if !connected {
        return (None, "VppDisconnected", "VPP is not connected".to_owned());
    }
    if !snapshot.configured || !snapshot.compared {
        return (None, "NotComparedYet", "what VPP has is not known yet".to_owned());
    }
    if state.missing.is_empty() {
        return (Some(true), "Applied", format!("{} objects", state.applied));
    }
    (Some(false), "Incomplete", state.missing.join("; "))
}

/// The first reason for which the node is not what its spec says.
fn not_ready(snapshot: &Snapshot) -> (&'static str, String) {
    if snapshot.vpp.is_none() {
        return ("VppDisconnected", snapshot.vpp_down.clone());
    }
    if !snapshot.configured {
        return ("NotConfigured", "the configuration is not known yet".to_owned());
    }
    if !snapshot.compared {
        return ("NotComparedYet", "what VPP has is not known yet".to_owned());
    }
    if !snapshot.unresolved.is_empty() {
        return ("ReferencesNotFound", snapshot.unresolved.join(", "));
    }
    let missing: Vec<String> = snapshot
        .areas
        .values()
        .flat_map(|area| area.missing.iter().cloned())
        .collect();
    ("Incomplete", missing.join("; "))
}

/// Whether two statuses differ in more than counts of objects within messages and times.
fn differ(a: &VppConfigStatus, b: &VppConfigStatus) -> bool {
    let strip = |status: &VppConfigStatus| {
        let mut status = status.clone();
        for condition in &mut status.conditions {
            if condition.status == "True" {
                condition.message.clear();
            }
        }
        status
    };
    strip(a) != strip(b)
}

/// Writes the status of `node` whenever it changes, until `stop`.
///
/// After `revived` the status as stored is read again: while the daemon could not be heard, the operator may have called
/// it unknown.
pub async fn run(
    client: Client,
    node: String,
    mut snapshots: watch::Receiver<Snapshot>,
    metrics: Metrics,
    revived: Arc<Notify>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let api: Api<VppConfig> = Api::all(client);
    let mut written = current(&api, &node, &stop).await.unwrap_or_default();
    let mut due = Instant::now();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let next = status(&snapshot, &written, &Time(Timestamp::now()));
        // Before the agent knows the configuration there is nothing true to say but what VPP is.
        let speak = snapshot.revision.is_some() && (differ(&next, &written) || Instant::now() >= due);
        if speak {
            match write(&api, &node, &next).await {
                Ok(()) => {
                    metrics.status_writes.inc();
                    written = next;
                    due = Instant::now() + REFRESH + jitter(&node);
                }
                Err(error) => {
                    tracing::warn!(error, "status not written");
                    due = Instant::now() + RETRY;
                }
            }
        }
        let pause = Instant::now() + PAUSE;
        let changed = async {
            tokio::select! {
                changed = snapshots.changed() => changed.is_ok(),
                () = sleep_until(due) => true,
                () = revived.notified() => {
                    written = current(&api, &node, &stop).await.unwrap_or_default();
                    true
                }
            }
        };
        match stop.run_until_cancelled(changed).await {
            Some(true) => {}
            Some(false) | None => return Ok(()),
        }
        if stop.run_until_cancelled(sleep_until(pause)).await.is_none() {
            return Ok(());
        }
    }
}

/// The status as the API server has it: a restarted daemon keeps transition times, and does not write what is there.
async fn current(api: &Api<VppConfig>, node: &str, stop: &CancellationToken) -> Option<VppConfigStatus> {
    let asked = timeout(LIMIT, api.get_opt(node));
    match stop.run_until_cancelled(asked).await {
        Some(Ok(Ok(Some(config)))) => config.status,
        _ => None,
    }
}

async fn write(api: &Api<VppConfig>, node: &str, status: &VppConfigStatus) -> Result<(), String> {
    let patch = serde_json::json!({
        "apiVersion": format!("{}/{}", crds::GROUP, crds::VERSION),
        "kind": "VppConfig",
        "metadata": { "name": node },
        "status": status,
    });
    let params = PatchParams::apply(NODE_MANAGER).force();
    match timeout(LIMIT, api.patch_status(node, &params, &Patch::Apply(&patch))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(kube::Error::Api(status))) if status.is_not_found() => {
            Err("this node has no VppConfig".to_owned())
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer from the API server".to_owned()),
    }
}

/// Spreads the nodes' refreshes over a minute.
fn jitter(node: &str) -> Duration {
    Duration::from_millis(xxhash_rust::xxh3::xxh3_64(node.as_bytes()) % 60_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn whole() -> Snapshot {
        let endpoint = "192.168.16.1".parse().unwrap();
        Snapshot {
            generation: Some(3),
            revision: Some("r3".into()),
            configured: true,
            vpp: Some("26.06-release".into()),
            compared: true,
            pods: (2, 2),
            tunnel_endpoints: vec![endpoint],
            announced: [endpoint].into(),
            areas: [Area::Interfaces, Area::Policies, Area::Services, Area::Chains]
                .map(|area| (area, AreaState::default()))
                .into(),
            ..Snapshot::default()
        }
    }

    fn words(status: &VppConfigStatus) -> BTreeMap<&str, (&str, &str)> {
        let conditions = status.conditions.iter();
        conditions
            .map(|c| (c.type_.as_str(), (c.status.as_str(), c.reason.as_str())))
            .collect()
    }

    #[test]
    fn a_whole_node_is_ready_and_its_revision_applied() {
        let status = status(&whole(), &VppConfigStatus::default(), &at(1));
        assert_eq!(status.applied_revision.as_deref(), Some("r3"));
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(status.pods, "2/2");
        let words = words(&status);
        assert_eq!(words.len(), 7);
        assert!(words.values().all(|(value, _)| *value == "True"), "{words:?}");
    }

    #[test]
    fn without_vpp_nothing_is_claimed_and_the_last_applied_revision_stays() {
        let before = status(&whole(), &VppConfigStatus::default(), &at(1));
        let lost = Snapshot {
            generation: Some(4),
            revision: Some("r4".into()),
            vpp: None,
            vpp_down: "closed by VPP".into(),
            ..whole()
        };
        let status = status(&lost, &before, &at(2));
        assert_eq!(status.applied_revision.as_deref(), Some("r3"));
        assert_eq!(status.vpp_version, "");
        let words = words(&status);
        assert_eq!(words[VPP_CONNECTED], ("False", "Disconnected"));
        assert_eq!(words[READY], ("False", "VppDisconnected"));
        for type_ in [
            INTERFACES_APPLIED,
            POLICIES_APPLIED,
            SERVICES_APPLIED,
            CHAINS_APPLIED,
        ] {
            assert_eq!(words[type_], ("Unknown", "VppDisconnected"), "{type_}");
        }
        let ready = status.conditions.iter().find(|c| c.type_ == READY).unwrap();
        assert_eq!(ready.message, "closed by VPP");
        assert_eq!(ready.last_transition_time, at(2));
    }

    #[test]
    fn what_is_missing_is_said_where_it_is_missing() {
        let mut snapshot = whole();
        let state = AreaState {
            applied: 3,
            missing: vec!["acl x: refused".into()],
        };
        snapshot.areas.insert(Area::Policies, state);
        snapshot.unresolved = vec!["policy default/p".into()];
        let status = status(&snapshot, &VppConfigStatus::default(), &at(1));
        assert_eq!(status.applied_revision, None);
        let words = words(&status);
        assert_eq!(words[POLICIES_APPLIED], ("False", "Incomplete"));
        assert_eq!(words[SERVICES_APPLIED].0, "True");
        assert_eq!(words[REFERENCES_RESOLVED], ("False", "NotFound"));
        assert_eq!(words[READY], ("False", "ReferencesNotFound"));
    }

    #[test]
    fn an_endpoint_is_told_when_vpp_answers_and_stays_told() {
        let silent = Snapshot {
            announced: Default::default(),
            ..whole()
        };
        let first = status(&silent, &VppConfigStatus::default(), &at(1));
        assert!(first.tunnel_endpoints.is_empty());
        let told = status(&whole(), &first, &at(2));
        assert_eq!(told.tunnel_endpoints.len(), 1);
        // The daemon is restarted, VPP is away.
        assert_eq!(
            status(&silent, &told, &at(3)).tunnel_endpoints,
            told.tunnel_endpoints
        );
        let moved = Snapshot {
            tunnel_endpoints: vec![],
            ..silent
        };
        assert!(status(&moved, &told, &at(4)).tunnel_endpoints.is_empty());
    }

    #[test]
    fn churn_elsewhere_is_no_reason_to_write() {
        let before = status(&whole(), &VppConfigStatus::default(), &at(1));
        let mut churn = whole();
        churn.areas.insert(
            Area::Services,
            AreaState {
                applied: 5000,
                missing: vec![],
            },
        );
        assert!(!differ(&status(&churn, &before, &at(2)), &before));
        let pod = Snapshot {
            pods: (1, 2),
            ..whole()
        };
        assert!(differ(&status(&pod, &before, &at(2)), &before));
    }
}
