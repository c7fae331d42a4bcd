//! Which clients keep their address, and where cnat looks at packets.

use std::net::IpAddr;

use crds::net::Cidr;
use crds::vpp_config::TransportMode;

use super::stand_ins;
use crate::addressing;
use crate::cluster::of_family;
use crate::desired::{Desired, Inputs};
use crate::objects::{Area, CnatRole, Key, Link, Object, SnatAddresses};

/// Addresses that stand in for clients: one to which replies find back through cnat. That is the uplink's where cnat is
/// on it, else the gateway's, which all nodes reach by the tunnels.
pub(in crate::desired) fn snat_addresses(inputs: &Inputs<'_>) -> [Option<IpAddr>; 2] {
    let underlay = match inputs.spec.transport.mode {
        TransportMode::None => inputs.local.tunnel_endpoints(),
        TransportMode::Vxlan => Vec::new(),
    };
    let gateways: Vec<IpAddr> = addressing::gateways(inputs.spec).collect();
    [false, true].map(|ipv6| of_family(&underlay, ipv6).or_else(|| of_family(&gateways, ipv6)))
}

/// Pods keep their address towards pods and nodes. Excluded are destinations, so other nodes' prefixes as well.
pub(super) fn add(inputs: &Inputs<'_>, out: &mut Desired) {
    let mut addresses = SnatAddresses { v4: None, v6: None };
    for address in snat_addresses(inputs).into_iter().flatten() {
        match address {
            IpAddr::V4(a) => addresses.v4 = Some(a),
            IpAddr::V6(a) => addresses.v6 = Some(a),
        }
    }
    if addresses.v4.is_none() && addresses.v6.is_none() {
        out.pend(
            Area::Services,
            "the node has neither pod prefixes nor an uplink address".to_owned(),
        );
        return;
    }
    out.put(Key::CnatSnat, Object::CnatSnat(addresses));
    let node = &inputs.spec.node;
    let mut excluded: Vec<Cidr> = node.pod_cidrs.clone();
    excluded.extend(node.addresses.iter().map(|&a| Cidr::host(a)));
    excluded.extend(inputs.local.tunnel_endpoints().into_iter().map(Cidr::host));
    if inputs.local.host_interface.is_some() {
        excluded.extend([false, true].map(|ipv6| Cidr::host(stand_ins::refusing(ipv6))));
    }
    for peer in inputs.cluster.peers_of(&inputs.local.node).into_values() {
        excluded.extend(&peer.pod_cidrs);
        excluded.extend(
            peer.addresses
                .iter()
                .chain(&peer.tunnel_endpoints)
                .map(|&a| Cidr::host(a)),
        );
    }
    for prefix in excluded {
        out.put(Key::CnatExclude(prefix), Object::Present);
    }
}

/// cnat on pods', host's and the transport's interfaces. On functions' and hops' nothing is translated: a function between
/// would see the two directions of a connection under different addresses.
pub(super) fn add_features(inputs: &Inputs<'_>, out: &mut Desired) {
    if !out.objects.contains_key(&Key::CnatSnat) {
        return;
    }
    let transport = [inputs.spec.transport.vni, inputs.spec.transport.vni + 1];
    let roles: Vec<(Link, CnatRole)> = out
        .objects
        .keys()
        .filter_map(|key| match key {
            Key::Interface(link @ Link::Pod(_)) => Some((link.clone(), CnatRole::Pod)),
            Key::Interface(Link::Host) => Some((Link::Host, CnatRole::Host)),
            Key::Interface(link @ Link::Tunnel(id)) if transport.contains(&id.vni) => {
                Some((link.clone(), CnatRole::Underlay))
            }
            Key::Interface(Link::Uplink) if inputs.spec.transport.mode == TransportMode::None => {
                Some((Link::Uplink, CnatRole::Underlay))
            }
            Key::Interface(link @ (Link::Function(..) | Link::Tunnel(_))) if inputs.local.cnat_v1 => {
                Some((link.clone(), CnatRole::Passage))
            }
            _ => None,
        })
        .collect();
    for (link, role) in roles {
        out.put(Key::CnatFeature(link), Object::CnatFeature(role));
    }
}
