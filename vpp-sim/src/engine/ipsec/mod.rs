//! IPsec: security associations, and tunnels protected by them (`vnet/ipsec`). Packets are in `walk/ipsec.rs`.
//!
//! Only AES-GCM encrypts here; associations of other algorithms are kept and listed, and drop what they should protect.
//! The policy database is not there.
pub(crate) mod esp;
mod protect;

use std::net::IpAddr;

pub use protect::{IpsecItfDetails, Protection};

use super::Vpp;
use super::pool::Pool;
use super::replay::Window;
use super::types::{Family, NONE, OpError, OpResult, retval};

/// Ciphers; numbers are VPP's `ipsec_crypto_alg`.
pub mod crypto {
    pub const NONE: u32 = 0;
    pub const AES_GCM_128: u32 = 7;
    pub const AES_GCM_192: u32 = 8;
    pub const AES_GCM_256: u32 = 9;
    pub const LAST: u32 = 15;

    /// The cipher authenticates too.
    pub(super) fn is_aead(number: u32) -> bool {
        matches!(number, 7..=9 | 12..=15)
    }

    pub(crate) fn is_gcm(number: u32) -> bool {
        matches!(number, AES_GCM_128..=AES_GCM_256)
    }

    /// Length of its key in bytes.
    pub(super) fn key_len(number: u32) -> usize {
        match number {
            1 | 4 | 7 | 13 => 16,
            2 | 5 | 8 | 11 | 14 => 24,
            3 | 6 | 9 | 12 | 15 => 32,
            10 => 8,
            _ => 0,
        }
    }
}

/// `ipsec_sad_flags`.
pub mod sa_flag {
    pub const USE_ESN: u32 = 1;
    pub const USE_ANTI_REPLAY: u32 = 2;
    pub const IS_TUNNEL: u32 = 4;
    pub const IS_TUNNEL_V6: u32 = 8;
    pub const UDP_ENCAP: u32 = 16;
    pub const IS_INBOUND: u32 = 64;
    pub const ASYNC: u32 = 128;
}

const ESP: u32 = 50;
const AH: u32 = 51;
const LAST_INTEGRITY: u32 = 6;
/// `IPSEC_UDP_PORT_NONE`.
const KEEP_PORT: u16 = u16::MAX;
/// `UDP_DST_PORT_ipsec`.
const NAT_TRAVERSAL_PORT: u16 = 4500;
const SMALLEST_WINDOW: u32 = 64;

/// The tunnel of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaTunnel {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub table_id: u32,
    /// See [`tunnel_flag`](super::tunnel_flag).
    pub flags: u8,
    pub mode: u8,
    pub other_flags: u8,
    pub dscp: u8,
    /// 0 = 254.
    pub hop_limit: u8,
}

/// `ipsec_sad_entry_add(_v2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaConfig {
    pub id: u32,
    pub spi: u32,
    /// 50 ESP, 51 AH.
    pub protocol: u32,
    /// See [`crypto`].
    pub crypto: u32,
    pub crypto_key: Vec<u8>,
    pub integrity: u32,
    pub integrity_key: Vec<u8>,
    /// See [`sa_flag`].
    pub flags: u32,
    /// Counts with `IS_TUNNEL`.
    pub tunnel: SaTunnel,
    /// As in the message, first byte highest.
    pub salt: u32,
    pub udp_ports: (u16, u16),
    pub window: u32,
}

impl SaConfig {
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn uses_esn(&self) -> bool {
        self.has(sa_flag::USE_ESN)
    }

    pub(crate) fn uses_anti_replay(&self) -> bool {
        self.has(sa_flag::USE_ANTI_REPLAY)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sa {
    pub config: SaConfig,
    /// The greatest sequence number sent.
    pub sent: u64,
    pub received: Window,
    /// Who holds it: the API, and each protection for each use. Some of VPP's failures leave one behind.
    locks: u32,
}

impl Sa {
    pub fn window_size(&self) -> u64 {
        u64::from(self.config.window)
    }
}

/// An association as `ipsec_sa_v5_dump` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaDetails {
    pub config: SaConfig,
    /// The interface it protects in tunnel mode, or [`NONE`].
    pub sw_if_index: u32,
    pub sent: u64,
    pub last_received: u64,
    pub replay_window: u64,
    pub stat_index: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Ipsec {
    pub sas: Pool<Sa>,
    protections: Pool<protect::Protected>,
    itfs: Pool<IpsecItfDetails>,
}

impl Ipsec {
    fn index_of(&self, id: u32) -> Option<u32> {
        self.sas
            .iter()
            .find(|(_, sa)| sa.config.id == id)
            .map(|(index, _)| index)
    }

    fn lock(&mut self, index: u32) {
        if let Some(sa) = self.sas.get_mut(index) {
            sa.locks += 1;
        }
    }

    /// The last to let go of it frees it.
    fn unlock(&mut self, index: u32) {
        if let Some(sa) = self.sas.get_mut(index) {
            sa.locks -= 1;
            if sa.locks == 0 {
                self.sas.remove(index);
            }
        }
    }
}

impl Vpp {
    fn check_tunnel(&self, tunnel: &SaTunnel) -> OpResult {
        let family = Family::of(tunnel.src);
        if Family::of(tunnel.dst) != family {
            return Err(retval::INVALID_PROTOCOL.into());
        }
        if tunnel.src == tunnel.dst {
            return Err(retval::SAME_SRC_DST.into());
        }
        if tunnel.mode > 1 || tunnel.other_flags > 1 {
            return Err(retval::INVALID_VALUE_2.into());
        }
        if !self.fibs.exists(family, tunnel.table_id) {
            return Err(retval::NO_SUCH_FIB.into());
        }
        Ok(())
    }

    /// `ipsec_sad_entry_add(_v2)`: the index of its counters.
    ///
    /// # Errors
    /// −153 protocol, or families of the ends; −154 algorithm, −82 equal ends, −8 tunnel mode or flags, −3 table,
    /// −116 exists, −9 algorithms that do not go together, −156 key length.
    pub fn ipsec_sa_add(&mut self, wanted: &SaConfig) -> OpResult<u32> {
        if !matches!(wanted.protocol, ESP | AH) {
            return Err(retval::INVALID_PROTOCOL.into());
        }
        if wanted.crypto > crypto::LAST || wanted.integrity > LAST_INTEGRITY {
            return Err(retval::INVALID_ALGORITHM.into());
        }
        let mut config = wanted.clone();
        if config.has(sa_flag::IS_TUNNEL) {
            self.check_tunnel(&config.tunnel)?;
        }
        if self.ipsec.index_of(config.id).is_some() {
            return Err(retval::ENTRY_ALREADY_EXISTS.into());
        }
        if config.protocol == AH {
            if config.integrity == 0 {
                return Err(retval::UNIMPLEMENTED.into());
            }
            config.crypto = crypto::NONE;
        }
        if crypto::is_aead(config.crypto) && config.integrity != 0 {
            return Err(retval::UNIMPLEMENTED.into());
        }
        if config.crypto_key.len() != crypto::key_len(config.crypto) && config.crypto != crypto::NONE {
            return Err(retval::KEY_LENGTH.into());
        }
        config.window = match config.window {
            size if config.uses_anti_replay() && size > SMALLEST_WINDOW => {
                size.checked_next_power_of_two().unwrap_or(1 << 31)
            }
            _ => SMALLEST_WINDOW,
        };
        if config.has(sa_flag::IS_TUNNEL) && config.tunnel.src.is_ipv6() {
            config.flags |= sa_flag::IS_TUNNEL_V6;
        }
        let port = |port: u16| {
            if port == KEEP_PORT {
                NAT_TRAVERSAL_PORT
            } else {
                port
            }
        };
        config.udp_ports = (port(config.udp_ports.0), port(config.udp_ports.1));
        let received = Window::new(u64::from(config.window));
        Ok(self.ipsec.sas.insert(Sa {
            config,
            sent: 0,
            received,
            locks: 1,
        }))
    }

    /// `ipsec_sad_entry_del`: one that is used stays until its user is gone.
    ///
    /// # Errors
    /// −6 none. Fatal: one that is used is deleted so often that its user is left with freed memory.
    pub fn ipsec_sa_del(&mut self, id: u32) -> OpResult {
        let index = self.ipsec.index_of(id).ok_or(retval::NO_SUCH_ENTRY)?;
        let last = self.ipsec.sas.get(index).is_some_and(|sa| sa.locks == 1);
        if last && self.ipsec.is_used(index) {
            return Err(OpError::Fatal(format!(
                "ipsec_sad_entry_del: association {id} is freed while a tunnel is protected by it"
            )));
        }
        self.ipsec.unlock(index);
        Ok(())
    }

    /// `ipsec_sad_entry_update`: new ends, and ports (65535 = as before).
    ///
    /// # Errors
    /// −6 none; for a tunnel as [`Self::ipsec_sa_add`].
    pub fn ipsec_sa_update(&mut self, id: u32, tunnel: Option<&SaTunnel>, ports: (u16, u16)) -> OpResult {
        if let Some(tunnel) = tunnel {
            self.check_tunnel(tunnel)?;
        }
        let index = self.ipsec.index_of(id).ok_or(retval::NO_SUCH_ENTRY)?;
        let Some(sa) = self.ipsec.sas.get_mut(index) else {
            return Err(retval::NO_SUCH_ENTRY.into());
        };
        let config = &mut sa.config;
        if let Some(tunnel) = tunnel
            && config.has(sa_flag::IS_TUNNEL)
            && (tunnel.src, tunnel.dst) != (config.tunnel.src, config.tunnel.dst)
        {
            config.tunnel = *tunnel;
        }
        if config.has(sa_flag::UDP_ENCAP) {
            for (own, new) in [
                (&mut config.udp_ports.0, ports.0),
                (&mut config.udp_ports.1, ports.1),
            ] {
                if new != KEEP_PORT {
                    *own = new;
                }
            }
        }
        Ok(())
    }

    /// `ipsec_sa_v5_dump`.
    pub fn ipsec_sas(&self) -> Vec<SaDetails> {
        let details = |(index, sa): (u32, &Sa)| SaDetails {
            config: sa.config.clone(),
            sw_if_index: self.ipsec.protected_in_tunnel_mode(index).unwrap_or(NONE),
            sent: sa.sent,
            last_received: sa.received.last(),
            replay_window: if sa.config.uses_anti_replay() {
                sa.received.bits()
            } else {
                0
            },
            stat_index: index,
        };
        self.ipsec.sas.iter().map(details).collect()
    }
}
