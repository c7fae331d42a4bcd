//! Addresses that mean something to the configurations of the targets, and now and then any other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arbitrary::{Result, Unstructured};
use vpp_sim::engine::Mac;

const V4: [[u8; 4]; 16] = [
    [10, 1, 1, 1],
    [10, 1, 1, 2],
    [10, 1, 1, 3],
    [10, 1, 1, 4],
    [10, 1, 1, 5],
    [10, 1, 2, 2],
    [10, 2, 0, 9],
    [10, 96, 0, 10],
    [10, 96, 0, 11],
    [192, 168, 16, 1],
    [192, 168, 16, 2],
    [0, 0, 0, 0],
    [127, 0, 0, 1],
    [169, 254, 0, 1],
    [224, 0, 0, 1],
    [255, 255, 255, 255],
];

const V6: [[u16; 8]; 12] = [
    [0xfd00, 1, 0, 0, 0, 0, 0, 1],
    [0xfd00, 1, 0, 0, 0, 0, 0, 2],
    [0xfd00, 1, 0, 0, 0, 0, 0, 3],
    [0xfd00, 1, 0, 0, 0, 0, 0, 4],
    [0xfd00, 2, 0, 0, 0, 0, 0, 2],
    [0xfd00, 0x96, 0, 0, 0, 0, 0, 10],
    [0xfd00, 0x99, 0, 0, 0, 0, 0, 1],
    [0xfd00, 0x99, 0, 0, 0, 0, 0, 2],
    [0, 0, 0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 0, 0, 1],
    [0xfe80, 0, 0, 0, 0, 0, 0, 1],
    [0xff02, 0, 0, 0, 0, 1, 0xff00, 2],
];

/// An IPv4 address.
///
/// # Errors
/// None; as everywhere in `arbitrary`.
pub fn v4(u: &mut Unstructured<'_>) -> Result<Ipv4Addr> {
    Ok(if u.ratio(15, 16)? {
        Ipv4Addr::from(*u.choose(&V4)?)
    } else {
        Ipv4Addr::from(u.arbitrary::<u32>()?)
    })
}

/// An IPv6 address.
///
/// # Errors
/// As [`v4`].
pub fn v6(u: &mut Unstructured<'_>) -> Result<Ipv6Addr> {
    Ok(if u.ratio(15, 16)? {
        Ipv6Addr::from(*u.choose(&V6)?)
    } else {
        Ipv6Addr::from(u.arbitrary::<u128>()?)
    })
}

/// Two addresses of one family.
///
/// # Errors
/// As [`v4`].
pub fn pair(u: &mut Unstructured<'_>) -> Result<(IpAddr, IpAddr)> {
    Ok(if u.arbitrary()? {
        (v4(u)?.into(), v4(u)?.into())
    } else {
        (v6(u)?.into(), v6(u)?.into())
    })
}

/// A MAC address: of a few hosts, of a group, or any.
///
/// # Errors
/// As [`v4`].
pub fn mac(u: &mut Unstructured<'_>) -> Result<Mac> {
    Ok(Mac(match u.int_in_range(0..=7)? {
        0 => [0xff; 6],
        1 => [0x33, 0x33, 0, 0, 0, 1],
        2 => [0; 6],
        3 => u.arbitrary()?,
        _ => [0x0a, 0, 0, 0, 0, u.int_in_range(1..=5)?],
    }))
}

/// A port: one that something listens on or is translated, or any.
///
/// # Errors
/// As [`v4`].
pub fn port(u: &mut Unstructured<'_>) -> Result<u16> {
    Ok(if u.ratio(7, 8)? {
        *u.choose(&[0, 53, 67, 80, 443, 546, 1024, 4500, 4789, 8080, 40_000, 51_820])?
    } else {
        u.arbitrary()?
    })
}
