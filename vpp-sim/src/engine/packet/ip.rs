//! A view of an IP packet: what the nodes need of both families' headers.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum;
use super::{ICMP, ICMP6, SCTP, TCP, UDP, be16, put16};
use crate::engine::acl::Tuple;
use crate::engine::types::Family;

/// Offsets and fields of a packet. Offsets are from the start of the IP header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip {
    pub family: Family,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Protocol of the payload after IPv6 extension headers.
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Length of the IPv4 header with options, or 40.
    pub header_len: usize,
    /// Where the payload starts.
    pub l4: usize,
    /// Where the packet ends by its own length field.
    pub end: usize,
    /// In units of 8 bytes.
    pub fragment_offset: u16,
    pub more_fragments: bool,
    pub dont_fragment: bool,
    /// At least 8 bytes of payload are there, and it is no later fragment.
    pub l4_valid: bool,
}

impl Ip {
    /// Reads either family; the reasons are VPP's (`ip4_input_check`).
    pub fn parse(data: &[u8]) -> Result<Self, &'static str> {
        match data.first().map(|b| b >> 4) {
            Some(4) => Self::parse4(data),
            Some(6) => Self::parse6(data),
            Some(_) => Err("ip version is neither 4 nor 6"),
            None => Err("empty packet"),
        }
    }

    fn parse4(data: &[u8]) -> Result<Self, &'static str> {
        let header: &[u8; 20] = data.first_chunk().ok_or("ip4 length < 20 bytes")?;
        let header_len = usize::from(header[0] & 0xf) * 4;
        let end = usize::from(be16(data, 2));
        if header_len < 20 || end < header_len {
            return Err("ip4 length < header length");
        }
        if end > data.len() {
            return Err("ip4 length > l2 length");
        }
        let fragment = be16(data, 6);
        let fragment_offset = fragment & 0x1fff;
        Ok(Self {
            family: Family::V4,
            src: IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15])),
            dst: IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19])),
            proto: header[9],
            ttl: header[8],
            header_len,
            l4: header_len,
            end,
            fragment_offset,
            more_fragments: fragment & 0x2000 != 0,
            dont_fragment: fragment & 0x4000 != 0,
            l4_valid: fragment_offset == 0 && end >= header_len + 8,
        })
    }

    fn parse6(data: &[u8]) -> Result<Self, &'static str> {
        let header: &[u8; 40] = data.first_chunk().ok_or("ip6 length < 40 bytes")?;
        let end = 40 + usize::from(be16(data, 4));
        if end > data.len() {
            return Err("ip6 length > l2 length");
        }
        let address = |at: usize| {
            let mut octets = [0; 16];
            octets.copy_from_slice(&header[at..at + 16]);
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        let mut ip = Self {
            family: Family::V6,
            src: address(8),
            dst: address(24),
            proto: header[6],
            ttl: header[7],
            header_len: 40,
            l4: 40,
            end,
            fragment_offset: 0,
            more_fragments: false,
            dont_fragment: true,
            l4_valid: false,
        };
        // Hop-by-hop, routing, fragment, authentication, destination options, mobility, HIP, shim6.
        while matches!(ip.proto, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140) && ip.l4 + 8 <= end {
            let at = ip.l4;
            let next = data[at];
            if ip.proto == 44 {
                let fragment = be16(data, at + 2);
                ip.fragment_offset = fragment >> 3;
                ip.more_fragments = fragment & 1 != 0;
                ip.l4 += 8;
                ip.proto = next;
                if ip.fragment_offset != 0 {
                    break;
                }
                continue;
            }
            ip.l4 += if ip.proto == 51 {
                4 * (2 + usize::from(data[at + 1]))
            } else {
                8 * (1 + usize::from(data[at + 1]))
            };
            ip.proto = next;
        }
        ip.l4_valid = ip.fragment_offset == 0 && ip.l4 + 8 <= end;
        Ok(ip)
    }

    pub fn is_fragment(&self) -> bool {
        self.fragment_offset != 0 || self.more_fragments
    }

    /// Source and destination port of TCP, UDP, SCTP; zero otherwise.
    pub fn ports(&self, data: &[u8]) -> (u16, u16) {
        if self.l4_valid && matches!(self.proto, TCP | UDP | SCTP) {
            (be16(data, self.l4), be16(data, self.l4 + 2))
        } else {
            (0, 0)
        }
    }

    /// ICMP of the packet's own family.
    pub fn is_icmp(&self) -> bool {
        self.proto
            == match self.family {
                Family::V4 => ICMP,
                Family::V6 => ICMP6,
            }
    }

    /// ICMP type and code.
    pub fn icmp(&self, data: &[u8]) -> Option<(u8, u8)> {
        (self.is_icmp() && self.l4_valid).then(|| (data[self.l4], data[self.l4 + 1]))
    }

    /// What the acl plugin matches on.
    pub fn acl_tuple(&self, data: &[u8]) -> Tuple {
        let ports = match self.icmp(data) {
            Some((icmp_type, code)) => (u16::from(icmp_type), u16::from(code)),
            // SCTP has no ports for the plugin.
            None if self.proto == SCTP => (0, 0),
            None => self.ports(data),
        };
        Tuple {
            family: self.family,
            src: self.src,
            dst: self.dst,
            proto: self.proto,
            ports,
            tcp_flags: (self.proto == TCP && self.l4_valid)
                .then(|| data.get(self.l4 + 13).copied().unwrap_or(0)),
            l4_valid: self.l4_valid,
            nonfirst_fragment: self.fragment_offset != 0,
        }
    }
}

/// Decrements TTL (with RFC 1624's checksum update) or hop limit.
pub(crate) fn decrement_ttl(data: &mut [u8], family: Family) {
    match family {
        Family::V4 => {
            let old = [data[8], data[9]];
            data[8] = data[8].wrapping_sub(1);
            let sum = checksum::update(be16(data, 10), &old, &[data[8], data[9]]);
            put16(data, 10, sum);
        }
        Family::V6 => data[7] = data[7].wrapping_sub(1),
    }
}

/// An IPv4 header without options before `payload`.
pub(crate) fn ip4_packet(src: Ipv4Addr, dst: Ipv4Addr, proto: u8, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![0u8; 20];
    data[0] = 0x45;
    put16(&mut data, 2, (20 + payload.len()) as u16);
    data[8] = ttl;
    data[9] = proto;
    data[12..16].copy_from_slice(&src.octets());
    data[16..20].copy_from_slice(&dst.octets());
    let sum = checksum::checksum(&data);
    put16(&mut data, 10, sum);
    data.extend(payload);
    data
}

/// An IPv6 header before `payload`.
pub(crate) fn ip6_packet(src: Ipv6Addr, dst: Ipv6Addr, proto: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = vec![0u8; 40];
    data[0] = 0x60;
    put16(&mut data, 4, payload.len() as u16);
    data[6] = proto;
    data[7] = hop_limit;
    data[8..24].copy_from_slice(&src.octets());
    data[24..40].copy_from_slice(&dst.octets());
    data.extend(payload);
    data
}

/// A packet of the family of its addresses, with ICMPv6's or UDP's checksum filled in when `checksum_at`
/// (offset in the payload) is given. None when the families differ.
pub(crate) fn packet(
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
    ttl: u8,
    payload: &[u8],
    checksum_at: Option<usize>,
) -> Option<Vec<u8>> {
    let mut payload = payload.to_vec();
    if let Some(at) = checksum_at {
        put16(&mut payload, at, 0);
        let pseudo = if proto == ICMP {
            0
        } else {
            checksum::pseudo_header(src, dst, proto, payload.len())
        };
        let total = u32::from(checksum::fold(checksum::sum(&payload))) + u32::from(checksum::fold(pseudo));
        let mut sum = !checksum::fold(total);
        if sum == 0 && proto == UDP {
            sum = 0xffff;
        }
        put16(&mut payload, at, sum);
    }
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Some(ip4_packet(src, dst, proto, ttl, &payload)),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Some(ip6_packet(src, dst, proto, ttl, &payload)),
        _ => None,
    }
}
