//! vpp_papi: VPP's own Python client, fed with VPP 26.06's definitions.

use crate::tools::{papi, run, shared};
use crate::{counting, server};

/// Replays recordings one after the other on two dataplanes.
fn replay(recordings: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (server(&directory, "a.sock"), server(&directory, "b.sock"));
    for recording in recordings {
        let Some(recording) = shared(&format!("vpp/recordings/{recording}")) else {
            return;
        };
        let Some(mut command) = papi("replay.py") else {
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
    let Some(mut command) = papi("drive.py") else {
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
    let Some(mut command) = papi("stats.py") else {
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
