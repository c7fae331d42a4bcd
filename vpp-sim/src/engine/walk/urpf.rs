//! `ip4/6-rx/tx-urpf-loose/strict`.
use std::net::IpAddr;

use super::{Packet, Walk};
use crate::engine::Vpp;
use crate::engine::packet::ip::Ip;
use crate::engine::types::Family;
use crate::engine::urpf::{UrpfMode, arc, node};

impl Vpp {
    /// The checks of an interface, as often as they are on; whether the packet may go on.
    pub(super) fn urpf(
        &mut self,
        w: &mut Walk,
        family: Family,
        packet: &Packet,
        sw_if_index: u32,
        is_input: bool,
    ) -> bool {
        let Some(check) = self.urpf.get(sw_if_index, family, is_input) else {
            return true;
        };
        for mode in [UrpfMode::Loose, UrpfMode::Strict] {
            let Some(node) = node(family, is_input, mode) else {
                continue;
            };
            if self.features.count(arc(family, is_input), node, sw_if_index) == 0 {
                continue;
            }
            let Ok(ip) = Ip::parse(&packet.data) else {
                return true;
            };
            w.node(node, || format!("uRPF: {} in table {}", ip.src, check.table_id));
            let by = self.urpf_interfaces(check.table_id, ip.src);
            let has_way = match (mode, is_input) {
                (UrpfMode::Strict, true) => by.contains(&sw_if_index),
                // Back by where it came from is not to be.
                (UrpfMode::Strict, false) => packet.local || (!by.is_empty() && !by.contains(&sw_if_index)),
                _ => !by.is_empty(),
            };
            if !has_way && !is_to_many(ip.dst) {
                self.drop_packet(w, packet.rx, node, "uRPF Drop");
                return false;
            }
        }
        true
    }
}

fn is_to_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_multicast(),
    }
}
