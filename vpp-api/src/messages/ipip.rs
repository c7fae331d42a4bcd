//! Tunnels of IP in IP (VPP: `vnet/ipip/ipip.api`, version 2.0.2; a plugin from 26.10 on).

use crate::types::{InterfaceIndex, IpipTunnel};

crate::messages! {
    /// Creates `ipipN`, admin-down. INVALID_PROTOCOL families differ, SAME_SRC_DST, NO_SUCH_FIB, INVALID_DST_ADDRESS
    /// for a multipoint tunnel with one, IF_ALREADY_EXISTS, INSTANCE_IN_USE.
    request IpipAddTunnel("ipip_add_tunnel", "2ac399f5") {
        tunnel: IpipTunnel,
    } reply IpipAddTunnelReply("ipip_add_tunnel_reply", "5383d31f") {
        retval: i32,
        /// Also that of a tunnel which exists already.
        sw_if_index: InterfaceIndex,
    };

    /// Deletes a tunnel.
    request IpipDelTunnel("ipip_del_tunnel", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack IpipDelTunnelReply;

    /// Lists tunnels.
    dump IpipTunnelDump("ipip_tunnel_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details IpipTunnelDetails("ipip_tunnel_details", "d31cb34e") {
        tunnel: IpipTunnel,
    };
}
