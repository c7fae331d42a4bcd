//! When a peer shakes hands, says that it is there, and forgets its keys (`wireguard_timer.c`).
use super::SECOND;

/// `REKEY_TIMEOUT`: between two initiations.
const REKEY_TIMEOUT: u64 = 5 * SECOND;
/// `KEEPALIVE_TIMEOUT`: an answer is sent to data after this, be it empty.
const KEEPALIVE_TIMEOUT: u64 = 10 * SECOND;
/// `MAX_TIMER_HANDSHAKES`.
const MAX_ATTEMPTS: u32 = 18;
/// `REJECT_AFTER_TIME`, three times: keys are forgotten.
const ZEROING: u64 = 3 * 180 * SECOND;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Handshake { is_retry: bool },
    Keepalive,
    Forget,
}

/// Times in nanoseconds of the engine's clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    /// The first handshake is to be sent.
    first: bool,
    /// The last initiation without answer.
    initiated: Option<u64>,
    attempts: u32,
    last_initiation: Option<u64>,
    last_sent: u64,
    last_received: u64,
    /// Data was sent, and nothing came back since.
    data_sent: Option<u64>,
    /// Data was received, and nothing was sent since.
    data_received: Option<u64>,
    session_derived: Option<u64>,
}

impl Timers {
    pub fn new(shake_hands: bool) -> Self {
        Self {
            first: shake_hands,
            ..Self::default()
        }
    }

    /// Whether another initiation may go out.
    pub fn may_initiate(&self, now: u64) -> bool {
        self.last_initiation
            .is_none_or(|last| now.saturating_sub(last) >= REKEY_TIMEOUT)
    }

    pub fn initiation_sent(&mut self, now: u64, is_retry: bool) {
        if !is_retry {
            self.attempts = 0;
        }
        self.first = false;
        self.initiated = Some(now);
        self.last_initiation = Some(now);
        self.last_sent = now;
    }

    pub fn session_begun(&mut self, now: u64, is_initiator: bool) {
        self.session_derived = Some(now);
        if is_initiator {
            self.handshake_complete();
        }
    }

    pub fn handshake_complete(&mut self) {
        self.initiated = None;
        self.attempts = 0;
        self.first = false;
    }

    pub fn sent(&mut self, now: u64, is_data: bool) {
        self.last_sent = now;
        self.data_received = None;
        if is_data && self.data_sent.is_none() {
            self.data_sent = Some(now);
        }
    }

    pub fn received(&mut self, now: u64, is_data: bool) {
        self.last_received = now;
        self.data_sent = None;
        if is_data && self.data_received.is_none() {
            self.data_received = Some(now);
        }
    }

    /// What is due now, with the seconds of the persistent keepalive.
    pub fn due(&mut self, now: u64, keepalive: u16) -> Option<Action> {
        let over = |since: u64, time: u64| now.saturating_sub(since) >= time;
        if self.session_derived.is_some_and(|since| over(since, ZEROING)) {
            self.session_derived = None;
            return Some(Action::Forget);
        }
        if self.first {
            return Some(Action::Handshake { is_retry: false });
        }
        if self.initiated.is_some_and(|since| over(since, REKEY_TIMEOUT)) {
            if self.attempts > MAX_ATTEMPTS {
                self.initiated = None;
                return None;
            }
            self.attempts += 1;
            return Some(Action::Handshake { is_retry: true });
        }
        if self
            .data_sent
            .is_some_and(|since| over(since, KEEPALIVE_TIMEOUT + REKEY_TIMEOUT))
        {
            self.data_sent = None;
            return Some(Action::Handshake { is_retry: false });
        }
        let silent = self
            .data_received
            .is_some_and(|since| over(since, KEEPALIVE_TIMEOUT));
        let persistent = keepalive != 0
            && (self.last_sent, self.last_received) != (0, 0)
            && over(
                self.last_sent.max(self.last_received),
                u64::from(keepalive) * SECOND,
            );
        (silent || persistent).then_some(Action::Keepalive)
    }
}
