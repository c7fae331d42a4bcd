//! Policies of the tiers around NetworkPolicy as ACLs.
//!
//! A direction's list, first match first:
//! ```text
//! to the pod     node permit, Admin…, then isolated ? NetworkPolicies…, deny : Baseline…, permit
//! from the pod   ICMP errors, Admin…, then isolated ? node permit, NetworkPolicies…, deny : Baseline…, permit
//! ```
//! ICMP errors are related to what was accepted, and open nothing (towards the pod they pass with the node permit).
//! That a node and its own pods always reach each other is a rule of NetworkPolicy: an administrator may forbid pods
//! their node. No rule of ClusterNetworkPolicy can name a node as a source, so towards the pod the permit stands first,
//! where it also keeps kubelet's probes alive should a policy that can't be read deny everything.
//!
//! A list has no way to skip the rest of a tier. What an Admin rule passes on is therefore decided where the rule
//! stands: everything of the tiers below that meets the rule's match, cut down to it, and then what ends those tiers.
//! Matches are boxes (prefixes, protocol, ports), and boxes meet in boxes, so this is exact. Such an ACL depends on all
//! policies of the pod's direction; pods with equal bindings share it. A passed box that no later Admin rule meets needs
//! nothing: it gets to the tiers below by itself. Below Baseline everything is accepted, and so is what Baseline passes on.
//!
//! A policy that is missing may be one that denies: its last known rules stay, and without any the list ends there,
//! denying.

use std::collections::BTreeSet;

use crds::net::{PortMatch, Protocol};
use crds::policy::{PolicyAction, PolicyRule, PolicyTier};
use crds::vpp_config::{DirectionBinding, PolicyRef};

mod boxes;

use boxes::{ByPeer, intersect};

use super::policy::{
    ANY_ACL, DENY_ACL, Direction, ICMP_ACL, MAX_RULES, Policies, expand, missing_sets, node_rules, tag,
};
use super::{Desired, Origin, Origins, permits};
use crate::objects::{Action, Area, Key, Object, Rule, TAG_LIMIT};

/// Rules of a list and who put them there. Of two that match the same the first decides, so it alone is kept.
#[derive(Default)]
struct Emitted {
    rules: Vec<Rule>,
    origins: Vec<Origin>,
    matches: BTreeSet<Rule>,
}

impl Emitted {
    fn push(&mut self, rule: Rule, origin: Origin) {
        let what = Rule {
            action: Action::Deny,
            ..rule
        };
        // One more than may be is kept, so that it shows.
        if !self.is_too_long() && self.matches.insert(what) {
            self.rules.push(rule);
            self.origins.push(origin);
        }
    }

    fn extend(&mut self, rules: impl IntoIterator<Item = Rule>, origin: Origin) {
        for rule in rules {
            self.push(rule, origin);
        }
    }

    fn is_too_long(&self) -> bool {
        self.rules.len() > MAX_RULES
    }
}

/// The rules of a policy cannot be told, and none are known from before: nothing after it may be reached.
struct Closed;

/// What decides behind the Admin tier.
struct Below {
    emitted: Emitted,
    index: ByPeer,
    /// What becomes of what no rule matches.
    end: (Action, Origin),
}

/// One direction of one pod.
struct Tiers<'b> {
    binding: &'b DirectionBinding,
    direction: Direction,
    /// Positions in the binding.
    admin: Vec<usize>,
    own: Vec<usize>,
    baseline: Vec<usize>,
}

/// Tags of the ACLs of a direction that is not open; the ACLs of policies are in `out` then.
pub(super) fn list(
    policies: &mut Policies<'_>,
    binding: &DirectionBinding,
    direction: Direction,
    out: &mut Desired,
) -> Vec<String> {
    let tiers = Tiers::new(policies, binding, direction);
    let mut list = Vec::new();
    match direction {
        Direction::Ingress => list.push(direction.node_acl().to_owned()),
        Direction::Egress if tiers.own.len() < binding.policies.len() => list.push(ICMP_ACL.to_owned()),
        // With the node permit.
        Direction::Egress => {}
    }
    for (nth, _) in tiers.admin.iter().enumerate() {
        match tiers.admin_acl(nth, policies, out) {
            Ok(tag) => list.push(tag),
            Err(Closed) => return closed(list),
        }
    }
    if binding.isolated {
        if direction == Direction::Egress {
            list.push(direction.node_acl().to_owned());
        }
        for &at in &tiers.own {
            // What is not known accepts nothing.
            list.extend(policies.acl(&binding.policies[at], direction, out));
        }
        return closed(unique(list));
    }
    for &at in &tiers.baseline {
        match tiers.baseline_acl(at, policies, out) {
            Ok(tag) => list.push(tag),
            Err(Closed) => return closed(list),
        }
    }
    list.push(ANY_ACL.to_owned());
    unique(list)
}

fn closed(mut list: Vec<String>) -> Vec<String> {
    list.push(DENY_ACL.to_owned());
    list
}

/// VPP answers +1 when one ACL is listed twice, and may have done half of the change.
fn unique(mut list: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    list.retain(|tag| seen.insert(tag.clone()));
    list
}

impl<'b> Tiers<'b> {
    fn new(policies: &Policies<'_>, binding: &'b DirectionBinding, direction: Direction) -> Self {
        let mut tiers = Self {
            binding,
            direction,
            admin: Vec::new(),
            own: Vec::new(),
            baseline: Vec::new(),
        };
        for (at, policy) in binding.policies.iter().enumerate() {
            let known = policies.inputs.cluster.policy(policy).map(|spec| spec.tier);
            let tier = known.or_else(|| PolicyTier::of_cluster_policy(&policy.name));
            match tier.unwrap_or_default() {
                PolicyTier::Admin => tiers.admin.push(at),
                PolicyTier::NetworkPolicy => tiers.own.push(at),
                PolicyTier::Baseline => tiers.baseline.push(at),
            }
        }
        tiers
    }

    /// Tag of the ACL of the nth Admin policy.
    fn admin_acl(
        &self,
        nth: usize,
        policies: &mut Policies<'_>,
        out: &mut Desired,
    ) -> Result<String, Closed> {
        let at = self.admin[nth];
        let policy = &self.binding.policies[at];
        let (plain, combined) = (tag(policy, self.direction), self.combined_tag(at));
        let source = match source(policies, policy, self.direction, out) {
            Some(source) => source,
            None => {
                // Whether it passed anything on is not known either.
                let last = [combined, plain]
                    .into_iter()
                    .find_map(|tag| policies.inputs.last_rules.get_key_value(&tag));
                let (tag, rules) = last.ok_or(Closed)?;
                out.put(Key::Acl(tag.clone()), Object::Acl(rules.clone()));
                return Ok(tag.clone());
            }
        };
        let later = self.later(nth, &source, policies);
        let mut below = None;
        let mut emitted = Emitted::default();
        for (index, rule) in source.iter().enumerate() {
            let origin = Origin::Rule {
                policy: at,
                rule: index,
            };
            let passed = expand_tier(policies, rule, self.direction, origin, &mut emitted);
            for passed in passed.iter().filter(|passed| later.meets(index, passed)) {
                if emitted.is_too_long() {
                    break;
                }
                let below = below.get_or_insert_with(|| self.below(policies, out));
                below.within(passed, &mut emitted);
            }
        }
        let tag = match below {
            Some(_) => combined,
            None => plain,
        };
        self.put(policy, tag, emitted, out)
    }

    /// Tag of the ACL of a Baseline policy.
    fn baseline_acl(
        &self,
        at: usize,
        policies: &mut Policies<'_>,
        out: &mut Desired,
    ) -> Result<String, Closed> {
        let policy = &self.binding.policies[at];
        let tag = tag(policy, self.direction);
        let Some(source) = source(policies, policy, self.direction, out) else {
            let rules = policies.inputs.last_rules.get(&tag).ok_or(Closed)?;
            out.put(Key::Acl(tag.clone()), Object::Acl(rules.clone()));
            return Ok(tag);
        };
        let mut emitted = Emitted::default();
        self.baseline_rules(at, &source, policies, &mut emitted);
        self.put(policy, tag, emitted, out)
    }

    fn baseline_rules(
        &self,
        at: usize,
        source: &[PolicyRule],
        policies: &Policies<'_>,
        emitted: &mut Emitted,
    ) {
        for (index, rule) in source.iter().enumerate() {
            let origin = Origin::Rule {
                policy: at,
                rule: index,
            };
            let passed = expand_tier(policies, rule, self.direction, origin, emitted);
            let accepted = passed.into_iter().map(|passed| Rule {
                action: Action::Reflect,
                ..passed
            });
            emitted.extend(accepted, origin);
        }
    }

    /// What the rules of the nth Admin policy and of those after it match. Without a Pass nobody asks.
    fn later(&self, nth: usize, source: &[PolicyRule], policies: &Policies<'_>) -> Later {
        let mut matches = Vec::new();
        if source.iter().any(|rule| rule.action == PolicyAction::Pass) {
            let mut number = 0;
            let mut add = |rules: &[PolicyRule]| {
                for rule in rules {
                    let boxes = boxes(policies, rule, self.direction);
                    matches.extend(boxes.into_iter().map(|of| (number, of)));
                    number += 1;
                }
            };
            add(source);
            for &at in &self.admin[nth + 1..] {
                let spec = policies.inputs.cluster.policy(&self.binding.policies[at]);
                let rules = spec.map(|spec| self.direction.rules(spec));
                match rules.filter(|rules| missing_sets(rules, policies.sets).is_empty()) {
                    Some(rules) => add(rules),
                    // Unknown: it may match anything.
                    None => add(&[PolicyRule::default()]),
                }
            }
        }
        let index = ByPeer::new(self.direction, matches.iter().map(|(_, of)| of));
        Later { matches, index }
    }

    /// What decides behind the Admin tier: NetworkPolicies where they isolate, Baseline policies where not.
    fn below(&self, policies: &mut Policies<'_>, out: &mut Desired) -> Below {
        let mut emitted = Emitted::default();
        let mut end = (Action::Reflect, Origin::Default);
        if self.binding.isolated {
            end = (Action::Deny, Origin::Isolation);
            if self.direction == Direction::Egress {
                emitted.extend(node_rules(policies.inputs, self.direction), Origin::Node);
            }
            for &at in &self.own {
                self.own_rules(at, policies, out, &mut emitted);
            }
        } else {
            for &at in &self.baseline {
                let policy = &self.binding.policies[at];
                if let Some(source) = source(policies, policy, self.direction, out) {
                    self.baseline_rules(at, &source, policies, &mut emitted);
                    continue;
                }
                let last = policies.inputs.last_rules.get(&tag(policy, self.direction));
                let Some(last) = last else {
                    end = (Action::Deny, Origin::Unknown);
                    break;
                };
                emitted.extend(last.iter().copied(), Origin::Unknown);
            }
        }
        Below {
            index: ByPeer::new(self.direction, emitted.rules.iter()),
            emitted,
            end,
        }
    }

    fn own_rules(&self, at: usize, policies: &Policies<'_>, out: &mut Desired, emitted: &mut Emitted) {
        let policy = &self.binding.policies[at];
        let Some(source) = source(policies, policy, self.direction, out) else {
            let last = policies.inputs.last_rules.get(&tag(policy, self.direction));
            emitted.extend(last.into_iter().flatten().copied(), Origin::Unknown);
            return;
        };
        for (index, rule) in source.iter().enumerate() {
            let origin = Origin::Rule {
                policy: at,
                rule: index,
            };
            expand_tier(policies, rule, self.direction, origin, emitted);
        }
    }

    /// Tag of an Admin policy's ACL in which what it passes on is decided.
    fn combined_tag(&self, at: usize) -> String {
        let DirectionBinding { isolated, policies } = self.binding;
        let hash = crds::revision::short_hash(&(isolated, policies, &policies[at]));
        let end = format!("/{hash}/{}", self.direction.word());
        let mut start = format!("contiv/tiers/{}", policies[at].name);
        start.truncate(TAG_LIMIT - end.len());
        start + &end
    }

    fn put(
        &self,
        policy: &PolicyRef,
        tag: String,
        emitted: Emitted,
        out: &mut Desired,
    ) -> Result<String, Closed> {
        let (mut rules, mut origins) = (Vec::new(), Vec::new());
        for (rule, origin) in emitted.rules.iter().zip(&emitted.origins) {
            match rule.action {
                Action::Reflect => permits::push(*rule, &mut rules),
                Action::Deny | Action::Permit => rules.push(*rule),
            }
            origins.resize(rules.len(), *origin);
        }
        if emitted.is_too_long() || rules.len() > MAX_RULES {
            out.pend(
                Area::Policies,
                format!(
                    "policy {}/{} takes more than {MAX_RULES} rules together with what it passes traffic on to; \
                     its pods' traffic is denied",
                    policy.namespace, policy.name
                ),
            );
            return Err(Closed);
        }
        let origins = Origins {
            policies: self.binding.policies.clone(),
            rules: origins,
        };
        out.origins.insert(tag.clone(), origins);
        out.put(Key::Acl(tag.clone()), Object::Acl(rules));
        Ok(tag)
    }
}

impl Below {
    /// Decides all of a box.
    fn within(&self, passed: &Rule, emitted: &mut Emitted) {
        let Emitted { rules, origins, .. } = &self.emitted;
        for position in self.index.meeting(passed) {
            if let Some(both) = intersect(passed, &rules[position]) {
                emitted.push(both, origins[position]);
            }
        }
        let (mut action, mut origin) = self.end;
        if self.emitted.is_too_long() {
            // The missing ones may deny.
            (action, origin) = (Action::Deny, Origin::Unknown);
        }
        let rest = Rule { action, ..*passed };
        emitted.push(rest, origin);
    }
}

/// What rules of the Admin tier match, each with its number, counted from the first of the policy that is looked at.
struct Later {
    matches: Vec<(usize, Rule)>,
    index: ByPeer,
}

impl Later {
    /// Whether a rule after this one matches anything of a box.
    fn meets(&self, rule: usize, of: &Rule) -> bool {
        self.index.meeting(of).into_iter().any(|position| {
            let (number, other) = &self.matches[position];
            *number > rule && intersect(of, other).is_some()
        })
    }
}

/// The policy's rules for the direction; `None`, and said, if it or one of its sets is missing.
fn source(
    policies: &Policies<'_>,
    policy: &PolicyRef,
    direction: Direction,
    out: &mut Desired,
) -> Option<Vec<PolicyRule>> {
    let Some(spec) = policies.inputs.cluster.policy(policy) else {
        out.unresolved
            .insert(format!("policy {}/{}", policy.namespace, policy.name));
        return None;
    };
    let rules = direction.rules(spec);
    let missing = missing_sets(rules, policies.sets);
    for set in &missing {
        out.unresolved
            .insert(format!("address set {}/{}", set.namespace, set.name));
    }
    for rule in rules.iter().filter(|rule| has_sctp_port(rule)) {
        let effect = match rule.action {
            PolicyAction::Accept => "the rule lets no SCTP pass",
            PolicyAction::Deny | PolicyAction::Pass => "the rule denies all of SCTP",
        };
        out.pend(
            Area::Policies,
            format!(
                "policy {}/{}: VPP cannot match SCTP ports; {effect}",
                policy.namespace, policy.name
            ),
        );
    }
    missing.is_empty().then(|| rules.to_vec())
}

/// Everything a rule matches, as far as ACLs can say it: of SCTP ports, all of SCTP.
fn boxes(policies: &Policies<'_>, rule: &PolicyRule, direction: Direction) -> Vec<Rule> {
    let mut wide = rule.clone();
    for port in wide.ports.iter_mut().flatten() {
        if is_sctp_port(port) {
            (port.port, port.end_port) = (None, None);
        }
    }
    plain_boxes(policies, &wide, direction)
}

/// As [`boxes`], for rules without SCTP ports.
fn plain_boxes(policies: &Policies<'_>, rule: &PolicyRule, direction: Direction) -> Vec<Rule> {
    let mut rules = Vec::new();
    expand(
        rule,
        Action::Deny,
        direction,
        policies.sets,
        &mut rules,
        &mut Vec::new(),
    );
    rules
}

/// Adds what a rule decides itself, and returns what it passes on.
///
/// VPP's ACLs know ports of TCP and UDP only. An accept that cannot be as narrow as asked is left out, a deny is made
/// wider; and of a pass on an SCTP port neither side can be told from the other, so all of SCTP is denied there.
fn expand_tier(
    policies: &Policies<'_>,
    rule: &PolicyRule,
    direction: Direction,
    origin: Origin,
    emitted: &mut Emitted,
) -> Vec<Rule> {
    let mut emit = |action: Action, boxes: Vec<Rule>| {
        let rules = boxes.into_iter().map(|of| Rule { action, ..of });
        emitted.extend(rules, origin);
    };
    if rule.action == PolicyAction::Deny {
        emit(Action::Deny, boxes(policies, rule, direction));
        return Vec::new();
    }
    let (sctp, rest) = match &rule.ports {
        None => (Vec::new(), None),
        Some(ports) => {
            let (sctp, rest): (Vec<_>, Vec<_>) = ports.iter().cloned().partition(is_sctp_port);
            (sctp, Some(rest))
        }
    };
    let part = |ports: Option<Vec<PortMatch>>| PolicyRule {
        ports,
        ..rule.clone()
    };
    let rest = plain_boxes(policies, &part(rest), direction);
    if rule.action == PolicyAction::Accept {
        emit(Action::Reflect, rest);
        return Vec::new();
    }
    if !sctp.is_empty() {
        emit(Action::Deny, boxes(policies, &part(Some(sctp)), direction));
    }
    rest
}

fn is_sctp_port(port: &PortMatch) -> bool {
    port.protocol == Protocol::Sctp && port.port.is_some()
}

fn has_sctp_port(rule: &PolicyRule) -> bool {
    rule.ports.iter().flatten().any(is_sctp_port)
}

#[cfg(test)]
mod tests;
