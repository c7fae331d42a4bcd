//! MTUs towards peers (`vnet/ip/ip_path_mtu.c`): of a neighbour's adjacency where the peer is on a link, else of the route
//! to its address.
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Vpp;
use super::fib::Contribution;
use super::types::{Family, NONE, OpResult, PathKind, Prefix, retval};

/// The MTU towards one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    pub table_id: u32,
    pub peer: IpAddr,
    pub mtu: u16,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PathMtus {
    by_peer: BTreeMap<(u32, IpAddr), (u16, Standing)>,
}

/// What clients think of an MTU that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Set,
    /// Set, and to go with the end of a replacement.
    Stale,
    /// Removed; it goes on to hold.
    Removed,
}

/// No interface carries more: a path MTU from here on changes no route.
const ANY_LINK: u16 = 9216;

impl PathMtus {
    pub fn is_empty(&self) -> bool {
        self.by_peer.is_empty()
    }
}

impl Vpp {
    /// `ip_path_mtu_update`: 0 and 65535 remove it.
    ///
    /// In 26.06 it goes on to hold, as seen there. To take it from a route tells those who follow the route, and this
    /// entry is still one of them and puts it back (`ip_pmtu_destroy`, `ip_pmtu_stack`). One that was first made larger
    /// than any link's is gone.
    ///
    /// # Errors
    /// −65 unknown table.
    pub fn path_mtu_update(&mut self, table_id: u32, peer: IpAddr, mtu: u16) -> OpResult {
        if !self.fibs.exists(Family::of(peer), table_id) {
            return Err(retval::NO_SUCH_TABLE.into());
        }
        let key = (table_id, peer);
        let by_peer = &mut self.path_mtus.by_peer;
        let was_there = by_peer.contains_key(&key);
        if !matches!(mtu, 0 | u16::MAX) {
            by_peer.insert(key, (mtu, Standing::Set));
        } else if let Some((had, standing)) = by_peer.get_mut(&key) {
            *standing = Standing::Removed;
            if *had >= ANY_LINK {
                by_peer.remove(&key);
            }
        }
        let is_there = by_peer.contains_key(&key);
        // The route to the peer is followed, which makes it one of its own.
        match (was_there, is_there) {
            (false, true) => self.fibs.track(table_id, peer),
            (true, false) => self.fibs.untrack(table_id, peer),
            _ => {}
        }
        Ok(())
    }

    /// `ip_path_mtu_replace_begin`.
    pub fn path_mtu_replace_begin(&mut self) {
        self.path_mtus
            .by_peer
            .values_mut()
            .filter(|(_, standing)| *standing == Standing::Set)
            .for_each(|(_, standing)| *standing = Standing::Stale);
    }

    /// `ip_path_mtu_replace_end`.
    pub fn path_mtu_replace_end(&mut self) {
        let all = self.path_mtus.by_peer.iter();
        let stale: Vec<_> = all
            .filter(|(_, (_, standing))| *standing == Standing::Stale)
            .map(|(key, _)| *key)
            .collect();
        for (table_id, peer) in stale {
            // The table was there when it was set.
            let _ = self.path_mtu_update(table_id, peer, 0);
        }
    }

    /// `ip_path_mtu_get`.
    pub fn path_mtus(&self) -> Vec<PathMtu> {
        let all = self.path_mtus.by_peer.iter();
        let known = all.filter(|(_, (_, standing))| *standing != Standing::Removed);
        known
            .map(|((table_id, peer), (mtu, _))| PathMtu {
                table_id: *table_id,
                peer: *peer,
                mtu: *mtu,
            })
            .collect()
    }

    /// What holds for a peer.
    pub(crate) fn path_mtu(&self, table_id: u32, peer: IpAddr) -> Option<u32> {
        let (mtu, _) = self.path_mtus.by_peer.get(&(table_id, peer))?;
        Some(u32::from(*mtu))
    }

    /// The MTU of the adjacency to a peer on an interface. It is set where the peer's prefix is attached: adjacencies of
    /// interfaces that borrow the address keep theirs.
    pub(crate) fn adjacency_mtu(&self, tx: u32, table_id: u32, peer: IpAddr) -> Option<u32> {
        let mtu = self.path_mtu(table_id, peer)?;
        let shorter = Family::of(peer).bits() - 1;
        let cover = self.fibs.lookup(table_id, peer, shorter)?;
        let Contribution::Paths(list) = cover.contribution else {
            return None;
        };
        let paths = self.fibs.path_lists.paths(*list);
        let is_own = paths
            .iter()
            .any(|path| path.sw_if_index == tx && path.next_hop.is_unspecified());
        is_own.then_some(mtu)
    }

    /// Whether a peer is on a link, so that its adjacency has the MTU and not its route (`ip_mtu_fib_entry_is_attached`).
    pub(crate) fn is_attached(&self, table_id: u32, peer: IpAddr) -> bool {
        let own = self.fibs.exact(table_id, Prefix::host(peer));
        let shorter = Family::of(peer).bits() - 1;
        let cover = self.fibs.lookup(table_id, peer, shorter).map(|found| found.entry);
        own.into_iter().chain(cover).any(|entry| {
            entry.sources.values().any(|c| match c {
                Contribution::Paths(list) => self.fibs.path_lists.paths(*list).iter().any(|path| {
                    path.kind == PathKind::Normal
                        && path.sw_if_index != NONE
                        && path.next_hop.is_unspecified()
                }),
                _ => false,
            })
        })
    }
}
