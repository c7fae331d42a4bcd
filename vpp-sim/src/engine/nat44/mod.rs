//! Endpoint-dependent NAT of IPv4 (`plugins/nat/nat44-ed`): an address and port of the pool serve many sessions, as
//! long as their outside ends differ.
//!
//! VPP's own ways are kept where a dump or a packet shows them, its slips too; they are marked "as VPP".
mod affinity;
mod alloc;
mod flow;
mod in2out;
mod interface;
mod mapping;
mod out2in;
mod pool;
mod session;
mod translate;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::Vpp;
use super::fib::DEFAULT_TABLE;
use super::pool::Pool;
use super::types::{Family, NONE, OpError, OpResult, retval};
pub use interface::Nat44Interface;
pub use mapping::{Nat44Backend, Nat44LbMapping, Nat44Mapping, mapping_flag};
pub use pool::Nat44Address;
pub use session::{Nat44SessionDetails, Nat44User};

/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// Sessions per thread unless said otherwise.
const DEFAULT_SESSIONS: u32 = 63 * 1024;

/// Idle seconds (`nat_reset_timeouts`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nat44Timeouts {
    pub udp: u32,
    pub tcp_established: u32,
    pub tcp_transitory: u32,
    pub icmp: u32,
}

impl Nat44Timeouts {
    /// Those of a plugin just enabled; before that all are zero.
    const INITIAL: Self = Self {
        udp: 300,
        tcp_established: 7440,
        tcp_transitory: 240,
        icmp: 60,
    };
}

/// What the plugin was enabled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nat44Config {
    pub inside_table: u32,
    pub outside_table: u32,
    /// 0 = default.
    pub sessions: u32,
}

/// A table with those its traffic may leave through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat44VrfTable {
    pub table_id: u32,
    pub routes: Vec<u32>,
}

/// What the node does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// On along the arc, translated or not.
    Next,
    Drop(&'static str),
    /// TTL 1: refused before it is translated.
    TimeExceeded,
    /// An outside packet that belongs to a flow from inside.
    In2Out,
}

/// Everything behind the plugin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nat44 {
    running: Option<Nat44Config>,
    forwarding: bool,
    /// 0 = off.
    mss: u16,
    timeouts: Nat44Timeouts,
    /// Sessions at most, by VPP's internal number of the table; 0 stands for those that are not here.
    limits: BTreeMap<u32, u32>,
    translation_buckets: u32,
    interfaces: Pool<Nat44Interface>,
    outputs: Pool<Nat44Interface>,
    /// Tables of outside interfaces with their number of users, in order of appearance.
    outside: Vec<(u32, u32)>,
    /// Tables of all interfaces with their number of users.
    tables: BTreeMap<u32, u32>,
    addresses: Vec<pool::Address>,
    twice_addresses: Vec<pool::Address>,
    borrowed: Vec<pool::Borrowed>,
    /// Addresses VPP answers ARP for, on outside interfaces, with their number of users.
    local: Vec<(Ipv4Addr, u32, u32)>,
    mappings: mapping::Mappings,
    vrf_tables: Pool<Nat44VrfTable>,
    sessions: session::Sessions,
    affinity: affinity::Affinities,
    random: u32,
}

impl Nat44 {
    fn enabled(&self) -> OpResult<Nat44Config> {
        self.running.ok_or(OpError::Retval(retval::UNSUPPORTED))
    }

    /// VPP's `random_u32`.
    fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.random
    }

    /// Tables held by addresses, mappings and routes, as often as they are.
    fn named_tables(&self) -> Vec<u32> {
        let addresses = self.addresses.iter().chain(&self.twice_addresses);
        let addresses = addresses.map(|a| a.table).filter(|table| *table != NONE);
        let routes = self.vrf_tables.iter();
        let routes = routes.flat_map(|(_, t)| t.routes.iter().copied().chain([t.table_id]));
        addresses.chain(routes).chain(self.mappings.tables()).collect()
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.running.is_some()
    }

    /// The sessions of a deleted table are not used any more.
    pub(crate) fn table_gone(&mut self, table: u32) {
        self.sessions.expire_table(table);
    }
}

/// The power of two nearest to the number of sessions divided by 2.5 (`nat_calc_bihash_buckets`).
fn buckets(sessions: u32) -> u32 {
    let wanted = u64::from(sessions) * 2 / 5;
    let mut lower = 1u64;
    while lower * 2 < wanted {
        lower *= 2;
    }
    let upper = 2 * lower;
    // Below 2 the last difference wraps around, as VPP's does.
    let nearer = upper.wrapping_sub(wanted) < wanted.wrapping_sub(lower);
    u32::try_from(if nearer { upper } else { lower }).unwrap_or(u32::MAX)
}

impl Vpp {
    /// `nat44_ed_plugin_enable_disable` with `enable`.
    ///
    /// # Errors
    /// −170 enabled already.
    pub fn nat44_enable(&mut self, config: Nat44Config) -> OpResult {
        if self.nat44.is_enabled() {
            return Err(retval::FEATURE_ALREADY_ENABLED.into());
        }
        let config = Nat44Config {
            sessions: if config.sessions == 0 {
                DEFAULT_SESSIONS
            } else {
                config.sessions
            },
            ..config
        };
        for table in [config.inside_table, config.outside_table] {
            self.nat44_table(table);
        }
        // VPP keeps the vector of limits over a disabled time, but for its first element.
        self.nat44.limits.insert(0, config.sessions);
        self.nat44.translation_buckets = buckets(config.sessions);
        self.nat44.forwarding = false;
        self.nat44.mss = 0;
        self.nat44.timeouts = Nat44Timeouts::INITIAL;
        self.nat44.running = Some(config);
        Ok(())
    }

    /// `nat44_ed_plugin_enable_disable` without `enable`: all configuration and all sessions go.
    ///
    /// # Errors
    /// −169 disabled already.
    pub fn nat44_disable(&mut self) -> OpResult {
        if !self.nat44.is_enabled() {
            return Err(retval::FEATURE_ALREADY_DISABLED.into());
        }
        for interface in self.nat44_interfaces() {
            for is_inside in [true, false] {
                let has = if is_inside {
                    interface.is_inside
                } else {
                    interface.is_outside
                };
                if has {
                    self.nat44_interface_del(interface.sw_if_index, is_inside)?;
                }
            }
        }
        for sw_if_index in self.nat44_output_interfaces() {
            self.nat44_output_interface(sw_if_index, false)?;
        }
        for (address, sw_if_index, _) in std::mem::take(&mut self.nat44.local) {
            self.nat44_local_entry(address, sw_if_index, false);
        }
        let (timeouts, translation_buckets, random) = (
            self.nat44.timeouts,
            self.nat44.translation_buckets,
            self.nat44.random,
        );
        let gone = std::mem::take(&mut self.nat44);
        // What the plugin itself was enabled with stays held, as VPP.
        for table in gone.named_tables() {
            self.nat44_table_free(table);
        }
        self.nat44 = Nat44 {
            timeouts,
            translation_buckets,
            random,
            ..Nat44::default()
        };
        Ok(())
    }

    /// Holds a table, which is made if need be: VPP does so for every table that is named to it.
    fn nat44_table(&mut self, table_id: u32) {
        self.fibs.lock_table(Family::V4, table_id);
    }

    fn nat44_table_free(&mut self, table_id: u32) {
        self.fibs.unlock_table(Family::V4, table_id);
    }

    /// `nat44_forwarding_enable_disable`: whether what matches no translation passes.
    pub fn nat44_forwarding(&mut self, enable: bool) {
        self.nat44.forwarding = enable;
        if !enable {
            self.nat44_end_sessions(|session| session.is_bypass());
        }
    }

    /// `nat_set_timeouts`.
    pub fn nat44_set_timeouts(&mut self, timeouts: Nat44Timeouts) {
        self.nat44.timeouts = timeouts;
    }

    /// `nat44_set_session_limit`.
    ///
    /// # Errors
    /// −1 no such table.
    pub fn nat44_set_session_limit(&mut self, limit: u32, table_id: u32) -> OpResult {
        let table = self.fibs.tables.get(&(Family::V4, table_id));
        let fib_index = table.ok_or(retval::UNSPECIFIED)?.fib_index;
        self.nat44.limits.insert(fib_index, limit);
        Ok(())
    }

    /// `nat_set_mss_clamping`: 0 = off.
    pub fn nat44_set_mss(&mut self, mss: u16) {
        self.nat44.mss = mss;
    }

    pub fn nat44_mss(&self) -> u16 {
        self.nat44.mss
    }

    /// `nat44_show_running_config`: what it was enabled with (zero while it is off), forwarding, timeouts, buckets.
    pub fn nat44_running(&self) -> (Nat44Config, bool, Nat44Timeouts, u32) {
        (
            self.nat44.running.unwrap_or_default(),
            self.nat44.forwarding,
            self.nat44.timeouts,
            self.nat44.translation_buckets,
        )
    }

    /// `nat44_ed_add_del_vrf_table`; works while the plugin is off, too.
    ///
    /// # Errors
    /// −81 there already, −6 not there.
    pub fn nat44_vrf_table(&mut self, table_id: u32, is_add: bool) -> OpResult {
        let tables = &mut self.nat44.vrf_tables;
        let found = tables
            .iter()
            .find(|(_, t)| t.table_id == table_id)
            .map(|(i, _)| i);
        match (is_add, found) {
            (true, Some(_)) => Err(retval::VALUE_EXIST.into()),
            (false, None) => Err(retval::NO_SUCH_ENTRY.into()),
            (false, Some(index)) => {
                let gone = tables.remove(index);
                for table in gone.iter().flat_map(|t| t.routes.iter().chain([&t.table_id])) {
                    self.nat44_table_free(*table);
                }
                Ok(())
            }
            (true, None) => {
                let routes = Vec::new();
                tables.insert(Nat44VrfTable { table_id, routes });
                self.nat44_table(table_id);
                Ok(())
            }
        }
    }

    /// `nat44_ed_add_del_vrf_route`.
    ///
    /// # Errors
    /// −6 no such table, or no such route; −81 there already.
    pub fn nat44_vrf_route(&mut self, table_id: u32, route: u32, is_add: bool) -> OpResult {
        let tables = &mut self.nat44.vrf_tables;
        let found = tables.iter_mut().find(|(_, t)| t.table_id == table_id);
        let (_, table) = found.ok_or(retval::NO_SUCH_ENTRY)?;
        let at = table.routes.iter().position(|r| *r == route);
        match (is_add, at) {
            (true, Some(_)) => Err(retval::VALUE_EXIST.into()),
            (false, None) => Err(retval::NO_SUCH_ENTRY.into()),
            (false, Some(at)) => {
                table.routes.remove(at);
                self.nat44_table_free(route);
                Ok(())
            }
            (true, None) => {
                table.routes.push(route);
                self.nat44_table(route);
                Ok(())
            }
        }
    }

    pub fn nat44_vrf_tables(&self) -> Vec<Nat44VrfTable> {
        self.nat44.vrf_tables.iter().map(|(_, t)| t.clone()).collect()
    }

    /// The interface a destination is reached through (`fib_entry_get_resolving_interface`).
    fn nat44_resolving_interface(&self, table: u32, address: Ipv4Addr) -> Option<u32> {
        use super::fib::Forward;
        match self.forward(table, IpAddr::V4(address), 0) {
            Forward::Adjacency { sw_if_index, .. } | Forward::Glean { sw_if_index } => Some(sw_if_index),
            Forward::Local => Some(self.local_address_interface(table, address.into()).unwrap_or(0)),
            _ => None,
        }
    }

    /// Table in which a packet from inside goes on (`get_tx_fib_index`).
    fn nat44_tx_table(&self, rx_table: u32, destination: Ipv4Addr) -> u32 {
        let resolves = |table: &u32| self.nat44_resolving_interface(*table, destination).is_some();
        let mut tables = self.nat44.vrf_tables.iter();
        if let Some((_, vrf)) = tables.find(|(_, t)| t.table_id == rx_table) {
            return vrf.routes.iter().copied().find(resolves).unwrap_or(rx_table);
        }
        let outside = self.nat44.outside.iter().map(|(table, _)| *table);
        let default = self.nat44.running.map_or(DEFAULT_TABLE, |c| c.outside_table);
        outside.into_iter().find(resolves).unwrap_or(default)
    }

    /// Whether a destination lies outside (`is_destination_resolvable`).
    fn nat44_is_resolvable(&self, rx_table: u32, destination: Ipv4Addr) -> bool {
        let mut tables = self.nat44.vrf_tables.iter();
        if let Some((_, vrf)) = tables.find(|(_, t)| t.table_id == rx_table) {
            let mut routes = vrf.routes.iter();
            return routes.any(|t| self.nat44_resolving_interface(*t, destination).is_some());
        }
        self.nat44.outside.iter().any(|(table, _)| {
            let via = self.nat44_resolving_interface(*table, destination);
            let mut interfaces = self.nat44.interfaces.iter();
            via.is_some_and(|via| interfaces.any(|(_, i)| i.is_outside && i.sw_if_index == via))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::buckets;

    /// Values of `nat_calc_bihash_buckets`, computed by hand: 64512 / 2.5 = 25804 lies nearer to 32768 than to 16384.
    #[test]
    fn buckets_are_the_nearest_power_of_two() {
        assert_eq!(buckets(63 * 1024), 32768);
        assert_eq!(buckets(10), 4);
        assert_eq!(buckets(1), 2);
    }
}
