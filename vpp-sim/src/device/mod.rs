//! Where packets enter and leave: host devices (tap, AF_PACKET) and a stand-in for them in process.
//!
//! A [`Backend`] opens devices, a [`Device`] moves Ethernet frames. Frames handed to the engine always carry
//! complete checksums and fit the device's MTU, whatever offloads the kernel on the other side applied.

mod af_packet;
mod in_process;
mod netns;
mod offload;
mod tap;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;

pub use in_process::{InProcess, InProcessBackend, Opened};

/// Frames taken from one device before others get their turn.
pub const BATCH: usize = 64;

/// Largest frame a device can hand over: a GSO super-packet and its Ethernet header.
pub const MAX_FRAME: usize = 65_536 + 64;

/// What a device needs to become VPP's `tap_create_v3`: everything that happens on the host side of the tap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapRequest {
    /// Name under `/var/run/netns`, absolute path, or `pid:N` (VPP `vppinfra/linux/netns.c`); own namespace if absent.
    pub namespace: Option<String>,
    /// Name of the host device, at most 15 bytes; the kernel picks `tapN` if absent.
    pub name: Option<String>,
    /// MAC address of the host side.
    pub mac: [u8; 6],
    /// Bridge (in the namespace) the host side joins.
    pub bridge: Option<String>,
    /// Address and prefix length of the host side.
    pub ip4: Option<(Ipv4Addr, u8)>,
    /// Address and prefix length of the host side.
    pub ip6: Option<(Ipv6Addr, u8)>,
    /// Next hop of the host side's default route.
    pub gateway4: Option<Ipv4Addr>,
    /// Next hop of the host side's default route.
    pub gateway6: Option<Ipv6Addr>,
    /// Bytes of a layer-3 packet.
    pub mtu: Option<u32>,
    /// The host device stays when this process ends (`TAP_API_FLAG_PERSIST`).
    pub persist: bool,
}

/// What a device needs to become VPP's `af_packet_create_v3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AfPacketRequest {
    /// Existing device.
    pub host_if_name: String,
    /// Where it is, as in [`TapRequest`]; own namespace if absent.
    pub namespace: Option<String>,
}

/// An opened device and what the host said about it.
pub struct Attached {
    /// Moves the frames; dropping it closes the device, and a tap then vanishes from the host.
    pub device: Box<dyn Device>,
    /// The host's name for the device.
    pub host_name: String,
    /// The host device's layer-3 MTU in bytes.
    pub mtu: u32,
}

/// Opens devices.
pub trait Backend: Send {
    /// Creates a tap and its host side.
    ///
    /// # Errors
    /// The step that failed; nothing stays on the host then.
    fn open_tap(&mut self, request: &TapRequest) -> Result<Attached, DeviceError>;

    /// Attaches to an existing host device and sets it up.
    ///
    /// # Errors
    /// The step that failed; the host device keeps its state but for being up.
    fn open_af_packet(&mut self, request: &AfPacketRequest) -> Result<Attached, DeviceError>;

    /// Whether memifs are played as well, and nothing is shared with other processes.
    fn plays_memif(&self) -> bool {
        false
    }
}

/// Moves Ethernet frames to and from the host.
pub trait Device: Send + Sync {
    /// Hands at most [`BATCH`] waiting frames to `sink` and returns how many there were; never blocks.
    ///
    /// # Errors
    /// A [`Fault`]: the device is down, or gone for good.
    fn receive(&self, scratch: &mut [u8], sink: &mut dyn FnMut(&[u8])) -> Result<usize, Fault>;

    /// Sends one frame; a full queue drops it, like a NIC.
    ///
    /// # Errors
    /// The frame was not sent.
    fn transmit(&self, frame: &[u8]) -> io::Result<()>;

    /// Whether the host side is up; asked of a device that said [`Fault::Down`].
    fn is_up(&self) -> bool {
        true
    }

    /// Becomes readable when frames wait; `None` for a device that is fed by hand.
    fn readiness(&self) -> Option<BorrowedFd<'_>>;
}

/// Why a device no longer delivers.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The host side is down; it may come back.
    #[error("the host device is down")]
    Down,
    /// The host device no longer exists.
    #[error("the host device is gone: {0}")]
    Gone(#[source] io::Error),
}

/// A device could not be opened. Each kind has a VPP return code of its own ([`DeviceError::retval`]).
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The network namespace cannot be opened.
    #[error("cannot open network namespace {name:?}")]
    Namespace {
        /// As the request named it.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The network namespace cannot be entered.
    #[error("cannot enter network namespace")]
    Enter(#[source] io::Error),
    /// `/dev/net/tun` is missing or refused.
    #[error("cannot open /dev/net/tun")]
    TunMissing(#[source] io::Error),
    /// The tap cannot be created, for instance because the name is taken.
    #[error("cannot create tap device")]
    Tap(#[source] io::Error),
    /// A netlink step failed.
    #[error("cannot {step}: {reason}")]
    Netlink {
        /// What was to be done.
        step: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// No device of that name.
    #[error("no host device {0:?}")]
    NoSuchDevice(String),
    /// A raw socket step failed.
    #[error("cannot {step}")]
    Socket {
        /// What was to be done.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl DeviceError {
    /// The code VPP's handler returns for it (`src/plugins/tap/tap.c`, `src/plugins/af_packet/af_packet.c`).
    #[must_use]
    pub const fn retval(&self) -> i32 {
        match self {
            Self::Socket { .. } => -11,
            Self::Namespace { .. } | Self::TunMissing(_) => -12,
            Self::Enter(_) | Self::Tap(_) => -13,
            Self::NoSuchDevice(_) => -71,
            Self::Netlink { .. } => -145,
        }
    }
}

/// Opens real host devices. Needs CAP_NET_ADMIN, CAP_NET_RAW and, for taps in namespaces, CAP_SYS_ADMIN.
#[derive(Debug, Default)]
pub struct HostBackend;

impl Backend for HostBackend {
    fn open_tap(&mut self, request: &TapRequest) -> Result<Attached, DeviceError> {
        tap::open(request)
    }

    fn open_af_packet(&mut self, request: &AfPacketRequest) -> Result<Attached, DeviceError> {
        af_packet::open(request)
    }
}
