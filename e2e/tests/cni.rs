//! The CNI plugin as runtimes see it: error codes, versions, garbage collection, a daemon that is not there.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::cases;
use e2e::cluster::Cluster;
use e2e::netns::Namespace;
use e2e::pod::PodSpec;
use e2e::probe::Probe;
use e2e::wait::{eventually, expect};
use serde_json::{Value, json};

fn main() -> ExitCode {
    e2e::suite::main(
        "cni",
        1,
        cases![
            mistakes_have_their_codes,
            a_second_add_changes_nothing,
            older_runtimes_get_older_results,
            garbage_is_collected,
            without_a_daemon,
            a_pod_that_the_api_does_not_know,
        ],
    )
}

const NOBODY: &str = "/run/netns/cv-nobody";

async fn mistakes_have_their_codes(cluster: &mut Cluster) -> Result<()> {
    let network = cluster.node_ref(1)?.network().clone();
    // A pod that is known, so that nothing but the mistake is wrong.
    let key = cluster.create_pod(PodSpec::new("mistaken", 1)).await?;
    let uid = cluster.pod(&key)?.uid().to_owned();
    let netns = Namespace::create(&cluster.run().netns("mistake"))?;
    let here = netns.path();
    let nowhere = Path::new(NOBODY);
    let file = Path::new("/etc/hostname");
    // Numbers from the specification's table of error codes; 8 is libcni's.
    let cases = [
        ("no JSON", "ADD", here.as_path(), json!("{"), 6),
        (
            "an unknown version",
            "ADD",
            &here,
            json!({"cniVersion": "9.0.0"}),
            1,
        ),
        ("a name that is none", "ADD", &here, json!({"name": "a/b"}), 7),
        (
            "an unknown field",
            "ADD",
            &here,
            json!({"ipam": {"type": "host-local"}}),
            2,
        ),
        ("no such namespace", "ADD", nowhere, json!({}), 8),
        ("a file that is no namespace", "ADD", file, json!({}), 8),
        ("no such command", "JUMP", &here, json!({}), 4),
    ];
    for (what, command, netns, config, code) in cases {
        let raw = network
            .raw_with_args(command, "mistake", netns, config, "mistaken", &uid)
            .await
            .context(what)?;
        ensure!(raw.code == Some(code), "{what}: {raw:?}, not code {code}");
        let sentence = raw.printed.get("msg").and_then(Value::as_str).unwrap_or_default();
        ensure!(!sentence.is_empty(), "{what}: no sentence: {raw:?}");
    }
    // DEL of what never was succeeds, whatever is gone.
    for path in [nowhere, Path::new("")] {
        let raw = network.raw("DEL", "never", path, json!({})).await?;
        ensure!(raw.code.is_none(), "{raw:?}");
    }
    Ok(())
}

/// The very same ADD is answered as before; any other into the same namespace is an error, and does no harm.
async fn a_second_add_changes_nothing(cluster: &mut Cluster) -> Result<()> {
    cluster.start_pod(PodSpec::new("b", 1)).await?;
    let key = cluster.create_pod(PodSpec::new("a", 1)).await?;
    let uid = cluster.pod(&key)?.uid().to_owned();
    let network = cluster.node_ref(1)?.network().clone();
    let netns = Namespace::create(&cluster.run().netns("twice"))?;
    let first = network
        .raw_with_args("ADD", "one", &netns.path(), json!({}), "a", &uid)
        .await?;
    ensure!(first.code.is_none(), "{first:?}");
    let same = network
        .raw_with_args("ADD", "one", &netns.path(), json!({}), "a", &uid)
        .await?;
    ensure!(same.printed == first.printed, "{same:?} is not {first:?}");
    let other = network
        .raw_with_args("ADD", "two", &netns.path(), json!({}), "a", &uid)
        .await?;
    ensure!(
        other.code == Some(100),
        "another container in the same namespace: {other:?}"
    );
    let address = cluster.pod("b")?.ip4()?;
    let answers = Probe::tcp(address, 80).from(netns.name()).await?;
    ensure!(answers.all_answered(), "the first attachment suffered: {answers}");
    let raw = network.raw("DEL", "one", &netns.path(), json!({})).await?;
    ensure!(
        raw.code.is_none() && netns.ip_output(&["link", "show", "eth0"]).is_err(),
        "{raw:?}"
    );
    Ok(())
}

async fn older_runtimes_get_older_results(cluster: &mut Cluster) -> Result<()> {
    let network = cluster.node_ref(1)?.network().clone();
    for (version, newer) in [
        ("1.1.0", true),
        ("1.0.0", false),
        ("0.4.0", false),
        ("0.3.1", false),
    ] {
        let raw = network
            .raw("VERSION", "", Path::new(""), json!({"cniVersion": version}))
            .await?;
        let supported = raw
            .printed
            .get("supportedVersions")
            .and_then(Value::as_array)
            .context("no versions")?;
        ensure!(
            supported.contains(&json!(version)),
            "{version} is not among {supported:?}"
        );
        let name = format!("old-{}", version.replace('.', "-"));
        let key = cluster.create_pod(PodSpec::new(&name, 1)).await?;
        let netns = Namespace::create(&cluster.run().netns(&name))?;
        let uid = cluster.pod(&key)?.uid().to_owned();
        let raw = network
            .raw_with_args(
                "ADD",
                &uid,
                &netns.path(),
                json!({"cniVersion": version}),
                &name,
                &uid,
            )
            .await?;
        ensure!(raw.code.is_none(), "{version}: {raw:?}");
        ensure!(raw.printed.get("cniVersion") == Some(&json!(version)), "{raw:?}");
        let has_mtu = raw.printed.pointer("/interfaces/0/mtu").is_some();
        ensure!(
            !has_mtu || newer,
            "{version} does not know interfaces' mtu: {raw:?}"
        );
        let has_ip_version = raw.printed.pointer("/ips/0/version").is_some();
        ensure!(
            has_ip_version == version.starts_with("0."),
            "{version}: ips' version field: {raw:?}"
        );
        let raw = network
            .raw("DEL", &uid, &netns.path(), json!({"cniVersion": version}))
            .await?;
        ensure!(raw.code.is_none(), "{raw:?}");
    }
    Ok(())
}

/// GC removes what the runtime no longer knows and nothing else.
async fn garbage_is_collected(cluster: &mut Cluster) -> Result<()> {
    let network = cluster.node_ref(1)?.network().clone();
    cluster.start_pod(PodSpec::new("a", 1)).await?;
    let mut made = Vec::new();
    for name in ["keep", "lose"] {
        let key = cluster.create_pod(PodSpec::new(name, 1)).await?;
        let uid = cluster.pod(&key)?.uid().to_owned();
        let netns = Namespace::create(&cluster.run().netns(name))?;
        let raw = network
            .raw_with_args("ADD", name, &netns.path(), json!({}), name, &uid)
            .await?;
        ensure!(raw.code.is_none(), "{raw:?}");
        made.push(netns);
    }
    let attached = |netns: &Namespace| netns.ip_output(&["link", "show", "eth0"]).is_ok();
    // cnitool names containers after their namespaces, so the list must name that of pod `a` as well.
    let sandboxes = std::fs::read_dir("/var/lib/cni/results")?.flatten();
    let prefix = format!("{}-contiv-", cluster.run().id());
    let mut valid: Vec<Value> = sandboxes
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let container = name.strip_prefix(&prefix)?.strip_suffix("-eth0")?.to_owned();
            Some(json!({"containerID": container, "ifname": "eth0"}))
        })
        .collect();
    valid.push(json!({"containerID": "keep", "ifname": "eth0"}));
    let raw = network
        .raw(
            "GC",
            "",
            Path::new(""),
            json!({"cni.dev/valid-attachments": valid}),
        )
        .await?;
    ensure!(raw.code.is_none(), "{raw:?}");
    eventually("only the garbage is gone", Duration::from_secs(10), async || {
        let found = (attached(&made[0]), attached(&made[1]));
        Ok(expect(found == (true, false), || {
            format!("kept, lost: {found:?}")
        }))
    })
    .await?;
    let address = cluster.pod("a")?.ip4()?;
    let answers = cluster.ask("node/1", &Probe::tcp(address, 80)).await?;
    ensure!(answers.all_answered(), "a pod that is still wanted: {answers}");
    network.raw("DEL", "keep", &made[0].path(), json!({})).await?;
    Ok(())
}

async fn without_a_daemon(cluster: &mut Cluster) -> Result<()> {
    let key = cluster.create_pod(PodSpec::new("early", 1)).await?;
    let uid = cluster.pod(&key)?.uid().to_owned();
    let network = cluster.node_ref(1)?.network().clone();
    let netns = Namespace::create(&cluster.run().netns("early"))?;
    cluster.node(1)?.daemon().kill();
    let add = network
        .raw_with_args("ADD", "early", &netns.path(), json!({}), "early", &uid)
        .await;
    let status = network.raw("STATUS", "", Path::new(""), json!({})).await;
    let del = network.raw("DEL", "early", &netns.path(), json!({})).await;
    cluster.node(1)?.daemon().spawn()?;
    cluster.wait_nodes_ready().await?;
    let (add, status, del) = (add?, status?, del?);
    ensure!(
        add.code == Some(11),
        "ADD without a daemon is to be tried again later: {add:?}"
    );
    ensure!(
        matches!(status.code, Some(50 | 51)),
        "STATUS without a daemon: {status:?}"
    );
    ensure!(del.code.is_none(), "DEL never holds a pod up: {del:?}");
    let add = network
        .raw_with_args("ADD", "early", &netns.path(), json!({}), "early", &uid)
        .await?;
    ensure!(add.code.is_none(), "the later try: {add:?}");
    let del = network.raw("DEL", "early", &netns.path(), json!({})).await?;
    ensure!(del.code.is_none(), "{del:?}");
    Ok(())
}

/// Without a binding nothing is known of the pod's policies: no network rather than an open one.
async fn a_pod_that_the_api_does_not_know(cluster: &mut Cluster) -> Result<()> {
    let network = cluster.node_ref(1)?.network().clone();
    let netns = Namespace::create(&cluster.run().netns("ghost"))?;
    let raw = network
        .raw_with_args("ADD", "ghost", &netns.path(), json!({}), "ghost", "no-such-uid")
        .await?;
    ensure!(raw.code == Some(11), "{raw:?}");
    ensure!(
        netns.ip_output(&["link", "show", "eth0"]).is_err(),
        "a failed ADD left its interface"
    );
    Ok(())
}
