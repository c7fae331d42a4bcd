//! Host devices through AF_XDP (VPP: `plugins/af_xdp/af_xdp.api`, version 1.0.0).

use crate::types::InterfaceIndex;

crate::wire_enum! {
    /// Whether the device's memory is used as it is.
    pub enum AfXdpMode("af_xdp_mode"): u32 {
        AF_XDP_API_MODE_AUTO = 0,
        AF_XDP_API_MODE_COPY = 1,
        AF_XDP_API_MODE_ZERO_COPY = 2,
    }
}

crate::wire_enum! {
    /// Options of the device.
    pub flags AfXdpFlag("af_xdp_flag"): u8 {
        AF_XDP_API_FLAGS_NO_SYSCALL_LOCK = 1,
    } added {
        AF_XDP_API_FLAGS_MAC_REUSE = 2,
    }
}

crate::messages! {
    /// Attaches to a host device as `<device>/<queue>` or under a name. INVALID_VALUE for rings that are no powers of two,
    /// SYSCALL_ERROR_1 … 10 for what the host refuses.
    request AfXdpCreateV3("af_xdp_create_v3", "cf4b1827") {
        host_if: string[64],
        name: string[64],
        /// 65535 is all.
        rxq_num: u16,
        /// 0 is the default, here and below.
        rxq_size: u16,
        txq_size: u16,
        mode: AfXdpMode,
        flags: AfXdpFlag,
        /// Path of an XDP program, of at most 255 bytes; empty is the default one.
        prog: string[256],
        /// Network namespace of the device; empty is VPP's own.
        netns: string[64],
    } reply AfXdpCreateV3Reply("af_xdp_create_v3_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Detaches.
    request AfXdpDelete("af_xdp_delete", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack AfXdpDeleteReply;
}
