//! Taps: the device is made inside the given namespace, the file descriptor stays here.
//!
//! No virtio header is asked for, so the kernel completes checksums and segments before a frame is read.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};

use nix::errno::Errno;
use rtnetlink::LinkUnspec;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::netns::{self, Netlink};
use super::{Attached, BATCH, Device, DeviceError, Fault, TapRequest};

struct Tap(SyncDevice);

/// Creates the tap with all of its host side, in the order VPP does it (`tap_create_if`): MAC address, bridge,
/// addresses, up, default routes, MTU. On failure the device is closed and therewith gone.
pub fn open(request: &TapRequest) -> Result<Attached, DeviceError> {
    let namespace = request.namespace.as_deref().map(netns::open).transpose()?;
    netns::within(namespace.as_ref(), |netlink| {
        let device = create(request)?;
        let host_name = device.name().map_err(DeviceError::Tap)?;
        let mtu = configure(netlink, request, &host_name)?;
        if request.persist {
            device.persist().map_err(DeviceError::TunMissing)?;
        }
        Ok(Attached {
            device: Box::new(Tap(device)),
            host_name,
            mtu,
        })
    })
}

fn create(request: &TapRequest) -> Result<SyncDevice, DeviceError> {
    std::fs::metadata("/dev/net/tun").map_err(DeviceError::TunMissing)?;
    // The kernel replaces %d by the lowest free number.
    let name = request.name.as_deref().unwrap_or("tap%d");
    let builder = DeviceBuilder::new()
        .inherit_enable_state()
        .layer(Layer::L2)
        .name(name);
    let device = builder.build_sync().map_err(DeviceError::Tap)?;
    device.set_nonblocking(true).map_err(DeviceError::Tap)?;
    Ok(device)
}

fn configure(netlink: &Netlink, request: &TapRequest, name: &str) -> Result<u32, DeviceError> {
    let link = netlink
        .link(name)
        .ok_or_else(|| DeviceError::NoSuchDevice(name.to_owned()))?;
    let change = || LinkUnspec::new_with_index(link.index);
    netlink.set_link("set link address", change().address(request.mac.to_vec()).build())?;
    if let Some(bridge) = &request.bridge {
        let bridge = netlink.link(bridge).ok_or_else(|| DeviceError::Netlink {
            step: "set link master",
            reason: format!("no bridge {bridge:?}"),
        })?;
        netlink.set_link("set link master", change().controller(bridge.index).build())?;
    }
    if let Some((address, length)) = request.ip4 {
        netlink.add_address(link.index, IpAddr::V4(address), length)?;
    }
    if let Some((address, length)) = request.ip6 {
        netlink.add_address(link.index, IpAddr::V6(address), length)?;
    }
    netlink.set_link("set link up", change().up().build())?;
    if let Some(gateway) = request.gateway4 {
        netlink.default_route(IpAddr::V4(gateway))?;
    }
    if let Some(gateway) = request.gateway6 {
        netlink.default_route(IpAddr::V6(gateway))?;
    }
    if let Some(mtu) = request.mtu {
        netlink.set_link("set link mtu", change().mtu(mtu).build())?;
    }
    Ok(request.mtu.unwrap_or(link.mtu))
}

impl Device for Tap {
    fn receive(&self, scratch: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, Fault> {
        for count in 0..BATCH {
            match nix::unistd::read(self.0.as_fd(), scratch) {
                Ok(length) => sink(&scratch[..length]),
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(count),
                Err(errno) => return Err(Fault::Gone(errno.into())),
            }
        }
        Ok(BATCH)
    }

    fn transmit(&self, frame: &[u8]) -> io::Result<()> {
        // EIO: the host side is administratively down, which loses the frame as a pulled cable does.
        nix::unistd::write(self.0.as_fd(), frame)?;
        Ok(())
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}
