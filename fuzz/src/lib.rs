//! What a hostile peer may send, in four targets: each takes bytes, makes something of them, and panics where the code behind
//! it breaks a promise.
//!
//! * [`decoder`]: frames and messages of every kind.
//! * [`server`]: clients of the embedded dataplane, requests well and badly formed, packets in between.
//! * [`engine`]: packets through a node that has everything configured.
//! * [`stats`]: a stats segment.
//!
//! [`shaped`] makes messages from their definitions, so that a message that is added is fuzzed without further ado.
//! [`seeds`] makes what fuzzing starts from.

pub mod addresses;
pub mod decoder;
pub mod engine;
pub mod frames;
#[path = "../../vpp-sim/tests/engine_common/packets.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "the packets of the dataplane's tests"
)]
mod packets;
pub mod seeds;
pub mod server;
pub mod shaped;
pub mod stats;
