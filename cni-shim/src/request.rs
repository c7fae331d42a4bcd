//! What the shim and the daemon say to each other: one JSON line each way per connection.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::{AttachmentKey, NetConf};
use crate::error::CniError;
use crate::result::CniResult;

/// The commands that reach the daemon (VERSION is answered by the shim).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    /// Attach a container.
    Add,
    /// Detach it; may be repeated.
    Del,
    /// Is the attachment as it was made?
    Check,
    /// Remove everything that is no longer wanted.
    Gc,
    /// Can ADD work now?
    Status,
}

impl Command {
    /// Parses `CNI_COMMAND`; `None` for VERSION and for anything unknown.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ADD" => Some(Self::Add),
            "DEL" => Some(Self::Del),
            "CHECK" => Some(Self::Check),
            "GC" => Some(Self::Gc),
            "STATUS" => Some(Self::Status),
            _ => None,
        }
    }

    /// The oldest of our versions that has the command (the specification's change log).
    pub fn since(self) -> &'static str {
        match self {
            Self::Add | Self::Del => "0.3.1",
            Self::Check => "0.4.0",
            Self::Gc | Self::Status => "1.1.0",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
        })
    }
}

/// One command with all of its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `CNI_COMMAND`.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for GC and STATUS.
    #[serde(default)]
    pub container_id: String,
    /// `CNI_NETNS`, the path of the network namespace; may be empty for DEL.
    #[serde(default)]
    pub netns: String,
    /// `CNI_IFNAME`; empty for GC and STATUS.
    #[serde(default)]
    pub ifname: String,
    /// `CNI_ARGS`, split into pairs.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// `CNI_PATH`.
    #[serde(default)]
    pub path: String,
    /// The network configuration.
    pub config: NetConf,
}

impl Request {
    /// The attachment of which the request speaks.
    pub fn key(&self) -> AttachmentKey {
        AttachmentKey {
            container_id: self.container_id.clone(),
            ifname: self.ifname.clone(),
        }
    }
}

/// The daemon's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Response {
    /// ADD succeeded, with this result in CNI 1.1.0.
    Added(CniResult),
    /// Any other command succeeded.
    Done {},
    /// The command failed.
    Failed(CniError),
}

impl From<Result<Self, CniError>> for Response {
    fn from(outcome: Result<Self, CniError>) -> Self {
        outcome.unwrap_or_else(Self::Failed)
    }
}
