//! contiv-operator: watches Kubernetes, compiles, writes, and tells users what became of it.
//!
//! ```text
//! API server ─watch─► facts ─► compile ─► compare ─► server-side apply ─► VppConfig and slices
//!      │                                     ▲                              │
//!      └─ stored objects, daemons' reports ──┘        statuses, Events ◄────┘
//! ```
//!
//! One process leads (a Lease); the others keep their caches warm. Where to look: what is watched
//! [`watch`], what is known [`state`], why something was or was not written [`plan`], when
//! [`control`], what a ServiceChain's status says [`status`], how a silent daemon is noticed [`silence`].

pub mod config;
pub mod control;
pub mod events;
pub mod install;
pub mod metrics;
pub mod objects;
pub mod plan;
pub mod silence;
pub mod state;
pub mod status;
pub mod watch;
pub mod write;

use std::convert::Infallible;
use std::time::Duration;

use compiler::Settings;
use kube::Client;
use prometheus_client::registry::Registry;
use runtime::lease::{self, Timing};
use runtime::{Admin, Readiness, Tasks, shutdown, telemetry};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use config::Config;
use control::{Control, Links};
use metrics::Metrics;

/// Inputs that may wait while a pass is under way; beyond that the watches wait.
const INPUTS: usize = 4096;
/// Events on users' objects that may wait.
const EVENTS: usize = 1024;
/// How long tasks have to end; the lease needs one request to be given back.
const GRACE: Duration = Duration::from_secs(5);

/// Runs the operator until it is asked to end.
///
/// # Errors
/// Flags that contradict each other, an address that is taken, a lost lease, a task that ended.
pub fn run(config: Config) -> anyhow::Result<()> {
    telemetry::init(config.log_format, &config.log)?;
    let settings = config.settings()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(config, settings))
}

async fn serve(config: Config, settings: Settings) -> anyhow::Result<()> {
    let client = runtime::client::client(config.kubeconfig.as_deref()).await?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::default();
    let mut tasks = Tasks::with_signals()?;
    // Before the endpoints answer, so that they never say "ready" for want of a gate.
    let installed = readiness.gate("cluster", "not asked yet");
    let admin = Admin::bind(config.admin_address, config.admin_port_file.as_deref()).await?;
    info!(address = %admin.address(), version = env!("CARGO_PKG_VERSION"), "Admin endpoints");
    tasks.spawn("admin", admin.serve(registry, readiness.clone(), tasks.token()));
    let token = tasks.token();
    tasks.spawn("operator", async move {
        let namespaces = [settings.system_namespace.clone(), config.namespace.clone()].into();
        let wait = install::wait(&client, &namespaces, &installed);
        match token.run_until_cancelled(wait).await {
            Some(()) => operate(client, &config, settings, metrics, readiness, token).await,
            None => Ok(()),
        }
    });
    Ok(tasks.run(GRACE).await?)
}

/// Starts the parts and waits for their end.
async fn operate(
    client: Client,
    config: &Config,
    settings: Settings,
    metrics: Metrics,
    readiness: Readiness,
    token: CancellationToken,
) -> Result<(), shutdown::Error> {
    // A child: a part that ends early ends the parts, and the caller sees that nobody asked for it.
    let mut tasks = Tasks::new(token.child_token());
    let token = tasks.token();
    let identity = config.identity.clone().unwrap_or_else(default_identity);
    let (input_sender, inputs) = tokio::sync::mpsc::channel(INPUTS);
    let (event_sender, events) = tokio::sync::mpsc::channel(EVENTS);
    let (leader_sender, leader) = tokio::sync::watch::channel(config.no_leader_election);
    // The lease is given back when the loop has ended, not before: until then it may be writing.
    let idle = CancellationToken::new();

    let gate = readiness.gate("configuration", "not compiled yet");
    watch::spawn(&mut tasks, &client, &readiness, &metrics, &input_sender);
    drop(input_sender);
    metrics.leader.set(i64::from(config.no_leader_election));
    if config.no_leader_election {
        let token = token.clone();
        tasks.spawn("leader election", async move {
            // Kept alive: a dropped sender would mean that the election ended.
            let _sender = leader_sender;
            token.cancelled().await;
            Ok::<_, Infallible>(())
        });
    } else {
        let lease = lease::Settings {
            namespace: config.namespace.clone(),
            name: crds::OPERATOR_MANAGER.to_owned(),
            identity: identity.clone(),
            timing: Timing::default(),
        };
        tasks.spawn(
            "leader election",
            lease::hold(client.clone(), lease, leader_sender, idle.clone()),
        );
    }
    let publisher = events::publish(client.clone(), identity, events);
    let stop = token.clone();
    tasks.spawn("events", async move {
        stop.run_until_cancelled(publisher).await;
        Ok::<_, Infallible>(())
    });
    tasks.spawn(
        "heartbeats",
        silence::run(
            client.clone(),
            config.namespace.clone(),
            leader.clone(),
            token.clone(),
        ),
    );
    let links = Links {
        client,
        inputs,
        events: event_sender,
        leader,
        gate,
    };
    let control = Control::new(settings, metrics, links);
    tasks.spawn("control", async move {
        let _idle = idle.drop_guard();
        control.run(token).await
    });
    tasks.run(GRACE).await
}

/// Unique among processes of this and other hosts; a pod's host name is the pod's name.
fn default_identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}
