//! The connection to VPP as the daemon uses it: what this VPP is and can do, and the indices it handed out.

use std::collections::BTreeMap;

use vpp_api::messages::{abf, acl, cnat, interface, ip, ip_neighbor, ip6_nd, memclnt, vlib, vpe};
use vpp_api::{Client, Message};

use crate::objects::{Link, Vip};

/// A connected VPP.
#[derive(Clone, Debug)]
pub struct Vpp {
    /// The client.
    pub client: Client,
    /// Version, such as `26.06-release`.
    pub version: String,
    /// What this VPP can do.
    pub features: Features,
    /// Next index of VXLAN's decapsulation, by underlay family and inner family (true is IPv6).
    decap: BTreeMap<(bool, bool), u32>,
}

/// Parts of VPP that releases and plugin lists differ in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// cnat, and which API it has.
    pub cnat: Option<CnatApi>,
    /// ACL-based forwarding.
    pub abf: bool,
    /// Router advertisements can be suppressed.
    pub ra_config: bool,
}

/// Versions of cnat's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CnatApi {
    /// 0.3.0, up to VPP 26.02: enabled by generic features.
    V0_3,
    /// 1.0.0, from VPP 26.06.
    V1_0,
}

impl Vpp {
    /// Asks VPP what it is and registers the graph arcs that tunnels need.
    ///
    /// # Errors
    /// When VPP does not answer, or lacks a message without which nothing works.
    pub async fn open(client: Client) -> vpp_api::Result<Self> {
        client.require(REQUIRED)?;
        let version = client.call(vpe::ShowVersion::default()).await?.version;
        let features = Features {
            cnat: cnat_api(&client),
            abf: client.supports::<abf::AbfPolicyAddDel>(),
            ra_config: client.supports::<ip6_nd::SwInterfaceIp6ndRaConfig>(),
        };
        let mut decap = BTreeMap::new();
        for (underlay, node) in [(false, "vxlan4-input"), (true, "vxlan6-input")] {
            for (inner, next) in [(false, "ip4-input"), (true, "ip6-input")] {
                let request = vlib::AddNodeNext {
                    node_name: node.to_owned(),
                    next_name: next.to_owned(),
                };
                // Without the vxlan plugin there is no such node; tunnels then fail one by one, with their reason.
                match client.call(request).await {
                    Ok(reply) => {
                        decap.insert((underlay, inner), reply.next_index);
                    }
                    Err(error) if error.retval().is_some() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Self {
            client,
            version,
            features,
            decap,
        })
    }

    /// Next index of VXLAN's decapsulation for an underlay and an inner family.
    pub fn decap_next(&self, underlay_ipv6: bool, inner_ipv6: bool) -> Option<u32> {
        self.decap.get(&(underlay_ipv6, inner_ipv6)).copied()
    }

    /// Whether VPP still answers.
    ///
    /// # Errors
    /// When it does not within the client's deadline.
    pub async fn ping(&self) -> vpp_api::Result<()> {
        self.client
            .call(memclnt::ControlPing::default())
            .await
            .map(|_| ())
    }
}

/// Messages without which nothing works; what some pods, Services or chains need beside is asked for when it is used.
const REQUIRED: &[&str] = &[
    interface::SwInterfaceDump::NAME_CRC,
    interface::SwInterfaceSetFlags::NAME_CRC,
    interface::SwInterfaceSetMtu::NAME_CRC,
    interface::SwInterfaceTagAddDel::NAME_CRC,
    interface::SwInterfaceAddDelAddress::NAME_CRC,
    interface::SwInterfaceSetUnnumbered::NAME_CRC,
    interface::CreateLoopback::NAME_CRC,
    ip::SwInterfaceIp6EnableDisable::NAME_CRC,
    ip::IpAddressDump::NAME_CRC,
    ip::IpUnnumberedDump::NAME_CRC,
    ip::IpRouteAddDelV2::NAME_CRC,
    ip::IpRouteV2Dump::NAME_CRC,
    ip_neighbor::IpNeighborAddDel::NAME_CRC,
    ip_neighbor::IpNeighborDump::NAME_CRC,
    acl::AclAddReplace::NAME_CRC,
    acl::AclDel::NAME_CRC,
    acl::AclDump::NAME_CRC,
    acl::AclInterfaceSetAclList::NAME_CRC,
    acl::AclInterfaceListDump::NAME_CRC,
];

fn cnat_api(client: &Client) -> Option<CnatApi> {
    if !client.supports::<cnat::CnatTranslationUpdate>() {
        return None;
    }
    if client.supports::<cnat::FeatureCnatEnableDisable>() {
        Some(CnatApi::V1_0)
    } else {
        Some(CnatApi::V0_3)
    }
}

/// Indices that VPP handed out for our objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handles {
    /// Interfaces.
    pub links: BTreeMap<Link, u32>,
    /// ACLs by tag.
    pub acls: BTreeMap<String, u32>,
    /// Translations.
    pub translations: BTreeMap<Vip, u32>,
    /// memif sockets by name.
    pub sockets: BTreeMap<String, u32>,
}
