//! Addresses of the pool, and interfaces that lend theirs.
use std::net::{IpAddr, Ipv4Addr};

use super::super::Vpp;
use super::super::fib::source;
use super::super::types::{Family, NONE, OpResult, PathKind, Prefix, RoutePath, retval};

/// An address as `nat44_address_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat44Address {
    pub address: Ipv4Addr,
    /// [`NONE`] = any.
    pub table_id: u32,
    pub is_twice_nat: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub address: Ipv4Addr,
    /// [`NONE`] = any.
    pub table: u32,
    /// Outside interface that has this address, with its prefix.
    pub bound: Option<(u32, Prefix)>,
}

/// An interface that lends its first address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrowed {
    pub sw_if_index: u32,
    pub is_twice_nat: bool,
    pub resolved: bool,
}

/// Removes an element as `vec_del1`: the last one takes its place.
fn swap_remove<T>(list: &mut Vec<T>, at: Option<usize>) -> OpResult<T> {
    Ok(list.swap_remove(at.ok_or(retval::NO_SUCH_ENTRY)?))
}

impl Vpp {
    fn nat44_pool(&mut self, is_twice_nat: bool) -> &mut Vec<Address> {
        if is_twice_nat {
            &mut self.nat44.twice_addresses
        } else {
            &mut self.nat44.addresses
        }
    }

    /// `nat44_add_del_address_range`: one after the other, up to the first failure.
    ///
    /// # Errors
    /// −126 not enabled; −81 there already, −6 not there: those before it are done.
    pub fn nat44_address_range(
        &mut self,
        first: Ipv4Addr,
        last: Ipv4Addr,
        table_id: u32,
        is_twice_nat: bool,
        is_add: bool,
    ) -> OpResult {
        for address in u32::from(first)..=u32::from(last) {
            let address = Ipv4Addr::from(address);
            if is_add {
                self.nat44_address_add(address, table_id, is_twice_nat)?;
            } else {
                self.nat44_address_del(address, is_twice_nat)?;
            }
        }
        Ok(())
    }

    pub(super) fn nat44_address_add(
        &mut self,
        address: Ipv4Addr,
        table: u32,
        is_twice_nat: bool,
    ) -> OpResult {
        self.nat44.enabled()?;
        let pool = self.nat44_pool(is_twice_nat);
        if pool.iter().any(|a| a.address == address) {
            return Err(retval::VALUE_EXIST.into());
        }
        pool.push(Address {
            address,
            table,
            bound: None,
        });
        if table != NONE {
            self.nat44_table(table);
        }
        if !is_twice_nat {
            self.nat44_local_on_outside(address, true);
            self.nat44_bind_address(address);
        }
        Ok(())
    }

    pub(super) fn nat44_address_del(&mut self, address: Ipv4Addr, is_twice_nat: bool) -> OpResult {
        let pool = self.nat44_pool(is_twice_nat);
        let at = pool.iter().position(|a| a.address == address);
        let gone = swap_remove(pool, at)?;
        if gone.table != NONE {
            self.nat44_table_free(gone.table);
        }
        self.nat44_end_sessions(|session| !session.is_static() && session.outside.address == address);
        if !is_twice_nat {
            self.nat44_local_on_outside(address, false);
        }
        Ok(())
    }

    /// `nat44_address_dump`: the pool, then twice-NAT's.
    pub fn nat44_addresses(&self) -> Vec<Nat44Address> {
        let show = |list: &[Address], is_twice_nat| {
            let shown = list.iter().map(move |a| Nat44Address {
                address: a.address,
                table_id: a.table,
                is_twice_nat,
            });
            shown.collect::<Vec<_>>()
        };
        let mut all = show(&self.nat44.addresses, false);
        all.extend(show(&self.nat44.twice_addresses, true));
        all
    }

    /// The interface's own address, if it is this one, with its prefix.
    fn nat44_own_address(&self, sw_if_index: u32, address: Ipv4Addr) -> Option<Prefix> {
        let holder = self.interfaces.get(self.address_holder(sw_if_index))?;
        let mut all = holder.addresses.iter();
        all.find(|p| p.address == IpAddr::V4(address)).copied()
    }

    /// Finds the outside interface that has a pool address.
    fn nat44_bind_address(&mut self, address: Ipv4Addr) {
        let outside: Vec<u32> = (self.nat44.interfaces.iter())
            .chain(self.nat44.outputs.iter())
            .filter(|(_, i)| i.is_outside)
            .map(|(_, i)| i.sw_if_index)
            .collect();
        for sw_if_index in outside {
            if self.nat44_bind(sw_if_index, Some(address)) {
                return;
            }
        }
    }

    /// Binds the first pool address (or the one asked for) which the interface has, in the interface's table.
    pub(super) fn nat44_bind(&mut self, sw_if_index: u32, only: Option<Ipv4Addr>) -> bool {
        let table = self.table_of(sw_if_index, Family::V4);
        let found = self.nat44.addresses.iter().enumerate().find_map(|(at, a)| {
            let candidate = a.table == table && only.is_none_or(|only| only == a.address);
            let prefix = candidate.then(|| self.nat44_own_address(sw_if_index, a.address))?;
            Some((at, prefix?))
        });
        let Some((at, prefix)) = found else {
            return false;
        };
        self.nat44.addresses[at].bound = Some((sw_if_index, prefix));
        true
    }

    /// The first IPv4 address of an interface (`ip4_interface_first_address`).
    pub(super) fn nat44_first_address(&self, sw_if_index: u32) -> Option<Ipv4Addr> {
        let holder = self.interfaces.get(self.address_holder(sw_if_index))?;
        holder.addresses.iter().find_map(|p| match p.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
    }

    /// `nat44_add_del_interface_addr`.
    ///
    /// # Errors
    /// −2 unknown interface, −126 not enabled, −81 there already, −6 not there.
    pub fn nat44_interface_address(
        &mut self,
        sw_if_index: u32,
        is_twice_nat: bool,
        is_add: bool,
    ) -> OpResult {
        self.interface_mut(sw_if_index)?;
        self.nat44.enabled()?;
        let find = |b: &Borrowed| b.sw_if_index == sw_if_index && b.is_twice_nat == is_twice_nat;
        let at = self.nat44.borrowed.iter().position(find);
        let first = self.nat44_first_address(sw_if_index);
        if !is_add {
            swap_remove(&mut self.nat44.borrowed, at)?;
            return first.map_or(Ok(()), |a| self.nat44_address_del(a, is_twice_nat));
        }
        if at.is_some() {
            return Err(retval::VALUE_EXIST.into());
        }
        if let Some(first) = first {
            self.nat44_address_add(first, NONE, is_twice_nat)?;
        }
        self.nat44.borrowed.push(Borrowed {
            sw_if_index,
            is_twice_nat,
            resolved: first.is_some(),
        });
        Ok(())
    }

    /// `nat44_interface_addr_dump`: interface, whether for twice-NAT.
    pub fn nat44_interface_addresses(&self) -> Vec<(u32, bool)> {
        let all = self.nat44.borrowed.iter();
        all.map(|b| (b.sw_if_index, b.is_twice_nat)).collect()
    }

    /// An interface got or lost an address: those who borrow it follow.
    pub(crate) fn nat44_address_changed(&mut self, sw_if_index: u32, prefix: Prefix, is_add: bool) {
        let IpAddr::V4(address) = prefix.address else {
            return;
        };
        if !self.nat44.is_enabled() {
            return;
        }
        let find = |twice: bool| move |b: &Borrowed| b.sw_if_index == sw_if_index && b.is_twice_nat == twice;
        let borrowed = &self.nat44.borrowed;
        let at = (borrowed.iter().position(find(false))).or_else(|| borrowed.iter().position(find(true)));
        match at {
            Some(at) => {
                let Borrowed {
                    is_twice_nat,
                    resolved,
                    ..
                } = self.nat44.borrowed[at];
                if resolved == is_add {
                    return;
                }
                let done = if is_add {
                    self.nat44_address_add(address, NONE, is_twice_nat)
                } else {
                    self.nat44_address_del(address, is_twice_nat)
                };
                if done.is_ok() {
                    self.nat44.borrowed[at].resolved = is_add;
                }
            }
            None => {
                let table = self.table_of(sw_if_index, Family::V4);
                let mut pool = self.nat44.addresses.iter_mut();
                if let Some(a) = pool.find(|a| a.table == table && a.address == address) {
                    a.bound = is_add.then_some((sw_if_index, prefix));
                }
            }
        }
        self.nat44_mappings_follow(sw_if_index, address, is_add);
    }

    /// VPP answers for the address on every outside interface from now on, or no more.
    pub(super) fn nat44_local_on_outside(&mut self, address: Ipv4Addr, is_add: bool) {
        let outside: Vec<u32> = (self.nat44.interfaces.iter())
            .chain(self.nat44.outputs.iter())
            .filter(|(_, i)| i.is_outside)
            .map(|(_, i)| i.sw_if_index)
            .collect();
        for sw_if_index in outside {
            self.nat44_local(address, sw_if_index, is_add);
        }
    }

    /// One user more or less of an address on an outside interface (`nat44_ed_add_fib_entry_reg`).
    pub(super) fn nat44_local(&mut self, address: Ipv4Addr, sw_if_index: u32, is_add: bool) {
        let local = &mut self.nat44.local;
        let at = local
            .iter()
            .position(|(a, i, _)| (*a, *i) == (address, sw_if_index));
        match (is_add, at) {
            (true, Some(at)) => local[at].2 += 1,
            (true, None) => {
                local.push((address, sw_if_index, 1));
                self.nat44_local_entry(address, sw_if_index, true);
            }
            (false, Some(at)) if local[at].2 == 1 => {
                local.swap_remove(at);
                self.nat44_local_entry(address, sw_if_index, false);
            }
            (false, Some(at)) => local[at].2 -= 1,
            (false, None) => {}
        }
    }

    pub(super) fn nat44_local_entry(&mut self, address: Ipv4Addr, sw_if_index: u32, is_add: bool) {
        let table = self.table_of(sw_if_index, Family::V4);
        let prefix = Prefix::host(address);
        if is_add {
            let path = RoutePath {
                kind: PathKind::Local,
                ..RoutePath::via(sw_if_index, address)
            };
            self.fibs.set_source(table, prefix, source::NAT_LOW, vec![path]);
        } else {
            self.fibs.remove_source(table, prefix, source::NAT_LOW);
        }
    }
}
