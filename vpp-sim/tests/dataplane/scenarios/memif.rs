//! memif with another dataplane: an embedded one of this process, in either role.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vpp_api::messages::interface::{CreateLoopback, SwInterfaceAddDelAddress, SwInterfaceSetFlags};
use vpp_api::messages::ip::IpRouteAddDelV2;
use vpp_api::messages::memif::{
    MemifCreateV2, MemifDelete, MemifDetails, MemifDump, MemifMode, MemifRole, MemifSocketFilenameAddDelV2,
};
use vpp_api::types::{FibPath, IfStatusFlags, IpRouteV2, MacAddress};
use vpp_api::{Client, Request, Retval};
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, Identity, spawn_with_memif};

use crate::bed::Bed;
use crate::packets;
use crate::pods::addr;

const SOCKET: u32 = 0x7e58;
const ID: u32 = 5;
/// Longer than a slave waits until it knocks again.
const PATIENCE: Duration = Duration::from_secs(15);

/// A socket in a directory that both dataplanes see.
struct Socket {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Socket {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::tempdir().unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            path: directory.path().join(format!("memif-{number}.sock")),
            _directory: directory,
        }
    }

    fn change(&self, is_add: bool) -> MemifSocketFilenameAddDelV2 {
        MemifSocketFilenameAddDelV2 {
            is_add,
            socket_id: SOCKET,
            socket_filename: self.path.display().to_string(),
        }
    }
}

fn create(is_master: bool, mode: MemifMode) -> MemifCreateV2 {
    MemifCreateV2 {
        role: if is_master {
            MemifRole::MEMIF_ROLE_API_MASTER
        } else {
            MemifRole::MEMIF_ROLE_API_SLAVE
        },
        mode,
        rx_queues: 1,
        tx_queues: 1,
        id: ID,
        socket_id: SOCKET,
        ring_size: 64,
        // A packet of an Ethernet's length takes several.
        buffer_size: 256,
        no_zero_copy: true,
        secret: "s3cret".into(),
        ..MemifCreateV2::default()
    }
}

/// The other dataplane: 198.18.16.2 on the memif, and 198.18.2.1 behind it.
struct Other {
    _server: Handle,
    client: Client,
    _directory: tempfile::TempDir,
}

impl Other {
    fn start(bed: &Bed, socket: &Socket) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let api = directory.path().join("api.sock");
        let config = Config {
            seed: 11,
            ..Config::default()
        };
        let server = spawn_with_memif(config, Identity::default(), &api).unwrap();
        let client = bed
            .runtime
            .block_on(Client::connect(&api, "dataplane-test-other"))
            .unwrap();
        let other = Self {
            _server: server,
            client,
            _directory: directory,
        };
        let loopback = other.call(bed, CreateLoopback::default()).sw_if_index;
        other.up(bed, loopback);
        other.address(bed, loopback, "198.18.2.1/24");
        other.call(bed, socket.change(true));
        other
    }

    fn call<R: Request>(&self, bed: &Bed, request: R) -> R::Reply {
        bed.runtime.block_on(self.client.call(request)).unwrap()
    }

    fn up(&self, bed: &Bed, sw_if_index: u32) {
        let flags = IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP;
        self.call(bed, SwInterfaceSetFlags { sw_if_index, flags });
    }

    fn address(&self, bed: &Bed, sw_if_index: u32, prefix: &str) {
        let prefix = prefix.parse().unwrap();
        let request = SwInterfaceAddDelAddress {
            sw_if_index,
            is_add: true,
            del_all: false,
            prefix,
        };
        self.call(bed, request);
    }

    fn join(&self, bed: &Bed, request: MemifCreateV2) -> u32 {
        // The same when it comes again: it is known as a neighbour by then.
        let request = MemifCreateV2 {
            hw_addr: MacAddress([2, 9, 9, 9, 9, 3]),
            ..request
        };
        // A command that another test starts has this process's descriptors, a closed listener among them, until it runs.
        let deadline = Instant::now() + PATIENCE;
        let sw_if_index = loop {
            match bed.runtime.block_on(self.client.call(request.clone())) {
                Ok(reply) => break reply.sw_if_index,
                Err(error) if error.retval() == Some(Retval(-14)) && Instant::now() < deadline => {
                    sleep(Duration::from_millis(20));
                }
                Err(error) => panic!("{error}"),
            }
        };
        self.up(bed, sw_if_index);
        self.address(bed, sw_if_index, "198.18.16.2/24");
        sw_if_index
    }

    fn route_back(&self, bed: &Bed, sw_if_index: u32, is_add: bool) {
        let route = IpRouteV2 {
            prefix: "198.18.1.0/24".parse().unwrap(),
            paths: vec![FibPath::via(sw_if_index, addr("198.18.16.1"))],
            ..IpRouteV2::default()
        };
        let request = IpRouteAddDelV2 {
            is_add,
            is_multipath: false,
            route,
        };
        self.call(bed, request);
    }
}

impl Bed {
    fn memif(&self, sw_if_index: u32) -> MemifDetails {
        let shown = self.dump(MemifDump {});
        let own = shown.into_iter().find(|each| each.sw_if_index == sw_if_index);
        own.unwrap()
    }

    /// Waits until the interface's flags are these.
    fn memif_becomes(&self, sw_if_index: u32, flags: u32) -> bool {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.memif(sw_if_index).flags.0 == flags {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// The TTL of the first answer to echo requests with so many bytes; the first may be lost to ARP.
    fn echo_across(&mut self, from: &str, to: &str, size: usize) -> Option<u8> {
        let (to, deadline) = (addr(to), Instant::now() + PATIENCE);
        let source = self.pod_address(from, to);
        while Instant::now() < deadline {
            let id = self.port();
            let mut got = self.send(from, &packets::echo(source, to, id, true, 64, size));
            for _ in 0..10 {
                let answer = got
                    .iter()
                    .find(|(pod, seen)| pod == from && seen.proto == 1 && (seen.id, seen.src) == (id, to));
                if let Some((_, seen)) = answer {
                    assert_eq!(seen.l4.len(), 8 + size);
                    return Some(seen.ttl);
                }
                sleep(Duration::from_millis(5));
                self.settle();
                got = std::mem::take(&mut self.inbox);
            }
        }
        None
    }
}

/// A pod's packets go to the other dataplane and come back, whatever their length.
fn pods_talk(bed: &mut Bed, is_master: bool, mode: MemifMode) {
    bed.node(1);
    let socket = Socket::new();
    bed.call(socket.change(true));
    bed.undo_by("socket", socket.change(false));
    let sw_if_index = bed.call(create(is_master, mode)).sw_if_index;
    bed.undo_by("memif", MemifDelete { sw_if_index });
    bed.tag(sw_if_index);
    bed.admin(sw_if_index, true);
    bed.address(sw_if_index, "198.18.16.1/24");
    bed.route(
        "198.18.2.0/24",
        vec![FibPath::via(sw_if_index, addr("198.18.16.2"))],
    );
    let other = Other::start(bed, &socket);
    let theirs = other.join(bed, create(!is_master, mode));
    other.route_back(bed, theirs, true);
    assert!(bed.memif_becomes(sw_if_index, 3));
    for size in [0, 100, 256, 1400] {
        assert_eq!(bed.echo_across("w1", "198.18.2.1", size), Some(63), "{size}");
    }
    let own = bed.memif(sw_if_index);
    // A master's sizes are never filled in.
    let sizes = if is_master { (1, 0) } else { (64, 256) };
    assert_eq!((own.ring_size, own.buffer_size), sizes);

    // The other end goes, and comes again.
    other.route_back(bed, theirs, false);
    other.call(bed, MemifDelete { sw_if_index: theirs });
    assert!(bed.memif_becomes(sw_if_index, 1));
    let theirs = other.join(bed, create(!is_master, mode));
    other.route_back(bed, theirs, true);
    assert!(bed.memif_becomes(sw_if_index, 3));
    assert_eq!(bed.echo_across("w1", "198.18.2.1", 1000), Some(63));
}

pub fn a_memif_master_and_another_dataplane_talk(bed: &mut Bed) {
    pods_talk(bed, true, MemifMode::MEMIF_MODE_API_ETHERNET);
}

pub fn a_memif_slave_and_another_dataplane_talk(bed: &mut Bed) {
    pods_talk(bed, false, MemifMode::MEMIF_MODE_API_ETHERNET);
}

pub fn a_memif_carries_bare_ip_packets(bed: &mut Bed) {
    pods_talk(bed, true, MemifMode::MEMIF_MODE_API_IP);
}
