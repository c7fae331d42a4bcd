//! Who wrote what: the API server's audit log, read between two moments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

/// A position in the audit log.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
    lines: usize,
}

/// Writes by others than the administrator, counted by `verb resource[/subresource]`.
pub type Writes = BTreeMap<String, u32>;

impl Audit {
    /// From now on.
    pub fn mark(path: &Path) -> Self {
        let mut audit = Self {
            path: path.to_owned(),
            lines: 0,
        };
        audit.lines = audit.all().len();
        audit
    }

    /// Waits until nobody but the administrator has written for `quiet`, and returns the writes since the mark.
    /// Leases and Events are not in the log.
    pub async fn settled(&self, quiet: Duration) -> Result<Writes> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen = self.writes()?;
        let mut since = Instant::now();
        while since.elapsed() < quiet {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let now = self.writes()?;
            if now != seen {
                (seen, since) = (now, Instant::now());
            }
            if Instant::now() > deadline {
                bail!("writes go on and on: {seen:?}");
            }
        }
        Ok(seen)
    }

    /// When the API server received each of these writes since the mark, named as in [`Writes`], in order.
    pub fn received(&self, write: &str) -> Result<Vec<Timestamp>> {
        let mut times = Vec::new();
        for (event, said) in self.events()? {
            if said == write {
                let time = event.pointer("/requestReceivedTimestamp").and_then(Value::as_str);
                times.push(time.context("a request without a time")?.parse()?);
            }
        }
        times.sort();
        Ok(times)
    }

    fn writes(&self) -> Result<Writes> {
        let mut writes = Writes::new();
        for (_, write) in self.events()? {
            *writes.entry(write).or_default() += 1;
        }
        Ok(writes)
    }

    /// Writes since the mark, each with what it was.
    fn events(&self) -> Result<Vec<(Value, String)>> {
        let mut events = Vec::new();
        for line in self.all().iter().skip(self.lines) {
            let event: Value = serde_json::from_str(line).context("reading the audit log")?;
            events.extend(describe(&event).map(|write| (event, write)));
        }
        Ok(events)
    }

    fn all(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        // The last line may be half written.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(str::to_owned).collect()
    }
}

/// What a write was, unless it was the administrator's or the API server's own.
fn describe(event: &Value) -> Option<String> {
    let user = event.pointer("/user/username")?.as_str()?;
    if user == "admin" || user.starts_with("system:apiserver") {
        return None;
    }
    let verb = event.pointer("/verb")?.as_str()?;
    let resource = event.pointer("/objectRef/resource")?.as_str()?;
    let user = user.rsplit(':').next().unwrap_or(user);
    match event.pointer("/objectRef/subresource").and_then(Value::as_str) {
        Some(subresource) => Some(format!("{user} {verb} {resource}/{subresource}")),
        None => Some(format!("{user} {verb} {resource}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_products_writes_count() {
        let event = |user: &str| {
            json!({"user": {"username": user}, "verb": "patch",
                   "objectRef": {"resource": "vppconfigs", "subresource": "status"}})
        };
        let daemon = describe(&event("system:serviceaccount:contiv-system:contiv-node"));
        assert_eq!(daemon.as_deref(), Some("contiv-node patch vppconfigs/status"));
        assert_eq!(describe(&event("admin")), None);
        assert_eq!(describe(&event("system:apiserver")), None);
    }
}
