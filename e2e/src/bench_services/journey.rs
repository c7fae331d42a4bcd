//! The way of a changed endpoint: from the request to the API server until VPP has it, and who takes how long of it.

use std::fmt::{self, Debug, Display};
use std::path::Path;
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
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::meter::Meter;
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
    endpoints: mpsc::UnboundedReceiver<Timestamp>,
    slices: mpsc::UnboundedReceiver<Timestamp>,
    journeys: Vec<Journey>,
}

impl Journeys {
    /// Watches what the operator and the daemon watch.
    pub(super) async fn start(cluster: &Cluster, meter: Meter) -> Result<Self> {
        Ok(Self {
            meter,
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
    pub(super) fn figures(&self, audit_log: &Path) -> Result<Figures> {
        let asked = operators_requests(audit_log)?;
        let mut figures = Figures::default();
        for (
            number,
            Journey {
                sent,
                told,
                sliced,
                there,
            },
        ) in self.journeys.iter().enumerate()
        {
            let request = asked.iter().find(|asked| sent <= *asked && *asked <= there);
            let asked =
                request.with_context(|| format!("the operator wrote nothing after change {}", number + 1))?;
            figures.whole.push(between(sent, there));
            figures.first_write.push(between(sent, told));
            figures.operator.push(between(told, asked));
            figures.second_write.push(between(asked, sliced));
            figures.node.push(between(sliced, there));
            figures.known.push(between(told, there));
            figures.ours.push(between(told, asked) + between(sliced, there));
        }
        Ok(figures)
    }
}

/// Durations of each part.
#[derive(Default)]
pub(super) struct Figures {
    whole: Vec<Duration>,
    first_write: Vec<Duration>,
    operator: Vec<Duration>,
    second_write: Vec<Duration>,
    node: Vec<Duration>,
    known: Vec<Duration>,
    ours: Vec<Duration>,
}

impl Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "one endpoint changed, {} times, one after the other, in ms",
            self.whole.len()
        )?;
        let lines = [
            ("from the request until VPP has it", &self.whole),
            (
                "  API server, etcd: until a watch has the EndpointSlice",
                &self.first_write,
            ),
            (
                "  operator: from there until its request is received",
                &self.operator,
            ),
            (
                "  API server, etcd: until a watch has the VppServiceSlice",
                &self.second_write,
            ),
            ("  daemon, vpp-sim: from there until VPP has it", &self.node),
            (
                "from when a watch has the EndpointSlice until VPP has it",
                &self.known,
            ),
            (
                "  without the API server: operator, daemon and vpp-sim",
                &self.ours,
            ),
        ];
        for (what, durations) in lines {
            let [p50, p99] = percentiles(durations);
            writeln!(f, "{what:<58} p50 {p50:6.1}  p99 {p99:6.1}")?;
        }
        Ok(())
    }
}

/// The time from one moment to another; nothing where a later station was told first.
fn between(earlier: &Timestamp, later: &Timestamp) -> Duration {
    Duration::try_from(later.duration_since(*earlier)).unwrap_or_default()
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

/// When the API server received each of the operator's writes of a VppServiceSlice, in order.
fn operators_requests(audit_log: &Path) -> Result<Vec<Timestamp>> {
    let text = std::fs::read_to_string(audit_log).context("reading the audit log")?;
    let mut received = Vec::new();
    for line in text.lines().filter(|line| line.contains("contiv-operator")) {
        let event: Value = serde_json::from_str(line).context("reading the audit log")?;
        if event.pointer("/objectRef/resource") == Some(&Value::from("vppserviceslices")) {
            let at = event.pointer("/requestReceivedTimestamp").and_then(Value::as_str);
            received.push(at.context("a request without a time")?.parse()?);
        }
    }
    received.sort();
    Ok(received)
}
