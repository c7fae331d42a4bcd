//! What is taken is given back; operator, daemon, dataplane and API server die and return while traffic flows.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::probe::{Flow, Probe};
use e2e::vpp::{Snapshot, difference, snapshot};
use e2e::wait::{eventually, expect};

fn main() -> ExitCode {
    e2e::suite::main(
        "lifecycle",
        2,
        cases![
            del_gives_everything_back,
            del_may_come_twice_and_late,
            the_operator_dies_and_returns,
            a_daemon_dies_and_returns,
            a_daemon_returns_to_what_has_changed,
            a_dataplane_dies_and_returns,
            the_api_server_goes_and_comes_back,
            a_daemon_starts_without_the_api_server,
        ],
    )
}

const OBJECTS: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  selector: {app: web}
  ipFamilyPolicy: PreferDualStack
  ports: [{port: 80}]
---
apiVersion: contivpp.io/v1alpha1
kind: CNF
metadata: {name: fw, namespace: default}
spec:
  podSelector: {matchLabels: {app: fw}}
  interfaces: [{name: in, role: In}, {name: out, role: Out}]
---
apiVersion: contivpp.io/v1alpha1
kind: ServiceChain
metadata: {name: client-to-web, namespace: default}
spec:
  classifier:
    from: {podSelector: {matchLabels: {app: client}}}
    to: {podSelector: {matchLabels: {app: web}}}
    ports: [{protocol: TCP, port: 80}]
  functions: [{name: fw, cnf: fw}]
"#;

fn pod(name: &str, node: u8) -> PodSpec {
    PodSpec::new(name, node).label("app", name.split('-').next().unwrap_or(name))
}

/// A client on node 1; two servers behind a Service, one isolated but for the client.
async fn shop(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([
            pod("client", 1),
            pod("stranger", 1),
            pod("web-1", 1),
            pod("web-2", 2),
        ])
        .await
}

/// Policy and Service of [`OBJECTS`], without the chain.
fn policy_and_service() -> String {
    OBJECTS.split("---").take(2).collect::<Vec<_>>().join("---")
}

async fn snapshots(cluster: &Cluster) -> Result<Vec<Snapshot>> {
    let mut all = Vec::new();
    for number in [1, 2] {
        all.push(snapshot(cluster.node_ref(number)?.vpp_socket()).await?);
    }
    Ok(all)
}

/// Waits until both dataplanes hold what they held.
async fn wait_same(cluster: &Cluster, before: &[Snapshot]) -> Result<()> {
    eventually(
        "the dataplanes hold what they held before",
        Duration::from_secs(30),
        async || {
            let after = snapshots(cluster).await?;
            let found: Vec<String> = before
                .iter()
                .zip(&after)
                .flat_map(|(old, new)| difference(old, new))
                .collect();
            Ok(expect(found.is_empty(), || found.join("\n")))
        },
    )
    .await
}

async fn del_gives_everything_back(cluster: &mut Cluster) -> Result<()> {
    // Nodes learn each other's link addresses from the first traffic and keep them; that is not a pod's to give back.
    cluster.start_pods([pod("client", 1), pod("web-2", 2)]).await?;
    cluster
        .expect_reach(&[("client", "web-2", 80, true), ("web-2", "client", 80, true)])
        .await?;
    cluster.reset().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = snapshots(cluster).await?;
    // Twice: what the first round leaves behind in the daemon's memory would show in the second.
    for round in 1..=2 {
        cluster.kubectl().apply(OBJECTS).await?;
        shop(cluster).await?;
        cluster.start_pod(pod("fw", 2)).await?;
        let web = cluster.pod("web-1")?.ip4()?;
        eventually(
            "the client reaches the server through the function",
            Duration::from_secs(30),
            async || {
                let answers = cluster.ask("client", &Probe::tcp(web, 80)).await?;
                let passed = cluster.pod("fw")?.netns()?.counter("in", "rx_packets");
                Ok(expect(answers.all_answered() && passed > 0, || {
                    format!("{answers}; the function saw {passed} packets")
                }))
            },
        )
        .await?;
        let during = snapshots(cluster).await?;
        ensure!(
            before
                .iter()
                .zip(&during)
                .all(|(old, new)| !difference(old, new).is_empty()),
            "nothing was programmed"
        );
        cluster.reset().await?;
        wait_same(cluster, &before)
            .await
            .with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

async fn del_may_come_twice_and_late(cluster: &mut Cluster) -> Result<()> {
    let before = snapshots(cluster).await?;
    cluster.start_pod(pod("client", 1)).await?;
    let network = cluster.node_ref(1)?.network().clone();
    let path = cluster.pod("client")?.netns()?.path();
    network.del(&path, &[]).await.context("the first DEL")?;
    network.del(&path, &[]).await.context("the second DEL")?;
    network
        .del("/run/netns/cv-never-was".as_ref(), &[])
        .await
        .context("DEL of what never was")?;
    cluster.stop_pod("client").await?;
    wait_same(cluster, &before).await
}

/// Flows that exercise what must not be disturbed: pod to pod on one node and across, and through the Service.
async fn flows(cluster: &Cluster) -> Result<Vec<(&'static str, Flow)>> {
    let netns = cluster.netns_of("client")?;
    let vip = cluster.service_addresses("web").await?[1];
    let flows = vec![
        (
            "one-node",
            Probe::tcp(cluster.pod("web-1")?.ip4()?, 80).flow(cluster.run(), "one-node", &netns)?,
        ),
        (
            "two-nodes",
            Probe::tcp(cluster.pod("web-2")?.ip6()?, 80).flow(cluster.run(), "two-nodes", &netns)?,
        ),
        (
            "service",
            Probe::tcp(vip, 80).flow(cluster.run(), "service", &netns)?,
        ),
    ];
    for (name, flow) in &flows {
        flow.settles(true, 5, Duration::from_secs(10))
            .await
            .with_context(|| (*name).to_owned())?;
    }
    Ok(flows)
}

/// Policy and Service in force, traffic flowing.
async fn busy(cluster: &mut Cluster) -> Result<Vec<(&'static str, Flow)>> {
    cluster.kubectl().apply(&policy_and_service()).await?;
    shop(cluster).await?;
    cluster
        .expect_reach(&[("client", "web-1", 80, true), ("stranger", "web-1", 80, false)])
        .await?;
    let vip = cluster.service_addresses("web").await?[1];
    eventually("the Service answers", Duration::from_secs(20), async || {
        let answers = cluster.ask("client", &Probe::tcp(vip, 80).times(5)).await?;
        Ok(expect(answers.all_answered(), || answers.to_string()))
    })
    .await?;
    flows(cluster).await
}

fn undisturbed(flows: Vec<(&'static str, Flow)>) -> Result<()> {
    for (name, flow) in flows {
        let marks = flow.stop();
        ensure!(
            marks.lost() == 0,
            "{name}: {} of {} lost: {marks}",
            marks.lost(),
            marks.0.len()
        );
    }
    Ok(())
}

async fn the_operator_dies_and_returns(cluster: &mut Cluster) -> Result<()> {
    let flows = busy(cluster).await?;
    cluster.operator()?.kill();
    cluster.kubectl().run(&["delete", "networkpolicy", "web"]).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Nobody compiles: what was in force stays in force.
    cluster
        .expect_reach(&[("client", "web-1", 80, true), ("stranger", "web-1", 80, false)])
        .await?;
    cluster.operator()?.spawn()?;
    cluster
        .expect_reach(&[("client", "web-1", 80, true), ("stranger", "web-1", 80, true)])
        .await?;
    undisturbed(flows)
}

async fn a_daemon_dies_and_returns(cluster: &mut Cluster) -> Result<()> {
    let flows = busy(cluster).await?;
    let before = snapshots(cluster).await?;
    cluster.node(1)?.daemon().kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    cluster
        .expect_reach(&[("client", "web-1", 80, true), ("stranger", "web-1", 80, false)])
        .await?;
    cluster.node(1)?.daemon().spawn()?;
    cluster.wait_nodes_ready().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    wait_same(cluster, &before)
        .await
        .context("adoption changed something")?;
    cluster
        .pod("client")?
        .check(cluster.node_ref(1)?.network())
        .await
        .context("CHECK after the restart")?;
    undisturbed(flows)?;
    cluster.start_pod(pod("client-2", 1)).await?;
    cluster
        .expect_reach(&[("client-2", "web-1", 80, true), ("stranger", "web-1", 80, false)])
        .await
}

/// While the daemon is down a pod goes, a policy changes and a backend is added.
async fn a_daemon_returns_to_what_has_changed(cluster: &mut Cluster) -> Result<()> {
    let flows = busy(cluster).await?;
    cluster.node(1)?.daemon().kill();
    cluster.kubectl().run(&["delete", "networkpolicy", "web"]).await?;
    cluster.start_pod(pod("web-3", 2)).await?;
    // The pod's DEL finds no daemon; it must neither fail nor be forgotten.
    cluster
        .stop_pod("stranger")
        .await
        .context("DEL without a daemon")?;
    cluster.node(1)?.daemon().spawn()?;
    cluster.wait_nodes_ready().await?;
    let vip = cluster.service_addresses("web").await?[0];
    eventually("the new backend is used", Duration::from_secs(20), async || {
        let answers = cluster.ask("client", &Probe::tcp(vip, 80).times(40)).await?;
        Ok(expect(
            answers.all_answered() && answers.servers().contains("web-3"),
            || answers.to_string(),
        ))
    })
    .await?;
    eventually(
        "the gone pod's interface is gone",
        Duration::from_secs(20),
        async || {
            let mut all = snapshot(cluster.node_ref(1)?.vpp_socket()).await?;
            let mut devices: Vec<String> = Vec::new();
            for kind in ["taps", "af_packet"] {
                devices.extend(all.remove(kind).unwrap_or_default());
            }
            // client, web-1, the host's own, and the uplink.
            Ok(expect(devices.len() == 4, || devices.join("\n")))
        },
    )
    .await?;
    cluster.start_pod(pod("visitor", 1)).await?;
    cluster
        .expect_reach(&[("client", "web-1", 80, true), ("visitor", "web-1", 80, true)])
        .await?;
    undisturbed(flows)
}

/// A dataplane that dies takes its packets and sessions with it; everything else is made again.
async fn a_dataplane_dies_and_returns(cluster: &mut Cluster) -> Result<()> {
    let flows = busy(cluster).await?;
    let before = snapshots(cluster).await?;
    cluster.node(1)?.vpp().kill();
    for (name, flow) in &flows {
        flow.settles(false, 3, Duration::from_secs(10))
            .await
            .with_context(|| (*name).to_owned())?;
    }
    cluster
        .wait_config_condition(1, "VppConnected", "False", Duration::from_secs(20))
        .await?;
    cluster.node(1)?.vpp().spawn()?;
    cluster.wait_nodes_ready().await?;
    cluster
        .expect_reach(&[
            ("client", "web-1", 80, true),
            ("client", "web-2", 80, true),
            ("stranger", "web-1", 80, false),
        ])
        .await?;
    let vip = cluster.service_addresses("web").await?[1];
    eventually("the Service answers again", Duration::from_secs(20), async || {
        let answers = cluster.ask("client", &Probe::tcp(vip, 80).times(5)).await?;
        Ok(expect(answers.all_answered(), || answers.to_string()))
    })
    .await?;
    let after = snapshots(cluster).await?;
    for kind in ["translations", "acls", "vxlan"] {
        let (old, new) = (
            before[0].get(kind).map(Vec::len),
            after[0].get(kind).map(Vec::len),
        );
        ensure!(old == new, "{kind}: {old:?} before, {new:?} after");
    }
    cluster
        .pod("client")?
        .check(cluster.node_ref(1)?.network())
        .await
        .context("CHECK after the restart")?;
    // Connections between pods carry no state in the dataplane but what permits replies; they go on.
    for (name, flow) in flows {
        let ended = flow.settles(true, 5, Duration::from_secs(20)).await;
        let marks = flow.stop();
        let (lost, all, gap) = (marks.lost(), marks.0.len(), marks.longest_gap());
        e2e::suite::note(&format!(
            "{name}: {lost} of {all} questions lost, {gap} ms without an answer"
        ));
        if name != "service" {
            ended.with_context(|| format!("{name} did not go on: {marks}"))?;
        }
    }
    Ok(())
}

async fn the_api_server_goes_and_comes_back(cluster: &mut Cluster) -> Result<()> {
    let flows = busy(cluster).await?;
    cluster.control().stop_apiserver();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (name, flow) in &flows {
        ensure!(flow.next(5).await?.lost() == 0, "{name} is disturbed");
    }
    cluster.control().start_apiserver().await?;
    cluster.wait_nodes_ready().await?;
    cluster.kubectl().run(&["delete", "networkpolicy", "web"]).await?;
    cluster.expect_reach(&[("stranger", "web-1", 80, true)]).await?;
    undisturbed(flows)
}

/// The node's disk is enough: its pods keep their network, and DEL works.
async fn a_daemon_starts_without_the_api_server(cluster: &mut Cluster) -> Result<()> {
    let flows = busy(cluster).await?;
    cluster.control().stop_apiserver();
    cluster.node(1)?.daemon().kill();
    cluster.node(1)?.daemon().spawn()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let result = async {
        cluster
            .expect_reach(&[
                ("client", "web-1", 80, true),
                ("client", "web-2", 80, true),
                ("stranger", "web-1", 80, false),
            ])
            .await?;
        cluster
            .pod("client")?
            .check(cluster.node_ref(1)?.network())
            .await
            .context("CHECK without the API server")
    }
    .await;
    cluster.control().start_apiserver().await?;
    cluster.wait_nodes_ready().await?;
    result?;
    undisturbed(flows)
}
