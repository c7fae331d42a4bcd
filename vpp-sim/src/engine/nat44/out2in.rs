//! Packets from outside (`nat44_ed_out2in.c`), and which way packets of interfaces on both sides go
//! (`nat44_ed_classify.c`).
use std::net::Ipv4Addr;

use super::super::Vpp;
use super::super::packet::{ICMP, UDP};
use super::super::types::Family;
use super::flow::{Flow, Match, Seen, Unseen};
use super::mapping::{Backend, mapping_flag};
use super::session::{Endpoint, Session, session_flag};
use super::{Step, translate};

const DHCP_CLIENT: u16 = 68;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// Errors of the node, in VPP's words.
mod error {
    pub const UNSUPPORTED_PROTOCOL: &str = "unsupported protocol";
    pub const OUT_OF_PORTS: &str = "out of ports";
    pub const BAD_ICMP_TYPE: &str = "unsupported ICMP type";
    pub const NO_TRANSLATION: &str = "no translation";
    pub const MAX_SESSIONS: &str = "maximum sessions exceeded";
    pub const NON_SYN: &str = "non-SYN packet try to create session";
    pub const FAILED: &str = "couldn't translate packet";
}

/// A mapping that takes packets from outside.
struct Target {
    local: (Ipv4Addr, u16),
    table: u32,
    flags: u8,
    is_identity: bool,
    /// Several backends; with affinity.
    balanced: Option<bool>,
    pool_address: Option<Ipv4Addr>,
}

impl Vpp {
    /// `nat44-ed-classify`: whether a packet goes the way from inside.
    pub(crate) fn nat44_is_from_inside(&self, data: &[u8], rx: u32) -> bool {
        let Ok(seen) = Seen::read(data, self.table_of(rx, Family::V4)) else {
            return true;
        };
        if seen.proto != ICMP
            && let Some(session) = self
                .nat44
                .sessions
                .find(&seen.lookup)
                .and_then(|index| self.nat44.sessions.get(index))
        {
            return session.i2o.on == seen.lookup;
        }
        if self.nat44.addresses.iter().any(|a| a.address == seen.dst) {
            return false;
        }
        let mappings = &self.nat44.mappings;
        let found = mappings
            .external(seen.dst, 0, 0)
            .or_else(|| mappings.external(seen.dst, seen.lookup.dst_port, seen.proto));
        found.is_none_or(|(_, m)| m.local.0 == m.external.0)
    }

    /// `nat44-ed-out2in`. The second is the table to route the packet in.
    pub(crate) fn nat44_out2in(&mut self, data: &mut [u8], rx: u32, now: u64) -> (Step, Option<u32>) {
        let seen = match Seen::read(data, self.table_of(rx, Family::V4)) {
            Ok(seen) => seen,
            Err(Unseen::Broken) => return (Step::Drop(error::FAILED), None),
            Err(Unseen::BadIcmpType) => return (Step::Drop(error::BAD_ICMP_TYPE), None),
            Err(Unseen::UnsupportedProtocol) => return (Step::Drop(error::UNSUPPORTED_PROTOCOL), None),
        };
        if seen.ttl == 1 {
            return (Step::TimeExceeded, None);
        }
        if let Some(index) = self.nat44_live(&seen.lookup, now) {
            return self.nat44_along_o2i(index, &seen, data, now);
        }
        if seen.is_portless() {
            return self.nat44_portless_from_outside(&seen, data, now);
        }
        match self.nat44_from_outside(&seen, rx, now) {
            Ok(index) => self.nat44_along_o2i(index, &seen, data, now),
            Err(step) => (step, None),
        }
    }

    fn nat44_along_o2i(&mut self, index: u32, seen: &Seen, data: &mut [u8], now: u64) -> (Step, Option<u32>) {
        let Some(session) = self.nat44.sessions.get(index) else {
            return (Step::Drop(error::FAILED), None);
        };
        let o2i = session.o2i.filter(|flow| flow.on == seen.lookup);
        let i2o = Some(session.i2o).filter(|flow| flow.on == seen.lookup);
        let twice = session.has(session_flag::TWICE_NAT);
        let flow = match o2i.or_else(|| i2o.filter(|_| twice || self.nat44.forwarding)) {
            Some(flow) => flow,
            None if seen.proto == UDP && seen.lookup.dst_port == DHCP_CLIENT => return (Step::Next, None),
            None => return (Step::Drop(error::NO_TRANSLATION), None),
        };
        if !translate::apply(data, &flow, false, self.nat44.mss) {
            return (Step::Drop(error::FAILED), None);
        }
        self.nat44_account(index, seen, false, now);
        (Step::Next, flow.table)
    }

    /// No session yet (`nat44-ed-out2in-slowpath`): one for a mapping, or what becomes of the packet without.
    fn nat44_from_outside(&mut self, seen: &Seen, rx: u32, now: u64) -> Result<u32, Step> {
        let is_icmp = seen.proto == ICMP;
        // For ICMP VPP asks by the packet's own addresses and the looked-up source port.
        let port = if is_icmp {
            seen.lookup.src_port
        } else {
            seen.lookup.dst_port
        };
        let Some(target) = self.nat44_target(seen, port, now) else {
            return Err(self.nat44_unmapped(seen, rx, now));
        };
        if is_icmp {
            let any_port = target.flags & mapping_flag::ADDR_ONLY != 0;
            let may = match seen.icmp_type {
                Some(ECHO_REPLY) => true,
                Some(ECHO_REQUEST) => any_port,
                _ => false,
            };
            if !may {
                return Err(Step::Drop(error::BAD_ICMP_TYPE));
            }
        }
        if target.is_identity {
            return Err(Step::Next);
        }
        if !seen.may_begin() {
            return Err(Step::Drop(error::NON_SYN));
        }
        self.nat44_begin_from_outside(seen, port, &target, now)
    }

    /// What becomes of a packet without session or mapping.
    fn nat44_unmapped(&mut self, seen: &Seen, rx: u32, now: u64) -> Step {
        if seen.proto == UDP && seen.lookup.dst_port == DHCP_CLIENT {
            return Step::Next;
        }
        if !self.nat44.forwarding {
            if seen.proto == ICMP && self.nat44_is_own(rx, seen.dst) {
                return Step::Next;
            }
            return Step::Drop(error::NO_TRANSLATION);
        }
        let there = Match {
            src: seen.src,
            dst: seen.dst,
            proto: seen.proto,
            ..seen.lookup
        };
        if self.nat44.sessions.is_flow(&there) {
            return Step::In2Out;
        }
        self.nat44_bypass(seen, now);
        Step::Next
    }

    /// Remembers a forwarded flow, so that its answers are not translated (`create_bypass_for_fwd`).
    fn nat44_bypass(&mut self, seen: &Seen, now: u64) {
        let (own_port, host_port) = if seen.is_icmp_error() {
            (seen.lookup.src_port, seen.lookup.dst_port)
        } else {
            (seen.lookup.dst_port, seen.lookup.src_port)
        };
        let on = Match {
            src: seen.dst,
            src_port: own_port,
            dst: seen.src,
            dst_port: host_port,
            table: seen.lookup.table,
            proto: seen.lookup.proto,
        };
        let index = match self.nat44.sessions.find(&on) {
            Some(index) => index,
            None if seen.is_icmp_error() || self.nat44_is_full(on.table) => return,
            None => {
                let end = Endpoint {
                    address: seen.dst,
                    port: own_port,
                    table: on.table,
                };
                let i2o = Flow {
                    table: Some(on.table),
                    ..Flow::on(on)
                };
                let mut session = Session::new(end, end, (seen.src, host_port), seen.proto, i2o);
                session.flags |= session_flag::BYPASS;
                self.nat44_begin(session, now)
            }
        };
        // VPP counts the packet, but none of its bytes.
        let uncounted = Seen { length: 0, ..*seen };
        self.nat44_account(index, &uncounted, false, now);
    }

    /// The mapping for a packet from outside, with a backend chosen (`snat_static_mapping_match`).
    fn nat44_target(&mut self, seen: &Seen, port: u16, now: u64) -> Option<Target> {
        let (index, mapping) = self.nat44.mappings.match_external(seen.dst, port, seen.proto)?;
        let any_port = mapping.has(mapping_flag::ADDR_ONLY);
        let mut target = Target {
            local: (mapping.local.0, if any_port { port } else { mapping.local.1 }),
            table: mapping.table,
            flags: mapping.flags,
            is_identity: mapping.is_identity,
            balanced: None,
            pool_address: mapping.pool_address,
        };
        if !mapping.is_lb {
            return Some(target);
        }
        let affinity = mapping.affinity;
        let backend = self.nat44_backend(index, seen, port, affinity, now)?;
        target.local = (backend.address, backend.port);
        target.table = backend.table;
        target.balanced = Some(affinity != 0);
        Some(target)
    }

    /// The client's backend, or one drawn by the probabilities.
    fn nat44_backend(
        &mut self,
        mapping: u32,
        seen: &Seen,
        port: u16,
        affinity: u32,
        now: u64,
    ) -> Option<Backend> {
        let key = (seen.src, seen.dst, seen.proto, port);
        if affinity != 0
            && let Some(kept) = self.nat44.affinity.hold(key, now)
            && let Some(backend) = self.nat44.mappings.get(mapping)?.locals.get(kept)
        {
            return Some(*backend);
        }
        let random = self.nat44.random();
        let locals: Vec<(u32, Backend)> = self
            .nat44
            .mappings
            .get(mapping)?
            .locals
            .iter()
            .map(|(at, backend)| (at, *backend))
            .collect();
        let total = u32::from(locals.last()?.1.prefix);
        let drawn = 1 + random.checked_rem(total)?;
        // VPP searches the sums by halves; where they wrapped around in 8 bits it may find none.
        let at = locals.partition_point(|(_, b)| u32::from(b.prefix) < drawn);
        let (index, backend) = *locals.get(at)?;
        if affinity != 0 {
            self.nat44.affinity.begin(key, index, affinity);
        }
        Some(backend)
    }

    /// Makes a session that a host outside began (`create_session_for_static_mapping_ed`).
    fn nat44_begin_from_outside(
        &mut self,
        seen: &Seen,
        port: u16,
        target: &Target,
        now: u64,
    ) -> Result<u32, Step> {
        let table = seen.lookup.table;
        if self.nat44_is_full(table) {
            return Err(Step::Drop(error::MAX_SESSIONS));
        }
        let is_icmp = seen.proto == ICMP;
        let external = (seen.dst, port);
        let host = (seen.src, if is_icmp { 0 } else { seen.lookup.src_port });
        let on = Match {
            src: host.0,
            src_port: if is_icmp { port } else { host.1 },
            dst: external.0,
            dst_port: external.1,
            table,
            proto: seen.proto,
        };
        let mut o2i = Flow {
            dst: Some(target.local.0),
            table: Some(target.table),
            ..Flow::on(on)
        };
        let mut back = Match {
            src: target.local.0,
            src_port: target.local.1,
            dst: host.0,
            dst_port: if is_icmp { target.local.1 } else { host.1 },
            table: target.table,
            proto: seen.proto,
        };
        // ICMP is never twice-translated: VPP does not ask for it there.
        let own = seen.src == target.local.0;
        let twice = !is_icmp
            && (target.flags & mapping_flag::TWICE_NAT != 0
                || (target.flags & mapping_flag::SELF_TWICE_NAT != 0 && own));
        let host_nat = if twice {
            let exact = target.pool_address;
            let found = self.nat44_allocate_twice(target.local, target.table, seen.proto, exact);
            Some(found.ok_or(Step::Drop(error::OUT_OF_PORTS))?)
        } else {
            None
        };
        if let Some((address, port)) = host_nat {
            (back.dst, back.dst_port) = (address, port);
            o2i.src = Some(address);
            o2i.src_port = Some(port);
        }
        let mut i2o = Flow {
            src: Some(external.0),
            ..Flow::on(back)
        };
        if is_icmp {
            o2i = o2i.with_identifier(target.local.1);
            i2o = i2o.with_identifier(external.1);
        } else {
            o2i.dst_port = Some(target.local.1);
            i2o.src_port = Some(external.1);
        }
        if host_nat.is_some() {
            i2o.dst = Some(host.0);
            i2o.dst_port = Some(host.1);
        }
        let end = |(address, port): (Ipv4Addr, u16), table| Endpoint { address, port, table };
        let mut session = Session::new(
            end(target.local, target.table),
            end(external, table),
            host,
            seen.proto,
            i2o,
        );
        session.o2i = Some(o2i);
        session.flags |= session_flag::STATIC;
        if let Some(host_nat) = host_nat {
            session.host_nat = host_nat;
            session.flags |= session_flag::TWICE_NAT;
        }
        if let Some(affinity) = target.balanced {
            session.flags |= session_flag::LOAD_BALANCED;
            if affinity {
                session.flags |= session_flag::AFFINITY;
            }
        }
        Ok(self.nat44_begin(session, now))
    }

    /// A protocol without ports (`nat44_ed_out2in_slowpath_unknown_proto`): VPP asks for a mapping of just that
    /// protocol, port 0.
    fn nat44_portless_from_outside(&mut self, seen: &Seen, data: &mut [u8], now: u64) -> (Step, Option<u32>) {
        let table = seen.lookup.table;
        let found = self.nat44.mappings.external(seen.dst, 0, seen.proto);
        let local = found
            .filter(|_| !self.nat44_is_full(table))
            .map(|(_, m)| (m.local.0, m.table));
        let Some((local, local_table)) = local else {
            return if self.nat44.forwarding {
                (Step::Next, None)
            } else {
                (Step::Drop(error::NO_TRANSLATION), None)
            };
        };
        let on = |src, dst, table| Match {
            src,
            src_port: 0,
            dst,
            dst_port: 0,
            table,
            proto: seen.proto,
        };
        let port = u16::from(seen.proto).swap_bytes();
        let end = |address, table| Endpoint { address, port, table };
        // VPP fills in the wrong flow first, so the one from inside matches nothing: answers make a session of their own.
        let i2o = Flow {
            src: Some(seen.dst),
            ..Flow::on(on(Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED, 0))
        };
        let mut session = Session::new(
            end(local, local_table),
            end(seen.dst, table),
            (seen.src, 0),
            0,
            i2o,
        );
        session.o2i = Some(Flow {
            dst: Some(local),
            table: Some(local_table),
            ..Flow::on(on(seen.src, seen.dst, table))
        });
        session.flags |= session_flag::STATIC;
        let index = self.nat44_begin(session, now);
        self.nat44_along_o2i(index, seen, data, now)
    }

    /// Sessions so far.
    pub fn nat44_session_count(&self) -> usize {
        self.nat44.sessions.len()
    }
}
