//! GoVPP: the Go client that other agents of VPP are made with, with its bindings of release 25.10.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{counting, run, server, sources, succeeds};

/// The program, built by whoever comes first.
fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PROGRAM.get_or_init(build) {
        Ok(path) => Some(path),
        Err(reason) => {
            eprintln!("skipped: {reason}");
            None
        }
    }
}

fn go(arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(arguments).current_dir(sources("govpp"));
    command
}

fn build() -> Result<PathBuf, String> {
    succeeds(&mut go(&["version"]))?;
    succeeds(&mut go(&["mod", "download", "go.fd.io/govpp"]))?;
    // From here on it is our mistake if it fails.
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("govpp-client");
    run(go(&["build", "-o"]).arg(&program).arg("."));
    Ok(program)
}

#[test]
fn govpp_drives_the_server() {
    let Some(program) = program() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, "api.sock");
    let said = run(Command::new(program).arg(server.socket()));
    assert!(said.ends_with("done\n"), "{said}");
    let vpp = server.engine();
    assert_eq!(
        vpp.interfaces().count(),
        1,
        "what it made is gone: local0 is left"
    );
    assert_eq!((vpp.acls().count(), vpp.cnat_translations().len()), (0, 0));
    assert_eq!(server.fatal(), None);
}

#[test]
fn govpp_reads_the_statistics() {
    let Some(program) = program() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (server, socket) = counting(&directory);
    let said = run(Command::new(program).arg(server.socket()).arg(socket));
    let expected = [
        "interface 0 local0 rx 0 0 tx 0 0 drops 0",
        "interface 1 tap0 rx 3 192 tx 0 0 drops 3",
        "workers 0 beats true",
        "error /err/ethernet-input/l3 mac mismatch [3]",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
