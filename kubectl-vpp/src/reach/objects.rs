//! Manifests as the compiler's facts, together with what only makes sense of manifests nobody has applied yet.

use std::collections::BTreeMap;

use compiler::ObjectKey;
use compiler::facts::{Chain, ClusterPolicy, Cnf, EndpointSlice, Namespace, Node, Pod, Policy, Service};
use compiler::k8s::{self, ClusterNetworkPolicy};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery;
use serde::de::DeserializeOwned;
use serde_norway::Value;

use super::document::{Document, Mistake};

/// What the input says. Of two objects of one kind and name the later counts, as if they were applied in order.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// Pods.
    pub pods: BTreeMap<ObjectKey, Pod>,
    /// Nodes.
    pub nodes: BTreeMap<String, Node>,
    /// Namespaces.
    pub namespaces: BTreeMap<String, Namespace>,
    /// NetworkPolicies.
    pub policies: BTreeMap<ObjectKey, Policy>,
    /// ClusterNetworkPolicies.
    pub cluster_policies: BTreeMap<String, ClusterPolicy>,
    /// Services, and as they were written.
    pub services: BTreeMap<ObjectKey, (Service, core::Service)>,
    /// EndpointSlices.
    pub endpoint_slices: BTreeMap<ObjectKey, EndpointSlice>,
    /// ServiceChains.
    pub chains: BTreeMap<ObjectKey, Chain>,
    /// CNFs.
    pub cnfs: BTreeMap<ObjectKey, Cnf>,
    /// How many objects of kinds that do not matter here were left out.
    pub ignored: BTreeMap<String, usize>,
}

/// Namespace of objects that name none.
const DEFAULT_NAMESPACE: &str = "default";

impl Objects {
    /// Reads documents.
    ///
    /// # Errors
    /// Everything in them that is no Kubernetes object, or not what its kind says.
    pub fn read(documents: &[Document]) -> Result<Self, Vec<Mistake>> {
        let mut objects = Self::default();
        let mut mistakes = Vec::new();
        for document in documents {
            match document.value() {
                Ok(Value::Null) => {}
                Ok(value) => objects.add_document(document, value, &mut mistakes),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if mistakes.is_empty() {
            Ok(objects)
        } else {
            Err(mistakes)
        }
    }

    fn add_document(&mut self, document: &Document, mut value: Value, mistakes: &mut Vec<Mistake>) {
        let Some((version, kind)) = type_of(&value) else {
            let message = "this is no Kubernetes object: it has no apiVersion and kind";
            mistakes.push(document.mistake_at_start(message));
            return;
        };
        let items = kind
            .strip_suffix("List")
            .and_then(|of| Some((of.to_owned(), value.get_mut("items")?.take_sequence()?)));
        let Some((of, items)) = items else {
            if let Err(mistake) = self.add(document, &version, &kind, value, None) {
                mistakes.push(mistake);
            }
            return;
        };
        for (index, mut item) in items.into_iter().enumerate() {
            // Items of a PodList do not say what they are; those of a List do.
            let (version, kind) = match type_of(&item) {
                Some(own) => own,
                None if !of.is_empty() => {
                    if let Value::Mapping(fields) = &mut item {
                        fields.insert("apiVersion".into(), version.clone().into());
                        fields.insert("kind".into(), of.clone().into());
                    }
                    (version.clone(), of.clone())
                }
                None => {
                    let message = format!("items[{index}] has no apiVersion and kind");
                    mistakes.push(document.mistake_at_start(message));
                    continue;
                }
            };
            if let Err(mistake) = self.add(document, &version, &kind, item, Some(index)) {
                mistakes.push(mistake);
            }
        }
    }

    fn add(
        &mut self,
        document: &Document,
        version: &str,
        kind: &str,
        mut value: Value,
        item: Option<usize>,
    ) -> Result<(), Mistake> {
        let name = value.get("metadata").and_then(|meta| meta.get("name"));
        if name.and_then(Value::as_str).is_none_or(str::is_empty) {
            let which = item.map_or(String::new(), |index| format!("items[{index}]: "));
            return Err(document.mistake_at_start(format!("{which}this {kind} has no metadata.name")));
        }
        default_namespace(&mut value);
        let reader = Reader { document, item };
        match (version, kind) {
            ("v1", "Pod") => {
                let mut pod = k8s::pod(&reader.object::<k8s::Pod>(value.clone())?);
                let conditions = value.get("status").and_then(|status| status.get("conditions"));
                let judged = conditions.and_then(Value::as_sequence).is_some_and(|conditions| {
                    let is_ready = |c: &Value| c.get("type").and_then(Value::as_str) == Some("Ready");
                    conditions.iter().any(is_ready)
                });
                // A pod that has not run yet is meant to work.
                pod.ready |= !judged;
                if pod.uid.is_empty() {
                    pod.uid = format!("{}/{}", pod.namespace, pod.name).into();
                }
                self.pods.insert(pod.key(), pod);
            }
            ("v1", "Node") => {
                let node = k8s::node(&reader.object(value)?);
                self.nodes.insert(node.name.clone(), node);
            }
            ("v1", "Namespace") => {
                let namespace = k8s::namespace(&reader.object::<core::Namespace>(value)?.metadata);
                self.namespaces.insert(namespace.name.clone(), namespace);
            }
            ("v1", "Service") => {
                let object: core::Service = reader.object(value)?;
                let service = k8s::service(&object);
                self.services.insert(service.key(), (service, object));
            }
            ("discovery.k8s.io/v1", "EndpointSlice") => {
                let slice = k8s::endpoint_slice(&reader.object::<discovery::v1::EndpointSlice>(value)?);
                self.endpoint_slices.insert(slice.key(), slice);
            }
            ("networking.k8s.io/v1", "NetworkPolicy") => {
                let policy = k8s::policy(&reader.object::<k8s::NetworkPolicy>(value)?);
                self.policies.insert(policy.key(), policy);
            }
            ("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy") => {
                let policy = k8s::cluster_policy(&reader.object::<ClusterNetworkPolicy>(value)?);
                self.cluster_policies.insert(policy.name.clone(), policy);
            }
            ("contivpp.io/v1alpha1", "ServiceChain") => {
                let chain = k8s::chain(&reader.object(value)?);
                self.chains.insert(chain.key(), chain);
            }
            ("contivpp.io/v1alpha1", "CNF") => {
                let cnf = k8s::cnf(&reader.object(value)?);
                self.cnfs.insert(cnf.key(), cnf);
            }
            _ => *self.ignored.entry(format!("{kind} ({version})")).or_default() += 1,
        }
        Ok(())
    }
}

struct Reader<'d> {
    document: &'d Document,
    item: Option<usize>,
}

impl Reader<'_> {
    fn object<T: DeserializeOwned>(&self, value: Value) -> Result<T, Mistake> {
        self.document.object(value, self.item)
    }
}

fn type_of(value: &Value) -> Option<(String, String)> {
    let text = |field: &str| value.get(field)?.as_str().map(str::to_owned);
    Some((text("apiVersion")?, text("kind")?))
}

fn default_namespace(value: &mut Value) {
    let Some(Value::Mapping(meta)) = value.get_mut("metadata") else {
        return;
    };
    let named = meta.get("namespace").and_then(Value::as_str);
    if named.is_none_or(str::is_empty) {
        meta.insert("namespace".into(), DEFAULT_NAMESPACE.into());
    }
}

/// Taking a tree's list out of it without a copy.
trait TakeSequence {
    fn take_sequence(&mut self) -> Option<Vec<Value>>;
}

impl TakeSequence for Value {
    fn take_sequence(&mut self) -> Option<Vec<Value>> {
        self.as_sequence_mut().map(std::mem::take)
    }
}
