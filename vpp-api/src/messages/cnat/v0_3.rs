//! What cnat 0.3.0 (VPP 26.02 and earlier) has otherwise; all else is as in [`super`]. Which one a VPP speaks is
//! told by its message table.

use crate::types::{CnatEndpoint, IpProto};

crate::wire_enum! {
    /// Which source addresses are translated.
    pub enum CnatSnatPolicies("cnat_snat_policies"): u8 {
        CNAT_POLICY_NONE = 0,
        CNAT_POLICY_IF_PFX = 1,
        CNAT_POLICY_K8S = 2,
    }
}

crate::wire_struct! {
    /// One session.
    pub struct CnatSession("cnat_session") {
        src: CnatEndpoint,
        dst: CnatEndpoint,
        new: CnatEndpoint,
        ip_proto: IpProto,
        location: u8,
        timestamp: f64,
    }
}

crate::messages! {
    /// Lists sessions.
    dump CnatSessionDump("cnat_session_dump", "51077d14") {} details CnatSessionDetails("cnat_session_details", "7e5017c7") {
        session: CnatSession,
    };

    /// Which sources are translated. Needs the addresses first, as [`super::CnatSetSnatPolicy`].
    request CnatSetSnatPolicy("cnat_set_snat_policy", "d3e6eaf4") {
        policy: CnatSnatPolicies,
    } ack CnatSetSnatPolicyReply;
}
