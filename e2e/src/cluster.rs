//! A cluster: control plane, operator, nodes, and the pods that a test or a person puts on it.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use crds::SYSTEM_NAMESPACE;
use kube::Client;

use crate::assets::{self, ThirdParty};
use crate::control::ControlPlane;
use crate::kubectl::Kubectl;
use crate::node::{Node, node_name};
use crate::pod::{Pod, PodSpec};
use crate::probe::{Answers, Probe};
use crate::process::{Process, Program};
use crate::run::Run;
use crate::service;
use crate::suite::Bed;
use crate::underlay::Underlay;
use crate::wait::{eventually, expect};

/// A running cluster. Fields are dropped in this order: programs before the namespaces they live in.
pub struct Cluster {
    pods: BTreeMap<String, Pod>,
    nodes: BTreeMap<u8, Node>,
    operator: Option<Process>,
    client: Client,
    kubectl: Kubectl,
    control: ControlPlane,
    underlay: Underlay,
    cnitool: PathBuf,
    run: Run,
}

impl Cluster {
    /// Starts everything up to the operator, with no node yet. Needs root.
    pub async fn control_plane() -> Result<Self> {
        require_root()?;
        let programs = ThirdParty::ready()?;
        let run = Run::start()?;
        let mut underlay = Underlay::create(&run)?;
        let control = ControlPlane::start(&run, &programs).await?;
        underlay.relay(&run, control.port())?;
        let client = control.client().await?;
        let kubectl = Kubectl::new(
            programs.kubectl,
            control.kubeconfig().to_owned(),
            run.subdir("kubectl-cache")?,
        );
        Ok(Self {
            pods: BTreeMap::new(),
            nodes: BTreeMap::new(),
            operator: None,
            client,
            kubectl,
            control,
            underlay,
            cnitool: programs.cnitool,
            run,
        })
    }

    /// Starts a whole cluster with nodes 1 to `nodes`, ready to take pods.
    pub async fn start(nodes: u8) -> Result<Self> {
        let mut cluster = Self::control_plane().await?;
        cluster.bring_up(nodes).await?;
        Ok(cluster)
    }

    /// What follows the control plane: CRDs, operator, nodes 1 to `nodes`, and waiting for them.
    pub async fn bring_up(&mut self, nodes: u8) -> Result<()> {
        self.install_charts().await?;
        self.start_operator().await?;
        for number in 1..=nodes {
            self.start_node(number).await?;
        }
        self.wait_nodes_ready().await
    }

    /// Installs the charts' manifests: custom resource definitions, then accounts, their rights, and admission rules.
    pub async fn install_charts(&self) -> Result<()> {
        let charts = assets::source_root().join("charts");
        for chart in ["contiv-crds/templates", "contiv-vpp/templates/access"] {
            let dir = charts.join(chart);
            let dir = dir.to_str().context("the source tree's path is not UTF-8")?;
            self.kubectl.run(&["apply", "--server-side", "-f", dir]).await?;
        }
        self.kubectl
            .run(&[
                "wait",
                "--for=condition=Established",
                "--timeout=30s",
                "crd",
                "--all",
            ])
            .await?;
        Ok(())
    }

    /// Installs the CRD of ClusterNetworkPolicy.
    pub async fn install_cluster_network_policy(&self) -> Result<()> {
        let crd = assets::cluster_network_policy_crd()?;
        let crd = crd.to_str().context("the module cache's path is not UTF-8")?;
        self.kubectl.run(&["apply", "--server-side", "-f", crd]).await?;
        self.kubectl
            .run(&["wait", "--for=condition=Established", "--timeout=30s", "-f", crd])
            .await?;
        Ok(())
    }

    /// Starts the operator.
    pub async fn start_operator(&mut self) -> Result<()> {
        let kubeconfig = self.control.operator_kubeconfig().await?;
        let admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let program = Program::new("operator", assets::own("contiv-operator")?)
            .option("--kubeconfig", kubeconfig)
            .option("--namespace", SYSTEM_NAMESPACE)
            .option("--admin-address", admin.to_string())
            // As a pod's name does: a restarted operator goes on with the Lease it had.
            .option("--identity", "contiv-operator-0")
            .env("RUST_LOG", "info,contiv=debug");
        self.operator = Some(Process::start(&self.run, program)?);
        Ok(())
    }

    /// Makes a node and starts its programs.
    pub async fn start_node(&mut self, number: u8) -> Result<()> {
        let node = Node::start(&self.run, &self.underlay, &self.control, &self.cnitool, number).await?;
        self.nodes.insert(number, node);
        Ok(())
    }

    /// Waits until every node takes pods and says that it is ready.
    pub async fn wait_nodes_ready(&mut self) -> Result<()> {
        if let Some(operator) = self.operator.as_mut() {
            // It ends by itself when it loses its Lease, which it does when the API server is away for long.
            operator.revive()?;
        }
        for node in self.nodes.values_mut() {
            node.wait_ready().await?;
        }
        for number in self.nodes.keys() {
            self.wait_config_condition(*number, "Ready", "True", Duration::from_secs(30))
                .await?;
        }
        Ok(())
    }

    /// Waits until a condition of a node's VppConfig has a status.
    pub async fn wait_config_condition(
        &self,
        number: u8,
        condition: &str,
        status: &str,
        patience: Duration,
    ) -> Result<()> {
        let name = node_name(number);
        let path = format!("jsonpath={{.status.conditions[?(@.type==\"{condition}\")].status}}");
        eventually(
            &format!("VppConfig {name} has {condition}={status}"),
            patience,
            async || {
                let now = self
                    .kubectl
                    .run(&["get", "vppconfig", &name, "-o", &path])
                    .await?;
                Ok(expect(now == status, || format!("it is {now:?}")))
            },
        )
        .await
    }

    /// Creates a namespace with these labels, or changes its labels to them.
    pub async fn apply_namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: BTreeMap<&str, &str> = labels.iter().copied().collect();
        let object = serde_json::json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels},
        });
        self.kubectl.apply(&object.to_string()).await.map(drop)
    }

    /// Creates a pod, connects it, starts its server, reports it ready, and brings EndpointSlices up to date.
    pub async fn start_pod(&mut self, spec: PodSpec) -> Result<()> {
        let key = self.create_pod(spec).await?;
        self.attach_pod(&key).await?;
        self.make_ready(&key).await
    }

    /// Several pods, one after the other.
    pub async fn start_pods(&mut self, specs: impl IntoIterator<Item = PodSpec>) -> Result<()> {
        for spec in specs {
            self.start_pod(spec).await?;
        }
        Ok(())
    }

    /// Creates the pod's object only; returns its key.
    pub async fn create_pod(&mut self, spec: PodSpec) -> Result<String> {
        let key = key_of(&spec.namespace, &spec.name);
        let node = node_name(spec.node);
        let pod = Pod::create(&self.client, spec, &node).await?;
        self.pods.insert(key.clone(), pod);
        Ok(key)
    }

    /// Makes the pod's namespace only, before it is connected.
    pub fn make_namespace(&mut self, key: &str) -> Result<()> {
        self.pods
            .get_mut(key)
            .with_context(|| format!("no pod {key}"))?
            .make_namespace(&self.run)
    }

    /// Makes the pod's namespace if need be and connects it by CNI ADD. The object must exist.
    pub async fn attach_pod(&mut self, key: &str) -> Result<()> {
        let pod = self.pods.get_mut(key).with_context(|| format!("no pod {key}"))?;
        let node = self
            .nodes
            .get(&pod.node())
            .context("the pod's node does not run")?;
        pod.attach(&self.run, node.network()).await
    }

    /// Starts the pod's server and reports it running and ready.
    pub async fn make_ready(&mut self, key: &str) -> Result<()> {
        let pod = self.pods.get_mut(key).with_context(|| format!("no pod {key}"))?;
        let node = self
            .nodes
            .get(&pod.node())
            .context("the pod's node does not run")?;
        pod.serve(&self.run).await?;
        pod.report(&self.client, node.host_address(), true).await?;
        self.sync_endpoints().await
    }

    /// Reports a pod ready or not ready; it goes on running.
    pub async fn report(&mut self, key: &str, ready: bool) -> Result<()> {
        let pod = self.pods.get_mut(key).with_context(|| format!("no pod {key}"))?;
        let node = self
            .nodes
            .get(&pod.node())
            .context("the pod's node does not run")?;
        pod.report(&self.client, node.host_address(), ready).await?;
        self.sync_endpoints().await
    }

    /// Tells a pod to end, as its deletion does: it runs on until [`Cluster::stop_pod`].
    pub async fn begin_termination(&mut self, key: &str) -> Result<()> {
        let pod = self.pods.get_mut(key).with_context(|| format!("no pod {key}"))?;
        pod.begin_termination();
        self.sync_endpoints().await
    }

    /// Ends a pod as a kubelet does: programs, CNI DEL, object.
    pub async fn stop_pod(&mut self, key: &str) -> Result<()> {
        let mut pod = self.pods.remove(key).with_context(|| format!("no pod {key}"))?;
        if let Some(node) = self.nodes.get(&pod.node()) {
            pod.detach(node.network()).await?;
        }
        pod.delete(&self.client).await?;
        self.sync_endpoints().await
    }

    /// Brings the EndpointSlices of all Services up to date with the pods.
    pub async fn sync_endpoints(&self) -> Result<()> {
        service::sync(&self.client, self.pods.values()).await
    }

    /// A pod by its key: its name, or `namespace/name` outside `default`.
    pub fn pod(&self, key: &str) -> Result<&Pod> {
        self.pods.get(key).with_context(|| format!("no pod {key}"))
    }

    /// Pods, by key.
    pub fn pods(&self) -> &BTreeMap<String, Pod> {
        &self.pods
    }

    /// A node by its number, to look at.
    pub fn node_ref(&self, number: u8) -> Result<&Node> {
        self.nodes
            .get(&number)
            .with_context(|| format!("no node {number}"))
    }

    /// A node by its number.
    pub fn node(&mut self, number: u8) -> Result<&mut Node> {
        self.nodes
            .get_mut(&number)
            .with_context(|| format!("no node {number}"))
    }

    /// The operator's process.
    pub fn operator(&mut self) -> Result<&mut Process> {
        self.operator.as_mut().context("the operator was not started")
    }

    /// The control plane.
    pub fn control(&mut self) -> &mut ControlPlane {
        &mut self.control
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The command line with all rights.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The run, for those who start more programs.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The CNI project's command line.
    pub fn cnitool(&self) -> &std::path::Path {
        &self.cnitool
    }

    /// Name of the network namespace of a pod, of a node written `node/1`, or of the link on which the nodes stand,
    /// written `outside`.
    pub fn netns_of(&self, key: &str) -> Result<String> {
        if key == "outside" {
            return Ok(self.run().netns("net"));
        }
        match key.strip_prefix("node/") {
            Some(number) => {
                let number: u8 = number.parse().with_context(|| format!("{key} names no node"))?;
                let node = self
                    .nodes
                    .get(&number)
                    .with_context(|| format!("no node {number}"))?;
                Ok(node.namespace().name().to_owned())
            }
            None => Ok(self.pod(key)?.netns()?.name().to_owned()),
        }
    }

    /// Asks from a pod, a node written `node/1`, or `outside`.
    pub async fn ask(&self, from: &str, probe: &Probe) -> Result<Answers> {
        probe.from(&self.netns_of(from)?).await
    }

    /// Waits until there is an Event that this field selector selects and whose message holds `words`.
    pub async fn wait_event(&self, selector: &str, words: &str) -> Result<()> {
        eventually(
            &format!("an Event with {selector}"),
            Duration::from_secs(20),
            async || {
                let args = [
                    "get",
                    "events",
                    "--field-selector",
                    selector,
                    "-o",
                    "jsonpath={.items[*].message}",
                ];
                let messages = self.kubectl().run(&args).await?;
                Ok(expect(!messages.is_empty() && messages.contains(words), || {
                    format!("messages: {messages:?}")
                }))
            },
        )
        .await
    }

    /// Waits until each row `(from, to, port, allowed)` holds for TCP on both families: an allowed
    /// connection is answered by the right pod, a denied one gets no answer.
    pub async fn expect_reach(&self, rows: &[(&str, &str, u16, bool)]) -> Result<()> {
        eventually("who reaches whom", Duration::from_secs(30), async || {
            let mut wrong = Vec::new();
            for (from, to, port, allowed) in rows {
                for address in self.pod(to)?.addresses() {
                    let probe = Probe::tcp(*address, *port).patience(Duration::from_millis(if *allowed {
                        1500
                    } else {
                        500
                    }));
                    let answers = probe.from(&self.netns_of(from)?).await?;
                    let name = self.pod(to)?.name();
                    let holds = if *allowed {
                        answers.all_answered() && answers.servers() == [name].into()
                    } else {
                        answers.none_answered()
                    };
                    if !holds {
                        let wanted = if *allowed { "be answered" } else { "get no answer" };
                        wrong.push(format!(
                            "{from} → {to} {address}:{port} should {wanted}, got {answers}"
                        ));
                    }
                }
            }
            Ok(expect(wrong.is_empty(), || wrong.join("; ")))
        })
        .await
    }

    /// Addresses of a Service, IPv4 first; its key is its name, or `namespace/name` outside `default`.
    pub async fn service_addresses(&self, key: &str) -> Result<Vec<IpAddr>> {
        let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
        service::cluster_ips(&self.client, namespace, name).await
    }

    /// Ends all pods and deletes everything that users can write, so that the next test starts afresh.
    pub async fn reset(&mut self) -> Result<()> {
        let keys: Vec<String> = self.pods.keys().cloned().collect();
        let mut problems = Vec::new();
        for kind in ["networkpolicies", "servicechains", "cnfs"] {
            if let Err(error) = self
                .kubectl
                .run(&["delete", kind, "--all", "--all-namespaces", "--wait=false"])
                .await
            {
                problems.push(format!("{error:#}"));
            }
        }
        let others = "--field-selector=metadata.name!=kubernetes";
        if let Err(error) = self
            .kubectl
            .run(&["delete", "services", "--all-namespaces", others, "--wait=false"])
            .await
        {
            problems.push(format!("{error:#}"));
        }
        for key in keys {
            if let Err(error) = self.stop_pod(&key).await {
                problems.push(format!("{error:#}"));
            }
        }
        if let Err(error) = self.sync_endpoints().await {
            problems.push(format!("{error:#}"));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            bail!("{}", problems.join("\n"))
        }
    }

    /// Leaves everything running when this value is dropped; `contiv-e2e clean` ends it.
    pub fn keep(mut self) -> Result<()> {
        self.run.keep()?;
        self.pods.values_mut().for_each(Pod::leave);
        self.nodes.values_mut().for_each(Node::leave);
        if let Some(operator) = self.operator.as_mut() {
            operator.leave();
        }
        self.control.leave();
        self.underlay.leave();
        Ok(())
    }
}

impl Bed for Cluster {
    async fn prepare() -> Result<Self> {
        Self::control_plane().await
    }

    async fn bring_up(&mut self, nodes: u8) -> Result<()> {
        self.bring_up(nodes).await
    }

    async fn reset(&mut self) -> Result<()> {
        self.reset().await
    }

    fn run(&self) -> &Run {
        self.run()
    }
}

fn key_of(namespace: &str, name: &str) -> String {
    if namespace == "default" {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

/// A clear sentence instead of the first `ip` that fails.
pub fn require_root() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    bail!("this needs root: nodes and pods are network namespaces, which only root can make")
}
