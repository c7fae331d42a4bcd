//! Routes and their paths (VPP: `vnet/fib/fib_types.api`, `vnet/ip/ip.api`).

use super::{AddressUnion, NO_INDEX, Prefix};

use std::net::IpAddr;

crate::wire_enum! {
    /// What a path does with a packet.
    pub enum FibPathType("fib_path_type"): u32 {
        FIB_API_PATH_TYPE_NORMAL = 0,
        FIB_API_PATH_TYPE_LOCAL = 1,
        FIB_API_PATH_TYPE_DROP = 2,
        FIB_API_PATH_TYPE_UDP_ENCAP = 3,
        FIB_API_PATH_TYPE_BIER_IMP = 4,
        FIB_API_PATH_TYPE_ICMP_UNREACH = 5,
        FIB_API_PATH_TYPE_ICMP_PROHIBIT = 6,
        FIB_API_PATH_TYPE_SOURCE_LOOKUP = 7,
        FIB_API_PATH_TYPE_DVR = 8,
        FIB_API_PATH_TYPE_INTERFACE_RX = 9,
        FIB_API_PATH_TYPE_CLASSIFY = 10,
    }
}

crate::wire_enum! {
    /// How a path is resolved.
    pub flags FibPathFlags("fib_path_flags"): u32 {
        FIB_API_PATH_FLAG_NONE = 0,
        FIB_API_PATH_FLAG_RESOLVE_VIA_ATTACHED = 1,
        FIB_API_PATH_FLAG_RESOLVE_VIA_HOST = 2,
        FIB_API_PATH_FLAG_POP_PW_CW = 4,
    }
}

crate::wire_enum! {
    /// What the next hop's address is; must be set, also where no address is given.
    pub enum FibPathNhProto("fib_path_nh_proto"): u32 {
        FIB_API_PATH_NH_PROTO_IP4 = 0,
        FIB_API_PATH_NH_PROTO_IP6 = 1,
        FIB_API_PATH_NH_PROTO_MPLS = 2,
        FIB_API_PATH_NH_PROTO_ETHERNET = 3,
        FIB_API_PATH_NH_PROTO_BIER = 4,
    }
}

crate::wire_struct! {
    /// One MPLS label of a path.
    pub struct FibMplsLabel("fib_mpls_label") {
        is_uniform: u8,
        label: u32,
        ttl: u8,
        exp: u8,
    }
}

crate::wire_struct! {
    /// Where a path leads. Which member counts depends on the path's protocol and type.
    pub struct FibPathNh("fib_path_nh") {
        /// The family is the path's `proto`.
        address: AddressUnion,
        via_label: u32,
        /// Comes back in host byte order in dumps.
        obj_id: u32,
        classify_table_index: u32,
    }
}

crate::wire_struct! {
    /// One path of a route, an ABF policy or a cross-connect.
    pub struct FibPath("fib_path") {
        /// [`NO_INDEX`] makes the path recursive: `nh` is looked up in `table_id`.
        sw_if_index: u32,
        table_id: u32,
        /// [`NO_INDEX`] where unused; comes back in host byte order in dumps.
        rpf_id: u32,
        /// 0 is taken as 1.
        weight: u8,
        /// 0 is best.
        preference: u8,
        type_: FibPathType,
        flags: FibPathFlags,
        proto: FibPathNhProto,
        nh: FibPathNh,
        n_labels: u8,
        label_stack: FibMplsLabel[16],
    }
}

impl FibPathNhProto {
    /// The protocol of an IP next hop.
    #[must_use]
    pub const fn ip(ipv6: bool) -> Self {
        if ipv6 {
            Self::FIB_API_PATH_NH_PROTO_IP6
        } else {
            Self::FIB_API_PATH_NH_PROTO_IP4
        }
    }
}

impl FibPath {
    fn base(sw_if_index: u32, ipv6: bool) -> Self {
        Self {
            sw_if_index,
            rpf_id: NO_INDEX,
            weight: 1,
            proto: FibPathNhProto::ip(ipv6),
            ..Self::default()
        }
    }

    /// Out of an interface, to a neighbour on it.
    #[must_use]
    pub fn via(sw_if_index: u32, next_hop: IpAddr) -> Self {
        let mut path = Self::base(sw_if_index, next_hop.is_ipv6());
        path.nh.address = next_hop.into();
        path
    }

    /// Out of an interface, to the packet's own destination.
    #[must_use]
    pub fn attached(sw_if_index: u32, ipv6: bool) -> Self {
        Self::base(sw_if_index, ipv6)
    }

    /// To wherever table `table_id` sends the next hop.
    #[must_use]
    pub fn recursive(table_id: u32, next_hop: IpAddr) -> Self {
        let mut path = Self::via(NO_INDEX, next_hop);
        path.table_id = table_id;
        path
    }

    /// A path that needs no next hop, such as drop or ICMP unreachable.
    #[must_use]
    pub fn special(type_: FibPathType, ipv6: bool) -> Self {
        Self {
            type_,
            ..Self::base(NO_INDEX, ipv6)
        }
    }

    /// The next hop's address; `None` for protocols other than IP, unspecified where the path is attached.
    #[must_use]
    pub fn next_hop(&self) -> Option<IpAddr> {
        match self.proto {
            FibPathNhProto::FIB_API_PATH_NH_PROTO_IP4 => Some(IpAddr::V4(self.nh.address.ip4())),
            FibPathNhProto::FIB_API_PATH_NH_PROTO_IP6 => Some(IpAddr::V6(self.nh.address.ip6())),
            _ => None,
        }
    }
}

crate::wire_struct! {
    /// A route of the API source.
    pub struct IpRoute("ip_route") {
        table_id: u32,
        /// Set by VPP; ignored in requests.
        stats_index: u32,
        prefix: Prefix,
        n_paths: u8 = count(paths),
        paths: FibPath[n_paths],
    }
}

crate::wire_struct! {
    /// A route with its source.
    pub struct IpRouteV2("ip_route_v2") {
        table_id: u32,
        /// Set by VPP; ignored in requests.
        stats_index: u32,
        prefix: Prefix,
        n_paths: u8 = count(paths),
        /// FIB source; 0 in requests is the API's. Not checked by VPP.
        src: u8,
        paths: FibPath[n_paths],
    }
}

crate::wire_struct! {
    /// A routing table of one family.
    pub struct IpTable("ip_table") {
        table_id: u32,
        is_ip6: bool,
        name: string[64],
    }
}
