//! Devices without a host: what would be created is recorded, frames are injected and collected by hand.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{AfPacketRequest, Attached, BATCH, Backend, Device, DeviceError, Fault, TapRequest};

/// What a client had opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// By `tap_create_v2`/`_v3`.
    Tap(TapRequest),
    /// By `af_packet_create_v2`/`_v3`.
    AfPacket(AfPacketRequest),
}

/// Records what was opened; cheap to clone, all clones see the same records.
#[derive(Clone, Debug, Default)]
pub struct InProcessBackend {
    opened: Arc<Mutex<Vec<Opened>>>,
    shares_memif: bool,
}

impl InProcessBackend {
    /// One whose memifs are not played: their sockets and memory are real.
    #[must_use]
    pub fn with_memif() -> Self {
        Self {
            shares_memif: true,
            ..Self::default()
        }
    }

    /// Everything opened so far, in order.
    #[must_use]
    pub fn opened(&self) -> Vec<Opened> {
        self.opened.lock().clone()
    }

    fn attach(&self, opened: Opened, host_name: String, mtu: u32) -> Attached {
        self.opened.lock().push(opened);
        Attached {
            device: Box::new(InProcess::default()),
            host_name,
            mtu,
        }
    }
}

impl Backend for InProcessBackend {
    fn open_tap(&mut self, request: &TapRequest) -> Result<Attached, DeviceError> {
        let name = request
            .name
            .clone()
            .unwrap_or_else(|| format!("tap{}", self.opened.lock().len()));
        Ok(self.attach(Opened::Tap(request.clone()), name, request.mtu.unwrap_or(1500)))
    }

    fn open_af_packet(&mut self, request: &AfPacketRequest) -> Result<Attached, DeviceError> {
        Ok(self.attach(
            Opened::AfPacket(request.clone()),
            request.host_if_name.clone(),
            1500,
        ))
    }

    fn plays_memif(&self) -> bool {
        !self.shares_memif
    }
}

/// Keeps the last frames sent to it.
#[derive(Debug, Default)]
pub struct InProcess {
    sent: Mutex<VecDeque<Vec<u8>>>,
}

/// Frames kept for a reader that may never come.
const KEPT: usize = 1024;

impl Device for InProcess {
    fn receive(&self, _scratch: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, Fault> {
        // Here "receive" is the test's side: it collects what the engine sent.
        let frames: Vec<_> = {
            let mut sent = self.sent.lock();
            let count = sent.len().min(BATCH);
            sent.drain(..count).collect()
        };
        for frame in &frames {
            sink(frame);
        }
        Ok(frames.len())
    }

    fn transmit(&self, frame: &[u8]) -> io::Result<()> {
        let mut sent = self.sent.lock();
        if sent.len() == KEPT {
            sent.pop_front();
        }
        sent.push_back(frame.to_vec());
        Ok(())
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
