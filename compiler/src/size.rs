//! The size guard: no object may grow towards the API server's limits unseen.
//!
//! etcd refuses requests above 1.5 MiB and every watcher pays for each byte of each change, so
//! objects are warned about and refused long before.

use serde::Serialize;

/// Above this many bytes of JSON an object is written, and its size is told.
pub const WARN_BYTES: usize = 128 * 1024;
/// Above this many bytes of JSON an object is not written: the last good one stays.
pub const REFUSE_BYTES: usize = 512 * 1024;

/// Size of a spec, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Within the limits.
    Ok(usize),
    /// Above [`WARN_BYTES`]: write it and say so.
    Large(usize),
    /// Above [`REFUSE_BYTES`]: keep the last good one and say so.
    TooLarge(usize),
}

impl Size {
    /// Judges a length in bytes.
    pub fn judge(bytes: usize) -> Self {
        if bytes <= WARN_BYTES {
            Self::Ok(bytes)
        } else if bytes <= REFUSE_BYTES {
            Self::Large(bytes)
        } else {
            Self::TooLarge(bytes)
        }
    }

    /// Length in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Ok(bytes) | Self::Large(bytes) | Self::TooLarge(bytes) => bytes,
        }
    }

    /// Whether the object may be written.
    pub fn writable(self) -> bool {
        !matches!(self, Self::TooLarge(_))
    }
}

/// Counts bytes and keeps none.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Length of the value's JSON in bytes, judged. Something that has no JSON is never writable.
pub fn check<T: Serialize>(value: &T) -> Size {
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => Size::judge(count.0),
        Err(_) => Size::TooLarge(usize::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_inclusive() {
        assert_eq!(Size::judge(131_072), Size::Ok(131_072));
        assert_eq!(Size::judge(131_073), Size::Large(131_073));
        assert_eq!(Size::judge(524_288), Size::Large(524_288));
        assert_eq!(Size::judge(524_289), Size::TooLarge(524_289));
        assert!(Size::judge(524_288).writable());
        assert!(!Size::judge(524_289).writable());
    }

    #[test]
    fn length_is_that_of_the_json() {
        // ["ab","c"]
        assert_eq!(check(&["ab", "c"]).bytes(), 10);
    }
}
