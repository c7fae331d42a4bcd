//! The requests that change something in the API server.

use std::time::Duration;

use compiler::ObjectKey;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::objects::{OutputKey, Stored, version};
use crate::plan::Write;
use crate::state::StoredStatus;

/// Longest wait for one answer. Far below the lease's renew deadline, so that one request never
/// holds up the process beyond its leadership.
const PATIENCE: Duration = Duration::from_secs(5);

/// A write failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// No answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    NoAnswer,
    /// The status has no JSON form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Writes objects and statuses as the operator's field manager.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    params: PatchParams,
}

/// An intent's status to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusWrite<S> {
    /// The object.
    pub key: ObjectKey,
    /// Its UID.
    pub uid: String,
    /// The status.
    pub status: S,
}

impl Writer {
    /// A writer that uses this client.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            // Forced: the fields we own are ours by definition; a conflict is a human's edit of
            // something that is compiled.
            params: PatchParams::apply(crds::OPERATOR_MANAGER).force(),
        }
    }

    fn api(&self, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
        match namespace {
            "" => Api::all_with(self.client.clone(), resource),
            _ => Api::namespaced_with(self.client.clone(), namespace, resource),
        }
    }

    /// Applies one object and returns what is stored now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn apply(&self, write: &Write) -> Result<Stored, Error> {
        let key = &write.key;
        let api = self.api(&key.kind.resource(), &key.object.namespace);
        let patch = Patch::Apply(&write.body);
        let object = answer(api.patch(&key.object.name, &self.params, &patch)).await?;
        Ok(Stored {
            version: version(&object.metadata),
            generation: object.metadata.generation,
            revision: Some(write.revision.clone()),
            managed: true,
            owner: write.owner.clone(),
        })
    }

    /// Deletes one object; one that is gone already is a success.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, key: &OutputKey) -> Result<(), Error> {
        let api = self.api(&key.kind.resource(), &key.object.namespace);
        match answer(api.delete(&key.object.name, &DeleteParams::default())).await {
            Err(Error::Api(kube::Error::Api(status))) if status.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Applies the status of a user's object, and returns it as stored; `None` if the object is
    /// gone or another one by now.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn status<S: Serialize + Clone>(
        &self,
        resource: &ApiResource,
        write: &StatusWrite<S>,
    ) -> Result<Option<StoredStatus<S>>, Error> {
        let api = self.api(resource, &write.key.namespace);
        let body = status_body(resource, write)?;
        let patch = Patch::Apply(&body);
        match answer(api.patch_status(&write.key.name, &self.params, &patch)).await {
            Ok(object) => Ok(Some(StoredStatus {
                uid: write.uid.clone(),
                version: version(&object.metadata),
                status: write.status.clone(),
            })),
            Err(Error::Api(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn status_body<S: Serialize>(resource: &ApiResource, write: &StatusWrite<S>) -> serde_json::Result<Value> {
    Ok(json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": write.key.name,
            "namespace": write.key.namespace,
            // Makes the API server refuse (409) if it is another object by now.
            "uid": write.uid,
        },
        "status": serde_json::to_value(&write.status)?,
    }))
}

/// Awaits an answer, but not for ever.
///
/// # Errors
/// The request's, or [`Error::NoAnswer`].
pub async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Error> {
    match timeout(PATIENCE, request).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Error::NoAnswer),
    }
}
