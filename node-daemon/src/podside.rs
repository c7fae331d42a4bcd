//! The pod's side of its interfaces, made within its network namespace.
//!
//! [`plan`] turns a [`PodSide`] into steps, pure; the rest carries them out, or compares. What does
//! so blocks: each call runs in a thread of its own that enters the namespace and ends with the
//! call, so no thread of the daemon is ever left in a foreign namespace. Run it with
//! `spawn_blocking`.

mod apply;
mod netns;
mod observe;
mod offload;
pub mod plan;
mod veth;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cni_shim::{CniError, code};
use crds::cnf::{Forwarding, InterfaceRole};

pub use netns::exists;
pub use veth::{Veth, create_veth, delete_veth, is_veth};

/// What a pod needs within its network namespace. The interfaces themselves exist already: VPP
/// makes a tap right in the namespace, [`create_veth`] a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSide {
    /// Name of the pod's interface, usually `eth0`.
    pub ifname: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its maximum transmission unit in bytes.
    pub mtu: u32,
    /// Its addresses, at most one per family; they get full-length prefixes.
    pub addresses: Vec<IpAddr>,
    /// Gateways, one per family of the addresses.
    pub gateways: Vec<IpAddr>,
    /// Hardware address of VPP's end, which answers for the gateways.
    pub gateway_mac: [u8; 6],
    /// A function's further interfaces that are kernel devices (tap, veth).
    pub functions: Vec<FunctionSide>,
    /// Who forwards between those.
    pub forwarding: Forwarding,
}

/// A further interface of a function's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSide {
    /// Its name.
    pub ifname: String,
    /// Which way the chain's traffic passes it.
    pub role: InterfaceRole,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its maximum transmission unit in bytes.
    pub mtu: u32,
    /// Link-local addresses that stand for VPP on this interface, at most one per family.
    pub gateways: Vec<IpAddr>,
    /// Hardware address of VPP's end.
    pub gateway_mac: [u8; 6],
}

/// The pod's side can't be made or looked at.
#[derive(Debug, thiserror::Error)]
pub enum PodSideError {
    /// The namespace can't be opened.
    #[error("network namespace {path}: {source}", path = .path.display())]
    Netns {
        /// As the runtime gave it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is something at the path, and it is no network namespace.
    #[error("{path} is not a network namespace", path = .0.display())]
    NotNetns(PathBuf),
    /// An interface is missing.
    #[error("there is no interface {0}")]
    Missing(String),
    /// An interface is there that must not be.
    #[error("there is an interface {0} already")]
    Exists(String),
    /// The kernel refused a request.
    #[error("{what}: {source}")]
    Kernel {
        /// What was asked.
        what: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel did not answer.
    #[error("the kernel did not answer in time")]
    Stuck,
}

impl From<PodSideError> for CniError {
    fn from(error: PodSideError) -> Self {
        let number = match &error {
            PodSideError::Netns { .. } | PodSideError::NotNetns(_) => code::INVALID_NETNS,
            PodSideError::Exists(_) => code::ALREADY_ATTACHED,
            PodSideError::Missing(_) | PodSideError::Kernel { .. } => code::IO_FAILURE,
            PodSideError::Stuck => code::TRY_AGAIN_LATER,
        };
        Self::new(number, error.to_string())
    }
}

/// Makes sure that the namespace is one, and has none of these interfaces: ADD must fail where an
/// interface of the name exists (specification, section "ADD").
///
/// # Errors
/// Code 8 for the namespace, 100 for an interface.
pub fn vacant(netns: &Path, names: &[&str]) -> Result<(), PodSideError> {
    netns::within(Some(netns), async |kernel| {
        for name in names {
            if apply::link(&kernel, name).await?.is_some() {
                return Err(PodSideError::Exists((*name).to_owned()));
            }
        }
        Ok(())
    })
}

/// Makes the pod's side as `side` says. May be repeated: what is there already is left alone.
///
/// # Errors
/// At the first step that fails; what was done stays, and goes with the interfaces.
pub fn configure(netns: &Path, side: &PodSide) -> Result<(), PodSideError> {
    netns::within(Some(netns), async |kernel| {
        apply::run(&kernel, &plan::steps(side)).await
    })
}

/// What differs from `side`, in words; nothing if all is as it was made. What others added does
/// not count: plugins behind this one may have.
///
/// # Errors
/// When the namespace can't be looked at.
pub fn check(netns: &Path, side: &PodSide) -> Result<Vec<String>, PodSideError> {
    netns::within(Some(netns), async |kernel| {
        let observed = observe::observe(&kernel).await?;
        Ok(observe::differences(&plan::steps(side), &observed))
    })
}
