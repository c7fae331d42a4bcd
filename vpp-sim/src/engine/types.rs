//! Values shared by all parts of the engine: addresses, prefixes, paths, rules.
//!
//! They mirror VPP's API types but carry no wire format, so that the engine can be used in process.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// VPP's `~0`: no interface, no index, any.
pub const NONE: u32 = u32::MAX;

/// Address family, numbered as VPP numbers it (0 = IPv4, 1 = IPv6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Index into a two-element array.
    pub fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }

    /// Length of an address in bits.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// 0.0.0.0 or ::.
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// What is for IPv4, or what is for IPv6.
    pub fn pick<T>(self, v4: T, v6: T) -> T {
        match self {
            Self::V4 => v4,
            Self::V6 => v6,
        }
    }

    /// `ip4` or `ip6`, as in VPP's node names.
    pub fn node_prefix(self) -> &'static str {
        match self {
            Self::V4 => "ip4",
            Self::V6 => "ip6",
        }
    }
}

/// An address as a left-aligned 128-bit number, so that one mask serves both families.
pub(crate) fn left_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()) << 96,
        IpAddr::V6(a) => a.to_bits(),
    }
}

/// The netmask of `len` leading bits; `len` above 128 counts as 128.
pub(crate) fn left_mask(len: u8) -> u128 {
    match len {
        0 => 0,
        1..=127 => u128::MAX << (128 - u32::from(len)),
        _ => u128::MAX,
    }
}

fn from_left_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits((bits >> 96) as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// An address with a prefix length; host bits are kept until [`Prefix::normalized`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    pub address: IpAddr,
    pub len: u8,
}

impl Prefix {
    pub fn new(address: impl Into<IpAddr>, len: u8) -> Self {
        Self {
            address: address.into(),
            len,
        }
    }

    /// The host prefix of an address (/32 or /128).
    pub fn host(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self {
            address,
            len: Family::of(address).bits(),
        }
    }

    /// 0.0.0.0/0 or ::/0.
    pub fn any(family: Family) -> Self {
        Self {
            address: family.unspecified(),
            len: 0,
        }
    }

    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Whether the length fits the family.
    pub fn is_valid(&self) -> bool {
        self.len <= self.family().bits()
    }

    /// Whether bits beyond the length are set.
    pub fn has_host_bits(&self) -> bool {
        left_bits(self.address) & !left_mask(self.len) != 0
    }

    /// The prefix with its host bits cleared.
    pub fn normalized(&self) -> Self {
        let bits = left_bits(self.address) & left_mask(self.len);
        Self {
            address: from_left_bits(self.family(), bits),
            len: self.len,
        }
    }

    /// Whether `address` is of the same family and inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family()
            && (left_bits(address) ^ left_bits(self.address)) & left_mask(self.len) == 0
    }

    /// The last address of the prefix (IPv4: the broadcast address).
    pub fn last_address(&self) -> IpAddr {
        let ones = match self.family() {
            Family::V4 => left_mask(32),
            Family::V6 => u128::MAX,
        };
        let bits = (left_bits(self.address) & left_mask(self.len)) | (!left_mask(self.len) & ones);
        from_left_bits(self.family(), bits)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    /// Reads `address/length`; the length may exceed the family's (see [`Prefix::is_valid`]).
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, len) = text
            .split_once('/')
            .ok_or_else(|| format!("{text:?} has no '/'"))?;
        Ok(Self {
            address: address.parse().map_err(|e| format!("{text:?}: {e}"))?,
            len: len.parse().map_err(|e| format!("{text:?}: {e}"))?,
        })
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Self = Self([0xff; 6]);

    pub fn is_zero(&self) -> bool {
        self.0 == [0; 6]
    }

    pub fn is_multicast(&self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The link-local address made of this MAC by EUI-64 (RFC 4291, appendix A).
    pub fn link_local(&self) -> Ipv6Addr {
        let m = self.0;
        Ipv6Addr::from([
            0xfe,
            0x80,
            0,
            0,
            0,
            0,
            0,
            0,
            m[0] ^ 2,
            m[1],
            m[2],
            0xff,
            0xfe,
            m[3],
            m[4],
            m[5],
        ])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// VPP's return value; mind that `acl_interface_set_acl_list` can answer +1.
    #[error("retval {0}")]
    Retval(i32),
    /// Real VPP 26.06 dies of this input. The server must stop loudly with this reason.
    #[error("VPP would have crashed: {0}")]
    Fatal(String),
}

impl From<i32> for OpError {
    fn from(retval: i32) -> Self {
        Self::Retval(retval)
    }
}

/// Result of an operation of the API kind.
pub type OpResult<T = ()> = Result<T, OpError>;

/// VPP's return values (`vnet/error.h`) which the engine uses.
pub mod retval {
    pub const UNSPECIFIED: i32 = -1;
    pub const INVALID_SW_IF_INDEX: i32 = -2;
    pub const NO_SUCH_FIB: i32 = -3;
    pub const NO_SUCH_ENTRY: i32 = -6;
    pub const INVALID_VALUE: i32 = -7;
    pub const INVALID_VALUE_2: i32 = -8;
    pub const INVALID_SW_IF_INDEX_2: i32 = -10;
    pub const FEATURE_DISABLED: i32 = -30;
    pub const INVALID_REGISTRATION: i32 = -31;
    pub const NO_PATHS_IN_ROUTE: i32 = -52;
    pub const NO_MATCHING_INTERFACE: i32 = -54;
    pub const INVALID_SRC_ADDRESS: i32 = -57;
    pub const INVALID_DST_ADDRESS: i32 = -58;
    pub const ADDRESS_LENGTH_MISMATCH: i32 = -59;
    pub const ADDRESS_NOT_FOUND_FOR_INTERFACE: i32 = -60;
    pub const NO_SUCH_NODE: i32 = -63;
    pub const NO_SUCH_NODE2: i32 = -64;
    pub const NO_SUCH_TABLE: i32 = -65;
    pub const SUBIF_ALREADY_EXISTS: i32 = -68;
    pub const INVALID_INTERFACE: i32 = -71;
    pub const INVALID_ARGUMENT: i32 = -73;
    pub const UNEXPECTED_INTF_STATE: i32 = -74;
    pub const TUNNEL_EXIST: i32 = -75;
    pub const INVALID_DECAP_NEXT: i32 = -76;
    pub const IF_ALREADY_EXISTS: i32 = -79;
    pub const VALUE_EXIST: i32 = -81;
    pub const SAME_SRC_DST: i32 = -82;
    pub const INVALID_WORKER: i32 = -89;
    pub const ADDRESS_IN_USE: i32 = -105;
    pub const ADDRESS_FOUND_FOR_INTERFACE: i32 = -114;
    pub const ENTRY_ALREADY_EXISTS: i32 = -116;
    pub const BD_ALREADY_EXISTS: i32 = -119;
    pub const BD_IN_USE: i32 = -120;
    pub const BD_NOT_MODIFIABLE: i32 = -121;
    pub const BD_ID_EXCEED_MAX: i32 = -122;
    pub const UNSUPPORTED: i32 = -126;
    pub const DUPLICATE_IF_ADDRESS: i32 = -127;
    pub const ACL_IN_USE_INBOUND: i32 = -142;
    pub const ACL_IN_USE_OUTBOUND: i32 = -143;
    pub const INSTANCE_IN_USE: i32 = -147;
    pub const ACL_IN_USE_BY_LOOKUP_CONTEXT: i32 = -149;
    pub const NON_ETHERNET: i32 = -151;
    pub const BD_ALREADY_HAS_BVI: i32 = -152;
    pub const INVALID_PROTOCOL: i32 = -153;
    pub const LIMIT_EXCEEDED: i32 = -162;
    pub const EAGAIN: i32 = -165;
    pub const FEATURE_ALREADY_DISABLED: i32 = -169;
    pub const FEATURE_ALREADY_ENABLED: i32 = -170;
    pub const INVALID_ALGORITHM: i32 = -154;
    pub const KEY_LENGTH: i32 = -156;
    pub const UNIMPLEMENTED: i32 = -9;
    pub const INVALID_PREFIX_LENGTH: i32 = -171;
}

/// What a route's path does; numbers are VPP's `fib_path_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PathKind {
    #[default]
    Normal,
    Local,
    Drop,
    IcmpUnreach,
    IcmpProhibit,
    /// A type which the engine stores and dumps, but does not forward by (its number).
    Other(u8),
}

impl PathKind {
    /// From VPP's number.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Normal,
            1 => Self::Local,
            2 => Self::Drop,
            5 => Self::IcmpUnreach,
            6 => Self::IcmpProhibit,
            other => Self::Other(other),
        }
    }

    /// VPP's number.
    pub fn number(self) -> u8 {
        match self {
            Self::Normal => 0,
            Self::Local => 1,
            Self::Drop => 2,
            Self::IcmpUnreach => 5,
            Self::IcmpProhibit => 6,
            Self::Other(other) => other,
        }
    }
}

/// One path of a route, an ABF policy or an l3 cross-connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutePath {
    /// Outgoing interface, [`NONE`] for a recursive path.
    pub sw_if_index: u32,
    /// Table in which a recursive next hop is looked up.
    pub table_id: u32,
    /// Share of the flows; 0 counts as 1.
    pub weight: u8,
    /// 0 is best; only the best resolved preference is used.
    pub preference: u8,
    pub kind: PathKind,
    /// Family of the next hop.
    pub family: Family,
    /// Next hop; unspecified = attached.
    pub next_hop: IpAddr,
}

impl RoutePath {
    /// Via an interface and a next hop.
    pub fn via(sw_if_index: u32, next_hop: impl Into<IpAddr>) -> Self {
        let next_hop = next_hop.into();
        Self {
            sw_if_index,
            table_id: 0,
            weight: 1,
            preference: 0,
            kind: PathKind::Normal,
            family: Family::of(next_hop),
            next_hop,
        }
    }

    /// Attached to an interface: each destination is its own next hop.
    pub fn attached(sw_if_index: u32, family: Family) -> Self {
        Self::via(sw_if_index, family.unspecified())
    }

    /// Via a next hop which is looked up in `table_id`.
    pub fn recursive(table_id: u32, next_hop: impl Into<IpAddr>) -> Self {
        Self {
            table_id,
            ..Self::via(NONE, next_hop)
        }
    }

    /// A path without interface that only has a kind (drop, unreachable, prohibit).
    pub fn special(kind: PathKind, family: Family) -> Self {
        Self {
            kind,
            ..Self::via(NONE, family.unspecified())
        }
    }
}

impl Prefix {
    /// From a left-aligned number (see [`left_bits`]).
    pub(crate) fn from_left(family: Family, bits: u128, len: u8) -> Self {
        Self {
            address: from_left_bits(family, bits),
            len,
        }
    }
}
