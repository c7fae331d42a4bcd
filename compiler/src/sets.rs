//! Address sets: what selectors and blocks stand for right now, shared by everyone who names the
//! same thing.

use std::collections::{BTreeMap, BTreeSet};

use crds::net::Cidr;
use crds::policy::MAX_SET_MEMBERS;
use crds::{SetRef, VppAddressSetSpec};
use serde::Serialize;

use crate::cluster::Cluster;
use crate::facts::{NamedPort, ObjectKey, Pod, PodEnd};
use crate::output::Compiled;
use crate::prefixes;
use crate::selector::Selector;

/// What a set stands for. Equal keys are one set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum SetKey {
    /// Addresses of pods.
    Pods {
        /// The namespace to which the selectors are relative; `None` if they are to none.
        namespace: Option<String>,
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
}

impl SetKey {
    /// The pods of an end, as seen from a namespace.
    pub fn pods(namespace: &str, end: &PodEnd) -> Self {
        Self::Pods {
            namespace: end.namespaces.is_none().then(|| namespace.to_owned()),
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
                *namespace = Some(own.to_owned());
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

/// The sets asked for so far.
#[derive(Debug)]
pub struct Sets<'c> {
    cluster: &'c Cluster,
    system_namespace: String,
    names: BTreeMap<SetKey, SetRef>,
    taken: BTreeSet<SetRef>,
}

impl<'c> Sets<'c> {
    /// No set yet. `system_namespace` takes the sets that are relative to no namespace.
    pub fn new(cluster: &'c Cluster, system_namespace: &str) -> Self {
        Self {
            cluster,
            system_namespace: system_namespace.to_owned(),
            names: BTreeMap::new(),
            taken: BTreeSet::new(),
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
            } => namespace,
            _ => &self.system_namespace,
        };
        let mut set = SetRef {
            namespace: namespace.clone(),
            name: format!("s-{}", crds::revision::short_hash(&key)),
        };
        // The hash is no secret and selectors are users': whoever makes two of them collide must
        // not get his pods into another's set.
        while !self.taken.insert(set.clone()) {
            set.name = format!("s-{}", crds::revision::short_hash(&(&key, &set.name)));
        }
        self.names.insert(key, set.clone());
        set
    }

    /// Fills the sets with what they stand for and cuts them into slices.
    pub fn finish(self) -> BTreeMap<ObjectKey, Compiled<VppAddressSetSpec>> {
        let mut slices = BTreeMap::new();
        for (key, set) in &self.names {
            let members = self.members(key);
            let description = key.description();
            let chunks = members.len().div_ceil(MAX_SET_MEMBERS).max(1);
            for slice in 0..chunks {
                let rest = &members[slice * MAX_SET_MEMBERS..];
                let number = u32::try_from(slice).unwrap_or(u32::MAX);
                let mut spec = VppAddressSetSpec {
                    revision: String::new(),
                    set: set.name.clone(),
                    slice: number,
                    description: description.clone(),
                    members: rest[..rest.len().min(MAX_SET_MEMBERS)].to_vec(),
                };
                spec.revision = crds::revision::short_hash(&spec);
                let name = format!("{}-{number}", set.name);
                slices.insert(
                    ObjectKey::new(&set.namespace, name),
                    Compiled { spec, owner: None },
                );
            }
        }
        slices
    }

    /// Sorted and disjoint.
    fn members(&self, key: &SetKey) -> Vec<Cidr> {
        let (own, pods, namespaces, without, port) = match key {
            SetKey::Block(prefixes) => return prefixes::union(prefixes),
            SetKey::Pods {
                namespace,
                pods,
                namespaces,
                without,
                port,
            } => (namespace, pods, namespaces, without, port),
        };
        let own = own.as_deref().unwrap_or_default();
        let excluded: BTreeSet<&str> = without
            .iter()
            .flat_map(|(pods, spaces)| select(self.cluster, own, pods, spaces.as_ref()))
            .map(|pod| pod.uid.as_str())
            .collect();
        let has_port = |pod: &Pod| port.as_ref().is_none_or(|port| pod.ports.contains(port));
        let members: BTreeSet<Cidr> = select(self.cluster, own, pods, namespaces.as_ref())
            .filter(|pod| !excluded.contains(pod.uid.as_str()) && has_port(pod))
            .flat_map(|pod| pod.ips.iter().copied().map(Cidr::host))
            .collect();
        members.into_iter().collect()
    }
}
