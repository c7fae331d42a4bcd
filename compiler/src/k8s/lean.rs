//! Pods and NetworkPolicies as they are watched: decoded to what is read of them and no more.
//!
//! The generated types hold every field of the API, most of them empty: 7 kB for a Pod that says next to nothing.
//! A cluster lists 100,000 of them at the start. These have the API's names, kind and paths, so a client watches
//! them as it would the generated ones; what they do not name is skipped while it is read.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::Resource;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::INTERFACE_ANNOTATION;
use crate::facts::Name;
use crate::labels::Labels;

/// As much of a core/v1 Pod as is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Read<PodSpec, PodStatus>")]
pub struct Pod {
    /// Name, namespace, UID and resource version.
    pub metadata: ObjectMeta,
    /// `metadata.labels`.
    pub labels: Labels,
    /// The annotation [`INTERFACE_ANNOTATION`].
    pub interface: Option<Name>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub terminating: bool,
    /// `spec`.
    pub spec: PodSpec,
    /// `status`.
    pub status: PodStatus,
}

/// As much of a Pod's spec as is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Node to which the pod is scheduled.
    pub node_name: Option<Name>,
    /// Whether the pod shares its node's network.
    pub host_network: Option<bool>,
    /// Containers.
    pub containers: Option<Vec<Container>>,
    /// Init containers.
    pub init_containers: Option<Vec<Container>>,
}

/// As much of a container as is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// `Always` for a restartable init container.
    pub restart_policy: Option<Name>,
    /// Ports.
    pub ports: Option<Vec<ContainerPort>>,
}

/// As much of a container's port as is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: Option<Name>,
    /// Protocol; TCP if absent.
    pub protocol: Option<Name>,
    /// Number.
    pub container_port: i32,
}

/// As much of a Pod's status as is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Phase.
    pub phase: Option<Name>,
    /// Addresses.
    #[serde(rename = "podIPs")]
    pub pod_ips: Option<Vec<PodIp>>,
    /// First address, where a writer left the list out.
    #[serde(rename = "podIP")]
    pub pod_ip: Option<Name>,
    /// Conditions.
    pub conditions: Option<Vec<Condition>>,
    /// When the kubelet took the pod on.
    pub start_time: Option<Time>,
}

/// An address of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// In text.
    pub ip: Name,
}

/// As much of a condition as is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub type_: Name,
    /// `True`, `False` or `Unknown`.
    pub status: Name,
}

/// As much of a networking.k8s.io/v1 NetworkPolicy as is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Read<NetworkPolicySpec, IgnoredAny>")]
pub struct NetworkPolicy {
    /// Name, namespace, UID and resource version.
    pub metadata: ObjectMeta,
    /// `spec`.
    pub spec: NetworkPolicySpec,
}

/// A NetworkPolicy's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySpec {
    /// Pods to which the policy applies.
    pub pod_selector: Option<LabelSelector>,
    /// Directions.
    pub policy_types: Option<Vec<Name>>,
    /// Ingress rules.
    pub ingress: Option<Vec<IngressRule>>,
    /// Egress rules.
    pub egress: Option<Vec<EgressRule>>,
}

/// An ingress rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// Peers.
    pub from: Option<Vec<NetworkPolicyPeer>>,
    /// Ports.
    pub ports: Option<Vec<NetworkPolicyPort>>,
}

/// An egress rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EgressRule {
    /// Peers.
    pub to: Option<Vec<NetworkPolicyPeer>>,
    /// Ports.
    pub ports: Option<Vec<NetworkPolicyPort>>,
}

/// A peer of a rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyPeer {
    /// Pods.
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces.
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses.
    pub ip_block: Option<Box<networking::IPBlock>>,
}

/// A port of a rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyPort {
    /// Protocol; TCP if absent.
    pub protocol: Option<Name>,
    /// Number or name.
    pub port: Option<IntOrString>,
    /// Last number.
    pub end_port: Option<i32>,
}

/// A label selector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels that must be there.
    #[serde(deserialize_with = "labels")]
    pub match_labels: Labels,
    /// Further demands.
    pub match_expressions: Option<Vec<Requirement>>,
}

/// One demand of a selector.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Requirement {
    /// Label.
    pub key: Name,
    /// In, NotIn, Exists or DoesNotExist.
    pub operator: Name,
    /// Values.
    pub values: Option<Vec<Name>>,
}

fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
    Ok(Option::<Labels>::deserialize(deserializer)?.unwrap_or_default())
}

/// What is read of any object.
#[derive(Deserialize)]
#[serde(bound(deserialize = "S: Deserialize<'de>, T: Deserialize<'de>"))]
struct Read<S, T> {
    metadata: Option<Meta>,
    spec: Option<S>,
    status: Option<T>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
}

impl Meta {
    fn identity(self) -> ObjectMeta {
        ObjectMeta {
            namespace: self.namespace,
            name: self.name,
            uid: self.uid,
            resource_version: self.resource_version,
            ..ObjectMeta::default()
        }
    }
}

/// The one annotation that is read. Others may be large: the last applied manifest is among them.
#[derive(Default)]
struct Annotations {
    interface: Option<Name>,
}

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut annotations = Annotations::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    if key == INTERFACE_ANNOTATION {
                        annotations.interface = Some(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(annotations)
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// Gives back what a list took while it was read and did not need.
fn fit<T>(list: &mut Option<Vec<T>>) {
    if let Some(list) = list {
        list.shrink_to_fit();
    }
}

impl From<Read<PodSpec, PodStatus>> for Pod {
    fn from(read: Read<PodSpec, PodStatus>) -> Self {
        let mut meta = read.metadata.unwrap_or_default();
        let mut spec = read.spec.unwrap_or_default();
        for containers in [&mut spec.containers, &mut spec.init_containers]
            .into_iter()
            .flatten()
        {
            containers.retain(|container| container.ports.as_ref().is_some_and(|ports| !ports.is_empty()));
            containers.shrink_to_fit();
        }
        let mut status = read.status.unwrap_or_default();
        if let Some(conditions) = &mut status.conditions {
            conditions.retain(|condition| condition.type_ == "Ready");
        }
        fit(&mut status.conditions);
        fit(&mut status.pod_ips);
        Self {
            labels: meta.labels.take().unwrap_or_default(),
            interface: meta
                .annotations
                .take()
                .and_then(|annotations| annotations.interface),
            terminating: meta.deletion_timestamp.is_some(),
            metadata: meta.identity(),
            spec,
            status,
        }
    }
}

impl From<Read<NetworkPolicySpec, IgnoredAny>> for NetworkPolicy {
    fn from(read: Read<NetworkPolicySpec, IgnoredAny>) -> Self {
        let mut spec = read.spec.unwrap_or_default();
        for rule in spec.ingress.iter_mut().flatten() {
            fit(&mut rule.from);
        }
        for rule in spec.egress.iter_mut().flatten() {
            fit(&mut rule.to);
        }
        fit(&mut spec.ingress);
        fit(&mut spec.egress);
        Self {
            metadata: read.metadata.unwrap_or_default().identity(),
            spec,
        }
    }
}

/// Kind and path are those of the generated type.
macro_rules! resource {
    ($lean:ty, $full:ty) => {
        impl Resource for $lean {
            type DynamicType = ();
            type Scope = <$full as Resource>::Scope;

            fn kind(_: &()) -> Cow<'_, str> {
                <$full as Resource>::kind(&())
            }
            fn group(_: &()) -> Cow<'_, str> {
                <$full as Resource>::group(&())
            }
            fn version(_: &()) -> Cow<'_, str> {
                <$full as Resource>::version(&())
            }
            fn plural(_: &()) -> Cow<'_, str> {
                <$full as Resource>::plural(&())
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }

        /// For objects that were made, not read.
        impl TryFrom<&$full> for $lean {
            type Error = serde_json::Error;

            fn try_from(full: &$full) -> Result<Self, Self::Error> {
                reread(full)
            }
        }
    };
}
resource!(Pod, core::Pod);
resource!(NetworkPolicy, networking::NetworkPolicy);

fn reread<T: Serialize, U: serde::de::DeserializeOwned>(object: &T) -> Result<U, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(object)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watched_kind_is_the_api_s() {
        assert_eq!(Pod::url_path(&(), Some("a")), "/api/v1/namespaces/a/pods");
        let path = NetworkPolicy::url_path(&(), None);
        assert_eq!(path, "/apis/networking.k8s.io/v1/networkpolicies");
    }

    #[test]
    fn what_is_null_is_absent_and_what_is_not_read_is_skipped() {
        let pod: Pod = serde_json::from_str(
            r#"{"metadata":{"name":"a","namespace":"b","uid":"u","resourceVersion":"7","labels":null,"annotations":
            {"kubectl.kubernetes.io/last-applied-configuration":"{}","contivpp.io/interface":"veth"},"managedFields":[{}],
            "deletionTimestamp":null},"spec":{"containers":null,"volumes":[{"name":"v"}]},"status":null}"#,
        )
        .unwrap();
        assert_eq!(pod.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(pod.interface.as_deref(), Some("veth"));
        assert!(!pod.terminating && pod.labels.is_empty() && pod.spec.containers.is_none());
        let policy: NetworkPolicy = serde_json::from_str(
            r#"{"metadata":{"name":"a"},"spec":{"podSelector":{"matchLabels":null},"ingress":null}}"#,
        )
        .unwrap();
        assert!(policy.spec.pod_selector.is_some() && policy.spec.ingress.is_none());
        assert!(policy.metadata.resource_version.is_none());
    }
}
