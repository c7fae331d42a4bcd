//! Interfaces that are inside, outside or both, and those that translate after routing.
use super::super::Vpp;
use super::super::feature::{IP4_OUTPUT, IP4_UNICAST};
use super::super::types::{Family, OpResult, retval};

const IN2OUT: &str = "nat-pre-in2out";
const OUT2IN: &str = "nat-pre-out2in";
const CLASSIFY: &str = "nat44-ed-classify";
const OUTPUT: &str = "nat-pre-in2out-output";

/// An interface as `nat44_interface_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat44Interface {
    pub sw_if_index: u32,
    pub is_inside: bool,
    pub is_outside: bool,
}

fn side(is_inside: bool) -> &'static str {
    if is_inside { IN2OUT } else { OUT2IN }
}

impl Vpp {
    fn nat44_find(&self, sw_if_index: u32, output: bool) -> Option<(u32, Nat44Interface)> {
        let pool = if output {
            &self.nat44.outputs
        } else {
            &self.nat44.interfaces
        };
        let mut all = pool.iter();
        all.find(|(_, i)| i.sw_if_index == sw_if_index)
            .map(|(at, i)| (at, *i))
    }

    /// `nat44_interface_add_del_feature` with `is_add`.
    ///
    /// # Errors
    /// −2 unknown interface, −126 not enabled, −81 translates after routing already.
    pub fn nat44_interface_add(&mut self, sw_if_index: u32, is_inside: bool) -> OpResult {
        self.interface_mut(sw_if_index)?;
        self.nat44.enabled()?;
        if self.nat44_find(sw_if_index, true).is_some() {
            return Err(retval::VALUE_EXIST.into());
        }
        match self.nat44_find(sw_if_index, false) {
            Some((_, i)) if (is_inside && i.is_inside) || (!is_inside && i.is_outside) => return Ok(()),
            Some(_) => {
                self.features
                    .switch(IP4_UNICAST, side(!is_inside), sw_if_index, false);
                self.features.switch(IP4_UNICAST, CLASSIFY, sw_if_index, true);
            }
            None => {
                self.features
                    .switch(IP4_UNICAST, side(is_inside), sw_if_index, true);
                self.nat44.interfaces.insert(Nat44Interface {
                    sw_if_index,
                    is_inside: false,
                    is_outside: false,
                });
            }
        }
        if let Some((at, _)) = self.nat44_find(sw_if_index, false)
            && let Some(i) = self.nat44.interfaces.get_mut(at)
        {
            i.is_inside |= is_inside;
            i.is_outside |= !is_inside;
        }
        self.nat44_uses_table(sw_if_index, !is_inside, true);
        Ok(())
    }

    /// `nat44_interface_add_del_feature` without `is_add`. Removing the side it does not have removes the record and
    /// leaves the feature on, as VPP.
    ///
    /// # Errors
    /// −2 unknown interface, −126 not enabled, −6 not there.
    pub fn nat44_interface_del(&mut self, sw_if_index: u32, is_inside: bool) -> OpResult {
        self.interface_mut(sw_if_index)?;
        self.nat44.enabled()?;
        let (at, found) = self.nat44_find(sw_if_index, false).ok_or(retval::NO_SUCH_ENTRY)?;
        if found.is_inside && found.is_outside {
            self.features.switch(IP4_UNICAST, CLASSIFY, sw_if_index, false);
            self.features
                .switch(IP4_UNICAST, side(!is_inside), sw_if_index, true);
            if let Some(i) = self.nat44.interfaces.get_mut(at) {
                i.is_inside &= !is_inside;
                i.is_outside &= is_inside;
            }
        } else {
            self.features
                .switch(IP4_UNICAST, side(is_inside), sw_if_index, false);
            self.nat44.interfaces.remove(at);
        }
        self.nat44_uses_table(sw_if_index, !is_inside, false);
        Ok(())
    }

    /// `nat44_ed_add_del_output_interface`.
    ///
    /// # Errors
    /// −2 unknown interface, −126 not enabled, −81 there already (or inside or outside), −6 not there.
    pub fn nat44_output_interface(&mut self, sw_if_index: u32, is_add: bool) -> OpResult {
        self.interface_mut(sw_if_index)?;
        self.nat44.enabled()?;
        let found = self.nat44_find(sw_if_index, true);
        if is_add {
            if found.is_some() || self.nat44_find(sw_if_index, false).is_some() {
                return Err(retval::VALUE_EXIST.into());
            }
            self.nat44.outputs.insert(Nat44Interface {
                sw_if_index,
                is_inside: true,
                is_outside: true,
            });
        } else {
            let (at, _) = found.ok_or(retval::NO_SUCH_ENTRY)?;
            self.nat44.outputs.remove(at);
        }
        self.features.switch(IP4_UNICAST, OUT2IN, sw_if_index, is_add);
        self.features.switch(IP4_OUTPUT, OUTPUT, sw_if_index, is_add);
        self.nat44_uses_table(sw_if_index, true, is_add);
        Ok(())
    }

    /// One user more or less of the interface's table. The sessions of a table nobody uses are not used any more.
    fn nat44_uses_table(&mut self, sw_if_index: u32, as_outside: bool, is_add: bool) {
        let table = self.table_of(sw_if_index, Family::V4);
        let users = self.nat44.tables.entry(table).or_default();
        if is_add {
            *users += 1;
        } else {
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.nat44.tables.remove(&table);
                self.nat44.sessions.expire_table(table);
            }
        }
        if !as_outside {
            return;
        }
        let outside = &mut self.nat44.outside;
        match (is_add, outside.iter().position(|(t, _)| *t == table)) {
            (true, Some(at)) => outside[at].1 += 1,
            (true, None) => outside.push((table, 1)),
            (false, Some(at)) if outside[at].1 == 1 => {
                outside.swap_remove(at);
            }
            (false, Some(at)) => outside[at].1 -= 1,
            (false, None) => {}
        }
        let own = self.nat44.addresses.iter().map(|a| a.address);
        let mapped = self.nat44.mappings.external_addresses();
        for address in own.chain(mapped).collect::<Vec<_>>() {
            self.nat44_local(address, sw_if_index, is_add);
        }
        if is_add {
            self.nat44_bind(sw_if_index, None);
        }
    }

    pub fn nat44_interfaces(&self) -> Vec<Nat44Interface> {
        self.nat44.interfaces.iter().map(|(_, i)| *i).collect()
    }

    /// `nat44_ed_output_interface_get`.
    pub fn nat44_output_interfaces(&self) -> Vec<u32> {
        self.nat44.outputs.iter().map(|(_, i)| i.sw_if_index).collect()
    }

    /// The interface is about to go; its address has gone already.
    pub(crate) fn nat44_interface_gone(&mut self, sw_if_index: u32) {
        if let Some((_, found)) = self.nat44_find(sw_if_index, false) {
            for is_inside in [true, false] {
                if (is_inside && found.is_inside) || (!is_inside && found.is_outside) {
                    // It is there, so this cannot fail.
                    let _ = self.nat44_interface_del(sw_if_index, is_inside);
                }
            }
        }
        if self.nat44_find(sw_if_index, true).is_some() {
            let _ = self.nat44_output_interface(sw_if_index, false);
        }
    }
}
