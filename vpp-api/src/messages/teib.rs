//! Peers of multipoint tunnels (VPP: `vnet/teib/teib.api`): address in the overlay to address in the underlay.

use crate::types::TeibEntry;

crate::messages! {
    /// Adds or deletes an entry; deletion looks at interface and peer alone. ENTRY_ALREADY_EXISTS, NO_SUCH_ENTRY,
    /// NO_SUCH_FIB.
    request TeibEntryAddDel("teib_entry_add_del", "8016cfd2") {
        is_add: u8,
        entry: TeibEntry,
    } ack TeibEntryAddDelReply;

    /// Lists entries.
    dump TeibDump("teib_dump", "51077d14") {} details TeibDetails("teib_details", "981ee1a1") {
        entry: TeibEntry,
    };
}
