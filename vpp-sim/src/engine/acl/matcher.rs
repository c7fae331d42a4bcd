//! Matching one packet against one rule (`single_acl_match_5tuple`) and against a long list of them: rules are grouped by the
//! lengths of their prefixes, and each group is one lookup in a hash, as in VPP's `hash_lookup.c`.
use std::collections::HashMap;

use super::{AclRule, Tuple};
use crate::engine::types::{Family, left_bits, left_mask};

/// A rule with its prefixes as numbers and masks.
#[derive(Clone, Debug)]
struct CompiledRule {
    family: Family,
    src: (u128, u128),
    dst: (u128, u128),
    proto: u8,
    src_ports: (u16, u16),
    dst_ports: (u16, u16),
    tcp_flags: (u8, u8),
}

impl CompiledRule {
    fn new(rule: &AclRule) -> Self {
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

    fn matches(&self, tuple: &Tuple) -> bool {
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

/// Lists of fewer rules are searched one by one: that is faster than hashing.
const SHORT: usize = 16;

/// The rules of one list.
#[derive(Clone, Debug)]
pub(super) struct Matcher {
    rules: Vec<CompiledRule>,
    /// By their first rule; none for a short list.
    groups: Vec<Group>,
}

/// Rules of one family whose prefixes are of the same lengths.
#[derive(Clone, Debug)]
struct Group {
    family: Family,
    masks: (u128, u128),
    first: usize,
    /// Rules in order by source and destination.
    by_prefixes: HashMap<(u128, u128), Vec<usize>>,
}

impl Matcher {
    pub fn new(rules: &[AclRule]) -> Self {
        let rules: Vec<CompiledRule> = rules.iter().map(CompiledRule::new).collect();
        let mut groups: Vec<Group> = Vec::new();
        if rules.len() > SHORT {
            let mut known: HashMap<(Family, u128, u128), usize> = HashMap::new();
            for (at, rule) in rules.iter().enumerate() {
                let masks = (rule.src.1, rule.dst.1);
                let group = *known.entry((rule.family, masks.0, masks.1)).or_insert_with(|| {
                    groups.push(Group {
                        family: rule.family,
                        masks,
                        first: at,
                        by_prefixes: HashMap::new(),
                    });
                    groups.len() - 1
                });
                let prefixes = (rule.src.0, rule.dst.0);
                groups[group].by_prefixes.entry(prefixes).or_default().push(at);
            }
        }
        Self { rules, groups }
    }

    /// The first rule that matches.
    pub fn first(&self, tuple: &Tuple) -> Option<usize> {
        if self.groups.is_empty() {
            return self.rules.iter().position(|rule| rule.matches(tuple));
        }
        let (src, dst) = (left_bits(tuple.src), left_bits(tuple.dst));
        let mut best = None;
        for group in &self.groups {
            // Groups are in order of their first rules: what follows is later still.
            if best.is_some_and(|best| best < group.first) {
                break;
            }
            if group.family != tuple.family {
                continue;
            }
            let key = (src & group.masks.0, dst & group.masks.1);
            let candidates = group.by_prefixes.get(&key).into_iter().flatten();
            let found = candidates.copied().find(|at| self.rules[*at].matches(tuple));
            best = best.into_iter().chain(found).min();
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::acl::AclAction;
    use crate::engine::types::Prefix;

    fn rule() -> impl Strategy<Value = AclRule> {
        let v4 = (
            0u8..3,
            prop_oneof![Just(0u8), Just(8), Just(24), Just(30), Just(32)],
        )
            .prop_map(|(last, len)| Prefix::new([10, 0, 0, last], len).normalized());
        let v6 = (0u16..3, prop_oneof![Just(0u8), Just(64), Just(128)])
            .prop_map(|(last, len)| Prefix::new([0xfd00, 0, 0, 0, 0, 0, 0, last], len).normalized());
        let both = prop_oneof![(v4.clone(), v4), (v6.clone(), v6)];
        (both, prop_oneof![Just(0u8), Just(6), Just(17)], 0u16..4, 0u16..4).prop_map(
            |((src, dst), proto, low, more)| AclRule {
                proto,
                dst_ports: (low, low + more),
                ..AclRule::any_proto(AclAction::Permit, src, dst)
            },
        )
    }

    proptest! {
        #[test]
        fn grouped_rules_match_as_one_by_one(
            rules in prop::collection::vec(rule(), 17..80),
            v4 in any::<bool>(), src in 0u8..4, dst in 0u8..4, proto in prop_oneof![Just(6u8), Just(17)],
            port in 0u16..8, nonfirst_fragment in any::<bool>(),
        ) {
            let address = |last: u8| if v4 {
                std::net::IpAddr::from([10, 0, 0, last])
            } else {
                std::net::IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)])
            };
            let tuple = Tuple {
                family: Family::of(address(src)), src: address(src), dst: address(dst), proto,
                ports: (9, port), tcp_flags: None, l4_valid: true, nonfirst_fragment,
            };
            let matcher = Matcher::new(&rules);
            prop_assert!(!matcher.groups.is_empty());
            prop_assert_eq!(matcher.first(&tuple), matcher.rules.iter().position(|rule| rule.matches(&tuple)));
        }
    }
}
