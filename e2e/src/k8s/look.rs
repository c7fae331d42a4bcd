//! What tests and the demo do on a cluster, the way its users do it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::cluster::{Cluster, POD_PATIENCE};
use crate::assets;
use crate::dataplane;
use crate::probe::Answers;
use crate::run::Run;
use crate::suite::Bed;
use crate::wait::{eventually, expect};

/// Namespaces that are not a test's.
const SYSTEM: [&str; 5] = [
    "contiv-system",
    "default",
    "kube-node-lease",
    "kube-public",
    "kube-system",
];

impl Cluster {
    /// Applies a file or folder of `examples/`, and returns what kubectl said.
    pub async fn apply_example(&self, example: &str) -> Result<String> {
        let path = assets::source_root().join("examples").join(example);
        let path = path.to_str().context("the source tree's path is not UTF-8")?;
        self.kubectl().run(&["apply", "-f", path]).await
    }

    /// Waits until a Deployment has all its pods ready.
    pub async fn wait_deployment(&self, namespace: &str, name: &str) -> Result<()> {
        let object = format!("deployment/{name}");
        let timeout = format!("--timeout={}s", POD_PATIENCE.as_secs());
        let args = ["rollout", "status", "-n", namespace, &object, &timeout];
        self.kubectl().run(&args).await.map(drop)
    }

    /// Runs a command in a pod (`kubectl exec`); `target` is `pod-name` or `deploy/name`.
    pub async fn exec(&self, namespace: &str, target: &str, command: &[&str]) -> Result<String> {
        let args: Vec<&str> = ["exec", "-n", namespace, target, "--"]
            .iter()
            .chain(command)
            .copied()
            .collect();
        self.kubectl().run(&args).await
    }

    /// Asks `count` times from a pod, each time on a new connection; `to` is an address or name with a port.
    pub async fn ask(&self, namespace: &str, from: &str, to: &str, count: u32) -> Result<Answers> {
        let count = count.to_string();
        let command = [
            "/contiv-probe",
            "ask",
            "--to",
            to,
            "--count",
            &count,
            "--timeout-ms",
            "1000",
        ];
        let said = self.exec(namespace, from, &command).await?;
        let answers: BTreeMap<String, u32> =
            serde_json::from_str(said.trim()).with_context(|| format!("the probe said {said:?}"))?;
        Ok(Answers(answers))
    }

    /// Waits until a question is answered always, or never.
    pub async fn expect_answers(&self, namespace: &str, from: &str, to: &str, answered: bool) -> Result<()> {
        let what = format!(
            "{from} → {to} is {}",
            if answered { "answered" } else { "not answered" }
        );
        eventually(&what, Duration::from_secs(30), async || {
            let answers = self.ask(namespace, from, to, 2).await?;
            let holds = if answered {
                answers.all_answered()
            } else {
                answers.none_answered()
            };
            Ok(expect(holds, || answers.to_string()))
        })
        .await
    }

    /// Name, node and IPv4 address of each running pod with a label, in the order of their names.
    pub async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Place>> {
        let path = "jsonpath={range .items[?(@.status.phase==\"Running\")]}{.metadata.name} {.spec.nodeName} {.status.podIP}{\"\\n\"}{end}";
        let args = ["get", "pods", "-n", namespace, "-l", selector, "-o", path];
        let text = self.kubectl().run(&args).await?;
        text.lines()
            .map(|line| {
                let mut words = line.split(' ').map(str::to_owned);
                let (Some(name), Some(node), Some(address)) = (words.next(), words.next(), words.next())
                else {
                    anyhow::bail!("kubectl said {line:?}");
                };
                Ok(Place {
                    name,
                    node,
                    address: address
                        .parse()
                        .with_context(|| format!("kubectl said {line:?}"))?,
                })
            })
            .collect()
    }

    /// Starts kubectl in the background, such as `port-forward`; it ends when the value is dropped.
    pub fn kubectl_background(&self, args: &[&str]) -> Result<tokio::process::Child> {
        Ok(tokio::process::Command::new(self.kubectl().program())
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?)
    }
}

/// Where a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Its first address.
    pub address: IpAddr,
}

impl Bed for Cluster {
    async fn prepare() -> Result<Self> {
        let options = super::cluster::Options {
            vpp: dataplane::from_environment(),
            ..Default::default()
        };
        Self::control_plane(&options).await
    }

    async fn bring_up(&mut self, nodes: u8) -> Result<()> {
        self.bring_up(nodes).await
    }

    /// Deletes all namespaces that tests made, and waits until they are gone with their pods.
    async fn reset(&mut self) -> Result<()> {
        let all = self.kubectl().run(&["get", "namespaces", "-o", "name"]).await?;
        let made: Vec<&str> = all
            .split_whitespace()
            .filter(|name| !SYSTEM.contains(&name.trim_start_matches("namespace/")))
            .collect();
        if made.is_empty() {
            return Ok(());
        }
        // Their pods need no time to say goodbye.
        for namespace in &made {
            let namespace = namespace.trim_start_matches("namespace/");
            let now = [
                "delete",
                "pods,deployments,daemonsets",
                "--all",
                "-n",
                namespace,
                "--grace-period=1",
                "--wait=false",
            ];
            self.kubectl().run(&now).await?;
        }
        let args: Vec<&str> = ["delete", "--timeout=60s"].iter().copied().chain(made).collect();
        let said = self.kubectl().run(&args).await?;
        ensure!(!said.is_empty(), "nothing was deleted");
        Ok(())
    }

    fn run(&self) -> &Run {
        self.run()
    }
}
