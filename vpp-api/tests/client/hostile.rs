//! A server that means ill, or is broken: the client ends in an error, in time and in bounded memory.

use crate::server::{CLIENT_INDEX, Connection, Server};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use vpp_api::message::{Header, encode_frame};
use vpp_api::messages::acl::{AclAddReplace, AclDel, AclDelReply, AclDetails, AclDump};
use vpp_api::messages::ip::{IpPathMtuDetails, IpPathMtuGet, IpPathMtuGetReply};
use vpp_api::types::AclRule;
use vpp_api::{Closed, Error, Options, Retval};

fn impatient() -> Options {
    Options {
        request_timeout: Duration::from_secs(1),
        ..Options::default()
    }
}

/// An ACL that fills many socket buffers.
fn big() -> AclAddReplace {
    AclAddReplace {
        r: vec![AclRule::default(); 20_000],
        ..AclAddReplace::default()
    }
}

#[tokio::test]
async fn a_dump_without_end_is_given_up() {
    let server = Server::start();
    let (client, mut vpp) = server
        .pair(Options {
            max_answer: 100_000,
            ..Options::default()
        })
        .await;
    let dump = client.dump(AclDump { acl_index: 0 });
    let (header, _) = vpp.expect::<AclDump>().await;
    let details = AclDetails {
        r: vec![AclRule::default(); 100],
        ..AclDetails::default()
    };
    let mut frame = Vec::new();
    encode_frame(&mut frame, vpp.id::<AclDetails>(), header, &details).unwrap();
    // Until the client has closed.
    let sent = async {
        let mut sent = 0;
        while vpp.socket.write_all(&frame).await.is_ok() {
            sent += frame.len();
        }
        sent
    };
    let (error, sent) = tokio::join!(dump, sent);
    assert_eq!(
        error.unwrap_err().to_string(),
        "connection to VPP: not VPP's protocol: answers to acl_dump of more than 100000 bytes"
    );
    assert!(sent >= 100_000);
}

#[tokio::test]
async fn a_stream_that_does_not_get_on_is_given_up() {
    let server = Server::start();
    let (client, mut vpp) = server.pair(Options::default()).await;
    let answers = async {
        // The first pause is as VPP makes it, the second stands still.
        for cursor in [5, 5] {
            let (header, _) = vpp.expect::<IpPathMtuGet>().await;
            vpp.answer(header, &IpPathMtuDetails::default()).await;
            let retval = Retval::EAGAIN.0;
            vpp.answer(header, &IpPathMtuGetReply { retval, cursor }).await;
        }
    };
    let (found, ()) = tokio::join!(client.stream(IpPathMtuGet::default()), answers);
    assert_eq!(
        found.unwrap_err().to_string(),
        "connection to VPP: not VPP's protocol: ip_path_mtu_get does not get on at 5"
    );
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_stream_without_end_is_given_up() {
    let server = Server::start();
    let (client, mut vpp) = server
        .pair(Options {
            max_answer: 1000,
            ..Options::default()
        })
        .await;
    let answers = async {
        for cursor in 1.. {
            let Some(request) = vpp.receive().await else {
                return cursor;
            };
            let context = u32::from_be_bytes(request[6..10].try_into().unwrap());
            let header = Header {
                client_index: CLIENT_INDEX,
                context,
            };
            vpp.answer(header, &IpPathMtuDetails::default()).await;
            let retval = Retval::EAGAIN.0;
            vpp.answer(header, &IpPathMtuGetReply { retval, cursor }).await;
        }
        0
    };
    let (found, parts) = tokio::join!(client.stream(IpPathMtuGet::default()), answers);
    let error = found.unwrap_err().to_string();
    assert!(
        error.ends_with("answers to ip_path_mtu_get of more than 1000 bytes"),
        "{error}"
    );
    assert!(parts < 1000, "{parts}");
}

#[tokio::test]
async fn a_server_that_does_not_read_is_given_up_in_time() {
    let server = Server::start();
    let (client, vpp) = server.pair(impatient()).await;
    let pending: Vec<_> = (0..20).map(|_| client.send(big())).collect();
    let behind = client.send(AclDel { acl_index: 1 });
    for request in pending {
        assert!(matches!(
            request.await,
            Err(Error::Closed(Closed::TimedOut { .. }))
        ));
    }
    assert!(behind.await.is_err());
    drop(vpp);
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let server = Server::start();
    for (cut, then_closed) in [(1, false), (15, true), (16, false), (20, true), (25, false)] {
        let (client, mut vpp) = server.pair(impatient()).await;
        let pending = client.send(AclDel { acl_index: 1 });
        let (header, _) = vpp.expect::<AclDel>().await;
        let mut frame = Vec::new();
        encode_frame(
            &mut frame,
            vpp.id::<AclDelReply>(),
            header,
            &AclDelReply::default(),
        )
        .unwrap();
        assert!(cut < frame.len());
        vpp.socket.write_all(&frame[..cut]).await.unwrap();
        if then_closed {
            drop(vpp);
            assert!(
                matches!(pending.await, Err(Error::Closed(Closed::ByPeer))),
                "cut at {cut}"
            );
        } else {
            let error = pending.await;
            assert!(
                matches!(error, Err(Error::Closed(Closed::TimedOut { .. }))),
                "cut at {cut}"
            );
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_too_late_reaches_nobody() {
    let server = Server::start();
    let (first, mut old) = server.pair(impatient()).await;
    let pending = first.send(AclDel { acl_index: 1 });
    let (header, _) = old.expect::<AclDel>().await;
    assert!(pending.await.unwrap_err().is_closed());
    // The next connection counts contexts from the start again, so that this one is in use there too.
    let (second, mut new) = server.pair(Options::default()).await;
    let pending = second.send(AclDel { acl_index: 2 });
    let (again, _) = new.expect::<AclDel>().await;
    assert_eq!(header.context, again.context);
    let mut late = Vec::new();
    encode_frame(
        &mut late,
        old.id::<AclDelReply>(),
        header,
        &AclDelReply { retval: -6 },
    )
    .unwrap();
    let _ = old.socket.write_all(&late).await;
    new.answer(again, &AclDelReply::default()).await;
    pending.await.unwrap();
    assert!(first.is_closed() && !second.is_closed());
}

/// Something with the context of a request and a known id, of any length.
async fn answer_at_random(vpp: &mut Connection, context: u32, random: &mut TestRng) {
    let ids: Vec<u16> = [
        vpp.id::<AclDetails>(),
        vpp.id::<AclDelReply>(),
        vpp.id::<IpPathMtuDetails>(),
        vpp.id::<IpPathMtuGetReply>(),
        24,
        16,
        0xffff,
    ]
    .into();
    let id = ids[random.next_u32() as usize % ids.len()];
    let mut message = [&id.to_be_bytes()[..], &context.to_be_bytes()].concat();
    let mut body = vec![0; random.next_u32() as usize % 200];
    random.fill_bytes(&mut body);
    message.extend(body);
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let frame = [&[0; 8][..], &length, &[0; 4], &message].concat();
    // The client may have had enough.
    let _ = vpp.socket.write_all(&frame).await;
}

#[tokio::test]
async fn wrong_answers_are_errors_and_no_more() {
    let server = Server::start();
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for _ in 0..30 {
        let (client, mut vpp) = server.pair(impatient()).await;
        let reply = client.send(AclDel { acl_index: 1 });
        let dump = client.dump(AclDump { acl_index: 1 });
        let stream = tokio::spawn({
            let client = client.clone();
            async move { client.stream(IpPathMtuGet::default()).await }
        });
        let mut contexts = Vec::new();
        for _ in 0..4 {
            let request = vpp.receive().await.unwrap();
            contexts.push(u32::from_be_bytes(request[6..10].try_into().unwrap()));
        }
        for _ in 0..50 {
            let context = contexts[random.next_u32() as usize % contexts.len()];
            answer_at_random(&mut vpp, context, &mut random).await;
        }
        drop(vpp);
        // Whether one of them passed for an answer or not: nobody waits for ever.
        let _ = reply.await;
        let _ = dump.await;
        let _ = stream.await.unwrap();
        assert!(matches!(
            client.closed().await,
            Closed::ByPeer | Closed::Protocol(_)
        ));
    }
}
