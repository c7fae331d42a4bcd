//! Live connections while policies change: what is no longer allowed is cut with the next packet of the direction that
//! is denied, everything else goes on without losing one.

use std::net::IpAddr;

use crds::SetRef;
use crds::net::{PortMatch, Protocol};
use crds::policy::{PolicyAction, PolicyRule};
use crds::vpp_config::PodBinding;
use vpp_sim::engine::Fate;

use super::packets::{ACK, ICMP, ICMP6, PUSH, SYN, TCP, UDP, segment};
use super::tests::{Sim, sim};
use super::*;
use crate::attachments::Attachment;
use crate::desired::ListedPods;
use crate::desired::tests::World;
use crate::objects::{Action, Link, Object};

/// A node whose dataplane goes on while its configuration changes.
pub(super) struct Net {
    pub sim: Sim,
    pub state: State,
    pub world: World,
}

impl Net {
    pub async fn new(world: World) -> Self {
        let mut net = Self {
            sim: sim().await,
            state: State::default(),
            world,
        };
        net.converge().await;
        net
    }

    /// Brings VPP to what the world says now.
    pub async fn converge(&mut self) {
        let report = self
            .sim
            .apply(&mut self.state, &self.world.desired().objects)
            .await;
        assert!(report.failed.is_empty(), "{:#?}", report.failed);
    }

    /// VPP ends and comes back with nothing.
    async fn restart_vpp(&mut self) {
        self.sim = sim().await;
        self.state = State::default();
        self.converge().await;
    }

    pub fn pod(&self, name: &str) -> &Attachment {
        let uid = format!("uid-{name}");
        self.world.attachments.of_pod(&uid).next().unwrap()
    }

    fn index(&self, pod: &str) -> u32 {
        self.state.handles.links[&Link::Pod(self.pod(pod).id())]
    }

    pub fn address(&self, pod: &str, ipv6: bool) -> IpAddr {
        let addresses = &self.pod(pod).addresses;
        *addresses.iter().find(|a| a.is_ipv6() == ipv6).unwrap()
    }

    /// Where packets between two pods enter, a frame, and where they must come out.
    pub fn probe(&self, from: &str, to: &str, packet: Packet) -> (u32, Vec<u8>, u32) {
        let sender = self.pod(from);
        let frame = segment(
            (sender.pod_mac(), sender.vpp_mac()),
            self.address(from, packet.ipv6),
            self.address(to, packet.ipv6),
            packet.protocol,
            packet.ports,
            packet.flags,
        );
        (self.index(from), frame, self.index(to))
    }

    /// Whether a packet from one pod arrives at another.
    fn arrives(&self, from: &str, to: &str, packet: Packet) -> bool {
        let (enter, frame, leave) = self.probe(from, to, packet);
        let trace = self
            .sim
            .handle
            .with_engine(|vpp, now| vpp.walk(enter, &frame, now));
        trace.fate == Fate::Transmitted { sw_if_index: leave }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Packet {
    pub ipv6: bool,
    pub protocol: u8,
    pub ports: (u16, u16),
    pub flags: u8,
}

/// A connection between two pods.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub client: &'static str,
    pub server: &'static str,
    pub protocol: u8,
    pub ports: (u16, u16),
    pub ipv6: bool,
}

impl Flow {
    pub fn tcp(client: &'static str, server: &'static str, port: u16) -> Self {
        Self {
            client,
            server,
            protocol: TCP,
            ports: (45_000, port),
            ipv6: false,
        }
    }

    fn udp(client: &'static str, server: &'static str, port: u16) -> Self {
        Self {
            protocol: UDP,
            ..Self::tcp(client, server, port)
        }
    }

    pub fn packet(&self, upwards: bool, flags: u8) -> Packet {
        let (client, server) = self.ports;
        Packet {
            ipv6: self.ipv6,
            protocol: self.protocol,
            ports: if upwards {
                (client, server)
            } else {
                (server, client)
            },
            flags,
        }
    }

    pub fn opens(&self, net: &Net) -> bool {
        net.arrives(self.client, self.server, self.packet(true, SYN))
            && net.arrives(self.server, self.client, self.packet(false, SYN | ACK))
            && net.arrives(self.client, self.server, self.packet(true, ACK))
    }

    /// The client sends.
    pub fn up(&self, net: &Net) -> bool {
        net.arrives(self.client, self.server, self.packet(true, PUSH | ACK))
    }

    /// The server sends.
    fn down(&self, net: &Net) -> bool {
        net.arrives(self.server, self.client, self.packet(false, PUSH | ACK))
    }

    /// The client sends again and again; the server answers what arrives. Whether an answer ever comes.
    pub fn uploads(&self, net: &Net) -> bool {
        (0..5).any(|_| self.up(net) && self.down(net))
    }

    /// The server sends again and again; the client acknowledges what arrives. Whether an acknowledgement ever comes.
    pub fn downloads(&self, net: &Net) -> bool {
        (0..5).any(|_| self.down(net) && self.up(net))
    }

    /// Nothing is lost, whoever begins.
    pub fn flows(&self, net: &Net, server_first: bool) -> bool {
        (0..3).all(|_| {
            if server_first {
                self.down(net) && self.down(net) && self.up(net)
            } else {
                self.up(net) && self.up(net) && self.down(net)
            }
        })
    }
}

fn rule(peers: &SetRef, ports: &[(Protocol, u16)]) -> PolicyRule {
    let port = |&(protocol, port)| PortMatch {
        protocol,
        port: Some(port),
        end_port: None,
    };
    PolicyRule {
        action: PolicyAction::Accept,
        peers: Some(vec![peers.clone()]),
        targets: None,
        ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
    }
}

const CLIENT: [&str; 2] = ["10.1.1.7/32", "fd00:1:1::7/128"];
const OTHER: [&str; 2] = ["10.1.1.8/32", "fd00:1:1::8/128"];

fn bind(world: &mut World, pod: &str, change: impl FnOnce(&mut PodBinding)) {
    change(
        world
            .spec
            .pods
            .iter_mut()
            .find(|binding| binding.name == pod)
            .unwrap(),
    );
}

/// `client` (.7), `other` (.8) and `web` (.9).
fn trio() -> World {
    let mut world = World::new();
    for (name, number) in [("client", 7), ("other", 8), ("web", 9)] {
        world.pod(name, number, PodBinding::default());
    }
    world.set("both", &[CLIENT, OTHER].concat());
    world.set("other", &OTHER);
    world
}

fn set(name: &str) -> SetRef {
    SetRef {
        namespace: "default".into(),
        name: name.into(),
    }
}

/// One of `web`'s directions as a policy of its own.
fn guard(world: &mut World, name: &str, peers: &str, ports: &[(Protocol, u16)]) -> Option<u16> {
    let rules = vec![rule(&set(peers), ports)];
    let policy = world.policy(name, rules.clone(), rules);
    world.isolated(vec![policy])
}

type Change = (&'static str, fn(&mut World, &[(Protocol, u16)]));

/// Ways in which `client` loses what `other` keeps. Each begins with `web` bound to `p`, but for the last.
const CHANGES: [Change; 4] = [
    ("the policy is edited", |world, ports| {
        guard(world, "p", "other", ports);
    }),
    ("the peer leaves the set", |world, _| {
        world.set("both", &OTHER);
    }),
    ("the pod comes under another policy", |world, ports| {
        let q = guard(world, "q", "other", ports);
        bind(world, "web", |web| {
            for direction in [&mut web.ingress, &mut web.egress] {
                if direction.is_some() {
                    *direction = q;
                }
            }
        });
    }),
    ("the pod's first policy comes", |world, ports| {
        let p = guard(world, "p", "other", ports);
        bind(world, "web", |web| web.ingress = p);
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_cut_for_whom_the_server_may_not_serve_any_more() {
    for ports in [&[(Protocol::Tcp, 80)][..], &[]] {
        for (what, change) in CHANGES {
            for ipv6 in [false, true] {
                for server_first in [false, true] {
                    let mut world = trio();
                    if !what.contains("first") {
                        let p = guard(&mut world, "p", "both", ports);
                        bind(&mut world, "web", |web| web.ingress = p);
                    }
                    let with = |flow: Flow| Flow { ipv6, ..flow };
                    let cut = with(Flow::tcp("client", "web", 80));
                    // Another client, and connections of the pod's own, to the same peer too.
                    let kept = [
                        Flow::tcp("other", "web", 80),
                        Flow::tcp("web", "client", 443),
                        Flow::tcp("web", "other", 8080),
                        Flow::tcp("client", "other", 80),
                        Flow::udp("web", "client", 53),
                    ]
                    .map(with);
                    let mut net = Net::new(world).await;
                    assert!(cut.opens(&net) && cut.flows(&net, server_first));
                    assert!(kept.iter().all(|flow| flow.opens(&net)));
                    change(&mut net.world, ports);
                    net.converge().await;
                    for flow in &kept {
                        assert!(flow.flows(&net, server_first), "{what}: {flow:?} lost something");
                    }
                    let alive = if server_first {
                        cut.downloads(&net)
                    } else {
                        cut.uploads(&net)
                    };
                    assert!(!alive, "{what}: {cut:?} lives on, server first: {server_first}");
                    assert!(!cut.downloads(&net) && !cut.uploads(&net));
                    for flow in &kept {
                        assert!(flow.flows(&net, server_first), "{what}: {flow:?} lost something");
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_cut_to_whom_the_client_may_not_speak_any_more() {
    for ports in [&[(Protocol::Tcp, 80)][..], &[]] {
        for (what, change) in &CHANGES[..3] {
            for server_first in [false, true] {
                let mut world = trio();
                let p = guard(&mut world, "p", "both", ports);
                bind(&mut world, "web", |web| web.egress = p);
                let cut = Flow::tcp("web", "client", 80);
                let kept = [
                    Flow::tcp("web", "other", 80),
                    Flow::tcp("client", "web", 8080),
                    Flow::tcp("other", "web", 80),
                ];
                let mut net = Net::new(world).await;
                assert!(cut.opens(&net) && kept.iter().all(|flow| flow.opens(&net)));
                change(&mut net.world, ports);
                net.converge().await;
                let alive = if server_first {
                    cut.downloads(&net)
                } else {
                    cut.uploads(&net)
                };
                assert!(!alive, "{what}: {cut:?} lives on, server first: {server_first}");
                for flow in &kept {
                    assert!(flow.flows(&net, server_first), "{what}: {flow:?} lost something");
                }
            }
        }
    }
}

/// The pod may still open connections to the peer whose connections it may not take any more, and the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_pod_isolated_both_ways_keeps_what_either_direction_allows() {
    for server_first in [false, true] {
        let mut world = trio();
        let inwards = guard(&mut world, "in", "both", &[(Protocol::Tcp, 80)]);
        let outwards = guard(&mut world, "out", "other", &[]);
        bind(&mut world, "web", |web| {
            web.ingress = inwards;
            web.egress = outwards;
        });
        let cut = Flow::tcp("other", "web", 80);
        let kept = [Flow::tcp("client", "web", 80), Flow::tcp("web", "other", 443)];
        let mut net = Net::new(world).await;
        assert!(cut.opens(&net) && kept.iter().all(|flow| flow.opens(&net)));
        net.world.set("both", &CLIENT);
        net.converge().await;
        let alive = if server_first {
            cut.downloads(&net)
        } else {
            cut.uploads(&net)
        };
        assert!(!alive, "server first: {server_first}");
        for flow in &kept {
            assert!(flow.flows(&net, server_first), "{flow:?} lost something");
        }
    }
}

/// Servers on ports that clients take by themselves are told from clients by the policy that names them.
#[tokio::test(flavor = "multi_thread")]
async fn a_named_high_port_keeps_its_connections() {
    let mut world = trio();
    let inwards = guard(&mut world, "in", "both", &[(Protocol::Tcp, 50_051)]);
    let closed = world.isolated(vec![]);
    bind(&mut world, "web", |web| {
        web.ingress = inwards;
        web.egress = closed;
    });
    let mut net = Net::new(world).await;
    let (cut, kept) = (
        Flow::tcp("client", "web", 50_051),
        Flow::tcp("other", "web", 50_051),
    );
    assert!(cut.opens(&net) && kept.opens(&net));
    net.world.set("both", &OTHER);
    net.converge().await;
    assert!(kept.flows(&net, false) && kept.flows(&net, true));
    assert!(!cut.uploads(&net) && !cut.downloads(&net));
}

/// UDP does not show who began: what the server sends after the cut is a flow of its own, and answers to it pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_udp_flow_is_cut_until_its_server_speaks() {
    for (what, change) in CHANGES {
        let ports = [(Protocol::Udp, 53)];
        let mut world = trio();
        if !what.contains("first") {
            let p = guard(&mut world, "p", "both", &ports);
            bind(&mut world, "web", |web| web.ingress = p);
        }
        let mut net = Net::new(world).await;
        let (cut, kept) = (Flow::udp("client", "web", 53), Flow::udp("other", "web", 53));
        assert!(cut.flows(&net, false) && kept.flows(&net, false));
        change(&mut net.world, &ports);
        net.converge().await;
        assert!(kept.flows(&net, true), "{what}");
        assert!(
            !cut.uploads(&net),
            "{what}: answers come from a server that hears nothing"
        );
        assert!(cut.down(&net) && cut.up(&net), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_taken_up_again_after_vpp_lost_its_sessions() {
    let mut world = trio();
    let p = guard(&mut world, "p", "both", &[]);
    let q = guard(&mut world, "q", "other", &[]);
    bind(&mut world, "web", |web| {
        web.ingress = p;
        web.egress = q;
    });
    let mut net = Net::new(world).await;
    let flows = [
        Flow::tcp("client", "web", 80),
        Flow::tcp("other", "web", 80),
        Flow::tcp("web", "other", 443),
    ];
    assert!(flows.iter().all(|flow| flow.opens(&net)));
    net.restart_vpp().await;
    for flow in &flows {
        assert!(flow.flows(&net, false), "{flow:?}");
    }
    let never = Flow::tcp("web", "client", 443);
    assert!(!never.opens(&net) && !never.uploads(&net) && !never.downloads(&net));
}

/// The other setting: what it costs is what the default is for.
#[tokio::test(flavor = "multi_thread")]
async fn lists_for_isolated_pods_only_lose_what_a_pod_is_receiving_when_its_first_policy_comes() {
    for (listed, goes_on) in [(ListedPods::All, true), (ListedPods::Isolated, false)] {
        let mut world = trio();
        world.local.acl_lists = listed;
        let mut net = Net::new(world).await;
        let receiving = Flow::tcp("web", "client", 80);
        let (cut, kept) = (Flow::tcp("client", "web", 80), Flow::tcp("other", "web", 80));
        assert!(receiving.opens(&net) && cut.opens(&net) && kept.opens(&net));
        CHANGES[3].1(&mut net.world, &[]);
        net.converge().await;
        assert_eq!(receiving.down(&net), goes_on, "{listed:?}");
        assert!(
            receiving.flows(&net, false),
            "it goes on with the pod's next packet"
        );
        assert!(!cut.downloads(&net) && !cut.uploads(&net));
        assert!(kept.flows(&net, false));
    }
}

/// Errors come from routers on the way, not from the peer: without them path MTU discovery fails.
#[tokio::test(flavor = "multi_thread")]
async fn icmp_errors_reach_isolated_pods_and_requests_do_not() {
    let mut world = trio();
    let closed = world.isolated(vec![]);
    bind(&mut world, "web", |web| {
        web.ingress = closed;
        web.egress = closed;
    });
    let net = Net::new(world).await;
    // Type and code (RFC 792, RFC 1191; RFC 4443): fragmentation needed and packet too big are what MTUs need.
    for (ipv6, protocol, icmp, passes) in [
        (false, ICMP, (3, 4), true),
        (false, ICMP, (11, 0), true),
        (false, ICMP, (12, 0), true),
        (false, ICMP, (8, 0), false),
        (false, ICMP, (0, 0), false),
        (false, ICMP, (5, 0), false),
        (true, ICMP6, (1, 4), true),
        (true, ICMP6, (2, 0), true),
        (true, ICMP6, (3, 0), true),
        (true, ICMP6, (4, 0), true),
        (true, ICMP6, (128, 0), false),
        (true, ICMP6, (129, 0), false),
    ] {
        let packet = Packet {
            ipv6,
            protocol,
            ports: icmp,
            flags: 0,
        };
        assert_eq!(
            net.arrives("client", "web", packet),
            passes,
            "{icmp:?} IPv6 {ipv6}"
        );
        assert_eq!(
            net.arrives("web", "client", packet),
            passes,
            "{icmp:?} IPv6 {ipv6}"
        );
    }
}

/// What a daemon had made that knew accepts of one rule only, and lists of isolated pods only.
fn as_earlier(objects: &Objects) -> Objects {
    let any = vec!["contiv/permit-any".to_owned()];
    objects
        .iter()
        .filter(|(_, object)| {
            !matches!(object, Object::AclBinding(lists) if lists.input == any && lists.output == any)
        })
        .map(|(key, object)| match object {
            Object::Acl(rules) => {
                let old = rules.iter().filter(|rule| rule.action != Action::Permit);
                (key.clone(), Object::Acl(old.copied().collect()))
            }
            other => (key.clone(), other.clone()),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn acls_of_an_earlier_version_are_mended_without_a_hole() {
    let mut world = trio();
    let p = guard(&mut world, "p", "client", &[]);
    bind(&mut world, "web", |web| web.ingress = p);
    world.set("client", &CLIENT);
    let desired = world.desired().objects;
    let mut net = Net {
        sim: sim().await,
        state: State::default(),
        world,
    };
    let report = net.sim.apply(&mut net.state, &as_earlier(&desired)).await;
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
    let kept = [
        Flow::tcp("client", "web", 80),
        Flow::tcp("web", "client", 443),
        Flow::tcp("client", "other", 80),
        Flow::udp("web", "other", 53),
    ];
    assert!(kept.iter().all(|flow| flow.opens(&net)));
    let probes: Vec<_> = kept
        .iter()
        .flat_map(|flow| {
            let up = net.probe(flow.client, flow.server, flow.packet(true, PUSH | ACK));
            [
                up,
                net.probe(flow.server, flow.client, flow.packet(false, PUSH | ACK)),
            ]
        })
        .map(|probe| (probe, true))
        .chain([(
            net.probe("other", "web", Flow::tcp("other", "web", 80).packet(true, SYN)),
            false,
        )])
        .collect();
    let wrong = std::sync::Arc::new(std::sync::Mutex::new((0, 0)));
    let noted = wrong.clone();
    net.sim.handle.observe(move |engine, now| {
        let mut noted = noted.lock().unwrap();
        noted.0 += 1;
        for ((enter, frame, leave), passes) in &probes {
            let fate = engine.walk(*enter, frame, now).fate;
            noted.1 += u32::from((fate == Fate::Transmitted { sw_if_index: *leave }) != *passes);
        }
    });
    // The daemon starts anew: it knows what it reads.
    net.state = net.sim.read(&desired).await;
    net.converge().await;
    net.sim.handle.observe(|_, _| {});
    assert_eq!(net.state.objects, desired);
    let (messages, wrong) = *wrong.lock().unwrap();
    assert!(
        messages > 5 && wrong == 0,
        "{wrong} of the packets between {messages} messages"
    );
    // And from now on a download is cut.
    net.world.set("client", &OTHER);
    net.converge().await;
    assert!(!kept[0].downloads(&net) && !kept[0].uploads(&net));
    assert!(kept[1..].iter().all(|flow| flow.flows(&net, false)));
}
