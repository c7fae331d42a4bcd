//! Segment routing over IPv6 (VPP: `vnet/srv6/sr.api`, version 2.1.0).
//!
//! The codes are VPP's own small numbers, not those of [`Retval`](crate::Retval) by the same value: they stand with
//! each message.

use crate::types::{
    Address, InterfaceIndex, Ip6Address, Prefix, SrBehavior, SrPolicyOp, SrPolicyType, SrSteer, Srv6SidList,
    Srv6SidListWithSlIndex,
};

crate::messages! {
    /// Adds or deletes a local SID, of length 128 (64 for uA, 48 for uN). −1 exists, −2 none to delete or no such
    /// interface, −3 no table `fib_table`, −4 a route for it exists.
    request SrLocalsidAddDel("sr_localsid_add_del", "5a36c324") {
        is_del: bool,
        localsid: Ip6Address,
        /// Take the routing header off before the last segment.
        end_psp: bool,
        behavior: SrBehavior,
        /// For T, DT4 and DT6 the **table** in which packets are looked up, which must exist.
        sw_if_index: InterfaceIndex,
        vlan_index: u32,
        /// Table that holds the SID.
        fib_table: u32,
        nh_addr: Address,
    } ack SrLocalsidAddDelReply;

    /// As [`SrLocalsidAddDel`], with the structure of a micro SID; all three zero are the defaults. Of 26.06.
    request SrLocalsidAddDelV2("sr_localsid_add_del_v2", "8da7805a") {
        is_del: bool,
        localsid: Ip6Address,
        end_psp: bool,
        behavior: SrBehavior,
        sw_if_index: InterfaceIndex,
        vlan_index: u32,
        fib_table: u32,
        nh_addr: Address,
        /// Whole bytes, in bits; the three together are the SID's length.
        locator_block_len: u8,
        locator_node_len: u8,
        function_len: u8,
    } ack SrLocalsidAddDelV2Reply;

    /// Adds a policy with one segment list. −12 exists (as policy or route), −13 no such table.
    request SrPolicyAdd("sr_policy_add", "44ac92e8") {
        bsid_addr: Ip6Address,
        /// Ignored; that of `sids` counts.
        weight: u32,
        /// Outer header with routing header, else the routing header is inserted.
        is_encap: bool,
        is_spray: bool,
        fib_table: u32,
        sids: Srv6SidList,
    } ack SrPolicyAddReply;

    /// Changes a policy, found by its binding SID. −1 no such policy or operation, −21 last list, −22 and −32 no such
    /// list.
    request SrPolicyMod("sr_policy_mod", "b97bb56e") {
        bsid_addr: Ip6Address,
        /// Ignored.
        sr_policy_index: u32,
        /// Ignored.
        fib_table: u32,
        operation: SrPolicyOp,
        /// Which list to delete or change: from [`SrPoliciesWithSlIndexDump`].
        sl_index: u32,
        /// Ignored; that of `sids` counts.
        weight: u32,
        sids: Srv6SidList,
    } ack SrPolicyModReply;

    /// As [`SrPolicyAdd`], with a source address of its own; zero is that of [`SrSetEncapSource`].
    request SrPolicyAddV2("sr_policy_add_v2", "f6297f36") {
        bsid_addr: Ip6Address,
        weight: u32,
        is_encap: bool,
        type_: SrPolicyType,
        fib_table: u32,
        sids: Srv6SidList,
        encap_src: Ip6Address,
    } ack SrPolicyAddV2Reply;

    /// As [`SrPolicyMod`], with a source address.
    request SrPolicyModV2("sr_policy_mod_v2", "c0544823") {
        bsid_addr: Ip6Address,
        sr_policy_index: u32,
        fib_table: u32,
        operation: SrPolicyOp,
        sl_index: u32,
        weight: u32,
        sids: Srv6SidList,
        encap_src: Ip6Address,
    } ack SrPolicyModV2Reply;

    /// Deletes a policy, found by its binding SID; steering to it is left behind without effect. −1 no such policy.
    request SrPolicyDel("sr_policy_del", "cb4d48d5") {
        bsid_addr: Ip6Address,
        /// Ignored.
        sr_policy_index: u32,
    } ack SrPolicyDelReply;

    /// Source address of encapsulated packets, for policies made from now on.
    request SrSetEncapSource("sr_set_encap_source", "d3bad5e1") {
        encaps_source: Ip6Address,
    } ack SrSetEncapSourceReply;

    /// Hop limit of encapsulated packets, for segment lists made from now on. 0 is INVALID_VALUE.
    request SrSetEncapHopLimit("sr_set_encap_hop_limit", "aa75d7d0") {
        hop_limit: u8,
    } ack SrSetEncapHopLimitReply;

    /// Sends traffic into a policy. −1 type, −2 no such policy, −3 bad interface, −4 none to delete, −5 the policy
    /// does not encapsulate, as L2 and IPv4 need. Again with another policy: switches.
    request SrSteeringAddDel("sr_steering_add_del", "e46b0a0f") {
        is_del: bool,
        bsid_addr: Ip6Address,
        /// Ignored.
        sr_policy_index: u32,
        /// Of the prefix; must exist.
        table_id: u32,
        prefix: Prefix,
        /// Of L2 traffic.
        sw_if_index: InterfaceIndex,
        traffic_type: SrSteer,
    } ack SrSteeringAddDelReply;

    /// Lists local SIDs.
    dump SrLocalsidsDump("sr_localsids_dump", "51077d14") {} details SrLocalsidsDetails("sr_localsids_details", "2e9221b9") {
        addr: Ip6Address,
        end_psp: bool,
        behavior: SrBehavior,
        fib_table: u32,
        vlan_index: u32,
        xconnect_nh_addr: Address,
        xconnect_iface_or_vrf_table: u32,
    };

    /// Lists local SIDs with what went through them.
    dump SrLocalsidsWithPacketStatsDump("sr_localsids_with_packet_stats_dump", "51077d14") {} details SrLocalsidsWithPacketStatsDetails("sr_localsids_with_packet_stats_details", "ce0b1ce0") {
        addr: Ip6Address,
        end_psp: bool,
        behavior: SrBehavior,
        fib_table: u32,
        vlan_index: u32,
        xconnect_nh_addr: Address,
        xconnect_iface_or_vrf_table: u32,
        good_traffic_bytes: u64,
        good_traffic_pkt_count: u64,
        bad_traffic_bytes: u64,
        bad_traffic_pkt_count: u64,
    };

    /// Lists policies.
    dump SrPoliciesDump("sr_policies_dump", "51077d14") {} details SrPoliciesDetails("sr_policies_details", "db6ff2a1") {
        bsid: Ip6Address,
        is_spray: bool,
        is_encap: bool,
        fib_table: u32,
        num_sid_lists: u8 = count(sid_lists),
        sid_lists: Srv6SidList[num_sid_lists],
    };

    /// Lists policies with type and source address.
    dump SrPoliciesV2Dump("sr_policies_v2_dump", "51077d14") {} details SrPoliciesV2Details("sr_policies_v2_details", "96dcb699") {
        bsid: Ip6Address,
        encap_src: Ip6Address,
        type_: SrPolicyType,
        is_encap: bool,
        fib_table: u32,
        num_sid_lists: u8 = count(sid_lists),
        sid_lists: Srv6SidList[num_sid_lists],
    };

    /// Lists policies with the numbers of their segment lists.
    dump SrPoliciesWithSlIndexDump("sr_policies_with_sl_index_dump", "51077d14") {} details SrPoliciesWithSlIndexDetails("sr_policies_with_sl_index_details", "ca2e9bc8") {
        bsid: Ip6Address,
        is_spray: bool,
        is_encap: bool,
        fib_table: u32,
        num_sid_lists: u8 = count(sid_lists),
        sid_lists: Srv6SidListWithSlIndex[num_sid_lists],
    };

    /// Lists steering.
    dump SrSteeringPolDump("sr_steering_pol_dump", "51077d14") {} details SrSteeringPolDetails("sr_steering_pol_details", "d41258c9") {
        traffic_type: SrSteer,
        fib_table: u32,
        prefix: Prefix,
        sw_if_index: InterfaceIndex,
        bsid: Ip6Address,
    };
}
