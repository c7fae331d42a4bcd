//! Ports of the node that lead to pods: from everywhere, by address and protocol, as long as the pod is attached.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::probe::Probe;
use e2e::underlay::{GATEWAY4, GATEWAY6};
use e2e::wait::{eventually, expect};

fn main() -> ExitCode {
    e2e::suite::main(
        "hostports",
        2,
        cases![
            a_host_port_leads_everybody_to_its_pod,
            pods_share_a_port_by_address_and_protocol,
            a_second_pod_waits_until_the_port_is_free,
            policies_see_the_pod_and_its_client,
            a_host_port_outlives_daemon_and_dataplane,
        ],
    )
}

/// Waits until a question is answered by `server`, which sees `client` if that is given.
async fn wait_answer(
    cluster: &Cluster,
    from: &str,
    probe: Probe,
    server: &str,
    client: Option<IpAddr>,
) -> Result<()> {
    let client = client.map(|client| client.to_string());
    let what = format!("{from}: {probe:?} is answered by {server}, which sees {client:?}");
    eventually(&what, Duration::from_secs(30), async || {
        let answers = cluster.ask(from, &probe.clone().times(4)).await?;
        let right = answers.all_answered()
            && answers.servers() == BTreeSet::from([server])
            && client
                .as_ref()
                .is_none_or(|client| answers.clients() == BTreeSet::from([client.as_str()]));
        Ok(expect(right, || answers.to_string()))
    })
    .await
}

/// `web` on node 1: port 8081 of the node is its port 80, on TCP, and 8053 its port 8080, on UDP.
fn web() -> PodSpec {
    PodSpec::new("web", 1)
        .label("app", "web")
        .host_port("", 8081, 80, "TCP")
        .host_port("", 8053, 8080, "UDP")
}

async fn a_host_port_leads_everybody_to_its_pod(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([web(), PodSpec::new("near", 1), PodSpec::new("far", 2)])
        .await?;
    cluster.pod("web")?.check(cluster.node_ref(1)?.network()).await?;
    let outside: [IpAddr; 2] = [GATEWAY4.into(), GATEWAY6.into()];
    let near = cluster.pod("near")?.addresses().to_vec();
    for (family, address) in cluster.node_addresses(1)?.into_iter().enumerate() {
        for probe in [Probe::tcp(address, 8081), Probe::udp(address, 8053)] {
            // The pod sees who speaks to it.
            wait_answer(cluster, "outside", probe.clone(), "web", Some(outside[family])).await?;
            wait_answer(cluster, "near", probe.clone(), "web", Some(near[family])).await?;
            wait_answer(cluster, "node/1", probe.clone(), "web", Some(address)).await?;
            for from in ["far", "node/2", "web"] {
                wait_answer(cluster, from, probe.clone(), "web", None).await?;
            }
        }
        // It is the port of its node alone, and of its protocol.
        cluster
            .wait_error("outside", Probe::udp(address, 8081), "refused")
            .await?;
    }
    let loopback: IpAddr = [127, 0, 0, 1].into();
    wait_answer(cluster, "node/1", Probe::tcp(loopback, 8081), "web", None).await?;
    let elsewhere = cluster.node_addresses(2)?[0];
    cluster
        .wait_error("outside", Probe::tcp(elsewhere, 8081), "refused")
        .await?;
    cluster.stop_pod("web").await?;
    for address in cluster.node_addresses(1)? {
        for from in ["outside", "near", "node/1"] {
            cluster
                .wait_error(from, Probe::tcp(address, 8081), "refused")
                .await?;
        }
    }
    Ok(())
}

/// Conformance: "validates that there is no conflict between pods with same hostPort but different hostIP and protocol".
async fn pods_share_a_port_by_address_and_protocol(cluster: &mut Cluster) -> Result<()> {
    let node = cluster.node_addresses(1)?[0];
    let on =
        |name: &str, address: &str, protocol| PodSpec::new(name, 1).host_port(address, 54323, 8080, protocol);
    cluster
        .start_pods([
            on("one", "127.0.0.1", "TCP"),
            on("two", &node.to_string(), "TCP"),
            on("three", &node.to_string(), "UDP"),
        ])
        .await?;
    let loopback: IpAddr = [127, 0, 0, 1].into();
    wait_answer(cluster, "node/1", Probe::tcp(loopback, 54323), "one", None).await?;
    for from in ["node/1", "outside", "one"] {
        wait_answer(cluster, from, Probe::tcp(node, 54323), "two", None).await?;
        wait_answer(cluster, from, Probe::udp(node, 54323), "three", None).await?;
    }
    // Runtimes remove what they no longer know.
    let network = cluster.node_ref(1)?.network().clone();
    let nobody = std::path::Path::new("");
    let raw = network
        .raw(
            "GC",
            "",
            nobody,
            serde_json::json!({"cni.dev/valid-attachments": []}),
        )
        .await?;
    ensure!(raw.code.is_none(), "{raw:?}");
    cluster
        .wait_error("outside", Probe::tcp(node, 54323), "refused")
        .await
}

async fn a_second_pod_waits_until_the_port_is_free(cluster: &mut Cluster) -> Result<()> {
    cluster.start_pod(web()).await?;
    let second = PodSpec::new("second", 1).host_port("", 8081, 80, "TCP");
    let key = cluster.create_pod(second).await?;
    let Err(refused) = cluster.attach_pod(&key).await else {
        bail!("two pods have one port");
    };
    let said = format!("{refused:#}");
    ensure!(
        said.contains("hostPort 8081/TCP of this node is held by pod default/web"),
        "{said}"
    );
    cluster.stop_pod("web").await?;
    // As kubelet does: again, until it succeeds.
    cluster.attach_pod(&key).await?;
    cluster.make_ready(&key).await?;
    let address = cluster.node_addresses(1)?[0];
    wait_answer(cluster, "outside", Probe::tcp(address, 8081), "second", None).await
}

async fn policies_see_the_pod_and_its_client(cluster: &mut Cluster) -> Result<()> {
    let client = |name: &str, node| PodSpec::new(name, node).label("app", name);
    cluster
        .start_pods([web(), client("friend", 1), client("stranger", 1)])
        .await?;
    let policy = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: 80}]}]
"#;
    cluster.kubectl().apply(policy).await?;
    let [four, six] = cluster.node_addresses(1)?;
    for address in [four, six] {
        wait_answer(cluster, "friend", Probe::tcp(address, 8081), "web", None).await?;
        cluster
            .wait_error("stranger", Probe::tcp(address, 8081), "timeout")
            .await?;
        cluster
            .wait_error("outside", Probe::tcp(address, 8081), "timeout")
            .await?;
        // A node always reaches its own pods.
        wait_answer(cluster, "node/1", Probe::tcp(address, 8081), "web", None).await?;
    }
    cluster.kubectl().delete(policy).await?;
    wait_answer(cluster, "outside", Probe::tcp(four, 8081), "web", None).await
}

async fn a_host_port_outlives_daemon_and_dataplane(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([web(), PodSpec::new("near", 1), PodSpec::new("far", 2)])
        .await?;
    let address = cluster.node_addresses(1)?[0];
    wait_answer(cluster, "near", Probe::tcp(address, 8081), "web", None).await?;
    let node = cluster.node(1)?;
    node.daemon().kill();
    node.daemon().spawn()?;
    node.wait_ready().await?;
    for from in ["near", "far", "outside", "node/1"] {
        wait_answer(cluster, from, Probe::tcp(address, 8081), "web", None).await?;
    }
    cluster.pod("web")?.check(cluster.node_ref(1)?.network()).await?;
    let node = cluster.node(1)?;
    node.vpp().kill();
    node.vpp().spawn()?;
    node.wait_ready().await?;
    for from in ["near", "far", "outside", "node/1"] {
        wait_answer(cluster, from, Probe::tcp(address, 8081), "web", None).await?;
    }
    Ok(())
}
