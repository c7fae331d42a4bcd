//! Interfaces come and go: creation of loopbacks, taps and af_packets, and what deletion takes along.
use std::sync::Arc;

use super::Vpp;
use super::interface::{Kind, TapConfig};
use super::types::{Mac, NONE, OpError, OpResult, retval};

impl Vpp {
    /// A MAC as VPP draws it for taps and af_packet: 02:fe and four random bytes, here from the seed.
    pub(crate) fn random_mac(&mut self) -> Mac {
        self.mac_counter += 1;
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&self.mac_counter.to_le_bytes(), self.config.seed);
        let [a, b, c, d, ..] = hash.to_le_bytes();
        Mac([0x02, 0xfe, a, b, c, d])
    }

    pub(super) fn lowest_free(&self, used: impl Fn(&Kind) -> Option<u32>) -> u32 {
        let taken: Vec<u32> = self
            .interfaces
            .iter()
            .filter_map(|(_, i)| used(&i.kind))
            .collect();
        (0..).find(|n| !taken.contains(n)).unwrap_or(NONE)
    }

    /// `create_loopback(_instance)`: a zero MAC becomes `de:ad:00:00:00:NN`.
    ///
    /// # Errors
    /// −1 when the instance asked for is taken.
    pub fn create_loopback(&mut self, mac: Mac, instance: Option<u32>) -> OpResult<u32> {
        let used = |kind: &Kind| match kind {
            Kind::Loopback { instance } => Some(*instance),
            _ => None,
        };
        let instance = match instance {
            Some(wanted) => {
                if self.interfaces.iter().any(|(_, i)| used(&i.kind) == Some(wanted)) {
                    return Err(retval::UNSPECIFIED.into());
                }
                wanted
            }
            None => self.lowest_free(used),
        };
        let mac = if mac.is_zero() {
            Mac([0xde, 0xad, 0, 0, (instance >> 8) as u8, instance as u8])
        } else {
            mac
        };
        Ok(self.new_interface(
            format!("loop{instance}"),
            "Loopback",
            Kind::Loopback { instance },
            mac,
        ))
    }

    /// `tap_create_v3` without its host side; `mac` None = random. VPP's side stays admin-down.
    ///
    /// # Errors
    /// −71 when the id is taken.
    pub fn create_tap(&mut self, mut config: TapConfig, mac: Option<Mac>) -> OpResult<u32> {
        let used = |kind: &Kind| match kind {
            Kind::Tap(tap) => Some(tap.id),
            _ => None,
        };
        if config.id == NONE {
            config.id = self.lowest_free(used);
        } else if self
            .interfaces
            .iter()
            .any(|(_, i)| used(&i.kind) == Some(config.id))
        {
            return Err(retval::INVALID_INTERFACE.into());
        }
        let mac = mac.unwrap_or_else(|| self.random_mac());
        Ok(self.new_interface(format!("tap{}", config.id), "virtio", Kind::Tap(config), mac))
    }

    /// `af_packet_create_v3`; `device_mtu` is the MTU of the host device, which VPP does not know of.
    ///
    /// # Errors
    /// −79 when the device is attached already; [`Vpp::af_packet`] then tells by which interface.
    pub fn create_af_packet(
        &mut self,
        host_if_name: &str,
        mac: Option<Mac>,
        device_mtu: Option<u32>,
    ) -> OpResult<u32> {
        if self.af_packet(host_if_name).is_some() {
            return Err(retval::IF_ALREADY_EXISTS.into());
        }
        let mac = mac.unwrap_or_else(|| self.random_mac());
        let sw_if_index = self.new_interface(
            format!("host-{host_if_name}"),
            "af-packet",
            Kind::AfPacket {
                host_if_name: host_if_name.to_owned(),
            },
            mac,
        );
        if let Some(interface) = self.interfaces.get_mut(sw_if_index) {
            interface.device_mtu = device_mtu;
        }
        Ok(sw_if_index)
    }

    /// The interface attached to a host device.
    pub fn af_packet(&self, host_if_name: &str) -> Option<u32> {
        self.interfaces
            .iter()
            .find(|(_, i)| matches!(&i.kind, Kind::AfPacket { host_if_name: n } if n == host_if_name))
            .map(|(index, _)| index)
    }

    /// `af_xdp_create_v3`, without its queues; `name` of the interface, `device_mtu` of the host device.
    pub fn create_af_xdp(
        &mut self,
        host_if_name: &str,
        name: String,
        mac: Option<Mac>,
        device_mtu: Option<u32>,
    ) -> u32 {
        let mac = mac.unwrap_or_else(|| self.random_mac());
        let kind = Kind::AfXdp {
            host_if_name: host_if_name.to_owned(),
        };
        let sw_if_index = self.new_interface(name, "AF_XDP interface", kind, mac);
        if let Some(interface) = self.interfaces.get_mut(sw_if_index) {
            interface.device_mtu = device_mtu;
        }
        sw_if_index
    }

    /// `af_xdp_delete`. # Errors −71 when it is none.
    pub fn delete_af_xdp(&mut self, sw_if_index: u32) -> OpResult {
        self.delete_kind(sw_if_index, |k| matches!(k, Kind::AfXdp { .. }))
            .map_err(|_| OpError::Retval(retval::INVALID_INTERFACE))
    }

    /// `delete_loopback`. # Errors −2 when it is no loopback.
    pub fn delete_loopback(&mut self, sw_if_index: u32) -> OpResult {
        self.delete_kind(sw_if_index, |k| matches!(k, Kind::Loopback { .. }))
    }

    /// `tap_delete_v2`. # Errors −2 when it is no tap.
    pub fn delete_tap(&mut self, sw_if_index: u32) -> OpResult {
        self.delete_kind(sw_if_index, |k| matches!(k, Kind::Tap(_)))
    }

    /// `memif_delete`. # Errors −2 when it is no memif.
    pub fn delete_memif(&mut self, sw_if_index: u32) -> OpResult {
        self.delete_kind(sw_if_index, |k| matches!(k, Kind::Memif(_)))
    }

    /// `af_packet_delete`, by the host device's name.
    ///
    /// # Errors
    /// −71 when no interface is attached to the device.
    pub fn delete_af_packet(&mut self, host_if_name: &str) -> OpResult<u32> {
        let index = self
            .af_packet(host_if_name)
            .ok_or(OpError::Retval(retval::INVALID_INTERFACE))?;
        self.delete_interface(index);
        Ok(index)
    }

    pub(super) fn delete_kind(&mut self, sw_if_index: u32, is: impl Fn(&Kind) -> bool) -> OpResult {
        match self.interfaces.get(sw_if_index) {
            Some(interface) if is(&interface.kind) => {
                self.delete_interface(sw_if_index);
                Ok(())
            }
            _ => Err(retval::INVALID_SW_IF_INDEX.into()),
        }
    }

    /// Takes an interface away with all that VPP cleans, and leaves behind what VPP leaves behind:
    /// routes (unresolved for ever) and the records of ABF, l3xc and ip6-enable.
    pub(crate) fn delete_interface(&mut self, sw_if_index: u32) {
        let Some(interface) = self.interfaces.get(sw_if_index) else {
            return;
        };
        let (addresses, mac) = (interface.addresses.clone(), interface.mac);
        let name = interface.name.clone();
        for prefix in addresses {
            // The address is in the list, so this cannot fail.
            let _ = self.del_address(sw_if_index, prefix);
        }
        self.neighbors_of_interface_gone(sw_if_index);
        self.acl.interface_gone(sw_if_index);
        self.cnat.interface_gone(sw_if_index);
        self.abf.interface_gone(sw_if_index);
        self.ipsec_interface_gone(sw_if_index);
        self.l2.interface_gone(sw_if_index);
        self.bridges.interface_gone(sw_if_index, mac);
        self.nat44_interface_gone(sw_if_index);
        self.features.interface_gone(sw_if_index);
        self.fibs.path_lists.interface_gone(sw_if_index);
        for (_, other) in self.interfaces.iter_mut() {
            if other.unnumbered_to == Some(sw_if_index) {
                other.unnumbered_to = None;
            }
        }
        self.interfaces.remove(sw_if_index);
        self.stale_addresses.retain(|(index, _)| *index != sw_if_index);
        Arc::make_mut(&mut self.graph).interface_gone(&name);
        self.interface_event(sw_if_index, 0, true);
    }
}
