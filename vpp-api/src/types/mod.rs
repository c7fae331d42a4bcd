//! VPP's shared types under VPP's names, with the standard library's where it has one.

mod acl;
mod cnat;
mod fib;
mod interface;
mod ip;
mod ip_enums;
mod ipsec;
mod mac;
mod policer;
mod punt;
mod sr;
mod tunnel;
mod wireguard;

pub use acl::*;
pub use cnat::*;
pub use fib::*;
pub use interface::*;
pub use ip::*;
pub use ip_enums::*;
pub use ipsec::*;
pub use mac::*;
pub use policer::*;
pub use punt::*;
pub use sr::*;
pub use tunnel::*;
pub use wireguard::*;

/// `~0`: no interface, all interfaces, "choose one", depending on the message. 0 is a valid index nearly everywhere.
pub const NO_INDEX: u32 = u32::MAX;

/// `interface_index`, VPP's `sw_if_index`.
pub type InterfaceIndex = u32;

/// `timestamp`: seconds, since the epoch or since VPP's start depending on the message.
pub type Timestamp = f64;
