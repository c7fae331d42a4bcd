//! Addresses of interfaces, borrowed addresses, and the tables they are bound to.
use std::net::{IpAddr, Ipv6Addr};

use super::Vpp;
use super::fib::source;
use super::types::{Family, OpResult, PathKind, Prefix, RoutePath, retval};

impl Vpp {
    /// `sw_interface_add_del_address` with `is_add`: the prefix keeps its host bits, they are the address.
    ///
    /// # Errors
    /// −2 unknown interface, −59 bad length, −105 (IPv4) or −127 (IPv6) when the prefix overlaps one
    /// of the same table, unless both are addresses of one prefix on one interface.
    pub fn add_address(&mut self, sw_if_index: u32, prefix: Prefix) -> OpResult {
        let family = prefix.family();
        let table = self.interface_mut(sw_if_index)?.table[family.index()];
        if self.stale_addresses.remove(&(sw_if_index, prefix)) {
            return Ok(());
        }
        if !prefix.is_valid() {
            return Err(retval::ADDRESS_LENGTH_MISMATCH.into());
        }
        let clash = self.interfaces.iter().any(|(index, other)| {
            other.table[family.index()] == table
                && other.addresses.iter().any(|has| {
                    let overlap = has.family() == family
                        && (has.contains(prefix.address) || prefix.contains(has.address));
                    let sibling =
                        index == sw_if_index && has.len == prefix.len && has.address != prefix.address;
                    overlap && !sibling && !self.stale_addresses.contains(&(index, *has))
                })
        });
        if clash {
            return Err(match family {
                Family::V4 => retval::ADDRESS_IN_USE,
                Family::V6 => retval::DUPLICATE_IF_ADDRESS,
            }
            .into());
        }
        // In a replacement an address may move.
        let moved = self.stale_addresses.iter().find(|(_, stale)| *stale == prefix);
        if let Some((from, _)) = moved.copied() {
            self.del_address(from, prefix)?;
        }
        self.interface_mut(sw_if_index)?.addresses.push(prefix);
        self.install_interface_routes(sw_if_index, table, prefix, true);
        self.nat44_address_changed(sw_if_index, prefix, true);
        Ok(())
    }

    /// # Errors
    /// −2 unknown interface, −60 when it has no such address.
    pub fn del_address(&mut self, sw_if_index: u32, prefix: Prefix) -> OpResult {
        let family = prefix.family();
        let interface = self.interface_mut(sw_if_index)?;
        let Some(at) = interface.addresses.iter().position(|has| *has == prefix) else {
            return Err(retval::ADDRESS_NOT_FOUND_FOR_INTERFACE.into());
        };
        interface.addresses.remove(at);
        self.stale_addresses.remove(&(sw_if_index, prefix));
        let table = self.table_of(sw_if_index, family);
        self.install_interface_routes(sw_if_index, table, prefix, false);
        self.nat44_address_changed(sw_if_index, prefix, false);
        Ok(())
    }

    /// `sw_interface_address_replace_begin`.
    pub fn address_replace_begin(&mut self) {
        let all = self.interfaces.iter();
        self.stale_addresses = all
            .flat_map(|(index, i)| i.addresses.iter().map(move |prefix| (index, *prefix)))
            .collect();
    }

    /// `sw_interface_address_replace_end`.
    pub fn address_replace_end(&mut self) {
        for (sw_if_index, prefix) in std::mem::take(&mut self.stale_addresses) {
            // Those that went with their interface are gone already.
            let _ = self.del_address(sw_if_index, prefix);
        }
    }

    /// `sw_interface_ip6_set_link_local_address`, which switches IPv6 on.
    ///
    /// # Errors
    /// −2 unknown interface.
    pub fn set_link_local_address(&mut self, sw_if_index: u32, address: Ipv6Addr) -> OpResult {
        let interface = self.interface_mut(sw_if_index)?;
        interface.link_local = Some(address);
        interface.ip_enabled[Family::V6.index()] = true;
        Ok(())
    }

    /// `del_all`. # Errors −2 unknown interface.
    pub fn del_all_addresses(&mut self, sw_if_index: u32) -> OpResult {
        for prefix in self.interface_mut(sw_if_index)?.addresses.clone() {
            self.del_address(sw_if_index, prefix)?;
        }
        Ok(())
    }

    /// The connected prefix, the local address, and IPv4's network and broadcast addresses.
    fn install_interface_routes(&mut self, index: u32, table: u32, prefix: Prefix, add: bool) {
        let family = prefix.family();
        let own = Prefix::host(prefix.address);
        let local = RoutePath {
            kind: PathKind::Local,
            ..RoutePath::via(index, prefix.address)
        };
        let still_connected = self.interfaces.get(index).is_some_and(|i| {
            i.addresses
                .iter()
                .any(|p| *p != prefix && p.normalized() == prefix.normalized())
        });
        let mut entries = vec![(own, local)];
        if prefix.len < family.bits() && !still_connected {
            entries.push((prefix.normalized(), RoutePath::attached(index, family)));
            if family == Family::V4 && prefix.len < 31 {
                let drop = RoutePath::special(PathKind::Drop, family);
                for address in [prefix.normalized().address, prefix.last_address()] {
                    if address != prefix.address {
                        entries.push((Prefix::host(address), drop.clone()));
                    }
                }
            }
        }
        for (entry, path) in entries {
            if add {
                self.fibs.set_source(table, entry, source::INTERFACE, vec![path]);
            } else {
                self.fibs.remove_source(table, entry, source::INTERFACE);
            }
        }
    }

    /// `sw_interface_set_unnumbered`: `borrower` gets the addresses of `lender`.
    ///
    /// # Errors
    /// −10 bad lender, −2 bad borrower, −74 when they are in different tables.
    pub fn set_unnumbered(&mut self, lender: u32, borrower: u32, add: bool) -> OpResult {
        let Some(lender_tables) = self.interfaces.get(lender).map(|i| i.table) else {
            return Err(retval::INVALID_SW_IF_INDEX_2.into());
        };
        let interface = self.interface_mut(borrower)?;
        if !add {
            interface.unnumbered_to = None;
            return Ok(());
        }
        if interface.table != lender_tables {
            return Err(retval::UNEXPECTED_INTF_STATE.into());
        }
        interface.unnumbered_to = Some(lender);
        Ok(())
    }

    /// `sw_interface_set_table`.
    ///
    /// # Errors
    /// −2 unknown interface, −3 no such table, −114 when addresses of that family are present.
    pub fn set_table(&mut self, sw_if_index: u32, family: Family, table_id: u32) -> OpResult {
        self.interface_mut(sw_if_index)?;
        if !self.fibs.exists(family, table_id) {
            return Err(retval::NO_SUCH_FIB.into());
        }
        // A borrowed address counts, as in the recording.
        let holder = self.address_holder(sw_if_index);
        let has_address = self
            .interfaces
            .get(holder)
            .is_some_and(|i| i.addresses.iter().any(|p| p.family() == family));
        if has_address {
            return Err(retval::ADDRESS_FOUND_FOR_INTERFACE.into());
        }
        let table = &mut self.interface_mut(sw_if_index)?.table[family.index()];
        let before = std::mem::replace(table, table_id);
        self.teib_rebind(sw_if_index, family, before, table_id);
        self.urpf.table_bound(sw_if_index, family, table_id);
        Ok(())
    }

    /// The interface that holds the addresses which `sw_if_index` speaks with.
    pub(crate) fn address_holder(&self, sw_if_index: u32) -> u32 {
        self.interfaces
            .get(sw_if_index)
            .and_then(|i| i.unnumbered_to)
            .unwrap_or(sw_if_index)
    }

    /// The address VPP speaks from on an interface: one whose prefix covers `towards`, else the first.
    pub(crate) fn source_address(&self, sw_if_index: u32, towards: IpAddr) -> Option<IpAddr> {
        let family = Family::of(towards);
        let holder = self.interfaces.get(self.address_holder(sw_if_index))?;
        let of_family = || holder.addresses.iter().filter(|p| p.family() == family);
        let best = of_family()
            .find(|p| p.contains(towards))
            .or_else(|| of_family().next())
            .map(|p| p.address);
        match family {
            Family::V4 => best,
            Family::V6 => best.or_else(|| Some(IpAddr::V6(holder.link_local_address()))),
        }
    }

    /// Whether `address` is an IPv6 link-local address of the interface.
    pub(crate) fn is_own_link_local(&self, sw_if_index: u32, address: IpAddr) -> bool {
        let IpAddr::V6(address) = address else {
            return false;
        };
        let own = |index: u32| {
            self.interfaces
                .get(index)
                .is_some_and(|i| self.ip_active(i, Family::V6) && i.link_local_address() == address)
        };
        own(sw_if_index) || own(self.address_holder(sw_if_index))
    }
}
