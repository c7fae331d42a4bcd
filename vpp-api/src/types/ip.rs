//! Addresses and prefixes (VPP: `vnet/ip/ip_types.api`).

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

#[cfg(test)]
mod tests {
    use super::Prefix;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_kept_until_asked_to_go() {
        assert_eq!(prefix("10.1.2.3/24").to_string(), "10.1.2.3/24");
        assert_eq!(prefix("10.1.2.3/24").network(), prefix("10.1.2.0/24"));
        assert_eq!(prefix("10.1.2.3/0").network(), prefix("0.0.0.0/0"));
        assert_eq!(prefix("10.1.2.3/32").network(), prefix("10.1.2.3/32"));
        assert_eq!(prefix("fd00:1:2::3/33").network(), prefix("fd00:1::/33"));
        assert_eq!(prefix("fd00:1:8000::3/33").network(), prefix("fd00:1:8000::/33"));
        assert_eq!(prefix("fd00::3/0").network(), Prefix::any(true));
        assert_eq!(
            prefix("fd00::3/128").network(),
            Prefix::host("fd00::3".parse().unwrap())
        );
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for bad in [
            "10.1.2.3",
            "10.1.2.3/33",
            "fd00::/129",
            "10.1.2/24",
            "/24",
            "10.1.2.3/",
            "10.1.2.3/-1",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
