use crds::net::Protocol;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(60);

fn vip(address: &str) -> Vip {
    Vip {
        address: address.parse().unwrap(),
        port: 80,
        protocol: Protocol::Tcp,
    }
}

/// A port by two addresses, and another port.
fn wanted() -> BTreeMap<Vip, Affinity> {
    let affinity = |port: &str| Affinity {
        port: port.into(),
        timeout: TIMEOUT,
    };
    BTreeMap::from([
        (vip("10.96.0.1"), affinity("default/web:80/TCP")),
        (vip("192.0.2.1"), affinity("default/web:80/TCP")),
        (vip("10.96.0.2"), affinity("default/other:80/TCP")),
    ])
}

struct Clock {
    stays: Affinities,
    start: Instant,
    flows: BTreeMap<Vip, u64>,
}

impl Clock {
    fn new() -> Self {
        Self {
            stays: Affinities::new("/nowhere/stats.sock".into()),
            start: Instant::now(),
            flows: BTreeMap::new(),
        }
    }

    fn look(&mut self, seconds: u64) -> Vec<String> {
        let flows = |vip: &Vip| self.flows.get(vip).copied().unwrap_or(0);
        let now = self.start + Duration::from_secs(seconds);
        let ended = self.stays.look(&wanted(), flows, now);
        ended.iter().map(|port| port.to_string()).collect()
    }
}

/// Kubernetes' API reference, ClientIPConfig: "timeoutSeconds specifies the seconds of ClientIP type session sticky time".
#[test]
fn row_11_a_stay_ends_after_the_last_use_of_any_of_the_ports_addresses() {
    let mut clock = Clock::new();
    clock.flows.insert(vip("10.96.0.2"), 3);
    assert!(clock.look(0).is_empty(), "when they came is not known");
    assert!(clock.look(59).is_empty());
    clock.flows.insert(vip("192.0.2.1"), 1);
    assert_eq!(
        clock.look(60),
        ["default/other:80/TCP"],
        "the other port had nobody for as long"
    );
    assert_eq!(
        clock.look(119),
        ["default/other:80/TCP"],
        "nobody has spread them yet"
    );
    assert_eq!(clock.look(120), ["default/other:80/TCP", "default/web:80/TCP"]);
}

#[test]
fn row_11_clients_are_spread_anew_once_until_somebody_comes() {
    let mut clock = Clock::new();
    clock.flows.insert(vip("10.96.0.1"), 7);
    clock.look(0);
    let web: Arc<str> = "default/web:80/TCP".into();
    assert!(clock.look(60).contains(&web.to_string()));
    let first = clock.stays.next_spread(&web);
    clock.stays.spread(&web, first);
    clock.flows.clear();
    assert!(!clock.look(600).contains(&web.to_string()), "nobody came");
    clock.flows.insert(vip("10.96.0.1"), 1);
    assert!(!clock.look(700).contains(&web.to_string()), "somebody just came");
    assert!(clock.look(760).contains(&web.to_string()));
    assert_ne!(clock.stays.next_spread(&web), first, "elsewhere again");
    // Somebody is still connected.
    clock.stays.postpone(&web, clock.start + Duration::from_secs(770));
    assert!(!clock.look(765).contains(&web.to_string()));
    assert!(clock.look(770).contains(&web.to_string()));
}

#[test]
fn a_missing_socket_says_what_to_do() {
    let mut stays = Affinities::new("/nowhere/stats.sock".into());
    stays.fault = read(&stays.socket, None).map(|_| ()).err();
    let fault = stays.fault().unwrap();
    assert!(fault.contains("/nowhere/stats.sock: No such file"), "{fault}");
    assert!(fault.contains("--vpp-stats-socket"), "{fault}");
}
