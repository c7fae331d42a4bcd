//! The daemon's own counters, read when asked: a daemon that is asked all the time has less time for its work.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use nix::sched::{CloneFlags, setns};
use tokio::sync::{mpsc, oneshot};

use crate::node::ADMIN_ADDRESS;

/// What the daemon says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    /// Objects of Services that are in VPP as they should be.
    pub objects: u64,
    /// Changes of VPP that it took.
    pub steps: u64,
}

/// Pause between two looks: what the daemon does for them, it does not do for its work, and all are on one machine.
const PAUSE: Duration = Duration::from_micros(500);

/// Asks the daemon, over one connection from within its node's namespace.
pub(super) struct Meter {
    asks: mpsc::UnboundedSender<Ask>,
}

/// How many steps to wait for, and who waits.
type Ask = (u64, oneshot::Sender<(Timestamp, Counters)>);

impl Meter {
    /// A meter in the namespace at this path. It ends with this value.
    pub(super) fn start(netns: PathBuf) -> Self {
        let (asks, mut asked) = mpsc::unbounded_channel::<Ask>();
        std::thread::spawn(move || {
            let entered = std::fs::File::open(netns).map(|file| setns(file, CloneFlags::CLONE_NEWNET));
            if !matches!(entered, Ok(Ok(()))) {
                return;
            }
            let mut connection = None;
            while let Some((steps, answer)) = asked.blocking_recv() {
                while !answer.is_closed() {
                    // The daemon may not listen yet.
                    let counters = scrape(&mut connection).unwrap_or_else(|_| {
                        connection = None;
                        Counters::default()
                    });
                    if counters.steps >= steps {
                        // Who asked may have gone.
                        let _ = answer.send((Timestamp::now(), counters));
                        break;
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        });
        Self { asks }
    }

    /// What the daemon says now; zeros when it does not answer.
    pub(super) async fn read(&self) -> Counters {
        self.ask(0).await.unwrap_or_default().1
    }

    /// When the daemon has taken so many steps; `None` when it cannot be asked any more.
    pub(super) async fn reaches(&self, steps: u64) -> Option<Timestamp> {
        Some(self.ask(steps).await?.0)
    }

    async fn ask(&self, steps: u64) -> Option<(Timestamp, Counters)> {
        let (answer, said) = oneshot::channel();
        self.asks.send((steps, answer)).ok()?;
        said.await.ok()
    }
}

fn scrape(connection: &mut Option<TcpStream>) -> Result<Counters> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(ADMIN_ADDRESS)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            connection.insert(stream)
        }
    };
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n")?;
    let text = answer(stream)?;
    let value = |start: &str| {
        let mut values = text
            .lines()
            .filter_map(|line| line.strip_prefix(start)?.parse().ok());
        values.next().unwrap_or_default()
    };
    Ok(Counters {
        objects: value("contiv_node_objects{area=\"services\"} "),
        steps: value("contiv_node_steps_total{outcome=\"done\"} "),
    })
}

/// Body of one HTTP answer.
fn answer(stream: &mut TcpStream) -> Result<String> {
    let mut text = String::new();
    let mut buffer = [0; 65_536];
    loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "closed");
        text.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.context("no length")? {
            return Ok(body.to_owned());
        }
    }
}
