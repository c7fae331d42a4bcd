//! The acl plugin.

use vpp_api::messages::acl::{
    AclAddReplace, AclAddReplaceReply, AclDel, AclDelReply, AclDetails, AclDump, AclInterfaceListDetails,
    AclInterfaceListDump, AclInterfaceSetAclList, AclPluginGetVersion, AclPluginGetVersionReply,
    AclStatsIntfCountersEnable,
};

use super::outcome;
use crate::engine::Acl;
use crate::engine::retval;
use crate::server::convert::{index, rule, wire_rule};
use crate::server::core::Core;
use crate::server::dispatch::Registry;

pub fn register(registry: &mut Registry) {
    registry.request(|_, _: AclPluginGetVersion| Ok(AclPluginGetVersionReply { major: 1, minor: 4 }));
    registry.request(|core, m: AclAddReplace| {
        // After a failure the index of the request comes back.
        let added = m.r.iter().map(rule).collect::<Result<Vec<_>, _>>();
        let added = added.and_then(|rules| core.vpp.acl_add_replace(index(m.acl_index), &m.tag, rules));
        let (retval, acl_index) = outcome(added, m.acl_index)?;
        Ok(AclAddReplaceReply { acl_index, retval })
    });
    registry.ack(|core, m: AclDel| core.vpp.acl_del(m.acl_index));
    registry.dump(|core, m: AclDump| match index(m.acl_index) {
        Some(one) => core
            .vpp
            .acl(one)
            .map(|acl| details(one, acl))
            .into_iter()
            .collect(),
        None => core.vpp.acls().map(|(index, acl)| details(index, acl)).collect(),
    });
    registry.ack(|core, m: AclInterfaceSetAclList| {
        let Some((input, output)) = m.acls.split_at_checked(usize::from(m.n_input)) else {
            return Err(retval::INVALID_VALUE.into());
        };
        core.vpp.acl_set_lists(m.sw_if_index, input, output)
    });
    registry.dump(interface_lists);
    // VPP's handler answers under the wrong id.
    registry.answer::<AclStatsIntfCountersEnable, AclDelReply>(|core, _, m| {
        core.vpp.acl_counters_enable(m.enable);
        Ok(AclDelReply { retval: 0 })
    });
}

fn details(acl_index: u32, acl: &Acl) -> AclDetails {
    AclDetails {
        acl_index,
        tag: acl.tag.clone(),
        r: acl.rules.iter().map(wire_rule).collect(),
    }
}

/// One element for every interface, bound or not.
fn interface_lists(core: &mut Core, m: AclInterfaceListDump) -> Vec<AclInterfaceListDetails> {
    let wanted = index(m.sw_if_index);
    core.vpp
        .interfaces()
        .filter(|i| wanted.is_none_or(|wanted| wanted == i.sw_if_index))
        .map(|i| {
            let binding = core.vpp.acl_binding(i.sw_if_index);
            AclInterfaceListDetails {
                sw_if_index: i.sw_if_index,
                n_input: u8::try_from(binding.input.len()).unwrap_or(u8::MAX),
                acls: binding.input.iter().chain(&binding.output).copied().collect(),
            }
        })
        .collect()
}
