//! Segment routing over IPv6 (VPP: `vnet/srv6/sr_types.api`, `vnet/srv6/sr.api`).

use super::Ip6Address;

use std::net::Ipv6Addr;

/// Segments a list can hold on the wire.
pub const SR_MAX_SIDS: usize = 16;

crate::wire_enum! {
    /// What a local SID does (RFC 8986).
    pub enum SrBehavior("sr_behavior"): u8 {
        SR_BEHAVIOR_API_END = 1,
        SR_BEHAVIOR_API_X = 2,
        SR_BEHAVIOR_API_T = 3,
        SR_BEHAVIOR_API_D_FIRST = 4,
        SR_BEHAVIOR_API_DX2 = 5,
        SR_BEHAVIOR_API_DX6 = 6,
        SR_BEHAVIOR_API_DX4 = 7,
        SR_BEHAVIOR_API_DT6 = 8,
        SR_BEHAVIOR_API_DT4 = 9,
        SR_BEHAVIOR_API_LAST = 10,
    }
    added {
        SR_BEHAVIOR_API_END_UN_PERF = 11,
        SR_BEHAVIOR_API_END_UN = 12,
        SR_BEHAVIOR_API_UA = 13,
    }
}

crate::wire_enum! {
    /// How a policy uses its segment lists.
    pub enum SrPolicyType("sr_policy_type"): u8 {
        SR_API_POLICY_TYPE_DEFAULT = 0,
        SR_API_POLICY_TYPE_SPRAY = 1,
        SR_API_POLICY_TYPE_TEF = 2,
    }
}

crate::wire_enum! {
    /// What to change in a policy.
    pub enum SrPolicyOp("sr_policy_op"): u8 {
        SR_POLICY_OP_API_NONE = 0,
        SR_POLICY_OP_API_ADD = 1,
        SR_POLICY_OP_API_DEL = 2,
        SR_POLICY_OP_API_MOD = 3,
    }
}

crate::wire_enum! {
    /// Which traffic is steered.
    pub enum SrSteer("sr_steer"): u8 {
        SR_STEER_API_L2 = 2,
        SR_STEER_API_IPV4 = 4,
        SR_STEER_API_IPV6 = 6,
    }
}

crate::wire_struct! {
    /// A segment list. Of the sixteen places the first `num_sids` count; VPP does not check the number.
    pub struct Srv6SidList("srv6_sid_list") {
        num_sids: u8,
        /// [`NO_INDEX`](super::NO_INDEX) is 1.
        weight: u32,
        /// In the order they are visited.
        sids: Ip6Address[16],
    }
}

crate::wire_struct! {
    /// A segment list with its number, by which it is deleted or changed.
    pub struct Srv6SidListWithSlIndex("srv6_sid_list_with_sl_index") {
        num_sids: u8,
        weight: u32,
        sl_index: u32,
        sids: Ip6Address[16],
    }
}

impl Srv6SidList {
    /// A list of these segments; `None` for more than [`SR_MAX_SIDS`], which the wire cannot carry.
    #[must_use]
    pub fn new(segments: &[Ipv6Addr], weight: u32) -> Option<Self> {
        let mut list = Self {
            num_sids: u8::try_from(segments.len()).ok()?,
            weight,
            ..Self::default()
        };
        list.sids.get_mut(..segments.len())?.copy_from_slice(segments);
        Some(list)
    }

    /// The segments that count.
    #[must_use]
    pub fn segments(&self) -> &[Ipv6Addr] {
        &self.sids[..usize::from(self.num_sids).min(SR_MAX_SIDS)]
    }
}
