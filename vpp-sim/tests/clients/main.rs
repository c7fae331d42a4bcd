//! Clients we did not write drive the server: vpp_papi (PyPI) and GoVPP (Go module).
//!
//! Where an interpreter, a package or VPP's definitions are not at hand, the test says that it skips, and why.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod govpp;
mod papi;

use std::path::PathBuf;
use std::process::Command;

use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, spawn};

/// A file or folder of the facts about real VPP, which are no part of the repository: `CONTIV_SHARED`, or
/// `../../shared` beside the crate.
fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CONTIV_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {} (set CONTIV_SHARED)", path.display());
    None
}

/// This package's tests of other people's clients, in their own languages.
fn sources(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(path)
}

/// Runs a client's program; what it printed is shown when it fails.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}\n{complained}");
    said
}

/// A dataplane whose devices are played.
fn server(directory: &tempfile::TempDir, name: &str) -> Handle {
    spawn(Config::default(), directory.path().join(name)).unwrap()
}

/// Whether a tool does its work, and what it said if it doesn't.
fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}
