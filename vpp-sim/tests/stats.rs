//! The stats segment, read by the project's own reader over the socket, and its bytes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use vpp_api::Client;
use vpp_api::messages::interface::{CreateLoopback, DeleteLoopback, SwInterfaceSetFlags};
use vpp_api::messages::tapv2::TapCreateV3;
use vpp_api::stats::{Stats, Value};
use vpp_api::types::{IfStatusFlags, NO_INDEX};
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, spawn};
use vpp_sim::stats::StatsSocketError;
use vpp_sim::stats::segment::{Content, Entry, SIZE, Segment, SegmentError};

/// A dataplane with a tap that is up, and its statistics.
async fn start() -> (tempfile::TempDir, Handle, Client, u32) {
    let directory = tempfile::tempdir().unwrap();
    let mut server = spawn(Config::default(), directory.path().join("api.sock")).unwrap();
    server.serve_stats(directory.path().join("stats.sock")).unwrap();
    let client = Client::connect(server.socket(), "test").await.unwrap();
    let tap = TapCreateV3 {
        id: NO_INDEX,
        ..TapCreateV3::default()
    };
    let sw_if_index = client.call(tap).await.unwrap().sw_if_index;
    let flags = IfStatusFlags(1);
    client
        .call(SwInterfaceSetFlags { sw_if_index, flags })
        .await
        .unwrap();
    (directory, server, client, sw_if_index)
}

/// Waits for the segment to show what was done.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not seen in the segment");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn packets_and_drops_are_counted() {
    let (directory, server, _client, tap) = start().await;
    let mut stats = Stats::connect(directory.path().join("stats.sock")).unwrap();
    // To nobody on this link.
    let frame = [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0][..], &[0; 50]].concat();
    for _ in 0..3 {
        server.inject(tap, &frame);
    }
    let counted = eventually(|| {
        let all = stats.interfaces().unwrap();
        all.get(&tap).filter(|one| one.rx.packets == 3).cloned()
    });
    assert_eq!(counted.name, "tap0");
    assert_eq!((counted.rx.bytes, counted.drops), (3 * 64, 3));
    assert_eq!((counted.tx.packets, counted.tx_errors), (0, 0));
    let errors = stats.errors().unwrap();
    assert_eq!(
        errors.get("ethernet-input/l3 mac mismatch"),
        Some(&3),
        "{errors:?}"
    );
    let link = stats.value("/interfaces/tap0/rx").unwrap().unwrap();
    assert_eq!(link.sum(), 3);
    let boot = stats.value("/sys/boottime").unwrap().unwrap().sum();
    assert!(boot > 1_600_000_000, "{boot}");
    let Some(Value::Scalar(beat)) = stats.value("/sys/heartbeat").unwrap() else {
        panic!("no heartbeat");
    };
    eventually(|| (stats.value("/sys/heartbeat").unwrap()?.sum() > beat).then_some(()));
}

#[tokio::test]
async fn interfaces_come_and_go() {
    let (directory, _server, client, tap) = start().await;
    let mut stats = Stats::connect(directory.path().join("stats.sock")).unwrap();
    let made = client.call(CreateLoopback::default()).await.unwrap().sw_if_index;
    let names = eventually(|| {
        let all = stats.interfaces().unwrap();
        all.contains_key(&made).then_some(all)
    });
    assert_eq!(names[&made].name, "loop0");
    assert!(names.contains_key(&tap));
    client.call(DeleteLoopback { sw_if_index: made }).await.unwrap();
    eventually(|| (!stats.interfaces().unwrap().contains_key(&made)).then_some(()));
    // As in VPP, its column stays.
    let Some(Value::Names(names)) = stats.value("/if/names").unwrap() else {
        panic!("no names");
    };
    assert_eq!(names.last().cloned().flatten().as_deref(), Some("deleted"));
    assert_eq!(stats.value("/interfaces/loop0/rx").unwrap(), None);
}

#[tokio::test]
async fn the_socket_is_its_own_and_goes() {
    let (directory, server, _client, _) = start().await;
    let path = directory.path().join("stats.sock");
    let mut second = spawn(Config::default(), directory.path().join("second.sock")).unwrap();
    let refused = second.serve_stats(&path).unwrap_err();
    assert!(
        matches!(refused, StatsSocketError::ActiveListener(_)),
        "{refused}"
    );
    let mut stats = Stats::connect(&path).unwrap();
    drop(server);
    assert!(!path.exists());
    assert!(Stats::connect(&path).is_err());
    // The memory stays readable, and stands still.
    let beat = stats.value("/sys/heartbeat").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stats.value("/sys/heartbeat").unwrap(), beat);
}

fn words(file: &File, at: u64, count: usize) -> Vec<u64> {
    let mut bytes = vec![0; count * 8];
    file.read_exact_at(&mut bytes, at).unwrap();
    let words = bytes.chunks_exact(8);
    words
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect()
}

/// Offsets and sizes of `vlib/stats/shared.h`.
#[test]
fn bytes_are_where_vpp_has_them() {
    let mut segment = Segment::new().unwrap();
    let file = File::from(segment.descriptor().try_clone_to_owned().unwrap());
    assert_eq!(file.metadata().unwrap().len(), SIZE);
    let entries = |count| {
        vec![
            Entry::new("/sys/heartbeat", Content::Scalar(77)),
            Entry::new("/if/drops", Content::Simple(vec![5, count])),
            Entry::new("/err/node/error", Content::Link { entry: 1, column: 1 }),
        ]
    };
    segment.update(entries(6)).unwrap();
    let header = words(&file, 0, 6);
    let [version, base, epoch, in_progress, directory, legacy] = header[..] else {
        panic!("{header:?}");
    };
    assert_eq!((version, in_progress, legacy), (2, 0, 0));
    let at = directory - base;
    assert_eq!(
        words(&file, at - 8, 1)[0] & 0xffff_ffff,
        3,
        "length of the vector"
    );
    let entry = |n: u64| words(&file, at + n * 144, 2);
    assert_eq!(entry(0), [1, 77]);
    assert_eq!(entry(1)[0], 2);
    assert_eq!(entry(2), [6, 1 | (1 << 32)]);
    let mut name = [0xff; 128];
    file.read_exact_at(&mut name, at + 16).unwrap();
    assert_eq!(&name[..15], b"/sys/heartbeat\0");
    assert!(name[15..].iter().all(|byte| *byte == 0));
    let threads = entry(1)[1] - base;
    assert_eq!(words(&file, threads - 8, 1)[0] & 0xffff_ffff, 1, "threads");
    let counts = words(&file, threads, 1)[0] - base;
    assert_eq!(words(&file, counts - 8, 1)[0] & 0xffff_ffff, 2, "indices");
    assert_eq!(words(&file, counts, 2), [5, 6]);
    // A value changes in place, the epoch stays.
    segment.update(entries(9)).unwrap();
    assert_eq!(
        (words(&file, counts, 2), words(&file, 16, 1)[0]),
        (vec![5, 9], epoch)
    );
    // One more index is another directory; what was there stays for those who still walk it.
    segment
        .update(vec![Entry::new("/if/drops", Content::Simple(vec![1, 2, 3]))])
        .unwrap();
    assert_eq!(words(&file, 16, 1)[0], epoch + 1);
    assert_ne!(words(&file, 32, 1)[0], directory);
    assert_eq!(words(&file, counts, 2), [5, 9]);
}

#[test]
fn a_full_segment_keeps_what_it_had() {
    let mut segment = Segment::new().unwrap();
    segment
        .update(vec![Entry::new("/a", Content::Scalar(1))])
        .unwrap();
    let many = vec![Entry::new("/b", Content::Simple(vec![0; 4 << 20]))];
    let full = segment.update(many).unwrap_err();
    assert!(matches!(full, SegmentError::Full(_)), "{full}");
    let mut stats = Stats::from_file(File::from(segment.descriptor().try_clone_to_owned().unwrap())).unwrap();
    assert_eq!(stats.names().unwrap(), ["/a"]);
}

#[test]
fn the_program_serves_it_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_vpp-sim"))
        .arg("--api-socket")
        .arg(path("api.sock"))
        .arg("--stats-socket")
        .arg(path("stats.sock"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let names = eventually(|| Stats::connect(path("stats.sock")).ok()?.interfaces().ok());
    assert_eq!(names[&0].name, "local0");
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!path("stats.sock").exists());
}
