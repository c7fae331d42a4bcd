//! `ipip4/6-input` and what leaves by an ipip tunnel.
use std::net::IpAddr;

use super::{MAX_DEPTH, Packet, Walk};
use crate::engine::Vpp;
use crate::engine::fib::FLOW_HASH_DEFAULT;
use crate::engine::packet::hash::flow_hash;
use crate::engine::packet::ip::Ip;
use crate::engine::packet::tunnel::{self, Outer};
use crate::engine::types::Family;

const IP_IN_IP: u8 = 4;
const IPV6: u8 = 41;

/// TTL of the outer header before the underlay's rewrite (`ipip_build_rewrite`).
const TUNNEL_TTL: u8 = 64;

/// Whether a protocol is IP in IP.
pub(super) fn is_ip_in_ip(proto: u8) -> bool {
    matches!(proto, IP_IN_IP | IPV6)
}

/// The protocol number of a packet inside another.
pub(super) fn inner_protocol(data: &[u8]) -> u8 {
    match data.first().map(|b| b >> 4) {
        Some(4) => IP_IN_IP,
        _ => IPV6,
    }
}

impl Vpp {
    pub(super) fn ipip_encap(
        &mut self,
        w: &mut Walk,
        rx: u32,
        tunnel: u32,
        next_hop: Option<IpAddr>,
        data: &[u8],
    ) {
        let Some(details) = self.ipip.tunnel(tunnel).copied() else {
            return;
        };
        let tunnel = details.tunnel;
        let Some((dst, table)) = self.ipip.remote(&details, next_hop) else {
            return self.drop_packet(w, rx, "ip-midchain", "no TEIB entry for the next hop");
        };
        let outer = Outer {
            src: tunnel.src,
            dst,
            flags: tunnel.flags,
            dscp: tunnel.dscp,
            hop_limit: TUNNEL_TTL,
        };
        let Some(data) = tunnel::encapsulate(&outer, inner_protocol(data), data, data) else {
            return self.drop_packet(w, rx, "ip-midchain", "tunnel ends of two families");
        };
        w.node("tunnel-output", || format!("{} to {dst}", tunnel.src));
        if self.ipsec.protecting(details.sw_if_index, next_hop).is_some() {
            return self.ipsec_protected(w, rx, details.sw_if_index, next_hop, table, &data);
        }
        self.tunnel_send(w, rx, table, data);
    }

    /// An outer packet on its way through the underlay. IPv6 counts as VPP's own: its hop limit is kept, and it may be
    /// fragmented (`ipip66_fixup`).
    pub(super) fn tunnel_send(&mut self, w: &mut Walk, rx: u32, table: u32, data: Vec<u8>) {
        let own = data.first().is_some_and(|b| b >> 4 == 6);
        self.outer_packet(w, rx, table, data, own);
    }

    /// As [`Self::tunnel_send`], as VPP's own in either family: ESP (`esp_encrypt.c`).
    pub(super) fn tunnel_send_own(&mut self, w: &mut Walk, rx: u32, table: u32, data: Vec<u8>) {
        self.outer_packet(w, rx, table, data, true);
    }

    fn outer_packet(&mut self, w: &mut Walk, rx: u32, table: u32, data: Vec<u8>, own: bool) {
        let ip = match Ip::parse(&data) {
            Ok(ip) => ip,
            Err(reason) => return self.drop_packet(w, rx, "adj-midchain-tx", reason),
        };
        if w.depth >= MAX_DEPTH {
            return self.drop_packet(w, rx, "adj-midchain-tx", "loop");
        }
        let hash = flow_hash(&ip, &data, FLOW_HASH_DEFAULT);
        let forward = self.forward(table, ip.dst, hash);
        let outer = Packet {
            table: Some(table),
            local: own,
            ..Packet::new(data, rx)
        };
        w.depth += 1;
        self.follow(w, ip.family, outer, forward, "adj-midchain-tx");
        w.depth -= 1;
    }

    pub(super) fn ipip_input(&mut self, w: &mut Walk, packet: &Packet, ip: &Ip, table: u32) {
        let node = match ip.family {
            Family::V4 => "ipip4-input",
            Family::V6 => "ipip6-input",
        };
        w.node(node, || format!("from {}", ip.src));
        let Some(details) = self.ipip.find(ip.dst, ip.src, table) else {
            return self.drop_packet(w, packet.rx, node, "no tunnel");
        };
        self.errors.count(node, "packets decapsulated");
        let mut inner = packet.data[ip.l4..ip.end].to_vec();
        tunnel::decapsulated(details.tunnel.flags, &packet.data, &mut inner);
        let family = match ip.proto {
            IP_IN_IP => Family::V4,
            _ => Family::V6,
        };
        self.tunnel_receive(w, packet, details.sw_if_index, family, inner, node);
    }

    /// The payload of a tunnel goes on as received on the tunnel's interface.
    pub(super) fn tunnel_receive(
        &mut self,
        w: &mut Walk,
        packet: &Packet,
        sw_if_index: u32,
        family: Family,
        inner: Vec<u8>,
        node: &str,
    ) {
        if w.depth >= MAX_DEPTH {
            return self.drop_packet(w, packet.rx, node, "loop");
        }
        if let Some(interface) = self.interfaces.get_mut(sw_if_index) {
            interface.counters.rx_packets += 1;
            interface.counters.rx_bytes += inner.len() as u64;
        }
        let inner = Packet {
            cnat: packet.cnat,
            ..Packet::new(inner, sw_if_index)
        };
        w.depth += 1;
        self.ip_input(w, family, inner);
        w.depth -= 1;
    }
}
