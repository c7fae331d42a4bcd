//! Packets on their way: out of a pod, through nodes and functions, to where they end.

use std::collections::VecDeque;
use std::net::IpAddr;

use compiler::ObjectKey;
use node_daemon::addressing::node_mac;
use vpp_api::types::MacAddress;
use vpp_sim::engine::{Fate, Output, Trace};

use super::dataplane::{Dataplane, Plug, ROUTER_MAC};
use super::packet::{self, Packet};

/// Nodes and functions that a packet may pass: beyond, it runs in circles.
const MAX_STAGES: usize = 64;

/// Longer than any session lives.
const LONG_AFTER: u64 = 4_000 * 1_000_000_000;

/// Where a packet enters the dataplane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A pod sends it.
    Pod(ObjectKey),
    /// A node itself sends it.
    Host(usize),
    /// It comes from outside of the cluster and meets this node first.
    Outside(usize),
}

/// Where a packet ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// A pod has it.
    Pod(ObjectKey),
    /// A node itself has it.
    Host(usize),
    /// It leaves the cluster.
    Outside,
    /// It is refused with an ICMP message.
    Rejected(String),
    /// It is lost.
    Dropped(String),
}

/// A packet's walk through one node's dataplane.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The node.
    pub node: usize,
    /// Interface by which it came.
    pub interface: u32,
    /// What happened.
    pub trace: Trace,
}

/// A packet's whole way.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Nodes in order; a node twice where a function was passed.
    pub stages: Vec<Stage>,
    /// The end.
    pub end: End,
    /// The packet as it arrived.
    pub arrived: Option<Packet>,
}

impl Dataplane {
    /// Sends a packet from an entry.
    pub fn send(&mut self, from: &Entry, packet: &Packet) -> Journey {
        let (node, interface, macs) = match from {
            Entry::Pod(key) => {
                let Some(port) = self.ports.get(key) else {
                    return lost(format!("pod {key} has no network"));
                };
                (port.node, port.interface, (port.pod_mac, port.vpp_mac))
            }
            &Entry::Host(node) => {
                let name = &self.nodes[node].name;
                let macs = (node_mac(name, "host side"), node_mac(name, "host"));
                (node, self.nodes[node].host, macs)
            }
            &Entry::Outside(node) => {
                let macs = (ROUTER_MAC, node_mac(&self.nodes[node].name, "uplink"));
                (node, self.nodes[node].uplink, macs)
            }
        };
        self.follow(node, interface, packet.frame(macs.0, macs.1))
    }

    fn follow(&mut self, node: usize, interface: u32, frame: Vec<u8>) -> Journey {
        let mut stages: Vec<Stage> = Vec::new();
        let mut queue = VecDeque::from([(node, interface, frame)]);
        let mut end = None;
        let mut arrived = None;
        while let Some((node, interface, frame)) = queue.pop_front() {
            if stages.len() == MAX_STAGES {
                end = Some(End::Dropped("it runs in circles".to_owned()));
                break;
            }
            self.now += 1_000;
            let trace = self.nodes[node].engine.walk(interface, &frame, self.now);
            match &trace.fate {
                Fate::Transmitted { sw_if_index } => {
                    let out = trace.outputs.iter().find(|out| out.sw_if_index == *sw_if_index);
                    match out.map(|out| self.beyond(node, out)) {
                        Some(Next::Walk(node, interface, frame)) => queue.push_back((node, interface, frame)),
                        Some(Next::End(at)) => {
                            arrived = out.and_then(|out| Packet::parse(&out.frame));
                            end = Some(at);
                        }
                        None => end = Some(End::Dropped("nothing was sent".to_owned())),
                    }
                }
                fate @ Fate::Rejected { .. } => end = Some(End::Rejected(fate.to_string())),
                fate @ Fate::Dropped { .. } => end = Some(End::Dropped(fate.to_string())),
                Fate::Local { node: by, what } => {
                    end = Some(End::Dropped(format!("VPP itself takes it in {by}: {what}")));
                }
            }
            stages.push(Stage {
                node,
                interface,
                trace,
            });
        }
        Journey {
            stages,
            end: end.unwrap_or_else(|| End::Dropped("it ends nowhere".to_owned())),
            arrived,
        }
    }

    /// What is at the other side of an interface.
    fn beyond(&self, node: usize, out: &Output) -> Next {
        match self.nodes[node].plugs.get(&out.sw_if_index) {
            Some(Plug::Pod(key)) => Next::End(End::Pod(key.clone())),
            Some(Plug::Host) => Next::End(End::Host(node)),
            Some(Plug::Function(port)) => {
                let mut frame = out.frame.clone();
                if packet::forward(&mut frame, port.pod_mac, port.vpp_mac) {
                    Next::Walk(port.node, port.interface, frame)
                } else {
                    Next::End(End::Dropped("its hops are used up".to_owned()))
                }
            }
            Some(Plug::Underlay) => {
                let to = out
                    .frame
                    .get(0..6)
                    .and_then(|mac| mac.try_into().ok())
                    .map(MacAddress);
                let Some(destination) = underlay_destination(&out.frame) else {
                    return Next::End(End::Dropped("no packet, but a question to the link".to_owned()));
                };
                match self.endpoints.get(&destination) {
                    Some(&peer) => Next::Walk(peer, self.nodes[peer].uplink, out.frame.clone()),
                    None if to == Some(ROUTER_MAC) => Next::End(End::Outside),
                    None => Next::End(End::Dropped(format!("nobody on the underlay has {destination}"))),
                }
            }
            None => Next::End(End::Dropped("nothing hangs on the interface".to_owned())),
        }
    }

    /// Lets so much time pass that no session of these journeys is left to let another packet through.
    pub fn settle<'j>(&mut self, journeys: impl IntoIterator<Item = &'j Journey>) {
        self.now += LONG_AFTER;
        for stage in journeys.into_iter().flat_map(|journey| &journey.stages) {
            self.nodes[stage.node].engine.tick(self.now);
        }
    }
}

enum Next {
    Walk(usize, u32, Vec<u8>),
    End(End),
}

fn lost(why: String) -> Journey {
    Journey {
        stages: Vec::new(),
        end: End::Dropped(why),
        arrived: None,
    }
}

/// Destination of an IP packet in a frame.
fn underlay_destination(frame: &[u8]) -> Option<IpAddr> {
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let octets: [u8; 4] = frame.get(30..34)?.try_into().ok()?;
            Some(octets.into())
        }
        [0x86, 0xdd] => {
            let octets: [u8; 16] = frame.get(38..54)?.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}
