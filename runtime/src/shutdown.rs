//! One token and one set of tasks per process.
//!
//! Expected flow: a signal cancels the token, every task returns, the process exits with 0.
//! A task that returns before the token is cancelled, with or without an error, ends the process
//! with a sentence that names it: half a process is worse than a restart.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Why the process ends other than by a signal.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// A task returned although nobody asked it to.
    #[error("task {task} ended early: {reason}")]
    EndedEarly {
        /// Name of the task.
        task: &'static str,
        /// Its error, or that it had none.
        reason: String,
    },
    /// A task failed while shutting down.
    #[error("task {task} failed while shutting down: {reason}")]
    Cleanup {
        /// Name of the task.
        task: &'static str,
        /// Its error.
        reason: String,
    },
}

/// Waits for the SIGTERM or SIGINT that asks the process to end: for one that has nothing else to do.
///
/// # Errors
/// The signals cannot be caught.
pub async fn signalled() -> std::io::Result<()> {
    let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    next_signal(&mut Some(signals)).await;
    Ok(())
}

/// The process's tasks.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<Outcome>,
    token: CancellationToken,
    signals: Option<(Signal, Signal)>,
}

type Outcome = (&'static str, Result<(), String>);

impl Tasks {
    /// Tasks that a SIGTERM or SIGINT asks to end.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub fn with_signals() -> std::io::Result<Self> {
        let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self {
            signals: Some(signals),
            ..Self::new(CancellationToken::new())
        })
    }

    /// Tasks that only the token asks to end: for a program embedded in another one.
    pub fn new(token: CancellationToken) -> Self {
        Self {
            set: JoinSet::new(),
            token,
            signals: None,
        }
    }

    /// The token that tells every task to end.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Starts a task. It must end soon after [`Self::token`] is cancelled, and not before.
    pub fn spawn<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display,
    {
        // An inner task, so that a panic comes back with the name of its task.
        self.set.spawn(async move {
            let inner = tokio::spawn(async move { task.await.map_err(|error| error.to_string()) });
            let _abort = AbortOnDrop(inner.abort_handle());
            let result = inner.await.unwrap_or_else(|error| Err(describe(error)));
            (name, result)
        });
    }

    /// Waits for a signal, the token or the first task that ends early; then cancels the token and
    /// gives the others `grace` to end. What runs after that is aborted.
    ///
    /// # Errors
    /// [`Error`], unless the end was asked for and clean.
    pub async fn run(mut self, grace: Duration) -> Result<(), Error> {
        let mut result = Ok(());
        tokio::select! {
            name = next_signal(&mut self.signals) => info!(signal = name, "Shutting down"),
            () = self.token.cancelled() => {}
            Some(ended) = self.set.join_next() => {
                // A token cancelled by someone else may be seen by a task before it is seen here.
                if !self.token.is_cancelled() {
                    let (task, outcome) = flatten(ended);
                    let reason = outcome.err().unwrap_or_else(|| "it returned without an error".to_owned());
                    result = Err(Error::EndedEarly { task, reason });
                }
            }
        }
        self.token.cancel();
        let deadline = Instant::now() + grace;
        loop {
            match timeout_at(deadline, self.set.join_next()).await {
                Ok(Some(ended)) => {
                    if let (task, Err(reason)) = flatten(ended) {
                        warn!(task, %reason, "Task failed while shutting down");
                        result = result.and(Err(Error::Cleanup { task, reason }));
                    }
                }
                Ok(None) => return result,
                Err(_) => {
                    warn!(tasks = self.set.len(), ?grace, "Tasks did not end in time");
                    self.set.shutdown().await;
                    return result;
                }
            }
        }
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn flatten(ended: Result<Outcome, JoinError>) -> Outcome {
    ended.unwrap_or_else(|error| ("runtime", Err(describe(error))))
}

fn describe(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            format!("panic: {}", text.unwrap_or_else(|| "no message".to_owned()))
        }
        Err(error) => error.to_string(),
    }
}

async fn next_signal(signals: &mut Option<(Signal, Signal)>) -> &'static str {
    match signals {
        Some((terminate, interrupt)) => tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const GRACE: Duration = Duration::from_secs(5);

    async fn until(token: CancellationToken) -> Result<(), Infallible> {
        token.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_asked_end_is_clean() {
        let mut tasks = Tasks::new(CancellationToken::new());
        let token = tasks.token();
        tasks.spawn("a", until(token.clone()));
        tasks.spawn("b", until(token.clone()));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            token.cancel();
        });
        assert_eq!(tasks.run(GRACE).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_early_ends_the_process_by_name() {
        type End = fn() -> Result<(), String>;
        let cases: [(&str, End, &str); 3] = [
            (
                "returns",
                || Ok(()),
                "task x ended early: it returned without an error",
            ),
            (
                "fails",
                || Err("lease lost".to_owned()),
                "task x ended early: lease lost",
            ),
            (
                "panics",
                || panic!("index 3"),
                "task x ended early: panic: index 3",
            ),
        ];
        for (case, end, sentence) in cases {
            let mut tasks = Tasks::new(CancellationToken::new());
            let token = tasks.token();
            tasks.spawn("other", until(token.clone()));
            tasks.spawn("x", async move { end() });
            let error = tasks.run(GRACE).await.unwrap_err();
            assert_eq!(error.to_string(), sentence, "{case}");
            assert!(token.is_cancelled(), "{case}: the others are told to end");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_aborted_after_the_grace() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("stuck", std::future::pending::<Result<(), Infallible>>());
        tasks.token().cancel();
        let started = Instant::now();
        assert_eq!(tasks.run(GRACE).await, Ok(()));
        assert_eq!(started.elapsed(), GRACE);
    }
}
