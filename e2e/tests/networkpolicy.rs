//! NetworkPolicy, feature by feature, each letting something pass and keeping something else out, in both families.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;
use e2e::probe::{Flow, Probe};

fn main() -> ExitCode {
    e2e::suite::main(
        "networkpolicy",
        2,
        cases![
            ingress_by_pod_selector,
            peers_by_namespace_selector,
            peers_by_prefix_with_exceptions,
            ports_ranges_and_names,
            egress_by_pod_and_port,
            egress_by_prefix_with_exceptions,
            protocols_are_kept_apart,
            default_deny_and_back,
            policies_add_up,
            labels_decide_as_they_change,
            the_node_reaches_an_isolated_pod,
            isolated_from_the_first_packet,
            a_first_policy_cuts_what_it_forbids_and_nothing_else,
            a_live_flow_is_cut_or_kept,
            live_flows_follow_labels,
            a_user_mistake_is_an_event,
            reach_says_what_packets_do,
        ],
    )
}

/// A server `web` on node 1 and clients `near` (node 1) and `far` (node 2); everybody reaches everybody.
async fn trio(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([
            PodSpec::new("web", 1)
                .label("app", "web")
                .port("http", 80)
                .port("admin", 8080),
            PodSpec::new("near", 1)
                .label("app", "near")
                .label("side", "client"),
            PodSpec::new("far", 2).label("app", "far").label("side", "client"),
        ])
        .await?;
    let open = [
        ("near", "web", 80, true),
        ("far", "web", 80, true),
        ("far", "web", 8080, true),
    ];
    cluster.expect_reach(&open).await
}

/// A policy of namespace `default`, from its name and the indented body of its spec.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: default}}\nspec:\n{spec}"
    )
}

async fn ingress_by_pod_selector(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let spec = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: far}}}]}]";
    cluster.kubectl().apply(&policy("web", spec)).await?;
    let rows = [
        ("far", "web", 80, true),
        ("near", "web", 80, false),
        ("web", "near", 80, true),
        ("near", "far", 80, true),
    ];
    cluster.expect_reach(&rows).await?;
    cluster.kubectl().run(&["delete", "networkpolicy", "web"]).await?;
    cluster
        .expect_reach(&[("far", "web", 80, true), ("near", "web", 80, true)])
        .await
}

async fn peers_by_namespace_selector(cluster: &mut Cluster) -> Result<()> {
    for name in ["blue", "red"] {
        cluster.apply_namespace(name, &[("team", name)]).await?;
    }
    cluster
        .start_pods([
            PodSpec::new("web", 1).label("app", "web"),
            PodSpec::new("one", 2).namespace("blue").label("app", "one"),
            PodSpec::new("two", 1).namespace("blue").label("app", "two"),
            PodSpec::new("one", 2).namespace("red").label("app", "one"),
            PodSpec::new("one", 1).label("app", "one"),
        ])
        .await?;
    let by_namespace = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}]}]";
    cluster.kubectl().apply(&policy("web", by_namespace)).await?;
    let rows = [
        ("blue/one", "web", 80, true),
        ("blue/two", "web", 80, true),
        ("red/one", "web", 80, false),
        ("one", "web", 80, false),
    ];
    cluster.expect_reach(&rows).await?;
    // Both selectors in one peer: both must match. As two peers, either would do.
    let by_both = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}, podSelector: {matchLabels: {app: one}}}]}]";
    cluster.kubectl().apply(&policy("web", by_both)).await?;
    let rows = [
        ("blue/one", "web", 80, true),
        ("blue/two", "web", 80, false),
        ("red/one", "web", 80, false),
        ("one", "web", 80, false),
    ];
    cluster.expect_reach(&rows).await?;
    // The namespace's labels decide, not its name.
    cluster
        .kubectl()
        .run(&["label", "namespace", "red", "team=blue", "--overwrite"])
        .await?;
    cluster
        .expect_reach(&[("red/one", "web", 80, true), ("blue/two", "web", 80, false)])
        .await
}

async fn peers_by_prefix_with_exceptions(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let (far4, far6) = (cluster.pod("far")?.ip4()?, cluster.pod("far")?.ip6()?);
    let spec = format!(
        "  podSelector: {{matchLabels: {{app: web}}}}\n  ingress:\n  - from:\n    - ipBlock: {{cidr: 10.1.0.0/16, except: [{far4}/32]}}\n    - ipBlock: {{cidr: 'fd00:10:1::/48', except: ['{far6}/128']}}\n"
    );
    cluster.kubectl().apply(&policy("web", &spec)).await?;
    cluster
        .expect_reach(&[("near", "web", 80, true), ("far", "web", 80, false)])
        .await
}

async fn ports_ranges_and_names(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    for (port, open, closed) in [
        ("{protocol: TCP, port: 80}", 80, 8080),
        ("{protocol: TCP, port: 8000, endPort: 8090}", 8080, 80),
        ("{protocol: TCP, port: admin}", 8080, 80),
        ("{protocol: TCP, port: http}", 80, 8080),
    ] {
        let spec = format!(
            "  podSelector: {{matchLabels: {{app: web}}}}\n  ingress: [{{from: [{{podSelector: {{matchLabels: {{side: client}}}}}}], ports: [{port}]}}]"
        );
        cluster.kubectl().apply(&policy("web", &spec)).await?;
        let rows = [
            ("near", "web", open, true),
            ("far", "web", open, true),
            ("near", "web", closed, false),
            ("far", "web", closed, false),
        ];
        cluster
            .expect_reach(&rows)
            .await
            .map_err(|error| error.context(port))?;
    }
    Ok(())
}

async fn egress_by_pod_and_port(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let spec = "  podSelector: {matchLabels: {app: far}}\n  policyTypes: [Egress]\n  egress: [{to: [{podSelector: {matchLabels: {app: web}}}], ports: [{protocol: TCP, port: 80}]}]";
    cluster.kubectl().apply(&policy("far", spec)).await?;
    let rows = [
        ("far", "web", 80, true),
        ("far", "web", 8080, false),
        ("far", "near", 80, false),
        // Its other direction is as it was.
        ("near", "far", 80, true),
        ("near", "web", 8080, true),
    ];
    cluster.expect_reach(&rows).await
}

async fn egress_by_prefix_with_exceptions(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let (web4, web6) = (cluster.pod("web")?.ip4()?, cluster.pod("web")?.ip6()?);
    let spec = format!(
        "  podSelector: {{matchLabels: {{app: far}}}}\n  policyTypes: [Egress]\n  egress:\n  - to:\n    - ipBlock: {{cidr: 10.1.1.0/24, except: [{web4}/32]}}\n    - ipBlock: {{cidr: 'fd00:10:1:1::/64', except: ['{web6}/128']}}\n"
    );
    cluster.kubectl().apply(&policy("far", &spec)).await?;
    cluster
        .expect_reach(&[
            ("far", "near", 80, true),
            ("far", "web", 80, false),
            ("web", "far", 80, true),
        ])
        .await
}

async fn protocols_are_kept_apart(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let spec = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{ports: [{protocol: UDP, port: 80}]}]";
    cluster.kubectl().apply(&policy("web", spec)).await?;
    cluster
        .expect_reach(&[("near", "web", 80, false), ("far", "web", 80, false)])
        .await?;
    for address in cluster.pod("web")?.addresses() {
        let allowed = cluster.ask("far", &Probe::udp(*address, 80).times(2)).await?;
        ensure!(
            allowed.all_answered(),
            "UDP 80 of {address} is allowed: {allowed}"
        );
        let denied = cluster
            .ask(
                "far",
                &Probe::udp(*address, 8080).patience(Duration::from_millis(500)),
            )
            .await?;
        ensure!(denied.none_answered(), "UDP 8080 of {address} is not: {denied}");
    }
    Ok(())
}

async fn default_deny_and_back(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    cluster
        .kubectl()
        .apply(&policy(
            "deny",
            "  podSelector: {}\n  policyTypes: [Ingress, Egress]",
        ))
        .await?;
    let mut rows = [
        ("near", "web", 80, false),
        ("far", "web", 80, false),
        ("web", "far", 8080, false),
        ("near", "far", 80, false),
    ];
    cluster.expect_reach(&rows).await?;
    cluster
        .kubectl()
        .run(&["delete", "networkpolicy", "deny"])
        .await?;
    rows.iter_mut().for_each(|row| row.3 = true);
    cluster.expect_reach(&rows).await
}

async fn policies_add_up(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    for (name, app, port) in [("near-80", "near", 80), ("far-8080", "far", 8080)] {
        let spec = format!(
            "  podSelector: {{matchLabels: {{app: web}}}}\n  ingress: [{{from: [{{podSelector: {{matchLabels: {{app: {app}}}}}}}], ports: [{{port: {port}}}]}}]"
        );
        cluster.kubectl().apply(&policy(name, &spec)).await?;
    }
    let rows = [
        ("near", "web", 80, true),
        ("near", "web", 8080, false),
        ("far", "web", 8080, true),
        ("far", "web", 80, false),
    ];
    cluster.expect_reach(&rows).await
}

async fn labels_decide_as_they_change(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let spec = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchExpressions: [{key: vip, operator: Exists}]}}]}]";
    cluster.kubectl().apply(&policy("web", spec)).await?;
    cluster
        .expect_reach(&[("near", "web", 80, false), ("far", "web", 80, false)])
        .await?;
    cluster.kubectl().run(&["label", "pod", "far", "vip=yes"]).await?;
    cluster
        .expect_reach(&[("near", "web", 80, false), ("far", "web", 80, true)])
        .await?;
    cluster.kubectl().run(&["label", "pod", "far", "vip-"]).await?;
    cluster.expect_reach(&[("far", "web", 80, false)]).await
}

/// Kubelets probe their pods whatever the policies say.
async fn the_node_reaches_an_isolated_pod(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    cluster
        .kubectl()
        .apply(&policy(
            "deny",
            "  podSelector: {}\n  policyTypes: [Ingress, Egress]",
        ))
        .await?;
    cluster.expect_reach(&[("near", "web", 80, false)]).await?;
    cluster.expect_reach(&[("node/1", "web", 80, true)]).await
}

/// From the instant the interface appears no packet of the new pod gets out, and none gets in.
async fn isolated_from_the_first_packet(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([PodSpec::new("web", 1), PodSpec::new("other", 2)])
        .await?;
    let spec = "  podSelector: {matchLabels: {app: locked}}\n  policyTypes: [Ingress, Egress]";
    cluster.kubectl().apply(&policy("locked", spec)).await?;
    let web = cluster.pod("web")?.ip4()?;
    // The same is done to a pod that nothing isolates, to show that its very first packets would be seen.
    for (name, app, reaches) in [("free", "free", true), ("locked", "locked", false)] {
        let key = cluster
            .create_pod(PodSpec::new(name, 1).label("app", app))
            .await?;
        cluster.make_namespace(&key)?;
        let probe = Probe::udp(web, 80).every(Duration::from_millis(5));
        let flow = probe.flow(cluster.run(), name, &cluster.netns_of(&key)?)?;
        flow.settles(false, 3, Duration::from_secs(5)).await?;
        cluster.attach_pod(&key).await?;
        if reaches {
            flow.settles(true, 3, Duration::from_secs(5)).await?;
        } else {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let marks = flow.stop();
        let answered = marks.0.len() - marks.lost();
        ensure!(
            (answered > 0) == reaches,
            "{name}: {answered} of {} datagrams were answered",
            marks.0.len()
        );
        cluster.make_ready(&key).await?;
    }
    cluster
        .expect_reach(&[("other", "locked", 80, false), ("other", "free", 80, true)])
        .await
}

/// Connections and a UDP exchange that are going on.
struct Live(Vec<(String, Flow)>);

impl Live {
    /// An upload, a download and UDP from a pod to a server's port 80, in both families.
    async fn begin(cluster: &Cluster, from: &str, to: &str) -> Result<Self> {
        let netns = cluster.netns_of(from)?;
        let mut flows = Vec::new();
        for address in cluster.pod(to)?.addresses() {
            for (kind, probe) in [
                ("upload", Probe::tcp(*address, 80)),
                ("download", Probe::download(*address, 80)),
                ("udp", Probe::udp(*address, 80)),
            ] {
                let family = if address.is_ipv6() { 6 } else { 4 };
                let name = format!(
                    "{kind}{family}-{}-{}",
                    from.replace('/', "."),
                    to.replace('/', ".")
                );
                flows.push((name.clone(), probe.flow(cluster.run(), &name, &netns)?));
            }
        }
        for (name, flow) in &flows {
            flow.settles(true, 3, Duration::from_secs(5))
                .await
                .context(name.clone())?;
        }
        Ok(Self(flows))
    }

    /// All end, and stay ended.
    async fn are_cut(self) -> Result<()> {
        for (name, flow) in &self.0 {
            flow.settles(false, 5, Duration::from_secs(20))
                .await
                .context(name.clone())?;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        for (name, flow) in &self.0 {
            flow.settles(false, 8, Duration::ZERO)
                .await
                .context(name.clone())?;
        }
        Ok(())
    }

    /// None has lost anything since it began.
    fn are_whole(self) -> Result<()> {
        for (name, flow) in self.0 {
            let marks = flow.stop();
            ensure!(marks.lost() == 0, "{name} lost something: {marks}");
        }
        Ok(())
    }
}

/// Connections that are older than the first policy of the pod, and of any pod.
async fn a_first_policy_cuts_what_it_forbids_and_nothing_else(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let cut = Live::begin(cluster, "near", "web").await?;
    let kept = [
        Live::begin(cluster, "far", "web").await?,
        // Of the pod's own, to the peer whose connections it may not take any more.
        Live::begin(cluster, "web", "near").await?,
        Live::begin(cluster, "near", "far").await?,
    ];
    let only_far = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: far}}}]}]";
    cluster.kubectl().apply(&policy("web", only_far)).await?;
    cut.are_cut().await?;
    kept.into_iter().try_for_each(Live::are_whole)
}

async fn a_live_flow_is_cut_or_kept(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let both = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: {side: client}}}]}]";
    cluster.kubectl().apply(&policy("web", both)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cut = Live::begin(cluster, "near", "web").await?;
    let kept = [
        Live::begin(cluster, "far", "web").await?,
        Live::begin(cluster, "web", "near").await?,
    ];
    let only_far = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: far}}}]}]";
    cluster.kubectl().apply(&policy("web", only_far)).await?;
    cut.are_cut().await?;
    kept.into_iter().try_for_each(Live::are_whole)
}

/// A peer's label goes, a namespace's label goes, the pod itself comes under another policy.
async fn live_flows_follow_labels(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    cluster.apply_namespace("blue", &[("team", "blue")]).await?;
    cluster
        .start_pods([PodSpec::new("one", 2).namespace("blue")])
        .await?;
    let from = "from: [{podSelector: {matchLabels: {side: client}}}, {namespaceSelector: {matchLabels: {team: blue}}}]";
    let spec = format!("  podSelector: {{matchLabels: {{app: web}}}}\n  ingress: [{{{from}}}]");
    cluster.kubectl().apply(&policy("web", &spec)).await?;
    let spec = "  podSelector: {matchLabels: {app: locked}}\n  ingress: [{from: [{podSelector: {matchLabels: {side: none}}}]}]";
    cluster.kubectl().apply(&policy("locked", spec)).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    let peer = Live::begin(cluster, "near", "web").await?;
    let namespaced = Live::begin(cluster, "blue/one", "web").await?;
    let relabelled = Live::begin(cluster, "far", "web").await?;
    let own = Live::begin(cluster, "web", "far").await?;
    for (labels, cut) in [
        (["pod", "near", "side-"].as_slice(), peer),
        (&["namespace", "blue", "team=red", "--overwrite"], namespaced),
    ] {
        cluster.kubectl().run(&[&["label"], labels].concat()).await?;
        cut.are_cut().await?;
        for (name, flow) in &relabelled.0 {
            ensure!(flow.marks().lost() == 0, "{labels:?}: {name} lost something");
        }
    }
    cluster
        .kubectl()
        .run(&["label", "pod", "web", "app=locked", "--overwrite"])
        .await?;
    relabelled.are_cut().await?;
    own.are_whole()
}

/// A policy that can't be used as it stands is told of on itself; everything else goes on, and nothing is opened.
async fn a_user_mistake_is_an_event(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let wrong = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{ports: [{protocol: TCP, port: no-such-port}]}]";
    cluster.kubectl().apply(&policy("wrong", wrong)).await?;
    let filter = "involvedObject.kind=NetworkPolicy,involvedObject.name=wrong";
    cluster.wait_event(filter, "no-such-port").await?;
    cluster
        .expect_reach(&[
            ("near", "web", 80, false),
            ("far", "web", 8080, false),
            ("near", "far", 80, true),
        ])
        .await
}

/// `kubectl vpp reach` of the running cluster, of a snapshot of it, and of both with a policy that is not applied yet.
async fn reach_says_what_packets_do(cluster: &mut Cluster) -> Result<()> {
    trio(cluster).await?;
    let spec = "  podSelector: {matchLabels: {app: web}}\n  ingress: [{from: [{podSelector: {matchLabels: {app: far}}}], ports: [{port: http}]}]";
    cluster.kubectl().apply(&policy("web", spec)).await?;
    let rows = [
        ("far", "web", 80, true),
        ("far", "web", 8080, false),
        ("near", "web", 80, false),
        ("web", "near", 80, true),
        ("near", "far", 8080, true),
    ];
    cluster.expect_reach(&rows).await?;
    let questions = |rows: &[(&str, &str, u16, bool)]| -> String {
        let line = |(from, to, port, open): &(&str, &str, u16, bool)| {
            let expect = if *open { "allowed" } else { "denied" };
            format!(
                "{{\"from\":\"default/{from}\",\"to\":\"default/{to}\",\"port\":{port},\"expect\":\"{expect}\"}}\n"
            )
        };
        rows.iter().map(line).collect()
    };
    let ask = ["reach", "--queries", "-", "-o", "json"];
    let online = cluster.kubectl().vpp(&ask, &questions(&rows)).await?;
    ensure!(online.lines().count() == rows.len(), "{online}");
    let kinds = "nodes,namespaces,pods,services,endpointslices,networkpolicies";
    let snapshot = cluster.kubectl().run(&["get", kinds, "-A", "-o", "yaml"]).await?;
    let file = cluster.run().dir().join("snapshot.yaml");
    std::fs::write(&file, snapshot)?;
    let file = file.to_string_lossy();
    let offline = [&ask[..], &["--objects", &file]].concat();
    let offline = cluster.kubectl().vpp(&offline, &questions(&rows)).await?;
    ensure!(
        online == offline,
        "the cluster:\n{online}its snapshot:\n{offline}"
    );

    let closed = "  podSelector: {matchLabels: {app: far}}\n  policyTypes: [Ingress, Egress]";
    let planned = cluster.run().dir().join("planned.yaml");
    std::fs::write(&planned, policy("planned", closed))?;
    let planned = planned.to_string_lossy();
    let then = questions(&[
        ("far", "web", 80, false),
        ("web", "near", 80, true),
        ("near", "far", 8080, false),
    ]);
    let config = cluster.kubectl().config().to_string_lossy().into_owned();
    let both = [&ask[..], &["--kubeconfig", &config, "--objects", &planned]].concat();
    cluster.kubectl().vpp(&both, &then).await?;
    // Asking has changed nothing.
    cluster.expect_reach(&rows).await
}
