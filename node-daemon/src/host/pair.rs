//! The node's interface to VPP as a veth pair: one end is the node's, as a tap would be, the other one is VPP's af_packet's.

use super::HostError;
use crate::addressing::node_mac;
use crate::desired::Local;
use crate::podside::{self, PodSideError, Veth};

/// Longest name of an interface in bytes: IFNAMSIZ less the terminating zero (linux/if.h).
const LONGEST: usize = 15;
const SUFFIX: &str = "-vpp";

/// Name of VPP's end, from that of the node's.
pub fn vpp_end(host_interface: &str) -> String {
    let room = LONGEST - SUFFIX.len();
    let kept: String = host_interface
        .char_indices()
        .take_while(|(at, char)| at + char.len_utf8() <= room)
        .map(|(_, char)| char)
        .collect();
    format!("{kept}{SUFFIX}")
}

/// Makes the pair unless it is there: one that is there has the node's routes. Nothing where the node's interface is no pair,
/// or there is none.
///
/// # Errors
/// When the kernel refuses, or something else has one of the names.
pub async fn make(local: &Local, mtu: u32) -> Result<(), HostError> {
    let (Some(ifname), Some(name)) = (local.host_interface.clone(), local.vpp_end()) else {
        return Ok(());
    };
    let mac = |side| node_mac(&local.node, side).0;
    let veth = Veth {
        name,
        // Not that of VPP's interface: the kernel must not take VPP's packets for its own.
        mac: mac("host outer"),
        // The daemon's own.
        netns: "/proc/self/ns/net".into(),
        ifname,
        pod_mac: mac("host side"),
        mtu,
    };
    blocking(move || match podside::is_veth(&veth.ifname)? {
        true => Ok(()),
        false => podside::create_veth(&veth),
    })
    .await
}

/// Removes the pair of this name, if there is one: never an interface of another kind.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove(host_interface: &str) -> Result<(), HostError> {
    let name = host_interface.to_owned();
    blocking(move || match podside::is_veth(&name)? {
        true => podside::delete_veth(&name),
        false => Ok(()),
    })
    .await
}

async fn blocking(work: impl FnOnce() -> Result<(), PodSideError> + Send + 'static) -> Result<(), HostError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or(Err(PodSideError::Stuck))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_vpps_end_is_one_that_the_kernel_takes() {
        assert_eq!(vpp_end("contiv0"), "contiv0-vpp");
        assert_eq!(vpp_end("a-long-host-if0"), "a-long-host-vpp");
        assert_eq!(vpp_end("seitenwände"), "seitenwänd-vpp");
    }
}
