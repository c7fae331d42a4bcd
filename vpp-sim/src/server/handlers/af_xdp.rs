//! Host devices through AF_XDP. Frames move by AF_PACKET here: what is made and answered is as of AF_XDP.

use vpp_api::messages::af_xdp::{AfXdpCreateV3, AfXdpCreateV3Reply, AfXdpDelete};

use super::outcome;
use crate::device::AfPacketRequest;
use crate::engine::{OpError, OpResult, retval};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

/// `VLIB_FRAME_SIZE`: a ring has at least so many places.
const FRAME: u16 = 256;

/// Places of a ring where none are asked for.
const DEFAULT_RING: u16 = 2 * FRAME;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: AfXdpCreateV3| {
        let (retval, sw_if_index) = outcome(create(core, &m), 0)?;
        Ok(AfXdpCreateV3Reply { retval, sw_if_index })
    });
    registry.ack(|core, m: AfXdpDelete| {
        core.vpp.delete_af_xdp(m.sw_if_index)?;
        core.devices.detach(m.sw_if_index);
        Ok(())
    });
}

fn create(core: &mut Core, m: &AfXdpCreateV3) -> OpResult<u32> {
    let ring = |size: u16| match size {
        0 => DEFAULT_RING,
        size => size,
    };
    let fits = |size: u16| size >= FRAME && size.is_power_of_two();
    // IFNAMSIZ, with the terminator.
    let is_named = !m.host_if.is_empty() && m.host_if.len() < 16;
    // One queue is all there is to a device here; 65535 asks for all.
    let has_queues = matches!(m.rxq_num, 0 | 1 | u16::MAX);
    if !is_named || !has_queues || !fits(ring(m.rxq_size)) || !fits(ring(m.txq_size)) {
        return Err(retval::INVALID_VALUE.into());
    }
    let request = AfPacketRequest {
        host_if_name: m.host_if.clone(),
        namespace: (!m.netns.is_empty()).then(|| m.netns.clone()),
    };
    let attached = core.devices.backend.open_af_packet(&request).map_err(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            ?request,
            "af_xdp_create failed"
        );
        // A device that is not there is a bad value here.
        match error.retval() {
            retval::INVALID_INTERFACE => OpError::Retval(retval::INVALID_VALUE),
            other => OpError::Retval(other),
        }
    })?;
    let name = if m.name.is_empty() {
        let name = |n: u32| format!("{}/{n}", m.host_if);
        let free = (0..).find(|n| core.vpp.interface_by_name(&name(*n)).is_none());
        name(free.unwrap_or(0))
    } else {
        m.name.clone()
    };
    let sw_if_index = core.vpp.create_af_xdp(&m.host_if, name, None, Some(attached.mtu));
    core.devices.attach(sw_if_index, attached.device);
    Ok(sw_if_index)
}
