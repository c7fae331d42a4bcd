//! The compiler's own small types: what it needs to know of each object and nothing more.
//!
//! A Pod of 10 kB becomes some 300 bytes. What a user got wrong is kept beside the fact as a
//! [`Problem`] or [`Refusal`], and the fact itself is already on the safe side: a policy with an
//! unusable part accepts less, never more.

use std::fmt;
use std::net::IpAddr;

use crds::cnf::{Forwarding, InterfaceKind};
use crds::net::{Cidr, PortMatch, Protocol};
use crds::service_chain::FailurePolicy;
use crds::service_slice::{ServicePort, TrafficPolicy};
use crds::vpp_config::FunctionInterface;
use crds::{PolicyAction, PolicyTier};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

/// A name or another short text: up to 23 bytes are in place, longer texts are shared by copies.
pub use smol_str::SmolStr as Name;

use crate::labels::Labels;
use crate::selector::Selector;

/// Namespace and name of an object; sorts by namespace first.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: Name,
    /// Name within the namespace.
    pub name: Name,
}

impl ObjectKey {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: impl Into<Name>, name: impl Into<Name>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// API version and kind of an object that problems are told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// `apiVersion` of the object.
    pub api_version: &'static str,
    /// `kind` of the object.
    pub kind: &'static str,
}

impl Kind {
    /// core/v1 Pod.
    pub const POD: Self = Self::new("v1", "Pod");
    /// core/v1 Node.
    pub const NODE: Self = Self::new("v1", "Node");
    /// core/v1 Service.
    pub const SERVICE: Self = Self::new("v1", "Service");
    /// networking.k8s.io/v1 NetworkPolicy.
    pub const NETWORK_POLICY: Self = Self::new("networking.k8s.io/v1", "NetworkPolicy");
    /// policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy.
    pub const CLUSTER_NETWORK_POLICY: Self =
        Self::new("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy");
    /// contivpp.io/v1alpha1 ServiceChain.
    pub const SERVICE_CHAIN: Self = Self::new("contivpp.io/v1alpha1", "ServiceChain");
    /// contivpp.io/v1alpha1 CNF.
    pub const CNF: Self = Self::new("contivpp.io/v1alpha1", "CNF");

    const fn new(api_version: &'static str, kind: &'static str) -> Self {
        Self { api_version, kind }
    }

    /// The reference to a namespaced object of this kind.
    pub fn of(self, namespace: &str, name: &str, uid: &str) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version,
            kind: self.kind,
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    /// The reference to a cluster-scoped object of this kind.
    pub fn of_cluster(self, name: &str, uid: &str) -> ObjectRef {
        ObjectRef {
            namespace: None,
            ..self.of("", name, uid)
        }
    }
}

/// Which object a [`Problem`] is about; enough to write an Event on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// `apiVersion` of the object.
    pub api_version: &'static str,
    /// `kind` of the object.
    pub kind: &'static str,
    /// Namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// UID; empty for objects read from files.
    pub uid: String,
}

/// A mistake in a user's object, or a want of it, told as an Event on that object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Problem {
    /// The object to look at.
    pub object: ObjectRef,
    /// CamelCase reason of the Event.
    pub reason: &'static str,
    /// What is wrong and what to change.
    pub message: String,
}

/// Why an intent (ServiceChain, CNF) can't be accepted: reason and message of its condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Refusal {
    /// CamelCase reason.
    pub reason: &'static str,
    /// What to change.
    pub message: String,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Name,
    /// Name.
    pub name: Name,
    /// UID: the same name later is another pod.
    pub uid: Name,
    /// Labels.
    pub labels: Labels,
    /// Node to which the pod is scheduled.
    pub node: Option<Name>,
    /// Addresses the pod has (`status.podIPs`), sorted; empty until the kubelet reports them.
    pub ips: Vec<IpAddr>,
    /// Whether the pod shares its node's network: such a pod is never selected by pod selectors.
    pub host_network: bool,
    /// Whether the pod may still hold its addresses.
    pub phase: PodPhase,
    /// Whether the Ready condition is true.
    pub ready: bool,
    /// Whether deletion has begun.
    pub terminating: bool,
    /// When its node's kubelet took it on (`status.startTime`): before it got an address.
    pub started: Option<Timestamp>,
    /// Named container ports, restartable init containers' included; sorted.
    pub ports: Vec<NamedPort>,
    /// How `eth0` is attached, from the annotation [`crate::k8s::INTERFACE_ANNOTATION`].
    pub interface: InterfaceKind,
    /// Mistakes in the pod's annotations.
    pub problems: Vec<Problem>,
}

impl Pod {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.clone(), self.name.clone())
    }

    /// Whether selectors may select the pod: it has a network of its own and may still use it.
    pub fn selectable(&self) -> bool {
        !self.host_network && self.phase == PodPhase::Active
    }

    /// Whether an address that both have is this pod's: a node gives it to another pod as soon as
    /// the one before has gone, which the API may tell later. The one that began last has it.
    pub fn succeeds(&self, other: &Self) -> bool {
        let Self {
            namespace,
            name,
            uid,
            started,
            ..
        } = self;
        (started, uid, namespace, name) > (&other.started, &other.uid, &other.namespace, &other.name)
    }
}

/// Whether a pod may still hold its addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// Pending, Running or unknown; terminating too, as long as containers may run.
    #[default]
    Active,
    /// Succeeded or Failed: its addresses may be another pod's by now.
    Finished,
}

/// A container port with a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NamedPort {
    /// Name.
    pub name: Name,
    /// Protocol.
    pub protocol: Protocol,
    /// Number.
    pub number: u16,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Labels.
    pub labels: Labels,
    /// First InternalIP of each family, IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Every address in `status.addresses`, sorted: what a `nodes` peer of a ClusterNetworkPolicy means.
    pub all_addresses: Vec<IpAddr>,
    /// First prefix of each family in `spec.podCIDRs`, IPv4 first.
    pub pod_cidrs: Vec<Cidr>,
    /// Zone (`topology.kubernetes.io/zone`).
    pub zone: Option<String>,
    /// Mistakes in the node's prefixes.
    pub problems: Vec<Problem>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels; `kubernetes.io/metadata.name` is always among them.
    pub labels: Labels,
}

/// A NetworkPolicy, defaults applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Namespace.
    pub namespace: Name,
    /// Name.
    pub name: Name,
    /// UID.
    pub uid: Name,
    /// Pods of the namespace to which the policy applies.
    pub pods: Selector,
    /// Ingress rules; `None` if the policy does not speak of ingress.
    pub ingress: Option<Vec<Rule>>,
    /// Egress rules; `None` if the policy does not speak of egress.
    pub egress: Option<Vec<Rule>>,
    /// Mistakes; the parts they concern are gone from the rules.
    pub problems: Vec<Problem>,
}

impl Policy {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.clone(), self.name.clone())
    }
}

/// A ClusterNetworkPolicy (network-policy-api v1alpha2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterPolicy {
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Admin or Baseline.
    pub tier: PolicyTier,
    /// Precedence within the tier, lower first.
    pub priority: i32,
    /// Pods to which the policy applies; its namespaces are always given.
    pub subject: PodEnd,
    /// Ingress rules in order; without any the policy does not speak of ingress.
    pub ingress: Vec<TierRule>,
    /// Egress rules in order; without any the policy does not speak of egress.
    pub egress: Vec<TierRule>,
    /// Mistakes; the rules they concern are closed already.
    pub problems: Vec<Problem>,
}

/// One rule of a ClusterNetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TierRule {
    /// Name, for people; may be empty.
    pub name: String,
    /// What a match decides.
    pub action: PolicyAction,
    /// What matches.
    pub matches: Rule,
}

/// One rule of a policy: what matches a peer and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Peers; `None` means any, an empty list none.
    pub peers: Option<Vec<Peer>>,
    /// Ports; `None` means every protocol and port, an empty list none.
    pub ports: Option<Vec<Port>>,
}

/// A peer of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Pods by selectors.
    Pods(PodEnd),
    /// Addresses of a prefix without those of other prefixes.
    Block {
        /// The prefix.
        cidr: Cidr,
        /// What is taken out of this prefix (and only of this one).
        except: Vec<Cidr>,
    },
    /// All addresses of the nodes with these labels.
    Nodes(Selector),
}

/// Pods by labels of their own and of their namespaces: both must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodEnd {
    /// Labels of the pods.
    pub pods: Selector,
    /// Labels of the namespaces; `None` means the namespace of the object that selects.
    pub namespaces: Option<Selector>,
}

/// A port of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// Numbers.
    Number(PortMatch),
    /// The port of this name and protocol on the destination pod.
    Named {
        /// Protocol; `None` means any.
        protocol: Option<Protocol>,
        /// Name of the container port.
        name: String,
    },
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `spec.clusterIPs`; empty for Services without a dataplane (headless, ExternalName, or left
    /// to another proxy by label).
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs` of the families of the cluster IPs, sorted.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of `status.loadBalancer.ingress` that nodes are to capture, of the families of the
    /// cluster IPs, sorted.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Ports, in the Service's order.
    pub ports: Vec<ServicePort>,
    /// Client IP affinity timeout in seconds.
    pub affinity_seconds: Option<u32>,
    /// Which backends clients within the cluster get.
    pub internal_traffic_policy: TrafficPolicy,
    /// Which backends clients outside the cluster get.
    pub external_traffic_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`, where it has a meaning.
    pub health_check_node_port: Option<u16>,
    /// Who may use the load-balancer addresses; `None` means everybody.
    pub source_ranges: Option<Vec<Cidr>>,
    /// Mistakes.
    pub problems: Vec<Problem>,
}

impl Service {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The Service it belongs to (label `kubernetes.io/service-name`).
    pub service: Option<String>,
    /// Ports that every endpoint of the slice serves.
    pub ports: Vec<EndpointPort>,
    /// When the change that the slice follows began (RFC 3339), where its writer says so.
    pub triggered: Option<String>,
    /// Endpoints; none for address types other than IPv4 and IPv6.
    pub endpoints: Vec<Endpoint>,
}

impl EndpointSlice {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

/// A port of an EndpointSlice: what a port of the Service is called on these endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointPort {
    /// Name of the Service's port.
    pub name: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Number on the endpoints.
    pub number: u16,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Node, where it has one.
    pub node: Option<String>,
    /// Accepts new connections.
    pub ready: bool,
    /// Serves, even if terminating.
    pub serving: bool,
    /// Is being shut down.
    pub terminating: bool,
    /// Zones that should use the endpoint.
    pub for_zones: Vec<String>,
    /// Nodes that should use the endpoint.
    pub for_nodes: Vec<String>,
}

/// A ServiceChain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Creation time in seconds since 1970: of two chains that want one CNF the older has it.
    pub created: i64,
    /// Which traffic; `None` if that can't be told (a refusal says why).
    pub classifier: Option<Classifier>,
    /// Functions in forward order.
    pub functions: Vec<Function>,
    /// Whether replies pass the functions in reverse.
    pub symmetric: bool,
    /// What happens to the traffic while the path is incomplete.
    pub on_failure: FailurePolicy,
    /// Whether the chain is switched off.
    pub suspend: bool,
    /// Mistakes, the gravest first.
    pub refusals: Vec<Refusal>,
}

impl Chain {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

/// Which traffic a chain takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classifier {
    /// Pods that open the connections.
    pub from: PodEnd,
    /// Where to.
    pub to: ChainEnd,
    /// Protocols and destination ports; empty means all.
    pub ports: Vec<PortMatch>,
}

/// Where a chain's connections go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEnd {
    /// To pods.
    Pods(PodEnd),
    /// To addresses outside the cluster.
    Cidrs(Vec<Cidr>),
}

impl Default for ChainEnd {
    fn default() -> Self {
        Self::Pods(PodEnd::default())
    }
}

/// One function of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Name of the hop.
    pub name: String,
    /// Name of the CNF in the chain's namespace.
    pub cnf: String,
}

/// A CNF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cnf {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Pods that are the function; `None` if the selector is unusable.
    pub pods: Option<Selector>,
    /// Interfaces, in the CNF's order.
    pub interfaces: Vec<FunctionInterface>,
    /// Who forwards within the pod.
    pub forwarding: Forwarding,
    /// Mistakes, the gravest first.
    pub refusals: Vec<Refusal>,
}

impl Cnf {
    /// Namespace and name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}
