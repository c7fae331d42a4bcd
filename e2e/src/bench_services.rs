//! Many Services in a cluster with a real API server: how long the operator and a node need for all of them, what one
//! changed endpoint costs, and how much memory operator and daemon have then.

mod journey;
mod meter;

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use crds::VppServiceSlice;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::audit::Audit;
use crate::cluster::Cluster;
use crate::wait::{eventually, expect};

use journey::Journeys;
use meter::Meter;

const PORTS: [u16; 3] = [80, 443, 9090];
const BACKENDS: usize = 10;
/// Requests at once while Services are made.
const AT_ONCE: usize = 32;
/// A little more than the operator's changes wait for each other (`QUIET` of its control loop: 100 ms).
const COALESCED: Duration = Duration::from_millis(150);
/// How long the operator, and then the node, may take for all of them.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the bench does.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Size {
    /// Services.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..60_000))]
    pub services: u32,
    /// Endpoints that change, one after the other.
    #[arg(long, default_value_t = 1_000)]
    pub changes: u32,
}

/// Runs the bench and prints its figures.
pub async fn bench_services(size: Size) -> Result<()> {
    let mut out = io::stdout();
    let mut cluster = Cluster::start(1).await?;
    let total = size.services as usize;
    writeln!(
        out,
        "{total} Services with {} ports and {BACKENDS} endpoints each, one node",
        PORTS.len()
    )?;

    let started = Instant::now();
    make(&cluster, size.services).await?;
    writeln!(
        out,
        "made by this harness                {:8.1} s",
        started.elapsed().as_secs_f64()
    )?;
    let slices: Api<VppServiceSlice> = Api::namespaced(cluster.client(), "default");
    eventually("the operator has written all of them", PATIENCE, async || {
        let page = slices.list_metadata(&ListParams::default().limit(1)).await?;
        let known = page.items.len() + usize::try_from(page.metadata.remaining_item_count.unwrap_or(0))?;
        Ok(expect(known >= total, || format!("{known} of {total}")))
    })
    .await?;

    // A node that starts anew, with all of it there: daemon and dataplane know nothing.
    let state = cluster.run().dir().join("node-1/state/state.json");
    let node = cluster.node(1)?;
    node.daemon().kill();
    node.vpp().kill();
    std::fs::remove_file(&state).ok();
    let started = Instant::now();
    node.vpp().spawn()?;
    node.daemon().spawn()?;
    let meter = Meter::start(node.namespace().path());
    let all = (total * PORTS.len()) as u64;
    eventually("the node has all of it", PATIENCE, async || {
        let there = meter.read().await.objects;
        Ok(expect(there >= all, || format!("{there} of {all}")))
    })
    .await?;
    writeln!(
        out,
        "cold start of the node              {:8.1} s (processes started until all of it is in vpp-sim)",
        started.elapsed().as_secs_f64()
    )?;

    // What one change is, and what it makes others write.
    let endpoints: Api<EndpointSlice> = Api::namespaced(cluster.client(), "default");
    let audit = Audit::mark(cluster.control().audit_log());
    change(&endpoints, 0, 0).await?;
    let writes = audit.settled(Duration::from_secs(1)).await?;
    let bytes = slices
        .list(&ListParams::default().limit(1))
        .await?
        .items
        .first()
        .map_or(0, |slice| {
            serde_json::to_string(slice).map_or(0, |text| text.len())
        });
    writeln!(
        out,
        "one endpoint changed: writes of others {writes:?}, a slice has {bytes} bytes as JSON"
    )?;

    let mut journeys = Journeys::start(&mut cluster, meter).await?;
    for number in 1..=size.changes {
        // The operator takes the first change at once, and those that follow within a moment together.
        tokio::time::sleep(COALESCED).await;
        let changed = change(&endpoints, number * 7919 % size.services, number);
        journeys.follow(changed, PORTS.len() as u64).await?;
    }
    write!(out, "{}", journeys.figures()?)?;
    let node = cluster.node(1)?;
    let [daemon, peak] = memory(node.daemon().id().context("the daemon has ended")?)?;
    let [vpp, _] = memory(node.vpp().id().context("vpp-sim has ended")?)?;
    let [operator, most] = memory(cluster.operator()?.id().context("the operator has ended")?)?;
    writeln!(
        out,
        "memory (VmRSS, peak): daemon {daemon:.0} MiB, {peak:.0}; operator {operator:.0} MiB, {most:.0}; vpp-sim {vpp:.0} MiB"
    )?;
    Ok(())
}

/// Makes Services and their EndpointSlices.
async fn make(cluster: &Cluster, services: u32) -> Result<()> {
    let client = cluster.client();
    futures::stream::iter(0..services)
        .map(|number| {
            let client = client.clone();
            async move {
                let ports = PORTS.map(|port| json!({"name": format!("p{port}"), "port": port, "targetPort": port + 8000}));
                let service: Service = serde_json::from_value(json!({
                    "apiVersion": "v1", "kind": "Service", "metadata": {"name": name(number), "namespace": "default"},
                    "spec": {"ports": ports},
                }))?;
                let services: Api<Service> = Api::namespaced(client.clone(), "default");
                services.create(&PostParams::default(), &service).await?;
                let endpoints: Api<EndpointSlice> = Api::namespaced(client, "default");
                endpoints.create(&PostParams::default(), &endpoint_slice(number, 0)?).await?;
                Ok::<(), anyhow::Error>(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .context("making Services")
}

fn name(number: u32) -> String {
    format!("service-{number}")
}

/// The endpoints of a Service; a `change` other than 0 makes the last of them another one than 0 does.
fn endpoint_slice(number: u32, change: u32) -> Result<EndpointSlice> {
    let other = if change == 0 { 0 } else { 1 + change % 149 };
    let endpoints: Vec<_> = (0..BACKENDS as u32)
        .map(|backend| {
            // Of the node's pods, so that nobody leads to them but VPP.
            let host = if backend + 1 == BACKENDS as u32 { 100 + (number + other) % 150 } else { 2 + (number + backend * 9) % 90 };
            json!({"addresses": [format!("10.1.1.{host}")], "nodeName": "node-1", "conditions": {"ready": true}})
        })
        .collect();
    let ports = PORTS.map(|port| json!({"name": format!("p{port}"), "port": port + 8000, "protocol": "TCP"}));
    Ok(serde_json::from_value(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{}-1", name(number)), "namespace": "default",
                     "labels": {"kubernetes.io/service-name": name(number)}},
        "endpoints": endpoints, "ports": ports,
    }))?)
}

async fn change(api: &Api<EndpointSlice>, service: u32, change: u32) -> Result<()> {
    let slice = endpoint_slice(service, change + 1)?;
    let patch = json!({"endpoints": slice.endpoints});
    api.patch(
        &format!("{}-1", name(service)),
        &PatchParams::default(),
        &Patch::Merge(&patch),
    )
    .await
    .context("changing an endpoint")?;
    Ok(())
}

/// `VmRSS` and `VmHWM` of a process in MiB.
fn memory(pid: u32) -> Result<[f64; 2]> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> Result<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.context("no such field")?.trim().trim_end_matches(" kB");
        Ok(kib.parse::<f64>()? / 1024.0)
    };
    Ok([field("VmRSS:")?, field("VmHWM:")?])
}
