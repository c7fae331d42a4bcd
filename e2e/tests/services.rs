//! ClusterIP Services: every backend, kept sessions, affinity, removal, no endpoints, and policies behind them.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::probe::{Answers, Probe};
use e2e::wait::{eventually, expect};
use serde_json::{Value, json};

fn main() -> ExitCode {
    e2e::suite::main(
        "services",
        2,
        cases![
            a_vip_leads_to_every_backend,
            the_node_itself_uses_a_vip,
            a_session_stays_with_its_backend,
            client_ip_affinity_keeps_one_backend,
            client_ip_affinity_ends_after_its_timeout,
            a_removed_backend_gets_no_new_sessions,
            a_service_without_endpoints_refuses_at_once,
            policies_see_backends_and_clients,
            a_backend_reaches_itself_by_its_vip,
            a_deleted_service_is_gone,
            kubectl_vpp_says_what_nodes_have_and_do,
        ],
    )
}

const WEB: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  selector: {app: web}
  ipFamilyPolicy: PreferDualStack
  ports:
  - {name: http, protocol: TCP, port: 8000, targetPort: 80}
  - {name: named, protocol: TCP, port: 8001, targetPort: web}
  - {name: dns, protocol: UDP, port: 53, targetPort: 8080}
"#;

fn web(name: &str, node: u8) -> PodSpec {
    PodSpec::new(name, node).label("app", "web").port("web", 8080)
}

/// A client on node 1 and backends on both nodes behind `web`.
async fn shop(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    cluster
        .start_pods([web("web-1", 1), web("web-2", 2), web("web-3", 2)])
        .await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    cluster
        .wait_backends("client", &["web-1", "web-2", "web-3"])
        .await
}

async fn a_vip_leads_to_every_backend(cluster: &mut Cluster) -> Result<()> {
    shop(cluster).await?;
    let client = cluster.pod("client")?;
    let vips = cluster.service_addresses("web").await?;
    ensure!(vips.len() == 2, "the Service is dual-stack: {vips:?}");
    for (vip, own) in vips.iter().zip([client.ip4()?, client.ip6()?]) {
        for probe in [
            Probe::tcp(*vip, 8000),
            Probe::tcp(*vip, 8001),
            Probe::udp(*vip, 53),
        ] {
            let answers = cluster.ask("client", &probe.clone().times(60)).await?;
            ensure!(answers.all_answered(), "{probe:?}: {answers}");
            ensure!(answers.servers().len() == 3, "{probe:?}: {answers}");
            let own = own.to_string();
            ensure!(
                answers.clients() == [own.as_str()].into(),
                "backends see {answers}, not {own}"
            );
        }
        let other = cluster.ask("client", &Probe::tcp(*vip, 8002)).await?;
        ensure!(
            other.none_answered(),
            "a port that the Service does not have: {other}"
        );
    }
    Ok(())
}

async fn the_node_itself_uses_a_vip(cluster: &mut Cluster) -> Result<()> {
    shop(cluster).await?;
    cluster
        .wait_backends("node/1", &["web-1", "web-2", "web-3"])
        .await
}

async fn a_session_stays_with_its_backend(cluster: &mut Cluster) -> Result<()> {
    shop(cluster).await?;
    let vip = cluster.service_addresses("web").await?[0];
    let flow = Probe::tcp(vip, 8000).flow(cluster.run(), "kept", &cluster.netns_of("client")?)?;
    flow.settles(true, 3, Duration::from_secs(5)).await?;
    // Two more backends, one fewer: the session must not move.
    cluster.start_pods([web("web-4", 1), web("web-5", 2)]).await?;
    let own = flow
        .marks()
        .servers()
        .into_iter()
        .next()
        .unwrap_or_default()
        .to_owned();
    let other = ["web-1", "web-2", "web-3"]
        .into_iter()
        .find(|name| *name != own)
        .unwrap_or("web-1");
    cluster.stop_pod(other).await?;
    let left: Vec<&str> = ["web-1", "web-2", "web-3", "web-4", "web-5"]
        .into_iter()
        .filter(|name| *name != other)
        .collect();
    cluster.wait_backends("client", &left).await?;
    flow.next(5).await?;
    let marks = flow.stop();
    ensure!(marks.lost() == 0, "{marks}");
    ensure!(
        marks.servers() == [own.as_str()].into(),
        "the session moved: {:?}",
        marks.servers()
    );
    Ok(())
}

async fn client_ip_affinity_keeps_one_backend(cluster: &mut Cluster) -> Result<()> {
    cluster
        .kubectl()
        .apply(&WEB.replace("spec:\n", "spec:\n  sessionAffinity: ClientIP\n"))
        .await?;
    cluster
        .start_pods([web("web-1", 1), web("web-2", 2), web("web-3", 2)])
        .await?;
    cluster
        .start_pods((1..=6).map(|number| PodSpec::new(&format!("client-{number}"), 1)))
        .await?;
    let vip = cluster.service_addresses("web").await?[0];
    let mut seen = BTreeSet::new();
    for number in 1..=6 {
        let client = format!("client-{number}");
        eventually(
            &format!("{client} has one backend"),
            Duration::from_secs(20),
            async || {
                let answers = cluster.ask(&client, &Probe::tcp(vip, 8000).times(20)).await?;
                Ok(expect(
                    answers.all_answered() && answers.servers().len() == 1,
                    || answers.to_string(),
                ))
            },
        )
        .await?;
        let answers = cluster.ask(&client, &Probe::tcp(vip, 8000)).await?;
        seen.extend(answers.servers().into_iter().map(str::to_owned));
    }
    ensure!(
        seen.len() > 1,
        "six clients, and all have the same backend {seen:?}: that is no balance"
    );
    Ok(())
}

/// As "should have session affinity timeout work for service with type clusterIP" of Kubernetes' own tests: a client that
/// has not been there for `timeoutSeconds` may get another backend, and one that has stays.
async fn client_ip_affinity_ends_after_its_timeout(cluster: &mut Cluster) -> Result<()> {
    const CLIENTS: std::ops::RangeInclusive<u8> = 1..=6;
    let affinity =
        "spec:\n  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 4}}\n";
    cluster.kubectl().apply(&WEB.replace("spec:\n", affinity)).await?;
    cluster
        .start_pods([web("web-1", 1), web("web-2", 2), web("web-3", 2)])
        .await?;
    let clients = CLIENTS.map(|number| PodSpec::new(&format!("client-{number}"), 1));
    cluster.start_pods(clients).await?;
    let vip = cluster.service_addresses("web").await?[0];
    let servers = async |cluster: &Cluster| -> Result<Vec<String>> {
        let mut servers = Vec::new();
        for number in CLIENTS {
            let answers = cluster
                .ask(&format!("client-{number}"), &Probe::tcp(vip, 8000).times(3))
                .await?;
            ensure!(
                answers.all_answered() && answers.servers().len() == 1,
                "client-{number}: {answers}"
            );
            servers.extend(answers.servers().into_iter().map(str::to_owned));
        }
        Ok(servers)
    };
    let mut last = Vec::new();
    eventually(
        "all clients have one backend",
        Duration::from_secs(20),
        async || {
            let now = match servers(cluster).await {
                Ok(now) => now,
                Err(error) => return Ok(Err(error.to_string())),
            };
            let same = now == std::mem::replace(&mut last, now.clone());
            Ok(expect(same, || format!("{now:?}")))
        },
    )
    .await?;
    // Twice as long as the timeout.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = servers(cluster).await?;
        ensure!(
            now == last,
            "clients come back at once, and were led from {last:?} to {now:?}"
        );
    }
    for _ in 0..3 {
        // The timeout, and what is left of their connections.
        tokio::time::sleep(Duration::from_secs(12)).await;
        if servers(cluster).await? != last {
            return Ok(());
        }
    }
    anyhow::bail!("all clients are with {last:?} for ever")
}

async fn a_removed_backend_gets_no_new_sessions(cluster: &mut Cluster) -> Result<()> {
    shop(cluster).await?;
    cluster.report("web-2", false).await?;
    cluster.wait_backends("client", &["web-1", "web-3"]).await?;
    cluster.stop_pod("web-3").await?;
    cluster.wait_backends("client", &["web-1"]).await?;
    cluster.report("web-2", true).await?;
    cluster.wait_backends("client", &["web-1", "web-2"]).await
}

async fn a_service_without_endpoints_refuses_at_once(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    for vip in cluster.service_addresses("web").await? {
        eventually(
            &format!("{vip} is refused at once"),
            Duration::from_secs(30),
            async || {
                let answers = cluster.ask("client", &Probe::tcp(vip, 8000).times(10)).await?;
                Ok(expect(answers.all("refused"), || answers.to_string()))
            },
        )
        .await?;
        for from in ["client", "node/1"] {
            for port in [8000, 8001] {
                // As "should be rejected when no endpoints exist" of Kubernetes' own tests: by a reset, every time.
                let answers = cluster.ask(from, &Probe::tcp(vip, port).times(10)).await?;
                ensure!(answers.all("refused"), "{from} to [{vip}]:{port}: {answers}");
            }
        }
        cluster
            .wait_error("client", Probe::udp(vip, 53), "refused")
            .await?;
        // The node's own datagram ends where it is sent.
        cluster
            .wait_error("node/1", Probe::udp(vip, 53), "prohibited")
            .await?;
    }
    let filter = "involvedObject.kind=Service,involvedObject.name=web,type=Warning";
    cluster.wait_event(filter, "").await?;
    cluster.start_pod(web("web-1", 2)).await?;
    cluster.wait_backends("client", &["web-1"]).await
}

/// The client's egress policy names the backend's port, the backends' ingress policy names the client.
async fn policies_see_backends_and_clients(cluster: &mut Cluster) -> Result<()> {
    shop(cluster).await?;
    cluster.start_pod(PodSpec::new("stranger", 1)).await?;
    let policies = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client-egress, namespace: default}
spec:
  podSelector: {matchLabels: {role: client}}
  policyTypes: [Egress]
  egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{protocol: TCP, port: 80}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web-ingress, namespace: default}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {role: client}}}]}]
"#;
    cluster.kubectl().apply(policies).await?;
    cluster
        .start_pod(PodSpec::new("guest", 1).label("role", "client"))
        .await?;
    let vip = cluster.service_addresses("web").await?[0];
    let ask = async |from: &str, port: u16| -> Result<Answers> {
        let probe = Probe::tcp(vip, port)
            .times(6)
            .patience(Duration::from_millis(500));
        cluster.ask(from, &probe).await
    };
    eventually(
        "policies decide by backends and clients",
        Duration::from_secs(30),
        async || {
            // Port 8000 of the Service is port 80 of the backends, 8001 is 8080.
            let (allowed, port, who) = (
                ask("guest", 8000).await?,
                ask("guest", 8001).await?,
                ask("stranger", 8000).await?,
            );
            let right = allowed.all_answered() && port.none_answered() && who.none_answered();
            Ok(expect(right, || {
                format!("allowed: {allowed}; other port: {port}; other client: {who}")
            }))
        },
    )
    .await
}

async fn a_backend_reaches_itself_by_its_vip(cluster: &mut Cluster) -> Result<()> {
    cluster.kubectl().apply(WEB).await?;
    cluster.start_pod(web("web-1", 1)).await?;
    cluster.start_pod(PodSpec::new("client", 1)).await?;
    cluster.wait_backends("web-1", &["web-1"]).await?;
    // "A Pod cannot block access to itself": not with any policy.
    let alone = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: alone, namespace: default}
spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]}
"#;
    cluster.kubectl().apply(alone).await?;
    let address = cluster.pod("web-1")?.ip4()?;
    eventually("web-1 is isolated", Duration::from_secs(30), async || {
        let probe = Probe::tcp(address, 80).patience(Duration::from_millis(500));
        let answers = cluster.ask("client", &probe).await?;
        Ok(expect(answers.none_answered(), || answers.to_string()))
    })
    .await?;
    cluster.wait_backends("web-1", &["web-1"]).await
}

async fn a_deleted_service_is_gone(cluster: &mut Cluster) -> Result<()> {
    shop(cluster).await?;
    let vips = cluster.service_addresses("web").await?;
    cluster.kubectl().delete(WEB).await?;
    for vip in vips {
        eventually(
            &format!("{vip} leads nowhere"),
            Duration::from_secs(30),
            async || {
                let probe = Probe::tcp(vip, 8000).patience(Duration::from_millis(500));
                let answers = cluster.ask("client", &probe).await?;
                Ok(expect(answers.none_answered(), || answers.to_string()))
            },
        )
        .await?;
    }
    Ok(())
}

/// An association over both families, of which cnat carries one.
const SIGNAL: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: signal, namespace: default}
spec:
  selector: {app: web}
  ipFamilyPolicy: RequireDualStack
  ports: [{protocol: SCTP, port: 2905}]
"#;

/// `kubectl vpp services` and `reach` of a running cluster, beside what packets do.
async fn kubectl_vpp_says_what_nodes_have_and_do(cluster: &mut Cluster) -> Result<()> {
    shop(cluster).await?;
    let shown = async |cluster: &Cluster, name: &str| -> Result<Value> {
        let text = cluster
            .kubectl()
            .vpp(&["services", name, "-o", "json"], "")
            .await?;
        let mut all: Vec<Value> = serde_json::from_str(&text)?;
        all.pop().context("no Service is shown")
    };
    let servers = ["web-1", "web-2", "web-3"];
    let mut backends = Vec::new();
    for name in servers {
        let pod = cluster.pod(name)?;
        backends.extend([format!("{}:80", pod.ip4()?), format!("[{}]:80", pod.ip6()?)]);
    }
    backends.sort();
    let states = |service: &Value| -> Vec<(String, String)> {
        let nodes = service["nodes"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        nodes
            .iter()
            .map(|node| (text(&node["node"]), text(&node["state"])))
            .collect()
    };
    let everywhere = |state: &str| ["node-1", "node-2"].map(|node| (node.to_owned(), state.to_owned()));
    eventually("both nodes have all of it", Duration::from_secs(20), async || {
        let web = shown(cluster, "web").await?;
        let mut seen: Vec<String> = serde_json::from_value(web["nodes"][1]["backends"].clone())?;
        seen.sort();
        let right = states(&web) == everywhere("Applied") && seen == backends;
        Ok(expect(right, || web.to_string()))
    })
    .await?;
    let vip = cluster.service_addresses("web").await?[0];
    let web = shown(cluster, "web").await?;
    let named = json!({"kind": "ClusterIP", "address": vip, "port": 8000, "protocol": "TCP", "name": "http"});
    ensure!(
        web["frontends"]
            .as_array()
            .is_some_and(|all| all.contains(&named)),
        "{web}"
    );
    let table = cluster.kubectl().vpp(&["services", "web"], "").await?;
    ensure!(table.contains("node-2") && table.contains("Applied"), "{table}");

    // What packets did in `shop`, asked.
    let ask = [
        "reach",
        "--from",
        "default/client",
        "--to",
        "default/web",
        "--port",
        "8000",
        "-o",
        "json",
    ];
    let answer: Value = serde_json::from_str(&cluster.kubectl().vpp(&ask, "").await?)?;
    let mut seen: Vec<String> = serde_json::from_value(answer["backends"].clone())?;
    seen.sort();
    let four: Vec<&String> = backends
        .iter()
        .filter(|backend| !backend.starts_with('['))
        .collect();
    ensure!(
        answer["outcome"] == "allowed" && answer["sourceNat"] == false && seen.iter().eq(four),
        "{answer}"
    );

    // What a node does not do, it says.
    cluster.kubectl().apply(SIGNAL).await?;
    eventually(
        "both nodes say what is missing",
        Duration::from_secs(20),
        async || {
            let signal = shown(cluster, "signal").await?;
            let reason = signal["nodes"][0]["reason"].as_str().unwrap_or_default();
            let right = states(&signal) == everywhere("Pending") && reason.contains("SCTP in IPv4 only");
            Ok(expect(right, || signal.to_string()))
        },
    )
    .await?;
    let unknown = cluster.kubectl().vpp(&["services", "nobody"], "").await;
    let said = unknown.err().context("there is no such Service")?.to_string();
    ensure!(said.contains("there is no Service default/nobody"), "{said}");
    Ok(())
}
