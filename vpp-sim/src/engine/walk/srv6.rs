//! Segment routing in the graph: `sr-localsid*` and `sr-pl-rewrite-*`.
use super::{MAX_DEPTH, Packet, Walk};
use crate::engine::Vpp;
use crate::engine::fib::FLOW_HASH_DEFAULT;
use crate::engine::packet::ETHERNET_LEN;
use crate::engine::packet::hash::flow_hash;
use crate::engine::packet::ip::{Ip, decrement_ttl};
use crate::engine::srv6::{LocalSid, SegmentList, behavior, header, policy_type};
use crate::engine::types::Family;

const STEERED: &str = "SR steered IPv6 packets";

/// Hash of a payload's flow, by which lists are chosen and flow labels made.
fn payload_hash(data: &[u8]) -> u32 {
    Ip::parse(data).map_or(0, |ip| flow_hash(&ip, data, FLOW_HASH_DEFAULT))
}

fn localsid_node(number: u8) -> &'static str {
    match number {
        behavior::UN_PERF | behavior::UA => "sr-localsid-un-perf",
        behavior::UN => "sr-localsid-un",
        behavior::END | behavior::X | behavior::T => "sr-localsid",
        _ => "sr-localsid-d",
    }
}

/// Where a packet goes after its local SID.
enum Next {
    /// The table of the packet, or another; in the payload's family.
    Lookup(Family, Option<u32>),
    Neighbour(Family),
    Frame,
}

impl Vpp {
    /// A packet to one of this node's SIDs.
    pub(super) fn sr_localsid(&mut self, w: &mut Walk, mut packet: Packet, index: u32) {
        let Some(sid) = self.srv6.localsid(index).cloned() else {
            return self.drop_packet(w, packet.rx, "sr-localsid", "local SID is gone");
        };
        let node = localsid_node(sid.behavior);
        let result = self.behave(&sid, &mut packet);
        let length = packet.data.len() as u64;
        if let Some(sid) = self.srv6.localsid_mut(index) {
            let traffic = if result.is_ok() {
                &mut sid.good
            } else {
                &mut sid.bad
            };
            traffic.packets += 1;
            traffic.bytes += length;
        }
        w.node(node, || format!("{} behaviour {}", sid.prefix, sid.behavior));
        let next = match result {
            Ok(next) => next,
            Err(reason) => return self.drop_packet(w, packet.rx, node, reason),
        };
        if w.depth >= MAX_DEPTH {
            return self.drop_packet(w, packet.rx, node, "loop");
        }
        w.depth += 1;
        match next {
            Next::Lookup(family, table) => {
                packet.table = table.or(packet.table);
                packet.local = false;
                self.ip_lookup(w, family, packet);
            }
            Next::Neighbour(family) => {
                packet.local = false;
                self.rewrite(w, family, packet, sid.interface_or_fib, sid.next_hop());
            }
            Next::Frame => {
                w.node("l2-output", String::new);
                self.interface_output(w, packet.rx, sid.interface_or_fib, packet.data);
            }
        }
        w.depth -= 1;
    }

    /// Does to the packet what the behaviour says.
    fn behave(&self, sid: &LocalSid, packet: &mut Packet) -> Result<Next, &'static str> {
        // A table that was unknown when the SID was made counts as the one the packet came in by.
        let table = sid
            .table_family()
            .and_then(|family| self.fibs.table_by_fib_index(family, sid.interface_or_fib));
        let micro = sid.micro_sid;
        match sid.behavior {
            behavior::END | behavior::X | behavior::T => {
                header::end(&mut packet.data, sid.end_psp)?;
                Ok(match sid.behavior {
                    behavior::X => Next::Neighbour(Family::V6),
                    _ => Next::Lookup(Family::V6, table),
                })
            }
            behavior::UN_PERF | behavior::UA => {
                header::shift_micro_sid(&mut packet.data, micro.index, micro.len, false);
                Ok(match sid.behavior {
                    behavior::UA => Next::Neighbour(Family::V6),
                    _ => Next::Lookup(Family::V6, None),
                })
            }
            behavior::UN => {
                if !header::shift_micro_sid(&mut packet.data, micro.index, micro.len, true) {
                    header::end(&mut packet.data, sid.end_psp)?;
                }
                Ok(Next::Lookup(Family::V6, None))
            }
            _ => {
                let (proto, at) = header::payload(&packet.data)?;
                let next = match (sid.behavior, proto) {
                    (behavior::DX6, header::IPV6) => Next::Neighbour(Family::V6),
                    (behavior::DT6, header::IPV6) => Next::Lookup(Family::V6, table),
                    (behavior::DX4, header::IP_IN_IP) => Next::Neighbour(Family::V4),
                    (behavior::DT4, header::IP_IN_IP) => Next::Lookup(Family::V4, table),
                    (behavior::DX2, header::ETHERNET) => Next::Frame,
                    _ => return Err(header::error::NO_INNER_HEADER),
                };
                packet.data.drain(..at);
                Ok(next)
            }
        }
    }

    /// A packet that was steered into a policy, or sent to its binding SID.
    pub(super) fn sr_policy(
        &mut self,
        w: &mut Walk,
        family: Family,
        packet: Packet,
        policy: u32,
        to_bsid: bool,
    ) {
        let Some(is_encap) = self.srv6.policy(policy).map(|policy| policy.is_encap) else {
            return self.drop_packet(w, packet.rx, "ip6-lookup", "policy is gone");
        };
        let node = match (is_encap, to_bsid, family) {
            (true, true, _) => "sr-pl-rewrite-b-encaps",
            (true, false, Family::V6) => "sr-pl-rewrite-encaps",
            (true, false, Family::V4) => "sr-pl-rewrite-encaps-v4",
            (false, true, _) => "sr-pl-rewrite-b-insert",
            (false, false, _) => "sr-pl-rewrite-insert",
        };
        if w.depth >= MAX_DEPTH {
            return self.drop_packet(w, packet.rx, node, "loop");
        }
        let hash = payload_hash(&packet.data);
        let lists: Vec<SegmentList> = self.srv6.choose(policy, hash).into_iter().cloned().collect();
        if lists.is_empty() {
            return self.drop_packet(w, packet.rx, node, "policy without segment list");
        }
        for list in lists {
            w.depth += 1;
            if is_encap {
                self.sr_encap(w, family, packet.clone(), &list, to_bsid, node);
            } else {
                self.sr_insert(w, packet.clone(), &list, to_bsid, node);
            }
            w.depth -= 1;
        }
    }

    fn sr_encap(
        &mut self,
        w: &mut Walk,
        family: Family,
        mut packet: Packet,
        list: &SegmentList,
        to_bsid: bool,
        node: &str,
    ) {
        let tef = list.policy_type == policy_type::TEF;
        if to_bsid && let Err(reason) = header::advance_before_encap(&mut packet.data, tef) {
            return self.drop_packet(w, packet.rx, node, reason);
        }
        // Without a look at what is left of it (`encaps_processing_v4`, `_v6`).
        decrement_ttl(&mut packet.data, family);
        let (proto, class) = match family {
            Family::V4 => (header::IP_IN_IP, packet.data[1]),
            Family::V6 => (header::IPV6, (packet.data[0] << 4) | (packet.data[1] >> 4)),
        };
        let hash = payload_hash(&packet.data);
        packet.data = header::encapsulate(&list.rewrite, &packet.data, proto, class, hash);
        if tef {
            header::stamp(&mut packet.data, w.now);
        }
        if !to_bsid {
            packet.table = Some(list.egress_table);
        }
        self.sr_to_first_segment(w, packet, node);
    }

    fn sr_insert(&mut self, w: &mut Walk, mut packet: Packet, list: &SegmentList, to_bsid: bool, node: &str) {
        decrement_ttl(&mut packet.data, Family::V6);
        if to_bsid {
            header::insert(&mut packet.data, &list.rewrite_bsid, false);
        } else {
            header::insert(&mut packet.data, &list.rewrite, true);
        }
        self.sr_to_first_segment(w, packet, node);
    }

    fn sr_to_first_segment(&mut self, w: &mut Walk, mut packet: Packet, node: &str) {
        // Counted in one node for all that encapsulate and one for all that insert.
        let counted_in = if node.ends_with("insert") {
            "sr-pl-rewrite-insert"
        } else {
            "sr-pl-rewrite-encaps"
        };
        self.errors.count(counted_in, STEERED);
        w.node(node, || match Ip::parse(&packet.data) {
            Ok(ip) => format!("{} -> {}", ip.src, ip.dst),
            Err(reason) => reason.to_owned(),
        });
        packet.local = false;
        self.ip_lookup(w, Family::V6, packet);
    }

    /// `sr-pl-rewrite-encaps-l2`: a frame of an interface whose frames are steered.
    pub(super) fn sr_encap_frame(&mut self, w: &mut Walk, rx: u32, policy: u32, frame: &[u8]) {
        let node = "sr-pl-rewrite-encaps-l2";
        let hash = payload_hash(frame.get(ETHERNET_LEN..).unwrap_or(&[]));
        let Some(list) = self.srv6.choose_l2(policy, hash).cloned() else {
            return self.drop_packet(w, rx, node, "policy is gone");
        };
        if w.depth >= MAX_DEPTH {
            return self.drop_packet(w, rx, node, "loop");
        }
        let data = header::encapsulate(&list.rewrite, frame, header::ETHERNET, 0, hash);
        w.depth += 1;
        // Looked up in the table of the interface, whatever that of the policy is.
        self.sr_to_first_segment(w, Packet::new(data, rx), node);
        w.depth -= 1;
    }
}
