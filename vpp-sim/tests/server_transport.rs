//! The socket, byte by byte, as `vlibmemory/socket_api.c` and real VPP 26.06 have it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use vpp_sim::engine::Config;
use vpp_sim::server::{Handle, StartError, spawn};

const CONTEXT: u32 = 0x0102_0304;

/// A client that knows nothing but bytes.
struct Raw {
    stream: UnixStream,
    handle: u32,
    table: BTreeMap<String, u16>,
    order: Vec<(u16, String)>,
}

impl Raw {
    fn open(path: &Path) -> UnixStream {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn connect(path: &Path) -> Self {
        let mut stream = Self::open(path);
        stream.write_all(&frame(&handshake())).unwrap();
        let reply = receive(&mut stream);
        assert_eq!(reply[..2], 16u16.to_be_bytes());
        assert_eq!(reply[2..6], [0; 4], "client_index of the reply is 0");
        assert_eq!(reply[6..10], CONTEXT.to_be_bytes());
        assert_eq!(reply[10..14], [0; 4], "response");
        let handle = u32_at(&reply, 14);
        let count = usize::from(u16::from_be_bytes([reply[18], reply[19]]));
        assert_eq!(reply.len(), 20 + 66 * count);
        let order: Vec<(u16, String)> = reply[20..]
            .chunks(66)
            .map(|entry| {
                let end = entry[2..].iter().position(|byte| *byte == 0).unwrap();
                (
                    u16::from_be_bytes([entry[0], entry[1]]),
                    String::from_utf8(entry[2..2 + end].to_vec()).unwrap(),
                )
            })
            .collect();
        let table = order.iter().map(|(id, name)| (name.clone(), *id)).collect();
        Self {
            stream,
            handle,
            table,
            order,
        }
    }

    fn id(&self, name: &str) -> u16 {
        let prefix = format!("{name}_");
        let mut ids = self.table.iter().filter(|(key, _)| {
            key.strip_prefix(&prefix)
                .is_some_and(|crc| crc.len() == 8 && !crc.contains('_'))
        });
        *ids.next().unwrap_or_else(|| panic!("{name} is not offered")).1
    }

    /// A request's bytes: id, client_index, context, body.
    fn request(&self, name: &str, context: u32, body: &[u8]) -> Vec<u8> {
        let mut message = self.id(name).to_be_bytes().to_vec();
        message.extend(self.handle.to_be_bytes());
        message.extend(context.to_be_bytes());
        message.extend(body);
        message
    }

    fn send(&mut self, message: &[u8]) {
        self.stream.write_all(&frame(message)).unwrap();
    }

    /// Sends a ping and expects its answer to be the very next message.
    fn nothing_but_a_ping(&mut self, context: u32) {
        let ping = self.request("control_ping", context, &[]);
        self.send(&ping);
        let reply = receive(&mut self.stream);
        assert_eq!(
            reply[..2],
            24u16.to_be_bytes(),
            "something else was answered: {reply:02x?}"
        );
        assert_eq!(u32_at(&reply, 2), context);
    }
}

fn handshake() -> Vec<u8> {
    let mut message = 15u16.to_be_bytes().to_vec();
    message.extend(CONTEXT.to_be_bytes());
    message.extend(b"raw");
    message.resize(70, 0);
    message
}

fn frame(message: &[u8]) -> Vec<u8> {
    // What VPP ignores is junk here.
    let mut bytes = vec![0xa5; 8];
    bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    bytes.extend([0x5a; 4]);
    bytes.extend(message);
    bytes
}

fn receive(stream: &mut UnixStream) -> Vec<u8> {
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
    assert_ne!(header[..8], [0; 8], "the bytes to be ignored are junk, as VPP's");
    let mut message = vec![0; usize::try_from(u32_at(&header, 8)).unwrap()];
    stream.read_exact(&mut message).unwrap();
    message
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn server() -> (tempfile::TempDir, Handle) {
    let directory = tempfile::tempdir().unwrap();
    let handle = spawn(Config::default(), directory.path().join("deep/er/api.sock")).unwrap();
    (directory, handle)
}

#[test]
fn handshake_gives_a_handle_and_an_unsorted_table_with_constant_low_ids() {
    let (_directory, server) = server();
    let client = Raw::connect(server.socket());
    assert_eq!(client.handle, 0x8000_0001, "the first client's handle in VPP");
    for (name, id) in [
        ("sockclnt_create", 15),
        ("sockclnt_delete_reply", 18),
        ("control_ping", 23),
    ] {
        assert_eq!(client.id(name), id);
    }
    assert!(!client.order.is_sorted());
    let mut ids: Vec<u16> = client.order.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=u16::try_from(ids.len()).unwrap()).collect::<Vec<_>>());
    let second = Raw::connect(server.socket());
    assert_eq!(second.handle, 0x8000_0002);
}

#[test]
fn the_handshake_again_gives_the_same_handle() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    client.send(&handshake());
    assert_eq!(u32_at(&receive(&mut client.stream), 14), client.handle);
}

#[test]
fn ids_differ_from_start_to_start() {
    let (directory, first) = server();
    let one = Raw::connect(first.socket()).order;
    let second = spawn(Config::default(), directory.path().join("second.sock")).unwrap();
    assert_ne!(one, Raw::connect(second.socket()).order);
}

#[test]
fn ping_is_18_bytes_with_the_pid_at_the_end() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    let ping = client.request("control_ping", 7, &[]);
    client.send(&ping);
    let reply = receive(&mut client.stream);
    // 26.06: client_index stays 0.
    assert_eq!(reply[..14], [0, 24, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(reply.len(), 18);
    assert_ne!(u32_at(&reply, 14), 0);
}

#[test]
fn what_vpp_drops_is_dropped_without_a_word() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    let good = client.request("create_loopback", 1, &[0; 6]);
    let mut foreign = good.clone();
    foreign[2..6].copy_from_slice(&0x8000_0009u32.to_be_bytes());
    let mut zero = good.clone();
    zero[2..6].fill(0);
    let unknown = [&[0xff, 0xf0][..], &good[2..]].concat();
    let reply_as_request = client.request("create_loopback_reply", 1, &[0; 8]);
    // govpp may send the id of sockclnt_delete_reply on disconnect.
    let govpp = [
        &18u16.to_be_bytes()[..],
        &good[2..10],
        &client.handle.to_be_bytes(),
    ]
    .concat();
    let keepalive = client.request("memclnt_keepalive", 1, &[]);
    let dropped: [&[u8]; 9] = [
        &foreign,
        &zero,
        &unknown,
        &good[..good.len() - 1],
        &reply_as_request,
        &govpp,
        &keepalive,
        &[],
        &[0],
    ];
    for message in dropped {
        client.send(message);
    }
    client.nothing_but_a_ping(2);
    assert_eq!(server.engine().interfaces().count(), 1, "nothing was created");
    // Longer than needed is fine.
    client.send(&[&good[..], &[9; 5]].concat());
    let reply = receive(&mut client.stream);
    assert_eq!(u32_at(&reply, 2), 1);
    assert_eq!(reply[6..10], [0; 4]);
}

#[test]
fn before_the_handshake_nothing_is_answered() {
    let (_directory, server) = server();
    let ping = Raw::connect(server.socket()).request("control_ping", 1, &[]);
    let mut stream = Raw::open(server.socket());
    stream.write_all(&frame(&ping)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!(
        stream.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

#[test]
fn frames_may_be_cut_and_joined_anywhere() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    let mut bytes = Vec::new();
    for context in 0..50 {
        bytes.extend(frame(&client.request("control_ping", context, &[])));
    }
    for chunk in bytes.chunks(7) {
        client.stream.write_all(chunk).unwrap();
    }
    for context in 0..50 {
        assert_eq!(
            u32_at(&receive(&mut client.stream), 2),
            context,
            "answers come in order"
        );
    }
}

#[test]
fn delete_answers_1_and_closes() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    let wrong = client.request("sockclnt_delete", 5, &77u32.to_be_bytes());
    client.send(&wrong);
    assert_eq!(
        receive(&mut client.stream),
        [&[0, 18, 0, 0, 0, 5][..], &(-1i32).to_be_bytes()].concat()
    );
    let right = client.request("sockclnt_delete", 6, &client.handle.to_be_bytes());
    client.send(&right);
    assert_eq!(receive(&mut client.stream), [0, 18, 0, 0, 0, 6, 0, 0, 0, 1]);
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0, "closed");
}

#[test]
fn an_absurd_length_costs_no_memory_and_the_connection() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    let mut header = frame(&[]);
    header[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    client.stream.write_all(&header).unwrap();
    assert_eq!(client.stream.read(&mut [0; 1]).unwrap(), 0, "closed");
    Raw::connect(server.socket()).nothing_but_a_ping(1);
}

#[test]
fn one_that_does_not_read_does_not_stop_another() {
    let (_directory, server) = server();
    let mut lazy = Raw::connect(server.socket());
    let mut bytes = Vec::new();
    for context in 0..2000 {
        bytes.extend(frame(&lazy.request("show_version", context, &[])));
    }
    lazy.stream.write_all(&bytes).unwrap();
    let mut other = Raw::connect(server.socket());
    other.nothing_but_a_ping(1);
    // And its answers were kept: more than any socket buffer holds.
    for context in 0..2000 {
        assert_eq!(u32_at(&receive(&mut lazy.stream), 2), context);
    }
}

#[test]
fn the_socket_is_taken_over_from_the_dead_but_not_from_the_living() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a stale socket");
    let server = spawn(Config::default(), &path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
        0o775
    );
    assert!(matches!(
        spawn(Config::default(), &path),
        Err(StartError::ActiveListener(_))
    ));
    Raw::connect(&path).nothing_but_a_ping(1);
    drop(server);
    assert!(!path.exists(), "a clean end unlinks it");
}

#[test]
fn a_reply_under_the_wrong_id_is_sent_as_vpp_does() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    let enable = client.request("acl_stats_intf_counters_enable", 3, &[1]);
    client.send(&enable);
    let reply = receive(&mut client.stream);
    assert_eq!(
        reply,
        [
            &client.id("acl_del_reply").to_be_bytes()[..],
            &[0, 0, 0, 3, 0, 0, 0, 0]
        ]
        .concat()
    );
}

#[test]
fn a_failed_acl_reply_has_its_code_behind_the_index() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    let mut body = vec![0; 72];
    body[..4].copy_from_slice(&9u32.to_be_bytes());
    let replace = client.request("acl_add_replace", 3, &body);
    client.send(&replace);
    assert_eq!(
        receive(&mut client.stream)[6..],
        [&9u32.to_be_bytes()[..], &(-6i32).to_be_bytes()].concat()
    );
}

#[test]
fn events_carry_handle_and_pid_of_the_subscription() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    let want = client.request("want_interface_events", 1, &[0, 0, 0, 1, 0xca, 0xfe, 0, 7]);
    let create = client.request("create_loopback", 2, &[0; 6]);
    client.send(&want);
    client.send(&create);
    assert_eq!(u32_at(&receive(&mut client.stream), 2), 1);
    let mut rest = [receive(&mut client.stream), receive(&mut client.stream)];
    rest.sort_by_key(Vec::len);
    assert_eq!(u32_at(&rest[0], 2), 2, "the reply");
    let event = &rest[1];
    assert_eq!(event[..2], client.id("sw_interface_event").to_be_bytes());
    assert_eq!(u32_at(event, 2), client.handle);
    assert_eq!(event[6..], [0xca, 0xfe, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0]);
}

#[test]
fn what_kills_vpp_ends_the_server_loudly() {
    let (_directory, server) = server();
    let mut client = Raw::connect(server.socket());
    // A policy that does not exist: VPP 26.06 aborts.
    let attach = client.request(
        "abf_itf_attach_add_del",
        1,
        &[1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    client.send(&attach);
    assert_eq!(
        client.stream.read(&mut [0; 1]).unwrap(),
        0,
        "closed without an answer"
    );
    assert!(server.fatal().unwrap().contains("abf_itf_attach_add_del"));
    // Nobody is served any more, as by a dead process.
    let dead = UnixStream::connect(server.socket()).and_then(|mut stream| {
        stream.write_all(&frame(&handshake()))?;
        stream.read(&mut [0; 1])
    });
    assert!(!matches!(dead, Ok(1)));
}
