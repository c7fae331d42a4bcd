//! Answers: what becomes of a connection's first packet and of what comes back.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use compiler::ObjectKey;
use serde::Serialize;

use super::blame::{Blame, decisions};
use super::dataplane::Dataplane;
use super::journey::{End, Entry, Journey};
use super::packet::Packet;
use super::query::{Goal, Outcome, Query, Route};

/// First source port of the packets that are sent; each attempt takes the next.
const FIRST_PORT: u16 = 40_000;

/// Connections opened at most per backend, to meet each backend that the hash of a connection may lead to.
const ATTEMPTS_PER_BACKEND: usize = 24;
const MAX_ATTEMPTS: usize = 2_000;

/// An answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The question.
    #[serde(flatten)]
    pub query: Query,
    /// Whether packets arrive and answers come back.
    pub allowed: bool,
    /// How it ends.
    pub outcome: Outcome,
    /// The policy and rule, or the default, that decided; or what else stopped it.
    pub by: String,
    /// For Services: everything a connection can land on, sorted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<SocketAddr>>,
    /// Whether the destination sees another address than the sender's.
    pub source_nat: bool,
    /// The way, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<Ways>,
}

/// The way of a packet and of its answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ways {
    /// To the destination.
    pub there: Vec<Step>,
    /// Back to the sender.
    pub back: Vec<Step>,
}

/// What happened in one place of one node's dataplane.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The node.
    pub node: String,
    /// Node of VPP's graph.
    pub at: String,
    /// What happened.
    pub what: String,
}

/// One connection attempt.
struct Attempt {
    outcome: Outcome,
    by: String,
    backend: Option<std::net::IpAddr>,
    source_nat: bool,
    there: Journey,
    back: Option<Journey>,
}

/// Answers a question.
pub fn answer(
    dataplane: &mut Dataplane,
    blame: &mut Blame,
    query: &Query,
    route: &Route,
    traced: bool,
) -> Answer {
    let mut answer = Answer {
        query: query.clone(),
        allowed: true,
        outcome: Outcome::Allowed,
        by: "a pod always reaches itself".to_owned(),
        backends: matches!(route.goal, Goal::Service(_)).then(|| {
            let all: BTreeSet<SocketAddr> = route.backends.iter().copied().map(SocketAddr::from).collect();
            all.into_iter().collect()
        }),
        source_nat: false,
        trace: traced.then(Ways::default),
    };
    let itself = match (&route.entry, &route.goal) {
        (Entry::Pod(from), Goal::Pod(to)) => from == to,
        (Entry::Host(from), Goal::Host(to)) => from == to,
        _ => false,
    };
    if itself {
        if matches!(route.entry, Entry::Host(_)) {
            "a node always reaches itself".clone_into(&mut answer.by);
        }
        return answer;
    }
    let attempts = attempts(dataplane, blame, route);
    let failed = attempts
        .iter()
        .filter(|attempt| attempt.outcome != Outcome::Allowed);
    let failed_count = failed.clone().count();
    let Some(telling) = failed.clone().next().or(attempts.first()) else {
        return answer;
    };
    answer.outcome = telling.outcome;
    answer.allowed = telling.outcome == Outcome::Allowed;
    answer.by.clone_from(&telling.by);
    if failed_count > 0 && failed_count < attempts.len() {
        let through = attempts.len() - failed_count;
        answer.by = format!(
            "{} ({through} of {} backends can be reached)",
            telling.by,
            attempts.len()
        );
    }
    answer.source_nat = attempts.iter().any(|attempt| attempt.source_nat);
    if traced {
        answer.trace = Some(Ways {
            there: steps(dataplane, &telling.there),
            back: telling
                .back
                .as_ref()
                .map_or(Vec::new(), |back| steps(dataplane, back)),
        });
    }
    answer
}

/// Connections to every backend, or the one connection where there is nothing to choose from.
fn attempts(dataplane: &mut Dataplane, blame: &mut Blame, route: &Route) -> Vec<Attempt> {
    let wanted: BTreeSet<_> = route.backends.iter().map(|(address, _)| *address).collect();
    let most = match wanted.len() {
        0 | 1 => 1,
        // One client stays with one backend, whatever its port.
        _ if route.sticky => 1,
        several => (several * ATTEMPTS_PER_BACKEND).min(MAX_ATTEMPTS),
    };
    let mut met = BTreeSet::new();
    let mut attempts = Vec::new();
    for port in (FIRST_PORT..).take(most) {
        let attempt = attempt(dataplane, blame, route, port);
        let is_new = attempt.backend.is_none_or(|backend| met.insert(backend));
        if attempts.is_empty() || is_new {
            attempts.push(attempt);
        }
        if met.is_superset(&wanted) {
            break;
        }
    }
    attempts
}

fn attempt(dataplane: &mut Dataplane, blame: &mut Blame, route: &Route, source_port: u16) -> Attempt {
    let packet = Packet {
        src: route.src,
        dst: route.dst,
        protocol: route.protocol,
        ports: (source_port, route.port),
        answer: false,
    };
    let there = dataplane.send(&route.entry, &packet);
    let met = decisions(dataplane, &there);
    let arrived_at = there.arrived.map(|arrived| arrived.dst);
    let mut attempt = Attempt {
        outcome: Outcome::Allowed,
        by: String::new(),
        backend: arrived_at.or_else(|| met.iter().find_map(|decision| decision.address)),
        source_nat: there.arrived.is_some_and(|arrived| arrived.src != packet.src),
        there,
        back: None,
    };
    if let Some(by) = blame.denied(dataplane, &met) {
        (attempt.outcome, attempt.by) = (Outcome::Denied, by);
    } else if let Err((outcome, by)) = reached(
        dataplane,
        route,
        attempt.there.arrived.as_ref(),
        &attempt.there.end,
    ) {
        (attempt.outcome, attempt.by) = (outcome, by);
    } else {
        attempt.by = blame.allowed(dataplane, &met);
        let back = send_back(dataplane, &attempt.there);
        let whole = back.as_ref().is_some_and(|back| returned(route, &packet, back));
        if let Some(back) = back.as_ref().filter(|_| !whole) {
            let met = decisions(dataplane, back);
            let why = blame.denied(dataplane, &met).unwrap_or_else(|| told(&back.end));
            attempt.outcome = Outcome::Dropped;
            attempt.by = format!("the answer is lost: {why}");
        }
        attempt.back = back;
    }
    dataplane.settle(std::iter::once(&attempt.there).chain(&attempt.back));
    attempt
}

/// Whether a packet ended where it should.
fn reached(
    dataplane: &Dataplane,
    route: &Route,
    arrived: Option<&Packet>,
    end: &End,
) -> Result<(), (Outcome, String)> {
    // A backend may be a pod, a node's process or outside of the cluster; the Service's own address is none of them.
    let is_backend = || arrived.is_some_and(|packet| route.backends.contains(&(packet.dst, packet.ports.1)));
    match (end, &route.goal) {
        (End::Pod(found), Goal::Pod(wanted)) if found == wanted => Ok(()),
        (End::Pod(_) | End::Host(_) | End::Outside, Goal::Service(_)) if is_backend() => Ok(()),
        (End::Host(found), Goal::Host(wanted)) if found == wanted => Ok(()),
        (End::Outside, Goal::Outside) => Ok(()),
        (End::Rejected(_), Goal::Service(key)) => {
            Err((Outcome::Rejected, without_backend(dataplane, route, key)))
        }
        // A node port that leads nowhere is the node's: its kernel says that nobody listens.
        (End::Host(_), Goal::Service(key)) if route.backends.is_empty() => {
            Err((Outcome::Rejected, without_backend(dataplane, route, key)))
        }
        (End::Outside | End::Dropped(_), Goal::Service(key)) if route.backends.is_empty() => {
            Err((Outcome::Dropped, without_backend(dataplane, route, key)))
        }
        (End::Rejected(why), _) => Err((Outcome::Rejected, why.clone())),
        (other, _) => Err((Outcome::Dropped, told(other))),
    }
}

/// Why a Service leads nowhere.
fn without_backend(dataplane: &Dataplane, route: &Route, key: &ObjectKey) -> String {
    let Some(service) = dataplane.cluster.services().find(|service| service.key() == *key) else {
        return format!("Service {key} is gone");
    };
    let on_node = dataplane.owner(route.dst).is_some();
    let port = service.ports.iter().find(|port| {
        let number = if on_node { port.node_port } else { Some(port.port) };
        number == Some(route.port) && port.protocol.number() == route.protocol
    });
    let Some(port) = port else {
        return format!("Service {key} has no such port");
    };
    if port.protocol == crds::net::Protocol::Sctp {
        return format!("Service {key}: VPP's NAT carries TCP and UDP, not SCTP");
    }
    let inside = service.cluster_ips.contains(&route.dst);
    if inside && matches!(route.entry, Entry::Outside(_)) {
        return format!("cluster IPs of Services ({key}) are reached from pods and nodes only");
    }
    let balanced = service.load_balancer_ips.contains(&route.dst);
    if balanced
        && let Some(ranges) = &service.source_ranges
        && !ranges.iter().any(|range| range.contains(route.src))
    {
        return format!(
            "loadBalancerSourceRanges of Service {key} do not admit {}",
            route.src
        );
    }
    let node = match &route.entry {
        Entry::Pod(pod) => dataplane.ports.get(pod).map_or(0, |port| port.node),
        Entry::Host(node) | Entry::Outside(node) => *node,
    };
    let (policy, field) = match route.entry {
        _ if inside => (service.internal_traffic_policy, "internalTrafficPolicy"),
        _ => (service.external_traffic_policy, "externalTrafficPolicy"),
    };
    // Where there is none at all, that is the reason, whatever the policy.
    let slices = dataplane.cluster.endpoint_slices_in(&key.namespace);
    let own = slices.filter(|slice| slice.service.as_deref() == Some(&key.name));
    let usable = own
        .flat_map(|slice| &slice.endpoints)
        .any(|e| e.address.is_ipv6() == route.dst.is_ipv6() && (e.ready || (e.serving && e.terminating)));
    if !policy.is_cluster() && usable {
        let name = &dataplane.nodes[dataplane.owner(route.dst).unwrap_or(node)].name;
        return format!("Service {key} has no ready endpoint on node {name}, and its {field} is Local");
    }
    format!("Service {key} has no ready endpoint for this port")
}

fn told(end: &End) -> String {
    match end {
        End::Pod(key) => format!("it ends at pod {key}"),
        End::Host(_) => "it ends at a node".to_owned(),
        End::Outside => "it leaves the cluster".to_owned(),
        End::Rejected(why) | End::Dropped(why) => why.clone(),
    }
}

fn send_back(dataplane: &mut Dataplane, there: &Journey) -> Option<Journey> {
    let arrived = there.arrived?;
    let from = match &there.end {
        End::Pod(key) => Entry::Pod(key.clone()),
        End::Host(node) => Entry::Host(*node),
        // Answers from outside come to the node that sent the question.
        End::Outside => Entry::Outside(there.stages.last()?.node),
        End::Rejected(_) | End::Dropped(_) => return None,
    };
    Some(dataplane.send(&from, &arrived.reply()))
}

/// Whether the answer reaches the sender, and looks like one from whom he asked.
fn returned(route: &Route, sent: &Packet, back: &Journey) -> bool {
    let home = match (&back.end, &route.entry) {
        (End::Pod(found), Entry::Pod(wanted)) => found == wanted,
        (End::Host(found), Entry::Host(wanted)) => found == wanted,
        (End::Outside, Entry::Outside(_)) => true,
        _ => false,
    };
    let wanted = sent.reply();
    home && back.arrived.is_some_and(|arrived| {
        (arrived.src, arrived.dst, arrived.ports) == (wanted.src, wanted.dst, wanted.ports)
    })
}

fn steps(dataplane: &Dataplane, journey: &Journey) -> Vec<Step> {
    let stages = journey.stages.iter();
    let mut steps: Vec<Step> = stages
        .flat_map(|stage| {
            let name = &dataplane.nodes[stage.node].name;
            stage.nodes.iter().map(|node| Step {
                node: name.clone(),
                at: node.node.clone(),
                what: node.text.clone(),
            })
        })
        .collect();
    if let Some(stage) = journey.stages.last() {
        steps.push(Step {
            node: dataplane.nodes[stage.node].name.clone(),
            at: "end".to_owned(),
            what: match &journey.end {
                End::Pod(key) => format!("pod {key} has it"),
                End::Host(_) => "the node itself has it".to_owned(),
                End::Outside => "it leaves the cluster".to_owned(),
                End::Rejected(why) | End::Dropped(why) => why.clone(),
            },
        });
    }
    steps
}
