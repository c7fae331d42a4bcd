//! Command line of the binary.

use std::hash::{BuildHasher as _, RandomState};
use std::path::PathBuf;

use clap::Parser;

use vpp_sim::engine::Config;
use vpp_sim::server::{Identity, Release};

/// The embedded dataplane: speaks VPP's binary API on a socket and forwards real packets.
///
/// Taps and AF_PACKET devices are made in the network namespace it is started in. RUST_LOG sets the log level.
#[derive(Debug, Parser)]
#[command(name = "vpp-sim", version)]
pub struct Options {
    /// The API socket.
    #[arg(long, value_name = "PATH", default_value = "/run/vpp/api.sock")]
    pub api_socket: PathBuf,

    /// The stats socket (in VPP /run/vpp/stats.sock); no statistics are served if absent.
    #[arg(long, value_name = "PATH")]
    pub stats_socket: Option<PathBuf>,

    /// As VPP's `acl-plugin { reclassify sessions 1 }`: a replaced ACL ends the sessions it no longer permits.
    #[arg(long)]
    pub acl_reclassify_sessions: bool,

    /// Where memif's control sockets of relative names are, as VPP's `unix { runtime-dir }`.
    #[arg(long, value_name = "PATH", default_value = "/run/vpp")]
    pub runtime_dir: String,

    /// Whose messages to offer: 25.10, 26.02 or 26.06.
    #[arg(long, value_name = "RELEASE", default_value_t)]
    pub release: Release,

    /// Version to tell in `show_version`; the release's if absent.
    #[arg(long, value_name = "TEXT", value_parser = short)]
    pub version_string: Option<String>,

    /// Seed of the MAC addresses VPP draws at random; another one at each start if absent.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

/// What fits into `show_version`'s field.
fn short(text: &str) -> Result<String, String> {
    if text.len() < 32 {
        Ok(text.to_owned())
    } else {
        Err("at most 31 bytes".to_owned())
    }
}

impl Options {
    /// What the engine is started with.
    pub fn engine(&self) -> Config {
        // Two dataplanes on one network must not draw the same addresses.
        let seed = self
            .seed
            .unwrap_or_else(|| RandomState::new().hash_one(std::process::id()));
        Config {
            reclassify_sessions: self.acl_reclassify_sessions,
            seed,
            unix_start: std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
            runtime_dir: self.runtime_dir.clone(),
        }
    }

    /// What the program tells of itself.
    pub fn identity(&self) -> Identity {
        let of_release = Identity::of(self.release);
        Identity {
            version: self.version_string.clone().unwrap_or(of_release.version),
            ..of_release
        }
    }
}
