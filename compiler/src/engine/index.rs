//! What depends on what, and the steps of an update.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crds::{SetRef, VppAddressSetSpec, VppConfigSpec};

use super::author::{Author, Fresh};
use super::change::{Published, publish, publish_all};
use super::groups::{Group, GroupId, Groups, Scope, SetId};
use super::named_sets::{Collision, NamedSets};
use super::pods::{Pods, Seen};
use super::problems::{Problems, Source};
use super::{Before, Change, Dirty, SlicesOf, side_by_side};
use crate::chain::Steer;
use crate::cluster::Cluster;
use crate::cnf::Cnfs;
use crate::facts::{Name, ObjectKey, Peer, Pod, Port, Problem, Rule};
use crate::output::{ChainVerdict, Compiled, Settings};
use crate::policy::{Rank, Speaks};
use crate::sets::{Naming, SetKey, Sets, addresses, node_addresses, slice_key, slices};
use crate::{chain, cnf, policy, prefixes, service, topology};

pub(super) type Sink<'s> = &'s mut dyn FnMut(Change);

/// What an update reads.
pub struct Facts<'f> {
    pub cluster: &'f Cluster,
    pub settings: &'f Settings,
    pub naming: Naming,
    pub slices_of: &'f SlicesOf,
}

/// What is left to do in this update.
#[derive(Debug, Default)]
pub struct Work {
    /// Nodes whose configuration may differ.
    pub nodes: BTreeSet<Name>,
    /// Sets whose members may differ, or that nobody names any more.
    sets: BTreeSet<SetId>,
    /// Policies whose named ports may mean something else.
    named: BTreeSet<ObjectKey>,
    /// Groups that have no members yet.
    new_groups: BTreeSet<GroupId>,
    /// Groups that perhaps nobody uses any more.
    idle: BTreeSet<GroupId>,
    /// Policies that have been compiled, and given out.
    policies: HashSet<ObjectKey>,
    /// Problems that may have come or gone.
    pub(super) problems: BTreeSet<Problem>,
}

impl Work {
    /// A group's members have changed; `news` if policies with named ports see a difference.
    pub fn touch(&mut self, group: &Group, news: bool) {
        self.sets.extend(group.sets.iter().copied());
        if news {
            self.named.extend(group.named.iter().cloned());
        }
    }
}

/// What the index knows of a policy.
#[derive(Debug)]
struct Indexed {
    /// The group of the pods to which it applies: of one namespace, or of many.
    subject: GroupId,
    rank: Rank,
    speaks: Speaks,
    /// Its VppPolicy, if it has one.
    published: Option<ObjectKey>,
    /// Groups of the pods whose named ports it looks at.
    named: Vec<GroupId>,
    sets: Vec<SetId>,
}

/// Everything that is derived from the facts, or how to derive it.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) groups: Groups,
    pub(super) pods: Pods,
    sets: NamedSets,
    policies: BTreeMap<ObjectKey, Indexed>,
    services: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Configurations without pods and chains.
    pub(super) bases: BTreeMap<String, Compiled<VppConfigSpec>>,
    pub(super) cnfs: Cnfs,
    chains: BTreeMap<ObjectKey, ChainVerdict>,
    pub(super) steers: BTreeMap<String, Vec<Steer>>,
    intent_sets: Vec<SetId>,
    /// Sets of nodes' addresses.
    node_sets: BTreeSet<SetId>,
    /// Whether there are ClusterNetworkPolicies: then pods of namespaces not seen yet are closed.
    pub(super) tiers: bool,
    pub(super) problems: Problems,
}

impl Index {
    /// Brings everything up to date and gives out the differences.
    ///
    /// # Errors
    /// Two sets would have the same name: the index is of no use then.
    pub fn update(
        &mut self,
        facts: &Facts<'_>,
        mut dirty: Dirty,
        published: &mut Published,
        sink: Sink<'_>,
    ) -> Result<(), Collision> {
        let cluster = facts.cluster;
        let mut work = Work::default();
        for (name, before) in &dirty.namespaces {
            let now = cluster.namespace(name).map(|namespace| &namespace.labels);
            if self.tiers && before.is_none() != now.is_none() {
                work.nodes
                    .extend(cluster.pods_in(name).filter_map(|pod| pod.node.clone()));
            }
            if self.groups.tells_apart(before.as_ref(), now) {
                for pod in cluster.pods_in(name) {
                    dirty.pods.entry(pod.key()).or_insert(Before::Same);
                }
            }
        }
        let tiers = cluster.cluster_policies().next().is_some();
        if std::mem::replace(&mut self.tiers, tiers) != tiers {
            let strays = cluster
                .pods()
                .filter(|pod| cluster.namespace(&pod.namespace).is_none());
            work.nodes.extend(strays.filter_map(|pod| pod.node.clone()));
        }
        let mut policies = dirty.policies.iter();
        while let Some(some) = side_by_side::portion(&mut policies) {
            let compiled = side_by_side::map(some, |key| (key, Fresh::compile(facts, key)));
            for (key, fresh) in compiled {
                self.policy(facts, key, fresh, &mut work, published, sink)?;
            }
        }
        let pods = std::mem::take(&mut dirty.pods);
        let mut all = pods.iter();
        while let Some(some) = side_by_side::portion(&mut all) {
            let groups = &self.groups;
            let looked_at = side_by_side::map(some, |(key, before)| Seen::new(cluster, groups, key, before));
            for seen in looked_at {
                let problems = seen.now.map(|pod| pod.problems.iter().cloned().collect());
                let source = Source::Pod(seen.key.clone());
                self.problems
                    .replace(source, problems.unwrap_or_default(), &mut work.problems);
                self.pods.update(&mut self.groups, seen, &mut work);
            }
        }
        // Pods that have just been looked at are in the new groups already.
        self.fill(cluster, &mut work, |pod| pods.contains_key(&pod.key()));
        drop(pods);
        // Rules are compiled from the facts as they are now: once is enough.
        for key in std::mem::take(&mut work.named) {
            if !work.policies.contains(&key) {
                let fresh = Fresh::compile(facts, &key);
                self.policy(facts, &key, fresh, &mut work, published, sink)?;
            }
        }
        if dirty.intents {
            self.intents(facts, &mut work)?;
        }
        self.fill(cluster, &mut work, |_| false);
        if dirty.topology {
            self.topology(facts, &mut work, published, sink);
            work.sets.extend(&self.node_sets);
        }

        self.give_sets(cluster, &mut work, published, sink);
        for key in dirty.services {
            self.service(facts, key, &mut work, published, sink);
        }
        self.give_configs(facts, &mut work, published, sink);
        if dirty.intents {
            published.verdicts(self.chains.clone(), self.cnfs.verdicts.clone(), sink);
        }
        for problem in std::mem::take(&mut work.problems) {
            let exists = self.problems.contains(&problem);
            published.problem(problem, exists, sink);
        }
        for id in work.idle {
            let members = self.groups.sweep(id);
            self.pods.forget(&members, id);
        }
        Ok(())
    }

    fn group(
        &mut self,
        own: &Name,
        pods: &crate::Selector,
        namespaces: Option<&crate::Selector>,
        work: &mut Work,
    ) -> GroupId {
        let (id, new) = self.groups.intern(Scope::new(own, namespaces), pods);
        if new {
            work.new_groups.insert(id);
        }
        id
    }

    /// Puts pods into groups that have none yet.
    fn fill(&mut self, cluster: &Cluster, work: &mut Work, known: impl Fn(&Pod) -> bool) {
        let new = std::mem::take(&mut work.new_groups);
        let places = new.iter().flat_map(|id| self.groups.places(cluster, *id));
        for namespace in places.collect::<BTreeSet<_>>() {
            for pod in cluster.pods_in(&namespace).filter(|pod| !known(pod)) {
                self.pods.fill(cluster, &mut self.groups, pod, &new, work);
            }
        }
    }

    /// One more names these sets.
    fn acquire(&mut self, names: BTreeMap<SetKey, SetRef>, work: &mut Work) -> Result<Vec<SetId>, Collision> {
        let mut ids = Vec::with_capacity(names.len());
        for (key, name) in names {
            let name = ObjectKey::new(name.namespace, name.name);
            let (id, new) = self.sets.acquire(key.clone(), name)?;
            ids.push(id);
            if !new {
                continue;
            }
            work.sets.insert(id);
            if let SetKey::Nodes(_) = key {
                self.node_sets.insert(id);
            }
            let SetKey::Pods {
                namespace,
                pods,
                namespaces,
                without,
                ..
            } = &key
            else {
                continue;
            };
            let own = &namespace.clone().unwrap_or_default();
            let group = self.group(own, pods, namespaces.as_ref(), work);
            let without: Vec<GroupId> = without
                .iter()
                .map(|(pods, namespaces)| self.group(own, pods, namespaces.as_ref(), work))
                .collect();
            for id_of_group in without.iter().chain([&group]) {
                if let Some(group) = self.groups.group_mut(*id_of_group) {
                    group.add_set(id);
                }
            }
            if let Some(set) = self.sets.get_mut(id) {
                set.group = Some(group);
                set.without = without;
            }
        }
        Ok(ids)
    }

    fn release(&mut self, ids: &[SetId], work: &mut Work) {
        for id in ids {
            if self.sets.release(*id) {
                work.sets.insert(*id);
            }
        }
    }

    /// Takes a policy in, and says who is to hear of what it depends on.
    fn policy(
        &mut self,
        facts: &Facts<'_>,
        key: &ObjectKey,
        fresh: Fresh<'_>,
        work: &mut Work,
        published: &mut Published,
        sink: Sink<'_>,
    ) -> Result<(), Collision> {
        let old = self.policies.remove(key);
        if let Some(old) = &old {
            if let Some(group) = self.groups.group_mut(old.subject) {
                group.remove_subject(&old.rank);
            }
            for id in &old.named {
                if let Some(group) = self.groups.group_mut(*id) {
                    group.named.remove(key);
                }
            }
            work.idle.extend(old.named.iter().chain([&old.subject]));
        }
        if fresh.collided {
            return Err(Collision);
        }
        let Fresh {
            author,
            compiled,
            names,
            problems,
            ..
        } = fresh;
        let mut changes = Vec::new();
        let mut selects = None;
        let mut now = None;
        if let Some(source) = author {
            let (rank, speaks) = source.rank(facts);
            let end = source.subject();
            let subject = self.group(&key.namespace, &end.pods, end.namespaces.as_ref(), work);
            if let Some(group) = self.groups.group_mut(subject) {
                group.add_subject(rank.clone(), speaks);
            }
            selects = Some((subject, speaks, rank.clone()));
            let named = self.named(key, &source, subject, work);
            for id in &named {
                if let Some(group) = self.groups.group_mut(*id) {
                    group.named.insert(key.clone());
                }
            }
            let sets = self.acquire(names, work)?;
            now = compiled.as_ref().map(|_| rank.key().clone());
            changes.extend(compiled.map(|compiled| (rank.key().clone(), Some(compiled))));
            let indexed = Indexed {
                subject,
                rank,
                speaks,
                published: now.clone(),
                named,
                sets,
            };
            self.policies.insert(key.clone(), indexed);
        }
        let before = old.as_ref().and_then(|old| old.published.clone());
        changes.extend(
            before
                .filter(|before| now.as_ref() != Some(before))
                .map(|gone| (gone, None)),
        );
        let selected = old
            .as_ref()
            .map(|old| (old.subject, old.speaks, old.rank.clone()));
        if selected != selects {
            for (group, ..) in selected.into_iter().chain(selects) {
                let members = self.groups.group(group).map_or(&[][..], |group| &group.members);
                for member in members.iter().filter_map(|slot| self.pods.get(*slot)) {
                    // A pod that has just gone elsewhere touches both nodes by that.
                    if let Some(node) = &member.pod.node
                        && !work.nodes.contains(node)
                    {
                        work.nodes.insert(node.clone());
                    }
                }
            }
        }
        // After the new ones are named, so that what stays is not swept.
        if let Some(old) = old {
            self.release(&old.sets, work);
        }
        let source = Source::Policy(key.clone());
        self.problems.replace(source, problems, &mut work.problems);
        for (key, compiled) in changes {
            publish(&mut published.policies, key, compiled, Change::Policy, sink);
        }
        work.policies.insert(key.clone());
        Ok(())
    }

    /// Groups of the pods whose named ports a policy looks at: the destinations.
    fn named(
        &mut self,
        key: &ObjectKey,
        source: &Author<'_>,
        subject: GroupId,
        work: &mut Work,
    ) -> Vec<GroupId> {
        let has_names = |rule: &&Rule| {
            let mut ports = rule.ports.iter().flatten();
            ports.any(|port| matches!(port, Port::Named { .. }))
        };
        let (ingress, egress) = source.rules();
        let mut named = BTreeSet::new();
        if ingress.iter().any(has_names) {
            named.insert(subject);
        }
        let anywhere = [Peer::Pods(policy::anywhere())];
        for rule in egress.into_iter().filter(has_names) {
            for peer in rule.peers.as_deref().unwrap_or(&anywhere) {
                if let Peer::Pods(end) = peer {
                    let namespaces = end.namespaces.as_ref();
                    named.insert(self.group(&key.namespace, &end.pods, namespaces, work));
                }
            }
        }
        named.into_iter().collect()
    }

    /// Compiles all CNFs and chains.
    fn intents(&mut self, facts: &Facts<'_>, work: &mut Work) -> Result<(), Collision> {
        let cluster = facts.cluster;
        let mut problems = BTreeSet::new();
        let mut sets = Sets::new(cluster, &facts.settings.system_namespace, facts.naming);
        let cnfs = cnf::compile(cluster, &mut problems);
        let chains = chain::compile(cluster, facts.settings, &cnfs, &mut sets, &mut problems);
        if sets.collided() {
            return Err(Collision);
        }
        let named = self.acquire(sets.into_names(), work)?;
        let unnamed = std::mem::replace(&mut self.intent_sets, named);
        self.release(&unnamed, work);
        self.problems
            .replace(Source::Intents, problems, &mut work.problems);

        for pod in self.cnfs.pods().chain(cnfs.pods()) {
            let node = cluster.pod(pod).and_then(|pod| pod.node.clone());
            work.nodes.extend(node);
        }
        for node in self.steers.keys().chain(chains.steers.keys()) {
            if self.steers.get(node) != chains.steers.get(node) {
                work.nodes.insert(node.into());
            }
        }
        self.cnfs = cnfs;
        self.chains = chains.verdicts;
        self.steers = chains.steers;
        Ok(())
    }

    /// Compiles all identities and peers.
    fn topology(&mut self, facts: &Facts<'_>, work: &mut Work, published: &mut Published, sink: Sink<'_>) {
        let mut problems = BTreeSet::new();
        let topology = topology::compile(facts.cluster, facts.settings, &mut problems);
        self.problems
            .replace(Source::Topology, problems, &mut work.problems);
        for node in self.bases.keys().chain(topology.configs.keys()) {
            if self.bases.get(node) != topology.configs.get(node) {
                work.nodes.insert(node.into());
            }
        }
        self.bases = topology.configs;
        let peers = topology.peer_slices;
        publish_all(&mut published.peer_slices, peers, Change::PeerSlice, sink);
    }

    fn give_sets(&mut self, cluster: &Cluster, work: &mut Work, published: &mut Published, sink: Sink<'_>) {
        let mut stay = Vec::new();
        for id in std::mem::take(&mut work.sets) {
            if let Some(set) = self.sets.sweep(id) {
                self.node_sets.remove(&id);
                for group in set.group.iter().chain(&set.without) {
                    if let Some(group) = self.groups.group_mut(*group) {
                        group.remove_set(id);
                    }
                    work.idle.insert(*group);
                }
                for slice in 0..set.slices {
                    let key = slice_key(&set.name, slice);
                    publish(&mut published.sets, key, None, Change::Set, sink);
                }
                continue;
            }
            stay.push(id);
        }
        let mut stay = stay.into_iter();
        while let Some(some) = side_by_side::portion(&mut stay) {
            let computed = side_by_side::map(some, |id| (id, self.slices(cluster, id)));
            for (id, slices) in computed {
                let Some(set) = self.sets.get_mut(id) else {
                    continue;
                };
                let now = u32::try_from(slices.len()).unwrap_or(u32::MAX);
                for slice in now..std::mem::replace(&mut set.slices, now) {
                    let key = slice_key(&set.name, slice);
                    publish(&mut published.sets, key, None, Change::Set, sink);
                }
                for (key, slice) in slices {
                    publish(&mut published.sets, key, Some(slice), Change::Set, sink);
                }
            }
        }
    }

    /// A set as its objects.
    fn slices(&self, cluster: &Cluster, id: SetId) -> Vec<(ObjectKey, Compiled<VppAddressSetSpec>)> {
        let Some(set) = self.sets.get(id) else {
            return Vec::new();
        };
        let members_of = |id: GroupId| {
            let members = self.groups.group(id).map_or(&[][..], |group| &group.members);
            let pods = members.iter().filter_map(|slot| self.pods.get(*slot));
            pods.map(|indexed| indexed.pod.as_ref())
        };
        let members = match &*set.key {
            SetKey::Block(blocks) => prefixes::union(blocks),
            SetKey::Nodes(nodes) => node_addresses(cluster, nodes),
            SetKey::Pods { port, .. } => {
                let selected = set.group.into_iter().flat_map(members_of);
                let excluded = set.without.iter().copied().flat_map(members_of);
                addresses(selected, excluded, port.as_ref(), |pod, ip| {
                    self.pods.holds(pod, ip)
                })
            }
        };
        slices(&set.key, &set.name, &members)
    }

    fn service(
        &mut self,
        facts: &Facts<'_>,
        key: ObjectKey,
        work: &mut Work,
        published: &mut Published,
        sink: Sink<'_>,
    ) {
        let mut problems = BTreeSet::new();
        let compiled = facts.cluster.service(&key).map(|service| {
            let endpoints = facts.slices_of.get(&key).into_iter().flatten();
            let endpoints = endpoints.filter_map(|slice| facts.cluster.endpoint_slice(slice));
            service::one(service, endpoints, facts.settings, &mut problems)
        });
        let compiled = compiled.unwrap_or_default();
        let source = Source::Service(key.clone());
        self.problems.replace(source, problems, &mut work.problems);
        let now: BTreeSet<ObjectKey> = compiled.keys().cloned().collect();
        let before = match now.is_empty() {
            true => self.services.remove(&key),
            false => self.services.insert(key, now.clone()),
        };
        for gone in before.unwrap_or_default().difference(&now) {
            let prints = &mut published.service_slices;
            publish(prints, gone.clone(), None, Change::ServiceSlice, sink);
        }
        for (key, slice) in compiled {
            let prints = &mut published.service_slices;
            publish(prints, key, Some(slice), Change::ServiceSlice, sink);
        }
    }
}
