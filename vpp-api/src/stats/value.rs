//! What counters hold.

use std::collections::BTreeMap;

/// Packets and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Combined {
    /// Packets.
    pub packets: u64,
    /// Bytes, Ethernet headers included.
    pub bytes: u64,
}

impl std::ops::AddAssign for Combined {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

/// Counts by powers of two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Binary logarithm of the first bin's lower bound.
    pub least_exponent: u64,
    /// Events in each bin.
    pub bins: Vec<u64>,
}

/// The value of one counter. Outer vectors are by thread (0 is the main thread), inner ones by the counter's index; threads may
/// know different numbers of indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// One number.
    Scalar(u64),
    /// One number that goes up and down.
    Gauge(u64),
    /// Packets or events.
    Simple(Vec<Vec<u64>>),
    /// Packets and bytes.
    Combined(Vec<Vec<Combined>>),
    /// Names by index.
    Names(Vec<Option<String>>),
    /// By thread.
    Histogram(Vec<Histogram>),
    /// A kind this reader does not know (a ring buffer, or what later releases have).
    Unknown(u32),
}

impl Value {
    /// One column over all threads, as a link to it shows it; threads that do not know the index have counted nothing.
    pub(super) fn column(self, index: usize) -> Option<Self> {
        match self {
            Self::Simple(threads) => {
                let columns = threads.iter().map(|t| vec![t.get(index).copied().unwrap_or(0)]);
                Some(Self::Simple(columns.collect()))
            }
            Self::Combined(threads) => {
                let columns = threads
                    .iter()
                    .map(|t| vec![t.get(index).copied().unwrap_or_default()]);
                Some(Self::Combined(columns.collect()))
            }
            _ => None,
        }
    }

    /// All there is, added up: events, or the packets of a combined counter; 0 for names.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let add = |all: &mut dyn Iterator<Item = u64>| all.fold(0, u64::wrapping_add);
        match self {
            Self::Scalar(value) | Self::Gauge(value) => *value,
            Self::Simple(threads) => add(&mut threads.iter().flatten().copied()),
            Self::Combined(threads) => add(&mut threads.iter().flatten().map(|c| c.packets)),
            Self::Histogram(threads) => add(&mut threads.iter().flat_map(|h| &h.bins).copied()),
            Self::Names(_) | Self::Unknown(_) => 0,
        }
    }

    /// The sum over threads of a combined counter's index; nothing where it has no such index, or is no such counter.
    #[must_use]
    pub fn combined(&self, index: usize) -> Combined {
        let mut sum = Combined::default();
        if let Self::Combined(threads) = self {
            for counted in threads.iter().filter_map(|thread| thread.get(index)) {
                sum += *counted;
            }
        }
        sum
    }

    /// The sum over threads of a simple counter's index.
    fn simple(&self, index: usize) -> u64 {
        let Self::Simple(threads) = self else {
            return 0;
        };
        let counted = threads.iter().filter_map(|thread| thread.get(index));
        counted.fold(0, |sum, count| sum.wrapping_add(*count))
    }
}

/// What VPP calls an interface in `/if/names` that is gone.
const DELETED: &str = "deleted";

/// What one interface has counted since it was made or its counters were cleared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// VPP's name of it.
    pub name: String,
    /// Received.
    pub rx: Combined,
    /// Sent.
    pub tx: Combined,
    /// Packets received here and dropped somewhere in the graph.
    pub drops: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Packets the device received damaged.
    pub rx_errors: u64,
    /// Packets lost because nobody took them from the device in time.
    pub rx_misses: u64,
}

impl InterfaceCounters {
    pub(super) const PATHS: [&'static str; 7] = [
        "/if/names",
        "/if/rx",
        "/if/tx",
        "/if/drops",
        "/if/tx-error",
        "/if/rx-error",
        "/if/rx-miss",
    ];

    pub(super) fn collect(values: &BTreeMap<String, Value>) -> BTreeMap<u32, Self> {
        let Some(Value::Names(names)) = values.get("/if/names") else {
            return BTreeMap::new();
        };
        let simple = |path: &str, at| values.get(path).map_or(0, |value| value.simple(at));
        let combined = |path: &str, at| {
            values
                .get(path)
                .map(|value| value.combined(at))
                .unwrap_or_default()
        };
        let named = (0..).zip(names).enumerate();
        named
            .filter_map(|(at, (sw_if_index, name))| {
                let name = name.as_ref().filter(|name| *name != DELETED)?;
                let counters = Self {
                    name: name.clone(),
                    rx: combined("/if/rx", at),
                    tx: combined("/if/tx", at),
                    drops: simple("/if/drops", at),
                    tx_errors: simple("/if/tx-error", at),
                    rx_errors: simple("/if/rx-error", at),
                    rx_misses: simple("/if/rx-miss", at),
                };
                Some((sw_if_index, counters))
            })
            .collect()
    }
}
