//! `contiv-probe`: servers and clients of the end-to-end tests, run within pods' network namespaces.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::probe::{Protocol, client, flow, icmp, server, sniff};

/// Sends and answers real packets; results are JSON or one line per question.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answers every line, and every HTTP request, with its name and the client's address, until killed.
    Serve {
        /// Name to answer with; the pod's, where the environment says so.
        #[arg(long, env = "POD_NAME", default_value_t = hostname())]
        name: String,
        /// TCP ports.
        #[arg(long)]
        tcp: Vec<u16>,
        /// UDP ports.
        #[arg(long)]
        udp: Vec<u16>,
    },
    /// Asks so many times, each time on a new connection, and prints who answered how often.
    Ask {
        /// ADDRESS:PORT or NAME:PORT; a name is resolved before every question.
        #[arg(long)]
        to: String,
        #[arg(long, value_enum, default_value = "tcp")]
        protocol: Protocol,
        #[arg(long, default_value_t = 1)]
        count: u32,
        #[arg(long, default_value_t = 1500)]
        timeout_ms: u64,
    },
    /// Keeps one connection and asks again and again on it.
    Flow {
        #[arg(long)]
        to: SocketAddr,
        #[arg(long, value_enum, default_value = "tcp")]
        protocol: Protocol,
        #[arg(long, default_value_t = 100)]
        interval_ms: u64,
        #[arg(long, default_value_t = 400)]
        patience_ms: u64,
        #[arg(long, default_value_t = 120)]
        seconds: u64,
        /// Only the server sends.
        #[arg(long)]
        download: bool,
    },
    /// Prints `ready`, then every TCP and UDP packet of every interface, until killed.
    Sniff,
    /// Sends echo requests and prints how many replies came and their TTL.
    Ping {
        #[arg(long)]
        to: IpAddr,
        #[arg(long, default_value_t = 3)]
        count: u16,
        #[arg(long, default_value_t = 56)]
        size: usize,
        #[arg(long, default_value_t = 1000)]
        timeout_ms: u64,
    },
}

/// The pod's name, unless it says something else.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn main() -> Result<()> {
    let mut out = std::io::stdout();
    match Options::parse().command {
        Command::Serve { name, tcp, udp } => server::serve(&name, &tcp, &udp)?,
        Command::Ask {
            to,
            protocol,
            count,
            timeout_ms,
        } => {
            let answers = client::ask(&to, protocol, count, Duration::from_millis(timeout_ms));
            writeln!(out, "{}", serde_json::to_string(&answers)?)?;
        }
        Command::Flow {
            to,
            protocol,
            interval_ms,
            patience_ms,
            seconds,
            download,
        } => {
            let interval = Duration::from_millis(interval_ms);
            let patience = Duration::from_millis(patience_ms);
            let length = Duration::from_secs(seconds);
            if download {
                flow::download(to, interval, patience, length, &mut out)?;
            } else {
                flow::keep(to, protocol, interval, patience, length, &mut out)?;
            }
        }
        Command::Sniff => sniff::sniff(&mut out)?,
        Command::Ping {
            to,
            count,
            size,
            timeout_ms,
        } => {
            let report = icmp::ping(to, count, size, Duration::from_millis(timeout_ms))?;
            writeln!(out, "{}", serde_json::to_string(&report)?)?;
        }
    }
    Ok(())
}
