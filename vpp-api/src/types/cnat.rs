//! NAT for services (VPP: `plugins/cnat/cnat.api`, version 1.0.0).

use super::{Address, AddressFamily, InterfaceIndex, IpFlowHashConfigV2, IpProto, NO_INDEX};

use std::net::IpAddr;

crate::wire_enum! {
    /// How a backend is chosen; only taken when the translation is created.
    pub enum CnatLbType("cnat_lb_type"): u8 {
        CNAT_LB_TYPE_DEFAULT = 0,
        CNAT_LB_TYPE_MAGLEV = 1,
    }
}

crate::wire_enum! {
    /// Flags of a translation. The field in [`CnatTranslation`] is a plain `u8`.
    pub flags CnatTranslationFlags("cnat_translation_flags"): u8 {
        CNAT_TRANSLATION_ALLOC_PORT = 1,
        CNAT_TRANSLATION_NO_RETURN_SESSION = 4,
        CNAT_TRANSLATION_NO_CLIENT = 8,
    }
}

crate::wire_enum! {
    /// Flags of a backend, of 26.06 and later. Up to 26.02 NO_NAT was 1, with the same message CRC.
    pub flags CnatEndpointTupleFlags("cnat_endpoint_tuple_flags"): u8 {
        CNAT_EPT_NO_NAT = 2,
    }
}

crate::wire_enum! {
    /// Which source addresses are translated.
    pub enum CnatSnatPolicies("cnat_snat_policies"): u8 {
        CNAT_POLICY_NONE = 0,
        CNAT_POLICY_IF_PFX = 1,
        CNAT_POLICY_K8S = 2,
        CNAT_POLICY_DNAT = 3,
    }
}

crate::wire_enum! {
    /// Flags of a source-NAT address set.
    pub flags CnatSnatPolicyFlags("cnat_snat_policy_flags"): u8 {
        CNAT_SNAT_POLICY_F_NONE = 0,
        CNAT_SNAT_POLICY_F_BUFFER_NEXT = 1,
        CNAT_SNAT_POLICY_F_NO_CLIENT = 2,
        CNAT_SNAT_POLICY_F_USE_AS_DEFAULT = 4,
    }
}

crate::wire_enum! {
    /// Which list of interfaces a source-NAT policy looks at.
    pub enum CnatSnatPolicyTable("cnat_snat_policy_table"): u8 {
        CNAT_POLICY_INCLUDE_V4 = 0,
        CNAT_POLICY_INCLUDE_V6 = 1,
        CNAT_POLICY_POD = 2,
        CNAT_POLICY_HOST = 3,
    }
}

crate::wire_struct! {
    /// Address and port.
    pub struct CnatEndpoint("cnat_endpoint") {
        addr: Address,
        /// [`NO_INDEX`], or `addr` is ignored and the address of that interface is meant; 0 too is an interface.
        sw_if_index: InterfaceIndex,
        if_af: AddressFamily,
        port: u16,
    }
}

impl CnatEndpoint {
    /// A plain address and port.
    #[must_use]
    pub fn new(addr: IpAddr, port: u16) -> Self {
        Self {
            addr,
            sw_if_index: NO_INDEX,
            if_af: AddressFamily::of(addr),
            port,
        }
    }
}

crate::wire_struct! {
    /// One backend: where packets go, and which source they get.
    pub struct CnatEndpointTuple("cnat_endpoint_tuple") {
        dst_ep: CnatEndpoint,
        /// Zero address and port keep the client's.
        src_ep: CnatEndpoint,
        flags: u8,
    }
}

crate::wire_struct! {
    /// A virtual address and its backends.
    pub struct CnatTranslation("cnat_translation") {
        vip: CnatEndpoint,
        /// The key for deletion; ignored in requests.
        id: u32,
        ip_proto: IpProto,
        /// Not in dumps.
        is_real_ip: u8,
        /// [`CnatTranslationFlags`]; not in dumps.
        flags: u8,
        lb_type: CnatLbType,
        n_paths: u32 = count(paths),
        /// Not in dumps.
        flow_hash_config: IpFlowHashConfigV2,
        paths: CnatEndpointTuple[n_paths],
    }
}

crate::wire_struct! {
    /// Both ends of a session.
    pub struct Cnat5tuple("cnat_5tuple") {
        addr: Address[2],
        port: u16[2],
        ip_proto: IpProto,
    }
}

crate::wire_struct! {
    /// One session.
    pub struct CnatSession("cnat_session") {
        tuple: Cnat5tuple,
        ts_index: u32,
        flags: u32,
    }
}
