//! The connection to VPP: many requests in flight on one socket, answered in order.
//!
//! [`Client::send`] queues at once and in call order; the answer is awaited when it is needed. One task writes, many
//! frames at a time; another reads, decodes and hands out answers by context. A request that is not answered in time
//! ends the connection (VPP silently drops what it does not understand, and only a new connection is in a known
//! state); [`Connector`] makes new ones.

mod connect;
mod event;
mod guard;
mod lane;
mod pending;
mod shared;
mod sink;
mod tasks;

pub use connect::{Connector, Options};
pub use event::VppEvent;
pub use pending::Pending;

use crate::error::{Closed, Error, Result};
use crate::message::{Dump, GetStream, Header, Message, Reply, Request, encode_frame};
use crate::messages::memclnt::{ControlPing, ControlPingReply, SockclntDelete};
use crate::retval::Retval;
use crate::table::MessageTable;
use lane::Lane;
use shared::{Registering, Shared, Waiter};
use sink::{DumpSink, Part, ReplySink, Sink, StreamSink};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::{broadcast, oneshot};

/// Which VPP is at the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// `vpe`.
    pub program: String,
    /// Such as `26.06-release`.
    pub version: String,
    /// When it was built.
    pub build_date: String,
}

/// A connection to VPP. Clones share it; it closes with the last of them.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    lane: Lane,
    /// Next context; beyond 32 bits nothing is sent any more.
    next_context: AtomicU64,
    peer: OnceLock<Peer>,
}

/// Who is at the other end; asked over the connection itself.
#[derive(Debug)]
struct Peer {
    version: Version,
    vpe_pid: u32,
}

/// Room for a frame of most requests, so that it is allocated once.
const FRAME: usize = 256;

static UNKNOWN: Peer = Peer {
    version: Version {
        program: String::new(),
        version: String::new(),
        build_date: String::new(),
    },
    vpe_pid: 0,
};

impl Client {
    /// Connects under `name` (at most 63 bytes) with default [`Options`].
    ///
    /// # Errors
    /// [`Error::Closed`] where the socket or the handshake fails.
    pub async fn connect(path: impl AsRef<Path>, name: &str) -> Result<Self> {
        Self::connect_with(
            path,
            &Options {
                name: name.to_owned(),
                ..Options::default()
            },
        )
        .await
    }

    /// Connects: handshake, message table, version.
    ///
    /// # Errors
    /// [`Error::Closed`] where the socket or the handshake fails, [`Error::Missing`] where the other end does not
    /// offer even `control_ping` and `show_version`.
    pub async fn connect_with(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        connect::connect(path.as_ref(), options).await
    }

    /// Queues a request behind all earlier ones. It is sent even if the result is dropped.
    ///
    /// Everything that can fail before sending (a message VPP does not offer, a string too long, an input known to
    /// kill VPP) is an error of the returned [`Pending`].
    pub fn send<R: Request>(&self, request: R) -> Pending<R::Reply> {
        let (answer, receiver) = oneshot::channel();
        let queued = self.frame(&request).and_then(|frame| {
            let reply_id = self.id::<R::Reply>()?;
            // Last, because from here on what it permits counts as sent.
            let effect = self.shared().guard.check(&request)?;
            let sink = ReplySink::<R::Reply>::new(
                R::NAME,
                reply_id,
                self.shared().stand_in(R::NAME),
                effect,
                answer,
            );
            self.enqueue(frame, Box::new(sink), client_headed::<R::Reply>(reply_id))
        });
        Pending::new(self.clone(), R::NAME, receiver, queued, Some(failure::<R::Reply>))
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// As [`Pending`].
    pub async fn call<R: Request>(&self, request: R) -> Result<R::Reply> {
        self.send(request).await
    }

    /// Queues a dump. A dump of something that does not exist is empty, not an error.
    pub fn dump<D: Dump>(&self, request: D) -> Pending<Vec<D::Details>> {
        let (answer, receiver) = oneshot::channel();
        let queued = self.context().and_then(|context| {
            let details_id = self.id::<D::Details>()?;
            let end_id = self.id::<ControlPingReply>()?;
            let mut frame = Vec::with_capacity(FRAME);
            self.append(&mut frame, context, &request)?;
            // The answers come in order on one socket, so the answer to this ping ends the dump.
            self.append(&mut frame, context, &ControlPing::default())?;
            let stand_in = self.shared().stand_in(D::NAME);
            let sink = DumpSink::<D::Details>::new(D::NAME, details_id, stand_in, end_id, answer);
            self.enqueue(
                (context, frame),
                Box::new(sink),
                client_headed::<D::Details>(details_id),
            )
        });
        Pending::new(self.clone(), D::NAME, receiver, queued, None)
    }

    /// Asks a get-stream to its end, going on where VPP paused.
    ///
    /// # Errors
    /// As [`Pending`]. INVALID_VALUE behind the first part means that elements vanished meanwhile, and ends it.
    pub async fn stream<G: GetStream + Clone>(&self, request: G) -> Result<Vec<G::Details>> {
        let mut all = Vec::new();
        let (mut cursor, mut size) = (0, 0);
        loop {
            let mut part = request.clone();
            part.set_cursor(cursor);
            let part = self.stream_part(part).await?;
            all.extend(part.details);
            size += part.size;
            if size > self.shared().max_answer {
                return Err(self.give_up(self.shared().too_long(G::NAME)));
            }
            match Retval(part.retval) {
                Retval::OK => return Ok(all),
                Retval::EAGAIN if part.cursor <= cursor => {
                    let reason = format!("{} does not get on at {cursor}", G::NAME);
                    return Err(self.give_up(Closed::Protocol(reason)));
                }
                Retval::EAGAIN => cursor = part.cursor,
                Retval::INVALID_VALUE if cursor != 0 => return Ok(all),
                retval => {
                    return Err(Error::Failed {
                        message: G::NAME,
                        retval,
                    });
                }
            }
        }
    }

    fn give_up(&self, reason: Closed) -> Error {
        self.shared().finish(reason.clone());
        reason.into()
    }

    fn stream_part<G: GetStream>(&self, request: G) -> Pending<Part<G::Details>> {
        let (answer, receiver) = oneshot::channel();
        let queued = self.id::<G::Details>().and_then(|details_id| {
            let reply_id = self.id::<G::Reply>()?;
            let frame = self.frame(&request)?;
            let sink = StreamSink::<G>::new(details_id, reply_id, answer);
            self.enqueue(frame, Box::new(sink), client_headed::<G::Details>(details_id))
        });
        Pending::new(self.clone(), G::NAME, receiver, queued, None)
    }

    /// What VPP sends by itself from now on. Subscribe with the `want_…` request first. Ends with the connection; one
    /// that lags behind loses the oldest events and is told so.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<VppEvent> {
        self.shared().subscribe()
    }

    /// Whether VPP offers `M` with the definition we know.
    #[must_use]
    pub fn supports<M: Message>(&self) -> bool {
        self.table().supports::<M>()
    }

    /// Checks that VPP offers all of `messages` ([`Message::NAME_CRC`]).
    ///
    /// # Errors
    /// [`Error::Missing`] with all that are not.
    pub fn require(&self, messages: &[&str]) -> Result<()> {
        Ok(self
            .table()
            .require(&self.version().version, messages.iter().copied())?)
    }

    /// What VPP offers.
    #[must_use]
    pub fn table(&self) -> &MessageTable {
        &self.shared().table
    }

    /// Which VPP this is.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.peer().version
    }

    /// VPP's process id: another one after reconnecting means that VPP restarted and forgot everything; the same,
    /// that only the connection was lost.
    #[must_use]
    pub fn vpe_pid(&self) -> u32 {
        self.peer().vpe_pid
    }

    /// Waits for the end of the connection and says why.
    pub async fn closed(&self) -> Closed {
        self.shared().closed().await
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared().close_reason().is_some()
    }

    /// Takes leave of VPP and closes, for all clones. Waits for the answers to what was sent before.
    pub async fn disconnect(self) {
        let index = self.shared().client_index;
        // The answer says nothing we need: VPP closes either way.
        let _ = self.send(SockclntDelete { index }).await;
        self.shared().finish(Closed::ByUs);
    }

    fn peer(&self) -> &Peer {
        self.inner.peer.get().unwrap_or(&UNKNOWN)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    fn id<M: Message>(&self) -> Result<u16> {
        let table = self.table();
        table
            .id_of::<M>()
            .ok_or_else(|| table.missing(&self.version().version, [M::NAME_CRC]).into())
    }

    fn context(&self) -> Result<u32> {
        u32::try_from(self.inner.next_context.fetch_add(1, Ordering::Relaxed)).map_err(|_| {
            self.shared().finish(Closed::ContextsUsed);
            Closed::ContextsUsed.into()
        })
    }

    fn frame<M: Message>(&self, message: &M) -> Result<(u32, Vec<u8>)> {
        let context = self.context()?;
        let mut frame = Vec::with_capacity(FRAME.max(2 * M::MIN_SIZE));
        self.append(&mut frame, context, message)?;
        Ok((context, frame))
    }

    fn append<M: Message>(&self, frame: &mut Vec<u8>, context: u32, message: &M) -> Result<()> {
        let header = Header {
            client_index: self.shared().client_index,
            context,
        };
        encode_frame(frame, self.id::<M>()?, header, message).map_err(|source| Error::Encode {
            message: M::NAME,
            source,
        })
    }

    fn enqueue(
        &self,
        (context, frame): (u32, Vec<u8>),
        sink: Box<dyn Sink>,
        client_headed: Option<u16>,
    ) -> Result<()> {
        let registering = Registering {
            context,
            client_headed,
            waiter: Waiter::new(sink),
        };
        self.inner
            .lane
            .send(self.shared(), frame, registering)
            .map_err(|()| self.shared().close_reason().unwrap_or(Closed::ByUs).into())
    }
}

fn client_headed<M: Message>(id: u16) -> Option<u16> {
    (M::HEAD == crate::message::Head::ClientAndContext).then_some(id)
}

fn failure<R: Reply>(message: &'static str, reply: &R) -> Option<Error> {
    let retval = Retval(reply.retval());
    (!retval.is_ok()).then_some(Error::Failed { message, retval })
}
