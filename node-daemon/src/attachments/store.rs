//! Attachments on disk: one file each, so that writing one costs the same however many there are.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cni_shim::AttachmentKey;

use super::{Attachment, Attachments};

/// The state directory can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}: {source}", path = .path.display())]
pub struct StoreError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A file that was no attachment and has been put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Where it is now.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The directory of attachments' files. All methods block on the disk; a clone is the same
/// directory.
///
/// # Guarantees
/// A file is whole or absent: it is written beside its place, synced, renamed, and the directory
/// synced. What `save` has returned for survives a crash of the node.
#[derive(Clone, Debug)]
pub struct AttachmentStore {
    directory: PathBuf,
    cooling: PathBuf,
}

const SUFFIX: &str = ".json";
const ASIDE: &str = ".corrupt";

impl AttachmentStore {
    /// Uses `state_dir`, making it where it is missing.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let directory = state_dir.join("attachments");
        fs::create_dir_all(&directory).map_err(failed("making", &directory))?;
        Ok(Self {
            directory,
            cooling: state_dir.join("cooling.json"),
        })
    }

    /// Reads all attachments. A file that isn't one is renamed and reported, not an error: one bad
    /// file must not keep the node's pods from being served.
    ///
    /// # Errors
    /// When the directory can't be listed.
    pub fn load(&self) -> Result<(Attachments, Vec<Quarantined>), StoreError> {
        let mut attachments = Attachments::default();
        let mut quarantined = Vec::new();
        let entries = fs::read_dir(&self.directory).map_err(failed("listing", &self.directory))?;
        for entry in entries {
            let path = entry.map_err(failed("listing", &self.directory))?.path();
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            if name.starts_with(b".") {
                // The rest of a write that a crash interrupted.
                let _ = fs::remove_file(&path);
            } else if name.ends_with(SUFFIX.as_bytes()) {
                match self.read(&path) {
                    Ok(attachment) => {
                        attachments.insert(attachment);
                    }
                    Err(reason) => quarantined.push(quarantine(path, reason)),
                }
            }
        }
        quarantined.sort_by(|a, b| a.path.cmp(&b.path));
        Ok((attachments, quarantined))
    }

    fn read(&self, path: &Path) -> Result<Attachment, String> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let attachment: Attachment = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if self.path(&attachment.key()) == path {
            Ok(attachment)
        } else {
            Err("it holds another attachment than its name says".to_owned())
        }
    }

    /// Writes one attachment, durably.
    ///
    /// # Errors
    /// When it can't be written; the file then holds what it held before.
    pub fn save(&self, attachment: &Attachment) -> Result<(), StoreError> {
        let path = self.path(&attachment.key());
        let bytes = serde_json::to_vec(attachment).map_err(io::Error::from);
        bytes
            .and_then(|bytes| replace(&path, &bytes, true))
            .map_err(failed("writing", &path))
    }

    /// Removes one attachment, durably. One that is not there is no error.
    ///
    /// # Errors
    /// When the file exists and can't be removed.
    pub fn remove(&self, key: &AttachmentKey) -> Result<(), StoreError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => sync(&self.directory).map_err(failed("syncing", &self.directory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed("removing", &path)(error)),
        }
    }

    /// Remembers when addresses were released, for [`load_cooling`](Self::load_cooling). Survives
    /// a crash of the daemon but not of the node, with which the addresses' old users die.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save_cooling(&self, cooling: &BTreeMap<IpAddr, SystemTime>) -> Result<(), StoreError> {
        let seconds: BTreeMap<IpAddr, u64> = cooling
            .iter()
            .map(|(address, at)| {
                let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
                (*address, since.as_secs())
            })
            .collect();
        let bytes = serde_json::to_vec(&seconds).map_err(io::Error::from);
        bytes
            .and_then(|bytes| replace(&self.cooling, &bytes, false))
            .map_err(failed("writing", &self.cooling))
    }

    /// Addresses released before a restart, and when. Nothing, if the file is missing or unusable:
    /// the cool-down is a courtesy that must not keep the daemon from starting.
    pub fn load_cooling(&self) -> BTreeMap<IpAddr, SystemTime> {
        let seconds: BTreeMap<IpAddr, u64> = fs::read(&self.cooling)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        seconds
            .into_iter()
            .filter_map(|(address, seconds)| {
                let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
                Some((address, at))
            })
            .collect()
    }

    // '@' can't be in a container id, so different keys never share a file.
    fn path(&self, key: &AttachmentKey) -> PathBuf {
        let name = format!("{}@{}{SUFFIX}", key.container_id, key.ifname);
        self.directory.join(name)
    }
}

fn quarantine(path: PathBuf, reason: String) -> Quarantined {
    let mut aside = path.clone().into_os_string();
    aside.push(ASIDE);
    match fs::rename(&path, &aside) {
        Ok(()) => Quarantined {
            path: aside.into(),
            reason,
        },
        Err(error) => Quarantined {
            path,
            reason: format!("{reason}; and it can't be put aside: {error}"),
        },
    }
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError { what, path, source }
}

/// Replaces a file's content as a whole; with `durable`, so that it survives a crash of the node.
fn replace(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(path.file_name().unwrap_or_default());
    let temporary = directory.join(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    fs::rename(&temporary, path)?;
    if durable { sync(directory) } else { Ok(()) }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::super::tests::attachment;
    use super::*;
    use cni_shim::CniResult;

    #[test]
    fn what_was_saved_is_loaded_until_removed() {
        let state = tempfile::tempdir().unwrap();
        let store = AttachmentStore::open(state.path()).unwrap();
        let mut first = attachment("c1");
        store.save(&first).unwrap();
        store.save(&attachment("c2")).unwrap();
        first.state = State::Committed;
        first.result = Some(CniResult::default());
        store.save(&first).unwrap();

        let again = AttachmentStore::open(state.path()).unwrap();
        let (loaded, bad) = again.load().unwrap();
        assert_eq!(loaded, [first.clone(), attachment("c2")].into_iter().collect());
        assert!(bad.is_empty());

        again.remove(&first.key()).unwrap();
        again.remove(&first.key()).unwrap();
        assert_eq!(store.load().unwrap().0.len(), 1);
    }

    #[test]
    fn a_bad_file_is_put_aside_once_and_the_rest_is_loaded() {
        let state = tempfile::tempdir().unwrap();
        let store = AttachmentStore::open(state.path()).unwrap();
        store.save(&attachment("good")).unwrap();
        let directory = state.path().join("attachments");
        let whole = fs::read(directory.join("good@eth0.json")).unwrap();
        fs::write(directory.join("torn@eth0.json"), &whole[..whole.len() / 2]).unwrap();
        fs::write(directory.join("moved@eth0.json"), &whole).unwrap();
        fs::write(directory.join(".half-written"), b"{").unwrap();

        let (loaded, bad) = store.load().unwrap();
        assert_eq!(loaded.len(), 1);
        let names: Vec<_> = bad
            .iter()
            .map(|each| each.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(names, ["moved@eth0.json.corrupt", "torn@eth0.json.corrupt"]);
        assert!(!directory.join(".half-written").exists());
        let (loaded, bad) = store.load().unwrap();
        assert_eq!((loaded.len(), bad.len()), (1, 0));
    }

    #[test]
    fn release_times_survive_a_restart_and_garbage_is_nothing() {
        let state = tempfile::tempdir().unwrap();
        let store = AttachmentStore::open(state.path()).unwrap();
        assert!(store.load_cooling().is_empty());
        let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let cooling: BTreeMap<IpAddr, SystemTime> = [
            ("10.1.1.9".parse().unwrap(), at),
            ("fd00::9".parse().unwrap(), at),
        ]
        .into();
        store.save_cooling(&cooling).unwrap();
        assert_eq!(store.load_cooling(), cooling);
        fs::write(state.path().join("cooling.json"), b"nonsense").unwrap();
        assert!(store.load_cooling().is_empty());
    }
}
