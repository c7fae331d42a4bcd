//! A server without socket, threads and host: bytes in, bytes out. For fuzzing, and for measuring what answering costs
//! apart from sockets.

use std::collections::BTreeMap;
use std::sync::Arc;

use nix::sys::epoll::{Epoll, EpollCreateFlags};
use tokio::sync::watch;

use super::core::Core;
use super::devices::Devices;
use super::dispatch::Dispatcher;
use super::outgoing::Outgoing;
use super::transport::{Then, answer};
use super::{Identity, Release, StartError, State};
use crate::device::InProcessBackend;
use crate::engine::{Config, Vpp};

/// What a server offers and how it answers: made once, it serves any number of starts.
#[derive(Clone)]
pub struct Offer(Arc<Dispatcher>);

impl Offer {
    /// Message ids depend on the seed, as on the order in which VPP loads its plugins.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Dispatcher::new(Release::default(), seed)))
    }
}

/// A dataplane whose connections, frames and time are played by the caller.
pub struct Embedded {
    core: Core,
    offer: Offer,
    connections: BTreeMap<u32, Connection>,
}

struct Connection {
    outgoing: Arc<Outgoing>,
    /// The start of a message whose end has not come.
    input: Vec<u8>,
}

impl Embedded {
    /// A dataplane as it is after start.
    ///
    /// # Errors
    /// [`StartError::Poll`] when the process has no descriptors left.
    pub fn new(config: Config, offer: &Offer) -> Result<Self, StartError> {
        let poll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(StartError::poll)?);
        let devices = Devices::new(Box::new(InProcessBackend::default()), poll);
        let (state, _) = watch::channel(State::Running);
        Ok(Self {
            core: Core::new(Vpp::new(config), devices, Identity::default(), state),
            offer: offer.clone(),
            connections: BTreeMap::new(),
        })
    }

    /// A client connects: its handle, which it learns by the handshake.
    pub fn connect(&mut self) -> u32 {
        let outgoing = Arc::new(Outgoing::default());
        let client = self.core.clients.connect(outgoing.clone());
        let input = Vec::new();
        self.connections.insert(client, Connection { outgoing, input });
        client
    }

    /// The client is gone.
    pub fn disconnect(&mut self, client: u32) {
        self.connections.remove(&client);
        self.core.disconnected(client);
    }

    /// Bytes of a client's stream, cut anywhere; whether the connection is still open.
    pub fn receive(&mut self, client: u32, bytes: &[u8]) -> bool {
        let Some(connection) = self.connections.get_mut(&client) else {
            return false;
        };
        connection.input.extend_from_slice(bytes);
        let mut taken = 0;
        let open = loop {
            let input = &connection.input[taken..];
            let batch = answer(input, client, &mut self.core, &self.offer.0, &connection.outgoing);
            taken += batch.taken;
            match batch.then {
                Then::Read => break true,
                Then::Continue => {}
                Then::Close => break false,
            }
        };
        connection.input.drain(..taken);
        if !open {
            self.disconnect(client);
        }
        open
    }

    /// What was sent to the client since the last call: whole frames.
    pub fn sent(&mut self, client: u32) -> Vec<u8> {
        let connection = self.connections.get(&client);
        connection
            .map(|connection| connection.outgoing.take())
            .unwrap_or_default()
    }

    /// A frame comes in on an interface.
    pub fn inject(&mut self, sw_if_index: u32, frame: &[u8]) {
        self.core.input(sw_if_index, frame);
        self.core.deliver_events(&self.offer.0);
    }

    /// What happens about once a second.
    pub fn tick(&mut self) {
        self.core.tick();
        self.core.deliver_events(&self.offer.0);
    }

    /// Why it died, if it met input that kills real VPP.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.core.fatal()
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Vpp {
        &self.core.vpp
    }
}
