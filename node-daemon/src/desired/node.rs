//! The node itself: gateway, uplink, host interface, tunnels, routes to peers.

use std::net::IpAddr;

use crds::Peer;
use crds::net::Cidr;
use crds::vpp_config::TransportMode;
use ipnet::IpNet;

use super::{Desired, Inputs, service};
use crate::addressing::{gateway, node_mac};
use crate::cluster::of_family;
use crate::objects::{Area, Device, Interface, Key, Link, Object, Path, TunnelId};

pub(super) fn add(inputs: &Inputs<'_>, out: &mut Desired) {
    add_gateway(inputs, out);
    add_uplink(inputs, out);
    add_host(inputs, out);
    for peer in inputs.cluster.peers_of(&inputs.local.node).into_values() {
        add_peer(inputs, peer, out);
    }
}

fn add_gateway(inputs: &Inputs<'_>, out: &mut Desired) {
    let device = Device::Loopback {
        mac: node_mac(&inputs.local.node, "gateway"),
    };
    add_interface(Link::Gateway, device, inputs.local.pod_mtu(inputs.spec), out);
    for cidr in &inputs.spec.node.pod_cidrs {
        if let Ok(address) = IpNet::new(gateway(cidr), cidr.prefix_len()) {
            out.put(Key::Address(Link::Gateway, address), Object::Present);
        }
    }
}

fn add_uplink(inputs: &Inputs<'_>, out: &mut Desired) {
    let Some(uplink) = &inputs.local.uplink else {
        if !inputs.cluster.peers_of(&inputs.local.node).is_empty() {
            out.pend(
                Area::Interfaces,
                "no uplink is configured: pods of other nodes cannot be reached".to_owned(),
            );
        }
        return;
    };
    let device = Device::AfPacket {
        host_if_name: uplink.interface.clone(),
        mac: node_mac(&inputs.local.node, "uplink"),
    };
    add_interface(Link::Uplink, device, uplink.mtu, out);
    for address in &uplink.addresses {
        out.put(Key::Address(Link::Uplink, *address), Object::Present);
    }
    for &next_hop in &uplink.gateways {
        let everything = match next_hop {
            IpAddr::V4(_) => IpNet::from(ipnet::Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::from(ipnet::Ipv6Net::default()),
        };
        out.put(
            Key::Route(Cidr::from(everything)),
            Object::Route(vec![Path::Via(Link::Uplink, next_hop)]),
        );
    }
}

/// The node's own addresses are behind the host interface, so that pods and the node's processes (kubelet's probes above
/// all) reach each other.
fn add_host(inputs: &Inputs<'_>, out: &mut Desired) {
    let Some(name) = &inputs.local.host_interface else {
        return;
    };
    let host_mac = node_mac(&inputs.local.node, "host side");
    let mac = node_mac(&inputs.local.node, "host");
    let device = match inputs.local.vpp_end() {
        None => Device::Tap {
            host_if_name: name.clone(),
            netns: None,
            mac,
            host_mac,
        },
        Some(host_if_name) => Device::AfPacket { host_if_name, mac },
    };
    add_interface(Link::Host, device, inputs.local.pod_mtu(inputs.spec), out);
    out.put(Key::Unnumbered(Link::Host), Object::Unnumbered(Link::Gateway));
    // An address that VPP has itself is VPP's.
    let own: Vec<IpAddr> = inputs
        .local
        .uplink
        .iter()
        .flat_map(|u| &u.addresses)
        .map(IpNet::addr)
        .collect();
    for &address in inputs.spec.node.addresses.iter().filter(|a| !own.contains(a)) {
        out.put(Key::Neighbour(Link::Host, address), Object::Neighbour(host_mac));
        out.put(
            Key::Route(Cidr::host(address)),
            Object::Route(vec![Path::Via(Link::Host, address)]),
        );
    }
    let everything = [
        IpNet::from(ipnet::Ipv4Net::default()),
        IpNet::from(ipnet::Ipv6Net::default()),
    ];
    for everything in everything {
        let ipv6 = everything.addr().is_ipv6();
        if let Some(address) = inputs.local.leaves_by_host(&inputs.spec.node.addresses, ipv6) {
            let path = Path::Via(Link::Host, address);
            out.put(Key::Route(Cidr::from(everything)), Object::Route(vec![path]));
        }
        if let Some(address) = inputs.local.kernel_address(&inputs.spec.node.addresses, ipv6) {
            let refusing = Key::Route(Cidr::host(service::refusing(ipv6)));
            out.put(refusing, Object::Route(vec![Path::Via(Link::Host, address)]));
        }
    }
}

fn add_peer(inputs: &Inputs<'_>, peer: &Peer, out: &mut Desired) {
    if inputs.local.uplink.is_none() {
        return;
    }
    let prefixes = peer
        .pod_cidrs
        .iter()
        .copied()
        .chain(peer.addresses.iter().map(|&a| Cidr::host(a)));
    match inputs.spec.transport.mode {
        TransportMode::Vxlan => {
            // A peer that has not reported an endpoint yet says so in its own status; here nothing is missing that
            // this node could do, and every node's status would move with one node's start.
            let Some((local, remote)) = tunnel_ends(inputs, peer) else {
                return;
            };
            for prefix in prefixes {
                // An endpoint that is also a node address must be reached outside the tunnel it is the end of.
                if prefix == Cidr::host(remote) {
                    continue;
                }
                let ipv6 = prefix.is_ipv6();
                let vni = inputs.spec.transport.vni + u32::from(ipv6);
                let link = add_tunnel(inputs, TunnelId { vni, remote }, local, ipv6, out);
                let Some(next_hop) = tunnel_next_hop(peer, remote, ipv6) else {
                    continue;
                };
                out.put(Key::Route(prefix), Object::Route(vec![Path::Via(link, next_hop)]));
            }
        }
        TransportMode::None => {
            for prefix in prefixes {
                let Some(next_hop) = of_family(&peer.tunnel_endpoints, prefix.is_ipv6()) else {
                    continue;
                };
                if prefix != Cidr::host(next_hop) {
                    let path = Path::Via(Link::Uplink, next_hop);
                    out.put(Key::Route(prefix), Object::Route(vec![path]));
                }
            }
        }
    }
}

/// Both ends of tunnels to a peer: of one family, IPv4 where both nodes have it.
pub(super) fn tunnel_ends(inputs: &Inputs<'_>, peer: &Peer) -> Option<(IpAddr, IpAddr)> {
    let own = inputs.local.tunnel_endpoints();
    [false, true]
        .into_iter()
        .find_map(|ipv6| Some((of_family(&own, ipv6)?, of_family(&peer.tunnel_endpoints, ipv6)?)))
}

/// Next hop of routes through a tunnel. The tunnel has one far end, so the address only has to be of the packets'
/// family: the far end's own where it is, else the peer's gateway.
pub(super) fn tunnel_next_hop(peer: &Peer, remote: IpAddr, ipv6: bool) -> Option<IpAddr> {
    if remote.is_ipv6() == ipv6 {
        return Some(remote);
    }
    peer.pod_cidrs
        .iter()
        .find(|cidr| cidr.is_ipv6() == ipv6)
        .map(gateway)
}

/// Adds a tunnel; `id.vni` is that of the inner family.
pub(super) fn add_tunnel(
    inputs: &Inputs<'_>,
    id: TunnelId,
    local: IpAddr,
    ipv6: bool,
    out: &mut Desired,
) -> Link {
    let link = Link::Tunnel(id);
    let device = Device::Vxlan { local, ipv6 };
    add_interface(link.clone(), device, inputs.local.pod_mtu(inputs.spec), out);
    // An interface without address does not forward: the tunnel borrows the uplink's, as its outer packets do.
    out.put(Key::Unnumbered(link.clone()), Object::Unnumbered(Link::Uplink));
    link
}

pub(super) fn add_interface(link: Link, device: Device, mtu: u32, out: &mut Desired) {
    let interface = Interface {
        device,
        mtu,
        complete: true,
    };
    out.put(Key::Interface(link.clone()), Object::Interface(interface));
    out.put(Key::Up(link), Object::Present);
}

#[cfg(test)]
mod tests;
