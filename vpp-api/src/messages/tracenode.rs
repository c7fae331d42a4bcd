//! Tracing of what an interface receives, by filter (VPP: `plugins/tracenode/tracenode.api`, version 0.1.0).

use crate::types::InterfaceIndex;

crate::messages! {
    /// Switches the node that traces filtered packets of an interface (`trace-filtering`, or `pcap-filtering`); repeating
    /// changes nothing.
    request TracenodeEnableDisable("tracenode_enable_disable", "4013643c") {
        sw_if_index: InterfaceIndex,
        is_pcap: bool,
        enable: bool,
    } ack TracenodeEnableDisableReply;
}
