//! Nodes' configurations: the last step of an update.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crds::VppConfigSpec;

use super::change::{Change, Published, publish};
use super::groups::GroupId;
use super::index::{Facts, Index, Sink, Work};
use super::problems::Source;
use super::side_by_side;
use crate::facts::Problem;
use crate::output::{Compiled, MAX_NODE_PODS, binding, seat, too_many_pods};
use crate::policy::{self, Bound, Rank, Speaks};

impl Index {
    /// Gives out the configurations that may differ.
    pub(super) fn give_configs(
        &mut self,
        facts: &Facts<'_>,
        work: &mut Work,
        published: &mut Published,
        sink: Sink<'_>,
    ) {
        let bounds = Bounds::default();
        let mut nodes = std::mem::take(&mut work.nodes).into_iter();
        while let Some(some) = side_by_side::portion(&mut nodes) {
            let configs = side_by_side::map(some, |node| {
                let mut problems = BTreeSet::new();
                let node = node.to_string();
                let config = self.config(facts, &node, &bounds, &mut problems);
                (node, config, problems)
            });
            for (node, config, problems) in configs {
                let source = Source::Config(node.clone());
                self.problems.replace(source, problems, &mut work.problems);
                publish(&mut published.configs, node, config, Change::Config, sink);
            }
        }
    }

    /// A node's configuration, if it is to have one.
    fn config(
        &self,
        facts: &Facts<'_>,
        node: &str,
        bounds: &Bounds,
        problems: &mut BTreeSet<Problem>,
    ) -> Option<Compiled<VppConfigSpec>> {
        let cluster = facts.cluster;
        let mut config = self.bases.get(node).cloned()?;
        let mut left_out = 0;
        let mut seats = Vec::new();
        for indexed in self.pods.on(node) {
            let pod = &indexed.pod;
            if seats.len() == MAX_NODE_PODS {
                left_out += 1;
                continue;
            }
            let bound = match self.tiers && cluster.namespace(&pod.namespace).is_none() {
                true => Arc::new(Bound::of_unknown_namespace()),
                false => self.bound(&facts.settings.system_namespace, &indexed.groups, bounds),
            };
            if bound.too_many {
                problems.insert(policy::too_many(pod));
            }
            let function = match self.cnfs.is_empty() {
                true => None,
                false => self.cnfs.of_pod(cluster, &pod.key()),
            };
            seats.push((binding(pod, function), bound));
        }
        seat(&mut config.spec, seats);
        if let Some(node) = cluster.node(node).filter(|_| left_out > 0) {
            problems.insert(too_many_pods(node, left_out));
        }
        let steers = self.steers.get(node).into_iter().flatten();
        config.spec.chains = steers.map(|steer| steer.placed(&config.spec.pods)).collect();
        config.spec.revision = crds::revision::short_hash(&config.spec);
        Some(config)
    }

    /// What the policies that apply to a pod's groups say of it.
    fn bound(&self, system_namespace: &str, groups: &[GroupId], known: &Bounds) -> Arc<Bound> {
        let subjects = |id: &GroupId| self.groups.group(*id).map(|group| &group.subjects);
        let mut of = groups.to_vec();
        of.retain(|id| subjects(id).is_some_and(|subjects| !subjects.is_empty()));
        if let Some(bound) = known.get(&of) {
            return bound;
        }
        let mut policies: Vec<(&Rank, Speaks)> = of
            .iter()
            .filter_map(subjects)
            .flatten()
            .map(|(rank, speaks)| (rank, *speaks))
            .collect();
        policies.sort_unstable_by_key(|(rank, _)| *rank);
        let bound = Arc::new(Bound::by(system_namespace, policies.into_iter()));
        known.insert(of, bound)
    }
}

/// Pods in the same groups are bound to the same policies.
#[derive(Debug, Default)]
struct Bounds(Mutex<HashMap<Vec<GroupId>, Arc<Bound>>>);

impl Bounds {
    fn known(&self) -> MutexGuard<'_, HashMap<Vec<GroupId>, Arc<Bound>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, groups: &[GroupId]) -> Option<Arc<Bound>> {
        self.known().get(groups).cloned()
    }

    /// The one that counts: of two that are computed at once the first.
    fn insert(&self, groups: Vec<GroupId>, bound: Arc<Bound>) -> Arc<Bound> {
        Arc::clone(self.known().entry(groups).or_insert(bound))
    }
}
