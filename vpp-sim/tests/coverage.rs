//! What a node and its tools need of VPP's API, message by message, and the test that drives each: every name must be
//! defined by the client library, offered by the embedded dataplane, known to the definitions of VPP 26.06 and to the
//! table of checksums in each release (where those are at hand), and its test must exist.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use vpp_api::Client;
use vpp_api::message::MessageInfo;
use vpp_api::messages::ALL;
use vpp_sim::engine::Config;
use vpp_sim::server::spawn;

/// What is needed, the API file it is in, its messages, and a test that drives them.
#[rustfmt::skip]
const NEEDED: &[(&str, &str, &[&str], &str)] = &[
    ("interface: dump, flags", "interface", &["sw_interface_dump", "sw_interface_set_flags"], "interface_codes_are_vpps"),
    ("interface: address", "interface", &["sw_interface_add_del_address"], "addresses_clash_with_codes_of_their_family"),
    ("interface: address, replaced", "interface", &["sw_interface_address_replace_begin", "sw_interface_address_replace_end"], "addresses_and_path_mtus_are_replaced"),
    ("interface: table", "interface", &["sw_interface_set_table", "sw_interface_get_table"], "tables_are_separate"),
    ("interface: unnumbered", "interface", &["sw_interface_set_unnumbered"], "pods_unnumbered_to_a_loopback_with_static_neighbours"),
    ("interface: mtu", "interface", &["sw_interface_set_mtu", "hw_interface_set_mtu"], "a_packet_above_the_mtu_is_refused_or_cut"),
    ("interface: mac", "interface", &["sw_interface_set_mac_address", "sw_interface_get_mac_address"], "interface_codes_are_vpps"),
    ("interface: rx-mode", "interface", &["sw_interface_set_rx_mode", "sw_interface_set_default_rx_mode", "sw_interface_get_default_rx_mode"], "queues_modes_and_placements"),
    ("interface: placement of queues", "interface", &["sw_interface_set_rx_placement", "sw_interface_rx_placement_dump", "sw_interface_set_tx_placement", "sw_interface_tx_placement_get"], "queues_modes_and_placements"),
    ("interface: tag", "interface", &["sw_interface_tag_add_del"], "interface_codes_are_vpps"),
    ("interface: events", "interface", &["want_interface_events", "sw_interface_event"], "events_are_sent_to_those_who_asked_once"),
    ("tapv2 v2 and v3", "tapv2", &["tap_create_v2", "tap_create_v3", "tap_delete_v2", "sw_interface_tap_v2_dump"], "a_tap_opens_its_host_side_and_is_listed_as_asked"),
    ("af_packet v2 and v3", "af_packet", &["af_packet_create_v2", "af_packet_create_v3", "af_packet_delete", "af_packet_dump"], "af_packet_is_known_by_its_host_device"),
    ("af_xdp v3", "af_xdp", &["af_xdp_create_v3", "af_xdp_delete"], "queues_modes_and_placements"),
    ("memif", "memif", &["memif_socket_filename_add_del_v2", "memif_socket_filename_dump", "memif_create_v2", "memif_delete", "memif_dump"], "a_memif_master_and_another_dataplane_talk"),
    ("loopback", "interface", &["create_loopback", "create_loopback_instance", "delete_loopback"], "interfaces_have_vpps_names_indices_and_events"),
    ("vxlan v3", "vxlan", &["vxlan_add_del_tunnel_v3", "vxlan_tunnel_v2_dump"], "pods_of_two_dataplanes_talk_over_vxlan"),
    ("ipip", "ipip", &["ipip_add_tunnel", "ipip_del_tunnel", "ipip_tunnel_dump"], "tunnels_join_two_nodes_over_either_underlay"),
    ("ipip: peers of a multipoint tunnel", "teib", &["teib_entry_add_del", "teib_dump"], "a_multipoint_tunnel_finds_its_peers_in_the_teib"),
    ("ip tables", "ip", &["ip_table_add_del", "ip_table_add_del_v2", "ip_table_allocate", "ip_table_dump", "ip_table_flush", "ip_table_replace_begin", "ip_table_replace_end"], "replace_sweeps_what_was_not_added_again"),
    ("routes v2: multipath, lookup, dump", "ip", &["ip_route_add_del", "ip_route_add_del_v2", "ip_route_dump", "ip_route_v2_dump", "ip_route_lookup", "ip_route_lookup_v2"], "routes_come_back_as_set_among_vpps_own"),
    ("routes: flow hash", "ip", &["set_ip_flow_hash_v3"], "paths_share_flows_by_weight"),
    ("path MTU", "ip", &["ip_path_mtu_update", "ip_path_mtu_get", "ip_path_mtu_replace_begin", "ip_path_mtu_replace_end"], "a_path_mtu_holds_for_its_peer"),
    ("link-local addresses", "ip", &["sw_interface_ip6_get_link_local_address", "sw_interface_ip6_set_link_local_address"], "addresses_and_path_mtus_are_replaced"),
    ("neighbours", "ip_neighbor", &["ip_neighbor_add_del", "ip_neighbor_dump", "ip_neighbor_flush"], "neighbours_are_added_listed_and_unknown_when_gone"),
    ("neighbours: bounds and replacement", "ip_neighbor", &["ip_neighbor_config", "ip_neighbor_config_get", "ip_neighbor_replace_begin", "ip_neighbor_replace_end"], "neighbours_are_bounded_and_replaced"),
    ("neighbours: events", "ip_neighbor", &["want_ip_neighbor_events", "ip_neighbor_event", "want_ip_neighbor_events_v2", "ip_neighbor_event_v2"], "neighbours_are_reported_to_those_who_ask"),
    ("punt", "punt", &["set_punt", "punt_socket_register", "punt_socket_deregister", "punt_socket_dump", "punt_reason_dump"], "punting_answers_with_vpps_codes"),
    ("punt: redirected", "ip", &["add_del_ip_punt_redirect_v2", "ip_punt_redirect_v2_dump"], "punted_packets_are_redirected"),
    ("acl: replace, lists, dumps", "acl", &["acl_add_replace", "acl_del", "acl_dump", "acl_interface_set_acl_list", "acl_interface_list_dump"], "lists_and_deletions_answer_with_vpps_codes"),
    ("acl: counters", "acl", &["acl_stats_intf_counters_enable"], "a_reply_under_the_wrong_id_is_sent_as_vpp_does"),
    ("cnat: translations", "cnat", &["cnat_translation_update", "cnat_translation_del", "cnat_translation_dump"], "every_backend_is_reached_and_sees_the_client"),
    ("cnat: source NAT", "cnat", &["cnat_set_snat_addresses", "cnat_set_snat_addresses_v2", "cnat_get_snat_addresses", "cnat_snat_addresses_dump", "cnat_set_snat_policy", "cnat_snat_policy_add_del_if", "cnat_snat_policy_add_del_exclude_pfx"], "what_leaves_the_cluster_gets_the_source_nat_address"),
    ("cnat: sessions", "cnat", &["cnat_session_dump", "cnat_session_purge", "feature_cnat_enable_disable"], "enabling_twice_breaks_translation"),
    ("nat44-ed", "nat44_ed", &["nat44_ed_plugin_enable_disable", "nat44_add_del_address_range", "nat44_add_del_static_mapping_v2", "nat44_add_del_lb_static_mapping", "nat44_interface_add_del_feature", "nat44_lb_static_mapping_dump"], "mappings_with_several_backends_have_vpps_codes"),
    ("l2: bridge domain", "l2", &["bridge_domain_add_del_v2", "bridge_domain_dump", "sw_interface_set_l2_bridge"], "domains_come_and_go"),
    ("l2: xconnect", "l2", &["sw_interface_set_l2_xconnect", "l2_xconnect_dump"], "a_cross_connect_needs_both_ways"),
    ("l2: fib", "l2", &["l2fib_add_del", "l2_fib_table_dump"], "addresses"),
    ("l3xc", "l3xc", &["l3xc_update", "l3xc_del", "l3xc_dump"], "recording_chain_abf"),
    ("abf", "abf", &["abf_policy_add_del", "abf_policy_dump", "abf_itf_attach_add_del", "abf_itf_attach_dump"], "abf_leads_through_the_function_both_ways"),
    ("sr: localsid", "sr", &["sr_localsid_add_del", "sr_localsid_add_del_v2", "sr_localsids_dump"], "local_sids_answer_with_vpps_codes"),
    ("sr: policy, steering", "sr", &["sr_policy_add_v2", "sr_policy_mod_v2", "sr_policy_del", "sr_steering_add_del", "sr_steering_pol_dump"], "policies_and_steering_answer_with_vpps_codes"),
    ("wireguard", "wireguard", &["wireguard_interface_create", "wireguard_interface_delete", "wireguard_interface_dump", "wireguard_peer_add", "wireguard_peer_add_v2", "wireguard_peer_remove", "wireguard_peers_dump", "wireguard_peers_v2_dump", "want_wireguard_peer_events"], "interfaces_and_peers_answer_with_vpps_codes"),
    ("ipsec tunnel protect", "ipsec", &["ipsec_sad_entry_add_v2", "ipsec_sad_entry_del", "ipsec_sa_v5_dump", "ipsec_tunnel_protect_update", "ipsec_tunnel_protect_del", "ipsec_tunnel_protect_dump", "ipsec_itf_create", "ipsec_itf_delete"], "associations_and_protections_answer_with_vpps_codes"),
    ("urpf", "urpf", &["urpf_update", "urpf_update_v2", "urpf_interface_dump"], "a_source_must_have_its_way_back"),
    ("policer", "policer", &["policer_add", "policer_add_del", "policer_del", "policer_update", "policer_reset", "policer_dump", "policer_dump_v2", "policer_bind", "policer_bind_v2"], "policers_come_change_and_go"),
    ("policer: on interfaces", "policer", &["policer_input", "policer_input_v2", "policer_output", "policer_output_v2", "ip_punt_police"], "a_policer_lets_its_burst_pass"),
    ("trace", "tracedump", &["trace_set_filters", "trace_capture_packets", "trace_clear_capture", "trace_v2_dump", "trace_clear_cache", "trace_set_filter_function", "trace_filter_function_dump"], "packets_are_traced_and_filtered"),
    ("trace: by interface", "tracenode", &["tracenode_enable_disable"], "packets_are_traced_by_the_node_they_come_in_at"),
    ("node index, next index", "vlib", &["get_node_index", "get_next_index", "add_node_next", "show_threads"], "nodes_have_indices_and_arcs"),
    ("features by name", "feature", &["feature_enable_disable", "feature_is_enabled"], "policers_are_applied_and_taken_away"),
    ("debug commands", "vlib", &["cli_inband"], "an_unknown_command_is_unknown_input"),
];

/// Of the stats segment, which has no messages.
const STATS: &[(&str, &str)] = &[
    ("directory, counters, names", "interfaces_come_and_go"),
    ("error counters", "packets_and_drops_are_counted"),
    ("layout", "bytes_are_where_vpp_has_them"),
    ("against any VPP", "packets_and_errors_are_counted"),
];

fn defined() -> BTreeMap<&'static str, (&'static str, &'static MessageInfo)> {
    let of = |(module, messages): &(&'static str, &'static [MessageInfo])| {
        let module = *module;
        messages.iter().map(move |info| (info.name, (module, info)))
    };
    ALL.iter().flat_map(of).collect()
}

/// Every function of the test sources.
fn tests(folder: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text
                .split("fn ")
                .skip(1)
                .filter_map(|rest| rest.split('(').next());
            into.extend(names.map(str::to_owned));
        }
    }
}

fn shared() -> Option<PathBuf> {
    let found = std::env::var_os("CONTIV_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let is_there = found.join("vpp/crc-matrix.tsv").is_file();
    if !is_there {
        eprintln!(
            "skipped: no vpp/crc-matrix.tsv in {} (set CONTIV_SHARED)",
            found.display()
        );
    }
    is_there.then_some(found)
}

#[test]
fn what_is_needed_is_defined_and_tested() {
    let defined = defined();
    let mut known = BTreeSet::new();
    tests(
        &PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests"),
        &mut known,
    );
    for (what, module, messages, test) in NEEDED {
        for message in *messages {
            let (found, _) = defined
                .get(message)
                .unwrap_or_else(|| panic!("{what}: {message}"));
            assert_eq!(found, module, "{what}: {message}");
        }
        assert!(known.contains(*test), "{what}: no test {test}");
    }
    for (what, test) in STATS {
        assert!(known.contains(*test), "{what}: no test {test}");
    }
}

#[tokio::test]
async fn what_is_needed_is_on_offer() {
    let directory = tempfile::tempdir().unwrap();
    let server = spawn(Config::default(), directory.path().join("api.sock")).unwrap();
    let client = Client::connect(server.socket(), "coverage").await.unwrap();
    let defined = defined();
    for (what, _, messages, _) in NEEDED {
        for message in *messages {
            let (_, info) = defined[message];
            assert!(client.table().id(info.name_crc).is_some(), "{what}: {message}");
        }
    }
}

#[test]
fn what_is_needed_is_vpps_in_every_release() {
    let Some(shared) = shared() else { return };
    let text = std::fs::read_to_string(shared.join("vpp/crc-matrix.tsv")).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let rows: BTreeMap<&str, Vec<&str>> = lines.map(|row| (row[1], row)).collect();
    let column = |name: &str| head.iter().position(|found| *found == name).unwrap();
    let (newest, older) = (column("v26.06"), [column("v25.10"), column("v26.02")]);
    let defined = defined();
    // What releases before 26.06 have otherwise, or not at all; a name that drops out of this list is an error, too.
    let mut later = BTreeSet::new();
    for (what, module, messages, _) in NEEDED {
        let json =
            ["core", "plugins"].map(|kind| shared.join(format!("vpp/api-26.06/{kind}/{module}.api.json")));
        let json = json
            .iter()
            .find(|file| file.is_file())
            .unwrap_or_else(|| panic!("{module}"));
        let definitions = std::fs::read_to_string(json).unwrap();
        for message in *messages {
            assert!(
                definitions.contains(&format!("\"{message}\"")),
                "{what}: {message}"
            );
            let (row, (_, info)) = (&rows[message], defined[message]);
            assert_eq!(row[newest], info.crc, "{what}: {message}");
            if older.iter().any(|column| row[*column] != info.crc) {
                later.insert(*message);
            }
        }
    }
    let expected = BTreeSet::from([
        "cnat_set_snat_addresses_v2",
        "cnat_set_snat_policy",
        "cnat_snat_addresses_dump",
        "feature_cnat_enable_disable",
        "sr_localsid_add_del_v2",
        "sw_interface_get_default_rx_mode",
        "sw_interface_set_default_rx_mode",
        "wireguard_peer_add_v2",
        "wireguard_peers_v2_dump",
    ]);
    assert_eq!(later, expected);
}
