//! Policers (VPP: `plugins/policer/policer_types.api`).

crate::wire_enum! {
    /// What rates and bursts are counted in: kbit/s and bytes, or packets/s and milliseconds. VPP takes a packet for
    /// 256 bytes.
    pub enum Sse2QosRateType("sse2_qos_rate_type"): u8 {
        SSE2_QOS_RATE_API_KBPS = 0,
        SSE2_QOS_RATE_API_PPS = 1,
        SSE2_QOS_RATE_API_INVALID = 2,
    }
}

crate::wire_enum! {
    /// How rates are rounded.
    pub enum Sse2QosRoundType("sse2_qos_round_type"): u8 {
        SSE2_QOS_ROUND_API_TO_CLOSEST = 0,
        SSE2_QOS_ROUND_API_TO_UP = 1,
        SSE2_QOS_ROUND_API_TO_DOWN = 2,
        SSE2_QOS_ROUND_API_INVALID = 3,
    }
}

crate::wire_enum! {
    /// The algorithm: rates and colours. VPP refuses MEF5CF1.
    pub enum Sse2QosPolicerType("sse2_qos_policer_type"): u8 {
        SSE2_QOS_POLICER_TYPE_API_1R2C = 0,
        SSE2_QOS_POLICER_TYPE_API_1R3C_RFC_2697 = 1,
        SSE2_QOS_POLICER_TYPE_API_2R3C_RFC_2698 = 2,
        SSE2_QOS_POLICER_TYPE_API_2R3C_RFC_4115 = 3,
        SSE2_QOS_POLICER_TYPE_API_2R3C_RFC_MEF5CF1 = 4,
        SSE2_QOS_POLICER_TYPE_API_MAX = 5,
    }
}

crate::wire_enum! {
    /// What becomes of a packet.
    pub enum Sse2QosActionType("sse2_qos_action_type"): u8 {
        SSE2_QOS_ACTION_API_DROP = 0,
        SSE2_QOS_ACTION_API_TRANSMIT = 1,
        SSE2_QOS_ACTION_API_MARK_AND_TRANSMIT = 2,
    }
}

crate::wire_struct! {
    /// What becomes of a packet of one colour.
    pub struct Sse2QosAction("sse2_qos_action") {
        type_: Sse2QosActionType,
        /// Of marked packets.
        dscp: u8,
    }
}

crate::wire_struct! {
    /// Rates, bursts and actions.
    pub struct PolicerConfig("policer_config") {
        /// Committed rate.
        cir: u32,
        /// Excess or peak rate; 0 with one rate.
        eir: u32,
        /// Committed burst.
        cb: u64,
        /// Excess burst; 0 with [`Sse2QosPolicerType::SSE2_QOS_POLICER_TYPE_API_1R2C`].
        eb: u64,
        rate_type: Sse2QosRateType,
        round_type: Sse2QosRoundType,
        type_: Sse2QosPolicerType,
        color_aware: bool,
        conform_action: Sse2QosAction,
        exceed_action: Sse2QosAction,
        violate_action: Sse2QosAction,
    }
}
