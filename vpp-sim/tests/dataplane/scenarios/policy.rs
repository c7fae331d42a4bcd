//! The acl plugin.

use vpp_api::messages::acl::AclDel;
use vpp_api::types::{AclAction, AclRule};

use crate::bed::Bed;
use crate::make::{any, lists, rule};
use crate::packets::{self, SCTP, TCP, UDP};
use crate::pods::{Answer, Flow, addr};

const DENY: AclAction = AclAction::ACL_ACTION_API_DENY;
const REFLECT: AclAction = AclAction::ACL_ACTION_API_PERMIT_REFLECT;
const ALL: (u16, u16) = (0, u16::MAX);

/// Permits one source to TCP port 80 of whoever has the list.
fn web_from(v4: &str, v6: &str) -> Vec<AclRule> {
    vec![
        rule(REFLECT, v4, "0.0.0.0/0", TCP, (80, 80)),
        rule(REFLECT, v6, "::/0", TCP, (80, 80)),
    ]
}

/// Three pods, w2 isolated for what comes to it: w1 may reach its TCP port 80. The policy's ACL.
fn isolated(bed: &mut Bed) -> (u32, Vec<u32>) {
    let (_, pods) = bed.node(3);
    let policy = bed.acl(web_from("198.18.1.2/32", "2001:2:0:1::2/128"));
    let (deny, open) = (bed.acl(any(DENY)), bed.acl(any(REFLECT)));
    bed.lists(pods[1], &[open], &[policy, deny]);
    (policy, pods)
}

pub fn an_isolated_pod_is_reached_as_permitted_and_may_answer(bed: &mut Bed) {
    isolated(bed);
    for to in ["198.18.1.3", "2001:2:0:1::3"] {
        assert!(bed.reaches("w1", to, 80, TCP), "{to}");
        assert_eq!(bed.ask("w1", to, 8080, TCP), Answer::Lost, "{to}: another port");
        assert_eq!(bed.ask("w1", to, 80, UDP), Answer::Lost, "{to}: another protocol");
        assert_eq!(bed.ask("w3", to, 80, TCP), Answer::Lost, "{to}: another source");
        assert_eq!(bed.ping("w1", to, 1).0, 0, "{to}");
    }
    // It may start what it likes, and is answered.
    assert!(bed.reaches("w2", "198.18.1.4", 80, TCP));
    assert!(bed.reaches("w2", "2001:2:0:1::4", 8080, UDP));
    assert_eq!(bed.ping("w2", "198.18.1.4", 1), (1, Some(63)));
    // Not even the gateway reaches an isolated pod: what it sends by itself passes the list too.
    assert_eq!(
        bed.ping("w2", "198.18.1.1", 1).0,
        1,
        "its answers belong to the pod's session"
    );
}

pub fn a_pod_with_only_an_output_list_cannot_talk(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    let policy = bed.acl(web_from("198.18.1.3/32", "2001:2:0:1::3/128"));
    bed.lists(pods[0], &[], &[policy]);
    assert_eq!(bed.ask("w1", "198.18.1.3", 80, TCP), Answer::Lost);
    let open = bed.acl(any(REFLECT));
    bed.lists(pods[0], &[open], &[policy]);
    assert!(bed.reaches("w1", "198.18.1.3", 80, TCP));
}

pub fn an_empty_acl_denies_everything(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    let empty = bed.acl(Vec::new());
    bed.lists(pods[1], &[], &[empty]);
    assert_eq!(bed.ask("w1", "198.18.1.3", 80, TCP), Answer::Lost);
    bed.lists(pods[1], &[], &[]);
    assert!(bed.reaches("w1", "198.18.1.3", 80, TCP));
}

fn live(bed: &mut Bed, from: &str, port: u16) -> Flow {
    let to = addr("198.18.1.3");
    let source = bed.pod_address(from, to);
    let flow = Flow {
        from: from.into(),
        source,
        to,
        ports: (bed.port(), port),
        proto: TCP,
    };
    assert_eq!(flow.open(bed), Answer::Served("w2".into(), source));
    flow
}

pub fn a_replaced_acl_cuts_the_flow_it_no_longer_permits(bed: &mut Bed) {
    let (policy, pods) = isolated(bed);
    let _ = pods;
    let both = [
        web_from("198.18.1.2/32", "2001:2:0:1::2/128"),
        web_from("198.18.1.4/32", "2001:2:0:1::4/128"),
    ];
    bed.replace_acl(policy, both.concat());
    let (stays, goes) = (live(bed, "w1", 80), live(bed, "w3", 80));
    bed.replace_acl(policy, both[0].clone());
    // Needs `acl-plugin { reclassify sessions 1 }` in the startup configuration, as the daemon does.
    assert_eq!(goes.echo(bed), Answer::Lost, "cut with the next packet");
    assert_eq!(stays.echo(bed), Answer::Served("w2".into(), addr("198.18.1.2")));
    assert_eq!(goes.echo(bed), Answer::Lost);
}

pub fn lists_and_deletions_answer_with_vpps_codes(bed: &mut Bed) {
    let (_, pods) = bed.node(1);
    let (inward, outward) = (bed.acl(any(DENY)), bed.acl(any(DENY)));
    bed.lists(pods[0], &[inward], &[outward]);
    assert_eq!(bed.code(AclDel { acl_index: inward }), -142);
    assert_eq!(bed.code(AclDel { acl_index: outward }), -143);
    assert_eq!(
        bed.code(lists(pods[0], &[inward, inward], &[])),
        1,
        "twice in one list"
    );
    assert_eq!(bed.code(lists(pods[0], &[], &[0x7000])), -6);
    assert_eq!(bed.code(lists(0x7000, &[], &[outward])), -2);
    bed.lists(pods[0], &[inward], &[outward]);
}

pub fn icmp_rules_look_at_the_type(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    let of_type = |family6: bool, proto, kind: u16| AclRule {
        srcport_or_icmptype_first: kind,
        srcport_or_icmptype_last: kind,
        ..if family6 {
            rule(REFLECT, "::/0", "::/0", proto, ALL)
        } else {
            rule(REFLECT, "0.0.0.0/0", "0.0.0.0/0", proto, ALL)
        }
    };
    let open = bed.acl(any(REFLECT));
    let echo = bed.acl(vec![of_type(false, 1, 8), of_type(true, 58, 128)]);
    bed.lists(pods[1], &[open], &[echo]);
    assert_eq!(bed.ping("w1", "198.18.1.3", 1).0, 1);
    assert_eq!(bed.ping("w1", "2001:2:0:1::3", 1).0, 1);
    assert_eq!(bed.ask("w1", "198.18.1.3", 80, TCP), Answer::Lost);
    bed.replace_acl(echo, vec![of_type(false, 1, 13), of_type(true, 58, 130)]);
    assert_eq!(bed.ping("w1", "198.18.1.3", 1).0, 0);
    assert_eq!(bed.ping("w1", "2001:2:0:1::3", 1).0, 0);
}

pub fn an_ipv4_rule_says_nothing_of_ipv6(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    let (open, only4) = (bed.acl(any(REFLECT)), bed.acl(vec![AclRule::any(REFLECT, false)]));
    bed.lists(pods[1], &[open], &[only4]);
    assert!(bed.reaches("w1", "198.18.1.3", 80, TCP));
    assert_eq!(bed.ask("w1", "2001:2:0:1::3", 80, TCP), Answer::Lost);
}

pub fn sctp_has_no_ports(bed: &mut Bed) {
    let (_, pods) = bed.node(2);
    let of = |proto, ports| vec![rule(REFLECT, "0.0.0.0/0", "0.0.0.0/0", proto, ports)];
    let (open, policy) = (bed.acl(any(REFLECT)), bed.acl(of(TCP, ALL)));
    bed.lists(pods[1], &[open], &[policy]);
    let arrives = |bed: &mut Bed| {
        let ports = (bed.port(), 80);
        let packet = packets::sctp(addr("198.18.1.2"), addr("198.18.1.3"), ports);
        !bed.send("w1", &packet).is_empty()
    };
    assert!(!arrives(bed), "a rule for TCP isolates from SCTP");
    bed.replace_acl(policy, of(SCTP, ALL));
    assert!(arrives(bed));
    // The plugin reads port 0 for protocols it does not know.
    bed.lists(pods[1], &[], &[]);
    bed.replace_acl(policy, of(SCTP, (80, 80)));
    bed.lists(pods[1], &[open], &[policy]);
    assert!(!arrives(bed));
}
