//! The daemon with 10,000 Services of 3 ports and 10 backends: how long a start takes until all of it is in the
//! dataplane, how long one changed endpoint, and how much memory.
//!
//! The agent is in this process, fed as its watches feed it with objects decoded from JSON; vpp-sim is a process of its
//! own, behind its socket. What the API server and the operator add, `contiv-e2e bench-services` measures.
//! `BENCH_SERVICES=N` and `BENCH_CHANGES=N` take other numbers.

#![allow(
    clippy::unwrap_used,
    reason = "a bench ends where something is not as expected"
)]
#![allow(clippy::print_stdout, reason = "its output is figures")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crds::vpp_config::NodeIdentity;
use crds::{VppConfig, VppConfigSpec, VppServiceSlice, VppServiceSliceSpec};
use node_daemon::agent::{Agent, Event, Parts, Snapshot};
use node_daemon::attachments::AttachmentStore;
use node_daemon::desired::Local;
use node_daemon::metrics::{Metrics, OutcomeLabel};
use node_daemon::objects::Area;
use node_daemon::statefile::StateFile;
use node_daemon::vpp::Vpp;
use node_daemon::watch::{Change, KindChange};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use vpp_api::messages::cnat::CnatTranslationDump;

const PORTS: [u16; 3] = [80, 443, 9090];
const BACKENDS: usize = 10;
/// Argument by which this program is the dataplane.
const DATAPLANE: &str = "--dataplane";

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, socket] = &arguments[..]
        && first == DATAPLANE
    {
        return dataplane(Path::new(socket));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.unwrap().block_on(bench());
}

/// Serves until its standard input ends.
fn dataplane(socket: &Path) {
    let server = vpp_sim::server::spawn(vpp_sim::engine::Config::default(), socket).unwrap();
    println!("serving");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(server.fatal(), None);
}

fn start_dataplane(socket: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg(DATAPLANE)
        .arg(socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child
}

/// Where the addresses of first backends end.
fn services_end() -> usize {
    200_000
}

/// A slice as the operator writes it. `change` makes its last backend another one.
fn slice(service: usize, change: usize) -> String {
    let octets = |base: u32, n: usize| std::net::Ipv4Addr::from(base + u32::try_from(n).unwrap());
    let backends: Vec<_> = (0..BACKENDS)
        .map(|backend| {
            let is_other = backend + 1 == BACKENDS && change > 0;
            let n = if is_other {
                services_end() + change
            } else {
                service * BACKENDS + backend
            };
            json!({"address": octets(0x0a10_0000, n), "ports": [8080, 8443, 9090],
                   "node": format!("node-{}", n % 100), "ready": true, "serving": true})
        })
        .collect();
    let object = json!({
        "apiVersion": "contivpp.io/v1alpha1",
        "kind": "VppServiceSlice",
        "metadata": {"name": format!("service-{service}-0123abcd-0"), "namespace": format!("ns-{}", service % 100),
                     "resourceVersion": change.to_string(), "uid": format!("0000-{service}")},
        "spec": {
            "revision": format!("{service:08x}{change:08x}"), "service": format!("service-{service}"),
            "serviceUid": format!("00000000-0000-0000-0000-{service:012}"), "slice": 0,
            "ports": PORTS.map(|port| json!({"name": format!("p{port}"), "protocol": "TCP", "port": port})),
            "frontends": [{"kind": "ClusterIP", "address": octets(0x0a60_0000, service + 1)}],
            "backends": backends,
        },
    });
    object.to_string()
}

fn read(text: &str) -> (String, Arc<VppServiceSliceSpec>) {
    let object: VppServiceSlice = serde_json::from_str(text).unwrap();
    let (name, namespace) = (object.metadata.name.unwrap(), object.metadata.namespace.unwrap());
    (format!("{namespace}/{name}"), Arc::new(object.spec))
}

/// `VmRSS` and `VmHWM` of a process in MiB.
fn memory(pid: u32) -> [f64; 2] {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    ["VmRSS:", "VmHWM:"].map(|field| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
        kib / 1024.0
    })
}

/// Processor time of a process in seconds (ticks of 10 ms).
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rsplit_once(") ").unwrap().1;
    let ticks: Vec<f64> = after
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    ticks.iter().sum::<f64>() / 100.0
}

struct Bed {
    events: mpsc::Sender<Event>,
    snapshots: watch::Receiver<Snapshot>,
    metrics: Metrics,
    services: usize,
}

impl Bed {
    async fn tell(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }

    /// All that the watches say at first.
    async fn sync(&self, change: usize) {
        let mut all = BTreeMap::new();
        for service in 0..self.services {
            let (name, spec) = read(&slice(service, change));
            all.insert(name, spec);
        }
        let spec = VppConfigSpec {
            revision: "1".into(),
            node: NodeIdentity {
                id: 1,
                addresses: vec!["192.168.0.1".parse().unwrap()],
                pod_cidrs: vec!["10.16.0.0/12".parse().unwrap()],
                zone: None,
            },
            ..VppConfigSpec::default()
        };
        let config = Box::new(VppConfig::new("node-1", spec));
        self.tell(Event::Config(Some(config))).await;
        self.tell(Event::Cluster(Change::Policies(KindChange::Replace(
            BTreeMap::new(),
        ))))
        .await;
        self.tell(Event::Cluster(Change::Sets(KindChange::Replace(BTreeMap::new()))))
            .await;
        self.tell(Event::Cluster(Change::Peers(
            KindChange::Replace(BTreeMap::new()),
        )))
        .await;
        self.tell(Event::Cluster(Change::Services(KindChange::Replace(all))))
            .await;
    }

    async fn until_applied(&mut self) {
        let least = self.services * PORTS.len();
        let there = |now: &Snapshot| {
            now.vpp.is_some()
                && now.applied()
                && now
                    .areas
                    .get(&Area::Services)
                    .is_some_and(|area| area.applied >= least)
        };
        self.snapshots.wait_for(there).await.unwrap();
    }
}

/// Steps that VPP has taken.
fn done(metrics: &Metrics) -> u64 {
    metrics
        .steps
        .get_or_create(&OutcomeLabel { outcome: "done" })
        .get()
}

fn start(directory: &Path, services: usize) -> (Bed, CancellationToken, tokio::task::JoinHandle<()>) {
    let (events, queue) = mpsc::channel(4096);
    let (snapshots_in, snapshots) = watch::channel(Snapshot::default());
    let metrics = Metrics::register(&mut Registry::default());
    let parts = Parts {
        events: events.clone(),
        local: Local {
            node: "node-1".into(),
            cnat: true,
            abf: true,
            ..Local::default()
        },
        resync: Duration::from_secs(300),
        metrics: metrics.clone(),
        snapshots: snapshots_in,
        store: AttachmentStore::open(directory).unwrap(),
        statefile: StateFile::new(directory),
        stats_socket: directory.join("stats.sock"),
    };
    let agent = Agent::restore(parts).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(agent.run(queue, stop.clone()));
    (
        Bed {
            events,
            snapshots,
            metrics,
            services,
        },
        stop,
        task,
    )
}

async fn bench() {
    let (services, changes) = (number("BENCH_SERVICES", 10_000), number("BENCH_CHANGES", 1_000));
    println!(
        "{services} Services, {} ports and {BACKENDS} backends each",
        PORTS.len()
    );
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("vpp.sock");
    let mut vpp = start_dataplane(&socket);
    let own = std::process::id();
    let connect = async || {
        let client = vpp_api::Client::connect(&socket, "bench").await.unwrap();
        Event::VppUp(Box::new(Vpp::open(client).await.unwrap()))
    };

    let (mut bed, stop, task) = start(directory.path(), services);
    let (started, before) = (Instant::now(), [cpu(own), cpu(vpp.id())]);
    bed.tell(connect().await).await;
    bed.sync(0).await;
    bed.until_applied().await;
    let [rss, peak] = memory(own);
    println!(
        "cold start, VPP empty         {:8.2} s (processor: daemon {:.2} s, vpp-sim {:.2} s); memory {rss:.0} MiB, peak {peak:.0} MiB",
        started.elapsed().as_secs_f64(),
        cpu(own) - before[0],
        cpu(vpp.id()) - before[1],
    );

    let eye = vpp_api::Client::connect(&socket, "eye").await.unwrap();
    let there = eye.dump(CnatTranslationDump::default()).await.unwrap();
    assert_eq!(there.len(), services * PORTS.len());
    drop(there);

    let mut took = Vec::with_capacity(changes);
    let before = [cpu(own), cpu(vpp.id())];
    for change in 1..=changes {
        let text = slice(change * 7919 % services, change);
        let steps = done(&bed.metrics);
        let began = Instant::now();
        let (name, spec) = read(&text);
        bed.tell(Event::Cluster(Change::Services(KindChange::Set(name, spec))))
            .await;
        // VPP has answered when the daemon counts the steps.
        while done(&bed.metrics) < steps + PORTS.len() as u64 {
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
        took.push(began.elapsed());
    }
    took.sort();
    let at = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3;
    println!(
        "one endpoint changed          p50 {:.2} ms, p99 {:.2} ms, most {:.2} ms, of {changes} (processor each: daemon {:.2} ms, vpp-sim {:.2} ms)",
        at(50),
        at(99),
        at(100),
        (cpu(own) - before[0]) * 1e3 / changes as f64,
        (cpu(vpp.id()) - before[1]) * 1e3 / changes as f64,
    );
    let [rss, peak] = memory(own);
    println!(
        "memory of the daemon          {rss:.0} MiB, peak {peak:.0} MiB (this process: agent, watched objects and what feeds them)"
    );
    stop.cancel();
    task.await.unwrap();

    // The daemon is restarted: VPP has everything, nothing may be sent.
    let (mut bed, stop, task) = start(directory.path(), services);
    let (started, before) = (Instant::now(), cpu(own));
    bed.tell(connect().await).await;
    bed.until_applied().await;
    println!(
        "restart, VPP full, from disk  {:8.2} s (processor: daemon {:.2} s)",
        started.elapsed().as_secs_f64(),
        cpu(own) - before
    );
    stop.cancel();
    task.await.unwrap();
    eye.disconnect().await;
    drop(vpp.stdin.take());
    assert!(vpp.wait().unwrap().success());
}
