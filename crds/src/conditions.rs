//! Condition types and reasons, and the one pure way to set a condition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The daemon has a working connection to VPP.
pub const VPP_CONNECTED: &str = "VppConnected";
/// Node interfaces, tunnels, routes and the interfaces of local pods are in VPP.
pub const INTERFACES_APPLIED: &str = "InterfacesApplied";
/// Every policy bound to a local pod is in VPP.
pub const POLICIES_APPLIED: &str = "PoliciesApplied";
/// Every Service is in VPP.
pub const SERVICES_APPLIED: &str = "ServicesApplied";
/// Every chain hop of the node is in VPP.
pub const CHAINS_APPLIED: &str = "ChainsApplied";
/// Everything that the configuration refers to (policies, address sets) is known to the daemon.
pub const REFERENCES_RESOLVED: &str = "ReferencesResolved";
/// Summary: the node is what its spec says.
pub const READY: &str = "Ready";
/// The object's spec is meaningful (intents: ServiceChain, CNF).
pub const ACCEPTED: &str = "Accepted";
/// Every reference of an intent resolves to something that exists and is ready.
pub const RESOLVED: &str = "Resolved";
/// The nodes concerned report the intent as applied.
pub const PROGRAMMED: &str = "Programmed";
/// The compiled object fits within the size limits.
pub const SIZE_OK: &str = "SizeOk";

/// Longest condition message written, in characters: status stays small whatever goes wrong.
pub const MESSAGE_LIMIT: usize = 256;

/// Status word of a condition.
pub fn status(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    }
}

/// Sets a condition, keeping the transition time when the status does not change.
///
/// `value` is `None` for `Unknown`. Returns whether anything but the observed generation changed.
/// The list stays sorted by type, so equal conditions serialise to equal bytes.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    value: Option<bool>,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Time,
) -> bool {
    let message: String = message.chars().take(MESSAGE_LIMIT).collect();
    let status = status(value);
    match conditions.binary_search_by(|c| c.type_.as_str().cmp(type_)) {
        Ok(index) => {
            let condition = &mut conditions[index];
            let changed =
                condition.status != status || condition.reason != reason || condition.message != message;
            if condition.status != status {
                condition.last_transition_time = now;
            }
            condition.status = status.to_owned();
            condition.reason = reason.to_owned();
            condition.message = message;
            condition.observed_generation = generation;
            changed
        }
        Err(index) => {
            conditions.insert(
                index,
                Condition {
                    type_: type_.to_owned(),
                    status: status.to_owned(),
                    reason: reason.to_owned(),
                    message,
                    observed_generation: generation,
                    last_transition_time: now,
                },
            );
            true
        }
    }
}

/// Whether the condition is present with status `True`.
pub fn is_true(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|c| c.type_ == type_ && c.status == "True")
}
