//! The packet thread: waits for devices, hands what they have to the engine.

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use parking_lot::{Mutex, MutexGuard};

use super::StartError;
use super::core::Core;
use super::dispatch::Dispatcher;
use crate::device::MAX_FRAME;

/// In the poll set: the thread is to end. No interface has this index.
const STOP: u64 = u64::MAX;

/// In the poll set: that of the memifs. No interface has this index either.
pub const MEMIFS: u64 = u64::MAX - 1;

const TICK: Duration = Duration::from_secs(1);

/// Ends the packet thread when dropped.
pub struct Dataplane {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Dataplane {
    /// Starts the thread on a poll set into which the devices are put.
    pub fn start(
        core: Arc<Mutex<Core>>,
        dispatcher: Arc<Dispatcher>,
        poll: Arc<Epoll>,
    ) -> Result<Self, StartError> {
        let stop =
            EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(StartError::poll)?;
        let stop = Arc::new(stop);
        poll.add(
            stop.as_ref(),
            EpollEvent::new(nix::sys::epoll::EpollFlags::EPOLLIN, STOP),
        )
        .map_err(StartError::poll)?;
        let thread = Builder::new()
            .name("vpp-sim-packets".into())
            .spawn(move || run(&core, &dispatcher, &poll))
            .map_err(StartError::Thread)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        // Cannot fail: the counter is far from its maximum.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(core: &Mutex<Core>, dispatcher: &Dispatcher, poll: &Epoll) {
    let mut scratch = vec![0; MAX_FRAME];
    let mut events = [EpollEvent::empty(); 64];
    let mut next_tick = Instant::now() + TICK;
    loop {
        let left = next_tick.saturating_duration_since(Instant::now());
        let timeout = EpollTimeout::try_from(left).unwrap_or(EpollTimeout::ZERO);
        let ready = match poll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => {
                tracing::error!(%errno, "poll failed: no packets any more");
                return;
            }
        };
        for event in &events[..ready] {
            let mut core = core.lock();
            match (event.data(), u32::try_from(event.data())) {
                (MEMIFS, _) => core.poll_memifs(),
                (_, Ok(sw_if_index)) => core.poll(sw_if_index, &mut scratch),
                (_, Err(_)) => return,
            }
            core.deliver_events(dispatcher);
            // Under load this thread would take the lock again before a waiting one wakes up.
            MutexGuard::unlock_fair(core);
        }
        if Instant::now() >= next_tick {
            next_tick = Instant::now() + TICK;
            let mut core = core.lock();
            core.tick();
            core.deliver_events(dispatcher);
        }
    }
}
