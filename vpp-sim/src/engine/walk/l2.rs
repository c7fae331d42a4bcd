//! Cross-connected interfaces: `l2-input` to `l2-output`, with the ACLs bound to both.
use super::Walk;
use crate::engine::Vpp;
use crate::engine::packet::ip::Ip;
use crate::engine::packet::{ETHERNET_LEN, ETHERTYPE_IP4, ETHERTYPE_IP6, Ethernet};

impl Vpp {
    pub(super) fn l2_xconnect(&mut self, w: &mut Walk, rx: u32, tx: u32, frame: &[u8], ethernet: &Ethernet) {
        w.node("l2-input", || format!("cross-connected to {tx}"));
        // The acl plugin also sits on the L2 path; frames that are not IP pass.
        let payload = &frame[ETHERNET_LEN..];
        if matches!(ethernet.ethertype, ETHERTYPE_IP4 | ETHERTYPE_IP6)
            && let Ok(ip) = Ip::parse(payload)
        {
            let tuple = ip.acl_tuple(payload);
            for (sw_if_index, is_input) in [(rx, true), (tx, false)] {
                if self.acl.list(sw_if_index, is_input).is_empty() {
                    continue;
                }
                let side = if is_input { "in" } else { "out" };
                let node = format!("acl-plugin-{side}-{}-l2", ip.family.node_prefix());
                let verdict = self
                    .acl
                    .check(sw_if_index, is_input, &tuple, payload.len(), w.now);
                w.node(&node, || format!("permit {}", verdict.permit));
                if !verdict.permit {
                    return self.drop_packet(w, rx, &node, "ACL deny packets");
                }
            }
        }
        w.node("l2-output", String::new);
        // An interface in L3 mode has no place in the table of outputs (`l2_input.c`, set_int_l2_mode).
        if self.l2.xconnect(tx).is_none() {
            return self.drop_packet(w, rx, "l2-output", "L2 Output interface not valid");
        }
        self.interface_output(w, rx, tx, frame.to_vec());
    }
}
