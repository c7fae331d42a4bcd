//! The acl plugin: lists, sessions, codes. The traps are those seen on real VPP 26.06.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use engine_common::flow::Flow;
use engine_common::packets::{self, ACK, PSH, SYN, TCP, UDP};
use engine_common::world::{SECOND, World, addr, prefix};
use vpp_sim::engine::*;

const W1: u32 = 2;
const W2: u32 = 3;

fn world() -> World {
    let mut world = World::new(1);
    world.gateway(0, &["10.1.1.1/24", "fd00:1::1/64"]);
    world.pod(0, "w1", &["10.1.1.2", "fd00:1::2"]);
    world.pod(0, "w2", &["10.1.1.3", "fd00:1::3"]);
    world.pod(0, "w3", &["10.1.1.4", "fd00:1::4"]);
    world
}

fn any(action: AclAction) -> Vec<AclRule> {
    Family::BOTH
        .iter()
        .map(|f| AclRule::any_proto(action, Prefix::any(*f), Prefix::any(*f)))
        .collect()
}

fn from(source: &str, proto: u8, ports: (u16, u16)) -> AclRule {
    let src = prefix(source);
    AclRule {
        proto,
        dst_ports: ports,
        ..AclRule::any_proto(AclAction::PermitReflect, src, Prefix::any(src.family()))
    }
}

fn acl(world: &mut World, rules: Vec<AclRule>) -> u32 {
    world.nodes[0].acl_add_replace(None, "t", rules).unwrap()
}

/// w2 isolated for ingress: w1 may reach its TCP port 80; the other direction is open. The policy's ACL.
fn isolated(world: &mut World) -> u32 {
    let policy = acl(
        world,
        vec![
            from("10.1.1.2/32", TCP, (80, 80)),
            from("fd00:1::2/128", TCP, (80, 80)),
        ],
    );
    let deny = acl(world, any(AclAction::Deny));
    let open = acl(world, any(AclAction::PermitReflect));
    world.nodes[0]
        .acl_set_lists(W2, &[open], &[policy, deny])
        .unwrap();
    policy
}

fn works(world: &mut World, from: &str, to: &str, port: u16, proto: u8) -> bool {
    world.ask(from, addr(to), port, proto).is_ok()
}

#[test]
fn the_output_list_is_what_reaches_the_pod() {
    let mut world = world();
    isolated(&mut world);
    for to in ["10.1.1.3", "fd00:1::3"] {
        assert!(works(&mut world, "w1", to, 80, TCP));
        assert!(!works(&mut world, "w1", to, 8080, TCP));
        assert!(!works(&mut world, "w3", to, 80, TCP));
        assert!(!works(&mut world, "w1", to, 80, UDP));
        assert_eq!(world.ping("w1", to, 1).0, 0);
    }
    // What it starts itself is answered.
    for to in ["10.1.1.2", "fd00:1::2"] {
        assert!(works(&mut world, "w2", to, 80, TCP));
        assert!(works(&mut world, "w2", to, 80, UDP));
        assert_eq!(world.ping("w2", to, 1).0, 1);
    }
}

#[test]
fn a_pod_with_only_an_output_list_cannot_talk_at_all() {
    let mut world = world();
    let policy = isolated(&mut world);
    world.nodes[0].acl_set_lists(W2, &[], &[policy]).unwrap();
    assert!(!works(&mut world, "w2", "10.1.1.2", 80, TCP));
    assert!(!works(&mut world, "w2", "fd00:1::2", 80, TCP));
    // Yet it can be reached: the session of the output direction lets answers out; no input list asks.
    assert!(works(&mut world, "w1", "10.1.1.3", 80, TCP));
}

#[test]
fn vpps_own_packets_to_an_isolated_pod_are_dropped_unless_a_rule_permits_them() {
    let mut world = world();
    let policy = isolated(&mut world);
    let echoed = |world: &mut World| {
        let outputs = world.nodes[0].ping(0, addr("10.1.1.3"), 5, SECOND).outputs;
        world.carry(0, outputs).len()
    };
    assert_eq!(echoed(&mut world), 0);
    let permit = vec![from("10.1.1.1/32", 0, (0, u16::MAX))];
    world.nodes[0].acl_add_replace(Some(policy), "p", permit).unwrap();
    assert_eq!(echoed(&mut world), 1);
    // The pod itself reaches the gateway: its own session brings the answer in.
    assert_eq!(world.ping("w2", "10.1.1.1", 1).0, 1);
}

fn live(world: &mut World, from: &str, to: &str) -> Flow {
    let to = addr(to);
    let source = world.source_for(from, to);
    let ports = (world.port(), 80);
    let flow = Flow {
        from: from.to_owned(),
        source,
        to,
        ports,
        proto: TCP,
    };
    flow.open(world).unwrap();
    flow
}

#[test]
fn a_replaced_acl_cuts_what_it_no_longer_permits_and_keeps_the_rest() {
    let mut world = world();
    let policy = isolated(&mut world);
    let flow = live(&mut world, "w1", "10.1.1.3");
    let wider = vec![from("10.1.1.0/24", TCP, (80, 90))];
    world.nodes[0].acl_add_replace(Some(policy), "p", wider).unwrap();
    assert!(flow.echo(&mut world).is_ok());
    let other = vec![from("10.9.9.9/32", TCP, (0, u16::MAX))];
    world.nodes[0].acl_add_replace(Some(policy), "p", other).unwrap();
    assert!(flow.echo(&mut world).is_err());
}

#[test]
fn without_reclassify_old_sessions_outlive_a_replaced_acl() {
    let mut world = world();
    world.nodes[0] = Vpp::new(Config {
        reclassify_sessions: false,
        seed: 0,
        ..Config::default()
    });
    world.plugs.clear();
    world.gateway(0, &["10.1.1.1/24"]);
    world.pod(0, "w1", &["10.1.1.2"]);
    world.pod(0, "w2", &["10.1.1.3"]);
    let policy = isolated(&mut world);
    let flow = live(&mut world, "w1", "10.1.1.3");
    world.nodes[0].acl_add_replace(Some(policy), "p", vec![]).unwrap();
    assert!(flow.echo(&mut world).is_ok());
    assert!(
        !works(&mut world, "w1", "10.1.1.3", 80, TCP),
        "new flows are denied"
    );
    // Another list on the interface ends its sessions.
    let binding = world.nodes[0].acl_binding(W2);
    world.nodes[0]
        .acl_set_lists(W2, &binding.input, &[policy])
        .unwrap();
    assert!(flow.echo(&mut world).is_err());
}

#[test]
fn an_empty_acl_bound_alone_denies_everything() {
    let mut world = world();
    let empty = acl(&mut world, vec![]);
    world.nodes[0].acl_set_lists(W2, &[], &[empty]).unwrap();
    assert!(!works(&mut world, "w1", "10.1.1.3", 80, TCP));
    assert!(!works(&mut world, "w1", "fd00:1::3", 80, TCP));
    world.nodes[0].acl_set_lists(W2, &[], &[]).unwrap();
    assert!(works(&mut world, "w1", "10.1.1.3", 80, TCP));
}

#[test]
fn an_ip4_only_acl_blocks_ip6() {
    let mut world = world();
    let four = acl(&mut world, any(AclAction::Permit)[..1].to_vec());
    world.nodes[0].acl_set_lists(W2, &[], &[four]).unwrap();
    assert!(works(&mut world, "w1", "10.1.1.3", 80, TCP));
    assert!(!works(&mut world, "w1", "fd00:1::3", 80, TCP));
}

#[test]
fn codes_of_lists_and_deletion() {
    let mut world = world();
    let policy = isolated(&mut world);
    let open = world.nodes[0].acl_binding(W2).input[0];
    let vpp = &mut world.nodes[0];
    let code = |r: OpResult| r.unwrap_err();
    assert_eq!(code(vpp.acl_del(policy)), OpError::Retval(-143));
    assert_eq!(code(vpp.acl_del(open)), OpError::Retval(-142));
    assert_eq!(code(vpp.acl_del(77)), OpError::Retval(-6));
    assert_eq!(
        code(vpp.acl_set_lists(4, &[], &[policy, policy])),
        OpError::Retval(1)
    );
    assert_eq!(vpp.acl_binding(4), AclBinding::default());
    assert_eq!(code(vpp.acl_set_lists(4, &[], &[99])), OpError::Retval(-6));
    assert_eq!(code(vpp.acl_set_lists(99, &[], &[])), OpError::Retval(-2));
    // Output is applied before input: a duplicate in the input list leaves the change half done.
    assert_eq!(
        code(vpp.acl_set_lists(4, &[open, open], &[policy])),
        OpError::Retval(1)
    );
    assert_eq!(vpp.acl_binding(4).output, [policy]);
    assert_eq!(
        code(vpp.acl_interface_add_del(4, false, policy, true)),
        OpError::Retval(-143)
    );
    assert_eq!(vpp.acl_interface_add_del(4, false, policy, false), Ok(()));
    assert_eq!(
        code(vpp.acl_interface_add_del(4, false, policy, false)),
        OpError::Retval(-6)
    );
}

#[test]
fn codes_of_rules() {
    let mut vpp = Vpp::default();
    let mut code = |change: &dyn Fn(&mut AclRule)| {
        let mut rule = from("10.1.1.0/24", TCP, (1, 2));
        change(&mut rule);
        vpp.acl_add_replace(None, "t", vec![rule]).unwrap_err()
    };
    assert_eq!(code(&|r| r.src = prefix("10.1.1.1/24")), OpError::Retval(-57));
    assert_eq!(code(&|r| r.dst = prefix("10.1.1.1/24")), OpError::Retval(-58));
    assert_eq!(code(&|r| r.dst = prefix("::/0")), OpError::Retval(-57));
    assert_eq!(code(&|r| r.src = prefix("10.0.0.0/40")), OpError::Retval(-57));
    assert_eq!(code(&|r| r.dst_ports = (3, 2)), OpError::Retval(-8));
    assert_eq!(
        vpp.acl_add_replace(Some(7), "t", vec![]),
        Err(OpError::Retval(-6))
    );
    let long = "x".repeat(64);
    assert_eq!(vpp.acl_add_replace(None, &long, vec![]), Err(OpError::Retval(-7)));
    assert_eq!(vpp.acl_add_replace(None, &long[1..], vec![]), Ok(0));
}

#[test]
fn icmp_echo_opens_a_session_and_other_types_do_not() {
    let mut world = world();
    let echo = AclRule {
        src_ports: (8, 8),
        dst_ports: (0, 255),
        ..from("0.0.0.0/0", 1, (0, 255))
    };
    let echo = acl(&mut world, vec![echo]);
    let open = acl(&mut world, any(AclAction::PermitReflect));
    let deny = acl(&mut world, any(AclAction::Deny));
    world.nodes[0].acl_set_lists(W2, &[deny], &[echo]).unwrap();
    // The answer leaves against the input list, by the session.
    assert_eq!(world.ping("w1", "10.1.1.3", 1).0, 1);
    assert!(!works(&mut world, "w1", "10.1.1.3", 80, TCP));
    world.nodes[0].acl_set_lists(W2, &[deny], &[open]).unwrap();
    // An unsolicited echo reply makes a session for itself only.
    let reply = packets::echo(addr("10.1.1.2"), addr("10.1.1.3"), 9, false, 64, 0);
    assert_eq!(world.send("w1", &reply).len(), 1);
    let sessions = world.nodes[0].acl_sessions();
    assert!(sessions.iter().any(|s| s.ports.0 == 0), "{sessions:?}");
    let back = packets::echo(addr("10.1.1.3"), addr("10.1.1.2"), 9, true, 64, 0);
    assert!(world.send("w2", &back).is_empty());
}

#[test]
fn later_fragments_match_rules_of_their_protocol_whatever_the_ports() {
    let mut world = world();
    isolated(&mut world);
    let fragment = |proto: u8| {
        let mut packet = packets::ip(addr("10.1.1.2"), addr("10.1.1.3"), proto, 64, vec![9; 32], None);
        packet[6..8].copy_from_slice(&[0, 2]);
        // From "don't fragment" to offset 2 the checksum grows by 0x3ffe.
        let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x3ffe;
        let sum = ((sum & 0xffff) + (sum >> 16)) as u16;
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    };
    let vpp = &mut world.nodes[0];
    let mac = vpp.interface(W1).unwrap().mac;
    let mut passes = |proto| {
        let frame = packets::frame(mac, Mac([10, 0, 0, 0, 0, 1]), &fragment(proto));
        vpp.rx(W1, &frame, SECOND).len() == 1
    };
    assert!(passes(TCP));
    assert!(!passes(UDP));
}

#[test]
fn sctp_has_no_ports_for_the_plugin_and_is_neither_tcp_nor_udp() {
    let mut world = world();
    let tcp_only = acl(
        &mut world,
        vec![
            from("0.0.0.0/0", TCP, (0, u16::MAX)),
            from("0.0.0.0/0", UDP, (0, u16::MAX)),
        ],
    );
    world.nodes[0].acl_set_lists(W2, &[], &[tcp_only]).unwrap();
    let packet = packets::sctp(addr("10.1.1.2"), addr("10.1.1.3"), (1000, 80));
    assert!(world.send("w1", &packet).is_empty());
    let sctp = acl(&mut world, vec![from("0.0.0.0/0", packets::SCTP, (0, u16::MAX))]);
    world.nodes[0].acl_set_lists(W2, &[], &[sctp]).unwrap();
    assert_eq!(world.send("w1", &packet).len(), 1);
    // A port in the rule never matches: the plugin reads 0 for SCTP.
    let port = acl(&mut world, vec![from("0.0.0.0/0", packets::SCTP, (80, 80))]);
    world.nodes[0].acl_set_lists(W2, &[], &[port]).unwrap();
    assert!(world.send("w1", &packet).is_empty());
}

#[test]
fn sessions_end_after_their_timeouts() {
    let mut world = world();
    isolated(&mut world);
    assert!(works(&mut world, "w2", "10.1.1.2", 80, UDP));
    let flow = live(&mut world, "w1", "10.1.1.3");
    let half_open = packets::tcp(addr("10.1.1.2"), addr("10.1.1.3"), (999, 80), ACK | PSH, b"x");
    world.send("w1", &half_open);
    let vpp = &mut world.nodes[0];
    let count = |vpp: &Vpp, proto| vpp.acl_sessions().iter().filter(|s| s.proto == proto).count();
    let start = world.now;
    assert_eq!((count(vpp, TCP), count(vpp, UDP)), (2, 1));
    vpp.tick(start + 119 * SECOND);
    assert_eq!(count(vpp, TCP), 2);
    vpp.tick(start + 121 * SECOND);
    assert_eq!(
        (count(vpp, TCP), count(vpp, UDP)),
        (1, 1),
        "the transient one is gone"
    );
    vpp.tick(start + 601 * SECOND);
    assert_eq!((count(vpp, TCP), count(vpp, UDP)), (1, 0));
    vpp.tick(start + 86_401 * SECOND);
    assert_eq!(count(vpp, TCP), 0);
    let _ = (flow, SYN);
}

#[test]
fn acls_also_guard_cross_connected_interfaces() {
    let mut world = world();
    let deny = acl(&mut world, any(AclAction::Deny));
    world.nodes[0].set_l2_xconnect(W1, W2, true).unwrap();
    world.nodes[0].set_l2_xconnect(W2, W1, true).unwrap();
    let frame = packets::frame(
        Mac([10, 0, 0, 0, 0, 2]),
        Mac([10, 0, 0, 0, 0, 1]),
        &packets::udp(addr("10.99.0.1"), addr("10.99.0.2"), (1, 2), b""),
    );
    let vpp = &mut world.nodes[0];
    assert_eq!(
        vpp.rx(W1, &frame, SECOND),
        [Output {
            sw_if_index: W2,
            frame: frame.clone()
        }]
    );
    vpp.acl_set_lists(W2, &[], &[deny]).unwrap();
    assert!(vpp.rx(W1, &frame, SECOND).is_empty());
}

#[test]
fn rules_count_their_packets_when_asked() {
    let mut world = world();
    let policy = isolated(&mut world);
    world.nodes[0].acl_counters_enable(true);
    assert!(works(&mut world, "w1", "10.1.1.3", 80, TCP));
    // Only the packet that opened the session met the list.
    assert_eq!(world.nodes[0].acl(policy).unwrap().matches[0].0, 1);
}

#[test]
fn the_trace_names_the_rule_that_decided() {
    let mut world = world();
    isolated(&mut world);
    let vpp = &mut world.nodes[0];
    let mac = vpp.interface(W1).unwrap().mac;
    let packet = packets::tcp(addr("10.1.1.2"), addr("10.1.1.3"), (1, 81), SYN, &[]);
    let trace = vpp.walk(
        W1,
        &packets::frame(mac, Mac([10, 0, 0, 0, 0, 1]), &packet),
        SECOND,
    );
    assert_eq!(
        trace.path(),
        [
            "ethernet-input",
            "ip4-input",
            "ip4-lookup",
            "ip4-rewrite",
            "acl-plugin-out-ip4-fa",
            "error-drop"
        ]
    );
    assert!(trace.to_string().contains("deny: acl 1 (t) rule 0"), "{trace}");
    assert_eq!(
        trace.fate,
        Fate::Dropped {
            node: "acl-plugin-out-ip4-fa".into(),
            reason: "ACL deny packets".into()
        }
    );
}
