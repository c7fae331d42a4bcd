//! VXLAN tunnels.

use vpp_api::messages::vxlan::{
    VxlanAddDelTunnelV3, VxlanAddDelTunnelV3Reply, VxlanTunnelV2Details, VxlanTunnelV2Dump,
};

use super::outcome;
use crate::engine::NONE;
use crate::engine::VxlanTunnel;
use crate::server::convert::index;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: VxlanAddDelTunnelV3| {
        let tunnel = VxlanTunnel {
            instance: m.instance,
            src: m.src_address,
            dst: m.dst_address,
            src_port: m.src_port,
            dst_port: m.dst_port,
            mcast_sw_if_index: m.mcast_sw_if_index,
            encap_table_id: m.encap_vrf_id,
            decap_next_index: m.decap_next_index,
            vni: m.vni,
            is_l3: m.is_l3,
        };
        let result = if m.is_add {
            core.vpp.vxlan_add(&tunnel)
        } else {
            core.vpp.vxlan_del(&tunnel)
        };
        let (retval, sw_if_index) = outcome(result, NONE)?;
        Ok(VxlanAddDelTunnelV3Reply { retval, sw_if_index })
    });
    registry.dump(|core, m: VxlanTunnelV2Dump| {
        let wanted = index(m.sw_if_index);
        let tunnels = core.vpp.vxlan_tunnels().into_iter();
        tunnels
            .filter(|found| wanted.is_none_or(|wanted| wanted == found.sw_if_index))
            .map(|found| VxlanTunnelV2Details {
                sw_if_index: found.sw_if_index,
                instance: found.tunnel.instance,
                src_address: found.tunnel.src,
                dst_address: found.tunnel.dst,
                src_port: found.tunnel.src_port,
                dst_port: found.tunnel.dst_port,
                mcast_sw_if_index: found.tunnel.mcast_sw_if_index,
                encap_vrf_id: found.tunnel.encap_table_id,
                decap_next_index: found.tunnel.decap_next_index,
                vni: found.tunnel.vni,
            })
            .collect()
    });
}
