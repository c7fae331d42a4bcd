//! Messages and frames: the heads of each kind, and the 16 bytes in front of every message on the socket.

use crate::codec::{Decode, DecodeError, EncodeError, Reader, Wire, Writer};
use std::fmt::Debug;

/// Bytes in front of each message: 8 ignored, the length (big-endian u32), 4 ignored. VPP's `msgbuf_t`.
pub const FRAME_HEADER_LEN: usize = 16;

/// What stands between a message's id and its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// `client_index, context`: requests, and a few answers that keep the client index.
    ClientAndContext,
    /// `context`: replies, details, and `sockclnt_create`.
    Context,
    /// `client_index, pid`: events.
    ClientAndPid,
}

/// The values of a head. What a kind of message does not carry is ignored on sending and 0 on receiving.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// The handle of the handshake; in events, that of the subscriber.
    pub client_index: u32,
    /// What ties an answer to its request; in events, the `pid` of the subscription.
    pub context: u32,
}

/// A message of VPP's API. The struct holds what follows the head.
pub trait Message: Wire + Debug + Send + 'static {
    /// VPP's name.
    const NAME: &'static str;
    /// VPP's checksum of the definition, eight hex digits.
    const CRC: &'static str;
    /// Key in the message table: `<name>_<crc>`.
    const NAME_CRC: &'static str;
    /// Which head it has.
    const HEAD: Head;
}

/// A message that answers a request.
pub trait Reply: Message {
    /// VPP's return code; 0 where the message has none.
    fn retval(&self) -> i32;
}

/// A message answered by exactly one reply.
pub trait Request: Message {
    /// Its answer.
    type Reply: Reply;
}

/// A message answered by any number of details and no end; the client ends it with a `control_ping`.
pub trait Dump: Message {
    /// One element of the answer.
    type Details: Message;
}

/// A message answered by details and a reply with a cursor at which to go on.
pub trait GetStream: Message {
    /// One element of the answer.
    type Details: Message;
    /// The end of the answer.
    type Reply: StreamReply;
    /// Sets where to go on; 0 is the start.
    fn set_cursor(&mut self, cursor: u32);
}

/// The reply that ends a [`GetStream`].
pub trait StreamReply: Reply {
    /// Where to go on when [`Reply::retval`] says EAGAIN.
    fn cursor(&self) -> u32;
}

/// A message VPP sends by itself to subscribers.
pub trait Event: Message {}

/// Whether a message could be read, and then whether it could be written again.
pub type Recoded = Result<Result<(), EncodeError>, DecodeError>;

/// What is known of a message without a value of it.
#[derive(Debug, Clone, Copy)]
pub struct MessageInfo {
    /// Of the Rust type: finds an id without hashing a name.
    pub type_id: std::any::TypeId,
    /// VPP's name.
    pub name: &'static str,
    /// VPP's checksum.
    pub crc: &'static str,
    /// Key in the message table.
    pub name_crc: &'static str,
    /// Which head it has.
    pub head: Head,
    /// The fields behind the head.
    pub shape: crate::shape::Shape,
    /// Whether bytes, from the id on, are such a message; the id is not checked.
    pub readable: fn(&[u8]) -> Result<(), DecodeError>,
    /// Reads such a message and appends it as we would write it.
    pub recode: fn(&[u8], &mut Vec<u8>) -> Recoded,
}

impl MessageInfo {
    /// What is known of `M`.
    #[must_use]
    pub const fn of<M: Message>() -> Self {
        Self {
            type_id: std::any::TypeId::of::<M>(),
            name: M::NAME,
            crc: M::CRC,
            name_crc: M::NAME_CRC,
            head: M::HEAD,
            shape: M::SHAPE,
            readable: |message| decode_message::<M>(message).map(|_| ()),
            recode: |message, out| {
                let (id, header, body) = decode_message::<M>(message)?;
                Ok(encode_message(out, id, header, &body))
            },
        }
    }
}

/// The id a received message starts with; `None` for fewer than two bytes.
#[must_use]
pub fn message_id(message: &[u8]) -> Option<u16> {
    message.first_chunk::<2>().map(|id| u16::from_be_bytes(*id))
}

/// Appends `body` with its head to `out`, without a frame header.
///
/// # Errors
/// [`EncodeError`]; `out` is then as before.
pub fn encode_message<M: Message>(
    out: &mut Vec<u8>,
    id: u16,
    header: Header,
    body: &M,
) -> Result<(), EncodeError> {
    let start = out.len();
    let mut w = Writer::new(std::mem::take(out));
    w.bytes(&id.to_be_bytes());
    match M::HEAD {
        Head::ClientAndContext | Head::ClientAndPid => {
            w.bytes(&header.client_index.to_be_bytes());
            w.bytes(&header.context.to_be_bytes());
        }
        Head::Context => w.bytes(&header.context.to_be_bytes()),
    }
    let result = body.encode(&mut w);
    *out = w.into_inner();
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends `body` as a whole frame to `out`.
///
/// # Errors
/// [`EncodeError`]; `out` is then as before.
pub fn encode_frame<M: Message>(
    out: &mut Vec<u8>,
    id: u16,
    header: Header,
    body: &M,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.resize(start + FRAME_HEADER_LEN, 0);
    let result = encode_message(out, id, header, body).and_then(|()| {
        let length = out.len() - start - FRAME_HEADER_LEN;
        let announced = u32::try_from(length).map_err(|_| EncodeError::TooManyElements {
            field: "data_len",
            length,
            max: u32::MAX as usize,
        })?;
        out[start + 8..start + 12].copy_from_slice(&announced.to_be_bytes());
        Ok(())
    });
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// The length a frame header announces for the message behind it.
#[must_use]
pub fn frame_length(header: &[u8; FRAME_HEADER_LEN]) -> u32 {
    u32::from_be_bytes([header[8], header[9], header[10], header[11]])
}

/// Takes a message apart: id, head, fields. Bytes behind the last field are ignored, as VPP sends some.
///
/// # Errors
/// [`DecodeError`] when the bytes are not an `M`. The id is not checked.
pub fn decode_message<M: Message>(message: &[u8]) -> Result<(u16, Header, M), DecodeError> {
    let mut r = Reader::new(message);
    let id = u16::decode(&mut r)?;
    let header = decode_header(M::HEAD, &mut r)?;
    Ok((id, header, M::decode(&mut r)?))
}

/// Reads a head of the given kind.
///
/// # Errors
/// [`DecodeError::Short`] when the message ends inside it.
pub fn decode_header(head: Head, r: &mut Reader<'_>) -> Result<Header, DecodeError> {
    let client_index = match head {
        Head::ClientAndContext | Head::ClientAndPid => u32::decode(r)?,
        Head::Context => 0,
    };
    Ok(Header {
        client_index,
        context: u32::decode(r)?,
    })
}
