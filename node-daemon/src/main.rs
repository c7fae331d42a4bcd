//! contiv-node.

use anyhow::Context;
use clap::Parser;
use node_daemon::Config;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let format = config.log_format.parse().context("--log-format")?;
    runtime::telemetry::init(format, &config.log).context("logging")?;
    node_daemon::run(config).await.context("contiv-node")
}
