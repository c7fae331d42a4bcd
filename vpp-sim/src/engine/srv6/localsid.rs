//! Local SIDs: what this node does with packets to an address of its own (RFC 8986; `sr_localsid.c`).
use std::net::{IpAddr, Ipv6Addr};

use super::{MAX_SIDS, Srv6, from_ip46, ip4_of, to_ip46};
use crate::engine::Vpp;
use crate::engine::fib::{Contribution, source};
use crate::engine::types::{Family, OpError, OpResult, Prefix, retval};

/// What a local SID does; numbers are VPP's `sr_behavior`.
pub mod behavior {
    pub const END: u8 = 1;
    pub const X: u8 = 2;
    pub const T: u8 = 3;
    pub const DX2: u8 = 5;
    pub const DX6: u8 = 6;
    pub const DX4: u8 = 7;
    pub const DT6: u8 = 8;
    pub const DT4: u8 = 9;
    pub const UN_PERF: u8 = 11;
    pub const UN: u8 = 12;
    pub const UA: u8 = 13;
    /// From here on behaviours belong to plugins.
    pub const FIRST_OF_PLUGINS: u8 = 14;
}

const EXISTS: i32 = -1;
const NOT_FOUND: i32 = -2;
const NO_SUCH_TABLE: i32 = -3;
const ROUTE_EXISTS: i32 = -4;

/// `sr_localsid_add_del(_v2)`.
#[derive(Clone, Copy, Debug)]
pub struct LocalSidConfig {
    pub localsid: Ipv6Addr,
    pub end_psp: bool,
    /// See [`behavior`].
    pub behavior: u8,
    /// Interface of X, DX2, DX4, DX6, uA; **table id** of T, DT4, DT6.
    pub sw_if_index: u32,
    /// IPv6 table that holds the SID.
    pub fib_table: u32,
    pub next_hop: IpAddr,
    /// Lengths of locator block, locator node and function in bits; None or all zero = 128 in all, or a micro SID's.
    pub structure: Option<[u8; 3]>,
}

/// Bytes and packets that went through a local SID, or failed in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

/// Where the active micro SID stands in an address, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MicroSid {
    pub index: usize,
    pub len: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct LocalSid {
    pub prefix: Prefix,
    localsid: Ipv6Addr,
    pub end_psp: bool,
    pub behavior: u8,
    /// VPP keeps interface and table in one field; for a table that is the internal index, or ~0 where there was none.
    pub interface_or_fib: u32,
    fib_table: u32,
    next_hop: Ipv6Addr,
    pub micro_sid: MicroSid,
    pub good: Traffic,
    pub bad: Traffic,
}

impl LocalSid {
    /// The neighbour of the cross-connecting behaviours.
    pub fn next_hop(&self) -> IpAddr {
        match self.behavior {
            behavior::DX4 => IpAddr::V4(ip4_of(self.next_hop)),
            _ => IpAddr::V6(self.next_hop),
        }
    }

    /// Family of the table in which the behaviour looks packets up.
    pub fn table_family(&self) -> Option<Family> {
        match self.behavior {
            behavior::T | behavior::DT6 => Some(Family::V6),
            behavior::DT4 => Some(Family::V4),
            _ => None,
        }
    }
}

/// A local SID as its dumps show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalSidDetails {
    pub localsid: Ipv6Addr,
    pub end_psp: bool,
    pub behavior: u8,
    pub fib_table: u32,
    pub next_hop: IpAddr,
    pub interface_or_table: u32,
    /// Packets and bytes.
    pub good: (u64, u64),
    pub bad: (u64, u64),
}

fn needs_interface(number: u8) -> bool {
    matches!(
        number,
        behavior::X | behavior::UA | behavior::DX6 | behavior::DX4 | behavior::DX2
    )
}

/// Length of the SID's prefix and of its micro SID, in bits.
fn lengths(config: &LocalSidConfig) -> OpResult<(u8, u8)> {
    let number = config.behavior;
    let micro = matches!(number, behavior::UN_PERF | behavior::UN | behavior::UA);
    let [block, node, function] = config.structure.unwrap_or_default();
    if block == 0 && node == 0 && function == 0 {
        return Ok(match number {
            behavior::UN_PERF | behavior::UN => (48, 16),
            behavior::UA => (64, 16),
            _ => (128, 0),
        });
    }
    let total = u16::from(block) + u16::from(node) + u16::from(function);
    let micro_sid = u16::from(node) + u16::from(function);
    let whole_bytes = (block | node | function) & 7 == 0;
    if !whole_bytes || total > 128 || (micro && micro_sid != 16 && micro_sid != 32) {
        return Err(retval::INVALID_VALUE.into());
    }
    Ok((total as u8, micro_sid as u8))
}

impl Srv6 {
    fn localsid_index(&self, localsid: Ipv6Addr, len: u8) -> Option<u32> {
        self.localsids
            .iter()
            .find(|(_, sid)| sid.localsid == localsid && sid.prefix.len == len)
            .map(|(index, _)| index)
    }

    pub fn localsid(&self, index: u32) -> Option<&LocalSid> {
        self.localsids.get(index)
    }

    pub fn localsid_mut(&mut self, index: u32) -> Option<&mut LocalSid> {
        self.localsids.get_mut(index)
    }
}

impl Vpp {
    /// Internal index of a table, or ~0: what VPP keeps without a look.
    fn fib_index(&self, family: Family, table_id: u32) -> u32 {
        self.fibs
            .tables
            .get(&(family, table_id))
            .map_or(u32::MAX, |table| table.fib_index)
    }

    /// `sr_localsid_add_del(_v2)` without `is_del`.
    ///
    /// # Errors
    /// −2 no such interface, −7 bad structure, −1 exists, −3 no table `fib_table`, −4 a route for it exists. Fatal:
    /// a behaviour of a plugin that is not there.
    pub fn sr_localsid_add(&mut self, config: &LocalSidConfig) -> OpResult {
        let number = config.behavior;
        if needs_interface(number) && !self.interfaces.contains(config.sw_if_index) {
            return Err(retval::INVALID_SW_IF_INDEX.into());
        }
        let (len, micro_sid) = lengths(config)?;
        if self.srv6.localsid_index(config.localsid, len).is_some() {
            return Err(EXISTS.into());
        }
        if number >= behavior::FIRST_OF_PLUGINS {
            return Err(OpError::Fatal(format!(
                "sr_localsid_add_del: no plugin offers behaviour {number}"
            )));
        }
        let prefix = Prefix::new(config.localsid, len);
        if !self.fibs.exists(Family::V6, config.fib_table) {
            return Err(NO_SUCH_TABLE.into());
        }
        if self.fibs.exact(config.fib_table, prefix).is_some() {
            return Err(ROUTE_EXISTS.into());
        }
        let interface_or_fib = match number {
            behavior::T | behavior::DT6 => self.fib_index(Family::V6, config.sw_if_index),
            behavior::DT4 => self.fib_index(Family::V4, config.sw_if_index),
            _ if needs_interface(number) => config.sw_if_index,
            _ => 0,
        };
        let next_hop = match number {
            behavior::DX4 => to_ip46(IpAddr::V4(ip4_of(to_ip46(config.next_hop)))),
            behavior::X | behavior::UA | behavior::DX6 => to_ip46(config.next_hop),
            _ => Ipv6Addr::UNSPECIFIED,
        };
        let index = self.srv6.localsids.insert(LocalSid {
            prefix,
            localsid: config.localsid,
            end_psp: config.end_psp,
            behavior: number,
            interface_or_fib,
            fib_table: config.fib_table,
            next_hop,
            micro_sid: MicroSid {
                index: usize::from(len.saturating_sub(micro_sid)) / 8,
                len: usize::from(micro_sid) / 8,
            },
            good: Traffic::default(),
            bad: Traffic::default(),
        });
        // The separators among the numbers make a SID that forwards nothing.
        if !matches!(number, 0 | 4) {
            self.fibs.contribute(
                config.fib_table,
                prefix,
                source::SR,
                Contribution::SrLocalSid(index),
            );
        }
        Ok(())
    }

    /// `sr_localsid_add_del(_v2)` with `is_del`: found by address and length; the entry is taken out of the table
    /// that the request names.
    ///
    /// # Errors
    /// −2 none, or no such interface; −7 bad structure. Fatal: an unknown `fib_table`.
    pub fn sr_localsid_del(&mut self, config: &LocalSidConfig) -> OpResult {
        if needs_interface(config.behavior) && !self.interfaces.contains(config.sw_if_index) {
            return Err(retval::INVALID_SW_IF_INDEX.into());
        }
        let (len, _) = lengths(config)?;
        let Some(index) = self.srv6.localsid_index(config.localsid, len) else {
            return Err(NOT_FOUND.into());
        };
        if !self.fibs.exists(Family::V6, config.fib_table) {
            return Err(OpError::Fatal(format!(
                "sr_localsid_add_del: deletes an entry of table {}, which is not there",
                config.fib_table
            )));
        }
        let prefix = Prefix::new(config.localsid, len);
        self.fibs.remove_source(config.fib_table, prefix, source::SR);
        self.srv6.localsids.remove(index);
        Ok(())
    }

    /// `sr_localsids_dump` and `sr_localsids_with_packet_stats_dump`.
    ///
    /// # Errors
    /// Fatal: a T, DT4 or DT6 whose table was unknown when it was made.
    pub fn sr_localsids(&self) -> OpResult<Vec<LocalSidDetails>> {
        let details = |sid: &LocalSid| {
            let interface_or_table = match sid.table_family() {
                Some(family) => self
                    .fibs
                    .table_by_fib_index(family, sid.interface_or_fib)
                    .ok_or_else(|| {
                        OpError::Fatal(format!(
                            "sr_localsids_dump: the table of local SID {} is not there",
                            sid.localsid
                        ))
                    })?,
                None => sid.interface_or_fib,
            };
            Ok(LocalSidDetails {
                localsid: sid.localsid,
                end_psp: sid.end_psp,
                behavior: sid.behavior,
                fib_table: sid.fib_table,
                next_hop: from_ip46(sid.next_hop),
                interface_or_table,
                good: (sid.good.packets, sid.good.bytes),
                bad: (sid.bad.packets, sid.bad.bytes),
            })
        };
        self.srv6.localsids.iter().map(|(_, sid)| details(sid)).collect()
    }
}

/// Checks a segment list as it comes in a message.
///
/// # Errors
/// Fatal: more segments than the message can hold, or none to encapsulate to.
pub(super) fn check_segments(segments: usize, is_encap: bool) -> OpResult {
    if segments > MAX_SIDS {
        return Err(OpError::Fatal(format!(
            "sr_policy: {segments} segments are read from a message that holds {MAX_SIDS}"
        )));
    }
    if segments == 0 && is_encap {
        return Err(OpError::Fatal(
            "sr_policy: encapsulation to the first of no segments".to_owned(),
        ));
    }
    Ok(())
}
