//! Memory that both ends have: a file descriptor, read and written at offsets. Mapping it would take `unsafe`, and the
//! other end may cut the file short under a mapping.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{FileType, MemfdFlags, fstat, ftruncate, memfd_create};

use super::Refusal;

/// One region.
#[derive(Debug)]
pub struct Region {
    file: File,
    size: u64,
}

impl Region {
    /// A new one, all zero.
    ///
    /// # Errors
    /// What the system says.
    pub fn allocate(name: &str, size: u64) -> io::Result<Self> {
        let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size)?;
        let file = File::from(file);
        Ok(Self { file, size })
    }

    /// One that the other end has made.
    ///
    /// # Errors
    /// It is no file, or shorter than announced: a write behind its end would make it grow.
    pub fn received(file: OwnedFd, size: u64) -> Result<Self, Refusal> {
        let Ok(stat) = fstat(&file) else {
            return Err(Refusal("memory region cannot be looked at"));
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Refusal("memory region is no file"));
        }
        if u64::try_from(stat.st_size).unwrap_or(0) < size {
            return Err(Refusal("memory region is shorter than announced"));
        }
        let file = File::from(file);
        Ok(Self { file, size })
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether so many bytes at an offset lie within.
    pub fn holds(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.size)
    }

    fn check(&self, offset: u64, length: usize) -> io::Result<()> {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        if self.holds(offset, length) {
            Ok(())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Reads all of `into`.
    ///
    /// # Errors
    /// Beyond the end, or what the system says.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.check(offset, into.len())?;
        self.file.read_exact_at(into, offset)
    }

    /// Writes all of `from`.
    ///
    /// # Errors
    /// Beyond the end, or what the system says.
    pub fn write(&self, offset: u64, from: &[u8]) -> io::Result<()> {
        self.check(offset, from.len())?;
        self.file.write_all_at(from, offset)
    }
}

impl AsFd for Region {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_read_or_written_beyond_the_end() {
        let region = Region::allocate("test", 100).unwrap();
        region.write(98, &[1, 2]).unwrap();
        let mut two = [0; 2];
        region.read(98, &mut two).unwrap();
        assert_eq!(two, [1, 2]);
        for at in [99, 100, u64::MAX] {
            assert!(region.write(at, &[1, 2]).is_err(), "{at}");
            assert!(region.read(at, &mut two).is_err(), "{at}");
        }
        assert_eq!(region.file.metadata().unwrap().len(), 100);
    }

    #[test]
    fn what_is_announced_must_be_there() {
        let shared = |size| {
            let region = Region::allocate("test", 100).unwrap();
            Region::received(region.file.into(), size).map(|region| region.size())
        };
        assert_eq!(shared(100), Ok(100));
        assert!(shared(101).is_err());
        let (pipe, _writer) = io::pipe().unwrap();
        assert!(Region::received(pipe.into(), 0).is_err());
    }
}
