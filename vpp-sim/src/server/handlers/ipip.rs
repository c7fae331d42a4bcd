//! Tunnels of IP in IP, and the TEIB.

use vpp_api::messages::ipip::{
    IpipAddTunnel, IpipAddTunnelReply, IpipDelTunnel, IpipTunnelDetails, IpipTunnelDump,
};
use vpp_api::messages::teib::{TeibDetails, TeibDump, TeibEntryAddDel};
use vpp_api::types as wire;

use super::outcome;
use crate::engine::{IpipDetails, IpipTunnel, NONE, TeibEntry};
use crate::server::convert::index;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: IpipAddTunnel| {
        let tunnel = IpipTunnel {
            instance: m.tunnel.instance,
            src: m.tunnel.src,
            dst: m.tunnel.dst,
            table_id: m.tunnel.table_id,
            flags: m.tunnel.flags.0,
            mode: m.tunnel.mode.0,
            dscp: m.tunnel.dscp.0,
        };
        // The index of a tunnel that exists is told with the failure.
        let known = core.vpp.ipip_find(&tunnel).unwrap_or(NONE);
        let (retval, sw_if_index) = outcome(core.vpp.ipip_add(&tunnel), known)?;
        Ok(IpipAddTunnelReply { retval, sw_if_index })
    });
    registry.ack(|core, m: IpipDelTunnel| core.vpp.ipip_del(m.sw_if_index));
    registry.dump(|core, m: IpipTunnelDump| {
        let wanted = index(m.sw_if_index);
        let tunnels = core.vpp.ipip_tunnels().into_iter();
        tunnels
            .filter(|found| wanted.is_none_or(|wanted| wanted == found.sw_if_index))
            .map(|found| IpipTunnelDetails {
                tunnel: wire_tunnel(&found),
            })
            .collect()
    });
    registry.ack(|core, m: TeibEntryAddDel| {
        if m.is_add == 0 {
            return core.vpp.teib_del(m.entry.sw_if_index, m.entry.peer);
        }
        core.vpp.teib_add(&TeibEntry {
            sw_if_index: m.entry.sw_if_index,
            peer: m.entry.peer,
            next_hop: m.entry.nh,
            next_hop_table: m.entry.nh_table_id,
        })
    });
    registry.dump(|core, _: TeibDump| {
        let entries = core.vpp.teib().into_iter();
        entries
            .map(|found| TeibDetails {
                entry: wire::TeibEntry {
                    sw_if_index: found.sw_if_index,
                    peer: found.peer,
                    nh: found.next_hop,
                    nh_table_id: found.next_hop_table,
                },
            })
            .collect()
    });
}

fn wire_tunnel(found: &IpipDetails) -> wire::IpipTunnel {
    let tunnel = &found.tunnel;
    wire::IpipTunnel {
        instance: tunnel.instance,
        src: tunnel.src,
        dst: tunnel.dst,
        sw_if_index: found.sw_if_index,
        table_id: tunnel.table_id,
        flags: wire::TunnelEncapDecapFlags(tunnel.flags),
        mode: wire::TunnelMode(tunnel.mode),
        dscp: wire::IpDscp(tunnel.dscp),
    }
}
