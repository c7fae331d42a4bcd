//! `ip4/6-input`, the unicast feature arc, `ip4/6-lookup` and what a lookup leads to.
use std::net::IpAddr;

use super::{Packet, Walk};
use crate::engine::Vpp;
use crate::engine::cnat;
use crate::engine::feature::unicast_arc;
use crate::engine::fib::Forward;
use crate::engine::packet::checksum;
use crate::engine::packet::hash::flow_hash;
use crate::engine::packet::ip::Ip;
use crate::engine::types::Family;

/// ICMP type and code of a refusal: no way there, or forbidden (`ip_null_dpo.c`).
fn unreachable(family: Family, prohibited: bool) -> (u8, u8) {
    match (family, prohibited) {
        (Family::V4, false) => (3, 1),
        (Family::V4, true) => (3, 10),
        (Family::V6, false) => (1, 0),
        (Family::V6, true) => (1, 1),
    }
}

fn time_exceeded(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (11, 0),
        Family::V6 => (3, 0),
    }
}

impl Vpp {
    pub(super) fn ip_input(&mut self, w: &mut Walk, family: Family, mut packet: Packet) {
        let node = match family {
            Family::V4 => "ip4-input",
            Family::V6 => "ip6-input",
        };
        let ip = match Ip::parse(&packet.data) {
            Ok(ip) if ip.family == family => ip,
            Ok(_) => return self.drop_packet(w, packet.rx, node, "wrong ip version"),
            Err(reason) => return self.drop_packet(w, packet.rx, node, reason),
        };
        // Ethernet's padding is no part of the packet.
        packet.data.truncate(ip.end);
        w.node(node, || describe(&ip, &packet.data));
        if family == Family::V4 && checksum::fold(checksum::sum(&packet.data[..ip.header_len])) != 0xffff {
            return self.drop_packet(w, packet.rx, node, "bad ip4 checksum");
        }
        let active = self
            .interfaces
            .get(packet.rx)
            .is_some_and(|i| self.ip_active(i, family));
        if !active {
            let node = format!("{}-not-enabled", family.node_prefix());
            return self.drop_packet(w, packet.rx, &node, "no address on the interface");
        }
        if is_multicast(ip.dst) {
            return self.multicast_input(w, packet, &ip);
        }
        if ip.ttl < 1 {
            let (icmp_type, code) = time_exceeded(family);
            return self.icmp_error(w, &packet, node, "time expired", icmp_type, code, 0);
        }
        self.unicast_arc(w, family, packet);
    }

    /// cnat (as often as it was enabled), input ACLs, NAT44, l3xc, ABF, lookup: the order of `ip4-unicast`.
    fn unicast_arc(&mut self, w: &mut Walk, family: Family, mut packet: Packet) {
        let prefix = family.node_prefix();
        let rx = packet.rx;
        let table = self.table_of(rx, family);
        if !self.urpf(w, family, &packet, rx, true) || !self.policer_input(w, family, &mut packet) {
            return;
        }
        for _ in 0..self.cnat_node_count(rx, family, cnat::CnatNode::Input) {
            let Ok(ip) = Ip::parse(&packet.data) else {
                return;
            };
            let place = cnat::Place::Input;
            let verdict = self.cnat.arc_input(&ip, &mut packet.data, place, w.now);
            let node = family.pick("cnat-input-ip4", "cnat-input-ip6");
            w.node(node, || describe_nat(verdict, &packet.data));
            if let cnat::Verdict::Via(backend) = verdict {
                let forward = self.forward(table, backend, 0);
                return self.follow(w, family, packet, forward, node);
            }
        }
        for _ in 0..self.features.count(
            unicast_arc(family),
            family.pick("cnat-lookup-ip4", "cnat-lookup-ip6"),
            rx,
        ) {
            let Ok(ip) = Ip::parse(&packet.data) else {
                return;
            };
            packet.cnat = self.cnat.lookup(&ip, &packet.data, table, w.now);
            let meta = packet.cnat;
            w.node(format_args!("cnat-lookup-{prefix}"), || meta.describe());
        }
        for _ in 0..self.features.count(
            unicast_arc(family),
            family.pick("cnat-input-ip4", "cnat-input-ip6"),
            rx,
        ) {
            let Ok(ip) = Ip::parse(&packet.data) else {
                return;
            };
            let node = family.pick("cnat-input-ip4", "cnat-input-ip6");
            let verdict = self.cnat.input(&mut packet.cnat, &ip, &mut packet.data);
            w.node(node, || describe_nat(verdict, &packet.data));
            match verdict {
                cnat::Verdict::Drop(reason) => return self.drop_packet(w, rx, node, reason),
                cnat::Verdict::Via(backend) => {
                    let forward = self.forward(table, backend, 0);
                    return self.follow(w, family, packet, forward, node);
                }
                cnat::Verdict::Unchanged | cnat::Verdict::Rewritten => {}
            }
        }
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        let tuple = ip.acl_tuple(&packet.data);
        if !self.acl.list(rx, true).is_empty() {
            let node = family.pick("acl-plugin-in-ip4-fa", "acl-plugin-in-ip6-fa");
            let length = packet.data.len();
            let verdict = self.acl.check(rx, true, &tuple, length, w.now);
            w.node(node, || self.describe_acl(&verdict));
            if !verdict.permit {
                return self.drop_packet(w, rx, node, "ACL deny packets");
            }
        }
        if family == Family::V4 && !self.nat44_input(w, &mut packet) {
            return;
        }
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        let hash = self.table_hash(table, &ip, &packet.data);
        if let Some(list) = self.l2.l3xc(rx, family) {
            let node = family.pick("l3xc-input-ip4", "l3xc-input-ip6");
            w.node(node, String::new);
            let forward = self.forward_paths(list, ip.dst, hash);
            return self.follow(w, family, packet, forward, node);
        }
        if let Some(list) = self.abf_match(rx, family, &ip.acl_tuple(&packet.data)) {
            let node = family.pick("abf-input-ip4", "abf-input-ip6");
            w.node(node, || "matched".to_owned());
            let forward = self.forward_paths(list, ip.dst, hash);
            return self.follow(w, family, packet, forward, node);
        }
        self.ip_lookup(w, family, packet);
    }

    fn table_hash(&self, table: u32, ip: &Ip, data: &[u8]) -> u32 {
        let config = self
            .fibs
            .tables
            .get(&(ip.family, table))
            .map_or(0, |t| t.flow_hash);
        flow_hash(ip, data, config)
    }

    pub(super) fn ip_lookup(&mut self, w: &mut Walk, family: Family, packet: Packet) {
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        let table = packet.table.unwrap_or_else(|| self.table_of(packet.rx, family));
        let node = match family {
            Family::V4 => "ip4-lookup",
            Family::V6 => "ip6-lookup",
        };
        if self.is_own_link_local(packet.rx, ip.dst) {
            w.node(node, || format!("{} is link-local", ip.dst));
            return self.ip_local(w, packet);
        }
        let forward = self.forward(table, ip.dst, self.table_hash(table, &ip, &packet.data));
        w.node(node, || format!("table {table} {}: {forward:?}", ip.dst));
        self.follow(w, family, packet, forward, node);
    }

    /// Does with a packet what a lookup found.
    pub(super) fn follow(
        &mut self,
        w: &mut Walk,
        family: Family,
        packet: Packet,
        forward: Forward,
        node: &str,
    ) {
        if !self.path_mtus.is_empty() && self.longer_than_path(w, family, &packet, &forward) {
            return;
        }
        match forward {
            Forward::Drop(reason) => self.drop_packet(w, packet.rx, node, reason),
            Forward::Unreach | Forward::Prohibit => {
                let prohibited = forward == Forward::Prohibit;
                let (icmp_type, code) = unreachable(family, prohibited);
                let reason = if prohibited {
                    "prohibited by route"
                } else {
                    "unreachable by route"
                };
                let node = format!("{}-null", family.node_prefix());
                self.icmp_error(w, &packet, &node, reason, icmp_type, code, 0);
            }
            Forward::Local => self.ip_local(w, packet),
            Forward::Adjacency {
                sw_if_index,
                next_hop,
            } => self.rewrite(w, family, packet, sw_if_index, next_hop),
            Forward::Glean { sw_if_index } => self.glean(w, family, packet, sw_if_index),
            Forward::CnatClient => self.cnat_tx(w, family, packet),
            Forward::SrLocalSid(index) => self.sr_localsid(w, packet, index),
            Forward::SrPolicy { policy, to_bsid } => self.sr_policy(w, family, packet, policy, to_bsid),
        }
    }

    /// The destination is on the link of a connected prefix: it is its own next hop.
    fn glean(&mut self, w: &mut Walk, family: Family, packet: Packet, sw_if_index: u32) {
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        let needs_mac = self.interfaces.get(sw_if_index).is_some_and(|i| i.is_ethernet());
        if !needs_mac || self.neighbors.mac(sw_if_index, ip.dst).is_some() {
            return self.rewrite(w, family, packet, sw_if_index, ip.dst);
        }
        let node = match family {
            Family::V4 => "ip4-glean",
            Family::V6 => "ip6-glean",
        };
        w.node(node, || format!("who has {} on {sw_if_index}", ip.dst));
        self.drop_packet(w, packet.rx, node, "no neighbour yet, asked for it");
        self.probe(w, sw_if_index, ip.dst);
    }

    /// `ip4/6-cnat-tx`: a virtual address reached through the FIB.
    fn cnat_tx(&mut self, w: &mut Walk, family: Family, mut packet: Packet) {
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        let node = family.pick("ip4-cnat-tx", "ip6-cnat-tx");
        let table = packet.table.unwrap_or_else(|| self.table_of(packet.rx, family));
        let verdict = if self.cnat.per_arc.is_some() {
            self.cnat
                .arc_input(&ip, &mut packet.data, cnat::Place::Fib, w.now)
        } else {
            self.cnat
                .at_vip(&mut packet.cnat, &ip, &mut packet.data, table, w.now)
        };
        w.node(node, || describe_nat(verdict, &packet.data));
        let to = match verdict {
            cnat::Verdict::Drop(reason) => return self.drop_packet(w, packet.rx, node, reason),
            cnat::Verdict::Via(backend) => backend,
            cnat::Verdict::Rewritten => match Ip::parse(&packet.data) {
                Ok(ip) => ip.dst,
                Err(_) => return,
            },
            cnat::Verdict::Unchanged => ip.dst,
        };
        let forward = self.forward_beneath_cnat(table, to, 0);
        self.follow(w, family, packet, forward, node);
    }

    fn multicast_input(&mut self, w: &mut Walk, packet: Packet, ip: &Ip) {
        let node = match ip.family {
            Family::V4 => "ip4-mfib-forward-lookup",
            Family::V6 => "ip6-mfib-forward-lookup",
        };
        w.node(node, || ip.dst.to_string());
        // Groups are joined where the link speaks IPv6 by itself; borrowing an address does not do (`ip6_link.c`).
        let joined = self.interfaces.get(packet.rx).is_some_and(|i| {
            i.ip_enabled[Family::V6.index()] || i.addresses.iter().any(|p| p.family() == Family::V6)
        });
        if ip.family == Family::V6 && ip.is_icmp() && !joined {
            return self.drop_packet(w, packet.rx, "ip6-mfib-forward-rpf", "RPF check failed");
        }
        if ip.family == Family::V6 && ip.is_icmp() {
            return self.icmp6_input(w, packet, ip);
        }
        self.drop_packet(w, packet.rx, node, "multicast is not forwarded");
    }

    fn describe_acl(&self, verdict: &crate::engine::acl::Verdict) -> String {
        match (verdict.rule, verdict.session) {
            (Some((acl, rule)), session) => {
                let tag = self.acl(acl).map_or("", |a| a.tag.as_str());
                let action = if verdict.permit { "permit" } else { "deny" };
                let made = if session.is_some() { ", new session" } else { "" };
                format!("{action}: acl {acl} ({tag}) rule {rule}{made}")
            }
            (None, Some(session)) => format!("permit: session {session}"),
            (None, None) => "deny: no rule matches".to_owned(),
        }
    }

    /// The output ACL's node; whether the packet may go on.
    pub(super) fn acl_output(&mut self, w: &mut Walk, packet: &Packet, tx: u32, ip: &Ip) -> bool {
        if self.acl.list(tx, false).is_empty() {
            return true;
        }
        let node = ip.family.pick("acl-plugin-out-ip4-fa", "acl-plugin-out-ip6-fa");
        let tuple = ip.acl_tuple(&packet.data);
        let length = packet.data.len();
        let verdict = self.acl.check(tx, false, &tuple, length, w.now);
        w.node(node, || self.describe_acl(&verdict));
        if !verdict.permit {
            self.drop_packet(w, packet.rx, node, "ACL deny packets");
        }
        verdict.permit
    }

    pub(super) fn ttl_expired(&mut self, w: &mut Walk, packet: &Packet, family: Family, node: &str) {
        let (icmp_type, code) = time_exceeded(family);
        self.icmp_error(w, packet, node, "ttl <= 1", icmp_type, code, 0);
    }
}

fn is_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_multicast(),
    }
}

pub(super) fn describe(ip: &Ip, data: &[u8]) -> String {
    let (src_port, dst_port) = ip.ports(data);
    let ports = |port: u16| {
        if port == 0 {
            String::new()
        } else {
            format!(":{port}")
        }
    };
    format!(
        "proto {}: {}{} -> {}{} ttl {}",
        ip.proto,
        ip.src,
        ports(src_port),
        ip.dst,
        ports(dst_port),
        ip.ttl
    )
}

pub(super) fn describe_nat(verdict: cnat::Verdict, data: &[u8]) -> String {
    match verdict {
        cnat::Verdict::Unchanged => "unchanged".to_owned(),
        cnat::Verdict::Drop(reason) => reason.to_owned(),
        cnat::Verdict::Via(backend) => format!("unchanged, via {backend}"),
        cnat::Verdict::Rewritten => match Ip::parse(data) {
            Ok(ip) => format!("now {}", describe(&ip, data)),
            Err(reason) => reason.to_owned(),
        },
    }
}
