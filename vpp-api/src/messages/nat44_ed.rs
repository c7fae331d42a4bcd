//! Endpoint-dependent NAT of IPv4 (VPP: `plugins/nat/nat44-ed/nat44_ed.api`).

use crate::types::{InterfaceIndex, Ip4Address};

crate::wire_enum! {
    /// Flags of interfaces, addresses, mappings and sessions.
    pub flags NatConfigFlags("nat_config_flags"): u8 {
        NAT_IS_NONE = 0,
        NAT_IS_TWICE_NAT = 1,
        NAT_IS_SELF_TWICE_NAT = 2,
        NAT_IS_OUT2IN_ONLY = 4,
        NAT_IS_ADDR_ONLY = 8,
        NAT_IS_OUTSIDE = 16,
        NAT_IS_INSIDE = 32,
        NAT_IS_STATIC = 64,
        NAT_IS_EXT_HOST_VALID = 128,
    }
}

crate::wire_enum! {
    /// How the plugin runs.
    pub flags Nat44ConfigFlags("nat44_config_flags"): u8 {
        NAT44_IS_ENDPOINT_INDEPENDENT = 0,
        NAT44_IS_ENDPOINT_DEPENDENT = 1,
        NAT44_IS_STATIC_MAPPING_ONLY = 2,
        NAT44_IS_CONNECTION_TRACKING = 4,
        NAT44_IS_OUT2IN_DPO = 8,
    }
}

crate::wire_enum! {
    /// How much the plugin logs.
    pub enum NatLogLevel("nat_log_level"): u8 {
        NAT_LOG_NONE = 0,
        NAT_LOG_ERROR = 1,
        NAT_LOG_WARNING = 2,
        NAT_LOG_NOTICE = 3,
        NAT_LOG_INFO = 4,
        NAT_LOG_DEBUG = 5,
    }
}

crate::wire_struct! {
    /// Idle seconds after which a session may end.
    pub struct NatTimeouts("nat_timeouts") {
        udp: u32,
        tcp_established: u32,
        tcp_transitory: u32,
        icmp: u32,
    }
}

crate::wire_struct! {
    /// One backend of a load-balancing mapping.
    pub struct Nat44LbAddrPort("nat44_lb_addr_port") {
        addr: Ip4Address,
        port: u16,
        /// Share of the new sessions; all shares of a mapping must add up to 1…255.
        probability: u8,
        vrf_id: u32,
    }
}

crate::messages! {
    /// Switches NAT44 on or off; off wipes all of its configuration. On twice is FEATURE_ALREADY_ENABLED, off twice
    /// FEATURE_ALREADY_DISABLED; while it is off nearly everything is UNSUPPORTED.
    request Nat44EdPluginEnableDisable("nat44_ed_plugin_enable_disable", "be17f8dd") {
        inside_vrf: u32,
        outside_vrf: u32,
        /// Per thread; 0 is 64,512.
        sessions: u32,
        /// Ignored.
        session_memory: u32,
        enable: bool,
        /// STATIC_MAPPING_ONLY and CONNECTION_TRACKING are UNSUPPORTED.
        flags: Nat44ConfigFlags,
    } ack Nat44EdPluginEnableDisableReply;

    /// Whether packets that match no translation pass.
    request Nat44ForwardingEnableDisable("nat44_forwarding_enable_disable", "b3e225d2") {
        enable: bool,
    } ack Nat44ForwardingEnableDisableReply;

    /// What the plugin was enabled with, and its timeouts.
    request Nat44ShowRunningConfig("nat44_show_running_config", "51077d14") {}
    reply Nat44ShowRunningConfigReply("nat44_show_running_config_reply", "93d8e267") {
        retval: i32,
        inside_vrf: u32,
        outside_vrf: u32,
        users: u32,
        sessions: u32,
        user_sessions: u32,
        user_buckets: u32,
        translation_buckets: u32,
        forwarding_enabled: bool,
        ipfix_logging_enabled: bool,
        timeouts: NatTimeouts,
        log_level: NatLogLevel,
        flags: Nat44ConfigFlags,
    };

    /// Sets the idle seconds of all kinds of sessions.
    request NatSetTimeouts("nat_set_timeouts", "d4746b16") {
        udp: u32,
        tcp_established: u32,
        tcp_transitory: u32,
        icmp: u32,
    } ack NatSetTimeoutsReply;

    /// Limits the sessions of a table; an unknown table is UNSPECIFIED.
    request Nat44SetSessionLimit("nat44_set_session_limit", "8899bbb1") {
        session_limit: u32,
        vrf_id: u32,
    } ack Nat44SetSessionLimitReply;

    /// Chooses the workers that translate; FEATURE_DISABLED with less than two.
    request NatSetWorkers("nat_set_workers", "da926638") {
        worker_mask: u64,
    } ack NatSetWorkersReply;

    /// Lists the workers that translate; none with less than two.
    dump NatWorkerDump("nat_worker_dump", "51077d14") {}
    details NatWorkerDetails("nat_worker_details", "84bf06fc") {
        worker_index: u32,
        lcore_id: u32,
        name: string[64],
    };

    /// Adds or removes a table whose traffic leaves through the tables of its routes.
    request Nat44EdAddDelVrfTable("nat44_ed_add_del_vrf_table", "08330904") {
        table_vrf_id: u32,
        is_add: bool,
    } ack Nat44EdAddDelVrfTableReply;

    /// Adds or removes a table through which traffic of another leaves.
    request Nat44EdAddDelVrfRoute("nat44_ed_add_del_vrf_route", "59187407") {
        table_vrf_id: u32,
        vrf_id: u32,
        is_add: bool,
    } ack Nat44EdAddDelVrfRouteReply;

    /// Lists tables with their routes. VPP answers under the name of [`Nat44EdVrfTablesDetails`], which looks alike.
    dump Nat44EdVrfTablesV2Dump("nat44_ed_vrf_tables_v2_dump", "51077d14") {}
    details Nat44EdVrfTablesV2Details("nat44_ed_vrf_tables_v2_details", "7b264e4f") {
        table_vrf_id: u32,
        n_vrf_ids: u32 = count(vrf_ids),
        vrf_ids: u32[n_vrf_ids],
    };

    /// Lists the routes of tables, without the tables and in VPP's own byte order; deprecated.
    dump Nat44EdVrfTablesDump("nat44_ed_vrf_tables_dump", "51077d14") {}
    details Nat44EdVrfTablesDetails("nat44_ed_vrf_tables_details", "7b264e4f") {
        table_vrf_id: u32,
        n_vrf_ids: u32 = count(vrf_ids),
        vrf_ids: u32[n_vrf_ids],
    };

    /// Lowers the MSS of translated TCP SYNs.
    request NatSetMssClamping("nat_set_mss_clamping", "25e90abb") {
        mss_value: u16,
        enable: bool,
    } ack NatSetMssClampingReply;

    /// The MSS to which SYNs are lowered.
    request NatGetMssClamping("nat_get_mss_clamping", "51077d14") {}
    reply NatGetMssClampingReply("nat_get_mss_clamping_reply", "1c0b2a78") {
        retval: i32,
        mss_value: u16,
        enable: bool,
    };

    /// Puts an interface's first address into the pool, and what it becomes.
    request Nat44AddDelInterfaceAddr("nat44_add_del_interface_addr", "4aed50c0") {
        is_add: bool,
        sw_if_index: InterfaceIndex,
        flags: NatConfigFlags,
    } ack Nat44AddDelInterfaceAddrReply;

    /// Lists interfaces that lend their address.
    dump Nat44InterfaceAddrDump("nat44_interface_addr_dump", "51077d14") {}
    details Nat44InterfaceAddrDetails("nat44_interface_addr_details", "e4aca9ca") {
        sw_if_index: InterfaceIndex,
        flags: NatConfigFlags,
    };

    /// Adds or removes pool addresses one by one, up to the first failure: VALUE_EXIST, NO_SUCH_ENTRY.
    request Nat44AddDelAddressRange("nat44_add_del_address_range", "6f2b8055") {
        first_ip_address: Ip4Address,
        last_ip_address: Ip4Address,
        /// Table the addresses are for; [`NO_INDEX`](crate::types::NO_INDEX) is any.
        vrf_id: u32,
        is_add: bool,
        /// TWICE_NAT or none.
        flags: NatConfigFlags,
    } ack Nat44AddDelAddressRangeReply;

    /// Lists pool addresses, those of twice-NAT last.
    dump Nat44AddressDump("nat44_address_dump", "51077d14") {}
    details Nat44AddressDetails("nat44_address_details", "0d1beac1") {
        ip_address: Ip4Address,
        flags: NatConfigFlags,
        vrf_id: u32,
    };

    /// Makes an interface inside or outside; it may be both. Adding again is 0, removing what is not there
    /// NO_SUCH_ENTRY.
    request Nat44InterfaceAddDelFeature("nat44_interface_add_del_feature", "f3699b83") {
        is_add: bool,
        /// INSIDE; all else is outside.
        flags: NatConfigFlags,
        sw_if_index: InterfaceIndex,
    } ack Nat44InterfaceAddDelFeatureReply;

    /// Lists interfaces that are inside, outside or both.
    dump Nat44InterfaceDump("nat44_interface_dump", "51077d14") {}
    details Nat44InterfaceDetails("nat44_interface_details", "5d286289") {
        flags: NatConfigFlags,
        sw_if_index: InterfaceIndex,
    };

    /// Translates what leaves an interface, after routing; VALUE_EXIST where it is inside or outside already.
    request Nat44EdAddDelOutputInterface("nat44_ed_add_del_output_interface", "47d6e753") {
        is_add: bool,
        sw_if_index: InterfaceIndex,
    } ack Nat44EdAddDelOutputInterfaceReply;

    /// Lists interfaces that translate after routing.
    get Nat44EdOutputInterfaceGet("nat44_ed_output_interface_get", "f75ba505") {
        cursor: u32,
    } details Nat44EdOutputInterfaceDetails("nat44_ed_output_interface_details", "0b45011c") {
        sw_if_index: InterfaceIndex,
    } stream_reply Nat44EdOutputInterfaceGetReply("nat44_ed_output_interface_get_reply", "53b48f5d") {
        retval: i32,
        cursor: u32,
    };

    /// Maps an outside address, and port, to one inside. The same outside or the same inside again is VALUE_EXIST;
    /// removing must repeat the flags.
    request Nat44AddDelStaticMappingV2("nat44_add_del_static_mapping_v2", "5e205f1a") {
        is_add: bool,
        /// Ignored: a `pool_ip_address` that is not zero counts.
        match_pool: bool,
        flags: NatConfigFlags,
        /// Twice-NAT address to use.
        pool_ip_address: Ip4Address,
        local_ip_address: Ip4Address,
        external_ip_address: Ip4Address,
        protocol: u8,
        local_port: u16,
        external_port: u16,
        /// Interface whose first address is the outside one; [`NO_INDEX`](crate::types::NO_INDEX) is none.
        external_sw_if_index: InterfaceIndex,
        /// Table of the inside; [`NO_INDEX`](crate::types::NO_INDEX) is the default one.
        vrf_id: u32,
        tag: string[64],
    } ack Nat44AddDelStaticMappingV2Reply;

    /// Maps an outside address to one inside; deprecated.
    request Nat44AddDelStaticMapping("nat44_add_del_static_mapping", "5ae5f03e") {
        is_add: bool,
        flags: NatConfigFlags,
        local_ip_address: Ip4Address,
        external_ip_address: Ip4Address,
        protocol: u8,
        local_port: u16,
        external_port: u16,
        external_sw_if_index: InterfaceIndex,
        vrf_id: u32,
        tag: string[64],
    } ack Nat44AddDelStaticMappingReply;

    /// Lists static mappings, those with several backends and identity mappings excepted.
    dump Nat44StaticMappingDump("nat44_static_mapping_dump", "51077d14") {}
    details Nat44StaticMappingDetails("nat44_static_mapping_details", "06cb40b2") {
        flags: NatConfigFlags,
        local_ip_address: Ip4Address,
        external_ip_address: Ip4Address,
        protocol: u8,
        local_port: u16,
        external_port: u16,
        external_sw_if_index: InterfaceIndex,
        vrf_id: u32,
        tag: string[64],
    };

    /// Exempts an address, or a port of it, from translation.
    request Nat44AddDelIdentityMapping("nat44_add_del_identity_mapping", "02faaa22") {
        is_add: bool,
        flags: NatConfigFlags,
        ip_address: Ip4Address,
        protocol: u8,
        port: u16,
        /// Interface whose first address is meant; [`NO_INDEX`](crate::types::NO_INDEX) is none.
        sw_if_index: InterfaceIndex,
        vrf_id: u32,
        tag: string[64],
    } ack Nat44AddDelIdentityMappingReply;

    /// Lists what is exempted from translation.
    dump Nat44IdentityMappingDump("nat44_identity_mapping_dump", "51077d14") {}
    details Nat44IdentityMappingDetails("nat44_identity_mapping_details", "2a52a030") {
        flags: NatConfigFlags,
        ip_address: Ip4Address,
        protocol: u8,
        port: u16,
        sw_if_index: InterfaceIndex,
        vrf_id: u32,
        tag: string[64],
    };

    /// Maps an outside address and port to at least two backends; not in place: the same again is VALUE_EXIST. Removing
    /// must repeat the flags. The client refuses what kills VPP: 256 backends and more, shares that add up to a multiple
    /// of 256.
    request Nat44AddDelLbStaticMapping("nat44_add_del_lb_static_mapping", "4f68ee9d") {
        is_add: bool,
        /// Without OUT2IN_ONLY the outside address must be in the pool (NO_SUCH_ENTRY).
        flags: NatConfigFlags,
        external_addr: Ip4Address,
        external_port: u16,
        protocol: u8,
        /// Seconds for which a client keeps its backend; 0 is not at all.
        affinity: u32,
        tag: string[64],
        local_num: u32 = count(locals),
        locals: Nat44LbAddrPort[local_num],
    } ack Nat44AddDelLbStaticMappingReply;

    /// Adds or removes one backend. Less than two may not remain (UNSPECIFIED).
    request Nat44LbStaticMappingAddDelLocal("nat44_lb_static_mapping_add_del_local", "7ca47547") {
        is_add: bool,
        external_addr: Ip4Address,
        external_port: u16,
        protocol: u8,
        local: Nat44LbAddrPort,
    } ack Nat44LbStaticMappingAddDelLocalReply;

    /// Lists mappings with several backends. VPP sends more bytes than there are fields.
    dump Nat44LbStaticMappingDump("nat44_lb_static_mapping_dump", "51077d14") {}
    details Nat44LbStaticMappingDetails("nat44_lb_static_mapping_details", "ed5ce876") {
        external_addr: Ip4Address,
        external_port: u16,
        protocol: u8,
        flags: NatConfigFlags,
        affinity: u32,
        tag: string[64],
        local_num: u32 = count(locals),
        locals: Nat44LbAddrPort[local_num],
    };

    /// Ends a session, found by the match of either of its flows.
    request Nat44DelSession("nat44_del_session", "15a5bf8c") {
        address: Ip4Address,
        protocol: u8,
        port: u16,
        vrf_id: u32,
        flags: NatConfigFlags,
        ext_host_address: Ip4Address,
        ext_host_port: u16,
    } ack Nat44DelSessionReply;

    /// Lists inside hosts that have sessions.
    dump Nat44UserDump("nat44_user_dump", "51077d14") {}
    details Nat44UserDetails("nat44_user_details", "355896c2") {
        vrf_id: u32,
        ip_address: Ip4Address,
        nsessions: u32,
        nstaticsessions: u32,
    };

    /// Lists the sessions of an inside host, in all tables.
    dump Nat44UserSessionV3Dump("nat44_user_session_v3_dump", "e1899c98") {
        ip_address: Ip4Address,
        vrf_id: u32,
    } details Nat44UserSessionV3Details("nat44_user_session_v3_details", "edae926e") {
        outside_ip_address: Ip4Address,
        outside_port: u16,
        inside_ip_address: Ip4Address,
        inside_port: u16,
        protocol: u16,
        flags: NatConfigFlags,
        /// Seconds since VPP's start.
        last_heard: u64,
        /// Seconds.
        time_since_last_heard: u64,
        total_bytes: u64,
        total_pkts: u32,
        ext_host_address: Ip4Address,
        ext_host_port: u16,
        ext_host_nat_address: Ip4Address,
        ext_host_nat_port: u16,
        is_timed_out: bool,
    };

    /// Reports sessions to an IPFIX collector.
    request NatIpfixEnableDisable("nat_ipfix_enable_disable", "9af4a2d2") {
        domain_id: u32,
        src_port: u16,
        enable: bool,
    } ack NatIpfixEnableDisableReply;
}
