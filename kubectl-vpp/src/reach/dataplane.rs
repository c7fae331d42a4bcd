//! The cluster in the embedded dataplane: one engine per node, filled by the daemon's own code.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use compiler::{Cluster, ObjectKey, Output, Settings, compile};
use crds::net::Cidr;
use node_daemon::addressing::node_mac;
use node_daemon::cluster::{Cluster as Shared, object_key};
use node_daemon::desired::Origins;
use node_daemon::objects::{Translation, Vip};
use vpp_api::types::MacAddress;
use vpp_sim::engine::{Mac, Neighbor, Vpp};

use super::kernel::Kernel;
use super::objects::Objects;
use super::{fill, invent};

/// Hardware address of the underlay's routers.
pub const ROUTER_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);

/// Where a pod hangs on its node's dataplane.
#[derive(Clone, Debug)]
pub struct Port {
    /// Place of the node in [`Dataplane::nodes`].
    pub node: usize,
    /// `sw_if_index`.
    pub interface: u32,
    /// Hardware address of the pod's end.
    pub pod_mac: MacAddress,
    /// Hardware address of VPP's end.
    pub vpp_mac: MacAddress,
}

/// What an interface leads to.
#[derive(Clone, Debug)]
pub enum Plug {
    /// The wire between nodes.
    Underlay,
    /// The node's own network.
    Host,
    /// A pod's `eth0`.
    Pod(ObjectKey),
    /// A function, which sends on by this port what it gets here.
    Function(Port),
}

/// One node's dataplane.
#[derive(Debug)]
pub struct Node {
    /// Name of the Node.
    pub name: String,
    /// Its tables.
    pub engine: Vpp,
    /// The node's addresses.
    pub addresses: Vec<IpAddr>,
    /// Interface towards the other nodes.
    pub uplink: u32,
    /// Interface towards the node itself.
    pub host: u32,
    /// What is behind its interfaces.
    pub plugs: HashMap<u32, Plug>,
    /// Backends of Services as this node's VPP balances them.
    pub services: BTreeMap<Vip, Translation>,
    /// The node's kernel.
    pub kernel: Kernel,
    /// Families (IPv4, IPv6) whose traffic with the world passes VPP's uplink instead of the kernel.
    pub faces: [bool; 2],
    /// Where the rules of ACLs of the Admin and Baseline tiers come from, by tag.
    pub origins: BTreeMap<String, Origins>,
}

impl Node {
    /// Whether traffic of a family with the world passes VPP's uplink instead of the kernel.
    pub fn faces_world(&self, ipv6: bool) -> bool {
        self.faces[usize::from(ipv6)]
    }
}

/// The whole cluster.
#[derive(Debug)]
pub struct Dataplane {
    /// Nodes by name.
    pub nodes: Vec<Node>,
    /// Pods' interfaces.
    pub ports: BTreeMap<ObjectKey, Port>,
    /// Pods by their addresses.
    pub pods: HashMap<IpAddr, ObjectKey>,
    /// Nodes by the addresses of their uplinks.
    pub endpoints: HashMap<IpAddr, usize>,
    /// The facts.
    pub cluster: Cluster,
    /// What they were compiled to.
    pub output: Output,
    /// Nanoseconds on the cluster's clock.
    pub now: u64,
}

/// A dataplane could not be made as planned: the answers would be of something else.
#[derive(Debug, thiserror::Error)]
#[error("node {node}: {message}")]
pub struct Error {
    /// The node.
    pub node: String,
    /// What was refused.
    pub message: String,
}

impl Dataplane {
    /// Compiles the objects, plans every node and fills its engine.
    ///
    /// # Errors
    /// If something that was planned was refused.
    pub fn build(objects: Objects) -> Result<Self, Error> {
        let mut cluster = Cluster::new();
        let names: Vec<String> = objects.nodes.keys().cloned().collect();
        for n in objects.nodes.into_values() {
            cluster.upsert_node(n);
        }
        for n in objects.namespaces.into_values() {
            cluster.upsert_namespace(n);
        }
        for p in objects.pods.into_values() {
            cluster.upsert_pod(p);
        }
        for p in objects.policies.into_values() {
            cluster.upsert_policy(p);
        }
        for p in objects.cluster_policies.into_values() {
            cluster.upsert_cluster_policy(p);
        }
        for (s, _) in objects.services.into_values() {
            cluster.upsert_service(s);
        }
        for s in objects.endpoint_slices.into_values() {
            cluster.upsert_endpoint_slice(s);
        }
        for c in objects.chains.into_values() {
            cluster.upsert_chain(c);
        }
        for c in objects.cnfs.into_values() {
            cluster.upsert_cnf(c);
        }
        for (number, name) in (0..).zip(&names) {
            cluster.set_tunnel_endpoints(name, invent::underlay(number).map(|(a, _)| a).to_vec());
        }
        let mut output = compile(&cluster, &Settings::default());
        route_strays(&cluster, &mut output);
        let shared = share(&output);
        let nodes = fill::all(&names, &cluster, &output, &shared)?;
        let mut dataplane = Self {
            nodes: Vec::new(),
            ports: BTreeMap::new(),
            pods: HashMap::new(),
            endpoints: HashMap::new(),
            cluster,
            output,
            now: 0,
        };
        for (index, (node, ports)) in nodes.into_iter().enumerate() {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let own = invent::underlay(number);
            dataplane
                .endpoints
                .extend(own.map(|(address, _)| (address, index)));
            dataplane.nodes.push(node);
            dataplane.ports.extend(ports);
        }
        let bound = dataplane
            .cluster
            .pods()
            .filter(|pod| dataplane.ports.contains_key(&pod.key()));
        dataplane.pods = bound
            .flat_map(|pod| pod.ips.iter().map(|ip| (*ip, pod.key())))
            .collect();
        dataplane.meet_neighbours();
        Ok(dataplane)
    }

    /// Nodes and routers of the underlay know each other's hardware addresses, as after their first ARP.
    fn meet_neighbours(&mut self) {
        let mut known: Vec<(IpAddr, MacAddress)> = invent::routers().map(|r| (r, ROUTER_MAC)).to_vec();
        let endpoints = self.endpoints.iter();
        known.extend(endpoints.map(|(ip, &node)| (*ip, node_mac(&self.nodes[node].name, "uplink"))));
        for (number, node) in self.nodes.iter_mut().enumerate() {
            for &(address, mac) in &known {
                if self.endpoints.get(&address) == Some(&number) {
                    continue;
                }
                // Refused only for interfaces that are not there.
                let _ = node.engine.neighbor_add(Neighbor {
                    sw_if_index: node.uplink,
                    address,
                    mac: Mac(mac.0),
                    is_static: true,
                    no_fib_entry: false,
                    updated: 0,
                });
            }
        }
    }

    /// The node that has this address.
    pub fn owner(&self, ip: IpAddr) -> Option<usize> {
        self.nodes.iter().position(|node| node.addresses.contains(&ip))
    }

    /// The place of a node.
    pub fn node(&self, name: &str) -> Option<usize> {
        self.nodes
            .binary_search_by(|node| node.name.as_str().cmp(name))
            .ok()
    }
}

/// A pod whose given address is outside of its node's prefixes is told to the other nodes on its own.
fn route_strays(cluster: &Cluster, output: &mut Output) {
    let mut strays: BTreeMap<&str, Vec<Cidr>> = BTreeMap::new();
    for pod in cluster.pods().filter(|pod| pod.selectable()) {
        let Some(config) = pod.node.as_deref().and_then(|node| output.configs.get(node)) else {
            continue;
        };
        for &ip in &pod.ips {
            if !config.spec.node.pod_cidrs.iter().any(|cidr| cidr.contains(ip)) {
                let node = pod.node.as_deref().unwrap_or_default();
                strays.entry(node).or_default().push(Cidr::host(ip));
            }
        }
    }
    for peer in output
        .peer_slices
        .values_mut()
        .flat_map(|slice| &mut slice.spec.peers)
    {
        if let Some(strays) = strays.get(peer.node.as_str()) {
            peer.pod_cidrs.extend(strays);
        }
    }
}

/// What every daemon sees of the compiled objects.
fn share(output: &Output) -> Shared {
    let key = |key: &ObjectKey| object_key(&key.namespace, &key.name);
    Shared {
        policies: output
            .policies
            .iter()
            .map(|(k, c)| (key(k), c.spec.clone()))
            .collect(),
        sets: output
            .sets
            .iter()
            .map(|(k, c)| (key(k), c.spec.clone()))
            .collect(),
        services: output
            .service_slices
            .iter()
            .map(|(k, c)| (key(k), c.spec.clone().into()))
            .collect(),
        peers: output
            .peer_slices
            .iter()
            .map(|(k, c)| (k.clone(), c.spec.clone()))
            .collect(),
    }
}
