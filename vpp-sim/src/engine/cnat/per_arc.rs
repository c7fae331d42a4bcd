//! cnat 0.3.0, which VPP has up to 26.02: its nodes are features to be enabled one by one, each with sessions of its
//! own. A session is the key of a packet at one place, and what the packet becomes there (`cnat_node.h` of 25.10).
//!
//! Translations, policy and ports are those of the later version; there are no source-NAT addresses per table, and nothing
//! is fatal before the addresses are set.
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::flow::{Verdict, lifetime};
use super::session::{FiveTuple, Place, SESSION_MAX_AGE_NS};
use super::{Cnat, path_flag, translation_flag};
use crate::engine::feature::{output_arc, unicast_arc};
use crate::engine::fib::DEFAULT_TABLE;
use crate::engine::packet::hash::flow_hash;
use crate::engine::packet::ip::Ip;
use crate::engine::packet::nat;
use crate::engine::pool::Pool;
use crate::engine::types::{Family, OpResult, retval};
use crate::engine::{FLOW_HASH_DEFAULT, Vpp};

/// A node of cnat 0.3.0 as a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CnatNode {
    /// `cnat-input-ip4/6` on the unicast arc.
    Input,
    /// `cnat-output-ip4/6` on the output arc.
    Output,
    /// `cnat-snat-ip4/6` on the unicast arc: source NAT before routing, for whoever does without the output node.
    Snat,
}

impl CnatNode {
    /// The node of a feature on its arc.
    pub(crate) fn by_name(arc: &str, feature: &str) -> Option<(Family, Self)> {
        let all = [
            (Self::Input, "cnat-input", true),
            (Self::Output, "cnat-output", false),
            (Self::Snat, "cnat-snat", true),
        ];
        let each = Family::BOTH
            .into_iter()
            .flat_map(|family| all.map(|node| (family, node)));
        each.filter(|(family, (_, name, is_input))| {
            let on = if *is_input {
                unicast_arc(*family)
            } else {
                output_arc(*family)
            };
            arc == on && feature == format!("{name}-{}", family.node_prefix())
        })
        .map(|(family, (node, ..))| (family, node))
        .next()
    }
}

type Key = (FiveTuple, Place);

#[derive(Clone, Copy, Debug)]
struct Value {
    tuple: FiveTuple,
    no_nat: Option<IpAddr>,
    group: u32,
}

/// The sessions of a flow: they age together.
#[derive(Clone, Debug)]
struct Group {
    keys: Vec<Key>,
    last_seen: u64,
    lifetime: u64,
    port: Option<(u8, u16)>,
}

/// A session as `cnat_session_dump` of 0.3.0 shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArcSession {
    pub key: FiveTuple,
    /// What the destination becomes.
    pub new: (IpAddr, u16),
    /// 0 input, 1 output, 2 FIB.
    pub location: u8,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct PerArc {
    /// How often a node was enabled; it runs as often.
    features: BTreeMap<(u32, Family, CnatNode), u32>,
    sessions: HashMap<Key, Value>,
    groups: Pool<Group>,
}

impl PerArc {
    pub fn count(&self, sw_if_index: u32, family: Family, node: CnatNode) -> u32 {
        let key = (sw_if_index, family, node);
        self.features.get(&key).copied().unwrap_or(0)
    }

    pub fn interface_gone(&mut self, sw_if_index: u32) {
        self.features.retain(|(index, ..), _| *index != sw_if_index);
    }

    fn find(&mut self, tuple: FiveTuple, place: Place, now: u64) -> Option<Value> {
        let value = *self.sessions.get(&(tuple, place))?;
        self.groups.get_mut(value.group)?.last_seen = now;
        Some(value)
    }

    /// Sessions for a flow and its answers. Where the answers' place is taken there are none: this packet alone is
    /// translated (`cnat_rsession_create`).
    fn create(
        &mut self,
        forward: (Key, FiveTuple),
        back: Option<Place>,
        no_nat: Option<IpAddr>,
        port: Option<(u8, u16)>,
        now: u64,
    ) {
        let ((tuple, place), becomes) = forward;
        let answers = back.map(|place| (becomes.swapped(), place));
        if answers.is_some_and(|key| self.sessions.contains_key(&key)) {
            return;
        }
        let group = self.groups.insert(Group {
            keys: answers.into_iter().chain([(tuple, place)]).collect(),
            last_seen: now,
            lifetime: SESSION_MAX_AGE_NS,
            port,
        });
        let value = |tuple, no_nat| Value { tuple, no_nat, group };
        self.sessions.insert((tuple, place), value(becomes, no_nat));
        if let Some(key) = answers {
            self.sessions.insert(key, value(tuple.swapped(), None));
        }
    }

    fn end(&mut self, over: impl Fn(&Group) -> bool) -> Vec<(u8, u16)> {
        let ended: Vec<u32> = self
            .groups
            .iter()
            .filter(|(_, g)| over(g))
            .map(|(i, _)| i)
            .collect();
        let ended: Vec<Group> = ended.into_iter().filter_map(|i| self.groups.remove(i)).collect();
        for key in ended.iter().flat_map(|group| &group.keys) {
            self.sessions.remove(key);
        }
        ended.into_iter().filter_map(|group| group.port).collect()
    }

    /// Ends what was idle for longer than its life; the ports set free.
    pub fn tick(&mut self, now: u64) -> Vec<(u8, u16)> {
        self.end(|group| group.last_seen.saturating_add(group.lifetime) < now)
    }

    pub fn purge(&mut self) -> Vec<(u8, u16)> {
        self.end(|_| true)
    }

    pub fn list(&self) -> Vec<ArcSession> {
        let keys = self.groups.iter().flat_map(|(_, group)| &group.keys);
        keys.filter_map(|key| {
            let tuple = self.sessions.get(key)?.tuple;
            Some(ArcSession {
                key: key.0,
                new: (tuple.dst, tuple.dst_port),
                location: key.1 as u8,
            })
        })
        .collect()
    }
}

impl Cnat {
    /// Rewrites a packet by the session it has at a place; None if it has none.
    fn by_session(&mut self, ip: &Ip, data: &mut [u8], place: Place, now: u64) -> Option<Verdict> {
        let tuple = nat::five_tuple(ip, data)?;
        let arcs = self.per_arc.as_mut()?;
        let value = arcs.find(tuple, place, now)?;
        if let Some(backend) = value.no_nat {
            return Some(Verdict::Via(backend));
        }
        if let Some(lifetime) = lifetime(data, ip)
            && let Some(group) = arcs.groups.get_mut(value.group)
        {
            group.lifetime = lifetime;
        }
        nat::rewrite(data, ip, &value.tuple);
        Some(Verdict::Rewritten)
    }

    /// `cnat-input` of 0.3.0: a translation's backend, or back to who was source-NATed. At a virtual address's FIB entry
    /// the same happens with sessions of that place.
    pub fn arc_input(&mut self, ip: &Ip, data: &mut [u8], place: Place, now: u64) -> Verdict {
        if let Some(verdict) = self.by_session(ip, data, place, now) {
            return verdict;
        }
        let (_, port) = ip.ports(data);
        let found = self.by_vip.get(&(ip.dst, port, ip.proto));
        let (Some(id), Some(tuple)) = (found.copied(), nat::five_tuple(ip, data)) else {
            return Verdict::Unchanged;
        };
        let Some(translation) = self.translations.get_mut(id) else {
            return Verdict::Unchanged;
        };
        let config = match translation.flow_hash {
            0 => FLOW_HASH_DEFAULT,
            own => own,
        };
        // Without a backend the packet goes on to wherever the FIB sends it.
        let Some((backend, _)) = translation.choose(flow_hash(ip, data, config)) else {
            return Verdict::Unchanged;
        };
        translation.count(data);
        let becomes = FiveTuple {
            dst: backend.dst.address,
            dst_port: backend.dst.port,
            ..tuple
        };
        let no_nat = (backend.flags & path_flag::NO_NAT != 0).then_some(backend.dst.address);
        let answered = translation.flags & translation_flag::NO_RETURN_SESSION == 0;
        let back = if place == Place::Fib {
            Place::Fib
        } else {
            Place::Output
        };
        if let Some(arcs) = self.per_arc.as_mut() {
            arcs.create(
                ((tuple, place), becomes),
                answered.then_some(back),
                no_nat,
                None,
                now,
            );
        }
        if let Some(backend) = no_nat {
            return Verdict::Via(backend);
        }
        nat::rewrite(data, ip, &becomes);
        Verdict::Rewritten
    }

    /// `cnat-output` of 0.3.0: answers back into the virtual address's name, and source NAT of new flows.
    pub fn arc_output(&mut self, ip: &Ip, data: &mut [u8], rx: u32, tx: u32, now: u64) -> Verdict {
        if let Some(verdict) = self.by_session(ip, data, Place::Output, now) {
            return verdict;
        }
        let Some(tuple) = nat::five_tuple(ip, data) else {
            return Verdict::Unchanged;
        };
        let Some(entry) = self.snat.entry(DEFAULT_TABLE) else {
            return Verdict::Unchanged;
        };
        let address = entry.address(ip.family);
        if !entry.applies(&tuple, ip.family, rx, tx) || address.is_unspecified() {
            return Verdict::Unchanged;
        }
        let Some(port) = self.snat.allocate_port(tuple.proto) else {
            return Verdict::Drop("no more free ports");
        };
        // An echo has one identifier.
        let dst_port = if ip.is_icmp() { port } else { tuple.dst_port };
        let becomes = FiveTuple {
            src: address,
            src_port: port,
            dst_port,
            ..tuple
        };
        if let Some(arcs) = self.per_arc.as_mut() {
            let held = Some((tuple.proto, port));
            arcs.create(
                ((tuple, Place::Output), becomes),
                Some(Place::Input),
                None,
                held,
                now,
            );
        }
        nat::rewrite(data, ip, &becomes);
        Verdict::Rewritten
    }
}

impl Vpp {
    /// Makes this VPP one of a release whose cnat has API 0.3.0; before anything is configured.
    pub fn with_cnat_per_arc(mut self) -> Self {
        self.cnat.per_arc = Some(PerArc::default());
        self.cnat.snat.begin_with_no_address();
        self
    }

    /// `feature_enable_disable` for a node of cnat 0.3.0.
    ///
    /// # Errors
    /// −2 unknown interface, −7 this VPP's cnat is a later one, −9 for the node that no one needs beside the output node.
    pub fn cnat_node_enable(
        &mut self,
        sw_if_index: u32,
        family: Family,
        node: CnatNode,
        enable: bool,
    ) -> OpResult {
        self.interface_mut(sw_if_index)?;
        if node == CnatNode::Snat {
            return Err((-9).into());
        }
        let arcs = self.cnat.per_arc.as_mut();
        let arcs = arcs.ok_or(crate::engine::OpError::Retval(retval::INVALID_VALUE))?;
        let count = arcs.features.entry((sw_if_index, family, node)).or_insert(0);
        *count = if enable {
            *count + 1
        } else {
            count.saturating_sub(1)
        };
        Ok(())
    }

    /// How often a node of cnat 0.3.0 is on an interface's arc.
    pub fn cnat_node_count(&self, sw_if_index: u32, family: Family, node: CnatNode) -> u32 {
        let arcs = self.cnat.per_arc.as_ref();
        arcs.map_or(0, |arcs| arcs.count(sw_if_index, family, node))
    }

    /// `cnat_session_dump` of 0.3.0.
    pub fn cnat_arc_sessions(&self) -> Vec<ArcSession> {
        self.cnat.per_arc.as_ref().map_or_else(Vec::new, PerArc::list)
    }
}
