//! Who decided: from what the packet met in the dataplane back to the policy and rule that put it there.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use compiler::facts::{ClusterPolicy, Policy, Rule, TierRule};
use compiler::{Cluster, ObjectKey, Settings, compile};
use crds::net::Cidr;
use crds::policy::cluster_policy_name;
use crds::vpp_config::PolicyRef;
use crds::{PolicyRule, PolicyTier, SetRef, VppPolicySpec};
use ipnet::IpNet;
use node_daemon::cluster::{Cluster as Shared, object_key};
use node_daemon::desired::Origin;
use vpp_sim::engine::{AclRule, TraceNode};

use super::dataplane::{Dataplane, Plug};
use super::journey::Journey;

/// ACLs of the daemon that belong to no policy.
const PERMIT_NODE: &str = "contiv/permit-node/";
const PERMIT_SELF: &str = "contiv/permit-self/";
const PERMIT_ANY: &str = "contiv/permit-any";
const DENY_ANY: &str = "contiv/deny-any";
const OF_SELF: &str = "default allow: a pod always reaches itself";
const OF_NODE: &str = "default allow: a node and its own pods always reach each other";

/// Seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Towards the pod.
    Ingress,
    /// From the pod.
    Egress,
}

impl Direction {
    /// As fields of a NetworkPolicy are called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    fn rules(self, spec: VppPolicySpec) -> Vec<PolicyRule> {
        match self {
            Self::Ingress => spec.ingress,
            Self::Egress => spec.egress,
        }
    }

    /// As the daemon's ACLs are tagged.
    fn tag(self) -> &'static str {
        match self {
            Self::Ingress => "in",
            Self::Egress => "out",
        }
    }
}

/// What ACLs of one pod's interface decided about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The pod.
    pub pod: ObjectKey,
    /// Which of its directions.
    pub direction: Direction,
    /// Whether the packet passed.
    pub permit: bool,
    /// For ingress: the pod's address to which the packet went.
    pub address: Option<IpAddr>,
    /// Node, ACL and rule; `None` when a session or the end of the list decided.
    rule: Option<(usize, u32, u32)>,
}

/// The decisions that a packet met, in order.
pub fn decisions(dataplane: &Dataplane, journey: &Journey) -> Vec<Decision> {
    let mut found = Vec::new();
    for stage in &journey.stages {
        let node = &dataplane.nodes[stage.node];
        // What a packet's rewrite says: interface and next hop, which for a pod is the pod's address.
        let mut leaving: Option<(u32, IpAddr)> = None;
        for step in &stage.nodes {
            if step.node.ends_with("-rewrite") {
                leaving = rewrite(&step.text).or(leaving);
            }
            let (interface, direction) = if step.node.starts_with("acl-plugin-in-") {
                (stage.interface, Direction::Egress)
            } else if step.node.starts_with("acl-plugin-out-") {
                (leaving.map(|(interface, _)| interface), Direction::Ingress)
            } else {
                continue;
            };
            let Some(Plug::Pod(pod)) = interface.and_then(|interface| node.plugs.get(&interface)) else {
                continue;
            };
            found.push(Decision {
                pod: pod.clone(),
                direction,
                permit: step.text.starts_with("permit"),
                address: leaving
                    .map(|(_, via)| via)
                    .filter(|_| direction == Direction::Ingress),
                rule: ruling(step).map(|(acl, rule)| (stage.node, acl, rule)),
            });
        }
    }
    found
}

/// `interface 5 via 10.0.0.1`
fn rewrite(text: &str) -> Option<(u32, IpAddr)> {
    let (interface, via) = text.strip_prefix("interface ")?.split_once(" via ")?;
    Some((interface.parse().ok()?, via.parse().ok()?))
}

/// `permit: acl 3 (contiv/policy/…) rule 5, new session`
fn ruling(step: &TraceNode) -> Option<(u32, u32)> {
    let (_, rest) = step.text.split_once(": acl ")?;
    let (acl, rest) = rest.split_once(" (")?;
    let (_, rule) = rest.rsplit_once(") rule ")?;
    let rule = rule.split(',').next()?;
    Some((acl.parse().ok()?, rule.parse().ok()?))
}

/// Knows which rule of which policy became which rule of an ACL.
pub struct Blame {
    /// Policies by the hash in their ACLs' tags.
    policies: HashMap<String, ObjectKey>,
    /// What each rule of a policy was compiled to.
    rules: BTreeMap<(ObjectKey, Direction), Vec<Vec<PolicyRule>>>,
    /// ClusterNetworkPolicies by the key of their VppPolicy.
    tiers: BTreeMap<ObjectKey, ClusterPolicy>,
    sets: BTreeMap<SetRef, Vec<Cidr>>,
    named: HashMap<(usize, u32, u32), String>,
}

impl Blame {
    /// Compiles every rule of every policy by itself.
    pub fn new(cluster: &Cluster) -> Self {
        let mut alone = Cluster::new();
        for pod in cluster.pods() {
            alone.upsert_pod(pod.clone());
        }
        for namespace in cluster.namespaces() {
            alone.upsert_namespace(namespace.clone());
        }
        let mut policies = HashMap::new();
        for policy in cluster.policies() {
            let reference = PolicyRef {
                namespace: policy.namespace.clone(),
                name: policy.name.clone(),
            };
            let hash = crds::revision::short_hash(&reference)[..10].to_owned();
            policies.insert(hash, policy.key());
            for (direction, index, part) in parts(policy) {
                alone.upsert_policy(Policy {
                    name: part_name(&policy.name, direction, index).into(),
                    ..part
                });
            }
        }
        let mut tiers = BTreeMap::new();
        for policy in cluster.cluster_policies() {
            tiers.insert(tier_key(policy.tier, &policy.name), policy.clone());
            for (direction, index, part) in tier_parts(policy) {
                alone.upsert_cluster_policy(ClusterPolicy {
                    name: part_name(&policy.name, direction, index),
                    ..part
                });
            }
        }
        let mut output = compile(&alone, &Settings::default());
        let mut rules: BTreeMap<_, Vec<Vec<PolicyRule>>> = BTreeMap::new();
        for policy in cluster.policies() {
            for (direction, index, _) in parts(policy) {
                let name = part_name(&policy.name, direction, index);
                let spec = output
                    .policies
                    .remove(&ObjectKey::new(policy.namespace.clone(), name));
                let spec = spec.map(|compiled| compiled.spec).unwrap_or_default();
                let of = rules.entry((policy.key(), direction)).or_default();
                of.push(direction.rules(spec));
            }
        }
        for (key, policy) in &tiers {
            for (direction, index, _) in tier_parts(policy) {
                let part = tier_key(policy.tier, &part_name(&policy.name, direction, index));
                let spec = output.policies.remove(&part);
                let spec = spec.map(|compiled| compiled.spec).unwrap_or_default();
                let of = rules.entry((key.clone(), direction)).or_default();
                of.push(direction.rules(spec));
            }
        }
        let shared = Shared {
            sets: output
                .sets
                .into_iter()
                .map(|(key, set)| (object_key(&key.namespace, &key.name), set.spec))
                .collect(),
            ..Shared::default()
        };
        Self {
            policies,
            rules,
            tiers,
            sets: shared.set_members(),
            named: HashMap::new(),
        }
    }

    /// Who let a packet pass that met these decisions.
    pub fn allowed(&mut self, dataplane: &Dataplane, decisions: &[Decision]) -> String {
        let mut by: Vec<String> = Vec::new();
        for decision in decisions.iter().filter(|decision| decision.rule.is_some()) {
            let name = self.name(dataplane, decision);
            if !name.is_empty() && !by.contains(&name) {
                by.push(name);
            }
        }
        if by.is_empty() {
            "default allow: no policy isolates either end in this direction".to_owned()
        } else {
            by.join(" and ")
        }
    }

    /// Who stopped a packet; `None` if no policy did.
    pub fn denied(&mut self, dataplane: &Dataplane, decisions: &[Decision]) -> Option<String> {
        let decision = decisions.iter().find(|decision| !decision.permit)?;
        Some(self.name(dataplane, decision))
    }

    fn name(&mut self, dataplane: &Dataplane, decision: &Decision) -> String {
        let Some(rule) = decision.rule else {
            return default_deny(dataplane, decision);
        };
        let (node, acl, index) = rule;
        let Some(list) = dataplane.nodes[node].engine.acl(acl) else {
            return format!("ACL {acl}");
        };
        match list.tag.as_str() {
            DENY_ANY => default_deny(dataplane, decision),
            PERMIT_ANY => String::new(),
            tag if tag.starts_with(PERMIT_NODE) => OF_NODE.to_owned(),
            tag if tag.starts_with(PERMIT_SELF) => OF_SELF.to_owned(),
            tag => {
                let origins = dataplane.nodes[node].origins.get(tag);
                if let Some(origins) = origins
                    && let Some(origin) = origins.rules.get(index as usize)
                {
                    return match *origin {
                        Origin::Rule { policy, rule } => {
                            self.tier_rule(&origins.policies[policy], decision.direction, rule)
                        }
                        Origin::Isolation => default_deny(dataplane, decision),
                        Origin::Node => OF_NODE.to_owned(),
                        Origin::Default => String::new(),
                        Origin::Unknown => format!("{tag} rule {index}"),
                    };
                }
                if let Some(name) = self.named.get(&rule) {
                    return name.clone();
                }
                let matched = list.rules.get(index as usize);
                let name = matched.and_then(|matched| self.policy_rule(tag, decision.direction, matched));
                let name = name.unwrap_or_else(|| format!("{tag} rule {index}"));
                self.named.insert(rule, name.clone());
                name
            }
        }
    }

    /// The rule of a policy that became this compiled rule of it.
    fn tier_rule(&self, policy: &PolicyRef, direction: Direction, compiled: usize) -> String {
        let key = ObjectKey::new(policy.namespace.clone(), policy.name.clone());
        let word = direction.word();
        let rules = self.rules.get(&(key.clone(), direction));
        let mut before = 0;
        let became = |rules: &Vec<PolicyRule>| {
            before += rules.len();
            compiled < before
        };
        let index = rules.and_then(|rules| rules.iter().position(became));
        let at = index.map_or_else(String::new, |index| format!("[{index}]"));
        let Some(policy) = self.tiers.get(&key) else {
            return format!("{key} {word}{at}");
        };
        let rules = match direction {
            Direction::Ingress => &policy.ingress,
            Direction::Egress => &policy.egress,
        };
        let name = index.and_then(|index| rules.get(index)).map(|rule| &rule.name);
        let name = name.filter(|name| !name.is_empty());
        let name = name.map_or_else(String::new, |name| format!(" {name:?}"));
        format!("cnp/{} {:?} {word}{at}{name}", policy.name, policy.tier)
    }

    /// The first rule of the policy that became this rule of its ACL, as the path of its field.
    fn policy_rule(&self, tag: &str, direction: Direction, matched: &AclRule) -> Option<String> {
        let hash = tag
            .strip_suffix(direction.tag())?
            .strip_suffix('/')?
            .rsplit('/')
            .next()?;
        let key = self.policies.get(hash)?;
        let word = direction.word();
        let rules = self.rules.get(&(key.clone(), direction))?;
        let made =
            |compiled: &Vec<PolicyRule>| compiled.iter().any(|rule| self.makes(rule, direction, matched));
        let name = match rules.iter().position(made) {
            Some(index) => format!("{key} {word}[{index}]"),
            None => format!("{key} {word}"),
        };
        Some(name)
    }

    fn makes(&self, rule: &PolicyRule, direction: Direction, matched: &AclRule) -> bool {
        let (peer, target) = match direction {
            Direction::Ingress => (&matched.src, &matched.dst),
            Direction::Egress => (&matched.dst, &matched.src),
        };
        let among = |refs: Option<&Vec<SetRef>>, prefix: &vpp_sim::engine::Prefix| match refs {
            None => prefix.len == 0,
            Some(refs) => IpNet::new(prefix.address, prefix.len).is_ok_and(|net| {
                let cidr = Cidr::from(net);
                let mut members = refs.iter().filter_map(|set| self.sets.get(set)).flatten();
                members.any(|member| *member == cidr)
            }),
        };
        let port = match &rule.ports {
            None => matched.proto == 0,
            Some(ports) => ports
                .iter()
                .any(|port| port.protocol.number() == matched.proto && port.range() == matched.dst_ports),
        };
        port && among(rule.peers.as_ref(), peer) && among(rule.targets.as_ref(), target)
    }
}

/// A policy cut into one policy per rule.
fn parts(policy: &Policy) -> impl Iterator<Item = (Direction, usize, Policy)> {
    let part = |ingress: Option<&Rule>, egress: Option<&Rule>| Policy {
        ingress: ingress.map(|rule| vec![rule.clone()]),
        egress: egress.map(|rule| vec![rule.clone()]),
        ..policy.clone()
    };
    let ingress = policy.ingress.iter().flatten().enumerate();
    let ingress = ingress.map(move |(index, rule)| (Direction::Ingress, index, part(Some(rule), None)));
    let egress = policy.egress.iter().flatten().enumerate();
    ingress.chain(egress.map(move |(index, rule)| (Direction::Egress, index, part(None, Some(rule)))))
}

/// A ClusterNetworkPolicy cut into one policy per rule.
fn tier_parts(policy: &ClusterPolicy) -> impl Iterator<Item = (Direction, usize, ClusterPolicy)> {
    let part = |ingress: &[TierRule], egress: &[TierRule]| ClusterPolicy {
        ingress: ingress.to_vec(),
        egress: egress.to_vec(),
        ..policy.clone()
    };
    let ingress = policy.ingress.chunks(1).enumerate();
    let ingress = ingress.map(move |(index, rule)| (Direction::Ingress, index, part(rule, &[])));
    let egress = policy.egress.chunks(1).enumerate();
    ingress.chain(egress.map(move |(index, rule)| (Direction::Egress, index, part(&[], rule))))
}

/// Key of the VppPolicy of a ClusterNetworkPolicy.
fn tier_key(tier: PolicyTier, name: &str) -> ObjectKey {
    ObjectKey::new(crds::SYSTEM_NAMESPACE, cluster_policy_name(tier, name))
}

/// No object has such a name.
fn part_name(policy: &str, direction: Direction, index: usize) -> String {
    format!("{policy} {} {index}", direction.word())
}

fn default_deny(dataplane: &Dataplane, decision: &Decision) -> String {
    let pod = dataplane.cluster.pod(&decision.pod);
    let config = pod
        .and_then(|pod| pod.node.as_deref())
        .and_then(|node| dataplane.output.configs.get(node));
    let bindings = config.map_or(&[][..], |config| &config.spec.pods);
    let binding = bindings
        .iter()
        .find(|binding| binding.namespace == decision.pod.namespace && binding.name == decision.pod.name);
    let place = binding.and_then(|binding| match decision.direction {
        Direction::Ingress => binding.ingress,
        Direction::Egress => binding.egress,
    });
    let set = config.and_then(|config| config.spec.policy_set(place));
    let names: Vec<String> = set
        .iter()
        .flat_map(|set| &set.policies)
        // No ClusterNetworkPolicy isolates.
        .filter(|policy| {
            policy.namespace != crds::SYSTEM_NAMESPACE
                || PolicyTier::of_cluster_policy(&policy.name).is_none()
        })
        .map(|policy| format!("{}/{}", policy.namespace, policy.name))
        .collect();
    format!(
        "default deny: {} of {} is isolated by {}, and no rule allows this",
        decision.direction.word(),
        decision.pod,
        names.join(", ")
    )
}
