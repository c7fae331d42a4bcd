//! What happened to one packet: the nodes it passed, in VPP's names, and its end.
use std::fmt;

use super::Output;

/// One node of the graph and what it did, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceNode {
    pub node: String,
    pub text: String,
}

/// The end of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Left on this interface (the outermost one, for tunnels).
    Transmitted { sw_if_index: u32 },
    /// Lost in a node.
    Dropped { node: String, reason: String },
    /// Refused with an ICMP error to the sender.
    Rejected {
        node: String,
        reason: String,
        icmp_type: u8,
        icmp_code: u8,
    },
    /// Taken by VPP itself (echo, ARP, neighbour discovery, own address).
    Local { node: String, what: String },
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transmitted { sw_if_index } => {
                write!(f, "transmitted on interface {sw_if_index}")
            }
            Self::Dropped { node, reason } => write!(f, "dropped in {node}: {reason}"),
            Self::Rejected { node, reason, .. } => write!(f, "rejected in {node}: {reason}"),
            Self::Local { node, what } => write!(f, "delivered to {node}: {what}"),
        }
    }
}

/// The walk of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    pub nodes: Vec<TraceNode>,
    pub fate: Fate,
    /// Frames that leave because of it (its own, an answer, an ARP request).
    pub outputs: Vec<Output>,
}

impl Trace {
    /// Names of the nodes in order.
    pub fn path(&self) -> Vec<&str> {
        self.nodes.iter().map(|n| n.node.as_str()).collect()
    }

    /// Whether the packet passed a node.
    pub fn passed(&self, node: &str) -> bool {
        self.nodes.iter().any(|n| n.node == node)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for node in &self.nodes {
            writeln!(f, "{}", node.node)?;
            if !node.text.is_empty() {
                writeln!(f, "  {}", node.text)?;
            }
        }
        write!(f, "{}", self.fate)
    }
}
