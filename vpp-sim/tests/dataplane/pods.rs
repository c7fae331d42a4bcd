//! What is plugged into the dataplane, and the questions pods ask.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vpp_sim::engine::{Mac, Vpp, verify_checksums};

use crate::bed::Bed;
use crate::packets::{self, ACK, FIN, PSH, SYN, Seen, TCP, UDP};

/// A frame for a known end of all that came before it: the answer to it is the last to come.
pub const BEACON: &str = "cvt-beacon";
pub const BEACON_VPP: [u8; 4] = [198, 18, 254, 1];
pub const BEACON_PEER: [u8; 4] = [198, 18, 254, 2];
pub const BEACON_MAC: Mac = Mac([0x0a, 0xbe, 0xac, 0, 0, 1]);

/// How long a dataplane may take for a frame before the test gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is on the other end of a host device.
#[derive(Clone, Debug)]
pub enum Plug {
    /// A pod with its addresses and MAC; it answers echoes, and on TCP and UDP 80 and 8080.
    Pod {
        name: String,
        addresses: Vec<IpAddr>,
        mac: Mac,
        gateway: Mac,
    },
    /// A routed function: what comes in here goes out on the other side, TTL decremented.
    Function { out: String, mac: Mac, gateway: Mac },
    /// Frames are kept as they are.
    Raw(Vec<Vec<u8>>),
    /// Another node: the wire ends at its interface 1, and a pod called `far` is on its interface 3.
    Node(Box<Vpp>),
}

/// How a question ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// By a pod that saw this client address.
    Served(String, IpAddr),
    /// By an ICMP error from this router, of this type and code.
    Refused(IpAddr, u16, u16),
    /// By nobody.
    Lost,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Served(pod, client) => write!(f, "{pod} {client}"),
            Self::Refused(router, kind, code) => write!(f, "{router} {kind}/{code}"),
            Self::Lost => f.write_str("lost"),
        }
    }
}

/// A client's side of a connection.
#[derive(Clone, Debug)]
pub struct Flow {
    pub from: String,
    pub source: IpAddr,
    pub to: IpAddr,
    pub ports: (u16, u16),
    pub proto: u8,
}

pub fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The name of a pod's or function's host device.
pub fn device(name: &str) -> String {
    format!("cvt-{name}")
}

impl Bed {
    fn pod_of(&self, name: &str) -> (Vec<IpAddr>, Mac, Mac) {
        match &self.plugs[&device(name)] {
            Plug::Pod {
                addresses,
                mac,
                gateway,
                ..
            } => (addresses.clone(), *mac, *gateway),
            other => panic!("{name} is {other:?}"),
        }
    }

    pub fn gateway_mac(&self, name: &str) -> Mac {
        match &self.plugs[&device(name)] {
            Plug::Pod { gateway, .. } | Plug::Function { gateway, .. } => *gateway,
            other => panic!("{name} is {other:?}"),
        }
    }

    pub fn pod_mac(&self, name: &str) -> Mac {
        self.pod_of(name).1
    }

    pub fn pod_address(&self, name: &str, like: IpAddr) -> IpAddr {
        Self::of_family(&self.pod_of(name).0, like)
    }

    pub fn port(&mut self) -> u16 {
        self.next_port = self.next_port.wrapping_add(7).max(10_000);
        self.next_port
    }

    /// A packet sent by a pod to its gateway, and all that follows; what pods received meanwhile.
    pub fn send(&mut self, pod: &str, packet: &[u8]) -> Vec<(String, Seen)> {
        let (_, mac, gateway) = self.pod_of(pod);
        self.send_frame(&device(pod), &packets::frame(gateway, mac, packet))
    }

    /// A frame into a device, and all that follows.
    pub fn send_frame(&mut self, device: &str, frame: &[u8]) -> Vec<(String, Seen)> {
        self.inbox.clear();
        self.wires.send(device, frame);
        self.settle();
        std::mem::take(&mut self.inbox)
    }

    /// The frames a raw device has got since the last call.
    pub fn kept(&mut self, device: &str) -> Vec<Vec<u8>> {
        match self.plugs.get_mut(device) {
            Some(Plug::Raw(frames)) => std::mem::take(frames),
            other => panic!("{device} is {other:?}"),
        }
    }

    /// Carries frames until none is under way any more.
    pub fn settle(&mut self) {
        if self.wires.is_immediate() {
            while self.carry() > 0 {}
            return;
        }
        // What was sent before the beacon is through when the beacon is back; twice, because the devices of one look at
        // them all may be read in any order.
        let mut quiet = 0;
        while quiet < 2 {
            sleep(Duration::from_millis(1));
            let moved = self.carry() + self.beacon();
            quiet = if moved == 0 { quiet + 1 } else { 0 };
        }
    }

    /// Asks for the beacon's address and waits for the answer; how many other frames were carried meanwhile.
    fn beacon(&mut self) -> usize {
        let request = packets::arp(
            1,
            (BEACON_MAC, BEACON_PEER),
            (Mac::default(), BEACON_VPP),
            Mac::BROADCAST,
        );
        self.wires.send(BEACON, &request);
        let deadline = Instant::now() + PATIENCE;
        let mut moved = 0;
        loop {
            for frame in self.wires.receive(BEACON) {
                if frame[12..14] == [8, 6] && frame[21] == 2 && frame[28..32] == BEACON_VPP {
                    return moved + self.carry();
                }
            }
            moved += self.carry();
            assert!(Instant::now() < deadline, "the dataplane answers no ARP request");
            sleep(Duration::from_micros(300));
        }
    }

    /// Hands over what has arrived; how many frames.
    fn carry(&mut self) -> usize {
        let devices: Vec<String> = self.plugs.keys().cloned().collect();
        let mut moved = 0;
        for device in devices {
            for frame in self.wires.receive(&device) {
                moved += 1;
                self.deliver(&device, &frame);
            }
        }
        moved
    }

    fn deliver(&mut self, device: &str, frame: &[u8]) {
        match self.plugs.get_mut(device) {
            Some(Plug::Raw(frames)) => frames.push(frame.to_vec()),
            Some(Plug::Pod {
                name,
                addresses,
                mac,
                gateway,
            }) => {
                let (name, addresses, mac, gateway) = (name.clone(), addresses.clone(), *mac, *gateway);
                let for_me = frame[..6] == mac.0 || frame[0] & 1 == 1;
                let Some(packet) = packet_of(frame).filter(|_| for_me) else {
                    if let Some(reply) = answer_arp(frame, &addresses, mac) {
                        self.wires.send(device, &reply);
                    }
                    return;
                };
                // A kernel drops what has a wrong checksum; the question then counts as lost.
                if let Err(error) = verify_checksums(packet) {
                    eprintln!("{name} dropped a packet: {error} {packet:02x?}");
                    return;
                }
                let seen = packets::read(packet);
                if !addresses.contains(&seen.dst) {
                    return;
                }
                let reply = answer(&seen);
                self.inbox.push((name, seen));
                if let Some(reply) = reply {
                    self.wires.send(device, &packets::frame(gateway, mac, &reply));
                }
            }
            Some(Plug::Function { out, mac, .. }) => {
                let (out, mac) = (out.clone(), *mac);
                if let Some(packet) = packet_of(frame).filter(|_| frame[..6] == mac.0) {
                    *self.function_frames.entry(device.to_owned()).or_default() += 1;
                    let packet = routed(packet);
                    let Plug::Function { mac, gateway, .. } = self.plugs[&out] else {
                        panic!("{out} is no side of a function")
                    };
                    self.wires.send(&out, &packets::frame(gateway, mac, &packet));
                }
            }
            Some(Plug::Node(vpp)) => {
                let mut entering = vec![(1, frame.to_vec())];
                let mut back = Vec::new();
                while let Some((index, frame)) = entering.pop() {
                    // Its clock does not matter here, but has to stand beyond 0.
                    for output in vpp.rx(index, &frame, 1_000_000_000) {
                        let Some(packet) = packet_of(&output.frame).filter(|_| output.sw_if_index == 3)
                        else {
                            back.push(output.frame);
                            continue;
                        };
                        let seen = packets::read(packet);
                        let [to, from] = [0, 6].map(|at| Mac(output.frame[at..at + 6].try_into().unwrap()));
                        entering.extend(answer(&seen).map(|reply| (3, packets::frame(from, to, &reply))));
                        self.inbox.push(("far".to_owned(), seen));
                    }
                }
                back.iter().for_each(|frame| self.wires.send(device, frame));
            }
            None => {}
        }
    }

    /// One TCP connection attempt or UDP question.
    pub fn ask(&mut self, from: &str, to: &str, port: u16, proto: u8) -> Answer {
        let to = addr(to);
        let flow = Flow {
            from: from.to_owned(),
            source: self.pod_address(from, to),
            to,
            ports: (self.port(), port),
            proto,
        };
        flow.open(self)
    }

    /// Whether a question was answered by this pod, which saw the asker's own address.
    pub fn reaches(&mut self, from: &str, to: &str, port: u16, proto: u8) -> bool {
        matches!(self.ask(from, to, port, proto), Answer::Served(..))
    }

    /// Counts the answers to several questions.
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
            let answer = self.ask(from, to, port, proto).to_string();
            *answers.entry(answer).or_insert(0) += 1;
        }
        answers
    }

    /// Echo requests: how many answers came back, and their TTL.
    pub fn ping(&mut self, from: &str, to: &str, count: usize) -> (usize, Option<u8>) {
        let to = addr(to);
        let source = self.pod_address(from, to);
        let (mut answers, mut ttl) = (0, None);
        for _ in 0..count {
            let id = self.port();
            let request = packets::echo(source, to, id, true, 64, 56);
            for (pod, seen) in self.send(from, &request) {
                let reply =
                    (seen.proto == 1 && seen.ports.0 == 0) || (seen.proto == 58 && seen.ports.0 == 129);
                if pod == from && reply && seen.id == id && seen.src == to {
                    answers += 1;
                    ttl = Some(seen.ttl);
                }
            }
        }
        (answers, ttl)
    }

    /// The ICMP error a packet of a pod is answered with: router, type and code.
    pub fn refusal(&mut self, from: &str, packet: &[u8]) -> Answer {
        let got = self.send(from, packet);
        let error = got.iter().find(|(pod, seen)| pod == from && is_error(seen));
        error.map_or(Answer::Lost, |(_, seen)| {
            Answer::Refused(seen.src, seen.ports.0, seen.ports.1)
        })
    }
}

fn is_error(seen: &Seen) -> bool {
    (seen.proto == 1 && matches!(seen.ports.0, 3 | 11)) || (seen.proto == 58 && seen.ports.0 < 128)
}

impl Flow {
    fn exchange(&self, bed: &mut Bed, packet: &[u8], flags: u8) -> Answer {
        let mut server = Answer::Lost;
        let mut answered = false;
        for (pod, seen) in bed.send(&self.from, packet) {
            let is_answer = seen.proto == self.proto
                && seen.src == self.to
                && seen.ports == (self.ports.1, self.ports.0)
                && seen.flags & flags == flags;
            if pod == self.from && is_answer {
                answered = true;
            } else if pod == self.from && is_error(&seen) {
                return Answer::Refused(seen.src, seen.ports.0, seen.ports.1);
            } else if seen.proto == self.proto {
                server = Answer::Served(pod, seen.src);
            }
        }
        if answered { server } else { Answer::Lost }
    }

    /// Connects and asks once.
    pub fn open(&self, bed: &mut Bed) -> Answer {
        if self.proto == UDP {
            let ask = packets::udp(self.source, self.to, self.ports, b"ask");
            return self.exchange(bed, &ask, 0);
        }
        let syn = packets::tcp(self.source, self.to, self.ports, SYN, &[]);
        let opened = self.exchange(bed, &syn, SYN | ACK);
        if !matches!(opened, Answer::Served(..)) {
            return opened;
        }
        let ack = packets::tcp(self.source, self.to, self.ports, ACK, &[]);
        bed.send(&self.from, &ack);
        self.echo(bed)
    }

    /// Asks on the open connection.
    pub fn echo(&self, bed: &mut Bed) -> Answer {
        let ask = packets::tcp(self.source, self.to, self.ports, PSH | ACK, b"ask");
        self.exchange(bed, &ask, PSH)
    }
}

/// The IP packet in a frame, without what pads it.
pub fn packet_of(frame: &[u8]) -> Option<&[u8]> {
    let packet = packets::ip_of(frame)?;
    let length = if packet[0] >> 4 == 4 {
        usize::from(u16::from_be_bytes([packet[2], packet[3]]))
    } else {
        40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]))
    };
    packet.get(..length)
}

/// The packet one hop on. Only IPv4: what functions of these scenarios carry.
fn routed(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[8] -= 1;
    // A decremented first byte of a word adds as much to the complemented sum.
    let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x100;
    let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn answer_arp(frame: &[u8], addresses: &[IpAddr], mac: Mac) -> Option<Vec<u8>> {
    if frame[12..14] != [8, 6] || frame[21] != 1 {
        return None;
    }
    let target: [u8; 4] = frame[38..42].try_into().unwrap();
    let asker = Mac(frame[22..28].try_into().unwrap());
    let from: [u8; 4] = frame[28..32].try_into().unwrap();
    addresses
        .contains(&IpAddr::from(target))
        .then(|| packets::arp(2, (mac, target), (asker, from), asker))
}

/// What a pod's kernel and server answer at once.
fn answer(seen: &Seen) -> Option<Vec<u8>> {
    let back = (seen.ports.1, seen.ports.0);
    let echo = || packets::echo(seen.dst, seen.src, seen.id, false, 64, seen.l4.len() - 8);
    match seen.proto {
        1 if seen.ports.0 == 8 => Some(echo()),
        58 if seen.ports.0 == 128 => Some(echo()),
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
