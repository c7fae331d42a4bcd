//! Lists of ACLs, walked first match first, against a literal reading of the tiers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crds::net::{PortMatch, Protocol};
use crds::policy::{PolicyAction, PolicyRule, PolicyTier, cluster_policy_name};
use crds::vpp_config::{DirectionBinding, PodBinding, PolicyRef};
use crds::{SetRef, VppPolicySpec};
use proptest::prelude::*;

use super::super::tests::World;
use super::super::{Desired, Origin};
use super::*;
use crate::objects::{AclLists, Link};

const OWN: [&str; 2] = ["10.1.1.7", "fd00:1:1::7"];
const NODE: [&str; 2] = ["192.168.0.1", "fd02::1"];
const PEERS: [&str; 7] = [
    "10.9.0.1",
    "10.9.0.2",
    "10.9.1.1",
    "203.0.113.9",
    "fd00:9::1",
    "fd00:9::2",
    "2001:db8::9",
];

/// TCP flags of a connection's first packet.
const SYN: u8 = 0x02;

/// Sets of the world, by name.
fn sets() -> [(&'static str, Vec<&'static str>); 7] {
    [
        ("one", vec!["10.9.0.1/32", "fd00:9::1/128"]),
        ("near", vec!["10.9.0.0/24", "fd00:9::/112"]),
        ("far", vec!["203.0.113.0/24"]),
        ("all", vec!["0.0.0.0/0", "::/0"]),
        ("none", vec![]),
        ("own", vec!["10.1.1.7/32", "fd00:1:1::7/128"]),
        ("node", vec!["192.168.0.1/32", "fd02::1/128"]),
    ]
}

fn set(name: &str) -> SetRef {
    SetRef {
        namespace: "default".into(),
        name: name.into(),
    }
}

/// A connection's first packet.
#[derive(Clone, Copy, Debug)]
struct Packet {
    ingress: bool,
    peer: IpAddr,
    own: IpAddr,
    protocol: u8,
    port: u16,
}

fn packets(ingress: bool) -> Vec<Packet> {
    let mut packets = Vec::new();
    for peer in PEERS.iter().chain(&NODE) {
        let peer: IpAddr = peer.parse().unwrap();
        let own: IpAddr = OWN[usize::from(peer.is_ipv6())].parse().unwrap();
        for protocol in [6, 17, 132, if peer.is_ipv6() { 58 } else { 1 }] {
            for port in [1, 80, 81, 90, 40_000] {
                packets.push(Packet {
                    ingress,
                    peer,
                    own,
                    protocol,
                    port,
                });
            }
        }
    }
    packets
}

/// What VPP does: the rules of the listed ACLs, first match first; nothing matched means drop.
fn walk(out: &Desired, lists: &AclLists, packet: &Packet) -> (bool, String, usize) {
    let list = if packet.ingress {
        &lists.output
    } else {
        &lists.input
    };
    let (source, destination) = match packet.ingress {
        true => (packet.peer, packet.own),
        false => (packet.own, packet.peer),
    };
    // In the place of the source port VPP has the type of ICMP: echo requests here.
    let source_port = match packet.protocol {
        1 => 8,
        58 => 128,
        _ => 50_000,
    };
    for tag in list {
        let Some(Object::Acl(rules)) = out.objects.get(&Key::Acl(tag.clone())) else {
            panic!("{tag} is listed and not there");
        };
        let found = rules.iter().position(|rule| {
            let (first, last) = rule.destination_ports;
            let (source_first, source_last) = rule.source_ports;
            rule.source.contains(source)
                && rule.destination.contains(destination)
                && (source_first..=source_last).contains(&source_port)
                && (packet.protocol != 6 || SYN & rule.tcp_flags.mask == rule.tcp_flags.value)
                && (rule.protocol == 0
                    || rule.protocol == packet.protocol && (first..=last).contains(&packet.port))
        });
        if let Some(index) = found {
            return (rules[index].action != Action::Deny, tag.clone(), index);
        }
    }
    (false, String::new(), 0)
}

/// The tiers as the API's text has them, and nothing else.
fn allowed(world: &World, binding: &DirectionBinding, packet: &Packet) -> bool {
    let matches = |rule: &PolicyRule| {
        let holds = |refs: &Option<Vec<SetRef>>, address: IpAddr| match refs {
            None => true,
            Some(refs) => refs.iter().any(|set| {
                let members = &world.cluster.sets[&format!("default/{}-0", set.name)].members;
                members.iter().any(|member| member.contains(address))
            }),
        };
        let port = match &rule.ports {
            None => true,
            Some(ports) => ports.iter().any(|port| {
                let (first, last) = port.range();
                port.protocol.number() == packet.protocol && (first..=last).contains(&packet.port)
            }),
        };
        holds(&rule.peers, packet.peer) && holds(&rule.targets, packet.own) && port
    };
    let tier = |tier: PolicyTier| {
        for policy in &binding.policies {
            let spec = world.cluster.policy(policy).unwrap();
            if spec.tier != tier {
                continue;
            }
            let rules = if packet.ingress {
                &spec.ingress
            } else {
                &spec.egress
            };
            for rule in rules {
                if matches(rule) {
                    return Some(rule.action);
                }
            }
        }
        None
    };
    let node = NODE
        .iter()
        .any(|node| packet.peer == node.parse::<IpAddr>().unwrap());
    if node && packet.ingress && !binding.is_open() {
        // No peer of an ingress rule can be a node; probes always arrive.
        return true;
    }
    match tier(PolicyTier::Admin) {
        Some(PolicyAction::Accept) => return true,
        Some(PolicyAction::Deny) => return false,
        Some(PolicyAction::Pass) | None => {}
    }
    if binding.isolated {
        return node || tier(PolicyTier::NetworkPolicy).is_some();
    }
    match tier(PolicyTier::Baseline) {
        Some(PolicyAction::Deny) => false,
        Some(PolicyAction::Accept | PolicyAction::Pass) | None => true,
    }
}

fn a_port(sctp_ports: bool) -> BoxedStrategy<PortMatch> {
    let port = |protocol, port, end_port| PortMatch {
        protocol,
        port,
        end_port,
    };
    let mut ports = vec![
        port(Protocol::Tcp, Some(80), None),
        port(Protocol::Tcp, Some(80), Some(85)),
        port(Protocol::Tcp, Some(81), Some(40_000)),
        port(Protocol::Tcp, None, None),
        port(Protocol::Udp, Some(80), None),
        port(Protocol::Udp, None, None),
        port(Protocol::Sctp, None, None),
    ];
    if sctp_ports {
        ports.push(port(Protocol::Sctp, Some(80), None));
        ports.push(port(Protocol::Sctp, Some(1), Some(80)));
    }
    prop::sample::select(ports).boxed()
}

fn a_rule(accepts_only: bool, sctp_ports: bool) -> impl Strategy<Value = PolicyRule> {
    let action = match accepts_only {
        true => vec![PolicyAction::Accept],
        false => vec![PolicyAction::Accept, PolicyAction::Deny, PolicyAction::Pass],
    };
    let name = prop::sample::select(vec!["one", "near", "far", "all", "none", "node"]);
    let peers = prop::option::weighted(0.9, prop::collection::vec(name.prop_map(set), 0..3));
    let targets = prop::option::weighted(0.2, prop::sample::select(vec!["own", "none"]));
    let ports = prop::option::weighted(0.6, prop::collection::vec(a_port(sctp_ports), 0..3));
    (prop::sample::select(action), peers, targets, ports).prop_map(|(action, peers, targets, ports)| {
        PolicyRule {
            action,
            peers,
            targets: targets.map(|name| vec![set(name)]),
            ports,
        }
    })
}

#[derive(Clone, Debug)]
struct Case {
    ingress: bool,
    isolated: bool,
    admin: Vec<Vec<PolicyRule>>,
    own: Vec<Vec<PolicyRule>>,
    baseline: Vec<Vec<PolicyRule>>,
}

fn a_case(sctp_ports: bool) -> impl Strategy<Value = Case> {
    let tier = move |accepts_only, most| {
        prop::collection::vec(
            prop::collection::vec(a_rule(accepts_only, sctp_ports), 0..4),
            0..most,
        )
    };
    (
        any::<bool>(),
        any::<bool>(),
        tier(false, 4),
        tier(true, 3),
        tier(false, 3),
    )
        .prop_map(|(ingress, isolated, admin, own, baseline)| Case {
            ingress,
            isolated,
            admin,
            own,
            baseline,
        })
}

/// The policies of a case in a world, and the binding that a compiler would give for it.
fn bound(case: &Case) -> (World, DirectionBinding) {
    let mut world = World::new();
    for (name, members) in sets() {
        world.set(name, &members);
    }
    let mut binding = DirectionBinding {
        isolated: case.isolated,
        policies: Vec::new(),
    };
    let below = match case.isolated {
        true => (PolicyTier::NetworkPolicy, &case.own),
        false => (PolicyTier::Baseline, &case.baseline),
    };
    for (tier, policies) in [(PolicyTier::Admin, &case.admin), below] {
        for (number, rules) in policies.iter().enumerate() {
            let name = match tier {
                PolicyTier::NetworkPolicy => format!("np{number}"),
                tier => cluster_policy_name(tier, &format!("p{number}")),
            };
            let (ingress, egress) = match case.ingress {
                true => (rules.clone(), vec![]),
                false => (vec![], rules.clone()),
            };
            let spec = VppPolicySpec {
                tier,
                ingress,
                egress,
                ..VppPolicySpec::default()
            };
            world.cluster.policies.insert(format!("default/{name}"), spec);
            binding.policies.push(PolicyRef {
                namespace: "default".into(),
                name: name.into(),
            });
        }
    }
    (world, binding)
}

fn attach(world: &mut World, name: &str, number: u8, ingress: bool, binding: &DirectionBinding) -> String {
    let place = world.spec.place_of(binding.clone());
    let of = PodBinding {
        ingress: place.filter(|_| ingress),
        egress: place.filter(|_| !ingress),
        ..PodBinding::default()
    };
    world.pod(name, number, of)
}

fn lists(out: &Desired, pod: &str) -> AclLists {
    match out.objects.get(&Key::AclBinding(Link::Pod(pod.to_owned()))) {
        Some(Object::AclBinding(lists)) => lists.clone(),
        _ => panic!("{pod} has no lists"),
    }
}

/// Walks every packet; calls `judge(packet, as walked, as read)`.
fn compare(
    case: &Case,
    mut judge: impl FnMut(&Packet, bool, bool) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    let (mut world, binding) = bound(case);
    if binding.is_open() {
        return Ok(());
    }
    let id = attach(&mut world, "web", 7, case.ingress, &binding);
    let out = world.desired();
    prop_assert!(out.unresolved.is_empty());
    let lists = lists(&out, &id);
    for packet in packets(case.ingress) {
        let (walked, tag, index) = walk(&out, &lists, &packet);
        judge(&packet, walked, allowed(&world, &binding, &packet))?;
        if let Some(origins) = out.origins.get(&tag) {
            // Who is blamed has the action, or decided below a Pass.
            if let Origin::Rule { policy, rule } = origins.rules[index] {
                let spec = world.cluster.policy(&origins.policies[policy]).unwrap();
                let rules = if case.ingress { &spec.ingress } else { &spec.egress };
                let action = rules[rule].action;
                prop_assert!(!walked || action != PolicyAction::Deny, "{tag} {index}");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_lists_decide_as_the_tiers_do(case in a_case(false)) {
        compare(&case, |packet, walked, read| {
            prop_assert_eq!(walked, read, "{:?}", packet);
            Ok(())
        })?;
    }

    #[test]
    fn what_vpp_cannot_match_never_opens(case in a_case(true)) {
        compare(&case, |packet, walked, read| {
            prop_assert!(!walked || read, "{:?}", packet);
            if packet.protocol != 132 {
                prop_assert_eq!(walked, read, "{:?}", packet);
            }
            Ok(())
        })?;
    }
}

fn rule(action: PolicyAction, peers: &str) -> PolicyRule {
    PolicyRule {
        action,
        peers: Some(vec![set(peers)]),
        ..PolicyRule::default()
    }
}

fn texts(out: &Desired, tag: &str) -> Vec<String> {
    let Some(Object::Acl(rules)) = out.objects.get(&Key::Acl(tag.to_owned())) else {
        panic!("no {tag}");
    };
    let text = |rule: &Rule| format!("{:?} {} {}", rule.action, rule.source, rule.destination_ports.0);
    rules.iter().map(text).collect()
}

#[test]
fn lists_by_tier() {
    use PolicyAction::{Accept, Deny};
    let base = Case {
        ingress: true,
        isolated: true,
        admin: vec![vec![rule(Deny, "one")], vec![rule(Accept, "far")]],
        own: vec![vec![rule(Accept, "near")]],
        baseline: vec![vec![rule(Deny, "all")]],
    };
    let list = |case: &Case| {
        let (mut world, binding) = bound(case);
        let id = attach(&mut world, "web", 7, case.ingress, &binding);
        let out = world.desired();
        let lists = lists(&out, &id);
        let list = if case.ingress { lists.output } else { lists.input };
        let short = |tag: &String| tag.split('/').skip(1).take(3).collect::<Vec<_>>().join("/");
        list.iter().map(short).collect::<Vec<String>>()
    };
    let admins = ["policy/default/cnp.admin.p0", "policy/default/cnp.admin.p1"];
    let isolated = [
        &["permit-node/in"],
        &admins[..],
        &["policy/default/np0", "deny-any"],
    ]
    .concat();
    assert_eq!(list(&base), isolated);
    let open = Case {
        isolated: false,
        ..base.clone()
    };
    let baseline = [
        &["permit-node/in"],
        &admins[..],
        &["policy/default/cnp.baseline.p0", "permit-any"],
    ]
    .concat();
    assert_eq!(list(&open), baseline);
    // An administrator may keep pods from their node: the permit is a rule of NetworkPolicy.
    let out = Case {
        ingress: false,
        ..base.clone()
    };
    let isolated = [
        &["permit-icmp-errors"],
        &admins[..],
        &["permit-node/out", "policy/default/np0", "deny-any"],
    ]
    .concat();
    assert_eq!(list(&out), isolated);
    let out = Case {
        ingress: false,
        isolated: false,
        ..base
    };
    let baseline = ["policy/default/cnp.baseline.p0", "permit-any"];
    assert_eq!(
        list(&out),
        [&["permit-icmp-errors"], &admins[..], &baseline].concat()
    );
}

#[test]
fn a_pass_is_decided_where_it_stands_and_only_where_something_follows() {
    use PolicyAction::{Accept, Deny, Pass};
    let mut case = Case {
        ingress: true,
        isolated: true,
        admin: vec![vec![rule(Pass, "near"), rule(Deny, "all")]],
        own: vec![vec![PolicyRule {
            ports: Some(vec![PortMatch {
                protocol: Protocol::Tcp,
                port: Some(80),
                end_port: None,
            }]),
            ..rule(Accept, "one")
        }]],
        baseline: vec![],
    };
    let list = |case: &Case| {
        let (mut world, binding) = bound(case);
        let id = attach(&mut world, "web", 7, true, &binding);
        let out = world.desired();
        let list = lists(&out, &id).output;
        (out, list)
    };
    let (out, tags) = list(&case);
    assert!(tags[1].starts_with("contiv/tiers/cnp.admin.p0/"), "{tags:?}");
    assert_eq!(
        texts(&out, &tags[1]),
        [
            "Reflect 10.9.0.1/32 80",
            "Deny 10.9.0.0/24 0",
            "Reflect fd00:9::1/128 80",
            "Deny fd00:9::/112 0",
            "Deny 0.0.0.0/0 0",
            "Deny ::/0 0",
        ]
    );
    // Nothing after the pass meets it: it is passed on by itself, and the ACL is shared by all pods.
    case.admin = vec![vec![rule(Deny, "far"), rule(Pass, "near")]];
    let (out, tags) = list(&case);
    assert!(
        tags[1].starts_with("contiv/policy/default/cnp.admin.p0/"),
        "{tags:?}"
    );
    assert_eq!(texts(&out, &tags[1]), ["Deny 203.0.113.0/24 0"]);
    // A later policy counts as well.
    case.admin.push(vec![rule(Accept, "one")]);
    let (out, tags) = list(&case);
    assert!(tags[1].starts_with("contiv/tiers/cnp.admin.p0/"), "{tags:?}");
    assert_eq!(texts(&out, &tags[1]).len(), 5);
}

#[test]
fn pods_with_equal_bindings_share_and_others_do_not() {
    use PolicyAction::{Accept, Deny, Pass};
    let case = Case {
        ingress: true,
        isolated: true,
        admin: vec![vec![rule(Pass, "near"), rule(Deny, "all")]],
        own: vec![vec![rule(Accept, "one")]],
        baseline: vec![],
    };
    let (mut world, binding) = bound(&case);
    let other = DirectionBinding {
        policies: binding.policies[..1].to_vec(),
        ..binding.clone()
    };
    let open = DirectionBinding {
        isolated: false,
        ..other.clone()
    };
    let ids: Vec<String> = [&binding, &binding, &other, &open]
        .iter()
        .zip(1..)
        .map(|(binding, number)| attach(&mut world, &format!("p{number}"), number, true, binding))
        .collect();
    let out = world.desired();
    let tags: Vec<String> = ids.iter().map(|id| lists(&out, id).output[1].clone()).collect();
    assert_eq!(tags[0], tags[1]);
    assert_ne!(tags[0], tags[2]);
    assert_ne!(tags[2], tags[3]);
    assert!(tags.iter().all(|tag| tag.len() <= TAG_LIMIT));
}

/// What stands for a missing Admin or Baseline policy: nothing known, or known rules.
#[test]
fn a_missing_policy_denies_until_it_is_seen_and_known_rules_stay() {
    use PolicyAction::{Accept, Deny, Pass};
    for (tier, isolated) in [
        (PolicyTier::Admin, true),
        (PolicyTier::Admin, false),
        (PolicyTier::Baseline, false),
    ] {
        for passes in [false, true] {
            let first = if passes {
                rule(Pass, "one")
            } else {
                rule(Accept, "one")
            };
            let rules = vec![vec![first, rule(Deny, "near")]];
            let case = Case {
                ingress: true,
                isolated,
                admin: if tier == PolicyTier::Admin {
                    rules.clone()
                } else {
                    vec![]
                },
                own: vec![vec![rule(Accept, "all")]],
                baseline: if tier == PolicyTier::Baseline {
                    rules
                } else {
                    vec![]
                },
            };
            let (mut world, binding) = bound(&case);
            let id = attach(&mut world, "web", 7, true, &binding);
            let before = world.desired();
            let policies = world.cluster.policies.clone();
            let name = format!("default/{}", cluster_policy_name(tier, "p0"));
            world.cluster.policies.remove(&name);

            let out = world.desired();
            let list = lists(&out, &id).output;
            assert_eq!(list.last().unwrap(), "contiv/deny-any", "{tier:?}");
            assert!(!list.contains(&"contiv/permit-any".to_owned()));
            assert!(
                list.iter().all(|tag| !tag.contains("/np0/")),
                "nothing behind an unknown Admin policy"
            );
            assert_eq!(out.unresolved, [format!("policy {name}")].into());

            for (key, object) in &before.objects {
                if let (Key::Acl(tag), Object::Acl(rules)) = (key, object) {
                    world.last_rules.insert(tag.clone(), rules.clone());
                }
            }
            let out = world.desired();
            assert_eq!(lists(&out, &id), lists(&before, &id), "{tier:?} {passes}");
            for tag in lists(&out, &id).output {
                let key = Key::Acl(tag);
                assert_eq!(out.objects.get(&key), before.objects.get(&key));
            }

            // The same when a set is missing.
            world.cluster.policies = policies;
            world.cluster.sets.remove("default/near-0");
            world.last_rules = BTreeMap::new();
            let list = lists(&world.desired(), &id).output;
            assert_eq!(list.last().unwrap(), "contiv/deny-any");
            assert!(!list.contains(&"contiv/permit-any".to_owned()));
        }
    }
}

#[test]
fn what_is_too_long_denies_and_is_said() {
    use PolicyAction::{Accept, Deny, Pass};
    // For each of the passed addresses two rules: what the NetworkPolicy accepts, and the rest denied.
    for (count, fits) in [(20_000u32, true), (30_000, false)] {
        let http = PortMatch {
            protocol: Protocol::Tcp,
            port: Some(80),
            end_port: None,
        };
        let own = PolicyRule {
            ports: Some(vec![http]),
            ..rule(Accept, "many")
        };
        let case = Case {
            ingress: true,
            isolated: true,
            admin: vec![vec![rule(Pass, "many"), rule(Deny, "all")]],
            own: vec![vec![own]],
            baseline: vec![],
        };
        let (mut world, binding) = bound(&case);
        let address = |n: u32| format!("10.{}.{}.{}/32", n >> 14, n >> 7 & 127, (n & 127) * 2);
        let many: Vec<String> = (0..count).map(address).collect();
        world.set("many", &many.iter().map(String::as_str).collect::<Vec<_>>());
        let id = attach(&mut world, "web", 7, true, &binding);
        let out = world.desired();
        let list = lists(&out, &id).output;
        let said = out
            .pending
            .iter()
            .any(|pending| pending.reason.contains("50000 rules"));
        assert_eq!(said, !fits, "{:?}", out.pending);
        if fits {
            assert_eq!(texts(&out, &list[1]).len(), 40_002);
        } else {
            assert_eq!(list, ["contiv/permit-node/in", "contiv/deny-any"]);
        }
    }
}
