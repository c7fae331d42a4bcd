//! What the daemon is told at its start.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use ipnet::IpNet;
use serde::Deserialize;

use crate::desired::{KernelInterfaces, ListedPods, Local, Uplink};

/// The one owner of VPP on its node.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "contiv-node",
    version,
    after_help = "contiv-node install-cni puts the CNI plugin on the node's disk; contiv-node cleanup takes back what the network left on \
                  the node, for when it is uninstalled. Both have a --help of their own."
)]
pub struct Config {
    /// Name of the Node this daemon runs on; in a DaemonSet from `spec.nodeName`.
    #[arg(long, env = "NODE_NAME")]
    pub node_name: String,
    /// Kubeconfig; without it the service account or the environment decides.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// VPP's binary API socket.
    #[arg(long, default_value = "/run/vpp/api.sock")]
    pub vpp_api_socket: PathBuf,
    /// VPP's stats socket, where its counters are read (`statseg { socket-name }`).
    #[arg(long, default_value = "/run/vpp/stats.sock")]
    pub vpp_stats_socket: PathBuf,
    /// Socket on which the CNI shim is served.
    #[arg(long, default_value = "/run/contiv/cni.sock")]
    pub cni_socket: PathBuf,
    /// The node's directory of CNI configurations, for the one that leads its container runtime here; written once pods
    /// can be served. Without it none is written.
    #[arg(long)]
    pub cni_conf_dir: Option<PathBuf>,
    /// Directory of what must survive a restart; not on a network.
    #[arg(long, default_value = "/var/lib/contiv")]
    pub state_dir: PathBuf,
    /// Address of /metrics, /healthz and /readyz.
    #[arg(long, default_value = "127.0.0.1:9478")]
    pub admin_address: SocketAddr,
    /// File that receives the port of the admin endpoints, for whoever starts the daemon with port 0.
    #[arg(long)]
    pub admin_port_file: Option<PathBuf>,
    /// The NIC given to VPP. Never the node's only one: its addresses stop to be the kernel's.
    #[arg(long)]
    pub uplink_interface: Option<String>,
    /// Address that VPP takes on the uplink, as ADDRESS/LENGTH; may be given once per family.
    #[arg(long, requires = "uplink_interface")]
    pub uplink_address: Vec<IpNet>,
    /// Next hop of VPP's default route; may be given once per family.
    #[arg(long, requires = "uplink_interface")]
    pub uplink_gateway: Vec<IpAddr>,
    /// The three options above in a file, as JSON: {"interface": "eth1", "addresses": ["192.0.2.11/24"], "gateways": []}.
    /// If there is no such file the node has no uplink: a DaemonSet gives every node the same options.
    #[arg(long, conflicts_with = "uplink_interface")]
    pub uplink_file: Option<PathBuf>,
    /// What interfaces between VPP and a kernel are, pods' and the node's own: tap needs /dev/vhost-net, veth is for nodes
    /// without it. Holds for what is made from now on: drain a node before it changes.
    #[arg(long, value_enum, default_value_t)]
    pub kernel_interfaces: KernelInterfaces,
    /// Name of the node's own interface to VPP; empty for none.
    #[arg(long, default_value = "contiv0")]
    pub host_interface: String,
    /// Largest packet of pods; by default what the uplink leaves room for.
    #[arg(long)]
    pub mtu: Option<u32>,
    /// Which pods' interfaces have ACLs.
    #[arg(long, value_enum, default_value_t)]
    pub acl_lists: ListedPods,
    /// Seconds between comparisons of everything with what VPP really has.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    pub resync_seconds: u64,
    /// Seconds between signs of life; after four periods without one the operator calls the status unknown.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub heartbeat_seconds: u64,
    /// Log format.
    #[arg(long, default_value = "text", env = "LOG_FORMAT")]
    pub log_format: String,
    /// Which log messages, in the notation of tracing's EnvFilter.
    #[arg(long, default_value = "info", env = "RUST_LOG")]
    pub log: String,
}

/// What `--uplink-file` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct UplinkFile {
    interface: String,
    #[serde(default)]
    addresses: Vec<IpNet>,
    #[serde(default)]
    gateways: Vec<IpAddr>,
}

/// `--uplink-file` can't be used.
#[derive(Debug, thiserror::Error)]
#[error("--uplink-file {}: {reason}", path.display())]
pub struct UplinkFileError {
    path: PathBuf,
    reason: String,
}

impl Config {
    /// Takes over what `--uplink-file` says.
    ///
    /// # Errors
    /// A file that is there and can't be read, or says something else. One that is not there means no uplink.
    pub fn with_uplink_file(mut self) -> Result<Self, UplinkFileError> {
        let Some(path) = self.uplink_file.take() else {
            return Ok(self);
        };
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                tracing::warn!(file = %path.display(), "no uplink is set for this node: pods of other nodes cannot be reached");
                return Ok(self);
            }
            read => read.map_err(|error| error.to_string()),
        };
        let parsed = text
            .and_then(|text| serde_json::from_str::<UplinkFile>(&text).map_err(|error| error.to_string()));
        let uplink = parsed.map_err(|reason| UplinkFileError { path, reason })?;
        self.uplink_interface = Some(uplink.interface);
        self.uplink_address = uplink.addresses;
        self.uplink_gateway = uplink.gateways;
        Ok(self)
    }

    /// Local settings; `uplink_mtu` is what the kernel says of the uplink.
    pub fn local(&self, uplink_mtu: Option<u32>) -> Local {
        let uplink = self.uplink_interface.as_ref().map(|interface| Uplink {
            interface: interface.clone(),
            addresses: self.uplink_address.clone(),
            gateways: self.uplink_gateway.clone(),
            mtu: uplink_mtu.unwrap_or(crate::desired::DEFAULT_MTU),
        });
        Local {
            node: self.node_name.clone(),
            uplink,
            host_interface: Some(self.host_interface.clone()).filter(|name| !name.is_empty()),
            mtu: self.mtu,
            // Until VPP says otherwise: a daemon without VPP plans nothing.
            cnat: true,
            cnat_v1: false,
            abf: true,
            kernel_interfaces: self.kernel_interfaces,
            acl_lists: self.acl_lists,
        }
    }

    /// Time between signs of life.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.heartbeat_seconds)
    }

    /// Time between comparisons with VPP.
    pub fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(path: &std::path::Path) -> Result<Config, UplinkFileError> {
        let path = path.to_str().unwrap();
        Config::try_parse_from(["contiv-node", "--node-name", "n", "--uplink-file", path])
            .unwrap()
            .with_uplink_file()
    }

    #[test]
    fn an_uplink_file_says_what_the_options_say() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.json");
        assert_eq!(
            with_file(&path).unwrap().uplink_interface,
            None,
            "no file, no uplink"
        );
        std::fs::write(
            &path,
            r#"{"interface": "vpp0", "addresses": ["192.0.2.11/24", "2001:db8::11/64"], "gateways": ["192.0.2.1"]}"#,
        )
        .unwrap();
        let config = with_file(&path).unwrap();
        assert_eq!(config.uplink_interface.as_deref(), Some("vpp0"));
        assert_eq!(
            config.uplink_address,
            [
                "192.0.2.11/24".parse().unwrap(),
                "2001:db8::11/64".parse().unwrap()
            ]
        );
        assert_eq!(config.uplink_gateway, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        std::fs::write(&path, r#"{"interface": "vpp0", "address": "192.0.2.11"}"#).unwrap();
        let error = with_file(&path).unwrap_err().to_string();
        assert!(error.contains("n.json: unknown field `address`"), "{error}");
    }
}
