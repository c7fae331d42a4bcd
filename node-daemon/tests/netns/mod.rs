//! Network namespaces for tests, removed when dropped.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::unwrap_used,
    reason = "a test fails where something is not as expected"
)]

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, setns};

/// Whether namespaces can be made here; says so if not.
pub fn may_run() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: network namespaces need root");
    }
    root
}

/// A network namespace.
pub struct Netns {
    pub name: String,
    pub path: PathBuf,
}

impl Netns {
    /// Makes one, with a name that no other test process uses.
    pub fn new(name: &str) -> Self {
        let name = format!("cv-cni-{}-{name}", std::process::id());
        ip(&["netns", "add", &name]);
        let path = Path::new("/run/netns").join(&name);
        Self { name, path }
    }

    /// Runs something in it, in a thread that ends with it.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let body = || {
                setns(File::open(&self.path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
                work()
            };
            match scope.spawn(body).join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Whether a `/proc/…/ns/net` link shows this one.
    pub fn is(&self, link: Option<&Path>) -> bool {
        let inode = std::fs::metadata(&self.path).unwrap().ino();
        link.is_some_and(|link| link.as_os_str() == format!("net:[{inode}]").as_str())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs `ip` and returns what it prints.
pub fn ip(arguments: &[&str]) -> String {
    let done = Command::new("ip").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {arguments:?}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}
