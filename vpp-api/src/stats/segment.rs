//! The bytes of the segment. Nothing in them is trusted: each pointer and length is checked against the size.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::value::{Combined, Histogram, Value};

/// Length of the header's part that is read.
const HEADER_LEN: usize = 40;
/// Length of a directory entry: type, padding, union, name.
const ENTRY_LEN: usize = 144;
const NAME_AT: usize = 16;
/// A vector's length lies this far before its first element.
const VECTOR_LEN_AT: u64 = 8;

const TYPE_ILLEGAL: u32 = 0;
const TYPE_SCALAR: u32 = 1;
const TYPE_SIMPLE: u32 = 2;
const TYPE_COMBINED: u32 = 3;
const TYPE_NAMES: u32 = 4;
const TYPE_EMPTY: u32 = 5;
const TYPE_SYMLINK: u32 = 6;
const TYPE_HISTOGRAM: u32 = 7;
const TYPE_GAUGE: u32 = 9;

/// Why a walk stopped.
#[derive(Debug)]
pub enum Fault {
    Read(io::Error),
    /// Perhaps only because somebody is changing it.
    Corrupt(String),
}

type Result<T> = std::result::Result<T, Fault>;

/// The head of the segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub version: u64,
    /// Where VPP has the segment mapped: its pointers are absolute.
    base: u64,
    pub epoch: u64,
    pub in_progress: u64,
    directory: u64,
}

/// One counter's place.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    kind: u32,
    union: u64,
}

impl Entry {
    /// Whether it stands for a counter, and not for a free slot.
    pub fn is_used(&self) -> bool {
        self.kind != TYPE_ILLEGAL && self.kind != TYPE_EMPTY
    }
}

/// All counters' places.
#[derive(Debug, Clone)]
pub struct Directory {
    pub entries: Vec<Entry>,
}

/// The shared memory.
#[derive(Debug)]
pub struct Segment {
    file: File,
    size: u64,
}

impl Segment {
    pub fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }

    pub fn header(&self) -> Result<Header> {
        let mut bytes = [0; HEADER_LEN];
        self.file.read_exact_at(&mut bytes, 0).map_err(Fault::Read)?;
        let mut words = bytes.chunks_exact(8).map(word);
        let mut next = || words.next().unwrap_or_default();
        Ok(Header {
            version: next(),
            base: next(),
            epoch: next(),
            in_progress: next(),
            directory: next(),
        })
    }

    /// The segment as a header describes it, for one walk.
    pub fn view(&self, header: &Header) -> View<'_> {
        View {
            segment: self,
            base: header.base,
            directory: header.directory,
            budget: self.size.saturating_mul(2),
        }
    }
}

/// One walk.
pub struct View<'a> {
    segment: &'a Segment,
    base: u64,
    directory: u64,
    /// Bytes that may still be copied: pointers that alias must not make us copy without end.
    budget: u64,
}

impl View<'_> {
    /// The elements of a vector, as bytes.
    fn vector(&mut self, pointer: u64, element: usize) -> Result<Vec<u8>> {
        if pointer == 0 {
            return Ok(Vec::new());
        }
        let corrupt = |what: &str| Fault::Corrupt(format!("{what} of a vector at {pointer:#x}"));
        let at = pointer.checked_sub(self.base).ok_or_else(|| corrupt("address"))?;
        let length_at = at.checked_sub(VECTOR_LEN_AT).ok_or_else(|| corrupt("address"))?;
        if at > self.segment.size {
            return Err(corrupt("address"));
        }
        let mut length = [0; 4];
        self.copy(&mut length, length_at)?;
        let bytes = u64::from(u32::from_le_bytes(length)) * element as u64;
        if bytes > self.segment.size - at {
            return Err(corrupt("length"));
        }
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or_else(|| corrupt("repetition"))?;
        let mut content = vec![0; usize::try_from(bytes).map_err(|_| corrupt("length"))?];
        self.copy(&mut content, at)?;
        Ok(content)
    }

    fn copy(&self, into: &mut [u8], at: u64) -> Result<()> {
        self.segment.file.read_exact_at(into, at).map_err(Fault::Read)
    }

    fn words(&mut self, pointer: u64) -> Result<Vec<u64>> {
        Ok(self.vector(pointer, 8)?.chunks_exact(8).map(word).collect())
    }

    /// One vector for each thread.
    fn threads<T>(&mut self, pointer: u64, each: impl Fn(&mut Self, u64) -> Result<T>) -> Result<Vec<T>> {
        let threads = self.words(pointer)?;
        threads.into_iter().map(|thread| each(self, thread)).collect()
    }

    pub fn directory(&mut self) -> Result<Directory> {
        let bytes = self.vector(self.directory, ENTRY_LEN)?;
        Ok(Directory {
            entries: bytes.chunks_exact(ENTRY_LEN).map(entry).collect(),
        })
    }

    /// A directory of the same epoch with the values that are kept in it as they are now.
    pub fn refresh(&mut self, mut directory: Directory) -> Result<Directory> {
        let bytes = self.vector(self.directory, ENTRY_LEN)?;
        if bytes.len() != directory.entries.len() * ENTRY_LEN {
            return Err(Fault::Corrupt("directory changed within an epoch".to_owned()));
        }
        for (entry, bytes) in directory.entries.iter_mut().zip(bytes.chunks_exact(ENTRY_LEN)) {
            entry.union = word(&bytes[8..NAME_AT]);
        }
        Ok(directory)
    }

    /// The value of one entry.
    pub fn value(&mut self, directory: &Directory, at: usize) -> Result<Value> {
        let Some(entry) = directory.entries.get(at) else {
            return Err(Fault::Corrupt(format!("no entry {at}")));
        };
        if entry.kind != TYPE_SYMLINK {
            return self.direct(entry);
        }
        let (target, column) = (entry.union & u64::from(u32::MAX), entry.union >> 32);
        let dangling = || Fault::Corrupt(format!("{} leads nowhere", entry.name));
        let target = usize::try_from(target).map_err(|_| dangling())?;
        let target = directory.entries.get(target).ok_or_else(dangling)?;
        let column = usize::try_from(column).map_err(|_| dangling())?;
        // A link to a link is none: no loops.
        self.direct(target)?.column(column).ok_or_else(dangling)
    }

    fn direct(&mut self, entry: &Entry) -> Result<Value> {
        Ok(match entry.kind {
            TYPE_SCALAR => Value::Scalar(entry.union),
            TYPE_GAUGE => Value::Gauge(entry.union),
            TYPE_SIMPLE => Value::Simple(self.threads(entry.union, Self::words)?),
            TYPE_COMBINED => Value::Combined(self.threads(entry.union, |view, thread| {
                let bytes = view.vector(thread, 16)?;
                let pairs = bytes.chunks_exact(16).map(|pair| Combined {
                    packets: word(&pair[..8]),
                    bytes: word(&pair[8..]),
                });
                Ok(pairs.collect())
            })?),
            TYPE_NAMES => Value::Names(self.threads(entry.union, |view, name| {
                if name == 0 {
                    return Ok(None);
                }
                Ok(Some(text(&view.vector(name, 1)?)))
            })?),
            TYPE_HISTOGRAM => Value::Histogram(self.threads(entry.union, |view, thread| {
                let words = view.words(thread)?;
                let (least, bins) = words.split_first().unwrap_or((&0, &[]));
                Ok(Histogram {
                    least_exponent: *least,
                    bins: bins.to_vec(),
                })
            })?),
            other => Value::Unknown(other),
        })
    }
}

fn entry(bytes: &[u8]) -> Entry {
    Entry {
        kind: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        union: word(&bytes[8..NAME_AT]),
        name: text(&bytes[NAME_AT..]),
    }
}

/// Bytes up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// VPP writes in the host's order; its hosts and ours are little-endian.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
