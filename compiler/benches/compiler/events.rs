//! How long it takes from one event to all that follows from it, with a cluster loaded.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compiler::k8s::lean::{LabelSelector, NetworkPolicyPort, PodIp};
use compiler::k8s::{NetworkPolicy, Pod};
use compiler::{Engine, Labels, k8s};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::workloads::{self, Workload, policy, read_policy, scale};

/// Events of each kind.
const EVENTS: usize = 1000;

/// Samples of what the workload is made of, as API objects.
struct Samples {
    pods: Vec<Pod>,
    policies: Vec<NetworkPolicy>,
    namespaces: Vec<core::Namespace>,
}

impl Samples {
    /// Evenly spread over the cluster.
    fn new(workload: &Workload) -> Self {
        fn spread<T: Clone>(all: Vec<&T>) -> Vec<T> {
            let step = (all.len() / EVENTS).max(1);
            all.into_iter().step_by(step).take(EVENTS).cloned().collect()
        }
        let batches = &workload.batches;
        let rules = |policy: &&NetworkPolicy| policy.spec.ingress.is_some();
        let policies = batches.iter().flat_map(|b| &b.policies);
        Self {
            pods: spread(batches.iter().flat_map(|b| &b.pods).collect()),
            policies: spread(policies.filter(rules).collect()),
            namespaces: spread(batches.iter().flat_map(|b| &b.namespaces).collect()),
        }
    }
}

/// Loads a workload, and policies that select by namespace; then measures.
///
/// The time begins with the API object and ends when all changed objects are there, hashed.
pub fn measure(name: &str, load: impl Fn(&mut Engine, Workload)) -> Result<()> {
    let workload = workloads::build(name).context("no such workload")?;
    let samples = Samples::new(&workload);
    let mut engine = Engine::new(compiler::Settings::default());
    load(&mut engine, workload);
    // Twenty policies let in the pods app-1 of one namespace in fifty or so, by its label.
    for team in 0..20 {
        let from = (scale(1), Some(team_labels(team)));
        let object = policy("ns-0", &format!("team-{team}"), scale(1), Some(from));
        engine.upsert_policy(k8s::policy(&read_policy(&object)));
    }
    for (number, namespace) in samples.namespaces.iter().enumerate().filter(|(n, _)| n % 50 == 0) {
        let mut namespace = namespace.clone();
        namespace.metadata.labels = Some(team_labels(number / 50 % 20));
        engine.upsert_namespace(k8s::namespace(&namespace.metadata));
    }
    engine.update_into(&mut |_| ());

    let pods = || samples.pods.iter().cycle().take(EVENTS).cloned();
    let mut label = |engine: &mut Engine, number: usize, mut pod: Pod| {
        // To one of two applications: out of one policy and set, and into others.
        pod.labels = Labels::from(&scale(1 + u32::try_from(number % 2).unwrap_or_default()));
        engine.upsert_pod(k8s::pod(&pod));
    };
    each("pod label change", &mut engine, pods(), &mut label)?;
    // Their own labels back, so that only the address changes.
    for pod in &samples.pods {
        engine.upsert_pod(k8s::pod(pod));
    }
    engine.update_into(&mut |_| ());
    let mut address = |engine: &mut Engine, number: usize, mut pod: Pod| {
        let ip = format!("172.16.{}.{}", number / 250, number % 250).into();
        pod.status.pod_ips = Some(vec![PodIp { ip }]);
        engine.upsert_pod(k8s::pod(&pod));
    };
    each("pod IP change", &mut engine, pods(), &mut address)?;
    let namespaces = samples.namespaces.iter().cycle().take(EVENTS).cloned();
    let mut team = |engine: &mut Engine, number: usize, mut namespace: core::Namespace| {
        // Each namespace joins a team, and leaves it for the next one the next time.
        namespace.metadata.labels = Some(team_labels((number / samples.namespaces.len() + number) % 20));
        engine.upsert_namespace(k8s::namespace(&namespace.metadata));
    };
    each("namespace label change", &mut engine, namespaces, &mut team)?;
    let policies = samples.policies.iter().cycle().take(EVENTS).cloned();
    let mut edit = |engine: &mut Engine, number: usize, mut policy: NetworkPolicy| {
        let spec = &mut policy.spec;
        let port = i32::try_from(number % 1000).unwrap_or_default() + 1;
        for rule in spec.ingress.iter_mut().flatten() {
            rule.ports = Some(vec![NetworkPolicyPort {
                port: Some(IntOrString::Int(port)),
                ..NetworkPolicyPort::default()
            }]);
            // And another peer: a set that is new, and one that goes.
            for peer in rule.from.iter_mut().flatten() {
                let labels = [("app-1", "scale-1".to_owned()), ("edition", number.to_string())];
                peer.pod_selector.get_or_insert_default().match_labels = labels.into_iter().collect();
            }
        }
        engine.upsert_policy(k8s::policy(&policy));
    };
    each("policy edit", &mut engine, policies, &mut edit)?;
    let mut select = |engine: &mut Engine, number: usize, mut policy: NetworkPolicy| {
        let app = 1 + u32::try_from(number % 2).unwrap_or_default();
        policy.spec.pod_selector = Some(LabelSelector {
            match_labels: Labels::from(&scale(app)),
            match_expressions: None,
        });
        engine.upsert_policy(k8s::policy(&policy));
    };
    // A tenth as many: each touches the nodes of all pods concerned.
    let policies = samples.policies.iter().cycle().take(EVENTS / 10).cloned();
    each("policy selects others", &mut engine, policies, &mut select)?;
    Ok(())
}

fn team_labels(team: usize) -> BTreeMap<String, String> {
    BTreeMap::from([("team".to_owned(), team.to_string())])
}

/// Times one event after another.
fn each<T>(
    name: &str,
    engine: &mut Engine,
    objects: impl Iterator<Item = T>,
    event: &mut dyn FnMut(&mut Engine, usize, T),
) -> Result<()> {
    let mut times: Vec<Duration> = Vec::with_capacity(EVENTS);
    let mut changes = 0;
    for (number, object) in objects.enumerate() {
        let begin = Instant::now();
        event(engine, number, object);
        let mut given = Vec::new();
        engine.update_into(&mut |change| given.push(change));
        times.push(begin.elapsed());
        changes += given.len();
    }
    ensure!(!times.is_empty(), "no {name}");
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "{name:<24} {:>9.3} ms {:>9.3} ms {:>9.3} ms {:>9.1}   {}",
        at(50),
        at(99),
        at(100),
        f64::from(u32::try_from(changes)?) / f64::from(u32::try_from(times.len())?),
        if at(99) <= 1.0 { "ok" } else { "missed" },
    );
    Ok(())
}
