//! Neighbour solicitation and advertisement (RFC 4861, sections 4.3 and 4.4).
use std::net::{IpAddr, Ipv6Addr};

use super::ICMP6;
use super::ip::{Ip, packet};
use crate::engine::types::Mac;

pub(crate) const SOLICITATION: u8 = 135;
pub(crate) const ADVERTISEMENT: u8 = 136;

const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;

/// Router, solicited, override.
const ADVERTISEMENT_FLAGS: u8 = 0xe0;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbor {
    pub is_solicitation: bool,
    pub target: Ipv6Addr,
    /// The link-layer address option that belongs to the message's kind.
    pub mac: Option<Mac>,
}

impl Neighbor {
    /// None when it is neither, or broken (RFC 4861, 7.1: hop limit 255).
    pub fn parse(ip: &Ip, data: &[u8]) -> Option<Self> {
        let (icmp_type, code) = ip.icmp(data)?;
        if ip.ttl != 255 || code != 0 || !matches!(icmp_type, SOLICITATION | ADVERTISEMENT) {
            return None;
        }
        let body = data.get(ip.l4..ip.end)?;
        let target: [u8; 16] = body.get(8..24)?.try_into().ok()?;
        let is_solicitation = icmp_type == SOLICITATION;
        let wanted = if is_solicitation {
            OPTION_SOURCE
        } else {
            OPTION_TARGET
        };
        let mut options = &body[24..];
        let mut mac = None;
        while let [kind, length, rest @ ..] = options {
            let length = usize::from(*length) * 8;
            if length == 0 || length > options.len() {
                break;
            }
            if *kind == wanted && length == 8 {
                mac = rest.first_chunk::<6>().map(|m| Mac(*m));
            }
            options = &options[length..];
        }
        Some(Self {
            is_solicitation,
            target: Ipv6Addr::from(target),
            mac,
        })
    }
}

fn message(icmp_type: u8, flags: u8, target: Ipv6Addr, option: u8, mac: Mac) -> Vec<u8> {
    let mut body = vec![icmp_type, 0, 0, 0, flags, 0, 0, 0];
    body.extend(target.octets());
    body.extend([option, 1]);
    body.extend(mac.0);
    body
}

/// ff02::1:ffXX:XXXX of an address, and the MAC it maps to (RFC 4291, 2.7.1; RFC 2464, 7).
pub(crate) fn solicited_node(address: Ipv6Addr) -> (Ipv6Addr, Mac) {
    let o = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, o[13], o[14], o[15]]);
    (group, Mac([0x33, 0x33, 0xff, o[13], o[14], o[15]]))
}

/// A solicitation for `target`.
pub(crate) fn solicitation(src: Ipv6Addr, target: Ipv6Addr, mac: Mac) -> Option<Vec<u8>> {
    let (group, _) = solicited_node(target);
    let body = message(SOLICITATION, 0, target, OPTION_SOURCE, mac);
    packet(IpAddr::V6(src), IpAddr::V6(group), ICMP6, 255, &body, Some(2))
}

/// An advertisement of `target` at `mac`.
pub(crate) fn advertisement(target: Ipv6Addr, dst: Ipv6Addr, mac: Mac) -> Option<Vec<u8>> {
    let body = message(ADVERTISEMENT, ADVERTISEMENT_FLAGS, target, OPTION_TARGET, mac);
    packet(IpAddr::V6(target), IpAddr::V6(dst), ICMP6, 255, &body, Some(2))
}
