//! This project's client beside GoVPP and vpp_papi: the same work against the same server in one run, then what encoding and
//! decoding cost. Prints figures; run with `make bench-api`.
//!
//! `VPP_API_SOCKET` names another server than a `vpp-sim` of its own, such as real VPP: what is made there is taken away again.
//! `BENCH_ROUNDS` is how often our client and GoVPP are measured, the best counts; `BENCH_ONLY=ours` leaves the others out.
#![allow(clippy::print_stdout, reason = "a bench prints its figures")]
#![allow(clippy::unwrap_used, reason = "a bench that fails should stop")]

mod codec;
mod null;
mod others;
mod ours;
#[path = "../../tests/clients/tools.rs"]
mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Counts {
    /// Requests one after the other.
    pub sequential: u32,
    pub pings: u32,
    pub routes: u32,
    pub translations: u32,
    /// Of each translation.
    pub backends: u8,
    /// Of one ACL.
    pub rules: u32,
    /// Replacements and dumps of it; 0 leaves out all but pings and routes.
    pub repeats: u32,
}

const COUNTS: Counts = Counts {
    sequential: 5_000,
    pings: 100_000,
    routes: 100_000,
    translations: 10_000,
    backends: 10,
    rules: 10_000,
    repeats: 10,
};

/// Rates by workload, per second.
pub type Rates = BTreeMap<String, f64>;

fn better(best: &mut Rates, found: Rates) {
    for (workload, rate) in found {
        let best = best.entry(workload).or_insert(0.0);
        *best = best.max(rate);
    }
}

/// A server that is measured against.
enum Server {
    Own(Child, tempfile::TempDir),
    Given(PathBuf),
}

impl Server {
    /// A fresh one, unless one was given.
    fn start() -> Self {
        if let Some(path) = std::env::var_os("VPP_API_SOCKET") {
            return Self::Given(path.into());
        }
        Self::spawn(
            Command::new(env!("CARGO_BIN_EXE_vpp-sim"))
                .env("RUST_LOG", "warn")
                .arg("--api-socket"),
        )
    }

    fn null() -> Self {
        Self::spawn(Command::new(std::env::current_exe().unwrap()).arg("--null-server"))
    }

    fn spawn(command: &mut Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let child = command.arg(&path).stdout(Stdio::null()).spawn().unwrap();
        while !path.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self::Own(child, directory)
    }

    fn socket(&self) -> PathBuf {
        match self {
            Self::Own(_, directory) => directory.path().join("api.sock"),
            Self::Given(path) => path.clone(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Self::Own(child, _) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Everything once at a socket; nothing where the client is not at hand.
type Work = fn(&Path, Counts) -> Option<Rates>;

/// A client: what it is called, and how it does everything at a socket.
struct Contender {
    name: &'static str,
    /// Measured once: it takes minutes.
    slow: bool,
    sequential: Work,
    pipelined: Work,
}

const CONTENDERS: [Contender; 3] = [
    Contender {
        name: "ours",
        slow: false,
        sequential: |socket, counts| Some(ours::run(socket, counts, false)),
        pipelined: |socket, counts| Some(ours::run(socket, counts, true)),
    },
    Contender {
        name: "GoVPP",
        slow: false,
        sequential: |socket, counts| others::govpp(socket, counts, "sync"),
        pipelined: |socket, counts| others::govpp(socket, counts, "stream"),
    },
    Contender {
        name: "vpp_papi",
        slow: true,
        sequential: |socket, counts| others::papi(socket, counts, "sync"),
        pipelined: |socket, counts| others::papi(socket, counts, "async"),
    },
];

/// Rates of all contenders in one table, ours as a multiple of the others'.
fn table(title: &str, columns: &[(&str, Rates)]) {
    println!("\n{title}");
    print!("  {:<44}", "per second");
    for (name, _) in columns {
        print!(" {name:>12}");
        if *name != columns[0].0 {
            print!(" {:>7}", "ours is");
        }
    }
    println!();
    for (workload, ours) in &columns[0].1 {
        print!("  {workload:<44} {ours:>12.0}");
        for (_, rates) in &columns[1..] {
            match rates.get(workload) {
                Some(rate) => print!(" {rate:>12.0} {:>6.1}×", ours / rate),
                None => print!(" {:>12} {:>7}", "-", "-"),
            }
        }
        println!();
    }
}

fn compare(title: &str, counts: Counts, server: fn() -> Server, measured: fn(&Contender) -> Work) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let rounds: usize = number("BENCH_ROUNDS").unwrap_or(3);
    let only = std::env::var("BENCH_ONLY").ok();
    let mut columns: Vec<(&str, Rates)> = Vec::new();
    for round in 0..rounds {
        for contender in &CONTENDERS {
            let left_out = only.as_ref().is_some_and(|only| only != contender.name);
            if left_out || (contender.slow && round > 0) {
                continue;
            }
            let server = server();
            if let Some(found) = measured(contender)(&server.socket(), counts) {
                match columns.iter_mut().find(|(name, _)| *name == contender.name) {
                    Some((_, best)) => better(best, found),
                    None => columns.push((contender.name, found)),
                }
            }
        }
    }
    if !columns.is_empty() {
        table(title, &columns);
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, socket] = &arguments[..]
        && flag == "--null-server"
    {
        return null::serve(Path::new(socket));
    }
    codec::run();
    compare("One request at a time", COUNTS, Server::start, |contender| {
        contender.sequential
    });
    compare("Many requests on their way", COUNTS, Server::start, |contender| {
        contender.pipelined
    });
    let only_requests = Counts { repeats: 0, ..COUNTS };
    compare(
        "The same against a server that does nothing but answer",
        only_requests,
        Server::null,
        |contender| contender.pipelined,
    );
}
