//! `kubectl get vppconfig` tells the truth: ready, without VPP, without a daemon, with pods coming and going.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::wait::{eventually, expect};

fn main() -> ExitCode {
    e2e::suite::main(
        "status",
        2,
        cases![
            a_ready_node_says_what_it_runs,
            pods_are_counted,
            without_vpp_a_node_is_not_ready,
            a_dead_daemon_is_not_called_ready,
            a_dead_operator_changes_nothing,
            health_and_metrics_are_served,
        ],
    )
}

/// One column of a row of `kubectl get vppconfig`, by its heading.
async fn column(cluster: &Cluster, node: &str, heading: &str) -> Result<String> {
    let table = cluster
        .kubectl()
        .run(&["get", "vppconfig", node, "-o", "wide"])
        .await?;
    let mut lines = table.lines();
    let (head, row) = (
        lines.next().context("no heading")?,
        lines.next().context("no row")?,
    );
    // Columns are as wide as their widest cell: a heading's position is its column's.
    let start = head
        .find(heading)
        .with_context(|| format!("no column {heading} in {head}"))?;
    let cell = row.get(start..).unwrap_or_default();
    Ok(cell.split("  ").next().unwrap_or_default().trim().to_owned())
}

async fn wait_column(
    cluster: &Cluster,
    node: &str,
    heading: &str,
    wanted: &str,
    patience: u64,
) -> Result<()> {
    eventually(
        &format!("{heading} of {node} is {wanted:?}"),
        Duration::from_secs(patience),
        async || {
            let cell = column(cluster, node, heading).await?;
            Ok(expect(cell == wanted, || format!("it is {cell:?}")))
        },
    )
    .await
}

async fn a_ready_node_says_what_it_runs(cluster: &mut Cluster) -> Result<()> {
    for node in ["node-1", "node-2"] {
        wait_column(cluster, node, "READY", "True", 20).await?;
        let version = column(cluster, node, "VPP").await?;
        ensure!(
            !version.is_empty() && version.starts_with(|c: char| c.is_ascii_digit()),
            "VPP version {version:?}"
        );
        let path = "jsonpath={.metadata.generation} {.status.observedGeneration} {.spec.revision} {.status.appliedRevision}";
        eventually(
            "status speaks of the current spec",
            Duration::from_secs(20),
            async || {
                let text = cluster
                    .kubectl()
                    .run(&["get", "vppconfig", node, "-o", path])
                    .await?;
                let words: Vec<&str> = text.split(' ').collect();
                let current = words.len() == 4 && words[0] == words[1] && words[2] == words[3];
                Ok(expect(current, || text.clone()))
            },
        )
        .await?;
    }
    Ok(())
}

async fn pods_are_counted(cluster: &mut Cluster) -> Result<()> {
    wait_column(cluster, "node-1", "PODS", "0/0", 20).await?;
    let key = cluster.create_pod(PodSpec::new("a", 1)).await?;
    wait_column(cluster, "node-1", "PODS", "0/1", 20).await?;
    cluster.attach_pod(&key).await?;
    wait_column(cluster, "node-1", "PODS", "1/1", 20).await?;
    cluster.make_ready(&key).await?;
    cluster.start_pod(PodSpec::new("b", 1)).await?;
    wait_column(cluster, "node-1", "PODS", "2/2", 20).await?;
    cluster.stop_pod("a").await?;
    wait_column(cluster, "node-1", "PODS", "1/1", 20).await
}

async fn without_vpp_a_node_is_not_ready(cluster: &mut Cluster) -> Result<()> {
    cluster.start_pod(PodSpec::new("a", 1)).await?;
    wait_column(cluster, "node-1", "READY", "True", 20).await?;
    cluster.node(1)?.vpp().kill();
    wait_column(cluster, "node-1", "READY", "False", 20).await?;
    cluster
        .wait_config_condition(1, "VppConnected", "False", Duration::from_secs(5))
        .await?;
    wait_column(cluster, "node-2", "READY", "True", 5).await?;
    let (code, text) = cluster.node_ref(1)?.admin("/readyz").await?;
    ensure!(code == 503, "/readyz says {code}: {text}");
    ensure!(
        cluster.node_ref(1)?.network().status().await.is_err(),
        "CNI STATUS says that an ADD can work"
    );
    cluster.node(1)?.vpp().spawn()?;
    wait_column(cluster, "node-1", "READY", "True", 40).await?;
    wait_column(cluster, "node-1", "PODS", "1/1", 10).await
}

async fn a_dead_daemon_is_not_called_ready(cluster: &mut Cluster) -> Result<()> {
    wait_column(cluster, "node-2", "READY", "True", 20).await?;
    cluster.node(2)?.daemon().kill();
    eventually(
        "READY of node-2 is no longer True",
        Duration::from_secs(90),
        async || {
            let cell = column(cluster, "node-2", "READY").await?;
            Ok(expect(cell != "True", || cell.clone()))
        },
    )
    .await?;
    cluster.node(2)?.daemon().spawn()?;
    wait_column(cluster, "node-2", "READY", "True", 40).await
}

async fn a_dead_operator_changes_nothing(cluster: &mut Cluster) -> Result<()> {
    cluster.operator()?.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let still = column(cluster, "node-1", "READY").await?;
    ensure!(
        still == "True",
        "the node does what its spec says, operator or not: {still}"
    );
    cluster.operator()?.spawn()?;
    cluster.start_pod(PodSpec::new("a", 1)).await?;
    wait_column(cluster, "node-1", "PODS", "1/1", 30).await
}

async fn health_and_metrics_are_served(cluster: &mut Cluster) -> Result<()> {
    for path in ["/healthz", "/readyz"] {
        let (code, text) = cluster.node_ref(1)?.admin(path).await?;
        ensure!(code == 200, "{path} says {code}: {text}");
    }
    let (code, text) = cluster.node_ref(1)?.admin("/metrics").await?;
    ensure!(
        code == 200 && text.contains("# TYPE contiv"),
        "/metrics says {code}: {text}"
    );
    Ok(())
}
