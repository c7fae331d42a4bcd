//! Address sets: what selectors and blocks stand for right now, shared by everyone who names the
//! same thing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crds::net::Cidr;
use crds::policy::MAX_SET_MEMBERS;
use crds::{SetRef, VppAddressSetSpec};
use serde::Serialize;
use smol_str::format_smolstr;

use crate::cluster::Cluster;
use crate::facts::{Name, NamedPort, ObjectKey, Pod, PodEnd};
use crate::output::Compiled;
use crate::prefixes;
use crate::selector::Selector;

/// What a set stands for. Equal keys are one set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum SetKey {
    /// Addresses of pods.
    Pods {
        /// The namespace to which the selectors are relative; `None` if they are to none.
        namespace: Option<Name>,
        /// Labels of the pods.
        pods: Selector,
        /// Labels of the namespaces; `None` means `namespace` itself.
        namespaces: Option<Selector>,
        /// Pods, as seen from `namespace`, that are not meant.
        without: BTreeSet<(Selector, Option<Selector>)>,
        /// Only pods that have this container port.
        port: Option<NamedPort>,
    },
    /// Addresses of prefixes, the fewest and sorted.
    Block(Vec<Cidr>),
    /// All addresses of the nodes with these labels.
    Nodes(Selector),
}

impl SetKey {
    /// The pods of an end, as seen from a namespace.
    pub fn pods(namespace: &str, end: &PodEnd) -> Self {
        Self::Pods {
            namespace: end.namespaces.is_none().then(|| namespace.into()),
            pods: end.pods.clone(),
            namespaces: end.namespaces.clone(),
            without: BTreeSet::new(),
            port: None,
        }
    }

    /// The pods of an end that have a container port.
    pub fn with_port(namespace: &str, end: &PodEnd, named: &NamedPort) -> Self {
        let mut key = Self::pods(namespace, end);
        if let Self::Pods { port, .. } = &mut key {
            *port = Some(named.clone());
        }
        key
    }

    /// The pods of an end that are in none of the others.
    pub fn pods_without<'e>(own: &str, end: &PodEnd, others: impl IntoIterator<Item = &'e PodEnd>) -> Self {
        let mut key = Self::pods(own, end);
        if let Self::Pods {
            namespace, without, ..
        } = &mut key
        {
            let others = others.into_iter();
            without.extend(others.map(|o| (o.pods.clone(), o.namespaces.clone())));
            if !without.is_empty() {
                *namespace = Some(own.into());
            }
        }
        key
    }

    /// For people.
    fn description(&self) -> String {
        match self {
            Self::Block(prefixes) => match prefixes.as_slice() {
                [] => "no address".to_owned(),
                [one] => one.to_string(),
                [first, rest @ ..] => format!("{first} and {} more prefixes", rest.len()),
            },
            Self::Nodes(nodes) => format!("nodes {nodes}"),
            Self::Pods {
                namespace,
                pods,
                namespaces,
                without,
                port,
            } => {
                let own = namespace.as_deref().unwrap_or_default();
                let mut text = format!("pods {pods} in {}", place(own, namespaces.as_ref()));
                for (pods, namespaces) in without {
                    let place = place(own, namespaces.as_ref());
                    text += &format!(", not pods {pods} in {place}");
                }
                if let Some(port) = port {
                    let NamedPort {
                        name,
                        protocol,
                        number,
                    } = port;
                    text += &format!(", with port {name} = {protocol} {number}");
                }
                text
            }
        }
    }
}

fn place(own: &str, namespaces: Option<&Selector>) -> String {
    match namespaces {
        None => format!("namespace {own}"),
        Some(selector) => format!("namespaces {selector}"),
    }
}

/// The pods that an end selects, as seen from a namespace, by namespace and name.
///
/// Host-network pods have no network of their own and finished pods no addresses: neither is
/// ever selected. A namespace nobody has told us of is matched by no namespace selector.
pub fn select<'c>(
    cluster: &'c Cluster,
    own: &'c str,
    pods: &'c Selector,
    namespaces: Option<&'c Selector>,
) -> impl Iterator<Item = &'c Pod> {
    let selected = namespaces.into_iter().flat_map(|selector| {
        let all = cluster.namespaces();
        all.filter(|ns| selector.matches(&ns.labels))
            .map(|ns| ns.name.as_str())
    });
    namespaces
        .is_none()
        .then_some(own)
        .into_iter()
        .chain(selected)
        .flat_map(|namespace| cluster.pods_in(namespace))
        .filter(|pod| pod.selectable() && pods.matches(&pod.labels))
}

/// How a set is named by what it stands for.
pub(crate) type Naming = fn(&SetKey) -> String;

/// The name of a set: equal keys have equal names in every process.
pub(crate) fn name(key: &SetKey) -> String {
    format!("s-{}", crds::revision::short_hash(key))
}

/// The sets asked for so far.
#[derive(Debug)]
pub struct Sets<'c> {
    cluster: &'c Cluster,
    system_namespace: &'c str,
    naming: Naming,
    names: BTreeMap<SetKey, SetRef>,
    taken: BTreeSet<SetRef>,
    collided: bool,
}

impl<'c> Sets<'c> {
    /// No set yet. `system_namespace` takes the sets that are relative to no namespace.
    pub(crate) fn new(cluster: &'c Cluster, system_namespace: &'c str, naming: Naming) -> Self {
        Self {
            cluster,
            system_namespace,
            naming,
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
            collided: false,
        }
    }

    /// The reference to a set, which exists from now on.
    pub fn set(&mut self, key: SetKey) -> SetRef {
        if let Some(name) = self.names.get(&key) {
            return name.clone();
        }
        let namespace = match &key {
            SetKey::Pods {
                namespace: Some(namespace),
                ..
            } => namespace.as_str(),
            _ => self.system_namespace,
        };
        let mut set = SetRef {
            namespace: namespace.to_owned(),
            name: (self.naming)(&key),
        };
        // The hash is no secret and selectors are users': whoever makes two of them collide must
        // not get his pods into another's set.
        while !self.taken.insert(set.clone()) {
            self.collided = true;
            set.name = format!("s-{}", crds::revision::short_hash(&(&key, &set.name)));
        }
        self.names.insert(key, set.clone());
        set
    }

    /// Namespace of the sets that are relative to none.
    pub(crate) fn system_namespace(&self) -> &'c str {
        self.system_namespace
    }

    /// Whether a name was taken already by another key, so that names depend on each other.
    pub(crate) fn collided(&self) -> bool {
        self.collided
    }

    /// What was asked for.
    pub(crate) fn into_names(self) -> BTreeMap<SetKey, SetRef> {
        self.names
    }

    /// Fills the sets with what they stand for and cuts them into slices.
    pub fn finish(self) -> BTreeMap<ObjectKey, Compiled<VppAddressSetSpec>> {
        let sets = self.names.iter();
        let holders = holders(self.cluster);
        let slices = sets.flat_map(|(key, set)| {
            let name = ObjectKey::new(set.namespace.as_str(), set.name.as_str());
            slices(key, &name, &self.members(key, &holders))
        });
        slices.collect()
    }

    /// Sorted and disjoint.
    fn members(&self, key: &SetKey, holders: &BTreeMap<IpAddr, &Pod>) -> Vec<Cidr> {
        let (own, pods, namespaces, without, port) = match key {
            SetKey::Block(prefixes) => return prefixes::union(prefixes),
            SetKey::Nodes(nodes) => return node_addresses(self.cluster, nodes),
            SetKey::Pods {
                namespace,
                pods,
                namespaces,
                without,
                port,
            } => (namespace, pods, namespaces, without, port),
        };
        let own = own.as_deref().unwrap_or_default();
        let excluded = without
            .iter()
            .flat_map(|(pods, spaces)| select(self.cluster, own, pods, spaces.as_ref()));
        let selected = select(self.cluster, own, pods, namespaces.as_ref());
        let holds = |pod: &Pod, ip: &IpAddr| holders.get(ip).is_some_and(|holder| !holder.succeeds(pod));
        addresses(selected, excluded, port.as_ref(), holds)
    }
}

/// The pod whose an address is, if several are said to have it.
fn holders(cluster: &Cluster) -> BTreeMap<IpAddr, &Pod> {
    let mut holders: BTreeMap<IpAddr, &Pod> = BTreeMap::new();
    for pod in cluster.pods().filter(|pod| pod.selectable()) {
        for ip in &pod.ips {
            let holder = holders.entry(*ip).or_insert(pod);
            if pod.succeeds(holder) {
                *holder = pod;
            }
        }
    }
    holders
}

/// All addresses of the nodes with these labels, as the fewest prefixes.
pub(crate) fn node_addresses(cluster: &Cluster, nodes: &Selector) -> Vec<Cidr> {
    let selected = cluster.nodes().filter(|node| nodes.matches(&node.labels));
    let addresses = selected.flat_map(|node| node.all_addresses.iter().copied().map(Cidr::host));
    prefixes::union(&addresses.collect::<Vec<_>>())
}

/// Addresses that pods hold which have the port and are not excluded, sorted, each once.
pub(crate) fn addresses<'p>(
    selected: impl Iterator<Item = &'p Pod>,
    excluded: impl Iterator<Item = &'p Pod>,
    port: Option<&NamedPort>,
    holds: impl Fn(&Pod, &IpAddr) -> bool,
) -> Vec<Cidr> {
    let excluded: BTreeSet<&str> = excluded.map(|pod| pod.uid.as_str()).collect();
    let has_port = |pod: &Pod| port.is_none_or(|port| pod.ports.contains(port));
    let mut members: Vec<Cidr> = selected
        .filter(|pod| !excluded.contains(pod.uid.as_str()) && has_port(pod))
        .flat_map(|pod| {
            pod.ips
                .iter()
                .filter(|ip| holds(pod, ip))
                .copied()
                .map(Cidr::host)
        })
        .collect();
    members.sort_unstable();
    members.dedup();
    members
}

/// Key of a slice of a set.
pub(crate) fn slice_key(set: &ObjectKey, slice: u32) -> ObjectKey {
    ObjectKey::new(set.namespace.clone(), format_smolstr!("{}-{slice}", set.name))
}

/// Cuts a set into slices. Slice 0 exists even if there are no members.
pub(crate) fn slices(
    key: &SetKey,
    set: &ObjectKey,
    members: &[Cidr],
) -> Vec<(ObjectKey, Compiled<VppAddressSetSpec>)> {
    let description = key.description();
    let count = members.len().div_ceil(MAX_SET_MEMBERS).max(1);
    let mut chunks = members.chunks(MAX_SET_MEMBERS);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    let slices = (0..count).map(|slice| {
        let mut spec = VppAddressSetSpec {
            revision: String::new(),
            set: set.name.to_string(),
            slice,
            description: description.clone(),
            members: chunks.next().unwrap_or_default().to_vec(),
        };
        spec.revision = crds::revision::short_hash(&spec);
        let compiled = Compiled { spec, owner: None };
        (slice_key(set, slice), compiled)
    });
    slices.collect()
}
