//! ARP and neighbour tables (VPP: `vnet/ip-neighbor/ip_neighbor.api`).

use crate::types::{Address, AddressFamily, InterfaceIndex, MacAddress};

crate::wire_enum! {
    /// How a neighbour is kept.
    pub flags IpNeighborFlags("ip_neighbor_flags"): u8 {
        IP_API_NEIGHBOR_FLAG_NONE = 0,
        IP_API_NEIGHBOR_FLAG_STATIC = 1,
        IP_API_NEIGHBOR_FLAG_NO_FIB_ENTRY = 2,
    }
}

crate::wire_struct! {
    /// One neighbour.
    pub struct IpNeighbor("ip_neighbor") {
        sw_if_index: InterfaceIndex,
        flags: IpNeighborFlags,
        mac_address: MacAddress,
        ip_address: Address,
    }
}

crate::messages! {
    /// Adds or removes a neighbour; removing an unknown one is NO_SUCH_ENTRY.
    request IpNeighborAddDel("ip_neighbor_add_del", "0607c257") {
        is_add: bool,
        neighbor: IpNeighbor,
    } reply IpNeighborAddDelReply("ip_neighbor_add_del_reply", "1992deab") {
        retval: i32,
        stats_index: u32,
    };

    /// Lists the neighbours of one family, learned ones included.
    dump IpNeighborDump("ip_neighbor_dump", "d817a484") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
        af: AddressFamily,
    } details IpNeighborDetails("ip_neighbor_details", "e29d79f0") {
        /// Seconds.
        age: f64,
        neighbor: IpNeighbor,
    };

    /// Removes the neighbours of one family, static ones included.
    request IpNeighborFlush("ip_neighbor_flush", "16aa35d2") {
        af: AddressFamily,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } ack IpNeighborFlushReply;
}
