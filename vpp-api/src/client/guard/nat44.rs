//! NAT44 mappings with several backends: VPP counts the backends in 8 bits and never ends with 256, and adds their
//! probabilities up in 8 bits and divides by the sum.

use crate::messages::nat44_ed::{
    Nat44AddDelLbStaticMapping, Nat44EdPluginEnableDisable, Nat44LbAddrPort, Nat44LbStaticMappingAddDelLocal,
    Nat44LbStaticMappingDetails,
};
use std::any::Any;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// External address, port, protocol.
pub(in crate::client) type Key = (Ipv4Addr, u16, u8);

/// Most backends VPP survives.
const MAX_BACKENDS: usize = u8::MAX as usize;

/// What VPP has, or will have once it has answered what was sent.
#[derive(Debug, Default)]
pub(super) struct LbMappings {
    backends: BTreeMap<Key, Vec<Nat44LbAddrPort>>,
}

fn refuse(backends: &[Nat44LbAddrPort]) -> Result<(), String> {
    let sum: usize = backends.iter().map(|b| usize::from(b.probability)).sum();
    if backends.len() > MAX_BACKENDS {
        return Err(format!(
            "VPP aborts on {} backends; at most {MAX_BACKENDS}",
            backends.len()
        ));
    }
    if sum == 0 || sum > MAX_BACKENDS {
        return Err(format!(
            "the probabilities add up to {sum}; VPP counts in 8 bits and divides by the sum: 1 to {MAX_BACKENDS}"
        ));
    }
    Ok(())
}

fn same(a: &Nat44LbAddrPort, b: &Nat44LbAddrPort) -> bool {
    (a.addr, a.port, a.vrf_id) == (b.addr, b.port, b.vrf_id)
}

impl LbMappings {
    /// Whether the message may be sent; the mapping it changes.
    pub(super) fn check(&mut self, message: &dyn Any) -> Result<Option<Key>, String> {
        if let Some(m) = message.downcast_ref::<Nat44AddDelLbStaticMapping>() {
            let key = (m.external_addr, m.external_port, m.protocol);
            if !m.is_add {
                // VPP does not end either when it only reads them to forget them.
                if m.locals.len() > MAX_BACKENDS {
                    return refuse(&m.locals).map(|()| None);
                }
                self.backends.remove(&key);
                return Ok(None);
            }
            // Fewer than two it refuses itself.
            if m.locals.len() > 1 {
                refuse(&m.locals)?;
                self.backends.entry(key).or_insert_with(|| m.locals.clone());
            }
            return Ok(Some(key));
        }
        if let Some(m) = message.downcast_ref::<Nat44LbStaticMappingAddDelLocal>() {
            let key = (m.external_addr, m.external_port, m.protocol);
            let Some(known) = self.backends.get_mut(&key) else {
                return Err(format!(
                    "it is not known what the probabilities of {}:{} add up to; dump the mappings first",
                    key.0, key.1
                ));
            };
            let mut changed = known.clone();
            changed.retain(|b| !same(b, &m.local));
            if m.is_add {
                changed.push(m.local.clone());
            }
            // It keeps the last two, whatever is asked.
            if m.is_add || changed.len() > 1 {
                refuse(&changed)?;
                *known = changed;
            }
            return Ok(Some(key));
        }
        if message.is::<Nat44EdPluginEnableDisable>() {
            self.backends.clear();
        }
        Ok(None)
    }

    /// It is not as it was thought to be.
    pub(super) fn forget(&mut self, mapping: &Key) {
        self.backends.remove(mapping);
    }

    /// VPP listed one.
    pub(super) fn observe(&mut self, answer: &dyn Any) {
        if let Some(m) = answer.downcast_ref::<Nat44LbStaticMappingDetails>() {
            let key = (m.external_addr, m.external_port, m.protocol);
            self.backends.insert(key, m.locals.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(last: u8, probability: u8) -> Nat44LbAddrPort {
        Nat44LbAddrPort {
            addr: Ipv4Addr::new(10, 0, 0, last),
            port: 80,
            probability,
            vrf_id: 0,
        }
    }

    fn add(locals: Vec<Nat44LbAddrPort>) -> Nat44AddDelLbStaticMapping {
        Nat44AddDelLbStaticMapping {
            is_add: true,
            locals,
            ..Nat44AddDelLbStaticMapping::default()
        }
    }

    fn local(is_add: bool, local: Nat44LbAddrPort) -> Nat44LbStaticMappingAddDelLocal {
        Nat44LbStaticMappingAddDelLocal {
            is_add,
            local,
            ..Nat44LbStaticMappingAddDelLocal::default()
        }
    }

    #[test]
    fn what_kills_vpp_is_refused() {
        let mut known = LbMappings::default();
        let many = |n: u16| (0..n).map(|i| backend(i as u8, 1)).collect::<Vec<_>>();
        assert!(known.check(&add(many(256))).is_err());
        assert!(known.check(&add(many(255))).is_ok());
        assert!(known.check(&add(vec![backend(1, 0), backend(2, 0)])).is_err());
        assert!(known.check(&add(vec![backend(1, 128), backend(2, 128)])).is_err());
        assert!(known.check(&add(vec![backend(1, 128), backend(2, 127)])).is_ok());
        assert!(known.check(&add(vec![backend(1, 0)])).is_ok(), "VPP refuses it");
    }

    #[test]
    fn a_change_of_one_backend_is_judged_by_all() {
        let mut known = LbMappings::default();
        let change = local(true, backend(3, 1));
        assert!(known.check(&change).is_err(), "unknown mapping");
        known.check(&add(vec![backend(1, 0), backend(2, 255)])).unwrap();
        assert!(known.check(&change).is_err(), "256");
        assert!(known.check(&local(true, backend(3, 0))).is_ok());
        assert!(
            known.check(&local(false, backend(2, 0))).is_err(),
            "0 would remain"
        );
        assert!(known.check(&local(false, backend(1, 0))).is_ok());
        known.forget(&(Ipv4Addr::UNSPECIFIED, 0, 0));
        assert!(
            known.check(&local(false, backend(3, 0))).is_err(),
            "unknown again"
        );
        known.observe(&Nat44LbStaticMappingDetails {
            locals: vec![backend(1, 1), backend(2, 1)],
            ..Nat44LbStaticMappingDetails::default()
        });
        assert!(known.check(&change).is_ok());
    }
}
