//! Reverse path forwarding checks.

use vpp_api::messages::urpf::{
    UrpfInterfaceDetails, UrpfInterfaceDump, UrpfMode as WireMode, UrpfUpdate, UrpfUpdateV2,
};
use vpp_api::types::AddressFamily;

use super::interface::known;
use crate::engine::{OpError, UrpfMode, retval};
use crate::server::convert::{decoded_family, index};
use crate::server::dispatch::Registry;

/// What `urpf_update` looks sources up in: it was to be the interface's table.
const FIRST_VERSION_TABLE: u32 = 0;

pub fn register(registry: &mut Registry) {
    registry.ack(|core, m: UrpfUpdate| {
        known(core, m.sw_if_index)?;
        let (mode, family) = (mode(m.mode)?, decoded_family(m.af)?);
        core.vpp
            .urpf_update(m.sw_if_index, family, m.is_input, mode, FIRST_VERSION_TABLE)
    });
    registry.ack(|core, m: UrpfUpdateV2| {
        known(core, m.sw_if_index)?;
        let (mode, family) = (mode(m.mode)?, decoded_family(m.af)?);
        core.vpp
            .urpf_update(m.sw_if_index, family, m.is_input, mode, m.table_id)
    });
    registry.dump(|core, m: UrpfInterfaceDump| {
        let wanted = index(m.sw_if_index);
        let all = core.vpp.interfaces().map(|interface| interface.sw_if_index);
        all.filter(|at| wanted.is_none_or(|wanted| wanted == *at))
            .flat_map(|at| core.vpp.urpf_checks(at).into_iter().map(move |check| (at, check)))
            .map(|(sw_if_index, (family, is_input, check))| UrpfInterfaceDetails {
                sw_if_index,
                is_input,
                mode: match check.mode {
                    UrpfMode::Off => WireMode::URPF_API_MODE_OFF,
                    UrpfMode::Loose => WireMode::URPF_API_MODE_LOOSE,
                    UrpfMode::Strict => WireMode::URPF_API_MODE_STRICT,
                },
                af: family.pick(AddressFamily::ADDRESS_IP4, AddressFamily::ADDRESS_IP6),
                table_id: check.table_id,
            })
            .collect()
    });
}

/// # Errors
/// −7 for a mode VPP does not know.
fn mode(mode: WireMode) -> Result<UrpfMode, OpError> {
    match mode {
        WireMode::URPF_API_MODE_OFF => Ok(UrpfMode::Off),
        WireMode::URPF_API_MODE_LOOSE => Ok(UrpfMode::Loose),
        WireMode::URPF_API_MODE_STRICT => Ok(UrpfMode::Strict),
        _ => Err(retval::INVALID_VALUE.into()),
    }
}
