//! Layer-2 cross-connects (VPP: `vnet/l2/l2.api`).

use crate::types::InterfaceIndex;

crate::messages! {
    /// Sends what one interface receives out of another. One-way: a pair needs two.
    request SwInterfaceSetL2Xconnect("sw_interface_set_l2_xconnect", "4fa28a85") {
        rx_sw_if_index: InterfaceIndex,
        tx_sw_if_index: InterfaceIndex,
        /// False returns the interface to L3 mode.
        enable: bool,
    } ack SwInterfaceSetL2XconnectReply;

    /// Lists cross-connects.
    dump L2XconnectDump("l2_xconnect_dump", "51077d14") {} details L2XconnectDetails("l2_xconnect_details", "472b6b67") {
        rx_sw_if_index: InterfaceIndex,
        tx_sw_if_index: InterfaceIndex,
    };
}
