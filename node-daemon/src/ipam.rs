//! Addresses for pods, from the node's pod prefixes. Pure: the clock is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use crds::net::Cidr;

/// How long a released address is not given out: the old owner's sessions, policies and what
/// others still believe of it must be gone before the next owner appears.
pub const COOL_DOWN: Duration = Duration::from_secs(60);

/// No address can be given out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// The node has no pod prefix yet.
    #[error("this node has no pod CIDR yet")]
    NoPrefix,
    /// Every address of a family is taken.
    #[error(
        "no free {family} address: {in_use} in use, {cooling} of pods that have just gone and free within {cool_down:?}"
    )]
    Exhausted {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// Addresses of the family in use.
        in_use: usize,
        /// Addresses of the family in their cool-down.
        cooling: usize,
        /// How long the cool-down is.
        cool_down: Duration,
    },
}

/// The allocator.
///
/// It gives out addresses round robin, so that a released one comes back as late as possible, and
/// never a prefix's first address (the network's), second (the gateway's) or last (broadcast).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipam {
    pools: Vec<Pool>,
    in_use: BTreeSet<IpAddr>,
    released: BTreeMap<IpAddr, SystemTime>,
    cool_down: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pool {
    cidr: Cidr,
    /// Offset from the network's address at which the next search starts.
    next: u128,
}

impl Ipam {
    /// An allocator over these prefixes. Each family that occurs gives a pod one address; further
    /// prefixes of a family are used when those before them are full.
    pub fn new(cidrs: &[Cidr]) -> Self {
        Self::with_cool_down(cidrs, COOL_DOWN)
    }

    /// The same with another cool-down.
    pub fn with_cool_down(cidrs: &[Cidr], cool_down: Duration) -> Self {
        let mut ipam = Self {
            pools: Vec::new(),
            in_use: BTreeSet::new(),
            released: BTreeMap::new(),
            cool_down,
        };
        ipam.change_cidrs(cidrs);
        ipam
    }

    /// Uses other prefixes from now on. Addresses in use stay so, within the prefixes or not.
    pub fn change_cidrs(&mut self, cidrs: &[Cidr]) {
        let old = std::mem::take(&mut self.pools);
        for cidr in cidrs {
            let same = old.iter().find(|pool| pool.cidr == *cidr);
            let pool = same.cloned().unwrap_or(Pool {
                cidr: *cidr,
                next: start_offset(cidr),
            });
            if !self.pools.contains(&pool) {
                self.pools.push(pool);
            }
        }
    }

    /// Takes an address that an attachment of old has.
    pub fn reserve(&mut self, address: IpAddr) {
        self.released.remove(&address);
        self.in_use.insert(address);
    }

    /// Puts addresses back into the cool-down that was interrupted by a restart.
    pub fn restore_cooling(&mut self, released: BTreeMap<IpAddr, SystemTime>) {
        for (address, at) in released {
            if !self.in_use.contains(&address) {
                self.released.insert(address, at);
            }
        }
    }

    /// Gives out one address per family, IPv4 first: all of them or, with an error, none.
    ///
    /// # Errors
    /// When there is no prefix, or a family is exhausted.
    pub fn allocate(&mut self, now: SystemTime) -> Result<Vec<IpAddr>, IpamError> {
        self.forget_cooled(now);
        if self.pools.is_empty() {
            return Err(IpamError::NoPrefix);
        }
        let mut found = Vec::new();
        for ipv6 in [false, true] {
            let of_family = |(_, pool): &(usize, &Pool)| pool.cidr.is_ipv6() == ipv6;
            let mut pools = self.pools.iter().enumerate().filter(of_family).peekable();
            if pools.peek().is_none() {
                continue;
            }
            let free = pools.find_map(|(at, pool)| Some((at, self.search(pool)?)));
            found.push(free.ok_or_else(|| self.exhausted(ipv6))?);
        }
        for (at, offset) in &found {
            self.pools[*at].next = offset + 1;
        }
        let addresses: Vec<IpAddr> = found
            .iter()
            .map(|(at, offset)| address_at(&self.pools[*at].cidr, *offset))
            .collect();
        self.in_use.extend(&addresses);
        Ok(addresses)
    }

    /// Takes an address back; it rests for the cool-down.
    pub fn release(&mut self, address: IpAddr, now: SystemTime) {
        if self.in_use.remove(&address) {
            self.released.insert(address, now);
        }
    }

    /// Addresses in their cool-down and when they were released.
    pub fn cooling(&mut self, now: SystemTime) -> &BTreeMap<IpAddr, SystemTime> {
        self.forget_cooled(now);
        &self.released
    }

    /// Whether [`allocate`](Self::allocate) would succeed.
    ///
    /// # Errors
    /// As `allocate`.
    pub fn available(&self, now: SystemTime) -> Result<(), IpamError> {
        self.clone().allocate(now).map(drop)
    }

    /// Addresses in use, in order.
    pub fn in_use(&self) -> impl Iterator<Item = IpAddr> {
        self.in_use.iter().copied()
    }

    /// Addresses of the prefixes, less those never given out.
    pub fn capacity(&self, ipv6: bool) -> u128 {
        let pools = self.pools.iter().filter(|pool| pool.cidr.is_ipv6() == ipv6);
        pools.map(|pool| usable(&pool.cidr)).sum()
    }

    fn search(&self, pool: &Pool) -> Option<u128> {
        let end = FIRST_OFFSET + usable(&pool.cidr);
        let start = pool.next.clamp(FIRST_OFFSET, end);
        let free = |offset: &u128| {
            let address = address_at(&pool.cidr, *offset);
            !self.in_use.contains(&address) && !self.released.contains_key(&address)
        };
        // Stops at the first hole: never more steps than addresses taken.
        (start..end).chain(FIRST_OFFSET..start).find(free)
    }

    fn exhausted(&self, ipv6: bool) -> IpamError {
        let of_family = |address: &&IpAddr| address.is_ipv6() == ipv6;
        IpamError::Exhausted {
            family: if ipv6 { "IPv6" } else { "IPv4" },
            in_use: self.in_use.iter().filter(of_family).count(),
            cooling: self.released.keys().filter(of_family).count(),
            cool_down: self.cool_down,
        }
    }

    fn forget_cooled(&mut self, now: SystemTime) {
        let cool_down = self.cool_down;
        self.released.retain(|_, at| {
            // The wall clock was set back: the release counts as just happened.
            *at = (*at).min(now);
            now.duration_since(*at).unwrap_or_default() < cool_down
        });
    }
}

/// Offset of the first address that pods get: 0 is the network's, 1 the gateway's.
const FIRST_OFFSET: u128 = 2;

/// How many addresses of a prefix pods can have: all but network, gateway and last.
fn usable(cidr: &Cidr) -> u128 {
    let width: u32 = if cidr.is_ipv6() { 128 } else { 32 };
    let host_bits = width - u32::from(cidr.prefix_len());
    1_u128
        .checked_shl(host_bits)
        .map_or(u128::MAX, |all| all - 1)
        .saturating_sub(FIRST_OFFSET)
}

/// Where the search of a fresh prefix starts.
///
/// VPP's cnat compares only the low 32 bits of IPv6 addresses when it asks whether a pod reaches itself through
/// a Service (`cnat_snat_policy.c`, seen up to 26.06) and source-NATs what it takes for that: pods of two nodes
/// with equal host parts could not talk. So the prefix's own number (of /64s: the fourth group) is repeated in
/// bits 16 to 31 of the host part, which keeps the low 32 bits apart on up to 65,536 nodes.
fn start_offset(cidr: &Cidr) -> u128 {
    let host_bits = 128 - u32::from(cidr.prefix_len());
    match cidr.network() {
        IpAddr::V6(network) if (32..128).contains(&host_bits) => {
            FIRST_OFFSET + (((network.to_bits() >> host_bits) & 0xffff) << 16)
        }
        _ => FIRST_OFFSET,
    }
}

fn address_at(cidr: &Cidr, offset: u128) -> IpAddr {
    match cidr.network() {
        // The offset lies within the prefix, so it fits its width.
        IpAddr::V4(base) => Ipv4Addr::from_bits(base.to_bits().wrapping_add(offset as u32)).into(),
        IpAddr::V6(base) => Ipv6Addr::from_bits(base.to_bits().wrapping_add(offset)).into(),
    }
}

#[cfg(test)]
mod tests;
