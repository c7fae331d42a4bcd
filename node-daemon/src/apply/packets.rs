//! Packets for tests.

use std::net::IpAddr;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const SCTP: u8 = 132;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMP6: u8 = 58;

/// Flags of TCP segments.
pub(super) const SYN: u8 = 0x02;
pub(super) const PUSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

/// An Ethernet frame with an IP packet of one of the protocols, TCP's being a SYN; checksums are those of the engine's
/// own rules.
pub(super) fn frame(
    macs: ([u8; 6], [u8; 6]),
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    ports: (u16, u16),
) -> Vec<u8> {
    segment(macs, from, to, protocol, ports, SYN)
}

/// Like [`frame`], with these flags of TCP; of ICMP the ports are type and code.
pub(super) fn segment(
    macs: ([u8; 6], [u8; 6]),
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    ports: (u16, u16),
    flags: u8,
) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(ports.0.to_be_bytes());
    l4.extend(ports.1.to_be_bytes());
    let sum_at = match protocol {
        TCP => {
            l4.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            Some(16)
        }
        UDP => {
            l4.extend([0, 8, 0, 0]);
            Some(6)
        }
        ICMP | ICMP6 => {
            l4 = vec![ports.0 as u8, ports.1 as u8, 0, 0, 0, 1, 0, 1];
            Some(2)
        }
        _ => {
            l4.extend([0, 0, 0, 7, 0, 0, 0, 0]);
            None
        }
    };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    if let Some(at) = sum_at {
        let mut covered = Vec::new();
        if protocol != ICMP {
            covered.extend(octets(from));
            covered.extend(octets(to));
            covered.extend([0, 0, (l4.len() >> 8) as u8, l4.len() as u8, 0, 0, 0, protocol]);
        }
        covered.extend(&l4);
        let sum = !sum(&covered);
        l4[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    let mut frame = macs.1.to_vec();
    frame.extend(macs.0);
    match from {
        IpAddr::V4(_) => {
            let length = (20 + l4.len()) as u16;
            let mut head = vec![0x45, 0];
            head.extend(length.to_be_bytes());
            head.extend([0, 1, 0x40, 0, 64, protocol, 0, 0]);
            head.extend(octets(from));
            head.extend(octets(to));
            let sum = !sum(&head);
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([0x08, 0x00]);
            frame.extend(head);
        }
        IpAddr::V6(_) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((l4.len() as u16).to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend(octets(from));
            frame.extend(octets(to));
        }
    }
    frame.extend(l4);
    frame
}

/// Ones' complement sum (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let mut total: u32 = bytes
        .chunks(2)
        .map(|pair| (u32::from(pair[0]) << 8) | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}
