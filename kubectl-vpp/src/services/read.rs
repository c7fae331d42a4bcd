//! What the cluster says of Services.

use crds::{VppConfig, VppServiceSlice};
use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::reach::{Access, ClusterError, client};

/// Everything that is shown follows from this.
#[derive(Debug)]
pub struct Found {
    pub services: Vec<Service>,
    pub slices: Vec<VppServiceSlice>,
    pub configs: Vec<VppConfig>,
    /// Namespace of the kubeconfig's context.
    pub namespace: String,
}

/// Objects of one answer.
const PAGE: u32 = 500;

pub fn read(access: &Access) -> Result<Found, ClusterError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ClusterError::Config(error.to_string()))?;
    runtime.block_on(async {
        let client = client(access).await?;
        Ok(Found {
            namespace: client.default_namespace().to_owned(),
            services: all(&client, "/api/v1/services").await?,
            slices: all(&client, "/apis/contivpp.io/v1alpha1/vppserviceslices").await?,
            configs: all(&client, "/apis/contivpp.io/v1alpha1/vppconfigs").await?,
        })
    })
}

async fn all<K>(client: &Client, path: &'static str) -> Result<Vec<K>, ClusterError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let mut wanted = ListParams::default().limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = api.list(&wanted).await.map_err(|error| {
            let why = match &error {
                kube::Error::Api(status) if status.code == 404 => {
                    "the cluster does not know this kind: is Contiv-VPP installed (charts/contiv-crds)?"
                        .to_owned()
                }
                other => other.to_string(),
            };
            ClusterError::Request { path, why }
        })?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => wanted = wanted.continue_token(&token),
            None => return Ok(found),
        }
    }
}
