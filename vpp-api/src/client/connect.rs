//! Making connections: socket, handshake, table, version.

use super::lane::Lane;
use super::shared::Shared;
use super::tasks::{self, Outgoing};
use super::{Client, Inner, Peer, Version};
use crate::codec::Decode;
use crate::error::{Closed, Error, Result};
use crate::frames::FrameReader;
use crate::message::{Header, Message, decode_message, encode_frame, message_id};
use crate::messages::memclnt::{
    ControlPing, SOCKCLNT_CREATE_ID, SOCKCLNT_CREATE_REPLY_ID, SockclntCreate, SockclntCreateReply,
};
use crate::messages::vpe::ShowVersion;
use crate::table::MessageTable;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// How to connect, and what to put up with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name shown by VPP's `show api clients`; at most 63 bytes.
    pub name: String,
    /// Time for an answer, counted from writing the request; for each part of a dump anew.
    pub request_timeout: Duration,
    /// Time for socket, handshake and version together.
    pub connect_timeout: Duration,
    /// Requests in flight; the rest waits on our side, so that VPP's memory for answers stays bounded.
    pub window: usize,
    /// Longest message accepted, in bytes.
    pub max_frame: usize,
    /// Most bytes of answers to one request, which is held in memory until it has them all; beyond, the connection is
    /// given up.
    pub max_answer: usize,
    /// First pause of [`Connector::connect_with_retry`]; doubles with every failure.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "contiv".to_owned(),
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            window: 256,
            max_frame: 64 << 20,
            // Some four million routes: as much as VPP's own heap holds by default.
            max_answer: 1 << 30,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
        }
    }
}

/// Connects to one socket again and again. Nothing is carried over: ids, subscriptions and pending requests belong
/// to a connection.
#[derive(Debug, Clone)]
pub struct Connector {
    path: PathBuf,
    options: Options,
}

impl Connector {
    /// For the socket at `path`.
    pub fn new(path: impl Into<PathBuf>, options: Options) -> Self {
        Self {
            path: path.into(),
            options,
        }
    }

    /// Tries once.
    ///
    /// # Errors
    /// As [`Client::connect_with`].
    pub async fn connect(&self) -> Result<Client> {
        connect(&self.path, &self.options).await
    }

    /// Tries until it succeeds, with growing pauses. `failed` is told each failure and the pause that follows.
    pub async fn connect_with_retry(&self, mut failed: impl FnMut(&Error, Duration)) -> Client {
        let mut pause = self.options.first_pause;
        loop {
            match self.connect().await {
                Ok(client) => return client,
                Err(error) => {
                    failed(&error, pause);
                    sleep(pause).await;
                    pause = (pause * 2).min(self.options.longest_pause);
                }
            }
        }
    }
}

pub(super) async fn connect(path: &Path, options: &Options) -> Result<Client> {
    timeout(options.connect_timeout, establish(path, options))
        .await
        .unwrap_or_else(|_| {
            Err(Closed::TimedOut {
                message: SockclntCreate::NAME,
                after: options.connect_timeout,
            }
            .into())
        })
}

async fn establish(path: &Path, options: &Options) -> Result<Client> {
    let socket = UnixStream::connect(path)
        .await
        .map_err(|source| Closed::Connect {
            path: path.display().to_string(),
            source: Arc::new(source),
        })?;
    let (read_half, mut write_half) = socket.into_split();
    let mut frames = FrameReader::new(read_half, options.max_frame);

    let mut greeting = Vec::new();
    let create = SockclntCreate {
        name: options.name.clone(),
    };
    encode_frame(&mut greeting, SOCKCLNT_CREATE_ID, Header::default(), &create).map_err(|source| {
        Error::Encode {
            message: SockclntCreate::NAME,
            source,
        }
    })?;
    write_half.write_all(&greeting).await.map_err(Closed::from)?;
    let welcome = welcome(frames.next().await?)?;
    let client_index = welcome.index;
    let table: MessageTable = welcome
        .message_table
        .into_iter()
        .map(|entry| (entry.name, entry.index))
        .collect();

    let shared = Arc::new(Shared::new(table, client_index, options));
    let (queue, queued) = mpsc::unbounded_channel();
    let (waiting, socket) = (Arc::default(), Arc::new(write_half));
    let lane = Lane::new(queue, Arc::clone(&waiting), &socket);
    let outgoing = Outgoing {
        queue: queued,
        waiting,
        socket,
    };
    tokio::spawn(tasks::run(Arc::clone(&shared), frames, outgoing));
    let inner = Inner {
        shared,
        lane,
        next_context: AtomicU64::new(1),
        peer: OnceLock::new(),
    };
    let client = Client {
        inner: Arc::new(inner),
    };

    let (version, ping) = (
        client.send(ShowVersion::default()),
        client.send(ControlPing::default()),
    );
    let version = version.await?;
    let vpe_pid = ping.await?.vpe_pid;
    let version = Version {
        program: version.program,
        version: version.version,
        build_date: version.build_date,
    };
    client.inner.peer.get_or_init(|| Peer { version, vpe_pid });
    Ok(client)
}

fn welcome(message: &[u8]) -> Result<SockclntCreateReply> {
    let unreadable = |source| Error::Decode {
        message: SockclntCreate::NAME,
        source,
    };
    if message_id(message) != Some(SOCKCLNT_CREATE_REPLY_ID) {
        let id = u16::decode(&mut crate::codec::Reader::new(message)).map_err(unreadable)?;
        return Err(Closed::Protocol(format!("message id {id} where the handshake's answer belongs")).into());
    }
    let (_, _, reply) = decode_message::<SockclntCreateReply>(message).map_err(unreadable)?;
    if reply.response == 0 {
        Ok(reply)
    } else {
        Err(Closed::Handshake(reply.response).into())
    }
}
