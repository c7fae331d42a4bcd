//! Undoes the offloads of a kernel peer: completes partial checksums and cuts GSO super-packets.
//!
//! A veth hands frames over as its peer's kernel left them for hardware to finish. The engine is to see what would
//! be on the wire.

/// Byte offsets and lengths of a TCP or UDP packet inside an Ethernet frame.
struct Transport {
    /// Where the IP header starts.
    ip: usize,
    /// Where the TCP or UDP header starts.
    start: usize,
    /// End of the IP packet (Ethernet padding is behind it).
    end: usize,
    protocol: u8,
    v6: bool,
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// Hands the frame to `sink` as the wire would have carried it; `mtu` is the layer-3 MTU in bytes.
pub fn normalise(frame: &mut [u8], mtu: usize, sink: &mut dyn FnMut(&[u8])) {
    let Some(transport) = locate(frame) else {
        return sink(frame);
    };
    if transport.protocol == TCP && transport.end - transport.ip > mtu {
        segment(frame, &transport, mtu, sink);
        return;
    }
    complete(frame, &transport);
    sink(frame);
}

/// Finds the transport header of an unfragmented TCP, UDP or SCTP packet.
fn locate(frame: &[u8]) -> Option<Transport> {
    let ip = 14;
    let word = |at: usize| {
        Some(usize::from(u16::from_be_bytes([
            *frame.get(at)?,
            *frame.get(at + 1)?,
        ])))
    };
    let found = match word(12)? {
        0x0800 => {
            if word(ip + 6)? & 0x3fff != 0 {
                return None;
            }
            let start = ip + usize::from(frame.get(ip)? & 0x0f) * 4;
            Transport {
                ip,
                start,
                end: ip + word(ip + 2)?,
                protocol: *frame.get(ip + 9)?,
                v6: false,
            }
        }
        0x86dd => {
            let (mut protocol, mut start) = (*frame.get(ip + 6)?, ip + 40);
            // Hop-by-hop, routing and destination options; what follows another header is not offloaded.
            while matches!(protocol, 0 | 43 | 60) {
                let length = usize::from(*frame.get(start + 1)?) * 8 + 8;
                protocol = *frame.get(start)?;
                start += length;
            }
            Transport {
                ip,
                start,
                end: ip + 40 + word(ip + 4)?,
                protocol,
                v6: true,
            }
        }
        _ => return None,
    };
    let header = match found.protocol {
        TCP => 20,
        UDP => 8,
        SCTP => 12,
        _ => return None,
    };
    (found.start + header <= found.end && found.end <= frame.len()).then_some(found)
}

/// A partial checksum field holds exactly the pseudo-header's sum (Linux `CHECKSUM_PARTIAL`). A finished one may, once
/// in 65,536, hold the same value; completing it again then gives the same value back.
fn complete(frame: &mut [u8], transport: &Transport) {
    if transport.protocol == SCTP {
        // SCTP has no pseudo-header: the field is left zero.
        let field = transport.start + 8..transport.start + 12;
        if frame[field.clone()] == [0; 4] {
            let crc = crc32c(&frame[transport.start..transport.end]);
            frame[field].copy_from_slice(&crc.to_le_bytes());
        }
        return;
    }
    let field = transport.start + if transport.protocol == TCP { 16 } else { 6 };
    let pseudo = pseudo_header(frame, transport, transport.end - transport.start);
    if u16::from_be_bytes([frame[field], frame[field + 1]]) != fold(pseudo) {
        return;
    }
    write_checksum(frame, field, transport, pseudo);
}

fn write_checksum(frame: &mut [u8], field: usize, transport: &Transport, pseudo: u32) {
    frame[field..field + 2].fill(0);
    let mut checksum = !fold(pseudo + sum(&frame[transport.start..transport.end]));
    if checksum == 0 && transport.protocol == UDP {
        checksum = 0xffff;
    }
    frame[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

fn pseudo_header(frame: &[u8], transport: &Transport, length: usize) -> u32 {
    let addresses = if transport.v6 {
        &frame[transport.ip + 8..transport.ip + 40]
    } else {
        &frame[transport.ip + 12..transport.ip + 20]
    };
    // Lengths fit: an IP packet has at most 65,575 bytes.
    sum(addresses) + u32::from(transport.protocol) + u32::try_from(length).unwrap_or(0)
}

/// Cuts an over-long TCP packet into segments of the MTU, as `tcp_gso_segment` or a NIC does.
fn segment(frame: &[u8], transport: &Transport, mtu: usize, sink: &mut dyn FnMut(&[u8])) {
    let payload = transport.start + usize::from(frame[transport.start + 12] >> 4) * 4;
    let head = payload - transport.ip;
    let Some(size) = mtu
        .checked_sub(head)
        .filter(|size| *size > 0 && payload <= transport.end)
    else {
        return sink(frame);
    };
    let sequence = u32::from_be_bytes([
        frame[transport.start + 4],
        frame[transport.start + 5],
        frame[transport.start + 6],
        frame[transport.start + 7],
    ]);
    let identification = u16::from_be_bytes([frame[transport.ip + 4], frame[transport.ip + 5]]);
    let data = &frame[payload..transport.end];
    let count = data.len().div_ceil(size);
    for (number, chunk) in data.chunks(size).enumerate() {
        let mut packet = Vec::with_capacity(payload + chunk.len());
        packet.extend_from_slice(&frame[..payload]);
        packet.extend_from_slice(chunk);
        let part = Transport {
            end: packet.len(),
            ..*transport
        };
        let length = u16::try_from(part.end - part.ip).unwrap_or(u16::MAX);
        let offset = u32::try_from(number * size).unwrap_or(u32::MAX);
        packet[part.start + 4..part.start + 8].copy_from_slice(&sequence.wrapping_add(offset).to_be_bytes());
        // FIN and PSH belong to the last segment, CWR to the first.
        if number + 1 < count {
            packet[part.start + 13] &= !0x09;
        }
        if number > 0 {
            packet[part.start + 13] &= !0x80;
        }
        if part.v6 {
            packet[part.ip + 4..part.ip + 6].copy_from_slice(&(length - 40).to_be_bytes());
        } else {
            let identification = identification.wrapping_add(u16::try_from(number).unwrap_or(u16::MAX));
            packet[part.ip + 2..part.ip + 4].copy_from_slice(&length.to_be_bytes());
            packet[part.ip + 4..part.ip + 6].copy_from_slice(&identification.to_be_bytes());
            packet[part.ip + 10..part.ip + 12].fill(0);
            let checksum = !fold(sum(&packet[part.ip..part.start]));
            packet[part.ip + 10..part.ip + 12].copy_from_slice(&checksum.to_be_bytes());
        }
        let pseudo = pseudo_header(&packet, &part, part.end - part.start);
        write_checksum(&mut packet, part.start + 16, &part, pseudo);
        sink(&packet);
    }
}

/// Sum of big-endian 16-bit words; a packet has fewer than 65,536 of them, so 32 bits hold it.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .sum::<u32>()
        + last
}

/// One's complement fold to 16 bits.
fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// CRC-32C (RFC 9260 appendix A), bit by bit: SCTP through a veth is rare.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IPv4 TCP 10.0.0.1:1 → 10.0.0.2:2 with the given flags and payload, checksum field as Linux leaves it.
    fn partial_tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
        let total = u16::try_from(40 + payload.len()).unwrap();
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0xff, 0xff, 0x40, 0, 64, TCP, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([
            0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff,
        ]);
        // 0x0a00+1+0x0a00+2 + 6 + TCP length
        frame.extend((0x1400 + 3 + 6 + 20 + u16::try_from(payload.len()).unwrap()).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        frame
    }

    /// RFC 1071: over pseudo-header and packet, a right checksum makes the sum all ones.
    fn verifies(frame: &[u8]) -> bool {
        let transport = locate(frame).unwrap();
        let length = transport.end - transport.start;
        let ip = transport.v6 || fold(sum(&frame[14..34])) == 0xffff;
        ip && fold(pseudo_header(frame, &transport, length) + sum(&frame[transport.start..transport.end]))
            == 0xffff
    }

    fn normalised(mut frame: Vec<u8>, mtu: usize) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        normalise(&mut frame, mtu, &mut |frame| out.push(frame.to_vec()));
        out
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        let frame = partial_tcp(0x18, b"abc");
        let out = normalised(frame, 1500);
        let transport = locate(&out[0]).unwrap();
        let all = pseudo_header(&out[0], &transport, 23) + sum(&out[0][34..]);
        assert_eq!(fold(all), 0xffff);
    }

    #[test]
    fn a_wrong_checksum_stays_wrong() {
        let mut frame = partial_tcp(0x18, b"abc");
        frame[50] ^= 0x55;
        assert_eq!(normalised(frame.clone(), 1500), vec![frame]);
    }

    #[test]
    fn a_super_packet_becomes_segments_with_their_own_numbers() {
        let payload: Vec<u8> = (0..3000u32).map(|n| n.to_be_bytes()[3]).collect();
        let out = normalised(partial_tcp(0x19, &payload), 1500);
        assert_eq!(
            out.iter().map(|frame| frame.len() - 54).collect::<Vec<_>>(),
            [1460, 1460, 80]
        );
        assert!(out.iter().all(|frame| verifies(frame)));
        // The sequence number wraps, the identification too; FIN and PSH are on the last alone.
        assert_eq!(out[1][38..42], 1459u32.to_be_bytes());
        assert_eq!(out[1][18..20], [0, 0]);
        assert_eq!(
            out.iter().map(|frame| frame[47]).collect::<Vec<_>>(),
            [0x10, 0x10, 0x19]
        );
        assert_eq!(
            out.iter()
                .flat_map(|frame| frame[54..].to_vec())
                .collect::<Vec<_>>(),
            payload
        );
    }

    #[test]
    fn crc32c_of_the_check_string() {
        // The check value of CRC-32C.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
