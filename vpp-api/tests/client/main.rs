//! The client against a server played by the test.

#![allow(
    clippy::unwrap_used,
    reason = "a test that meets an error should fail right there"
)]

mod connections;
mod hostile;
mod refusals;
mod requests;
mod server;
