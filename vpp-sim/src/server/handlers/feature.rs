//! Features on graph arcs.

use vpp_api::messages::feature::{FeatureEnableDisable, FeatureIsEnabled, FeatureIsEnabledReply};
use vpp_api::messages::ip6_nd::SwInterfaceIp6ndRaConfig;

use super::interface::known;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.ack(|core, m: FeatureEnableDisable| {
        core.vpp
            .feature_enable_disable(m.sw_if_index, &m.arc_name, &m.feature_name, m.enable)
    });
    registry.request(|core, m: FeatureIsEnabled| {
        let is_enabled = core
            .vpp
            .feature_is_enabled(m.sw_if_index, &m.arc_name, &m.feature_name)?;
        Ok(FeatureIsEnabledReply {
            retval: 0,
            is_enabled,
        })
    });
    // No router advertisements are ever sent here, so every setting that says less of them is kept already.
    registry.ack(|core, m: SwInterfaceIp6ndRaConfig| known(core, m.sw_if_index).map(|_| ()));
}
