//! What is there within a namespace, and how it differs from what must be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use rtnetlink::packet_route::rule::RuleAttribute;
use rtnetlink::{Error, Handle, IpVersion, RouteMessageBuilder};

use super::PodSideError;
use super::apply::{Link, refused};
use super::plan::{Route, Step, Target};
use crate::attachments::mac_text;

/// The part of a namespace's state that the steps speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    links: BTreeMap<String, Link>,
    addresses: BTreeSet<(String, IpAddr)>,
    neighbours: BTreeMap<(String, IpAddr), Vec<u8>>,
    routes: BTreeSet<Route>,
    /// Interface of entry, table, IPv6.
    rules: BTreeSet<(String, u32, bool)>,
    sysctls: BTreeMap<String, String>,
}

/// Looks at all of it, with one dump per kind.
pub(super) async fn observe(kernel: &Handle) -> Result<Observed, PodSideError> {
    let mut seen = Observed::default();
    dumps(kernel, &mut seen)
        .await
        .map_err(refused("listing".to_owned()))?;
    for name in seen.links.keys().map(String::as_str).chain(["all"]) {
        for key in [
            format!("net/ipv4/conf/{name}/rp_filter"),
            format!("net/ipv6/conf/{name}/disable_ipv6"),
            format!("net/ipv6/conf/{name}/forwarding"),
        ] {
            read_sysctl(key, &mut seen.sysctls);
        }
    }
    read_sysctl("net/ipv4/ip_forward".to_owned(), &mut seen.sysctls);
    Ok(seen)
}

fn read_sysctl(key: String, into: &mut BTreeMap<String, String>) {
    if let Ok(value) = std::fs::read_to_string(format!("/proc/sys/{key}")) {
        into.insert(key, value.trim().to_owned());
    }
}

async fn dumps(kernel: &Handle, seen: &mut Observed) -> Result<(), Error> {
    let mut names = BTreeMap::new();
    let mut links = std::pin::pin!(kernel.link().get().execute());
    while let Some(message) = links.try_next().await? {
        let link = Link::from(message);
        names.insert(link.index, link.name.clone());
        seen.links.insert(link.name.clone(), link);
    }
    let name = |index: u32| names.get(&index).cloned().unwrap_or_default();

    let mut addresses = std::pin::pin!(kernel.address().get().execute());
    while let Some(message) = addresses.try_next().await? {
        let on = name(message.header.index);
        for attribute in message.attributes {
            if let AddressAttribute::Address(address) = attribute {
                seen.addresses.insert((on.clone(), address));
            }
        }
    }
    for version in [IpVersion::V4, IpVersion::V6] {
        let ipv6 = matches!(version, IpVersion::V6);
        let request = match ipv6 {
            false => RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            true => RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        };
        let mut routes = std::pin::pin!(kernel.route().get(request).execute());
        while let Some(message) = routes.try_next().await? {
            seen.routes.extend(route(&message, name));
        }
        let mut rules = std::pin::pin!(kernel.rule().get(version).execute());
        while let Some(message) = rules.try_next().await? {
            let mut table = u32::from(message.header.table);
            let mut entry = None;
            for attribute in message.attributes {
                match attribute {
                    RuleAttribute::Table(wide) => table = wide,
                    RuleAttribute::Iifname(name) => entry = Some(name),
                    _ => {}
                }
            }
            seen.rules.extend(entry.map(|entry| (entry, table, ipv6)));
        }
    }
    let mut neighbours = std::pin::pin!(kernel.neighbours().get().execute());
    while let Some(message) = neighbours.try_next().await? {
        if let Some((address, mac)) = permanent(&message) {
            let on = name(message.header.ifindex);
            seen.neighbours.insert((on, address), mac);
        }
    }
    Ok(())
}

fn route(message: &RouteMessage, name: impl Fn(u32) -> String) -> Option<Route> {
    let mut table = u32::from(message.header.table);
    let (mut ifname, mut gateway, mut destination) = (None, None, None);
    let plain = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(wide) => table = *wide,
            RouteAttribute::Oif(index) => ifname = Some(name(*index)),
            RouteAttribute::Gateway(address) => gateway = plain(address),
            RouteAttribute::Destination(address) => destination = plain(address),
            _ => {}
        }
    }
    let target = match (message.header.destination_prefix_length, gateway, destination) {
        (0, Some(gateway), _) => Target::Default(gateway),
        (32 | 128, None, Some(address)) => Target::OnLink(address),
        _ => return None,
    };
    Some(Route {
        table,
        ifname: ifname?,
        target,
    })
}

fn permanent(message: &NeighbourMessage) -> Option<(IpAddr, Vec<u8>)> {
    if message.header.state != NeighbourState::Permanent {
        return None;
    }
    let (mut address, mut mac) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = Some(bytes.clone()),
            _ => {}
        }
    }
    Some((address?, mac?))
}

/// What the steps ask for and `seen` has not, in words.
pub(super) fn differences(steps: &[Step], seen: &Observed) -> Vec<String> {
    steps.iter().filter_map(|step| missing(step, seen)).collect()
}

fn missing(step: &Step, seen: &Observed) -> Option<String> {
    match step {
        // Those that only matter while an interface comes up are not looked at.
        Step::Sysctl { key, value } => seen
            .sysctls
            .get(key)
            .filter(|now| now != value)
            .map(|now| format!("{key} is {now}, not {value}")),
        Step::Link { ifname, mac, mtu } => link_differs(seen.links.get(ifname), ifname, *mac, *mtu),
        Step::Address { ifname, address } => {
            let there = seen.addresses.contains(&(ifname.clone(), *address));
            (!there).then(|| format!("{ifname} has no address {address}"))
        }
        Step::Neighbour { ifname, address, mac } => {
            let there = seen.neighbours.get(&(ifname.clone(), *address));
            (there.is_none_or(|now| now != mac)).then(|| {
                let mac = mac_text(*mac);
                format!("{ifname} has no permanent neighbour {address} at {mac}")
            })
        }
        Step::Route(route) => (!seen.routes.contains(route)).then(|| match route.target {
            Target::OnLink(address) => {
                format!(
                    "table {} has no route to {address} by {}",
                    route.table, route.ifname
                )
            }
            Target::Default(gateway) => format!(
                "table {} has no default route via {gateway} by {}",
                route.table, route.ifname
            ),
        }),
        Step::Rule {
            ifname, table, ipv6, ..
        } => {
            let there = seen.rules.contains(&(ifname.clone(), *table, *ipv6));
            let family = if *ipv6 { "IPv6" } else { "IPv4" };
            (!there).then(|| format!("no {family} rule sends what enters by {ifname} to table {table}"))
        }
    }
}

fn link_differs(link: Option<&Link>, ifname: &str, mac: Option<[u8; 6]>, mtu: Option<u32>) -> Option<String> {
    let Some(link) = link else {
        return Some(format!("there is no interface {ifname}"));
    };
    if !link.up {
        return Some(format!("{ifname} is down"));
    }
    if let Some(mac) = mac
        && link.mac != mac
    {
        let wanted = mac_text(mac);
        return Some(format!("{ifname} has another hardware address than {wanted}"));
    }
    // A plugin behind this one may have made it smaller; larger packets would be lost.
    mtu.filter(|mtu| link.mtu > *mtu)
        .map(|mtu| format!("{ifname} has an MTU of {}, more than {mtu}", link.mtu))
}
