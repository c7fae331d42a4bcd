//! The CNI plugin that a container runtime runs for each pod.
//!
//! It is copied on to hosts of any distribution, so build it static:
//! `cargo build --release -p cni-shim --target x86_64-unknown-linux-musl` where that target is
//! installed, else `RUSTFLAGS="-C target-feature=+crt-static" cargo build --release -p cni-shim`
//! (it resolves no names, so a static glibc serves as well).

use std::io::{self, Write};
use std::process::ExitCode;

use cni_shim::shim;

fn main() -> ExitCode {
    let outcome = shim::run(|name| std::env::var(name).ok(), io::stdin(), shim::DEADLINE);
    let mut stdout = io::stdout();
    let written = stdout
        .write_all(outcome.stdout.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Ok(()) => ExitCode::from(outcome.exit),
        Err(error) => {
            eprintln!("contiv-cni: standard output can't be written: {error}");
            ExitCode::FAILURE
        }
    }
}
