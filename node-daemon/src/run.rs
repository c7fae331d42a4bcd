//! Wiring: files, sockets, tasks.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use runtime::{Admin, Readiness, Tasks, heartbeat};
use tokio::sync::{Notify, mpsc, watch as latest};
use tokio_util::sync::CancellationToken;
use vpp_api::client::VppEvent;
use vpp_api::messages::interface::WantInterfaceEvents;
use vpp_api::{Connector, Options};

use crate::agent::{Agent, Event, Parts, Snapshot};
use crate::attachments::{AttachmentStore, StoreError};
use crate::cni::{self, CniCall, ServeError};
use crate::config::{Config, UplinkFileError};
use crate::metrics::Metrics;
use crate::statefile::StateFile;
use crate::vpp::Vpp;
use crate::{health, host, install, status, watch};

/// How long tasks have to end.
const GRACE: Duration = Duration::from_secs(10);

/// Time between questions whether VPP still answers, when nothing else is asked.
const PING: Duration = Duration::from_secs(5);

/// Time before VPP is connected to again: after a connection broke, and after one to a VPP that cannot serve us.
const RECONNECT: Duration = Duration::from_millis(100);
const UNFIT: Duration = Duration::from_secs(2);

/// Events that may wait for the agent.
const QUEUE: usize = 4096;

/// The daemon cannot start, or ended when nobody asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No way to the API server is configured.
    #[error("API server: {0}")]
    Kubernetes(#[from] runtime::client::Error),
    /// The uplink's settings.
    #[error(transparent)]
    Uplink(#[from] UplinkFileError),
    /// Files of attachments.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The CNI socket.
    #[error(transparent)]
    Cni(#[from] ServeError),
    /// The admin endpoints.
    #[error(transparent)]
    Admin(#[from] runtime::admin::Error),
    /// Signals cannot be caught.
    #[error("signals: {0}")]
    Signals(std::io::Error),
    /// A task ended.
    #[error(transparent)]
    Tasks(#[from] runtime::shutdown::Error),
}

/// Runs the daemon until a signal, or until one of its tasks fails.
///
/// # Errors
/// When something it needs at its start is not there. A missing VPP, API server or VppConfig is none of that: the
/// daemon says so in its readiness and status, and keeps what works.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut tasks = Tasks::with_signals().map_err(RunError::Signals)?;
    start(config, &mut tasks).await?;
    Ok(tasks.run(GRACE).await?)
}

async fn start(config: Config, tasks: &mut Tasks) -> Result<(), RunError> {
    let config = config.with_uplink_file()?;
    let client = runtime::client::client(config.kubeconfig.as_deref()).await?;
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let readiness = Readiness::default();

    let store = AttachmentStore::open(&config.state_dir)?;
    let statefile = StateFile::new(&config.state_dir);
    let (events, queue) = mpsc::channel(QUEUE);
    let (snapshots, snapshot) = latest::channel(Snapshot::default());
    let mtu = config.uplink_interface.as_deref().and_then(host::interface_mtu);
    let parts = Parts {
        events: events.clone(),
        local: config.local(mtu),
        resync: config.resync(),
        metrics: metrics.clone(),
        snapshots,
        store,
        statefile,
        stats_socket: config.vpp_stats_socket.clone(),
    };
    let agent = Agent::restore(parts)?;

    let admin = Admin::bind(config.admin_address, config.admin_port_file.as_deref()).await?;
    tracing::info!(address = %admin.address(), "admin endpoints");
    tasks.spawn("admin", admin.serve(registry, readiness.clone(), tasks.token()));

    let listener = cni::bind(&config.cni_socket).await?;
    let (calls, called) = mpsc::channel::<CniCall>(64);
    let stop = tasks.token();
    let state_dir = config.state_dir.clone();
    tasks.spawn("cni", async move {
        cni::replay(&state_dir, &calls).await;
        cni::serve(listener, calls, stop).await;
        Ok::<(), Infallible>(())
    });
    if let Some(dir) = config.cni_conf_dir.clone() {
        let gate = readiness.gate("cni", "the CNI configuration is written once pods can be served");
        let content = install::configuration(&config.cni_socket, &config.state_dir);
        let announcement = install::announce(dir, content, snapshot.clone(), gate, tasks.token());
        tasks.spawn("cni configuration", announcement);
    }
    tasks.spawn("cni calls", forward(called, events.clone(), tasks.token()));

    let stop = tasks.token();
    tasks.spawn("agent", async move {
        agent.run(queue, stop).await;
        Ok::<(), Infallible>(())
    });
    tasks.spawn(
        "vpp",
        keep_connected(config.clone(), events.clone(), tasks.token()),
    );
    tasks.spawn(
        "readiness",
        tell_readiness(snapshot.clone(), readiness, tasks.token()),
    );
    tasks.spawn("health check ports", health::run(snapshot.clone(), tasks.token()));
    watch::spawn(tasks, &client, &config.node_name, &events);
    let revived = Arc::new(Notify::new());
    let task = status::run(
        client.clone(),
        config.node_name.clone(),
        snapshot,
        metrics,
        Arc::clone(&revived),
        tasks.token(),
    );
    tasks.spawn("status", task);
    let lease = heartbeat::Settings {
        namespace: crds::SYSTEM_NAMESPACE.to_owned(),
        name: format!("node-{}", config.node_name),
        holder: config.node_name.clone(),
        manager: crds::NODE_MANAGER.to_owned(),
        period: config.heartbeat(),
    };
    tasks.spawn(
        "heartbeat",
        heartbeat::beat(client, lease, revived, tasks.token()),
    );
    Ok(())
}

async fn forward(
    mut calls: mpsc::Receiver<CniCall>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    while let Some(Some(call)) = stop.run_until_cancelled(calls.recv()).await {
        if events.send(Event::Cni(Box::new(call))).await.is_err() {
            break;
        }
    }
    // The CNI server drains on its own; this task must not be the one that ends first.
    stop.cancelled().await;
    Ok(())
}

/// Keeps a connection to VPP: connects, tells the agent, watches it, and begins anew when it breaks.
async fn keep_connected(
    config: Config,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let options = Options {
        name: "contiv-node".to_owned(),
        ..Options::default()
    };
    let connector = Connector::new(&config.vpp_api_socket, options);
    let connections = async {
        loop {
            let reasons = events.clone();
            let failed = |error: &vpp_api::Error, _| {
                // A full queue means that the agent is busy; it hears of the next failure.
                let _ = reasons.try_send(Event::VppDown(error.to_string()));
            };
            let connected = connector.connect_with_retry(failed).await;
            let client = connected.clone();
            let (reason, pause) = match Vpp::open(connected).await {
                Ok(vpp) => {
                    let _ = events.send(Event::VppUp(Box::new(vpp.clone()))).await;
                    (attend(&vpp, &events).await, RECONNECT)
                }
                Err(error) => (error.to_string(), UNFIT),
            };
            client.disconnect().await;
            let _ = events.send(Event::VppDown(reason)).await;
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(connections).await.unwrap_or(());
    Ok(())
}

/// Until the connection ends; returns why.
async fn attend(vpp: &Vpp, events: &mpsc::Sender<Event>) -> String {
    let mut changes = vpp.client.events();
    let want = WantInterfaceEvents {
        enable_disable: 1,
        pid: std::process::id(),
    };
    if let Err(error) = vpp.client.call(want).await {
        tracing::warn!(%error, "no interface events from VPP");
    }
    let mut pings = tokio::time::interval(PING);
    loop {
        tokio::select! {
            closed = vpp.client.closed() => return closed.to_string(),
            change = changes.recv() => match change {
                Ok(VppEvent::SwInterface(event)) if event.deleted => {
                    let _ = events.send(Event::VppEvent(Some(event.sw_if_index))).await;
                }
                Ok(_) => {}
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {
                    let _ = events.send(Event::VppEvent(None)).await;
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => {
                    return vpp.client.closed().await.to_string();
                }
            },
            _ = pings.tick() => {
                if let Err(error) = vpp.ping().await {
                    return error.to_string();
                }
            }
        }
    }
}

async fn tell_readiness(
    mut snapshots: latest::Receiver<Snapshot>,
    readiness: Readiness,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let vpp = readiness.gate("vpp", "not connected yet");
    let configuration = readiness.gate("configuration", "this node's VppConfig is not known yet");
    let applied = readiness.gate("dataplane", "not compared with VPP yet");
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        match &snapshot.vpp {
            Some(_) => vpp.open(),
            None => vpp.close(snapshot.vpp_down.clone()),
        }
        if snapshot.configured {
            configuration.open();
        } else {
            configuration.close("this node's VppConfig is not known yet");
        }
        if snapshot.compared {
            applied.open();
        } else {
            applied.close("not compared with VPP yet");
        }
        match stop.run_until_cancelled(snapshots.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                // The agent ended; its own task says so.
                stop.cancelled().await;
                return Ok(());
            }
            None => return Ok(()),
        }
    }
}
