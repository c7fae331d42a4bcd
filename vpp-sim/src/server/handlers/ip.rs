//! Tables, routes and what IP is told of interfaces.

use std::collections::BTreeSet;

use vpp_api::messages::ip::{
    IpAddressDetails, IpAddressDump, IpDetails, IpDump, IpPathMtu, IpPathMtuDetails, IpPathMtuGet,
    IpPathMtuReplaceBegin, IpPathMtuReplaceEnd, IpPathMtuUpdate, IpRouteAddDel, IpRouteAddDelReply,
    IpRouteAddDelV2, IpRouteAddDelV2Reply, IpRouteDetails, IpRouteDump, IpRouteLookup, IpRouteLookupReply,
    IpRouteLookupV2, IpRouteLookupV2Reply, IpRouteV2Details, IpRouteV2Dump, IpTableAddDel, IpTableAddDelV2,
    IpTableAllocate, IpTableAllocateReply, IpTableDetails, IpTableDump, IpTableFlush, IpTableReplaceBegin,
    IpTableReplaceEnd, IpUnnumberedDetails, IpUnnumberedDump, SetIpFlowHashV3, SwInterfaceIp4EnableDisable,
    SwInterfaceIp6EnableDisable, SwInterfaceIp6GetLinkLocalAddress, SwInterfaceIp6GetLinkLocalAddressReply,
    SwInterfaceIp6SetLinkLocalAddress,
};
use vpp_api::types::{FibPath, IpRoute, IpRouteV2, IpTable};

use super::interface::known;
use super::outcome;
use crate::engine::{Family, NONE, OpError, OpResult, Prefix, RouteDetails, RouteUpdate, fib_source, retval};
use crate::server::convert::{family, family_of, index, paths, prefix, wire_paths, wire_prefix};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

/// `VNET_API_ERROR_EAGAIN`, which `ip_table_allocate` gives for "no free id".
const NO_FREE_ID: i32 = -165;

/// `VNET_API_ERROR_IP6_NOT_ENABLED`.
const IP6_NOT_ENABLED: i32 = -62;

pub fn register(registry: &mut Registry) {
    tables(registry);
    routes(registry);
    interfaces(registry);
    path_mtus(registry);
}

fn tables(registry: &mut Registry) {
    registry.ack(|core, m: IpTableAddDel| {
        core.vpp
            .ip_table_add_del(family(m.table.is_ip6), m.table.table_id, &m.table.name, m.is_add);
        Ok(())
    });
    registry.ack(|core, m: IpTableAddDelV2| {
        core.vpp
            .ip_table_add_del(family(m.table.is_ip6), m.table.table_id, &m.table.name, m.is_add);
        Ok(())
    });
    registry.request(|core, m: IpTableAllocate| {
        let mut table = m.table;
        let family = family(table.is_ip6);
        if table.table_id == NONE {
            let used: BTreeSet<u32> = core.vpp.ip_tables().iter().map(|table| table.table_id).collect();
            let free = (1..NONE).find(|id| !used.contains(id));
            table.table_id = free.ok_or(OpError::Retval(NO_FREE_ID))?;
        }
        core.vpp
            .ip_table_add_del(family, table.table_id, &table.name, true);
        Ok(IpTableAllocateReply { retval: 0, table })
    });
    registry.dump(|core, _: IpTableDump| {
        let tables = core.vpp.ip_tables().into_iter().map(|table| IpTable {
            table_id: table.table_id,
            is_ip6: table.family == Family::V6,
            name: table.name,
        });
        let hidden = core.vpp.sr_hidden_tables().iter().map(|name| IpTable {
            table_id: NONE,
            is_ip6: true,
            name: (*name).to_owned(),
        });
        tables
            .chain(hidden)
            .map(|table| IpTableDetails { table })
            .collect()
    });
    registry.ack(|core, m: IpTableFlush| {
        let family = existing(core, &m.table)?;
        core.vpp.ip_table_flush(family, m.table.table_id);
        Ok(())
    });
    registry.ack(|core, m: IpTableReplaceBegin| {
        let family = existing(core, &m.table)?;
        let marked = core.vpp.ip_routes(family, m.table.table_id, fib_source::API);
        let marked = marked.into_iter().map(|route| route.prefix).collect();
        core.replacing.insert((family, m.table.table_id), marked);
        Ok(())
    });
    registry.ack(|core, m: IpTableReplaceEnd| {
        let family = existing(core, &m.table)?;
        for stale in core
            .replacing
            .remove(&(family, m.table.table_id))
            .unwrap_or_default()
        {
            core.vpp
                .ip_route_add_del(&RouteUpdate::del(m.table.table_id, stale))?;
        }
        Ok(())
    });
    registry.ack(|core, m: SetIpFlowHashV3| {
        core.vpp
            .set_flow_hash(family_of(m.af), m.table_id, m.flow_hash_config.0)
    });
}

/// # Errors
/// −3 for an unknown table.
fn existing(core: &Core, table: &IpTable) -> Result<Family, OpError> {
    let family = family(table.is_ip6);
    let exists = core
        .vpp
        .ip_tables()
        .iter()
        .any(|t| t.family == family && t.table_id == table.table_id);
    exists
        .then_some(family)
        .ok_or(OpError::Retval(retval::NO_SUCH_FIB))
}

fn routes(registry: &mut Registry) {
    registry.request(|core, m: IpRouteAddDel| {
        let r = m.route;
        let change = Change {
            is_add: m.is_add,
            is_multipath: m.is_multipath,
            table_id: r.table_id,
            source: 0,
        };
        let (retval, stats_index) = outcome(change.apply(core, prefix(r.prefix), &r.paths), 0)?;
        Ok(IpRouteAddDelReply { retval, stats_index })
    });
    registry.request(|core, m: IpRouteAddDelV2| {
        let r = m.route;
        let change = Change {
            is_add: m.is_add,
            is_multipath: m.is_multipath,
            table_id: r.table_id,
            source: r.src,
        };
        let (retval, stats_index) = outcome(change.apply(core, prefix(r.prefix), &r.paths), 0)?;
        Ok(IpRouteAddDelV2Reply { retval, stats_index })
    });
    registry.dump(|core, m: IpRouteDump| {
        let routes = core
            .vpp
            .ip_routes(family(m.table.is_ip6), m.table.table_id, 0)
            .into_iter();
        routes
            .map(|route| IpRouteDetails {
                route: wire_route(route),
            })
            .collect()
    });
    registry.dump(|core, m: IpRouteV2Dump| {
        let routes = core
            .vpp
            .ip_routes(family(m.table.is_ip6), m.table.table_id, m.src)
            .into_iter();
        routes
            .map(|route| IpRouteV2Details {
                route: wire_route_v2(route),
            })
            .collect()
    });
    registry.request(|core, m: IpRouteLookup| {
        let route = core
            .vpp
            .ip_route_lookup(m.table_id, prefix(m.prefix), m.exact != 0)?;
        Ok(IpRouteLookupReply {
            retval: 0,
            route: wire_route(route),
        })
    });
    registry.request(|core, m: IpRouteLookupV2| {
        let route = core
            .vpp
            .ip_route_lookup(m.table_id, prefix(m.prefix), m.exact != 0)?;
        Ok(IpRouteLookupV2Reply {
            retval: 0,
            route: wire_route_v2(route),
        })
    });
}

/// What is the same in both versions of `ip_route_add_del`.
struct Change {
    is_add: bool,
    is_multipath: bool,
    table_id: u32,
    source: u8,
}

impl Change {
    fn apply(self, core: &mut Core, prefix: Prefix, wire: &[FibPath]) -> OpResult<u32> {
        let update = RouteUpdate {
            is_add: self.is_add,
            is_multipath: self.is_multipath,
            table_id: self.table_id,
            prefix,
            source: self.source,
            paths: paths(wire)?,
        };
        let stats_index = core.vpp.ip_route_add_del(&update)?;
        // Added again between replace_begin and replace_end: not stale.
        if self.is_add
            && matches!(self.source, 0 | fib_source::API)
            && let Some(marked) = core.replacing.get_mut(&(prefix.family(), self.table_id))
        {
            marked.remove(&prefix.normalized());
        }
        Ok(stats_index)
    }
}

fn wire_route(route: RouteDetails) -> IpRoute {
    IpRoute {
        table_id: route.table_id,
        stats_index: route.stats_index,
        prefix: wire_prefix(route.prefix),
        paths: wire_paths(&route.paths),
    }
}

fn wire_route_v2(route: RouteDetails) -> IpRouteV2 {
    IpRouteV2 {
        table_id: route.table_id,
        stats_index: route.stats_index,
        prefix: wire_prefix(route.prefix),
        src: route.source,
        paths: wire_paths(&route.paths),
    }
}

fn interfaces(registry: &mut Registry) {
    registry.ack(|core, m: SwInterfaceIp4EnableDisable| {
        core.vpp.set_ip_enabled(m.sw_if_index, Family::V4, m.enable)
    });
    registry.ack(|core, m: SwInterfaceIp6EnableDisable| {
        core.vpp.set_ip_enabled(m.sw_if_index, Family::V6, m.enable)
    });
    registry.dump(|core, m: IpAddressDump| {
        let Some(interface) = core.vpp.interface(m.sw_if_index) else {
            return Vec::new();
        };
        let family = family(m.is_ipv6);
        let addresses = interface
            .addresses
            .iter()
            .filter(|prefix| prefix.family() == family);
        addresses
            .map(|prefix| IpAddressDetails {
                sw_if_index: m.sw_if_index,
                prefix: wire_prefix(*prefix),
            })
            .collect()
    });
    registry.dump(|core, m: IpUnnumberedDump| {
        let wanted = index(m.sw_if_index);
        core.vpp
            .interfaces()
            .filter(|i| wanted.is_none_or(|wanted| wanted == i.sw_if_index))
            .filter_map(|i| {
                let ip_sw_if_index = i.unnumbered_to?;
                Some(IpUnnumberedDetails {
                    sw_if_index: i.sw_if_index,
                    ip_sw_if_index,
                })
            })
            .collect()
    });
    registry.dump(|core, m: IpDump| {
        let family = family(m.is_ipv6);
        core.vpp
            .interfaces()
            .filter(|i| core.vpp.ip_active(i, family))
            .map(|i| IpDetails {
                sw_if_index: i.sw_if_index,
                is_ipv6: m.is_ipv6,
            })
            .collect()
    });
    registry.request(|core, m: SwInterfaceIp6GetLinkLocalAddress| {
        let interface = known(core, m.sw_if_index)?;
        if !core.vpp.ip_active(interface, Family::V6) {
            return Err(IP6_NOT_ENABLED.into());
        }
        Ok(SwInterfaceIp6GetLinkLocalAddressReply {
            retval: 0,
            ip: interface.link_local_address(),
        })
    });
    registry.ack(|core, m: SwInterfaceIp6SetLinkLocalAddress| {
        core.vpp.set_link_local_address(m.sw_if_index, m.ip)
    });
}

fn path_mtus(registry: &mut Registry) {
    registry.ack(|core, m: IpPathMtuUpdate| {
        core.vpp
            .path_mtu_update(m.pmtu.table_id, m.pmtu.nh, m.pmtu.path_mtu)
    });
    registry.ack(|core, _: IpPathMtuReplaceBegin| {
        core.vpp.path_mtu_replace_begin();
        Ok(())
    });
    registry.ack(|core, _: IpPathMtuReplaceEnd| {
        core.vpp.path_mtu_replace_end();
        Ok(())
    });
    registry.stream(
        |m: &IpPathMtuGet| m.cursor,
        |core, _| {
            let all = core.vpp.path_mtus().into_iter().map(|found| IpPathMtuDetails {
                pmtu: IpPathMtu {
                    table_id: found.table_id,
                    nh: found.peer,
                    path_mtu: found.mtu,
                    ..IpPathMtu::default()
                },
            });
            Ok((0..).zip(all).collect())
        },
    );
}
