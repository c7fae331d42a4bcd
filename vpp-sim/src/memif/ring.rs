//! Where rings and descriptors lie, and the arithmetic of their 16-bit counters
//! (VPP `src/plugins/memif/memif.h`, `memif_ring_t` and `memif_desc_t`).

use std::io;

use super::Refusal;
use super::message::MAX_LOG2_RING_SIZE;
use super::region::Region;

/// `MEMIF_COOKIE`.
pub const COOKIE: u32 = 0x03e3_1f20;

/// `MEMIF_RING_FLAG_MASK_INT`: its reader looks by itself and needs no interrupt.
pub const MASK_INTERRUPT: u16 = 1;

/// `MEMIF_DESC_FLAG_NEXT`: the packet goes on in the next descriptor.
pub const NEXT: u16 = 1;

const FLAGS_AT: u64 = 4;
const HEAD_AT: u64 = 6;
const TAIL_AT: u64 = 64;
const HEADER_LEN: u64 = 128;
const DESCRIPTOR_LEN: usize = 16;

/// What is copied for one counter. The kernel copies a full word at once, and only what is shorter byte by byte, when the
/// other end could see half a counter; what is behind a counter, up to the next cache line, is nobody's.
const COUNTER_WORD: usize = 8;

/// A buffer in a region, and how much of it is used or free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    pub flags: u16,
    pub region: u16,
    pub length: u32,
    pub offset: u32,
    pub metadata: u32,
}

impl Descriptor {
    fn encode(self) -> [u8; DESCRIPTOR_LEN] {
        let mut bytes = [0; DESCRIPTOR_LEN];
        bytes[0..2].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[2..4].copy_from_slice(&self.region.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_ne_bytes());
        bytes[12..16].copy_from_slice(&self.metadata.to_ne_bytes());
        bytes
    }

    fn decode(bytes: &[u8; DESCRIPTOR_LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
        Self {
            flags: u16::from_ne_bytes([a, b]),
            region: u16::from_ne_bytes([c, d]),
            length: u32::from_ne_bytes([e, f, g, h]),
            offset: u32::from_ne_bytes([i, j, k, l]),
            metadata: u32::from_ne_bytes([m, n, o, p]),
        }
    }
}

/// One of a ring's two counters; they run over at 2^16 and are cut to a slot by the ring's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Moved by the slave: filled slots on the way to the master, free ones on the way back.
    Head,
    /// Moved by the master.
    Tail,
}

impl Counter {
    const fn at(self) -> u64 {
        match self {
            Self::Head => HEAD_AT,
            Self::Tail => TAIL_AT,
        }
    }
}

/// A ring within a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    pub region: u16,
    pub offset: u32,
    pub log2_size: u8,
}

impl Ring {
    /// Bytes of a ring with its descriptors.
    pub fn length(log2_size: u8) -> u64 {
        HEADER_LEN + ((DESCRIPTOR_LEN as u64) << log2_size)
    }

    /// Number of slots.
    pub fn size(self) -> u16 {
        1 << self.log2_size
    }

    /// Whether it lies in what is shared and is initialised.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(self, regions: &[Region]) -> Result<(), Refusal> {
        if self.log2_size > MAX_LOG2_RING_SIZE {
            return Err(Refusal("ring is too large"));
        }
        let Some(region) = regions.get(usize::from(self.region)) else {
            return Err(Refusal("ring in unknown region"));
        };
        if !region.holds(self.offset.into(), Self::length(self.log2_size)) {
            return Err(Refusal("ring exceeds its region"));
        }
        let mut cookie = [0; 4];
        match region.read(self.offset.into(), &mut cookie) {
            Ok(()) if u32::from_ne_bytes(cookie) == COOKIE => Ok(()),
            _ => Err(Refusal("wrong cookie on ring")),
        }
    }

    fn memory(self, regions: &[Region]) -> io::Result<&Region> {
        let region = regions.get(usize::from(self.region));
        region.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Makes an empty one of zeroed memory.
    pub fn initialise(self, regions: &[Region]) -> io::Result<()> {
        self.memory(regions)?
            .write(self.offset.into(), &COOKIE.to_ne_bytes())
    }

    pub fn counter(self, regions: &[Region], counter: Counter) -> io::Result<u16> {
        let mut word = [0; COUNTER_WORD];
        let at = u64::from(self.offset) + counter.at();
        self.memory(regions)?.read(at, &mut word)?;
        Ok(u16::from_ne_bytes([word[0], word[1]]))
    }

    pub fn set_counter(self, regions: &[Region], counter: Counter, value: u16) -> io::Result<()> {
        let mut word = [0; COUNTER_WORD];
        word[..2].copy_from_slice(&value.to_ne_bytes());
        let at = u64::from(self.offset) + counter.at();
        self.memory(regions)?.write(at, &word)
    }

    /// Whether its reader wants an interrupt for what is put into it.
    pub fn wants_interrupt(self, regions: &[Region]) -> io::Result<bool> {
        let mut flags = [0; 2];
        let at = u64::from(self.offset) + FLAGS_AT;
        self.memory(regions)?.read(at, &mut flags)?;
        Ok(u16::from_ne_bytes(flags) & MASK_INTERRUPT == 0)
    }

    /// The parts of memory that hold `count` descriptors from a counter on: a second one where they go around.
    fn spans(self, from: u16, count: u16) -> [(u64, usize); 2] {
        let slot = from & (self.size() - 1);
        let first = count.min(self.size() - slot);
        let start = u64::from(self.offset) + HEADER_LEN;
        let at = |slot: u16| start + u64::from(slot) * DESCRIPTOR_LEN as u64;
        let bytes = |slots: u16| usize::from(slots) * DESCRIPTOR_LEN;
        [(at(slot), bytes(first)), (at(0), bytes(count - first))]
    }

    /// The `count` descriptors from a counter on; at most as many as there are slots.
    pub fn read(self, regions: &[Region], from: u16, count: u16) -> io::Result<Vec<Descriptor>> {
        let memory = self.memory(regions)?;
        let count = count.min(self.size());
        let mut bytes = vec![0; usize::from(count) * DESCRIPTOR_LEN];
        let mut rest = bytes.as_mut_slice();
        for (at, length) in self.spans(from, count) {
            let (part, behind) = rest.split_at_mut(length);
            memory.read(at, part)?;
            rest = behind;
        }
        let (descriptors, _) = bytes.as_chunks();
        Ok(descriptors.iter().map(Descriptor::decode).collect())
    }

    /// Puts descriptors into the slots from a counter on; at most as many as there are slots.
    pub fn write(self, regions: &[Region], from: u16, descriptors: &[Descriptor]) -> io::Result<()> {
        let memory = self.memory(regions)?;
        let count = u16::try_from(descriptors.len())
            .unwrap_or(u16::MAX)
            .min(self.size());
        let bytes: Vec<u8> = descriptors.iter().flat_map(|each| each.encode()).collect();
        let mut rest = bytes.as_slice();
        for (at, length) in self.spans(from, count) {
            let (part, behind) = rest.split_at(length);
            memory.write(at, part)?;
            rest = behind;
        }
        Ok(())
    }

    /// How far a counter of the other end is ahead of ours; never more than there are slots, whatever it says.
    pub fn ahead(self, theirs: u16, ours: u16) -> u16 {
        theirs.wrapping_sub(ours).min(self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(log2_size: u8) -> (Vec<Region>, Ring) {
        let ring = Ring {
            region: 0,
            offset: 256,
            log2_size,
        };
        let size = 256 + Ring::length(log2_size);
        (vec![Region::allocate("test", size).unwrap()], ring)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn rings_are_laid_out_as_in_memif_h() {
        let (regions, ring) = ring(2);
        ring.initialise(&regions).unwrap();
        ring.set_counter(&regions, Counter::Head, 0x0102).unwrap();
        ring.set_counter(&regions, Counter::Tail, 0x0304).unwrap();
        let descriptor = Descriptor {
            flags: NEXT,
            region: 2,
            length: 0x1112_1314,
            offset: 0x2122_2324,
            metadata: 0x3132_3334,
        };
        ring.write(&regions, 3, &[descriptor]).unwrap();
        let mut bytes = [0; 192];
        regions[0].read(256, &mut bytes).unwrap();
        let mut expected = [0; 192];
        expected[0..4].copy_from_slice(&[0x20, 0x1f, 0xe3, 0x03]);
        expected[6..8].copy_from_slice(&[2, 1]);
        expected[64..66].copy_from_slice(&[4, 3]);
        expected[128 + 48..].copy_from_slice(&[
            1, 0, 2, 0, 0x14, 0x13, 0x12, 0x11, 0x24, 0x23, 0x22, 0x21, 0x34, 0x33, 0x32, 0x31,
        ]);
        assert_eq!(bytes, expected);
        assert_eq!(ring.read(&regions, 3, 1).unwrap(), [descriptor]);
        assert_eq!(ring.counter(&regions, Counter::Head).unwrap(), 0x0102);
        assert_eq!(ring.counter(&regions, Counter::Tail).unwrap(), 0x0304);
        assert_eq!(Ring::length(2), 192);
    }

    #[test]
    fn counters_run_over_and_are_not_believed_beyond_the_size() {
        let ring = Ring {
            region: 0,
            offset: 0,
            log2_size: 4,
        };
        let table = [
            (5, 5, 0),
            (7, 5, 2),
            (2, 0xfffe, 4),
            (0, 0xffff, 1),
            (0x000f, 0xffff, 16),
            // More than the ring holds, or behind what was taken already.
            (0x0010, 0xffff, 16),
            (4, 5, 16),
        ];
        for (theirs, ours, ahead) in table {
            assert_eq!(ring.ahead(theirs, ours), ahead, "{theirs} {ours}");
        }
    }

    #[test]
    fn descriptors_go_around_the_end() {
        let (regions, ring) = ring(2);
        let numbered = |length| Descriptor {
            length,
            ..Descriptor::default()
        };
        // 0xffff is slot 3; then the counter runs over to slot 0.
        ring.write(&regions, 0xffff, &[numbered(1), numbered(2), numbered(3)])
            .unwrap();
        let lengths = |from, count| -> Vec<u32> {
            let read = ring.read(&regions, from, count).unwrap();
            read.iter().map(|each| each.length).collect()
        };
        assert_eq!(lengths(3, 3), [1, 2, 3]);
        assert_eq!(lengths(0, 4), [2, 3, 0, 1]);
        assert_eq!(lengths(0, 100), [2, 3, 0, 1]);
        assert_eq!(lengths(2, 0), [0; 0]);
    }

    #[test]
    fn a_ring_must_lie_in_its_region_with_its_cookie() {
        let (regions, good) = ring(2);
        assert!(good.check(&regions).is_err(), "no cookie yet");
        good.initialise(&regions).unwrap();
        assert_eq!(good.check(&regions), Ok(()));
        for bad in [
            Ring { region: 1, ..good },
            Ring { offset: 257, ..good },
            Ring {
                offset: u32::MAX,
                ..good
            },
            Ring { log2_size: 3, ..good },
            Ring {
                log2_size: 15,
                ..good
            },
            Ring {
                log2_size: 255,
                ..good
            },
        ] {
            assert!(bad.check(&regions).is_err(), "{bad:?}");
        }
    }
}
