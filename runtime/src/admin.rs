//! `/metrics`, `/healthz` and `/readyz`.
//!
//! `/healthz` answers as long as the runtime turns: a process whose tasks ended has ended itself
//! (see [`crate::shutdown`]). `/readyz` is 200 when every gate is open, else 503 with a line for
//! each closed gate that says what it waits for.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Media type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the process waits for before it is ready: named gates, each closed with a reason or open.
///
/// Without gates the process is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    gates: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

impl Readiness {
    /// Adds a gate, closed for the reason given. A gate of the same name is replaced.
    pub fn gate(&self, name: impl Into<String>, reason: impl Into<String>) -> Gate {
        let gate = Gate {
            readiness: self.clone(),
            name: name.into(),
        };
        gate.close(reason);
        gate
    }

    /// `name: reason` of each closed gate, sorted by name; empty means ready.
    pub fn missing(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter_map(|(name, reason)| reason.as_ref().map(|why| format!("{name}: {why}")))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Option<String>>> {
        // No code that holds the lock can panic, and a map of reasons is valid at any point.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing that must hold for the process to be ready. Dropping the value changes nothing.
#[derive(Clone, Debug)]
pub struct Gate {
    readiness: Readiness,
    name: String,
}

impl Gate {
    /// It holds.
    pub fn open(&self) {
        self.readiness.lock().insert(self.name.clone(), None);
    }

    /// It does not hold (any more); `reason` is shown by `/readyz`.
    pub fn close(&self, reason: impl Into<String>) {
        self.readiness
            .lock()
            .insert(self.name.clone(), Some(reason.into()));
    }

    /// Whether it holds.
    pub fn is_open(&self) -> bool {
        matches!(self.readiness.lock().get(&self.name), Some(None))
    }
}

/// The endpoints could not be offered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("admin endpoints on {address}: {source}")]
    Bind {
        /// Address asked for.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The port file could not be written.
    #[error("admin port file {}: {source}", path.display())]
    PortFile {
        /// File asked for.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The server stopped.
    #[error("admin endpoints: {0}")]
    Serve(#[source] io::Error),
}

/// The bound admin endpoints, not served yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Listens on `address`; port 0 takes a free one. With `port_file` the port in decimal is
    /// written there, whole or not at all, so that a harness can wait for the file.
    ///
    /// # Errors
    /// [`Error::Bind`], [`Error::PortFile`].
    pub async fn bind(address: SocketAddr, port_file: Option<&Path>) -> Result<Self, Error> {
        let bind = |source| Error::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let bound = listener.local_addr().map_err(bind)?;
        if let Some(path) = port_file {
            write_whole(path, &bound.port().to_string()).map_err(|source| Error::PortFile {
                path: path.to_owned(),
                source,
            })?;
        }
        Ok(Self {
            listener,
            address: bound,
        })
    }

    /// Address that the endpoints really have.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the token is cancelled.
    ///
    /// # Errors
    /// [`Error::Serve`].
    pub async fn serve(
        self,
        registry: Registry,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let app = Router::new()
            .route("/metrics", get(metrics))
            .with_state(Arc::new(registry))
            .route("/healthz", get(|| async { "ok\n" }))
            .merge(Router::new().route("/readyz", get(ready)).with_state(readiness));
        axum::serve(self.listener, app)
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
            .map_err(Error::Serve)
    }
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text)?;
    std::fs::rename(&partial, path)
}

async fn metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(readiness): State<Readiness>) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        return "ready\n".into_response();
    }
    let text = format!("not ready\n{}\n", missing.join("\n"));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn endpoints_tell_what_is_not_ready() {
        let directory = tempfile::tempdir().unwrap();
        let port_file = directory.path().join("port");
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), Some(&port_file))
            .await
            .unwrap();
        let address = admin.address();
        let port = std::fs::read_to_string(&port_file).unwrap();
        assert_eq!(port, address.port().to_string());

        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        counter.inc_by(7);
        registry.register("writes", "Writes", counter);
        let readiness = Readiness::default();
        let stores = readiness.gate("stores", "first list of Pods");
        let vpp = readiness.gate("vpp", "not connected");
        let stop = CancellationToken::new();
        let server = tokio::spawn(admin.serve(registry, readiness, stop.clone()));

        let answer = fetch(address, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(
            answer.ends_with("not ready\nstores: first list of Pods\nvpp: not connected\n"),
            "{answer}"
        );
        stores.open();
        let answer = fetch(address, "/readyz").await;
        assert!(answer.ends_with("not ready\nvpp: not connected\n"), "{answer}");
        vpp.open();
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        stores.close("relisting");
        assert!(!stores.is_open());
        assert!(fetch(address, "/readyz").await.starts_with("HTTP/1.1 503"));

        assert!(fetch(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let answer = fetch(address, "/metrics").await;
        assert!(
            answer.contains("\nwrites_total 7\n# EOF\n"),
            "OpenMetrics text: {answer}"
        );
        assert!(answer.contains(OPENMETRICS), "{answer}");

        stop.cancel();
        server.await.unwrap().unwrap();
    }
}
