//! The socket.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_shim::{CniError, Request, Response, code};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::CniCall;

/// The socket can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process answers there.
    #[error("another daemon serves {path}", path = .0.display())]
    InUse(PathBuf),
    /// The system says no.
    #[error("opening the CNI socket {path}: {source}", path = .path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// How long a client may take to send its one line: it is written in one piece.
const SEND_LIMIT: Duration = Duration::from_secs(5);
/// How long answers that are still being worked on are waited for at shutdown.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// Opens the socket, for root alone. A socket file that nobody listens on, left by a crash, is
/// replaced.
///
/// # Errors
/// When somebody else listens there, or the file can't be made.
pub async fn bind(path: &Path) -> Result<UnixListener, ServeError> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(ServeError::InUse(path.to_owned()));
    }
    let open = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        Ok(listener)
    };
    open().map_err(|source| ServeError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Serves connections until `stop`, each in its own task: one line in, one line out. Answers that
/// are under way at `stop` get a moment to finish.
pub async fn serve(listener: UnixListener, calls: mpsc::Sender<CniCall>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(converse(stream, calls.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: others must be closed first.
                warn!(%error, "CNI connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    if tokio::time::timeout(DRAIN_LIMIT, tasks.wait()).await.is_err() {
        warn!("CNI requests are left without an answer");
    }
}

async fn converse(mut stream: UnixStream, calls: mpsc::Sender<CniCall>) {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader.take(cni_shim::MAX_LINE));
    let mut line = String::new();
    match tokio::time::timeout(SEND_LIMIT, reader.read_line(&mut line)).await {
        Ok(Ok(0)) => return,
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            debug!(%error, "CNI request not read");
            return;
        }
        Err(_) => {
            debug!("CNI client sent no request");
            return;
        }
    }
    let response = match serde_json::from_str::<Request>(&line) {
        Err(error) => Response::Failed(
            CniError::new(code::DECODING_FAILURE, "the node daemon can't read the request")
                .with_details(error),
        ),
        Ok(request) => {
            let mut more = [0];
            tokio::select! {
                response = call(request, &calls) => response,
                // The shim sends nothing after its line, so this ends when it is gone; dropping
                // the call tells the agent.
                _ = reader.read(&mut more) => {
                    debug!("CNI client left before the answer");
                    return;
                }
            }
        }
    };
    // Types of plain strings and numbers always serialize.
    let mut out = serde_json::to_vec(&response).unwrap_or_default();
    out.push(b'\n');
    if let Err(error) = writer.write_all(&out).await {
        debug!(%error, "CNI answer not sent");
    }
}

async fn call(request: Request, calls: &mpsc::Sender<CniCall>) -> Response {
    let (reply, answer) = oneshot::channel();
    let stopping = || {
        Response::Failed(CniError::new(
            code::TRY_AGAIN_LATER,
            "the node daemon is stopping",
        ))
    };
    if calls.send(CniCall { request, reply }).await.is_err() {
        return stopping();
    }
    answer.await.unwrap_or_else(|_| stopping())
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::request;
    use super::*;
    use cni_shim::{CniResult, Command};

    async fn ask(path: &Path, line: &str) -> Option<Response> {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serde_json::from_str(&answer).ok()
    }

    fn line(command: Command) -> String {
        serde_json::to_string(&request(command)).unwrap() + "\n"
    }

    #[tokio::test]
    async fn requests_reach_the_agent_and_answers_the_client() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/cni.sock");
        let (calls, mut queue) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(bind(&path).await.unwrap(), calls, stop.clone()));
        let agent = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Some(call) = queue.recv().await {
                seen.push(call.request.command);
                let response = match call.request.command {
                    Command::Add => Response::Added(CniResult::default()),
                    Command::Check => continue,
                    _ => Response::Done {},
                };
                call.reply.send(response).unwrap();
            }
            seen
        });
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let added = ask(&path, &line(Command::Add)).await;
        assert_eq!(added, Some(Response::Added(CniResult::default())));
        let done = ask(&path, &line(Command::Status)).await;
        assert_eq!(done, Some(Response::Done {}));
        // An agent that drops the call, as at shutdown.
        let dropped = ask(&path, &line(Command::Check)).await;
        assert!(matches!(dropped, Some(Response::Failed(e)) if e.code == code::TRY_AGAIN_LATER));
        let nonsense = ask(&path, "{\"command\":\"DANCE\"}\n").await;
        assert!(matches!(nonsense, Some(Response::Failed(e)) if e.code == code::DECODING_FAILURE));
        stop.cancel();
        server.await.unwrap();
        let seen = agent.await.unwrap();
        assert_eq!(seen, [Command::Add, Command::Status, Command::Check]);
    }

    #[tokio::test]
    async fn a_client_that_leaves_closes_its_call() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cni.sock");
        let (calls, mut queue) = mpsc::channel(8);
        let stop = CancellationToken::new();
        let _server = tokio::spawn(serve(bind(&path).await.unwrap(), calls, stop.clone()));
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(line(Command::Add).as_bytes()).await.unwrap();
        let mut call = queue.recv().await.unwrap();
        assert!(!call.reply.is_closed());
        drop(stream);
        tokio::time::timeout(Duration::from_secs(5), call.reply.closed())
            .await
            .expect("the call stays open although its client has left");
        stop.cancel();
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cni.sock");
        drop(bind(&path).await.unwrap());
        assert!(path.exists(), "dropping a listener leaves the file");
        let _live = bind(&path).await.unwrap();
        assert!(matches!(bind(&path).await, Err(ServeError::InUse(_))));
    }
}
