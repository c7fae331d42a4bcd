//! The stats reader against segments written by hand in the layout of VPP 26.06, whole and broken.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vpp_api::stats::{Combined, Histogram, Stats, StatsError, Value};

const BASE: u64 = 0x1_3000_0000;
const EPOCH_AT: u64 = 16;
const IN_PROGRESS_AT: u64 = 24;
const DIRECTORY_AT: u64 = 32;

/// A segment under construction.
struct Memory {
    bytes: Vec<u8>,
}

impl Memory {
    /// Header of version 2, epoch 7, nothing in progress, no directory; the legacy error vector is absent.
    fn new() -> Self {
        let words = [2, BASE, 7, 0, 0, 0, 0, 0];
        Self {
            bytes: words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect(),
        }
    }

    /// A vector as recorded: `f20e0000 02031800` before 3826 elements.
    fn vector(&mut self, length: u32, content: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend([0x02, 0x03, 0x18, 0x00]);
        let pointer = BASE + self.bytes.len() as u64;
        self.bytes.extend(content);
        pointer
    }

    fn words(&mut self, words: &[u64]) -> u64 {
        let content: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.vector(words.len() as u32, &content)
    }

    fn pairs(&mut self, pairs: &[(u64, u64)]) -> u64 {
        let content: Vec<u8> = pairs
            .iter()
            .flat_map(|p| [p.0, p.1])
            .flat_map(u64::to_le_bytes)
            .collect();
        self.vector(pairs.len() as u32, &content)
    }

    fn directory(&mut self, entries: &[(u32, u64, &str)]) {
        let mut content = Vec::new();
        for (kind, union, name) in entries {
            content.extend(kind.to_le_bytes());
            content.extend([0xaa; 4]);
            content.extend(union.to_le_bytes());
            let mut name = name.as_bytes().to_vec();
            name.resize(128, 0);
            content.extend(name);
        }
        assert_eq!(content.len(), entries.len() * 144);
        let pointer = self.vector(entries.len() as u32, &content);
        self.put(DIRECTORY_AT, pointer);
    }

    fn put(&mut self, at: u64, word: u64) {
        let at = usize::try_from(at).unwrap();
        self.bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }

    fn file(&self) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&self.bytes, 0).unwrap();
        file
    }

    fn stats(&self) -> Stats {
        Stats::from_file(self.file()).unwrap()
    }
}

/// Two threads, of which the second knows fewer interfaces; interface 1 is deleted.
fn sample() -> Memory {
    let mut memory = Memory::new();
    let names = [&b"local0\0"[..], b"deleted\0", b"tap0\0"].map(|n| memory.vector(n.len() as u32, n));
    let names = memory.words(&[names[0], names[1], names[2], 0]);
    let rx = [
        memory.pairs(&[(0, 0), (9, 9), (5, 500), (0, 0)]),
        memory.pairs(&[(0, 0), (9, 9), (2, 120)]),
    ];
    let rx = memory.words(&rx);
    let drops = [memory.words(&[0, 4, 3]), memory.words(&[]), 0];
    let drops = memory.words(&drops);
    let errors = [memory.words(&[10, 0, 30]), memory.words(&[1, 0, 3])];
    let errors = memory.words(&errors);
    let bins = [memory.words(&[4, 1, 2, 3])];
    let bins = memory.words(&bins);
    let link = |entry: u64, column: u64| entry | (column << 32);
    memory.directory(&[
        (1, 41, "/sys/heartbeat"),
        (9, 17, "/sys/last_update"),
        (5, 3, ""),
        (4, names, "/if/names"),
        (3, rx, "/if/rx"),
        (2, drops, "/if/drops"),
        (2, errors, "/node/errors"),
        (6, link(6, 0), "/err/ip4-input/ttl expired"),
        (6, link(6, 1), "/err/ip4-input/too short"),
        (6, link(4, 2), "/interfaces/tap0/rx"),
        (7, bins, "/sys/histogram"),
        (8, 1 << 60, "/sys/ring"),
        (3, 0, "/net/route/to"),
        (0, 0, "/illegal"),
    ]);
    memory
}

#[test]
fn each_kind_is_read() {
    let mut stats = sample().stats();
    assert_eq!(
        stats.names().unwrap(),
        [
            "/sys/heartbeat",
            "/sys/last_update",
            "/if/names",
            "/if/rx",
            "/if/drops",
            "/node/errors",
            "/err/ip4-input/ttl expired",
            "/err/ip4-input/too short",
            "/interfaces/tap0/rx",
            "/sys/histogram",
            "/sys/ring",
            "/net/route/to"
        ]
    );
    let mut value = |name: &str| stats.value(name).unwrap();
    let combined = |packets, bytes| Combined { packets, bytes };
    assert_eq!(value("/sys/heartbeat"), Some(Value::Scalar(41)));
    assert_eq!(value("/sys/last_update"), Some(Value::Gauge(17)));
    let names = ["local0", "deleted", "tap0"].map(|name| Some(name.to_owned()));
    let names = names.into_iter().chain([None]).collect();
    assert_eq!(value("/if/names"), Some(Value::Names(names)));
    assert_eq!(
        value("/if/drops"),
        Some(Value::Simple(vec![vec![0, 4, 3], vec![], vec![]]))
    );
    assert_eq!(
        value("/interfaces/tap0/rx"),
        Some(Value::Combined(vec![
            vec![combined(5, 500)],
            vec![combined(2, 120)]
        ]))
    );
    assert_eq!(
        value("/sys/histogram"),
        Some(Value::Histogram(vec![Histogram {
            least_exponent: 4,
            bins: vec![1, 2, 3]
        }]))
    );
    assert_eq!(value("/sys/ring"), Some(Value::Unknown(8)));
    assert_eq!(value("/net/route/to"), Some(Value::Combined(vec![])));
    assert_eq!(value("/none"), None);
}

#[test]
fn interfaces_and_errors_are_summed_over_threads() {
    let mut stats = sample().stats();
    let interfaces = stats.interfaces().unwrap();
    assert_eq!(
        interfaces.keys().copied().collect::<Vec<_>>(),
        [0, 2],
        "1 is deleted"
    );
    let tap = &interfaces[&2];
    assert_eq!((tap.name.as_str(), tap.drops), ("tap0", 3));
    assert_eq!((tap.rx.packets, tap.rx.bytes), (7, 620));
    let errors: Vec<_> = stats.errors().unwrap().into_iter().collect();
    assert_eq!(errors, [("ip4-input/ttl expired".to_owned(), 11)]);
}

#[test]
fn values_change_within_an_epoch() {
    let memory = sample();
    let file = memory.file();
    let mut stats = Stats::from_file(file.try_clone().unwrap()).unwrap();
    assert_eq!(stats.value("/sys/heartbeat").unwrap(), Some(Value::Scalar(41)));
    let pointer = u64::from_le_bytes(memory.bytes[32..40].try_into().unwrap());
    file.write_all_at(&42u64.to_le_bytes(), pointer - BASE + 8)
        .unwrap();
    assert_eq!(stats.value("/sys/heartbeat").unwrap(), Some(Value::Scalar(42)));
}

#[test]
fn another_version_is_refused() {
    let mut memory = sample();
    memory.put(0, 3);
    let refused = Stats::from_file(memory.file()).unwrap_err();
    assert!(matches!(refused, StatsError::Version(3)), "{refused}");
}

#[test]
fn a_change_that_never_ends_is_given_up() {
    let mut memory = sample();
    memory.put(IN_PROGRESS_AT, 1);
    let started = Instant::now();
    let refused = Stats::from_file(memory.file()).unwrap_err();
    assert!(matches!(refused, StatsError::Busy), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

/// Pointers and lengths that would lead out of the segment.
#[test]
fn a_segment_that_contradicts_itself_is_an_error() {
    let broken = |change: &dyn Fn(&mut Memory)| {
        let mut memory = sample();
        change(&mut memory);
        let mut stats = match Stats::from_file(memory.file()) {
            Ok(stats) => stats,
            Err(error) => return error,
        };
        stats.read(|_| true).unwrap_err()
    };
    let far = |at: u64| move |memory: &mut Memory| memory.put(DIRECTORY_AT, at);
    for pointer in [1, BASE - 8, BASE + 4, BASE + (1 << 40), u64::MAX] {
        let error = broken(&far(pointer));
        assert!(matches!(error, StatsError::Corrupt(_)), "{pointer:#x}: {error}");
    }
    let directory = |memory: &Memory| {
        usize::try_from(u64::from_le_bytes(memory.bytes[32..40].try_into().unwrap()) - BASE).unwrap()
    };
    let long = broken(&|memory| {
        let at = directory(memory) - 8;
        memory.bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    });
    assert!(matches!(long, StatsError::Corrupt(_)), "{long}");
    let dangling = broken(&|memory| {
        let at = directory(memory) as u64 + 9 * 144 + 8;
        memory.put(at, 999);
    });
    assert!(dangling.to_string().contains("leads nowhere"), "{dangling}");
}

/// Many pointers to one long vector: the copy must not become larger than the segment by orders of magnitude.
#[test]
fn repetition_does_not_fill_our_memory() {
    let mut memory = Memory::new();
    let long = memory.words(&vec![1; 10_000]);
    let many = memory.words(&vec![long; 10_000]);
    memory.directory(&[(2, many, "/node/errors")]);
    let error = memory.stats().read(|_| true).unwrap_err();
    assert!(error.to_string().contains("repetition"), "{error}");
}

/// A writer that gives all counters another value in each change, and leaves rubbish while it does: what is read is of
/// one state.
#[test]
fn a_changing_directory_is_never_mixed() {
    const COUNTERS: usize = 24;
    let mut memory = Memory::new();
    let names: Vec<_> = (0..COUNTERS).map(|n| format!("/counter/{n:02}")).collect();
    let mut places = Vec::new();
    let mut entries = Vec::new();
    for name in &names {
        let counts = memory.words(&[7]);
        places.push(counts - BASE);
        entries.push((2, memory.words(&[counts]), name.as_str()));
    }
    memory.directory(&entries);
    let directory = u64::from_le_bytes(memory.bytes[32..40].try_into().unwrap());
    let file = memory.file();
    let mut stats = Stats::from_file(file.try_clone().unwrap()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let writer = std::thread::spawn(move || {
        let put = |at, word: u64| file.write_all_at(&word.to_le_bytes(), at).unwrap();
        let mut epoch = 7;
        while !stopped.load(Ordering::Relaxed) {
            put(IN_PROGRESS_AT, 1);
            put(DIRECTORY_AT, BASE + (1 << 40));
            epoch += 1;
            places.iter().for_each(|place| put(*place, epoch));
            put(DIRECTORY_AT, directory);
            put(EPOCH_AT, epoch);
            put(IN_PROGRESS_AT, 0);
            std::thread::sleep(Duration::from_micros(500));
        }
        epoch
    });
    let mut states = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let values = stats.read(|_| true).unwrap();
        assert_eq!(values.len(), COUNTERS);
        let counts: std::collections::BTreeSet<_> = values.values().map(Value::sum).collect();
        assert_eq!(counts.len(), 1, "two states in one read: {counts:?}");
        states.extend(counts);
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(states.len() > 10, "it changed while it was read");
}

#[test]
fn an_absent_socket_is_named() {
    let error = Stats::connect("/nonexistent/stats.sock").unwrap_err();
    assert!(matches!(error, StatsError::Connect { .. }), "{error}");
    assert!(error.to_string().contains("/nonexistent/stats.sock"), "{error}");
}
