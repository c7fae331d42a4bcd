//! What an accept becomes in an ACL, so that VPP's sessions follow the policies.
//!
//! A session is made by the first packet that a permit+reflect rule takes, and from then on lets both directions pass
//! without a look at the lists. After a change of the lists VPP judges it anew, but only when a packet goes the way of
//! the one that *made* it (`stale_session_deleted` in VPP's `acl/dataplane_node.c`): the session is deleted, the packet
//! looked up, and a new session made only if a permit+reflect rule takes the packet again. Two things follow:
//!
//! - A flow that is still allowed must find permit+reflect in the middle of its life, or its session is gone and a pod
//!   that is isolated the other way too gets no replies any more. So TCP cannot be left to rules that reflect only SYN.
//! - A flow that is no longer allowed comes back to life if the other end, whose direction is open, may make a session
//!   from the middle: a server that goes on pushing would reopen the way for the client it may no longer serve.
//!
//! What tells the two apart is which end is the client, and that shows in the ports: Linux takes client ports from
//! [`CLIENT_PORTS`] upwards. A TCP packet with ACK towards such a port is on its way back to a client; it is let pass
//! by itself and makes no session. Everything else is permit+reflect. A policy that names only ports in that range means
//! servers there, so nothing is left out then.

use crds::net::Cidr;

use super::policy::{any, whole};
use crate::objects::{Action, Rule, TcpFlags};

/// First port that clients take by themselves (`net.ipv4.ip_local_port_range` of Linux; RFC 6335 begins higher, at
/// 49152).
const CLIENT_PORTS: u16 = 32_768;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const ICMP6: u8 = 58;

/// ACK is set: all of a connection but its first packet.
const ACK: TcpFlags = TcpFlags {
    mask: 0x10,
    value: 0x10,
};

/// Adds the rules of one accept. They stand together, so that order among accepts and denies stays as it was.
pub(super) fn push(accept: Rule, rules: &mut Vec<Rule>) {
    rules.extend(towards_clients(&accept));
    rules.push(accept);
}

/// The part of an accept that must not make sessions.
fn towards_clients(accept: &Rule) -> Option<Rule> {
    let (first, last) = match accept.protocol {
        0 => (0, u16::MAX),
        TCP => accept.destination_ports,
        _ => return None,
    };
    let named = first >= CLIENT_PORTS;
    (!named && last >= CLIENT_PORTS).then_some(Rule {
        action: Action::Permit,
        protocol: TCP,
        destination_ports: (CLIENT_PORTS, last),
        tcp_flags: ACK,
        ..*accept
    })
}

/// Everything passes, as far as this direction is asked.
pub(super) fn everything() -> Vec<Rule> {
    let mut rules = Vec::new();
    for ipv6 in [false, true] {
        push(whole(Action::Reflect, any(ipv6), any(ipv6)), &mut rules);
    }
    rules
}

/// ICMP errors: unreachable, packet too big, time exceeded, parameter problem (RFC 792, RFC 4443). Routers send them
/// under their own addresses about flows that are allowed, and VPP does not look inside for the flow; path MTU discovery
/// fails without them, and they open nothing.
pub(super) fn icmp_errors() -> Vec<Rule> {
    let rule = |everything: Cidr, protocol, types| Rule {
        protocol,
        // VPP has the type of ICMP where other protocols have the source port, the code in place of the destination's.
        source_ports: types,
        destination_ports: (0, u16::from(u8::MAX)),
        ..whole(Action::Permit, everything, everything)
    };
    vec![
        rule(any(false), ICMP, (3, 3)),
        rule(any(false), ICMP, (11, 12)),
        rule(any(true), ICMP6, (1, 4)),
    ]
}
