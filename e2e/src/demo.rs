//! The demo: the main job on two nodes, told step by step, with a summary at the end.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::assets;
use crate::cluster::Cluster;
use crate::pod::PodSpec;
use crate::probe::{Ping, Probe};
use crate::trace::{Trace, trace};
use crate::wait::{eventually, expect};

const STEPS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(40);

/// Runs the demo. Returns whether everything worked.
///
/// With `keep` the cluster is left running. Every step is tried, whatever became of the ones before.
pub async fn demo(keep: bool) -> Result<bool> {
    let mut tale = Tale::default();
    tale.say(
        "Contiv-VPP demo: a real Kubernetes API server, two nodes made of network namespaces, real packets.",
    );
    tale.begin("Start the cluster");
    let mut cluster = start(&mut tale).await?;
    tale.end(Ok(
        "API server, operator, two nodes, six pods connected through CNI".to_owned(),
    ));

    tale.begin("Pods on two nodes talk");
    let outcome = pods_talk(&mut tale, &cluster).await;
    tale.end(outcome);

    tale.begin("A NetworkPolicy lets one in and keeps one out");
    let outcome = policy(&mut tale, &cluster).await;
    tale.end(outcome);

    tale.begin("A Service spreads connections over its backends");
    let outcome = service(&mut tale, &cluster).await;
    tale.end(outcome);

    tale.begin("A ServiceChain leads traffic through a network function");
    let outcome = chain(&mut tale, &cluster).await;
    tale.end(outcome);

    tale.begin("What the API says");
    let outcome = tables(&mut tale, &cluster).await;
    tale.end(outcome);

    tale.summary();
    if tale.failed() {
        let logs = cluster.run().save_logs("demo")?;
        tale.say(&format!("Logs: {}", logs.display()));
    }
    let good = !tale.failed();
    if keep {
        hints(&mut tale, &mut cluster)?;
        cluster.keep()?;
    } else {
        tale.say("Taking everything down (KEEP=1 would leave it running).");
    }
    Ok(good)
}

async fn start(tale: &mut Tale) -> Result<Cluster> {
    let mut cluster = Cluster::control_plane().await?;
    tale.note(&format!(
        "etcd and kube-apiserver run on 127.0.0.1:{}",
        cluster.control().port()
    ));
    cluster.install_charts().await?;
    tale.note("custom resources, accounts and admission rules are installed from charts/");
    cluster.start_operator().await?;
    for number in [1, 2] {
        cluster.start_node(number).await?;
    }
    if let Err(error) = cluster.wait_nodes_ready().await {
        let logs = cluster.run().save_logs("demo")?;
        bail!("{error:#}\nLogs: {}", logs.display());
    }
    tale.note("contiv-operator runs; node-1 and node-2 each run a dataplane and contiv-node, and are ready");
    cluster.apply_namespace("shop", &[]).await?;
    // The function is known before its pod starts: it decides which interfaces the pod gets.
    apply(tale, &cluster, "service-chain/firewall.yaml").await?;
    let pods = [
        ("web-1", 1),
        ("web-2", 2),
        ("web-3", 2),
        ("client", 1),
        ("stranger", 1),
        ("firewall", 2),
    ];
    for (name, node) in pods {
        let app = name.split('-').next().unwrap_or(name);
        cluster
            .start_pod(PodSpec::new(name, node).namespace("shop").label("app", app))
            .await?;
        let addresses: Vec<String> = cluster
            .pod(&key(name))?
            .addresses()
            .iter()
            .map(ToString::to_string)
            .collect();
        tale.note(&format!("pod {name:<8} on node-{node}: {}", addresses.join(", ")));
    }
    Ok(cluster)
}

async fn pods_talk(tale: &mut Tale, cluster: &Cluster) -> Result<String> {
    let (client, web) = (cluster.pod(&key("client"))?, cluster.pod(&key("web-2"))?);
    let netns = client.netns()?.name();
    for address in [web.ip4()?, web.ip6()?] {
        let report = Ping::to(address).from(netns).await?;
        ensure!(
            report.replies == 3,
            "{address} answered {} of 3 pings",
            report.replies
        );
        let answers = Probe::tcp(address, 80).times(5).from(netns).await?;
        let own = client
            .addresses()
            .iter()
            .find(|own| own.is_ipv4() == address.is_ipv4());
        let own = own.context("the client lacks an address")?.to_string();
        ensure!(
            answers.all_answered() && answers.clients() == [own.as_str()].into(),
            "TCP to {address}: {answers}"
        );
        tale.note(&format!(
            "client (node-1) → web-2 (node-2) {address}: 3 of 3 pings, TCP {answers}"
        ));
    }
    Ok(
        "client on node-1 reaches web-2 on node-2, IPv4 and IPv6, and is seen with its own address"
            .to_owned(),
    )
}

async fn policy(tale: &mut Tale, cluster: &Cluster) -> Result<String> {
    let web = key("web-1");
    let (client, stranger) = (key("client"), key("stranger"));
    let both = [
        (client.as_str(), web.as_str(), 80, true),
        (&stranger, &web, 80, true),
    ];
    cluster.expect_reach(&both).await.context("before the policy")?;
    tale.note("before: client and stranger both reach web-1");
    apply(tale, cluster, "network-policy/allow-client.yaml").await?;
    let rows = [
        (client.as_str(), web.as_str(), 80, true),
        (&stranger, &web, 80, false),
        (&client, &web, 8080, false),
    ];
    cluster.expect_reach(&rows).await?;
    tale.note("after:  client reaches web-1 on TCP 80 and on nothing else; stranger gets no answer");
    cluster
        .expect_reach(&[(stranger.as_str(), client.as_str(), 80, true)])
        .await?;
    apply(tale, cluster, "network-policy/egress-range.yaml").await?;
    cluster
        .expect_reach(&[(stranger.as_str(), client.as_str(), 80, false)])
        .await?;
    tale.note("and:    stranger, bound by an egress policy, no longer reaches client either");
    Ok("client is let in to web on TCP 80, stranger is kept out".to_owned())
}

async fn service(tale: &mut Tale, cluster: &Cluster) -> Result<String> {
    apply(tale, cluster, "service/web.yaml").await?;
    cluster.sync_endpoints().await?;
    let netns = cluster.netns_of(&key("client"))?;
    let mut backends = 0;
    for vip in cluster.service_addresses("shop/web").await? {
        eventually("the Service leads to all three backends", PATIENCE, async || {
            let answers = Probe::tcp(vip, 80).times(60).from(&netns).await?;
            Ok(expect(
                answers.all_answered() && answers.servers().len() == 3,
                || answers.to_string(),
            ))
        })
        .await?;
        let answers = Probe::tcp(vip, 80).times(60).from(&netns).await?;
        backends = answers.servers().len();
        let shares: Vec<String> = answers
            .0
            .iter()
            .map(|(who, count)| format!("{count} to {}", who.replace(' ', ", which sees ")))
            .collect();
        tale.note(&format!("60 connections to {vip}: {}", shares.join("; ")));
    }
    Ok(format!(
        "connections to the Service's addresses are spread over {backends} backends on two nodes"
    ))
}

async fn chain(tale: &mut Tale, cluster: &Cluster) -> Result<String> {
    let (client, web) = (key("client"), cluster.pod(&key("web-1"))?.ip4()?);
    let watched: Vec<String> = ["client", "firewall", "web-1"].map(key).to_vec();
    let watched: Vec<&str> = watched.iter().map(String::as_str).collect();
    let probe = Probe::tcp(web, 80);
    let straight = trace(cluster, &client, &probe, &watched).await?;
    tale.note(&format!(
        "before: {}",
        Trace::places(&straight.forward).join(" → ")
    ));
    apply(tale, cluster, "service-chain/client-to-web.yaml").await?;
    let way = [
        "shop/client/eth0",
        "shop/firewall/in",
        "shop/firewall/out",
        "shop/web-1/eth0",
    ];
    let back: Vec<&str> = way.iter().rev().copied().collect();
    let mut seen = Trace::default();
    eventually("connections pass the firewall both ways", PATIENCE, async || {
        seen = trace(cluster, &client, &probe, &watched).await?;
        let (forward, reply) = (Trace::places(&seen.forward), Trace::places(&seen.reply));
        Ok(expect(forward == way && reply == back, || {
            format!("forward {forward:?}, reply {reply:?}")
        }))
    })
    .await?;
    tale.note("after, packet by packet (the first of a connection, and the first back):");
    for step in seen.forward.iter().chain(&seen.reply) {
        tale.note(&format!("  {step}"));
    }
    let function = cluster.pod(&key("firewall"))?.netns()?;
    let count = |interface: &str, name: &str| function.counter(interface, name);
    let before = (
        count("in", "rx_packets"),
        count("out", "tx_packets"),
        count("out", "rx_packets"),
        count("in", "tx_packets"),
    );
    let answers = cluster.ask(&client, &probe.times(20)).await?;
    ensure!(
        answers.all_answered(),
        "20 connections through the chain: {answers}"
    );
    let after = (
        count("in", "rx_packets"),
        count("out", "tx_packets"),
        count("out", "rx_packets"),
        count("in", "tx_packets"),
    );
    tale.note(&format!(
        "20 more connections, by the function's own counters: in received {}, out sent {}; replies: out received {}, in sent {}",
        after.0 - before.0,
        after.1 - before.1,
        after.2 - before.2,
        after.3 - before.3,
    ));
    ensure!(
        after.0 - before.0 >= 60 && after.2 - before.2 >= 60,
        "the function's counters stand still"
    );
    Ok("client → web passes the firewall on node-2 and comes back through it".to_owned())
}

async fn tables(tale: &mut Tale, cluster: &Cluster) -> Result<String> {
    let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    eventually("both nodes and the chain are Ready", PATIENCE, async || {
        let nodes = cluster.kubectl().run(&["get", "vppconfigs", "-o", path]).await?;
        let chains = cluster
            .kubectl()
            .run(&["get", "servicechains", "-n", "shop", "-o", path])
            .await?;
        Ok(expect(nodes == "True True" && chains == "True", || {
            format!("nodes {nodes:?}, chain {chains:?}")
        }))
    })
    .await?;
    tale.command("kubectl get vppconfig,servicechain -n shop");
    let table = cluster
        .kubectl()
        .run(&["get", "vppconfig,servicechain", "-n", "shop"])
        .await?;
    table.lines().for_each(|line| tale.note(line));
    Ok("kubectl get vppconfig,servicechain: both nodes and the chain are Ready".to_owned())
}

fn key(name: &str) -> String {
    format!("shop/{name}")
}

async fn apply(tale: &mut Tale, cluster: &Cluster, example: &str) -> Result<()> {
    tale.command(&format!("kubectl apply -f examples/{example}"));
    let manifest = std::fs::read_to_string(assets::source_root().join("examples").join(example))
        .with_context(|| format!("reading examples/{example}"))?;
    let said = cluster.kubectl().apply(&manifest).await?;
    said.lines().for_each(|line| tale.note(line));
    Ok(())
}

fn hints(tale: &mut Tale, cluster: &mut Cluster) -> Result<()> {
    let kubeconfig = cluster.control().kubeconfig().display().to_string();
    let client = cluster.netns_of(&key("client"))?;
    let web = cluster.pod(&key("web-1"))?.ip4()?;
    let probe = assets::own("contiv-probe")?;
    tale.say("The cluster goes on running. Look around:\n");
    tale.say(&format!("  export KUBECONFIG={kubeconfig}"));
    tale.say("  kubectl get vppconfig,servicechain,networkpolicy,service,pods -A");
    tale.say(&format!(
        "  ip netns exec {client} {} ask --to {web}:80",
        probe.display()
    ));
    tale.say(&format!("  logs: {}", cluster.run().dir().join("logs").display()));
    tale.say(
        "\nPods' programs are started by the demo only; policies, services and chains are yours to change.",
    );
    tale.say("`make clean` ends it.");
    Ok(())
}

/// Tells what happens, and remembers how each step ended.
#[derive(Debug, Default)]
struct Tale {
    started: Option<Instant>,
    current: (usize, String),
    ended: BTreeMap<usize, (String, std::result::Result<String, String>)>,
}

impl Tale {
    fn begin(&mut self, title: &str) {
        self.current = (self.current.0 + 1, title.to_owned());
        self.started = Some(Instant::now());
        self.say(&format!("\n[{}/{STEPS}] {title}", self.current.0));
    }

    fn note(&self, text: &str) {
        self.say(&format!("      {text}"));
    }

    fn command(&self, text: &str) {
        self.say(&format!("      $ {text}"));
    }

    fn end(&mut self, outcome: Result<String>) {
        let seconds = self
            .started
            .map_or(0.0, |started| started.elapsed().as_secs_f32());
        let outcome = outcome.map_err(|error| format!("{error:#}"));
        match &outcome {
            Ok(_) => self.say(&format!("      done in {seconds:.1} s")),
            Err(error) => self.say(&format!("      FAILED after {seconds:.1} s: {error}")),
        }
        self.ended
            .insert(self.current.0, (self.current.1.clone(), outcome));
    }

    fn failed(&self) -> bool {
        self.ended.values().any(|(_, outcome)| outcome.is_err())
    }

    fn summary(&self) {
        self.say("\nSummary");
        for (title, outcome) in self.ended.values() {
            match outcome {
                Ok(text) => self.say(&format!("  ok      {text}")),
                Err(_) => self.say(&format!("  FAILED  {title} (see above)")),
            }
        }
        self.say("");
    }

    /// A closed terminal is no reason to stop half-way.
    fn say(&self, text: &str) {
        let _ = writeln!(io::stdout(), "{text}");
    }
}
