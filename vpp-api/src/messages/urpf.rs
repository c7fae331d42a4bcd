//! Reverse path forwarding checks (VPP: `plugins/urpf/urpf.api`, version 1.0.0).

use crate::types::{AddressFamily, InterfaceIndex};

crate::wire_enum! {
    /// What a source address must have: a route, or one by the interface it came in on.
    pub enum UrpfMode("urpf_mode"): u8 {
        URPF_API_MODE_OFF = 0,
        URPF_API_MODE_LOOSE = 1,
        URPF_API_MODE_STRICT = 2,
    }
}

crate::messages! {
    /// Sets the check of one family and direction. It looks in **table 0**, whatever the interface's table is.
    request UrpfUpdate("urpf_update", "cc274cd1") {
        is_input: bool,
        mode: UrpfMode,
        af: AddressFamily,
        sw_if_index: InterfaceIndex,
    } ack UrpfUpdateReply;

    /// Sets the check of one family and direction. INVALID_VALUE for an unknown mode or table.
    request UrpfUpdateV2("urpf_update_v2", "b873d028") {
        is_input: bool,
        mode: UrpfMode,
        af: AddressFamily,
        sw_if_index: InterfaceIndex,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is the interface's own.
        table_id: u32,
    } ack UrpfUpdateV2Reply;

    /// Lists checks, also those switched off that keep a table of their own.
    dump UrpfInterfaceDump("urpf_interface_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details UrpfInterfaceDetails("urpf_interface_details", "f94b5374") {
        sw_if_index: InterfaceIndex,
        is_input: bool,
        mode: UrpfMode,
        af: AddressFamily,
        table_id: u32,
    };
}
