//! `ip4/6-rewrite`, the output feature arc, fragmentation, tunnels, and the wire.
use std::net::IpAddr;

use super::input::describe_nat;
use super::{MAX_DEPTH, Packet, Walk};
use crate::engine::cnat::{CnatNode, Verdict};
use crate::engine::feature::output_arc;
use crate::engine::fib::{FLOW_HASH_DEFAULT, Forward};
use crate::engine::interface::{Interface, Kind};
use crate::engine::packet::hash::flow_hash;
use crate::engine::packet::ip::{Ip, decrement_ttl, packet as ip_packet};
use crate::engine::packet::{ETHERNET_LEN, ETHERTYPE_IP4, ETHERTYPE_IP6, Ethernet, UDP, checksum, put16};
use crate::engine::types::{Family, Mac};
use crate::engine::vxlan::VxlanTunnel;
use crate::engine::{Fate, Output, Vpp};

/// TTL of VXLAN's outer header before the underlay's rewrite (`vxlan_rewrite`).
const TUNNEL_TTL: u8 = 254;

const VXLAN_FLAGS_I: u8 = 0x08;

const IP6_HEADER: usize = 40;
const FRAGMENT_HEADER: usize = 8;
/// Protocol number of the fragment header.
const FRAGMENT: u8 = 44;

impl Vpp {
    /// To a next hop on an interface: TTL, MTU, output features, wire.
    pub(super) fn rewrite(
        &mut self,
        w: &mut Walk,
        family: Family,
        mut packet: Packet,
        tx: u32,
        next_hop: IpAddr,
    ) {
        let Some(interface) = self.interfaces.get(tx) else {
            return self.drop_packet(w, packet.rx, "ip-rewrite", "no such interface");
        };
        let table = interface.table[family.index()];
        let own = interface.ip_mtu(family);
        let mtu = match (self.adjacency_mtu(tx, table, next_hop), own) {
            (Some(path), 0) => path,
            (Some(path), own) => own.min(path),
            (None, own) => own,
        };
        let (own_mac, is_ethernet) = (interface.mac, interface.is_ethernet());
        let node = match (family, is_ethernet) {
            (Family::V4, true) => "ip4-rewrite",
            (Family::V6, true) => "ip6-rewrite",
            (Family::V4, false) => "ip4-midchain",
            (Family::V6, false) => "ip6-midchain",
        };
        let mac = if is_ethernet {
            match self.neighbors.mac(tx, next_hop) {
                Some(mac) => Some(mac),
                None => return self.incomplete(w, family, &packet, tx, next_hop),
            }
        } else {
            None
        };
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        if !packet.local {
            // The refused packet, too, has one less.
            decrement_ttl(&mut packet.data, family);
            if ip.ttl <= 1 {
                w.node(node, || format!("ttl {}", ip.ttl));
                return self.ttl_expired(w, &packet, family, node);
            }
        }
        w.node(node, || format!("interface {tx} via {next_hop}"));
        let length = packet.data.len();
        if mtu != 0 && length > mtu as usize {
            return self.too_big(w, family, packet, tx, next_hop, &ip, mtu);
        }
        let Some(packet) = self.output_arc(w, family, packet, tx) else {
            return;
        };
        let frame = match mac {
            Some(dst) => self.ethernet_frame(family, own_mac, dst, &packet.data),
            None => packet.data,
        };
        w.next_hop = Some(next_hop);
        self.interface_output(w, packet.rx, tx, frame);
    }

    fn ethernet_frame(&self, family: Family, src: Mac, dst: Mac, data: &[u8]) -> Vec<u8> {
        let ethertype = match family {
            Family::V4 => ETHERTYPE_IP4,
            Family::V6 => ETHERTYPE_IP6,
        };
        Ethernet { dst, src, ethertype }.frame(data)
    }

    /// `ip4-arp`, `ip6-discover-neighbor`: the packet is lost, the next hop is asked for.
    fn incomplete(&mut self, w: &mut Walk, family: Family, p: &Packet, tx: u32, next_hop: IpAddr) {
        let node = match family {
            Family::V4 => "ip4-arp",
            Family::V6 => "ip6-discover-neighbor",
        };
        w.node(node, || format!("who has {next_hop} on {tx}"));
        self.drop_packet(w, p.rx, node, "no neighbour yet, asked for it");
        self.probe(w, tx, next_hop);
    }

    /// NAT44 after routing, output ACLs, then cnat's un-NAT, source NAT and session: the order of `ip4-output`.
    fn output_arc(&mut self, w: &mut Walk, family: Family, mut packet: Packet, tx: u32) -> Option<Packet> {
        if !self.urpf(w, family, &packet, tx, false) {
            return None;
        }
        if family == Family::V4 && !self.nat44_output(w, &mut packet, tx) {
            return None;
        }
        let ip = Ip::parse(&packet.data).ok()?;
        if !self.acl_output(w, &packet, tx, &ip) {
            return None;
        }
        let prefix = family.node_prefix();
        for _ in 0..self.cnat_node_count(tx, family, CnatNode::Output) {
            let ip = Ip::parse(&packet.data).ok()?;
            let verdict = self.cnat.arc_output(&ip, &mut packet.data, packet.rx, tx, w.now);
            let node = family.pick("cnat-output-ip4", "cnat-output-ip6");
            w.node(node, || describe_nat(verdict, &packet.data));
            if let Verdict::Drop(reason) = verdict {
                self.drop_packet(w, packet.rx, node, reason);
                return None;
            }
        }
        for _ in 0..self.features.count(
            output_arc(family),
            family.pick("cnat-output-ip4", "cnat-output-ip6"),
            tx,
        ) {
            let ip = Ip::parse(&packet.data).ok()?;
            let verdict = self
                .cnat
                .output(packet.cnat, &ip, &mut packet.data, packet.rx, tx);
            w.node(format_args!("cnat-output-{prefix}"), || {
                describe_nat(verdict, &packet.data)
            });
        }
        if !self.policer_output(w, family, &mut packet, tx) {
            return None;
        }
        let table = self.table_of(tx, family);
        for _ in 0..self.features.count(
            output_arc(family),
            family.pick("cnat-writeback-ip4", "cnat-writeback-ip6"),
            tx,
        ) {
            self.cnat.writeback(&mut packet.cnat, table);
            let meta = packet.cnat;
            w.node(format_args!("cnat-writeback-{prefix}"), || meta.describe());
        }
        Some(packet)
    }

    /// `ip4/6-pmtu-dpo`: whether a packet is longer than its way to a peer that is on no link takes, and what then becomes
    /// of it.
    pub(super) fn longer_than_path(
        &mut self,
        w: &mut Walk,
        family: Family,
        packet: &Packet,
        forward: &Forward,
    ) -> bool {
        let Forward::Adjacency {
            sw_if_index,
            next_hop,
        } = *forward
        else {
            return false;
        };
        let Ok(ip) = Ip::parse(&packet.data) else {
            return false;
        };
        let table = packet.table.unwrap_or_else(|| self.table_of(packet.rx, family));
        let Some(path) = self.path_mtu(table, ip.dst) else {
            return false;
        };
        let own = self.interfaces.get(sw_if_index).map_or(0, |i| i.ip_mtu(family));
        let mtu = if own == 0 { path } else { own.min(path) };
        if packet.data.len() <= mtu as usize || self.is_attached(table, ip.dst) {
            return false;
        }
        let node = family.pick("ip4-pmtu-dpo", "ip6-pmtu-dpo");
        w.node(node, || format!("mtu {mtu}"));
        self.too_big(w, family, packet.clone(), sw_if_index, next_hop, &ip, mtu);
        true
    }

    /// Longer than the interface's MTU: ICMP to the sender, or IPv4 fragments.
    #[allow(clippy::too_many_arguments)] // One call; the packet's whole situation.
    fn too_big(
        &mut self,
        w: &mut Walk,
        family: Family,
        packet: Packet,
        tx: u32,
        next_hop: IpAddr,
        ip: &Ip,
        mtu: u32,
    ) {
        match family {
            Family::V6 if packet.local => {
                w.node("ip6-frag", || format!("mtu {mtu}"));
                self.fragment_id = self.fragment_id.wrapping_add(1);
                for data in fragments6(&packet.data, mtu as usize, self.fragment_id) {
                    // The fragments no longer count as VPP's own: this rewrite takes one of their hop limit.
                    let fragment = Packet {
                        data,
                        local: false,
                        ..packet.clone()
                    };
                    self.rewrite(w, family, fragment, tx, next_hop);
                }
            }
            Family::V6 => self.icmp_error(w, &packet, "ip6-rewrite", "packet too big", 2, 0, mtu),
            Family::V4 if ip.dont_fragment => {
                let reason = "fragmentation needed";
                self.icmp_error(w, &packet, "ip4-rewrite", reason, 3, 4, mtu);
            }
            Family::V4 => {
                w.node("ip4-frag", || format!("mtu {mtu}"));
                for data in fragments(&packet.data, ip, mtu as usize) {
                    let fragment = Packet {
                        data,
                        local: true,
                        ..packet.clone()
                    };
                    self.rewrite(w, family, fragment, tx, next_hop);
                }
            }
        }
    }

    /// `interface-output`: state and length checks, then the tunnel or the wire.
    pub(super) fn interface_output(&mut self, w: &mut Walk, rx: u32, tx: u32, frame: Vec<u8>) {
        let Some(interface) = self.interfaces.get_mut(tx) else {
            return self.drop_packet(w, rx, "interface-output", "no such interface");
        };
        let node = |interface: &Interface| format!("{}-output", interface.name);
        if !interface.link_up() {
            interface.counters.tx_errors += 1;
            let node = node(interface);
            return self.drop_packet(w, rx, &node, "interface is down");
        }
        let header = if interface.is_ethernet() { ETHERNET_LEN } else { 0 };
        let length = frame.len() - header.min(frame.len());
        if interface.device_mtu.is_some_and(|mtu| length > mtu as usize) {
            // The host's device refuses it and nobody hears of it.
            interface.counters.tx_errors += 1;
            let node = node(interface);
            return self.drop_packet(w, rx, &node, "longer than the device's MTU");
        }
        interface.counters.tx_packets += 1;
        interface.counters.tx_bytes += frame.len() as u64;
        w.node(format_args!("{}-output", interface.name), || {
            format!("{} bytes", frame.len())
        });
        let is_bvi = matches!(interface.kind, Kind::Bvi { .. });
        match interface.kind {
            Kind::Vxlan { tunnel, .. } => self.vxlan_encap(w, rx, tunnel, &frame),
            Kind::IpsecItf => {
                let next_hop = w.next_hop.take();
                self.ipsec_protected(w, rx, tx, next_hop, 0, &frame);
            }
            Kind::Wireguard { interface } => {
                let next_hop = w.next_hop.take();
                self.wg_output(w, rx, interface, next_hop, &frame);
            }
            Kind::Ipip { tunnel } => {
                let next_hop = w.next_hop.take();
                self.ipip_encap(w, rx, tunnel, next_hop, &frame);
            }
            Kind::Loopback { .. } | Kind::Bvi { .. } => {
                // What a loopback sends comes back on it, or enters its bridge domain.
                if w.depth >= MAX_DEPTH {
                    let node = node(interface);
                    return self.drop_packet(w, rx, &node, "loop");
                }
                w.depth += 1;
                match (self.bridges.port(tx), Ethernet::parse(&frame)) {
                    (Some(port), Some(ethernet)) => {
                        let own = is_bvi || port.is_bvi;
                        self.bridge(w, tx, port, &frame, &ethernet, own);
                    }
                    _ if is_bvi => self.drop_packet(w, tx, "l2-input", "L2 input drops"),
                    _ => self.ethernet_input(w, tx, &frame),
                }
                w.depth -= 1;
            }
            Kind::Local => self.drop_packet(w, rx, "local0-output", "interface is down"),
            Kind::Tap(_) | Kind::AfPacket { .. } | Kind::AfXdp { .. } | Kind::Memif(_) => {
                w.node(format_args!("{}-tx", interface.name), String::new);
                w.settle(|| Fate::Transmitted { sw_if_index: tx });
                w.outputs.push(Output {
                    sw_if_index: tx,
                    frame,
                });
            }
        }
    }

    /// `vxlan4/6-encap`, then along the underlay's route to the other end.
    fn vxlan_encap(&mut self, w: &mut Walk, rx: u32, tunnel: u32, payload: &[u8]) {
        let Some(tunnel) = self.vxlan.tunnel(tunnel).copied() else {
            return;
        };
        let family = Family::of(tunnel.src);
        let node = match family {
            Family::V4 => "vxlan4-encap",
            Family::V6 => "vxlan6-encap",
        };
        w.node(node, || format!("vni {} to {}", tunnel.vni, tunnel.dst));
        if w.depth >= MAX_DEPTH {
            return self.drop_packet(w, rx, node, "loop");
        }
        let Some(data) = encapsulate(&tunnel, payload) else {
            return;
        };
        let table = tunnel.encap_table_id;
        let hash = match Ip::parse(&data) {
            Ok(outer) => flow_hash(&outer, &data, FLOW_HASH_DEFAULT),
            Err(reason) => return self.drop_packet(w, rx, node, reason),
        };
        let forward = self.forward(table, tunnel.dst, hash);
        let outer = Packet {
            table: Some(table),
            ..Packet::new(data, rx)
        };
        w.depth += 1;
        self.follow(w, family, outer, forward, node);
        w.depth -= 1;
    }
}

/// Hash of the inner flow, which spreads tunnelled flows by the outer source port.
fn inner_hash(tunnel: &VxlanTunnel, payload: &[u8]) -> u32 {
    let at = if tunnel.is_l3 { 0 } else { ETHERNET_LEN };
    let inner = payload.get(at..).unwrap_or(&[]);
    match Ip::parse(inner) {
        Ok(ip) => flow_hash(&ip, inner, FLOW_HASH_DEFAULT),
        Err(_) => checksum::sum(payload.get(..12).unwrap_or(&[])),
    }
}

fn encapsulate(tunnel: &VxlanTunnel, payload: &[u8]) -> Option<Vec<u8>> {
    let hash = inner_hash(tunnel, payload);
    let source_port = (hash ^ (hash >> 16)) as u16;
    let mut udp = Vec::with_capacity(16 + payload.len());
    udp.extend(source_port.to_be_bytes());
    udp.extend(tunnel.dst_port.to_be_bytes());
    udp.extend([0; 4]);
    udp.extend([VXLAN_FLAGS_I, 0, 0, 0]);
    udp.extend((tunnel.vni << 8).to_be_bytes());
    udp.extend(payload);
    let length = u16::try_from(udp.len()).ok()?;
    put16(&mut udp, 4, length);
    // UDP over IPv6 must have a checksum (RFC 8200, 8.1); over IPv4 VXLAN has none.
    let checksum_at = (Family::of(tunnel.src) == Family::V6).then_some(6);
    ip_packet(tunnel.src, tunnel.dst, UDP, TUNNEL_TTL, &udp, checksum_at)
}

/// IPv6 fragments that fit `mtu` (RFC 8200, 4.5); nothing but the fixed header is repeated.
fn fragments6(data: &[u8], mtu: usize, id: u32) -> Vec<Vec<u8>> {
    let Some((header, payload)) = data.split_at_checked(IP6_HEADER) else {
        return Vec::new();
    };
    let room = mtu.saturating_sub(IP6_HEADER + FRAGMENT_HEADER) / 8 * 8;
    if room == 0 {
        return Vec::new();
    }
    let last = payload.len().saturating_sub(1) / room;
    payload
        .chunks(room)
        .enumerate()
        .map(|(n, chunk)| {
            let mut fragment = header.to_vec();
            put16(&mut fragment, 4, (FRAGMENT_HEADER + chunk.len()) as u16);
            let next = std::mem::replace(&mut fragment[6], FRAGMENT);
            let offset = (n * room) as u16 | u16::from(n < last);
            fragment.extend([next, 0]);
            fragment.extend(offset.to_be_bytes());
            fragment.extend(id.to_be_bytes());
            fragment.extend(chunk);
            fragment
        })
        .collect()
}

/// IPv4 fragments that fit `mtu`, without the options of the first (RFC 791, 2.3).
fn fragments(data: &[u8], ip: &Ip, mtu: usize) -> Vec<Vec<u8>> {
    let header = &data[..ip.header_len];
    let payload = &data[ip.header_len..ip.end];
    let room = mtu.saturating_sub(ip.header_len) / 8 * 8;
    if room == 0 {
        return Vec::new();
    }
    let last = payload.len().saturating_sub(1) / room;
    payload
        .chunks(room)
        .enumerate()
        .map(|(n, chunk)| {
            let mut fragment = header.to_vec();
            let offset = ip.fragment_offset + (n * room / 8) as u16;
            let more = n < last || ip.more_fragments;
            put16(&mut fragment, 2, (ip.header_len + chunk.len()) as u16);
            put16(&mut fragment, 6, offset | (u16::from(more) << 13));
            put16(&mut fragment, 10, 0);
            let sum = checksum::checksum(&fragment);
            put16(&mut fragment, 10, sum);
            fragment.extend(chunk);
            fragment
        })
        .collect()
}
