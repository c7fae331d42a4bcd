//! What the daemon knows of the cluster beside its own VppConfig: policies, address sets, Services, peers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crds::net::Cidr;
use crds::vpp_config::PolicyRef;
use crds::{Peer, SetRef, VppAddressSetSpec, VppPeerSliceSpec, VppPolicySpec, VppServiceSliceSpec};
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
    /// VppServiceSlices.
    pub services: BTreeMap<String, VppServiceSliceSpec>,
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

    /// Slices of each Service whose first slice is known, in order of slices. A Service is told by namespace, name
    /// and UID: slices of a deleted namesake do not mix in.
    pub fn services(&self) -> BTreeMap<String, Vec<&VppServiceSliceSpec>> {
        let mut services: BTreeMap<String, Vec<&VppServiceSliceSpec>> = BTreeMap::new();
        for (key, slice) in &self.services {
            let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
            let name = format!("{namespace}/{}/{}", slice.service, slice.service_uid);
            services.entry(name).or_default().push(slice);
        }
        for slices in services.values_mut() {
            slices.sort_by_key(|slice| slice.slice);
        }
        services.retain(|_, slices| slices.first().is_some_and(|first| first.slice == 0));
        services
    }
}

/// The first of `addresses` that is of the wanted family.
pub fn of_family(addresses: &[IpAddr], ipv6: bool) -> Option<IpAddr> {
    addresses.iter().copied().find(|a| a.is_ipv6() == ipv6)
}
