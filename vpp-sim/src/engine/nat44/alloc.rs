//! Choosing an address and port of the pool (`nat_ed_alloc_addr_and_port`, `nat44_ed_alloc_i2o_addr_and_port`).
use std::net::{IpAddr, Ipv4Addr};

use super::super::Vpp;
use super::super::packet::ICMP;
use super::super::types::NONE;
use super::flow::Match;
use super::pool::Address;

/// Ports below are never given.
const FIRST_PORT: u16 = 1024;
/// How often VPP tries another port before it gives up.
const ATTEMPTS: u32 = 10;

impl Address {
    /// The destination is on the link of the interface that has this address.
    fn is_on_link_with(&self, destination: Ipv4Addr) -> bool {
        self.bound
            .is_some_and(|(_, prefix)| prefix.contains(IpAddr::V4(destination)))
    }
}

impl Vpp {
    fn nat44_random_port(&mut self, min: u16, max: u16) -> u16 {
        let wide = self.nat44.random();
        let port = wide as u16;
        if (min..=max).contains(&port) {
            return port;
        }
        let span = u32::from(max - min) + 1;
        min + (wide % span) as u16
    }

    /// A port of any number the pool may give.
    fn nat44_any_port(&mut self) -> u16 {
        FIRST_PORT + self.nat44_random_port(0, u16::MAX - FIRST_PORT)
    }

    /// The pool address for a flow: of the table; best of all one on the destination's link. `tx` is given where
    /// packets are translated after routing.
    fn nat44_choose_address(
        &self,
        rx_table: u32,
        tx: Option<u32>,
        source: Ipv4Addr,
        destination: Ipv4Addr,
    ) -> Option<Ipv4Addr> {
        let pool = &self.nat44.addresses;
        // VPP sums the address's bytes as a little-endian number.
        let sum = u32::from_le_bytes(source.octets());
        let sum = (sum.wrapping_add(sum >> 8))
            .wrapping_add(sum >> 16)
            .wrapping_add(sum >> 24);
        let start = sum.checked_rem(u32::try_from(pool.len()).ok()?)? as usize;
        let mut of_interface = None;
        let mut of_table = None;
        let mut of_any = None;
        for address in pool[start..].iter().chain(&pool[..start]) {
            if address.table == rx_table {
                let of_tx = tx.is_none_or(|tx| address.bound.is_some_and(|(index, _)| index == tx));
                if of_tx && address.is_on_link_with(destination) {
                    return Some(address.address);
                }
                if of_tx && tx.is_some() {
                    of_interface = Some(address.address);
                }
                of_table = Some(address.address);
            } else if address.table == NONE {
                of_any = Some(address.address);
            }
        }
        of_interface.or(of_table).or(of_any)
    }

    /// An outside end whose flow back (`back`, but for that end) is free. The inside's own port is tried first.
    pub(super) fn nat44_allocate(
        &mut self,
        back: Match,
        rx_table: u32,
        tx: Option<u32>,
        inside: (Ipv4Addr, u16),
        destination: Ipv4Addr,
    ) -> Option<(Ipv4Addr, u16)> {
        let address = self.nat44_choose_address(rx_table, tx, inside.0, destination)?;
        let mut port = inside.1;
        if port < FIRST_PORT {
            port = self.nat44_any_port();
        }
        for _ in 0..ATTEMPTS {
            let mut on = Match {
                dst: address,
                dst_port: port,
                ..back
            };
            if on.proto == ICMP {
                on.src_port = port;
            }
            let mapped = self.nat44.mappings.external(address, port, on.proto).is_some();
            if !mapped && !self.nat44.sessions.is_flow(&on) {
                return Some((address, port));
            }
            port = self.nat44_any_port();
        }
        None
    }

    /// A twice-NAT address and port by which the inside may know a host.
    pub(super) fn nat44_allocate_twice(
        &mut self,
        inside: (Ipv4Addr, u16),
        table: u32,
        proto: u8,
        exact: Option<Ipv4Addr>,
    ) -> Option<(Ipv4Addr, u16)> {
        let pool = &self.nat44.twice_addresses;
        let exact = exact.filter(|exact| pool.iter().any(|a| a.address == *exact));
        let start =
            u32::from_le_bytes(inside.0.octets()).checked_rem(u32::try_from(pool.len()).ok()?)? as usize;
        let order = || pool[start..].iter().chain(&pool[..start]);
        let of_table = order().find(|a| a.table == table);
        let chosen = of_table.or_else(|| order().rfind(|a| a.table == NONE));
        let address = exact.or_else(|| chosen.map(|a| a.address))?;
        for _ in 0..ATTEMPTS {
            let port = self.nat44_any_port();
            let on = Match {
                src: inside.0,
                src_port: inside.1,
                dst: address,
                dst_port: port,
                table,
                proto,
            };
            if !self.nat44.sessions.is_flow(&on) {
                return Some((address, port));
            }
        }
        None
    }
}
