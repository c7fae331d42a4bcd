//! The memif interfaces of a dataplane, their control sockets and connections.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::endpoint::{self, Address};
use super::message::{Hello, Message, VERSION};
use super::poll::{PollSet, Target};
use super::queue::Unsent;
use super::request::{Change, CreateError, Loss, MemifRequest, Running};
use super::session::{Link, Progress, Session, Settings, admit};
use super::{Closed, Refusal};
use crate::device::{BATCH, MAX_FRAME};

/// How often a slave knocks, as VPP's `memif-process`.
const RETRY: Duration = Duration::from_secs(3);

/// Connections of a socket that have not said which interface they want; the oldest make room.
const PENDING: usize = 64;

/// Of one look at the poll set: each may bring [`BATCH`] packets into memory.
const EVENTS: usize = 8;

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    token: u64,
    pending: VecDeque<(u64, OwnedFd)>,
}

#[derive(Debug)]
struct Port {
    socket_id: u32,
    address: io::Result<Address>,
    is_slave: bool,
    admin_up: bool,
    settings: Settings,
    running: Running,
    session: Option<Session>,
    /// Of the session's socket, and of its rings once it is up.
    tokens: Vec<u64>,
}

/// All of a dataplane's.
#[derive(Debug)]
pub struct Memifs {
    poll: PollSet,
    program: String,
    ports: BTreeMap<u32, Port>,
    listeners: BTreeMap<u32, Listener>,
    /// Slaves knock again then.
    retry: Instant,
    /// One packet.
    scratch: Vec<u8>,
}

impl Memifs {
    /// None yet; `program` is what other ends are told of this one.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new(program: &str) -> io::Result<Self> {
        Ok(Self {
            poll: PollSet::new()?,
            program: program.to_owned(),
            ports: BTreeMap::new(),
            listeners: BTreeMap::new(),
            retry: Instant::now() + RETRY,
            scratch: vec![0; MAX_FRAME],
        })
    }

    /// Makes an interface; a master listens from now on.
    ///
    /// # Errors
    /// [`CreateError`]; there is no interface then.
    pub fn create(&mut self, sw_if_index: u32, request: &MemifRequest) -> Result<(), CreateError> {
        let failed = |source| CreateError {
            socket: request.socket.clone(),
            source,
        };
        let address = Address::parse(&request.socket);
        if !request.is_slave && !self.listeners.contains_key(&request.socket_id) {
            let listener = match &address {
                Ok(address) => address.listen().map_err(failed)?,
                Err(error) => return Err(failed(error.kind().into())),
            };
            let target = Target::Listener(request.socket_id);
            let listener = Listener {
                token: self.poll.add(&listener, target).map_err(failed)?,
                socket: listener,
                pending: VecDeque::new(),
            };
            self.listeners.insert(request.socket_id, listener);
        }
        let port = Port {
            socket_id: request.socket_id,
            address,
            is_slave: request.is_slave,
            admin_up: false,
            settings: request.settings(&self.program),
            running: Running::UNKNOWN,
            session: None,
            tokens: Vec::new(),
        };
        self.ports.insert(sw_if_index, port);
        Ok(())
    }

    /// Takes an interface away, and its socket with the last one.
    pub fn delete(&mut self, sw_if_index: u32) {
        self.disconnect(sw_if_index, Closed::Refused(Refusal("interface deleted")));
        let Some(port) = self.ports.remove(&sw_if_index) else {
            return;
        };
        if self.ports.values().all(|other| other.socket_id != port.socket_id)
            && let Some(listener) = self.listeners.remove(&port.socket_id)
        {
            self.poll.remove(&listener.socket, listener.token);
            for (token, socket) in &listener.pending {
                self.poll.remove(socket, *token);
            }
        }
    }

    /// The sizes in use.
    pub fn running(&self, sw_if_index: u32) -> Option<Running> {
        self.ports.get(&sw_if_index).map(|port| port.running)
    }

    /// Says whether the interface is to work: only then a slave connects, and rings are read.
    pub fn set_admin(&mut self, sw_if_index: u32, up: bool) {
        let Some(port) = self.ports.get_mut(&sw_if_index) else {
            return;
        };
        port.admin_up = up;
        if up {
            port.look_at_rings();
            self.knock();
        }
    }

    /// About once a second: slaves without a master look for one.
    pub fn tick(&mut self) {
        if Instant::now() >= self.retry {
            self.knock();
        }
    }

    /// Each slave that should have a connection and has none tries to get one.
    fn knock(&mut self) {
        self.retry = Instant::now() + RETRY;
        for (sw_if_index, port) in &mut self.ports {
            if !port.is_slave || !port.admin_up || port.session.is_some() {
                continue;
            }
            let connected = match &port.address {
                Ok(address) => address.connect(),
                Err(error) => Err(error.kind().into()),
            };
            let polled = connected.and_then(|socket| {
                let token = self.poll.add(&socket, Target::Control(*sw_if_index))?;
                Ok((token, socket))
            });
            match polled {
                Ok((token, socket)) => {
                    port.tokens = vec![token];
                    port.session = Some(Session::slave(socket));
                }
                Err(error) => tracing::trace!(%error, sw_if_index, "no memif master"),
            }
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`Loss`].
    pub fn transmit(&mut self, sw_if_index: u32, frame: &[u8]) -> Result<(), Loss> {
        let link = self
            .ports
            .get_mut(&sw_if_index)
            .and_then(|port| port.session.as_mut())
            .and_then(Session::link_mut)
            .ok_or(Loss::NotConnected)?;
        // The one thread there is has the first queue, as VPP's main thread.
        let Link { regions, tx, .. } = link;
        let queue = tx.first_mut().ok_or(Loss::NoFreeSlots)?;
        match queue.send(regions, frame) {
            Ok(()) => Ok(()),
            Err(Unsent::NoFreeSlots) => Err(Loss::NoFreeSlots),
            Err(Unsent::Broken(reason)) => {
                self.disconnect(sw_if_index, Refusal(reason).into());
                Err(Loss::Disconnected)
            }
        }
    }

    /// Looks at what is ready; what has happened, in order.
    pub fn poll(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for token in self.poll.ready::<EVENTS>() {
            match self.poll.target(token) {
                Some(Target::Listener(socket_id)) => self.accept(socket_id),
                Some(Target::Pending(socket_id)) => self.introduced(socket_id, token, &mut changes),
                Some(Target::Control(sw_if_index)) => self.control(sw_if_index, &mut changes),
                Some(Target::Ring(sw_if_index, index)) => self.packets(sw_if_index, index, &mut changes),
                None => {}
            }
        }
        changes
    }

    fn accept(&mut self, socket_id: u32) {
        let Some(listener) = self.listeners.get_mut(&socket_id) else {
            return;
        };
        let Ok(socket) = endpoint::accept(&listener.socket) else {
            return;
        };
        if listener.pending.len() == PENDING
            && let Some((token, oldest)) = listener.pending.pop_front()
        {
            self.poll.remove(&oldest, token);
        }
        let greeting = Message::Hello(Hello::of(&self.program));
        if endpoint::send(&socket, &greeting, None).is_err() {
            return;
        }
        match self.poll.add(&socket, Target::Pending(socket_id)) {
            Ok(token) => listener.pending.push_back((token, socket)),
            Err(error) => tracing::warn!(%error, socket_id, "memif connection cannot be polled"),
        }
    }

    /// A connection says which interface it is for.
    fn introduced(&mut self, socket_id: u32, token: u64, changes: &mut Vec<Change>) {
        let Some(listener) = self.listeners.get_mut(&socket_id) else {
            return;
        };
        let Some(at) = listener.pending.iter().position(|(own, _)| *own == token) else {
            return;
        };
        let received = match listener
            .pending
            .get(at)
            .map(|(_, socket)| endpoint::receive(socket))
        {
            Some(Ok(None)) | None => return,
            Some(received) => received,
        };
        let Some((_, socket)) = listener.pending.remove(at) else {
            return;
        };
        self.poll.remove(&socket, token);
        // Of another version or message VPP says nothing and hangs up.
        let init = match received {
            Ok(Some((Message::Init(init), _))) if init.version == VERSION => init,
            _ => {
                tracing::info!(socket_id, "memif connection refused: no INIT of this version");
                return;
            }
        };
        let found = self
            .ports
            .iter_mut()
            .find(|(_, port)| port.socket_id == socket_id && port.settings.id == init.id);
        let refusal = match found {
            None => Refusal("unmatched interface id"),
            Some((_, port)) if port.session.is_some() => Refusal("already connected"),
            Some((sw_if_index, port)) => match admit(&init, &port.settings) {
                Err(refusal) => refusal,
                Ok(()) => {
                    let sw_if_index = *sw_if_index;
                    let acknowledged = endpoint::send(&socket, &Message::Ack, None);
                    let polled =
                        acknowledged.and_then(|()| self.poll.add(&socket, Target::Control(sw_if_index)));
                    if let Ok(token) = polled {
                        port.tokens = vec![token];
                        port.session = Some(Session::master(socket));
                        // It may have said more than it was asked for.
                        self.control(sw_if_index, changes);
                    }
                    return;
                }
            },
        };
        tracing::info!(socket_id, %refusal, "memif connection refused");
        Session::master(socket).say_goodbye(refusal.0);
    }

    /// One message of an interface's connection.
    fn control(&mut self, sw_if_index: u32, changes: &mut Vec<Change>) {
        let Some(port) = self.ports.get_mut(&sw_if_index) else {
            return;
        };
        let Some(session) = &mut port.session else { return };
        let progress = match endpoint::receive(&session.socket) {
            Ok(None) => Ok(Progress::Going),
            Ok(Some((message, descriptor))) => session.take(message, descriptor, &port.settings),
            Err(closed) => Err(closed),
        };
        let progress = progress.and_then(|progress| match progress {
            Progress::Up => self.listen_to_rings(sw_if_index).map(|()| progress),
            _ => Ok(progress),
        });
        match progress {
            Ok(Progress::Going) => {}
            Ok(Progress::Settled(layout)) => {
                if let Some(port) = self.ports.get_mut(&sw_if_index) {
                    port.running = Running {
                        ring_size: 1 << layout.log2_ring_size,
                        buffer_size: layout.buffer_size,
                    };
                }
            }
            Ok(Progress::Up) => changes.push(Change::Link(sw_if_index, true)),
            Err(closed) => {
                if self.disconnect(sw_if_index, closed) {
                    changes.push(Change::Link(sw_if_index, false));
                }
            }
        }
    }

    fn listen_to_rings(&mut self, sw_if_index: u32) -> Result<(), Closed> {
        let Some(port) = self.ports.get_mut(&sw_if_index) else {
            return Ok(());
        };
        if let Some(link) = port.session.as_mut().and_then(Session::link_mut) {
            for (index, queue) in link.rx.iter().enumerate() {
                let polled = self.poll.add(&queue.interrupt, Target::Ring(sw_if_index, index));
                port.tokens
                    .push(polled.map_err(|_| Refusal("unusable ring interrupt fd"))?);
            }
        }
        if port.admin_up {
            port.look_at_rings();
        }
        Ok(())
    }

    /// Packets of a ring, if the interface is up; else they stay where they are, as in VPP.
    fn packets(&mut self, sw_if_index: u32, index: usize, changes: &mut Vec<Change>) {
        let Some(port) = self.ports.get_mut(&sw_if_index) else {
            return;
        };
        let is_ethernet = port.settings.mode == 0;
        let Some(link) = port.session.as_mut().and_then(Session::link_mut) else {
            return;
        };
        let Link { regions, rx, .. } = link;
        let Some(queue) = rx.get_mut(index) else { return };
        let received = if !queue.quiet_bell() {
            Err(Refusal("unusable ring interrupt fd"))
        } else if port.admin_up {
            let mut sink = |frame: &[u8]| changes.push(Change::Frame(sw_if_index, frame.to_vec()));
            let received = queue.receive(regions, is_ethernet, BATCH, &mut self.scratch, &mut sink);
            received.map_err(|_| Refusal("shared memory is out of reach"))
        } else {
            return;
        };
        match received {
            Ok(received) => {
                if received.more {
                    // Others have their turn first.
                    queue.ring_bell();
                }
                if received.bad > 0 {
                    changes.push(Change::BadDescriptors(received.bad));
                }
            }
            Err(refusal) => {
                if self.disconnect(sw_if_index, refusal.into()) {
                    changes.push(Change::Link(sw_if_index, false));
                }
            }
        }
    }

    /// Ends an interface's connection; whether packets could pass.
    fn disconnect(&mut self, sw_if_index: u32, why: Closed) -> bool {
        let Some(port) = self.ports.get_mut(&sw_if_index) else {
            return false;
        };
        let Some(mut session) = port.session.take() else {
            return false;
        };
        tracing::info!(sw_if_index, %why, "memif disconnected");
        if let Closed::Refused(Refusal(reason)) = why {
            session.say_goodbye(reason);
        }
        let mut tokens = std::mem::take(&mut port.tokens).into_iter();
        if let Some(token) = tokens.next() {
            self.poll.remove(&session.socket, token);
        }
        let link = session.link_mut();
        let was_up = link.is_some();
        for (queue, token) in link.iter().flat_map(|link| &link.rx).zip(tokens) {
            self.poll.remove(&queue.interrupt, token);
        }
        was_up
    }
}

impl AsFd for Memifs {
    /// Readable when there is something to [`poll`](Self::poll) for.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poll.as_fd()
    }
}

impl Port {
    /// Has the rings read although nobody has rung: a slave's slots are to be offered, and packets may have come while the
    /// interface was down.
    fn look_at_rings(&mut self) {
        if let Some(link) = self.session.as_mut().and_then(Session::link_mut) {
            link.rx.iter().for_each(|queue| queue.ring_bell());
        }
    }
}
