//! Detachments asked for while the daemon was away.
//!
//! A pod's deletion must never wait for a daemon that is down, and its address must not stay taken
//! for ever either: the shim writes the DEL here and succeeds, the daemon carries it out when it is
//! back. One file per attachment, so two shims never write the same one at a time (the
//! specification forbids parallel commands for one container).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::config::AttachmentKey;
use crate::request::Request;

fn directory(state_dir: &Path) -> PathBuf {
    state_dir.join("deletes")
}

// '@' can't be in a container id, so different keys never share a name.
fn file(state_dir: &Path, key: &AttachmentKey) -> PathBuf {
    directory(state_dir).join(format!("{}@{}", key.container_id, key.ifname))
}

/// Writes down a DEL, durably.
///
/// # Errors
/// When the directory can't be made or the file can't be written.
pub fn record(state_dir: &Path, request: &Request) -> io::Result<()> {
    let directory = directory(state_dir);
    fs::create_dir_all(&directory)?;
    let path = file(state_dir, &request.key());
    let temporary = directory.join(format!(".{}.{}", request.container_id, std::process::id()));
    let written = (|| {
        let mut out = File::create(&temporary)?;
        out.write_all(&serde_json::to_vec(request)?)?;
        out.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&directory)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// What was written down, sorted by name. A file that can't be read as a request is returned as an
/// error with its path and left in place: the caller says so and goes on.
///
/// # Errors
/// When the directory exists and can't be listed.
pub fn load(state_dir: &Path) -> io::Result<Vec<Result<Request, (PathBuf, io::Error)>>> {
    let entries = match fs::read_dir(directory(state_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths
        .into_iter()
        .map(|path| {
            let read = fs::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            read.map_err(|error| (path, error))
        })
        .collect())
}

/// Forgets a DEL that was carried out, or that an ADD of the same attachment has overtaken.
///
/// # Errors
/// When the file exists and can't be removed.
pub fn forget(state_dir: &Path, key: &AttachmentKey) -> io::Result<()> {
    match fs::remove_file(file(state_dir, key)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
