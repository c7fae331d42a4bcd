//! What each message does: from the wire's fields to the engine's operations and back. One module per API file.

mod abf;
mod acl;
mod af_packet;
mod af_xdp;
mod cnat;
mod feature;
mod interface;
mod ip;
pub(super) mod ip_neighbor;
mod ipip;
mod ipsec;
mod l2;
mod memclnt;
mod memif;
mod nat44;
mod policer;
mod punt;
mod sr;
mod tap;
mod tracedump;
mod urpf;
mod vlib;
mod vxlan;
mod wireguard;

use super::dispatch::Registry;
use super::release::Release;
use crate::engine::{OpError, OpResult};

/// Every handler of a release.
pub fn registry(release: Release) -> Registry {
    let mut registry = Registry::default();
    memclnt::register(&mut registry);
    vlib::register(&mut registry);
    interface::register(&mut registry);
    tap::register(&mut registry);
    af_packet::register(&mut registry);
    af_xdp::register(&mut registry);
    memif::register(&mut registry);
    vxlan::register(&mut registry);
    ip::register(&mut registry);
    ip_neighbor::register(&mut registry);
    feature::register(&mut registry);
    acl::register(&mut registry);
    cnat::register(&mut registry, release);
    abf::register(&mut registry);
    nat44::register(&mut registry);
    l2::register(&mut registry);
    sr::register(&mut registry);
    ipip::register(&mut registry);
    ipsec::register(&mut registry);
    wireguard::register(&mut registry);
    policer::register(&mut registry);
    punt::register(&mut registry);
    tracedump::register(&mut registry);
    urpf::register(&mut registry);
    registry
}

/// Splits a result into return code and value, for replies whose other fields say something on failure too.
///
/// # Errors
/// A fatal input stays an error.
fn outcome<T>(result: OpResult<T>, failed: T) -> Result<(i32, T), OpError> {
    match result {
        Ok(value) => Ok((0, value)),
        Err(OpError::Retval(retval)) => Ok((retval, failed)),
        Err(fatal @ OpError::Fatal(_)) => Err(fatal),
    }
}
