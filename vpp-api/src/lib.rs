//! VPP binary API: codec, messages, async pipelined client over the unix socket.
//!
//! * [`codec`]: how fields look on the wire; [`message`]: how messages and frames do.
//! * [`types`] and [`mod@messages`]: VPP's own types and messages, under VPP's own names. Both directions are defined for
//!   every message, because a stand-in for VPP needs the other half.
//! * [`table`]: what the connected VPP offers, by message name and CRC.
//! * [`client`]: the connection, with pipelined requests, dumps and events.
//! * [`snapshot`]: everything a VPP holds, to be compared.
//! * [`stats`]: VPP's counters, read from shared memory.
//! * [`error`]: what can go wrong, with VPP's names for VPP's return codes ([`retval`]).

pub mod client;
pub mod codec;
mod enums;
pub mod error;
pub mod frames;
mod macros;
pub mod message;
pub mod messages;
pub mod retval;
pub mod shape;
pub mod snapshot;
pub mod stats;
pub mod table;
pub mod types;

pub use client::{Client, Connector, Options, Pending, VppEvent};
pub use error::{Closed, Error, Result};
pub use message::{Dump, Event, GetStream, Header, Message, Reply, Request};
pub use retval::Retval;
