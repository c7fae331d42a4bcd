//! The connection itself (VPP: `vlibmemory/memclnt.api`). Ids of these messages are constant.

/// Id of [`SockclntCreate`], known before any table.
pub const SOCKCLNT_CREATE_ID: u16 = 15;
/// Id of [`SockclntCreateReply`].
pub const SOCKCLNT_CREATE_REPLY_ID: u16 = 16;
/// Id of [`SockclntDelete`].
pub const SOCKCLNT_DELETE_ID: u16 = 17;
/// Id of [`SockclntDeleteReply`].
pub const SOCKCLNT_DELETE_REPLY_ID: u16 = 18;
/// Id of [`ControlPing`].
pub const CONTROL_PING_ID: u16 = 23;
/// Id of [`ControlPingReply`].
pub const CONTROL_PING_REPLY_ID: u16 = 24;

crate::wire_struct! {
    /// One message VPP offers on this connection.
    pub struct MessageTableEntry("message_table_entry") {
        index: u16,
        /// `<message>_<crc>`.
        name: string[64],
    }
}

crate::messages! {
    /// First message on a socket.
    /// Fixed id 15; the only request without a client index.
    handshake SockclntCreate("sockclnt_create", "455fb9c4") {
        name: string[64],
    } plain_client_reply SockclntCreateReply("sockclnt_create_reply", "35166268") {
        /// 0 is success.
        response: i32,
        /// The handle: client index of all later requests.
        index: u32,
        count: u16 = count(message_table),
        message_table: MessageTableEntry[count],
    };

    /// Last message on a socket; VPP answers and closes.
    request SockclntDelete("sockclnt_delete", "8ac76db6") {
        /// The handle again.
        index: u32,
    } plain_reply SockclntDeleteReply("sockclnt_delete_reply", "8f38b1ee") {
        /// 1 is success, -1 an unknown handle.
        response: i32,
    };

    /// Answered at once and in order: ends dumps and shows that VPP lives.
    request ControlPing("control_ping", "51077d14") {} reply ControlPingReply("control_ping_reply", "f6b0b8ca") {
        retval: i32,
        /// 26.06 leaves it 0.
        client_index: u32,
        /// Process id of VPP: tells a restart of VPP from a lost connection.
        vpe_pid: u32,
    };
}
