//! IPsec: tunnels protected by ESP with AES-GCM, between two nodes and byte by byte against RFC 4303 and RFC 4106 with
//! another implementation of the cipher; replays, extended sequence numbers, codes.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use engine_common::packets;
use engine_common::tunnels::{code, end, mac};
use engine_common::world::{SECOND, World, addr, neighbor, prefix};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use vpp_sim::engine::*;

const SALT: u32 = 0x0102_0304;
const ESP: u8 = 50;

fn key(length: usize) -> Vec<u8> {
    (0..length).map(|n| n as u8).collect()
}

/// An association of node `from`'s packets to node `to`, with id and SPI 100 + `from`.
fn sa(from: usize, to: usize, family: Family, crypto: u32, flags: u32) -> SaConfig {
    SaConfig {
        id: 100 + from as u32,
        spi: 1000 + from as u32,
        protocol: 50,
        crypto,
        crypto_key: key(match crypto {
            ipsec_crypto::AES_GCM_128 => 16,
            ipsec_crypto::AES_GCM_192 => 24,
            _ => 32,
        }),
        integrity: 0,
        integrity_key: Vec::new(),
        flags,
        tunnel: SaTunnel {
            src: end(from, family),
            dst: end(to, family),
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

/// A node with pod and uplink.
fn node(world: &mut World, n: usize) -> u32 {
    world.gateway(n, &[&format!("10.1.{n}.1/24"), &format!("fd00:{n}::1/64")]);
    let vpp = &mut world.nodes[n];
    let up = vpp.create_af_packet("uplink", Some(mac(n)), Some(1500)).unwrap();
    vpp.set_admin(up, true).unwrap();
    for family in Family::BOTH {
        let length = if family == Family::V4 { 24 } else { 64 };
        vpp.add_address(up, Prefix::new(end(n, family), length)).unwrap();
        vpp.neighbor_add(neighbor(up, end(1 - n, family), mac(1 - n)))
            .unwrap();
    }
    world.pod(
        n,
        &format!("pod{n}"),
        &[&format!("10.1.{n}.2"), &format!("fd00:{n}::2")],
    );
    up
}

/// What is protected, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// `ipip` with associations in transport mode.
    Transport,
    /// `ipip` with associations in tunnel mode: two headers.
    Both,
    /// An IPsec interface.
    Itf,
}

/// Protects the way from node `n` to the other, and routes its pods through it.
fn protect(vpp: &mut Vpp, n: usize, up: u32, family: Family, shape: Shape, crypto: u32, flags: u32) -> u32 {
    let other = 1 - n;
    let index = match shape {
        Shape::Itf => vpp.ipsec_itf_create(NONE, 0).unwrap(),
        _ => {
            let tunnel = IpipTunnel {
                instance: NONE,
                src: end(n, family),
                dst: end(other, family),
                table_id: 0,
                flags: 0,
                mode: 0,
                dscp: 0,
            };
            vpp.ipip_add(&tunnel).unwrap()
        }
    };
    vpp.set_admin(index, true).unwrap();
    vpp.set_unnumbered(up, index, true).unwrap();
    let mode = if shape == Shape::Transport {
        0
    } else {
        sa_flag::IS_TUNNEL
    };
    vpp.ipsec_sa_add(&sa(n, other, family, crypto, flags | mode))
        .unwrap();
    let inbound = flags | mode | sa_flag::IS_INBOUND;
    vpp.ipsec_sa_add(&sa(other, n, family, crypto, inbound)).unwrap();
    vpp.ipsec_protect(&protection(index, n)).unwrap();
    for route in [format!("10.1.{other}.0/24"), format!("fd00:{other}::/64")] {
        let to = prefix(&route);
        let path = RoutePath::attached(index, to.family());
        vpp.ip_route_add_del(&RouteUpdate::add(0, to, vec![path]))
            .unwrap();
    }
    index
}

fn protection(sw_if_index: u32, n: usize) -> Protection {
    Protection {
        sw_if_index,
        next_hop: addr("0.0.0.0"),
        sa_out: 100 + n as u32,
        sa_in: vec![100 + (1 - n) as u32],
    }
}

#[test]
fn two_nodes_carry_both_families_in_every_shape() {
    use ipsec_crypto::{AES_GCM_128, AES_GCM_192, AES_GCM_256};
    use sa_flag::{UDP_ENCAP, USE_ANTI_REPLAY, USE_ESN};
    for family in Family::BOTH {
        for (shape, crypto, flags) in [
            (Shape::Transport, AES_GCM_128, 0),
            (Shape::Transport, AES_GCM_256, USE_ESN | USE_ANTI_REPLAY),
            (Shape::Both, AES_GCM_192, USE_ANTI_REPLAY),
            (Shape::Itf, AES_GCM_256, USE_ESN | USE_ANTI_REPLAY),
            (Shape::Itf, AES_GCM_128, UDP_ENCAP),
        ] {
            // ESP in UDP over IPv6 would need a checksum here.
            if flags & UDP_ENCAP != 0 && family == Family::V6 {
                continue;
            }
            let mut world = World::new(2);
            let ups = [node(&mut world, 0), node(&mut world, 1)];
            world.wire((0, ups[0]), (1, ups[1]));
            let tunnels: Vec<u32> = (0..2)
                .map(|n| protect(&mut world.nodes[n], n, ups[n], family, shape, crypto, flags))
                .collect();
            let case = format!("{family:?} {shape:?} {crypto} {flags}");
            world.pods_talk(&case);
            let there = world.nodes[1].interface(tunnels[1]).unwrap().counters;
            assert!(there.rx_packets >= 6 && there.tx_packets >= 6, "{case}");
            let sas = world.nodes[0].ipsec_sas();
            assert_eq!(sas[0].sent, there.rx_packets, "{case}");
            if flags & USE_ANTI_REPLAY != 0 {
                assert_eq!(sas[1].last_received, there.tx_packets, "{case}");
            }
        }
    }
}

/// A node whose uplink is read and written by the test.
fn alone(shape: Shape, crypto: u32, flags: u32) -> (World, u32) {
    let mut world = World::new(1);
    let up = node(&mut world, 0);
    protect(&mut world.nodes[0], 0, up, Family::V4, shape, crypto, flags);
    (world, up)
}

fn sent(world: &mut World, packet: &[u8]) -> Vec<u8> {
    let (_, pod) = world.find_pod("pod0");
    let gateway = world.nodes[0].interface(pod).unwrap().mac;
    let frame = packets::frame(gateway, Mac([10, 0, 0, 0, 0, 9]), packet);
    world.nodes[0].rx(pod, &frame, SECOND).remove(0).frame[14..].to_vec()
}

fn cipher(length: usize) -> LessSafeKey {
    let algorithm = if length == 16 { &AES_128_GCM } else { &AES_256_GCM };
    LessSafeKey::new(UnboundKey::new(algorithm, &key(length)).unwrap())
}

fn nonce(iv: &[u8]) -> Nonce {
    let mut nonce = SALT.to_be_bytes().to_vec();
    nonce.extend(iv);
    Nonce::try_assume_unique_for_key(&nonce).unwrap()
}

/// SPI, upper half of the sequence number where it is extended, lower half: RFC 4106, 5.
fn associated(spi: u32, sequence: u64, extended: bool) -> Vec<u8> {
    let mut data = spi.to_be_bytes().to_vec();
    if extended {
        data.extend(((sequence >> 32) as u32).to_be_bytes());
    }
    data.extend((sequence as u32).to_be_bytes());
    data
}

/// ESP as a peer would make it, in an outer packet to node 0.
fn sealed(sequence: u64, extended: bool, next: u8, inner: &[u8], length: usize) -> Vec<u8> {
    let mut plain = inner.to_vec();
    let mut pad = 1;
    while !(plain.len() + 2).is_multiple_of(4) {
        plain.push(pad);
        pad += 1;
    }
    plain.extend([pad - 1, next]);
    let iv = [9, 9, 9, 9, 0, 0, 0, sequence as u8];
    let head = associated(1001, sequence, extended);
    cipher(length)
        .seal_in_place_append_tag(nonce(&iv), Aad::from(&head), &mut plain)
        .unwrap();
    let mut esp = 1001u32.to_be_bytes().to_vec();
    esp.extend((sequence as u32).to_be_bytes());
    esp.extend(iv);
    esp.extend(plain);
    packets::ip(end(1, Family::V4), end(0, Family::V4), ESP, 64, esp, None)
}

#[test]
fn what_is_sent_is_what_rfc_4303_and_4106_describe() {
    for (shape, crypto, length, flags) in [
        (Shape::Transport, ipsec_crypto::AES_GCM_128, 16, 0),
        (Shape::Transport, ipsec_crypto::AES_GCM_256, 32, sa_flag::USE_ESN),
        (Shape::Itf, ipsec_crypto::AES_GCM_128, 16, sa_flag::USE_ESN),
        (Shape::Itf, ipsec_crypto::AES_GCM_256, 32, 0),
    ] {
        let (mut world, _) = alone(shape, crypto, flags);
        for sequence in 1..4u64 {
            let size = 10 + sequence as usize;
            let ask = packets::udp(addr("10.1.0.2"), addr("10.1.1.2"), (1, 2), &vec![7; size]);
            let out = sent(&mut world, &ask);
            // VPP's own packets keep their TTL: 64 of ipip, 254 of an association.
            let ttl = if shape == Shape::Transport { 64 } else { 254 };
            assert_eq!((out[9], out[8]), (ESP, ttl));
            assert_eq!(usize::from(u16::from_be_bytes([out[2], out[3]])), out.len());
            let esp = &out[20..];
            assert_eq!(
                esp[..8],
                [1000u32.to_be_bytes(), (sequence as u32).to_be_bytes()].concat()
            );
            let head = associated(1000, sequence, flags & sa_flag::USE_ESN != 0);
            let mut plain = esp[16..].to_vec();
            let plain = cipher(length)
                .open_in_place(nonce(&esp[8..16]), Aad::from(&head), &mut plain)
                .unwrap();
            let (body, footer) = plain.split_at(plain.len() - 2);
            let padding = usize::from(footer[0]);
            assert_eq!((plain.len() % 4, footer[1]), (0, 4));
            assert!(padding < 4 && body[body.len() - padding..].iter().copied().eq(1..=footer[0]));
            let inner = packets::read(&body[..body.len() - padding]);
            assert_eq!((inner.dst, inner.ttl), (addr("10.1.1.2"), 63));
        }
    }
}

fn receive(world: &mut World, up: u32, packet: &[u8]) -> bool {
    let frame = packets::frame(mac(0), mac(1), packet);
    !world.nodes[0].rx(up, &frame, SECOND).is_empty()
}

#[test]
fn replays_and_changed_packets_are_dropped() {
    let flags = sa_flag::USE_ANTI_REPLAY;
    let (mut world, up) = alone(Shape::Transport, ipsec_crypto::AES_GCM_128, flags);
    let inner = packets::udp(addr("10.1.1.2"), addr("10.1.0.2"), (1, 2), b"x");
    for (sequence, taken) in [
        (5, true),
        (5, false),
        (3, true),
        (0, false),
        (100, true),
        // The window is 64: 37 is its oldest.
        (36, false),
        (37, true),
        (37, false),
        (99, true),
    ] {
        let packet = sealed(sequence, false, 4, &inner, 16);
        assert_eq!(receive(&mut world, up, &packet), taken, "{sequence}");
    }
    let mut changed = sealed(101, false, 4, &inner, 16);
    *changed.last_mut().unwrap() ^= 1;
    assert!(!receive(&mut world, up, &changed));
    assert!(
        receive(&mut world, up, &sealed(101, false, 4, &inner, 16)),
        "it was not noted"
    );
    let details = world.nodes[0].ipsec_sas().remove(1);
    assert_eq!(details.last_received, 101);
    // 101, 100, 99 are the newest three, 37 is the 65th.
    assert_eq!(details.replay_window, 0b111 << 61);
    let count = |error: &str| {
        let mut errors = world.nodes[0].errors();
        errors
            .find(|(node, e, _)| *node == "esp4-decrypt-tun" && *e == error)
            .map(|(.., n)| n)
    };
    assert_eq!(count("SA replayed packet"), Some(4));
    assert_eq!(count("integrity check failed"), Some(1));
}

#[test]
fn extended_sequence_numbers_go_on_past_32_bits() {
    let flags = sa_flag::USE_ESN | sa_flag::USE_ANTI_REPLAY;
    let (mut world, up) = alone(Shape::Itf, ipsec_crypto::AES_GCM_256, flags);
    let inner = packets::udp(addr("10.1.1.2"), addr("10.1.0.2"), (1, 2), b"x");
    let turn = 1u64 << 32;
    for (sequence, taken) in [
        (1, true),
        (0x8000_0000, true),
        (turn - 1, true),
        (turn + 1, true),
        (turn - 1, false),
        (turn - 2, true),
        (turn, true),
        // A turn ahead of what can be guessed.
        (3 * turn, false),
    ] {
        let packet = sealed(sequence, true, 4, &inner, 32);
        assert_eq!(receive(&mut world, up, &packet), taken, "{sequence:#x}");
    }
    assert_eq!(world.nodes[0].ipsec_sas()[1].last_received, turn + 1);
}

#[test]
fn a_peer_may_not_use_one_tunnels_keys_for_another() {
    let (mut world, up) = alone(Shape::Both, ipsec_crypto::AES_GCM_128, 0);
    let inner = packets::udp(addr("10.1.1.2"), addr("10.1.0.2"), (1, 2), b"x");
    for (from, taken) in [(end(1, Family::V4), true), (addr("192.0.2.9"), false)] {
        let tunnelled = packets::ip(from, end(0, Family::V4), 4, 64, inner.clone(), None);
        let packet = sealed(1, false, 4, &tunnelled, 16);
        assert_eq!(receive(&mut world, up, &packet), taken);
    }
    // Unknown SPI, known sender.
    let mut unknown = sealed(2, false, 4, &inner, 16);
    unknown[23] ^= 0xff;
    assert!(!receive(&mut world, up, &unknown));
    // On an interface that is down nothing is received.
    let tunnel = world.nodes[0].ipsec_protections()[0].sw_if_index;
    world.nodes[0].set_admin(tunnel, false).unwrap();
    let tunnelled = packets::ip(end(1, Family::V4), end(0, Family::V4), 4, 64, inner, None);
    assert!(!receive(&mut world, up, &sealed(3, false, 4, &tunnelled, 16)));
}

#[test]
fn associations_are_replaced_at_once() {
    let (mut world, up) = alone(Shape::Transport, ipsec_crypto::AES_GCM_128, 0);
    let vpp = &mut world.nodes[0];
    let newer = SaConfig {
        id: 200,
        spi: 2000,
        ..sa(0, 1, Family::V4, ipsec_crypto::AES_GCM_256, 0)
    };
    vpp.ipsec_sa_add(&newer).unwrap();
    let mut wanted = vpp.ipsec_protections().remove(0);
    wanted.sa_out = 200;
    vpp.ipsec_protect(&wanted).unwrap();
    assert_eq!(vpp.ipsec_protections(), [wanted]);
    // The old one is free now and goes at once.
    vpp.ipsec_sa_del(100).unwrap();
    assert_eq!(
        vpp.ipsec_sas().iter().map(|sa| sa.config.id).collect::<Vec<_>>(),
        [101, 200]
    );
    let ask = packets::udp(addr("10.1.0.2"), addr("10.1.1.2"), (1, 2), b"x");
    assert_eq!(sent(&mut world, &ask)[20..24], 2000u32.to_be_bytes());
    let inner = packets::udp(addr("10.1.1.2"), addr("10.1.0.2"), (1, 2), b"x");
    assert!(receive(&mut world, up, &sealed(1, false, 4, &inner, 16)));
}

#[test]
fn associations_and_protections_answer_with_vpps_codes() {
    let mut vpp = Vpp::default();
    let good = sa(0, 1, Family::V4, ipsec_crypto::AES_GCM_128, sa_flag::IS_TUNNEL);
    let tunnel = good.tunnel;
    let with_tunnel = |tunnel: SaTunnel| SaConfig {
        tunnel,
        ..good.clone()
    };
    for (wrong, expected) in [
        (
            SaConfig {
                protocol: 6,
                ..good.clone()
            },
            -153,
        ),
        (
            SaConfig {
                crypto: 99,
                ..good.clone()
            },
            -154,
        ),
        (
            SaConfig {
                integrity: 7,
                ..good.clone()
            },
            -154,
        ),
        (
            SaConfig {
                integrity: 2,
                ..good.clone()
            },
            -9,
        ),
        (
            SaConfig {
                protocol: 51,
                ..good.clone()
            },
            -9,
        ),
        (
            SaConfig {
                crypto_key: key(15),
                ..good.clone()
            },
            -156,
        ),
        (
            with_tunnel(SaTunnel {
                dst: tunnel.src,
                ..tunnel
            }),
            -82,
        ),
        (
            with_tunnel(SaTunnel {
                dst: addr("fd00::1"),
                ..tunnel
            }),
            -153,
        ),
        (with_tunnel(SaTunnel { mode: 2, ..tunnel }), -8),
        (
            with_tunnel(SaTunnel {
                table_id: 9,
                ..tunnel
            }),
            -3,
        ),
    ] {
        assert_eq!(code(vpp.ipsec_sa_add(&wrong)), expected);
    }
    vpp.ipsec_sa_add(&good).unwrap();
    assert_eq!(code(vpp.ipsec_sa_add(&good)), -116);
    assert_eq!(code(vpp.ipsec_sa_del(9)), -6);
    assert_eq!(code(vpp.ipsec_sa_update(9, None, (0, 0))), -6);
    vpp.ipsec_sa_add(&sa(1, 0, Family::V4, ipsec_crypto::AES_GCM_128, 0))
        .unwrap();

    assert_eq!(code(vpp.ipsec_itf_create(1 << 14, 0)), -31);
    assert_eq!(code(vpp.ipsec_itf_create(0, 2)), -8);
    let itf = vpp.ipsec_itf_create(NONE, 0).unwrap();
    assert_eq!(vpp.interface(itf).unwrap().name, "ipsec0");
    assert_eq!(code(vpp.ipsec_itf_create(0, 0)), -31);
    let wanted = protection(itf, 0);
    let with = |sw_if_index: u32, sa_out: u32, sa_in: &[u32]| Protection {
        sw_if_index,
        sa_out,
        sa_in: sa_in.to_vec(),
        ..wanted.clone()
    };
    let loopback = vpp.create_loopback(Mac::default(), None).unwrap();
    assert_eq!(code(vpp.ipsec_protect(&with(99, 100, &[101]))), -2);
    assert_eq!(code(vpp.ipsec_protect(&with(loopback, 100, &[101]))), -2);
    assert_eq!(code(vpp.ipsec_protect(&with(itf, 100, &[101; 5]))), -162);
    assert_eq!(code(vpp.ipsec_protect(&with(itf, 9, &[101]))), -7);
    // 101 is in transport mode, which an IPsec interface cannot use; VPP keeps the half-made record.
    assert_eq!(code(vpp.ipsec_protect(&with(itf, 101, &[101]))), -58);
    assert_eq!(code(vpp.ipsec_unprotect(itf, wanted.next_hop)), -6);
    assert_eq!(vpp.ipsec_protections().len(), 1);
    assert_eq!(code(vpp.ipsec_itf_delete(loopback)), -2);
    vpp.ipsec_itf_delete(itf).unwrap();
    assert_eq!(vpp.ipsec_itfs(), []);
}

#[test]
fn freeing_an_association_under_its_tunnel_is_fatal() {
    let mut vpp = Vpp::default();
    for config in [
        sa(0, 1, Family::V4, ipsec_crypto::AES_GCM_128, sa_flag::IS_TUNNEL),
        sa(1, 0, Family::V4, ipsec_crypto::AES_GCM_128, sa_flag::IS_TUNNEL),
    ] {
        vpp.ipsec_sa_add(&config).unwrap();
    }
    let itf = vpp.ipsec_itf_create(NONE, 0).unwrap();
    vpp.ipsec_protect(&protection(itf, 0)).unwrap();
    // The first time it is kept, the second time it goes.
    vpp.ipsec_sa_del(100).unwrap();
    assert_eq!(vpp.ipsec_sas().len(), 2);
    assert!(matches!(vpp.clone().ipsec_sa_del(100), Err(OpError::Fatal(why)) if why.contains("100")));
    // Behind the protection it goes without harm.
    vpp.ipsec_unprotect(itf, addr("0.0.0.0")).unwrap();
    assert_eq!(vpp.ipsec_sas().len(), 1);
    vpp.ipsec_sa_del(101).unwrap();
    assert_eq!(vpp.ipsec_sas(), []);
}
