//! NetworkPolicy, row by row: what the API's text says a policy means, asked of the compiled form.

mod common;

use common::{End, binding, cluster, compiled, direction, ip, key, member_texts, passes, reasons};
use compiler::{Output, Settings, compile};
use crds::net::Protocol::{self, Sctp, Tcp, Udp};

/// Two nodes; namespaces shop (team=a), bank (team=b) and ops (no label).
const WORLD: &str = "
kind: Node
metadata: {name: n1, uid: n1}
spec: {podCIDRs: [10.1.0.0/24, 'fd00:1::/64']}
---
kind: Node
metadata: {name: n2, uid: n2}
spec: {podCIDRs: [10.2.0.0/24, 'fd00:2::/64']}
---
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
kind: Namespace
metadata: {name: bank, labels: {team: b}}
---
kind: Namespace
metadata: {name: ops}
---
kind: Pod
metadata: {namespace: shop, name: web, uid: web, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}
status: {phase: Running, podIPs: [{ip: 10.1.0.2}, {ip: 'fd00:1::2'}]}
---
kind: Pod
metadata: {namespace: shop, name: api, uid: api, labels: {app: api}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIPs: [{ip: 10.2.0.2}, {ip: 'fd00:2::2'}]}
---
kind: Pod
metadata: {namespace: bank, name: teller, uid: teller, labels: {app: web}}
spec:
  nodeName: n2
  containers: [{name: c, ports: [{name: dns, containerPort: 53, protocol: UDP}]}]
  initContainers: [{name: s, restartPolicy: Always, ports: [{name: http, containerPort: 9000}]}]
status: {phase: Running, podIPs: [{ip: 10.2.0.3}, {ip: 'fd00:2::3'}]}
---
kind: Pod
metadata: {namespace: ops, name: probe, uid: probe, labels: {app: web}}
spec: {nodeName: n1, hostNetwork: true, containers: []}
status: {phase: Running, podIPs: [{ip: 192.0.2.1}]}
";

/// The world with one policy in namespace shop.
fn with(spec: &str) -> Output {
    compiled(&format!("{WORLD}\n---\n{}", policy("p", spec)))
}

fn policy(name: &str, spec: &str) -> String {
    format!("kind: NetworkPolicy\nmetadata: {{namespace: shop, name: {name}, uid: {name}}}\nspec: {spec}\n")
}

fn end(name: &str) -> End<'_> {
    let (pod, address) = match name {
        "web" => (Some(name), "10.1.0.2"),
        "web6" => (Some("web"), "fd00:1::2"),
        "api" => (Some(name), "10.2.0.2"),
        "api6" => (Some("api"), "fd00:2::2"),
        "teller" => (Some(name), "10.2.0.3"),
        "teller6" => (Some("teller"), "fd00:2::3"),
        // A host-network pod is its node.
        "probe" => (None, "192.0.2.1"),
        outside => (None, outside),
    };
    End { pod, ip: ip(address) }
}

/// Asserts rows of (from, to, protocol, port, passes).
fn rows(output: &Output, rows: &[(&str, &str, Protocol, u16, bool)]) {
    for (from, to, protocol, port, expected) in rows {
        let got = passes(output, end(from), end(to), *protocol, *port);
        assert_eq!(got, *expected, "{from} → {to} {protocol} {port}");
    }
}

#[test]
fn without_policies_everything_passes() {
    let output = compiled(WORLD);
    rows(
        &output,
        &[
            ("api", "web", Tcp, 80, true),
            ("203.0.113.9", "web", Sctp, 1, true),
            ("web", "203.0.113.9", Udp, 53, true),
        ],
    );
    assert!(output.sets.is_empty());
    assert!(output.problems.is_empty());
}

#[test]
fn row_1_policy_types_default_to_ingress_and_to_egress_only_with_egress_rules() {
    for (spec, ingress, egress) in [
        ("{podSelector: {}}", true, false),
        ("{podSelector: {}, egress: []}", true, false),
        ("{podSelector: {}, egress: [{}]}", true, true),
        ("{podSelector: {}, ingress: [{}]}", true, false),
        ("{podSelector: {}, policyTypes: [Ingress]}", true, false),
        (
            "{podSelector: {}, policyTypes: [Ingress], egress: [{}]}",
            true,
            false,
        ),
        ("{podSelector: {}, policyTypes: [Egress]}", false, true),
        ("{podSelector: {}, policyTypes: [Ingress, Egress]}", true, true),
    ] {
        let output = with(spec);
        for (into, isolated) in [(true, ingress), (false, egress)] {
            let web = direction(&output, "web", into).unwrap();
            assert_eq!(web.isolated, isolated, "ingress {into} of {spec}");
        }
    }
}

#[test]
fn row_2_isolation_is_per_direction_and_both_ends_must_consent() {
    let deny_egress = with("{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress]}");
    rows(
        &deny_egress,
        &[("web", "api", Tcp, 80, false), ("api", "web", Tcp, 80, true)],
    );
    let both = compiled(&format!(
        "{WORLD}\n---\n{}\n---\n{}",
        policy("out", "{podSelector: {matchLabels: {app: web}}, egress: [{}]}"),
        policy("in", "{podSelector: {matchLabels: {app: api}}}"),
    ));
    // web may send, api takes nothing.
    rows(&both, &[("web", "api", Tcp, 80, false)]);
}

#[test]
fn row_2_policies_are_a_union() {
    let deny = policy("deny", "{podSelector: {}}");
    let allow = policy("allow", "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}");
    for order in [format!("{deny}\n---\n{allow}"), format!("{allow}\n---\n{deny}")] {
        let output = compiled(&format!("{WORLD}\n---\n{order}"));
        rows(
            &output,
            &[("api", "web", Tcp, 80, true), ("web", "api", Tcp, 80, false)],
        );
    }
}

#[test]
fn row_3_empty_and_absent() {
    let cases = [
        // Peers: absent or empty means anyone, from outside too.
        ("{podSelector: {}, ingress: [{}]}", "203.0.113.9", true),
        ("{podSelector: {}, ingress: [{from: []}]}", "203.0.113.9", true),
        (
            "{podSelector: {}, ingress: [{from: [], ports: []}]}",
            "203.0.113.9",
            true,
        ),
        // No rule: nobody.
        ("{podSelector: {}, ingress: []}", "api", false),
        ("{podSelector: {}}", "api", false),
        // All pods of the policy's own namespace.
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
            "api",
            true,
        ),
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
            "teller",
            false,
        ),
        (
            "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}",
            "203.0.113.9",
            false,
        ),
        // All pods of all namespaces, but nothing else.
        (
            "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}",
            "teller",
            true,
        ),
        (
            "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}",
            "203.0.113.9",
            false,
        ),
    ];
    for (spec, from, expected) in cases {
        let got = passes(&with(spec), end(from), end("web"), Tcp, 80);
        assert_eq!(got, expected, "{from} by {spec}");
    }
}

#[test]
fn row_3_selectors_of_one_item_are_and_two_items_are_or() {
    let and = with(
        "{podSelector: {}, ingress: [{from: [
            {namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: web}}}]}]}",
    );
    rows(
        &and,
        &[("teller", "api", Tcp, 80, true), ("web", "api", Tcp, 80, false)],
    );
    let both_halves = with(
        "{podSelector: {}, ingress: [{from: [
            {namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: api}}}]}]}",
    );
    rows(
        &both_halves,
        &[("teller", "web", Tcp, 80, false), ("api", "web", Tcp, 80, false)],
    );
    let or = with(
        "{podSelector: {}, ingress: [{from: [
            {namespaceSelector: {matchLabels: {team: b}}}, {podSelector: {matchLabels: {app: web}}}]}]}",
    );
    rows(
        &or,
        &[
            ("teller", "api", Tcp, 80, true),
            ("web", "api", Tcp, 80, true),
            ("api", "web", Tcp, 80, false),
        ],
    );
}

#[test]
fn row_4_port_absent_means_all_ports_and_protocol_absent_means_tcp() {
    let udp = with("{podSelector: {}, ingress: [{ports: [{protocol: UDP}]}]}");
    rows(
        &udp,
        &[
            ("api", "web", Udp, 1, true),
            ("api", "web", Udp, 65535, true),
            ("api", "web", Tcp, 1, false),
        ],
    );
    let tcp = with("{podSelector: {}, ingress: [{ports: [{port: 53}]}]}");
    rows(
        &tcp,
        &[
            ("api", "web", Tcp, 53, true),
            ("api", "web", Udp, 53, false),
            ("api", "web", Tcp, 54, false),
        ],
    );
}

#[test]
fn row_5_named_ports_on_ingress_are_the_targets() {
    let output = with("{podSelector: {}, ingress: [{ports: [{port: http}]}]}");
    rows(
        &output,
        &[
            ("teller", "web", Tcp, 80, true),
            ("teller6", "web6", Tcp, 80, true),
            ("teller", "web", Tcp, 8080, false),
            ("teller", "api", Tcp, 8080, true),
            ("teller", "api", Tcp, 80, false),
            ("teller", "web", Udp, 80, false),
            ("203.0.113.9", "web", Tcp, 80, true),
        ],
    );
    // web's and api's, not teller's: it is in another namespace.
    let ports: Vec<_> = output.policies[&key("shop", "p")].spec.ingress.iter().collect();
    assert_eq!(ports.len(), 2);
}

#[test]
fn row_5_named_ports_on_egress_are_each_peers() {
    let to = "to: [{namespaceSelector: {}}], ports: [{port: http}]";
    let output = with(&format!(
        "{{podSelector: {{}}, policyTypes: [Egress], egress: [{{{to}}}]}}"
    ));
    rows(
        &output,
        &[
            ("web", "api", Tcp, 8080, true),
            ("web", "api", Tcp, 80, false),
            // A restartable init container's port.
            ("web", "teller", Tcp, 9000, true),
            ("web", "teller", Tcp, 8080, false),
            ("api", "web", Tcp, 80, true),
            ("web", "203.0.113.9", Tcp, 80, false),
        ],
    );
}

#[test]
fn row_5_named_ports_never_match_blocks_or_the_outside() {
    for to in ["", "to: [{ipBlock: {cidr: 0.0.0.0/0}}], "] {
        let output = with(&format!(
            "{{podSelector: {{}}, policyTypes: [Egress], egress: [{{{to}ports: [{{port: http}}]}}]}}"
        ));
        rows(&output, &[("web", "203.0.113.9", Tcp, 80, false)]);
        rows(&output, &[("web", "teller", Tcp, 9000, to.is_empty())]);
    }
}

#[test]
fn row_5_a_block_beside_pods_takes_no_named_port_from_them() {
    let output = with(
        "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}], to: [
            {ipBlock: {cidr: 203.0.113.0/24}}, {namespaceSelector: {matchLabels: {team: b}}}]}]}",
    );
    rows(
        &output,
        &[
            ("web", "teller", Tcp, 9000, true),
            ("web", "203.0.113.9", Tcp, 9000, false),
        ],
    );
}

#[test]
fn row_5_a_name_without_that_protocol_or_nowhere_opens_nothing() {
    let output = with("{podSelector: {}, ingress: [{ports: [{port: http, protocol: UDP}]}]}");
    rows(
        &output,
        &[("api", "web", Udp, 80, false), ("api", "web", Tcp, 80, false)],
    );
    assert_eq!(reasons(&output), ["NamedPortNotFound"]);
}

#[test]
fn row_5_named_and_numeric_ports_in_one_rule() {
    let output = with("{podSelector: {}, ingress: [{ports: [{port: http}, {port: 443}]}]}");
    rows(
        &output,
        &[
            ("teller", "web", Tcp, 80, true),
            ("teller", "web", Tcp, 443, true),
            ("teller", "api", Tcp, 443, true),
            ("teller", "api", Tcp, 80, false),
        ],
    );
}

#[test]
fn row_6_end_port_is_inclusive_and_stays_a_range() {
    let output = with("{podSelector: {}, ingress: [{ports: [{port: 1, endPort: 65535}]}]}");
    rows(
        &output,
        &[("api", "web", Tcp, 1, true), ("api", "web", Tcp, 65535, true)],
    );
    let ports = &output.policies[&key("shop", "p")].spec.ingress[0].ports;
    assert_eq!(ports.as_ref().unwrap().len(), 1);
    let output = with("{podSelector: {}, ingress: [{ports: [{port: 80, endPort: 82}]}]}");
    rows(
        &output,
        &[
            ("api", "web", Tcp, 79, false),
            ("api", "web", Tcp, 80, true),
            ("api", "web", Tcp, 82, true),
            ("api", "web", Tcp, 83, false),
        ],
    );
}

#[test]
fn row_6_unusable_ports_open_nothing_and_are_told() {
    for port in [
        "{port: 80, endPort: 79}",
        "{port: http, endPort: 90}",
        "{endPort: 90}",
        "{port: 0}",
        "{port: 65536}",
        "{port: 80, protocol: ICMP}",
    ] {
        let output = with(&format!("{{podSelector: {{}}, ingress: [{{ports: [{port}]}}]}}"));
        rows(&output, &[("api", "web", Tcp, 80, false)]);
        assert_eq!(reasons(&output), ["InvalidPort"], "{port}");
    }
}

#[test]
fn row_7_except_counts_within_its_own_block_only() {
    let one =
        with("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.2.0.0/24, except: [10.2.0.2/32]}}]}]}");
    rows(
        &one,
        &[("api", "web", Tcp, 80, false), ("teller", "web", Tcp, 80, true)],
    );
    // "IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed"
    let both = with(
        "{podSelector: {}, ingress: [{from: [
            {ipBlock: {cidr: 10.2.0.0/24, except: [10.2.0.2/32]}}, {ipBlock: {cidr: 10.2.0.2/32}}]}]}",
    );
    rows(&both, &[("api", "web", Tcp, 80, true)]);
}

#[test]
fn row_7_families_do_not_mix() {
    let output = with("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}");
    rows(
        &output,
        &[("api", "web", Tcp, 80, true), ("api6", "web6", Tcp, 80, false)],
    );
    let output = with("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: '::/0'}}]}]}");
    rows(
        &output,
        &[("api", "web", Tcp, 80, false), ("api6", "web6", Tcp, 80, true)],
    );
}

#[test]
fn row_8_a_block_matches_pods_too() {
    let spec = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.2.0.0/24}}]}]}";
    rows(
        &with(spec),
        &[
            ("web", "api", Tcp, 80, true),
            ("web", "203.0.113.9", Tcp, 80, false),
        ],
    );
}

#[test]
fn row_12_host_network_pods_are_neither_targets_nor_members() {
    let output = with("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}");
    rows(&output, &[("probe", "web", Tcp, 80, false)]);
    assert!(binding(&output, "probe").is_none());
    let block = with("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 192.0.2.1/32}}]}]}");
    rows(&block, &[("probe", "web", Tcp, 80, true)]);
}

#[test]
fn row_13_sctp_isolates_and_is_neither_tcp_nor_udp() {
    let output = with("{podSelector: {}, ingress: [{ports: [{protocol: SCTP, port: 80}]}]}");
    rows(
        &output,
        &[
            ("api", "web", Sctp, 80, true),
            ("api", "web", Sctp, 81, false),
            ("api", "web", Tcp, 80, false),
            ("api", "web", Udp, 80, false),
        ],
    );
}

#[test]
fn row_16_a_pod_is_bound_before_it_has_an_address() {
    let output = compiled(&format!(
        "{WORLD}\n---\n{}\n---
kind: Pod
metadata: {{namespace: shop, name: young, uid: young}}
spec: {{nodeName: n1, containers: []}}
status: {{phase: Pending}}",
        policy("p", "{podSelector: {}}"),
    ));
    let young = direction(&output, "young", true).unwrap();
    assert!(young.isolated);
    assert_eq!(young.policies[0].name, "p");
}

#[test]
fn row_17_finished_pods_leave_their_sets_and_terminating_ones_stay() {
    let all = "{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {}}]}]}";
    for (meta, phase, member) in [
        ("", "Running", true),
        ("", "Succeeded", false),
        ("", "Failed", false),
        (", deletionTimestamp: '2026-01-01T00:00:00Z'", "Running", true),
    ] {
        let output = compiled(&format!(
            "{WORLD}\n---\n{}\n---
kind: Pod
metadata: {{namespace: shop, name: job, uid: job{meta}}}
spec: {{nodeName: n1, containers: []}}
status: {{phase: {phase}, podIPs: [{{ip: 10.1.0.77}}]}}",
            policy("p", all),
        ));
        rows(&output, &[("10.1.0.77", "api", Tcp, 80, member)]);
        assert_eq!(binding(&output, "job").is_some(), member, "{phase}{meta}");
    }
}

#[test]
fn row_17_an_address_used_again_belongs_to_its_new_holder() {
    let spec = "{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {matchLabels: {job: x}}}]}]}";
    let pod = |name: &str, labels: &str, phase: &str| {
        format!(
            "kind: Pod
metadata: {{namespace: shop, name: {name}, uid: {name}, labels: {labels}}}
spec: {{nodeName: n1, containers: []}}
status: {{phase: {phase}, podIPs: [{{ip: 10.1.0.77}}]}}"
        )
    };
    let world = format!("{WORLD}\n---\n{}", policy("p", spec));
    let stranger = pod("stranger", "{job: other}", "Running");
    let gone = pod("gone", "{job: x}", "Succeeded");
    rows(
        &compiled(&format!("{world}\n---\n{gone}\n---\n{stranger}")),
        &[("10.1.0.77", "api", Tcp, 80, false)],
    );
    // The finished pod's removal takes nothing from a living one with the same labels.
    let heir = pod("heir", "{job: x}", "Running");
    let mut cluster = cluster(&format!("{world}\n---\n{gone}\n---\n{heir}"));
    cluster.remove_pod(&key("shop", "gone"));
    rows(
        &compile(&cluster, &Settings::default()),
        &[("10.1.0.77", "api", Tcp, 80, true)],
    );
}

#[test]
fn row_17_of_two_pods_on_one_address_neither_is_forgotten() {
    // The old pod is still going while its address is seen at another; whichever ends, the other has it.
    let spec = "{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {matchLabels: {job: x}}}]}]}";
    let pod = |name: &str, meta: &str| {
        format!(
            "kind: Pod
metadata: {{namespace: shop, name: {name}, uid: {name}, {meta}}}
spec: {{nodeName: n1, containers: []}}
status: {{phase: Running, podIPs: [{{ip: 10.1.0.77}}]}}"
        )
    };
    let going = pod(
        "going",
        "labels: {job: x}, deletionTimestamp: '2026-01-01T00:00:00Z'",
    );
    let coming = pod("coming", "labels: {job: x}");
    let world = format!("{WORLD}\n---\n{}\n---\n{going}\n---\n{coming}", policy("p", spec));
    for (first, second) in [("going", "coming"), ("coming", "going")] {
        let mut cluster = cluster(&world);
        for (name, member) in [(first, true), (second, false)] {
            cluster.remove_pod(&key("shop", name));
            let output = compile(&cluster, &Settings::default());
            rows(&output, &[("10.1.0.77", "api", Tcp, 80, member)]);
        }
    }
}

/// The notes' row 17: the newest one that runs has the address, whoever is read first.
#[test]
fn row_17_of_two_pods_on_one_address_the_newest_has_it() {
    let spec = "{podSelector: {matchLabels: {app: api}}, ingress: [{from: [{podSelector: {matchLabels: {job: x}}}]}]}";
    let pod = |name: &str, job: &str, started: &str| {
        format!(
            "kind: Pod
metadata: {{namespace: shop, name: {name}, uid: {name}, labels: {{job: {job}}}}}
spec: {{nodeName: n1, containers: []}}
status: {{phase: Running, startTime: '{started}', podIPs: [{{ip: 10.1.0.77}}]}}"
        )
    };
    let (early, late) = ("2026-01-01T09:59:59Z", "2026-01-01T10:00:00Z");
    // Names, and UIDs with them, sort the other way than times do.
    for (old, new) in [("p1", "p2"), ("p2", "p1")] {
        for (olds, news, member) in [("x", "other", false), ("other", "x", true)] {
            let pods = format!("{}\n---\n{}", pod(old, olds, early), pod(new, news, late));
            let mut cluster = cluster(&format!("{WORLD}\n---\n{}\n---\n{pods}", policy("p", spec)));
            let output = compile(&cluster, &Settings::default());
            rows(&output, &[("10.1.0.77", "api", Tcp, 80, member)]);
            // If it was the newest that went, the address is the older one's again.
            cluster.remove_pod(&key("shop", new));
            let output = compile(&cluster, &Settings::default());
            rows(&output, &[("10.1.0.77", "api", Tcp, 80, !member)]);
        }
    }
}

#[test]
fn row_18_labels_of_namespaces_count_their_own_name_too() {
    let spec = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: bank}}}]}]}";
    rows(
        &with(spec),
        &[("teller", "web", Tcp, 80, true), ("api", "web", Tcp, 80, false)],
    );
}

#[test]
fn row_18_a_label_change_moves_pods_in_and_out() {
    let spec = "{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}";
    let mut cluster = cluster(&format!("{WORLD}\n---\n{}", policy("p", spec)));
    let mut bank = compiler::facts::Namespace {
        name: "bank".into(),
        labels: [("team", "c")].into_iter().collect(),
    };
    assert!(cluster.upsert_namespace(bank.clone()));
    let output = compile(&cluster, &Settings::default());
    rows(&output, &[("teller", "web", Tcp, 80, false)]);
    bank.labels = bank.labels.with("team", "b");
    cluster.upsert_namespace(bank);
    let output = compile(&cluster, &Settings::default());
    rows(&output, &[("teller", "web", Tcp, 80, true)]);

    let mut web = cluster.pod(&key("shop", "web")).unwrap().clone();
    web.labels = web.labels.with("app", "other");
    cluster.upsert_pod(web);
    let output = compile(&cluster, &Settings::default());
    rows(&output, &[("api", "web", Tcp, 80, true)]);
    assert!(!direction(&output, "web", true).unwrap().isolated);
}

#[test]
fn row_19_dual_stack_pods_are_members_by_every_address() {
    let output = with("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}");
    let peers = output.policies[&key("shop", "p")].spec.ingress[0].peers.clone();
    let members = member_texts(&output, &peers.unwrap()[0]);
    assert_eq!(members, ["10.2.0.2/32", "fd00:2::2/128"]);
}

#[test]
fn row_19_an_invalid_peer_accepts_nothing_and_the_rest_goes_on() {
    let bad = "{podSelector: {matchExpressions: [{key: app, operator: Is, values: [api]}]}}";
    for peer in [
        bad,
        "{namespaceSelector: {matchExpressions: [{key: team, operator: In}]}, podSelector: {}}",
        "{ipBlock: {cidr: 10.2.0.0/33}}",
        "{ipBlock: {cidr: 10.2.0.0/24, except: [nonsense]}}",
        "{ipBlock: {cidr: 10.2.0.0/24}, podSelector: {}}",
        "{}",
    ] {
        let output = with(&format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"));
        rows(&output, &[("api", "web", Tcp, 80, false)]);
        assert_eq!(output.problems.len(), 1, "{peer}");
        let output = with(&format!(
            "{{podSelector: {{}}, ingress: [{{from: [{peer}, {{podSelector: {{matchLabels: {{app: web}}}}}}]}}]}}"
        ));
        rows(
            &output,
            &[("web", "api", Tcp, 80, true), ("teller", "api", Tcp, 80, false)],
        );
    }
}

#[test]
fn row_19_an_invalid_pod_selector_isolates_the_namespace() {
    let spec = "{podSelector: {matchExpressions: [{key: app, operator: Is}]}, ingress: [{}]}";
    let output = with(spec);
    rows(
        &output,
        &[("api", "web", Tcp, 80, false), ("web", "teller", Tcp, 80, true)],
    );
    assert_eq!(reasons(&output), ["InvalidSelector"]);
    let problem = output.problems.first().unwrap();
    assert!(
        problem.message.contains("spec.podSelector"),
        "{}",
        problem.message
    );
}

#[test]
fn row_19_a_pod_is_bound_where_it_is_scheduled_and_not_before() {
    let pod = |node: &str| {
        format!(
            "kind: Pod
metadata: {{namespace: shop, name: late, uid: late, labels: {{app: api}}}}
spec: {{{node}containers: []}}
status: {{phase: Pending}}"
        )
    };
    let world = format!("{WORLD}\n---\n{}", policy("p", "{podSelector: {}}"));
    let waiting = compiled(&format!("{world}\n---\n{}", pod("")));
    assert!(binding(&waiting, "late").is_none());
    rows(&waiting, &[("web", "api", Tcp, 80, false)]);
    let scheduled = compiled(&format!("{world}\n---\n{}", pod("nodeName: n2, ")));
    assert!(direction(&scheduled, "late", true).unwrap().isolated);
    assert!(
        scheduled.configs["n2"]
            .spec
            .pods
            .iter()
            .any(|pod| pod.name == "late")
    );
    assert!(
        scheduled.configs["n1"]
            .spec
            .pods
            .iter()
            .all(|pod| pod.name != "late")
    );
}

#[test]
fn row_19_a_namespace_that_goes_takes_its_label_along() {
    let spec = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]}";
    let mut cluster = cluster(&format!("{WORLD}\n---\n{}", policy("p", spec)));
    cluster.remove_namespace("bank");
    // Its pods are still there for a while; nobody is let in by a label that is nowhere.
    let output = compile(&cluster, &Settings::default());
    rows(&output, &[("teller", "web", Tcp, 80, false)]);
    cluster.remove_pod(&key("bank", "teller"));
    let output = compile(&cluster, &Settings::default());
    rows(
        &output,
        &[("teller", "web", Tcp, 80, false), ("api", "web", Tcp, 80, false)],
    );
}

#[test]
fn row_19_isolation_goes_with_the_last_policy() {
    let world = format!(
        "{WORLD}\n---\n{}\n---\n{}",
        policy("a", "{podSelector: {}}"),
        policy("b", "{podSelector: {matchLabels: {app: web}}}")
    );
    let mut cluster = cluster(&world);
    for (name, web, api) in [("", false, false), ("a", false, true), ("b", true, true)] {
        cluster.remove_policy(&key("shop", name));
        let output = compile(&cluster, &Settings::default());
        rows(
            &output,
            &[("teller", "web", Tcp, 80, web), ("teller", "api", Tcp, 80, api)],
        );
    }
}

#[test]
fn row_20_a_renamed_policy_means_the_same() {
    let spec = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}";
    let mut cluster = cluster(&format!("{WORLD}\n---\n{}", policy("old", spec)));
    let allowed = [("api", "web", Tcp, 80, true), ("teller", "web", Tcp, 80, false)];
    rows(&compile(&cluster, &Settings::default()), &allowed);
    // As kubectl does it: the new one is there before the old one goes.
    let mut renamed = cluster.policies().next().unwrap().clone();
    renamed.name = "new".into();
    renamed.uid = "new".into();
    cluster.upsert_policy(renamed);
    rows(&compile(&cluster, &Settings::default()), &allowed);
    cluster.remove_policy(&key("shop", "old"));
    let output = compile(&cluster, &Settings::default());
    rows(&output, &allowed);
    let names: Vec<_> = output.policies.keys().map(|key| key.name.as_str()).collect();
    assert_eq!(names, ["new"]);
}

#[test]
fn row_20_one_selector_in_two_policies_is_one_set() {
    let spec = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: api}}}]}]}";
    let same = "{podSelector: {}, ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [api]}]}}]}]}";
    let world = format!("{WORLD}\n---\n{}\n---\n{}", policy("a", spec), policy("b", same));
    let mut cluster = cluster(&world);
    let output = compile(&cluster, &Settings::default());
    assert_eq!(output.sets.len(), 1);
    // Deleted one by one: the set goes with the last.
    cluster.remove_policy(&key("shop", "a"));
    let output = compile(&cluster, &Settings::default());
    assert_eq!(output.sets.len(), 1);
    rows(&output, &[("api", "web", Tcp, 80, true)]);
    cluster.remove_policy(&key("shop", "b"));
    let output = compile(&cluster, &Settings::default());
    assert!(output.sets.is_empty());
    rows(&output, &[("teller", "web", Tcp, 80, true)]);
}

#[test]
fn sets_live_where_their_selectors_are_relative_to() {
    let output = with(
        "{podSelector: {}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]}",
    );
    let mut namespaces: Vec<&str> = output.sets.keys().map(|k| k.namespace.as_str()).collect();
    namespaces.sort_unstable();
    assert_eq!(namespaces, ["contiv-system", "contiv-system", "shop"]);
    for (key, slice) in &output.sets {
        assert_eq!(key.name, format!("{}-0", slice.spec.set));
    }
}

#[test]
fn a_large_set_is_cut_into_slices_of_250() {
    let mut world = format!(
        "{WORLD}\n---\n{}",
        policy("p", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}")
    );
    for n in 0..300 {
        world += &format!(
            "\n---\nkind: Pod\nmetadata: {{namespace: shop, name: p{n}, uid: p{n}}}\nspec: {{containers: []}}\nstatus: {{podIPs: [{{ip: 10.9.{}.{}}}]}}",
            n / 100,
            n % 100
        );
    }
    let output = compiled(&world);
    // 300 and the two addresses each of web and api.
    let sizes: Vec<usize> = output.sets.values().map(|s| s.spec.members.len()).collect();
    assert_eq!(sizes, [250, 54]);
}

#[test]
fn objects_carry_their_owners_and_revisions() {
    let output = with("{podSelector: {}}");
    let owner = output.policies[&key("shop", "p")].owner.as_ref().unwrap();
    assert_eq!(owner.kind, "NetworkPolicy");
    assert_eq!(owner.uid, "p");
    let owner = output.configs["n1"].owner.as_ref().unwrap();
    assert_eq!((owner.kind, owner.uid.as_str()), ("Node", "n1"));
    for config in output.configs.values() {
        let mut blank = config.spec.clone();
        let revision = std::mem::take(&mut blank.revision);
        assert_eq!(revision, crds::revision::short_hash(&blank));
    }
}
