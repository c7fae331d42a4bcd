//! What should be in VPP, as tables.

use std::collections::{BTreeMap, BTreeSet};

use crds::cnf::{InterfaceKind, InterfaceRole};
use crds::net::{Cidr, PortMatch, Protocol};
use crds::policy::{PolicyAction, PolicyRule};
use crds::service_slice::{Backend, Frontend, FrontendKind, ServicePort};
use crds::vpp_config::{
    ChainDirection, ChainSteer, DirectionBinding, FunctionInterface, NodeIdentity, PodBinding, PolicyRef,
    SteerMatch, SteerPoint, SteerTarget,
};
use crds::{
    Peer, SetRef, VppAddressSetSpec, VppConfigSpec, VppPeerSliceSpec, VppPolicySpec, VppServiceSliceSpec,
};

use super::*;
use crate::attachments::{Attachment, State};
use crate::objects::{
    AclLists, Action, Link, Path, SnatAddresses, TAG_LIMIT, TcpFlags, Translation, TunnelId, Vip,
};

/// Everything a test varies.
pub(crate) struct World {
    pub spec: VppConfigSpec,
    pub cluster: Cluster,
    pub attachments: Attachments,
    pub deferred: BTreeSet<String>,
    pub local: Local,
    pub last_rules: BTreeMap<String, Vec<Rule>>,
}

impl World {
    /// Node `a` with an uplink, both families, a peer `b`, no pods.
    pub fn new() -> Self {
        let spec = VppConfigSpec {
            revision: "1".into(),
            node: NodeIdentity {
                id: 1,
                addresses: vec!["192.168.0.1".parse().unwrap(), "fd02::1".parse().unwrap()],
                pod_cidrs: vec![cidr("10.1.1.0/24"), cidr("fd00:1:1::/64")],
                zone: Some("z1".into()),
            },
            ..VppConfigSpec::default()
        };
        let peer = Peer {
            node: "b".into(),
            id: 2,
            addresses: vec!["192.168.0.2".parse().unwrap(), "fd02::2".parse().unwrap()],
            pod_cidrs: vec![cidr("10.1.2.0/24"), cidr("fd00:1:2::/64")],
            tunnel_endpoints: vec!["192.168.16.2".parse().unwrap()],
        };
        let itself = Peer {
            node: "a".into(),
            id: 1,
            ..peer.clone()
        };
        let mut cluster = Cluster::default();
        let slice = VppPeerSliceSpec {
            revision: "1".into(),
            peers: vec![itself, peer],
        };
        cluster.peers.insert("0".into(), slice);
        let local = Local {
            node: "a".into(),
            uplink: Some(Uplink {
                interface: "vpp0".into(),
                addresses: vec!["192.168.16.1/24".parse().unwrap()],
                gateways: vec![],
                mtu: 1500,
            }),
            host_interface: Some("contiv0".into()),
            mtu: None,
            cnat: true,
            cnat_v1: false,
            abf: true,
            kernel_interfaces: KernelInterfaces::Tap,
            acl_lists: ListedPods::All,
        };
        Self {
            spec,
            cluster,
            attachments: Attachments::default(),
            deferred: BTreeSet::new(),
            local,
            last_rules: BTreeMap::new(),
        }
    }

    pub fn desired(&self) -> Desired {
        desired(&self.inputs())
    }

    pub fn inputs(&self) -> Inputs<'_> {
        Inputs {
            spec: &self.spec,
            cluster: &self.cluster,
            attachments: &self.attachments,
            deferred: &self.deferred,
            local: &self.local,
            last_rules: &self.last_rules,
        }
    }

    /// Attaches a pod with the addresses `10.1.1.N` and `fd00:1:1::N`; returns its attachment id.
    pub fn pod(&mut self, name: &str, number: u8, binding: PodBinding) -> String {
        let uid = format!("uid-{name}");
        self.spec.pods.push(PodBinding {
            namespace: "default".into(),
            name: name.into(),
            uid: uid.as_str().into(),
            ..binding.clone()
        });
        let attachment = Attachment {
            container_id: format!("c-{name}"),
            ifname: "eth0".into(),
            netns: format!("/run/netns/{name}"),
            namespace: "default".into(),
            pod: name.into(),
            uid,
            kind: binding.interface,
            addresses: vec![
                format!("10.1.1.{number}").parse().unwrap(),
                format!("fd00:1:1::{number:x}").parse().unwrap(),
            ],
            host_ports: vec![],
            state: State::Committed,
            result: None,
        };
        let id = attachment.id();
        self.attachments.insert(attachment);
        id
    }

    pub fn set(&mut self, name: &str, members: &[&str]) -> SetRef {
        let spec = VppAddressSetSpec {
            set: name.into(),
            members: members.iter().map(|m| cidr(m)).collect(),
            ..VppAddressSetSpec::default()
        };
        self.cluster.sets.insert(format!("default/{name}-0"), spec);
        SetRef {
            namespace: "default".into(),
            name: name.into(),
        }
    }

    pub fn policy(&mut self, name: &str, ingress: Vec<PolicyRule>, egress: Vec<PolicyRule>) -> PolicyRef {
        let spec = VppPolicySpec {
            ingress,
            egress,
            ..VppPolicySpec::default()
        };
        self.cluster.policies.insert(format!("default/{name}"), spec);
        PolicyRef {
            namespace: "default".into(),
            name: name.into(),
        }
    }

    /// The place of the policy set that isolates, with these policies.
    pub fn isolated(&mut self, policies: Vec<PolicyRef>) -> Option<u16> {
        self.spec.place_of(DirectionBinding {
            isolated: true,
            policies,
        })
    }

    pub fn service(&mut self, vip: &str, ports: &[(Protocol, u16)], backends: Vec<Backend>) {
        let spec = VppServiceSliceSpec {
            service: "web".into(),
            service_uid: "u".into(),
            ports: ports
                .iter()
                .map(|&(protocol, port)| ServicePort {
                    name: String::new(),
                    protocol,
                    port,
                    node_port: None,
                })
                .collect(),
            frontends: vec![Frontend {
                kind: FrontendKind::ClusterIp,
                address: vip.parse().unwrap(),
            }],
            backends,
            ..VppServiceSliceSpec::default()
        };
        self.cluster.services.insert("default/web-0".into(), spec.into());
    }
}

pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub(crate) fn backend(address: &str, ports: &[u16]) -> Backend {
    Backend {
        address: address.parse().unwrap(),
        ports: ports.to_vec(),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        for_zones: vec![],
        for_nodes: vec![],
    }
}

fn acl<'a>(desired: &'a Desired, part: &str) -> &'a [Rule] {
    let found = desired
        .objects
        .iter()
        .find_map(|(key, object)| match (key, object) {
            (Key::Acl(tag), Object::Acl(rules)) if tag.contains(part) => Some(rules.as_slice()),
            _ => None,
        });
    found.unwrap_or_else(|| panic!("no ACL {part} in {:#?}", desired.objects.keys()))
}

fn lists<'a>(desired: &'a Desired, pod: &str) -> Option<&'a AclLists> {
    match desired.objects.get(&Key::AclBinding(Link::Pod(pod.to_owned()))) {
        Some(Object::AclBinding(lists)) => Some(lists),
        _ => None,
    }
}

fn accept(peers: Option<Vec<SetRef>>, ports: Option<Vec<PortMatch>>) -> PolicyRule {
    PolicyRule {
        action: PolicyAction::Accept,
        peers,
        targets: None,
        ports,
    }
}

fn tcp(port: u16) -> PortMatch {
    PortMatch {
        protocol: Protocol::Tcp,
        port: Some(port),
        end_port: None,
    }
}

fn tcp_range(first: u16, last: u16) -> PortMatch {
    PortMatch {
        end_port: Some(last),
        ..tcp(first)
    }
}

/// A rule as text, so that tests read as rules.
fn text(rule: &Rule) -> String {
    let action = match rule.action {
        Action::Deny => "deny",
        Action::Permit => "permit",
        Action::Reflect => "reflect",
    };
    let (from, to) = rule.destination_ports;
    let ports = format!("proto {} ports {from}-{to}", rule.protocol);
    let flags = match rule.tcp_flags {
        TcpFlags { mask: 0, .. } => String::new(),
        TcpFlags { mask, value } => format!(" flags {value:#x}/{mask:#x}"),
    };
    let types = match rule.source_ports {
        (0, u16::MAX) => String::new(),
        (first, last) => format!(" from {first}-{last}"),
    };
    format!(
        "{action} {} -> {} {ports}{types}{flags}",
        rule.source, rule.destination
    )
}

#[test]
fn a_pod_has_interface_neighbours_and_routes() {
    let mut world = World::new();
    let id = world.pod("web", 7, PodBinding::default());
    let out = world.desired();
    let link = Link::Pod(id.clone());
    for (key, expected) in [
        (Key::Unnumbered(link.clone()), Object::Unnumbered(Link::Gateway)),
        (
            Key::Route(cidr("10.1.1.7/32")),
            Object::Route(vec![Path::Via(link.clone(), "10.1.1.7".parse().unwrap())]),
        ),
        (
            Key::Route(cidr("fd00:1:1::7/128")),
            Object::Route(vec![Path::Via(link.clone(), "fd00:1:1::7".parse().unwrap())]),
        ),
    ] {
        assert_eq!(out.objects.get(&key), Some(&expected), "{key}");
    }
    assert!(
        out.objects
            .contains_key(&Key::Neighbour(link.clone(), "10.1.1.7".parse().unwrap()))
    );
    let any = vec!["contiv/permit-any".to_owned()];
    let open = AclLists {
        input: any.clone(),
        output: any,
    };
    assert_eq!(lists(&out, &id), Some(&open), "nothing isolates it");
    let attachment = world.attachments.iter().next().unwrap();
    let keys = keys_of(attachment, &out.objects);
    assert!(keys.contains(&Key::Up(link.clone())));
    assert!(
        keys.contains(&Key::Interface(Link::Gateway)),
        "with what it depends on"
    );
    world.local.acl_lists = ListedPods::Isolated;
    assert_eq!(lists(&world.desired(), &id), None);
    world.deferred.insert(id);
    assert!(!world.desired().objects.contains_key(&Key::Interface(link)));
}

#[test]
fn a_pod_without_binding_has_nothing() {
    let mut world = World::new();
    let id = world.pod("web", 7, PodBinding::default());
    world.spec.pods.clear();
    assert!(
        !world
            .desired()
            .objects
            .contains_key(&Key::Interface(Link::Pod(id)))
    );
}

#[test]
fn lists_per_direction() {
    let mut world = World::new();
    let client = world.set("client", &["10.1.1.9/32", "fd00:1:1::9/128"]);
    let policy = world.policy("p", vec![accept(Some(vec![client]), Some(vec![tcp(80)]))], vec![]);
    let place = world.isolated(vec![policy]);
    let id = world.pod(
        "web",
        7,
        PodBinding {
            ingress: place,
            ..PodBinding::default()
        },
    );
    let out = world.desired();
    let lists = lists(&out, &id).unwrap();
    // The direction that is not isolated must make sessions, or replies to what the pod starts are dropped.
    assert_eq!(lists.input, ["contiv/permit-any"]);
    assert_eq!(lists.output.len(), 3);
    assert_eq!(lists.output[0], "contiv/permit-node/in");
    assert!(lists.output[1].starts_with("contiv/policy/default/p/"));
    assert_eq!(lists.output[2], "contiv/deny-any");
    assert_eq!(
        acl(&out, "policy/default/p").iter().map(text).collect::<Vec<_>>(),
        [
            "reflect 10.1.1.9/32 -> 0.0.0.0/0 proto 6 ports 80-80",
            "reflect fd00:1:1::9/128 -> ::/0 proto 6 ports 80-80",
        ]
    );
    assert_eq!(
        acl(&out, "contiv/permit-node/in")
            .iter()
            .map(text)
            .collect::<Vec<_>>(),
        [
            "permit 0.0.0.0/0 -> 0.0.0.0/0 proto 1 ports 0-255 from 3-3",
            "permit 0.0.0.0/0 -> 0.0.0.0/0 proto 1 ports 0-255 from 11-12",
            "permit ::/0 -> ::/0 proto 58 ports 0-255 from 1-4",
            "reflect 10.1.1.1/32 -> 0.0.0.0/0 proto 0 ports 0-65535",
            "reflect 192.168.0.1/32 -> 0.0.0.0/0 proto 0 ports 0-65535",
            "reflect fd00:1:1::1/128 -> ::/0 proto 0 ports 0-65535",
            "reflect fd02::1/128 -> ::/0 proto 0 ports 0-65535",
        ]
    );
    let deny: Vec<String> = acl(&out, "deny-any").iter().map(text).collect();
    assert_eq!(
        deny,
        [
            "deny 0.0.0.0/0 -> 0.0.0.0/0 proto 0 ports 0-65535",
            "deny ::/0 -> ::/0 proto 0 ports 0-65535"
        ]
    );
}

#[test]
fn rules_by_feature() {
    let range = PortMatch {
        protocol: Protocol::Udp,
        port: Some(1000),
        end_port: Some(2000),
    };
    let sctp = |port| PortMatch {
        protocol: Protocol::Sctp,
        port,
        end_port: None,
    };
    let peer = SetRef {
        namespace: "default".into(),
        name: "peer".into(),
    };
    let own = SetRef {
        namespace: "default".into(),
        name: "own".into(),
    };
    let empty = SetRef {
        namespace: "default".into(),
        name: "empty".into(),
    };
    type Case = (&'static str, PolicyRule, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        (
            "everything",
            accept(None, None),
            vec![
                "permit 0.0.0.0/0 -> 0.0.0.0/0 proto 6 ports 32768-65535 flags 0x10/0x10",
                "permit ::/0 -> ::/0 proto 6 ports 32768-65535 flags 0x10/0x10",
                "reflect 0.0.0.0/0 -> 0.0.0.0/0 proto 0 ports 0-65535",
                "reflect ::/0 -> ::/0 proto 0 ports 0-65535",
            ],
        ),
        ("no peer at all", accept(Some(vec![]), None), vec![]),
        ("an empty set", accept(Some(vec![empty]), None), vec![]),
        ("no port at all", accept(None, Some(vec![])), vec![]),
        (
            "every port of a protocol",
            accept(
                Some(vec![peer.clone()]),
                Some(vec![PortMatch {
                    protocol: Protocol::Tcp,
                    port: None,
                    end_port: None,
                }]),
            ),
            vec![
                "permit 10.9.0.0/16 -> 0.0.0.0/0 proto 6 ports 32768-65535 flags 0x10/0x10",
                "reflect 10.9.0.0/16 -> 0.0.0.0/0 proto 6 ports 0-65535",
            ],
        ),
        (
            "a range that clients' ports begin in",
            accept(Some(vec![peer.clone()]), Some(vec![tcp_range(30_000, 40_000)])),
            vec![
                "permit 10.9.0.0/16 -> 0.0.0.0/0 proto 6 ports 32768-40000 flags 0x10/0x10",
                "reflect 10.9.0.0/16 -> 0.0.0.0/0 proto 6 ports 30000-40000",
            ],
        ),
        (
            "servers among clients' ports",
            accept(
                Some(vec![peer.clone()]),
                Some(vec![tcp(50_051), tcp_range(40_000, 50_000)]),
            ),
            vec![
                "reflect 10.9.0.0/16 -> 0.0.0.0/0 proto 6 ports 40000-50000",
                "reflect 10.9.0.0/16 -> 0.0.0.0/0 proto 6 ports 50051-50051",
            ],
        ),
        (
            "a range",
            accept(Some(vec![peer.clone()]), Some(vec![range])),
            vec!["reflect 10.9.0.0/16 -> 0.0.0.0/0 proto 17 ports 1000-2000"],
        ),
        (
            "all of SCTP",
            accept(Some(vec![peer.clone()]), Some(vec![sctp(None)])),
            vec!["reflect 10.9.0.0/16 -> 0.0.0.0/0 proto 132 ports 0-65535"],
        ),
        (
            "an SCTP port, which VPP cannot match: closed",
            accept(Some(vec![peer.clone()]), Some(vec![sctp(Some(80))])),
            vec![],
        ),
        (
            "a named port: the pod's own address counts",
            PolicyRule {
                targets: Some(vec![own]),
                ..accept(Some(vec![peer.clone()]), Some(vec![tcp(8080)]))
            },
            vec!["reflect 10.9.0.0/16 -> 10.1.1.7/32 proto 6 ports 8080-8080"],
        ),
        (
            "a deny",
            PolicyRule {
                action: PolicyAction::Deny,
                ..accept(Some(vec![peer]), None)
            },
            vec!["deny 10.9.0.0/16 -> 0.0.0.0/0 proto 0 ports 0-65535"],
        ),
    ];
    for (name, rule, expected) in cases {
        let mut world = World::new();
        world.set("peer", &["10.9.0.0/16"]);
        world.set("own", &["10.1.1.7/32"]);
        world.set("empty", &[]);
        let policy = world.policy("p", vec![rule], vec![]);
        let binding = PodBinding {
            ingress: world.isolated(vec![policy]),
            ..PodBinding::default()
        };
        world.pod("web", 7, binding);
        let out = world.desired();
        let rules: Vec<String> = acl(&out, "policy/default/p").iter().map(text).collect();
        assert_eq!(rules, expected, "{name}");
        assert!(out.unresolved.is_empty(), "{name}");
    }
}

#[test]
fn egress_rules_have_the_peer_as_destination() {
    let mut world = World::new();
    let dns = world.set("dns", &["10.1.2.53/32"]);
    let policy = world.policy("p", vec![], vec![accept(Some(vec![dns]), Some(vec![tcp(53)]))]);
    let place = world.isolated(vec![policy]);
    let id = world.pod(
        "web",
        7,
        PodBinding {
            egress: place,
            ..PodBinding::default()
        },
    );
    let out = world.desired();
    let lists = lists(&out, &id).unwrap();
    assert_eq!(lists.output, ["contiv/permit-any"]);
    assert_eq!(lists.input.first().unwrap(), "contiv/permit-node/out");
    assert_eq!(lists.input.last().unwrap(), "contiv/deny-any");
    assert_eq!(
        text(&acl(&out, "policy/default/p")[0]),
        "reflect 0.0.0.0/0 -> 10.1.2.53/32 proto 6 ports 53-53"
    );
    let (_, node) = acl(&out, "contiv/permit-node/out").split_at(3);
    assert_eq!(
        text(&node[0]),
        "reflect 0.0.0.0/0 -> 10.1.1.1/32 proto 0 ports 0-65535",
        "a pod may answer the node, not speak under its address"
    );
}

#[test]
fn a_place_without_a_policy_set_closes_its_direction() {
    let mut world = World::new();
    let place = world.isolated(vec![]);
    let binding = PodBinding {
        ingress: place,
        egress: Some(1),
        ..PodBinding::default()
    };
    let id = world.pod("web", 7, binding);
    let out = world.desired();
    let lists = lists(&out, &id).unwrap();
    assert_eq!(lists.output, ["contiv/permit-node/in", "contiv/deny-any"]);
    assert_eq!(lists.input, ["contiv/permit-node/out", "contiv/deny-any"]);
    let told: Vec<_> = out
        .pending
        .iter()
        .map(|pending| pending.reason.as_str())
        .collect();
    assert_eq!(
        told,
        ["pod default/web names policy set 1 of 1; its traffic out is denied"]
    );
}

#[test]
fn unknown_references_close_and_known_rules_stay() {
    let mut world = World::new();
    let unknown = PolicyRef {
        namespace: "default".into(),
        name: "unknown".into(),
    };
    let place = world.isolated(vec![unknown]);
    let id = world.pod(
        "web",
        7,
        PodBinding {
            ingress: place,
            ..PodBinding::default()
        },
    );
    let out = world.desired();
    assert_eq!(
        lists(&out, &id).unwrap().output,
        ["contiv/permit-node/in", "contiv/deny-any"]
    );
    assert_eq!(out.unresolved, ["policy default/unknown".to_owned()].into());

    let mut world = World::new();
    let client = world.set("client", &["10.1.1.9/32"]);
    let policy = world.policy("p", vec![accept(Some(vec![client]), None)], vec![]);
    let place = world.isolated(vec![policy]);
    world.pod(
        "web",
        7,
        PodBinding {
            ingress: place,
            ..PodBinding::default()
        },
    );
    let before = world.desired();
    let rules = acl(&before, "policy/default/p").to_vec();
    for (key, object) in &before.objects {
        if let (Key::Acl(tag), Object::Acl(rules)) = (key, object) {
            world.last_rules.insert(tag.clone(), rules.clone());
        }
    }
    world.cluster.sets.clear();
    let after = world.desired();
    assert_eq!(acl(&after, "policy/default/p"), rules);
    assert_eq!(after.unresolved, ["address set default/client".to_owned()].into());
}

#[test]
fn one_acl_serves_all_pods_and_tags_fit() {
    let mut world = World::new();
    let long = "x".repeat(63);
    let policy = PolicyRef {
        namespace: long.as_str().into(),
        name: "y".repeat(253).into(),
    };
    let spec = VppPolicySpec {
        ingress: vec![accept(None, None)],
        ..VppPolicySpec::default()
    };
    world
        .cluster
        .policies
        .insert(format!("{long}/{}", policy.name), spec);
    let binding = PodBinding {
        ingress: world.isolated(vec![policy]),
        ..PodBinding::default()
    };
    let one = world.pod("one", 7, binding.clone());
    let two = world.pod("two", 8, binding);
    let out = world.desired();
    assert_eq!(lists(&out, &one), lists(&out, &two));
    for key in out.objects.keys() {
        if let Key::Acl(tag) = key {
            assert!(tag.len() <= TAG_LIMIT && tag.starts_with("contiv/"), "{tag}");
        }
    }
}

#[test]
fn a_service_has_a_translation_per_port_with_backends_of_its_family() {
    let mut world = World::new();
    let mut terminating = backend("10.1.1.8", &[8080, 5353]);
    terminating.ready = false;
    terminating.terminating = true;
    world.service(
        "10.96.0.10",
        &[(Protocol::Tcp, 80), (Protocol::Udp, 53)],
        vec![
            backend("10.1.1.7", &[8080, 0]),
            terminating,
            backend("fd00:1:1::7", &[8080, 5353]),
        ],
    );
    let out = world.desired();
    let vip = |port, protocol| {
        Key::Translation(Vip {
            address: "10.96.0.10".parse().unwrap(),
            port,
            protocol,
        })
    };
    let translation = |backends: &[(&str, u16)]| {
        Object::Translation(Translation {
            backends: backends.iter().map(|(a, p)| (a.parse().unwrap(), *p)).collect(),
            affinity: false,
        })
    };
    assert_eq!(
        out.objects.get(&vip(80, Protocol::Tcp)),
        Some(&translation(&[("10.1.1.7", 8080)])),
        "ready ones only"
    );
    assert_eq!(
        out.objects.get(&vip(53, Protocol::Udp)),
        Some(&translation(&[("10.1.1.8", 5353)])),
        "where none is ready, those that still serve"
    );
    assert!(!out.objects.contains_key(&Key::Route(cidr("10.96.0.10/32"))));
    assert_eq!(
        out.objects.get(&Key::CnatSnat),
        Some(&Object::CnatSnat(SnatAddresses {
            v4: Some("10.1.1.1".parse().unwrap()),
            v6: Some("fd00:1:1::1".parse().unwrap()),
        })),
        "cnat is not on the uplink: replies to its address would not be turned back"
    );
    for prefix in ["10.1.1.0/24", "10.1.2.0/24", "192.168.0.2/32", "fd00:1:2::/64"] {
        assert!(
            out.objects.contains_key(&Key::CnatExclude(cidr(prefix))),
            "{prefix}"
        );
    }
}

#[test]
fn a_service_without_backends_never_is_an_empty_translation() {
    for by_kernel in [true, false] {
        let mut world = World::new();
        world.service("10.96.0.10", &[(Protocol::Tcp, 80)], vec![]);
        if !by_kernel {
            world.local.host_interface = None;
        }
        let out = world.desired();
        assert_eq!(
            out.objects.get(&Key::Route(cidr("10.96.0.10/32"))),
            Some(&Object::Route(vec![Path::Unreachable])),
            "what else is asked of the address"
        );
        let mut translations = out.objects.values().filter_map(|object| match object {
            Object::Translation(translation) => Some(&translation.backends),
            _ => None,
        });
        let refusing: IpAddr = "169.254.0.8".parse().unwrap();
        let expected = vec![(refusing, 0)];
        assert_eq!(translations.next(), by_kernel.then_some(&expected));
    }
}

/// A chain over one local function: `client` to a set, through the function's `in`, and back through its `out`.
pub(crate) fn chain_world() -> (World, String, String) {
    let mut world = World::new();
    let function = PodBinding {
        interfaces: vec![
            FunctionInterface {
                name: "in".into(),
                role: InterfaceRole::In,
                kind: InterfaceKind::Tap,
            },
            FunctionInterface {
                name: "out".into(),
                role: InterfaceRole::Out,
                kind: InterfaceKind::Tap,
            },
        ],
        ..PodBinding::default()
    };
    let client = world.pod("client", 7, PodBinding::default());
    let firewall = world.pod("firewall", 8, function);
    let servers = world.set("servers", &["10.1.1.9/32"]);
    world.spec.chains.push(ChainSteer {
        namespace: "default".into(),
        chain: "c".into(),
        direction: ChainDirection::Forward,
        hop: 0,
        // The client.
        at: SteerPoint::Pods(vec![0]),
        match_: Some(SteerMatch {
            destinations: servers,
            ports: vec![tcp(80)],
            source_ports: false,
        }),
        to: SteerTarget::Function {
            uid: "uid-firewall".into(),
            interface: "in".into(),
        },
    });
    (world, client, firewall)
}

#[test]
fn a_chain_leads_the_classified_packets_to_the_function() {
    let (world, client, firewall) = chain_world();
    let out = world.desired();
    let rules: Vec<String> = acl(&out, "contiv/chain/default/c").iter().map(text).collect();
    assert_eq!(rules, ["permit 0.0.0.0/0 -> 10.1.1.9/32 proto 6 ports 80-80"]);
    let policies: Vec<_> = out
        .objects
        .iter()
        .filter_map(|(key, object)| match (key, object) {
            (Key::AbfPolicy(id), Object::AbfPolicy(policy)) => Some((*id, policy)),
            _ => None,
        })
        .collect();
    // The set has IPv4 members only, so there is nothing to take of IPv6.
    let [(id, policy)] = policies.as_slice() else {
        panic!("{policies:?}")
    };
    assert!(is_own_policy(*id));
    let function = Link::Function(firewall, "in".into());
    let Path::Via(link, hop) = &policy.path else {
        panic!("{:?}", policy.path)
    };
    assert_eq!(*link, function);
    assert!(matches!(hop, IpAddr::V4(a) if a.is_link_local()));
    assert!(out.objects.contains_key(&Key::Neighbour(function, *hop)));
    assert!(out.objects.contains_key(&Key::AbfAttach(Link::Pod(client), *id)));
    assert!(out.chains.values().all(|parts| parts.missing.is_empty()));
}

#[test]
fn a_function_that_is_not_there_is_a_drop_not_a_detour() {
    let (mut world, client, _) = chain_world();
    let firewall = world.attachments.of_pod("uid-firewall").next().unwrap().key();
    world.attachments.remove(&firewall);
    let out = world.desired();
    let path = out.objects.values().find_map(|object| match object {
        Object::AbfPolicy(policy) => Some(&policy.path),
        _ => None,
    });
    assert_eq!(path, Some(&Path::Drop));
    assert!(
        out.objects
            .keys()
            .any(|key| matches!(key, Key::AbfAttach(Link::Pod(id), _) if *id == client))
    );
    assert!(out.chains.values().any(|parts| !parts.missing.is_empty()));
}

#[test]
fn a_hop_to_another_node_has_its_own_tunnel_without_cnat() {
    let (mut world, client, _) = chain_world();
    world.spec.chains[0].to = SteerTarget::Tunnel {
        node: "b".into(),
        vni: 1000,
    };
    let out = world.desired();
    let remote = "192.168.16.2".parse().unwrap();
    let link = Link::Tunnel(TunnelId { vni: 1000, remote });
    assert!(out.objects.contains_key(&Key::Interface(link.clone())));
    assert!(!out.objects.contains_key(&Key::CnatFeature(link.clone())));
    let path = out.objects.values().find_map(|object| match object {
        Object::AbfPolicy(policy) => Some(policy.path.clone()),
        _ => None,
    });
    assert_eq!(path, Some(Path::Via(link, remote)));
    assert!(
        out.objects
            .keys()
            .any(|key| matches!(key, Key::AbfAttach(Link::Pod(id), _) if *id == client))
    );
}

#[test]
fn equal_input_gives_equal_output() {
    let (world, ..) = chain_world();
    assert_eq!(world.desired(), world.desired());
}
