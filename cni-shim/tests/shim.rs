//! The built binary, with a daemon that the test plays on a socket.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as expected"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cni_shim::{
    CniError, CniResult, Interface, IpConfig, NetConf, Request, Response, Route, code, intents, shim,
};
use serde_json::{Value, json};

/// What a run of the binary gave.
struct Run {
    exit: i32,
    stdout: Value,
    empty: bool,
    stderr: String,
}

/// Runs the binary with the environment of an attachment, changed by `changes` (an empty value
/// removes a variable).
fn run(config: &str, changes: &[(&str, &str)]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contiv-cni"));
    command.env_clear().envs([
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c0ffee"),
        ("CNI_NETNS", "/run/netns/c0ffee"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
        (
            "CNI_ARGS",
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1",
        ),
    ]);
    for (name, value) in changes {
        match *value {
            "" => command.env_remove(name),
            value => command.env(name, value),
        };
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A run that fails on its environment may leave without reading.
    let _ = child.stdin.take().unwrap().write_all(config.as_bytes());
    let done = child.wait_with_output().unwrap();
    Run {
        exit: done.status.code().unwrap(),
        empty: done.stdout.is_empty(),
        stdout: serde_json::from_slice(&done.stdout).unwrap_or_default(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

fn config(version: &str, directory: &Path) -> Value {
    json!({
        "cniVersion": version,
        "name": "contiv",
        "type": "contiv-cni",
        "socket": directory.join("cni.sock"),
        "stateDir": directory,
    })
}

/// Plays the daemon for one request and hands the request out.
fn daemon(directory: &Path, response: Response) -> mpsc::Receiver<Request> {
    let listener = UnixListener::bind(directory.join("cni.sock")).unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        sender.send(serde_json::from_str(&line).unwrap()).unwrap();
        let answer = serde_json::to_string(&response).unwrap() + "\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    receiver
}

fn made() -> CniResult {
    CniResult {
        interfaces: vec![
            Interface {
                name: "eth0".into(),
                mac: Some("02:00:00:00:00:01".into()),
                mtu: Some(1450),
                sandbox: Some("/run/netns/c0ffee".into()),
                ..Interface::default()
            },
            Interface {
                name: "memif0".into(),
                socket_path: Some("/run/contiv/memif.sock".into()),
                pci_id: Some("0000:00:1f.6".into()),
                ..Interface::default()
            },
        ],
        ips: ["10.1.1.2/32", "fd00:1::2/128"]
            .into_iter()
            .map(|address| IpConfig {
                address: address.into(),
                gateway: None,
                interface: Some(0),
            })
            .collect(),
        routes: vec![Route {
            dst: "0.0.0.0/0".into(),
            gw: Some(IpAddr::from([10, 1, 1, 1])),
            mtu: Some(1450),
            scope: Some(0),
            ..Route::default()
        }],
        ..CniResult::default()
    }
}

#[test]
fn add_asks_the_daemon_and_prints_its_result() {
    let dir = tempfile::tempdir().unwrap();
    let requests = daemon(dir.path(), Response::Added(made()));
    let done = run(&config("1.1.0", dir.path()).to_string(), &[]);
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert_eq!(done.stdout["cniVersion"], "1.1.0");
    assert_eq!(done.stdout["interfaces"][0]["mtu"], 1450);
    let request = requests.recv().unwrap();
    assert_eq!(request.command, cni_shim::Command::Add);
    assert_eq!(request.container_id, "c0ffee");
    assert_eq!(request.netns, "/run/netns/c0ffee");
    assert_eq!(request.args["K8S_POD_UID"], "u1");
    assert_eq!(request.config.name, "contiv");
}

/// Fields of a result by version: required ones (the specification's "Add Success", and its history
/// in CONVENTIONS of each version) and ones that the version does not know.
#[test]
fn results_have_the_shape_of_the_asked_for_version() {
    for version in cni_shim::SUPPORTED_VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let _requests = daemon(dir.path(), Response::Added(made()));
        let done = run(&config(version, dir.path()).to_string(), &[]);
        assert_eq!(done.exit, 0, "{version}: {}", done.stderr);
        let result = &done.stdout;
        assert_eq!(result["cniVersion"], version);
        for interface in result["interfaces"].as_array().unwrap() {
            assert!(interface["name"].is_string());
            let known: &[&str] = match version {
                "1.1.0" => &["name", "mac", "sandbox", "mtu", "socketPath", "pciID"],
                _ => &["name", "mac", "sandbox"],
            };
            for key in interface.as_object().unwrap().keys() {
                assert!(known.contains(&key.as_str()), "{version}: {key}");
            }
        }
        for (ip, family) in result["ips"].as_array().unwrap().iter().zip(["4", "6"]) {
            assert!(ip["address"].is_string());
            assert_eq!(ip["interface"], 0);
            let wanted = match version {
                "0.3.1" | "0.4.0" => json!(family),
                _ => Value::Null,
            };
            assert_eq!(ip["version"], wanted, "{version}");
        }
        let route = result["routes"][0].as_object().unwrap();
        assert!(route.contains_key("dst"));
        assert_eq!(route.contains_key("mtu"), version == "1.1.0", "{version}");
        // And back: what a runtime remembers is read again, whatever its version.
        let again = CniResult::from_any_version(result).unwrap();
        assert_eq!(again.ips, made().ips);
    }
}

#[test]
fn wrong_input_has_its_code() {
    let dir = tempfile::tempdir().unwrap();
    let good = config("1.1.0", dir.path());
    let changed = |key: &str, value: Value| {
        let mut config = good.clone();
        config[key] = value;
        config.to_string()
    };
    let plain = good.to_string();
    type Case<'a> = (&'a str, String, Vec<(&'a str, &'a str)>, u32);
    let cases: Vec<Case<'_>> = vec![
        ("no command", plain.clone(), vec![("CNI_COMMAND", "")], 4),
        (
            "unknown command",
            plain.clone(),
            vec![("CNI_COMMAND", "EXPLODE")],
            4,
        ),
        ("no container", plain.clone(), vec![("CNI_CONTAINERID", "")], 4),
        (
            "container is a path",
            plain.clone(),
            vec![("CNI_CONTAINERID", "../x")],
            4,
        ),
        ("no interface", plain.clone(), vec![("CNI_IFNAME", "")], 4),
        (
            "interface too long",
            plain.clone(),
            vec![("CNI_IFNAME", "sixteen-letters.")],
            4,
        ),
        (
            "interface with slash",
            plain.clone(),
            vec![("CNI_IFNAME", "a/b")],
            4,
        ),
        ("no namespace", plain.clone(), vec![("CNI_NETNS", "")], 4),
        (
            "CHECK without namespace",
            plain.clone(),
            vec![("CNI_COMMAND", "CHECK"), ("CNI_NETNS", "")],
            4,
        ),
        ("arguments", plain.clone(), vec![("CNI_ARGS", "K8S_POD_NAME")], 4),
        ("no JSON", "{".into(), vec![], 6),
        ("nothing", String::new(), vec![], 6),
        ("future version", changed("cniVersion", json!("2.0.0")), vec![], 1),
        (
            "ancient version",
            changed("cniVersion", json!("0.1.0")),
            vec![],
            1,
        ),
        (
            "CHECK before it existed",
            changed("cniVersion", json!("0.3.1")),
            vec![("CNI_COMMAND", "CHECK")],
            1,
        ),
        (
            "STATUS before it existed",
            changed("cniVersion", json!("1.0.0")),
            vec![("CNI_COMMAND", "STATUS")],
            1,
        ),
        (
            "unknown field",
            changed("ipam", json!({"type": "host-local"})),
            vec![],
            2,
        ),
        ("name", changed("name", json!("")), vec![], 7),
        ("socket", changed("socket", json!("cni.sock")), vec![], 7),
        ("GC without list", plain.clone(), vec![("CNI_COMMAND", "GC")], 7),
    ];
    for (what, config, environment, expected) in cases {
        let done = run(&config, &environment);
        assert_eq!(done.exit, 1, "{what}");
        assert_eq!(done.stdout["code"], expected, "{what}: {}", done.stdout);
        assert!(done.stdout["cniVersion"].is_string(), "{what}");
        let message = done.stdout["msg"].as_str().unwrap();
        assert!(done.stderr.contains(message), "{what}: {}", done.stderr);
    }
    let named = run(&changed("ipam", json!({"type": "host-local"})), &[]);
    let message = named.stdout["msg"].as_str().unwrap();
    assert!(
        message.contains("ipam") && message.contains("host-local"),
        "{message}"
    );
}

#[test]
fn version_is_answered_without_a_daemon() {
    let environment = [
        ("CNI_COMMAND", "VERSION"),
        ("CNI_CONTAINERID", ""),
        ("CNI_NETNS", ""),
        ("CNI_IFNAME", ""),
    ];
    let done = run(r#"{"cniVersion":"0.4.0"}"#, &environment);
    assert_eq!(done.exit, 0);
    assert_eq!(
        done.stdout,
        json!({"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]})
    );
    assert_eq!(run("nonsense", &environment).stdout["code"], 6);
}

#[test]
fn without_a_daemon_each_command_has_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("1.1.0", dir.path());
    config["cni.dev/valid-attachments"] = json!([]);
    config["prevResult"] = json!({"cniVersion": "1.1.0"});
    let config = config.to_string();
    for (command, expected) in [
        ("ADD", code::TRY_AGAIN_LATER),
        ("CHECK", code::TRY_AGAIN_LATER),
        ("GC", code::TRY_AGAIN_LATER),
    ] {
        let done = run(&config, &[("CNI_COMMAND", command)]);
        assert_eq!(done.stdout["code"], expected, "{command}: {}", done.stdout);
        assert!(intents::load(dir.path()).unwrap().is_empty(), "{command}");
    }
    // Twice, and with nothing left of the pod but its name.
    for _ in 0..2 {
        let done = run(
            &config,
            &[("CNI_COMMAND", "DEL"), ("CNI_NETNS", ""), ("CNI_ARGS", "")],
        );
        assert_eq!((done.exit, done.empty), (0, true), "{}", done.stderr);
    }
    let left = intents::load(dir.path()).unwrap();
    assert_eq!(left.len(), 1);
    let request = left[0].as_ref().unwrap();
    assert_eq!(request.command, cni_shim::Command::Del);
    assert_eq!(request.container_id, "c0ffee");
    intents::forget(dir.path(), &request.key()).unwrap();
    intents::forget(dir.path(), &request.key()).unwrap();
    assert!(intents::load(dir.path()).unwrap().is_empty());
}

#[test]
fn a_deletion_that_cannot_be_written_down_fails() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("1.1.0", dir.path());
    std::fs::write(dir.path().join("file"), "").unwrap();
    config["stateDir"] = json!(dir.path().join("file"));
    let done = run(&config.to_string(), &[("CNI_COMMAND", "DEL")]);
    assert_eq!(done.stdout["code"], code::TRY_AGAIN_LATER);
}

#[test]
fn an_unreadable_intent_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("1.1.0", dir.path()).to_string();
    run(&config, &[("CNI_COMMAND", "DEL")]);
    std::fs::write(dir.path().join("deletes/torn@eth0"), "{").unwrap();
    let left = intents::load(dir.path()).unwrap();
    assert_eq!(left.iter().filter(|each| each.is_ok()).count(), 1);
    assert_eq!(left.iter().filter(|each| each.is_err()).count(), 1);
}

#[test]
fn the_daemons_errors_come_through() {
    let dir = tempfile::tempdir().unwrap();
    let error = CniError::new(code::TRY_AGAIN_LATER, "the pod's policies are not known yet")
        .with_details("default/web");
    let _requests = daemon(dir.path(), Response::Failed(error));
    let done = run(&config("0.4.0", dir.path()).to_string(), &[]);
    assert_eq!(done.exit, 1);
    assert_eq!(
        done.stdout,
        json!({"cniVersion": "0.4.0", "code": 11, "msg": "the pod's policies are not known yet",
            "details": "default/web"})
    );
}

/// kubelet calls a node, and every pod on it, not ready when STATUS fails: the seconds in which a daemon is replaced by
/// the next one are none of that.
#[test]
fn status_waits_for_the_daemon_that_is_being_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let next = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        daemon(&place, Response::Done {})
    });
    let done = run(
        &config("1.1.0", dir.path()).to_string(),
        &[("CNI_COMMAND", "STATUS")],
    );
    assert_eq!((done.exit, done.empty), (0, true), "{}", done.stdout);
    next.join().unwrap().recv().unwrap();
}

#[test]
fn status_says_so_when_no_daemon_comes() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("1.1.0", dir.path()).to_string();
    let command = |name: &str| (name == "CNI_COMMAND").then(|| "STATUS".to_owned());
    let started = Instant::now();
    let done = shim::run(command, config.as_bytes(), Duration::from_millis(300));
    assert!(started.elapsed() >= Duration::from_millis(150), "it waited");
    let error: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(error["code"], code::NOT_AVAILABLE, "{error}");
    // One that listens and can't serve is asked for a shorter time, and its own sentence is the answer.
    let failed = || Response::Failed(CniError::new(code::NOT_AVAILABLE_LIMITED, "VPP is not connected"));
    let listener = UnixListener::bind(dir.path().join("cni.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            let answer = serde_json::to_string(&failed()).unwrap() + "\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let started = Instant::now();
    let done = shim::run(command, config.as_bytes(), Duration::from_secs(90));
    assert!(started.elapsed() < Duration::from_secs(10));
    let error: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&error["code"], &error["msg"]),
        (
            &json!(code::NOT_AVAILABLE_LIMITED),
            &json!("VPP is not connected")
        )
    );
}

#[test]
fn commands_without_a_result_print_nothing() {
    for command in ["DEL", "CHECK", "GC", "STATUS"] {
        let dir = tempfile::tempdir().unwrap();
        let requests = daemon(dir.path(), Response::Done {});
        let mut config = config("1.1.0", dir.path());
        config["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
        let done = run(&config.to_string(), &[("CNI_COMMAND", command)]);
        assert_eq!((done.exit, done.empty), (0, true), "{command}: {}", done.stdout);
        let request = requests.recv().unwrap();
        assert_eq!(request.command.to_string(), command);
        assert_eq!(request.config.valid_attachments.unwrap()[0].container_id, "c1");
        assert!(!dir.path().join("deletes").exists(), "{command}");
    }
}

/// In process, for a deadline that a test can wait for: a daemon that accepts and says nothing.
#[test]
fn a_silent_daemon_is_left_at_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(dir.path().join("cni.sock")).unwrap();
    let config = config("1.1.0", dir.path()).to_string();
    for (command, exit) in [("ADD", 1), ("DEL", 0)] {
        let variable = |name: &str| {
            let value = match name {
                "CNI_COMMAND" => command,
                "CNI_CONTAINERID" => "c0ffee",
                "CNI_NETNS" => "/run/netns/c0ffee",
                "CNI_IFNAME" => "eth0",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let start = Instant::now();
        let done = shim::run(variable, config.as_bytes(), Duration::from_millis(200));
        assert!(start.elapsed() < Duration::from_secs(5));
        assert_eq!(done.exit, exit, "{}", done.stdout);
        if command == "ADD" {
            let error: Value = serde_json::from_str(&done.stdout).unwrap();
            assert_eq!(error["code"], code::TRY_AGAIN_LATER);
        }
    }
    assert_eq!(intents::load(dir.path()).unwrap().len(), 1);
}

#[test]
fn a_daemon_that_came_up_meanwhile_takes_the_deletion_back() {
    // The first connection is closed without an answer, as by a daemon that is stopping; the
    // second reaches the next one.
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("cni.sock")).unwrap();
    let peer = thread::spawn(move || {
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        let answer = serde_json::to_string(&Response::Done {}).unwrap() + "\n";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let config = config("1.1.0", dir.path()).to_string();
    let done = run(&config, &[("CNI_COMMAND", "DEL")]);
    peer.join().unwrap();
    assert_eq!(done.exit, 0, "{}", done.stderr);
    assert!(intents::load(dir.path()).unwrap().is_empty());
}

#[test]
fn nonsense_from_the_socket_is_a_decoding_failure() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("cni.sock")).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\n").unwrap();
        }
    });
    let config = config("1.1.0", dir.path()).to_string();
    for command in ["ADD", "DEL"] {
        let done = run(&config, &[("CNI_COMMAND", command)]);
        assert_eq!(done.stdout["code"], code::DECODING_FAILURE, "{command}");
    }
}

#[test]
fn a_request_survives_its_journey() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("1.1.0", dir.path());
    config["prevResult"] = json!({"cniVersion": "1.1.0", "ips": []});
    let config = NetConf::parse(config.to_string().as_bytes()).unwrap();
    let line = serde_json::to_string(&config).unwrap();
    assert!(!line.contains('\n'));
    assert_eq!(serde_json::from_str::<NetConf>(&line).unwrap(), config);
}
