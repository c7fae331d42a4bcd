//! The connection's own messages, but for the handshake. Ids of all of these are constant.

use vpp_api::messages::memclnt::{ControlPing, ControlPingReply};
use vpp_api::messages::vpe::{ShowVersion, ShowVersionReply};

use crate::engine::{OpError, retval};
use crate::server::dispatch::Registry;

/// `VNET_API_ERROR_UNIMPLEMENTED`.
const UNIMPLEMENTED: i32 = -9;

vpp_api::wire_struct! {
    /// Version of one API file.
    pub struct ModuleVersion("module_version") {
        major: u32,
        minor: u32,
        patch: u32,
        name: string[64],
    }
}

vpp_api::messages! {
    /// First id of an API file by the checksum its C code was compiled with.
    request GetFirstMsgId("get_first_msg_id", "ebf79a66") {
        name: string[64],
    } reply GetFirstMsgIdReply("get_first_msg_id_reply", "7d337472") {
        retval: i32,
        first_msg_id: u16,
    };

    /// Answered with an empty list, always.
    request ApiVersions("api_versions", "51077d14") {} reply ApiVersionsReply("api_versions_reply", "5f0d99d6") {
        retval: i32,
        count: u32 = count(api_versions),
        api_versions: ModuleVersion[count],
    };

    /// Moves a client to shared memory, which there is none of here.
    request SockInitShm("sock_init_shm", "51646d92") {
        requested_size: u32,
        nitems: u8 = count(configs),
        configs: u64[nitems],
    } ack SockInitShmReply;
}

pub fn register(registry: &mut Registry) {
    // 26.06 leaves client_index 0.
    registry.request(|core, _: ControlPing| {
        Ok(ControlPingReply {
            retval: 0,
            client_index: 0,
            vpe_pid: core.identity.pid,
        })
    });
    registry.request(|core, _: ShowVersion| {
        Ok(ShowVersionReply {
            retval: 0,
            program: "vpe".into(),
            version: core.identity.version.clone(),
            build_date: core.identity.build_date.clone(),
            build_directory: "vpp-sim".into(),
        })
    });
    registry.request(|_, _: ApiVersions| Ok(ApiVersionsReply::default()));
    // No file was compiled from C here, so no checksum is known.
    registry.ack(|_, _: GetFirstMsgId| Err(OpError::Retval(retval::INVALID_VALUE)));
    registry.ack(|_, _: SockInitShm| Err(OpError::Retval(UNIMPLEMENTED)));
    // Without an answer on a socket, as in VPP.
    registry.silent("memclnt_keepalive_51077d14");
    registry.silent("rx_thread_exit_c3a3a452");
}
