//! `ip4-punt`, `ip6-punt`: what VPP has no use for and the host might. Policed, redirected, or dropped.
use super::{Packet, Walk};
use crate::engine::Vpp;
use crate::engine::packet::ip::Ip;
use crate::engine::types::Family;

impl Vpp {
    /// Gives a packet up for `reason`, which node `from` has found.
    pub(super) fn punt(
        &mut self,
        w: &mut Walk,
        family: Family,
        mut packet: Packet,
        from: &str,
        reason: &str,
    ) {
        w.node(family.pick("ip4-punt", "ip6-punt"), || {
            format!("{from}: {reason}")
        });
        if !self.punt_policer(w, family, &mut packet) {
            return;
        }
        let Some(list) = self.punts.redirect(family, packet.rx) else {
            return self.drop_packet(w, packet.rx, from, reason);
        };
        let Ok(ip) = Ip::parse(&packet.data) else {
            return;
        };
        let node = family.pick("ip4-punt-redirect", "ip6-punt-redirect");
        w.node(node, || "redirected".to_owned());
        let forward = self.forward_paths(list, ip.dst, 0);
        self.follow(w, family, packet, forward, node);
    }
}
