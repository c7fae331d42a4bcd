//! The embedded dataplane: a stand-in for VPP that speaks its binary API and forwards real packets.
//!
//! * [`engine`]: VPP's tables and the walk of a packet through its graph; pure.
//! * [`device`]: taps and AF_PACKET sockets, or their like in process.
//! * [`memif`]: packets through memory shared with another process.
//! * [`server`]: the API socket and the packet thread that put both together.
//! * [`stats`]: the counters in shared memory.
//!
//! It is never the product: the product is VPP. Whatever it does, real VPP does first.

pub mod device;
pub mod engine;
pub mod memif;
pub mod server;
pub mod stats;
