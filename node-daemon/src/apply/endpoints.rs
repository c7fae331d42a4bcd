//! Packets through Services while their endpoints come and go, and to the sender itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crds::Backend;
use crds::net::Protocol;
use crds::service_slice::TrafficPolicy;
use crds::vpp_config::PodBinding;
use vpp_sim::engine::{Fate, Trace};

use super::flows::Net;
use super::packets::{SCTP, TCP, UDP, frame};
use crate::desired::tests::{World, backend};
use crate::objects::Link;

const VIP: &str = "10.96.0.10";

/// A little more than VPP's scanner waits between two looks.
const SCAN: u64 = 1_100_000_000;

/// `client` (.7), and `one` (.8) and `two` (.9) to stand behind [`VIP`]; VPP's sessions are of a backend.
fn world() -> World {
    let mut world = World::new();
    world.local.cnat_v1 = true;
    for (name, number) in [("client", 7), ("one", 8), ("two", 9)] {
        world.pod(name, number, PodBinding::default());
    }
    world
}

fn one() -> Backend {
    backend("10.1.1.8", &[8080])
}

fn two() -> Backend {
    backend("10.1.1.9", &[8080])
}

impl Net {
    fn index_of(&self, pod: &str) -> u32 {
        self.state.handles.links[&Link::Pod(self.pod(pod).id())]
    }

    fn send(&self, pod: &str, to: &str, protocol: u8, ports: (u16, u16)) -> Trace {
        let to: IpAddr = to.parse().unwrap();
        let attachment = self.pod(pod);
        let macs = (attachment.pod_mac(), attachment.vpp_mac());
        let frame = frame(macs, self.address(pod, to.is_ipv6()), to, protocol, ports);
        let index = self.index_of(pod);
        self.sim
            .handle
            .with_engine(|vpp, now| vpp.walk(index, &frame, now))
    }

    /// Who of `one` and `two` gets a packet of the client's; `None` if neither does.
    fn lands(&self, protocol: u8, ports: (u16, u16)) -> Option<&'static str> {
        let trace = self.send("client", VIP, protocol, ports);
        let at = |pod: &&str| {
            trace.fate
                == Fate::Transmitted {
                    sw_if_index: self.index_of(pod),
                }
        };
        ["one", "two"].into_iter().find(|pod| at(pod))
    }

    /// Whether a packet is given to the node's kernel to refuse it, as the client's.
    fn refuses(&self, trace: &Trace, port: u16) -> bool {
        let host = self.state.handles.links[&Link::Host];
        let Some(packet) = trace.outputs.first().map(|out| &out.frame[14..]) else {
            return false;
        };
        trace.fate == Fate::Transmitted { sw_if_index: host }
            && packet[12..16] == [10, 1, 1, 7]
            && packet[16..20] == [169, 254, 0, 8]
            && packet[22..24] == port.to_be_bytes()
    }

    /// VPP's scanner looks at the sessions, the first time, the second time ….
    fn scan(&self, nth: u64) {
        self.sim.handle.with_engine(|vpp, now| vpp.tick(now + nth * SCAN));
    }
}

/// e2e tests of Kubernetes, conntrack.go: "should be able to preserve UDP traffic when server pod cycles"; kube-proxy
/// deletes the flows of the endpoint that is gone and no others.
#[tokio::test(flavor = "multi_thread")]
async fn row_17_datagrams_leave_an_endpoint_that_is_gone_and_no_other() {
    let mut world = world();
    world.service(VIP, &[(Protocol::Udp, 53)], vec![one(), two()]);
    let mut net = Net::new(world).await;
    let before: BTreeMap<u16, &str> = (40_000..40_020)
        .map(|port| (port, net.lands(UDP, (port, 53)).unwrap()))
        .collect();
    assert!(before.values().any(|pod| *pod == "one") && before.values().any(|pod| *pod == "two"));
    let sessions = |net: &Net| net.sim.handle.with_engine(|vpp, _| vpp.cnat_sessions().len());
    let all = sessions(&net);
    net.world.service(VIP, &[(Protocol::Udp, 53)], vec![two()]);
    net.converge().await;
    net.scan(1);
    let gone = before.values().filter(|pod| **pod == "one").count();
    assert_eq!(
        sessions(&net),
        all - 2 * gone,
        "one each way; those to `two` stay"
    );
    for port in before.keys() {
        assert_eq!(net.lands(UDP, (*port, 53)), Some("two"), "{port}");
    }
}

/// conntrack.go: "should be able to preserve UDP traffic when initial unready endpoints get ready".
#[tokio::test(flavor = "multi_thread")]
async fn row_17_datagrams_find_the_first_endpoint() {
    let mut world = world();
    world.service(VIP, &[(Protocol::Udp, 53), (Protocol::Tcp, 80)], vec![]);
    let mut net = Net::new(world).await;
    for (protocol, port) in [(UDP, 53), (TCP, 80)] {
        for _ in 0..3 {
            let trace = net.send("client", VIP, protocol, (40_000, port));
            assert!(net.refuses(&trace, port), "row 9: at once\n{trace}");
        }
    }
    let ports = [(Protocol::Udp, 53), (Protocol::Tcp, 80)];
    net.world
        .service(VIP, &ports, vec![backend("10.1.1.8", &[8080, 8081])]);
    net.converge().await;
    net.scan(1);
    for (protocol, port) in [(UDP, 53), (TCP, 80)] {
        assert_eq!(net.lands(protocol, (40_000, port)), Some("one"));
    }
    // And back again.
    net.world.service(VIP, &ports, vec![]);
    net.converge().await;
    net.scan(2);
    let trace = net.send("client", VIP, UDP, (40_000, 53));
    assert!(net.refuses(&trace, 53), "{trace}");
}

/// Row 8: dropped, not rejected; and found when this node has an endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn rows_8_and_17_datagrams_that_were_dropped_find_the_first_local_endpoint() {
    let at = |node: &str| Backend {
        node: Some(node.into()),
        ..one()
    };
    let mut world = world();
    let local = |world: &mut World, backend: Backend| {
        world.service(VIP, &[(Protocol::Udp, 53)], vec![backend]);
        for slice in world.cluster.services.values_mut() {
            std::sync::Arc::make_mut(slice).internal_traffic_policy = TrafficPolicy::Local;
        }
    };
    local(&mut world, at("b"));
    let mut net = Net::new(world).await;
    let trace = net.send("client", VIP, UDP, (40_000, 53));
    assert!(matches!(trace.fate, Fate::Dropped { .. }), "{trace}");
    local(&mut net.world, at("a"));
    net.converge().await;
    net.scan(1);
    assert_eq!(net.lands(UDP, (40_000, 53)), Some("one"));
}

/// NetworkPolicy: "A Pod cannot block access to itself"; row 15: it reaches itself through its Service.
#[tokio::test(flavor = "multi_thread")]
async fn row_15_a_pod_isolated_both_ways_reaches_itself_by_its_service() {
    for protocol in [TCP, UDP] {
        let mut world = world();
        let closed = world.isolated(vec![]);
        let binding = PodBinding {
            ingress: closed,
            egress: closed,
            ..PodBinding::default()
        };
        world.pod("alone", 10, binding);
        let name = if protocol == TCP {
            Protocol::Tcp
        } else {
            Protocol::Udp
        };
        world.service(VIP, &[(name, 80)], vec![backend("10.1.1.10", &[8080])]);
        let net = Net::new(world).await;
        let itself = Fate::Transmitted {
            sw_if_index: net.index_of("alone"),
        };
        let there = net.send("alone", VIP, protocol, (40_000, 80));
        assert_eq!(there.fate, itself, "{there}");
        let packet = &there.outputs[0].frame[14..];
        assert_eq!(packet[16..20], [10, 1, 1, 10]);
        let source: [u8; 4] = packet[12..16].try_into().unwrap();
        let from_port = u16::from_be_bytes(packet[20..22].try_into().unwrap());
        assert_ne!(source, [10, 1, 1, 10], "a pod drops what comes from itself");
        let source = IpAddr::from(source).to_string();
        let back = net.send("alone", &source, protocol, (8080, from_port));
        assert_eq!(back.fate, itself, "{back}");
        assert_eq!(back.outputs[0].frame[14..][12..16], [10, 96, 0, 10]);
        // Nobody else is let in by that.
        let stranger = net.send("client", VIP, protocol, (40_000, 80));
        assert!(!matches!(stranger.fate, Fate::Transmitted { .. }), "{stranger}");
    }
}

/// Service documentation, "Supported protocols": SCTP; VPP's cnat rewrites it in IPv4 (`cnat_ip4_translate_sctp`).
#[tokio::test(flavor = "multi_thread")]
async fn row_18_sctp_gets_to_a_backend_and_back() {
    let mut world = world();
    world.service(VIP, &[(Protocol::Sctp, 9999)], vec![one(), two()]);
    let net = Net::new(world).await;
    let mut seen = Vec::new();
    for port in 40_000..40_040 {
        let server = net.lands(SCTP, (port, 9999)).unwrap();
        let client = net.address("client", false).to_string();
        let back = net.send(server, &client, SCTP, (8080, port));
        assert_eq!(
            back.fate,
            Fate::Transmitted {
                sw_if_index: net.index_of("client")
            },
            "{back}"
        );
        let packet = &back.outputs[0].frame[14..];
        assert_eq!(packet[12..16], [10, 96, 0, 10]);
        assert_eq!(packet[20..22], 9999_u16.to_be_bytes());
        seen.push(server);
    }
    // TCP of the same number is another port.
    assert_eq!(net.lands(TCP, (40_000, 9999)), None);
}
