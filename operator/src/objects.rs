//! The kinds the operator writes, as it sees them: what is stored, reduced to what a comparison
//! needs, and the body of a server-side apply.

use compiler::{Change, ObjectKey, Owner};
use crds::{
    VppAddressSet, VppAddressSetSpec, VppConfig, VppConfigSpec, VppPeerSlice, VppPeerSliceSpec, VppPolicy,
    VppPolicySpec, VppServiceSlice, VppServiceSliceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use kube::core::{ApiResource, DeserializeGuard};
use serde::Serialize;
use serde_json::{Value, json};

/// A kind the operator writes, in the order of writing: what is named before what names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutputKind {
    /// VppAddressSet.
    AddressSet,
    /// VppServiceSlice.
    ServiceSlice,
    /// VppPeerSlice.
    PeerSlice,
    /// VppPolicy.
    Policy,
    /// VppConfig.
    Config,
}

impl OutputKind {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::AddressSet,
        Self::ServiceSlice,
        Self::PeerSlice,
        Self::Policy,
        Self::Config,
    ];

    /// The kind's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddressSet => "VppAddressSet",
            Self::ServiceSlice => "VppServiceSlice",
            Self::PeerSlice => "VppPeerSlice",
            Self::Policy => "VppPolicy",
            Self::Config => "VppConfig",
        }
    }

    /// Objects of one stage don't name each other and are written at once.
    pub fn stage(self) -> u8 {
        match self {
            Self::AddressSet | Self::ServiceSlice | Self::PeerSlice => 0,
            Self::Policy => 1,
            Self::Config => 2,
        }
    }

    /// How the API server calls it.
    pub fn resource(self) -> ApiResource {
        match self {
            Self::AddressSet => ApiResource::erase::<VppAddressSet>(&()),
            Self::ServiceSlice => ApiResource::erase::<VppServiceSlice>(&()),
            Self::PeerSlice => ApiResource::erase::<VppPeerSlice>(&()),
            Self::Policy => ApiResource::erase::<VppPolicy>(&()),
            Self::Config => ApiResource::erase::<VppConfig>(&()),
        }
    }
}

/// Names an object the operator writes; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutputKey {
    /// Kind.
    pub kind: OutputKind,
    /// Namespace and name.
    pub object: ObjectKey,
}

impl std::fmt::Display for OutputKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.object.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind.name(), self.object.name),
            _ => write!(f, "{} {}", self.kind.name(), self.object),
        }
    }
}

impl OutputKey {
    /// The object that a change of the compiler's is about; `None` if it is about none of ours.
    pub fn of(change: &Change) -> Option<Self> {
        let cluster_scoped = |name: &String| ObjectKey::new("", name);
        let (kind, object) = match change {
            Change::Set(key, _) => (OutputKind::AddressSet, key.clone()),
            Change::ServiceSlice(key, _) => (OutputKind::ServiceSlice, key.clone()),
            Change::PeerSlice(name, _) => (OutputKind::PeerSlice, cluster_scoped(name)),
            Change::Policy(key, _) => (OutputKind::Policy, key.clone()),
            Change::Config(name, _) => (OutputKind::Config, cluster_scoped(name)),
            Change::Chain(..) | Change::Cnf(..) | Change::Problem(..) => return None,
        };
        Some(Self { kind, object })
    }
}

/// What the API server holds under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// `metadata.resourceVersion` as a number, which orders the versions of one object.
    pub version: Option<u64>,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// Revision of the spec; `None` when the spec can't be read or is not what its revision says,
    /// because someone else wrote it.
    pub revision: Option<String>,
    /// Whether it has our label: only such objects are deleted.
    pub managed: bool,
    /// UID of its owner.
    pub owner: Option<String>,
}

/// A spec with a revision: the hash of the rest.
pub trait Revisioned: Serialize + Clone {
    /// The revision written in the spec.
    fn revision(&self) -> &str;
    /// The same spec with another revision.
    fn with_revision(self, revision: String) -> Self;

    /// Whether the revision is that of the rest, as the compiler computes it.
    fn intact(&self) -> bool {
        let rest = self.clone().with_revision(String::new());
        crds::revision::short_hash(&rest) == self.revision()
    }
}

/// A kind whose objects the operator writes.
pub trait Written: Resource<DynamicType = ()> {
    /// Which one.
    const KIND: OutputKind;
    /// Type of its spec.
    type Spec: Revisioned;
    /// Its spec.
    fn spec(&self) -> &Self::Spec;
}

macro_rules! written {
    ($($kind:ident: $object:ty, $spec:ty;)*) => {$(
        impl Revisioned for $spec {
            fn revision(&self) -> &str {
                &self.revision
            }
            fn with_revision(mut self, revision: String) -> Self {
                self.revision = revision;
                self
            }
        }
        impl Written for $object {
            const KIND: OutputKind = OutputKind::$kind;
            type Spec = $spec;
            fn spec(&self) -> &$spec {
                &self.spec
            }
        }
    )*};
}

written! {
    AddressSet: VppAddressSet, VppAddressSetSpec;
    ServiceSlice: VppServiceSlice, VppServiceSliceSpec;
    PeerSlice: VppPeerSlice, VppPeerSliceSpec;
    Policy: VppPolicy, VppPolicySpec;
    Config: VppConfig, VppConfigSpec;
}

/// `metadata.resourceVersion` as a number (KEP-5504: comparable for every resource).
pub fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_ref()?.parse().ok()
}

/// Namespace and name; the namespace is empty for cluster-scoped kinds.
pub fn key(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// Reduces an object to what is compared. One that can't be read counts as written by someone else.
pub fn stored<K: Written>(object: &DeserializeGuard<K>) -> Stored {
    let meta = object.meta();
    let spec = object.0.as_ref().ok().map(K::spec);
    let labels = meta.labels.as_ref();
    Stored {
        version: version(meta),
        generation: meta.generation,
        revision: spec
            .filter(|spec| spec.intact())
            .map(|spec| spec.revision().to_owned()),
        managed: labels
            .and_then(|labels| labels.get(crds::MANAGED_BY_LABEL))
            .is_some_and(|value| value == crds::OPERATOR_MANAGER),
        owner: meta
            .owner_references
            .iter()
            .flatten()
            .next()
            .map(|owner| owner.uid.clone()),
    }
}

/// Body of the server-side apply of one object: all that the operator owns of it.
///
/// Users' labels and annotations are never copied: GitOps tools would take the object for theirs
/// and prune it.
pub fn body<S: Serialize>(key: &OutputKey, spec: &S, owner: Option<&Owner>) -> serde_json::Result<Value> {
    let resource = key.kind.resource();
    let namespace = (!key.object.namespace.is_empty()).then(|| Value::from(key.object.namespace.as_str()));
    let owners: Vec<OwnerReference> = owner.map(owner_reference).into_iter().collect();
    let mut metadata = json!({
        "name": key.object.name,
        "labels": { crds::MANAGED_BY_LABEL: crds::OPERATOR_MANAGER },
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace;
    }
    if !owners.is_empty() {
        metadata["ownerReferences"] = serde_json::to_value(owners)?;
    }
    Ok(json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": metadata,
        "spec": serde_json::to_value(spec)?,
    }))
}

fn owner_reference(owner: &Owner) -> OwnerReference {
    OwnerReference {
        api_version: owner.api_version.to_owned(),
        kind: owner.kind.to_owned(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        // Blocking would need the right to set finalizers on users' objects.
        block_owner_deletion: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[&str]) -> VppAddressSetSpec {
        let spec = VppAddressSetSpec {
            set: "all".into(),
            members: members.iter().map(|text| text.parse().unwrap()).collect(),
            ..VppAddressSetSpec::default()
        };
        let revision = crds::revision::short_hash(&spec);
        spec.with_revision(revision)
    }

    #[test]
    fn a_spec_edited_by_hand_has_no_revision() {
        let mut object = VppAddressSet::new("all-0", set(&["10.0.0.1"]));
        let revision = object.spec.revision.clone();
        assert_eq!(
            stored(&DeserializeGuard(Ok(object.clone()))).revision,
            Some(revision)
        );
        object.spec.members.push("10.0.0.2".parse().unwrap());
        assert_eq!(stored(&DeserializeGuard(Ok(object))).revision, None);
    }

    #[test]
    fn an_object_survives_the_wire() {
        let object = VppAddressSet::new("all-0", set(&["10.0.0.1", "fd00::/64"]));
        let text = serde_json::to_string(&object).unwrap();
        let read: DeserializeGuard<VppAddressSet> = serde_json::from_str(&text).unwrap();
        assert_eq!(stored(&read).revision, Some(object.spec.revision));
    }

    #[test]
    fn an_unreadable_object_has_no_revision_but_a_key() {
        let text = r#"{"apiVersion":"contivpp.io/v1alpha1","kind":"VppAddressSet",
            "metadata":{"name":"x","namespace":"n","resourceVersion":"17",
                        "labels":{"app.kubernetes.io/managed-by":"contiv-operator"}},
            "spec":{"members":"none"}}"#;
        let read: DeserializeGuard<VppAddressSet> = serde_json::from_str(text).unwrap();
        let stored = stored(&read);
        assert_eq!(key(read.meta()), ObjectKey::new("n", "x"));
        assert_eq!(stored.version, Some(17));
        assert_eq!(stored.revision, None);
        assert!(stored.managed);
    }

    #[test]
    fn bodies_hold_all_we_own_and_nothing_else() {
        let key = OutputKey {
            kind: OutputKind::Config,
            object: ObjectKey::new("", "node-1"),
        };
        let owner = Owner {
            api_version: "v1",
            kind: "Node",
            name: "node-1".into(),
            uid: "u1".into(),
        };
        assert_eq!(
            body(&key, &json!({"revision": "r"}), Some(&owner)).unwrap(),
            json!({
                "apiVersion": "contivpp.io/v1alpha1",
                "kind": "VppConfig",
                "metadata": {
                    "name": "node-1",
                    "labels": {"app.kubernetes.io/managed-by": "contiv-operator"},
                    "ownerReferences": [{
                        "apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "u1", "controller": true,
                    }],
                },
                "spec": {"revision": "r"},
            })
        );
    }
}
