//! cnat: translations, their sessions, and source NAT by policy; version 1.0.0 of VPP 26.06 and 0.3.0 of those before.

use vpp_api::messages::cnat::{
    CnatGetSnatAddresses, CnatGetSnatAddressesReply, CnatSessionDetails, CnatSessionDump, CnatSessionPurge,
    CnatSetSnatAddresses, CnatSetSnatAddressesV2, CnatSetSnatPolicy, CnatSnatAddressesDetails,
    CnatSnatAddressesDump, CnatSnatPolicyAddDelExcludePfx, CnatSnatPolicyAddDelIf, CnatTranslationDel,
    CnatTranslationDetails, CnatTranslationDump, CnatTranslationUpdate, CnatTranslationUpdateReply,
    FeatureCnatEnableDisable, v0_3,
};
use vpp_api::types as wire;

use super::outcome;
use crate::engine::{
    CnatEndpoint, CnatPath, LoadBalance, NONE, OpError, OpResult, SnatAddresses, SnatPolicy, SnatTable,
    TranslationDetails, TranslationUpdate, path_flag, retval, snat_flag, translation_flag,
};
use crate::server::convert::prefix;
use crate::server::dispatch::Registry;
use crate::server::release::Release;

pub fn register(registry: &mut Registry, release: Release) {
    let is_1 = release.has_cnat_1();
    translations(registry, is_1);
    source_nat(registry);
    if !is_1 {
        return older(registry);
    }
    source_nat_1(registry);
    sessions_1(registry);
    registry.ack(|core, m: FeatureCnatEnableDisable| {
        core.vpp.cnat_feature_enable(m.sw_if_index, m.enable_disable)
    });
}

/// What 0.3.0 has otherwise.
fn older(registry: &mut Registry) {
    registry.request(|core, _: CnatGetSnatAddresses| {
        let all = core.vpp.cnat_snat_addresses();
        let first = all.first().ok_or(OpError::Retval(retval::FEATURE_DISABLED))?;
        // Zero before they are set, and no error.
        Ok(CnatGetSnatAddressesReply {
            retval: 0,
            id: 0,
            snat_ip4: first.ip4,
            snat_ip6: first.ip6,
            sw_if_index: first.sw_if_index,
        })
    });
    registry.ack(|core, m: v0_3::CnatSetSnatPolicy| {
        let policy = match m.policy {
            v0_3::CnatSnatPolicies::CNAT_POLICY_NONE => SnatPolicy::None,
            v0_3::CnatSnatPolicies::CNAT_POLICY_IF_PFX => SnatPolicy::IfPfx,
            v0_3::CnatSnatPolicies::CNAT_POLICY_K8S => SnatPolicy::K8s,
            // A plain 1, which the handler takes for a return code.
            _ => return Err(OpError::Retval(1)),
        };
        core.vpp.cnat_set_snat_policy(policy)
    });
    registry.dump(|core, _: v0_3::CnatSessionDump| {
        let sessions = core.vpp.cnat_arc_sessions().into_iter();
        sessions
            .map(|session| v0_3::CnatSessionDetails {
                session: v0_3::CnatSession {
                    src: wire::CnatEndpoint::new(session.key.src, session.key.src_port),
                    dst: wire::CnatEndpoint::new(session.key.dst, session.key.dst_port),
                    new: wire::CnatEndpoint::new(session.new.0, session.new.1),
                    ip_proto: wire::IpProto(session.key.proto),
                    location: session.location,
                    // Never filled in.
                    timestamp: 0.0,
                },
            })
            .collect()
    });
}

/// Of a path, on the wire: 0.3.0 numbers them otherwise.
const NO_NAT_0_3: u8 = 1;

fn translations(registry: &mut Registry, is_1: bool) {
    registry.request(move |core, m: CnatTranslationUpdate| {
        let translation = m.translation;
        let update = TranslationUpdate {
            vip: endpoint(&translation.vip),
            proto: translation.ip_proto.0,
            is_real_ip: translation.is_real_ip != 0,
            // A virtual address is always in the FIB of 0.3.0.
            flags: if is_1 {
                translation.flags
            } else {
                translation.flags & !translation_flag::NO_CLIENT
            },
            load_balance: match translation.lb_type {
                wire::CnatLbType::CNAT_LB_TYPE_MAGLEV => LoadBalance::Maglev,
                _ => LoadBalance::Default,
            },
            flow_hash: translation.flow_hash_config.0,
            paths: translation
                .paths
                .iter()
                .map(|path| CnatPath {
                    dst: endpoint(&path.dst_ep),
                    src: endpoint(&path.src_ep),
                    flags: match path.flags {
                        flags if is_1 => flags,
                        flags if flags & NO_NAT_0_3 != 0 => path_flag::NO_NAT,
                        _ => 0,
                    },
                })
                .collect(),
        };
        let (retval, id) = outcome(core.vpp.cnat_translation_update(&update), NONE)?;
        Ok(CnatTranslationUpdateReply { retval, id })
    });
    registry.ack(|core, m: CnatTranslationDel| core.vpp.cnat_translation_del(m.id));
    registry.dump(|core, _: CnatTranslationDump| {
        let translations = core.vpp.cnat_translations().into_iter();
        translations
            .map(|translation| CnatTranslationDetails {
                translation: wire_translation(&translation),
            })
            .collect()
    });
    registry.ack(|core, _: CnatSessionPurge| {
        core.vpp.cnat_session_purge();
        Ok(())
    });
}

fn sessions_1(registry: &mut Registry) {
    registry.dump(|core, _: CnatSessionDump| {
        let sessions = core.vpp.cnat_sessions().into_iter();
        sessions
            .map(|session| CnatSessionDetails {
                session: wire::CnatSession {
                    tuple: wire::Cnat5tuple {
                        addr: [session.key.src, session.key.dst],
                        port: [session.key.src_port, session.key.dst_port],
                        ip_proto: wire::IpProto(session.key.proto),
                    },
                    ts_index: session.ts_index,
                    flags: session.flags,
                },
            })
            .collect()
    });
}

fn source_nat(registry: &mut Registry) {
    // The first version is the second for table 0 that is also the default.
    registry.ack(|core, m: CnatSetSnatAddresses| {
        core.vpp.cnat_set_snat_addresses(SnatAddresses {
            fwd_fib_index: 0,
            ret_fib_index: 0,
            ip4: m.snat_ip4,
            ip6: m.snat_ip6,
            sw_if_index: m.sw_if_index,
            flags: snat_flag::USE_AS_DEFAULT,
        })
    });
    registry.ack(|core, m: CnatSnatPolicyAddDelExcludePfx| {
        core.vpp.cnat_snat_exclude(prefix(m.prefix), m.is_add != 0)
    });
    registry.ack(|core, m: CnatSnatPolicyAddDelIf| {
        core.vpp
            .cnat_snat_interface(m.sw_if_index, table(m.table)?, m.is_add != 0)
    });
}

fn source_nat_1(registry: &mut Registry) {
    registry.ack(|core, m: CnatSetSnatAddressesV2| {
        core.vpp.cnat_set_snat_addresses(SnatAddresses {
            fwd_fib_index: m.fwd_fib_index,
            ret_fib_index: m.ret_fib_index,
            ip4: m.snat_ip4,
            ip6: m.snat_ip6,
            sw_if_index: m.sw_if_index,
            flags: m.flags.0,
        })
    });
    registry.request(|core, _: CnatGetSnatAddresses| {
        let all = core.vpp.cnat_snat_addresses();
        let first = all.first().ok_or(OpError::Retval(retval::FEATURE_DISABLED))?;
        Ok(CnatGetSnatAddressesReply {
            retval: 0,
            id: 0,
            snat_ip4: first.ip4,
            snat_ip6: first.ip6,
            sw_if_index: first.sw_if_index,
        })
    });
    registry.dump(|core, _: CnatSnatAddressesDump| {
        let all = core.vpp.cnat_snat_addresses().into_iter();
        all.map(|addresses| CnatSnatAddressesDetails {
            retval: 0,
            fwd_table_id4: addresses.fwd_fib_index,
            fwd_table_id6: addresses.fwd_fib_index,
            ret_table_id4: addresses.ret_fib_index,
            ret_table_id6: addresses.ret_fib_index,
            snat_ip4: addresses.ip4,
            snat_ip6: addresses.ip6,
            sw_if_index: addresses.sw_if_index,
        })
        .collect()
    });
    registry.ack(|core, m: CnatSetSnatPolicy| core.vpp.cnat_set_snat_policy(policy(m.policy)?));
}

fn policy(policy: wire::CnatSnatPolicies) -> OpResult<SnatPolicy> {
    match policy {
        wire::CnatSnatPolicies::CNAT_POLICY_NONE => Ok(SnatPolicy::None),
        wire::CnatSnatPolicies::CNAT_POLICY_IF_PFX => Ok(SnatPolicy::IfPfx),
        wire::CnatSnatPolicies::CNAT_POLICY_K8S => Ok(SnatPolicy::K8s),
        _ => Err(retval::INVALID_VALUE.into()),
    }
}

fn table(table: wire::CnatSnatPolicyTable) -> OpResult<SnatTable> {
    match table {
        wire::CnatSnatPolicyTable::CNAT_POLICY_INCLUDE_V4 => Ok(SnatTable::IncludeV4),
        wire::CnatSnatPolicyTable::CNAT_POLICY_INCLUDE_V6 => Ok(SnatTable::IncludeV6),
        wire::CnatSnatPolicyTable::CNAT_POLICY_POD => Ok(SnatTable::Pod),
        wire::CnatSnatPolicyTable::CNAT_POLICY_HOST => Ok(SnatTable::Host),
        _ => Err(retval::INVALID_VALUE.into()),
    }
}

/// With an interface the family that counts is `if_af`, not that of the ignored address.
fn endpoint(endpoint: &wire::CnatEndpoint) -> CnatEndpoint {
    let address = if endpoint.sw_if_index == NONE {
        endpoint.addr
    } else {
        crate::server::convert::family_of(endpoint.if_af).unspecified()
    };
    CnatEndpoint {
        address,
        port: endpoint.port,
        sw_if_index: endpoint.sw_if_index,
    }
}

fn wire_endpoint(endpoint: &CnatEndpoint) -> wire::CnatEndpoint {
    wire::CnatEndpoint {
        sw_if_index: endpoint.sw_if_index,
        ..wire::CnatEndpoint::new(endpoint.address, endpoint.port)
    }
}

/// As VPP shows it: without flags, `is_real_ip` and flow hash.
fn wire_translation(translation: &TranslationDetails) -> wire::CnatTranslation {
    wire::CnatTranslation {
        vip: wire_endpoint(&translation.vip),
        id: translation.id,
        ip_proto: wire::IpProto(translation.proto),
        lb_type: match translation.load_balance {
            LoadBalance::Default => wire::CnatLbType::CNAT_LB_TYPE_DEFAULT,
            LoadBalance::Maglev => wire::CnatLbType::CNAT_LB_TYPE_MAGLEV,
        },
        paths: translation
            .paths
            .iter()
            .map(|path| wire::CnatEndpointTuple {
                dst_ep: wire_endpoint(&path.dst),
                src_ep: wire_endpoint(&path.src),
                flags: path.flags,
            })
            .collect(),
        ..wire::CnatTranslation::default()
    }
}
