//! GoVPP: the Go client that other agents of VPP are made with, with its bindings of release 25.10.

use std::process::Command;

use crate::tools::{govpp, run};
use crate::{counting, server};

#[test]
fn govpp_drives_the_server() {
    let Some(programs) = govpp() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let server = server(&directory, "api.sock");
    let said = run(Command::new(programs.join("clients")).arg(server.socket()));
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
    let Some(programs) = govpp() else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (server, socket) = counting(&directory);
    let said = run(Command::new(programs.join("clients"))
        .arg(server.socket())
        .arg(socket));
    let expected = [
        "interface 0 local0 rx 0 0 tx 0 0 drops 0",
        "interface 1 tap0 rx 3 192 tx 0 0 drops 3",
        "workers 0 beats true",
        "error /err/ethernet-input/l3 mac mismatch [3]",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}
