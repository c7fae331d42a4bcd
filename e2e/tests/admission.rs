//! What a node daemon's token may write: the status of its own node's VppConfig and its own Lease. The tokens are real ones
//! (TokenRequest), bound to a pod on a node, and the API server judges them.

mod refusals;

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use crds::{SYSTEM_NAMESPACE, VppConfig};
use e2e::cases;
use e2e::cluster::Cluster;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use refusals::{denied, dry, forbidden, patch_status};
use serde_json::{Value, json};

fn main() -> ExitCode {
    e2e::suite::main(
        "admission",
        2,
        cases![
            a_daemon_writes_its_own_status_and_nothing_else,
            with_every_right_the_policy_still_holds,
            a_token_of_no_node_writes_nothing,
        ],
    )
}

/// Grants the daemons' account everything, so that only the admission policy stands.
const GRANT: &str = "e2e-daemons-may-do-anything";

/// A client with a token bound to the daemon's pod on a node.
async fn daemon(cluster: &mut Cluster, node: &str) -> Result<Client> {
    let control = cluster.control();
    let pods: Api<Pod> = Api::namespaced(control.client().await?, SYSTEM_NAMESPACE);
    let pod = pods.get(&format!("contiv-node-{node}")).await?;
    let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    ensure!(bound == Some(node), "the daemon's pod is on {bound:?}");
    control
        .client_as(&control.token("contiv-node", Some(&pod)).await?)
        .await
}

async fn patch_lease(client: &Client, name: &str) -> kube::Result<Lease> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name}, "spec": {"holderIdentity": "e2e"},
    });
    let params = PatchParams {
        dry_run: true,
        ..PatchParams::apply("e2e").force()
    };
    let api: Api<Lease> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    api.patch(name, &params, &Patch::Apply(&lease)).await
}

async fn a_daemon_writes_its_own_status_and_nothing_else(cluster: &mut Cluster) -> Result<()> {
    let client = daemon(cluster, "node-1").await?;
    patch_status(&client, "node-1").await.context("its own status")?;
    patch_lease(&client, "node-node-1")
        .await
        .context("its own Lease")?;
    let words = "the daemon on node-1 may write the status of VppConfig node-1";
    denied(
        "another node's status",
        patch_status(&client, "node-2").await,
        words,
    )?;
    denied(
        "another node's Lease",
        patch_lease(&client, "node-node-2").await,
        words,
    )?;
    denied(
        "the operator's Lease",
        patch_lease(&client, "contiv-operator").await,
        words,
    )?;

    let configs: Api<VppConfig> = Api::all(client.clone());
    let spec = json!({"spec": {"revision": "mine"}});
    forbidden(
        "its own spec",
        configs.patch("node-1", &dry(), &Patch::Merge(&spec)).await,
    )?;
    forbidden(
        "another's spec",
        configs.patch("node-2", &dry(), &Patch::Merge(&spec)).await,
    )?;
    forbidden(
        "deleting its VppConfig",
        configs.delete("node-1", &DeleteParams::default()).await,
    )?;
    let pods: Api<Pod> = Api::all(client.clone());
    forbidden("reading pods", pods.list(&Default::default()).await)?;
    // The same token on the other node's side.
    let other = daemon(cluster, "node-2").await?;
    patch_status(&other, "node-2")
        .await
        .context("node-2's own status")?;
    denied(
        "node-1's status by node-2",
        patch_status(&other, "node-1").await,
        "the daemon on node-2",
    )
}

async fn with_every_right_the_policy_still_holds(cluster: &mut Cluster) -> Result<()> {
    let bindings: Api<ClusterRoleBinding> = Api::all(cluster.control().client().await?);
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": GRANT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "contiv-node", "namespace": SYSTEM_NAMESPACE}],
    }))?;
    bindings.create(&PostParams::default(), &binding).await?;
    let outcome = with_every_right(cluster).await;
    bindings.delete(GRANT, &DeleteParams::default()).await?;
    outcome
}

async fn with_every_right(cluster: &mut Cluster) -> Result<()> {
    let client = daemon(cluster, "node-1").await?;
    let pods: Api<Pod> = Api::all(client.clone());
    e2e::wait::eventually(
        "the binding is in force",
        std::time::Duration::from_secs(10),
        async || {
            let read = pods.list(&Default::default()).await;
            Ok(e2e::wait::expect(read.is_ok(), || format!("{read:?}")))
        },
    )
    .await?;
    let words = "the daemon on node-1 may write";
    let configs: Api<VppConfig> = Api::all(client.clone());
    let spec = json!({"spec": {"revision": "mine"}});
    denied(
        "its own spec",
        configs.patch("node-1", &dry(), &Patch::Merge(&spec)).await,
        words,
    )?;
    denied(
        "another's spec",
        configs.patch("node-2", &dry(), &Patch::Merge(&spec)).await,
        words,
    )?;
    denied("another's status", patch_status(&client, "node-2").await, words)?;
    let params = DeleteParams::default().dry_run();
    denied(
        "deleting its VppConfig",
        configs.delete("node-1", &params).await,
        words,
    )?;
    let mut copy = configs.get("node-1").await?;
    copy.metadata = kube::api::ObjectMeta {
        name: Some("node-9".to_owned()),
        ..Default::default()
    };
    let create = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    denied(
        "a VppConfig of its own making",
        configs.create(&create, &copy).await,
        words,
    )?;
    // Kinds that other daemons act on, and one that users write.
    for (kind, path, spec) in [
        (
            "VppPolicy",
            "namespaces/default/vpppolicies",
            json!({"revision": "r"}),
        ),
        (
            "VppAddressSet",
            "namespaces/default/vppaddresssets",
            json!({"revision": "r", "set": "x", "slice": 0}),
        ),
        (
            "VppPeerSlice",
            "vpppeerslices",
            json!({"revision": "r", "peers": []}),
        ),
        (
            "CNF",
            "namespaces/default/cnfs",
            json!({
                "podSelector": {"matchLabels": {"app": "x"}},
                "interfaces": [{"name": "in", "role": "In", "type": "Tap"}, {"name": "out", "role": "Out", "type": "Tap"}],
            }),
        ),
    ] {
        let object = json!({
            "apiVersion": "contivpp.io/v1alpha1", "kind": kind, "metadata": {"name": "x-0"}, "spec": spec,
        });
        let request = http::Request::post(format!("/apis/contivpp.io/v1alpha1/{path}?dryRun=All"))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())?;
        denied(kind, client.request::<Value>(request).await, words)?;
    }
    denied(
        "the operator's Lease",
        patch_lease(&client, "contiv-operator").await,
        words,
    )
}

async fn a_token_of_no_node_writes_nothing(cluster: &mut Cluster) -> Result<()> {
    let control = cluster.control();
    let client = control
        .client_as(&control.token("contiv-node", None).await?)
        .await?;
    let words = "must be bound to a pod on a node";
    denied("a status", patch_status(&client, "node-1").await, words)?;
    denied("a Lease", patch_lease(&client, "node-node-1").await, words)
}
