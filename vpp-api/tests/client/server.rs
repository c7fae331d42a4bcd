//! The other end of the socket, played by the test step by step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use vpp_api::message::{Header, Message, decode_message, encode_message, frame_length, message_id};
use vpp_api::messages;
use vpp_api::messages::memclnt::*;
use vpp_api::messages::vpe::{ShowVersion, ShowVersionReply};
use vpp_api::{Client, Options};

/// The handle the server gives; VPP's look like this.
pub const CLIENT_INDEX: u32 = 0x8000_0001;

/// A socket, and what is offered on it.
pub struct Server {
    listener: UnixListener,
    _directory: TempDir,
    pub path: PathBuf,
    pub ids: BTreeMap<String, u16>,
    pub vpe_pid: u32,
}

impl Server {
    /// Offers everything this crate knows.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        Self {
            listener,
            _directory: directory,
            path,
            ids: all_ids(100),
            vpe_pid: 1234,
        }
    }

    /// Offers it without one message.
    pub fn without(mut self, name: &str) -> Self {
        self.ids
            .retain(|name_crc, _| name_crc.rsplit_once('_').unwrap().0 != name);
        self
    }

    /// Waits for a client and answers its greeting.
    pub async fn accept(&self) -> Connection {
        let (socket, _) = self.listener.accept().await.unwrap();
        let mut connection = Connection {
            socket,
            ids: self.ids.clone(),
        };
        let greeting = connection.receive().await.unwrap();
        assert_eq!(message_id(&greeting), Some(SOCKCLNT_CREATE_ID));
        let (_, header, _) = decode_message::<SockclntCreate>(&greeting).unwrap();
        let message_table = self
            .ids
            .iter()
            .map(|(name, index)| MessageTableEntry {
                index: *index,
                name: name.clone(),
            })
            .collect();
        let welcome = SockclntCreateReply {
            response: 0,
            index: CLIENT_INDEX,
            message_table,
        };
        connection.answer(header, &welcome).await;
        let (header, _) = connection.expect::<ShowVersion>().await;
        let version = ShowVersionReply {
            version: "26.06-test".to_owned(),
            ..Default::default()
        };
        connection.answer(header, &version).await;
        let (header, _) = connection.expect::<ControlPing>().await;
        connection
            .answer(
                header,
                &ControlPingReply {
                    vpe_pid: self.vpe_pid,
                    ..Default::default()
                },
            )
            .await;
        connection
    }

    /// A client and its other end.
    pub async fn pair(&self, options: Options) -> (Client, Connection) {
        let (client, connection) = tokio::join!(Client::connect_with(&self.path, &options), self.accept());
        (client.unwrap(), connection)
    }
}

/// Ids for everything, from `first` on; those of memclnt are fixed.
pub fn all_ids(first: u16) -> BTreeMap<String, u16> {
    let fixed = [
        (SockclntCreate::NAME_CRC, SOCKCLNT_CREATE_ID),
        (SockclntCreateReply::NAME_CRC, SOCKCLNT_CREATE_REPLY_ID),
        (SockclntDelete::NAME_CRC, SOCKCLNT_DELETE_ID),
        (SockclntDeleteReply::NAME_CRC, SOCKCLNT_DELETE_REPLY_ID),
        (ControlPing::NAME_CRC, CONTROL_PING_ID),
        (ControlPingReply::NAME_CRC, CONTROL_PING_REPLY_ID),
    ];
    messages::ALL
        .iter()
        .flat_map(|(_, messages)| *messages)
        .zip(first..)
        .map(|(message, id)| (message.name_crc.to_owned(), id))
        .chain(fixed.map(|(name_crc, id)| (name_crc.to_owned(), id)))
        .collect()
}

/// The server's end of one connection.
pub struct Connection {
    pub socket: UnixStream,
    ids: BTreeMap<String, u16>,
}

impl Connection {
    /// The next message; `None` when the client has closed.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; 16];
        self.socket.read_exact(&mut header).await.ok()?;
        let mut message = vec![0; frame_length(&header) as usize];
        self.socket.read_exact(&mut message).await.ok()?;
        Some(message)
    }

    /// The next message, which must be an `M` with the right handle.
    pub async fn expect<M: Message>(&mut self) -> (Header, M) {
        let message = self.receive().await.expect("client closed");
        assert_eq!(
            message_id(&message),
            Some(self.ids[M::NAME_CRC]),
            "{} expected",
            M::NAME
        );
        let (_, header, body) = decode_message::<M>(&message).unwrap();
        assert_eq!(header.client_index, CLIENT_INDEX);
        (header, body)
    }

    /// Answers with `body`.
    pub async fn answer<M: Message>(&mut self, header: Header, body: &M) {
        self.answer_as(self.ids[M::NAME_CRC], header, body, &[]).await;
    }

    /// Answers with `body` under another id and with a tail.
    pub async fn answer_as<M: Message>(&mut self, id: u16, header: Header, body: &M, tail: &[u8]) {
        let mut message = Vec::new();
        encode_message(&mut message, id, header, body).unwrap();
        message.extend_from_slice(tail);
        // VPP fills what a client must ignore with whatever is there.
        let mut frame = vec![0xc0; 8];
        frame.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(&[0x5a; 4]);
        frame.extend_from_slice(&message);
        self.socket.write_all(&frame).await.unwrap();
    }

    pub fn id<M: Message>(&self) -> u16 {
        self.ids[M::NAME_CRC]
    }
}
