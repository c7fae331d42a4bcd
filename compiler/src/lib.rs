//! Pure compiler: Kubernetes objects to per-node configuration and shared slices.
//!
//! ```text
//! API objects ──k8s──► facts ──Cluster──► compile ──► Output
//!                                          │ topology  ids, pod CIDRs      → VppPeerSlice, VppConfig.node
//!                                          │ policy    rules, bindings     → VppPolicy, VppConfig.pods
//!                                          │ chain     paths, hops, VNIs   → VppConfig.chains, verdicts
//!                                          │ service   frontends, backends → VppServiceSlice
//!                                          └ sets      selectors, prefixes → VppAddressSet
//! ```
//!
//! No async, no client, no clock. Users' mistakes are values: [`Problem`]s and verdicts, never
//! errors. Equal facts give byte-equal output, whatever the order in which they arrived.

pub mod chain;
pub mod cluster;
pub mod cnf;
pub mod engine;
pub mod facts;
pub mod k8s;
pub mod labels;
pub mod output;
pub mod policy;
pub mod prefixes;
pub mod selector;
pub mod service;
pub mod sets;
pub mod size;
pub mod topology;

pub use cluster::Cluster;
pub use engine::{Change, Delta, Engine, Removed};
pub use facts::{Name, ObjectKey, ObjectRef, Problem};
pub use labels::Labels;
pub use output::{
    ChainVerdict, CnfVerdict, Compiled, Output, Owner, PodPool, Settings, Traffic, Verdict, compile,
};
pub use selector::Selector;
