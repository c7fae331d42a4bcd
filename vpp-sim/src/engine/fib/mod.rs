//! Forwarding tables: per (family, table id) a longest-prefix-match map whose entries have several
//! sources, the best of which forwards (`vnet/fib`).
pub(crate) mod path_list;
mod resolve;
mod route;
pub mod source;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::types::{Family, PathKind, Prefix, RoutePath, left_bits, left_mask};
use path_list::{ListKind, PathLists};
pub(crate) use resolve::Forward;
pub use route::{RouteDetails, RouteUpdate, TableDetails};

/// Table 0: always there.
pub const DEFAULT_TABLE: u32 = 0;

/// `IP_FLOW_HASH_DEFAULT`: addresses, ports and protocol.
pub const FLOW_HASH_DEFAULT: u32 = 0x1f;

/// What a source contributes to an entry.
#[derive(Clone, Debug)]
pub(crate) enum Contribution {
    Paths(u32),
    /// Tracks the covering entry (FIB source "recursive-resolution"): somebody follows this address.
    Cover {
        users: u32,
    },
    /// A virtual address of cnat: packets go to the translation. When not
    /// exclusive (a real address), what no translation matches follows the next source.
    CnatClient {
        exclusive: bool,
    },
    /// A local SID.
    SrLocalSid(u32),
    /// The binding SID of a policy.
    SrPolicy(u32),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    pub stats_index: u32,
    pub sources: BTreeMap<u8, Contribution>,
}

#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub name: String,
    pub fib_index: u32,
    /// Whether the API holds it (`ip_table_add_del`).
    pub held: bool,
    /// How many others hold it, such as NAT.
    pub locks: u32,
    pub flow_hash: u32,
    entries: BTreeMap<(u8, u128), Entry>,
    /// Number of entries of each prefix length.
    lengths: BTreeMap<u8, u32>,
}

/// All tables of both families and the path lists they share.
#[derive(Clone, Debug)]
pub(crate) struct Fibs {
    pub tables: BTreeMap<(Family, u32), Table>,
    pub path_lists: PathLists,
    pub sources: source::Sources,
    next_stats_index: u32,
}

/// An entry found by a lookup.
pub(crate) struct Found<'a> {
    pub prefix: Prefix,
    pub entry: &'a Entry,
    pub source: u8,
    pub contribution: &'a Contribution,
}

impl Fibs {
    pub fn new() -> Self {
        let mut fibs = Self {
            tables: BTreeMap::new(),
            path_lists: PathLists::default(),
            sources: source::Sources::default(),
            next_stats_index: 1,
        };
        for family in Family::BOTH {
            fibs.create_table(
                family,
                DEFAULT_TABLE,
                format!("ipv{}-VRF:0", family_digit(family)),
            );
        }
        fibs
    }

    pub fn exists(&self, family: Family, table_id: u32) -> bool {
        self.tables.contains_key(&(family, table_id))
    }

    /// VPP's internal number of a table, in order of creation.
    pub fn table_by_fib_index(&self, family: Family, fib_index: u32) -> Option<u32> {
        self.tables
            .iter()
            .find(|((f, _), table)| *f == family && table.fib_index == fib_index)
            .map(|((_, id), _)| *id)
    }

    /// Adds a table with the entries VPP puts into an empty one.
    pub fn create_table(&mut self, family: Family, table_id: u32, name: String) {
        let used: Vec<u32> = self
            .tables
            .iter()
            .filter(|((f, _), _)| *f == family)
            .map(|(_, t)| t.fib_index)
            .collect();
        let fib_index = (0..).find(|n| !used.contains(n)).unwrap_or(0);
        self.tables.insert(
            (family, table_id),
            Table {
                name,
                fib_index,
                held: true,
                locks: 0,
                flow_hash: FLOW_HASH_DEFAULT,
                entries: BTreeMap::new(),
                lengths: BTreeMap::new(),
            },
        );
        let drop = RoutePath::special(PathKind::Drop, family);
        let defaults: &[(&str, u8)] = match family {
            Family::V4 => &[
                ("0.0.0.0/0", source::DEFAULT_ROUTE),
                ("0.0.0.0/32", source::DEFAULT_ROUTE),
                ("240.0.0.0/4", source::SPECIAL),
                ("224.0.0.0/4", source::SPECIAL),
                ("255.255.255.255/32", source::DEFAULT_ROUTE),
            ],
            Family::V6 => &[("::/0", source::DEFAULT_ROUTE), ("fe80::/10", source::SPECIAL)],
        };
        for (text, from) in defaults {
            if let Ok(prefix) = text.parse() {
                self.set_source(table_id, prefix, *from, vec![drop.clone()]);
            }
        }
    }

    /// Finds a table, or makes it, and holds it (`fib_table_find_or_create_and_lock`).
    pub fn lock_table(&mut self, family: Family, table_id: u32) {
        let made = !self.exists(family, table_id);
        if made {
            let name = format!("ipv{}-VRF:{table_id}", family_digit(family));
            self.create_table(family, table_id, name);
        }
        if let Some(table) = self.tables.get_mut(&(family, table_id)) {
            table.held &= !made;
            table.locks += 1;
        }
    }

    /// The end of [`Self::lock_table`].
    pub fn unlock_table(&mut self, family: Family, table_id: u32) {
        let Some(table) = self.tables.get_mut(&(family, table_id)) else {
            return;
        };
        table.locks = table.locks.saturating_sub(1);
        if !table.held && table.locks == 0 && table_id != DEFAULT_TABLE {
            self.delete_table(family, table_id);
        }
    }

    /// Takes a table away with all that is in it.
    pub fn delete_table(&mut self, family: Family, table_id: u32) {
        let prefixes: Vec<(Prefix, Vec<u8>)> = self
            .entries(family, table_id)
            .map(|(p, e)| (p, e.sources.keys().copied().collect()))
            .collect();
        for (prefix, sources) in prefixes {
            for from in sources {
                self.remove_source(table_id, prefix, from);
            }
        }
        self.tables.remove(&(family, table_id));
    }

    /// Replaces what a source contributes to a prefix; returns the entry's stats index.
    pub fn set_source(&mut self, table_id: u32, prefix: Prefix, from: u8, paths: Vec<RoutePath>) -> u32 {
        let kind = match from {
            source::INTERFACE | source::ADJACENCY => ListKind::Own,
            _ => ListKind::Route,
        };
        let list = self.path_lists.lock(kind, paths);
        self.contribute(table_id, prefix, from, Contribution::Paths(list))
    }

    /// As [`Self::set_source`], for any contribution. The old one is released after the new one is held.
    pub fn contribute(&mut self, table_id: u32, prefix: Prefix, from: u8, contribution: Contribution) -> u32 {
        let prefix = prefix.normalized();
        let next = &mut self.next_stats_index;
        let Some(table) = self.tables.get_mut(&(prefix.family(), table_id)) else {
            if let Contribution::Paths(list) = contribution {
                self.path_lists.unlock(list);
            }
            return 0;
        };
        let key = (prefix.len, left_bits(prefix.address));
        let entry = table.entries.entry(key).or_insert_with(|| {
            *table.lengths.entry(prefix.len).or_insert(0) += 1;
            let stats_index = *next;
            *next += 1;
            Entry {
                stats_index,
                sources: BTreeMap::new(),
            }
        });
        let old = entry.sources.insert(from, contribution);
        let stats_index = entry.stats_index;
        if let Some(Contribution::Paths(list)) = old {
            self.path_lists.unlock(list);
        }
        stats_index
    }

    /// Takes a source away from a prefix; whether it was there.
    pub fn remove_source(&mut self, table_id: u32, prefix: Prefix, from: u8) -> bool {
        let prefix = prefix.normalized();
        let key = (prefix.len, left_bits(prefix.address));
        let Some(table) = self.tables.get_mut(&(prefix.family(), table_id)) else {
            return false;
        };
        let Some(entry) = table.entries.get_mut(&key) else {
            return false;
        };
        let old = entry.sources.remove(&from);
        if entry.sources.is_empty() {
            table.entries.remove(&key);
            if let Some(count) = table.lengths.get_mut(&prefix.len) {
                *count -= 1;
                if *count == 0 {
                    table.lengths.remove(&prefix.len);
                }
            }
        }
        if let Some(Contribution::Paths(list)) = old {
            self.path_lists.unlock(list);
        }
        old.is_some()
    }

    /// Somebody follows an address (cnat backend, tunnel end): an entry of source RR appears.
    pub fn track(&mut self, table_id: u32, address: IpAddr) {
        let prefix = Prefix::host(address);
        let users = match self
            .exact(table_id, prefix)
            .and_then(|e| e.sources.get(&source::RECURSIVE_RESOLUTION))
        {
            Some(Contribution::Cover { users }) => *users,
            _ => 0,
        };
        let cover = Contribution::Cover { users: users + 1 };
        self.contribute(table_id, prefix, source::RECURSIVE_RESOLUTION, cover);
    }

    /// The end of [`Self::track`].
    pub fn untrack(&mut self, table_id: u32, address: IpAddr) {
        let prefix = Prefix::host(address);
        match self
            .exact(table_id, prefix)
            .and_then(|e| e.sources.get(&source::RECURSIVE_RESOLUTION))
        {
            Some(Contribution::Cover { users }) if *users > 1 => {
                let cover = Contribution::Cover { users: users - 1 };
                self.contribute(table_id, prefix, source::RECURSIVE_RESOLUTION, cover);
            }
            Some(_) => {
                self.remove_source(table_id, prefix, source::RECURSIVE_RESOLUTION);
            }
            None => {}
        }
    }

    pub fn exact(&self, table_id: u32, prefix: Prefix) -> Option<&Entry> {
        let prefix = prefix.normalized();
        self.tables
            .get(&(prefix.family(), table_id))?
            .entries
            .get(&(prefix.len, left_bits(prefix.address)))
    }

    /// The source that forwards for an entry.
    pub fn best<'a>(&self, entry: &'a Entry) -> Option<(u8, &'a Contribution)> {
        entry
            .sources
            .iter()
            .min_by_key(|(id, _)| self.sources.priority(**id))
            .map(|(id, contribution)| (*id, contribution))
    }

    /// The longest entry that covers `address` with at most `longest` bits.
    pub fn lookup(&self, table_id: u32, address: IpAddr, longest: u8) -> Option<Found<'_>> {
        let family = Family::of(address);
        let table = self.tables.get(&(family, table_id))?;
        let bits = left_bits(address);
        table.lengths.range(..=longest).rev().find_map(|(len, _)| {
            let key = bits & left_mask(*len);
            let entry = table.entries.get(&(*len, key))?;
            let (source, contribution) = self.best(entry)?;
            Some(Found {
                prefix: Prefix::new(address, *len).normalized(),
                entry,
                source,
                contribution,
            })
        })
    }

    /// All entries of a table, shorter prefixes first.
    pub fn entries(&self, family: Family, table_id: u32) -> impl Iterator<Item = (Prefix, &Entry)> {
        self.tables
            .get(&(family, table_id))
            .into_iter()
            .flat_map(move |table| {
                table
                    .entries
                    .iter()
                    .map(move |((len, bits), entry)| (Prefix::from_left(family, *bits, *len), entry))
            })
    }
}

pub(crate) fn family_digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}
