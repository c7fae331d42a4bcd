//! One direction pair of keys, and which of a peer's three is in use (the WireGuard paper, 6; `wireguard_noise.c`).
use super::SECOND;
use super::noise::{self, Key, SessionKeys};
use crate::engine::replay::Window;

/// `REJECT_AFTER_TIME`: no packet goes or comes by older keys.
const REJECT_AFTER: u64 = 180 * SECOND;
/// `REKEY_AFTER_TIME`: the initiator asks for new keys when it sends by older ones.
const REKEY_AFTER: u64 = 120 * SECOND;
/// `REKEY_AFTER_TIME_RECV`: the same when it receives.
const REKEY_AFTER_RECEIVING: u64 = 165 * SECOND;
/// `COUNTER_WINDOW_SIZE`.
const WINDOW: u64 = 8192 - 64;

/// Keys with their counters.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub local_index: u32,
    remote_index: u32,
    keys: SessionKeys,
    is_initiator: bool,
    born: u64,
    sent: u64,
    received: Window,
}

impl Session {
    pub fn new(local_index: u32, remote_index: u32, keys: SessionKeys, is_initiator: bool, now: u64) -> Self {
        Self {
            local_index,
            remote_index,
            keys,
            is_initiator,
            born: now,
            sent: 0,
            received: Window::new(WINDOW),
        }
    }

    pub fn is_alive(&self, now: u64) -> bool {
        now.saturating_sub(self.born) < REJECT_AFTER
    }

    pub fn should_renew(&self, now: u64, on_receiving: bool) -> bool {
        let age = if on_receiving {
            REKEY_AFTER_RECEIVING
        } else {
            REKEY_AFTER
        };
        self.is_initiator && now.saturating_sub(self.born) >= age
    }

    /// A data message. VPP does not pad what it encrypts.
    pub fn seal(&mut self, data: &[u8]) -> Vec<u8> {
        let counter = self.sent;
        self.sent += 1;
        let mut message = vec![noise::DATA, 0, 0, 0];
        message.extend(self.remote_index.to_le_bytes());
        message.extend(counter.to_le_bytes());
        message.extend(noise::seal(&self.keys.send, counter, data, &[]));
        message
    }

    /// What a data message held; None when it is not authentic, or was seen before.
    pub fn open(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let (header, sealed) = message.split_at_checked(noise::DATA_HEADER)?;
        let counter = u64::from_le_bytes(header[8..].try_into().ok()?);
        if !self.received.is_fresh(counter) {
            return None;
        }
        let data = noise::open(&self.keys.receive, counter, sealed, &[])?;
        self.received.note(counter);
        Some(data)
    }
}

/// A peer's sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    pub current: Option<Session>,
    previous: Option<Session>,
    /// Offered by a responder, and used once the initiator has used it.
    next: Option<Session>,
}

impl Sessions {
    /// A handshake is done.
    pub fn begin(&mut self, session: Session) {
        if session.is_initiator {
            self.previous = self.next.take().or_else(|| self.current.take());
            self.current = Some(session);
        } else {
            self.next = Some(session);
            self.previous = None;
        }
    }

    pub fn has_index(&self, index: u32) -> bool {
        let all = [&self.current, &self.previous, &self.next];
        all.into_iter()
            .flatten()
            .any(|session| session.local_index == index)
    }

    /// Opens a data message with the session it names; whether that took a new session into use.
    pub fn open(&mut self, message: &[u8], now: u64) -> Option<(Vec<u8>, bool)> {
        let index = noise::index_at(message, 4);
        let named = |session: &&mut Session| session.local_index == index && session.is_alive(now);
        if let Some(session) = self.next.as_mut().filter(named) {
            let data = session.open(message)?;
            self.previous = self.current.take();
            self.current = self.next.take();
            return Some((data, true));
        }
        let older = self.current.iter_mut().chain(&mut self.previous);
        let data = older.into_iter().find(|session| named(session))?.open(message)?;
        Some((data, false))
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A key that is all zero is none.
pub(crate) fn is_set(key: &Key) -> bool {
    *key != [0; 32]
}
