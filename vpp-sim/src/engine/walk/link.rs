//! ARP and neighbour discovery: answering for own addresses, learning, asking.
use std::net::IpAddr;

use super::{Packet, Walk};
use crate::engine::fib::{Contribution, Forward, source};
use crate::engine::packet::arp::{Arp, REPLY, REQUEST};
use crate::engine::packet::ip::Ip;
use crate::engine::packet::{ETHERTYPE_IP6, Ethernet, nd};
use crate::engine::types::{Family, Mac, PathKind, Prefix};
use crate::engine::{Fate, Kind, Output, Vpp};

impl Vpp {
    /// The interface that owns a local address of a table, or for which NAT has it.
    pub(in crate::engine) fn local_address_interface(&self, table: u32, address: IpAddr) -> Option<u32> {
        let entry = self.fibs.exact(table, Prefix::host(address))?;
        let own = [source::INTERFACE, source::NAT_LOW];
        let Some(Contribution::Paths(list)) = own.iter().find_map(|from| entry.sources.get(from)) else {
            return None;
        };
        let path = self.fibs.path_lists.paths(*list).first()?;
        (path.kind == PathKind::Local).then_some(path.sw_if_index)
    }

    /// Whether the sender of an ARP packet is on a link of ours: covered by a connected prefix, or on
    /// an interface that borrows its address from where the target lives (`arp_reply`).
    fn sender_is_attached(&self, table: u32, sender: IpAddr) -> bool {
        let mut longest = Family::of(sender).bits();
        while let Some(found) = self.fibs.lookup(table, sender, longest) {
            let attached = found.entry.sources.iter().any(|(from, c)| match c {
                Contribution::Paths(list) => {
                    *from == source::ADJACENCY
                        || self.fibs.path_lists.paths(*list).iter().any(|p| {
                            p.kind == PathKind::Normal
                                && p.sw_if_index != crate::engine::NONE
                                && p.next_hop.is_unspecified()
                        })
                }
                _ => false,
            });
            if attached {
                return true;
            }
            match found.prefix.len.checked_sub(1) {
                Some(shorter) => longest = shorter,
                None => return false,
            }
        }
        false
    }

    pub(super) fn arp_input(&mut self, w: &mut Walk, rx: u32, ethernet: &Ethernet, data: &[u8]) {
        w.node("arp-input", String::new);
        let active = self
            .interfaces
            .get(rx)
            .is_some_and(|i| self.ip_active(i, Family::V4));
        if !active {
            return self.drop_packet(w, rx, "arp-disabled", "ARP disabled");
        }
        let Some(arp) = Arp::parse(data) else {
            return self.drop_packet(w, rx, "arp-input", "not IPv4 over Ethernet");
        };
        let (sender_mac, sender) = (arp.sender.0, IpAddr::V4(arp.sender.1));
        let target = IpAddr::V4(arp.target.1);
        w.node("arp-reply", || {
            let operation = if arp.operation == REQUEST {
                "request"
            } else {
                "reply"
            };
            format!("{operation}: {sender} at {sender_mac} to {target}")
        });
        let table = self.table_of(rx, Family::V4);
        if self.local_address_interface(table, sender).is_some() {
            return self.drop_packet(w, rx, "arp-reply", "source address is ours");
        }
        let owner = self.local_address_interface(table, target);
        let holder = self.address_holder(rx);
        let on_this_link = owner.is_some_and(|owner| owner == rx || owner == holder);
        let unnumbered = holder != rx;
        let attached = self.sender_is_attached(table, sender) || (unnumbered && on_this_link);
        if !attached {
            return self.drop_packet(w, rx, "arp-reply", "source is not on this link");
        }
        if ethernet.src != sender_mac {
            return self.drop_packet(w, rx, "arp-reply", "L2 and ARP source differ");
        }
        if owner.is_none() {
            // A gratuitous one about a known neighbour updates it.
            if sender == target && self.neighbors.mac(rx, sender).is_some() {
                self.neighbor_learn(rx, sender, sender_mac, w.now);
            }
            return self.drop_packet(w, rx, "arp-reply", "target is not ours");
        }
        let local = |what: &str| Fate::Local {
            node: "arp-reply".to_owned(),
            what: what.to_owned(),
        };
        match arp.operation {
            REPLY => {
                self.neighbor_learn(rx, sender, sender_mac, w.now);
                w.settle(|| local("neighbour learnt"));
            }
            REQUEST if !on_this_link => {
                self.drop_packet(w, rx, "arp-reply", "unnumbered mismatch");
            }
            REQUEST => {
                let Some(own_mac) = self.interfaces.get(rx).map(|i| i.mac) else {
                    return;
                };
                self.neighbor_learn(rx, sender, sender_mac, w.now);
                w.settle(|| local("request answered"));
                let reply = Arp {
                    operation: REPLY,
                    sender: (own_mac, arp.target.1),
                    target: (sender_mac, arp.sender.1),
                };
                self.interface_output(w, rx, rx, reply.frame_like(sender_mac, data));
            }
            _ => self.drop_packet(w, rx, "arp-reply", "unknown operation"),
        }
    }

    /// Asks for a neighbour, at most once a millisecond.
    pub(super) fn probe(&mut self, w: &mut Walk, tx: u32, address: IpAddr) {
        if !self.neighbors.may_probe(tx, address, w.now) {
            return;
        }
        let Some(own_mac) = self.interfaces.get(tx).map(|i| i.mac) else {
            return;
        };
        let frame = match (self.source_address(tx, address), address) {
            (Some(IpAddr::V4(source)), IpAddr::V4(target)) => Some(
                Arp {
                    operation: REQUEST,
                    sender: (own_mac, source),
                    target: (Mac::default(), target),
                }
                .frame(Mac::BROADCAST),
            ),
            (Some(IpAddr::V6(source)), IpAddr::V6(target)) => {
                let (_, dst) = nd::solicited_node(target);
                nd::solicitation(source, target, own_mac).map(|data| {
                    Ethernet {
                        dst,
                        src: own_mac,
                        ethertype: ETHERTYPE_IP6,
                    }
                    .frame(&data)
                })
            }
            _ => None,
        };
        if let Some(frame) = frame {
            self.interface_output(w, tx, tx, frame);
        }
    }

    /// Asks once for next hops which routes and tunnels were given since the last call.
    pub fn probe_fresh_next_hops(&mut self, now: u64) -> Vec<Output> {
        let mut w = Walk::new(now, false);
        for (table, address) in std::mem::take(&mut self.fresh_next_hops) {
            let (tx, next_hop) = match self.forward(table, address, 0) {
                Forward::Adjacency {
                    sw_if_index,
                    next_hop,
                } => (sw_if_index, next_hop),
                Forward::Glean { sw_if_index } => (sw_if_index, address),
                _ => continue,
            };
            let unknown = self.interfaces.get(tx).is_some_and(|i| {
                i.is_ethernet() && !matches!(i.kind, Kind::Loopback { .. } | Kind::Bvi { .. })
            }) && self.neighbors.mac(tx, next_hop).is_none();
            if unknown {
                self.probe(&mut w, tx, next_hop);
            }
        }
        w.outputs
    }

    /// Asks learned neighbours that have not been heard of for long.
    pub(in crate::engine) fn probe_old_neighbors(&mut self, now: u64) -> Vec<Output> {
        let mut w = Walk::new(now, false);
        for neighbor in self.old_neighbors(now) {
            if self.interface_is_up(neighbor.sw_if_index) {
                self.probe(&mut w, neighbor.sw_if_index, neighbor.address);
            }
        }
        w.outputs
    }

    /// A packet to a MAC on the link, past lookup and output features.
    pub(super) fn send_on_link(&mut self, w: &mut Walk, tx: u32, dst: Mac, data: Vec<u8>) {
        let Some(src) = self.interfaces.get(tx).map(|i| i.mac) else {
            return;
        };
        let frame = Ethernet {
            dst,
            src,
            ethertype: ETHERTYPE_IP6,
        }
        .frame(&data);
        self.interface_output(w, tx, tx, frame);
    }

    /// `icmp6-neighbor-solicitation` and `-advertisement`; whether the packet was one.
    pub(super) fn neighbor_discovery(&mut self, w: &mut Walk, packet: &Packet, ip: &Ip) -> bool {
        let Some(message) = nd::Neighbor::parse(ip, &packet.data) else {
            return false;
        };
        let rx = packet.rx;
        let target = IpAddr::V6(message.target);
        let IpAddr::V6(source) = ip.src else {
            return false;
        };
        if !message.is_solicitation {
            let node = "icmp6-neighbor-advertisement";
            w.node(node, || format!("{target} at {:?}", message.mac));
            if let Some(mac) = message.mac {
                self.neighbor_learn(rx, target, mac, w.now);
            }
            w.settle(|| Fate::Local {
                node: node.to_owned(),
                what: "neighbour learnt".to_owned(),
            });
            return true;
        }
        let node = "icmp6-neighbor-solicitation";
        w.node(node, || format!("who has {target}, asks {source}"));
        let table = self.table_of(rx, Family::V6);
        let on_link = source.is_unspecified()
            || source.is_unicast_link_local()
            || self.source_is_on_link(table, ip.src, rx);
        if !on_link {
            self.drop_packet(w, rx, node, "source is not on this link");
            return true;
        }
        if let Some(mac) = message.mac
            && !source.is_unspecified()
        {
            self.neighbor_learn(rx, ip.src, mac, w.now);
        }
        let ours =
            self.is_own_link_local(rx, target) || self.local_address_interface(table, target).is_some();
        let (Some(own_mac), true) = (self.interfaces.get(rx).map(|i| i.mac), ours) else {
            self.drop_packet(w, rx, node, "target is not ours");
            return true;
        };
        w.settle(|| Fate::Local {
            node: node.to_owned(),
            what: "solicitation answered".to_owned(),
        });
        // Who asks without an address hears it on all nodes' group (RFC 4861, 7.2.4).
        let (to, mac) = if source.is_unspecified() {
            let all_nodes = std::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            (all_nodes, Some(Mac([0x33, 0x33, 0, 0, 0, 1])))
        } else {
            (source, packet.from)
        };
        if let (Some(data), Some(mac)) = (nd::advertisement(message.target, to, own_mac), mac) {
            self.send_on_link(w, rx, mac, data);
        }
        true
    }

    /// Whether packets to `source` would leave by `rx` (`icmp6_neighbor_solicitation_or_advertisement`).
    fn source_is_on_link(&self, table: u32, source: IpAddr, rx: u32) -> bool {
        match self.forward(table, source, 0) {
            Forward::Adjacency { sw_if_index, .. } | Forward::Glean { sw_if_index } => sw_if_index == rx,
            _ => false,
        }
    }
}
