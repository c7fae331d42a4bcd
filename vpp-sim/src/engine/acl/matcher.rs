//! Matching one packet against one rule (`single_acl_match_5tuple`).
use super::{AclRule, Tuple};
use crate::engine::types::{Family, left_bits, left_mask};

/// A rule with its prefixes as numbers and masks.
#[derive(Clone, Debug)]
pub(super) struct CompiledRule {
    family: Family,
    src: (u128, u128),
    dst: (u128, u128),
    proto: u8,
    src_ports: (u16, u16),
    dst_ports: (u16, u16),
    tcp_flags: (u8, u8),
}

impl CompiledRule {
    pub fn new(rule: &AclRule) -> Self {
        let side = |p: &crate::engine::types::Prefix| (left_bits(p.address), left_mask(p.len));
        Self {
            family: rule.src.family(),
            src: side(&rule.src),
            dst: side(&rule.dst),
            proto: rule.proto,
            src_ports: rule.src_ports,
            dst_ports: rule.dst_ports,
            tcp_flags: (rule.tcp_flags_mask, rule.tcp_flags_value),
        }
    }

    pub fn matches(&self, tuple: &Tuple) -> bool {
        if self.family != tuple.family
            || (left_bits(tuple.dst) & self.dst.1) != self.dst.0
            || (left_bits(tuple.src) & self.src.1) != self.src.0
        {
            return false;
        }
        if self.proto == 0 {
            return true;
        }
        if self.proto != tuple.proto {
            return false;
        }
        // Later fragments have no ports: the protocol decides (`l4_match_nonfirst_fragment`).
        if tuple.nonfirst_fragment {
            return true;
        }
        let within = |port: u16, (first, last): (u16, u16)| first <= port && port <= last;
        tuple.l4_valid
            && within(tuple.ports.0, self.src_ports)
            && within(tuple.ports.1, self.dst_ports)
            && tuple
                .tcp_flags
                .is_none_or(|flags| flags & self.tcp_flags.0 == self.tcp_flags.1)
    }
}
