//! A whole Kubernetes with our network: what users and administrators of a cluster do to it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::k8s::cluster::Cluster;
use e2e::k8s::workload::{client, default_deny, manifest, namespace, servers, service};
use e2e::probe::Answers;
use e2e::suite::note;
use e2e::wait::{eventually, expect};

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    e2e::suite::main(
        "k8s_cluster",
        2,
        cases![
            kubelet_probes_reach_isolated_pods,
            exec_logs_and_port_forward,
            services_have_names,
            a_rolling_update_loses_no_connection,
            kubelet_and_containerd_restart,
            a_node_comes_and_goes,
        ],
    )
}

/// Applies a namespace with these objects and waits for the pods.
async fn deploy(cluster: &Cluster, space: &str, objects: &[serde_json::Value]) -> Result<()> {
    let mut all = vec![namespace(space)];
    all.extend(objects.iter().cloned());
    cluster.kubectl().apply(&manifest(&all)).await?;
    wait_pods(cluster, space).await
}

async fn wait_pods(cluster: &Cluster, space: &str) -> Result<()> {
    // `wait` does not wait for pods that a controller has not made yet.
    cluster.wait_rollout(space, "deployment").await?;
    let ready = [
        "wait",
        "pods",
        "--all",
        "-n",
        space,
        "--for=condition=Ready",
        "--timeout=90s",
    ];
    cluster.kubectl().run(&ready).await.map(drop)
}

/// Whether `kubectl get vppconfig` says that these nodes, and no others, are Ready.
async fn vppconfigs_are(cluster: &Cluster, nodes: &[&str]) -> Result<()> {
    let path =
        "jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type==\"Ready\")].status} {end}";
    let wanted: Vec<String> = nodes.iter().map(|node| format!("{node}=True")).collect();
    eventually("VppConfigs are of these nodes and Ready", PATIENCE, async || {
        let now = cluster.kubectl().run(&["get", "vppconfigs", "-o", path]).await?;
        Ok(expect(
            now.split_whitespace().eq(wanted.iter().map(String::as_str)),
            || format!("wanted {wanted:?}, they are {now}"),
        ))
    })
    .await
}

async fn kubelet_probes_reach_isolated_pods(cluster: &mut Cluster) -> Result<()> {
    deploy(
        cluster,
        "probes",
        &[servers("probes", "web", 4), client("probes", "asker", None)],
    )
    .await?;
    let pods = cluster.pods("probes", "app=web").await?;
    for node in ["node-1", "node-2"] {
        ensure!(
            pods.iter().any(|pod| pod.node == node),
            "no pod on {node}: {pods:?}"
        );
    }
    let near = format!("{}:80", pods[0].address);
    cluster.expect_answers("probes", "asker", &near, true).await?;
    cluster
        .kubectl()
        .apply(&default_deny("probes").to_string())
        .await?;
    for pod in &pods {
        cluster
            .expect_answers("probes", "asker", &format!("{}:80", pod.address), false)
            .await?;
    }
    // Probes are asked every second and fail after three times: these pods would long be restarted.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let path = "jsonpath={range .items[*]}{.status.containerStatuses[0].ready}/{.status.containerStatuses[0].restartCount} {end}";
    let said = cluster
        .kubectl()
        .run(&["get", "pods", "-n", "probes", "-l", "app=web", "-o", path])
        .await?;
    ensure!(
        said.split_whitespace().eq(["true/0"; 4]),
        "ready/restarts: {said}"
    );
    vppconfigs_are(cluster, &["node-1", "node-2"]).await
}

async fn exec_logs_and_port_forward(cluster: &mut Cluster) -> Result<()> {
    let mut talker = client("tools", "talker", Some("node-2"));
    // A program that says something and ends is started again; its last words are its log.
    talker["spec"]["containers"][0]["args"] =
        serde_json::json!(["ask", "--to", "127.0.0.1:9", "--count", "3"]);
    talker["spec"]["restartPolicy"] = serde_json::json!("Never");
    let objects = [namespace("tools"), servers("tools", "web", 1), talker];
    cluster.kubectl().apply(&manifest(&objects)).await?;
    cluster.wait_rollout("tools", "deployment").await?;
    let own = cluster.ask("tools", "deploy/web", "127.0.0.1:80", 3).await?;
    ensure!(own.all_answered(), "asked within the pod itself: {own}");
    cluster
        .wait_jsonpath(&["pod/talker", "-n", "tools"], "{.status.phase}", "Succeeded")
        .await?;
    let log = cluster.kubectl().run(&["logs", "-n", "tools", "talker"]).await?;
    ensure!(log.trim() == r#"{"refused":3}"#, "the log is {log:?}");

    let mut forward = cluster.kubectl_background(&["port-forward", "-n", "tools", "deploy/web", ":80"])?;
    let stdout = forward.stdout.take().context("no output")?;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    let line = tokio::time::timeout(PATIENCE, lines.next_line())
        .await??
        .context("port-forward ended")?;
    let port = line
        .split(" -> ")
        .next()
        .and_then(|left| left.rsplit(':').next())
        .context("no port")?;
    let near: SocketAddr = format!("127.0.0.1:{port}")
        .parse()
        .with_context(|| format!("it said {line:?}"))?;
    let asked = tokio::task::spawn_blocking(move || {
        e2e::probe::client::ask(
            &near.to_string(),
            e2e::probe::Protocol::Tcp,
            3,
            Duration::from_secs(3),
        )
    });
    let answers = Answers(asked.await?);
    ensure!(answers.all_answered(), "through port-forward: {answers}");
    Ok(())
}

async fn services_have_names(cluster: &mut Cluster) -> Result<()> {
    let mut headless = service("names", "web");
    headless["metadata"]["name"] = serde_json::json!("each");
    headless["spec"]["clusterIP"] = serde_json::json!("None");
    let objects = [servers("names", "web", 2), service("names", "web"), headless];
    let clients = [
        client("names", "one", Some("node-1")),
        client("names", "two", Some("node-2")),
    ];
    deploy(cluster, "names", &[objects.as_slice(), &clients].concat()).await?;
    // Search domains, full names, and names of another namespace, from both nodes.
    for from in ["one", "two"] {
        for to in [
            "web:80",
            "web.names:80",
            "web.names.svc.cluster.local:80",
            "each.names.svc:80",
        ] {
            cluster.expect_answers("names", from, to, true).await?;
        }
        let lost = cluster
            .ask("names", from, "nobody.names.svc.cluster.local:80", 1)
            .await?;
        ensure!(lost.none_answered(), "a name that is not there: {lost}");
    }
    eventually(
        "both servers answer under the Service's name",
        PATIENCE,
        async || {
            let answers = cluster.ask("names", "one", "web:80", 20).await?;
            Ok(expect(
                answers.all_answered() && answers.servers().len() == 2,
                || answers.to_string(),
            ))
        },
    )
    .await
}

async fn a_rolling_update_loses_no_connection(cluster: &mut Cluster) -> Result<()> {
    let objects = [servers("rolling", "web", 3), service("rolling", "web")];
    let asker = client("rolling", "asker", Some("node-1"));
    deploy(cluster, "rolling", &[objects.as_slice(), &[asker]].concat()).await?;
    cluster.expect_answers("rolling", "asker", "web:80", true).await?;
    let before = cluster.pods("rolling", "app=web").await?;

    let address = cluster
        .kubectl()
        .run(&[
            "get",
            "service",
            "web",
            "-n",
            "rolling",
            "-o",
            "jsonpath={.spec.clusterIP}",
        ])
        .await?;
    let to = format!("{address}:80");
    let restart = ["rollout", "restart", "deployment/web", "-n", "rolling"];
    cluster.kubectl().run(&restart).await?;
    let mut total = std::collections::BTreeMap::new();
    let status = [
        "rollout",
        "status",
        "deployment/web",
        "-n",
        "rolling",
        "--timeout=120s",
    ];
    let done = cluster.kubectl().run(&status);
    let load = async {
        loop {
            let Answers(answers) = cluster.ask("rolling", "asker", &to, 100).await?;
            for (who, count) in answers {
                *total.entry(who).or_insert(0) += count;
            }
        }
    };
    tokio::select! {
        result = done => { result?; }
        result = load => { let error: Result<()> = result; error?; }
    }
    // What the last pods leave behind: they are gone some seconds after the rollout is done.
    for _ in 0..3 {
        let Answers(answers) = cluster.ask("rolling", "asker", &to, 100).await?;
        for (who, count) in answers {
            *total.entry(who).or_insert(0) += count;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let answers = Answers(total);
    let after = cluster.pods("rolling", "app=web").await?;
    ensure!(
        after.iter().all(|pod| !before.contains(pod)),
        "pods are the same: {after:?}"
    );
    note(&format!(
        "{} connections, {} servers",
        answers.answered(),
        answers.servers().len()
    ));
    ensure!(
        answers.all_answered() && answers.servers().len() >= 4,
        "{answers}"
    );
    vppconfigs_are(cluster, &["node-1", "node-2"]).await
}

async fn kubelet_and_containerd_restart(cluster: &mut Cluster) -> Result<()> {
    let space = "restarts";
    deploy(
        cluster,
        space,
        &[servers(space, "web", 2), client(space, "asker", Some("node-1"))],
    )
    .await?;
    let pods = cluster.pods(space, "app=web").await?;
    let addresses: Vec<String> = pods.iter().map(|pod| format!("{}:80", pod.address)).collect();
    // Connections from the node whose programs are restarted, to a pod of each node.
    let mut flows = Vec::new();
    for (number, to) in addresses.iter().enumerate() {
        let name = format!("flow-{number}");
        let mut flow = client(space, &name, Some("node-1"));
        let args = ["flow", "--to", to, "--patience-ms", "3000", "--seconds", "300"];
        flow["spec"]["containers"][0]["args"] = serde_json::json!(args);
        cluster.kubectl().apply(&flow.to_string()).await?;
        flows.push(name);
    }
    wait_pods(cluster, space).await?;
    for (service, crash) in [
        ("kubelet", false),
        ("containerd", false),
        ("containerd", true),
        ("kubelet", true),
    ] {
        cluster.machine(1)?.restart(service, crash).await?;
        for to in &addresses {
            cluster.expect_answers(space, "asker", to, true).await?;
        }
        cluster.wait_nodes_ready().await?;
    }
    let after = cluster.pods(space, "app=web").await?;
    ensure!(after == pods, "pods were replaced: {after:?} instead of {pods:?}");
    for flow in &flows {
        let log = cluster.kubectl().run(&["logs", "-n", space, flow]).await?;
        let answered = log.lines().filter(|line| line.contains(" + ")).count();
        ensure!(
            answered >= 50 && log.lines().count() == answered,
            "{flow} lost answers: {log}"
        );
    }
    // And the node takes pods as before.
    let late = client(space, "late", Some("node-1"));
    cluster.kubectl().apply(&late.to_string()).await?;
    wait_pods(cluster, space).await?;
    cluster.expect_answers(space, "late", &addresses[0], true).await
}

async fn a_node_comes_and_goes(cluster: &mut Cluster) -> Result<()> {
    cluster.start_node(3)?;
    cluster.wait_nodes_ready().await?;
    vppconfigs_are(cluster, &["node-1", "node-2", "node-3"]).await?;
    let asker = client("nodes", "asker", Some("node-1"));
    deploy(
        cluster,
        "nodes",
        &[servers("nodes", "web", 3), service("nodes", "web"), asker],
    )
    .await?;
    let pods = cluster.pods("nodes", "app=web").await?;
    let there = pods
        .iter()
        .find(|pod| pod.node == "node-3")
        .context("no pod on node-3")?;
    cluster
        .expect_answers("nodes", "asker", &format!("{}:80", there.address), true)
        .await?;
    ensure!(peers(cluster).await?.contains("node-3"), "node-3 is no peer");

    let drain = [
        "drain",
        "node-3",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=90s",
    ];
    cluster.kubectl().run(&drain).await?;
    wait_pods(cluster, "nodes").await?;
    let pods = cluster.pods("nodes", "app=web").await?;
    ensure!(pods.iter().all(|pod| pod.node != "node-3"), "{pods:?}");
    cluster.expect_answers("nodes", "asker", "web:80", true).await?;
    cluster.remove_node(3)?;
    cluster.kubectl().run(&["delete", "node", "node-3"]).await?;
    vppconfigs_are(cluster, &["node-1", "node-2"]).await?;
    eventually("node-3 is nobody's peer", PATIENCE, async || {
        let peers = peers(cluster).await?;
        Ok(expect(!peers.contains("node-3"), || peers.clone()))
    })
    .await
}

async fn peers(cluster: &Cluster) -> Result<String> {
    cluster
        .kubectl()
        .run(&["get", "vpppeerslices", "-o", "yaml"])
        .await
}
