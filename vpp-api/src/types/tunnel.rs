//! What IP tunnels have in common (VPP: `vnet/tunnel/tunnel_types.api`, `vnet/ip/ip_types.api`).

use super::{Address, InterfaceIndex};

crate::wire_enum! {
    /// Which parts of the header are copied between inner and outer packet.
    pub flags TunnelEncapDecapFlags("tunnel_encap_decap_flags"): u8 {
        TUNNEL_API_ENCAP_DECAP_FLAG_NONE = 0,
        TUNNEL_API_ENCAP_DECAP_FLAG_ENCAP_COPY_DF = 1,
        TUNNEL_API_ENCAP_DECAP_FLAG_ENCAP_SET_DF = 2,
        TUNNEL_API_ENCAP_DECAP_FLAG_ENCAP_COPY_DSCP = 4,
        TUNNEL_API_ENCAP_DECAP_FLAG_ENCAP_COPY_ECN = 8,
        TUNNEL_API_ENCAP_DECAP_FLAG_DECAP_COPY_ECN = 16,
    }
    added {
        TUNNEL_API_ENCAP_DECAP_FLAG_ENCAP_INNER_HASH = 32,
        TUNNEL_API_ENCAP_DECAP_FLAG_ENCAP_COPY_HOP_LIMIT = 64,
        TUNNEL_API_ENCAP_DECAP_FLAG_ENCAP_COPY_FLOW_LABEL = 128,
    }
}

crate::wire_enum! {
    /// One peer or many.
    pub enum TunnelMode("tunnel_mode"): u8 {
        TUNNEL_API_MODE_P2P = 0,
        TUNNEL_API_MODE_MP = 1,
    }
}

crate::wire_enum! {
    /// What else VPP does for a tunnel.
    pub flags TunnelFlags("tunnel_flags"): u8 {
        TUNNEL_API_FLAG_TRACK_MTU = 1,
    }
}

crate::wire_enum! {
    /// Differentiated services code point.
    pub enum IpDscp("ip_dscp"): u8 {
        IP_API_DSCP_CS0 = 0,
        IP_API_DSCP_CS1 = 8,
        IP_API_DSCP_AF11 = 10,
        IP_API_DSCP_AF12 = 12,
        IP_API_DSCP_AF13 = 14,
        IP_API_DSCP_CS2 = 16,
        IP_API_DSCP_AF21 = 18,
        IP_API_DSCP_AF22 = 20,
        IP_API_DSCP_AF23 = 22,
        IP_API_DSCP_CS3 = 24,
        IP_API_DSCP_AF31 = 26,
        IP_API_DSCP_AF32 = 28,
        IP_API_DSCP_AF33 = 30,
        IP_API_DSCP_CS4 = 32,
        IP_API_DSCP_AF41 = 34,
        IP_API_DSCP_AF42 = 36,
        IP_API_DSCP_AF43 = 38,
        IP_API_DSCP_CS5 = 40,
        IP_API_DSCP_EF = 46,
        IP_API_DSCP_CS6 = 48,
        IP_API_DSCP_CS7 = 50,
    }
}

crate::wire_struct! {
    /// The tunnel of an IPsec security association.
    pub struct Tunnel("tunnel") {
        instance: u32,
        src: Address,
        dst: Address,
        sw_if_index: InterfaceIndex,
        /// Table of the outer packets.
        table_id: u32,
        encap_decap_flags: TunnelEncapDecapFlags,
        mode: TunnelMode,
        flags: TunnelFlags,
        dscp: IpDscp,
        /// 0 is 254.
        hop_limit: u8,
    }
}

crate::wire_struct! {
    /// A tunnel of IP in IP.
    pub struct IpipTunnel("ipip_tunnel") {
        /// Number in the name; [`NO_INDEX`](super::NO_INDEX) lets VPP choose.
        instance: u32,
        src: Address,
        /// Zero for a multipoint tunnel, whose peers come from the TEIB.
        dst: Address,
        /// Only in dumps.
        sw_if_index: InterfaceIndex,
        /// Table of the outer packets; must exist.
        table_id: u32,
        flags: TunnelEncapDecapFlags,
        mode: TunnelMode,
        dscp: IpDscp,
    }
}

crate::wire_struct! {
    /// Where a peer of a multipoint tunnel is found.
    pub struct TeibEntry("teib_entry") {
        sw_if_index: InterfaceIndex,
        /// Address in the overlay.
        peer: Address,
        /// Address in the underlay.
        nh: Address,
        /// Table of the underlay.
        nh_table_id: u32,
    }
}
