//! contiv-node.

use anyhow::Context;
use clap::Parser;
use node_daemon::Config;
use node_daemon::install::{Cleanup, Install};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = || std::env::args_os().skip(1);
    // Neither needs what the daemon must be told.
    match std::env::args().nth(1).as_deref() {
        Some("install-cni") => {
            Install::parse_from(arguments())
                .run()
                .context("contiv-node install-cni")?;
            return Ok(());
        }
        Some("cleanup") => {
            let cleanup = Cleanup::parse_from(arguments());
            cleanup.run().await.context("contiv-node cleanup")?;
            if cleanup.wait {
                runtime::shutdown::signalled().await.context("signals")?;
            }
            return Ok(());
        }
        _ => {}
    }
    let config = Config::parse();
    let format = config.log_format.parse().context("--log-format")?;
    runtime::telemetry::init(format, &config.log).context("logging")?;
    node_daemon::run(config).await.context("contiv-node")
}
