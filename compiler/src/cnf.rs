//! CNFs: which pods are a function.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::Cluster;
use crate::facts::{Cnf, Kind, ObjectKey, Problem};
use crate::output::{CnfVerdict, Verdict};

/// Which pods are which function.
#[derive(Debug, Default)]
pub struct Cnfs {
    /// What became of each CNF.
    pub verdicts: BTreeMap<ObjectKey, CnfVerdict>,
    functions: BTreeMap<ObjectKey, ObjectKey>,
}

impl Cnfs {
    /// The CNF of which a pod is an instance.
    pub fn of_pod<'c>(&self, cluster: &'c Cluster, pod: &ObjectKey) -> Option<&'c Cnf> {
        cluster.cnf(self.functions.get(pod)?)
    }

    /// Whether no pod is a function.
    pub(crate) fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    /// Keys of all pods that are a function.
    pub(crate) fn pods(&self) -> impl Iterator<Item = &ObjectKey> {
        self.functions.keys()
    }

    /// Whether a pod is an instance of the CNF.
    pub fn is(&self, pod: &ObjectKey, cnf: &ObjectKey) -> bool {
        self.functions.get(pod) == Some(cnf)
    }
}

/// Gives each CNF its pods. A pod is an instance of one CNF only, that with the first name:
/// interfaces of two CNFs in one pod could not be told apart.
pub fn compile(cluster: &Cluster, problems: &mut BTreeSet<Problem>) -> Cnfs {
    let mut cnfs = Cnfs::default();
    for cnf in cluster.cnfs() {
        let verdict = instances(cluster, cnf, &mut cnfs.functions, problems);
        cnfs.verdicts.insert(cnf.key(), verdict);
    }
    cnfs
}

fn instances(
    cluster: &Cluster,
    cnf: &Cnf,
    functions: &mut BTreeMap<ObjectKey, ObjectKey>,
    problems: &mut BTreeSet<Problem>,
) -> CnfVerdict {
    let mut tell = |reason, message: String| {
        problems.insert(Problem {
            object: Kind::CNF.of(&cnf.namespace, &cnf.name, &cnf.uid),
            reason,
            message,
        });
    };
    let mut verdict = CnfVerdict {
        generation: cnf.generation,
        pods: 0,
        ready_pods: 0,
        accepted: Verdict::yes("Accepted", "the spec is meaningful"),
        resolved: Verdict::no("NotAccepted", "the CNF is not accepted"),
    };
    for refusal in &cnf.refusals {
        tell(refusal.reason, refusal.message.clone());
    }
    if let Some(refusal) = cnf.refusals.first() {
        verdict.accepted = Verdict::no(refusal.reason, refusal.message.clone());
        return verdict;
    }
    let Some(selector) = &cnf.pods else {
        verdict.accepted = Verdict::no("InvalidSelector", "spec.podSelector is unusable");
        return verdict;
    };

    let pods = cluster.pods_in(&cnf.namespace);
    for pod in pods.filter(|pod| selector.matches(&pod.labels)) {
        if pod.host_network {
            let message = format!(
                "pod {} shares its node's network and can't be a function: set hostNetwork to \
                 false",
                pod.name
            );
            tell("HostNetworkPod", message);
        }
        if !pod.selectable() {
            continue;
        }
        if let Some(other) = functions.get(&pod.key()) {
            let message = format!(
                "pod {} is an instance of CNF {} already: narrow one of the selectors",
                pod.name, other.name
            );
            tell("PodOfAnotherCNF", message);
            continue;
        }
        functions.insert(pod.key(), cnf.key());
        verdict.pods += 1;
        verdict.ready_pods += u32::from(pod.ready);
    }
    verdict.resolved = match (verdict.pods, verdict.ready_pods) {
        (0, _) => Verdict::no("NoPods", format!("no pod matches {selector}")),
        (pods, 0) => Verdict::no("NoReadyPods", format!("none of {pods} pods is ready")),
        (pods, ready) => Verdict::yes("Resolved", format!("{ready} of {pods} pods are ready")),
    };
    verdict
}
