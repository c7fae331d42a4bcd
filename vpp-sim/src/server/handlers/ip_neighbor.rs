//! Neighbours.

use vpp_api::messages::ip_neighbor::{
    IpNeighbor, IpNeighborAddDel, IpNeighborAddDelReply, IpNeighborDetails, IpNeighborDump, IpNeighborFlags,
    IpNeighborFlush,
};

use super::interface::known;
use super::outcome;
use crate::engine::Neighbor;
use crate::server::convert::{family_of, index, mac, wire_mac};
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: IpNeighborAddDel| {
        let wanted = m.neighbor;
        let result = if m.is_add {
            let neighbor = Neighbor {
                sw_if_index: wanted.sw_if_index,
                address: wanted.ip_address,
                mac: mac(wanted.mac_address),
                is_static: wanted
                    .flags
                    .contains(IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC),
                no_fib_entry: wanted
                    .flags
                    .contains(IpNeighborFlags::IP_API_NEIGHBOR_FLAG_NO_FIB_ENTRY),
                updated: core.now(),
            };
            core.vpp.neighbor_add(neighbor)
        } else {
            core.vpp
                .neighbor_del(wanted.sw_if_index, wanted.ip_address)
                .map(|()| 0)
        };
        let (retval, stats_index) = outcome(result, 0)?;
        Ok(IpNeighborAddDelReply { retval, stats_index })
    });
    registry.dump(|core, m: IpNeighborDump| {
        let now = core.now();
        let neighbors = core
            .vpp
            .neighbors(index(m.sw_if_index), Some(family_of(m.af)))
            .into_iter();
        neighbors.map(|neighbor| details(&neighbor, now)).collect()
    });
    registry.ack(|core, m: IpNeighborFlush| {
        if let Some(sw_if_index) = index(m.sw_if_index) {
            known(core, sw_if_index)?;
        }
        core.vpp.neighbor_flush(index(m.sw_if_index), family_of(m.af));
        Ok(())
    });
}

fn details(neighbor: &Neighbor, now: u64) -> IpNeighborDetails {
    let flag = |set: bool, flag: IpNeighborFlags| if set { flag } else { IpNeighborFlags::default() };
    let age = std::time::Duration::from_nanos(now.saturating_sub(neighbor.updated));
    IpNeighborDetails {
        age: age.as_secs_f64(),
        neighbor: IpNeighbor {
            sw_if_index: neighbor.sw_if_index,
            flags: flag(neighbor.is_static, IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC)
                | flag(
                    neighbor.no_fib_entry,
                    IpNeighborFlags::IP_API_NEIGHBOR_FLAG_NO_FIB_ENTRY,
                ),
            mac_address: wire_mac(neighbor.mac),
            ip_address: neighbor.address,
        },
    }
}
