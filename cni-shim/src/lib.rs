//! contiv-cni: the small CNI binary that a container runtime runs, and the types it shares with the
//! node daemon.
//!
//! ```text
//! runtime ── env + stdin ──► contiv-cni ── one JSON line ──► unix socket ──► contiv-node
//! runtime ◄── stdout JSON ── contiv-cni ◄── one JSON line ── unix socket ◄── contiv-node
//! ```
//!
//! The shim keeps no state and decides nothing but what it can know alone: whether its input is
//! well formed ([`shim`]), and what to answer when the daemon is away ([`intents`]). Results travel
//! as CNI 1.1.0 and are turned into the asked-for version at the very end ([`CniResult::to_version`]).
//!
//! "The specification" in this crate is the Container Network Interface Specification 1.1.0.

pub mod config;
pub mod error;
pub mod intents;
pub mod request;
pub mod result;
pub mod shim;

pub use config::{AttachmentKey, NetConf, PORT_MAPPINGS};
pub use error::{CniError, code};
pub use request::{Command, Request, Response};
pub use result::{CniResult, Dns, Interface, IpConfig, Route};

/// CNI versions spoken, oldest first; the last is the one spoken with the daemon.
pub const SUPPORTED_VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The newest supported version.
pub const LATEST_VERSION: &str = "1.1.0";
/// Where the daemon listens, unless the network configuration's `socket` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/contiv/cni.sock";
/// Where the daemon keeps its state, unless the network configuration's `stateDir` says otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/contiv";
/// Longest request or reply in bytes: a GC that lists some thousand attachments fits many times.
pub const MAX_LINE: u64 = 4 << 20;
