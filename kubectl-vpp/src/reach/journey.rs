//! Packets on their way: out of a pod, through nodes and functions, to where they end.

use std::collections::VecDeque;
use std::net::IpAddr;

use compiler::ObjectKey;
use node_daemon::addressing::node_mac;
use vpp_api::types::MacAddress;
use vpp_sim::engine::{Fate, Output, Trace, TraceNode};

use super::dataplane::{Dataplane, Plug, ROUTER_MAC};
use super::kernel::{self, Hook, Verdict};
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

/// A packet's walk through one node's dataplane, or through its kernel.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The node.
    pub node: usize,
    /// Interface by which it came; `None` for the kernel.
    pub interface: Option<u32>,
    /// What happened.
    pub nodes: Vec<TraceNode>,
}

/// Where a packet is next.
enum At {
    /// In VPP, by an interface.
    Vpp(usize, u32, Vec<u8>),
    /// In a node's kernel.
    Kernel(usize, Hook, Packet),
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
        let at = match from {
            Entry::Pod(key) => {
                let Some(port) = self.ports.get(key) else {
                    return lost(format!("pod {key} has no network"));
                };
                At::Vpp(
                    port.node,
                    port.interface,
                    packet.frame(port.pod_mac, port.vpp_mac),
                )
            }
            &Entry::Host(node) => At::Kernel(node, Hook::Process, *packet),
            &Entry::Outside(node) if self.nodes[node].faces_world(packet.dst.is_ipv6()) => {
                let macs = (ROUTER_MAC, node_mac(&self.nodes[node].name, "uplink"));
                At::Vpp(node, self.nodes[node].uplink, packet.frame(macs.0, macs.1))
            }
            &Entry::Outside(node) => At::Kernel(node, Hook::Nic, *packet),
        };
        self.follow(at)
    }

    fn follow(&mut self, start: At) -> Journey {
        let mut stages: Vec<Stage> = Vec::new();
        let mut queue = VecDeque::from([start]);
        let mut end = None;
        let mut arrived = None;
        while let Some(at) = queue.pop_front() {
            if stages.len() == MAX_STAGES {
                end = Some(End::Dropped("it runs in circles".to_owned()));
                break;
            }
            self.now += 1_000;
            let next = match at {
                At::Vpp(node, interface, frame) => self.walk(node, interface, &frame, &mut stages),
                At::Kernel(node, hook, packet) => self.pass_kernel(node, hook, packet, &mut stages),
            };
            match next {
                Next::To(at) => queue.push_back(at),
                Next::End(at, packet) => {
                    arrived = packet;
                    end = Some(at);
                }
            }
        }
        Journey {
            stages,
            end: end.unwrap_or_else(|| End::Dropped("it ends nowhere".to_owned())),
            arrived,
        }
    }

    fn walk(&mut self, node: usize, interface: u32, frame: &[u8], stages: &mut Vec<Stage>) -> Next {
        let Trace { nodes, fate, outputs } = self.nodes[node].engine.walk(interface, frame, self.now);
        stages.push(Stage {
            node,
            interface: Some(interface),
            nodes,
        });
        match fate {
            Fate::Transmitted { sw_if_index } => {
                match outputs.iter().find(|out| out.sw_if_index == sw_if_index) {
                    Some(out) => self.beyond(node, out),
                    None => Next::End(End::Dropped("nothing was sent".to_owned()), None),
                }
            }
            fate @ Fate::Rejected { .. } => Next::End(End::Rejected(fate.to_string()), None),
            fate @ Fate::Dropped { .. } => Next::End(End::Dropped(fate.to_string()), None),
            Fate::Local { node: by, what } => {
                Next::End(End::Dropped(format!("VPP itself takes it in {by}: {what}")), None)
            }
        }
    }

    fn pass_kernel(&mut self, node: usize, hook: Hook, packet: Packet, stages: &mut Vec<Stage>) -> Next {
        let verdict = self.nodes[node].kernel.take(hook, packet);
        let came = match hook {
            Hook::Nic => "by the node's NIC",
            Hook::Process => "from a process",
            Hook::Tap => "from VPP",
        };
        let went = match &verdict {
            Verdict::Vpp(packet) => format!("to VPP as {}", kernel::told(packet)),
            Verdict::Here(packet) => format!("to a process as {}", kernel::told(packet)),
            Verdict::Away(packet) => format!("by the node's NIC as {}", kernel::told(packet)),
            Verdict::Rejected(why) | Verdict::Dropped(why) => why.clone(),
        };
        stages.push(Stage {
            node,
            interface: None,
            nodes: vec![TraceNode {
                node: "kernel".to_owned(),
                text: format!("{came} {}; {went}", kernel::told(&packet)),
            }],
        });
        match verdict {
            Verdict::Vpp(packet) => {
                let name = &self.nodes[node].name;
                let frame = packet.frame(node_mac(name, "host side"), node_mac(name, "host"));
                Next::To(At::Vpp(node, self.nodes[node].host, frame))
            }
            Verdict::Here(packet) => Next::End(End::Host(node), Some(packet)),
            Verdict::Away(packet) => match self.owner(packet.dst) {
                Some(other) => Next::To(At::Kernel(other, Hook::Nic, packet)),
                None => Next::End(End::Outside, Some(packet)),
            },
            Verdict::Rejected(why) => Next::End(End::Rejected(why), None),
            Verdict::Dropped(why) => Next::End(End::Dropped(why), None),
        }
    }

    /// What is at the other side of an interface.
    fn beyond(&self, node: usize, out: &Output) -> Next {
        match self.nodes[node].plugs.get(&out.sw_if_index) {
            Some(Plug::Pod(key)) => Next::End(End::Pod(key.clone()), Packet::parse(&out.frame)),
            Some(Plug::Host) => match Packet::parse(&out.frame) {
                Some(packet) => Next::To(At::Kernel(node, Hook::Tap, packet)),
                None => Next::End(
                    End::Dropped("no packet, but a question to the link".to_owned()),
                    None,
                ),
            },
            Some(Plug::Function(port)) => {
                let mut frame = out.frame.clone();
                if packet::forward(&mut frame, port.pod_mac, port.vpp_mac) {
                    Next::To(At::Vpp(port.node, port.interface, frame))
                } else {
                    Next::End(End::Dropped("its hops are used up".to_owned()), None)
                }
            }
            Some(Plug::Underlay) => {
                let to = out
                    .frame
                    .get(0..6)
                    .and_then(|mac| mac.try_into().ok())
                    .map(MacAddress);
                let Some(destination) = underlay_destination(&out.frame) else {
                    return Next::End(
                        End::Dropped("no packet, but a question to the link".to_owned()),
                        None,
                    );
                };
                match self.endpoints.get(&destination) {
                    Some(&peer) => Next::To(At::Vpp(peer, self.nodes[peer].uplink, out.frame.clone())),
                    None if to == Some(ROUTER_MAC) => Next::End(End::Outside, Packet::parse(&out.frame)),
                    None => Next::End(
                        End::Dropped(format!("nobody on the underlay has {destination}")),
                        None,
                    ),
                }
            }
            None => Next::End(End::Dropped("nothing hangs on the interface".to_owned()), None),
        }
    }

    /// Lets so much time pass that no session of these journeys is left to let another packet through.
    pub fn settle<'j>(&mut self, journeys: impl IntoIterator<Item = &'j Journey>) {
        self.now += LONG_AFTER;
        for stage in journeys.into_iter().flat_map(|journey| &journey.stages) {
            let node = &mut self.nodes[stage.node];
            match stage.interface {
                Some(_) => {
                    node.engine.tick(self.now);
                }
                None => node.kernel.forget(),
            }
        }
    }
}

enum Next {
    To(At),
    End(End, Option<Packet>),
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
