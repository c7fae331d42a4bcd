//! memif: packets through memory that two processes share, agreed upon over a control socket
//! (VPP `src/plugins/memif/`).
//!
//! * [`Memifs`]: the interfaces, their sockets and connections; everything that becomes ready is in one `poll` set.
//! * `endpoint`, `message`: control sockets and what is said on them; `session`: the conversation.
//! * `region`, `ring`, `shared`: the memory and its layout; `queue`: packets into rings and out of them.
//!
//! The other end may be anybody: whatever it writes costs it its connection, and nobody else anything.

mod endpoint;
mod memifs;
mod message;
mod poll;
mod queue;
mod region;
mod request;
mod ring;
mod session;
mod shared;

pub use memifs::Memifs;
pub use request::{Change, CreateError, Loss, MemifRequest, Running};

/// Why a connection is ended, in VPP's words: the other end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Refusal(&'static str);

/// A connection has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Closed {
    /// By the other end.
    #[error("disconnected")]
    Gone,
    /// By us.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
