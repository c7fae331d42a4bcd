//! What NetworkPolicy's text asks for, point by point, and the tests that show it: of the compiled form, of packets
//! through a node's dataplane or a whole cluster of them in process, and of packets between network namespaces.

mod rows;

use rows::Row;

/// Folder of tests, short for [`ROWS`].
const COMPILED: &str = "compiler/tests/networkpolicy.rs";
const LITERAL: &str = "compiler/tests/networkpolicy_property.rs";
const WALKS: &str = "node-daemon/src/apply/walks.rs";
const FLOWS: &str = "node-daemon/src/apply/flows.rs";
const HAMMER: &str = "node-daemon/src/apply/hammer.rs";
const PLAN: &str = "node-daemon/src/plan/tests.rs";
const DESIRED: &str = "node-daemon/src/desired/tests.rs";
const CNI: &str = "node-daemon/tests/cni_flow.rs";
const REACH: &str = "kubectl-vpp/tests/reach.rs";
const PACKETS: &str = "kubectl-vpp/tests/literal.rs";
const E2E: &str = "e2e/tests/networkpolicy.rs";
const SERVICES: &str = "e2e/tests/services.rs";

const ROWS: [Row; 20] = [
    (
        1,
        "policyTypes default to Ingress, and to Egress only where there are egress rules",
        &[
            (
                COMPILED,
                &["row_1_policy_types_default_to_ingress_and_to_egress_only_with_egress_rules"],
            ),
            (PACKETS, &["packets_do_what_the_api_says"]),
        ],
    ),
    (
        2,
        "isolation is per direction and pod, rules are a union, both ends must consent",
        &[
            (
                COMPILED,
                &[
                    "row_2_isolation_is_per_direction_and_both_ends_must_consent",
                    "row_2_policies_are_a_union",
                ],
            ),
            (DESIRED, &["lists_per_direction"]),
            (WALKS, &["egress_lets_out_to_whom_is_named"]),
            (
                E2E,
                &[
                    "egress_by_pod_and_port",
                    "policies_add_up",
                    "default_deny_and_back",
                ],
            ),
        ],
    ),
    (
        3,
        "empty is not absent; selectors of one peer are and, peers are or",
        &[
            (
                COMPILED,
                &[
                    "row_3_empty_and_absent",
                    "row_3_selectors_of_one_item_are_and_two_items_are_or",
                ],
            ),
            (LITERAL, &["compiled_policies_mean_what_the_api_says"]),
            (PACKETS, &["packets_do_what_the_api_says"]),
            (E2E, &["peers_by_namespace_selector"]),
        ],
    ),
    (
        4,
        "no port means all ports, no protocol means TCP",
        &[
            (
                COMPILED,
                &["row_4_port_absent_means_all_ports_and_protocol_absent_means_tcp"],
            ),
            (DESIRED, &["rules_by_feature"]),
            (E2E, &["protocols_are_kept_apart"]),
        ],
    ),
    (
        5,
        "named ports are the destination pod's, by name and protocol",
        &[
            (
                COMPILED,
                &[
                    "row_5_named_ports_on_ingress_are_the_targets",
                    "row_5_named_ports_on_egress_are_each_peers",
                    "row_5_named_ports_never_match_blocks_or_the_outside",
                    "row_5_a_block_beside_pods_takes_no_named_port_from_them",
                    "row_5_a_name_without_that_protocol_or_nowhere_opens_nothing",
                    "row_5_named_and_numeric_ports_in_one_rule",
                ],
            ),
            (WALKS, &["a_named_port_counts_for_the_pods_that_have_it"]),
            (PACKETS, &["packets_do_what_the_api_says"]),
            (E2E, &["ports_ranges_and_names", "a_user_mistake_is_an_event"]),
        ],
    ),
    (
        6,
        "endPort is inclusive and stays a range",
        &[
            (
                COMPILED,
                &[
                    "row_6_end_port_is_inclusive_and_stays_a_range",
                    "row_6_unusable_ports_open_nothing_and_are_told",
                ],
            ),
            (
                WALKS,
                &["ingress_lets_in_who_is_named_on_the_port_named_and_nobody_else"],
            ),
            (E2E, &["ports_ranges_and_names"]),
        ],
    ),
    (
        7,
        "except counts within its own block; families do not mix",
        &[
            (
                COMPILED,
                &[
                    "row_7_except_counts_within_its_own_block_only",
                    "row_7_families_do_not_mix",
                ],
            ),
            (PACKETS, &["packets_do_what_the_api_says"]),
            (
                E2E,
                &[
                    "peers_by_prefix_with_exceptions",
                    "egress_by_prefix_with_exceptions",
                ],
            ),
        ],
    ),
    (
        8,
        "a block matches pods too, by the address behind a Service and the client's own",
        &[
            (COMPILED, &["row_8_a_block_matches_pods_too"]),
            (
                WALKS,
                &["a_service_leads_to_its_backend_and_the_answer_comes_from_the_service"],
            ),
            (E2E, &["egress_by_prefix_with_exceptions"]),
        ],
    ),
    (
        9,
        "policies see backends' addresses and ports, not a Service's",
        &[(REACH, &["services_lead_to_their_backends_and_policies_see_those"])],
    ),
    (
        10,
        "a node reaches its own pods; other nodes are anybody",
        &[
            (
                WALKS,
                &["the_node_reaches_an_isolated_pod_and_nobody_pretends_to_be_the_node"],
            ),
            (REACH, &["isolation_leaves_the_own_node_and_the_pod_itself"]),
            (E2E, &["the_node_reaches_an_isolated_pod"]),
        ],
    ),
    (
        11,
        "a pod cannot be kept from itself",
        &[
            (REACH, &["isolation_leaves_the_own_node_and_the_pod_itself"]),
            (SERVICES, &["a_backend_reaches_itself_by_its_vip"]),
        ],
    ),
    (
        12,
        "host-network pods are neither selected nor peers but by block",
        &[
            (
                COMPILED,
                &["row_12_host_network_pods_are_neither_targets_nor_members"],
            ),
            (LITERAL, &["compiled_policies_mean_what_the_api_says"]),
        ],
    ),
    (
        13,
        "SCTP isolates and is neither TCP nor UDP",
        &[
            (COMPILED, &["row_13_sctp_isolates_and_is_neither_tcp_nor_udp"]),
            (
                WALKS,
                &["ingress_lets_in_who_is_named_on_the_port_named_and_nobody_else"],
            ),
            (PACKETS, &["packets_do_what_the_api_says"]),
        ],
    ),
    (
        14,
        "replies and ICMP errors of what is allowed pass",
        &[
            (FLOWS, &["icmp_errors_reach_isolated_pods_and_requests_do_not"]),
            (WALKS, &["an_isolated_pod_is_answered_and_answers"]),
        ],
    ),
    (
        15,
        "live connections are judged anew when policies change",
        &[
            (
                FLOWS,
                &[
                    "a_connection_is_cut_for_whom_the_server_may_not_serve_any_more",
                    "a_connection_is_cut_to_whom_the_client_may_not_speak_any_more",
                    "a_pod_isolated_both_ways_keeps_what_either_direction_allows",
                    "a_named_high_port_keeps_its_connections",
                    "a_udp_flow_is_cut_until_its_server_speaks",
                    "connections_are_taken_up_again_after_vpp_lost_its_sessions",
                ],
            ),
            (
                HAMMER,
                &["no_packet_slips_through_and_none_is_lost_between_messages"],
            ),
            (PLAN, &["no_message_opens_or_closes_more_than_the_change"]),
            (
                E2E,
                &[
                    "a_first_policy_cuts_what_it_forbids_and_nothing_else",
                    "a_live_flow_is_cut_or_kept",
                    "live_flows_follow_labels",
                ],
            ),
        ],
    ),
    (
        16,
        "a pod is isolated before its first packet",
        &[
            (COMPILED, &["row_16_a_pod_is_bound_before_it_has_an_address"]),
            (PLAN, &["pods_come_up_after_their_policies_and_go_down_first"]),
            (
                CNI,
                &["an_add_waits_for_the_pods_binding_and_isolates_from_the_first_packet"],
            ),
            (E2E, &["isolated_from_the_first_packet"]),
        ],
    ),
    (
        17,
        "finished pods leave at once, terminating ones stay, an address goes to its new holder",
        &[
            (
                COMPILED,
                &[
                    "row_17_finished_pods_leave_their_sets_and_terminating_ones_stay",
                    "row_17_an_address_used_again_belongs_to_its_new_holder",
                    "row_17_of_two_pods_on_one_address_neither_is_forgotten",
                    "row_17_of_two_pods_on_one_address_the_newest_has_it",
                ],
            ),
            (PACKETS, &["packets_do_what_the_api_says"]),
        ],
    ),
    (
        18,
        "labels of pods and namespaces count as they change",
        &[
            (
                COMPILED,
                &[
                    "row_18_labels_of_namespaces_count_their_own_name_too",
                    "row_18_a_label_change_moves_pods_in_and_out",
                ],
            ),
            (
                E2E,
                &[
                    "labels_decide_as_they_change",
                    "live_flows_follow_labels",
                    "peers_by_namespace_selector",
                ],
            ),
        ],
    ),
    (
        19,
        "pods without address or node, of both families; namespaces and policies that go; invalid selectors",
        &[
            (
                COMPILED,
                &[
                    "row_19_dual_stack_pods_are_members_by_every_address",
                    "row_19_an_invalid_peer_accepts_nothing_and_the_rest_goes_on",
                    "row_19_an_invalid_pod_selector_isolates_the_namespace",
                    "row_19_a_pod_is_bound_where_it_is_scheduled_and_not_before",
                    "row_19_a_namespace_that_goes_takes_its_label_along",
                    "row_19_isolation_goes_with_the_last_policy",
                ],
            ),
            (DESIRED, &["unknown_references_close_and_known_rules_stay"]),
            (E2E, &["default_deny_and_back"]),
        ],
    ),
    (
        20,
        "one selector in two policies, a policy renamed, deny and allow together",
        &[
            (
                COMPILED,
                &[
                    "row_20_one_selector_in_two_policies_is_one_set",
                    "row_20_a_renamed_policy_means_the_same",
                    "row_2_policies_are_a_union",
                ],
            ),
            (E2E, &["policies_add_up"]),
        ],
    ),
];

#[test]
fn every_row_has_tests_and_every_test_exists() {
    rows::check(&ROWS, &[COMPILED]);
}
