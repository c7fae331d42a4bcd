//! Control groups of a node: one group per hierarchy, in which the node's own view begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

/// Where hierarchies are mounted, on the machine and on the node.
const ROOT: &str = "/sys/fs/cgroup";
/// Group of all runs, in each hierarchy.
const PARENT: &str = "contiv-e2e";

/// One hierarchy, as `/proc/self/cgroup` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Controllers, as mount options are written; `name=systemd` for one without; empty for version 2.
    pub controllers: String,
}

impl Hierarchy {
    fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Folder below [`ROOT`] where it is mounted.
    fn folder(&self, only_v2: bool) -> &str {
        match self
            .controllers
            .strip_prefix("name=")
            .unwrap_or(&self.controllers)
        {
            "" if only_v2 => "",
            "" => "unified",
            controllers => controllers,
        }
    }

    fn mounted(&self, only_v2: bool) -> PathBuf {
        Path::new(ROOT).join(self.folder(only_v2))
    }
}

/// Hierarchies in the text of `/proc/self/cgroup` (cgroups(7)): `id:controllers:path` a line.
pub fn parse(text: &str) -> Vec<Hierarchy> {
    text.lines()
        .filter_map(|line| line.split(':').nth(1))
        .map(|controllers| Hierarchy {
            controllers: controllers.to_owned(),
        })
        .collect()
}

fn hierarchies() -> Result<(Vec<Hierarchy>, bool)> {
    let all = parse(&fs::read_to_string("/proc/self/cgroup")?);
    let only_v2 = all.iter().all(Hierarchy::is_v2);
    let mounted = all
        .into_iter()
        .filter(|one| one.mounted(only_v2).join("cgroup.procs").exists())
        .collect();
    Ok((mounted, only_v2))
}

/// Puts this process into a new group of this name in every hierarchy.
pub fn enter(name: &str) -> Result<()> {
    let (all, only_v2) = hierarchies()?;
    for hierarchy in &all {
        let parent = hierarchy.mounted(only_v2).join(PARENT);
        let group = parent.join(name);
        let made = || -> Result<()> {
            for dir in [&parent, &group] {
                fs::create_dir_all(dir)?;
                if hierarchy.is_v2() {
                    continue;
                }
                // A new group of cpuset has no processor and no memory, and takes no process.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let from = dir.parent().unwrap_or(dir).join(file);
                    if let Ok(value) = fs::read_to_string(from) {
                        fs::write(dir.join(file), value)?;
                    }
                }
            }
            if hierarchy.is_v2() {
                delegate(&hierarchy.mounted(only_v2));
                delegate(&parent);
            }
            Ok(fs::write(group.join("cgroup.procs"), "0")?)
        };
        made().with_context(|| format!("making the control group {}", group.display()))?;
    }
    Ok(())
}

/// Lets groups below use every controller that this one has (version 2).
fn delegate(group: &Path) {
    for controller in fs::read_to_string(group.join("cgroup.controllers"))
        .unwrap_or_default()
        .split_whitespace()
    {
        // One by one: a controller that is busy elsewhere must not keep back the others.
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Mounts the hierarchies as the process' cgroup namespace shows them, below `root`.
pub fn mount_all(root: &Path) -> Result<()> {
    let (all, only_v2) = hierarchies()?;
    let base = root.join(ROOT.trim_start_matches('/'));
    let none: Option<&str> = None;
    if !only_v2 {
        mount(
            Some("tmpfs"),
            &base,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=755"),
        )
        .context("mounting a place for control groups")?;
    }
    for hierarchy in &all {
        let target = base.join(hierarchy.folder(only_v2));
        fs::create_dir_all(&target)?;
        let (kind, options) = match hierarchy.controllers.as_str() {
            "" => ("cgroup2", None),
            named if named.starts_with("name=") => ("cgroup", Some(format!("none,{named}"))),
            controllers => ("cgroup", Some(controllers.to_owned())),
        };
        mount(
            Some("cgroup"),
            &target,
            Some(kind),
            MsFlags::empty(),
            options.as_deref().or(none),
        )
        .with_context(|| format!("mounting control groups at {}", target.display()))?;
    }
    if only_v2 {
        // Groups of version 2 that share out controllers hold no processes themselves.
        let own = base.join("init");
        fs::create_dir_all(&own)?;
        fs::write(own.join("cgroup.procs"), "0")?;
        delegate(&base);
    }
    Ok(())
}

/// Removes the groups whose names begin with `prefix`, once their processes are gone. Returns how many there were.
pub fn remove(prefix: &str) -> usize {
    let Ok((all, only_v2)) = hierarchies() else {
        return 0;
    };
    let mut removed = 0;
    for hierarchy in &all {
        let parent = hierarchy.mounted(only_v2).join(PARENT);
        for entry in fs::read_dir(&parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                removed += 1;
                let deadline = Instant::now() + Duration::from_secs(5);
                while !remove_tree(&entry.path()) && Instant::now() < deadline {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        // The last run takes the common group along; others' runs keep it.
        let _ = fs::remove_dir(&parent);
    }
    removed
}

fn remove_tree(dir: &Path) -> bool {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !remove_tree(&entry.path()) {
            return false;
        }
    }
    fs::remove_dir(dir).is_ok() || !dir.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_read_as_the_kernel_writes_them() {
        let text = "9:name=systemd:/\n4:memory:/a\n3:cpu,cpuacct:/\n0::/a/b\n";
        let found = parse(text);
        let folders: Vec<&str> = found.iter().map(|one| one.folder(false)).collect();
        assert_eq!(folders, ["systemd", "memory", "cpu,cpuacct", "unified"]);
        assert_eq!(parse("0::/\n")[0].folder(true), "");
    }
}
