//! Other ends of a memif that mean ill or are broken: it costs them their connection, and nobody else anything.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

#[path = "../engine_common/packets.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod packets;
#[path = "../memif/world.rs"]
mod world;

use std::fs::File;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, connect, sendmsg, socket_with,
};

use world::{MASTER, Node, SLAVE, create, eventually};

const ACK: u16 = 1;
const HELLO: u16 = 2;
const INIT: u16 = 3;
const ADD_REGION: u16 = 4;
const ADD_RING: u16 = 5;
const CONNECT: u16 = 6;
const CONNECTED: u16 = 7;
const DISCONNECT: u16 = 8;

/// A message with fields at their offsets (`memif.h`).
fn message(kind: u16, fields: &[(usize, &[u8])]) -> [u8; 128] {
    let mut bytes = [0; 128];
    bytes[..2].copy_from_slice(&kind.to_ne_bytes());
    for (at, field) in fields {
        bytes[*at..*at + field.len()].copy_from_slice(field);
    }
    bytes
}

fn init(version: u16, id: u32) -> [u8; 128] {
    message(INIT, &[(2, &version.to_ne_bytes()), (4, &id.to_ne_bytes())])
}

fn add_region(index: u16, size: u64) -> [u8; 128] {
    message(ADD_REGION, &[(2, &index.to_ne_bytes()), (4, &size.to_ne_bytes())])
}

fn add_ring(is_s2m: u16, index: u16, region: u16, offset: u32, log2_size: u8) -> [u8; 128] {
    message(
        ADD_RING,
        &[
            (2, &is_s2m.to_ne_bytes()),
            (4, &index.to_ne_bytes()),
            (6, &region.to_ne_bytes()),
            (8, &offset.to_ne_bytes()),
            (12, &[log2_size]),
        ],
    )
}

/// One end of a connection with a master.
struct Peer(OwnedFd);

impl Peer {
    fn connect(path: &Path) -> Self {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Self(socket)
    }

    /// Sends; whether the other end still takes it.
    fn say(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> bool {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if let Some(descriptor) = &descriptor {
            control.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
        }
        sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).is_ok()
    }

    /// The type of the next message, or that the other end has hung up.
    fn hear(&self) -> Option<u16> {
        let mut bytes = [0; 128];
        match nix::unistd::read(self.0.as_fd(), &mut bytes) {
            Ok(128) => Some(u16::from_ne_bytes([bytes[0], bytes[1]])),
            _ => None,
        }
    }

    /// Says all of it, each answered by one message, and listens until the other end hangs up.
    fn is_hung_up_on_after(&self, script: &[([u8; 128], Option<BorrowedFd<'_>>)]) -> bool {
        for (bytes, descriptor) in script {
            if !self.say(bytes, *descriptor) {
                break;
            }
        }
        let mut heard = 0;
        while self.hear().is_some() {
            heard += 1;
            assert!(heard < 100, "it goes on talking");
        }
        true
    }
}

/// A file of a length with a ring's cookie at its start.
fn memory(length: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(length).unwrap();
    file.write_all_at(&0x03e3_1f20u32.to_ne_bytes(), 0).unwrap();
    file
}

/// Descriptors are counted: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A node with master 3 and, joined with another node, master 4.
fn nodes(directory: &Path) -> (Node, Node) {
    let [mut master, mut slave] = [1, 2].map(|number| Node::start(directory, number));
    for (node, role) in [(&mut master, MASTER), (&mut slave, SLAVE)] {
        assert_eq!(node.socket("m.sock"), 0);
        node.join(create(role, 4));
    }
    let wanted = master.call(create(MASTER, 3)).sw_if_index;
    master.admin(wanted, true);
    assert!(eventually(|| master.is_up() && slave.is_up()));
    assert!(master.reaches(&slave, 100));
    (master, slave)
}

#[test]
fn each_message_out_of_place_ends_its_connection_and_no_other() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (master, slave) = nodes(directory.path());
    let path = directory.path().join("m.sock");
    let (good, small) = (memory(1 << 20), memory(64));
    let (good, small) = (good.as_fd(), small.as_fd());
    let (pipe, _kept) = io::pipe().unwrap();
    let pipe = pipe.as_fd();
    let hello = (init(0x0200, 3), None);
    let region = (add_region(0, 1 << 20), Some(good));
    let s2m = |region, offset, log2_size| (add_ring(1, 0, region, offset, log2_size), Some(pipe));
    let connect = (message(CONNECT, &[]), None);
    let scripts: Vec<Vec<([u8; 128], Option<BorrowedFd<'_>>)>> = vec![
        vec![(message(0, &[]), None)],
        vec![(message(ACK, &[]), None)],
        vec![(message(0xffff, &[]), None)],
        vec![(init(0x0100, 3), None)],
        vec![(init(0x0200, 99), None)],
        vec![(init(0x0200, 4), None)],
        vec![hello, (message(HELLO, &[]), None)],
        vec![hello, (message(CONNECTED, &[]), None)],
        vec![hello, (message(DISCONNECT, &[]), None)],
        vec![hello, hello],
        vec![hello, (add_region(0, 1 << 20), None)],
        vec![hello, (add_region(1, 1 << 20), Some(good))],
        vec![hello, (add_region(0, u64::MAX), Some(good))],
        vec![hello, (add_region(0, 65), Some(small))],
        vec![hello, (add_region(0, 0), Some(pipe))],
        vec![hello, region, (add_ring(1, 0, 0, 0, 4), None)],
        vec![hello, region, (add_ring(1, 1, 0, 0, 4), Some(pipe))],
        // Rings that are nowhere, too large, or not of this protocol.
        vec![hello, s2m(0, 0, 4), connect],
        vec![hello, region, s2m(1, 0, 4), connect],
        vec![hello, region, s2m(0, 1 << 20, 4), connect],
        vec![hello, region, s2m(0, 0, 15), connect],
        vec![hello, region, s2m(0, 0, 255), connect],
        vec![hello, region, s2m(0, 64, 4), connect],
        // Interrupts that cannot be waited for.
        vec![hello, region, (add_ring(1, 0, 0, 0, 4), Some(good)), connect],
        vec![hello, region, s2m(0, 0, 4), connect, connect],
    ];
    let before = open_descriptors();
    for (number, script) in scripts.iter().enumerate() {
        let peer = Peer::connect(&path);
        assert!(peer.is_hung_up_on_after(script), "{number}");
        drop(peer);
        assert!(master.is_up() && slave.is_up(), "{number}");
    }
    // Half messages, and ends in the middle.
    for cut in [0, 1, 127] {
        let peer = Peer::connect(&path);
        assert!(peer.say(&hello.0[..cut], None));
        let script = &[hello, region][..usize::from(cut == 1)];
        assert!(peer.is_hung_up_on_after(script), "{cut}");
    }
    for length in 0..4 {
        let peer = Peer::connect(&path);
        for (bytes, descriptor) in &[hello, region, s2m(0, 0, 4), connect][..length] {
            assert!(peer.say(bytes, *descriptor));
        }
    }
    assert!(eventually(|| open_descriptors() == before), "descriptors leak");
    assert!(master.reaches(&slave, 100) && slave.reaches(&master, 100));
}

#[test]
fn what_is_written_into_the_memory_later_harms_nobody_else() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (master, slave) = nodes(directory.path());
    let path = directory.path().join("m.sock");
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let before = open_descriptors();
    assert_eq!(master.server.fatal(), None);
    for round in 0..50u64 {
        let memory = memory(1 << 16);
        memory.write_all_at(&0x03e3_1f20u32.to_ne_bytes(), 4096).unwrap();
        let (bell, hears) = {
            let (read, write) = io::pipe().unwrap();
            (write, read)
        };
        let peer = Peer::connect(&path);
        let script = [
            (init(0x0200, 3), None),
            (add_region(0, 1 << 16), Some(memory.as_fd())),
            (add_ring(1, 0, 0, 0, 4), Some(hears.as_fd())),
            (add_ring(0, 0, 0, 4096, 4), Some(bell.as_fd())),
            (message(CONNECT, &[]), None),
        ];
        for (bytes, descriptor) in &script {
            assert!(peer.say(bytes, *descriptor));
        }
        // The greeting, four times yes, and connected.
        let heard: Vec<_> = (0..6).map(|_| peer.hear()).collect();
        assert_eq!(heard, [2, 1, 1, 1, 1, 7].map(Some), "round {round}");
        let mut garbage = vec![0; 4096 - 6];
        random.fill_bytes(&mut garbage);
        memory.write_all_at(&garbage, 6).unwrap();
        random.fill_bytes(&mut garbage);
        memory.write_all_at(&garbage, 4096 + 6).unwrap();
        if round % 5 == 4 {
            memory.set_len(0).unwrap();
        }
        // Some interrupts, then what is none.
        nix::unistd::write(bell.as_fd(), &1u64.to_ne_bytes()).unwrap();
        nix::unistd::write(bell.as_fd(), &[1, 2, 3]).unwrap();
        if round % 2 == 0 {
            assert!(peer.is_hung_up_on_after(&[]));
        }
    }
    assert!(eventually(|| open_descriptors() == before), "descriptors leak");
    assert!(master.reaches(&slave, 100) && slave.reaches(&master, 100));
    assert_eq!(master.server.fatal(), None);
}

#[test]
fn a_crowd_that_says_nothing_keeps_nobody_out() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let (master, mut slave) = nodes(directory.path());
    let path = directory.path().join("m.sock");
    let crowd: Vec<Peer> = (0..200).map(|_| Peer::connect(&path)).collect();
    slave.leave();
    slave.join(create(SLAVE, 4));
    assert!(eventually(|| master.is_up() && slave.is_up()));
    let hung_up_on = crowd.iter().filter(|peer| {
        assert_eq!(peer.hear(), Some(HELLO));
        let flags = rustix::fs::fcntl_getfl(&peer.0).unwrap();
        rustix::fs::fcntl_setfl(&peer.0, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        nix::unistd::read(peer.0.as_fd(), &mut [0; 128]) == Ok(0)
    });
    assert!(hung_up_on.count() >= 100);
}
