//! Features on graph arcs: what is asked of them here is whether cnat is on.

use vpp_api::messages::feature::{FeatureIsEnabled, FeatureIsEnabledReply};
use vpp_api::messages::ip6_nd::SwInterfaceIp6ndRaConfig;

use super::interface::known;
use crate::engine::{OpError, retval};
use crate::server::dispatch::Registry;

/// Arc and feature that `feature_cnat_enable_disable` turns on (recorded from VPP 26.06).
const CNAT: [(&str, &str); 8] = [
    ("ip4-unicast", "cnat-lookup-ip4"),
    ("ip4-unicast", "cnat-input-ip4"),
    ("ip4-output", "cnat-output-ip4"),
    ("ip4-output", "cnat-writeback-ip4"),
    ("ip6-unicast", "cnat-lookup-ip6"),
    ("ip6-unicast", "cnat-input-ip6"),
    ("ip6-output", "cnat-output-ip6"),
    ("ip6-output", "cnat-writeback-ip6"),
];

pub fn register(registry: &mut Registry) {
    registry.request(|core, m: FeatureIsEnabled| {
        known(core, m.sw_if_index)?;
        if !CNAT.contains(&(m.arc_name.as_str(), m.feature_name.as_str())) {
            return Err(OpError::Retval(retval::INVALID_VALUE));
        }
        Ok(FeatureIsEnabledReply {
            retval: 0,
            is_enabled: core.vpp.cnat_feature_count(m.sw_if_index) > 0,
        })
    });
    // No router advertisements are ever sent here, so every setting that says less of them is kept already.
    registry.ack(|core, m: SwInterfaceIp6ndRaConfig| known(core, m.sw_if_index).map(|_| ()));
}
