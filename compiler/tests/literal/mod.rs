//! NetworkPolicy read literally, and random clusters to read it of. It knows nothing of how policies are compiled.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crds::net::Protocol;
use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as net;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

type Labels = BTreeMap<String, String>;

/// A cluster's objects.
#[derive(Clone, Debug)]
pub struct World {
    pub namespaces: Vec<core::Namespace>,
    pub pods: Vec<core::Pod>,
    pub policies: Vec<net::NetworkPolicy>,
}

// === the literal reading ===

fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let value = |key: &String| labels.get(key);
    selector
        .match_labels
        .iter()
        .flatten()
        .all(|(k, v)| value(k) == Some(v))
        && selector.match_expressions.iter().flatten().all(|r| {
            let listed = value(&r.key).is_some_and(|v| r.values.iter().flatten().any(|x| x == v));
            match r.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value(&r.key).is_some(),
                "DoesNotExist" => value(&r.key).is_none(),
                other => panic!("{other}"),
            }
        })
}

impl World {
    /// The pod that has an address now; host-network pods count as their node.
    pub fn pod_at(&self, ip: IpAddr) -> Option<&core::Pod> {
        self.pods.iter().find(|pod| {
            let ips = pod.status.iter().flat_map(|s| s.pod_ips.iter().flatten());
            let finished = pod.status.as_ref().unwrap().phase.as_deref() != Some("Running");
            let host = pod.spec.as_ref().unwrap().host_network == Some(true);
            !finished && !host && ips.into_iter().any(|p| p.ip.parse() == Ok(ip))
        })
    }

    /// Whether both ends consent.
    pub fn allows(&self, from: IpAddr, to: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.consents(false, from, to, to, protocol, port)
            && self.consents(true, to, from, to, protocol, port)
    }

    fn consents(
        &self,
        ingress: bool,
        own: IpAddr,
        peer: IpAddr,
        to: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> bool {
        let Some(pod) = self.pod_at(own) else { return true };
        let mut isolated = false;
        for policy in &self.policies {
            let spec = policy.spec.as_ref().unwrap();
            let selector = spec.pod_selector.clone().unwrap_or_default();
            let namespace = policy.metadata.namespace.as_ref();
            let selected = pod.metadata.namespace.as_ref() == namespace;
            if !selected || !matches(&selector, pod.metadata.labels.as_ref().unwrap()) {
                continue;
            }
            let egress_rules = spec.egress.iter().flatten().count() > 0;
            let speaks = match (&spec.policy_types, ingress) {
                (Some(types), true) if !types.is_empty() => types.contains(&"Ingress".to_owned()),
                (Some(types), false) if !types.is_empty() => types.contains(&"Egress".to_owned()),
                (_, ingress) => ingress || egress_rules,
            };
            if !speaks {
                continue;
            }
            isolated = true;
            let rules: Vec<_> = match ingress {
                true => spec
                    .ingress
                    .iter()
                    .flatten()
                    .map(|r| (&r.from, &r.ports))
                    .collect(),
                false => spec.egress.iter().flatten().map(|r| (&r.to, &r.ports)).collect(),
            };
            for (peers, ports) in rules {
                let peers = peers.as_deref().unwrap_or_default();
                let ports = ports.as_deref().unwrap_or_default();
                // A named port is a container's: it says nothing of a destination that is in the
                // rule only as a block.
                let fits = |by_pod: bool| {
                    ports.is_empty()
                        || ports
                            .iter()
                            .any(|p| self.port_fits(p, by_pod || ingress, to, protocol, port))
                };
                if peers.is_empty() && fits(true) {
                    return true;
                }
                if peers
                    .iter()
                    .any(|p| self.is_peer(p, namespace, peer) && fits(p.ip_block.is_none()))
                {
                    return true;
                }
            }
        }
        !isolated
    }

    fn is_peer(&self, peer: &net::NetworkPolicyPeer, own: Option<&String>, ip: IpAddr) -> bool {
        if let Some(block) = &peer.ip_block {
            let within = |text: &String| text.parse::<IpNet>().unwrap().contains(&ip);
            return within(&block.cidr) && !block.except.iter().flatten().any(within);
        }
        let Some(pod) = self.pod_at(ip) else { return false };
        let namespace = pod.metadata.namespace.as_ref();
        let in_namespace = match &peer.namespace_selector {
            None => namespace == own,
            Some(selector) => {
                let found = self
                    .namespaces
                    .iter()
                    .find(|n| n.metadata.name.as_ref() == namespace);
                matches(selector, found.unwrap().metadata.labels.as_ref().unwrap())
            }
        };
        let labels = pod.metadata.labels.as_ref().unwrap();
        in_namespace && peer.pod_selector.as_ref().is_none_or(|s| matches(s, labels))
    }

    fn port_fits(
        &self,
        wanted: &net::NetworkPolicyPort,
        by_pod: bool,
        to: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> bool {
        if wanted.protocol.as_deref().unwrap_or("TCP") != protocol.to_string() {
            return false;
        }
        match &wanted.port {
            None => true,
            Some(IntOrString::Int(first)) => {
                (*first..=wanted.end_port.unwrap_or(*first)).contains(&i32::from(port))
            }
            Some(IntOrString::String(name)) => {
                by_pod
                    && self.pod_at(to).is_some_and(|pod| {
                        let containers = &pod.spec.as_ref().unwrap().containers;
                        containers.iter().flat_map(|c| c.ports.iter().flatten()).any(|p| {
                            p.name.as_ref() == Some(name)
                                && p.container_port == i32::from(port)
                                && p.protocol.as_deref().unwrap_or("TCP") == protocol.to_string()
                        })
                    })
            }
        }
    }
}

// === random worlds ===

const NAMESPACES: [&str; 3] = ["a", "b", "c"];

fn label_set() -> impl Strategy<Value = Labels> {
    let app = select(vec![None, Some("web"), Some("db")]);
    let tier = select(vec![None, Some("web"), Some("x")]);
    (app, tier).prop_map(|(app, tier)| {
        let pairs = [("app", app), ("tier", tier)];
        let present = pairs
            .into_iter()
            .filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned())));
        present.collect()
    })
}

fn selector() -> impl Strategy<Value = LabelSelector> {
    let values = subsequence(vec!["web", "db", "x"], 1..=3);
    let operator = select(vec!["In", "NotIn", "Exists", "DoesNotExist"]);
    let requirement = (select(vec!["app", "tier"]), operator, values).prop_map(|(key, operator, values)| {
        let takes = operator == "In" || operator == "NotIn";
        LabelSelectorRequirement {
            key: key.into(),
            operator: operator.into(),
            values: takes.then(|| values.into_iter().map(Into::into).collect()),
        }
    });
    let labels = prop_oneof![2 => Just(Labels::new()), 1 => label_set()];
    (labels, prop::collection::vec(requirement, 0..2)).prop_map(|(labels, expressions)| LabelSelector {
        match_labels: Some(labels),
        match_expressions: Some(expressions),
    })
}

fn peer() -> impl Strategy<Value = net::NetworkPolicyPeer> {
    let block = |family: &'static [&'static str]| {
        (select(family), subsequence(family.to_vec(), 0..=2)).prop_map(|(cidr, except)| {
            net::NetworkPolicyPeer {
                ip_block: Some(net::IPBlock {
                    cidr: cidr.into(),
                    except: Some(except.into_iter().map(Into::into).collect()),
                }),
                ..net::NetworkPolicyPeer::default()
            }
        })
    };
    let selectors =
        (prop::option::of(selector()), prop::option::of(selector())).prop_map(|(pods, namespaces)| {
            net::NetworkPolicyPeer {
                ip_block: None,
                // At least one of the two, as the API demands.
                pod_selector: pods.or_else(|| namespaces.is_none().then(LabelSelector::default)),
                namespace_selector: namespaces,
            }
        });
    prop_oneof![
        3 => selectors,
        1 => block(&["0.0.0.0/0", "10.0.0.0/24", "10.0.0.0/30", "10.0.0.2/31", "10.0.0.3/32", "192.0.2.0/24"]),
        1 => block(&["::/0", "fd00::/64", "fd00::2/127", "fd00::3/128"]),
    ]
}

fn port() -> impl Strategy<Value = net::NetworkPolicyPort> {
    let protocol = select(vec![None, Some("TCP"), Some("UDP"), Some("SCTP")]);
    let number = select(vec![
        (None, None),
        (Some(IntOrString::Int(80)), None),
        (Some(IntOrString::Int(80)), Some(8080)),
        (Some(IntOrString::String("http".into())), None),
        (Some(IntOrString::String("dns".into())), None),
    ]);
    (protocol, number).prop_map(|(protocol, (port, end_port))| net::NetworkPolicyPort {
        protocol: protocol.map(Into::into),
        port,
        end_port,
    })
}

fn policy(index: usize) -> impl Strategy<Value = net::NetworkPolicy> {
    let rule = || {
        let peers = prop::option::of(prop::collection::vec(peer(), 0..3));
        (peers, prop::option::of(prop::collection::vec(port(), 0..3)))
    };
    let rules = || prop::option::of(prop::collection::vec(rule(), 0..3));
    let types = prop::option::of(subsequence(vec!["Ingress", "Egress"], 0..=2));
    (select(&NAMESPACES[..]), selector(), rules(), rules(), types).prop_map(
        move |(namespace, pods, ingress, egress, types)| {
            let mut policy = net::NetworkPolicy::default();
            policy.metadata.namespace = Some(namespace.into());
            policy.metadata.name = Some(format!("p{index}"));
            let ingress = ingress.map(|rules| {
                let rules = rules.into_iter();
                rules
                    .map(|(from, ports)| net::NetworkPolicyIngressRule { from, ports })
                    .collect()
            });
            let egress = egress.map(|rules| {
                let rules = rules.into_iter();
                rules
                    .map(|(to, ports)| net::NetworkPolicyEgressRule { to, ports })
                    .collect()
            });
            policy.spec = Some(net::NetworkPolicySpec {
                pod_selector: Some(pods),
                ingress,
                egress,
                policy_types: types.map(|types| types.into_iter().map(Into::into).collect()),
            });
            policy
        },
    )
}

fn pod(index: usize) -> impl Strategy<Value = core::Pod> {
    let port = |name: &'static str, protocol: Option<&'static str>, numbers: &'static [i32]| {
        select(numbers).prop_map(move |number| core::ContainerPort {
            name: Some(name.into()),
            protocol: protocol.map(Into::into),
            container_port: number,
            ..core::ContainerPort::default()
        })
    };
    let ports = (
        prop::option::of(port("http", None, &[80, 8080])),
        prop::option::of(port("dns", Some("UDP"), &[53, 80])),
    );
    let phase = prop_oneof![5 => Just("Running"), 1 => Just("Succeeded")];
    let host = prop_oneof![6 => Just(false), 1 => Just(true)];
    (select(&NAMESPACES[..]), label_set(), ports, phase, host).prop_map(
        move |(namespace, labels, (http, dns), phase, host)| {
            let mut pod = core::Pod::default();
            pod.metadata.namespace = Some(namespace.into());
            pod.metadata.name = Some(format!("pod{index}"));
            pod.metadata.uid = Some(format!("uid{index}"));
            pod.metadata.labels = Some(labels);
            pod.spec = Some(core::PodSpec {
                node_name: Some(format!("n{}", index % 2)),
                host_network: Some(host),
                containers: vec![core::Container {
                    ports: Some(http.into_iter().chain(dns).collect()),
                    ..core::Container::default()
                }],
                ..core::PodSpec::default()
            });
            // A finished pod's address is some other pod's: indexes 0 and 1 share theirs.
            let host_part = if phase == "Running" { index } else { 0 };
            let ips = match host {
                true => vec![format!("192.0.2.{}", index % 2)],
                false => vec![format!("10.0.0.{host_part}"), format!("fd00::{host_part}")],
            };
            pod.status = Some(core::PodStatus {
                phase: Some(phase.into()),
                pod_ips: Some(ips.into_iter().map(|ip| core::PodIP { ip }).collect()),
                ..core::PodStatus::default()
            });
            pod
        },
    )
}

/// Pods `pod0` to `pod5` of namespaces a, b and c on the nodes n0 and n1 under up to three policies.
pub fn world() -> impl Strategy<Value = World> {
    let namespaces = (label_set(), label_set(), label_set()).prop_map(|(a, b, c)| {
        let labelled = NAMESPACES.into_iter().zip([a, b, c]);
        let namespace = labelled.map(|(name, labels)| {
            let mut namespace = core::Namespace::default();
            namespace.metadata.name = Some(name.into());
            namespace.metadata.labels = Some(labels);
            namespace
        });
        namespace.collect()
    });
    let pods = (0..6).map(pod).collect::<Vec<_>>();
    let policies = (1usize..4).prop_flat_map(|n| (0..n).map(policy).collect::<Vec<_>>());
    (namespaces, pods, policies).prop_map(|(namespaces, pods, policies)| World {
        namespaces,
        pods,
        policies,
    })
}
