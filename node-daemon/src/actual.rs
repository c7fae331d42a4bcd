//! What is in VPP: dumps turned into objects.
//!
//! Ours are interfaces and ACLs with a tag of ours, and whatever hangs on such an interface: addresses, borrowed
//! addresses, static neighbours, routes of API source through it, ACL lists, forwarding policies with an id of ours.
//! By their nature ours are ICMP-unreachable host routes of API source, and all of cnat: nothing else on a node may
//! configure it. Everything else is left alone.
//!
//! Interfaces that a crash left without a tag are known again by what they are made of.

mod links;
mod rules;
mod services;

pub use services::connected;

use std::collections::BTreeSet;

use crds::net::Cidr;
use vpp_api::messages::{interface, ip, ip_neighbor};
use vpp_api::types::{AddressFamily, FibPath, FibPathType, IfStatusFlags, IpTable, NO_INDEX, Prefix};

use crate::apply::State;
use crate::objects::{Key, Link, Object, Path};
use crate::plan::Objects;
use crate::vpp::Vpp;

/// FIB source of what is set through the API (VPP: `FIB_SOURCE_API`).
const SOURCE_API: u8 = 8;

/// What cannot be read from VPP and is remembered instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Destinations excluded from source NAT: cnat has no dump of them.
    pub excluded: BTreeSet<Cidr>,
}

/// Reads VPP. `wanted` says what our interfaces are made of, for those without a tag, and which routes are ours
/// whatever they look like.
///
/// # Errors
/// When the connection breaks, or VPP answers a dump with an error.
pub async fn read(vpp: &Vpp, wanted: &Objects, remembered: &Remembered) -> vpp_api::Result<State> {
    let mut state = State::default();
    links::read(vpp, wanted, &mut state).await?;
    read_addresses(vpp, &mut state).await?;
    read_neighbours(vpp, &mut state).await?;
    read_routes(vpp, wanted, &mut state).await?;
    rules::read(vpp, &mut state).await?;
    services::read(vpp, remembered, &mut state).await?;
    Ok(state)
}

impl State {
    /// The link that has an index.
    fn link(&self, index: u32) -> Option<&Link> {
        self.handles
            .links
            .iter()
            .find(|(_, i)| **i == index)
            .map(|(link, _)| link)
    }
}

/// Addresses are only ever on links of the node; pods' links borrow.
async fn read_addresses(vpp: &Vpp, state: &mut State) -> vpp_api::Result<()> {
    let owners: Vec<(Link, u32)> = [Link::Gateway, Link::Uplink, Link::Host]
        .into_iter()
        .filter_map(|link| Some((link.clone(), *state.handles.links.get(&link)?)))
        .collect();
    for (link, sw_if_index) in owners {
        for is_ipv6 in [false, true] {
            for details in vpp
                .client
                .dump(ip::IpAddressDump { sw_if_index, is_ipv6 })
                .await?
            {
                let Some(address) = ipnet(&details.prefix) else {
                    continue;
                };
                // IPv6 makes its link-local address itself.
                if matches!(address.addr(), std::net::IpAddr::V6(a) if a.is_unicast_link_local()) {
                    continue;
                }
                state
                    .objects
                    .insert(Key::Address(link.clone(), address), Object::Present);
            }
        }
    }
    for details in vpp
        .client
        .dump(ip::IpUnnumberedDump {
            sw_if_index: NO_INDEX,
        })
        .await?
    {
        let (Some(borrower), Some(lender)) = (
            state.link(details.sw_if_index),
            state.link(details.ip_sw_if_index),
        ) else {
            continue;
        };
        let (key, object) = (
            Key::Unnumbered(borrower.clone()),
            Object::Unnumbered(lender.clone()),
        );
        state.objects.insert(key, object);
    }
    Ok(())
}

async fn read_neighbours(vpp: &Vpp, state: &mut State) -> vpp_api::Result<()> {
    for af in [AddressFamily::ADDRESS_IP4, AddressFamily::ADDRESS_IP6] {
        let dump = ip_neighbor::IpNeighborDump {
            sw_if_index: NO_INDEX,
            af,
        };
        for details in vpp.client.dump(dump).await? {
            let neighbour = details.neighbor;
            let fixed = ip_neighbor::IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC;
            if neighbour.flags.0 & fixed.0 == 0 {
                continue;
            }
            let Some(link) = state.link(neighbour.sw_if_index).cloned() else {
                continue;
            };
            state.objects.insert(
                Key::Neighbour(link, neighbour.ip_address),
                Object::Neighbour(neighbour.mac_address),
            );
        }
    }
    Ok(())
}

async fn read_routes(vpp: &Vpp, wanted: &Objects, state: &mut State) -> vpp_api::Result<()> {
    for is_ip6 in [false, true] {
        let table = IpTable {
            table_id: 0,
            is_ip6,
            ..IpTable::default()
        };
        let dump = ip::IpRouteV2Dump { src: 0, table };
        for details in vpp.client.dump(dump).await? {
            let route = details.route;
            if route.src != SOURCE_API {
                continue;
            }
            let Some(prefix) = ipnet(&route.prefix).map(Cidr::from) else {
                continue;
            };
            let mut paths: Vec<Path> = route.paths.iter().map(|path| self::path(state, path)).collect();
            paths.sort();
            let host = prefix == Cidr::host(prefix.network());
            let ours = paths.iter().any(|path| path.link().is_some())
                || (host && paths == [Path::Unreachable])
                || wanted.contains_key(&Key::Route(prefix));
            if ours {
                state.objects.insert(Key::Route(prefix), Object::Route(paths));
            }
        }
    }
    Ok(())
}

/// A path as VPP tells it.
fn path(state: &State, path: &FibPath) -> Path {
    match path.type_ {
        FibPathType::FIB_API_PATH_TYPE_NORMAL => match (state.link(path.sw_if_index), path.next_hop()) {
            (Some(link), Some(hop)) if !hop.is_unspecified() => Path::Via(link.clone(), hop),
            (Some(link), _) => Path::Attached(link.clone()),
            (None, _) => Path::Foreign,
        },
        FibPathType::FIB_API_PATH_TYPE_DROP => Path::Drop,
        FibPathType::FIB_API_PATH_TYPE_ICMP_UNREACH => Path::Unreachable,
        _ => Path::Foreign,
    }
}

fn ipnet(prefix: &Prefix) -> Option<ipnet::IpNet> {
    ipnet::IpNet::new(prefix.address, prefix.len).ok()
}

fn is_up(details: &interface::SwInterfaceDetails) -> bool {
    details.flags.0 & IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP.0 != 0
}
