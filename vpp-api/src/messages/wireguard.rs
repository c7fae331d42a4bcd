//! WireGuard (VPP: `plugins/wireguard/wireguard.api`, version 1.4.0).

use crate::types::{InterfaceIndex, WireguardInterface, WireguardPeer, WireguardPeerFlags, WireguardPeerV2};

crate::messages! {
    /// Creates `wgN`, admin-down. INVALID_REGISTRATION for an instance that is taken or a bad key.
    request WireguardInterfaceCreate("wireguard_interface_create", "a530137e") {
        interface: WireguardInterface,
        /// VPP draws the private key.
        generate_key: bool,
    } reply WireguardInterfaceCreateReply("wireguard_interface_create_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Deletes an interface and its peers.
    request WireguardInterfaceDelete("wireguard_interface_delete", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack WireguardInterfaceDeleteReply;

    /// Lists interfaces.
    dump WireguardInterfaceDump("wireguard_interface_dump", "2c954158") {
        show_private_key: bool,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details WireguardInterfaceDetails("wireguard_interface_details", "0dd4865d") {
        interface: WireguardInterface,
    };

    /// As [`WireguardPeerAdd`], with a pre-shared key. Of 26.06.
    request WireguardPeerAddV2("wireguard_peer_add_v2", "4a07ba90") {
        peer: WireguardPeerV2,
    } reply WireguardPeerAddV2Reply("wireguard_peer_add_v2_reply", "084a0cd3") {
        retval: i32,
        peer_index: u32,
    };

    /// Adds a peer; there is no update. INVALID_SW_IF_INDEX, INVALID_VALUE without allowed prefixes,
    /// ENTRY_ALREADY_EXISTS when the key is known on any interface. Routes are the client's to add, through an address
    /// that the peer is allowed.
    request WireguardPeerAdd("wireguard_peer_add", "9b8aad61") {
        peer: WireguardPeer,
    } reply WireguardPeerAddReply("wireguard_peer_add_reply", "084a0cd3") {
        retval: i32,
        peer_index: u32,
    };

    /// Removes a peer.
    request WireguardPeerRemove("wireguard_peer_remove", "3b74607a") {
        peer_index: u32,
    } ack WireguardPeerRemoveReply;

    /// Lists peers with their pre-shared keys. Of 26.06.
    dump WireguardPeersV2Dump("wireguard_peers_v2_dump", "3b74607a") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        peer_index: u32,
    } details WireguardPeersV2Details("wireguard_peers_v2_details", "f5b86f42") {
        peer: WireguardPeerV2,
    };

    /// Lists peers.
    dump WireguardPeersDump("wireguard_peers_dump", "3b74607a") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        peer_index: u32,
    } details WireguardPeersDetails("wireguard_peers_details", "6a9f6bc3") {
        peer: WireguardPeer,
    };

    /// Subscribes to [`WireguardPeerEvent`] of the peers there are now, not of those to come.
    request WantWireguardPeerEvents("want_wireguard_peer_events", "3bc666c8") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        peer_index: u32,
        /// 1 or 0.
        enable_disable: u32,
        pid: u32,
    } ack WantWireguardPeerEventsReply;

    /// A peer changed. VPP leaves client index and pid zero.
    event WireguardPeerEvent("wireguard_peer_event", "4e1b5d67") {
        peer_index: u32,
        flags: WireguardPeerFlags,
    };

    /// Whether packets are encrypted asynchronously, on all interfaces.
    request WgSetAsyncMode("wg_set_async_mode", "a6465f7c") {
        async_enable: bool,
    } ack WgSetAsyncModeReply;
}
