//! The tasks of one connection: writer, reader, and a watch on deadlines.

use super::shared::{Queued, Registering, Shared};
use crate::error::Closed;
use crate::frames::FrameReader;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{TryAcquireError, mpsc};
use tokio::time::{Instant, sleep_until};

/// Bytes gathered before they are written; VPP reads 4096 at a time.
const BATCH: usize = 64 * 1024;

/// Runs a connection until it ends, for whatever reason.
pub(super) async fn run(
    shared: Arc<Shared>,
    frames: FrameReader<OwnedReadHalf>,
    socket: OwnedWriteHalf,
    queue: mpsc::UnboundedReceiver<Queued>,
) {
    // A task of its own, so that encoding's results are written while answers are decoded.
    let mut writer = tokio::spawn(write(Arc::clone(&shared), queue, socket));
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

async fn write(
    shared: Arc<Shared>,
    mut queue: mpsc::UnboundedReceiver<Queued>,
    socket: OwnedWriteHalf,
) -> Closed {
    let reason = write_queue(&shared, &mut queue, socket).await;
    // Before the queue is dropped: who waits for what is still in it should find the reason.
    shared.finish(reason.clone());
    reason
}

async fn write_queue(
    shared: &Shared,
    queue: &mut mpsc::UnboundedReceiver<Queued>,
    mut socket: OwnedWriteHalf,
) -> Closed {
    let mut batch = Batch {
        bytes: Vec::with_capacity(BATCH),
        requests: Vec::new(),
    };
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(queued) = next {
            match shared.window.try_acquire() {
                Ok(permit) => permit.forget(),
                Err(TryAcquireError::NoPermits) => {
                    if let Err(reason) = batch.flush(shared, &mut socket).await {
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
            batch.requests.push(queued.registering);
            next = if batch.bytes.len() < BATCH {
                queue.try_recv().ok()
            } else {
                None
            };
        }
        if let Err(reason) = batch.flush(shared, &mut socket).await {
            return reason;
        }
    }
    Closed::ByUs
}

/// Requests to be written together.
struct Batch {
    bytes: Vec<u8>,
    requests: Vec<Registering>,
}

impl Batch {
    async fn flush(&mut self, shared: &Shared, socket: &mut OwnedWriteHalf) -> Result<(), Closed> {
        shared.register(&mut self.requests);
        socket.write_all(&self.bytes).await?;
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
