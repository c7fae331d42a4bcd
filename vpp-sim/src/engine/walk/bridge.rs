//! Bridged interfaces: `l2-input`, `l2-learn`, `l2-fwd`, `l2-flood` and `l2-output`.
use super::Walk;
use crate::engine::Vpp;
use crate::engine::bridge::{Learnt, Port, bridge_feature};
use crate::engine::packet::{ETHERNET_LEN, ETHERTYPE_ARP, ETHERTYPE_IP6, Ethernet};

/// ARP requests and neighbour solicitations: those of a BVI reach its own split-horizon group, too.
fn asks_for_neighbour(frame: &[u8], ethernet: &Ethernet) -> bool {
    let payload = &frame[ETHERNET_LEN..];
    match ethernet.ethertype {
        ETHERTYPE_ARP => payload.get(6..8) == Some(&[0, 1]),
        ETHERTYPE_IP6 => payload.get(6) == Some(&58) && payload.get(40) == Some(&135),
        _ => false,
    }
}

impl Vpp {
    /// A frame that enters a bridge domain on one of its ports; `own` = layer 3 sends it through a BVI.
    pub(super) fn bridge(
        &mut self,
        w: &mut Walk,
        rx: u32,
        port: Port,
        frame: &[u8],
        ethernet: &Ethernet,
        own: bool,
    ) {
        let (src, dst) = (ethernet.src, ethernet.dst);
        w.node("l2-input", || format!("bridged, {src} to {dst}"));
        let features = self.bridges.features(port, rx);
        let hears_all = own && (!dst.is_multicast() || asks_for_neighbour(frame, ethernet));
        let shg = if hears_all { 0 } else { port.shg };
        if !self.l2_acl(w, rx, rx, true, frame, ethernet) {
            return;
        }
        if features & bridge_feature::LEARN != 0 {
            let learnt = self.bridges.learn(port, rx, src, w.now);
            w.node("l2-learn", || format!("{src} on {rx}"));
            if let Learnt::Drop(reason) = learnt {
                return self.drop_packet(w, rx, "l2-learn", reason);
            }
        }
        if dst.is_multicast() {
            if features & bridge_feature::FLOOD == 0 {
                return self.drop_packet(w, rx, "feature-bitmap-drop", "L2 feature forwarding disabled");
            }
            return self.flood(w, rx, port, shg, frame, ethernet);
        }
        if features & bridge_feature::FWD == 0 {
            let flood = features & (bridge_feature::UU_FWD | bridge_feature::UU_FLOOD) != 0;
            return if flood {
                self.unknown_unicast(w, rx, port, shg, frame, ethernet)
            } else if features & bridge_feature::FLOOD != 0 {
                self.flood(w, rx, port, shg, frame, ethernet)
            } else {
                self.drop_packet(w, rx, "feature-bitmap-drop", "L2 feature forwarding disabled")
            };
        }
        let Some(entry) = self.bridges.lookup(port, dst) else {
            return self.unknown_unicast(w, rx, port, shg, frame, ethernet);
        };
        w.node("l2-fwd", || format!("{dst} is on {}", entry.sw_if_index));
        if entry.sw_if_index == rx {
            return self.drop_packet(w, rx, "l2-fwd", "Reflection Drop");
        }
        if entry.is_filter {
            return self.drop_packet(w, rx, "l2-fwd", "Filter Mac Drop");
        }
        if entry.is_bvi {
            return self.deliver_to_bvi(w, rx, entry.sw_if_index, frame, ethernet, "l2-fwd");
        }
        self.bridge_output(w, rx, entry.sw_if_index, shg, frame, ethernet);
    }

    /// `l2-uu-fwd` or `l2-flood`, of a frame to an address that is not known.
    fn unknown_unicast(
        &mut self,
        w: &mut Walk,
        rx: u32,
        port: Port,
        shg: u8,
        frame: &[u8],
        ethernet: &Ethernet,
    ) {
        let features = self.bridges.features(port, rx);
        if features & bridge_feature::UU_FWD != 0 {
            return match self.bridges.uu_fwd(port) {
                Some(tx) => self.bridge_output(w, rx, tx, shg, frame, ethernet),
                None => self.drop_packet(w, rx, "l2-uu-fwd", "L2 UU forwarding drop"),
            };
        }
        if features & bridge_feature::UU_FLOOD == 0 {
            return self.drop_packet(w, rx, "l2-fwd", "L2 forward misses");
        }
        self.flood(w, rx, port, shg, frame, ethernet);
    }

    fn flood(&mut self, w: &mut Walk, rx: u32, port: Port, shg: u8, frame: &[u8], ethernet: &Ethernet) {
        let members = self.bridges.flood(port, rx, shg);
        w.node("l2-flood", || format!("to {} members", members.len()));
        if members.is_empty() {
            return self.drop_packet(w, rx, "l2-flood", "L2 replication complete");
        }
        for (tx, is_bvi) in members {
            if is_bvi {
                self.deliver_to_bvi(w, rx, tx, frame, ethernet, "l2-flood");
            } else {
                self.bridge_output(w, rx, tx, shg, frame, ethernet);
            }
        }
    }

    /// `l2-output`, which also keeps frames from leaving in the split-horizon group they came from.
    fn bridge_output(&mut self, w: &mut Walk, rx: u32, tx: u32, shg: u8, frame: &[u8], ethernet: &Ethernet) {
        let same = shg != 0 && self.bridges.port(tx).is_some_and(|p| p.shg == shg);
        if same {
            return self.drop_packet(w, rx, "l2-output", "L2 split horizon drops");
        }
        self.l2_output(w, rx, tx, frame, ethernet);
    }

    /// Up to layer 3, as if the BVI had received it (`l2_to_bvi`).
    fn deliver_to_bvi(
        &mut self,
        w: &mut Walk,
        rx: u32,
        bvi: u32,
        frame: &[u8],
        ethernet: &Ethernet,
        node: &str,
    ) {
        let Some(interface) = self.interfaces.get_mut(bvi) else {
            return self.drop_packet(w, rx, node, "no such interface");
        };
        if !ethernet.dst.is_multicast() && ethernet.dst != interface.mac {
            return self.drop_packet(w, rx, node, "BVI L3 MAC mismatch");
        }
        interface.counters.rx_packets += 1;
        interface.counters.rx_bytes += (frame.len() - ETHERNET_LEN) as u64;
        self.layer3_input(w, bvi, frame, ethernet);
    }
}
