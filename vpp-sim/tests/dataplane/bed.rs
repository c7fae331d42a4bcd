//! A dataplane under test: how it came to be, its API, and what has to be undone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use vpp_api::messages::vlib::CliInband;
use vpp_api::snapshot::{Snapshot, difference, snapshot};
use vpp_api::{Client, Dump, Request, Retval};
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, Identity, Release, spawn_on_host, spawn_with_memif};

use crate::common::{Namespace, privileged};
use crate::packets::Seen;
use crate::pods::Plug;
use crate::wires::{Played, Veths, Wires};

/// Which dataplane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The embedded one, its devices played.
    InProcess,
    /// The same as an older release.
    Older(Release),
    /// The embedded one with real devices.
    OnASocket,
    /// The one the environment names.
    Given,
}

/// A VPP in use has one set of global tables: its scenarios come one after the other.
static GIVEN: Mutex<()> = Mutex::new(());

type Undo = Box<dyn FnOnce(&Bed)>;

/// A dataplane with what is plugged into it.
pub struct Bed {
    pub kind: Kind,
    pub client: Client,
    pub runtime: tokio::runtime::Runtime,
    /// Its stats socket, if it is known.
    pub stats: Option<PathBuf>,
    pub wires: Box<dyn Wires>,
    pub plugs: BTreeMap<String, Plug>,
    /// Host devices made.
    pub plugged: Vec<String>,
    pub inbox: Vec<(String, Seen)>,
    pub next_port: u16,
    /// Frames that entered a function, by its side.
    pub function_frames: BTreeMap<String, u64>,
    server: Option<Arc<Handle>>,
    undo: RefCell<Vec<(String, Undo)>>,
    before: Snapshot,
    _directory: tempfile::TempDir,
    _namespace: Option<Namespace>,
    _alone: Option<MutexGuard<'static, ()>>,
}

/// Sessions of an earlier scenario live on in a VPP: ports are not to meet theirs.
fn first_port() -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    10_000 + u16::try_from(now.as_millis() / 4 % 50_000).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

impl Bed {
    /// Starts or finds the dataplane; `None`, and why, if there is none or it can't be reached by packets.
    pub fn start(kind: Kind) -> Option<Self> {
        let given = std::env::var_os("VPP_API_SOCKET").map(PathBuf::from);
        if kind == Kind::Given && given.is_none() {
            eprintln!("skipped: VPP_API_SOCKET names no dataplane");
            return None;
        }
        let played = matches!(kind, Kind::InProcess | Kind::Older(_));
        if !played && !privileged() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let own_stats = directory.path().join("stats.sock");
        let stats = match kind {
            Kind::Given => std::env::var_os("VPP_STATS_SOCKET").map(PathBuf::from),
            _ => Some(own_stats.clone()),
        };
        let config = Config {
            reclassify_sessions: true,
            seed: 7,
            ..Config::default()
        };
        let (mut server, mut namespace, mut alone) = (None, None, None);
        let (socket, wires): (PathBuf, Box<dyn Wires>) = match kind {
            Kind::InProcess | Kind::Older(_) => {
                let release = match kind {
                    Kind::Older(release) => release,
                    _ => Release::default(),
                };
                let mut handle = spawn_with_memif(config, Identity::of(release), &path).unwrap();
                handle.serve_stats(&own_stats).unwrap();
                let handle = Arc::new(handle);
                server = Some(handle.clone());
                let indices = BTreeMap::new();
                (
                    path,
                    Box::new(Played {
                        server: handle,
                        indices,
                    }),
                )
            }
            Kind::OnASocket => {
                let own = Namespace::new();
                let at = path.clone();
                let mut handle = own.within(move || spawn_on_host(config, Identity::default(), at).unwrap());
                handle.serve_stats(&own_stats).unwrap();
                let wires = Veths::new(Some(own.name.clone()));
                (server, namespace) = (Some(Arc::new(handle)), Some(own));
                (path, Box::new(wires))
            }
            Kind::Given => {
                alone = Some(GIVEN.lock().unwrap_or_else(PoisonError::into_inner));
                let name = std::env::var("VPP_NETNS").ok().filter(|name| !name.is_empty());
                (given?, Box::new(Veths::new(name)))
            }
        };
        let runtime = runtime();
        let client = runtime
            .block_on(Client::connect(&socket, "dataplane-test"))
            .unwrap();
        let mut bed = Self {
            kind,
            client,
            runtime,
            stats,
            wires,
            plugs: BTreeMap::new(),
            plugged: Vec::new(),
            inbox: Vec::new(),
            next_port: first_port(),
            function_frames: BTreeMap::new(),
            server,
            undo: RefCell::default(),
            before: Snapshot::default(),
            _directory: directory,
            _namespace: namespace,
            _alone: alone,
        };
        bed.sweep();
        bed.before = bed.snapshot();
        bed.plug_beacon();
        if bed.is_traced() {
            for cmd in ["clear trace", "trace add af-packet-input 300"] {
                bed.cli(cmd);
            }
        }
        Some(bed)
    }

    /// Whether a scenario that fails is to show the way of its packets.
    fn is_traced(&self) -> bool {
        self.kind == Kind::Given && std::env::var_os("VPP_TRACE").is_some()
    }

    /// Everything there is but the source-NAT addresses, which stay.
    fn snapshot(&self) -> Snapshot {
        let mut all = self.runtime.block_on(snapshot(&self.client)).unwrap();
        all.remove("source-NAT addresses");
        all
    }

    /// What a debug command prints.
    pub fn cli(&self, cmd: &str) -> String {
        self.call(CliInband { cmd: cmd.to_owned() }).reply
    }

    pub fn try_call<R: Request>(&self, request: R) -> Result<R::Reply, Retval> {
        match self.runtime.block_on(self.client.call(request)) {
            Ok(reply) => Ok(reply),
            Err(error) => Err(error.retval().unwrap_or_else(|| panic!("{error}"))),
        }
    }

    pub fn call<R: Request>(&self, request: R) -> R::Reply {
        self.try_call(request)
            .unwrap_or_else(|retval| panic!("{}: {retval}", std::any::type_name::<R>()))
    }

    /// The return code of a request that should fail.
    pub fn code<R: Request>(&self, request: R) -> i32 {
        self.try_call(request).err().map_or(0, |retval| retval.0)
    }

    pub fn dump<D: Dump>(&self, request: D) -> Vec<D::Details> {
        self.runtime.block_on(self.client.dump(request)).unwrap()
    }

    /// Something to be done at the end, last first.
    pub fn at_end(&self, what: impl Into<String>, undo: impl FnOnce(&Self) + 'static) {
        self.undo.borrow_mut().push((what.into(), Box::new(undo)));
    }

    /// A request to be made at the end, last first.
    pub fn undo_by<R: Request + 'static>(&self, what: impl Into<String>, request: R) {
        self.at_end(what, move |bed| {
            bed.call(request);
        });
    }

    /// Undoes what has this name now.
    pub fn undo(&self, what: &str) {
        let at = self.undo.borrow().iter().rposition(|(name, _)| name == what);
        let (_, undo) = self
            .undo
            .borrow_mut()
            .remove(at.unwrap_or_else(|| panic!("no {what}")));
        undo(self);
    }

    /// Leaves what has this name as it is.
    pub fn forget(&self, what: &str) {
        self.undo.borrow_mut().retain(|(name, _)| name != what);
    }

    /// Whether there is something of this name to undo.
    pub fn has(&self, what: &str) -> bool {
        self.undo.borrow().iter().any(|(name, _)| name == what)
    }

    fn undo_all(&mut self) {
        loop {
            let last = self.undo.borrow_mut().pop();
            let Some((_, undo)) = last else { break };
            undo(self);
        }
        for device in std::mem::take(&mut self.plugged) {
            self.wires.unplug(&device);
        }
    }

    /// Undoes everything, and looks whether it is as before.
    pub fn finish(mut self) {
        self.undo_all();
        let after = self.snapshot();
        assert_eq!(difference(&self.before, &after), Vec::<String>::new());
        if let Some(server) = &self.server {
            assert_eq!(server.fatal(), None);
        }
    }

    /// The address of a family out of a pair.
    pub fn of_family(addresses: &[IpAddr], like: IpAddr) -> IpAddr {
        let found = addresses
            .iter()
            .find(|address| address.is_ipv4() == like.is_ipv4());
        *found.expect("an address of the family")
    }
}

impl Drop for Bed {
    /// A scenario that failed leaves nothing in a VPP that others use.
    fn drop(&mut self) {
        if self.kind == Kind::Given && std::thread::panicking() {
            if self.is_traced() {
                eprintln!("{}", self.cli("show trace max 300"));
            }
            let undone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.undo_all()));
            if undone.is_err() {
                eprintln!("not everything could be undone; the next run does it");
            }
        }
    }
}
