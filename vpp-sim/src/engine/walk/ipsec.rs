//! `esp4/6-encrypt-tun`, `ipsec4/6-tun-input` and `esp4/6-decrypt-tun`: what protected tunnels send and receive.
use std::net::IpAddr;

use super::ipip::{inner_protocol, is_ip_in_ip};
use super::{Packet, Walk};
use crate::engine::Vpp;
use crate::engine::ipsec::{esp, sa_flag};
use crate::engine::packet::ip::Ip;
use crate::engine::packet::tunnel::{self, Outer};
use crate::engine::packet::{UDP, be32, checksum, put16};
use crate::engine::types::Family;

/// Protocol number of ESP.
pub(super) const ESP: u8 = 50;

/// `tunnel_build_v4_hdr`.
const TUNNEL_TTL: u8 = 254;

const UDP_HEADER: usize = 8;
const IP_IN_IP: u8 = 4;

fn encrypt_node(family: Family) -> String {
    format!("esp{}-encrypt-tun", if family == Family::V4 { 4 } else { 6 })
}

fn decrypt_node(family: Family) -> String {
    format!("esp{}-decrypt-tun", if family == Family::V4 { 4 } else { 6 })
}

/// ESP in UDP (RFC 3948), without checksum.
fn in_udp(ports: (u16, u16), esp: &[u8]) -> Vec<u8> {
    let mut udp = ports.0.to_be_bytes().to_vec();
    udp.extend(ports.1.to_be_bytes());
    udp.extend(((UDP_HEADER + esp.len()) as u16).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(esp);
    udp
}

/// The packet with another payload behind its IP header.
fn with_payload(packet: &[u8], ip: &Ip, proto: u8, payload: &[u8]) -> Vec<u8> {
    let mut data = packet[..ip.header_len].to_vec();
    data.extend(payload);
    match ip.family {
        Family::V4 => {
            let length = data.len() as u16;
            put16(&mut data, 2, length);
            data[9] = proto;
            put16(&mut data, 10, 0);
            let sum = checksum::checksum(&data[..ip.header_len]);
            put16(&mut data, 10, sum);
        }
        Family::V6 => {
            put16(&mut data, 4, payload.len() as u16);
            data[6] = proto;
        }
    }
    data
}

impl Vpp {
    /// A packet for a protected tunnel: in transport mode the tunnel's own outer packet, whose payload is encrypted; in
    /// tunnel mode all of it, behind the header of the association.
    pub(super) fn ipsec_protected(
        &mut self,
        w: &mut Walk,
        rx: u32,
        sw_if_index: u32,
        next_hop: Option<IpAddr>,
        table: u32,
        data: &[u8],
    ) {
        let family = match data.first().map(|b| b >> 4) {
            Some(4) => Family::V4,
            _ => Family::V6,
        };
        let node = encrypt_node(family);
        let found = self.ipsec.protecting(sw_if_index, next_hop).map(|p| p.sa_out);
        let Some(sa) = found.and_then(|index| self.ipsec.sas.get_mut(index)) else {
            return self.drop_packet(w, rx, &node, "no protection");
        };
        let config = sa.config.clone();
        let in_tunnel_mode = config.has(sa_flag::IS_TUNNEL);
        let ip = Ip::parse(data);
        let sealed = match &ip {
            _ if in_tunnel_mode => esp::seal(sa, inner_protocol(data), data),
            Ok(ip) => esp::seal(sa, ip.proto, &data[ip.header_len..ip.end]),
            Err(reason) => Err(*reason),
        };
        let sealed = match sealed {
            Ok(sealed) => sealed,
            Err(reason) => return self.drop_packet(w, rx, &node, reason),
        };
        w.node(&node, || {
            format!("SPI {} sequence {}", config.spi, be32(&sealed, 4))
        });
        let (proto, payload) = if config.has(sa_flag::UDP_ENCAP) {
            (UDP, in_udp(config.udp_ports, &sealed))
        } else {
            (ESP, sealed)
        };
        let (outer, table) = match &ip {
            _ if in_tunnel_mode => {
                let outer = Outer {
                    src: config.tunnel.src,
                    dst: config.tunnel.dst,
                    flags: config.tunnel.flags,
                    dscp: config.tunnel.dscp,
                    hop_limit: match config.tunnel.hop_limit {
                        0 => TUNNEL_TTL,
                        set => set,
                    },
                };
                let Some(outer) = tunnel::encapsulate(&outer, proto, &payload, data) else {
                    return self.drop_packet(w, rx, &node, "tunnel ends of two families");
                };
                (outer, config.tunnel.table_id)
            }
            Ok(ip) => (with_payload(data, ip, proto, &payload), table),
            Err(reason) => return self.drop_packet(w, rx, &node, reason),
        };
        self.tunnel_send_own(w, rx, table, outer);
    }

    /// ESP to an own address, plain or in UDP: `at` is where it starts.
    pub(super) fn ipsec_input(&mut self, w: &mut Walk, packet: &Packet, ip: &Ip, at: usize) {
        let input = match ip.family {
            Family::V4 => "ipsec4-tun-input",
            Family::V6 => "ipsec6-tun-input",
        };
        let data = packet.data.get(at..ip.end).unwrap_or(&[]).to_vec();
        if data.len() < esp::HEADER {
            return self.drop_packet(w, packet.rx, input, "Too Short");
        }
        let spi = be32(&data, 0);
        w.node(input, || format!("SPI {spi} from {}", ip.src));
        let Some((protected, sa)) = self.ipsec.inbound(ip.src, spi) else {
            return self.drop_packet(w, packet.rx, input, "no such tunnel");
        };
        let (sw_if_index, ends) = (protected.sw_if_index, protected.ends);
        if !self.interface(sw_if_index).is_some_and(|i| i.admin_up) {
            return self.drop_packet(
                w,
                sw_if_index,
                input,
                "ipsec packets received on disabled interface",
            );
        }
        let node = decrypt_node(ip.family);
        let Some(sa) = self.ipsec.sas.get_mut(sa) else {
            return;
        };
        let flags = sa.config.tunnel.flags;
        let in_tunnel_mode = sa.config.has(sa_flag::IS_TUNNEL);
        let (next, mut inner) = match esp::open(sa, &data) {
            Ok(opened) => opened,
            Err(reason) => return self.drop_packet(w, sw_if_index, &node, reason),
        };
        w.node(&node, || format!("protocol {next}, {} bytes", inner.len()));
        if !is_ip_in_ip(next) {
            return self.drop_packet(w, sw_if_index, &node, "no tunnel protocol");
        }
        if in_tunnel_mode {
            tunnel::decapsulated(flags, &packet.data, &mut inner);
        }
        let mut family = family_of(next);
        // A tunnel protected in tunnel mode has its own header yet, which must be that of this tunnel.
        if let (true, Some((own, peer))) = (in_tunnel_mode, ends) {
            let header = match Ip::parse(&inner) {
                Ok(header) => header,
                Err(reason) => return self.drop_packet(w, sw_if_index, &node, reason),
            };
            if (header.dst, header.src) != (own, peer) || !is_ip_in_ip(header.proto) {
                return self.drop_packet(w, sw_if_index, &node, "no tunnel protocol");
            }
            family = family_of(header.proto);
            inner = inner[header.l4..header.end].to_vec();
        }
        self.tunnel_receive(w, packet, sw_if_index, family, inner, &node);
    }
}

fn family_of(proto: u8) -> Family {
    if proto == IP_IN_IP { Family::V4 } else { Family::V6 }
}
