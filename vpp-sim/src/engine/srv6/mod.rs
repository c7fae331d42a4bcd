//! Segment routing over IPv6: local SIDs, policies and steering (`vnet/srv6`).
//!
//! Return codes here are VPP's small private ones (`sr_localsid.c`, `sr_policy_rewrite.c`, `sr_steering.c`), which
//! only look like those of other operations.
pub(crate) mod header;
mod localsid;
mod policy;
mod steering;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use localsid::{LocalSidConfig, LocalSidDetails, behavior};
pub use policy::{PolicyDetails, PolicyUpdate, SegmentListDetails, policy_type};
pub use steering::{SteeredTraffic, SteeringDetails};

pub(crate) use localsid::LocalSid;
pub(crate) use policy::SegmentList;

use super::Vpp;
use super::pool::Pool;
use super::types::{OpResult, retval};

/// `IPv6_DEFAULT_HOP_LIMIT`.
const HOP_LIMIT: u8 = 64;

/// Segments a message can hold; VPP reads on behind them when told of more.
const MAX_SIDS: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Srv6 {
    encap_source: Ipv6Addr,
    hop_limit: u8,
    localsids: Pool<LocalSid>,
    policies: Pool<policy::Policy>,
    lists: Pool<SegmentList>,
    steering: Pool<steering::Steering>,
    /// Binding SIDs by policy index. They outlive their policies: so long as no other policy takes the index,
    /// dangling steering shows the old one.
    bsids: BTreeMap<u32, Ipv6Addr>,
    /// The hidden tables of binding SIDs exist: from the first policy until policies and steering are gone.
    has_tables: bool,
}

impl Default for Srv6 {
    fn default() -> Self {
        Self {
            encap_source: Ipv6Addr::UNSPECIFIED,
            hop_limit: HOP_LIMIT,
            localsids: Pool::default(),
            policies: Pool::default(),
            lists: Pool::default(),
            steering: Pool::default(),
            bsids: BTreeMap::new(),
            has_tables: false,
        }
    }
}

impl Srv6 {
    fn release_tables(&mut self) {
        if self.policies.len() == 0 && self.steering.len() == 0 {
            self.has_tables = false;
        }
    }
}

/// An address in VPP's `ip46_address_t`: IPv4 is the last four bytes behind zeros.
fn to_ip46(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => Ipv6Addr::from_bits(u128::from(address.to_bits())),
        IpAddr::V6(address) => address,
    }
}

/// What `IP46_TYPE_ANY` makes of an `ip46_address_t`: IPv4 when the first twelve bytes are zero, `::` included.
fn from_ip46(address: Ipv6Addr) -> IpAddr {
    match u32::try_from(address.to_bits()) {
        Ok(bits) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        Err(_) => IpAddr::V6(address),
    }
}

/// The IPv4 reading of an `ip46_address_t`.
fn ip4_of(address: Ipv6Addr) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() as u32)
}

impl Vpp {
    /// `sr_set_encap_source`: outer source of segment lists made from now on.
    pub fn sr_set_encap_source(&mut self, source: Ipv6Addr) {
        self.srv6.encap_source = source;
    }

    /// `sr_set_encap_hop_limit`: outer hop limit of segment lists made from now on.
    ///
    /// # Errors
    /// −7 for 0.
    pub fn sr_set_encap_hop_limit(&mut self, hop_limit: u8) -> OpResult {
        if hop_limit == 0 {
            return Err(retval::INVALID_VALUE.into());
        }
        self.srv6.hop_limit = hop_limit;
        Ok(())
    }

    /// Names of the IPv6 tables that VPP makes for itself while there are policies; `ip_table_dump` shows them with
    /// the id ~0.
    pub fn sr_hidden_tables(&self) -> &'static [&'static str] {
        if self.srv6.has_tables {
            &[
                "SRv6 steering of IP6 prefixes through BSIDs",
                "SRv6 steering of IP4 prefixes through BSIDs",
            ]
        } else {
            &[]
        }
    }
}
