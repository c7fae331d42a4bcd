//! Errors as the specification has them: a number for the runtime, a sentence for the person.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Error codes: 0–99 belong to the specification (section "Error") and to libcni, which added 8
/// and 999; from 100 on they are the plugin's own.
pub mod code {
    /// The configuration's `cniVersion` is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A field of the configuration is not supported; the message holds key and value.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown: the runtime need not clean up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// A `CNI_*` environment variable is missing or wrong.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO_FAILURE: u32 = 5;
    /// Something could not be decoded.
    pub const DECODING_FAILURE: u32 = 6;
    /// The configuration is well formed and wrong.
    pub const INVALID_CONFIG: u32 = 7;
    /// The network namespace does not exist or is none (libcni).
    pub const INVALID_NETNS: u32 = 8;
    /// Transient: try the same again later.
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: the plugin cannot serve ADD.
    pub const NOT_AVAILABLE: u32 = 50;
    /// STATUS: the plugin cannot serve ADD, and running containers may have limited connectivity.
    pub const NOT_AVAILABLE_LIMITED: u32 = 51;
    /// ADD: the interface exists already, for this or another request.
    pub const ALREADY_ATTACHED: u32 = 100;
    /// CHECK: the attachment differs from what was made.
    pub const CHECK_FAILED: u32 = 101;
    /// A fault of the plugin itself (libcni).
    pub const INTERNAL: u32 = 999;
}

/// A failed command, in the specification's shape but for `cniVersion`, which the shim adds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniError {
    /// One of [`code`].
    pub code: u32,
    /// Short: what is wrong and, where it is the caller's to mend, how.
    pub msg: String,
    /// Longer, may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

impl CniError {
    /// An error without details.
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// The same error with details.
    pub fn with_details(mut self, details: impl fmt::Display) -> Self {
        self.details = details.to_string();
        self
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (CNI code {})", self.msg, self.code)?;
        if !self.details.is_empty() {
            write!(f, ": {}", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for CniError {}
