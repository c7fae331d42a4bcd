//! Rewriting addresses and ports with all checksums, also inside ICMP errors (`cnat_node.h`).
use std::net::IpAddr;

use super::ip::Ip;
use super::{ICMP, ICMP6, SCTP, TCP, UDP, be16, checksum, put16};
pub(crate) use crate::engine::cnat::SessionKeyDetails as FiveTuple;
use crate::engine::types::Family;

/// Length of an ICMP header before the packet an error carries.
const ICMP_ERROR_LEN: usize = 8;

fn is_echo(family: Family, icmp_type: u8) -> bool {
    match family {
        Family::V4 => matches!(icmp_type, 0 | 8),
        Family::V6 => matches!(icmp_type, 128 | 129),
    }
}

/// Whether an ICMP type carries the packet it is about.
pub(crate) fn is_error(family: Family, icmp_type: u8) -> bool {
    match family {
        // unreachable, quench, redirect, alternate host, time exceeded, parameter problem
        Family::V4 => matches!(icmp_type, 3 | 4 | 5 | 6 | 11 | 12),
        // unreachable, time exceeded, parameter problem
        Family::V6 => matches!(icmp_type, 1 | 3 | 4),
    }
}

/// The packet inside an ICMP error; it may be cut off anywhere behind its first 8 bytes of payload.
struct Inner {
    family: Family,
    start: usize,
    l4: usize,
    proto: u8,
    src: IpAddr,
    dst: IpAddr,
}

impl Inner {
    fn parse(ip: &Ip, data: &[u8]) -> Option<Self> {
        let start = ip.l4 + ICMP_ERROR_LEN;
        let inner = data.get(start..ip.end)?;
        // The length fields speak of the whole packet, so only the headers are read.
        let header_len = match ip.family {
            Family::V4 => usize::from(inner.first()? & 0xf) * 4,
            Family::V6 => 40,
        };
        if header_len < 20 || inner.len() < header_len + 8 {
            return None;
        }
        let mut whole = inner[..header_len + 8].to_vec();
        match ip.family {
            Family::V4 => put16(&mut whole, 2, (header_len + 8) as u16),
            Family::V6 => put16(&mut whole, 4, 8),
        }
        let view = Ip::parse(&whole).ok()?;
        (view.family == ip.family && view.fragment_offset == 0).then_some(Self {
            family: ip.family,
            start,
            l4: start + view.l4,
            proto: view.proto,
            src: view.src,
            dst: view.dst,
        })
    }

    fn is_icmp(&self) -> bool {
        self.proto
            == match self.family {
                Family::V4 => ICMP,
                Family::V6 => ICMP6,
            }
    }
}

/// The tuple under which cnat looks a packet up; None for what it does not track.
pub(crate) fn five_tuple(ip: &Ip, data: &[u8]) -> Option<FiveTuple> {
    if !ip.l4_valid {
        return None;
    }
    let tuple = |src, dst, (src_port, dst_port), proto| FiveTuple {
        src,
        dst,
        src_port,
        dst_port,
        proto,
    };
    let Some((icmp_type, _)) = ip.icmp(data) else {
        return matches!(ip.proto, TCP | UDP | SCTP).then(|| tuple(ip.src, ip.dst, ip.ports(data), ip.proto));
    };
    if is_echo(ip.family, icmp_type) {
        let id = be16(data, ip.l4 + 4);
        return Some(tuple(ip.src, ip.dst, (id, id), ip.proto));
    }
    if !is_error(ip.family, icmp_type) {
        return None;
    }
    // The packet inside went the other way.
    let inner = Inner::parse(ip, data)?;
    if inner.is_icmp() {
        if !is_echo(inner.family, data[inner.l4]) {
            return None;
        }
        let id = be16(data, inner.l4 + 4);
        return Some(tuple(inner.dst, inner.src, (id, id), inner.proto));
    }
    let ports = (be16(data, inner.l4 + 2), be16(data, inner.l4));
    Some(tuple(inner.dst, inner.src, ports, inner.proto))
}

/// Octets of an address.
fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// Writes addresses into an IP header, with IPv4's header checksum.
fn set_addresses(header: &mut [u8], family: Family, src: IpAddr, dst: IpAddr) {
    let new: Vec<u8> = octets(src).into_iter().chain(octets(dst)).collect();
    let at = match family {
        Family::V4 => 12,
        Family::V6 => 8,
    };
    let Some(field) = header.get_mut(at..at + new.len()) else {
        return;
    };
    let old = field.to_vec();
    field.copy_from_slice(&new);
    if family == Family::V4 {
        let sum = checksum::update(be16(header, 10), &old, &new);
        put16(header, 10, sum);
    }
}

/// Writes ports (or the echo identifier) and updates the L4 checksum for them and for new addresses.
/// `l4` is the header and as much of the rest as there is.
fn set_ports(l4: &mut [u8], proto: u8, ports: (u16, u16), old: (IpAddr, IpAddr), new: (IpAddr, IpAddr)) {
    let is_icmp = matches!(proto, ICMP | ICMP6);
    let (at, bytes) = if is_icmp {
        (4, ports.0.to_be_bytes().to_vec())
    } else {
        let both = (u32::from(ports.0) << 16) | u32::from(ports.1);
        (0, both.to_be_bytes().to_vec())
    };
    let Some(field) = l4.get_mut(at..at + bytes.len()) else {
        return;
    };
    let old_field = field.to_vec();
    field.copy_from_slice(&bytes);
    let Some(sum_at) = checksum::l4_offset(proto) else {
        return;
    };
    if l4.len() < sum_at + 2 {
        return;
    }
    let before = be16(l4, sum_at);
    // UDP without checksum stays without.
    if proto == UDP && before == 0 {
        return;
    }
    let mut sum = checksum::update(before, &old_field, &bytes);
    // ICMP over IPv4 has no pseudo-header.
    if proto != ICMP {
        sum = checksum::update(sum, &octets(old.0), &octets(new.0));
        sum = checksum::update(sum, &octets(old.1), &octets(new.1));
    }
    if proto == UDP && sum == 0 {
        sum = 0xffff;
    }
    put16(l4, sum_at, sum);
}

/// Makes the packet one of the flow `to`.
pub(crate) fn rewrite(data: &mut [u8], ip: &Ip, to: &FiveTuple) {
    if !ip.l4_valid {
        return;
    }
    let (old, new) = ((ip.src, ip.dst), (to.src, to.dst));
    let ports = (to.src_port, to.dst_port);
    match ip.icmp(data) {
        Some((icmp_type, _)) if is_echo(ip.family, icmp_type) => {
            set_addresses(data, ip.family, to.src, to.dst);
            set_ports(&mut data[ip.l4..ip.end], ip.proto, ports, old, new);
        }
        // The sender is translated only when it is the flow's end itself, not a router on the way.
        Some((icmp_type, _)) if is_error(ip.family, icmp_type) => {
            rewrite_error(data, ip, to, |end| if ip.src == end { to.src } else { ip.src });
        }
        Some(_) => {}
        None if matches!(ip.proto, TCP | UDP) => {
            set_addresses(data, ip.family, to.src, to.dst);
            set_ports(&mut data[ip.l4..ip.end], ip.proto, ports, old, new);
        }
        None if ip.proto == SCTP => {
            set_addresses(data, ip.family, to.src, to.dst);
            let l4 = &mut data[ip.l4..ip.end];
            set_ports(l4, SCTP, ports, old, new);
            // SCTP's checksum does not cover addresses; zero means the NIC will fill it in.
            if l4.get(8..12).is_some_and(|sum| sum != [0; 4]) {
                let sum = checksum::crc32c_sctp(l4);
                l4[8..12].copy_from_slice(&sum);
            }
        }
        None => {}
    }
}

/// The tuple of the packet an ICMP error carries, as it stands there; zero ports where it has none.
pub(crate) fn inner_tuple(ip: &Ip, data: &[u8]) -> Option<FiveTuple> {
    let inner = Inner::parse(ip, data)?;
    let (src_port, dst_port) = match inner.proto {
        TCP | UDP => (be16(data, inner.l4), be16(data, inner.l4 + 2)),
        _ if inner.is_icmp() => {
            let identifier = be16(data, inner.l4 + 4);
            (identifier, identifier)
        }
        _ => (0, 0),
    };
    Some(FiveTuple {
        src: inner.src,
        dst: inner.dst,
        src_port,
        dst_port,
        proto: inner.proto,
    })
}

/// Makes an IPv4 packet one of the flow `to` as nat44-ed does: protocols without ports get new addresses only, and
/// ICMP from outside keeps its source. False for an ICMP error that is cut short in the TCP header it carries, which
/// VPP does not translate.
pub(crate) fn rewrite_nat44(data: &mut [u8], ip: &Ip, to: &FiveTuple, from_inside: bool) -> bool {
    let Some((icmp_type, _)) = ip.icmp(data) else {
        if matches!(ip.proto, TCP | UDP) && ip.l4_valid {
            rewrite(data, ip, to);
        } else {
            set_addresses(data, ip.family, to.src, to.dst);
        }
        return true;
    };
    let src = if from_inside { to.src } else { ip.src };
    if is_error(ip.family, icmp_type) {
        const TCP_HEADER: usize = 20;
        let whole =
            Inner::parse(ip, data).is_some_and(|inner| inner.proto != TCP || ip.end >= inner.l4 + TCP_HEADER);
        if whole {
            rewrite_error(data, ip, to, |_| src);
        }
        return whole;
    }
    rewrite(data, ip, &FiveTuple { src, ..*to });
    true
}

/// An ICMP error of the flow: the packet inside is rewritten as one of the other direction. `source` makes the
/// error's own source of the address the packet inside was sent to.
fn rewrite_error(data: &mut [u8], ip: &Ip, to: &FiveTuple, source: impl Fn(IpAddr) -> IpAddr) {
    let Some(inner) = Inner::parse(ip, data) else {
        return;
    };
    let src = source(inner.dst);
    set_addresses(data, ip.family, src, to.dst);
    let (old, new) = ((inner.src, inner.dst), (to.dst, to.src));
    set_ports(
        &mut data[inner.l4..ip.end],
        inner.proto,
        (to.dst_port, to.src_port),
        old,
        new,
    );
    set_addresses(&mut data[inner.start..ip.end], ip.family, new.0, new.1);
    put16(data, ip.l4 + 2, 0);
    let pseudo = match ip.family {
        Family::V4 => 0,
        Family::V6 => checksum::pseudo_header(src, to.dst, ICMP6, ip.end - ip.l4),
    };
    let total =
        u32::from(checksum::fold(checksum::sum(&data[ip.l4..ip.end]))) + u32::from(checksum::fold(pseudo));
    put16(data, ip.l4 + 2, !checksum::fold(total));
}
