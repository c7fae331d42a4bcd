//! The committed manifests are the types', and every example is an object of its kind.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kube::core::TypeMeta;
use serde::Deserialize;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn committed_crds_equal_generated_ones() {
    let folder = root().join(crds::manifest::FOLDER);
    let generated = crds::manifest::files(crds::all()).unwrap();
    for (name, content) in &generated {
        let committed = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            committed == *content,
            "{}/{name} is stale: run `{}` and commit the result",
            crds::manifest::FOLDER,
            crds::manifest::COMMAND
        );
    }
    let expected: BTreeSet<_> = generated.into_keys().collect();
    let present: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, expected, "a file of a kind that is no more: delete it");
}

/// Collects every YAML file below a folder.
fn yaml_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            into.push(path);
        }
    }
}

#[test]
fn every_example_of_our_kinds_parses_without_unknown_fields() {
    let mut files = Vec::new();
    yaml_files(&root().join("examples"), &mut files);
    let mut ours = 0;
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for document in serde_norway::Deserializer::from_str(&text) {
            let value = serde_norway::Value::deserialize(document).unwrap();
            if value.is_null() {
                continue;
            }
            let meta: TypeMeta = serde_norway::from_value(value.clone()).unwrap();
            let parsed = match meta.kind.as_str() {
                "ServiceChain" => serde_norway::to_value(
                    serde_norway::from_value::<crds::ServiceChain>(value.clone()).unwrap(),
                ),
                "CNF" => {
                    serde_norway::to_value(serde_norway::from_value::<crds::CNF>(value.clone()).unwrap())
                }
                _ => continue,
            }
            .unwrap();
            ours += 1;
            assert_subset(&value, &parsed, &file.display().to_string());
        }
    }
    assert!(
        ours >= 2,
        "examples/ should show a ServiceChain and a CNF; found {ours} objects"
    );
}

/// Every field of the file is in the parsed object: a misspelt one would have been dropped.
fn assert_subset(file: &serde_norway::Value, parsed: &serde_norway::Value, at: &str) {
    match (file, parsed) {
        (serde_norway::Value::Mapping(file), serde_norway::Value::Mapping(parsed)) => {
            for (key, value) in file {
                let name = format!("{at}.{}", key.as_str().unwrap_or("?"));
                let other = parsed.get(key).unwrap_or_else(|| panic!("{name}: unknown field"));
                assert_subset(value, other, &name);
            }
        }
        (serde_norway::Value::Sequence(file), serde_norway::Value::Sequence(parsed)) => {
            assert_eq!(file.len(), parsed.len(), "{at}");
            for (index, (value, other)) in file.iter().zip(parsed).enumerate() {
                assert_subset(value, other, &format!("{at}[{index}]"));
            }
        }
        _ => assert_eq!(file, parsed, "{at}"),
    }
}
