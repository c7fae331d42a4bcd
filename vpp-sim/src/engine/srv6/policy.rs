//! Policies: a binding SID and the segment lists behind it (`sr_policy_rewrite.c`).
use std::net::{IpAddr, Ipv6Addr};

use super::Srv6;
use super::header;
use super::localsid::check_segments;
use crate::engine::Vpp;
use crate::engine::fib::{Contribution, source};
use crate::engine::types::{Family, NONE, OpResult, Prefix};

/// How a policy uses its lists; numbers are VPP's `sr_policy_type`.
pub mod policy_type {
    /// One of the lists, by the flow's hash and the lists' weights.
    pub const DEFAULT: u8 = 0;
    /// A copy to each list.
    pub const SPRAY: u8 = 1;
    /// Timestamp, encapsulate and forward, for path tracing.
    pub const TEF: u8 = 2;
}

const NOT_FOUND: i32 = -1;
const EXISTS: i32 = -12;
const NO_SUCH_TABLE: i32 = -13;
const LAST_LIST: i32 = -21;
const NO_LIST_TO_DELETE: i32 = -22;
const NO_LIST_TO_CHANGE: i32 = -32;

const DEFAULT_WEIGHT: u32 = 1;

/// The parts of a policy that `sr_policy_add` and `sr_policy_mod` have in common.
#[derive(Clone, Debug)]
pub struct PolicyUpdate {
    pub bsid: Ipv6Addr,
    /// In the order they are visited. `num_sids` may say more than the message holds.
    pub segments: Vec<Ipv6Addr>,
    pub num_sids: u8,
    /// [`NONE`] = 1.
    pub weight: u32,
    /// Outer source; None or zero = that of `sr_set_encap_source`.
    pub encap_source: Option<Ipv6Addr>,
}

#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub bsid: Ipv6Addr,
    policy_type: u8,
    pub is_encap: bool,
    pub fib_table: u32,
    encap_source: Ipv6Addr,
    lists: Vec<u32>,
    /// The lists that forward. Path tracing policies do not follow later changes.
    live: Vec<(u32, u32)>,
}

/// One segment list and the bytes it puts in front.
#[derive(Clone, Debug)]
pub(crate) struct SegmentList {
    segments: Vec<Ipv6Addr>,
    weight: u32,
    pub policy_type: u8,
    /// Table of the outer packets.
    pub egress_table: u32,
    /// In front of the packet, or between its header and its payload.
    pub rewrite: Vec<u8>,
    /// The same for a packet to the binding SID itself.
    pub rewrite_bsid: Vec<u8>,
}

/// A segment list as the dumps show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentListDetails {
    pub sl_index: u32,
    pub weight: u32,
    pub segments: Vec<Ipv6Addr>,
}

/// A policy as the dumps show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDetails {
    pub bsid: Ipv6Addr,
    pub encap_source: Ipv6Addr,
    pub policy_type: u8,
    pub is_encap: bool,
    pub fib_table: u32,
    pub lists: Vec<SegmentListDetails>,
}

impl Srv6 {
    fn policy_index(&self, bsid: Ipv6Addr) -> Option<u32> {
        self.policies
            .iter()
            .find(|(_, policy)| policy.bsid == bsid)
            .map(|(index, _)| index)
    }

    pub(super) fn policy_by_bsid(&self, bsid: Ipv6Addr) -> Option<(u32, &Policy)> {
        let index = self.policy_index(bsid)?;
        Some((index, self.policies.get(index)?))
    }

    pub fn policy(&self, index: u32) -> Option<&Policy> {
        self.policies.get(index)
    }

    /// The policy in the hidden table through which steering leads: IPv4 only where it encapsulates.
    pub fn steered(&self, bsid: IpAddr, family: Family) -> Option<u32> {
        let IpAddr::V6(bsid) = bsid else {
            return None;
        };
        let (index, policy) = self.policy_by_bsid(bsid)?;
        (policy.forwards() && (family == Family::V6 || policy.is_encap)).then_some(index)
    }

    /// The lists which a packet of a flow takes.
    pub fn choose(&self, policy: u32, hash: u32) -> Vec<&SegmentList> {
        let Some(policy) = self.policies.get(policy) else {
            return Vec::new();
        };
        let lists = || policy.live.iter().filter_map(|(index, _)| self.lists.get(*index));
        if policy.policy_type == policy_type::SPRAY {
            return lists().collect();
        }
        let total: u64 = policy.live.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut at = u64::from(hash) % total.max(1);
        for (index, weight) in &policy.live {
            match at.checked_sub(u64::from(*weight)) {
                Some(rest) => at = rest,
                None => return self.lists.get(*index).into_iter().collect(),
            }
        }
        lists().next().into_iter().collect()
    }

    /// The list for a frame of a flow: by the low bits of the hash, weights do not count
    /// (`sr_policy_rewrite_encaps_l2`).
    pub fn choose_l2(&self, policy: u32, hash: u32) -> Option<&SegmentList> {
        let lists = &self.policies.get(policy)?.lists;
        let mask = u32::try_from(lists.len()).ok()?.checked_sub(1)?;
        self.lists.get(*lists.get((hash & mask) as usize)?)
    }

    fn create_list(&mut self, index: u32, update: &PolicyUpdate, source: Ipv6Addr) {
        let hop_limit = self.hop_limit;
        let Some(policy) = self.policies.get_mut(index) else {
            return;
        };
        let (rewrite, rewrite_bsid) = if policy.is_encap {
            policy.encap_source = source;
            let tef = policy.policy_type == policy_type::TEF;
            let rewrite = header::encap_rewrite(&update.segments, source, hop_limit, tef);
            (rewrite.clone(), rewrite)
        } else {
            (
                header::insert_rewrite(&update.segments, true),
                header::insert_rewrite(&update.segments, false),
            )
        };
        let list = self.lists.insert(SegmentList {
            segments: update.segments.clone(),
            weight: if update.weight == NONE {
                DEFAULT_WEIGHT
            } else {
                update.weight
            },
            policy_type: policy.policy_type,
            egress_table: policy.fib_table,
            rewrite,
            rewrite_bsid,
        });
        policy.lists.push(list);
    }

    /// The lists of the policy, as they are now, forward.
    fn update_live(&mut self, index: u32) {
        if let Some(policy) = self.policies.get_mut(index) {
            let lists = policy.lists.iter();
            policy.live = lists
                .filter_map(|list| Some((*list, self.lists.get(*list)?.weight)))
                .collect();
        }
    }
}

impl Policy {
    /// Types VPP does not know get no entry in any table.
    fn forwards(&self) -> bool {
        self.policy_type <= policy_type::TEF
    }

    fn follows_changes(&self) -> bool {
        self.policy_type < policy_type::TEF
    }
}

impl Vpp {
    fn sr_source(&self, wanted: Option<Ipv6Addr>) -> Ipv6Addr {
        wanted
            .filter(|source| !source.is_unspecified())
            .unwrap_or(self.srv6.encap_source)
    }

    /// `sr_policy_add(_v2)`.
    ///
    /// # Errors
    /// −12 exists as policy or route, −13 no such table. Fatal: more than 16 segments, none for encapsulation.
    pub fn sr_policy_add(
        &mut self,
        update: &PolicyUpdate,
        policy_type: u8,
        is_encap: bool,
        fib_table: u32,
    ) -> OpResult {
        check_segments(usize::from(update.num_sids), false)?;
        if self.srv6.policy_index(update.bsid).is_some() {
            return Err(EXISTS.into());
        }
        let fib_table = if fib_table == NONE { 0 } else { fib_table };
        if !self.fibs.exists(Family::V6, fib_table) {
            return Err(NO_SUCH_TABLE.into());
        }
        let prefix = Prefix::host(update.bsid);
        if self.fibs.exact(fib_table, prefix).is_some() {
            return Err(EXISTS.into());
        }
        check_segments(usize::from(update.num_sids), is_encap)?;
        let index = self.srv6.policies.insert(Policy {
            bsid: update.bsid,
            policy_type,
            is_encap,
            fib_table,
            encap_source: Ipv6Addr::UNSPECIFIED,
            lists: Vec::new(),
            live: Vec::new(),
        });
        self.srv6.bsids.insert(index, update.bsid);
        self.srv6.has_tables = true;
        let source = self.sr_source(update.encap_source);
        self.srv6.create_list(index, update, source);
        self.srv6.update_live(index);
        if self.srv6.policy(index).is_some_and(Policy::forwards) {
            self.fibs
                .contribute(fib_table, prefix, source::SR, Contribution::SrPolicy(index));
        }
        Ok(())
    }

    /// `sr_policy_mod(_v2)`: `operation` 1 adds a list, 2 deletes one, 3 changes the weight of one.
    ///
    /// # Errors
    /// −1 no such policy or operation, −21 the last list, −22 and −32 no such list. Fatal: as
    /// [`Self::sr_policy_add`].
    pub fn sr_policy_mod(&mut self, update: &PolicyUpdate, operation: u8, sl_index: u32) -> OpResult {
        check_segments(usize::from(update.num_sids), false)?;
        let Some((index, policy)) = self.srv6.policy_by_bsid(update.bsid) else {
            return Err(NOT_FOUND.into());
        };
        let (is_encap, follows) = (policy.is_encap, policy.follows_changes());
        let at = policy.lists.iter().position(|list| *list == sl_index);
        match operation {
            1 => {
                check_segments(usize::from(update.num_sids), is_encap)?;
                let source = self.sr_source(update.encap_source);
                self.srv6.create_list(index, update, source);
            }
            2 => {
                if policy.lists.len() == 1 {
                    return Err(LAST_LIST.into());
                }
                let at = at.ok_or(NO_LIST_TO_DELETE)?;
                self.srv6.lists.remove(sl_index);
                if let Some(policy) = self.srv6.policies.get_mut(index) {
                    // `vec_del1` puts the last element into the gap.
                    policy.lists.swap_remove(at);
                }
            }
            3 => {
                at.ok_or(NO_LIST_TO_CHANGE)?;
                if let Some(list) = self.srv6.lists.get_mut(sl_index) {
                    list.weight = update.weight;
                }
            }
            _ => return Err(NOT_FOUND.into()),
        }
        if follows {
            self.srv6.update_live(index);
        }
        Ok(())
    }

    /// `sr_policy_del`: steering through it stays and leads nowhere.
    ///
    /// # Errors
    /// −1 no such policy.
    pub fn sr_policy_del(&mut self, bsid: Ipv6Addr) -> OpResult {
        let index = self.srv6.policy_index(bsid).ok_or(NOT_FOUND)?;
        let Some(policy) = self.srv6.policies.remove(index) else {
            return Err(NOT_FOUND.into());
        };
        self.fibs
            .remove_source(policy.fib_table, Prefix::host(bsid), source::SR);
        for list in policy.lists {
            self.srv6.lists.remove(list);
        }
        self.srv6.release_tables();
        Ok(())
    }

    /// `sr_policies_dump`, `sr_policies_v2_dump`, `sr_policies_with_sl_index_dump`.
    pub fn sr_policies(&self) -> Vec<PolicyDetails> {
        let list = |index: &u32| {
            self.srv6.lists.get(*index).map(|list| SegmentListDetails {
                sl_index: *index,
                weight: list.weight,
                segments: list.segments.clone(),
            })
        };
        self.srv6
            .policies
            .iter()
            .map(|(_, policy)| PolicyDetails {
                bsid: policy.bsid,
                encap_source: policy.encap_source,
                policy_type: policy.policy_type,
                is_encap: policy.is_encap,
                fib_table: policy.fib_table,
                lists: policy.lists.iter().filter_map(list).collect(),
            })
            .collect()
    }
}
