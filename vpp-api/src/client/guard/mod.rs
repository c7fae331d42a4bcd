//! What VPP does not survive is not sent.
//!
//! Found on VPP 26.06: `cnat_translation_update` without backends, a NAT44 mapping of 256 and more, and `acl_dump` of
//! a few hundred thousand rules end in an out-of-memory abort; source-NAT requests before any source-NAT address, and
//! attaching an ABF policy that is not there, dereference nothing; a NAT44 mapping whose probabilities add up to 0 in
//! 8 bits divides by it at the first packet.
//!
//! Segment routing: see [`srv6`]; tables: see [`tables`]; IPsec: see [`ipsec`]; policers and traces: see [`graph`].
//!
//! Whether an address, a policy, a mapping or a table is there is known from what VPP accepted or listed on this
//! connection. That is on the safe side: a new connection to an old VPP must dump (`cnat_get_snat_addresses`,
//! `cnat_snat_addresses_dump`, `abf_policy_dump`, `nat44_lb_static_mapping_dump`, `ip_table_dump`) or set again before
//! it goes on.

mod graph;
mod ipsec;
mod nat44;
mod srv6;
mod tables;
mod tunnels;

use crate::error::{Error, Result};
use crate::message::Message;
use crate::messages::abf::{AbfItfAttachAddDel, AbfPolicy, AbfPolicyAddDel, AbfPolicyDetails};
use crate::messages::acl::AclAddReplace;
use crate::messages::cnat::{
    CnatGetSnatAddressesReply, CnatSetSnatAddresses, CnatSetSnatAddressesV2, CnatSetSnatPolicy,
    CnatSnatAddressesDetails, CnatSnatPolicyAddDelExcludePfx, CnatSnatPolicyAddDelIf, CnatTranslationUpdate,
    v0_3,
};
use crate::types::{CnatSnatPolicyFlags, FibPath, NO_INDEX};
use nat44::LbMappings;
use std::any::Any;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tables::{NewTable, Tables};

/// Rules per ACL. 200,000 could be dumped with the default API segment of 16 MiB, 400,000 aborted VPP.
const MAX_ACL_RULES: usize = 200_000;

/// What VPP is known to have.
#[derive(Debug, Default)]
pub(super) struct Guard(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// A default source-NAT entry exists.
    snat: bool,
    /// Requests in flight that make one.
    snat_in_flight: usize,
    /// ABF policies and their paths.
    policies: BTreeMap<u32, Vec<FibPath>>,
    tables: Tables,
    associations: ipsec::Associations,
    graph: graph::Graph,
    /// NAT44 mappings with several backends.
    balanced: LbMappings,
}

/// What becomes true when a request is answered well.
#[derive(Debug)]
pub(super) enum Effect {
    SnatAddresses,
    PolicyPaths(AbfPolicy),
    Table(NewTable),
    /// Of a NAT44 mapping, what is known is no more true if it failed.
    Balanced(nat44::Key),
}

/// The same path for VPP's purpose of removing it; weight and the fields VPP changes do not matter.
fn same_path(a: &FibPath, b: &FibPath) -> bool {
    (a.sw_if_index, a.table_id, a.type_, a.proto, a.nh.address)
        == (b.sw_if_index, b.table_id, b.type_, b.proto, b.nh.address)
}

impl Known {
    /// `None`: leaves the default entry alone. `Some(set)`: makes or removes it.
    fn addresses(ip4: Ipv4Addr, ip6: Ipv6Addr, sw_if_index: u32, is_default: bool) -> Option<bool> {
        is_default.then_some(!ip4.is_unspecified() || !ip6.is_unspecified() || sw_if_index != NO_INDEX)
    }

    fn set_addresses(&mut self, change: Option<bool>) -> Option<Effect> {
        match change {
            Some(true) => {
                self.snat_in_flight += 1;
                Some(Effect::SnatAddresses)
            }
            Some(false) => {
                self.snat = false;
                None
            }
            None => None,
        }
    }

    fn needs_address(&self) -> std::result::Result<(), String> {
        if self.snat || self.snat_in_flight > 0 {
            return Ok(());
        }
        Err("VPP crashes on it while it has no source-NAT address; send cnat_set_snat_addresses first, or dump them"
            .to_owned())
    }

    fn check(&mut self, message: &dyn Any) -> std::result::Result<Option<Effect>, String> {
        if let Some(update) = message.downcast_ref::<CnatTranslationUpdate>() {
            if update.translation.paths.is_empty() {
                return Err("VPP aborts on a translation without backends; delete it instead".to_owned());
            }
        } else if let Some(acl) = message.downcast_ref::<AclAddReplace>() {
            if acl.r.len() > MAX_ACL_RULES {
                return Err(format!(
                    "VPP aborts when an ACL of {} rules is dumped; at most {MAX_ACL_RULES}",
                    acl.r.len()
                ));
            }
        } else if message.is::<CnatSetSnatPolicy>()
            || message.is::<v0_3::CnatSetSnatPolicy>()
            || message.is::<CnatSnatPolicyAddDelExcludePfx>()
            || message.is::<CnatSnatPolicyAddDelIf>()
        {
            self.needs_address()?;
        } else if let Some(set) = message.downcast_ref::<CnatSetSnatAddresses>() {
            let change = Self::addresses(set.snat_ip4, set.snat_ip6, set.sw_if_index, true);
            return Ok(self.set_addresses(change));
        } else if let Some(set) = message.downcast_ref::<CnatSetSnatAddressesV2>() {
            let is_default = set.fwd_fib_index == 0
                || set
                    .flags
                    .contains(CnatSnatPolicyFlags::CNAT_SNAT_POLICY_F_USE_AS_DEFAULT);
            let change = Self::addresses(set.snat_ip4, set.snat_ip6, set.sw_if_index, is_default);
            return Ok(self.set_addresses(change));
        } else if let Some(add_del) = message.downcast_ref::<AbfPolicyAddDel>() {
            if add_del.is_add {
                return Ok(Some(Effect::PolicyPaths(add_del.policy.clone())));
            }
            self.remove_paths(&add_del.policy);
        } else if let Some(add_del) = message.downcast_ref::<AbfItfAttachAddDel>() {
            let id = add_del.attach.policy_id;
            if add_del.is_add && !self.policies.contains_key(&id) {
                return Err(format!(
                    "VPP crashes on attaching an unknown policy; wait until it has accepted policy {id}, or dump \
                     its policies"
                ));
            }
        } else {
            srv6::check(&self.tables, message)?;
            tunnels::check(&self.tables, message)?;
            self.associations.check(message)?;
            self.graph.check(message)?;
            let balanced = self.balanced.check(message)?.map(Effect::Balanced);
            return Ok(balanced.or_else(|| self.tables.sent(message).map(Effect::Table)));
        }
        Ok(None)
    }

    fn remove_paths(&mut self, policy: &AbfPolicy) {
        if let Some(paths) = self.policies.get_mut(&policy.policy_id) {
            paths.retain(|path| !policy.paths.iter().any(|gone| same_path(path, gone)));
            if paths.is_empty() {
                self.policies.remove(&policy.policy_id);
            }
        }
    }

    fn add_paths(&mut self, policy: &AbfPolicy) {
        let paths = self.policies.entry(policy.policy_id).or_default();
        for path in &policy.paths {
            if !paths.iter().any(|known| same_path(known, path)) {
                paths.push(path.clone());
            }
        }
    }
}

impl Guard {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the message may be sent, and what its success will mean.
    pub(super) fn check<M: Message>(&self, message: &M) -> Result<Option<Effect>> {
        self.known().check(message).map_err(|reason| Error::Refused {
            message: M::NAME,
            reason,
        })
    }

    /// The request with this effect is answered.
    pub(super) fn settle(&self, effect: Effect, done: bool) {
        let mut known = self.known();
        match effect {
            Effect::SnatAddresses => {
                known.snat_in_flight = known.snat_in_flight.saturating_sub(1);
                known.snat |= done;
            }
            Effect::PolicyPaths(policy) if done => known.add_paths(&policy),
            Effect::Balanced(mapping) if !done => known.balanced.forget(&mapping),
            Effect::PolicyPaths(_) | Effect::Balanced(_) => {}
            Effect::Table(table) => known.tables.settle(table, done),
        }
    }

    /// VPP said what it has. Only called with answers that are no failures.
    pub(super) fn observe<M: Message>(&self, answer: &M) {
        let answer: &dyn Any = answer;
        if answer.is::<CnatGetSnatAddressesReply>() {
            self.known().snat = true;
        } else if let Some(details) = answer.downcast_ref::<CnatSnatAddressesDetails>() {
            if details.fwd_table_id4 == 0 || details.fwd_table_id6 == 0 {
                self.known().snat = true;
            }
        } else if let Some(details) = answer.downcast_ref::<AbfPolicyDetails>() {
            self.known().add_paths(&details.policy);
        } else {
            let mut known = self.known();
            known.balanced.observe(answer);
            known.tables.observe(answer);
            known.associations.observe(answer);
            known.graph.observe(answer);
        }
    }
}
