//! Packets and small networks for the engine's tests. The packets are built here byte by byte, not with
//! the engine's own code.
#![allow(dead_code)] // Each test binary uses a part.

pub mod packets;
pub mod world;
