//! The I/O around the state machine: read, decide, write, wait.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::election::{Claim, Election, Step, Timing};

/// Which Lease, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the Lease; it must exist.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Our name, unique among the candidates (a pod's name).
    pub identity: String,
    /// Periods.
    pub timing: Timing,
}

/// Why the holding ended.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// We led and can no longer be sure to be the only one.
    #[error(
        "lost the lease {namespace}/{name}: it was not renewed in time or another process took it; a restart stands for election again"
    )]
    Lost {
        /// Namespace of the Lease.
        namespace: String,
        /// Name of the Lease.
        name: String,
    },
}

/// Stands for election until elected, then renews until `release` is cancelled, and gives the Lease
/// back, so that the next one need not wait.
///
/// `leader` turns true on election and false on the end. Errors of the API server are retried.
///
/// # Errors
/// [`Error::Lost`]: stop writing at once, end the process.
pub async fn hold(
    client: Client,
    settings: Settings,
    leader: watch::Sender<bool>,
    release: CancellationToken,
) -> Result<(), Error> {
    let api: Api<Lease> = Api::namespaced(client, &settings.namespace);
    let mut election = Election::new(&settings.identity, settings.timing);
    let result = release
        .run_until_cancelled(stand(&api, &settings, &mut election, &leader))
        .await;
    let led = leader.send_replace(false);
    match result {
        Some(lost) => Err(lost),
        None => {
            if led {
                vacate(&api, &settings).await;
            }
            Ok(())
        }
    }
}

async fn stand(
    api: &Api<Lease>,
    settings: &Settings,
    election: &mut Election,
    leader: &watch::Sender<bool>,
) -> Error {
    let lost = || Error::Lost {
        namespace: settings.namespace.clone(),
        name: settings.name.clone(),
    };
    loop {
        // One try never outlives the leadership it is to prolong.
        let now = Instant::now();
        let limit = election
            .deadline()
            .map_or(settings.timing.renew_deadline, |deadline| {
                deadline.saturating_duration_since(now)
            });
        match timeout(limit, attempt(api, settings, election)).await {
            Ok(Ok(Step::Lost)) => return lost(),
            Ok(Ok(Step::Follow)) => {}
            Ok(Ok(Step::Write { transition })) => {
                // A renewal is no news.
                if leader.send_if_modified(|leads| !std::mem::replace(leads, true)) {
                    info!(lease = settings.name, transition, "Leading");
                }
            }
            // 409: someone else wrote first; the next read tells who.
            Ok(Err(error)) if is_conflict(&error) => debug!(lease = settings.name, "Outrun"),
            Ok(Err(error)) => warn!(lease = settings.name, %error, "Lease not renewed"),
            Err(_) => warn!(lease = settings.name, "Lease not renewed: no answer"),
        }
        if *leader.borrow() && !election.leads(Instant::now()) {
            return lost();
        }
        sleep(settings.timing.retry_period).await;
    }
}

async fn attempt(api: &Api<Lease>, settings: &Settings, election: &mut Election) -> kube::Result<Step> {
    let stored = api.get_opt(&settings.name).await?;
    let claim = stored.as_ref().map(claim_of);
    let begun = Instant::now();
    let step = election.observe(claim.clone(), begun);
    let Step::Write { transition } = step else {
        return Ok(step);
    };
    let desired = lease_for(settings, stored.as_ref(), transition, Timestamp::now());
    let written = match stored {
        // The resourceVersion within makes the API server refuse if anyone wrote since our read.
        Some(_) => {
            api.replace(&settings.name, &PostParams::default(), &desired)
                .await?
        }
        None => api.create(&PostParams::default(), &desired).await?,
    };
    election.written(claim_of(&written), begun);
    Ok(step)
}

async fn vacate(api: &Api<Lease>, settings: &Settings) {
    let give_back = async {
        let Some(stored) = api.get_opt(&settings.name).await? else {
            return Ok(());
        };
        if claim_of(&stored).holder.as_deref() != Some(settings.identity.as_str()) {
            return Ok(());
        }
        let mut desired = lease_for(settings, Some(&stored), false, Timestamp::now());
        if let Some(spec) = &mut desired.spec {
            // As client-go does on release: no holder, and a duration that older clients wait at most.
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        api.replace(&settings.name, &PostParams::default(), &desired)
            .await
            .map(drop)
    };
    match timeout(settings.timing.retry_period, give_back).await {
        Ok(Ok(())) => info!(lease = settings.name, "Lease given back"),
        Ok(Err(error)) => warn!(lease = settings.name, %error, "Lease not given back; it expires"),
        Err(_) => warn!(lease = settings.name, "Lease not given back; it expires"),
    }
}

fn claim_of(lease: &Lease) -> Claim {
    let spec = lease.spec.clone().unwrap_or_default();
    Claim {
        holder: spec.holder_identity,
        renewed: spec.renew_time.map(|time| time.0.to_string()).unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}

fn lease_for(settings: &Settings, stored: Option<&Lease>, transition: bool, now: Timestamp) -> Lease {
    let before = stored.and_then(|lease| lease.spec.clone()).unwrap_or_default();
    let seconds = i32::try_from(settings.timing.lease_duration.as_secs()).unwrap_or(i32::MAX);
    Lease {
        metadata: ObjectMeta {
            name: Some(settings.name.clone()),
            namespace: Some(settings.namespace.clone()),
            resource_version: stored.and_then(ResourceExt::resource_version),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(settings.identity.clone()),
            lease_duration_seconds: Some(seconds),
            acquire_time: match before.acquire_time {
                Some(acquired) if !transition => Some(acquired),
                _ => Some(MicroTime(now)),
            },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(match stored {
                Some(_) => before
                    .lease_transitions
                    .unwrap_or(0)
                    .saturating_add(i32::from(transition)),
                None => 0,
            }),
            ..LeaseSpec::default()
        }),
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict() || status.is_already_exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(identity: &str) -> Settings {
        Settings {
            namespace: "contiv-system".to_owned(),
            name: "contiv-operator".to_owned(),
            identity: identity.to_owned(),
            timing: Timing::default(),
        }
    }

    #[test]
    fn times_and_transitions_are_written_as_client_go_does() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = lease_for(&settings("a"), None, true, at(100));
        let spec = first.spec.clone().unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("a"));
        assert_eq!(spec.lease_duration_seconds, Some(15));
        assert_eq!(spec.lease_transitions, Some(0));
        assert_eq!(spec.acquire_time, Some(MicroTime(at(100))));

        let renewed = lease_for(&settings("a"), Some(&first), false, at(102));
        let spec = renewed.spec.clone().unwrap();
        assert_eq!(spec.acquire_time, Some(MicroTime(at(100))), "kept by a renewal");
        assert_eq!(spec.renew_time, Some(MicroTime(at(102))));
        assert_eq!(spec.lease_transitions, Some(0));
        assert_ne!(
            claim_of(&renewed),
            claim_of(&first),
            "a renewal is seen as a change"
        );

        let taken = lease_for(&settings("b"), Some(&renewed), true, at(130));
        let spec = taken.spec.unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("b"));
        assert_eq!(spec.acquire_time, Some(MicroTime(at(130))));
        assert_eq!(spec.lease_transitions, Some(1));
    }
}
