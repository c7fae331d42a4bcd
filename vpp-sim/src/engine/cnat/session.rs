//! Sessions: keys of both directions that lead to one record of rewrites (`cnat_session.h`).
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::engine::pool::Pool;

const SECOND: u64 = 1_000_000_000;

/// Life of a session that is not known to be an established TCP connection.
pub(super) const SESSION_MAX_AGE_NS: u64 = 30 * SECOND;
/// After SYN+ACK was translated.
pub(super) const TCP_MAX_AGE_NS: u64 = 3600 * SECOND;
/// After FIN or RST was translated.
pub(super) const TCP_CLOSING_NS: u64 = 5 * SECOND;

/// Addresses and ports of one direction; for ICMP echo both ports are the identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub src_port: u16,
    pub dst_port: u16,
    pub proto: u8,
}

impl FiveTuple {
    pub fn swapped(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            proto: self.proto,
        }
    }
}

/// Where a rewrite is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Input,
    Output,
    /// At the virtual address's FIB entry.
    Fib,
}

/// What to make of a packet at a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewrite {
    pub tuple: FiveTuple,
    pub drop: bool,
    /// Forward to this backend without rewriting.
    pub no_nat: Option<IpAddr>,
    pub allocated_port: bool,
}

impl Rewrite {
    pub fn to(tuple: FiveTuple) -> Self {
        Self {
            tuple,
            drop: false,
            no_nat: None,
            allocated_port: false,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    /// The first packet's tuple.
    pub original: FiveTuple,
    pub forward: [Option<Rewrite>; 3],
    pub back: [Option<Rewrite>; 3],
    pub last_seen: u64,
    pub lifetime: u64,
    /// Which path of which translation it follows; 0 = none.
    pub tracker: u32,
    pub keys: Vec<(FiveTuple, u32)>,
}

impl Record {
    pub fn rewrite(&self, place: Place, is_return: bool) -> Option<Rewrite> {
        let side = if is_return { &self.back } else { &self.forward };
        side[place as usize]
    }
}

#[derive(Clone, Copy, Debug)]
struct Value {
    record: u32,
    is_return: bool,
}

/// The key of one direction of a session.
pub type SessionKeyDetails = FiveTuple;

/// A session as `cnat_session_dump` shows it: one entry a direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CnatSessionDetails {
    pub key: SessionKeyDetails,
    pub table_id: u32,
    pub ts_index: u32,
    /// 16 = return.
    pub flags: u32,
}

/// `CNAT_SESSION_IS_RETURN`.
const FLAG_RETURN: u32 = 1 << 4;

#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    records: Pool<Record>,
    by_key: HashMap<(FiveTuple, u32), Value>,
}

impl Sessions {
    /// The record of a packet, and whether it goes the return way; touches it.
    pub(super) fn find(&mut self, tuple: FiveTuple, table: u32, now: u64) -> Option<(u32, bool)> {
        let value = *self.by_key.get(&(tuple, table))?;
        self.records.get_mut(value.record)?.last_seen = now;
        Some((value.record, value.is_return))
    }

    pub(super) fn create(&mut self, tuple: FiveTuple, table: u32, now: u64) -> u32 {
        let record = self.records.insert(Record {
            original: tuple,
            forward: [None; 3],
            back: [None; 3],
            last_seen: now,
            lifetime: SESSION_MAX_AGE_NS,
            tracker: 0,
            keys: Vec::new(),
        });
        self.add_key(record, tuple, table, false);
        record
    }

    /// Adds (or takes over) a key.
    pub(super) fn add_key(&mut self, record: u32, tuple: FiveTuple, table: u32, is_return: bool) {
        let key = (tuple, table);
        self.by_key.insert(key, Value { record, is_return });
        if let Some(r) = self.records.get_mut(record)
            && !r.keys.contains(&key)
        {
            r.keys.push(key);
        }
    }

    pub(super) fn get(&self, record: u32) -> Option<&Record> {
        self.records.get(record)
    }

    pub(super) fn get_mut(&mut self, record: u32) -> Option<&mut Record> {
        self.records.get_mut(record)
    }

    /// Removes a record; the port it held.
    fn remove(&mut self, record: u32) -> Option<(u8, u16)> {
        let gone = self.records.remove(record)?;
        for key in gone.keys {
            if self.by_key.get(&key).is_some_and(|v| v.record == record) {
                self.by_key.remove(&key);
            }
        }
        gone.forward
            .into_iter()
            .flatten()
            .find(|rw| rw.allocated_port)
            .map(|rw| (rw.tuple.proto, rw.tuple.src_port))
    }

    /// Ends what was idle for longer than its life, or whose path is gone; protocol and number of the ports set free.
    pub fn tick(&mut self, now: u64, gone: &BTreeSet<u32>) -> Vec<(u8, u16)> {
        let old: Vec<u32> = self
            .records
            .iter()
            .filter(|(_, r)| r.last_seen.saturating_add(r.lifetime) < now || gone.contains(&r.tracker))
            .map(|(index, _)| index)
            .collect();
        old.into_iter().filter_map(|r| self.remove(r)).collect()
    }

    pub fn purge(&mut self) -> Vec<(u8, u16)> {
        let all: Vec<u32> = self.records.iter().map(|(index, _)| index).collect();
        all.into_iter().filter_map(|r| self.remove(r)).collect()
    }

    /// All keys, ordered by record, forward first.
    pub fn list(&self) -> Vec<CnatSessionDetails> {
        self.records
            .iter()
            .flat_map(|(index, record)| {
                record.keys.iter().filter_map(move |key| {
                    let value = self.by_key.get(key)?;
                    Some(CnatSessionDetails {
                        key: key.0,
                        table_id: key.1,
                        ts_index: index,
                        flags: if value.is_return { FLAG_RETURN } else { 0 },
                    })
                })
            })
            .collect()
    }
}
