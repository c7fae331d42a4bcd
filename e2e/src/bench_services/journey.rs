//! The way of a changed endpoint: from the request to the API server until VPP has it, and who takes how long of it.

use std::fmt::{self, Debug, Display};
use std::time::Duration;

use anyhow::{Context as _, Result};
use crds::VppServiceSlice;
use futures::StreamExt as _;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::meter::Meter;
use crate::audit::Audit;
use crate::bench::percentiles;
use crate::cluster::Cluster;

/// How long one change may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Times of one change.
struct Journey {
    /// The request to the API server was sent.
    sent: Timestamp,
    /// A watch of EndpointSlices, as the operator has one, gave it out.
    told: Timestamp,
    /// A watch of VppServiceSlices, as the node's daemon has one, gave out what the operator made of it.
    sliced: Timestamp,
    /// VPP has it.
    there: Timestamp,
}

/// Follows changes, one after the other.
pub(super) struct Journeys {
    meter: Meter,
    audit: Audit,
    endpoints: mpsc::UnboundedReceiver<Timestamp>,
    slices: mpsc::UnboundedReceiver<Timestamp>,
    journeys: Vec<Journey>,
}

impl Journeys {
    /// Watches what the operator and the daemon watch.
    pub(super) async fn start(cluster: &mut Cluster, meter: Meter) -> Result<Self> {
        Ok(Self {
            meter,
            audit: Audit::mark(cluster.control().audit_log()),
            endpoints: follow::<EndpointSlice>(Api::namespaced(cluster.client(), "default")).await?,
            slices: follow::<VppServiceSlice>(Api::namespaced(cluster.client(), "default")).await?,
            journeys: Vec::new(),
        })
    }

    /// Makes one change and waits until it is in VPP, which takes so many steps.
    pub(super) async fn follow(
        &mut self,
        change: impl Future<Output = Result<()>>,
        steps: u64,
    ) -> Result<()> {
        let wanted = self.meter.read().await.steps + steps;
        while self.endpoints.try_recv().is_ok() || self.slices.try_recv().is_ok() {}
        let way = async {
            let sent = Timestamp::now();
            change.await?;
            let told = self
                .endpoints
                .recv()
                .await
                .context("the watch of EndpointSlices ended")?;
            let sliced = self
                .slices
                .recv()
                .await
                .context("the watch of VppServiceSlices ended")?;
            let there = self
                .meter
                .reaches(wanted)
                .await
                .context("the daemon is not asked any more")?;
            anyhow::Ok(Journey {
                sent,
                told,
                sliced,
                there,
            })
        };
        let number = self.journeys.len() + 1;
        let journey = timeout(PATIENCE, way)
            .await
            .with_context(|| format!("change {number} is not in VPP"))??;
        self.journeys.push(journey);
        Ok(())
    }

    /// What was seen, with what the API server's audit log says of the operator's requests.
    pub(super) fn figures(&self) -> Result<Figures<'_>> {
        let asked = self.audit.received("contiv-operator patch vppserviceslices")?;
        let mut journeys = Vec::new();
        for (journey, number) in self.journeys.iter().zip(1..) {
            let while_on_its_way = journey.sent..=journey.there;
            let request = asked.iter().find(|asked| while_on_its_way.contains(asked));
            let request =
                request.with_context(|| format!("the operator wrote nothing after change {number}"))?;
            journeys.push((journey, *request));
        }
        Ok(Figures(journeys))
    }
}

/// Journeys, each with when the API server received the operator's request.
pub(super) struct Figures<'a>(Vec<(&'a Journey, Timestamp)>);

/// The time that something took in a journey.
type Part = fn(&Journey, Timestamp) -> Duration;

/// What is printed, line by line.
const PARTS: [(&str, Part); 7] = [
    ("from the request until VPP has it", |j, _| {
        between(j.sent, j.there)
    }),
    (
        "  API server, etcd: until a watch has the EndpointSlice",
        |j, _| between(j.sent, j.told),
    ),
    (
        "  operator: from there until its request is received",
        |j, asked| between(j.told, asked),
    ),
    (
        "  API server, etcd: until a watch has the VppServiceSlice",
        |j, asked| between(asked, j.sliced),
    ),
    ("  daemon, vpp-sim: from there until VPP has it", |j, _| {
        between(j.sliced, j.there)
    }),
    (
        "from when a watch has the EndpointSlice until VPP has it",
        |j, _| between(j.told, j.there),
    ),
    (
        "  without the API server: operator, daemon and vpp-sim",
        |j, asked| between(j.told, asked) + between(j.sliced, j.there),
    ),
];

impl Display for Figures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(
            f,
            "one endpoint changed, {count} times, one after the other, in ms"
        )?;
        for (what, part) in PARTS {
            let durations: Vec<_> = self
                .0
                .iter()
                .map(|(journey, asked)| part(journey, *asked))
                .collect();
            let [p50, p99] = percentiles(&durations);
            writeln!(f, "{what:<58} p50 {p50:6.1}  p99 {p99:6.1}")?;
        }
        Ok(())
    }
}

/// The time from one moment to another; nothing where a later station was told first.
fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

/// When a watch of this kind says that an object changed.
async fn follow<K>(api: Api<PartialObjectMeta<K>>) -> Result<mpsc::UnboundedReceiver<Timestamp>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
{
    let mut events = Box::pin(watcher(api, watcher::Config::default()).default_backoff());
    loop {
        if let Event::InitDone = events.next().await.context("the watch ended")?? {
            break;
        }
    }
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if matches!(event, Ok(Event::Apply(_))) && sender.send(Timestamp::now()).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
