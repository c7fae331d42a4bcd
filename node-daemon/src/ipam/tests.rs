use super::*;
use proptest::prelude::*;
use std::time::UNIX_EPOCH;

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

#[test]
fn pods_of_two_nodes_differ_in_the_low_32_bits_of_their_ipv6_addresses() {
    let mut low = BTreeSet::new();
    for cidr in ["fd00:10:1:1::/64", "fd00:10:1:2::/64", "fd00:10:2:12::/64"] {
        let mut ipam = Ipam::new(&cidrs(&[cidr]));
        for _ in 0..3 {
            for address in ipam.allocate(at(0)).unwrap() {
                let IpAddr::V6(address) = address else {
                    panic!("{address} of {cidr}")
                };
                assert!(low.insert(address.to_bits() as u32), "{address} of {cidr}");
            }
        }
    }
}

#[test]
fn network_gateway_and_broadcast_are_never_given_out() {
    // 10.0.0.0/29 holds .0 to .7: .0 network, .1 gateway, .7 broadcast.
    let mut ipam = Ipam::new(&cidrs(&["10.0.0.0/29"]));
    let all: Vec<_> = (0..5).map(|_| ipam.allocate(at(0)).unwrap()[0]).collect();
    let expected = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"];
    assert_eq!(all, expected.map(ip));
    assert_eq!(ipam.capacity(false), 5);
    let error = ipam.allocate(at(0)).unwrap_err();
    assert_eq!(
        error,
        IpamError::Exhausted {
            family: "IPv4",
            in_use: 5,
            cooling: 0,
            cool_down: COOL_DOWN
        }
    );
}

#[test]
fn prefixes_without_room_for_a_pod_give_nothing() {
    for text in ["10.0.0.0/31", "10.0.0.1/32", "fd00::/127", "fd00::1/128"] {
        let cidr = cidrs(&[text]);
        assert!(Ipam::new(&cidr).allocate(at(0)).is_err(), "{text}");
    }
    let one = &mut Ipam::new(&cidrs(&["10.0.0.0/30"]));
    assert_eq!(one.allocate(at(0)), Ok(vec![ip("10.0.0.2")]));
    assert_eq!(Ipam::new(&[]).allocate(at(0)), Err(IpamError::NoPrefix));
}

#[test]
fn a_released_address_rests_and_comes_back_last() {
    let mut ipam = Ipam::new(&cidrs(&["10.0.0.0/29"]));
    let first = ipam.allocate(at(0)).unwrap()[0];
    ipam.release(first, at(10));
    for _ in 0..4 {
        assert_ne!(ipam.allocate(at(200)).unwrap()[0], first);
    }
    assert_eq!(ipam.allocate(at(200)), Ok(vec![first]));
    ipam.release(first, at(300));
    assert!(ipam.allocate(at(359)).is_err());
    assert_eq!(ipam.allocate(at(360)), Ok(vec![first]));
}

#[test]
fn a_clock_set_back_prolongs_a_rest_but_not_for_ever() {
    let mut ipam = Ipam::new(&cidrs(&["10.0.0.0/30"]));
    let only = ipam.allocate(at(5000)).unwrap()[0];
    ipam.release(only, at(5000));
    assert!(ipam.allocate(at(100)).is_err());
    assert_eq!(ipam.allocate(at(160)), Ok(vec![only]));
}

#[test]
fn both_families_or_none() {
    let mut ipam = Ipam::new(&cidrs(&["fd00:1::/64", "10.0.0.0/30"]));
    assert_eq!(ipam.allocate(at(0)), Ok(vec![ip("10.0.0.2"), ip("fd00:1::2")]));
    let before = ipam.clone();
    assert!(ipam.allocate(at(0)).is_err());
    assert_eq!(ipam, before, "a failure takes nothing");
}

#[test]
fn a_further_prefix_of_a_family_is_used_when_the_first_is_full() {
    let mut ipam = Ipam::new(&cidrs(&["10.0.0.0/30", "10.9.0.0/30"]));
    assert_eq!(ipam.allocate(at(0)), Ok(vec![ip("10.0.0.2")]));
    assert_eq!(ipam.allocate(at(0)), Ok(vec![ip("10.9.0.2")]));
    assert!(ipam.available(at(0)).is_err());
}

#[test]
fn other_prefixes_keep_what_is_in_use() {
    let mut ipam = Ipam::new(&cidrs(&["10.0.0.0/24"]));
    let old = ipam.allocate(at(0)).unwrap()[0];
    ipam.change_cidrs(&cidrs(&["10.0.0.0/29", "fd00::/64"]));
    let new = ipam.allocate(at(0)).unwrap();
    assert_eq!(new, [ip("10.0.0.3"), ip("fd00::2")]);
    assert!(ipam.in_use().any(|address| address == old));
    ipam.change_cidrs(&[]);
    assert_eq!(ipam.in_use().count(), 3);
}

#[test]
fn a_restart_keeps_addresses_and_rests() {
    let mut ipam = Ipam::new(&cidrs(&["10.0.0.0/29"]));
    ipam.reserve(ip("10.0.0.2"));
    ipam.restore_cooling([(ip("10.0.0.2"), at(0)), (ip("10.0.0.3"), at(0))].into());
    assert_eq!(ipam.allocate(at(1)), Ok(vec![ip("10.0.0.4")]));
    assert_eq!(ipam.cooling(at(1)).len(), 1);
    assert!(ipam.cooling(at(61)).is_empty());
}

#[test]
fn the_widest_prefixes_work() {
    let mut ipam = Ipam::new(&cidrs(&["0.0.0.0/0", "::/0"]));
    assert_eq!(ipam.allocate(at(0)), Ok(vec![ip("0.0.0.2"), ip("::2")]));
}

/// The same allocator written down naively: lists, and a search over every address of the prefix.
struct Naive {
    prefixes: Vec<Vec<IpAddr>>,
    last: Vec<Option<usize>>,
    used: Vec<IpAddr>,
    resting: Vec<(IpAddr, SystemTime)>,
}

impl Naive {
    fn new(cidrs: &[Cidr]) -> Self {
        let prefixes: Vec<Vec<IpAddr>> = cidrs
            .iter()
            .map(|cidr| {
                let all: Vec<IpAddr> = match cidr.net() {
                    ipnet::IpNet::V4(net) => {
                        let first = u32::from(net.network());
                        let last = u32::from(net.broadcast());
                        (first..=last).map(|bits| Ipv4Addr::from(bits).into()).collect()
                    }
                    ipnet::IpNet::V6(net) => net.hosts().map(IpAddr::from).collect(),
                };
                all[2..all.len() - 1].to_vec()
            })
            .collect();
        Self {
            last: vec![None; prefixes.len()],
            prefixes,
            used: vec![],
            resting: vec![],
        }
    }

    fn allocate(&mut self, now: SystemTime) -> Option<Vec<IpAddr>> {
        self.resting.retain(|(_, since)| now < *since + COOL_DOWN);
        let mut picks = Vec::new();
        for (prefix, last) in self.prefixes.iter().zip(&self.last) {
            let from = last.map_or(0, |last| last + 1);
            let order = (from..prefix.len()).chain(0..from.min(prefix.len()));
            let free = |index: &usize| {
                let address = prefix[*index];
                !self.used.contains(&address) && self.resting.iter().all(|(a, _)| *a != address)
            };
            picks.push(order.into_iter().find(free)?);
        }
        let addresses = picks
            .iter()
            .zip(&self.prefixes)
            .map(|(index, prefix)| prefix[*index])
            .collect::<Vec<_>>();
        self.last = picks.into_iter().map(Some).collect();
        self.used.extend(&addresses);
        Some(addresses)
    }

    fn release(&mut self, address: IpAddr, now: SystemTime) {
        if self.used.contains(&address) {
            self.used.retain(|each| *each != address);
            self.resting.push((address, now));
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Allocate,
    /// Releases the n-th of the attachments that there are.
    Release(usize),
    /// Releases an address that may never have been given out.
    ReleaseStranger(u8),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Allocate),
        3 => any::<usize>().prop_map(Act::Release),
        1 => any::<u8>().prop_map(Act::ReleaseStranger),
        2 => (0..50_u64).prop_map(Act::Wait),
    ]
}

proptest! {
    #[test]
    fn behaves_as_the_naive_model(
        v4_len in 27_u8..=30,
        v6_len in prop::option::of(123_u8..=126),
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut texts = vec![format!("10.1.0.64/{v4_len}")];
        texts.extend(v6_len.map(|len| format!("fd00::40/{len}")));
        let cidrs: Vec<Cidr> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let mut ipam = Ipam::new(&cidrs);
        let mut model = Naive::new(&cidrs);
        let mut pods: Vec<Vec<IpAddr>> = Vec::new();
        let mut now = at(0);
        for act in acts {
            match act {
                Act::Allocate => {
                    prop_assert_eq!(ipam.available(now).is_ok(), ipam.clone().allocate(now).is_ok());
                    let got = ipam.allocate(now).ok();
                    prop_assert_eq!(&got, &model.allocate(now));
                    if let Some(addresses) = got {
                        for address in &addresses {
                            prop_assert!(pods.iter().flatten().all(|each| each != address));
                        }
                        pods.push(addresses);
                    }
                }
                Act::Release(index) if !pods.is_empty() => {
                    for address in pods.remove(index % pods.len()) {
                        ipam.release(address, now);
                        model.release(address, now);
                    }
                }
                Act::Release(_) => {}
                Act::ReleaseStranger(last) => {
                    let address = IpAddr::from([10, 1, 0, last]);
                    if pods.iter().flatten().all(|each| *each != address) {
                        ipam.release(address, now);
                    }
                }
                Act::Wait(seconds) => now += Duration::from_secs(seconds),
            }
        }
    }
}
