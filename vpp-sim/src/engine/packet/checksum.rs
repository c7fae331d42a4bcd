//! Internet checksums (RFC 1071), their update (RFC 1624) and SCTP's CRC-32C (RFC 9260, appendix A).
use std::net::IpAddr;

use super::ip::Ip;
use super::{ICMP, ICMP6, SCTP, TCP, UDP, be16};

/// The ones' complement sum of big-endian words; an odd last byte counts as the high one.
pub(crate) fn sum(data: &[u8]) -> u32 {
    let mut total = 0u64;
    let mut words = data.chunks_exact(2);
    for word in &mut words {
        total += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        total += u64::from(*last) << 8;
    }
    while total >> 32 != 0 {
        total = (total & 0xffff_ffff) + (total >> 32);
    }
    total as u32
}

/// Folds a sum to 16 bits.
pub(crate) fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The checksum of data whose checksum field is zero.
pub(crate) fn checksum(data: &[u8]) -> u16 {
    !fold(sum(data))
}

/// Replaces words in a checksum: `HC' = ~(~HC + ~m + m')` (RFC 1624, equation 3).
pub(crate) fn update(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    let mut total = u32::from(!checksum);
    for word in old.chunks(2) {
        let value = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        total += u32::from(!value);
    }
    total += u32::from(fold(sum(new)));
    !fold(u32::from(fold(total)))
}

/// Sum of the pseudo-header of a packet with addresses `src` and `dst`.
pub(crate) fn pseudo_header(src: IpAddr, dst: IpAddr, proto: u8, length: usize) -> u32 {
    let address = |a: IpAddr| match a {
        IpAddr::V4(a) => u32::from(fold(sum(&a.octets()))),
        IpAddr::V6(a) => u32::from(fold(sum(&a.octets()))),
    };
    let length = length as u32;
    address(src) + address(dst) + u32::from(proto) + (length >> 16) + (length & 0xffff)
}

/// Offset of the checksum in the L4 header of a protocol.
pub(crate) fn l4_offset(proto: u8) -> Option<usize> {
    match proto {
        TCP => Some(16),
        UDP => Some(6),
        ICMP | ICMP6 => Some(2),
        _ => None,
    }
}

/// What the L4 checksum of a packet should be; None for fragments and unknown protocols.
pub(crate) fn l4(ip: &Ip, data: &[u8]) -> Option<u16> {
    if ip.is_fragment() || !ip.l4_valid {
        return None;
    }
    let at = ip.l4 + l4_offset(ip.proto)?;
    let l4 = data.get(ip.l4..ip.end)?;
    let pseudo = if ip.proto == ICMP {
        0
    } else {
        pseudo_header(ip.src, ip.dst, ip.proto, l4.len())
    };
    // The field itself does not count.
    let field = be16(data, at);
    let total = u32::from(fold(sum(l4))) + u32::from(!field) + u32::from(fold(pseudo));
    let value = !fold(total);
    Some(if value == 0 && ip.proto == UDP {
        0xffff
    } else {
        value
    })
}

/// Whether an IP packet's header and L4 checksums are right; says which is not.
///
/// # Errors
/// The wrong checksum, with what it should be.
pub fn verify(data: &[u8]) -> Result<(), String> {
    let ip = Ip::parse(data).map_err(str::to_owned)?;
    if ip.src.is_ipv4() && fold(sum(&data[..ip.header_len])) != 0xffff {
        return Err("IPv4 header checksum".to_owned());
    }
    if ip.is_fragment() || !ip.l4_valid {
        return Ok(());
    }
    if ip.proto == SCTP {
        let l4 = &data[ip.l4..ip.end];
        let has = l4.get(8..12).map(|b| [b[0], b[1], b[2], b[3]]);
        return match has {
            Some(has) if has != crc32c_sctp(l4) => Err("SCTP checksum".to_owned()),
            _ => Ok(()),
        };
    }
    let Some(offset) = l4_offset(ip.proto) else {
        return Ok(());
    };
    let has = be16(data, ip.l4 + offset);
    if ip.proto == UDP && has == 0 && ip.src.is_ipv4() {
        return Ok(());
    }
    match l4(&ip, data) {
        // Both representations of zero are the same sum.
        Some(should) if should != has && fold(u32::from(!should) + u32::from(has)) != 0xffff => Err(format!(
            "L4 checksum of protocol {} is {has:04x}, should be {should:04x}",
            ip.proto
        )),
        _ => Ok(()),
    }
}

/// CRC-32C of an SCTP packet whose checksum field counts as zero, as it stands on the wire.
pub(crate) fn crc32c_sctp(l4: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for (at, byte) in l4.iter().enumerate() {
        let byte = if (8..12).contains(&at) { 0 } else { *byte };
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    (!crc).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_example() {
        // RFC 1071, section 3.
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&data)), 0xddf2);
    }

    #[test]
    fn rfc_1624_example() {
        // RFC 1624, section 4: 0x5555 becomes 0x3285 under checksum 0xdd2f, which must become 0x0000.
        assert_eq!(update(0xdd2f, &[0x55, 0x55], &[0x32, 0x85]), 0x0000);
    }

    #[test]
    fn crc32c_check_value() {
        // The catalogue's check value of CRC-32/ISCSI over "123456789" is e3069283; here the bytes at
        // 8..12 are zero, so the input is chosen to be zero there.
        let mut crc = u32::MAX;
        for byte in b"123456789" {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 {
                    (crc >> 1) ^ 0x82f6_3b78
                } else {
                    crc >> 1
                };
            }
        }
        assert_eq!(!crc, 0xe306_9283);
        // 32 zero bytes: RFC 3720, B.4.
        assert_eq!(u32::from_le_bytes(crc32c_sctp(&[0; 32])), 0x8a91_36aa);
    }

    proptest! {
        #[test]
        fn update_equals_a_full_computation(
            mut data in proptest::collection::vec(any::<u8>(), 20..200),
            at in 0usize..9,
            new in any::<[u8; 4]>(),
        ) {
            // Like real headers, the data does not sum to zero.
            data[0] = 0x45;
            let before = checksum(&data);
            let old = data[at * 2..at * 2 + 4].to_vec();
            let mut after = data.clone();
            after[at * 2..at * 2 + 4].copy_from_slice(&new);
            let updated = update(before, &old, &new);
            let full = checksum(&after);
            prop_assert!(updated == full || (updated ^ full) == 0xffff, "{:04x} {:04x}", updated, full);
        }
    }
}
