//! ClusterNetworkPolicies (network-policy-api v1alpha2).
//!
//! The API's types say how to fail closed where a peer is of a kind that the reader does not know:
//! an Accept rule matches nothing, a Deny or Pass rule denies everything. The same is done here
//! with everything else in a rule that can't be read, and with what exceeds the schema's bounds:
//! an object read from a file was held to no schema, and a later CRD may know more than we do.
//! Where the policy as a whole is in doubt (tier, priority, subject, fields nobody knows), its
//! Denys apply as wide as they may be meant, and its Accepts and Passes let nothing through.

use std::borrow::Cow;

use crds::net::{Cidr, PortMatch, Protocol};
use crds::{PolicyAction, PolicyTier};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::policy::Mistakes;
use super::{identity, port as number};
use crate::facts::{ClusterPolicy, Kind, Peer, PodEnd, Port, Rule, TierRule};
use crate::selector::Selector;

/// Most rules of a direction, peers or protocols of a rule, networks of a peer (the schema's bound).
const MAX_ITEMS: usize = 25;
/// Lowest precedence (the schema's bound).
const MAX_PRIORITY: i64 = 1000;

/// A ClusterNetworkPolicy as the API server or a file has it: its spec is read leniently by
/// [`cluster_policy`], because what is unknown in it must be noticed, not dropped.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClusterNetworkPolicy {
    /// Metadata.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Spec, unread.
    #[serde(default)]
    pub spec: Value,
}

impl Resource for ClusterNetworkPolicy {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "ClusterNetworkPolicy".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "policy.networking.k8s.io".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1alpha2".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "clusternetworkpolicies".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What the compiler needs to know of a ClusterNetworkPolicy.
pub fn cluster_policy(policy: &ClusterNetworkPolicy) -> ClusterPolicy {
    let (_, name, uid) = identity(&policy.metadata);
    let mut mistakes = Mistakes::default();
    let mut spec = match &policy.spec {
        Value::Object(spec) => spec.clone(),
        _ => Map::new(),
    };
    let ingress = rules(spec.remove("ingress"), Side::Ingress, &mut mistakes);
    let egress = rules(spec.remove("egress"), Side::Egress, &mut mistakes);

    // From here on a mistake is one about the policy as a whole.
    let mut doubts = Mistakes::default();
    let tier = tier(spec.remove("tier").as_ref(), &mut doubts);
    let priority = priority(spec.remove("priority").as_ref(), &mut doubts);
    let subject = subject(spec.remove("subject"), &mut doubts);
    for unknown in spec.keys() {
        let message = format!("spec.{unknown} is unknown to this release");
        doubts.add("UnknownField", message);
    }
    let doubtful = !doubts.is_empty();
    for (reason, message) in doubts.into_iter() {
        let effect = "until it can be read the policy's Deny rules apply, its Pass rules deny, and its \
                      Accept rules match nothing";
        mistakes.add(reason, format!("{message}: {effect}"));
    }
    let doubt = |rules: Vec<TierRule>| match doubtful {
        true => rules.into_iter().map(in_doubt).collect(),
        false => rules,
    };
    let object = Kind::CLUSTER_NETWORK_POLICY.of_cluster(&name, &uid);
    ClusterPolicy {
        tier,
        priority,
        subject,
        ingress: doubt(ingress),
        egress: doubt(egress),
        problems: mistakes.told(|| object.clone()),
        name,
        uid,
    }
}

fn tier(tier: Option<&Value>, doubts: &mut Mistakes) -> PolicyTier {
    match tier.and_then(Value::as_str) {
        Some("Admin") => PolicyTier::Admin,
        Some("Baseline") => PolicyTier::Baseline,
        _ => {
            doubts.add(
                "InvalidTier",
                "spec.tier is neither Admin nor Baseline".to_owned(),
            );
            PolicyTier::Admin
        }
    }
}

fn priority(priority: Option<&Value>, doubts: &mut Mistakes) -> i32 {
    let given = priority.and_then(Value::as_i64);
    let within = given.filter(|priority| (0..=MAX_PRIORITY).contains(priority));
    match within.and_then(|priority| i32::try_from(priority).ok()) {
        Some(priority) => priority,
        None => {
            let message = format!("spec.priority is not a number from 0 to {MAX_PRIORITY}");
            doubts.add("InvalidPriority", message);
            0
        }
    }
}

/// Pods by labels of their own and of their namespaces; absent and empty selectors select all.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NamespacedPod {
    #[serde(default)]
    namespace_selector: LabelSelector,
    pod_selector: LabelSelector,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum SubjectText {
    Namespaces(LabelSelector),
    Pods(NamespacedPod),
}

/// The pods the policy applies to; all pods if that can't be told.
fn subject(subject: Option<Value>, doubts: &mut Mistakes) -> PodEnd {
    const AT: &str = "spec.subject";
    let end = match read::<SubjectText>(AT, "InvalidSubject", subject.unwrap_or_default(), doubts) {
        Some(SubjectText::Namespaces(namespaces)) => whole_namespaces(AT, &namespaces, doubts),
        Some(SubjectText::Pods(pods)) => some_pods(AT, &pods, doubts),
        None => None,
    };
    end.unwrap_or_else(|| PodEnd {
        pods: Selector::all(),
        namespaces: Some(Selector::all()),
    })
}

fn whole_namespaces(at: &str, selector: &LabelSelector, mistakes: &mut Mistakes) -> Option<PodEnd> {
    Some(PodEnd {
        pods: Selector::all(),
        namespaces: Some(mistakes.selector(&format!("{at}.namespaces"), selector)?),
    })
}

fn some_pods(at: &str, pods: &NamespacedPod, mistakes: &mut Mistakes) -> Option<PodEnd> {
    let namespaces = mistakes.selector(&format!("{at}.pods.namespaceSelector"), &pods.namespace_selector);
    let pods = mistakes.selector(&format!("{at}.pods.podSelector"), &pods.pod_selector);
    Some(PodEnd {
        pods: pods?,
        namespaces: Some(namespaces?),
    })
}

/// Which rules are read: ingress rules have other peers than egress rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Ingress,
    Egress,
}

fn rules(rules: Option<Value>, side: Side, mistakes: &mut Mistakes) -> Vec<TierRule> {
    let at = match side {
        Side::Ingress => "spec.ingress",
        Side::Egress => "spec.egress",
    };
    let items = match rules {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            mistakes.add("InvalidRule", format!("{at} is no list: it denies everything"));
            return vec![closed(PolicyAction::Deny, String::new())];
        }
    };
    let items = items.into_iter().enumerate();
    items
        .map(|(index, item)| {
            let at = format!("{at}[{index}]");
            let action = item.get("action").and_then(Value::as_str);
            let accepts = action == Some("Accept");
            let name = item.get("name").and_then(Value::as_str);
            let name = name.unwrap_or_default().to_owned();
            let mut wrong = Mistakes::default();
            let rule = match index < MAX_ITEMS {
                true => rule(&at, item, side, &mut wrong),
                false => {
                    let message = format!("{at} is beyond the {MAX_ITEMS} rules that a policy may have");
                    wrong.add("TooManyRules", message);
                    None
                }
            };
            let effect = match accepts {
                true => "the rule matches nothing",
                false => "the rule denies everything",
            };
            for (reason, message) in wrong.into_iter() {
                mistakes.add(reason, format!("{message}: {effect}"));
            }
            rule.unwrap_or_else(|| {
                let action = match accepts {
                    true => PolicyAction::Accept,
                    false => PolicyAction::Deny,
                };
                closed(action, name)
            })
        })
        .collect()
}

/// A rule that can't be read: an Accept matches nothing, anything else denies everything.
fn closed(action: PolicyAction, name: String) -> TierRule {
    let peers = (action == PolicyAction::Accept).then(Vec::new);
    TierRule {
        name,
        action,
        matches: Rule { peers, ports: None },
    }
}

/// A rule of a policy that is in doubt as a whole.
fn in_doubt(mut rule: TierRule) -> TierRule {
    match rule.action {
        PolicyAction::Accept => rule.matches.peers = Some(Vec::new()),
        PolicyAction::Pass => rule.action = PolicyAction::Deny,
        PolicyAction::Deny => {}
    }
    rule
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    #[serde(default)]
    name: String,
    action: PolicyAction,
    from: Option<Vec<Value>>,
    to: Option<Vec<Value>>,
    protocols: Option<Vec<Value>>,
}

/// `None` if anything in the rule can't be read.
fn rule(at: &str, rule: Value, side: Side, mistakes: &mut Mistakes) -> Option<TierRule> {
    let text: RuleText = read(at, "InvalidRule", rule, mistakes)?;
    let (field, peers, other) = match side {
        Side::Ingress => ("from", text.from, text.to),
        Side::Egress => ("to", text.to, text.from),
    };
    let mut refuse = |reason, message: String| {
        mistakes.add(reason, message);
        None
    };
    if other.is_some() {
        return refuse(
            "InvalidRule",
            format!("{at} names its peers in the field of the other direction"),
        );
    }
    let peers = peers.unwrap_or_default();
    if !(1..=MAX_ITEMS).contains(&peers.len()) {
        return refuse(
            "InvalidPeer",
            format!("{at}.{field} must have 1 to {MAX_ITEMS} items"),
        );
    }
    let protocols = text.protocols;
    if protocols
        .as_ref()
        .is_some_and(|items| !(1..=MAX_ITEMS).contains(&items.len()))
    {
        return refuse(
            "InvalidPort",
            format!("{at}.protocols must have 1 to {MAX_ITEMS} items"),
        );
    }
    let peers = peers.into_iter().enumerate().map(|(index, item)| {
        let at = format!("{at}.{field}[{index}]");
        peer(&at, item, side, mistakes)
    });
    // Every mistake is told, not only the first.
    let peers: Vec<Option<Vec<Peer>>> = peers.collect();
    let ports = protocols.map(|items| {
        let items = items.into_iter().enumerate();
        let ports = items.map(|(index, item)| {
            let at = format!("{at}.protocols[{index}]");
            protocol(&at, item, mistakes)
        });
        ports.collect::<Vec<Option<Port>>>()
    });
    let peers: Option<Vec<Vec<Peer>>> = peers.into_iter().collect();
    let ports: Option<Option<Vec<Port>>> = ports
        .map(|ports| ports.into_iter().collect::<Option<_>>())
        .map_or(Some(None), |ports| ports.map(Some));
    let matches = Rule {
        peers: Some(peers?.concat()),
        ports: ports?,
    };
    if has_names(&matches) && !only_pods(&matches) {
        let message = format!("{at}: only pods have named ports: write numbers, or two rules");
        mistakes.add("InvalidPort", message);
        return None;
    }
    Some(TierRule {
        name: text.name,
        action: text.action,
        matches,
    })
}

fn has_names(rule: &Rule) -> bool {
    let mut ports = rule.ports.iter().flatten();
    ports.any(|port| matches!(port, Port::Named { .. }))
}

fn only_pods(rule: &Rule) -> bool {
    let mut peers = rule.peers.iter().flatten();
    peers.all(|peer| matches!(peer, Peer::Pods(_)))
}

/// Exactly one of the fields: none means a kind of peer that the reader does not know.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum IngressPeer {
    Namespaces(LabelSelector),
    Pods(NamespacedPod),
}

/// As [`IngressPeer`]; `nodes` and `domainNames` are of the experimental channel.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum EgressPeer {
    Namespaces(LabelSelector),
    Pods(NamespacedPod),
    Nodes(LabelSelector),
    Networks(Vec<String>),
    DomainNames(Vec<String>),
}

impl From<IngressPeer> for EgressPeer {
    fn from(peer: IngressPeer) -> Self {
        match peer {
            IngressPeer::Namespaces(namespaces) => Self::Namespaces(namespaces),
            IngressPeer::Pods(pods) => Self::Pods(pods),
        }
    }
}

fn peer(at: &str, item: Value, side: Side, mistakes: &mut Mistakes) -> Option<Vec<Peer>> {
    const REASON: &str = "InvalidPeer";
    let peer = match side {
        Side::Ingress => read::<IngressPeer>(at, REASON, item, mistakes)?.into(),
        Side::Egress => read::<EgressPeer>(at, REASON, item, mistakes)?,
    };
    match peer {
        EgressPeer::Namespaces(namespaces) => {
            let end = whole_namespaces(at, &namespaces, mistakes)?;
            Some(vec![Peer::Pods(end)])
        }
        EgressPeer::Pods(pods) => Some(vec![Peer::Pods(some_pods(at, &pods, mistakes)?)]),
        EgressPeer::Nodes(nodes) => {
            let nodes = mistakes.selector(&format!("{at}.nodes"), &nodes)?;
            Some(vec![Peer::Nodes(nodes)])
        }
        EgressPeer::Networks(networks) => blocks(at, &networks, mistakes),
        EgressPeer::DomainNames(names) => {
            let message = format!(
                "{at}.domainNames: names such as {:?} are not supported, because VPP sees addresses only; \
                 write networks",
                names.first().map_or("", String::as_str)
            );
            mistakes.add("DomainNamesNotSupported", message);
            None
        }
    }
}

fn blocks(at: &str, networks: &[String], mistakes: &mut Mistakes) -> Option<Vec<Peer>> {
    if !(1..=MAX_ITEMS).contains(&networks.len()) {
        mistakes.add(
            "InvalidCIDR",
            format!("{at}.networks must have 1 to {MAX_ITEMS} items"),
        );
        return None;
    }
    let blocks = networks.iter().map(|text| {
        // An address alone is no CIDR to the API.
        let cidr = Some(text).filter(|text| text.contains('/'));
        let Some(cidr) = cidr.and_then(|text| text.parse::<Cidr>().ok()) else {
            let message = format!("{at}.networks: {text:?} is no CIDR such as 10.0.0.0/8 or fd00::/64");
            mistakes.add("InvalidCIDR", message);
            return None;
        };
        Some(Peer::Block {
            cidr,
            except: Vec::new(),
        })
    });
    let blocks: Vec<Option<Peer>> = blocks.collect();
    blocks.into_iter().collect()
}

/// Exactly one of the fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum ProtocolText {
    Tcp(Transport),
    Udp(Transport),
    Sctp(Transport),
    DestinationNamedPort(String),
}

/// The API has no valid object without a field here: an empty one had a field that we do not know.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Transport {
    destination_port: PortText,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum PortText {
    Number(i32),
    Range { start: i32, end: i32 },
}

fn protocol(at: &str, item: Value, mistakes: &mut Mistakes) -> Option<Port> {
    const REASON: &str = "InvalidPort";
    let (protocol, transport) = match read::<ProtocolText>(at, REASON, item, mistakes)? {
        ProtocolText::Tcp(transport) => (Protocol::Tcp, transport),
        ProtocolText::Udp(transport) => (Protocol::Udp, transport),
        ProtocolText::Sctp(transport) => (Protocol::Sctp, transport),
        ProtocolText::DestinationNamedPort(name) if name.is_empty() => {
            mistakes.add(REASON, format!("{at}.destinationNamedPort is empty"));
            return None;
        }
        ProtocolText::DestinationNamedPort(name) => {
            return Some(Port::Named { protocol: None, name });
        }
    };
    let range = match transport.destination_port {
        PortText::Number(port) => number(port).map(|port| (port, None)),
        PortText::Range { start, end } => number(start)
            .zip(number(end).filter(|_| start < end))
            .map(|(start, end)| (start, Some(end))),
    };
    let Some((port, end_port)) = range else {
        let message = format!("{at}: ports are 1 to 65535, and a range's start is below its end");
        mistakes.add(REASON, message);
        return None;
    };
    Some(Port::Number(PortMatch {
        protocol,
        port: Some(port),
        end_port,
    }))
}

fn read<T: DeserializeOwned>(
    at: &str,
    reason: &'static str,
    value: Value,
    mistakes: &mut Mistakes,
) -> Option<T> {
    serde_json::from_value(value)
        .map_err(|error| mistakes.add(reason, format!("{at}: {error}")))
        .ok()
}
