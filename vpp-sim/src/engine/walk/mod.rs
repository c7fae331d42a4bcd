//! The walk of a packet through the graph. One code path for real traffic and for traces; what a
//! node writes into a trace is made only when a trace is wanted.
mod bridge;
mod error;
mod input;
mod ipip;
mod ipsec;
mod l2;
mod link;
mod local;
mod nat44;
mod output;
mod policer;
mod punt;
mod srv6;
mod urpf;
mod wireguard;

use super::cnat::Meta;
use super::packet::ip::Ip;
use super::packet::{ETHERNET_LEN, ETHERTYPE_ARP, ETHERTYPE_IP4, ETHERTYPE_IP6, Ethernet};
use super::types::Family;
use super::{Fate, Output, Trace, TraceNode, Vpp};

/// Tunnels within tunnels end here, as a loop would.
const MAX_DEPTH: u8 = 16;

/// What one received frame causes.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    now: u64,
    outputs: Vec<Output>,
    nodes: Option<Vec<TraceNode>>,
    fate: Option<Fate>,
    depth: u8,
    /// Next hop of the packet that is being rewritten: which peer of a multipoint tunnel it is for.
    next_hop: Option<std::net::IpAddr>,
}

impl Walk {
    fn new(now: u64, traced: bool) -> Self {
        Self {
            now,
            nodes: traced.then(Vec::new),
            ..Self::default()
        }
    }

    /// Notes that the packet passed a node.
    fn node(&mut self, node: impl std::fmt::Display, text: impl FnOnce() -> String) {
        if let Some(nodes) = &mut self.nodes {
            nodes.push(TraceNode {
                node: node.to_string(),
                text: text(),
            });
        }
    }

    /// The end of the packet that was received; what it causes later does not change it.
    fn settle(&mut self, fate: impl FnOnce() -> Fate) {
        if self.fate.is_none() {
            self.fate = Some(fate());
        }
    }
}

/// An IP packet on its way, without Ethernet header.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    data: Vec<u8>,
    /// Interface it was received on; 0 = VPP's own.
    rx: u32,
    /// Table to look it up in, when not that of `rx`.
    table: Option<u32>,
    cnat: Meta,
    /// VPP made it: its TTL is not decremented.
    local: bool,
    /// MAC of the sender, for answers on the link.
    from: Option<super::Mac>,
}

impl Packet {
    fn new(data: Vec<u8>, rx: u32) -> Self {
        Self {
            data,
            rx,
            table: None,
            cnat: Meta::default(),
            local: false,
            from: None,
        }
    }

    /// A packet made by VPP, to be looked up in a table.
    fn own(data: Vec<u8>, rx: u32, table: u32) -> Self {
        Self {
            table: Some(table),
            local: true,
            ..Self::new(data, rx)
        }
    }
}

impl Vpp {
    /// A frame received on an interface: the frames to send because of it.
    ///
    /// `now` is in nanoseconds on the caller's monotonic clock. Checksums in the frame must be complete.
    pub fn rx(&mut self, sw_if_index: u32, frame: &[u8], now: u64) -> Vec<Output> {
        let mut walk = Walk::new(now, false);
        self.receive(&mut walk, sw_if_index, frame);
        walk.outputs
    }

    /// As [`Self::rx`], with the story of the packet. It changes state (sessions, neighbours) just as
    /// real traffic does; clone the engine first to leave it as it is.
    pub fn walk(&mut self, sw_if_index: u32, frame: &[u8], now: u64) -> Trace {
        let mut walk = Walk::new(now, true);
        self.receive(&mut walk, sw_if_index, frame);
        Trace {
            nodes: walk.nodes.unwrap_or_default(),
            fate: walk.fate.unwrap_or(Fate::Dropped {
                node: "error-drop".to_owned(),
                reason: "no node took the packet".to_owned(),
            }),
            outputs: walk.outputs,
        }
    }

    /// An IP packet that VPP itself sends (an echo request of the CLI, for instance).
    pub fn send_local(&mut self, table_id: u32, packet: &[u8], now: u64) -> Trace {
        let mut walk = Walk::new(now, true);
        match Ip::parse(packet) {
            Ok(ip) => self.ip_lookup(&mut walk, ip.family, Packet::own(packet.to_vec(), 0, table_id)),
            Err(reason) => self.drop_packet(&mut walk, 0, "ip-input", reason),
        }
        Trace {
            nodes: walk.nodes.unwrap_or_default(),
            fate: walk.fate.unwrap_or(Fate::Dropped {
                node: "error-drop".to_owned(),
                reason: "no node took the packet".to_owned(),
            }),
            outputs: walk.outputs,
        }
    }

    fn receive(&mut self, w: &mut Walk, rx: u32, frame: &[u8]) {
        let Some(interface) = self.interfaces.get_mut(rx) else {
            w.settle(|| Fate::Dropped {
                node: "device-input".to_owned(),
                reason: format!("no interface {rx}"),
            });
            return;
        };
        if !interface.admin_up {
            self.drop_packet(w, rx, "device-input", "interface is down");
            return;
        }
        interface.counters.rx_packets += 1;
        interface.counters.rx_bytes += frame.len() as u64;
        if interface.is_ethernet() {
            let name = &interface.name;
            w.node("ethernet-input", || format!("{name} {} bytes", frame.len()));
            self.ethernet_input(w, rx, frame);
        } else {
            self.ip_by_version(w, Packet::new(frame.to_vec(), rx));
        }
    }

    fn ip_by_version(&mut self, w: &mut Walk, packet: Packet) {
        match packet.data.first().map(|b| b >> 4) {
            Some(4) => self.ip_input(w, Family::V4, packet),
            Some(6) => self.ip_input(w, Family::V6, packet),
            _ => self.drop_packet(w, packet.rx, "ip-input", "ip version is neither 4 nor 6"),
        }
    }

    /// A frame on an Ethernet interface, also one that came out of an L2 tunnel.
    fn ethernet_input(&mut self, w: &mut Walk, rx: u32, frame: &[u8]) {
        let Some(ethernet) = Ethernet::parse(frame) else {
            self.drop_packet(w, rx, "ethernet-input", "frame is too short");
            return;
        };
        if let Some(policy) = self.srv6.steered_frames(rx) {
            self.sr_encap_frame(w, rx, policy, frame);
            return;
        }
        if let Some(tx) = self.l2.xconnect(rx) {
            self.l2_xconnect(w, rx, tx, frame, &ethernet);
            return;
        }
        if let Some(port) = self.bridges.port(rx) {
            self.bridge(w, rx, port, frame, &ethernet, false);
            return;
        }
        let Some(interface) = self.interfaces.get(rx) else {
            return;
        };
        if matches!(interface.kind, super::Kind::Vxlan { .. }) {
            // An L2 tunnel drops until it is cross-connected or bridged.
            self.drop_packet(w, rx, "l2-input", "L2 tunnel without cross-connect");
            return;
        }
        if !ethernet.dst.is_multicast() && ethernet.dst != interface.mac {
            self.drop_packet(w, rx, "ethernet-input", "l3 mac mismatch");
            return;
        }
        self.layer3_input(w, rx, frame, &ethernet);
    }

    /// To the node of the frame's protocol.
    fn layer3_input(&mut self, w: &mut Walk, rx: u32, frame: &[u8], ethernet: &Ethernet) {
        let payload = frame[ETHERNET_LEN..].to_vec();
        let mut packet = Packet::new(payload, rx);
        packet.from = Some(ethernet.src);
        match ethernet.ethertype {
            ETHERTYPE_IP4 => self.ip_input(w, Family::V4, packet),
            ETHERTYPE_IP6 => self.ip_input(w, Family::V6, packet),
            ETHERTYPE_ARP => self.arp_input(w, rx, ethernet, &packet.data),
            _ => self.drop_packet(w, rx, "ethernet-input", "unknown ethernet type"),
        }
    }

    fn drop_packet(&mut self, w: &mut Walk, rx: u32, node: &str, reason: &str) {
        if let Some(interface) = self.interfaces.get_mut(rx) {
            interface.counters.drops += 1;
        }
        self.errors.count(node, reason);
        w.node("error-drop", || format!("{node}: {reason}"));
        w.settle(|| Fate::Dropped {
            node: node.to_owned(),
            reason: reason.to_owned(),
        });
    }
}
