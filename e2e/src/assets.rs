//! Where the programs are: ours beside this one, others' built once by `third-party/build.sh`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Path of a binary of this workspace, by its name.
///
/// They are looked for beside the running program (`target/<profile>`, also from `deps/` for tests) or in `CONTIV_BIN_DIR`.
pub fn own(name: &str) -> Result<PathBuf> {
    let path = bin_dir()?.join(name);
    if !path.is_file() {
        bail!(
            "{} is not built; `cargo build --workspace --bins` builds it",
            path.display()
        );
    }
    Ok(path)
}

/// Path of a binary of this workspace that is linked statically, so that it runs on any distribution or in an empty image.
pub fn own_static(name: &str) -> Result<PathBuf> {
    let target = bin_dir()?.join("../static");
    let built = std::fs::read_dir(&target).ok().and_then(|entries| {
        let paths = entries
            .flatten()
            .map(|entry| entry.path().join("release").join(name));
        paths.into_iter().find(|path| path.is_file())
    });
    built.with_context(|| format!("the static {name} is not built; `make build-static` builds it"))
}

fn bin_dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("CONTIV_BIN_DIR") {
        return Ok(dir.into());
    }
    let executable = std::env::current_exe().context("finding this program's own path")?;
    let dir = executable.parent().context("this program has no directory")?;
    let dir = if dir.ends_with("deps") {
        dir.parent().context("deps/ has no parent")?
    } else {
        dir
    };
    Ok(dir.to_owned())
}

/// Root of the source tree.
pub fn source_root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Where logs of failed tests are kept.
pub fn logs_dir() -> Result<PathBuf> {
    let dir = bin_dir()?.join("e2e-logs");
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// The programs of others that a cluster needs.
#[derive(Clone, Debug)]
pub struct ThirdParty {
    /// The Kubernetes API server.
    pub apiserver: PathBuf,
    /// Its store.
    pub etcd: PathBuf,
    /// Runs CNI plugins as a container runtime does.
    pub cnitool: PathBuf,
    /// The command line, for people and for the demo.
    pub kubectl: PathBuf,
}

impl ThirdParty {
    /// Finds the programs, building what is missing; progress goes to standard error.
    ///
    /// `KUBEBUILDER_ASSETS` is used when it holds both kube-apiserver and etcd; an installed kubectl is used as it is.
    pub fn ready() -> Result<Self> {
        let given = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let given = given.filter(|dir| {
            ["kube-apiserver", "etcd"]
                .iter()
                .all(|name| dir.join(name).is_file())
        });
        let (apiserver, etcd) = match given {
            Some(dir) => (dir.join("kube-apiserver"), dir.join("etcd")),
            None => (built("kube-apiserver")?, built("etcd")?),
        };
        let kubectl = match installed("kubectl") {
            Some(path) => path,
            None => built("kubectl")?,
        };
        Ok(Self {
            apiserver,
            etcd,
            cnitool: built("cnitool")?,
            kubectl,
        })
    }
}

/// The programs of others that a whole cluster is made of, built when missing.
#[derive(Clone, Debug)]
pub struct Programs(BTreeMap<&'static str, PathBuf>);

/// In the order in which waiting for them is least dull: short ones first, the API server last of the long ones.
const PROGRAMS: [&str; 12] = [
    "etcd",
    "loopback",
    "portmap",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "kubelet",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
    "kubectl",
    "coredns",
];

impl Programs {
    /// Finds the programs, building what is missing; progress goes to standard error.
    pub fn ready() -> Result<Self> {
        if installed("runc").is_none() {
            bail!("runc is not installed: `make setup` installs it (Debian's package runc)");
        }
        let paths = build(&PROGRAMS)?;
        Ok(Self(PROGRAMS.into_iter().zip(paths).collect()))
    }

    /// Path of one of them.
    pub fn path(&self, program: &str) -> Result<PathBuf> {
        let path = self.0.get(program);
        path.cloned()
            .with_context(|| format!("{program} is none of the cluster's programs"))
    }
}

/// Path of a program of others, built first when the cache does not have it.
pub fn built(program: &str) -> Result<PathBuf> {
    build(&[program])?.pop().context("build.sh names no path")
}

fn build(programs: &[&str]) -> Result<Vec<PathBuf>> {
    let script = source_root().join("e2e/third-party/build.sh");
    let output = Command::new(&script)
        .args(programs)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    if !output.status.success() {
        bail!("{} could not be built; see above", programs.join(", "));
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(PathBuf::from)
        .collect())
}

/// Path of a program of this machine, if it is installed.
pub fn installed(program: &str) -> Option<PathBuf> {
    // Root's own directories are not in everybody's PATH.
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

/// The CRD of ClusterNetworkPolicy, of the version that `third-party/network-policy-api` pins.
pub fn cluster_network_policy_crd() -> Result<PathBuf> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Module {
        dir: PathBuf,
    }
    let module = source_root().join("e2e/third-party/network-policy-api");
    let output = Command::new("go")
        .args(["mod", "download", "-json", "sigs.k8s.io/network-policy-api"])
        .env("GOWORK", "off")
        .current_dir(&module)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running go in {}", module.display()))?;
    if !output.status.success() {
        bail!(
            "the module is not to be had: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let module: Module = serde_json::from_slice(&output.stdout).context("what go mod download says")?;
    let file = "config/crd/standard/policy.networking.k8s.io_clusternetworkpolicies.yaml";
    Ok(module.dir.join(file))
}
