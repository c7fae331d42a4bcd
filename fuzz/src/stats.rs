//! A stats segment of somebody who means ill: reading it ends, in bounded memory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use arbitrary::{Result, Unstructured};
use rustix::fs::{MemfdFlags, memfd_create};
use vpp_api::stats::Stats;

const BASE: u64 = 0x1_3000_0000;
const HEADER_LEN: usize = 64;

/// Names the reader looks for.
const NAMES: [&str; 10] = [
    "",
    "/if/names",
    "/if/rx",
    "/if/tx",
    "/if/drops",
    "/if/rx-error",
    "/err/ip4-input/ttl expired",
    "/sys/heartbeat",
    "/interfaces/tap0/rx",
    "/nodes/x/clocks",
];

/// The target.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    let Ok(bytes) = segment(&mut u) else { return };
    let Some(file) = file(&bytes) else { return };
    let Ok(mut stats) = file
        .try_clone()
        .map_err(drop)
        .and_then(|file| Stats::from_file(file).map_err(drop))
    else {
        return;
    };
    read(&mut stats);
    // Something changes, within the epoch or with a new one.
    for _ in 0..2 {
        let (Ok(at), Ok(word)) = (u.choose_index(bytes.len()), u.arbitrary::<u64>()) else {
            return;
        };
        // Not the word that says that a change is going on, which the reader would wait for.
        if !(17..32).contains(&at) && file.write_all_at(&word.to_le_bytes(), at as u64).is_err() {
            return;
        }
        read(&mut stats);
    }
}

fn read(stats: &mut Stats) {
    let _ = stats.names();
    let _ = stats.read(|_| true);
    let _ = stats.interfaces();
    let _ = stats.errors();
}

fn file(bytes: &[u8]) -> Option<File> {
    let file = File::from(memfd_create("stats", MemfdFlags::CLOEXEC).ok()?);
    file.write_all_at(bytes, 0).ok()?;
    Some(file)
}

/// Either bytes as they come behind a header, or vectors and a directory that names them.
pub(crate) fn segment(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for word in [2, BASE, u64::from(u.arbitrary::<u8>()?), 0, 0, 0, 0, 0] {
        bytes.extend(u64::to_le_bytes(word));
    }
    if u.ratio(1, 4)? {
        let pointer = if u.arbitrary()? {
            u.arbitrary()?
        } else {
            BASE + HEADER_LEN as u64 + 8
        };
        bytes[32..40].copy_from_slice(&u64::to_le_bytes(pointer));
        bytes.extend(u.bytes(u.len())?);
        return Ok(bytes);
    }
    let mut pointers = vec![0, BASE, BASE - 1, u64::MAX];
    for _ in 0..u.int_in_range(0..=8)? {
        let words: Vec<u64> = (0..u.int_in_range(0..=6)?)
            .map(|_| {
                if u.arbitrary()? {
                    Ok(*u.choose(&pointers)?)
                } else {
                    u.arbitrary()
                }
            })
            .collect::<Result<_>>()?;
        let length = if u.ratio(1, 8)? {
            u.arbitrary()?
        } else {
            words.len() as u32
        };
        pointers.push(vector(&mut bytes, length, &words));
    }
    let mut entries = Vec::new();
    let count = u.int_in_range(0..=8)?;
    for _ in 0..count {
        entries.extend(u.int_in_range(0..=10u64)?.to_le_bytes());
        let union = match u.int_in_range(0..=3)? {
            // A link: entry and column.
            0 => u64::from(u.int_in_range(0..=9u32)?) | u64::from(u.int_in_range(0..=4u32)?) << 32,
            1 => u.arbitrary()?,
            _ => *u.choose(&pointers)?,
        };
        entries.extend(union.to_le_bytes());
        let mut name = if u.ratio(1, 8)? {
            u.bytes(u.len().min(128))?.to_vec()
        } else {
            u.choose(&NAMES)?.as_bytes().to_vec()
        };
        name.resize(128, 0);
        entries.extend(name);
    }
    let words: Vec<u64> = entries
        .chunks_exact(8)
        .map(|word| word.try_into().map(u64::from_le_bytes).unwrap_or_default())
        .collect();
    let directory = vector(&mut bytes, count, &words);
    bytes[32..40].copy_from_slice(&directory.to_le_bytes());
    Ok(bytes)
}

fn vector(bytes: &mut Vec<u8>, length: u32, words: &[u64]) -> u64 {
    bytes.extend(length.to_le_bytes());
    bytes.extend([0x02, 0x03, 0x18, 0x00]);
    let pointer = BASE + bytes.len() as u64;
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    pointer
}
