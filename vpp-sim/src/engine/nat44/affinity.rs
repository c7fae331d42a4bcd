//! Which backend a client keeps (`nat44_ed_affinity.c`).
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::SECOND;

/// Client, service, protocol, port.
type Key = (Ipv4Addr, Ipv4Addr, u8, u16);

#[derive(Clone, Copy, Debug)]
struct Affinity {
    backend: u32,
    sessions: u32,
    sticky_ns: u64,
    /// When it ends, once no session holds it.
    expires: u64,
}

/// All clients that keep a backend.
#[derive(Clone, Debug, Default)]
pub(super) struct Affinities {
    entries: BTreeMap<Key, Affinity>,
}

impl Affinities {
    /// The backend a client has, held by one more session.
    pub fn hold(&mut self, key: Key, now: u64) -> Option<u32> {
        let affinity = self.entries.get_mut(&key)?;
        if affinity.sessions == 0 && affinity.expires < now {
            self.entries.remove(&key);
            return None;
        }
        affinity.sessions += 1;
        Some(affinity.backend)
    }

    /// Remembers the backend of a client's first session.
    pub fn begin(&mut self, key: Key, backend: u32, sticky_seconds: u32) {
        self.entries.entry(key).or_insert(Affinity {
            backend,
            sessions: 1,
            sticky_ns: u64::from(sticky_seconds) * SECOND,
            expires: 0,
        });
    }

    /// A session of the client ended.
    pub fn release(&mut self, key: Key, now: u64) {
        if let Some(affinity) = self.entries.get_mut(&key) {
            affinity.sessions = affinity.sessions.saturating_sub(1);
            if affinity.sessions == 0 {
                affinity.expires = now.saturating_add(affinity.sticky_ns);
            }
        }
    }

    /// The service is gone.
    pub fn forget(&mut self, service: (Ipv4Addr, u8, u16)) {
        self.entries
            .retain(|(_, address, proto, port), _| (*address, *proto, *port) != service);
    }
}
