//! Connecting, and every way a connection ends.

use crate::server::{Server, all_ids};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use vpp_api::messages::{acl::*, cnat, interface::*, memclnt::*};
use vpp_api::{Client, Closed, Connector, Error, Message, Options};

fn impatient() -> Options {
    Options {
        request_timeout: Duration::from_secs(1),
        ..Options::default()
    }
}

#[tokio::test]
async fn connecting_tells_who_is_there() {
    let server = Server::start();
    let (client, _vpp) = server.pair(Options::default()).await;
    assert_eq!(client.version().version, "26.06-test");
    assert_eq!(client.vpe_pid(), 1234);
    assert!(client.supports::<AclDel>());
    assert!(!client.is_closed());
}

#[tokio::test]
async fn a_message_vpp_does_not_offer_is_named_with_its_version() {
    let server = Server::start().without("acl_del");
    let (client, _vpp) = server.pair(Options::default()).await;
    let error = client.call(AclDel { acl_index: 1 }).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "VPP 26.06-test does not offer acl_del (CRC ef34fea4): unknown to it; is the plugin loaded?"
    );
    let wanted = [
        AclDel::NAME_CRC,
        SwInterfaceDump::NAME_CRC,
        cnat::v0_3::CnatSetSnatPolicy::NAME_CRC,
    ];
    let Err(Error::Missing(missing)) = client.require(&wanted) else {
        panic!("nothing is missing")
    };
    assert_eq!(
        missing.messages.into_iter().collect::<Vec<_>>(),
        [
            ("acl_del_ef34fea4".to_owned(), None),
            (
                "cnat_set_snat_policy_d3e6eaf4".to_owned(),
                Some("cnat_set_snat_policy_37a3ce23".to_owned())
            ),
        ]
    );
}

#[tokio::test]
async fn a_deadline_ends_the_connection_and_names_the_message() {
    let server = Server::start();
    let (client, mut vpp) = server.pair(impatient()).await;
    let answered = client.send(AclDel { acl_index: 1 });
    let (header, _) = vpp.expect::<AclDel>().await;
    vpp.answer(header, &AclDelReply::default()).await;
    answered.await.unwrap();
    // Being idle for longer than the deadline is nobody's fault.
    tokio::time::sleep(Duration::from_millis(1200)).await;

    let silent = client.send(CreateLoopback::default());
    let behind = client.send(AclDel { acl_index: 2 });
    vpp.expect::<CreateLoopback>().await;
    let expected = "connection to VPP: no answer to create_loopback within 1s";
    assert_eq!(silent.await.unwrap_err().to_string(), expected);
    assert_eq!(behind.await.unwrap_err().to_string(), expected);
    assert!(matches!(
        client.closed().await,
        Closed::TimedOut {
            message: "create_loopback",
            ..
        }
    ));
    assert_eq!(
        client
            .call(AclDel { acl_index: 3 })
            .await
            .unwrap_err()
            .to_string(),
        expected
    );
    // The socket is really closed: behind what was sent there is nothing.
    while let Some(message) = vpp.receive().await {
        assert_ne!(message, [], "drained");
    }
}

#[tokio::test]
async fn a_long_dump_that_goes_on_is_no_timeout() {
    let server = Server::start();
    let (client, mut vpp) = server.pair(impatient()).await;
    let dump = client.dump(AclDump { acl_index: 0 });
    let (header, _) = vpp.expect::<AclDump>().await;
    let (end, _) = vpp.expect::<ControlPing>().await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        vpp.answer(header, &AclDetails::default()).await;
    }
    vpp.answer(end, &ControlPingReply::default()).await;
    assert_eq!(dump.await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_disconnect_in_the_middle_reaches_everyone() {
    let server = Server::start();
    let (client, mut vpp) = server
        .pair(Options {
            window: 2,
            ..Options::default()
        })
        .await;
    let mut events = client.events();
    let dump = client.dump(AclDump { acl_index: 0 });
    let request = client.send(AclDel { acl_index: 1 });
    let still_queued = client.send(AclDel { acl_index: 2 });
    let (header, _) = vpp.expect::<AclDump>().await;
    vpp.answer(header, &AclDetails::default()).await;
    drop(vpp);
    assert!(matches!(dump.await, Err(Error::Closed(Closed::ByPeer))));
    assert!(matches!(request.await, Err(Error::Closed(Closed::ByPeer))));
    assert!(matches!(still_queued.await, Err(Error::Closed(Closed::ByPeer))));
    assert!(matches!(client.closed().await, Closed::ByPeer));
    assert!(client.is_closed());
    assert!(events.recv().await.is_err());
    assert!(client.events().recv().await.is_err());
}

#[tokio::test]
async fn a_length_of_four_gigabytes_is_refused() {
    let server = Server::start();
    let (client, mut vpp) = server.pair(Options::default()).await;
    let pending = client.send(AclDel { acl_index: 1 });
    vpp.socket
        .write_all(&[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0])
        .await
        .unwrap();
    assert_eq!(
        pending.await.unwrap_err().to_string(),
        "connection to VPP: not VPP's protocol: a message of 4294967295 bytes is announced"
    );
}

#[tokio::test]
async fn garbage_ends_in_an_error() {
    let server = Server::start();
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for round in 0..40_usize {
        let (client, mut vpp) = server.pair(impatient()).await;
        let pending = client.send(AclDel { acl_index: 1 });
        let mut garbage = vec![0; 1 + round * 50];
        random.fill_bytes(&mut garbage);
        if round % 2 == 0 {
            // Well-framed garbage gets further.
            let length = u32::try_from(garbage.len()).unwrap().to_be_bytes();
            garbage.splice(0..0, [&[0; 8][..], &length, &[0; 4]].concat());
        }
        // The client may be gone before all is written.
        let _ = vpp.socket.write_all(&garbage).await;
        drop(vpp);
        assert!(matches!(pending.await, Err(Error::Closed(_))), "round {round}");
    }
}

#[tokio::test]
async fn the_connection_closes_with_the_last_clone() {
    let server = Server::start();
    let (client, mut vpp) = server.pair(Options::default()).await;
    let pending = client.clone().send(AclDel { acl_index: 1 });
    drop(client);
    // Whoever still waits for an answer keeps it open.
    let (header, _) = vpp.expect::<AclDel>().await;
    vpp.answer(header, &AclDelReply::default()).await;
    pending.await.unwrap();
    assert_eq!(vpp.receive().await, None);
}

#[tokio::test]
async fn disconnecting_takes_leave() {
    let server = Server::start();
    let (client, mut vpp) = server.pair(Options::default()).await;
    let clone = client.clone();
    let server_side = async {
        let (header, request) = vpp.expect::<SockclntDelete>().await;
        assert_eq!(request.index, crate::server::CLIENT_INDEX);
        vpp.answer(header, &SockclntDeleteReply { response: 1 }).await;
    };
    tokio::join!(client.disconnect(), server_side);
    assert!(matches!(clone.closed().await, Closed::ByUs));
    assert!(matches!(
        clone.call(AclDel { acl_index: 1 }).await,
        Err(Error::Closed(Closed::ByUs))
    ));
}

#[tokio::test]
async fn the_connector_tries_until_vpp_is_there_and_learns_everything_anew() {
    let mut server = Server::start();
    let path = server.path.clone();
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    let options = Options {
        first_pause: Duration::from_millis(20),
        ..Options::default()
    };
    let connector = Connector::new(&path, options);

    let mut failures = Vec::new();
    let connecting = connector.connect_with_retry(|error, pause| {
        failures.push((error.to_string(), pause));
        if failures.len() == 3 {
            std::fs::rename(&away, &path).unwrap();
        }
    });
    let (first, _vpp) = tokio::join!(connecting, server.accept());
    assert!(failures[0].0.contains("cannot connect to"), "{}", failures[0].0);
    assert_eq!(
        failures
            .iter()
            .map(|(_, pause)| pause.as_millis())
            .collect::<Vec<_>>(),
        [20, 40, 80]
    );

    // VPP restarts: another process, other ids.
    server.vpe_pid = 5678;
    server.ids = all_ids(900);
    let (second, mut vpp) = tokio::join!(connector.connect(), server.accept());
    let second = second.unwrap();
    assert_ne!(first.vpe_pid(), second.vpe_pid());
    let pending = second.send(AclDel { acl_index: 1 });
    let (header, _) = vpp.expect::<AclDel>().await;
    vpp.answer(header, &AclDelReply::default()).await;
    pending.await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_greet_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    let options = Options {
        connect_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let error = Client::connect_with(&path, &options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "connection to VPP: no answer to sockclnt_create within 100ms"
    );
}
