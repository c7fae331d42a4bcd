//! Interfaces as requests.
//!
//! The tag goes on last: an interface with a tag is one whose settings were all made, whatever crashes when.

use vpp_api::messages::af_packet::{AfPacketCreateV3, AfPacketDelete, AfPacketMode};
use vpp_api::messages::interface::{CreateLoopback, DeleteLoopback, SwInterfaceSetMtu, SwInterfaceTagAddDel};
use vpp_api::messages::ip::SwInterfaceIp6EnableDisable;
use vpp_api::messages::ip6_nd::SwInterfaceIp6ndRaConfig;
use vpp_api::messages::memif::MemifSocketFilenameAddDelV2;
use vpp_api::messages::memif::{MemifCreateV2, MemifDelete, MemifMode, MemifRole};
use vpp_api::messages::tapv2::{TapCreateV3, TapDeleteV2};
use vpp_api::messages::vxlan::VxlanAddDelTunnelV3;
use vpp_api::types::{CnatSnatPolicyTable, NO_INDEX};

use super::step::Run;
use super::{Effect, Failure, cnat};
use crate::objects::{Device, Interface, Link, TunnelId};

/// IANA's port of VXLAN (RFC 7348, section 5).
const VXLAN_PORT: u16 = 4789;

/// IPv6 is enabled already: VALUE_EXIST.
const EXISTS: i32 = -81;

pub(super) async fn make(
    run: Run<'_>,
    link: &Link,
    exists: bool,
    interface: &Interface,
) -> Result<Effect, Failure> {
    let (effect, index) = if exists {
        (Effect::None, run.index(link)?)
    } else {
        create(run, link, interface).await?
    };
    settle(run, link, index, interface).await?;
    Ok(effect)
}

/// Slots of the ring into which VPP writes packets for a host interface; 0 is VPP's default of 1024 (`af_packet.c`).
///
/// Each slot has room for 64 KiB, and VPP forwards nothing while the kernel clears the ring: 69 MB of it for each pod, which
/// is 0.4 s. A veth takes its packets out of the ring at once (Linux 5cd8d46ea156), so that of a pod needs room for what
/// VPP sends in one go, which is 256 packets; an uplink's wait there for the NIC. Smaller slots are out of the question: VPP
/// writes into them whatever comes.
fn tx_frames(link: &Link) -> u32 {
    match link {
        Link::Pod(_) | Link::Function(..) | Link::Host => 256,
        _ => 0,
    }
}

async fn create(run: Run<'_>, link: &Link, interface: &Interface) -> Result<(Effect, u32), Failure> {
    let index = match (&interface.device, link) {
        (Device::Loopback { mac }, _) => run.call(CreateLoopback { mac_address: *mac }).await?.sw_if_index,
        (Device::AfPacket { host_if_name, mac }, _) => {
            let request = AfPacketCreateV3 {
                mode: AfPacketMode::AF_PACKET_API_MODE_ETHERNET,
                hw_addr: *mac,
                use_random_hw_addr: false,
                host_if_name: host_if_name.clone(),
                num_rx_queues: 1,
                num_tx_queues: 1,
                tx_frames_per_block: tx_frames(link),
                ..AfPacketCreateV3::default()
            };
            // The host device may not be there yet: its absence is no reason to read VPP again.
            match run.call(request).await {
                Err(Failure::Mismatch(text)) if text.contains("-71") => {
                    return Err(Failure::Transient(format!("no host interface {host_if_name}")));
                }
                other => other?.sw_if_index,
            }
        }
        (
            Device::Tap {
                host_if_name,
                netns,
                mac,
                host_mac,
            },
            _,
        ) => {
            let request = TapCreateV3 {
                id: NO_INDEX,
                mac_address: *mac,
                num_rx_queues: 1,
                num_tx_queues: 1,
                tx_ring_sz: 256,
                rx_ring_sz: 256,
                host_mtu_set: true,
                host_mtu_size: interface.mtu,
                host_mac_addr_set: true,
                host_mac_addr: *host_mac,
                host_namespace_set: netns.is_some(),
                host_namespace: netns.clone().unwrap_or_default(),
                host_if_name_set: true,
                host_if_name: host_if_name.clone(),
                ..TapCreateV3::default()
            };
            run.call(request).await?.sw_if_index
        }
        (Device::Memif { socket, mac }, _) => {
            return create_memif(run, socket, *mac).await;
        }
        (Device::Vxlan { local, ipv6 }, Link::Tunnel(id)) => {
            let request = vxlan(run, id, *local, *ipv6, true)?;
            run.call(request).await?.sw_if_index
        }
        (Device::Vxlan { .. }, other) => {
            return Err(Failure::Final(format!("{other} is not a tunnel")));
        }
    };
    Ok((Effect::Index(index), index))
}

async fn create_memif(
    run: Run<'_>,
    name: &str,
    hw_addr: vpp_api::types::MacAddress,
) -> Result<(Effect, u32), Failure> {
    let socket = match run.handles.sockets.get(name) {
        Some(&socket) => socket,
        None => {
            let request = MemifSocketFilenameAddDelV2 {
                is_add: true,
                socket_id: NO_INDEX,
                socket_filename: name.to_owned(),
            };
            run.call(request).await?.socket_id
        }
    };
    let request = MemifCreateV2 {
        role: MemifRole::MEMIF_ROLE_API_MASTER,
        mode: MemifMode::MEMIF_MODE_API_ETHERNET,
        rx_queues: 1,
        tx_queues: 1,
        id: 0,
        socket_id: socket,
        ring_size: 1024,
        buffer_size: 2048,
        hw_addr,
        ..MemifCreateV2::default()
    };
    let index = run.call(request).await?.sw_if_index;
    Ok((Effect::Memif { index, socket }, index))
}

fn vxlan(
    run: Run<'_>,
    id: &TunnelId,
    local: std::net::IpAddr,
    ipv6: bool,
    is_add: bool,
) -> Result<VxlanAddDelTunnelV3, Failure> {
    let decap_next_index = run
        .vpp
        .decap_next(local.is_ipv6(), ipv6)
        .ok_or_else(|| Failure::Final("this VPP has no VXLAN plugin".to_owned()))?;
    Ok(VxlanAddDelTunnelV3 {
        is_add,
        instance: NO_INDEX,
        src_address: local,
        dst_address: id.remote,
        src_port: VXLAN_PORT,
        dst_port: VXLAN_PORT,
        mcast_sw_if_index: NO_INDEX,
        encap_vrf_id: 0,
        decap_next_index,
        vni: id.vni,
        is_l3: true,
    })
}

/// Settings of an interface that exists; each may be made again.
async fn settle(run: Run<'_>, link: &Link, sw_if_index: u32, interface: &Interface) -> Result<(), Failure> {
    let mtu = SwInterfaceSetMtu {
        sw_if_index,
        mtu: [interface.mtu, 0, 0, 0],
    };
    let ip6 = SwInterfaceIp6EnableDisable {
        sw_if_index,
        enable: true,
    };
    let advertises = run.vpp.features.ra_config && !matches!(link, Link::Tunnel(_));
    let quiet = async {
        if advertises {
            let request = SwInterfaceIp6ndRaConfig {
                sw_if_index,
                suppress: 1,
                ..Default::default()
            };
            run.call(request).await?;
        }
        Ok(())
    };
    let member = async {
        if matches!(link, Link::Function(..)) && run.vpp.features.cnat.is_some() {
            // What leaves a function for a tunnel keeps its source.
            cnat::set_table(run, sw_if_index, CnatSnatPolicyTable::CNAT_POLICY_POD, true).await?;
        }
        Ok(())
    };
    let mtu = async { run.call(mtu).await.map(|_| ()) };
    futures::try_join!(mtu, run.call_tolerating(ip6, &[EXISTS]), quiet, member)?;
    let tag = SwInterfaceTagAddDel {
        is_add: true,
        sw_if_index,
        tag: link.tag(),
    };
    run.call(tag).await.map(|_| ())
}

pub(super) async fn delete(run: Run<'_>, link: &Link, interface: &Interface) -> Result<(), Failure> {
    let sw_if_index = run.index(link)?;
    if matches!(link, Link::Function(..)) && run.vpp.features.cnat.is_some() {
        cnat::set_table(run, sw_if_index, CnatSnatPolicyTable::CNAT_POLICY_POD, false).await?;
    }
    // VPP keeps the record of IPv6 for the index, which the next interface gets; whether it was enabled does not
    // matter here.
    let ip6 = SwInterfaceIp6EnableDisable {
        sw_if_index,
        enable: false,
    };
    if let Err(lost @ Failure::Lost(_)) = run.call(ip6).await {
        return Err(lost);
    }
    match (&interface.device, link) {
        (Device::Loopback { .. }, _) => run.call(DeleteLoopback { sw_if_index }).await.map(|_| ()),
        (Device::AfPacket { host_if_name, .. }, _) => {
            let request = AfPacketDelete {
                host_if_name: host_if_name.clone(),
            };
            run.call(request).await.map(|_| ())
        }
        (Device::Tap { .. }, _) => run.call(TapDeleteV2 { sw_if_index }).await.map(|_| ()),
        (Device::Memif { socket, .. }, _) => {
            run.call(MemifDelete { sw_if_index }).await?;
            if let Some(&socket_id) = run.handles.sockets.get(socket) {
                let request = MemifSocketFilenameAddDelV2 {
                    is_add: false,
                    socket_id,
                    ..Default::default()
                };
                run.call(request).await?;
            }
            Ok(())
        }
        (Device::Vxlan { local, ipv6 }, Link::Tunnel(id)) => {
            let request = vxlan(run, id, *local, *ipv6, false)?;
            run.call(request).await.map(|_| ())
        }
        (Device::Vxlan { .. }, other) => Err(Failure::Final(format!("{other} is not a tunnel"))),
    }
}
