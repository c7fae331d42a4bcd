mod config;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use vpp_sim::server::{self, State};

/// Exit code of a process that aborted, which is how VPP ends.
const ABORTED: u8 = 134;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let options = config::Options::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let identity = options.identity();
    let version = identity.version.clone();
    let mut server = server::spawn_on_host(options.engine(), identity, &options.api_socket)
        .context("cannot start the dataplane")?;
    if let Some(socket) = &options.stats_socket {
        server.serve_stats(socket).context("cannot serve statistics")?;
    }
    tracing::info!(socket = %options.api_socket.display(), version, "serving");
    let ended = tokio::select! {
        _ = terminate.recv() => State::Stopped,
        _ = interrupt.recv() => State::Stopped,
        ended = server.ended() => ended,
    };
    drop(server);
    Ok(match ended {
        State::Died(_) => ExitCode::from(ABORTED),
        State::Running | State::Stopped => ExitCode::SUCCESS,
    })
}
