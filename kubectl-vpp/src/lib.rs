//! kubectl-vpp: the kubectl plugin.
//!
//! ```text
//! manifests ──objects──► facts ──invent──► complete facts ──compiler──► configuration
//!                                                                            │ node-daemon: desired, plan, apply
//! queries ──► targets ──► packets ──journey──► answers ◄──blame── one embedded dataplane per node
//! ```

mod cli;
pub mod reach;
pub mod services;

pub use cli::run;
