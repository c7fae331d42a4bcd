//! Service chains: at each steer's point an ACL-based forwarding policy takes the chain's packets to its target.
//!
//! A target that is not there (a function's pod not attached here, a peer without endpoint) is a drop, not a detour
//! around the function: what the compiler sends to a function must not get past it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::SetRef;
use crds::net::{Cidr, PortMatch, Protocol};
use crds::vpp_config::{ChainSteer, SteerMatch, SteerPoint, SteerTarget};
use xxhash_rust::xxh3::xxh3_64;

use super::pods::MAIN_INTERFACE;
use super::{ChainParts, Desired, Inputs, LocalPod, node, policy};
use crate::addressing;
use crate::cluster::of_family;
use crate::objects::{
    AbfAttach, AbfPolicy, Action, Area, CHAIN_ACL_PREFIX, Key, Link, Object, Path, Rule, TAG_LIMIT, TunnelId,
};

/// Ids of our forwarding policies have this top byte, so that foreign ones are told apart.
pub const POLICY_ID_BASE: u32 = 0xc7 << 24;

/// Whether a forwarding policy's id is one of ours.
pub fn is_own_policy(id: u32) -> bool {
    id & 0xff00_0000 == POLICY_ID_BASE
}

pub(super) fn add(
    inputs: &Inputs<'_>,
    pods: &[LocalPod<'_>],
    sets: &BTreeMap<SetRef, Vec<Cidr>>,
    out: &mut Desired,
) {
    for steer in &inputs.spec.chains {
        let mut parts = ChainParts::default();
        if inputs.local.abf {
            Steer {
                inputs,
                pods,
                sets,
                steer,
            }
            .add(&mut parts, out);
        } else {
            parts.missing.push("this VPP has no ABF plugin".to_owned());
        }
        for reason in &parts.missing {
            out.pend(
                Area::Chains,
                format!("chain {}/{}: {reason}", steer.namespace, steer.chain),
            );
        }
        let chain = out
            .chains
            .entry((steer.namespace.clone(), steer.chain.clone()))
            .or_default();
        chain.keys.extend(parts.keys);
        chain.missing.extend(parts.missing);
        chain.missing.dedup();
    }
}

struct Steer<'a> {
    inputs: &'a Inputs<'a>,
    pods: &'a [LocalPod<'a>],
    sets: &'a BTreeMap<SetRef, Vec<Cidr>>,
    steer: &'a ChainSteer,
}

impl Steer<'_> {
    fn add(&self, parts: &mut ChainParts, out: &mut Desired) {
        let Some(rules) = self.rules(parts, out) else {
            return;
        };
        let tag = self.tag();
        for ipv6 in [false, true] {
            if !self.inputs.has_family(ipv6) || !rules.iter().any(|r| r.source.is_ipv6() == ipv6) {
                continue;
            }
            let links = self.points(ipv6, parts, out);
            if links.is_empty() {
                continue;
            }
            let path = self.target(ipv6, parts, out);
            let id = policy_id(&tag, &path, ipv6);
            let policy = AbfPolicy {
                acl: tag.clone(),
                path,
                ipv6,
            };
            parts.keys.insert(Key::Acl(tag.clone()));
            parts.keys.insert(Key::AbfPolicy(id));
            out.put(Key::Acl(tag.clone()), Object::Acl(rules.clone()));
            out.put(Key::AbfPolicy(id), Object::AbfPolicy(policy));
            for link in links {
                let attach = AbfAttach {
                    priority: self.priority(),
                    ipv6,
                };
                parts.keys.insert(Key::AbfAttach(link.clone(), id));
                out.put(Key::AbfAttach(link, id), Object::AbfAttach(attach));
            }
        }
    }

    /// Which packets. `None` while a set is missing and the rules were never known: nothing can be taken then.
    fn rules(&self, parts: &mut ChainParts, out: &mut Desired) -> Option<Vec<Rule>> {
        let Some(matched) = &self.steer.match_ else {
            return Some(
                [false, true]
                    .map(|v6| policy::whole(Action::Permit, policy::any(v6), policy::any(v6)))
                    .to_vec(),
            );
        };
        if let Some(members) = self.sets.get(&matched.destinations) {
            return Some(rules(members, matched, parts));
        }
        let set = &matched.destinations;
        let text = format!("address set {}/{}", set.namespace, set.name);
        parts.missing.push(format!("{text} is not known"));
        out.unresolved.insert(text);
        self.inputs.last_rules.get(&self.tag()).cloned()
    }

    /// Links where the packets appear.
    fn points(&self, ipv6: bool, parts: &mut ChainParts, out: &mut Desired) -> Vec<Link> {
        match &self.steer.at {
            SteerPoint::Pods(places) => {
                let mut uids = BTreeSet::new();
                for place in places {
                    match self.inputs.spec.pods.get(usize::from(*place)) {
                        Some(pod) => {
                            uids.insert(pod.uid.as_str());
                        }
                        None => parts.missing.push(format!("there is no pod at place {place}")),
                    }
                }
                let taken = self.pods.iter().map(|pod| pod.attachment);
                taken
                    .filter(|attachment| uids.contains(attachment.uid.as_str()))
                    .map(|attachment| Link::Pod(attachment.id()))
                    .collect()
            }
            SteerPoint::Function { uid, interface } => match self.function(uid, interface, ipv6) {
                Some((link, _)) => vec![link],
                None => {
                    parts.missing.push(absent(uid, interface));
                    Vec::new()
                }
            },
            SteerPoint::Tunnel { node, vni } => match self.hop(node, *vni, ipv6, out) {
                Some((link, _)) => {
                    self.add_hop_parts(&link, parts);
                    vec![link]
                }
                None => {
                    parts.missing.push(format!("node {node} has no tunnel endpoint"));
                    Vec::new()
                }
            },
        }
    }

    /// Where the packets go.
    fn target(&self, ipv6: bool, parts: &mut ChainParts, out: &mut Desired) -> Path {
        match &self.steer.to {
            SteerTarget::Drop {} => Path::Drop,
            SteerTarget::Function { uid, interface } => match self.function(uid, interface, ipv6) {
                Some((link, Some(hop))) => {
                    parts.keys.insert(Key::Interface(link.clone()));
                    parts.keys.insert(Key::Up(link.clone()));
                    parts.keys.insert(Key::Neighbour(link.clone(), hop));
                    Path::Via(link, hop)
                }
                _ => {
                    parts.missing.push(absent(uid, interface));
                    Path::Drop
                }
            },
            SteerTarget::Tunnel { node, vni } => match self.hop(node, *vni, ipv6, out) {
                Some((link, Some(hop))) => {
                    self.add_hop_parts(&link, parts);
                    Path::Via(link, hop)
                }
                _ => {
                    parts.missing.push(format!("node {node} has no tunnel endpoint"));
                    Path::Drop
                }
            },
        }
    }

    fn add_hop_parts(&self, link: &Link, parts: &mut ChainParts) {
        parts.keys.insert(Key::Interface(link.clone()));
        parts.keys.insert(Key::Up(link.clone()));
    }

    fn function(&self, uid: &str, interface: &str, ipv6: bool) -> Option<(Link, Option<IpAddr>)> {
        let pod = self
            .pods
            .iter()
            .find(|pod| pod.attachment.uid == uid && pod.attachment.ifname == MAIN_INTERFACE)?;
        let index = pod.binding.interfaces.iter().position(|i| i.name == interface)?;
        let hops = addressing::function_next_hops(
            &self.inputs.spec.node.pod_cidrs,
            &pod.attachment.addresses,
            index,
        );
        if hops.is_empty() {
            return None;
        }
        let link = Link::Function(pod.attachment.id(), interface.to_owned());
        Some((link, of_family(&hops, ipv6)))
    }

    /// The hop's tunnel to another node for a family, which is then in `out`.
    fn hop(&self, name: &str, vni: u32, ipv6: bool, out: &mut Desired) -> Option<(Link, Option<IpAddr>)> {
        let peers = self.inputs.cluster.peers_of(&self.inputs.local.node);
        let peer = peers.get(name)?;
        let (local, remote) = node::tunnel_ends(self.inputs, peer)?;
        let id = TunnelId {
            vni: vni + u32::from(ipv6),
            remote,
        };
        let link = node::add_tunnel(self.inputs, id, local, ipv6, out);
        Some((link, node::tunnel_next_hop(peer, remote, ipv6)))
    }

    fn tag(&self) -> String {
        let steer = self.steer;
        let at = match &steer.at {
            // The pods come and go; the ACL stays the same.
            SteerPoint::Pods(_) => "pods".to_owned(),
            SteerPoint::Function { uid, interface } => format!("{uid}/{interface}"),
            SteerPoint::Tunnel { node, vni } => format!("{node}/{vni}"),
        };
        let identity = (
            &steer.namespace,
            &steer.chain,
            steer.direction,
            steer.hop,
            at,
            &steer.match_,
        );
        let hash = crds::revision::short_hash(&identity);
        let end = format!("/{}", &hash[..12]);
        let mut start = format!(
            "{CHAIN_ACL_PREFIX}{}/{}/{}",
            steer.namespace, steer.chain, steer.hop
        );
        start.truncate(TAG_LIMIT - end.len());
        start + &end
    }

    /// Chains whose classifiers overlap are tried in an order that is arbitrary but the same everywhere and for ever:
    /// VPP cannot change the priority of an attachment without a moment of nothing attached.
    fn priority(&self) -> u32 {
        let name = format!("{}/{}", self.steer.namespace, self.steer.chain);
        100 + (xxh3_64(name.as_bytes()) & 0xffff) as u32
    }
}

fn absent(uid: &str, interface: &str) -> String {
    format!("interface {interface} of function pod {uid} is not attached on this node")
}

fn policy_id(tag: &str, path: &Path, ipv6: bool) -> u32 {
    let identity = format!("{tag}\0{path:?}\0{ipv6}");
    POLICY_ID_BASE | (xxh3_64(identity.as_bytes()) & 0x00ff_ffff) as u32
}

fn rules(members: &[Cidr], matched: &SteerMatch, parts: &mut ChainParts) -> Vec<Rule> {
    let everything = [(0_u8, (0, u16::MAX))];
    let ports: Vec<(u8, (u16, u16))> = matched.ports.iter().map(|p| port(p, parts)).collect();
    let ports = if ports.is_empty() {
        everything.to_vec()
    } else {
        ports
    };
    let mut rules = Vec::new();
    for &destination in members {
        for &(protocol, range) in &ports {
            let mut rule = policy::whole(Action::Permit, policy::any(destination.is_ipv6()), destination);
            rule.protocol = protocol;
            if matched.source_ports {
                rule.source_ports = range;
            } else {
                rule.destination_ports = range;
            }
            rules.push(rule);
        }
    }
    rules
}

fn port(port: &PortMatch, parts: &mut ChainParts) -> (u8, (u16, u16)) {
    if port.protocol == Protocol::Sctp && port.port.is_some() {
        parts
            .missing
            .push("VPP cannot match SCTP ports; all of SCTP is taken".to_owned());
        return (port.protocol.number(), (0, u16::MAX));
    }
    (port.protocol.number(), port.range())
}
