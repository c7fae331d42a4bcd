//! The packet graph (VPP: `plugins/tracedump/graph.api`, version 1.0.0).

crate::wire_enum! {
    /// What a node is.
    pub enum NodeFlag("node_flag"): u32 {
        NODE_FLAG_FRAME_NO_FREE_AFTER_DISPATCH = 1,
        NODE_FLAG_IS_OUTPUT = 2,
        NODE_FLAG_IS_DROP = 4,
        NODE_FLAG_IS_PUNT = 8,
        NODE_FLAG_IS_HANDOFF = 16,
        NODE_FLAG_TRACE = 32,
        NODE_FLAG_SWITCH_FROM_INTERRUPT_TO_POLLING_MODE = 64,
        NODE_FLAG_SWITCH_FROM_POLLING_TO_INTERRUPT_MODE = 128,
        NODE_FLAG_TRACE_SUPPORTED = 256,
    }
}

crate::messages! {
    /// Lists nodes: that of an index or a name, or all with these flags. There is no way to send it from here, because
    /// VPP 26.06 dies of it: to list more than one node it looks at a queue that clients on a socket do not have. Ask for
    /// one node by `get_node_index`.
    asks GraphNodeGet("graph_node_get", "39c8792e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is the start.
        cursor: u32,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        index: u32,
        /// Empty is all.
        name: string[64],
        flags: NodeFlag,
        want_arcs: bool,
    };

    /// One element of the answer to [`GraphNodeGet`].
    answers GraphNodeDetails("graph_node_details", "ac762018") {
        index: u32,
        name: string[64],
        flags: NodeFlag,
        n_arcs: u32 = count(arcs_out),
        arcs_out: u32[n_arcs],
    };

    /// The end of [`GraphNodeGet`]'s answer.
    answers GraphNodeGetReply("graph_node_get_reply", "53b48f5d") {
        retval: i32,
        cursor: u32,
    };
}
