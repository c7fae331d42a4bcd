//! VXLAN tunnels (VPP: `plugins/vxlan/vxlan.api`).

use crate::types::{Address, InterfaceIndex};

crate::messages! {
    /// Creates or deletes a tunnel; deletion repeats the key, not the index.
    request VxlanAddDelTunnelV3("vxlan_add_del_tunnel_v3", "0072b037") {
        is_add: bool,
        /// [`NO_INDEX`](crate::types::NO_INDEX) is the lowest free.
        instance: u32,
        src_address: Address,
        dst_address: Address,
        /// 0 is 4789.
        src_port: u16,
        /// 0 is 4789.
        dst_port: u16,
        mcast_sw_if_index: InterfaceIndex,
        /// Table in which the peer is looked up; must exist.
        encap_vrf_id: u32,
        /// [`NO_INDEX`](crate::types::NO_INDEX) for L2 (0 drops everything); for L3 what
        /// [`AddNodeNext`](super::vlib::AddNodeNext) answered for `vxlan4-input` or `vxlan6-input`.
        decap_next_index: u32,
        vni: u32,
        is_l3: bool,
    } reply VxlanAddDelTunnelV3Reply("vxlan_add_del_tunnel_v3_reply", "5383d31f") {
        retval: i32,
        /// On deletion the index the tunnel had.
        sw_if_index: InterfaceIndex,
    };

    /// Lists tunnels; whether one is L3 is not told.
    dump VxlanTunnelV2Dump("vxlan_tunnel_v2_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details VxlanTunnelV2Details("vxlan_tunnel_v2_details", "d3bdd4d9") {
        sw_if_index: InterfaceIndex,
        instance: u32,
        src_address: Address,
        dst_address: Address,
        src_port: u16,
        dst_port: u16,
        mcast_sw_if_index: InterfaceIndex,
        encap_vrf_id: u32,
        decap_next_index: u32,
        vni: u32,
    };
}
