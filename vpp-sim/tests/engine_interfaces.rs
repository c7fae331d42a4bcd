//! Interfaces: names, indices, events, addresses, memif's control plane.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use engine_common::world::{World, prefix};
use vpp_sim::engine::*;

/// Two pods of both families behind a gateway.
fn two_pods() -> World {
    let mut world = World::new(1);
    world.gateway(0, &["10.1.1.1/24", "fd00:1::1/64"]);
    world.pod(0, "w1", &["10.1.1.2", "fd00:1::2"]);
    world.pod(0, "w2", &["10.1.1.3", "fd00:1::3"]);
    world
}

#[test]
fn addresses_clash_with_codes_of_their_family() {
    let mut world = two_pods();
    let vpp = &mut world.nodes[0];
    assert_eq!(
        vpp.add_address(3, prefix("10.1.1.77/24")),
        Err(OpError::Retval(-105))
    );
    assert_eq!(
        vpp.add_address(3, prefix("fd00:1::77/64")),
        Err(OpError::Retval(-127))
    );
    assert_eq!(vpp.add_address(1, prefix("10.1.1.9/24")), Ok(()));
    assert_eq!(
        vpp.add_address(1, prefix("10.1.1.9/24")),
        Err(OpError::Retval(-105))
    );
    assert_eq!(
        vpp.del_address(1, prefix("10.7.7.7/24")),
        Err(OpError::Retval(-60))
    );
    assert_eq!(vpp.set_unnumbered(99, 2, true), Err(OpError::Retval(-10)));
    assert_eq!(vpp.set_unnumbered(1, 99, true), Err(OpError::Retval(-2)));
    assert_eq!(vpp.set_table(2, Family::V4, 77), Err(OpError::Retval(-3)));
}

#[test]
fn interfaces_have_vpps_names_indices_and_events() {
    let mut vpp = Vpp::default();
    let tap = |id| TapConfig {
        id,
        ..TapConfig::default()
    };
    let loop0 = vpp.create_loopback(Mac::default(), None).unwrap();
    let tap0 = vpp.create_tap(tap(NONE), None).unwrap();
    let host = vpp.create_af_packet("eth1", None, None).unwrap();
    let names: Vec<_> = vpp.interfaces().map(|i| i.name.clone()).collect();
    assert_eq!(names, ["local0", "loop0", "tap0", "host-eth1"]);
    assert_eq!(vpp.interface(loop0).unwrap().mac.to_string(), "de:ad:00:00:00:00");
    assert_eq!(vpp.create_tap(tap(0), None), Err(OpError::Retval(-71)));
    assert_eq!(
        vpp.create_af_packet("eth1", None, None),
        Err(OpError::Retval(-79))
    );
    assert_eq!(vpp.delete_tap(loop0), Err(OpError::Retval(-2)));
    assert_eq!(vpp.set_tag(tap0, Some("")), Err(OpError::Retval(-7)));
    vpp.drain_events();
    vpp.set_admin(loop0, true).unwrap();
    vpp.set_admin(loop0, true).unwrap();
    vpp.set_admin(loop0, false).unwrap();
    vpp.delete_tap(tap0).unwrap();
    let events: Vec<_> = vpp
        .drain_events()
        .iter()
        .map(|e| (e.sw_if_index, e.flags, e.deleted))
        .collect();
    assert_eq!(events, [(loop0, 3, false), (loop0, 0, false), (tap0, 0, true)]);
    assert_eq!(
        vpp.create_loopback(Mac::default(), None).unwrap(),
        tap0,
        "the index is used again"
    );
    assert_eq!(host, 3);
}

#[test]
fn memif_sockets_and_interfaces_as_recorded() {
    let mut vpp = Vpp::default();
    let config = |id, socket_id| MemifConfig {
        id,
        socket_id,
        ring_size: 1024,
        ..MemifConfig::default()
    };
    let code = |r: OpResult<u32>| r.unwrap_err();
    let first = vpp.memif_socket_add(NONE, "/run/vpp/m1.sock").unwrap();
    assert_eq!(first, 1_013_904_223);
    let index = vpp.create_memif(config(7, first), Mac::default()).unwrap();
    let memif = vpp.interface(index).unwrap();
    assert_eq!((memif.name.as_str(), memif.flags()), ("memif1013904223/7", 0));
    assert_eq!(
        code(vpp.create_memif(config(7, first), Mac::default())),
        OpError::Retval(-68)
    );
    assert_eq!(
        code(vpp.create_memif(config(8, 999), Mac::default())),
        OpError::Retval(-73)
    );
    assert_eq!(vpp.memif_socket_del(first), Err(OpError::Retval(-74)));
    assert_eq!(vpp.memif_socket_add(NONE, "abstract:x").unwrap(), 1_196_435_762);
    vpp.set_admin(index, true).unwrap();
    vpp.set_carrier(index, true).unwrap();
    assert_eq!(vpp.interface(index).unwrap().flags(), 3);
    vpp.delete_memif(index).unwrap();
    vpp.memif_socket_del(first).unwrap();
}
