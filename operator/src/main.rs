//! contiv-operator: parse and run.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match operator::run(operator::Config::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("contiv-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
