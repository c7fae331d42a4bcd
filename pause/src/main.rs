//! The first process of a pod: holds the pod's namespaces until it is told to end.
//!
//! Where a pod shares its process namespace this is process 1 and inherits the orphans of all its containers; it waits
//! for them, so that none stays a zombie. Build it static: its image has nothing else in it.

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

fn main() -> ExitCode {
    let awaited = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM]);
    // Blocked, so that none is lost between two waits, and so that process 1 gets signals whose default it would never see.
    if let Err(error) = awaited.thread_block() {
        eprintln!("contiv-pause: signals can't be blocked: {error}");
        return ExitCode::FAILURE;
    }
    loop {
        match awaited.wait() {
            Ok(Signal::SIGCHLD) => reap(),
            Ok(_) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("contiv-pause: waiting for signals: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}

/// Waits for every child that has ended: one signal may stand for several.
fn reap() {
    while let Ok(status) = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}
