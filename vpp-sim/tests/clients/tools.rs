//! Programs of clients we did not write: their interpreters, packages and definitions, where they are at hand.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PAPI: &str = "vpp-papi==2.4.2";

/// A file or folder of the facts about real VPP, which are no part of the repository: `CONTIV_SHARED`, or
/// `../../shared` beside the crate.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CONTIV_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
        PathBuf::from,
    );
    let path = root.join(path);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: there is no {} (set CONTIV_SHARED)", path.display());
    None
}

/// This package's programs for other people's clients, in their own languages.
fn sources(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(path)
}

/// Runs a client's program; what it printed is shown when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}\n{complained}");
    said
}

/// Whether a tool does its work, and what it said if it doesn't.
fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn or_skip<T>(made: &'static Result<T, String>) -> Option<&'static T> {
    made.as_ref()
        .inspect_err(|reason| eprintln!("skipped: {reason}"))
        .ok()
}

/// The folder of the Go programs, each named as its package, built by whoever comes first.
pub fn govpp() -> Option<&'static Path> {
    static PROGRAMS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    or_skip(PROGRAMS.get_or_init(build)).map(PathBuf::as_path)
}

fn go(arguments: &[&str]) -> Command {
    let mut command = Command::new("go");
    command.args(arguments).current_dir(sources("govpp"));
    command
}

fn build() -> Result<PathBuf, String> {
    succeeds(&mut go(&["version"]))?;
    succeeds(&mut go(&["mod", "download", "go.fd.io/govpp"]))?;
    // From here on it is our mistake if it fails.
    let programs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("govpp");
    std::fs::create_dir_all(&programs).map_err(|error| error.to_string())?;
    run(go(&["build", "-o"]).arg(&programs).arg("./..."));
    Ok(programs)
}

/// An interpreter that has the package: a virtual environment in the user's cache, made by whoever comes first.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    or_skip(PYTHON.get_or_init(install)).map(PathBuf::as_path)
}

fn install() -> Result<PathBuf, String> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?;
    let environment = cache.join("contiv-vpp-tests").join(PAPI.replace("==", "-"));
    let python = environment.join("bin/python");
    let works = || succeeds(Command::new(&python).args(["-c", "import vpp_papi.vpp_stats"]));
    if works().is_err() {
        succeeds(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&environment),
        )?;
        succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet", PAPI]))?;
        works()?;
    }
    Ok(python)
}

/// The script with the definitions as its first argument.
pub fn papi(name: &str) -> Option<Command> {
    let definitions = shared("vpp/api-26.06")?;
    let mut command = Command::new(python()?);
    // Nothing is to be written beside the sources.
    command.arg("-B").arg(sources("papi").join(name)).arg(definitions);
    Some(command)
}
