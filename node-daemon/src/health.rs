//! `healthCheckNodePort`: on each such port of the node a load balancer learns whether the node has endpoints of its
//! own. The answers are kube-proxy's (`pkg/proxy/healthcheck/service_health.go` of Kubernetes 1.36).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::agent::Snapshot;

/// Time before a port that is taken is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What a port says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Namespace of the Service.
    pub namespace: String,
    /// Name of the Service.
    pub name: String,
    /// Endpoints of this node that are ready.
    pub local_endpoints: usize,
}

/// What is known of a port, and whether VPP forwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    check: Check,
    healthy: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Service<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Service<'a> {
    namespace: &'a str,
    name: &'a str,
}

type Shared = Arc<RwLock<Known>>;

/// A port that is served until this value is dropped.
struct Port {
    shared: Shared,
    stop: CancellationToken,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Serves the ports of the Services that have one, as snapshots come.
pub async fn run(
    mut snapshots: watch::Receiver<Snapshot>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        // Before VPP has been looked at nothing is known of its translations.
        let healthy = snapshot.vpp.is_some() && snapshot.compared;
        ports.retain(|port, _| snapshot.health.contains_key(port));
        for (port, check) in snapshot.health {
            let known = Known { check, healthy };
            match ports.get(&port) {
                Some(served) => *served.shared.write().unwrap_or_else(PoisonError::into_inner) = known,
                None => {
                    let served = Port {
                        shared: Arc::new(RwLock::new(known)),
                        stop: stop.child_token(),
                    };
                    tokio::spawn(serve(port, served.shared.clone(), served.stop.clone()));
                    ports.insert(port, served);
                }
            }
        }
        match stop.run_until_cancelled(snapshots.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) => {
                // The agent ended; its own task says so.
                stop.cancelled().await;
                return Ok(());
            }
            None => return Ok(()),
        }
    }
}

async fn serve(port: u16, shared: Shared, stop: CancellationToken) {
    // The unspecified IPv6 address takes IPv4 as well, where the node has IPv6 at all.
    let addresses = [
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        SocketAddr::from(([0, 0, 0, 0], port)),
    ];
    let listening = async {
        loop {
            match TcpListener::bind(&addresses[..]).await {
                Ok(listener) => return listener,
                Err(error) => tracing::warn!(port, %error, "health check port"),
            }
            tokio::time::sleep(RETRY).await;
        }
    };
    let Some(listener) = stop.run_until_cancelled(listening).await else {
        return;
    };
    let app = Router::new().fallback(answer).with_state(shared);
    let served = axum::serve(listener, app).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = served.await {
        tracing::warn!(port, %error, "health check port");
    }
}

/// 200 while the node has a ready endpoint and VPP forwards, else 503.
async fn answer(State(shared): State<Shared>) -> impl IntoResponse {
    let Known { check, healthy } = shared.read().unwrap_or_else(PoisonError::into_inner).clone();
    let good = healthy && check.local_endpoints > 0;
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Body {
        service: Service {
            namespace: &check.namespace,
            name: &check.name,
        },
        local_endpoints: check.local_endpoints,
        service_proxy_healthy: healthy,
    };
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (
            HeaderName::from_static("x-load-balancing-endpoint-weight"),
            check.local_endpoints.to_string(),
        ),
    ];
    (status, headers, serde_json::to_string(&body).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// A port that nobody listens on at the moment.
    async fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    }

    /// Status line, headers and body; `None` when nobody listens.
    async fn get(port: u16) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let request = b"GET /healthz HTTP/1.0\r\nHost: node\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    }

    async fn until(port: u16, right: impl Fn(Option<&str>) -> bool) -> Option<String> {
        for _ in 0..200 {
            let said = get(port).await;
            if right(said.as_deref()) {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("port {port} says {:?}", get(port).await);
    }

    fn snapshot(port: u16, local_endpoints: usize) -> Snapshot {
        let check = Check {
            namespace: "shop".into(),
            name: "web".into(),
            local_endpoints,
        };
        Snapshot {
            vpp: Some("26.06".into()),
            compared: true,
            health: [(port, check)].into(),
            ..Snapshot::default()
        }
    }

    #[tokio::test]
    async fn row_10_the_answer_follows_endpoints_vpp_and_the_service() {
        let port = free_port().await;
        let (say, snapshots) = watch::channel(snapshot(port, 2));
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(snapshots, stop.clone()));

        let good = until(port, |said| said.is_some_and(|s| s.contains(" 200 ")))
            .await
            .unwrap();
        assert!(
            good.to_lowercase()
                .contains("x-load-balancing-endpoint-weight: 2\r\n"),
            "{good}"
        );
        assert!(
            good.to_lowercase().contains("content-type: application/json\r\n"),
            "{good}"
        );
        let body =
            r#"{"service":{"namespace":"shop","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}"#;
        assert!(good.ends_with(body), "{good}");

        say.send_replace(snapshot(port, 0));
        let none = until(port, |said| said.is_some_and(|s| s.contains(" 503 ")))
            .await
            .unwrap();
        assert!(
            none.contains(r#""localEndpoints":0,"serviceProxyHealthy":true"#),
            "{none}"
        );

        let mut down = snapshot(port, 2);
        down.vpp = None;
        say.send_replace(down);
        until(port, |said| {
            said.is_some_and(|s| s.contains(" 503 ") && s.contains(r#""serviceProxyHealthy":false"#))
        })
        .await;

        // externalTrafficPolicy Cluster again: the port is nobody's.
        say.send_replace(Snapshot::default());
        until(port, |said| said.is_none()).await;
        stop.cancel();
        task.await.unwrap().unwrap();
    }
}
