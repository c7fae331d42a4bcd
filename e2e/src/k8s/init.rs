//! First process of a node: makes the node's file system, starts its services, restarts those that end.
//!
//! It runs in new mount, PID, IPC and host name namespaces (`unshare`) within the node's network namespace, and is to the node
//! what systemd is to a real one. When it ends, the kernel ends every process of the node and forgets its mounts.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{chdir, pivot_root};
use serde::{Deserialize, Serialize};

use super::cgroups;

/// Where a service's process id within the node is written.
pub const PIDS: &str = "/run/node";
const PAUSE: Duration = Duration::from_millis(50);
/// As systemd's `RestartSec` for kubelet and containerd is some seconds; shorter, since people wait for it here.
const RESTART_AFTER: Duration = Duration::from_millis(500);

/// What a node is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// Host name, and name of the Node.
    pub name: String,
    /// Directory of the node's own files, the same path within and without.
    pub dir: PathBuf,
    /// Control group, below that of all runs.
    pub cgroup: String,
    /// Directories that are empty on a fresh node, whatever the machine has there.
    pub empty: Vec<PathBuf>,
    /// Files and directories of the machine and where the node has them.
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Small files written before anything starts.
    pub files: Vec<(PathBuf, String)>,
    /// Programs, in order.
    pub services: Vec<Service>,
}

/// A program that the node runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Service {
    /// Name, also of its log.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Where its output goes.
    pub log: PathBuf,
    /// When the next one may start.
    pub until: Until,
}

/// How far a service must be before the next one starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Until {
    /// At once.
    Started,
    /// When this path is there.
    Path(PathBuf),
    /// When it has ended well. It is not started again.
    Done,
}

/// Kernel settings that kubelet wants and would set for the whole machine. On a node they are files that say what it wants to
/// read: nothing of the machine is changed.
const TUNABLES: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Body of the process: returns only with an error.
pub fn main(config: &Path) -> Result<()> {
    let text = fs::read_to_string(config).with_context(|| format!("reading {}", config.display()))?;
    let config: Config = serde_json::from_str(&text)?;
    cgroups::enter(&config.cgroup)?;
    unshare(CloneFlags::CLONE_NEWCGROUP).context("making a cgroup namespace")?;
    make_root(&config).context("making the node's file system")?;
    fs::write("/proc/sys/kernel/hostname", &config.name)?;
    fs::create_dir_all(PIDS)?;
    Supervisor::default().run(config.services)
}

fn plain(source: &str, target: &Path, kind: &str, options: Option<&str>) -> Result<()> {
    fs::create_dir_all(target)?;
    mount(Some(source), target, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("mounting {kind} at {}", target.display()))
}

fn bind(source: &Path, target: &Path, flags: MsFlags) -> Result<()> {
    let none: Option<&str> = None;
    if source.is_dir() {
        fs::create_dir_all(target)?;
    } else {
        fs::create_dir_all(target.parent().context("a file has a directory")?)?;
        fs::File::create(target)?;
    }
    let what = || format!("binding {} to {}", source.display(), target.display());
    mount(Some(source), target, none, MsFlags::MS_BIND | flags, none).with_context(what)
}

/// The path below the new root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Lays a writable layer in memory over the machine's root file system and makes that the node's root.
fn make_root(config: &Config) -> Result<()> {
    let none: Option<&str> = None;
    let memory = config.dir.join("memory");
    plain("tmpfs", &memory, "tmpfs", Some("mode=755"))?;
    let (upper, work, root) = (memory.join("upper"), memory.join("work"), memory.join("root"));
    for dir in [&upper, &work, &root] {
        fs::create_dir(dir)?;
    }
    let options = format!(
        "lowerdir=/,upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    plain("overlay", &root, "overlay", Some(&options))?;
    for path in &config.empty {
        plain("tmpfs", &below(&root, path), "tmpfs", Some("mode=755"))?;
    }
    bind(&config.dir, &below(&root, &config.dir), MsFlags::empty())?;
    for (from, to) in &config.binds {
        bind(from, &below(&root, to), MsFlags::empty())?;
    }
    for (path, text) in &config.files {
        let path = below(&root, path);
        fs::create_dir_all(path.parent().context("a file has a directory")?)?;
        // What the machine has there may be a link that leads out of the node.
        let _ = fs::remove_file(&path);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    plain("proc", &root.join("proc"), "proc", None)?;
    plain("sysfs", &root.join("sys"), "sysfs", None)?;
    cgroups::mount_all(&root)?;
    bind(Path::new("/dev"), &root.join("dev"), MsFlags::MS_REC)?;
    // VPP keeps shared memory there, under names that another node's VPP has too.
    plain("tmpfs", &root.join("dev/shm"), "tmpfs", Some("mode=1777"))?;
    for (name, value) in TUNABLES {
        let target = root.join("proc/sys").join(name);
        if target.exists() {
            let file = below(&root, Path::new(PIDS)).join(name.replace('/', "."));
            fs::create_dir_all(file.parent().context("a file has a directory")?)?;
            fs::write(&file, format!("{value}\n"))?;
            mount(Some(&file), &target, none, MsFlags::MS_BIND, none)
                .with_context(|| format!("covering {}", target.display()))?;
        }
    }
    let old = root.join("mnt");
    fs::create_dir_all(&old)?;
    chdir(&root)?;
    pivot_root(".", &old).context("changing the root directory")?;
    chdir("/")?;
    umount2("/mnt", MntFlags::MNT_DETACH).context("letting go of the machine's file system")?;
    // Containers' mounts are shared with the node, as systemd makes them; none reaches the machine.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none)?;
    Ok(())
}

/// Starts services and reaps what ends: services and orphans alike.
#[derive(Default)]
struct Supervisor {
    running: BTreeMap<i32, Service>,
    due: Vec<(Instant, Service)>,
    ended_well: Vec<String>,
}

impl Supervisor {
    fn run(mut self, services: Vec<Service>) -> Result<()> {
        for service in services {
            let (name, until) = (service.name.clone(), service.until.clone());
            self.start(service)?;
            loop {
                let ready = match &until {
                    Until::Started => true,
                    Until::Path(path) => path.exists(),
                    Until::Done => self.ended_well.contains(&name),
                };
                if ready {
                    break;
                }
                self.turn()?;
            }
        }
        loop {
            self.turn()?;
        }
    }

    /// Reaps and restarts once, then rests.
    fn turn(&mut self) -> Result<()> {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => self.ended(pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, ..)) => self.ended(pid.as_raw(), -1),
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => break,
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => bail!("waiting for processes: {error}"),
            }
        }
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.due)
            .into_iter()
            .partition(|(when, _)| *when <= now);
        self.due = later;
        for (_, service) in due {
            self.start(service)?;
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }

    fn ended(&mut self, pid: i32, code: i32) {
        let Some(service) = self.running.remove(&pid) else {
            return;
        };
        if let Ok(mut log) = fs::File::options().append(true).open(&service.log) {
            let _ = writeln!(log, "[node-init] {} has ended with {code}", service.name);
        }
        if matches!(service.until, Until::Done) && code == 0 {
            self.ended_well.push(service.name);
        } else {
            self.due.push((Instant::now() + RESTART_AFTER, service));
        }
    }

    fn start(&mut self, service: Service) -> Result<()> {
        let (program, arguments) = service.command.split_first().context("a service has a program")?;
        let log = fs::File::options().create(true).append(true).open(&service.log)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        fs::write(Path::new(PIDS).join(&service.name), child.id().to_string())?;
        self.running.insert(child.id() as i32, service);
        Ok(())
    }
}
