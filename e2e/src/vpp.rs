//! What a dataplane holds, by its binary API: for "the same as before".

use std::path::Path;

use anyhow::{Context as _, Result};
use vpp_api::client::Client;
use vpp_api::messages::vlib;
pub use vpp_api::snapshot::{Snapshot, difference};

async fn connect(socket: &Path) -> Result<Client> {
    Client::connect(socket, "contiv-e2e")
        .await
        .context("connecting to the dataplane")
}

/// Takes a snapshot of the dataplane behind this API socket.
pub async fn snapshot(socket: &Path) -> Result<Snapshot> {
    let client = connect(socket).await?;
    let all = vpp_api::snapshot::snapshot(&client).await?;
    client.disconnect().await;
    Ok(all)
}

/// Runs a debug command, such as `show version`, and returns what it printed.
pub async fn command(socket: &Path, command: &str) -> Result<String> {
    let client = connect(socket).await?;
    let cmd = command.to_owned();
    let reply = client.call(vlib::CliInband { cmd }).await?;
    client.disconnect().await;
    Ok(reply.reply)
}
