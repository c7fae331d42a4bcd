//! Punted packets. No socket is configured here, as in VPP without `punt { socket … }`.

use vpp_api::messages::ip::{
    AddDelIpPuntRedirectV2, IpPuntRedirectV2Details, IpPuntRedirectV2Dump, PuntRedirectV2,
};
use vpp_api::messages::punt::{
    PuntReasonDetails, PuntReasonDump, PuntSocketDeregister, PuntSocketDump, PuntSocketRegister,
    PuntSocketRegisterReply, SetPunt,
};
use vpp_api::types::{AddressFamily, Punt, PuntReason, PuntType};

use crate::engine::{OpResult, PUNT_REASONS, PuntClass, punt_reason_is_known, retval};
use crate::server::convert::{decoded_family, family_of, index, paths, wire_paths};
use crate::server::dispatch::Registry;

/// `VNET_API_ERROR_INVALID_PROTOCOL`.
const INVALID_PROTOCOL: i32 = -153;

pub fn register(registry: &mut Registry) {
    registry.ack(|core, m: SetPunt| core.vpp.set_punt(class(&m.punt)?, m.is_add));
    // What cannot be read is not answered.
    registry.maybe(|_, m: PuntSocketRegister| {
        class(&m.punt).ok().map(|_| PuntSocketRegisterReply {
            retval: retval::UNSPECIFIED,
            pathname: String::new(),
        })
    });
    registry.ack(|_, m: PuntSocketDeregister| {
        class(&m.punt)?;
        Err(retval::UNSPECIFIED.into())
    });
    registry.dump(|_, _: PuntSocketDump| Vec::new());
    registry.dump(|_, m: PuntReasonDump| {
        (1..)
            .zip(PUNT_REASONS)
            .filter(|(_, name)| m.reason.name.is_empty() || m.reason.name == *name)
            .map(|(id, name)| PuntReasonDetails {
                reason: PuntReason {
                    id,
                    name: name.to_owned(),
                },
            })
            .collect()
    });
    registry.ack(|core, m: AddDelIpPuntRedirectV2| {
        let family = decoded_family(m.punt.af)?;
        let paths = paths(&m.punt.paths)?;
        core.vpp
            .punt_redirect_update(family, m.punt.rx_sw_if_index, &paths, m.is_add);
        Ok(())
    });
    registry.dump(|core, m: IpPuntRedirectV2Dump| {
        let (family, rx) = (family_of(m.af), index(m.sw_if_index));
        let all = core.vpp.punt_redirects(family, rx).into_iter();
        all.map(|found| IpPuntRedirectV2Details {
            punt: PuntRedirectV2 {
                rx_sw_if_index: found.rx,
                af: family.pick(AddressFamily::ADDRESS_IP4, AddressFamily::ADDRESS_IP6),
                paths: wire_paths(&found.paths),
            },
        })
        .collect()
    });
}

/// # Errors
/// −1 for an unknown type or reason, −97 and −153 for an unknown family or protocol.
fn class(punt: &Punt) -> OpResult<PuntClass> {
    match punt.type_ {
        PuntType::PUNT_API_TYPE_L4 => {
            let l4 = punt.punt.l4();
            Ok(PuntClass::Port {
                family: decoded_family(l4.af)?,
                proto: protocol(l4.protocol.0)?,
                port: l4.port,
            })
        }
        PuntType::PUNT_API_TYPE_IP_PROTO => {
            let of = punt.punt.ip_proto();
            Ok(PuntClass::Protocol {
                family: decoded_family(of.af)?,
                proto: protocol(of.protocol.0)?,
            })
        }
        PuntType::PUNT_API_TYPE_EXCEPTION => {
            let reason = punt.punt.exception().id;
            if !punt_reason_is_known(reason) {
                return Err(retval::UNSPECIFIED.into());
            }
            Ok(PuntClass::Reason(reason))
        }
        _ => Err(retval::UNSPECIFIED.into()),
    }
}

/// # Errors
/// −153 for a number that has no name in VPP's list (`vnet/ip/protocols.def`).
fn protocol(number: u8) -> OpResult<u8> {
    if matches!(number, 61 | 63 | 68 | 99 | 114 | 144..=252) {
        return Err(INVALID_PROTOCOL.into());
    }
    Ok(number)
}
