//! Waiting for something to become true, with the last reason why it was not.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What a check found: `Ok(())` for "yes", or the reason why not yet.
pub type Verdict = std::result::Result<(), String>;

/// Repeats `check` until it says yes. Errors of the check itself count as "not yet".
pub async fn eventually<F>(what: &str, patience: Duration, mut check: F) -> Result<()>
where
    F: AsyncFnMut() -> Result<Verdict>,
{
    let deadline = Instant::now() + patience;
    loop {
        let reason = match check().await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > deadline {
            bail!("{what}: not within {} s; at last: {reason}", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A verdict from a condition and the reason why it does not hold.
pub fn expect(holds: bool, reason: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(reason()) }
}
