//! Interfaces of every kind (VPP: `vnet/interface.api`).

use crate::types::{
    AddressWithPrefix, IfStatusFlags, IfType, InterfaceIndex, LinkDuplex, MacAddress, RxMode, SubIfFlags,
};

crate::messages! {
    /// Lists interfaces, hidden ones excepted.
    dump SwInterfaceDump("sw_interface_dump", "aa610c27") {
        /// 0 and [`NO_INDEX`](crate::types::NO_INDEX) are all.
        sw_if_index: InterfaceIndex,
        name_filter_valid: bool,
        /// Part of the name, letter case ignored.
        name_filter: string[],
    } details SwInterfaceDetails("sw_interface_details", "6c221fc7") {
        sw_if_index: InterfaceIndex,
        sup_sw_if_index: u32,
        /// Zero unless ethernet.
        l2_address: MacAddress,
        flags: IfStatusFlags,
        type_: IfType,
        link_duplex: LinkDuplex,
        link_speed: u32,
        /// Of the hardware.
        link_mtu: u16,
        /// L3, IPv4, IPv6, MPLS.
        mtu: u32[4],
        sub_id: u32,
        sub_number_of_tags: u8,
        sub_outer_vlan_id: u16,
        sub_inner_vlan_id: u16,
        sub_if_flags: SubIfFlags,
        vtr_op: u32,
        vtr_push_dot1q: u32,
        vtr_tag1: u32,
        vtr_tag2: u32,
        outer_tag: u16,
        b_dmac: MacAddress,
        b_smac: MacAddress,
        b_vlanid: u16,
        i_sid: u32,
        interface_name: string[64],
        interface_dev_type: string[64],
        /// Cleared with the interface, survives all else.
        tag: string[64],
    };

    /// Subscribes to [`SwInterfaceEvent`]; the second time INVALID_REGISTRATION.
    request WantInterfaceEvents("want_interface_events", "476f5a08") {
        /// 1 or 0.
        enable_disable: u32,
        /// Echoed in events.
        pid: u32,
    } ack WantInterfaceEventsReply;

    /// Something changed. `flags` are transitions since the last event, not the state: a hint to dump again.
    event SwInterfaceEvent("sw_interface_event", "2d3d95a7") {
        sw_if_index: InterfaceIndex,
        flags: IfStatusFlags,
        deleted: bool,
    };

    /// Admin up or down; only that flag is looked at.
    request SwInterfaceSetFlags("sw_interface_set_flags", "f5aec1b8") {
        sw_if_index: InterfaceIndex,
        flags: IfStatusFlags,
    } ack SwInterfaceSetFlagsReply;

    /// Adds or removes an address. In use in the same table: ADDRESS_IN_USE (IPv4), DUPLICATE_IF_ADDRESS (IPv6).
    request SwInterfaceAddDelAddress("sw_interface_add_del_address", "5463d73b") {
        sw_if_index: InterfaceIndex,
        is_add: bool,
        /// Ignores the prefix.
        del_all: bool,
        /// Host bits are the address.
        prefix: AddressWithPrefix,
    } ack SwInterfaceAddDelAddressReply;

    /// Binds one family of an interface to a table, which must exist; the interface must have no address of it.
    request SwInterfaceSetTable("sw_interface_set_table", "df42a577") {
        sw_if_index: InterfaceIndex,
        is_ipv6: bool,
        vrf_id: u32,
    } ack SwInterfaceSetTableReply;

    /// The table of one family of an interface.
    request SwInterfaceGetTable("sw_interface_get_table", "2d033de4") {
        sw_if_index: InterfaceIndex,
        is_ipv6: bool,
    } reply SwInterfaceGetTableReply("sw_interface_get_table_reply", "a6eb0109") {
        retval: i32,
        vrf_id: u32,
    };

    /// Lets an interface borrow the addresses of another.
    request SwInterfaceSetUnnumbered("sw_interface_set_unnumbered", "154a6439") {
        /// The interface that has the addresses.
        sw_if_index: InterfaceIndex,
        /// The borrower.
        unnumbered_sw_if_index: InterfaceIndex,
        is_add: bool,
    } ack SwInterfaceSetUnnumberedReply;

    /// Software MTUs; 0 is no limit.
    request SwInterfaceSetMtu("sw_interface_set_mtu", "5cbe85e5") {
        sw_if_index: InterfaceIndex,
        /// L3, IPv4, IPv6, MPLS.
        mtu: u32[4],
    } ack SwInterfaceSetMtuReply;

    /// MTU of a hardware interface.
    request HwInterfaceSetMtu("hw_interface_set_mtu", "e6746899") {
        sw_if_index: InterfaceIndex,
        mtu: u16,
    } ack HwInterfaceSetMtuReply;

    /// Sets or clears our mark on an interface. An empty tag is INVALID_VALUE.
    request SwInterfaceTagAddDel("sw_interface_tag_add_del", "426f8bc1") {
        is_add: bool,
        sw_if_index: InterfaceIndex,
        tag: string[64],
    } ack SwInterfaceTagAddDelReply;

    /// Changes the MAC address.
    request SwInterfaceSetMacAddress("sw_interface_set_mac_address", "c536e7eb") {
        sw_if_index: InterfaceIndex,
        mac_address: MacAddress,
    } ack SwInterfaceSetMacAddressReply;

    /// The MAC address.
    request SwInterfaceGetMacAddress("sw_interface_get_mac_address", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } reply SwInterfaceGetMacAddressReply("sw_interface_get_mac_address_reply", "40ef2c08") {
        retval: i32,
        mac_address: MacAddress,
    };

    /// Renames an interface.
    request SwInterfaceSetInterfaceName("sw_interface_set_interface_name", "45a1d548") {
        sw_if_index: InterfaceIndex,
        name: string[64],
    } ack SwInterfaceSetInterfaceNameReply;

    /// Sets the counters to 0; [`NO_INDEX`](crate::types::NO_INDEX) those of all interfaces.
    request SwInterfaceClearStats("sw_interface_clear_stats", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack SwInterfaceClearStatsReply;

    /// Polling, interrupt or adaptive.
    request SwInterfaceSetRxMode("sw_interface_set_rx_mode", "b04d1cfe") {
        sw_if_index: InterfaceIndex,
        /// False is all queues.
        queue_id_valid: bool,
        queue_id: u32,
        mode: RxMode,
    } ack SwInterfaceSetRxModeReply;

    /// The mode that devices get which are made from now on. INVALID_VALUE for anything but polling, interrupt and
    /// adaptive.
    request SwInterfaceSetDefaultRxMode("sw_interface_set_default_rx_mode", "776b4837") {
        mode: RxMode,
    } ack SwInterfaceSetDefaultRxModeReply;

    /// The mode that devices get which are made from now on.
    request SwInterfaceGetDefaultRxMode("sw_interface_get_default_rx_mode", "51077d14") {}
    reply SwInterfaceGetDefaultRxModeReply("sw_interface_get_default_rx_mode_reply", "2339da5a") {
        retval: i32,
        mode: RxMode,
    };

    /// Which thread reads a queue. UNIMPLEMENTED for an unknown queue or worker.
    request SwInterfaceSetRxPlacement("sw_interface_set_rx_placement", "db65f3c9") {
        sw_if_index: InterfaceIndex,
        queue_id: u32,
        worker_id: u32,
        /// Back to the main thread.
        is_main: bool,
    } ack SwInterfaceSetRxPlacementReply;

    /// Lists queues and the threads that read them.
    dump SwInterfaceRxPlacementDump("sw_interface_rx_placement_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } client_details SwInterfaceRxPlacementDetails("sw_interface_rx_placement_details", "9e44a7ce") {
        sw_if_index: InterfaceIndex,
        queue_id: u32,
        /// A thread: 0 is the main one.
        worker_id: u32,
        mode: RxMode,
    };

    /// Which threads write to a queue.
    request SwInterfaceSetTxPlacement("sw_interface_set_tx_placement", "4e0cd5ff") {
        sw_if_index: InterfaceIndex,
        queue_id: u32,
        array_size: u32 = count(threads),
        threads: u32[array_size],
    } ack SwInterfaceSetTxPlacementReply;

    /// Lists queues and the threads that write to them. NO_SUCH_ENTRY when there is no queue at all.
    get SwInterfaceTxPlacementGet("sw_interface_tx_placement_get", "47250981") {
        /// 0 is the start.
        cursor: u32,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } client_details SwInterfaceTxPlacementDetails("sw_interface_tx_placement_details", "00381a2e") {
        sw_if_index: InterfaceIndex,
        queue_id: u32,
        /// Whether several threads write to it.
        shared: u8,
        array_size: u32 = count(threads),
        threads: u32[array_size],
    } stream_reply SwInterfaceTxPlacementGetReply("sw_interface_tx_placement_get_reply", "53b48f5d") {
        retval: i32,
        cursor: u32,
    };

    /// Whether frames to any MAC address are accepted. INVALID_VALUE unless ethernet.
    request SwInterfaceSetPromisc("sw_interface_set_promisc", "d40860d4") {
        sw_if_index: InterfaceIndex,
        promisc_on: bool,
    } ack SwInterfaceSetPromiscReply;

    /// Marks all addresses.
    request SwInterfaceAddressReplaceBegin("sw_interface_address_replace_begin", "51077d14") {}
    ack SwInterfaceAddressReplaceBeginReply;

    /// Removes the marked addresses that were not added again.
    request SwInterfaceAddressReplaceEnd("sw_interface_address_replace_end", "51077d14") {}
    ack SwInterfaceAddressReplaceEndReply;

    /// Creates `loopN` with the lowest free N; a zero MAC lets VPP choose.
    request CreateLoopback("create_loopback", "42bb5d22") {
        mac_address: MacAddress,
    } reply CreateLoopbackReply("create_loopback_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Creates `loopN` with a chosen N.
    request CreateLoopbackInstance("create_loopback_instance", "d36a3ee2") {
        mac_address: MacAddress,
        is_specified: bool,
        user_instance: u32,
    } reply CreateLoopbackInstanceReply("create_loopback_instance_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Deletes a loopback.
    request DeleteLoopback("delete_loopback", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack DeleteLoopbackReply;
}
