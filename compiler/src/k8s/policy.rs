//! NetworkPolicies. Whatever is unusable is taken out of its rule, so the policy accepts less.

use crds::net::{Cidr, PortMatch};
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::lean::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use super::{names, port as number, protocol};
use crate::facts::{Kind, ObjectRef, Peer, PodEnd, Policy, Port, Problem, Rule};
use crate::selector::{Selector, SelectorError};

/// What the compiler needs to know of a NetworkPolicy, defaults of the API applied.
pub fn policy(policy: &NetworkPolicy) -> Policy {
    let (namespace, name, uid) = names(&policy.metadata);
    let mut mistakes = Mistakes::default();
    let spec = &policy.spec;
    let (isolates_ingress, isolates_egress) = directions(spec, &mut mistakes);

    // `podSelector` absent is the empty selector: the field is required, but not a pointer.
    let pods = match &spec.pod_selector {
        Some(selector) => mistakes.selector("spec.podSelector", selector),
        None => Some(Selector::all()),
    };
    let ingress = spec.ingress.iter().flatten().enumerate().map(|(i, r)| {
        let at = format!("spec.ingress[{i}]");
        rule(&at, "from", r.from.as_ref(), r.ports.as_ref(), &mut mistakes)
    });
    let mut ingress: Vec<Rule> = ingress.collect();
    let egress = spec.egress.iter().flatten().enumerate().map(|(i, r)| {
        let at = format!("spec.egress[{i}]");
        rule(&at, "to", r.to.as_ref(), r.ports.as_ref(), &mut mistakes)
    });
    let mut egress: Vec<Rule> = egress.collect();
    if pods.is_none() {
        // Which pods are meant can't be told, so none may stay open: all are isolated, and nobody
        // is let in.
        ingress.clear();
        egress.clear();
    }

    Policy {
        pods: pods.unwrap_or_default(),
        ingress: isolates_ingress.then_some(ingress),
        egress: isolates_egress.then_some(egress),
        problems: mistakes.told(|| Kind::NETWORK_POLICY.of(&namespace, &name, &uid)),
        namespace,
        name,
        uid,
    }
}

/// What is wrong, as (reason, message).
#[derive(Default)]
pub(super) struct Mistakes(Vec<(&'static str, String)>);

impl Mistakes {
    pub(super) fn add(&mut self, reason: &'static str, message: String) {
        self.0.push((reason, message));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reasons and messages.
    pub(super) fn into_iter(self) -> impl Iterator<Item = (&'static str, String)> {
        self.0.into_iter()
    }

    pub(super) fn selector<'s, S>(&mut self, at: &str, selector: &'s S) -> Option<Selector>
    where
        Selector: TryFrom<&'s S, Error = SelectorError>,
    {
        Selector::try_from(selector)
            .map_err(|error| self.add("InvalidSelector", format!("{at}: {error}")))
            .ok()
    }

    pub(super) fn told(self, object: impl Fn() -> ObjectRef) -> Vec<Problem> {
        let problem = |(reason, message)| Problem {
            object: object(),
            reason,
            message,
        };
        self.0.into_iter().map(problem).collect()
    }
}

/// Of which directions the policy speaks: `policyTypes`, or by default Ingress always and Egress
/// if there are egress rules.
fn directions(spec: &NetworkPolicySpec, mistakes: &mut Mistakes) -> (bool, bool) {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    if types.is_empty() {
        return (true, spec.egress.as_ref().is_some_and(|e| !e.is_empty()));
    }
    for unknown in types.iter().filter(|t| *t != "Ingress" && *t != "Egress") {
        let message = format!("spec.policyTypes: {unknown:?} is unknown: use Ingress or Egress");
        mistakes.add("InvalidPolicyType", message);
    }
    let has = |wanted: &str| types.iter().any(|t| t == wanted);
    // With a type nobody knows the author meant more isolation than is named.
    let unknown = !mistakes.is_empty();
    (has("Ingress") || unknown, has("Egress") || unknown)
}

fn rule(
    at: &str,
    side: &str,
    peers: Option<&Vec<NetworkPolicyPeer>>,
    ports: Option<&Vec<NetworkPolicyPort>>,
    mistakes: &mut Mistakes,
) -> Rule {
    // Absent and empty both mean "any"; a list whose every item is unusable means "none".
    let peers = peers.filter(|peers| !peers.is_empty()).map(|peers| {
        let items = peers.iter().enumerate();
        let mut peers: Vec<Peer> = items
            .filter_map(|(i, item)| peer(&format!("{at}.{side}[{i}]"), item, mistakes))
            .collect();
        peers.shrink_to_fit();
        peers
    });
    let ports = ports.filter(|ports| !ports.is_empty()).map(|ports| {
        let items = ports.iter().enumerate();
        items
            .filter_map(|(i, item)| port(&format!("{at}.ports[{i}]"), item, mistakes))
            .collect()
    });
    Rule { peers, ports }
}

fn peer(at: &str, peer: &NetworkPolicyPeer, mistakes: &mut Mistakes) -> Option<Peer> {
    let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
    match (&peer.ip_block, selects) {
        (None, true) => {
            let pods = match &peer.pod_selector {
                Some(s) => mistakes.selector(&format!("{at}.podSelector"), s),
                None => Some(Selector::all()),
            };
            let namespaces = match &peer.namespace_selector {
                Some(s) => Some(mistakes.selector(&format!("{at}.namespaceSelector"), s)?),
                None => None,
            };
            Some(Peer::Pods(PodEnd {
                pods: pods?,
                namespaces,
            }))
        }
        (Some(block), false) => ip_block(&format!("{at}.ipBlock"), block, mistakes),
        (Some(_), true) => {
            let message = format!("{at}: ipBlock excludes selectors: write two items");
            mistakes.add("InvalidPeer", message);
            None
        }
        (None, false) => {
            let message = format!(
                "{at} names no peer and matches nothing: write podSelector, namespaceSelector or \
                 ipBlock"
            );
            mistakes.add("InvalidPeer", message);
            None
        }
    }
}

fn ip_block(at: &str, block: &networking::IPBlock, mistakes: &mut Mistakes) -> Option<Peer> {
    let mut parse = |field: &str, text: &str| {
        text.parse::<Cidr>()
            .map_err(|error| mistakes.add("InvalidCIDR", format!("{at}.{field}: {error}")))
            .ok()
    };
    let cidr = parse("cidr", &block.cidr);
    let except = block.except.iter().flatten();
    // An exception that can't be read may be meant for any part of the block.
    let except: Vec<Option<Cidr>> = except.map(|text| parse("except", text)).collect();
    Some(Peer::Block {
        cidr: cidr?,
        except: except.into_iter().collect::<Option<_>>()?,
    })
}

fn port(at: &str, port: &NetworkPolicyPort, mistakes: &mut Mistakes) -> Option<Port> {
    let Some(protocol) = protocol(port.protocol.as_deref()) else {
        let name = port.protocol.as_deref().unwrap_or_default();
        let message = format!("{at}.protocol: {name:?} is unknown: use TCP, UDP or SCTP");
        mistakes.add("InvalidPort", message);
        return None;
    };
    let mut refuse = |message: &str| {
        mistakes.add("InvalidPort", format!("{at}: {message}"));
        None
    };
    match (&port.port, port.end_port) {
        (None, None) => Some(Port::Number(PortMatch {
            protocol,
            port: None,
            end_port: None,
        })),
        (Some(IntOrString::Int(first)), last) => {
            let Some(first) = number(*first) else {
                return refuse("port is not within 1 to 65535");
            };
            let end_port = match last.map(number) {
                None => None,
                Some(Some(last)) if last >= first => Some(last),
                Some(_) => return refuse("endPort must be within port to 65535"),
            };
            Some(Port::Number(PortMatch {
                protocol,
                port: Some(first),
                end_port: end_port.filter(|last| *last != first),
            }))
        }
        (Some(IntOrString::String(name)), None) => Some(Port::Named {
            protocol: Some(protocol),
            name: name.clone(),
        }),
        (Some(IntOrString::String(_)), Some(_)) => refuse("endPort needs a numeric port"),
        (None, Some(_)) => refuse("endPort needs port"),
    }
}
