//! Pods with host ports on node `a`, which has 192.168.0.1 and fd02::1.

use crds::net::Protocol;
use crds::service_slice::{Frontend, FrontendKind, ServicePort};
use crds::vpp_config::PodBinding;
use crds::{Backend, VppServiceSliceSpec};
use serde_json::{Value, json};

use super::*;
use crate::desired::keys_of;
use crate::desired::tests::{World, backend};

fn tcp(address: &str, port: u16) -> Vip {
    Vip {
        address: address.parse().unwrap(),
        port,
        protocol: Protocol::Tcp,
    }
}

/// A world with pods `p1`, `p2` … that have these mappings, and addresses ending in 1, 2 ….
fn world(mappings: &[Value]) -> World {
    let mut world = World::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let name = format!("p{}", index + 1);
        let id = world.pod(&name, u8::try_from(index + 1).unwrap(), PodBinding::default());
        let attachment = world.attachments.iter().find(|each| each.id() == id).unwrap();
        let mut attachment = attachment.clone();
        attachment.host_ports = HostPort::read(mapping).unwrap();
        world.attachments.insert(attachment);
    }
    world
}

fn backends(out: &Desired, vip: Vip) -> Option<String> {
    match out.objects.get(&Key::Translation(vip))? {
        Object::Translation(translation) => {
            let all: Vec<String> = translation
                .backends
                .iter()
                .map(|(a, p)| format!("{a} {p}"))
                .collect();
            Some(all.join(", "))
        }
        _ => None,
    }
}

/// Kubernetes API, `ContainerPort.hostPort` and `hostIP`: without an address on all of the node's, in both families.
#[test]
fn row_23_a_host_port_is_on_every_address_of_the_node_for_pods_and_for_the_kernel() {
    let world = world(&[json!([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}])]);
    let out = world.desired();
    assert_eq!(backends(&out, tcp("192.168.0.1", 8080)).unwrap(), "10.1.1.1 80");
    assert_eq!(backends(&out, tcp("fd02::1", 8080)).unwrap(), "fd00:1:1::1 80");
    let kernel = &out.host.nat.host_ports;
    let four = ("10.1.1.1".parse().unwrap(), 80);
    let six = ("fd00:1:1::1".parse().unwrap(), 80);
    assert_eq!(
        kernel.all,
        [
            ((false, Protocol::Tcp, 8080), four),
            ((true, Protocol::Tcp, 8080), six)
        ]
        .into()
    );
    assert!(kernel.one.is_empty());
    // ADD and CHECK look at it, and nothing of it is left without the pod.
    let attachment = world.attachments.iter().next().unwrap();
    let keys = keys_of(attachment, &out.objects);
    assert!(keys.contains(&Key::Translation(tcp("192.168.0.1", 8080))));
    assert!(keys.contains(&Key::Translation(tcp("fd02::1", 8080))));
    let mut gone = World::new();
    gone.pod("other", 9, PodBinding::default());
    let out = gone.desired();
    assert_eq!(out.host.nat.host_ports, HostPorts::default());
    assert_eq!(backends(&out, tcp("192.168.0.1", 8080)), None);
}

/// Conformance, "validates that there is no conflict between pods with same hostPort but different hostIP and protocol":
/// one pod on 127.0.0.1, one on the node's address, one there on UDP.
#[test]
fn row_23_pods_share_a_port_by_address_and_protocol() {
    let mapping = |address: &str, protocol: &str| json!([{"hostPort": 54323, "containerPort": 8080, "protocol": protocol, "hostIP": address}]);
    let world = world(&[
        mapping("127.0.0.1", "tcp"),
        mapping("192.168.0.1", "tcp"),
        mapping("192.168.0.1", "udp"),
    ]);
    let out = world.desired();
    assert_eq!(out.pending, [], "no conflict");
    let udp = Vip {
        protocol: Protocol::Udp,
        ..tcp("192.168.0.1", 54323)
    };
    assert_eq!(
        backends(&out, tcp("192.168.0.1", 54323)).unwrap(),
        "10.1.1.2 8080"
    );
    assert_eq!(backends(&out, udp).unwrap(), "10.1.1.3 8080");
    // A pod's own 127.0.0.1 is its own.
    assert_eq!(backends(&out, tcp("127.0.0.1", 54323)), None);
    let kernel = &out.host.nat.host_ports;
    assert!(kernel.all.is_empty() && kernel.on_ipv4_loopback());
    let to = |vip: Vip| kernel.one[&vip].0.to_string();
    assert_eq!(to(tcp("127.0.0.1", 54323)), "10.1.1.1");
    assert_eq!(to(tcp("192.168.0.1", 54323)), "10.1.1.2");
    assert_eq!(to(udp), "10.1.1.3");
    // Of one family: an unspecified address is all addresses of its family.
    let only_four = json!([{"hostPort": 80, "containerPort": 80, "hostIP": "0.0.0.0"}]);
    let out = self::world(&[only_four]).desired();
    assert!(backends(&out, tcp("192.168.0.1", 80)).is_some());
    assert_eq!(backends(&out, tcp("fd02::1", 80)), None);
    assert_eq!(out.host.nat.host_ports.all.len(), 1);
}

/// SCTP is accepted (Kubernetes documentation, "Pod ports"); cnat rewrites it in IPv4 only.
#[test]
fn row_18_an_sctp_host_port_is_said_not_to_be_pods_in_ipv6() {
    let out = world(&[json!([{"hostPort": 80, "containerPort": 81, "protocol": "sctp"}])]).desired();
    let on = |address: &str| Vip {
        protocol: Protocol::Sctp,
        ..tcp(address, 80)
    };
    assert_eq!(backends(&out, on("192.168.0.1")).unwrap(), "10.1.1.1 81");
    assert_eq!(backends(&out, on("fd02::1")), None);
    assert!(
        out.pending[0].reason.contains("SCTP in IPv4 only"),
        "{:?}",
        out.pending
    );
    assert_eq!(out.host.nat.host_ports.all.len(), 2, "the kernel knows both");
}

/// What is somebody else's stays his, and it is said.
#[test]
fn a_node_port_comes_before_a_host_port() {
    let mut world = world(&[json!([{"hostPort": 30080, "containerPort": 80}])]);
    let service = VppServiceSliceSpec {
        service: "web".into(),
        service_uid: "u".into(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
        }],
        frontends: vec![Frontend {
            kind: FrontendKind::ClusterIp,
            address: "10.96.0.10".parse().unwrap(),
        }],
        backends: vec![Backend {
            node: Some("b".into()),
            ..backend("10.1.2.7", &[8080])
        }],
        ..VppServiceSliceSpec::default()
    };
    world
        .cluster
        .services
        .insert("default/web".into(), service.into());
    let out = world.desired();
    assert_eq!(
        backends(&out, tcp("192.168.0.1", 30080)).unwrap(),
        "10.1.2.7 8080"
    );
    assert_eq!(
        out.pending
            .iter()
            .map(|pending| pending.reason.as_str())
            .collect::<Vec<_>>(),
        [
            "pod default/p1: hostPort 192.168.0.1:30080/TCP is a node port, or another pod's hostPort: it stays that"
        ]
    );
    let attachment = world.attachments.iter().next().unwrap();
    let keys = keys_of(attachment, &out.objects);
    assert!(!keys.contains(&Key::Translation(tcp("192.168.0.1", 30080))));
    assert!(
        keys.contains(&Key::Translation(tcp("fd02::1", 30080))),
        "the Service is IPv4 only"
    );
}
