//! Packets that ask and answer: the first of a connection, and what comes back.

use std::net::IpAddr;

use vpp_api::types::MacAddress;

/// IP protocols that can be asked about.
pub const TCP: u8 = 6;
const UDP: u8 = 17;
/// ICMP for IPv4; its echo stands for `"protocol":"ICMP"`.
pub const ICMP: u8 = 1;
/// ICMP for IPv6.
pub const ICMP6: u8 = 58;

const SYN: u8 = 2;
const SYN_ACK: u8 = 18;

/// Addresses, protocol and ports of a packet. For echoes the first port is the identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source and destination port.
    pub ports: (u16, u16),
    /// Whether it answers.
    pub answer: bool,
}

impl Packet {
    /// What the receiver sends back.
    pub fn reply(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            ports: (self.ports.1, self.ports.0),
            answer: true,
            ..*self
        }
    }

    /// The packet as an Ethernet frame, checksums complete.
    pub fn frame(&self, from: MacAddress, to: MacAddress) -> Vec<u8> {
        let l4 = self.transport();
        let length = u16::try_from(l4.len()).unwrap_or(u16::MAX);
        let mut frame = Vec::with_capacity(14 + 40 + l4.len());
        frame.extend(to.0);
        frame.extend(from.0);
        match self.src {
            IpAddr::V4(_) => {
                frame.extend([0x08, 0x00]);
                let mut head = vec![0x45, 0];
                head.extend((length + 20).to_be_bytes());
                // No identification, not to be fragmented, 64 hops.
                head.extend([0, 1, 0x40, 0, 64, self.protocol, 0, 0]);
                extend(&mut head, self.src);
                extend(&mut head, self.dst);
                let sum = !sum(&[&head]);
                head[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(head);
            }
            IpAddr::V6(_) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([self.protocol, 64]);
                extend(&mut frame, self.src);
                extend(&mut frame, self.dst);
            }
        }
        frame.extend(l4);
        frame
    }

    fn transport(&self) -> Vec<u8> {
        let mut l4 = Vec::with_capacity(20);
        l4.extend(self.ports.0.to_be_bytes());
        l4.extend(self.ports.1.to_be_bytes());
        let sum_at = match self.protocol {
            TCP => {
                let flags = if self.answer { SYN_ACK } else { SYN };
                l4.extend([0, 0, 0, 1, 0, 0, 0, u8::from(self.answer)]);
                l4.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
                16
            }
            UDP => {
                l4.extend([0, 8, 0, 0]);
                6
            }
            ICMP | ICMP6 => {
                let kind = match (self.protocol, self.answer) {
                    (ICMP, false) => 8,
                    (ICMP, true) => 0,
                    (_, false) => 128,
                    (_, true) => 129,
                };
                let id = if self.answer { self.ports.1 } else { self.ports.0 };
                l4 = vec![kind, 0, 0, 0];
                l4.extend(id.to_be_bytes());
                l4.extend([0, 1]);
                2
            }
            _ => {
                // SCTP: a verification tag, and no checksum, which only ends look at.
                l4.extend([0, 0, 0, 7, 0, 0, 0, 0]);
                return l4;
            }
        };
        let mut pseudo = Vec::with_capacity(40);
        if self.protocol != ICMP {
            extend(&mut pseudo, self.src);
            extend(&mut pseudo, self.dst);
            pseudo.extend([0, self.protocol]);
            pseudo.extend(u16::try_from(l4.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
        let sum = !sum(&[&pseudo, &l4]);
        l4[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        l4
    }

    /// Reads the packet in an Ethernet frame; `None` if it is none of those made here.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (src, dst, protocol, l4): (IpAddr, IpAddr, u8, &[u8]) = match frame.get(12..14)? {
            [0x08, 0x00] => {
                let head: &[u8; 20] = frame.get(14..34)?.try_into().ok()?;
                let src: [u8; 4] = head[12..16].try_into().ok()?;
                let dst: [u8; 4] = head[16..20].try_into().ok()?;
                (src.into(), dst.into(), head[9], frame.get(34..)?)
            }
            [0x86, 0xdd] => {
                let src: [u8; 16] = frame.get(22..38)?.try_into().ok()?;
                let dst: [u8; 16] = frame.get(38..54)?.try_into().ok()?;
                (src.into(), dst.into(), *frame.get(20)?, frame.get(54..)?)
            }
            _ => return None,
        };
        let half = |at: usize| Some(u16::from_be_bytes([*l4.get(at)?, *l4.get(at + 1)?]));
        let (ports, answer) = match protocol {
            ICMP | ICMP6 => match l4.first()? {
                8 | 128 => ((half(4)?, 0), false),
                0 | 129 => ((0, half(4)?), true),
                _ => return None,
            },
            TCP => ((half(0)?, half(2)?), l4.get(13)? & 16 != 0),
            _ => ((half(0)?, half(2)?), false),
        };
        Some(Self {
            src,
            dst,
            protocol,
            ports,
            answer,
        })
    }
}

/// One hop less, as a router's kernel does; false when the packet has none left.
pub fn forward(frame: &mut [u8], from: MacAddress, to: MacAddress) -> bool {
    let is_ipv4 = frame.get(12..14) == Some(&[0x08, 0x00]);
    if frame.len() < if is_ipv4 { 34 } else { 54 } {
        return false;
    }
    frame[0..6].copy_from_slice(&to.0);
    frame[6..12].copy_from_slice(&from.0);
    let at = if is_ipv4 { 22 } else { 21 };
    let Some(hops) = frame.get(at).filter(|hops| **hops > 1) else {
        return false;
    };
    frame[at] = hops - 1;
    if is_ipv4 {
        frame[24..26].copy_from_slice(&[0, 0]);
        let sum = !sum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    true
}

fn extend(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(a) => bytes.extend(a.octets()),
        IpAddr::V6(a) => bytes.extend(a.octets()),
    }
}

/// Ones' complement sum (RFC 1071) of parts of even length.
fn sum(parts: &[&[u8]]) -> u16 {
    let halves = parts.iter().flat_map(|part| part.chunks_exact(2));
    let mut total: u32 = halves
        .map(|half| u32::from(half[0]) << 8 | u32::from(half[1]))
        .sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read_and_its_checksums_are_right() {
        for (src, dst) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            for (protocol, ports) in [(TCP, (4000, 80)), (UDP, (4000, 53)), (132, (4000, 9))] {
                let packet = Packet {
                    src: src.parse().unwrap(),
                    dst: dst.parse().unwrap(),
                    protocol,
                    ports,
                    answer: false,
                };
                let frame = packet.frame(MacAddress([2; 6]), MacAddress([4; 6]));
                assert_eq!(Packet::parse(&frame), Some(packet));
                if protocol != 132 {
                    assert_eq!(vpp_sim::engine::verify_checksums(&frame[14..]), Ok(()));
                }
                let mut forwarded = frame.clone();
                assert!(forward(&mut forwarded, MacAddress([6; 6]), MacAddress([8; 6])));
                assert_eq!(Packet::parse(&forwarded), Some(packet));
                assert!(protocol == 132 || vpp_sim::engine::verify_checksums(&forwarded[14..]).is_ok());
            }
        }
    }
}
