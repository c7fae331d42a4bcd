//! Clients that mean ill or are broken: the server goes on serving the others.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use vpp_api::Client;
use vpp_api::message::{Header, encode_frame};
use vpp_api::messages::acl::{AclAddReplace, AclDump};
use vpp_api::messages::memclnt::{ControlPing, SOCKCLNT_CREATE_ID, SockclntCreate};
use vpp_api::types::{AclRule, NO_INDEX};
use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, spawn};

fn server() -> (tempfile::TempDir, Handle) {
    let directory = tempfile::tempdir().unwrap();
    let handle = spawn(Config::default(), directory.path().join("api.sock")).unwrap();
    (directory, handle)
}

fn handshake() -> Vec<u8> {
    let mut frame = Vec::new();
    let create = SockclntCreate {
        name: "hostile".to_owned(),
    };
    encode_frame(&mut frame, SOCKCLNT_CREATE_ID, Header::default(), &create).unwrap();
    frame
}

fn open(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// What a client that behaves meets.
async fn asks(server: &Handle) -> Result<(), vpp_api::Error> {
    let client = Client::connect(server.socket(), "good").await?;
    client.call(ControlPing {}).await?;
    client.disconnect().await;
    Ok(())
}

/// A client that behaves is answered.
async fn serves(server: &Handle) {
    asks(server).await.unwrap();
    assert_eq!(server.fatal(), None);
}

#[tokio::test]
async fn half_a_message_and_then_nothing() {
    let (_directory, server) = server();
    let greeting = handshake();
    let mut left_open = Vec::new();
    for cut in [1, 15, 16, 17, 40, greeting.len() - 1] {
        let mut stream = open(server.socket());
        stream.write_all(&greeting[..cut]).unwrap();
        left_open.push(stream);
        let mut closed = open(server.socket());
        closed.write_all(&greeting[..cut]).unwrap();
    }
    serves(&server).await;
    // Those that were left open are still good for the rest.
    let (mut stream, cut) = (left_open.remove(3), 17);
    stream.write_all(&greeting[cut..]).unwrap();
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
}

#[tokio::test]
async fn garbage_from_many() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut survived = 0;
    for round in 0..20 {
        let (_directory, server) = server();
        let mut clients: Vec<UnixStream> = (0..4).map(|_| open(server.socket())).collect();
        for client in &mut clients {
            let mut bytes = if round % 2 == 0 { handshake() } else { Vec::new() };
            for _ in 0..20 {
                let mut body = vec![0; 10 + random.next_u32() as usize % 300];
                random.fill_bytes(&mut body);
                // Ids there are, from clients that there are.
                body[0] = 0;
                body[2..6].copy_from_slice(&(0x8000_0001 + random.next_u32() % 4).to_be_bytes());
                if round % 3 != 0 {
                    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
                    bytes.extend([&[0; 8][..], &length, &[0; 4]].concat());
                }
                bytes.extend(body);
            }
            // The server may have had enough before the end.
            let _ = client.write_all(&bytes);
        }
        drop(clients);
        // Input that kills VPP ends the server, and some of this may be such, read at any time.
        match asks(&server).await {
            Ok(()) => survived += 1,
            Err(error) => assert!(server.fatal().is_some(), "{error}"),
        }
    }
    assert!(survived >= 10, "{survived}");
}

#[tokio::test]
async fn a_client_that_asks_for_more_than_it_reads_stops_nobody() {
    let (_directory, server) = server();
    let good = Client::connect(server.socket(), "good").await.unwrap();
    let list = AclAddReplace {
        acl_index: NO_INDEX,
        r: vec![
            AclRule {
                srcport_or_icmptype_last: u16::MAX,
                dstport_or_icmpcode_last: u16::MAX,
                ..AclRule::default()
            };
            5_000
        ],
        ..AclAddReplace::default()
    };
    good.call(list).await.unwrap();

    let greedy = open(server.socket());
    let (mut to, mut from) = (greedy.try_clone().unwrap(), greedy);
    to.write_all(&handshake()).unwrap();
    let mut header = [0; 16];
    from.read_exact(&mut header).unwrap();
    let mut welcome = vec![0; u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize];
    from.read_exact(&mut welcome).unwrap();
    let client_index = u32::from_be_bytes(welcome[14..18].try_into().unwrap());
    let id = good.table().id_of::<AclDump>().unwrap();
    let mut dumps = Vec::new();
    for context in 0..40 {
        let header = Header {
            client_index,
            context,
        };
        encode_frame(&mut dumps, id, header, &AclDump { acl_index: 0 }).unwrap();
    }
    // Some 10 MB of answers that nobody reads.
    to.write_all(&dumps).unwrap();
    for _ in 0..50 {
        good.call(ControlPing {}).await.unwrap();
    }
    // They were kept: each is whole when it is read at last.
    for context in 0..40u32 {
        from.read_exact(&mut header).unwrap();
        let mut details = vec![0; u32::from_be_bytes(header[8..12].try_into().unwrap()) as usize];
        from.read_exact(&mut details).unwrap();
        assert_eq!(details[2..6], context.to_be_bytes());
        assert_eq!(details.len(), 78 + 5_000 * 48);
    }
}
