//! Exact arithmetic on prefixes: what is left of a block, and the fewest prefixes for a set.

use crds::net::Cidr;
use ipnet::IpNet;

/// The addresses of `cidr` that are in none of `except`, as the fewest prefixes, sorted.
///
/// Exceptions of the other family or outside the block take nothing away.
pub fn subtract(cidr: Cidr, except: &[Cidr]) -> Vec<Cidr> {
    let mut rest = Vec::new();
    keep(cidr.net(), except, &mut rest);
    rest
}

/// Halves a block until each part is wholly in or wholly out. Parts come out in address order and
/// are never two whole halves of one block, so they are the fewest.
fn keep(net: IpNet, except: &[Cidr], rest: &mut Vec<Cidr>) {
    if except.iter().any(|e| e.net().contains(&net)) {
        return;
    }
    let within: Vec<Cidr> = except
        .iter()
        .copied()
        .filter(|e| net.contains(&e.net()))
        .collect();
    if within.is_empty() {
        rest.push(Cidr::from(net));
        return;
    }
    // A prefix that holds a longer one is never a host prefix, so it has halves.
    for half in net.subnets(net.prefix_len() + 1).into_iter().flatten() {
        keep(half, &within, rest);
    }
}

/// The addresses of all the prefixes, as the fewest prefixes, sorted.
pub fn union(prefixes: &[Cidr]) -> Vec<Cidr> {
    let nets: Vec<IpNet> = prefixes.iter().map(Cidr::net).collect();
    let mut fewest: Vec<Cidr> = IpNet::aggregate(&nets).into_iter().map(Cidr::from).collect();
    fewest.sort();
    fewest
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn cidrs(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_left_of_a_block() {
        for (block, except, left) in [
            ("10.0.0.0/8", &[][..], &["10.0.0.0/8"][..]),
            ("10.0.0.0/30", &["10.0.0.1/32"], &["10.0.0.0/32", "10.0.0.2/31"]),
            ("10.0.0.0/8", &["10.128.0.0/9"], &["10.0.0.0/9"]),
            ("10.0.0.0/24", &["10.0.0.0/24"], &[]),
            ("10.0.0.0/24", &["10.0.0.0/8"], &[]),
            ("10.0.0.0/24", &["192.0.2.0/24", "::/0"], &["10.0.0.0/24"]),
            ("10.0.0.0/24", &["10.0.0.0/25", "10.0.0.0/26"], &["10.0.0.128/25"]),
            ("fd00::/126", &["fd00::2/127"], &["fd00::/127"]),
            ("10.0.0.1/32", &["10.0.0.1/32"], &[]),
        ] {
            let got = subtract(block.parse().unwrap(), &cidrs(except));
            assert_eq!(got, cidrs(left), "{block} without {except:?}");
        }
    }

    #[test]
    fn everything_but_one_address_takes_one_prefix_per_bit() {
        let v4 = subtract("0.0.0.0/0".parse().unwrap(), &cidrs(&["192.0.2.1/32"]));
        assert_eq!(v4.len(), 32);
        let v6 = subtract("::/0".parse().unwrap(), &cidrs(&["2001:db8::1/128"]));
        assert_eq!(v6.len(), 128);
    }

    #[test]
    fn union_merges_siblings_and_drops_what_is_held() {
        let all = cidrs(&["10.0.1.0/24", "fd00::/64", "10.0.0.0/24", "10.0.0.7/32"]);
        assert_eq!(union(&all), cidrs(&["10.0.0.0/23", "fd00::/64"]));
    }

    /// Prefixes within a corner of 64 addresses, so that every address in it can be tried.
    fn small(v6: bool) -> impl Strategy<Value = Cidr> {
        (0u8..64, 0u8..=6).prop_map(move |(host, len)| {
            let corner = if v6 { 122 } else { 26 };
            Cidr::from(IpNet::new(ip(v6, host), corner + len).unwrap())
        })
    }

    fn ip(v6: bool, host: u8) -> IpAddr {
        match v6 {
            false => IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)),
            true => IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into())),
        }
    }

    fn block_and_exceptions() -> impl Strategy<Value = (Cidr, Vec<Cidr>)> {
        let except = prop::collection::vec(any::<bool>().prop_flat_map(small), 0..8);
        (any::<bool>().prop_flat_map(small), except)
    }

    proptest! {
        #[test]
        fn subtraction_agrees_with_trying_every_address((block, except) in block_and_exceptions()) {
            let left = subtract(block, &except);
            for (v6, host) in (0..64).flat_map(|host| [(false, host), (true, host)]) {
                let ip = ip(v6, host);
                let naive = block.contains(ip) && !except.iter().any(|e| e.contains(ip));
                // Exactly one: the parts are disjoint.
                let holders = left.iter().filter(|c| c.contains(ip)).count();
                prop_assert_eq!(holders, usize::from(naive), "{} in {:?}", ip, left);
            }
            prop_assert!(left.is_sorted());
            // Fewest: no two parts are the halves of one prefix.
            prop_assert_eq!(union(&left), left);
        }
    }
}
