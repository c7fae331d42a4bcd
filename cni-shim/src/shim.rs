//! The shim itself: checks its input, asks the daemon, turns the answer into what the runtime wants.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::config::{NetConf, is_identifier};
use crate::error::{CniError, code};
use crate::intents;
use crate::request::{Command, Request, Response};
use crate::{LATEST_VERSION, MAX_LINE, SUPPORTED_VERSIONS};

/// How long the daemon may take: kubelet gives the runtime two minutes for a sandbox, and the
/// answer "try again later" must arrive within them.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// How long STATUS waits for a daemon that does not listen: one that is being replaced. The runtime takes a failure for
/// a network that is down, and kubelet then calls its node, and every pod on it, not ready. kubelet itself gives up on a
/// runtime that says nothing for 30 seconds.
const STATUS_PATIENCE: Duration = Duration::from_secs(15);
/// How long it waits for one that listens but can't serve yet: it has just started.
const START_PATIENCE: Duration = Duration::from_secs(3);
/// Time between its questions.
const STATUS_PAUSE: Duration = Duration::from_millis(100);

/// Longest container id: with the interface's name it must fit a file name.
const MAX_CONTAINER_ID: usize = 200;
/// Longest interface name, Linux' IFNAMSIZ less the closing zero.
const MAX_IFNAME: usize = 15;

/// What the process prints and how it exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Standard output; may be empty.
    pub stdout: String,
    /// Exit code: 0, or 1 with an error on standard output.
    pub exit: u8,
}

/// One run of the plugin.
///
/// `variable` looks up an environment variable, `stdin` holds the network configuration.
pub fn run(variable: impl Fn(&str) -> Option<String>, stdin: impl Read, deadline: Duration) -> Outcome {
    match answer(variable, stdin, deadline) {
        Ok(value) => Outcome {
            stdout: value.map(|value| format!("{value}\n")).unwrap_or_default(),
            exit: 0,
        },
        Err((version, error)) => {
            eprintln!("contiv-cni: {error}");
            let mut body = json!({"cniVersion": version, "code": error.code, "msg": error.msg});
            if !error.details.is_empty() {
                body["details"] = Value::from(error.details);
            }
            Outcome {
                stdout: format!("{body}\n"),
                exit: 1,
            }
        }
    }
}

/// Errors are answered in the runtime's version once it is known.
type Failure = (String, CniError);

fn answer(
    variable: impl Fn(&str) -> Option<String>,
    mut stdin: impl Read,
    deadline: Duration,
) -> Result<Option<Value>, Failure> {
    let latest = |error| (LATEST_VERSION.to_owned(), error);
    let command = variable("CNI_COMMAND").unwrap_or_default();
    if command != "VERSION" && Command::parse(&command).is_none() {
        let message = match command.as_str() {
            "" => "CNI_COMMAND is not set: this is a CNI plugin, run by a container runtime".into(),
            other => format!("CNI_COMMAND {other:?} is not known"),
        };
        return Err(latest(CniError::new(code::INVALID_ENVIRONMENT, message)));
    }
    let mut input = Vec::new();
    if let Err(error) = stdin.by_ref().take(MAX_LINE).read_to_end(&mut input) {
        return Err(latest(
            CniError::new(code::IO_FAILURE, "standard input can't be read").with_details(error),
        ));
    }
    let Some(command) = Command::parse(&command) else {
        return version(&input).map(Some).map_err(latest);
    };
    let config = NetConf::parse(&input).map_err(latest)?;
    let version = config.cni_version.clone();
    request(command, &variable, config)
        .and_then(|request| exchange(request, deadline))
        .map_err(|error| (version, error))
}

/// VERSION: echoes the version asked with, and lists ours.
fn version(input: &[u8]) -> Result<Value, CniError> {
    let asked: Value = serde_json::from_slice(input).map_err(|error| {
        CniError::new(code::DECODING_FAILURE, "standard input is not valid JSON").with_details(error)
    })?;
    let echoed = asked.get("cniVersion").and_then(Value::as_str);
    Ok(json!({
        "cniVersion": echoed.unwrap_or(LATEST_VERSION),
        "supportedVersions": SUPPORTED_VERSIONS,
    }))
}

fn request(
    command: Command,
    variable: &impl Fn(&str) -> Option<String>,
    config: NetConf,
) -> Result<Request, CniError> {
    // Versions of equal length and digits compare as text.
    if config.cni_version.as_str() < command.since() {
        return Err(CniError::new(
            code::INCOMPATIBLE_VERSION,
            format!(
                "{command} exists since CNI {}, the configuration has cniVersion {}",
                command.since(),
                config.cni_version
            ),
        ));
    }
    // DEL and GC must work with whatever configuration is left.
    if !matches!(command, Command::Del | Command::Gc) {
        config.refuse_unsupported()?;
    }
    let text = |name: &str| variable(name).unwrap_or_default();
    let request = Request {
        command,
        container_id: text("CNI_CONTAINERID"),
        netns: text("CNI_NETNS"),
        ifname: text("CNI_IFNAME"),
        args: arguments(&text("CNI_ARGS"))?,
        path: text("CNI_PATH"),
        config,
    };
    match command {
        Command::Add | Command::Del | Command::Check => check_attachment(&request)?,
        Command::Gc if request.config.valid_attachments.is_none() => {
            // Taken for an empty list, a forgotten key would detach every pod of the node.
            return Err(CniError::new(
                code::INVALID_CONFIG,
                "GC without cni.dev/valid-attachments in the network configuration",
            ));
        }
        Command::Gc | Command::Status => {}
    }
    Ok(request)
}

fn check_attachment(request: &Request) -> Result<(), CniError> {
    let wrong = |message: String| Err(CniError::new(code::INVALID_ENVIRONMENT, message));
    let id = request.container_id.as_str();
    if !is_identifier(id) || id.len() > MAX_CONTAINER_ID {
        return wrong(format!(
            "CNI_CONTAINERID {id:?} is not valid: start with a letter or digit, go on with letters, digits, '_', '.' or '-', at most {MAX_CONTAINER_ID}"
        ));
    }
    let name = request.ifname.as_str();
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > MAX_IFNAME || name == "." || name == ".." || name.contains(bad) {
        return wrong(format!(
            "CNI_IFNAME {name:?} is not valid: 1 to {MAX_IFNAME} bytes without '/', ':' and white space"
        ));
    }
    // DEL comes with an empty namespace when it is gone already.
    if request.command != Command::Del && request.netns.is_empty() {
        return wrong("CNI_NETNS is not set: it names the container's network namespace".into());
    }
    Ok(())
}

/// Splits `CNI_ARGS`: `KEY=VALUE` pairs with semicolons between.
fn arguments(text: &str) -> Result<BTreeMap<String, String>, CniError> {
    text.split(';')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(CniError::new(
                code::INVALID_ENVIRONMENT,
                format!("CNI_ARGS holds {pair:?}: write KEY=VALUE, with ';' between pairs"),
            )),
        })
        .collect()
}

/// Why there is no answer.
enum NoAnswer {
    /// Nobody listens, or the daemon went away before it answered.
    Unreachable(io::Error),
    /// The deadline passed.
    Late(Duration),
    /// The answer makes no sense.
    Garbled(String),
}

impl NoAnswer {
    fn describe(&self, socket: &Path) -> String {
        let socket = socket.display();
        match self {
            Self::Unreachable(error) => {
                format!("the node daemon does not answer on {socket}: {error}")
            }
            Self::Late(limit) => {
                format!("the node daemon on {socket} did not answer within {limit:?}")
            }
            Self::Garbled(error) => {
                format!("the node daemon on {socket} answered nonsense: {error}")
            }
        }
    }
}

fn exchange(request: Request, deadline: Duration) -> Result<Option<Value>, CniError> {
    let answer = match request.command {
        Command::Status => ask_status(&request, deadline),
        _ => ask(&request, deadline),
    };
    let answer = match answer {
        Ok(response) => response,
        Err(reason) => return without_daemon(&request, &reason, deadline),
    };
    match (request.command, answer) {
        (_, Response::Failed(error)) => Err(error),
        (Command::Add, Response::Added(result)) => Ok(Some(result.to_version(&request.config.cni_version))),
        (Command::Add, Response::Done {}) => Err(CniError::new(
            code::DECODING_FAILURE,
            "the node daemon answered ADD without a result",
        )),
        _ => Ok(None),
    }
}

fn without_daemon(
    request: &Request,
    reason: &NoAnswer,
    deadline: Duration,
) -> Result<Option<Value>, CniError> {
    let message = reason.describe(request.config.socket());
    let number = match (reason, request.command) {
        (NoAnswer::Garbled(_), _) => code::DECODING_FAILURE,
        (_, Command::Del) => return leave_intent(request, &message, deadline),
        (_, Command::Status) => code::NOT_AVAILABLE,
        _ => code::TRY_AGAIN_LATER,
    };
    Err(CniError::new(number, message))
}

/// Writes the DEL down for the daemon, and asks once more: it may have come up, and read what was
/// written down, just before this was.
fn leave_intent(request: &Request, message: &str, deadline: Duration) -> Result<Option<Value>, CniError> {
    let state_dir = request.config.state_dir();
    intents::record(state_dir, request).map_err(|error| {
        CniError::new(code::TRY_AGAIN_LATER, message).with_details(format_args!(
            "nor can the deletion be written to {}: {error}",
            state_dir.display()
        ))
    })?;
    eprintln!(
        "contiv-cni: {message}; the deletion is left in {}",
        state_dir.display()
    );
    if let Ok(Response::Done {}) = ask(request, deadline.min(Duration::from_secs(1)))
        && let Err(error) = intents::forget(state_dir, &request.key())
    {
        // Harmless: carried out again, a DEL changes nothing.
        eprintln!("contiv-cni: {error}");
    }
    Ok(None)
}

/// Asks for the daemon's status until it can serve, or until it has had the time to start.
fn ask_status(request: &Request, deadline: Duration) -> Result<Response, NoAnswer> {
    let started = Instant::now();
    loop {
        let answer = ask(request, deadline.saturating_sub(started.elapsed()));
        let patience = match &answer {
            Err(NoAnswer::Unreachable(_)) => STATUS_PATIENCE,
            Ok(Response::Failed(_)) => START_PATIENCE,
            _ => return answer,
        };
        if started.elapsed() + STATUS_PAUSE >= patience.min(deadline) {
            return answer;
        }
        thread::sleep(STATUS_PAUSE);
    }
}

/// Sends the request and waits for the answer, at most for `deadline` in all.
///
/// The thread exists because connecting to a unix socket whose queue is full has no time limit.
fn ask(request: &Request, deadline: Duration) -> Result<Response, NoAnswer> {
    let (sender, receiver) = mpsc::channel();
    let request = request.clone();
    thread::spawn(move || {
        // Nobody receives after the deadline.
        let _ = sender.send(converse(&request));
    });
    receiver
        .recv_timeout(deadline)
        .unwrap_or(Err(NoAnswer::Late(deadline)))
}

fn converse(request: &Request) -> Result<Response, NoAnswer> {
    let line = || -> io::Result<String> {
        let mut stream = UnixStream::connect(request.config.socket())?;
        let mut out = serde_json::to_vec(request)?;
        out.push(b'\n');
        stream.write_all(&out)?;
        let mut line = String::new();
        BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it closed the connection",
            ));
        }
        Ok(line)
    };
    let line = line().map_err(NoAnswer::Unreachable)?;
    serde_json::from_str(&line).map_err(|error| NoAnswer::Garbled(error.to_string()))
}
