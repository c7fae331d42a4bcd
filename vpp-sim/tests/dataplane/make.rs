//! What scenarios make in a dataplane, each with its undoing.

use std::net::IpAddr;

use vpp_api::messages::abf::{
    AbfItfAttach, AbfItfAttachAddDel, AbfItfAttachDump, AbfPolicy, AbfPolicyAddDel, AbfPolicyDump,
};
use vpp_api::messages::acl::{AclAddReplace, AclDel, AclDump, AclInterfaceSetAclList};
use vpp_api::messages::af_packet::{AfPacketCreateV3, AfPacketDelete, AfPacketFlags, AfPacketMode};
use vpp_api::messages::cnat::{CnatTranslationDel, CnatTranslationDump, CnatTranslationUpdate};
use vpp_api::messages::interface::{
    CreateLoopback, DeleteLoopback, SwInterfaceAddDelAddress, SwInterfaceDetails, SwInterfaceDump,
    SwInterfaceSetFlags, SwInterfaceSetUnnumbered, SwInterfaceTagAddDel,
};
use vpp_api::messages::ip::IpRouteAddDelV2;
use vpp_api::messages::ip_neighbor::{IpNeighbor, IpNeighborAddDel, IpNeighborFlags};
use vpp_api::types::{
    AclAction, AclRule, CnatTranslation, FibPath, IfStatusFlags, IpProto, IpRouteV2, MacAddress, NO_INDEX,
    Prefix,
};
use vpp_sim::engine::Mac;

use crate::bed::Bed;
use crate::pods::{BEACON, BEACON_VPP, Plug, addr, device};

/// On everything that can carry a tag.
pub const TAG: &str = "contiv-dataplane-test";

/// First of the ABF policy ids that are ours.
pub const POLICIES: u32 = 0x7e57_0000;

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A rule for one family, protocol (0 is any) and destination ports.
pub fn rule(action: AclAction, src: &str, dst: &str, proto: u8, ports: (u16, u16)) -> AclRule {
    AclRule {
        src_prefix: prefix(src),
        dst_prefix: prefix(dst),
        proto: IpProto(proto),
        dstport_or_icmpcode_first: ports.0,
        dstport_or_icmpcode_last: ports.1,
        ..AclRule::any(action, src.contains(':'))
    }
}

/// Everything, in both families.
pub fn any(action: AclAction) -> Vec<AclRule> {
    vec![AclRule::any(action, false), AclRule::any(action, true)]
}

impl Bed {
    pub fn interface(&self, sw_if_index: u32) -> SwInterfaceDetails {
        let all = self.dump(SwInterfaceDump {
            sw_if_index: NO_INDEX,
            ..SwInterfaceDump::default()
        });
        all.into_iter()
            .find(|each| each.sw_if_index == sw_if_index)
            .unwrap()
    }

    pub fn admin(&self, sw_if_index: u32, up: bool) {
        let flags = IfStatusFlags(u32::from(up));
        self.call(SwInterfaceSetFlags { sw_if_index, flags });
    }

    pub fn tag(&self, sw_if_index: u32) {
        self.call(SwInterfaceTagAddDel {
            is_add: true,
            sw_if_index,
            tag: TAG.to_owned(),
        });
    }

    pub fn address(&self, sw_if_index: u32, text: &str) {
        let change = move |is_add, prefix| SwInterfaceAddDelAddress {
            sw_if_index,
            is_add,
            del_all: false,
            prefix,
        };
        let prefix = prefix(text);
        self.call(change(true, prefix));
        self.undo_by(format!("address {text}"), change(false, prefix));
    }

    /// A loopback with gateway addresses.
    pub fn gateway(&mut self, addresses: &[&str]) -> u32 {
        let sw_if_index = self.call(CreateLoopback::default()).sw_if_index;
        self.undo_by("gateway", DeleteLoopback { sw_if_index });
        self.tag(sw_if_index);
        addresses
            .iter()
            .for_each(|address| self.address(sw_if_index, address));
        self.admin(sw_if_index, true);
        sw_if_index
    }

    /// A host device attached and up.
    pub fn link(&mut self, name: &str, plug: impl FnOnce(Mac) -> Plug) -> u32 {
        let device = device(name);
        self.wires.plug(&device);
        self.plugged.push(device.clone());
        let sw_if_index = self
            .call(AfPacketCreateV3 {
                mode: AfPacketMode::AF_PACKET_API_MODE_ETHERNET,
                use_random_hw_addr: true,
                host_if_name: device.clone(),
                // Version 3 of the kernel's rings holds frames back, some milliseconds and each ring for itself.
                flags: AfPacketFlags::AF_PACKET_API_FLAG_VERSION_2,
                ..AfPacketCreateV3::default()
            })
            .sw_if_index;
        let host_if_name = device.clone();
        self.undo_by(format!("link {name}"), AfPacketDelete { host_if_name });
        self.wires.attached(&device, sw_if_index);
        self.tag(sw_if_index);
        self.admin(sw_if_index, true);
        let mac = Mac(self.interface(sw_if_index).l2_address.0);
        self.plugs.insert(device, plug(mac));
        sw_if_index
    }

    pub fn unnumbered(&mut self, gateway: u32, borrower: u32) {
        let change = move |is_add| SwInterfaceSetUnnumbered {
            sw_if_index: gateway,
            unnumbered_sw_if_index: borrower,
            is_add,
        };
        self.call(change(true));
        self.undo_by(format!("unnumbered {borrower}"), change(false));
    }

    pub fn neighbour(&mut self, sw_if_index: u32, address: IpAddr, mac: Mac) {
        let neighbor = IpNeighbor {
            sw_if_index,
            flags: IpNeighborFlags::IP_API_NEIGHBOR_FLAG_STATIC,
            mac_address: MacAddress(mac.0),
            ip_address: address,
        };
        let change = move |is_add| IpNeighborAddDel {
            is_add,
            neighbor: neighbor.clone(),
        };
        self.call(change(true));
        self.undo_by(format!("neighbour {address}"), change(false));
    }

    /// A pod's device with its addresses on the other end; nothing yet leads there.
    pub fn bare_pod(&mut self, name: &str, addresses: &[&str]) -> u32 {
        let n = u8::try_from(self.plugs.len()).unwrap();
        let mac = Mac([0x0a, 0, 0, 0, 0, n + 1]);
        let (name_, addresses) = (name.to_owned(), addresses.iter().map(|a| addr(a)).collect());
        self.link(name, |gateway| Plug::Pod {
            name: name_,
            addresses,
            mac,
            gateway,
        })
    }

    /// A pod unnumbered to the gateway, with static neighbours.
    pub fn pod(&mut self, gateway: u32, name: &str, addresses: &[&str]) -> u32 {
        let index = self.bare_pod(name, addresses);
        self.unnumbered(gateway, index);
        let mac = self.pod_mac(name);
        addresses
            .iter()
            .for_each(|address| self.neighbour(index, addr(address), mac));
        index
    }

    /// A node with a gateway and pods w1 … wn: 198.18.1.2 and 2001:2:0:1::2 are w1's, and so on.
    pub fn node(&mut self, pods: u8) -> (u32, Vec<u32>) {
        let gateway = self.gateway(&["198.18.1.1/24", "2001:2:0:1::1/64"]);
        let pods = (1..=pods).map(|n| {
            let (v4, v6) = (format!("198.18.1.{}", n + 1), format!("2001:2:0:1::{}", n + 1));
            self.pod(gateway, &format!("w{n}"), &[&v4, &v6])
        });
        (gateway, pods.collect())
    }

    pub fn route_in(&self, table_id: u32, text: &str, paths: Vec<FibPath>) {
        let (prefix, text) = (prefix(text), text.to_owned());
        let change = move |is_add, paths| IpRouteAddDelV2 {
            is_add,
            is_multipath: false,
            route: IpRouteV2 {
                table_id,
                prefix,
                paths,
                ..IpRouteV2::default()
            },
        };
        self.call(change(true, paths));
        if !self.has(&format!("route {text}")) {
            self.undo_by(format!("route {text}"), change(false, Vec::new()));
        }
    }

    pub fn route(&self, text: &str, paths: Vec<FibPath>) {
        self.route_in(0, text, paths);
    }

    pub fn replace_acl(&self, acl_index: u32, rules: Vec<AclRule>) -> u32 {
        let request = AclAddReplace {
            acl_index,
            tag: TAG.to_owned(),
            r: rules,
        };
        self.call(request).acl_index
    }

    pub fn acl(&self, rules: Vec<AclRule>) -> u32 {
        let acl_index = self.replace_acl(NO_INDEX, rules);
        self.undo_by(format!("acl {acl_index}"), AclDel { acl_index });
        acl_index
    }

    pub fn lists(&self, sw_if_index: u32, input: &[u32], output: &[u32]) {
        self.call(lists(sw_if_index, input, output));
        // Before the ACLs go, also those made since the last list.
        let what = format!("lists {sw_if_index}");
        self.forget(&what);
        self.undo_by(what, lists(sw_if_index, &[], &[]));
    }

    pub fn translation(&self, translation: CnatTranslation) -> u32 {
        let id = self.call(CnatTranslationUpdate { translation }).id;
        let what = format!("translation {id}");
        if !self.has(&what) {
            self.undo_by(what, CnatTranslationDel { id });
        }
        id
    }

    pub fn abf_policy(&self, policy_id: u32, acl_index: u32, paths: Vec<FibPath>) {
        let policy = AbfPolicy {
            policy_id,
            acl_index,
            paths,
        };
        let change = move |is_add| AbfPolicyAddDel {
            is_add,
            policy: policy.clone(),
        };
        self.call(change(true));
        self.undo_by(format!("policy {policy_id}"), change(false));
    }

    pub fn abf_attach(&self, policy_id: u32, sw_if_index: u32, priority: u32) {
        let attach = AbfItfAttach {
            policy_id,
            sw_if_index,
            priority,
            is_ipv6: false,
        };
        let change = move |is_add| AbfItfAttachAddDel {
            is_add,
            attach: attach.clone(),
        };
        self.call(change(true));
        self.undo_by(format!("attachment {policy_id}"), change(false));
    }

    /// The device on which the end of other frames is told.
    pub fn plug_beacon(&mut self) {
        if self.wires.is_immediate() {
            return;
        }
        let index = self.link("beacon", |_| Plug::Raw(Vec::new()));
        let address = IpAddr::from(BEACON_VPP);
        self.address(index, &format!("{address}/30"));
        // Read apart from the others.
        self.plugs.remove(BEACON);
    }

    /// Removes what a killed run left: what has our tag, our policy ids or our addresses.
    pub fn sweep(&self) {
        let ours = |tag: &str| tag == TAG;
        for details in self.dump(AbfItfAttachDump {}) {
            if details.attach.policy_id & 0xffff_0000 == POLICIES {
                self.call(AbfItfAttachAddDel {
                    is_add: false,
                    attach: details.attach,
                });
            }
        }
        for details in self.dump(AbfPolicyDump {}) {
            if details.policy.policy_id & 0xffff_0000 == POLICIES {
                self.call(AbfPolicyAddDel {
                    is_add: false,
                    policy: details.policy,
                });
            }
        }
        for details in self.dump(CnatTranslationDump {}) {
            let translation = details.translation;
            if is_benchmark(translation.vip.addr) {
                self.call(CnatTranslationDel { id: translation.id });
            }
        }
        let all = self.dump(SwInterfaceDump {
            sw_if_index: NO_INDEX,
            ..SwInterfaceDump::default()
        });
        for interface in all.iter().filter(|each| ours(&each.tag)) {
            let sw_if_index = interface.sw_if_index;
            self.call(lists(sw_if_index, &[], &[]));
            match interface.interface_name.strip_prefix("host-") {
                Some(name) => drop(self.call(AfPacketDelete {
                    host_if_name: name.to_owned(),
                })),
                None if interface.interface_name.starts_with("loop") => {
                    self.call(DeleteLoopback { sw_if_index });
                }
                None => {}
            }
        }
        for details in self
            .dump(AclDump { acl_index: NO_INDEX })
            .into_iter()
            .filter(|each| ours(&each.tag))
        {
            self.call(AclDel {
                acl_index: details.acl_index,
            });
        }
    }
}

/// Whether an address is of the ranges set apart for benchmarks.
fn is_benchmark(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.octets()[0] == 198 && a.octets()[1] & 0xfe == 18,
        IpAddr::V6(a) => a.segments()[..3] == [0x2001, 2, 0],
    }
}

/// The lists of an interface.
pub fn lists(sw_if_index: u32, input: &[u32], output: &[u32]) -> AclInterfaceSetAclList {
    AclInterfaceSetAclList {
        sw_if_index,
        n_input: u8::try_from(input.len()).unwrap(),
        acls: [input, output].concat(),
    }
}
