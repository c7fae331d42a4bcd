//! The server through the project's own client: what each request does, with VPP's return codes.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
mod server_common;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use server_common::{code, loopback, start};

use vpp_api::messages::acl::{
    AclAddReplace, AclAddReplaceReply, AclDel, AclDump, AclInterfaceListDump, AclInterfaceSetAclList,
};
use vpp_api::messages::af_packet::{AfPacketCreateV3, AfPacketDelete, AfPacketDump, AfPacketMode};
use vpp_api::messages::cnat::{CnatTranslationDel, CnatTranslationDump, CnatTranslationUpdate};
use vpp_api::messages::interface::{
    DeleteLoopback, SwInterfaceAddDelAddress, SwInterfaceDump, SwInterfaceSetFlags, SwInterfaceSetUnnumbered,
    SwInterfaceTagAddDel, WantInterfaceEvents,
};
use vpp_api::messages::ip::{
    IpRouteAddDelV2, IpRouteV2Dump, IpTableAddDel, IpTableReplaceBegin, IpTableReplaceEnd,
};
use vpp_api::messages::ip_neighbor::{IpNeighbor, IpNeighborAddDel, IpNeighborDump};
use vpp_api::messages::tapv2::{SwInterfaceTapV2Dump, TapCreateV3, TapDeleteV2};
use vpp_api::messages::vlib::{AddNodeNext, CliInband};
use vpp_api::messages::vpe::ShowVersion;
use vpp_api::messages::vxlan::{VxlanAddDelTunnelV3, VxlanTunnelV2Dump};
use vpp_api::types::{
    AclAction, AclRule, AddressFamily, CnatEndpoint, CnatEndpointTuple, CnatTranslation, FibPath,
    IfStatusFlags, IpProto, IpRouteV2, IpTable, MacAddress, NO_INDEX, Prefix,
};
use vpp_api::{Client, VppEvent};
use vpp_sim::device::{Opened, TapRequest};
use vpp_sim::engine::Config;
use vpp_sim::server::spawn;

fn address(sw_if_index: u32, prefix: &str, is_add: bool) -> SwInterfaceAddDelAddress {
    SwInterfaceAddDelAddress {
        sw_if_index,
        is_add,
        del_all: false,
        prefix: prefix.parse().unwrap(),
    }
}

#[tokio::test]
async fn it_says_what_it_is() {
    let (_directory, _server, client) = start().await;
    let version = client.call(ShowVersion {}).await.unwrap();
    assert_eq!(
        (version.program.as_str(), version.version.as_str()),
        ("vpe", "26.06-sim")
    );
    let text = client
        .call(CliInband {
            cmd: "show version".into(),
        })
        .await
        .unwrap()
        .reply;
    assert!(text.starts_with("vpp v26.06-sim"), "{text}");
    assert_ne!(client.vpe_pid(), 0);
}

#[tokio::test]
async fn an_unknown_command_is_unknown_input() {
    let (_directory, _server, client) = start().await;
    assert_eq!(
        code(
            &client,
            CliInband {
                cmd: "show me".into()
            }
        )
        .await,
        -1
    );
}

/// Codes recorded from VPP 26.06 (notes of the interface API).
#[tokio::test]
async fn interface_codes_are_vpps() {
    let (_directory, _server, client) = start().await;
    let (a, b) = (loopback(&client).await, loopback(&client).await);
    assert_eq!((a, b), (1, 2));
    assert_eq!(code(&client, address(a, "10.1.0.1/24", true)).await, 0);
    assert_eq!(code(&client, address(b, "10.1.0.9/24", true)).await, -105);
    assert_eq!(code(&client, address(a, "fd00::1/64", true)).await, 0);
    assert_eq!(code(&client, address(b, "fd00::2/64", true)).await, -127);
    assert_eq!(code(&client, address(a, "10.9.0.1/24", false)).await, -60);
    assert_eq!(code(&client, address(77, "10.9.0.1/24", true)).await, -2);
    let unnumbered = |sw_if_index, unnumbered_sw_if_index| SwInterfaceSetUnnumbered {
        sw_if_index,
        unnumbered_sw_if_index,
        is_add: true,
    };
    assert_eq!(code(&client, unnumbered(77, a)).await, -10);
    assert_eq!(code(&client, unnumbered(a, 77)).await, -2);
    let tag = |tag: &str| SwInterfaceTagAddDel {
        is_add: true,
        sw_if_index: a,
        tag: tag.into(),
    };
    assert_eq!(code(&client, tag("")).await, -7);
    assert_eq!(code(&client, tag("contiv/x")).await, 0);
    let dump = |filter: &str| SwInterfaceDump {
        sw_if_index: NO_INDEX,
        name_filter_valid: true,
        name_filter: filter.into(),
    };
    let found = client.dump(dump("OP0")).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].interface_name.as_str(), found[0].tag.as_str()),
        ("loop0", "contiv/x")
    );
    assert_eq!(found[0].l2_address, MacAddress([0xde, 0xad, 0, 0, 0, 0]));
    assert_eq!(code(&client, DeleteLoopback { sw_if_index: 0 }).await, -2);
    assert_eq!(code(&client, DeleteLoopback { sw_if_index: a }).await, 0);
    let left = client.dump(SwInterfaceDump::default()).await.unwrap();
    assert_eq!(
        left.iter().map(|i| i.interface_name.as_str()).collect::<Vec<_>>(),
        ["local0", "loop1"]
    );
}

#[tokio::test]
async fn events_are_sent_to_those_who_asked_once() {
    let (_directory, server, client) = start().await;
    let want = WantInterfaceEvents {
        enable_disable: 1,
        pid: 4711,
    };
    assert_eq!(code(&client, want.clone()).await, 0);
    assert_eq!(
        code(&client, want).await,
        -31,
        "VPP refuses a second registration"
    );
    let mut events = client.events();
    let silent = Client::connect(server.socket(), "silent").await.unwrap();
    let mut none = silent.events();
    let index = loopback(&silent).await;
    let up = SwInterfaceSetFlags {
        sw_if_index: index,
        flags: IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP,
    };
    silent.call(up).await.unwrap();
    silent.call(DeleteLoopback { sw_if_index: index }).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let event = tokio::time::timeout(Duration::from_secs(5), events.recv())
            .await
            .unwrap()
            .unwrap();
        if let VppEvent::SwInterface(event) = event {
            seen.push((event.sw_if_index, event.flags.0, event.deleted));
        }
    }
    // Created, admin and link up in one, deleted: as recorded.
    assert_eq!(seen, [(1, 0, false), (1, 3, false), (1, 0, true)]);
    assert!(none.try_recv().is_err());
}

#[tokio::test]
async fn a_tap_opens_its_host_side_and_is_listed_as_asked() {
    let (_directory, server, client) = start().await;
    let request = TapCreateV3 {
        id: NO_INDEX,
        use_random_mac: false,
        mac_address: MacAddress([2, 0, 0, 0, 0, 1]),
        host_mtu_set: true,
        host_mtu_size: 1450,
        host_mac_addr_set: true,
        host_mac_addr: MacAddress([2, 0, 0, 0, 0, 2]),
        host_namespace_set: true,
        host_namespace: "/var/run/netns/pod".into(),
        host_if_name_set: true,
        host_if_name: "eth0".into(),
        ..TapCreateV3::default()
    };
    let index = client.call(request.clone()).await.unwrap().sw_if_index;
    let expected = TapRequest {
        namespace: Some("/var/run/netns/pod".into()),
        name: Some("eth0".into()),
        mac: [2, 0, 0, 0, 0, 2],
        mtu: Some(1450),
        ..TapRequest::default()
    };
    assert_eq!(server.opened(), [Opened::Tap(expected)]);
    let taps = client
        .dump(SwInterfaceTapV2Dump {
            sw_if_index: NO_INDEX,
        })
        .await
        .unwrap();
    assert_eq!(taps.len(), 1);
    let tap = &taps[0];
    assert_eq!(
        (tap.sw_if_index, tap.id, tap.dev_name.as_str()),
        (index, 0, "tap0")
    );
    assert_eq!(
        (tap.host_namespace.as_str(), tap.host_if_name.as_str()),
        ("/var/run/netns/pod", "eth0")
    );
    assert_eq!(
        (tap.rx_ring_sz, tap.host_mtu_size, tap.host_mac_addr),
        (256, 1450, request.host_mac_addr)
    );
    assert_eq!(
        code(
            &client,
            TapCreateV3 {
                id: 0,
                ..request.clone()
            }
        )
        .await,
        -71,
        "id taken"
    );
    assert_eq!(
        code(
            &client,
            TapCreateV3 {
                rx_ring_sz: 3,
                ..request
            }
        )
        .await,
        -144
    );
    assert_eq!(code(&client, TapDeleteV2 { sw_if_index: 0 }).await, -2);
    assert_eq!(code(&client, TapDeleteV2 { sw_if_index: index }).await, 0);
    assert!(
        client
            .dump(SwInterfaceTapV2Dump {
                sw_if_index: NO_INDEX
            })
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn af_packet_is_known_by_its_host_device() {
    let (_directory, _server, client) = start().await;
    let request = AfPacketCreateV3 {
        mode: AfPacketMode::AF_PACKET_API_MODE_ETHERNET,
        use_random_hw_addr: true,
        host_if_name: "vpp0".into(),
        ..AfPacketCreateV3::default()
    };
    assert_eq!(
        code(
            &client,
            AfPacketCreateV3 {
                mode: AfPacketMode(0),
                ..request.clone()
            }
        )
        .await,
        -7
    );
    assert_eq!(client.call(request.clone()).await.unwrap().sw_if_index, 1);
    assert_eq!(code(&client, request).await, -79);
    let devices = client.dump(AfPacketDump {}).await.unwrap();
    assert_eq!(
        (devices[0].sw_if_index, devices[0].host_if_name.as_str()),
        (1, "vpp0")
    );
    let interfaces = client.dump(SwInterfaceDump::default()).await.unwrap();
    assert_eq!(interfaces[1].interface_name, "host-vpp0");
    assert_eq!(interfaces[1].interface_dev_type, "af-packet");
    assert_eq!(
        code(
            &client,
            AfPacketDelete {
                host_if_name: "other".into()
            }
        )
        .await,
        -71
    );
    assert_eq!(
        code(
            &client,
            AfPacketDelete {
                host_if_name: "vpp0".into()
            }
        )
        .await,
        0
    );
}

fn route(prefix: &str, paths: Vec<FibPath>) -> IpRouteAddDelV2 {
    let prefix: Prefix = prefix.parse().unwrap();
    let route = IpRouteV2 {
        prefix,
        paths,
        ..IpRouteV2::default()
    };
    IpRouteAddDelV2 {
        is_add: true,
        is_multipath: false,
        route,
    }
}

async fn prefixes(client: &Client, src: u8) -> BTreeSet<String> {
    let routes = client
        .dump(IpRouteV2Dump {
            src,
            table: IpTable::default(),
        })
        .await
        .unwrap();
    routes
        .iter()
        .map(|r| format!("{}/{}", r.route.prefix.address, r.route.prefix.len))
        .collect()
}

#[tokio::test]
async fn routes_come_back_as_set_among_vpps_own() {
    let (_directory, _server, client) = start().await;
    // An empty IPv4 table of VPP 26.06.
    let own = [
        "0.0.0.0/0",
        "0.0.0.0/32",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "255.255.255.255/32",
    ];
    assert_eq!(prefixes(&client, 0).await, own.map(String::from).into());
    let index = loopback(&client).await;
    let via = FibPath::via(index, IpAddr::from([10, 0, 0, 9]));
    assert_eq!(code(&client, route("10.2.0.0/16", vec![via.clone()])).await, 0);
    assert_eq!(code(&client, route("10.2.0.0/16", vec![])).await, -52);
    assert_eq!(
        code(
            &client,
            route("10.2.0.0/16", vec![FibPath::via(99, [10, 0, 0, 9].into())])
        )
        .await,
        -54
    );
    let mut long = route("10.2.0.0/16", vec![via.clone()]);
    long.route.prefix.len = 44;
    assert_eq!(code(&client, long).await, -171);
    let mut elsewhere = route("10.2.0.0/16", vec![via.clone()]);
    elsewhere.route.table_id = 9;
    assert_eq!(code(&client, elsewhere.clone()).await, -3);
    let table = IpTable {
        table_id: 9,
        is_ip6: false,
        name: "nine".into(),
    };
    assert_eq!(code(&client, IpTableAddDel { is_add: true, table }).await, 0);
    assert_eq!(code(&client, elsewhere).await, 0);
    let routes = client
        .dump(IpRouteV2Dump {
            src: 8,
            table: IpTable::default(),
        })
        .await
        .unwrap();
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0].route.src, 8);
    // rpf_id is 0 in dumps, whatever was sent.
    assert_eq!(routes[0].route.paths, [FibPath { rpf_id: 0, ..via }]);
}

#[tokio::test]
async fn replace_sweeps_what_was_not_added_again() {
    let (_directory, _server, client) = start().await;
    let drop = |prefix| {
        route(
            prefix,
            vec![FibPath::special(vpp_api::types::FibPathType(2), false)],
        )
    };
    for prefix in ["10.1.0.0/16", "10.2.0.0/16"] {
        client.call(drop(prefix)).await.unwrap();
    }
    let mut foreign = drop("10.3.0.0/16");
    foreign.route.src = 9;
    client.call(foreign).await.unwrap();
    client.call(IpTableReplaceBegin::default()).await.unwrap();
    client.call(drop("10.2.0.0/16")).await.unwrap();
    client.call(drop("10.4.0.0/16")).await.unwrap();
    client.call(IpTableReplaceEnd::default()).await.unwrap();
    assert_eq!(
        prefixes(&client, 8).await,
        ["10.2.0.0/16", "10.4.0.0/16"].map(String::from).into()
    );
    assert_eq!(
        prefixes(&client, 9).await,
        ["10.3.0.0/16"].map(String::from).into()
    );
}

#[tokio::test]
async fn neighbours_are_added_listed_and_unknown_when_gone() {
    let (_directory, _server, client) = start().await;
    let index = loopback(&client).await;
    let neighbor = IpNeighbor {
        sw_if_index: index,
        flags: vpp_api::messages::ip_neighbor::IpNeighborFlags(1),
        mac_address: MacAddress([2, 0, 0, 0, 0, 7]),
        ip_address: [10, 0, 0, 7].into(),
    };
    let change = |is_add| IpNeighborAddDel {
        is_add,
        neighbor: neighbor.clone(),
    };
    assert_eq!(code(&client, change(true)).await, 0);
    let dump = |af| IpNeighborDump {
        sw_if_index: NO_INDEX,
        af,
    };
    let found = client.dump(dump(AddressFamily::ADDRESS_IP4)).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].neighbor, neighbor);
    assert!(
        (0.0..60.0).contains(&found[0].age),
        "seconds, little-endian: {}",
        found[0].age
    );
    assert!(
        client
            .dump(dump(AddressFamily::ADDRESS_IP6))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(code(&client, change(false)).await, 0);
    assert_eq!(code(&client, change(false)).await, -6);
}

fn acl(acl_index: u32, rules: Vec<AclRule>) -> AclAddReplace {
    AclAddReplace {
        acl_index,
        tag: "contiv/t".into(),
        r: rules,
    }
}

#[tokio::test]
async fn acl_codes_are_vpps() {
    let (_directory, _server, client) = start().await;
    let permit = AclRule::any(AclAction::ACL_ACTION_API_PERMIT_REFLECT, false);
    let AclAddReplaceReply { acl_index: first, .. } =
        client.call(acl(NO_INDEX, vec![permit.clone()])).await.unwrap();
    let second = client.call(acl(NO_INDEX, vec![])).await.unwrap().acl_index;
    assert_eq!((first, second), (0, 1));
    assert_eq!(code(&client, acl(9, vec![])).await, -6);
    let host_bits = AclRule {
        src_prefix: "10.0.0.1/24".parse().unwrap(),
        ..permit.clone()
    };
    assert_eq!(code(&client, acl(NO_INDEX, vec![host_bits])).await, -57);
    let host_bits = AclRule {
        dst_prefix: "10.0.0.1/24".parse().unwrap(),
        ..permit.clone()
    };
    assert_eq!(code(&client, acl(NO_INDEX, vec![host_bits])).await, -58);
    let ports = AclRule {
        srcport_or_icmptype_first: 9,
        srcport_or_icmptype_last: 8,
        ..permit.clone()
    };
    assert_eq!(code(&client, acl(NO_INDEX, vec![ports])).await, -8);
    let index = loopback(&client).await;
    let bind = |n_input, acls: &[u32]| AclInterfaceSetAclList {
        sw_if_index: index,
        n_input,
        acls: acls.to_vec(),
    };
    assert_eq!(
        code(&client, bind(2, &[first, first])).await,
        1,
        "the same ACL twice: +1"
    );
    assert_eq!(code(&client, bind(1, &[first, second])).await, 0);
    assert_eq!(code(&client, bind(1, &[7])).await, -6);
    assert_eq!(
        code(
            &client,
            AclInterfaceSetAclList {
                sw_if_index: 99,
                ..bind(0, &[])
            }
        )
        .await,
        -2
    );
    assert_eq!(code(&client, AclDel { acl_index: first }).await, -142);
    assert_eq!(code(&client, AclDel { acl_index: second }).await, -143);
    let lists = client
        .dump(AclInterfaceListDump {
            sw_if_index: NO_INDEX,
        })
        .await
        .unwrap();
    assert_eq!(lists.len(), 2, "every interface, bound or not");
    assert_eq!(
        (lists[1].n_input, lists[1].acls.clone()),
        (1, vec![first, second])
    );
    let all = client.dump(AclDump { acl_index: NO_INDEX }).await.unwrap();
    assert_eq!(all[0].r, [permit]);
    assert_eq!(all[0].tag, "contiv/t");
}

fn translation(vip: &str, backends: &[&str]) -> CnatTranslationUpdate {
    let paths = backends
        .iter()
        .map(|backend| CnatEndpointTuple {
            dst_ep: CnatEndpoint::new(backend.parse().unwrap(), 8080),
            src_ep: CnatEndpoint::new(IpAddr::from([0, 0, 0, 0]), 0),
            flags: 0,
        })
        .collect();
    let translation = CnatTranslation {
        vip: CnatEndpoint::new(vip.parse().unwrap(), 80),
        ip_proto: IpProto::IP_API_PROTO_TCP,
        paths,
        ..CnatTranslation::default()
    };
    CnatTranslationUpdate { translation }
}

#[tokio::test]
async fn translations_are_updated_in_place() {
    let (_directory, _server, client) = start().await;
    let id = client
        .call(translation("10.96.0.1", &["10.1.0.2", "10.1.0.3"]))
        .await
        .unwrap()
        .id;
    assert_eq!(
        client
            .call(translation("10.96.0.1", &["10.1.0.4"]))
            .await
            .unwrap()
            .id,
        id
    );
    let all = client.dump(CnatTranslationDump {}).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].translation.paths.len(), 1);
    assert_eq!(
        all[0].translation.paths[0].dst_ep.addr,
        IpAddr::from([10, 1, 0, 4])
    );
    assert_eq!(
        all[0].translation.paths[0].flags, 4,
        "VPP shows its own flag: active"
    );
    assert_eq!(code(&client, CnatTranslationDel { id: id + 1 }).await, -6);
    assert_eq!(code(&client, CnatTranslationDel { id }).await, 0);
}

#[tokio::test]
async fn a_tunnel_for_ip_is_what_was_recorded() {
    let (_directory, _server, client) = start().await;
    let next = AddNodeNext {
        node_name: "vxlan4-input".into(),
        next_name: "ip4-input".into(),
    };
    let decap_next_index = client.call(next).await.unwrap().next_index;
    assert_eq!(decap_next_index, 2, "as on VPP 26.06");
    let tunnel = VxlanAddDelTunnelV3 {
        is_add: true,
        instance: NO_INDEX,
        src_address: [192, 168, 16, 1].into(),
        dst_address: [192, 168, 16, 2].into(),
        mcast_sw_if_index: NO_INDEX,
        decap_next_index,
        vni: 10,
        is_l3: true,
        ..VxlanAddDelTunnelV3::default()
    };
    let index = client.call(tunnel.clone()).await.unwrap().sw_if_index;
    assert_eq!(code(&client, tunnel.clone()).await, -75);
    let all = client
        .dump(VxlanTunnelV2Dump {
            sw_if_index: NO_INDEX,
        })
        .await
        .unwrap();
    assert_eq!(
        (
            all[0].sw_if_index,
            all[0].instance,
            all[0].src_port,
            all[0].decap_next_index
        ),
        (index, 0, 4789, 2)
    );
    let same = VxlanAddDelTunnelV3 {
        dst_address: tunnel.src_address,
        ..tunnel.clone()
    };
    assert_eq!(code(&client, same).await, -82);
    let delete = VxlanAddDelTunnelV3 {
        is_add: false,
        ..tunnel
    };
    assert_eq!(client.call(delete.clone()).await.unwrap().sw_if_index, index);
    assert_eq!(code(&client, delete).await, -6);
}

#[tokio::test]
async fn subscriptions_and_connections_end_but_objects_stay() {
    let (_directory, server, client) = start().await;
    let index = loopback(&client).await;
    server.disconnect_clients();
    tokio::time::timeout(Duration::from_secs(5), client.closed())
        .await
        .unwrap();
    let again = Client::connect(server.socket(), "again").await.unwrap();
    assert_eq!(again.vpe_pid(), client.vpe_pid(), "the same VPP");
    assert!(
        again
            .dump(SwInterfaceDump::default())
            .await
            .unwrap()
            .iter()
            .any(|i| i.sw_if_index == index)
    );
    let path = server.socket().to_owned();
    drop(server);
    let restarted = spawn(Config::default(), path).unwrap();
    let after = Client::connect(restarted.socket(), "after").await.unwrap();
    assert_ne!(after.vpe_pid(), client.vpe_pid(), "another VPP");
    assert_eq!(after.dump(SwInterfaceDump::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_thousand_requests_at_once_are_answered_in_order() {
    let (_directory, _server, client) = start().await;
    let index = loopback(&client).await;
    let pending: Vec<_> = (0..1000u16)
        .map(|n| {
            let [high, low] = n.to_be_bytes();
            let prefix = format!("10.{high}.{low}.0/24");
            client.send(route(&prefix, vec![FibPath::via(index, [192, 0, 2, 1].into())]))
        })
        .collect();
    for reply in pending {
        reply.await.unwrap();
    }
    assert_eq!(prefixes(&client, 8).await.len(), 1000);
}
