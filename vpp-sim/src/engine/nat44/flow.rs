//! What a packet is looked up by, and what it becomes.
use std::net::{IpAddr, Ipv4Addr};

use super::super::packet::ip::Ip;
use super::super::packet::nat::{FiveTuple, inner_tuple, is_error};
use super::super::packet::{ICMP, TCP, UDP, be16};
use super::super::types::Family;

/// Key of a flow. For ICMP echo both ports are the identifier; protocols without ports have zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Match {
    pub src: Ipv4Addr,
    pub src_port: u16,
    pub dst: Ipv4Addr,
    pub dst_port: u16,
    pub table: u32,
    pub proto: u8,
}

/// One direction of a session: packets that match are rewritten; what is None stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub on: Match,
    pub src: Option<Ipv4Addr>,
    pub dst: Option<Ipv4Addr>,
    pub src_port: Option<u16>,
    pub dst_port: Option<u16>,
    /// Table in which the packet is routed then.
    pub table: Option<u32>,
}

impl Flow {
    pub fn on(on: Match) -> Self {
        Self {
            on,
            src: None,
            dst: None,
            src_port: None,
            dst_port: None,
            table: None,
        }
    }

    /// An echo's identifier is both of its ports.
    pub fn with_identifier(self, identifier: u16) -> Self {
        Self {
            src_port: Some(identifier),
            dst_port: Some(identifier),
            ..self
        }
    }

    /// The packet's addresses and ports afterwards.
    pub fn rewritten(&self) -> Match {
        Match {
            src: self.src.unwrap_or(self.on.src),
            dst: self.dst.unwrap_or(self.on.dst),
            src_port: self.src_port.unwrap_or(self.on.src_port),
            dst_port: self.dst_port.unwrap_or(self.on.dst_port),
            ..self.on
        }
    }
}

/// An IPv4 packet as NAT sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Of the packet itself; for an ICMP error of the packet inside, turned round.
    pub lookup: Match,
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub proto: u8,
    pub ttl: u8,
    pub length: u64,
    pub icmp_type: Option<u8>,
    pub tcp_flags: u8,
}

/// Why a packet cannot be looked up.
pub(super) enum Unseen {
    /// Not IPv4 at all, or cut short.
    Broken,
    BadIcmpType,
    UnsupportedProtocol,
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

impl Seen {
    pub fn read(data: &[u8], table: u32) -> Result<Self, Unseen> {
        let ip = Ip::parse(data).map_err(|_| Unseen::Broken)?;
        let (src, dst) = (v4(ip.src), v4(ip.dst));
        let (src_port, dst_port) = if matches!(ip.proto, TCP | UDP) {
            ip.ports(data)
        } else {
            (0, 0)
        };
        let mut lookup = Match {
            src,
            src_port,
            dst,
            dst_port,
            table,
            proto: ip.proto,
        };
        let icmp_type = ip.icmp(data).map(|(icmp_type, _)| icmp_type);
        match icmp_type {
            Some(0 | 8) => {
                let identifier = be16(data, ip.l4 + 4);
                (lookup.src_port, lookup.dst_port) = (identifier, identifier);
            }
            Some(icmp_type) if is_error(Family::V4, icmp_type) => {
                let inner = inner_tuple(&ip, data).ok_or(Unseen::UnsupportedProtocol)?;
                let FiveTuple {
                    src,
                    dst,
                    src_port,
                    dst_port,
                    proto,
                } = inner;
                if !matches!(proto, TCP | UDP | ICMP) {
                    return Err(Unseen::UnsupportedProtocol);
                }
                lookup = Match {
                    src: v4(dst),
                    src_port: dst_port,
                    dst: v4(src),
                    dst_port: src_port,
                    table,
                    proto,
                };
            }
            Some(_) => return Err(Unseen::BadIcmpType),
            None if ip.proto == ICMP => return Err(Unseen::Broken),
            None => {}
        }
        let tcp_flags = if ip.proto == TCP && ip.l4_valid {
            data.get(ip.l4 + 13).copied().unwrap_or(0)
        } else {
            0
        };
        Ok(Self {
            lookup,
            src,
            dst,
            proto: ip.proto,
            ttl: ip.ttl,
            length: data.len() as u64,
            icmp_type,
            tcp_flags,
        })
    }

    pub fn is_icmp_error(&self) -> bool {
        self.icmp_type.is_some_and(|t| is_error(Family::V4, t))
    }

    /// Starts a TCP connection, or is no TCP.
    pub fn may_begin(&self) -> bool {
        const SYN: u8 = 2;
        const ACK: u8 = 16;
        self.proto != TCP || self.tcp_flags & (SYN | ACK) == SYN
    }

    /// Neither TCP nor UDP nor ICMP: only addresses are translated.
    pub fn is_portless(&self) -> bool {
        !matches!(self.proto, TCP | UDP | ICMP | super::super::packet::ICMP6)
    }
}
