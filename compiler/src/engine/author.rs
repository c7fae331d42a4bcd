//! Policies of both kinds, as the index takes them in.

use std::collections::{BTreeMap, BTreeSet};

use crds::{SetRef, VppPolicySpec};

use super::index::Facts;
use crate::facts::{ClusterPolicy, ObjectKey, PodEnd, Policy, Problem, Rule};
use crate::output::Compiled;
use crate::policy::{self, Rank, Speaks};
use crate::sets::{SetKey, Sets};

/// A policy of either kind.
pub(super) enum Author<'f> {
    Own(&'f Policy),
    Cluster(&'f ClusterPolicy),
}

impl<'f> Author<'f> {
    /// The policy that goes by a key.
    pub(super) fn find(facts: &Facts<'f>, key: &ObjectKey) -> Option<Self> {
        match key.namespace.is_empty() {
            true => facts.cluster.cluster_policy(&key.name).map(Self::Cluster),
            false => facts.cluster.policy(key).map(Self::Own),
        }
    }

    fn compile(
        &self,
        facts: &Facts<'f>,
        sets: &mut Sets<'f>,
        problems: &mut BTreeSet<Problem>,
    ) -> Option<Compiled<VppPolicySpec>> {
        match self {
            Self::Own(policy) => policy::one(facts.cluster, policy, sets, problems),
            Self::Cluster(policy) => Some(policy::one_of_cluster(facts.cluster, policy, sets, problems)),
        }
    }

    pub(super) fn rank(&self, facts: &Facts<'_>) -> (Rank, Speaks) {
        match *self {
            Self::Own(policy) => (policy.into(), policy.into()),
            Self::Cluster(policy) => {
                let rank = Rank::of_cluster(&facts.settings.system_namespace, policy);
                (rank, policy.into())
            }
        }
    }

    pub(super) fn subject(&self) -> PodEnd {
        match self {
            Self::Own(policy) => PodEnd {
                pods: policy.pods.clone(),
                namespaces: None,
            },
            Self::Cluster(policy) => policy.subject.clone(),
        }
    }

    /// Of ingress and of egress.
    pub(super) fn rules(&self) -> (Vec<&'f Rule>, Vec<&'f Rule>) {
        match *self {
            Self::Own(policy) => (
                policy.ingress.iter().flatten().collect(),
                policy.egress.iter().flatten().collect(),
            ),
            Self::Cluster(policy) => (
                policy.ingress.iter().map(|rule| &rule.matches).collect(),
                policy.egress.iter().map(|rule| &rule.matches).collect(),
            ),
        }
    }
}

/// A policy compiled from the facts as they are now.
pub(super) struct Fresh<'f> {
    /// The policy, if it exists.
    pub(super) author: Option<Author<'f>>,
    pub(super) compiled: Option<Compiled<VppPolicySpec>>,
    /// The sets that it names.
    pub(super) names: BTreeMap<SetKey, SetRef>,
    pub(super) problems: BTreeSet<Problem>,
    pub(super) collided: bool,
}

impl<'f> Fresh<'f> {
    pub(super) fn compile(facts: &Facts<'f>, key: &ObjectKey) -> Self {
        let mut sets = Sets::new(facts.cluster, &facts.settings.system_namespace, facts.naming);
        let mut problems = BTreeSet::new();
        let author = Author::find(facts, key);
        let compiled = author
            .as_ref()
            .and_then(|author| author.compile(facts, &mut sets, &mut problems));
        Self {
            author,
            compiled,
            collided: sets.collided(),
            names: sets.into_names(),
            problems,
        }
    }
}
