//! Neighbours: the static ones of the API, those learnt by ARP and neighbour discovery.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Vpp;
use super::fib::source;
use super::neighbor_watch::NeighborBounds;
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

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Questions to an old neighbour before it is forgotten.
const QUESTIONS: u8 = 3;

/// VPP's answer to a learned entry where a static one has another MAC. It has no name of its own.
const IS_STATIC: i32 = -2;

#[derive(Clone, Debug, Default)]
pub(crate) struct Neighbors {
    entries: BTreeMap<(u32, IpAddr), Neighbor>,
    probed: BTreeMap<(u32, IpAddr), u64>,
    pub bounds: [NeighborBounds; 2],
    /// How often old neighbours were asked whether they are still there.
    asked: BTreeMap<(u32, IpAddr), u8>,
    /// Those that go with the end of a replacement unless they are added again.
    stale: BTreeSet<(u32, IpAddr)>,
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

    fn forget_probes(&mut self, sw_if_index: u32) {
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
    /// −2 unknown interface, and a static neighbour of another MAC where this one is not static; −162 too many.
    pub fn neighbor_add(&mut self, mut neighbor: Neighbor) -> OpResult<u32> {
        self.interface_mut(neighbor.sw_if_index)?;
        let key = (neighbor.sw_if_index, neighbor.address);
        self.neighbors.stale.remove(&key);
        self.neighbors.asked.remove(&key);
        match self.neighbors.entries.get(&key) {
            Some(known) if known.is_static && !neighbor.is_static => {
                if known.mac != neighbor.mac {
                    return Err(IS_STATIC.into());
                }
                neighbor = *known;
            }
            Some(_) => {}
            None => self.make_room_for(neighbor.address)?,
        }
        self.neighbors.entries.insert(key, neighbor);
        self.neighbor_watch.publish(neighbor, true);
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

    /// # Errors
    /// −162 where there are as many as there may be, and none may go.
    fn make_room_for(&mut self, address: IpAddr) -> OpResult {
        let family = Family::of(address);
        let bounds = self.neighbors.bounds[family.index()];
        let all = self.neighbors.entries.values();
        let mine = all.filter(|n| Family::of(n.address) == family);
        if bounds.max_number == 0 || mine.clone().count() < bounds.max_number as usize {
            return Ok(());
        }
        let learned = mine.filter(|n| !n.is_static && bounds.recycle);
        let oldest = learned.min_by_key(|n| n.updated).copied();
        self.neighbor_gone(&oldest.ok_or(OpError::Retval(retval::LIMIT_EXCEEDED))?);
        Ok(())
    }

    /// Removes an entry with all that came with it.
    fn neighbor_gone(&mut self, neighbor: &Neighbor) {
        let key = (neighbor.sw_if_index, neighbor.address);
        self.neighbors.entries.remove(&key);
        self.neighbors.asked.remove(&key);
        self.neighbors.stale.remove(&key);
        self.neighbor_watch.publish(*neighbor, false);
        self.remove_neighbor_route(neighbor);
    }

    /// `ip_neighbor_add_del` without `is_add`.
    ///
    /// # Errors
    /// −2 unknown interface, −6 unknown neighbour.
    pub fn neighbor_del(&mut self, sw_if_index: u32, address: IpAddr) -> OpResult {
        self.interface_mut(sw_if_index)?;
        let gone = self.neighbors.entries.get(&(sw_if_index, address)).copied();
        self.neighbor_gone(&gone.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))?);
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
        for neighbor in self.neighbors(Some(sw_if_index), None) {
            self.neighbor_gone(&neighbor);
        }
        self.neighbors.forget_probes(sw_if_index);
    }

    /// The interface goes down: what was learned on it is forgotten.
    pub(crate) fn neighbors_of_interface_down(&mut self, sw_if_index: u32) {
        for neighbor in self.neighbors(Some(sw_if_index), None) {
            if !neighbor.is_static {
                self.neighbor_gone(&neighbor);
            }
        }
        self.neighbors.forget_probes(sw_if_index);
    }

    /// `ip_neighbor_replace_begin`.
    pub fn neighbor_replace_begin(&mut self) {
        self.neighbors.stale = self.neighbors.entries.keys().copied().collect();
    }

    /// `ip_neighbor_replace_end`.
    pub fn neighbor_replace_end(&mut self) {
        for key in std::mem::take(&mut self.neighbors.stale) {
            if let Some(neighbor) = self.neighbors.entries.get(&key).copied() {
                self.neighbor_gone(&neighbor);
            }
        }
    }

    /// Learned neighbours older than their bound, which are to be asked whether they are still there; those that were
    /// asked often enough are forgotten.
    pub(crate) fn old_neighbors(&mut self, now: u64) -> Vec<Neighbor> {
        let mut ask = Vec::new();
        for neighbor in self.neighbors(None, None) {
            let age = self.neighbors.bounds[Family::of(neighbor.address).index()].max_age;
            let limit = u64::from(age) * NANOS_PER_SECOND;
            if age == 0 || neighbor.is_static || now.saturating_sub(neighbor.updated) <= limit {
                continue;
            }
            let key = (neighbor.sw_if_index, neighbor.address);
            let asked = self.neighbors.asked.entry(key).or_default();
            if *asked < QUESTIONS {
                *asked += 1;
                ask.push(neighbor);
            } else {
                self.neighbor_gone(&neighbor);
            }
        }
        ask
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
            self.neighbor_gone(&neighbor);
        }
    }

    /// Learns from ARP or neighbour discovery; a static entry is not touched.
    pub(crate) fn neighbor_learn(&mut self, sw_if_index: u32, address: IpAddr, mac: Mac, now: u64) {
        if mac.is_multicast() || mac.is_zero() {
            return;
        }
        let key = (sw_if_index, address);
        let known = self.neighbors.entries.get(&key);
        let no_fib_entry = known.is_some_and(|n| n.no_fib_entry);
        // The interface is the one the packet came from; a static entry or the bound may stand against it.
        let _ = self.neighbor_add(Neighbor {
            sw_if_index,
            address,
            mac,
            is_static: false,
            no_fib_entry,
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
