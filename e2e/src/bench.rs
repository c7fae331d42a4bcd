//! CNI latency: our plugin beside the reference plugins bridge + host-local, in one run on one machine.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::future::join_all;
use serde_json::json;

use crate::assets;
use crate::cluster::Cluster;
use crate::cni::Network;
use crate::netns::Namespace;
use crate::pod::PodSpec;
use crate::wait::{eventually, expect};

/// Pods attached one after the other.
const SERIAL: usize = 60;
/// Pods attached at once.
const PARALLEL: usize = 30;

/// One attachment to make: the pod's namespace and CNI_ARGS.
struct Target {
    netns: Namespace,
    args: Vec<(String, String)>,
}

/// Latencies of one plugin.
#[derive(Debug)]
struct Figures {
    name: &'static str,
    add: Vec<Duration>,
    del: Vec<Duration>,
    burst: Vec<Duration>,
}

/// Runs the bench and prints a table. Each latency is that of a whole `cnitool` run in the node's
/// namespace, program starts included, the same for both plugins.
pub async fn bench_cni() -> Result<()> {
    let mut cluster = Cluster::start(1).await?;
    let ours = ours(&mut cluster).await?;
    let reference = reference(&cluster).await?;
    let mut out = io::stdout();
    writeln!(
        out,
        "\nCNI, whole cnitool runs in ms: {SERIAL} pods one after the other, then {PARALLEL} at once; {} CPUs\n",
        std::thread::available_parallelism().map_or(0, usize::from),
    )?;
    writeln!(
        out,
        "{:<22}{:>9}{:>9}{:>10}{:>9}{:>14}{:>9}",
        "plugin", "ADD p50", "p99", "DEL p50", "p99", "burst ADD p50", "p99"
    )?;
    for figures in [&ours, &reference] {
        let [a50, a99] = percentiles(&figures.add);
        let [d50, d99] = percentiles(&figures.del);
        let [b50, b99] = percentiles(&figures.burst);
        writeln!(
            out,
            "{:<22}{a50:>9.1}{a99:>9.1}{d50:>10.1}{d99:>9.1}{b50:>14.1}{b99:>9.1}",
            figures.name
        )?;
    }
    Ok(())
}

async fn ours(cluster: &mut Cluster) -> Result<Figures> {
    let mut targets = Vec::new();
    for number in 0..SERIAL + PARALLEL {
        let name = format!("bench-{number}");
        let key = cluster.create_pod(PodSpec::new(&name, 1)).await?;
        let uid = cluster.pod(&key)?.uid().to_owned();
        let args = [
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", "default"),
            ("K8S_POD_NAME", &name),
            ("K8S_POD_UID", &uid),
            ("K8S_POD_INFRA_CONTAINER_ID", &uid),
        ];
        let args = args
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .to_vec();
        targets.push(Target {
            netns: Namespace::create(&cluster.run().netns(&name))?,
            args,
        });
    }
    // The plugin's own work is measured, not how fast the operator hears of ninety pods.
    let all = format!("0/{}", SERIAL + PARALLEL);
    eventually("every pod is bound", Duration::from_secs(60), async || {
        let pods = cluster
            .kubectl()
            .run(&["get", "vppconfig", "node-1", "-o", "jsonpath={.status.pods}"])
            .await?;
        Ok(expect(pods == all, || pods.clone()))
    })
    .await?;
    measure("contiv-cni", cluster.node_ref(1)?.network(), targets).await
}

async fn reference(cluster: &Cluster) -> Result<Figures> {
    let node = Namespace::create(&cluster.run().netns("reference"))?;
    let bridge = assets::built("bridge")?;
    assets::built("host-local")?;
    let plugins: PathBuf = bridge.parent().context("the plugin has no directory")?.to_owned();
    let dir = cluster.run().subdir("reference")?;
    let plugin = json!({"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": {
        "type": "host-local", "dataDir": dir.join("ipam"), "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd00:9::/64"}]],
    }});
    let name = format!("{}-reference", cluster.run().id());
    let network = Network::write(&name, &dir, &plugins, cluster.cnitool(), node.name(), &plugin)?;
    let mut targets = Vec::new();
    for number in 0..SERIAL + PARALLEL {
        let netns = Namespace::create(&cluster.run().netns(&format!("ref-{number}")))?;
        targets.push(Target {
            netns,
            args: Vec::new(),
        });
    }
    measure("bridge + host-local", &network, targets).await
}

async fn measure(name: &'static str, network: &Network, targets: Vec<Target>) -> Result<Figures> {
    let (serial, burst) = targets.split_at(SERIAL);
    let mut figures = Figures {
        name,
        add: Vec::new(),
        del: Vec::new(),
        burst: Vec::new(),
    };
    for target in serial {
        figures.add.push(add(network, target).await?);
    }
    for target in serial {
        figures.del.push(del(network, target).await?);
    }
    for duration in join_all(burst.iter().map(|target| add(network, target))).await {
        figures.burst.push(duration?);
    }
    for target in burst {
        del(network, target).await?;
    }
    Ok(figures)
}

async fn add(network: &Network, target: &Target) -> Result<Duration> {
    let started = Instant::now();
    network.add(&target.netns.path(), &arguments(target)).await?;
    Ok(started.elapsed())
}

async fn del(network: &Network, target: &Target) -> Result<Duration> {
    let started = Instant::now();
    network.del(&target.netns.path(), &arguments(target)).await?;
    Ok(started.elapsed())
}

fn arguments(target: &Target) -> Vec<(&str, &str)> {
    target
        .args
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect()
}

/// Median and 99th percentile in ms (nearest rank).
pub(crate) fn percentiles(durations: &[Duration]) -> [f64; 2] {
    let mut sorted = durations.to_vec();
    sorted.sort();
    [50, 99].map(|percent| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted
            .get(rank - 1)
            .map_or(f64::NAN, |duration| duration.as_secs_f64() * 1000.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let durations: Vec<Duration> = (1..=60).rev().map(Duration::from_millis).collect();
        assert_eq!(percentiles(&durations), [30.0, 60.0]);
        assert_eq!(percentiles(&durations[..1]), [60.0, 60.0]);
    }
}
