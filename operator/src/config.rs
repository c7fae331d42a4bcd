//! The command line: flags, each also an environment variable, parsed without side effects.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use compiler::{PodPool, Settings};
use crds::net::Cidr;
use crds::vpp_config::{Transport, TransportMode};
use runtime::telemetry::LogFormat;

/// Compiles Kubernetes networking into the configuration of each node's VPP.
#[derive(Clone, Debug, Parser)]
#[command(name = "contiv-operator", version)]
pub struct Config {
    /// Kubeconfig file; without it $KUBECONFIG, ~/.kube/config, or the pod's service account.
    #[arg(long, env = "CONTIV_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// Namespace of the leader election Lease.
    #[arg(long, env = "CONTIV_NAMESPACE", default_value = crds::SYSTEM_NAMESPACE)]
    pub namespace: String,

    /// Our name among the candidates for leadership; without it host name and process id. A stable
    /// one (the pod's name) lets a restarted container go on at once.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Write without being elected. Only ever with a single operator.
    #[arg(long, env = "CONTIV_NO_LEADER_ELECTION")]
    pub no_leader_election: bool,

    /// Address of /metrics, /healthz and /readyz; port 0 takes a free port.
    #[arg(long, env = "CONTIV_ADMIN_ADDRESS", default_value = "127.0.0.1:9090")]
    pub admin_address: SocketAddr,

    /// File to which the port of the admin endpoints is written once they are there.
    #[arg(long, env = "CONTIV_ADMIN_PORT_FILE")]
    pub admin_port_file: Option<PathBuf>,

    /// How pods' packets travel between nodes.
    #[arg(long, env = "CONTIV_TRANSPORT", value_enum, default_value_t)]
    pub transport: TransportFlag,

    /// VXLAN network identifier for IPv4 packets; IPv6 packets use the next one.
    #[arg(long, env = "CONTIV_VNI", default_value_t = Transport::default().vni,
          value_parser = clap::value_parser!(u32).range(1..=16_777_214))]
    pub vni: u32,

    /// Prefix from which nodes without spec.podCIDRs get theirs; at most one per family.
    #[arg(long = "pod-cidr", env = "CONTIV_POD_CIDR", value_delimiter = ',')]
    pub pod_cidrs: Vec<Cidr>,

    /// Length of a node's prefix within an IPv4 --pod-cidr.
    #[arg(long, env = "CONTIV_NODE_PREFIX_V4", default_value_t = 24)]
    pub node_prefix_v4: u8,

    /// Length of a node's prefix within an IPv6 --pod-cidr.
    #[arg(long, env = "CONTIV_NODE_PREFIX_V6", default_value_t = 64)]
    pub node_prefix_v6: u8,

    /// Leave spec.externalIPs of Services alone: whoever may write a Service could take any address
    /// to itself by them.
    #[arg(long, env = "CONTIV_NO_EXTERNAL_IPS")]
    pub no_external_ips: bool,

    /// What is logged, in the syntax of tracing's filters.
    #[arg(long, env = "CONTIV_LOG", default_value = "info")]
    pub log: String,

    /// How it is logged: auto (text on a terminal, else json), text or json.
    #[arg(long, env = "CONTIV_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// [`TransportMode`] as a flag's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TransportFlag {
    /// VXLAN tunnels between the nodes.
    #[default]
    Vxlan,
    /// No encapsulation: the underlay routes pod prefixes.
    None,
}

/// Flags that contradict each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two pools of one family.
    #[error("--pod-cidr: {0} and {1} are of one family; give at most one per family")]
    TwoPools(Cidr, Cidr),
    /// A pool that can't be cut into node prefixes.
    #[error(
        "--pod-cidr {pool} has no room for node prefixes of length {length}: the length must be above {} and at most {longest}",
        pool.prefix_len()
    )]
    NoRoom {
        /// The pool.
        pool: Cidr,
        /// The prefix length asked for.
        length: u8,
        /// The longest one that leaves room for a gateway and a pod.
        longest: u8,
    },
}

impl Config {
    /// What the compiler is to know.
    ///
    /// # Errors
    /// Pools that contradict each other or the prefix lengths.
    pub fn settings(&self) -> Result<Settings, Error> {
        let mut pools: Vec<PodPool> = Vec::new();
        for &cidr in &self.pod_cidrs {
            if let Some(other) = pools.iter().find(|p| p.cidr.is_ipv6() == cidr.is_ipv6()) {
                return Err(Error::TwoPools(other.cidr, cidr));
            }
            // A node needs a gateway address and pods: two bits at least, network and broadcast
            // addresses left alone.
            let (length, longest) = match cidr.is_ipv6() {
                false => (self.node_prefix_v4, 30),
                true => (self.node_prefix_v6, 126),
            };
            if length <= cidr.prefix_len() || length > longest {
                return Err(Error::NoRoom {
                    pool: cidr,
                    length,
                    longest,
                });
            }
            pools.push(PodPool {
                cidr,
                node_prefix_len: length,
            });
        }
        pools.sort_by_key(|pool| pool.cidr.is_ipv6());
        let mode = match self.transport {
            TransportFlag::Vxlan => TransportMode::Vxlan,
            TransportFlag::None => TransportMode::None,
        };
        Ok(Settings {
            transport: Transport { mode, vni: self.vni },
            pod_pools: pools,
            external_ips: !self.no_external_ips,
            ..Settings::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(flags: &[&str]) -> Config {
        Config::try_parse_from([&["contiv-operator"], flags].concat()).unwrap()
    }

    #[test]
    fn defaults() {
        let config = parse(&[]);
        assert_eq!(config.namespace, "contiv-system");
        assert!(!config.no_leader_election);
        assert_eq!(config.settings(), Ok(Settings::default()));
    }

    #[test]
    fn external_ips_can_be_switched_off() {
        assert!(parse(&[]).settings().unwrap().external_ips);
        let config = parse(&["--no-external-ips"]);
        assert!(!config.settings().unwrap().external_ips);
    }

    #[test]
    fn pools_of_both_families() {
        let config = parse(&["--pod-cidr", "fd00:10::/48,10.1.0.0/16", "--vni", "77"]);
        let settings = config.settings().unwrap();
        assert_eq!(settings.transport.vni, 77);
        let pools: Vec<_> = settings
            .pod_pools
            .iter()
            .map(|pool| (pool.cidr.to_string(), pool.node_prefix_len))
            .collect();
        assert_eq!(
            pools,
            [("10.1.0.0/16".to_owned(), 24), ("fd00:10::/48".to_owned(), 64)]
        );
    }

    #[test]
    fn contradictions_are_sentences() {
        let cases = [
            (
                "--pod-cidr=10.1.0.0/16,10.2.0.0/16",
                "--pod-cidr: 10.1.0.0/16 and 10.2.0.0/16 are of one family; give at most one per family",
            ),
            (
                "--pod-cidr=10.1.0.0/24",
                "--pod-cidr 10.1.0.0/24 has no room for node prefixes of length 24: the length must be above 24 and at most 30",
            ),
        ];
        for (flag, sentence) in cases {
            assert_eq!(
                parse(&[flag]).settings().unwrap_err().to_string(),
                sentence,
                "{flag}"
            );
        }
        let config = Config::try_parse_from(["contiv-operator", "--vni", "16777215"]);
        assert!(config.is_err(), "IPv6 needs the next number");
    }
}
