//! Protocols and flow hashes (VPP: `vnet/ip/ip_types.api`, `vnet/ip/ip.api`).

crate::wire_enum! {
    /// IANA protocol number; any value is allowed, these have names in VPP. 0 in an ACL rule means any.
    pub enum IpProto("ip_proto"): u8 {
        IP_API_PROTO_HOPOPT = 0,
        IP_API_PROTO_ICMP = 1,
        IP_API_PROTO_IGMP = 2,
        IP_API_PROTO_TCP = 6,
        IP_API_PROTO_UDP = 17,
        IP_API_PROTO_GRE = 47,
        IP_API_PROTO_ESP = 50,
        IP_API_PROTO_AH = 51,
        IP_API_PROTO_ICMP6 = 58,
        IP_API_PROTO_EIGRP = 88,
        IP_API_PROTO_OSPF = 89,
        IP_API_PROTO_SCTP = 132,
        IP_API_PROTO_RESERVED = 255,
    }
}

crate::wire_enum! {
    /// Which parts of a packet choose among several paths.
    pub flags IpFlowHashConfigV2("ip_flow_hash_config_v2"): u32 {
        IP_API_V2_FLOW_HASH_SRC_IP = 1,
        IP_API_V2_FLOW_HASH_DST_IP = 2,
        IP_API_V2_FLOW_HASH_SRC_PORT = 4,
        IP_API_V2_FLOW_HASH_DST_PORT = 8,
        IP_API_V2_FLOW_HASH_PROTO = 16,
        IP_API_V2_FLOW_HASH_REVERSE = 32,
        IP_API_V2_FLOW_HASH_SYMETRIC = 64,
        IP_API_V2_FLOW_HASH_FLOW_LABEL = 128,
        IP_API_V2_FLOW_HASH_GTPV1_TEID = 256,
    }
}
