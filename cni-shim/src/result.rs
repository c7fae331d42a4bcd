//! The result of ADD: type of CNI 1.1.0, and its older shapes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::LATEST_VERSION;

/// What ADD made, in the shape of CNI 1.1.0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CniResult {
    /// Version of this shape.
    pub cni_version: String,
    /// Interfaces within the container and, without sandbox, on the host's side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<IpConfig>,
    /// Routes within the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
}

impl Default for CniResult {
    fn default() -> Self {
        Self {
            cni_version: LATEST_VERSION.to_owned(),
            interfaces: Vec::new(),
            ips: Vec::new(),
            routes: Vec::new(),
            dns: Dns::default(),
        }
    }
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Hardware address, colon-separated hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Maximum transmission unit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of the network namespace it is in; absent for the host's side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Path of the socket of a user-space interface (memif, vhost-user).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_path: Option<String>,
    /// PCI address of a device.
    #[serde(default, rename = "pciID", skip_serializing_if = "Option::is_none")]
    pub pci_id: Option<String>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Address with prefix length, such as `10.1.0.2/32`.
    pub address: String,
    /// Default gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Index into `interfaces`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination prefix.
    pub dst: String,
    /// Next hop; absent for a route by the interface alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    /// Maximum transmission unit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Largest TCP segment to advertise, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// Metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// Scope, as in rtnetlink(7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

/// Name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Servers, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Local domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Search list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl CniResult {
    /// Reads a result of any supported version. What an older version has more (`version` of an
    /// address) follows from the rest and is dropped.
    pub fn from_any_version(value: &Value) -> Result<Self, serde_json::Error> {
        let mut result = Self::deserialize(value)?;
        result.cni_version = LATEST_VERSION.to_owned();
        Ok(result)
    }

    /// The result as `version` has it: 1.1.0 added fields to interfaces and routes, 1.0.0 removed
    /// `version` from addresses, 0.3.1 and 0.4.0 are equal.
    pub fn to_version(&self, version: &str) -> Value {
        let mut result = self.clone();
        result.cni_version = version.to_owned();
        if version != LATEST_VERSION {
            for interface in &mut result.interfaces {
                interface.mtu = None;
                interface.socket_path = None;
                interface.pci_id = None;
            }
            for route in &mut result.routes {
                *route = Route {
                    dst: std::mem::take(&mut route.dst),
                    gw: route.gw,
                    ..Route::default()
                };
            }
        }
        // The types hold nothing that JSON can't: string keys only, no failing serializer.
        let mut value = serde_json::to_value(&result).unwrap_or(Value::Object(Map::new()));
        if matches!(version, "0.3.1" | "0.4.0")
            && let Some(Value::Array(ips)) = value.get_mut("ips")
        {
            for (ip, config) in ips.iter_mut().zip(&result.ips) {
                let family = if config.address.contains(':') { "6" } else { "4" };
                ip["version"] = Value::from(family);
            }
        }
        value
    }

    /// This result behind that of the plugins before it in a chain: their interfaces come first,
    /// so the indexes of our addresses move; their name servers stay unless we have some.
    pub fn after(mut self, mut previous: Self) -> Self {
        let offset = previous.interfaces.len();
        for ip in &mut self.ips {
            ip.interface = ip.interface.map(|index| index + offset);
        }
        previous.cni_version = self.cni_version;
        previous.interfaces.append(&mut self.interfaces);
        previous.ips.append(&mut self.ips);
        previous.routes.append(&mut self.routes);
        if !self.dns.is_empty() {
            previous.dns = self.dns;
        }
        previous
    }
}
