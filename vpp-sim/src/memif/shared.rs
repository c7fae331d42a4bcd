//! What a slave shares: one region with all rings and, behind them, all buffers
//! (VPP `src/plugins/memif/memif.c`, `memif_init_regions_and_queues`).

use std::io;

use super::queue::Buffers;
use super::region::Region;
use super::ring::Ring;

/// The sizes by which the region is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub log2_ring_size: u8,
    pub buffer_size: u16,
    pub s2m_rings: u16,
    pub m2s_rings: u16,
}

impl Layout {
    fn rings(self) -> u64 {
        u64::from(self.s2m_rings) + u64::from(self.m2s_rings)
    }

    fn buffers_at(self) -> u64 {
        self.rings() * Ring::length(self.log2_ring_size)
    }

    fn buffers_length(self) -> u64 {
        u64::from(self.buffer_size) << self.log2_ring_size
    }

    /// Number of a ring among all of them: first those to the master.
    fn number(self, is_s2m: bool, index: u16) -> u64 {
        let before = if is_s2m { 0 } else { self.s2m_rings };
        u64::from(before) + u64::from(index)
    }

    /// One of the rings.
    pub fn ring(self, is_s2m: bool, index: u16) -> Ring {
        let offset = self.number(is_s2m, index) * Ring::length(self.log2_ring_size);
        Ring {
            region: 0,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            log2_size: self.log2_ring_size,
        }
    }

    /// Its buffers.
    pub fn buffers(self, is_s2m: bool, index: u16) -> Buffers {
        let offset = self.buffers_at() + self.number(is_s2m, index) * self.buffers_length();
        Buffers {
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            size: self.buffer_size,
        }
    }

    /// The region with its rings, all empty.
    ///
    /// # Errors
    /// What the system says; sizes of which descriptors, with 32 bits, cannot speak.
    pub fn allocate(self, name: &str) -> io::Result<Region> {
        let size = self.buffers_at() + self.rings() * self.buffers_length();
        if u32::try_from(size).is_err() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let region = Region::allocate(name, size)?;
        let regions = [region];
        for (is_s2m, count) in [(true, self.s2m_rings), (false, self.m2s_rings)] {
            for index in 0..count {
                self.ring(is_s2m, index).initialise(&regions)?;
            }
        }
        let [region] = regions;
        Ok(region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_come_first_and_buffers_behind_them() {
        let layout = Layout {
            log2_ring_size: 10,
            buffer_size: 2048,
            s2m_rings: 2,
            m2s_rings: 1,
        };
        let ring = 128 + 16 * 1024;
        assert_eq!(layout.ring(true, 0).offset, 0);
        assert_eq!(layout.ring(true, 1).offset, ring);
        assert_eq!(layout.ring(false, 0).offset, 2 * ring);
        assert_eq!(layout.buffers(true, 0).offset, 3 * ring);
        assert_eq!(layout.buffers(true, 1).offset, 3 * ring + 2048 * 1024);
        assert_eq!(layout.buffers(false, 0).offset, 3 * ring + 2 * 2048 * 1024);
        let region = layout.allocate("test").unwrap();
        assert_eq!(region.size(), u64::from(3 * ring + 3 * 2048 * 1024));
        let regions = [region];
        for ring in [layout.ring(true, 0), layout.ring(true, 1), layout.ring(false, 0)] {
            assert_eq!(ring.check(&regions), Ok(()));
        }
    }

    #[test]
    fn more_than_descriptors_can_address_is_refused() {
        let layout = Layout {
            log2_ring_size: 14,
            buffer_size: u16::MAX,
            s2m_rings: 3,
            m2s_rings: 2,
        };
        assert!(layout.allocate("test").is_err());
    }
}
