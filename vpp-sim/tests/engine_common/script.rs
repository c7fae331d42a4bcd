//! Packets as lines of text: `a udp 10.0.0.2:5000>20.0.0.2:53 => b udp 20.0.0.10:5000>20.0.0.2:53`. What comes in on
//! one of three ports, and what leaves on which.
//!
//! A packet is `udp SRC:PORT>DST:PORT`, `tcp … FLAGS`, `icmp SRC>DST TYPE.CODE/ID`, `icmp SRC>DST TYPE.CODE [PACKET]`
//! for an error about another one, or `ipPROTO SRC>DST`. `ttlN` and `tosN` follow where they are not usual: 64 and 0
//! for what comes in, 63 and 0 for what leaves.
use std::net::IpAddr;

use vpp_sim::engine::{Config, Mac, Vpp};

use super::packets::{self, TCP, UDP};
use super::world::{SECOND, addr, neighbor, prefix};

const FLAGS: [(char, u8); 5] = [('F', 1), ('S', 2), ('R', 4), ('P', 8), ('A', 16)];

/// One VPP with ports a, b and c.
pub struct Bench {
    pub vpp: Vpp,
    /// Interfaces of the ports.
    pub ports: [u32; 3],
    pub now: u64,
}

fn host_mac(port: usize) -> Mac {
    Mac([2, 0, 0, 5, 0, port as u8])
}

impl Bench {
    /// Ports without address, up.
    pub fn layer2() -> Self {
        let mut vpp = Vpp::new(Config::default());
        let ports = [0, 1, 2].map(|n: usize| {
            let mac = Mac([2, 0, 0, 1, 0, n as u8]);
            let name = ["a", "b", "c"][n];
            let index = vpp.create_af_packet(name, Some(mac), None).unwrap();
            vpp.set_admin(index, true).unwrap();
            index
        });
        Self {
            vpp,
            ports,
            now: SECOND,
        }
    }

    /// 10.0.0.1/24, 20.0.0.1/24 and 30.0.0.1/24 with hosts .2 and .3.
    pub fn routed() -> Self {
        let mut bench = Self::layer2();
        for (n, net) in ["10.0.0", "20.0.0", "30.0.0"].into_iter().enumerate() {
            let index = bench.ports[n];
            bench
                .vpp
                .add_address(index, prefix(&format!("{net}.1/24")))
                .unwrap();
            for host in [2, 3] {
                let address = addr(&format!("{net}.{host}"));
                bench
                    .vpp
                    .neighbor_add(neighbor(index, address, host_mac(n)))
                    .unwrap();
            }
        }
        bench
    }

    pub fn port(&self, name: &str) -> u32 {
        self.ports[port_number(name)]
    }

    /// What leaves when a packet comes in.
    pub fn send(&mut self, port: &str, packet: &str) -> String {
        let index = self.port(port);
        let own = self.vpp.interface(index).unwrap().mac;
        let frame = packets::frame(own, host_mac(port_number(port)), &build(packet));
        self.now += 1_000_000;
        let outputs = self.vpp.rx(index, &frame, self.now);
        let seen = outputs.iter().filter_map(|output| {
            let n = self.ports.iter().position(|p| *p == output.sw_if_index).unwrap();
            let packet = packets::ip_of(&output.frame)?;
            Some(format!("{} {}", ["a", "b", "c"][n], describe(packet)))
        });
        seen.collect::<Vec<_>>().join(" | ")
    }

    /// Runs lines, each of which must be true.
    pub fn run(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (input, expected) = line.split_once("=>").unwrap();
            let (port, packet) = input.trim().split_once(' ').unwrap();
            assert_eq!(self.send(port, packet), expected.trim(), "{line}");
        }
    }
}

fn port_number(name: &str) -> usize {
    ["a", "b", "c"].iter().position(|p| *p == name).unwrap()
}

fn build(text: &str) -> Vec<u8> {
    let (head, inner) = match text.split_once('[') {
        Some((head, inner)) => (head, Some(inner.trim_end().trim_end_matches(']'))),
        None => (text, None),
    };
    let mut words = head.split_whitespace();
    let (kind, ends) = (words.next().unwrap(), words.next().unwrap());
    let (src, dst) = ends.split_once('>').unwrap();
    let end = |text: &str| -> (IpAddr, u16) {
        match text.split_once(':') {
            Some((address, port)) => (addr(address), port.parse().unwrap()),
            None => (addr(text), 0),
        }
    };
    let ((src, src_port), (dst, dst_port)) = (end(src), end(dst));
    let (mut ttl, mut tos) = (64, 0);
    let mut special = "";
    for word in words {
        if let Some(n) = word.strip_prefix("ttl") {
            ttl = n.parse().unwrap();
        } else if let Some(n) = word.strip_prefix("tos") {
            tos = n.parse().unwrap();
        } else {
            special = word;
        }
    }
    let ports = (src_port, dst_port);
    let l4 = |packet: Vec<u8>| packet[20..].to_vec();
    let (proto, body, sum_at) = match kind {
        "udp" => (UDP, l4(packets::udp(src, dst, ports, b"hello")), Some(6)),
        "tcp" => {
            let flags = FLAGS.iter().filter(|(c, _)| special.contains(*c));
            let flags = flags.map(|(_, bit)| bit).sum();
            (TCP, l4(packets::tcp(src, dst, ports, flags, b"")), Some(16))
        }
        "icmp" => {
            let (types, id) = special.split_once('/').unwrap_or((special, "0"));
            let (icmp_type, code) = types.split_once('.').unwrap();
            let mut body = vec![icmp_type.parse().unwrap(), code.parse().unwrap(), 0, 0];
            match inner {
                Some(inner) => {
                    body.extend([0; 4]);
                    let (inner, cut) = match inner.split_once(" cut") {
                        Some((inner, cut)) => (inner, cut.parse().unwrap()),
                        None => (inner, usize::MAX),
                    };
                    body.extend(build(inner).iter().take(cut));
                }
                None => {
                    body.extend(id.parse::<u16>().unwrap().to_be_bytes());
                    body.extend([0, 1]);
                    body.extend([b'x'; 16]);
                }
            }
            (1, body, Some(2))
        }
        other => {
            let proto = other.strip_prefix("ip").unwrap().parse().unwrap();
            (proto, vec![0; 20], None)
        }
    };
    let mut packet = packets::ip(src, dst, proto, ttl, body, sum_at);
    if tos != 0 {
        packet[1] = tos;
        packet[10..12].copy_from_slice(&[0, 0]);
        let sum = packet[..20]
            .chunks(2)
            .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum: u32 = sum.sum();
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn describe(packet: &[u8]) -> String {
    let seen = packets::read(packet);
    let mut text = body(packet);
    if seen.ttl != 63 {
        text.push_str(&format!(" ttl{}", seen.ttl));
    }
    if packet[1] != 0 {
        text.push_str(&format!(" tos{}", packet[1]));
    }
    text
}

/// The packet without TTL and TOS; also of one that is cut short.
fn body(packet: &[u8]) -> String {
    let address = |at: usize| IpAddr::from([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
    let (src, dst, proto, l4) = (address(12), address(16), packet[9], &packet[20..]);
    let word = |at: usize| u16::from_be_bytes([l4[at], l4[at + 1]]);
    match proto {
        UDP => format!("udp {src}:{}>{dst}:{}", word(0), word(2)),
        TCP => {
            let set = |flags: u8| FLAGS.iter().filter(move |(_, bit)| flags & bit != 0);
            let flags: String = l4.get(13).map(|f| set(*f).map(|(c, _)| *c).collect()).unwrap();
            format!("tcp {src}:{}>{dst}:{} {flags}", word(0), word(2))
        }
        1 if matches!(l4[0], 0 | 8) => format!("icmp {src}>{dst} {}.{}/{}", l4[0], l4[1], word(4)),
        1 => format!("icmp {src}>{dst} {}.{} [{}]", l4[0], l4[1], body(&l4[8..])),
        _ => format!("ip{proto} {src}>{dst}"),
    }
}
