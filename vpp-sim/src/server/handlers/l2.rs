//! Bridge domains, and cross-connects of layer 2 and 3.

use vpp_api::messages::l2::*;
use vpp_api::messages::l3xc::{L3xc, L3xcDel, L3xcDetails, L3xcDump, L3xcUpdate};

use super::interface::known;
use super::outcome;
use crate::engine::{
    BridgeDomainConfig, BridgeDomainDetails as Domain, BridgePort, Family, NONE, OpError, OpResult, Vpp,
    bridge_feature, retval,
};
use crate::server::convert::{family, index, mac, paths, wire_mac, wire_paths};
use crate::server::dispatch::Registry;

/// Flags of the API and the features they stand for.
const FLAGS: [(BdFlags, u32); 6] = [
    (BdFlags::BRIDGE_API_FLAG_LEARN, bridge_feature::LEARN),
    (BdFlags::BRIDGE_API_FLAG_FWD, bridge_feature::FWD),
    (BdFlags::BRIDGE_API_FLAG_FLOOD, bridge_feature::FLOOD),
    (BdFlags::BRIDGE_API_FLAG_UU_FLOOD, bridge_feature::UU_FLOOD),
    (BdFlags::BRIDGE_API_FLAG_ARP_TERM, bridge_feature::ARP_TERM),
    (BdFlags::BRIDGE_API_FLAG_ARP_UFWD, bridge_feature::ARP_UFWD),
];

/// `bridge_domain_add_del` and its second version, which alone takes "any id": the return code and the id.
fn add_del(vpp: &mut Vpp, m: BridgeDomainAddDelV2) -> OpResult<(i32, u32)> {
    if !m.is_add {
        return Ok((outcome(vpp.del_bridge_domain(m.bd_id), ())?.0, m.bd_id));
    }
    let switched = [
        (m.flood, bridge_feature::FLOOD),
        (m.uu_flood, bridge_feature::UU_FLOOD),
        (m.forward, bridge_feature::FWD),
        (m.learn, bridge_feature::LEARN),
        (m.arp_term, bridge_feature::ARP_TERM),
        (m.arp_ufwd, bridge_feature::ARP_UFWD),
    ];
    let on = switched.iter().filter(|(on, _)| *on);
    let config = BridgeDomainConfig {
        features: on.map(|(_, feature)| feature).sum(),
        mac_age: m.mac_age,
        tag: m.bd_tag,
    };
    outcome(vpp.add_bridge_domain(m.bd_id, config), m.bd_id)
}

fn details(domain: Domain) -> BridgeDomainDetails {
    let on = |feature: u32| domain.features & feature != 0;
    BridgeDomainDetails {
        bd_id: domain.bd_id,
        flood: on(bridge_feature::FLOOD),
        uu_flood: on(bridge_feature::UU_FLOOD),
        forward: on(bridge_feature::FWD),
        learn: on(bridge_feature::LEARN),
        arp_term: on(bridge_feature::ARP_TERM),
        arp_ufwd: on(bridge_feature::ARP_UFWD),
        mac_age: domain.mac_age,
        bd_tag: domain.tag,
        bvi_sw_if_index: domain.bvi.unwrap_or(NONE),
        uu_fwd_sw_if_index: domain.uu_fwd.unwrap_or(NONE),
        sw_if_details: domain
            .members
            .into_iter()
            .map(|(sw_if_index, shg)| BridgeDomainSwIf {
                context: 0,
                sw_if_index,
                shg,
            })
            .collect(),
    }
}

fn register_bridges(registry: &mut Registry) {
    registry.ack(|core, m: SwInterfaceSetL2Bridge| {
        known(core, m.rx_sw_if_index)?;
        let port = match m.port_type {
            L2PortType::L2_API_PORT_TYPE_NORMAL => BridgePort::Normal,
            L2PortType::L2_API_PORT_TYPE_BVI => BridgePort::Bvi,
            L2PortType::L2_API_PORT_TYPE_UU_FWD => BridgePort::UuFwd,
            _ => return Err(retval::INVALID_VALUE.into()),
        };
        let to = m.enable.then_some((m.bd_id, port, m.shg));
        core.vpp.set_l2_bridge(m.rx_sw_if_index, to)
    });
    registry.request(|core, mut m: BridgeDomainAddDelV2| {
        if m.is_add && m.bd_id == NONE {
            m.bd_id = core
                .vpp
                .unused_bridge_domain_id()
                .ok_or(OpError::Retval(retval::EAGAIN))?;
        }
        let (retval, bd_id) = add_del(&mut core.vpp, m)?;
        Ok(BridgeDomainAddDelV2Reply { retval, bd_id })
    });
    registry.ack(|core, m: BridgeDomainAddDel| {
        let m = BridgeDomainAddDelV2 {
            bd_id: m.bd_id,
            flood: m.flood,
            uu_flood: m.uu_flood,
            forward: m.forward,
            learn: m.learn,
            arp_term: m.arp_term,
            arp_ufwd: m.arp_ufwd,
            mac_age: m.mac_age,
            bd_tag: m.bd_tag,
            is_add: m.is_add,
        };
        match add_del(&mut core.vpp, m)? {
            (0, _) => Ok(()),
            (retval, _) => Err(retval.into()),
        }
    });
    registry.dump(|core, m: BridgeDomainDump| {
        // Looking for an interface is not implemented: nothing is found.
        if m.sw_if_index != NONE {
            return Vec::new();
        }
        let wanted = index(m.bd_id);
        let domains = core.vpp.bridge_domains().into_iter();
        domains
            .filter(|domain| wanted.is_none_or(|wanted| wanted == domain.bd_id))
            .map(details)
            .collect()
    });
    registry.request(|core, m: BridgeFlags| {
        let on = FLAGS.iter().filter(|(flag, _)| m.flags.contains(*flag));
        let features = on.map(|(_, feature)| feature).sum();
        let result = core.vpp.set_bridge_flags(m.bd_id, features, m.is_set);
        let (retval, resulting_feature_bitmap) = outcome(result, 0)?;
        Ok(BridgeFlagsReply {
            retval,
            resulting_feature_bitmap,
        })
    });
    registry.ack(|core, m: BridgeDomainSetMacAge| core.vpp.set_bridge_mac_age(m.bd_id, m.mac_age));
    registry.ack(|core, m: L2fibAddDel| {
        let (id, address) = (m.bd_id, mac(m.mac));
        match (m.is_add, m.filter_mac) {
            (false, _) => core.vpp.l2fib_del(id, address, m.sw_if_index),
            (true, true) => core.vpp.l2fib_add_filter(id, address),
            (true, false) => core
                .vpp
                .l2fib_add(id, address, m.sw_if_index, m.static_mac, m.bvi_mac),
        }
    });
    registry.dump(|core, m: L2FibTableDump| {
        let wanted = index(m.bd_id);
        let entries = core.vpp.l2_fib().into_iter();
        entries
            .filter(|entry| wanted.is_none_or(|wanted| wanted == entry.bd_id))
            .map(|entry| L2FibTableDetails {
                bd_id: entry.bd_id,
                mac: wire_mac(entry.mac),
                sw_if_index: entry.sw_if_index,
                static_mac: entry.is_static,
                filter_mac: entry.is_filter,
                bvi_mac: entry.is_bvi,
            })
            .collect()
    });
    registry.ack(|core, m: L2fibFlushInt| core.vpp.l2fib_flush_interface(m.sw_if_index));
    registry.ack(|core, m: L2fibFlushBd| core.vpp.l2fib_flush_domain(m.bd_id));
    registry.request(|core, m: BviCreate| {
        let result = core.vpp.create_bvi(m.user_instance, mac(m.mac));
        let (retval, sw_if_index) = outcome(result, NONE)?;
        Ok(BviCreateReply { retval, sw_if_index })
    });
    registry.ack(|core, m: BviDelete| core.vpp.delete_bvi(m.sw_if_index));
}

pub fn register(registry: &mut Registry) {
    register_bridges(registry);
    registry.ack(|core, m: SwInterfaceSetL2Xconnect| {
        core.vpp
            .set_l2_xconnect(m.rx_sw_if_index, m.tx_sw_if_index, m.enable)
    });
    registry.dump(|core, _: L2XconnectDump| {
        let pairs = core.vpp.l2_xconnects().into_iter();
        pairs
            .map(|(rx_sw_if_index, tx_sw_if_index)| L2XconnectDetails {
                rx_sw_if_index,
                tx_sw_if_index,
            })
            .collect()
    });
    registry.ack(|core, m: L3xcUpdate| {
        core.vpp
            .l3xc_update(m.l3xc.sw_if_index, family(m.l3xc.is_ip6), paths(&m.l3xc.paths)?)
    });
    registry.ack(|core, m: L3xcDel| core.vpp.l3xc_del(m.sw_if_index, family(m.is_ip6)));
    registry.dump(|core, m: L3xcDump| {
        let wanted = index(m.sw_if_index);
        let all = core.vpp.l3xcs().into_iter();
        all.filter(|xc| wanted.is_none_or(|wanted| wanted == xc.sw_if_index))
            .map(|xc| L3xcDetails {
                l3xc: L3xc {
                    sw_if_index: xc.sw_if_index,
                    is_ip6: xc.family == Family::V6,
                    paths: wire_paths(&xc.paths),
                },
            })
            .collect()
    });
}
