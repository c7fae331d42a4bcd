//! Policers: their pool, and the interfaces they are applied to (`policer/policer_op.c`).
mod bucket;

pub use bucket::Bucket;

use std::collections::BTreeMap;

use super::Vpp;
use super::feature::{IP4_OUTPUT, IP4_UNICAST, IP6_OUTPUT, IP6_UNICAST};
use super::pool::Pool;
use super::types::{Family, OpError, OpResult, retval};

/// What becomes of the packets of one colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicerAction {
    /// 0 drop, 1 transmit, 2 mark and transmit; VPP keeps any other and transmits.
    pub kind: u8,
    pub dscp: u8,
}

/// What a policer was asked to be (`policer_config`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicerConfig {
    /// kbit/s, or packets/s.
    pub cir: u32,
    pub eir: u32,
    /// Bytes, or milliseconds.
    pub cb: u64,
    pub eb: u64,
    /// 0 kbit/s, 1 packets/s.
    pub rate_type: u8,
    pub round_type: u8,
    /// 0 one rate and two colours, 1 one rate and three, 2 and 3 two rates.
    pub kind: u8,
    /// Whether an earlier policer's colour counts. No packet ever comes with one.
    pub color_aware: bool,
    /// Of packets that conform, exceed, violate.
    pub actions: [PolicerAction; 3],
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policed {
    pub packets: u64,
    pub bytes: u64,
}

/// One policer.
#[derive(Clone, Debug)]
pub struct Policer {
    pub name: String,
    pub config: PolicerConfig,
    pub bucket: Bucket,
    /// Of packets that conform, exceed, violate.
    pub counters: [Policed; 3],
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Policers {
    pool: Pool<Policer>,
    /// What was deleted and has no successor in its place: VPP does not look, and goes on policing by it.
    freed: BTreeMap<u32, Policer>,
    /// Of received and of sent packets: the policer's index by `sw_if_index`, `None` where it was taken away again.
    applied: [Vec<Option<u32>>; 2],
    /// Those of punted packets, by family, and how often they are on.
    punted: [Option<(u32, u32)>; 2],
}

/// Whether packets are policed when they come or when they go.
fn side(is_input: bool) -> usize {
    usize::from(!is_input)
}

/// Arcs and nodes of a side.
fn features(is_input: bool) -> [(&'static str, &'static str); 2] {
    if is_input {
        [(IP4_UNICAST, "policer-input"), (IP6_UNICAST, "policer-input")]
    } else {
        [(IP4_OUTPUT, "policer-output"), (IP6_OUTPUT, "policer-output")]
    }
}

impl Policers {
    pub fn get_mut(&mut self, index: u32) -> Option<&mut Policer> {
        match self.pool.get_mut(index) {
            Some(policer) => Some(policer),
            None => self.freed.get_mut(&index),
        }
    }

    /// The policer of an interface.
    pub fn applied(&self, is_input: bool, sw_if_index: u32) -> Option<u32> {
        self.applied[side(is_input)]
            .get(sw_if_index as usize)
            .copied()
            .flatten()
    }

    /// The policer of what is punted.
    pub fn punted(&self, family: Family) -> Option<u32> {
        self.punted[family.index()].map(|(policer, _)| policer)
    }
}

impl Vpp {
    /// All policers, by index.
    pub fn policers(&self) -> impl Iterator<Item = (u32, &Policer)> {
        self.policers.pool.iter()
    }

    /// The policer of a name.
    pub fn policer_by_name(&self, name: &str) -> Option<u32> {
        self.policers()
            .find(|(_, p)| p.name == name)
            .map(|(index, _)| index)
    }

    /// `policer_add`.
    ///
    /// # Errors
    /// −81 the name is taken, −7 rates and bursts that do not go together.
    pub fn policer_add(&mut self, name: &str, config: PolicerConfig) -> OpResult<u32> {
        if self.policer_by_name(name).is_some() {
            return Err(retval::VALUE_EXIST.into());
        }
        let bucket = Bucket::of(&config).ok_or(retval::INVALID_VALUE)?;
        let index = self.policers.pool.insert(Policer {
            name: name.to_owned(),
            config,
            bucket,
            counters: Default::default(),
        });
        self.policers.freed.remove(&index);
        Ok(index)
    }

    fn policer_mut(&mut self, index: u32) -> OpResult<&mut Policer> {
        self.policers
            .pool
            .get_mut(index)
            .ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))
    }

    /// `policer_del`. Interfaces go on pointing at its place: they are policed by what was there, and then by what comes
    /// there next.
    ///
    /// # Errors
    /// −6 unknown policer.
    pub fn policer_del(&mut self, index: u32) -> OpResult {
        let gone = self.policers.pool.remove(index);
        let gone = gone.ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))?;
        self.policers.freed.insert(index, gone);
        Ok(())
    }

    /// `policer_update`.
    ///
    /// # Errors
    /// −6 unknown policer, −7 rates and bursts that do not go together.
    pub fn policer_update(&mut self, index: u32, config: PolicerConfig) -> OpResult {
        let policer = self.policer_mut(index)?;
        policer.bucket = Bucket::of(&config).ok_or(retval::INVALID_VALUE)?;
        policer.config = config;
        policer.counters = Default::default();
        Ok(())
    }

    /// `policer_reset`.
    ///
    /// # Errors
    /// −6 unknown policer.
    pub fn policer_reset(&mut self, index: u32) -> OpResult {
        let bucket = &mut self.policer_mut(index)?.bucket;
        bucket.current_bucket = bucket.current_limit;
        bucket.extended_bucket = bucket.extended_limit;
        Ok(())
    }

    /// `policer_bind`: there are no workers here.
    ///
    /// # Errors
    /// −6 unknown policer, −89 no such worker.
    pub fn policer_bind(&mut self, index: u32, bind: bool) -> OpResult {
        self.policer_mut(index)?;
        if bind {
            return Err(retval::INVALID_WORKER.into());
        }
        Ok(())
    }

    /// `policer_input` and `policer_output`.
    ///
    /// # Errors
    /// −2 unknown interface, −6 unknown policer. Fatal to take away what was never applied (VPP writes beyond its
    /// vector), and to take away once what was applied twice (the next packet is policed by index ~0).
    pub fn policer_apply(&mut self, index: u32, sw_if_index: u32, is_input: bool, apply: bool) -> OpResult {
        self.interface_mut(sw_if_index)?;
        self.policer_mut(index)?;
        let at = sw_if_index as usize;
        let [(arc, node), _] = features(is_input);
        let applied = &mut self.policers.applied[side(is_input)];
        if apply {
            if applied.len() <= at {
                applied.resize(at + 1, None);
            }
            applied[at] = Some(index);
        } else {
            let Some(place) = applied.get_mut(at) else {
                return Err(OpError::Fatal(format!(
                    "a policer is taken from interface {sw_if_index}, which never had one: VPP writes beyond its vector"
                )));
            };
            *place = None;
            if self.features.count(arc, node, sw_if_index) > 1 {
                return Err(OpError::Fatal(format!(
                    "a policer was applied more than once to interface {sw_if_index} and is taken away once: the next \
                     packet kills VPP"
                )));
            }
        }
        for (arc, node) in features(is_input) {
            self.features.switch(arc, node, sw_if_index, apply);
        }
        Ok(())
    }

    /// `ip_punt_police`. VPP does not look whether there is such a policer.
    ///
    /// # Errors
    /// Fatal for an unknown policer: the next punted packet kills VPP.
    pub fn ip_punt_police(&mut self, index: u32, family: Family, is_add: bool) -> OpResult {
        let known = self.policers.pool.contains(index);
        let punted = &mut self.policers.punted[family.index()];
        let count = punted.map_or(0, |(_, count)| count);
        match (is_add, count) {
            (true, _) if !known => {
                return Err(OpError::Fatal(format!(
                    "what is punted is to be policed by policer {index}, which is not there: the next punted packet \
                     kills VPP"
                )));
            }
            (true, _) => *punted = Some((index, count + 1)),
            (false, 0 | 1) => *punted = None,
            (false, _) => *punted = Some((index, count - 1)),
        }
        Ok(())
    }
}
