//! Bridge domains. What frames and tables are expected was seen on VPP 26.06 with the same configuration and order; what becomes
//! of a fresh unknown-unicast port, of ageing, of ACLs and of deleted interfaces was read in its source (`src/vnet/l2`).
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]
mod engine_common;

use engine_common::packets::{self, raw_frame};
use engine_common::script::Bench;
use engine_common::world::{SECOND, addr, prefix};
use vpp_sim::engine::BridgePort::{Bvi, Normal, UuFwd};
use vpp_sim::engine::bridge_feature::{FLOOD, FWD, LEARN, UU_FLOOD};
use vpp_sim::engine::*;

const ID: u32 = 5;
const ALL: Mac = Mac([0xff; 6]);
const PORTS: [&str; 3] = ["a", "b", "c"];

fn host(n: u8) -> Mac {
    Mac([2, 0, 0, 9, 0, n])
}

struct Lan(Bench);

impl Lan {
    /// Ports a, b and c in one domain.
    fn new() -> Self {
        let mut lan = Self(Bench::layer2());
        for port in PORTS {
            lan.join(port, Normal, 0);
        }
        lan
    }

    fn join(&mut self, port: &str, kind: BridgePort, shg: u8) {
        let index = self.0.port(port);
        self.0.vpp.set_l2_bridge(index, Some((ID, kind, shg))).unwrap();
    }

    fn receive(&mut self, port: &str, frame: &[u8]) -> Vec<Output> {
        let index = self.0.port(port);
        self.0.now += 1_000_000;
        self.0.vpp.rx(index, frame, self.0.now)
    }

    fn name(&self, index: u32) -> String {
        let n = self.0.ports.iter().position(|p| *p == index);
        n.map_or_else(|| index.to_string(), |n| PORTS[n].to_owned())
    }

    /// Names of the ports a frame leaves by.
    fn send(&mut self, port: &str, dst: Mac, src: Mac) -> String {
        let frame = raw_frame(dst, src, [0x88, 0xb5], &[b'x'; 50]);
        let outputs = self.receive(port, &frame);
        assert!(outputs.iter().all(|o| o.frame == frame));
        let mut names: Vec<_> = outputs.iter().map(|o| self.name(o.sw_if_index)).collect();
        names.sort_unstable();
        names.concat()
    }

    /// `9 on a`, with s, f and b for static, filter and BVI.
    fn fib(&self) -> String {
        let entries = self.0.vpp.l2_fib().into_iter();
        let lines = entries.map(|e| {
            let on = if e.is_filter {
                "-".to_owned()
            } else {
                self.name(e.sw_if_index)
            };
            let flags = [(e.is_static, 's'), (e.is_filter, 'f'), (e.is_bvi, 'b')];
            let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, c)| c).collect();
            format!("{} on {on}{flags}", e.mac.0[5])
        });
        lines.collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn addresses_are_learnt() {
    let mut lan = Lan::new();
    assert_eq!(lan.send("a", host(2), host(1)), "bc", "unknown: flooded");
    assert_eq!(lan.fib(), "1 on a");
    assert_eq!(lan.send("b", host(1), host(2)), "a");
    assert_eq!(lan.send("a", host(2), host(1)), "b");
    assert_eq!(lan.send("a", host(1), host(1)), "", "back where it came from");
    assert_eq!(lan.send("a", ALL, host(1)), "bc");
    assert_eq!(
        lan.send("c", host(1), host(1)),
        "",
        "moved, and then a reflection"
    );
    assert_eq!(lan.fib(), "1 on c, 2 on b");
    assert_eq!(lan.send("c", host(2), Mac([0; 6])), "b");
    assert_eq!(lan.fib(), "1 on c, 2 on b", "the zero address is not learnt");
    let c = lan.0.port("c");
    lan.0.vpp.l2fib_flush_interface(c).unwrap();
    assert_eq!(lan.fib(), "2 on b");
    assert_eq!(lan.send("b", host(1), host(2)), "ac");
}

#[test]
fn what_is_not_heard_for_minutes_is_forgotten() {
    let mut lan = Lan::new();
    lan.0.vpp.set_bridge_mac_age(ID, 2).unwrap();
    lan.0.now = 60 * SECOND;
    lan.send("a", ALL, host(1));
    lan.0.vpp.tick(179 * SECOND);
    assert_eq!(lan.fib(), "1 on a");
    lan.0.vpp.tick(180 * SECOND);
    assert_eq!(lan.fib(), "");
}

#[test]
fn members_of_a_split_horizon_group_do_not_hear_each_other() {
    let mut lan = Lan::new();
    lan.join("a", Normal, 1);
    lan.join("b", Normal, 1);
    assert_eq!(lan.send("a", ALL, host(1)), "c");
    assert_eq!(lan.send("c", ALL, host(3)), "ab");
    assert_eq!(lan.send("b", ALL, host(2)), "c");
    assert_eq!(lan.send("a", host(2), host(1)), "", "also when known");
    assert_eq!(lan.send("c", host(2), host(3)), "b");
}

#[test]
fn given_addresses() {
    let mut lan = Lan::new();
    let a = lan.0.port("a");
    lan.0.vpp.l2fib_add(ID, host(7), a, true, false).unwrap();
    lan.0.vpp.l2fib_add(ID, host(8), a, false, false).unwrap();
    lan.0.vpp.l2fib_add_filter(ID, host(9)).unwrap();
    assert_eq!(lan.send("b", ALL, host(7)), "", "a static address does not move");
    assert_eq!(lan.send("b", host(7), host(2)), "a");
    assert_eq!(lan.send("b", ALL, host(8)), "ac", "any other does");
    assert_eq!(lan.send("a", ALL, host(9)), "");
    assert_eq!(lan.send("a", host(9), host(1)), "");
    assert_eq!(lan.fib(), "1 on a, 2 on b, 7 on as, 8 on b, 9 on -sf");
    assert_eq!(
        lan.0.vpp.l2fib_del(ID, host(7), lan.0.port("b")),
        Err((-6).into())
    );
    lan.0.vpp.l2fib_flush_domain(ID).unwrap();
    assert_eq!(lan.fib(), "7 on as, 9 on -sf");
}

#[test]
fn features_of_a_domain() {
    let mut lan = Lan::new();
    let set = |lan: &mut Lan, feature, on| lan.0.vpp.set_bridge_flags(ID, feature, on).unwrap();
    assert_eq!(set(&mut lan, LEARN, false), 0xffff_fda7);
    lan.send("a", host(5), host(4));
    assert_eq!(lan.fib(), "");
    assert_eq!(set(&mut lan, LEARN, true), 0xffff_ffa7);
    set(&mut lan, UU_FLOOD, false);
    assert_eq!(lan.send("a", host(5), host(4)), "");
    assert_eq!(lan.send("a", ALL, host(4)), "bc");
    set(&mut lan, UU_FLOOD, true);
    set(&mut lan, FLOOD, false);
    assert_eq!(lan.send("a", host(5), host(4)), "bc");
    assert_eq!(lan.send("a", ALL, host(4)), "");
    set(&mut lan, FLOOD, true);
    set(&mut lan, FWD, false);
    assert_eq!(lan.send("b", host(4), host(3)), "ac", "all is flooded");
    set(&mut lan, UU_FLOOD, false);
    assert_eq!(lan.send("a", host(3), host(4)), "bc");
}

#[test]
fn unknown_addresses_go_to_the_port_for_them() {
    let mut lan = Lan::new();
    lan.join("c", UuFwd, 0);
    assert_eq!(lan.send("a", host(6), host(4)), "c");
    assert_eq!(lan.send("a", ALL, host(4)), "b", "which is no member");
    assert_eq!(lan.send("c", host(4), host(2)), "a");
    assert_eq!(
        lan.send("c", host(6), host(2)),
        "ab",
        "what comes from there is flooded"
    );
}

#[test]
fn a_bvi_leads_to_layer_3() {
    let mut lan = Lan::new();
    let mac = Mac([2, 0, 0, 0, 0, 0x55]);
    let vpp = &mut lan.0.vpp;
    let bvi = vpp.create_bvi(NONE, mac).unwrap();
    vpp.set_admin(bvi, true).unwrap();
    vpp.set_l2_bridge(bvi, Some((ID, Bvi, 0))).unwrap();
    vpp.add_address(bvi, prefix("10.9.0.1/24")).unwrap();
    let ask = |n: u8| packets::arp(1, (host(n), [10, 9, 0, n]), (Mac([0; 6]), [10, 9, 0, 1]), ALL);
    let outputs = lan.receive("a", &ask(2));
    let names: Vec<_> = outputs.iter().map(|o| lan.name(o.sw_if_index)).collect();
    assert_eq!(names, ["c", "b", "a"], "the BVI is last");
    assert_eq!(outputs[2].frame[..12], [host(2).0, mac.0].concat());
    lan.receive("b", &ask(3));
    let echo = packets::echo(addr("10.9.0.2"), addr("10.9.0.1"), 5, true, 64, 32);
    let outputs = lan.receive("a", &packets::frame(mac, host(2), &echo));
    assert_eq!(outputs.len(), 1);
    assert_eq!(outputs[0].sw_if_index, lan.0.port("a"));
    let udp = packets::udp(addr("10.9.0.2"), addr("10.9.0.3"), (5, 6), b"hello");
    let outputs = lan.receive("a", &packets::frame(mac, host(2), &udp));
    assert_eq!(outputs.len(), 1, "routed from the BVI to the BVI");
    assert_eq!(outputs[0].sw_if_index, lan.0.port("b"));
    assert_eq!(outputs[0].frame[..12], [host(3).0, mac.0].concat());
    assert_eq!(
        lan.send("c", host(77), host(4)),
        "ab",
        "not an address of the BVI"
    );
    assert_eq!(lan.send("b", ALL, mac), "", "the BVI's address does not move");
    // The address goes with the BVI.
    assert_eq!(lan.fib(), format!("85 on {bvi}sb, 2 on a, 3 on b, 4 on c"));
    lan.0.vpp.set_l2_bridge(bvi, None).unwrap();
    assert_eq!(lan.fib(), "2 on a, 3 on b, 4 on c");
}

#[test]
fn nothing_is_flooded_to_a_loopback() {
    let mut lan = Lan::new();
    let loopback = lan.0.vpp.create_loopback(Mac([0; 6]), None).unwrap();
    lan.0.vpp.set_admin(loopback, true).unwrap();
    lan.0.vpp.set_l2_bridge(loopback, Some((ID, Normal, 0))).unwrap();
    assert_eq!(lan.send("a", ALL, host(1)), "bc");
    assert_eq!(lan.0.vpp.bridge_domains()[0].members.last(), Some(&(loopback, 0)));
}

#[test]
fn an_interface_that_goes_leaves_its_domain() {
    let mut lan = Lan::new();
    lan.send("a", ALL, host(1));
    lan.0.vpp.delete_af_packet("a").unwrap();
    assert_eq!(lan.fib(), "");
    assert_eq!(lan.0.vpp.bridge_domains()[0].members.len(), 2);
    assert_eq!(lan.send("b", ALL, host(2)), "c");
}

#[test]
fn an_access_list_denies_frames_before_they_are_learnt() {
    let mut lan = Lan::new();
    let a = lan.0.port("a");
    let any = Prefix::any(Family::V4);
    let denies = AclRule::any_proto(AclAction::Deny, any, any);
    let acl = lan.0.vpp.acl_add_replace(None, "none", vec![denies]).unwrap();
    lan.0.vpp.acl_set_lists(a, &[acl], &[]).unwrap();
    let udp = packets::udp(addr("10.9.0.2"), addr("10.9.0.3"), (5, 6), b"hello");
    assert!(lan.receive("a", &packets::frame(ALL, host(1), &udp)).is_empty());
    assert_eq!(lan.fib(), "");
    assert_eq!(lan.send("a", ALL, host(1)), "bc", "it looks at IP only");
}
