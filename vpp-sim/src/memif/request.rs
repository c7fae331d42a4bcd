//! What is asked of memifs, and what they tell.

use std::io;

use super::session::Settings;
use super::shared::Layout;

/// `MEMIF_DEFAULT_RING_SIZE` and `MEMIF_DEFAULT_BUFFER_SIZE`.
const DEFAULT_LOG2_RING_SIZE: u8 = 10;
const DEFAULT_BUFFER_SIZE: u16 = 2048;

/// An interface to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemifRequest {
    /// Of the interface.
    pub name: String,
    /// Of the control socket.
    pub socket_id: u32,
    /// The socket's name.
    pub socket: String,
    /// Of the interface on its socket.
    pub id: u32,
    /// It connects, and shares its memory.
    pub is_slave: bool,
    /// `memif_mode`.
    pub mode: u32,
    /// A slave's; 0 is 1.
    pub rx_queues: u8,
    /// A slave's; 0 is 1.
    pub tx_queues: u8,
    /// A power of two; 0 is 1024.
    pub ring_size: u32,
    /// 0 is 2048.
    pub buffer_size: u16,
    /// What a slave must know, if anything.
    pub secret: String,
}

impl MemifRequest {
    pub(super) fn settings(&self, program: &str) -> Settings {
        let log2_ring_size = match self.ring_size {
            0 => DEFAULT_LOG2_RING_SIZE,
            size => u8::try_from(size.ilog2()).unwrap_or(u8::MAX),
        };
        let buffer_size = match self.buffer_size {
            0 => DEFAULT_BUFFER_SIZE,
            size => size,
        };
        Settings {
            name: self.name.clone(),
            program: program.to_owned(),
            id: self.id,
            mode: u8::try_from(self.mode).unwrap_or(u8::MAX),
            secret: self.secret.clone(),
            layout: Layout {
                log2_ring_size,
                buffer_size,
                s2m_rings: u16::from(self.tx_queues.max(1)),
                m2s_rings: u16::from(self.rx_queues.max(1)),
            },
        }
    }
}

/// The interface cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on memif socket {socket:?}")]
pub struct CreateError {
    pub(super) socket: String,
    #[source]
    pub(super) source: io::Error,
}

/// The sizes `memif_dump` shows: those a slave has agreed upon last. A master's are never set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// Slots of a ring.
    pub ring_size: u32,
    /// Bytes of a buffer.
    pub buffer_size: u16,
}

impl Running {
    /// Before anything was agreed upon.
    pub const UNKNOWN: Self = Self {
        ring_size: 1,
        buffer_size: 0,
    };
}

/// What has happened on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Packets can pass, or no longer.
    Link(u32, bool),
    /// A packet came in.
    Frame(u32, Vec<u8>),
    /// So many packets were dropped for their descriptors.
    BadDescriptors(u64),
}

/// A frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The other end has not taken what it was sent before.
    NoFreeSlots,
    /// There is no other end.
    NotConnected,
    /// The other end's memory is not as it has to be: it was disconnected.
    Disconnected,
}
