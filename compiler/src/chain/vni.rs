//! A VXLAN network identifier for each hop and direction of each chain.

use std::collections::{BTreeMap, BTreeSet};

use crds::vpp_config::ChainDirection;

use crate::facts::Chain;

/// First identifier of chains: the upper half of the 24 bits is theirs.
pub const FIRST: u32 = 0x80_0000;
/// Pairs of identifiers for chains. An even one is for IPv4 packets, the next for IPv6.
const PAIRS: u32 = 1 << 22;

/// A hop of a chain in one direction, counted in the direction of travel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HopId {
    /// Namespace of the chain.
    pub namespace: String,
    /// Name of the chain.
    pub name: String,
    /// UID of the chain: created again it must not get packets of its predecessor.
    pub uid: String,
    /// Hop.
    pub hop: u32,
    /// Direction of travel.
    pub direction: ChainDirection,
}

/// Every hop that a chain may have. All of them get an identifier, tunnel or not, so that one
/// pod's move changes no other hop's.
pub fn hops(chain: &Chain) -> impl Iterator<Item = HopId> {
    let directions = match chain.symmetric {
        true => &[ChainDirection::Forward, ChainDirection::Reverse][..],
        false => &[ChainDirection::Forward][..],
    };
    let count = u32::try_from(chain.functions.len()).unwrap_or(u32::MAX);
    directions.iter().flat_map(move |direction| {
        (0..count).map(|hop| HopId {
            namespace: chain.namespace.clone(),
            name: chain.name.clone(),
            uid: chain.uid.clone(),
            hop,
            direction: *direction,
        })
    })
}

/// Gives each hop its identifier: a hash of the hop, and of two that collide (one pair in four
/// millions) the later in sorted order takes the next free one. `transport` is the identifier of
/// ordinary traffic, with its own next for IPv6.
pub fn allocate(hops: BTreeSet<HopId>, transport: u32) -> BTreeMap<HopId, u32> {
    allocate_among(hops, transport, PAIRS)
}

fn allocate_among(hops: BTreeSet<HopId>, transport: u32, pairs: u32) -> BTreeMap<HopId, u32> {
    let mut taken = BTreeSet::new();
    let mut vnis = BTreeMap::new();
    for hop in hops {
        let start = wanted(&hop, pairs);
        let free = (0..pairs)
            .map(|step| FIRST + 2 * ((start + step) % pairs))
            .filter(|vni| vni.abs_diff(transport) > 1)
            .find(|vni| !taken.contains(vni));
        // None is left only beyond four million hops.
        if let Some(vni) = free {
            taken.insert(vni);
            vnis.insert(hop, vni);
        }
    }
    vnis
}

fn wanted(hop: &HopId, pairs: u32) -> u32 {
    let identity = (&hop.namespace, &hop.name, &hop.uid, hop.hop, hop.direction);
    let hash = crds::revision::short_hash(&identity);
    // The hash is hex digits by construction.
    let number = u64::from_str_radix(&hash, 16).unwrap_or_default();
    u32::try_from(number % u64::from(pairs)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(name: &str, hop: u32) -> HopId {
        HopId {
            namespace: "shop".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
            hop,
            direction: ChainDirection::Forward,
        }
    }

    fn many(count: u32) -> BTreeSet<HopId> {
        (0..count).map(|n| hop(&format!("chain-{n}"), n % 8)).collect()
    }

    #[test]
    fn identifiers_are_even_distinct_and_24_bits() {
        let vnis = allocate(many(2000), 10);
        let distinct: BTreeSet<u32> = vnis.values().copied().collect();
        assert_eq!(distinct.len(), 2000);
        for vni in distinct {
            assert_eq!(vni % 2, 0);
            assert!((0x80_0000..=0xff_fffe).contains(&vni), "{vni:#x}");
        }
    }

    #[test]
    fn a_chain_more_or_less_changes_no_other_identifier() {
        let few = allocate(many(50), 10);
        let more = allocate(many(100), 10);
        for (hop, vni) in few {
            assert_eq!(more[&hop], vni);
        }
    }

    #[test]
    fn collisions_are_resolved_until_all_are_used() {
        let vnis = allocate_among(many(16), 10, 16);
        let distinct: BTreeSet<u32> = vnis.values().copied().collect();
        assert_eq!(distinct.len(), 16);
    }

    #[test]
    fn the_transports_identifiers_are_left_out() {
        // Of four pairs, 0x800002/3 is the transport's own, or straddled by it.
        for (transport, free) in [(0x80_0002, 3), (0x80_0003, 2), (10, 4)] {
            let vnis = allocate_among(many(4), transport, 4);
            assert_eq!(vnis.len(), free, "{transport:#x}");
            for vni in vnis.values() {
                for own in [transport, transport + 1] {
                    assert!(*vni != own && vni + 1 != own, "{vni:#x} {transport:#x}");
                }
            }
        }
    }
}
