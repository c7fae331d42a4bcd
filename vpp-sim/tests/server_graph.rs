//! Policers, reverse path checks, punting, traces, neighbours and queues through the API: return codes, dumps and events.
//! Values are of VPP's source (26.06) where no other place is named.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]
mod server_common;

use std::net::IpAddr;
use std::time::Duration;

use server_common::{code, loopback, start};
use vpp_api::messages::af_xdp::*;
use vpp_api::messages::feature::FeatureIsEnabled;
use vpp_api::messages::interface::*;
use vpp_api::messages::ip::*;
use vpp_api::messages::ip_neighbor::*;
use vpp_api::messages::policer::*;
use vpp_api::messages::punt::*;
use vpp_api::messages::tapv2::*;
use vpp_api::messages::tracedump::*;
use vpp_api::messages::tracenode::TracenodeEnableDisable;
use vpp_api::messages::urpf::*;
use vpp_api::messages::vlib::*;
use vpp_api::types::*;
use vpp_api::{Client, VppEvent};
use vpp_sim::device::Opened;
use vpp_sim::server::State;

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One rate of 1 Mbit/s and a burst of 10,000 bytes; what exceeds is dropped.
fn infos() -> PolicerConfig {
    let transmit = Sse2QosAction {
        type_: Sse2QosActionType::SSE2_QOS_ACTION_API_TRANSMIT,
        dscp: 0,
    };
    PolicerConfig {
        cir: 1000,
        cb: 10_000,
        conform_action: transmit,
        ..PolicerConfig::default()
    }
}

async fn is_enabled(client: &Client, sw_if_index: u32, arc: &str, feature: &str) -> bool {
    let request = FeatureIsEnabled {
        arc_name: arc.to_owned(),
        feature_name: feature.to_owned(),
        sw_if_index,
    };
    client.call(request).await.unwrap().is_enabled
}

#[tokio::test]
async fn policers_come_change_and_go() {
    let (_directory, _server, client) = start().await;
    let add = |name: &str, infos: PolicerConfig| PolicerAdd {
        name: name.to_owned(),
        infos,
    };
    let index = client.call(add("a", infos())).await.unwrap().policer_index;
    assert_eq!(index, 0);
    assert_eq!(code(&client, add("a", infos())).await, -81, "the name is taken");
    let bad = PolicerConfig { eb: 1, ..infos() };
    assert_eq!(code(&client, add("b", bad.clone())).await, -7);
    assert_eq!(
        code(
            &client,
            PolicerUpdate {
                policer_index: 0,
                infos: bad
            }
        )
        .await,
        -7
    );
    assert_eq!(
        code(
            &client,
            PolicerUpdate {
                policer_index: 9,
                infos: infos()
            }
        )
        .await,
        -6
    );
    assert_eq!(code(&client, PolicerReset { policer_index: 9 }).await, -6);
    assert_eq!(code(&client, PolicerReset { policer_index: 0 }).await, 0);
    let bind = |bind_enable| PolicerBindV2 {
        policer_index: 0,
        worker_index: 0,
        bind_enable,
    };
    assert_eq!(code(&client, bind(true)).await, -89, "no workers");
    assert_eq!(code(&client, bind(false)).await, 0);
    let by_name = PolicerBind {
        name: "z".to_owned(),
        ..PolicerBind::default()
    };
    assert_eq!(code(&client, by_name).await, -6);
    let shown = client
        .dump(PolicerDumpV2 {
            policer_index: NO_INDEX,
        })
        .await
        .unwrap();
    assert_eq!(shown.len(), 1);
    let one = &shown[0];
    assert_eq!(
        (one.name.as_str(), one.cir, one.cb, one.single_rate),
        ("a", 1000, 10_000, true)
    );
    assert_eq!(one.current_bucket, one.current_limit);
    assert_eq!(one.current_limit, 10_000 << one.scale);
    let named = |name: &str| PolicerDump {
        match_name_valid: true,
        match_name: name.to_owned(),
    };
    assert_eq!(client.dump(named("a")).await.unwrap(), shown);
    assert_eq!(client.dump(named("b")).await.unwrap(), []);
    let del = PolicerAddDel {
        name: "a".to_owned(),
        ..PolicerAddDel::default()
    };
    assert_eq!(code(&client, del.clone()).await, 0);
    assert_eq!(code(&client, del).await, -6);
    assert_eq!(code(&client, PolicerDel { policer_index: 0 }).await, -6);
    assert_eq!(client.dump(PolicerDump::default()).await.unwrap(), []);
}

#[tokio::test]
async fn policers_are_applied_and_taken_away() {
    let (_directory, server, client) = start().await;
    let sw_if_index = loopback(&client).await;
    let add = PolicerAddDel {
        is_add: true,
        name: "a".to_owned(),
        cir: 1000,
        cb: 10_000,
        ..PolicerAddDel::default()
    };
    let policer_index = client.call(add).await.unwrap().policer_index;
    let output = |sw_if_index, apply| PolicerOutput {
        name: "a".to_owned(),
        sw_if_index,
        apply,
    };
    assert_eq!(code(&client, output(99, true)).await, -2);
    assert_eq!(code(&client, output(sw_if_index, true)).await, 0);
    assert!(is_enabled(&client, sw_if_index, "ip4-output", "policer-output").await);
    assert!(is_enabled(&client, sw_if_index, "ip6-output", "policer-output").await);
    assert!(!is_enabled(&client, sw_if_index, "ip4-unicast", "policer-input").await);
    assert_eq!(code(&client, output(sw_if_index, false)).await, 0);
    assert!(!is_enabled(&client, sw_if_index, "ip4-output", "policer-output").await);
    let input = |policer_index, apply| PolicerInputV2 {
        policer_index,
        sw_if_index,
        apply,
    };
    let unknown = PolicerInputV2 {
        policer_index: 9,
        sw_if_index: 0,
        apply: true,
    };
    assert_eq!(code(&client, unknown).await, -6);
    assert_eq!(code(&client, input(policer_index, true)).await, 0);
    assert_eq!(code(&client, input(policer_index, false)).await, 0);
    let police = |is_add| IpPuntPolice {
        policer_index,
        is_add,
        is_ip6: true,
    };
    assert_eq!(code(&client, police(true)).await, 0);
    assert_eq!(code(&client, police(false)).await, 0);
    // Another connection knows nothing of what this one applied: what VPP does not survive ends the dataplane.
    let other = Client::connect(server.socket(), "other").await.unwrap();
    assert_eq!(code(&client, input(policer_index, true)).await, 0);
    assert_eq!(code(&other, input(policer_index, true)).await, 0);
    assert!(other.call(input(policer_index, false)).await.is_err());
    assert!(matches!(server.ended().await, State::Died(reason) if reason.contains("more than once")));
}

#[tokio::test]
async fn reverse_path_checks_are_set_and_shown() {
    let (_directory, _server, client) = start().await;
    let sw_if_index = loopback(&client).await;
    let update = |mode, af, is_input, table_id| UrpfUpdateV2 {
        is_input,
        mode,
        af,
        sw_if_index,
        table_id,
    };
    let (v4, v6) = (AddressFamily::ADDRESS_IP4, AddressFamily::ADDRESS_IP6);
    let (loose, strict, off) = (
        UrpfMode::URPF_API_MODE_LOOSE,
        UrpfMode::URPF_API_MODE_STRICT,
        UrpfMode::URPF_API_MODE_OFF,
    );
    let shown = async || {
        let all = client
            .dump(UrpfInterfaceDump {
                sw_if_index: NO_INDEX,
            })
            .await
            .unwrap();
        let all = all
            .into_iter()
            .map(|one| (one.af, one.is_input, one.mode, one.table_id));
        all.collect::<Vec<_>>()
    };
    assert_eq!(
        code(&client, update(strict, v4, true, 77)).await,
        -7,
        "no such table"
    );
    assert_eq!(code(&client, update(UrpfMode(9), v4, true, 0)).await, -7);
    assert_eq!(
        code(&client, update(strict, AddressFamily(7), true, 0)).await,
        -97
    );
    assert_eq!(code(&client, update(strict, v4, true, NO_INDEX)).await, 0);
    assert_eq!(code(&client, update(loose, v6, false, NO_INDEX)).await, 0);
    assert_eq!(shown().await, [(v4, true, strict, 0), (v6, false, loose, 0)]);
    assert!(is_enabled(&client, sw_if_index, "ip4-unicast", "ip4-rx-urpf-strict").await);
    assert!(is_enabled(&client, sw_if_index, "ip6-output", "ip6-tx-urpf-loose").await);
    // The checks follow the interface to another table, unless they have one of their own.
    let table = IpTable {
        table_id: 5,
        ..IpTable::default()
    };
    let add = IpTableAddDel { is_add: true, table };
    assert_eq!(code(&client, add).await, 0);
    let bind = SwInterfaceSetTable {
        sw_if_index,
        is_ipv6: false,
        vrf_id: 5,
    };
    assert_eq!(code(&client, bind).await, 0);
    assert_eq!(shown().await[0], (v4, true, strict, 5));
    // The first version looks in table 0, and is shown even when it is off: it has a table of its own.
    let first = |mode| UrpfUpdate {
        is_input: true,
        mode,
        af: v4,
        sw_if_index,
    };
    assert_eq!(code(&client, first(loose)).await, 0);
    assert_eq!(shown().await[0], (v4, true, loose, 0));
    assert!(!is_enabled(&client, sw_if_index, "ip4-unicast", "ip4-rx-urpf-strict").await);
    assert_eq!(code(&client, first(off)).await, 0);
    assert_eq!(shown().await[0], (v4, true, off, 0));
    assert_eq!(code(&client, update(off, v4, true, NO_INDEX)).await, 0);
    assert_eq!(code(&client, update(off, v6, false, NO_INDEX)).await, 0);
    assert_eq!(shown().await, []);
}

#[tokio::test]
async fn punting_answers_with_vpps_codes() {
    let (_directory, _server, client) = start().await;
    let (v4, v6) = (AddressFamily::ADDRESS_IP4, AddressFamily::ADDRESS_IP6);
    let (tcp, udp) = (IpProto::IP_API_PROTO_TCP, IpProto::IP_API_PROTO_UDP);
    let set = |punt, is_add| SetPunt { is_add, punt };
    assert_eq!(code(&client, set(Punt::l4(v4, udp, 7777), true)).await, 0);
    assert_eq!(code(&client, set(Punt::l4(v6, udp, u16::MAX), true)).await, 0);
    assert_eq!(code(&client, set(Punt::l4(v4, tcp, u16::MAX), true)).await, 0);
    assert_eq!(
        code(&client, set(Punt::l4(v4, tcp, 80), true)).await,
        -1,
        "TCP by port"
    );
    assert_eq!(
        code(&client, set(Punt::ip_proto(v4, udp), true)).await,
        -1,
        "a protocol as such"
    );
    assert_eq!(
        code(&client, set(Punt::l4(AddressFamily(5), udp, 1), true)).await,
        -97
    );
    assert_eq!(
        code(&client, set(Punt::l4(v4, IpProto(200), 1), true)).await,
        -153
    );
    let reasons = client.dump(PuntReasonDump::default()).await.unwrap();
    let names: Vec<_> = reasons
        .iter()
        .map(|one| (one.reason.id, one.reason.name.as_str()))
        .collect();
    assert_eq!(names[0], (1, "ipsec4-spi-o-udp-0"));
    assert_eq!(names.len(), 4);
    let exception = |id, is_add| set(Punt::exception(id), is_add);
    assert_eq!(code(&client, exception(1, true)).await, 0);
    assert_eq!(code(&client, exception(1, true)).await, -1, "twice");
    assert_eq!(code(&client, exception(1, false)).await, 0);
    assert_eq!(code(&client, exception(1, false)).await, -1);
    assert_eq!(code(&client, exception(99, true)).await, -1);
    let register = PuntSocketRegister {
        header_version: 1,
        punt: Punt::l4(v4, udp, 9),
        pathname: "/run/client.sock".to_owned(),
    };
    assert_eq!(code(&client, register).await, -1, "no socket is configured");
    let deregister = PuntSocketDeregister {
        punt: Punt::l4(v4, udp, 9),
    };
    assert_eq!(code(&client, deregister).await, -1);
    let sockets = PuntSocketDump {
        type_: PuntType::PUNT_API_TYPE_L4,
    };
    assert_eq!(client.dump(sockets).await.unwrap(), []);
    let sw_if_index = loopback(&client).await;
    let redirect = |is_add, rx_sw_if_index| AddDelIpPuntRedirectV2 {
        is_add,
        punt: PuntRedirectV2 {
            rx_sw_if_index,
            af: v4,
            paths: vec![FibPath::via(sw_if_index, addr("198.18.1.2"))],
        },
    };
    assert_eq!(code(&client, redirect(true, NO_INDEX)).await, 0);
    assert_eq!(code(&client, redirect(true, sw_if_index)).await, 0);
    let dump = |sw_if_index| IpPuntRedirectV2Dump { sw_if_index, af: v4 };
    let all = client.dump(dump(NO_INDEX)).await.unwrap();
    let from: Vec<_> = all.iter().map(|one| one.punt.rx_sw_if_index).collect();
    assert_eq!(from, [NO_INDEX, sw_if_index]);
    assert_eq!(all[0].punt.paths[0].next_hop(), Some(addr("198.18.1.2")));
    assert_eq!(client.dump(dump(sw_if_index)).await.unwrap().len(), 1);
    assert_eq!(code(&client, redirect(false, NO_INDEX)).await, 0);
    assert_eq!(code(&client, redirect(false, sw_if_index)).await, 0);
    assert_eq!(client.dump(dump(NO_INDEX)).await.unwrap(), []);
}

async fn node_index(client: &Client, name: &str) -> u32 {
    let request = GetNodeIndex {
        node_name: name.to_owned(),
    };
    client.call(request).await.unwrap().node_index
}

#[tokio::test]
async fn nodes_have_indices_and_arcs() {
    let (_directory, _server, client) = start().await;
    let lookup = node_index(&client, "ip4-lookup").await;
    assert_ne!(lookup, node_index(&client, "ip6-lookup").await);
    let unknown = GetNodeIndex {
        node_name: "nowhere".to_owned(),
    };
    assert_eq!(code(&client, unknown).await, -63);
    let arc = |node: &str, next: &str| GetNextIndex {
        node_name: node.to_owned(),
        next_name: next.to_owned(),
    };
    assert_eq!(code(&client, arc("nowhere", "ip4-input")).await, -63);
    assert_eq!(code(&client, arc("vxlan4-input", "nowhere")).await, -64);
    assert_eq!(code(&client, arc("vxlan4-input", "ip4-input")).await, -6);
    let add = AddNodeNext {
        node_name: "vxlan4-input".to_owned(),
        next_name: "ip4-input".to_owned(),
    };
    let added = client.call(add).await.unwrap().next_index;
    let found = client.call(arc("vxlan4-input", "ip4-input")).await.unwrap();
    assert_eq!(found.next_index, added);
    // Those of an interface come and go with it.
    let sw_if_index = loopback(&client).await;
    node_index(&client, "loop0-output").await;
    client.call(DeleteLoopback { sw_if_index }).await.unwrap();
    let gone = GetNodeIndex {
        node_name: "loop0-output".to_owned(),
    };
    assert_eq!(code(&client, gone).await, -63);
    let threads = client.call(ShowThreads::default()).await.unwrap().thread_data;
    assert_eq!((threads.len(), threads[0].name.as_str()), (1, "vpp_main"));
}

#[tokio::test]
async fn packets_are_traced_by_the_node_they_come_in_at() {
    let (_directory, server, client) = start().await;
    let tap = TapCreateV2 {
        id: NO_INDEX,
        ..TapCreateV2::default()
    };
    let sw_if_index = client.call(tap).await.unwrap().sw_if_index;
    let flags = IfStatusFlags(1);
    client
        .call(SwInterfaceSetFlags { sw_if_index, flags })
        .await
        .unwrap();
    let input = node_index(&client, "virtio-input").await;
    let drop = node_index(&client, "error-drop").await;
    let capture = |node_index, max_packets| TraceCapturePackets {
        node_index,
        max_packets,
        ..TraceCapturePackets::default()
    };
    assert_eq!(
        code(&client, capture(drop, 1)).await,
        -63,
        "no trace begins there"
    );
    assert_eq!(code(&client, capture(input, 2)).await, 0);
    let frame = [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0][..], &[0; 50]].concat();
    for _ in 0..3 {
        server.inject(sw_if_index, &frame);
    }
    let dump = |position, max| TraceV2Dump {
        thread_id: NO_INDEX,
        position,
        max,
        clear_cache: false,
    };
    let traces = client.dump(dump(0, 50)).await.unwrap();
    assert_eq!(traces.len(), 2);
    assert!(traces[0].more && !traces[1].more);
    for part in ["virtio-input", "ethernet-input", "error-drop"] {
        assert!(traces[0].trace_data.contains(part), "{}", traces[0].trace_data);
    }
    assert_eq!(client.dump(dump(1, 1)).await.unwrap()[0].position, 1);
    assert_eq!(client.dump(dump(NO_INDEX, 50)).await.unwrap(), []);
    // What a client has taken stays until it says otherwise.
    assert_eq!(code(&client, TraceClearCapture::default()).await, 0);
    assert_eq!(client.dump(dump(0, 50)).await.unwrap().len(), 2);
    assert_eq!(code(&client, TraceClearCache::default()).await, 0);
    assert_eq!(client.dump(dump(0, 50)).await.unwrap(), []);
    // Filters by node.
    let filter = |flag, node_index| TraceSetFilters {
        flag,
        count: 10,
        node_index,
        classifier_table_index: NO_INDEX,
    };
    let lookup = node_index(&client, "ip4-lookup").await;
    for (flag, kept) in [
        (TraceFilterFlag::TRACE_FF_INCLUDE_NODE, 0),
        (TraceFilterFlag::TRACE_FF_EXCLUDE_NODE, 1),
    ] {
        assert_eq!(code(&client, filter(flag, lookup)).await, 0);
        assert_eq!(code(&client, capture(input, 5)).await, 0);
        server.inject(sw_if_index, &frame);
        assert_eq!(client.dump(dump(0, 50)).await.unwrap().len(), kept);
        client.call(TraceClearCapture::default()).await.unwrap();
        client.call(TraceClearCache::default()).await.unwrap();
    }
    let classifier = filter(TraceFilterFlag::TRACE_FF_INCLUDE_CLASSIFIER, lookup);
    assert_eq!(code(&client, classifier).await, -7);
    assert_eq!(
        code(&client, filter(TraceFilterFlag::TRACE_FF_NONE, NO_INDEX)).await,
        0
    );
    let functions = client.dump(TraceFilterFunctionDump::default()).await.unwrap();
    let selected: Vec<_> = functions
        .iter()
        .filter(|f| f.selected)
        .map(|f| f.name.as_str())
        .collect();
    assert_eq!(selected, ["vnet_is_packet_traced"]);
    let function = |name: &str| TraceSetFilterFunction {
        filter_function_name: name.to_owned(),
    };
    assert_eq!(code(&client, function("nothing")).await, -1);
    assert_eq!(code(&client, function("vnet_is_packet_traced")).await, 0);
    let tracenode = |enable| TracenodeEnableDisable {
        sw_if_index,
        is_pcap: false,
        enable,
    };
    for (enable, times) in [(true, 2), (false, 1)] {
        for _ in 0..times {
            assert_eq!(code(&client, tracenode(enable)).await, 0);
        }
        let is_on = is_enabled(&client, sw_if_index, "ip4-unicast", "trace-filtering").await;
        assert_eq!(is_on, enable);
    }
}

fn neighbor(sw_if_index: u32, address: &str, flags: IpNeighborFlags) -> IpNeighbor {
    IpNeighbor {
        sw_if_index,
        flags,
        mac_address: MacAddress([2, 0, 0, 0, 0, 7]),
        ip_address: addr(address),
    }
}

#[tokio::test]
async fn neighbours_are_reported_to_those_who_ask() {
    let (_directory, _server, client) = start().await;
    let sw_if_index = loopback(&client).await;
    let mut events = client.events();
    let want = |enable, ip, sw_if_index| WantIpNeighborEventsV2 {
        enable,
        pid: 77,
        ip: addr(ip),
        sw_if_index,
    };
    assert_eq!(code(&client, want(true, "0.0.0.0", 99)).await, -2);
    assert_eq!(code(&client, want(true, "0.0.0.0", NO_INDEX)).await, 0);
    assert_eq!(
        code(&client, want(true, "0.0.0.0", NO_INDEX)).await,
        0,
        "twice is once"
    );
    // An IPv6 zero is another key than the one that all neighbours are told to.
    assert_eq!(code(&client, want(true, "::", NO_INDEX)).await, 0);
    let change = |is_add, neighbor| IpNeighborAddDel { is_add, neighbor };
    let one = neighbor(
        sw_if_index,
        "2001:2::7",
        IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC,
    );
    assert_eq!(code(&client, change(true, one.clone())).await, 0);
    assert_eq!(code(&client, change(false, one.clone())).await, 0);
    for flags in [
        IpNeighborEventFlags::IP_NEIGHBOR_API_EVENT_FLAG_ADDED,
        IpNeighborEventFlags::IP_NEIGHBOR_API_EVENT_FLAG_REMOVED,
    ] {
        let event = tokio::time::timeout(Duration::from_secs(10), events.recv()).await;
        match event.unwrap().unwrap() {
            VppEvent::Neighbor(event) => {
                assert_eq!((event.flags, &event.neighbor), (flags, &one));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(code(&client, want(false, "0.0.0.0", NO_INDEX)).await, 0);
    assert_eq!(code(&client, change(true, one)).await, 0);
    client
        .call(SwInterfaceGetMacAddress { sw_if_index })
        .await
        .unwrap();
    assert!(events.try_recv().is_err(), "nobody asks any more");
    let first = WantIpNeighborEvents {
        enable: true,
        sw_if_index: 99,
        ..WantIpNeighborEvents::default()
    };
    assert_eq!(code(&client, first).await, -2);
}

#[tokio::test]
async fn neighbours_are_bounded_and_replaced() {
    let (_directory, _server, client) = start().await;
    let sw_if_index = loopback(&client).await;
    let af = AddressFamily::ADDRESS_IP4;
    let bounds = client.call(IpNeighborConfigGet { af }).await.unwrap();
    assert_eq!(
        (bounds.max_number, bounds.max_age, bounds.recycle),
        (50_000, 0, false)
    );
    let bad = IpNeighborConfigGet { af: AddressFamily(4) };
    assert_eq!(code(&client, bad).await, -97);
    let config = |max_number, recycle| IpNeighborConfig {
        af,
        max_number,
        max_age: 0,
        recycle,
    };
    assert_eq!(code(&client, config(2, false)).await, 0);
    let add = |address, flags| IpNeighborAddDel {
        is_add: true,
        neighbor: neighbor(sw_if_index, address, flags),
    };
    let (learned, fixed) = (
        IpNeighborFlags::IP_API_NEIGHBOR_FLAG_NONE,
        IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC,
    );
    assert_eq!(code(&client, add("198.18.1.1", learned)).await, 0);
    assert_eq!(code(&client, add("198.18.1.2", fixed)).await, 0);
    assert_eq!(code(&client, add("198.18.1.3", fixed)).await, -162, "too many");
    assert_eq!(code(&client, config(2, true)).await, 0);
    assert_eq!(
        code(&client, add("198.18.1.3", fixed)).await,
        0,
        "the learned one makes room"
    );
    assert_eq!(
        code(&client, add("198.18.1.4", fixed)).await,
        -162,
        "static ones do not"
    );
    let listed = async || {
        let all = client
            .dump(IpNeighborDump {
                sw_if_index: NO_INDEX,
                af,
            })
            .await
            .unwrap();
        all.iter().map(|one| one.neighbor.ip_address).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [addr("198.18.1.2"), addr("198.18.1.3")]);
    let mut other = add("198.18.1.3", learned);
    other.neighbor.mac_address = MacAddress([2, 0, 0, 0, 0, 8]);
    assert_eq!(code(&client, other).await, -2, "static, and of another MAC");
    assert_eq!(code(&client, IpNeighborReplaceBegin::default()).await, 0);
    assert_eq!(code(&client, add("198.18.1.3", fixed)).await, 0);
    assert_eq!(code(&client, IpNeighborReplaceEnd::default()).await, 0);
    assert_eq!(listed().await, [addr("198.18.1.3")]);
}

#[tokio::test]
async fn queues_modes_and_placements() {
    let (_directory, server, client) = start().await;
    let empty = SwInterfaceTxPlacementGet {
        cursor: 0,
        sw_if_index: NO_INDEX,
    };
    let none = client.stream(empty).await.unwrap_err();
    assert_eq!(none.retval().unwrap().0, -6, "no queue at all");
    let xdp = |host_if: &str, rxq_size| AfXdpCreateV3 {
        host_if: host_if.to_owned(),
        rxq_size,
        netns: "pod".to_owned(),
        ..AfXdpCreateV3::default()
    };
    assert_eq!(code(&client, xdp("", 0)).await, -7);
    assert_eq!(code(&client, xdp("eth9", 300)).await, -7, "no power of two");
    let device = client.call(xdp("eth9", 0)).await.unwrap().sw_if_index;
    assert!(
        matches!(&server.opened()[0], Opened::AfPacket(request) if request.namespace.as_deref() == Some("pod"))
    );
    let all = client.dump(SwInterfaceDump::default()).await.unwrap();
    let shown = all.iter().find(|one| one.sw_if_index == device).unwrap();
    assert_eq!(
        (shown.interface_name.as_str(), shown.interface_dev_type.as_str()),
        ("eth9/0", "AF_XDP interface")
    );
    let rx = SwInterfaceRxPlacementDump {
        sw_if_index: NO_INDEX,
    };
    let mode = async || client.dump(rx.clone()).await.unwrap()[0].mode;
    assert_eq!(mode().await, RxMode::RX_MODE_API_POLLING);
    let set = |sw_if_index, queue_id_valid, queue_id, mode| SwInterfaceSetRxMode {
        sw_if_index,
        queue_id_valid,
        queue_id,
        mode,
    };
    let adaptive = RxMode::RX_MODE_API_ADAPTIVE;
    assert_eq!(code(&client, set(device, false, 0, adaptive)).await, 0);
    assert_eq!(mode().await, adaptive);
    assert_eq!(
        code(&client, set(device, true, 3, adaptive)).await,
        -9,
        "no such queue"
    );
    assert_eq!(code(&client, set(99, false, 0, adaptive)).await, -2);
    let default = |mode| SwInterfaceSetDefaultRxMode { mode };
    assert_eq!(code(&client, default(RxMode::RX_MODE_API_DEFAULT)).await, -7);
    assert_eq!(code(&client, default(RxMode::RX_MODE_API_INTERRUPT)).await, 0);
    let now = client.call(SwInterfaceGetDefaultRxMode::default()).await.unwrap();
    assert_eq!(now.mode, RxMode::RX_MODE_API_INTERRUPT);
    let place = |is_main| SwInterfaceSetRxPlacement {
        sw_if_index: device,
        queue_id: 0,
        worker_id: 0,
        is_main,
    };
    assert_eq!(code(&client, place(true)).await, 0);
    assert_eq!(code(&client, place(false)).await, -9, "no workers");
    let write = |queue_id, threads| SwInterfaceSetTxPlacement {
        sw_if_index: device,
        queue_id,
        threads,
    };
    assert_eq!(code(&client, write(0, vec![0])).await, 0);
    assert_eq!(code(&client, write(0, vec![4])).await, -7);
    assert_eq!(code(&client, write(2, vec![0])).await, -125);
    let tx = SwInterfaceTxPlacementGet {
        cursor: 0,
        sw_if_index: device,
    };
    assert_eq!(client.stream(tx).await.unwrap()[0].threads, [0]);
    let promisc = |sw_if_index| SwInterfaceSetPromisc {
        sw_if_index,
        promisc_on: true,
    };
    assert_eq!(code(&client, promisc(device)).await, 0);
    assert_eq!(code(&client, promisc(0)).await, -7);
    assert_eq!(code(&client, AfXdpDelete { sw_if_index: 0 }).await, -71);
    assert_eq!(code(&client, AfXdpDelete { sw_if_index: device }).await, 0);
}

#[tokio::test]
async fn addresses_and_path_mtus_are_replaced() {
    let (_directory, _server, client) = start().await;
    let [a, b] = [loopback(&client).await, loopback(&client).await];
    let add = |sw_if_index, text: &str| SwInterfaceAddDelAddress {
        sw_if_index,
        is_add: true,
        del_all: false,
        prefix: text.parse().unwrap(),
    };
    for text in ["198.18.1.1/24", "198.18.2.1/24", "198.18.3.1/24"] {
        assert_eq!(code(&client, add(a, text)).await, 0);
    }
    assert_eq!(code(&client, SwInterfaceAddressReplaceBegin::default()).await, 0);
    assert_eq!(code(&client, add(a, "198.18.1.1/24")).await, 0);
    assert_eq!(code(&client, add(b, "198.18.2.1/24")).await, 0, "it moves");
    assert_eq!(code(&client, SwInterfaceAddressReplaceEnd::default()).await, 0);
    let of = async |sw_if_index| {
        let found = client
            .dump(IpAddressDump {
                sw_if_index,
                is_ipv6: false,
            })
            .await
            .unwrap();
        found.iter().map(|one| one.prefix.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        (of(a).await, of(b).await),
        (vec!["198.18.1.1/24".into()], vec!["198.18.2.1/24".into()])
    );
    let mtu = |table_id, nh, path_mtu| IpPathMtuUpdate {
        pmtu: IpPathMtu {
            table_id,
            nh: addr(nh),
            path_mtu,
            ..IpPathMtu::default()
        },
    };
    assert_eq!(code(&client, mtu(9, "198.18.1.9", 1400)).await, -65);
    assert_eq!(code(&client, mtu(0, "198.18.1.9", 1400)).await, 0);
    assert_eq!(code(&client, mtu(0, "198.19.1.9", 1300)).await, 0);
    let shown = async || {
        let all = client.stream(IpPathMtuGet::default()).await.unwrap();
        all.iter().map(|one| one.pmtu.path_mtu).collect::<Vec<_>>()
    };
    assert_eq!(shown().await, [1400, 1300]);
    assert_eq!(code(&client, IpPathMtuReplaceBegin::default()).await, 0);
    assert_eq!(code(&client, mtu(0, "198.18.1.9", 1350)).await, 0);
    assert_eq!(code(&client, IpPathMtuReplaceEnd::default()).await, 0);
    assert_eq!(shown().await, [1350]);
    assert_eq!(code(&client, mtu(0, "198.18.1.9", 0)).await, 0);
    assert_eq!(shown().await, Vec::<u16>::new());
    // IPv6 is not on; setting the address switches it on.
    let get = SwInterfaceIp6GetLinkLocalAddress { sw_if_index: a };
    assert_eq!(code(&client, get.clone()).await, -62);
    let ip = "fe80::7".parse().unwrap();
    let set = SwInterfaceIp6SetLinkLocalAddress { sw_if_index: a, ip };
    assert_eq!(code(&client, set).await, 0);
    assert_eq!(client.call(get).await.unwrap().ip, ip);
}
