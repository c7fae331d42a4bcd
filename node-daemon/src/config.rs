//! What the daemon is told at its start.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use ipnet::IpNet;

use crate::desired::{ListedPods, Local, Uplink};

/// The one owner of VPP on its node.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "contiv-node",
    version,
    after_help = "contiv-node cleanup takes back the routes and the nftables table on this node, for when the network is uninstalled."
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
    /// Socket on which the CNI shim is served.
    #[arg(long, default_value = "/run/contiv/cni.sock")]
    pub cni_socket: PathBuf,
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
    /// Name of the node's own tap to VPP; empty for none.
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

impl Config {
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
            abf: true,
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
