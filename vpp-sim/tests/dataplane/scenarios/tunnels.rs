//! VXLAN and memif.

use vpp_api::messages::memif::{
    MemifCreateV2, MemifDelete, MemifDump, MemifMode, MemifRole, MemifSocketFilenameAddDelV2,
    MemifSocketFilenameDump,
};
use vpp_api::messages::vlib::AddNodeNext;
use vpp_api::messages::vxlan::VxlanAddDelTunnelV3;
use vpp_api::types::{FibPath, NO_INDEX};
use vpp_sim::engine::{Config, Mac, NONE, Neighbor, RoutePath, RouteUpdate, Vpp, VxlanTunnel};

use crate::bed::Bed;
use crate::packets::{self, TCP, UDP};
use crate::pods::{Answer, Plug, addr, device, packet_of};

const VNI: u32 = 0x7e57;
const PEER: Mac = Mac([2, 9, 9, 9, 9, 2]);

/// An L3 tunnel to 198.18.16.2 over an uplink with 198.18.16.1; 198.18.2.0/24 is behind it.
fn tunnel(bed: &mut Bed, far: Plug) {
    let uplink = bed.link("up", |_| far);
    bed.address(uplink, "198.18.16.1/24");
    bed.neighbour(uplink, addr("198.18.16.2"), PEER);
    let next = AddNodeNext {
        node_name: "vxlan4-input".into(),
        next_name: "ip4-input".into(),
    };
    let decap_next_index = bed.call(next).next_index;
    let change = move |is_add| VxlanAddDelTunnelV3 {
        is_add,
        instance: NO_INDEX,
        src_address: addr("198.18.16.1"),
        dst_address: addr("198.18.16.2"),
        mcast_sw_if_index: NO_INDEX,
        decap_next_index,
        vni: VNI,
        is_l3: true,
        ..VxlanAddDelTunnelV3::default()
    };
    let index = bed.call(change(true)).sw_if_index;
    bed.undo_by("tunnel", change(false));
    assert_eq!(bed.code(change(true)), -75, "an equal tunnel again");
    bed.admin(index, true);
    bed.unnumbered(uplink, index);
    bed.route("198.18.2.0/24", vec![FibPath::via(index, addr("198.18.16.2"))]);
}

/// An outer packet around an inner one, as the peer sends it.
fn encapsulated(inner: &[u8], gateway: Mac) -> Vec<u8> {
    // RFC 7348, 5: flags with the I bit, 24 reserved bits, VNI, 8 reserved bits. An L3 tunnel of VPP has the IP packet
    // right behind, without an Ethernet header.
    let mut payload = vec![8, 0, 0, 0];
    payload.extend(&VNI.to_be_bytes()[1..]);
    payload.push(0);
    payload.extend(inner);
    let outer = packets::udp(addr("198.18.16.2"), addr("198.18.16.1"), (50_000, 4789), &payload);
    packets::frame(gateway, PEER, &outer)
}

pub fn vxlan_frames_are_as_in_the_rfc(bed: &mut Bed) {
    bed.node(1);
    tunnel(bed, Plug::Raw(Vec::new()));
    let up = device("up");
    bed.kept(&up);
    let request = packets::echo(addr("198.18.1.2"), addr("198.18.2.9"), 5, true, 64, 100);
    bed.send("w1", &request);
    let frames = bed.kept(&up);
    let outer: Vec<_> = frames.iter().filter(|frame| packet_of(frame).is_some()).collect();
    assert_eq!(outer.len(), 1, "{frames:02x?}");
    assert_eq!(outer[0][..6], PEER.0);
    let gateway = Mac(outer[0][6..12].try_into().unwrap());
    let packet = packet_of(outer[0]).unwrap();
    assert_eq!(
        (packet[9], &packet[12..16], &packet[16..20]),
        (UDP, &[198, 18, 16, 1][..], &[198, 18, 16, 2][..])
    );
    let udp = &packet[20..];
    assert_eq!(udp[2..4], 4789u16.to_be_bytes());
    let vni = VNI.to_be_bytes();
    assert_eq!(udp[8..16], [8, 0, 0, 0, vni[1], vni[2], vni[3], 0]);
    let inner = packets::read(&udp[16..]);
    assert_eq!((inner.dst, inner.id, inner.ttl), (addr("198.18.2.9"), 5, 63));
    // And what comes back.
    let reply = packets::echo(addr("198.18.2.9"), addr("198.18.1.2"), 5, false, 64, 100);
    let got = bed.send_frame(&up, &encapsulated(&reply, gateway));
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].0.as_str(), got[0].1.id, got[0].1.ttl), ("w1", 5, 63));
}

/// An engine as the other node: 198.18.16.2 on interface 1, and a pod 198.18.2.2 on interface 3.
fn other_node() -> Vpp {
    let mut vpp = Vpp::new(Config::default());
    let uplink = vpp.create_af_packet("up", Some(PEER), None).unwrap();
    vpp.set_admin(uplink, true).unwrap();
    vpp.add_address(uplink, "198.18.16.2/24".parse().unwrap())
        .unwrap();
    let tunnel = VxlanTunnel {
        instance: NONE,
        src: addr("198.18.16.2"),
        dst: addr("198.18.16.1"),
        src_port: 0,
        dst_port: 0,
        mcast_sw_if_index: NONE,
        encap_table_id: 0,
        decap_next_index: vpp.add_node_next("vxlan4-input", "ip4-input").unwrap(),
        vni: VNI,
        is_l3: true,
    };
    let tunnel = vpp.vxlan_add(&tunnel).unwrap();
    vpp.set_admin(tunnel, true).unwrap();
    vpp.set_unnumbered(uplink, tunnel, true).unwrap();
    let back = RoutePath::via(tunnel, addr("198.18.16.1"));
    vpp.ip_route_add_del(&RouteUpdate::add(0, "198.18.1.0/24".parse().unwrap(), vec![back]))
        .unwrap();
    let pod = vpp.create_af_packet("pod", None, None).unwrap();
    vpp.set_admin(pod, true).unwrap();
    vpp.add_address(pod, "198.18.2.1/24".parse().unwrap()).unwrap();
    let neighbor = Neighbor {
        sw_if_index: pod,
        address: addr("198.18.2.2"),
        mac: Mac([0x0a, 0, 0, 0, 9, 1]),
        is_static: true,
        no_fib_entry: false,
        updated: 0,
    };
    vpp.neighbor_add(neighbor).unwrap();
    vpp
}

/// The dataplane under test is one end of the tunnel, an engine of this process the other.
pub fn pods_of_two_dataplanes_talk_over_vxlan(bed: &mut Bed) {
    bed.node(1);
    tunnel(bed, Plug::Node(Box::new(other_node())));
    // The other end asks for our MAC address first, and what it wanted to send then is lost.
    bed.ping("w1", "198.18.2.2", 1);
    assert_eq!(bed.ping("w1", "198.18.2.2", 2), (2, Some(62)));
    for proto in [TCP, UDP] {
        assert_eq!(
            bed.ask("w1", "198.18.2.2", 80, proto),
            Answer::Served("far".into(), addr("198.18.1.2"))
        );
    }
}

pub fn memif_interfaces_wait_for_their_peer(bed: &mut Bed) {
    // Several dataplanes may be tested at once in one network namespace.
    let name = format!(
        "abstract:contiv-dataplane-test/{}-{:?}",
        std::process::id(),
        bed.kind
    );
    let name = name.replace(['(', ')'], "-");
    let (socket_id, filename) = (0x7e57, name.clone());
    let socket = move |is_add| MemifSocketFilenameAddDelV2 {
        is_add,
        socket_id,
        socket_filename: filename.clone(),
    };
    assert_eq!(bed.call(socket(true)).socket_id, socket_id);
    bed.undo_by("socket", socket(false));
    let shown = bed.dump(MemifSocketFilenameDump {});
    let own = shown.iter().find(|each| each.socket_id == socket_id).unwrap();
    assert_eq!(own.socket_filename, name);
    let create = |id| MemifCreateV2 {
        role: MemifRole::MEMIF_ROLE_API_MASTER,
        mode: MemifMode::MEMIF_MODE_API_ETHERNET,
        rx_queues: 1,
        tx_queues: 1,
        id,
        socket_id,
        ring_size: 1024,
        buffer_size: 2048,
        ..MemifCreateV2::default()
    };
    let sw_if_index = bed.call(create(3)).sw_if_index;
    bed.undo_by("memif", MemifDelete { sw_if_index });
    bed.tag(sw_if_index);
    bed.admin(sw_if_index, true);
    let interface = bed.interface(sw_if_index);
    assert_eq!(interface.interface_name, format!("memif{socket_id}/3"));
    assert_eq!(
        interface.flags.0, 1,
        "admin up, and down as a link until the peer connects"
    );
    let shown = bed.dump(MemifDump {});
    let own = shown.iter().find(|each| each.sw_if_index == sw_if_index).unwrap();
    assert_eq!(
        (own.id, own.socket_id, own.ring_size, own.buffer_size),
        (3, socket_id, 1, 0)
    );
    assert_eq!(bed.code(create(3)), -68, "the id again on this socket");
    assert_eq!(bed.code(socket(false)), -74, "a socket in use");
}
