//! The rules as the Kubernetes documents have them, read a second time and literally, and held to random backends.

use proptest::prelude::*;

use super::*;

/// A backend as a test varies it.
fn backend(number: u8, node: Option<u8>, state: (bool, bool, bool), zones: &[u8], nodes: &[u8]) -> Backend {
    let (ready, serving, terminating) = state;
    Backend {
        address: IpAddr::from([10, 1, 0, number]),
        ports: vec![8080],
        node: node.map(|n| format!("n{n}")),
        ready,
        serving,
        terminating,
        for_zones: zones.iter().map(|z| format!("z{z}")).collect(),
        for_nodes: nodes.iter().map(|n| format!("n{n}")).collect(),
    }
}

const READY: (bool, bool, bool) = (true, true, false);
const LINGERING: (bool, bool, bool) = (false, true, true);
const GONE: (bool, bool, bool) = (false, false, true);
const UNREADY: (bool, bool, bool) = (false, false, false);

const HERE: Place<'static> = Place {
    node: "n0",
    zone: Some("z0"),
};

fn choose(backends: &[Backend], place: Place<'_>) -> Choice {
    let with_port: Vec<_> = backends.iter().map(|backend| (backend, 8080)).collect();
    Choice::new(&with_port, place)
}

fn last(targets: &[Target]) -> Vec<u8> {
    let octet = |address: &IpAddr| match address {
        IpAddr::V4(a) => a.octets()[3],
        IpAddr::V6(_) => 0,
    };
    targets.iter().map(|(address, _)| octet(address)).collect()
}

/// KEP-1669: "if there are no ready endpoints, terminating endpoints that serve are used"; KEP-2086: for Local "only
/// node-local endpoints" and packets are dropped without any. Each row: backends, cluster set, local set.
#[test]
fn row_12_ready_then_serving_and_terminating_for_cluster_and_local_apart() {
    type Row = (&'static str, Vec<Backend>, Vec<u8>, Vec<u8>);
    let rows: Vec<Row> = vec![
        ("none", vec![], vec![], vec![]),
        (
            "ready here and there",
            vec![
                backend(1, Some(0), READY, &[], &[]),
                backend(2, Some(1), READY, &[], &[]),
            ],
            vec![1, 2],
            vec![1],
        ),
        (
            "ready there, lingering here: each set decides for itself",
            vec![
                backend(1, Some(0), LINGERING, &[], &[]),
                backend(2, Some(1), READY, &[], &[]),
            ],
            vec![2],
            vec![1],
        ),
        (
            "only lingering ones",
            vec![
                backend(1, Some(0), LINGERING, &[], &[]),
                backend(2, Some(1), LINGERING, &[], &[]),
            ],
            vec![1, 2],
            vec![1],
        ),
        (
            "terminating without serving, and never ready",
            vec![
                backend(1, Some(0), GONE, &[], &[]),
                backend(2, Some(0), UNREADY, &[], &[]),
            ],
            vec![],
            vec![],
        ),
        (
            "published though not ready: the slice says ready of a terminating pod (publishNotReadyAddresses)",
            vec![backend(1, Some(0), (true, false, true), &[], &[])],
            vec![1],
            vec![1],
        ),
        (
            "no node is nowhere local (row 24)",
            vec![backend(1, None, READY, &[], &[])],
            vec![1],
            vec![],
        ),
    ];
    for (name, backends, cluster, local) in rows {
        let choice = choose(&backends, HERE);
        assert_eq!(last(&choice.cluster), cluster, "{name}: cluster");
        assert_eq!(last(&choice.local), local, "{name}: local");
    }
}

/// Service documentation, "Traffic policies": internal Local without local endpoints behaves as if the Service had
/// none, packets are dropped; without any endpoint connections are rejected whatever the policy.
#[test]
fn rows_8_and_9_drop_is_not_reject() {
    let elsewhere = choose(&[backend(2, Some(1), READY, &[], &[])], HERE);
    assert_eq!(elsewhere.fate(TrafficPolicy::Local), Fate::Drop);
    assert!(matches!(elsewhere.fate(TrafficPolicy::Cluster), Fate::To(_)));
    let nowhere = choose(&[backend(2, Some(0), UNREADY, &[], &[])], HERE);
    assert_eq!(nowhere.fate(TrafficPolicy::Local), Fate::Reject);
    assert_eq!(nowhere.fate(TrafficPolicy::Cluster), Fate::Reject);
}

/// "Topology Aware Routing", safeguards; KEP-3015: PreferSameNode falls back to zone, then to all.
#[test]
fn row_14_hints_are_followed_by_all_or_not_at_all() {
    let rows: Vec<(&str, Vec<Backend>, Place<'_>, Vec<u8>)> = vec![
        (
            "zone hints",
            vec![
                backend(1, Some(0), READY, &[0], &[]),
                backend(2, Some(1), READY, &[1], &[]),
            ],
            HERE,
            vec![1],
        ),
        (
            "one ready backend without hint",
            vec![
                backend(1, Some(0), READY, &[0], &[]),
                backend(2, Some(1), READY, &[], &[]),
            ],
            HERE,
            vec![1, 2],
        ),
        (
            "a backend that is not ready needs no hint",
            vec![
                backend(1, Some(0), READY, &[0], &[]),
                backend(2, Some(1), UNREADY, &[], &[]),
                backend(3, Some(1), READY, &[1], &[]),
            ],
            HERE,
            vec![1],
        ),
        (
            "no hint for the zone",
            vec![
                backend(1, Some(0), READY, &[1], &[]),
                backend(2, Some(1), READY, &[2], &[]),
            ],
            HERE,
            vec![1, 2],
        ),
        (
            "the node has no zone",
            vec![
                backend(1, Some(0), READY, &[0], &[]),
                backend(2, Some(1), READY, &[1], &[]),
            ],
            Place {
                node: "n0",
                zone: None,
            },
            vec![1, 2],
        ),
        (
            "node hints come before zone hints",
            vec![
                backend(1, Some(0), READY, &[0], &[0]),
                backend(2, Some(1), READY, &[0], &[1]),
            ],
            HERE,
            vec![1],
        ),
        (
            "node hints for others only: the zone decides",
            vec![
                backend(1, Some(1), READY, &[0], &[1]),
                backend(2, Some(2), READY, &[1], &[2]),
            ],
            HERE,
            vec![1],
        ),
        (
            "hints do not hold for lingering backends",
            vec![
                backend(1, Some(0), LINGERING, &[0], &[]),
                backend(2, Some(1), LINGERING, &[1], &[]),
            ],
            HERE,
            vec![1, 2],
        ),
    ];
    for (name, backends, place, expected) in rows {
        assert_eq!(last(&choose(&backends, place).cluster), expected, "{name}");
    }
}

/// The documents again, step by step and without cleverness.
fn literal(backends: &[Backend], place: Place<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut ready = Vec::new();
    let mut lingering = Vec::new();
    for backend in backends {
        if backend.ready {
            ready.push(backend);
        } else if backend.serving && backend.terminating {
            lingering.push(backend);
        }
    }
    let mut cluster = ready.clone();
    let mut every_node_hint = !ready.is_empty();
    let mut every_zone_hint = !ready.is_empty();
    let (mut for_node, mut for_zone) = (Vec::new(), Vec::new());
    for backend in &ready {
        every_node_hint &= !backend.for_nodes.is_empty();
        every_zone_hint &= !backend.for_zones.is_empty();
        if backend.for_nodes.contains(&place.node.to_owned()) {
            for_node.push(*backend);
        }
        if place
            .zone
            .is_some_and(|zone| backend.for_zones.contains(&zone.to_owned()))
        {
            for_zone.push(*backend);
        }
    }
    if every_node_hint && !for_node.is_empty() {
        cluster = for_node;
    } else if every_zone_hint && !for_zone.is_empty() {
        cluster = for_zone;
    }
    if ready.is_empty() {
        cluster.clone_from(&lingering);
    }
    let here = |backend: &&&Backend| backend.node == Some(place.node.to_owned());
    let mut local: Vec<&Backend> = ready.iter().filter(here).copied().collect();
    if local.is_empty() {
        local = lingering.iter().filter(here).copied().collect();
    }
    let numbers = |backends: Vec<&Backend>| {
        let mut targets: Vec<Target> = backends.iter().map(|b| (b.address, 8080)).collect();
        targets.sort_unstable();
        last(&targets)
    };
    (numbers(cluster), numbers(local))
}

fn backends() -> impl Strategy<Value = Vec<Backend>> {
    let hints = || prop_oneof![2 => Just(vec![]), 3 => proptest::collection::vec(0..3_u8, 1..3)];
    let one = (
        proptest::option::weighted(0.9, 0..3_u8),
        prop_oneof![3 => Just(READY), 1 => any::<(bool, bool, bool)>()],
        hints(),
        hints(),
    );
    proptest::collection::vec(one, 0..6).prop_map(|all| {
        let numbered = (1..).zip(all);
        numbered
            .map(|(n, (node, state, zones, nodes))| backend(n, node, state, &zones, &nodes))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn choices_are_those_of_the_documents(all in backends(), node in 0..3_u8, zone in proptest::option::of(0..3_u8)) {
        let (node, zone) = (format!("n{node}"), zone.map(|zone| format!("z{zone}")));
        let place = Place { node: &node, zone: zone.as_deref() };
        let choice = choose(&all, place);
        prop_assert_eq!((last(&choice.cluster), last(&choice.local)), literal(&all, place));
        // A client under policy Local gets a backend wherever there is one, and Cluster clients whenever there is one.
        prop_assert!(choice.local.is_empty() || !choice.cluster.is_empty());
    }
}
