//! Sessions made by permit+reflect: per interface, found by both directions' keys (`session_inlines.h`).
use std::collections::HashMap;
use std::net::IpAddr;

use crate::engine::pool::Pool;
use crate::engine::types::Family;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP6: u8 = 58;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

const SECOND: u64 = 1_000_000_000;
const UDP_IDLE_NS: u64 = 600 * SECOND;
const TCP_IDLE_NS: u64 = 24 * 3600 * SECOND;
const TCP_TRANSIENT_NS: u64 = 120 * SECOND;

/// `ACL_FA_CONN_TABLE_DEFAULT_MAX_ENTRIES`.
const MAX_SESSIONS: usize = 500_000;

/// What the plugin looks at in a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuple {
    pub family: Family,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub proto: u8,
    /// Source and destination port, or ICMP type and code; 0 for other protocols.
    pub ports: (u16, u16),
    pub tcp_flags: Option<u8>,
    pub l4_valid: bool,
    pub nonfirst_fragment: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    sw_if_index: u32,
    is_input: bool,
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    ports: (u16, u16),
}

impl Key {
    fn new(sw_if_index: u32, is_input: bool, tuple: &Tuple) -> Self {
        Self {
            sw_if_index,
            is_input,
            src: tuple.src,
            dst: tuple.dst,
            proto: tuple.proto,
            ports: tuple.ports,
        }
    }

    /// The key of the answering packets; None when ICMP of this type has no answer.
    fn reversed(&self) -> Option<Self> {
        let ports = if self.is_icmp() {
            (icmp_answer(self.proto, self.ports.0)?, self.ports.1)
        } else {
            (self.ports.1, self.ports.0)
        };
        Some(Self {
            is_input: !self.is_input,
            src: self.dst,
            dst: self.src,
            ports,
            ..*self
        })
    }

    fn is_icmp(&self) -> bool {
        self.proto
            == match Family::of(self.src) {
                Family::V4 => ICMP,
                Family::V6 => ICMP6,
            }
    }
}

/// The type that answers an ICMP type which may open a session.
fn icmp_answer(proto: u8, icmp_type: u16) -> Option<u16> {
    match (proto, icmp_type) {
        // echo, timestamp, information, address mask
        (ICMP, 8) => Some(0),
        (ICMP, 13 | 15 | 17) => Some(icmp_type + 1),
        // echo, node information
        (ICMP6, 128 | 139) => Some(icmp_type + 1),
        _ => None,
    }
}

#[derive(Clone, Debug)]
struct Session {
    key: Key,
    epoch: u16,
    last_active: u64,
    /// TCP flags seen outward and inward.
    flags_seen: [u8; 2],
}

impl Session {
    fn timeout(&self) -> u64 {
        let interesting = FIN | SYN | RST | ACK;
        match self.key.proto {
            TCP if self.flags_seen.map(|f| f & interesting) == [SYN | ACK; 2] => TCP_IDLE_NS,
            TCP => TCP_TRANSIENT_NS,
            // Everything but TCP lives as long as idle UDP.
            _ => UDP_IDLE_NS,
        }
    }
}

/// A session as shown to people and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDetails {
    pub sw_if_index: u32,
    /// Direction of the packet that made it.
    pub is_input: bool,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub proto: u8,
    pub ports: (u16, u16),
    /// Nanoseconds on the caller's clock.
    pub last_active: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    pool: Pool<Session>,
    by_key: HashMap<Key, u32>,
}

impl Sessions {
    pub fn find(&self, sw_if_index: u32, is_input: bool, tuple: &Tuple) -> Option<u32> {
        self.by_key.get(&Key::new(sw_if_index, is_input, tuple)).copied()
    }

    pub fn track(&mut self, id: u32, is_input: bool, tuple: &Tuple, now: u64) {
        if let Some(session) = self.pool.get_mut(id) {
            session.last_active = now;
            session.flags_seen[usize::from(is_input)] |= tuple.tcp_flags.unwrap_or(0);
        }
    }

    /// Whether the packet goes the way that made the session, and the lists have changed since.
    pub fn is_stale(&self, id: u32, is_input: bool, epoch: u16) -> bool {
        self.pool
            .get(id)
            .is_some_and(|s| s.key.is_input == is_input && s.epoch != epoch)
    }

    /// None when the table is full.
    pub fn add(
        &mut self,
        sw_if_index: u32,
        is_input: bool,
        tuple: &Tuple,
        epoch: u16,
        now: u64,
    ) -> Option<u32> {
        if self.pool.len() >= MAX_SESSIONS {
            return None;
        }
        let key = Key::new(sw_if_index, is_input, tuple);
        let id = self.pool.insert(Session {
            key,
            epoch,
            last_active: now,
            flags_seen: [0, 0],
        });
        if let Some(reverse) = key.reversed() {
            self.by_key.insert(reverse, id);
        }
        self.by_key.insert(key, id);
        self.track(id, is_input, tuple, now);
        Some(id)
    }

    pub fn remove(&mut self, id: u32) {
        let Some(session) = self.pool.remove(id) else {
            return;
        };
        for key in [Some(session.key), session.key.reversed()] {
            if let Some(key) = key
                && self.by_key.get(&key) == Some(&id)
            {
                self.by_key.remove(&key);
            }
        }
    }

    fn remove_where(&mut self, gone: impl Fn(&Session) -> bool) {
        let ids: Vec<u32> = self
            .pool
            .iter()
            .filter(|(_, s)| gone(s))
            .map(|(id, _)| id)
            .collect();
        for id in ids {
            self.remove(id);
        }
    }

    pub fn clear_interface(&mut self, sw_if_index: u32) {
        self.remove_where(|s| s.key.sw_if_index == sw_if_index);
    }

    /// Ends sessions that were idle for longer than their timeout.
    pub fn tick(&mut self, now: u64) {
        self.remove_where(|s| s.last_active.saturating_add(s.timeout()) < now);
    }

    pub fn list(&self) -> Vec<SessionDetails> {
        self.pool
            .iter()
            .map(|(_, s)| SessionDetails {
                sw_if_index: s.key.sw_if_index,
                is_input: s.key.is_input,
                src: s.key.src,
                dst: s.key.dst,
                proto: s.key.proto,
                ports: s.key.ports,
                last_active: s.last_active,
            })
            .collect()
    }
}
