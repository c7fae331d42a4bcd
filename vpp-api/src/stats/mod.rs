//! The stats segment: VPP's counters in memory shared with whoever asks on its stats socket. No request reaches VPP's main
//! loop when they are read.
//!
//! Layout and protocol: VPP's `vlib/stats/shared.h` and `vpp-api/client/stat_client.c`, version 2. The segment is read by
//! `pread` on the descriptor that VPP passes, not by mapping it: memory that another process changes cannot be
//! referenced in safe Rust, and the copy is small beside the walk.

mod segment;
mod socket;
mod value;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use value::{Combined, Histogram, InterfaceCounters, Value};

use segment::{Directory, Fault, Segment, View};

/// The layout this reader knows.
pub const VERSION: u64 = 2;

/// How long VPP may be busy with its directory before we give up; it needs microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there are no statistics.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    /// The socket cannot be reached, or no descriptor came.
    #[error("stats socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The segment cannot be read.
    #[error("stats segment cannot be read")]
    Read(#[source] io::Error),
    /// This VPP has another layout.
    #[error("stats segment has version {0}, only {VERSION} is known")]
    Version(u64),
    /// VPP changed its directory all the time, or died while it did.
    #[error("stats segment was changing for more than {} s", PATIENCE.as_secs())]
    Busy,
    /// The segment contradicts itself while nobody changes it.
    #[error("stats segment: {0}")]
    Corrupt(String),
}

/// A connection to the statistics of one VPP.
///
/// Calls block for as long as a copy of memory takes, at worst a second when VPP is stuck in a change. After a restart of VPP the
/// old segment stays readable, but its `/sys/heartbeat` stands still: connect anew.
#[derive(Debug)]
pub struct Stats {
    segment: Segment,
    /// The directory and the epoch it is of.
    directory: Option<(u64, Directory)>,
}

impl Stats {
    /// Asks VPP for its segment; waits at most a second for it.
    ///
    /// # Errors
    /// [`StatsError::Connect`], [`StatsError::Version`], or that it cannot be read.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, StatsError> {
        let path = path.as_ref();
        let file = socket::receive(path, PATIENCE).map_err(|source| StatsError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Self::from_file(file)
    }

    /// A segment whose descriptor came another way.
    ///
    /// # Errors
    /// [`StatsError::Version`], or that it cannot be read.
    pub fn from_file(file: File) -> Result<Self, StatsError> {
        let segment = Segment::new(file).map_err(StatsError::Read)?;
        let mut stats = Self {
            segment,
            directory: None,
        };
        stats.consistent(|_, _| Ok(()))?;
        Ok(stats)
    }

    /// Names of all counters there are now, in VPP's order.
    ///
    /// # Errors
    /// [`StatsError`].
    pub fn names(&mut self) -> Result<Vec<String>, StatsError> {
        self.consistent(|_, directory| {
            let entries = directory.entries.iter().filter(|entry| entry.is_used());
            Ok(entries.map(|entry| entry.name.clone()).collect())
        })
    }

    /// All counters whose names are wanted, as they were at one moment of the directory; values change while they are read,
    /// so that a combined counter may be one packet ahead of its bytes.
    ///
    /// # Errors
    /// [`StatsError`].
    pub fn read(&mut self, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Value>, StatsError> {
        self.consistent(|view, directory| {
            let entries = directory.entries.iter().enumerate();
            entries
                .filter(|(_, entry)| entry.is_used() && wanted(&entry.name))
                .map(|(at, entry)| Ok((entry.name.clone(), view.value(directory, at)?)))
                .collect()
        })
    }

    /// One counter, if there is one of that name.
    ///
    /// # Errors
    /// [`StatsError`].
    pub fn value(&mut self, name: &str) -> Result<Option<Value>, StatsError> {
        Ok(self.read(|other| other == name)?.remove(name))
    }

    /// What the interfaces have counted, by `sw_if_index`, summed over threads; deleted ones are left out.
    ///
    /// # Errors
    /// [`StatsError`].
    pub fn interfaces(&mut self) -> Result<BTreeMap<u32, InterfaceCounters>, StatsError> {
        let values = self.read(|name| InterfaceCounters::PATHS.contains(&name))?;
        Ok(InterfaceCounters::collect(&values))
    }

    /// Error counters that are not zero, without `/err/`: `<node>/<error>`, summed over threads.
    ///
    /// # Errors
    /// [`StatsError`].
    pub fn errors(&mut self) -> Result<BTreeMap<String, u64>, StatsError> {
        const PREFIX: &str = "/err/";
        let values = self.read(|name| name.starts_with(PREFIX))?;
        let counted = values.into_iter().filter_map(|(name, value)| {
            let count = value.sum();
            (count > 0).then(|| (name[PREFIX.len()..].to_owned(), count))
        });
        Ok(counted.collect())
    }

    /// Walks the segment until no change of the directory came in between.
    ///
    /// VPP sets `in_progress`, edits, counts `epoch` up, clears `in_progress`. So what was read is of one state if nothing was in
    /// progress before, nothing is after, and the epoch is the same.
    fn consistent<T>(
        &mut self,
        walk: impl Fn(&mut View<'_>, &Directory) -> Result<T, Fault>,
    ) -> Result<T, StatsError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = self.segment.header().map_err(StatsError::from)?;
            if before.version != VERSION {
                return Err(StatsError::Version(before.version));
            }
            if before.in_progress == 0 {
                let mut view = self.segment.view(&before);
                let cached = self.directory.take().filter(|(epoch, _)| *epoch == before.epoch);
                let result = match cached {
                    Some((_, directory)) => view.refresh(directory),
                    None => view.directory(),
                }
                .and_then(|directory| Ok((walk(&mut view, &directory)?, directory)));
                let after = self.segment.header().map_err(StatsError::from)?;
                if after == before {
                    // Nothing changed meanwhile: a fault is one of the segment.
                    let (value, directory) = result?;
                    self.directory = Some((before.epoch, directory));
                    return Ok(value);
                }
            }
            if Instant::now() >= deadline {
                return Err(StatsError::Busy);
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl From<Fault> for StatsError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Read(error) => Self::Read(error),
            Fault::Corrupt(what) => Self::Corrupt(what),
        }
    }
}
