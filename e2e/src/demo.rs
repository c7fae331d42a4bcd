//! The demo: a whole Kubernetes with our network, and what its users see, told step by step.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::k8s::cluster::{Cluster, Options};
use crate::k8s::look::Place;
use crate::tale::Tale;
use crate::wait::{eventually, expect};

const PATIENCE: Duration = Duration::from_secs(40);
const SHOP: &str = "shop";

/// Runs the demo. Returns whether everything worked.
///
/// With `keep` the cluster is left running. Every step is tried, whatever became of the ones before.
pub async fn demo(nodes: u8, options: &Options, keep: bool) -> Result<bool> {
    ensure!(
        nodes >= 2,
        "the demo shows traffic between nodes: NODES must be 2 or more, not {nodes}"
    );
    let mut tale = Tale::new(6);
    tale.say("Contiv-VPP demo: a whole Kubernetes on this machine, with our network installed by its chart.");
    tale.begin("Start the cluster");
    let mut cluster = Cluster::control_plane(options).await?;
    tale.note("etcd, kube-apiserver, kube-controller-manager and kube-scheduler run");
    if let Err(error) = cluster.bring_up(nodes).await {
        let logs = cluster.run().save_logs("demo")?;
        bail!("{error:#}\nLogs: {}", logs.display());
    }
    let outcome = nodes_ready(&tale, &cluster, nodes).await;
    tale.end(outcome);

    tale.begin("Deployments: pods on all nodes talk");
    let outcome = pods_talk(&tale, &cluster).await;
    tale.end(outcome);

    tale.begin("A Service, found by its name, spreads connections over its pods");
    let outcome = service(&tale, &cluster).await;
    tale.end(outcome);

    tale.begin("A NetworkPolicy lets one in and keeps one out");
    let outcome = policy(&tale, &cluster).await;
    tale.end(outcome);

    tale.begin("A ServiceChain leads traffic through a network function");
    let outcome = chain(&tale, &cluster).await;
    tale.end(outcome);

    tale.begin("What the API says");
    let outcome = tables(&tale, &cluster).await;
    tale.end(outcome);

    tale.summary();
    if tale.failed() {
        let logs = cluster.run().save_logs("demo")?;
        tale.say(&format!("Logs: {}", logs.display()));
    }
    let good = !tale.failed();
    if keep {
        hints(&tale, &cluster);
        cluster.keep()?;
    } else {
        tale.say("Taking everything down (KEEP=1 would leave it running).");
    }
    Ok(good)
}

/// Runs kubectl and tells the command and what it printed.
async fn show(tale: &Tale, cluster: &Cluster, command: &str) -> Result<String> {
    tale.command(&format!("kubectl {command}"));
    let args: Vec<&str> = command.split(' ').collect();
    let said = cluster.kubectl().run(&args).await?;
    said.lines().for_each(|line| tale.note(line));
    Ok(said)
}

async fn apply(tale: &Tale, cluster: &Cluster, example: &str) -> Result<()> {
    tale.command(&format!("kubectl apply -f examples/{example}"));
    let said = cluster.apply_example(example).await?;
    said.lines().for_each(|line| tale.note(line));
    Ok(())
}

/// Asks from a Deployment's pod and tells the command and the answers.
async fn ask(
    tale: &Tale,
    cluster: &Cluster,
    from: &str,
    to: &str,
    count: u32,
) -> Result<crate::probe::Answers> {
    tale.command(&format!(
        "kubectl -n shop exec deploy/{from} -- /contiv-probe ask --to {to} --count {count}"
    ));
    let answers = cluster.ask(SHOP, &format!("deploy/{from}"), to, count).await?;
    tale.note(&answers.to_string());
    Ok(answers)
}

async fn nodes_ready(tale: &Tale, cluster: &Cluster, nodes: u8) -> Result<String> {
    show(tale, cluster, "get nodes -o wide").await?;
    show(tale, cluster, "get pods -A -o wide").await?;
    Ok(format!(
        "a control plane and {nodes} nodes with kubelet and containerd; operator, node daemons, dataplanes and CoreDNS run as pods"
    ))
}

/// The client's pod, and a web pod on another node.
async fn client_and_far_web(cluster: &Cluster) -> Result<(Place, Place)> {
    let client = cluster
        .pods(SHOP, "app=client")
        .await?
        .pop()
        .context("no client runs")?;
    let webs = cluster.pods(SHOP, "app=web").await?;
    let far = webs.into_iter().find(|web| web.node != client.node);
    Ok((client, far.context("all web pods are on the client's node")?))
}

async fn pods_talk(tale: &Tale, cluster: &Cluster) -> Result<String> {
    apply(tale, cluster, "shop/").await?;
    for name in ["web", "client", "stranger"] {
        cluster.wait_deployment(SHOP, name).await?;
    }
    show(tale, cluster, "get pods -n shop -o wide").await?;
    let (client, web) = client_and_far_web(cluster).await?;
    let answers = ask(tale, cluster, "client", &format!("{}:80", web.address), 5).await?;
    ensure!(
        answers.all_answered() && answers.clients() == [client.address.to_string().as_str()].into(),
        "not every connection was answered, or the server saw another address than the client's"
    );
    Ok(format!(
        "client on {} reaches {} on {}, and is seen with its own address",
        client.node, web.name, web.node
    ))
}

async fn service(tale: &Tale, cluster: &Cluster) -> Result<String> {
    apply(tale, cluster, "service/web.yaml").await?;
    show(tale, cluster, "get service,endpointslices -n shop").await?;
    let name = "web.shop.svc.cluster.local:80";
    eventually("the Service leads to all three pods", PATIENCE, async || {
        let answers = cluster.ask(SHOP, "deploy/client", name, 30).await?;
        Ok(expect(
            answers.all_answered() && answers.servers().len() == 3,
            || answers.to_string(),
        ))
    })
    .await?;
    let answers = ask(tale, cluster, "client", name, 60).await?;
    ensure!(answers.all_answered(), "not every connection was answered");
    let web = cluster.pods(SHOP, "app=web").await?;
    let nodes: BTreeSet<&str> = web.iter().map(|place| place.node.as_str()).collect();
    Ok(format!(
        "60 connections to web.shop.svc.cluster.local reach {} pods on {} nodes",
        answers.servers().len(),
        nodes.len()
    ))
}

async fn policy(tale: &Tale, cluster: &Cluster) -> Result<String> {
    let (_, web) = client_and_far_web(cluster).await?;
    let to = format!("{}:80", web.address);
    let before = ask(tale, cluster, "stranger", &to, 2).await?;
    ensure!(
        before.all_answered(),
        "stranger does not reach web even without a policy"
    );
    apply(tale, cluster, "network-policy/allow-client.yaml").await?;
    cluster
        .expect_answers(SHOP, "deploy/stranger", &to, false)
        .await?;
    let kept_out = ask(tale, cluster, "stranger", &to, 2).await?;
    let let_in = ask(tale, cluster, "client", &to, 5).await?;
    ensure!(
        kept_out.none_answered() && let_in.all_answered(),
        "the policy does not hold"
    );
    // Readiness is asked every two seconds and fails after three: a policy that kept kubelet out would show by then.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let ready = show(tale, cluster, "get deployment web -n shop").await?;
    ensure!(
        ready.contains("3/3"),
        "kubelet's probes no longer reach the isolated pods"
    );
    Ok(
        "client is let in to web on TCP 80, stranger is kept out, kubelet's probes go on reaching web"
            .to_owned(),
    )
}

async fn chain(tale: &Tale, cluster: &Cluster) -> Result<String> {
    apply(tale, cluster, "service-chain/").await?;
    cluster.wait_deployment(SHOP, "firewall").await?;
    let ready = ["servicechain/client-to-web", "-n", SHOP];
    let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
    cluster.wait_jsonpath(&ready, path, "True").await?;
    let (_, web) = client_and_far_web(cluster).await?;
    let to = format!("{}:80", web.address);
    let before = passed(cluster).await?;
    let answers = ask(tale, cluster, "client", &to, 20).await?;
    ensure!(
        answers.all_answered(),
        "not every connection came through the chain"
    );
    show(
        tale,
        cluster,
        "exec -n shop deploy/firewall -- nft list chain inet firewall forward",
    )
    .await?;
    let after = passed(cluster).await?;
    ensure!(
        after[0] >= before[0] + 60 && after[1] >= before[1] + 60,
        "the function's counters did not count 20 connections: {before:?}, then {after:?}"
    );
    Ok(format!(
        "20 connections passed the firewall: its rules counted {} packets to web and {} back",
        after[0] - before[0],
        after[1] - before[1]
    ))
}

/// Packets that the function's two rules let pass so far.
async fn passed(cluster: &Cluster) -> Result<[u64; 2]> {
    let command = ["nft", "list", "chain", "inet", "firewall", "forward"];
    let text = cluster.exec(SHOP, "deploy/firewall", &command).await?;
    let counts: Vec<u64> = text
        .lines()
        .filter_map(|line| line.split("packets ").nth(1)?.split(' ').next()?.parse().ok())
        .collect();
    counts
        .try_into()
        .ok()
        .with_context(|| format!("not two counters in {text}"))
}

async fn tables(tale: &Tale, cluster: &Cluster) -> Result<String> {
    let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    eventually("all nodes and the chain are Ready", PATIENCE, async || {
        let nodes = cluster.kubectl().run(&["get", "vppconfigs", "-o", path]).await?;
        Ok(expect(
            !nodes.contains("False") && !nodes.contains("Unknown"),
            || nodes.clone(),
        ))
    })
    .await?;
    show(tale, cluster, "get vppconfig -o wide").await?;
    show(tale, cluster, "get servicechain,cnf,networkpolicy -n shop").await?;
    Ok("kubectl get vppconfig,servicechain: all nodes and the chain are Ready".to_owned())
}

fn hints(tale: &Tale, cluster: &Cluster) {
    tale.say("The cluster goes on running. Look around:\n");
    tale.say(&format!("  export KUBECONFIG={}", cluster.kubeconfig().display()));
    tale.say(&format!(
        "  {} get pods -A -o wide",
        cluster.kubectl().program().display()
    ));
    tale.say(&format!("  logs: {}", cluster.run().dir().join("logs").display()));
    tale.say("\n`make cluster-down` ends it.");
}
