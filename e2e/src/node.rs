//! Nodes: a network namespace with the node's two NICs, its dataplane, its daemon, and its Node object.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1 as core;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::assets;
use crate::cni::Network;
use crate::control::ControlPlane;
use crate::dataplane;
use crate::netns::Namespace;
use crate::process::{Process, Program};
use crate::run::Run;
use crate::underlay::{NodeAddresses, Underlay};
use crate::wait::{eventually, expect};

/// Where a daemon serves its metrics and health within its node's namespace.
pub const ADMIN_ADDRESS: &str = "127.0.0.1:9095";

/// A node with a dataplane and a daemon.
#[derive(Debug)]
pub struct Node {
    number: u8,
    namespace: Namespace,
    addresses: NodeAddresses,
    vpp_socket: PathBuf,
    network: Network,
    vpp: Process,
    daemon: Process,
}

/// A node's dataplane, with its files in `dir`: the given VPP, or vpp-sim.
fn dataplane(name: &str, given: Option<&Path>, dir: &Path) -> Result<Program> {
    let Some(vpp) = given else {
        return Ok(Program::new(name, assets::own("vpp-sim")?)
            .option("--api-socket", dir.join("api.sock"))
            .option("--stats-socket", dir.join("stats.sock"))
            // As our VPP runs: a policy that changes cuts the flows that it no longer permits.
            .arg("--acl-reclassify-sessions")
            .env("RUST_LOG", "info"));
    };
    dataplane::check(given)?;
    let config = dir.join("vpp.conf");
    fs::write(&config, dataplane::config(vpp, dir)?)?;
    // Within a network namespace mounts are the program's own: what VPP leaves in shared memory goes with it.
    let script = "mount -t tmpfs shm /dev/shm && exec \"$0\" -c \"$1\"";
    let program = Program::new(name, "sh").option("-c", script);
    Ok(program.arg(vpp).arg(config))
}

/// Name of the node with this number.
pub fn node_name(number: u8) -> String {
    format!("node-{number}")
}

/// Creates a Node object as a kubelet does, with addresses of both families.
pub async fn register(client: &Client, number: u8) -> Result<()> {
    let addresses = NodeAddresses::new(number);
    let name = node_name(number);
    let [cidr4, cidr6] = addresses.pod_cidrs();
    let object: core::Node = serde_json::from_value(json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "topology.kubernetes.io/zone": format!("zone-{}", if number % 2 == 1 { "a" } else { "b" }),
        }},
        "spec": {"podCIDR": cidr4, "podCIDRs": [cidr4, cidr6]},
    }))?;
    let api: Api<core::Node> = Api::all(client.clone());
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("creating Node {name}"))?;
    let now = "2026-01-01T00:00:00Z";
    let status = json!({"status": {
        "addresses": [
            {"type": "InternalIP", "address": addresses.host4().to_string()},
            {"type": "InternalIP", "address": addresses.host6().to_string()},
            {"type": "Hostname", "address": name},
        ],
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now, "lastTransitionTime": now}],
    }});
    api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status))
        .await?;
    Ok(())
}

impl Node {
    /// Makes the node's network, registers it and starts its programs. Nothing says yet that they are ready.
    pub async fn start(
        run: &Run,
        underlay: &Underlay,
        control: &ControlPlane,
        cnitool: &Path,
        number: u8,
    ) -> Result<Self> {
        let name = node_name(number);
        let dir = run.subdir(&name)?;
        let namespace = Namespace::create(&run.netns(&format!("n{number}")))?;
        let addresses = NodeAddresses::new(number);
        underlay.plug(&namespace, addresses)?;
        // A node forwards between its pods and the world; without it the host's side of VPP would drop.
        namespace.sysctl("net.ipv4.ip_forward", "1")?;
        namespace.sysctl("net.ipv6.conf.all.forwarding", "1")?;

        let vpp_socket = dir.join("api.sock");
        let given = dataplane::from_environment();
        let vpp = dataplane(&format!("{name}-vpp"), given.as_deref(), &dir)?.within(namespace.name());
        let vpp = Process::start(run, vpp)?;
        // Half of the nodes have what stands in for a tap, so that both kinds pass every test.
        let kernel_interfaces = match number % 2 {
            0 => "veth",
            _ => dataplane::kernel_interfaces(given.as_deref()),
        };

        register(&control.client().await?, number).await?;
        let kubeconfig = control
            .node_kubeconfig(&name, IpAddr::V4(addresses.host4()))
            .await?;
        let cni_socket = dir.join("cni.sock");
        let daemon = Program::new(format!("{name}-daemon"), assets::own("contiv-node")?)
            .within(namespace.name())
            .option("--node-name", &name)
            .option("--kubeconfig", kubeconfig)
            .option("--vpp-api-socket", &vpp_socket)
            .option("--vpp-stats-socket", dir.join("stats.sock"))
            .option("--cni-socket", &cni_socket)
            .option("--state-dir", dir.join("state"))
            .option("--admin-address", ADMIN_ADDRESS)
            .option("--kernel-interfaces", kernel_interfaces)
            .option("--uplink-interface", "vpp0")
            .option("--uplink-address", format!("{}/24", addresses.vpp4()))
            .option("--uplink-address", format!("{}/64", addresses.vpp6()))
            .env("RUST_LOG", "info,contiv=debug");
        let daemon = Process::start(run, daemon)?;

        let cni = assets::own("contiv-cni")?;
        let plugins = cni.parent().context("contiv-cni has no directory")?;
        let plugin = json!({"type": "contiv-cni", "socket": cni_socket, "stateDir": dir.join("state"),
            "capabilities": {"portMappings": true}});
        let network = Network::write(
            &format!("{}-contiv", run.id()),
            &dir.join("cni"),
            plugins,
            cnitool,
            namespace.name(),
            &plugin,
        )?;
        Ok(Self {
            number,
            namespace,
            addresses,
            vpp_socket,
            network,
            vpp,
            daemon,
        })
    }

    /// Waits until the plugin says that an ADD can work.
    pub async fn wait_ready(&mut self) -> Result<()> {
        let what = format!("{} takes pods (CNI STATUS)", self.name());
        eventually(&what, Duration::from_secs(60), async || {
            self.vpp.check()?;
            self.daemon.check()?;
            let status = self.network.status().await;
            Ok(expect(status.is_ok(), || format!("{status:?}")))
        })
        .await
    }

    /// Name of the Node object.
    pub fn name(&self) -> String {
        node_name(self.number)
    }

    /// Number, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// The node's own network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Addresses of the node and of its VPP.
    pub fn addresses(&self) -> NodeAddresses {
        self.addresses
    }

    /// The node's own IPv4 address.
    pub fn host_address(&self) -> IpAddr {
        IpAddr::V4(self.addresses.host4())
    }

    /// Socket of its dataplane's binary API.
    pub fn vpp_socket(&self) -> &Path {
        &self.vpp_socket
    }

    /// The CNI network of its pods.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The dataplane's process.
    pub fn vpp(&mut self) -> &mut Process {
        &mut self.vpp
    }

    /// The daemon's process.
    pub fn daemon(&mut self) -> &mut Process {
        &mut self.daemon
    }

    /// What an admin path such as `/metrics` answers, with its HTTP status.
    pub async fn admin(&self, path: &str) -> Result<(u16, String)> {
        let script = format!(
            "exec 3<>/dev/tcp/{} && printf 'GET {path} HTTP/1.0\\r\\nHost: node\\r\\n\\r\\n' >&3 && cat <&3",
            ADMIN_ADDRESS.replace(':', "/")
        );
        let output = tokio::process::Command::new("ip")
            .args(["netns", "exec", self.namespace.name(), "bash", "-c", &script])
            .kill_on_drop(true)
            .output()
            .await?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .with_context(|| format!("{}: no HTTP answer on {path}", self.name()))?;
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|code| code.parse().ok())
            .context("no HTTP status")?;
        Ok((status, body.to_owned()))
    }

    /// Leaves everything running when this value is dropped.
    pub fn leave(&mut self) {
        self.vpp.leave();
        self.daemon.leave();
        self.namespace.leave();
    }
}
