//! Features on graph arcs (VPP: `vnet/feature/feature.api`).

use crate::types::InterfaceIndex;

crate::messages! {
    /// Switches a feature on an interface. An unknown pair of names is INVALID_VALUE; repeating is 0.
    request FeatureEnableDisable("feature_enable_disable", "7531c862") {
        sw_if_index: InterfaceIndex,
        enable: bool,
        arc_name: string[64],
        feature_name: string[64],
    } ack FeatureEnableDisableReply;

    /// Whether a feature is on.
    request FeatureIsEnabled("feature_is_enabled", "55db09e2") {
        arc_name: string[64],
        feature_name: string[64],
        sw_if_index: InterfaceIndex,
    } client_reply FeatureIsEnabledReply("feature_is_enabled_reply", "03f284b5") {
        retval: i32,
        is_enabled: bool,
    };
}
