//! nat44-ed on the arcs: `nat-pre-in2out`, `nat-pre-out2in`, `nat44-ed-classify` and `nat-pre-in2out-output`.
use super::input::describe;
use super::{Packet, Walk};
use crate::engine::Vpp;
use crate::engine::feature::{IP4_OUTPUT, IP4_UNICAST};
use crate::engine::nat44::Step;
use crate::engine::packet::ip::Ip;
use crate::engine::types::Family;

const IN2OUT: &str = "nat44-ed-in2out";
const OUT2IN: &str = "nat44-ed-out2in";
const OUTPUT: &str = "nat44-ed-in2out-output";

impl Vpp {
    /// As often as it is enabled on the interface; whether the packet goes on.
    pub(super) fn nat44_input(&mut self, w: &mut Walk, packet: &mut Packet) -> bool {
        if !self.nat44.is_enabled() {
            return true;
        }
        for feature in ["nat44-ed-classify", "nat-pre-out2in", "nat-pre-in2out"] {
            for _ in 0..self.features.count(IP4_UNICAST, feature, packet.rx) {
                w.node(feature, String::new);
                let from_inside = match feature {
                    "nat-pre-in2out" => true,
                    "nat-pre-out2in" => false,
                    _ => self.nat44_is_from_inside(&packet.data, packet.rx),
                };
                if !self.nat44_step(w, packet, from_inside) {
                    return false;
                }
            }
        }
        true
    }

    fn nat44_step(&mut self, w: &mut Walk, packet: &mut Packet, from_inside: bool) -> bool {
        let (step, table) = if from_inside {
            self.nat44_in2out(&mut packet.data, packet.rx, None, w.now)
        } else {
            self.nat44_out2in(&mut packet.data, packet.rx, w.now)
        };
        let node = if from_inside { IN2OUT } else { OUT2IN };
        trace(w, node, packet);
        if table.is_some() {
            packet.table = table;
        }
        match step {
            Step::Next => true,
            Step::In2Out => self.nat44_step(w, packet, true),
            Step::Drop(reason) => {
                self.drop_packet(w, packet.rx, node, reason);
                false
            }
            Step::TimeExceeded => {
                self.ttl_expired(w, packet, Family::V4, node);
                false
            }
        }
    }

    /// As often as it is enabled on the interface the packet leaves by; whether it goes on.
    pub(super) fn nat44_output(&mut self, w: &mut Walk, packet: &mut Packet, tx: u32) -> bool {
        if !self.nat44.is_enabled() {
            return true;
        }
        for _ in 0..self.features.count(IP4_OUTPUT, "nat-pre-in2out-output", tx) {
            w.node("nat-pre-in2out-output", String::new);
            let (step, _) = self.nat44_in2out(&mut packet.data, packet.rx, Some(tx), w.now);
            trace(w, OUTPUT, packet);
            if let Step::Drop(reason) = step {
                self.drop_packet(w, packet.rx, OUTPUT, reason);
                return false;
            }
        }
        true
    }
}

fn trace(w: &mut Walk, node: &str, packet: &Packet) {
    w.node(node, || match Ip::parse(&packet.data) {
        Ok(ip) => describe(&ip, &packet.data),
        Err(reason) => reason.to_owned(),
    });
}
