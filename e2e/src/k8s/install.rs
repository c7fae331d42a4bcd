//! What is installed on a cluster once it runs: our charts and the cluster's name server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::cluster::Cluster;
use super::machine::uplinks;
use super::plane::PORT;
use crate::dataplane;
use crate::underlay::GATEWAY4;
use crate::wait::{eventually, expect};
use crate::{assets, chart};

/// CoreDNS as clusters have it, with the image that was built here.
const COREDNS: &str = include_str!("coredns.yaml");
/// How long images may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

impl Cluster {
    /// Installs CRDs, our network and CoreDNS. Nothing says yet that they are ready.
    pub async fn install(&self) -> Result<()> {
        let crds = assets::source_root().join("charts/contiv-crds/templates");
        let crds = crds.to_str().context("the source tree's path is not UTF-8")?;
        let kubectl = self.kubectl();
        kubectl.run(&["apply", "--server-side", "-f", crds]).await?;
        let established = ["wait", "--for=condition=Established", "--timeout=30s", "-f", crds];
        kubectl.run(&established).await?;
        self.apply_chart().await?;
        kubectl.apply(COREDNS).await.map(drop)
    }

    /// Applies our chart with this cluster's values, as an installation or as an upgrade.
    pub async fn apply_chart(&self) -> Result<()> {
        let manifest = chart::render(self.values())?;
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl().with_input(&args, &manifest).await.map(drop)
    }

    /// The chart's values for this cluster.
    fn values(&self) -> serde_json::Value {
        json!({
            "images": {"registry": "contiv.local", "tag": "e2e", "pullPolicy": "IfNotPresent"},
            "apiServer": {"host": GATEWAY4.to_string(), "port": PORT},
            "uplink": {"interface": "vpp0", "nodes": uplinks(9)},
            "vpp": {"enabled": self.vpp().is_none()},
            "node": {"kernelInterfaces": dataplane::kernel_interfaces(self.vpp())},
        })
    }

    /// Waits until every node is Ready to Kubernetes and its VppConfig is Ready to us.
    pub async fn wait_nodes_ready(&mut self) -> Result<()> {
        let expected: Vec<String> = self.machines().map(|machine| machine.name()).collect();
        eventually("all nodes are Ready", PATIENCE, async || {
            self.check()?;
            for kind in ["nodes", "vppconfigs"] {
                let path = "jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type==\"Ready\")].status} {end}";
                let now = self.kubectl().run(&["get", kind, "-o", path]).await?;
                let ready: Vec<&str> = now.split_whitespace().filter_map(|one| one.strip_suffix("=True")).collect();
                if ready != expected {
                    return Ok(Err(format!("{kind}: {now}")));
                }
            }
            Ok(Ok(()))
        })
        .await
    }

    /// Waits until the cluster's name server and everything of ours is as many as it should be.
    pub async fn wait_system_ready(&self) -> Result<()> {
        self.wait_rollout("contiv-system", "deployment").await?;
        self.wait_rollout("kube-system", "deployment").await?;
        self.wait_daemonsets("contiv-system").await
    }

    /// Waits until every node that should has a ready pod of each DaemonSet.
    async fn wait_daemonsets(&self, namespace: &str) -> Result<()> {
        // `rollout status` will not look at those that are updated by hand only, as VPP's is.
        let path = "jsonpath={range .items[*]}{.status.desiredNumberScheduled}/{.status.numberReady} {end}";
        let args = ["get", "daemonsets", "-n", namespace, "-o", path];
        eventually("every node has its pods of ours", PATIENCE, async || {
            let now = self.kubectl().run(&args).await?;
            let full = |pair: &str| {
                pair.split_once('/')
                    .is_some_and(|(want, have)| want != "0" && want == have)
            };
            Ok(expect(
                !now.is_empty() && now.split_whitespace().all(full),
                || now.clone(),
            ))
        })
        .await
    }

    /// Waits until every workload of a kind has the pods it should have, of its newest revision.
    pub async fn wait_rollout(&self, namespace: &str, kind: &str) -> Result<()> {
        let listed = ["get", kind, "-n", namespace, "-o", "name"];
        for name in self.kubectl().run(&listed).await?.split_whitespace() {
            let timeout = format!("--timeout={}s", PATIENCE.as_secs());
            let args = ["rollout", "status", "-n", namespace, name, &timeout];
            self.kubectl().run(&args).await?;
        }
        Ok(())
    }

    /// Waits until a jsonpath of an object is a text.
    pub async fn wait_jsonpath(&self, object: &[&str], path: &str, wanted: &str) -> Result<()> {
        let path = format!("jsonpath={path}");
        let args: Vec<&str> = ["get"]
            .iter()
            .chain(object)
            .copied()
            .chain(["-o", &path])
            .collect();
        eventually(
            &format!("{} {path} is {wanted}", object.join(" ")),
            PATIENCE,
            async || {
                let now = self.kubectl().run(&args).await?;
                Ok(expect(now.trim() == wanted, || format!("it is {now:?}")))
            },
        )
        .await
    }

    /// Directory of the archives that nodes import.
    pub fn images_dir() -> PathBuf {
        assets::source_root().join("target/images")
    }
}
