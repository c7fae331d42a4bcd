//! WireGuard: the table of a peer's outer packets, which VPP does not look for before it uses it.

use super::tables::Tables;
use crate::messages::wireguard::{WireguardPeerAdd, WireguardPeerAddV2};
use std::any::Any;

/// # Errors
/// Why the message must not be sent.
pub(super) fn check(tables: &Tables, message: &dyn Any) -> Result<(), String> {
    if let Some(add) = message.downcast_ref::<WireguardPeerAdd>() {
        tables.require(add.peer.endpoint.is_ipv6(), add.peer.table_id)
    } else if let Some(add) = message.downcast_ref::<WireguardPeerAddV2>() {
        tables.require(add.peer.endpoint.is_ipv6(), add.peer.table_id)
    } else {
        Ok(())
    }
}
