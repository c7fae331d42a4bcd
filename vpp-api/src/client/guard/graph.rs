//! Policers, reverse path checks, and what is asked of nodes of the graph by their index.
//!
//! VPP 26.06 writes beyond a vector when a policer is taken from an interface that never had one, and polices by index ~0
//! once a policer that was applied twice is taken away; a policer or a reverse path check switched on as a feature looks
//! for what was never set; a node index is looked up without a look at how many nodes there are; and a socket for punted
//! packets that it cannot make sense of is not answered at all.

use crate::messages::feature::FeatureEnableDisable;
use crate::messages::policer::{
    IpPuntPolice, PolicerAddDelReply, PolicerAddReply, PolicerDel, PolicerInput, PolicerInputV2,
    PolicerOutput, PolicerOutputV2,
};
use crate::messages::punt::PuntSocketRegister;
use crate::messages::tracedump::{TraceCapturePackets, TraceFilterFlag, TraceSetFilters};
use crate::messages::vlib::GetNodeIndexReply;
use crate::types::{NO_INDEX, PuntType};
use std::any::Any;
use std::collections::BTreeSet;

/// What was sent on this connection, and what VPP told.
#[derive(Debug, Default)]
pub(super) struct Graph {
    /// Interfaces that a policer was applied to, by direction.
    policed: BTreeSet<(bool, u32)>,
    policers: BTreeSet<u32>,
    /// The highest index of a node that VPP told: there are all below.
    last_node: Option<u32>,
}

impl Graph {
    fn apply(&mut self, is_input: bool, sw_if_index: u32, apply: bool) -> Result<(), String> {
        let place = (is_input, sw_if_index);
        if apply && !self.policed.insert(place) {
            return Err(format!(
                "interface {sw_if_index} has a policer: applied twice and taken away once, it kills VPP; take it away first"
            ));
        }
        if !apply && !self.policed.remove(&place) {
            return Err(format!(
                "no policer was applied to interface {sw_if_index} on this connection: VPP writes beyond its memory when it \
                 takes away what was never there"
            ));
        }
        Ok(())
    }

    fn require_node(&self, index: u32) -> Result<(), String> {
        if self.last_node.is_some_and(|last| index <= last) {
            return Ok(());
        }
        Err(format!(
            "VPP does not look whether there is a node {index}; ask for its index by get_node_index first"
        ))
    }

    /// # Errors
    /// Why the message must not be sent.
    pub fn check(&mut self, message: &dyn Any) -> Result<(), String> {
        if let Some(m) = message.downcast_ref::<PolicerInput>() {
            self.apply(true, m.sw_if_index, m.apply)
        } else if let Some(m) = message.downcast_ref::<PolicerInputV2>() {
            self.apply(true, m.sw_if_index, m.apply)
        } else if let Some(m) = message.downcast_ref::<PolicerOutput>() {
            self.apply(false, m.sw_if_index, m.apply)
        } else if let Some(m) = message.downcast_ref::<PolicerOutputV2>() {
            self.apply(false, m.sw_if_index, m.apply)
        } else if let Some(m) = message.downcast_ref::<PolicerDel>() {
            self.policers.remove(&m.policer_index);
            Ok(())
        } else if let Some(m) = message.downcast_ref::<IpPuntPolice>() {
            if m.is_add && !self.policers.contains(&m.policer_index) {
                return Err(format!(
                    "VPP does not look whether there is a policer {}, and dies with the next punted packet where there is \
                     none; make it on this connection",
                    m.policer_index
                ));
            }
            Ok(())
        } else if let Some(m) = message.downcast_ref::<FeatureEnableDisable>() {
            let by_api = m.feature_name.starts_with("policer-") || m.feature_name.contains("-urpf-");
            if m.enable && by_api {
                return Err(format!(
                    "{} looks for what its own request sets (policer_input, policer_output, urpf_update_v2), and kills VPP \
                     where that was not sent",
                    m.feature_name
                ));
            }
            Ok(())
        } else if let Some(m) = message.downcast_ref::<TraceSetFilters>() {
            match m.flag {
                TraceFilterFlag::TRACE_FF_INCLUDE_NODE | TraceFilterFlag::TRACE_FF_EXCLUDE_NODE => {
                    self.require_node(m.node_index)
                }
                _ => Ok(()),
            }
        } else if let Some(m) = message.downcast_ref::<TraceCapturePackets>() {
            self.require_node(m.node_index)
        } else if let Some(m) = message.downcast_ref::<PuntSocketRegister>() {
            if m.punt.type_ > PuntType::PUNT_API_TYPE_EXCEPTION {
                return Err(format!("VPP does not answer for {:?}", m.punt.type_));
            }
            Ok(())
        } else {
            Ok(())
        }
    }

    /// VPP told of a policer or a node.
    pub fn observe(&mut self, answer: &dyn Any) {
        if let Some(reply) = answer.downcast_ref::<PolicerAddReply>() {
            self.policers.insert(reply.policer_index);
        } else if let Some(reply) = answer.downcast_ref::<PolicerAddDelReply>() {
            if reply.policer_index != NO_INDEX {
                self.policers.insert(reply.policer_index);
            }
        } else if let Some(reply) = answer.downcast_ref::<GetNodeIndexReply>() {
            self.last_node = self.last_node.max(Some(reply.node_index));
        }
    }
}
