//! Input, output and exit codes: what a pipeline relies on.

mod common;

use common::{ask, folder, plugin, pod, policy, query, root};
use serde_norway::Value;

#[test]
fn answers_come_in_the_order_of_questions_with_their_fields() {
    let manifests = [pod("a", "n1", &["10.1.1.5"]), pod("b", "n2", &["10.1.2.5"])].concat();
    let queries: Vec<String> = (1..=300)
        .map(|port| match port % 3 {
            0 => query("shop/a", "shop/b", "TCP", port),
            1 => query("shop/b", "shop/a", "UDP", port),
            _ => format!(
                r#"{{"from":"10.1.1.5","to":"10.1.2.5","port":{port},"expect":"allowed","family":"IPv4"}}"#
            ),
        })
        .collect();
    for (answer, query) in ask(&manifests, &queries).iter().zip(&queries) {
        let query: serde_json::Value = serde_json::from_str(query).unwrap();
        for (field, value) in query.as_object().unwrap() {
            assert_eq!(&answer[field], value, "{answer}");
        }
        assert_eq!(answer["allowed"], true);
        assert!(answer.get("trace").is_none());
    }
}

#[test]
fn bad_input_is_told_with_file_and_line() {
    let web = pod("web", "", &[]);
    let good = r#"{"from":"shop/web","to":"shop/web","port":80}"#;
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  metadata: {name: a}\n\
                - apiVersion: v1\n  kind: Pod\n  metadata:\n    name: x\n  spec:\n    containers: nothing\n";
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"PodList\", \"items\": [\n  {\"metadata\": {\"name\": \"x\"},\n  \
                \"spec\": {\"containers\": [],\n  \"hostNetwork\": 3}}]}\n";
    for (file, objects, queries, place, what) in [
        ("o.yaml", "a: [1\nb: 2\n", good, "o.yaml:2", ""),
        (
            "o.yaml",
            "---\n# nothing\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  nodeName: [1]\n",
            good,
            "o.yaml:9",
            "",
        ),
        (
            "o.yaml",
            "# values\nreplicas: 3\n",
            good,
            "o.yaml:2",
            "no apiVersion and kind",
        ),
        (
            "o.yaml",
            "apiVersion: v1\nkind: Pod\nmetadata: {}\n",
            good,
            "o.yaml:1",
            "no metadata.name",
        ),
        ("o.yaml", list, good, "o.yaml:12", ""),
        ("o.json", json, good, "o.json:4", ""),
        ("o.yaml", &web, "{\"from\":\"shop/web\"", "queries.jsonl:1", ""),
        (
            "o.yaml",
            &web,
            "\n{\"from\":\"shop/web\",\"to\":\"shop/web\",\"prot\":1}",
            "queries.jsonl:2",
            "prot",
        ),
        (
            "o.yaml",
            &web,
            &format!("{good}\n{}", query("shop/web", "shop/wbe", "TCP", 80)),
            "queries.jsonl:2",
            "no pod and no Service shop/wbe",
        ),
        (
            "o.yaml",
            &web,
            &query("shop/nobody", "shop/web", "TCP", 80),
            "queries.jsonl:1",
            "no pod shop/nobody",
        ),
        (
            "o.yaml",
            &web,
            &query("shop/web", "shop/web", "TCP", 0),
            "queries.jsonl:1",
            "port",
        ),
        (
            "o.yaml",
            &web,
            &query("shop/web", "shop/web", "GRE", 1),
            "queries.jsonl:1",
            "GRE",
        ),
        (
            "o.yaml",
            &web,
            &query("shop/web", "node/x", "TCP", 1),
            "queries.jsonl:1",
            "no node x",
        ),
        (
            "o.yaml",
            &web,
            r#"{"from":"192.0.2.1","to":"2001:db8::1","port":1}"#,
            "queries.jsonl:1",
            "address family",
        ),
    ] {
        let folder = folder(&[(file, objects), ("queries.jsonl", queries)]);
        let said = plugin(
            folder.path(),
            &["reach", "--objects", file, "--queries", "queries.jsonl"],
        );
        assert_eq!(said.code, 2, "{what}: {said:#?}");
        assert!(
            said.err
                .lines()
                .any(|line| line.starts_with(&format!("{place}: "))),
            "{place}: {said:#?}"
        );
        assert!(said.err.contains(what), "{what}: {said:#?}");
        assert_eq!(said.out, "", "nothing is answered");
    }
    let folder = folder(&[]);
    for arguments in [
        &[
            "reach",
            "--objects",
            "missing.yaml",
            "--from",
            "a/b",
            "--to",
            "a/b",
            "--port",
            "1",
        ][..],
        &["reach", "--objects", "."],
        &["reach", "--objects", "-", "--queries", "-"],
    ] {
        let said = plugin(folder.path(), arguments);
        assert_eq!(said.code, 2, "{said:#?}");
        assert!(!said.err.is_empty());
    }
}

#[test]
fn without_manifests_a_cluster_is_read_and_its_absence_told() {
    let nowhere = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
                   clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n";
    let folder = folder(&[("config", nowhere), ("o.yaml", &pod("web", "", &[]))]);
    let question = ["reach", "--from", "shop/web", "--to", "shop/web", "--port", "1"];
    for (access, told) in [
        (&["--kubeconfig", "missing"][..], "give --objects with manifests"),
        (&["--kubeconfig", "config"], "/api/v1/nodes"),
        (&["--kubeconfig", "config", "--context", "other"], "other"),
        // Manifests on top of a cluster need the cluster.
        (
            &["--kubeconfig", "config", "--objects", "o.yaml"],
            "/api/v1/nodes",
        ),
    ] {
        let said = plugin(folder.path(), &[&question[..], access].concat());
        assert_eq!(said.code, 3, "{access:?}: {said:#?}");
        assert!(said.err.contains(told), "{access:?}: {said:#?}");
        assert_eq!(said.out, "");
    }
}

#[test]
fn expectations_are_tests() {
    let manifests = [
        pod("a", "n1", &["10.1.1.5"]),
        pod("b", "n2", &["10.1.2.5"]),
        policy("closed", "a", "  policyTypes: [Ingress]"),
    ]
    .concat();
    let line = |from: &str, to: &str, expect: &str| {
        format!(r#"{{"from":"{from}","to":"{to}","port":80,"expect":"{expect}"}}"#)
    };
    let queries = [
        line("shop/a", "shop/b", "allowed"),
        line("shop/b", "shop/a", "allowed"),
        line("shop/b", "shop/a", "denied"),
        line("shop/a", "shop/b", "denied"),
    ]
    .join("\n");
    let folder = folder(&[("objects.yaml", &manifests), ("queries.jsonl", &queries)]);
    let said = plugin(
        folder.path(),
        &["reach", "--objects", "objects.yaml", "--queries", "queries.jsonl"],
    );
    assert_eq!(said.code, 1);
    assert_eq!(said.out.lines().count(), 4, "all is answered: {}", said.out);
    assert_eq!(
        said.err,
        "queries.jsonl:2: shop/b -> shop/a TCP 80
  - expected: allowed
  + actual:   denied, by default deny: ingress of shop/a is isolated by shop/closed, and no rule allows this
queries.jsonl:4: shop/a -> shop/b TCP 80
  - expected: denied
  + actual:   allowed, by default allow: no policy isolates either end in this direction
2 of 4 expectations were not met
"
    );
    for (expect, code) in [("denied", 0), ("allowed", 1), ("rejected", 1)] {
        let question = [
            "--from", "shop/b", "--to", "shop/a", "--port", "80", "--expect", expect,
        ];
        let said = plugin(
            folder.path(),
            &[&["reach", "--objects", "objects.yaml"], &question[..]].concat(),
        );
        assert_eq!(said.code, code, "{expect}: {said:#?}");
    }
}

#[test]
fn objects_come_as_files_folders_lists_and_json() {
    let a = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[]}}"#;
    let b = r#"{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"b"},"spec":{"containers":[]}}]}"#;
    let c = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: c}, spec: {containers: []}}\n\
             - {apiVersion: apps/v1, kind: Deployment, metadata: {name: c}}\n";
    let folder = folder(&[
        ("a.json", a),
        ("c.yml", c),
        ("notes.txt", ": no manifest: ["),
        ("b.list", b),
    ]);
    for (from, to) in [("default/a", "default/b"), ("default/b", "default/c")] {
        let question = ["--from", from, "--to", to, "--port", "80", "--expect", "allowed"];
        let said = plugin(
            folder.path(),
            &[&["reach", "--objects", ".", "--objects", "b.list"], &question[..]].concat(),
        );
        assert_eq!(said.code, 0, "{said:#?}");
        assert!(
            said.err.contains("left out") && said.err.contains("1 Deployment (apps/v1)"),
            "{}",
            said.err
        );
    }
}

#[test]
fn pods_without_nodes_or_addresses_get_the_same_ones_every_time() {
    let manifests: String = (0..30).map(|n| pod(&format!("p{n}"), "", &[])).collect();
    let queries: Vec<String> = (1..30)
        .map(|n| query("shop/p0", &format!("shop/p{n}"), "TCP", 80))
        .collect();
    let folder = folder(&[("o.yaml", &manifests), ("q.jsonl", &queries.join("\n"))]);
    let run = || {
        plugin(
            folder.path(),
            &["reach", "--objects", "o.yaml", "--queries", "q.jsonl", "--trace"],
        )
    };
    let (first, second) = (run(), run());
    assert_eq!(first.code, 0, "{first:#?}");
    assert_eq!(first.out, second.out);
    assert_eq!(
        first
            .out
            .lines()
            .filter(|line| line.starts_with("allowed"))
            .count(),
        29
    );
    assert!(
        first.out.contains("node-1  ") && first.out.contains("node-2  "),
        "two nodes are asked about"
    );
}

/// The command of a pipeline: the step or script line that runs the plugin.
fn command(pipeline: &Value) -> Option<String> {
    match pipeline {
        Value::String(text) => text.starts_with("kubectl-vpp ").then(|| text.trim().to_owned()),
        Value::Sequence(items) => items.iter().find_map(command),
        Value::Mapping(fields) => fields.values().find_map(command),
        _ => None,
    }
}

#[test]
fn the_example_pipelines_pass_and_catch_a_policy_that_opens_too_much() {
    let root = root();
    let open = policy("oops", "web", "  ingress: [{}]") + &policy("oops-out", "stranger", "  egress: [{}]");
    let changed = folder(&[("open.yaml", &open)]);
    let changed = changed.path().to_str().unwrap();
    for file in ["github-workflow.yml.example", "gitlab-ci.yml.example"] {
        let text = std::fs::read_to_string(root.join("examples/gitops").join(file)).unwrap();
        let pipeline: Value = serde_norway::from_str(&text).unwrap();
        let command = command(&pipeline).unwrap();
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        let said = plugin(&root, &arguments);
        assert_eq!(said.code, 0, "{file}: {said:#?}");
        assert!(said.out.lines().count() > 5);
        let said = plugin(&root, &[&arguments[..], &["--objects", changed]].concat());
        assert_eq!(said.code, 1, "{file}: {said:#?}");
        assert!(
            said.err.contains(
                "shop/stranger -> shop/web TCP 80\n  - expected: denied\n  + actual:   allowed, by shop/oops"
            ),
            "{}",
            said.err
        );
    }
}

#[test]
fn help_teaches() {
    let folder = folder(&[]);
    let help = plugin(folder.path(), &["reach", "--help"]).out;
    for part in [
        "Examples:",
        "kubectl get nodes",
        "--queries",
        "\"expect\"",
        "Exit codes:",
        "namespace/service",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(
        help.lines().all(|line| !line.contains('\u{1b}')),
        "no colours without a terminal"
    );
}
