//! Interfaces, routes, neighbours, ICMP.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::thread::sleep;
use std::time::Duration;

use vpp_api::messages::interface::{SwInterfaceSetMtu, SwInterfaceSetTable};
use vpp_api::messages::ip::{IpRouteLookupV2, IpTableAddDelV2, SwInterfaceIp6EnableDisable};
use vpp_api::messages::ip_neighbor::{IpNeighborDump, IpNeighborFlags};
use vpp_api::types::{AddressFamily, FibPath, FibPathType, IpTable};
use vpp_sim::engine::{Mac, verify_checksums};

use crate::bed::Bed;
use crate::make::prefix;
use crate::packets::{self, TCP, UDP};
use crate::pods::{Answer, Plug, addr, device, packet_of};

pub fn pods_talk_in_both_families(bed: &mut Bed) {
    bed.node(2);
    for to in ["198.18.1.3", "2001:2:0:1::3"] {
        assert_eq!(bed.ping("w1", to, 2), (2, Some(63)), "{to}");
        let source = bed.pod_address("w1", addr(to));
        for proto in [TCP, UDP] {
            assert_eq!(bed.ask("w1", to, 80, proto), Answer::Served("w2".into(), source));
        }
    }
}

pub fn the_gateway_answers_echoes_with_ttl_64(bed: &mut Bed) {
    bed.node(1);
    assert_eq!(bed.ping("w1", "198.18.1.1", 1), (1, Some(64)));
    assert_eq!(bed.ping("w1", "2001:2:0:1::1", 1), (1, Some(64)));
}

/// The frames a device that is no pod gets in answer.
fn raw(bed: &mut Bed, pod: &str, frame: &[u8]) -> Vec<Vec<u8>> {
    let device = device(pod);
    let plug = bed.plugs.insert(device.clone(), Plug::Raw(Vec::new())).unwrap();
    bed.send_frame(&device, frame);
    let kept = bed.kept(&device);
    bed.plugs.insert(device, plug);
    kept
}

pub fn arp_for_the_gateway_is_answered_with_the_interfaces_own_mac(bed: &mut Bed) {
    bed.node(2);
    let (mac, gateway) = (bed.pod_mac("w1"), bed.gateway_mac("w1"));
    let ask = |target| {
        packets::arp(
            1,
            (mac, [198, 18, 1, 2]),
            (Mac::default(), target),
            Mac::BROADCAST,
        )
    };
    let got = raw(bed, "w1", &ask([198, 18, 1, 1]));
    assert_eq!(got.len(), 1, "{got:02x?}");
    let reply = &got[0];
    assert_eq!((&reply[..6], reply[21]), (&mac.0[..], 2));
    assert_eq!(
        (&reply[22..28], &reply[28..32]),
        (&gateway.0[..], &[198, 18, 1, 1][..])
    );
    // Not for addresses of others.
    assert_eq!(raw(bed, "w1", &ask([198, 18, 1, 3])), Vec::<Vec<u8>>::new());
}

pub fn a_neighbour_solicitation_is_answered_where_ipv6_is_enabled(bed: &mut Bed) {
    let (_, pods) = bed.node(1);
    let (mac, gateway) = (bed.pod_mac("w1"), bed.gateway_mac("w1"));
    let source = addr("2001:2:0:1::2");
    let target: Ipv6Addr = "2001:2:0:1::1".parse().unwrap();
    // RFC 4861, 4.3: the solicited-node address, hop limit 255, our link-layer address as an option.
    let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
    body.extend(target.octets());
    body.extend([1, 1]);
    body.extend(mac.0);
    let packet = packets::ip(source, addr("ff02::1:ff00:1"), 58, 255, body, Some(2));
    let frame = packets::frame(Mac([0x33, 0x33, 0xff, 0, 0, 1]), mac, &packet);
    // Borrowing an address is not enough to join the groups of a link.
    assert_eq!(raw(bed, "w1", &frame), Vec::<Vec<u8>>::new());
    let switch = move |enable| SwInterfaceIp6EnableDisable {
        sw_if_index: pods[0],
        enable,
    };
    bed.call(switch(true));
    bed.undo_by("IPv6", switch(false));
    let got = raw(bed, "w1", &frame);
    let seen: Vec<_> = got
        .iter()
        .filter_map(|frame| packet_of(frame))
        .map(packets::read)
        .collect();
    let answers: Vec<_> = seen.iter().filter(|seen| seen.ports.0 == 136).collect();
    assert_eq!(answers.len(), 1, "{seen:?}");
    let answer = answers[0];
    assert_eq!(
        (answer.src, answer.dst, answer.ttl),
        (IpAddr::V6(target), source, 255)
    );
    assert_eq!(&answer.l4[26..32], &gateway.0);
}

pub fn a_fresh_pod_without_neighbour_loses_its_first_packet_to_arp(bed: &mut Bed) {
    let (gateway, _) = bed.node(1);
    let fresh = bed.bare_pod("w2", &["198.18.1.3"]);
    bed.unnumbered(gateway, fresh);
    bed.route("198.18.1.3/32", vec![FibPath::via(fresh, addr("198.18.1.3"))]);
    // VPP may have asked when the route was made: answered or not, the neighbour is learnt by a packet at the latest.
    let first = bed.ping("w1", "198.18.1.3", 1).0;
    assert_eq!(bed.ping("w1", "198.18.1.3", 1).0, 1, "after {first}");
    let learnt = bed.dump(IpNeighborDump {
        sw_if_index: fresh,
        af: AddressFamily::ADDRESS_IP4,
    });
    assert_eq!(learnt.len(), 1);
    let flags = learnt[0].neighbor.flags;
    assert!(
        !flags.contains(IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC),
        "{flags:?}"
    );
}

pub fn special_routes_and_ttl_are_answered_by_icmp(bed: &mut Bed) {
    bed.node(2);
    let unreachable = FibPathType::FIB_API_PATH_TYPE_ICMP_UNREACH;
    let prohibited = FibPathType::FIB_API_PATH_TYPE_ICMP_PROHIBIT;
    for (text, kind) in [
        ("198.19.0.66/32", unreachable),
        ("198.19.0.67/32", prohibited),
        ("198.19.0.68/32", FibPathType::FIB_API_PATH_TYPE_DROP),
        ("2001:2:0:9::66/128", unreachable),
        ("2001:2:0:9::67/128", prohibited),
    ] {
        bed.route(text, vec![FibPath::special(kind, text.contains(':'))]);
    }
    let (gw4, gw6) = (addr("198.18.1.1"), addr("2001:2:0:1::1"));
    for (to, ttl, expected) in [
        ("198.19.0.66", 64, Answer::Refused(gw4, 3, 1)),
        ("198.19.0.67", 64, Answer::Refused(gw4, 3, 10)),
        ("198.19.0.68", 64, Answer::Lost),
        ("2001:2:0:9::66", 64, Answer::Refused(gw6, 1, 0)),
        ("2001:2:0:9::67", 64, Answer::Refused(gw6, 1, 1)),
        ("198.18.1.3", 1, Answer::Refused(gw4, 11, 0)),
        ("2001:2:0:1::3", 1, Answer::Refused(gw6, 3, 0)),
    ] {
        // Routes of these kinds answer but a few packets in a tenth of a second, whoever asks (`ip_null_dpo.c`).
        if !bed.wires.is_immediate() {
            sleep(Duration::from_millis(120));
        }
        let source = bed.pod_address("w1", addr(to));
        let packet = packets::ip(source, addr(to), UDP, ttl, udp(bed.port()), Some(6));
        assert_eq!(bed.refusal("w1", &packet), expected, "{to} {ttl}");
    }
}

/// A UDP header without checksum, and one byte.
fn udp(port: u16) -> Vec<u8> {
    let mut l4 = port.to_be_bytes().to_vec();
    l4.extend([0, 53, 0, 9, 0, 0, b'?']);
    l4
}

pub fn udp_to_the_gateway_gets_port_unreachable(bed: &mut Bed) {
    bed.node(1);
    let packet = packets::udp(addr("198.18.1.2"), addr("198.18.1.1"), (4000, 53), b"?");
    let got = bed.send("w1", &packet);
    assert_eq!(got[0].1.ports, (3, 3));
    // The message carries what it is about.
    assert_eq!(&got[0].1.l4[8 + 20..8 + 24], &[0x0f, 0xa0, 0, 53]);
}

pub fn routes_through_a_deleted_interface_stay_unresolved(bed: &mut Bed) {
    let (gateway, pods) = bed.node(2);
    let path = || vec![FibPath::via(pods[1], addr("198.18.1.3"))];
    bed.route("198.19.9.0/24", path());
    let reaches = |bed: &mut Bed, name: &str| {
        let device = device(name);
        let plug = bed.plugs.insert(device.clone(), Plug::Raw(Vec::new())).unwrap();
        bed.send(
            "w1",
            &packets::echo(addr("198.18.1.2"), addr("198.19.9.1"), 1, true, 64, 8),
        );
        let frames = bed.kept(&device);
        bed.plugs.insert(device, plug);
        frames.iter().filter(|frame| packet_of(frame).is_some()).count()
    };
    assert_eq!(reaches(bed, "w2"), 1);
    let unnumbered = format!("unnumbered {}", pods[1]);
    for what in [
        "neighbour 198.18.1.3",
        "neighbour 2001:2:0:1::3",
        &unnumbered,
        "link w2",
    ] {
        bed.undo(what);
    }
    bed.plugs.remove(&device("w2"));
    // The dump shows the old index.
    let lookup = |bed: &Bed| {
        let request = IpRouteLookupV2 {
            table_id: 0,
            exact: 1,
            prefix: prefix("198.19.9.0/24"),
        };
        bed.call(request).route.paths[0].sw_if_index
    };
    assert_eq!(lookup(bed), pods[1]);
    // The index lives again, the route does not; adding it again changes nothing.
    let again = bed.pod(gateway, "w3", &["198.18.1.4"]);
    assert_eq!(again, pods[1], "the lowest free index is used again");
    let mac = bed.pod_mac("w3");
    bed.neighbour(again, addr("198.18.1.3"), mac);
    assert_eq!(reaches(bed, "w3"), 0);
    bed.route("198.19.9.0/24", path());
    assert_eq!(reaches(bed, "w3"), 0);
    bed.undo("route 198.19.9.0/24");
    bed.route("198.19.9.0/24", path());
    assert_eq!(reaches(bed, "w3"), 1);
}

pub fn a_packet_above_the_mtu_is_refused_or_cut(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    bed.call(SwInterfaceSetMtu {
        sw_if_index: pods[1],
        mtu: [1280, 0, 0, 0],
    });
    let long = |from: &str, to: &str| packets::echo(addr(from), addr(to), 1, true, 64, 1300);
    // RFC 1191 and RFC 4443, 3.2: the MTU stands in the message. The test's IPv4 packets have "don't fragment".
    let got = bed.send("w1", &long("198.18.1.2", "198.18.1.3"));
    assert_eq!((got[0].1.ports, &got[0].1.l4[4..8]), ((3, 4), &[0, 0, 5, 0][..]));
    let got = bed.send("w1", &long("2001:2:0:1::2", "2001:2:0:1::3"));
    assert_eq!((got[0].1.ports, &got[0].1.l4[4..8]), ((2, 0), &[0, 0, 5, 0][..]));
    let mut packet = long("198.18.1.2", "198.18.1.3");
    packet[6] = 0;
    // Clearing a bit of 0x4000 adds as much to the checksum.
    let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x4000;
    let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let to = device("w2");
    let plug = bed.plugs.insert(to.clone(), Plug::Raw(Vec::new())).unwrap();
    bed.send("w1", &packet);
    let frames = bed.kept(&to);
    bed.plugs.insert(to, plug);
    let parts: Vec<&[u8]> = frames.iter().filter_map(|frame| packet_of(frame)).collect();
    assert_eq!(parts.len(), 2);
    for part in &parts {
        assert!(part.len() <= 1280, "{}", part.len());
        let header = part[..20]
            .chunks(2)
            .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])))
            .sum::<u32>();
        assert_eq!((header & 0xffff) + (header >> 16), 0xffff, "header checksum");
    }
    let whole: Vec<u8> = parts.iter().flat_map(|part| part[20..].to_vec()).collect();
    assert_eq!(whole, packet[20..]);
    assert_eq!(
        (parts[0][6], parts[1][6] & 0x20),
        (0x20, 0),
        "more fragments, then none"
    );
    assert!(verify_checksums(&packet).is_ok());
}

pub fn tables_are_separate(bed: &mut Bed) {
    bed.node(2);
    let table_id = 0x7e57;
    let table = IpTable {
        table_id,
        is_ip6: false,
        name: "contiv-dataplane-test".into(),
    };
    let change = move |is_add| IpTableAddDelV2 {
        table: table.clone(),
        create_mfib: true,
        is_add,
    };
    bed.call(change(true));
    bed.undo_by("table", change(false));
    let red = bed.bare_pod("red", &["198.18.1.9"]);
    let bind = move |vrf_id| SwInterfaceSetTable {
        sw_if_index: red,
        is_ipv6: false,
        vrf_id,
    };
    bed.call(bind(table_id));
    bed.undo_by("binding", bind(0));
    // The same address as the gateway's of the other table.
    bed.address(red, "198.18.1.1/24");
    let mac = bed.pod_mac("red");
    bed.neighbour(red, addr("198.18.1.9"), mac);
    assert_eq!(bed.ping("red", "198.18.1.1", 1), (1, Some(64)));
    assert_eq!(bed.ping("red", "198.18.1.3", 1).0, 0);
    // A route into the other table leads there, and another one back.
    bed.route_in(
        table_id,
        "198.18.1.3/32",
        vec![FibPath::recursive(0, addr("0.0.0.0"))],
    );
    bed.route(
        "198.18.1.9/32",
        vec![FibPath::recursive(table_id, addr("0.0.0.0"))],
    );
    assert_eq!(bed.ping("red", "198.18.1.3", 1), (1, Some(63)));
}

pub fn paths_share_flows_by_weight(bed: &mut Bed) {
    let (_, pods) = bed.node(3);
    let path = |pod: usize, next_hop: &str, weight, preference| FibPath {
        weight,
        preference,
        ..FibPath::via(pods[pod], addr(next_hop))
    };
    let paths = vec![
        path(1, "198.18.1.3", 1, 0),
        path(2, "198.18.1.4", 3, 0),
        path(0, "198.18.1.2", 1, 1),
    ];
    bed.route("198.19.9.0/24", paths);
    let share = |bed: &mut Bed| {
        let names = ["w1", "w2", "w3"];
        let kept: Vec<Plug> = names
            .map(|name| bed.plugs.insert(device(name), Plug::Raw(Vec::new())).unwrap())
            .into();
        let Plug::Pod { mac, gateway, .. } = kept[0] else {
            panic!("w1 is no pod")
        };
        for port in 0..400 {
            let packet = packets::udp(addr("198.18.1.2"), addr("198.19.9.1"), (1000 + port, 53), b"");
            bed.wires
                .send(&device("w1"), &packets::frame(gateway, mac, &packet));
            if port % 50 == 49 {
                bed.settle();
            }
        }
        let mut share = BTreeMap::new();
        for (name, plug) in names.into_iter().zip(kept) {
            let frames = bed.kept(&device(name));
            share.insert(
                name,
                frames.iter().filter(|frame| packet_of(frame).is_some()).count(),
            );
            bed.plugs.insert(device(name), plug);
        }
        share
    };
    let all = share(bed);
    assert_eq!((all["w1"], all["w2"] + all["w3"]), (0, 400), "{all:?}");
    // Four standard deviations of a binomial distribution with p = 1/4 are 35.
    assert!((65..=135).contains(&all["w2"]), "{all:?}");
    bed.admin(pods[1], false);
    bed.admin(pods[2], false);
    assert_eq!(share(bed), BTreeMap::from([("w1", 400), ("w2", 0), ("w3", 0)]));
}
