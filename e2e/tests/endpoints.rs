//! What becomes of flows when endpoints come, end, and go.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::probe::{Answers, Flow, Probe};
use e2e::wait::{eventually, expect};

fn main() -> ExitCode {
    e2e::suite::main(
        "endpoints",
        2,
        cases![
            a_rolling_replacement_loses_no_connection,
            connections_stay_with_an_endpoint_that_is_not_ready,
            datagrams_leave_an_endpoint_that_is_gone,
            datagrams_find_the_first_endpoint,
        ],
    )
}

const WEB: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  selector: {app: web}
  ports:
  - {name: http, protocol: TCP, port: 8000, targetPort: 80}
  - {name: dns, protocol: UDP, port: 53, targetPort: 8080}
"#;

/// How long VPP may take until sessions of what is gone are gone: its scanner looks each second.
const SCAN: Duration = Duration::from_secs(20);

fn web(name: &str, node: u8) -> PodSpec {
    PodSpec::new(name, node).label("app", "web")
}

/// Who answered a flow last.
fn server(flow: &Flow) -> Result<String> {
    let marks = flow.marks();
    let last = marks.0.iter().rev().find(|mark| mark.1);
    let (_, _, who) = last.context("the flow was never answered")?;
    Ok(who.split(' ').next().unwrap_or(who).to_owned())
}

/// KEP-1669: a terminating endpoint gets no new connections while there are ready ones, and keeps those it has. Each of
/// three backends is replaced while a client connects without a pause and has a connection open to it.
async fn a_rolling_replacement_loses_no_connection(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    cluster
        .start_pods([web("old-1", 1), web("old-2", 2), web("old-3", 2)])
        .await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    cluster
        .wait_backends("client", &["old-1", "old-2", "old-3"])
        .await?;
    let vip = cluster.service_addresses("web").await?[0];
    let netns = cluster.netns_of("client")?;
    let stop = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (stop, netns) = (stop.clone(), netns.clone());
        async move {
            let mut all = Answers::default();
            while !stop.load(Ordering::Relaxed) {
                let probe = Probe::tcp(vip, 8000).times(50).patience(Duration::from_secs(5));
                for (who, count) in probe.from(&netns).await?.0 {
                    *all.0.entry(who).or_default() += count;
                }
            }
            anyhow::Ok(all)
        }
    });
    for number in 1..=3 {
        let (old, new) = (format!("old-{number}"), format!("new-{number}"));
        let mut kept = Vec::new();
        for attempt in 0..30 {
            let flow = Probe::tcp(vip, 8000).flow(cluster.run(), &format!("{old}-{attempt}"), &netns)?;
            flow.settles(true, 1, Duration::from_secs(10)).await?;
            if server(&flow)? == old {
                kept.push(flow);
                break;
            }
            flow.stop();
        }
        ensure!(!kept.is_empty(), "30 connections, and none to {old}");
        cluster.start_pod(web(&new, 1 + number % 2)).await?;
        cluster.begin_termination(&old).await?;
        eventually(
            &format!("{old} gets no new connections"),
            Duration::from_secs(30),
            async || {
                let answers = cluster.ask("client", &Probe::tcp(vip, 8000).times(60)).await?;
                let right = answers.all_answered() && !answers.servers().contains(old.as_str());
                Ok(expect(right, || answers.to_string()))
            },
        )
        .await?;
        // Longer than VPP's scanner takes.
        tokio::time::sleep(Duration::from_secs(4)).await;
        for flow in kept {
            let marks = flow.stop();
            ensure!(marks.lost() == 0 && marks.0.len() > 30, "{old}: {marks}");
        }
        cluster.stop_pod(&old).await?;
    }
    cluster
        .wait_backends("client", &["new-1", "new-2", "new-3"])
        .await?;
    stop.store(true, Ordering::Relaxed);
    let all = load.await??;
    ensure!(all.failed() == 0 && all.answered() > 500, "{all}");
    e2e::suite::note(&format!("{} connections during the replacement", all.answered()));
    Ok(())
}

/// kube-proxy: TCP connections stay with an endpoint that is no longer ready; new ones go elsewhere.
async fn connections_stay_with_an_endpoint_that_is_not_ready(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    cluster.start_pods([web("web-1", 1), web("web-2", 2)]).await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    cluster.wait_backends("client", &["web-1", "web-2"]).await?;
    let vip = cluster.service_addresses("web").await?[0];
    let netns = cluster.netns_of("client")?;
    let flow = Probe::tcp(vip, 8000).flow(cluster.run(), "unready", &netns)?;
    flow.settles(true, 3, Duration::from_secs(10)).await?;
    let its = server(&flow)?;
    cluster.report(&its, false).await?;
    let other = if its == "web-1" { "web-2" } else { "web-1" };
    cluster.wait_backends("client", &[other]).await?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let marks = flow.stop();
    ensure!(marks.lost() == 0, "{marks}");
    Ok(())
}

/// e2e test "should be able to preserve UDP traffic when server pod cycles for a ClusterIP service": one socket sends
/// without a pause, and must not stay with an endpoint that is gone.
async fn datagrams_leave_an_endpoint_that_is_gone(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    cluster.start_pods([web("web-1", 1), web("web-2", 2)]).await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    cluster.wait_backends("client", &["web-1", "web-2"]).await?;
    let vip = cluster.service_addresses("web").await?[0];
    let netns = cluster.netns_of("client")?;
    let flow = Probe::udp(vip, 53).flow(cluster.run(), "datagrams", &netns)?;
    let still = Probe::udp(vip, 53).flow(cluster.run(), "datagrams-2", &netns)?;
    flow.settles(true, 3, Duration::from_secs(10)).await?;
    still.settles(true, 3, Duration::from_secs(10)).await?;
    let its = server(&flow)?;
    let stays = server(&still)? != its;
    cluster.stop_pod(&its).await?;
    flow.settles(true, 5, SCAN)
        .await
        .context("UDP stays with what is gone")?;
    ensure!(server(&flow)? != its, "{}", flow.marks());
    // Who speaks to an endpoint that is still there notices nothing.
    let marks = still.stop();
    ensure!(!stays || marks.lost() == 0, "{marks}");
    Ok(())
}

/// e2e test "should be able to preserve UDP traffic when initial unready endpoints get ready".
async fn datagrams_find_the_first_endpoint(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    cluster
        .start_pods([web("web-1", 2), PodSpec::new("client", 1)])
        .await?;
    cluster.wait_backends("client", &["web-1"]).await?;
    cluster.report("web-1", false).await?;
    let vip = cluster.service_addresses("web").await?[0];
    eventually("web has no endpoint", Duration::from_secs(30), async || {
        let answers = cluster.ask("client", &Probe::tcp(vip, 8000)).await?;
        Ok(expect(
            answers.all("refused") || answers.all("unreachable"),
            || answers.to_string(),
        ))
    })
    .await?;
    let netns = cluster.netns_of("client")?;
    let flow = Probe::udp(vip, 53).flow(cluster.run(), "early", &netns)?;
    flow.settles(false, 5, Duration::from_secs(10)).await?;
    cluster.report("web-1", true).await?;
    flow.settles(true, 5, SCAN)
        .await
        .context("UDP stays with nobody")?;
    ensure!(server(&flow)? == "web-1");
    Ok(())
}
