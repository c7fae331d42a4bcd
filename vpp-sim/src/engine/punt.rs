//! What VPP hands to the host, or would: ports and reasons (`vnet/ip/punt.c`), and where punted packets are sent instead
//! (`vnet/ip/ip_punt_drop.c`).
use std::collections::{BTreeMap, BTreeSet};

use super::Vpp;
use super::fib::path_list::ListKind;
use super::types::{Family, NONE, OpResult, RoutePath, retval};

/// All ports that nobody listens on.
const ALL_PORTS: u16 = u16::MAX;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Reasons for which nodes give packets up, by number from 1: those of IPsec (`vnet/ipsec/ipsec_punt.h`).
pub const PUNT_REASONS: [&str; 4] = [
    "ipsec4-spi-o-udp-0",
    "ipsec4-no-such-tunnel",
    "ipsec6-no-such-tunnel",
    "ipsec6-spi-o-udp-0",
];

/// Which packets are punted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PuntClass {
    /// Of a protocol, to a port.
    Port { family: Family, proto: u8, port: u16 },
    /// Of a protocol.
    Protocol { family: Family, proto: u8 },
    /// Given up for a reason.
    Reason(u32),
}

/// A redirection of punted packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PuntRedirect {
    /// Where they were received; [`NONE`] is any interface without a redirection of its own.
    pub rx: u32,
    pub paths: Vec<RoutePath>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Punts {
    ports: BTreeSet<(Family, u16)>,
    /// Whether UDP to ports that nobody listens on is punted, by family.
    unknown: [bool; 2],
    reasons: BTreeSet<u32>,
    /// Path lists by family and receiving interface; 0 is any.
    redirects: BTreeMap<(Family, u32), u32>,
}

impl Punts {
    /// Whether UDP to a port is punted; of ports that nobody listens on, `unknown`.
    pub fn takes(&self, family: Family, port: u16, unknown: bool) -> bool {
        if unknown {
            self.unknown[family.index()]
        } else {
            self.ports.contains(&(family, port))
        }
    }

    /// The path list for punted packets that were received on an interface.
    pub fn redirect(&self, family: Family, rx: u32) -> Option<u32> {
        let own = self.redirects.get(&(family, rx));
        own.or_else(|| self.redirects.get(&(family, 0))).copied()
    }
}

impl Vpp {
    /// `set_punt`.
    ///
    /// # Errors
    /// −1 for protocols as such, other protocols than UDP and TCP, TCP by port, an unknown reason, and one that is
    /// punted already or not.
    pub fn set_punt(&mut self, class: PuntClass, is_add: bool) -> OpResult {
        let refused = Err(retval::UNSPECIFIED.into());
        match class {
            PuntClass::Port {
                family,
                proto: UDP,
                port: ALL_PORTS,
            } => self.punts.unknown[family.index()] = is_add,
            // The host stack that would see it is not there.
            PuntClass::Port {
                proto: TCP,
                port: ALL_PORTS,
                ..
            } => {}
            PuntClass::Port {
                family,
                proto: UDP,
                port,
            } => {
                if is_add {
                    self.punts.ports.insert((family, port));
                } else {
                    self.punts.ports.remove(&(family, port));
                }
            }
            PuntClass::Port { .. } | PuntClass::Protocol { .. } => return refused,
            PuntClass::Reason(reason) => {
                if !punt_reason_is_known(reason) {
                    return refused;
                }
                let changed = if is_add {
                    self.punts.reasons.insert(reason)
                } else {
                    self.punts.reasons.remove(&reason)
                };
                if !changed {
                    return refused;
                }
            }
        }
        Ok(())
    }

    /// `add_del_ip_punt_redirect_v2`; `rx` [`NONE`], and 0, is any interface.
    pub fn punt_redirect_update(&mut self, family: Family, rx: u32, paths: &[RoutePath], is_add: bool) {
        let key = (family, if rx == NONE { 0 } else { rx });
        if let Some(old) = self.punts.redirects.remove(&key) {
            self.fibs.path_lists.unlock(old);
        }
        if is_add {
            let list = self.fibs.path_lists.lock(ListKind::Policy, paths.to_vec());
            self.punts.redirects.insert(key, list);
        }
    }

    /// `ip_punt_redirect_v2_dump`: all of a family, or what applies to one interface as it was set for it.
    pub fn punt_redirects(&self, family: Family, rx: Option<u32>) -> Vec<PuntRedirect> {
        let all = self.punts.redirects.iter();
        all.filter(|((of, at), _)| *of == family && rx.is_none_or(|rx| rx == *at))
            .map(|((_, at), list)| PuntRedirect {
                rx: if *at == 0 { NONE } else { *at },
                paths: self.fibs.path_lists.paths(*list).to_vec(),
            })
            .collect()
    }
}

/// Whether there is such a reason; 0, which is none, counts as one.
#[must_use]
pub fn punt_reason_is_known(reason: u32) -> bool {
    reason as usize <= PUNT_REASONS.len()
}
