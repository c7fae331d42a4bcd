//! Network newtypes shared by all kinds.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IPv4 or IPv6 prefix with its host bits cleared, so that equal prefixes are equal values.
///
/// Parses `10.0.0.0/8`, `fd00::/64`, and a bare address as a host prefix (/32 or /128).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr(IpNet);

/// The text is neither `ADDRESS/LENGTH` nor an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a CIDR: write ADDRESS/LENGTH, such as 10.0.0.0/8 or fd00::/64")]
pub struct CidrParseError(pub String);

impl Cidr {
    /// The prefix that holds exactly this address.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNet::from(address))
    }

    /// The prefix as an [`IpNet`], host bits cleared.
    pub fn net(&self) -> IpNet {
        self.0
    }

    /// First address of the prefix.
    pub fn network(&self) -> IpAddr {
        self.0.network()
    }

    /// Prefix length in bits.
    pub fn prefix_len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the prefix is of the IPv6 family.
    pub fn is_ipv6(&self) -> bool {
        matches!(self.0, IpNet::V6(_))
    }

    /// Whether the address lies within the prefix; an address of the other family never does.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl From<IpNet> for Cidr {
    fn from(net: IpNet) -> Self {
        Self(net.trunc())
    }
}

impl FromStr for Cidr {
    type Err = CidrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(net) = text.parse::<IpNet>() {
            return Ok(Self::from(net));
        }
        text.parse::<IpAddr>()
            .map(Self::host)
            .map_err(|_| CidrParseError(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An IPv4 or IPv6 prefix, such as 10.0.0.0/8 or fd00::/64.",
            // The longest: eight groups of four digits, seven colons, "/128".
            "maxLength": 43,
        })
    }
}

/// Transport protocol, with Kubernetes' names.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Protocol {
    /// Transmission Control Protocol, IP protocol 6.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// User Datagram Protocol, IP protocol 17.
    #[serde(rename = "UDP")]
    Udp,
    /// Stream Control Transmission Protocol, IP protocol 132.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl Protocol {
    /// IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// Destination ports of one protocol: all of them, one, or an inclusive range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.endPort) || (has(self.port) && self.endPort >= self.port)")
        .message("endPort needs a port beside it and must not be below it"),
)]
#[serde(rename_all = "camelCase")]
pub struct PortMatch {
    /// The protocol.
    pub protocol: Protocol,
    /// First (or only) destination port; absent means every port of the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// Last destination port of the range, inclusive; absent means `port` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub end_port: Option<u16>,
}

impl PortMatch {
    /// The inclusive range of destination ports.
    pub fn range(&self) -> (u16, u16) {
        match (self.port, self.end_port) {
            (None, _) => (0, u16::MAX),
            (Some(port), None) => (port, port),
            (Some(port), Some(end)) => (port, end),
        }
    }
}
