//! Packets and small networks for the engine's tests. The packets are built here byte by byte, not with
//! the engine's own code.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part, and a panic is its failure"
)]

pub mod flow;
pub mod packets;
pub mod script;
pub mod services;
pub mod tunnels;
pub mod world;
