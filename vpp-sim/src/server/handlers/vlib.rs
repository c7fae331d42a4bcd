//! Graph nodes and the debug command line.

use vpp_api::messages::vlib::{AddNodeNext, AddNodeNextReply, CliInband, CliInbandReply};

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
    registry.request(|core, m: AddNodeNext| {
        let (retval, next_index) = outcome(core.vpp.add_node_next(&m.node_name, &m.next_name), NONE)?;
        Ok(AddNodeNextReply { retval, next_index })
    });
}
