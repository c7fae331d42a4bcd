//! WireGuard interfaces and peers (`plugins/wireguard`). The protocol itself is in [`noise`] and [`session`], the packets
//! in `walk/wireguard.rs`.
//!
//! Not there: cookies, which VPP asks for under load.
pub(crate) mod noise;
pub(crate) mod session;
pub(crate) mod timers;

use std::net::{IpAddr, Ipv6Addr};

use blake2::{Blake2s256, Digest};

use super::Vpp;
use super::interface::Kind;
use super::pool::Pool;
use super::types::{Mac, NONE, OpError, OpResult, Prefix, retval};
use noise::{Initiated, Key, TIMESTAMP};
use session::{Sessions, is_set};
use timers::Timers;

pub(crate) const SECOND: u64 = 1_000_000_000;

/// `WG_ITF_MAX_INSTANCE`.
const MAX_INSTANCE: u32 = 16 * 1024;
const MAX_PEERS: usize = 1 << 20;

/// Flags of a peer.
pub mod peer_flag {
    pub const DEAD: u8 = 1;
    pub const ESTABLISHED: u8 = 2;
}

/// `wireguard_interface_create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireguardConfig {
    /// Number in the name; [`NONE`] = lowest free.
    pub instance: u32,
    pub private_key: [u8; 32],
    pub port: u16,
    /// Source of the outer packets.
    pub source: IpAddr,
}

/// An interface as `wireguard_interface_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireguardDetails {
    pub sw_if_index: u32,
    pub config: WireguardConfig,
    pub public_key: [u8; 32],
}

/// `wireguard_peer_add(_v2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireguardPeer {
    pub sw_if_index: u32,
    pub public_key: [u8; 32],
    /// All zero = none.
    pub preshared_key: [u8; 32],
    /// Unspecified until the peer speaks.
    pub endpoint: IpAddr,
    pub port: u16,
    /// Table of the outer packets.
    pub table_id: u32,
    /// Seconds; 0 = none.
    pub keepalive: u16,
    pub allowed_ips: Vec<Prefix>,
}

/// A peer as `wireguard_peers_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireguardPeerDetails {
    pub index: u32,
    /// See [`peer_flag`].
    pub flags: u8,
    pub peer: WireguardPeer,
}

/// What `want_wireguard_peer_events` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireguardEvent {
    /// Handle of the client that asked.
    pub client: u32,
    pub peer_index: u32,
    pub flags: u8,
}

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub config: WireguardPeer,
    pub flags: u8,
    pub initiated: Option<Initiated>,
    pub sessions: Sessions,
    pub timers: Timers,
    /// The newest timestamp of an initiation; older ones are replays.
    pub last_timestamp: [u8; TIMESTAMP],
    clients: Vec<u32>,
}

impl Peer {
    /// Whether it is known where the peer is.
    pub fn can_send(&self) -> bool {
        !self.config.endpoint.is_unspecified() && self.config.port != 0
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Wireguard {
    interfaces: Pool<WireguardDetails>,
    pub peers: Pool<Peer>,
    events: Vec<WireguardEvent>,
    /// Secrets drawn so far.
    drawn: u64,
}

impl Wireguard {
    pub fn interface(&self, index: u32) -> Option<&WireguardDetails> {
        self.interfaces.get(index)
    }

    fn interface_by_sw(&self, sw_if_index: u32) -> Option<(u32, &WireguardDetails)> {
        self.interfaces
            .iter()
            .find(|(_, details)| details.sw_if_index == sw_if_index)
    }

    /// The interfaces that listen on a UDP port.
    pub fn listening(&self, port: u16) -> Vec<&WireguardDetails> {
        let all = self.interfaces.iter().map(|(_, details)| details);
        all.filter(|details| details.config.port == port).collect()
    }

    /// The peer to which a next hop on an interface belongs: the first whose allowed prefixes cover it.
    pub fn peer_for(&self, sw_if_index: u32, next_hop: IpAddr) -> Option<u32> {
        self.peers
            .iter()
            .find(|(_, peer)| {
                peer.config.sw_if_index == sw_if_index
                    && peer.config.allowed_ips.iter().any(|p| p.contains(next_hop))
            })
            .map(|(index, _)| index)
    }

    pub fn set_flag(&mut self, index: u32, flag: u8, on: bool) {
        let Some(peer) = self.peers.get_mut(index) else {
            return;
        };
        if (peer.flags & flag != 0) == on {
            return;
        }
        peer.flags ^= flag;
        let flags = peer.flags;
        self.events
            .extend(peer.clients.iter().map(|client| WireguardEvent {
                client: *client,
                peer_index: index,
                flags,
            }));
    }
}

impl Vpp {
    /// A secret number, from the seed: reproducible, and so fit for a stand-in only.
    pub(crate) fn draw_secret(&mut self, own: &Key) -> Key {
        self.wireguard.drawn += 1;
        Blake2s256::new()
            .chain_update(own)
            .chain_update(self.config.seed.to_le_bytes())
            .chain_update(self.wireguard.drawn.to_le_bytes())
            .finalize()
            .into()
    }

    /// `wireguard_interface_create`: the interface, admin-down. With `generate_key` VPP draws the private key.
    ///
    /// # Errors
    /// −31 instance taken or too great.
    pub fn wireguard_create(&mut self, config: &WireguardConfig, generate_key: bool) -> OpResult<u32> {
        let taken: Vec<u32> = self
            .wireguard
            .interfaces
            .iter()
            .map(|(_, details)| details.config.instance)
            .collect();
        let instance = match config.instance {
            NONE => (0..).find(|n| !taken.contains(n)).unwrap_or(NONE),
            wanted => wanted,
        };
        if instance >= MAX_INSTANCE || taken.contains(&instance) {
            return Err(retval::INVALID_REGISTRATION.into());
        }
        let mut config = WireguardConfig {
            instance,
            ..config.clone()
        };
        if generate_key {
            let mut key = self.draw_secret(&config.private_key);
            // RFC 7748, 5.
            key[0] &= 248;
            key[31] = (key[31] & 127) | 64;
            config.private_key = key;
        }
        let index = self.wireguard.interfaces.next_index();
        let kind = Kind::Wireguard { interface: index };
        let name = format!("wg{instance}");
        let sw_if_index = self.new_interface(name, "Wireguard Tunnel", kind, Mac::default());
        self.wireguard.interfaces.insert(WireguardDetails {
            sw_if_index,
            public_key: noise::public_key(&config.private_key),
            config,
        });
        Ok(sw_if_index)
    }

    /// `wireguard_interface_delete`, with its peers.
    ///
    /// # Errors
    /// −2 no such interface, −7 it is another kind.
    pub fn wireguard_delete(&mut self, sw_if_index: u32) -> OpResult {
        self.interface_mut(sw_if_index)?;
        let Some((index, _)) = self.wireguard.interface_by_sw(sw_if_index) else {
            return Err(retval::INVALID_VALUE.into());
        };
        let peers: Vec<u32> = self
            .wireguard
            .peers
            .iter()
            .filter(|(_, peer)| peer.config.sw_if_index == sw_if_index)
            .map(|(peer, _)| peer)
            .collect();
        for peer in peers {
            self.wireguard_peer_remove(peer)?;
        }
        self.delete_interface(sw_if_index);
        self.wireguard.interfaces.remove(index);
        Ok(())
    }

    /// `wireguard_interface_dump`.
    pub fn wireguard_interfaces(&self) -> Vec<WireguardDetails> {
        let all = self.wireguard.interfaces.iter();
        all.map(|(_, details)| details.clone()).collect()
    }

    /// `wireguard_peer_add(_v2)`: the index. The first handshake goes out at the next tick if the interface is up.
    ///
    /// # Errors
    /// −2 no such WireGuard interface, −7 no allowed prefix, −116 the key is known on some interface, −162 too many.
    pub fn wireguard_peer_add(&mut self, config: &WireguardPeer) -> OpResult<u32> {
        let admin_up = self.interface_mut(config.sw_if_index)?.admin_up;
        if config.allowed_ips.is_empty() {
            return Err(retval::INVALID_VALUE.into());
        }
        if self.wireguard.interface_by_sw(config.sw_if_index).is_none() {
            return Err(retval::INVALID_SW_IF_INDEX.into());
        }
        let known = |(_, peer): (u32, &Peer)| peer.config.public_key == config.public_key;
        if self.wireguard.peers.iter().any(known) {
            return Err(retval::ENTRY_ALREADY_EXISTS.into());
        }
        if self.wireguard.peers.len() > MAX_PEERS {
            return Err(retval::LIMIT_EXCEEDED.into());
        }
        Ok(self.wireguard.peers.insert(Peer {
            config: config.clone(),
            flags: 0,
            initiated: None,
            sessions: Sessions::default(),
            timers: Timers::new(admin_up),
            last_timestamp: [0; TIMESTAMP],
            clients: Vec::new(),
        }))
    }

    /// `wireguard_peer_remove`.
    ///
    /// # Errors
    /// −6 no such peer.
    pub fn wireguard_peer_remove(&mut self, index: u32) -> OpResult {
        if !self.wireguard.peers.contains(index) {
            return Err(OpError::Retval(retval::NO_SUCH_ENTRY));
        }
        self.wireguard.set_flag(index, peer_flag::ESTABLISHED, false);
        self.wireguard.set_flag(index, peer_flag::DEAD, true);
        self.wireguard.peers.remove(index);
        Ok(())
    }

    /// `wireguard_peers_dump`.
    pub fn wireguard_peers(&self) -> Vec<WireguardPeerDetails> {
        let details = |(index, peer): (u32, &Peer)| WireguardPeerDetails {
            index,
            flags: peer.flags,
            peer: peer.config.clone(),
        };
        self.wireguard.peers.iter().map(details).collect()
    }

    /// `want_wireguard_peer_events`: of the peers there are now, all or one, on all interfaces or one.
    pub fn want_wireguard_events(
        &mut self,
        client: u32,
        sw_if_index: Option<u32>,
        peer: Option<u32>,
        enable: bool,
    ) {
        for (index, found) in self.wireguard.peers.iter_mut() {
            let wanted = peer.is_none_or(|peer| peer == index)
                && sw_if_index.is_none_or(|sw| sw == found.config.sw_if_index);
            if wanted {
                found.clients.retain(|known| *known != client);
                if enable {
                    found.clients.push(client);
                }
            }
        }
    }

    /// Peer events since the last call.
    pub fn drain_wireguard_events(&mut self) -> Vec<WireguardEvent> {
        std::mem::take(&mut self.wireguard.events)
    }

    /// The interface went up, or down: peers shake hands anew, or forget everything.
    pub(crate) fn wireguard_admin_changed(&mut self, sw_if_index: u32, up: bool) {
        let mine: Vec<u32> = self
            .wireguard
            .peers
            .iter()
            .filter(|(_, peer)| peer.config.sw_if_index == sw_if_index)
            .map(|(index, _)| index)
            .collect();
        for index in mine {
            if !up {
                self.wireguard.set_flag(index, peer_flag::ESTABLISHED, false);
            }
            if let Some(peer) = self.wireguard.peers.get_mut(index) {
                peer.sessions.clear();
                peer.initiated = None;
                peer.timers = Timers::new(up);
            }
        }
    }
}

/// Whether a pre-shared key was given, as `wireguard_peers_v2_dump` tells.
pub fn has_preshared_key(peer: &WireguardPeer) -> bool {
    is_set(&peer.preshared_key)
}

/// The address of a peer as it stands in an `ip46_address_t`: its family is lost where it is unspecified.
pub fn shown_endpoint(endpoint: IpAddr) -> IpAddr {
    match endpoint {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        other => other,
    }
}
