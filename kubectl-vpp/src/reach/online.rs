//! The objects of a running cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kube::Client;
use kube::api::{ListParams, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde::Deserialize;

use super::document::Document;

/// Which cluster, as kubectl's own options say it.
#[derive(Clone, Debug, Default, Args)]
pub struct Access {
    /// Kubeconfig file; by default $KUBECONFIG, or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Context of the kubeconfig; by default its current one.
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

impl Access {
    /// Whether a cluster is named.
    pub fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }
}

/// Why a cluster cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No way to a cluster.
    #[error(
        "no cluster to read ({0}); name one with --kubeconfig and --context (or, for reach, give --objects with manifests)"
    )]
    Config(String),
    /// The API server does not give an answer, or not this one.
    #[error("reading {path} from the cluster: {why}")]
    Request {
        /// Path asked for.
        path: &'static str,
        /// What was said.
        why: String,
    },
}

/// What is read, in the order in which kubectl would apply it. Kinds that the cluster does not know are left out.
const PATHS: [&str; 9] = [
    "/api/v1/nodes",
    "/api/v1/namespaces",
    "/api/v1/pods",
    "/api/v1/services",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
    "/apis/contivpp.io/v1alpha1/cnfs",
    "/apis/contivpp.io/v1alpha1/servicechains",
];

/// Objects of one answer: an API server's memory counts.
const PAGE: u32 = 500;

/// Longest wait for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads all objects that matter.
///
/// # Errors
/// [`Error`], for the first that cannot be read.
pub fn read(access: &Access) -> Result<Vec<Document>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Config(error.to_string()))?;
    runtime.block_on(async {
        let client = client(access).await?;
        let mut documents = Vec::new();
        for path in PATHS {
            list(&client, path, &mut documents).await?;
        }
        Ok(documents)
    })
}

/// A client of the cluster.
///
/// # Errors
/// If no way to it is configured.
pub(crate) async fn client(access: &Access) -> Result<Client, Error> {
    let unusable = |error: &dyn std::error::Error| Error::Config(error.to_string());
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    let file = match &access.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let mut config = kube::Config::from_custom_kubeconfig(file.map_err(|e| unusable(&e))?, &options)
        .await
        .map_err(|e| unusable(&e))?;
    config.connect_timeout = Some(PATIENCE);
    config.read_timeout = Some(PATIENCE);
    Client::try_from(config).map_err(|e| unusable(&e))
}

/// The part of a list that says whether more is to come.
#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
}

#[derive(Deserialize)]
struct PageMeta {
    #[serde(default, rename = "continue")]
    token: String,
}

async fn list(client: &Client, path: &'static str, documents: &mut Vec<Document>) -> Result<(), Error> {
    let failed = |why: String| Error::Request { path, why };
    let mut wanted = ListParams::default().limit(PAGE);
    loop {
        let request = Request::new(path)
            .list(&wanted)
            .map_err(|error| failed(error.to_string()))?;
        let text = match client.request_text(request).await {
            Ok(text) => text,
            // A group that no CRD has brought yet is answered without a Status, so its reason says nothing.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(failed(error.to_string())),
        };
        let page: Page = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        documents.push(Document::whole(path, text));
        if page.metadata.token.is_empty() {
            return Ok(());
        }
        wanted = wanted.continue_token(&page.metadata.token);
    }
}
