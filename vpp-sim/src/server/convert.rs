//! Between VPP's wire types and the engine's values.

use std::net::IpAddr;

use vpp_api::types as wire;

use crate::engine::{AclAction, AclRule};
use crate::engine::{Family, Mac, NONE, OpError, OpResult, PathKind, Prefix, RoutePath, retval};

/// `VNET_API_ERROR_INVALID_ADDRESS_FAMILY`.
const INVALID_ADDRESS_FAMILY: i32 = -97;

/// `VNET_API_ERROR_FIB_PATH_UNSUPPORTED_NH_PROTO`.
const UNSUPPORTED_NH_PROTO: i32 = -157;

pub fn family(is_ipv6: bool) -> Family {
    if is_ipv6 { Family::V6 } else { Family::V4 }
}

pub fn family_of(af: wire::AddressFamily) -> Family {
    family(af == wire::AddressFamily::ADDRESS_IP6)
}

/// # Errors
/// −97 for a family VPP does not know.
pub fn decoded_family(af: wire::AddressFamily) -> OpResult<Family> {
    match af {
        wire::AddressFamily::ADDRESS_IP4 => Ok(Family::V4),
        wire::AddressFamily::ADDRESS_IP6 => Ok(Family::V6),
        _ => Err(INVALID_ADDRESS_FAMILY.into()),
    }
}

pub fn mac(mac: wire::MacAddress) -> Mac {
    Mac(mac.0)
}

pub fn wire_mac(mac: Mac) -> wire::MacAddress {
    wire::MacAddress(mac.0)
}

pub fn prefix(prefix: wire::Prefix) -> Prefix {
    Prefix::new(prefix.address, prefix.len)
}

pub fn wire_prefix(prefix: Prefix) -> wire::Prefix {
    wire::Prefix::new(prefix.address, prefix.len)
}

/// `~0` is "all".
pub fn index(sw_if_index: u32) -> Option<u32> {
    (sw_if_index != NONE).then_some(sw_if_index)
}

/// # Errors
/// −157 for a next hop that is no IP address.
pub fn path(path: &wire::FibPath) -> OpResult<RoutePath> {
    let next_hop = path.next_hop().ok_or(OpError::Retval(UNSUPPORTED_NH_PROTO))?;
    Ok(RoutePath {
        sw_if_index: path.sw_if_index,
        table_id: path.table_id,
        weight: path.weight,
        preference: path.preference,
        kind: PathKind::from_number(u8::try_from(path.type_.0).unwrap_or(u8::MAX)),
        family: Family::of(next_hop),
        next_hop,
    })
}

pub fn paths(list: &[wire::FibPath]) -> OpResult<Vec<RoutePath>> {
    list.iter().map(path).collect()
}

/// As VPP shows paths: unused members are zero, `rpf_id` too.
pub fn wire_path(path: &RoutePath) -> wire::FibPath {
    let mut shown = wire::FibPath {
        sw_if_index: path.sw_if_index,
        table_id: path.table_id,
        weight: path.weight,
        preference: path.preference,
        type_: wire::FibPathType(u32::from(path.kind.number())),
        proto: wire::FibPathNhProto::ip(path.family == Family::V6),
        ..wire::FibPath::default()
    };
    shown.nh.address = path.next_hop.into();
    shown
}

pub fn wire_paths(list: &[RoutePath]) -> Vec<wire::FibPath> {
    list.iter().map(wire_path).collect()
}

/// # Errors
/// −7 for an action VPP does not define.
pub fn rule(rule: &wire::AclRule) -> OpResult<AclRule> {
    Ok(AclRule {
        action: AclAction::from_number(rule.is_permit.0).ok_or(OpError::Retval(retval::INVALID_VALUE))?,
        src: prefix(rule.src_prefix),
        dst: prefix(rule.dst_prefix),
        proto: rule.proto.0,
        src_ports: (rule.srcport_or_icmptype_first, rule.srcport_or_icmptype_last),
        dst_ports: (rule.dstport_or_icmpcode_first, rule.dstport_or_icmpcode_last),
        tcp_flags_mask: rule.tcp_flags_mask,
        tcp_flags_value: rule.tcp_flags_value,
    })
}

pub fn wire_rule(rule: &AclRule) -> wire::AclRule {
    wire::AclRule {
        is_permit: wire::AclAction(rule.action.number()),
        src_prefix: wire_prefix(rule.src),
        dst_prefix: wire_prefix(rule.dst),
        proto: wire::IpProto(rule.proto),
        srcport_or_icmptype_first: rule.src_ports.0,
        srcport_or_icmptype_last: rule.src_ports.1,
        dstport_or_icmpcode_first: rule.dst_ports.0,
        dstport_or_icmpcode_last: rule.dst_ports.1,
        tcp_flags_mask: rule.tcp_flags_mask,
        tcp_flags_value: rule.tcp_flags_value,
    }
}

/// An address of a host side, where zero means "not given".
pub fn host_prefix(prefix: Option<Prefix>, family: Family) -> Prefix {
    prefix.unwrap_or_else(|| Prefix::new(family.unspecified(), 0))
}

pub fn as_v4(address: IpAddr) -> std::net::Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => std::net::Ipv4Addr::UNSPECIFIED,
    }
}

pub fn as_v6(address: IpAddr) -> std::net::Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => std::net::Ipv6Addr::UNSPECIFIED,
    }
}
