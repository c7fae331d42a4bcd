//! One step as requests.

use std::net::IpAddr;

use crds::net::Cidr;
use ipnet::IpNet;
use vpp_api::Request;
use vpp_api::messages::ip_neighbor::{IpNeighbor, IpNeighborAddDel, IpNeighborFlags};
use vpp_api::messages::{abf, acl, interface, ip};
use vpp_api::types::{
    AclAction, AclRule, FibPath, FibPathType, IfStatusFlags, IpProto, IpRouteV2, MacAddress, NO_INDEX, Prefix,
};

use super::{Effect, Failure, cnat, interface as link};
use crate::objects::{AbfPolicy, AclLists, Action, Key, Link, Object, Path, Rule};
use crate::plan::Step;
use crate::vpp::{Handles, Vpp};

/// VPP refers to something that should be there and is not, or finds something that should not: our picture is old.
const STALE_PICTURE: &[i32] = &[
    -2, -3, -6, -10, -60, -71, -75, -79, -81, -105, -116, -127, -142, -143, -147,
];

/// The request itself is one this VPP will never take.
const NEVER: &[i32] = &[
    -7, -8, -9, -57, -58, -59, -73, -88, -97, -126, -150, -162, -166, -171,
];

pub(super) async fn execute(vpp: &Vpp, handles: &Handles, step: &Step) -> Result<Effect, Failure> {
    let run = Run { vpp, handles };
    match step {
        Step::Create(key, object) => run.make(key, None, object).await,
        Step::Update(key, previous, object) => run.make(key, Some(previous), object).await,
        Step::Delete(key, object) => run.delete(key, object).await.map(|()| Effect::None),
    }
}

/// What requests of a step need.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub vpp: &'a Vpp,
    pub handles: &'a Handles,
}

impl Run<'_> {
    /// Sends and waits. The request is queued before this returns its future's first `Pending`, so requests of one
    /// stage leave in order and together.
    pub async fn call<R: Request>(&self, request: R) -> Result<R::Reply, Failure> {
        self.vpp.client.send(request).await.map_err(failure)
    }

    /// Like [`Run::call`], for requests whose work may have been done already.
    pub async fn call_tolerating<R: Request>(&self, request: R, tolerated: &[i32]) -> Result<(), Failure> {
        match self.vpp.client.send(request).await {
            Ok(_) => Ok(()),
            Err(error) if error.retval().is_some_and(|r| tolerated.contains(&r.0)) => Ok(()),
            Err(error) => Err(failure(error)),
        }
    }

    pub fn index(&self, link: &Link) -> Result<u32, Failure> {
        self.handles
            .links
            .get(link)
            .copied()
            .ok_or_else(|| Failure::Waits(Key::Interface(link.clone())))
    }

    pub fn acl_index(&self, tag: &str) -> Result<u32, Failure> {
        self.handles
            .acls
            .get(tag)
            .copied()
            .ok_or_else(|| Failure::Waits(Key::Acl(tag.to_owned())))
    }

    async fn make(&self, key: &Key, previous: Option<&Object>, object: &Object) -> Result<Effect, Failure> {
        match (key, object) {
            (Key::Interface(l), Object::Interface(i)) => {
                return link::make(*self, l, previous.is_some(), i).await;
            }
            (Key::Acl(tag), Object::Acl(rules)) => return self.set_acl(tag, rules).await,
            (Key::Translation(vip), Object::Translation(t)) => {
                return cnat::set_translation(*self, vip, t).await;
            }
            (Key::Up(l), _) => self.set_up(l, true).await,
            (Key::Address(l, address), _) => self.set_address(l, *address, true).await,
            (Key::Unnumbered(l), Object::Unnumbered(lender)) => self.set_unnumbered(l, lender, true).await,
            (Key::Neighbour(l, address), Object::Neighbour(mac)) => {
                self.set_neighbour(l, *address, *mac, true).await
            }
            (Key::Route(prefix), Object::Route(paths)) => self.set_route(prefix, paths, true).await,
            (Key::AclBinding(l), Object::AclBinding(lists)) => self.set_lists(l, lists).await,
            (Key::CnatSnat, Object::CnatSnat(addresses)) => cnat::set_snat(*self, addresses).await,
            (Key::CnatExclude(prefix), _) => cnat::set_excluded(*self, prefix, true).await,
            (Key::CnatFeature(l), Object::CnatFeature(role)) => {
                cnat::set_feature(*self, l, *role, true).await
            }
            (Key::AbfPolicy(id), Object::AbfPolicy(policy)) => self.set_abf_policy(*id, policy, true).await,
            (Key::AbfAttach(l, id), Object::AbfAttach(attach)) => {
                self.set_abf_attach(l, *id, *attach, true).await
            }
            (key, object) => Err(mixed_up(key, object)),
        }
        .map(|()| Effect::None)
    }

    async fn delete(&self, key: &Key, object: &Object) -> Result<(), Failure> {
        let result = match (key, object) {
            (Key::Interface(l), Object::Interface(i)) => link::delete(*self, l, i).await,
            (Key::Acl(tag), _) => {
                let acl_index = self.acl_index(tag)?;
                self.call(acl::AclDel { acl_index }).await.map(|_| ())
            }
            (Key::Translation(vip), _) => cnat::delete_translation(*self, vip).await,
            (Key::Up(l), _) => self.set_up(l, false).await,
            (Key::Address(l, address), _) => self.set_address(l, *address, false).await,
            (Key::Unnumbered(l), Object::Unnumbered(lender)) => self.set_unnumbered(l, lender, false).await,
            (Key::Neighbour(l, address), Object::Neighbour(mac)) => {
                self.set_neighbour(l, *address, *mac, false).await
            }
            (Key::Route(prefix), Object::Route(paths)) => self.set_route(prefix, paths, false).await,
            (Key::AclBinding(l), _) => self.set_lists(l, &AclLists::default()).await,
            // The addresses stay: without them cnat's other calls crash VPP 26.06, and nothing uses them by itself.
            (Key::CnatSnat, _) => Ok(()),
            (Key::CnatExclude(prefix), _) => cnat::set_excluded(*self, prefix, false).await,
            (Key::CnatFeature(l), Object::CnatFeature(role)) => {
                cnat::set_feature(*self, l, *role, false).await
            }
            (Key::AbfPolicy(id), Object::AbfPolicy(policy)) => self.set_abf_policy(*id, policy, false).await,
            (Key::AbfAttach(l, id), Object::AbfAttach(attach)) => {
                self.set_abf_attach(l, *id, *attach, false).await
            }
            (key, object) => Err(mixed_up(key, object)),
        };
        match result {
            // What is not there needs no deleting: an interface that went takes its settings along.
            Err(Failure::Waits(_)) => Ok(()),
            other => other,
        }
    }

    async fn set_up(&self, l: &Link, up: bool) -> Result<(), Failure> {
        let flags = if up {
            IfStatusFlags::IF_STATUS_API_FLAG_ADMIN_UP
        } else {
            IfStatusFlags::default()
        };
        let sw_if_index = self.index(l)?;
        self.call(interface::SwInterfaceSetFlags { sw_if_index, flags })
            .await
            .map(|_| ())
    }

    async fn set_address(&self, l: &Link, address: IpNet, is_add: bool) -> Result<(), Failure> {
        let request = interface::SwInterfaceAddDelAddress {
            sw_if_index: self.index(l)?,
            is_add,
            del_all: false,
            prefix: Prefix {
                address: address.addr(),
                len: address.prefix_len(),
            },
        };
        self.call(request).await.map(|_| ())
    }

    async fn set_unnumbered(&self, l: &Link, lender: &Link, is_add: bool) -> Result<(), Failure> {
        // VPP's names are swapped against intuition: `sw_if_index` lends, `unnumbered_sw_if_index` borrows.
        let request = interface::SwInterfaceSetUnnumbered {
            sw_if_index: self.index(lender)?,
            unnumbered_sw_if_index: self.index(l)?,
            is_add,
        };
        self.call(request).await.map(|_| ())
    }

    async fn set_neighbour(
        &self,
        l: &Link,
        ip_address: IpAddr,
        mac_address: MacAddress,
        is_add: bool,
    ) -> Result<(), Failure> {
        let neighbor = IpNeighbor {
            sw_if_index: self.index(l)?,
            flags: IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC,
            mac_address,
            ip_address,
        };
        self.call(IpNeighborAddDel { is_add, neighbor }).await.map(|_| ())
    }

    async fn set_route(&self, prefix: &Cidr, paths: &[Path], is_add: bool) -> Result<(), Failure> {
        let ipv6 = prefix.is_ipv6();
        // A deletion takes the whole entry: its paths may name interfaces that are gone.
        let paths = if is_add {
            paths
                .iter()
                .map(|path| self.path(path, ipv6))
                .collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        let route = IpRouteV2 {
            prefix: wire_prefix(prefix),
            paths,
            ..IpRouteV2::default()
        };
        self.call(ip::IpRouteAddDelV2 {
            is_add,
            is_multipath: false,
            route,
        })
        .await
        .map(|_| ())
    }

    fn path(&self, path: &Path, ipv6: bool) -> Result<FibPath, Failure> {
        Ok(match path {
            Path::Via(l, next_hop) => FibPath::via(self.index(l)?, *next_hop),
            Path::Attached(l) => FibPath::attached(self.index(l)?, ipv6),
            Path::Drop => FibPath::special(FibPathType::FIB_API_PATH_TYPE_DROP, ipv6),
            Path::Unreachable => FibPath::special(FibPathType::FIB_API_PATH_TYPE_ICMP_UNREACH, ipv6),
            Path::Foreign => {
                return Err(Failure::Final(
                    "a path of an unknown kind is never made".to_owned(),
                ));
            }
        })
    }

    async fn set_acl(&self, tag: &str, rules: &[Rule]) -> Result<Effect, Failure> {
        let acl_index = self.handles.acls.get(tag).copied().unwrap_or(NO_INDEX);
        let r = rules.iter().map(wire_rule).collect();
        let request = acl::AclAddReplace {
            acl_index,
            tag: tag.to_owned(),
            r,
        };
        self.call(request)
            .await
            .map(|reply| Effect::Index(reply.acl_index))
    }

    async fn set_lists(&self, l: &Link, lists: &AclLists) -> Result<(), Failure> {
        let acls: Vec<u32> = lists
            .input
            .iter()
            .chain(&lists.output)
            .map(|tag| self.acl_index(tag))
            .collect::<Result<_, _>>()?;
        let n_input = u8::try_from(lists.input.len())
            .map_err(|_| Failure::Final(format!("{} ACLs are more than VPP lists", acls.len())))?;
        let sw_if_index = self.index(l)?;
        self.call(acl::AclInterfaceSetAclList {
            sw_if_index,
            n_input,
            acls,
        })
        .await
        .map(|_| ())
    }

    async fn set_abf_policy(&self, policy_id: u32, policy: &AbfPolicy, is_add: bool) -> Result<(), Failure> {
        let policy = abf::AbfPolicy {
            policy_id,
            acl_index: self.acl_index(&policy.acl)?,
            paths: vec![self.path(&policy.path, policy.ipv6)?],
        };
        self.call(abf::AbfPolicyAddDel { is_add, policy })
            .await
            .map(|_| ())
    }

    async fn set_abf_attach(
        &self,
        l: &Link,
        policy_id: u32,
        attach: crate::objects::AbfAttach,
        is_add: bool,
    ) -> Result<(), Failure> {
        // VPP 26.06 dies of an unknown policy: the policy is of a lower rank, and `split` holds this step back unless
        // VPP has acknowledged it.
        let attach = abf::AbfItfAttach {
            policy_id,
            sw_if_index: self.index(l)?,
            priority: attach.priority,
            is_ipv6: attach.ipv6,
        };
        self.call(abf::AbfItfAttachAddDel { is_add, attach })
            .await
            .map(|_| ())
    }
}

/// Only a mistake in `desired` could bring a key and a foreign object together.
fn mixed_up(key: &Key, object: &Object) -> Failure {
    Failure::Final(format!("{key} does not go with {object:?}"))
}

pub(super) fn wire_prefix(prefix: &Cidr) -> Prefix {
    Prefix {
        address: prefix.network(),
        len: prefix.prefix_len(),
    }
}

fn wire_rule(rule: &Rule) -> AclRule {
    AclRule {
        is_permit: match rule.action {
            Action::Deny => AclAction::ACL_ACTION_API_DENY,
            Action::Permit => AclAction::ACL_ACTION_API_PERMIT,
            Action::Reflect => AclAction::ACL_ACTION_API_PERMIT_REFLECT,
        },
        src_prefix: wire_prefix(&rule.source),
        dst_prefix: wire_prefix(&rule.destination),
        proto: IpProto(rule.protocol),
        srcport_or_icmptype_first: rule.source_ports.0,
        srcport_or_icmptype_last: rule.source_ports.1,
        dstport_or_icmpcode_first: rule.destination_ports.0,
        dstport_or_icmpcode_last: rule.destination_ports.1,
        tcp_flags_mask: rule.tcp_flags.mask,
        tcp_flags_value: rule.tcp_flags.value,
    }
}

/// What an error of the client means for the step.
pub(super) fn failure(error: vpp_api::Error) -> Failure {
    match error.retval().map(|retval| retval.0) {
        Some(code) if STALE_PICTURE.contains(&code) => Failure::Mismatch(error.to_string()),
        Some(code) if NEVER.contains(&code) => Failure::Final(error.to_string()),
        Some(_) => Failure::Transient(error.to_string()),
        None if error.is_closed() => Failure::Lost(error.to_string()),
        None => Failure::Final(error.to_string()),
    }
}
