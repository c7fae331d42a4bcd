//! Who wants to know of neighbours (`vnet/ip-neighbor/ip_neighbor_watch.c`).
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::neighbor::Neighbor;
use super::types::{NONE, OpResult, retval};
use super::{Family, Vpp};

/// Who asked, and for which kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborWatcher {
    /// Handle of the client.
    pub client: u32,
    /// Echoed in events.
    pub pid: u32,
    /// Version of the event, 1 or 2.
    pub version: u8,
}

/// What has become of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborEvent {
    pub watcher: NeighborWatcher,
    pub neighbor: Neighbor,
    /// Added or changed, else removed.
    pub is_added: bool,
}

/// Any address, as the watchers' table has it: also of IPv6, whose own zero stands for no neighbour at all.
const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[derive(Clone, Debug, Default)]
pub(crate) struct NeighborWatch {
    watchers: BTreeMap<(IpAddr, u32), Vec<NeighborWatcher>>,
    events: Vec<NeighborEvent>,
}

/// The bounds of the learned neighbours of one family (`ip_neighbor_config`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborBounds {
    pub max_number: u32,
    /// Seconds; 0 is never.
    pub max_age: u32,
    /// Whether the oldest makes room.
    pub recycle: bool,
}

impl Default for NeighborBounds {
    fn default() -> Self {
        Self {
            max_number: 50_000,
            max_age: 0,
            recycle: false,
        }
    }
}

/// What the watchers' table is keyed by: interface 0 is any.
fn key(address: IpAddr, sw_if_index: u32) -> (IpAddr, u32) {
    (address, if sw_if_index == 0 { NONE } else { sw_if_index })
}

impl NeighborWatch {
    /// Tells the watchers: of the neighbour itself, of its interface, of all.
    pub fn publish(&mut self, neighbor: Neighbor, is_added: bool) {
        let at = neighbor.sw_if_index;
        for key in [(neighbor.address, at), (ANY, at), (ANY, NONE)] {
            for watcher in self.watchers.get(&key).into_iter().flatten() {
                self.events.push(NeighborEvent {
                    watcher: *watcher,
                    neighbor,
                    is_added,
                });
            }
        }
    }
}

impl Vpp {
    /// `want_ip_neighbor_events` and `_v2`.
    ///
    /// # Errors
    /// −2 unknown interface.
    pub fn want_neighbor_events(
        &mut self,
        watcher: NeighborWatcher,
        address: IpAddr,
        sw_if_index: u32,
        enable: bool,
    ) -> OpResult {
        if sw_if_index != NONE && !self.interfaces.contains(sw_if_index) {
            return Err(retval::INVALID_SW_IF_INDEX.into());
        }
        let watchers = &mut self.neighbor_watch.watchers;
        let at = watchers.entry(key(address, sw_if_index)).or_default();
        at.retain(|known| *known != watcher);
        if enable {
            at.push(watcher);
        }
        watchers.retain(|_, at| !at.is_empty());
        Ok(())
    }

    /// The client is gone, its subscriptions too.
    pub fn forget_neighbor_watchers(&mut self, client: u32) {
        let watchers = &mut self.neighbor_watch.watchers;
        watchers
            .values_mut()
            .for_each(|at| at.retain(|w| w.client != client));
        watchers.retain(|_, at| !at.is_empty());
    }

    /// Neighbour events since the last call.
    pub fn drain_neighbor_events(&mut self) -> Vec<NeighborEvent> {
        std::mem::take(&mut self.neighbor_watch.events)
    }

    /// `ip_neighbor_config`.
    pub fn set_neighbor_bounds(&mut self, family: Family, bounds: NeighborBounds) {
        self.neighbors.bounds[family.index()] = bounds;
    }

    /// `ip_neighbor_config_get`.
    pub fn neighbor_bounds(&self, family: Family) -> NeighborBounds {
        self.neighbors.bounds[family.index()]
    }
}
