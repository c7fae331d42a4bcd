//! cnat from dumps.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::net::Protocol;
use vpp_api::messages::cnat::{
    CnatGetSnatAddresses, CnatSessionDump, CnatSnatAddressesDump, CnatTranslationDump, v0_3,
};
use vpp_api::messages::feature::FeatureIsEnabled;
use vpp_api::types::{CnatLbType, CnatTranslation, NO_INDEX};

use super::Remembered;
use crate::apply::State;
use crate::objects::{CnatRole, Key, Link, Object, SnatAddresses, Translation, Vip};
use crate::vpp::{CnatApi, Vpp};

pub(super) async fn read(vpp: &Vpp, remembered: &Remembered, state: &mut State) -> vpp_api::Result<()> {
    let Some(api) = vpp.features.cnat else {
        return Ok(());
    };
    for details in vpp.client.dump(CnatTranslationDump::default()).await? {
        let id = details.translation.id;
        if let Some((vip, translation)) = translation(&details.translation) {
            state.handles.translations.insert(vip, id);
            state
                .objects
                .insert(Key::Translation(vip), Object::Translation(translation));
        }
    }
    // Without addresses this VPP was never configured: no exclusion and no feature either.
    let Some(addresses) = snat_addresses(vpp, api).await? else {
        return Ok(());
    };
    state.objects.insert(Key::CnatSnat, Object::CnatSnat(addresses));
    for prefix in &remembered.excluded {
        state.objects.insert(Key::CnatExclude(*prefix), Object::Present);
    }
    read_features(vpp, state).await
}

/// Which of the VIPs that are asked about have connections: sessions, of which each names both ends of a direction.
pub async fn connected(vpp: &Vpp, asked: impl Fn(&Vip) -> bool) -> vpp_api::Result<BTreeSet<Vip>> {
    let mut found = BTreeSet::new();
    let mut note = |ends: [(IpAddr, u16); 2], number: u8| {
        let Some(protocol) = protocol(number) else { return };
        found.extend(
            ends.map(|(address, port)| Vip {
                address,
                port,
                protocol,
            })
            .into_iter()
            .filter(&asked),
        );
    };
    match vpp.features.cnat {
        None => {}
        Some(CnatApi::V1_0) => {
            for details in vpp.client.dump(CnatSessionDump::default()).await? {
                let tuple = details.session.tuple;
                let end = |side: usize| (tuple.addr[side], tuple.port[side]);
                note([end(0), end(1)], tuple.ip_proto.0);
            }
        }
        Some(CnatApi::V0_3) => {
            for details in vpp.client.dump(v0_3::CnatSessionDump::default()).await? {
                let session = details.session;
                let ends = [session.src, session.dst].map(|end| (end.addr, end.port));
                note(ends, session.ip_proto.0);
            }
        }
    }
    Ok(found)
}

/// Whether cnat is enabled is asked for each link: enabling it twice breaks forwarding. The tables that go with it
/// cannot be read, but were set before.
async fn read_features(vpp: &Vpp, state: &mut State) -> vpp_api::Result<()> {
    let candidates: Vec<(Link, u32)> = state
        .handles
        .links
        .iter()
        .map(|(link, index)| (link.clone(), *index))
        .collect();
    let is_enabled = |feature: &str, sw_if_index| {
        vpp.client.send(FeatureIsEnabled {
            arc_name: "ip4-unicast".to_owned(),
            feature_name: feature.to_owned(),
            sw_if_index,
        })
    };
    let may_be_passage = |link: &Link| {
        vpp.features.cnat == Some(CnatApi::V1_0) && matches!(link, Link::Function(..) | Link::Tunnel(_))
    };
    let questions: Vec<_> = candidates
        .iter()
        .map(|(link, index)| {
            let lookup = may_be_passage(link).then(|| is_enabled("cnat-lookup-ip4", *index));
            (is_enabled("cnat-input-ip4", *index), lookup)
        })
        .collect();
    for ((link, _), (input, lookup)) in candidates.into_iter().zip(questions) {
        let translates = input.await?.is_enabled;
        let passes = match lookup {
            Some(question) => question.await?.is_enabled,
            None => false,
        };
        let role = match link {
            _ if passes && !translates => CnatRole::Passage,
            _ if !translates => continue,
            Link::Pod(_) | Link::Function(..) => CnatRole::Pod,
            Link::Host => CnatRole::Host,
            Link::Gateway | Link::Uplink | Link::Tunnel(_) => CnatRole::Underlay,
        };
        state
            .objects
            .insert(Key::CnatFeature(link), Object::CnatFeature(role));
    }
    Ok(())
}

async fn snat_addresses(vpp: &Vpp, api: CnatApi) -> vpp_api::Result<Option<SnatAddresses>> {
    let (v4, v6) = match api {
        CnatApi::V1_0 => {
            let all = vpp.client.dump(CnatSnatAddressesDump::default()).await?;
            match all
                .into_iter()
                .find(|each| each.fwd_table_id4 == 0 || each.fwd_table_id6 == 0)
            {
                Some(details) => (details.snat_ip4, details.snat_ip6),
                None => return Ok(None),
            }
        }
        CnatApi::V0_3 => match vpp.client.call(CnatGetSnatAddresses::default()).await {
            Ok(reply) => (reply.snat_ip4, reply.snat_ip6),
            Err(error) if error.retval().is_some() => return Ok(None),
            Err(error) => return Err(error),
        },
    };
    let addresses = SnatAddresses {
        v4: Some(v4).filter(|address: &Ipv4Addr| !address.is_unspecified()),
        v6: Some(v6).filter(|address: &Ipv6Addr| !address.is_unspecified()),
    };
    Ok((addresses.v4.is_some() || addresses.v6.is_some()).then_some(addresses))
}

fn protocol(number: u8) -> Option<Protocol> {
    [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|protocol| protocol.number() == number)
}

fn translation(translation: &CnatTranslation) -> Option<(Vip, Translation)> {
    // A VIP that is "the address of an interface" is none of ours.
    if translation.vip.sw_if_index != NO_INDEX {
        return None;
    }
    let protocol = protocol(translation.ip_proto.0)?;
    let vip = Vip {
        address: translation.vip.addr,
        port: translation.vip.port,
        protocol,
    };
    let mut backends: Vec<_> = translation
        .paths
        .iter()
        .map(|path| (path.dst_ep.addr, path.dst_ep.port))
        .collect();
    backends.sort_unstable();
    let affinity = translation.lb_type == CnatLbType::CNAT_LB_TYPE_MAGLEV;
    Some((vip, Translation { backends, affinity }))
}
