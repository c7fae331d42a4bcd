//! IPv6 neighbour discovery (VPP: `vnet/ip6-nd/ip6_nd.api`).

use crate::types::InterfaceIndex;

crate::messages! {
    /// Router advertisements of an interface.
    request SwInterfaceIp6ndRaConfig("sw_interface_ip6nd_ra_config", "3eb00b1c") {
        sw_if_index: InterfaceIndex,
        /// 1 stops them.
        suppress: u8,
        managed: u8,
        other: u8,
        ll_option: u8,
        send_unicast: u8,
        cease: u8,
        is_no: bool,
        default_router: u8,
        max_interval: u32,
        min_interval: u32,
        lifetime: u32,
        initial_count: u32,
        initial_interval: u32,
    } ack SwInterfaceIp6ndRaConfigReply;
}
