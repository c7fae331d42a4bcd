//! Running the plugin as people and pipelines run it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test uses a part, and a panic is its failure"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// What the plugin said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// The answers, from JSON lines.
    pub fn answers(&self) -> Vec<Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

/// Runs the plugin in a folder.
pub fn plugin(folder: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-vpp"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder with files.
pub fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Asks questions about manifests.
pub fn ask(manifests: &str, queries: &[String]) -> Vec<Value> {
    let folder = folder(&[
        ("objects.yaml", manifests),
        ("queries.jsonl", &queries.join("\n")),
    ]);
    let arguments = [
        "reach",
        "--objects",
        "objects.yaml",
        "--queries",
        "queries.jsonl",
        "-o",
        "json",
    ];
    let said = plugin(folder.path(), &arguments);
    assert_eq!(said.code, 0, "{said:#?}");
    let answers = said.answers();
    assert_eq!(answers.len(), queries.len());
    answers
}

pub fn query(from: &str, to: &str, protocol: &str, port: u16) -> String {
    format!(r#"{{"from":"{from}","to":"{to}","port":{port},"protocol":"{protocol}"}}"#)
}

/// A pod of namespace `shop`: name, node, labels beside `app`, addresses.
pub fn pod(name: &str, node: &str, ips: &[&str]) -> String {
    let node = if node.is_empty() {
        String::new()
    } else {
        format!("nodeName: {node}, ")
    };
    let listed: Vec<String> = ips.iter().map(|ip| format!("{{ip: '{ip}'}}")).collect();
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{namespace: shop, name: {name}, labels: {{app: {name}}}}}
spec: {{{node}containers: [{{name: c, image: i, ports: [{{name: http, containerPort: 8080}}]}}]}}
status: {{podIPs: [{}]}}
",
        listed.join(", ")
    )
}

/// A NetworkPolicy of namespace `shop` for the pods of one app.
pub fn policy(name: &str, app: &str, rest: &str) -> String {
    format!(
        "---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{namespace: shop, name: {name}}}
spec:
  podSelector: {{matchLabels: {{app: {app}}}}}
{rest}
"
    )
}
