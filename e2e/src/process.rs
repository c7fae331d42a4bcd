//! Long-running programs of a run: log to a file, recorded for teardown, killed and started again at will.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns;
use crate::run::{self, Run};

/// What to run.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    netns: Option<String>,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
}

impl Program {
    /// A program under a name unique within the run.
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            netns: None,
            args: Vec::new(),
            env: Vec::new(),
        }
    }

    /// Runs it in a network namespace.
    #[must_use]
    pub fn within(mut self, netns: &str) -> Self {
        self.netns = Some(netns.to_owned());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds an option and its value.
    #[must_use]
    pub fn option(self, name: &str, value: impl Into<OsString>) -> Self {
        self.arg(name).arg(value)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    program: Program,
    run_dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    leave: bool,
}

impl Process {
    /// Starts the program; its output goes to `logs/<name>.log` of the run.
    pub fn start(run: &Run, program: Program) -> Result<Self> {
        let log = run.dir().join("logs").join(format!("{}.log", program.name));
        let mut process = Self {
            program,
            run_dir: run.dir().to_owned(),
            log,
            child: None,
            leave: false,
        };
        process.spawn()?;
        Ok(process)
    }

    /// Starts it again after [`kill`](Self::kill) or its own end.
    pub fn spawn(&mut self) -> Result<()> {
        if self.is_alive() {
            bail!("{} is running already", self.program.name);
        }
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        let mut command = match &self.program.netns {
            Some(netns) => netns::command(netns, &self.program.path),
            None => Command::new(&self.program.path),
        };
        command
            .args(&self.program.args)
            .envs(self.program.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in the terminal is for the harness, which then ends its programs in order.
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", self.program.path.display()))?;
        run::record(&self.run_dir, &self.program.name, child.id())?;
        self.child = Some(child);
        Ok(())
    }

    /// Its process id, while it has been started and not killed.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it is still running.
    pub fn is_alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Error with the end of its log, if it has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        if self.is_alive() {
            return Ok(());
        }
        bail!(
            "{} has ended; its log ends with:\n{}",
            self.program.name,
            self.log_tail(15)
        );
    }

    /// Starts it again if it has ended by itself, as a kubelet restarts a container; a panic stays an error.
    /// Returns whether it had ended.
    pub fn revive(&mut self) -> Result<bool> {
        if self.is_alive() {
            return Ok(false);
        }
        if self.log_tail(30).contains("panicked at") {
            self.check()?;
        }
        self.spawn()?;
        Ok(true)
    }

    /// Kills it as a crash would: no chance to say goodbye.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            run::forget(&self.run_dir, &self.program.name);
        }
    }

    /// Asks it to end (SIGTERM) and waits; kills it after `patience`. Returns its exit status if it ended by itself.
    pub fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
        let deadline = Instant::now() + patience;
        let mut status = None;
        while Instant::now() < deadline {
            if let Ok(Some(ended)) = child.try_wait() {
                status = Some(ended);
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        run::forget(&self.run_dir, &self.program.name);
        status
    }

    /// Leaves it running when dropped.
    pub fn leave(&mut self) {
        self.leave = true;
    }

    /// Path of its log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.leave {
            self.kill();
        }
    }
}
