//! cnat as requests, in both versions of its API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::net::Cidr;
use vpp_api::messages::cnat::{
    CnatSetSnatAddresses, CnatSetSnatAddressesV2, CnatSetSnatPolicy, CnatSnatPolicyAddDelExcludePfx,
    CnatSnatPolicyAddDelIf, CnatTranslationDel, CnatTranslationUpdate, FeatureCnatEnableDisable, v0_3,
};
use vpp_api::messages::feature::FeatureEnableDisable;
use vpp_api::types::{
    CnatEndpoint, CnatEndpointTuple, CnatEndpointTupleFlags, CnatLbType, CnatSnatPolicies,
    CnatSnatPolicyFlags, CnatSnatPolicyTable, CnatTranslation, CnatTranslationFlags, IpFlowHashConfigV2,
    IpProto, NO_INDEX,
};

use super::step::{Run, wire_prefix};
use super::{Effect, Failure, State};
use crate::desired::service::ends_in_vpp;
use crate::objects::{CnatRole, Key, Link, Object, SnatAddresses, Translation, Vip};
use crate::vpp::{CnatApi, Vpp};

/// Features that cnat consists of where it has no message of its own (VPP up to 26.02). Not `cnat-snat`: it asks the same
/// policy as the output node, but before a virtual address is translated, and would take every Service for the outside.
const FEATURES_V0_3: &[(&str, &str)] = &[
    ("ip4-unicast", "cnat-input-ip4"),
    ("ip4-output", "cnat-output-ip4"),
    ("ip6-unicast", "cnat-input-ip6"),
    ("ip6-output", "cnat-output-ip6"),
];

/// Index of the interface that every VPP has.
const LOCAL0: u32 = 0;

/// Features of cnat 1.0.0 that tell what a packet is to it, and that remember it, without translating.
const PASSAGE: &[(&str, &str)] = &[
    ("ip4-unicast", "cnat-lookup-ip4"),
    ("ip4-output", "cnat-writeback-ip4"),
    ("ip6-unicast", "cnat-lookup-ip6"),
    ("ip6-output", "cnat-writeback-ip6"),
];

fn api(run: Run<'_>) -> Result<CnatApi, Failure> {
    run.vpp
        .features
        .cnat
        .ok_or_else(|| Failure::Final("this VPP has no cnat plugin".to_owned()))
}

/// Addresses first, then the policy: VPP 26.06 dies of the other order.
pub(super) async fn set_snat(run: Run<'_>, addresses: &SnatAddresses) -> Result<(), Failure> {
    let snat_ip4 = addresses.v4.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let snat_ip6 = addresses.v6.unwrap_or(Ipv6Addr::UNSPECIFIED);
    match api(run)? {
        CnatApi::V1_0 => {
            let request = CnatSetSnatAddressesV2 {
                fwd_fib_index: 0,
                ret_fib_index: 0,
                snat_ip4,
                snat_ip6,
                sw_if_index: NO_INDEX,
                flags: CnatSnatPolicyFlags::CNAT_SNAT_POLICY_F_USE_AS_DEFAULT
                    | CnatSnatPolicyFlags::CNAT_SNAT_POLICY_F_NO_CLIENT,
            };
            run.call(request).await?;
            let policy = CnatSnatPolicies::CNAT_POLICY_K8S;
            run.call(CnatSetSnatPolicy { policy }).await.map(|_| ())
        }
        CnatApi::V0_3 => {
            let request = CnatSetSnatAddresses {
                snat_ip4,
                snat_ip6,
                sw_if_index: NO_INDEX,
            };
            run.call(request).await?;
            let policy = v0_3::CnatSnatPolicies::CNAT_POLICY_K8S;
            run.call(v0_3::CnatSetSnatPolicy { policy }).await.map(|_| ())
        }
    }
}

pub(super) async fn set_excluded(run: Run<'_>, prefix: &Cidr, add: bool) -> Result<(), Failure> {
    let request = CnatSnatPolicyAddDelExcludePfx {
        is_add: u8::from(add),
        prefix: wire_prefix(prefix),
    };
    run.call(request).await.map(|_| ())
}

/// Membership of a table is a bit: setting it again changes nothing, and it outlives the interface.
pub(super) async fn set_table(
    run: Run<'_>,
    sw_if_index: u32,
    table: CnatSnatPolicyTable,
    add: bool,
) -> Result<(), Failure> {
    let request = CnatSnatPolicyAddDelIf {
        sw_if_index,
        is_add: u8::from(add),
        table,
    };
    run.call(request).await.map(|_| ())
}

fn tables(role: CnatRole) -> &'static [CnatSnatPolicyTable] {
    match role {
        CnatRole::Pod => &[
            CnatSnatPolicyTable::CNAT_POLICY_INCLUDE_V4,
            CnatSnatPolicyTable::CNAT_POLICY_INCLUDE_V6,
            CnatSnatPolicyTable::CNAT_POLICY_POD,
        ],
        CnatRole::Host => &[
            CnatSnatPolicyTable::CNAT_POLICY_POD,
            CnatSnatPolicyTable::CNAT_POLICY_HOST,
        ],
        CnatRole::Underlay | CnatRole::Passage => &[],
    }
}

/// VPP counts: enabled twice, it does not forward. So the feature is the last thing on and the first off, and a step
/// that fails in between has not enabled it.
pub(super) async fn set_feature(
    run: Run<'_>,
    link: &Link,
    role: CnatRole,
    enable: bool,
) -> Result<(), Failure> {
    let index = run.index(link)?;
    if !enable {
        toggle(run, index, role, false).await?;
        keep_excluded(run, role).await?;
    }
    futures::future::try_join_all(
        tables(role)
            .iter()
            .map(|&table| set_table(run, index, table, enable)),
    )
    .await?;
    if enable {
        toggle(run, index, role, true).await?;
    }
    Ok(())
}

/// VPP 26.06 forgets all excluded prefixes, and takes nothing out of other tables, once the last interface left INCLUDE_V4
/// (`cnat_snat_policy_entry_is_init`): so one is in it from which nothing ever comes.
async fn keep_excluded(run: Run<'_>, role: CnatRole) -> Result<(), Failure> {
    let table = CnatSnatPolicyTable::CNAT_POLICY_INCLUDE_V4;
    if role != CnatRole::Pod || api(run)? != CnatApi::V1_0 {
        return Ok(());
    }
    set_table(run, LOCAL0, table, true).await
}

async fn toggle(run: Run<'_>, sw_if_index: u32, role: CnatRole, enable: bool) -> Result<(), Failure> {
    let features = match (role, api(run)?) {
        (CnatRole::Passage, _) => PASSAGE,
        (_, CnatApi::V0_3) => FEATURES_V0_3,
        (_, CnatApi::V1_0) => {
            let request = FeatureCnatEnableDisable {
                sw_if_index,
                enable_disable: enable,
            };
            return run.call(request).await.map(|_| ());
        }
    };
    for &(arc, feature) in features {
        let request = FeatureEnableDisable {
            sw_if_index,
            enable,
            arc_name: arc.to_owned(),
            feature_name: feature.to_owned(),
        };
        run.call(request).await?;
    }
    Ok(())
}

/// By what the clients of a VIP with affinity may be spread: all of them lead every client to one backend, each to another. What
/// is not the client's address is the same for all connections to the port, or is left out.
pub const SPREADS: [IpFlowHashConfigV2; 4] = [
    IpFlowHashConfigV2(ADDRESS),
    IpFlowHashConfigV2(ADDRESS | PROTOCOL),
    IpFlowHashConfigV2(ADDRESS | REVERSE),
    IpFlowHashConfigV2(ADDRESS | PROTOCOL | REVERSE),
];
const ADDRESS: u32 = IpFlowHashConfigV2::IP_API_V2_FLOW_HASH_SRC_IP.0;
const PROTOCOL: u32 = IpFlowHashConfigV2::IP_API_V2_FLOW_HASH_PROTO.0;
const REVERSE: u32 = IpFlowHashConfigV2::IP_API_V2_FLOW_HASH_REVERSE.0;

pub(super) async fn set_translation(
    run: Run<'_>,
    vip: &Vip,
    translation: &Translation,
) -> Result<Effect, Failure> {
    let request = update(run, vip, translation, SPREADS[0])?;
    let reply = run.call(request).await?;
    Ok(Effect::Index(reply.id))
}

/// Makes a translation with affinity anew, so that its clients are spread by another of [`SPREADS`]: VPP takes that only when it
/// is made. Both requests go out together. Connections to it end.
///
/// # Errors
/// [`Failure`]; what VPP has then is not known.
pub async fn spread_anew(vpp: &Vpp, state: &mut State, vip: &Vip, spread: usize) -> Result<(), Failure> {
    let run = Run {
        vpp,
        handles: &state.handles,
    };
    let key = Key::Translation(*vip);
    let (Some(Object::Translation(translation)), Some(&id)) =
        (state.objects.get(&key), run.handles.translations.get(vip))
    else {
        return Err(Failure::Waits(key));
    };
    let update = update(run, vip, translation, SPREADS[spread % SPREADS.len()])?;
    let (_, made) = futures::try_join!(run.call(CnatTranslationDel { id }), run.call(update))?;
    state.handles.translations.insert(*vip, made.id);
    Ok(())
}

fn update(
    run: Run<'_>,
    vip: &Vip,
    translation: &Translation,
    spread: IpFlowHashConfigV2,
) -> Result<CnatTranslationUpdate, Failure> {
    if translation.backends.is_empty() {
        // VPP 26.06 dies of it.
        return Err(Failure::Final(format!("{vip} has no backends")));
    }
    let api = api(run)?;
    let keep_client = match vip.address {
        IpAddr::V4(_) => CnatEndpoint::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => CnatEndpoint::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    };
    let paths = translation
        .backends
        .iter()
        .map(|&(address, port)| CnatEndpointTuple {
            dst_ep: CnatEndpoint::new(address, port),
            src_ep: keep_client.clone(),
            flags: if ends_in_vpp(address) {
                CnatEndpointTupleFlags::CNAT_EPT_NO_NAT.0
            } else {
                0
            },
        })
        .collect();
    let (lb_type, flow_hash_config) = if translation.affinity {
        (CnatLbType::CNAT_LB_TYPE_MAGLEV, spread)
    } else {
        (CnatLbType::CNAT_LB_TYPE_DEFAULT, IpFlowHashConfigV2::default())
    };
    let translation = CnatTranslation {
        vip: CnatEndpoint::new(vip.address, vip.port),
        ip_proto: IpProto(vip.protocol.number()),
        flags: match api {
            CnatApi::V1_0 => CnatTranslationFlags::CNAT_TRANSLATION_NO_CLIENT.0,
            CnatApi::V0_3 => 0,
        },
        lb_type,
        flow_hash_config,
        paths,
        ..CnatTranslation::default()
    };
    Ok(CnatTranslationUpdate { translation })
}

pub(super) async fn delete_translation(run: Run<'_>, vip: &Vip) -> Result<(), Failure> {
    let id = run
        .handles
        .translations
        .get(vip)
        .copied()
        .ok_or(Failure::Waits(Key::Translation(*vip)))?;
    run.call(CnatTranslationDel { id }).await.map(|_| ())
}
