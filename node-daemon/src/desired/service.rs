//! Services as cnat translations (design §6).

use std::collections::BTreeMap;
use std::net::IpAddr;

use crds::net::{Cidr, Protocol};
use crds::vpp_config::TransportMode;
use crds::{Backend, VppServiceSliceSpec};

use super::{Desired, Inputs};
use crate::addressing;
use crate::cluster::of_family;
use crate::objects::{Area, CnatRole, Key, Link, Object, Path, SnatAddresses, Translation, Vip};

pub(super) fn add(inputs: &Inputs<'_>, out: &mut Desired) {
    if !inputs.local.cnat {
        if !inputs.cluster.services.is_empty() {
            out.pend(Area::Services, "this VPP has no cnat plugin".to_owned());
        }
        return;
    }
    add_source_nat(inputs, out);
    add_features(inputs, out);
    let mut unreachable: BTreeMap<IpAddr, ()> = BTreeMap::new();
    for (name, slices) in inputs.cluster.services() {
        add_service(&name, &slices, &mut unreachable, out);
    }
    for address in unreachable.into_keys() {
        out.put(
            Key::Route(Cidr::host(address)),
            Object::Route(vec![Path::Unreachable]),
        );
    }
}

/// Addresses that stand in for clients: the uplink's, where replies from the outside find back to; else the gateway's.
pub(super) fn snat_addresses(inputs: &Inputs<'_>) -> [Option<IpAddr>; 2] {
    let underlay = inputs.local.tunnel_endpoints();
    let gateways: Vec<IpAddr> = addressing::gateways(inputs.spec).collect();
    [false, true].map(|ipv6| of_family(&underlay, ipv6).or_else(|| of_family(&gateways, ipv6)))
}

/// Pods keep their address towards pods and nodes. Excluded are destinations, so other nodes' prefixes as well.
fn add_source_nat(inputs: &Inputs<'_>, out: &mut Desired) {
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

/// cnat on pods', host's and the transport's interfaces; not on functions' and hops' (a function between would see
/// the two directions of a connection under different addresses).
fn add_features(inputs: &Inputs<'_>, out: &mut Desired) {
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
            _ => None,
        })
        .collect();
    for (link, role) in roles {
        out.put(Key::CnatFeature(link), Object::CnatFeature(role));
    }
}

fn add_service(
    name: &str,
    slices: &[&VppServiceSliceSpec],
    unreachable: &mut BTreeMap<IpAddr, ()>,
    out: &mut Desired,
) {
    let Some(first) = slices.first() else { return };
    for frontend in &first.frontends {
        for (index, port) in first.ports.iter().enumerate() {
            if port.protocol == Protocol::Sctp {
                out.pend(
                    Area::Services,
                    format!(
                        "service {name}: VPP's cnat carries TCP and UDP, not SCTP port {}",
                        port.port
                    ),
                );
                continue;
            }
            let vip = Vip {
                address: frontend.address,
                port: port.port,
                protocol: port.protocol,
            };
            let backends = backends(slices, index, frontend.address.is_ipv6());
            if backends.is_empty() {
                // Clients fail at once instead of timing out. Translated packets never get as far as this route.
                unreachable.insert(frontend.address, ());
                continue;
            }
            out.put(
                Key::Translation(vip),
                Object::Translation(Translation {
                    backends,
                    affinity: first.affinity_seconds.is_some(),
                }),
            );
        }
    }
}

/// Backends of a port: all that are ready; if none is, those that still serve while they terminate (KEP-1669).
fn backends(slices: &[&VppServiceSliceSpec], index: usize, ipv6: bool) -> Vec<(IpAddr, u16)> {
    let of = |wanted: fn(&Backend) -> bool| -> Vec<(IpAddr, u16)> {
        let mut found: Vec<(IpAddr, u16)> = slices
            .iter()
            .flat_map(|slice| &slice.backends)
            .filter(|backend| backend.address.is_ipv6() == ipv6 && wanted(backend))
            .filter_map(|backend| {
                let port = backend.ports.get(index).copied().filter(|port| *port != 0)?;
                Some((backend.address, port))
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    let ready = of(|backend| backend.ready);
    if ready.is_empty() {
        of(|backend| backend.serving && backend.terminating)
    } else {
        ready
    }
}
