//! An event on one pod costs the same number of API writes with 2 and with 50 Node objects.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::audit::{Audit, Writes};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::node::register;
use e2e::pod::PodSpec;
use kube::api::{Api, DeleteParams};

const QUIET: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    e2e::suite::main(
        "writes",
        2,
        cases![a_pods_events_cost_the_same_in_a_larger_cluster],
    )
}

async fn a_pods_events_cost_the_same_in_a_larger_cluster(cluster: &mut Cluster) -> Result<()> {
    // The pod is a policy's subject, a member of a set on every node that names it, and a Service's backend.
    cluster
        .kubectl()
        .apply(
            r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: among-friends, namespace: default}
spec:
  podSelector: {matchLabels: {app: friend}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]
  egress: [{to: [{podSelector: {matchLabels: {app: friend}}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: friends, namespace: default}
spec:
  selector: {app: friend}
  ipFamilyPolicy: PreferDualStack
  ports: [{port: 80}]
"#,
        )
        .await?;
    cluster
        .start_pod(PodSpec::new("first", 2).label("app", "friend"))
        .await?;

    let small = least(cluster, "small").await.context("with 2 nodes")?;
    for number in 3..=50 {
        register(&cluster.client(), number).await?;
    }
    let configs = ["get", "vppconfigs", "-o", "name"];
    e2e::wait::eventually("50 VppConfigs", Duration::from_secs(60), async || {
        let seen = cluster.kubectl().run(&configs).await?.lines().count();
        Ok(e2e::wait::expect(seen == 50, || format!("there are {seen}")))
    })
    .await?;
    let large = least(cluster, "large").await.context("with 50 nodes");

    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client());
    for number in 3..=50 {
        nodes
            .delete(&e2e::node::node_name(number), &DeleteParams::default())
            .await?;
    }
    let large = large?;
    for ((event, small), (_, large)) in small.iter().zip(&large) {
        let (few, many): (u32, u32) = (small.values().sum(), large.values().sum());
        e2e::suite::note(&format!(
            "pod {event}: {few} writes with 2 nodes, {many} with 50: {small:?}"
        ));
        ensure!(
            few > 0 || event == "connected",
            "{event}: nobody wrote anything, so nothing was measured"
        );
        ensure!(
            few == many,
            "{event}: {few} writes with 2 nodes, {many} with 50:\n{small:?}\n{large:?}"
        );
    }
    Ok(())
}

/// The costs of two pods' lives, for each event those of the cheaper one: where the machine is slow, what is
/// otherwise one write may become two.
async fn least(cluster: &mut Cluster, name: &str) -> Result<Vec<(String, Writes)>> {
    let first = costs(cluster, &format!("{name}-1")).await?;
    let second = costs(cluster, &format!("{name}-2")).await?;
    let total = |writes: &Writes| writes.values().sum::<u32>();
    Ok(first
        .into_iter()
        .zip(second)
        .map(|(one, two)| if total(&two.1) < total(&one.1) { two } else { one })
        .collect())
}

/// What each event in a pod's life makes the operator and the daemons write.
async fn costs(cluster: &mut Cluster, name: &str) -> Result<Vec<(String, Writes)>> {
    let log = cluster.control().audit_log().to_owned();
    // What came before must have come to rest.
    Audit::mark(&log).settled(QUIET).await?;
    let mut costs = Vec::new();

    let mark = Audit::mark(&log);
    let key = cluster
        .create_pod(PodSpec::new(name, 1).label("app", "friend"))
        .await?;
    costs.push(("scheduled".to_owned(), mark.settled(QUIET).await?));

    let mark = Audit::mark(&log);
    cluster.attach_pod(&key).await?;
    costs.push(("connected".to_owned(), mark.settled(QUIET).await?));

    let mark = Audit::mark(&log);
    cluster.make_ready(&key).await?;
    costs.push(("ready".to_owned(), mark.settled(QUIET).await?));

    let mark = Audit::mark(&log);
    cluster.stop_pod(&key).await?;
    costs.push(("gone".to_owned(), mark.settled(QUIET).await?));
    Ok(costs)
}
