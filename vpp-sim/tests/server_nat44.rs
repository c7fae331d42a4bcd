//! nat44-ed through the API: return codes and dumps as VPP 26.06 gave them to the same requests.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
mod server_common;

use std::net::Ipv4Addr;

use server_common::{code, loopback, start};
use vpp_api::messages::interface::SwInterfaceAddDelAddress;
use vpp_api::messages::ip::IpTableDump;
use vpp_api::messages::nat44_ed::*;
use vpp_api::types::NO_INDEX;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn enable(enable: bool) -> Nat44EdPluginEnableDisable {
    Nat44EdPluginEnableDisable {
        enable,
        ..Default::default()
    }
}

fn side(sw_if_index: u32, flags: NatConfigFlags, is_add: bool) -> Nat44InterfaceAddDelFeature {
    Nat44InterfaceAddDelFeature {
        is_add,
        flags,
        sw_if_index,
    }
}

const INSIDE: NatConfigFlags = NatConfigFlags::NAT_IS_INSIDE;
const OUTSIDE: NatConfigFlags = NatConfigFlags::NAT_IS_OUTSIDE;

fn range(first: &str, last: &str, vrf_id: u32, is_add: bool) -> Nat44AddDelAddressRange {
    Nat44AddDelAddressRange {
        first_ip_address: ip(first),
        last_ip_address: ip(last),
        vrf_id,
        is_add,
        ..Default::default()
    }
}

fn mapping(external_port: u16, flags: u8) -> Nat44AddDelStaticMappingV2 {
    Nat44AddDelStaticMappingV2 {
        is_add: true,
        flags: NatConfigFlags(flags),
        local_ip_address: ip("10.0.0.2"),
        external_ip_address: ip("20.0.0.9"),
        protocol: 6,
        local_port: 80,
        external_port,
        external_sw_if_index: NO_INDEX,
        vrf_id: NO_INDEX,
        tag: "ours".into(),
        ..Default::default()
    }
}

fn backend(address: &str, probability: u8) -> Nat44LbAddrPort {
    Nat44LbAddrPort {
        addr: ip(address),
        port: 80,
        probability,
        vrf_id: 0,
    }
}

fn balanced(external: &str, flags: NatConfigFlags) -> Nat44AddDelLbStaticMapping {
    Nat44AddDelLbStaticMapping {
        is_add: true,
        flags,
        external_addr: ip(external),
        external_port: 80,
        protocol: 6,
        affinity: 10,
        tag: "lb".into(),
        locals: vec![backend("10.0.0.2", 1), backend("10.0.0.3", 1)],
    }
}

const OUT2IN_ONLY: NatConfigFlags = NatConfigFlags::NAT_IS_OUT2IN_ONLY;

#[tokio::test]
async fn it_has_to_be_enabled_first() {
    let (_directory, _server, client) = start().await;
    let a = loopback(&client).await;
    assert_eq!(code(&client, side(a, INSIDE, true)).await, -126);
    assert_eq!(code(&client, range("20.0.0.5", "20.0.0.6", 0, true)).await, -126);
    assert_eq!(code(&client, enable(false)).await, -169);
    let mut only = enable(true);
    only.flags = Nat44ConfigFlags::NAT44_IS_STATIC_MAPPING_ONLY;
    assert_eq!(code(&client, only).await, -126);
    assert_eq!(code(&client, enable(true)).await, 0);
    assert_eq!(code(&client, enable(true)).await, -170);
    let config = client.call(Nat44ShowRunningConfig {}).await.unwrap();
    assert_eq!((config.sessions, config.translation_buckets), (64512, 32768));
    assert_eq!(
        (config.timeouts.udp, config.timeouts.tcp_established),
        (300, 7440)
    );
    assert!(config.ipfix_logging_enabled, "as VPP, always");
}

#[tokio::test]
async fn interfaces_are_on_one_side_on_both_or_after_routing() {
    let (_directory, _server, client) = start().await;
    let (a, b) = (loopback(&client).await, loopback(&client).await);
    client.call(enable(true)).await.unwrap();
    for (interface, flags, is_add, expected) in [
        (a, INSIDE, true, 0),
        (a, INSIDE, true, 0),
        (77, OUTSIDE, true, -2),
        (b, OUTSIDE, false, -6),
        (a, OUTSIDE, true, 0),
    ] {
        assert_eq!(code(&client, side(interface, flags, is_add)).await, expected);
    }
    let dump = client.dump(Nat44InterfaceDump {}).await.unwrap();
    assert_eq!(
        dump.iter()
            .map(|i| (i.sw_if_index, i.flags.0))
            .collect::<Vec<_>>(),
        [(a, 48)]
    );
    let output = |sw_if_index, is_add| Nat44EdAddDelOutputInterface { is_add, sw_if_index };
    assert_eq!(code(&client, output(a, true)).await, -81);
    assert!(
        client
            .stream(Nat44EdOutputInterfaceGet::default())
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(code(&client, output(b, true)).await, 0);
    assert_eq!(code(&client, output(b, true)).await, -81);
    assert_eq!(code(&client, side(b, OUTSIDE, true)).await, -81);
    let all = client.stream(Nat44EdOutputInterfaceGet::default()).await.unwrap();
    assert_eq!(all.iter().map(|i| i.sw_if_index).collect::<Vec<_>>(), [b]);
    assert_eq!(code(&client, output(b, false)).await, 0);
    assert_eq!(code(&client, output(b, false)).await, -6);
}

#[tokio::test]
async fn addresses_are_added_one_by_one_up_to_the_first_failure() {
    let (_directory, _server, client) = start().await;
    client.call(enable(true)).await.unwrap();
    assert_eq!(
        code(&client, range("20.0.0.5", "20.0.0.6", NO_INDEX, true)).await,
        0
    );
    assert_eq!(code(&client, range("20.0.0.4", "20.0.0.5", 7, true)).await, -81);
    let dump = client.dump(Nat44AddressDump {}).await.unwrap();
    let seen: Vec<_> = dump.iter().map(|a| (a.ip_address, a.vrf_id)).collect();
    assert_eq!(
        seen,
        [
            (ip("20.0.0.5"), NO_INDEX),
            (ip("20.0.0.6"), NO_INDEX),
            (ip("20.0.0.4"), 7)
        ]
    );
    // A table that is named comes to be, and goes with its last user.
    let tables = || async {
        let dump = client.dump(IpTableDump::default()).await.unwrap();
        dump.iter().any(|t| t.table.table_id == 7)
    };
    assert!(tables().await);
    assert_eq!(code(&client, range("20.0.0.4", "20.0.0.4", 0, false)).await, 0);
    assert_eq!(code(&client, range("20.0.0.4", "20.0.0.4", 0, false)).await, -6);
    assert!(!tables().await);
}

#[tokio::test]
async fn a_lent_address_follows_its_interface() {
    let (_directory, _server, client) = start().await;
    let a = loopback(&client).await;
    client.call(enable(true)).await.unwrap();
    let lend = |is_add| Nat44AddDelInterfaceAddr {
        is_add,
        sw_if_index: a,
        ..Default::default()
    };
    assert_eq!(code(&client, lend(false)).await, -6);
    assert_eq!(code(&client, lend(true)).await, 0);
    assert_eq!(code(&client, lend(true)).await, -81);
    let pool = || async { client.dump(Nat44AddressDump {}).await.unwrap() };
    assert!(pool().await.is_empty());
    let address = |is_add| SwInterfaceAddDelAddress {
        sw_if_index: a,
        is_add,
        del_all: false,
        prefix: "40.0.0.1/24".parse().unwrap(),
    };
    client.call(address(true)).await.unwrap();
    assert_eq!(pool().await[0].ip_address, ip("40.0.0.1"));
    client.call(address(false)).await.unwrap();
    assert!(pool().await.is_empty());
}

#[tokio::test]
async fn mappings_have_vpps_codes() {
    let (_directory, _server, client) = start().await;
    client.call(enable(true)).await.unwrap();
    for (request, expected) in [
        (mapping(8080, 0), 0),
        (mapping(8080, 0), -81),
        (mapping(8081, 0), -81),
        (mapping(8081, 4), 0),
        (mapping(0, 9), -126),
        (
            Nat44AddDelStaticMappingV2 {
                is_add: false,
                ..mapping(1, 0)
            },
            -6,
        ),
    ] {
        assert_eq!(code(&client, request).await, expected);
    }
    let dump = client.dump(Nat44StaticMappingDump {}).await.unwrap();
    let seen: Vec<_> = dump
        .iter()
        .map(|m| (m.external_port, m.local_port, m.vrf_id, m.flags.0, m.tag.as_str()))
        .collect();
    assert_eq!(seen, [(8080, 80, 0, 0, "ours"), (8081, 80, 0, 4, "ours")]);
    let exempt = |vrf_id, is_add| Nat44AddDelIdentityMapping {
        is_add,
        ip_address: ip("20.0.0.20"),
        protocol: 17,
        port: 53,
        sw_if_index: NO_INDEX,
        vrf_id,
        ..Default::default()
    };
    assert_eq!(code(&client, exempt(0, true)).await, 0);
    assert_eq!(code(&client, exempt(0, true)).await, -81);
    assert_eq!(code(&client, exempt(5, true)).await, 0, "another table");
    assert_eq!(code(&client, exempt(6, false)).await, -6);
    let dump = client.dump(Nat44IdentityMappingDump {}).await.unwrap();
    assert_eq!(dump.iter().map(|m| m.vrf_id).collect::<Vec<_>>(), [0, 5]);
}

#[tokio::test]
async fn mappings_with_several_backends_have_vpps_codes() {
    let (_directory, server, client) = start().await;
    client.call(enable(true)).await.unwrap();
    let single = Nat44AddDelLbStaticMapping {
        locals: vec![backend("10.0.0.2", 1)],
        ..balanced("99.0.0.1", OUT2IN_ONLY)
    };
    assert_eq!(code(&client, single).await, -7);
    assert_eq!(
        code(&client, balanced("99.0.0.1", NatConfigFlags::default())).await,
        -6
    );
    assert_eq!(code(&client, balanced("99.0.0.1", OUT2IN_ONLY)).await, 0);
    assert_eq!(code(&client, balanced("99.0.0.1", OUT2IN_ONLY)).await, -81);
    // It failed, so what the mapping has must be asked for.
    let dump = client.dump(Nat44LbStaticMappingDump {}).await.unwrap();
    assert_eq!(
        (dump[0].affinity, dump[0].locals.len()),
        (0, 2),
        "VPP forgets the affinity"
    );
    let local = |address: &str, is_add| Nat44LbStaticMappingAddDelLocal {
        is_add,
        external_addr: ip("99.0.0.1"),
        external_port: 80,
        protocol: 6,
        local: backend(address, 1),
    };
    assert_eq!(code(&client, local("10.0.0.4", true)).await, 0);
    assert_eq!(code(&client, local("10.0.0.4", true)).await, -81);
    client.dump(Nat44LbStaticMappingDump {}).await.unwrap();
    assert_eq!(code(&client, local("10.0.0.9", false)).await, -6);
    client.dump(Nat44LbStaticMappingDump {}).await.unwrap();
    assert_eq!(code(&client, local("10.0.0.2", false)).await, 0);
    assert_eq!(code(&client, local("10.0.0.3", false)).await, -1, "two must stay");
    let gone = Nat44AddDelLbStaticMapping {
        is_add: false,
        locals: Vec::new(),
        ..balanced("99.0.0.1", OUT2IN_ONLY)
    };
    assert_eq!(code(&client, gone.clone()).await, 0);
    assert_eq!(code(&client, gone).await, -6);
    assert_eq!(server.fatal(), None);
}

#[tokio::test]
async fn our_client_does_not_send_what_kills_vpp() {
    let (_directory, server, client) = start().await;
    client.call(enable(true)).await.unwrap();
    let with = |locals: Vec<Nat44LbAddrPort>| Nat44AddDelLbStaticMapping {
        locals,
        ..balanced("99.0.0.1", OUT2IN_ONLY)
    };
    for locals in [
        vec![backend("10.0.0.2", 1); 256],
        vec![backend("10.0.0.2", 0); 2],
        vec![backend("10.0.0.2", 128); 2],
    ] {
        let refused = client.call(with(locals)).await.unwrap_err();
        assert!(matches!(refused, vpp_api::Error::Refused { .. }), "{refused}");
    }
    assert_eq!(server.fatal(), None);
}

/// VPP answers the second version's dump with the first one's id.
#[tokio::test]
async fn tables_with_routes_are_listed_under_the_wrong_id() {
    let (_directory, _server, client) = start().await;
    let table = |is_add| Nat44EdAddDelVrfTable {
        table_vrf_id: 4,
        is_add,
    };
    let route = |table_vrf_id, is_add| Nat44EdAddDelVrfRoute {
        table_vrf_id,
        vrf_id: 6,
        is_add,
    };
    assert_eq!(code(&client, table(true)).await, 0);
    assert_eq!(code(&client, table(true)).await, -81);
    assert_eq!(code(&client, route(4, true)).await, 0);
    assert_eq!(code(&client, route(4, true)).await, -81);
    assert_eq!(code(&client, route(9, true)).await, -6);
    let dump = client.dump(Nat44EdVrfTablesV2Dump {}).await.unwrap();
    assert_eq!((dump[0].table_vrf_id, dump[0].vrf_ids.as_slice()), (4, &[6][..]));
    assert_eq!(code(&client, table(false)).await, 0);
    assert_eq!(code(&client, table(false)).await, -6);
}
