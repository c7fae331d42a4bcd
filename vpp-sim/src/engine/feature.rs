//! Features on the arcs of the graph that are switched by name (`vnet/feature/feature.c`). Enabling counts: a
//! feature enabled twice runs twice on every packet, until it is disabled as often.
use std::collections::BTreeMap;

use super::Vpp;
use super::cnat::CnatNode;
use super::types::{Family, OpError, OpResult, retval};

pub(crate) const IP4_UNICAST: &str = "ip4-unicast";
pub(crate) const IP6_UNICAST: &str = "ip6-unicast";
pub(crate) const IP4_OUTPUT: &str = "ip4-output";
pub(crate) const IP6_OUTPUT: &str = "ip6-output";

/// The arc of packets that come in.
pub(crate) fn unicast_arc(family: Family) -> &'static str {
    match family {
        Family::V4 => IP4_UNICAST,
        Family::V6 => IP6_UNICAST,
    }
}

/// The arc of packets that go out.
pub(crate) fn output_arc(family: Family) -> &'static str {
    match family {
        Family::V4 => IP4_OUTPUT,
        Family::V6 => IP6_OUTPUT,
    }
}

/// Arc and feature of cnat, as `feature_cnat_enable_disable` switches them (recorded from VPP 26.06).
pub(super) const CNAT: [(&str, &str); 8] = [
    (IP4_UNICAST, "cnat-lookup-ip4"),
    (IP4_UNICAST, "cnat-input-ip4"),
    (IP4_OUTPUT, "cnat-output-ip4"),
    (IP4_OUTPUT, "cnat-writeback-ip4"),
    (IP6_UNICAST, "cnat-lookup-ip6"),
    (IP6_UNICAST, "cnat-input-ip6"),
    (IP6_OUTPUT, "cnat-output-ip6"),
    (IP6_OUTPUT, "cnat-writeback-ip6"),
];

/// Other features that are counted here.
const COUNTED: [(&str, &str); 20] = [
    (IP4_UNICAST, "nat-pre-in2out"),
    (IP4_UNICAST, "nat-pre-out2in"),
    (IP4_UNICAST, "nat44-ed-classify"),
    (IP4_OUTPUT, "nat-pre-in2out-output"),
    (IP4_UNICAST, "policer-input"),
    (IP6_UNICAST, "policer-input"),
    (IP4_OUTPUT, "policer-output"),
    (IP6_OUTPUT, "policer-output"),
    (IP4_UNICAST, "ip4-rx-urpf-loose"),
    (IP4_UNICAST, "ip4-rx-urpf-strict"),
    (IP6_UNICAST, "ip6-rx-urpf-loose"),
    (IP6_UNICAST, "ip6-rx-urpf-strict"),
    (IP4_OUTPUT, "ip4-tx-urpf-loose"),
    (IP4_OUTPUT, "ip4-tx-urpf-strict"),
    (IP6_OUTPUT, "ip6-tx-urpf-loose"),
    (IP6_OUTPUT, "ip6-tx-urpf-strict"),
    (IP4_UNICAST, "trace-filtering"),
    (IP6_UNICAST, "trace-filtering"),
    (IP4_UNICAST, "pcap-filtering"),
    (IP6_UNICAST, "pcap-filtering"),
];

/// Features that look up what their own API has set for the interface, and kill VPP with the first packet where it has not.
const SET_BY_API: [&str; 2] = ["policer", "urpf"];

/// How often each feature is on, by interface, arc and name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Features {
    counts: BTreeMap<(u32, &'static str, &'static str), u32>,
}

impl Features {
    /// How often a packet passes the feature on this interface.
    pub fn count(&self, arc: &str, feature: &str, sw_if_index: u32) -> u32 {
        let count = self.counts.get(&(sw_if_index, arc, feature));
        count.copied().unwrap_or(0)
    }

    /// One more, or one less; disabling what is off changes nothing.
    pub fn switch(&mut self, arc: &'static str, feature: &'static str, sw_if_index: u32, enable: bool) {
        let key = (sw_if_index, arc, feature);
        let count = self.counts.get(&key).copied().unwrap_or(0);
        match (enable, count) {
            (true, _) => {
                self.counts.insert(key, count.saturating_add(1));
            }
            (false, 0 | 1) => {
                self.counts.remove(&key);
            }
            (false, _) => {
                self.counts.insert(key, count - 1);
            }
        }
    }

    pub fn interface_gone(&mut self, sw_if_index: u32) {
        self.counts.retain(|(index, ..), _| *index != sw_if_index);
    }
}

impl Vpp {
    /// `feature_enable_disable`.
    ///
    /// # Errors
    /// −2 unknown interface, −7 a pair of names that is not known (also: of a plugin that is not modelled). Fatal for a
    /// policer or a reverse path check that the interface does not have: the first packet kills VPP.
    pub fn feature_enable_disable(
        &mut self,
        sw_if_index: u32,
        arc: &str,
        feature: &str,
        enable: bool,
    ) -> OpResult {
        self.interface_mut(sw_if_index)?;
        if self.cnat.per_arc.is_some()
            && let Some((family, node)) = CnatNode::by_name(arc, feature)
        {
            return self.cnat_node_enable(sw_if_index, family, node, enable);
        }
        let cnat = self.cnat.per_arc.is_none().then_some(&CNAT);
        let mut all = COUNTED.iter().chain(cnat.into_iter().flatten());
        let known = all.find(|known| **known == (arc, feature));
        let (arc, feature) = known.ok_or(retval::INVALID_VALUE)?;
        if enable && SET_BY_API.iter().any(|part| feature.contains(part)) {
            let is_input = arc.ends_with("unicast");
            let family = if arc.starts_with("ip6") {
                Family::V6
            } else {
                Family::V4
            };
            let is_set = if feature.starts_with("policer") {
                self.policers.applied(is_input, sw_if_index).is_some()
            } else {
                self.urpf.get(sw_if_index, family, is_input).is_some()
            };
            if !is_set {
                return Err(OpError::Fatal(format!(
                    "{feature} is switched on by name on interface {sw_if_index}, for which nothing was set: the first \
                     packet kills VPP"
                )));
            }
        }
        self.features.switch(arc, feature, sw_if_index, enable);
        Ok(())
    }

    /// `feature_is_enabled`. VPP answers "yes" for names it does not know: it takes the error's code for a truth
    /// value (seen on 26.06).
    ///
    /// # Errors
    /// −2 unknown interface.
    pub fn feature_is_enabled(&self, sw_if_index: u32, arc: &str, feature: &str) -> OpResult<bool> {
        if !self.interfaces.contains(sw_if_index) {
            return Err(retval::INVALID_SW_IF_INDEX.into());
        }
        let family = if arc.starts_with("ip6") {
            Family::V6
        } else {
            Family::V4
        };
        let prefix = family.node_prefix();
        if self.cnat.per_arc.is_some()
            && let Some((family, node)) = CnatNode::by_name(arc, feature)
        {
            return Ok(self.cnat_node_count(sw_if_index, family, node) > 0);
        }
        if arc == unicast_arc(family) {
            if feature == format!("acl-plugin-in-{prefix}-fa") {
                return Ok(!self.acl.list(sw_if_index, true).is_empty());
            }
            if feature == format!("abf-input-{prefix}") {
                return Ok(!self.abf.on(sw_if_index, family).is_empty());
            }
            if feature == format!("l3xc-input-{prefix}") {
                return Ok(self.l2.l3xc(sw_if_index, family).is_some());
            }
        }
        if arc == output_arc(family) && feature == format!("acl-plugin-out-{prefix}-fa") {
            return Ok(!self.acl.list(sw_if_index, false).is_empty());
        }
        let is_known = COUNTED.contains(&(arc, feature)) || CNAT.contains(&(arc, feature));
        Ok(!is_known || self.features.count(arc, feature, sw_if_index) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enabling_counts() {
        let mut features = Features::default();
        let count = |f: &Features| f.count(IP4_UNICAST, "policer-input", 1);
        features.switch(IP4_UNICAST, "policer-input", 1, true);
        features.switch(IP4_UNICAST, "policer-input", 1, true);
        assert_eq!(count(&features), 2);
        features.switch(IP4_UNICAST, "policer-input", 1, false);
        assert_eq!(count(&features), 1);
        features.switch(IP4_UNICAST, "policer-input", 1, false);
        features.switch(IP4_UNICAST, "policer-input", 1, false);
        assert_eq!(count(&features), 0);
        features.switch(IP4_UNICAST, "policer-input", 1, true);
        features.interface_gone(1);
        assert_eq!(count(&features), 0);
    }
}
