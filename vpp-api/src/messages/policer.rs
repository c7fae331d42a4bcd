//! Policers (VPP: `plugins/policer/policer.api`, version 3.0.0; in VPP itself until 26.02).

use crate::types::{
    InterfaceIndex, PolicerConfig, Sse2QosAction, Sse2QosPolicerType, Sse2QosRateType, Sse2QosRoundType,
};

crate::messages! {
    /// Binds a policer to a worker, so that all its packets are handed there. NO_SUCH_ENTRY for an unknown policer,
    /// INVALID_WORKER without such a worker.
    request PolicerBind("policer_bind", "dcf516f9") {
        name: string[64],
        worker_index: u32,
        bind_enable: bool,
    } ack PolicerBindReply;

    /// As [`PolicerBind`], by index.
    request PolicerBindV2("policer_bind_v2", "f87bd3c0") {
        policer_index: u32,
        worker_index: u32,
        bind_enable: bool,
    } ack PolicerBindV2Reply;

    /// Polices what an interface receives. Applying counts: applied twice, a packet passes twice.
    request PolicerInput("policer_input", "233f0ef5") {
        name: string[64],
        sw_if_index: InterfaceIndex,
        apply: bool,
    } ack PolicerInputReply;

    /// As [`PolicerInput`], by index; VPP answers with that one's reply.
    request PolicerInputV2("policer_input_v2", "8388eb84") {
        policer_index: u32,
        sw_if_index: InterfaceIndex,
        apply: bool,
    } ack PolicerInputV2Reply;

    /// Polices what an interface sends. Applying counts.
    request PolicerOutput("policer_output", "233f0ef5") {
        name: string[64],
        sw_if_index: InterfaceIndex,
        apply: bool,
    } ack PolicerOutputReply;

    /// As [`PolicerOutput`], by index; VPP answers with that one's reply.
    request PolicerOutputV2("policer_output_v2", "8388eb84") {
        policer_index: u32,
        sw_if_index: InterfaceIndex,
        apply: bool,
    } ack PolicerOutputV2Reply;

    /// Makes or removes a policer by name. VALUE_EXIST for a name that is taken, INVALID_VALUE for rates and bursts
    /// that do not go together, NO_SUCH_ENTRY.
    request PolicerAddDel("policer_add_del", "2b31dd38") {
        is_add: bool,
        name: string[64],
        cir: u32,
        eir: u32,
        cb: u64,
        eb: u64,
        rate_type: Sse2QosRateType,
        round_type: Sse2QosRoundType,
        type_: Sse2QosPolicerType,
        color_aware: bool,
        conform_action: Sse2QosAction,
        exceed_action: Sse2QosAction,
        violate_action: Sse2QosAction,
    } reply PolicerAddDelReply("policer_add_del_reply", "a177cef2") {
        retval: i32,
        /// [`NO_INDEX`](crate::types::NO_INDEX) unless one was made.
        policer_index: u32,
    };

    /// Makes a policer.
    request PolicerAdd("policer_add", "4d949e35") {
        name: string[64],
        infos: PolicerConfig,
    } reply PolicerAddReply("policer_add_reply", "a177cef2") {
        retval: i32,
        policer_index: u32,
    };

    /// Removes a policer. Take it off its interfaces first: they go on pointing at its place.
    request PolicerDel("policer_del", "7ff7912e") {
        policer_index: u32,
    } ack PolicerDelReply;

    /// Gives a policer other rates; its bursts and counters begin anew.
    request PolicerUpdate("policer_update", "fd039ef0") {
        policer_index: u32,
        infos: PolicerConfig,
    } ack PolicerUpdateReply;

    /// Fills the buckets.
    request PolicerReset("policer_reset", "7ff7912e") {
        policer_index: u32,
    } ack PolicerResetReply;

    /// Lists policers, all or the one of a name.
    dump PolicerDump("policer_dump", "35f1ae0f") {
        match_name_valid: bool,
        match_name: string[64],
    } details PolicerDetails("policer_details", "72d0e248") {
        name: string[64],
        cir: u32,
        eir: u32,
        cb: u64,
        eb: u64,
        rate_type: Sse2QosRateType,
        round_type: Sse2QosRoundType,
        type_: Sse2QosPolicerType,
        conform_action: Sse2QosAction,
        exceed_action: Sse2QosAction,
        violate_action: Sse2QosAction,
        single_rate: bool,
        color_aware: bool,
        /// Lengths and buckets are shifted by so many bits.
        scale: u32,
        /// In 2^17 clocks of the CPU.
        cir_tokens_per_period: u32,
        pir_tokens_per_period: u32,
        current_limit: u32,
        current_bucket: u32,
        extended_limit: u32,
        extended_bucket: u32,
        /// In periods since the CPU started.
        last_update_time: u64,
    };

    /// Lists the policer of an index, or all.
    asks PolicerDumpV2("policer_dump_v2", "7ff7912e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        policer_index: u32,
    };

    /// Polices what VPP punts to the host, per family.
    request IpPuntPolice("ip_punt_police", "db867cea") {
        policer_index: u32,
        is_add: bool,
        is_ip6: bool,
    } ack IpPuntPoliceReply;
}

impl crate::message::Dump for PolicerDumpV2 {
    type Details = PolicerDetails;
}
