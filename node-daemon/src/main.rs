//! contiv-node.

use anyhow::Context;
use clap::Parser;
use node_daemon::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Needs none of what the daemon must be told.
    if std::env::args().skip(1).eq(["cleanup".to_owned()]) {
        return node_daemon::host::clean().await.context("contiv-node cleanup");
    }
    let config = Config::parse();
    let format = config.log_format.parse().context("--log-format")?;
    runtime::telemetry::init(format, &config.log).context("logging")?;
    node_daemon::run(config).await.context("contiv-node")
}
