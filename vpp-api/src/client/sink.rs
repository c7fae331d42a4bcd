//! Where the answers to one request go.

use super::guard::{Effect, Guard};
use crate::error::{Error, Result};
use crate::message::{GetStream, Message, Reply, StreamReply, decode_message};
use crate::table::MessageTable;
use std::fmt::Debug;
use tokio::sync::oneshot;

/// Whether a request has all its answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    More,
    Done,
}

/// Takes the answers to one request.
pub(super) trait Sink: Debug + Send {
    /// The request.
    fn message(&self) -> &'static str;
    /// Takes one message with the request's context.
    fn accept(&mut self, guard: &Guard, table: &MessageTable, id: u16, bytes: &[u8]) -> Step;
}

fn read<M: Message>(message: &'static str, bytes: &[u8]) -> Result<M> {
    decode_message::<M>(bytes)
        .map(|(_, _, body)| body)
        .map_err(|source| Error::Decode { message, source })
}

fn wrong(message: &'static str, table: &MessageTable, id: u16) -> Error {
    Error::WrongAnswer {
        message,
        answer: table
            .name(id)
            .map_or_else(|| format!("message id {id}"), str::to_owned),
    }
}

/// One half of a oneshot; a receiver that is gone is nobody's loss.
#[derive(Debug)]
struct Answer<T>(Option<oneshot::Sender<Result<T>>>);

impl<T> Answer<T> {
    fn give(&mut self, answer: Result<T>) -> Step {
        if let Some(sender) = self.0.take() {
            let _ = sender.send(answer);
        }
        Step::Done
    }
}

/// One reply.
#[derive(Debug)]
pub(super) struct ReplySink<R> {
    message: &'static str,
    id: u16,
    /// Another id under which VPP sends the same reply, by mistake.
    stand_in: Option<u16>,
    effect: Option<Effect>,
    answer: Answer<R>,
}

impl<R> ReplySink<R> {
    pub(super) fn new(
        message: &'static str,
        id: u16,
        stand_in: Option<u16>,
        effect: Option<Effect>,
        answer: oneshot::Sender<Result<R>>,
    ) -> Self {
        Self {
            message,
            id,
            stand_in,
            effect,
            answer: Answer(Some(answer)),
        }
    }
}

impl<R: Reply> Sink for ReplySink<R> {
    fn message(&self) -> &'static str {
        self.message
    }

    fn accept(&mut self, guard: &Guard, table: &MessageTable, id: u16, bytes: &[u8]) -> Step {
        let answer = if id == self.id || Some(id) == self.stand_in {
            read::<R>(self.message, bytes)
        } else {
            Err(wrong(self.message, table, id))
        };
        if let Some(effect) = self.effect.take() {
            guard.settle(effect, answer.as_ref().is_ok_and(|reply| reply.retval() == 0));
        }
        if let Ok(reply) = &answer
            && reply.retval() == 0
        {
            guard.observe(reply);
        }
        self.answer.give(answer)
    }
}

/// Details up to the end marker.
#[derive(Debug)]
pub(super) struct DumpSink<D> {
    message: &'static str,
    details_id: u16,
    /// Another id under which VPP sends the same details, by mistake.
    stand_in: Option<u16>,
    end_id: u16,
    found: Result<Vec<D>>,
    answer: Answer<Vec<D>>,
}

impl<D> DumpSink<D> {
    pub(super) fn new(
        message: &'static str,
        details_id: u16,
        stand_in: Option<u16>,
        end_id: u16,
        answer: oneshot::Sender<Result<Vec<D>>>,
    ) -> Self {
        Self {
            message,
            details_id,
            stand_in,
            end_id,
            found: Ok(Vec::new()),
            answer: Answer(Some(answer)),
        }
    }
}

impl<D: Message> Sink for DumpSink<D> {
    fn message(&self) -> &'static str {
        self.message
    }

    fn accept(&mut self, guard: &Guard, table: &MessageTable, id: u16, bytes: &[u8]) -> Step {
        if id == self.end_id {
            let found = std::mem::replace(&mut self.found, Ok(Vec::new()));
            return self.answer.give(found);
        }
        // The first thing that went wrong is the result, but only the end marker ends it.
        let Ok(found) = &mut self.found else {
            return Step::More;
        };
        let detail = if id == self.details_id || Some(id) == self.stand_in {
            read::<D>(self.message, bytes)
        } else {
            Err(wrong(self.message, table, id))
        };
        match detail {
            Ok(detail) => {
                guard.observe(&detail);
                found.push(detail);
            }
            Err(error) => self.found = Err(error),
        }
        Step::More
    }
}

/// What one request of a get-stream brings.
#[derive(Debug)]
pub(super) struct Part<D> {
    pub(super) details: Vec<D>,
    pub(super) retval: i32,
    pub(super) cursor: u32,
    /// Bytes of the details' messages.
    pub(super) size: usize,
}

/// Details and the reply that ends or pauses them.
#[derive(Debug)]
pub(super) struct StreamSink<G: GetStream> {
    details_id: u16,
    reply_id: u16,
    details: Vec<G::Details>,
    size: usize,
    answer: Answer<Part<G::Details>>,
}

impl<G: GetStream> StreamSink<G> {
    pub(super) fn new(
        details_id: u16,
        reply_id: u16,
        answer: oneshot::Sender<Result<Part<G::Details>>>,
    ) -> Self {
        Self {
            details_id,
            reply_id,
            details: Vec::new(),
            size: 0,
            answer: Answer(Some(answer)),
        }
    }
}

impl<G: GetStream> Sink for StreamSink<G> {
    fn message(&self) -> &'static str {
        G::NAME
    }

    fn accept(&mut self, _: &Guard, table: &MessageTable, id: u16, bytes: &[u8]) -> Step {
        if id == self.details_id {
            return match read::<G::Details>(G::NAME, bytes) {
                Ok(detail) => {
                    self.details.push(detail);
                    self.size += bytes.len();
                    Step::More
                }
                Err(error) => self.answer.give(Err(error)),
            };
        }
        let details = std::mem::take(&mut self.details);
        let end = if id == self.reply_id {
            read::<G::Reply>(G::NAME, bytes)
        } else {
            Err(wrong(G::NAME, table, id))
        };
        self.answer.give(end.map(|reply| Part {
            details,
            retval: reply.retval(),
            cursor: reply.cursor(),
            size: self.size,
        }))
    }
}
