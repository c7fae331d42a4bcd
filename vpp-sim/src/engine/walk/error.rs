//! `ip4/6-icmp-error`: refusing a packet with an ICMP message to its sender.
use std::net::IpAddr;

use super::{Packet, Walk};
use crate::engine::packet::ip::{Ip, packet as ip_packet};
use crate::engine::packet::nat::is_error;
use crate::engine::packet::{ICMP, ICMP6};
use crate::engine::types::Family;
use crate::engine::{Fate, Vpp};

/// Longest message: 576 bytes for IPv4 (RFC 1812, 4.3.2.3), the minimum MTU for IPv6 (RFC 4443, 2.4).
fn longest(family: Family) -> usize {
    match family {
        Family::V4 => 576,
        Family::V6 => 1280,
    }
}

impl Vpp {
    /// `value` is the message's second word: the MTU, or 0.
    #[allow(clippy::too_many_arguments)] // The message's fields.
    pub(super) fn icmp_error(
        &mut self,
        w: &mut Walk,
        packet: &Packet,
        node: &str,
        reason: &str,
        icmp_type: u8,
        icmp_code: u8,
        value: u32,
    ) {
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        // RFC 1122, 3.2.2 and RFC 4443, 2.4 (e): no error about an error, about a later fragment,
        // or to nobody in particular.
        let about_error = ip.icmp(&packet.data).is_some_and(|(t, _)| is_error(ip.family, t));
        let anonymous = ip.src.is_unspecified() || ip.src.is_multicast();
        let source = self.source_address(packet.rx, ip.src);
        let (Some(source), false) = (source, about_error || anonymous || ip.fragment_offset != 0) else {
            return self.drop_packet(w, packet.rx, node, reason);
        };
        if let Some(interface) = self.interfaces.get_mut(packet.rx) {
            interface.counters.drops += 1;
        }
        self.errors.count(node, reason);
        w.settle(|| Fate::Rejected {
            node: node.to_owned(),
            reason: reason.to_owned(),
            icmp_type,
            icmp_code,
        });
        let error_node = format!("{}-icmp-error", ip.family.node_prefix());
        w.node(&error_node, || {
            format!("type {icmp_type} code {icmp_code} to {}: {reason}", ip.src)
        });
        let (proto, header) = match ip.family {
            Family::V4 => (ICMP, 20),
            Family::V6 => (ICMP6, 40),
        };
        let mut body = vec![icmp_type, icmp_code, 0, 0];
        body.extend(value.to_be_bytes());
        let room = longest(ip.family) - header - body.len();
        body.extend(packet.data.iter().take(room));
        let Some(data) = ip_packet(source, ip.src, proto, 255, &body, Some(2)) else {
            return;
        };
        let answer = Packet {
            data,
            local: true,
            ..packet.clone()
        };
        if is_link_local(ip.src)
            && let Some(mac) = packet.from
        {
            return self.send_on_link(w, packet.rx, mac, answer.data);
        }
        self.ip_lookup(w, ip.family, answer);
    }
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.is_unicast_link_local())
}
