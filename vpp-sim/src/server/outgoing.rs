//! What waits to be written to one client.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Bytes a client may leave unread before it is cut off. VPP buffers without limit until its heap is full and it dies;
/// the largest dump a client may reasonably leave lying (a million routes) fits.
pub const LIMIT: usize = 256 << 20;

/// A queue of encoded frames: filled by whoever answers, drained by the client's writer.
#[derive(Debug, Default)]
pub struct Outgoing {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    closing: bool,
    overrun: bool,
}

/// What the writer has to do next.
pub enum Next {
    Write(Vec<u8>),
    /// Everything was written and nothing will follow.
    Close,
    /// The client did not read: nothing more is written.
    CutOff,
}

impl Outgoing {
    /// Appends frames; what goes over the limit marks the client to be cut off.
    pub fn push(&self, frames: &[u8]) {
        if frames.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.overrun || state.bytes.len() + frames.len() > LIMIT {
            state.overrun = true;
            state.bytes = Vec::new();
        } else {
            state.bytes.extend_from_slice(frames);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Closes the connection once everything is written.
    pub fn close(&self) {
        self.state.lock().closing = true;
        self.wake.notify_one();
    }

    /// Everything that waits.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.lock().bytes)
    }

    /// Waits for something to do.
    pub async fn next(&self) -> Next {
        loop {
            {
                let mut state = self.state.lock();
                if state.overrun {
                    return Next::CutOff;
                }
                if !state.bytes.is_empty() {
                    return Next::Write(std::mem::take(&mut state.bytes));
                }
                if state.closing {
                    return Next::Close;
                }
            }
            self.wake.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_read_is_kept_up_to_the_limit_and_then_freed() {
        let outgoing = Outgoing::default();
        let dump = vec![0; LIMIT / 4];
        for _ in 0..4 {
            outgoing.push(&dump);
        }
        assert_eq!(outgoing.state.lock().bytes.len(), LIMIT);
        outgoing.push(&[1]);
        assert_eq!(
            outgoing.state.lock().bytes.capacity(),
            0,
            "its memory is free again"
        );
        // Nor does it grow again before the writer has seen it.
        outgoing.push(&dump);
        assert_eq!(outgoing.state.lock().bytes.capacity(), 0);
        assert!(matches!(outgoing.next().await, Next::CutOff));
    }

    #[tokio::test]
    async fn what_was_answered_is_written_before_the_end() {
        let outgoing = Outgoing::default();
        outgoing.push(&[1, 2]);
        outgoing.close();
        assert!(matches!(outgoing.next().await, Next::Write(bytes) if bytes == [1, 2]));
        assert!(matches!(outgoing.next().await, Next::Close));
    }
}
