//! Time and memory of the compiler on clusters of up to 100,000 pods: `make bench-compiler`.
//!
//! Every measurement is a process of its own, so that none sees another's memory.

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod events;
mod workloads;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use compiler::{Change, Cluster, Engine, Output, Settings, compile, k8s};
use peak_alloc::PeakAlloc;
use workloads::Workload;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

fn main() -> Result<()> {
    // `cargo bench` adds a flag of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => {
            println!(
                "All objects there, to all results. The heap is that of the whole process: the objects as the"
            );
            println!(
                "operator's watches decode them (Pods and NetworkPolicies without the fields that nobody reads;"
            );
            println!(
                "kept in pages of 500, each freed when its objects have been read), the facts, the index, and"
            );
            println!("each result until it is handed over. Targets: 1/5 of the time and 1/4 of the heap");
            println!(
                "of Antrea 2.4.5's controller on the same workload on two cores with nothing else running.\n"
            );
            println!(
                "{:<18} {:>9} {:>9} {:>11} {:>9} {:>9} {:>9} {:>10}",
                "workload", "time", "CPU time", "objects MB", "heap MB", "RSS MB", "time <=", "heap MB <="
            );
            for workload in workloads::NAMES {
                run(&["load", workload, "engine"])?;
            }
            println!(
                "\nOne event, with the cluster loaded: 1000 times each. Target: p99 <= 1 ms for one pod's events."
            );
            for workload in ["small-namespaces", "large-namespaces"] {
                run(&["events", workload])?;
            }
            Ok(())
        }
        ["reference"] => {
            for workload in workloads::NAMES {
                run(&["load", workload, "reference"])?;
            }
            Ok(())
        }
        ["load", workload, compiler] => load(workload, compiler),
        ["events", workload] => {
            println!(
                "\n{workload:<24} {:>12} {:>12} {:>12} {:>9}",
                "p50", "p99", "max", "changes"
            );
            events::measure(workload, feed)
        }
        other => bail!("unknown arguments {other:?}"),
    }
}

/// Executes this program with arguments.
fn run(arguments: &[&str]) -> Result<()> {
    let program = std::env::current_exe()?;
    let status = Command::new(program).args(arguments).status()?;
    match status.success() {
        true => Ok(()),
        false => bail!("{arguments:?} ended with {status}"),
    }
}

fn megabytes(bytes: usize) -> usize {
    bytes / 1_000_000
}

/// Highest resident set size of this process in bytes (`VmHWM`, proc_pid_status(5)).
fn peak_rss() -> Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("no VmHWM")?.trim().parse::<usize>()? * 1024)
}

/// Processor time of this process so far (fields 14 and 15 of proc_pid_stat(5), in 1/100 s): it says
/// more than the clock where others are busy too.
fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is the program's name in parentheses and may hold spaces.
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let mut fields = fields.split(' ').skip(11);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("stat is short")?.parse()?) };
    Ok(Duration::from_millis((ticks()? + ticks()?) * 10))
}

fn load(name: &str, compiler: &str) -> Result<()> {
    let workload = workloads::build(name).context("no such workload")?;
    let objects = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let begin = Instant::now();
    let cpu = cpu_time()?;
    let (time, results) = match compiler {
        "reference" => {
            let output = reference(workload);
            (begin.elapsed(), count(&output))
        }
        "engine" => {
            // Each object goes when it is there, as after being written.
            let mut given = [0; 3];
            let mut engine = Engine::new(Settings::default());
            feed(&mut engine, workload);
            engine.update_into(&mut |change| match change {
                Change::Config(_, Some(_)) => given[0] += 1,
                Change::Policy(_, Some(_)) => given[1] += 1,
                Change::Set(_, Some(_)) => given[2] += 1,
                _ => {}
            });
            let [configs, policies, sets] = given;
            let results = format!("{configs} configs, {policies} policies, {sets} sets");
            (begin.elapsed(), results)
        }
        other => bail!("no compiler {other:?}"),
    };
    let cpu = cpu_time()?.saturating_sub(cpu);
    let heap = megabytes(HEAP.peak_usage());
    print!(
        "{name:<18} {:>7.2} s {:>7.2} s {:>11} {heap:>9} {:>9}",
        time.as_secs_f64(),
        cpu.as_secs_f64(),
        megabytes(objects),
        megabytes(peak_rss()?),
    );
    match (compiler, target(name)) {
        ("engine", Some((most_time, most_heap))) => {
            let judge = |ok| if ok { "ok" } else { "missed" };
            println!(
                " {:>9} {:>10}   time {}, heap {}   {results}",
                format!("{most_time} s"),
                most_heap,
                judge(time.as_secs_f64() <= most_time),
                judge(heap <= most_heap),
            );
        }
        _ => println!("   {compiler}: {results}"),
    }
    Ok(())
}

/// Most seconds and most megabytes of a workload: a fifth and a quarter of what
/// Antrea 2.4.5's controller takes.
fn target(workload: &str) -> Option<(f64, usize)> {
    Some(match workload {
        "small-namespaces" => (3.3, 491),
        "large-namespaces" => (0.88, 294),
        "one-namespace" => (0.75, 226),
        "policy-per-pod" => (12.8, 56),
        _ => return None,
    })
}

/// Gives a workload's objects to an engine or a cluster, which take them by the same calls.
macro_rules! feed {
    ($to:expr, $workload:expr) => {{
        let (to, workload) = ($to, $workload);
        for node in workload.nodes {
            to.upsert_node(k8s::node(&node));
        }
        for batch in workload.batches {
            for namespace in batch.namespaces {
                to.upsert_namespace(k8s::namespace(&namespace.metadata));
            }
            for pod in batch.pods {
                to.upsert_pod(k8s::pod(&pod));
            }
            for policy in batch.policies {
                to.upsert_policy(k8s::policy(&policy));
            }
        }
    }};
}

fn feed(engine: &mut Engine, workload: Workload) {
    feed!(engine, workload);
}

fn reference(workload: Workload) -> Output {
    let mut cluster = Cluster::new();
    feed!(&mut cluster, workload);
    compile(&cluster, &Settings::default())
}

fn count(output: &Output) -> String {
    format!(
        "{} configs, {} policies, {} sets",
        output.configs.len(),
        output.policies.len(),
        output.sets.len()
    )
}
