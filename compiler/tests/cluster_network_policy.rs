//! ClusterNetworkPolicy (network-policy-api v1alpha2), row by row: what the API's text says, asked
//! of the compiled form.
//!
//! | what the API says | test |
//! |---|---|
//! | lower number, higher precedence; equal ones are ours to order | `lower_priorities_come_first_and_equal_ones_go_by_name` |
//! | the order of rules in an object matters | `rules_are_read_in_order` |
//! | Pass skips the rest of the tier | `a_pass_skips_the_rest_of_its_tier_also_in_later_policies` |
//! | a NetworkPolicy that selects the pod is final | `tiers_are_evaluated_admin_then_network_policy_then_baseline` |
//! | Accept and Deny of Admin end evaluation | the same, `an_admin_accept_opens_what_a_network_policy_isolates` |
//! | unknown peers and protocols fail closed | `a_rule_that_cannot_be_read_accepts_nothing_or_denies_everything` |
//! | networks match pods' traffic too | `peers_are_namespaces_pods_and_networks` |
//! | no implicit isolation | `a_policy_isolates_nothing_and_speaks_of_directions_with_rules_only` |
//! | named ports cannot be combined with networks and nodes | `a_rule_that_cannot_be_read_accepts_nothing_or_denies_everything` |
//! | named ports are the destination's | `named_ports_are_those_of_the_destination_whatever_their_protocol` |
//! | protocols with numbers and ranges | `protocols_are_numbers_and_ranges_of_one_protocol_each` |
//! | subjects: namespaces or pods, without host-network pods | `the_subject_is_namespaces_or_pods_and_never_host_network_pods` |
//! | peers: without host-network pods | `host_network_pods_are_no_peers` |
//! | nodes (experimental): all of their addresses | `nodes_are_all_their_addresses` |
//! | domainNames (experimental): refused | `a_rule_that_cannot_be_read_accepts_nothing_or_denies_everything` |
//! | 25 rules, peers, protocols, networks; priorities 0 to 1000 | `what_exceeds_the_bounds_fails_closed`, `a_policy_in_doubt_denies_as_wide_as_it_may_be_meant` |
//!
//! What the tiers come to in ACLs: `node-daemon/src/desired/tiers/tests.rs`; the API's own conformance tests:
//! `kubectl-vpp/tests/cluster_network_policy.rs`; packets: `e2e/tests/cluster_network_policy.rs`.

mod common;

use common::{End, binding, cluster, compiled, direction, ip, key, member_texts, passes, reasons};
use compiler::{Output, Settings, compile};
use crds::net::Protocol::{self, Sctp, Tcp, Udp};
use crds::policy::cluster_policy_name;
use crds::{PolicyAction, PolicyTier};

/// Two nodes; namespaces shop (team=a), bank (team=b); shop has web and api, bank has teller and a
/// host-network pod.
const WORLD: &str = "
kind: Node
metadata: {name: n1, uid: n1, labels: {zone: east}}
spec: {podCIDRs: [10.1.0.0/24, 'fd00:1::/64']}
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
  - {type: ExternalIP, address: 203.0.113.1}
  - {type: InternalIP, address: 'fd02::1'}
  - {type: Hostname, address: n1}
---
kind: Node
metadata: {name: n2, uid: n2}
spec: {podCIDRs: [10.2.0.0/24, 'fd00:2::/64']}
status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}
---
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
kind: Namespace
metadata: {name: bank, labels: {team: b}}
---
kind: Pod
metadata: {namespace: shop, name: web, uid: web, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 80}]}]}
status: {phase: Running, podIPs: [{ip: 10.1.0.2}, {ip: 'fd00:1::2'}]}
---
kind: Pod
metadata: {namespace: shop, name: api, uid: api, labels: {app: api}}
spec:
  nodeName: n2
  containers:
  - {name: c, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}
status: {phase: Running, podIPs: [{ip: 10.2.0.2}, {ip: 'fd00:2::2'}]}
---
kind: Pod
metadata: {namespace: bank, name: teller, uid: teller, labels: {app: web}}
spec: {nodeName: n2, containers: [{name: c, ports: [{name: dns, containerPort: 5353, protocol: TCP}]}]}
status: {phase: Running, podIPs: [{ip: 10.2.0.3}, {ip: 'fd00:2::3'}]}
---
kind: Pod
metadata: {namespace: bank, name: probe, uid: probe, labels: {app: web}}
spec: {nodeName: n1, hostNetwork: true, containers: []}
status: {phase: Running, podIPs: [{ip: 192.0.2.1}]}
";

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n\
         metadata: {{name: {name}, uid: {name}}}\nspec: {spec}\n"
    )
}

/// An Admin policy on all pods of namespaces with team=a.
fn on_a(rules: &str) -> String {
    policy(
        "p",
        &format!(
            "{{tier: Admin, priority: 10, subject: {{namespaces: {{matchLabels: {{team: a}}}}}}, {rules}}}"
        ),
    )
}

fn with(policies: &str) -> Output {
    compiled(&format!("{WORLD}\n{policies}"))
}

fn end(name: &str) -> End<'_> {
    let (pod, address) = match name {
        "web" => (Some(name), "10.1.0.2"),
        "api" => (Some(name), "10.2.0.2"),
        "api6" => (Some("api"), "fd00:2::2"),
        "web6" => (Some("web"), "fd00:1::2"),
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

const DENY_FROM_B: &str = "ingress: [{action: Deny, from: [{namespaces: {matchLabels: {team: b}}}]}]";

#[test]
fn a_policy_isolates_nothing_and_speaks_of_directions_with_rules_only() {
    let output = with(&on_a(DENY_FROM_B));
    rows(
        &output,
        &[
            ("teller", "web", Tcp, 80, false),
            ("teller6", "web6", Udp, 1, false),
            // No implicit isolation: what no rule names passes.
            ("api", "web", Tcp, 80, true),
            ("203.0.113.9", "web", Tcp, 80, true),
            ("web", "teller", Tcp, 80, true),
        ],
    );
    let web = direction(&output, "web", true).unwrap();
    assert!(!web.isolated);
    assert_eq!(web.policies.len(), 1);
    let web = direction(&output, "web", false).unwrap();
    assert!(web.is_open(), "no egress rules: egress is not affected");
    assert!(output.problems.is_empty(), "{:?}", output.problems);
}

#[test]
fn the_subject_is_namespaces_or_pods_and_never_host_network_pods() {
    let subject = |subject: &str| {
        with(&policy(
            "p",
            &format!("{{tier: Admin, priority: 0, subject: {subject}, {DENY_FROM_B}}}"),
        ))
    };
    let bound = |output: &Output| {
        let pods = ["web", "api", "teller"];
        pods.map(|pod| !direction(output, pod, true).unwrap().is_open())
    };
    for (text, selected) in [
        ("{namespaces: {}}", [true, true, true]),
        ("{namespaces: {matchLabels: {team: a}}}", [true, true, false]),
        (
            "{namespaces: {matchLabels: {kubernetes.io/metadata.name: bank}}}",
            [false, false, true],
        ),
        (
            "{pods: {podSelector: {matchLabels: {app: web}}}}",
            [true, false, true],
        ),
        (
            "{pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {matchLabels: {app: web}}}}",
            [true, false, false],
        ),
        (
            "{pods: {namespaceSelector: {matchLabels: {team: a}}, podSelector: {}}}",
            [true, true, false],
        ),
    ] {
        let output = subject(text);
        assert_eq!(bound(&output), selected, "{text}");
        assert!(binding(&output, "probe").is_none());
        assert!(output.problems.is_empty(), "{text}: {:?}", output.problems);
    }
}

#[test]
fn rules_are_read_in_order() {
    let accept =
        "{action: Accept, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 80}}}]}";
    let deny = "{action: Deny, from: [{namespaces: {}}]}";
    let output = with(&on_a(&format!("ingress: [{accept}, {deny}]")));
    rows(
        &output,
        &[
            ("teller", "web", Tcp, 80, true),
            ("teller", "web", Tcp, 81, false),
        ],
    );
    let output = with(&on_a(&format!("ingress: [{deny}, {accept}]")));
    rows(&output, &[("teller", "web", Tcp, 80, false)]);
}

#[test]
fn lower_priorities_come_first_and_equal_ones_go_by_name() {
    let one = |name: &str, priority: i32, action: &str| {
        policy(
            name,
            &format!(
                "{{tier: Admin, priority: {priority}, subject: {{namespaces: {{}}}}, \
                 ingress: [{{action: {action}, from: [{{namespaces: {{}}}}]}}]}}"
            ),
        )
    };
    for (policies, passes) in [
        ([one("a", 20, "Deny"), one("b", 10, "Accept")], true),
        ([one("a", 9, "Deny"), one("b", 10, "Accept")], false),
        // 9 before 10, not "10" before "9".
        ([one("a", 10, "Deny"), one("b", 9, "Accept")], true),
        ([one("a", 7, "Deny"), one("b", 7, "Accept")], false),
        ([one("b", 7, "Deny"), one("a", 7, "Accept")], true),
    ] {
        let output = with(&policies.concat());
        rows(&output, &[("teller", "web", Tcp, 80, passes)]);
    }
}

const NP_ALLOWS_B: &str = "
---
kind: NetworkPolicy
metadata: {namespace: shop, name: np, uid: np}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}}]}]
";

fn tiers(admin: Option<&str>, network_policy: bool, baseline: Option<&str>) -> Output {
    let of = |name: &str, tier: &str, action: &str| {
        policy(
            name,
            &format!(
                "{{tier: {tier}, priority: 5, subject: {{namespaces: {{matchLabels: {{team: a}}}}}}, \
                 ingress: [{{action: {action}, from: [{{namespaces: {{matchLabels: {{team: b}}}}}}]}}]}}"
            ),
        )
    };
    let admin = admin
        .map(|action| of("admin", "Admin", action))
        .unwrap_or_default();
    let own = if network_policy { NP_ALLOWS_B } else { "" };
    let baseline = baseline
        .map(|action| of("base", "Baseline", action))
        .unwrap_or_default();
    with(&format!("{admin}{own}\n{baseline}"))
}

#[test]
fn tiers_are_evaluated_admin_then_network_policy_then_baseline() {
    // What reaches web (which the NetworkPolicy selects, if it is there) and api (which it never does).
    for (admin, own, baseline, web, api) in [
        (None, false, Some("Deny"), false, false),
        (None, false, Some("Accept"), true, true),
        (None, false, Some("Pass"), true, true),
        // A NetworkPolicy that selects the pod is final: the Baseline tier is not seen.
        (None, true, Some("Deny"), true, false),
        (Some("Deny"), true, Some("Accept"), false, false),
        (Some("Accept"), true, Some("Deny"), true, true),
        (Some("Pass"), true, Some("Deny"), true, false),
        (Some("Pass"), false, Some("Deny"), false, false),
        (Some("Pass"), false, None, true, true),
    ] {
        let output = tiers(admin, own, baseline);
        rows(
            &output,
            &[("teller", "web", Tcp, 80, web), ("teller", "api", Tcp, 80, api)],
        );
        // Another client: no tier but the NetworkPolicy (which does not name it) stops it.
        rows(&output, &[("203.0.113.9", "web", Tcp, 80, !own)]);
    }
}

#[test]
fn an_admin_accept_opens_what_a_network_policy_isolates() {
    let deny_all = "
---
kind: NetworkPolicy
metadata: {namespace: shop, name: np, uid: np}
spec: {podSelector: {}}
";
    let accept = on_a("ingress: [{action: Accept, from: [{namespaces: {matchLabels: {team: b}}}]}]");
    let output = with(&format!("{accept}{deny_all}"));
    rows(
        &output,
        &[("teller", "web", Tcp, 80, true), ("api", "web", Tcp, 80, false)],
    );
}

#[test]
fn a_pass_skips_the_rest_of_its_tier_also_in_later_policies() {
    let pass = policy(
        "pass",
        "{tier: Admin, priority: 1, subject: {namespaces: {}}, \
          ingress: [{action: Pass, from: [{pods: {podSelector: {matchLabels: {app: web}}}}]}, \
                    {action: Deny, from: [{namespaces: {}}]}]}",
    );
    let deny = policy(
        "deny",
        "{tier: Admin, priority: 2, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}",
    );
    let output = with(&format!("{pass}{deny}"));
    rows(
        &output,
        &[
            ("teller", "web", Tcp, 80, true),
            ("api", "web", Tcp, 80, false),
            // Not a pod: no peer matches it.
            ("203.0.113.9", "web", Tcp, 80, true),
        ],
    );
}

#[test]
fn peers_are_namespaces_pods_and_networks() {
    for (peer, teller, api, outside) in [
        ("{namespaces: {}}", false, false, true),
        ("{namespaces: {matchLabels: {team: b}}}", false, true, true),
        (
            "{pods: {podSelector: {matchLabels: {app: api}}}}",
            true,
            false,
            true,
        ),
        (
            "{pods: {namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: api}}}}",
            true,
            true,
            true,
        ),
        // Pod traffic is checked against networks as well.
        ("{networks: [0.0.0.0/0]}", false, false, false),
        ("{networks: ['::/0']}", true, true, true),
        ("{networks: [203.0.113.0/24, 10.2.0.3/32]}", false, true, false),
    ] {
        let output = with(&on_a(&format!("egress: [{{action: Deny, to: [{peer}]}}]")));
        assert!(output.problems.is_empty(), "{peer}: {:?}", output.problems);
        let expected = [("teller", teller), ("api", api), ("203.0.113.9", outside)];
        for (to, passes) in expected {
            rows(&output, &[("web", to, Tcp, 80, passes)]);
        }
    }
}

#[test]
fn host_network_pods_are_no_peers() {
    let output = with(&on_a("egress: [{action: Deny, to: [{namespaces: {}}]}]"));
    rows(
        &output,
        &[("web", "probe", Tcp, 80, true), ("web", "api", Tcp, 80, false)],
    );
}

#[test]
fn nodes_are_all_their_addresses() {
    let output = with(&on_a(
        "egress: [{action: Deny, to: [{nodes: {matchLabels: {zone: east}}}]}]",
    ));
    let set = &output.policies[&key("contiv-system", "cnp.admin.p")].spec.egress[0].peers;
    let members = member_texts(&output, &set.as_ref().unwrap()[0]);
    assert_eq!(members, ["192.0.2.1/32", "203.0.113.1/32", "fd02::1/128"]);
    rows(
        &output,
        &[
            ("web", "probe", Tcp, 80, false),
            ("web", "192.0.2.2", Tcp, 80, true),
            ("web", "api", Tcp, 80, true),
        ],
    );
    // An empty selector selects every node.
    let output = with(&on_a("egress: [{action: Deny, to: [{nodes: {}}]}]"));
    rows(&output, &[("web", "192.0.2.2", Tcp, 80, false)]);
}

#[test]
fn protocols_are_numbers_and_ranges_of_one_protocol_each() {
    let output = with(&on_a(
        "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [
            {tcp: {destinationPort: {number: 80}}},
            {udp: {destinationPort: {range: {start: 50, end: 60}}}},
            {sctp: {destinationPort: {number: 9003}}}]}]",
    ));
    rows(
        &output,
        &[
            ("teller", "web", Tcp, 80, false),
            ("teller", "web", Tcp, 81, true),
            ("teller", "web", Udp, 80, true),
            ("teller", "web", Udp, 50, false),
            ("teller", "web", Udp, 60, false),
            ("teller", "web", Udp, 61, true),
            ("teller", "web", Sctp, 9003, false),
            ("teller", "web", Sctp, 9005, true),
        ],
    );
}

#[test]
fn named_ports_are_those_of_the_destination_whatever_their_protocol() {
    let deny = |side: &str, peers: &str, name: &str| {
        with(&on_a(&format!(
            "{side}: [{{action: Deny, {peers}: [{{namespaces: {{}}}}], protocols: [{{destinationNamedPort: {name}}}]}}]"
        )))
    };
    let http = deny("ingress", "from", "http");
    rows(
        &http,
        &[
            ("teller", "web", Tcp, 80, false),
            ("teller", "web", Tcp, 8080, true),
            ("teller", "api", Tcp, 8080, false),
            ("teller", "api", Tcp, 80, true),
            // Not a subject.
            ("web", "teller", Tcp, 80, true),
        ],
    );
    // UDP 53 of api, TCP 5353 of teller.
    let dns = deny("egress", "to", "dns");
    rows(
        &dns,
        &[
            ("web", "api", Udp, 53, false),
            ("web", "api", Tcp, 53, true),
            ("web", "teller", Tcp, 5353, false),
            ("web", "teller", Udp, 53, true),
        ],
    );
    assert!(dns.problems.is_empty());
    // No selected pod has it: nothing matches, and the author hears of it.
    let none = deny("ingress", "from", "metrics");
    rows(&none, &[("teller", "web", Tcp, 80, true)]);
    assert_eq!(reasons(&none), ["NamedPortNotFound"]);
}

/// What fails closed, and why: text of a rule with `A` for its action.
const UNREADABLE: [(&str, &str, &str); 20] = [
    ("egress", "{action: A, to: [{}]}", "InvalidPeer"),
    ("egress", "{action: A, to: [{fqdns: [a.b]}]}", "InvalidPeer"),
    (
        "egress",
        "{action: A, to: [{namespaces: {}, networks: [10.0.0.0/8]}]}",
        "InvalidPeer",
    ),
    (
        "egress",
        "{action: A, to: [{networks: [10.0.0.0/8]}, {fqdns: [a.b]}]}",
        "InvalidPeer",
    ),
    ("egress", "{action: A, to: []}", "InvalidPeer"),
    ("egress", "{action: A}", "InvalidPeer"),
    (
        "egress",
        "{action: A, to: [{pods: {namespaceSelector: {}}}]}",
        "InvalidPeer",
    ),
    (
        "egress",
        "{action: A, to: [{namespaces: {matchExpressions: [{key: a, operator: Like}]}}]}",
        "InvalidSelector",
    ),
    (
        "egress",
        "{action: A, to: [{networks: [10.0.0.0]}]}",
        "InvalidCIDR",
    ),
    (
        "egress",
        "{action: A, to: [{domainNames: ['*.kubernetes.io']}]}",
        "DomainNamesNotSupported",
    ),
    (
        "egress",
        "{action: A, from: [{namespaces: {}}], to: [{namespaces: {}}]}",
        "InvalidRule",
    ),
    (
        "egress",
        "{action: A, to: [{namespaces: {}}], protocols: [{icmp: {}}]}",
        "InvalidPort",
    ),
    (
        "egress",
        "{action: A, to: [{namespaces: {}}], protocols: [{}]}",
        "InvalidPort",
    ),
    (
        "egress",
        "{action: A, to: [{namespaces: {}}], protocols: [{tcp: {}}]}",
        "InvalidPort",
    ),
    (
        "egress",
        "{action: A, to: [{namespaces: {}}], protocols: []}",
        "InvalidPort",
    ),
    (
        "egress",
        "{action: A, to: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {range: {start: 9, end: 9}}}}]}",
        "InvalidPort",
    ),
    (
        "egress",
        "{action: A, to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]}",
        "InvalidPort",
    ),
    (
        "egress",
        "{action: A, to: [{namespaces: {}}], sources: []}",
        "InvalidRule",
    ),
    // Ingress peers are namespaces and pods only.
    (
        "ingress",
        "{action: A, from: [{networks: [10.0.0.0/8]}]}",
        "InvalidPeer",
    ),
    ("ingress", "{action: A, from: [{nodes: {}}]}", "InvalidPeer"),
];

#[test]
fn a_rule_that_cannot_be_read_accepts_nothing_or_denies_everything() {
    for (side, text, reason) in UNREADABLE {
        for action in ["Accept", "Deny", "Pass", "Log"] {
            let rule = text.replace("action: A", &format!("action: {action}"));
            // An Accept is seen by what it should have let past the rule after it.
            let after = match side {
                "egress" => "{action: Deny, to: [{networks: [0.0.0.0/0]}]}",
                _ => "{action: Deny, from: [{namespaces: {}}]}",
            };
            let after = if action == "Accept" {
                format!(", {after}")
            } else {
                String::new()
            };
            let output = with(&on_a(&format!("{side}: [{rule}{after}]")));
            let (from, to) = if side == "egress" {
                ("web", "203.0.113.9")
            } else {
                ("teller", "web")
            };
            rows(&output, &[(from, to, Tcp, 80, false)]);
            let pods = if side == "egress" {
                ("web", "api")
            } else {
                ("api", "web")
            };
            rows(&output, &[(pods.0, pods.1, Udp, 1, false)]);
            let expected = if action == "Log" && reason != "InvalidRule" {
                "InvalidRule"
            } else {
                reason
            };
            assert_eq!(reasons(&output), [expected], "{rule}: {:?}", output.problems);
            let problem = output.problems.first().unwrap();
            assert_eq!(problem.object.kind, "ClusterNetworkPolicy");
            assert_eq!(problem.object.namespace, None);
        }
    }
}

#[test]
fn what_exceeds_the_bounds_fails_closed() {
    let many = |count: usize, item: &str| vec![item; count].join(", ");
    let accept = |peers: String, protocols: &str| {
        format!(
            "egress: [{{action: Accept, to: [{peers}]{protocols}}}, {{action: Deny, to: [{{networks: [0.0.0.0/0]}}]}}]"
        )
    };
    let networks = |count| format!("{{networks: [{}]}}", many(count, "203.0.113.0/24"));
    let protocols = |count| {
        format!(
            ", protocols: [{}]",
            many(count, "{tcp: {destinationPort: {number: 80}}}")
        )
    };
    let peer = "{networks: [203.0.113.0/24]}";
    for (rules, passes) in [
        (accept(many(25, peer), ""), true),
        (accept(many(26, peer), ""), false),
        (accept(networks(25), ""), true),
        (accept(networks(26), ""), false),
        (accept(peer.into(), &protocols(25)), true),
        (accept(peer.into(), &protocols(26)), false),
        // The 26th rule would have accepted; the 26th Deny denies everything.
        (
            format!(
                "egress: [{}]",
                many(25, "{action: Deny, to: [{networks: [192.0.2.0/24]}]}")
            ),
            true,
        ),
        (
            format!(
                "egress: [{}]",
                many(26, "{action: Deny, to: [{networks: [192.0.2.0/24]}]}")
            ),
            false,
        ),
    ] {
        let output = with(&on_a(&rules));
        rows(&output, &[("web", "203.0.113.9", Tcp, 80, passes)]);
        assert_eq!(output.problems.is_empty(), passes, "{rules}");
    }
}

#[test]
fn a_policy_in_doubt_denies_as_wide_as_it_may_be_meant() {
    let rules = "ingress: [{action: Accept, from: [{pods: {podSelector: {matchLabels: {app: api}}}}]}, \
                           {action: Pass, from: [{namespaces: {matchLabels: {team: b}}}]}, \
                           {action: Deny, from: [{namespaces: {matchLabels: {team: a}}}]}]";
    for (head, reason) in [
        (
            "tier: Amin, priority: 1, subject: {namespaces: {matchLabels: {team: a}}}",
            "InvalidTier",
        ),
        (
            "tier: NetworkPolicy, priority: 1, subject: {namespaces: {matchLabels: {team: a}}}",
            "InvalidTier",
        ),
        (
            "tier: Baseline, priority: 1001, subject: {namespaces: {matchLabels: {team: a}}}",
            "InvalidPriority",
        ),
        (
            "tier: Baseline, priority: -1, subject: {namespaces: {matchLabels: {team: a}}}",
            "InvalidPriority",
        ),
        (
            "tier: Baseline, subject: {namespaces: {matchLabels: {team: a}}}",
            "InvalidPriority",
        ),
        ("tier: Admin, priority: 1, subject: {}", "InvalidSubject"),
        (
            "tier: Admin, priority: 1, subject: {namespaces: {}, pods: {podSelector: {}}}",
            "InvalidSubject",
        ),
        ("tier: Admin, priority: 1", "InvalidSubject"),
        (
            "tier: Admin, priority: 1, subject: {namespaces: {matchExpressions: [{key: a, operator: Like}]}}",
            "InvalidSelector",
        ),
        (
            "tier: Admin, priority: 1, subject: {namespaces: {}}, nodeSelector: {}",
            "UnknownField",
        ),
    ] {
        let output = with(&policy("p", &format!("{{{head}, {rules}}}")));
        assert_eq!(reasons(&output), [reason], "{head}");
        rows(
            &output,
            &[
                ("api", "web", Tcp, 80, false),
                ("teller", "web", Tcp, 80, false),
                ("203.0.113.9", "web", Tcp, 80, true),
            ],
        );
    }
}

#[test]
fn a_pod_of_a_namespace_not_seen_yet_is_closed_while_there_are_policies() {
    let stray = "
---
kind: Pod
metadata: {namespace: new, name: stray, uid: stray}
spec: {nodeName: n1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.1.0.9}]}
";
    let output = with(stray);
    assert!(direction(&output, "stray", true).unwrap().is_open());
    let output = with(&format!("{stray}\n{}", on_a(DENY_FROM_B)));
    for ingress in [true, false] {
        let stray = direction(&output, "stray", ingress).unwrap();
        assert!(stray.isolated && stray.policies.is_empty());
    }
}

#[test]
fn compiled_policies_carry_tier_priority_actions_and_owner() {
    let output = with(&on_a(
        "ingress: [{action: Accept, from: [{namespaces: {}}]}, {action: Pass, from: [{namespaces: {}}]}]",
    ));
    let compiled = &output.policies[&key("contiv-system", "cnp.admin.p")];
    assert_eq!(
        (compiled.spec.tier, compiled.spec.priority),
        (PolicyTier::Admin, 10)
    );
    let actions: Vec<PolicyAction> = compiled.spec.ingress.iter().map(|rule| rule.action).collect();
    assert_eq!(actions, [PolicyAction::Accept, PolicyAction::Pass]);
    let owner = compiled.owner.as_ref().unwrap();
    assert_eq!(
        (
            owner.api_version,
            owner.kind,
            owner.name.as_str(),
            owner.uid.as_str()
        ),
        (
            "policy.networking.k8s.io/v1alpha2",
            "ClusterNetworkPolicy",
            "p",
            "p"
        )
    );
}

#[test]
fn no_network_policy_takes_the_place_of_a_cluster_network_policy() {
    let thief = "
---
kind: NetworkPolicy
metadata: {namespace: contiv-system, name: cnp.admin.p, uid: thief}
spec: {podSelector: {}, ingress: [{}]}
---
kind: Namespace
metadata: {name: contiv-system}
---
kind: Pod
metadata: {namespace: contiv-system, name: sys, uid: sys}
spec: {nodeName: n1, containers: []}
status: {phase: Running, podIPs: [{ip: 10.1.0.7}]}
";
    let output = with(&format!("{}{thief}", on_a(DENY_FROM_B)));
    rows(&output, &[("teller", "web", Tcp, 80, false)]);
    assert_eq!(reasons(&output), ["ReservedName"]);
    let sys = direction(&output, "sys", true).unwrap();
    assert!(
        sys.isolated && sys.policies.is_empty(),
        "isolated, accepting nothing"
    );
    // Alone it is no less closed, and is not there in place of a policy that may come.
    let output = with(thief);
    assert!(!output.policies.contains_key(&key("contiv-system", "cnp.admin.p")));
}

#[test]
fn names_of_policies_differ_and_tell_their_tier() {
    let long = "x".repeat(253);
    let names = [
        cluster_policy_name(PolicyTier::Admin, "a"),
        cluster_policy_name(PolicyTier::Baseline, "a"),
        cluster_policy_name(PolicyTier::Admin, "baseline.a"),
        cluster_policy_name(PolicyTier::Admin, &long),
        cluster_policy_name(PolicyTier::Baseline, &long),
        cluster_policy_name(PolicyTier::Admin, &long[1..]),
    ];
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
    assert!(names.iter().all(|name| name.len() <= 253));
    use PolicyTier::{Admin, Baseline};
    let tiers = names.each_ref().map(|name| PolicyTier::of_cluster_policy(name));
    assert_eq!(
        tiers,
        [Admin, Baseline, Admin, Admin, Baseline, Admin].map(Some),
        "{names:?}"
    );
    assert_eq!(PolicyTier::of_cluster_policy("cn.admin.a"), None);
}

#[test]
fn more_policies_than_fit_close_the_direction() {
    let deny = |name: String, tier: &str| {
        policy(
            &name,
            &format!(
                "{{tier: {tier}, priority: 5, subject: {{pods: {{podSelector: {{matchLabels: {{app: api}}}}}}}}, \
                 ingress: [{{action: Accept, from: [{{namespaces: {{}}}}]}}]}}"
            ),
        )
    };
    for tier in ["Admin", "Baseline"] {
        let many: String = (0..1025).map(|n| deny(format!("p{n:04}"), tier)).collect();
        let output = with(&many);
        let api = direction(&output, "api", true).unwrap();
        assert!(api.isolated, "{tier}");
        assert_eq!(api.policies.len(), if tier == "Admin" { 1024 } else { 0 });
        assert_eq!(reasons(&output), ["TooManyPolicies"]);
        rows(&output, &[("203.0.113.9", "api", Tcp, 80, false)]);
    }
}

#[test]
fn the_order_of_arrival_has_no_meaning() {
    let first = on_a(DENY_FROM_B);
    let second = policy(
        "q",
        "{tier: Baseline, priority: 3, subject: {namespaces: {}}, egress: [{action: Deny, to: [{nodes: {}}]}]}",
    );
    let there = cluster(&format!("{WORLD}\n{first}{second}"));
    let back = cluster(&format!("{second}{first}---{WORLD}"));
    let settings = Settings::default();
    assert_eq!(compile(&there, &settings), compile(&back, &settings));
}
