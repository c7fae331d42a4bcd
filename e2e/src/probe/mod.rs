//! Real packets: the servers, clients and pings that run within pods' namespaces (`contiv-probe`), and
//! the harness' side that starts them there and reads what they saw.

pub mod client;
pub mod flow;
pub mod icmp;
mod run;
pub mod server;
pub mod sniff;

pub use run::{Answers, Flow, Marks, Ping, Probe};

use std::io;

/// Protocols that the probes speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// One connection per probe.
    Tcp,
    /// One datagram per probe.
    Udp,
}

/// What went wrong with a probe, in one word.
pub(crate) fn error_word(error: &io::Error) -> String {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::TimedOut | Kind::WouldBlock => "timeout".to_owned(),
        Kind::ConnectionRefused => "refused".to_owned(),
        Kind::ConnectionReset | Kind::BrokenPipe | Kind::UnexpectedEof => "reset".to_owned(),
        Kind::HostUnreachable | Kind::NetworkUnreachable => "unreachable".to_owned(),
        Kind::PermissionDenied => "prohibited".to_owned(),
        kind => format!("{kind:?}"),
    }
}
