//! Access lists (VPP: `plugins/acl/acl.api`).

use crate::types::{AclRule, InterfaceIndex};

crate::messages! {
    /// Version of the plugin.
    request AclPluginGetVersion("acl_plugin_get_version", "51077d14") {} plain_reply AclPluginGetVersionReply("acl_plugin_get_version_reply", "9b32cf86") {
        major: u32,
        minor: u32,
    };

    /// Creates an ACL, or replaces one in place and at once for all workers.
    request AclAddReplace("acl_add_replace", "ee5c2f18") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) creates.
        acl_index: u32,
        tag: string[64],
        count: u32 = count(r),
        r: AclRule[count],
    } reply AclAddReplaceReply("acl_add_replace_reply", "ac407b0c") {
        /// Echoes the request when it failed.
        acl_index: u32,
        retval: i32,
    };

    /// Deletes an ACL; in use: ACL_IN_USE_INBOUND, ACL_IN_USE_OUTBOUND, ACL_IN_USE_BY_LOOKUP_CONTEXT.
    request AclDel("acl_del", "ef34fea4") {
        acl_index: u32,
    } ack AclDelReply;

    /// Lists ACLs with their rules.
    dump AclDump("acl_dump", "ef34fea4") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        acl_index: u32,
    } details AclDetails("acl_details", "95babae0") {
        acl_index: u32,
        tag: string[64],
        count: u32 = count(r),
        r: AclRule[count],
    };

    /// Replaces the ACLs of an interface in both directions. The same ACL twice in one direction: return code +1.
    request AclInterfaceSetAclList("acl_interface_set_acl_list", "473982bd") {
        sw_if_index: InterfaceIndex,
        count: u8 = count(acls),
        /// The first so many are for what comes in, the rest for what goes out.
        n_input: u8,
        acls: u32[count],
    } ack AclInterfaceSetAclListReply;

    /// Lists which ACLs are on which interface; interfaces without any too.
    dump AclInterfaceListDump("acl_interface_list_dump", "f9e6675e") {
        /// [`NO_INDEX`](crate::types::NO_INDEX) is all.
        sw_if_index: InterfaceIndex,
    } details AclInterfaceListDetails("acl_interface_list_details", "e695d256") {
        sw_if_index: InterfaceIndex,
        count: u8 = count(acls),
        n_input: u8,
        acls: u32[count],
    };

    /// Counts matches per rule. VPP answers with the id of [`AclDelReply`].
    request AclStatsIntfCountersEnable("acl_stats_intf_counters_enable", "b3e225d2") {
        enable: bool,
    } ack AclStatsIntfCountersEnableReply;
}
