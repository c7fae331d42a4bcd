//! Plans on a model of VPP: a map that refuses what VPP would refuse or suffer from.

use std::collections::BTreeSet;

use crds::net::Protocol;
use crds::policy::{PolicyAction, PolicyRule};
use crds::vpp_config::PodBinding;
use proptest::prelude::*;

use super::*;
use crate::desired::tests::{World, backend, chain_world};
use crate::objects::{Action, Link, Object, Rule};

/// Carries a plan out on a map. Steps of one stage must not need each other.
fn carry_out(actual: &mut Objects, plan: &Plan) {
    for stage in &plan.stages {
        let before = actual.clone();
        for step in stage {
            let key = step.key();
            match step {
                Step::Create(_, object) => {
                    assert!(!before.contains_key(key), "{key} is there already");
                    assert_supported(&before, key, object);
                    actual.insert(key.clone(), object.clone());
                }
                Step::Update(_, old, object) => {
                    let current = before.get(key).unwrap_or_else(|| panic!("{key} is not there"));
                    assert!(
                        current.updates_in_place(object),
                        "{key} cannot be changed in place"
                    );
                    let narrowed = matches!(old, Object::AclBinding(_));
                    assert!(current == old || narrowed, "{key} is not as the plan believes");
                    assert_supported(&before, key, object);
                    actual.insert(key.clone(), object.clone());
                }
                Step::Delete(..) => {
                    assert!(before.contains_key(key), "{key} is not there");
                    for (other, object) in &before {
                        assert!(
                            !object.dependencies(other).contains(key),
                            "{other} still depends on {key}"
                        );
                    }
                    actual.remove(key);
                }
            }
        }
    }
}

fn assert_supported(objects: &Objects, key: &Key, object: &Object) {
    for dependency in object.dependencies(key) {
        assert!(objects.contains_key(&dependency), "{key} needs {dependency}");
    }
}

fn settle(desired: &Objects, actual: &mut Objects) -> Plan {
    let first = plan(desired, actual, &BTreeSet::new());
    carry_out(actual, &first);
    assert_eq!(actual, desired);
    assert!(
        plan(desired, actual, &BTreeSet::new()).is_empty(),
        "a second plan has nothing to do"
    );
    first
}

/// Two pods, policies, a Service, a chain, a peer.
fn rich() -> World {
    let (mut world, ..) = chain_world();
    let client = world.set("client", &["10.1.1.7/32"]);
    let rule = PolicyRule {
        action: PolicyAction::Accept,
        peers: Some(vec![client]),
        ..PolicyRule::default()
    };
    let policy = world.policy("p", vec![rule.clone()], vec![]);
    let other = world.policy("q", vec![rule], vec![]);
    let binding = PodBinding {
        ingress: world.isolated(vec![policy, other]),
        ..PodBinding::default()
    };
    world.pod("web", 9, binding);
    world.service(
        "10.96.0.10",
        &[(Protocol::Tcp, 80)],
        vec![backend("10.1.1.9", &[80])],
    );
    world
}

fn links_gone(actual: &mut Objects) {
    loop {
        let orphan = actual.iter().find_map(|(key, object)| {
            let lacks = object.dependencies(key).iter().any(|d| !actual.contains_key(d));
            lacks.then(|| key.clone())
        });
        match orphan {
            Some(key) => actual.remove(&key),
            None => return,
        };
    }
}

/// Changes one object the way drift or another configuration would.
fn disturb(key: &Key, object: &Object) -> Object {
    match object.clone() {
        Object::Interface(mut interface) => {
            // A change in place for some, another device for others.
            if matches!(key, Key::Interface(Link::Pod(_) | Link::Uplink)) {
                interface.device = crate::objects::Device::AfPacket {
                    host_if_name: "other".into(),
                    mac: vpp_api::types::MacAddress([2, 0, 0, 0, 0, 9]),
                };
            } else {
                interface.mtu += 1;
                interface.complete = false;
            }
            Object::Interface(interface)
        }
        Object::Acl(mut rules) => {
            rules.reverse();
            rules.pop();
            Object::Acl(rules)
        }
        Object::AclBinding(mut lists) => {
            lists.input.truncate(1);
            Object::AclBinding(lists)
        }
        Object::Translation(mut translation) => {
            translation.affinity = !translation.affinity;
            Object::Translation(translation)
        }
        Object::Route(_) => Object::Route(vec![crate::objects::Path::Foreign]),
        Object::AbfAttach(mut attach) => {
            attach.priority += 1;
            Object::AbfAttach(attach)
        }
        other => other,
    }
}

proptest! {
    #[test]
    fn from_any_state_to_any_other(
        kept in proptest::collection::vec(any::<bool>(), 200),
        disturbed in proptest::collection::vec(0..8_u8, 200),
        pods in 0..4_usize,
        services in any::<bool>(),
        chains in any::<bool>(),
    ) {
        let world = rich();
        let mut actual: Objects = world
            .desired()
            .objects
            .into_iter()
            .zip(kept.into_iter().zip(disturbed).cycle())
            .filter(|(_, (keep, _))| *keep)
            .map(|((key, object), (_, disturb_it))| {
                let object = if disturb_it == 0 { disturb(&key, &object) } else { object };
                (key, object)
            })
            .collect();
        links_gone(&mut actual);
        let mut wanted = rich();
        wanted.spec.pods.truncate(pods);
        if !services {
            wanted.cluster.services.clear();
        }
        if !chains {
            wanted.spec.chains.clear();
        }
        settle(&wanted.desired().objects, &mut actual);
    }
}

#[test]
fn a_node_is_made_from_nothing_and_unmade_again() {
    let desired = rich().desired().objects;
    let mut actual = Objects::new();
    let made = settle(&desired, &mut actual);
    assert!(made.pending.is_empty());
    settle(&Objects::new(), &mut actual);
}

#[test]
fn pods_come_up_after_their_policies_and_go_down_first() {
    let desired = rich().desired().objects;
    let mut actual = Objects::new();
    let up = settle(&desired, &mut actual);
    let place = |plan: &Plan, wanted: &dyn Fn(&Key) -> bool| {
        plan.stages
            .iter()
            .position(|stage| stage.iter().any(|step| wanted(step.key())))
            .unwrap()
    };
    let is_up = |key: &Key| matches!(key, Key::Up(Link::Pod(_)));
    let is_list = |key: &Key| matches!(key, Key::AclBinding(_));
    let is_attach = |key: &Key| matches!(key, Key::AbfAttach(..));
    assert!(place(&up, &is_list) < place(&up, &is_up));
    assert!(place(&up, &is_attach) < place(&up, &is_up));
    let down = settle(&Objects::new(), &mut actual);
    assert!(place(&down, &is_up) < place(&down, &is_list));
    let is_route = |key: &Key| matches!(key, Key::Route(_));
    let is_interface = |key: &Key| matches!(key, Key::Interface(_));
    assert!(
        place(&down, &is_route) < place(&down, &is_interface),
        "or VPP keeps them for ever"
    );
}

#[test]
fn a_changed_policy_is_replaced_in_place() {
    let desired = rich().desired().objects;
    let mut actual = desired.clone();
    let (key, _) = actual
        .iter()
        .find(|(key, _)| matches!(key, Key::Acl(tag) if tag.contains("policy/default/p/")))
        .map(|(key, object)| (key.clone(), object.clone()))
        .unwrap();
    actual.insert(key.clone(), Object::Acl(vec![]));
    let plan = plan(&desired, &actual, &BTreeSet::new());
    let steps: Vec<&Step> = plan.steps().collect();
    assert!(
        matches!(steps.as_slice(), [Step::Update(changed, ..)] if *changed == key),
        "{steps:?}"
    );
}

/// What a list of accepting ACLs lets pass: the union of their rules.
fn passes(objects: &Objects, link: &Link) -> BTreeSet<Rule> {
    let Some(Object::AclBinding(lists)) = objects.get(&Key::AclBinding(link.clone())) else {
        return BTreeSet::new();
    };
    lists
        .output
        .iter()
        .filter_map(|tag| match objects.get(&Key::Acl(tag.clone())) {
            Some(Object::Acl(rules)) => Some(rules),
            _ => None,
        })
        .flatten()
        .filter(|rule| rule.action != Action::Deny)
        .copied()
        .collect()
}

#[test]
fn nothing_passes_on_the_way_that_neither_end_lets_pass() {
    // The pod leaves policy p in the same moment as p gets another peer.
    let old = rich();
    let mut new = rich();
    let stranger = new.set("stranger", &["10.66.0.0/16"]);
    new.policy(
        "p",
        vec![PolicyRule {
            peers: Some(vec![stranger]),
            ..PolicyRule::default()
        }],
        vec![],
    );
    let place = new
        .spec
        .pods
        .iter()
        .find(|pod| pod.name == "web")
        .unwrap()
        .ingress;
    let gone = new.spec.policy_sets[usize::from(place.unwrap())]
        .policies
        .remove(0);
    // Somebody else stays bound to it, so that the ACL is replaced and not deleted.
    let place = new.isolated(vec![gone]);
    let other = new.spec.pods.iter_mut().find(|pod| pod.name == "client").unwrap();
    other.ingress = place;

    let (before, after) = (old.desired().objects, new.desired().objects);
    let web = new.attachments.of_pod("uid-web").next().unwrap().id();
    let link = Link::Pod(web);
    let allowed: BTreeSet<Rule> = passes(&before, &link)
        .union(&passes(&after, &link))
        .copied()
        .collect();
    let plan = plan(&after, &before, &BTreeSet::new());
    let mut actual = before;
    for stage in &plan.stages {
        // Within a stage each step is one moment.
        for step in stage {
            let one = Plan {
                stages: vec![vec![step.clone()]],
                ..Plan::default()
            };
            carry_out(&mut actual, &one);
            let now = passes(&actual, &link);
            assert!(
                now.is_subset(&allowed),
                "after {}: {:?}",
                step.key(),
                now.difference(&allowed)
            );
        }
    }
    assert_eq!(actual, after);
}

#[test]
fn what_depends_on_a_held_key_is_pending_and_the_rest_goes_on() {
    let desired = rich().desired().objects;
    let held: BTreeSet<Key> = [Key::Interface(Link::Uplink)].into();
    let plan = plan(&desired, &Objects::new(), &held);
    let waits = plan.pending.get(&Key::Up(Link::Uplink));
    assert_eq!(waits, Some(&Key::Interface(Link::Uplink)));
    assert!(
        plan.steps()
            .all(|step| step.key() != &Key::Interface(Link::Uplink))
    );
    assert!(
        plan.steps()
            .any(|step| matches!(step.key(), Key::Up(Link::Pod(_))))
    );
}

/// Peers that an interface hears, by the rules of its list in order.
fn heard(objects: &Objects, link: &Link) -> BTreeSet<u8> {
    let Some(Object::AclBinding(lists)) = objects.get(&Key::AclBinding(link.clone())) else {
        return (0..PEERS).collect();
    };
    let rules: Vec<&Rule> = lists
        .output
        .iter()
        .filter_map(|tag| match objects.get(&Key::Acl(tag.clone())) {
            Some(Object::Acl(rules)) => Some(rules),
            _ => None,
        })
        .flatten()
        .filter(|rule| rule.protocol == 0)
        .collect();
    (0..PEERS)
        .filter(|&n| {
            let peer: std::net::IpAddr = [10, 1, 1, FIRST_PEER + n].into();
            let first = rules.iter().find(|rule| rule.source.contains(peer));
            first.is_some_and(|rule| rule.action != Action::Deny)
        })
        .collect()
}

/// How many there are.
pub(crate) const PEERS: u8 = 4;

/// Last octet of the first, `10.1.1.20`.
pub(crate) const FIRST_PEER: u8 = 20;

/// For each of three policies: the peers it names. For each of three pods: none, or the policies it is under.
pub(crate) type Shape = (Vec<Vec<u8>>, Vec<Option<Vec<usize>>>);

pub(crate) fn shape() -> impl Strategy<Value = Shape> {
    let peers = prop::sample::subsequence((0..PEERS).collect::<Vec<_>>(), 0..=PEERS as usize);
    let policies = prop::option::of(prop::sample::subsequence(vec![0, 1, 2], 0..=3));
    (
        prop::collection::vec(peers, 3),
        prop::collection::vec(policies, 3),
    )
}

/// Pods `pod7`, `pod8` and `pod9` under policies.
pub(crate) fn shaped((policies, pods): &Shape) -> World {
    let mut world = World::new();
    let policies: Vec<_> = policies
        .iter()
        .enumerate()
        .map(|(n, peers)| {
            let members: Vec<String> = peers
                .iter()
                .map(|n| format!("10.1.1.{}/32", FIRST_PEER + n))
                .collect();
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            let peers = world.set(&format!("s{n}"), &members);
            let rule = PolicyRule {
                peers: Some(vec![peers]),
                ..PolicyRule::default()
            };
            world.policy(&format!("p{n}"), vec![rule], vec![])
        })
        .collect();
    for (number, under) in (7..).zip(pods) {
        let ingress = under
            .as_ref()
            .and_then(|under| world.isolated(under.iter().map(|&n| policies[n].clone()).collect()));
        let binding = PodBinding {
            ingress,
            ..PodBinding::default()
        };
        world.pod(&format!("pod{number}"), number, binding);
    }
    world
}

/// Whether a pod's list changes in the same moment as policies on it: then it may hear less for a moment.
pub(crate) fn mixes(old: &Shape, new: &Shape, pod: usize) -> bool {
    let under = |shape: &Shape| shape.1[pod].clone().unwrap_or_default();
    let (before, after) = (under(old), under(new));
    before != after && before.iter().chain(&after).any(|&n| old.0[n] != new.0[n])
}

proptest! {
    /// Between any two messages an interface lets pass nothing that neither configuration does, and all that both do.
    #[test]
    fn no_message_opens_or_closes_more_than_the_change(old in shape(), new in shape()) {
        let world = shaped(&old);
        let (before, after) = (world.desired().objects, shaped(&new).desired().objects);
        let link = |number| {
            let attachments = &world.attachments;
            Link::Pod(attachments.of_pod(&format!("uid-pod{number}")).next().unwrap().id())
        };
        let links = [7, 8, 9].map(link);
        let plan = plan(&after, &before, &BTreeSet::new());
        let mut actual = before.clone();
        for step in plan.steps() {
            let one = Plan { stages: vec![vec![step.clone()]], ..Plan::default() };
            carry_out(&mut actual, &one);
            for (number, link) in links.iter().enumerate() {
                let (was, is) = (heard(&before, link), heard(&after, link));
                let now = heard(&actual, link);
                prop_assert!(now.is_subset(&(&was | &is)), "{} opens {link} to {now:?}", step.key());
                if !mixes(&old, &new, number) {
                    prop_assert!(now.is_superset(&(&was & &is)), "{} closes {link} to {now:?}", step.key());
                }
            }
        }
        prop_assert_eq!(actual, after);
    }
}

/// One member more or less touches the ACLs that name its set, and nothing else.
#[test]
fn a_member_changes_the_acls_that_name_it() {
    let before: Shape = (
        vec![vec![0], vec![1], vec![2]],
        vec![Some(vec![0, 1]), Some(vec![1, 2]), None],
    );
    let mut after = before.clone();
    after.0[1] = vec![1, 3];
    let plan = plan(
        &shaped(&after).desired().objects,
        &shaped(&before).desired().objects,
        &BTreeSet::new(),
    );
    let changed: Vec<String> = plan.steps().map(|step| step.key().to_string()).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(
        changed[0].starts_with("acl contiv/policy/default/p1/"),
        "{changed:?}"
    );
}
