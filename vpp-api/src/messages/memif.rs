//! Shared-memory packet interfaces (VPP: `plugins/memif/memif.api`).

use crate::types::{IfStatusFlags, InterfaceIndex, MacAddress};

crate::wire_enum! {
    /// Who listens.
    pub enum MemifRole("memif_role"): u32 {
        MEMIF_ROLE_API_MASTER = 0,
        MEMIF_ROLE_API_SLAVE = 1,
    }
}

crate::wire_enum! {
    /// What the packets start with.
    pub enum MemifMode("memif_mode"): u32 {
        MEMIF_MODE_API_ETHERNET = 0,
        MEMIF_MODE_API_IP = 1,
        MEMIF_MODE_API_PUNT_INJECT = 2,
    }
}

crate::messages! {
    /// Registers a control socket.
    request MemifSocketFilenameAddDelV2("memif_socket_filename_add_del_v2", "34223bdf") {
        is_add: bool,
        /// [`NO_INDEX`](crate::types::NO_INDEX) lets VPP choose; 0 is built in and refused.
        socket_id: u32,
        /// Path, or `abstract:name[,netns_name=path]`; at most 107 bytes.
        socket_filename: string[],
    } reply MemifSocketFilenameAddDelV2Reply("memif_socket_filename_add_del_v2_reply", "9f29bdb9") {
        retval: i32,
        socket_id: u32,
    };

    /// Lists control sockets.
    dump MemifSocketFilenameDump("memif_socket_filename_dump", "51077d14") {} details MemifSocketFilenameDetails("memif_socket_filename_details", "7ff326f7") {
        socket_id: u32,
        socket_filename: string[108],
    };

    /// Creates `memif<socket_id>/<id>`; link-down until the peer connects.
    request MemifCreateV2("memif_create_v2", "8c7de5f7") {
        role: MemifRole,
        mode: MemifMode,
        /// Matters on the slave only, as `tx_queues`.
        rx_queues: u8,
        tx_queues: u8,
        id: u32,
        socket_id: u32,
        /// A power of two; 0 is 1024.
        ring_size: u32,
        /// 0 is 2048.
        buffer_size: u16,
        no_zero_copy: bool,
        use_dma: bool,
        hw_addr: MacAddress,
        secret: string[24],
    } reply MemifCreateV2Reply("memif_create_v2_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Deletes a memif.
    request MemifDelete("memif_delete", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack MemifDeleteReply;

    /// Lists memifs.
    dump MemifDump("memif_dump", "51077d14") {} details MemifDetails("memif_details", "da34feb9") {
        sw_if_index: InterfaceIndex,
        hw_addr: MacAddress,
        id: u32,
        role: MemifRole,
        mode: MemifMode,
        zero_copy: bool,
        socket_id: u32,
        /// The running value: 1 until connected.
        ring_size: u32,
        /// The running value: 0 until connected.
        buffer_size: u16,
        flags: IfStatusFlags,
        if_name: string[64],
    };
}
