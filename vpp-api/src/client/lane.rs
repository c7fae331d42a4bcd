//! From those who ask to the socket: through the writer, which gathers what is queued, or straight to the socket while nothing
//! else is on its way. The latter saves a request that is waited for the way through another task.

use super::shared::{Queued, Registering, Shared, lock};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

/// The way to the socket.
#[derive(Debug)]
pub(super) struct Lane {
    queue: Mutex<mpsc::UnboundedSender<Queued>>,
    /// How many the writer has not written yet.
    waiting: Arc<AtomicUsize>,
    /// The writer's, which closes it when it ends.
    socket: Weak<OwnedWriteHalf>,
}

impl Lane {
    pub(super) fn new(
        queue: mpsc::UnboundedSender<Queued>,
        waiting: Arc<AtomicUsize>,
        socket: &Arc<OwnedWriteHalf>,
    ) -> Self {
        Self {
            queue: Mutex::new(queue),
            waiting,
            socket: Arc::downgrade(socket),
        }
    }

    /// Sends behind everything that was sent before; an error when there is no writer any more.
    pub(super) fn send(
        &self,
        shared: &Shared,
        mut frame: Vec<u8>,
        registering: Registering,
    ) -> Result<(), ()> {
        let queue = lock(&self.queue);
        let mut registering = Some(registering);
        // Only whoever holds the queue can make something wait, so what is empty stays so.
        if self.waiting.load(Ordering::Acquire) == 0
            && shared.is_idle()
            && let Some(socket) = self.socket.upgrade()
            && let Ok(permit) = shared.window.try_acquire()
        {
            permit.forget();
            shared.register(registering.take());
            // What could not be written now is the writer's, as is what went wrong.
            let written = socket.try_write(&frame).unwrap_or(0);
            if written == frame.len() {
                return Ok(());
            }
            frame.drain(..written);
        }
        self.waiting.fetch_add(1, Ordering::Release);
        queue.send(Queued { frame, registering }).map_err(|_| ())
    }
}
