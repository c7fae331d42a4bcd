//! Policers.

use vpp_api::messages::policer::{
    IpPuntPolice, PolicerAdd, PolicerAddDel, PolicerAddDelReply, PolicerAddReply, PolicerBind, PolicerBindV2,
    PolicerDel, PolicerDetails, PolicerDump, PolicerDumpV2, PolicerInput, PolicerInputReply, PolicerInputV2,
    PolicerOutput, PolicerOutputReply, PolicerOutputV2, PolicerReset, PolicerUpdate,
};
use vpp_api::types as wire;

use super::interface::known;
use super::outcome;
use crate::engine::{NONE, OpError, OpResult, Policer, PolicerAction, PolicerConfig, retval};
use crate::server::convert::{family, index};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    pool(registry);
    interfaces(registry);
}

fn pool(registry: &mut Registry) {
    registry.request(|core, m: PolicerAddDel| {
        let infos = wire::PolicerConfig {
            cir: m.cir,
            eir: m.eir,
            cb: m.cb,
            eb: m.eb,
            rate_type: m.rate_type,
            round_type: m.round_type,
            type_: m.type_,
            color_aware: m.color_aware,
            conform_action: m.conform_action,
            exceed_action: m.exceed_action,
            violate_action: m.violate_action,
        };
        let result = if m.is_add {
            core.vpp.policer_add(&m.name, config(&infos))
        } else {
            by_name(core, &m.name).and_then(|index| core.vpp.policer_del(index).map(|()| NONE))
        };
        let (retval, policer_index) = outcome(result, NONE)?;
        Ok(PolicerAddDelReply {
            retval,
            policer_index,
        })
    });
    registry.request(|core, m: PolicerAdd| {
        let (retval, policer_index) = outcome(core.vpp.policer_add(&m.name, config(&m.infos)), NONE)?;
        Ok(PolicerAddReply {
            retval,
            policer_index,
        })
    });
    registry.ack(|core, m: PolicerDel| core.vpp.policer_del(m.policer_index));
    registry.ack(|core, m: PolicerUpdate| core.vpp.policer_update(m.policer_index, config(&m.infos)));
    registry.ack(|core, m: PolicerReset| core.vpp.policer_reset(m.policer_index));
    registry.ack(|core, m: PolicerBind| {
        let index = by_name(core, &m.name)?;
        core.vpp.policer_bind(index, m.bind_enable)
    });
    registry.ack(|core, m: PolicerBindV2| core.vpp.policer_bind(m.policer_index, m.bind_enable));
    registry.dump(|core, m: PolicerDump| {
        let all = core.vpp.policers();
        all.filter(|(_, policer)| !m.match_name_valid || policer.name == m.match_name)
            .map(|(_, policer)| details(policer))
            .collect()
    });
    registry.dump(|core, m: PolicerDumpV2| {
        let wanted = index(m.policer_index);
        let all = core.vpp.policers();
        all.filter(|(at, _)| wanted.is_none_or(|wanted| wanted == *at))
            .map(|(_, policer)| details(policer))
            .collect()
    });
}

fn interfaces(registry: &mut Registry) {
    registry.ack(|core, m: PolicerInput| {
        known(core, m.sw_if_index)?;
        let index = by_name(core, &m.name)?;
        core.vpp.policer_apply(index, m.sw_if_index, true, m.apply)
    });
    registry.ack(|core, m: PolicerOutput| {
        known(core, m.sw_if_index)?;
        let index = by_name(core, &m.name)?;
        core.vpp.policer_apply(index, m.sw_if_index, false, m.apply)
    });
    // VPP answers both with the reply of the first version.
    registry.answer::<PolicerInputV2, PolicerInputReply>(|core, _, m| {
        core.vpp
            .policer_apply(m.policer_index, m.sw_if_index, true, m.apply)
            .map(|()| PolicerInputReply::default())
    });
    registry.answer::<PolicerOutputV2, PolicerOutputReply>(|core, _, m| {
        core.vpp
            .policer_apply(m.policer_index, m.sw_if_index, false, m.apply)
            .map(|()| PolicerOutputReply::default())
    });
    registry.ack(|core, m: IpPuntPolice| {
        core.vpp
            .ip_punt_police(m.policer_index, family(m.is_ip6), m.is_add)
    });
}

fn by_name(core: &Core, name: &str) -> OpResult<u32> {
    let found = core.vpp.policer_by_name(name);
    found.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))
}

fn config(infos: &wire::PolicerConfig) -> PolicerConfig {
    let action = |action: &wire::Sse2QosAction| PolicerAction {
        kind: action.type_.0,
        dscp: action.dscp,
    };
    PolicerConfig {
        cir: infos.cir,
        eir: infos.eir,
        cb: infos.cb,
        eb: infos.eb,
        rate_type: infos.rate_type.0,
        round_type: infos.round_type.0,
        kind: infos.type_.0,
        color_aware: infos.color_aware,
        actions: [
            action(&infos.conform_action),
            action(&infos.exceed_action),
            action(&infos.violate_action),
        ],
    }
}

fn details(policer: &Policer) -> PolicerDetails {
    let (config, bucket) = (&policer.config, &policer.bucket);
    let [conform_action, exceed_action, violate_action] = config.actions.map(|action| wire::Sse2QosAction {
        type_: wire::Sse2QosActionType(action.kind),
        dscp: action.dscp,
    });
    PolicerDetails {
        name: policer.name.clone(),
        cir: config.cir,
        eir: config.eir,
        cb: config.cb,
        eb: config.eb,
        rate_type: wire::Sse2QosRateType(config.rate_type),
        round_type: wire::Sse2QosRoundType(config.round_type),
        type_: wire::Sse2QosPolicerType(config.kind),
        conform_action,
        exceed_action,
        violate_action,
        single_rate: bucket.single_rate,
        color_aware: config.color_aware,
        scale: bucket.scale,
        cir_tokens_per_period: bucket.cir_tokens_per_period,
        pir_tokens_per_period: bucket.pir_tokens_per_period,
        current_limit: bucket.current_limit,
        current_bucket: bucket.current_bucket,
        extended_limit: bucket.extended_limit,
        extended_bucket: bucket.extended_bucket,
        last_update_time: bucket.last_update_time,
    }
}
