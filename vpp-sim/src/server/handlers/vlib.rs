//! Graph nodes and the debug command line.

use vpp_api::messages::vlib::{
    AddNodeNext, AddNodeNextReply, CliInband, CliInbandReply, GetNextIndex, GetNextIndexReply, GetNodeIndex,
    GetNodeIndexReply, ShowThreads, ShowThreadsReply, ThreadData,
};

use super::outcome;
use crate::engine::NONE;
use crate::server::cli;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: CliInband| {
        let (retval, reply) = match cli::run(core, &m.cmd) {
            Ok(text) => (0, text),
            Err(text) => (-1, text),
        };
        Ok(CliInbandReply { retval, reply })
    });
    registry.request(|core, m: GetNodeIndex| {
        let (retval, node_index) = outcome(core.vpp.node_index(&m.node_name), NONE)?;
        Ok(GetNodeIndexReply { retval, node_index })
    });
    registry.request(|core, m: GetNextIndex| {
        let (retval, next_index) = outcome(core.vpp.next_index(&m.node_name, &m.next_name), NONE)?;
        Ok(GetNextIndexReply { retval, next_index })
    });
    // One thread, as VPP without workers has.
    registry.request(|core, _: ShowThreads| {
        let main = ThreadData {
            name: "vpp_main".to_owned(),
            pid: core.identity.pid,
            ..ThreadData::default()
        };
        Ok(ShowThreadsReply {
            retval: 0,
            thread_data: vec![main],
        })
    });
    registry.request(|core, m: AddNodeNext| {
        let (retval, next_index) = outcome(core.vpp.add_node_next(&m.node_name, &m.next_name), NONE)?;
        Ok(AddNodeNextReply { retval, next_index })
    });
}
