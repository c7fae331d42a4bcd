//! What a node is without its pods: `a` with an uplink and a peer `b`.

use crds::cnf::{InterfaceKind, InterfaceRole};
use crds::vpp_config::{FunctionInterface, PodBinding};

use super::*;
use crate::desired::KernelInterfaces;
use crate::desired::tests::{World, cidr};
use crate::objects::Area;

#[test]
fn a_node_has_gateway_uplink_host_tap_and_a_tunnel_per_family() {
    let out = World::new().desired();
    for key in [
        Key::Address(Link::Gateway, "10.1.1.1/24".parse().unwrap()),
        Key::Address(Link::Gateway, "fd00:1:1::1/64".parse().unwrap()),
        Key::Address(Link::Uplink, "192.168.16.1/24".parse().unwrap()),
        Key::Route(cidr("192.168.0.1/32")),
        Key::Up(Link::Host),
    ] {
        assert!(out.objects.contains_key(&key), "{key}");
    }
    let remote = "192.168.16.2".parse().unwrap();
    for (vni, ipv6, prefix, hop) in [
        (10, false, "10.1.2.0/24", "192.168.16.2"),
        (11, true, "fd00:1:2::/64", "fd00:1:2::1"),
    ] {
        let link = Link::Tunnel(TunnelId { vni, remote });
        let Some(Object::Interface(tunnel)) = out.objects.get(&Key::Interface(link.clone())) else {
            panic!("no tunnel {vni}");
        };
        assert_eq!(
            tunnel.device,
            Device::Vxlan {
                local: "192.168.16.1".parse().unwrap(),
                ipv6
            }
        );
        assert_eq!(tunnel.mtu, 1450);
        assert_eq!(
            out.objects.get(&Key::Unnumbered(link.clone())),
            Some(&Object::Unnumbered(Link::Uplink))
        );
        assert_eq!(
            out.objects.get(&Key::Route(cidr(prefix))),
            Some(&Object::Route(vec![Path::Via(
                link.clone(),
                hop.parse().unwrap()
            )]))
        );
        // Without it replies from backends on the other node are not un-NATed.
        assert!(out.objects.contains_key(&Key::CnatFeature(link)));
    }
    assert!(out.pending.is_empty(), "{:?}", out.pending);
}

#[test]
fn a_peer_without_endpoint_is_left_out_and_no_fault_of_this_node() {
    let mut world = World::new();
    for peer in &mut world.cluster.peers.get_mut("0").unwrap().peers {
        peer.tunnel_endpoints.clear();
    }
    let out = world.desired();
    assert!(!out.objects.contains_key(&Key::Route(cidr("10.1.2.0/24"))));
    assert!(out.pending.is_empty(), "{:?}", out.pending);
    world.local.uplink = None;
    assert_eq!(world.desired().pending[0].area, Area::Interfaces);
}

#[test]
fn a_node_without_vhost_net_has_veths_where_taps_would_be() {
    let mut world = World::new();
    world.pod("plain", 2, PodBinding::default());
    let function = |name: &str, kind| FunctionInterface {
        name: name.into(),
        role: InterfaceRole::InOut,
        kind,
    };
    let binding = PodBinding {
        interface: InterfaceKind::Memif,
        interfaces: vec![
            function("a", InterfaceKind::Tap),
            function("b", InterfaceKind::Veth),
        ],
        ..PodBinding::default()
    };
    world.pod("function", 3, binding);
    let asked = world.spec.clone();

    KernelInterfaces::Tap.settle(&mut world.spec);
    assert_eq!(world.spec, asked, "where there are taps all is as asked");
    KernelInterfaces::Veth.settle(&mut world.spec);
    let kinds: Vec<_> = world
        .spec
        .pods
        .iter()
        .map(|pod| {
            (
                pod.interface,
                pod.interfaces.iter().map(|i| i.kind).collect::<Vec<_>>(),
            )
        })
        .collect();
    let veth = InterfaceKind::Veth;
    assert_eq!(
        kinds,
        [
            (veth, vec![]),
            // memif needs nothing of a kernel.
            (InterfaceKind::Memif, vec![veth, veth])
        ]
    );
}

#[test]
fn the_nodes_interface_is_a_tap_or_vpps_end_of_a_veth_pair() {
    let mut world = World::new();
    let device = |world: &World| match world.desired().objects.get(&Key::Interface(Link::Host)) {
        Some(Object::Interface(interface)) => interface.device.clone(),
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(device(&world), Device::Tap { host_if_name, netns: None, .. } if host_if_name == "contiv0")
    );
    let neighbours = |world: &World| {
        let desired = world.desired();
        let all = desired.objects.into_iter();
        all.filter(|(key, _)| matches!(key, Key::Neighbour(Link::Host, _) | Key::Route(_)))
            .collect::<Vec<_>>()
    };
    let before = neighbours(&world);
    world.local.kernel_interfaces = KernelInterfaces::Veth;
    assert!(matches!(device(&world), Device::AfPacket { host_if_name, .. } if host_if_name == "contiv0-vpp"));
    assert_eq!(neighbours(&world), before, "what is behind it does not change");
}
