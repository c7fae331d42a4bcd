//! Steering: ABF and cross-connects.

use vpp_api::messages::l2::SwInterfaceSetL2Xconnect;
use vpp_api::types::{AclAction, FibPath};
use vpp_sim::engine::Mac;

use crate::bed::Bed;
use crate::make::{POLICIES, rule};
use crate::packets::{self, TCP};
use crate::pods::{Answer, Plug, addr, device};

const PERMIT: AclAction = AclAction::ACL_ACTION_API_PERMIT;

/// Pods w1 and w2 whose packets to each other go through a routed function. Its two sides.
fn chain(bed: &mut Bed) -> (Vec<u32>, u32, u32) {
    let (gateway, pods) = bed.node(3);
    let [inward, outward] = function_between(bed, gateway, &pods);
    (pods, inward, outward)
}

/// Leads what the first two of these pods send to each other through a routed function. Its two sides.
pub(super) fn function_between(bed: &mut Bed, gateway: u32, pods: &[u32]) -> [u32; 2] {
    let mut sides = Vec::new();
    for (name, out, next_hop, last) in [("in", "out", "198.18.77.1", 1), ("out", "in", "198.18.77.2", 2)] {
        let mac = Mac([2, 7, 7, 7, 7, last]);
        let out = device(out);
        let side = bed.link(name, |gateway| Plug::Function { out, mac, gateway });
        bed.unnumbered(gateway, side);
        bed.neighbour(side, addr(next_hop), mac);
        sides.push(side);
    }
    for (n, from, to, side, next_hop) in [
        (0, "198.18.1.2/32", "198.18.1.3/32", sides[0], "198.18.77.1"),
        (1, "198.18.1.3/32", "198.18.1.2/32", sides[1], "198.18.77.2"),
    ] {
        let acl = bed.acl(vec![rule(PERMIT, from, to, 0, (0, u16::MAX))]);
        bed.abf_policy(POLICIES + n, acl, vec![FibPath::via(side, addr(next_hop))]);
        bed.abf_attach(POLICIES + n, pods[n as usize], 10);
    }
    [sides[0], sides[1]]
}

pub fn abf_leads_through_the_function_both_ways(bed: &mut Bed) {
    chain(bed);
    // One hop more each way, and one for the function: 64 - 3.
    assert_eq!(bed.ping("w1", "198.18.1.3", 2), (2, Some(61)));
    assert_eq!(
        bed.ask("w1", "198.18.1.3", 80, TCP),
        Answer::Served("w2".into(), addr("198.18.1.2"))
    );
    let (inward, outward) = (device("in"), device("out"));
    // Two echo requests, and SYN, ACK and data of the connection; the answers come in by the other side.
    assert_eq!(
        (bed.function_frames[&inward], bed.function_frames[&outward]),
        (5, 4)
    );
    // Other traffic is untouched.
    let before = bed.function_frames.clone();
    assert_eq!(bed.ping("w3", "198.18.1.3", 1), (1, Some(63)));
    assert_eq!(bed.ping("w1", "2001:2:0:1::3", 1), (1, Some(63)));
    assert_eq!(bed.function_frames, before);
}

pub fn with_the_function_down_packets_are_dropped(bed: &mut Bed) {
    let (_, inward, _) = chain(bed);
    bed.admin(inward, false);
    assert_eq!(bed.ping("w1", "198.18.1.3", 1).0, 0);
    bed.admin(inward, true);
    assert_eq!(bed.ping("w1", "198.18.1.3", 1), (1, Some(61)));
}

pub fn a_deny_rule_exempts_from_the_detour(bed: &mut Bed) {
    let (pods, inward, _) = chain(bed);
    let deny = AclAction::ACL_ACTION_API_DENY;
    let web = bed.acl(vec![rule(deny, "198.18.1.2/32", "198.18.1.3/32", TCP, (80, 80))]);
    bed.abf_policy(POLICIES + 2, web, vec![FibPath::via(inward, addr("198.18.77.1"))]);
    bed.abf_attach(POLICIES + 2, pods[0], 1);
    assert!(bed.reaches("w1", "198.18.1.3", 80, TCP));
    assert_eq!(bed.function_frames.get(&device("in")), None);
    assert_eq!(bed.ping("w1", "198.18.1.3", 1), (1, Some(61)));
}

pub fn a_cross_connect_needs_both_ways(bed: &mut Bed) {
    let (one, two) = (
        bed.bare_pod("x1", &["198.18.99.1"]),
        bed.bare_pod("x2", &["198.18.99.2"]),
    );
    let change = |rx, tx, enable| SwInterfaceSetL2Xconnect {
        rx_sw_if_index: rx,
        tx_sw_if_index: tx,
        enable,
    };
    let (mac1, mac2) = (bed.pod_mac("x1"), bed.pod_mac("x2"));
    let request = packets::echo(addr("198.18.99.1"), addr("198.18.99.2"), 5, true, 64, 8);
    let frame = packets::frame(mac2, mac1, &request);
    // The peer's answers go straight back to the asker: both are on one link.
    for (name, peer) in [("x1", mac2), ("x2", mac1)] {
        let Some(Plug::Pod { gateway, .. }) = bed.plugs.get_mut(&device(name)) else {
            unreachable!()
        };
        *gateway = peer;
    }
    let across = |bed: &mut Bed| -> Vec<String> {
        let got = bed.send_frame(&device("x1"), &frame);
        got.into_iter().map(|(pod, _)| pod).collect()
    };
    bed.call(change(one, two, true));
    bed.undo_by("cross-connect 1", change(one, two, false));
    assert_eq!(
        across(bed),
        [""; 0],
        "the other side is in L3 mode: nothing leaves it"
    );
    bed.call(change(two, one, true));
    bed.undo_by("cross-connect 2", change(two, one, false));
    assert_eq!(across(bed), ["x2", "x1"]);
    bed.undo("cross-connect 2");
    assert_eq!(across(bed), [""; 0], "back in L3 mode");
}
