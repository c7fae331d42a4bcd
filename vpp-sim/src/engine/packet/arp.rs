//! ARP for IPv4 over Ethernet (RFC 826).
use std::net::Ipv4Addr;

use super::{ETHERTYPE_ARP, Ethernet, be16};
use crate::engine::types::Mac;

pub(crate) const REQUEST: u16 = 1;
pub(crate) const REPLY: u16 = 2;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Arp {
    pub operation: u16,
    pub sender: (Mac, Ipv4Addr),
    pub target: (Mac, Ipv4Addr),
}

impl Arp {
    pub fn parse(data: &[u8]) -> Option<Self> {
        let header: &[u8; 28] = data.first_chunk()?;
        if header[..6] != [0, 1, 8, 0, 6, 4] {
            return None;
        }
        let side = |at: usize| {
            let h = &header[at..at + 10];
            (
                Mac([h[0], h[1], h[2], h[3], h[4], h[5]]),
                Ipv4Addr::new(h[6], h[7], h[8], h[9]),
            )
        };
        Some(Self {
            operation: be16(header, 6),
            sender: side(8),
            target: side(18),
        })
    }

    /// The frame to `dst`, without what fills an Ethernet's shortest frame: that is left to the wire.
    pub fn frame(&self, dst: Mac) -> Vec<u8> {
        self.frame_like(dst, &[])
    }

    /// The frame to `dst`, as long as one with this in it: VPP answers in the request's own buffer.
    pub fn frame_like(&self, dst: Mac, request: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 1, 8, 0, 6, 4];
        body.extend(self.operation.to_be_bytes());
        for (mac, address) in [self.sender, self.target] {
            body.extend(mac.0);
            body.extend(address.octets());
        }
        body.extend(request.iter().skip(body.len()));
        Ethernet {
            dst,
            src: self.sender.0,
            ethertype: ETHERTYPE_ARP,
        }
        .frame(&body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_it_has_to_be_and_a_reply_as_its_request() {
        let arp = Arp {
            operation: REQUEST,
            sender: (Mac([2; 6]), Ipv4Addr::new(10, 0, 0, 1)),
            target: (Mac::default(), Ipv4Addr::new(10, 0, 0, 2)),
        };
        // VPP `src/vnet/ip/ip4_forward.c` and `src/vnet/arp/arp_packet.h`.
        let request = arp.frame(Mac::BROADCAST);
        assert_eq!(request.len(), 14 + 28);
        let mut filled = request[14..].to_vec();
        filled.resize(46, 7);
        let reply = arp.frame_like(Mac::BROADCAST, &filled);
        assert_eq!((&reply[..42], &reply[42..]), (request.as_slice(), &[7; 18][..]));
    }
}
