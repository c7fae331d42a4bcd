//! `policer-input`, `policer-output` and `ip4/6-punt-policer`: colours, and what becomes of them.
use super::{Packet, Walk};
use crate::engine::Vpp;
use crate::engine::feature::{output_arc, unicast_arc};
use crate::engine::packet::{ETHERNET_LEN, checksum, put16};
use crate::engine::types::Family;

const DROP: u8 = 0;
const MARK: u8 = 2;

impl Vpp {
    /// The policers of received packets, as often as they are on; whether the packet may go on.
    pub(super) fn policer_input(&mut self, w: &mut Walk, family: Family, packet: &mut Packet) -> bool {
        let rx = packet.rx;
        let count = self.features.count(unicast_arc(family), "policer-input", rx);
        // VPP adds the Ethernet header that is already off.
        let extra = self.header_length(rx);
        (0..count).all(|_| self.policer_node(w, packet, true, rx, extra))
    }

    /// The policers of packets to be sent; whether the packet may go on.
    pub(super) fn policer_output(
        &mut self,
        w: &mut Walk,
        family: Family,
        packet: &mut Packet,
        tx: u32,
    ) -> bool {
        let count = self.features.count(output_arc(family), "policer-output", tx);
        let extra = self.header_length(tx);
        (0..count).all(|_| self.policer_node(w, packet, false, tx, extra))
    }

    fn header_length(&self, sw_if_index: u32) -> usize {
        let is_ethernet = self
            .interfaces
            .get(sw_if_index)
            .is_some_and(|interface| interface.is_ethernet());
        if is_ethernet { ETHERNET_LEN } else { 0 }
    }

    fn policer_node(
        &mut self,
        w: &mut Walk,
        packet: &mut Packet,
        is_input: bool,
        sw_if_index: u32,
        extra: usize,
    ) -> bool {
        let node = if is_input {
            "policer-input"
        } else {
            "policer-output"
        };
        let Some(index) = self.policers.applied(is_input, sw_if_index) else {
            return true;
        };
        w.node(node, || {
            format!("VNET_POLICER: sw_if_index {sw_if_index} policer_index {index}")
        });
        let passes = self.police(index, packet, extra, w.now);
        if passes {
            self.errors.count(node, "Packets Transmitted");
        } else {
            self.drop_packet(w, packet.rx, node, "Packets Dropped");
        }
        passes
    }

    /// Takes tokens for a packet, and marks it; whether it may go on.
    pub(super) fn police(&mut self, index: u32, packet: &mut Packet, extra: usize, now: u64) -> bool {
        let Some(policer) = self.policers.get_mut(index) else {
            return true;
        };
        let length = packet.data.len() + extra;
        let colour = policer.bucket.police(length as u32, now).index();
        let counters = &mut policer.counters[colour];
        counters.packets += 1;
        counters.bytes += length as u64;
        let action = policer.config.actions[colour];
        // VPP marks what stands where the frame began: of a packet that came out of a tunnel, a header that is gone.
        if action.kind == MARK && packet.from.is_some() {
            mark(&mut packet.data, action.dscp);
        }
        action.kind != DROP
    }

    /// The policer of punted packets; whether the packet may go on.
    pub(super) fn punt_policer(&mut self, w: &mut Walk, family: Family, packet: &mut Packet) -> bool {
        let Some(index) = self.policers.punted(family) else {
            return true;
        };
        let node = family.pick("ip4-punt-policer", "ip6-punt-policer");
        w.node(node, || format!("policer {index}"));
        let passes = self.police(index, packet, 0, w.now);
        if !passes {
            self.drop_packet(w, packet.rx, node, "ip punt policer drop");
        }
        passes
    }
}

/// Writes the differentiated services code point (RFC 2474).
fn mark(data: &mut [u8], dscp: u8) {
    match data.first().map(|first| first >> 4) {
        Some(4) if data.len() >= 20 => {
            data[1] = (data[1] & 3) | (dscp << 2);
            put16(data, 10, 0);
            let header = usize::from(data[0] & 15) * 4;
            let sum = checksum::checksum(&data[..header.clamp(20, data.len())]);
            put16(data, 10, sum);
        }
        Some(6) if data.len() >= 40 => {
            let class = (dscp << 2) | ((data[1] >> 4) & 3);
            data[0] = 0x60 | (class >> 4);
            data[1] = (class << 4) | (data[1] & 15);
        }
        _ => {}
    }
}
