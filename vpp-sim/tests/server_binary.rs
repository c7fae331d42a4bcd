//! The program itself: signals, exit codes, what it leaves behind.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod common;

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vpp_api::Client;
use vpp_api::messages::tapv2::TapCreateV3;
use vpp_api::messages::vpe::ShowVersion;
use vpp_api::types::NO_INDEX;

use common::{Namespace, privileged};

fn program(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vpp-sim"));
    command.arg("--api-socket").arg(socket).stderr(Stdio::piped());
    command
}

async fn connect(socket: &Path) -> Client {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Client::connect(socket, "test").await {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "still running");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn sigterm_ends_it_cleanly() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let mut child = program(&socket)
        .args(["--version-string", "25.10-sim"])
        .spawn()
        .unwrap();
    let client = connect(&socket).await;
    assert_eq!(client.call(ShowVersion {}).await.unwrap().version, "25.10-sim");
    let pod = privileged().then(Namespace::new);
    if let Some(pod) = &pod {
        let tap = TapCreateV3 {
            id: NO_INDEX,
            host_namespace_set: true,
            host_namespace: pod.name.clone(),
            host_if_name_set: true,
            host_if_name: "eth0".into(),
            ..TapCreateV3::default()
        };
        client.call(tap).await.unwrap();
        assert!(pod.show("link").contains("eth0"));
    }
    let second = program(&socket).output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("active listener"));
    assert_eq!(
        client.call(ShowVersion {}).await.unwrap().program,
        "vpe",
        "the first goes on"
    );
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert!(wait(&mut child).success());
    assert!(!socket.exists());
    if let Some(pod) = &pod {
        assert!(!pod.show("link").contains("eth0"));
    }
}

#[tokio::test]
async fn what_kills_vpp_aborts_it_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("api.sock");
    let child = program(&socket).spawn().unwrap();
    let client = connect(&socket).await;
    // An attachment of an unknown policy, by hand: the client would refuse it.
    let id = client.table().id("abf_itf_attach_add_del_25c8621b").unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let mut message = vec![0; 70];
    message[1] = 15;
    let attach = [
        &id.to_be_bytes()[..],
        &0x8000_0002u32.to_be_bytes(),
        &[0; 4],
        &[1],
        &[0; 13],
    ]
    .concat();
    for message in [message, attach] {
        let length = u32::try_from(message.len()).unwrap();
        let frame = [&[0; 8][..], &length.to_be_bytes(), &[0; 4], &message].concat();
        std::io::Write::write_all(&mut stream, &frame).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(134));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("abf_itf_attach_add_del with unknown policy"),
        "{said}"
    );
}
