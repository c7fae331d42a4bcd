//! Shared libraries of a dynamically linked program, as the loader of this machine finds them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why libraries are not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `ldd` can't be run.
    #[error("ldd, which finds the libraries of {}, can't be run: {source}", program.display())]
    Ldd {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A library that is not installed.
    #[error("{} needs {library}, which is not on this machine", program.display())]
    Missing {
        /// The program.
        program: PathBuf,
        /// Name of the library.
        library: String,
    },
}

/// Paths of all libraries that the program loads at its start, and of the loader; none for a static one.
///
/// # Errors
/// [`Error`].
pub fn of(program: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .map_err(|source| Error::Ldd {
            program: program.to_owned(),
            source,
        })?;
    // A static program makes ldd say so and fail; what can't be loaded at all fails when it is read.
    parse(&String::from_utf8_lossy(&output.stdout)).map_err(|library| Error::Missing {
        program: program.to_owned(),
        library,
    })
}

/// Reads lines such as `libm.so.6 => /lib/libm.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)`; the error is the
/// name of a library that was not found.
fn parse(text: &str) -> Result<BTreeSet<PathBuf>, String> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let line = line.trim();
        let (name, place) = line.split_once(" => ").unwrap_or((line, line));
        if place == "not found" {
            return Err(name.to_owned());
        }
        if let Some((path, _)) = place.split_once(" (0x")
            && path.starts_with('/')
        {
            found.insert(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007ffe)\n\
                    \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f6)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f7)\n";
        let paths = parse(text).unwrap();
        let paths: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            paths,
            [
                "/lib/x86_64-linux-gnu/libgcc_s.so.1",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(parse("\tlibx.so.1 => not found\n"), Err("libx.so.1".to_owned()));
        assert_eq!(parse("\tstatically linked\n"), Ok(BTreeSet::new()));
        assert_eq!(parse("\tnot a dynamic executable\n"), Ok(BTreeSet::new()));
    }

    #[test]
    fn this_test_has_a_loader_and_a_libc() {
        let own = of(&std::env::current_exe().unwrap()).unwrap();
        let names: Vec<String> = own
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert!(names.iter().any(|name| name.starts_with("libc.so")), "{names:?}");
        assert!(own.iter().all(|path| path.exists()), "{own:?}");
    }
}
