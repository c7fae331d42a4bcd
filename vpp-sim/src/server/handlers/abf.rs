//! ACL-based forwarding.

use vpp_api::messages::abf::{
    AbfItfAttach, AbfItfAttachAddDel, AbfItfAttachDetails, AbfItfAttachDump, AbfPolicy, AbfPolicyAddDel,
    AbfPolicyDetails, AbfPolicyDump,
};

use crate::engine::AbfAttachment;
use crate::engine::Family;
use crate::server::convert::{family, paths, wire_paths};
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.ack(|core, m: AbfPolicyAddDel| {
        let policy = m.policy;
        core.vpp.abf_policy_add_del(
            m.is_add,
            policy.policy_id,
            policy.acl_index,
            &paths(&policy.paths)?,
        )
    });
    registry.dump(|core, _: AbfPolicyDump| {
        let policies = core.vpp.abf_policies().into_iter();
        policies
            .map(|policy| AbfPolicyDetails {
                policy: AbfPolicy {
                    policy_id: policy.policy_id,
                    acl_index: policy.acl_index,
                    paths: wire_paths(&policy.paths),
                },
            })
            .collect()
    });
    registry.ack(|core, m: AbfItfAttachAddDel| {
        let attach = m.attach;
        if m.is_add {
            core.vpp.abf_attach(AbfAttachment {
                policy_id: attach.policy_id,
                sw_if_index: attach.sw_if_index,
                priority: attach.priority,
                family: family(attach.is_ipv6),
            })
        } else {
            core.vpp.abf_detach(attach.policy_id, attach.sw_if_index)
        }
    });
    registry.dump(|core, _: AbfItfAttachDump| {
        let attachments = core.vpp.abf_attachments().into_iter();
        attachments
            .map(|attached| AbfItfAttachDetails {
                attach: AbfItfAttach {
                    policy_id: attached.policy_id,
                    sw_if_index: attached.sw_if_index,
                    priority: attached.priority,
                    is_ipv6: attached.family == Family::V6,
                },
            })
            .collect()
    });
}
