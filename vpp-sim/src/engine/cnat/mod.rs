//! cnat: translations of virtual addresses to backends, and source NAT by policy.
//!
//! State and operations are here; what the nodes do with packets is in `flow` (1.0.0, VPP 26.06) and `per_arc` (0.3.0,
//! before).
mod flow;
mod maglev;
mod per_arc;
mod session;
mod snat;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Vpp;
use super::feature;
use super::fib::{Contribution, DEFAULT_TABLE, source};
use super::pool::Pool;
use super::types::{Family, NONE, OpError, OpResult, Prefix, retval};
pub(crate) use flow::{Meta, Verdict};
pub use per_arc::{ArcSession, CnatNode};
pub(crate) use session::Place;
pub use session::{CnatSessionDetails, SessionKeyDetails};
pub use snat::{SnatAddresses, SnatPolicy, SnatTable, snat_flag};

/// Flags of a translation (`cnat_translation_flags`).
pub mod translation_flag {
    /// Allocate a source port when the translation names a source address.
    pub const ALLOC_PORT: u8 = 1;
    /// Do not make a session for the answers.
    pub const NO_RETURN_SESSION: u8 = 4;
    /// Do not put the virtual address into the FIB.
    pub const NO_CLIENT: u8 = 8;
}

/// Flags of a path (`cnat_trk_flag_t` of 26.06).
pub mod path_flag {
    /// Forward to the backend without rewriting.
    pub const NO_NAT: u8 = 2;
    /// Set by VPP: the endpoint is resolved.
    pub const ACTIVE: u8 = 4;
}

/// An address with a port; with an interface, "the address of that interface".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CnatEndpoint {
    /// What the address is, or was resolved to; unspecified = unresolved or "keep".
    pub address: IpAddr,
    pub port: u16,
    /// [`NONE`] = `address` counts.
    pub sw_if_index: u32,
}

impl CnatEndpoint {
    pub fn new(address: impl Into<IpAddr>, port: u16) -> Self {
        Self {
            address: address.into(),
            port,
            sw_if_index: NONE,
        }
    }
}

/// A backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CnatPath {
    pub dst: CnatEndpoint,
    /// Zero address and port = keep the client's.
    pub src: CnatEndpoint,
    pub flags: u8,
}

impl CnatPath {
    /// A backend that sees the client's address.
    pub fn to(address: impl Into<IpAddr>, port: u16) -> Self {
        let dst = CnatEndpoint::new(address, port);
        Self {
            dst,
            src: CnatEndpoint::new(Family::of(dst.address).unspecified(), 0),
            flags: 0,
        }
    }
}

/// How a backend is chosen for a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalance {
    /// Flow hash modulo number of backends.
    Default,
    /// Flow hash into a Maglev table: few flows move when backends change.
    Maglev,
}

/// `cnat_translation_update`.
#[derive(Clone, Debug)]
pub struct TranslationUpdate {
    pub vip: CnatEndpoint,
    pub proto: u8,
    /// The address is also a real one: what no translation matches follows the FIB.
    pub is_real_ip: bool,
    pub flags: u8,
    pub load_balance: LoadBalance,
    /// Bits of `ip_flow_hash_config`; 0 = default.
    pub flow_hash: u32,
    pub paths: Vec<CnatPath>,
}

/// A translation as `cnat_translation_dump` shows it (`flags`, `is_real_ip` and flow hash are not shown).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslationDetails {
    pub id: u32,
    pub vip: CnatEndpoint,
    pub proto: u8,
    pub load_balance: LoadBalance,
    /// With `flags` as VPP keeps them (4 = active).
    pub paths: Vec<CnatPath>,
    /// Packets that opened a flow here.
    pub packets: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Translation {
    vip: CnatEndpoint,
    proto: u8,
    flags: u8,
    load_balance: LoadBalance,
    flow_hash: u32,
    paths: Vec<CnatPath>,
    /// By which a session is known to be of a path, path by path (`cnat_ep_trk_t`).
    trackers: Vec<u32>,
    maglev: Vec<u32>,
    /// Packets and bytes that opened a flow.
    opened: (u64, u64),
}

/// What makes sessions end: each of 1.0.0 is of a path, and goes when the scanner finds that the path is gone, of
/// whatever protocol it is (`cnat_session_is_stale`).
#[derive(Clone, Debug, Default)]
struct Scanner {
    off: bool,
    next: u64,
    /// The last tracker that was made; 0 is nobody's.
    trackers: u32,
    gone: BTreeSet<u32>,
}

/// Time between two looks at the sessions (`CNAT_DEFAULT_SCANNER_TIMEOUT`). VPP looks for 100 µs at most each time, so
/// that a table of many buckets takes it several times as long.
const SCAN_NS: u64 = 1_000_000_000;

impl Scanner {
    fn track(&mut self) -> u32 {
        self.trackers += 1;
        self.trackers
    }

    /// Paths that were taken away until now, if this is the time to look.
    fn due(&mut self, now: u64) -> BTreeSet<u32> {
        if now < self.next {
            return BTreeSet::new();
        }
        self.next = now + SCAN_NS;
        std::mem::take(&mut self.gone)
    }
}

/// A virtual address: how many translations it has, and whether it is in the FIB.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    translations: u32,
    in_fib: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Cnat {
    translations: Pool<Translation>,
    by_vip: BTreeMap<(IpAddr, u16, u8), u32>,
    clients: BTreeMap<IpAddr, Client>,
    pub snat: snat::Snat,
    pub sessions: session::Sessions,
    scanner: Scanner,
    /// Set where this VPP's cnat is 0.3.0.
    pub per_arc: Option<per_arc::PerArc>,
}

impl Cnat {
    pub fn interface_gone(&mut self, sw_if_index: u32) {
        if let Some(arcs) = &mut self.per_arc {
            arcs.interface_gone(sw_if_index);
        }
    }

    pub fn tick(&mut self, now: u64) {
        if self.scanner.off {
            return;
        }
        let gone = self.scanner.due(now);
        let mut ended = self.sessions.tick(now, &gone);
        if let Some(arcs) = &mut self.per_arc {
            ended.extend(arcs.tick(now));
        }
        for (proto, port) in ended {
            self.snat.free_port(proto, port);
        }
    }
}

fn is_zero_address(address: IpAddr) -> bool {
    address.is_unspecified()
}

impl Vpp {
    /// An endpoint that names an interface gets its first address; false while it has none.
    fn resolve_endpoint(&self, endpoint: &mut CnatEndpoint) -> bool {
        if endpoint.sw_if_index == NONE {
            return true;
        }
        let family = Family::of(endpoint.address);
        let found = self.interfaces.get(endpoint.sw_if_index).and_then(|i| {
            i.addresses
                .iter()
                .find(|p| p.family() == family)
                .map(|p| p.address)
        });
        endpoint.address = found.unwrap_or_else(|| family.unspecified());
        found.is_some()
    }

    /// `cnat_translation_update`: creates, or updates in place what has this address, port and
    /// protocol; the id. Load balancing and flow hash are taken only at creation.
    ///
    /// # Errors
    /// Fatal without paths: VPP 26.06 runs out of memory and aborts.
    pub fn cnat_translation_update(&mut self, update: &TranslationUpdate) -> OpResult<u32> {
        if update.paths.is_empty() {
            return Err(OpError::Fatal("cnat_translation_update with n_paths 0".into()));
        }
        let mut vip = update.vip;
        self.resolve_endpoint(&mut vip);
        let mut paths = update.paths.clone();
        for path in &mut paths {
            let resolved = self.resolve_endpoint(&mut path.dst) & self.resolve_endpoint(&mut path.src);
            path.flags &= !path_flag::ACTIVE;
            if resolved {
                path.flags |= path_flag::ACTIVE;
                self.fibs.track(DEFAULT_TABLE, path.dst.address);
            }
        }
        let key = (vip.address, vip.port, update.proto);
        let trackers = self.track_paths(self.cnat.by_vip.get(&key).copied(), update, &mut paths);
        let id = match self.cnat.by_vip.get(&key) {
            Some(id) => {
                let id = *id;
                let old = self.cnat.translations.get_mut(id).map(|translation| {
                    translation.flags = update.flags;
                    translation.trackers = trackers;
                    std::mem::replace(&mut translation.paths, paths)
                });
                self.untrack_paths(&old.unwrap_or_default());
                id
            }
            None => {
                let id = self.cnat.translations.insert(Translation {
                    vip,
                    proto: update.proto,
                    flags: update.flags,
                    load_balance: update.load_balance,
                    flow_hash: update.flow_hash,
                    paths,
                    trackers,
                    maglev: Vec::new(),
                    opened: (0, 0),
                });
                self.cnat.by_vip.insert(key, id);
                self.add_client(vip.address, update.flags, !update.is_real_ip);
                id
            }
        };
        if let Some(translation) = self.cnat.translations.get_mut(id)
            && translation.load_balance == LoadBalance::Maglev
        {
            let backends: Vec<CnatEndpoint> = translation.active().map(|p| p.dst).collect();
            translation.maglev = maglev::table(&backends);
        }
        Ok(id)
    }

    /// Trackers of the new paths: a path that was there keeps its own, and its flags. What was resolved from an interface
    /// never equals what names the interface.
    fn track_paths(
        &mut self,
        known: Option<u32>,
        update: &TranslationUpdate,
        paths: &mut [CnatPath],
    ) -> Vec<u32> {
        let sent = |endpoint: CnatEndpoint| match endpoint.sw_if_index {
            NONE => endpoint,
            _ => CnatEndpoint {
                address: Family::of(endpoint.address).unspecified(),
                ..endpoint
            },
        };
        let mut trackers = vec![None; paths.len()];
        let scanner = &mut self.cnat.scanner;
        if let Some(old) = known.and_then(|id| self.cnat.translations.get(id)) {
            for (path, &tracker) in old.paths.iter().zip(&old.trackers) {
                let mut wanted = update.paths.iter();
                match wanted.position(|new| (sent(new.dst), sent(new.src)) == (path.dst, path.src)) {
                    Some(at) => {
                        trackers[at] = Some(tracker);
                        paths[at].flags = path.flags;
                    }
                    None => drop(scanner.gone.insert(tracker)),
                }
            }
        }
        trackers
            .into_iter()
            .map(|tracker| tracker.unwrap_or_else(|| scanner.track()))
            .collect()
    }

    /// `test cnat scanner on|off`.
    pub fn cnat_scanner(&mut self, on: bool) {
        self.cnat.scanner.off = !on;
    }

    fn untrack_paths(&mut self, paths: &[CnatPath]) {
        for path in paths.iter().filter(|p| p.flags & path_flag::ACTIVE != 0) {
            self.fibs.untrack(DEFAULT_TABLE, path.dst.address);
        }
    }

    fn add_client(&mut self, vip: IpAddr, flags: u8, exclusive: bool) {
        let client = self.cnat.clients.entry(vip).or_default();
        client.translations += 1;
        // The flags of the first translation decide for the address.
        if client.translations == 1 && flags & translation_flag::NO_CLIENT == 0 {
            client.in_fib = true;
            let contribution = Contribution::CnatClient { exclusive };
            self.fibs
                .contribute(DEFAULT_TABLE, Prefix::host(vip), source::CNAT, contribution);
        }
    }

    /// `cnat_translation_del`. # Errors −6 unknown id.
    pub fn cnat_translation_del(&mut self, id: u32) -> OpResult {
        let gone = self.cnat.translations.remove(id);
        let gone = gone.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))?;
        let vip = gone.vip.address;
        self.cnat.by_vip.remove(&(vip, gone.vip.port, gone.proto));
        self.untrack_paths(&gone.paths);
        self.cnat.scanner.gone.extend(&gone.trackers);
        if let Some(client) = self.cnat.clients.get_mut(&vip) {
            client.translations -= 1;
            if client.translations == 0 {
                if client.in_fib {
                    self.fibs
                        .remove_source(DEFAULT_TABLE, Prefix::host(vip), source::CNAT);
                }
                self.cnat.clients.remove(&vip);
            }
        }
        Ok(())
    }

    /// `cnat_translation_dump`, in order of the ids.
    pub fn cnat_translations(&self) -> Vec<TranslationDetails> {
        self.cnat
            .translations
            .iter()
            .map(|(id, t)| TranslationDetails {
                id,
                vip: t.vip,
                proto: t.proto,
                load_balance: t.load_balance,
                paths: t.paths.clone(),
                packets: t.opened.0,
            })
            .collect()
    }

    /// Packets and bytes that opened a flow, by index of the translation (`/net/cnat-translation`).
    pub fn cnat_opened(&self) -> impl Iterator<Item = (u32, (u64, u64))> {
        self.cnat
            .translations
            .iter()
            .map(|(id, translation)| (id, translation.opened))
    }

    /// `feature_cnat_enable_disable`. Enabling counts: twice means every node runs twice, and
    /// translation stops until it is disabled once.
    ///
    /// # Errors
    /// −2 unknown interface.
    pub fn cnat_feature_enable(&mut self, sw_if_index: u32, enable: bool) -> OpResult {
        self.interface_mut(sw_if_index)?;
        for (arc, feature) in feature::CNAT {
            self.features.switch(arc, feature, sw_if_index, enable);
        }
        Ok(())
    }

    /// How often cnat is on the interface's arcs (`feature_is_enabled` says > 0).
    pub fn cnat_feature_count(&self, sw_if_index: u32) -> u32 {
        self.features
            .count(feature::IP4_UNICAST, "cnat-input-ip4", sw_if_index)
    }

    /// `cnat_session_dump`.
    pub fn cnat_sessions(&self) -> Vec<CnatSessionDetails> {
        self.cnat.sessions.list()
    }

    /// `cnat_session_purge`: drops all sessions, and (as VPP's handler does) all translations.
    pub fn cnat_session_purge(&mut self) {
        let mut ended = self.cnat.sessions.purge();
        if let Some(arcs) = &mut self.cnat.per_arc {
            ended.extend(arcs.purge());
        }
        for (proto, port) in ended {
            self.cnat.snat.free_port(proto, port);
        }
        let ids: Vec<u32> = self.cnat.translations.iter().map(|(id, _)| id).collect();
        for id in ids {
            // The ids were listed a line above.
            let _ = self.cnat_translation_del(id);
        }
    }
}

impl Translation {
    /// This packet opens a flow.
    fn count(&mut self, data: &[u8]) {
        let (packets, bytes) = self.opened;
        self.opened = (packets + 1, bytes + data.len() as u64);
    }

    fn active(&self) -> impl Iterator<Item = &CnatPath> {
        self.paths.iter().filter(|p| p.flags & path_flag::ACTIVE != 0)
    }

    /// The backend for a new flow, and its tracker.
    fn choose(&self, flow_hash: u32) -> Option<(CnatPath, u32)> {
        let tracked = self.paths.iter().zip(&self.trackers);
        let active: Vec<(&CnatPath, &u32)> = tracked
            .filter(|(p, _)| p.flags & path_flag::ACTIVE != 0)
            .collect();
        let count = u32::try_from(active.len()).ok().filter(|n| *n > 0)?;
        let bucket = match self.load_balance {
            LoadBalance::Default => flow_hash % count,
            LoadBalance::Maglev => *self.maglev.get((flow_hash % maglev::LENGTH) as usize)?,
        };
        active
            .get(bucket as usize)
            .map(|(path, tracker)| (**path, **tracker))
    }
}
