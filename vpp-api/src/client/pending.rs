//! The answer to come.

use super::Client;
use crate::error::{Closed, Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

type Check<T> = fn(&'static str, &T) -> Option<Error>;

/// The answer to a request that is queued or sent; await it. Dropping it does not take the request back.
#[derive(Debug)]
#[must_use = "the request is sent, but whether VPP did it is only known from the answer"]
pub struct Pending<T> {
    /// Keeps the connection up while the answer is awaited.
    client: Client,
    message: &'static str,
    receiver: oneshot::Receiver<Result<T>>,
    not_sent: Option<Error>,
    check: Option<Check<T>>,
}

impl<T> Pending<T> {
    pub(super) fn new(
        client: Client,
        message: &'static str,
        receiver: oneshot::Receiver<Result<T>>,
        queued: Result<()>,
        check: Option<Check<T>>,
    ) -> Self {
        Self {
            client,
            message,
            receiver,
            not_sent: queued.err(),
            check,
        }
    }

    /// The answer as it is, whatever its return code; some failures carry something useful.
    pub fn unchecked(mut self) -> Self {
        self.check = None;
        self
    }

    /// The request's name.
    #[must_use]
    pub const fn message(&self) -> &'static str {
        self.message
    }
}

impl<T> Future for Pending<T> {
    /// # Errors
    /// What kept the request from being sent; [`Error::Failed`] with VPP's code; [`Error::Closed`] where the
    /// connection ended first.
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(error) = self.not_sent.take() {
            return Poll::Ready(Err(error));
        }
        let answer = std::task::ready!(Pin::new(&mut self.receiver).poll(context));
        Poll::Ready(match answer {
            Ok(Ok(value)) => match self.check.and_then(|check| check(self.message, &value)) {
                Some(failure) => Err(failure),
                None => Ok(value),
            },
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.client.shared().close_reason().unwrap_or(Closed::ByUs).into()),
        })
    }
}
