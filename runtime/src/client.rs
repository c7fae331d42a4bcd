//! The client of the API server: kube's, over connections that notice when nobody is at the other end.
//!
//! A watch only receives. When the API server, or a load balancer before it, is gone without a word, nothing tells: kube's
//! own watch waits for 290 s and more, and policies are as old as that. client-go's pings of HTTP/2 notice after 45 s.
//! Nagle's algorithm, which kube leaves on and client-go off, is off: a request in two segments is not to wait for the
//! acknowledgement of the first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ConfigExt as _};
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::retry::RetryLayer;
use tower::{BoxError, ServiceBuilder};

/// After how long without a byte the peer is asked whether it is still there, as client-go does.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause between questions that are not answered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Unanswered questions after which the connection is given up.
const KEEPALIVE_RETRIES: u32 = 3;

/// There is no way to an API server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read, or is not usable.
    #[error("kubeconfig {}: {source}", path.display())]
    Kubeconfig {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: KubeconfigError,
    },
    /// No kubeconfig was given, and nothing else leads to a cluster.
    #[error("no cluster: give --kubeconfig, set KUBECONFIG, or run in a pod with a service account: {0}")]
    NoCluster(#[from] InferConfigError),
    /// Certificates, credentials or proxy are not usable.
    #[error(transparent)]
    Unusable(#[from] kube::Error),
}

/// A client for a kubeconfig's current context; without one for `KUBECONFIG`'s, or the pod's own service account.
///
/// # Errors
/// [`Error`].
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, Error> {
    let config = match kubeconfig {
        Some(path) => {
            let of_path = |source| Error::Kubeconfig {
                path: path.to_owned(),
                source,
            };
            let file = Kubeconfig::read_from(path).map_err(of_path)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(of_path)?
        }
        None => Config::infer().await?,
    };
    Ok(connect(config)?)
}

/// A client for this configuration: kube's own (`ClientBuilder`, which takes no other connector), layer by layer, but for the
/// sockets and the tracing. Proxies are kube's business: with one, its own client is made.
///
/// # Errors
/// When the configuration's certificates, credentials or proxy are unusable.
pub fn connect(config: Config) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut connector = HttpConnector::new();
    // `https` is left to the layer above.
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(KEEPALIVE));
    connector.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    let connector = config.rustls_https_connector_with_connector(connector)?;
    // Around TLS, whose handshake may hang as well.
    let mut connector = TimeoutConnector::new(connector);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    connector.set_reset_reader_on_write(config.reset_reader_on_write);
    let http: HttpClient<_, Body> = HttpClient::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(
            config
                .default_retry
                .then(|| RetryLayer::new(RetryPolicy::server_retry())),
        )
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use axum::Router;
    use axum::http::{HeaderMap, Request, StatusCode};
    use axum::routing::get;

    #[tokio::test]
    async fn requests_carry_the_token_and_their_connection_is_kept_alive() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let token = async |headers: HeaderMap| headers["authorization"].to_str().unwrap().to_owned();
        let app = Router::new().route("/base/token", get(token));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut config = Config::new(format!("http://{server}/base").parse().unwrap());
        config.auth_info.token = Some("secret".to_owned().into());
        let client = connect(config).unwrap();
        let request = Request::get("/token").body(Vec::new()).unwrap();
        assert_eq!(client.request_text(request).await.unwrap(), "Bearer secret");

        // The connection rests in the client's pool. proc_net_tcp(5): the timer that runs, 2 is that of keepalive.
        let peer = format!("0100007F:{:04X}", server.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let fields = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let timers: Vec<String> = fields
            .filter(|fields| fields.get(2) == Some(&peer.as_str()))
            .map(|fields| fields[5].split(':').next().unwrap().to_owned())
            .collect();
        assert_eq!(timers, ["02"]);
    }

    /// Kubernetes' API priority and fairness answers 429, an API server that starts or ends 503.
    #[tokio::test]
    async fn a_request_that_a_busy_server_puts_off_is_made_again() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let answer = async move || match counter.fetch_add(1, Ordering::SeqCst) {
            0 => StatusCode::SERVICE_UNAVAILABLE,
            1 => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::OK,
        };
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/", get(answer))).await });
        let client = connect(Config::new(format!("http://{server}").parse().unwrap())).unwrap();
        let request = Request::get("/").body(Vec::new()).unwrap();
        assert_eq!(client.request_text(request).await.unwrap(), "");
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_kubeconfig_that_is_not_there_is_named() {
        let error = client(Some(Path::new("/nowhere/kubeconfig")))
            .await
            .err()
            .unwrap();
        assert!(
            error.to_string().starts_with("kubeconfig /nowhere/kubeconfig: "),
            "{error}"
        );
    }
}
