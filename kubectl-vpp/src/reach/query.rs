//! Questions: who to whom, and what they mean in this cluster.

use std::net::IpAddr;
use std::path::Path;

use clap::ValueEnum;
use compiler::ObjectKey;
use compiler::facts::{PodPhase, Service};
use node_daemon::desired::service::stands_for_none;
use node_daemon::objects::Vip;
use serde::{Deserialize, Serialize};

use super::dataplane::Dataplane;
use super::document::{Mistake, read_text};
use super::journey::Entry;
use super::kernel::Hook;
use super::packet;

/// A transport protocol, or ICMP's echo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    #[value(name = "TCP")]
    Tcp,
    /// UDP.
    #[value(name = "UDP")]
    Udp,
    /// SCTP.
    #[value(name = "SCTP")]
    Sctp,
    /// An echo (ping): has no port.
    #[value(name = "ICMP")]
    Icmp,
}

impl Protocol {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
        }
    }

    /// IANA protocol number.
    pub fn number(self, ipv6: bool) -> u8 {
        match self {
            Self::Tcp => packet::TCP,
            Self::Udp => crds::net::Protocol::Udp.number(),
            Self::Sctp => crds::net::Protocol::Sctp.number(),
            Self::Icmp if ipv6 => packet::ICMP6,
            Self::Icmp => packet::ICMP,
        }
    }
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Family {
    /// IPv4.
    #[value(name = "IPv4")]
    IPv4,
    /// IPv6.
    #[value(name = "IPv6")]
    IPv6,
}

/// What a packet came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It arrives, and its answer comes back.
    Allowed,
    /// A policy stops it. As an expectation: it does not arrive, whatever the reason.
    Denied,
    /// It is refused with an ICMP message, so the sender knows at once.
    Rejected,
    /// It is lost for another reason than a policy.
    Dropped,
}

impl Outcome {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Rejected => "rejected",
            Self::Dropped => "dropped",
        }
    }

    /// Whether an outcome is as this one expects.
    pub fn is_met_by(self, outcome: Self) -> bool {
        match self {
            Self::Denied => outcome != Self::Allowed,
            expected => outcome == expected,
        }
    }
}

/// A question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `namespace/pod`, `node/NAME` or an address.
    pub from: String,
    /// `namespace/pod`, `namespace/service`, `node/NAME` or an address.
    pub to: String,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Protocol.
    #[serde(default)]
    pub protocol: Protocol,
    /// Address family, where both ends have both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// `node/NAME` by which traffic from outside enters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// What the outcome should be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Outcome>,
}

/// A question and where it was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The question.
    pub query: Query,
    /// File and line; `None` for one from the command line.
    pub place: Option<(String, usize)>,
}

impl Asked {
    fn mistake(&self, message: String) -> Mistake {
        let (file, line) = self.place.clone().unwrap_or(("command line".to_owned(), 0));
        Mistake { file, line, message }
    }
}

/// Reads questions, one JSON object a line; empty lines are passed over.
///
/// # Errors
/// Every line that is no question.
pub fn read(path: &Path) -> Result<Vec<Asked>, Vec<Mistake>> {
    let text = read_text(path).map_err(|mistake| vec![mistake])?;
    let file = path.display().to_string();
    let mut asked = Vec::new();
    let mut mistakes = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(text) {
            Ok(query) => asked.push(Asked {
                query,
                place: Some((file.clone(), line)),
            }),
            Err(error) => {
                let message = error.to_string();
                let message = message.split(" at line ").next().unwrap_or_default();
                mistakes.push(Mistake {
                    file: file.clone(),
                    line,
                    message: format!("{message} (column {})", error.column()),
                });
            }
        }
    }
    if mistakes.is_empty() {
        Ok(asked)
    } else {
        Err(mistakes)
    }
}

/// What has to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// This pod.
    Pod(ObjectKey),
    /// Whatever is behind this Service.
    Service(ObjectKey),
    /// This node itself.
    Host(usize),
    /// The outside.
    Outside,
}

/// A question in terms of the dataplane.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where packets enter.
    pub entry: Entry,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// What has to be reached.
    pub goal: Goal,
    /// Destination port; 0 for ICMP.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Everything that a connection can land on, sorted, where the destination is a Service.
    pub backends: Vec<(IpAddr, u16)>,
    /// Whether one client stays with one of them.
    pub sticky: bool,
}

/// Finds what a question speaks of.
///
/// # Errors
/// If it speaks of something that is not there.
pub fn resolve(dataplane: &Dataplane, asked: &Asked) -> Result<Route, Mistake> {
    find(dataplane, &asked.query).map_err(|message| asked.mistake(message))
}

fn find(dataplane: &Dataplane, query: &Query) -> Result<Route, String> {
    let port = match (query.protocol, query.port) {
        (Protocol::Icmp, None) => 0,
        (Protocol::Icmp, Some(_)) => return Err("ICMP has no port: leave it out".to_owned()),
        (_, Some(port)) if port != 0 => port,
        (protocol, _) => return Err(format!("{} needs a port within 1 to 65535", protocol.word())),
    };
    let protocol = match query.protocol {
        Protocol::Tcp => Some(crds::net::Protocol::Tcp),
        Protocol::Udp => Some(crds::net::Protocol::Udp),
        Protocol::Sctp => Some(crds::net::Protocol::Sctp),
        Protocol::Icmp => None,
    };
    let (goal, to) = destination(dataplane, &query.to, protocol.map(|protocol| (protocol, port)))?;
    let (entry, from) = source(dataplane, query, &goal, &to)?;
    let wanted = |ipv6: bool| query.family.is_none_or(|family| (family == Family::IPv6) == ipv6);
    let of = |ips: &[IpAddr], ipv6: bool| ips.iter().copied().find(|ip| ip.is_ipv6() == ipv6);
    let pair = [false, true]
        .into_iter()
        .filter(|ipv6| wanted(*ipv6))
        .find_map(|ipv6| Some((of(&from, ipv6)?, of(&to, ipv6)?)));
    let Some((src, dst)) = pair else {
        let list = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "no {}address family that both ends have: {} has {}, {} has {}",
            query
                .family
                .map_or(String::new(), |family| format!("{family:?} ")),
            query.from,
            list(&from),
            query.to,
            list(&to)
        ));
    };
    let (mut backends, mut sticky) = (Vec::new(), false);
    if let Some(protocol) = protocol {
        let vip = Vip {
            address: dst,
            port,
            protocol,
        };
        (backends, sticky) = landing(dataplane, &entry, src, vip);
    }
    Ok(Route {
        entry,
        src,
        dst,
        goal,
        port,
        protocol: query.protocol.number(dst.is_ipv6()),
        backends,
        sticky,
    })
}

/// Everything that a connection can land on, as kernels and VPPs are told to lead it; and whether one client stays with
/// one of them.
fn landing(dataplane: &Dataplane, entry: &Entry, client: IpAddr, vip: Vip) -> (Vec<(IpAddr, u16)>, bool) {
    // Who has the address, where it is a node's: what leaves another node for it meets its kernel.
    let owner = dataplane.owner(vip.address);
    let by_kernel = |node: usize, hook: Hook| {
        let kernel = &dataplane.nodes[node].kernel;
        if kernel.refuses(hook, &vip, client) {
            return (node, Vec::new());
        }
        let targets = kernel.targets(hook, &vip);
        let passes = targets.is_empty() && kernel.leads_to_vpp(vip.address);
        (node, if passes { vec![vip] } else { targets })
    };
    let (node, targets) = match entry {
        Entry::Pod(key) => {
            let own = dataplane.ports.get(key).map_or(0, |port| port.node);
            let here = dataplane.nodes[own].services.contains_key(&vip);
            (owner.filter(|_| !here).unwrap_or(own), vec![vip])
        }
        &Entry::Host(node) => match by_kernel(node, Hook::Process) {
            (_, targets) if targets.is_empty() => match owner.filter(|other| *other != node) {
                Some(other) => by_kernel(other, Hook::Nic),
                None => (node, targets),
            },
            found => found,
        },
        &Entry::Outside(node) if dataplane.nodes[node].faces_world(vip.address.is_ipv6()) => {
            (node, vec![vip])
        }
        &Entry::Outside(node) => match by_kernel(node, Hook::Nic) {
            (_, targets) if targets.is_empty() => match owner.filter(|other| *other != node) {
                Some(other) => by_kernel(other, Hook::Nic),
                None => (node, targets),
            },
            found => found,
        },
    };
    let services = &dataplane.nodes[node].services;
    let mut backends = Vec::new();
    let mut sticky = false;
    for target in targets {
        match services.get(&target) {
            Some(translation) => {
                backends.extend(&translation.backends);
                sticky |= translation.affinity;
            }
            // The kernel's own target, to which VPP has no way.
            None if target != vip => backends.push((target.address, target.port)),
            None => {}
        }
    }
    backends.retain(|(address, _)| !stands_for_none(*address));
    backends.sort_unstable();
    backends.dedup();
    (backends, sticky)
}

fn node(dataplane: &Dataplane, text: &str) -> Option<Result<usize, String>> {
    let name = text.strip_prefix("node/")?;
    Some(
        dataplane
            .node(name)
            .ok_or_else(|| format!("there is no node {name}")),
    )
}

/// A pod's addresses, and its node if it uses the node's network.
type Found = Result<(Vec<IpAddr>, Option<usize>), String>;

fn pod(dataplane: &Dataplane, key: &ObjectKey) -> Option<Found> {
    let pod = dataplane.cluster.pod(key)?;
    if pod.phase == PodPhase::Finished {
        return Some(Err(format!("pod {key} has finished: it has no network any more")));
    }
    if pod.host_network {
        let host = pod.node.as_deref().and_then(|node| dataplane.node(node));
        return Some(match host {
            Some(host) => Ok((dataplane.nodes[host].addresses.clone(), Some(host))),
            None => Err(format!("pod {key} is on no node")),
        });
    }
    if !dataplane.ports.contains_key(key) {
        let limit = compiler::output::MAX_NODE_PODS;
        return Some(Err(format!(
            "pod {key} has no network: its node has more than {limit} pods"
        )));
    }
    Some(Ok((pod.ips.clone(), None)))
}

fn key(text: &str) -> Option<ObjectKey> {
    let (namespace, name) = text.split_once('/')?;
    let plain = |part: &str| !part.is_empty() && !part.contains('/');
    (plain(namespace) && plain(name)).then(|| ObjectKey::new(namespace, name))
}

fn source(
    dataplane: &Dataplane,
    query: &Query,
    goal: &Goal,
    to: &[IpAddr],
) -> Result<(Entry, Vec<IpAddr>), String> {
    let text = query.from.as_str();
    if let Some(found) = node(dataplane, text) {
        let found = found?;
        return Ok((Entry::Host(found), dataplane.nodes[found].addresses.clone()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        if let Some(key) = dataplane.pods.get(&ip) {
            return Ok((Entry::Pod(key.clone()), vec![ip]));
        }
        if let Some(host) = dataplane.owner(ip) {
            return Ok((Entry::Host(host), vec![ip]));
        }
        let many = dataplane.nodes.len() > 1;
        let via = match (&query.via, goal) {
            (Some(via), _) => match node(dataplane, via) {
                Some(found) => found?,
                None => return Err(format!("via {via:?}: write node/NAME")),
            },
            (None, Goal::Pod(key)) => dataplane.ports.get(key).map_or(0, |port| port.node),
            (None, Goal::Host(node)) => *node,
            // By what follows from the question: a node's own address, or the only node.
            (None, Goal::Service(_)) if many => match to.iter().find_map(|ip| dataplane.owner(*ip)) {
                Some(node) => node,
                None => {
                    return Err(format!(
                        "from {text:?}: it is outside of the cluster; say by which node its packets enter, as \
                         \"via\":\"node/NAME\""
                    ));
                }
            },
            (None, Goal::Service(_) | Goal::Outside) => 0,
        };
        return Ok((Entry::Outside(via), vec![ip]));
    }
    let Some(key) = key(text) else {
        return Err(format!(
            "from {text:?}: write namespace/pod, node/NAME or an address"
        ));
    };
    match pod(dataplane, &key) {
        Some(found) => found.map(|(ips, host)| (host.map_or(Entry::Pod(key), Entry::Host), ips)),
        None => Err(format!("from {text:?}: there is no pod {key}")),
    }
}

/// `asked` is protocol and port, where there are any.
fn destination(
    dataplane: &Dataplane,
    text: &str,
    asked: Option<(crds::net::Protocol, u16)>,
) -> Result<(Goal, Vec<IpAddr>), String> {
    let of_node_port = || {
        let (protocol, number) = asked?;
        let has = |service: &&Service| {
            let mut ports = service.ports.iter();
            ports.any(|port| port.node_port == Some(number) && port.protocol == protocol)
        };
        dataplane.cluster.services().find(has).map(Service::key)
    };
    let of_host = |host: usize| of_node_port().map_or(Goal::Host(host), Goal::Service);
    if let Some(found) = node(dataplane, text) {
        let found = found?;
        return Ok((of_host(found), dataplane.nodes[found].addresses.clone()));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let has_address = |service: &&Service| {
            let addresses = [
                &service.cluster_ips,
                &service.load_balancer_ips,
                &service.external_ips,
            ];
            addresses.iter().any(|addresses| addresses.contains(&ip))
        };
        let has_port = |service: &&Service| {
            let mut ports = service.ports.iter();
            ports.any(|port| Some((port.protocol, port.port)) == asked)
        };
        let with_address = || dataplane.cluster.services().filter(has_address);
        // Several Services may share an address with different ports.
        let service = with_address().find(has_port).or_else(|| with_address().next());
        let goal = match (dataplane.pods.get(&ip), service, dataplane.owner(ip)) {
            (Some(key), ..) => Goal::Pod(key.clone()),
            (None, Some(service), _) => Goal::Service(service.key()),
            (None, None, Some(host)) => of_host(host),
            (None, None, None) => Goal::Outside,
        };
        return Ok((goal, vec![ip]));
    }
    let (text, only_service) = match text.strip_prefix("service:") {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let Some(key) = key(text) else {
        return Err(format!(
            "to {text:?}: write namespace/pod, namespace/service, node/NAME or an address"
        ));
    };
    if let Some(found) = pod(dataplane, &key).filter(|_| !only_service) {
        return found.map(|(ips, host)| (host.map_or(Goal::Pod(key), Goal::Host), ips));
    }
    match dataplane.cluster.services().find(|service| service.key() == key) {
        Some(service) if service.cluster_ips.is_empty() => Err(format!(
            "Service {key} has no cluster IP (it is headless, of type ExternalName, or left to another proxy by its \
             labels): ask for its pods"
        )),
        Some(service) => Ok((Goal::Service(key), service.cluster_ips.clone())),
        None if only_service => Err(format!("to {text:?}: there is no Service {key}")),
        None => Err(format!("to {text:?}: there is no pod and no Service {key}")),
    }
}
