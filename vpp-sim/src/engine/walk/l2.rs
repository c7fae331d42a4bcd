//! Cross-connected interfaces: `l2-input` to `l2-output`, with the ACLs bound to both.
use super::Walk;
use crate::engine::Vpp;
use crate::engine::packet::ip::Ip;
use crate::engine::packet::{ETHERNET_LEN, ETHERTYPE_IP4, ETHERTYPE_IP6, Ethernet};

impl Vpp {
    pub(super) fn l2_xconnect(&mut self, w: &mut Walk, rx: u32, tx: u32, frame: &[u8], ethernet: &Ethernet) {
        w.node("l2-input", || format!("cross-connected to {tx}"));
        if self.l2_acl(w, rx, rx, true, frame, ethernet) {
            self.l2_output(w, rx, tx, frame, ethernet);
        }
    }

    /// The ACLs of an interface on the path of frames; those that are not IP pass. Whether it may go on.
    pub(super) fn l2_acl(
        &mut self,
        w: &mut Walk,
        rx: u32,
        sw_if_index: u32,
        is_input: bool,
        frame: &[u8],
        ethernet: &Ethernet,
    ) -> bool {
        let is_ip = matches!(ethernet.ethertype, ETHERTYPE_IP4 | ETHERTYPE_IP6);
        let payload = &frame[ETHERNET_LEN..];
        let (true, Ok(ip)) = (is_ip, Ip::parse(payload)) else {
            return true;
        };
        if self.acl.list(sw_if_index, is_input).is_empty() {
            return true;
        }
        let side = if is_input { "in" } else { "out" };
        let node = format!("acl-plugin-{side}-{}-l2", ip.family.node_prefix());
        let tuple = ip.acl_tuple(payload);
        let verdict = self
            .acl
            .check(sw_if_index, is_input, &tuple, payload.len(), w.now);
        w.node(&node, || format!("permit {}", verdict.permit));
        if !verdict.permit {
            self.drop_packet(w, rx, &node, "ACL deny packets");
        }
        verdict.permit
    }

    /// `l2-output`. An interface in L3 mode has no place in the table of outputs (`l2_input.c`, set_int_l2_mode).
    pub(super) fn l2_output(&mut self, w: &mut Walk, rx: u32, tx: u32, frame: &[u8], ethernet: &Ethernet) {
        if !self.l2_acl(w, rx, tx, false, frame, ethernet) {
            return;
        }
        w.node("l2-output", String::new);
        if self.l2.xconnect(tx).is_none() && self.bridges.port(tx).is_none() {
            return self.drop_packet(w, rx, "l2-output", "L2 Output interface not valid");
        }
        self.interface_output(w, rx, tx, frame.to_vec());
    }
}
