//! Which counters the engine keeps, under VPP's names.

use std::time::{SystemTime, UNIX_EPOCH};

use super::segment::{Content, Entry};
use crate::engine::{Counters, Interface, Vpp};

/// How VPP calls an interface that is gone.
const DELETED: &str = "deleted";

/// What is counted beside the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Collections so far.
    pub heartbeat: u64,
    /// Seconds since 1970 at the start.
    pub boot_time: u64,
    /// Seconds since the start at this collection.
    pub uptime: u64,
}

impl Clock {
    /// The clock of a dataplane that starts now.
    #[must_use]
    pub fn started() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            heartbeat: 0,
            boot_time: since.map_or(0, |since| since.as_secs()),
            uptime: 0,
        }
    }
}

/// What the engine has counted, taken under its lock.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By `sw_if_index`.
    interfaces: Vec<Option<(String, Counters)>>,
    /// (node, error, count).
    errors: Vec<(String, String, u64)>,
    /// Of packets that conform, exceed and violate, by policer.
    policed: [Vec<(u64, u64)>; 3],
    /// Flows opened, by index of the translation.
    translated: Vec<(u64, u64)>,
}

impl Snapshot {
    /// Copies the counters.
    #[must_use]
    pub fn of(vpp: &Vpp) -> Self {
        let mut snapshot = Self::default();
        for interface in vpp.interfaces() {
            let at = interface.sw_if_index as usize;
            if snapshot.interfaces.len() <= at {
                snapshot.interfaces.resize(at + 1, None);
            }
            snapshot.interfaces[at] = Some(counted(interface));
        }
        snapshot.errors = vpp
            .errors()
            .map(|(node, error, count)| (node.to_owned(), error.to_owned(), count))
            .collect();
        for (index, policer) in vpp.policers() {
            for (column, policed) in snapshot.policed.iter_mut().zip(policer.counters) {
                column.resize(index as usize + 1, (0, 0));
                column[index as usize] = (policed.packets, policed.bytes);
            }
        }
        for (id, opened) in vpp.cnat_opened() {
            snapshot.translated.resize(id as usize + 1, (0, 0));
            snapshot.translated[id as usize] = opened;
        }
        snapshot
    }

    /// Columns stay when interfaces go, as in VPP.
    pub fn keep_columns(&mut self, length: usize) -> usize {
        if self.interfaces.len() < length {
            self.interfaces.resize(length, None);
        }
        self.interfaces.len()
    }

    /// The directory. VPP's first three entries are the first here too.
    #[must_use]
    pub fn entries(&self, clock: Clock) -> Vec<Entry> {
        let mut entries = vec![
            Entry::new("/sys/heartbeat", Content::Scalar(clock.heartbeat)),
            Entry::new("/sys/last_stats_clear", Content::Scalar(0)),
            Entry::new("/sys/boottime", Content::Scalar(clock.boot_time)),
            Entry::new("/sys/last_update", Content::Gauge(clock.uptime)),
            Entry::new("/sys/num_worker_threads", Content::Scalar(0)),
        ];
        let name =
            |one: &Option<(String, Counters)>| one.as_ref().map_or(DELETED, |(name, _)| name).to_owned();
        entries.push(Entry::new(
            "/if/names",
            Content::Names(self.interfaces.iter().map(name).collect()),
        ));
        let counters: Vec<Counters> = self
            .interfaces
            .iter()
            .map(|one| {
                one.as_ref()
                    .map_or_else(Counters::default, |(_, counters)| *counters)
            })
            .collect();
        let simple = |value: fn(&Counters) -> u64| Content::Simple(counters.iter().map(value).collect());
        let combined =
            |value: fn(&Counters) -> (u64, u64)| Content::Combined(counters.iter().map(value).collect());
        let kept = [
            ("rx", combined(|c| (c.rx_packets, c.rx_bytes))),
            ("tx", combined(|c| (c.tx_packets, c.tx_bytes))),
            ("drops", simple(|c| c.drops)),
            ("tx-error", simple(|c| c.tx_errors)),
        ];
        for (counter, content) in kept {
            let target = entries.len() as u32;
            entries.push(Entry::new(format!("/if/{counter}"), content));
            for (column, one) in (0..).zip(&self.interfaces) {
                if let Some((name, _)) = one {
                    // A name must not look like a path.
                    let path = format!("/interfaces/{}/{counter}", name.replace('/', "_"));
                    let link = Content::Link {
                        entry: target,
                        column,
                    };
                    entries.push(Entry::new(path, link));
                }
            }
        }
        let target = entries.len() as u32;
        let counts = self.errors.iter().map(|(_, _, count)| *count).collect();
        entries.push(Entry::new("/node/errors", Content::Simple(counts)));
        for (column, (node, error, _)) in (0..).zip(&self.errors) {
            let link = Content::Link {
                entry: target,
                column,
            };
            entries.push(Entry::new(format!("/err/{node}/{error}"), link));
        }
        for (colour, counts) in ["conform", "exceed", "violate"].iter().zip(&self.policed) {
            let content = Content::Combined(counts.clone());
            entries.push(Entry::new(format!("/net/policer/{colour}"), content));
        }
        let content = Content::Combined(self.translated.clone());
        entries.push(Entry::new("/net/cnat-translation", content));
        entries
    }
}

fn counted(interface: &Interface) -> (String, Counters) {
    (interface.name.clone(), interface.counters)
}
