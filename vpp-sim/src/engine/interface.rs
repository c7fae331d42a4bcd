//! Interfaces: kinds, names, flags, addresses, tables, counters, events.
use std::net::Ipv6Addr;
use std::sync::Arc;

use super::pool::Pool;
use super::types::{Family, Mac, OpError, OpResult, Prefix, retval};
use super::{Vpp, fib};

/// Ring and host-side settings of a tap, kept for its dump; the engine itself uses none of it but `id`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapConfig {
    /// Tap number; [`NONE`](super::NONE) = lowest free.
    pub id: u32,
    pub host_if_name: String,
    pub host_namespace: String,
    pub host_bridge: String,
    pub host_mac: Mac,
    pub host_ip4_prefix: Option<Prefix>,
    pub host_ip6_prefix: Option<Prefix>,
    pub host_mtu: u32,
    pub rx_ring_size: u16,
    pub tx_ring_size: u16,
    pub flags: u32,
}

/// Settings of a memif.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemifConfig {
    pub id: u32,
    pub socket_id: u32,
    /// 0 master, 1 slave.
    pub role: u32,
    /// 0 ethernet, 1 ip, 2 punt/inject.
    pub mode: u32,
    /// A slave's; 0 = 1.
    pub rx_queues: u8,
    /// A slave's; 0 = 1.
    pub tx_queues: u8,
    /// Power of two; 0 = 1024.
    pub ring_size: u32,
    /// 0 = 2048.
    pub buffer_size: u16,
    pub no_zero_copy: bool,
    pub secret: String,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Local,
    Loopback {
        instance: u32,
    },
    /// Connects a bridge domain to layer 3.
    Bvi {
        instance: u32,
    },
    Tap(TapConfig),
    AfPacket {
        host_if_name: String,
    },
    AfXdp {
        host_if_name: String,
    },
    Memif(MemifConfig),
    /// Index of the tunnel in the VXLAN pool, and whether the payload is IP (no Ethernet header).
    Vxlan {
        tunnel: u32,
        is_l3: bool,
    },
    /// An IPsec interface.
    IpsecItf,
    /// Index in the pool of WireGuard interfaces.
    Wireguard {
        interface: u32,
    },
    /// Index of the tunnel in the ipip pool.
    Ipip {
        tunnel: u32,
    },
}

/// Packets, bytes and drops seen by an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
    /// Packets received here which were dropped somewhere in the graph.
    pub drops: u64,
    /// Packets which could not be sent here (interface down, longer than the device takes).
    pub tx_errors: u64,
}

/// One interface, with every field its dump needs.
#[derive(Clone, Debug)]
pub struct Interface {
    pub sw_if_index: u32,
    pub name: String,
    /// `interface_dev_type` of the dump.
    pub dev_type: &'static str,
    pub kind: Kind,
    pub mac: Mac,
    pub admin_up: bool,
    /// Whether the device below has a carrier; the link is up when this and `admin_up` are.
    pub carrier: bool,
    /// A memif whose peer came while it was down: VPP shows its link up until the next change of state.
    pub link_while_down: bool,
    /// Hardware MTU.
    pub link_mtu: u16,
    /// L3, IPv4, IPv6, MPLS; 0 = inherit.
    pub mtu: [u32; 4],
    /// Longest L3 packet the device below really takes; longer ones vanish silently.
    pub device_mtu: Option<u32>,
    pub tag: String,
    /// In the order they were added, host bits kept.
    pub addresses: Vec<Prefix>,
    /// The interface whose addresses this one borrows.
    pub unnumbered_to: Option<u32>,
    /// Table ids, IPv4 and IPv6.
    pub table: [u32; 2],
    /// `sw_interface_ip4/ip6_enable_disable`.
    pub ip_enabled: [bool; 2],
    /// The link-local address that was set, in place of that made of the MAC.
    pub link_local: Option<Ipv6Addr>,
    /// How its queues are read, if it has any: 1 polling, 2 interrupt, 3 adaptive.
    pub rx_mode: u32,
    pub counters: Counters,
}

impl Interface {
    /// The address by which it is known on its link.
    pub fn link_local_address(&self) -> Ipv6Addr {
        self.link_local.unwrap_or_else(|| self.mac.link_local())
    }

    /// Whether it has a queue that is read: devices do, and a memif once its peer is there.
    pub fn has_queue(&self) -> bool {
        match self.kind {
            Kind::Tap(_) | Kind::AfPacket { .. } | Kind::AfXdp { .. } => true,
            Kind::Memif(_) => self.carrier,
            _ => false,
        }
    }

    pub fn link_up(&self) -> bool {
        self.admin_up && self.carrier
    }

    /// `if_status_flags`: 1 admin up, 2 link up.
    pub fn flags(&self) -> u32 {
        let link = self.link_up() || self.link_while_down;
        u32::from(self.admin_up) | (u32::from(link) << 1)
    }

    /// Whether frames on it carry an Ethernet header.
    pub fn is_ethernet(&self) -> bool {
        match &self.kind {
            Kind::Local | Kind::Ipip { .. } | Kind::IpsecItf | Kind::Wireguard { .. } => false,
            Kind::Vxlan { is_l3, .. } => !is_l3,
            Kind::Memif(config) => config.mode == 0,
            Kind::Loopback { .. }
            | Kind::Bvi { .. }
            | Kind::Tap(_)
            | Kind::AfPacket { .. }
            | Kind::AfXdp { .. } => true,
        }
    }

    /// The MTU which IP packets of a family must keep; 0 = none.
    pub fn ip_mtu(&self, family: Family) -> u32 {
        match self.mtu[1 + family.index()] {
            0 => self.mtu[0],
            own => own,
        }
    }
}

/// What `want_interface_events` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceEvent {
    pub sw_if_index: u32,
    /// 1 admin up, 2 link up; 0 also stands for "created" and "down".
    pub flags: u32,
    pub deleted: bool,
}

const DEFAULT_MTU: u16 = 9000;

/// `rx_mode`: polling, as new devices are read but those of AF_PACKET.
pub(crate) const RX_POLLING: u32 = 1;
const RX_INTERRUPT: u32 = 2;
const RX_ADAPTIVE: u32 = 3;
const RX_DEFAULT: u32 = 4;

/// VPP's answer where a device does not do what it is asked.
const UNIMPLEMENTED: i32 = -9;

impl Vpp {
    pub(crate) fn new_interface(
        &mut self,
        name: String,
        dev_type: &'static str,
        kind: Kind,
        mac: Mac,
    ) -> u32 {
        let ethernet_mtu = if matches!(kind, Kind::Local) {
            0
        } else {
            DEFAULT_MTU
        };
        let carrier = !matches!(kind, Kind::Memif(_) | Kind::Local);
        let sw_if_index = self.interfaces.next_index();
        Arc::make_mut(&mut self.graph).interface_added(&name);
        let rx_mode = match kind {
            Kind::AfPacket { .. } => RX_INTERRUPT,
            _ => self.default_rx_mode,
        };
        self.interfaces.insert(Interface {
            sw_if_index,
            name,
            dev_type,
            kind,
            mac,
            admin_up: false,
            carrier,
            link_while_down: false,
            link_mtu: ethernet_mtu,
            mtu: [u32::from(ethernet_mtu), 0, 0, 0],
            device_mtu: None,
            tag: String::new(),
            addresses: Vec::new(),
            unnumbered_to: None,
            table: [0, 0],
            ip_enabled: [false, false],
            link_local: None,
            rx_mode,
            counters: Counters::default(),
        });
        if sw_if_index != 0 {
            self.interface_event(sw_if_index, 0, false);
        }
        sw_if_index
    }

    pub(super) fn interface_event(&mut self, sw_if_index: u32, flags: u32, deleted: bool) {
        self.events.push(InterfaceEvent {
            sw_if_index,
            flags,
            deleted,
        });
    }

    /// All interfaces in order of their index.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().map(|(_, i)| i)
    }

    pub fn interface(&self, sw_if_index: u32) -> Option<&Interface> {
        self.interfaces.get(sw_if_index)
    }

    /// The interface of that name.
    pub fn interface_by_name(&self, name: &str) -> Option<&Interface> {
        self.interfaces().find(|i| i.name == name)
    }

    pub(crate) fn interface_mut(&mut self, sw_if_index: u32) -> OpResult<&mut Interface> {
        self.interfaces
            .get_mut(sw_if_index)
            .ok_or(OpError::Retval(retval::INVALID_SW_IF_INDEX))
    }

    /// Interface events since the last call.
    pub fn drain_events(&mut self) -> Vec<InterfaceEvent> {
        std::mem::take(&mut self.events)
    }

    /// # Errors
    /// −2 for an unknown interface.
    pub fn set_admin(&mut self, sw_if_index: u32, up: bool) -> OpResult {
        let interface = self.interface_mut(sw_if_index)?;
        let before = interface.flags();
        interface.link_while_down &= interface.admin_up == up;
        interface.admin_up = up;
        let after = interface.flags();
        if before != after {
            self.interface_event(sw_if_index, after, false);
        }
        if !up {
            self.neighbors_of_interface_down(sw_if_index);
        }
        self.wireguard_admin_changed(sw_if_index, up);
        Ok(())
    }

    /// Carrier of the device below (af_packet's netdev, memif's peer).
    ///
    /// # Errors
    /// −2 for an unknown interface.
    pub fn set_carrier(&mut self, sw_if_index: u32, carrier: bool) -> OpResult {
        let interface = self.interface_mut(sw_if_index)?;
        let before = interface.flags();
        interface.carrier = carrier;
        interface.link_while_down =
            carrier && !interface.admin_up && matches!(interface.kind, Kind::Memif(_));
        let after = interface.flags();
        if before != after {
            self.interface_event(sw_if_index, after, false);
        }
        Ok(())
    }

    /// # Errors
    /// −2 for an unknown interface.
    pub fn set_mac(&mut self, sw_if_index: u32, mac: Mac) -> OpResult {
        self.interface_mut(sw_if_index)?.mac = mac;
        Ok(())
    }

    /// Software MTUs: L3, IPv4, IPv6, MPLS; 0 = inherit.
    ///
    /// # Errors
    /// −2 for an unknown interface.
    pub fn set_mtu(&mut self, sw_if_index: u32, mtu: [u32; 4]) -> OpResult {
        self.interface_mut(sw_if_index)?.mtu = mtu;
        Ok(())
    }

    /// Hardware MTU; sets the L3 MTU too, as VPP does when it follows the hardware.
    ///
    /// # Errors
    /// −2 for an unknown interface.
    pub fn set_link_mtu(&mut self, sw_if_index: u32, mtu: u16) -> OpResult {
        let interface = self.interface_mut(sw_if_index)?;
        interface.link_mtu = mtu;
        interface.mtu[0] = u32::from(mtu);
        Ok(())
    }

    /// MTU of the real device below the interface; `None` = no limit.
    ///
    /// # Errors
    /// −2 for an unknown interface.
    pub fn set_device_mtu(&mut self, sw_if_index: u32, mtu: Option<u32>) -> OpResult {
        self.interface_mut(sw_if_index)?.device_mtu = mtu;
        Ok(())
    }

    /// `sw_interface_tag_add_del`.
    ///
    /// # Errors
    /// −2 for an unknown interface, −7 for an empty tag on add.
    pub fn set_tag(&mut self, sw_if_index: u32, tag: Option<&str>) -> OpResult {
        let interface = self.interface_mut(sw_if_index)?;
        match tag {
            Some("") => return Err(retval::INVALID_VALUE.into()),
            Some(tag) => interface.tag = tag.to_owned(),
            None => interface.tag.clear(),
        }
        Ok(())
    }

    /// # Errors
    /// −2 for an unknown interface, −1 when the name is taken.
    pub fn set_interface_name(&mut self, sw_if_index: u32, name: &str) -> OpResult {
        if self
            .interface_by_name(name)
            .is_some_and(|i| i.sw_if_index != sw_if_index)
        {
            return Err(retval::UNSPECIFIED.into());
        }
        let before = std::mem::replace(&mut self.interface_mut(sw_if_index)?.name, name.to_owned());
        let graph = Arc::make_mut(&mut self.graph);
        graph.interface_gone(&before);
        graph.interface_added(name);
        Ok(())
    }

    /// `sw_interface_set_rx_mode`. Without a queue there is nothing to set.
    ///
    /// # Errors
    /// −2 for an unknown interface, −9 for a queue that is not there or a mode there is none of.
    pub fn set_rx_mode(&mut self, sw_if_index: u32, queue: Option<u32>, mode: u32) -> OpResult {
        let default = self.default_rx_mode;
        let interface = self.interface_mut(sw_if_index)?;
        let has_queue = interface.has_queue();
        if queue.is_some_and(|queue| queue != 0 || !has_queue) {
            return Err(UNIMPLEMENTED.into());
        }
        if has_queue {
            interface.rx_mode = match mode {
                RX_DEFAULT => default,
                RX_POLLING | RX_INTERRUPT | RX_ADAPTIVE => mode,
                _ => return Err(UNIMPLEMENTED.into()),
            };
        }
        Ok(())
    }

    /// `sw_interface_set_default_rx_mode`.
    ///
    /// # Errors
    /// −7 for anything but polling, interrupt and adaptive.
    pub fn set_default_rx_mode(&mut self, mode: u32) -> OpResult {
        if !(RX_POLLING..=RX_ADAPTIVE).contains(&mode) {
            return Err(retval::INVALID_VALUE.into());
        }
        self.default_rx_mode = mode;
        Ok(())
    }

    /// `sw_interface_get_default_rx_mode`.
    pub fn default_rx_mode(&self) -> u32 {
        self.default_rx_mode
    }

    /// `sw_interface_set_rx_placement`: the main thread reads all queues.
    ///
    /// # Errors
    /// −2 for an unknown interface, −9 for a worker, and for a queue that is not there.
    pub fn set_rx_placement(&mut self, sw_if_index: u32, queue: u32, is_main: bool) -> OpResult {
        let interface = self.interface_mut(sw_if_index)?;
        if !is_main || queue != 0 || !interface.has_queue() {
            return Err(UNIMPLEMENTED.into());
        }
        Ok(())
    }

    /// # Errors
    /// −2 for an unknown interface.
    pub fn clear_counters(&mut self, sw_if_index: Option<u32>) -> OpResult {
        match sw_if_index {
            Some(index) => self.interface_mut(index)?.counters = Counters::default(),
            None => self
                .interfaces
                .iter_mut()
                .for_each(|(_, i)| i.counters = Counters::default()),
        }
        Ok(())
    }

    /// `sw_interface_ip4/ip6_enable_disable`.
    ///
    /// # Errors
    /// −2 for an unknown interface.
    pub fn set_ip_enabled(&mut self, sw_if_index: u32, family: Family, enable: bool) -> OpResult {
        self.interface_mut(sw_if_index)?.ip_enabled[family.index()] = enable;
        Ok(())
    }

    pub(crate) fn interface_is_up(&self, sw_if_index: u32) -> bool {
        self.interfaces.get(sw_if_index).is_some_and(Interface::link_up)
    }

    /// Whether IP of a family is processed on the interface: it has or borrows an address, or it was enabled.
    pub(crate) fn ip_active(&self, interface: &Interface, family: Family) -> bool {
        interface.ip_enabled[family.index()]
            || interface.unnumbered_to.is_some()
            || interface.addresses.iter().any(|p| p.family() == family)
    }

    /// The table id in which packets received on the interface are looked up.
    pub(crate) fn table_of(&self, sw_if_index: u32, family: Family) -> u32 {
        self.interfaces
            .get(sw_if_index)
            .map_or(fib::DEFAULT_TABLE, |i| i.table[family.index()])
    }
}

pub(crate) type Interfaces = Pool<Interface>;
