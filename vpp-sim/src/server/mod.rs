//! A running dataplane: VPP's API socket in front of the engine, devices behind it.

mod cli;
mod clients;
mod convert;
mod core;
mod dataplane;
mod devices;
mod dispatch;
mod embedded;
mod handlers;
mod outgoing;
mod release;
mod table;
mod tracer;
mod transport;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use parking_lot::Mutex;
use tokio::sync::watch;

use self::core::Core;
pub use self::release::Release;
use crate::device::{Backend, HostBackend, InProcessBackend, MAX_FRAME, Opened};
use crate::engine::{Config, Vpp};
use crate::memif::Memifs;
use crate::stats;
use dataplane::Dataplane;
use devices::Devices;
use dispatch::Dispatcher;
pub use embedded::{Embedded, Offer};
use transport::SocketFile;

/// What this program tells of itself.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `show_version`'s version; at most 31 bytes.
    pub version: String,
    /// `show_version`'s build date; at most 31 bytes.
    pub build_date: String,
    /// `vpe_pid` of `control_ping`, by which clients tell a restart from a lost connection.
    pub pid: u32,
    /// Whose messages it offers.
    pub release: Release,
}

/// Says what it is: a stand-in for the release whose API it speaks.
const DEFAULT_VERSION: &str = "26.06-sim";

static STARTS: AtomicU32 = AtomicU32::new(0);

impl Identity {
    /// One of a release, which its version says as well.
    #[must_use]
    pub fn of(release: Release) -> Self {
        Self {
            version: format!("{release}-sim"),
            release,
            ..Self::default()
        }
    }
}

impl Default for Identity {
    /// The process's id; plus one for each further server in this process, as if it had been started anew.
    fn default() -> Self {
        Self {
            version: DEFAULT_VERSION.into(),
            build_date: concat!("vpp-sim ", env!("CARGO_PKG_VERSION")).into(),
            pid: std::process::id().wrapping_add(STARTS.fetch_add(1, Ordering::Relaxed)),
            release: Release::default(),
        }
    }
}

/// How a server came to its end, if it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Running,
    /// It was told to stop.
    Stopped,
    /// It met input that kills real VPP: the reason.
    Died(String),
}

impl State {
    fn fatal(&self) -> Option<String> {
        match self {
            Self::Died(reason) => Some(reason.clone()),
            Self::Running | Self::Stopped => None,
        }
    }
}

/// A server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process serves this socket.
    #[error("active listener on {}: another dataplane is running", .0.display())]
    ActiveListener(PathBuf),
    /// The socket cannot be made.
    #[error("cannot {step} API socket {}", path.display())]
    Socket {
        /// What was to be done.
        step: &'static str,
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Devices cannot be polled.
    #[error("cannot poll devices")]
    Poll(#[source] io::Error),
    /// No thread or runtime to be had.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

impl StartError {
    fn poll(errno: nix::errno::Errno) -> Self {
        Self::Poll(errno.into())
    }
}

/// A running server; dropping it stops it, and its devices and its socket vanish.
pub struct Handle {
    core: Arc<Mutex<Core>>,
    state: watch::Sender<State>,
    opened: Option<InProcessBackend>,
    // In the order in which they are to go: clients, packets, socket file.
    api: Option<JoinHandle<()>>,
    dataplane: Option<Dataplane>,
    socket: SocketFile,
    stats: Option<stats::Server>,
}

/// Starts a dataplane in this process that touches nothing of the host but its socket: devices are recorded
/// ([`Handle::opened`]), frames are injected and collected by hand.
///
/// # Errors
/// [`StartError`].
pub fn spawn(config: Config, socket: impl AsRef<Path>) -> Result<Handle, StartError> {
    spawn_as(config, Identity::default(), socket)
}

/// The same for another release than the newest.
///
/// # Errors
/// [`StartError`].
pub fn spawn_as(config: Config, identity: Identity, socket: impl AsRef<Path>) -> Result<Handle, StartError> {
    spawn_played(config, identity, socket.as_ref(), InProcessBackend::default())
}

/// The same with memifs that are real: their control sockets and the memory behind them are other processes' too.
///
/// # Errors
/// [`StartError`].
pub fn spawn_with_memif(
    config: Config,
    identity: Identity,
    socket: impl AsRef<Path>,
) -> Result<Handle, StartError> {
    spawn_played(config, identity, socket.as_ref(), InProcessBackend::with_memif())
}

fn spawn_played(
    config: Config,
    identity: Identity,
    socket: &Path,
    backend: InProcessBackend,
) -> Result<Handle, StartError> {
    let mut handle = start(config, identity, Box::new(backend.clone()), socket)?;
    handle.opened = Some(backend);
    Ok(handle)
}

/// Starts a dataplane with real devices in the calling thread's network namespace.
///
/// # Errors
/// [`StartError`].
pub fn spawn_on_host(
    config: Config,
    identity: Identity,
    socket: impl AsRef<Path>,
) -> Result<Handle, StartError> {
    start(config, identity, Box::new(HostBackend), socket.as_ref())
}

fn start(
    config: Config,
    identity: Identity,
    backend: Box<dyn Backend>,
    socket: &Path,
) -> Result<Handle, StartError> {
    let listener = transport::listen(socket)?;
    let socket = SocketFile(socket.to_owned());
    let poll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(StartError::poll)?);
    let (state, stop) = watch::channel(State::Running);
    // Ids differ from start to start, as after a change of plugins.
    let dispatcher = Arc::new(Dispatcher::new(identity.release, u64::from(identity.pid)));
    let memifs = if backend.plays_memif() {
        None
    } else {
        let program = format!("VPP {}", identity.version);
        let memifs = Memifs::new(&program).map_err(StartError::Poll)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, dataplane::MEMIFS);
        poll.add(&memifs, event).map_err(StartError::poll)?;
        Some(memifs)
    };
    let devices = Devices::new(backend, poll.clone());
    let vpp = Vpp::new(config);
    let vpp = if identity.release.has_cnat_1() {
        vpp
    } else {
        vpp.with_cnat_per_arc()
    };
    let mut core = Core::new(vpp, devices, identity, state.clone());
    core.memifs = memifs;
    let core = Arc::new(Mutex::new(core));
    let dataplane = Dataplane::start(core.clone(), dispatcher.clone(), poll)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let served = core.clone();
    let api = std::thread::Builder::new()
        .name("vpp-sim-api".into())
        .spawn(move || {
            runtime.block_on(async {
                match tokio::net::UnixListener::from_std(listener) {
                    Ok(listener) => transport::serve(listener, served, dispatcher, stop).await,
                    Err(error) => tracing::error!(%error, "API socket cannot be served"),
                }
            });
        })
        .map_err(StartError::Thread)?;
    Ok(Handle {
        core,
        state,
        opened: None,
        api: Some(api),
        dataplane: Some(dataplane),
        socket,
        stats: None,
    })
}

impl Handle {
    /// Path of the API socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket.0
    }

    /// Also serves the stats segment, on a socket of its own, as long as this handle lives.
    ///
    /// # Errors
    /// [`stats::StatsSocketError`].
    pub fn serve_stats(&mut self, socket: impl AsRef<Path>) -> Result<(), stats::StatsSocketError> {
        let core = self.core.clone();
        let snapshot = move || stats::collect::Snapshot::of(&core.lock().vpp);
        self.stats = Some(stats::Server::start(socket.as_ref(), snapshot)?);
        Ok(())
    }

    /// Why it died, if it met input that kills real VPP.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.state.borrow().fatal()
    }

    /// Waits until it stops or dies.
    pub async fn ended(&self) -> State {
        let mut state = self.state.subscribe();
        match state.wait_for(|state| *state != State::Running).await {
            Ok(state) => state.clone(),
            Err(_) => State::Stopped,
        }
    }

    /// The engine as it is now: a copy, for looking at and for walking packets through.
    #[must_use]
    pub fn engine(&self) -> Vpp {
        self.core.lock().vpp.clone()
    }

    /// Works on the tables in place, at the present time in nanoseconds: what is walked leaves its traces in sessions.
    pub fn with_engine<T>(&self, work: impl FnOnce(&mut Vpp, u64) -> T) -> T {
        let mut core = self.core.lock();
        let now = core.now();
        work(&mut core.vpp, now)
    }

    /// From now on calls `observer` after each API message, before the next message or packet: what it sees lasts, on
    /// VPP, for as long as the next message takes to come. It holds up everything else.
    pub fn observe(&self, observer: impl FnMut(&mut Vpp, u64) + Send + 'static) {
        self.core.lock().observer = Some(Box::new(observer));
    }

    /// The devices clients had opened, in order; empty with real devices.
    #[must_use]
    pub fn opened(&self) -> Vec<Opened> {
        self.opened
            .as_ref()
            .map(InProcessBackend::opened)
            .unwrap_or_default()
    }

    /// Hands a frame to an interface as if its device had received it.
    pub fn inject(&self, sw_if_index: u32, frame: &[u8]) {
        self.core.lock().input(sw_if_index, frame);
    }

    /// The frames sent on an interface since the last call; at most the last 1024.
    #[must_use]
    pub fn collect(&self, sw_if_index: u32) -> Vec<Vec<u8>> {
        let device = self.core.lock().devices.get(sw_if_index).cloned();
        let Some(device) = device.filter(|device| device.readiness().is_none()) else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        let mut scratch = vec![0; MAX_FRAME];
        while device
            .receive(&mut scratch, &mut |frame| frames.push(frame.to_vec()))
            .is_ok_and(|count| count > 0)
        {}
        frames
    }

    /// Breaks all connections, and goes on serving: what a client sees of a lost socket.
    pub fn disconnect_clients(&self) {
        self.core.lock().clients.close_all();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.state.send_if_modified(|state| {
            let running = *state == State::Running;
            if running {
                *state = State::Stopped;
            }
            running
        });
        self.stats.take();
        if let Some(api) = self.api.take() {
            let _ = api.join();
        }
        self.dataplane.take();
    }
}
