//! One suite of packets for every dataplane that speaks the API: the embedded one with devices played in this process, as
//! this release and as older ones, the embedded one with real devices behind its socket, and whatever `VPP_API_SOCKET` names.
//!
//! * `VPP_API_SOCKET`: API socket of the VPP to be tested. Without it those tests say that they skip.
//! * `VPP_STATS_SOCKET`: its stats socket, for the scenario that counts; without it that one says that it skips.
//! * `VPP_TRACE`: if set, a scenario that fails shows that VPP's trace.
//! * `VPP_NETNS`: name or path of the network namespace it lives in; this process's if absent.
//!
//! The memifs of these are real: sockets and shared memory of this process, or of a VPP that sees its temporary files.
//!
//! Pods are written in frames: nobody's kernel answers for them. All addresses are of the ranges that are set apart for
//! benchmarks (RFC 2544: 198.18.0.0/15, RFC 5180: 2001:2::/48), so a VPP in use has none of them. Everything a scenario
//! makes is undone at its end, and the dumps must be as before.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod bed;
#[path = "../common/mod.rs"]
mod common;
mod make;
#[path = "../engine_common/packets.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod packets;
mod pods;
mod scenarios;
mod wires;

use bed::{Bed, Kind};
use vpp_sim::server::Release;

macro_rules! suite {
    ($($area:ident: $($scenario:ident),+;)+) => {
        mod in_process {
            $($(#[test] fn $scenario() { super::run(super::Kind::InProcess, super::scenarios::$area::$scenario); })+)+
        }
        mod release_25_10 {
            $($(#[test] fn $scenario() { super::run(super::Kind::Older(super::Release::V25_10), super::scenarios::$area::$scenario); })+)+
        }
        mod release_26_02 {
            $($(#[test] fn $scenario() { super::run(super::Kind::Older(super::Release::V26_02), super::scenarios::$area::$scenario); })+)+
        }
        mod on_a_socket {
            $($(#[test] fn $scenario() { super::run(super::Kind::OnASocket, super::scenarios::$area::$scenario); })+)+
        }
        mod given {
            $($(#[test] fn $scenario() { super::run(super::Kind::Given, super::scenarios::$area::$scenario); })+)+
        }
    };
}

fn run(kind: Kind, scenario: fn(&mut Bed)) {
    let Some(mut bed) = Bed::start(kind) else {
        return;
    };
    scenario(&mut bed);
    bed.finish();
}

suite! {
    forwarding:
        pods_talk_in_both_families,
        the_gateway_answers_echoes_with_ttl_64,
        arp_for_the_gateway_is_answered_with_the_interfaces_own_mac,
        a_neighbour_solicitation_is_answered_where_ipv6_is_enabled,
        a_fresh_pod_without_neighbour_loses_its_first_packet_to_arp,
        special_routes_and_ttl_are_answered_by_icmp,
        udp_to_the_gateway_gets_port_unreachable,
        routes_through_a_deleted_interface_stay_unresolved,
        a_packet_above_the_mtu_is_refused_or_cut,
        tables_are_separate,
        paths_share_flows_by_weight;
    policy:
        an_isolated_pod_is_reached_as_permitted_and_may_answer,
        a_pod_with_only_an_output_list_cannot_talk,
        an_empty_acl_denies_everything,
        a_replaced_acl_cuts_the_flow_it_no_longer_permits,
        lists_and_deletions_answer_with_vpps_codes,
        icmp_rules_look_at_the_type,
        an_ipv4_rule_says_nothing_of_ipv6,
        sctp_has_no_ports;
    services:
        every_backend_is_reached_and_sees_the_client,
        udp_and_tcp_of_one_port_are_separate,
        a_hairpin_is_source_natted,
        an_update_keeps_the_id_and_live_flows,
        maglev_keeps_one_backend_per_client,
        another_flow_hash_leads_clients_elsewhere,
        egress_policy_sees_the_backend_and_ingress_policy_the_client,
        enabling_twice_breaks_translation,
        what_leaves_the_cluster_gets_the_source_nat_address,
        the_last_included_interface_takes_the_excluded_prefixes_with_it,
        what_a_function_sends_has_a_session_of_its_own;
    chains:
        abf_leads_through_the_function_both_ways,
        with_the_function_down_packets_are_dropped,
        a_deny_rule_exempts_from_the_detour,
        a_cross_connect_needs_both_ways;
    tunnels:
        vxlan_frames_are_as_in_the_rfc,
        pods_of_two_dataplanes_talk_over_vxlan,
        memif_interfaces_wait_for_their_peer;
    memif:
        a_memif_master_and_another_dataplane_talk,
        a_memif_slave_and_another_dataplane_talk,
        a_memif_carries_bare_ip_packets;
    graph:
        a_policer_lets_its_burst_pass,
        a_policer_marks_what_conforms,
        a_source_must_have_its_way_back,
        punted_ports_are_not_refused,
        punted_packets_are_redirected,
        a_path_mtu_holds_for_its_peer,
        packets_are_traced_and_filtered,
        neighbours_are_reported,
        packets_and_errors_are_counted;
    overlays:
        pods_of_two_dataplanes_talk_over_ipip,
        ipip_packets_are_as_in_the_rfc,
        pods_of_two_dataplanes_talk_over_ipsec,
        pods_of_two_dataplanes_talk_over_wireguard,
        pods_of_two_dataplanes_talk_over_segment_routing;
}
