//! Sees the IP packets of a namespace's interfaces, as tcpdump would, and prints one JSON object a packet.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{ReceiveTimeout, ReceiveTimestampns};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket,
};
use nix::sys::time::{TimeSpec, TimeVal};
use serde::{Deserialize, Serialize};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// `PACKET_OUTGOING` of packet(7): the packet leaves by this interface.
const OUTGOING: u8 = 4;

/// A packet as an interface saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Nanoseconds since 1970, by the kernel: several watchers' sightings are put in order by it.
    pub at: u64,
    /// Interface within the namespace.
    pub interface: String,
    /// Whether it left by the interface rather than arriving by it.
    pub outgoing: bool,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Source port; 0 for protocols without ports.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Whether it is the first segment of a TCP connection, in its direction.
    pub syn: bool,
}

/// Prints `ready` once it listens, then a line per TCP or UDP packet, until killed.
pub fn sniff(out: &mut dyn Write) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        SockFlag::empty(),
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(1, 0))?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    let mut names = BTreeMap::new();
    writeln!(out, "ready")?;
    out.flush()?;
    let mut buffer = [0u8; 65536];
    let mut control = nix::cmsg_space!(TimeSpec);
    loop {
        let received = {
            let mut slices = [io::IoSliceMut::new(&mut buffer)];
            match recvmsg::<LinkAddr>(
                socket.as_raw_fd(),
                &mut slices,
                Some(&mut control),
                MsgFlags::empty(),
            ) {
                Ok(message) => {
                    let stamp = message.cmsgs()?.find_map(|cmsg| match cmsg {
                        ControlMessageOwned::ScmTimestampns(time) => Some(time),
                        _ => None,
                    });
                    message
                        .address
                        .zip(stamp)
                        .map(|(from, stamp)| (message.bytes, from, stamp))
                }
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => None,
                Err(error) => return Err(error.into()),
            }
        };
        let Some((length, from, stamp)) = received else {
            continue;
        };
        let at = stamp.tv_sec() as u64 * 1_000_000_000 + stamp.tv_nsec() as u64;
        if !names.contains_key(&from.ifindex()) {
            names = interfaces()?;
        }
        let Some(interface) = names.get(&from.ifindex()) else {
            continue;
        };
        if let Some(packet) = parse(&buffer[..length]) {
            let outgoing = from.pkttype() == OUTGOING;
            let sighting = Sighting {
                at,
                interface: interface.clone(),
                outgoing,
                ..packet
            };
            writeln!(out, "{}", serde_json::to_string(&sighting)?)?;
            out.flush()?;
        }
    }
}

/// Interfaces of this namespace by index.
fn interfaces() -> io::Result<BTreeMap<usize, String>> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir("/sys/class/net")?.flatten() {
        if let Ok(index) = fs::read_to_string(entry.path().join("ifindex"))
            && let Ok(index) = index.trim().parse()
        {
            names.insert(index, entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Reads an IP packet with TCP or UDP in it. IPv6 extension headers are not followed: nothing here sends any.
fn parse(packet: &[u8]) -> Option<Sighting> {
    let (source, destination, protocol, ttl, payload): (IpAddr, IpAddr, _, _, _) = match packet.first()? >> 4
    {
        4 => {
            let header = usize::from(packet[0] & 0x0f) * 4;
            let address = |at: usize| -> Option<Ipv4Addr> {
                Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?))
            };
            (
                address(12)?.into(),
                address(16)?.into(),
                *packet.get(9)?,
                *packet.get(8)?,
                packet.get(header..)?,
            )
        }
        6 => {
            let address = |at: usize| -> Option<Ipv6Addr> {
                Some(Ipv6Addr::from(
                    <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?,
                ))
            };
            (
                address(8)?.into(),
                address(24)?.into(),
                *packet.get(6)?,
                *packet.get(7)?,
                packet.get(40..)?,
            )
        }
        _ => return None,
    };
    if protocol != TCP && protocol != UDP {
        return None;
    }
    let port = |at: usize| Some(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]));
    let syn = protocol == TCP && payload.get(13).is_some_and(|flags| flags & 0x02 != 0);
    Some(Sighting {
        at: 0,
        interface: String::new(),
        outgoing: false,
        source,
        destination,
        source_port: port(0)?,
        destination_port: port(2)?,
        ttl,
        syn,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_tcp_syn() {
        // IPv4, TTL 63, TCP, 10.1.1.2:40000 → 10.1.2.3:80, SYN; made by hand from RFC 791 and RFC 9293.
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 63, 6, 0, 0, 10, 1, 1, 2, 10, 1, 2, 3];
        packet.extend([
            0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0,
        ]);
        let seen = parse(&packet).unwrap();
        assert_eq!(
            (seen.source_port, seen.destination_port, seen.ttl, seen.syn),
            (40000, 80, 63, true)
        );
        assert_eq!(seen.destination, "10.1.2.3".parse::<IpAddr>().unwrap());
        packet[9] = 1;
        assert_eq!(parse(&packet), None, "ICMP is none of ours");
        assert_eq!(parse(&packet[..12]), None);
    }
}
