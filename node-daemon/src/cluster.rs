//! What the daemon knows of the cluster beside its own VppConfig: policies, address sets, Services, peers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crds::net::Cidr;
use crds::vpp_config::PolicyRef;
use crds::{Backend, Peer, SetRef, VppAddressSetSpec, VppPeerSliceSpec, VppPolicySpec, VppServiceSliceSpec};
use serde::{Deserialize, Serialize};

/// Objects by `namespace/name` (or `name`), as the API server has them. Kept on disk, so that a daemon that starts
/// without the API server knows what it knew.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// VppPolicies.
    pub policies: BTreeMap<String, VppPolicySpec>,
    /// VppAddressSets, slice by slice.
    pub sets: BTreeMap<String, VppAddressSetSpec>,
    /// VppServiceSlices; shared with copies of the cluster, for they are by far the most.
    #[serde(with = "shared")]
    pub services: BTreeMap<String, Arc<VppServiceSliceSpec>>,
    /// VppPeerSlices.
    pub peers: BTreeMap<String, VppPeerSliceSpec>,
}

/// Key of a namespaced object in [`Cluster`].
pub fn object_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl Cluster {
    /// The policy, if known.
    pub fn policy(&self, policy: &PolicyRef) -> Option<&VppPolicySpec> {
        self.policies.get(&object_key(&policy.namespace, &policy.name))
    }

    /// Every node but `node`, by name. A node that two slices list for a moment counts once.
    pub fn peers_of<'a>(&'a self, node: &str) -> BTreeMap<&'a str, &'a Peer> {
        self.peers
            .values()
            .flat_map(|slice| &slice.peers)
            .filter(|peer| peer.node != node)
            .map(|peer| (peer.node.as_str(), peer))
            .collect()
    }

    /// Members of every set whose first slice is known, sorted and without repetitions.
    pub fn set_members(&self) -> BTreeMap<SetRef, Vec<Cidr>> {
        let mut sets: BTreeMap<SetRef, (bool, Vec<Cidr>)> = BTreeMap::new();
        for (key, slice) in &self.sets {
            let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
            let set = SetRef {
                namespace: namespace.to_owned(),
                name: slice.set.clone(),
            };
            let entry = sets.entry(set).or_default();
            entry.0 |= slice.slice == 0;
            entry.1.extend(&slice.members);
        }
        sets.into_iter()
            .filter(|(_, (complete, _))| *complete)
            .map(|(set, (_, mut members))| {
                members.sort();
                members.dedup();
                (set, members)
            })
            .collect()
    }

    /// Slices of each Service whose first slice is known, by namespace and name.
    pub fn services(&self) -> BTreeMap<String, ServiceSlices<'_>> {
        by_service(self.services.iter().map(|(key, slice)| (key.as_str(), &**slice)))
    }
}

/// Slices, each with its key, by their Services' namespace and name, where the first slice is among them. A Service is
/// told by its UID as well: slices of a deleted namesake do not mix in, and of two namesakes' first slices the one of
/// the greater UID waits.
pub fn by_service<'a>(
    slices: impl Iterator<Item = (&'a str, &'a VppServiceSliceSpec)>,
) -> BTreeMap<String, ServiceSlices<'a>> {
    let mut found: BTreeMap<(&str, &str, &str), BTreeMap<u32, &VppServiceSliceSpec>> = BTreeMap::new();
    for (key, slice) in slices {
        let of = found
            .entry((namespace_of(key), &slice.service, &slice.service_uid))
            .or_default();
        of.insert(slice.slice, slice);
    }
    let mut services = BTreeMap::new();
    for ((namespace, name, _), slices) in found {
        let Some(first) = slices.get(&0).copied() else {
            continue;
        };
        // A leaf that is listed no more is about to go: its backends are in others.
        let listed = |number: &u32| *number == 0 || first.slices.binary_search(number).is_ok();
        let missing = first.slices.iter().find(|number| !slices.contains_key(number));
        services
            .entry(object_key(namespace, name))
            .or_insert(ServiceSlices {
                first,
                missing: missing.copied(),
                all: slices
                    .into_iter()
                    .filter(|(number, _)| listed(number))
                    .map(|(_, slice)| slice)
                    .collect(),
            });
    }
    services
}

/// Namespace of an object's key.
pub fn namespace_of(key: &str) -> &str {
    key.split_once('/').map_or("", |(namespace, _)| namespace)
}

/// Shared objects on disk: as if they were not shared.
mod shared {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(
        objects: &BTreeMap<String, Arc<T>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(objects.iter().map(|(key, object)| (key, &**object)))
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<String, Arc<T>>, D::Error> {
        let objects = BTreeMap::<String, T>::deserialize(from)?;
        Ok(objects
            .into_iter()
            .map(|(key, object)| (key, Arc::new(object)))
            .collect())
    }
}

/// The slices of one Service.
#[derive(Clone, Debug)]
pub struct ServiceSlices<'a> {
    /// Slice 0: frontends, ports, policies.
    pub first: &'a VppServiceSliceSpec,
    /// A slice that slice 0 lists and that is not known.
    pub missing: Option<u32>,
    /// Slice 0 and those it lists, as far as they are known.
    all: Vec<&'a VppServiceSliceSpec>,
}

impl<'a> ServiceSlices<'a> {
    /// The Service's backends.
    pub fn backends(&self) -> impl Iterator<Item = &'a Backend> + use<'_, 'a> {
        self.all.iter().flat_map(|slice| &slice.backends)
    }

    /// Those of them that serve one of its ports in one family, with the port's number on each.
    pub fn backends_of(&self, port: usize, ipv6: bool) -> Vec<(&'a Backend, u16)> {
        let of_family = self
            .backends()
            .filter(|backend| backend.address.is_ipv6() == ipv6);
        of_family
            .filter_map(|backend| {
                let number = backend.ports.get(port).copied().filter(|number| *number != 0)?;
                Some((backend, number))
            })
            .collect()
    }

    /// When the newest change of the Service's endpoints began (RFC 3339), if its writer said so.
    pub fn triggered(&self) -> Option<&'a str> {
        self.all
            .iter()
            .filter_map(|slice| slice.triggered.as_deref())
            .max()
    }
}

/// The first of `addresses` that is of the wanted family.
pub fn of_family(addresses: &[IpAddr], ipv6: bool) -> Option<IpAddr> {
    addresses.iter().copied().find(|a| a.is_ipv6() == ipv6)
}
