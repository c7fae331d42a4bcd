//! Ethernet addresses (VPP: `vnet/ethernet/ethernet_types.api`).

use crate::codec::{Decode, DecodeError, Encode, EncodeError, Reader, Wire, Writer, Zero};
use crate::shape::Shape;
use std::fmt;
use std::str::FromStr;

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
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && !part.starts_with("+"))
                .ok_or_else(bad)?;
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

#[cfg(test)]
mod tests {
    use super::MacAddress;

    #[test]
    fn text_and_bytes() {
        let mac: MacAddress = "02:fe:00:00:0a:01".parse().unwrap();
        assert_eq!(mac, MacAddress([2, 0xfe, 0, 0, 10, 1]));
        assert_eq!(mac.to_string(), "02:fe:00:00:0a:01");
        for bad in [
            "",
            "02:fe:00:00:0a",
            "02:fe:00:00:0a:01:02",
            "2:fe:00:00:0a:01",
            "0g:fe:00:00:0a:01",
            "+2:fe:00:00:0a:01",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
