//! Bridge domains (`vnet/l2`): members, the addresses they learn, and how long they remember.
use std::collections::BTreeMap;

use super::Vpp;
use super::interface::Kind;
use super::types::{Mac, NONE, OpError, OpResult, retval};

/// Highest id of a bridge domain.
const ID_MAX: u32 = (1 << 24) - 1;

const NANOS_PER_MINUTE: u64 = 60_000_000_000;

/// Numbers of BVI interfaces end here.
const BVI_MAX: u32 = 16 * 1024;

/// Bits of a bridge domain's features (`l2_input.h`).
pub mod bridge_feature {
    pub const FLOOD: u32 = 1 << 2;
    pub const ARP_UFWD: u32 = 1 << 3;
    pub const ARP_TERM: u32 = 1 << 4;
    pub const UU_FLOOD: u32 = 1 << 5;
    pub const UU_FWD: u32 = 1 << 6;
    pub const FWD: u32 = 1 << 7;
    pub const LEARN: u32 = 1 << 9;
}

use bridge_feature::{ARP_TERM, ARP_UFWD, LEARN, UU_FWD};

/// What an interface is to its bridge domain (`l2_bd_port_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgePort {
    Normal,
    Bvi,
    /// Frames to unknown addresses go here.
    UuFwd,
}

/// Place of a member in the order of flooding (`vnet_flood_class_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum FloodClass {
    Bvi,
    Normal,
    Tunnel,
    NoFlood,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    sw_if_index: u32,
    shg: u8,
    class: FloodClass,
    is_bvi: bool,
}

#[derive(Clone, Debug, Default)]
struct Domain {
    /// None where the slot is free.
    id: Option<u32>,
    features: u32,
    mac_age: u8,
    tag: String,
    bvi: Option<u32>,
    uu_fwd: Option<u32>,
    members: Vec<Member>,
}

impl Domain {
    fn new(id: u32, mac_age: u8) -> Self {
        Self {
            id: Some(id),
            features: !(ARP_TERM | UU_FWD | ARP_UFWD),
            mac_age,
            ..Self::default()
        }
    }
}

/// An interface in bridge mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Slot of its domain.
    domain: usize,
    pub shg: u8,
    pub is_bvi: bool,
    learns: bool,
}

/// An address of a bridge domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub sw_if_index: u32,
    is_static: bool,
    pub is_filter: bool,
    pub is_bvi: bool,
    /// Given, not learnt.
    provisioned: bool,
    heard: u64,
}

/// An address as `l2_fib_table_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2FibEntry {
    pub bd_id: u32,
    pub mac: Mac,
    /// [`NONE`](super::NONE) for a filter.
    pub sw_if_index: u32,
    pub is_static: bool,
    pub is_filter: bool,
    pub is_bvi: bool,
}

/// A bridge domain as `bridge_domain_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeDomainDetails {
    pub bd_id: u32,
    /// See [`bridge_feature`].
    pub features: u32,
    pub mac_age: u8,
    pub tag: String,
    pub bvi: Option<u32>,
    pub uu_fwd: Option<u32>,
    /// Interface and split-horizon group.
    pub members: Vec<(u32, u8)>,
}

/// Settings of a new bridge domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgeDomainConfig {
    /// Those of FLOOD, UU_FLOOD, FWD, LEARN, ARP_TERM and ARP_UFWD that are on.
    pub features: u32,
    pub mac_age: u8,
    pub tag: String,
}

/// What may be switched in a bridge domain.
const SWITCHED: u32 =
    bridge_feature::FLOOD | bridge_feature::UU_FLOOD | bridge_feature::FWD | LEARN | ARP_TERM | ARP_UFWD;

/// What learning makes of the sender's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learnt {
    Done,
    Drop(&'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Bridges {
    domains: Vec<Domain>,
    ports: BTreeMap<u32, Port>,
    fib: BTreeMap<(usize, Mac), Entry>,
    /// Features of its domain as each interface last saw them as a member. VPP tells members alone: a port that is
    /// none goes on with what it was told before, at first nothing (`bd_input_walk`).
    told: BTreeMap<u32, u32>,
    /// Interfaces that were BVIs: nothing is flooded to them any more (`set_int_l2_mode`).
    former_bvis: std::collections::BTreeSet<u32>,
    /// State of VPP's search for free ids.
    id_seed: u32,
}

impl Default for Bridges {
    /// Domain 0 is there from the start.
    fn default() -> Self {
        Self {
            domains: vec![Domain::new(0, 0)],
            ports: BTreeMap::new(),
            fib: BTreeMap::new(),
            told: BTreeMap::new(),
            former_bvis: std::collections::BTreeSet::new(),
            id_seed: 0,
        }
    }
}

impl Bridges {
    fn slot(&self, id: u32) -> Option<usize> {
        self.domains.iter().position(|d| d.id == Some(id))
    }

    fn add(&mut self, id: u32) -> usize {
        let free = self.domains.iter().position(|d| d.id.is_none());
        let slot = free.unwrap_or_else(|| {
            self.domains.push(Domain::default());
            self.domains.len() - 1
        });
        // The age is the only thing a slot keeps from its last use.
        self.domains[slot] = Domain::new(id, self.domains[slot].mac_age);
        slot
    }

    pub fn port(&self, sw_if_index: u32) -> Option<Port> {
        self.ports.get(&sw_if_index).copied()
    }

    /// The features that both the domain and the interface have on.
    pub fn features(&self, port: Port, rx: u32) -> u32 {
        let off = if port.learns { 0 } else { LEARN };
        self.told.get(&rx).copied().unwrap_or(0) & !off
    }

    fn tell_members(&mut self, slot: usize) {
        let domain = &self.domains[slot];
        for member in &domain.members {
            self.told.insert(member.sw_if_index, domain.features);
        }
    }

    pub fn uu_fwd(&self, port: Port) -> Option<u32> {
        self.domains[port.domain].uu_fwd
    }

    pub fn lookup(&self, port: Port, mac: Mac) -> Option<Entry> {
        self.fib.get(&(port.domain, mac)).copied()
    }

    /// Who hears a flooded frame, in order; the BVI is last.
    pub fn flood(&self, port: Port, rx: u32, shg: u8) -> Vec<(u32, bool)> {
        let members = self.domains[port.domain].members.iter().rev();
        members
            .filter(|m| m.class != FloodClass::NoFlood)
            .filter(|m| m.sw_if_index != rx && (shg == 0 || m.shg != shg))
            .map(|m| (m.sw_if_index, m.is_bvi))
            .collect()
    }

    /// `l2-learn`.
    pub fn learn(&mut self, port: Port, rx: u32, mac: Mac, now: u64) -> Learnt {
        match self.fib.get_mut(&(port.domain, mac)) {
            Some(known) if known.sw_if_index == rx => {
                known.heard = now;
            }
            Some(known) if known.is_filter => return Learnt::Drop("L2 filter mac drops"),
            Some(known) if known.is_static => return Learnt::Drop("L2 mac move violations"),
            Some(known) => {
                known.sw_if_index = rx;
                known.provisioned = false;
                known.heard = now;
            }
            None if mac.is_zero() => {}
            None => {
                let entry = Entry {
                    sw_if_index: rx,
                    is_static: false,
                    is_filter: false,
                    is_bvi: false,
                    provisioned: false,
                    heard: now,
                };
                self.fib.insert((port.domain, mac), entry);
            }
        }
        Learnt::Done
    }

    /// Takes an interface out of its domain; what was learnt on it is forgotten.
    pub fn leave(&mut self, sw_if_index: u32, mac: Mac) {
        let Some(port) = self.ports.remove(&sw_if_index) else {
            return;
        };
        let domain = &mut self.domains[port.domain];
        domain.members.retain(|m| m.sw_if_index != sw_if_index);
        if domain.bvi == Some(sw_if_index) {
            domain.bvi = None;
            self.former_bvis.insert(sw_if_index);
            self.remove_entry(port.domain, mac, sw_if_index);
        }
        let domain = &mut self.domains[port.domain];
        if domain.uu_fwd == Some(sw_if_index) {
            domain.uu_fwd = None;
            domain.features &= !UU_FWD;
        }
        self.tell_members(port.domain);
        self.flush_interface(sw_if_index);
    }

    fn flush_interface(&mut self, sw_if_index: u32) {
        self.fib
            .retain(|_, e| e.provisioned || e.sw_if_index != sw_if_index);
    }

    fn flush_domain(&mut self, slot: usize) {
        self.fib.retain(|(of, _), e| e.provisioned || *of != slot);
    }

    /// Whether there was one; interface 0 stands for any (`l2fib_del_entry`).
    fn remove_entry(&mut self, slot: usize, mac: Mac, sw_if_index: u32) -> bool {
        let key = (slot, mac);
        let matches = self
            .fib
            .get(&key)
            .is_some_and(|e| sw_if_index == 0 || e.sw_if_index == sw_if_index);
        if matches {
            self.fib.remove(&key);
        }
        matches
    }

    /// A free id, as VPP looks for one (`bd_get_unused_id`, `random_u32`).
    fn unused_id(&mut self) -> Option<u32> {
        for _ in 0..1024 {
            self.id_seed = self.id_seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            for i in 0..1024_u32 {
                let step = if i % 2 == 0 { i.wrapping_neg() } else { i };
                self.id_seed = self.id_seed.wrapping_add(step) & ID_MAX;
                if self.id_seed != 0 && self.slot(self.id_seed).is_none() {
                    return Some(self.id_seed);
                }
            }
        }
        None
    }

    /// Forgets what is older than its domain remembers, counted in whole minutes.
    pub fn tick(&mut self, now: u64) {
        let domains = &self.domains;
        self.fib.retain(|(slot, _), entry| {
            let age = u64::from(domains[*slot].mac_age);
            let minutes = (now / NANOS_PER_MINUTE).saturating_sub(entry.heard / NANOS_PER_MINUTE);
            entry.provisioned || age == 0 || minutes < age
        });
    }

    pub fn interface_gone(&mut self, sw_if_index: u32, mac: Mac) {
        self.leave(sw_if_index, mac);
        self.former_bvis.remove(&sw_if_index);
    }
}

impl Vpp {
    /// `bridge_domain_add_del_v2`, adding; [`NONE`] = a free id. The id.
    ///
    /// # Errors
    /// −119 there already, −122 id too large.
    pub fn add_bridge_domain(&mut self, id: u32, config: BridgeDomainConfig) -> OpResult<u32> {
        if self.bridges.slot(id).is_some() {
            return Err(retval::BD_ALREADY_EXISTS.into());
        }
        if id > ID_MAX {
            return Err(retval::BD_ID_EXCEED_MAX.into());
        }
        let slot = self.bridges.add(id);
        let domain = &mut self.bridges.domains[slot];
        domain.features = (domain.features & !SWITCHED) | (config.features & SWITCHED);
        domain.mac_age = config.mac_age;
        domain.tag = config.tag;
        Ok(id)
    }

    /// An id that no bridge domain has.
    pub fn unused_bridge_domain_id(&mut self) -> Option<u32> {
        self.bridges.unused_id()
    }

    /// `bridge_domain_add_del_v2`, removing.
    ///
    /// # Errors
    /// −6 unknown, −121 domain 0, −120 members.
    pub fn del_bridge_domain(&mut self, id: u32) -> OpResult {
        let slot = self.bridge_slot(id)?;
        if slot == 0 {
            return Err(retval::BD_NOT_MODIFIABLE.into());
        }
        if !self.bridges.domains[slot].members.is_empty() {
            return Err(retval::BD_IN_USE.into());
        }
        self.bridges.flush_domain(slot);
        self.bridges.domains[slot].id = None;
        Ok(())
    }

    fn modifiable_bridge_domain(&self, id: u32) -> OpResult<usize> {
        if id == 0 {
            return Err(retval::BD_NOT_MODIFIABLE.into());
        }
        self.bridge_slot(id)
    }

    fn bridge_slot(&self, id: u32) -> OpResult<usize> {
        let slot = self.bridges.slot(id);
        slot.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))
    }

    /// `bridge_flags`; all features afterwards.
    ///
    /// # Errors
    /// −121 domain 0, −6 unknown.
    pub fn set_bridge_flags(&mut self, id: u32, features: u32, on: bool) -> OpResult<u32> {
        let slot = self.modifiable_bridge_domain(id)?;
        let domain = &mut self.bridges.domains[slot];
        if on {
            domain.features |= features & SWITCHED;
        } else {
            domain.features &= !(features & SWITCHED);
        }
        let result = domain.features;
        self.bridges.tell_members(slot);
        Ok(result)
    }

    /// `bridge_domain_set_mac_age`.
    ///
    /// # Errors
    /// −121 domain 0, −6 unknown.
    pub fn set_bridge_mac_age(&mut self, id: u32, minutes: u8) -> OpResult {
        let slot = self.modifiable_bridge_domain(id)?;
        self.bridges.domains[slot].mac_age = minutes;
        Ok(())
    }

    /// `bridge_domain_dump`: all but domain 0.
    pub fn bridge_domains(&self) -> Vec<BridgeDomainDetails> {
        let domains = self.bridges.domains.iter();
        domains
            .filter_map(|d| Some((d.id.filter(|id| *id != 0)?, d)))
            .map(|(bd_id, d)| BridgeDomainDetails {
                bd_id,
                features: d.features,
                mac_age: d.mac_age,
                tag: d.tag.clone(),
                bvi: d.bvi,
                uu_fwd: d.uu_fwd,
                members: d.members.iter().map(|m| (m.sw_if_index, m.shg)).collect(),
            })
            .collect()
    }

    fn flood_class(&self, sw_if_index: u32, port: BridgePort) -> FloodClass {
        let kind = self.interfaces.get(sw_if_index).map(|i| &i.kind);
        match kind {
            _ if port == BridgePort::Bvi => FloodClass::Bvi,
            _ if self.bridges.former_bvis.contains(&sw_if_index) => FloodClass::NoFlood,
            Some(Kind::Bvi { .. }) => FloodClass::Bvi,
            Some(Kind::Loopback { .. }) => FloodClass::NoFlood,
            Some(Kind::Vxlan { .. }) => FloodClass::Tunnel,
            _ => FloodClass::Normal,
        }
    }

    /// `sw_interface_set_l2_bridge`; the domain is made when it is not there. None is back to layer 3.
    ///
    /// # Errors
    /// −2 unknown interface, −122 id too large, −152 a second BVI: it is a port without being a member then.
    pub fn set_l2_bridge(&mut self, sw_if_index: u32, to: Option<(u32, BridgePort, u8)>) -> OpResult {
        let mac = self.interface_mut(sw_if_index)?.mac;
        if to.is_some_and(|(id, ..)| id > ID_MAX) {
            return Err(retval::BD_ID_EXCEED_MAX.into());
        }
        self.l2.leave_xconnect(sw_if_index);
        let before = self.bridges.port(sw_if_index);
        self.bridges.leave(sw_if_index, mac);
        let Some((id, kind, shg)) = to else {
            return Ok(());
        };
        let slot = self.bridges.slot(id);
        let slot = slot.unwrap_or_else(|| self.bridges.add(id));
        let mut port = Port {
            domain: slot,
            shg: before.map_or(0, |p| p.shg),
            is_bvi: false,
            learns: true,
        };
        self.bridges.ports.insert(sw_if_index, port);
        if kind == BridgePort::Bvi && self.bridges.domains[slot].bvi.is_some() {
            return Err(retval::BD_ALREADY_HAS_BVI.into());
        }
        port.shg = shg;
        match kind {
            BridgePort::Bvi => {
                self.bridges.former_bvis.remove(&sw_if_index);
                self.bridges.domains[slot].bvi = Some(sw_if_index);
                (port.is_bvi, port.learns) = (true, false);
                let entry = Entry {
                    sw_if_index,
                    is_static: true,
                    is_filter: false,
                    is_bvi: true,
                    provisioned: true,
                    heard: 0,
                };
                self.bridges.fib.insert((slot, mac), entry);
            }
            BridgePort::UuFwd => {
                let domain = &mut self.bridges.domains[slot];
                domain.uu_fwd = Some(sw_if_index);
                domain.features |= UU_FWD;
            }
            BridgePort::Normal => {}
        }
        self.bridges.ports.insert(sw_if_index, port);
        if kind != BridgePort::UuFwd {
            let class = self.flood_class(sw_if_index, kind);
            let members = &mut self.bridges.domains[slot].members;
            let at = match class {
                FloodClass::Bvi => 0,
                _ => members.iter().filter(|m| m.class <= class).count(),
            };
            let member = Member {
                sw_if_index,
                shg,
                class,
                is_bvi: kind == BridgePort::Bvi,
            };
            members.insert(at, member);
        }
        self.bridges.tell_members(slot);
        Ok(())
    }

    /// `l2fib_add_del`, adding to an interface.
    ///
    /// # Errors
    /// −6 unknown domain, −2 no interface in bridge mode.
    pub fn l2fib_add(
        &mut self,
        id: u32,
        mac: Mac,
        sw_if_index: u32,
        is_static: bool,
        is_bvi: bool,
    ) -> OpResult {
        let slot = self.bridge_slot(id)?;
        if self.bridges.port(sw_if_index).is_none() {
            return Err(retval::INVALID_SW_IF_INDEX.into());
        }
        let entry = Entry {
            sw_if_index,
            is_static,
            is_filter: false,
            is_bvi,
            provisioned: true,
            heard: 0,
        };
        self.bridges.fib.insert((slot, mac), entry);
        Ok(())
    }

    /// `l2fib_add_del`, adding a filter. # Errors −6 unknown domain.
    pub fn l2fib_add_filter(&mut self, id: u32, mac: Mac) -> OpResult {
        let slot = self.bridge_slot(id)?;
        let entry = Entry {
            sw_if_index: NONE,
            is_static: true,
            is_filter: true,
            is_bvi: false,
            provisioned: true,
            heard: 0,
        };
        self.bridges.fib.insert((slot, mac), entry);
        Ok(())
    }

    /// `l2fib_add_del`, removing; interface 0 stands for any.
    ///
    /// # Errors
    /// −6 unknown domain or address, or another interface.
    pub fn l2fib_del(&mut self, id: u32, mac: Mac, sw_if_index: u32) -> OpResult {
        let slot = self.bridge_slot(id)?;
        let removed = self.bridges.remove_entry(slot, mac, sw_if_index);
        removed.then_some(()).ok_or(retval::NO_SUCH_ENTRY.into())
    }

    /// `l2fib_flush_int`. # Errors −2 unknown interface.
    pub fn l2fib_flush_interface(&mut self, sw_if_index: u32) -> OpResult {
        self.interface_mut(sw_if_index)?;
        self.bridges.flush_interface(sw_if_index);
        Ok(())
    }

    /// `l2fib_flush_bd`. # Errors −6 unknown domain.
    pub fn l2fib_flush_domain(&mut self, id: u32) -> OpResult {
        let slot = self.bridge_slot(id)?;
        self.bridges.flush_domain(slot);
        Ok(())
    }

    /// `l2_fib_table_dump`, by domain and address (VPP: by hash). What was given outlives its domain, without an id.
    pub fn l2_fib(&self) -> Vec<L2FibEntry> {
        let all = self.bridges.fib.iter();
        all.map(|((slot, mac), e)| L2FibEntry {
            bd_id: self.bridges.domains[*slot].id.unwrap_or(NONE),
            mac: *mac,
            sw_if_index: e.sw_if_index,
            is_static: e.is_static,
            is_filter: e.is_filter,
            is_bvi: e.is_bvi,
        })
        .collect()
    }

    /// `bvi_create`; a zero MAC becomes `b0:b0:00:00:00:NN`, [`NONE`] the lowest free instance.
    ///
    /// # Errors
    /// −31 when the instance is taken or too large.
    pub fn create_bvi(&mut self, instance: u32, mac: Mac) -> OpResult<u32> {
        let used = |kind: &Kind| match kind {
            Kind::Bvi { instance } => Some(*instance),
            _ => None,
        };
        let instance = if instance == NONE {
            self.lowest_free(used)
        } else {
            instance
        };
        let taken = self
            .interfaces
            .iter()
            .any(|(_, i)| used(&i.kind) == Some(instance));
        if taken || instance >= BVI_MAX {
            return Err(retval::INVALID_REGISTRATION.into());
        }
        let mac = if mac.is_zero() {
            Mac([0xb0, 0xb0, 0, 0, 0, instance as u8])
        } else {
            mac
        };
        Ok(self.new_interface(format!("bvi{instance}"), "BVI", Kind::Bvi { instance }, mac))
    }

    /// `bvi_delete`. # Errors −2 when it is none.
    pub fn delete_bvi(&mut self, sw_if_index: u32) -> OpResult {
        self.delete_kind(sw_if_index, |k| matches!(k, Kind::Bvi { .. }))
    }
}
