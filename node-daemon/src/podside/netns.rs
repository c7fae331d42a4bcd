//! Entering a network namespace.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use rtnetlink::Handle;

use super::PodSideError;

/// The kernel answers a request in microseconds; much longer when hundreds of interfaces come and
/// go at once and all wait for its one lock.
const LIMIT: Duration = Duration::from_secs(30);

/// Whether there is a namespace at the path.
pub fn exists(netns: &Path) -> bool {
    open(netns).is_ok()
}

/// Opens a namespace. A path whose mount is gone leaves an ordinary file behind.
pub(super) fn open(netns: &Path) -> Result<File, PodSideError> {
    let failed = |source| PodSideError::Netns {
        path: netns.to_owned(),
        source,
    };
    let file = File::open(netns).map_err(failed)?;
    let kind = fstatfs(&file).map_err(|errno| failed(errno.into()))?;
    if kind.filesystem_type() == NSFS_MAGIC {
        Ok(file)
    } else {
        Err(PodSideError::NotNetns(netns.to_owned()))
    }
}

/// Runs `work` in a new thread, with a netlink connection of the namespace (the daemon's own for
/// `None`); `/proc/sys/net` is that namespace's as well.
pub(super) fn within<T: Send>(
    netns: Option<&Path>,
    work: impl AsyncFnOnce(Handle) -> Result<T, PodSideError> + Send,
) -> Result<T, PodSideError> {
    thread::scope(|scope| {
        let body = || {
            if let Some(path) = netns {
                enter(path)?;
            }
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(broken("starting a runtime"))?;
            runtime.block_on(async {
                let (connection, handle, _) =
                    rtnetlink::new_connection().map_err(broken("opening netlink"))?;
                let connection = tokio::spawn(connection);
                let done = tokio::time::timeout(LIMIT, work(handle)).await;
                connection.abort();
                done.unwrap_or(Err(PodSideError::Stuck))
            })
        };
        let spawned = thread::Builder::new()
            .name("podside".to_owned())
            .spawn_scoped(scope, body)
            .map_err(broken("starting a thread"))?;
        match spawned.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn enter(path: &Path) -> Result<(), PodSideError> {
    let file = open(path)?;
    setns(&file, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
        // A namespace of another kind.
        nix::Error::EINVAL => PodSideError::NotNetns(path.to_owned()),
        errno => PodSideError::Netns {
            path: path.to_owned(),
            source: errno.into(),
        },
    })
}

fn broken(what: &'static str) -> impl FnOnce(io::Error) -> PodSideError {
    move |source| PodSideError::Kernel {
        what: what.to_owned(),
        source,
    }
}
