//! The segment routing header (RFC 8754) and what VPP does with it, on bytes alone.
use std::net::Ipv6Addr;

use crate::engine::packet::{be16, put16};

/// Routing header.
pub(crate) const IPV6_ROUTE: u8 = 43;
pub(crate) const IP_IN_IP: u8 = 4;
pub(crate) const IPV6: u8 = 41;
/// Ethernet (RFC 8986, 9).
pub(crate) const ETHERNET: u8 = 143;

const TYPE_SEGMENT_ROUTING: u8 = 4;
const IPV6_LEN: usize = 40;
/// Of the header in front of the segments.
const FIXED_LEN: usize = 8;
/// Path tracing's TLV: type, length, interface id and load, timestamp, session, sequence.
const TLV_LEN: usize = 16;
const TLV_TYPE: u8 = 128;
const TLV_VALUE_LEN: u8 = 14;

/// `IP6_EXT_HDR_MAX_DEPTH`: VPP looks no further into a packet for extension headers.
const MAX_DEPTH: usize = 256;
/// `IP6_EXT_HDR_MAX`.
const MAX_HEADERS: usize = 4;

/// Why a packet is dropped, in the words of VPP's counters.
pub(crate) mod error {
    pub const NO_INNER_HEADER: &str = "(SR-Error) No inner IP header";
    pub const NO_MORE_SEGMENTS: &str = "(SR-Error) No more segments";
    pub const NO_SRH: &str = "(SR-Error) No SR header";
    pub const NOT_LAST: &str = "(SR-Error) Decaps not available (segments left > 0)";
    pub const BSID_ZERO: &str = "BSID with SL = 0";
}

/// Extension headers of eight byte units: hop-by-hop, routing, destination options, mobility, HIP, shim6.
fn is_extension(proto: u8) -> bool {
    matches!(proto, 0 | IPV6_ROUTE | 60 | 135 | 139 | 140)
}

fn extension_len(data: &[u8], at: usize) -> usize {
    8 * (1 + data.get(at + 1).copied().map_or(0, usize::from))
}

/// Where a routing header stands, and the place that names it as the next header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Routing {
    pub at: usize,
    named_at: usize,
}

/// The routing header of a packet (`ip6_ext_header_find`). As in VPP it is not found when it ends beyond the first
/// 256 bytes: fourteen segments and more behind a plain header.
pub(crate) fn find(data: &[u8]) -> Option<Routing> {
    let end = MAX_DEPTH.min(data.len());
    let (mut proto, mut at, mut named_at) = (*data.get(6)?, IPV6_LEN, 6);
    if is_extension(proto) && at + extension_len(data, at) > end {
        return None;
    }
    let mut found = None;
    for _ in 0..MAX_HEADERS {
        if proto == IPV6_ROUTE {
            found = Some(Routing { at, named_at });
        }
        let (next_at, last) = match proto {
            _ if is_extension(proto) => (at + extension_len(data, at), false),
            44 => (at + 8, be16(data, at + 2) >> 3 != 0),
            51 => (
                at + 4 * (2 + data.get(at + 1).copied().map_or(0, usize::from)),
                false,
            ),
            _ => break,
        };
        if next_at >= end {
            break;
        }
        (named_at, proto, at) = (at, *data.get(at)?, next_at);
        if last {
            break;
        }
    }
    found
}

fn put_address(data: &mut [u8], at: usize, address: &[u8]) {
    if let Some(place) = data.get_mut(at..at + 16) {
        place.copy_from_slice(address);
    }
}

fn add_to_payload_length(data: &mut [u8], change: isize) {
    let length = isize::try_from(be16(data, 4)).unwrap_or(0) + change;
    put16(data, 4, length as u16);
}

/// RFC 8986, 4.1 End, with the penultimate segment pop of 4.16.1 when `psp`.
///
/// # Errors
/// Why the packet is to be dropped.
pub(crate) fn end(data: &mut Vec<u8>, psp: bool) -> Result<(), &'static str> {
    let Some(routing) = find(data).filter(|r| data.get(r.at + 2) == Some(&TYPE_SEGMENT_ROUTING)) else {
        return Err(error::NO_SRH);
    };
    let left = data[routing.at + 3];
    let Some(new_left) = left.checked_sub(1) else {
        return Err(error::NO_MORE_SEGMENTS);
    };
    let segment_at = routing.at + FIXED_LEN + 16 * usize::from(new_left);
    let segment = data
        .get(segment_at..segment_at + 16)
        .ok_or(error::NO_SRH)?
        .to_vec();
    put_address(data, 24, &segment);
    if left == 1 && psp {
        let length = extension_len(data, routing.at);
        let end = (routing.at + length).min(data.len());
        data[routing.named_at] = data[routing.at];
        data.drain(routing.at..end);
        add_to_payload_length(data, -(length as isize));
    } else {
        data[routing.at + 3] = new_left;
    }
    Ok(())
}

/// Moves a micro SID's successors forward in the destination; false when there are none and `only_if_more`.
pub(crate) fn shift_micro_sid(data: &mut [u8], index: usize, len: usize, only_if_more: bool) -> bool {
    let Some(destination) = data.get_mut(24..40) else {
        return false;
    };
    let next = index + len;
    let Some(following) = destination.get(next..next + len) else {
        return false;
    };
    if only_if_more && following.iter().all(|byte| *byte == 0) {
        return false;
    }
    destination.copy_within(next.., index);
    destination[16 - len..].fill(0);
    true
}

/// What the decapsulating behaviours find in a packet: the payload's protocol and place (RFC 8986, 4.4 and on).
///
/// # Errors
/// Segments are left.
pub(crate) fn payload(data: &[u8]) -> Result<(u8, usize), &'static str> {
    let (mut proto, mut at) = (data.get(6).copied().unwrap_or(59), IPV6_LEN);
    while is_extension(proto) && at < data.len() {
        let next = data[at];
        at += extension_len(data, at);
        proto = next;
    }
    // Any kind of routing header counts here.
    if find(data).is_some_and(|routing| data.get(routing.at + 3) != Some(&0)) {
        return Err(error::NOT_LAST);
    }
    Ok((proto, at.min(data.len())))
}

/// The segments in reverse order, as RFC 8754, 2 has them, behind the fixed part. `reserved` zero addresses come first.
fn routing_header(segments: &[Ipv6Addr], reserved: usize, tlv: bool) -> Vec<u8> {
    let count = segments.len() + reserved;
    let length = FIXED_LEN + 16 * count + if tlv { TLV_LEN } else { 0 };
    let last = (count as u8).wrapping_sub(1);
    let mut header = vec![
        IPV6,
        (length / 8) as u8 - 1,
        TYPE_SEGMENT_ROUTING,
        last,
        last,
        0,
        0,
        0,
    ];
    header.resize(FIXED_LEN + 16 * reserved, 0);
    for segment in segments.iter().rev() {
        header.extend(segment.octets());
    }
    if tlv {
        header.extend([TLV_TYPE, TLV_VALUE_LEN]);
        header.resize(length, 0);
    }
    header
}

/// What encapsulation puts in front (`compute_rewrite_encaps`): with a single segment no routing header, but for path
/// tracing. The payload length is that of the routing header.
pub(crate) fn encap_rewrite(segments: &[Ipv6Addr], source: Ipv6Addr, hop_limit: u8, tef: bool) -> Vec<u8> {
    let routing = if tef || segments.len() > 1 {
        routing_header(segments, 0, tef)
    } else {
        Vec::new()
    };
    let mut data = vec![0x60, 0, 0, 0, 0, 0, IPV6, hop_limit];
    if !routing.is_empty() {
        data[6] = IPV6_ROUTE;
    }
    put16(&mut data, 4, routing.len() as u16);
    data.extend(source.octets());
    let first = segments.first().copied().unwrap_or(Ipv6Addr::UNSPECIFIED);
    data.extend(first.octets());
    data.extend(routing);
    data
}

/// What insertion puts behind the header: `with_destination` leaves the first place to the packet's own destination
/// (`compute_rewrite_insert`, `compute_rewrite_bsid`).
pub(crate) fn insert_rewrite(segments: &[Ipv6Addr], with_destination: bool) -> Vec<u8> {
    routing_header(segments, usize::from(with_destination), false)
}

/// The outer packet around `inner` (RFC 2473). `proto` is that of the payload, `class` its traffic class; the flow
/// label is 16 bits of the inner flow's hash (`encaps_processing_v6`, `_v4`).
pub(crate) fn encapsulate(rewrite: &[u8], inner: &[u8], proto: u8, class: u8, flow_hash: u32) -> Vec<u8> {
    let mut data = rewrite.to_vec();
    data.extend(inner);
    let label = 0x6000_0000 | (u32::from(class) << 20) | (flow_hash & 0xffff);
    data[..4].copy_from_slice(&label.to_be_bytes());
    add_to_payload_length(&mut data, inner.len() as isize);
    if data[6] == IPV6_ROUTE {
        data[IPV6_LEN] = proto;
    } else {
        data[6] = proto;
    }
    data
}

/// Writes the time, in nanoseconds, into the path tracing TLV of an outer packet.
pub(crate) fn stamp(data: &mut [u8], nanoseconds: u64) {
    let at = IPV6_LEN + extension_len(data, IPV6_LEN) - TLV_LEN;
    let seconds = (nanoseconds / 1_000_000_000) as u32;
    let rest = (nanoseconds % 1_000_000_000) as u32;
    if let Some(time) = data.get_mut(at + 4..at + 12) {
        time[..4].copy_from_slice(&seconds.to_be_bytes());
        time[4..].copy_from_slice(&rest.to_be_bytes());
    }
}

/// Puts a routing header between a packet's header (or its hop-by-hop options) and the rest, and sends the packet to the first
/// segment. The packet's destination becomes the last segment when the rewrite has a place for it.
pub(crate) fn insert(data: &mut Vec<u8>, rewrite: &[u8], with_destination: bool) {
    if data.len() < IPV6_LEN || rewrite.len() < FIXED_LEN {
        return;
    }
    let (at, named_at) = if data[6] == 0 {
        (
            (IPV6_LEN + extension_len(data, IPV6_LEN)).min(data.len()),
            IPV6_LEN,
        )
    } else {
        (IPV6_LEN, 6)
    };
    let mut rewrite = rewrite.to_vec();
    rewrite[0] = data[named_at];
    data[named_at] = IPV6_ROUTE;
    if with_destination {
        let destination = data[24..40].to_vec();
        put_address(&mut rewrite, FIXED_LEN, &destination);
    }
    let first = FIXED_LEN + 16 * usize::from(rewrite[3]);
    if let Some(first) = rewrite.get(first..first + 16) {
        let first = first.to_vec();
        put_address(data, 24, &first);
    }
    let length = rewrite.len();
    data.splice(at..at, rewrite);
    add_to_payload_length(data, length as isize);
}

/// A packet to a binding SID goes on to its next segment before it is encapsulated (RFC 8986, 4.13). For path tracing
/// it may be at its last one.
///
/// # Errors
/// It has no routing header, or no segments are left.
pub(crate) fn advance_before_encap(data: &mut [u8], tef: bool) -> Result<(), &'static str> {
    let Some(routing) = find(data).filter(|r| data.get(r.at + 2) == Some(&TYPE_SEGMENT_ROUTING)) else {
        return Err(error::BSID_ZERO);
    };
    match data[routing.at + 3].checked_sub(1) {
        Some(left) => {
            data[routing.at + 3] = left;
            let at = routing.at + FIXED_LEN + 16 * usize::from(left);
            if let Some(segment) = data.get(at..at + 16) {
                let segment = segment.to_vec();
                put_address(data, 24, &segment);
            }
            Ok(())
        }
        None if tef => Ok(()),
        None => Err(error::BSID_ZERO),
    }
}
