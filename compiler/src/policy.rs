//! NetworkPolicies: rules that name address sets, and which pods are bound to them.

use std::collections::{BTreeMap, BTreeSet};

use crds::net::{PortMatch, Protocol};
use crds::vpp_config::{DirectionBinding, PolicyRef};
use crds::{PolicyRule, SetRef, VppPolicySpec};

use crate::cluster::Cluster;
use crate::facts::{Kind, NamedPort, ObjectKey, Peer, Pod, PodEnd, Policy, Port, Problem, Rule};
use crate::output::{Compiled, Owner};
use crate::prefixes;
use crate::selector::Selector;
use crate::sets::{SetKey, Sets, select};

/// Most policies of one pod and direction (the schema's bound).
pub const MAX_BOUND_POLICIES: usize = 1024;

/// Compiles every NetworkPolicy.
pub fn compile(
    cluster: &Cluster,
    sets: &mut Sets<'_>,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<ObjectKey, Compiled<VppPolicySpec>> {
    let policies = cluster.policies();
    policies
        .map(|policy| (policy.key(), one(cluster, policy, sets, problems)))
        .collect()
}

/// Compiles one NetworkPolicy.
pub(crate) fn one(
    cluster: &Cluster,
    policy: &Policy,
    sets: &mut Sets<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Compiled<VppPolicySpec> {
    problems.extend(policy.problems.iter().cloned());
    let mut spec = VppPolicySpec::default();
    for rule in policy.ingress.iter().flatten() {
        ingress(cluster, policy, rule, sets, &mut spec.ingress, problems);
    }
    for rule in policy.egress.iter().flatten() {
        egress(cluster, policy, rule, sets, &mut spec.egress);
    }
    spec.revision = crds::revision::short_hash(&spec);
    let owner = Some(Owner::new(Kind::NETWORK_POLICY, &policy.name, &policy.uid));
    Compiled { spec, owner }
}

/// Of which directions a policy speaks, whatever its rules are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Speaks {
    pub(crate) ingress: bool,
    pub(crate) egress: bool,
}

impl From<&Policy> for Speaks {
    fn from(policy: &Policy) -> Self {
        Self {
            ingress: policy.ingress.is_some(),
            egress: policy.egress.is_some(),
        }
    }
}

/// What policies say of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bound {
    pub(crate) ingress: DirectionBinding,
    pub(crate) egress: DirectionBinding,
    /// Whether policies had to be left out.
    pub(crate) too_many: bool,
}

impl Bound {
    /// What policies of a namespace, given by name in order, say of a pod that they select.
    ///
    /// Whether a direction is isolated depends on the policies that speak of it, not on their rules.
    /// Policies beyond the bound are left out: then less is accepted than the user wants, not more.
    pub(crate) fn by<'p>(namespace: &str, policies: impl Iterator<Item = (&'p str, Speaks)>) -> Self {
        let mut bound = Self::default();
        for (name, speaks) in policies {
            let directions = [
                (&mut bound.ingress, speaks.ingress),
                (&mut bound.egress, speaks.egress),
            ];
            for (binding, speaks) in directions {
                if !speaks {
                    continue;
                }
                binding.isolated = true;
                if binding.policies.len() == MAX_BOUND_POLICIES {
                    bound.too_many = true;
                    continue;
                }
                binding.policies.push(PolicyRef {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                });
            }
        }
        bound
    }
}

/// The policies that select a pod, and what they say of it.
pub(crate) fn bindings(cluster: &Cluster, pod: &Pod) -> Bound {
    let selecting = cluster
        .policies_in(&pod.namespace)
        .filter(|policy| policy.pods.matches(&pod.labels));
    Bound::by(
        &pod.namespace,
        selecting.map(|policy| (policy.name.as_str(), Speaks::from(policy))),
    )
}

/// What to tell of a pod whose policies had to be left out.
pub(crate) fn too_many(pod: &Pod) -> Problem {
    Problem {
        object: Kind::POD.of(&pod.namespace, &pod.name, &pod.uid),
        reason: "TooManyPolicies",
        message: format!(
            "more than {MAX_BOUND_POLICIES} NetworkPolicies select the pod; the last \
             ones by name accept nothing: merge policies"
        ),
    }
}

/// Numeric ports of a rule, and its named ones.
fn split(ports: &[Port]) -> (Vec<PortMatch>, BTreeSet<(Protocol, &str)>) {
    let mut numbers = BTreeSet::new();
    let mut names = BTreeSet::new();
    for port in ports {
        match port {
            Port::Number(port) => {
                numbers.insert(port.clone());
            }
            Port::Named { protocol, name } => {
                names.insert((*protocol, name.as_str()));
            }
        }
    }
    (numbers.into_iter().collect(), names)
}

fn peer_sets(policy: &Policy, rule: &Rule, sets: &mut Sets<'_>) -> Option<Vec<SetRef>> {
    let peers = rule.peers.as_ref()?;
    let refs: BTreeSet<SetRef> = peers
        .iter()
        .map(|peer| match peer {
            Peer::Pods(end) => sets.set(SetKey::pods(&policy.namespace, end)),
            Peer::Block { cidr, except } => sets.set(SetKey::Block(prefixes::subtract(*cidr, except))),
        })
        .collect();
    Some(refs.into_iter().collect())
}

/// The part of a rule that is the same in both directions: all ports, or numeric ones.
/// Returns the named ports, which are left to do.
fn plain<'r>(
    rule: &'r Rule,
    peers: Option<&Vec<SetRef>>,
    compiled: &mut Vec<PolicyRule>,
) -> BTreeSet<(Protocol, &'r str)> {
    let (ports, names) = match &rule.ports {
        None => (None, BTreeSet::new()),
        Some(ports) => {
            let (numbers, names) = split(ports);
            if numbers.is_empty() {
                return names;
            }
            (Some(numbers), names)
        }
    };
    compiled.push(PolicyRule {
        peers: peers.cloned(),
        ports,
        ..PolicyRule::default()
    });
    names
}

/// The rule for one port number of named ports.
fn one_port(protocol: Protocol, number: u16) -> Option<Vec<PortMatch>> {
    Some(vec![PortMatch {
        protocol,
        port: Some(number),
        end_port: None,
    }])
}

/// Ports of this name and protocol on these pods. It is the destination's port that counts, and
/// its number may differ from pod to pod.
fn named<'p>(pods: impl Iterator<Item = &'p Pod>, protocol: Protocol, name: &str) -> BTreeSet<NamedPort> {
    let ports = pods.flat_map(|pod| &pod.ports);
    let ports = ports.filter(|port| port.protocol == protocol && port.name == name);
    ports.cloned().collect()
}

fn ingress(
    cluster: &Cluster,
    policy: &Policy,
    rule: &Rule,
    sets: &mut Sets<'_>,
    compiled: &mut Vec<PolicyRule>,
    problems: &mut BTreeSet<Problem>,
) {
    let peers = peer_sets(policy, rule, sets);
    if peers.as_ref().is_some_and(Vec::is_empty) {
        return;
    }
    let own = PodEnd {
        pods: policy.pods.clone(),
        namespaces: None,
    };
    for (protocol, name) in plain(rule, peers.as_ref(), compiled) {
        let mut targets = select(cluster, &policy.namespace, &own.pods, None).peekable();
        let any = targets.peek().is_some();
        let ports = named(targets, protocol, name);
        if any && ports.is_empty() {
            problems.insert(Problem {
                object: Kind::NETWORK_POLICY.of(&policy.namespace, &policy.name, &policy.uid),
                reason: "NamedPortNotFound",
                message: format!(
                    "no selected pod has a {protocol} container port named {name:?}: the rule \
                     accepts nothing for it; name the port in the pods, or write its number"
                ),
            });
        }
        for port in ports {
            let targets = sets.set(SetKey::with_port(&policy.namespace, &own, &port));
            compiled.push(PolicyRule {
                peers: peers.clone(),
                targets: Some(vec![targets]),
                ports: one_port(protocol, port.number),
                ..PolicyRule::default()
            });
        }
    }
}

/// Any pod.
pub(crate) fn anywhere() -> PodEnd {
    PodEnd {
        pods: Selector::all(),
        namespaces: Some(Selector::all()),
    }
}

fn egress(
    cluster: &Cluster,
    policy: &Policy,
    rule: &Rule,
    sets: &mut Sets<'_>,
    compiled: &mut Vec<PolicyRule>,
) {
    let peers = peer_sets(policy, rule, sets);
    if peers.as_ref().is_some_and(Vec::is_empty) {
        return;
    }
    let names = plain(rule, peers.as_ref(), compiled);
    // Only pods have named ports: blocks drop out, and "any peer" means any pod.
    let anywhere = [Peer::Pods(anywhere())];
    let peers = rule.peers.as_deref().unwrap_or(&anywhere);
    let mut by_number: BTreeMap<(Protocol, u16), BTreeSet<SetRef>> = BTreeMap::new();
    for (protocol, name) in names {
        for peer in peers {
            let Peer::Pods(end) = peer else { continue };
            let pods = select(cluster, &policy.namespace, &end.pods, end.namespaces.as_ref());
            for port in named(pods, protocol, name) {
                let set = sets.set(SetKey::with_port(&policy.namespace, end, &port));
                by_number.entry((protocol, port.number)).or_default().insert(set);
            }
        }
    }
    for ((protocol, number), peers) in by_number {
        compiled.push(PolicyRule {
            peers: Some(peers.into_iter().collect()),
            ports: one_port(protocol, number),
            ..PolicyRule::default()
        });
    }
}
