//! Nodes with pods around the engine: pods answer echoes and serve TCP and UDP on 80 and 8080.
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use vpp_sim::engine::{Config, Family, Mac, Neighbor, Output, Prefix, Vpp};

use super::flow::Flow;
use super::packets::{self, ACK, FIN, PSH, SYN, Seen, TCP, UDP};

pub const SECOND: u64 = 1_000_000_000;

pub fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// What is plugged into an interface.
#[derive(Clone, Debug)]
pub enum Plug {
    /// A pod with its addresses and MAC.
    Pod {
        name: String,
        addresses: Vec<IpAddr>,
        mac: Mac,
        /// MAC of VPP's side.
        gateway: Mac,
    },
    /// A routed function: packets that come in here go out on the other interface, TTL decremented.
    Function { out: u32, mac: Mac, gateway: Mac },
    /// The wire to another node's interface.
    Wire { node: usize, sw_if_index: u32 },
    /// A function's side which only sends.
    Sink,
}

/// Nodes, what is plugged into them, and a clock.
pub struct World {
    pub nodes: Vec<Vpp>,
    pub plugs: BTreeMap<(usize, u32), Plug>,
    pub now: u64,
    next_port: u16,
    /// Packets pods received, and did not answer by themselves.
    inbox: Vec<(String, Seen)>,
    /// Packets that entered a function, by its interface.
    pub function_packets: BTreeMap<(usize, u32), u64>,
}

impl World {
    pub fn new(nodes: usize) -> Self {
        Self {
            nodes: (0..nodes).map(|_| Vpp::new(Config::default())).collect(),
            plugs: BTreeMap::new(),
            now: SECOND,
            next_port: 40_000,
            inbox: Vec::new(),
            function_packets: BTreeMap::new(),
        }
    }

    /// loop0 with gateway addresses.
    pub fn gateway(&mut self, node: usize, prefixes: &[&str]) -> u32 {
        let vpp = &mut self.nodes[node];
        let index = vpp.create_loopback(Mac([2, 0, 0, 0, 0, 1]), None).unwrap();
        for p in prefixes {
            vpp.add_address(index, prefix(p)).unwrap();
        }
        vpp.set_admin(index, true).unwrap();
        index
    }

    /// A pod on veth + af_packet, unnumbered to the gateway loopback 1, with static neighbours.
    pub fn pod(&mut self, node: usize, name: &str, addresses: &[&str]) -> u32 {
        let n = self.plugs.len() as u8;
        let mac = Mac([0x0a, 0, 0, 0, node as u8, n + 1]);
        let vpp = &mut self.nodes[node];
        let index = vpp.create_af_packet(&format!("v-{name}"), None, None).unwrap();
        vpp.set_admin(index, true).unwrap();
        vpp.set_unnumbered(1, index, true).unwrap();
        for address in addresses {
            vpp.neighbor_add(neighbor(index, addr(address), mac)).unwrap();
        }
        let gateway = vpp.interface(index).unwrap().mac;
        let addresses = addresses.iter().map(|a| addr(a)).collect();
        let plug = Plug::Pod {
            name: name.to_owned(),
            addresses,
            mac,
            gateway,
        };
        self.plugs.insert((node, index), plug);
        index
    }

    /// Joins two interfaces by a wire.
    pub fn wire(&mut self, a: (usize, u32), b: (usize, u32)) {
        self.plugs.insert(
            a,
            Plug::Wire {
                node: b.0,
                sw_if_index: b.1,
            },
        );
        self.plugs.insert(
            b,
            Plug::Wire {
                node: a.0,
                sw_if_index: a.1,
            },
        );
    }

    pub fn find_pod(&self, name: &str) -> (usize, u32) {
        self.plugs
            .iter()
            .find(|(_, p)| matches!(p, Plug::Pod { name: n, .. } if n == name))
            .map(|(at, _)| *at)
            .unwrap_or_else(|| panic!("no pod {name}"))
    }

    /// The address a pod speaks to `to` from: one of the same /24, else its first of the family.
    pub fn source_for(&self, name: &str, to: IpAddr) -> IpAddr {
        let Plug::Pod { addresses, .. } = &self.plugs[&self.find_pod(name)] else {
            unreachable!()
        };
        let near = |a: &IpAddr| match (a, to) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
            _ => false,
        };
        let found = addresses.iter().find(|a| near(a));
        found
            .copied()
            .unwrap_or_else(|| self.pod_address(name, Family::of(to)))
    }

    /// MAC to which a pod sends a packet: the gateway's, or the peer's in a network of their own (10.99).
    fn link_mac(&self, packet: &[u8], gateway: Mac) -> Mac {
        let to = packets::read(packet).dst;
        let own = matches!(to, IpAddr::V4(a) if a.octets()[..2] == [10, 99]);
        self.plugs
            .values()
            .find_map(|p| match p {
                Plug::Pod { addresses, mac, .. } if own && addresses.contains(&to) => Some(*mac),
                _ => None,
            })
            .unwrap_or(gateway)
    }

    pub fn pod_address(&self, name: &str, family: Family) -> IpAddr {
        match &self.plugs[&self.find_pod(name)] {
            Plug::Pod { addresses, .. } => *addresses
                .iter()
                .rfind(|a| Family::of(**a) == family)
                .expect("an address of the family"),
            _ => unreachable!(),
        }
    }

    /// A packet sent by a pod to its gateway, and all that follows; what pods received meanwhile.
    pub fn send(&mut self, pod: &str, packet: &[u8]) -> Vec<(String, Seen)> {
        let (node, index) = self.find_pod(pod);
        let Plug::Pod { mac, gateway, .. } = self.plugs[&(node, index)].clone() else {
            unreachable!()
        };
        let frame = packets::frame(self.link_mac(packet, gateway), mac, packet);
        self.run(node, index, frame);
        std::mem::take(&mut self.inbox)
    }

    /// A frame that enters a node, and all that follows.
    pub fn run(&mut self, node: usize, index: u32, frame: Vec<u8>) {
        let mut queue = VecDeque::from([(node, index, frame)]);
        let mut steps = 0;
        while let Some((node, index, frame)) = queue.pop_front() {
            steps += 1;
            assert!(steps < 1000, "packets run in circles");
            self.now += 1_000;
            let outputs = self.nodes[node].rx(index, &frame, self.now);
            for output in outputs {
                self.deliver(node, output, &mut queue);
            }
        }
    }

    /// Frames which the engine sent by itself.
    pub fn carry(&mut self, node: usize, outputs: Vec<Output>) -> Vec<(String, Seen)> {
        let mut queue = VecDeque::new();
        for output in outputs {
            self.deliver(node, output, &mut queue);
        }
        while let Some((node, index, frame)) = queue.pop_front() {
            self.run(node, index, frame);
        }
        std::mem::take(&mut self.inbox)
    }

    fn deliver(&mut self, node: usize, out: Output, queue: &mut VecDeque<(usize, u32, Vec<u8>)>) {
        let at = (node, out.sw_if_index);
        match self.plugs.get(&at).cloned() {
            Some(Plug::Wire { node, sw_if_index }) => queue.push_back((node, sw_if_index, out.frame)),
            Some(Plug::Pod {
                name,
                addresses,
                mac,
                gateway,
            }) => {
                let for_me = out.frame[..6] == mac.0 || out.frame[0] & 1 == 1;
                let Some(packet) = packets::ip_of(&out.frame).filter(|_| for_me) else {
                    self.answer_arp(at, &out.frame, &addresses, mac, queue);
                    return;
                };
                let seen = packets::read(packet);
                if !addresses.contains(&seen.dst) {
                    return;
                }
                match answer(&seen) {
                    Some(reply) => {
                        let reply = packets::frame(self.link_mac(&reply, gateway), mac, &reply);
                        self.inbox.push((name, seen));
                        queue.push_back((node, out.sw_if_index, reply));
                    }
                    None => self.inbox.push((name, seen)),
                }
            }
            Some(Plug::Function {
                out: other,
                mac,
                gateway,
            }) => {
                if let Some(packet) = packets::ip_of(&out.frame).filter(|_| out.frame[..6] == mac.0) {
                    *self.function_packets.entry(at).or_default() += 1;
                    let mut packet = packet.to_vec();
                    packet[8] -= 1;
                    packet[10..12].copy_from_slice(&[0, 0]);
                    let mut sum = 0u32;
                    for pair in packet[..20].chunks(2) {
                        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
                    }
                    let sum = (sum & 0xffff) + (sum >> 16);
                    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
                    packet[10..12].copy_from_slice(&sum.to_be_bytes());
                    queue.push_back((node, other, packets::frame(gateway, mac, &packet)));
                }
            }
            Some(Plug::Sink) | None => {}
        }
    }

    fn answer_arp(
        &mut self,
        at: (usize, u32),
        frame: &[u8],
        addresses: &[IpAddr],
        mac: Mac,
        queue: &mut VecDeque<(usize, u32, Vec<u8>)>,
    ) {
        if frame[12..14] != [8, 6] || frame[21] != 1 {
            return;
        }
        let target: [u8; 4] = frame[38..42].try_into().unwrap();
        if addresses.contains(&IpAddr::from(target)) {
            let asker = Mac(frame[22..28].try_into().unwrap());
            let from: [u8; 4] = frame[28..32].try_into().unwrap();
            let reply = packets::arp(2, (mac, target), (asker, from), asker);
            queue.push_back((at.0, at.1, reply));
        }
    }

    pub fn port(&mut self) -> u16 {
        self.next_port = self.next_port.wrapping_add(7).max(10_000);
        self.next_port
    }

    /// One TCP connection attempt or UDP question: `"<pod> <client it saw>"`, or how it failed.
    pub fn ask(&mut self, from: &str, to: IpAddr, port: u16, proto: u8) -> Result<String, &'static str> {
        let source = self.source_for(from, to);
        let own_port = self.port();
        let flow = Flow {
            from: from.to_owned(),
            source,
            to,
            ports: (own_port, port),
            proto,
        };
        flow.open(self)
    }

    /// Counts answers of several attempts.
    pub fn probe(
        &mut self,
        from: &str,
        to: &str,
        port: u16,
        proto: u8,
        count: usize,
    ) -> BTreeMap<String, usize> {
        let mut answers = BTreeMap::new();
        for _ in 0..count {
            let answer = match self.ask(from, addr(to), port, proto) {
                Ok(answer) => answer,
                Err(error) => error.to_owned(),
            };
            *answers.entry(answer).or_insert(0) += 1;
        }
        answers
    }

    /// Echo requests: how many answers came back, and their TTL.
    pub fn ping(&mut self, from: &str, to: &str, count: usize) -> (usize, Option<u8>) {
        self.ping_sized(from, to, count, 56)
    }

    pub fn ping_sized(&mut self, from: &str, to: &str, count: usize, size: usize) -> (usize, Option<u8>) {
        let to = addr(to);
        let source = self.source_for(from, to);
        let mut answers = 0;
        let mut ttl = None;
        for _ in 0..count {
            let id = self.port();
            let request = packets::echo(source, to, id, true, 64, size);
            for (pod, seen) in self.send(from, &request) {
                let is_reply =
                    seen.proto == 1 && seen.ports.0 == 0 || seen.proto == 58 && seen.ports.0 == 129;
                if pod == from && is_reply && seen.id == id && seen.src == to {
                    answers += 1;
                    ttl = Some(seen.ttl);
                }
            }
        }
        (answers, ttl)
    }
}

pub fn neighbor(sw_if_index: u32, address: IpAddr, mac: Mac) -> Neighbor {
    Neighbor {
        sw_if_index,
        address,
        mac,
        is_static: true,
        no_fib_entry: false,
        updated: 0,
    }
}

/// What a pod's kernel and server answer at once.
fn answer(seen: &Seen) -> Option<Vec<u8>> {
    let back = (seen.ports.1, seen.ports.0);
    match seen.proto {
        1 if seen.ports.0 == 8 => Some(packets::echo(
            seen.dst,
            seen.src,
            seen.id,
            false,
            64,
            seen.l4.len() - 8,
        )),
        58 if seen.ports.0 == 128 => Some(packets::echo(
            seen.dst,
            seen.src,
            seen.id,
            false,
            64,
            seen.l4.len() - 8,
        )),
        TCP if matches!(seen.ports.1, 80 | 8080) => match seen.flags {
            SYN => Some(packets::tcp(seen.dst, seen.src, back, SYN | ACK, &[])),
            f if f & PSH != 0 => Some(packets::tcp(seen.dst, seen.src, back, PSH | ACK, b"answer")),
            f if f & FIN != 0 => Some(packets::tcp(seen.dst, seen.src, back, FIN | ACK, &[])),
            _ => None,
        },
        UDP if matches!(seen.ports.1, 80 | 8080) => Some(packets::udp(seen.dst, seen.src, back, b"answer")),
        _ => None,
    }
}
