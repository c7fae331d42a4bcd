//! A Lease renewed for as long as the process lives: the sign of life by which others tell a status
//! that is true from one that nobody keeps up any more.
//!
//! Kubelet does the same for its Node (KEP-589): a small object of its own is cheaper to renew than
//! a status, and a status then need not move while nothing changes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// A heartbeat is missed after this many periods: kubelet's ratio (10 s to 40 s).
pub const MISSED_PERIODS: u32 = 4;

/// Which Lease, and how often.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace of the Lease; it must exist.
    pub namespace: String,
    /// Name of the Lease.
    pub name: String,
    /// Whose sign of life it is.
    pub holder: String,
    /// Field manager of the server-side applies.
    pub manager: String,
    /// Time between renewals.
    pub period: Duration,
}

/// Renews the Lease every period until `stop` is cancelled. Errors of the API server are logged and
/// the next period tries again: a heartbeat that can't be sent is one that is missed, and no more.
///
/// `revived` is notified by the first renewal after so long a silence that others may have taken us
/// for dead and said so.
pub async fn beat(
    client: Client,
    settings: Settings,
    revived: Arc<Notify>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let api: Api<Lease> = Api::namespaced(client, &settings.namespace);
    let mut ticks = interval(settings.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut renewed = Instant::now();
    let renewals = async {
        loop {
            ticks.tick().await;
            let lease = lease(&settings, Timestamp::now());
            let params = PatchParams::apply(&settings.manager).force();
            let patch = Patch::Apply(&lease);
            match timeout(settings.period, api.patch(&settings.name, &params, &patch)).await {
                Ok(Ok(_)) => {
                    if renewed.elapsed() >= settings.period * (MISSED_PERIODS - 1) {
                        revived.notify_one();
                    }
                    renewed = Instant::now();
                }
                Ok(Err(error)) => warn!(lease = settings.name, %error, "Heartbeat not sent"),
                Err(_) => warn!(lease = settings.name, "Heartbeat not sent: no answer"),
            }
        }
    };
    stop.run_until_cancelled(renewals).await.unwrap_or(());
    Ok(())
}

fn lease(settings: &Settings, now: Timestamp) -> Lease {
    let seconds = (settings.period * MISSED_PERIODS).as_secs().max(1);
    Lease {
        metadata: ObjectMeta {
            name: Some(settings.name.clone()),
            namespace: Some(settings.namespace.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(settings.holder.clone()),
            lease_duration_seconds: i32::try_from(seconds).ok(),
            renew_time: Some(MicroTime(now)),
            ..LeaseSpec::default()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_says_who_when_and_for_how_long() {
        let settings = Settings {
            namespace: "contiv-system".into(),
            name: "contiv-node-a".into(),
            holder: "a".into(),
            manager: "contiv-node".into(),
            period: Duration::from_secs(10),
        };
        let spec = lease(&settings, Timestamp::UNIX_EPOCH).spec.unwrap();
        assert_eq!(spec.lease_duration_seconds, Some(40), "as kubelet: 10 s and 40 s");
        assert_eq!(spec.holder_identity.as_deref(), Some("a"));
        assert_eq!(spec.renew_time, Some(MicroTime(Timestamp::UNIX_EPOCH)));
        let short = Settings {
            period: Duration::from_millis(100),
            ..settings
        };
        assert_eq!(
            lease(&short, Timestamp::UNIX_EPOCH)
                .spec
                .unwrap()
                .lease_duration_seconds,
            Some(1)
        );
    }
}
