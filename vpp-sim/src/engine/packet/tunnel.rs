//! The outer header of IP tunnels and what is copied between it and the inner one (`tunnel_dp.h`).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::hash::flow_hash;
use super::ip::{Ip, ip4_packet, ip6_packet};
use super::{be16, be32, checksum, put16};
use crate::engine::fib::FLOW_HASH_DEFAULT;
use crate::engine::ipip::tunnel_flag;
use crate::engine::types::Family;

const DONT_FRAGMENT: u16 = 0x4000;
const ECN: u8 = 3;

/// How an outer header is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// [`tunnel_flag`]s.
    pub flags: u8,
    pub dscp: u8,
    pub hop_limit: u8,
}

/// Type of service or traffic class.
pub(crate) fn traffic_class(data: &[u8]) -> u8 {
    match data {
        [first, second, ..] if first >> 4 == 6 => (first << 4) | (second >> 4),
        [_, second, ..] => *second,
        _ => 0,
    }
}

fn refresh_header_checksum(data: &mut [u8]) {
    put16(data, 10, 0);
    let sum = checksum::checksum(data.get(..20).unwrap_or(&[]));
    put16(data, 10, sum);
}

/// Writes an IPv4 header's type of service, or an IPv6 header's traffic class.
fn set_traffic_class(data: &mut [u8], class: u8) {
    match data {
        [first, second, ..] if *first >> 4 == 6 => {
            *first = 0x60 | (class >> 4);
            *second = (class << 4) | (*second & 0x0f);
        }
        [_, second, ..] => {
            *second = class;
            let header = usize::from(data[0] & 0xf) * 4;
            put16(data, 10, 0);
            let sum = checksum::checksum(data.get(..header).unwrap_or(&[]));
            put16(data, 10, sum);
        }
        _ => {}
    }
}

fn flow_label(inner: &[u8]) -> u32 {
    match Ip::parse(inner) {
        Ok(ip) if ip.family == Family::V6 => be32(inner, 0) & 0x000f_ffff,
        Ok(ip) => flow_hash(&ip, inner, FLOW_HASH_DEFAULT) & 0x000f_ffff,
        Err(_) => 0,
    }
}

/// An outer header before `payload`, of protocol `proto`. `inner` is the packet whose header is copied from: the
/// payload itself where it is not encrypted. None when the ends' families differ.
pub(crate) fn encapsulate(outer: &Outer, proto: u8, payload: &[u8], inner: &[u8]) -> Option<Vec<u8>> {
    let has = |flag: u8| outer.flags & flag != 0;
    let class = traffic_class(inner);
    let mut tos = if has(tunnel_flag::ENCAP_COPY_DSCP) {
        class & !ECN
    } else {
        outer.dscp << 2
    };
    if has(tunnel_flag::ENCAP_COPY_ECN) {
        tos |= class & ECN;
    }
    let inner_is_ip4 = inner.first().is_some_and(|b| b >> 4 == 4);
    let hop_limit = match has(tunnel_flag::ENCAP_COPY_HOP_LIMIT) {
        true => inner.get(if inner_is_ip4 { 8 } else { 7 }).copied().unwrap_or(0),
        false => outer.hop_limit,
    };
    match (outer.src, outer.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let copied =
                has(tunnel_flag::ENCAP_COPY_DF) && inner_is_ip4 && be16(inner, 6) & DONT_FRAGMENT != 0;
            let dont_fragment = has(tunnel_flag::ENCAP_SET_DF) || copied;
            Some(outer4(src, dst, proto, hop_limit, tos, dont_fragment, payload))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let label = match has(tunnel_flag::ENCAP_COPY_FLOW_LABEL) {
                true => flow_label(inner),
                false => 0,
            };
            Some(outer6(src, dst, proto, hop_limit, tos, label, payload))
        }
        _ => None,
    }
}

fn outer4(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    proto: u8,
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    payload: &[u8],
) -> Vec<u8> {
    let mut data = ip4_packet(src, dst, proto, ttl, payload);
    data[1] = tos;
    put16(&mut data, 6, if dont_fragment { DONT_FRAGMENT } else { 0 });
    refresh_header_checksum(&mut data);
    data
}

fn outer6(
    src: Ipv6Addr,
    dst: Ipv6Addr,
    proto: u8,
    hop_limit: u8,
    class: u8,
    label: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut data = ip6_packet(src, dst, proto, hop_limit, payload);
    let word = 0x6000_0000 | (u32::from(class) << 20) | label;
    data[..4].copy_from_slice(&word.to_be_bytes());
    data
}

/// Copies from the outer to the inner header what the tunnel's flags say.
pub(crate) fn decapsulated(flags: u8, outer: &[u8], inner: &mut [u8]) {
    if flags & tunnel_flag::DECAP_COPY_ECN != 0 {
        let class = (traffic_class(inner) & !ECN) | (traffic_class(outer) & ECN);
        set_traffic_class(inner, class);
    }
}
