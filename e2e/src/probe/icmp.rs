//! Ping: echo requests on a raw socket (RFC 792, RFC 4443).

use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};

const ECHO_REQUEST4: u8 = 8;
const ECHO_REPLY4: u8 = 0;
const ECHO_REQUEST6: u8 = 128;
const ECHO_REPLY6: u8 = 129;
const HEADER: usize = 8;

/// What came back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Replies to our requests.
    pub replies: u32,
    /// Time to live of the last reply; IPv4 only, as raw IPv6 sockets don't show the header.
    pub ttl: Option<u8>,
}

/// Sends `count` echo requests with `size` bytes of data, one after the other.
pub fn ping(to: IpAddr, count: u16, size: usize, timeout: Duration) -> io::Result<Report> {
    let (domain, protocol) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    let identifier = std::process::id() as u16;
    let mut report = Report::default();
    for sequence in 0..count {
        let request = echo_request(to, identifier, sequence, size);
        match socket.send_to(&request, &SocketAddr::new(to, 0).into()) {
            Ok(_) => {}
            // Told at once that it can't be delivered: a request without a reply.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        }
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            let mut buffer = [0; 9216];
            let Ok(length) = socket.read(&mut buffer) else {
                break;
            };
            if let Some(ttl) = own_reply(to, &buffer[..length], identifier, sequence) {
                report.replies += 1;
                report.ttl = ttl;
                break;
            }
        }
    }
    Ok(report)
}

fn echo_request(to: IpAddr, identifier: u16, sequence: u16, size: usize) -> Vec<u8> {
    let kind = if to.is_ipv4() {
        ECHO_REQUEST4
    } else {
        ECHO_REQUEST6
    };
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend(identifier.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    packet.extend((0..size).map(|index| index as u8));
    if to.is_ipv4() {
        // The kernel fills in ICMPv6's checksum, which covers addresses, but not ICMP's.
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// `Some(ttl)` if the packet is the reply to our request with this number.
fn own_reply(from: IpAddr, packet: &[u8], identifier: u16, sequence: u16) -> Option<Option<u8>> {
    let (message, ttl, kind) = match from {
        IpAddr::V4(_) => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            (packet.get(header..)?, packet.get(8).copied(), ECHO_REPLY4)
        }
        IpAddr::V6(_) => (packet, None, ECHO_REPLY6),
    };
    let is_ours = message.len() >= HEADER
        && message[0] == kind
        && message[4..6] == identifier.to_be_bytes()
        && message[6..8] == sequence.to_be_bytes();
    is_ours.then_some(ttl)
}

/// Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_packet_with_its_checksum_is_zero() {
        let packet = echo_request("10.0.0.1".parse().unwrap(), 7, 1, 33);
        assert_eq!(checksum(&packet), 0);
    }

    #[test]
    fn only_the_reply_to_the_same_request_counts() {
        let to = "fd00::1".parse().unwrap();
        let mut reply = echo_request(to, 7, 1, 8);
        assert_eq!(own_reply(to, &reply, 7, 1), None, "a request is no reply");
        reply[0] = ECHO_REPLY6;
        assert_eq!(own_reply(to, &reply, 7, 1), Some(None));
        assert_eq!(own_reply(to, &reply, 7, 2), None);
        assert_eq!(own_reply(to, &reply, 8, 1), None);
    }
}
