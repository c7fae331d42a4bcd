//! Veth pairs: one end in the pod, the other for VPP's af_packet on the node.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};

use super::apply::{errno, link, refused};
use super::{PodSideError, apply, netns, offload};

/// A veth pair to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Veth {
    /// Name of the node's end, in the daemon's own namespace.
    pub name: String,
    /// Hardware address of the node's end. Another one than that of VPP's interface, or the node's
    /// kernel would take what is for VPP as its own as well.
    pub mac: [u8; 6],
    /// The pod's namespace.
    pub netns: PathBuf,
    /// Name of the pod's end.
    pub ifname: String,
    /// Hardware address of the pod's end.
    pub pod_mac: [u8; 6],
    /// Maximum transmission unit of both ends in bytes.
    pub mtu: u32,
}

/// Makes the pair, the node's end up, the offloads of both ends off.
///
/// The pod's end is born in the pod's namespace: moving it there would wait, for every pod, until
/// the whole kernel has passed a grace period. A node's end of the name that is there already is
/// replaced: only an interrupted ADD of the same attachment can have left it.
///
/// # Errors
/// When the namespace is none, the pod has an interface of the name, or the kernel refuses; no half
/// of the pair is left then.
pub fn create_veth(veth: &Veth) -> Result<(), PodSideError> {
    netns::within(None, async |kernel| {
        remove(&kernel, &veth.name).await?;
        let made = make(&kernel, veth).await;
        if made.is_err() {
            remove(&kernel, &veth.name).await?;
        }
        made
    })
}

/// Removes a pair by the name of the node's end; one that is not there is no error.
///
/// # Errors
/// When the kernel refuses.
pub fn delete_veth(name: &str) -> Result<(), PodSideError> {
    netns::within(None, async |kernel| remove(&kernel, name).await)
}

/// Whether the daemon's namespace has a veth of this name.
///
/// # Errors
/// When the kernel refuses to say.
pub fn is_veth(name: &str) -> Result<bool, PodSideError> {
    netns::within(None, async |kernel| {
        Ok(link(&kernel, name).await?.is_some_and(|found| found.veth))
    })
}

async fn remove(kernel: &Handle, name: &str) -> Result<(), PodSideError> {
    let Some(found) = link(kernel, name).await? else {
        return Ok(());
    };
    match kernel.link().del(found.index).execute().await {
        // Gone in between, with its pod's namespace.
        Err(error) if errno(&error) == Some(nix::libc::ENODEV) => Ok(()),
        done => done.map_err(refused(format!("removing {name}"))),
    }
}

async fn make(kernel: &Handle, veth: &Veth) -> Result<(), PodSideError> {
    let namespace = netns::open(&veth.netns)?;
    let pod_end = LinkUnspec::new_with_name(&veth.ifname)
        .address(veth.pod_mac.to_vec())
        .mtu(veth.mtu)
        .setns_by_fd(namespace.as_raw_fd())
        .build();
    let pair = LinkVeth::new(&veth.name, &veth.ifname)
        .address(veth.mac.to_vec())
        .mtu(veth.mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(pod_end)))
        .up()
        .build();
    match kernel.link().add(pair).execute().await {
        Err(error) if errno(&error) == Some(nix::libc::EEXIST) => {
            return Err(PodSideError::Exists(veth.ifname.clone()));
        }
        done => done.map_err(refused(format!("making veth {}", veth.name)))?,
    }
    // The end is VPP's: the node's kernel must not speak there.
    apply::silence_ipv6(&veth.name)?;
    disable_offloads(&veth.name)?;
    netns::within(Some(&veth.netns), async |_| disable_offloads(&veth.ifname))
}

fn disable_offloads(ifname: &str) -> Result<(), PodSideError> {
    offload::disable(ifname).map_err(|source| PodSideError::Kernel {
        what: format!("turning offloads of {ifname} off"),
        source,
    })
}
