//! How frames get into a dataplane and out of it.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket};
use vpp_sim::server::Handle;

use crate::common::{Namespace, run};

/// The other ends of a dataplane's host devices.
pub trait Wires {
    /// Makes a host device for the dataplane to attach to.
    fn plug(&mut self, device: &str);
    /// Says which interface the dataplane made of it.
    fn attached(&mut self, device: &str, sw_if_index: u32);
    /// Takes the device away.
    fn unplug(&mut self, device: &str);
    /// Sends a frame to the dataplane.
    fn send(&mut self, device: &str, frame: &[u8]);
    /// What the dataplane has sent since the last call.
    fn receive(&mut self, device: &str) -> Vec<Vec<u8>>;
    /// Whether everything a frame leads to has happened when `send` returns.
    fn is_immediate(&self) -> bool;
}

/// Devices that are played: frames are handed over.
pub struct Played {
    pub server: Arc<Handle>,
    pub indices: BTreeMap<String, u32>,
}

impl Wires for Played {
    fn plug(&mut self, _: &str) {}

    fn attached(&mut self, device: &str, sw_if_index: u32) {
        self.indices.insert(device.to_owned(), sw_if_index);
    }

    fn unplug(&mut self, device: &str) {
        self.indices.remove(device);
    }

    fn send(&mut self, device: &str, frame: &[u8]) {
        self.server.inject(self.indices[device], frame);
    }

    fn receive(&mut self, device: &str) -> Vec<Vec<u8>> {
        let index = self.indices.get(device);
        index.map_or_else(Vec::new, |index| self.server.collect(*index))
    }

    fn is_immediate(&self) -> bool {
        true
    }
}

/// veth pairs: one end in the dataplane's namespace, a packet socket on the other.
pub struct Veths {
    /// Where the dataplane lives; `None` is this process's own.
    pub dataplane: Option<String>,
    /// Where the other ends are.
    pub peers: Namespace,
    pub sockets: BTreeMap<String, OwnedFd>,
}

impl Veths {
    pub fn new(dataplane: Option<String>) -> Self {
        Self {
            dataplane,
            peers: Namespace::new(),
            sockets: BTreeMap::new(),
        }
    }

    /// `ip` where the dataplane lives.
    fn there(&self, arguments: &str) {
        match &self.dataplane {
            Some(name) => run(&format!("ip -n {name} {arguments}")),
            None => run(&format!("ip {arguments}")),
        }
    }
}

/// A packet socket on a device of the calling thread's namespace, for all protocols.
fn packet_socket(device: &str) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).unwrap();
    let found = getifaddrs().unwrap().find(|each| {
        each.interface_name == device && each.address.is_some_and(|a| a.as_link_addr().is_some())
    });
    let address = found.and_then(|each| each.address).unwrap();
    bind(socket.as_raw_fd(), address.as_link_addr().unwrap()).unwrap();
    socket
}

impl Wires for Veths {
    fn plug(&mut self, device: &str) {
        let (peers, name) = (&self.peers, format!("{device}-p"));
        // No addresses of the kernel's own: nothing is to be heard but what the scenario says.
        match &self.dataplane {
            Some(there) => peers.ip(&format!(
                "link add {name} type veth peer name {device} netns {there}"
            )),
            None => {
                run(&format!("ip link add {device} type veth peer name {name}"));
                run(&format!("ip link set {name} netns {}", peers.name));
            }
        }
        peers.ip(&format!("link set {name} addrgenmode none up"));
        self.there(&format!("link set {device} addrgenmode none up"));
        let socket = peers.within(move || packet_socket(&name));
        self.sockets.insert(device.to_owned(), socket);
    }

    fn attached(&mut self, _: &str, _: u32) {}

    fn unplug(&mut self, device: &str) {
        if self.sockets.remove(device).is_some() {
            self.peers.ip(&format!("link del {device}-p"));
        }
    }

    fn send(&mut self, device: &str, frame: &[u8]) {
        let sent = send(self.sockets[device].as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT);
        assert_eq!(sent, Ok(frame.len()), "{device}");
    }

    fn receive(&mut self, device: &str) -> Vec<Vec<u8>> {
        let Some(socket) = self.sockets.get(device) else {
            return Vec::new();
        };
        let mut frames = Vec::new();
        let mut buffer = [0; 65_536];
        while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            frames.push(buffer[..length].to_vec());
        }
        frames
    }

    fn is_immediate(&self) -> bool {
        false
    }
}
