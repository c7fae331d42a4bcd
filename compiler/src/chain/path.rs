//! Which pod serves each function of a chain.

use std::collections::{BTreeMap, BTreeSet};

use crds::cnf::InterfaceRole;

use crate::cluster::Cluster;
use crate::cnf::Cnfs;
use crate::facts::{Chain, Cnf, ObjectKey, Pod};
use crate::output::Verdict;

/// Which chain has each CNF: the oldest that wants it, by name among those of one second. A chain
/// gets all its CNFs or none.
#[derive(Debug, Default)]
pub struct Claims<'c>(BTreeMap<ObjectKey, &'c Chain>);

impl<'c> Claims<'c> {
    /// Shares out the CNFs among the chains. A suspended chain keeps its CNFs, so that it can be
    /// resumed.
    pub fn new(cluster: &'c Cluster) -> Self {
        let mut chains: Vec<&Chain> = cluster.chains().filter(|c| c.refusals.is_empty()).collect();
        chains.sort_by_key(|chain| (chain.created, chain.key()));
        let mut claims = Self::default();
        for chain in chains {
            if claims.conflict(chain).is_none() {
                for cnf in wanted(chain) {
                    claims.0.insert(cnf, chain);
                }
            }
        }
        claims
    }

    /// Another chain that has one of the chain's CNFs, and that CNF's name.
    pub fn conflict(&self, chain: &Chain) -> Option<(&'c Chain, String)> {
        wanted(chain).find_map(|cnf| {
            let holder = *self.0.get(&cnf)?;
            (holder.key() != chain.key()).then(|| (holder, cnf.name.to_string()))
        })
    }
}

/// Keys of a chain's CNFs.
pub fn wanted(chain: &Chain) -> impl Iterator<Item = ObjectKey> {
    let functions = chain.functions.iter();
    functions.map(|function| ObjectKey::new(&chain.namespace, &function.cnf))
}

/// A function's chosen pod.
#[derive(Debug)]
pub struct Stage<'c> {
    /// Name of the function in the chain.
    pub function: &'c str,
    /// The pod.
    pub pod: &'c Pod,
    /// Its node.
    pub node: &'c str,
    /// Interface where forward traffic enters.
    pub inner: &'c str,
    /// Interface where forward traffic leaves.
    pub outer: &'c str,
}

/// Chooses a ready pod for each function: on the node of the previous one if possible, else (and
/// for the first) on a node where traffic enters, else the first by name.
///
/// # Errors
/// The condition `Resolved` of the chain, if a function has no pod.
pub fn choose<'c>(
    cluster: &'c Cluster,
    cnfs: &Cnfs,
    chain: &'c Chain,
    entries: &BTreeSet<&str>,
) -> Result<Vec<Stage<'c>>, Verdict> {
    let mut path: Vec<Stage<'c>> = Vec::new();
    for function in &chain.functions {
        let key = ObjectKey::new(&chain.namespace, &function.cnf);
        let (Some(cnf), Some(verdict)) = (cluster.cnf(&key), cnfs.verdicts.get(&key)) else {
            let message = format!("CNF {key} of function {} does not exist", function.name);
            return Err(Verdict::no("CNFNotFound", message));
        };
        let interfaces = interfaces(cnf).filter(|_| verdict.accepted.ok);
        let Some((inner, outer)) = interfaces else {
            let message = format!("CNF {key} of function {} is not accepted", function.name);
            return Err(Verdict::no("CNFNotAccepted", message));
        };
        let previous = path.last().map(|stage| stage.node);
        let ready = cluster
            .pods_in(&cnf.namespace)
            .filter(|pod| pod.ready && !pod.terminating && pod.selectable() && cnfs.is(&pod.key(), &key));
        let placed = ready.filter_map(|pod| {
            let node = pod.node.as_deref()?;
            cluster.has_node(node).then_some((pod, node))
        });
        let best = placed.min_by_key(|(pod, node)| {
            let elsewhere = previous.is_some_and(|previous| previous != *node);
            (elsewhere, !entries.contains(node), &pod.name)
        });
        let Some((pod, node)) = best else {
            let message = format!(
                "function {}: CNF {key} has {} pods, none of them ready",
                function.name, verdict.pods
            );
            return Err(Verdict::no("NoReadyPods", message));
        };
        path.push(Stage {
            function: &function.name,
            pod,
            node,
            inner,
            outer,
        });
    }
    Ok(path)
}

/// Interfaces where forward traffic enters and leaves.
fn interfaces(cnf: &Cnf) -> Option<(&str, &str)> {
    let of = |roles: [InterfaceRole; 2]| {
        let mut all = cnf.interfaces.iter();
        all.find(|i| roles.contains(&i.role)).map(|i| i.name.as_str())
    };
    Some((
        of([InterfaceRole::In, InterfaceRole::InOut])?,
        of([InterfaceRole::Out, InterfaceRole::InOut])?,
    ))
}
