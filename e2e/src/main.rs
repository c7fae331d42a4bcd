//! `contiv-e2e`: clusters for people and for tests, in network namespaces of this machine.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::{relay, run};

/// Clusters in network namespaces: a real kube-apiserver, the operator, and nodes with real packets.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Takes down what earlier runs left behind or kept; runs in progress are left alone.
    Clean,
    /// Waits on standard input for its owner's end, then takes the run down.
    #[command(hide = true)]
    Watchdog { dir: PathBuf },
    /// Relays TCP connections between network namespaces.
    #[command(hide = true)]
    Relay {
        #[arg(long)]
        netns: PathBuf,
        #[arg(long, required = true)]
        listen: Vec<SocketAddr>,
        #[arg(long)]
        to: SocketAddr,
    },
}

fn main() -> Result<()> {
    match Options::parse().command {
        Command::Clean => {
            let (removed, left) = run::clean();
            let mut out = std::io::stdout();
            writeln!(
                out,
                "ended {} processes, deleted {} network namespaces",
                removed.processes, removed.namespaces
            )?;
            if !left.is_empty() {
                writeln!(out, "still in progress and left alone: {}", left.join(", "))?;
            }
            Ok(())
        }
        Command::Watchdog { dir } => {
            run::watchdog(&dir);
            Ok(())
        }
        Command::Relay { netns, listen, to } => runtime()?.block_on(relay::relay(&netns, &listen, to)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}
