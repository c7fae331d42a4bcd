//! VPP binary API: codec, messages, async pipelined client over the unix socket.
//!
//! * [`codec`]: how fields look on the wire; [`message`]: how messages and frames do.
//! * [`types`] and [`messages`]: VPP's own types and messages, under VPP's own names. Both directions are defined for
//!   every message, because a stand-in for VPP needs the other half.

pub mod codec;
mod macros;
pub mod message;
pub mod messages;
pub mod shape;
pub mod types;
