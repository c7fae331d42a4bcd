//! The images a cluster runs, made of what was built here: ours, and CoreDNS.
//!
//! Dynamically linked programs share a layer with the libraries they need, so it is stored once on a node. What an image
//! is made of is in [`recipes`]; how it becomes an archive is the `images` crate's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use images::{Config, Image, Layer, libraries};

use crate::assets;

/// Registry and tag of the images of the tests' cluster. A registry of that name is never asked: the images are imported.
pub const REGISTRY: &str = "contiv.local";
/// Their tag.
pub const TAG: &str = "e2e";

/// A user that owns nothing, for what needs no rights.
const NOBODY: &str = "65532:65532";

/// What the images are called, and what goes into them beside what this workspace builds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Such as `registry.example/contiv`.
    pub registry: String,
    /// Version of all images.
    pub tag: String,
    /// A VPP to make an image of: its program, installed with its plugins.
    pub vpp: Option<PathBuf>,
    /// Names of the images to make; empty for all.
    pub only: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registry: REGISTRY.to_owned(),
            tag: TAG.to_owned(),
            vpp: None,
            only: Vec::new(),
        }
    }
}

/// Makes the images of the tests' cluster in `dir`, one archive each; returns their paths.
pub fn build(dir: &Path) -> Result<Vec<PathBuf>> {
    build_as(dir, &Settings::default())
}

/// Makes images with other names or contents.
pub fn build_as(dir: &Path, settings: &Settings) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let known = recipes(settings);
    if let Some(unknown) = settings
        .only
        .iter()
        .find(|name| !known.iter().any(|recipe| recipe.name == **name))
    {
        let names: Vec<_> = known.iter().map(|recipe| recipe.name).collect();
        bail!("there is no image {unknown}; there are {}", names.join(", "));
    }
    let wanted =
        |recipe: &&Recipe| settings.only.is_empty() || settings.only.iter().any(|name| name == recipe.name);
    let mut shared = None;
    let mut paths = Vec::new();
    for recipe in known.iter().filter(wanted) {
        let image = recipe
            .image(settings, &mut shared)
            .with_context(|| format!("making the image {}", recipe.name))?;
        let path = dir.join(format!("{}.tar", recipe.name));
        write_whole(&path, &image)?;
        paths.push(path);
    }
    Ok(paths)
}

fn write_whole(path: &Path, image: &Image) -> Result<()> {
    let partial = path.with_extension("tar.partial");
    let file = fs::File::create(&partial).with_context(|| format!("writing {}", partial.display()))?;
    image
        .archive(std::io::BufWriter::new(file))
        .with_context(|| format!("writing {} (is the disk full?)", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("writing {}", path.display()))
}

/// Where a program comes from.
enum Source {
    /// Built by this workspace.
    Own(&'static str),
    /// Built by this workspace, linked statically.
    Static(&'static str),
    /// Built from its Go module.
    Built(&'static str),
    /// Installed on this machine.
    Installed(&'static str),
}

impl Source {
    fn path(&self) -> Result<PathBuf> {
        match self {
            Self::Own(name) => assets::own(name),
            Self::Static(name) => assets::own_static(name),
            Self::Built(name) => assets::built(name),
            Self::Installed(name) => assets::installed(name).with_context(|| {
                format!("{name} is not installed on this machine; `make setup` installs it")
            }),
        }
    }
}

struct Recipe {
    name: &'static str,
    title: &'static str,
    /// Programs by their path in the image.
    programs: Vec<(&'static str, Source)>,
    links: &'static [(&'static str, &'static str)],
    config: Config,
    /// A whole VPP beside the programs.
    vpp: Option<PathBuf>,
}

/// The images.
fn recipes(settings: &Settings) -> Vec<Recipe> {
    let run = |entrypoint: &str| Config {
        entrypoint: vec![entrypoint.to_owned()],
        ..Config::default()
    };
    let recipe = |name, title, programs, config| Recipe {
        name,
        title,
        programs,
        links: &[],
        config,
        vpp: None,
    };
    let as_nobody = |config| Config {
        user: NOBODY.to_owned(),
        ..config
    };
    let mut recipes = vec![
        recipe(
            "pause",
            "Holds a pod's namespaces and reaps its orphans",
            vec![("/pause", Source::Static("contiv-pause"))],
            as_nobody(run("/pause")),
        ),
        recipe(
            "operator",
            "Contiv-VPP's operator: compiles Kubernetes networking into the configuration of each node's VPP",
            vec![("/usr/bin/contiv-operator", Source::Own("contiv-operator"))],
            as_nobody(run("/usr/bin/contiv-operator")),
        ),
        recipe(
            "node",
            "Contiv-VPP's node daemon and CNI plugin",
            vec![
                ("/usr/bin/contiv-node", Source::Own("contiv-node")),
                ("/usr/libexec/contiv/contiv-cni", Source::Static("contiv-cni")),
                ("/usr/sbin/nft", Source::Installed("nft")),
            ],
            run("/usr/bin/contiv-node"),
        ),
        recipe(
            "vpp-sim",
            "The embedded dataplane, where VPP can't be had",
            vec![("/usr/bin/vpp-sim", Source::Own("vpp-sim"))],
            run("/usr/bin/vpp-sim"),
        ),
        recipe(
            "cnf",
            "A network function: the kernel's router with nftables rules of a file",
            vec![
                ("/usr/bin/contiv-cnf", Source::Own("contiv-cnf")),
                ("/usr/sbin/nft", Source::Installed("nft")),
            ],
            run("/usr/bin/contiv-cnf"),
        ),
        Recipe {
            links: &[("/contiv-probe", "usr/bin/contiv-probe")],
            ..recipe(
                "probe",
                "Server and client of tests and examples",
                vec![("/usr/bin/contiv-probe", Source::Own("contiv-probe"))],
                Config {
                    command: ["serve", "--tcp", "80", "--udp", "8080"]
                        .map(str::to_owned)
                        .into(),
                    ..run("/usr/bin/contiv-probe")
                },
            )
        },
        recipe(
            "coredns",
            "CoreDNS, the cluster's name server",
            vec![("/coredns", Source::Built("coredns"))],
            run("/coredns"),
        ),
    ];
    if let Some(vpp) = &settings.vpp {
        recipes.push(Recipe {
            vpp: Some(vpp.clone()),
            ..recipe("vpp", "FD.io VPP", Vec::new(), run("/opt/vpp/bin/vpp"))
        });
    }
    recipes
}

impl Recipe {
    /// `shared` keeps the layer that dynamically linked images have in common.
    fn image(&self, settings: &Settings, shared: &mut Option<SharedLayer>) -> Result<Image> {
        let mut layer = Layer::new();
        let mut needed = BTreeSet::new();
        for (place, source) in &self.programs {
            let path = source.path()?;
            needed.extend(libraries::of(&path)?);
            layer.content(place, stripped(&path)?, 0o755)?;
        }
        for (place, target) in self.links {
            layer.symlink(place, target)?;
        }
        let mut config = self.config.clone();
        if let Some(vpp) = &self.vpp {
            needed.extend(add_vpp(&mut layer, vpp)?);
            config.env.push(format!("LD_LIBRARY_PATH={VPP_LIBRARIES}"));
        }
        config.env.push("PATH=/usr/sbin:/usr/bin:/opt/vpp/bin".to_owned());
        config.labels = BTreeMap::from([
            ("org.opencontainers.image.title".to_owned(), self.name.to_owned()),
            (
                "org.opencontainers.image.description".to_owned(),
                self.title.to_owned(),
            ),
            (
                "org.opencontainers.image.version".to_owned(),
                settings.tag.clone(),
            ),
            (
                "org.opencontainers.image.licenses".to_owned(),
                "Apache-2.0".to_owned(),
            ),
        ]);
        let mut layers = Vec::new();
        if !needed.is_empty() {
            let base = match shared {
                Some(base) => base,
                None => shared.insert(SharedLayer::new()?),
            };
            for library in needed.difference(&base.libraries) {
                layer.file(library, library, 0o755)?;
            }
            layers.push(base.tar.clone());
        }
        layers.push(layer.tar()?);
        let reference = format!("{}/{}:{}", settings.registry, self.name, settings.tag);
        Ok(Image::new(&reference, config, layers)?)
    }
}

/// What every dynamically linked image stands on.
struct SharedLayer {
    libraries: BTreeSet<PathBuf>,
    tar: Vec<u8>,
}

impl SharedLayer {
    fn new() -> Result<Self> {
        let mut needed = BTreeSet::new();
        for program in ["contiv-operator", "contiv-node", "vpp-sim"] {
            needed.extend(libraries::of(&assets::own(program)?)?);
        }
        let mut layer = Layer::new();
        for library in &needed {
            layer.file(library, library, 0o755)?;
        }
        layer.content("/etc/nsswitch.conf", "hosts: files dns\n", 0o644)?;
        layer.content(
            "/etc/passwd",
            "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n",
            0o644,
        )?;
        // Runtimes name network namespaces by either path.
        layer.symlink("/var/run", "../run")?;
        layer.directory("/run", 0o755)?;
        layer.directory("/tmp", 0o1777)?;
        Ok(Self {
            libraries: needed,
            tar: layer.tar()?,
        })
    }
}

/// The program without symbols: images are copied to every node.
fn stripped(program: &Path) -> Result<Vec<u8>> {
    let out = tempfile::NamedTempFile::new()?;
    let done = Command::new("strip")
        .arg("-o")
        .arg(out.path())
        .arg(program)
        .output()
        .context("running strip (of Debian's binutils)")?;
    if !done.status.success() {
        bail!(
            "strip {}: {}",
            program.display(),
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(fs::read(out.path())?)
}

/// Where a VPP that is not the machine's own has its libraries in the image.
const VPP_LIBRARIES: &str = "/opt/vpp/lib";

/// Adds a VPP with its plugins and its own libraries; returns the libraries of the machine that it needs.
fn add_vpp(layer: &mut Layer, vpp: &Path) -> Result<BTreeSet<PathBuf>> {
    let vpp = vpp
        .canonicalize()
        .with_context(|| format!("VPP={}: there is no such program", vpp.display()))?;
    let bin = vpp.parent().context("vpp has no directory")?;
    let prefix = bin.parent().context("vpp is not in PREFIX/bin")?;
    let plugins = find_plugins(prefix).with_context(|| {
        format!(
            "VPP={}: no plugins (vpp_plugins/*.so) below {}/lib; give the program of an installed VPP",
            vpp.display(),
            prefix.display()
        )
    })?;
    let mut needed = libraries::of(&vpp)?;
    layer.content("/opt/vpp/bin/vpp", stripped(&vpp)?, 0o755)?;
    let vppctl = bin.join("vppctl");
    if vppctl.is_file() {
        needed.extend(libraries::of(&vppctl)?);
        layer.content("/opt/vpp/bin/vppctl", stripped(&vppctl)?, 0o755)?;
    }
    for plugin in plugins {
        needed.extend(libraries::of(&plugin)?);
        // VPP looks for them from the directory of its program, where they were below the old prefix.
        let place = Path::new("/opt/vpp").join(plugin.strip_prefix(prefix)?);
        layer.content(place, stripped(&plugin)?, 0o755)?;
    }
    let (own, machine): (BTreeSet<_>, BTreeSet<_>) = needed
        .into_iter()
        .partition(|library| prefix != Path::new("/usr") && library.starts_with(prefix));
    for library in own {
        let name = library.file_name().context("a library without a name")?;
        layer.content(Path::new(VPP_LIBRARIES).join(name), stripped(&library)?, 0o755)?;
    }
    Ok(machine)
}

/// Plugins of the VPP installed below `prefix`, from `lib/vpp_plugins` or a directory of the architecture between.
fn find_plugins(prefix: &Path) -> Option<Vec<PathBuf>> {
    let lib = prefix.join("lib");
    let between = fs::read_dir(&lib).ok()?.flatten().map(|entry| entry.path());
    let dir = std::iter::once(lib.clone())
        .chain(between)
        .map(|dir| dir.join("vpp_plugins"))
        .find(|dir| dir.is_dir())?;
    let files = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    let mut plugins: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "so"))
        .collect();
    plugins.sort();
    (!plugins.is_empty()).then_some(plugins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_image_is_answered_with_those_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            only: vec!["nginx".into()],
            ..Settings::default()
        };
        let error = build_as(dir.path(), &settings).unwrap_err().to_string();
        assert!(
            error.starts_with("there is no image nginx; there are pause, operator"),
            "{error}"
        );
    }

    #[test]
    fn a_vpp_without_plugins_is_refused_with_what_to_give() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("bin")).unwrap();
        fs::create_dir_all(dir.path().join("lib")).unwrap();
        let vpp = dir.path().join("bin/vpp");
        fs::write(&vpp, "").unwrap();
        let error = add_vpp(&mut Layer::new(), &vpp).unwrap_err().to_string();
        assert!(error.contains("give the program of an installed VPP"), "{error}");
        let error = add_vpp(&mut Layer::new(), Path::new("/nowhere/vpp"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("there is no such program"), "{error}");
    }
}
