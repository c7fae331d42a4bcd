//! Which device an interface sends to, and the poll set they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use crate::device::{Backend, Device, InProcess};

/// Devices by `sw_if_index`.
pub struct Devices {
    /// Opens new ones.
    pub backend: Box<dyn Backend>,
    attached: BTreeMap<u32, Arc<dyn Device>>,
    /// Those whose host side went down, to be looked at again.
    down: BTreeSet<u32>,
    poll: Arc<Epoll>,
}

impl Devices {
    pub fn new(backend: Box<dyn Backend>, poll: Arc<Epoll>) -> Self {
        Self {
            backend,
            attached: BTreeMap::new(),
            down: BTreeSet::new(),
            poll,
        }
    }

    /// Frames of the interface go to the device from now on, and its to the interface.
    pub fn attach(&mut self, sw_if_index: u32, device: Box<dyn Device>) {
        if let Some(fd) = device.readiness() {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, u64::from(sw_if_index));
            if let Err(errno) = self.poll.add(fd, event) {
                tracing::error!(%errno, sw_if_index, "device cannot be polled: it will only send");
            }
        }
        self.attached.insert(sw_if_index, device.into());
    }

    /// A device that is fed by hand.
    pub fn attach_in_process(&mut self, sw_if_index: u32) {
        self.attach(sw_if_index, Box::new(InProcess::default()));
    }

    /// Closes the device; a tap is gone from the host when this returns.
    pub fn detach(&mut self, sw_if_index: u32) {
        self.silence(sw_if_index);
        self.down.remove(&sw_if_index);
        self.attached.remove(&sw_if_index);
    }

    /// Stops polling a device that has nothing to say any more; it stays attached until its interface is deleted.
    pub fn silence(&mut self, sw_if_index: u32) {
        if let Some(device) = self.attached.get(&sw_if_index)
            && let Some(fd) = device.readiness()
            && let Err(errno) = self.poll.delete(fd)
        {
            tracing::debug!(%errno, sw_if_index, "device was not polled");
        }
    }

    pub fn get(&self, sw_if_index: u32) -> Option<&Arc<dyn Device>> {
        self.attached.get(&sw_if_index)
    }

    pub fn note_down(&mut self, sw_if_index: u32) {
        self.down.insert(sw_if_index);
    }

    /// Devices that were down and are up again.
    pub fn recovered(&mut self) -> Vec<u32> {
        let up = |index: &u32| self.attached.get(index).is_some_and(|device| device.is_up());
        let recovered: Vec<u32> = self.down.iter().copied().filter(up).collect();
        for index in &recovered {
            self.down.remove(index);
        }
        recovered
    }
}
