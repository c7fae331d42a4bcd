//! The harness' side of the probes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use super::{Protocol, icmp};
use crate::assets;
use crate::process::{Process, Program};
use crate::run::Run;

/// A question to an address, to be asked from some namespace.
#[derive(Clone, Debug)]
pub struct Probe {
    to: SocketAddr,
    protocol: Protocol,
    count: u32,
    timeout: Duration,
    interval: Duration,
    download: bool,
}

impl Probe {
    /// One TCP connection to an address and port.
    pub fn tcp(to: IpAddr, port: u16) -> Self {
        Self {
            to: SocketAddr::new(to, port),
            protocol: Protocol::Tcp,
            count: 1,
            timeout: Duration::from_millis(1500),
            interval: Duration::from_millis(100),
            download: false,
        }
    }

    /// One UDP datagram.
    pub fn udp(to: IpAddr, port: u16) -> Self {
        Self {
            protocol: Protocol::Udp,
            ..Self::tcp(to, port)
        }
    }

    /// One TCP connection on which, once it is there, only the server sends.
    pub fn download(from: IpAddr, port: u16) -> Self {
        Self {
            download: true,
            ..Self::tcp(from, port)
        }
    }

    /// Asks so many times.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Time between the questions of a flow.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long each answer may take.
    #[must_use]
    pub fn patience(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks within a namespace and waits for all answers.
    pub async fn from(&self, netns: &str) -> Result<Answers> {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let args = [
            "ask".to_owned(),
            "--to".to_owned(),
            self.to.to_string(),
            "--protocol".to_owned(),
            protocol.to_owned(),
            "--count".to_owned(),
            self.count.to_string(),
            "--timeout-ms".to_owned(),
            self.timeout.as_millis().to_string(),
        ];
        Ok(Answers(within(netns, &args).await?))
    }

    /// Starts a flow from a namespace: one connection that asks (every 100 ms unless told otherwise) until it is
    /// stopped or two minutes have passed.
    pub fn flow(&self, run: &Run, name: &str, netns: &str) -> Result<Flow> {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let mut program = Program::new(format!("flow-{name}"), assets::own("contiv-probe")?)
            .within(netns)
            .arg("flow")
            .option("--to", self.to.to_string())
            .option("--protocol", protocol)
            .option("--interval-ms", self.interval.as_millis().to_string());
        if self.download {
            program = program.arg("--download");
        }
        let log = run.dir().join("logs").join(format!("flow-{name}.log"));
        // A flow of the same name may have been there in an earlier test.
        let _ = std::fs::remove_file(&log);
        Ok(Flow {
            process: Process::start(run, program)?,
        })
    }
}

/// Echo requests to an address.
#[derive(Clone, Copy, Debug)]
pub struct Ping {
    to: IpAddr,
    size: usize,
    count: u16,
}

impl Ping {
    /// Three requests with 56 bytes of data.
    pub fn to(to: IpAddr) -> Self {
        Self {
            to,
            size: 56,
            count: 3,
        }
    }

    /// Bytes of data in each request.
    #[must_use]
    pub fn size(mut self, size: usize) -> Self {
        self.size = size;
        self
    }

    /// Pings from a namespace.
    pub async fn from(&self, netns: &str) -> Result<icmp::Report> {
        let args = [
            "ping",
            "--to",
            &self.to.to_string(),
            "--size",
            &self.size.to_string(),
            "--count",
            &self.count.to_string(),
        ];
        within(netns, &args.map(str::to_owned)).await
    }
}

async fn within<T: DeserializeOwned>(netns: &str, args: &[String]) -> Result<T> {
    let output = tokio::process::Command::new("ip")
        .args(["netns", "exec", netns])
        .arg(assets::own("contiv-probe")?)
        .args(args)
        .kill_on_drop(true)
        .output()
        .await
        .context("running contiv-probe")?;
    if !output.status.success() {
        bail!(
            "contiv-probe {} in {netns}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout).context("reading contiv-probe's answer")
}

/// Who answered how often: `<server> <client address it saw>`, or the word of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers(pub BTreeMap<String, u32>);

impl Answers {
    /// Reads what `contiv-probe ask` prints.
    pub fn parse(text: &str) -> Result<Self> {
        let answers = serde_json::from_str(text.trim());
        Ok(Self(answers.with_context(|| format!("the probe said {text:?}"))?))
    }

    /// Names of the servers that answered.
    pub fn servers(&self) -> BTreeSet<&str> {
        self.0
            .keys()
            .filter_map(|text| Some(text.split_once(' ')?.0))
            .collect()
    }

    /// Client addresses that the servers saw.
    pub fn clients(&self) -> BTreeSet<&str> {
        self.0
            .keys()
            .filter_map(|text| Some(text.split_once(' ')?.1))
            .collect()
    }

    /// How often a server answered.
    pub fn answered(&self) -> u32 {
        self.0
            .iter()
            .filter(|(text, _)| text.contains(' '))
            .map(|(_, count)| count)
            .sum()
    }

    /// How often something went wrong.
    pub fn failed(&self) -> u32 {
        self.0.values().sum::<u32>() - self.answered()
    }

    /// Whether every question was answered, and there was one.
    pub fn all_answered(&self) -> bool {
        self.failed() == 0 && self.answered() > 0
    }

    /// Whether no question was answered.
    pub fn none_answered(&self) -> bool {
        self.answered() == 0
    }

    /// Whether nothing but this error happened.
    pub fn all(&self, error: &str) -> bool {
        !self.0.is_empty() && self.0.keys().all(|text| text == error)
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(text, count)| format!("{text} × {count}"))
            .collect();
        f.write_str(&parts.join(", "))
    }
}

/// A running flow.
#[derive(Debug)]
pub struct Flow {
    process: Process,
}

/// Questions of a flow, in order: whether each was answered, when it was asked (ms since start), and by whom or why not.
#[derive(Clone, Debug, Default)]
pub struct Marks(pub Vec<(u64, bool, String)>);

impl Flow {
    /// What has happened so far.
    pub fn marks(&self) -> Marks {
        let text = std::fs::read_to_string(self.process.log()).unwrap_or_default();
        Marks::parse(&text)
    }

    /// Waits until so many more questions than now have been asked, and returns those.
    pub async fn next(&self, count: usize) -> Result<Marks> {
        let before = self.marks().0.len();
        let deadline = Instant::now() + Duration::from_secs(30 + count as u64);
        loop {
            let marks = self.marks();
            if marks.0.len() >= before + count {
                return Ok(Marks(marks.0[before..].to_vec()));
            }
            if Instant::now() > deadline {
                bail!(
                    "the flow stands still; its last lines:\n{}",
                    self.process.log_tail(5)
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `count` questions in a row have been answered or lost, as wanted, within `patience`.
    pub async fn settles(&self, answered: bool, count: usize, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let marks = self.marks();
            if marks.0.len() >= count
                && marks.0[marks.0.len() - count..]
                    .iter()
                    .all(|mark| mark.1 == answered)
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                let wanted = if answered { "answered" } else { "lost" };
                bail!(
                    "the flow was not {wanted} {count} times in a row within {} s: {marks}",
                    patience.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends the flow and returns all that happened.
    pub fn stop(mut self) -> Marks {
        self.process.kill();
        self.marks()
    }
}

impl Marks {
    /// Reads what `contiv-probe flow` prints; other lines are left out.
    pub fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(parse_mark).collect())
    }

    /// Questions that were not answered.
    pub fn lost(&self) -> usize {
        self.0.iter().filter(|mark| !mark.1).count()
    }

    /// Longest time without an answer, in ms: from the first lost question to the next answered one.
    pub fn longest_gap(&self) -> u64 {
        let (mut longest, mut since) = (0, None);
        for (at, answered, _) in &self.0 {
            match (answered, since) {
                (false, None) => since = Some(*at),
                (true, Some(start)) => {
                    longest = longest.max(at - start);
                    since = None;
                }
                _ => {}
            }
        }
        match (since, self.0.last()) {
            (Some(start), Some((at, ..))) => longest.max(at - start + 100),
            _ => longest,
        }
    }

    /// Servers that answered.
    pub fn servers(&self) -> BTreeSet<&str> {
        self.0
            .iter()
            .filter(|mark| mark.1)
            .map(|mark| mark.2.as_str())
            .collect()
    }
}

impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|mark| f.write_str(if mark.1 { "+" } else { "-" }))
    }
}

fn parse_mark(line: &str) -> Option<(u64, bool, String)> {
    let mut words = line.splitn(3, ' ');
    let at = words.next()?.parse().ok()?;
    let answered = match words.next()? {
        "+" => true,
        "-" => false,
        _ => return None,
    };
    Some((at, answered, words.next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(entries: &[(&str, u32)]) -> Answers {
        Answers(
            entries
                .iter()
                .map(|(text, count)| ((*text).to_owned(), *count))
                .collect(),
        )
    }

    #[test]
    fn answers_and_errors_are_told_apart() {
        let mixed = answers(&[("web-1 10.1.1.2", 4), ("web-2 10.1.1.2", 5), ("timeout", 1)]);
        assert_eq!(mixed.servers(), ["web-1", "web-2"].into());
        assert_eq!(mixed.clients(), ["10.1.1.2"].into());
        assert_eq!((mixed.answered(), mixed.failed()), (9, 1));
        assert!(!mixed.all_answered() && !mixed.none_answered());
        assert!(answers(&[("timeout", 2)]).all("timeout"));
        assert!(!answers(&[]).all_answered());
    }

    #[test]
    fn the_longest_gap_ends_with_an_answer_or_with_the_flow() {
        let marks = |text: &str| {
            Marks(
                text.chars()
                    .zip(0..)
                    .map(|(c, n)| (n * 100, c == '+', String::new()))
                    .collect(),
            )
        };
        assert_eq!(marks("++++").longest_gap(), 0);
        assert_eq!(marks("+--++-+").longest_gap(), 200);
        assert_eq!(marks("+-+---").longest_gap(), 300);
    }

    #[test]
    fn lines_of_other_programs_are_no_marks() {
        assert_eq!(parse_mark("120 + web-1"), Some((120, true, "web-1".to_owned())));
        assert_eq!(
            parse_mark("220 - timeout"),
            Some((220, false, "timeout".to_owned()))
        );
        assert_eq!(parse_mark("Cannot open network namespace"), None);
    }
}
