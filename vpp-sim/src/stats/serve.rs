//! The stats socket, and the thread that passes the memory on and keeps it fresh.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, accept_with, bind, connect, listen, sendmsg, socket_with,
};

use super::collect::{Clock, Snapshot};
use super::segment::{Segment, SegmentError};

/// How old values get. VPP's are live; its heartbeat and gauges are updated every ten seconds.
const INTERVAL: Duration = Duration::from_millis(100);

/// The stats socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StatsSocketError {
    /// Another process serves it.
    #[error("active listener on {}", .0.display())]
    ActiveListener(PathBuf),
    /// The socket cannot be made.
    #[error("stats socket {}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The memory cannot be had.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// No thread to be had.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// Serves statistics until it is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves what `snapshot` gives, which is called ten times a second.
    ///
    /// # Errors
    /// [`StatsSocketError`].
    pub fn start(
        path: &Path,
        snapshot: impl Fn() -> Snapshot + Send + 'static,
    ) -> Result<Self, StatsSocketError> {
        let failed = |source: io::Error| StatsSocketError::Socket {
            path: path.to_owned(),
            source,
        };
        let address = SocketAddrUnix::new(path).map_err(|errno| failed(errno.into()))?;
        let socket = || {
            socket_with(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                SocketFlags::CLOEXEC,
                None,
            )
        };
        let probe = socket().map_err(|errno| failed(errno.into()))?;
        match connect(&probe, &address).map_err(|errno| io::Error::from(errno).kind()) {
            Ok(()) => return Err(StatsSocketError::ActiveListener(path.to_owned())),
            Err(io::ErrorKind::ConnectionRefused) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = socket().map_err(|errno| failed(errno.into()))?;
        bind(&listener, &address).map_err(|errno| failed(errno.into()))?;
        listen(&listener, 5).map_err(|errno| failed(errno.into()))?;
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
            .map_err(|errno| failed(errno.into()))?;
        let stop = Arc::new(stop);
        let mut publisher = Publisher {
            segment: Segment::new()?,
            clock: Clock::started(),
            started: Instant::now(),
            columns: 0,
            snapshot,
        };
        // Whoever connects finds something.
        publisher.publish();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("vpp-sim-stats".into())
            .spawn(move || publisher.run(&listener, &stopped))
            .map_err(StatsSocketError::Thread)?;
        Ok(Self {
            path: path.to_owned(),
            stop,
            thread: Some(thread),
        })
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Cannot fail: the counter is far from its maximum.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "stats socket was not unlinked");
        }
    }
}

struct Publisher<F> {
    segment: Segment,
    clock: Clock,
    started: Instant,
    columns: usize,
    snapshot: F,
}

impl<F: Fn() -> Snapshot> Publisher<F> {
    fn run(&mut self, listener: &OwnedFd, stop: &EventFd) {
        let mut next = Instant::now() + INTERVAL;
        loop {
            let mut wanted = [
                PollFd::new(listener.as_fd(), PollFlags::POLLIN),
                PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            ];
            let left = next.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut wanted, timeout) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => {
                    tracing::error!(%errno, "poll failed: no statistics any more");
                    return;
                }
            }
            let [connected, stopped] = wanted.map(|fd| fd.any().unwrap_or(false));
            if stopped {
                return;
            }
            if connected && let Err(error) = self.pass(listener) {
                tracing::debug!(%error, "a client did not get the statistics");
            }
            if Instant::now() >= next {
                next = Instant::now() + INTERVAL;
                self.publish();
            }
        }
    }

    fn publish(&mut self) {
        let mut snapshot = (self.snapshot)();
        self.columns = snapshot.keep_columns(self.columns);
        self.clock.heartbeat += 1;
        self.clock.uptime = self.started.elapsed().as_secs();
        if let Err(error) = self.segment.update(snapshot.entries(self.clock)) {
            tracing::error!(%error, "statistics are stale");
        }
    }

    /// Passes the descriptor with a message of no bytes, as VPP does, and closes.
    fn pass(&self, listener: &OwnedFd) -> io::Result<()> {
        let client = accept_with(listener, SocketFlags::CLOEXEC)?;
        let descriptors = [self.segment.descriptor()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(
            &client,
            &[IoSlice::new(&[])],
            &mut control,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )?;
        Ok(())
    }
}
