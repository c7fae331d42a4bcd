//! VXLAN tunnels and the next-node registry their `decap_next_index` refers to.
use std::net::IpAddr;

use super::Vpp;
use super::interface::Kind;
use super::pool::Pool;
use super::types::{Family, Mac, NONE, OpError, OpResult, retval};

/// IANA's port.
pub const VXLAN_PORT: u16 = 4789;

/// `VXLAN_INPUT_NEXT_L2_INPUT`.
const NEXT_L2_INPUT: u32 = 1;

/// `vxlan_add_del_tunnel_v3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanTunnel {
    /// Number in the name; [`NONE`] = that of the tunnel.
    pub instance: u32,
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Port on which it listens; 0 = 4789.
    pub src_port: u16,
    /// Port to which it sends; 0 = 4789.
    pub dst_port: u16,
    pub mcast_sw_if_index: u32,
    pub encap_table_id: u32,
    /// Next of `vxlan4-input`/`vxlan6-input` for the payload; [`NONE`] = l2-input.
    pub decap_next_index: u32,
    pub vni: u32,
    /// The payload is IP, not Ethernet.
    pub is_l3: bool,
}

/// A tunnel as `vxlan_tunnel_v2_dump` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanDetails {
    pub sw_if_index: u32,
    pub tunnel: VxlanTunnel,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Vxlan {
    tunnels: Pool<(u32, VxlanTunnel)>,
}

impl Vxlan {
    pub fn input_node(family: Family) -> &'static str {
        match family {
            Family::V4 => "vxlan4-input",
            Family::V6 => "vxlan6-input",
        }
    }

    pub fn tunnel(&self, index: u32) -> Option<&VxlanTunnel> {
        self.tunnels.get(index).map(|(_, tunnel)| tunnel)
    }

    /// Whether some tunnel listens on a UDP port.
    pub fn listens(&self, family: Family, port: u16) -> bool {
        self.tunnels
            .iter()
            .any(|(_, (_, t))| t.src_port == port && Family::of(t.src) == family)
    }

    /// The tunnel for a packet that came from `remote` to `local`.
    pub fn find(
        &self,
        local: IpAddr,
        remote: IpAddr,
        port: u16,
        table: u32,
        vni: u32,
    ) -> Option<(u32, VxlanTunnel)> {
        self.tunnels.iter().map(|(_, found)| *found).find(|(_, t)| {
            t.src == local
                && t.dst == remote
                && t.src_port == port
                && t.encap_table_id == table
                && t.vni == vni
        })
    }

    fn any(&self, is: impl Fn(&VxlanTunnel) -> bool) -> bool {
        self.tunnels.iter().any(|(_, (_, t))| is(t))
    }

    fn same_key(a: &VxlanTunnel, b: &VxlanTunnel) -> bool {
        // IPv6 tunnels are keyed without their own address (`vxlan6_tunnel_key_t`).
        let local = Family::of(a.src) == Family::V6 || a.src == b.src;
        local
            && a.dst == b.dst
            && a.vni == b.vni
            && a.encap_table_id == b.encap_table_id
            && a.src_port == b.src_port
    }
}

impl Vpp {
    fn clean_tunnel(&self, wanted: &VxlanTunnel) -> OpResult<VxlanTunnel> {
        let family = Family::of(wanted.src);
        if !self.fibs.exists(family, wanted.encap_table_id) {
            return Err(retval::NO_SUCH_FIB.into());
        }
        if Family::of(wanted.dst) != family {
            return Err(retval::INVALID_VALUE.into());
        }
        if wanted.src == wanted.dst {
            return Err(retval::SAME_SRC_DST.into());
        }
        if wanted.dst.is_multicast() && !self.interfaces.contains(wanted.mcast_sw_if_index) {
            return Err(retval::INVALID_SW_IF_INDEX.into());
        }
        let port = |p: u16| if p == 0 { VXLAN_PORT } else { p };
        Ok(VxlanTunnel {
            src_port: port(wanted.src_port),
            dst_port: port(wanted.dst_port),
            ..*wanted
        })
    }

    /// `vxlan_add_del_tunnel_v3` with `is_add`: the interface, which VPP sets admin-up.
    ///
    /// # Errors
    /// −3 table, −7 families differ, −82 equal ends, −2 multicast interface, −75 exists,
    /// −76 bad `decap_next_index`, −147 instance taken.
    pub fn vxlan_add(&mut self, wanted: &VxlanTunnel) -> OpResult<u32> {
        let mut tunnel = self.clean_tunnel(wanted)?;
        if self.vxlan.any(|t| Vxlan::same_key(t, &tunnel)) {
            return Err(retval::TUNNEL_EXIST.into());
        }
        let family = Family::of(tunnel.src);
        if tunnel.decap_next_index == NONE {
            tunnel.decap_next_index = NEXT_L2_INPUT;
        }
        let input = Vxlan::input_node(family);
        if self.graph.next_name(input, tunnel.decap_next_index).is_none() {
            return Err(retval::INVALID_DECAP_NEXT.into());
        }
        let index = self.vxlan.tunnels.next_index();
        if tunnel.instance == NONE {
            tunnel.instance = index;
        }
        if self.vxlan.any(|t| t.instance == tunnel.instance) {
            return Err(retval::INSTANCE_IN_USE.into());
        }
        let is_l3 = tunnel.is_l3;
        let mac = if is_l3 { Mac::default() } else { self.random_mac() };
        let kind = Kind::Vxlan { tunnel: index, is_l3 };
        let name = format!("vxlan_tunnel{}", tunnel.instance);
        let sw_if_index = self.new_interface(name, "VXLAN", kind, mac);
        self.vxlan.tunnels.insert((sw_if_index, tunnel));
        self.set_admin(sw_if_index, true)?;
        self.fibs.track(tunnel.encap_table_id, tunnel.dst);
        self.fresh_next_hops.push((tunnel.encap_table_id, tunnel.dst));
        Ok(sw_if_index)
    }

    /// `vxlan_add_del_tunnel_v3` without `is_add`: found by its key fields; the interface it had.
    ///
    /// # Errors
    /// As [`Self::vxlan_add`] for bad fields, −6 no such tunnel.
    pub fn vxlan_del(&mut self, wanted: &VxlanTunnel) -> OpResult<u32> {
        let key = self.clean_tunnel(wanted)?;
        let (index, (sw_if_index, tunnel)) = self
            .vxlan
            .tunnels
            .iter()
            .find(|(_, (_, t))| Vxlan::same_key(t, &key))
            .map(|(index, found)| (index, *found))
            .ok_or(OpError::Retval(retval::NO_SUCH_ENTRY))?;
        self.delete_interface(sw_if_index);
        self.vxlan.tunnels.remove(index);
        self.fibs.untrack(tunnel.encap_table_id, tunnel.dst);
        Ok(sw_if_index)
    }

    /// `vxlan_tunnel_v2_dump`.
    pub fn vxlan_tunnels(&self) -> Vec<VxlanDetails> {
        self.vxlan
            .tunnels
            .iter()
            .map(|(_, (sw_if_index, tunnel))| VxlanDetails {
                sw_if_index: *sw_if_index,
                tunnel: *tunnel,
            })
            .collect()
    }
}
