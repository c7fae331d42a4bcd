//! What must be in the cluster before anything else makes sense: our CRDs and our namespaces.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use runtime::Gate;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::write::{Error, answer};

/// Every kind of the group, as the CRD chart installs them.
const KINDS: [&str; 7] = [
    "CNF",
    "ServiceChain",
    "VppAddressSet",
    "VppConfig",
    "VppPeerSlice",
    "VppPolicy",
    "VppServiceSlice",
];

/// First and longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// Waits until the CRDs are served and the namespaces exist; makes the namespaces.
///
/// Meanwhile the gate, and the log on each change, say what is missing and how to mend it: an
/// operator that is installed before its CRDs, or before the API server answers, goes on by itself.
pub async fn wait(client: &Client, namespaces: &BTreeSet<String>, gate: &Gate) {
    let mut said = String::new();
    let mut pause = PAUSES.0;
    loop {
        let reason = match attempt(client, namespaces).await {
            Ok(None) => break,
            Ok(Some(missing)) => missing,
            Err(error) => format!("the API server does not answer as it should: {error}"),
        };
        if reason != said {
            warn!("Waiting: {reason}");
            gate.close(&reason);
            said = reason;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
    if !said.is_empty() {
        info!("The API server has all that is needed");
    }
    gate.open();
}

async fn attempt(client: &Client, namespaces: &BTreeSet<String>) -> Result<Option<String>, Error> {
    let group = format!("{}/{}", crds::GROUP, crds::VERSION);
    let served = match answer(client.list_api_group_resources(&group)).await {
        Ok(list) => Some(list),
        // By its code: for a group that it has never heard of the API server answers in plain text.
        Err(Error::Api(kube::Error::Api(status))) if status.code == 404 => None,
        Err(error) => return Err(error),
    };
    if let Some(sentence) = missing(served.as_ref()) {
        return Ok(Some(sentence));
    }
    for name in namespaces {
        let api: Api<Namespace> = Api::all(client.clone());
        if answer(api.get_metadata_opt(name)).await?.is_some() {
            continue;
        }
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        match answer(api.create(&PostParams::default(), &namespace)).await {
            Ok(_) => info!(namespace = name, "Namespace created"),
            Err(Error::Api(kube::Error::Api(status))) if status.is_already_exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The sentence that says which kinds are not served, and what to do.
fn missing(served: Option<&APIResourceList>) -> Option<String> {
    let served: BTreeSet<&str> = served
        .iter()
        .flat_map(|list| &list.resources)
        .map(|resource| resource.kind.as_str())
        .collect();
    let missing: Vec<&str> = KINDS.into_iter().filter(|kind| !served.contains(kind)).collect();
    if missing.is_empty() {
        return None;
    }
    Some(format!(
        "the cluster does not know {} of {}/{}; install the CRDs: helm install contiv-crds charts/contiv-crds, or kubectl apply --server-side -f charts/contiv-crds/templates/",
        missing.join(", "),
        crds::GROUP,
        crds::VERSION,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;

    #[test]
    fn missing_kinds_are_named_with_the_remedy() {
        let list = |kinds: &[&str]| APIResourceList {
            resources: kinds
                .iter()
                .map(|kind| APIResource {
                    kind: (*kind).to_owned(),
                    ..APIResource::default()
                })
                .collect(),
            ..APIResourceList::default()
        };
        assert_eq!(missing(Some(&list(&KINDS))), None);
        let sentence = missing(Some(&list(&KINDS[1..]))).unwrap();
        assert!(
            sentence.starts_with("the cluster does not know CNF of contivpp.io/v1alpha1;"),
            "{sentence}"
        );
        assert!(sentence.contains("charts/contiv-crds"), "{sentence}");
        let sentence = missing(None).unwrap();
        assert!(KINDS.iter().all(|kind| sentence.contains(kind)), "{sentence}");
    }
}
