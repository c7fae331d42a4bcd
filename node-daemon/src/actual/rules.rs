//! ACLs, their lists, and forwarding policies from dumps.

use std::collections::BTreeMap;

use crds::net::Cidr;
use vpp_api::messages::{abf, acl};
use vpp_api::types::{AclAction, AclRule, FibPathNhProto, NO_INDEX};

use super::{ipnet, path};
use crate::apply::State;
use crate::desired::is_own_policy;
use crate::objects::{AbfAttach, AbfPolicy, AclLists, Action, Key, Object, Path, Rule, TAG_PREFIX, TcpFlags};
use crate::vpp::Vpp;

pub(super) async fn read(vpp: &Vpp, state: &mut State) -> vpp_api::Result<()> {
    let mut tags = BTreeMap::new();
    for details in vpp.client.dump(acl::AclDump { acl_index: NO_INDEX }).await? {
        if !details.tag.starts_with(TAG_PREFIX) {
            continue;
        }
        let index = details.acl_index;
        // A second ACL of the same name is left over from a crash: known by a name nothing wants, it gets deleted.
        let tag = if state.handles.acls.contains_key(&details.tag) {
            format!("{TAG_PREFIX}stray/{index}")
        } else {
            details.tag
        };
        let rules: Option<Vec<Rule>> = details.r.iter().map(rule).collect();
        state.handles.acls.insert(tag.clone(), index);
        // Rules we would never make compare unequal to any we want.
        state
            .objects
            .insert(Key::Acl(tag.clone()), Object::Acl(rules.unwrap_or_default()));
        tags.insert(index, tag);
    }
    for details in vpp
        .client
        .dump(acl::AclInterfaceListDump {
            sw_if_index: NO_INDEX,
        })
        .await?
    {
        let Some(link) = state.link(details.sw_if_index).cloned() else {
            continue;
        };
        if details.acls.is_empty() {
            continue;
        }
        let named: Vec<String> = details
            .acls
            .iter()
            .map(|index| {
                tags.get(index)
                    .cloned()
                    .unwrap_or_else(|| format!("foreign/{index}"))
            })
            .collect();
        let (input, output) = named.split_at(usize::from(details.n_input).min(named.len()));
        let lists = AclLists {
            input: input.to_vec(),
            output: output.to_vec(),
        };
        state
            .objects
            .insert(Key::AclBinding(link), Object::AclBinding(lists));
    }
    if vpp.features.abf {
        read_abf(vpp, &tags, state).await?;
    }
    Ok(())
}

async fn read_abf(vpp: &Vpp, tags: &BTreeMap<u32, String>, state: &mut State) -> vpp_api::Result<()> {
    for details in vpp.client.dump(abf::AbfPolicyDump::default()).await? {
        let policy = details.policy;
        if !is_own_policy(policy.policy_id) {
            continue;
        }
        let Some(tag) = tags.get(&policy.acl_index) else {
            continue;
        };
        let (first, ipv6) = match policy.paths.as_slice() {
            [only] => (
                path(state, only),
                only.proto == FibPathNhProto::FIB_API_PATH_NH_PROTO_IP6,
            ),
            // More paths than one were never ours to make.
            _ => (Path::Foreign, false),
        };
        let object = AbfPolicy {
            acl: tag.clone(),
            path: first,
            ipv6,
        };
        state
            .objects
            .insert(Key::AbfPolicy(policy.policy_id), Object::AbfPolicy(object));
    }
    for details in vpp.client.dump(abf::AbfItfAttachDump::default()).await? {
        let attach = details.attach;
        let Some(link) = state.link(attach.sw_if_index).cloned() else {
            continue;
        };
        if is_own_policy(attach.policy_id) {
            state.objects.insert(
                Key::AbfAttach(link, attach.policy_id),
                Object::AbfAttach(AbfAttach {
                    priority: attach.priority,
                    ipv6: attach.is_ipv6,
                }),
            );
        }
    }
    Ok(())
}

fn rule(rule: &AclRule) -> Option<Rule> {
    let action = match rule.is_permit {
        AclAction::ACL_ACTION_API_DENY => Action::Deny,
        AclAction::ACL_ACTION_API_PERMIT => Action::Permit,
        AclAction::ACL_ACTION_API_PERMIT_REFLECT => Action::Reflect,
        _ => return None,
    };
    Some(Rule {
        action,
        source: Cidr::from(ipnet(&rule.src_prefix)?),
        destination: Cidr::from(ipnet(&rule.dst_prefix)?),
        protocol: rule.proto.0,
        source_ports: (rule.srcport_or_icmptype_first, rule.srcport_or_icmptype_last),
        destination_ports: (rule.dstport_or_icmpcode_first, rule.dstport_or_icmpcode_last),
        tcp_flags: TcpFlags {
            mask: rule.tcp_flags_mask,
            value: rule.tcp_flags_value,
        },
    })
}
