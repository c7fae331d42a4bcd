//! The tasks of one connection: writer, reader, and a watch on deadlines.

use super::shared::{Queued, Registering, Shared};
use crate::error::Closed;
use crate::frames::FrameReader;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{TryAcquireError, mpsc};
use tokio::time::{Instant, sleep_until};

/// Bytes gathered before they are written; VPP reads 4096 at a time.
const BATCH: usize = 64 * 1024;

/// Runs a connection until it ends, for whatever reason.
pub(super) async fn run(shared: Arc<Shared>, frames: FrameReader<OwnedReadHalf>, outgoing: Outgoing) {
    // A task of its own, so that encoding's results are written while answers are decoded.
    let mut writer = tokio::spawn(write(Arc::clone(&shared), outgoing));
    let reason = tokio::select! {
        reason = read(&shared, frames) => reason,
        reason = &mut writer => reason.unwrap_or(Closed::ByUs),
        reason = watch_deadlines(&shared) => reason,
        reason = shared.closed() => reason,
    };
    shared.finish(reason);
    writer.abort();
}

async fn read(shared: &Shared, mut frames: FrameReader<OwnedReadHalf>) -> Closed {
    loop {
        let first = match frames.next().await {
            Ok(message) => message,
            Err(reason) => return reason,
        };
        let mut batch = shared.batch();
        if let Err(reason) = batch.dispatch(first) {
            return reason;
        }
        loop {
            match frames
                .buffered()
                .map(|message| message.map(|message| batch.dispatch(message)))
            {
                Ok(Some(Ok(()))) => {}
                Ok(None) => break,
                Ok(Some(Err(reason))) | Err(reason) => return reason,
            }
        }
    }
}

/// What the writer needs.
pub(super) struct Outgoing {
    pub(super) queue: mpsc::UnboundedReceiver<Queued>,
    /// How many are in the queue or in the writer's hands.
    pub(super) waiting: Arc<AtomicUsize>,
    pub(super) socket: Arc<OwnedWriteHalf>,
}

async fn write(shared: Arc<Shared>, mut outgoing: Outgoing) -> Closed {
    let reason = write_queue(&shared, &mut outgoing).await;
    // Before the queue is dropped: who waits for what is still in it should find the reason.
    shared.finish(reason.clone());
    reason
}

async fn write_queue(shared: &Shared, outgoing: &mut Outgoing) -> Closed {
    let mut batch = Batch {
        bytes: Vec::with_capacity(BATCH),
        requests: Vec::new(),
        count: 0,
    };
    while let Some(first) = outgoing.queue.recv().await {
        let mut next = Some(first);
        while let Some(queued) = next {
            match shared.window.try_acquire() {
                // Begun already, and counted then.
                _ if queued.registering.is_none() => {}
                Ok(permit) => permit.forget(),
                Err(TryAcquireError::NoPermits) => {
                    if let Err(reason) = batch.flush(shared, outgoing).await {
                        return reason;
                    }
                    match shared.window.acquire().await {
                        Ok(permit) => permit.forget(),
                        Err(_) => return Closed::ByUs,
                    }
                }
                Err(TryAcquireError::Closed) => return Closed::ByUs,
            }
            batch.bytes.extend_from_slice(&queued.frame);
            batch.requests.extend(queued.registering);
            batch.count += 1;
            next = if batch.bytes.len() < BATCH {
                outgoing.queue.try_recv().ok()
            } else {
                None
            };
        }
        if let Err(reason) = batch.flush(shared, outgoing).await {
            return reason;
        }
    }
    Closed::ByUs
}

/// Requests to be written together.
struct Batch {
    bytes: Vec<u8>,
    requests: Vec<Registering>,
    /// How many of the queue's they are.
    count: usize,
}

impl Batch {
    async fn flush(&mut self, shared: &Shared, outgoing: &Outgoing) -> Result<(), Closed> {
        shared.register(self.requests.drain(..));
        let mut left = &self.bytes[..];
        while !left.is_empty() {
            outgoing.socket.writable().await?;
            match outgoing.socket.try_write(left) {
                Ok(0) => return Err(Closed::ByPeer),
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        outgoing
            .waiting
            .fetch_sub(std::mem::take(&mut self.count), Ordering::Release);
        self.bytes.clear();
        // One huge request must not keep its memory for the life of the connection.
        self.bytes.shrink_to(BATCH);
        Ok(())
    }
}

async fn watch_deadlines(shared: &Shared) -> Closed {
    loop {
        match shared.next_deadline() {
            None => shared.armed.notified().await,
            Some((deadline, timed_out)) if deadline <= Instant::now() => return timed_out,
            Some((deadline, _)) => sleep_until(deadline).await,
        }
    }
}
