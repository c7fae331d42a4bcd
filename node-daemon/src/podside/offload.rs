//! Turning checksum and segmentation offloads off.
//!
//! VPP's af_packet input takes frames as they are: a checksum that the sender left to a device, or
//! a segment larger than the MTU, goes out wrong. No crate speaks this part of ethtool's netlink
//! interface (Documentation/networking/ethtool-netlink.rst), so the one request is written here.

use std::io;

use rtnetlink::sys::protocols::NETLINK_GENERIC;
use rtnetlink::sys::{Socket, SocketAddr};

/// Features that must be off, by the kernel's names (net/ethtool/common.c).
const FEATURES: [&str; 9] = [
    "tx-checksum-ip-generic",
    "tx-checksum-sctp",
    "tx-generic-segmentation",
    "tx-tcp-segmentation",
    "tx-tcp-ecn-segmentation",
    "tx-tcp-mangleid-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
    "rx-gro",
];

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLA_F_NESTED: u16 = 0x8000;
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const ETHTOOL_MSG_FEATURES_SET: u8 = 12;
const ETHTOOL_A_FEATURES_HEADER: u16 = 1;
const ETHTOOL_A_FEATURES_WANTED: u16 = 3;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_HEADER_FLAGS: u16 = 3;
const ETHTOOL_FLAG_OMIT_REPLY: u32 = 2;
const ETHTOOL_A_BITSET_BITS: u16 = 3;
const ETHTOOL_A_BITSET_BITS_BIT: u16 = 1;
const ETHTOOL_A_BITSET_BIT_NAME: u16 = 2;

/// Length of the netlink and generic netlink headers.
const HEADERS: usize = 16 + 4;

/// Turns the offloads of an interface in the calling thread's namespace off. An interface that
/// lacks some of them is no error.
pub(super) fn disable(ifname: &str) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let family = ethtool_family(&socket)?;

    let mut header = Vec::new();
    attribute(&mut header, ETHTOOL_A_HEADER_DEV_NAME, &text(ifname));
    let flags = ETHTOOL_FLAG_OMIT_REPLY.to_ne_bytes();
    attribute(&mut header, ETHTOOL_A_HEADER_FLAGS, &flags);
    let mut bits = Vec::new();
    for feature in FEATURES {
        // A bit that is named and has no value is off.
        let mut bit = Vec::new();
        attribute(&mut bit, ETHTOOL_A_BITSET_BIT_NAME, &text(feature));
        attribute(&mut bits, ETHTOOL_A_BITSET_BITS_BIT | NLA_F_NESTED, &bit);
    }
    let mut bitset = Vec::new();
    attribute(&mut bitset, ETHTOOL_A_BITSET_BITS | NLA_F_NESTED, &bits);
    let mut body = Vec::new();
    attribute(&mut body, ETHTOOL_A_FEATURES_HEADER | NLA_F_NESTED, &header);
    attribute(&mut body, ETHTOOL_A_FEATURES_WANTED | NLA_F_NESTED, &bitset);
    request(&socket, family, ETHTOOL_MSG_FEATURES_SET, NLM_F_ACK, &body).map(drop)
}

/// Generic netlink families get their numbers at boot.
fn ethtool_family(socket: &Socket) -> io::Result<u16> {
    let mut body = Vec::new();
    attribute(&mut body, CTRL_ATTR_FAMILY_NAME, &text("ethtool"));
    let reply = request(socket, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0, &body)?;
    let mut rest = reply.get(HEADERS..).unwrap_or_default();
    while let Some((kind, value, next)) = split(rest) {
        if kind == CTRL_ATTR_FAMILY_ID
            && let [low, high] = value
        {
            return Ok(u16::from_ne_bytes([*low, *high]));
        }
        rest = next;
    }
    Err(io::Error::other("the kernel has no ethtool netlink family"))
}

/// Sends one request and returns the one message that answers it; an error message is an error.
fn request(socket: &Socket, family: u16, command: u8, flags: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = (HEADERS + body.len()) as u32;
    let mut message = Vec::with_capacity(HEADERS + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence and port: one request at a time, on a socket of its own.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend(body);
    socket.send(&message, 0)?;
    let (reply, _) = socket.recv_from_full()?;
    let word = |at: usize| reply.get(at..at + 4).and_then(|b| b.try_into().ok());
    let kind = reply.get(4..6).and_then(|b| b.try_into().ok());
    if kind.map(u16::from_ne_bytes) == Some(NLMSG_ERROR) {
        let code = word(16).map_or(-nix::libc::EPROTO, i32::from_ne_bytes);
        if code != 0 {
            return Err(io::Error::from_raw_os_error(-code));
        }
    }
    Ok(reply)
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// Appends one attribute: length, type, value, padding to four bytes.
fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = (4 + value.len()) as u16;
    to.extend(length.to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

/// Type and value of the first attribute, and the rest.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u16::from_ne_bytes(bytes.get(0..2)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
    let value = bytes.get(4..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value, next))
}
