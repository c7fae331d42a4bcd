//! Runs the tests of one program one after the other on one shared cluster.
//!
//! A cluster takes seconds to start and belongs to no single test, and statics are never dropped in
//! Rust: so these programs have this runner instead of the standard one. It understands a filter as
//! the standard one does and prints the same closing line; `--pause` leaves the first failure as it is for a look.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::future::LocalBoxFuture;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::require_root;
use crate::run::Run;

/// Longest time one test may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// What tests run on.
pub trait Bed: Sized {
    /// Makes the control plane; its logs exist from here on.
    fn prepare() -> impl Future<Output = Result<Self>>;
    /// Makes nodes 1 to `nodes`, ready to take pods.
    fn bring_up(&mut self, nodes: u8) -> impl Future<Output = Result<()>>;
    /// Takes a test's objects away, so that the next one starts afresh.
    fn reset(&mut self) -> impl Future<Output = Result<()>>;
    /// The run.
    fn run(&self) -> &Run;
}

/// One test.
pub struct Case<T> {
    /// Name, as the filter sees it.
    pub name: &'static str,
    /// Its body.
    pub run: for<'a> fn(&'a mut T) -> LocalBoxFuture<'a, Result<()>>,
}

/// Tests from async functions that take `&mut Cluster`, of whichever kind.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        &[$($crate::suite::Case { name: stringify!($name), run: |cluster| Box::pin($name(cluster)) }),*]
    };
}

/// Body of `main`: runs the cases that the command line selects on a cluster with so many nodes.
/// With 0 nodes there is a control plane and nothing else.
pub fn main<T: Bed>(suite: &str, nodes: u8, cases: &[Case<T>]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let selected: Vec<&Case<T>> = cases
        .iter()
        .filter(|case| filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter.as_str())))
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        selected
            .iter()
            .for_each(|case| say(&format!("{}: test\n", case.name)));
        return ExitCode::SUCCESS;
    }
    let pause = arguments.iter().any(|argument| argument == "--pause");
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("no runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        tokio::select! {
            code = run(suite, nodes, &selected, cases.len(), pause) => code,
            () = interrupted() => {
                say("\ninterrupted; taking everything down\n");
                ExitCode::from(130)
            }
        }
    })
}

async fn run<T: Bed>(suite: &str, nodes: u8, selected: &[&Case<T>], all: usize, pause: bool) -> ExitCode {
    say(&format!("\nrunning {} tests of {suite}\n", selected.len()));
    let start = Instant::now();
    let mut cluster = match start_cluster::<T>(suite, nodes).await {
        Ok(cluster) => cluster,
        Err(error) => {
            say(&format!("the cluster could not be started: {error:#}\n"));
            say(&format!(
                "test result: FAILED. 0 passed; {} failed; 0 ignored; 0 measured; 0 filtered out\n",
                selected.len().max(1)
            ));
            return ExitCode::FAILURE;
        }
    };
    say(&format!(
        "cluster with {nodes} nodes started in {:.1} s\n",
        start.elapsed().as_secs_f32()
    ));
    let (mut passed, mut failed) = (0, Vec::new());
    for case in selected {
        say(&format!("test {} ... ", case.name));
        let began = Instant::now();
        let result = match tokio::time::timeout(PATIENCE, (case.run)(&mut cluster)).await {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("not done after {} s", PATIENCE.as_secs())),
        };
        if let (Err(error), true) = (&result, pause) {
            say(&format!(
                "FAILED: {error:#}\nleft as it is for a look ({}); Ctrl-C ends it\n",
                cluster.run().dir().display()
            ));
            std::future::pending::<()>().await;
        }
        let result = match (result, nodes) {
            (Ok(()), 1..) => cluster.reset().await.context("taking the test's objects away"),
            (result, 0) => result,
            (Err(error), _) => {
                let _ = cluster.reset().await;
                Err(error)
            }
        };
        match result {
            Ok(()) => {
                passed += 1;
                say(&format!("ok ({:.1} s)\n", began.elapsed().as_secs_f32()));
            }
            Err(error) => {
                say(&format!(
                    "FAILED ({:.1} s)\n    {:#}\n",
                    began.elapsed().as_secs_f32(),
                    error
                ));
                failed.push(case.name);
            }
        }
    }
    if !failed.is_empty() {
        say(&format!("\nfailures: {}\n", failed.join(", ")));
        match cluster.run().save_logs(suite) {
            Ok(path) => say(&format!("logs: {}\n", path.display())),
            Err(error) => say(&format!("the logs could not be saved: {error:#}\n")),
        }
    }
    drop(cluster);
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    say(&format!(
        "\ntest result: {verdict}. {passed} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        failed.len(),
        all - selected.len(),
        start.elapsed().as_secs_f32(),
    ));
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Starts the cluster; when that fails its logs are saved before it is taken down.
async fn start_cluster<T: Bed>(suite: &str, nodes: u8) -> Result<T> {
    require_root()?;
    let mut cluster = T::prepare().await?;
    if nodes == 0 {
        return Ok(cluster);
    }
    match cluster.bring_up(nodes).await {
        Ok(()) => Ok(cluster),
        Err(error) => match cluster.run().save_logs(suite) {
            Ok(path) => bail!("{error:#}\nlogs: {}", path.display()),
            Err(_) => Err(error),
        },
    }
}

/// Resolves when somebody wants the program to end.
pub async fn interrupted() {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(stream) => stream,
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// A line of what a test measured, for the reader of its output.
pub fn note(text: &str) {
    say(&format!("\n    {text} "));
}

fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}
