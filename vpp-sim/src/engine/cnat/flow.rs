//! What cnat's nodes do with packets: `cnat-lookup`, `cnat-input`, `cnat-output`, `cnat-writeback`
//! on an interface's arcs, and `cnat-tx` at a virtual address in the FIB (`cnat_node_*.c`).
use std::net::IpAddr;

use super::session::{FiveTuple, Place, Rewrite, TCP_CLOSING_NS, TCP_MAX_AGE_NS};
use super::{Cnat, translation_flag};
use crate::engine::fib::DEFAULT_TABLE;
use crate::engine::packet::hash::flow_hash;
use crate::engine::packet::ip::Ip;
use crate::engine::packet::{TCP, nat};
use crate::engine::types::Family;
use crate::engine::{FLOW_HASH_DEFAULT, path_flag};

/// What cnat knows of a packet; it stays with the packet from input to output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    state: State,
    record: Option<u32>,
    no_return: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No lookup was made (the packet entered by an interface without cnat), or it could not be.
    #[default]
    Unknown,
    /// The first packet of a flow.
    New,
    /// A further packet of the direction that made the session.
    Forward,
    Return,
    /// The session is written; an encapsulation must not do it again.
    Done,
}

impl Meta {
    /// For the trace.
    pub fn describe(&self) -> String {
        match (self.state, self.record) {
            (State::Unknown, _) => "no session".to_owned(),
            (state, record) => format!("{state:?} session {}", record.unwrap_or_default()),
        }
    }
}

/// What a node asks of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Unchanged,
    Rewritten,
    Drop(&'static str),
    /// Forward as if to this address, packet unchanged.
    Via(IpAddr),
}

/// The life of a session after a TCP packet with these flags was translated.
pub(super) fn lifetime(data: &[u8], ip: &Ip) -> Option<u64> {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    if ip.proto != TCP || !ip.l4_valid {
        return None;
    }
    let flags = data.get(ip.l4 + 13).copied().unwrap_or(0);
    if flags & (SYN | ACK) == SYN | ACK {
        Some(TCP_MAX_AGE_NS)
    } else if flags & (FIN | RST) != 0 {
        Some(TCP_CLOSING_NS)
    } else {
        None
    }
}

impl Cnat {
    /// `cnat-lookup`: finds the session or makes one.
    pub fn lookup(&mut self, ip: &Ip, data: &[u8], table: u32, now: u64) -> Meta {
        let Some(tuple) = nat::five_tuple(ip, data) else {
            return Meta::default();
        };
        let (state, record) = match self.sessions.find(tuple, table, now) {
            Some((record, true)) => (State::Return, record),
            Some((record, false)) => (State::Forward, record),
            None => (State::New, self.sessions.create(tuple, table, now)),
        };
        Meta {
            state,
            record: Some(record),
            no_return: false,
        }
    }

    /// The rewrite a known session has for a place.
    fn known(&self, meta: Meta, place: Place) -> Option<Rewrite> {
        let record = self.sessions.get(meta.record?)?;
        match meta.state {
            State::Forward => record.rewrite(place, false),
            State::Return => record.rewrite(place, true),
            _ => None,
        }
    }

    fn apply(&mut self, meta: Meta, rewrite: Option<Rewrite>, ip: &Ip, data: &mut [u8]) -> Verdict {
        let Some(rewrite) = rewrite else {
            return Verdict::Unchanged;
        };
        if rewrite.drop {
            return Verdict::Drop("cnat: no backend");
        }
        if let Some(backend) = rewrite.no_nat {
            return Verdict::Via(backend);
        }
        if let Some(lifetime) = lifetime(data, ip)
            && let Some(record) = meta.record.and_then(|r| self.sessions.get_mut(r))
        {
            record.lifetime = lifetime;
        }
        nat::rewrite(data, ip, &rewrite.tuple);
        Verdict::Rewritten
    }

    /// `cnat-input`: towards the backend, or (for answers) back to who was source-NATed.
    pub fn input(&mut self, meta: &mut Meta, ip: &Ip, data: &mut [u8]) -> Verdict {
        let rewrite = match meta.state {
            State::New => self.new_flow(meta, ip, data, Place::Input),
            _ => self.known(*meta, Place::Input),
        };
        self.apply(*meta, rewrite, ip, data)
    }

    /// The first packet to a virtual address: picks the backend and writes the rewrites down.
    fn new_flow(&mut self, meta: &mut Meta, ip: &Ip, data: &[u8], place: Place) -> Option<Rewrite> {
        let (_, port) = ip.ports(data);
        let id = *self.by_vip.get(&(ip.dst, port, ip.proto))?;
        let tuple = nat::five_tuple(ip, data)?;
        let translation = self.translations.get_mut(id)?;
        translation.count(data);
        let config = match translation.flow_hash {
            0 => FLOW_HASH_DEFAULT,
            own => own,
        };
        let flags = translation.flags;
        let backend = translation.choose(flow_hash(ip, data, config));
        let record = self.sessions.get_mut(meta.record?)?;
        let Some((backend, tracker)) = backend else {
            let rewrite = Rewrite {
                drop: true,
                ..Rewrite::to(tuple)
            };
            record.forward[place as usize] = Some(rewrite);
            return Some(rewrite);
        };
        record.tracker = tracker;
        let mut rewrite = Rewrite::to(FiveTuple {
            dst: backend.dst.address,
            dst_port: match backend.dst.port {
                0 => tuple.dst_port,
                port => port,
            },
            ..tuple
        });
        if backend.flags & path_flag::NO_NAT != 0 {
            rewrite.no_nat = Some(backend.dst.address);
        }
        // Source NAT by the translation happens only at the virtual address's FIB entry.
        if place == Place::Fib {
            if backend.src.port != 0 {
                rewrite.tuple.src_port = backend.src.port;
            }
            if !backend.src.address.is_unspecified() {
                rewrite.tuple.src = backend.src.address;
                if flags & translation_flag::ALLOC_PORT != 0 {
                    match self.snat.allocate_port(tuple.proto) {
                        Some(port) => {
                            rewrite.tuple.src_port = port;
                            rewrite.allocated_port = true;
                        }
                        None => rewrite.drop = true,
                    }
                }
            }
        }
        record.forward[place as usize] = Some(rewrite);
        if flags & translation_flag::NO_RETURN_SESSION != 0 {
            meta.no_return = true;
        } else {
            // Answers are turned back where they leave.
            let back = if place == Place::Fib {
                Place::Fib
            } else {
                Place::Output
            };
            record.back[back as usize] = Some(Rewrite::to(tuple.swapped()));
        }
        Some(rewrite)
    }

    /// `cnat-output`: source NAT of new flows, and answers back into the virtual address's name.
    pub fn output(&mut self, meta: Meta, ip: &Ip, data: &mut [u8], rx: u32, tx: u32) -> Verdict {
        let rewrite = match meta.state {
            State::New => self.source_nat(meta, ip, data, rx, tx),
            _ => self.known(meta, Place::Output),
        };
        match self.apply(meta, rewrite, ip, data) {
            // The output node follows the arc whatever the rewrite says.
            Verdict::Drop(_) | Verdict::Via(_) => Verdict::Unchanged,
            verdict => verdict,
        }
    }

    fn source_nat(&mut self, meta: Meta, ip: &Ip, data: &[u8], rx: u32, tx: u32) -> Option<Rewrite> {
        let tuple = nat::five_tuple(ip, data)?;
        let entry = self.snat.entry(DEFAULT_TABLE)?;
        if !entry.applies(&tuple, ip.family, rx, tx) {
            return None;
        }
        let address = entry.address(ip.family);
        let mut rewrite = Rewrite::to(tuple);
        let mut complete = false;
        if !address.is_unspecified() {
            rewrite.tuple.src = address;
            if let Some(port) = self.snat.allocate_port(tuple.proto) {
                rewrite.tuple.src_port = port;
                rewrite.allocated_port = true;
                // An echo has one identifier; VPP forgets it for ICMPv6, whose answers are then lost.
                if ip.family == Family::V4 && ip.is_icmp() {
                    rewrite.tuple.dst_port = port;
                }
                complete = true;
            }
        }
        let record = self.sessions.get_mut(meta.record?)?;
        record.forward[Place::Output as usize] = Some(rewrite);
        if complete {
            record.back[Place::Input as usize] = Some(Rewrite::to(tuple.swapped()));
        }
        Some(rewrite)
    }

    /// `cnat-writeback`: the answers' key is known only now, after all rewrites.
    pub fn writeback(&mut self, meta: &mut Meta, table: u32) {
        if meta.state != State::New {
            return;
        }
        meta.state = State::Done;
        if meta.no_return {
            return;
        }
        let Some(index) = meta.record else {
            return;
        };
        let Some(record) = self.sessions.get(index) else {
            return;
        };
        // A rewrite counts with its pair, the last one on the way first.
        let pairs = [
            (Place::Output, Place::Input),
            (Place::Fib, Place::Fib),
            (Place::Input, Place::Output),
        ];
        let sent = pairs
            .iter()
            .find_map(|(forward, back)| {
                let rewrite = record.rewrite(*forward, false)?;
                record.rewrite(*back, true)?;
                rewrite.no_nat.is_none().then_some(rewrite.tuple)
            })
            .unwrap_or(record.original);
        self.add_return_key(index, sent, table);
    }

    fn add_return_key(&mut self, index: u32, sent: FiveTuple, table: u32) {
        // Another flow's answers may look the same: they are this one's from now on. VPP would try other ports if the table
        // refused the key, which it never does (`clib_bihash_add_with_overwrite_cb`).
        self.sessions.add_key(index, sent.swapped(), table, true);
    }

    /// `ip4/6-cnat-tx`: a packet that arrived at a virtual address without the input feature.
    pub fn at_vip(&mut self, meta: &mut Meta, ip: &Ip, data: &mut [u8], table: u32, now: u64) -> Verdict {
        *meta = self.lookup(ip, data, table, now);
        let rewrite = match meta.state {
            State::New => {
                let rewrite = self.new_flow(meta, ip, data, Place::Fib);
                if let (Some(rewrite), Some(index), false) = (rewrite, meta.record, meta.no_return)
                    && !rewrite.drop
                {
                    self.sessions
                        .add_key(index, rewrite.tuple.swapped(), DEFAULT_TABLE, true);
                    meta.state = State::Done;
                }
                rewrite
            }
            _ => self.known(*meta, Place::Fib),
        };
        self.apply(*meta, rewrite, ip, data)
    }
}
