//! Packets from inside (`nat44_ed_in2out.c`), on their way in or, with the output feature, on their way out.
use std::net::Ipv4Addr;

use super::super::Vpp;
use super::super::packet::{ETHERNET_LEN, ICMP, TCP, UDP};
use super::super::types::Family;
use super::flow::{Flow, Match, Seen, Unseen};
use super::mapping::mapping_flag;
use super::session::{Endpoint, Session, session_flag};
use super::{Step, translate};

const DHCP_SERVER: u16 = 67;

/// Errors of the node, in VPP's words.
mod error {
    pub const UNSUPPORTED_PROTOCOL: &str = "unsupported protocol";
    pub const OUT_OF_PORTS: &str = "out of ports";
    pub const BAD_ICMP_TYPE: &str = "unsupported ICMP type";
    pub const MAX_SESSIONS: &str = "maximum sessions exceeded";
    pub const NON_SYN: &str = "non-SYN packet try to create session";
    pub const FAILED: &str = "couldn't translate packet";
}

/// Where the packet is.
#[derive(Clone, Copy)]
struct Place {
    rx: u32,
    rx_table: u32,
    /// The interface it leaves by, where it is translated after routing.
    tx: Option<u32>,
    now: u64,
}

impl Vpp {
    /// `nat44-ed-in2out`, or with `tx` `nat44-ed-in2out-output`. The second is the table to route the packet in.
    pub(crate) fn nat44_in2out(
        &mut self,
        data: &mut [u8],
        rx: u32,
        tx: Option<u32>,
        now: u64,
    ) -> (Step, Option<u32>) {
        let rx_table = self.table_of(rx, Family::V4);
        let place = Place {
            rx,
            rx_table,
            tx,
            now,
        };
        let mut seen = match Seen::read(data, rx_table) {
            Ok(seen) => seen,
            Err(Unseen::Broken) => return (Step::Drop(error::FAILED), None),
            Err(Unseen::BadIcmpType) => return (Step::Drop(error::BAD_ICMP_TYPE), None),
            Err(Unseen::UnsupportedProtocol) => return (Step::Drop(error::UNSUPPORTED_PROTOCOL), None),
        };
        // After routing the link's header is there already, and counted.
        if tx.is_some_and(|tx| self.interfaces.get(tx).is_some_and(|i| i.is_ethernet())) {
            seen.length += ETHERNET_LEN as u64;
        }
        if tx.is_none() && seen.ttl == 1 {
            return (Step::TimeExceeded, None);
        }
        if tx.is_some() && self.nat44_passes_forwarded(&seen, now) {
            return (Step::Next, None);
        }
        if let Some(index) = self.nat44_live(&seen.lookup, now) {
            return self.nat44_along_i2o(index, &seen, data, place);
        }
        self.nat44_first_packet(&seen, data, place)
    }

    /// The session of a flow, unless it has ended: then it goes now.
    pub(super) fn nat44_live(&mut self, on: &Match, now: u64) -> Option<u32> {
        let index = self.nat44.sessions.find(on)?;
        let session = self.nat44.sessions.get(index)?;
        if session.expired || session.is_timed_out(&self.nat44.timeouts, now) {
            self.nat44_end(index, now);
            return None;
        }
        Some(index)
    }

    fn nat44_along_i2o(
        &mut self,
        index: u32,
        seen: &Seen,
        data: &mut [u8],
        place: Place,
    ) -> (Step, Option<u32>) {
        let Some(session) = self.nat44.sessions.get(index) else {
            return (Step::Drop(error::FAILED), None);
        };
        // Two hosts inside have a flow from inside each.
        let back = session
            .o2i
            .filter(|o2i| session.has(session_flag::HAIRPIN) && o2i.on == seen.lookup);
        let flow = if session.i2o.on == seen.lookup {
            Some(session.i2o)
        } else {
            back
        };
        let done = flow.filter(|flow| translate::apply(data, flow, true, self.nat44.mss));
        let Some(flow) = done else {
            self.nat44_end(index, place.now);
            return (Step::Drop(error::FAILED), None);
        };
        self.nat44_account(index, seen, true, place.now);
        (Step::Next, flow.table.filter(|_| place.tx.is_none()))
    }

    pub(super) fn nat44_account(&mut self, index: u32, seen: &Seen, from_inside: bool, now: u64) {
        let sessions = &mut self.nat44.sessions;
        if seen.proto == TCP {
            sessions.track_tcp(index, seen.tcp_flags, from_inside, now);
        }
        sessions.account(index, seen.length, now);
    }

    /// No session yet (`nat44-ed-in2out-slowpath`).
    fn nat44_first_packet(&mut self, seen: &Seen, data: &mut [u8], place: Place) -> (Step, Option<u32>) {
        let index = if seen.is_portless() {
            match self.nat44_begin_portless(seen, place) {
                Some(index) => index,
                None => return (Step::Drop(error::OUT_OF_PORTS), None),
            }
        } else {
            let passes = match place.tx {
                Some(tx) => self.nat44_passes_after_routing(seen, place.rx, tx),
                None => self.nat44_passes(seen, place),
            };
            if passes {
                return (Step::Next, None);
            }
            if seen.is_icmp_error() {
                return (Step::Drop(error::BAD_ICMP_TYPE), None);
            }
            match self.nat44_begin_from_inside(seen, place) {
                Ok(Some(index)) => index,
                Ok(None) => return (Step::Next, None),
                Err(reason) => return (Step::Drop(reason), None),
            }
        };
        self.nat44_along_i2o(index, seen, data, place)
    }

    /// Whether a packet from inside goes on untranslated (`nat44_ed_not_translate`).
    fn nat44_passes(&self, seen: &Seen, place: Place) -> bool {
        let outside_table = self.nat44.running.map_or(0, |c| c.outside_table);
        let back = Match {
            src: seen.dst,
            src_port: seen.lookup.dst_port,
            dst: seen.src,
            dst_port: seen.lookup.src_port,
            table: outside_table,
            proto: seen.proto,
        };
        let mapped = self
            .nat44
            .mappings
            .match_external(seen.dst, seen.lookup.dst_port, seen.proto);
        if self.nat44.sessions.is_flow(&back) || mapped.is_some() {
            return false;
        }
        self.nat44.forwarding
            || self.nat44_is_own(place.rx, seen.dst)
            || !self.nat44_is_resolvable(place.rx_table, seen.dst)
    }

    /// Whether the interface has the address, or borrows it.
    pub(super) fn nat44_is_own(&self, sw_if_index: u32, address: Ipv4Addr) -> bool {
        let holder = self.interfaces.get(self.address_holder(sw_if_index));
        holder.is_some_and(|i| i.addresses.iter().any(|p| p.address == address))
    }

    /// Packets of a session that lets them pass, with forwarding on (`nat_not_translate_output_feature_fwd`); VPP
    /// looks in table 0.
    fn nat44_passes_forwarded(&mut self, seen: &Seen, now: u64) -> bool {
        if !self.nat44.forwarding {
            return false;
        }
        let on = Match {
            table: 0,
            ..seen.lookup
        };
        let Some(index) = self.nat44.sessions.find(&on) else {
            return false;
        };
        let bypass = self.nat44.sessions.get(index).is_some_and(Session::is_bypass);
        if bypass {
            self.nat44_account(index, seen, true, now);
        }
        bypass
    }

    /// Whether a packet that leaves goes on untranslated: it is translated already, either way
    /// (`nat44_ed_not_translate_output_feature`).
    fn nat44_passes_after_routing(&self, seen: &Seen, rx: u32, tx: u32) -> bool {
        let sessions = &self.nat44.sessions;
        let there = Match {
            src: seen.src,
            dst: seen.dst,
            table: self.table_of(tx, Family::V4),
            proto: seen.proto,
            ..seen.lookup
        };
        if sessions.is_flow(&there) {
            return true;
        }
        let back = Match {
            src: seen.dst,
            src_port: seen.lookup.dst_port,
            dst: seen.src,
            dst_port: seen.lookup.src_port,
            table: self.table_of(rx, Family::V4),
            proto: seen.proto,
        };
        if let Some(session) = sessions.find(&back).and_then(|index| sessions.get(index)) {
            let hairpin = self.nat44.outputs.iter().any(|(_, i)| i.sw_if_index == rx);
            return !session.is_bypass() && !hairpin;
        }
        let dhcp = seen.proto == UDP && seen.lookup.dst_port == DHCP_SERVER && seen.dst.is_broadcast();
        dhcp && seen.icmp_type.is_none()
    }

    /// Where a destination inside is, if it is an external end of a mapping (`nat44_ed_external_sm_lookup`).
    fn nat44_hairpin(&self, seen: &Seen) -> Option<(Ipv4Addr, u16)> {
        let (address, port) = (seen.dst, seen.lookup.dst_port);
        let (_, mapping) = self.nat44.mappings.match_external(address, port, seen.proto)?;
        let any_port = mapping.has(mapping_flag::ADDR_ONLY);
        Some((mapping.local.0, if any_port { port } else { mapping.local.1 }))
    }

    /// The mapping of a local end, also of the default tables: (external end, is an exemption).
    fn nat44_mapped(&self, seen: &Seen, rx_table: u32) -> Option<((Ipv4Addr, u16), bool)> {
        let config = self.nat44.running?;
        let (address, port) = (seen.src, seen.lookup.src_port);
        let tables = [rx_table, config.inside_table, config.outside_table];
        let mapping = tables
            .iter()
            .find_map(|table| self.nat44.mappings.match_local(address, port, *table, seen.proto))?;
        let any_port = mapping.has(mapping_flag::ADDR_ONLY);
        let port = if any_port { port } else { mapping.external.1 };
        Some(((mapping.external.0, port), mapping.is_identity))
    }

    /// Makes a session (`slow_path_ed`); None for what is exempted.
    fn nat44_begin_from_inside(&mut self, seen: &Seen, place: Place) -> Result<Option<u32>, &'static str> {
        let Place {
            rx_table, tx, now, ..
        } = place;
        if self.nat44_is_full(rx_table) && !self.nat44_free_oldest(now) {
            return Err(error::MAX_SESSIONS);
        }
        let mapped = self.nat44_mapped(seen, rx_table);
        if mapped.is_some_and(|(_, is_identity)| is_identity) {
            return Ok(None);
        }
        if !seen.may_begin() {
            return Err(error::NON_SYN);
        }
        let is_icmp = seen.proto == ICMP;
        let local = (seen.src, seen.lookup.src_port);
        let remote = (seen.dst, seen.lookup.dst_port);
        let tx_table = self.nat44_tx_table(rx_table, remote.0);
        let hairpin = self.nat44_hairpin(seen);
        let to = hairpin.unwrap_or(remote);
        let mut back = Match {
            src: to.0,
            src_port: to.1,
            dst: to.0,
            dst_port: 0,
            table: tx_table,
            proto: seen.proto,
        };
        let outside = match mapped {
            None => self
                .nat44_allocate(back, rx_table, tx, local, remote.0)
                .ok_or(error::OUT_OF_PORTS)?,
            Some((external, _)) => external,
        };
        (back.dst, back.dst_port) = outside;
        if is_icmp {
            back.src_port = outside.1;
        }
        if mapped.is_some() && self.nat44.sessions.is_flow(&back) {
            // VPP gives no reason.
            return Err(error::FAILED);
        }
        let mut o2i = Flow {
            src: Some(remote.0),
            dst: Some(local.0),
            table: Some(rx_table),
            ..Flow::on(back)
        };
        let mut i2o = Flow {
            src: Some(outside.0),
            dst: Some(to.0),
            table: Some(tx_table),
            ..Flow::on(Match {
                src: local.0,
                src_port: local.1,
                dst: remote.0,
                dst_port: remote.1,
                table: rx_table,
                proto: seen.proto,
            })
        };
        if is_icmp {
            o2i = o2i.with_identifier(local.1);
            i2o = i2o.with_identifier(outside.1);
        } else {
            o2i.dst_port = Some(local.1);
            i2o.src_port = Some(outside.1);
            i2o.dst_port = Some(to.1);
        }
        let end = |(address, port): (Ipv4Addr, u16), table| Endpoint { address, port, table };
        let mut session = Session::new(
            end(local, rx_table),
            end(outside, tx_table),
            remote,
            seen.proto,
            i2o,
        );
        session.o2i = Some(o2i);
        if mapped.is_some() {
            session.flags |= session_flag::STATIC;
        }
        if hairpin.is_some() {
            session.flags |= session_flag::HAIRPIN;
        }
        Ok(Some(self.nat44_begin(session, now)))
    }

    /// Makes a session of a protocol without ports: one for each pair of addresses
    /// (`nat44_ed_in2out_slowpath_unknown_proto`).
    fn nat44_begin_portless(&mut self, seen: &Seen, place: Place) -> Option<u32> {
        let Place { rx_table, now, .. } = place;
        if self.nat44_is_full(rx_table) {
            return None;
        }
        let tx_table = self.nat44_tx_table(rx_table, seen.dst);
        let mapped = self
            .nat44
            .mappings
            .local(seen.src, 0, rx_table, seen.proto)
            .map(|m| m.external.0);
        let key = |address: Ipv4Addr| Match {
            src: address,
            src_port: 0,
            dst: seen.dst,
            dst_port: 0,
            table: tx_table,
            proto: seen.proto,
        };
        let sessions = &self.nat44.sessions;
        let is_free = |address: &Ipv4Addr| !sessions.is_flow(&key(*address));
        // The address of any session with the same host, else the last free one of the pool.
        let shared = || {
            let mut all = sessions.iter();
            all.find(|(_, s)| s.host.0 == seen.dst)
                .map(|(_, s)| s.outside.address)
                .filter(is_free)
        };
        let pooled = || {
            let mut pool = self.nat44.addresses.iter().map(|a| a.address);
            pool.rfind(is_free)
        };
        let outside = mapped.or_else(shared).or_else(pooled)?;
        let hairpin = self.nat44_hairpin(seen);
        let to = hairpin.map_or(seen.dst, |(address, _)| address);
        let on = |src, dst, table| Match {
            src,
            src_port: 0,
            dst,
            dst_port: 0,
            table,
            proto: seen.proto,
        };
        let i2o = Flow {
            src: Some(outside),
            dst: Some(to),
            table: Some(tx_table),
            ..Flow::on(on(seen.src, seen.dst, rx_table))
        };
        // VPP keeps the protocol in place of the ports, in its own byte order, and 0 in its own place.
        let port = u16::from(seen.proto).swap_bytes();
        let end = |address, table| Endpoint { address, port, table };
        let host = (seen.dst, 0);
        let mut session = Session::new(end(seen.src, rx_table), end(outside, tx_table), host, 0, i2o);
        session.o2i = Some(Flow {
            src: Some(seen.dst),
            dst: Some(seen.src),
            table: Some(rx_table),
            ..Flow::on(on(to, outside, tx_table))
        });
        if mapped.is_some() {
            session.flags |= session_flag::STATIC;
        }
        if hairpin.is_some() {
            session.flags |= session_flag::HAIRPIN;
        }
        Some(self.nat44_begin(session, now))
    }
}
