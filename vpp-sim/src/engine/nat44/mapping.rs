//! Static mappings: one to one, exemptions ("identity"), and those with several backends.
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::super::Vpp;
use super::super::pool::Pool;
use super::super::types::{NONE, OpError, OpResult, retval};
use super::session::session_flag;

/// Flags of a mapping, numbered as the API's.
pub mod mapping_flag {
    pub const TWICE_NAT: u8 = 1;
    pub const SELF_TWICE_NAT: u8 = 2;
    pub const OUT2IN_ONLY: u8 = 4;
    pub const ADDR_ONLY: u8 = 8;
}

/// A one-to-one mapping or an exemption, as it is asked for and dumped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat44Mapping {
    /// See [`mapping_flag`].
    pub flags: u8,
    pub local: (Ipv4Addr, u16),
    /// The address counts only without `interface`.
    pub external: (Ipv4Addr, u16),
    pub proto: u8,
    /// Table of the inside; [`NONE`] = default.
    pub table_id: u32,
    /// Interface whose first address is the external one.
    pub interface: Option<u32>,
    /// Twice-NAT address to use.
    pub pool_address: Option<Ipv4Addr>,
    /// An exemption: the external address and port are the local ones.
    pub is_identity: bool,
    pub tag: String,
}

/// One of several backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat44Backend {
    pub address: Ipv4Addr,
    pub port: u16,
    pub probability: u8,
    pub table_id: u32,
}

/// A mapping with several backends, as it is asked for and dumped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat44LbMapping {
    /// See [`mapping_flag`].
    pub flags: u8,
    pub external: (Ipv4Addr, u16),
    pub proto: u8,
    /// Seconds for which a client keeps its backend; VPP's dump shows 0.
    pub affinity: u32,
    pub tag: String,
    pub backends: Vec<Nat44Backend>,
}

/// Address, port, protocol.
pub(super) type External = (Ipv4Addr, u16, u8);
/// Address, port, table, protocol.
type Local = (Ipv4Addr, u16, u32, u8);

#[derive(Clone, Copy, Debug)]
pub(super) struct Backend {
    pub address: Ipv4Addr,
    pub port: u16,
    pub probability: u8,
    pub table: u32,
    /// Sum of the probabilities up to here, in 8 bits as VPP's.
    pub prefix: u8,
}

#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub flags: u8,
    pub is_identity: bool,
    /// Has several backends, which are in `locals`; those of an exemption are the tables it is for.
    pub is_lb: bool,
    pub local: (Ipv4Addr, u16),
    pub external: (Ipv4Addr, u16),
    pub proto: u8,
    pub table: u32,
    pub pool_address: Option<Ipv4Addr>,
    pub affinity: u32,
    pub locals: Pool<Backend>,
    pub tag: String,
}

impl Mapping {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A mapping whose external address is an interface's.
#[derive(Clone, Debug)]
pub(super) struct Following {
    pub wanted: Nat44Mapping,
    pub sw_if_index: u32,
    pub resolved: bool,
}

impl Following {
    /// Whether it is the record of such a mapping (`nat44_ed_get_resolve_record`).
    fn is(&self, wanted: &Nat44Mapping, sw_if_index: u32) -> bool {
        let has = &self.wanted;
        if self.sw_if_index != sw_if_index || has.table_id != wanted.table_id {
            return false;
        }
        let any_port = has.flags & wanted.flags & mapping_flag::ADDR_ONLY != 0;
        if has.is_identity && wanted.is_identity {
            return any_port || (has.external.1, has.proto) == (wanted.external.1, wanted.proto);
        }
        let ports = |m: &Nat44Mapping| (m.local.1, m.external.1, m.proto);
        has.local.0 == wanted.local.0 && (any_port || ports(has) == ports(wanted))
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Mappings {
    pool: Pool<Mapping>,
    by_external: BTreeMap<External, u32>,
    by_local: BTreeMap<Local, u32>,
    following: Vec<Following>,
}

impl Mappings {
    pub fn external(&self, address: Ipv4Addr, port: u16, proto: u8) -> Option<(u32, &Mapping)> {
        let index = *self.by_external.get(&(address, port, proto))?;
        Some((index, self.pool.get(index)?))
    }

    pub fn local(&self, address: Ipv4Addr, port: u16, table: u32, proto: u8) -> Option<&Mapping> {
        self.pool.get(*self.by_local.get(&(address, port, table, proto))?)
    }

    /// By external address and port, then by the address alone.
    pub fn match_external(&self, address: Ipv4Addr, port: u16, proto: u8) -> Option<(u32, &Mapping)> {
        self.external(address, port, proto)
            .or_else(|| self.external(address, 0, 0))
    }

    /// By local address and port, then by the address alone.
    pub fn match_local(&self, address: Ipv4Addr, port: u16, table: u32, proto: u8) -> Option<&Mapping> {
        self.local(address, port, table, proto)
            .or_else(|| self.local(address, 0, table, 0))
    }

    pub fn get(&self, index: u32) -> Option<&Mapping> {
        self.pool.get(index)
    }

    /// Tables held by mappings, as often as they are.
    pub fn tables(&self) -> impl Iterator<Item = u32> {
        self.pool.iter().flat_map(|(_, m)| {
            let own = (!m.is_lb && !m.is_identity).then_some(m.table);
            own.into_iter().chain(m.locals.iter().map(|(_, l)| l.table))
        })
    }

    /// Of every mapping, as often as there are mappings.
    pub fn external_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.pool.iter().map(|(_, m)| m.external.0)
    }
}

/// What VPP refuses before it looks at anything else (`nat44_ed_validate_sm_input`).
fn validate(m: &Nat44Mapping) -> OpResult {
    use mapping_flag::{ADDR_ONLY, OUT2IN_ONLY, SELF_TWICE_NAT, TWICE_NAT};
    let has = |flag: u8| m.flags & flag != 0;
    let bad = (m.is_identity && has(OUT2IN_ONLY))
        || (has(TWICE_NAT | SELF_TWICE_NAT) && (has(ADDR_ONLY) || m.is_identity));
    if bad {
        Err(retval::UNSUPPORTED.into())
    } else {
        Ok(())
    }
}

/// The mapping as VPP works with it: ports do not count for an address alone, and an exemption is its own local end.
fn effective(mut m: Nat44Mapping, external: Ipv4Addr) -> Nat44Mapping {
    m.external.0 = external;
    if m.flags & mapping_flag::ADDR_ONLY != 0 {
        (m.local.1, m.external.1, m.proto) = (0, 0, 0);
    }
    if m.is_identity {
        m.local = m.external;
    }
    m
}

impl Vpp {
    /// `nat44_add_del_static_mapping_v2`, `nat44_add_del_identity_mapping` with `is_add`. The external port and protocol
    /// of a mapping of an address alone do not count.
    ///
    /// # Errors
    /// −126 not enabled, or flags that exclude each other; −81 external end or local end mapped already.
    pub fn nat44_mapping_add(&mut self, wanted: Nat44Mapping) -> OpResult {
        self.nat44.enabled()?;
        validate(&wanted)?;
        let Some(sw_if_index) = wanted.interface else {
            let external = wanted.external.0;
            return self.nat44_mapping_insert(effective(wanted, external));
        };
        if self
            .nat44
            .mappings
            .following
            .iter()
            .any(|f| f.is(&wanted, sw_if_index))
        {
            return Err(retval::VALUE_EXIST.into());
        }
        let first = self.nat44_first_address(sw_if_index);
        if let Some(first) = first {
            self.nat44_mapping_insert(effective(wanted.clone(), first))?;
        }
        self.nat44.mappings.following.push(Following {
            wanted,
            sw_if_index,
            resolved: first.is_some(),
        });
        Ok(())
    }

    /// `nat44_add_del_static_mapping_v2`, `nat44_add_del_identity_mapping` without `is_add`.
    ///
    /// # Errors
    /// −126 not enabled, or flags that exclude each other; −6 not there.
    pub fn nat44_mapping_del(&mut self, wanted: Nat44Mapping) -> OpResult {
        self.nat44.enabled()?;
        validate(&wanted)?;
        let mut external = wanted.external.0;
        if let Some(sw_if_index) = wanted.interface {
            let following = &mut self.nat44.mappings.following;
            let at = following.iter().position(|f| f.is(&wanted, sw_if_index));
            following.swap_remove(at.ok_or(retval::NO_SUCH_ENTRY)?);
            match self.nat44_first_address(sw_if_index) {
                Some(first) => external = first,
                None => return Ok(()),
            }
        }
        self.nat44_mapping_remove(&effective(wanted, external))
    }

    fn nat44_mapping_insert(&mut self, m: Nat44Mapping) -> OpResult {
        let default_table = self.nat44.enabled()?.inside_table;
        let key: External = (m.external.0, m.external.1, m.proto);
        let backend = |table: u32| Backend {
            address: Ipv4Addr::UNSPECIFIED,
            port: 0,
            probability: 0,
            table,
            prefix: 0,
        };
        if let Some(index) = self.nat44.mappings.by_external.get(&key).copied() {
            // An exemption may be for several tables.
            let mappings = &mut self.nat44.mappings;
            let known = mappings.pool.get_mut(index).ok_or(retval::VALUE_EXIST)?;
            if !known.is_identity || known.locals.iter().any(|(_, l)| l.table == m.table_id) {
                return Err(retval::VALUE_EXIST.into());
            }
            known.locals.insert(backend(m.table_id));
            let local: Local = (known.local.0, known.local.1, m.table_id, known.proto);
            mappings.by_local.insert(local, index);
            self.nat44_table(m.table_id);
            return Ok(());
        }
        let table = if m.table_id == NONE {
            default_table
        } else {
            m.table_id
        };
        self.nat44_table(table);
        let local: Local = (m.local.0, m.local.1, table, m.proto);
        let out2in_only = m.flags & mapping_flag::OUT2IN_ONLY != 0;
        let mappings = &mut self.nat44.mappings;
        if !out2in_only && !m.is_identity && mappings.by_local.contains_key(&local) {
            // VPP forgets to let go of the table.
            return Err(retval::VALUE_EXIST.into());
        }
        let mut locals = Pool::default();
        if m.is_identity {
            locals.insert(backend(table));
        }
        let index = mappings.pool.insert(Mapping {
            flags: m.flags,
            is_identity: m.is_identity,
            is_lb: false,
            local: m.local,
            external: m.external,
            proto: m.proto,
            // An exemption is of the tables in `locals`.
            table: if m.is_identity { 0 } else { table },
            pool_address: m.pool_address,
            affinity: 0,
            locals,
            tag: m.tag,
        });
        if !out2in_only {
            mappings.by_local.insert(local, index);
        }
        mappings.by_external.insert(key, index);
        self.nat44_local_on_outside(m.external.0, true);
        Ok(())
    }

    fn nat44_mapping_remove(&mut self, m: &Nat44Mapping) -> OpResult {
        let default_table = self.nat44.enabled()?.inside_table;
        let key: External = (m.external.0, m.external.1, m.proto);
        let mappings = &mut self.nat44.mappings;
        let index = *mappings.by_external.get(&key).ok_or(retval::NO_SUCH_ENTRY)?;
        let known = mappings.pool.get_mut(index).ok_or(retval::NO_SUCH_ENTRY)?;
        let table = if m.is_identity {
            let wanted = if m.table_id == NONE {
                default_table
            } else {
                m.table_id
            };
            let at = known.locals.iter().find(|(_, l)| l.table == wanted);
            let at = at.map(|(at, _)| at).ok_or(retval::NO_SUCH_ENTRY)?;
            known.locals.remove(at);
            wanted
        } else {
            known.table
        };
        let is_last = known.locals.len() == 0;
        let (address, port, proto) = (known.local.0, known.local.1, known.proto);
        if m.flags & mapping_flag::OUT2IN_ONLY == 0 {
            let local: Local = (m.local.0, m.local.1, table, m.proto);
            mappings.by_local.remove(&local);
        }
        if is_last {
            mappings.by_external.remove(&key);
            mappings.pool.remove(index);
        }
        let any_port = m.flags & mapping_flag::ADDR_ONLY != 0;
        self.nat44_end_sessions(|s| {
            s.inside.table == table
                && s.inside.address == address
                && (any_port
                    || ((s.outside.address, s.outside.port) == m.external
                        && s.inside.port == port
                        && s.proto == proto))
                && !s.has(session_flag::LOAD_BALANCED)
                && s.is_static()
        });
        self.nat44_table_free(table);
        if is_last {
            self.nat44_local_on_outside(m.external.0, false);
        }
        Ok(())
    }

    /// An interface got or lost an address: mappings that follow it change.
    pub(super) fn nat44_mappings_follow(&mut self, sw_if_index: u32, address: Ipv4Addr, is_add: bool) {
        for at in 0..self.nat44.mappings.following.len() {
            let following = self.nat44.mappings.following[at].clone();
            if following.sw_if_index != sw_if_index || following.resolved == is_add {
                continue;
            }
            let mapping = effective(following.wanted, address);
            let done = if is_add {
                self.nat44_mapping_insert(mapping)
            } else {
                self.nat44_mapping_remove(&mapping)
            };
            if done.is_ok() {
                self.nat44.mappings.following[at].resolved = is_add;
            }
        }
    }

    /// `nat44_static_mapping_dump` (`identity` false) and `nat44_identity_mapping_dump`, one for each table.
    pub fn nat44_mappings(&self, identity: bool) -> Vec<Nat44Mapping> {
        let shown = |m: &Mapping, table_id: u32| Nat44Mapping {
            flags: m.flags,
            local: m.local,
            external: m.external,
            proto: m.proto,
            table_id,
            interface: None,
            pool_address: m.pool_address,
            is_identity: m.is_identity,
            tag: m.tag.clone(),
        };
        let mut all = Vec::new();
        for (_, m) in self.nat44.mappings.pool.iter() {
            match (m.is_lb || m.is_identity != identity, identity) {
                (true, _) => {}
                (false, true) => all.extend(m.locals.iter().map(|(_, l)| shown(m, l.table))),
                (false, false) => all.push(shown(m, m.table)),
            }
        }
        let following = self.nat44.mappings.following.iter();
        all.extend(
            following
                .filter(|f| f.wanted.is_identity == identity)
                .map(|f| f.wanted.clone()),
        );
        all
    }

    /// `nat44_add_del_lb_static_mapping` with `is_add`.
    ///
    /// # Errors
    /// Fatal for 256 backends and more, and for probabilities that add up to a multiple of 256. −126 not enabled, −81
    /// external end mapped already, −7 less than two backends, −6 external address not in the pool and not
    /// OUT2IN_ONLY.
    pub fn nat44_lb_add(&mut self, wanted: Nat44LbMapping) -> OpResult {
        if wanted.backends.len() > usize::from(u8::MAX) {
            return Err(OpError::Fatal(format!(
                "nat44_add_del_lb_static_mapping with {} backends: VPP counts them in 8 bits and never ends",
                wanted.backends.len()
            )));
        }
        self.nat44.enabled()?;
        let key: External = (wanted.external.0, wanted.external.1, wanted.proto);
        if self.nat44.mappings.by_external.contains_key(&key) {
            return Err(retval::VALUE_EXIST.into());
        }
        if wanted.backends.len() < 2 {
            return Err(retval::INVALID_VALUE.into());
        }
        let out2in_only = wanted.flags & mapping_flag::OUT2IN_ONLY != 0;
        let in_pool = |a: &super::pool::Address| a.address == wanted.external.0;
        if !out2in_only && !self.nat44.addresses.iter().any(in_pool) {
            return Err(retval::NO_SUCH_ENTRY.into());
        }
        let mut locals = Pool::default();
        for backend in &wanted.backends {
            self.nat44_table(backend.table_id);
            locals.insert(Backend {
                address: backend.address,
                port: backend.port,
                probability: backend.probability,
                table: backend.table_id,
                prefix: 0,
            });
        }
        sum_up(&mut locals)?;
        let mappings = &mut self.nat44.mappings;
        let index = mappings.pool.insert(Mapping {
            flags: wanted.flags,
            is_identity: false,
            is_lb: true,
            local: (Ipv4Addr::UNSPECIFIED, 0),
            external: wanted.external,
            proto: wanted.proto,
            table: 0,
            pool_address: None,
            affinity: wanted.affinity,
            locals,
            tag: wanted.tag,
        });
        mappings.by_external.insert(key, index);
        if !out2in_only {
            // Always under the first table, as VPP.
            for backend in &wanted.backends {
                let local: Local = (backend.address, backend.port, 0, wanted.proto);
                mappings.by_local.insert(local, index);
            }
        }
        Ok(())
    }

    /// `nat44_add_del_lb_static_mapping` without `is_add`.
    ///
    /// # Errors
    /// −126 not enabled, −6 not there, −7 it has no several backends.
    pub fn nat44_lb_del(&mut self, external: (Ipv4Addr, u16), proto: u8, flags: u8) -> OpResult {
        self.nat44.enabled()?;
        let key: External = (external.0, external.1, proto);
        let mappings = &mut self.nat44.mappings;
        let index = *mappings.by_external.get(&key).ok_or(retval::NO_SUCH_ENTRY)?;
        if !mappings.pool.get(index).is_some_and(|m| m.is_lb) {
            return Err(retval::INVALID_VALUE.into());
        }
        mappings.by_external.remove(&key);
        let Some(gone) = mappings.pool.remove(index) else {
            return Ok(());
        };
        for (_, local) in gone.locals.iter() {
            if flags & mapping_flag::OUT2IN_ONLY == 0 {
                let key: Local = (local.address, local.port, local.table, proto);
                mappings.by_local.remove(&key);
            }
        }
        for (_, local) in gone.locals.iter() {
            self.nat44_table_free(local.table);
            self.nat44_end_backend(local);
        }
        if gone.affinity != 0 {
            self.nat44.affinity.forget((external.0, proto, external.1));
        }
        Ok(())
    }

    /// The sessions of a backend end, whatever mapping led to it, as VPP.
    fn nat44_end_backend(&mut self, backend: &Backend) {
        self.nat44_end_sessions(|s| {
            s.has(session_flag::LOAD_BALANCED)
                && (s.inside.address, s.inside.port) == (backend.address, backend.port)
        });
    }

    /// `nat44_lb_static_mapping_add_del_local`.
    ///
    /// # Errors
    /// Fatal when the probabilities then add up to a multiple of 256. −126 not enabled, −6 no such mapping or backend,
    /// −7 it has no several backends, −81 backend there already, −1 less than two would remain.
    pub fn nat44_lb_local(
        &mut self,
        external: (Ipv4Addr, u16),
        proto: u8,
        backend: Nat44Backend,
        is_add: bool,
    ) -> OpResult {
        self.nat44.enabled()?;
        let key: External = (external.0, external.1, proto);
        let mappings = &mut self.nat44.mappings;
        let index = *mappings.by_external.get(&key).ok_or(retval::NO_SUCH_ENTRY)?;
        let mapping = mappings.pool.get_mut(index).ok_or(retval::NO_SUCH_ENTRY)?;
        if !mapping.is_lb {
            return Err(retval::INVALID_VALUE.into());
        }
        let same =
            |l: &Backend| (l.address, l.port, l.table) == (backend.address, backend.port, backend.table_id);
        let found = mapping
            .locals
            .iter()
            .find(|(_, l)| same(l))
            .map(|(at, l)| (at, *l));
        let out2in_only = mapping.has(mapping_flag::OUT2IN_ONLY);
        let local: Local = (backend.address, backend.port, backend.table_id, proto);
        match (is_add, found) {
            (true, Some(_)) => Err(retval::VALUE_EXIST.into()),
            (false, None) => Err(retval::NO_SUCH_ENTRY.into()),
            (true, None) => {
                mapping.locals.insert(Backend {
                    address: backend.address,
                    port: backend.port,
                    probability: backend.probability,
                    table: backend.table_id,
                    prefix: 0,
                });
                sum_up(&mut mapping.locals)?;
                if !out2in_only {
                    mappings.by_local.insert(local, index);
                }
                self.nat44_table(backend.table_id);
                Ok(())
            }
            (false, Some(_)) if mapping.locals.len() < 3 => Err(retval::UNSPECIFIED.into()),
            (false, Some((at, gone))) => {
                mapping.locals.remove(at);
                sum_up(&mut mapping.locals)?;
                if !out2in_only {
                    mappings.by_local.remove(&local);
                }
                self.nat44_table_free(gone.table);
                self.nat44_end_backend(&gone);
                Ok(())
            }
        }
    }

    /// `nat44_lb_static_mapping_dump`.
    pub fn nat44_lb_mappings(&self) -> Vec<Nat44LbMapping> {
        let all = self.nat44.mappings.pool.iter().filter(|(_, m)| m.is_lb);
        all.map(|(_, m)| Nat44LbMapping {
            flags: m.flags,
            external: m.external,
            proto: m.proto,
            affinity: 0,
            tag: m.tag.clone(),
            backends: m
                .locals
                .iter()
                .map(|(_, l)| Nat44Backend {
                    address: l.address,
                    port: l.port,
                    probability: l.probability,
                    table_id: l.table,
                })
                .collect(),
        })
        .collect()
    }
}

/// Gives every backend the sum of the probabilities up to it.
fn sum_up(locals: &mut Pool<Backend>) -> OpResult {
    let mut sum = 0u8;
    for (_, local) in locals.iter_mut() {
        sum = sum.wrapping_add(local.probability);
        local.prefix = sum;
    }
    if sum == 0 {
        return Err(OpError::Fatal(
            "NAT44 mapping whose probabilities add up to a multiple of 256: VPP divides by zero at the first packet"
                .to_owned(),
        ));
    }
    Ok(())
}
