//! AF_PACKET: a raw socket on a host device of this process's own network namespace.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use rtnetlink::LinkUnspec;
use socket2::{SockFilter, SockRef};

use super::offload;
use super::{AfPacketRequest, Attached, BATCH, Device, DeviceError, Fault, netns};

/// Room for bursts: about 5,000 full frames with the kernel's overhead.
const RECEIVE_BUFFER: usize = 8 << 20;

struct AfPacket {
    socket: OwnedFd,
    /// Where the device is; own namespace if absent.
    namespace: Option<File>,
    mtu: usize,
    index: u32,
    /// We made the device promiscuous and have to undo it.
    promiscuous: bool,
}

/// Attaches to the device: up, promiscuous (frames for the interface's own MAC address must arrive), without the
/// frames this host sends through the same device.
pub fn open(request: &AfPacketRequest) -> Result<Attached, DeviceError> {
    let name = request.host_if_name.as_str();
    let namespace = request.namespace.as_deref().map(netns::open).transpose()?;
    let (link, socket) = netns::within(namespace.as_ref(), |netlink| {
        let link = netlink
            .link(name)
            .ok_or_else(|| DeviceError::NoSuchDevice(name.to_owned()))?;
        netlink.set_link("set link up", LinkUnspec::new_with_index(link.index).up().build())?;
        if !link.promiscuous {
            netlink.set_promiscuous(link.index, true)?;
        }
        let socket = packet_socket(name, link.index)?;
        Ok((link, socket))
    })?;
    // Over the system's limit with CAP_NET_ADMIN; without it the default size does.
    if let Err(errno) = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER) {
        tracing::debug!(%errno, device = name, "receive buffer stays at its default");
    }
    let device = AfPacket {
        socket,
        namespace,
        mtu: usize::try_from(link.mtu).unwrap_or(usize::MAX),
        index: link.index,
        promiscuous: !link.promiscuous,
    };
    Ok(Attached {
        device: Box::new(device),
        host_name: name.to_owned(),
        mtu: link.mtu,
    })
}

/// A socket on a device of the calling thread's network namespace that hears what the device receives.
fn packet_socket(name: &str, index: u32) -> Result<OwnedFd, DeviceError> {
    let failed = |step: &'static str| {
        move |errno: Errno| DeviceError::Socket {
            step,
            source: errno.into(),
        }
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
        .map_err(failed("open packet socket"))?;
    // Until it is bound the socket hears every device: let nothing in, and throw away what came before the filter.
    filter(&socket, &[SockFilter::new(BPF_RETURN, 0, 0, 0)])?;
    bind(socket.as_raw_fd(), &address_of(name, index)?).map_err(failed("bind packet socket"))?;
    let mut discard = [0; 64];
    while recv(
        socket.as_raw_fd(),
        &mut discard,
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
    )
    .is_ok()
    {}
    filter(&socket, &INCOMING_ONLY)?;
    Ok(socket)
}

/// `ret #k` of classic BPF.
const BPF_RETURN: u16 = 0x06;

/// Drops PACKET_OUTGOING (4): `ld [SKF_AD_OFF + SKF_AD_PKTTYPE]; jeq #4, drop; ret #max; drop: ret #0`.
const INCOMING_ONLY: [SockFilter; 4] = [
    SockFilter::new(0x20, 0, 0, 0xffff_f004),
    SockFilter::new(0x15, 1, 0, 4),
    SockFilter::new(BPF_RETURN, 0, 0, 0x0004_0000),
    SockFilter::new(BPF_RETURN, 0, 0, 0),
];

fn filter(socket: &OwnedFd, program: &[SockFilter]) -> Result<(), DeviceError> {
    SockRef::from(socket)
        .attach_filter(program)
        .map_err(|source| DeviceError::Socket {
            step: "filter packet socket",
            source,
        })
}

/// The link-layer address to bind to. Its protocol is 0, which keeps the socket's own (all).
fn address_of(name: &str, index: u32) -> Result<LinkAddr, DeviceError> {
    let index = usize::try_from(index).unwrap_or(0);
    getifaddrs()
        .map_err(|errno| DeviceError::Socket {
            step: "list devices",
            source: errno.into(),
        })?
        .filter_map(|interface| interface.address?.as_link_addr().copied())
        .find(|address| address.ifindex() == index)
        .ok_or_else(|| DeviceError::NoSuchDevice(name.to_owned()))
}

impl Device for AfPacket {
    fn receive(&self, scratch: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, Fault> {
        for count in 0..BATCH {
            match recv(self.socket.as_raw_fd(), scratch, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => offload::normalise(&mut scratch[..length], self.mtu, sink),
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(count),
                Err(Errno::ENETDOWN) => return Err(Fault::Down),
                Err(errno) => return Err(Fault::Gone(errno.into())),
            }
        }
        Ok(BATCH)
    }

    fn transmit(&self, frame: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    fn is_up(&self) -> bool {
        let index = usize::try_from(self.index).unwrap_or(0);
        let is_up = || {
            getifaddrs().is_ok_and(|mut devices| {
                devices.any(|device| {
                    let own = device
                        .address
                        .as_ref()
                        .and_then(|address| address.as_link_addr())
                        .map(LinkAddr::ifindex);
                    own == Some(index) && device.flags.contains(InterfaceFlags::IFF_UP)
                })
            })
        };
        match &self.namespace {
            None => is_up(),
            there => netns::within(there.as_ref(), |_| Ok(is_up())).unwrap_or(false),
        }
    }

    fn readiness(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }
}

impl Drop for AfPacket {
    fn drop(&mut self) {
        if self.promiscuous
            && let Err(error) = netns::within(self.namespace.as_ref(), |netlink| {
                netlink.set_promiscuous(self.index, false)
            })
        {
            tracing::debug!(%error, index = self.index, "host device is gone or stays promiscuous");
        }
    }
}
