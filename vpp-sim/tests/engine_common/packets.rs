//! Building and reading packets, independent of the engine.
use std::net::IpAddr;

use vpp_sim::engine::{Mac, verify_checksums};

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const SCTP: u8 = 132;

pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

fn sum16(data: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in data.chunks(2) {
        total += (u32::from(pair[0]) << 8) | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The IP header before a payload whose checksum (at an offset) is filled in.
pub fn ip(src: IpAddr, dst: IpAddr, proto: u8, ttl: u8, mut l4: Vec<u8>, sum_at: Option<usize>) -> Vec<u8> {
    if let Some(at) = sum_at {
        let mut pseudo = Vec::new();
        if proto != 1 {
            pseudo.extend(octets(src));
            pseudo.extend(octets(dst));
            pseudo.extend((l4.len() as u32).to_be_bytes());
            pseudo.extend([0, 0, 0, proto]);
        }
        l4[at] = 0;
        l4[at + 1] = 0;
        let total = u32::from(sum16(&pseudo)) + u32::from(sum16(&l4));
        let folded = ((total & 0xffff) + (total >> 16)) as u16;
        let sum = !folded;
        l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut data = match src {
        IpAddr::V4(_) => {
            let mut h = vec![0x45, 0];
            h.extend(((20 + l4.len()) as u16).to_be_bytes());
            h.extend([0x12, 0x34, 0x40, 0, ttl, proto, 0, 0]);
            h.extend(octets(src));
            h.extend(octets(dst));
            let sum = !sum16(&h);
            h[10..12].copy_from_slice(&sum.to_be_bytes());
            h
        }
        IpAddr::V6(_) => {
            let mut h = vec![0x60, 0, 0, 0];
            h.extend((l4.len() as u16).to_be_bytes());
            h.extend([proto, ttl]);
            h.extend(octets(src));
            h.extend(octets(dst));
            h
        }
    };
    data.extend(l4);
    data
}

pub fn tcp(src: IpAddr, dst: IpAddr, ports: (u16, u16), flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(ports.0.to_be_bytes());
    l4.extend(ports.1.to_be_bytes());
    l4.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    l4.extend(payload);
    ip(src, dst, TCP, 64, l4, Some(16))
}

pub fn udp(src: IpAddr, dst: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(ports.0.to_be_bytes());
    l4.extend(ports.1.to_be_bytes());
    l4.extend(((8 + payload.len()) as u16).to_be_bytes());
    l4.extend([0, 0]);
    l4.extend(payload);
    ip(src, dst, UDP, 64, l4, Some(6))
}

pub fn sctp(src: IpAddr, dst: IpAddr, ports: (u16, u16)) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(ports.0.to_be_bytes());
    l4.extend(ports.1.to_be_bytes());
    l4.extend([0, 0, 0, 7, 0, 0, 0, 0, 1, 0, 0, 4]);
    let mut crc = u32::MAX;
    for byte in &l4 {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    l4[8..12].copy_from_slice(&(!crc).to_le_bytes());
    ip(src, dst, SCTP, 64, l4, None)
}

/// An echo request, or its answer.
pub fn echo(src: IpAddr, dst: IpAddr, id: u16, request: bool, ttl: u8, size: usize) -> Vec<u8> {
    let (proto, kind) = match (src, request) {
        (IpAddr::V4(_), true) => (1, 8),
        (IpAddr::V4(_), false) => (1, 0),
        (IpAddr::V6(_), true) => (58, 128),
        (IpAddr::V6(_), false) => (58, 129),
    };
    let mut l4 = vec![kind, 0, 0, 0];
    l4.extend(id.to_be_bytes());
    l4.extend([0, 1]);
    l4.extend(vec![0xab; size]);
    ip(src, dst, proto, ttl, l4, Some(2))
}

pub fn frame(dst: Mac, src: Mac, packet: &[u8]) -> Vec<u8> {
    let ethertype: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    raw_frame(dst, src, ethertype, packet)
}

pub fn raw_frame(dst: Mac, src: Mac, ethertype: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut frame = dst.0.to_vec();
    frame.extend(src.0);
    frame.extend(ethertype);
    frame.extend(payload);
    frame
}

pub fn arp(operation: u8, sender: (Mac, [u8; 4]), target: (Mac, [u8; 4]), to: Mac) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    body.extend(sender.0.0);
    body.extend(sender.1);
    body.extend(target.0.0);
    body.extend(target.1);
    raw_frame(to, sender.0, [8, 6], &body)
}

/// What a receiver sees of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub proto: u8,
    pub ttl: u8,
    /// Ports, or ICMP type and code.
    pub ports: (u16, u16),
    /// TCP flags, 0 for others.
    pub flags: u8,
    /// Echo identifier.
    pub id: u16,
    pub l4: Vec<u8>,
    pub data: Vec<u8>,
}

/// Reads an IP packet; its checksums must be right.
pub fn read(data: &[u8]) -> Seen {
    verify_checksums(data).unwrap_or_else(|e| panic!("{e} in {data:02x?}"));
    let (src, dst, proto, ttl, at): (IpAddr, IpAddr, u8, u8, usize) = if data[0] >> 4 == 4 {
        let a = |i: usize| IpAddr::from([data[i], data[i + 1], data[i + 2], data[i + 3]]);
        (a(12), a(16), data[9], data[8], usize::from(data[0] & 15) * 4)
    } else {
        let a = |i: usize| IpAddr::from(<[u8; 16]>::try_from(&data[i..i + 16]).unwrap());
        (a(8), a(24), data[6], data[7], 40)
    };
    let l4 = data[at..].to_vec();
    let word = |i: usize| u16::from_be_bytes([l4[i], l4[i + 1]]);
    let icmp = matches!(proto, 1 | 58);
    Seen {
        src,
        dst,
        proto,
        ttl,
        ports: if icmp {
            (u16::from(l4[0]), u16::from(l4[1]))
        } else {
            (word(0), word(2))
        },
        flags: if proto == TCP { l4[13] } else { 0 },
        id: if icmp { word(4) } else { 0 },
        data: data.to_vec(),
        l4,
    }
}

/// The IP packet in a frame; None for other frames.
pub fn ip_of(frame: &[u8]) -> Option<&[u8]> {
    matches!(frame[12..14], [8, 0] | [0x86, 0xdd]).then(|| &frame[14..])
}
