//! WireGuard: two nodes with each other, and a node with Cloudflare's implementation; codes and events.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use engine_common::packets::{self, UDP};
use engine_common::tunnels::{end, mac};
use engine_common::world::{SECOND, World, addr, neighbor, prefix};
use vpp_sim::engine::*;

const PORT: u16 = 51820;

fn private(n: u8) -> [u8; 32] {
    let mut key = [n + 1; 32];
    key[31] = 64;
    key
}

fn public(n: u8) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(private(n))).to_bytes()
}

fn interface(n: usize, family: Family) -> WireguardConfig {
    WireguardConfig {
        instance: NONE,
        private_key: private(n as u8),
        port: PORT,
        source: end(n, family),
    }
}

fn peer(sw_if_index: u32, n: usize, family: Family) -> WireguardPeer {
    WireguardPeer {
        sw_if_index,
        public_key: public(n as u8),
        preshared_key: [0; 32],
        endpoint: end(n, family),
        port: PORT,
        table_id: 0,
        keepalive: 0,
        allowed_ips: vec![
            prefix(&format!("10.1.{n}.0/24")),
            prefix(&format!("fd00:{n}::/64")),
        ],
    }
}

/// A node with pod, uplink and `wg0`, and routes to the pods of `other` through it: uplink, tunnel.
fn node(world: &mut World, n: usize, other: usize, family: Family) -> (u32, u32) {
    world.gateway(n, &[&format!("10.1.{n}.1/24"), &format!("fd00:{n}::1/64")]);
    let vpp = &mut world.nodes[n];
    let up = vpp.create_af_packet("uplink", Some(mac(n)), Some(1500)).unwrap();
    vpp.set_admin(up, true).unwrap();
    for family in Family::BOTH {
        let length = if family == Family::V4 { 24 } else { 64 };
        vpp.add_address(up, Prefix::new(end(n, family), length)).unwrap();
        vpp.neighbor_add(neighbor(up, end(other, family), mac(other)))
            .unwrap();
    }
    let wg = vpp.wireguard_create(&interface(n, family), false).unwrap();
    vpp.set_admin(wg, true).unwrap();
    vpp.set_unnumbered(up, wg, true).unwrap();
    for (to, via) in [
        (format!("10.1.{other}.0/24"), format!("10.1.{other}.1")),
        (format!("fd00:{other}::/64"), format!("fd00:{other}::1")),
    ] {
        let path = RoutePath::via(wg, addr(&via));
        vpp.ip_route_add_del(&RouteUpdate::add(0, prefix(&to), vec![path]))
            .unwrap();
    }
    world.pod(
        n,
        &format!("pod{n}"),
        &[&format!("10.1.{n}.2"), &format!("fd00:{n}::2")],
    );
    (up, wg)
}

fn tick(world: &mut World) {
    world.now += SECOND;
    for n in 0..world.nodes.len() {
        let outputs = world.nodes[n].tick(world.now);
        world.carry(n, outputs);
    }
}

fn flags(vpp: &Vpp) -> u8 {
    vpp.wireguard_peers()[0].flags
}

#[test]
fn two_nodes_shake_hands_and_carry_both_families() {
    for family in Family::BOTH {
        for preshared_key in [[0; 32], [7; 32]] {
            let mut world = World::new(2);
            let ends: Vec<(u32, u32)> = (0..2).map(|n| node(&mut world, n, 1 - n, family)).collect();
            world.wire((0, ends[0].0), (1, ends[1].0));
            for (n, (_, wg)) in ends.iter().enumerate() {
                let config = WireguardPeer {
                    preshared_key,
                    ..peer(*wg, 1 - n, family)
                };
                world.nodes[n].wireguard_peer_add(&config).unwrap();
                world.nodes[n].want_wireguard_events(5, None, None, true);
            }
            assert_eq!(flags(&world.nodes[0]), 0);
            tick(&mut world);
            for vpp in &mut world.nodes {
                let established = wireguard_peer_flag::ESTABLISHED;
                assert_eq!(flags(vpp), established);
                let event = WireguardEvent {
                    client: 5,
                    peer_index: 0,
                    flags: established,
                };
                assert_eq!(vpp.drain_wireguard_events(), [event]);
            }
            world.pods_talk(&format!("{family:?}"));
            let here = world.nodes[0].interface(ends[0].1).unwrap().counters;
            let there = world.nodes[1].interface(ends[1].1).unwrap().counters;
            assert_eq!(
                (here.tx_packets, here.tx_bytes),
                (there.rx_packets, there.rx_bytes)
            );
            // An attached route names no peer.
            let attached = RouteUpdate::add(
                0,
                prefix("10.50.0.0/16"),
                vec![RoutePath::attached(ends[0].1, Family::V4)],
            );
            world.nodes[0].ip_route_add_del(&attached).unwrap();
            let lost = packets::udp(addr("10.1.0.2"), addr("10.50.0.1"), (1, 2), b"x");
            let trace = world.nodes[0].send_local(0, &lost, world.now);
            assert!(matches!(trace.fate, Fate::Dropped { .. }), "{trace}");
            // A source the peer is not allowed comes no further.
            let (_, pod) = world.find_pod("pod0");
            let gateway = world.nodes[0].interface(pod).unwrap().mac;
            let spoofed = packets::udp(addr("10.9.9.9"), addr("10.1.1.2"), (1, 2), b"x");
            let frame = packets::frame(gateway, Mac([10, 0, 0, 0, 0, 9]), &spoofed);
            world.run(0, pod, frame);
            let refused = world.nodes[1]
                .errors()
                .any(|(_, error, _)| error.contains("not allowed"));
            assert!(refused);
        }
    }
}

#[test]
fn keys_are_renewed_and_lost_ones_end_the_session() {
    let mut world = World::new(2);
    let ends: Vec<(u32, u32)> = (0..2).map(|n| node(&mut world, n, 1 - n, Family::V4)).collect();
    world.wire((0, ends[0].0), (1, ends[1].0));
    for (n, (_, wg)) in ends.iter().enumerate() {
        world.nodes[n]
            .wireguard_peer_add(&peer(*wg, 1 - n, Family::V4))
            .unwrap();
    }
    tick(&mut world);
    // Past REKEY_AFTER_TIME, before REJECT_AFTER_TIME: a packet goes by the old keys and asks for new ones.
    world.now += 130 * SECOND;
    assert_eq!(world.ping("pod0", "10.1.1.2", 1).0, 1);
    assert_eq!(world.ping("pod1", "10.1.0.2", 1).0, 1);
    // 60 s later the first keys would be dead.
    world.now += 60 * SECOND;
    assert_eq!(world.ping("pod0", "10.1.1.2", 3).0, 3);
    // Past REJECT_AFTER_TIME the first packet is lost to the handshake.
    world.now += 200 * SECOND;
    assert_eq!(world.ping("pod0", "10.1.1.2", 3).0, 2);
    // The other node forgets; only a new handshake helps.
    world.nodes[1].set_admin(ends[1].1, false).unwrap();
    world.nodes[1].set_admin(ends[1].1, true).unwrap();
    assert_eq!(world.ping("pod0", "10.1.1.2", 1).0, 0);
    for _ in 0..6 {
        tick(&mut world);
    }
    assert_eq!(world.ping("pod0", "10.1.1.2", 1).0, 1);
}

#[test]
fn a_replayed_or_changed_message_is_dropped() {
    let mut world = World::new(2);
    let ends: Vec<(u32, u32)> = (0..2).map(|n| node(&mut world, n, 1 - n, Family::V4)).collect();
    world.wire((0, ends[0].0), (1, ends[1].0));
    for (n, (_, wg)) in ends.iter().enumerate() {
        world.nodes[n]
            .wireguard_peer_add(&peer(*wg, 1 - n, Family::V4))
            .unwrap();
    }
    tick(&mut world);
    let (_, pod) = world.find_pod("pod0");
    let gateway = world.nodes[0].interface(pod).unwrap().mac;
    let ask = packets::udp(addr("10.1.0.2"), addr("10.1.1.2"), (4000, 9), b"x");
    let frame = packets::frame(gateway, Mac([10, 0, 0, 0, 0, 9]), &ask);
    let sent = world.nodes[0].rx(pod, &frame, world.now).remove(0).frame;
    // Outer IPv4 and UDP headers, 16 bytes of the message's, the packet unpadded, 16 of the tag.
    assert_eq!(sent.len(), 14 + 20 + 8 + 16 + ask.len() + 16);
    assert_eq!(sent[22], 63, "TTL 64, less the underlay's one");
    let mut changed = sent.clone();
    *changed.last_mut().unwrap() ^= 1;
    let up = ends[1].0;
    let taken: Vec<bool> = [&changed, &sent, &sent]
        .into_iter()
        .map(|frame| !world.nodes[1].rx(up, frame, world.now).is_empty())
        .collect();
    assert_eq!(taken, [false, true, false]);
    let errors = world.nodes[1]
        .errors()
        .find(|(node, ..)| *node == "wg4-input")
        .unwrap();
    assert_eq!(errors, ("wg4-input", "Failed during decryption", 2));
}

/// Cloudflare's implementation behind a node's uplink, as UDP payloads.
struct Other {
    tunn: Tunn,
    /// Packets it decrypted.
    received: Vec<Vec<u8>>,
}

impl Other {
    fn new(preshared: Option<[u8; 32]>) -> Self {
        let node = PublicKey::from(public(0));
        Self {
            tunn: Tunn::new(StaticSecret::from(private(1)), node, preshared, None, 77, None),
            received: Vec::new(),
        }
    }

    fn note(&mut self, result: TunnResult<'_>) -> Option<Vec<u8>> {
        match result {
            TunnResult::WriteToNetwork(data) => Some(data.to_vec()),
            TunnResult::WriteToTunnelV4(data, _) | TunnResult::WriteToTunnelV6(data, _) => {
                self.received.push(data.to_vec());
                None
            }
            TunnResult::Done => None,
            TunnResult::Err(error) => panic!("{error:?}"),
        }
    }

    /// A datagram from the node: the datagrams it answers with.
    fn take(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        let mut input = datagram;
        loop {
            let mut buffer = vec![0; 2048];
            let result = self.tunn.decapsulate(None, input, &mut buffer);
            match self.note(result) {
                // It may have more queued.
                Some(answer) => answers.push(answer),
                None => return answers,
            }
            input = &[];
        }
    }

    fn send(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; 2048];
        match self.tunn.encapsulate(packet, &mut buffer) {
            TunnResult::WriteToNetwork(data) => data.to_vec(),
            other => panic!("{other:?}"),
        }
    }
}

/// What a node sends on its uplink, without outer headers, for frames it sent by itself or because of one.
fn datagrams(outputs: Vec<Output>, up: u32) -> Vec<Vec<u8>> {
    outputs
        .into_iter()
        .filter(|out| out.sw_if_index == up)
        .map(|out| {
            let outer = packets::read(&out.frame[14..]);
            assert_eq!((outer.proto, outer.dst), (UDP, end(1, Family::of(outer.src))));
            outer.l4[8..].to_vec()
        })
        .collect()
}

fn to_node(world: &mut World, up: u32, from_port: u16, family: Family, datagram: &[u8]) -> Vec<Output> {
    let packet = packets::udp(end(1, family), end(0, family), (from_port, PORT), datagram);
    world.nodes[0].rx(up, &packets::frame(mac(0), mac(1), &packet), world.now)
}

#[test]
fn it_speaks_with_another_implementation_either_way() {
    for (family, preshared, node_begins) in [
        (Family::V4, None, true),
        (Family::V4, Some([9; 32]), false),
        (Family::V6, Some([9; 32]), true),
        (Family::V6, None, false),
    ] {
        let mut world = World::new(1);
        let (up, wg) = node(&mut world, 0, 1, family);
        let config = WireguardPeer {
            preshared_key: preshared.unwrap_or([0; 32]),
            // One that is to speak first is not known where to be.
            endpoint: if node_begins {
                end(1, family)
            } else {
                family.unspecified()
            },
            port: if node_begins { PORT } else { 0 },
            ..peer(wg, 1, family)
        };
        world.nodes[0].wireguard_peer_add(&config).unwrap();
        let mut other = Other::new(preshared);
        let first = world.nodes[0].tick(world.now);
        let mut pending = datagrams(first, up);
        if node_begins {
            assert_eq!(pending.len(), 1);
            let answer = other.take(&pending.remove(0)).remove(0);
            let keepalive = datagrams(to_node(&mut world, up, PORT, family, &answer), up);
            assert_eq!(keepalive[0].len(), 32, "an empty data message");
            assert_eq!(other.take(&keepalive[0]), Vec::<Vec<u8>>::new());
        } else {
            assert_eq!(pending, Vec::<Vec<u8>>::new());
            let mut buffer = vec![0; 2048];
            let TunnResult::WriteToNetwork(begin) =
                other.tunn.format_handshake_initiation(&mut buffer, false)
            else {
                panic!("no initiation")
            };
            let begin = begin.to_vec();
            // From another port than the usual: the node learns it.
            let answer = datagrams(to_node(&mut world, up, 6000, family, &begin), up).remove(0);
            let confirm = other.take(&answer);
            for datagram in confirm {
                to_node(&mut world, up, 6000, family, &datagram);
            }
            let learnt = &world.nodes[0].wireguard_peers()[0].peer;
            assert_eq!((learnt.endpoint, learnt.port), (end(1, family), 6000));
        }
        assert_eq!(flags(&world.nodes[0]), wireguard_peer_flag::ESTABLISHED);

        // A packet each way, of both families; the other side pads, the node does not.
        let (_, pod) = world.find_pod("pod0");
        let gateway = world.nodes[0].interface(pod).unwrap().mac;
        for (own, far) in [("10.1.0.2", "10.1.1.9"), ("fd00:0::2", "fd00:1::9")] {
            let ask = packets::udp(addr(own), addr(far), (4000, 9), b"seven b");
            let frame = packets::frame(gateway, Mac([10, 0, 0, 0, 0, 9]), &ask);
            let outputs = world.nodes[0].rx(pod, &frame, world.now);
            let sent = datagrams(outputs, up).remove(0);
            other.take(&sent);
            let seen = packets::read(&other.received.pop().unwrap());
            assert_eq!(
                (seen.dst, seen.ttl, &seen.l4[8..]),
                (addr(far), 63, &b"seven b"[..])
            );
            let answer = packets::udp(addr(far), addr(own), (9, 4000), b"back");
            let sealed = other.send(&answer);
            let out = to_node(&mut world, up, 6000, family, &sealed);
            let seen = packets::read(&out[0].frame[14..]);
            assert_eq!((out[0].sw_if_index, seen.dst, seen.ttl), (pod, addr(own), 63));
            assert_eq!(&seen.l4[8..], b"back");
        }
    }
}

#[test]
fn silence_is_broken_by_keepalives() {
    let mut world = World::new(1);
    let (up, wg) = node(&mut world, 0, 1, Family::V4);
    let config = WireguardPeer {
        keepalive: 25,
        ..peer(wg, 1, Family::V4)
    };
    world.nodes[0].wireguard_peer_add(&config).unwrap();
    let mut other = Other::new(None);
    let count = |world: &mut World, other: &mut Other, seconds: u64| {
        let mut lengths = Vec::new();
        for _ in 0..seconds {
            world.now += SECOND;
            let outputs = world.nodes[0].tick(world.now);
            for datagram in datagrams(outputs, up) {
                lengths.push(datagram.len());
                for answer in other.take(&datagram) {
                    to_node(world, up, PORT, Family::V4, &answer);
                }
            }
        }
        lengths
    };
    // The handshake, then every 25 seconds an empty message.
    assert_eq!(count(&mut world, &mut other, 77), [148, 32, 32, 32]);
}

#[test]
fn an_initiation_without_answer_is_repeated_every_five_seconds() {
    let mut world = World::new(1);
    let (up, wg) = node(&mut world, 0, 1, Family::V4);
    world.nodes[0]
        .wireguard_peer_add(&peer(wg, 1, Family::V4))
        .unwrap();
    let mut at = Vec::new();
    for second in 0..200 {
        world.now += SECOND;
        let outputs = world.nodes[0].tick(world.now);
        at.extend(datagrams(outputs, up).iter().map(|_| second));
    }
    assert_eq!(at[..4], [0, 5, 10, 15]);
    // MAX_TIMER_HANDSHAKES is 18: VPP gives up when it is exceeded.
    assert_eq!(at.len(), 1 + 19);
}

#[test]
fn interfaces_and_peers_answer_with_vpps_codes() {
    let mut vpp = Vpp::default();
    let code = |r: OpResult<u32>| match r {
        Err(OpError::Retval(code)) => code,
        other => panic!("{other:?}"),
    };
    let config = interface(0, Family::V4);
    let wg = vpp.wireguard_create(&config, false).unwrap();
    let details = vpp.wireguard_interfaces().remove(0);
    assert_eq!((details.sw_if_index, details.public_key), (wg, public(0)));
    assert_eq!(vpp.interface(wg).unwrap().name, "wg0");
    assert!(!vpp.interface(wg).unwrap().admin_up);
    for instance in [0, 16 * 1024] {
        let wrong = WireguardConfig {
            instance,
            ..config.clone()
        };
        assert_eq!(code(vpp.wireguard_create(&wrong, false)), -31);
    }
    let drawn = vpp.wireguard_create(&config, true).unwrap();
    assert_ne!(vpp.wireguard_interfaces()[1].public_key, public(0));
    let good = peer(wg, 1, Family::V4);
    for (wrong, expected) in [
        (
            WireguardPeer {
                sw_if_index: 99,
                ..good.clone()
            },
            -2,
        ),
        (
            WireguardPeer {
                sw_if_index: 0,
                ..good.clone()
            },
            -2,
        ),
        (
            WireguardPeer {
                allowed_ips: Vec::new(),
                ..good.clone()
            },
            -7,
        ),
    ] {
        assert_eq!(code(vpp.wireguard_peer_add(&wrong)), expected);
    }
    let index = vpp.wireguard_peer_add(&good).unwrap();
    let elsewhere = WireguardPeer {
        sw_if_index: drawn,
        ..good
    };
    assert_eq!(code(vpp.wireguard_peer_add(&elsewhere)), -116);
    vpp.want_wireguard_events(9, Some(wg), None, true);
    vpp.wireguard_peer_remove(index).unwrap();
    let dead = WireguardEvent {
        client: 9,
        peer_index: index,
        flags: wireguard_peer_flag::DEAD,
    };
    assert_eq!(vpp.drain_wireguard_events(), [dead]);
    assert_eq!(code(vpp.wireguard_peer_remove(index).map(|()| 0)), -6);
    assert_eq!(code(vpp.wireguard_delete(99).map(|()| 0)), -2);
    assert_eq!(code(vpp.wireguard_delete(0).map(|()| 0)), -7);
    vpp.wireguard_peer_add(&elsewhere).unwrap();
    vpp.wireguard_delete(drawn).unwrap();
    assert_eq!(vpp.wireguard_peers(), []);
}
