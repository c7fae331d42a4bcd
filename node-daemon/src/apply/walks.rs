//! Packets walked through what the daemon made of the configuration: what a policy, a Service, a chain *means*.

use std::net::IpAddr;

use crds::SetRef;
use crds::net::{PortMatch, Protocol};
use crds::policy::{PolicyAction, PolicyRule};
use crds::vpp_config::{ChainDirection, PodBinding, SteerPoint, SteerTarget};
use vpp_sim::engine::{Fate, Trace};

use super::packets::{ICMP, SCTP, TCP, UDP, frame};
use super::tests::{Sim, sim};
use super::*;
use crate::desired::tests::{World, backend, chain_world};
use crate::objects::Link;

/// A world in the embedded dataplane.
struct Made {
    sim: Sim,
    state: State,
    world: World,
    engine: vpp_sim::engine::Vpp,
    now: u64,
}

async fn make(world: World) -> Made {
    let sim = sim().await;
    let mut state = State::default();
    let desired = world.desired();
    let report = sim.apply(&mut state, &desired.objects).await;
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    let engine = sim.handle.engine();
    Made {
        sim,
        state,
        world,
        engine,
        now: 1,
    }
}

impl Made {
    fn link(&self, pod: &str) -> Link {
        Link::Pod(
            self.world
                .attachments
                .of_pod(&format!("uid-{pod}"))
                .next()
                .unwrap()
                .id(),
        )
    }

    fn index(&self, link: &Link) -> u32 {
        self.state.handles.links[link]
    }

    fn address(&self, pod: &str, ipv6: bool) -> IpAddr {
        let attachment = self
            .world
            .attachments
            .of_pod(&format!("uid-{pod}"))
            .next()
            .unwrap();
        *attachment.addresses.iter().find(|a| a.is_ipv6() == ipv6).unwrap()
    }

    /// A packet from a pod's `eth0`.
    fn send(&mut self, pod: &str, to: IpAddr, protocol: u8, ports: (u16, u16)) -> Trace {
        let attachment = self
            .world
            .attachments
            .of_pod(&format!("uid-{pod}"))
            .next()
            .unwrap();
        let macs = (attachment.pod_mac(), attachment.vpp_mac());
        let from = self.address(pod, to.is_ipv6());
        let index = self.index(&self.link(pod));
        self.walk(index, frame(macs, from, to, protocol, ports))
    }

    fn walk(&mut self, index: u32, frame: Vec<u8>) -> Trace {
        self.now += 1_000_000;
        self.engine.walk(index, &frame, self.now)
    }

    /// Whether a packet from one pod arrives at another.
    fn arrives(&mut self, from: &str, to: &str, ipv6: bool, protocol: u8, ports: (u16, u16)) -> bool {
        let address = self.address(to, ipv6);
        let trace = self.send(from, address, protocol, ports);
        trace.fate
            == Fate::Transmitted {
                sw_if_index: self.index(&self.link(to)),
            }
    }
}

fn tcp(port: u16) -> PortMatch {
    PortMatch {
        protocol: Protocol::Tcp,
        port: Some(port),
        end_port: None,
    }
}

fn from(peers: Vec<SetRef>, ports: Option<Vec<PortMatch>>) -> PolicyRule {
    PolicyRule {
        action: PolicyAction::Accept,
        peers: Some(peers),
        targets: None,
        ports,
    }
}

/// `client` (.7), `other` (.8), and `web` (.9) with the policy given for its ingress.
fn guarded(rules: impl FnOnce(&mut World) -> Vec<PolicyRule>) -> World {
    let mut world = World::new();
    world.pod("client", 7, PodBinding::default());
    world.pod("other", 8, PodBinding::default());
    let rules = rules(&mut world);
    let policy = world.policy("p", rules, vec![]);
    let place = world.isolated(vec![policy]);
    world.pod(
        "web",
        9,
        PodBinding {
            ingress: place,
            ..PodBinding::default()
        },
    );
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn ingress_lets_in_who_is_named_on_the_port_named_and_nobody_else() {
    let world = guarded(|world| {
        let client = world.set("client", &["10.1.1.7/32", "fd00:1:1::7/128"]);
        let range = PortMatch {
            protocol: Protocol::Udp,
            port: Some(1000),
            end_port: Some(2000),
        };
        let sctp = PortMatch {
            protocol: Protocol::Sctp,
            port: Some(80),
            end_port: None,
        };
        vec![from(vec![client], Some(vec![tcp(80), range, sctp]))]
    });
    let mut made = make(world).await;
    for ipv6 in [false, true] {
        for (sender, protocol, port, expected) in [
            ("client", TCP, 80, true),
            ("client", TCP, 81, false),
            ("client", UDP, 80, false),
            ("client", UDP, 999, false),
            ("client", UDP, 1000, true),
            ("client", UDP, 2000, true),
            ("client", UDP, 2001, false),
            // A port of SCTP is none of TCP's, and VPP cannot match it: closed.
            ("client", SCTP, 80, false),
            ("other", TCP, 80, false),
        ] {
            let arrived = made.arrives(sender, "web", ipv6, protocol, (40_000, port));
            assert_eq!(arrived, expected, "{sender} {protocol}/{port} IPv6 {ipv6}");
        }
        // Others are as they were.
        assert!(made.arrives("client", "other", ipv6, TCP, (40_000, 81)));
    }
    assert!(!made.arrives("client", "web", false, ICMP, (8, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_pod_is_answered_and_answers() {
    let world = guarded(|world| {
        let client = world.set("client", &["10.1.1.7/32"]);
        vec![from(vec![client], Some(vec![tcp(80)]))]
    });
    let mut made = make(world).await;
    // What it starts itself is answered.
    assert!(made.arrives("web", "other", false, UDP, (5000, 53)));
    assert!(made.arrives("other", "web", false, UDP, (53, 5000)));
    assert!(
        !made.arrives("other", "web", false, UDP, (53, 5001)),
        "another flow is not"
    );
    // What it is asked it answers.
    assert!(made.arrives("client", "web", false, TCP, (40_000, 80)));
    assert!(made.arrives("web", "client", false, TCP, (80, 40_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_reaches_an_isolated_pod_and_nobody_pretends_to_be_the_node() {
    let mut made = make(guarded(|_| vec![])).await;
    let host = made.index(&Link::Host);
    let node: IpAddr = "192.168.0.1".parse().unwrap();
    let macs = (
        crate::addressing::node_mac("a", "host side").0,
        crate::addressing::node_mac("a", "host").0,
    );
    let web = made.address("web", false);
    let probe = made.walk(host, frame(macs, node, web, TCP, (33_000, 8080)));
    assert_eq!(
        probe.fate,
        Fate::Transmitted {
            sw_if_index: made.index(&made.link("web"))
        }
    );
    let answer = made.send("web", node, TCP, (8080, 33_000));
    assert_eq!(answer.fate, Fate::Transmitted { sw_if_index: host });
    assert!(!made.arrives("client", "web", false, TCP, (40_000, 8080)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_sender_cannot_speak_under_the_nodes_address() {
    let mut world = World::new();
    let place = world.isolated(vec![]);
    world.pod(
        "client",
        7,
        PodBinding {
            egress: place,
            ..PodBinding::default()
        },
    );
    world.pod("other", 8, PodBinding::default());
    let mut made = make(world).await;
    let attachment = made.world.attachments.of_pod("uid-client").next().unwrap();
    let macs = (attachment.pod_mac(), attachment.vpp_mac());
    let (index, other) = (made.index(&made.link("client")), made.address("other", false));
    let node: IpAddr = "192.168.0.1".parse().unwrap();
    let spoofed = made.walk(index, frame(macs, node, other, TCP, (40_000, 80)));
    assert!(matches!(spoofed.fate, Fate::Dropped { .. }), "{spoofed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn egress_lets_out_to_whom_is_named() {
    let mut world = World::new();
    world.pod("other", 8, PodBinding::default());
    world.pod("dns", 10, PodBinding::default());
    let dns = world.set("dns", &["10.1.1.10/32", "fd00:1:1::a/128"]);
    let port = PortMatch {
        protocol: Protocol::Udp,
        port: Some(53),
        end_port: None,
    };
    let policy = world.policy("p", vec![], vec![from(vec![dns], Some(vec![port]))]);
    let place = world.isolated(vec![policy]);
    world.pod(
        "client",
        7,
        PodBinding {
            egress: place,
            ..PodBinding::default()
        },
    );
    let mut made = make(world).await;
    for ipv6 in [false, true] {
        assert!(made.arrives("client", "dns", ipv6, UDP, (5000, 53)));
        assert!(made.arrives("dns", "client", ipv6, UDP, (53, 5000)), "the answer");
        assert!(!made.arrives("client", "dns", ipv6, TCP, (5000, 53)));
        assert!(!made.arrives("client", "other", ipv6, UDP, (5000, 53)));
        // Ingress is not isolated: whoever asks is answered.
        assert!(made.arrives("other", "client", ipv6, TCP, (6000, 80)));
        assert!(made.arrives("client", "other", ipv6, TCP, (80, 6000)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_port_counts_for_the_pods_that_have_it() {
    let mut world = World::new();
    world.pod("client", 7, PodBinding::default());
    let own = world.set("own", &["10.1.1.9/32"]);
    let rule = PolicyRule {
        action: PolicyAction::Accept,
        peers: None,
        targets: Some(vec![own]),
        ports: Some(vec![tcp(8080)]),
    };
    let policy = world.policy("p", vec![rule], vec![]);
    let binding = PodBinding {
        ingress: world.isolated(vec![policy]),
        ..PodBinding::default()
    };
    world.pod("web", 9, binding.clone());
    world.pod("db", 10, binding);
    let mut made = make(world).await;
    assert!(made.arrives("client", "web", false, TCP, (40_000, 8080)));
    assert!(!made.arrives("client", "db", false, TCP, (40_000, 8080)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_leads_to_its_backend_and_the_answer_comes_from_the_service() {
    let mut world = World::new();
    world.pod("client", 7, PodBinding::default());
    world.pod("web", 9, PodBinding::default());
    world.service(
        "10.96.0.10",
        &[(Protocol::Tcp, 80)],
        vec![backend("10.1.1.9", &[8080])],
    );
    let mut made = make(world).await;
    let vip: IpAddr = "10.96.0.10".parse().unwrap();
    let there = made.send("client", vip, TCP, (40_000, 80));
    assert_eq!(
        there.fate,
        Fate::Transmitted {
            sw_if_index: made.index(&made.link("web"))
        }
    );
    let packet = &there.outputs[0].frame[14..];
    assert_eq!(packet[12..16], [10, 1, 1, 7], "the client keeps its address");
    assert_eq!(packet[16..20], [10, 1, 1, 9]);
    assert_eq!(packet[22..24], 8080_u16.to_be_bytes());
    let client = made.address("client", false);
    let back = made.send("web", client, TCP, (8080, 40_000));
    assert_eq!(
        back.fate,
        Fate::Transmitted {
            sw_if_index: made.index(&made.link("client"))
        }
    );
    let packet = &back.outputs[0].frame[14..];
    assert_eq!(packet[12..16], [10, 96, 0, 10]);
    assert_eq!(packet[20..22], 80_u16.to_be_bytes());
}

/// kube-proxy's REJECT, and "should be rejected when no endpoints exist" of Kubernetes' own tests: "connection refused", not
/// "no route to host".
#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_backends_refuses_at_once() {
    for cnat_v1 in [false, true] {
        let mut world = World::new();
        world.local.cnat_v1 = cnat_v1;
        world.pod("client", 7, PodBinding::default());
        world.service("10.96.0.10", &[(Protocol::Tcp, 80)], vec![]);
        let mut made = make(world).await;
        let host = made.index(&Link::Host);
        let vip: IpAddr = "10.96.0.10".parse().unwrap();
        for port in [40_000, 40_001, 40_000] {
            let trace = made.send("client", vip, TCP, (port, 80));
            assert_eq!(trace.fate, Fate::Transmitted { sw_if_index: host }, "{trace}");
            // The kernel resets the connection, and the client sees the Service do so.
            let macs = (
                crate::addressing::node_mac("a", "host side").0,
                crate::addressing::node_mac("a", "host").0,
            );
            let refusing = crate::desired::service::refusing(false);
            let client = made.address("client", false);
            let reset = made.walk(host, frame(macs, refusing, client, TCP, (80, port)));
            let sw_if_index = made.index(&made.link("client"));
            assert_eq!(reset.fate, Fate::Transmitted { sw_if_index }, "{reset}");
            let packet = &reset.outputs[0].frame[14..];
            assert_eq!(packet[12..16], [10, 96, 0, 10]);
            assert_eq!(packet[20..22], 80_u16.to_be_bytes());
        }
    }
}

/// Where no kernel is behind VPP, VPP tells the client.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_kernel_vpp_refuses() {
    let mut world = World::new();
    world.local.host_interface = None;
    world.pod("client", 7, PodBinding::default());
    world.service("10.96.0.10", &[(Protocol::Tcp, 80)], vec![]);
    let mut made = make(world).await;
    let trace = made.send("client", "10.96.0.10".parse().unwrap(), TCP, (40_000, 80));
    assert!(matches!(trace.fate, Fate::Rejected { .. }), "{trace}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_passes_its_function_both_ways_and_leaves_the_rest_alone() {
    let (mut world, ..) = chain_world();
    world.pod("server", 9, PodBinding::default());
    // Replies: from the server's port 80 to the client, through the function's other interface.
    let clients = world.set("clients", &["10.1.1.7/32"]);
    let mut reverse = world.spec.chains[0].clone();
    reverse.direction = ChainDirection::Reverse;
    // The server stands behind the client and the firewall.
    reverse.at = SteerPoint::Pods(vec![2]);
    reverse.to = SteerTarget::Function {
        uid: "uid-firewall".into(),
        interface: "out".into(),
    };
    if let Some(matched) = &mut reverse.match_ {
        matched.destinations = clients;
        matched.source_ports = true;
    }
    world.spec.chains.push(reverse);
    let mut made = make(world).await;
    let firewall = made
        .world
        .attachments
        .of_pod("uid-firewall")
        .next()
        .unwrap()
        .clone();
    let function = |name: &str| Link::Function(firewall.id(), name.to_owned());
    let (client, server) = (made.address("client", false), made.address("server", false));

    let there = made.send("client", server, TCP, (40_000, 80));
    assert_eq!(
        there.fate,
        Fate::Transmitted {
            sw_if_index: made.index(&function("in"))
        }
    );
    assert_eq!(there.outputs[0].frame[..6], firewall.function_pod_mac("in"));
    // The function's kernel sends it out of its other interface.
    let macs = (firewall.function_pod_mac("out"), firewall.function_vpp_mac("out"));
    let onward = made.walk(
        made.index(&function("out")),
        frame(macs, client, server, TCP, (40_000, 80)),
    );
    assert_eq!(
        onward.fate,
        Fate::Transmitted {
            sw_if_index: made.index(&made.link("server"))
        }
    );

    let back = made.send("server", client, TCP, (80, 40_000));
    assert_eq!(
        back.fate,
        Fate::Transmitted {
            sw_if_index: made.index(&function("out"))
        }
    );
    let macs = (firewall.function_pod_mac("in"), firewall.function_vpp_mac("in"));
    let home = made.walk(
        made.index(&function("in")),
        frame(macs, server, client, TCP, (80, 40_000)),
    );
    assert_eq!(
        home.fate,
        Fate::Transmitted {
            sw_if_index: made.index(&made.link("client"))
        }
    );

    assert!(
        made.arrives("client", "server", false, TCP, (40_000, 81)),
        "not in the classifier"
    );
    assert!(
        made.arrives("client", "server", true, TCP, (40_000, 80)),
        "no IPv6 destination is"
    );
    assert_eq!(made.sim.handle.fatal(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_other_nodes_are_behind_the_tunnel() {
    let mut world = World::new();
    world.pod("client", 7, PodBinding::default());
    let mut made = make(world).await;
    for (to, node) in [("10.1.2.9", "vxlan"), ("fd00:1:2::9", "vxlan")] {
        let trace = made.send("client", to.parse().unwrap(), UDP, (5000, 53));
        assert!(trace.path().iter().any(|each| each.contains(node)), "{trace}");
    }
}
