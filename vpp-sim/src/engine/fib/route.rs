//! `ip_table_*` and `ip_route_*`.
use super::path_list::ListKind;
use super::{Contribution, DEFAULT_TABLE, Entry, Found, source};
use crate::engine::Vpp;
use crate::engine::types::{Family, NONE, OpError, OpResult, PathKind, Prefix, RoutePath, left_bits, retval};

/// `ip_route_add_del_v2`.
#[derive(Clone, Debug)]
pub struct RouteUpdate {
    pub is_add: bool,
    /// Add or remove the listed paths instead of replacing all of this source.
    pub is_multipath: bool,
    pub table_id: u32,
    pub prefix: Prefix,
    /// 0 = API.
    pub source: u8,
    pub paths: Vec<RoutePath>,
}

impl RouteUpdate {
    /// Adds (or replaces) a route of source API.
    pub fn add(table_id: u32, prefix: Prefix, paths: Vec<RoutePath>) -> Self {
        Self {
            is_add: true,
            is_multipath: false,
            table_id,
            prefix,
            source: 0,
            paths,
        }
    }

    /// Removes the route of source API.
    pub fn del(table_id: u32, prefix: Prefix) -> Self {
        Self {
            is_add: false,
            ..Self::add(table_id, prefix, Vec::new())
        }
    }
}

/// A route as `ip_route_v2_dump` and `ip_route_lookup_v2` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDetails {
    pub table_id: u32,
    pub prefix: Prefix,
    pub stats_index: u32,
    /// The best source.
    pub source: u8,
    pub paths: Vec<RoutePath>,
}

/// A table as `ip_table_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableDetails {
    pub family: Family,
    pub table_id: u32,
    pub name: String,
}

/// Equal but for the weight, as `fib_route_path_cmp`.
fn same_path(a: &RoutePath, b: &RoutePath) -> bool {
    let key = |p: &RoutePath| {
        (
            p.preference,
            p.kind,
            p.family,
            p.sw_if_index,
            p.next_hop,
            if p.sw_if_index == NONE { p.table_id } else { 0 },
        )
    };
    key(a) == key(b)
}

impl Vpp {
    /// `ip_table_add_del`: always succeeds; table 0 is immutable.
    pub fn ip_table_add_del(&mut self, family: Family, table_id: u32, name: &str, is_add: bool) {
        if table_id == DEFAULT_TABLE {
            return;
        }
        if is_add {
            if let Some(table) = self.fibs.tables.get_mut(&(family, table_id)) {
                table.held = true;
            } else {
                let name = if name.is_empty() {
                    format!("ipv{}-VRF:{table_id}", super::family_digit(family))
                } else {
                    name.to_owned()
                };
                self.fibs.create_table(family, table_id, name);
            }
            return;
        }
        self.ip_table_flush(family, table_id);
        if family == Family::V4 {
            self.nat44.table_gone(table_id);
        }
        let bound = self
            .interfaces
            .iter()
            .any(|(_, i)| i.table[family.index()] == table_id);
        if let Some(table) = self.fibs.tables.get_mut(&(family, table_id)) {
            table.held = false;
            if !bound && table.locks == 0 {
                self.fibs.delete_table(family, table_id);
            }
        }
    }

    /// Removes the routes of source API of a table.
    pub fn ip_table_flush(&mut self, family: Family, table_id: u32) {
        let mine: Vec<Prefix> = self
            .fibs
            .entries(family, table_id)
            .filter(|(_, e)| e.sources.contains_key(&source::API))
            .map(|(p, _)| p)
            .collect();
        for prefix in mine {
            self.fibs.remove_source(table_id, prefix, source::API);
        }
    }

    pub fn ip_tables(&self) -> Vec<TableDetails> {
        self.fibs
            .tables
            .iter()
            .map(|((family, table_id), table)| TableDetails {
                family: *family,
                table_id: *table_id,
                name: table.name.clone(),
            })
            .collect()
    }

    /// `set_ip_flow_hash_v3`. # Errors −3 no such table.
    pub fn set_flow_hash(&mut self, family: Family, table_id: u32, config: u32) -> OpResult {
        let table = self.fibs.tables.get_mut(&(family, table_id));
        table.ok_or(OpError::Retval(retval::NO_SUCH_FIB))?.flow_hash = config;
        Ok(())
    }

    /// `fib_source_add`: a new source at each call.
    pub fn fib_source_add(&mut self, name: &str, priority: u8) -> u8 {
        self.fibs.sources.add(name, priority)
    }

    pub fn fib_sources(&self) -> Vec<source::SourceDetails> {
        self.fibs.sources.list()
    }

    /// Checks paths as `fib_api_path_decode` does.
    pub(crate) fn check_paths(&self, paths: &[RoutePath]) -> OpResult {
        for path in paths {
            if path.sw_if_index != NONE {
                if !self.interfaces.contains(path.sw_if_index) {
                    return Err(retval::NO_MATCHING_INTERFACE.into());
                }
            } else if path.kind == PathKind::Normal && !self.fibs.exists(path.family, path.table_id) {
                return Err(retval::NO_SUCH_FIB.into());
            }
        }
        Ok(())
    }

    /// `ip_route_add_del(_v2)`: the entry's stats index (0 on delete).
    ///
    /// # Errors
    /// −3 no such table, −171 bad length, −54 no such interface, −52 add without paths.
    pub fn ip_route_add_del(&mut self, update: &RouteUpdate) -> OpResult<u32> {
        let RouteUpdate { table_id, prefix, .. } = *update;
        let family = prefix.family();
        if !self.fibs.exists(family, table_id) {
            return Err(retval::NO_SUCH_FIB.into());
        }
        if !prefix.is_valid() {
            return Err(retval::INVALID_PREFIX_LENGTH.into());
        }
        if update.is_add && update.paths.is_empty() {
            return Err(retval::NO_PATHS_IN_ROUTE.into());
        }
        self.check_paths(&update.paths)?;
        let from = if update.source == 0 {
            source::API
        } else {
            update.source
        };
        let current: Vec<RoutePath> = match self
            .fibs
            .exact(table_id, prefix)
            .and_then(|e| e.sources.get(&from))
        {
            Some(Contribution::Paths(list)) => self.fibs.path_lists.paths(*list).to_vec(),
            _ => Vec::new(),
        };
        let paths = match (update.is_add, update.is_multipath) {
            (true, false) => update.paths.clone(),
            (true, true) => {
                let mut all = current;
                all.retain(|old| !update.paths.iter().any(|new| same_path(old, new)));
                all.extend(update.paths.iter().cloned());
                all
            }
            (false, true) => {
                let mut rest = current;
                rest.retain(|old| !update.paths.iter().any(|gone| same_path(old, gone)));
                rest
            }
            (false, false) => Vec::new(),
        };
        if paths.is_empty() {
            self.fibs.remove_source(table_id, prefix, from);
            return Ok(0);
        }
        // Any address of the prefix leads to its next hops.
        if paths.iter().any(|p| !p.next_hop.is_unspecified()) {
            self.fresh_next_hops.push((table_id, prefix.normalized().address));
        }
        Ok(self.fibs.set_source(table_id, prefix, from, paths))
    }

    /// Entries of a table; `from` = 0 for all sources.
    pub fn ip_routes(&self, family: Family, table_id: u32, from: u8) -> Vec<RouteDetails> {
        self.fibs
            .entries(family, table_id)
            .filter(|(_, e)| from == 0 || e.sources.contains_key(&from))
            .filter_map(|(prefix, entry)| self.route_details(table_id, prefix, entry))
            .collect()
    }

    /// `ip_route_lookup_v2`. # Errors −3 no such table, −6 no such entry.
    pub fn ip_route_lookup(&self, table_id: u32, prefix: Prefix, exact: bool) -> OpResult<RouteDetails> {
        let family = prefix.family();
        if !self.fibs.exists(family, table_id) {
            return Err(retval::NO_SUCH_FIB.into());
        }
        let found: Option<Found<'_>> = self
            .fibs
            .lookup(table_id, prefix.normalized().address, prefix.len)
            .filter(|found| {
                !exact
                    || (found.prefix.len == prefix.len
                        && left_bits(found.prefix.address) == left_bits(prefix.normalized().address))
            });
        found
            .and_then(|f| self.route_details(table_id, f.prefix, f.entry))
            .ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))
    }

    fn route_details(&self, table_id: u32, prefix: Prefix, entry: &Entry) -> Option<RouteDetails> {
        let (source, contribution) = self.fibs.best(entry)?;
        Some(RouteDetails {
            table_id,
            prefix,
            stats_index: entry.stats_index,
            source,
            paths: self.contributed_paths(table_id, prefix, contribution),
        })
    }

    fn contributed_paths(&self, table_id: u32, prefix: Prefix, c: &Contribution) -> Vec<RoutePath> {
        match c {
            Contribution::Paths(list) => self.fibs.path_lists.paths(*list).to_vec(),
            Contribution::CnatClient { .. } | Contribution::SrLocalSid(_) | Contribution::SrPolicy(_) => {
                vec![RoutePath::special(PathKind::Normal, prefix.family())]
            }
            Contribution::Cover { .. } => prefix
                .len
                .checked_sub(1)
                .and_then(|longest| self.fibs.lookup(table_id, prefix.address, longest))
                .map(|found| self.contributed_paths(table_id, found.prefix, found.contribution))
                .unwrap_or_default(),
        }
    }

    /// Paths whose interface was deleted while a route or policy still uses them: they stay
    /// unresolved for ever. A correct client leaves none.
    pub fn poisoned_paths(&self) -> usize {
        self.fibs.path_lists.poisoned()
    }

    pub(crate) fn lock_policy_paths(&mut self, paths: Vec<RoutePath>) -> u32 {
        self.fibs.path_lists.lock(ListKind::Policy, paths)
    }
}
