//! Policies: rules that name address sets, and which pods are bound to them.
//!
//! A ClusterNetworkPolicy's rules are compiled like a NetworkPolicy's; it differs in whom it selects
//! (pods of many namespaces), in its actions, and in isolating nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crds::net::{PortMatch, Protocol};
use crds::policy::{CLUSTER_POLICY_PREFIX, cluster_policy_name};
use crds::vpp_config::{DirectionBinding, PolicyRef};
use crds::{PolicyAction, PolicyRule, PolicyTier, SetRef, VppPolicySpec};

use crate::cluster::Cluster;
use crate::facts::{
    ClusterPolicy, Kind, NamedPort, ObjectKey, ObjectRef, Peer, Pod, PodEnd, Policy, Port, Problem, Rule,
};
use crate::output::{Compiled, Owner};
use crate::prefixes;
use crate::selector::Selector;
use crate::sets::{SetKey, Sets, select};

/// Most policies of one pod and direction (the schema's bound).
pub const MAX_BOUND_POLICIES: usize = 1024;

/// Compiles every NetworkPolicy and every ClusterNetworkPolicy.
pub fn compile(
    cluster: &Cluster,
    sets: &mut Sets<'_>,
    problems: &mut BTreeSet<Problem>,
) -> BTreeMap<ObjectKey, Compiled<VppPolicySpec>> {
    let mut compiled = BTreeMap::new();
    for policy in cluster.policies() {
        if let Some(one) = one(cluster, policy, sets, problems) {
            compiled.insert(policy.key(), one);
        }
    }
    for policy in cluster.cluster_policies() {
        let key = cluster_key(sets.system_namespace(), policy);
        compiled.insert(key, one_of_cluster(cluster, policy, sets, problems));
    }
    compiled
}

/// Key of the VppPolicy of a ClusterNetworkPolicy.
pub(crate) fn cluster_key(system_namespace: &str, policy: &ClusterPolicy) -> ObjectKey {
    let name = cluster_policy_name(policy.tier, &policy.name);
    ObjectKey::new(system_namespace, name)
}

/// Whether a NetworkPolicy has a name that VppPolicies of ClusterNetworkPolicies have: whoever may
/// write policies in the system namespace must not replace an administrator's rules unnoticed.
fn is_reserved(system_namespace: &str, namespace: &str, name: &str) -> bool {
    namespace == system_namespace && name.starts_with(CLUSTER_POLICY_PREFIX)
}

/// Compiles one NetworkPolicy; `None` if its name is reserved.
pub(crate) fn one(
    cluster: &Cluster,
    policy: &Policy,
    sets: &mut Sets<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Option<Compiled<VppPolicySpec>> {
    problems.extend(policy.problems.iter().cloned());
    if is_reserved(sets.system_namespace(), &policy.namespace, &policy.name) {
        problems.insert(Problem {
            object: Kind::NETWORK_POLICY.of(&policy.namespace, &policy.name, &policy.uid),
            reason: "ReservedName",
            message: format!(
                "in this namespace names that begin with {CLUSTER_POLICY_PREFIX:?} are those of \
                 ClusterNetworkPolicies: the policy isolates its pods and accepts nothing; rename it"
            ),
        });
        return None;
    }
    let mut spec = VppPolicySpec::default();
    let author = Author {
        object: &|| Kind::NETWORK_POLICY.of(&policy.namespace, &policy.name, &policy.uid),
        namespace: &policy.namespace,
        subject: PodEnd {
            pods: policy.pods.clone(),
            namespaces: None,
        },
    };
    for rule in policy.ingress.iter().flatten() {
        ingress(cluster, &author, rule, sets, &mut spec.ingress, problems);
    }
    for rule in policy.egress.iter().flatten() {
        egress(cluster, &author, rule, sets, &mut spec.egress);
    }
    spec.revision = crds::revision::short_hash(&spec);
    let owner = Some(Owner::new(Kind::NETWORK_POLICY, &policy.name, &policy.uid));
    Some(Compiled { spec, owner })
}

/// Compiles one ClusterNetworkPolicy.
pub(crate) fn one_of_cluster(
    cluster: &Cluster,
    policy: &ClusterPolicy,
    sets: &mut Sets<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Compiled<VppPolicySpec> {
    problems.extend(policy.problems.iter().cloned());
    let mut spec = VppPolicySpec {
        tier: policy.tier,
        priority: policy.priority,
        ..VppPolicySpec::default()
    };
    let author = Author {
        object: &|| Kind::CLUSTER_NETWORK_POLICY.of_cluster(&policy.name, &policy.uid),
        namespace: "",
        subject: policy.subject.clone(),
    };
    for rule in &policy.ingress {
        let first = spec.ingress.len();
        ingress(cluster, &author, &rule.matches, sets, &mut spec.ingress, problems);
        decide(&mut spec.ingress[first..], rule.action);
    }
    for rule in &policy.egress {
        let first = spec.egress.len();
        egress(cluster, &author, &rule.matches, sets, &mut spec.egress);
        decide(&mut spec.egress[first..], rule.action);
    }
    spec.revision = crds::revision::short_hash(&spec);
    let owner = Some(Owner::new(
        Kind::CLUSTER_NETWORK_POLICY,
        &policy.name,
        &policy.uid,
    ));
    Compiled { spec, owner }
}

/// What one rule was compiled to decides as one: the order of these rules has no meaning.
fn decide(rules: &mut [PolicyRule], action: PolicyAction) {
    for rule in rules {
        rule.action = action;
    }
}

/// Whose rules are compiled.
struct Author<'a> {
    /// The object that problems are about.
    object: &'a dyn Fn() -> ObjectRef,
    /// The namespace to which selectors are relative, if they are to one.
    namespace: &'a str,
    /// The pods to which the rules apply.
    subject: PodEnd,
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

impl From<&ClusterPolicy> for Speaks {
    fn from(policy: &ClusterPolicy) -> Self {
        Self {
            ingress: !policy.ingress.is_empty(),
            egress: !policy.egress.is_empty(),
        }
    }
}

/// A policy's place in the order of evaluation: by tier, priority, namespace and name. Where
/// ClusterNetworkPolicies have equal priorities the API leaves the order open; here it is that of the
/// names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    tier: PolicyTier,
    /// Lower first; 0 in the NetworkPolicy tier.
    priority: i32,
    /// Key of the VppPolicy.
    key: ObjectKey,
}

impl Rank {
    /// Key of the VppPolicy.
    pub(crate) fn key(&self) -> &ObjectKey {
        &self.key
    }

    /// The rank of a ClusterNetworkPolicy, whose VppPolicy is in the system namespace.
    pub(crate) fn of_cluster(system_namespace: &str, policy: &ClusterPolicy) -> Self {
        let name = cluster_policy_name(policy.tier, &policy.name);
        Self {
            tier: policy.tier,
            priority: policy.priority,
            key: ObjectKey::new(system_namespace, name),
        }
    }
}

impl From<&Policy> for Rank {
    fn from(policy: &Policy) -> Self {
        Self {
            tier: PolicyTier::NetworkPolicy,
            priority: 0,
            key: policy.key(),
        }
    }
}

/// What policies say of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) ingress: Arc<DirectionBinding>,
    /// The same one as that of ingress, if they are equal.
    pub(crate) egress: Arc<DirectionBinding>,
    /// Whether policies had to be left out.
    pub(crate) too_many: bool,
}

impl Bound {
    /// What policies, given in order of rank, say of a pod that they select.
    ///
    /// Whether a direction is isolated depends on the NetworkPolicies that speak of it, not on their
    /// rules; an isolated direction never gets to the Baseline tier. Policies beyond the bound are
    /// left out and the direction is closed: then less is accepted than the user wants, not more.
    pub(crate) fn by<'p>(system_namespace: &str, policies: impl Iterator<Item = (&'p Rank, Speaks)>) -> Self {
        let mut too_many = false;
        let mut directions = [DirectionBinding::default(), DirectionBinding::default()];
        // Policies before the Baseline tier.
        let mut before = [0; 2];
        for (rank, speaks) in policies {
            let directions = directions.iter_mut().zip(&mut before);
            for ((binding, before), speaks) in directions.zip([speaks.ingress, speaks.egress]) {
                let baseline = rank.tier == PolicyTier::Baseline;
                if !speaks || (baseline && binding.isolated) {
                    continue;
                }
                let ObjectKey { namespace, name } = &rank.key;
                if rank.tier == PolicyTier::NetworkPolicy {
                    binding.isolated = true;
                    if is_reserved(system_namespace, namespace, name) {
                        continue;
                    }
                }
                if binding.policies.len() == MAX_BOUND_POLICIES {
                    too_many = true;
                    binding.isolated = true;
                    // Baseline policies of which some are missing decide nothing.
                    binding.policies.truncate(*before);
                    continue;
                }
                binding.policies.push(PolicyRef {
                    namespace: namespace.clone(),
                    name: name.clone(),
                });
                *before += usize::from(!baseline);
            }
        }
        let [ingress, egress] = directions;
        let ingress = Arc::new(ingress);
        let egress = if egress == *ingress {
            Arc::clone(&ingress)
        } else {
            Arc::new(egress)
        };
        Self {
            ingress,
            egress,
            too_many,
        }
    }

    /// Which ClusterNetworkPolicies select a pod whose namespace has not been seen yet can't be
    /// told: while there are any, nothing passes.
    pub(crate) fn of_unknown_namespace() -> Self {
        let closed = Arc::new(DirectionBinding {
            isolated: true,
            policies: Vec::new(),
        });
        Self {
            ingress: Arc::clone(&closed),
            egress: closed,
            too_many: false,
        }
    }
}

/// The policies that select a pod, and what they say of it.
pub(crate) fn bindings(cluster: &Cluster, system_namespace: &str, pod: &Pod) -> Bound {
    let own = cluster
        .policies_in(&pod.namespace)
        .filter(|policy| policy.pods.matches(&pod.labels))
        .map(|policy| (Rank::from(policy), Speaks::from(policy)));
    let mut selecting: BTreeMap<Rank, Speaks> = own.collect();
    match cluster.namespace(&pod.namespace) {
        None if cluster.cluster_policies().next().is_some() => return Bound::of_unknown_namespace(),
        None => {}
        Some(namespace) => {
            let tiers = cluster.cluster_policies().filter(|policy| {
                let PodEnd { pods, namespaces } = &policy.subject;
                let there = namespaces.as_ref();
                there.is_some_and(|there| there.matches(&namespace.labels)) && pods.matches(&pod.labels)
            });
            selecting.extend(tiers.map(|policy| {
                let rank = Rank::of_cluster(system_namespace, policy);
                (rank, Speaks::from(policy))
            }));
        }
    }
    Bound::by(
        system_namespace,
        selecting.iter().map(|(rank, speaks)| (rank, *speaks)),
    )
}

/// What to tell of a pod whose policies had to be left out.
pub(crate) fn too_many(pod: &Pod) -> Problem {
    Problem {
        object: Kind::POD.of(&pod.namespace, &pod.name, &pod.uid),
        reason: "TooManyPolicies",
        message: format!(
            "more than {MAX_BOUND_POLICIES} policies select the pod; the last \
             ones accept nothing: merge policies"
        ),
    }
}

/// Numeric ports of a rule, and its named ones.
fn split(ports: &[Port]) -> (Vec<PortMatch>, BTreeSet<(Option<Protocol>, &str)>) {
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

fn peer_sets(author: &Author<'_>, rule: &Rule, sets: &mut Sets<'_>) -> Option<Vec<SetRef>> {
    let peers = rule.peers.as_ref()?;
    let refs: BTreeSet<SetRef> = peers
        .iter()
        .map(|peer| match peer {
            Peer::Pods(end) => sets.set(SetKey::pods(author.namespace, end)),
            Peer::Block { cidr, except } => sets.set(SetKey::Block(prefixes::subtract(*cidr, except))),
            Peer::Nodes(nodes) => sets.set(SetKey::Nodes(nodes.clone())),
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
) -> BTreeSet<(Option<Protocol>, &'r str)> {
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
fn named<'p>(
    pods: impl Iterator<Item = &'p Pod>,
    protocol: Option<Protocol>,
    name: &str,
) -> BTreeSet<NamedPort> {
    let is_meant =
        |port: &&NamedPort| protocol.is_none_or(|protocol| port.protocol == protocol) && port.name == name;
    let ports = pods.flat_map(|pod| &pod.ports).filter(is_meant);
    ports.cloned().collect()
}

fn ingress(
    cluster: &Cluster,
    author: &Author<'_>,
    rule: &Rule,
    sets: &mut Sets<'_>,
    compiled: &mut Vec<PolicyRule>,
    problems: &mut BTreeSet<Problem>,
) {
    let peers = peer_sets(author, rule, sets);
    if peers.as_ref().is_some_and(Vec::is_empty) {
        return;
    }
    let own = &author.subject;
    for (protocol, name) in plain(rule, peers.as_ref(), compiled) {
        let targets = select(cluster, author.namespace, &own.pods, own.namespaces.as_ref());
        let mut targets = targets.peekable();
        let any = targets.peek().is_some();
        let ports = named(targets, protocol, name);
        if any && ports.is_empty() {
            problems.insert(Problem {
                object: (author.object)(),
                reason: "NamedPortNotFound",
                message: format!(
                    "no selected pod has a {}container port named {name:?}: the rule \
                     matches nothing for it; name the port in the pods, or write its number",
                    protocol
                        .map(|protocol| format!("{protocol} "))
                        .unwrap_or_default()
                ),
            });
        }
        for port in ports {
            let targets = sets.set(SetKey::with_port(author.namespace, own, &port));
            compiled.push(PolicyRule {
                peers: peers.clone(),
                targets: Some(vec![targets]),
                ports: one_port(port.protocol, port.number),
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
    author: &Author<'_>,
    rule: &Rule,
    sets: &mut Sets<'_>,
    compiled: &mut Vec<PolicyRule>,
) {
    let peers = peer_sets(author, rule, sets);
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
            let pods = select(cluster, author.namespace, &end.pods, end.namespaces.as_ref());
            for port in named(pods, protocol, name) {
                let set = sets.set(SetKey::with_port(author.namespace, end, &port));
                by_number
                    .entry((port.protocol, port.number))
                    .or_default()
                    .insert(set);
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
