//! A node's kernel: what it does with packets of clients outside, of the node itself, and of VPP, by what the daemon
//! planned for it ([`HostSide`]: routes to the tap, and the nftables table). In the order of netfilter's hooks: what is
//! known of the connection, the filter before translation, translation, the route, and the source on the way out.

use std::collections::HashMap;
use std::net::IpAddr;

use crds::net::Protocol;
use node_daemon::desired::service::refusing;
use node_daemon::host::HostSide;
use node_daemon::host::nat::Refusal;
use node_daemon::objects::Vip;

use super::packet::{self, Packet};

/// Where a packet meets the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// By the node's NIC (`prerouting`).
    Nic,
    /// From a process of the node (`output`).
    Process,
    /// By the tap from VPP (`prerouting`, where the table lets everything pass as it is).
    Tap,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to VPP.
    Vpp(Packet),
    /// A process of the node gets it.
    Here(Packet),
    /// It leaves by the node's NIC.
    Away(Packet),
    /// It is refused at once.
    Rejected(String),
    /// It is lost.
    Dropped(String),
}

/// The kernel of one node.
#[derive(Debug)]
pub struct Kernel {
    /// What the daemon planned.
    side: HostSide,
    /// The node's own addresses.
    addresses: Vec<IpAddr>,
    /// Addresses of its pods outside of its prefixes.
    strays: Vec<IpAddr>,
    /// Connections: how a packet of them that comes back looks, and what it is turned into.
    connections: HashMap<Packet, Packet>,
}

/// Address, port and protocol a packet goes to; `None` for what has no ports.
pub fn vip(packet: &Packet) -> Option<Vip> {
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| protocol.number() == packet.protocol)?;
    Some(Vip {
        address: packet.dst,
        port: packet.ports.1,
        protocol,
    })
}

impl Kernel {
    /// The kernel of a node with these addresses, nothing known of any connection.
    pub fn new(side: HostSide, addresses: Vec<IpAddr>, strays: Vec<IpAddr>) -> Self {
        Self {
            side,
            addresses,
            strays,
            connections: HashMap::new(),
        }
    }

    /// Forgets all connections.
    pub fn forget(&mut self) {
        self.connections.clear();
    }

    /// Where in VPP, or beyond, a connection may be led that meets the kernel here.
    pub fn targets(&self, hook: Hook, vip: &Vip) -> Vec<Vip> {
        let rules = &self.side.nat.rules;
        let to = |&(address, port): &(IpAddr, u16)| Vip {
            address,
            port,
            protocol: vip.protocol,
        };
        match hook {
            Hook::Nic => rules.entries.get(vip).map(to).into_iter().collect(),
            Hook::Process => rules.own.get(vip).into_iter().flatten().map(to).collect(),
            Hook::Tap => Vec::new(),
        }
    }

    /// Whether a connection of this client ends here.
    pub fn refuses(&self, hook: Hook, vip: &Vip, client: IpAddr) -> bool {
        let rules = &self.side.nat.rules;
        let ranges = rules.admitted.get(vip).filter(|_| hook != Hook::Tap);
        let kept_out = ranges.is_some_and(|ranges| !ranges.iter().any(|range| range.contains(client)));
        kept_out
            || (hook == Hook::Nic && rules.refused.contains_key(vip))
            || (hook == Hook::Process && rules.own_refused.contains(vip))
    }

    /// Whether the kernel hands packets for this address to VPP.
    pub fn leads_to_vpp(&self, address: IpAddr) -> bool {
        let mut routes = self.side.routes.iter();
        !self.addresses.contains(&address)
            && (routes.any(|(prefix, ..)| prefix.contains(address)) || self.strays.contains(&address))
    }

    /// Takes a packet.
    pub fn take(&mut self, hook: Hook, packet: Packet) -> Verdict {
        if let Some(original) = self.connections.get(&bare(packet)) {
            let packet = Packet {
                answer: packet.answer,
                ..*original
            };
            return self.route(packet);
        }
        if hook == Hook::Tap && self.addresses.contains(&packet.src) {
            return Verdict::Dropped(format!(
                "the node's kernel takes nothing from {}, its own address",
                packet.src
            ));
        }
        if hook == Hook::Tap && packet.dst == refusing(packet.dst.is_ipv6()) {
            return rejected();
        }
        let Some(vip) = vip(&packet).filter(|_| hook != Hook::Tap) else {
            return self.leave(hook, packet, packet, false);
        };
        let rules = &self.side.nat.rules;
        if let Some(ranges) = rules.admitted.get(&vip)
            && !ranges.iter().any(|range| range.contains(packet.src))
        {
            return Verdict::Dropped(format!("loadBalancerSourceRanges do not admit {}", packet.src));
        }
        if hook == Hook::Nic
            && let Some(refusal) = rules.refused.get(&vip)
        {
            return match refusal {
                Refusal::Drop => Verdict::Dropped("the node's kernel drops it".to_owned()),
                Refusal::Reject => rejected(),
            };
        }
        if hook == Hook::Process && rules.own_refused.contains(&vip) {
            return rejected();
        }
        // Of several targets the kernel takes one by a hash of the client's address and port: here by the port alone,
        // so that all of them are met.
        let targets = self.targets(hook, &vip);
        let chosen = targets.get(usize::from(packet.ports.0) % targets.len().max(1));
        let translated = chosen.map_or(packet, |target| Packet {
            dst: target.address,
            ports: (packet.ports.0, target.port),
            ..packet
        });
        self.leave(hook, packet, translated, chosen.is_some())
    }

    /// The way out, with the source that goes with it.
    fn leave(&mut self, hook: Hook, original: Packet, mut packet: Packet, translated: bool) -> Verdict {
        let table = &self.side.nat;
        let to_vpp = self.leads_to_vpp(packet.dst);
        let of_family = |ip: &&IpAddr| ip.is_ipv6() == packet.dst.is_ipv6();
        // Other nodes' VPPs answer past this kernel, so for them no address is kept.
        let kept =
            table.kept.iter().any(|kept| kept.contains(packet.dst)) && !table.nodes.contains(&packet.src);
        if to_vpp && translated && !kept {
            packet.src = *table.addresses.iter().find(of_family).unwrap_or(&packet.src);
        }
        let away = !to_vpp && !self.addresses.contains(&packet.dst);
        if hook == Hook::Tap && away && table.masqueraded.iter().any(|cidr| cidr.contains(packet.src)) {
            packet.src = *self.addresses.iter().find(of_family).unwrap_or(&packet.src);
        }
        // Answers are no new connections, translated or not.
        self.connections
            .insert(bare(packet.reply()), bare(original.reply()));
        self.route(packet)
    }

    fn route(&self, packet: Packet) -> Verdict {
        if self.addresses.contains(&packet.dst) {
            Verdict::Here(packet)
        } else if self.leads_to_vpp(packet.dst) {
            Verdict::Vpp(packet)
        } else {
            Verdict::Away(packet)
        }
    }
}

fn rejected() -> Verdict {
    Verdict::Rejected("the node's kernel rejects it".to_owned())
}

/// Without what does not tell connections apart.
fn bare(packet: Packet) -> Packet {
    Packet {
        answer: false,
        ..packet
    }
}

/// The packet in words.
pub fn told(packet: &Packet) -> String {
    match packet.protocol {
        packet::ICMP | packet::ICMP6 => format!("{} -> {}", packet.src, packet.dst),
        _ => format!(
            "{} -> {}",
            std::net::SocketAddr::new(packet.src, packet.ports.0),
            std::net::SocketAddr::new(packet.dst, packet.ports.1)
        ),
    }
}
