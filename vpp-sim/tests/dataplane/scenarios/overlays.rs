//! IP in IP, IPsec, WireGuard and segment routing: the dataplane under test is one end, an engine of this process the
//! other. 198.18.2.0/24 and 2001:2:0:2::/64 are behind the other end.

use std::net::{IpAddr, Ipv6Addr};

use vpp_api::messages::ipip::{IpipAddTunnel, IpipDelTunnel};
use vpp_api::messages::ipsec::{
    IpsecSadEntryAddV2, IpsecSadEntryDel, IpsecTunnelProtectDel, IpsecTunnelProtectUpdate,
};
use vpp_api::messages::sr::{SrLocalsidAddDel, SrPolicyAdd, SrPolicyDel, SrSetEncapSource, SrSteeringAddDel};
use vpp_api::messages::wireguard::{
    WireguardInterfaceCreate, WireguardInterfaceDelete, WireguardInterfaceDump, WireguardPeerAdd,
    WireguardPeerRemove,
};
use vpp_api::types as wire;
use vpp_api::types::{FibPath, IpsecSadFlags, NO_INDEX};
use vpp_sim::engine::{
    Config, IpipTunnel, LocalSidConfig, Mac, NONE, Neighbor, PolicyUpdate, Protection, RoutePath,
    RouteUpdate, SaConfig, SaTunnel, SteeredTraffic, Vpp, WireguardConfig, WireguardPeer, ipsec_crypto,
    sa_flag, sr_behavior,
};

use crate::bed::Bed;
use crate::packets::{self, TCP, UDP};
use crate::pods::{Answer, Plug, addr, device, packet_of};

const PEER: Mac = Mac([2, 9, 9, 9, 9, 2]);
const NEAR: &str = "198.18.16.1";
const FAR: &str = "198.18.16.2";

fn near() -> IpAddr {
    addr(NEAR)
}

fn far() -> IpAddr {
    addr(FAR)
}

fn known(sw_if_index: u32, address: &str, mac: Mac) -> Neighbor {
    Neighbor {
        sw_if_index,
        address: addr(address),
        mac,
        is_static: true,
        no_fib_entry: false,
        updated: 0,
    }
}

/// The far end: its uplink is interface 1, what `tunnel` makes is 2, and the pod `far` (198.18.2.2) is on 3.
fn far_end(tunnel: impl FnOnce(&mut Vpp, u32) -> u32) -> Vpp {
    let mut vpp = Vpp::new(Config::default());
    let uplink = vpp.create_af_packet("up", Some(PEER), None).unwrap();
    vpp.set_admin(uplink, true).unwrap();
    for address in ["198.18.16.2/24", "2001:2:0:16::2/64"] {
        vpp.add_address(uplink, address.parse().unwrap()).unwrap();
    }
    let index = tunnel(&mut vpp, uplink);
    assert_eq!(index, 2);
    let pod = vpp.create_af_packet("pod", None, None).unwrap();
    vpp.set_admin(pod, true).unwrap();
    vpp.add_address(pod, "198.18.2.1/24".parse().unwrap()).unwrap();
    vpp.neighbor_add(known(pod, "198.18.2.2", Mac([0x0a, 0, 0, 0, 9, 1])))
        .unwrap();
    vpp
}

/// Up, borrowing from the uplink, with the way back.
fn through(vpp: &mut Vpp, uplink: u32, tunnel: u32) {
    vpp.set_admin(tunnel, true).unwrap();
    vpp.set_unnumbered(uplink, tunnel, true).unwrap();
    let back = vec![RoutePath::via(tunnel, near())];
    vpp.ip_route_add_del(&RouteUpdate::add(0, "198.18.1.0/24".parse().unwrap(), back))
        .unwrap();
}

/// The uplink, with its peer, which knows our MAC address.
fn uplink(bed: &mut Bed, mut plug: Plug) -> u32 {
    let index = bed.link("up", |mac| {
        if let Plug::Node(node) = &mut plug {
            for address in [NEAR, "2001:2:0:16::1"] {
                node.neighbor_add(known(1, address, mac)).unwrap();
            }
        }
        plug
    });
    for address in ["198.18.16.1/24", "2001:2:0:16::1/64"] {
        bed.address(index, address);
    }
    bed.neighbour(index, far(), PEER);
    bed.neighbour(index, addr("2001:2:0:16::2"), PEER);
    index
}

/// A tunnel interface up, borrowing from the uplink, with the way to the far pod.
fn lead(bed: &mut Bed, uplink: u32, tunnel: u32) {
    bed.admin(tunnel, true);
    bed.unnumbered(uplink, tunnel);
    bed.route("198.18.2.0/24", vec![FibPath::via(tunnel, far())]);
}

/// The far pod is reached, and sees the client's own address.
fn far_pod_answers(bed: &mut Bed) {
    // What begins a handshake is lost.
    bed.ping("w1", "198.18.2.2", 1);
    assert_eq!(bed.ping("w1", "198.18.2.2", 2), (2, Some(62)));
    for proto in [TCP, UDP] {
        assert_eq!(
            bed.ask("w1", "198.18.2.2", 80, proto),
            Answer::Served("far".into(), addr("198.18.1.2"))
        );
    }
}

fn ipip(bed: &mut Bed) -> u32 {
    let tunnel = wire::IpipTunnel {
        instance: NO_INDEX,
        src: near(),
        dst: far(),
        ..wire::IpipTunnel::default()
    };
    let sw_if_index = bed
        .call(IpipAddTunnel {
            tunnel: tunnel.clone(),
        })
        .sw_if_index;
    bed.undo_by("tunnel", IpipDelTunnel { sw_if_index });
    assert_eq!(bed.code(IpipAddTunnel { tunnel }), -79, "an equal tunnel again");
    sw_if_index
}

fn far_ipip(vpp: &mut Vpp) -> u32 {
    vpp.ipip_add(&IpipTunnel {
        instance: NONE,
        src: far(),
        dst: near(),
        table_id: 0,
        flags: 0,
        mode: 0,
        dscp: 0,
    })
    .unwrap()
}

pub fn pods_of_two_dataplanes_talk_over_ipip(bed: &mut Bed) {
    bed.node(1);
    let node = far_end(|vpp, up| {
        let tunnel = far_ipip(vpp);
        through(vpp, up, tunnel);
        tunnel
    });
    let up = uplink(bed, Plug::Node(Box::new(node)));
    let tunnel = ipip(bed);
    lead(bed, up, tunnel);
    far_pod_answers(bed);
}

pub fn ipip_packets_are_as_in_the_rfc(bed: &mut Bed) {
    bed.node(1);
    let up = uplink(bed, Plug::Raw(Vec::new()));
    let tunnel = ipip(bed);
    lead(bed, up, tunnel);
    let wires = device("up");
    bed.kept(&wires);
    let request = packets::echo(addr("198.18.1.2"), addr("198.18.2.9"), 5, true, 64, 100);
    bed.send("w1", &request);
    let frames = bed.kept(&wires);
    let outer = frames.iter().filter_map(|f| packet_of(f)).find(|p| p[9] == 4);
    let outer = outer.expect("protocol 4 (RFC 2003)");
    assert_eq!(&outer[12..20], &[198, 18, 16, 1, 198, 18, 16, 2]);
    let inner = packets::read(&outer[20..]);
    assert_eq!((inner.dst, inner.id, inner.ttl), (addr("198.18.2.9"), 5, 63));
}

const SALT: u32 = 0x0102_0304;
const KEY: [u8; 16] = [7; 16];

/// ids and SPIs: 0x7e57_0001 near to far, …2 far to near.
fn far_association(id: u32, flags: u32) -> SaConfig {
    SaConfig {
        id,
        spi: id,
        protocol: 50,
        crypto: ipsec_crypto::AES_GCM_128,
        crypto_key: KEY.to_vec(),
        integrity: 0,
        integrity_key: Vec::new(),
        flags,
        tunnel: SaTunnel {
            src: near(),
            dst: far(),
            table_id: 0,
            flags: 0,
            mode: 0,
            other_flags: 0,
            dscp: 0,
            hop_limit: 0,
        },
        salt: SALT,
        udp_ports: (4500, 4500),
        window: 64,
    }
}

const OUT: u32 = 0x7e57_0001;
const BACK: u32 = 0x7e57_0002;

fn association(bed: &Bed, id: u32, flags: IpsecSadFlags) {
    let mut crypto_key = wire::IpsecKey {
        length: 16,
        ..wire::IpsecKey::default()
    };
    crypto_key.data[..16].copy_from_slice(&KEY);
    let entry = wire::IpsecSadEntryV4 {
        sad_id: id,
        spi: id,
        protocol: wire::IpsecProto::IPSEC_API_PROTO_ESP,
        crypto_algorithm: wire::IpsecCryptoAlg::IPSEC_API_CRYPTO_ALG_AES_GCM_128,
        crypto_key,
        flags,
        salt: SALT,
        udp_src_port: 4500,
        udp_dst_port: 4500,
        anti_replay_window_size: 64,
        ..wire::IpsecSadEntryV4::default()
    };
    bed.call(IpsecSadEntryAddV2 { entry });
    bed.undo_by(format!("association {id}"), IpsecSadEntryDel { id });
}

pub fn pods_of_two_dataplanes_talk_over_ipsec(bed: &mut Bed) {
    bed.node(1);
    let node = far_end(|vpp, up| {
        let tunnel = far_ipip(vpp);
        vpp.ipsec_sa_add(&far_association(BACK, 0)).unwrap();
        vpp.ipsec_sa_add(&far_association(OUT, sa_flag::IS_INBOUND))
            .unwrap();
        vpp.ipsec_protect(&Protection {
            sw_if_index: tunnel,
            next_hop: addr("0.0.0.0"),
            sa_out: BACK,
            sa_in: vec![OUT],
        })
        .unwrap();
        through(vpp, up, tunnel);
        tunnel
    });
    let up = uplink(bed, Plug::Node(Box::new(node)));
    let tunnel = ipip(bed);
    association(bed, OUT, IpsecSadFlags::IPSEC_API_SAD_FLAG_NONE);
    association(bed, BACK, IpsecSadFlags::IPSEC_API_SAD_FLAG_IS_INBOUND);
    let protect = wire::IpsecTunnelProtect {
        sw_if_index: tunnel,
        nh: addr("0.0.0.0"),
        sa_out: OUT,
        sa_in: vec![BACK],
    };
    bed.call(IpsecTunnelProtectUpdate { tunnel: protect });
    bed.undo_by(
        "protection",
        IpsecTunnelProtectDel {
            sw_if_index: tunnel,
            nh: addr("0.0.0.0"),
        },
    );
    lead(bed, up, tunnel);
    far_pod_answers(bed);
}

const WG_PORT: u16 = 51_830;

pub fn pods_of_two_dataplanes_talk_over_wireguard(bed: &mut Bed) {
    bed.node(1);
    // The far end's key pair, as its own dataplane makes it.
    let config = |source| WireguardConfig {
        instance: NONE,
        private_key: [0; 32],
        port: WG_PORT,
        source,
    };
    let interface = wire::WireguardInterface {
        user_instance: NO_INDEX,
        port: WG_PORT,
        src_ip: near(),
        ..wire::WireguardInterface::default()
    };
    let create = WireguardInterfaceCreate {
        interface,
        generate_key: true,
    };
    let tunnel = bed.call(create).sw_if_index;
    bed.undo_by("wg", WireguardInterfaceDelete { sw_if_index: tunnel });
    let shown = bed.dump(WireguardInterfaceDump {
        show_private_key: false,
        sw_if_index: tunnel,
    });
    let ours = shown[0].interface.public_key;
    let mut theirs = [0; 32];
    let node = far_end(|vpp, up| {
        let tunnel = vpp.wireguard_create(&config(far()), true).unwrap();
        theirs = vpp.wireguard_interfaces()[0].public_key;
        vpp.wireguard_peer_add(&WireguardPeer {
            sw_if_index: tunnel,
            public_key: ours,
            preshared_key: [0; 32],
            endpoint: near(),
            port: WG_PORT,
            table_id: 0,
            keepalive: 0,
            allowed_ips: vec![
                "198.18.1.0/24".parse().unwrap(),
                "198.18.16.0/24".parse().unwrap(),
            ],
        })
        .unwrap();
        through(vpp, up, tunnel);
        tunnel
    });
    let up = uplink(bed, Plug::Node(Box::new(node)));
    lead(bed, up, tunnel);
    let peer = wire::WireguardPeer {
        public_key: theirs,
        port: WG_PORT,
        endpoint: far(),
        sw_if_index: tunnel,
        allowed_ips: ["198.18.2.0/24", "198.18.16.0/24"]
            .map(|text| text.parse().unwrap())
            .to_vec(),
        ..wire::WireguardPeer::default()
    };
    let peer_index = bed.call(WireguardPeerAdd { peer }).peer_index;
    bed.undo_by("peer", WireguardPeerRemove { peer_index });
    far_pod_answers(bed);
}

fn sid(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

/// The SID of each end: its packets are taken out there and looked up as IPv4.
const NEAR_SID: &str = "2001:2:0:a1::4";
const FAR_SID: &str = "2001:2:0:a2::4";

pub fn pods_of_two_dataplanes_talk_over_segment_routing(bed: &mut Bed) {
    bed.node(1);
    let node = far_end(|vpp, up| {
        let index = vpp.create_loopback(Mac::default(), None).unwrap();
        let by_link = vec![RoutePath::via(up, addr("2001:2:0:16::1"))];
        vpp.ip_route_add_del(&RouteUpdate::add(0, "2001:2:0:a1::/64".parse().unwrap(), by_link))
            .unwrap();
        vpp.sr_set_encap_source(sid("2001:2:0:16::2"));
        vpp.sr_localsid_add(&LocalSidConfig {
            localsid: sid(FAR_SID),
            end_psp: false,
            behavior: sr_behavior::DT4,
            sw_if_index: 0,
            fib_table: 0,
            next_hop: addr("::"),
            structure: None,
        })
        .unwrap();
        let policy = PolicyUpdate {
            bsid: sid("2001:2:0:b2::1"),
            segments: vec![sid(NEAR_SID)],
            num_sids: 1,
            weight: NONE,
            encap_source: None,
        };
        vpp.sr_policy_add(&policy, 0, true, 0).unwrap();
        let traffic = SteeredTraffic {
            traffic_type: 4,
            prefix: "198.18.1.0/24".parse().unwrap(),
            table_id: 0,
            sw_if_index: 0,
        };
        vpp.sr_steering_add(&traffic, sid("2001:2:0:b2::1")).unwrap();
        index
    });
    let up = uplink(bed, Plug::Node(Box::new(node)));
    bed.route("2001:2:0:a2::/64", vec![FibPath::via(up, addr("2001:2:0:16::2"))]);
    bed.call(SrSetEncapSource {
        encaps_source: sid("2001:2:0:16::1"),
    });
    bed.undo_by(
        "encapsulation source",
        SrSetEncapSource {
            encaps_source: Ipv6Addr::UNSPECIFIED,
        },
    );
    let localsid = |is_del| SrLocalsidAddDel {
        is_del,
        localsid: sid(NEAR_SID),
        behavior: wire::SrBehavior::SR_BEHAVIOR_API_DT4,
        nh_addr: addr("::"),
        ..SrLocalsidAddDel::default()
    };
    bed.call(localsid(false));
    bed.undo_by("local SID", localsid(true));
    let bsid_addr = sid("2001:2:0:b1::1");
    bed.call(SrPolicyAdd {
        bsid_addr,
        is_encap: true,
        sids: wire::Srv6SidList::new(&[sid(FAR_SID)], NO_INDEX).unwrap(),
        ..SrPolicyAdd::default()
    });
    bed.undo_by(
        "policy",
        SrPolicyDel {
            bsid_addr,
            sr_policy_index: 0,
        },
    );
    let steer = |is_del| SrSteeringAddDel {
        is_del,
        bsid_addr,
        prefix: "198.18.2.0/24".parse().unwrap(),
        traffic_type: wire::SrSteer::SR_STEER_API_IPV4,
        ..SrSteeringAddDel::default()
    };
    bed.call(steer(false));
    bed.undo_by("steering", steer(true));
    far_pod_answers(bed);
}
