//! Sessions, the flows that lead to them, and how they age.
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use super::super::Vpp;
use super::super::packet::{ICMP, ICMP6, TCP, UDP};
use super::super::pool::Pool;
use super::super::types::{Family, OpResult, retval};
use super::flow::{Flow, Match};
use super::{Nat44Timeouts, SECOND};

/// What is special about a session.
pub(super) mod session_flag {
    pub const STATIC: u8 = 1;
    pub const LOAD_BALANCED: u8 = 2;
    pub const TWICE_NAT: u8 = 4;
    pub const BYPASS: u8 = 8;
    pub const AFFINITY: u8 = 16;
    pub const HAIRPIN: u8 = 32;
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// State of a TCP connection (patterned after RFC 7857).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TcpState {
    #[default]
    Closed,
    Established,
    Closing,
}

/// The lists from whose heads old sessions are taken, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    TcpTransitory,
    Udp,
    Other,
    Icmp,
    TcpEstablished,
}

/// An end of a session on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
    pub table: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub inside: Endpoint,
    pub outside: Endpoint,
    /// The other end, as it is outside.
    pub host: (Ipv4Addr, u16),
    /// The other end as the inside sees it, with twice-NAT.
    pub host_nat: (Ipv4Addr, u16),
    pub proto: u8,
    pub flags: u8,
    pub i2o: Flow,
    /// None for a session that lets packets pass as they are.
    pub o2i: Option<Flow>,
    /// Of a table that nobody translates for any more.
    pub expired: bool,
    pub last_heard: u64,
    pub packets: u32,
    pub bytes: u64,
    tcp_state: TcpState,
    /// FIN, SYN, RST, ACK seen from inside and from outside.
    tcp_flags: [u8; 2],
    age: (Age, u64),
    last_moved: u64,
}

impl Session {
    /// One that nothing is known of but its ends.
    pub fn new(inside: Endpoint, outside: Endpoint, host: (Ipv4Addr, u16), proto: u8, i2o: Flow) -> Self {
        Self {
            inside,
            outside,
            host,
            host_nat: (Ipv4Addr::UNSPECIFIED, 0),
            proto,
            flags: 0,
            i2o,
            o2i: None,
            expired: false,
            last_heard: 0,
            packets: 0,
            bytes: 0,
            tcp_state: TcpState::default(),
            tcp_flags: [0; 2],
            age: (Age::Other, 0),
            last_moved: 0,
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub fn is_static(&self) -> bool {
        self.has(session_flag::STATIC)
    }

    pub fn is_bypass(&self) -> bool {
        self.has(session_flag::BYPASS)
    }

    fn timeout(&self, timeouts: &Nat44Timeouts) -> u32 {
        match self.proto {
            ICMP | ICMP6 => timeouts.icmp,
            TCP if self.tcp_state == TcpState::Established => timeouts.tcp_established,
            TCP => timeouts.tcp_transitory,
            _ => timeouts.udp,
        }
    }

    /// Whether it has been idle too long. VPP cuts the end to whole seconds.
    pub fn is_timed_out(&self, timeouts: &Nat44Timeouts, now: u64) -> bool {
        let end = self.last_heard / SECOND + u64::from(self.timeout(timeouts));
        now >= end.saturating_mul(SECOND)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    pool: Pool<Session>,
    flows: HashMap<Match, u32>,
    ages: BTreeMap<(Age, u64), u32>,
    sequence: u64,
}

impl Sessions {
    pub fn find(&self, on: &Match) -> Option<u32> {
        self.flows.get(on).copied()
    }

    pub fn get(&self, index: u32) -> Option<&Session> {
        self.pool.get(index)
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        self.pool.iter()
    }

    pub fn len(&self) -> usize {
        self.pool.len()
    }

    pub fn is_flow(&self, on: &Match) -> bool {
        self.flows.contains_key(on)
    }

    fn tail(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Takes a session in; its flows lead to it from now on, also where they led to another one.
    pub fn insert(&mut self, mut session: Session, now: u64) -> u32 {
        let age = match session.proto {
            UDP => Age::Udp,
            TCP => Age::TcpTransitory,
            ICMP => Age::Icmp,
            _ => Age::Other,
        };
        session.age = (age, self.tail());
        session.last_moved = now;
        let (age, i2o, o2i) = (session.age, session.i2o.on, session.o2i.map(|f| f.on));
        let index = self.pool.insert(session);
        self.ages.insert(age, index);
        self.flows.insert(i2o, index);
        if let Some(o2i) = o2i {
            self.flows.insert(o2i, index);
        }
        index
    }

    pub fn remove(&mut self, index: u32) -> Option<Session> {
        let session = self.pool.remove(index)?;
        self.ages.remove(&session.age);
        self.flows.remove(&session.i2o.on);
        if let Some(o2i) = session.o2i {
            self.flows.remove(&o2i.on);
        }
        Some(session)
    }

    /// The oldest session of the first list whose oldest has timed out (`nat_lru_free_one`).
    pub fn oldest_timed_out(&self, timeouts: &Nat44Timeouts, now: u64) -> Option<u32> {
        let lists = [
            Age::TcpTransitory,
            Age::Udp,
            Age::Other,
            Age::Icmp,
            Age::TcpEstablished,
        ];
        lists.into_iter().find_map(|age| {
            let (_, index) = self.ages.range((age, 0)..=(age, u64::MAX)).next()?;
            self.get(*index)?.is_timed_out(timeouts, now).then_some(*index)
        })
    }

    fn move_to(&mut self, index: u32, age: Age, now: u64) {
        let tail = self.tail();
        if let Some(session) = self.pool.get_mut(index) {
            self.ages.remove(&session.age);
            session.age = (age, tail);
            session.last_moved = now;
            self.ages.insert(session.age, index);
        }
    }

    /// Counts a packet.
    pub fn account(&mut self, index: u32, bytes: u64, now: u64) {
        let Some(session) = self.pool.get_mut(index) else {
            return;
        };
        session.last_heard = now;
        session.packets = session.packets.wrapping_add(1);
        session.bytes += bytes;
        if now > session.last_moved + SECOND {
            let age = session.age.0;
            self.move_to(index, age, now);
        }
    }

    /// Follows a TCP connection (`nat44_set_tcp_session_state`).
    pub fn track_tcp(&mut self, index: u32, flags: u8, from_inside: bool, now: u64) {
        let Some(session) = self.pool.get_mut(index) else {
            return;
        };
        let seen = &mut session.tcp_flags[usize::from(!from_inside)];
        let before = *seen;
        *seen |= flags & (FIN | SYN | RST | ACK);
        if before == *seen {
            return;
        }
        let closing = *seen & (FIN | RST) != 0;
        // Exactly these two from both sides: a FIN that one side repeats does not count.
        let opened = session.tcp_flags[0] & session.tcp_flags[1] == (SYN | ACK);
        let age = match session.tcp_state {
            TcpState::Closed if opened => Age::TcpEstablished,
            TcpState::Closing if opened => {
                session.packets = 0;
                session.bytes = 0;
                Age::TcpEstablished
            }
            TcpState::Established if closing => Age::TcpTransitory,
            _ => return,
        };
        if age == Age::TcpEstablished {
            session.tcp_state = TcpState::Established;
        } else {
            session.tcp_state = TcpState::Closing;
            session.tcp_flags = [0; 2];
            session.last_heard = now;
        }
        self.move_to(index, age, now);
    }

    /// Sessions into or out of a table are not used any more.
    pub fn expire_table(&mut self, table: u32) {
        for (_, session) in self.pool.iter_mut() {
            session.expired |= session.inside.table == table || session.outside.table == table;
        }
    }
}

/// A host with sessions as `nat44_user_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat44User {
    pub address: Ipv4Addr,
    pub table_id: u32,
    pub sessions: u32,
    pub static_sessions: u32,
}

/// A session as `nat44_user_session_v3_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat44SessionDetails {
    pub outside: (Ipv4Addr, u16),
    pub inside: (Ipv4Addr, u16),
    pub host: (Ipv4Addr, u16),
    /// With twice-NAT.
    pub host_nat: Option<(Ipv4Addr, u16)>,
    pub proto: u8,
    pub is_static: bool,
    /// Nanoseconds on the caller's clock.
    pub last_heard: u64,
    pub packets: u32,
    pub bytes: u64,
    pub is_timed_out: bool,
}

impl Vpp {
    /// Takes a new session in, and an old one that has timed out away.
    pub(super) fn nat44_begin(&mut self, session: Session, now: u64) -> u32 {
        self.nat44_free_oldest(now);
        self.nat44.sessions.insert(session, now)
    }

    /// Frees one session that has timed out; whether there was one.
    pub(super) fn nat44_free_oldest(&mut self, now: u64) -> bool {
        let oldest = self.nat44.sessions.oldest_timed_out(&self.nat44.timeouts, now);
        oldest.is_some_and(|index| {
            self.nat44_end(index, now);
            true
        })
    }

    pub(super) fn nat44_end(&mut self, index: u32, now: u64) {
        if let Some(gone) = self.nat44.sessions.remove(index)
            && gone.has(session_flag::AFFINITY)
        {
            let key = (gone.host.0, gone.outside.address, gone.proto, gone.outside.port);
            self.nat44.affinity.release(key, now);
        }
    }

    /// Ends the sessions that are meant, without a packet.
    pub(super) fn nat44_end_sessions(&mut self, meant: impl Fn(&Session) -> bool) {
        let all = self.nat44.sessions.iter();
        let gone: Vec<(u32, u64)> = all
            .filter(|(_, s)| meant(s))
            .map(|(i, s)| (i, s.last_heard))
            .collect();
        for (index, last_heard) in gone {
            self.nat44_end(index, last_heard);
        }
    }

    /// Whether no more sessions fit (`nat44_ed_maximum_sessions_exceeded`).
    pub(super) fn nat44_is_full(&self, table: u32) -> bool {
        let fib_index = self
            .fibs
            .tables
            .get(&(Family::V4, table))
            .map_or(0, |t| t.fib_index);
        let limits = &self.nat44.limits;
        let limit = limits.get(&fib_index).or_else(|| limits.get(&0));
        self.nat44.sessions.len() >= limit.copied().unwrap_or(0) as usize
    }

    /// `nat44_del_session`: by the match of either flow.
    ///
    /// # Errors
    /// −126 not enabled, −6 no such session.
    pub fn nat44_del_session(
        &mut self,
        end: (Ipv4Addr, u16),
        host: (Ipv4Addr, u16),
        proto: u8,
        table_id: u32,
    ) -> OpResult {
        self.nat44.enabled()?;
        let on = Match {
            src: end.0,
            src_port: end.1,
            dst: host.0,
            dst_port: host.1,
            table: table_id,
            proto,
        };
        let index = self.nat44.sessions.find(&on).ok_or(retval::NO_SUCH_ENTRY)?;
        let last_heard = self.nat44.sessions.get(index).map_or(0, |s| s.last_heard);
        self.nat44_end(index, last_heard);
        Ok(())
    }

    /// `nat44_user_dump`: in order of their first session.
    pub fn nat44_users(&self) -> Vec<Nat44User> {
        let mut users: Vec<Nat44User> = Vec::new();
        for (_, session) in self.nat44.sessions.iter() {
            let Endpoint { address, table, .. } = session.inside;
            let known = users
                .iter()
                .position(|u| (u.address, u.table_id) == (address, table));
            let at = known.unwrap_or_else(|| {
                users.push(Nat44User {
                    address,
                    table_id: table,
                    sessions: 0,
                    static_sessions: 0,
                });
                users.len() - 1
            });
            if session.is_static() {
                users[at].static_sessions += 1;
            } else {
                users[at].sessions += 1;
            }
        }
        users
    }

    /// `nat44_user_session_v3_dump`: the sessions of an inside address, in whatever table, as VPP.
    pub fn nat44_user_sessions(&self, address: Ipv4Addr, now: u64) -> Vec<Nat44SessionDetails> {
        let all = self.nat44.sessions.iter().map(|(_, s)| s);
        all.filter(|s| s.inside.address == address)
            .map(|s| Nat44SessionDetails {
                outside: (s.outside.address, s.outside.port),
                inside: (s.inside.address, s.inside.port),
                host: s.host,
                host_nat: s.has(session_flag::TWICE_NAT).then_some(s.host_nat),
                proto: s.proto,
                is_static: s.is_static(),
                last_heard: s.last_heard,
                packets: s.packets,
                bytes: s.bytes,
                is_timed_out: s.is_timed_out(&self.nat44.timeouts, now),
            })
            .collect()
    }
}
