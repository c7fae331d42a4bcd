//! Compiler's verdicts and daemons' reports → statuses of ServiceChains and CNFs. Pure.

use compiler::facts::ObjectKey;
use compiler::output::{ChainVerdict, CnfVerdict, Traffic, Verdict};
use crds::conditions::{self, ACCEPTED, PROGRAMMED, READY, RESOLVED};
use crds::{CnfStatus, ServiceChainStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::objects::{OutputKey, OutputKind};
use crate::state::State;
use compiler::Output;

/// What a node says of its part of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is in the node's VPP.
    Programmed,
    /// The node has not tried its current configuration yet.
    Awaited,
    /// The node tried and something is missing.
    Missing(String),
}

/// What `node` says of its part of the chain.
///
/// A report counts only if it is about the configuration that was compiled from the current facts:
/// that one must be stored, and the daemon must have observed its generation.
pub fn part(state: &State, output: &Output, chain: &ObjectKey, node: &str) -> Part {
    let key = OutputKey {
        kind: OutputKind::Config,
        object: ObjectKey::new("", node),
    };
    let compiled = output.configs.get(node).map(|config| &config.spec.revision);
    let stored = state.stored.get(&key);
    let report = state.reports.get(node);
    let (Some(compiled), Some(stored), Some(report)) = (compiled, stored, report) else {
        return Part::Awaited;
    };
    let current = stored.revision.as_ref() == Some(compiled)
        && report.observed_generation.is_some()
        && report.observed_generation == stored.generation;
    if !current {
        return Part::Awaited;
    }
    let own = report
        .chains
        .iter()
        .find(|own| own.namespace == chain.namespace && own.chain == chain.name);
    match own {
        Some(own) if own.programmed => Part::Programmed,
        Some(own) => Part::Missing(own.message.clone()),
        None => Part::Awaited,
    }
}

/// Status of a chain; equal to `held` if nothing is to be said anew.
///
/// `part` tells what a node of the verdict says. Transition times are kept where a condition's
/// status stays.
pub fn chain_status(
    verdict: &ChainVerdict,
    held: &ServiceChainStatus,
    part: impl Fn(&str) -> Part,
    now: &Time,
) -> ServiceChainStatus {
    let programmed = programmed(verdict, part);
    let ready = summary(&[&verdict.accepted, &verdict.resolved, &programmed]);
    let mut status = ServiceChainStatus {
        observed_generation: verdict.generation,
        path: verdict.path.clone(),
        path_summary: verdict.path_summary.clone(),
        conditions: held.conditions.clone(),
    };
    for (type_, verdict) in [
        (ACCEPTED, &verdict.accepted),
        (RESOLVED, &verdict.resolved),
        (PROGRAMMED, &programmed),
        (READY, &ready),
    ] {
        set(
            &mut status.conditions,
            type_,
            verdict,
            status.observed_generation,
            now,
        );
    }
    status
}

/// Status of a CNF; equal to `held` if nothing is to be said anew.
pub fn cnf_status(verdict: &CnfVerdict, held: &CnfStatus, now: &Time) -> CnfStatus {
    let mut status = CnfStatus {
        observed_generation: verdict.generation,
        pods: verdict.pods,
        ready_pods: verdict.ready_pods,
        conditions: held.conditions.clone(),
    };
    for (type_, verdict) in [(ACCEPTED, &verdict.accepted), (RESOLVED, &verdict.resolved)] {
        set(
            &mut status.conditions,
            type_,
            verdict,
            status.observed_generation,
            now,
        );
    }
    status
}

fn set(conditions: &mut Vec<Condition>, type_: &str, verdict: &Verdict, generation: Option<i64>, now: &Time) {
    conditions::set(
        conditions,
        type_,
        Some(verdict.ok),
        verdict.reason,
        &verdict.message,
        generation,
        now.clone(),
    );
}

fn programmed(verdict: &ChainVerdict, part: impl Fn(&str) -> Part) -> Verdict {
    let what = match verdict.traffic {
        Traffic::Steered => "passes the functions",
        Traffic::Dropped => "is dropped where it enters",
        Traffic::Bypassed => {
            return Verdict::no("Bypassed", "the chain's traffic goes straight");
        }
        Traffic::Suspended => {
            return Verdict::no("Suspended", "the chain is suspended: its traffic goes straight");
        }
    };
    if verdict.nodes.is_empty() {
        return Verdict::yes("NoTraffic", "no pod's traffic enters the chain");
    }
    let mut awaited = Vec::new();
    let mut missing = Vec::new();
    for node in &verdict.nodes {
        match part(node) {
            Part::Programmed => {}
            Part::Awaited => awaited.push(node.as_str()),
            Part::Missing(message) => missing.push(format!("{node}: {message}")),
        }
    }
    if !missing.is_empty() {
        Verdict::no("NodeNotProgrammed", missing.join("; "))
    } else if !awaited.is_empty() {
        let message = format!(
            "{} of {} nodes have not reported yet: {}",
            awaited.len(),
            verdict.nodes.len(),
            awaited.join(", ")
        );
        Verdict::no("WaitingForNodes", message)
    } else {
        let nodes = verdict.nodes.len();
        let message = format!("the chain's traffic {what}, as reported by {nodes} nodes");
        Verdict::yes("Programmed", message)
    }
}

/// The first that does not hold, or that all hold.
fn summary(verdicts: &[&Verdict]) -> Verdict {
    match verdicts.iter().find(|verdict| !verdict.ok) {
        Some(verdict) => (*verdict).clone(),
        None => Verdict::yes("Ready", "the chain is in force"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Stored;
    use crate::state::NodeReport;
    use compiler::Compiled;
    use crds::VppConfigSpec;
    use crds::service_chain::PathHop;
    use crds::vpp_config::ChainReport;
    use k8s_openapi::jiff::Timestamp;
    use std::collections::BTreeSet;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn verdict(traffic: Traffic, nodes: &[&str]) -> ChainVerdict {
        let resolved = match traffic {
            Traffic::Dropped | Traffic::Bypassed => {
                Verdict::no("NoReadyPods", "function firewall has no ready pod")
            }
            _ => Verdict::yes("Resolved", "every function has a pod"),
        };
        ChainVerdict {
            generation: Some(3),
            accepted: Verdict::yes("Accepted", "the chain is valid"),
            resolved,
            traffic,
            path: vec![PathHop {
                function: "firewall".into(),
                pod: "fw-0".into(),
                node: "a".into(),
            }],
            path_summary: "firewall@a".into(),
            nodes: nodes
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>(),
        }
    }

    fn words(status: &ServiceChainStatus, type_: &str) -> (String, String, String) {
        let found = status.conditions.iter().find(|c| c.type_ == type_).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }

    #[test]
    fn programmed_and_ready_by_what_the_nodes_say() {
        use Part::{Awaited, Missing, Programmed};
        let missing = || Missing("pod fw-0 has no interface in".into());
        let cases = [
            (
                "all have it",
                Traffic::Steered,
                [Programmed, Programmed],
                ("True", "Programmed"),
                ("True", "Ready"),
            ),
            (
                "one is awaited",
                Traffic::Steered,
                [Programmed, Awaited],
                ("False", "WaitingForNodes"),
                ("False", "WaitingForNodes"),
            ),
            (
                "one misses something: that counts more than waiting",
                Traffic::Steered,
                [Awaited, missing()],
                ("False", "NodeNotProgrammed"),
                ("False", "NodeNotProgrammed"),
            ),
            (
                "dropping is programmed too, and not ready",
                Traffic::Dropped,
                [Programmed, Programmed],
                ("True", "Programmed"),
                ("False", "NoReadyPods"),
            ),
            (
                "suspended",
                Traffic::Suspended,
                [Programmed, Programmed],
                ("False", "Suspended"),
                ("False", "Suspended"),
            ),
            (
                "bypassed: the cause is told first",
                Traffic::Bypassed,
                [Programmed, Programmed],
                ("False", "Bypassed"),
                ("False", "NoReadyPods"),
            ),
        ];
        for (case, traffic, parts, programmed, ready) in cases {
            let part = |node: &str| parts[usize::from(node == "b")].clone();
            let status = chain_status(
                &verdict(traffic, &["a", "b"]),
                &ServiceChainStatus::default(),
                part,
                &at(5),
            );
            let (value, reason, _) = words(&status, PROGRAMMED);
            assert_eq!((value.as_str(), reason.as_str()), programmed, "{case}");
            let (value, reason, _) = words(&status, READY);
            assert_eq!((value.as_str(), reason.as_str()), ready, "{case}");
            assert_eq!(status.observed_generation, Some(3), "{case}");
        }
    }

    #[test]
    fn messages_name_the_nodes() {
        let part = |node: &str| match node {
            "a" => Part::Missing("tunnel to c has no end point".into()),
            _ => Part::Awaited,
        };
        let held = ServiceChainStatus::default();
        let status = chain_status(&verdict(Traffic::Steered, &["a", "b"]), &held, part, &at(5));
        assert_eq!(words(&status, PROGRAMMED).2, "a: tunnel to c has no end point");
        let status = chain_status(
            &verdict(Traffic::Steered, &["a", "b"]),
            &held,
            |_| Part::Awaited,
            &at(5),
        );
        assert_eq!(
            words(&status, PROGRAMMED).2,
            "2 of 2 nodes have not reported yet: a, b"
        );
    }

    #[test]
    fn nothing_new_gives_an_equal_status_and_transition_times_stay() {
        let verdict = verdict(Traffic::Steered, &["a"]);
        let held = ServiceChainStatus::default();
        let first = chain_status(&verdict, &held, |_| Part::Awaited, &at(5));
        let again = chain_status(&verdict, &first, |_| Part::Awaited, &at(9));
        assert_eq!(first, again, "no write");
        let done = chain_status(&verdict, &again, |_| Part::Programmed, &at(12));
        let times: Vec<_> = done
            .conditions
            .iter()
            .map(|c| {
                (
                    c.type_.as_str(),
                    c.last_transition_time.0.as_second(),
                    c.observed_generation,
                )
            })
            .collect();
        assert_eq!(
            times,
            [
                ("Accepted", 5, Some(3)),
                ("Programmed", 12, Some(3)),
                ("Ready", 12, Some(3)),
                ("Resolved", 5, Some(3))
            ]
        );
    }

    #[test]
    fn a_report_counts_only_for_the_current_configuration() {
        let chain = ObjectKey::new("n", "web");
        let key = OutputKey {
            kind: OutputKind::Config,
            object: ObjectKey::new("", "a"),
        };
        let mut output = Output::default();
        let spec = VppConfigSpec {
            revision: "r2".into(),
            ..VppConfigSpec::default()
        };
        output.configs.insert("a".into(), Compiled { spec, owner: None });
        let world = |revision: &str, observed: Option<i64>, programmed: Option<bool>| {
            let mut state = State::new(compiler::Settings::default());
            let stored = Stored {
                revision: Some(revision.into()),
                generation: Some(4),
                ..Stored::default()
            };
            state.stored.insert(key.clone(), stored);
            let chains = programmed.map(|programmed| ChainReport {
                namespace: "n".into(),
                chain: "web".into(),
                programmed,
                message: "no tunnel".into(),
            });
            let report = NodeReport {
                observed_generation: observed,
                chains: chains.into_iter().collect(),
                ..NodeReport::default()
            };
            state.reports.insert("a".into(), report);
            part(&state, &output, &chain, "a")
        };
        let cases = [
            (world("r2", Some(4), Some(true)), Part::Programmed),
            (
                world("r2", Some(4), Some(false)),
                Part::Missing("no tunnel".into()),
            ),
            (world("r2", Some(4), None), Part::Awaited),
            (world("r2", Some(3), Some(true)), Part::Awaited),
            (world("r2", None, Some(true)), Part::Awaited),
            // Our write of r2 has not gone through yet.
            (world("r1", Some(4), Some(true)), Part::Awaited),
        ];
        for (line, (found, expected)) in cases.into_iter().enumerate() {
            assert_eq!(found, expected, "line {line}");
        }
        assert_eq!(
            part(&State::new(compiler::Settings::default()), &output, &chain, "a"),
            Part::Awaited,
            "no daemon yet"
        );
    }
}
