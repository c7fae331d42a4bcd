//! Error counters of the graph's nodes: why packets were dropped, and how many.
use std::collections::BTreeMap;

use super::Vpp;

/// Names there may be; VPP's are fixed when it is built.
const LIMIT: usize = 4096;
/// Where the rest is counted.
const REST: (&str, &str) = ("error-drop", "other errors");

#[derive(Clone, Debug, Default)]
pub(crate) struct Errors {
    nodes: BTreeMap<String, BTreeMap<String, u64>>,
    length: usize,
}

impl Errors {
    pub(crate) fn count(&mut self, node: &str, reason: &str) {
        let error = name(reason);
        if let Some(count) = self.nodes.get_mut(node).and_then(|errors| errors.get_mut(error)) {
            *count += 1;
            return;
        }
        let (node, error) = if self.length < LIMIT { (node, error) } else { REST };
        self.length += 1;
        let errors = self.nodes.entry(node.to_owned()).or_default();
        *errors.entry(error.to_owned()).or_default() += 1;
    }
}

/// The error without what is special to one packet.
fn name(reason: &str) -> &str {
    let general = reason.split_once(": ").map_or(reason, |(general, _)| general);
    general
        .split_once(" of protocol")
        .map_or(general, |(general, _)| general)
}

impl Vpp {
    /// Counts what a device did with a packet, outside of the walk.
    pub fn count_error(&mut self, node: &str, error: &str) {
        self.errors.count(node, error);
    }

    /// Error counters so far: node, error, packets.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        let nodes = self.errors.nodes.iter();
        nodes.flat_map(|(node, errors)| errors.iter().map(move |(e, n)| (node.as_str(), e.as_str(), *n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(errors: Errors) -> Vec<(String, u64)> {
        let vpp = Vpp {
            errors,
            ..Vpp::default()
        };
        vpp.errors()
            .map(|(node, error, n)| (format!("{node}/{error}"), n))
            .collect()
    }

    #[test]
    fn what_a_packet_holds_makes_no_new_name() {
        let mut errors = Errors::default();
        errors.count(
            "ip4-local",
            "bad checksum: L4 checksum of protocol 17 is 0001, should be 0002",
        );
        errors.count("ip4-local", "bad checksum: IPv4 header checksum");
        errors.count(
            "ip6-icmp-input",
            "L4 checksum of protocol 58 is 0001, should be 0002",
        );
        errors.count("ip4-local", "unknown protocol, punted");
        let expected = [
            ("ip4-local/bad checksum", 2),
            ("ip4-local/unknown protocol, punted", 1),
            ("ip6-icmp-input/L4 checksum", 1),
        ];
        assert_eq!(all(errors), expected.map(|(name, n)| (name.to_owned(), n)));
    }

    #[test]
    fn names_do_not_grow_without_bound() {
        let mut errors = Errors::default();
        for n in 0..LIMIT + 10 {
            errors.count(&format!("tap{n}-output"), "interface is down");
        }
        let all = all(errors);
        assert_eq!(all.len(), LIMIT + 1);
        assert!(all.contains(&("error-drop/other errors".to_owned(), 10)));
    }
}
