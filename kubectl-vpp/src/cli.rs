//! The command line.

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::reach::{self, Options};

/// What the Contiv-VPP dataplane does, and what it would do.
#[derive(Debug, Parser)]
#[command(name = "kubectl-vpp", bin_name = "kubectl vpp", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether traffic is allowed, and by which policy and rule.
    #[command(long_about = reach::ABOUT, after_long_help = reach::EXAMPLES)]
    Reach(Options),
}

/// Runs the command of the process's arguments.
///
/// Exit codes: 0 all answered, 1 an expectation failed, 2 bad input or usage, 3 an answer could not be given.
pub fn run() -> ExitCode {
    let Command::Reach(options) = Cli::parse().command;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut err = io::stderr().lock();
    let outcome = reach::run(&options, &mut out, &mut err).and_then(|passed| {
        out.flush()?;
        Ok(passed)
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever reads the answers has seen enough.
        Err(reach::Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let code = match error {
                reach::Error::Input(_) | reach::Error::Usage(_) => 2,
                reach::Error::Cluster(_) | reach::Error::Dataplane(_) | reach::Error::Write(_) => 3,
            };
            // Nothing is left to tell the failure of telling.
            let _ = writeln!(err, "{error}");
            ExitCode::from(code)
        }
    }
}
