//! What a compile gives: the objects to write, and what to tell the users.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crds::net::Cidr;
use crds::service_chain::PathHop;
use crds::vpp_config::{DirectionBinding, PodBinding, Transport};
use crds::{VppAddressSetSpec, VppConfigSpec, VppPeerSliceSpec, VppPolicySpec, VppServiceSliceSpec};

use crate::cluster::Cluster;
use crate::cnf::Cnfs;
use crate::facts::{Cnf, Kind, Node, ObjectKey, Pod, Problem};
use crate::policy::Bound;
use crate::sets::{Naming, Sets};
use crate::{chain, cnf, policy, service, sets, topology};

/// What the operator's user decides for the whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Namespace of shared objects that belong to no user namespace.
    pub system_namespace: String,
    /// How pods' packets travel between nodes.
    pub transport: Transport,
    /// Where nodes without `spec.podCIDRs` get their prefixes from, at most one pool per family.
    pub pod_pools: Vec<PodPool>,
    /// Whether `spec.externalIPs` of Services are captured. Whoever may write a Service could take
    /// any address to itself by it (CVE-2020-8554); deprecated by KEP-5707.
    pub external_ips: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            system_namespace: crds::SYSTEM_NAMESPACE.to_owned(),
            transport: Transport::default(),
            pod_pools: Vec::new(),
            external_ips: true,
        }
    }
}

/// A prefix from which nodes' pod prefixes are carved: node id n gets the n-th, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodPool {
    /// The whole.
    pub cidr: Cidr,
    /// Length of a node's prefix in bits.
    pub node_prefix_len: u8,
}

/// Everything that follows from the facts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// VppConfigs by node name.
    pub configs: BTreeMap<String, Compiled<VppConfigSpec>>,
    /// VppPolicies.
    pub policies: BTreeMap<ObjectKey, Compiled<VppPolicySpec>>,
    /// VppAddressSets.
    pub sets: BTreeMap<ObjectKey, Compiled<VppAddressSetSpec>>,
    /// VppServiceSlices.
    pub service_slices: BTreeMap<ObjectKey, Compiled<VppServiceSliceSpec>>,
    /// VppPeerSlices by name.
    pub peer_slices: BTreeMap<String, Compiled<VppPeerSliceSpec>>,
    /// What became of each ServiceChain.
    pub chains: BTreeMap<ObjectKey, ChainVerdict>,
    /// What became of each CNF.
    pub cnfs: BTreeMap<ObjectKey, CnfVerdict>,
    /// What users should be told by Events.
    pub problems: BTreeSet<Problem>,
}

/// A spec to be written, its revision filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled<S> {
    /// The spec.
    pub spec: S,
    /// The object with which this one is to vanish.
    pub owner: Option<Owner>,
}

/// An owner reference (the controller flag set, deletion not blocked).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `apiVersion` of the owner.
    pub api_version: &'static str,
    /// `kind` of the owner.
    pub kind: &'static str,
    /// Name of the owner.
    pub name: String,
    /// UID of the owner.
    pub uid: String,
}

impl Owner {
    /// The owner reference to an object.
    pub fn new(kind: Kind, name: &str, uid: &str) -> Self {
        Self {
            api_version: kind.api_version,
            kind: kind.kind,
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }
}

/// Status, reason and message of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Condition status.
    pub ok: bool,
    /// CamelCase reason.
    pub reason: &'static str,
    /// Message for people.
    pub message: String,
}

impl Verdict {
    /// A condition that holds.
    pub fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            ok: true,
            reason,
            message: message.into(),
        }
    }

    /// A condition that does not hold.
    pub fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            ok: false,
            reason,
            message: message.into(),
        }
    }
}

/// What became of a ServiceChain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainVerdict {
    /// Generation of the spec this speaks of.
    pub generation: Option<i64>,
    /// Condition `Accepted`: the spec is meaningful.
    pub accepted: Verdict,
    /// Condition `Resolved`: every function has a pod.
    pub resolved: Verdict,
    /// What happens to the chain's traffic.
    pub traffic: Traffic,
    /// The chosen pods in forward order; empty unless traffic is `Steered`.
    pub path: Vec<PathHop>,
    /// The path in one line, such as `firewall@node-1 → ids@node-2`.
    pub path_summary: String,
    /// Nodes that have a part of the chain: `Programmed` when each of them reports it.
    pub nodes: BTreeSet<String>,
}

/// What happens to a chain's traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// It passes the functions.
    Steered,
    /// It is dropped where it enters.
    Dropped,
    /// It goes straight, because the path is incomplete and the chain says Bypass, or because
    /// what the chain takes can't be told.
    Bypassed,
    /// It goes straight, because the chain is suspended.
    Suspended,
}

/// What became of a CNF.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CnfVerdict {
    /// Generation of the spec this speaks of.
    pub generation: Option<i64>,
    /// Pods that are the function.
    pub pods: u32,
    /// Pods of those that are ready.
    pub ready_pods: u32,
    /// Condition `Accepted`: the spec is meaningful.
    pub accepted: Verdict,
    /// Condition `Resolved`: at least one pod is ready.
    pub resolved: Verdict,
}

/// Most pods of one node (the schema's bound).
pub const MAX_NODE_PODS: usize = 512;

/// Computes everything from the facts.
///
/// Pure: equal facts give equal output. Users' mistakes are in the verdicts and problems.
///
/// This recomputes everything each time, and is what [`Engine`](crate::Engine) is held to.
pub fn compile(cluster: &Cluster, settings: &Settings) -> Output {
    compile_named(cluster, settings, sets::name).0
}

/// As [`compile`], with a choice of how sets are named. Also says whether two names collided.
pub(crate) fn compile_named(cluster: &Cluster, settings: &Settings, naming: Naming) -> (Output, bool) {
    let mut problems = BTreeSet::new();
    for pod in cluster.pods() {
        problems.extend(pod.problems.iter().cloned());
    }

    let mut topology = topology::compile(cluster, settings, &mut problems);
    let mut sets = Sets::new(cluster, &settings.system_namespace, naming);
    let policies = policy::compile(cluster, &mut sets, &mut problems);
    let cnfs = cnf::compile(cluster, &mut problems);
    let chains = chain::compile(cluster, settings, &cnfs, &mut sets, &mut problems);
    let service_slices = service::compile(cluster, settings, &mut problems);

    bind(cluster, settings, &cnfs, &mut topology.configs, &mut problems);
    for (node, config) in &mut topology.configs {
        let steers = chains.steers.get(node).into_iter().flatten();
        config.spec.chains = steers.map(|steer| steer.placed(&config.spec.pods)).collect();
        config.spec.revision = crds::revision::short_hash(&config.spec);
    }

    let collided = sets.collided();
    let output = Output {
        configs: topology.configs,
        policies,
        sets: sets.finish(),
        service_slices,
        peer_slices: topology.peer_slices,
        chains: chains.verdicts,
        cnfs: cnfs.verdicts,
        problems,
    };
    (output, collided)
}

/// Puts every pod that is scheduled and has a network of its own into its node's configuration.
fn bind(
    cluster: &Cluster,
    settings: &Settings,
    cnfs: &Cnfs,
    configs: &mut BTreeMap<String, Compiled<VppConfigSpec>>,
    problems: &mut BTreeSet<Problem>,
) {
    let mut seats: BTreeMap<&str, Vec<Seat>> = BTreeMap::new();
    let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in cluster.pods().filter(|pod| pod.selectable()) {
        let Some(node) = pod.node.as_deref().filter(|node| configs.contains_key(*node)) else {
            continue;
        };
        let seats = seats.entry(node).or_default();
        if seats.len() == MAX_NODE_PODS {
            *left_out.entry(node).or_default() += 1;
            continue;
        }
        let bound = policy::bindings(cluster, &settings.system_namespace, pod);
        if bound.too_many {
            problems.insert(policy::too_many(pod));
        }
        let function = cnfs.of_pod(cluster, &pod.key());
        seats.push((binding(pod, function), Arc::new(bound)));
    }
    for (node, config) in configs {
        let seats = seats.remove(node.as_str()).unwrap_or_default();
        seat(&mut config.spec, seats);
    }
    for node in cluster.nodes() {
        if let Some(count) = left_out.get(node.name.as_str()) {
            problems.insert(too_many_pods(node, *count));
        }
    }
}

/// A pod's binding, its directions still open, and what policies say of it.
pub(crate) type Seat = (PodBinding, Arc<Bound>);

/// A pod's place in its node's configuration, its directions still open.
pub(crate) fn binding(pod: &Pod, function: Option<&Cnf>) -> PodBinding {
    PodBinding {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        interface: pod.interface,
        ingress: None,
        egress: None,
        interfaces: function.map(|f| f.interfaces.clone()).unwrap_or_default(),
        forwarding: function.map(|f| f.forwarding).unwrap_or_default(),
    }
}

/// Puts pods, sorted, into a configuration, and each set of policies that one of them has once.
pub(crate) fn seat(spec: &mut VppConfigSpec, seats: Vec<Seat>) {
    let mut sets: Vec<&DirectionBinding> = Vec::new();
    let mut last: Option<&Arc<Bound>> = None;
    for (_, bound) in &seats {
        // Long lists are often the same one: not compared with themselves.
        if !last.is_some_and(|last| Arc::ptr_eq(last, bound)) {
            sets.extend(
                [&*bound.ingress, &*bound.egress]
                    .into_iter()
                    .filter(|set| !set.is_open()),
            );
        }
        last = Some(bound);
    }
    sets.sort_unstable_by_key(|set| std::ptr::from_ref(*set));
    sets.dedup_by_key(|set| std::ptr::from_ref(*set));
    sets.sort_unstable();
    sets.dedup();
    let sets: Vec<DirectionBinding> = sets.into_iter().cloned().collect();
    let mut known: HashMap<*const DirectionBinding, Option<u16>> = HashMap::new();
    let mut place = |set: &DirectionBinding| {
        *known
            .entry(std::ptr::from_ref(set))
            .or_insert_with(|| u16::try_from(sets.binary_search(set).ok()?).ok())
    };
    let places: Vec<[Option<u16>; 2]> = seats
        .iter()
        .map(|(_, bound)| [place(&bound.ingress), place(&bound.egress)])
        .collect();
    spec.pods = seats
        .into_iter()
        .zip(places)
        .map(|((binding, _), [ingress, egress])| PodBinding {
            ingress,
            egress,
            ..binding
        })
        .collect();
    spec.policy_sets = sets;
}

/// What to tell of a node that has more pods than fit, by this many.
pub(crate) fn too_many_pods(node: &Node, count: usize) -> Problem {
    Problem {
        object: Kind::NODE.of_cluster(&node.name, &node.uid),
        reason: "TooManyPods",
        message: format!("{count} pods beyond {MAX_NODE_PODS} get no network: move them to other nodes"),
    }
}
