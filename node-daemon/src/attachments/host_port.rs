//! Ports of the node that lead to a pod: Kubernetes' `hostPort`, CNI's capability `portMappings`.

use std::fmt;
use std::net::IpAddr;

use cni_shim::{CniError, code};
use crds::net::Protocol;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A port of the node that leads to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostPort {
    /// On which of the node's addresses: `None` on all, an unspecified address on all of its family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Port of the node.
    pub port: u16,
    /// Port of the pod.
    pub to: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// One element of `runtimeConfig.portMappings`, as the runtime writes it: with the conventions' names, or as containerd
/// does with those of the fields in Go (`PortMapping` of go-cni), which plugins in Go read just as well.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    #[serde(alias = "HostPort")]
    host_port: u16,
    #[serde(alias = "ContainerPort")]
    container_port: u16,
    #[serde(default, alias = "Protocol")]
    protocol: String,
    #[serde(default, rename = "hostIP", alias = "HostIP")]
    host_ip: String,
}

impl HostPort {
    /// Reads `runtimeConfig.portMappings` (CNI conventions, "Well-known Capabilities"): sorted, each once. A protocol that
    /// is not named is TCP, as in Kubernetes.
    ///
    /// # Errors
    /// Code 7 for what is no list of mappings; code 2 for a protocol that no pod can have.
    pub fn read(mappings: &Value) -> Result<Vec<Self>, CniError> {
        let invalid = |text: String| CniError::new(code::INVALID_CONFIG, text);
        let mappings: Option<Vec<Mapping>> = serde_json::from_value(mappings.clone())
            .map_err(|error| invalid("runtimeConfig.portMappings is not valid".into()).with_details(error))?;
        let mut ports = Vec::new();
        for mapping in mappings.unwrap_or_default() {
            if mapping.host_port == 0 || mapping.container_port == 0 {
                return Err(invalid(format!(
                    "runtimeConfig.portMappings: hostPort {} to containerPort {}: ports are 1 to 65535",
                    mapping.host_port, mapping.container_port
                )));
            }
            let protocol = match mapping.protocol.to_ascii_lowercase().as_str() {
                "" | "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                "sctp" => Protocol::Sctp,
                other => {
                    return Err(CniError::new(
                        code::UNSUPPORTED_FIELD,
                        format!("unsupported field runtimeConfig.portMappings.protocol = {other:?}"),
                    ));
                }
            };
            let address = match mapping.host_ip.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|_| {
                    invalid(format!(
                        "runtimeConfig.portMappings: hostIP {text:?} is not an address"
                    ))
                })?),
            };
            ports.push(Self {
                address,
                port: mapping.host_port,
                to: mapping.container_port,
                protocol,
            });
        }
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }

    /// Whether the port is on all of the node's addresses of a family.
    pub fn on_all(&self, ipv6: bool) -> bool {
        self.address
            .is_none_or(|address| address.is_unspecified() && address.is_ipv6() == ipv6)
    }

    /// Whether the port is on this address of the node.
    pub fn is_on(&self, address: IpAddr) -> bool {
        self.on_all(address.is_ipv6()) || self.address == Some(address)
    }

    /// Whether some connection would belong to both: the rule by which the scheduler keeps such pods off one node
    /// (`HostPortInfo.CheckConflict` of Kubernetes).
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let meet = match (self.address, other.address) {
            (Some(one), Some(two)) => {
                one == two || one.is_ipv6() == two.is_ipv6() && (one.is_unspecified() || two.is_unspecified())
            }
            _ => true,
        };
        meet && (self.port, self.protocol) == (other.port, other.protocol)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => write!(f, "{}/{}", self.port, self.protocol),
            Some(IpAddr::V4(address)) => write!(f, "{address}:{}/{}", self.port, self.protocol),
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:{}/{}", self.port, self.protocol),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn port(text: &str) -> HostPort {
        let (address, number) = text.rsplit_once(' ').unwrap_or(("", text));
        let (number, protocol) = number.split_once('/').unwrap();
        let mapping = json!([{"hostPort": number.parse::<u16>().unwrap(), "containerPort": 80,
            "protocol": protocol, "hostIP": address}]);
        HostPort::read(&mapping).unwrap()[0]
    }

    #[test]
    fn mappings_are_read_as_runtimes_write_them() {
        // For a hostPort without protocol and hostIP.
        let read = HostPort::read(&json!([
            {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""},
            {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": "192.168.0.1"},
            {"hostPort": 8080, "containerPort": 80},
        ]));
        let all = HostPort {
            address: None,
            port: 8080,
            to: 80,
            protocol: Protocol::Tcp,
        };
        let one = HostPort {
            address: Some("192.168.0.1".parse().unwrap()),
            port: 53,
            to: 5353,
            protocol: Protocol::Udp,
        };
        assert_eq!(read, Ok(vec![all, one]));
        assert_eq!(HostPort::read(&Value::Null), Ok(vec![]));
    }

    #[test]
    fn mistakes_have_their_codes() {
        for (mapping, expected) in [
            (json!({"hostPort": 0, "containerPort": 80}), code::INVALID_CONFIG),
            (json!({"hostPort": 80, "containerPort": 0}), code::INVALID_CONFIG),
            (
                json!({"hostPort": 65536, "containerPort": 80}),
                code::INVALID_CONFIG,
            ),
            (json!({"hostPort": 80}), code::INVALID_CONFIG),
            (
                json!({"hostPort": 80, "containerPort": 80, "hostIP": "here"}),
                code::INVALID_CONFIG,
            ),
            (
                json!({"hostPort": 80, "containerPort": 80, "protocol": "icmp"}),
                code::UNSUPPORTED_FIELD,
            ),
        ] {
            let error = HostPort::read(&json!([mapping])).unwrap_err();
            assert_eq!(error.code, expected, "{mapping}: {error}");
        }
    }

    /// Conformance, "validates that there is no conflict between pods with same hostPort but different hostIP and
    /// protocol", and its opposite, "validates that there exists conflict between pods with same hostPort and protocol
    /// but one using 0.0.0.0 hostIP".
    #[test]
    fn ports_conflict_where_one_connection_would_be_both_s() {
        for (one, other, conflict) in [
            ("127.0.0.1 80/tcp", "192.168.0.1 80/tcp", false),
            ("192.168.0.1 80/udp", "192.168.0.1 80/tcp", false),
            ("192.168.0.1 80/tcp", "192.168.0.1 81/tcp", false),
            ("0.0.0.0 80/tcp", "192.168.0.1 80/tcp", true),
            ("80/tcp", "192.168.0.1 80/tcp", true),
            ("80/tcp", "fd02::1 80/tcp", true),
            ("0.0.0.0 80/tcp", "fd02::1 80/tcp", false),
            (":: 80/tcp", "fd02::1 80/tcp", true),
            ("192.168.0.1 80/tcp", "192.168.0.1 80/tcp", true),
        ] {
            assert_eq!(port(one).conflicts_with(&port(other)), conflict, "{one}, {other}");
            assert_eq!(port(other).conflicts_with(&port(one)), conflict, "{other}, {one}");
        }
    }

    #[test]
    fn containerds_names_are_read_as_well() {
        let mappings = json!([{"HostPort": 18081, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}]);
        let read = HostPort::read(&mappings).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(
            (read[0].port, read[0].to, read[0].protocol, read[0].address),
            (18081, 80, Protocol::Tcp, None)
        );
    }
}
