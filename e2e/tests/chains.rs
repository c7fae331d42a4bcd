//! Service chains: traffic passes functions in order, both ways, on one node and across two; other traffic does not.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::probe::Probe;
use e2e::trace::{Trace, trace};
use e2e::wait::{eventually, expect};

fn main() -> ExitCode {
    e2e::suite::main(
        "chains",
        2,
        cases![
            through_a_function_on_one_node,
            through_a_function_on_another_node,
            back_and_forth_between_nodes,
            two_functions_in_order,
            other_traffic_is_untouched,
            dropped_while_the_function_is_away,
            bypassed_when_asked_for,
            a_deleted_chain_is_gone,
            mistakes_are_refused_with_a_sentence,
            a_chain_without_pods_says_so,
        ],
    )
}

fn cnf(name: &str) -> String {
    format!(
        r#"
apiVersion: contivpp.io/v1alpha1
kind: CNF
metadata: {{name: {name}, namespace: default}}
spec:
  podSelector: {{matchLabels: {{app: {name}}}}}
  interfaces: [{{name: in, role: In}}, {{name: out, role: Out}}]
---
"#
    )
}

fn chain(functions: &[&str], more: &str) -> String {
    let cnfs: String = functions.iter().map(|name| cnf(name)).collect();
    let hops: Vec<String> = functions
        .iter()
        .map(|name| format!("{{name: {name}, cnf: {name}}}"))
        .collect();
    format!(
        r#"{cnfs}
apiVersion: contivpp.io/v1alpha1
kind: ServiceChain
metadata: {{name: client-to-web, namespace: default}}
spec:
  classifier:
    from: {{podSelector: {{matchLabels: {{app: client}}}}}}
    to: {{podSelector: {{matchLabels: {{app: web}}}}}}
    ports: [{{protocol: TCP, port: 80}}]
  functions: [{}]
{more}"#,
        hops.join(", ")
    )
}

fn pod(name: &str, node: u8) -> PodSpec {
    PodSpec::new(name, node).label("app", name)
}

/// Waits until the chain has this status in its Ready condition.
async fn wait_chain(cluster: &Cluster, ready: &str) -> Result<()> {
    let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    eventually(
        &format!("the chain is Ready={ready}"),
        Duration::from_secs(30),
        async || {
            let args = ["get", "servicechain", "client-to-web", "-o", path];
            let status = cluster.kubectl().run(&args).await?;
            let all = cluster
                .kubectl()
                .run(&[
                    "get",
                    "servicechain",
                    "client-to-web",
                    "-o",
                    "jsonpath={.status.conditions}",
                ])
                .await?;
            Ok(expect(status == ready, || all))
        },
    )
    .await
}

/// The client, the web server and the functions, each on its node; the chain is applied first, as it
/// decides which interfaces a function's pod gets.
async fn shop(cluster: &mut Cluster, web: u8, functions: &[(&str, u8)], more: &str) -> Result<()> {
    let names: Vec<&str> = functions.iter().map(|function| function.0).collect();
    cluster.kubectl().apply(&chain(&names, more)).await?;
    cluster.start_pods([pod("client", 1), pod("web", web)]).await?;
    cluster
        .start_pods(functions.iter().map(|(name, node)| pod(name, *node)))
        .await?;
    wait_chain(cluster, "True").await
}

/// Follows a connection of each family from the client to the web server and compares the places it passes.
async fn follows(cluster: &Cluster, port: u16, way: &[&str]) -> Result<()> {
    let pods: Vec<&str> = cluster.pods().keys().map(String::as_str).collect();
    let back: Vec<String> = way.iter().rev().map(|place| (*place).to_owned()).collect();
    for address in cluster.pod("web")?.addresses() {
        let probe = Probe::tcp(*address, port);
        eventually(
            &format!("{address} port {port} is reached by {way:?}"),
            Duration::from_secs(20),
            async || {
                let answers = cluster.ask("client", &probe.clone().times(3)).await?;
                if !answers.all_answered() {
                    return Ok(Err(answers.to_string()));
                }
                let seen = trace(cluster, "client", &probe, &pods).await?;
                let (forward, reply) = (Trace::places(&seen.forward), Trace::places(&seen.reply));
                Ok(expect(forward == way && reply == back, || {
                    format!("forward {forward:?}, reply {reply:?}")
                }))
            },
        )
        .await?;
        let answers = cluster.ask("client", &probe.times(5)).await?;
        let client = cluster
            .pod("client")?
            .addresses()
            .iter()
            .find(|own| own.is_ipv4() == address.is_ipv4());
        let expected = format!(
            "web {}",
            client.context("the client has no address of that family")?
        );
        ensure!(
            answers.0.get(&expected) == Some(&5),
            "the server sees {answers}, not {expected}"
        );
    }
    Ok(())
}

async fn through_a_function_on_one_node(cluster: &mut Cluster) -> Result<()> {
    shop(cluster, 1, &[("fw", 1)], "").await?;
    follows(cluster, 80, &["client/eth0", "fw/in", "fw/out", "web/eth0"]).await?;
    let fw = cluster.pod("fw")?.netns()?;
    for (interface, counter) in [
        ("in", "rx_packets"),
        ("out", "tx_packets"),
        ("out", "rx_packets"),
        ("in", "tx_packets"),
    ] {
        ensure!(
            fw.counter(interface, counter) > 10,
            "{interface} {counter}: {}",
            fw.counter(interface, counter)
        );
    }
    Ok(())
}

async fn through_a_function_on_another_node(cluster: &mut Cluster) -> Result<()> {
    shop(cluster, 2, &[("fw", 2)], "").await?;
    follows(cluster, 80, &["client/eth0", "fw/in", "fw/out", "web/eth0"]).await
}

async fn back_and_forth_between_nodes(cluster: &mut Cluster) -> Result<()> {
    shop(cluster, 1, &[("fw", 2)], "").await?;
    follows(cluster, 80, &["client/eth0", "fw/in", "fw/out", "web/eth0"]).await
}

async fn two_functions_in_order(cluster: &mut Cluster) -> Result<()> {
    shop(cluster, 2, &[("fw", 1), ("ids", 2)], "").await?;
    let way = ["client/eth0", "fw/in", "fw/out", "ids/in", "ids/out", "web/eth0"];
    follows(cluster, 80, &way).await?;
    // What the first function stops, the second never sees.
    let before = cluster.pod("ids")?.netns()?.counter("in", "rx_packets");
    cluster.pod("fw")?.netns()?.sysctl("net.ipv4.ip_forward", "0")?;
    let web = cluster.pod("web")?.ip4()?;
    let stopped = cluster
        .ask(
            "client",
            &Probe::tcp(web, 80).patience(Duration::from_millis(700)),
        )
        .await?;
    ensure!(
        stopped.none_answered(),
        "the first function forwards nothing, yet: {stopped}"
    );
    let after = cluster.pod("ids")?.netns()?.counter("in", "rx_packets");
    // Neighbour discovery and the like may add a packet or two of the kernel's own.
    ensure!(
        after <= before + 3,
        "the second function saw {} packets past the first",
        after - before
    );
    Ok(())
}

async fn other_traffic_is_untouched(cluster: &mut Cluster) -> Result<()> {
    shop(cluster, 2, &[("fw", 1)], "").await?;
    cluster.start_pod(pod("other", 1)).await?;
    follows(cluster, 80, &["client/eth0", "fw/in", "fw/out", "web/eth0"]).await?;
    // Another port, and another client: straight.
    follows(cluster, 8080, &["client/eth0", "web/eth0"]).await?;
    let web = cluster.pod("web")?.ip4()?;
    let seen = trace(cluster, "other", &Probe::tcp(web, 80), &["other", "fw", "web"]).await?;
    ensure!(
        Trace::places(&seen.forward) == ["other/eth0", "web/eth0"],
        "{:?}",
        Trace::places(&seen.forward)
    );
    // What the server itself opens is not of the chain either, even from port 80.
    let client = cluster.pod("client")?.ip4()?;
    let seen = trace(cluster, "web", &Probe::tcp(client, 80), &["client", "fw", "web"]).await?;
    ensure!(
        Trace::places(&seen.forward) == ["web/eth0", "client/eth0"],
        "{:?}",
        Trace::places(&seen.forward)
    );
    Ok(())
}

async fn dropped_while_the_function_is_away(cluster: &mut Cluster) -> Result<()> {
    shop(cluster, 1, &[("fw", 1)], "").await?;
    follows(cluster, 80, &["client/eth0", "fw/in", "fw/out", "web/eth0"]).await?;
    cluster.stop_pod("fw").await?;
    wait_chain(cluster, "False").await?;
    cluster
        .expect_reach(&[("client", "web", 80, false), ("client", "web", 8080, true)])
        .await?;
    cluster.start_pod(pod("fw", 2)).await?;
    follows(cluster, 80, &["client/eth0", "fw/in", "fw/out", "web/eth0"]).await
}

async fn bypassed_when_asked_for(cluster: &mut Cluster) -> Result<()> {
    shop(cluster, 1, &[("fw", 2)], "  onFailure: Bypass\n").await?;
    follows(cluster, 80, &["client/eth0", "fw/in", "fw/out", "web/eth0"]).await?;
    cluster.stop_pod("fw").await?;
    follows(cluster, 80, &["client/eth0", "web/eth0"]).await?;
    wait_chain(cluster, "False").await
}

async fn a_deleted_chain_is_gone(cluster: &mut Cluster) -> Result<()> {
    shop(cluster, 2, &[("fw", 1)], "").await?;
    follows(cluster, 80, &["client/eth0", "fw/in", "fw/out", "web/eth0"]).await?;
    cluster
        .kubectl()
        .run(&["delete", "servicechain", "client-to-web"])
        .await?;
    follows(cluster, 80, &["client/eth0", "web/eth0"]).await
}

async fn mistakes_are_refused_with_a_sentence(cluster: &mut Cluster) -> Result<()> {
    let twice = chain(&["fw"], "").replace("functions: [", "functions: [{name: fw, cnf: fw}, ");
    let one_way = cnf("fw").replace("{name: in, role: In}, ", "");
    let taken = cnf("fw").replace("name: in,", "name: eth0,");
    let unknown = chain(&["fw"], "  onFailure: Shrug\n");
    for (what, manifest) in [
        ("two hops of one name", twice),
        ("an Out without an In", one_way),
        ("the pod's own interface", taken),
        ("an unknown failure policy", unknown),
    ] {
        let manifest = manifest.trim_end().trim_end_matches("---");
        let answer = cluster.kubectl().apply(manifest).await;
        let said = match answer {
            Ok(text) => anyhow::bail!("{what} was accepted: {text}"),
            Err(error) => error.to_string(),
        };
        ensure!(said.contains("is invalid"), "{what}: {said}");
        cluster.kubectl().delete(manifest).await?;
    }
    Ok(())
}

async fn a_chain_without_pods_says_so(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(&chain(&["fw"], "")).await?;
    cluster.start_pods([pod("client", 1), pod("web", 2)]).await?;
    wait_chain(cluster, "False").await?;
    let filter = "involvedObject.kind=ServiceChain,involvedObject.name=client-to-web,type=Warning";
    cluster.wait_event(filter, "fw").await?;
    // Nothing passes around the function, and everything else goes on.
    cluster
        .expect_reach(&[("client", "web", 80, false), ("client", "web", 8080, true)])
        .await
}
