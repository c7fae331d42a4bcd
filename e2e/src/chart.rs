//! The chart `contiv-vpp` as helm renders it: for the cluster, and for tests of what users get.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::assets;

/// The namespace of all namespaced objects of the chart.
pub const NAMESPACE: &str = crds::SYSTEM_NAMESPACE;

/// A rendering of the chart.
#[derive(Clone, Debug, Default)]
pub struct Render {
    /// Values that take the place of the chart's own.
    pub values: Value,
    /// Whether nodes run the embedded dataplane.
    pub vpp_sim: bool,
    /// Namespace of the release; by default helm's own default.
    pub namespace: Option<String>,
}

/// Directory of the chart.
pub fn directory() -> PathBuf {
    assets::source_root().join("charts/contiv-vpp")
}

/// Manifests of the chart with these values, for nodes with the embedded dataplane.
pub fn render(values: Value) -> Result<String> {
    let render = Render {
        values,
        vpp_sim: true,
        namespace: None,
    };
    render.text()
}

impl Render {
    /// The manifests as YAML; an error holds helm's sentence.
    pub fn text(&self) -> Result<String> {
        let chart = directory();
        let mut arguments = vec![
            "template".into(),
            "contiv-vpp".into(),
            chart.clone().into_os_string(),
        ];
        if self.vpp_sim {
            arguments.extend([
                "--values".into(),
                chart.join("values-vpp-sim.yaml").into_os_string(),
            ]);
        }
        if let Some(namespace) = &self.namespace {
            arguments.extend(["--namespace".into(), namespace.into()]);
        }
        arguments.extend(["--values".into(), "-".into()]);
        helm(&arguments, &self.values.to_string())
    }

    /// The objects.
    pub fn objects(&self) -> Result<Vec<Value>> {
        objects(&self.text()?)
    }
}

/// Objects of a YAML stream.
pub fn objects(text: &str) -> Result<Vec<Value>> {
    use serde::Deserialize as _;
    let documents = serde_norway::Deserializer::from_str(text).map(Value::deserialize);
    let all: Vec<Value> = documents.collect::<Result<_, _>>().context("what helm prints")?;
    Ok(all.into_iter().filter(|object| !object.is_null()).collect())
}

/// Runs helm with this on its standard input; returns what it prints.
pub fn helm(arguments: &[std::ffi::OsString], input: &str) -> Result<String> {
    let program = assets::built("helm")?;
    let home = tempfile::tempdir()?;
    let mut child = Command::new(&program)
        .args(arguments)
        // Nothing of the user's own helm: no plugins, no repositories.
        .env("HELM_DATA_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_CACHE_HOME", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {}", program.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        // lint says on standard output what is wrong.
        bail!(
            "helm: {}{}",
            String::from_utf8_lossy(&output.stderr).trim(),
            String::from_utf8_lossy(&output.stdout).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
