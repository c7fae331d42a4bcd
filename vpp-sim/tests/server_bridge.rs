//! Bridge domains through the API: return codes and dumps as VPP 26.06 gave them to the same requests.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
mod server_common;

use server_common::{code, loopback, start};
use vpp_api::Client;
use vpp_api::messages::l2::*;
use vpp_api::types::{MacAddress, NO_INDEX};

fn domain(bd_id: u32, is_add: bool) -> BridgeDomainAddDelV2 {
    BridgeDomainAddDelV2 {
        bd_id,
        flood: true,
        uu_flood: true,
        forward: true,
        learn: true,
        bd_tag: "t".into(),
        is_add,
        ..Default::default()
    }
}

fn port(rx_sw_if_index: u32, bd_id: u32, port_type: L2PortType, shg: u8) -> SwInterfaceSetL2Bridge {
    SwInterfaceSetL2Bridge {
        rx_sw_if_index,
        bd_id,
        port_type,
        shg,
        enable: true,
    }
}

const NORMAL: L2PortType = L2PortType::L2_API_PORT_TYPE_NORMAL;
const BVI: L2PortType = L2PortType::L2_API_PORT_TYPE_BVI;
const UU_FWD: L2PortType = L2PortType::L2_API_PORT_TYPE_UU_FWD;

async fn dump(client: &Client, bd_id: u32) -> Vec<BridgeDomainDetails> {
    let dump = BridgeDomainDump {
        bd_id,
        sw_if_index: NO_INDEX,
    };
    client.dump(dump).await.unwrap()
}

/// BVI, port for unknown addresses, and members with their groups.
async fn ports(client: &Client, bd_id: u32) -> (u32, u32, Vec<(u32, u8)>) {
    let all = dump(client, bd_id).await;
    let members = all[0].sw_if_details.iter();
    (
        all[0].bvi_sw_if_index,
        all[0].uu_fwd_sw_if_index,
        members.map(|m| (m.sw_if_index, m.shg)).collect(),
    )
}

#[tokio::test]
async fn domains_come_and_go() {
    let (_directory, _server, client) = start().await;
    assert_eq!(code(&client, domain(0, true)).await, -119);
    assert_eq!(code(&client, domain(0, false)).await, -121);
    assert_eq!(code(&client, domain(5, true)).await, 0);
    assert_eq!(code(&client, domain(5, true)).await, -119);
    assert_eq!(code(&client, domain(1 << 24, true)).await, -122);
    assert_eq!(code(&client, domain(6, false)).await, -6);
    let any = client.call(domain(NO_INDEX, true)).await.unwrap();
    assert_eq!(any.bd_id, 7_271_263);
    let old = BridgeDomainAddDel {
        bd_id: 7,
        arp_term: true,
        mac_age: 9,
        is_add: true,
        ..Default::default()
    };
    assert_eq!(code(&client, old).await, 0);
    let seen = dump(&client, NO_INDEX).await;
    let ids: Vec<_> = seen.iter().map(|d| d.bd_id).collect();
    assert_eq!(ids, [5, 7_271_263, 7]);
    assert_eq!(
        (seen[0].flood, seen[0].learn, seen[0].bd_tag.as_str()),
        (true, true, "t")
    );
    assert_eq!(
        (seen[2].forward, seen[2].arp_term, seen[2].mac_age),
        (false, true, 9)
    );
    assert!(dump(&client, 0).await.is_empty());
    let by_interface = BridgeDomainDump {
        bd_id: NO_INDEX,
        sw_if_index: 1,
    };
    assert!(client.dump(by_interface).await.unwrap().is_empty());
    let flags = |bd_id, is_set, flags| BridgeFlags { bd_id, is_set, flags };
    let learn = BdFlags::BRIDGE_API_FLAG_LEARN;
    assert_eq!(code(&client, flags(0, true, learn)).await, -121);
    assert_eq!(code(&client, flags(66, true, learn)).await, -6);
    let reply = client.call(flags(5, false, learn)).await.unwrap();
    assert_eq!(reply.resulting_feature_bitmap, 0xffff_fda7);
    let age = |bd_id| BridgeDomainSetMacAge { bd_id, mac_age: 1 };
    assert_eq!(code(&client, age(0)).await, -121);
    assert_eq!(code(&client, age(66)).await, -6);
    assert_eq!(code(&client, age(5)).await, 0);
}

#[tokio::test]
async fn members() {
    let (_directory, _server, client) = start().await;
    for _ in 0..3 {
        loopback(&client).await;
    }
    assert_eq!(code(&client, port(99, 5, NORMAL, 0)).await, -2);
    assert_eq!(code(&client, port(1, 1 << 24, NORMAL, 0)).await, -122);
    assert_eq!(code(&client, port(1, 5, L2PortType(9), 0)).await, -7);
    assert_eq!(code(&client, port(1, 5, UU_FWD, 1)).await, 0);
    assert_eq!(ports(&client, 5).await, (NO_INDEX, 1, vec![]));
    assert_eq!(code(&client, port(1, 5, BVI, 3)).await, 0);
    assert_eq!(ports(&client, 5).await, (1, NO_INDEX, vec![(1, 3)]));
    assert_eq!(code(&client, port(2, 5, BVI, 0)).await, -152);
    assert_eq!(ports(&client, 5).await, (1, NO_INDEX, vec![(1, 3)]));
    assert_eq!(code(&client, domain(5, false)).await, -120);
    assert_eq!(code(&client, port(2, 5, NORMAL, 4)).await, 0);
    assert_eq!(ports(&client, 5).await, (1, NO_INDEX, vec![(1, 3), (2, 4)]));
    let bvi = |mac, user_instance| BviCreate { mac, user_instance };
    let zero = MacAddress::default();
    let made = client.call(bvi(zero, NO_INDEX)).await.unwrap();
    assert_eq!(made.sw_if_index, 4);
    assert_eq!(code(&client, bvi(zero, 0)).await, -31);
    assert_eq!(code(&client, bvi(zero, 16384)).await, -31);
    assert_eq!(code(&client, BviDelete { sw_if_index: 1 }).await, -2);
    assert_eq!(code(&client, BviDelete { sw_if_index: 4 }).await, 0);
}

#[tokio::test]
async fn addresses() {
    let (_directory, _server, client) = start().await;
    loopback(&client).await;
    loopback(&client).await;
    assert_eq!(code(&client, port(1, 5, NORMAL, 0)).await, 0);
    let entry = |bd_id, sw_if_index, is_add| L2fibAddDel {
        mac: MacAddress([2, 0, 0, 0, 1, 1]),
        bd_id,
        sw_if_index,
        is_add,
        ..Default::default()
    };
    assert_eq!(code(&client, entry(66, 1, true)).await, -6);
    assert_eq!(code(&client, entry(5, 99, true)).await, -2);
    assert_eq!(
        code(&client, entry(5, 2, true)).await,
        -2,
        "not in a bridge domain"
    );
    assert_eq!(code(&client, entry(5, 1, true)).await, 0);
    let seen = client.dump(L2FibTableDump { bd_id: 5 }).await.unwrap();
    assert_eq!(
        (seen.len(), seen[0].sw_if_index, seen[0].static_mac),
        (1, 1, false)
    );
    assert_eq!(code(&client, entry(5, 2, false)).await, -6);
    assert_eq!(code(&client, entry(5, 0, false)).await, 0, "0 is any interface");
    let filter = L2fibAddDel {
        filter_mac: true,
        ..entry(5, 0, true)
    };
    assert_eq!(code(&client, filter).await, 0);
    let seen = client.dump(L2FibTableDump { bd_id: NO_INDEX }).await.unwrap();
    assert_eq!((seen[0].sw_if_index, seen[0].filter_mac), (NO_INDEX, true));
    assert_eq!(code(&client, L2fibFlushBd { bd_id: 66 }).await, -6);
    assert_eq!(code(&client, L2fibFlushInt { sw_if_index: 99 }).await, -2);
    assert_eq!(code(&client, L2fibFlushInt { sw_if_index: 1 }).await, 0);
}
