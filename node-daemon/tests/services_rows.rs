//! What a Service asks of a node, point by point (the numbers are those of the completeness list that Services are
//! built by, taken from kube-proxy's rules), and the tests that show it: of what the node decides, of packets through
//! its dataplane in process, and of packets between network namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const DECIDED: &str = "node-daemon/src/desired/service/tests.rs";
const CHOSEN: &str = "node-daemon/src/desired/service_backends/tests.rs";
const HOST_PORTS: &str = "node-daemon/src/desired/host_ports/tests.rs";
const PORTS_READ: &str = "node-daemon/src/attachments/host_port.rs";
const LINGER: &str = "node-daemon/src/agent/linger.rs";
const PACKETS: &str = "node-daemon/src/apply/endpoints.rs";
const WALKS: &str = "node-daemon/src/apply/walks.rs";
const KERNEL: &str = "node-daemon/src/host/nat/tests.rs";
const SESSIONS: &str = "vpp-sim/tests/engine_sessions.rs";
const SERVICES: &str = "e2e/tests/services.rs";
const NODE_PORTS: &str = "e2e/tests/nodeports.rs";
const E2E_HOST_PORTS: &str = "e2e/tests/hostports.rs";
const ENDPOINTS: &str = "e2e/tests/endpoints.rs";

/// Tests by file.
type Shown = &'static [(&'static str, &'static [&'static str])];

/// Number, what it asks of the node, tests.
const ROWS: &[(u8, &str, Shown)] = &[
    (
        1,
        "cluster IPs of both families, TCP and UDP apart, the client's address kept",
        &[
            (
                WALKS,
                &["a_service_leads_to_its_backend_and_the_answer_comes_from_the_service"],
            ),
            (SERVICES, &["a_vip_leads_to_every_backend"]),
        ],
    ),
    (
        4,
        "node ports on the node's addresses, the host's own ports left alone",
        &[
            (
                DECIDED,
                &["row_4_a_node_port_is_on_the_nodes_addresses_and_the_kernel_hands_it_over"],
            ),
            (NODE_PORTS, &["a_node_port_serves_everybody_on_every_node"]),
        ],
    ),
    (
        5,
        "load-balancer addresses",
        &[
            (DECIDED, &["rows_5_and_6_external_and_load_balancer_addresses"]),
            (NODE_PORTS, &["a_load_balancer_address_and_its_source_ranges"]),
        ],
    ),
    (
        6,
        "external IPs",
        &[(DECIDED, &["rows_5_and_6_external_and_load_balancer_addresses"])],
    ),
    (
        7,
        "externalTrafficPolicy Local: for clients outside only, their address kept, dropped elsewhere",
        &[
            (DECIDED, &["row_7_external_local_holds_for_clients_outside_only"]),
            (
                NODE_PORTS,
                &["external_local_keeps_the_client_and_drops_elsewhere"],
            ),
        ],
    ),
    (
        8,
        "internalTrafficPolicy Local: dropped without a local endpoint",
        &[
            (DECIDED, &["row_8_internal_local_without_local_endpoint_drops"]),
            (CHOSEN, &["rows_8_and_9_drop_is_not_reject"]),
            (
                PACKETS,
                &["rows_8_and_17_datagrams_that_were_dropped_find_the_first_local_endpoint"],
            ),
        ],
    ),
    (
        9,
        "no endpoint at all: rejected at once",
        &[
            (DECIDED, &["row_9_no_endpoint_at_all_rejects"]),
            (CHOSEN, &["rows_8_and_9_drop_is_not_reject"]),
            (WALKS, &["a_service_without_backends_refuses_at_once"]),
            (SERVICES, &["a_service_without_endpoints_refuses_at_once"]),
            (NODE_PORTS, &["a_node_port_without_endpoints_refuses_at_once"]),
        ],
    ),
    (
        10,
        "health check node port counts ready local endpoints",
        &[(DECIDED, &["row_10_health_checks_count_ready_local_endpoints"])],
    ),
    (
        11,
        "ClientIP affinity",
        &[(SERVICES, &["client_ip_affinity_keeps_one_backend"])],
    ),
    (
        12,
        "ready, else serving and terminating, for Cluster and Local apart",
        &[(
            CHOSEN,
            &["row_12_ready_then_serving_and_terminating_for_cluster_and_local_apart"],
        )],
    ),
    (
        14,
        "hints",
        &[(CHOSEN, &["row_14_hints_are_followed_by_all_or_not_at_all"])],
    ),
    (
        15,
        "a pod reaches itself through its Service, isolated or not",
        &[
            (
                PACKETS,
                &["row_15_a_pod_isolated_both_ways_reaches_itself_by_its_service"],
            ),
            (SERVICES, &["a_backend_reaches_itself_by_its_vip"]),
        ],
    ),
    (
        17,
        "UDP flows leave endpoints that are gone, and find the first one; no others are disturbed",
        &[
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
                DECIDED,
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
        20,
        "load-balancer source ranges",
        &[
            (
                DECIDED,
                &[
                    "row_20_source_ranges_guard_the_load_balancer_address_only",
                    "row_20_an_uplink_that_serves_closes_guarded_addresses_and_says_what_local_means",
                ],
            ),
            (NODE_PORTS, &["a_load_balancer_address_and_its_source_ranges"]),
        ],
    ),
    (
        21,
        "TCP connections stay with an endpoint that terminates or is not ready, new ones go elsewhere, none is lost",
        &[
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
        "equal weights",
        &[(NODE_PORTS, &["connections_spread_evenly"])],
    ),
    (
        23,
        "hostPort, by hostIP and protocol",
        &[
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
            (KERNEL, &["nft_takes_the_table_and_replaces_it"]),
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
        "endpoints that are no pods",
        &[
            (
                DECIDED,
                &["row_24_backends_that_are_no_pods_are_reached_by_the_kernel"],
            ),
            (NODE_PORTS, &["pods_and_nodes_reach_kubernetes_by_its_service"]),
        ],
    ),
];

/// Names of the tests in a file: functions marked as tests, or listed in the `cases!` of an end-to-end suite.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some((_, rest)) = line.split_once("fn ").filter(|_| marked) {
            names.extend(rest.split('(').next());
            marked = false;
        }
    }
    if let Some((_, listed)) = text.split_once("cases![") {
        let listed = listed.split(']').next().unwrap_or_default();
        names.extend(listed.split(',').map(str::trim).filter(|name| !name.is_empty()));
    }
    names
}

#[test]
fn every_row_has_tests_and_every_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (number, what, shown) in ROWS {
        assert!(!shown.is_empty(), "{number}: {what}");
        for (file, names) in *shown {
            let text = files.entry(file).or_insert_with(|| {
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
            });
            let there = tests_of(text);
            assert!(!names.is_empty(), "{number}: {file}");
            for name in *names {
                assert!(there.contains(name), "row {number}: {file} has no test {name}");
            }
        }
    }
    // And the other way: a test that says which row it is of is listed.
    let listed: BTreeSet<&str> = ROWS
        .iter()
        .flat_map(|(_, _, shown)| shown.iter().flat_map(|(_, names)| names.iter().copied()))
        .collect();
    for name in files.values().flat_map(|text| tests_of(text)) {
        let says = name.starts_with("row_") || name.starts_with("rows_");
        assert!(!says || listed.contains(name), "{name} is not listed");
    }
}
