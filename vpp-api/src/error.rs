//! What can go wrong between us and VPP.

use crate::codec::{DecodeError, EncodeError};
use crate::retval::Retval;
use crate::table::Missing;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Result of everything in this crate that talks to VPP.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request has no result.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// VPP answered that it did not do it.
    #[error("{message}: {retval}")]
    Failed {
        /// The request.
        message: &'static str,
        /// VPP's code.
        retval: Retval,
    },
    /// The client did not send it, because VPP would not survive it.
    #[error("{message}: not sent: {reason}")]
    Refused {
        /// The request.
        message: &'static str,
        /// What would happen, and what to do instead.
        reason: String,
    },
    /// This VPP does not offer it.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A field cannot be encoded.
    #[error("{message}: {source}")]
    Encode {
        /// The request.
        message: &'static str,
        /// Which field, and why.
        source: EncodeError,
    },
    /// The answer is not the message its id says.
    #[error("{message}: answer cannot be read: {source}")]
    Decode {
        /// The request.
        message: &'static str,
        /// Where it stopped.
        source: DecodeError,
    },
    /// Something else than the answer came with the request's context.
    #[error("{message}: answered with {answer}")]
    WrongAnswer {
        /// The request.
        message: &'static str,
        /// Name of what came, or its id.
        answer: String,
    },
    /// The connection is gone; whether VPP did what was asked is not known.
    #[error("connection to VPP: {0}")]
    Closed(#[from] Closed),
}

impl Error {
    /// VPP's return code, where VPP refused the request.
    #[must_use]
    pub const fn retval(&self) -> Option<Retval> {
        match self {
            Self::Failed { retval, .. } => Some(*retval),
            _ => None,
        }
    }

    /// Whether the connection is gone, so that nothing else will work on it either.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Closed {
    /// The socket cannot be opened.
    #[error("cannot connect to {path}: {source}")]
    Connect {
        /// Where.
        path: String,
        /// Why.
        source: Arc<io::Error>,
    },
    /// VPP did not accept the handshake.
    #[error("handshake refused, response {0}")]
    Handshake(i32),
    /// VPP closed it, or died.
    #[error("closed by VPP")]
    ByPeer,
    /// The socket failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// VPP did not answer in time. A late answer could not be told from others', so the connection is given up.
    #[error("no answer to {message} within {after:?}")]
    TimedOut {
        /// The oldest request without an answer.
        message: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// What comes is not VPP's protocol.
    #[error("not VPP's protocol: {0}")]
    Protocol(String),
    /// All 2³² contexts are used; reusing one could mistake an old answer for a new one.
    #[error("all contexts of this connection are used")]
    ContextsUsed,
    /// We closed it.
    #[error("closed by us")]
    ByUs,
}

impl From<io::Error> for Closed {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::ByPeer
            }
            _ => Self::Io(Arc::new(source)),
        }
    }
}
