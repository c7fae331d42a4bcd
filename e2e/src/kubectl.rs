//! The command line that people use, on the run's API server.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;

/// kubectl with the run's kubeconfig.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// Uses this program with this kubeconfig and keeps what it caches in `cache`.
    pub fn new(program: PathBuf, kubeconfig: PathBuf, cache: PathBuf) -> Self {
        Self {
            program,
            kubeconfig,
            cache,
        }
    }

    /// Path of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its kubeconfig.
    pub fn config(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs a command and returns what it printed; an error holds what it said on standard error.
    pub async fn run(&self, args: &[&str]) -> Result<String> {
        self.with_input(args, "").await
    }

    /// `kubectl apply` of a manifest text.
    pub async fn apply(&self, manifest: &str) -> Result<String> {
        self.with_input(&["apply", "--validate=strict", "-f", "-"], manifest)
            .await
    }

    /// `kubectl delete` of what a manifest text names.
    pub async fn delete(&self, manifest: &str) -> Result<String> {
        self.with_input(
            &["delete", "--ignore-not-found", "--wait=false", "-f", "-"],
            manifest,
        )
        .await
    }

    /// `kubectl vpp …` as people run it: the plugin is found in the path, the cluster by $KUBECONFIG.
    pub async fn vpp(&self, args: &[&str], input: &str) -> Result<String> {
        let plugin = crate::assets::own("kubectl-vpp")?;
        let found = std::env::var_os("PATH").unwrap_or_default();
        let folders = plugin.parent().map(PathBuf::from).into_iter();
        let path = std::env::join_paths(folders.chain(std::env::split_paths(&found)))?;
        let mut command = tokio::process::Command::new(&self.program);
        command
            .env("PATH", path)
            .env("KUBECONFIG", &self.kubeconfig)
            .arg("vpp")
            .args(args);
        finish(command, args, input).await
    }

    /// Runs a command with a text on its standard input.
    pub async fn with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = tokio::process::Command::new(&self.program);
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--cache-dir")
            .arg(&self.cache)
            .args(args);
        finish(command, args, input).await
    }
}

async fn finish(mut command: tokio::process::Command, args: &[&str], input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("running kubectl")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "kubectl {}: {}{}",
            args.join(" "),
            text,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(text)
}
