//! Packets that VPP hands to the host (VPP: `vnet/ip/punt.api`, version 2.2.1).
//!
//! Sockets need `punt { socket PATH }` in VPP's start-up configuration.

use crate::types::{Punt, PuntReason, PuntType};

crate::messages! {
    /// Gives packets to the node that drops or redirects them (`ip4-punt`, `ip6-punt`). −1 for what VPP cannot punt:
    /// protocols as such, TCP by port, a reason that has this or lacks it already.
    request SetPunt("set_punt", "47d0e347") {
        is_add: bool,
        punt: Punt,
    } ack SetPuntReply;

    /// Gives packets to a datagram socket. **Not answered at all** for an unknown type or reason, nor for a protocol that
    /// VPP does not name; −1 when no socket is configured.
    request PuntSocketRegister("punt_socket_register", "7875badb") {
        /// 1.
        header_version: u32,
        punt: Punt,
        /// Of the client.
        pathname: string[108],
    } reply PuntSocketRegisterReply("punt_socket_register_reply", "bd30ae90") {
        retval: i32,
        /// Of VPP, for packets back.
        pathname: string[108],
    };

    /// Lists the sockets of one type.
    dump PuntSocketDump("punt_socket_dump", "916fb004") {
        type_: PuntType,
    } details PuntSocketDetails("punt_socket_details", "330466e4") {
        punt: Punt,
        pathname: string[108],
    };

    /// Ends what [`PuntSocketRegister`] began.
    request PuntSocketDeregister("punt_socket_deregister", "75afa766") {
        punt: Punt,
    } ack PuntSocketDeregisterReply;

    /// Lists the reasons for which VPP gives packets up; with a name, that one.
    dump PuntReasonDump("punt_reason_dump", "5c0dd4fe") {
        reason: PuntReason,
    } details PuntReasonDetails("punt_reason_details", "2c9d4a40") {
        reason: PuntReason,
    };
}
