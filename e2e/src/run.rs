//! One run of the harness: its id, its directory, and the one way to take everything away again.
//!
//! What a run owns is found from outside the process that made it: a file per process under
//! `pids/`, and network namespaces by their prefix. So the same [`teardown`] serves the normal end,
//! Ctrl-C, the watchdog of a killed run, and `contiv-e2e clean`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::assets;
use crate::k8s::cgroups;
use crate::netns;

/// Where runs keep their files; world-readable state only, gone after a reboot.
const BASE: &str = "/run/contiv-e2e";
/// Results that CNI libraries cache, by network name; each run has its own network name.
const CNI_RESULTS: &str = "/var/lib/cni/results";

/// A run in progress. Dropping it takes down everything the run made, unless it was [kept](Self::keep).
#[derive(Debug)]
pub struct Run {
    id: String,
    dir: PathBuf,
    watchdog: Option<Child>,
    kept: bool,
}

impl Run {
    /// Starts a run with an id of its own, and a watchdog that takes it down should this process be killed.
    pub fn start() -> Result<Self> {
        let pid = std::process::id();
        let id = format!("cv{pid}");
        let dir = Path::new(BASE).join(&id);
        if dir.exists() {
            // The process id came round again: the earlier run is certainly dead.
            teardown(&dir);
        }
        for sub in ["pids", "logs"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("making the run directory {}", dir.display()))?;
        }
        fs::write(
            dir.join("owner"),
            format!("{pid} {}", start_time(pid).unwrap_or_default()),
        )?;
        let watchdog = watch(&dir)?;
        Ok(Self {
            id,
            dir,
            watchdog: Some(watchdog),
            kept: false,
        })
    }

    /// Prefix of everything the run makes, such as `cv4711`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Directory of the run's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A subdirectory, made when missing.
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Name of a network namespace of this run.
    pub fn netns(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.id)
    }

    /// Leaves everything running when this value is dropped; `contiv-e2e clean` ends it.
    pub fn keep(&mut self) -> Result<()> {
        fs::write(self.dir.join("kept"), "")?;
        self.kept = true;
        Ok(())
    }

    /// Copies the logs to a place that outlives the run, for the reader of a failure.
    pub fn save_logs(&self, name: &str) -> Result<PathBuf> {
        let target = assets::logs_dir()?.join(format!("{name}-{}", self.id));
        fs::create_dir_all(&target)?;
        for entry in fs::read_dir(self.dir.join("logs"))? {
            let entry = entry?;
            fs::copy(entry.path(), target.join(entry.file_name()))?;
        }
        Ok(target)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.kept {
            teardown(&self.dir);
        }
        // Closing its standard input ends the watchdog, which finds nothing left to do.
        if let Some(mut watchdog) = self.watchdog.take() {
            drop(watchdog.stdin.take());
            if !self.kept {
                let _ = watchdog.wait();
            }
        }
    }
}

/// Starts the watchdog: it sleeps on a pipe whose other end closes when this process ends, however it ends.
fn watch(dir: &Path) -> Result<Child> {
    use std::os::unix::process::CommandExt as _;
    Command::new(assets::own("contiv-e2e")?)
        .arg("watchdog")
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A group of its own: Ctrl-C in the terminal must not reach it.
        .process_group(0)
        .spawn()
        .context("starting the watchdog")
}

/// Body of the watchdog process: waits until the owner is gone, then takes its run down unless it was kept.
pub fn watchdog(dir: &Path) {
    let mut byte = [0u8; 1];
    while matches!(std::io::Read::read(&mut std::io::stdin(), &mut byte), Ok(n) if n > 0) {}
    if dir.exists() && !dir.join("kept").exists() {
        teardown(dir);
    }
}

/// Notes a process as part of the run, so that others can end it.
pub fn record(dir: &Path, name: &str, pid: u32) -> Result<()> {
    let mut file = fs::File::create(dir.join("pids").join(name))?;
    write!(file, "{pid} {}", start_time(pid).unwrap_or_default())?;
    Ok(())
}

/// Forgets a process that has ended.
pub fn forget(dir: &Path, name: &str) {
    let _ = fs::remove_file(dir.join("pids").join(name));
}

/// What a teardown took away.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// Processes ended.
    pub processes: usize,
    /// Network namespaces deleted.
    pub namespaces: usize,
    /// Control groups removed.
    pub groups: usize,
}

impl std::fmt::Display for Removed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ended {} processes, deleted {} network namespaces and {} control groups",
            self.processes, self.namespaces, self.groups
        )
    }
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.processes += other.processes;
        self.namespaces += other.namespaces;
        self.groups += other.groups;
    }
}

/// Directories of runs that were kept.
pub fn kept() -> Vec<PathBuf> {
    let entries = fs::read_dir(BASE).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|dir| dir.join("kept").exists())
        .collect()
}

/// Ends the run's processes, deletes its network namespaces and its directory. Never fails half-way:
/// each step is tried, and doing it again is harmless.
pub fn teardown(dir: &Path) -> Removed {
    let mut removed = Removed::default();
    let Some(id) = dir.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
        return removed;
    };
    let prefix = format!("{id}-");
    let namespaces: Vec<String> = netns::list()
        .into_iter()
        .filter(|name| name.starts_with(&prefix))
        .collect();

    let mut pids: Vec<u32> = recorded(&dir.join("pids"))
        .into_iter()
        .filter(|p| p.is_same())
        .map(|p| p.pid)
        .collect();
    for name in &namespaces {
        pids.extend(netns::pids(name));
    }
    pids.sort_unstable();
    pids.dedup();
    pids.retain(|pid| *pid != std::process::id());
    for pid in &pids {
        let _ = kill(Pid::from_raw(*pid as i32), Signal::SIGKILL);
    }
    removed.processes = pids.len();
    let deadline = Instant::now() + Duration::from_secs(3);
    while pids.iter().any(|pid| is_running(*pid)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    for name in &namespaces {
        if netns::delete(name).is_ok() {
            removed.namespaces += 1;
        }
    }
    removed.groups = cgroups::remove(&prefix);
    if let Ok(entries) = fs::read_dir(CNI_RESULTS) {
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
    let _ = fs::remove_dir_all(dir);
    removed
}

/// Takes down every run whose owner is gone or that was kept; runs still in progress are left alone.
/// Returns what was removed and the ids of the runs left alone.
pub fn clean() -> (Removed, Vec<String>) {
    let mut total = Removed::default();
    let mut left = Vec::new();
    for entry in fs::read_dir(BASE).into_iter().flatten().flatten() {
        let dir = entry.path();
        let owned = fs::read_to_string(dir.join("owner"))
            .ok()
            .and_then(|text| Recorded::parse(&text))
            .is_some_and(|owner| owner.is_same());
        if owned && !dir.join("kept").exists() {
            left.push(entry.file_name().to_string_lossy().into_owned());
            continue;
        }
        total += teardown(&dir);
    }
    let _ = fs::remove_dir(BASE);
    (total, left)
}

/// A process as noted in a file; the start time guards against the id having been given to another.
struct Recorded {
    pid: u32,
    started: String,
}

impl Recorded {
    fn parse(text: &str) -> Option<Self> {
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            started: started.to_owned(),
        })
    }

    fn is_same(&self) -> bool {
        start_time(self.pid).is_some_and(|started| started == self.started)
    }
}

fn recorded(dir: &Path) -> Vec<Recorded> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    files
        .filter_map(|file| Recorded::parse(&fs::read_to_string(file.path()).ok()?))
        .collect()
}

/// A child of a process; for one with a single child, that.
pub fn child_of(pid: u32) -> Option<u32> {
    let parent = pid.to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|candidate| stat_field(*candidate, 4).is_some_and(|found| found == parent))
}

/// Start time of a process in clock ticks since boot, as the kernel prints it (proc(5), `stat` field 22).
fn start_time(pid: u32) -> Option<String> {
    stat_field(pid, 22)
}

/// Whether a process exists and is more than a zombie.
fn is_running(pid: u32) -> bool {
    stat_field(pid, 3).is_some_and(|state| state != "Z" && state != "X")
}

fn stat_field(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 2 is the command in parentheses and may hold spaces; what follows starts with field 3.
    let rest = stat.rsplit_once(')')?.1;
    rest.split_whitespace().nth(field - 3).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_recognised_by_its_start_time() {
        let own = std::process::id();
        let started = start_time(own).unwrap();
        assert!(Recorded::parse(&format!("{own} {started}")).unwrap().is_same());
        assert!(!Recorded::parse(&format!("{own} {started}0")).unwrap().is_same());
        assert!(is_running(own));
    }

    #[test]
    fn a_dead_process_is_not_running() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        let started = start_time(pid);
        child.wait().unwrap();
        assert!(!is_running(pid));
        assert!(
            !Recorded {
                pid,
                started: started.unwrap_or_default()
            }
            .is_same()
        );
    }
}
