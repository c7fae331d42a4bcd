//! Rewriting a packet by a flow (`nat_6t_flow_buf_translate`).
use super::super::packet::ip::Ip;
use super::super::packet::nat::{FiveTuple, rewrite_nat44};
use super::super::packet::{TCP, be16, checksum, put16};
use super::flow::Flow;

/// Makes the packet what the flow says; false when it cannot be translated.
pub(super) fn apply(data: &mut [u8], flow: &Flow, from_inside: bool, mss: u16) -> bool {
    let Ok(ip) = Ip::parse(data) else {
        return false;
    };
    let to = flow.rewritten();
    let tuple = FiveTuple {
        src: to.src.into(),
        dst: to.dst.into(),
        src_port: to.src_port,
        dst_port: to.dst_port,
        proto: to.proto,
    };
    if !rewrite_nat44(data, &ip, &tuple, from_inside) {
        return false;
    }
    if mss != 0 && ip.proto == TCP && ip.l4_valid {
        clamp_mss(&mut data[ip.l4..ip.end], mss);
    }
    true
}

/// Lowers the MSS a SYN offers (RFC 9293, 3.7.1).
fn clamp_mss(tcp: &mut [u8], mss: u16) {
    const SYN: u8 = 2;
    let (Some(offset), Some(flags)) = (tcp.get(12), tcp.get(13)) else {
        return;
    };
    let end = (usize::from(offset >> 4) * 4).min(tcp.len());
    if flags & SYN == 0 {
        return;
    }
    let mut at = 20;
    while at < end {
        let length = match tcp[at] {
            0 => return,
            1 => 1,
            kind => {
                let Some(length) = tcp.get(at + 1).map(|l| usize::from(*l)) else {
                    return;
                };
                if length < 2 || at + length > end {
                    return;
                }
                if kind == 2 && length == 4 && be16(tcp, at + 2) > mss {
                    let old = [tcp[at + 2], tcp[at + 3]];
                    put16(tcp, at + 2, mss);
                    let sum = checksum::update(be16(tcp, 16), &old, &mss.to_be_bytes());
                    put16(tcp, 16, sum);
                    return;
                }
                length
            }
        };
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(mss: u16) -> Vec<u8> {
        let mut tcp = vec![0; 24];
        tcp[12] = 6 << 4;
        tcp[13] = 2;
        tcp[20..24].copy_from_slice(&[2, 4, (mss >> 8) as u8, mss as u8]);
        let sum = checksum::checksum(&tcp);
        put16(&mut tcp, 16, sum);
        tcp
    }

    #[test]
    fn only_a_larger_mss_is_lowered() {
        let mut tcp = syn(1460);
        clamp_mss(&mut tcp, 1300);
        assert_eq!(tcp, syn(1300));
        clamp_mss(&mut tcp, 1400);
        assert_eq!(tcp, syn(1300));
    }

    #[test]
    fn no_syn_no_change() {
        let mut tcp = syn(1460);
        tcp[13] = 16;
        let before = tcp.clone();
        clamp_mss(&mut tcp, 1300);
        assert_eq!(tcp, before);
    }
}
