//! contiv-operator: parse and run.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

/// Compiling is allocating, mostly: a fifth of its time less than with the system's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match operator::run(operator::Config::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("contiv-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
