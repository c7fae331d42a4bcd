//! Host devices through AF_PACKET.

use vpp_api::messages::af_packet::{
    AfPacketCreateV2, AfPacketCreateV2Reply, AfPacketCreateV3, AfPacketCreateV3Reply, AfPacketDelete,
    AfPacketDetails, AfPacketDump, AfPacketMode, AfPacketSetL4CksumOffload,
};

use super::interface::known;
use super::outcome;
use crate::device::AfPacketRequest;
use crate::engine::Kind;
use crate::engine::{Mac, NONE, OpError, OpResult, retval};
use crate::server::convert::mac;
use crate::server::core::Core;
use crate::server::dispatch::Registry;

/// `VNET_API_ERROR_UNSUPPORTED`.
const UNSUPPORTED: i32 = -126;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: AfPacketCreateV3| {
        let own = (!m.use_random_hw_addr).then(|| mac(m.hw_addr));
        let result = match m.mode {
            AfPacketMode::AF_PACKET_API_MODE_ETHERNET => create(core, &m.host_if_name, own),
            // Layer-3 devices are not modelled.
            AfPacketMode::AF_PACKET_API_MODE_IP => Err(UNSUPPORTED.into()),
            _ => Err(retval::INVALID_VALUE.into()),
        };
        // The index is 0 after a failure, but for "exists already", where it is the existing one.
        let (retval, mut sw_if_index) = outcome(result, 0)?;
        if retval == retval::IF_ALREADY_EXISTS {
            sw_if_index = core.vpp.af_packet(&m.host_if_name).unwrap_or(0);
        }
        Ok(AfPacketCreateV3Reply { retval, sw_if_index })
    });
    registry.request(|core, m: AfPacketCreateV2| {
        let own = (!m.use_random_hw_addr).then(|| mac(m.hw_addr));
        let (retval, mut sw_if_index) = outcome(create(core, &m.host_if_name, own), NONE)?;
        if retval == retval::IF_ALREADY_EXISTS {
            sw_if_index = core.vpp.af_packet(&m.host_if_name).unwrap_or(NONE);
        }
        Ok(AfPacketCreateV2Reply { retval, sw_if_index })
    });
    registry.ack(|core, m: AfPacketDelete| {
        let sw_if_index = core.vpp.delete_af_packet(&m.host_if_name)?;
        core.devices.detach(sw_if_index);
        Ok(())
    });
    // Checksums are always complete here.
    registry.ack(
        |core, m: AfPacketSetL4CksumOffload| match known(core, m.sw_if_index)?.kind {
            Kind::AfPacket { .. } => Ok(()),
            _ => Err(retval::INVALID_INTERFACE.into()),
        },
    );
    registry.dump(|core, _: AfPacketDump| {
        core.vpp
            .interfaces()
            .filter_map(|i| match &i.kind {
                Kind::AfPacket { host_if_name } => Some(AfPacketDetails {
                    sw_if_index: i.sw_if_index,
                    host_if_name: host_if_name.clone(),
                }),
                _ => None,
            })
            .collect()
    });
}

fn create(core: &mut Core, host_if_name: &str, own: Option<Mac>) -> OpResult<u32> {
    if core.vpp.af_packet(host_if_name).is_some() {
        return Err(retval::IF_ALREADY_EXISTS.into());
    }
    let request = AfPacketRequest {
        host_if_name: host_if_name.to_owned(),
        namespace: None,
    };
    let attached = core.devices.backend.open_af_packet(&request).map_err(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            ?request,
            "af_packet_create failed"
        );
        OpError::Retval(error.retval())
    })?;
    let sw_if_index = core.vpp.create_af_packet(host_if_name, own, Some(attached.mtu))?;
    core.devices.attach(sw_if_index, attached.device);
    Ok(sw_if_index)
}
