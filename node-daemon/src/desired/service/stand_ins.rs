//! Addresses in VPP that stand for others. They are between the node and its VPP only: link-local ones of IPv4 (RFC 3927,
//! 2.1 keeps the first 256 out of use), and, as those of IPv6 are not forwarded, of the prefix for local use of RFC 8215.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::net::Cidr;
use crds::service_slice::{ServicePort, TrafficPolicy};
use xxhash_rust::xxh3::xxh3_64;

use crate::objects::Path;

const fn v4(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, number))
}

const fn v6(number: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0xa9fe, number))
}

/// Backend of ports that have none: the node's kernel, which tells a client at once, and as kube-proxy's rules do: by a TCP
/// reset, or that the port is unreachable. VPP would say that the host is, and once in 100 ms for all of a client's connections
/// (`ip_null_dpo.c`).
const REFUSING: [IpAddr; 2] = [v4(8), v6(8)];
/// The same where no kernel is behind VPP: VPP tells it.
const REJECTING: [IpAddr; 2] = [v4(4), v6(4)];
/// The same where clients are left without an answer.
const DROPPING: [IpAddr; 2] = [v4(5), v6(5)];

fn of_family([ipv4, ipv6]: [IpAddr; 2], is_ipv6: bool) -> IpAddr {
    if is_ipv6 { ipv6 } else { ipv4 }
}

/// Whether an address is a backend that stands for none.
pub fn stands_for_none(address: IpAddr) -> bool {
    REFUSING.contains(&address) || ends_in_vpp(address)
}

/// Whether it is one of those to which packets go as they are, not translated, since they end where it leads.
pub fn ends_in_vpp(address: IpAddr) -> bool {
    REJECTING.contains(&address) || DROPPING.contains(&address)
}

/// The backend that stands for none in VPP, for a path that tells its clients or does not.
pub(super) fn nowhere(path: &Path, ipv6: bool) -> IpAddr {
    of_family(if *path == Path::Drop { DROPPING } else { REJECTING }, ipv6)
}

/// The backend that is the node's kernel, which refuses what comes.
pub fn refusing(ipv6: bool) -> IpAddr {
    of_family(REFUSING, ipv6)
}

/// The address that stands for the node's in one family: for clients that may have all backends, or this node's only.
pub fn node_ports(policy: TrafficPolicy, ipv6: bool) -> IpAddr {
    match policy {
        TrafficPolicy::Cluster => of_family([v4(2), v6(2)], ipv6),
        TrafficPolicy::Local => of_family([v4(3), v6(3)], ipv6),
    }
}

/// The same for ports that have no node port.
fn no_node_ports(policy: TrafficPolicy, ipv6: bool) -> IpAddr {
    match policy {
        TrafficPolicy::Cluster => of_family([v4(6), v6(6)], ipv6),
        TrafficPolicy::Local => of_family([v4(7), v6(7)], ipv6),
    }
}

/// Address and port that stand for a port of a Service without node port. The number is no more than likely to be its own:
/// where it is taken, the `attempt` after that gives another.
pub(super) fn without_node_port(
    name: &str,
    port: &ServicePort,
    policy: TrafficPolicy,
    ipv6: bool,
    attempt: u16,
) -> (IpAddr, u16) {
    let key = format!("{name}:{}/{}", port.port, port.protocol);
    let number = xxh3_64(key.as_bytes()).wrapping_add(u64::from(attempt)) % u64::from(u16::MAX);
    // Below u16::MAX, so that 1 more fits, and is not 0.
    (no_node_ports(policy, ipv6), number as u16 + 1)
}

/// Whether an address is one of those that stand for the node's, or for a Service's towards the node's kernel.
pub fn is_stand_in(address: IpAddr) -> bool {
    let ipv6 = address.is_ipv6();
    [TrafficPolicy::Cluster, TrafficPolicy::Local]
        .into_iter()
        .any(|policy| [node_ports(policy, ipv6), no_node_ports(policy, ipv6)].contains(&address))
}

/// Those behind which clients keep their address.
pub fn kept() -> impl Iterator<Item = Cidr> {
    let local = |ipv6| [node_ports, no_node_ports].map(|stand_in| stand_in(TrafficPolicy::Local, ipv6));
    [false, true].into_iter().flat_map(local).map(Cidr::host)
}
