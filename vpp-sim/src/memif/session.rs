//! One connection of a master with a slave, from the first message to packets
//! (VPP `src/plugins/memif/socket.c` and `memif.c`).
//!
//! The master greets. The slave names its interface, hands over memory and rings one message at a time, each of which the
//! master acknowledges, and connects.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::message::{AddRing, Hello, Init, MAX_INDEX, Message, VERSION};
use super::queue::Queue;
use super::region::Region;
use super::ring::Ring;
use super::shared::Layout;
use super::{Closed, Refusal, endpoint};

/// Memory and rings that both ends know.
#[derive(Debug, Default)]
pub struct Link {
    pub regions: Vec<Region>,
    /// Those we read.
    pub rx: Vec<Queue>,
    /// Those we write.
    pub tx: Vec<Queue>,
}

/// How far a connection is.
#[derive(Debug)]
pub enum Stage {
    /// A master is being handed memory and rings.
    Offered(Link),
    /// A slave waits for the greeting.
    Connecting,
    /// A slave hands over memory and rings.
    Offering(Link, VecDeque<Offer>),
    /// Packets pass.
    Up(Link),
}

/// A message of the slave, and which descriptor goes with it.
#[derive(Debug)]
pub enum Offer {
    Plain(Message),
    Region(u16, Message),
    Tx(usize, Message),
    Rx(usize, Message),
}

/// What a session needs to know of its interface.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interface's name, for the other end to show.
    pub name: String,
    /// This program.
    pub program: String,
    pub id: u32,
    pub mode: u8,
    pub secret: String,
    /// What a slave wants to lay out; a master takes what comes.
    pub layout: Layout,
}

/// A connection that belongs to an interface.
#[derive(Debug)]
pub struct Session {
    pub socket: OwnedFd,
    pub stage: Stage,
}

/// What a message has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to tell.
    Going,
    /// A slave has learnt which layout both can do.
    Settled(Layout),
    /// Packets can pass from now on.
    Up,
}

impl Session {
    /// A slave's that has just connected.
    pub fn slave(socket: OwnedFd) -> Self {
        let stage = Stage::Connecting;
        Self { socket, stage }
    }

    /// A master's with a slave that has named its interface.
    pub fn master(socket: OwnedFd) -> Self {
        let stage = Stage::Offered(Link::default());
        Self { socket, stage }
    }

    pub fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.stage {
            Stage::Up(link) => Some(link),
            _ => None,
        }
    }

    fn send(&self, message: &Message) -> Result<(), Closed> {
        endpoint::send(&self.socket, message, None).map_err(|_| Closed::Gone)
    }

    /// Tells the other end why it is left; it may be gone already.
    pub fn say_goodbye(&self, reason: &str) {
        let reason = reason.to_owned();
        let _ = self.send(&Message::Disconnect { code: 0, reason });
    }

    /// Takes one message.
    ///
    /// # Errors
    /// The connection is to be closed.
    pub fn take(
        &mut self,
        message: Message,
        descriptor: Option<OwnedFd>,
        own: &Settings,
    ) -> Result<Progress, Closed> {
        match (&mut self.stage, message) {
            (_, Message::Disconnect { .. }) => Err(Refusal("disconnect received").into()),
            (Stage::Connecting, Message::Hello(hello)) => self.greeted(&hello, own),
            (Stage::Offering(..), Message::Ack) => {
                self.offer_next()?;
                Ok(Progress::Going)
            }
            (Stage::Offering(link, rest), Message::Connected { .. }) if rest.is_empty() => {
                let link = std::mem::take(link);
                self.stage = Stage::Up(link);
                Ok(Progress::Up)
            }
            (Stage::Offered(link), Message::AddRegion { index, size }) => {
                link.add_region(index, size, descriptor)?;
                self.send(&Message::Ack)?;
                Ok(Progress::Going)
            }
            (Stage::Offered(link), Message::AddRing(ring)) => {
                link.add_ring(&ring, descriptor)?;
                self.send(&Message::Ack)?;
                Ok(Progress::Going)
            }
            (Stage::Offered(link), Message::Connect { .. }) => {
                let mut link = std::mem::take(link);
                link.check()?;
                self.stage = Stage::Up(link);
                let if_name = own.name.clone();
                self.send(&Message::Connected { if_name })?;
                Ok(Progress::Up)
            }
            _ => Err(Refusal("unexpected message received").into()),
        }
    }

    /// What the master can do is known: the memory is made, and handed over.
    fn greeted(&mut self, hello: &Hello, own: &Settings) -> Result<Progress, Closed> {
        if hello.min_version > VERSION || hello.max_version < VERSION {
            return Err(Refusal("incompatible protocol version").into());
        }
        let wanted = own.layout;
        let layout = Layout {
            log2_ring_size: wanted.log2_ring_size.min(hello.max_log2_ring_size),
            buffer_size: wanted.buffer_size,
            s2m_rings: wanted.s2m_rings.min(hello.max_s2m_ring.saturating_add(1)),
            m2s_rings: wanted.m2s_rings.min(hello.max_m2s_ring.saturating_add(1)),
        };
        let Ok((link, offers)) = offers(layout, own) else {
            return Err(Refusal("no memory region").into());
        };
        self.stage = Stage::Offering(link, offers);
        self.offer_next()?;
        Ok(Progress::Settled(layout))
    }

    fn offer_next(&mut self) -> Result<(), Closed> {
        let Stage::Offering(link, offers) = &mut self.stage else {
            return Ok(());
        };
        let Some(offer) = offers.pop_front() else {
            return Ok(());
        };
        let (message, descriptor) = match &offer {
            Offer::Plain(message) => (message, None),
            Offer::Region(index, message) => {
                let region = link.regions.get(usize::from(*index));
                (message, region.map(|region| region.as_fd()))
            }
            Offer::Tx(index, message) => (message, link.tx.get(*index).map(|q| q.interrupt.as_fd())),
            Offer::Rx(index, message) => (message, link.rx.get(*index).map(|q| q.interrupt.as_fd())),
        };
        endpoint::send(&self.socket, message, descriptor).map_err(|_| Closed::Gone)
    }
}

/// The slave's memory and rings, and the messages that hand them over.
fn offers(layout: Layout, own: &Settings) -> io::Result<(Link, VecDeque<Offer>)> {
    let region = layout.allocate(&format!("{} region 0", own.name))?;
    let mut offers = VecDeque::from([
        Offer::Plain(Message::Init(Init {
            version: VERSION,
            id: own.id,
            mode: own.mode,
            secret: own.secret.clone(),
            name: own.program.clone(),
        })),
        Offer::Region(
            0,
            Message::AddRegion {
                index: 0,
                size: region.size(),
            },
        ),
    ]);
    let mut link = Link {
        regions: vec![region],
        ..Link::default()
    };
    for (is_s2m, count) in [(true, layout.s2m_rings), (false, layout.m2s_rings)] {
        for index in 0..count {
            let ring = layout.ring(is_s2m, index);
            let message = Message::AddRing(AddRing {
                is_s2m,
                index,
                region: ring.region,
                offset: ring.offset,
                log2_ring_size: ring.log2_size,
                private_hdr_size: 0,
            });
            let interrupt = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
            let queue = Queue::new(ring, interrupt.into(), Some(layout.buffers(is_s2m, index)));
            let at = usize::from(index);
            if is_s2m {
                link.tx.push(queue);
                offers.push_back(Offer::Tx(at, message));
            } else {
                link.rx.push(queue);
                offers.push_back(Offer::Rx(at, message));
            }
        }
    }
    let if_name = own.name.clone();
    offers.push_back(Offer::Plain(Message::Connect { if_name }));
    Ok((link, offers))
}

/// Whether an interface takes a slave that comes with this.
///
/// # Errors
/// Why not.
pub fn admit(init: &Init, own: &Settings) -> Result<(), Refusal> {
    if init.mode != own.mode {
        return Err(Refusal("mode mismatch"));
    }
    if own.secret.is_empty() || init.secret == own.secret {
        Ok(())
    } else if init.secret.is_empty() {
        Err(Refusal("secret required"))
    } else {
        Err(Refusal("incorrect secret"))
    }
}

impl Link {
    fn add_region(&mut self, index: u16, size: u64, descriptor: Option<OwnedFd>) -> Result<(), Refusal> {
        let descriptor = descriptor.ok_or(Refusal("missing memory region fd"))?;
        if usize::from(index) != self.regions.len() {
            return Err(Refusal("unexpected region index"));
        }
        if index > MAX_INDEX {
            return Err(Refusal("too many regions"));
        }
        self.regions.push(Region::received(descriptor, size)?);
        Ok(())
    }

    fn add_ring(&mut self, ring: &AddRing, descriptor: Option<OwnedFd>) -> Result<(), Refusal> {
        let interrupt = descriptor.ok_or(Refusal("missing ring interrupt fd"))?;
        if ring.private_hdr_size != 0 {
            return Err(Refusal("private headers not supported"));
        }
        let queues = if ring.is_s2m { &mut self.rx } else { &mut self.tx };
        if usize::from(ring.index) != queues.len() {
            return Err(Refusal("unexpected ring index"));
        }
        if ring.index > MAX_INDEX {
            return Err(Refusal("too many rings"));
        }
        // A slave's interrupt on which one has to wait would hold up everything else.
        fcntl_getfl(&interrupt)
            .and_then(|flags| fcntl_setfl(&interrupt, flags | OFlags::NONBLOCK))
            .map_err(|_| Refusal("unusable ring interrupt fd"))?;
        let ring = Ring {
            region: ring.region,
            offset: ring.offset,
            log2_size: ring.log2_ring_size,
        };
        queues.push(Queue::new(ring, interrupt, None));
        Ok(())
    }

    /// Whether what the slave has handed over can be used.
    fn check(&mut self) -> Result<(), Refusal> {
        for queue in self.rx.iter().chain(&self.tx) {
            queue.ring.check(&self.regions)?;
        }
        for queue in &mut self.tx {
            let resumed = queue.resume(&self.regions);
            resumed.map_err(|_| Refusal("ring exceeds its region"))?;
        }
        Ok(())
    }
}
