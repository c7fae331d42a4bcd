//! memif's sockets and interfaces, as far as the tables know of them; [`memif`](crate::memif) is where packets pass.
use std::collections::BTreeMap;

use super::Vpp;
use super::interface::{Kind, MemifConfig};
use super::types::{Mac, NONE, OpResult, retval};

/// Built-in socket 0, in the runtime directory.
const DEFAULT_SOCKET: &str = "memif.sock";

/// Names that are taken as they are (`clib_socket_prefix_is_valid`), as absolute paths are.
const PREFIXES: [&str; 3] = ["unix:", "tcp:", "abstract:"];

/// `VNET_API_ERROR_SYSCALL_ERROR_2`: VPP's answer to a mode it does not know how to make.
const UNSUPPORTED_MODE: i32 = -12;

const MODE_ETHERNET: u32 = 0;
const MODE_IP: u32 = 1;

#[derive(Clone, Debug)]
pub(crate) struct Memif {
    sockets: BTreeMap<u32, String>,
    /// State of the generator that ids come from: VPP's `random_u32` from seed 0.
    random: u32,
}

impl Memif {
    pub(super) fn new(runtime_dir: &str) -> Self {
        Self {
            sockets: BTreeMap::from([(0, format!("{runtime_dir}/{DEFAULT_SOCKET}"))]),
            random: 0,
        }
    }

    fn next_random(&mut self) -> u32 {
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.random
    }
}

impl Vpp {
    /// `memif_socket_filename_add_del_v2` with `is_add`; id [`NONE`] = allocate.
    ///
    /// # Errors
    /// −73 for id 0, no name or one of more than 107 bytes, −116 when the id has another name.
    pub fn memif_socket_add(&mut self, id: u32, filename: &str) -> OpResult<u32> {
        if id == 0 || filename.is_empty() || filename.len() > 107 {
            return Err(retval::INVALID_ARGUMENT.into());
        }
        let filename = match self.in_runtime_dir(filename) {
            Some(path) => path,
            None => filename.to_owned(),
        };
        let id = if id == NONE {
            loop {
                let id = self.memif.next_random();
                if id != 0 && id != NONE && !self.memif.sockets.contains_key(&id) {
                    break id;
                }
            }
        } else {
            id
        };
        match self.memif.sockets.get(&id) {
            Some(name) if *name == filename => Ok(id),
            Some(_) => Err(retval::ENTRY_ALREADY_EXISTS.into()),
            None => {
                self.memif.sockets.insert(id, filename);
                Ok(id)
            }
        }
    }

    /// Where a socket of a relative name is; `None` for other names.
    pub fn in_runtime_dir(&self, filename: &str) -> Option<String> {
        let is_whole = filename.starts_with('/') || PREFIXES.iter().any(|p| filename.starts_with(p));
        (!is_whole).then(|| format!("{}/{filename}", self.config.runtime_dir))
    }

    /// Name of a socket.
    pub fn memif_socket(&self, id: u32) -> Option<&str> {
        self.memif.sockets.get(&id).map(String::as_str)
    }

    /// `memif_socket_filename_add_del_v2` without `is_add`.
    ///
    /// # Errors
    /// −73 unknown or 0, −74 in use.
    pub fn memif_socket_del(&mut self, id: u32) -> OpResult {
        if id == 0 || !self.memif.sockets.contains_key(&id) {
            return Err(retval::INVALID_ARGUMENT.into());
        }
        if self.memifs_on(id).next().is_some() {
            return Err(retval::UNEXPECTED_INTF_STATE.into());
        }
        self.memif.sockets.remove(&id);
        Ok(())
    }

    /// `memif_socket_filename_dump`.
    pub fn memif_sockets(&self) -> Vec<(u32, String)> {
        let all = self.memif.sockets.iter();
        all.map(|(id, name)| (*id, name.clone())).collect()
    }

    fn memifs_on(&self, socket_id: u32) -> impl Iterator<Item = &MemifConfig> {
        self.interfaces.iter().filter_map(move |(_, i)| match &i.kind {
            Kind::Memif(config) if config.socket_id == socket_id => Some(config),
            _ => None,
        })
    }

    /// `memif_create_v2`; a zero MAC = random, and in IP mode there is none. The link is down until
    /// [`Vpp::set_carrier`].
    ///
    /// # Errors
    /// −73 unknown socket or ring size that is no power of two, −68 id taken or roles mixed on the socket, −12 a mode
    /// that is neither Ethernet nor IP.
    pub fn create_memif(&mut self, mut config: MemifConfig, mac: Mac) -> OpResult<u32> {
        let ring_is_bad = config.ring_size != 0 && !config.ring_size.is_power_of_two();
        if ring_is_bad || !self.memif.sockets.contains_key(&config.socket_id) {
            return Err(retval::INVALID_ARGUMENT.into());
        }
        // Whoever is not the master is a slave.
        config.role = config.role.min(1);
        if self
            .memifs_on(config.socket_id)
            .any(|other| other.id == config.id || other.role != config.role)
        {
            return Err(retval::SUBIF_ALREADY_EXISTS.into());
        }
        let mac = match config.mode {
            MODE_ETHERNET if mac.is_zero() => self.random_mac(),
            MODE_ETHERNET => mac,
            MODE_IP => Mac::default(),
            _ => return Err(UNSUPPORTED_MODE.into()),
        };
        let name = format!("memif{}/{}", config.socket_id, config.id);
        let is_ip = config.mode == MODE_IP;
        let sw_if_index = self.new_interface(name, "memif", Kind::Memif(config), mac);
        if is_ip {
            // Only an Ethernet's registration sets one.
            self.set_link_mtu(sw_if_index, 0)?;
        }
        Ok(sw_if_index)
    }
}
