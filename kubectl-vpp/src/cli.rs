//! The command line.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::reach::{self, Options};
use crate::services;

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
    /// Show Services as the dataplane has them: frontends, backends, and what each node has.
    #[command(visible_alias = "service", long_about = services::ABOUT, after_long_help = services::EXAMPLES)]
    Services(services::Options),
}

/// Runs the command of the process's arguments.
///
/// Exit codes: 0 all answered, 1 an expectation failed, 2 bad input or usage, 3 an answer could not be given.
pub fn run() -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut err = io::stderr().lock();
    let (outcome, code) = match Cli::parse().command {
        Command::Reach(options) => reach(&options, &mut out, &mut err),
        Command::Services(options) => services(&options, &mut out),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(message) => {
            // Nothing is left to tell the failure of telling.
            let _ = writeln!(err, "{message}");
            ExitCode::from(code)
        }
    }
}

/// Whether all is as expected, or a message; and the exit code that goes with the message.
type Outcome = (Result<bool, String>, u8);

fn reach(options: &Options, out: &mut impl Write, err: &mut impl Write) -> Outcome {
    let outcome = reach::run(options, out, err).and_then(|passed| {
        out.flush()?;
        Ok(passed)
    });
    let code = match &outcome {
        Err(reach::Error::Input(_) | reach::Error::Usage(_)) => 2,
        _ => 3,
    };
    match outcome {
        // Whoever reads the answers has seen enough.
        Err(reach::Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => (Ok(true), code),
        other => (other.map_err(|error| error.to_string()), code),
    }
}

fn services(options: &services::Options, out: &mut impl Write) -> Outcome {
    let outcome = services::run(options, out).and_then(|()| Ok(out.flush()?));
    let code = if matches!(outcome, Err(services::Error::Unknown { .. })) {
        2
    } else {
        3
    };
    match outcome {
        Err(services::Error::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => (Ok(true), code),
        other => (other.map(|()| true).map_err(|error| error.to_string()), code),
    }
}
