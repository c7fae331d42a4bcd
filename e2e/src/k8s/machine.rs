//! A node of the cluster: its namespaces, its containerd and kubelet, and ways to look into it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::init::{Config, PIDS, Service, Until};
use super::plane::{CLUSTER_DNS, CLUSTER_DOMAIN, Plane};
use crate::assets::{self, Programs};
use crate::dataplane;
use crate::netns::Namespace;
use crate::node::node_name;
use crate::process::{Process, Program};
use crate::run::{self, Run};
use crate::underlay::{NodeAddresses, Underlay};
use crate::wait::{eventually, expect};

/// Socket of a node's containerd, within the node.
pub const CONTAINERD: &str = "/run/containerd/containerd.sock";
/// Where a node finds the images' archives.
const IMAGES: &str = "/var/lib/images";
/// Directories that a fresh node has empty. containerd's and kubelet's are mounts of their own besides: an overlay cannot be
/// the upper layer of another.
const EMPTY: [&str; 13] = [
    "/run",
    "/tmp",
    "/etc/cni",
    "/etc/contiv",
    "/etc/containerd",
    "/etc/kubernetes",
    "/opt/cni",
    "/var/lib/cni",
    "/var/lib/contiv",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
];

/// What a node is started with beside its number.
#[derive(Clone, Debug)]
pub struct Outfit {
    /// Others' programs.
    pub programs: Programs,
    /// Directory of image archives.
    pub images: PathBuf,
    /// A VPP to run as a service of the node; otherwise the chart brings one.
    pub vpp: Option<PathBuf>,
}

/// A running node.
#[derive(Debug)]
pub struct Machine {
    number: u8,
    namespace: Namespace,
    addresses: NodeAddresses,
    init: Process,
}

impl Machine {
    /// Makes the node's namespaces and starts its services. Nothing says yet that they are ready.
    pub fn start(run: &Run, underlay: &Underlay, plane: &Plane, outfit: &Outfit, number: u8) -> Result<Self> {
        let name = node_name(number);
        let dir = run.subdir(&name)?;
        let namespace = Namespace::create(&run.netns(&format!("n{number}")))?;
        let addresses = NodeAddresses::new(number);
        underlay.plug(&namespace, addresses)?;
        namespace.sysctl("net.ipv4.ip_forward", "1")?;
        namespace.sysctl("net.ipv6.conf.all.forwarding", "1")?;

        let host = [IpAddr::V4(addresses.host4()), IpAddr::V6(addresses.host6())];
        plane.write_node_credentials(&dir, &name, &host)?;
        fs::write(dir.join("kubelet.yaml"), kubelet_config(&dir)?)?;
        fs::write(dir.join("containerd.toml"), CONTAINERD_CONFIG)?;
        let config = init_config(run, outfit, &name, &dir, &host)?;
        let file = dir.join("init.json");
        fs::write(&file, serde_json::to_string_pretty(&config)?)?;

        // Not `ip netns exec`: that mounts a /sys of its own, without the control groups that init needs.
        let init = Program::new(format!("{name}-init"), "nsenter")
            .arg(format!("--net={}", namespace.path().display()))
            .arg("unshare")
            .arg("--mount")
            .option("--propagation", "private")
            .arg("--pid")
            .arg("--fork")
            .arg("--kill-child")
            .arg("--uts")
            .arg("--ipc")
            .arg(assets::own("contiv-e2e")?)
            .arg("node-init")
            .arg(file);
        let init = Process::start(run, init)?;
        Ok(Self {
            number,
            namespace,
            addresses,
            init,
        })
    }

    /// Number, from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Name of the Node object, and the node's host name.
    pub fn name(&self) -> String {
        node_name(self.number)
    }

    /// Addresses of the node and of its VPP.
    pub fn addresses(&self) -> NodeAddresses {
        self.addresses
    }

    /// The node's network namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Error with the end of the log, if the node is no longer running.
    pub fn check(&mut self) -> Result<()> {
        self.init.check()
    }

    /// Runs a program on the node, in all of its namespaces, and returns what it printed.
    pub async fn exec(&self, command: &[&str]) -> Result<String> {
        let outer = self.init.id().context("the node does not run")?;
        let inner = run::child_of(outer).context("the node has no first process")?;
        let output = tokio::process::Command::new("nsenter")
            .args(["--target", &inner.to_string(), "--all", "--"])
            .args(command)
            .kill_on_drop(true)
            .output()
            .await
            .context("running nsenter (package util-linux)")?;
        if !output.status.success() {
            bail!(
                "{} on {}: {}{}",
                command.join(" "),
                self.name(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Process id of a service, as the node counts.
    async fn pid_of(&self, service: &str) -> Result<String> {
        let file = format!("{PIDS}/{service}");
        Ok(self.exec(&["cat", &file]).await?.trim().to_owned())
    }

    /// Ends a service with SIGTERM, or SIGKILL if `crash`; the node starts it again. Waits until it is another process.
    pub async fn restart(&self, service: &str, crash: bool) -> Result<()> {
        let before = self.pid_of(service).await?;
        let signal = if crash { "-KILL" } else { "-TERM" };
        self.exec(&["kill", signal, &before]).await?;
        eventually(
            &format!("{service} of {} runs again", self.name()),
            Duration::from_secs(60),
            async || {
                let now = self.pid_of(service).await?;
                Ok(expect(now != before, || format!("it is still process {now}")))
            },
        )
        .await
    }

    /// Cuts the power: everything of the node ends at once.
    pub fn power_off(&mut self) {
        self.init.kill();
    }

    /// Leaves everything running when this value is dropped.
    pub fn leave(&mut self) {
        self.init.leave();
        self.namespace.leave();
    }
}

fn init_config(run: &Run, outfit: &Outfit, name: &str, dir: &Path, host: &[IpAddr]) -> Result<Config> {
    let logs = run.dir().join("logs");
    let service = |what: &str, command: Vec<String>, until: Until| Service {
        name: what.to_owned(),
        command,
        log: logs.join(format!("{name}-{what}.log")),
        until,
    };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut services = Vec::new();
    if let Some(vpp) = &outfit.vpp {
        let command = words(&format!(
            "{} -c {}",
            vpp.display(),
            dir.join("vpp.conf").display()
        ));
        services.push(service("vpp", command, Until::Path("/run/vpp/api.sock".into())));
    }
    let command = words(&format!(
        "/usr/local/bin/containerd --config {} --address {CONTAINERD} --log-level info",
        dir.join("containerd.toml").display()
    ));
    services.push(service("containerd", command, Until::Path(CONTAINERD.into())));
    for image in archives(&outfit.images)? {
        let file = image
            .file_name()
            .context("an archive has a name")?
            .to_string_lossy();
        let command = words(&format!(
            "/usr/local/bin/ctr --address {CONTAINERD} --namespace k8s.io images import --local --no-unpack {IMAGES}/{file}"
        ));
        services.push(service("images", command, Until::Done));
    }
    let node_ip: Vec<String> = host.iter().map(ToString::to_string).collect();
    let command = words(&format!(
        "/usr/local/bin/kubelet --config={0}/kubelet.yaml --kubeconfig={0}/kubelet.kubeconfig --hostname-override={name} \
         --node-ip={1} --root-dir=/var/lib/kubelet --node-labels=topology.kubernetes.io/zone={2} --v=2",
        dir.display(),
        node_ip.join(","),
        // Two zones, so that what looks at zones has something to look at.
        if name.ends_with(['1', '3', '5', '7', '9']) {
            "zone-a"
        } else {
            "zone-b"
        },
    ));
    services.push(service("kubelet", command, Until::Started));

    let programs = &outfit.programs;
    let mut binds: Vec<(PathBuf, PathBuf)> = ["kubelet", "containerd", "containerd-shim-runc-v2", "ctr"]
        .into_iter()
        .map(|program| Ok((programs.path(program)?, Path::new("/usr/local/bin").join(program))))
        .collect::<Result<_>>()?;
    for plugin in ["loopback", "portmap"] {
        binds.push((programs.path(plugin)?, Path::new("/opt/cni/bin").join(plugin)));
    }
    binds.push((outfit.images.clone(), IMAGES.into()));
    binds.push((logs.clone(), logs.clone()));
    let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{} {name}\n", host[0]);
    if let Some(vpp) = &outfit.vpp {
        fs::write(
            dir.join("vpp.conf"),
            dataplane::config(vpp, Path::new("/run/vpp"))?,
        )?;
    }
    let mut files = vec![
        ("/etc/hostname".into(), format!("{name}\n")),
        ("/etc/hosts".into(), hosts),
        // There is no name server outside the cluster.
        ("/etc/resolv.conf".into(), String::new()),
    ];
    if outfit.vpp.is_some() {
        // VPP makes its socket where it is told, and no directory for it.
        files.push(("/run/vpp/.directory".into(), String::new()));
    }
    Ok(Config {
        name: name.to_owned(),
        dir: dir.to_owned(),
        cgroup: format!("{}-{name}", run.id()),
        empty: EMPTY.iter().map(PathBuf::from).collect(),
        binds,
        files,
        services,
    })
}

/// Image archives of a directory, in the order of their names.
fn archives(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut files = entries
        .map(|entry| Ok(entry?.path()))
        .filter(|path| {
            path.as_ref()
                .map_or(true, |path| path.extension().is_some_and(|end| end == "tar"))
        })
        .collect::<io::Result<Vec<_>>>()?;
    files.sort();
    if files.is_empty() {
        bail!("{} holds no images; `make images` makes them", dir.display());
    }
    Ok(files)
}

fn kubelet_config(dir: &Path) -> Result<String> {
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": dir.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": dir.join("kubelet-server.crt"),
        "tlsPrivateKeyFile": dir.join("kubelet-server.key"),
        "clusterDomain": CLUSTER_DOMAIN,
        "clusterDNS": [CLUSTER_DNS],
        "resolvConf": "/etc/resolv.conf",
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD}"),
        "cgroupDriver": "cgroupfs",
        // The node's groups are one branch of the machine's, which may be of version 1 and lack controllers.
        "failCgroupV1": false,
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        // The root file system is in memory; there is no disk whose use could be limited.
        "localStorageCapacityIsolation": false,
        "evictionHard": {"memory.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "failSwapOn": false,
        // Lowering it takes a right that sandboxed machines lack.
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        "shutdownGracePeriod": "0s",
    });
    Ok(serde_norway::to_string(&config)?)
}

/// Settings for containerd 2.2 on a machine that may not have the rights of a real one.
const CONTAINERD_CONFIG: &str = r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "contiv.local/pause:e2e"

[plugins."io.containerd.cri.v1.runtime"]
# A sandboxed machine may raise such scores and not lower them.
restrict_oom_score_adj = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "runc"
SystemdCgroup = false
"#;

/// Names of nodes and their values for the chart's `uplink.nodes`.
pub fn uplinks(count: u8) -> BTreeMap<String, serde_json::Value> {
    (1..=count)
        .map(|number| {
            let addresses = NodeAddresses::new(number);
            let value = json!({"addresses": [format!("{}/24", addresses.vpp4()), format!("{}/64", addresses.vpp6())]});
            (node_name(number), value)
        })
        .collect()
}
