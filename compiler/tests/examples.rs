//! The repository's examples say nothing that the compiler has to refuse.
#![allow(clippy::unwrap_used, reason = "these are tests, though not within #[test]")]

mod common;

use std::path::Path;

use compiler::{Cluster, Settings, compile};
use serde::Deserialize;
use serde_norway::Value;

/// Reasons that an example without its pods or its nodes may give.
const WANTS: [&str; 5] = [
    "NoEndpoints",
    "NoReadyPods",
    "CNFNotFound",
    "NoPodCIDR",
    // Of the pods of the examples none has metrics.
    "NamedPortNotFound",
];
const KINDS: [&str; 7] = [
    "ClusterNetworkPolicy",
    "Pod",
    "Namespace",
    "NetworkPolicy",
    "Service",
    "ServiceChain",
    "CNF",
];

fn manifests(folder: &Path, found: &mut Vec<Value>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            manifests(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            for document in serde_norway::Deserializer::from_str(&text) {
                found.push(Value::deserialize(document).unwrap());
            }
        }
    }
}

#[test]
fn examples_are_meaningful() {
    let mut found = Vec::new();
    manifests(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"),
        &mut found,
    );
    let mut cluster = Cluster::new();
    let known = found
        .into_iter()
        .filter(|m| m["kind"].as_str().is_some_and(|kind| KINDS.contains(&kind)));
    let count = known.map(|manifest| common::add(&mut cluster, manifest)).count();
    assert!(count > 0);
    let output = compile(&cluster, &Settings::default());
    let refused: Vec<_> = output
        .problems
        .iter()
        .filter(|p| !WANTS.contains(&p.reason))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    for (key, chain) in &output.chains {
        assert!(chain.accepted.ok, "{key}: {}", chain.accepted.message);
    }
    for (key, cnf) in &output.cnfs {
        assert!(cnf.accepted.ok, "{key}: {}", cnf.accepted.message);
    }
}
