//! Pods reach each other on one node and across nodes, in both families; the host reaches its pods.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::probe::{Ping, Probe};
use serde_json::Value;

/// What VXLAN over IPv4 adds to a packet without an inner Ethernet header: VPP's L3 tunnels still carry one.
const VXLAN_OVERHEAD: usize = 50;
const UNDERLAY_MTU: usize = 1500;

fn main() -> ExitCode {
    e2e::suite::main(
        "connectivity",
        2,
        cases![
            pods_on_one_node,
            pods_on_two_nodes,
            full_size_packets_cross_nodes,
            the_host_and_its_pods,
            an_attachment_passes_check,
            a_pod_that_comes_again_is_reached_again,
        ],
    )
}

/// TCP, UDP and ping from `from` to `to`, both families; the server sees the client's own address.
async fn talks(cluster: &Cluster, from: &str, to: &str) -> Result<()> {
    let (client, server) = (cluster.pod(from)?, cluster.pod(to)?);
    ensure!(
        server.addresses().len() == 2,
        "{to} has addresses {:?}",
        server.addresses()
    );
    for (target, source) in [(server.ip4()?, client.ip4()?), (server.ip6()?, client.ip6()?)] {
        for probe in [Probe::tcp(target, 80), Probe::udp(target, 8080)] {
            let answers = cluster.ask(from, &probe.times(3)).await?;
            let expected = format!("{to} {source}");
            ensure!(
                answers.0.get(&expected) == Some(&3),
                "{from} → {to} {target}: {answers}, not {expected} × 3"
            );
        }
        let report = Ping::to(target).from(&cluster.netns_of(from)?).await?;
        ensure!(report.replies == 3, "{from} → {to} {target}: {report:?}");
    }
    Ok(())
}

async fn pods_on_one_node(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([PodSpec::new("a", 1), PodSpec::new("b", 1)])
        .await?;
    talks(cluster, "a", "b").await?;
    talks(cluster, "b", "a").await?;
    let report = Ping::to(cluster.pod("b")?.ip4()?)
        .from(&cluster.netns_of("a")?)
        .await?;
    ensure!(report.ttl == Some(63), "one router on the way: {report:?}");
    // The very first packet counts: nothing may be lost to address resolution.
    cluster
        .start_pods([PodSpec::new("c", 1), PodSpec::new("d", 1)])
        .await?;
    let first = cluster
        .ask("c", &Probe::udp(cluster.pod("d")?.ip4()?, 80))
        .await?;
    ensure!(
        first.all_answered(),
        "the first datagram between two new pods: {first}"
    );
    Ok(())
}

async fn pods_on_two_nodes(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([PodSpec::new("a", 1), PodSpec::new("b", 2)])
        .await?;
    talks(cluster, "a", "b").await?;
    talks(cluster, "b", "a").await?;
    let report = Ping::to(cluster.pod("b")?.ip4()?)
        .from(&cluster.netns_of("a")?)
        .await?;
    ensure!(report.ttl == Some(62), "two routers on the way: {report:?}");
    Ok(())
}

async fn full_size_packets_cross_nodes(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([PodSpec::new("a", 1), PodSpec::new("b", 2)])
        .await?;
    let links = cluster
        .pod("a")?
        .netns()?
        .ip_output(&["-json", "link", "show", "eth0"])?;
    let links: Value = serde_json::from_str(&links)?;
    let mtu = links
        .pointer("/0/mtu")
        .and_then(Value::as_u64)
        .context("eth0 has no MTU")? as usize;
    ensure!(
        mtu <= UNDERLAY_MTU - VXLAN_OVERHEAD,
        "eth0's MTU {mtu} does not leave room for the tunnel"
    );
    for (address, headers) in [
        (cluster.pod("b")?.ip4()?, 20 + 8),
        (cluster.pod("b")?.ip6()?, 40 + 8),
    ] {
        let report = Ping::to(address)
            .size(mtu - headers)
            .from(&cluster.netns_of("a")?)
            .await?;
        ensure!(report.replies == 3, "{mtu} bytes to {address}: {report:?}");
    }
    Ok(())
}

async fn the_host_and_its_pods(cluster: &mut Cluster) -> Result<()> {
    cluster.start_pod(PodSpec::new("a", 1)).await?;
    for address in cluster.pod("a")?.addresses() {
        let answers = cluster.ask("node/1", &Probe::tcp(*address, 80).times(2)).await?;
        ensure!(
            answers.servers() == ["a"].into() && answers.all_answered(),
            "node → pod {address}: {answers}"
        );
    }
    let node = cluster.node_ref(1)?.addresses();
    for address in [IpAddr::V4(node.host4()), IpAddr::V6(node.host6())] {
        let report = Ping::to(address).from(&cluster.netns_of("a")?).await?;
        ensure!(report.replies == 3, "pod → its node {address}: {report:?}");
    }
    Ok(())
}

async fn an_attachment_passes_check(cluster: &mut Cluster) -> Result<()> {
    cluster.start_pod(PodSpec::new("a", 1)).await?;
    let pod = cluster.pod("a")?;
    let network = cluster.node_ref(1)?.network();
    pod.check(network).await.context("right after ADD")?;
    pod.netns()?
        .ip_batch("link set eth0 down\naddress flush dev eth0\n")?;
    ensure!(
        pod.check(network).await.is_err(),
        "CHECK does not see that the address is gone"
    );
    Ok(())
}

async fn a_pod_that_comes_again_is_reached_again(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([PodSpec::new("a", 1), PodSpec::new("b", 2)])
        .await?;
    talks(cluster, "a", "b").await?;
    let old = cluster.pod("b")?.ip4()?;
    cluster.stop_pod("b").await?;
    let gone = cluster.ask("a", &Probe::tcp(old, 80)).await?;
    ensure!(gone.none_answered(), "a pod that is gone answers: {gone}");
    cluster.start_pod(PodSpec::new("b", 2)).await?;
    ensure!(
        cluster.pod("b")?.ip4()? != old,
        "the address was given again at once"
    );
    talks(cluster, "a", "b").await
}
