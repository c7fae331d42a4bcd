//! Connected clients and what they subscribed to. Both end with the connection; objects never do.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::outgoing::Outgoing;

/// VPP's handles of socket clients: this bit and an index that is reused.
const SOCKET_HANDLE: u32 = 0x8000_0000;

/// Everyone who is connected, by handle.
#[derive(Debug, Default)]
pub struct Clients {
    connected: BTreeMap<u32, Client>,
}

#[derive(Debug)]
struct Client {
    outgoing: Arc<Outgoing>,
    /// Set by the handshake.
    name: Option<String>,
    /// The `pid` of its subscription to interface events.
    interface_events: Option<u32>,
}

impl Clients {
    /// A handle for a new connection: the lowest free one, from 1 as in VPP.
    pub fn connect(&mut self, outgoing: Arc<Outgoing>) -> u32 {
        let free = (1..)
            .map(|index| SOCKET_HANDLE | index)
            .find(|handle| !self.connected.contains_key(handle));
        let handle = free.unwrap_or(u32::MAX);
        self.connected.insert(
            handle,
            Client {
                outgoing,
                name: None,
                interface_events: None,
            },
        );
        handle
    }

    /// The connection has ended, its subscriptions too.
    pub fn disconnect(&mut self, handle: u32) {
        self.connected.remove(&handle);
    }

    /// The handshake; again on one connection it changes nothing.
    pub fn register(&mut self, handle: u32, name: String) {
        if let Some(client) = self.connected.get_mut(&handle)
            && client.name.is_none()
        {
            tracing::info!(client = name, handle, "API client connected");
            client.name = Some(name);
        }
    }

    /// Whether the handshake was done.
    pub fn is_registered(&self, handle: u32) -> bool {
        self.connected
            .get(&handle)
            .is_some_and(|client| client.name.is_some())
    }

    /// `want_interface_events`: whether the registration is valid, which a second or an absent one is not.
    pub fn want_interface_events(&mut self, handle: u32, enable: bool, pid: u32) -> bool {
        let Some(client) = self.connected.get_mut(&handle) else {
            return false;
        };
        if enable == client.interface_events.is_some() {
            return false;
        }
        client.interface_events = enable.then_some(pid);
        true
    }

    /// Subscribers to interface events: handle, `pid`, and where to send.
    pub fn interface_subscribers(&self) -> impl Iterator<Item = (u32, u32, &Outgoing)> {
        self.connected.iter().filter_map(|(handle, client)| {
            Some((*handle, client.interface_events?, client.outgoing.as_ref()))
        })
    }

    /// Where to send what is for one client.
    pub fn outgoing(&self, handle: u32) -> Option<&Outgoing> {
        self.connected.get(&handle).map(|client| client.outgoing.as_ref())
    }

    /// Ends every connection, as a VPP that dies does.
    pub fn close_all(&self) {
        for client in self.connected.values() {
            client.outgoing.close();
        }
    }
}
