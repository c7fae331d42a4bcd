//! Bridge domains and cross-connects of layer 2 (VPP: `vnet/l2/l2.api`).

use crate::types::{InterfaceIndex, MacAddress};

crate::wire_enum! {
    /// What an interface is to its bridge domain.
    pub enum L2PortType("l2_port_type"): u32 {
        L2_API_PORT_TYPE_NORMAL = 0,
        L2_API_PORT_TYPE_BVI = 1,
        L2_API_PORT_TYPE_UU_FWD = 2,
    }
}

crate::wire_enum! {
    /// What a bridge domain does with frames.
    pub flags BdFlags("bd_flags"): u32 {
        BRIDGE_API_FLAG_NONE = 0,
        BRIDGE_API_FLAG_LEARN = 1,
        BRIDGE_API_FLAG_FWD = 2,
        BRIDGE_API_FLAG_FLOOD = 4,
        BRIDGE_API_FLAG_UU_FLOOD = 8,
        BRIDGE_API_FLAG_ARP_TERM = 16,
        BRIDGE_API_FLAG_ARP_UFWD = 32,
    }
}

crate::wire_struct! {
    /// A member.
    pub struct BridgeDomainSwIf("bridge_domain_sw_if") {
        /// Always 0.
        context: u32,
        sw_if_index: InterfaceIndex,
        /// Split-horizon group: members of the same one do not hear each other; 0 is none.
        shg: u8,
    }
}

crate::messages! {
    /// Puts an interface into a bridge domain, which is made when it is not there, or back to layer 3. A second BVI is
    /// BD_ALREADY_HAS_BVI.
    request SwInterfaceSetL2Bridge("sw_interface_set_l2_bridge", "d0678b13") {
        rx_sw_if_index: InterfaceIndex,
        bd_id: u32,
        port_type: L2PortType,
        /// Split-horizon group; 0 is none.
        shg: u8,
        /// False returns the interface to layer 3.
        enable: bool,
    } ack SwInterfaceSetL2BridgeReply;

    /// Makes or removes a bridge domain: one that is there is BD_ALREADY_EXISTS, one with members BD_IN_USE.
    request BridgeDomainAddDelV2("bridge_domain_add_del_v2", "600b7170") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) makes one with a free id.
        bd_id: u32,
        flood: bool,
        /// Whether unicast frames to unknown addresses go to all.
        uu_flood: bool,
        forward: bool,
        learn: bool,
        arp_term: bool,
        arp_ufwd: bool,
        /// Minutes after which what was learnt is forgotten; 0 is never.
        mac_age: u8,
        bd_tag: string[64],
        is_add: bool,
    } reply BridgeDomainAddDelV2Reply("bridge_domain_add_del_v2_reply", "fcb1e980") {
        retval: i32,
        bd_id: u32,
    };

    /// Makes or removes a bridge domain; deprecated.
    request BridgeDomainAddDel("bridge_domain_add_del", "600b7170") {
        bd_id: u32,
        flood: bool,
        uu_flood: bool,
        forward: bool,
        learn: bool,
        arp_term: bool,
        arp_ufwd: bool,
        mac_age: u8,
        bd_tag: string[64],
        is_add: bool,
    } ack BridgeDomainAddDelReply;

    /// Lists bridge domains.
    dump BridgeDomainDump("bridge_domain_dump", "74396a43") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        bd_id: u32,
        /// Must be [`NO_INDEX`](crate::types::NO_INDEX): anything else lists nothing.
        sw_if_index: InterfaceIndex,
    } details BridgeDomainDetails("bridge_domain_details", "0fa506fd") {
        bd_id: u32,
        flood: bool,
        uu_flood: bool,
        forward: bool,
        learn: bool,
        arp_term: bool,
        arp_ufwd: bool,
        mac_age: u8,
        bd_tag: string[64],
        bvi_sw_if_index: InterfaceIndex,
        uu_fwd_sw_if_index: InterfaceIndex,
        n_sw_ifs: u32 = count(sw_if_details),
        sw_if_details: BridgeDomainSwIf[n_sw_ifs],
    };

    /// Switches what a bridge domain does.
    request BridgeFlags("bridge_flags", "1b0c5fbd") {
        bd_id: u32,
        is_set: bool,
        flags: BdFlags,
    } reply BridgeFlagsReply("bridge_flags_reply", "29b2a2b3") {
        retval: i32,
        resulting_feature_bitmap: u32,
    };

    /// Minutes after which what a bridge domain learnt is forgotten; 0 is never.
    request BridgeDomainSetMacAge("bridge_domain_set_mac_age", "b537ad7b") {
        bd_id: u32,
        mac_age: u8,
    } ack BridgeDomainSetMacAgeReply;

    /// Adds or removes an address of a bridge domain.
    request L2fibAddDel("l2fib_add_del", "eddda487") {
        mac: MacAddress,
        bd_id: u32,
        sw_if_index: InterfaceIndex,
        is_add: bool,
        /// It does not move to another interface.
        static_mac: bool,
        /// Frames from and to it are dropped; the interface is not looked at.
        filter_mac: bool,
        bvi_mac: bool,
    } ack L2fibAddDelReply;

    /// Lists the addresses of a bridge domain.
    dump L2FibTableDump("l2_fib_table_dump", "c25fdce6") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        bd_id: u32,
    } details L2FibTableDetails("l2_fib_table_details", "a44ef6b8") {
        bd_id: u32,
        mac: MacAddress,
        sw_if_index: InterfaceIndex,
        static_mac: bool,
        filter_mac: bool,
        bvi_mac: bool,
    };

    /// Forgets what was learnt on an interface.
    request L2fibFlushInt("l2fib_flush_int", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack L2fibFlushIntReply;

    /// Forgets what a bridge domain learnt.
    request L2fibFlushBd("l2fib_flush_bd", "c25fdce6") {
        bd_id: u32,
    } ack L2fibFlushBdReply;

    /// Makes an interface that connects a bridge domain to layer 3.
    request BviCreate("bvi_create", "f5398559") {
        /// Zero is one of `b0:b0:00:00:00:00` and up.
        mac: MacAddress,
        /// Number of the interface; [`NO_INDEX`](crate::types::NO_INDEX) is the lowest that is free.
        user_instance: u32,
    } reply BviCreateReply("bvi_create_reply", "5383d31f") {
        retval: i32,
        sw_if_index: InterfaceIndex,
    };

    /// Removes such an interface.
    request BviDelete("bvi_delete", "f9e6675e") {
        sw_if_index: InterfaceIndex,
    } ack BviDeleteReply;

    /// Sends what one interface receives out of another. One-way: a pair needs two.
    request SwInterfaceSetL2Xconnect("sw_interface_set_l2_xconnect", "4fa28a85") {
        rx_sw_if_index: InterfaceIndex,
        tx_sw_if_index: InterfaceIndex,
        /// False returns the interface to L3 mode.
        enable: bool,
    } ack SwInterfaceSetL2XconnectReply;

    /// Lists cross-connects.
    dump L2XconnectDump("l2_xconnect_dump", "51077d14") {}
    details L2XconnectDetails("l2_xconnect_details", "472b6b67") {
        rx_sw_if_index: InterfaceIndex,
        tx_sw_if_index: InterfaceIndex,
    };
}
