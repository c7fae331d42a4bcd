//! The network that the nodes stand on: a bridge in a namespace of its own.
//!
//! Nothing of a run appears in the root namespace but names under `/run/netns` and listeners on
//! loopback, so runs can't collide with each other or with the machine's own network, and may all use
//! the same addresses. The API server listens on the root namespace's loopback; a relay with its
//! listening side on the bridge's address lets the nodes reach it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};

use crate::assets;
use crate::netns::Namespace;
use crate::process::{Process, Program};
use crate::run::Run;

const BRIDGE: &str = "br0";
/// The bridge's own address, where nodes find the API server.
pub const GATEWAY4: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
/// The same for IPv6.
pub const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, 1);

/// The bridge, and the relay to the API server.
#[derive(Debug)]
pub struct Underlay {
    namespace: Namespace,
    relay: Option<Process>,
}

/// Addresses of one node, by its number from 1. All nodes share one link.
#[derive(Clone, Copy, Debug)]
pub struct NodeAddresses {
    number: u8,
}

impl NodeAddresses {
    /// Addresses of node `number`, from 1 to 200.
    pub fn new(number: u8) -> Self {
        Self { number }
    }

    /// Address of the node's own NIC.
    pub fn host4(self) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, 0, 10 + self.number)
    }

    /// The same for IPv6.
    pub fn host6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, 0x10 + u16::from(self.number))
    }

    /// Address of VPP's uplink; another subnet than the host's, as on machines with a NIC for data.
    pub fn vpp4(self) -> Ipv4Addr {
        Ipv4Addr::new(172, 31, 0, 10 + self.number)
    }

    /// The same for IPv6.
    pub fn vpp6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x172, 0x31, 0, 0, 0, 0, 0x10 + u16::from(self.number))
    }

    /// The node's pod prefixes, IPv4 first.
    pub fn pod_cidrs(self) -> [String; 2] {
        [
            format!("10.1.{}.0/24", self.number),
            format!("fd00:10:1:{:x}::/64", self.number),
        ]
    }
}

impl Underlay {
    /// Makes the bridge.
    pub fn create(run: &Run) -> Result<Self> {
        let namespace = Namespace::create(&run.netns("net"))?;
        namespace.ip_batch(&format!(
            "link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0\n\
             link set {BRIDGE} up\n\
             address add {GATEWAY4}/24 dev {BRIDGE}\n\
             address add {GATEWAY6}/64 dev {BRIDGE} nodad\n"
        ))?;
        Ok(Self {
            namespace,
            relay: None,
        })
    }

    /// The namespace of the bridge.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Lets nodes reach the API server at `port` on the bridge's addresses.
    pub fn relay(&mut self, run: &Run, port: u16) -> Result<()> {
        let program = Program::new("relay", assets::own("contiv-e2e")?)
            .arg("relay")
            .option("--netns", self.namespace.path())
            .option(
                "--listen",
                SocketAddr::new(IpAddr::V4(GATEWAY4), port).to_string(),
            )
            .option(
                "--listen",
                SocketAddr::new(IpAddr::V6(GATEWAY6), port).to_string(),
            )
            .option(
                "--to",
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port).to_string(),
            );
        self.relay = Some(Process::start(run, program)?);
        Ok(())
    }

    /// Plugs a node in: its namespace gets `eth0` with the host's addresses and a bare `vpp0` for VPP.
    pub fn plug(&self, node: &Namespace, addresses: NodeAddresses) -> Result<()> {
        let (number, peer) = (addresses.number, node.name());
        self.namespace
            .ip_batch(&format!(
                "link add h{number} type veth peer name eth0 netns {peer}\n\
                 link add v{number} type veth peer name vpp0 netns {peer}\n\
                 link set h{number} master {BRIDGE} up\n\
                 link set v{number} master {BRIDGE} up\n"
            ))
            .context("plugging a node into the underlay")?;
        node.ip_batch(&format!(
            "link set eth0 up\n\
             link set vpp0 up\n\
             address add {}/24 dev eth0\n\
             address add {}/64 dev eth0 nodad\n\
             route add default via {GATEWAY4}\n",
            addresses.host4(),
            addresses.host6(),
        ))?;
        Ok(())
    }

    /// Leaves the bridge and the relay when this value is dropped.
    pub fn leave(&mut self) {
        self.namespace.leave();
        if let Some(relay) = self.relay.as_mut() {
            relay.leave();
        }
    }
}
