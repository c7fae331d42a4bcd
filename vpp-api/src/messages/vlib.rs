//! The packet graph and the debug command line (VPP: `vlib/vlib.api`).

crate::messages! {
    /// Runs a debug command; for diagnostics only.
    request CliInband("cli_inband", "f8377302") {
        cmd: string[],
    } reply CliInbandReply("cli_inband_reply", "05879051") {
        /// The command's result.
        retval: i32,
        /// The command's output, also of failures.
        reply: string[],
    };

    /// Index of a graph node.
    request GetNodeIndex("get_node_index", "f1984c64") {
        node_name: string[64],
    } reply GetNodeIndexReply("get_node_index_reply", "a8600b89") {
        retval: i32,
        node_index: u32,
    };

    /// Adds an arc between two graph nodes, or finds it: `next_index` is what `decap_next_index` of an L3 tunnel needs.
    request AddNodeNext("add_node_next", "2457116d") {
        node_name: string[64],
        next_name: string[64],
    } reply AddNodeNextReply("add_node_next_reply", "2ed75f32") {
        retval: i32,
        next_index: u32,
    };

    /// Finds the arc between two graph nodes.
    request GetNextIndex("get_next_index", "2457116d") {
        node_name: string[64],
        next_name: string[64],
    } reply GetNextIndexReply("get_next_index_reply", "2ed75f32") {
        retval: i32,
        next_index: u32,
    };
}
