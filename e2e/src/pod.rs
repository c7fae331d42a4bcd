//! Pods: an object in the API, a network namespace, an attachment by CNI, and a server that answers in it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1 as core;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::assets;
use crate::cni::Network;
use crate::netns::Namespace;
use crate::process::{Process, Program};
use crate::run::Run;

/// Ports that every pod answers on, TCP and UDP.
pub const PORTS: [u16; 2] = [80, 8080];

/// What a pod shall be.
#[derive(Clone, Debug)]
pub struct PodSpec {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: u8,
    labels: BTreeMap<String, String>,
    ports: Vec<(String, u16, String)>,
    host_ports: Vec<HostPort>,
}

/// A port of the node that is to lead to a container's.
#[derive(Clone, Debug)]
pub struct HostPort {
    /// Address of the node; empty for all.
    pub address: String,
    /// Port of the node.
    pub port: u16,
    /// Port of the container.
    pub to: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: &'static str,
}

impl PodSpec {
    /// A pod of namespace `default` on the node with this number, from 1.
    pub fn new(name: &str, node: u8) -> Self {
        Self {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            node,
            labels: BTreeMap::new(),
            ports: Vec::new(),
            host_ports: Vec::new(),
        }
    }

    /// Puts it in another namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.to_owned();
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Names a TCP port of its container.
    #[must_use]
    pub fn port(mut self, name: &str, port: u16) -> Self {
        self.ports.push((name.to_owned(), port, "TCP".to_owned()));
        self
    }

    /// Lets a port of the node, on one of its addresses (empty for all), lead to one of the container's.
    #[must_use]
    pub fn host_port(mut self, address: &str, port: u16, to: u16, protocol: &'static str) -> Self {
        self.host_ports.push(HostPort {
            address: address.to_owned(),
            port,
            to,
            protocol,
        });
        self
    }

    fn object(&self, node: &str) -> Result<core::Pod> {
        let named = self
            .ports
            .iter()
            .map(|(name, port, protocol)| json!({"name": name, "containerPort": port, "protocol": protocol}));
        let hosted = self.host_ports.iter().map(|each| {
            json!({"containerPort": each.to, "protocol": each.protocol, "hostPort": each.port, "hostIP": each.address})
        });
        let ports: Vec<_> = named.chain(hosted).collect();
        Ok(serde_json::from_value(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": self.labels},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "probe", "image": "contiv-probe", "ports": ports}],
            },
        }))?)
    }
}

/// A pod that exists at least in the API.
#[derive(Debug)]
pub struct Pod {
    spec: PodSpec,
    uid: String,
    netns: Option<Namespace>,
    addresses: Vec<IpAddr>,
    server: Option<Process>,
    ready: bool,
    terminating: bool,
}

impl Pod {
    /// Creates the object, bound to its node; nothing runs yet.
    pub async fn create(client: &Client, spec: PodSpec, node: &str) -> Result<Self> {
        let api: Api<core::Pod> = Api::namespaced(client.clone(), &spec.namespace);
        let created = api
            .create(&PostParams::default(), &spec.object(node)?)
            .await
            .with_context(|| format!("creating pod {}/{}", spec.namespace, spec.name))?;
        let uid = created.uid().context("the created pod has no uid")?;
        Ok(Self {
            spec,
            uid,
            netns: None,
            addresses: Vec::new(),
            server: None,
            ready: false,
            terminating: false,
        })
    }

    /// Makes the pod's namespace, with nothing but a loopback in it.
    pub fn make_namespace(&mut self, run: &Run) -> Result<()> {
        let name = run.netns(&format!("{}-{}", self.spec.namespace, self.spec.name));
        self.netns = Some(Namespace::create(&name)?);
        Ok(())
    }

    /// Attaches the pod's namespace, making it first if need be: the pod has a network from here on, and no program yet.
    pub async fn attach(&mut self, run: &Run, network: &Network) -> Result<()> {
        if self.netns.is_none() {
            self.make_namespace(run)?;
        }
        let path = self.netns()?.path();
        let attached = network
            .add_mapped(&path, &self.cni_args(), &self.port_mappings())
            .await
            .with_context(|| format!("pod {}", self.spec.name))?;
        self.addresses = attached.addresses;
        Ok(())
    }

    /// Starts its server, and waits until it listens.
    pub async fn serve(&mut self, run: &Run) -> Result<()> {
        let netns = self
            .netns
            .as_ref()
            .context("a pod without a namespace can't serve")?;
        let mut program = Program::new(
            format!("pod-{}-{}", self.spec.namespace, self.spec.name),
            assets::own("contiv-probe")?,
        )
        .within(netns.name())
        .arg("serve")
        .option("--name", &self.spec.name);
        for port in PORTS {
            program = program
                .option("--tcp", port.to_string())
                .option("--udp", port.to_string());
        }
        self.server = Some(Process::start(run, program)?);
        for _ in 0..100 {
            let sockets = netns
                .command("cat")
                .args(["/proc/net/tcp6", "/proc/net/udp6"])
                .output()?;
            let sockets = String::from_utf8_lossy(&sockets.stdout).into_owned();
            if PORTS
                .iter()
                .all(|port| sockets.matches(&format!(":{port:04X} ")).count() >= 2)
            {
                return Ok(());
            }
            if let Some(server) = self.server.as_mut() {
                server.check()?;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        bail!("the server of pod {} does not listen after 2 s", self.spec.name)
    }

    /// Reports the pod's state as a kubelet does: running with its addresses, ready or not.
    pub async fn report(&mut self, client: &Client, node_address: IpAddr, ready: bool) -> Result<()> {
        self.ready = ready;
        let status = if ready { "True" } else { "False" };
        let now = "2026-01-01T00:00:00Z";
        let condition =
            |kind: &str, status: &str| json!({"type": kind, "status": status, "lastTransitionTime": now});
        let patch = json!({"status": {
            "phase": "Running",
            "hostIP": node_address.to_string(),
            "podIP": self.addresses.first().map(ToString::to_string),
            "podIPs": self.addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect::<Vec<_>>(),
            "startTime": now,
            "conditions": [
                condition("PodScheduled", "True"),
                condition("Initialized", "True"),
                condition("ContainersReady", status),
                condition("Ready", status),
            ],
            "containerStatuses": [{
                "name": "probe", "image": "contiv-probe", "imageID": "", "restartCount": 0, "ready": ready, "started": true,
                "state": {"running": {"startedAt": now}},
            }],
        }});
        let api: Api<core::Pod> = Api::namespaced(client.clone(), &self.spec.namespace);
        api.patch_status(&self.spec.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    /// Ends its program and gives its network back; the object stays.
    pub async fn detach(&mut self, network: &Network) -> Result<()> {
        self.server = None;
        self.ready = false;
        if let Some(netns) = self.netns.take() {
            network
                .del(&netns.path(), &self.cni_args())
                .await
                .with_context(|| format!("pod {}", self.spec.name))?;
        }
        Ok(())
    }

    /// Deletes the object at once.
    pub async fn delete(&self, client: &Client) -> Result<()> {
        let api: Api<core::Pod> = Api::namespaced(client.clone(), &self.spec.namespace);
        match api
            .delete(&self.spec.name, &DeleteParams::default().grace_period(0))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(drop).context("deleting a pod"),
        }
    }

    /// Asks the plugin whether the attachment is still what ADD left.
    pub async fn check(&self, network: &Network) -> Result<()> {
        let path = self.netns()?.path();
        network
            .check_mapped(&path, &self.cni_args(), &self.port_mappings())
            .await
    }

    /// What containerd and CRI-O make of host ports.
    fn port_mappings(&self) -> Value {
        let mapping = |each: &HostPort| {
            json!({"hostPort": each.port, "containerPort": each.to, "hostIP": each.address,
                "protocol": each.protocol.to_lowercase()})
        };
        self.spec.host_ports.iter().map(mapping).collect()
    }

    fn cni_args(&self) -> [(&str, &str); 5] {
        [
            // Without it plugins refuse the keys that follow, which not every plugin knows.
            ("IgnoreUnknown", "1"),
            ("K8S_POD_NAMESPACE", &self.spec.namespace),
            ("K8S_POD_NAME", &self.spec.name),
            ("K8S_POD_UID", &self.uid),
            ("K8S_POD_INFRA_CONTAINER_ID", &self.uid),
        ]
    }

    /// The pod's network namespace.
    pub fn netns(&self) -> Result<&Namespace> {
        self.netns
            .as_ref()
            .with_context(|| format!("pod {} is not attached", self.spec.name))
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Namespace in the API.
    pub fn namespace(&self) -> &str {
        &self.spec.namespace
    }

    /// UID.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Number of its node.
    pub fn node(&self) -> u8 {
        self.spec.node
    }

    /// Labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.spec.labels
    }

    /// Number of a named port, by its name.
    pub fn named_port(&self, name: &str) -> Option<u16> {
        self.spec
            .ports
            .iter()
            .find(|port| port.0 == name)
            .map(|port| port.1)
    }

    /// Whether it was last reported ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// From here on the pod is on its way out: it runs, and serves whom it has (KEP-1669).
    pub fn begin_termination(&mut self) {
        self.terminating = true;
    }

    /// Whether it is on its way out.
    pub fn is_terminating(&self) -> bool {
        self.terminating
    }

    /// Addresses, IPv4 first.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The IPv4 address.
    pub fn ip4(&self) -> Result<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(IpAddr::is_ipv4)
            .with_context(|| format!("pod {} has no IPv4 address", self.spec.name))
    }

    /// The IPv6 address.
    pub fn ip6(&self) -> Result<IpAddr> {
        self.addresses
            .iter()
            .copied()
            .find(IpAddr::is_ipv6)
            .with_context(|| format!("pod {} has no IPv6 address", self.spec.name))
    }

    /// Leaves everything as it is when this value is dropped.
    pub fn leave(&mut self) {
        if let Some(server) = self.server.as_mut() {
            server.leave();
        }
        if let Some(netns) = self.netns.as_mut() {
            netns.leave();
        }
    }
}
