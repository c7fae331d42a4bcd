//! vpp_papi: VPP's own Python client, fed with VPP 26.06's definitions.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{counting, run, server, shared, sources, succeeds};

const PACKAGE: &str = "vpp-papi==2.4.2";

/// An interpreter that has the package: a virtual environment in the user's cache, made by whoever comes first.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PYTHON.get_or_init(install) {
        Ok(path) => Some(path),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn install() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    let environment = cache.join("contiv-vpp-tests").join(PACKAGE.replace("==", "-"));
    let python = environment.join("bin/python");
    let works = || succeeds(Command::new(&python).args(["-c", "import vpp_papi.vpp_stats"]));
    if works().is_err() {
        succeeds(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&environment),
        )?;
        succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet", PACKAGE]))?;
        works()?;
    }
    Ok(python)
}

/// The script with the definitions as its first argument.
fn script(name: &str) -> Option<Command> {
    let definitions = shared("vpp/api-26.06")?;
    let mut command = Command::new(python()?);
    // Nothing is to be written beside the sources.
    command.arg("-B").arg(sources("papi").join(name)).arg(definitions);
    Some(command)
}

/// Replays recordings one after the other on two dataplanes.
fn replay(recordings: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (server(&directory, "a.sock"), server(&directory, "b.sock"));
    for recording in recordings {
        let Some(recording) = shared(&format!("vpp/recordings/{recording}")) else {
            return;
        };
        let Some(mut command) = script("replay.py") else {
            return;
        };
        let said = run(command.arg(&recording).args([a.socket(), b.socket()]));
        assert!(!said.starts_with("0 answers"), "{said}");
        eprint!("{}: {said}", recording.display());
    }
}

/// Everything a node needs of the API, used and dumped again.
#[test]
fn vpp_papi_drives_the_server() {
    let Some(mut command) = script("drive.py") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, "api.sock");
    let said = run(command.arg(server.socket()));
    assert!(said.ends_with("done\n"), "{said}");
    let vpp = server.engine();
    assert_eq!(
        vpp.interfaces().count(),
        1,
        "what it made is gone: local0 is left"
    );
    assert_eq!((vpp.acls().count(), vpp.cnat_translations().len()), (0, 0));
}

#[test]
fn recording_forwarding() {
    replay(&["forwarding.jsonl"]);
}

#[test]
fn recording_acl() {
    replay(&["acl.jsonl"]);
}

#[test]
fn recording_cnat() {
    replay(&["cnat.jsonl"]);
}

#[test]
fn recording_cnat_default_snat() {
    replay(&["cnat-default-snat.jsonl"]);
}

#[test]
fn recording_chain_abf() {
    replay(&["chain-abf.jsonl"]);
}

#[test]
fn recording_l2_xconnect() {
    // It speaks of interfaces 2 and 4, which the other makes.
    replay(&["acl.jsonl", "l2-xconnect.jsonl"]);
}

#[test]
fn recording_memif() {
    replay(&["memif.jsonl"]);
}

#[test]
fn recording_vxlan_two_nodes() {
    replay(&["vxlan-two-nodes.jsonl"]);
}

#[test]
fn vpp_papi_reads_the_statistics() {
    let Some(mut command) = script("stats.py") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (_server, socket) = counting(&directory);
    let said = run(command.arg(socket));
    let expected = [
        "interface 0 local0 rx 0 0 drops 0",
        "interface 1 tap0 rx 3 192 drops 3",
        "link 3",
        "beats True",
        "error /err/ethernet-input/l3 mac mismatch 3",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
