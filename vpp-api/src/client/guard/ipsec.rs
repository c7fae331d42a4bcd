//! IPsec associations: one that is deleted twice while it protects a tunnel is freed under it.

use crate::messages::ipip::IpipDelTunnel;
use crate::messages::ipsec::{
    IpsecItfDelete, IpsecSadEntryAdd, IpsecSadEntryAddV2, IpsecSadEntryDel, IpsecTunnelProtectDel,
    IpsecTunnelProtectDetails, IpsecTunnelProtectUpdate,
};
use crate::types::IpsecTunnelProtect;
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Associations by what was sent, or listed by VPP. A protection counts from its sending to the sending of its end,
/// even if VPP refuses it: VPP may keep hold of its associations then.
#[derive(Debug, Default)]
pub(super) struct Associations {
    /// Ids whose deletion was sent.
    deleted: BTreeSet<u32>,
    /// Ids by tunnel and next hop.
    used: BTreeMap<(u32, IpAddr), Vec<u32>>,
}

impl Associations {
    fn protect(&mut self, tunnel: &IpsecTunnelProtect) {
        let mut ids = tunnel.sa_in.clone();
        ids.push(tunnel.sa_out);
        self.used.insert((tunnel.sw_if_index, tunnel.nh), ids);
    }

    /// # Errors
    /// The message deletes what is in use, or was deleted before.
    pub fn check(&mut self, message: &dyn Any) -> Result<(), String> {
        if let Some(add) = message.downcast_ref::<IpsecSadEntryAddV2>() {
            self.deleted.remove(&add.entry.sad_id);
        } else if let Some(add) = message.downcast_ref::<IpsecSadEntryAdd>() {
            self.deleted.remove(&add.entry.sad_id);
        } else if let Some(update) = message.downcast_ref::<IpsecTunnelProtectUpdate>() {
            self.protect(&update.tunnel);
        } else if let Some(del) = message.downcast_ref::<IpsecTunnelProtectDel>() {
            self.used.remove(&(del.sw_if_index, del.nh));
        } else if let Some(del) = message.downcast_ref::<IpsecItfDelete>() {
            self.used.retain(|(index, _), _| *index != del.sw_if_index);
        } else if let Some(del) = message.downcast_ref::<IpipDelTunnel>() {
            self.used.retain(|(index, _), _| *index != del.sw_if_index);
        } else if let Some(del) = message.downcast_ref::<IpsecSadEntryDel>() {
            let user = self.used.iter().find(|(_, ids)| ids.contains(&del.id));
            if let Some(((sw_if_index, _), _)) = user {
                return Err(format!(
                    "association {} protects interface {sw_if_index}; end the protection first",
                    del.id
                ));
            }
            if !self.deleted.insert(del.id) {
                return Err(format!(
                    "association {} was deleted before; if it is in use VPP frees it under its user",
                    del.id
                ));
            }
        }
        Ok(())
    }

    /// VPP told of a protection.
    pub fn observe(&mut self, answer: &dyn Any) {
        if let Some(details) = answer.downcast_ref::<IpsecTunnelProtectDetails>() {
            self.protect(&details.tun);
        }
    }
}
