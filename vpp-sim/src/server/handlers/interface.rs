//! Interfaces of every kind.

use vpp_api::messages::interface::{
    CreateLoopback, CreateLoopbackInstance, CreateLoopbackInstanceReply, CreateLoopbackReply, DeleteLoopback,
    HwInterfaceSetMtu, SwInterfaceAddDelAddress, SwInterfaceAddressReplaceBegin,
    SwInterfaceAddressReplaceEnd, SwInterfaceClearStats, SwInterfaceDetails, SwInterfaceDump,
    SwInterfaceGetDefaultRxMode, SwInterfaceGetDefaultRxModeReply, SwInterfaceGetMacAddress,
    SwInterfaceGetMacAddressReply, SwInterfaceGetTable, SwInterfaceGetTableReply,
    SwInterfaceRxPlacementDetails, SwInterfaceRxPlacementDump, SwInterfaceSetDefaultRxMode,
    SwInterfaceSetFlags, SwInterfaceSetInterfaceName, SwInterfaceSetMacAddress, SwInterfaceSetMtu,
    SwInterfaceSetPromisc, SwInterfaceSetRxMode, SwInterfaceSetRxPlacement, SwInterfaceSetTable,
    SwInterfaceSetTxPlacement, SwInterfaceSetUnnumbered, SwInterfaceTagAddDel, SwInterfaceTxPlacementDetails,
    SwInterfaceTxPlacementGet, WantInterfaceEvents, WantInterfaceEventsReply,
};
use vpp_api::types::{IfStatusFlags, RxMode};

use super::outcome;
use crate::engine::Interface;
use crate::engine::{NONE, OpError, retval};
use crate::server::convert::{family, index, mac, prefix, wire_mac};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

/// `VNET_API_ERROR_INVALID_REGISTRATION`.
const INVALID_REGISTRATION: i32 = -31;
/// `VNET_API_ERROR_INVALID_QUEUE`.
const INVALID_QUEUE: i32 = -125;

pub fn register(registry: &mut Registry) {
    registry.dump(dump);
    registry.answer::<WantInterfaceEvents, WantInterfaceEventsReply>(|core, client, m| {
        if core
            .clients
            .want_interface_events(client, m.enable_disable != 0, m.pid)
        {
            Ok(WantInterfaceEventsReply { retval: 0 })
        } else {
            Err(OpError::Retval(INVALID_REGISTRATION))
        }
    });
    registry.ack(|core, m: SwInterfaceSetFlags| {
        let up = m.flags.contains(IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP);
        core.vpp.set_admin(m.sw_if_index, up)?;
        if let Some(memifs) = &mut core.memifs {
            memifs.set_admin(m.sw_if_index, up);
        }
        Ok(())
    });
    registry.ack(|core, m: SwInterfaceAddDelAddress| {
        if m.del_all {
            core.vpp.del_all_addresses(m.sw_if_index)
        } else if m.is_add {
            core.vpp.add_address(m.sw_if_index, prefix(m.prefix))
        } else {
            core.vpp.del_address(m.sw_if_index, prefix(m.prefix))
        }
    });
    registry
        .ack(|core, m: SwInterfaceSetTable| core.vpp.set_table(m.sw_if_index, family(m.is_ipv6), m.vrf_id));
    registry.request(|core, m: SwInterfaceGetTable| {
        let interface = known(core, m.sw_if_index)?;
        Ok(SwInterfaceGetTableReply {
            retval: 0,
            vrf_id: interface.table[family(m.is_ipv6).index()],
        })
    });
    // The interface that has the addresses is `sw_if_index`.
    registry.ack(|core, m: SwInterfaceSetUnnumbered| {
        core.vpp
            .set_unnumbered(m.sw_if_index, m.unnumbered_sw_if_index, m.is_add)
    });
    registry.ack(|core, m: SwInterfaceSetMtu| core.vpp.set_mtu(m.sw_if_index, m.mtu));
    registry.ack(|core, m: HwInterfaceSetMtu| core.vpp.set_link_mtu(m.sw_if_index, m.mtu));
    registry.ack(|core, m: SwInterfaceTagAddDel| {
        core.vpp
            .set_tag(m.sw_if_index, m.is_add.then_some(m.tag.as_str()))
    });
    registry.ack(|core, m: SwInterfaceSetMacAddress| core.vpp.set_mac(m.sw_if_index, mac(m.mac_address)));
    registry.request(|core, m: SwInterfaceGetMacAddress| {
        let interface = known(core, m.sw_if_index)?;
        Ok(SwInterfaceGetMacAddressReply {
            retval: 0,
            mac_address: wire_mac(interface.mac),
        })
    });
    registry.ack(|core, m: SwInterfaceSetInterfaceName| core.vpp.set_interface_name(m.sw_if_index, &m.name));
    registry.ack(|core, m: SwInterfaceClearStats| core.vpp.clear_counters(index(m.sw_if_index)));
    registry.ack(|core, _: SwInterfaceAddressReplaceBegin| {
        core.vpp.address_replace_begin();
        Ok(())
    });
    registry.ack(|core, _: SwInterfaceAddressReplaceEnd| {
        core.vpp.address_replace_end();
        Ok(())
    });
    // Devices here take what comes; only what VPP refuses is refused.
    registry.ack(|core, m: SwInterfaceSetPromisc| {
        let is_ethernet = known(core, m.sw_if_index)?.is_ethernet();
        is_ethernet.then_some(()).ok_or(retval::INVALID_VALUE.into())
    });
    queues(registry);
    registry.request(|core, m: CreateLoopback| {
        let (retval, sw_if_index) = outcome(core.vpp.create_loopback(mac(m.mac_address), None), NONE)?;
        Ok(CreateLoopbackReply { retval, sw_if_index })
    });
    registry.request(|core, m: CreateLoopbackInstance| {
        let instance = m.is_specified.then_some(m.user_instance);
        let (retval, sw_if_index) = outcome(core.vpp.create_loopback(mac(m.mac_address), instance), NONE)?;
        Ok(CreateLoopbackInstanceReply { retval, sw_if_index })
    });
    registry.ack(|core, m: DeleteLoopback| core.vpp.delete_loopback(m.sw_if_index));
}

/// Every device here is read by the one thread when it has something: modes are kept and make no odds.
fn queues(registry: &mut Registry) {
    registry.ack(|core, m: SwInterfaceSetRxMode| {
        let queue = m.queue_id_valid.then_some(m.queue_id);
        core.vpp.set_rx_mode(m.sw_if_index, queue, m.mode.0)
    });
    registry.ack(|core, m: SwInterfaceSetDefaultRxMode| core.vpp.set_default_rx_mode(m.mode.0));
    registry.request(|core, _: SwInterfaceGetDefaultRxMode| {
        Ok(SwInterfaceGetDefaultRxModeReply {
            retval: 0,
            mode: RxMode(core.vpp.default_rx_mode()),
        })
    });
    registry.ack(|core, m: SwInterfaceSetRxPlacement| {
        core.vpp.set_rx_placement(m.sw_if_index, m.queue_id, m.is_main)
    });
    registry.dump(|core, m: SwInterfaceRxPlacementDump| {
        with_queue(core, m.sw_if_index)
            .map(|i| SwInterfaceRxPlacementDetails {
                sw_if_index: i.sw_if_index,
                queue_id: 0,
                worker_id: 0,
                mode: RxMode(i.rx_mode),
            })
            .collect()
    });
    registry.ack(|core, m: SwInterfaceSetTxPlacement| {
        let interface = known(core, m.sw_if_index)?;
        if m.threads.iter().any(|thread| *thread != 0) {
            return Err(retval::INVALID_VALUE.into());
        }
        if m.queue_id != 0 || !interface.has_queue() {
            return Err(INVALID_QUEUE.into());
        }
        Ok(())
    });
    registry.stream(
        |m: &SwInterfaceTxPlacementGet| m.cursor,
        |core, m| {
            if with_queue(core, NONE).next().is_none() {
                return Err(retval::NO_SUCH_ENTRY.into());
            }
            if m.sw_if_index != NONE {
                known(core, m.sw_if_index)?;
            }
            let all = with_queue(core, m.sw_if_index).map(|i| SwInterfaceTxPlacementDetails {
                sw_if_index: i.sw_if_index,
                queue_id: 0,
                shared: 0,
                threads: vec![0],
            });
            Ok((0..).zip(all).collect())
        },
    );
}

/// Interfaces that have a queue: all, or one.
fn with_queue(core: &Core, sw_if_index: u32) -> impl Iterator<Item = &Interface> {
    let wanted = index(sw_if_index);
    let all = core.vpp.interfaces().filter(|i| i.has_queue());
    all.filter(move |i| wanted.is_none_or(|wanted| wanted == i.sw_if_index))
}

/// # Errors
/// −2 for an unknown interface.
pub(super) fn known(core: &Core, sw_if_index: u32) -> Result<&Interface, OpError> {
    core.vpp
        .interface(sw_if_index)
        .ok_or(OpError::Retval(retval::INVALID_SW_IF_INDEX))
}

fn dump(core: &mut Core, m: SwInterfaceDump) -> Vec<SwInterfaceDetails> {
    let filter = m.name_filter_valid.then(|| m.name_filter.to_lowercase());
    core.vpp
        .interfaces()
        .filter(|i| matches!(m.sw_if_index, 0 | NONE) || i.sw_if_index == m.sw_if_index)
        .filter(|i| {
            filter
                .as_ref()
                .is_none_or(|part| i.name.to_lowercase().contains(part))
        })
        .map(details)
        .collect()
}

fn details(interface: &Interface) -> SwInterfaceDetails {
    SwInterfaceDetails {
        sw_if_index: interface.sw_if_index,
        sup_sw_if_index: interface.sw_if_index,
        l2_address: wire_mac(if interface.is_ethernet() {
            interface.mac
        } else {
            Default::default()
        }),
        flags: IfStatusFlags(interface.flags()),
        link_mtu: interface.link_mtu,
        mtu: interface.mtu,
        interface_name: interface.name.clone(),
        interface_dev_type: interface.dev_type.to_owned(),
        tag: interface.tag.clone(),
        ..SwInterfaceDetails::default()
    }
}
