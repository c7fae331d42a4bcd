//! Frames on a wire: packets that mean something to the node they come to, bent in places.

use std::net::IpAddr;

use arbitrary::{Result, Unstructured};
use vpp_sim::engine::{Mac, Vpp};

use crate::addresses;
use crate::packets;

/// A frame, and whether it is as its sender meant it: all lengths and checksums right.
pub struct Made {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// Nothing was bent.
    pub whole: bool,
}

/// A frame for an interface of the node.
///
/// # Errors
/// None; as everywhere in `arbitrary`.
pub fn frame(u: &mut Unstructured<'_>, vpp: &Vpp, sw_if_index: u32) -> Result<Made> {
    let own = vpp
        .interface(sw_if_index)
        .map_or(Mac([0xff; 6]), |interface| interface.mac);
    let to = if u.ratio(15, 16)? { own } else { addresses::mac(u)? };
    let from = addresses::mac(u)?;
    let mut bytes = match u.int_in_range(0..=15)? {
        0 => {
            let sender = (from, addresses::v4(u)?.octets());
            let target = (addresses::mac(u)?, addresses::v4(u)?.octets());
            packets::arp(u.int_in_range(0..=3)?, sender, target, to)
        }
        1 => packets::raw_frame(to, from, u.arbitrary()?, u.bytes(u.len().min(64))?),
        _ => {
            let packet = packet(u, 0)?;
            packets::frame(to, from, &packet)
        }
    };
    let mut whole = true;
    if u.ratio(1, 3)? {
        whole = false;
        for _ in 0..u.int_in_range(1..=4)? {
            let at = u.choose_index(bytes.len())?;
            bytes[at] = u.arbitrary()?;
        }
        if u.ratio(1, 4)? {
            let length = u.int_in_range(0..=bytes.len())?;
            bytes.truncate(length);
        }
    }
    Ok(Made { bytes, whole })
}

/// The IP packet in a frame, if there is one.
pub fn ip_of(frame: &[u8]) -> Option<&[u8]> {
    frame.get(12..14)?;
    packets::ip_of(frame).filter(|packet| !packet.is_empty())
}

/// An IP packet; within another up to a depth of three.
fn packet(u: &mut Unstructured<'_>, depth: u8) -> Result<Vec<u8>> {
    let (src, dst) = addresses::pair(u)?;
    let ports = (addresses::port(u)?, addresses::port(u)?);
    let size = if u.ratio(1, 16)? {
        u.int_in_range(0..=9000)?
    } else {
        u.int_in_range(0..=200)?
    };
    let payload = vec![0xa5; size];
    let flags: u8 = *u.choose(&[0, 1, 2, 4, 16, 17, 18, 24, 63])?;
    let mut packet = match u.int_in_range(0..=11)? {
        0..=2 => packets::tcp(src, dst, ports, flags, &payload),
        3..=4 => packets::udp(src, dst, ports, &payload),
        5 => packets::sctp(src, dst, ports),
        6 => packets::echo(src, dst, ports.0, u.arbitrary()?, 64, size),
        7 if depth < 3 => icmp_error(u, src, dst, depth)?,
        8 if depth < 3 => vxlan(u, src, dst, depth)?,
        9 if depth < 3 => {
            // IP in IP.
            let inner = self::packet(u, depth + 1)?;
            let proto = if inner[0] >> 4 == 4 { 4 } else { 41 };
            packets::ip(src, dst, proto, 64, inner, None)
        }
        10 if src.is_ipv6() => neighbour(u, src, dst)?,
        _ => packets::ip(src, dst, u.arbitrary()?, 64, payload, None),
    };
    if u.ratio(1, 8)? {
        set_ttl(&mut packet, u.int_in_range(0..=2)?);
    }
    if u.ratio(1, 8)? && packet[0] >> 4 == 4 {
        // Fragments, and what may not be one.
        let bits: u16 = *u.choose(&[0x2000, 0x4000, 0x0001, 0x2001, 0x1fff, 0x6000, 0x0010, 0])?;
        packet[6..8].copy_from_slice(&bits.to_be_bytes());
        fix(&mut packet);
    }
    Ok(packet)
}

fn set_ttl(packet: &mut [u8], ttl: u8) {
    if packet[0] >> 4 == 4 {
        packet[8] = ttl;
        fix(packet);
    } else {
        packet[7] = ttl;
    }
}

/// The checksum of an IPv4 header without options.
fn fix(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let mut sum = packet[..20]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn icmp_error(u: &mut Unstructured<'_>, src: IpAddr, dst: IpAddr, depth: u8) -> Result<Vec<u8>> {
    let inner = packet(u, depth + 1)?;
    let length = u.int_in_range(0..=inner.len())?;
    let (proto, kind) = match src {
        IpAddr::V4(_) => (1, *u.choose(&[3, 11, 12, 5])?),
        IpAddr::V6(_) => (58, *u.choose(&[1, 2, 3, 4])?),
    };
    let mut l4 = vec![kind, u.int_in_range(0..=4)?, 0, 0, 0, 0, 5, 0];
    l4.extend(&inner[..length]);
    Ok(packets::ip(src, dst, proto, 64, l4, Some(2)))
}

fn vxlan(u: &mut Unstructured<'_>, src: IpAddr, dst: IpAddr, depth: u8) -> Result<Vec<u8>> {
    let inner = packet(u, depth + 1)?;
    let vni: u32 = u.int_in_range(9..=14)?;
    let mut payload = vec![*u.choose(&[8, 8, 8, 0, 0xff])?, 0, 0, 0];
    payload.extend((vni << 8).to_be_bytes());
    if u.arbitrary()? {
        payload.extend(packets::frame(addresses::mac(u)?, addresses::mac(u)?, &inner));
    } else {
        payload.extend(inner);
    }
    Ok(packets::udp(src, dst, (addresses::port(u)?, 4789), &payload))
}

/// Neighbour solicitation or advertisement, router messages.
fn neighbour(u: &mut Unstructured<'_>, src: IpAddr, dst: IpAddr) -> Result<Vec<u8>> {
    let mut l4 = vec![u.int_in_range(133..=137)?, 0, 0, 0, 0, 0, 0, 0];
    l4.extend(addresses::v6(u)?.octets());
    for _ in 0..u.int_in_range(0..=2)? {
        l4.extend([u.int_in_range(0..=3)?, u.int_in_range(0..=2)?]);
        l4.extend(addresses::mac(u)?.0);
    }
    let mut packet = packets::ip(src, dst, 58, 64, l4, Some(2));
    set_ttl(&mut packet, 255);
    Ok(packet)
}
