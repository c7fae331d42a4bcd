//! Reverse path forwarding checks: what a source address must have (`urpf/urpf.c`, `urpf/urpf_dp.h`).
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Vpp;
use super::feature::{output_arc, unicast_arc};
use super::fib::{Contribution, DEFAULT_TABLE};
use super::types::{Family, NONE, OpResult, PathKind, retval};

/// Recursive next hops deeper than this count as a loop.
const MAX_RECURSION: u8 = 8;

/// What a source address must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UrpfMode {
    #[default]
    Off,
    /// A route by some interface.
    Loose,
    /// A route by the interface the packet came in on; of sent packets, by another.
    Strict,
}

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Urpf {
    pub mode: UrpfMode,
    /// Where sources are looked up.
    pub table_id: u32,
    /// Whether the table was chosen, and does not follow the interface's.
    pub is_custom: bool,
}

const NO_CHECK: Urpf = Urpf {
    mode: UrpfMode::Off,
    table_id: DEFAULT_TABLE,
    is_custom: false,
};

/// Checks by interface, family and direction. They outlive their interface, as in VPP.
#[derive(Clone, Debug, Default)]
pub(crate) struct UrpfChecks {
    by_place: BTreeMap<(u32, Family, bool), Urpf>,
}

/// The node of a check.
pub(crate) fn node(family: Family, is_input: bool, mode: UrpfMode) -> Option<&'static str> {
    Some(match (family, is_input, mode) {
        (_, _, UrpfMode::Off) => return None,
        (Family::V4, true, UrpfMode::Loose) => "ip4-rx-urpf-loose",
        (Family::V4, true, UrpfMode::Strict) => "ip4-rx-urpf-strict",
        (Family::V4, false, UrpfMode::Loose) => "ip4-tx-urpf-loose",
        (Family::V4, false, UrpfMode::Strict) => "ip4-tx-urpf-strict",
        (Family::V6, true, UrpfMode::Loose) => "ip6-rx-urpf-loose",
        (Family::V6, true, UrpfMode::Strict) => "ip6-rx-urpf-strict",
        (Family::V6, false, UrpfMode::Loose) => "ip6-tx-urpf-loose",
        (Family::V6, false, UrpfMode::Strict) => "ip6-tx-urpf-strict",
    })
}

/// The arc of a direction.
pub(crate) fn arc(family: Family, is_input: bool) -> &'static str {
    if is_input {
        unicast_arc(family)
    } else {
        output_arc(family)
    }
}

impl UrpfChecks {
    pub fn get(&self, sw_if_index: u32, family: Family, is_input: bool) -> Option<Urpf> {
        self.by_place.get(&(sw_if_index, family, is_input)).copied()
    }

    /// The interface is bound to another table.
    pub fn table_bound(&mut self, sw_if_index: u32, family: Family, table_id: u32) {
        for is_input in [true, false] {
            if let Some(check) = self.by_place.get_mut(&(sw_if_index, family, is_input))
                && !check.is_custom
            {
                check.table_id = table_id;
            }
        }
    }
}

impl Vpp {
    /// `urpf_update_v2`; `table_id` [`NONE`] is the interface's own. A check that is as it was is left alone, also that of
    /// an earlier interface of the index, which no packet passes any more.
    ///
    /// # Errors
    /// −2 unknown interface, −7 unknown table.
    pub fn urpf_update(
        &mut self,
        sw_if_index: u32,
        family: Family,
        is_input: bool,
        mode: UrpfMode,
        table_id: u32,
    ) -> OpResult {
        self.interface_mut(sw_if_index)?;
        let is_custom = table_id != NONE;
        if is_custom && !self.fibs.exists(family, table_id) {
            return Err(retval::INVALID_VALUE.into());
        }
        let table_id = if is_custom {
            table_id
        } else {
            self.table_of(sw_if_index, family)
        };
        let check = Urpf {
            mode,
            table_id,
            is_custom,
        };
        let place = (sw_if_index, family, is_input);
        let old = self.urpf.by_place.insert(place, check).unwrap_or(NO_CHECK);
        if old.mode != mode || old.table_id != table_id {
            let arc = arc(family, is_input);
            for (mode, enable) in [(old.mode, false), (mode, true)] {
                if let Some(node) = node(family, is_input, mode) {
                    self.features.switch(arc, node, sw_if_index, enable);
                }
            }
        }
        Ok(())
    }

    /// `urpf_interface_dump`: of an interface, families and directions in VPP's order; those that are off only with a
    /// table of their own.
    pub fn urpf_checks(&self, sw_if_index: u32) -> Vec<(Family, bool, Urpf)> {
        let places = Family::BOTH
            .into_iter()
            .flat_map(|family| [(family, true), (family, false)]);
        places
            .filter_map(|(family, is_input)| {
                Some((family, is_input, self.urpf.get(sw_if_index, family, is_input)?))
            })
            .filter(|(_, _, check)| check.mode != UrpfMode::Off || check.is_custom)
            .collect()
    }

    /// The interfaces by which a source may come: those of all paths of its route (`fib_path_contribute_urpf`).
    pub(crate) fn urpf_interfaces(&self, table: u32, source: IpAddr) -> Vec<u32> {
        let mut found = Vec::new();
        self.collect_urpf(table, source, 0, &mut found);
        found
    }

    fn collect_urpf(&self, table: u32, address: IpAddr, depth: u8, into: &mut Vec<u32>) {
        if depth > MAX_RECURSION {
            return;
        }
        let Some(list) = self.forwarding_list(table, address) else {
            return;
        };
        for path in self.fibs.path_lists.paths(list) {
            if path.kind != PathKind::Normal {
                continue;
            }
            if path.sw_if_index != NONE {
                into.push(path.sw_if_index);
            } else if path.table_id != NONE && !path.next_hop.is_unspecified() {
                self.collect_urpf(path.table_id, path.next_hop, depth + 1, into);
            }
        }
    }

    /// The paths by which an address is reached, beneath what does not lead on by paths.
    fn forwarding_list(&self, table: u32, address: IpAddr) -> Option<u32> {
        let mut longest = Family::of(address).bits();
        loop {
            let found = self.fibs.lookup(table, address, longest)?;
            match found.contribution {
                Contribution::Paths(list) => return Some(*list),
                Contribution::SrLocalSid(_) | Contribution::SrPolicy(_) => return None,
                Contribution::CnatClient { exclusive: true } => return None,
                Contribution::CnatClient { .. } | Contribution::Cover { .. } => {
                    longest = found.prefix.len.checked_sub(1)?;
                }
            }
        }
    }
}
