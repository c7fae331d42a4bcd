//! Tables, routes and addresses (VPP: `vnet/ip/ip.api`).

use crate::types::{
    Address, AddressFamily, AddressWithPrefix, FibPath, InterfaceIndex, Ip6Address, IpFlowHashConfigV2,
    IpRoute, IpRouteV2, IpTable, Prefix,
};

crate::wire_struct! {
    /// The MTU towards one peer.
    pub struct IpPathMtu("ip_path_mtu") {
        /// Part of the type by an oversight in VPP; unused.
        client_index: u32,
        /// As `client_index`.
        context: u32,
        table_id: u32,
        nh: Address,
        path_mtu: u16,
    }
}

crate::wire_struct! {
    /// Where punted packets of an interface go.
    pub struct PuntRedirectV2("punt_redirect_v2") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is any that has no redirection of its own.
        rx_sw_if_index: InterfaceIndex,
        af: AddressFamily,
        n_paths: u32 = count(paths),
        paths: FibPath[n_paths],
    }
}

crate::messages! {
    /// Creates or deletes a table; always answers 0. Table 0 is always there.
    request IpTableAddDel("ip_table_add_del", "0ffdaec0") {
        is_add: bool,
        table: IpTable,
    } ack IpTableAddDelReply;

    /// Creates or deletes a table, with or without multicast.
    request IpTableAddDelV2("ip_table_add_del_v2", "14e5081f") {
        table: IpTable,
        create_mfib: bool,
        is_add: bool,
    } ack IpTableAddDelV2Reply;

    /// Creates a table with a free id.
    request IpTableAllocate("ip_table_allocate", "b9d2e09e") {
        /// With id [`NO_INDEX`](crate::types::NO_INDEX).
        table: IpTable,
    } reply IpTableAllocateReply("ip_table_allocate_reply", "1728303a") {
        retval: i32,
        table: IpTable,
    };

    /// Lists tables.
    dump IpTableDump("ip_table_dump", "51077d14") {} details IpTableDetails("ip_table_details", "c79fca0f") {
        table: IpTable,
    };

    /// Marks all routes of the API source in a table.
    request IpTableReplaceBegin("ip_table_replace_begin", "b9d2e09e") {
        table: IpTable,
    } ack IpTableReplaceBeginReply;

    /// Removes the marked routes that were not added again.
    request IpTableReplaceEnd("ip_table_replace_end", "b9d2e09e") {
        table: IpTable,
    } ack IpTableReplaceEndReply;

    /// Removes all routes of the API source from a table.
    request IpTableFlush("ip_table_flush", "b9d2e09e") {
        table: IpTable,
    } ack IpTableFlushReply;

    /// Adds or removes a route of the API source.
    request IpRouteAddDel("ip_route_add_del", "b8ecfe0d") {
        is_add: bool,
        /// False: add replaces all paths, delete removes the route. True: the given paths are added or removed.
        is_multipath: bool,
        route: IpRoute,
    } reply IpRouteAddDelReply("ip_route_add_del_reply", "1992deab") {
        retval: i32,
        stats_index: u32,
    };

    /// Adds or removes a route of a chosen source.
    request IpRouteAddDelV2("ip_route_add_del_v2", "521ef330") {
        is_add: bool,
        /// As in [`IpRouteAddDel`].
        is_multipath: bool,
        route: IpRouteV2,
    } reply IpRouteAddDelV2Reply("ip_route_add_del_v2_reply", "1992deab") {
        retval: i32,
        stats_index: u32,
    };

    /// Lists a table, routes of every source.
    dump IpRouteDump("ip_route_dump", "b9d2e09e") {
        table: IpTable,
    } details IpRouteDetails("ip_route_details", "bda8f315") {
        route: IpRoute,
    };

    /// Lists the routes of one source in a table.
    dump IpRouteV2Dump("ip_route_v2_dump", "d16f72e6") {
        /// 0 is all.
        src: u8,
        table: IpTable,
    } details IpRouteV2Details("ip_route_v2_details", "b09aa6c0") {
        route: IpRouteV2,
    };

    /// Finds the route for a prefix.
    request IpRouteLookup("ip_route_lookup", "710d6471") {
        table_id: u32,
        /// 0 is longest match.
        exact: u8,
        prefix: Prefix,
    } reply IpRouteLookupReply("ip_route_lookup_reply", "5d8febcb") {
        retval: i32,
        route: IpRoute,
    };

    /// Finds the route for a prefix, with its source.
    request IpRouteLookupV2("ip_route_lookup_v2", "710d6471") {
        table_id: u32,
        /// 0 is longest match.
        exact: u8,
        prefix: Prefix,
    } reply IpRouteLookupV2Reply("ip_route_lookup_v2_reply", "84cc9e03") {
        retval: i32,
        route: IpRouteV2,
    };

    /// Which parts of a packet choose among the paths of a table's routes.
    request SetIpFlowHashV3("set_ip_flow_hash_v3", "b7876e07") {
        table_id: u32,
        af: AddressFamily,
        flow_hash_config: IpFlowHashConfigV2,
    } ack SetIpFlowHashV3Reply;

    /// IPv6 on an interface without an address.
    request SwInterfaceIp6EnableDisable("sw_interface_ip6_enable_disable", "ae6cfcfb") {
        sw_if_index: InterfaceIndex,
        enable: bool,
    } ack SwInterfaceIp6EnableDisableReply;

    /// IPv4 on an interface without an address.
    request SwInterfaceIp4EnableDisable("sw_interface_ip4_enable_disable", "ae6cfcfb") {
        sw_if_index: InterfaceIndex,
        enable: bool,
    } ack SwInterfaceIp4EnableDisableReply;

    /// Lists the addresses of one interface and family.
    dump IpAddressDump("ip_address_dump", "2d033de4") {
        sw_if_index: InterfaceIndex,
        is_ipv6: bool,
    } details IpAddressDetails("ip_address_details", "ee29b797") {
        sw_if_index: InterfaceIndex,
        prefix: AddressWithPrefix,
    };

    /// Lists the interfaces that borrow addresses.
    dump IpUnnumberedDump("ip_unnumbered_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details IpUnnumberedDetails("ip_unnumbered_details", "cc59bd42") {
        sw_if_index: InterfaceIndex,
        ip_sw_if_index: InterfaceIndex,
    };

    /// Lists interfaces on which a family is enabled.
    dump IpDump("ip_dump", "98d231ca") {
        is_ipv6: bool,
    } details IpDetails("ip_details", "eb152d07") {
        sw_if_index: InterfaceIndex,
        is_ipv6: bool,
    };

    /// The link-local address of an interface.
    request SwInterfaceIp6GetLinkLocalAddress("sw_interface_ip6_get_link_local_address", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } reply SwInterfaceIp6GetLinkLocalAddressReply("sw_interface_ip6_get_link_local_address_reply", "d16b7130") {
        retval: i32,
        ip: Ip6Address,
    };

    /// Sets the link-local address of an interface.
    request SwInterfaceIp6SetLinkLocalAddress("sw_interface_ip6_set_link_local_address", "1c10f15f") {
        sw_if_index: InterfaceIndex,
        ip: Ip6Address,
    } ack SwInterfaceIp6SetLinkLocalAddressReply;

    /// Sets or removes (MTU 0 or 65535) the MTU towards a peer. NO_SUCH_TABLE.
    request IpPathMtuUpdate("ip_path_mtu_update", "10bbe5cb") {
        pmtu: IpPathMtu,
    } ack IpPathMtuUpdateReply;

    /// Marks all MTUs towards peers.
    request IpPathMtuReplaceBegin("ip_path_mtu_replace_begin", "51077d14") {} ack IpPathMtuReplaceBeginReply;

    /// Removes the marked ones that were not set again.
    request IpPathMtuReplaceEnd("ip_path_mtu_replace_end", "51077d14") {} ack IpPathMtuReplaceEndReply;

    /// Sends what VPP would punt of one family, received on an interface, along paths instead.
    request AddDelIpPuntRedirectV2("add_del_ip_punt_redirect_v2", "9e804227") {
        is_add: bool,
        punt: PuntRedirectV2,
    } ack AddDelIpPuntRedirectV2Reply;

    /// Lists redirections.
    dump IpPuntRedirectV2Dump("ip_punt_redirect_v2_dump", "d817a484") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
        af: AddressFamily,
    } details IpPuntRedirectV2Details("ip_punt_redirect_v2_details", "7ba42e1d") {
        punt: PuntRedirectV2,
    };

    /// Lists MTUs towards peers.
    get IpPathMtuGet("ip_path_mtu_get", "f75ba505") {
        /// 0 is the start.
        cursor: u32,
    } details IpPathMtuDetails("ip_path_mtu_details", "ac9539a7") {
        pmtu: IpPathMtu,
    } stream_reply IpPathMtuGetReply("ip_path_mtu_get_reply", "53b48f5d") {
        retval: i32,
        cursor: u32,
    };
}
