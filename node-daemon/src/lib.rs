//! contiv-node: the one owner of VPP on its node.
//!
//! ```text
//! VppConfig, policies, sets, services, peers ──watch──┐
//! CNI requests ──cni──────────────────────────────────┤            desired ─┐
//! VPP up, down, events ───────────────────────────────┼─► agent ─►          ├─► plan ─► apply ─► VPP
//! time ───────────────────────────────────────────────┘            actual ──┘
//!                                                          │
//!                                                          └─► status, metrics, statefile
//! ```
//!
//! [`agent`] owns all state and drains one queue; [`desired`], [`plan`] and [`addressing`] are pure; [`actual`] reads
//! VPP and [`apply`] changes it.

pub mod actual;
pub mod addressing;
pub mod agent;
pub mod apply;
pub mod attachments;
pub mod cluster;
pub mod cni;
pub mod config;
pub mod desired;
pub mod health;
pub mod host;
pub mod install;
pub mod ipam;
pub mod metrics;
pub mod objects;
pub mod plan;
pub mod podside;
mod run;
pub mod statefile;
pub mod status;
pub mod vpp;
pub mod watch;

pub use config::Config;
pub use run::{RunError, run};
