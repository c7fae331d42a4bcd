//! The node's own side of its interface to VPP: routes to all pods and to the Services in front of them, so that the node
//! (kubelet's probes above all) and pods reach each other. The node's other connections never depend on VPP.
//!
//! Routes carry a protocol number of ours: by it those that are no longer wanted are found. They go with the interface, a tap
//! goes with VPP. [`pair`] makes the interface where there is no tap, [`nat`] is what the kernel translates between the world,
//! itself and VPP.

pub mod nat;
pub mod pair;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::VppConfigSpec;
use crds::net::Cidr;
use futures::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use crate::addressing::{gateway, node_mac};
use crate::cluster::{Cluster, of_family};
use crate::desired::{HostServices, Local, service};
use crate::podside::PodSideError;

/// Protocol number of our routes: above those that iproute2 and routing daemons use.
const PROTOCOL: u8 = 196;

/// What the node's side of its interface to VPP should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSide {
    /// Name of the interface on the node.
    pub ifname: String,
    /// Name of VPP's end of it, where it is a veth pair.
    pub vpp_end: Option<String>,
    /// Its MTU.
    pub mtu: u32,
    /// VPP's gateways and the hardware address behind which they are.
    pub gateways: Vec<IpAddr>,
    /// Hardware address of VPP's end.
    pub gateway_mac: [u8; 6],
    /// Prefixes of pods of all nodes and Services' addresses, with gateway and, where the node has one, source address.
    pub routes: BTreeSet<Route>,
    /// What the kernel translates.
    pub nat: nat::Table,
}

/// Destination, gateway, source address.
pub type Route = (Cidr, IpAddr, Option<IpAddr>);

/// Something the kernel refused.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The interface is not there.
    #[error("there is no interface {0}")]
    Missing(String),
    /// The veth pair.
    #[error(transparent)]
    Pair(#[from] PodSideError),
    /// A request failed.
    #[error("{what}: {source}")]
    Kernel {
        /// What was asked.
        what: String,
        /// What the kernel says.
        source: rtnetlink::Error,
    },
    /// A setting of the kernel can't be changed.
    #[error("{path}: {source}")]
    Sysctl {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// nft cannot be run.
    #[error("nft cannot be run, is nftables installed? {0}")]
    Nft(std::io::Error),
    /// nft refused.
    #[error("nft: {0}")]
    Refused(String),
    /// There is no netlink.
    #[error("opening netlink: {0}")]
    Open(std::io::Error),
}

/// What the node's side should be; `None` where the node does without.
pub fn host_side(
    spec: &VppConfigSpec,
    cluster: &Cluster,
    local: &Local,
    services: &HostServices,
) -> Option<HostSide> {
    let ifname = local.host_interface.clone()?;
    let gateways: Vec<IpAddr> = spec.node.pod_cidrs.iter().map(gateway).collect();
    let peers = cluster.peers_of(&local.node);
    let prefixes: BTreeSet<Cidr> = spec
        .node
        .pod_cidrs
        .iter()
        .chain(peers.values().flat_map(|peer| &peer.pod_cidrs))
        .copied()
        .collect();
    let vips: BTreeSet<Cidr> = services.vips.iter().map(|&address| Cidr::host(address)).collect();
    let routes = prefixes
        .iter()
        .chain(&vips)
        .filter_map(|prefix| {
            let via = of_family(&gateways, prefix.is_ipv6())?;
            Some((*prefix, via, of_family(&spec.node.addresses, prefix.is_ipv6())))
        })
        .collect();
    let pods = &spec.node.pod_cidrs;
    let table = nat::Table {
        addresses: [false, true]
            .iter()
            .filter_map(|&ipv6| of_family(&spec.node.addresses, ipv6))
            .collect(),
        // Where pods' answers leave by VPP's uplink, a host port's client must look like the node to be answered by it.
        kept: pods
            .iter()
            .filter(|cidr| !local.replies_stray(cidr.is_ipv6()))
            .copied()
            .chain(service::kept())
            .collect(),
        nodes: peers
            .values()
            .flat_map(|peer| peer.addresses.iter().copied())
            .collect(),
        masqueraded: pods
            .iter()
            .filter(|cidr| {
                local
                    .leaves_by_host(&spec.node.addresses, cidr.is_ipv6())
                    .is_some()
            })
            .copied()
            .collect(),
        rules: services.nat.clone(),
        ifname: ifname.clone(),
    };
    Some(HostSide {
        vpp_end: local.vpp_end(),
        ifname,
        mtu: local.pod_mtu(spec),
        gateways,
        gateway_mac: node_mac(&local.node, "host").0,
        routes,
        nat: table,
    })
}

/// MTU of an interface of the node, if there is such an interface.
pub fn interface_mtu(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/sys/class/net/{name}/mtu"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Makes the node's side as it should be. May be repeated.
///
/// # Errors
/// At the first request the kernel refuses.
pub async fn configure(side: &HostSide) -> Result<(), HostError> {
    let (connection, kernel, _) = rtnetlink::new_connection().map_err(HostError::Open)?;
    let connection = tokio::spawn(connection);
    let outcome = configure_with(&kernel, side).await;
    connection.abort();
    outcome
}

async fn configure_with(kernel: &Handle, side: &HostSide) -> Result<(), HostError> {
    let index = bring_up(kernel, &side.ifname, side.mtu).await?;
    if let Some(end) = &side.vpp_end {
        bring_up(kernel, end, side.mtu).await?;
    }
    for &gateway in &side.gateways {
        let request = kernel
            .neighbours()
            .add(index, gateway)
            .link_layer_address(&side.gateway_mac);
        request
            .replace()
            .execute()
            .await
            .map_err(refused(format!("neighbour {gateway}")))?;
    }
    let present = own_routes(kernel, Some(index)).await?;
    let there: BTreeSet<Route> = present.iter().filter_map(as_route).collect();
    for &(prefix, via, source) in side.routes.difference(&there) {
        let add = |source| {
            let route = route(index, prefix, via, source);
            kernel.route().add(route).replace().execute()
        };
        let mut done = add(source).await;
        if done.is_err() && source.is_some() {
            // The node's address is not on this host (yet): a route without it is better than none.
            done = add(None).await;
        }
        done.map_err(refused(format!("route {prefix} via {via}")))?;
    }
    let wanted: BTreeSet<Cidr> = side.routes.iter().map(|(prefix, ..)| *prefix).collect();
    for old in present {
        if as_route(&old).is_some_and(|(prefix, ..)| !wanted.contains(&prefix)) {
            kernel
                .route()
                .del(old)
                .execute()
                .await
                .map_err(refused("removing an old route"))?;
        }
    }
    let on_loopback = side.nat.rules.host_ports.on_ipv4_loopback();
    if on_loopback {
        // Before the way is open, the table that closes it to pods.
        nat::replace(&side.nat).await?;
        return route_localnet(&side.ifname, true);
    }
    route_localnet(&side.ifname, false)?;
    nat::replace(&side.nat).await
}

/// Returns the interface's index.
async fn bring_up(kernel: &Handle, name: &str, mtu: u32) -> Result<u32, HostError> {
    let index = index(kernel, name).await?;
    let change = LinkUnspec::new_with_index(index).up().mtu(mtu).build();
    let done = kernel.link().set(change).execute().await;
    done.map_err(refused(format!("bringing {name} up")))?;
    Ok(index)
}

/// Whether packets between the node's loopback addresses and VPP are routed (`route_localnet` of the kernel's
/// ip-sysctl documentation): a host port is on 127.0.0.1 too.
fn route_localnet(ifname: &str, on: bool) -> Result<(), HostError> {
    let path = format!("/proc/sys/net/ipv4/conf/{ifname}/route_localnet");
    let wanted = if on { "1" } else { "0" };
    let write = || {
        // A container's /proc/sys may be read-only: no write where there is nothing to change.
        if std::fs::read_to_string(&path)?.trim() == wanted {
            return Ok(());
        }
        std::fs::write(&path, wanted)
    };
    write().map_err(|source| HostError::Sysctl {
        path: path.clone(),
        source,
    })
}

async fn index(kernel: &Handle, name: &str) -> Result<u32, HostError> {
    let mut found = kernel.link().get().match_name(name.to_owned()).execute();
    match found.try_next().await {
        Ok(Some(message)) => {
            let named = message
                .attributes
                .iter()
                .any(|a| matches!(a, LinkAttribute::IfName(of) if of == name));
            if named {
                Ok(message.header.index)
            } else {
                Err(HostError::Missing(name.to_owned()))
            }
        }
        Ok(None) | Err(_) => Err(HostError::Missing(name.to_owned())),
    }
}

fn route(index: u32, prefix: Cidr, via: IpAddr, source: Option<IpAddr>) -> RouteMessage {
    macro_rules! build {
        ($family:ty, $network:expr, $via:expr, $source:expr) => {{
            let mut builder = RouteMessageBuilder::<$family>::new()
                .output_interface(index)
                .destination_prefix($network, prefix.prefix_len())
                .gateway($via)
                .onlink()
                .protocol(RouteProtocol::Other(PROTOCOL));
            if let Some(source) = $source {
                builder = builder.pref_source(source);
            }
            builder.build()
        }};
    }
    match (prefix.network(), via, source) {
        (IpAddr::V4(network), IpAddr::V4(via), Some(IpAddr::V4(source))) => {
            build!(Ipv4Addr, network, via, Some(source))
        }
        (IpAddr::V6(network), IpAddr::V6(via), Some(IpAddr::V6(source))) => {
            build!(Ipv6Addr, network, via, Some(source))
        }
        (IpAddr::V4(network), IpAddr::V4(via), _) => build!(Ipv4Addr, network, via, None),
        (IpAddr::V6(network), IpAddr::V6(via), _) => build!(Ipv6Addr, network, via, None),
        // `host_side` pairs families.
        _ => RouteMessage::default(),
    }
}

/// Takes back everything this daemon, or one before it, put into the node's network namespace: routes, the table, and the
/// veth pair of this name if there is one. What VPP made goes with VPP.
///
/// # Errors
/// At the first request the kernel refuses.
pub async fn clean(host_interface: &str) -> Result<(), HostError> {
    let (connection, kernel, _) = rtnetlink::new_connection().map_err(HostError::Open)?;
    let connection = tokio::spawn(connection);
    let routes = async {
        for route in own_routes(&kernel, None).await? {
            let gone = kernel.route().del(route).execute().await;
            gone.map_err(refused("removing a route"))?;
        }
        Ok(())
    };
    let outcome = routes.await;
    connection.abort();
    // All are tried: the one does not need the other.
    nat::remove()
        .await
        .and(pair::remove(host_interface).await)
        .and(outcome)
}

/// Routes of ours, by this interface if one is given.
async fn own_routes(kernel: &Handle, index: Option<u32>) -> Result<Vec<RouteMessage>, HostError> {
    let mut own = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        let mut routes = kernel.route().get(filter).execute();
        while let Some(message) = routes.try_next().await.map_err(refused("listing routes"))? {
            if message.header.protocol == RouteProtocol::Other(PROTOCOL)
                && index.is_none_or(|index| message.attributes.contains(&RouteAttribute::Oif(index)))
            {
                own.push(message);
            }
        }
    }
    Ok(own)
}

fn as_route(message: &RouteMessage) -> Option<Route> {
    let address = |address: &RouteAddress| match address {
        RouteAddress::Inet(a) => Some(IpAddr::from(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::from(*a)),
        _ => None,
    };
    let (mut destination, mut gateway, mut source) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(a) => destination = address(a),
            RouteAttribute::Gateway(a) => gateway = address(a),
            RouteAttribute::PrefSource(a) => source = address(a),
            _ => {}
        }
    }
    let prefix = ipnet::IpNet::new(destination?, message.header.destination_prefix_length).ok()?;
    Some((Cidr::from(prefix), gateway?, source))
}

fn refused(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> HostError {
    let what = what.into();
    move |source| HostError::Kernel { what, source }
}
