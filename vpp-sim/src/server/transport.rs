//! The socket: accepting clients, framing, and the life of a connection. Layout and behaviour: VPP's
//! `vlibmemory/socket_api.c`.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use vpp_api::message::FRAME_HEADER_LEN;

use super::core::Core;
use super::dispatch::Dispatcher;
use super::outgoing::{Next, Outgoing};
use super::{StartError, State};

/// Longest message taken, in bytes: an ACL of a million rules has 48 MB. VPP has no limit and dies of memory.
pub const MESSAGE_LIMIT: usize = 64 << 20;

/// Requests answered under one hold of the lock; then packets get their turn.
const BATCH: usize = 64;

/// Bytes of answers after which a batch ends early.
const ANSWERS: usize = 256 << 10;

/// Takes the path over from a dead predecessor and listens there.
pub fn listen(path: &Path) -> Result<std::os::unix::net::UnixListener, StartError> {
    let failed = |step| {
        move |source| StartError::Socket {
            step,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed("create the directory of"))?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(StartError::ActiveListener(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed("unlink stale"))?;
        }
        Err(error) => return Err(failed("look at")(error)),
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed("listen on"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o775)).map_err(failed("set mode of"))?;
    listener.set_nonblocking(true).map_err(failed("listen on"))?;
    Ok(listener)
}

/// A socket file that goes with its server.
#[derive(Debug)]
pub struct SocketFile(pub PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "socket file was not unlinked");
        }
    }
}

/// Serves clients until `stop` changes.
pub async fn serve(
    listener: UnixListener,
    core: Arc<Mutex<Core>>,
    dispatcher: Arc<Dispatcher>,
    mut stop: watch::Receiver<State>,
) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            Some(_) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    clients.spawn(connection(stream, core.clone(), dispatcher.clone()));
                }
                Err(error) => {
                    // For instance no file descriptors left: wait for some to come back.
                    tracing::warn!(%error, "cannot accept a client");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
        }
    }
}

async fn connection(stream: UnixStream, core: Arc<Mutex<Core>>, dispatcher: Arc<Dispatcher>) {
    let (reader, writer) = stream.into_split();
    let outgoing = Arc::new(Outgoing::default());
    let client = core.lock().clients.connect(outgoing.clone());
    tokio::select! {
        () = write(writer, &outgoing) => {}
        () = async {
            read(reader, client, &core, &dispatcher, &outgoing).await;
            // The client has closed its side or is to be closed: what it asked for is still answered.
            outgoing.close();
            std::future::pending::<()>().await;
        } => {}
    }
    core.lock().disconnected(client);
}

async fn write(mut writer: OwnedWriteHalf, outgoing: &Outgoing) {
    loop {
        match outgoing.next().await {
            Next::Write(bytes) => {
                if writer.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Next::Close => return,
            Next::CutOff => {
                tracing::warn!(
                    limit = super::outgoing::LIMIT,
                    "client does not read its answers: disconnected"
                );
                return;
            }
        }
    }
}

async fn read(
    mut reader: OwnedReadHalf,
    client: u32,
    core: &Mutex<Core>,
    dispatcher: &Dispatcher,
    outgoing: &Outgoing,
) {
    let mut input = Vec::with_capacity(64 << 10);
    loop {
        // Grows with what really came, never with what a length announces.
        input.reserve(16 << 10);
        match reader.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let mut taken = 0;
        loop {
            let batch = answer(&input[taken..], client, &mut core.lock(), dispatcher, outgoing);
            taken += batch.taken;
            match batch.then {
                Then::Read => break,
                // Let other clients and the packets in between.
                Then::Continue => tokio::task::yield_now().await,
                Then::Close => return,
            }
        }
        input.drain(..taken);
        if input.is_empty() && input.capacity() > (1 << 20) {
            input = Vec::with_capacity(64 << 10);
        }
    }
}

/// What became of the messages at the start of some input.
pub struct Batch {
    /// Bytes of input that were used.
    pub taken: usize,
    pub then: Then,
}

/// What the connection does next.
pub enum Then {
    /// No whole message is left.
    Read,
    /// There may be more.
    Continue,
    Close,
}

/// Answers the messages at the start of the input under one hold of the lock.
pub fn answer(
    input: &[u8],
    client: u32,
    core: &mut Core,
    dispatcher: &Dispatcher,
    outgoing: &Outgoing,
) -> Batch {
    let mut answers = Vec::new();
    let mut batch = Batch {
        taken: 0,
        then: Then::Continue,
    };
    for _ in 0..BATCH {
        let frame = Frame::at(&input[batch.taken..]);
        if let Some(frame) = frame.as_ref().filter(|frame| frame.length > MESSAGE_LIMIT) {
            tracing::warn!(
                length = frame.length,
                limit = MESSAGE_LIMIT,
                "message too long: disconnected"
            );
            batch.then = Then::Close;
            break;
        }
        let Some(Frame {
            length,
            message: Some(message),
        }) = frame
        else {
            batch.then = Then::Read;
            break;
        };
        batch.taken += FRAME_HEADER_LEN + length;
        if !dispatcher.handle(core, client, message, &mut answers) {
            batch.then = Then::Close;
            break;
        }
        // Many dumps in one batch must not be in memory together: the queue is where a limit is kept.
        if answers.len() > ANSWERS {
            break;
        }
    }
    outgoing.push(&answers);
    core.probe_next_hops();
    core.deliver_events(dispatcher);
    batch
}

/// A frame at the start of what was received.
struct Frame<'a> {
    /// As announced.
    length: usize,
    /// Present once all of it has arrived.
    message: Option<&'a [u8]>,
}

impl<'a> Frame<'a> {
    fn at(input: &'a [u8]) -> Option<Self> {
        let (header, rest) = input.split_first_chunk::<FRAME_HEADER_LEN>()?;
        let length = usize::try_from(vpp_api::message::frame_length(header)).unwrap_or(usize::MAX);
        Some(Self {
            length,
            message: rest.get(..length),
        })
    }
}
