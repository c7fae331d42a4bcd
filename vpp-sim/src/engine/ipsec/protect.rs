//! Protection of tunnels, and IPsec interfaces (`ipsec_tun.c`, `ipsec_itf.c`).
use std::net::IpAddr;

use super::{Ipsec, sa_flag};
use crate::engine::Vpp;
use crate::engine::interface::Kind;
use crate::engine::types::{Mac, NONE, OpResult, retval};

/// `ITP_MAX_N_SA_IN`.
const MAX_INBOUND: usize = 4;
/// `IPSEC_ITF_MAX_INSTANCE`.
const MAX_INSTANCE: u32 = 16 * 1024;

/// `ipsec_tunnel_protect_update`, with ids of associations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    pub sw_if_index: u32,
    /// Unspecified for a tunnel with one peer.
    pub next_hop: IpAddr,
    pub sa_out: u32,
    pub sa_in: Vec<u32>,
}

/// An IPsec interface as `ipsec_itf_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpsecItfDetails {
    pub sw_if_index: u32,
    pub instance: u32,
    pub mode: u8,
}

/// A protection with pool indices of associations.
#[derive(Clone, Debug)]
pub(crate) struct Protected {
    pub sw_if_index: u32,
    next_hop: IpAddr,
    pub sa_out: u32,
    pub sa_in: Vec<u32>,
    /// The ends of the tunnel itself; None for an IPsec interface, which has none.
    pub ends: Option<(IpAddr, IpAddr)>,
    /// A request that failed half-way leaves a record that protects nothing.
    active: bool,
}

impl Ipsec {
    pub(super) fn is_used(&self, sa: u32) -> bool {
        self.protections
            .iter()
            .any(|(_, p)| p.active && (p.sa_out == sa || p.sa_in.contains(&sa)))
    }

    /// The tunnel that an inbound association in tunnel mode protects; IPsec interfaces do not count.
    pub(super) fn protected_in_tunnel_mode(&self, sa: u32) -> Option<u32> {
        let is_tunnel = self
            .sas
            .get(sa)
            .is_some_and(|sa| sa.config.has(sa_flag::IS_TUNNEL));
        self.protections
            .iter()
            .find(|(_, p)| is_tunnel && p.active && p.ends.is_some() && p.sa_in.contains(&sa))
            .map(|(_, p)| p.sw_if_index)
    }

    /// The protection of a tunnel, for a next hop where there are several.
    pub fn protecting(&self, sw_if_index: u32, next_hop: Option<IpAddr>) -> Option<&Protected> {
        let mut mine = self
            .protections
            .iter()
            .map(|(_, p)| p)
            .filter(|p| p.active && p.sw_if_index == sw_if_index);
        mine.find(|p| p.next_hop.is_unspecified() || Some(p.next_hop) == next_hop)
    }

    /// The protection and the inbound association of an ESP packet: by its sender and SPI.
    pub fn inbound(&self, remote: IpAddr, spi: u32) -> Option<(&Protected, u32)> {
        self.protections
            .iter()
            .map(|(_, p)| p)
            .filter(|p| p.active)
            .find_map(|p| {
                let by_key = |sa: &&u32| {
                    self.sas.get(**sa).is_some_and(|sa| {
                        let from = if sa.config.has(sa_flag::IS_TUNNEL) {
                            Some(sa.config.tunnel.src)
                        } else {
                            p.ends.map(|(_, dst)| dst)
                        };
                        sa.config.spi == spi && from == Some(remote)
                    })
                };
                Some((p, *p.sa_in.iter().find(by_key)?))
            })
    }

    /// Whether some inbound association takes ESP in UDP on a port.
    pub fn listens(&self, port: u16) -> bool {
        let wanted = sa_flag::UDP_ENCAP | sa_flag::IS_INBOUND;
        self.sas
            .iter()
            .any(|(_, sa)| sa.config.flags & wanted == wanted && sa.config.udp_ports.1 == port)
    }

    fn find(&self, sw_if_index: u32, next_hop: IpAddr) -> Option<u32> {
        self.protections
            .iter()
            .find(|(_, p)| p.active && (p.sw_if_index, p.next_hop) == (sw_if_index, next_hop))
            .map(|(index, _)| index)
    }

    fn release(&mut self, index: u32) {
        if let Some(gone) = self.protections.remove(index).filter(|p| p.active) {
            self.unlock(gone.sa_out);
            gone.sa_in.iter().for_each(|sa| self.unlock(*sa));
        }
    }
}

impl Vpp {
    /// Ends of the tunnel behind an interface that can be protected; the inner None is an IPsec interface.
    fn tunnel_ends(&self, sw_if_index: u32) -> Option<Option<(IpAddr, IpAddr)>> {
        match self.interface(sw_if_index)?.kind {
            Kind::IpsecItf => Some(None),
            Kind::Ipip { tunnel } => {
                let tunnel = self.ipip.tunnel(tunnel)?.tunnel;
                Some(Some((tunnel.src, tunnel.dst)))
            }
            _ => None,
        }
    }

    /// `ipsec_tunnel_protect_update`: makes a protection, or replaces all its associations at once.
    ///
    /// # Errors
    /// −2 no such interface or no tunnel, −162 more than four inbound, −7 an unknown association, −58 an IPsec interface
    /// with an association that is no tunnel. On −7, −2 and −58 VPP keeps hold of the associations it had found.
    pub fn ipsec_protect(&mut self, wanted: &Protection) -> OpResult {
        self.interface_mut(wanted.sw_if_index)?;
        if wanted.sa_in.len() > MAX_INBOUND {
            return Err(retval::LIMIT_EXCEEDED.into());
        }
        let mut found = Vec::new();
        for id in wanted.sa_in.iter().chain([&wanted.sa_out]) {
            let index = self.ipsec.index_of(*id).ok_or(retval::INVALID_VALUE)?;
            self.ipsec.lock(index);
            found.push(index);
        }
        let sa_out = found.pop().unwrap_or(NONE);
        let known = self.ipsec.find(wanted.sw_if_index, wanted.next_hop);
        let ends = self
            .tunnel_ends(wanted.sw_if_index)
            .ok_or(retval::INVALID_SW_IF_INDEX)?;
        let is_tunnel = self
            .ipsec
            .sas
            .get(sa_out)
            .is_some_and(|sa| sa.config.has(sa_flag::IS_TUNNEL));
        let active = ends.is_some() || is_tunnel || known.is_some();
        let protected = Protected {
            sw_if_index: wanted.sw_if_index,
            next_hop: wanted.next_hop,
            sa_out,
            sa_in: found,
            ends,
            active,
        };
        if !active {
            self.ipsec.protections.insert(protected);
            return Err(retval::INVALID_DST_ADDRESS.into());
        }
        // The locks taken above stay for the protection.
        if let Some(index) = known {
            self.ipsec.release(index);
        }
        self.ipsec.protections.insert(protected);
        Ok(())
    }

    /// `ipsec_tunnel_protect_del`.
    ///
    /// # Errors
    /// −2 no such interface, −6 no protection.
    pub fn ipsec_unprotect(&mut self, sw_if_index: u32, next_hop: IpAddr) -> OpResult {
        self.interface_mut(sw_if_index)?;
        let index = self
            .ipsec
            .find(sw_if_index, next_hop)
            .ok_or(retval::NO_SUCH_ENTRY)?;
        self.ipsec.release(index);
        Ok(())
    }

    /// `ipsec_tunnel_protect_dump`.
    pub fn ipsec_protections(&self) -> Vec<Protection> {
        let id = |index: &u32| self.ipsec.sas.get(*index).map_or(NONE, |sa| sa.config.id);
        self.ipsec
            .protections
            .iter()
            .map(|(_, p)| Protection {
                sw_if_index: p.sw_if_index,
                next_hop: p.next_hop,
                sa_out: id(&p.sa_out),
                sa_in: p.sa_in.iter().map(id).collect(),
            })
            .collect()
    }

    /// An interface goes: its protections end.
    pub(crate) fn ipsec_interface_gone(&mut self, sw_if_index: u32) {
        let all = self.ipsec.protections.iter();
        let mine: Vec<u32> = all
            .filter(|(_, p)| p.active && p.sw_if_index == sw_if_index)
            .map(|(index, _)| index)
            .collect();
        for index in mine {
            self.ipsec.release(index);
        }
    }

    /// `ipsec_itf_create`: the interface, admin-down.
    ///
    /// # Errors
    /// −8 mode, −31 instance taken or too great.
    pub fn ipsec_itf_create(&mut self, instance: u32, mode: u8) -> OpResult<u32> {
        if mode > 1 {
            return Err(retval::INVALID_VALUE_2.into());
        }
        let taken: Vec<u32> = self.ipsec.itfs.iter().map(|(_, itf)| itf.instance).collect();
        let instance = match instance {
            NONE => (0..).find(|n| !taken.contains(n)).unwrap_or(NONE),
            wanted => wanted,
        };
        if instance >= MAX_INSTANCE || taken.contains(&instance) {
            return Err(retval::INVALID_REGISTRATION.into());
        }
        let name = format!("ipsec{instance}");
        let sw_if_index = self.new_interface(name, "IPSEC Tunnel", Kind::IpsecItf, Mac::default());
        self.ipsec.itfs.insert(IpsecItfDetails {
            sw_if_index,
            instance,
            mode,
        });
        Ok(sw_if_index)
    }

    /// `ipsec_itf_delete`.
    ///
    /// # Errors
    /// −2 no such IPsec interface.
    pub fn ipsec_itf_delete(&mut self, sw_if_index: u32) -> OpResult {
        let itfs = self
            .ipsec
            .itfs
            .iter()
            .map(|(index, itf)| (itf.sw_if_index, index));
        let mine = itfs.into_iter().find(|(sw, _)| *sw == sw_if_index);
        let (_, index) = mine.ok_or(retval::INVALID_SW_IF_INDEX)?;
        self.delete_interface(sw_if_index);
        self.ipsec.itfs.remove(index);
        Ok(())
    }

    /// `ipsec_itf_dump`.
    pub fn ipsec_itfs(&self) -> Vec<IpsecItfDetails> {
        self.ipsec.itfs.iter().map(|(_, itf)| *itf).collect()
    }
}
