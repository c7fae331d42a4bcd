//! `wg4/6-input` and `wg4/6-output-tun`: messages of the WireGuard protocol.
use std::net::IpAddr;

use super::{Packet, Walk};
use crate::engine::fib::FLOW_HASH_DEFAULT;
use crate::engine::packet::UDP;
use crate::engine::packet::hash::flow_hash;
use crate::engine::packet::ip::{Ip, packet as ip_packet};
use crate::engine::packet::tunnel::traffic_class;
use crate::engine::packet::{be16, be32};
use crate::engine::types::Family;
use crate::engine::wireguard::noise::{self, TIMESTAMP};
use crate::engine::wireguard::session::Session;
use crate::engine::wireguard::timers::Action;
use crate::engine::wireguard::{SECOND, peer_flag};
use crate::engine::{Fate, Vpp};

/// `wg_build_rewrite`.
const TTL: u8 = 64;

const UDP_HEADER: usize = 8;

/// 2^62 and the ten leap seconds of 1970: the start of Unix' time in TAI64.
const TAI64_EPOCH: u64 = (1 << 62) + 10;

/// `REJECT_INTERVAL_MASK`: timestamps tell no more than that.
const NANOSECOND_MASK: u32 = !((1 << 24) - 1);

mod error {
    pub const MAC: &str = "Invalid MAC handshake";
    pub const PEER: &str = "Peer error";
    pub const DECRYPTION: &str = "Failed during decryption";
    pub const KEYPAIR: &str = "Keypair error";
}

fn input_node(family: Family) -> &'static str {
    match family {
        Family::V4 => "wg4-input",
        Family::V6 => "wg6-input",
    }
}

impl Vpp {
    fn tai64n(&self, now: u64) -> [u8; TIMESTAMP] {
        let time = self.config.unix_start.saturating_add(now);
        let nanoseconds = (time % SECOND) as u32 & NANOSECOND_MASK;
        let mut label = [0; TIMESTAMP];
        label[..8].copy_from_slice(&(TAI64_EPOCH + time / SECOND).to_be_bytes());
        label[8..].copy_from_slice(&nanoseconds.to_be_bytes());
        label
    }

    /// An index that no session of this node has.
    fn fresh_index(&mut self, own: &noise::Key) -> u32 {
        loop {
            let [a, b, c, d, ..] = self.draw_secret(own);
            let index = u32::from_le_bytes([a, b, c, d]);
            if self.peer_with_index(index).is_none() {
                return index;
            }
        }
    }

    fn peer_with_index(&self, index: u32) -> Option<u32> {
        let mut peers = self.wireguard.peers.iter();
        peers
            .find(|(_, peer)| {
                peer.sessions.has_index(index)
                    || peer.initiated.as_ref().is_some_and(|i| i.local_index == index)
            })
            .map(|(at, _)| at)
    }

    fn private_key(&self, sw_if_index: u32) -> Option<(noise::Key, u16, IpAddr)> {
        let mut interfaces = self.wireguard_interfaces().into_iter();
        let details = interfaces.find(|details| details.sw_if_index == sw_if_index)?;
        Some((
            details.config.private_key,
            details.config.port,
            details.config.source,
        ))
    }

    /// A message to a peer in an outer packet. Messages of the protocol itself are looked up in table 0
    /// (`ip46_enqueue_packet`); data in the peer's. `head` is the first word of an IPv6 header around data.
    fn wg_send(&mut self, w: &mut Walk, index: u32, message: &[u8], data_head: Option<u32>) {
        let Some(config) = self.wireguard.peers.get(index).map(|peer| peer.config.clone()) else {
            return;
        };
        let Some((_, port, source)) = self.private_key(config.sw_if_index) else {
            return;
        };
        let mut udp = Vec::with_capacity(UDP_HEADER + message.len());
        udp.extend(port.to_be_bytes());
        udp.extend(config.port.to_be_bytes());
        udp.extend(((UDP_HEADER + message.len()) as u16).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(message);
        let family = Family::of(config.endpoint);
        let checksum_at = (family == Family::V6).then_some(6);
        let Some(mut data) = ip_packet(source, config.endpoint, UDP, TTL, &udp, checksum_at) else {
            return self.drop_packet(w, 0, "wg-output-tun", "families of source and endpoint differ");
        };
        match data_head {
            Some(head) => {
                if family == Family::V6 {
                    data[..4].copy_from_slice(&head.to_be_bytes());
                }
                self.tunnel_send(w, 0, config.table_id, data);
            }
            None => {
                let packet = Packet {
                    local: false,
                    ..Packet::own(data, 0, 0)
                };
                self.ip_lookup(w, family, packet);
            }
        }
    }

    /// `wg_send_handshake`.
    fn wg_initiate(&mut self, w: &mut Walk, index: u32, is_retry: bool) {
        let Some(peer) = self.wireguard.peers.get(index) else {
            return;
        };
        let config = peer.config.clone();
        let dead = peer.flags & peer_flag::DEAD != 0;
        if !peer.can_send() || dead || !peer.timers.may_initiate(w.now) {
            return;
        }
        let Some((private, ..)) = self.private_key(config.sw_if_index) else {
            return;
        };
        let (ephemeral, local_index) = (self.draw_secret(&private), self.fresh_index(&private));
        let timestamp = self.tai64n(w.now);
        let (message, initiated) =
            noise::initiate(&private, &config.public_key, ephemeral, local_index, &timestamp);
        if let Some(peer) = self.wireguard.peers.get_mut(index) {
            peer.initiated = Some(initiated);
            peer.timers.initiation_sent(w.now, is_retry);
        }
        self.wg_send(w, index, &message, None);
    }

    /// An empty data message; without a session a handshake. Whether there was one.
    fn wg_keepalive(&mut self, w: &mut Walk, index: u32) -> bool {
        let Some(peer) = self.wireguard.peers.get_mut(index).filter(|peer| peer.can_send()) else {
            return false;
        };
        let Some(session) = peer.sessions.current.as_mut().filter(|s| s.is_alive(w.now)) else {
            self.wg_initiate(w, index, false);
            return false;
        };
        let message = session.seal(&[]);
        peer.timers.sent(w.now, false);
        self.wg_send(w, index, &message, None);
        true
    }

    /// A packet that leaves by a WireGuard interface.
    pub(super) fn wg_output(
        &mut self,
        w: &mut Walk,
        rx: u32,
        interface: u32,
        next_hop: Option<IpAddr>,
        data: &[u8],
    ) {
        let node = match data.first().map(|b| b >> 4) {
            Some(4) => "wg4-output-tun",
            _ => "wg6-output-tun",
        };
        let sw_if_index = self
            .wireguard
            .interface(interface)
            .map(|details| details.sw_if_index);
        let found = sw_if_index
            .zip(next_hop)
            .and_then(|(sw_if_index, next_hop)| self.wireguard.peer_for(sw_if_index, next_hop));
        let Some(index) = found else {
            return self.drop_packet(w, rx, node, error::PEER);
        };
        w.node(node, || format!("peer {index}"));
        let Some(peer) = self.wireguard.peers.get_mut(index) else {
            return;
        };
        let Some(session) = &mut peer.sessions.current else {
            self.drop_packet(w, rx, node, error::KEYPAIR);
            return self.wg_initiate(w, index, false);
        };
        if !session.is_alive(w.now) {
            self.wireguard.set_flag(index, peer_flag::ESTABLISHED, false);
            self.drop_packet(w, rx, node, error::KEYPAIR);
            return self.wg_initiate(w, index, false);
        }
        let message = session.seal(data);
        let renew = session.should_renew(w.now, false);
        peer.timers.sent(w.now, true);
        // The outer IPv6 header copies traffic class and flow label, or makes the label of the inner flow
        // (`wg_peer_66_fixup`, `wg_peer_46_fixup`).
        let head = match Ip::parse(data) {
            Ok(ip) if ip.family == Family::V4 => {
                let label = flow_hash(&ip, data, FLOW_HASH_DEFAULT) & 0x000f_ffff;
                0x6000_0000 | (u32::from(traffic_class(data)) << 20) | label
            }
            _ => be32(data, 0),
        };
        self.wg_send(w, index, &message, Some(head));
        if renew {
            self.wg_initiate(w, index, false);
        }
    }

    /// A datagram to a port on which a WireGuard interface listens.
    pub(super) fn wg_input(&mut self, w: &mut Walk, packet: &Packet, ip: &Ip) {
        let node = input_node(ip.family);
        let message = packet
            .data
            .get(ip.l4 + UDP_HEADER..ip.end)
            .unwrap_or(&[])
            .to_vec();
        let (from_port, port) = ip.ports(&packet.data);
        w.node(node, || format!("type {:?} from {}", message.first(), ip.src));
        let from = (ip.src, from_port);
        match message.first() {
            Some(&noise::INITIATION) => self.wg_initiation(w, packet, node, port, from, &message),
            Some(&noise::RESPONSE) => self.wg_response(w, packet, node, from, &message),
            Some(&noise::DATA) => self.wg_data(w, packet, node, from, &message),
            _ => self.drop_packet(w, packet.rx, node, "Failed while receiving Handshake"),
        }
    }

    fn wg_taken(w: &mut Walk, node: &str, what: &str) {
        w.settle(|| Fate::Local {
            node: node.to_owned(),
            what: what.to_owned(),
        });
    }

    fn wg_initiation(
        &mut self,
        w: &mut Walk,
        packet: &Packet,
        node: &str,
        port: u16,
        from: (IpAddr, u16),
        message: &[u8],
    ) {
        let listening = self.wireguard.listening(port);
        let ours = listening
            .iter()
            .find(|details| noise::is_for(message, &details.public_key));
        let Some(private) = ours.map(|details| details.config.private_key) else {
            return self.drop_packet(w, packet.rx, node, error::MAC);
        };
        let known = noise::receive(&private, message).and_then(|received| {
            let mut peers = self.wireguard.peers.iter();
            let (index, _) = peers.find(|(_, peer)| {
                peer.config.public_key == received.remote_static && peer.last_timestamp < received.timestamp
            })?;
            Some((index, received))
        });
        let Some((index, received)) = known else {
            return self.drop_packet(w, packet.rx, node, error::PEER);
        };
        let (ephemeral, local_index) = (self.draw_secret(&private), self.fresh_index(&private));
        let Some(peer) = self.wireguard.peers.get_mut(index) else {
            return;
        };
        (peer.config.endpoint, peer.config.port) = from;
        peer.last_timestamp = received.timestamp;
        let remote_index = received.remote_index;
        let (answer, keys) = noise::respond(received, &peer.config.preshared_key, &ephemeral, local_index);
        peer.sessions
            .begin(Session::new(local_index, remote_index, keys, false, w.now));
        peer.timers.session_begun(w.now, false);
        peer.timers.sent(w.now, false);
        peer.timers.received(w.now, false);
        Self::wg_taken(w, node, "handshake initiation answered");
        self.wg_send(w, index, &answer, None);
    }

    fn wg_response(
        &mut self,
        w: &mut Walk,
        packet: &Packet,
        node: &str,
        from: (IpAddr, u16),
        message: &[u8],
    ) {
        let finished = self
            .peer_with_index(noise::index_at(message, 8))
            .and_then(|index| {
                let peer = self.wireguard.peers.get(index)?;
                let initiated = peer.initiated.as_ref()?;
                let (private, ..) = self.private_key(peer.config.sw_if_index)?;
                let preshared = &peer.config.preshared_key;
                let (remote_index, keys) = noise::finish(initiated, &private, preshared, message)?;
                Some((
                    index,
                    Session::new(initiated.local_index, remote_index, keys, true, w.now),
                ))
            });
        let Some((index, session)) = finished else {
            return self.drop_packet(w, packet.rx, node, error::PEER);
        };
        if let Some(peer) = self.wireguard.peers.get_mut(index) {
            (peer.config.endpoint, peer.config.port) = from;
            peer.initiated = None;
            peer.sessions.begin(session);
            peer.timers.session_begun(w.now, true);
            peer.timers.received(w.now, false);
        }
        Self::wg_taken(w, node, "handshake done");
        // The keepalive confirms the keys to the other side.
        if self.wg_keepalive(w, index) {
            self.wireguard.set_flag(index, peer_flag::ESTABLISHED, true);
        }
    }

    fn wg_data(&mut self, w: &mut Walk, packet: &Packet, node: &str, from: (IpAddr, u16), message: &[u8]) {
        let Some(index) = self.peer_with_index(noise::index_at(message, 4)) else {
            return self.drop_packet(w, packet.rx, node, error::PEER);
        };
        let Some(peer) = self.wireguard.peers.get_mut(index) else {
            return;
        };
        let Some((data, confirmed)) = peer.sessions.open(message, w.now) else {
            return self.drop_packet(w, packet.rx, node, error::DECRYPTION);
        };
        (peer.config.endpoint, peer.config.port) = from;
        let is_data = !data.is_empty();
        peer.timers.received(w.now, is_data);
        if confirmed {
            peer.timers.handshake_complete();
        }
        let renew = peer
            .sessions
            .current
            .as_ref()
            .is_some_and(|session| session.should_renew(w.now, true));
        let config = peer.config.clone();
        self.wireguard.set_flag(index, peer_flag::ESTABLISHED, true);
        if renew {
            self.wg_initiate(w, index, false);
        }
        if !is_data {
            return Self::wg_taken(w, node, "keepalive");
        }
        let (family, length) = match data[0] >> 4 {
            4 => (Family::V4, usize::from(be16(&data, 2))),
            _ => (Family::V6, 40 + usize::from(be16(&data, 4))),
        };
        let source = match Ip::parse(&data) {
            Ok(ip) => ip.src,
            Err(reason) => return self.drop_packet(w, packet.rx, node, reason),
        };
        if !config.allowed_ips.iter().any(|prefix| prefix.contains(source)) {
            return self.drop_packet(w, packet.rx, node, "source is not allowed to the peer, punted");
        }
        // Others pad what they encrypt.
        let inner = data.get(..length).unwrap_or(&data).to_vec();
        self.tunnel_receive(w, packet, config.sw_if_index, family, inner, node);
    }

    /// What the peers' timers ask for.
    pub(crate) fn wireguard_tick(&mut self, now: u64) -> Vec<crate::engine::Output> {
        let mut w = Walk::new(now, false);
        let up = |vpp: &Self, sw: u32| vpp.interface(sw).is_some_and(|i| i.admin_up);
        let peers: Vec<(u32, u32)> = self
            .wireguard
            .peers
            .iter()
            .map(|(index, peer)| (index, peer.config.sw_if_index))
            .collect();
        for (index, sw_if_index) in peers {
            if !up(self, sw_if_index) {
                continue;
            }
            let due = self
                .wireguard
                .peers
                .get_mut(index)
                .and_then(|peer| peer.timers.due(now, peer.config.keepalive));
            match due {
                Some(Action::Handshake { is_retry }) => self.wg_initiate(&mut w, index, is_retry),
                Some(Action::Keepalive) => {
                    self.wg_keepalive(&mut w, index);
                }
                Some(Action::Forget) => {
                    if let Some(peer) = self.wireguard.peers.get_mut(index) {
                        peer.sessions.clear();
                        peer.initiated = None;
                    }
                }
                None => {}
            }
        }
        w.outputs
    }
}
