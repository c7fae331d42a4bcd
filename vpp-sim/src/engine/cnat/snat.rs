//! Source NAT: addresses, policy, excluded prefixes, interface tables, ports.
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::is_zero_address;
use super::session::FiveTuple;
use crate::engine::Vpp;
use crate::engine::fib::{Contribution, source};
use crate::engine::types::{Family, NONE, OpError, OpResult, Prefix, left_bits, retval};

/// Which packets are source-NATed (`cnat_snat_policies`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SnatPolicy {
    /// All new flows.
    #[default]
    None,
    /// From the included interfaces to prefixes which are not excluded.
    IfPfx,
    /// As above, and from outside to outside, and hairpins.
    K8s,
}

/// Sets of interfaces (`cnat_snat_policy_table`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnatTable {
    IncludeV4,
    IncludeV6,
    Pod,
    Host,
}

/// Flags of `cnat_set_snat_addresses_v2` (26.06).
pub mod snat_flag {
    pub const BUFFER_NEXT: u8 = 1;
    /// Do not put the addresses into the FIB.
    pub const NO_CLIENT: u8 = 2;
    /// Also for tables without own entry.
    pub const USE_AS_DEFAULT: u8 = 4;
}

/// `cnat_set_snat_addresses_v2` and its dump. Fib indexes are VPP's internal numbers of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatAddresses {
    pub fwd_fib_index: u32,
    pub ret_fib_index: u32,
    pub ip4: Ipv4Addr,
    pub ip6: Ipv6Addr,
    /// Take the addresses of this interface; [`NONE`] = use those given.
    pub sw_if_index: u32,
    pub flags: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub addresses: SnatAddresses,
    policy: SnatPolicy,
    excluded: BTreeSet<Prefix>,
    interfaces: BTreeMap<SnatTable, BTreeSet<u32>>,
    /// Whether anything was put in (`cnat_snat_policy_entry_is_init`). 26.06 asks the length of the bitmap of
    /// [`SnatTable::IncludeV4`], which is zero again once a bit was cleared and none is left.
    is_init: bool,
    clients: Vec<IpAddr>,
    /// Of cnat 0.3.0.
    is_older: bool,
}

/// FIB index of table 0.
const DEFAULT_FIB: u32 = 0;

/// First port tried for a source-NATed flow.
const MIN_SRC_PORT: u16 = 0xc000;

#[derive(Clone, Debug, Default)]
pub(crate) struct Snat {
    /// By forward fib index.
    entries: BTreeMap<u32, Entry>,
    default: Option<u32>,
    /// Ports in use, by protocol.
    ports: BTreeMap<u8, BTreeSet<u16>>,
}

impl Snat {
    fn key(&self, fib_index: u32) -> Option<u32> {
        if self.entries.contains_key(&fib_index) {
            Some(fib_index)
        } else {
            self.default
        }
    }

    /// The entry that serves a table.
    pub fn entry(&self, fib_index: u32) -> Option<&Entry> {
        self.entries.get(&self.key(fib_index)?)
    }

    /// cnat 0.3.0 has one set of addresses, zero at first, and takes policies before them.
    pub fn begin_with_no_address(&mut self) {
        let entry = Entry {
            is_older: true,
            is_init: true,
            ..Entry::new(SnatAddresses::NOTHING)
        };
        self.entries.insert(DEFAULT_FIB, entry);
        self.default = Some(DEFAULT_FIB);
    }

    fn default_entry_mut(&mut self) -> Option<&mut Entry> {
        let key = self.key(0)?;
        self.entries.get_mut(&key)
    }

    /// A free port; None for protocols without port allocation (SCTP) or when all are taken.
    pub fn allocate_port(&mut self, proto: u8) -> Option<u16> {
        if !matches!(proto, 1 | 6 | 17 | 58) {
            return None;
        }
        let used = self.ports.entry(proto).or_default();
        let port = (MIN_SRC_PORT..u16::MAX).find(|port| !used.contains(port))?;
        used.insert(port);
        Some(port)
    }

    pub fn free_port(&mut self, proto: u8, port: u16) {
        if let Some(used) = self.ports.get_mut(&proto) {
            used.remove(&port);
        }
    }
}

impl SnatAddresses {
    /// Before anything was set.
    const NOTHING: Self = Self {
        fwd_fib_index: DEFAULT_FIB,
        ret_fib_index: DEFAULT_FIB,
        ip4: Ipv4Addr::UNSPECIFIED,
        ip6: Ipv6Addr::UNSPECIFIED,
        sw_if_index: NONE,
        flags: snat_flag::NO_CLIENT,
    };
}

impl Entry {
    fn new(addresses: SnatAddresses) -> Self {
        Self {
            addresses,
            policy: SnatPolicy::None,
            excluded: BTreeSet::new(),
            interfaces: BTreeMap::new(),
            is_init: false,
            clients: Vec::new(),
            is_older: false,
        }
    }

    /// Before anything is put in: 26.06 makes a new table of prefixes, whatever the one before held.
    fn init(&mut self) {
        if !self.is_init {
            self.excluded.clear();
            self.is_init = true;
        }
    }

    fn has(&self, table: SnatTable, sw_if_index: u32) -> bool {
        self.interfaces
            .get(&table)
            .is_some_and(|set| set.contains(&sw_if_index))
    }

    fn is_excluded(&self, destination: IpAddr) -> bool {
        self.excluded.iter().any(|p| p.contains(destination))
    }

    pub fn address(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.addresses.ip4),
            Family::V6 => IpAddr::V6(self.addresses.ip6),
        }
    }

    /// Whether a new flow is source-NATed (`cnat_snat_policy.c`).
    pub fn applies(&self, tuple: &FiveTuple, family: Family, rx: u32, tx: u32) -> bool {
        let include = match family {
            Family::V4 => SnatTable::IncludeV4,
            Family::V6 => SnatTable::IncludeV6,
        };
        let outgoing = self.is_init && self.has(include, rx) && !self.is_excluded(tuple.dst);
        match self.policy {
            SnatPolicy::None => true,
            SnatPolicy::IfPfx => outgoing,
            SnatPolicy::K8s => {
                if self.has(SnatTable::Host, tx) {
                    return false;
                }
                if outgoing {
                    return true;
                }
                if !self.has(SnatTable::Pod, rx) && !self.has(SnatTable::Pod, tx) {
                    return tuple.src != self.address(family);
                }
                // A pod that reaches itself through a service. VPP 26.06 also compares the low 32
                // bits of IPv6 addresses, so equal host parts of two nodes are taken for one pod.
                let alike = !self.is_older && low_32(tuple.src) == low_32(tuple.dst);
                tuple.src == tuple.dst || alike
            }
        }
    }
}

fn low_32(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(a) => a.to_bits(),
        IpAddr::V6(_) => left_bits(address) as u32,
    }
}

impl Vpp {
    /// `cnat_set_snat_addresses(_v2)`: all zero and no interface deletes the entry.
    ///
    /// # Errors
    /// −30 when there is nothing to delete.
    pub fn cnat_set_snat_addresses(&mut self, wanted: SnatAddresses) -> OpResult {
        if self.cnat.per_arc.is_some() {
            let entry = self.cnat.snat.default_entry_mut();
            let entry = entry.ok_or(OpError::Retval(retval::FEATURE_DISABLED))?;
            // 0.3.0 takes what it is given, nothing included.
            entry.addresses.ip4 = wanted.ip4;
            entry.addresses.ip6 = wanted.ip6;
            entry.addresses.sw_if_index = wanted.sw_if_index;
            return Ok(());
        }
        let mut addresses = wanted;
        let by_interface = wanted.sw_if_index != NONE;
        let fib = wanted.fwd_fib_index;
        if !by_interface && wanted.ip4.is_unspecified() && wanted.ip6.is_unspecified() {
            let gone = self.cnat.snat.entries.remove(&fib);
            let gone = gone.ok_or(OpError::Retval(retval::FEATURE_DISABLED))?;
            if self.cnat.snat.default == Some(fib) {
                self.cnat.snat.default = None;
            }
            self.remove_snat_clients(&gone.clients);
            return Ok(());
        }
        if by_interface {
            let of = |family| {
                let interface = self.interfaces.get(wanted.sw_if_index)?;
                let mut all = interface.addresses.iter();
                all.find(|p| p.family() == family).map(|p| p.address)
            };
            if let Some(IpAddr::V4(a)) = of(Family::V4) {
                addresses.ip4 = a;
            }
            if let Some(IpAddr::V6(a)) = of(Family::V6) {
                addresses.ip6 = a;
            }
        }
        let old = self.cnat.snat.entries.remove(&fib);
        let mut entry = match old {
            Some(mut entry) => {
                self.remove_snat_clients(&entry.clients);
                // The flags are those of the first call; an address that is not given stays.
                addresses.flags = entry.addresses.flags;
                if addresses.ip4.is_unspecified() {
                    addresses.ip4 = entry.addresses.ip4;
                }
                if addresses.ip6.is_unspecified() {
                    addresses.ip6 = entry.addresses.ip6;
                }
                entry.addresses = addresses;
                entry.clients.clear();
                entry
            }
            None => {
                if addresses.flags & snat_flag::USE_AS_DEFAULT != 0 {
                    self.cnat.snat.default = Some(fib);
                }
                Entry::new(addresses)
            }
        };
        if addresses.flags & snat_flag::NO_CLIENT == 0 {
            for family in Family::BOTH {
                let address = entry.address(family);
                if is_zero_address(address) {
                    continue;
                }
                if let Some(table) = self.fibs.table_by_fib_index(family, addresses.ret_fib_index) {
                    let client = Contribution::CnatClient { exclusive: true };
                    self.fibs
                        .contribute(table, Prefix::host(address), source::CNAT, client);
                    entry.clients.push(address);
                }
            }
        }
        self.cnat.snat.entries.insert(fib, entry);
        Ok(())
    }

    fn remove_snat_clients(&mut self, clients: &[IpAddr]) {
        for address in clients {
            let tables: Vec<u32> = self.ip_tables().iter().map(|t| t.table_id).collect();
            for table in tables {
                self.fibs
                    .remove_source(table, Prefix::host(*address), source::CNAT);
            }
        }
    }

    /// `cnat_snat_addresses_dump`.
    pub fn cnat_snat_addresses(&self) -> Vec<SnatAddresses> {
        self.cnat.snat.entries.values().map(|e| e.addresses).collect()
    }

    /// `cnat_set_snat_policy`.
    ///
    /// # Errors
    /// Fatal before any SNAT address was set.
    pub fn cnat_set_snat_policy(&mut self, policy: SnatPolicy) -> OpResult {
        let Some(entry) = self.cnat.snat.default_entry_mut() else {
            return Err(OpError::Fatal(
                "cnat_set_snat_policy before any SNAT address was set".into(),
            ));
        };
        entry.policy = policy;
        Ok(())
    }

    /// `cnat_snat_policy_add_del_exclude_pfx`.
    ///
    /// # Errors
    /// Fatal before any SNAT address was set.
    pub fn cnat_snat_exclude(&mut self, prefix: Prefix, is_add: bool) -> OpResult {
        let Some(entry) = self.cnat.snat.default_entry_mut() else {
            return Err(OpError::Fatal(
                "cnat_snat_policy_add_del_exclude_pfx before any SNAT address was set".into(),
            ));
        };
        if is_add {
            entry.init();
            entry.excluded.insert(prefix.normalized());
        } else if entry.is_init {
            entry.excluded.remove(&prefix.normalized());
        }
        Ok(())
    }

    /// `cnat_snat_policy_add_del_if`.
    ///
    /// # Errors
    /// −2 unknown interface, −30 before any SNAT address was set.
    pub fn cnat_snat_interface(&mut self, sw_if_index: u32, table: SnatTable, is_add: bool) -> OpResult {
        self.interface_mut(sw_if_index)?;
        let Some(entry) = self.cnat.snat.default_entry_mut() else {
            return Err(retval::FEATURE_DISABLED.into());
        };
        if !is_add && !entry.is_init {
            return Ok(());
        }
        entry.init();
        let set = entry.interfaces.entry(table).or_default();
        if is_add {
            set.insert(sw_if_index);
        } else {
            set.remove(&sw_if_index);
            let was_last = table == SnatTable::IncludeV4 && set.is_empty();
            entry.is_init = entry.is_older || !was_last;
        }
        Ok(())
    }
}
