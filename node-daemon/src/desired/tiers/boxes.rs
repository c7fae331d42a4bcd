//! What rules match, as boxes: prefixes, protocol, ports.

use std::collections::BTreeMap;

use crds::net::Cidr;
use ipnet::IpNet;

use super::Direction;
use crate::objects::Rule;

/// What both rules match, with what the second does; `None` if that is nothing.
pub(super) fn intersect(one: &Rule, other: &Rule) -> Option<Rule> {
    let protocol = match (one.protocol, other.protocol) {
        (0, protocol) | (protocol, 0) => protocol,
        (a, b) if a == b => a,
        _ => return None,
    };
    Some(Rule {
        source: narrower(one.source, other.source)?,
        destination: narrower(one.destination, other.destination)?,
        protocol,
        source_ports: overlap(one.source_ports, other.source_ports)?,
        destination_ports: overlap(one.destination_ports, other.destination_ports)?,
        ..*other
    })
}

/// Prefixes contain each other or share nothing.
fn narrower(a: Cidr, b: Cidr) -> Option<Cidr> {
    let (outer, inner): (IpNet, IpNet) = match a.prefix_len() <= b.prefix_len() {
        true => (a.net(), b.net()),
        false => (b.net(), a.net()),
    };
    outer.contains(&inner).then(|| Cidr::from(inner))
}

fn overlap(a: (u16, u16), b: (u16, u16)) -> Option<(u16, u16)> {
    let (first, last) = (a.0.max(b.0), a.1.min(b.1));
    (first <= last).then_some((first, last))
}

/// Boxes by the prefix of their peer: most of a policy's rules differ in nothing else, and of many thousands only a few
/// meet a given one.
pub(super) struct ByPeer {
    direction: Direction,
    positions: BTreeMap<Cidr, Vec<usize>>,
}

impl ByPeer {
    pub(super) fn new<'r>(direction: Direction, rules: impl Iterator<Item = &'r Rule>) -> Self {
        let mut positions: BTreeMap<Cidr, Vec<usize>> = BTreeMap::new();
        for (position, rule) in rules.enumerate() {
            positions.entry(peer(direction, rule)).or_default().push(position);
        }
        Self { direction, positions }
    }

    /// Positions of the rules whose peer has addresses in common with this one's, in order.
    pub(super) fn meeting(&self, rule: &Rule) -> Vec<usize> {
        let prefix = peer(self.direction, rule);
        let mut net = prefix.net();
        // Prefixes sort by address, then length: those within this one stand together.
        let last = Cidr::host(net.broadcast());
        let within = self
            .positions
            .range(prefix..=last)
            .map(|(_, positions)| positions);
        let mut found: Vec<usize> = within.flatten().copied().collect();
        while let Some(outer) = net.supernet() {
            found.extend(self.positions.get(&Cidr::from(outer)).into_iter().flatten());
            net = outer;
        }
        found.sort_unstable();
        found
    }
}

fn peer(direction: Direction, rule: &Rule) -> Cidr {
    match direction {
        Direction::Ingress => rule.source,
        Direction::Egress => rule.destination,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::policy::whole;
    use crate::objects::Action;

    #[test]
    fn the_index_finds_what_meets() {
        let texts = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.0.0.0/16",
            "10.0.0.0/32",
            "10.1.0.0/16",
            "10.0.255.255/32",
            "11.0.0.0/8",
            "::/0",
            "fd00::/64",
            "fd00::1/128",
        ];
        let any: Cidr = "0.0.0.0/0".parse().unwrap();
        let rules = texts.map(|text| whole(Action::Deny, text.parse().unwrap(), any));
        let index = ByPeer::new(Direction::Ingress, rules.iter());
        for rule in &rules {
            let meets = |other: &Rule| narrower(rule.source, other.source).is_some();
            let expected: Vec<usize> = (0..rules.len()).filter(|at| meets(&rules[*at])).collect();
            assert_eq!(index.meeting(rule), expected, "{}", rule.source);
        }
    }
}
