//! The workloads: the shapes that other systems' controllers are measured with, as API objects.

use std::collections::BTreeMap;

use compiler::k8s::{NetworkPolicy, Pod};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

/// Nodes of every workload.
pub const NODES: u32 = 1000;
/// Objects come in batches, as a list comes in pages, and a batch goes when it has been read.
const BATCH_PODS: usize = 500;

/// Names of the workloads.
pub const NAMES: [&str; 4] = [
    "small-namespaces",
    "large-namespaces",
    "one-namespace",
    "policy-per-pod",
];

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Some objects.
#[derive(Default)]
pub struct Batch {
    pub namespaces: Vec<core::Namespace>,
    pub pods: Vec<Pod>,
    pub policies: Vec<NetworkPolicy>,
}

/// Objects in the making. Random, and the same in every run.
#[derive(Default)]
pub struct Workload {
    pub nodes: Vec<core::Node>,
    pub batches: Vec<Batch>,
    random: u64,
    pods: u32,
}

/// The workload of a name.
pub fn build(name: &str) -> Option<Workload> {
    let mut workload = Workload::default();
    for node in 0..NODES {
        let mut object = core::Node::default();
        object.metadata.name = Some(format!("node-{node}"));
        object.metadata.uid = Some(format!("node-uid-{node}"));
        object.spec = Some(core::NodeSpec {
            pod_cidrs: Some(vec![format!("10.{}.{}.0/24", node / 256, node % 256)]),
            ..core::NodeSpec::default()
        });
        workload.nodes.push(object);
    }
    match name {
        "small-namespaces" => workload.namespaces(25_000, 2, 2),
        "large-namespaces" => workload.namespaces(100, 100, 10),
        "one-namespace" => {
            workload.namespace("ns");
            for pod in 0..10_000 {
                workload.pod("ns", &format!("pod-{pod}"), scale(1));
            }
            for policy in 0..10_000 {
                workload.policy("ns", &format!("policy-{policy}"), scale(1), Some(scale(1)));
            }
        }
        "policy-per-pod" => {
            workload.namespace("ns");
            for pair in 0..5_000 {
                let [a, b] = [workload.random_labels(), workload.random_labels()];
                workload.pod("ns", &format!("pod-a-{pair}"), a.clone());
                workload.pod("ns", &format!("pod-b-{pair}"), b.clone());
                workload.policy("ns", &format!("policy-a-{pair}"), a.clone(), Some(b.clone()));
                workload.policy("ns", &format!("policy-b-{pair}"), b, Some(a));
            }
        }
        _ => return None,
    }
    Some(workload)
}

/// The labels `app-n=scale-n`.
pub fn scale(n: u32) -> Labels {
    BTreeMap::from([(format!("app-{n}"), format!("scale-{n}"))])
}

impl Workload {
    /// Per namespace a deny-all, and for each application some pods and a policy among them.
    fn namespaces(&mut self, namespaces: u32, applications: u32, pods: u32) {
        for namespace in 0..namespaces {
            let namespace = format!("ns-{namespace}");
            self.namespace(&namespace);
            self.policy(&namespace, "deny-all", BTreeMap::new(), None);
            for app in 1..=applications {
                for pod in 0..pods {
                    self.pod(&namespace, &format!("pod-{app}-{pod}"), scale(app));
                }
                self.policy(&namespace, &format!("app-{app}"), scale(app), Some(scale(app)));
            }
        }
    }

    fn batch(&mut self) -> &mut Batch {
        let full = |batch: &Batch| {
            batch.pods.len() >= BATCH_PODS
                || batch.policies.len() >= BATCH_PODS
                || batch.namespaces.len() >= BATCH_PODS
        };
        if self.batches.last().is_none_or(full) {
            self.batches.push(Batch::default());
        }
        let last = self.batches.len() - 1;
        &mut self.batches[last]
    }

    fn namespace(&mut self, name: &str) {
        let object = core::Namespace {
            metadata: ObjectMeta {
                name: Some(name.into()),
                labels: Some(BTreeMap::from([("team".into(), format!("team-{}", name.len()))])),
                ..ObjectMeta::default()
            },
            ..core::Namespace::default()
        };
        self.batch().namespaces.push(object);
    }

    fn pod(&mut self, namespace: &str, name: &str, labels: Labels) {
        // Addresses are random but no two pods have the same: an odd factor permutes 24 bits.
        let address = self.pods.wrapping_mul(0x9e_3779) & 0xff_ffff;
        let [_, b, c, d] = address.to_be_bytes();
        let node = self.next(NODES);
        let object = core::Pod {
            metadata: ObjectMeta {
                namespace: Some(namespace.into()),
                name: Some(name.into()),
                uid: Some(format!("00000000-0000-4000-8000-{:012x}", self.pods)),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: Some(core::PodSpec {
                node_name: Some(format!("node-{node}")),
                containers: vec![core::Container {
                    name: "c".into(),
                    ..core::Container::default()
                }],
                ..core::PodSpec::default()
            }),
            status: Some(core::PodStatus {
                phase: Some("Running".into()),
                pod_ips: Some(vec![core::PodIP {
                    ip: format!("10.{b}.{c}.{d}"),
                }]),
                conditions: Some(vec![core::PodCondition {
                    type_: "Ready".into(),
                    status: "True".into(),
                    ..core::PodCondition::default()
                }]),
                ..core::PodStatus::default()
            }),
        };
        self.pods += 1;
        self.batch().pods.push(read_pod(&object));
    }

    fn policy(&mut self, namespace: &str, name: &str, pods: Labels, from: Option<Labels>) {
        let object = policy(namespace, name, pods, from.map(|labels| (labels, None)));
        self.batch().policies.push(read_policy(&object));
    }

    fn random_labels(&mut self) -> Labels {
        let value = self.next(u32::MAX);
        BTreeMap::from([(format!("app-{value}"), format!("scale-{value}"))])
    }

    /// A number below `bound` (Knuth's linear congruential generator).
    fn next(&mut self, bound: u32) -> u32 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        u32::try_from(self.random >> 33).unwrap_or_default() % bound
    }
}

/// A Pod as the operator's watch decodes it.
#[expect(clippy::unwrap_used, reason = "it is our own object")]
pub fn read_pod(pod: &core::Pod) -> Pod {
    Pod::try_from(pod).unwrap()
}

/// A NetworkPolicy as the operator's watch decodes it.
#[expect(clippy::unwrap_used, reason = "it is our own object")]
pub fn read_policy(policy: &net::NetworkPolicy) -> NetworkPolicy {
    NetworkPolicy::try_from(policy).unwrap()
}

fn selector(labels: Labels) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        match_expressions: None,
    }
}

/// A policy with both policy types that lets in pods (of other namespaces, where those are given).
pub fn policy(
    namespace: &str,
    name: &str,
    pods: Labels,
    from: Option<(Labels, Option<Labels>)>,
) -> net::NetworkPolicy {
    let rule = from.map(|(pods, namespaces)| net::NetworkPolicyIngressRule {
        from: Some(vec![net::NetworkPolicyPeer {
            pod_selector: Some(selector(pods)),
            namespace_selector: namespaces.map(selector),
            ip_block: None,
        }]),
        ports: None,
    });
    net::NetworkPolicy {
        metadata: ObjectMeta {
            namespace: Some(namespace.into()),
            name: Some(name.into()),
            uid: Some(format!("uid-{namespace}-{name}")),
            ..ObjectMeta::default()
        },
        spec: Some(net::NetworkPolicySpec {
            pod_selector: Some(selector(pods)),
            ingress: rule.map(|rule| vec![rule]),
            egress: None,
            policy_types: Some(vec!["Ingress".into(), "Egress".into()]),
        }),
    }
}
