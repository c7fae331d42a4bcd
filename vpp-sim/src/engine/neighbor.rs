//! Neighbours: the static ones of the API, those learnt by ARP and neighbour discovery.
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Vpp;
use super::fib::source;
use super::types::{Family, Mac, OpError, OpResult, Prefix, RoutePath, retval};

/// One neighbour, as `ip_neighbor_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    pub sw_if_index: u32,
    pub address: IpAddr,
    pub mac: Mac,
    pub is_static: bool,
    /// Does not add a host route.
    pub no_fib_entry: bool,
    /// Nanoseconds on the caller's clock.
    pub updated: u64,
}

/// At most one ARP request or neighbour solicitation for an address in this time (`ip4-arp`'s throttle).
const PROBE_INTERVAL_NS: u64 = 1_000_000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Neighbors {
    entries: BTreeMap<(u32, IpAddr), Neighbor>,
    probed: BTreeMap<(u32, IpAddr), u64>,
}

impl Neighbors {
    pub fn mac(&self, sw_if_index: u32, address: IpAddr) -> Option<Mac> {
        self.entries.get(&(sw_if_index, address)).map(|n| n.mac)
    }

    /// Whether a probe may be sent now; notes that it is.
    pub fn may_probe(&mut self, sw_if_index: u32, address: IpAddr, now: u64) -> bool {
        let key = (sw_if_index, address);
        if self
            .probed
            .get(&key)
            .is_some_and(|last| now < last.saturating_add(PROBE_INTERVAL_NS) && now >= *last)
        {
            return false;
        }
        self.probed.insert(key, now);
        true
    }

    pub fn flush_dynamic(&mut self, sw_if_index: u32) {
        self.probed.retain(|(index, _), _| *index != sw_if_index);
    }

    /// Forgets old probes.
    pub fn tick(&mut self, now: u64) {
        self.probed
            .retain(|_, last| now < last.saturating_add(PROBE_INTERVAL_NS));
    }
}

impl Vpp {
    /// `ip_neighbor_add_del` with `is_add`; returns the stats index of the host route (0 without).
    ///
    /// # Errors
    /// −2 unknown interface.
    pub fn neighbor_add(&mut self, neighbor: Neighbor) -> OpResult<u32> {
        self.interface_mut(neighbor.sw_if_index)?;
        let key = (neighbor.sw_if_index, neighbor.address);
        self.neighbors.entries.insert(key, neighbor);
        let family = Family::of(neighbor.address);
        if neighbor.no_fib_entry || is_link_local(neighbor.address) {
            return Ok(0);
        }
        let table = self.table_of(neighbor.sw_if_index, family);
        Ok(self.fibs.set_source(
            table,
            Prefix::host(neighbor.address),
            source::ADJACENCY,
            vec![RoutePath::via(neighbor.sw_if_index, neighbor.address)],
        ))
    }

    /// `ip_neighbor_add_del` without `is_add`.
    ///
    /// # Errors
    /// −2 unknown interface, −6 unknown neighbour.
    pub fn neighbor_del(&mut self, sw_if_index: u32, address: IpAddr) -> OpResult {
        self.interface_mut(sw_if_index)?;
        let gone = self.neighbors.entries.remove(&(sw_if_index, address));
        let gone = gone.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))?;
        self.remove_neighbor_route(&gone);
        Ok(())
    }

    fn remove_neighbor_route(&mut self, neighbor: &Neighbor) {
        let table = self.table_of(neighbor.sw_if_index, Family::of(neighbor.address));
        let prefix = Prefix::host(neighbor.address);
        let own = self
            .fibs
            .exact(table, prefix)
            .and_then(|e| e.sources.get(&source::ADJACENCY))
            .is_some_and(|c| match c {
                super::fib::Contribution::Paths(list) => self
                    .fibs
                    .path_lists
                    .paths(*list)
                    .iter()
                    .any(|p| p.sw_if_index == neighbor.sw_if_index),
                _ => false,
            });
        if own {
            self.fibs.remove_source(table, prefix, source::ADJACENCY);
        }
    }

    pub(crate) fn neighbors_of_interface_gone(&mut self, sw_if_index: u32) {
        let gone: Vec<Neighbor> = self.neighbors(Some(sw_if_index), None).into_iter().collect();
        for neighbor in gone {
            self.remove_neighbor_route(&neighbor);
            self.neighbors.entries.remove(&(sw_if_index, neighbor.address));
        }
        self.neighbors.flush_dynamic(sw_if_index);
    }

    /// Neighbours of an interface (None = all) and a family (None = both).
    pub fn neighbors(&self, sw_if_index: Option<u32>, family: Option<Family>) -> Vec<Neighbor> {
        self.neighbors
            .entries
            .values()
            .filter(|n| sw_if_index.is_none_or(|i| i == n.sw_if_index))
            .filter(|n| family.is_none_or(|f| f == Family::of(n.address)))
            .copied()
            .collect()
    }

    /// `ip_neighbor_flush`.
    pub fn neighbor_flush(&mut self, sw_if_index: Option<u32>, family: Family) {
        for neighbor in self.neighbors(sw_if_index, Some(family)) {
            self.neighbors
                .entries
                .remove(&(neighbor.sw_if_index, neighbor.address));
            self.remove_neighbor_route(&neighbor);
        }
    }

    /// Learns from ARP or neighbour discovery; a static entry is not touched.
    pub(crate) fn neighbor_learn(&mut self, sw_if_index: u32, address: IpAddr, mac: Mac, now: u64) {
        let key = (sw_if_index, address);
        let known = self.neighbors.entries.get(&key).copied();
        if known.is_some_and(|n| n.is_static) || mac.is_multicast() || mac.is_zero() {
            return;
        }
        if let Some(known) = known
            && known.mac == mac
        {
            self.neighbors.entries.insert(
                key,
                Neighbor {
                    updated: now,
                    ..known
                },
            );
            return;
        }
        // The interface is the one the packet came from, so this cannot fail.
        let _ = self.neighbor_add(Neighbor {
            sw_if_index,
            address,
            mac,
            is_static: false,
            no_fib_entry: false,
            updated: now,
        });
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => a.is_unicast_link_local(),
    }
}
