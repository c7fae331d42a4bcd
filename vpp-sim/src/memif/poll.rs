//! The poll set of control sockets and interrupts.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Who is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A socket has a new connection.
    Listener(u32),
    /// A connection of a socket speaks for the first time.
    Pending(u32),
    /// An interface's connection speaks.
    Control(u32),
    /// An interface's ring has packets.
    Ring(u32, usize),
}

/// What is polled, each under a number of its own that never comes again: what was ready before it was closed is known
/// to be gone.
#[derive(Debug)]
pub(super) struct PollSet {
    epoll: Epoll,
    next: u64,
    targets: BTreeMap<u64, Target>,
}

impl PollSet {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            next: 0,
            targets: BTreeMap::new(),
        })
    }

    /// Some of those that are ready, others the next time; with their numbers.
    pub fn ready<const N: usize>(&self) -> impl Iterator<Item = u64> + use<N> {
        let mut events = [EpollEvent::empty(); N];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        events.into_iter().take(count).map(|event| event.data())
    }

    /// Who has this number; nobody, if it was removed meanwhile.
    pub fn target(&self, token: u64) -> Option<Target> {
        self.targets.get(&token).copied()
    }

    pub fn add(&mut self, fd: impl AsFd, target: Target) -> io::Result<u64> {
        let token = self.next;
        self.next += 1;
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))?;
        self.targets.insert(token, target);
        Ok(token)
    }

    /// Before it is closed: the kernel forgets by itself only what no other process has open.
    pub fn remove(&mut self, fd: impl AsFd, token: u64) {
        self.targets.remove(&token);
        let _ = self.epoll.delete(fd);
    }
}

impl AsFd for PollSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}
