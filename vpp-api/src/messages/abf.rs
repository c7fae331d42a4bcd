//! ACL-based forwarding (VPP: `plugins/abf/abf.api`).

use crate::types::{FibPath, InterfaceIndex};

crate::wire_struct! {
    /// What matches an ACL goes to these paths.
    pub struct AbfPolicy("abf_policy") {
        /// Chosen by us.
        policy_id: u32,
        acl_index: u32,
        n_paths: u8 = count(paths),
        paths: FibPath[n_paths],
    }
}

crate::wire_struct! {
    /// A policy on an interface, for one family.
    pub struct AbfItfAttach("abf_itf_attach") {
        policy_id: u32,
        sw_if_index: InterfaceIndex,
        /// Lower is first.
        priority: u32,
        is_ipv6: bool,
    }
}

crate::messages! {
    /// Adds paths to a policy, or removes them; the policy comes with the first and goes with the last.
    request AbfPolicyAddDel("abf_policy_add_del", "c6131197") {
        is_add: bool,
        policy: AbfPolicy,
    } ack AbfPolicyAddDelReply;

    /// Lists policies.
    dump AbfPolicyDump("abf_policy_dump", "51077d14") {} details AbfPolicyDetails("abf_policy_details", "b7487fa4") {
        policy: AbfPolicy,
    };

    /// Puts a policy on an interface. **An unknown policy kills VPP 26.06**: the client refuses ids it has not seen VPP accept or list.
    request AbfItfAttachAddDel("abf_itf_attach_add_del", "25c8621b") {
        is_add: bool,
        attach: AbfItfAttach,
    } ack AbfItfAttachAddDelReply;

    /// Lists what is attached where.
    dump AbfItfAttachDump("abf_itf_attach_dump", "51077d14") {} details AbfItfAttachDetails("abf_itf_attach_details", "7819523e") {
        attach: AbfItfAttach,
    };
}
