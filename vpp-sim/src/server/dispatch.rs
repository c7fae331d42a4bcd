//! From a message's bytes to the handler that answers it, and back.

use std::collections::BTreeMap;

use vpp_api::codec::{DecodeError, Zero as _};
use vpp_api::message::{
    Dump, FRAME_HEADER_LEN, GetStream, Head, Header, Message, MessageInfo, Reply, Request, decode_message,
    encode_frame, message_id,
};
use vpp_api::messages::memclnt;
use vpp_api::shape::Shape;

use super::core::Core;
use super::handlers;
use super::release::Release;
use super::table::Ids;
use crate::engine::{NONE, OpError, OpResult};

/// Answers one message into the buffer.
type Handler = Box<dyn Fn(&mut Core, &mut Call<'_>) -> Result<(), DecodeError> + Send + Sync>;

/// One message on its way through a handler.
pub struct Call<'a> {
    ids: &'a Ids,
    message: &'a [u8],
    /// The handle of the connection it came in on.
    pub client: u32,
    answers: &'a mut Vec<u8>,
}

impl Call<'_> {
    fn send<M: Message>(&mut self, context: u32, body: &M) {
        send(
            self.answers,
            self.ids.id(M::NAME_CRC),
            Header {
                client_index: 0,
                context,
            },
            body,
        );
    }
}

/// Appends a frame. The bytes VPP does not define are junk, as they are in VPP: a client that looks at them is wrong.
fn send<M: Message>(out: &mut Vec<u8>, id: u16, header: Header, body: &M) {
    let start = out.len();
    if let Err(error) = encode_frame(out, id, header, body) {
        tracing::error!(%error, message = M::NAME, "answer cannot be encoded");
        return;
    }
    out[start..start + 8].copy_from_slice(&[0xc0, 0xf4, 0x04, 0x30, 0x01, 0, 0, 0]);
    out[start + 12..start + 16].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
}

/// What this server offers and how it answers.
pub struct Dispatcher {
    ids: Ids,
    handlers: Vec<Option<Handler>>,
}

/// Collects handlers while the server is built.
#[derive(Default)]
pub struct Registry {
    handlers: BTreeMap<&'static str, Handler>,
}

impl Registry {
    /// A request whose handler makes the reply. A plain failure becomes a zeroed reply with the return code.
    pub fn request<M: Request>(
        &mut self,
        handler: impl Fn(&mut Core, M) -> OpResult<M::Reply> + Send + Sync + 'static,
    ) {
        self.answer::<M, M::Reply>(move |core, _, message| handler(core, message));
    }

    /// A request answered by a return code alone.
    pub fn ack<M: Request>(&mut self, handler: impl Fn(&mut Core, M) -> OpResult + Send + Sync + 'static) {
        self.answer::<M, M::Reply>(move |core, _, message| handler(core, message).map(|()| M::Reply::zero()));
    }

    /// A request from a known client, answered by any reply: some of VPP's handlers send another one's.
    pub fn answer<M: Message, R: Reply>(
        &mut self,
        handler: impl Fn(&mut Core, u32, M) -> OpResult<R> + Send + Sync + 'static,
    ) {
        self.insert::<M>(Box::new(move |core, call| {
            let (_, header, message) = decode_message::<M>(call.message)?;
            match handler(core, call.client, message) {
                Ok(reply) => call.send(header.context, &reply),
                Err(OpError::Retval(retval)) => {
                    let start = call.answers.len();
                    call.send(header.context, &R::zero());
                    write_field::<R>(&mut call.answers[start..], "retval", retval.to_be_bytes());
                }
                Err(OpError::Fatal(reason)) => core.die(reason),
            }
            Ok(())
        }));
    }

    /// A dump: the details alone, no end.
    pub fn dump<M: Dump>(
        &mut self,
        handler: impl Fn(&mut Core, M) -> Vec<M::Details> + Send + Sync + 'static,
    ) {
        self.dump_as(handler);
    }

    /// A dump answered by any details: some of VPP's handlers send another one's.
    pub fn dump_as<M: Message, D: Message>(
        &mut self,
        handler: impl Fn(&mut Core, M) -> Vec<D> + Send + Sync + 'static,
    ) {
        self.details_of(move |core, _, message| handler(core, message));
    }

    /// A dump of things that may kill VPP.
    pub fn try_dump<M: Dump>(
        &mut self,
        handler: impl Fn(&mut Core, M) -> OpResult<Vec<M::Details>> + Send + Sync + 'static,
    ) {
        self.insert::<M>(Box::new(move |core, call| {
            let (_, header, message) = decode_message::<M>(call.message)?;
            match handler(core, message) {
                Ok(all) => all.iter().for_each(|details| call.send(header.context, details)),
                Err(OpError::Retval(_)) => {}
                Err(OpError::Fatal(reason)) => core.die(reason),
            }
            Ok(())
        }));
    }

    /// A dump for a known client, answered by any details.
    pub fn details_of<M: Message, D: Message>(
        &mut self,
        handler: impl Fn(&mut Core, u32, M) -> Vec<D> + Send + Sync + 'static,
    ) {
        self.insert::<M>(Box::new(move |core, call| {
            let (_, header, message) = decode_message::<M>(call.message)?;
            for details in handler(core, call.client, message) {
                call.send(header.context, &details);
            }
            Ok(())
        }));
    }

    /// A dump for a known client that ends with a reply of its own kind, of things that may kill VPP.
    pub fn try_details_and_reply<M: Message, D: Message, R: Message>(
        &mut self,
        handler: impl Fn(&mut Core, u32, M) -> OpResult<(Vec<D>, R)> + Send + Sync + 'static,
    ) {
        self.insert::<M>(Box::new(move |core, call| {
            let (_, header, message) = decode_message::<M>(call.message)?;
            match handler(core, call.client, message) {
                Ok((details, reply)) => {
                    details
                        .iter()
                        .for_each(|details| call.send(header.context, details));
                    call.send(header.context, &reply);
                }
                Err(OpError::Retval(_)) => {}
                Err(OpError::Fatal(reason)) => core.die(reason),
            }
            Ok(())
        }));
    }

    /// A request that is not answered at all where VPP cannot read it.
    pub fn maybe<M: Request>(
        &mut self,
        handler: impl Fn(&mut Core, M) -> Option<M::Reply> + Send + Sync + 'static,
    ) {
        self.insert::<M>(Box::new(move |core, call| {
            let (_, header, message) = decode_message::<M>(call.message)?;
            if let Some(reply) = handler(core, message) {
                call.send(header.context, &reply);
            }
            Ok(())
        }));
    }

    /// As [`Self::dump`], with so many bytes behind each element as VPP allocates too many.
    pub fn dump_with_tail<M: Dump>(
        &mut self,
        handler: impl Fn(&mut Core, M) -> Vec<M::Details> + Send + Sync + 'static,
        tail: impl Fn(&M::Details) -> usize + Send + Sync + 'static,
    ) {
        self.insert::<M>(Box::new(move |core, call| {
            let (_, header, message) = decode_message::<M>(call.message)?;
            for details in handler(core, message) {
                let start = call.answers.len();
                call.send(header.context, &details);
                call.answers.resize(call.answers.len() + tail(&details), 0xa5);
                let length = call.answers.len() - start - FRAME_HEADER_LEN;
                let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
                call.answers[start + 8..start + 12].copy_from_slice(&length);
            }
            Ok(())
        }));
    }

    /// A dump that ends with a reply: elements with their index in VPP's pool, from the message's cursor on
    /// (`REPLY_AND_DETAILS_MACRO`).
    ///
    /// The reply says −7 when the cursor lies behind all elements; it says nothing of the cursor when there are none.
    pub fn stream<M: GetStream>(
        &mut self,
        cursor: impl Fn(&M) -> u32 + Send + Sync + 'static,
        handler: impl Fn(&mut Core, M) -> OpResult<Vec<(u32, M::Details)>> + Send + Sync + 'static,
    ) {
        self.insert::<M>(Box::new(move |core, call| {
            let (_, header, message) = decode_message::<M>(call.message)?;
            let from = cursor(&message);
            let (mut retval, mut end) = (0, 0);
            match handler(core, message) {
                Ok(all) if all.is_empty() => {}
                Ok(all) => {
                    end = NONE;
                    retval = crate::engine::retval::INVALID_VALUE;
                    for (_, details) in all.iter().filter(|(index, _)| *index >= from) {
                        retval = 0;
                        call.send(header.context, details);
                    }
                }
                Err(OpError::Retval(code)) => retval = code,
                Err(OpError::Fatal(reason)) => {
                    core.die(reason);
                    return Ok(());
                }
            }
            let start = call.answers.len();
            call.send(header.context, &M::Reply::zero());
            let reply = &mut call.answers[start..];
            write_field::<M::Reply>(reply, "retval", retval.to_be_bytes());
            write_field::<M::Reply>(reply, "cursor", end.to_be_bytes());
            Ok(())
        }));
    }

    /// A message that is taken and never answered.
    pub fn silent(&mut self, name_crc: &'static str) {
        self.handlers.insert(name_crc, Box::new(|_, _| Ok(())));
    }

    fn insert<M: Message>(&mut self, handler: Handler) {
        self.handlers.insert(M::NAME_CRC, handler);
    }
}

/// Writes the return code or the cursor into an encoded reply. It is the first or second field, and what is before it
/// has four bytes.
fn write_field<R: Message>(frame: &mut [u8], name: &str, value: [u8; 4]) {
    let Shape::Struct { fields, .. } = R::SHAPE else {
        return;
    };
    let head = match R::HEAD {
        Head::Context => FRAME_HEADER_LEN + 6,
        Head::ClientAndContext | Head::ClientAndPid => FRAME_HEADER_LEN + 10,
    };
    let at = match fields.iter().position(|field| field.ident == name) {
        Some(0) => head,
        Some(1) => head + 4,
        _ => return,
    };
    if let Some(field) = frame.get_mut(at..at + 4) {
        field.copy_from_slice(&value);
    }
}

/// The messages of each API file on offer, requests with their answers.
pub fn offered(release: Release) -> Vec<(&'static str, Vec<&'static str>)> {
    let names = |messages: &[MessageInfo]| {
        messages
            .iter()
            .filter(|info| release.has(info))
            .map(|info| info.name_crc)
            .collect::<Vec<_>>()
    };
    let all = vpp_api::messages::ALL.iter().map(|(module, messages)| {
        let older = release.older().into_iter().filter(|(of, _)| of == module);
        let older = older.flat_map(|(_, messages)| names(messages));
        (*module, names(messages).into_iter().chain(older).collect())
    });
    all.collect()
}

impl Dispatcher {
    /// Ids depend on the seed.
    pub fn new(release: Release, seed: u64) -> Self {
        let registry = handlers::registry(release);
        let ids = Ids::new(&offered(release), seed);
        let mut handlers: Vec<Option<Handler>> = Vec::new();
        for (name_crc, handler) in registry.handlers {
            let id = usize::from(ids.id(name_crc));
            if id != 0 {
                if handlers.len() <= id {
                    handlers.resize_with(id + 1, || None);
                }
                handlers[id] = Some(handler);
            }
        }
        Self { ids, handlers }
    }

    /// Answers one message; false when the connection is to be closed afterwards. What VPP drops is dropped: unknown
    /// ids, messages that are too short, and a `client_index` that is not the connection's.
    pub fn handle(&self, core: &mut Core, client: u32, message: &[u8], answers: &mut Vec<u8>) -> bool {
        if !core.is_running() {
            return false;
        }
        let Some(id) = message_id(message) else {
            return true;
        };
        match id {
            memclnt::SOCKCLNT_CREATE_ID => self.create(core, client, message, answers),
            memclnt::SOCKCLNT_DELETE_ID => return self.delete(client, message, answers),
            _ => match self.handlers.get(usize::from(id)).and_then(Option::as_ref) {
                Some(handler)
                    if client_index(message) == Some(client) && core.clients.is_registered(client) =>
                {
                    let mut call = Call {
                        ids: &self.ids,
                        message,
                        client,
                        answers,
                    };
                    if let Err(error) = handler(core, &mut call) {
                        tracing::warn!(%error, id, "truncated message dropped");
                    }
                    let now = core.now();
                    if let Some(observer) = &mut core.observer {
                        observer(&mut core.vpp, now);
                    }
                }
                Some(_) => tracing::warn!(id, "message with a foreign client_index dropped"),
                None => tracing::warn!(id, "no handler for message id"),
            },
        }
        true
    }

    fn create(&self, core: &mut Core, client: u32, message: &[u8], answers: &mut Vec<u8>) {
        let (header, request) = match decode_message::<memclnt::SockclntCreate>(message) {
            Ok((_, header, request)) => (header, request),
            Err(error) => {
                tracing::warn!(%error, "truncated handshake dropped");
                return;
            }
        };
        core.clients.register(client, request.name);
        let reply = memclnt::SockclntCreateReply {
            response: 0,
            index: client,
            message_table: self.ids.entries(),
        };
        let id = memclnt::SOCKCLNT_CREATE_REPLY_ID;
        send(
            answers,
            id,
            Header {
                client_index: 0,
                context: header.context,
            },
            &reply,
        );
    }

    fn delete(&self, client: u32, message: &[u8], answers: &mut Vec<u8>) -> bool {
        let Ok((_, header, request)) = decode_message::<memclnt::SockclntDelete>(message) else {
            return true;
        };
        if header.client_index != client {
            return true;
        }
        let known = request.index == client;
        let reply = memclnt::SockclntDeleteReply {
            response: if known { 1 } else { -1 },
        };
        let id = memclnt::SOCKCLNT_DELETE_REPLY_ID;
        send(
            answers,
            id,
            Header {
                client_index: 0,
                context: header.context,
            },
            &reply,
        );
        !known
    }

    /// Encodes an event for one subscriber.
    pub fn event<M: Message>(&self, out: &mut Vec<u8>, client: u32, pid: u32, event: &M) {
        debug_assert_eq!(M::HEAD, Head::ClientAndPid);
        send(
            out,
            self.ids.id(M::NAME_CRC),
            Header {
                client_index: client,
                context: pid,
            },
            event,
        );
    }
}

/// The client index of a request: behind the id.
fn client_index(message: &[u8]) -> Option<u32> {
    message
        .get(2..)?
        .first_chunk::<4>()
        .map(|index| u32::from_be_bytes(*index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(release: Release) -> Vec<&'static str> {
        offered(release)
            .into_iter()
            .flat_map(|(_, names)| names)
            .collect()
    }

    #[test]
    fn every_request_on_offer_has_a_handler_and_every_answer_an_id() {
        for release in Release::ALL {
            whole(release);
        }
    }

    fn whole(release: Release) {
        let dispatcher = Dispatcher::new(release, 3);
        for name in names(release) {
            let id = dispatcher.ids.id(name);
            assert_ne!(id, 0, "{name}");
            let (message, _) = name.rsplit_once('_').unwrap();
            let answer = ["_reply", "_details", "_event", "_event_v2"]
                .iter()
                .any(|end| message.ends_with(end));
            let by_hand = message == "sockclnt_create" || message == "sockclnt_delete";
            let handled = dispatcher
                .handlers
                .get(usize::from(id))
                .is_some_and(Option::is_some);
            assert_eq!(handled, !answer && !by_hand, "{name}");
        }
    }
}
