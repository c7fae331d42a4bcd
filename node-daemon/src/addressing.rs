//! Addresses that follow from the configuration: gateways, next hops of functions, hardware addresses. Pure; used on
//! VPP's side (`desired`) and within pods (`podside`), which must agree.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crds::VppConfigSpec;
use crds::cnf::InterfaceKind;
use crds::net::Cidr;
use crds::vpp_config::TransportMode;
use vpp_api::types::MacAddress;
use xxhash_rust::xxh3::xxh3_64;

/// Address by which a function reaches VPP on each of its further interfaces (RFC 3927). VPP does not hold it: the pod
/// has a permanent neighbour entry, and VPP forwards what comes to its MAC address.
pub const FUNCTION_GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 0, 1);

/// The same for IPv6 (RFC 4291, 2.5.6).
pub const FUNCTION_GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Bytes that VXLAN adds to an inner IP packet, from the underlay's IP header to the VXLAN header and the Ethernet
/// header that leaves with it: a 1,488-byte packet over a 1,500-byte underlay was seen to vanish.
const VXLAN_OVERHEAD_V4: u32 = 50;
const VXLAN_OVERHEAD_V6: u32 = 70;

/// The gateway of a pod prefix: its first address after the network's own.
pub fn gateway(prefix: &Cidr) -> IpAddr {
    offset_address(prefix, 1)
}

fn offset_address(prefix: &Cidr, offset: u32) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(a) => Ipv4Addr::from_bits(a.to_bits().wrapping_add(offset)).into(),
        IpAddr::V6(a) => Ipv6Addr::from_bits(a.to_bits().wrapping_add(u128::from(offset))).into(),
    }
}

/// Next hops of a function's interface: link-local, one per family, unique on the node as long as pod addresses are.
///
/// `addresses` are the pod's, `index` is the interface's place in the binding (at most 8). IPv4 is absent when the
/// pod's offset in its prefix does not fit into 169.254.0.0/16, which takes a pod prefix shorter than /20.
pub fn function_next_hops(pod_cidrs: &[Cidr], addresses: &[IpAddr], index: usize) -> Vec<IpAddr> {
    let Some(offset) = addresses.iter().find_map(|&a| offset_within(pod_cidrs, a)) else {
        return Vec::new();
    };
    let Ok(index) = u128::try_from(index) else {
        return Vec::new();
    };
    let number = offset * 8 + index;
    let mut hops = Vec::new();
    // 169.254.0.0/24 and 169.254.255.0/24 are reserved (RFC 3927, 2.1); offset 0 and 1 are never a pod's.
    if let Ok(number) = u16::try_from(number + 0x0100)
        && number < 0xff00
    {
        let [high, low] = number.to_be_bytes();
        hops.push(Ipv4Addr::new(169, 254, high, low).into());
    }
    let v6 = u128::from(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, 0)) + (number & 0xffff_ffff);
    hops.push(Ipv6Addr::from_bits(v6).into());
    hops
}

fn offset_within(pod_cidrs: &[Cidr], address: IpAddr) -> Option<u128> {
    let cidr = pod_cidrs.iter().find(|c| c.contains(address))?;
    match (cidr.network(), address) {
        (IpAddr::V4(n), IpAddr::V4(a)) => Some(u128::from(a.to_bits() - n.to_bits())),
        (IpAddr::V6(n), IpAddr::V6(a)) => Some(a.to_bits() - n.to_bits()),
        _ => None,
    }
}

/// Largest packet of pods: what the underlay leaves room for.
pub fn pod_mtu(mode: &TransportMode, uplink_mtu: u32, underlay_ipv6: bool) -> u32 {
    match (mode, underlay_ipv6) {
        (TransportMode::None, _) => uplink_mtu,
        (TransportMode::Vxlan, false) => uplink_mtu.saturating_sub(VXLAN_OVERHEAD_V4),
        (TransportMode::Vxlan, true) => uplink_mtu.saturating_sub(VXLAN_OVERHEAD_V6),
    }
}

/// Hardware address of one of the node's own VPP interfaces: the same after every restart, so that neighbours' entries
/// stay right.
pub fn node_mac(node: &str, interface: &str) -> MacAddress {
    let [_, _, _, a, b, c, d, e] = xxh3_64(format!("{node}\0{interface}").as_bytes()).to_be_bytes();
    // Locally administered, unicast (IEEE 802, 8.2.2).
    MacAddress([0x02, a, b, c, d, e])
}

/// Addresses of the node's gateways, one per pod prefix.
pub fn gateways(spec: &VppConfigSpec) -> impl Iterator<Item = IpAddr> + '_ {
    spec.node.pod_cidrs.iter().map(gateway)
}

/// Socket of a pod's memif interface, in VPP's notation: abstract, within the pod's network namespace, so that it goes
/// when the pod goes.
pub fn memif_socket(netns: &str, interface: &str) -> String {
    format!("abstract:contiv/{interface},netns_name={netns}")
}

/// Whether an interface of this kind has a device in the pod's network namespace.
pub fn has_kernel_device(kind: InterfaceKind) -> bool {
    !matches!(kind, InterfaceKind::Memif)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_is_the_first_address() {
        for (prefix, expected) in [("10.1.1.0/24", "10.1.1.1"), ("fd00:1::/64", "fd00:1::1")] {
            assert_eq!(
                gateway(&prefix.parse().unwrap()),
                expected.parse::<IpAddr>().unwrap()
            );
        }
    }

    #[test]
    fn next_hops_are_unique_per_pod_and_interface() {
        let cidrs: Vec<Cidr> = vec!["10.1.0.0/20".parse().unwrap(), "fd00:1::/64".parse().unwrap()];
        let mut seen = std::collections::BTreeSet::new();
        for last in 2..=4094_u32 {
            let address = IpAddr::V4(Ipv4Addr::from_bits(0x0a01_0000 + last));
            for index in 0..8 {
                let hops = function_next_hops(&cidrs, &[address], index);
                assert_eq!(hops.len(), 2);
                for hop in hops {
                    assert!(seen.insert(hop), "{hop} twice");
                    match hop {
                        IpAddr::V4(a) => assert!(a.is_link_local() && a != FUNCTION_GATEWAY_V4),
                        IpAddr::V6(a) => assert!(a.is_unicast_link_local() && a != FUNCTION_GATEWAY_V6),
                    }
                }
            }
        }
    }

    #[test]
    fn overhead_leaves_what_was_seen_to_pass() {
        // The recording of two nodes: 1,488 bytes vanish on a 1,500-byte underlay, underlay - 50 is the rule.
        assert_eq!(pod_mtu(&TransportMode::Vxlan, 1500, false), 1450);
        assert_eq!(pod_mtu(&TransportMode::Vxlan, 1500, true), 1430);
        assert_eq!(pod_mtu(&TransportMode::None, 1500, false), 1500);
    }
}
