//! What the two tasks of a connection and its users share.

use super::event::{EventIds, VppEvent};
use super::guard::Guard;
use super::sink::{Sink, Step};
use crate::error::Closed;
use crate::message::Message;
use crate::message::message_id;
use crate::messages::acl::{AclDelReply, AclStatsIntfCountersEnable};
use crate::table::MessageTable;
use std::collections::{BTreeMap, BTreeSet};
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
}

impl Waiter {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self { sink, deadline: None }
    }
}

#[derive(Debug, Default)]
struct InFlight {
    waiters: BTreeMap<u32, Waiter>,
    client_headed: BTreeSet<u16>,
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
    in_flight: Mutex<InFlight>,
    event_ids: EventIds,
    events: Mutex<Option<broadcast::Sender<VppEvent>>>,
    closed: watch::Sender<Option<Closed>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding these locks, and what they guard is whole between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(table: MessageTable, client_index: u32, window: usize, timeout: Duration) -> Self {
        Self {
            event_ids: EventIds::new(&table),
            table,
            client_index,
            guard: Guard::default(),
            window: Semaphore::new(window.max(1)),
            armed: Notify::new(),
            timeout,
            in_flight: Mutex::default(),
            events: Mutex::new(Some(broadcast::Sender::new(EVENT_BACKLOG))),
            closed: watch::Sender::new(None),
        }
    }

    /// The id VPP uses by mistake for the reply to `request`.
    ///
    /// `acl_stats_intf_counters_enable` is answered with the id of `acl_del_reply`, which has the same layout.
    pub(super) fn stand_in_reply(&self, request: &str) -> Option<u16> {
        (request == AclStatsIntfCountersEnable::NAME)
            .then(|| self.table.id(AclDelReply::NAME_CRC))
            .flatten()
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<VppEvent> {
        match &*lock(&self.events) {
            Some(events) => events.subscribe(),
            // A channel without a sender: it says at once that it is closed.
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    /// Starts a request's deadline, right before it is written.
    pub(super) fn register(&self, context: u32, client_headed: Option<u16>, mut waiter: Waiter) {
        waiter.deadline = Instant::now().checked_add(self.timeout);
        let mut in_flight = lock(&self.in_flight);
        // `finish` says so before it empties the map: what comes later would wait for ever.
        if self.close_reason().is_some() {
            return;
        }
        in_flight.client_headed.extend(client_headed);
        let was_empty = in_flight.waiters.is_empty();
        in_flight.waiters.insert(context, waiter);
        drop(in_flight);
        if was_empty {
            self.armed.notify_one();
        }
    }

    /// Hands a received message to whom it is for.
    pub(super) fn dispatch(&self, message: &[u8]) {
        let Some(id) = message_id(message) else { return };
        if let Some(decode) = self.event_ids.decoder(id) {
            match decode(message) {
                Some(event) => {
                    if let Some(events) = &*lock(&self.events) {
                        // Without subscribers it is for nobody.
                        let _ = events.send(event);
                    }
                }
                None => tracing::warn!(id, "VPP sent an event that cannot be read"),
            }
            return;
        }
        let mut in_flight = lock(&self.in_flight);
        let at = if in_flight.client_headed.contains(&id) {
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
            return;
        };
        let Some(waiter) = in_flight.waiters.get_mut(&context) else {
            let name = self.table.name(id).unwrap_or("unknown");
            tracing::debug!(id, name, context, "VPP sent a message nobody waits for");
            return;
        };
        match waiter.sink.accept(&self.guard, id, self.table.name(id), message) {
            // A long dump is alive as long as it goes on.
            Step::More => waiter.deadline = Instant::now().checked_add(self.timeout),
            Step::Done => {
                in_flight.waiters.remove(&context);
                self.window.add_permits(1);
            }
        }
    }

    /// The request whose deadline is next.
    pub(super) fn next_deadline(&self) -> Option<(Instant, Closed)> {
        let in_flight = lock(&self.in_flight);
        let first = in_flight
            .waiters
            .values()
            .filter_map(|waiter| Some((waiter.deadline?, waiter)));
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
