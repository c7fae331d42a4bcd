//! What nodes run as their dataplane: vpp-sim, or a VPP that `VPP=` names.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The VPP that `make … VPP=/path/to/vpp` hands down to tests.
pub fn from_environment() -> Option<PathBuf> {
    std::env::var_os("VPP")
        .filter(|path| !path.is_empty())
        .map(Into::into)
}

/// Error with what to do, where there is no such program.
pub fn check(vpp: Option<&Path>) -> Result<()> {
    if let Some(vpp) = vpp {
        ensure!(
            vpp.is_file(),
            "VPP={}: there is no such program; give the path of a VPP binary, or leave VPP= out: then nodes run vpp-sim",
            vpp.display()
        );
    }
    Ok(())
}

/// What a node's `--kernel-interfaces` must be: vpp-sim makes taps by itself, VPP makes them by vhost-net.
pub fn kernel_interfaces(vpp: Option<&Path>) -> &'static str {
    match vpp.is_some() && !Path::new("/dev/vhost-net").exists() {
        true => "veth",
        false => "tap",
    }
}

/// Configuration of a small VPP without physical devices, with its files in `dir`: one thread, what a test's traffic needs,
/// and our ACL setting.
pub fn config(vpp: &Path, dir: &Path) -> Result<String> {
    let dir = dir.display();
    let cnat = cnat_settings(&version(vpp)?);
    Ok(format!(
        "unix {{ nodaemon nosyslog log {dir}/vpp.log runtime-dir {dir}/vpp-runtime cli-listen {dir}/cli.sock }}
socksvr {{ socket-name {dir}/api.sock }}
statseg {{ socket-name {dir}/stats.sock size 64M }}
memory {{ main-heap-size 512M }}
buffers {{ buffers-per-numa 16384 page-size default }}
acl-plugin {{ reclassify sessions 1 }}
{cnat}plugins {{ plugin dpdk_plugin.so {{ disable }} }}
"
    ))
}

/// What `vpp --version` prints, such as `vpp v26.06-release built by …`.
fn version(vpp: &Path) -> Result<String> {
    let output = Command::new(vpp).arg("--version").output();
    let output = output.with_context(|| format!("running {}", vpp.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// cnat of 26.06 takes more than 20 s to look once at the table of 16 million sessions that it has by itself; those before know no
/// such setting, and would not start with it.
fn cnat_settings(version: &str) -> &'static str {
    let older = ["v25.", "v26.02"];
    match older.iter().any(|release| version.contains(release)) {
        true => "",
        false => "cnat { session-max 65536 session-cleanup-timeout 0.2 }\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_releases_are_not_told_what_they_do_not_know() {
        assert_eq!(cnat_settings("vpp v26.02-rc0 built by root"), "");
        assert_eq!(cnat_settings("vpp v25.10-release built by root"), "");
        assert!(cnat_settings("vpp v26.06-release built by root").starts_with("cnat { session-max"));
    }

    #[test]
    fn a_missing_vpp_is_told_with_what_to_do() {
        assert!(check(None).is_ok());
        let error = check(Some(Path::new("/nowhere/vpp"))).unwrap_err().to_string();
        assert!(
            error.starts_with("VPP=/nowhere/vpp: there is no such program; give"),
            "{error}"
        );
    }
}
