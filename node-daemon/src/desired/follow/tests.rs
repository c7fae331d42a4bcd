//! Following gives what computing everything gives.

use crds::Backend;
use crds::service_slice::{Frontend, FrontendKind, ServicePort, TrafficPolicy};
use crds::vpp_config::PodBinding;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::desired::tests::{World, backend, cidr};
use crate::plan::{plan, plan_keys};

/// One slice of one of a few Services, which get into each other's way in every way there is.
#[derive(Clone, Debug)]
struct Change {
    service: u8,
    slice: Option<VppServiceSliceSpec>,
}

fn address(text: String) -> IpAddr {
    text.parse().unwrap()
}

/// `contested`: whether Services may claim the same things.
fn change(contested: bool) -> impl Strategy<Value = Change> {
    (0..4_u8).prop_flat_map(move |service| {
        let own = service + 10;
        let shared = if contested {
            vec![own, own, own, 9]
        } else {
            vec![own]
        };
        let frontend = move |kind, network: &'static str| {
            subsequence(shared.clone(), 0..=1).prop_map(move |hosts| -> Vec<Frontend> {
                let one = |host| Frontend {
                    kind,
                    address: address(format!("{network}{host}")),
                };
                hosts.into_iter().map(one).collect()
            })
        };
        let frontends = (
            frontend(FrontendKind::ClusterIp, "10.96.0."),
            frontend(FrontendKind::ClusterIp, "fd00:96::"),
            frontend(FrontendKind::LoadBalancer, "203.0.113."),
            // The last is a node's: see World.
            frontend(FrontendKind::ExternalIp, "192.168.0."),
        );
        let ports = if contested {
            vec![30_000, 30_000 + u16::from(own)]
        } else {
            vec![30_000 + u16::from(own)]
        };
        let port = (
            select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]),
            option::of(select(ports)),
        );
        let policy = || select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local]);
        let ranges = option::of(subsequence(
            vec!["10.1.0.0/16", "10.1.1.0/28", "198.51.100.0/24"],
            0..=2,
        ));
        let endpoint = (0..6_u8, any::<bool>(), any::<[bool; 3]>(), any::<bool>());
        let rest = (
            policy(),
            policy(),
            ranges,
            option::of(Just(32_000)),
            option::of(Just(60)),
            any::<u8>(),
        );
        let slice = (frontends, port, vec(endpoint, 0..4), rest);
        option::weighted(0.85, slice).prop_map(move |slice| Change {
            service,
            slice: slice.map(
                |((four, six, balancer, external), (protocol, node_port), endpoints, rest)| {
                    let (internal, outside, ranges, check, affinity, missing) = rest;
                    VppServiceSliceSpec {
                        service: format!("s{service}"),
                        service_uid: "u".into(),
                        // Now and then a slice is on its way.
                        slices: if missing < 10 { vec![2] } else { vec![] },
                        ports: vec![ServicePort {
                            name: String::new(),
                            protocol,
                            port: 80,
                            node_port,
                        }],
                        frontends: [four, six, balancer, external].concat(),
                        affinity_seconds: affinity,
                        internal_traffic_policy: internal,
                        external_traffic_policy: outside,
                        health_check_node_port: check
                            .map(|port: u16| if contested { port } else { port + u16::from(own) }),
                        load_balancer_source_ranges: ranges
                            .map(|ranges| ranges.into_iter().map(cidr).collect()),
                        backends: endpoints
                            .into_iter()
                            .map(|(host, ipv6, [ready, serving, terminating], here)| Backend {
                                node: Some(if here { "a" } else { "b" }.into()),
                                ready,
                                serving,
                                terminating,
                                ..backend(
                                    &if ipv6 {
                                        format!("fd00:1:1::{host}")
                                    } else {
                                        format!("10.1.1.{host}")
                                    },
                                    &[8080],
                                )
                            })
                            .collect(),
                        ..VppServiceSliceSpec::default()
                    }
                },
            ),
        })
    })
}

fn sorted(mut desired: Desired) -> Desired {
    desired
        .pending
        .sort_by(|a, b| (a.area, &a.reason).cmp(&(b.area, &b.reason)));
    desired
}

/// Lets the changes happen, some at a time; returns how many of the rounds were followed.
fn check(rounds: Vec<Vec<Change>>, cnat_v1: bool) -> Result<usize, TestCaseError> {
    let mut world = World::new();
    world.local.cnat_v1 = cnat_v1;
    // Pods that the Services' endpoints may be: one isolated, one not.
    let ingress = world.isolated(vec![]);
    let isolated = PodBinding {
        ingress,
        ..PodBinding::default()
    };
    world.pod("isolated", 1, isolated);
    world.pod("open", 2, PodBinding::default());
    let mut desired = world.desired();
    let mut index = ServiceIndex::new(&world.inputs());
    let mut followed = 0;
    for round in rounds {
        let mut moved = Moved::new();
        for Change { service, slice } in round {
            let key = format!("default/s{service}-0");
            let services = &mut world.cluster.services;
            let old = match slice {
                Some(slice) => services.insert(key.clone(), slice.into()),
                None => services.remove(&key),
            };
            moved.entry(key).or_insert(old);
        }
        let (before, all) = (desired.clone(), sorted(world.desired()));
        match index.follow(&world.inputs(), &moved, &mut desired) {
            Some(found) => {
                followed += 1;
                desired = sorted(desired);
                prop_assert_eq!(&desired, &all);
                let (old, new) = (&before.objects, &all.objects);
                let differ: BTreeSet<Key> = old
                    .keys()
                    .chain(new.keys())
                    .filter(|key| old.get(key) != new.get(key))
                    .cloned()
                    .collect();
                prop_assert_eq!(&found.keys, &differ);
                prop_assert_eq!(found.host, before.host != all.host);
                prop_assert_eq!(plan_keys(new, old, &differ), plan(new, old, &BTreeSet::new()));
            }
            None => {
                prop_assert_eq!(&desired, &before, "left as it was");
                desired = all;
                index = ServiceIndex::new(&world.inputs());
            }
        }
    }
    Ok(followed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn following_contested_services_equals_computing_everything(
        rounds in vec(vec(change(true), 1..3), 1..12), cnat_v1 in any::<bool>()
    ) {
        check(rounds, cnat_v1)?;
    }

    #[test]
    fn following_services_apart_equals_computing_everything(
        rounds in vec(vec(change(false), 1..3), 1..12), cnat_v1 in any::<bool>()
    ) {
        check(rounds, cnat_v1)?;
    }
}

/// What a rolling update does all day is followed, and touches nothing else.
#[test]
fn a_changed_endpoint_is_followed_and_moves_its_own_translations_only() {
    let mut world = World::new();
    let service = |name: u8, host: u8| VppServiceSliceSpec {
        service: format!("s{name}"),
        service_uid: "u".into(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30_000 + u16::from(name)),
        }],
        frontends: vec![Frontend {
            kind: FrontendKind::ClusterIp,
            address: address(format!("10.96.0.{name}")),
        }],
        backends: vec![backend(&format!("10.1.2.{host}"), &[8080])],
        ..VppServiceSliceSpec::default()
    };
    for name in 1..100 {
        world
            .cluster
            .services
            .insert(format!("default/s{name}-0"), service(name, name).into());
    }
    let mut desired = world.desired();
    let mut index = ServiceIndex::new(&world.inputs());
    let key = "default/s7-0".to_owned();
    let old = world.cluster.services.insert(key.clone(), service(7, 200).into());
    let followed = index
        .follow(&world.inputs(), &[(key.clone(), old)].into(), &mut desired)
        .unwrap();
    let mut keys: Vec<String> = followed.keys.iter().map(Key::to_string).collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "translation 10.96.0.7:80/TCP",
            "translation 169.254.0.2:30007/TCP",
            "translation 192.168.0.1:30007/TCP"
        ]
    );
    assert!(!followed.host);
    // The last endpoint goes: now the address refuses, and the kernel must know.
    let gone = VppServiceSliceSpec {
        backends: vec![],
        ..service(7, 200)
    };
    let old = world.cluster.services.insert(key.clone(), gone.into());
    let followed = index
        .follow(&world.inputs(), &[(key, old)].into(), &mut desired)
        .unwrap();
    assert!(followed.host && followed.keys.contains(&Key::Route(cidr("10.96.0.7/32"))));
    assert_eq!(desired, world.desired());
}
