//! The whole dataplane with real packets: kernels in network namespaces at the ends, the API in front.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use common::{Namespace, privileged};
use vpp_api::messages::af_packet::{AfPacketCreateV3, AfPacketMode};
use vpp_api::messages::interface::{
    CreateLoopback, SwInterfaceAddDelAddress, SwInterfaceDump, SwInterfaceSetFlags, SwInterfaceSetUnnumbered,
};
use vpp_api::messages::ip::{IpRouteAddDelV2, SwInterfaceIp6EnableDisable};
use vpp_api::messages::ip_neighbor::{IpNeighbor, IpNeighborAddDel, IpNeighborDump, IpNeighborFlags};
use vpp_api::messages::tapv2::{TapCreateV3, TapDeleteV2};
use vpp_api::messages::vlib::{AddNodeNext, CliInband};
use vpp_api::messages::vxlan::VxlanAddDelTunnelV3;
use vpp_api::types::{
    AddressFamily, FibPath, IfStatusFlags, Ip4Prefix, Ip6Prefix, IpRouteV2, MacAddress, NO_INDEX, Prefix,
};
use vpp_api::{Client, Request};
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, Identity, spawn_on_host};

/// A dataplane in a namespace of its own, with a client.
struct Node {
    _directory: tempfile::TempDir,
    namespace: Namespace,
    server: Option<Handle>,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    fn start(seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let namespace = Namespace::new();
        let path: PathBuf = directory.path().join("api.sock");
        let config = Config {
            reclassify_sessions: true,
            seed,
            ..Config::default()
        };
        let server = namespace.within(move || spawn_on_host(config, Identity::default(), path).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime
            .block_on(Client::connect(server.socket(), "host-test"))
            .unwrap();
        Self {
            _directory: directory,
            namespace,
            server: Some(server),
            client,
            runtime,
        }
    }

    fn call<R: Request>(&self, request: R) -> R::Reply {
        self.runtime.block_on(self.client.call(request)).unwrap()
    }

    fn up(&self, sw_if_index: u32) {
        self.call(SwInterfaceSetFlags {
            sw_if_index,
            flags: IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP,
        });
    }

    fn address(&self, sw_if_index: u32, prefix: &str) {
        let prefix = prefix.parse().unwrap();
        self.call(SwInterfaceAddDelAddress {
            sw_if_index,
            is_add: true,
            del_all: false,
            prefix,
        });
    }

    fn route(&self, prefix: &str, sw_if_index: u32, next_hop: &str) {
        let prefix: Prefix = prefix.parse().unwrap();
        let paths = vec![FibPath::via(sw_if_index, next_hop.parse().unwrap())];
        let route = IpRouteV2 {
            prefix,
            paths,
            ..IpRouteV2::default()
        };
        self.call(IpRouteAddDelV2 {
            is_add: true,
            is_multipath: false,
            route,
        });
    }

    /// A pod on a tap; its addresses are 10.1.N.host and fd00:N::host, its gateway .1.
    fn tap(&self, pod: &Namespace, subnet: u8, host: u8) -> u32 {
        let v4 = |last| [10, 1, subnet, last].into();
        let v6 = |last: u8| format!("fd00:{subnet}::{last}").parse().unwrap();
        let index = self.call(TapCreateV3 {
            id: NO_INDEX,
            use_random_mac: true,
            host_mtu_set: true,
            host_mtu_size: 1450,
            host_mac_addr_set: true,
            host_mac_addr: MacAddress([2, 0, 0, 0, subnet, host]),
            host_ip4_prefix_set: true,
            host_ip4_prefix: Ip4Prefix::new(v4(host), 24),
            host_ip6_prefix_set: true,
            host_ip6_prefix: Ip6Prefix::new(v6(host), 64),
            host_ip4_gw_set: true,
            host_ip4_gw: v4(1),
            host_ip6_gw_set: true,
            host_ip6_gw: v6(1),
            host_namespace_set: true,
            host_namespace: pod.name.clone(),
            host_if_name_set: true,
            host_if_name: "eth0".into(),
            ..TapCreateV3::default()
        });
        self.up(index.sw_if_index);
        // An address that is still being checked for duplicates cannot be a source yet.
        let deadline = Instant::now() + Duration::from_secs(10);
        while pod.show("-6 addr show tentative").contains("tentative") {
            assert!(
                Instant::now() < deadline,
                "duplicate address detection does not end"
            );
            thread::sleep(Duration::from_millis(50));
        }
        index.sw_if_index
    }

    fn neighbour(&self, sw_if_index: u32, address: &str, mac: MacAddress) {
        let neighbor = IpNeighbor {
            sw_if_index,
            flags: IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC,
            mac_address: mac,
            ip_address: address.parse().unwrap(),
        };
        self.call(IpNeighborAddDel {
            is_add: true,
            neighbor,
        });
    }

    fn cli(&self, command: &str) -> String {
        self.call(CliInband { cmd: command.into() }).reply
    }
}

/// Sends a megabyte from one namespace over TCP and expects its echo; megabits per second, both ways.
fn bulk(client: &Namespace, server: &Namespace, address: &str) -> u64 {
    let address = SocketAddr::new(address.parse().unwrap(), 5001);
    let listener = server.within(move || TcpListener::bind(address).unwrap());
    let data: Vec<u8> = (0..1_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let expected = data.len();
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = vec![0; expected];
        stream.read_exact(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let sent = data.clone();
    let started = Instant::now();
    let back = client.within(move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&sent).unwrap();
        let mut all = vec![0; sent.len()];
        stream.read_exact(&mut all).unwrap();
        all
    });
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap();
    assert!(back == data);
    echo.join().unwrap();
    u64::try_from(expected).unwrap() * 16 / micros.max(1)
}

/// Whether a UDP datagram from one namespace is echoed by the other within a second.
fn datagram(client: &Namespace, server: &Namespace, address: &str, size: usize) -> bool {
    let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 5002);
    let socket = server.within(move || UdpSocket::bind(address).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let echo = thread::spawn(move || {
        let mut buffer = [0; 2000];
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length], from).unwrap();
        }
    });
    let answered = client.within(move || {
        let any: SocketAddr = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
            .parse()
            .unwrap();
        let socket = UdpSocket::bind(any).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let data = vec![7; size];
        socket.send_to(&data, address).unwrap();
        let mut buffer = [0; 2000];
        socket
            .recv(&mut buffer)
            .is_ok_and(|length| buffer[..length] == data[..])
    });
    echo.join().unwrap();
    answered
}

#[test]
fn pods_on_taps_talk_through_routed_subnets() {
    if !privileged() {
        return;
    }
    let node = Node::start(1);
    let (a, b) = (Namespace::new(), Namespace::new());
    for (pod, subnet) in [(&a, 1), (&b, 2)] {
        let index = node.tap(pod, subnet, 2);
        node.address(index, &format!("10.1.{subnet}.1/24"));
        node.address(index, &format!("fd00:{subnet}::1/64"));
    }
    // Nobody told anybody's MAC address: ARP and neighbour discovery on both sides.
    println!("IPv4 {} Mbit/s", bulk(&a, &b, "10.1.2.2"));
    println!("IPv6 {} Mbit/s", bulk(&b, &a, "fd00:1::2"));
    assert!(datagram(&a, &b, "10.1.2.2", 1000));
    let dump = IpNeighborDump {
        sw_if_index: NO_INDEX,
        af: AddressFamily::ADDRESS_IP4,
    };
    let learned = node.runtime.block_on(node.client.dump(dump)).unwrap();
    assert_eq!(learned.len(), 2);
    assert!(
        learned.iter().all(|n| n.neighbor.flags.0 == 0),
        "learned, not static"
    );
    let shown = node.cli("show interface tap0");
    assert!(
        shown.contains("rx packets") && shown.contains("tx bytes"),
        "{shown}"
    );
    // A trace of what the next packet meets.
    node.cli("trace add virtio-input 1");
    assert!(datagram(&a, &b, "10.1.2.2", 100));
    let trace = node.cli("show trace");
    assert!(
        trace.contains("Packet 1") && trace.contains("ip4-lookup") && !trace.contains("Packet 2"),
        "{trace}"
    );
}

#[test]
fn pods_unnumbered_to_a_loopback_with_static_neighbours() {
    if !privileged() {
        return;
    }
    let node = Node::start(2);
    let gateway = node.call(CreateLoopback::default()).sw_if_index;
    node.up(gateway);
    node.address(gateway, "10.1.1.1/24");
    node.address(gateway, "fd00:1::1/64");
    let pods = [Namespace::new(), Namespace::new()];
    for (pod, host) in pods.iter().zip(2u8..) {
        let index = node.tap(pod, 1, host);
        node.call(SwInterfaceSetUnnumbered {
            sw_if_index: gateway,
            unnumbered_sw_if_index: index,
            is_add: true,
        });
        // Or the pod's question for the gateway's MAC, a multicast, is not heard.
        node.call(SwInterfaceIp6EnableDisable {
            sw_if_index: index,
            enable: true,
        });
        let mac = MacAddress([2, 0, 0, 0, 1, host]);
        for address in [format!("10.1.1.{host}"), format!("fd00:1::{host}")] {
            node.neighbour(index, &address, mac);
        }
        // To the other pod by way of the gateway: it is not on this link.
        pod.ip("addr flush dev eth0 scope global");
        pod.ip(&format!("addr add 10.1.1.{host}/32 dev eth0"));
        pod.ip("route add 10.1.1.1 dev eth0 scope link");
        pod.ip("route add default via 10.1.1.1");
        pod.ip(&format!("-6 addr add fd00:1::{host}/128 dev eth0 nodad"));
        pod.ip("-6 route add fd00:1::1 dev eth0");
        pod.ip("-6 route replace default via fd00:1::1");
    }
    assert!(
        datagram(&pods[0], &pods[1], "10.1.1.3", 1422),
        "the first packet, of the full MTU"
    );
    assert!(datagram(&pods[1], &pods[0], "fd00:1::2", 1402));
    bulk(&pods[0], &pods[1], "10.1.1.3");
}

#[test]
fn two_nodes_over_vxlan_on_af_packet() {
    if !privileged() {
        return;
    }
    let (one, two) = (Node::start(3), Node::start(4));
    one.namespace.ip(&format!(
        "link add vpp0 type veth peer name vpp0 netns {}",
        two.namespace.name
    ));
    let pods = [Namespace::new(), Namespace::new()];
    for (node, own, peer, pod) in [(&one, 1, 2, &pods[0]), (&two, 2, 1, &pods[1])] {
        let uplink = node.call(AfPacketCreateV3 {
            mode: AfPacketMode::AF_PACKET_API_MODE_ETHERNET,
            use_random_hw_addr: true,
            host_if_name: "vpp0".into(),
            ..AfPacketCreateV3::default()
        });
        node.up(uplink.sw_if_index);
        node.address(uplink.sw_if_index, &format!("192.168.16.{own}/24"));
        let index = node.tap(pod, own, 2);
        node.address(index, &format!("10.1.{own}.1/24"));
        let next = AddNodeNext {
            node_name: "vxlan4-input".into(),
            next_name: "ip4-input".into(),
        };
        let tunnel = node.call(VxlanAddDelTunnelV3 {
            is_add: true,
            instance: NO_INDEX,
            src_address: [192, 168, 16, own].into(),
            dst_address: [192, 168, 16, peer].into(),
            mcast_sw_if_index: NO_INDEX,
            decap_next_index: node.call(next).next_index,
            vni: 10,
            is_l3: true,
            ..VxlanAddDelTunnelV3::default()
        });
        node.up(tunnel.sw_if_index);
        node.call(SwInterfaceSetUnnumbered {
            sw_if_index: uplink.sw_if_index,
            unnumbered_sw_if_index: tunnel.sw_if_index,
            is_add: true,
        });
        node.route(
            &format!("10.1.{peer}.0/24"),
            tunnel.sw_if_index,
            &format!("192.168.16.{peer}"),
        );
    }
    println!("VXLAN {} Mbit/s", bulk(&pods[0], &pods[1], "10.1.2.2"));
    assert!(
        datagram(&pods[1], &pods[0], "10.1.1.2", 1422),
        "1,450 bytes fit a tunnel on 1,500"
    );
}

#[test]
fn devices_come_and_go_with_their_interfaces() {
    if !privileged() {
        return;
    }
    let mut node = Node::start(5);
    let (pod, other) = (Namespace::new(), Namespace::new());
    let index = node.tap(&pod, 1, 2);
    assert!(pod.show("link").contains("eth0"));
    node.call(TapDeleteV2 { sw_if_index: index });
    assert!(!pod.show("link").contains("eth0"), "gone when the reply comes");
    // A failure leaves no interface behind.
    let nowhere = TapCreateV3 {
        id: NO_INDEX,
        host_namespace_set: true,
        host_namespace: "cv-sim-nowhere".into(),
        ..TapCreateV3::default()
    };
    let failed = node.runtime.block_on(node.client.call(nowhere)).unwrap_err();
    assert_eq!(failed.retval().map(|retval| retval.0), Some(-12));
    let index = node.tap(&other, 1, 3);
    let link = |node: &Node| {
        let all = node
            .runtime
            .block_on(node.client.dump(SwInterfaceDump::default()))
            .unwrap();
        all.iter().find(|i| i.sw_if_index == index).map(|i| i.flags.0)
    };
    assert_eq!(link(&node), Some(3));
    // Whoever owns the pod's namespace deletes the host side: the link is down, all else goes on.
    other.ip("link del eth0");
    let deadline = Instant::now() + Duration::from_secs(5);
    while link(&node) != Some(1) {
        assert!(Instant::now() < deadline, "flags {:?}", link(&node));
        thread::sleep(Duration::from_millis(20));
    }
    node.call(TapDeleteV2 { sw_if_index: index });
    node.tap(&pod, 1, 2);
    node.server.take();
    assert!(!pod.show("link").contains("eth0"), "gone with the process");
}
