//! A server in process with the project's own client connected to it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses a part; helpers fail like tests"
)]

use vpp_api::messages::interface::CreateLoopback;
use vpp_api::{Client, Request};
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, spawn};

pub async fn start() -> (tempfile::TempDir, Handle, Client) {
    let directory = tempfile::tempdir().unwrap();
    let server = spawn(Config::default(), directory.path().join("api.sock")).unwrap();
    let client = Client::connect(server.socket(), "test").await.unwrap();
    (directory, server, client)
}

/// The return code of a request: 0, or VPP's.
pub async fn code<R: Request>(client: &Client, request: R) -> i32 {
    match client.call(request).await {
        Ok(_) => 0,
        Err(error) => error.retval().unwrap_or_else(|| panic!("{error}")).0,
    }
}

pub async fn loopback(client: &Client) -> u32 {
    client.call(CreateLoopback::default()).await.unwrap().sw_if_index
}
