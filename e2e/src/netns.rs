//! Network namespaces and the links in them, by the `ip` command.

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

const DIRECTORY: &str = "/run/netns";

/// Names of all network namespaces of the machine.
pub fn list() -> Vec<String> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Processes that live in a namespace.
pub fn pids(name: &str) -> Vec<u32> {
    let Ok(output) = Command::new("ip")
        .args(["netns", "pids", name])
        .stderr(Stdio::null())
        .output()
    else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.trim().parse().ok())
        .collect()
}

/// Deletes a namespace; what lives in it keeps it alive without its name.
pub fn delete(name: &str) -> Result<()> {
    ip(["netns", "delete", name])
}

/// A named network namespace, deleted when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    leave: bool,
}

impl Namespace {
    /// Makes the namespace with its loopback up. IPv6 addresses are usable at once: duplicate address
    /// detection takes a second and nobody else can have these addresses.
    pub fn create(name: &str) -> Result<Self> {
        ip(["netns", "add", name])?;
        let created = Self {
            name: name.to_owned(),
            leave: false,
        };
        created.ip_batch("link set lo up\n")?;
        created.sysctl("net.ipv6.conf.all.accept_dad", "0")?;
        created.sysctl("net.ipv6.conf.default.accept_dad", "0")?;
        Ok(created)
    }

    /// Name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of the namespace's file.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.name)
    }

    /// A command that will run in the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        command(&self.name, program)
    }

    /// Sets a kernel parameter of the namespace, by its dotted name.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        let output = self
            .command("sh")
            .arg("-c")
            .arg(format!("echo {value} > {path}"))
            .output()?;
        if !output.status.success() {
            bail!(
                "setting {name} in {}: {}",
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// Runs lines of `ip` commands in the namespace, all or an error that names the line.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("running ip")?;
        if let Some(stdin) = child.stdin.as_mut() {
            stdin.write_all(lines.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "ip in {}: {}",
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// Output of an `ip` command in the namespace.
    pub fn ip_output(&self, args: &[&str]) -> Result<String> {
        let output = Command::new("ip")
            .args(["-n", &self.name])
            .args(args)
            .output()
            .context("running ip")?;
        if !output.status.success() {
            bail!(
                "ip {} in {}: {}",
                args.join(" "),
                self.name,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A counter of an interface of the namespace, such as `rx_packets`; 0 for an interface that is not there.
    pub fn counter(&self, interface: &str, counter: &str) -> u64 {
        let output = self
            .command("cat")
            .arg(format!("/sys/class/net/{interface}/statistics/{counter}"))
            .output();
        output
            .ok()
            .and_then(|out| String::from_utf8_lossy(&out.stdout).trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Namespace {
    /// Leaves the namespace when this value is dropped; the run's teardown deletes it.
    pub fn leave(&mut self) {
        self.leave = true;
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.leave && std::path::Path::new(DIRECTORY).join(&self.name).exists() {
            let _ = delete(&self.name);
        }
    }
}

/// A command that will run in a namespace given by name.
pub fn command(netns: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]).arg(program);
    command
}

/// Runs `ip` with these arguments.
pub fn ip<const N: usize>(args: [&str; N]) -> Result<()> {
    let output = Command::new("ip")
        .args(args)
        .output()
        .context("running ip (package iproute2)")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
