//! `contiv-cnf`: a network function as small as can be. Its pod's kernel forwards between the interfaces that the node
//! daemon gave it; this loads nftables rules from a file, and again whenever the file changes, as a mounted ConfigMap does.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A router with nftables rules of a file.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Rules in nft's language. They take the place of all that is there.
    #[arg(long, default_value = "/etc/cnf/rules.nft")]
    rules: PathBuf,
    /// Seconds between looks at the file.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    look_seconds: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut ticks = tokio::time::interval(Duration::from_secs(options.look_seconds));
    let mut loaded: Option<String> = None;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = ticks.tick() => {}
        }
        let look = load(&options.rules, loaded.as_deref()).await;
        match (look, &loaded) {
            (Ok(Some(text)), _) => {
                tracing::info!(rules = %options.rules.display(), "rules loaded");
                loaded = Some(text);
            }
            (Ok(None), _) => {}
            // A function that never had its rules must not pass packets as if it had.
            (Err(error), None) => return Err(error),
            (Err(error), Some(_)) => tracing::warn!("rules kept as they were: {error:#}"),
        }
    }
}

/// Loads the file if it says something else than `loaded`; returns what it says then.
async fn load(path: &Path, loaded: Option<&str>) -> Result<Option<String>> {
    let rules = std::fs::read_to_string(path).with_context(|| format!("--rules {}", path.display()))?;
    if loaded == Some(rules.as_str()) {
        return Ok(None);
    }
    // One transaction with the removal of what was there: no packet sees half of it.
    let transaction = format!("flush ruleset\n{rules}");
    let file = tempfile::NamedTempFile::new().context("a temporary file for nft")?;
    std::fs::write(file.path(), transaction)?;
    let done = tokio::process::Command::new("nft")
        .arg("-f")
        .arg(file.path())
        .output()
        .await
        .context("running nft")?;
    if !done.status.success() {
        bail!(
            "nft refuses {}: {}",
            path.display(),
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(Some(rules))
}
