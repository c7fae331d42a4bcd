//! Tables of what a specification asks for, and the tests that show it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Number, what it asks for, tests by file.
pub type Row = (
    u8,
    &'static str,
    &'static [(&'static str, &'static [&'static str])],
);

/// Names of the tests in a file: functions marked as tests, or listed in the `cases!` of an end-to-end suite or in the
/// `suite!` of the dataplane's scenarios.
fn tests_of(text: &str) -> BTreeSet<&str> {
    let name = |line: &str| -> Option<usize> { line.find("fn ").map(|at| at + 3) };
    let mut names = BTreeSet::new();
    let mut marked = false;
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some(at) = name(line)
            && marked
        {
            names.extend(line[at..].split('(').next());
            marked = false;
        }
    }
    if let Some((_, listed)) = text.split_once("cases![") {
        let listed = listed.split(']').next().unwrap_or_default();
        names.extend(listed.split(',').map(str::trim).filter(|name| !name.is_empty()));
    }
    if let Some((_, listed)) = text.split_once("\nsuite! {") {
        let listed = listed.split("\n}").next().unwrap_or_default();
        let scenarios = listed.split([',', ';', ':']).map(str::trim);
        names.extend(scenarios.filter(|name| !name.is_empty()));
    }
    names
}

/// Fails where a row has no test, where a test is not there, and where a test of `complete` that says which row it is
/// of (`row_N_…`) is not listed with it.
pub fn check(rows: &[Row], complete: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let numbers: Vec<usize> = rows.iter().map(|row| usize::from(row.0)).collect();
    assert_eq!(numbers, (1..=rows.len()).collect::<Vec<_>>());
    let mut files: BTreeMap<&str, String> = BTreeMap::new();
    for (number, what, shown) in rows {
        assert!(!shown.is_empty(), "{number}: {what}");
        for (file, names) in *shown {
            let text = files.entry(file).or_insert_with(|| {
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
            });
            let there = tests_of(text);
            assert!(!names.is_empty(), "{number}: {file}");
            for name in *names {
                assert!(there.contains(name), "row {number}: {file} has no test {name}");
            }
        }
    }
    for file in complete {
        for name in tests_of(&files[file]) {
            let Some(number) = name.strip_prefix("row_").and_then(|rest| rest.split('_').next()) else {
                continue;
            };
            let row = rows.iter().find(|row| row.0.to_string() == number);
            let listed = row.is_some_and(|row| row.2.iter().any(|(_, names)| names.contains(&name)));
            assert!(listed, "{file}: {name} is not listed");
        }
    }
}
