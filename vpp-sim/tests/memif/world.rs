//! Two dataplanes joined by a memif, each with a pod on a device that is played.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::path::Path;
use std::time::{Duration, Instant};

use vpp_api::messages::af_packet::{AfPacketCreateV3, AfPacketMode};
use vpp_api::messages::interface::{
    SwInterfaceAddDelAddress, SwInterfaceDetails, SwInterfaceDump, SwInterfaceSetFlags,
};
use vpp_api::messages::ip::IpRouteAddDelV2;
use vpp_api::messages::ip_neighbor::{IpNeighbor, IpNeighborAddDel, IpNeighborFlags};
use vpp_api::messages::memif::{
    MemifCreateV2, MemifDelete, MemifDetails, MemifDump, MemifMode, MemifRole, MemifSocketFilenameAddDelV2,
};
use vpp_api::types::{FibPath, IfStatusFlags, IpRouteV2, MacAddress, NO_INDEX};
use vpp_api::{Client, Request};
use vpp_sim::engine::{Config, Mac};
use vpp_sim::server::{Handle, Identity, spawn_with_memif};

use crate::packets;

pub const SOCKET: u32 = 7;
pub const POD_MAC: Mac = Mac([0x0a, 0, 0, 0, 0, 2]);
/// Longer than the slave's retry.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks until the answer is yes; whether it ever was.
pub fn eventually(mut ask: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if ask() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// A dataplane; its pod is 10.1.N.2, its end of the memif 10.3.0.N.
pub struct Node {
    number: u8,
    pub client: Client,
    pub runtime: tokio::runtime::Runtime,
    pub server: Handle,
    pub pod: u32,
    pub memif: u32,
}

impl Node {
    pub fn start(directory: &Path, number: u8) -> Self {
        let config = Config {
            seed: number.into(),
            runtime_dir: directory.display().to_string(),
            ..Config::default()
        };
        let api = directory.join(format!("api{number}.sock"));
        let server = spawn_with_memif(config, Identity::default(), &api).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(Client::connect(&api, "memif-test")).unwrap();
        let mut node = Self {
            number,
            client,
            runtime,
            server,
            pod: 0,
            memif: 0,
        };
        let device = AfPacketCreateV3 {
            mode: AfPacketMode::AF_PACKET_API_MODE_ETHERNET,
            use_random_hw_addr: true,
            host_if_name: "pod".into(),
            ..AfPacketCreateV3::default()
        };
        node.pod = node.call(device).sw_if_index;
        // Other lengths than a host device's are to pass as well.
        node.server
            .with_engine(|vpp, _| vpp.set_device_mtu(node.pod, None).unwrap());
        node.admin(node.pod, true);
        node.address(node.pod, &format!("10.1.{number}.1/24"));
        let neighbor = IpNeighbor {
            sw_if_index: node.pod,
            flags: IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC,
            mac_address: MacAddress(POD_MAC.0),
            ip_address: [10, 1, number, 2].into(),
        };
        node.call(IpNeighborAddDel {
            is_add: true,
            neighbor,
        });
        node
    }

    pub fn call<R: Request>(&self, request: R) -> R::Reply {
        self.runtime.block_on(self.client.call(request)).unwrap()
    }

    pub fn code<R: Request>(&self, request: R) -> i32 {
        match self.runtime.block_on(self.client.call(request)) {
            Ok(_) => 0,
            Err(error) => error.retval().unwrap_or_else(|| panic!("{error}")).0,
        }
    }

    pub fn admin(&self, sw_if_index: u32, up: bool) {
        let flags = IfStatusFlags(u32::from(up));
        self.call(SwInterfaceSetFlags { sw_if_index, flags });
    }

    pub fn address(&self, sw_if_index: u32, prefix: &str) {
        let prefix = prefix.parse().unwrap();
        self.call(SwInterfaceAddDelAddress {
            sw_if_index,
            is_add: true,
            del_all: false,
            prefix,
        });
    }

    pub fn socket(&self, name: &str) -> i32 {
        self.code(MemifSocketFilenameAddDelV2 {
            is_add: true,
            socket_id: SOCKET,
            socket_filename: name.to_owned(),
        })
    }

    /// The interface, up, and the route to the other node's pod through it.
    pub fn join(&mut self, request: MemifCreateV2) {
        self.memif = self.call(request).sw_if_index;
        self.admin(self.memif, true);
        self.address(self.memif, &format!("10.3.0.{}/24", self.number));
        self.route(true);
    }

    fn route(&self, is_add: bool) {
        let other = 3 - self.number;
        let next_hop = [10, 3, 0, other].into();
        let route = IpRouteV2 {
            prefix: format!("10.1.{other}.0/24").parse().unwrap(),
            paths: vec![FibPath::via(self.memif, next_hop)],
            ..IpRouteV2::default()
        };
        self.call(IpRouteAddDelV2 {
            is_add,
            is_multipath: false,
            route,
        });
    }

    /// The interface is taken away, after its route: one that is left behind stays unresolved.
    pub fn leave(&self) {
        self.route(false);
        self.call(MemifDelete {
            sw_if_index: self.memif,
        });
    }

    pub fn interface(&self, sw_if_index: u32) -> SwInterfaceDetails {
        let dump = SwInterfaceDump {
            sw_if_index: NO_INDEX,
            ..SwInterfaceDump::default()
        };
        let all = self.runtime.block_on(self.client.dump(dump)).unwrap();
        let found = all.into_iter().find(|each| each.sw_if_index == sw_if_index);
        found.unwrap()
    }

    pub fn details(&self, sw_if_index: u32) -> MemifDetails {
        let all = self.runtime.block_on(self.client.dump(MemifDump {})).unwrap();
        let found = all.into_iter().find(|each| each.sw_if_index == sw_if_index);
        found.unwrap()
    }

    pub fn is_up(&self) -> bool {
        self.details(self.memif).flags.0 == 3
    }

    /// Has the pod send an echo request to the other node's pod.
    pub fn request(&self, id: u16, length: usize) {
        let [src, dst] = [self.number, 3 - self.number].map(|n| [10, 1, n, 2].into());
        let packet = packets::echo(src, dst, id, true, 64, length - 28);
        let gateway = Mac(self.interface(self.pod).l2_address.0);
        self.server
            .inject(self.pod, &packets::frame(gateway, POD_MAC, &packet));
    }

    /// Echo requests that came to the pod: identifier, TTL and length.
    pub fn requests(&self) -> Vec<(u16, u8, usize)> {
        let frames = self.server.collect(self.pod);
        let packets = frames.iter().filter_map(|frame| packets::ip_of(frame));
        packets
            .filter(|packet| packet[9] == 1)
            .map(|packet| {
                vpp_sim::engine::verify_checksums(packet).unwrap();
                let seen = packets::read(packet);
                (seen.id, seen.ttl, packet.len())
            })
            .collect()
    }

    /// Whether packets of a length come to the other node's pod; the first are lost to ARP.
    pub fn reaches(&self, other: &Self, length: usize) -> bool {
        let mut id = 0;
        eventually(|| {
            id += 1;
            self.request(id, length);
            std::thread::sleep(Duration::from_millis(2));
            let got = other.requests();
            got.iter().any(|each| (each.1, each.2) == (62, length))
        })
    }
}

pub fn create(role: MemifRole, id: u32) -> MemifCreateV2 {
    MemifCreateV2 {
        role,
        mode: MemifMode::MEMIF_MODE_API_ETHERNET,
        id,
        socket_id: SOCKET,
        ..MemifCreateV2::default()
    }
}

pub const MASTER: MemifRole = MemifRole::MEMIF_ROLE_API_MASTER;
pub const SLAVE: MemifRole = MemifRole::MEMIF_ROLE_API_SLAVE;

/// Two nodes with a common socket, in this order: the master, the slave.
pub fn pair(directory: &Path, change: impl Fn(&mut MemifCreateV2)) -> (Node, Node) {
    let mut nodes = [(1, MASTER), (2, SLAVE)].map(|(number, role)| {
        let mut node = Node::start(directory, number);
        assert_eq!(node.socket("m.sock"), 0);
        let mut request = create(role, 3);
        change(&mut request);
        node.join(request);
        node
    });
    assert!(eventually(|| nodes.iter().all(Node::is_up)));
    let [master, slave] = &mut nodes;
    assert!(master.is_up() && slave.is_up());
    nodes.into()
}
