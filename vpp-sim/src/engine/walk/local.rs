//! Packets to VPP's own addresses: echo, VXLAN, and the refusal of the rest.
use std::net::IpAddr;

use super::error::is_link_local;
use super::ipip::is_ip_in_ip;
use super::ipsec::ESP;
use super::{MAX_DEPTH, Packet, Walk};
use crate::engine::fib::Forward;
use crate::engine::packet::ip::Ip;
use crate::engine::packet::{ICMP, ICMP6, UDP, be16, be32, checksum, put16};
use crate::engine::types::Family;
use crate::engine::vxlan::Vxlan;
use crate::engine::{Fate, Vpp};

/// TTL of VPP's own packets.
const HOST_TTL: u8 = 64;

const UDP_HEADER: usize = 8;
const VXLAN_HEADER: usize = 8;
const VXLAN_FLAGS_I: u8 = 0x08;

impl Vpp {
    pub(super) fn ip_local(&mut self, w: &mut Walk, packet: Packet) {
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        let node = match ip.family {
            Family::V4 => "ip4-local",
            Family::V6 => "ip6-local",
        };
        w.node(node, || format!("{} from {}", ip.dst, ip.src));
        let rx = packet.rx;
        if ip.is_fragment() {
            return self.drop_packet(w, rx, node, "fragment to an own address");
        }
        if let Err(reason) = checksum::verify(&packet.data) {
            return self.drop_packet(w, rx, node, &format!("bad checksum: {reason}"));
        }
        let table = packet.table.unwrap_or_else(|| self.table_of(rx, ip.family));
        // An answer must have somewhere to go (`ip4_local_check_src`).
        if !packet.local
            && !is_link_local(ip.src)
            && matches!(self.forward(table, ip.src, 0), Forward::Drop(_))
        {
            return self.drop_packet(w, rx, node, "source lookup miss");
        }
        match ip.proto {
            ICMP if ip.family == Family::V4 => self.icmp4_input(w, packet, &ip),
            ICMP6 if ip.family == Family::V6 => self.icmp6_input(w, packet, &ip),
            UDP if ip.l4_valid => self.udp_local(w, packet, &ip, table),
            ESP => self.ipsec_input(w, &packet, &ip, ip.l4),
            proto if is_ip_in_ip(proto) && self.ipip.listens(ip.family) => {
                self.ipip_input(w, &packet, &ip, table);
            }
            _ => {
                let family = ip.family;
                self.punt(w, family, packet, node, "unknown ip protocol");
            }
        }
    }

    fn icmp4_input(&mut self, w: &mut Walk, packet: Packet, ip: &Ip) {
        w.node("ip4-icmp-input", String::new);
        match ip.icmp(&packet.data) {
            Some((8, 0)) => self.echo_reply(w, packet, ip, 0),
            Some((icmp_type, code)) => w.settle(|| Fate::Local {
                node: "ip4-icmp-input".to_owned(),
                what: format!("ICMP type {icmp_type} code {code}"),
            }),
            None => self.drop_packet(w, packet.rx, "ip4-icmp-input", "bad ICMP"),
        }
    }

    pub(super) fn icmp6_input(&mut self, w: &mut Walk, packet: Packet, ip: &Ip) {
        w.node("ip6-icmp-input", String::new);
        if let Err(reason) = checksum::verify(&packet.data) {
            return self.drop_packet(w, packet.rx, "ip6-icmp-input", &reason);
        }
        if self.neighbor_discovery(w, &packet, ip) {
            return;
        }
        match ip.icmp(&packet.data) {
            Some((128, 0)) if !ip.dst.is_multicast() => self.echo_reply(w, packet, ip, 129),
            Some((icmp_type, code)) => w.settle(|| Fate::Local {
                node: "ip6-icmp-input".to_owned(),
                what: format!("ICMPv6 type {icmp_type} code {code}"),
            }),
            None => self.drop_packet(w, packet.rx, "ip6-icmp-input", "bad ICMPv6"),
        }
    }

    /// The request becomes its answer: addresses swapped, new type and TTL, looked up in the same table.
    fn echo_reply(&mut self, w: &mut Walk, mut packet: Packet, ip: &Ip, reply: u8) {
        let node = format!("{}-icmp-echo-request", ip.family.node_prefix());
        w.node(&node, || format!("answering {}", ip.src));
        w.settle(|| Fate::Local {
            node,
            what: "echo answered".to_owned(),
        });
        let data = &mut packet.data;
        let old = [data[ip.l4], data[ip.l4 + 1]];
        data[ip.l4] = reply;
        let sum = checksum::update(be16(data, ip.l4 + 2), &old, &[reply, old[1]]);
        put16(data, ip.l4 + 2, sum);
        let (at, length) = match ip.family {
            Family::V4 => (12, 4),
            Family::V6 => (8, 16),
        };
        let src = data[at..at + length].to_vec();
        data.copy_within(at + length..at + 2 * length, at);
        data[at + length..at + 2 * length].copy_from_slice(&src);
        match ip.family {
            Family::V4 => {
                let old = [data[8], data[9]];
                data[8] = HOST_TTL;
                let sum = checksum::update(be16(data, 10), &old, &[HOST_TTL, old[1]]);
                put16(data, 10, sum);
            }
            Family::V6 => data[7] = HOST_TTL,
        }
        if is_link_local(ip.src)
            && let Some(mac) = packet.from
        {
            return self.send_on_link(w, packet.rx, mac, packet.data);
        }
        let answer = Packet {
            table: Some(
                packet
                    .table
                    .unwrap_or_else(|| self.table_of(packet.rx, ip.family)),
            ),
            rx: 0,
            local: true,
            ..packet
        };
        self.ip_lookup(w, ip.family, answer);
    }

    fn udp_local(&mut self, w: &mut Walk, packet: Packet, ip: &Ip, table: u32) {
        let node = format!("{}-udp-lookup", ip.family.node_prefix());
        let (_, port) = ip.ports(&packet.data);
        w.node(&node, || format!("port {port}"));
        if self.punts.takes(ip.family, port, false) {
            let node = ip.family.pick("ip4-udp-punt", "ip6-udp-punt");
            return self.punt(w, ip.family, packet, node, "udp port punt");
        }
        if self.ipsec.listens(port) {
            return self.ipsec_input(w, &packet, ip, ip.l4 + UDP_HEADER);
        }
        if !self.wireguard.listening(port).is_empty() {
            return self.wg_input(w, &packet, ip);
        }
        if self.vxlan.listens(ip.family, port) {
            return self.vxlan_input(w, &packet, ip, port, table);
        }
        if self.punts.takes(ip.family, port, true) {
            return self.punt(w, ip.family, packet, &node, "no listener for dst port");
        }
        let (icmp_type, code) = match ip.family {
            Family::V4 => (3, 3),
            Family::V6 => (1, 4),
        };
        self.icmp_error(w, &packet, &node, "no listener for dst port", icmp_type, code, 0);
    }

    /// `vxlan4/6-input`: the payload goes on as received on the tunnel.
    fn vxlan_input(&mut self, w: &mut Walk, packet: &Packet, ip: &Ip, port: u16, table: u32) {
        let node = Vxlan::input_node(ip.family);
        let at = ip.l4 + UDP_HEADER;
        let Some(header) = packet.data.get(at..at + VXLAN_HEADER) else {
            return self.drop_packet(w, packet.rx, node, "too short");
        };
        if header[0] != VXLAN_FLAGS_I {
            return self.drop_packet(w, packet.rx, node, "bad flags");
        }
        let vni = be32(header, 4) >> 8;
        let Some((rx, tunnel)) = self.vxlan.find(ip.dst, ip.src, port, table, vni) else {
            w.node(node, || format!("vni {vni} from {}", ip.src));
            return self.drop_packet(w, packet.rx, node, "no such tunnel");
        };
        let payload = packet.data[at + VXLAN_HEADER..ip.end].to_vec();
        w.node(node, || format!("vni {vni} from {} on interface {rx}", ip.src));
        if w.depth >= MAX_DEPTH {
            return self.drop_packet(w, packet.rx, node, "loop");
        }
        if let Some(interface) = self.interfaces.get_mut(rx) {
            interface.counters.rx_packets += 1;
            interface.counters.rx_bytes += payload.len() as u64;
        }
        let next = self
            .graph
            .next_name(node, tunnel.decap_next_index)
            .unwrap_or("error-drop")
            .to_owned();
        w.depth += 1;
        let inner = Packet {
            cnat: packet.cnat,
            ..Packet::new(payload, rx)
        };
        match next.as_str() {
            "ip4-input" => self.ip_input(w, Family::V4, inner),
            "ip6-input" => self.ip_input(w, Family::V6, inner),
            "l2-input" | "ethernet-input" if !tunnel.is_l3 => {
                self.ethernet_input(w, rx, &inner.data);
            }
            _ => self.drop_packet(w, rx, node, "payload goes to the drop node"),
        }
        w.depth -= 1;
    }

    /// An echo request from VPP itself (the CLI's `ping`), and the interface it left by.
    pub fn ping(&mut self, table_id: u32, to: IpAddr, id: u16, now: u64) -> crate::engine::Trace {
        let (proto, icmp_type) = match Family::of(to) {
            Family::V4 => (ICMP, 8),
            Family::V6 => (ICMP6, 128),
        };
        let mut body = vec![icmp_type, 0, 0, 0];
        body.extend(id.to_be_bytes());
        body.extend([0, 1]);
        body.extend([0; 32]);
        let leaves_by = match self.forward(table_id, to, 0) {
            Forward::Adjacency { sw_if_index, .. } | Forward::Glean { sw_if_index } => sw_if_index,
            _ => 0,
        };
        let packet = self.source_address(leaves_by, to).and_then(|source| {
            crate::engine::packet::ip::packet(source, to, proto, HOST_TTL, &body, Some(2))
        });
        self.send_local(table_id, &packet.unwrap_or_default(), now)
    }
}
