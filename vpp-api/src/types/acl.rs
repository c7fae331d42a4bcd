//! ACL rules (VPP: `plugins/acl/acl_types.api`).

use super::{IpProto, Prefix};

crate::wire_enum! {
    /// What a rule does with a packet it matches; permit+reflect also makes a session that permits the answers.
    pub enum AclAction("acl_action"): u8 {
        ACL_ACTION_API_DENY = 0,
        ACL_ACTION_API_PERMIT = 1,
        ACL_ACTION_API_PERMIT_REFLECT = 2,
    }
}

crate::wire_struct! {
    /// One rule. VPP refuses prefixes with host bits, and two prefixes of different families.
    pub struct AclRule("acl_rule") {
        is_permit: AclAction,
        src_prefix: Prefix,
        dst_prefix: Prefix,
        /// 0 is any.
        proto: IpProto,
        /// Source port, or ICMP type. Send 0…65535 where it is not to matter.
        srcport_or_icmptype_first: u16,
        srcport_or_icmptype_last: u16,
        /// Destination port, or ICMP code.
        dstport_or_icmpcode_first: u16,
        dstport_or_icmpcode_last: u16,
        tcp_flags_mask: u8,
        tcp_flags_value: u8,
    }
}

impl AclRule {
    /// A rule that matches everything of one family.
    #[must_use]
    pub fn any(action: AclAction, ipv6: bool) -> Self {
        Self {
            is_permit: action,
            src_prefix: Prefix::any(ipv6),
            dst_prefix: Prefix::any(ipv6),
            srcport_or_icmptype_last: u16::MAX,
            dstport_or_icmpcode_last: u16::MAX,
            ..Self::default()
        }
    }
}
