//! Taps: the host side by the device backend, VPP's side by the engine.

use vpp_api::messages::tapv2::{
    SwInterfaceTapV2Details, SwInterfaceTapV2Dump, TapCreateV2, TapCreateV2Reply, TapCreateV3,
    TapCreateV3Reply, TapDeleteV2, TapFlags,
};
use vpp_api::types::{Ip4Prefix, Ip6Prefix};

use super::outcome;
use crate::device::TapRequest;
use crate::engine::{Family, Mac, NONE, OpError, OpResult, Prefix, retval};
use crate::engine::{Interface, Kind, TapConfig};
use crate::server::convert::{as_v4, as_v6, host_prefix, index, mac, wire_mac};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

/// `TAP_MAX_INSTANCE`.
const MAX_INSTANCE: u32 = 8192;
/// `VNET_API_ERROR_UNSUPPORTED`.
const UNSUPPORTED: i32 = -126;
/// `VNET_API_ERROR_INIT_FAILED`.
const INIT_FAILED: i32 = -144;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: TapCreateV3| {
        let (retval, sw_if_index) = outcome(create(core, &m), NONE)?;
        Ok(TapCreateV3Reply { retval, sw_if_index })
    });
    registry.request(|core, m: TapCreateV2| {
        let (retval, sw_if_index) = outcome(create(core, &as_v3(m)), NONE)?;
        Ok(TapCreateV2Reply { retval, sw_if_index })
    });
    registry.ack(|core, m: TapDeleteV2| {
        core.vpp.delete_tap(m.sw_if_index)?;
        core.devices.detach(m.sw_if_index);
        Ok(())
    });
    registry.dump(|core, m: SwInterfaceTapV2Dump| {
        let wanted = index(m.sw_if_index);
        core.vpp
            .interfaces()
            .filter(|i| wanted.is_none_or(|wanted| wanted == i.sw_if_index))
            .filter_map(details)
            .collect()
    });
}

/// The older request has no count of queues to send on.
fn as_v3(m: TapCreateV2) -> TapCreateV3 {
    TapCreateV3 {
        id: m.id,
        use_random_mac: m.use_random_mac,
        mac_address: m.mac_address,
        num_rx_queues: u16::from(m.num_rx_queues),
        num_tx_queues: 1,
        tx_ring_sz: m.tx_ring_sz,
        rx_ring_sz: m.rx_ring_sz,
        host_mtu_set: m.host_mtu_set,
        host_mtu_size: m.host_mtu_size,
        host_mac_addr_set: m.host_mac_addr_set,
        host_mac_addr: m.host_mac_addr,
        host_ip4_prefix_set: m.host_ip4_prefix_set,
        host_ip4_prefix: m.host_ip4_prefix,
        host_ip6_prefix_set: m.host_ip6_prefix_set,
        host_ip6_prefix: m.host_ip6_prefix,
        host_ip4_gw_set: m.host_ip4_gw_set,
        host_ip4_gw: m.host_ip4_gw,
        host_ip6_gw_set: m.host_ip6_gw_set,
        host_ip6_gw: m.host_ip6_gw,
        tap_flags: m.tap_flags,
        host_namespace_set: m.host_namespace_set,
        host_namespace: m.host_namespace,
        host_if_name_set: m.host_if_name_set,
        host_if_name: m.host_if_name,
        host_bridge_set: m.host_bridge_set,
        host_bridge: m.host_bridge,
        tag: m.tag,
    }
}

/// The order is VPP's (`tap_create_if`): the interface comes last, so a failure leaves no trace of it.
fn create(core: &mut Core, m: &TapCreateV3) -> OpResult<u32> {
    if m.id != NONE {
        let taken = |i: &Interface| matches!(&i.kind, Kind::Tap(tap) if tap.id == m.id);
        if core.vpp.interfaces().any(taken) {
            return Err(retval::INVALID_INTERFACE.into());
        }
        if m.id > MAX_INSTANCE {
            return Err(retval::UNSPECIFIED.into());
        }
    }
    if m.tap_flags.contains(TapFlags::TAP_API_FLAG_ATTACH) && !m.host_if_name_set {
        return Err(retval::NO_MATCHING_INTERFACE.into());
    }
    // Layer-3 taps are not modelled.
    if m.tap_flags.contains(TapFlags::TAP_API_FLAG_TUN) {
        return Err(UNSUPPORTED.into());
    }
    let ring = |size: u16| size == 0 || (size.is_power_of_two() && size <= 32768);
    if !ring(m.rx_ring_sz) || !ring(m.tx_ring_sz) {
        return Err(INIT_FAILED.into());
    }
    let given = m
        .host_mac_addr_set
        .then(|| mac(m.host_mac_addr))
        .filter(|mac| !mac.is_zero());
    let host_mac = given.unwrap_or_else(|| core.vpp.random_mac());
    let ip4 = (m.host_ip4_prefix_set && m.host_ip4_prefix.len > 0)
        .then_some((m.host_ip4_prefix.address, m.host_ip4_prefix.len));
    let ip6 = (m.host_ip6_prefix_set && m.host_ip6_prefix.len > 0)
        .then_some((m.host_ip6_prefix.address, m.host_ip6_prefix.len));
    let request = TapRequest {
        namespace: m.host_namespace_set.then(|| m.host_namespace.clone()),
        name: m.host_if_name_set.then(|| m.host_if_name.clone()),
        mac: host_mac.0,
        bridge: m.host_bridge_set.then(|| m.host_bridge.clone()),
        ip4,
        ip6,
        gateway4: m.host_ip4_gw_set.then_some(m.host_ip4_gw),
        gateway6: m.host_ip6_gw_set.then_some(m.host_ip6_gw),
        mtu: m.host_mtu_set.then_some(m.host_mtu_size),
        persist: m.tap_flags.contains(TapFlags::TAP_API_FLAG_PERSIST),
    };
    let attached = core.devices.backend.open_tap(&request).map_err(|error| {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            ?request,
            "tap_create failed"
        );
        OpError::Retval(error.retval())
    })?;
    let config = TapConfig {
        id: m.id,
        host_if_name: attached.host_name.clone(),
        host_namespace: request.namespace.unwrap_or_default(),
        host_bridge: request.bridge.unwrap_or_default(),
        host_mac,
        host_ip4_prefix: ip4.map(|(address, len)| Prefix::new(address, len)),
        host_ip6_prefix: ip6.map(|(address, len)| Prefix::new(address, len)),
        host_mtu: request.mtu.unwrap_or(0),
        rx_ring_size: if m.rx_ring_sz == 0 { 256 } else { m.rx_ring_sz },
        tx_ring_size: if m.tx_ring_sz == 0 { 256 } else { m.tx_ring_sz },
        flags: m.tap_flags.0,
    };
    let own_mac: Option<Mac> = (!m.use_random_mac).then(|| mac(m.mac_address));
    let sw_if_index = core.vpp.create_tap(config, own_mac)?;
    core.devices.attach(sw_if_index, attached.device);
    if !m.tag.is_empty() {
        core.vpp.set_tag(sw_if_index, Some(&m.tag))?;
    }
    Ok(sw_if_index)
}

fn details(interface: &Interface) -> Option<SwInterfaceTapV2Details> {
    let Kind::Tap(tap) = &interface.kind else {
        return None;
    };
    let ip4 = host_prefix(tap.host_ip4_prefix, Family::V4);
    let ip6 = host_prefix(tap.host_ip6_prefix, Family::V6);
    Some(SwInterfaceTapV2Details {
        sw_if_index: interface.sw_if_index,
        id: tap.id,
        tx_ring_sz: tap.tx_ring_size,
        rx_ring_sz: tap.rx_ring_size,
        host_mtu_size: tap.host_mtu,
        host_mac_addr: wire_mac(tap.host_mac),
        host_ip4_prefix: Ip4Prefix::new(as_v4(ip4.address), ip4.len),
        host_ip6_prefix: Ip6Prefix::new(as_v6(ip6.address), ip6.len),
        tap_flags: TapFlags(tap.flags),
        dev_name: interface.name.clone(),
        host_if_name: tap.host_if_name.clone(),
        host_namespace: tap.host_namespace.clone(),
        host_bridge: tap.host_bridge.clone(),
    })
}
