//! Layer-3 cross-connects (VPP: `plugins/l3xc/l3xc.api`).

use crate::types::{FibPath, InterfaceIndex};

crate::wire_struct! {
    /// What an interface receives goes to these paths, without a lookup.
    pub struct L3xc("l3xc") {
        sw_if_index: InterfaceIndex,
        is_ip6: bool,
        n_paths: u8 = count(paths),
        paths: FibPath[n_paths],
    }
}

crate::messages! {
    /// Sends what an interface receives in one family to the paths; replaces.
    request L3xcUpdate("l3xc_update", "e96aabdf") {
        l3xc: L3xc,
    } reply L3xcUpdateReply("l3xc_update_reply", "1992deab") {
        retval: i32,
        stats_index: u32,
    };

    /// Removes a cross-connect; an absent one is INVALID_VALUE.
    request L3xcDel("l3xc_del", "e7dbef91") {
        sw_if_index: InterfaceIndex,
        is_ip6: bool,
    } ack L3xcDelReply;

    /// Lists cross-connects.
    dump L3xcDump("l3xc_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details L3xcDetails("l3xc_details", "bc5bf852") {
        l3xc: L3xc,
    };
}
