//! ClusterNetworkPolicy with its real CRD: the tiers around NetworkPolicy, and a cluster that has it only later.

use std::process::ExitCode;

use anyhow::Result;
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::pod::PodSpec;

fn main() -> ExitCode {
    e2e::suite::main(
        "cluster_network_policy",
        2,
        cases![
            a_cluster_without_the_crd_runs_and_takes_it_up_when_it_comes,
            tiers_around_network_policy,
            what_passes_is_left_to_the_tiers_below,
            a_mistake_is_an_event_on_the_policy,
        ],
    )
}

async fn trio(cluster: &mut Cluster) -> Result<()> {
    cluster
        .start_pods([
            PodSpec::new("web", 1).label("app", "web").port("http", 80),
            PodSpec::new("near", 1).label("app", "near"),
            PodSpec::new("far", 2).label("app", "far"),
        ])
        .await?;
    cluster
        .expect_reach(&[("near", "web", 80, true), ("far", "web", 80, true)])
        .await
}

/// A ClusterNetworkPolicy on all pods of namespace `default`.
fn tier(name: &str, tier: &str, priority: u16, rules: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
         tier: {tier}\n  priority: {priority}\n  subject: {{namespaces: {{matchLabels: {{kubernetes.io/metadata.name: default}}}}}}\n  {rules}\n"
    )
}

/// A peer: the pods with a label `app`.
fn app(name: &str) -> String {
    format!("{{pods: {{podSelector: {{matchLabels: {{app: {name}}}}}}}}}")
}

async fn delete(cluster: &Cluster, names: &[&str]) -> Result<()> {
    for name in names {
        cluster
            .kubectl()
            .run(&["delete", "clusternetworkpolicy", name])
            .await?;
    }
    Ok(())
}

const WEB_FROM_FAR: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: default}\nspec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: far}}}]}]}";

async fn a_cluster_without_the_crd_runs_and_takes_it_up_when_it_comes(cluster: &mut Cluster) -> Result<()> {
    // The nodes are ready, so the operator was: it did not wait for a kind that nobody installed.
    trio(cluster).await?;
    cluster.kubectl().apply(WEB_FROM_FAR).await?;
    cluster
        .expect_reach(&[("far", "web", 80, true), ("near", "web", 80, false)])
        .await?;
    cluster.install_cluster_network_policy().await?;
    let rules = format!("ingress: [{{action: Deny, from: [{}]}}]", app("far"));
    cluster
        .kubectl()
        .apply(&tier("border", "Admin", 10, &rules))
        .await?;
    cluster.expect_reach(&[("far", "web", 80, false)]).await?;
    // With its CRD the policy goes, and what it denied passes again.
    cluster
        .kubectl()
        .run(&["delete", "crd", "clusternetworkpolicies.policy.networking.k8s.io"])
        .await?;
    cluster
        .expect_reach(&[("far", "web", 80, true), ("near", "web", 80, false)])
        .await
}

async fn tiers_around_network_policy(cluster: &mut Cluster) -> Result<()> {
    cluster.install_cluster_network_policy().await?;
    trio(cluster).await?;
    let kubectl = cluster.kubectl();
    // Baseline holds as long as no NetworkPolicy selects the pod.
    let deny = "ingress: [{action: Deny, from: [{namespaces: {}}]}]";
    kubectl.apply(&tier("base", "Baseline", 10, deny)).await?;
    cluster
        .expect_reach(&[("far", "web", 80, false), ("near", "web", 80, false)])
        .await?;
    kubectl.apply(WEB_FROM_FAR).await?;
    let rows = [
        ("far", "web", 80, true),
        ("near", "web", 80, false),
        ("far", "near", 80, false),
    ];
    cluster.expect_reach(&rows).await?;
    // Admin decides before both; of two the lower priority.
    let rule = |action: &str, name: &str| format!("ingress: [{{action: {action}, from: [{}]}}]", app(name));
    kubectl
        .apply(&tier("keep-out", "Admin", 20, &rule("Deny", "far")))
        .await?;
    kubectl
        .apply(&tier("let-in", "Admin", 20, &rule("Accept", "near")))
        .await?;
    cluster
        .expect_reach(&[("far", "web", 80, false), ("near", "web", 80, true)])
        .await?;
    kubectl
        .apply(&tier("first", "Admin", 5, &rule("Accept", "far")))
        .await?;
    cluster
        .expect_reach(&[("far", "web", 80, true), ("far", "near", 80, true)])
        .await?;
    delete(cluster, &["base", "keep-out", "let-in", "first"]).await?;
    let rows = [
        ("far", "web", 80, true),
        ("near", "web", 80, false),
        ("far", "near", 80, true),
    ];
    cluster.expect_reach(&rows).await
}

async fn what_passes_is_left_to_the_tiers_below(cluster: &mut Cluster) -> Result<()> {
    cluster.install_cluster_network_policy().await?;
    trio(cluster).await?;
    let kubectl = cluster.kubectl();
    let rules = format!(
        "ingress: [{{action: Pass, from: [{}]}}, {{action: Deny, from: [{{namespaces: {{}}}}]}}]",
        app("far")
    );
    kubectl.apply(&tier("border", "Admin", 10, &rules)).await?;
    // No NetworkPolicy and no Baseline: what is passed on is allowed.
    cluster
        .expect_reach(&[("far", "web", 80, true), ("near", "web", 80, false)])
        .await?;
    let nobody = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: default}\nspec: {podSelector: {matchLabels: {app: web}}}";
    kubectl.apply(nobody).await?;
    cluster.expect_reach(&[("far", "web", 80, false)]).await?;
    kubectl.apply(WEB_FROM_FAR).await?;
    cluster
        .expect_reach(&[("far", "web", 80, true), ("near", "web", 80, false)])
        .await?;
    kubectl.run(&["delete", "networkpolicy", "web"]).await?;
    let deny = "ingress: [{action: Deny, from: [{namespaces: {}}]}]";
    kubectl.apply(&tier("base", "Baseline", 10, deny)).await?;
    cluster
        .expect_reach(&[("far", "web", 80, false), ("near", "web", 80, false)])
        .await?;
    delete(cluster, &["base", "border"]).await?;
    cluster
        .expect_reach(&[("far", "web", 80, true), ("near", "web", 80, true)])
        .await
}

async fn a_mistake_is_an_event_on_the_policy(cluster: &mut Cluster) -> Result<()> {
    cluster.install_cluster_network_policy().await?;
    trio(cluster).await?;
    let rules = "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: no-such-port}]}]";
    cluster
        .kubectl()
        .apply(&tier("wrong", "Admin", 10, rules))
        .await?;
    let filter = "involvedObject.kind=ClusterNetworkPolicy,involvedObject.name=wrong";
    cluster.wait_event(filter, "no-such-port").await?;
    cluster.expect_reach(&[("near", "web", 80, true)]).await?;
    delete(cluster, &["wrong"]).await
}
