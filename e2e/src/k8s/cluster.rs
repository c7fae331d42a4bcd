//! A cluster: control plane, nodes, and our network on them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use kube::Client;
use nix::sys::statvfs::statvfs;

use super::machine::{Machine, Outfit};
use super::plane::{Plane, free_port};
use crate::assets::Programs;
use crate::cluster::require_root;
use crate::dataplane;
use crate::kubectl::Kubectl;
use crate::run::{self, Run};
use crate::underlay::Underlay;

/// Marks the directory of a run that is such a cluster.
const MARK: &str = "cluster";
/// Memory that a cluster takes whatever its nodes, and that each node takes beside that, in MiB; seen with images of debug builds.
const MEMORY: (u64, u64) = (1200, 700);
/// Room for logs, the store's data and sockets, in MiB.
const ROOM: u64 = 500;

/// How a cluster is to be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Port of loopback for the API server; 0 takes a free one.
    pub port: u16,
    /// A VPP binary that runs on each node in place of vpp-sim.
    pub vpp: Option<PathBuf>,
}

/// A running cluster. Fields are dropped in this order: nodes before what they stand on.
pub struct Cluster {
    machines: BTreeMap<u8, Machine>,
    kubectl: Kubectl,
    client: Client,
    plane: Plane,
    underlay: Underlay,
    outfit: Outfit,
    run: Run,
}

impl Cluster {
    /// Starts everything up to the control plane, with no node yet. Needs root.
    pub async fn control_plane(options: &Options) -> Result<Self> {
        require_root()?;
        dataplane::check(options.vpp.as_deref())?;
        // Before what takes minutes.
        let port = free_port(options.port)?;
        let programs = Programs::ready()?;
        let images = Self::images_dir();
        crate::images::build(&images)?;
        let run = Run::start()?;
        fs::write(run.dir().join(MARK), "")?;
        enough_room(run.dir())?;
        let underlay = Underlay::create(&run)?;
        let plane = Plane::start(&run, &underlay, &programs, port).await?;
        let kubectl = Kubectl::new(
            programs.path("kubectl")?,
            plane.kubeconfig().to_owned(),
            run.subdir("kubectl-cache")?,
        );
        let client = plane.client().await?;
        Ok(Self {
            machines: BTreeMap::new(),
            kubectl,
            client,
            plane,
            underlay,
            outfit: Outfit {
                programs,
                images,
                vpp: options.vpp.clone(),
            },
            run,
        })
    }

    /// Starts nodes 1 to `nodes`, installs our network and CoreDNS, and waits until pods can run.
    pub async fn bring_up(&mut self, nodes: u8) -> Result<()> {
        enough_memory(nodes)?;
        for number in 1..=nodes {
            self.start_node(number)?;
        }
        self.install().await?;
        self.wait_nodes_ready().await?;
        self.wait_system_ready().await
    }

    /// Makes a node and starts it.
    pub fn start_node(&mut self, number: u8) -> Result<()> {
        let machine = Machine::start(&self.run, &self.underlay, &self.plane, &self.outfit, number)?;
        self.machines.insert(number, machine);
        Ok(())
    }

    /// Switches a node off for good; its Node object stays until somebody deletes it.
    pub fn remove_node(&mut self, number: u8) -> Result<()> {
        let mut machine = self
            .machines
            .remove(&number)
            .with_context(|| format!("no node {number}"))?;
        machine.power_off();
        Ok(())
    }

    /// Error if a node has ended; starts again what may end.
    pub fn check(&mut self) -> Result<()> {
        self.plane.revive()?;
        self.machines.values_mut().try_for_each(Machine::check)
    }

    /// Running nodes, in the order of their numbers.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// A node by its number.
    pub fn machine(&self, number: u8) -> Result<&Machine> {
        self.machines
            .get(&number)
            .with_context(|| format!("no node {number}"))
    }

    /// The VPP that nodes run as a service, if it was given.
    pub fn vpp(&self) -> Option<&Path> {
        self.outfit.vpp.as_deref()
    }

    /// The command line with all rights.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Kubeconfig with all rights, for this machine.
    pub fn kubeconfig(&self) -> &Path {
        self.plane.kubeconfig()
    }

    /// The run, for those who start more programs.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Leaves everything running when this value is dropped; [`down`] ends it.
    pub fn keep(mut self) -> Result<()> {
        self.run.keep()?;
        self.machines.values_mut().for_each(Machine::leave);
        self.plane.leave();
        self.underlay.leave();
        Ok(())
    }
}

/// Directories of clusters that were kept.
pub fn kept() -> Vec<PathBuf> {
    run::kept()
        .into_iter()
        .filter(|dir| dir.join(MARK).exists())
        .collect()
}

/// Takes down the clusters that were kept. Returns what was removed from the machine.
pub fn down() -> run::Removed {
    let mut total = run::Removed::default();
    for dir in kept() {
        total += run::teardown(&dir);
    }
    total
}

fn enough_memory(nodes: u8) -> Result<()> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let available = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?
                .split_whitespace()
                .next()?
                .parse::<u64>()
                .ok()
        })
        .context("/proc/meminfo does not say what is available")?
        / 1024;
    judge_memory(nodes, available)
}

fn judge_memory(nodes: u8, available: u64) -> Result<()> {
    let needed = MEMORY.0 + MEMORY.1 * u64::from(nodes);
    ensure!(
        available >= needed,
        "{nodes} nodes need about {needed} MiB of memory and {available} MiB are available; NODES=… takes fewer nodes"
    );
    Ok(())
}

fn enough_room(dir: &Path) -> Result<()> {
    let room = statvfs(dir).with_context(|| format!("looking at {}", dir.display()))?;
    judge_room(
        dir,
        room.blocks_available() * room.fragment_size() / (1024 * 1024),
    )
}

fn judge_room(dir: &Path, free: u64) -> Result<()> {
    ensure!(
        free >= ROOM,
        "{} has {free} MiB free and a cluster needs {ROOM} there: make room on that file system",
        dir.display()
    );
    Ok(())
}

/// Starts a cluster, tells how it goes, and leaves it running.
pub async fn up(nodes: u8, options: &Options, mut say: impl FnMut(&str)) -> Result<PathBuf> {
    require_root()?;
    if let Some(dir) = kept().first() {
        bail!(
            "a cluster is up already (KUBECONFIG={}); `make cluster-down` ends it",
            dir.join("kubeconfig").display()
        );
    }
    let mut cluster = Cluster::control_plane(options).await?;
    say("etcd, API server, controllers and scheduler run");
    if let Err(error) = cluster.bring_up(nodes).await {
        let logs = cluster.run().save_logs("cluster")?;
        bail!("{error:#}\nlogs: {}", logs.display());
    }
    say(&format!(
        "{nodes} nodes are Ready, pods can run and find Services by name"
    ));
    let kubeconfig = cluster.kubeconfig().to_owned();
    cluster.keep()?;
    Ok(kubeconfig)
}

/// How long a test waits for a pod; a busy machine takes its time.
pub const POD_PATIENCE: Duration = Duration::from_secs(90);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_is_said_with_what_to_do() {
        assert!(judge_memory(2, 2600).is_ok());
        let error = judge_memory(3, 2600).unwrap_err().to_string();
        assert_eq!(
            error,
            "3 nodes need about 3300 MiB of memory and 2600 MiB are available; NODES=… takes fewer nodes"
        );
        let dir = Path::new("/run/here");
        assert!(judge_room(dir, ROOM).is_ok());
        let error = judge_room(dir, 12).unwrap_err().to_string();
        assert_eq!(
            error,
            "/run/here has 12 MiB free and a cluster needs 500 there: make room on that file system"
        );
    }
}
