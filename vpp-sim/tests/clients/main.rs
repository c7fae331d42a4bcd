//! Clients we did not write drive the server: vpp_papi (PyPI) and GoVPP (Go module).
//!
//! Where an interpreter, a package or VPP's definitions are not at hand, the test says that it skips, and why.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod govpp;
mod papi;
mod tools;

use std::path::PathBuf;

use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, spawn};

/// A dataplane whose devices are played.
fn server(directory: &tempfile::TempDir, name: &str) -> Handle {
    spawn(Config::default(), directory.path().join(name)).unwrap()
}

/// A dataplane with statistics: `tap0`, interface 1, was sent three frames of 64 bytes for somebody else.
fn counting(directory: &tempfile::TempDir) -> (Handle, PathBuf) {
    let mut server = server(directory, "api.sock");
    let socket = directory.path().join("stats.sock");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let client = vpp_api::Client::connect(server.socket(), "test").await.unwrap();
        let tap = vpp_api::messages::tapv2::TapCreateV3 {
            id: u32::MAX,
            ..Default::default()
        };
        let sw_if_index = client.call(tap).await.unwrap().sw_if_index;
        assert_eq!(sw_if_index, 1);
        let flags = vpp_api::types::IfStatusFlags(1);
        let up = vpp_api::messages::interface::SwInterfaceSetFlags { sw_if_index, flags };
        client.call(up).await.unwrap();
    });
    let frame = [&[2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 8, 0][..], &[0; 50]].concat();
    for _ in 0..3 {
        server.inject(1, &frame);
    }
    // The segment begins with what is counted already.
    server.serve_stats(&socket).unwrap();
    (server, socket)
}
