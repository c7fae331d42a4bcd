//! ServiceChains: a path of pods for each, the steers that lead traffic along it, and a verdict.

mod path;
mod steers;
pub mod vni;

use std::collections::{BTreeMap, BTreeSet};

use crds::SetRef;
use crds::service_chain::{FailurePolicy, PathHop};
use crds::vpp_config::{ChainDirection, SteerMatch};

use crate::cluster::Cluster;
use crate::cnf::Cnfs;
use crate::facts::{Chain, ChainEnd, Classifier, Kind, Name, ObjectKey, Pod, PodEnd, Problem};
use crate::output::MAX_NODE_PODS;
use crate::output::{ChainVerdict, Settings, Traffic, Verdict};
use crate::sets::{SetKey, Sets, select};
use path::{Claims, Stage};
pub use steers::Steer;
use steers::{Hop, Journey};

/// Most steers of one node (the schema's bound).
pub const MAX_STEERS: usize = 256;

/// All chains, compiled.
#[derive(Debug, Default)]
pub struct Chains {
    /// What became of each.
    pub verdicts: BTreeMap<ObjectKey, ChainVerdict>,
    /// Steers by node, sorted.
    pub steers: BTreeMap<String, Vec<Steer>>,
}

/// Compiles every ServiceChain.
///
/// A chain that can't be followed, for whatever reason, and whose `onFailure` is Drop has its
/// traffic dropped where it enters: what is to pass a function never passes around it. That holds
/// as long as the classifier says which traffic is meant.
pub fn compile(
    cluster: &Cluster,
    settings: &Settings,
    cnfs: &Cnfs,
    sets: &mut Sets<'_>,
    problems: &mut BTreeSet<Problem>,
) -> Chains {
    let claims = Claims::new(cluster);
    let hops = cluster.chains().flat_map(vni::hops).collect();
    let vnis = vni::allocate(hops, settings.transport.vni);
    let mut chains = Chains::default();
    for chain in cluster.chains() {
        let mut tell = |reason, message: &str| {
            problems.insert(Problem {
                object: Kind::SERVICE_CHAIN.of(&chain.namespace, &chain.name, &chain.uid),
                reason,
                message: message.to_owned(),
            });
        };
        for refusal in &chain.refusals {
            tell(refusal.reason, &refusal.message);
        }
        let ends = chain
            .classifier
            .as_ref()
            .map(|classifier| Ends::new(cluster, chain, classifier));
        let accepted = accept(chain, &claims);
        let path = match (&ends, accepted.ok) {
            (Some(ends), true) => path::choose(cluster, cnfs, chain, &ends.entry_nodes()),
            _ => Err(Verdict::no("NotAccepted", "the chain is not accepted")),
        };

        let mut plan = match (&ends, path) {
            (_, path) if chain.suspend => Plan::none(Traffic::Suspended, resolved(&path)),
            (None, path) => Plan::none(Traffic::Bypassed, resolved(&path)),
            (Some(ends), Err(verdict)) => Plan::fail(chain, ends, sets, verdict),
            (Some(ends), Ok(stages)) => {
                let followed = Plan::follow(chain, ends, sets, &stages, &vnis);
                followed.unwrap_or_else(|verdict| Plan::fail(chain, ends, sets, verdict))
            }
        };
        if let (Some(ends), Some(node)) = (&ends, chains.overfull(&plan)) {
            let message = format!(
                "node {node} would have more than {MAX_STEERS} chain steers: use fewer chains, \
                 or narrower classifiers"
            );
            plan = Plan::fail(chain, ends, sets, Verdict::no("NodeFull", message));
            if chains.overfull(&plan).is_some() {
                plan = Plan::none(Traffic::Bypassed, plan.resolved);
            }
        }

        if chain.refusals.is_empty() && !accepted.ok {
            tell(accepted.reason, &accepted.message);
        }
        if accepted.ok && !plan.resolved.ok {
            tell(plan.resolved.reason, &plan.resolved.message);
        }
        chains.add(chain, accepted, plan);
    }
    for steers in chains.steers.values_mut() {
        steers::sort(steers);
    }
    chains
}

fn accept(chain: &Chain, claims: &Claims<'_>) -> Verdict {
    if let Some(refusal) = chain.refusals.first() {
        return Verdict::no(refusal.reason, refusal.message.clone());
    }
    if let Some((holder, cnf)) = claims.conflict(chain) {
        let message = format!(
            "CNF {cnf} belongs to chain {}, which is older: a function's interfaces can't be \
             shared; make a CNF of its own for this chain",
            holder.name
        );
        return Verdict::no("CNFInUse", message);
    }
    Verdict::yes("Accepted", "the spec is meaningful")
}

impl Chains {
    /// A node whose steers would be more than fit.
    fn overfull(&self, plan: &Plan) -> Option<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (node, _) in &plan.steers {
            *counts.entry(node).or_default() += 1;
        }
        let mut nodes = counts.into_iter();
        nodes
            .find(|(node, more)| self.steers.get(*node).map_or(0, Vec::len) + more > MAX_STEERS)
            .map(|(node, _)| node.to_owned())
    }

    fn add(&mut self, chain: &Chain, accepted: Verdict, plan: Plan) {
        let summary = plan.path.iter();
        let summary: Vec<String> = summary
            .map(|hop| format!("{}@{}", hop.function, hop.node))
            .collect();
        let verdict = ChainVerdict {
            generation: chain.generation,
            accepted,
            resolved: plan.resolved,
            traffic: plan.traffic,
            path_summary: summary.join(" → "),
            path: plan.path,
            nodes: plan.steers.iter().map(|(node, _)| node.clone()).collect(),
        };
        self.verdicts.insert(chain.key(), verdict);
        for (node, steer) in plan.steers {
            self.steers.entry(node).or_default().push(steer);
        }
    }
}

/// What is to be done for one chain.
struct Plan {
    resolved: Verdict,
    traffic: Traffic,
    path: Vec<PathHop>,
    steers: Vec<(String, Steer)>,
}

impl Plan {
    fn none(traffic: Traffic, resolved: Verdict) -> Self {
        Self {
            resolved,
            traffic,
            path: Vec::new(),
            steers: Vec::new(),
        }
    }

    fn fail(chain: &Chain, ends: &Ends<'_>, sets: &mut Sets<'_>, resolved: Verdict) -> Self {
        if chain.on_failure == FailurePolicy::Bypass {
            return Self::none(Traffic::Bypassed, resolved);
        }
        let journeys = ends.journeys(chain, sets);
        Self {
            steers: journeys.iter().flat_map(Journey::drop).collect(),
            ..Self::none(Traffic::Dropped, resolved)
        }
    }

    /// # Errors
    /// The condition `Resolved`, if network identifiers have run out.
    fn follow(
        chain: &Chain,
        ends: &Ends<'_>,
        sets: &mut Sets<'_>,
        stages: &[Stage<'_>],
        vnis: &BTreeMap<vni::HopId, u32>,
    ) -> Result<Self, Verdict> {
        let own: BTreeMap<(ChainDirection, u32), u32> = vni::hops(chain)
            .filter_map(|id| Some(((id.direction, id.hop), *vnis.get(&id)?)))
            .collect();
        let mut steers = Vec::new();
        for journey in ends.journeys(chain, sets) {
            let Some(hops) = hops(journey.direction, stages, &own) else {
                let message = "the cluster has no free VXLAN identifier: use fewer chains";
                return Err(Verdict::no("NoNetworkIdentifier", message));
            };
            steers.extend(journey.follow(&hops));
        }
        let path = stages.iter().map(|stage| PathHop {
            function: stage.function.to_owned(),
            pod: stage.pod.name.to_string(),
            node: stage.node.to_owned(),
        });
        Ok(Self {
            resolved: Verdict::yes("Resolved", "every function has a ready pod"),
            traffic: Traffic::Steered,
            path: path.collect(),
            steers,
        })
    }
}

fn resolved(path: &Result<Vec<Stage<'_>>, Verdict>) -> Verdict {
    match path {
        Ok(_) => Verdict::yes("Resolved", "every function has a ready pod"),
        Err(verdict) => verdict.clone(),
    }
}

/// The stages as hops in the direction of travel.
fn hops(
    direction: ChainDirection,
    stages: &[Stage<'_>],
    vnis: &BTreeMap<(ChainDirection, u32), u32>,
) -> Option<Vec<Hop>> {
    let travelled: Vec<&Stage<'_>> = match direction {
        ChainDirection::Forward => stages.iter().collect(),
        ChainDirection::Reverse => stages.iter().rev().collect(),
    };
    let hops = (0u32..).zip(travelled).map(|(hop, stage)| {
        let (enter, leave) = match direction {
            ChainDirection::Forward => (stage.inner, stage.outer),
            ChainDirection::Reverse => (stage.outer, stage.inner),
        };
        Some(Hop {
            uid: stage.pod.uid.to_string(),
            node: stage.node.to_owned(),
            enter: enter.to_owned(),
            leave: leave.to_owned(),
            vni: *vnis.get(&(direction, hop))?,
        })
    });
    hops.collect()
}

/// The two ends of a chain. Pods of its own functions are never among them: their traffic would
/// go round in circles.
struct Ends<'c> {
    classifier: &'c Classifier,
    /// UIDs of the pods of `from`, by node.
    from: BTreeMap<String, Vec<Name>>,
    /// UIDs of the pods of `to`, by node.
    to: BTreeMap<String, Vec<Name>>,
    functions: Vec<PodEnd>,
}

impl<'c> Ends<'c> {
    fn new(cluster: &'c Cluster, chain: &'c Chain, classifier: &'c Classifier) -> Self {
        let cnfs = path::wanted(chain).filter_map(|key| cluster.cnf(&key)?.pods.clone());
        let functions: Vec<PodEnd> = cnfs
            .map(|pods| PodEnd {
                pods,
                namespaces: None,
            })
            .collect();
        let own = &chain.namespace;
        let is_function = |pod: &Pod| {
            let mut all = functions.iter();
            pod.namespace == *own && all.any(|function| function.pods.matches(&pod.labels))
        };
        let by_node = |end: &'c PodEnd| {
            let mut nodes: BTreeMap<String, Vec<Name>> = BTreeMap::new();
            for pod in select(cluster, own, &end.pods, end.namespaces.as_ref()) {
                let node = pod.node.as_ref().filter(|node| cluster.has_node(node));
                if let (Some(node), false) = (node, is_function(pod)) {
                    nodes.entry(node.to_string()).or_default().push(pod.uid.clone());
                }
            }
            for uids in nodes.values_mut() {
                uids.sort();
                uids.truncate(MAX_NODE_PODS);
            }
            nodes
        };
        Self {
            classifier,
            from: by_node(&classifier.from),
            to: match &classifier.to {
                ChainEnd::Pods(end) => by_node(end),
                ChainEnd::Cidrs(_) => BTreeMap::new(),
            },
            functions,
        }
    }

    fn entry_nodes(&self) -> BTreeSet<&str> {
        self.from.keys().map(String::as_str).collect()
    }

    /// Both directions, or the one there is; asks for the sets they match.
    fn journeys<'a>(&'a self, chain: &'a Chain, sets: &mut Sets<'_>) -> Vec<Journey<'a>> {
        let journey = |direction, entries, destinations| Journey {
            namespace: &chain.namespace,
            chain: &chain.name,
            direction,
            entries,
            match_: SteerMatch {
                destinations,
                ports: self.classifier.ports.clone(),
                source_ports: direction == ChainDirection::Reverse,
            },
        };
        let own = &chain.namespace;
        let to = match &self.classifier.to {
            ChainEnd::Cidrs(cidrs) => {
                let set = sets.set(SetKey::Block(crate::prefixes::union(cidrs)));
                return vec![journey(ChainDirection::Forward, &self.from, set)];
            }
            ChainEnd::Pods(end) => end,
        };
        let forward: SetRef = sets.set(SetKey::pods_without(own, to, &self.functions));
        let mut journeys = vec![journey(ChainDirection::Forward, &self.from, forward)];
        if chain.symmetric {
            let told_apart = !self.classifier.ports.is_empty();
            let others = self.functions.iter().chain((!told_apart).then_some(to));
            let reverse = SetKey::pods_without(own, &self.classifier.from, others);
            let reverse = sets.set(reverse);
            journeys.push(journey(ChainDirection::Reverse, &self.to, reverse));
        }
        journeys
    }
}
