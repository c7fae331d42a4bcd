//! Reading and editing packets in place.
pub(crate) mod arp;
pub(crate) mod checksum;
pub(crate) mod hash;
pub(crate) mod ip;
pub(crate) mod nat;
pub(crate) mod nd;
pub(crate) mod tunnel;

use super::types::Mac;

pub(crate) const ETHERTYPE_IP4: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IP6: u16 = 0x86dd;

/// Length of an Ethernet header without tags.
pub(crate) const ETHERNET_LEN: usize = 14;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMP6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

/// Big-endian number at an offset; 0 beyond the end (lengths are checked when a packet enters).
pub(crate) fn be16(data: &[u8], at: usize) -> u16 {
    match data.get(at..at + 2) {
        Some(bytes) => u16::from_be_bytes([bytes[0], bytes[1]]),
        None => 0,
    }
}

/// As [`be16`], four bytes.
pub(crate) fn be32(data: &[u8], at: usize) -> u32 {
    (u32::from(be16(data, at)) << 16) | u32::from(be16(data, at + 2))
}

/// Writes a big-endian number; nothing beyond the end.
pub(crate) fn put16(data: &mut [u8], at: usize, value: u16) {
    if let Some(bytes) = data.get_mut(at..at + 2) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ethernet {
    pub dst: Mac,
    pub src: Mac,
    pub ethertype: u16,
}

impl Ethernet {
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (dst, rest) = frame.split_first_chunk::<6>()?;
        let (src, rest) = rest.split_first_chunk::<6>()?;
        let (ethertype, _) = rest.split_first_chunk::<2>()?;
        Some(Self {
            dst: Mac(*dst),
            src: Mac(*src),
            ethertype: u16::from_be_bytes(*ethertype),
        })
    }

    /// A frame with this header.
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(ETHERNET_LEN + payload.len());
        frame.extend(self.dst.0);
        frame.extend(self.src.0);
        frame.extend(self.ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }
}
