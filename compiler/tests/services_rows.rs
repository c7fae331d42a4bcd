//! What kube-proxy does for Services, row by row, and the tests that show it: of the compiled form, of what a node's
//! daemon makes of it, of packets through a whole cluster in process, and of packets between network namespaces.

mod rows;

use rows::Row;

const COMPILED: &str = "compiler/tests/services.rs";
const NODE: &str = "node-daemon/src/desired/service/tests.rs";
const BACKENDS: &str = "node-daemon/src/desired/service_backends/tests.rs";
const FOLLOW: &str = "node-daemon/src/desired/follow/tests.rs";
const HEALTH: &str = "node-daemon/src/health.rs";
const PROGRAMMING: &str = "node-daemon/src/agent/programming.rs";
const KERNEL: &str = "node-daemon/src/host/nat/tests.rs";
const REACH: &str = "kubectl-vpp/tests/services.rs";
const LITERAL: &str = "kubectl-vpp/tests/services_literal.rs";
const DATAPLANE: &str = "vpp-sim/tests/dataplane/main.rs";
const KUBE_PROXY: &str = "e2e/tests/kube_proxy/main.rs";
const E2E: &str = "e2e/tests/services.rs";
const NODE_PORTS: &str = "e2e/tests/nodeports.rs";
const HOST_PORTS: &str = "node-daemon/src/desired/host_ports/tests.rs";
const PORTS_READ: &str = "node-daemon/src/attachments/host_port.rs";
const LINGER: &str = "node-daemon/src/agent/linger.rs";
const STAYS: &str = "node-daemon/src/agent/affinity/tests.rs";
const PACKETS: &str = "node-daemon/src/apply/endpoints.rs";
const WALKS: &str = "node-daemon/src/apply/walks.rs";
const SESSIONS: &str = "vpp-sim/tests/engine_sessions.rs";
const E2E_HOST_PORTS: &str = "e2e/tests/hostports.rs";
const ENDPOINTS: &str = "e2e/tests/endpoints.rs";
const LIFECYCLE: &str = "e2e/tests/lifecycle.rs";

const ROWS: [Row; 25] = [
    (
        1,
        "cluster IPs per family, several ports, one port on TCP and UDP, the client's address, slices together",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (
                COMPILED,
                &[
                    "row_1_frontends_per_family_and_every_port",
                    "row_1_an_endpoint_in_two_slices_is_one_backend",
                ],
            ),
            (REACH, &["row_1_a_cluster_ip_on_every_port_and_both_protocols"]),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
            (E2E, &["a_vip_leads_to_every_backend"]),
            (
                WALKS,
                &["a_service_leads_to_its_backend_and_the_answer_comes_from_the_service"],
            ),
        ],
    ),
    (
        2,
        "headless Services and ExternalName have no dataplane; a type change adds and removes it",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (
                COMPILED,
                &[
                    "row_2_headless_and_external_name_have_no_dataplane",
                    "row_2_a_type_change_adds_and_removes_the_dataplane",
                ],
            ),
            (REACH, &["row_2_and_3_services_without_a_proxy"]),
            (E2E, &["a_deleted_service_is_gone"]),
        ],
    ),
    (
        3,
        "Services of another proxy, by label",
        &[
            (COMPILED, &["row_3_skip_labels"]),
            (REACH, &["row_2_and_3_services_without_a_proxy"]),
        ],
    ),
    (
        4,
        "node ports on the node's addresses, by protocol, gone with the Service",
        &[
            (
                COMPILED,
                &["row_4_node_ports_of_node_port_and_load_balancer_services"],
            ),
            (
                NODE,
                &["row_4_a_node_port_is_on_the_nodes_addresses_and_the_kernel_hands_it_over"],
            ),
            (REACH, &["row_4_a_node_port_for_every_kind_of_client"]),
            (
                KERNEL,
                &[
                    "every_entry_names_address_protocol_and_port",
                    "nft_takes_the_table_and_replaces_it",
                ],
            ),
            (NODE_PORTS, &["a_node_port_serves_everybody_on_every_node"]),
        ],
    ),
    (
        5,
        "load-balancer addresses by ipMode",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["row_5_load_balancer_addresses_by_ip_mode"]),
            (NODE, &["rows_5_and_6_external_and_load_balancer_addresses"]),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
            (
                NODE_PORTS,
                &[
                    "a_load_balancer_address_and_its_source_ranges",
                    "a_load_balancer_address_without_node_ports",
                ],
            ),
        ],
    ),
    (
        6,
        "external IPs and their switch",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["row_6_external_ips_and_their_switch"]),
            (NODE, &["rows_5_and_6_external_and_load_balancer_addresses"]),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
        ],
    ),
    (
        7,
        "externalTrafficPolicy: Local keeps clients and drops elsewhere, pods and nodes have all backends",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["rows_7_and_8_traffic_policies"]),
            (
                NODE,
                &[
                    "row_7_external_local_holds_for_clients_outside_only",
                    "row_7_local_holds_for_addresses_of_ports_without_node_port",
                ],
            ),
            (REACH, &["row_7_external_local_for_clients_outside"]),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
            (
                NODE_PORTS,
                &["external_local_keeps_the_client_and_drops_elsewhere"],
            ),
        ],
    ),
    (
        8,
        "internalTrafficPolicy: Local drops where there is none, for the node too",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["rows_7_and_8_traffic_policies"]),
            (NODE, &["row_8_internal_local_without_local_endpoint_drops"]),
            (BACKENDS, &["rows_8_and_9_drop_is_not_reject"]),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
            (
                PACKETS,
                &["rows_8_and_17_datagrams_that_were_dropped_find_the_first_local_endpoint"],
            ),
        ],
    ),
    (
        9,
        "no endpoints at all: rejected",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (
                COMPILED,
                &["row_9_without_endpoints_the_frontends_stay_and_it_is_told"],
            ),
            (NODE, &["row_9_no_endpoint_at_all_rejects"]),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
            (E2E, &["a_service_without_endpoints_refuses_at_once"]),
            (NODE_PORTS, &["a_node_port_without_endpoints_refuses_at_once"]),
            (
                WALKS,
                &[
                    "a_service_without_backends_refuses_at_once",
                    "without_a_kernel_vpp_refuses",
                ],
            ),
        ],
    ),
    (
        10,
        "healthCheckNodePort",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (
                COMPILED,
                &["row_10_a_health_check_port_needs_a_load_balancer_and_local"],
            ),
            (NODE, &["row_10_health_checks_count_ready_local_endpoints"]),
            (
                HEALTH,
                &["row_10_the_answer_follows_endpoints_vpp_and_the_service"],
            ),
        ],
    ),
    (
        11,
        "session affinity and its timeout",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["row_11_affinity"]),
            (REACH, &["row_11_a_client_stays_with_one_of_all_backends"]),
            (
                STAYS,
                &[
                    "row_11_a_stay_ends_after_the_last_use_of_any_of_the_ports_addresses",
                    "row_11_clients_are_spread_anew_once_until_somebody_comes",
                ],
            ),
            (
                DATAPLANE,
                &[
                    "maglev_keeps_one_backend_per_client",
                    "another_flow_hash_leads_clients_elsewhere",
                ],
            ),
            (
                E2E,
                &[
                    "client_ip_affinity_keeps_one_backend",
                    "client_ip_affinity_ends_after_its_timeout",
                ],
            ),
        ],
    ),
    (
        12,
        "ready, else serving and terminating; for Cluster and Local apart",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["row_12_absent_conditions_mean_ready_and_serving"]),
            (
                BACKENDS,
                &[
                    "row_12_ready_then_serving_and_terminating_for_cluster_and_local_apart",
                    "choices_are_those_of_the_documents",
                ],
            ),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
        ],
    ),
    (
        13,
        "publishNotReadyAddresses",
        &[(
            REACH,
            &["row_13_unready_pods_are_reached_where_the_service_publishes_them"],
        )],
    ),
    (
        14,
        "hints and trafficDistribution",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["row_14_hints_reach_the_nodes"]),
            (
                BACKENDS,
                &[
                    "row_14_hints_are_followed_by_all_or_not_at_all",
                    "choices_are_those_of_the_documents",
                ],
            ),
            (REACH, &["row_14_traffic_distribution_keeps_to_zone_and_node"]),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
        ],
    ),
    (
        15,
        "a pod reaches itself through its Service",
        &[
            (REACH, &["row_15_a_backend_reaches_itself"]),
            (DATAPLANE, &["a_hairpin_is_source_natted"]),
            (E2E, &["a_backend_reaches_itself_by_its_vip"]),
            (
                PACKETS,
                &["row_15_a_pod_isolated_both_ways_reaches_itself_by_its_service"],
            ),
        ],
    ),
    (
        16,
        "families never mix",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["row_16_both_families_v4_first_and_fqdn_ignored"]),
            (
                NODE,
                &["row_4_a_node_port_is_on_the_nodes_addresses_and_the_kernel_hands_it_over"],
            ),
            (E2E, &["a_vip_leads_to_every_backend"]),
        ],
    ),
    (
        17,
        "what becomes of UDP when endpoints go",
        &[
            (DATAPLANE, &["an_update_keeps_the_id_and_live_flows"]),
            (E2E, &["a_removed_backend_gets_no_new_sessions"]),
            (
                SESSIONS,
                &["a_session_ends_with_its_backend_when_the_scanner_looks"],
            ),
            (
                PACKETS,
                &[
                    "row_17_datagrams_leave_an_endpoint_that_is_gone_and_no_other",
                    "row_17_datagrams_find_the_first_endpoint",
                    "rows_8_and_17_datagrams_that_were_dropped_find_the_first_local_endpoint",
                ],
            ),
            (
                ENDPOINTS,
                &[
                    "datagrams_leave_an_endpoint_that_is_gone",
                    "datagrams_find_the_first_endpoint",
                ],
            ),
        ],
    ),
    (
        18,
        "SCTP",
        &[
            (
                COMPILED,
                &[
                    "row_18_sctp_is_compiled_like_any_protocol",
                    "row_18_sctp_in_ipv6_is_told_to_its_author",
                ],
            ),
            (
                NODE,
                &["row_18_sctp_is_served_in_ipv4_and_said_not_to_be_in_ipv6"],
            ),
            (PACKETS, &["row_18_sctp_gets_to_a_backend_and_back"]),
            (
                HOST_PORTS,
                &["row_18_an_sctp_host_port_is_said_not_to_be_pods_in_ipv6"],
            ),
        ],
    ),
    (
        19,
        "named target ports that differ from slice to slice",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (COMPILED, &["row_19_named_target_ports_differ_per_slice"]),
            (REACH, &["row_19_a_named_port_is_each_pods_own"]),
        ],
    ),
    (
        20,
        "loadBalancerSourceRanges",
        &[
            (KUBE_PROXY, &["services_are_what_kube_proxys_own_code_says"]),
            (
                COMPILED,
                &[
                    "row_20_source_ranges",
                    "row_20_an_address_of_two_kinds_keeps_its_source_ranges",
                ],
            ),
            (
                NODE,
                &[
                    "row_20_source_ranges_guard_the_load_balancer_address_only",
                    "row_20_an_uplink_that_serves_closes_guarded_addresses_and_says_what_local_means",
                ],
            ),
            (LITERAL, &["services_lead_where_kubernetes_says"]),
            (NODE_PORTS, &["a_load_balancer_address_and_its_source_ranges"]),
        ],
    ),
    (
        21,
        "connections outlive an endpoint's removal, new ones go elsewhere",
        &[
            (DATAPLANE, &["an_update_keeps_the_id_and_live_flows"]),
            (
                E2E,
                &[
                    "a_session_stays_with_its_backend",
                    "a_removed_backend_gets_no_new_sessions",
                ],
            ),
            (
                LINGER,
                &["row_21_the_scanner_rests_while_a_connections_endpoint_is_there_and_no_longer"],
            ),
            (
                ENDPOINTS,
                &[
                    "a_rolling_replacement_loses_no_connection",
                    "connections_stay_with_an_endpoint_that_is_not_ready",
                ],
            ),
        ],
    ),
    (
        22,
        "connections are spread evenly",
        &[
            (DATAPLANE, &["every_backend_is_reached_and_sees_the_client"]),
            (NODE_PORTS, &["connections_spread_evenly"]),
        ],
    ),
    (
        23,
        "host ports by address and protocol; no range of cluster IPs is assumed",
        &[
            (REACH, &["row_23_cluster_ips_of_any_range"]),
            (
                PORTS_READ,
                &[
                    "mappings_are_read_as_runtimes_write_them",
                    "ports_conflict_where_one_connection_would_be_both_s",
                ],
            ),
            (
                HOST_PORTS,
                &[
                    "row_23_a_host_port_is_on_every_address_of_the_node_for_pods_and_for_the_kernel",
                    "row_23_pods_share_a_port_by_address_and_protocol",
                ],
            ),
            (
                E2E_HOST_PORTS,
                &[
                    "a_host_port_leads_everybody_to_its_pod",
                    "pods_share_a_port_by_address_and_protocol",
                    "a_second_pod_waits_until_the_port_is_free",
                    "policies_see_the_pod_and_its_client",
                    "a_host_port_outlives_daemon_and_dataplane",
                ],
            ),
        ],
    ),
    (
        24,
        "endpoints that somebody wrote by hand, and that are no pods",
        &[
            (COMPILED, &["row_24_one_address_with_two_ports_is_two_backends"]),
            (
                NODE,
                &["row_24_backends_that_are_no_pods_are_reached_by_the_kernel"],
            ),
            (REACH, &["row_24_endpoints_written_by_hand"]),
            (NODE_PORTS, &["pods_and_nodes_reach_kubernetes_by_its_service"]),
        ],
    ),
    (
        25,
        "how long a change takes, as kube-proxy measures it; changes are followed one by one",
        &[
            (
                COMPILED,
                &["row_25_the_trigger_time_comes_along_and_is_no_change"],
            ),
            (PROGRAMMING, &["row_25_delays_are_never_negative"]),
            (
                FOLLOW,
                &[
                    "following_contested_services_equals_computing_everything",
                    "a_changed_endpoint_is_followed_and_moves_its_own_translations_only",
                ],
            ),
            (LIFECYCLE, &["a_daemon_returns_to_what_has_changed"]),
        ],
    ),
];

#[test]
fn every_row_has_tests_and_every_test_exists() {
    rows::check(&ROWS, &[COMPILED, NODE, BACKENDS, HOST_PORTS, PACKETS, REACH]);
}
