//! ABF: ACL-based forwarding on an interface's input.
use std::collections::BTreeMap;

use super::Vpp;
use super::acl::{AclAction, Tuple};
use super::pool::Pool;
use super::types::{Family, OpError, OpResult, RoutePath, retval};

/// A policy as `abf_policy_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbfPolicyDetails {
    pub policy_id: u32,
    pub acl_index: u32,
    pub paths: Vec<RoutePath>,
}

/// An attachment as `abf_itf_attach_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbfAttachment {
    pub policy_id: u32,
    pub sw_if_index: u32,
    /// Lower first.
    pub priority: u32,
    pub family: Family,
}

#[derive(Clone, Debug)]
struct Policy {
    acl: u32,
    paths: Vec<RoutePath>,
    list: u32,
    /// The API deleted it; attachments keep it, and its last forwarding, alive.
    deleted: bool,
}

#[derive(Clone, Debug)]
struct Attachment {
    details: AbfAttachment,
    /// False after its interface was deleted: only the record is left.
    live: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Abf {
    policies: BTreeMap<u32, Policy>,
    attachments: Pool<Attachment>,
}

impl Abf {
    pub fn uses_acl(&self, acl: u32) -> bool {
        self.attachments.iter().any(|(_, a)| {
            a.live
                && self
                    .policies
                    .get(&a.details.policy_id)
                    .is_some_and(|p| p.acl == acl)
        })
    }

    pub fn interface_gone(&mut self, sw_if_index: u32) {
        for (_, attachment) in self.attachments.iter_mut() {
            if attachment.details.sw_if_index == sw_if_index {
                attachment.live = false;
            }
        }
    }

    /// Live attachments of an interface in order of priority: ACL and path list.
    pub fn on(&self, sw_if_index: u32, family: Family) -> Vec<(u32, u32)> {
        let mut found: Vec<&Attachment> = self
            .attachments
            .iter()
            .map(|(_, a)| a)
            .filter(|a| a.live && a.details.sw_if_index == sw_if_index && a.details.family == family)
            .collect();
        found.sort_by_key(|a| a.details.priority);
        found
            .into_iter()
            .filter_map(|a| self.policies.get(&a.details.policy_id))
            .map(|p| (p.acl, p.list))
            .collect()
    }
}

impl Vpp {
    /// `abf_policy_add_del`: adding to a known id adds paths, deleting takes the listed ones away and
    /// the last one deletes the policy, attached or not.
    ///
    /// # Errors
    /// −7 without paths, for another ACL than the policy has, or deleting an unknown policy;
    /// −54 no such interface in a path.
    pub fn abf_policy_add_del(
        &mut self,
        is_add: bool,
        policy_id: u32,
        acl_index: u32,
        paths: &[RoutePath],
    ) -> OpResult {
        if paths.is_empty() {
            return Err(retval::INVALID_VALUE.into());
        }
        self.check_paths(paths)?;
        let known = self.abf.policies.get(&policy_id).cloned();
        if is_add {
            let mut all = Vec::new();
            if let Some(known) = &known {
                if known.acl != acl_index {
                    return Err(retval::INVALID_VALUE.into());
                }
                if !known.deleted {
                    all.clone_from(&known.paths);
                }
            }
            all.extend(
                paths
                    .iter()
                    .filter(|p| !all.contains(p))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
            let list = self.lock_policy_paths(all.clone());
            if let Some(known) = known {
                self.fibs.path_lists.unlock(known.list);
            }
            self.abf.policies.insert(
                policy_id,
                Policy {
                    acl: acl_index,
                    paths: all,
                    list,
                    deleted: false,
                },
            );
            return Ok(());
        }
        let Some(mut policy) = known else {
            return Err(retval::INVALID_VALUE.into());
        };
        let mut rest = policy.paths.clone();
        rest.retain(|p| !paths.contains(p));
        if rest.is_empty() {
            policy.paths.clear();
            policy.deleted = true;
            self.abf.policies.insert(policy_id, policy);
            self.abf_reap(policy_id);
            return Ok(());
        }
        let list = self.lock_policy_paths(rest.clone());
        self.fibs.path_lists.unlock(policy.list);
        policy.paths = rest;
        policy.list = list;
        self.abf.policies.insert(policy_id, policy);
        Ok(())
    }

    /// Frees a deleted policy which nothing is attached to any more.
    fn abf_reap(&mut self, policy_id: u32) {
        let attached = self
            .abf
            .attachments
            .iter()
            .any(|(_, a)| a.details.policy_id == policy_id);
        if !attached
            && self.abf.policies.get(&policy_id).is_some_and(|p| p.deleted)
            && let Some(gone) = self.abf.policies.remove(&policy_id)
        {
            self.fibs.path_lists.unlock(gone.list);
        }
    }

    /// `abf_itf_attach_add_del` with `is_add`.
    ///
    /// # Errors
    /// Fatal for an unknown policy; −116 when the policy is attached there (in any family).
    pub fn abf_attach(&mut self, attachment: AbfAttachment) -> OpResult {
        if !self.abf.policies.contains_key(&attachment.policy_id) {
            return Err(OpError::Fatal(format!(
                "abf_itf_attach_add_del with unknown policy id {}",
                attachment.policy_id
            )));
        }
        if self
            .abf_find(attachment.policy_id, attachment.sw_if_index)
            .is_some()
        {
            return Err(retval::ENTRY_ALREADY_EXISTS.into());
        }
        let live = self.interfaces.contains(attachment.sw_if_index);
        self.abf.attachments.insert(Attachment {
            details: attachment,
            live,
        });
        Ok(())
    }

    /// `abf_itf_attach_add_del` without `is_add`. # Errors −6 not attached.
    pub fn abf_detach(&mut self, policy_id: u32, sw_if_index: u32) -> OpResult {
        let at = self.abf_find(policy_id, sw_if_index);
        let at = at.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))?;
        self.abf.attachments.remove(at);
        self.abf_reap(policy_id);
        Ok(())
    }

    fn abf_find(&self, policy_id: u32, sw_if_index: u32) -> Option<u32> {
        self.abf
            .attachments
            .iter()
            .find(|(_, a)| a.details.policy_id == policy_id && a.details.sw_if_index == sw_if_index)
            .map(|(index, _)| index)
    }

    pub fn abf_policies(&self) -> Vec<AbfPolicyDetails> {
        self.abf
            .policies
            .iter()
            .map(|(id, p)| AbfPolicyDetails {
                policy_id: *id,
                acl_index: p.acl,
                paths: p.paths.clone(),
            })
            .collect()
    }

    pub fn abf_attachments(&self) -> Vec<AbfAttachment> {
        let all = self.abf.attachments.iter();
        all.map(|(_, a)| a.details).collect()
    }

    /// The path list of the first policy whose ACL permits the packet; a deny rule that matches
    /// first ends the search.
    pub(crate) fn abf_match(&self, rx: u32, family: Family, tuple: &Tuple) -> Option<u32> {
        let attached = self.abf.on(rx, family);
        let acls: Vec<u32> = attached.iter().map(|(acl, _)| *acl).collect();
        let (at, _, action) = self.acl.match_lists(&acls, tuple)?;
        (action != AclAction::Deny).then(|| attached[at].1)
    }
}
