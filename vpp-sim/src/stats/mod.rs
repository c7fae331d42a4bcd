//! The stats segment: the engine's counters in memory that clients map, laid out as VPP's (`vlib/stats/shared.h`).
//!
//! * [`segment`]: the memory and its protocol.
//! * [`collect`]: which counters there are.
//! * `serve`: the socket that passes the memory on, and the thread that keeps it fresh.

pub mod collect;
pub mod segment;
mod serve;

pub use serve::{Server, StatsSocketError};
