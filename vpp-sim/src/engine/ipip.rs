//! Tunnels of IP in IP, and the TEIB that tells multipoint ones where their peers are (`vnet/ipip`, `vnet/teib`).
use std::net::IpAddr;

use super::Vpp;
use super::fib::source;
use super::interface::Kind;
use super::pool::Pool;
use super::types::{Family, Mac, NONE, OpError, OpResult, Prefix, RoutePath, retval};

/// Flags of `tunnel_encap_decap_flags`.
pub mod tunnel_flag {
    pub const ENCAP_COPY_DF: u8 = 1;
    pub const ENCAP_SET_DF: u8 = 2;
    pub const ENCAP_COPY_DSCP: u8 = 4;
    pub const ENCAP_COPY_ECN: u8 = 8;
    pub const DECAP_COPY_ECN: u8 = 16;
    pub const ENCAP_INNER_HASH: u8 = 32;
    pub const ENCAP_COPY_HOP_LIMIT: u8 = 64;
    pub const ENCAP_COPY_FLOW_LABEL: u8 = 128;
}

/// `tunnel_mode`: one peer, or those of the TEIB.
const POINT_TO_POINT: u8 = 0;
const MULTIPOINT: u8 = 1;

/// `ipip_add_tunnel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpipTunnel {
    /// Number in the name; [`NONE`] = that of the tunnel.
    pub instance: u32,
    pub src: IpAddr,
    /// Unspecified for multipoint.
    pub dst: IpAddr,
    /// Table of the outer packets.
    pub table_id: u32,
    /// See [`tunnel_flag`].
    pub flags: u8,
    /// 0 point to point, 1 multipoint.
    pub mode: u8,
    pub dscp: u8,
}

/// A tunnel as `ipip_tunnel_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpipDetails {
    pub sw_if_index: u32,
    pub tunnel: IpipTunnel,
}

/// `teib_entry_add_del`: a peer of a multipoint tunnel and its address in the underlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TeibEntry {
    pub sw_if_index: u32,
    pub peer: IpAddr,
    pub next_hop: IpAddr,
    pub next_hop_table: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ipip {
    tunnels: Pool<IpipDetails>,
    teib: Pool<TeibEntry>,
    /// Families in which the protocols are taken: from the first tunnel on, for ever.
    registered: [bool; 2],
}

impl Ipip {
    pub fn tunnel(&self, index: u32) -> Option<&IpipDetails> {
        self.tunnels.get(index)
    }

    pub fn is_multipoint(&self, index: u32) -> bool {
        self.tunnel(index)
            .is_some_and(|details| details.tunnel.mode == MULTIPOINT)
    }

    pub fn listens(&self, family: Family) -> bool {
        self.registered[family.index()]
    }

    fn same_key(a: &IpipTunnel, b: &IpipTunnel) -> bool {
        (a.src, a.dst, a.table_id, a.mode) == (b.src, b.dst, b.table_id, b.mode)
    }

    /// The tunnel for a packet that came from `remote` to `local`: point to point, or by a peer's TEIB entry.
    pub fn find(&self, local: IpAddr, remote: IpAddr, table: u32) -> Option<IpipDetails> {
        let point = self.tunnels.iter().map(|(_, details)| details).find(|details| {
            let t = &details.tunnel;
            t.mode == POINT_TO_POINT && (t.src, t.dst, t.table_id) == (local, remote, table)
        });
        let multipoint = || {
            let entries = self.teib.iter().map(|(_, entry)| entry);
            entries
                .filter(|entry| (entry.next_hop, entry.next_hop_table) == (remote, table))
                .find_map(|entry| {
                    self.tunnels.iter().map(|(_, details)| details).find(|details| {
                        details.sw_if_index == entry.sw_if_index && details.tunnel.src == local
                    })
                })
        };
        point.or_else(multipoint).copied()
    }

    /// The outer destination for a next hop on a tunnel, and its table.
    pub fn remote(&self, details: &IpipDetails, next_hop: Option<IpAddr>) -> Option<(IpAddr, u32)> {
        if details.tunnel.mode == POINT_TO_POINT {
            return Some((details.tunnel.dst, details.tunnel.table_id));
        }
        let (_, entry) = self
            .teib
            .iter()
            .find(|(_, entry)| entry.sw_if_index == details.sw_if_index && Some(entry.peer) == next_hop)?;
        Some((entry.next_hop, entry.next_hop_table))
    }
}

impl Vpp {
    /// `ipip_add_tunnel`: the interface, admin-down.
    ///
    /// # Errors
    /// −153 families differ, −82 equal ends, −8 mode, −3 table, −58 a multipoint tunnel with destination, −79 exists
    /// ([`Self::ipip_find`] tells which), −147 instance taken.
    pub fn ipip_add(&mut self, wanted: &IpipTunnel) -> OpResult<u32> {
        let family = Family::of(wanted.src);
        if Family::of(wanted.dst) != family {
            return Err(retval::INVALID_PROTOCOL.into());
        }
        if wanted.src == wanted.dst {
            return Err(retval::SAME_SRC_DST.into());
        }
        if wanted.mode > MULTIPOINT {
            return Err(retval::INVALID_VALUE_2.into());
        }
        if !self.fibs.exists(family, wanted.table_id) {
            return Err(retval::NO_SUCH_FIB.into());
        }
        if wanted.mode == MULTIPOINT && !wanted.dst.is_unspecified() {
            return Err(retval::INVALID_DST_ADDRESS.into());
        }
        if self.ipip_find(wanted).is_some() {
            return Err(retval::IF_ALREADY_EXISTS.into());
        }
        let index = self.ipip.tunnels.next_index();
        let instance = if wanted.instance == NONE {
            index
        } else {
            wanted.instance
        };
        let taken = |(_, details): (u32, &IpipDetails)| details.tunnel.instance == instance;
        if self.ipip.tunnels.iter().any(taken) {
            return Err(retval::INSTANCE_IN_USE.into());
        }
        let kind = Kind::Ipip { tunnel: index };
        let name = format!("ipip{instance}");
        let sw_if_index = self.new_interface(name, "IPIP tunnel device", kind, Mac::default());
        let tunnel = IpipTunnel { instance, ..*wanted };
        self.ipip.tunnels.insert(IpipDetails { sw_if_index, tunnel });
        self.ipip.registered[family.index()] = true;
        if tunnel.mode == POINT_TO_POINT {
            self.fresh_next_hops.push((tunnel.table_id, tunnel.dst));
        }
        Ok(sw_if_index)
    }

    /// The interface of the tunnel with the same ends, table and mode.
    pub fn ipip_find(&self, wanted: &IpipTunnel) -> Option<u32> {
        self.ipip
            .tunnels
            .iter()
            .find(|(_, details)| Ipip::same_key(&details.tunnel, wanted))
            .map(|(_, details)| details.sw_if_index)
    }

    /// `ipip_del_tunnel`.
    ///
    /// # Errors
    /// −6 no such tunnel.
    pub fn ipip_del(&mut self, sw_if_index: u32) -> OpResult {
        let (index, _) = self
            .ipip
            .tunnels
            .iter()
            .find(|(_, details)| details.sw_if_index == sw_if_index)
            .ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))?;
        self.delete_interface(sw_if_index);
        self.ipip.tunnels.remove(index);
        Ok(())
    }

    /// `ipip_tunnel_dump`.
    pub fn ipip_tunnels(&self) -> Vec<IpipDetails> {
        self.ipip.tunnels.iter().map(|(_, details)| *details).collect()
    }

    fn teib_index(&self, sw_if_index: u32, peer: IpAddr) -> Option<u32> {
        self.ipip
            .teib
            .iter()
            .find(|(_, entry)| (entry.sw_if_index, entry.peer) == (sw_if_index, peer))
            .map(|(index, _)| index)
    }

    fn set_teib_route(&mut self, entry: &TeibEntry, table: u32, add: bool) {
        let prefix = Prefix::host(entry.peer);
        if add {
            let path = RoutePath::via(entry.sw_if_index, entry.peer);
            self.fibs.set_source(table, prefix, source::ADJACENCY, vec![path]);
        } else {
            self.fibs.remove_source(table, prefix, source::ADJACENCY);
        }
    }

    /// `teib_entry_add_del` with `is_add`: also a host route to the peer.
    ///
    /// # Errors
    /// −2 no such interface, −3 no such table, −116 exists.
    pub fn teib_add(&mut self, entry: &TeibEntry) -> OpResult {
        self.interface_mut(entry.sw_if_index)?;
        if !self.fibs.exists(Family::of(entry.next_hop), entry.next_hop_table) {
            return Err(retval::NO_SUCH_FIB.into());
        }
        if self.teib_index(entry.sw_if_index, entry.peer).is_some() {
            return Err(retval::ENTRY_ALREADY_EXISTS.into());
        }
        let table = self.table_of(entry.sw_if_index, Family::of(entry.peer));
        self.set_teib_route(entry, table, true);
        self.fresh_next_hops.push((entry.next_hop_table, entry.next_hop));
        self.ipip.teib.insert(*entry);
        Ok(())
    }

    /// `teib_entry_add_del` without `is_add`.
    ///
    /// # Errors
    /// −2 no such interface, −6 no such entry.
    pub fn teib_del(&mut self, sw_if_index: u32, peer: IpAddr) -> OpResult {
        self.interface_mut(sw_if_index)?;
        let index = self.teib_index(sw_if_index, peer);
        let entry = index.and_then(|index| self.ipip.teib.remove(index));
        let entry = entry.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))?;
        let table = self.table_of(sw_if_index, Family::of(peer));
        self.set_teib_route(&entry, table, false);
        Ok(())
    }

    /// `teib_dump`.
    pub fn teib(&self) -> Vec<TeibEntry> {
        self.ipip.teib.iter().map(|(_, entry)| *entry).collect()
    }

    /// The host routes to an interface's peers move with it to another table.
    pub(crate) fn teib_rebind(&mut self, sw_if_index: u32, family: Family, from: u32, to: u32) {
        let mine = |entry: &TeibEntry| entry.sw_if_index == sw_if_index && Family::of(entry.peer) == family;
        for entry in self.teib().into_iter().filter(mine) {
            self.set_teib_route(&entry, from, false);
            self.set_teib_route(&entry, to, true);
        }
    }
}
