//! What should be in VPP. Pure: configuration in, objects out.
//!
//! ```text
//! node     gateway loopback, uplink, host tap, tunnels, routes to peers
//! pods     interfaces of pods, their neighbours and routes
//! policy   ACLs and the lists of each pod's interface
//! permits  what an accept becomes in an ACL
//! tiers    policies before and behind NetworkPolicies
//! service  cnat
//! follow   changes of Services without the rest
//! chain    forwarding policies, function interfaces' next hops, hops' tunnels
//! ```
//!
//! What cannot be computed yet (a peer without tunnel endpoint, a function's pod that is not attached) is a
//! [`Pending`] with a reason, never an error.

mod chain;
mod follow;
mod host_ports;
mod node;
mod permits;
mod pods;
mod policy;
pub mod service;
pub mod service_backends;
mod tiers;

#[cfg(test)]
pub(crate) mod tests;

pub use chain::is_own_policy;
pub use follow::{Followed, Moved, ServiceIndex};
pub(crate) use pods::MAIN_INTERFACE;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crds::VppConfigSpec;
use crds::cnf::InterfaceKind;
use crds::net::Cidr;
use crds::vpp_config::{PodBinding, PolicyRef};
use ipnet::IpNet;

use crate::addressing;
use crate::attachments::{Attachment, Attachments};
use crate::cluster::Cluster;
use crate::host::pair;
use crate::objects::{Area, Key, Object, Rule, Vip};
use crate::plan::Objects;

/// What the node's operator set by flags, and the daemon found out about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Name of the Node.
    pub node: String,
    /// The NIC given to VPP, if any.
    pub uplink: Option<Uplink>,
    /// Name of the node's own tap to VPP; absent when the node does without.
    pub host_interface: Option<String>,
    /// Largest packet of pods, where it is not to follow from the uplink.
    pub mtu: Option<u32>,
    /// Whether VPP has cnat.
    pub cnat: bool,
    /// Whether it is cnat 1.0.0. Its sessions are of a backend and go with it: a port without backends has a translation to
    /// nowhere. And what a packet is to cnat stays with the packet from input to output.
    pub cnat_v1: bool,
    /// Whether VPP has ABF.
    pub abf: bool,
    /// What interfaces between VPP and a kernel are.
    pub kernel_interfaces: KernelInterfaces,
    /// Which pods have lists of ACLs.
    pub acl_lists: ListedPods,
}

/// What interfaces between VPP and a kernel are, a pod's or the node's own, unless they are to be veths anyway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum KernelInterfaces {
    /// Taps, for which VPP needs /dev/vhost-net.
    #[default]
    Tap,
    /// Veth pairs, for nodes that lack it: every kernel has them, and each packet takes one copy more.
    Veth,
}

impl KernelInterfaces {
    /// What is made where this is asked for.
    fn in_place_of(self, kind: InterfaceKind) -> InterfaceKind {
        match (self, kind) {
            (Self::Veth, InterfaceKind::Tap) => InterfaceKind::Veth,
            (_, kind) => kind,
        }
    }

    /// Makes a node's configuration ask for what this node makes.
    pub fn settle(self, spec: &mut VppConfigSpec) {
        for pod in &mut spec.pods {
            pod.interface = self.in_place_of(pod.interface);
            for interface in &mut pod.interfaces {
                interface.kind = self.in_place_of(interface.kind);
            }
        }
    }
}

/// Which pods' interfaces have lists of ACLs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ListedPods {
    /// All: VPP knows every connection from its first packet, so a pod's first policy cuts what it forbids and nothing
    /// else.
    #[default]
    All,
    /// Those that a policy isolates: other pods cost VPP no sessions, but what they are receiving when their first
    /// policy comes stops until they send.
    Isolated,
}

/// The NIC given to VPP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// Its name in the node's network namespace.
    pub interface: String,
    /// Addresses that VPP takes on it.
    pub addresses: Vec<IpNet>,
    /// Next hops of the default routes, at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Its MTU.
    pub mtu: u32,
}

/// MTU assumed where there is no uplink to ask.
pub const DEFAULT_MTU: u32 = 1500;

impl Local {
    /// Name of VPP's end of the node's own interface, where that is a veth pair.
    pub fn vpp_end(&self) -> Option<String> {
        let name = self.host_interface.as_deref()?;
        (self.kernel_interfaces == KernelInterfaces::Veth).then(|| pair::vpp_end(name))
    }

    /// Addresses of this node's VPP on the underlay, at most one per family.
    pub fn tunnel_endpoints(&self) -> Vec<IpAddr> {
        let addresses = self.uplink.iter().flat_map(|u| &u.addresses).map(IpNet::addr);
        let mut endpoints: Vec<IpAddr> = Vec::new();
        for address in addresses {
            if !endpoints.iter().any(|e| e.is_ipv6() == address.is_ipv6()) {
                endpoints.push(address);
            }
        }
        endpoints
    }

    /// The node's address by which VPP reaches its kernel, in one family.
    pub fn kernel_address(&self, node_addresses: &[IpAddr], ipv6: bool) -> Option<IpAddr> {
        self.host_interface.as_ref()?;
        // An address that VPP has itself is VPP's.
        let of_vpp = |address: &&IpAddr| {
            let mut addresses = self.uplink.iter().flat_map(|uplink| &uplink.addresses);
            addresses.any(|net| net.addr() == **address)
        };
        let mut of_kernel = node_addresses.iter().filter(|address| !of_vpp(address));
        of_kernel.find(|address| address.is_ipv6() == ipv6).copied()
    }

    /// The node's address behind which VPP's packets to the world go: where no uplink has a gateway they leave
    /// through the node's kernel.
    pub fn leaves_by_host(&self, node_addresses: &[IpAddr], ipv6: bool) -> Option<IpAddr> {
        if self.replies_stray(ipv6) {
            return None;
        }
        self.kernel_address(node_addresses, ipv6)
    }

    /// Whether replies to clients outside leave elsewhere than through the node's kernel.
    pub fn replies_stray(&self, ipv6: bool) -> bool {
        let uplink = self.uplink.iter();
        uplink
            .flat_map(|uplink| &uplink.gateways)
            .any(|gateway| gateway.is_ipv6() == ipv6)
    }

    /// MTU of the uplink.
    pub fn uplink_mtu(&self) -> u32 {
        self.uplink.as_ref().map_or(DEFAULT_MTU, |u| u.mtu)
    }

    /// Largest packet of pods.
    pub fn pod_mtu(&self, spec: &VppConfigSpec) -> u32 {
        let endpoints = self.tunnel_endpoints();
        // IPv4 is the preferred underlay where there are both: see `node::tunnel_ends`.
        let underlay_ipv6 = !endpoints.is_empty() && endpoints.iter().all(IpAddr::is_ipv6);
        self.mtu
            .unwrap_or_else(|| addressing::pod_mtu(&spec.transport.mode, self.uplink_mtu(), underlay_ipv6))
    }
}

/// Everything that what should be in VPP depends on.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The node's own configuration.
    pub spec: &'a VppConfigSpec,
    /// The rest of the cluster.
    pub cluster: &'a Cluster,
    /// Pods that have been attached, or are being attached.
    pub attachments: &'a Attachments,
    /// Attachments of which nothing may be in VPP yet (the host end of their veth is not there).
    pub deferred: &'a BTreeSet<String>,
    /// Local settings.
    pub local: &'a Local,
    /// Rules of ACLs as they were last known good, by tag: what a policy keeps while one of its sets is missing.
    pub last_rules: &'a BTreeMap<String, Vec<Rule>>,
}

/// What should be in VPP and what is missing for the rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// What should be in VPP.
    pub objects: Objects,
    /// What cannot be computed yet.
    pub pending: Vec<Pending>,
    /// References to policies and sets the daemon does not know, in words.
    pub unresolved: BTreeSet<String>,
    /// What each chain of this node needs, by namespace and name.
    pub chains: BTreeMap<(String, String), ChainParts>,
    /// What stays as it is until more is known.
    pub frozen: BTreeSet<Key>,
    /// What the node's own side does for Services.
    pub host: HostServices,
    /// What load balancers learn of this node, by `healthCheckNodePort`.
    pub health: BTreeMap<u16, crate::health::Check>,
    /// Which clients stay with their backends, and for how long.
    pub affinities: BTreeMap<Vip, Affinity>,
    /// Where the rules of ACLs of the Admin and Baseline tiers come from, by tag.
    pub origins: BTreeMap<String, Origins>,
}

/// What sessionAffinity asks for a VIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// The port of a Service: its clients keep one backend whichever of its addresses they use.
    pub port: Arc<str>,
    /// For how long after a client's last connection: `timeoutSeconds`.
    pub timeout: Duration,
}

/// Where the rules of an ACL come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// The policies of the pod's direction, as bound.
    pub policies: Vec<PolicyRef>,
    /// Of each rule of the ACL, in order.
    pub rules: Vec<Origin>,
}

/// Where one rule of an ACL comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A rule of a policy.
    Rule {
        /// Position of the policy in [`Origins::policies`].
        policy: usize,
        /// Position of the rule in the policy, in its direction.
        rule: usize,
    },
    /// A NetworkPolicy isolates the pod, and none accepts this.
    Isolation,
    /// A node and its own pods reach each other, as far as NetworkPolicies are concerned.
    Node,
    /// No policy speaks of it.
    Default,
    /// Rules of before, while the policy cannot be read.
    Unknown,
}

/// What the node's own side does for Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostServices {
    /// Addresses that the node reaches through VPP.
    pub vips: BTreeSet<IpAddr>,
    /// What the kernel translates before.
    pub nat: crate::host::nat::Rules,
}

/// A part of the configuration that cannot be computed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Which condition speaks of it.
    pub area: Area,
    /// Why, in words.
    pub reason: String,
}

/// This node's part of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainParts {
    /// What must be in VPP.
    pub keys: BTreeSet<Key>,
    /// What is missing.
    pub missing: Vec<String>,
}

impl Desired {
    fn put(&mut self, key: Key, object: Object) {
        self.objects.insert(key, object);
    }

    fn pend(&mut self, area: Area, reason: String) {
        self.pending.push(Pending { area, reason });
    }
}

/// A pod's attachment together with its binding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalPod<'a> {
    attachment: &'a Attachment,
    binding: &'a PodBinding,
}

impl Inputs<'_> {
    /// Attached pods whose binding is known. A pod without binding has nothing in VPP: it was never told to run here,
    /// or it is gone.
    fn pods(&self) -> Vec<LocalPod<'_>> {
        let bindings: BTreeMap<&str, &PodBinding> = self
            .spec
            .pods
            .iter()
            .map(|binding| (binding.uid.as_str(), binding))
            .collect();
        self.attachments
            .iter()
            .filter(|attachment| !self.deferred.contains(&attachment.id()))
            .filter_map(|attachment| {
                let binding = bindings.get(attachment.uid.as_str())?;
                Some(LocalPod { attachment, binding })
            })
            .collect()
    }

    /// Whether any pod prefix of the node is of the family.
    fn has_family(&self, ipv6: bool) -> bool {
        self.spec.node.pod_cidrs.iter().any(|cidr| cidr.is_ipv6() == ipv6)
    }
}

/// Computes what should be in VPP.
pub fn desired(inputs: &Inputs<'_>) -> Desired {
    let mut out = Desired::default();
    let sets = inputs.cluster.set_members();
    let pods = inputs.pods();
    node::add(inputs, &mut out);
    pods::add(inputs, &pods, &mut out);
    policy::add(inputs, &pods, &sets, &mut out);
    service::add(inputs, &mut out);
    // After the Services: a node port is allocated, a host port is its pod's own choice.
    host_ports::add(inputs, &pods, &mut out);
    chain::add(inputs, &pods, &sets, &mut out);
    out
}

/// What of `desired` must be in VPP before this attachment's ADD may succeed: everything of its interfaces and all that
/// depends on.
pub fn keys_of(attachment: &Attachment, objects: &Objects) -> BTreeSet<Key> {
    let id = attachment.id();
    let hosts: BTreeSet<Cidr> = attachment.addresses.iter().map(|&a| Cidr::host(a)).collect();
    let own = |key: &Key| match key {
        Key::Route(prefix) => hosts.contains(prefix),
        // Which chains a pod's packets enter is not part of its own readiness.
        Key::AbfAttach(..) => false,
        other => match other.link() {
            Some(crate::objects::Link::Pod(of) | crate::objects::Link::Function(of, _)) => *of == id,
            _ => false,
        },
    };
    let mut keys: BTreeSet<Key> = objects.keys().filter(|key| own(key)).cloned().collect();
    if !attachment.host_ports.is_empty() {
        keys.extend(objects.iter().filter_map(|(key, object)| match key {
            Key::Translation(vip) if host_ports::is_own(attachment, vip, object) => Some(key.clone()),
            _ => None,
        }));
    }
    let mut queue: Vec<Key> = keys.iter().cloned().collect();
    while let Some(key) = queue.pop() {
        let Some(object) = objects.get(&key) else { continue };
        for dependency in object.dependencies(&key) {
            if keys.insert(dependency.clone()) {
                queue.push(dependency);
            }
        }
    }
    keys
}
