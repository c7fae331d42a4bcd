//! Policers, reverse path checks, punting, path MTUs, traces and counters.

use std::time::{Duration, Instant};

use vpp_api::VppEvent;
use vpp_api::messages::ip::{AddDelIpPuntRedirectV2, IpPathMtu, IpPathMtuUpdate, PuntRedirectV2};
use vpp_api::messages::ip_neighbor::{
    IpNeighbor, IpNeighborAddDel, IpNeighborEventFlags, IpNeighborFlags, WantIpNeighborEventsV2,
};
use vpp_api::messages::policer::{PolicerAdd, PolicerDel, PolicerInputV2, PolicerOutputV2};
use vpp_api::messages::punt::SetPunt;
use vpp_api::messages::tracedump::{
    TraceCapturePackets, TraceClearCache, TraceClearCapture, TraceFilterFlag, TraceSetFilters, TraceV2Dump,
};
use vpp_api::messages::urpf::{UrpfMode, UrpfUpdateV2};
use vpp_api::messages::vlib::GetNodeIndex;
use vpp_api::stats::Stats;
use vpp_api::types::{
    AddressFamily, FibPath, IpProto, MacAddress, NO_INDEX, PolicerConfig, Punt, Sse2QosAction,
    Sse2QosActionType,
};

use crate::bed::Bed;
use crate::packets::{self, TCP, UDP};
use crate::pods::{Answer, Plug, addr, device, packet_of};

/// Bytes of the policed packets, Ethernet header included, as VPP counts them.
const LENGTH: u64 = 1014;

/// A burst of four packets, and next to nothing after it: 1 kbit/s.
fn policer(bed: &Bed, conform: Sse2QosActionType, dscp: u8) -> u32 {
    let infos = PolicerConfig {
        cir: 1,
        cb: 4 * LENGTH + LENGTH / 2,
        conform_action: Sse2QosAction { type_: conform, dscp },
        ..PolicerConfig::default()
    };
    let name = "contiv-dataplane-test".to_owned();
    let policer_index = bed.call(PolicerAdd { name, infos }).policer_index;
    bed.undo_by("policer", PolicerDel { policer_index });
    policer_index
}

/// How many of ten echo requests of 1000 bytes reach w2.
fn ten(bed: &mut Bed) -> usize {
    let (from, to) = (addr("198.18.1.2"), addr("198.18.1.3"));
    let arrived = |bed: &mut Bed| {
        let id = bed.port();
        let request = packets::echo(from, to, id, true, 64, 1000 - 28);
        let got = bed.send("w1", &request);
        got.iter()
            .filter(|(pod, seen)| pod == "w2" && seen.id == id)
            .count()
    };
    (0..10).map(|_| arrived(bed)).sum()
}

pub fn a_policer_lets_its_burst_pass(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    let transmit = Sse2QosActionType::SSE2_QOS_ACTION_API_TRANSMIT;
    let policer_index = policer(bed, transmit, 0);
    let (w1, w2) = (pods[0], pods[1]);
    let input = move |apply| PolicerInputV2 {
        policer_index,
        sw_if_index: w1,
        apply,
    };
    bed.call(input(true));
    bed.undo_by("policer input", input(false));
    assert_eq!(ten(bed), 4, "of what comes in");
    bed.undo("policer input");
    assert_eq!(ten(bed), 10, "the policer is away");
    bed.undo("policer");
    let policer_index = policer(bed, transmit, 0);
    let output = move |apply| PolicerOutputV2 {
        policer_index,
        sw_if_index: w2,
        apply,
    };
    bed.call(output(true));
    bed.undo_by("policer output", output(false));
    assert_eq!(ten(bed), 4, "of what goes out");
    bed.undo("policer output");
    assert_eq!(ten(bed), 10, "the policer is away");
}

pub fn a_policer_marks_what_conforms(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    // RFC 3246: expedited forwarding is 46.
    let mark = Sse2QosActionType::SSE2_QOS_ACTION_API_MARK_AND_TRANSMIT;
    let policer_index = policer(bed, mark, 46);
    let w1 = pods[0];
    let input = move |apply| PolicerInputV2 {
        policer_index,
        sw_if_index: w1,
        apply,
    };
    bed.call(input(true));
    bed.undo_by("policer input", input(false));
    for (from, to) in [("198.18.1.2", "198.18.1.3"), ("2001:2:0:1::2", "2001:2:0:1::3")] {
        let request = packets::echo(addr(from), addr(to), 9, true, 64, 100);
        // A pod reads only what has a right checksum.
        let got = bed.send("w1", &request);
        let (_, seen) = got.iter().find(|(pod, _)| pod == "w2").expect("the request");
        let class = if seen.data[0] >> 4 == 4 {
            seen.data[1]
        } else {
            (seen.data[0] << 4) | (seen.data[1] >> 4)
        };
        assert_eq!(class >> 2, 46, "{to}");
    }
}

pub fn a_source_must_have_its_way_back(bed: &mut Bed) {
    let (_, pods) = bed.node(3);
    let check = |bed: &Bed, mode| {
        for af in [AddressFamily::ADDRESS_IP4, AddressFamily::ADDRESS_IP6] {
            bed.call(UrpfUpdateV2 {
                is_input: true,
                mode,
                af,
                sw_if_index: pods[0],
                table_id: NO_INDEX,
            });
        }
    };
    bed.at_end("checks", {
        let sw_if_index = pods[0];
        move |bed| {
            for af in [AddressFamily::ADDRESS_IP4, AddressFamily::ADDRESS_IP6] {
                bed.call(UrpfUpdateV2 {
                    is_input: true,
                    mode: UrpfMode::URPF_API_MODE_OFF,
                    af,
                    sw_if_index,
                    table_id: NO_INDEX,
                });
            }
        }
    });
    let passes = |bed: &mut Bed, from: &str, to: &str| {
        let packet = packets::udp(addr(from), addr(to), (4000, 9), b"?");
        let got = bed.send("w1", &packet);
        got.iter()
            .any(|(pod, seen)| pod == "w2" && seen.src == addr(from))
    };
    // Own address, another pod's, nobody's.
    for (to, froms) in [
        ("198.18.1.3", ["198.18.1.2", "198.18.1.4", "198.18.77.1"]),
        (
            "2001:2:0:1::3",
            ["2001:2:0:1::2", "2001:2:0:1::4", "2001:2:0:77::1"],
        ),
    ] {
        for (mode, expected) in [
            (UrpfMode::URPF_API_MODE_OFF, [true, true, true]),
            (UrpfMode::URPF_API_MODE_LOOSE, [true, true, false]),
            (UrpfMode::URPF_API_MODE_STRICT, [true, false, false]),
        ] {
            check(bed, mode);
            for (from, expected) in froms.iter().zip(expected) {
                assert_eq!(passes(bed, from, to), expected, "{from} {mode:?}");
            }
        }
    }
}

pub fn punted_ports_are_not_refused(bed: &mut Bed) {
    bed.node(2);
    let refused = |bed: &mut Bed, gateway: &str, from: &str, port| {
        let packet = packets::udp(addr(from), addr(gateway), (4000, port), b"?");
        matches!(bed.refusal("w1", &packet), Answer::Refused(..))
    };
    for (af, gateway, from) in [
        (AddressFamily::ADDRESS_IP4, "198.18.1.1", "198.18.1.2"),
        (AddressFamily::ADDRESS_IP6, "2001:2:0:1::1", "2001:2:0:1::2"),
    ] {
        assert!(refused(bed, gateway, from, 7777));
        let set = move |is_add| SetPunt {
            is_add,
            punt: Punt::l4(af, IpProto::IP_API_PROTO_UDP, 7777),
        };
        bed.call(set(true));
        bed.undo_by("punt", set(false));
        assert!(
            !refused(bed, gateway, from, 7777),
            "it goes to the host, of which there is none"
        );
        assert!(refused(bed, gateway, from, 7778), "other ports do not");
        bed.undo("punt");
        assert!(refused(bed, gateway, from, 7777));
    }
}

pub fn punted_packets_are_redirected(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    // GRE: a protocol VPP has no use for.
    let packet = packets::ip(addr("198.18.1.2"), addr("198.18.1.1"), 47, 64, vec![0; 20], None);
    let to = device("w2");
    let plug = bed.plugs.insert(to.clone(), Plug::Raw(Vec::new())).unwrap();
    let arrives = |bed: &mut Bed| {
        bed.send("w1", &packet);
        let frames = bed.kept(&to);
        frames.iter().filter_map(|f| packet_of(f)).any(|p| p[9] == 47)
    };
    assert!(!arrives(bed));
    let (rx, path) = (pods[0], FibPath::via(pods[1], addr("198.18.1.3")));
    let redirect = move |is_add| AddDelIpPuntRedirectV2 {
        is_add,
        punt: PuntRedirectV2 {
            rx_sw_if_index: rx,
            af: AddressFamily::ADDRESS_IP4,
            paths: vec![path.clone()],
        },
    };
    let del = redirect(false);
    bed.call(redirect(true));
    bed.undo_by("redirect", del);
    assert!(arrives(bed));
    bed.undo("redirect");
    assert!(!arrives(bed));
    bed.plugs.insert(to.clone(), plug);
}

pub fn a_path_mtu_holds_for_its_peer(bed: &mut Bed) {
    bed.node(1);
    let uplink = bed.link("up", |_| Plug::Raw(Vec::new()));
    bed.address(uplink, "198.18.16.1/24");
    let peer = addr("198.18.16.2");
    bed.neighbour(uplink, peer, vpp_sim::engine::Mac([2, 9, 9, 9, 9, 2]));
    bed.route("198.18.2.0/24", vec![FibPath::via(uplink, peer)]);
    // RFC 1191: the MTU stands in the message.
    let told = |bed: &mut Bed, to: &str| {
        let packet = packets::echo(addr("198.18.1.2"), addr(to), 1, true, 64, 1380);
        let got = bed.send("w1", &packet);
        let error = got.iter().find(|(pod, seen)| pod == "w1" && seen.ports == (3, 4));
        error.map(|(_, seen)| u16::from_be_bytes([seen.l4[6], seen.l4[7]]))
    };
    let set = |nh: &str, path_mtu| IpPathMtuUpdate {
        pmtu: IpPathMtu {
            nh: addr(nh),
            path_mtu,
            ..IpPathMtu::default()
        },
    };
    assert_eq!(told(bed, "198.18.2.9"), None);
    // Of a peer behind another: only packets to its own address.
    bed.undo_by("remote", set("198.18.2.9", 0));
    bed.undo_by("remote, made larger than any link's", set("198.18.2.9", 65_534));
    bed.call(set("198.18.2.9", 1300));
    assert_eq!(told(bed, "198.18.2.9"), Some(1300));
    assert_eq!(told(bed, "198.18.2.8"), None);
    // 26.06 puts it back while it takes it away; what changes no route is gone.
    bed.call(set("198.18.2.9", 0));
    assert_eq!(told(bed, "198.18.2.9"), Some(1300));
    bed.call(set("198.18.2.9", 1300));
    bed.undo("remote, made larger than any link's");
    bed.undo("remote");
    assert_eq!(told(bed, "198.18.2.9"), None);
    // Of a peer on the link: all that goes by it; with that it is the same.
    bed.undo_by("attached", set("198.18.16.2", 0));
    bed.undo_by(
        "attached, made larger than any link's",
        set("198.18.16.2", 65_534),
    );
    bed.call(set("198.18.16.2", 1280));
    assert_eq!(told(bed, "198.18.2.8"), Some(1280));
    bed.call(set("198.18.16.2", 0));
    assert_eq!(told(bed, "198.18.2.8"), Some(1280));
    bed.call(set("198.18.16.2", 1280));
    bed.undo("attached, made larger than any link's");
    bed.undo("attached");
    assert_eq!(told(bed, "198.18.2.8"), None);
}

fn node_index(bed: &Bed, name: &str) -> u32 {
    bed.call(GetNodeIndex {
        node_name: name.to_owned(),
    })
    .node_index
}

pub fn packets_are_traced_and_filtered(bed: &mut Bed) {
    bed.node(2);
    let input = node_index(bed, "af-packet-input");
    let drop = node_index(bed, "error-drop");
    let traces = |bed: &Bed| {
        let all = bed.dump(TraceV2Dump {
            thread_id: NO_INDEX,
            position: 0,
            max: 500,
            clear_cache: true,
        });
        all.into_iter().map(|one| one.trace_data).collect::<Vec<_>>()
    };
    bed.call(TraceClearCapture::default());
    bed.at_end("traces", |bed| {
        bed.call(TraceSetFilters {
            flag: TraceFilterFlag::TRACE_FF_NONE,
            ..TraceSetFilters::default()
        });
        bed.call(TraceClearCapture::default());
        bed.call(TraceClearCache::default());
    });
    let capture = TraceCapturePackets {
        node_index: input,
        max_packets: 100,
        ..TraceCapturePackets::default()
    };
    bed.call(capture.clone());
    assert_eq!(bed.ping("w1", "198.18.1.3", 1), (1, Some(63)));
    let all = traces(bed);
    let whole = |trace: &String| {
        let nodes = [
            "af-packet-input",
            "ethernet-input",
            "ip4-input",
            "ip4-lookup",
            "ip4-rewrite",
        ];
        nodes.iter().all(|node| trace.contains(node))
    };
    assert!(all.iter().any(whole), "{all:#?}");
    // Only what is dropped.
    bed.call(TraceClearCapture::default());
    bed.call(TraceSetFilters {
        flag: TraceFilterFlag::TRACE_FF_INCLUDE_NODE,
        count: 100,
        node_index: drop,
        classifier_table_index: NO_INDEX,
    });
    bed.call(capture);
    assert!(bed.reaches("w1", "198.18.1.3", 80, TCP));
    // Nothing leads there.
    assert_eq!(bed.ask("w1", "198.18.99.9", 80, UDP), Answer::Lost);
    let all = traces(bed);
    assert!(!all.is_empty());
    assert!(all.iter().all(|trace| trace.contains("error-drop")), "{all:#?}");
}

pub fn neighbours_are_reported(bed: &mut Bed) {
    let (_, pods) = bed.node(1);
    let sw_if_index = pods[0];
    let mut events = bed.client.events();
    let want = |enable| WantIpNeighborEventsV2 {
        enable,
        pid: 7,
        ip: addr("0.0.0.0"),
        sw_if_index,
    };
    bed.call(want(true));
    bed.undo_by("events", want(false));
    let neighbor = IpNeighbor {
        sw_if_index,
        flags: IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC,
        mac_address: MacAddress([2, 0, 0, 0, 0, 9]),
        ip_address: addr("198.18.1.99"),
    };
    for (is_add, flags) in [
        (true, IpNeighborEventFlags::IP_NEIGHBOR_API_EVENT_FLAG_ADDED),
        (false, IpNeighborEventFlags::IP_NEIGHBOR_API_EVENT_FLAG_REMOVED),
    ] {
        let neighbor = neighbor.clone();
        bed.call(IpNeighborAddDel { is_add, neighbor });
        let next = async {
            loop {
                if let Ok(VppEvent::Neighbor(event)) = events.recv().await
                    && event.neighbor.ip_address == addr("198.18.1.99")
                {
                    return event.flags;
                }
            }
        };
        let seen = bed
            .runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(10), next).await });
        assert_eq!(seen.unwrap(), flags);
    }
}

/// Reads until what is looked for is there: the embedded dataplane's values are a tenth of a second old.
pub fn eventually<T: PartialEq + std::fmt::Debug>(
    stats: &mut Stats,
    expected: T,
    look: impl Fn(&mut Stats) -> T,
) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = look(stats);
        if seen == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?}, expected {expected:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub fn packets_and_errors_are_counted(bed: &mut Bed) {
    let Some(path) = bed.stats.clone() else {
        eprintln!("skipped: VPP_STATS_SOCKET names no stats socket");
        return;
    };
    let mut stats = Stats::connect(path).unwrap();
    let (_, pods) = bed.node(2);
    let deny = bed.acl(Vec::new());
    let counts = |stats: &mut Stats| {
        let all = stats.interfaces().unwrap();
        let [w1, w2] = [pods[0], pods[1]].map(|pod| all[&pod].clone());
        (w1.rx.packets, w2.tx.packets, w1.drops)
    };
    let error = |stats: &mut Stats| {
        let all = stats.errors().unwrap();
        let found = all
            .iter()
            .find(|(name, _)| name.ends_with("acl-plugin-out-ip4-fa/ACL deny packets"));
        found.map_or(0, |(_, count)| *count)
    };
    let settled = |stats: &mut Stats| {
        // What came before is in it.
        std::thread::sleep(Duration::from_millis(300));
        (counts(stats), error(stats))
    };
    let ((rx, tx, drops), denied) = settled(&mut stats);
    assert_eq!(bed.ping("w1", "198.18.1.3", 3), (3, Some(63)));
    eventually(&mut stats, (rx + 3, tx + 3, drops), counts);
    bed.lists(pods[1], &[], &[deny]);
    assert_eq!(bed.ping("w1", "198.18.1.3", 2), (0, None));
    eventually(&mut stats, (rx + 5, tx + 3, drops + 2), counts);
    eventually(&mut stats, denied + 2, error);
}
