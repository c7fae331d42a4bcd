//! Addresses and prefixes (VPP: `vnet/ip/ip_types.api`, `vnet/ethernet/ethernet_types.api`).

use crate::codec::{Decode, DecodeError, Encode, EncodeError, Reader, Wire, Writer, Zero};
use crate::shape::{FieldSpec, Repeat, Shape};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// `address`: family and 16 bytes.
pub type Address = IpAddr;
/// `ip4_address`.
pub type Ip4Address = Ipv4Addr;
/// `ip6_address`.
pub type Ip6Address = Ipv6Addr;
/// `address_with_prefix`: as [`Prefix`], but the host bits are the interface's address.
pub type AddressWithPrefix = Prefix;
/// `ip4_address_with_prefix`.
pub type Ip4AddressWithPrefix = Ip4Prefix;
/// `ip6_address_with_prefix`.
pub type Ip6AddressWithPrefix = Ip6Prefix;

const fn field(ident: &'static str, token: &'static str, shape: &'static Shape) -> FieldSpec {
    FieldSpec {
        ident,
        token,
        shape,
        repeat: Repeat::One,
    }
}

impl Encode for Ipv4Addr {
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        w.bytes(&self.octets());
        Ok(())
    }
}

impl Decode for Ipv4Addr {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from(r.array::<4>()?))
    }
}

impl Zero for Ipv4Addr {
    fn zero() -> Self {
        Self::UNSPECIFIED
    }
}

impl Wire for Ipv4Addr {
    const MIN_SIZE: usize = 4;
    const SHAPE: Shape = Shape::Alias("ip4_address");
}

impl Encode for Ipv6Addr {
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        w.bytes(&self.octets());
        Ok(())
    }
}

impl Decode for Ipv6Addr {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from(r.array::<16>()?))
    }
}

impl Zero for Ipv6Addr {
    fn zero() -> Self {
        Self::UNSPECIFIED
    }
}

impl Wire for Ipv6Addr {
    const MIN_SIZE: usize = 16;
    const SHAPE: Shape = Shape::Alias("ip6_address");
}

impl Encode for IpAddr {
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        AddressFamily::of(*self).encode(w)?;
        AddressUnion::from(*self).encode(w)
    }
}

impl Decode for IpAddr {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let family = AddressFamily::decode(r)?;
        let bytes = AddressUnion::decode(r)?;
        match family {
            AddressFamily::ADDRESS_IP4 => Ok(Self::V4(bytes.ip4())),
            AddressFamily::ADDRESS_IP6 => Ok(Self::V6(bytes.ip6())),
            AddressFamily(other) => Err(DecodeError::AddressFamily(other)),
        }
    }
}

impl Zero for IpAddr {
    fn zero() -> Self {
        Self::V4(Ipv4Addr::UNSPECIFIED)
    }
}

impl Wire for IpAddr {
    const MIN_SIZE: usize = 17;
    const SHAPE: Shape = Shape::Struct {
        name: "address",
        fields: &[
            field("af", "AddressFamily", &AddressFamily::SHAPE),
            field("un", "AddressUnion", &AddressUnion::SHAPE),
        ],
    };
}

/// `address_union`: an address whose family stands elsewhere. IPv4 uses the first four bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressUnion(pub [u8; 16]);

impl AddressUnion {
    /// The bytes read as IPv4.
    #[must_use]
    pub const fn ip4(self) -> Ipv4Addr {
        let [a, b, c, d, ..] = self.0;
        Ipv4Addr::new(a, b, c, d)
    }

    /// The bytes read as IPv6.
    #[must_use]
    pub const fn ip6(self) -> Ipv6Addr {
        Ipv6Addr::from_octets(self.0)
    }
}

impl From<IpAddr> for AddressUnion {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&address.octets());
                Self(bytes)
            }
            IpAddr::V6(address) => Self(address.octets()),
        }
    }
}

impl Encode for AddressUnion {
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        w.bytes(&self.0);
        Ok(())
    }
}

impl Decode for AddressUnion {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(r.array()?))
    }
}

impl Zero for AddressUnion {
    fn zero() -> Self {
        Self::default()
    }
}

impl Wire for AddressUnion {
    const MIN_SIZE: usize = 16;
    const SHAPE: Shape = Shape::Union {
        name: "address_union",
        fields: &[
            field("ip4", "Ip4Address", &Ipv4Addr::SHAPE),
            field("ip6", "Ip6Address", &Ipv6Addr::SHAPE),
        ],
    };
}

/// A text that is not `address/length`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a prefix; expected address/length with a length of at most 32 (IPv4) or 128 (IPv6)")]
pub struct PrefixParseError(pub String);

macro_rules! prefix {
    ($(#[$m:meta])* $name:ident $address:ident $token:literal $vpp:literal $size:literal) => {
        $(#[$m])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            /// The address, host bits as they are.
            pub address: $address,
            /// Leading bits that count.
            pub len: u8,
        }

        impl $name {
            /// Host bits are kept; the length is not checked.
            #[must_use]
            pub const fn new(address: $address, len: u8) -> Self {
                Self { address, len }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self { address: Zero::zero(), len: 0 }
            }
        }

        impl Encode for $name {
            fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
                self.address.encode(w)?;
                self.len.encode(w)
            }
        }

        impl Decode for $name {
            fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self { address: $address::decode(r)?, len: u8::decode(r)? })
            }
        }

        impl Zero for $name {
            fn zero() -> Self {
                Self::default()
            }
        }

        impl Wire for $name {
            const MIN_SIZE: usize = $size;
            const SHAPE: Shape = Shape::Struct {
                name: $vpp,
                fields: &[
                    field("address", $token, &$address::SHAPE),
                    field("len", "u8", &u8::SHAPE),
                ],
            };
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address, self.len)
            }
        }
    };
}

prefix! {
    /// `prefix`: an address of either family and a length.
    Prefix IpAddr "Address" "prefix" 18
}
prefix! {
    /// `ip4_prefix`.
    Ip4Prefix Ipv4Addr "Ip4Address" "ip4_prefix" 5
}
prefix! {
    /// `ip6_prefix`.
    Ip6Prefix Ipv6Addr "Ip6Address" "ip6_prefix" 17
}

impl Prefix {
    /// One address: /32 or /128.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self {
            address,
            len: Self::max_len(address),
        }
    }

    /// Everything of the family: 0.0.0.0/0 or ::/0.
    #[must_use]
    pub const fn any(ipv6: bool) -> Self {
        let address = if ipv6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        Self { address, len: 0 }
    }

    /// Whether it is IPv6.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    /// With all bits behind the length cleared, as routes and ACL rules need it.
    #[must_use]
    pub fn network(&self) -> Self {
        let len = self.len.min(Self::max_len(self.address));
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, len }
    }

    const fn max_len(address: IpAddr) -> u8 {
        match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || PrefixParseError(text.to_owned());
        let (address, len) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let len: u8 = len.parse().map_err(|_| bad())?;
        if len > Self::max_len(address) {
            Err(bad())
        } else {
            Ok(Self { address, len })
        }
    }
}

/// `mac_address`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// A text that is not six hex bytes with colons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address; expected six hex bytes like 02:fe:00:00:00:01")]
pub struct MacParseError(pub String);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddress {
    type Err = MacParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || MacParseError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            Err(bad())
        } else {
            Ok(Self(bytes))
        }
    }
}

impl Encode for MacAddress {
    fn encode(&self, w: &mut Writer) -> Result<(), EncodeError> {
        w.bytes(&self.0);
        Ok(())
    }
}

impl Decode for MacAddress {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(r.array()?))
    }
}

impl Zero for MacAddress {
    fn zero() -> Self {
        Self::default()
    }
}

impl Wire for MacAddress {
    const MIN_SIZE: usize = 6;
    const SHAPE: Shape = Shape::Alias("mac_address");
}

crate::wire_enum! {
    /// Address family as VPP numbers it.
    pub enum AddressFamily("address_family"): u8 {
        ADDRESS_IP4 = 0,
        ADDRESS_IP6 = 1,
    }
}

impl AddressFamily {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::ADDRESS_IP4,
            IpAddr::V6(_) => Self::ADDRESS_IP6,
        }
    }
}

crate::wire_enum! {
    /// IANA protocol number; any value is allowed, these have names in VPP. 0 in an ACL rule means any.
    pub enum IpProto("ip_proto"): u8 {
        IP_API_PROTO_HOPOPT = 0,
        IP_API_PROTO_ICMP = 1,
        IP_API_PROTO_IGMP = 2,
        IP_API_PROTO_TCP = 6,
        IP_API_PROTO_UDP = 17,
        IP_API_PROTO_GRE = 47,
        IP_API_PROTO_ESP = 50,
        IP_API_PROTO_AH = 51,
        IP_API_PROTO_ICMP6 = 58,
        IP_API_PROTO_EIGRP = 88,
        IP_API_PROTO_OSPF = 89,
        IP_API_PROTO_SCTP = 132,
        IP_API_PROTO_RESERVED = 255,
    }
}

crate::wire_enum! {
    /// Which parts of a packet choose among several paths.
    pub flags IpFlowHashConfigV2("ip_flow_hash_config_v2"): u32 {
        IP_API_V2_FLOW_HASH_SRC_IP = 1,
        IP_API_V2_FLOW_HASH_DST_IP = 2,
        IP_API_V2_FLOW_HASH_SRC_PORT = 4,
        IP_API_V2_FLOW_HASH_DST_PORT = 8,
        IP_API_V2_FLOW_HASH_PROTO = 16,
        IP_API_V2_FLOW_HASH_REVERSE = 32,
        IP_API_V2_FLOW_HASH_SYMETRIC = 64,
        IP_API_V2_FLOW_HASH_FLOW_LABEL = 128,
        IP_API_V2_FLOW_HASH_GTPV1_TEID = 256,
    }
}
