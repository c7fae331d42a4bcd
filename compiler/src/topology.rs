//! Nodes: who they are, which pod prefixes they have, and how they look to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::net::Cidr;
use crds::peer_slice::MAX_SLICE_PEERS;
use crds::vpp_config::NodeIdentity;
use crds::{Peer, VppConfigSpec, VppPeerSliceSpec};
use ipnet::IpNet;

use crate::cluster::Cluster;
use crate::facts::{Kind, Node, Problem};
use crate::output::{Compiled, Owner, PodPool, Settings};

/// Configurations that as yet hold nothing but the node's identity, and the peers.
#[derive(Debug, Default)]
pub struct Topology {
    /// By node name; revision still empty.
    pub configs: BTreeMap<String, Compiled<VppConfigSpec>>,
    /// By object name.
    pub peer_slices: BTreeMap<String, Compiled<VppPeerSliceSpec>>,
}

/// Gives every node its identity, and every other node's daemon the way to it.
pub fn compile(cluster: &Cluster, settings: &Settings, problems: &mut BTreeSet<Problem>) -> Topology {
    let mut topology = Topology::default();
    let mut taken: Vec<(Cidr, &Node)> = Vec::new();
    for node in cluster.nodes() {
        problems.extend(node.problems.iter().cloned());
        // No id is left only beyond 65,535 nodes.
        let Some(id) = cluster.node_id(&node.name) else {
            tell(problems, node, "NoNodeId", "the cluster has no free node id");
            continue;
        };
        let pod_cidrs = pod_cidrs(node, id, settings, problems);
        taken.extend(pod_cidrs.iter().map(|cidr| (*cidr, node)));

        let slice = usize::from(id) / MAX_SLICE_PEERS;
        let slice = topology
            .peer_slices
            .entry(format!("peers-{slice}"))
            .or_insert_with(|| Compiled {
                spec: VppPeerSliceSpec::default(),
                owner: None,
            });
        slice.spec.peers.push(Peer {
            node: node.name.clone(),
            id,
            addresses: node.addresses.clone(),
            pod_cidrs: pod_cidrs.clone(),
            tunnel_endpoints: cluster.tunnel_endpoints(&node.name).to_vec(),
        });
        let spec = VppConfigSpec {
            node: NodeIdentity {
                id,
                addresses: node.addresses.clone(),
                pod_cidrs,
                zone: node.zone.clone(),
            },
            transport: settings.transport.clone(),
            ..VppConfigSpec::default()
        };
        let owner = Some(Owner::new(Kind::NODE, &node.name, &node.uid));
        topology
            .configs
            .insert(node.name.clone(), Compiled { spec, owner });
    }
    tell_overlaps(taken, problems);
    for slice in topology.peer_slices.values_mut() {
        slice.spec.revision = crds::revision::short_hash(&slice.spec);
    }
    topology
}

fn tell(problems: &mut BTreeSet<Problem>, node: &Node, reason: &'static str, message: &str) {
    problems.insert(Problem {
        object: Kind::NODE.of_cluster(&node.name, &node.uid),
        reason,
        message: message.to_owned(),
    });
}

/// The node's own prefixes, or those its id has in the pools.
fn pod_cidrs(node: &Node, id: u16, settings: &Settings, problems: &mut BTreeSet<Problem>) -> Vec<Cidr> {
    if !node.pod_cidrs.is_empty() {
        return node.pod_cidrs.clone();
    }
    let mut carved = Vec::new();
    for pool in &settings.pod_pools {
        match carve(pool, id) {
            Some(cidr) => carved.push(cidr),
            None => {
                let message = format!(
                    "pool {} has no /{} for node id {id}: enlarge the pool or set spec.podCIDRs",
                    pool.cidr, pool.node_prefix_len
                );
                tell(problems, node, "PodCIDRPoolExhausted", &message);
            }
        }
    }
    if settings.pod_pools.is_empty() {
        let message = "the node has no spec.podCIDRs and the operator no pod prefix pool: set one";
        tell(problems, node, "NoPodCIDR", message);
    }
    carved.sort();
    carved
}

/// The prefix of node `id`, counted from 1, within a pool; `None` beyond its end.
pub fn carve(pool: &PodPool, id: u16) -> Option<Cidr> {
    let bits: u8 = if pool.cidr.is_ipv6() { 128 } else { 32 };
    let len = pool.node_prefix_len;
    let room = len.checked_sub(pool.cidr.prefix_len())?;
    let index = u128::from(id.checked_sub(1)?);
    if len > bits || (room < 16 && index >> room != 0) {
        return None;
    }
    // A /0 node prefix is the pool itself, and a shift by all bits is not a shift.
    let offset = if len == 0 { 0 } else { index << (bits - len) };
    let address = match pool.cidr.network() {
        IpAddr::V4(base) => {
            let sum = u128::from(u32::from(base)) + offset;
            IpAddr::V4(Ipv4Addr::from(u32::try_from(sum).ok()?))
        }
        IpAddr::V6(base) => IpAddr::V6(Ipv6Addr::from(u128::from(base) + offset)),
    };
    IpNet::new(address, len).ok().map(Cidr::from)
}

/// Two prefixes are disjoint or one holds the other, so in sorted order an overlapping prefix
/// follows one that holds it.
fn tell_overlaps(mut taken: Vec<(Cidr, &Node)>, problems: &mut BTreeSet<Problem>) {
    taken.sort_by_key(|(cidr, node)| (cidr.network(), cidr.prefix_len(), &node.name));
    let mut last: Option<(Cidr, &Node)> = None;
    for (cidr, node) in taken {
        match last {
            Some((holder, owner)) if holder.contains(cidr.network()) => {
                let message = format!(
                    "pod prefix {cidr} overlaps {holder} of node {}: change spec.podCIDRs of one \
                     of them, or the operator's pod prefix pools",
                    owner.name
                );
                tell(problems, node, "PodCIDROverlap", &message);
            }
            _ => last = Some((cidr, node)),
        }
    }
}
