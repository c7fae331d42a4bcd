//! NAT for services (VPP: `plugins/cnat/cnat.api`, version 1.0.0 of VPP 26.06; see [`v0_3`] for VPP 26.02 and earlier).

pub mod v0_3;

use crate::types::{
    CnatSession, CnatSnatPolicies, CnatSnatPolicyFlags, CnatSnatPolicyTable, CnatTranslation, InterfaceIndex,
    Ip4Address, Ip6Address, Prefix,
};

crate::messages! {
    /// Creates or replaces the translation of a virtual address, port and protocol. **No backends kills VPP**: refused.
    request CnatTranslationUpdate("cnat_translation_update", "f8d40bc5") {
        translation: CnatTranslation,
    } reply CnatTranslationUpdateReply("cnat_translation_update_reply", "e2fc8294") {
        retval: i32,
        /// The key for deletion.
        id: u32,
    };

    /// Deletes a translation; an unknown one is NO_SUCH_ENTRY.
    request CnatTranslationDel("cnat_translation_del", "3a91bde5") {
        id: u32,
    } ack CnatTranslationDelReply;

    /// Lists translations.
    dump CnatTranslationDump("cnat_translation_dump", "51077d14") {} details CnatTranslationDetails("cnat_translation_details", "1a5140b7") {
        translation: CnatTranslation,
    };

    /// Lists sessions.
    dump CnatSessionDump("cnat_session_dump", "51077d14") {} details CnatSessionDetails("cnat_session_details", "7a78bf3f") {
        session: CnatSession,
    };

    /// Ends all sessions.
    request CnatSessionPurge("cnat_session_purge", "51077d14") {} ack CnatSessionPurgeReply;

    /// Source-NAT addresses; creates the default policy entry.
    request CnatSetSnatAddresses("cnat_set_snat_addresses", "d997e96c") {
        snat_ip4: Ip4Address,
        snat_ip6: Ip6Address,
        sw_if_index: InterfaceIndex,
    } ack CnatSetSnatAddressesReply;

    /// Source-NAT addresses per pair of tables; since 26.06.
    request CnatSetSnatAddressesV2("cnat_set_snat_addresses_v2", "c0125c26") {
        /// FIB index, not table id, as `ret_fib_index`.
        fwd_fib_index: u32,
        ret_fib_index: u32,
        snat_ip4: Ip4Address,
        snat_ip6: Ip6Address,
        sw_if_index: InterfaceIndex,
        flags: CnatSnatPolicyFlags,
    } ack CnatSetSnatAddressesV2Reply;

    /// The source-NAT addresses.
    request CnatGetSnatAddresses("cnat_get_snat_addresses", "51077d14") {} reply CnatGetSnatAddressesReply("cnat_get_snat_addresses_reply", "879513c1") {
        retval: i32,
        id: u32,
        snat_ip4: Ip4Address,
        snat_ip6: Ip6Address,
        sw_if_index: InterfaceIndex,
    };

    /// The source-NAT addresses per pair of tables; since 26.06.
    dump CnatSnatAddressesDump("cnat_snat_addresses_dump", "51077d14") {} details CnatSnatAddressesDetails("cnat_snat_addresses_details", "09ae6b38") {
        retval: i32,
        fwd_table_id4: u32,
        fwd_table_id6: u32,
        ret_table_id4: u32,
        ret_table_id6: u32,
        snat_ip4: Ip4Address,
        snat_ip6: Ip6Address,
        sw_if_index: InterfaceIndex,
    };

    /// Prefixes to which the source is kept. Needs the addresses first, see [`CnatSetSnatPolicy`].
    request CnatSnatPolicyAddDelExcludePfx("cnat_snat_policy_add_del_exclude_pfx", "e26dd79a") {
        is_add: u8,
        prefix: Prefix,
    } ack CnatSnatPolicyAddDelExcludePfxReply;

    /// Interfaces a policy looks at. Needs the addresses first, see [`CnatSetSnatPolicy`].
    request CnatSnatPolicyAddDelIf("cnat_snat_policy_add_del_if", "4ebb8d02") {
        sw_if_index: InterfaceIndex,
        is_add: u8,
        table: CnatSnatPolicyTable,
    } ack CnatSnatPolicyAddDelIfReply;

    /// Which sources are translated. **Before any address this kills VPP 26.06**: the client refuses it until it has sent or seen one.
    request CnatSetSnatPolicy("cnat_set_snat_policy", "37a3ce23") {
        policy: CnatSnatPolicies,
    } ack CnatSetSnatPolicyReply;

    /// Switches cnat on an interface; since 26.06. Counts: twice breaks forwarding.
    request FeatureCnatEnableDisable("feature_cnat_enable_disable", "5501adee") {
        sw_if_index: InterfaceIndex,
        enable_disable: bool,
    } ack FeatureCnatEnableDisableReply;
}
