//! What the tests share: clusters from manifests, and a literal reading of compiled policies.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]

use std::net::IpAddr;

use compiler::{Cluster, ObjectKey, Output, Settings, compile, k8s};
use crds::net::{PortMatch, Protocol};
use crds::vpp_config::{ChainSteer, DirectionBinding, PodBinding};
use crds::{PolicyAction, PolicyRule, PolicyTier, SetRef};
use serde::Deserialize;
use serde_norway::Value;

/// A cluster from manifests, fed through the border.
pub fn cluster(yaml: &str) -> Cluster {
    let mut cluster = Cluster::new();
    for object in serde_norway::Deserializer::from_str(yaml) {
        let object = Value::deserialize(object).unwrap();
        if !object.is_null() {
            add(&mut cluster, object);
        }
    }
    cluster
}

pub fn add(cluster: &mut Cluster, object: Value) -> bool {
    let kind = object["kind"].as_str().unwrap().to_owned();
    fn to<T: serde::de::DeserializeOwned>(object: Value) -> T {
        serde_norway::from_value(object.clone()).unwrap_or_else(|e| panic!("{e}: {object:?}"))
    }
    match kind.as_str() {
        "Pod" => cluster.upsert_pod(k8s::pod(&to(object))),
        "Node" => cluster.upsert_node(k8s::node(&to(object))),
        "Namespace" => {
            let namespace: k8s_openapi::api::core::v1::Namespace = to(object);
            cluster.upsert_namespace(k8s::namespace(&namespace.metadata))
        }
        "ClusterNetworkPolicy" => cluster.upsert_cluster_policy(k8s::cluster_policy(&to(object))),
        "NetworkPolicy" => cluster.upsert_policy(k8s::policy(&to(object))),
        "Service" => cluster.upsert_service(k8s::service(&to(object))),
        "EndpointSlice" => cluster.upsert_endpoint_slice(k8s::endpoint_slice(&to(object))),
        "ServiceChain" => cluster.upsert_chain(k8s::chain(&to(object))),
        "CNF" => cluster.upsert_cnf(k8s::cnf(&to(object))),
        other => panic!("kind {other}"),
    }
}

pub fn compiled(yaml: &str) -> Output {
    compile(&cluster(yaml), &Settings::default())
}

pub fn key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace, name)
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Reasons of all problems, sorted.
pub fn reasons(output: &Output) -> Vec<&'static str> {
    let mut reasons: Vec<_> = output.problems.iter().map(|p| p.reason).collect();
    reasons.sort_unstable();
    reasons
}

/// The binding of a pod, by name.
pub fn binding<'o>(output: &'o Output, pod: &str) -> Option<&'o PodBinding> {
    let mut pods = output.configs.values().flat_map(|config| &config.spec.pods);
    pods.find(|binding| binding.name == pod)
}

/// What policies say of a pod, by name: of ingress, or of egress.
pub fn direction<'o>(output: &'o Output, pod: &str, ingress: bool) -> Option<&'o DirectionBinding> {
    output.configs.values().find_map(|config| {
        let binding = config.spec.pods.iter().find(|binding| binding.name == pod)?;
        let place = if ingress { binding.ingress } else { binding.egress };
        Some(config.spec.policy_set(place).unwrap())
    })
}

/// Members of a set, in all its slices.
pub fn members(output: &Output, set: &SetRef) -> Vec<crds::net::Cidr> {
    let slices = output
        .sets
        .iter()
        .filter(|(key, slice)| key.namespace == set.namespace && slice.spec.set == set.name);
    let mut slices: Vec<_> = slices.map(|(_, slice)| &slice.spec).collect();
    slices.sort_by_key(|slice| slice.slice);
    assert!(
        !slices.is_empty(),
        "{set:?} has no slice 0: a reader would wait for ever"
    );
    let members = slices.iter().flat_map(|slice| slice.members.iter().copied());
    members.collect()
}

/// Members of a set as text.
pub fn member_texts(output: &Output, set: &SetRef) -> Vec<String> {
    let members = members(output, set);
    members.iter().map(ToString::to_string).collect()
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Name of the pod, if it is one that has a binding.
    pub pod: Option<&'a str>,
    pub ip: IpAddr,
}

/// Whether the compiled policies let a connection through: the literal reading of VppConfig,
/// VppPolicy and VppAddressSet by their documentation.
pub fn passes(output: &Output, from: End<'_>, to: End<'_>, protocol: Protocol, port: u16) -> bool {
    let open = |pod: Option<&str>, ingress: bool, own: IpAddr, peer: IpAddr| {
        let Some(binding) = pod.and_then(|pod| direction(output, pod, ingress)) else {
            return true;
        };
        accepts(output, binding, ingress, own, peer, protocol, port)
    };
    open(from.pod, false, from.ip, to.ip) && open(to.pod, true, to.ip, from.ip)
}

fn accepts(
    output: &Output,
    binding: &DirectionBinding,
    ingress: bool,
    own: IpAddr,
    peer: IpAddr,
    protocol: Protocol,
    port: u16,
) -> bool {
    let holds = |sets: &Option<Vec<SetRef>>, ip: IpAddr| match sets {
        None => true,
        Some(sets) => sets
            .iter()
            .any(|set| members(output, set).iter().any(|member| member.contains(ip))),
    };
    let fits = |ports: &Option<Vec<PortMatch>>| match ports {
        None => true,
        Some(ports) => ports.iter().any(|p| {
            let (first, last) = p.range();
            p.protocol == protocol && (first..=last).contains(&port)
        }),
    };
    let matches =
        |rule: &&PolicyRule| holds(&rule.peers, peer) && holds(&rule.targets, own) && fits(&rule.ports);
    // What a tier says: the action of its first rule that matches, in the order of the list.
    let decides = |tier: PolicyTier| {
        let policies = binding.policies.iter();
        let specs = policies.map(|policy| &output.policies[&key(&policy.namespace, &policy.name)].spec);
        let of_tier = specs.filter(|spec| spec.tier == tier);
        let mut rules = of_tier.flat_map(|spec| if ingress { &spec.ingress } else { &spec.egress });
        rules.find(matches).map(|rule| rule.action)
    };
    match decides(PolicyTier::Admin) {
        Some(PolicyAction::Accept) => return true,
        Some(PolicyAction::Deny) => return false,
        Some(PolicyAction::Pass) | None => {}
    }
    if binding.isolated {
        return decides(PolicyTier::NetworkPolicy).is_some();
    }
    decides(PolicyTier::Baseline) != Some(PolicyAction::Deny)
}

/// All chain steers, with their nodes.
pub fn steers(output: &Output) -> Vec<(&str, &ChainSteer)> {
    let configs = output.configs.iter();
    configs
        .flat_map(|(node, config)| config.spec.chains.iter().map(move |s| (node.as_str(), s)))
        .collect()
}
