//! ServiceChains and CNFs: verdicts, paths, and what each node does.

mod common;

use std::collections::BTreeSet;

use common::{binding, cluster, compiled, key, member_texts, reasons, steers};
use compiler::{ChainVerdict, Output, Settings, Traffic, compile};
use crds::cnf::{Forwarding, InterfaceRole};
use crds::vpp_config::ChainDirection::{Forward, Reverse};
use crds::vpp_config::{ChainDirection, ChainSteer, SteerPoint, SteerTarget};

const NODES: &str = "
kind: Node
metadata: {name: n1, uid: n1}
spec: {podCIDRs: [10.1.0.0/24]}
---
kind: Node
metadata: {name: n2, uid: n2}
spec: {podCIDRs: [10.2.0.0/24]}
---
kind: Namespace
metadata: {name: shop}
";

fn pod(name: &str, labels: &str, node: &str, ip: &str) -> String {
    format!(
        "---\nkind: Pod\nmetadata: {{namespace: shop, name: {name}, uid: {name}-uid, labels: {labels}}}\nspec: {{nodeName: {node}, containers: []}}\nstatus: {{phase: Running, podIPs: [{{ip: {ip}}}], conditions: [{{type: Ready, status: 'True'}}]}}\n"
    )
}

fn cnf(name: &str) -> String {
    cnf_with(name, "interfaces: [{name: in, role: In}, {name: out, role: Out}]")
}

fn cnf_with(name: &str, rest: &str) -> String {
    format!(
        "---\nkind: CNF\napiVersion: contivpp.io/v1alpha1\nmetadata: {{namespace: shop, name: {name}, uid: {name}-cnf, generation: 2}}\nspec: {{podSelector: {{matchLabels: {{cnf: {name}}}}}, {rest}}}\n"
    )
}

const FROM_TO: &str = "classifier: {from: {podSelector: {matchLabels: {app: client}}}, to: {podSelector: {matchLabels: {app: server}}}}";

fn chain(name: &str, functions: &[&str], rest: &str) -> String {
    let functions: Vec<String> = functions
        .iter()
        .map(|f| format!("{{name: {f}, cnf: {f}}}"))
        .collect();
    format!(
        "---\nkind: ServiceChain\napiVersion: contivpp.io/v1alpha1\nmetadata: {{namespace: shop, name: {name}, uid: {name}-chain, generation: 3}}\nspec: {{functions: [{}], {rest}}}\n",
        functions.join(", ")
    )
}

/// A client on n1 and a server on n2.
fn ends() -> String {
    pod("client", "{app: client}", "n1", "10.1.0.10") + &pod("server", "{app: server}", "n2", "10.2.0.10")
}

fn verdict<'o>(output: &'o Output, name: &str) -> &'o ChainVerdict {
    &output.chains[&key("shop", name)]
}

/// A steer in one line: `node direction hop: at → to`.
fn line(output: &Output, node: &str, steer: &ChainSteer) -> String {
    let at = match &steer.at {
        SteerPoint::Pods(places) => {
            let pods = &output.configs[node].spec.pods;
            let uids = places.iter().map(|place| pods[usize::from(*place)].uid.as_str());
            format!("pods {}", uids.collect::<Vec<_>>().join("+"))
        }
        SteerPoint::Function { uid, interface } => format!("{uid}.{interface}"),
        SteerPoint::Tunnel { node, .. } => format!("tunnel from {node}"),
    };
    let to = match &steer.to {
        SteerTarget::Function { uid, interface } => format!("{uid}.{interface}"),
        SteerTarget::Tunnel { node, .. } => format!("tunnel to {node}"),
        SteerTarget::Drop {} => "drop".to_owned(),
    };
    let direction = match steer.direction {
        Forward => "forward",
        Reverse => "reverse",
    };
    let some = if steer.match_.is_some() { " (some)" } else { "" };
    format!("{node} {direction} {}: {at}{some} → {to}", steer.hop)
}

fn lines(output: &Output) -> Vec<String> {
    let steers = steers(output).into_iter();
    steers.map(|(node, steer)| line(output, node, steer)).collect()
}

#[test]
fn one_function_on_the_servers_node() {
    let yaml = NODES.to_owned()
        + &ends()
        + &pod("fw-0", "{cnf: fw}", "n2", "10.2.0.20")
        + &cnf("fw")
        + &chain("c", &["fw"], FROM_TO);
    let output = compiled(&yaml);
    assert_eq!(
        lines(&output),
        [
            "n1 forward 0: pods client-uid (some) → tunnel to n2",
            "n2 forward 0: tunnel from n1 → fw-0-uid.in",
            "n2 reverse 0: pods server-uid (some) → fw-0-uid.out",
        ]
    );
    let verdict = verdict(&output, "c");
    assert!(verdict.accepted.ok && verdict.resolved.ok);
    assert_eq!(verdict.traffic, Traffic::Steered);
    assert_eq!(verdict.path_summary, "fw@n2");
    assert_eq!(verdict.path[0].pod, "fw-0");
    assert_eq!(verdict.generation, Some(3));
    let nodes: Vec<&str> = verdict.nodes.iter().map(String::as_str).collect();
    assert_eq!(nodes, ["n1", "n2"]);
    assert!(output.problems.is_empty(), "{:?}", output.problems);
}

#[test]
fn two_functions_across_two_nodes_and_back() {
    let yaml = NODES.to_owned()
        + &ends()
        + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20")
        + &pod("ids-0", "{cnf: ids}", "n2", "10.2.0.20")
        + &cnf("fw")
        + &cnf("ids")
        + &chain("c", &["fw", "ids"], FROM_TO);
    let output = compiled(&yaml);
    assert_eq!(
        lines(&output),
        [
            "n1 forward 0: pods client-uid (some) → fw-0-uid.in",
            "n1 forward 1: fw-0-uid.out → tunnel to n2",
            "n1 reverse 1: tunnel from n2 → fw-0-uid.out",
            "n2 reverse 0: pods server-uid (some) → ids-0-uid.out",
            "n2 forward 1: tunnel from n1 → ids-0-uid.in",
            "n2 reverse 1: ids-0-uid.in → tunnel to n1",
        ]
    );
    assert_eq!(verdict(&output, "c").path_summary, "fw@n1 → ids@n2");
}

#[test]
fn both_ends_of_a_tunnel_name_one_identifier_and_hops_differ() {
    let yaml = NODES.to_owned()
        + &ends()
        + &pod("fw-0", "{cnf: fw}", "n2", "10.2.0.20")
        + &pod("ids-0", "{cnf: ids}", "n1", "10.1.0.20")
        + &cnf("fw")
        + &cnf("ids")
        + &chain("c", &["fw", "ids"], FROM_TO);
    let output = compiled(&yaml);
    let mut out: Vec<(String, String, u32, ChainDirection)> = Vec::new();
    let mut back = Vec::new();
    for (node, steer) in steers(&output) {
        if let SteerTarget::Tunnel { node: to, vni } = &steer.to {
            out.push((node.to_owned(), to.clone(), *vni, steer.direction));
        }
        if let SteerPoint::Tunnel { node: from, vni } = &steer.at {
            back.push((from.clone(), node.to_owned(), *vni, steer.direction));
        }
    }
    out.sort();
    back.sort();
    // Forward n1 → n2 → n1, reverse n2 → n1 → n2.
    assert_eq!(out.len(), 4);
    assert_eq!(out, back);
    let vnis: BTreeSet<u32> = out.iter().map(|(_, _, vni, _)| *vni).collect();
    assert_eq!(vnis.len(), 4);
    assert!(vnis.iter().all(|vni| vni % 2 == 0 && *vni >= 0x80_0000));
}

#[test]
fn asymmetric_chains_have_no_way_back_and_prefixes_are_destinations() {
    let spec = "classifier: {from: {podSelector: {matchLabels: {app: client}}}, to: {cidrs: [203.0.113.0/25, 203.0.113.128/25, '2001:db8::/32']}, ports: [{protocol: TCP, port: 443}]}, symmetric: false";
    let yaml = NODES.to_owned()
        + &ends()
        + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20")
        + &cnf("fw")
        + &chain("c", &["fw"], spec);
    let output = compiled(&yaml);
    assert_eq!(
        lines(&output),
        ["n1 forward 0: pods client-uid (some) → fw-0-uid.in"]
    );
    let all = steers(&output);
    let matched = all[0].1.match_.as_ref().unwrap();
    assert_eq!(
        member_texts(&output, &matched.destinations),
        ["203.0.113.0/24", "2001:db8::/32"]
    );
    assert_eq!(matched.ports[0].port, Some(443));
    assert!(!matched.source_ports);
}

#[test]
fn replies_match_the_other_end_and_source_ports() {
    let spec = FROM_TO.replace(
        "{app: server}}}}",
        "{app: server}}}, ports: [{protocol: TCP, port: 80}]}",
    );
    let yaml = NODES.to_owned()
        + &ends()
        + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20")
        + &cnf("fw")
        + &chain("c", &["fw"], &spec);
    let output = compiled(&yaml);
    for (_, steer) in steers(&output) {
        let Some(matched) = &steer.match_ else { continue };
        let reverse = steer.direction == Reverse;
        assert_eq!(matched.source_ports, reverse);
        let members = member_texts(&output, &matched.destinations);
        let expected = if reverse { "10.1.0.10/32" } else { "10.2.0.10/32" };
        assert_eq!(members, [expected]);
    }
}

#[test]
fn a_single_interface_gives_back_both_directions_by_destination() {
    let inout = "interfaces: [{name: io, role: InOut}]";
    let yaml = NODES.to_owned()
        + &ends()
        + &pod("a-0", "{cnf: a}", "n1", "10.1.0.20")
        + &pod("b-0", "{cnf: b}", "n1", "10.1.0.21")
        + &cnf_with("a", inout)
        + &cnf_with("b", inout)
        + &chain("c", &["a", "b"], FROM_TO);
    let output = compiled(&yaml);
    assert_eq!(
        lines(&output),
        [
            "n1 forward 0: pods client-uid (some) → a-0-uid.io",
            "n1 reverse 0: tunnel from n2 → b-0-uid.io",
            "n1 forward 1: a-0-uid.io (some) → b-0-uid.io",
            "n1 reverse 1: b-0-uid.io (some) → a-0-uid.io",
            "n2 reverse 0: pods server-uid (some) → tunnel to n1",
        ]
    );
}

#[test]
fn pods_in_both_ends_never_match_both_directions() {
    // peer is client and server at once.
    let spec =
        "classifier: {from: {podSelector: {matchLabels: {c: x}}}, to: {podSelector: {matchLabels: {s: x}}}}";
    let yaml = NODES.to_owned()
        + &pod("client", "{c: x}", "n1", "10.1.0.1")
        + &pod("both", "{c: x, s: x}", "n1", "10.1.0.2")
        + &pod("server", "{s: x}", "n1", "10.1.0.3")
        + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20")
        + &cnf("fw")
        + &chain("c", &["fw"], spec);
    let output = compiled(&yaml);
    let mut forward = Vec::new();
    let mut reverse = Vec::new();
    for (_, steer) in steers(&output) {
        let members = member_texts(&output, &steer.match_.as_ref().unwrap().destinations);
        match steer.direction {
            Forward => forward = members,
            Reverse => reverse = members,
        }
    }
    assert_eq!(forward, ["10.1.0.2/32", "10.1.0.3/32"]);
    assert_eq!(reverse, ["10.1.0.1/32"]);
}

#[test]
fn a_chains_own_functions_are_no_ends_of_it() {
    let spec = "classifier: {from: {podSelector: {}}, to: {podSelector: {}, namespaceSelector: {}}}, symmetric: false";
    let yaml = NODES.to_owned()
        + &ends()
        + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20")
        + &cnf("fw")
        + &chain("c", &["fw"], spec);
    let output = compiled(&yaml);
    assert_eq!(
        lines(&output),
        [
            "n1 forward 0: pods client-uid (some) → fw-0-uid.in",
            "n1 forward 0: tunnel from n2 → fw-0-uid.in",
            "n2 forward 0: pods server-uid (some) → tunnel to n1",
        ]
    );
    let all = steers(&output);
    let set = &all[0].1.match_.as_ref().unwrap().destinations;
    assert_eq!(member_texts(&output, set), ["10.1.0.10/32", "10.2.0.10/32"]);
}

#[test]
fn the_nearest_ready_pod_is_chosen() {
    let world = |rest: &str| {
        let yaml = NODES.to_owned() + &ends() + rest + &cnf("fw") + &cnf("ids");
        verdict(&compiled(&(yaml + &chain("c", &["fw", "ids"], FROM_TO))), "c")
            .path_summary
            .clone()
    };
    let fw = |n: u8, node| pod(&format!("fw-{n}"), "{cnf: fw}", node, &format!("10.9.0.{n}"));
    let ids = |n: u8, node| pod(&format!("ids-{n}"), "{cnf: ids}", node, &format!("10.9.1.{n}"));
    // The first where traffic enters, the second beside the first.
    let four = fw(0, "n2") + &fw(1, "n1") + &ids(0, "n2") + &ids(1, "n1");
    assert_eq!(world(&four), "fw@n1 → ids@n1");
    assert_eq!(
        world(&(fw(0, "n2") + &ids(0, "n1") + &ids(1, "n2"))),
        "fw@n2 → ids@n2"
    );
    // Not ready, going, on an unknown node: not chosen.
    let unready = fw(0, "n1").replace("'True'", "'False'");
    assert_eq!(world(&(unready + &fw(1, "n2") + &ids(0, "n2"))), "fw@n2 → ids@n2");
    let going = fw(0, "n1").replace(
        "uid: fw-0-uid",
        "uid: fw-0-uid, deletionTimestamp: '2026-01-01T00:00:00Z'",
    );
    assert_eq!(world(&(going + &fw(1, "n2") + &ids(0, "n2"))), "fw@n2 → ids@n2");
    assert_eq!(
        world(&(fw(0, "n9") + &fw(1, "n2") + &ids(0, "n2"))),
        "fw@n2 → ids@n2"
    );
}

#[test]
fn an_incomplete_chain_drops_or_is_passed_by() {
    let base = NODES.to_owned() + &ends();
    let missing = "CNFNotFound";
    let no_pods = "NoReadyPods";
    for (cnfs, reason) in [(String::new(), missing), (cnf("fw"), no_pods)] {
        let output = compiled(&(base.clone() + &cnfs + &chain("c", &["fw"], FROM_TO)));
        assert_eq!(
            lines(&output),
            [
                "n1 forward 0: pods client-uid (some) → drop",
                "n2 reverse 0: pods server-uid (some) → drop",
            ]
        );
        let verdict = verdict(&output, "c");
        assert!(verdict.accepted.ok);
        assert_eq!((verdict.resolved.ok, verdict.resolved.reason), (false, reason));
        assert_eq!(verdict.traffic, Traffic::Dropped);
        assert!(verdict.path.is_empty() && verdict.path_summary.is_empty());
        assert!(reasons(&output).contains(&reason));

        let bypass = format!("{FROM_TO}, onFailure: Bypass");
        let output = compiled(&(base.clone() + &cnfs + &chain("c", &["fw"], &bypass)));
        assert!(lines(&output).is_empty());
        assert_eq!(output.chains[&key("shop", "c")].traffic, Traffic::Bypassed);
    }
}

#[test]
fn a_suspended_chain_does_nothing_and_keeps_its_functions() {
    let yaml = NODES.to_owned() + &ends() + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20") + &cnf("fw");
    let suspended = format!("{FROM_TO}, suspend: true");
    let output = compiled(&(yaml + &chain("a", &["fw"], &suspended) + &chain("b", &["fw"], FROM_TO)));
    let a = verdict(&output, "a");
    assert_eq!(a.traffic, Traffic::Suspended);
    assert!(a.accepted.ok && a.resolved.ok && a.nodes.is_empty() && a.path.is_empty());
    assert_eq!(verdict(&output, "b").accepted.reason, "CNFInUse");
}

#[test]
fn of_two_chains_the_older_has_the_function() {
    let yaml = NODES.to_owned() + &ends() + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20") + &cnf("fw");
    let aged = |name: &str, year: u32| {
        let at = format!("{name}-chain, creationTimestamp: '{year}-01-01T00:00:00Z'");
        chain(name, &["fw"], FROM_TO).replace(&format!("{name}-chain"), &at)
    };
    let output = compiled(&(yaml.clone() + &aged("a", 2026) + &aged("b", 2025)));
    assert!(verdict(&output, "b").accepted.ok);
    let a = verdict(&output, "a");
    assert_eq!((a.accepted.ok, a.accepted.reason), (false, "CNFInUse"));
    assert!(a.accepted.message.contains("chain b"), "{}", a.accepted.message);
    // What was to pass a function does not pass around it.
    assert_eq!(a.traffic, Traffic::Dropped);
    assert_eq!(reasons(&output), ["CNFInUse"]);

    let output = compiled(&(yaml + &aged("a", 2025) + &aged("b", 2025)));
    assert!(verdict(&output, "a").accepted.ok, "by name within one second");
}

#[test]
fn a_refused_chain_takes_no_function_from_another() {
    let spec = FROM_TO.replace(
        "matchLabels: {app: client}",
        "matchExpressions: [{key: app, operator: Is}]",
    );
    let yaml = NODES.to_owned()
        + &ends()
        + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20")
        + &cnf("fw")
        + &chain("a", &["fw"], &spec)
        + &chain("b", &["fw"], FROM_TO);
    let output = compiled(&yaml);
    let a = verdict(&output, "a");
    assert_eq!((a.accepted.ok, a.accepted.reason), (false, "InvalidSelector"));
    assert!(
        a.accepted.message.contains("spec.classifier.from.podSelector"),
        "{}",
        a.accepted.message
    );
    assert_eq!(
        a.traffic,
        Traffic::Bypassed,
        "which traffic is meant can't be told"
    );
    assert!(!a.resolved.ok);
    assert!(verdict(&output, "b").resolved.ok);
}

#[test]
fn what_a_chain_may_not_say() {
    let functions = |list: &str| format!("{FROM_TO}, functions: {list}");
    let to = |to: &str| {
        format!("classifier: {{from: {{podSelector: {{}}}}, to: {to}}}, functions: [{{name: f, cnf: f}}]")
    };
    for (spec, reason) in [
        (functions("[]"), "NoFunctions"),
        (
            functions("[{name: f, cnf: a}, {name: f, cnf: b}]"),
            "DuplicateFunction",
        ),
        (
            functions("[{name: f, cnf: a}, {name: g, cnf: a}]"),
            "DuplicateCNF",
        ),
        (to("{}"), "InvalidClassifier"),
        (to("{namespaceSelector: {}}"), "InvalidClassifier"),
        (
            to("{podSelector: {}, cidrs: [203.0.113.0/24]}"),
            "InvalidClassifier",
        ),
        (to("{cidrs: [203.0.113.0/24]}"), "SymmetricNeedsPods"),
        (
            to("{podSelector: {}}, ports: [{protocol: TCP, endPort: 80}]"),
            "InvalidClassifier",
        ),
        (
            to("{podSelector: {}}, ports: [{protocol: TCP, port: 80, endPort: 79}]"),
            "InvalidClassifier",
        ),
    ] {
        let yaml = format!(
            "{NODES}---\nkind: ServiceChain\napiVersion: contivpp.io/v1alpha1\nmetadata: {{namespace: shop, name: c, uid: c}}\nspec: {{{spec}}}\n"
        );
        let output = compiled(&yaml);
        let verdict = verdict(&output, "c");
        assert_eq!(
            (verdict.accepted.ok, verdict.accepted.reason),
            (false, reason),
            "{spec}"
        );
        assert_eq!(reasons(&output), [reason], "{spec}");
    }
}

#[test]
fn what_a_cnf_may_not_say() {
    for (rest, reason) in [
        ("interfaces: []", "InvalidInterfaces"),
        ("interfaces: [{name: a, role: In}]", "InvalidInterfaces"),
        (
            "interfaces: [{name: a, role: In}, {name: b, role: In}]",
            "InvalidInterfaces",
        ),
        (
            "interfaces: [{name: a, role: In}, {name: a, role: Out}]",
            "InvalidInterfaces",
        ),
        (
            "interfaces: [{name: a, role: In}, {name: b, role: InOut}]",
            "InvalidInterfaces",
        ),
        ("interfaces: [{name: eth0, role: InOut}]", "InvalidInterfaces"),
        (
            "interfaces: [{name: m, role: InOut, type: Memif}]",
            "MemifNeedsApplication",
        ),
    ] {
        let yaml = NODES.to_owned() + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20") + &cnf_with("fw", rest);
        let output = compiled(&(yaml + &ends() + &chain("c", &["fw"], FROM_TO)));
        let cnf = &output.cnfs[&key("shop", "fw")];
        assert_eq!((cnf.accepted.ok, cnf.accepted.reason), (false, reason), "{rest}");
        assert_eq!(verdict(&output, "c").resolved.reason, "CNFNotAccepted");
        assert!(binding(&output, "fw-0").unwrap().interfaces.is_empty());
    }
    let memif = "interfaces: [{name: m, role: InOut, type: Memif}], forwarding: Application";
    let output = compiled(&(NODES.to_owned() + &cnf_with("fw", memif)));
    assert!(output.cnfs[&key("shop", "fw")].accepted.ok);
}

#[test]
fn function_pods_get_their_interfaces_and_the_cnf_its_counts() {
    let unready = pod("fw-1", "{cnf: fw}", "n2", "10.2.0.21").replace("'True'", "'False'");
    let host = pod("fw-2", "{cnf: fw}", "n2", "192.0.2.2")
        .replace("nodeName: n2", "nodeName: n2, hostNetwork: true");
    let yaml = NODES.to_owned()
        + &pod("fw-0", "{cnf: fw}", "n1", "10.1.0.20")
        + &unready
        + &host
        + &cnf_with(
            "fw",
            "interfaces: [{name: in, role: In}, {name: out, role: Out}], forwarding: Application",
        );
    let output = compiled(&yaml);
    let fw = binding(&output, "fw-0").unwrap();
    let interfaces: Vec<_> = fw.interfaces.iter().map(|i| (i.name.as_str(), i.role)).collect();
    assert_eq!(
        interfaces,
        [("in", InterfaceRole::In), ("out", InterfaceRole::Out)]
    );
    assert_eq!(fw.forwarding, Forwarding::Application);
    let cnf = &output.cnfs[&key("shop", "fw")];
    assert_eq!((cnf.pods, cnf.ready_pods, cnf.generation), (2, 1, Some(2)));
    assert!(cnf.resolved.ok);
    assert_eq!(reasons(&output), ["HostNetworkPod"]);
}

#[test]
fn a_pod_is_an_instance_of_one_cnf_only() {
    let yaml = NODES.to_owned()
        + &pod("fw-0", "{cnf: fw, also: y}", "n1", "10.1.0.20")
        + &cnf("fw")
        + &cnf_with("other", "interfaces: [{name: x, role: InOut}]").replace("{cnf: other}", "{also: y}");
    let output = compiled(&yaml);
    assert_eq!(binding(&output, "fw-0").unwrap().interfaces.len(), 2);
    assert_eq!(output.cnfs[&key("shop", "other")].pods, 0);
    assert_eq!(reasons(&output), ["PodOfAnotherCNF"]);
}

#[test]
fn a_node_never_gets_more_steers_than_its_configuration_may_hold() {
    // Each chain needs two steers on n1: entry and, for the replies, entry again.
    let mut yaml = NODES.to_owned()
        + &pod("client", "{app: client}", "n1", "10.1.0.10")
        + &pod("server", "{app: server}", "n1", "10.1.0.11");
    for n in 0..130 {
        let name = format!("f{n:03}");
        yaml += &pod(&name, &format!("{{cnf: {name}}}"), "n1", &format!("10.3.0.{n}"));
        yaml += &cnf(&name);
        yaml += &chain(&name, &[&name], FROM_TO);
    }
    let output = compile(&cluster(&yaml), &Settings::default());
    assert_eq!(output.configs["n1"].spec.chains.len(), 256);
    let full = output.chains.values().filter(|v| v.resolved.reason == "NodeFull");
    assert_eq!(full.count(), 2);
    assert!(reasons(&output).contains(&"NodeFull"));
}

#[test]
fn order_of_arrival_leaves_no_trace() {
    let mut manifests = vec![
        NODES.to_owned(),
        pod("client", "{app: client}", "n1", "10.1.0.10"),
        pod("server", "{app: server}", "n2", "10.2.0.10"),
        pod("fw-0", "{cnf: fw}", "n2", "10.2.0.20"),
        pod("fw-1", "{cnf: fw}", "n2", "10.2.0.21"),
        pod("ids-0", "{cnf: ids, also: y}", "n1", "10.1.0.20"),
        cnf("fw"),
        cnf("ids"),
        cnf_with("other", "interfaces: [{name: x, role: InOut}]").replace("{cnf: other}", "{also: y}"),
        chain("a", &["fw", "ids"], FROM_TO),
        chain("b", &["fw"], FROM_TO),
        chain("c", &["other"], FROM_TO),
    ];
    let once = compiled(&manifests.concat());
    manifests[1..].reverse();
    assert_eq!(once, compiled(&manifests.concat()));
    manifests[1..].rotate_left(5);
    assert_eq!(once, compiled(&manifests.concat()));
}
