//! The acl plugin: lists of rules, their binding to interfaces, and the verdict on a packet.
mod matcher;
mod session;

use std::collections::BTreeMap;

use super::Vpp;
use super::pool::Pool;
use super::types::{OpError, OpResult, Prefix, retval};
use matcher::Matcher;
pub use session::SessionDetails;
pub(crate) use session::{Sessions, Tuple};

/// What a rule does with a packet it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AclAction {
    Deny,
    Permit,
    /// Permit, and let the packets of the same flow pass in the other direction too.
    PermitReflect,
}

impl AclAction {
    /// VPP's `is_permit`.
    pub fn number(self) -> u8 {
        match self {
            Self::Deny => 0,
            Self::Permit => 1,
            Self::PermitReflect => 2,
        }
    }

    /// From VPP's `is_permit`; None for a number VPP does not define.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Deny),
            1 => Some(Self::Permit),
            2 => Some(Self::PermitReflect),
            _ => None,
        }
    }
}

/// One rule. Ports are ICMP type and code for ICMP; they count only when `proto` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclRule {
    pub action: AclAction,
    pub src: Prefix,
    pub dst: Prefix,
    /// IP protocol, 0 = any.
    pub proto: u8,
    /// First and last source port (ICMP type).
    pub src_ports: (u16, u16),
    /// First and last destination port (ICMP code).
    pub dst_ports: (u16, u16),
    pub tcp_flags_mask: u8,
    pub tcp_flags_value: u8,
}

impl AclRule {
    /// A rule for all protocols and ports.
    pub fn any_proto(action: AclAction, src: Prefix, dst: Prefix) -> Self {
        Self {
            action,
            src,
            dst,
            proto: 0,
            src_ports: (0, u16::MAX),
            dst_ports: (0, u16::MAX),
            tcp_flags_mask: 0,
            tcp_flags_value: 0,
        }
    }
}

/// A list of rules with its tag.
#[derive(Clone, Debug)]
pub struct Acl {
    pub tag: String,
    pub rules: Vec<AclRule>,
    matcher: Matcher,
    /// Per rule: packets and bytes that matched, while counters are enabled.
    pub matches: Vec<(u64, u64)>,
}

/// Lists bound to an interface, in order of evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclBinding {
    pub input: Vec<u32>,
    pub output: Vec<u32>,
}

/// The verdict on one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub permit: bool,
    /// It belongs to a session (or made one), so no list was needed (from now on).
    pub session: Option<u32>,
    /// ACL and rule that decided; None = session or implicit deny.
    pub rule: Option<(u32, u32)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct AclPlugin {
    acls: Pool<Acl>,
    bindings: BTreeMap<u32, AclBinding>,
    /// Policy epoch of (interface, is input).
    epochs: BTreeMap<(u32, bool), u16>,
    pub sessions: Sessions,
    pub reclassify: bool,
    pub counters_enabled: bool,
}

impl AclPlugin {
    pub fn list(&self, sw_if_index: u32, is_input: bool) -> &[u32] {
        self.bindings
            .get(&sw_if_index)
            .map_or(&[], |b| if is_input { &b.input } else { &b.output })
    }

    fn epoch(&self, sw_if_index: u32, is_input: bool) -> u16 {
        self.epochs.get(&(sw_if_index, is_input)).copied().unwrap_or(0)
    }

    fn next_epoch(&mut self, sw_if_index: u32, is_input: bool) {
        let epoch = self.epochs.entry((sw_if_index, is_input)).or_insert(0);
        *epoch = epoch.wrapping_add(1);
    }

    pub fn interface_gone(&mut self, sw_if_index: u32) {
        self.bindings.remove(&sw_if_index);
        self.sessions.clear_interface(sw_if_index);
    }

    /// First match over some lists; an index without ACL blocks like an empty one.
    pub fn match_lists(&self, lists: &[u32], tuple: &Tuple) -> Option<(usize, u32, AclAction)> {
        lists.iter().enumerate().find_map(|(at, index)| {
            let acl = self.acls.get(*index)?;
            let rule = acl.matcher.first(tuple)?;
            Some((at, rule as u32, acl.rules[rule].action))
        })
    }

    /// What the node `acl-plugin-in/out-ip4/6-fa` does with a packet (`dataplane_node.c`).
    pub fn check(
        &mut self,
        sw_if_index: u32,
        is_input: bool,
        tuple: &Tuple,
        length: usize,
        now: u64,
    ) -> Verdict {
        if let Some(id) = self.sessions.find(sw_if_index, is_input, tuple) {
            self.sessions.track(id, is_input, tuple, now);
            let epoch = self.epoch(sw_if_index, is_input);
            // Only the direction that made the session is judged anew.
            if !(self.reclassify && self.sessions.is_stale(id, is_input, epoch)) {
                return Verdict {
                    permit: true,
                    session: Some(id),
                    rule: None,
                };
            }
            self.sessions.remove(id);
        }
        let lists = self.list(sw_if_index, is_input);
        let matched = self.match_lists(lists, tuple);
        let Some((acl_index, rule, action)) = matched.map(|(at, rule, action)| (lists[at], rule, action))
        else {
            return Verdict {
                permit: false,
                session: None,
                rule: None,
            };
        };
        if self.counters_enabled
            && let Some(acl) = self.acls.get_mut(acl_index)
        {
            let (packets, bytes) = &mut acl.matches[rule as usize];
            *packets += 1;
            *bytes += length as u64;
        }
        let mut verdict = Verdict {
            permit: action != AclAction::Deny,
            session: None,
            rule: Some((acl_index, rule)),
        };
        if action == AclAction::PermitReflect {
            let epoch = self.epoch(sw_if_index, is_input);
            verdict.session = self.sessions.add(sw_if_index, is_input, tuple, epoch, now);
            verdict.permit = verdict.session.is_some();
        }
        verdict
    }

    fn set_list(&mut self, sw_if_index: u32, is_input: bool, list: Vec<u32>) -> Result<(), i32> {
        for (at, index) in list.iter().enumerate() {
            if !self.acls.contains(*index) {
                return Err(retval::NO_SUCH_ENTRY);
            }
            if list[..at].contains(index) {
                return Err(retval::ENTRY_ALREADY_EXISTS);
            }
        }
        let binding = self.bindings.entry(sw_if_index).or_default();
        let slot = if is_input {
            &mut binding.input
        } else {
            &mut binding.output
        };
        let mut old = std::mem::replace(slot, list.clone());
        if self.reclassify {
            self.next_epoch(sw_if_index, is_input);
        } else {
            let mut new = list;
            old.sort_unstable();
            new.sort_unstable();
            if old != new {
                self.sessions.clear_interface(sw_if_index);
            }
        }
        Ok(())
    }
}

fn invalid(prefix: &Prefix) -> bool {
    !prefix.is_valid() || prefix.has_host_bits()
}

impl Vpp {
    /// `acl_add_replace`: `index` None creates; the index of the ACL.
    ///
    /// # Errors
    /// −7 tag of 64 bytes or more, −57/−58 bad or mixed prefixes, −8 first port above the last,
    /// −6 replacing an ACL that does not exist.
    pub fn acl_add_replace(&mut self, index: Option<u32>, tag: &str, rules: Vec<AclRule>) -> OpResult<u32> {
        if tag.len() >= 64 {
            return Err(retval::INVALID_VALUE.into());
        }
        for rule in &rules {
            if invalid(&rule.src) {
                return Err(retval::INVALID_SRC_ADDRESS.into());
            }
            if invalid(&rule.dst) {
                return Err(retval::INVALID_DST_ADDRESS.into());
            }
            if rule.src.family() != rule.dst.family() {
                return Err(retval::INVALID_SRC_ADDRESS.into());
            }
            if rule.src_ports.0 > rule.src_ports.1 || rule.dst_ports.0 > rule.dst_ports.1 {
                return Err(retval::INVALID_VALUE_2.into());
            }
        }
        let acl = Acl {
            tag: tag.to_owned(),
            matcher: Matcher::new(&rules),
            matches: vec![(0, 0); rules.len()],
            rules,
        };
        let Some(index) = index else {
            return Ok(self.acl.acls.insert(acl));
        };
        let slot = self.acl.acls.get_mut(index);
        *slot.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))? = acl;
        if self.acl.reclassify {
            let bound: Vec<(u32, bool)> = self
                .acl
                .bindings
                .iter()
                .flat_map(|(sw_if_index, b)| {
                    let input = b.input.contains(&index).then_some((*sw_if_index, true));
                    let output = b.output.contains(&index).then_some((*sw_if_index, false));
                    input.into_iter().chain(output)
                })
                .collect();
            for (sw_if_index, is_input) in bound {
                self.acl.next_epoch(sw_if_index, is_input);
            }
        }
        Ok(index)
    }

    /// `acl_del`.
    ///
    /// # Errors
    /// −6 unknown, −142 bound as input, −143 bound as output, −149 used by ABF.
    pub fn acl_del(&mut self, index: u32) -> OpResult {
        if !self.acl.acls.contains(index) {
            return Err(retval::NO_SUCH_ENTRY.into());
        }
        let bindings = self.acl.bindings.values();
        if bindings.clone().any(|b| b.input.contains(&index)) {
            return Err(retval::ACL_IN_USE_INBOUND.into());
        }
        if bindings.clone().any(|b| b.output.contains(&index)) {
            return Err(retval::ACL_IN_USE_OUTBOUND.into());
        }
        if self.abf.uses_acl(index) {
            return Err(retval::ACL_IN_USE_BY_LOOKUP_CONTEXT.into());
        }
        self.acl.acls.remove(index);
        Ok(())
    }

    /// `acl_interface_set_acl_list`: replaces both directions.
    ///
    /// # Errors
    /// −2 unknown interface, −6 unknown ACL (nothing changes), +1 for any failure of the second part
    /// and for a duplicate (the handler answers a truth value; output may be changed already).
    pub fn acl_set_lists(&mut self, sw_if_index: u32, input: &[u32], output: &[u32]) -> OpResult {
        self.interface_mut(sw_if_index)?;
        if input.iter().chain(output).any(|i| !self.acl.acls.contains(*i)) {
            return Err(retval::NO_SUCH_ENTRY.into());
        }
        let acl = &mut self.acl;
        acl.set_list(sw_if_index, false, output.to_vec())
            .and_then(|()| acl.set_list(sw_if_index, true, input.to_vec()))
            .map_err(|_| OpError::Retval(1))
    }

    /// `acl_interface_add_del`: appends or removes one ACL.
    ///
    /// # Errors
    /// −2 unknown interface, −142/−143 already there, −6 unknown ACL or not there.
    pub fn acl_interface_add_del(
        &mut self,
        sw_if_index: u32,
        is_input: bool,
        index: u32,
        is_add: bool,
    ) -> OpResult {
        self.interface_mut(sw_if_index)?;
        let mut list = self.acl.list(sw_if_index, is_input).to_vec();
        match (is_add, list.iter().position(|i| *i == index)) {
            (true, Some(_)) if is_input => return Err(retval::ACL_IN_USE_INBOUND.into()),
            (true, Some(_)) => return Err(retval::ACL_IN_USE_OUTBOUND.into()),
            (true, None) => list.push(index),
            (false, Some(at)) => {
                list.remove(at);
            }
            (false, None) => return Err(retval::NO_SUCH_ENTRY.into()),
        }
        Ok(self.acl.set_list(sw_if_index, is_input, list)?)
    }

    /// `acl_dump`: all ACLs in order of their index.
    pub fn acls(&self) -> impl Iterator<Item = (u32, &Acl)> {
        self.acl.acls.iter()
    }

    pub fn acl(&self, index: u32) -> Option<&Acl> {
        self.acl.acls.get(index)
    }

    /// `acl_interface_list_dump` of one interface; empty when nothing is bound.
    pub fn acl_binding(&self, sw_if_index: u32) -> AclBinding {
        self.acl.bindings.get(&sw_if_index).cloned().unwrap_or_default()
    }

    /// `acl_stats_intf_counters_enable`.
    pub fn acl_counters_enable(&mut self, enable: bool) {
        self.acl.counters_enabled = enable;
    }

    /// Sessions made by permit+reflect rules.
    pub fn acl_sessions(&self) -> Vec<SessionDetails> {
        self.acl.sessions.list()
    }
}
