//! The harness itself, without any part of the product: API server, CRDs, nodes' network, probes, reference CNI plugins.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use e2e::assets;
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::cni::Network;
use e2e::netns::Namespace;
use e2e::node::register;
use e2e::pod::{Pod, PodSpec};
use e2e::probe::{Ping, Probe};
use serde_json::json;

const KINDS: [&str; 7] = [
    "cnfs",
    "servicechains",
    "vppaddresssets",
    "vppconfigs",
    "vpppeerslices",
    "vpppolicies",
    "vppserviceslices",
];

fn main() -> ExitCode {
    e2e::suite::main(
        "harness",
        0,
        cases![
            charts_are_accepted,
            examples_are_accepted,
            nodes_and_pods_are_objects,
            reference_plugins_connect_pods
        ],
    )
}

async fn charts_are_accepted(cluster: &mut Cluster) -> Result<()> {
    cluster.install_charts().await?;
    let kinds = [
        "api-resources",
        "--api-group=contivpp.io",
        "-o",
        "name",
        "--no-headers",
    ];
    let kinds = cluster.kubectl().run(&kinds).await?;
    for kind in KINDS {
        ensure!(
            kinds.contains(&format!("{kind}.contivpp.io")),
            "{kind} is not served: {kinds}"
        );
    }
    // Who may do what, asked by the accounts themselves; a node's kubeconfig names an address that only nodes see.
    let server = format!("--server=https://127.0.0.1:{}", cluster.control().port());
    let operator = cluster.control().operator_kubeconfig().await?;
    let daemon = cluster
        .control()
        .node_kubeconfig("node-8", "172.30.0.18".parse()?)
        .await?;
    let cases = [
        (&operator, "create", "yes"),
        (&daemon, "create", "no"),
        (&daemon, "watch", "yes"),
    ];
    for (kubeconfig, verb, expected) in cases {
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let question = [
            "auth",
            "can-i",
            verb,
            "vppconfigs.contivpp.io",
            &kubeconfig,
            &server,
        ];
        // kubectl says "no" with an exit code, too.
        let answer = cluster
            .kubectl()
            .run(&question)
            .await
            .unwrap_or_else(|error| error.to_string());
        let last = answer
            .split_whitespace()
            .rev()
            .find(|word| matches!(*word, "yes" | "no"));
        ensure!(last == Some(expected), "{verb}: {answer}");
    }
    Ok(())
}

async fn examples_are_accepted(cluster: &mut Cluster) -> Result<()> {
    cluster.install_charts().await?;
    cluster.install_cluster_network_policy().await?;
    cluster.apply_namespace("shop", &[]).await?;
    let dir = assets::source_root().join("examples");
    let dir = dir.to_str().context("the source tree's path is not UTF-8")?;
    let said = cluster
        .kubectl()
        .run(&["apply", "--validate=strict", "--recursive", "-f", dir])
        .await?;
    let files = std::fs::read_dir(dir)?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .count();
    ensure!(said.lines().count() >= files && files > 0, "{said}");
    Ok(())
}

async fn nodes_and_pods_are_objects(cluster: &mut Cluster) -> Result<()> {
    register(&cluster.client(), 7).await?;
    let mut pod = Pod::create(
        &cluster.client(),
        PodSpec::new("thing", 7).label("app", "thing"),
        "node-7",
    )
    .await?;
    pod.report(&cluster.client(), "172.30.0.17".parse()?, true)
        .await?;
    let seen = cluster
        .kubectl()
        .run(&[
            "get",
            "pod",
            "thing",
            "-o",
            "jsonpath={.spec.nodeName} {.status.phase}",
        ])
        .await?;
    ensure!(seen == "node-7 Running", "{seen}");
    pod.delete(&cluster.client()).await?;
    let left = cluster.kubectl().run(&["get", "pods", "--no-headers"]).await?;
    ensure!(
        left.is_empty(),
        "a pod deleted with no grace is gone at once: {left}"
    );
    Ok(())
}

async fn reference_plugins_connect_pods(cluster: &mut Cluster) -> Result<()> {
    let node = Namespace::create(&cluster.run().netns("ref"))?;
    let plugins = assets::built("bridge")?;
    assets::built("host-local")?;
    let plugins = plugins.parent().context("the plugin has no directory")?;
    let dir = cluster.run().subdir("reference")?;
    let plugin = json!({"type": "bridge", "bridge": "br0", "isGateway": true, "ipam": {
        "type": "host-local", "dataDir": dir.join("ipam"),
        "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd00:9::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    }});
    let network = Network::write(
        &format!("{}-reference", cluster.run().id()),
        &dir,
        plugins,
        cluster.cnitool(),
        node.name(),
        &plugin,
    )?;
    network.status().await?;

    let mut pods = Vec::new();
    for name in ["ref-a", "ref-b"] {
        let mut pod = Pod::create(&cluster.client(), PodSpec::new(name, 7), "node-7").await?;
        pod.attach(cluster.run(), &network).await?;
        pod.serve(cluster.run()).await?;
        pods.push(pod);
    }
    let (a, b) = (&pods[0], &pods[1]);
    for (to, from) in [(b.ip4()?, a.ip4()?), (b.ip6()?, a.ip6()?)] {
        for probe in [Probe::tcp(to, 80), Probe::udp(to, 8080)] {
            let answers = probe.times(3).from(a.netns()?.name()).await?;
            ensure!(
                answers.answered() == 3 && answers.servers() == ["ref-b"].into(),
                "{answers}"
            );
            ensure!(
                answers.clients() == [from.to_string().as_str()].into(),
                "{answers}"
            );
        }
        let report = Ping::to(to).from(a.netns()?.name()).await?;
        ensure!(report.replies == 3, "{report:?}");
    }
    let closed = Probe::tcp(b.ip4()?, 81).from(a.netns()?.name()).await?;
    ensure!(closed.all("refused"), "{closed}");
    let nobody: IpAddr = "10.9.0.200".parse()?;
    let lost = Probe::udp(nobody, 80).from(a.netns()?.name()).await?;
    ensure!(lost.none_answered(), "{lost}");

    let flow = Probe::tcp(b.ip4()?, 80).flow(cluster.run(), "reference", a.netns()?.name())?;
    let marks = flow.next(5).await?;
    ensure!(
        marks.lost() == 0 && marks.servers() == ["ref-b"].into(),
        "{marks}"
    );
    pods[1].check(&network).await?;
    pods[1].detach(&network).await?;
    flow.settles(false, 2, std::time::Duration::from_secs(10)).await?;
    ensure!(flow.stop().lost() >= 2);
    for pod in &mut pods {
        pod.detach(&network).await?;
        pod.delete(&cluster.client()).await?;
    }
    Ok(())
}
