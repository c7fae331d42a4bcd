//! Flow hashes (`ip4_compute_flow_hash`): Jenkins' lookup3 mix with VPP's inputs.
use std::net::IpAddr;

use super::ip::Ip;
use super::{TCP, UDP};
use crate::engine::types::left_bits;

/// Bits of a flow hash configuration.
pub(crate) mod flag {
    pub const SRC: u32 = 1;
    pub const DST: u32 = 2;
    pub const SRC_PORT: u32 = 4;
    pub const DST_PORT: u32 = 8;
    pub const PROTO: u32 = 16;
    pub const REVERSE: u32 = 32;
    pub const SYMMETRIC: u32 = 64;
}

/// Jenkins' `mix` and `final` of three words (lookup3, public domain).
pub(crate) fn mix_finalize(mut a: u32, mut b: u32, mut c: u32) -> (u32, u32, u32) {
    macro_rules! mix {
        ($x:ident, $y:ident, $z:ident, $n:literal) => {
            $x = $x.wrapping_sub($z) ^ $z.rotate_left($n);
            $z = $z.wrapping_add($y);
        };
    }
    mix!(a, b, c, 4);
    mix!(b, c, a, 6);
    mix!(c, a, b, 8);
    mix!(a, b, c, 16);
    mix!(b, c, a, 19);
    mix!(c, a, b, 4);
    macro_rules! last {
        ($x:ident, $y:ident, $n:literal) => {
            $x = ($x ^ $y).wrapping_sub($y.rotate_left($n));
        };
    }
    last!(c, b, 14);
    last!(a, c, 11);
    last!(b, a, 25);
    last!(c, b, 16);
    last!(a, c, 4);
    last!(b, a, 14);
    last!(c, b, 24);
    (a, b, c)
}

/// An address folded to 32 bits, in the byte order in which VPP reads it from memory.
fn word(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(a) => u32::from_le_bytes(a.octets()),
        IpAddr::V6(_) => {
            let bits = left_bits(address);
            let fold = (bits >> 64) as u64 ^ bits as u64;
            ((fold >> 32) as u32 ^ fold as u32).swap_bytes()
        }
    }
}

/// The hash of a packet's flow under a configuration.
pub(crate) fn flow_hash(ip: &Ip, data: &[u8], config: u32) -> u32 {
    let pick = |bit: u32, value: u32| if config & bit != 0 { value } else { 0 };
    let (src, dst) = (pick(flag::SRC, word(ip.src)), pick(flag::DST, word(ip.dst)));
    let ports = match ip.proto {
        TCP | UDP => ip.ports(data),
        _ => (0, 0),
    };
    let mut p1 = pick(flag::SRC_PORT, u32::from(ports.0.swap_bytes()));
    let mut p2 = pick(flag::DST_PORT, u32::from(ports.1.swap_bytes()));
    let reverse = config & flag::REVERSE != 0;
    let (mut a, mut b) = if reverse { (dst, src) } else { (src, dst) };
    if config & flag::SYMMETRIC != 0 {
        if b < a {
            std::mem::swap(&mut a, &mut b);
        }
        if p2 < p1 {
            std::mem::swap(&mut p1, &mut p2);
        }
    }
    b ^= pick(flag::PROTO, u32::from(ip.proto));
    let c = if reverse { (p1 << 16) | p2 } else { (p2 << 16) | p1 };
    mix_finalize(a, b, c).2
}
