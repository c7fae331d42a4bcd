//! WireGuard interfaces and peers (VPP: `plugins/wireguard/wireguard.api`).

use super::{Address, InterfaceIndex, Prefix};

crate::wire_enum! {
    /// State of a peer.
    pub flags WireguardPeerFlags("wireguard_peer_flags"): u8 {
        WIREGUARD_PEER_STATUS_DEAD = 1,
        WIREGUARD_PEER_ESTABLISHED = 2,
    }
}

crate::wire_struct! {
    /// An interface.
    pub struct WireguardInterface("wireguard_interface") {
        /// [`NO_INDEX`](super::NO_INDEX) is the lowest free.
        user_instance: u32,
        /// Only in dumps.
        sw_if_index: InterfaceIndex,
        /// Zero in dumps that did not ask for it.
        private_key: u8[32],
        /// Only in dumps.
        public_key: u8[32],
        port: u16,
        /// Source of the outer packets.
        src_ip: Address,
    }
}

crate::wire_struct! {
    /// A peer.
    pub struct WireguardPeer("wireguard_peer") {
        /// Only in dumps.
        peer_index: u32,
        public_key: u8[32],
        port: u16,
        /// Seconds; 0 is none.
        persistent_keepalive: u16,
        /// Table of the outer packets; must exist.
        table_id: u32,
        /// Zero until the peer speaks.
        endpoint: Address,
        sw_if_index: InterfaceIndex,
        /// Only in dumps.
        flags: WireguardPeerFlags,
        n_allowed_ips: u8 = count(allowed_ips),
        allowed_ips: Prefix[n_allowed_ips],
    }
}

crate::wire_struct! {
    /// A peer with a pre-shared key.
    pub struct WireguardPeerV2("wireguard_peer_v2") {
        peer_index: u32,
        preshared_key: u8[32],
        preshared_key_set: bool,
        public_key: u8[32],
        port: u16,
        persistent_keepalive: u16,
        table_id: u32,
        endpoint: Address,
        sw_if_index: InterfaceIndex,
        flags: WireguardPeerFlags,
        n_allowed_ips: u8 = count(allowed_ips),
        allowed_ips: Prefix[n_allowed_ips],
    }
}
