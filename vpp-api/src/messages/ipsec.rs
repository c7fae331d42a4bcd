//! IPsec with tunnel protection (VPP: `vnet/ipsec/ipsec.api`, version 5.0.2). The policy database is not here.

use crate::types::{
    Address, InterfaceIndex, IpsecItf, IpsecProto, IpsecSadEntryV3, IpsecSadEntryV4, IpsecTunnelProtect,
    Tunnel,
};

crate::messages! {
    /// Adds a security association. ENTRY_ALREADY_EXISTS, INVALID_ALGORITHM, KEY_LENGTH, UNIMPLEMENTED for a pair of
    /// algorithms that do not go together.
    request IpsecSadEntryAddV2("ipsec_sad_entry_add_v2", "9611297a") {
        entry: IpsecSadEntryV4,
    } reply IpsecSadEntryAddV2Reply("ipsec_sad_entry_add_v2_reply", "9ffac24b") {
        retval: i32,
        stat_index: u32,
    };

    /// As [`IpsecSadEntryAddV2`], with a replay window of 64.
    request IpsecSadEntryAdd("ipsec_sad_entry_add", "50229353") {
        entry: IpsecSadEntryV3,
    } reply IpsecSadEntryAddReply("ipsec_sad_entry_add_reply", "9ffac24b") {
        retval: i32,
        stat_index: u32,
    };

    /// Deletes an association. One in use stays, and the answer is 0; deleted again it goes under its user.
    request IpsecSadEntryDel("ipsec_sad_entry_del", "3a91bde5") {
        id: u32,
    } ack IpsecSadEntryDelReply;

    /// Moves the ends of an association.
    request IpsecSadEntryUpdate("ipsec_sad_entry_update", "1412af86") {
        sad_id: u32,
        is_tun: bool,
        tunnel: Tunnel,
        /// 65535 keeps it.
        udp_src_port: u16,
        udp_dst_port: u16,
    } ack IpsecSadEntryUpdateReply;

    /// Lists associations, **with their keys**.
    dump IpsecSaV5Dump("ipsec_sa_v5_dump", "2076c2f4") {
        /// Ignored.
        sa_id: u32,
    } details IpsecSaV5Details("ipsec_sa_v5_details", "3cfecfbd") {
        entry: IpsecSadEntryV4,
        /// [`NO_INDEX`](crate::types::NO_INDEX) unless a tunnel is protected by its tunnel mode.
        sw_if_index: InterfaceIndex,
        seq_outbound: u64,
        last_seq_inbound: u64,
        replay_window: u64,
        thread_index: u32,
        stat_index: u32,
    };

    /// Protects a tunnel, or replaces all its associations at once. LIMIT_EXCEEDED for more than four inbound,
    /// INVALID_VALUE for an unknown one, INVALID_SW_IF_INDEX for what is no tunnel, INVALID_DST_ADDRESS for an IPsec
    /// interface without tunnel mode.
    request IpsecTunnelProtectUpdate("ipsec_tunnel_protect_update", "30d5f133") {
        tunnel: IpsecTunnelProtect,
    } ack IpsecTunnelProtectUpdateReply;

    /// Ends a protection.
    request IpsecTunnelProtectDel("ipsec_tunnel_protect_del", "cd239930") {
        sw_if_index: InterfaceIndex,
        nh: Address,
    } ack IpsecTunnelProtectDelReply;

    /// Lists protections.
    dump IpsecTunnelProtectDump("ipsec_tunnel_protect_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details IpsecTunnelProtectDetails("ipsec_tunnel_protect_details", "21663a50") {
        tun: IpsecTunnelProtect,
    };

    /// Creates `ipsecN`, admin-down. INVALID_REGISTRATION for an instance that is taken.
    request IpsecItfCreate("ipsec_itf_create", "6f50b3bc") {
        itf: IpsecItf,
    } reply IpsecItfCreateReply("ipsec_itf_create_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Deletes an IPsec interface.
    request IpsecItfDelete("ipsec_itf_delete", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack IpsecItfDeleteReply;

    /// Lists IPsec interfaces.
    dump IpsecItfDump("ipsec_itf_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details IpsecItfDetails("ipsec_itf_details", "548a73b8") {
        itf: IpsecItf,
    };

    /// Answers nothing since VPP 26.06.
    dump IpsecBackendDump("ipsec_backend_dump", "51077d14") {} details IpsecBackendDetails("ipsec_backend_details", "ee601c29") {
        name: string[128],
        protocol: IpsecProto,
        index: u8,
        active: bool,
    };

    /// UNIMPLEMENTED since VPP 26.06.
    request IpsecSelectBackend("ipsec_select_backend", "5bcfd3b7") {
        protocol: IpsecProto,
        index: u8,
    } ack IpsecSelectBackendReply;

    /// Whether packets are encrypted asynchronously.
    request IpsecSetAsyncMode("ipsec_set_async_mode", "a6465f7c") {
        async_enable: bool,
    } ack IpsecSetAsyncModeReply;
}
