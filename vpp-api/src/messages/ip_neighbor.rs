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

crate::wire_enum! {
    /// What has become of a neighbour.
    pub flags IpNeighborEventFlags("ip_neighbor_event_flags"): u32 {
        IP_NEIGHBOR_API_EVENT_FLAG_ADDED = 1,
        IP_NEIGHBOR_API_EVENT_FLAG_REMOVED = 2,
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

    /// Bounds the learned neighbours of one family.
    request IpNeighborConfig("ip_neighbor_config", "f4a5cf44") {
        af: AddressFamily,
        max_number: u32,
        /// Seconds after which one is asked again and then forgotten; 0 is never.
        max_age: u32,
        /// Whether the oldest makes room for a new one.
        recycle: bool,
    } ack IpNeighborConfigReply;

    /// The bounds of one family.
    request IpNeighborConfigGet("ip_neighbor_config_get", "a5db7bf7") {
        af: AddressFamily,
    } reply IpNeighborConfigGetReply("ip_neighbor_config_get_reply", "798e6fdd") {
        retval: i32,
        af: AddressFamily,
        max_number: u32,
        max_age: u32,
        recycle: bool,
    };

    /// Marks all neighbours, static ones included.
    request IpNeighborReplaceBegin("ip_neighbor_replace_begin", "51077d14") {} ack IpNeighborReplaceBeginReply;

    /// Removes the marked neighbours that were not added again.
    request IpNeighborReplaceEnd("ip_neighbor_replace_end", "51077d14") {} ack IpNeighborReplaceEndReply;

    /// Subscribes to [`IpNeighborEvent`], which come for additions and removals alike; prefer
    /// [`WantIpNeighborEventsV2`].
    request WantIpNeighborEvents("want_ip_neighbor_events", "73e70a86") {
        enable: bool,
        /// Echoed in events.
        pid: u32,
        /// Zero is any: an IPv6 zero for any IPv6 address.
        ip: Address,
        /// [`NO_INDEX`](crate::types::NO_INDEX) and 0 are any. To one address its interface must be given.
        sw_if_index: InterfaceIndex,
    } ack WantIpNeighborEventsReply;

    /// A neighbour was added, changed or removed.
    event IpNeighborEvent("ip_neighbor_event", "bdb092b2") {
        neighbor: IpNeighbor,
    };

    /// Subscribes to [`IpNeighborEventV2`]; a second time changes nothing.
    request WantIpNeighborEventsV2("want_ip_neighbor_events_v2", "73e70a86") {
        enable: bool,
        /// Echoed in events.
        pid: u32,
        /// As of [`WantIpNeighborEvents`].
        ip: Address,
        /// As of [`WantIpNeighborEvents`].
        sw_if_index: InterfaceIndex,
    } ack WantIpNeighborEventsV2Reply;

    /// A neighbour was added or changed (both say "added"), or removed.
    event IpNeighborEventV2("ip_neighbor_event_v2", "c1d53dc0") {
        flags: IpNeighborEventFlags,
        neighbor: IpNeighbor,
    };

    /// Removes the neighbours of one family, static ones included.
    request IpNeighborFlush("ip_neighbor_flush", "16aa35d2") {
        af: AddressFamily,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } ack IpNeighborFlushReply;
}
