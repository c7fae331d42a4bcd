//! The packet graph and the debug command line (VPP: `vlib/vlib.api`).

crate::wire_struct! {
    /// One thread.
    pub struct ThreadData("thread_data") {
        /// 0 is the main thread.
        id: u32,
        name: string[64],
        /// Empty for the main thread, else such as `workers`.
        type_: string[64],
        pid: u32,
        cpu_id: u32,
        core: u32,
        cpu_socket: u32,
    }
}

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

    /// Lists threads.
    request ShowThreads("show_threads", "51077d14") {} reply ShowThreadsReply("show_threads_reply", "efd78e83") {
        retval: i32,
        count: u32 = count(thread_data),
        thread_data: ThreadData[count],
    };

    /// Index of a graph node. NO_SUCH_NODE.
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

    /// Finds the arc between two graph nodes. NO_SUCH_NODE, NO_SUCH_NODE2, NO_SUCH_ENTRY without an arc.
    request GetNextIndex("get_next_index", "2457116d") {
        node_name: string[64],
        next_name: string[64],
    } reply GetNextIndexReply("get_next_index_reply", "2ed75f32") {
        retval: i32,
        next_index: u32,
    };
}
