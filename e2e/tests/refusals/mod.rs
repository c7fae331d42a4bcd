//! Writes that the API server judges, and its refusals, for the tests of what a daemon's token may write.

use anyhow::{Context as _, Result, bail, ensure};
use crds::VppConfig;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// Accepted without being stored: the daemons at work should not be surprised.
pub fn dry() -> PatchParams {
    PatchParams {
        dry_run: true,
        ..PatchParams::default()
    }
}

/// Tries to write the status of a VppConfig.
pub async fn patch_status(client: &Client, name: &str) -> kube::Result<VppConfig> {
    let change = json!({"status": {"observedGeneration": 1}});
    let api: Api<VppConfig> = Api::all(client.clone());
    api.patch_status(name, &dry(), &Patch::Merge(&change)).await
}

/// The API server's refusal: its code and its sentence.
pub fn refused<T: std::fmt::Debug>(what: &str, outcome: kube::Result<T>) -> Result<(u16, String)> {
    match outcome {
        Err(kube::Error::Api(status)) => Ok((status.code, status.message.clone())),
        Err(error) => Err(error).with_context(|| what.to_owned()),
        Ok(done) => bail!("{what} was accepted: {done:?}"),
    }
}

/// By RBAC.
pub fn forbidden<T: std::fmt::Debug>(what: &str, outcome: kube::Result<T>) -> Result<()> {
    let (code, sentence) = refused(what, outcome)?;
    ensure!(
        code == 403 && !sentence.contains("ValidatingAdmissionPolicy"),
        "{what}: {code} {sentence}"
    );
    Ok(())
}

/// By the policy, with a sentence that holds these words.
pub fn denied<T: std::fmt::Debug>(what: &str, outcome: kube::Result<T>, words: &str) -> Result<()> {
    let (code, sentence) = refused(what, outcome)?;
    ensure!(
        sentence.contains("contiv-node-own-status") && sentence.contains(words),
        "{what}: {code} {sentence}"
    );
    Ok(())
}
