//! Kubernetes' own end-to-end tests, from a test program that somebody has, against a running cluster.
//!
//! The program is `e2e.test` of a Kubernetes release (in `kubernetes-test-linux-*.tar.gz`, or
//! `go test -c k8s.io/kubernetes/test/e2e`). Its version should be the cluster's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::assets;

/// What is run, and on what.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// The test program, `e2e.test` of a Kubernetes release.
    #[arg(long, value_name = "FILE")]
    pub e2e_test: PathBuf,
    /// Kubeconfig of the cluster.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// Regular expression of the tests to run.
    #[arg(long, default_value = r"\[sig-network\].*\[Conformance\]")]
    pub focus: String,
    /// Regular expression of the tests to leave out.
    #[arg(long, default_value = r"\[Disruptive\]|\[Flaky\]")]
    pub skip: String,
    /// Where the JUnit report goes.
    #[arg(long, default_value = "target/conformance", value_name = "DIR")]
    pub report_dir: PathBuf,
    /// Network namespace (its path) from which tests reach nodes' addresses.
    #[arg(long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
    /// More of the program's own flags.
    #[arg(last = true)]
    pub more: Vec<String>,
}

/// Runs the tests; whether they passed. Their output is the program's own.
pub fn run(options: &Options) -> Result<bool> {
    check_program(&options.e2e_test)?;
    ensure!(
        options.kubeconfig.is_file(),
        "KUBECONFIG={}: there is no such file; `make cluster` starts a cluster and prints its KUBECONFIG",
        options.kubeconfig.display()
    );
    let nodes = ready_nodes(&options.kubeconfig)?;
    std::fs::create_dir_all(&options.report_dir)
        .with_context(|| format!("making {}", options.report_dir.display()))?;
    let arguments = arguments(options, nodes)?;
    let mut command = match &options.netns {
        Some(netns) => {
            let mut command = Command::new("nsenter");
            command
                .arg(format!("--net={}", netns.display()))
                .arg("--")
                .arg(&options.e2e_test);
            command
        }
        None => Command::new(&options.e2e_test),
    };
    let status = command
        .args(&arguments)
        .status()
        .with_context(|| format!("running {}", options.e2e_test.display()))?;
    Ok(status.success())
}

fn check_program(path: &Path) -> Result<()> {
    let shown = path.display();
    ensure!(
        !path.as_os_str().is_empty(),
        "E2E_TEST names no program: give the e2e.test of a Kubernetes release, such as E2E_TEST=/opt/kubernetes/test/bin/e2e.test"
    );
    let found = path
        .metadata()
        .with_context(|| format!("E2E_TEST={shown}: give the path of a Kubernetes release's e2e.test"))?;
    ensure!(
        found.is_file(),
        "E2E_TEST={shown} is no file: give the path of e2e.test itself"
    );
    ensure!(
        found.permissions().mode() & 0o111 != 0,
        "E2E_TEST={shown} can't be executed: chmod +x it"
    );
    Ok(())
}

/// How many nodes can take the tests' pods.
fn ready_nodes(kubeconfig: &Path) -> Result<usize> {
    let kubectl = match assets::installed("kubectl") {
        Some(path) => path,
        None => assets::built("kubectl")?,
    };
    let output = Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["get", "nodes", "-o", "json", "--request-timeout=10s"])
        .output()
        .context("running kubectl")?;
    if !output.status.success() {
        bail!(
            "the cluster of {} does not answer: {}",
            kubeconfig.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let list: Value = serde_json::from_slice(&output.stdout).context("what kubectl get nodes says")?;
    let nodes = list["items"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = nodes.iter().filter(|node| {
        let conditions = node["status"]["conditions"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        conditions
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
    });
    let ready = ready.count();
    ensure!(ready > 0, "none of the cluster's {} nodes is Ready", nodes.len());
    Ok(ready)
}

fn arguments(options: &Options, nodes: usize) -> Result<Vec<String>> {
    let path = |path: &Path| -> Result<String> {
        let whole = path.canonicalize().with_context(|| path.display().to_string())?;
        Ok(whole.display().to_string())
    };
    let mut arguments = vec![
        // Nothing of a cloud: no machines to ask for, no disks, no load balancers.
        "--provider=skeleton".to_owned(),
        format!("--kubeconfig={}", path(&options.kubeconfig)?),
        format!("--num-nodes={nodes}"),
        format!("--report-dir={}", path(&options.report_dir)?),
        "--disable-log-dump=true".to_owned(),
        format!("--ginkgo.focus={}", options.focus),
        "--ginkgo.v".to_owned(),
        "--ginkgo.no-color".to_owned(),
    ];
    if !options.skip.is_empty() {
        arguments.push(format!("--ginkgo.skip={}", options.skip));
    }
    arguments.extend(options.more.iter().cloned());
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_cannot_run_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("e2e.test");
        let said = |path: &Path| format!("{:#}", check_program(path).unwrap_err());
        assert!(said(Path::new("")).starts_with("E2E_TEST names no program: give"));
        assert!(said(&file).contains("give the path of a Kubernetes release's e2e.test"));
        assert!(said(dir.path()).contains("is no file"));
        std::fs::write(&file, "").unwrap();
        assert!(said(&file).contains("chmod +x"));
    }

    #[test]
    fn the_program_is_told_the_cluster_and_the_tests() {
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        std::fs::write(&kubeconfig, "").unwrap();
        let options = Options {
            e2e_test: "e2e.test".into(),
            kubeconfig: kubeconfig.clone(),
            focus: "NetworkPolicy".into(),
            skip: String::new(),
            report_dir: dir.path().into(),
            netns: None,
            more: vec!["--dry-run".into()],
        };
        let all = arguments(&options, 3).unwrap();
        let has = |flag: &str| assert!(all.iter().any(|it| it == flag), "{flag} is not in {all:?}");
        has("--num-nodes=3");
        has("--ginkgo.focus=NetworkPolicy");
        has(&format!(
            "--kubeconfig={}",
            kubeconfig.canonicalize().unwrap().display()
        ));
        assert!(!all.iter().any(|it| it.starts_with("--ginkgo.skip")));
        assert_eq!(all.last().unwrap(), "--dry-run");
    }
}
