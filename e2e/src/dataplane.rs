//! What nodes run as their dataplane: vpp-sim, or a VPP that `VPP=` names.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The VPP that `make … VPP=/path/to/vpp` hands down to tests.
pub fn from_environment() -> Option<PathBuf> {
    std::env::var_os("VPP")
        .filter(|path| !path.is_empty())
        .map(Into::into)
}

/// Error with what to do, where there is no such program.
pub fn check(vpp: Option<&Path>) -> Result<()> {
    match vpp {
        Some(vpp) => {
            ensure!(
                vpp.is_file(),
                "VPP={}: there is no such program; give the path of a VPP binary, or leave VPP= out: then nodes run vpp-sim",
                vpp.display()
            );
            Ok(())
        }
        None => Ok(()),
    }
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
pub fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "unix {{ nodaemon nosyslog log {dir}/vpp.log runtime-dir {dir}/vpp-runtime cli-listen {dir}/cli.sock }}
socksvr {{ socket-name {dir}/api.sock }}
statseg {{ socket-name {dir}/stats.sock size 64M }}
memory {{ main-heap-size 512M }}
buffers {{ buffers-per-numa 16384 page-size default }}
acl-plugin {{ reclassify sessions 1 }}
plugins {{ plugin dpdk_plugin.so {{ disable }} }}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
