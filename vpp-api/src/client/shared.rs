//! What the two tasks of a connection and its users share.

use super::connect::Options;
use super::event::{EventIds, VppEvent};
use super::guard::Guard;
use super::sink::{Sink, Step};
use crate::error::Closed;
use crate::message::Message;
use crate::message::message_id;
use crate::messages::acl::{AclDelReply, AclStatsIntfCountersEnable};
use crate::messages::nat44_ed::{Nat44EdVrfTablesDetails, Nat44EdVrfTablesV2Dump};
use crate::messages::policer::{PolicerInputReply, PolicerInputV2, PolicerOutputReply, PolicerOutputV2};
use crate::table::MessageTable;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::time::Instant;

/// Events a subscriber may lag behind.
const EVENT_BACKLOG: usize = 1024;

/// A request on its way to the writer.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) frame: Vec<u8>,
    /// None for the rest of a request that was begun.
    pub(super) registering: Option<Registering>,
}

/// A request about to be written.
#[derive(Debug)]
pub(super) struct Registering {
    pub(super) context: u32,
    /// Id of an answer whose head has a client index before the context.
    pub(super) client_headed: Option<u16>,
    pub(super) waiter: Waiter,
}

/// A request without all its answers.
#[derive(Debug)]
pub(super) struct Waiter {
    sink: Box<dyn Sink>,
    deadline: Option<Instant>,
    /// Bytes of the answers so far.
    received: usize,
}

impl Waiter {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self {
            sink,
            deadline: None,
            received: 0,
        }
    }
}

#[derive(Debug, Default)]
struct InFlight {
    /// By context, which grows: VPP answers in order, so the next answer is nearly always for the first.
    waiters: VecDeque<(u32, Waiter)>,
    client_headed: BTreeSet<u16>,
}

impl InFlight {
    fn insert(&mut self, context: u32, waiter: Waiter) {
        // Two callers may have queued in another order than that in which they got their contexts.
        let at = self.waiters.partition_point(|(other, _)| *other < context);
        self.waiters.insert(at, (context, waiter));
    }

    fn position(&self, context: u32) -> Option<usize> {
        if self.waiters.front().is_some_and(|(first, _)| *first == context) {
            return Some(0);
        }
        self.waiters
            .binary_search_by_key(&context, |(other, _)| *other)
            .ok()
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) table: MessageTable,
    pub(super) client_index: u32,
    pub(super) guard: Guard,
    /// Permits for requests in flight.
    pub(super) window: Semaphore,
    /// Tells the watchdog that something is in flight again.
    pub(super) armed: Notify,
    timeout: Duration,
    pub(super) max_answer: usize,
    in_flight: Mutex<InFlight>,
    event_ids: EventIds,
    events: Mutex<Option<broadcast::Sender<VppEvent>>>,
    closed: watch::Sender<Option<Closed>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding these locks, and what they guard is whole between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Received messages on their way to those who wait for them.
pub(super) struct Batch<'a> {
    in_flight: MutexGuard<'a, InFlight>,
    shared: &'a Shared,
    deadline: Option<Instant>,
    /// Requests that have all their answers now.
    done: usize,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.shared.window.add_permits(self.done);
    }
}

impl Batch<'_> {
    /// Hands a received message to whom it is for.
    ///
    /// # Errors
    /// That the connection cannot go on.
    pub(super) fn dispatch(&mut self, message: &[u8]) -> Result<(), Closed> {
        let Some(id) = message_id(message) else {
            return Ok(());
        };
        let shared = self.shared;
        if let Some(decode) = shared.event_ids.decoder(id) {
            match decode(message) {
                Some(event) => {
                    if let Some(events) = &*lock(&shared.events) {
                        // Without subscribers it is for nobody.
                        let _ = events.send(event);
                    }
                }
                None => tracing::warn!(id, "VPP sent an event that cannot be read"),
            }
            return Ok(());
        }
        let at = if self.in_flight.client_headed.contains(&id) {
            6
        } else {
            2
        };
        let context = message
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .map(|bytes| u32::from_be_bytes(*bytes));
        let Some(context) = context else {
            tracing::warn!(id, length = message.len(), "VPP sent a message without a context");
            return Ok(());
        };
        let Some(position) = self.in_flight.position(context) else {
            let name = shared.table.name(id).unwrap_or("unknown");
            tracing::debug!(id, name, context, "VPP sent a message nobody waits for");
            return Ok(());
        };
        let (_, waiter) = &mut self.in_flight.waiters[position];
        waiter.received += message.len();
        if waiter.received > shared.max_answer {
            let message = waiter.sink.message();
            return Err(shared.too_long(message));
        }
        match waiter.sink.accept(&shared.guard, &shared.table, id, message) {
            // A long dump is alive as long as it goes on.
            Step::More => waiter.deadline = self.deadline,
            Step::Done => {
                self.in_flight.waiters.remove(position);
                self.done += 1;
            }
        }
        Ok(())
    }
}

impl Shared {
    pub(super) fn new(table: MessageTable, client_index: u32, options: &Options) -> Self {
        Self {
            event_ids: EventIds::new(&table),
            table,
            client_index,
            guard: Guard::default(),
            window: Semaphore::new(options.window.max(1)),
            armed: Notify::new(),
            timeout: options.request_timeout,
            max_answer: options.max_answer,
            in_flight: Mutex::default(),
            events: Mutex::new(Some(broadcast::Sender::new(EVENT_BACKLOG))),
            closed: watch::Sender::new(None),
        }
    }

    /// The id VPP uses by mistake for the answer to `request`: that of another message with the same layout.
    pub(super) fn stand_in(&self, request: &str) -> Option<u16> {
        const MISTAKEN: [(&str, &str); 4] = [
            (AclStatsIntfCountersEnable::NAME, AclDelReply::NAME_CRC),
            (Nat44EdVrfTablesV2Dump::NAME, Nat44EdVrfTablesDetails::NAME_CRC),
            (PolicerInputV2::NAME, PolicerInputReply::NAME_CRC),
            (PolicerOutputV2::NAME, PolicerOutputReply::NAME_CRC),
        ];
        let (_, answer) = MISTAKEN.iter().find(|(name, _)| *name == request)?;
        self.table.id(answer)
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<VppEvent> {
        match &*lock(&self.events) {
            Some(events) => events.subscribe(),
            // A channel without a sender: it says at once that it is closed.
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    /// Starts the deadlines of requests, right before they are written.
    pub(super) fn register(&self, requests: impl IntoIterator<Item = Registering>) {
        let deadline = Instant::now().checked_add(self.timeout);
        let mut in_flight = lock(&self.in_flight);
        // `finish` says so before it empties the queue: what comes later would wait for ever.
        if self.close_reason().is_some() {
            return;
        }
        let was_empty = in_flight.waiters.is_empty();
        for mut request in requests {
            in_flight.client_headed.extend(request.client_headed);
            request.waiter.deadline = deadline;
            in_flight.insert(request.context, request.waiter);
        }
        drop(in_flight);
        if was_empty {
            self.armed.notify_one();
        }
    }

    /// Whether no request waits for its answer.
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.in_flight).waiters.is_empty()
    }

    /// For handing out what was received: one hold of the lock for all that came together.
    pub(super) fn batch(&self) -> Batch<'_> {
        Batch {
            in_flight: lock(&self.in_flight),
            shared: self,
            deadline: Instant::now().checked_add(self.timeout),
            done: 0,
        }
    }

    /// Why a connection is given up whose answers to one request have no end.
    pub(super) fn too_long(&self, message: &'static str) -> Closed {
        Closed::Protocol(format!(
            "answers to {message} of more than {} bytes",
            self.max_answer
        ))
    }

    /// The request whose deadline is next.
    pub(super) fn next_deadline(&self) -> Option<(Instant, Closed)> {
        let in_flight = lock(&self.in_flight);
        let first = in_flight
            .waiters
            .iter()
            .filter_map(|(_, waiter)| Some((waiter.deadline?, waiter)));
        let (deadline, waiter) = first.min_by_key(|(deadline, _)| *deadline)?;
        Some((
            deadline,
            Closed::TimedOut {
                message: waiter.sink.message(),
                after: self.timeout,
            },
        ))
    }

    /// Ends the connection; only the first reason counts.
    pub(super) fn finish(&self, reason: Closed) {
        self.closed.send_if_modified(|closed| {
            let first = closed.is_none();
            if first {
                *closed = Some(reason);
            }
            first
        });
        self.window.close();
        // Dropping the sinks wakes everyone who waits; they find the reason above.
        let waiters = std::mem::take(&mut lock(&self.in_flight).waiters);
        drop(waiters);
        drop(lock(&self.events).take());
    }

    pub(super) fn close_reason(&self) -> Option<Closed> {
        self.closed.borrow().clone()
    }

    pub(super) async fn closed(&self) -> Closed {
        let mut watched = self.closed.subscribe();
        let reason = watched.wait_for(Option::is_some).await;
        reason
            .ok()
            .and_then(|reason| reason.clone())
            .unwrap_or(Closed::ByUs)
    }
}
