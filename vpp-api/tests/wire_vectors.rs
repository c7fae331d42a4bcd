//! Our encodings against those of vpp_papi, VPP's own Python client.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error should fail right there"
)]

mod shared;

use serde_json::Value;
use std::fmt::Debug;
use vpp_api::message::{Header, Message, decode_message, encode_message};
use vpp_api::messages::{
    acl::*, cnat::*, interface::*, ip::*, ip_neighbor::*, ipsec::*, l2::*, memclnt::*, memif::*, nat44_ed::*,
    sr::*, tapv2::*, vlib::*, vxlan::*, wireguard::*,
};
use vpp_api::types::*;

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Takes the vectors one after the other.
struct Vectors(std::vec::IntoIter<Value>);

impl Vectors {
    fn next_is<M: Message + PartialEq + Debug>(&mut self, ours: &M) {
        let vector = self.0.next().expect("no vector left");
        assert_eq!(vector["message"], M::NAME);
        assert_eq!(vector["crc"], M::CRC, "{}", M::NAME);
        let number = |key: &str| vector[key].as_u64().unwrap();
        let id = u16::try_from(number("msg_id")).unwrap();
        // An event has the subscriber's pid where others have their context.
        let context = vector["fields"]["pid"]
            .as_u64()
            .unwrap_or_else(|| number("context"));
        let header = Header {
            client_index: u32::try_from(number("client_index")).unwrap(),
            context: u32::try_from(context).unwrap(),
        };
        let theirs = unhex(vector["hex"].as_str().unwrap());
        let mut encoded = Vec::new();
        encode_message(&mut encoded, id, header, ours).unwrap();
        assert_eq!(encoded, theirs, "{}", M::NAME);
        let (decoded_id, decoded_header, decoded) = decode_message::<M>(&theirs).unwrap();
        assert_eq!(
            (decoded_id, decoded_header.context, &decoded),
            (id, header.context, ours)
        );
    }
}

fn text<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: Debug,
{
    text.parse().unwrap()
}

#[test]
fn encodings_are_those_of_vpp_papi() {
    let Some(shared) = shared::shared() else { return };
    let file = std::fs::read(shared.join("vpp/wire-vectors.json")).unwrap();
    let vectors: Vec<Value> = serde_json::from_slice(&file).unwrap();
    assert_eq!(vectors.len(), 28);
    let mut vectors = Vectors(vectors.into_iter());
    interfaces(&mut vectors);
    routes(&mut vectors);
    policies(&mut vectors);
    services(&mut vectors);
    devices(&mut vectors);
    tunnels(&mut vectors);
    vectors.next_is(&CliInband {
        cmd: "show version".to_owned(),
    });
    vectors.next_is(&SwInterfaceEvent {
        sw_if_index: 3,
        flags: IfStatusFlags(3),
        deleted: false,
    });
    assert!(vectors.0.next().is_none());
}

fn interfaces(vectors: &mut Vectors) {
    vectors.next_is(&ControlPing::default());
    vectors.next_is(&SwInterfaceDump {
        sw_if_index: NO_INDEX,
        ..Default::default()
    });
    vectors.next_is(&SwInterfaceDump {
        sw_if_index: NO_INDEX,
        name_filter_valid: true,
        name_filter: "tap".to_owned(),
    });
    vectors.next_is(&SwInterfaceSetFlags {
        sw_if_index: 3,
        flags: IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP,
    });
    vectors.next_is(&SwInterfaceSetMtu {
        sw_if_index: 3,
        mtu: [1450, 0, 0, 0],
    });
    vectors.next_is(&SwInterfaceTagAddDel {
        is_add: true,
        sw_if_index: 3,
        tag: "pod:default/web-0".to_owned(),
    });
    for prefix in ["10.1.2.1/32", "fd00::1/64"] {
        vectors.next_is(&SwInterfaceAddDelAddress {
            sw_if_index: 3,
            is_add: true,
            del_all: false,
            prefix: text(prefix),
        });
    }
}

fn routes(vectors: &mut Vectors) {
    vectors.next_is(&IpTableAddDel {
        is_add: true,
        table: IpTable {
            table_id: 10,
            is_ip6: false,
            name: "pods".to_owned(),
        },
    });
    vectors.next_is(&IpRouteAddDel {
        is_add: true,
        is_multipath: false,
        route: IpRoute {
            prefix: text("10.1.0.0/16"),
            paths: vec![
                FibPath::via(1, text("192.168.0.1")),
                FibPath {
                    weight: 3,
                    ..FibPath::via(2, text("192.168.0.2"))
                },
            ],
            ..Default::default()
        },
    });
    vectors.next_is(&IpRouteAddDelV2 {
        is_add: true,
        is_multipath: false,
        route: IpRouteV2 {
            prefix: text("10.1.1.1/32"),
            paths: vec![FibPath::via(5, text("10.1.1.1"))],
            ..Default::default()
        },
    });
    let neighbor = |flags| IpNeighbor {
        sw_if_index: 3,
        flags,
        mac_address: text("02:fe:00:00:00:01"),
        ip_address: text("10.1.1.1"),
    };
    vectors.next_is(&IpNeighborAddDel {
        is_add: true,
        neighbor: neighbor(IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC),
    });
    vectors.next_is(&IpNeighborDetails {
        age: 12.5,
        neighbor: neighbor(IpNeighborFlags::IP_API_NEIGHBOR_FLAG_NONE),
    });
}

fn policies(vectors: &mut Vectors) {
    vectors.next_is(&AclAddReplace {
        acl_index: NO_INDEX,
        tag: "np/default/allow-web".to_owned(),
        r: vec![
            AclRule {
                dst_prefix: text("10.1.1.1/32"),
                proto: IpProto::IP_API_PROTO_TCP,
                dstport_or_icmpcode_first: 80,
                dstport_or_icmpcode_last: 80,
                ..AclRule::any(AclAction::ACL_ACTION_API_PERMIT_REFLECT, false)
            },
            AclRule::any(AclAction::ACL_ACTION_API_DENY, true),
        ],
    });
    vectors.next_is(&AclInterfaceSetAclList {
        sw_if_index: 3,
        n_input: 2,
        acls: vec![1, 2, 3],
    });
}

fn services(vectors: &mut Vectors) {
    let local = |addr| Nat44LbAddrPort {
        addr: text(addr),
        port: 53,
        probability: 1,
        vrf_id: 0,
    };
    vectors.next_is(&Nat44AddDelLbStaticMapping {
        is_add: true,
        flags: NatConfigFlags::NAT_IS_OUT2IN_ONLY,
        external_addr: text("10.96.0.10"),
        external_port: 53,
        protocol: 17,
        affinity: 0,
        tag: "kube-system/kube-dns".to_owned(),
        locals: vec![local("10.1.0.2"), local("10.1.0.3")],
    });
    vectors.next_is(&Nat44AddDelStaticMappingV2 {
        is_add: true,
        flags: NatConfigFlags::NAT_IS_OUT2IN_ONLY,
        local_ip_address: text("10.1.0.2"),
        external_ip_address: text("10.96.0.1"),
        protocol: 6,
        local_port: 6443,
        external_port: 443,
        external_sw_if_index: NO_INDEX,
        tag: "default/kubernetes".to_owned(),
        ..Default::default()
    });
    vectors.next_is(&CnatTranslationUpdate {
        translation: CnatTranslation {
            vip: CnatEndpoint::new(text("10.96.0.10"), 53),
            id: NO_INDEX,
            ip_proto: IpProto::IP_API_PROTO_UDP,
            flags: CnatTranslationFlags::CNAT_TRANSLATION_ALLOC_PORT.0,
            paths: vec![CnatEndpointTuple {
                dst_ep: CnatEndpoint::new(text("10.1.0.2"), 53),
                src_ep: CnatEndpoint::new(text("0.0.0.0"), 0),
                flags: 0,
            }],
            ..Default::default()
        },
    });
}

fn devices(vectors: &mut Vectors) {
    vectors.next_is(&TapCreateV3 {
        id: NO_INDEX,
        use_random_mac: true,
        num_rx_queues: 1,
        num_tx_queues: 1,
        tx_ring_sz: 256,
        rx_ring_sz: 256,
        host_mtu_set: true,
        host_mtu_size: 1450,
        host_ip4_prefix_set: true,
        host_ip4_prefix: Ip4Prefix::new(text("10.1.1.1"), 32),
        host_namespace_set: true,
        host_namespace: "cni-1234".to_owned(),
        host_if_name_set: true,
        host_if_name: "eth0".to_owned(),
        tag: "pod".to_owned(),
        ..Default::default()
    });
    vectors.next_is(&MemifCreateV2 {
        role: MemifRole::MEMIF_ROLE_API_MASTER,
        mode: MemifMode::MEMIF_MODE_API_IP,
        rx_queues: 1,
        tx_queues: 1,
        socket_id: 1,
        ring_size: 1024,
        buffer_size: 2048,
        ..Default::default()
    });
    vectors.next_is(&VxlanAddDelTunnelV3 {
        is_add: true,
        instance: NO_INDEX,
        src_address: text("192.168.0.1"),
        dst_address: text("192.168.0.2"),
        mcast_sw_if_index: NO_INDEX,
        decap_next_index: NO_INDEX,
        vni: 10,
        ..Default::default()
    });
    vectors.next_is(&SwInterfaceSetL2Xconnect {
        rx_sw_if_index: 3,
        tx_sw_if_index: 4,
        enable: true,
    });
}

fn tunnels(vectors: &mut Vectors) {
    let sids = Srv6SidList::new(&[text("fd00:2::1")], 1).unwrap();
    vectors.next_is(&SrPolicyAddV2 {
        bsid_addr: text("fd00:b::1"),
        weight: 1,
        is_encap: true,
        sids,
        encap_src: text("fd00:1::"),
        ..Default::default()
    });
    vectors.next_is(&SrLocalsidAddDel {
        localsid: text("fd00:1::100"),
        behavior: SrBehavior::SR_BEHAVIOR_API_DT4,
        ..Default::default()
    });
    vectors.next_is(&WireguardPeerAdd {
        peer: WireguardPeer {
            public_key: std::array::from_fn(|byte| u8::try_from(byte).unwrap()),
            port: 51820,
            persistent_keepalive: 25,
            endpoint: text("192.168.0.2"),
            sw_if_index: 7,
            allowed_ips: vec![text("10.1.2.0/24")],
            ..Default::default()
        },
    });
    vectors.next_is(&IpsecTunnelProtectUpdate {
        tunnel: IpsecTunnelProtect {
            sw_if_index: 9,
            sa_out: 10,
            sa_in: vec![20],
            ..Default::default()
        },
    });
}

#[test]
fn bytes_seen_on_a_running_vpp_are_read() {
    // Replies to a control_ping with context 7, from 26.06 and from a build of the branch after it.
    let (id, header, reply) =
        decode_message::<ControlPingReply>(&unhex("0018000000070000000000000000000005ef")).unwrap();
    assert_eq!((id, header.context), (CONTROL_PING_REPLY_ID, 7));
    assert_eq!(
        reply,
        ControlPingReply {
            retval: 0,
            client_index: 0,
            vpe_pid: 0x5ef
        }
    );
    let (_, _, reply) =
        decode_message::<ControlPingReply>(&unhex("0018000000070000000080000001000050d0")).unwrap();
    assert_eq!(
        reply,
        ControlPingReply {
            retval: 0,
            client_index: 0x8000_0001,
            vpe_pid: 0x50d0
        }
    );
}

/// A few of vpp_papi's encodings for where the others are not at hand: float, string, counted array, event.
#[test]
fn short_encodings_are_those_of_vpp_papi() {
    let request = Header {
        client_index: 0x8000_0001,
        context: 0x00c0_ffee,
    };
    let check = |bytes: Vec<u8>, hex: &str| assert_eq!(bytes, unhex(hex));
    check(
        encoded(
            request,
            &SwInterfaceDump {
                sw_if_index: NO_INDEX,
                name_filter_valid: true,
                name_filter: "tap".to_owned(),
            },
        ),
        "01238000000100c0ffeeffffffff0100000003746170",
    );
    check(
        encoded(
            request,
            &SwInterfaceSetMtu {
                sw_if_index: 3,
                mtu: [1450, 0, 0, 0],
            },
        ),
        "01238000000100c0ffee00000003000005aa000000000000000000000000",
    );
    check(
        encoded(
            request,
            &SwInterfaceAddDelAddress {
                sw_if_index: 3,
                is_add: true,
                del_all: false,
                prefix: text("fd00::1/64"),
            },
        ),
        "01238000000100c0ffee00000003010001fd00000000000000000000000000000140",
    );
    check(
        encoded(
            request,
            &AclInterfaceSetAclList {
                sw_if_index: 3,
                n_input: 2,
                acls: vec![1, 2, 3],
            },
        ),
        "01238000000100c0ffee000000030302000000010000000200000003",
    );
    let neighbor = IpNeighbor {
        sw_if_index: 3,
        mac_address: text("02:fe:00:00:00:01"),
        ip_address: text("10.1.1.1"),
        ..Default::default()
    };
    check(
        encoded(request, &IpNeighborDetails { age: 12.5, neighbor }),
        "012300c0ffee0000000000002940000000030002fe00000001000a010101000000000000000000000000",
    );
    check(
        encoded(
            Header {
                context: 77,
                ..request
            },
            &SwInterfaceEvent {
                sw_if_index: 3,
                flags: IfStatusFlags(3),
                deleted: false,
            },
        ),
        "0123800000010000004d000000030000000300",
    );
}

fn encoded<M: Message>(header: Header, message: &M) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_message(&mut bytes, 291, header, message).unwrap();
    bytes
}
