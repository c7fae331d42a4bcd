//! Memory in VPP's layout: a header, and a directory of entries that point to vectors.
//!
//! The memory has two halves. A new directory is written into the half that is not in use, so that a client that follows old
//! pointers meets old vectors and nothing else; values of an unchanged directory are written in place.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// Size of the segment, VPP's default; memory is taken only where something is written.
pub const SIZE: u64 = 32 << 20;

/// Where VPP would have the segment mapped: clients subtract it from each pointer.
const BASE: u64 = 0x10_0000_0000;
const VERSION: u64 = 2;
const EPOCH_AT: u64 = 16;
const IN_PROGRESS_AT: u64 = 24;
const DIRECTORY_AT: u64 = 32;
/// The header, rounded up; after it the halves begin.
const HEADER_LEN: u64 = 4096;
const HALF: u64 = (SIZE - HEADER_LEN) / 2;
/// Values are compared and written by this many bytes.
const PAGE: usize = 4096;

/// Before each vector of a heap other than the main one: the heap, then length, length of this header in words, and
/// the logarithm of the alignment.
const VECTOR_HEADER_LEN: usize = 16;
const NAME_LEN: usize = 128;

/// What an entry holds; vectors are of one thread, as there are no workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A number.
    Scalar(u64),
    /// A number that goes up and down.
    Gauge(u64),
    /// Counts by index.
    Simple(Vec<u64>),
    /// Packets and bytes by index.
    Combined(Vec<(u64, u64)>),
    /// Names by index.
    Names(Vec<String>),
    /// Another entry's column.
    Link {
        /// Which entry.
        entry: u32,
        /// Which index in it.
        column: u32,
    },
}

impl Content {
    /// VPP's `stat_directory_type_t`.
    fn number(&self) -> u32 {
        match self {
            Self::Scalar(_) => 1,
            Self::Simple(_) => 2,
            Self::Combined(_) => 3,
            Self::Names(_) => 4,
            Self::Link { .. } => 6,
            Self::Gauge(_) => 9,
        }
    }

    /// Whether a client that knows where one is finds the other there too.
    fn has_shape_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(_), Self::Scalar(_)) | (Self::Gauge(_), Self::Gauge(_)) => true,
            (Self::Simple(a), Self::Simple(b)) => a.len() == b.len(),
            (Self::Combined(a), Self::Combined(b)) => a.len() == b.len(),
            _ => self == other,
        }
    }
}

/// A named entry of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path, at most 127 bytes are kept.
    pub name: String,
    /// Value.
    pub content: Content,
}

impl Entry {
    /// An entry.
    pub fn new(name: impl Into<String>, content: Content) -> Self {
        let name = name.into();
        Self { name, content }
    }
}

/// The memory.
#[derive(Debug)]
pub struct Segment {
    file: File,
    epoch: u64,
    /// The half in use.
    half: u64,
    entries: Vec<Entry>,
    image: Vec<u8>,
}

/// The directory does not fit; VPP would panic for want of memory.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The memory cannot be written.
    #[error("stats segment cannot be written")]
    Write(#[from] io::Error),
    /// Too many counters.
    #[error("stats segment is full: {0} bytes wanted, {HALF} there")]
    Full(usize),
}

impl Segment {
    /// A segment with an empty directory.
    ///
    /// # Errors
    /// Whatever the system has against it.
    pub fn new() -> Result<Self, SegmentError> {
        let memory = memfd_create("stats", MemfdFlags::CLOEXEC).map_err(io::Error::from)?;
        ftruncate(&memory, SIZE).map_err(io::Error::from)?;
        let mut segment = Self {
            file: File::from(memory),
            epoch: 0,
            half: 1,
            entries: Vec::new(),
            image: Vec::new(),
        };
        segment.put(0, VERSION)?;
        segment.put(8, BASE)?;
        segment.replace(Vec::new())?;
        Ok(segment)
    }

    /// The memory, to be passed on.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Shows these entries: values in place if the directory is as it was, else a new directory and a new epoch.
    ///
    /// # Errors
    /// [`SegmentError`]; the segment then stays as it was.
    pub fn update(&mut self, entries: Vec<Entry>) -> Result<(), SegmentError> {
        let same = self.entries.len() == entries.len()
            && self
                .entries
                .iter()
                .zip(&entries)
                .all(|(old, new)| old.name == new.name && old.content.has_shape_of(&new.content));
        if !same {
            return self.replace(entries);
        }
        let start = start(self.half);
        let (image, _) = render(&entries, BASE + start);
        let pages = self.image.chunks(PAGE).zip(image.chunks(PAGE));
        for (at, (old, new)) in pages.enumerate() {
            if old != new {
                self.file.write_all_at(new, start + (at * PAGE) as u64)?;
            }
        }
        (self.entries, self.image) = (entries, image);
        Ok(())
    }

    fn replace(&mut self, entries: Vec<Entry>) -> Result<(), SegmentError> {
        let half = 1 - self.half;
        let start = start(half);
        let (image, directory) = render(&entries, BASE + start);
        if image.len() as u64 > HALF {
            return Err(SegmentError::Full(image.len()));
        }
        self.put(IN_PROGRESS_AT, 1)?;
        self.file.write_all_at(&image, start)?;
        self.put(DIRECTORY_AT, directory)?;
        self.epoch += 1;
        self.put(EPOCH_AT, self.epoch)?;
        self.put(IN_PROGRESS_AT, 0)?;
        (self.half, self.entries, self.image) = (half, entries, image);
        Ok(())
    }

    fn put(&self, at: u64, word: u64) -> io::Result<()> {
        self.file.write_all_at(&word.to_le_bytes(), at)
    }
}

fn start(half: u64) -> u64 {
    HEADER_LEN + half * HALF
}

/// The bytes of a directory and its vectors that begin at an address, and the directory's address.
fn render(entries: &[Entry], base: u64) -> (Vec<u8>, u64) {
    let mut image = Image {
        bytes: Vec::new(),
        base,
    };
    let mut directory = Vec::new();
    for entry in entries {
        let union = match &entry.content {
            Content::Scalar(value) | Content::Gauge(value) => *value,
            Content::Simple(counts) => image.thread(counts.len(), &words(counts.iter().copied())),
            Content::Combined(counts) => {
                let pairs = counts.iter().flat_map(|(packets, bytes)| [*packets, *bytes]);
                image.thread(counts.len(), &words(pairs))
            }
            Content::Names(names) => {
                let pointers: Vec<_> = names.iter().map(|name| image.name(name)).collect();
                image.vector(names.len(), &words(pointers.into_iter()))
            }
            Content::Link { entry, column } => u64::from(*entry) | (u64::from(*column) << 32),
        };
        directory.extend(entry.content.number().to_le_bytes());
        directory.extend([0; 4]);
        directory.extend(union.to_le_bytes());
        let mut name = entry.name.as_bytes().to_vec();
        name.truncate(NAME_LEN - 1);
        name.resize(NAME_LEN, 0);
        directory.extend(name);
    }
    let directory = image.vector(entries.len(), &directory);
    (image.bytes, directory)
}

fn words(values: impl Iterator<Item = u64>) -> Vec<u8> {
    values.flat_map(u64::to_le_bytes).collect()
}

struct Image {
    bytes: Vec<u8>,
    base: u64,
}

impl Image {
    /// Appends a vector; its address.
    fn vector(&mut self, length: usize, content: &[u8]) -> u64 {
        // Counts are read by words: each begins at a multiple of eight.
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.bytes.extend([0; 8]);
        self.bytes
            .extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        self.bytes.extend([(VECTOR_HEADER_LEN / 8) as u8, 3, 0, 0]);
        let address = self.base + self.bytes.len() as u64;
        self.bytes.extend(content);
        address
    }

    /// The vector of the one thread, which holds a vector.
    fn thread(&mut self, length: usize, content: &[u8]) -> u64 {
        let inner = self.vector(length, content);
        self.vector(1, &inner.to_le_bytes())
    }

    fn name(&mut self, name: &str) -> u64 {
        let content = [name.as_bytes(), &[0]].concat();
        self.vector(content.len(), &content)
    }
}
