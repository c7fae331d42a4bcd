//! Traces of packets (VPP: `plugins/tracedump/tracedump.api`, version 0.2.0).

crate::wire_enum! {
    /// Which traces are kept.
    pub enum TraceFilterFlag("trace_filter_flag"): u32 {
        TRACE_FF_NONE = 0,
        TRACE_FF_INCLUDE_NODE = 1,
        TRACE_FF_EXCLUDE_NODE = 2,
        TRACE_FF_INCLUDE_CLASSIFIER = 3,
        TRACE_FF_EXCLUDE_CLASSIFIER = 4,
    }
}

crate::messages! {
    /// Keeps only traces that have, or have not, passed a node, and ends a capture that is under way. INVALID_VALUE for
    /// classifiers, NO_SUCH_NODE.
    request TraceSetFilters("trace_set_filters", "f522b44a") {
        flag: TraceFilterFlag,
        /// Traces kept.
        count: u32,
        /// As of `get_node_index`.
        node_index: u32,
        classifier_table_index: u32,
    } ack TraceSetFiltersReply;

    /// Traces so many more packets that come in at a node; 0 stops. NO_SUCH_NODE, also for nodes that cannot begin a
    /// trace: those of devices can.
    request TraceCapturePackets("trace_capture_packets", "9e791a9b") {
        node_index: u32,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is 50.
        max_packets: u32,
        use_filter: bool,
        verbose: bool,
        pre_capture_clear: bool,
    } ack TraceCapturePacketsReply;

    /// Stops tracing and forgets the traces; not those a client's dump has taken already.
    request TraceClearCapture("trace_clear_capture", "51077d14") {} ack TraceClearCaptureReply;

    /// Lists traces from a position on, as of the client's first dump; ends with a reply, NO_SUCH_ENTRY where there is
    /// none. [`TraceV2Dump`] does the same without the bookkeeping.
    asks TraceDump("trace_dump", "c7d6681f") {
        /// Takes the traces as they are now.
        clear_cache: u8,
        /// With `position` [`NO_INDEX`](crate::types::NO_INDEX), nothing is listed.
        thread_id: u32,
        position: u32,
        max_records: u32,
    };

    /// The end of [`TraceDump`]'s answer.
    answers TraceDumpReply("trace_dump_reply", "e0e87f9d") {
        retval: i32,
        last_thread_id: u32,
        last_position: u32,
        more_this_thread: u8,
        more_threads: u8,
        flush_only: u8,
        done: u8,
    };

    /// One element of the answer to [`TraceDump`].
    client_answers TraceDetails("trace_details", "1553e9eb") {
        thread_id: u32,
        position: u32,
        more_this_thread: u8,
        more_threads: u8,
        done: u8,
        packet_number: u32,
        trace_data: string[],
    };

    /// Forgets what this client's dumps have taken.
    request TraceClearCache("trace_clear_cache", "51077d14") {} ack TraceClearCacheReply;

    /// Lists traces from a position on, as of the client's first dump since the last clearing.
    dump TraceV2Dump("trace_v2_dump", "83f88d8e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        thread_id: u32,
        /// [`NO_INDEX`](crate::types::NO_INDEX) lists nothing.
        position: u32,
        /// Per thread.
        max: u32,
        /// Takes the traces as they are now.
        clear_cache: bool,
    } details TraceV2Details("trace_v2_details", "91f87d52") {
        thread_id: u32,
        position: u32,
        /// In this thread.
        more: bool,
        /// As `show trace` prints it.
        trace_data: string[],
    };

    /// Sets the function that says which packets are traced. −1 for an unknown one.
    request TraceSetFilterFunction("trace_set_filter_function", "616abb92") {
        filter_function_name: string[],
    } ack TraceSetFilterFunctionReply;

    /// Lists the functions that may say which packets are traced.
    dump TraceFilterFunctionDump("trace_filter_function_dump", "51077d14") {}
    details TraceFilterFunctionDetails("trace_filter_function_details", "28821359") {
        selected: bool,
        name: string[],
    };
}
