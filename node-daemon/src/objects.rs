//! What the daemon can have in VPP: keys, objects, what depends on what.
//!
//! A [`Key`] says which thing, an [`Object`] what it is like. `desired` computes a map of both from the configuration,
//! `actual` reads one from VPP, `plan` compares the two. Nothing here holds an index that VPP handed out: interfaces go
//! by [`Link`], ACLs by their tag, so equal configuration gives equal maps before and after a restart of either side.

mod order;

use std::fmt;
use std::net::IpAddr;

use crds::net::{Cidr, Protocol};
use ipnet::IpNet;
use vpp_api::types::MacAddress;

/// Start of every tag we give to an interface or ACL: by it our own things are told from foreign ones.
pub const TAG_PREFIX: &str = "contiv/";

/// Most characters of a tag: VPP's `string tag[64]` must end with a NUL.
pub const TAG_LIMIT: usize = 63;

/// An interface of ours, by its part in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Link {
    /// The loopback that holds the gateway addresses.
    Gateway,
    /// The NIC given to VPP.
    Uplink,
    /// The tap to the node's own network namespace.
    Host,
    /// `eth0` of a pod, by attachment id.
    Pod(String),
    /// A further interface of a function's pod, by attachment id and the interface's name within the pod.
    Function(String, String),
    /// A VXLAN tunnel.
    Tunnel(TunnelId),
}

/// Names a VXLAN tunnel of this node: one VNI carries one inner family, so VNI and far end are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId {
    /// VXLAN network identifier.
    pub vni: u32,
    /// The other node's tunnel endpoint.
    pub remote: IpAddr,
}

impl Link {
    /// The interface's tag in VPP.
    pub fn tag(&self) -> String {
        match self {
            Self::Gateway => "contiv/gateway".to_owned(),
            Self::Uplink => "contiv/uplink".to_owned(),
            Self::Host => "contiv/host".to_owned(),
            Self::Pod(id) => format!("contiv/pod/{id}"),
            Self::Function(id, interface) => format!("contiv/pod/{id}/{interface}"),
            Self::Tunnel(t) => format!("contiv/vxlan/{}/{}", t.vni, t.remote),
        }
    }

    /// The link whose tag this is; `None` for foreign tags.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let rest = tag.strip_prefix(TAG_PREFIX)?;
        match rest.split_once('/') {
            None => match rest {
                "gateway" => Some(Self::Gateway),
                "uplink" => Some(Self::Uplink),
                "host" => Some(Self::Host),
                _ => None,
            },
            Some(("pod", id)) => match id.split_once('/') {
                Some((id, interface)) if !id.is_empty() && !interface.is_empty() => {
                    Some(Self::Function(id.to_owned(), interface.to_owned()))
                }
                None if !id.is_empty() => Some(Self::Pod(id.to_owned())),
                _ => None,
            },
            Some(("vxlan", tunnel)) => {
                let (vni, remote) = tunnel.split_once('/')?;
                Some(Self::Tunnel(TunnelId {
                    vni: vni.parse().ok()?,
                    remote: remote.parse().ok()?,
                }))
            }
            Some(_) => None,
        }
    }

    /// Whether packets of a pod's processes come out of it. Such a link is brought up last, when its policies are in
    /// force, and down first.
    pub fn is_pod_side(&self) -> bool {
        matches!(self, Self::Pod(_) | Self::Function(..))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tag()[TAG_PREFIX.len()..])
    }
}

/// Names one thing in VPP. The order of the variants has no meaning: see [`Key::rank`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An interface with its MTU and tag; IPv6 is enabled on each, router advertisements are not sent.
    Interface(Link),
    /// The interface is administratively up.
    Up(Link),
    /// An address of an interface, host bits kept.
    Address(Link, IpNet),
    /// The interface borrows the addresses of another.
    Unnumbered(Link),
    /// A static neighbour.
    Neighbour(Link, IpAddr),
    /// A route of table 0.
    Route(Cidr),
    /// An ACL, by tag.
    Acl(String),
    /// The list of ACLs of an interface, both directions.
    AclBinding(Link),
    /// The source addresses and the source-NAT policy of cnat.
    CnatSnat,
    /// A destination prefix that never needs source NAT.
    CnatExclude(Cidr),
    /// cnat is enabled on the interface.
    CnatFeature(Link),
    /// A virtual address and port.
    Translation(Vip),
    /// An ACL-based forwarding policy, by id.
    AbfPolicy(u32),
    /// An ACL-based forwarding policy looks at what comes out of an interface.
    AbfAttach(Link, u32),
}

/// Where clients reach one port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    /// The virtual address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
}

/// What a thing in VPP is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// For [`Key::Interface`].
    Interface(Interface),
    /// For keys that say all there is to say: [`Key::Up`], [`Key::Address`], [`Key::CnatExclude`].
    Present,
    /// For [`Key::Unnumbered`]: whose addresses are borrowed.
    Unnumbered(Link),
    /// For [`Key::Neighbour`].
    Neighbour(MacAddress),
    /// For [`Key::Route`], sorted.
    Route(Vec<Path>),
    /// For [`Key::Acl`].
    Acl(Vec<Rule>),
    /// For [`Key::AclBinding`].
    AclBinding(AclLists),
    /// For [`Key::CnatSnat`].
    CnatSnat(SnatAddresses),
    /// For [`Key::CnatFeature`].
    CnatFeature(CnatRole),
    /// For [`Key::Translation`].
    Translation(Translation),
    /// For [`Key::AbfPolicy`].
    AbfPolicy(AbfPolicy),
    /// For [`Key::AbfAttach`].
    AbfAttach(AbfAttach),
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What it is made of; another device is another interface.
    pub device: Device,
    /// Largest IP packet.
    pub mtu: u32,
    /// Whether every setting was made. An interface left half made by a crash has no tag yet, or is known as half
    /// made; `desired` always says true, so the difference mends it.
    pub complete: bool,
}

/// What an interface is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// Loopback.
    Loopback {
        /// Its MAC address.
        mac: MacAddress,
    },
    /// AF_PACKET socket on a host device.
    AfPacket {
        /// The host device, in VPP's own network namespace.
        host_if_name: String,
        /// VPP's MAC address.
        mac: MacAddress,
    },
    /// Tap.
    Tap {
        /// Name of the host side.
        host_if_name: String,
        /// Path of the network namespace of the host side; `None` for VPP's own.
        netns: Option<String>,
        /// VPP's MAC address.
        mac: MacAddress,
        /// MAC address of the host side.
        host_mac: MacAddress,
    },
    /// Shared-memory packet interface, VPP being the master.
    Memif {
        /// Socket in VPP's notation: a path, or `abstract:NAME,netns_name=PATH`.
        socket: String,
        /// VPP's MAC address.
        mac: MacAddress,
    },
    /// VXLAN tunnel that carries IP packets without Ethernet header.
    Vxlan {
        /// Our endpoint.
        local: IpAddr,
        /// The inner packets are IPv6.
        ipv6: bool,
    },
}

/// A path of a route or a forwarding policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// To a neighbour on an interface.
    Via(Link, IpAddr),
    /// Out of an interface, to the destination itself.
    Attached(Link),
    /// Dropped.
    Drop,
    /// Answered by ICMP unreachable: clients fail at once instead of timing out.
    Unreachable,
    /// Something we never make; seen in VPP only, so that a repair replaces it.
    Foreign,
}

impl Path {
    /// The interface the path leaves by.
    pub fn link(&self) -> Option<&Link> {
        match self {
            Self::Via(link, _) | Self::Attached(link) => Some(link),
            Self::Drop | Self::Unreachable | Self::Foreign => None,
        }
    }
}

/// What an ACL rule does. Numbers are VPP's `acl_action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Drop.
    Deny = 0,
    /// Let this packet pass, whatever comes back.
    Permit = 1,
    /// Let the connection and its replies pass.
    Reflect = 2,
}

/// A rule of an ACL. Both prefixes are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// What a match does.
    pub action: Action,
    /// Source.
    pub source: Cidr,
    /// Destination.
    pub destination: Cidr,
    /// IANA protocol number; 0 is any.
    pub protocol: u8,
    /// Source ports, inclusive.
    pub source_ports: (u16, u16),
    /// Destination ports, inclusive.
    pub destination_ports: (u16, u16),
    /// Flags of TCP segments.
    pub tcp_flags: TcpFlags,
}

/// Which flags a TCP segment must have; other protocols are not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags {
    /// The flags that count.
    pub mask: u8,
    /// What they must be.
    pub value: u8,
}

/// The ACLs of an interface, by tag, in order of evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AclLists {
    /// For packets that enter VPP: what the pod sends.
    pub input: Vec<String>,
    /// For packets that leave VPP: what reaches the pod.
    pub output: Vec<String>,
}

/// Addresses that stand in for clients where source NAT is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatAddresses {
    /// For IPv4.
    pub v4: Option<std::net::Ipv4Addr>,
    /// For IPv6.
    pub v6: Option<std::net::Ipv6Addr>,
}

/// How cnat treats connections of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CnatRole {
    /// A pod: clients keep their address towards pods, and lose it towards the outside.
    Pod,
    /// The node itself: clients keep their address.
    Host,
    /// A tunnel, or an uplink that carries pods' packets: only un-NAT of replies happens there.
    Underlay,
    /// A function's interface, or a tunnel between functions: packets pass it as they are. Their sessions are looked up and
    /// written all the same (cnat 1.0.0): an output node further on would go by what the packet's buffer held before.
    Passage,
}

/// Backends of a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Address and port of each backend, sorted. Never empty: an empty translation kills VPP 26.06.
    pub backends: Vec<(IpAddr, u16)>,
    /// Whether a client stays with one backend.
    pub affinity: bool,
}

/// An ACL-based forwarding policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbfPolicy {
    /// Which packets, by ACL tag.
    pub acl: String,
    /// Where to.
    pub path: Path,
    /// Family of the path: the policy is attached for this family only.
    pub ipv6: bool,
}

/// Where and when a forwarding policy is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbfAttach {
    /// Lower first.
    pub priority: u32,
    /// Family.
    pub ipv6: bool,
}

/// The parts of the node's configuration that have a condition each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Interfaces, tunnels, routes, neighbours.
    Interfaces,
    /// ACLs and their bindings.
    Policies,
    /// cnat.
    Services,
    /// ACL-based forwarding, function interfaces, hops' tunnels.
    Chains,
}

/// Start of the tags of ACLs that select a chain's packets.
pub const CHAIN_ACL_PREFIX: &str = "contiv/chain/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_name_links_both_ways_and_fit() {
        let longest = Link::Tunnel(TunnelId {
            vni: 16_777_215,
            remote: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
        });
        for link in [
            Link::Gateway,
            Link::Uplink,
            Link::Host,
            Link::Pod("0123456789abcdef".into()),
            Link::Function("0123456789abcdef".into(), "fifteen-letters".into()),
            longest,
        ] {
            assert!(link.tag().len() <= TAG_LIMIT, "{link}");
            assert_eq!(Link::from_tag(&link.tag()), Some(link));
        }
        for foreign in [
            "",
            "pod/x",
            "contiv/",
            "contiv/pod/",
            "contiv/pod//in",
            "contiv/vxlan/1",
            "contiv/vxlan/x/10.0.0.1",
            "contiv/other/1",
        ] {
            assert_eq!(Link::from_tag(foreign), None, "{foreign:?}");
        }
    }
}
