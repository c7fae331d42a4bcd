//! A layer: the files that an image adds to those below.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Permissions of directories nobody asked for by name.
const DIRECTORY: u32 = 0o755;

/// Why a layer can't be made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A path within the image that is not one, such as `../x`.
    #[error("{} is no path within an image: write it absolute and without ..", .0.display())]
    Path(PathBuf),
    /// A file that is to go into the image can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file on this machine.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// An entry the tar format has no room for.
    #[error("{}: {source}", path.display())]
    Entry {
        /// The path within the image.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Directory { mode: u32 },
    File { content: Vec<u8>, mode: u32 },
    Symlink { target: PathBuf },
}

/// Files by their absolute path within the image. Parents of what is added are added with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Layer {
    /// A layer without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with this content and these permissions; one of the same path is replaced.
    ///
    /// # Errors
    /// [`LayerError::Path`].
    pub fn content(
        &mut self,
        path: impl AsRef<Path>,
        content: impl Into<Vec<u8>>,
        mode: u32,
    ) -> Result<(), LayerError> {
        let content = content.into();
        self.insert(path.as_ref(), Entry::File { content, mode })
    }

    /// Adds a copy of a file of this machine.
    ///
    /// # Errors
    /// [`LayerError::Path`], [`LayerError::Read`].
    pub fn file(&mut self, path: impl AsRef<Path>, source: &Path, mode: u32) -> Result<(), LayerError> {
        let content = std::fs::read(source).map_err(|error| LayerError::Read {
            path: source.to_owned(),
            source: error,
        })?;
        self.content(path, content, mode)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// [`LayerError::Path`].
    pub fn symlink(&mut self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Result<(), LayerError> {
        let target = target.into();
        self.insert(path.as_ref(), Entry::Symlink { target })
    }

    /// Adds a directory with these permissions.
    ///
    /// # Errors
    /// [`LayerError::Path`].
    pub fn directory(&mut self, path: impl AsRef<Path>, mode: u32) -> Result<(), LayerError> {
        self.insert(path.as_ref(), Entry::Directory { mode })
    }

    fn insert(&mut self, path: &Path, entry: Entry) -> Result<(), LayerError> {
        let wrong = || LayerError::Path(path.to_owned());
        let inner = path.strip_prefix("/").map_err(|_| wrong())?;
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if inner.as_os_str().is_empty() || !inner.components().all(plain) {
            return Err(wrong());
        }
        for parent in inner.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            self.entries
                .entry(parent.to_owned())
                .or_insert(Entry::Directory { mode: DIRECTORY });
        }
        self.entries.insert(inner.to_owned(), entry);
        Ok(())
    }

    /// The layer as an uncompressed tar: entries in the order of their paths, of root, from 1970.
    ///
    /// # Errors
    /// [`LayerError::Entry`].
    pub fn tar(&self) -> Result<Vec<u8>, LayerError> {
        let mut builder = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append(&mut builder, path, entry).map_err(|source| LayerError::Entry {
                path: path.clone(),
                source,
            })?;
        }
        builder.into_inner().map_err(|source| LayerError::Entry {
            path: PathBuf::from("/"),
            source,
        })
    }
}

fn append(builder: &mut Builder<Vec<u8>>, path: &Path, entry: &Entry) -> io::Result<()> {
    let mut header = header();
    match entry {
        Entry::Directory { mode } => {
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            header.set_size(0);
            builder.append_data(&mut header, path, io::empty())
        }
        Entry::File { content, mode } => {
            header.set_entry_type(EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_slice())
        }
        Entry::Symlink { target } => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            header.set_size(0);
            builder.append_link(&mut header, path, target)
        }
    }
}

/// A header with nothing in it that differs between machines.
pub(crate) fn header() -> Header {
    let mut header = Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(layer: &Layer) -> Vec<(String, u32, EntryType)> {
        let tar = layer.tar().unwrap();
        let mut archive = tar::Archive::new(tar.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            assert_eq!(entry.header().mtime().unwrap(), 0, "{path}");
            assert_eq!(entry.header().uid().unwrap(), 0, "{path}");
            (path, entry.header().mode().unwrap(), entry.header().entry_type())
        });
        entries.collect()
    }

    #[test]
    fn parents_come_before_what_they_hold_whatever_the_order_of_adding() {
        let mut one = Layer::new();
        one.content("/usr/bin/a", "x", 0o755).unwrap();
        one.symlink("/var/run", "/run").unwrap();
        one.directory("/tmp", 0o1777).unwrap();
        let mut other = Layer::new();
        other.directory("/tmp", 0o1777).unwrap();
        other.symlink("/var/run", "/run").unwrap();
        other.content("/usr/bin/a", "x", 0o755).unwrap();
        assert_eq!(one.tar().unwrap(), other.tar().unwrap());
        let directory = |path: &str, mode| (path.to_owned(), mode, EntryType::Directory);
        assert_eq!(
            listing(&one),
            [
                directory("tmp", 0o1777),
                directory("usr", 0o755),
                directory("usr/bin", 0o755),
                ("usr/bin/a".to_owned(), 0o755, EntryType::Regular),
                directory("var", 0o755),
                ("var/run".to_owned(), 0o777, EntryType::Symlink),
            ]
        );
    }

    #[test]
    fn a_directory_asked_for_keeps_its_permissions_when_files_follow() {
        let mut layer = Layer::new();
        layer.directory("/tmp", 0o1777).unwrap();
        layer.content("/tmp/x", "", 0o600).unwrap();
        assert_eq!(listing(&layer)[0].1, 0o1777);
    }

    #[test]
    fn long_paths_survive() {
        let path = format!("/usr/lib/{}/{}", "a".repeat(90), "b".repeat(90));
        let mut layer = Layer::new();
        layer.content(&path, "", 0o644).unwrap();
        let found = listing(&layer).pop().unwrap().0;
        assert_eq!(found, path.trim_start_matches('/'));
    }

    #[test]
    fn only_absolute_plain_paths() {
        for path in ["usr/bin", "/", "/usr/../etc", ""] {
            let error = Layer::new().content(path, "", 0o644).unwrap_err();
            assert!(error.to_string().contains("no path within an image"), "{error}");
        }
    }
}
