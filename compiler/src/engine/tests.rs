//! Random events in random order: after each the engine has given what the reference gives, and
//! nothing that it had given before.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::cnf::{InterfaceKind, InterfaceRole};
use crds::net::{PortMatch, Protocol};
use crds::service_chain::FailurePolicy;
use crds::service_slice::ServicePort;
use crds::vpp_config::FunctionInterface;
use crds::{PolicyAction, PolicyTier};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::facts::{
    Classifier, Endpoint, EndpointPort, Function, Kind, Name, NamedPort, Peer, PodPhase, Port, Problem,
    Refusal, Rule, TierRule,
};
use crate::output::{Output, PodPool};
use crate::selector::Selector;
use crate::sets::SetKey;

/// Makes facts of random bytes. When they have run out, all choices are the first.
struct Dice<'b>(std::slice::Iter<'b, u8>);

impl Dice<'_> {
    fn below(&mut self, bound: u8) -> u8 {
        self.0.next().copied().unwrap_or_default() % bound
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 1
    }

    fn rarely(&mut self) -> bool {
        self.below(8) == 7
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[usize::from(self.below(u8::try_from(from.len()).unwrap()))].clone()
    }

    fn namespace(&mut self) -> String {
        self.pick(&["a", "b", "c"]).to_owned()
    }

    fn labels(&mut self) -> Labels {
        let mut labels = Vec::new();
        for key in ["app", "tier"] {
            let value = self.pick(&[Some("web"), None, Some("db")]);
            labels.extend(value.map(|value| (key, value)));
        }
        labels.into_iter().collect()
    }

    fn selector(&mut self) -> Selector {
        let mut expressions = Vec::new();
        for _ in 0..self.below(3) {
            let operator = self.pick(&["In", "In", "NotIn", "Exists", "DoesNotExist"]);
            let values: &[&[&str]] = match operator {
                "In" | "NotIn" => &[&["web"], &["db"], &["db", "web"]],
                _ => &[&[]],
            };
            expressions.push(LabelSelectorRequirement {
                key: self.pick(&["app", "tier"]).to_owned(),
                operator: operator.to_owned(),
                values: Some(self.pick(values).iter().map(|v| (*v).to_owned()).collect()),
            });
        }
        let selector = LabelSelector {
            match_labels: None,
            match_expressions: Some(expressions),
        };
        Selector::try_from(&selector).unwrap()
    }

    fn end(&mut self) -> PodEnd {
        PodEnd {
            pods: self.selector(),
            namespaces: self.yes().then(|| self.selector()),
        }
    }

    fn ip(&mut self) -> IpAddr {
        let host = self.below(6);
        match self.rarely() {
            false => IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)),
            true => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into())),
        }
    }

    fn protocol(&mut self) -> Protocol {
        self.pick(&[Protocol::Tcp, Protocol::Udp])
    }

    fn pod_key(&mut self) -> ObjectKey {
        ObjectKey::new(self.namespace(), format!("pod{}", self.below(4)))
    }

    fn pod(&mut self) -> Pod {
        let key = self.pod_key();
        let mut ips = vec![self.ip()];
        if self.yes() {
            ips.push(self.ip());
        }
        ips.sort();
        ips.dedup();
        let uid = format!("uid{}-{}", key, self.below(3));
        let mut ports = Vec::new();
        for name in ["dns", "http"] {
            if self.yes() {
                ports.push(NamedPort {
                    name: name.into(),
                    protocol: self.protocol(),
                    number: self.pick(&[80, 8080]),
                });
            }
        }
        let problem = Problem {
            object: Kind::POD.of(&key.namespace, &key.name, &uid),
            reason: "Odd",
            message: "odd".into(),
        };
        Pod {
            labels: self.labels(),
            node: self
                .pick(&[Some("n0"), Some("n1"), Some("n2"), None])
                .map(Into::into),
            ips,
            host_network: self.rarely(),
            phase: if self.rarely() {
                PodPhase::Finished
            } else {
                PodPhase::Active
            },
            ready: !self.rarely(),
            terminating: self.rarely(),
            started: self
                .pick(&[None, Some(1), Some(2)])
                .map(|second| Timestamp::constant(second, 0)),
            ports,
            interface: self.pick(&[InterfaceKind::Tap, InterfaceKind::Tap, InterfaceKind::Veth]),
            problems: if self.rarely() { vec![problem] } else { Vec::new() },
            // Objects read from files have no UID.
            uid: if self.rarely() {
                Name::default()
            } else {
                uid.into()
            },
            namespace: key.namespace,
            name: key.name,
        }
    }

    fn port(&mut self) -> Port {
        let protocol = self.protocol();
        match self.yes() {
            true => Port::Named {
                protocol: Some(protocol),
                name: self.pick(&["http", "dns"]).into(),
            },
            false => Port::Number(PortMatch {
                protocol,
                port: self.pick(&[Some(80), None]),
                end_port: None,
            }),
        }
    }

    fn rules(&mut self) -> Option<Vec<Rule>> {
        self.yes().then(|| {
            let count = self.below(3);
            let rule = |dice: &mut Self| Rule {
                peers: dice.yes().then(|| {
                    let count = dice.below(3);
                    let peer = |dice: &mut Self| match dice.rarely() {
                        true => Peer::Block {
                            cidr: "10.0.0.0/24".parse().unwrap(),
                            except: vec![dice.pick(&["10.0.0.2/31", "10.0.0.5/32"]).parse().unwrap()],
                        },
                        false => Peer::Pods(dice.end()),
                    };
                    (0..count).map(|_| peer(dice)).collect()
                }),
                ports: dice.yes().then(|| {
                    let count = dice.below(3);
                    (0..count).map(|_| dice.port()).collect()
                }),
            };
            (0..count).map(|_| rule(self)).collect()
        })
    }

    fn policy_key(&mut self) -> ObjectKey {
        // Namespace c is that of the system: there such a name is a ClusterNetworkPolicy's.
        let name = match self.rarely() {
            true => format!("cnp.admin.wide{}", self.below(2)),
            false => format!("policy{}", self.below(3)),
        };
        ObjectKey::new(self.namespace(), name)
    }

    fn tier_rules(&mut self) -> Vec<TierRule> {
        let count = self.below(3);
        let rule = |dice: &mut Self| {
            let mut rules = dice.rules().unwrap_or_default();
            let mut matches = rules.pop().unwrap_or_default();
            for port in matches.ports.iter_mut().flatten() {
                if let Port::Named { protocol, .. } = port {
                    *protocol = None;
                }
            }
            for peer in matches.peers.iter_mut().flatten() {
                if let Peer::Pods(end) = peer {
                    end.namespaces.get_or_insert_default();
                }
            }
            if dice.rarely() {
                matches
                    .peers
                    .get_or_insert_default()
                    .push(Peer::Nodes(dice.selector()));
            }
            TierRule {
                name: String::new(),
                action: dice.pick(&[PolicyAction::Accept, PolicyAction::Deny, PolicyAction::Pass]),
                matches,
            }
        };
        (0..count).map(|_| rule(self)).collect()
    }

    fn cluster_policy_name(&mut self) -> String {
        format!("wide{}", self.below(3))
    }

    fn cluster_policy(&mut self) -> ClusterPolicy {
        let name = self.cluster_policy_name();
        let object = Kind::CLUSTER_NETWORK_POLICY.of_cluster(&name, "");
        let problem = Problem {
            object,
            reason: "Odd",
            message: "odd".into(),
        };
        ClusterPolicy {
            uid: format!("uid{}", self.below(2)),
            tier: self.pick(&[PolicyTier::Admin, PolicyTier::Baseline]),
            priority: i32::from(self.below(3)),
            subject: PodEnd {
                pods: self.selector(),
                namespaces: Some(self.selector()),
            },
            ingress: self.tier_rules(),
            egress: self.tier_rules(),
            problems: if self.rarely() { vec![problem] } else { Vec::new() },
            name,
        }
    }

    fn policy(&mut self) -> Policy {
        let key = self.policy_key();
        Policy {
            uid: format!("uid{}", self.below(2)).into(),
            pods: self.selector(),
            ingress: self.rules(),
            egress: self.rules(),
            problems: Vec::new(),
            namespace: key.namespace,
            name: key.name,
        }
    }

    fn node(&mut self) -> Node {
        let name = self.pick(&["n0", "n1", "n2"]);
        let cidrs = self.pick(&[Some("10.1.0.0/24"), Some("10.1.1.0/24"), None]);
        Node {
            name: name.into(),
            uid: format!("uid-{name}-{}", self.below(2)),
            pod_cidrs: cidrs.into_iter().map(|cidr| cidr.parse().unwrap()).collect(),
            labels: self.labels(),
            all_addresses: vec![self.ip()],
            ..Node::default()
        }
    }

    fn service_key(&mut self) -> ObjectKey {
        ObjectKey::new(self.namespace(), format!("service{}", self.below(2)))
    }

    fn service(&mut self) -> Service {
        let key = self.service_key();
        Service {
            uid: format!("uid-{key}-{}", self.below(2)),
            cluster_ips: if self.rarely() {
                Vec::new()
            } else {
                vec![self.ip()]
            },
            ports: vec![ServicePort {
                name: "http".into(),
                protocol: self.protocol(),
                port: 80,
                node_port: None,
            }],
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            ..Service::default()
        }
    }

    fn slice_key(&mut self) -> ObjectKey {
        ObjectKey::new(self.namespace(), format!("slice{}", self.below(3)))
    }

    fn endpoint_slice(&mut self) -> EndpointSlice {
        let key = self.slice_key();
        let service = self.pick(&[Some("service0"), Some("service1"), None]);
        let count = self.below(3);
        let endpoint = |dice: &mut Self| Endpoint {
            address: dice.ip(),
            node: dice.yes().then(|| "n0".to_owned()),
            ready: dice.yes(),
            serving: dice.yes(),
            terminating: dice.yes(),
            for_zones: dice.yes().then(|| "z0".to_owned()).into_iter().collect(),
            for_nodes: dice.yes().then(|| "n0".to_owned()).into_iter().collect(),
        };
        EndpointSlice {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            service: service.map(Into::into),
            ports: vec![EndpointPort {
                name: "http".into(),
                protocol: self.protocol(),
                number: self.pick(&[80, 8080]),
            }],
            endpoints: (0..count).map(|_| endpoint(self)).collect(),
            // It is no change by itself, so what was given out may have an older one.
            triggered: None,
        }
    }

    fn chain_key(&mut self) -> ObjectKey {
        ObjectKey::new(self.pick(&["a", "b"]), format!("chain{}", self.below(2)))
    }

    fn chain(&mut self) -> Chain {
        let key = self.chain_key();
        let to = match self.rarely() {
            true => ChainEnd::Cidrs(vec!["192.0.2.0/24".parse().unwrap()]),
            false => ChainEnd::Pods(self.end()),
        };
        let symmetric = self.yes() && matches!(to, ChainEnd::Pods(_));
        let functions = self.below(2) + 1;
        Chain {
            uid: format!("uid-{key}"),
            generation: Some(i64::from(self.below(2))),
            created: i64::from(self.below(2)),
            classifier: (!self.rarely()).then(|| Classifier {
                from: self.end(),
                to,
                ports: Vec::new(),
            }),
            functions: (0..functions)
                .map(|n| Function {
                    name: format!("f{n}"),
                    cnf: format!("cnf{n}"),
                })
                .collect(),
            symmetric,
            on_failure: self.pick(&[FailurePolicy::Drop, FailurePolicy::Bypass]),
            suspend: self.rarely(),
            refusals: match self.rarely() {
                false => Vec::new(),
                true => vec![Refusal {
                    reason: "Odd",
                    message: "odd".into(),
                }],
            },
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        }
    }

    fn cnf_key(&mut self) -> ObjectKey {
        ObjectKey::new(self.pick(&["a", "b"]), format!("cnf{}", self.below(2)))
    }

    fn cnf(&mut self) -> Cnf {
        let key = self.cnf_key();
        Cnf {
            pods: (!self.rarely()).then(|| self.selector()),
            interfaces: vec![FunctionInterface {
                name: self.pick(&["x0", "x1"]).into(),
                role: InterfaceRole::InOut,
                kind: InterfaceKind::Tap,
            }],
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            ..Cnf::default()
        }
    }
}

/// The engine, the reference's facts, and what has been given out so far.
struct Bench {
    engine: Engine,
    cluster: Cluster,
    settings: Settings,
    naming: Naming,
    given: Output,
}

/// Changes both in the same way, and compares what they say to it.
macro_rules! both {
    ($bench:expr, $call:ident($first:expr $(, $second:expr)?)) => {{
        let first = $first;
        let said = $bench.cluster.$call(Clone::clone(&first) $(, Clone::clone(&$second))?);
        assert_eq!($bench.engine.$call(first $(, $second)?), said, stringify!($call));
    }};
}

impl Bench {
    fn new(naming: Naming) -> Self {
        let settings = Settings {
            pod_pools: vec![PodPool {
                cidr: "10.1.0.0/16".parse().unwrap(),
                node_prefix_len: 24,
            }],
            system_namespace: "c".to_owned(),
            ..Settings::default()
        };
        Self {
            engine: Engine::named(settings.clone(), naming),
            cluster: Cluster::new(),
            settings,
            naming,
            given: Output::default(),
        }
    }

    fn event(&mut self, dice: &mut Dice<'_>) {
        match dice.below(36) {
            0..=8 => both!(self, upsert_pod(dice.pod())),
            9..=10 => both!(self, remove_pod(&dice.pod_key())),
            11 => {
                // Only the labels: the commonest event of all that matter.
                let key = dice.pod_key();
                if let Some(pod) = self.cluster.pod(&key).cloned() {
                    let labels = dice.labels();
                    both!(self, upsert_pod(Pod { labels, ..pod }));
                }
            }
            12..=14 => {
                let name = dice.namespace();
                let labels = dice.labels();
                both!(self, upsert_namespace(Namespace { name, labels }));
            }
            15 => both!(self, remove_namespace(dice.pick(&["a", "b", "c"]))),
            16..=19 => both!(self, upsert_policy(dice.policy())),
            20 => both!(self, remove_policy(&dice.policy_key())),
            21..=22 => both!(self, upsert_node(dice.node())),
            23 => match dice.below(3) {
                0 => both!(self, remove_node(dice.pick(&["n0", "n1", "n2"]))),
                1 => {
                    let id = dice.pick(&[1, 2, 9]);
                    both!(self, retain_node_id(dice.pick(&["n0", "n1"]), id));
                }
                _ => {
                    let endpoints = vec![IpAddr::from([192, 0, 2, dice.below(2)])];
                    both!(self, set_tunnel_endpoints(dice.pick(&["n0", "n1"]), endpoints));
                }
            },
            24 => both!(self, upsert_service(dice.service())),
            25..=26 => both!(self, upsert_endpoint_slice(dice.endpoint_slice())),
            27 => match dice.yes() {
                true => both!(self, remove_service(&dice.service_key())),
                false => both!(self, remove_endpoint_slice(&dice.slice_key())),
            },
            28 => both!(self, upsert_chain(dice.chain())),
            32..=34 => both!(self, upsert_cluster_policy(dice.cluster_policy())),
            35 => both!(
                self,
                remove_cluster_policy(dice.pick(&["wide0", "wide1", "wide2"]))
            ),
            29..=30 => both!(self, upsert_cnf(dice.cnf())),
            _ => match dice.yes() {
                true => both!(self, remove_chain(&dice.chain_key())),
                false => both!(self, remove_cnf(&dice.cnf_key())),
            },
        }
    }

    /// Updates the engine, and compares.
    fn update(&mut self) {
        let Delta { changed, removed } = self.engine.update();
        macro_rules! apply {
            ($($kind:ident),*) => {$(
                for (key, value) in changed.$kind {
                    let old = self.given.$kind.insert(key, value.clone());
                    assert_ne!(old.as_ref(), Some(&value), "given before");
                }
                for key in removed.$kind {
                    assert!(self.given.$kind.remove(&key).is_some(), "{key:?} was never there");
                }
            )*};
        }
        apply!(configs, policies, sets, service_slices, peer_slices, chains, cnfs);
        for problem in changed.problems {
            assert!(self.given.problems.insert(problem), "told before");
        }
        for problem in removed.problems {
            assert!(self.given.problems.remove(&problem), "never told");
        }
        let (reference, _) = compile_named(&self.cluster, &self.settings, self.naming);
        assert_eq!(self.given, reference);
        assert!(self.engine.update().is_empty(), "nothing has happened since");
    }

    fn run(&mut self, events: &[Vec<u8>]) {
        for event in events {
            let mut dice = Dice(event.iter());
            // Now and then several events come between two updates.
            let at_once = dice.below(4) == 0;
            self.event(&mut dice);
            if !at_once {
                self.update();
            }
        }
        self.update();
    }
}

fn events(most: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let event = prop::collection::vec(any::<u8>(), 40);
    prop::collection::vec(event, 1..most)
}

/// Three names for all sets.
fn colliding(key: &SetKey) -> String {
    let hash = crds::revision::hash(key);
    format!("s-{}", hash.as_bytes()[0] % 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn every_step_is_that_of_the_reference(events in events(80)) {
        Bench::new(sets::name).run(&events);
    }

    #[test]
    fn so_it_is_when_names_of_sets_collide(events in events(40)) {
        Bench::new(colliding).run(&events);
    }
}

fn pod(number: usize) -> Pod {
    let [b, c] = u16::try_from(number).unwrap().to_be_bytes();
    Pod {
        namespace: "a".into(),
        name: format!("pod{number}").into(),
        uid: format!("uid{number}").into(),
        labels: [("app", "web")].into_iter().collect(),
        node: Some("n0".into()),
        ips: vec![IpAddr::from([10, 0, b, c])],
        ..Pod::default()
    }
}

fn policy(number: usize) -> Policy {
    Policy {
        namespace: "a".into(),
        name: format!("policy{number:04}").into(),
        uid: format!("uid{number}").into(),
        ingress: Some(vec![Rule {
            peers: Some(vec![Peer::Pods(PodEnd::default())]),
            ports: None,
        }]),
        ..Policy::default()
    }
}

/// A set grows beyond a slice and shrinks again; a node has more pods than fit.
#[test]
fn bounds_of_slices_and_nodes_are_kept() {
    let mut bench = Bench::new(sets::name);
    let node = Node {
        name: "n0".into(),
        ..Node::default()
    };
    both!(bench, upsert_node(node));
    both!(bench, upsert_policy(policy(0)));
    for count in [1, 249, 250, 251, 511, 512, 514] {
        for number in 0..count {
            both!(bench, upsert_pod(pod(number)));
        }
        bench.update();
    }
    assert_eq!(bench.given.sets.len(), 3);
    assert!(bench.given.problems.iter().any(|p| p.reason == "TooManyPods"));
    for number in (0..514).rev().filter(|n| n % 100 != 0) {
        both!(bench, remove_pod(&pod(number).key()));
        if number % 50 == 1 {
            bench.update();
        }
    }
    bench.update();
    assert_eq!(bench.given.sets.len(), 1);
    assert!(bench.given.problems.iter().all(|p| p.reason != "TooManyPods"));
}

/// More policies select a pod than can be bound.
#[test]
fn bounds_of_policies_are_kept() {
    let mut bench = Bench::new(sets::name);
    let node = Node {
        name: "n0".into(),
        ..Node::default()
    };
    both!(bench, upsert_node(node));
    both!(bench, upsert_pod(pod(0)));
    for count in [1023, 1024, 1025] {
        for number in 0..count {
            both!(bench, upsert_policy(policy(number)));
        }
        bench.update();
        let told = bench.given.problems.iter().any(|p| p.reason == "TooManyPolicies");
        assert_eq!(told, count > 1024);
    }
    both!(bench, remove_policy(&policy(0).key()));
    bench.update();
    assert!(bench.given.problems.iter().all(|p| p.reason != "TooManyPolicies"));
}

/// An event touches what depends on it and nothing else.
#[test]
fn what_does_not_depend_on_an_event_is_not_given_again() {
    let mut bench = Bench::new(sets::name);
    for name in ["n0", "n1"] {
        let node = Node {
            name: name.into(),
            ..Node::default()
        };
        both!(bench, upsert_node(node));
    }
    both!(bench, upsert_policy(policy(0)));
    both!(bench, upsert_pod(pod(0)));
    let elsewhere = Pod {
        node: Some("n1".into()),
        ..pod(1)
    };
    both!(bench, upsert_pod(elsewhere));
    bench.update();

    let readdressed = Pod {
        ips: vec![IpAddr::from([10, 9, 9, 9])],
        ..pod(0)
    };
    assert!(bench.engine.upsert_pod(readdressed));
    let delta = bench.engine.update();
    assert_eq!(delta.changed.sets.len(), 1, "its set");
    assert!(delta.changed.configs.is_empty(), "addresses are the sets' matter");
    assert!(delta.changed.policies.is_empty(), "so it is with policies");

    let relabelled = Pod {
        labels: Labels::default(),
        ips: vec![IpAddr::from([10, 9, 9, 9])],
        ..pod(0)
    };
    assert!(bench.engine.upsert_pod(relabelled));
    assert!(bench.engine.update().is_empty(), "no selector looks at the label");
    assert!(bench.engine.remove_policy(&policy(0).key()));
    let delta = bench.engine.update();
    assert_eq!(delta.removed.sets.len(), 1);
    assert_eq!(delta.removed.policies.len(), 1);
    let nodes: BTreeSet<&str> = delta.changed.configs.keys().map(String::as_str).collect();
    assert_eq!(nodes, BTreeSet::from(["n0", "n1"]), "nobody is isolated any more");
}
