//! Packets into a ring and out of one, from either end (VPP `src/plugins/memif/device.c` and `node.c`).
//!
//! On the way to the master the slave fills slots and moves the head, and the master gives them back by the tail. On the way
//! to the slave it offers free slots by the head, and the master fills them and moves the tail.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;

use super::region::Region;
use super::ring::{Counter, Descriptor, NEXT, Ring};

/// Longest part of an Ethernet frame that is taken (VPP's `ETHERNET_MAX_PACKET_BYTES`).
const MAX_PART: u16 = 9216;

/// The buffers of one ring in region 0, by slot: known to the slave, which made them.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// Of slot 0's.
    pub offset: u32,
    /// Of each.
    pub size: u16,
}

impl Buffers {
    fn descriptor(self, slot: u16, flags: u16, length: u32) -> Descriptor {
        Descriptor {
            flags,
            region: 0,
            length,
            offset: self.offset + u32::from(slot) * u32::from(self.size),
            metadata: 0,
        }
    }
}

/// A ring and its interrupt.
#[derive(Debug)]
pub struct Queue {
    pub ring: Ring,
    /// Rung by the writer, heard by the reader.
    pub interrupt: OwnedFd,
    /// If we are the slave.
    pub buffers: Option<Buffers>,
    /// The next slot to be filled or read.
    next: u16,
    /// Up to where slots were offered to the master, by a reading slave.
    offered: u16,
}

/// A frame was not sent.
#[derive(Debug)]
pub enum Unsent {
    /// No slots for it: it is lost, as on a wire.
    NoFreeSlots,
    /// The shared memory is not as it has to be.
    Broken(&'static str),
}

impl From<io::Error> for Unsent {
    fn from(_: io::Error) -> Self {
        Self::Broken("shared memory is out of reach")
    }
}

/// What came of looking at a ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Packets that were dropped for their descriptors.
    pub bad: u64,
    /// There is more.
    pub more: bool,
}

impl Queue {
    pub fn new(ring: Ring, interrupt: OwnedFd, buffers: Option<Buffers>) -> Self {
        Self {
            ring,
            interrupt,
            buffers,
            next: 0,
            offered: 0,
        }
    }

    /// Puts a frame into the ring, in as many parts as it takes.
    ///
    /// # Errors
    /// [`Unsent`]; nothing of it is seen by the reader then.
    pub fn send(&mut self, regions: &[Region], frame: &[u8]) -> Result<(), Unsent> {
        let (parts, counter) = match self.buffers {
            Some(buffers) => (self.fill_own(regions, buffers, frame)?, Counter::Head),
            None => (self.fill_offered(regions, frame)?, Counter::Tail),
        };
        self.ring.write(regions, self.next, &parts)?;
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        self.next = self.next.wrapping_add(count);
        self.ring.set_counter(regions, counter, self.next)?;
        if self.ring.wants_interrupt(regions)? {
            self.ring_bell();
        }
        Ok(())
    }

    /// The slave's way: parts of the buffers' size.
    fn fill_own(
        &self,
        regions: &[Region],
        buffers: Buffers,
        frame: &[u8],
    ) -> Result<Vec<Descriptor>, Unsent> {
        let taken = self.ring.counter(regions, Counter::Tail)?;
        let free = self.ring.size() - self.ring.ahead(self.next, taken);
        let chunks = frame.chunks(usize::from(buffers.size));
        if chunks.len() > usize::from(free) {
            return Err(Unsent::NoFreeSlots);
        }
        let last = chunks.len().saturating_sub(1);
        let mut parts = Vec::with_capacity(chunks.len());
        let mut position = self.next;
        for (number, chunk) in chunks.enumerate() {
            let flags = if number < last { NEXT } else { 0 };
            let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let part = buffers.descriptor(position & (self.ring.size() - 1), flags, length);
            memory(regions, part)?.write(part.offset.into(), chunk)?;
            parts.push(part);
            position = position.wrapping_add(1);
        }
        Ok(parts)
    }

    /// The master's way: parts as large as what the slave has offered.
    fn fill_offered(&self, regions: &[Region], frame: &[u8]) -> Result<Vec<Descriptor>, Unsent> {
        let offered = self.ring.counter(regions, Counter::Head)?;
        let free = self.ring.ahead(offered, self.next);
        let (mut parts, mut rest) = (Vec::new(), frame);
        while !rest.is_empty() {
            let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
            if count >= free {
                return Err(Unsent::NoFreeSlots);
            }
            let at = self.next.wrapping_add(count);
            let mut part = *self
                .ring
                .read(regions, at, 1)?
                .first()
                .ok_or(Unsent::NoFreeSlots)?;
            let room = usize::try_from(part.length).unwrap_or(usize::MAX);
            let (chunk, behind) = rest.split_at(room.min(rest.len()));
            memory(regions, part)?.write(part.offset.into(), chunk)?;
            part.length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            part.flags = if behind.is_empty() { 0 } else { NEXT };
            parts.push(part);
            rest = behind;
        }
        Ok(parts)
    }

    /// Takes at most `limit` packets out of the ring; a reading slave offers the slots anew.
    ///
    /// # Errors
    /// The shared memory is out of reach.
    pub fn receive(
        &mut self,
        regions: &[Region],
        is_ethernet: bool,
        limit: usize,
        scratch: &mut [u8],
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Received> {
        let written_by = match self.buffers {
            Some(_) => Counter::Tail,
            None => Counter::Head,
        };
        let written = self.ring.counter(regions, written_by)?;
        let waiting = self.ring.ahead(written, self.next);
        let parts = self.ring.read(regions, self.next, waiting)?;
        let mut received = Received::default();
        let mut taken = 0;
        let packets = parts.split_inclusive(|part| part.flags & NEXT == 0);
        for (number, packet) in packets.enumerate() {
            // The rest of the last one is still to come.
            if packet.last().is_none_or(|part| part.flags & NEXT != 0) {
                break;
            }
            if number == limit {
                received.more = true;
                break;
            }
            taken += packet.len();
            match assemble(regions, packet, is_ethernet, scratch) {
                Some(length) => sink(&scratch[..length]),
                None => received.bad += 1,
            }
        }
        self.next = self.next.wrapping_add(u16::try_from(taken).unwrap_or(u16::MAX));
        if self.buffers.is_some() {
            self.offer(regions)?;
        } else {
            self.ring.set_counter(regions, Counter::Tail, self.next)?;
        }
        Ok(received)
    }

    /// Gives all slots that are not waiting to be read to the master.
    ///
    /// # Errors
    /// The shared memory is out of reach.
    pub fn offer(&mut self, regions: &[Region]) -> io::Result<()> {
        let Some(buffers) = self.buffers else {
            return Ok(());
        };
        let count = self.ring.size() - self.ring.ahead(self.offered, self.next);
        let slots: Vec<Descriptor> = (0..count)
            .map(|n| self.offered.wrapping_add(n) & (self.ring.size() - 1))
            .map(|slot| buffers.descriptor(slot, 0, buffers.size.into()))
            .collect();
        self.ring.write(regions, self.offered, &slots)?;
        self.offered = self.offered.wrapping_add(count);
        self.ring.set_counter(regions, Counter::Head, self.offered)
    }

    /// Continues at the counter that is in the ring: what VPP does as the master that writes.
    pub fn resume(&mut self, regions: &[Region]) -> io::Result<()> {
        self.next = self.ring.counter(regions, Counter::Tail)?;
        Ok(())
    }

    /// Wakes the reader.
    pub fn ring_bell(&self) {
        // A counter that is full rings already; a reader that is gone is found out by its socket.
        if let Err(errno) = nix::unistd::write(self.interrupt.as_fd(), &1u64.to_ne_bytes()) {
            tracing::trace!(%errno, "interrupt not sent");
        }
    }

    /// Silences the interrupt; whether it was one. A descriptor that is always ready would keep its reader busy.
    pub fn quiet_bell(&self) -> bool {
        let mut count = [0; 8];
        matches!(
            nix::unistd::read(self.interrupt.as_fd(), &mut count),
            Ok(8) | Err(Errno::EAGAIN | Errno::EINTR)
        )
    }
}

fn memory(regions: &[Region], part: Descriptor) -> Result<&Region, Unsent> {
    let region = regions.get(usize::from(part.region));
    region.ok_or(Unsent::Broken("descriptor in unknown region"))
}

/// Puts the parts of a packet together; `None` if VPP refuses one of them (`memif_validate_desc_data`).
fn assemble(
    regions: &[Region],
    packet: &[Descriptor],
    is_ethernet: bool,
    scratch: &mut [u8],
) -> Option<usize> {
    let mut length = 0;
    for part in packet {
        // VPP keeps but 16 bits of it.
        let part_length = (part.length & 0xffff) as u16;
        if part_length == 0 || (is_ethernet && part_length > MAX_PART) {
            return None;
        }
        let into = scratch.get_mut(length..length + usize::from(part_length))?;
        let region = regions.get(usize::from(part.region))?;
        region.read(part.offset.into(), into).ok()?;
        length += usize::from(part_length);
    }
    Some(length)
}

#[cfg(test)]
mod tests;
