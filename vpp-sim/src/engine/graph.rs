//! The nodes of the graph by index, and the arcs that were added to it.
//!
//! Nodes that VPP has and nothing here passes are not known. Of the arcs the graph is built with only those of the VXLAN
//! input nodes are: others are numbered from 0 as they are added.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::Vpp;
use super::interface::Kind;
use super::types::{OpError, OpResult, retval};

/// Nodes of the graph, by index.
const NODES: &[&str] = &[
    "null-node",
    "error-drop",
    "drop",
    "error-punt",
    "punt",
    "af-packet-input",
    "af_xdp-input",
    "memif-input",
    "virtio-input",
    "ethernet-input",
    "arp-input",
    "arp-reply",
    "arp-disabled",
    "interface-output",
    "tunnel-output",
    "adj-midchain-tx",
    "ip4-input",
    "ip4-not-enabled",
    "ip4-lookup",
    "ip4-local",
    "ip4-icmp-input",
    "ip4-icmp-echo-request",
    "ip4-icmp-error",
    "ip4-udp-lookup",
    "ip4-arp",
    "ip4-glean",
    "ip4-rewrite",
    "ip4-midchain",
    "ip4-frag",
    "ip4-drop",
    "ip4-null",
    "ip4-punt",
    "ip4-punt-policer",
    "ip4-punt-redirect",
    "ip4-pmtu-dpo",
    "ip4-mfib-forward-lookup",
    "ip6-input",
    "ip6-not-enabled",
    "ip6-lookup",
    "ip6-local",
    "ip6-icmp-input",
    "ip6-icmp-echo-request",
    "ip6-icmp-error",
    "ip6-udp-lookup",
    "ip6-discover-neighbor",
    "icmp6-neighbor-solicitation",
    "icmp6-neighbor-advertisement",
    "ip6-glean",
    "ip6-rewrite",
    "ip6-midchain",
    "ip6-frag",
    "ip6-drop",
    "ip6-null",
    "ip6-punt",
    "ip6-punt-policer",
    "ip6-punt-redirect",
    "ip6-pmtu-dpo",
    "ip6-mfib-forward-lookup",
    "ip6-mfib-forward-rpf",
    "l2-input",
    "l2-learn",
    "l2-fwd",
    "l2-flood",
    "l2-uu-fwd",
    "l2-output",
    "feature-bitmap-drop",
    "acl-plugin-in-ip4-fa",
    "acl-plugin-in-ip6-fa",
    "acl-plugin-out-ip4-fa",
    "acl-plugin-out-ip6-fa",
    "acl-plugin-in-ip4-l2",
    "acl-plugin-in-ip6-l2",
    "acl-plugin-out-ip4-l2",
    "acl-plugin-out-ip6-l2",
    "abf-input-ip4",
    "abf-input-ip6",
    "l3xc-input-ip4",
    "l3xc-input-ip6",
    "cnat-input-ip4",
    "cnat-input-ip6",
    "cnat-lookup-ip4",
    "cnat-lookup-ip6",
    "cnat-output-ip4",
    "cnat-output-ip6",
    "cnat-writeback-ip4",
    "cnat-writeback-ip6",
    "ip4-cnat-tx",
    "ip6-cnat-tx",
    "nat-pre-in2out",
    "nat-pre-out2in",
    "nat-pre-in2out-output",
    "nat44-ed-classify",
    "nat44-ed-in2out",
    "nat44-ed-in2out-output",
    "nat44-ed-out2in",
    "policer-input",
    "policer-output",
    "ip4-rx-urpf-loose",
    "ip4-rx-urpf-strict",
    "ip4-tx-urpf-loose",
    "ip4-tx-urpf-strict",
    "ip6-rx-urpf-loose",
    "ip6-rx-urpf-strict",
    "ip6-tx-urpf-loose",
    "ip6-tx-urpf-strict",
    "trace-filtering",
    "pcap-filtering",
    "vxlan4-input",
    "vxlan4-encap",
    "vxlan6-input",
    "vxlan6-encap",
    "ipip4-input",
    "ipip6-input",
    "ipsec4-tun-input",
    "ipsec6-tun-input",
    "sr-localsid",
    "sr-localsid-d",
    "sr-localsid-un",
    "sr-localsid-un-perf",
    "sr-pl-rewrite-encaps",
    "sr-pl-rewrite-encaps-v4",
    "sr-pl-rewrite-encaps-l2",
    "sr-pl-rewrite-insert",
    "sr-pl-rewrite-b-encaps",
    "sr-pl-rewrite-b-insert",
    "wg4-input",
    "wg6-input",
    "wg4-output-tun",
    "wg6-output-tun",
];

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphNode {
    pub index: u32,
    pub name: String,
    /// Whether a trace may begin here (`VLIB_NODE_FLAG_TRACE_SUPPORTED`).
    pub is_input: bool,
    /// Indices of the next nodes.
    pub nexts: Vec<u32>,
}

/// Nodes by name and the arcs between them.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    names: Vec<String>,
    by_name: BTreeMap<String, u32>,
    /// Next nodes by node.
    nexts: BTreeMap<u32, Vec<u32>>,
    /// Indices of nodes whose interfaces are gone, for the next ones.
    free: Vec<u32>,
}

impl Default for Graph {
    fn default() -> Self {
        let mut graph = Self {
            names: Vec::new(),
            by_name: BTreeMap::new(),
            nexts: BTreeMap::new(),
            free: Vec::new(),
        };
        for node in NODES {
            graph.add(node);
        }
        for input in ["vxlan4-input", "vxlan6-input"] {
            let own = ["error-drop", "l2-input"].map(|next| graph.by_name[next]);
            let input = graph.by_name[input];
            graph.nexts.insert(input, own.to_vec());
        }
        graph
    }
}

impl Graph {
    fn add(&mut self, name: &str) {
        let index = match self.free.pop() {
            Some(index) => {
                self.names[index as usize] = name.to_owned();
                index
            }
            None => {
                self.names.push(name.to_owned());
                self.names.len() as u32 - 1
            }
        };
        self.by_name.insert(name.to_owned(), index);
    }

    /// Nodes of a new interface.
    pub fn interface_added(&mut self, name: &str) {
        self.add(&format!("{name}-output"));
        self.add(&format!("{name}-tx"));
    }

    /// The nodes go with the interface.
    pub fn interface_gone(&mut self, name: &str) {
        for node in [format!("{name}-tx"), format!("{name}-output")] {
            if let Some(index) = self.by_name.remove(&node) {
                self.names[index as usize].clear();
                self.nexts.remove(&index);
                self.free.push(index);
            }
        }
    }

    pub fn index(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The name of a next node of a node.
    pub fn next_name(&self, node: &str, next_index: u32) -> Option<&str> {
        let nexts = self.nexts.get(&self.index(node)?)?;
        let next = nexts.get(next_index as usize)?;
        self.names.get(*next as usize).map(String::as_str)
    }
}

/// Whether traces begin at a node: those of devices.
fn is_input(name: &str) -> bool {
    matches!(
        name,
        "af-packet-input" | "af_xdp-input" | "memif-input" | "virtio-input"
    )
}

impl Kind {
    /// The node by which packets come in from a device.
    #[must_use]
    pub fn input_node(&self) -> &'static str {
        match self {
            Self::Tap(_) => "virtio-input",
            Self::AfPacket { .. } => "af-packet-input",
            Self::AfXdp { .. } => "af_xdp-input",
            Self::Memif(_) => "memif-input",
            _ => "ethernet-input",
        }
    }
}

impl Vpp {
    /// All nodes.
    pub fn graph_nodes(&self) -> Vec<GraphNode> {
        let all = self.graph.names.iter().zip(0..);
        all.filter(|(name, _)| !name.is_empty())
            .map(|(name, index)| GraphNode {
                index,
                name: name.clone(),
                is_input: is_input(name),
                nexts: self.graph.nexts.get(&index).cloned().unwrap_or_default(),
            })
            .collect()
    }

    /// The node of an index.
    pub fn graph_node(&self, index: u32) -> Option<&str> {
        let name = self.graph.names.get(index as usize)?;
        (!name.is_empty()).then_some(name.as_str())
    }

    /// `get_node_index`.
    ///
    /// # Errors
    /// −63 unknown node.
    pub fn node_index(&self, node: &str) -> OpResult<u32> {
        let index = self.graph.index(node);
        index.ok_or(OpError::Retval(retval::NO_SUCH_NODE))
    }

    fn ends(&self, node: &str, next: &str) -> OpResult<(u32, u32)> {
        let node = self.node_index(node)?;
        let next = self.graph.index(next);
        Ok((node, next.ok_or(OpError::Retval(retval::NO_SUCH_NODE2))?))
    }

    /// `add_node_next`: the index of `next` among the nexts of `node`, added if need be.
    ///
    /// # Errors
    /// −63 unknown node, −64 unknown next.
    pub fn add_node_next(&mut self, node: &str, next: &str) -> OpResult<u32> {
        let (node, next) = self.ends(node, next)?;
        let nexts = Arc::make_mut(&mut self.graph).nexts.entry(node).or_default();
        let at = nexts.iter().position(|known| *known == next);
        let at = at.unwrap_or_else(|| {
            nexts.push(next);
            nexts.len() - 1
        });
        Ok(at as u32)
    }

    /// `get_next_index`.
    ///
    /// # Errors
    /// −63 unknown node, −64 unknown next, −6 no arc between them.
    pub fn next_index(&self, node: &str, next: &str) -> OpResult<u32> {
        let (node, next) = self.ends(node, next)?;
        let nexts = self.graph.nexts.get(&node).map_or(&[][..], Vec::as_slice);
        let at = nexts.iter().position(|known| *known == next);
        Ok(at.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))? as u32)
    }
}
