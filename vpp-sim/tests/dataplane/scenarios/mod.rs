//! What a dataplane has to do. Expected values are those of VPP 26.06, of its source, or of the RFC that is named.

pub mod chains;
pub mod forwarding;
pub mod graph;
pub mod memif;
pub mod overlays;
pub mod policy;
pub mod services;
pub mod tunnels;
