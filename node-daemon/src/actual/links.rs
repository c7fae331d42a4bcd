//! Interfaces from dumps.

use std::collections::BTreeMap;

use vpp_api::messages::interface::{SwInterfaceDetails, SwInterfaceDump};
use vpp_api::messages::{af_packet, memif, tapv2, vxlan};
use vpp_api::types::NO_INDEX;

use super::is_up;
use crate::apply::State;
use crate::objects::{Device, Interface, Key, Link, Object, TunnelId};
use crate::plan::Objects;
use crate::vpp::Vpp;

/// What an interface is made of and, for tunnels, which one it is.
struct Made {
    device: Device,
    tunnel: Option<TunnelId>,
}

pub(super) async fn read(vpp: &Vpp, wanted: &Objects, state: &mut State) -> vpp_api::Result<()> {
    let dump = SwInterfaceDump {
        sw_if_index: NO_INDEX,
        ..SwInterfaceDump::default()
    };
    let interfaces = vpp.client.dump(dump).await?;
    let made = devices(vpp, &interfaces, state).await?;
    for details in &interfaces {
        let Some(made) = made.get(&details.sw_if_index) else {
            continue;
        };
        let tagged = Link::from_tag(&details.tag);
        let complete = tagged.is_some();
        let Some(link) = tagged.or_else(|| untagged(details, made, wanted)) else {
            continue;
        };
        if state.handles.links.contains_key(&link) {
            tracing::warn!(interface = details.interface_name, %link, "second interface for a link, left alone");
            continue;
        }
        state.handles.links.insert(link.clone(), details.sw_if_index);
        let interface = Interface {
            device: made.device.clone(),
            mtu: details.mtu[0],
            complete,
        };
        state
            .objects
            .insert(Key::Interface(link.clone()), Object::Interface(interface));
        if is_up(details) {
            state.objects.insert(Key::Up(link), Object::Present);
        }
    }
    Ok(())
}

/// The link of an interface that lost its daemon before it got its tag. Interfaces with a foreign tag are foreign.
fn untagged(details: &SwInterfaceDetails, made: &Made, wanted: &Objects) -> Option<Link> {
    if !details.tag.is_empty() {
        return None;
    }
    wanted.iter().find_map(|(key, object)| {
        let (Key::Interface(link), Object::Interface(interface)) = (key, object) else {
            return None;
        };
        let same = match (&interface.device, &made.device) {
            (
                Device::Tap {
                    host_if_name: a,
                    netns: x,
                    ..
                },
                Device::Tap {
                    host_if_name: b,
                    netns: y,
                    ..
                },
            ) => a == b && x == y,
            (Device::AfPacket { host_if_name: a, .. }, Device::AfPacket { host_if_name: b, .. }) => a == b,
            (Device::Memif { socket: a, .. }, Device::Memif { socket: b, .. }) => a == b,
            (Device::Vxlan { .. }, Device::Vxlan { .. }) => {
                matches!(link, Link::Tunnel(id) if made.tunnel == Some(*id))
                    && interface.device == made.device
            }
            (a @ Device::Loopback { .. }, b @ Device::Loopback { .. }) => a == b,
            _ => false,
        };
        same.then(|| link.clone())
    })
}

async fn devices(
    vpp: &Vpp,
    interfaces: &[SwInterfaceDetails],
    state: &mut State,
) -> vpp_api::Result<BTreeMap<u32, Made>> {
    let macs: BTreeMap<u32, _> = interfaces
        .iter()
        .map(|details| (details.sw_if_index, details.l2_address))
        .collect();
    let mac = |index: u32| macs.get(&index).copied().unwrap_or_default();
    let mut made = BTreeMap::new();
    let mut put = |index, device| made.insert(index, Made { device, tunnel: None });

    for details in interfaces.iter().filter(|d| d.interface_name.starts_with("loop")) {
        put(
            details.sw_if_index,
            Device::Loopback {
                mac: details.l2_address,
            },
        );
    }
    if vpp.client.supports::<tapv2::SwInterfaceTapV2Dump>() {
        let dump = tapv2::SwInterfaceTapV2Dump {
            sw_if_index: NO_INDEX,
        };
        for details in vpp.client.dump(dump).await? {
            let device = Device::Tap {
                host_if_name: details.host_if_name,
                netns: Some(details.host_namespace).filter(|netns| !netns.is_empty()),
                mac: mac(details.sw_if_index),
                host_mac: details.host_mac_addr,
            };
            put(details.sw_if_index, device);
        }
    }
    if vpp.client.supports::<af_packet::AfPacketDump>() {
        for details in vpp.client.dump(af_packet::AfPacketDump::default()).await? {
            let mac = mac(details.sw_if_index);
            put(
                details.sw_if_index,
                Device::AfPacket {
                    host_if_name: details.host_if_name,
                    mac,
                },
            );
        }
    }
    if vpp.client.supports::<memif::MemifDump>() {
        let mut names = BTreeMap::new();
        for details in vpp.client.dump(memif::MemifSocketFilenameDump::default()).await? {
            state
                .handles
                .sockets
                .insert(details.socket_filename.clone(), details.socket_id);
            names.insert(details.socket_id, details.socket_filename);
        }
        for details in vpp.client.dump(memif::MemifDump::default()).await? {
            let socket = names.get(&details.socket_id).cloned().unwrap_or_default();
            put(
                details.sw_if_index,
                Device::Memif {
                    socket,
                    mac: details.hw_addr,
                },
            );
        }
    }
    if vpp.client.supports::<vxlan::VxlanTunnelV2Dump>() {
        let dump = vxlan::VxlanTunnelV2Dump {
            sw_if_index: NO_INDEX,
        };
        for details in vpp.client.dump(dump).await? {
            let underlay = details.src_address.is_ipv6();
            // The dump tells the inner family only by the next node; any other next is not a tunnel of ours.
            let ipv6 = [false, true]
                .into_iter()
                .find(|&inner| vpp.decap_next(underlay, inner) == Some(details.decap_next_index));
            let Some(ipv6) = ipv6 else { continue };
            made.insert(
                details.sw_if_index,
                Made {
                    device: Device::Vxlan {
                        local: details.src_address,
                        ipv6,
                    },
                    tunnel: Some(TunnelId {
                        vni: details.vni,
                        remote: details.dst_address,
                    }),
                },
            );
        }
    }
    Ok(made)
}
