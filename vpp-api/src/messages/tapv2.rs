//! Tap devices (VPP: `plugins/tap/tapv2.api`).

use crate::types::{
    InterfaceIndex, Ip4Address, Ip4AddressWithPrefix, Ip6Address, Ip6AddressWithPrefix, MacAddress,
};

crate::wire_enum! {
    /// Options of a tap.
    pub flags TapFlags("tap_flags"): u32 {
        TAP_API_FLAG_GSO = 1,
        TAP_API_FLAG_CSUM_OFFLOAD = 2,
        TAP_API_FLAG_PERSIST = 4,
        TAP_API_FLAG_ATTACH = 8,
        TAP_API_FLAG_TUN = 16,
        TAP_API_FLAG_GRO_COALESCE = 32,
    } added {
        TAP_API_FLAG_PACKED = 64,
        TAP_API_FLAG_IN_ORDER = 128,
        TAP_API_FLAG_CONSISTENT_QP = 256,
    }
}

crate::messages! {
    /// Creates a tap; the host side is named, addressed and up when the reply comes, VPP's side is down.
    request TapCreateV3("tap_create_v3", "3f3fd1df") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is the lowest free.
        id: u32,
        /// Of VPP's side.
        use_random_mac: bool,
        mac_address: MacAddress,
        num_rx_queues: u16,
        num_tx_queues: u16,
        tx_ring_sz: u16,
        rx_ring_sz: u16,
        host_mtu_set: bool,
        host_mtu_size: u32,
        host_mac_addr_set: bool,
        host_mac_addr: MacAddress,
        host_ip4_prefix_set: bool,
        host_ip4_prefix: Ip4AddressWithPrefix,
        host_ip6_prefix_set: bool,
        host_ip6_prefix: Ip6AddressWithPrefix,
        host_ip4_gw_set: bool,
        host_ip4_gw: Ip4Address,
        host_ip6_gw_set: bool,
        host_ip6_gw: Ip6Address,
        tap_flags: TapFlags,
        host_namespace_set: bool,
        /// Name under `/var/run/netns`, or a path.
        host_namespace: string[64],
        host_if_name_set: bool,
        /// At most 15 bytes.
        host_if_name: string[64],
        host_bridge_set: bool,
        host_bridge: string[64],
        /// VPP stores it without a terminator: leave it empty, tag the interface afterwards.
        tag: string[],
    } reply TapCreateV3Reply("tap_create_v3_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Creates a tap; deprecated.
    request TapCreateV2("tap_create_v2", "2d0d6570") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is the lowest free.
        id: u32,
        use_random_mac: bool,
        mac_address: MacAddress,
        num_rx_queues: u8,
        tx_ring_sz: u16,
        rx_ring_sz: u16,
        host_mtu_set: bool,
        host_mtu_size: u32,
        host_mac_addr_set: bool,
        host_mac_addr: MacAddress,
        host_ip4_prefix_set: bool,
        host_ip4_prefix: Ip4AddressWithPrefix,
        host_ip6_prefix_set: bool,
        host_ip6_prefix: Ip6AddressWithPrefix,
        host_ip4_gw_set: bool,
        host_ip4_gw: Ip4Address,
        host_ip6_gw_set: bool,
        host_ip6_gw: Ip6Address,
        tap_flags: TapFlags,
        host_namespace_set: bool,
        host_namespace: string[64],
        host_if_name_set: bool,
        host_if_name: string[64],
        host_bridge_set: bool,
        host_bridge: string[64],
        /// VPP stores it without a terminator: leave it empty, tag the interface afterwards.
        tag: string[],
    } reply TapCreateV2Reply("tap_create_v2_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Deletes a tap, the host side too.
    request TapDeleteV2("tap_delete_v2", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack TapDeleteV2Reply;

    /// Lists taps.
    dump SwInterfaceTapV2Dump("sw_interface_tap_v2_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details SwInterfaceTapV2Details("sw_interface_tap_v2_details", "1e2b2a47") {
        sw_if_index: u32,
        id: u32,
        tx_ring_sz: u16,
        rx_ring_sz: u16,
        host_mtu_size: u32,
        host_mac_addr: MacAddress,
        host_ip4_prefix: Ip4AddressWithPrefix,
        host_ip6_prefix: Ip6AddressWithPrefix,
        tap_flags: TapFlags,
        dev_name: string[64],
        host_if_name: string[64],
        host_namespace: string[64],
        host_bridge: string[64],
    };
}
