//! What the daemon's image puts on its node's disk: the CNI plugin, and the network configuration that names it.
//!
//! ```text
//! init container   contiv-node install-cni      the plugin, before the daemon starts
//! daemon           --cni-conf-dir               the configuration, once pods can be served: a node without it is not Ready
//! uninstalling     contiv-node cleanup          both are removed, the configuration first
//! ```
//!
//! # Guarantees
//! A file is whole or as it was: written beside its place and renamed, so that a runtime never runs half a plugin.

use std::convert::Infallible;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use runtime::Gate;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::agent::Snapshot;
use crate::host::{self, HostError};

/// Name of the plugin; the runtime looks for the configuration's `type` in its directories of plugins.
const PLUGIN: &str = "contiv-cni";
/// Name of the configuration. Runtimes take the first one of the directory, in the order of names.
const CONFIGURATION: &str = "10-contiv.conflist";
/// Name of the network.
const NETWORK: &str = "contiv";

/// Time before a configuration that could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Why something is not on the node's disk, or still is.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The plugin to install is not there.
    #[error("--from {}: {source}", path.display())]
    Source {
        /// Where it should be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of the node.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// What the kernel keeps.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Puts the CNI plugin where the container runtime looks for it, whole or not at all.
#[derive(Clone, Debug, Parser)]
#[command(bin_name = "contiv-node install-cni", version)]
pub struct Install {
    /// The plugin, as it comes with the daemon.
    #[arg(long, default_value = "/usr/libexec/contiv/contiv-cni")]
    pub from: PathBuf,
    /// The node's directory of CNI plugins.
    #[arg(long, default_value = "/opt/cni/bin")]
    pub cni_bin_dir: PathBuf,
}

impl Install {
    /// Installs it; returns whether anything had to be changed.
    ///
    /// # Errors
    /// [`InstallError`].
    pub fn run(&self) -> Result<bool, InstallError> {
        let plugin = fs::read(&self.from).map_err(|source| InstallError::Source {
            path: self.from.clone(),
            source,
        })?;
        replace(&self.cni_bin_dir, PLUGIN, &plugin, 0o755)
    }
}

/// Takes back what the network left on this node, for when it is uninstalled: the CNI configuration and plugin, routes,
/// the nftables table, the node's interface to VPP, and the daemon's state. Pods that run lose their network with VPP; drain the node first.
#[derive(Clone, Debug, Parser)]
#[command(bin_name = "contiv-node cleanup", version)]
pub struct Cleanup {
    /// The node's directory of CNI configurations.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// The node's directory of CNI plugins.
    #[arg(long, default_value = "/opt/cni/bin")]
    pub cni_bin_dir: PathBuf,
    /// Name of the node's own interface to VPP: if it is a veth pair it is removed.
    #[arg(long, default_value = "contiv0")]
    pub host_interface: String,
    /// The daemon's state, which is removed.
    #[arg(long, default_value = "/var/lib/contiv")]
    pub state_dir: PathBuf,
    /// Waits for a signal afterwards, as a DaemonSet's container must.
    #[arg(long)]
    pub wait: bool,
}

impl Cleanup {
    /// Removes it all. What is not there is no error; the first thing that can't be removed is, after the rest is gone.
    ///
    /// # Errors
    /// [`InstallError`].
    pub async fn run(&self) -> Result<(), InstallError> {
        // The configuration first: without it the runtime starts no pod in between.
        let configuration = remove(&self.cni_conf_dir.join(CONFIGURATION), |path| {
            fs::remove_file(path)
        });
        let plugin = remove(&self.cni_bin_dir.join(PLUGIN), |path| fs::remove_file(path));
        let kernel = host::clean(&self.host_interface)
            .await
            .map_err(InstallError::from);
        let state = entries(&self.state_dir).and_then(|entries| {
            // What is in it, not itself: it may be a mount.
            entries.iter().try_for_each(|path| {
                remove(path, |path| match path.is_dir() {
                    true => fs::remove_dir_all(path),
                    false => fs::remove_file(path),
                })
            })
        });
        configuration.and(plugin).and(kernel).and(state)
    }
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, InstallError> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(file_error(dir)(source)),
    }
}

fn remove(path: &Path, how: impl Fn(&Path) -> io::Result<()>) -> Result<(), InstallError> {
    match how(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error(path)(error)),
        _ => Ok(()),
    }
}

/// Writes a file unless it says that already; returns whether it was written.
fn replace(dir: &Path, name: &str, content: &[u8], mode: u32) -> Result<bool, InstallError> {
    let path = dir.join(name);
    let same_mode = |path: &Path| fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o777 == mode);
    if fs::read(&path).is_ok_and(|there| there == content) && same_mode(&path) {
        return Ok(false);
    }
    fs::create_dir_all(dir).map_err(file_error(dir))?;
    // Hidden and without a suffix that runtimes read.
    let partial = dir.join(format!(".{name}.partial"));
    let write = || -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&partial)?;
        // One that was left by a crash keeps its own permissions otherwise.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        fs::File::open(dir)?.sync_all()
    };
    write().map_err(file_error(&path))?;
    Ok(true)
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::File { path, source }
}

/// The network configuration that leads a runtime to this daemon.
pub fn configuration(socket: &Path, state_dir: &Path) -> String {
    let list = json!({
        // The first version with STATUS and GC.
        "cniVersion": cni_shim::LATEST_VERSION,
        "name": NETWORK,
        "plugins": [{
            "type": PLUGIN,
            "socket": socket,
            "stateDir": state_dir,
            // A runtime tells a plugin of host ports only if it says that it serves them.
            "capabilities": { cni_shim::PORT_MAPPINGS: true },
        }],
    });
    format!("{list:#}\n")
}

/// Writes the configuration once pods can be served, and leaves it there: while the daemon is away the plugin itself
/// says so, and a node that loses its configuration would lose its pods' readiness.
pub async fn announce(
    dir: PathBuf,
    content: String,
    mut snapshots: tokio::sync::watch::Receiver<Snapshot>,
    gate: Gate,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let written = async {
        let serving = |now: &Snapshot| now.vpp.is_some() && now.configured && now.compared;
        if snapshots.wait_for(serving).await.is_err() {
            // The agent ended; its own task says so.
            return;
        }
        loop {
            match replace(&dir, CONFIGURATION, content.as_bytes(), 0o644) {
                Ok(changed) => {
                    if changed {
                        tracing::info!(dir = %dir.display(), "CNI configuration written: this node takes pods");
                    }
                    return gate.open();
                }
                Err(error) => {
                    tracing::warn!(%error, "CNI configuration not written");
                    gate.close(error.to_string());
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    };
    stop.run_until_cancelled(written).await;
    stop.cancelled().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use runtime::Readiness;
    use tokio::sync::watch;

    use super::*;

    #[test]
    fn a_plugin_is_replaced_whole_and_only_when_it_differs() {
        let dir = tempfile::tempdir().unwrap();
        let install = Install {
            from: dir.path().join("image/contiv-cni"),
            cni_bin_dir: dir.path().join("opt/cni/bin"),
        };
        let error = install.run().unwrap_err().to_string();
        assert!(error.starts_with("--from "), "{error}");
        fs::create_dir_all(dir.path().join("image")).unwrap();
        fs::write(&install.from, "one").unwrap();
        assert!(install.run().unwrap());
        let placed = install.cni_bin_dir.join("contiv-cni");
        assert_eq!(fs::metadata(&placed).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(!install.run().unwrap(), "nothing to do");
        // A plugin that runs can't be written to, but it can be replaced.
        let running = fs::File::open(&placed).unwrap();
        fs::write(&install.from, "two").unwrap();
        assert!(install.run().unwrap());
        assert_eq!(io::read_to_string(running).unwrap(), "one");
        assert_eq!(fs::read_to_string(&placed).unwrap(), "two");
        let names: Vec<_> = entries(&install.cni_bin_dir).unwrap();
        assert_eq!(names, [placed], "nothing is left beside it");
    }

    /// What the runtime reads is what the shim accepts, and it leads to the daemon.
    #[test]
    fn the_configuration_is_one_the_plugin_takes() {
        let text = configuration(Path::new("/run/x.sock"), Path::new("/var/lib/x"));
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        // libcni hands a plugin its own part with name and version of the list.
        let mut plugin = list["plugins"][0].clone();
        plugin["name"] = list["name"].clone();
        plugin["cniVersion"] = list["cniVersion"].clone();
        let config = cni_shim::NetConf::parse(plugin.to_string().as_bytes()).unwrap();
        assert_eq!(config.socket(), Path::new("/run/x.sock"));
        assert_eq!(config.state_dir(), Path::new("/var/lib/x"));
        assert_eq!(list["plugins"][0]["type"], "contiv-cni");
        assert_eq!(list["plugins"][0]["capabilities"]["portMappings"], true);
        assert_eq!(config.refuse_unsupported(), Ok(()));
    }

    #[tokio::test]
    async fn the_configuration_is_written_when_pods_can_be_served_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.d");
        let readiness = Readiness::default();
        let gate = readiness.gate("cni", "not yet");
        let stop = CancellationToken::new();
        let (sender, receiver) = watch::channel(Snapshot::default());
        let task = tokio::spawn(announce(
            path.clone(),
            "{}".to_owned(),
            receiver,
            gate.clone(),
            stop.clone(),
        ));
        sender.send_modify(|now| now.configured = true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!path.exists(), "without VPP no pod can be served");
        sender.send_modify(|now| {
            now.vpp = Some("26.06".to_owned());
            now.compared = true;
        });
        let written = async {
            while !gate.is_open() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), written)
            .await
            .unwrap();
        sender.send_modify(|now| now.vpp = None);
        stop.cancel();
        task.await.unwrap().unwrap();
        assert_eq!(fs::read_to_string(path.join(CONFIGURATION)).unwrap(), "{}");
    }
}
