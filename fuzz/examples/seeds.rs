//! Writes seeds: `seeds DIRECTORY` makes a folder for each target.

use std::path::PathBuf;
use std::process::ExitCode;

use fuzz::seeds::{TARGETS, seeds};

const COUNT: usize = 256;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("seeds DIRECTORY");
        return ExitCode::from(2);
    };
    for (target, _) in TARGETS {
        let directory = directory.join(target);
        let written = std::fs::create_dir_all(&directory).and_then(|()| {
            seeds(COUNT)
                .enumerate()
                .try_for_each(|(n, seed)| std::fs::write(directory.join(format!("seed-{n:03}")), seed))
        });
        if let Err(error) = written {
            eprintln!("{}: {error}", directory.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
