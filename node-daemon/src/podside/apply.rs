//! Carrying out the steps.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{Error, Handle, LinkUnspec, RouteMessageBuilder};

use super::PodSideError;
use super::plan::{Route, Step, Target};

/// Carries out the steps in their order, once all their interfaces are known to exist.
pub(super) async fn run(kernel: &Handle, steps: &[Step]) -> Result<(), PodSideError> {
    let mut links = BTreeMap::new();
    for step in steps {
        if let Step::Link { ifname, .. } = step {
            let found = link(kernel, ifname).await?;
            let found = found.ok_or_else(|| PodSideError::Missing(ifname.clone()))?;
            links.insert(ifname.as_str(), found);
        }
    }
    for step in steps {
        match step {
            Step::Sysctl { key, value } => write_sysctl(key, value)?,
            Step::Link { ifname, mac, mtu } => {
                bring_up(kernel, known(&links, ifname)?, *mac, *mtu).await?;
            }
            Step::Address { ifname, address } => {
                add_address(kernel, known(&links, ifname)?.index, *address).await?;
            }
            Step::Neighbour { ifname, address, mac } => {
                let index = known(&links, ifname)?.index;
                let request = kernel.neighbours().add(index, *address);
                let done = request.link_layer_address(mac).replace().execute().await;
                done.map_err(refused(format!("neighbour {address} on {ifname}")))?;
            }
            Step::Route(route) => {
                let message = message(route, known(&links, &route.ifname)?.index);
                let done = kernel.route().add(message).replace().execute().await;
                done.map_err(refused(format!(
                    "route {:?} by {} in table {}",
                    route.target, route.ifname, route.table
                )))?;
            }
            Step::Rule {
                ifname,
                table,
                priority,
                ipv6,
            } => add_rule(kernel, ifname, *table, *priority, *ipv6).await?,
        }
    }
    Ok(())
}

fn known<'a>(links: &'a BTreeMap<&str, Link>, ifname: &str) -> Result<&'a Link, PodSideError> {
    let found = links.get(ifname);
    found.ok_or_else(|| PodSideError::Missing(ifname.to_owned()))
}

/// What matters of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Vec<u8>,
    pub(super) mtu: u32,
    pub(super) up: bool,
    pub(super) veth: bool,
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(mac) => link.mac = mac,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::LinkInfo(info) => {
                    link.veth = info.contains(&LinkInfo::Kind(InfoKind::Veth));
                }
                _ => {}
            }
        }
        link
    }
}

/// The interface of this name, if there is one.
pub(super) async fn link(kernel: &Handle, name: &str) -> Result<Option<Link>, PodSideError> {
    let mut found = kernel.link().get().match_name(name).execute();
    match found.try_next().await {
        Ok(message) => Ok(message.map(Link::from)),
        Err(error) if errno(&error) == Some(nix::libc::ENODEV) => Ok(None),
        Err(error) => Err(refused(format!("looking for {name}"))(error)),
    }
}

async fn bring_up(
    kernel: &Handle,
    link: &Link,
    mac: Option<[u8; 6]>,
    mtu: Option<u32>,
) -> Result<(), PodSideError> {
    let mut change = LinkUnspec::new_with_index(link.index).up();
    if let Some(mac) = mac.filter(|mac| link.mac != mac) {
        change = change.address(mac.to_vec());
    }
    if let Some(mtu) = mtu.filter(|mtu| link.mtu != *mtu) {
        change = change.mtu(mtu);
    }
    let done = kernel.link().set(change.build()).execute().await;
    done.map_err(refused(format!("bringing {} up", link.name)))
}

async fn add_address(kernel: &Handle, index: u32, address: IpAddr) -> Result<(), PodSideError> {
    let length = if address.is_ipv6() { 128 } else { 32 };
    let mut request = kernel.address().add(index, address, length).replace();
    if address.is_ipv6() {
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
    }
    let done = request.execute().await;
    done.map_err(refused(format!("address {address}")))
}

fn message(route: &Route, index: u32) -> RouteMessage {
    // Both families have the same methods on different types.
    macro_rules! build {
        ($family:ty, $target:expr, $length:literal) => {{
            let builder = RouteMessageBuilder::<$family>::new()
                .output_interface(index)
                .table_id(route.table)
                .protocol(RouteProtocol::Boot);
            match $target {
                (false, address) => builder
                    .scope(RouteScope::Link)
                    .destination_prefix(address, $length)
                    .build(),
                (true, gateway) => builder.gateway(gateway).onlink().build(),
            }
        }};
    }
    let (default, address) = match route.target {
        Target::OnLink(address) => (false, address),
        Target::Default(gateway) => (true, gateway),
    };
    match address {
        IpAddr::V4(address) => build!(Ipv4Addr, (default, address), 32),
        IpAddr::V6(address) => build!(Ipv6Addr, (default, address), 128),
    }
}

async fn add_rule(
    kernel: &Handle,
    ifname: &str,
    table: u32,
    priority: u32,
    ipv6: bool,
) -> Result<(), PodSideError> {
    let request = kernel
        .rule()
        .add()
        .input_interface(ifname)
        .table_id(table)
        .priority(priority)
        .action(RuleAction::ToTable);
    let done = match ipv6 {
        false => request.v4().execute().await,
        true => request.v6().execute().await,
    };
    match done {
        // Rules have no replace: without EXCL the kernel adds an equal one again.
        Err(error) if errno(&error) == Some(nix::libc::EEXIST) => Ok(()),
        done => done.map_err(refused(format!("rule for what enters by {ifname}"))),
    }
}

fn write_sysctl(key: &str, value: &str) -> Result<(), PodSideError> {
    let path = format!("/proc/sys/{key}");
    // A parameter that has its value already may be on a read-only mount.
    if std::fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|source| PodSideError::Kernel {
        what: format!("setting {key} to {value}"),
        source,
    })
}

/// Turns IPv6 off on an interface; where the kernel has none, it is off already.
pub(super) fn silence_ipv6(ifname: &str) -> Result<(), PodSideError> {
    if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
        return Ok(());
    }
    write_sysctl(&format!("net/ipv6/conf/{ifname}/disable_ipv6"), "1")
}

/// The kernel's error number, if it is the kernel that refused.
pub(super) fn errno(error: &Error) -> Option<i32> {
    match error {
        Error::NetlinkError(message) => message.code.map(|code| -code.get()),
        _ => None,
    }
}

pub(super) fn refused(what: String) -> impl FnOnce(Error) -> PodSideError {
    move |error| PodSideError::Kernel {
        what,
        source: match errno(&error) {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::other(error.to_string()),
        },
    }
}
