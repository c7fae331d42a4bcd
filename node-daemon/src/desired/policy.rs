//! Policies as ACLs (design §6).
//!
//! Directions are the pod's: its ingress rules are the *output* list of its interface, its egress rules the *input*
//! list. Each direction's list is
//! ```text
//! isolated      itself, node permit, the policies in order, deny all
//! not isolated  permit and reflect any: without it replies to what the pod starts would be dropped
//! ```
//! Policies of other tiers stand around these: see [`tiers`]. A pod isolated in no direction has both lists all the same,
//! so that VPP has a session of each of its connections when its first policy comes ([`ListedPods`]). One ACL per policy
//! and direction serves all pods bound to it.
//!
//! "A Pod cannot block access to itself" (Kubernetes' documentation of NetworkPolicy): a pod that stands behind a Service
//! may be led back to itself by it, and VPP puts another address in place of the pod's only behind the output list.
//! So such a pod has an ACL of its own, first, while anything isolates it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::net::{Cidr, PortMatch, Protocol};
use crds::policy::{PolicyAction, PolicyRule};
use crds::vpp_config::{DirectionBinding, PolicyRef};
use crds::{SetRef, VppPolicySpec};
use ipnet::IpNet;

use super::{Desired, Inputs, ListedPods, LocalPod, permits, tiers};
use crate::addressing;
use crate::objects::{AclLists, Action, Area, Key, Link, Object, Rule, TAG_LIMIT, TcpFlags};

const NODE_IN_ACL: &str = "contiv/permit-node/in";
const NODE_OUT_ACL: &str = "contiv/permit-node/out";
pub(super) const ICMP_ACL: &str = "contiv/permit-icmp-errors";
pub(super) const DENY_ACL: &str = "contiv/deny-any";
/// What a pod may always: speak to itself. Ends with the attachment's id.
const SELF_ACL: &str = "contiv/permit-self/";
pub(super) const ANY_ACL: &str = "contiv/permit-any";

/// Most rules of one ACL: replacing a longer one stops traffic for more than about 80 ms, and VPP's reply memory is
/// finite.
pub(super) const MAX_RULES: usize = 50_000;

/// Most ACLs of one interface, both directions: VPP counts them in a u8, and a pod's own may be added.
const MAX_LISTED: usize = 255 - 2;

/// Direction of traffic, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ingress => "in",
            Self::Egress => "out",
        }
    }

    pub(super) fn node_acl(self) -> &'static str {
        match self {
            Self::Ingress => NODE_IN_ACL,
            Self::Egress => NODE_OUT_ACL,
        }
    }

    pub(super) fn rules(self, spec: &VppPolicySpec) -> &[PolicyRule] {
        match self {
            Self::Ingress => &spec.ingress,
            Self::Egress => &spec.egress,
        }
    }
}

pub(super) fn add(
    inputs: &Inputs<'_>,
    pods: &[LocalPod<'_>],
    sets: &BTreeMap<SetRef, Vec<Cidr>>,
    out: &mut Desired,
) {
    let mut policies = Policies {
        inputs,
        sets,
        tags: BTreeMap::new(),
    };
    let backends = backends(inputs, pods);
    for pod in pods {
        let ingress = policy_set(inputs, pod, Direction::Ingress, out);
        let egress = policy_set(inputs, pod, Direction::Egress, out);
        let open = ingress.is_open() && egress.is_open();
        if open && inputs.local.acl_lists == ListedPods::Isolated {
            continue;
        }
        let lists = AclLists {
            input: policies.list(egress, Direction::Egress, out),
            output: policies.list(ingress, Direction::Ingress, out),
        };
        let mut lists = bounded(lists, pod, out);
        if !open && pod.attachment.addresses.iter().any(|a| backends.contains(a)) {
            let tag = self_tag(pod);
            let rules = pod.attachment.addresses.iter().map(|&address| {
                let host = Cidr::host(address);
                whole(Action::Reflect, host, host)
            });
            out.put(Key::Acl(tag.clone()), Object::Acl(rules.collect()));
            lists.input.insert(0, tag.clone());
            lists.output.insert(0, tag);
        }
        for tag in lists.input.iter().chain(&lists.output) {
            add_fixed(inputs, tag, out);
        }
        out.put(
            Key::AclBinding(Link::Pod(pod.attachment.id())),
            Object::AclBinding(lists),
        );
    }
}

fn self_tag(pod: &LocalPod<'_>) -> String {
    format!("{SELF_ACL}{}", pod.attachment.id())
}

/// Whether isolated pods of which one of the addresses has `moved` into or out of Services' backends have in `desired` what they
/// must: they speak to themselves by their Service only while they stand behind one.
pub(super) fn reach_themselves(
    inputs: &Inputs<'_>,
    moved: &BTreeSet<IpAddr>,
    listed: impl Fn(&IpAddr) -> bool,
    desired: &Desired,
) -> bool {
    let pods = inputs.pods();
    let mut touched = pods.iter().filter(|pod| {
        pod.attachment
            .addresses
            .iter()
            .any(|address| moved.contains(address))
    });
    touched.all(|pod| {
        // What is to be said of them was said when everything was computed.
        let mut said = Desired::default();
        let mut open = |direction| policy_set(inputs, pod, direction, &mut said).is_open();
        let isolated = !(open(Direction::Ingress) && open(Direction::Egress));
        let wanted = isolated && pod.attachment.addresses.iter().any(&listed);
        desired.objects.contains_key(&Key::Acl(self_tag(pod))) == wanted
    })
}

/// Addresses of this node's pods that stand behind a Service.
fn backends(inputs: &Inputs<'_>, pods: &[LocalPod<'_>]) -> BTreeSet<IpAddr> {
    let own: BTreeSet<IpAddr> = pods
        .iter()
        .flat_map(|pod| pod.attachment.addresses.iter().copied())
        .collect();
    if !inputs.local.cnat {
        return BTreeSet::new();
    }
    let slices = inputs.cluster.services.values();
    let all = slices.flat_map(|slice| slice.backends.iter().map(|backend| backend.address));
    all.filter(|address| own.contains(address)).collect()
}

/// What policies say of one direction of a pod. A place that `policySets` does not have denies everything, and is said.
fn policy_set<'a>(
    inputs: &Inputs<'a>,
    pod: &LocalPod<'_>,
    direction: Direction,
    out: &mut Desired,
) -> &'a DirectionBinding {
    const CLOSED: &DirectionBinding = &DirectionBinding {
        isolated: true,
        policies: Vec::new(),
    };
    let place = match direction {
        Direction::Ingress => pod.binding.ingress,
        Direction::Egress => pod.binding.egress,
    };
    inputs.spec.policy_set(place).unwrap_or_else(|| {
        out.pend(
            Area::Policies,
            format!(
                "pod {}/{} names policy set {} of {}; its traffic {} is denied",
                pod.attachment.namespace,
                pod.attachment.pod,
                place.unwrap_or_default(),
                inputs.spec.policy_sets.len(),
                direction.word(),
            ),
        );
        CLOSED
    })
}

/// A list longer than VPP takes denies everything but the node instead: closed, and said.
fn bounded(lists: AclLists, pod: &LocalPod<'_>, out: &mut Desired) -> AclLists {
    if lists.input.len() + lists.output.len() <= MAX_LISTED {
        return lists;
    }
    out.pend(
        Area::Policies,
        format!(
            "pod {}/{} has more policies than VPP lists per interface ({MAX_LISTED}); all its traffic is denied",
            pod.attachment.namespace, pod.attachment.pod
        ),
    );
    let closed = |direction: Direction| vec![direction.node_acl().to_owned(), DENY_ACL.to_owned()];
    AclLists {
        input: closed(Direction::Egress),
        output: closed(Direction::Ingress),
    }
}

fn add_fixed(inputs: &Inputs<'_>, tag: &str, out: &mut Desired) {
    let rules = match tag {
        NODE_IN_ACL => node_rules(inputs, Direction::Ingress),
        NODE_OUT_ACL => node_rules(inputs, Direction::Egress),
        DENY_ACL => [false, true]
            .map(|ipv6| whole(Action::Deny, any(ipv6), any(ipv6)))
            .to_vec(),
        ANY_ACL => permits::everything(),
        ICMP_ACL => permits::icmp_errors(),
        _ => return,
    };
    out.put(Key::Acl(tag.to_owned()), Object::Acl(rules));
}

pub(super) struct Policies<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) sets: &'a BTreeMap<SetRef, Vec<Cidr>>,
    /// Tag by policy and direction; `None` where the policy contributes nothing.
    tags: BTreeMap<(PolicyRef, &'static str), Option<String>>,
}

impl Policies<'_> {
    fn list(&mut self, binding: &DirectionBinding, direction: Direction, out: &mut Desired) -> Vec<String> {
        if binding.is_open() {
            return vec![ANY_ACL.to_owned()];
        }
        tiers::list(self, binding, direction, out)
    }

    /// Tag of a NetworkPolicy's ACL for the direction, which is then in `out`. `None` when nothing is known that the
    /// policy could contribute: the list's end decides then.
    pub(super) fn acl(
        &mut self,
        policy: &PolicyRef,
        direction: Direction,
        out: &mut Desired,
    ) -> Option<String> {
        let cached = (policy.clone(), direction.word());
        if let Some(tag) = self.tags.get(&cached) {
            return tag.clone();
        }
        let tag = tag(policy, direction);
        let rules = self.rules(policy, direction, &tag, out);
        let tag = rules.map(|rules| {
            out.put(Key::Acl(tag.clone()), Object::Acl(rules));
            tag
        });
        self.tags.insert(cached, tag.clone());
        tag
    }

    fn rules(
        &self,
        policy: &PolicyRef,
        direction: Direction,
        tag: &str,
        out: &mut Desired,
    ) -> Option<Vec<Rule>> {
        let last = || self.inputs.last_rules.get(tag).cloned();
        let Some(spec) = self.inputs.cluster.policy(policy) else {
            out.unresolved
                .insert(format!("policy {}/{}", policy.namespace, policy.name));
            // Deleted while still bound, or not seen yet: known rules stay, an unknown policy contributes nothing.
            return last();
        };
        match compile(spec, direction, self.sets) {
            Ok((rules, remarks)) => {
                for remark in remarks {
                    out.pend(
                        Area::Policies,
                        format!("policy {}/{}: {remark}", policy.namespace, policy.name),
                    );
                }
                Some(rules)
            }
            Err(Incomplete::Sets(missing)) => {
                for set in missing {
                    out.unresolved
                        .insert(format!("address set {}/{}", set.namespace, set.name));
                }
                last()
            }
            Err(Incomplete::TooLong(rules)) => {
                out.pend(
                    Area::Policies,
                    format!(
                        "policy {}/{} takes {rules} rules, more than {MAX_RULES}; it lets nothing pass",
                        policy.namespace, policy.name
                    ),
                );
                None
            }
        }
    }
}

/// Tag of a policy's ACL: readable as far as it fits, told apart by a hash.
pub(super) fn tag(policy: &PolicyRef, direction: Direction) -> String {
    let hash = crds::revision::short_hash(policy);
    let end = format!("/{}/{}", &hash[..10], direction.word());
    let mut start = format!("contiv/policy/{}/{}", policy.namespace, policy.name);
    start.truncate(TAG_LIMIT - end.len());
    start + &end
}

enum Incomplete {
    Sets(BTreeSet<SetRef>),
    TooLong(usize),
}

/// Sets that the rules name and that are not known.
pub(super) fn missing_sets(rules: &[PolicyRule], sets: &BTreeMap<SetRef, Vec<Cidr>>) -> BTreeSet<SetRef> {
    rules
        .iter()
        .flat_map(|rule| rule.peers.iter().flatten().chain(rule.targets.iter().flatten()))
        .filter(|set| !sets.contains_key(set))
        .cloned()
        .collect()
}

/// Rules of one direction of a NetworkPolicy, and remarks on what VPP cannot do.
fn compile(
    spec: &VppPolicySpec,
    direction: Direction,
    sets: &BTreeMap<SetRef, Vec<Cidr>>,
) -> Result<(Vec<Rule>, Vec<String>), Incomplete> {
    let source = direction.rules(spec);
    let missing = missing_sets(source, sets);
    if !missing.is_empty() {
        return Err(Incomplete::Sets(missing));
    }
    let mut rules = Vec::new();
    let mut remarks = Vec::new();
    for rule in source {
        let action = match rule.action {
            PolicyAction::Accept => Action::Reflect,
            PolicyAction::Deny | PolicyAction::Pass => Action::Deny,
        };
        expand(rule, action, direction, sets, &mut rules, &mut remarks);
        if rules.len() > MAX_RULES {
            return Err(Incomplete::TooLong(rules.len()));
        }
    }
    // Accepts have no order among themselves: sorted, equal sets of rules are equal ACLs.
    // What makes no session sorts before what makes one.
    if rules.iter().all(|rule| rule.action != Action::Deny) {
        rules.sort();
    }
    let mut seen = BTreeSet::new();
    rules.retain(|rule| seen.insert(*rule));
    Ok((rules, remarks))
}

pub(super) fn expand(
    rule: &PolicyRule,
    action: Action,
    direction: Direction,
    sets: &BTreeMap<SetRef, Vec<Cidr>>,
    rules: &mut Vec<Rule>,
    remarks: &mut Vec<String>,
) {
    let peers = members(rule.peers.as_deref(), sets);
    let targets = members(rule.targets.as_deref(), sets);
    let ports = ports(rule.ports.as_deref(), action, remarks);
    for &peer in &peers {
        for &target in targets.iter().filter(|target| target.is_ipv6() == peer.is_ipv6()) {
            let (source, destination) = match direction {
                Direction::Ingress => (peer, target),
                Direction::Egress => (target, peer),
            };
            for &(protocol, destination_ports) in &ports {
                let rule = Rule {
                    protocol,
                    destination_ports,
                    ..whole(action, source, destination)
                };
                if action == Action::Deny {
                    rules.push(rule);
                } else {
                    permits::push(rule, rules);
                }
            }
        }
    }
}

/// Members of the sets; of absent sets: everything, in both families.
pub(super) fn members(refs: Option<&[SetRef]>, sets: &BTreeMap<SetRef, Vec<Cidr>>) -> Vec<Cidr> {
    match refs {
        None => vec![any(false), any(true)],
        Some(refs) => {
            let all: BTreeSet<Cidr> = refs
                .iter()
                .filter_map(|set| sets.get(set))
                .flatten()
                .copied()
                .collect();
            all.into_iter().collect()
        }
    }
}

fn ports(ports: Option<&[PortMatch]>, action: Action, remarks: &mut Vec<String>) -> Vec<(u8, (u16, u16))> {
    let Some(ports) = ports else {
        return vec![(0, (0, u16::MAX))];
    };
    let mut matches = Vec::new();
    for port in ports {
        let all = port.port.is_none();
        match (port.protocol, action) {
            (Protocol::Sctp, _) if all => matches.push((port.protocol.number(), port.range())),
            // VPP's ACLs know ports of TCP and UDP only. An accept that cannot be as narrow as asked is left out, a
            // deny that cannot be is made wider: closed in both cases.
            (Protocol::Sctp, Action::Deny) => {
                remarks.push("VPP cannot match SCTP ports; the rule denies all of SCTP".to_owned());
                matches.push((port.protocol.number(), (0, u16::MAX)));
            }
            (Protocol::Sctp, _) => {
                remarks.push("VPP cannot match SCTP ports; the rule lets no SCTP pass".to_owned());
            }
            (protocol, _) => matches.push((protocol.number(), port.range())),
        }
    }
    matches
}

/// All addresses of a family.
pub(super) fn any(ipv6: bool) -> Cidr {
    Cidr::from(if ipv6 {
        IpNet::from(ipnet::Ipv6Net::default())
    } else {
        IpNet::from(ipnet::Ipv4Net::default())
    })
}

pub(super) fn whole(action: Action, source: Cidr, destination: Cidr) -> Rule {
    Rule {
        action,
        source,
        destination,
        protocol: 0,
        source_ports: (0, u16::MAX),
        destination_ports: (0, u16::MAX),
        tcp_flags: TcpFlags::default(),
    }
}

/// Between the node and its pods everything passes, as Kubernetes demands: kubelet's probes come from the node's
/// addresses. The gateways are VPP itself; its underlay addresses stand in for a pod that reaches itself through a
/// Service, which no policy may forbid. One ACL per direction, or a pod could speak to all under the node's address.
/// ICMP errors pass with it.
pub(super) fn node_rules(inputs: &Inputs<'_>, direction: Direction) -> Vec<Rule> {
    let mut addresses: BTreeSet<IpAddr> = inputs.spec.node.addresses.iter().copied().collect();
    addresses.extend(addressing::gateways(inputs.spec));
    addresses.extend(super::service::snat_addresses(inputs).into_iter().flatten());
    let mut rules = permits::icmp_errors();
    rules.extend(addresses.into_iter().map(|address| {
        let host = Cidr::host(address);
        let any = any(address.is_ipv6());
        match direction {
            Direction::Ingress => whole(Action::Reflect, host, any),
            Direction::Egress => whole(Action::Reflect, any, host),
        }
    }));
    rules
}
