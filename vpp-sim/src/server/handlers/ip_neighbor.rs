//! Neighbours.

use vpp_api::messages::ip_neighbor::{
    IpNeighbor, IpNeighborAddDel, IpNeighborAddDelReply, IpNeighborConfig, IpNeighborConfigGet,
    IpNeighborConfigGetReply, IpNeighborDetails, IpNeighborDump, IpNeighborEvent, IpNeighborEventFlags,
    IpNeighborEventV2, IpNeighborFlags, IpNeighborFlush, IpNeighborReplaceBegin, IpNeighborReplaceEnd,
    WantIpNeighborEvents, WantIpNeighborEventsReply, WantIpNeighborEventsV2, WantIpNeighborEventsV2Reply,
};

use super::interface::known;
use super::outcome;
use crate::engine::{Neighbor, NeighborBounds, NeighborEvent, NeighborWatcher};
use crate::server::convert::{decoded_family, family_of, index, mac, wire_mac};
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
    registry.answer::<WantIpNeighborEvents, WantIpNeighborEventsReply>(|core, client, m| {
        let watcher = NeighborWatcher {
            client,
            pid: m.pid,
            version: 1,
        };
        core.vpp
            .want_neighbor_events(watcher, m.ip, m.sw_if_index, m.enable)?;
        Ok(WantIpNeighborEventsReply::default())
    });
    registry.answer::<WantIpNeighborEventsV2, WantIpNeighborEventsV2Reply>(|core, client, m| {
        let watcher = NeighborWatcher {
            client,
            pid: m.pid,
            version: 2,
        };
        core.vpp
            .want_neighbor_events(watcher, m.ip, m.sw_if_index, m.enable)?;
        Ok(WantIpNeighborEventsV2Reply::default())
    });
    registry.ack(|core, m: IpNeighborConfig| {
        let bounds = NeighborBounds {
            max_number: m.max_number,
            max_age: m.max_age,
            recycle: m.recycle,
        };
        core.vpp.set_neighbor_bounds(decoded_family(m.af)?, bounds);
        Ok(())
    });
    registry.request(|core, m: IpNeighborConfigGet| {
        let bounds = core.vpp.neighbor_bounds(decoded_family(m.af)?);
        Ok(IpNeighborConfigGetReply {
            retval: 0,
            af: m.af,
            max_number: bounds.max_number,
            max_age: bounds.max_age,
            recycle: bounds.recycle,
        })
    });
    registry.ack(|core, _: IpNeighborReplaceBegin| {
        core.vpp.neighbor_replace_begin();
        Ok(())
    });
    registry.ack(|core, _: IpNeighborReplaceEnd| {
        core.vpp.neighbor_replace_end();
        Ok(())
    });
    registry.ack(|core, m: IpNeighborFlush| {
        if let Some(sw_if_index) = index(m.sw_if_index) {
            known(core, sw_if_index)?;
        }
        core.vpp.neighbor_flush(index(m.sw_if_index), family_of(m.af));
        Ok(())
    });
}

/// The event of a watcher's version.
pub(in crate::server) enum Event {
    V1(IpNeighborEvent),
    V2(IpNeighborEventV2),
}

pub(in crate::server) fn event(event: &NeighborEvent) -> Event {
    let neighbor = wire_neighbor(&event.neighbor);
    if event.watcher.version == 1 {
        return Event::V1(IpNeighborEvent { neighbor });
    }
    let flags = if event.is_added {
        IpNeighborEventFlags::IP_NEIGHBOR_API_EVENT_FLAG_ADDED
    } else {
        IpNeighborEventFlags::IP_NEIGHBOR_API_EVENT_FLAG_REMOVED
    };
    Event::V2(IpNeighborEventV2 { flags, neighbor })
}

fn details(neighbor: &Neighbor, now: u64) -> IpNeighborDetails {
    let age = std::time::Duration::from_nanos(now.saturating_sub(neighbor.updated));
    IpNeighborDetails {
        age: age.as_secs_f64(),
        neighbor: wire_neighbor(neighbor),
    }
}

fn wire_neighbor(neighbor: &Neighbor) -> IpNeighbor {
    let flag = |set: bool, flag: IpNeighborFlags| if set { flag } else { IpNeighborFlags::default() };
    IpNeighbor {
        sw_if_index: neighbor.sw_if_index,
        flags: flag(neighbor.is_static, IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC)
            | flag(
                neighbor.no_fib_entry,
                IpNeighborFlags::IP_API_NEIGHBOR_FLAG_NO_FIB_ENTRY,
            ),
        mac_address: wire_mac(neighbor.mac),
        ip_address: neighbor.address,
    }
}
