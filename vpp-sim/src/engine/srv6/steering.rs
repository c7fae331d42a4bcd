//! Steering: which traffic enters which policy (`sr_steering.c`).
use std::net::{IpAddr, Ipv6Addr};

use super::{Srv6, from_ip46, ip4_of, to_ip46};
use crate::engine::Vpp;
use crate::engine::fib::source;
use crate::engine::types::{Family, NONE, OpError, OpResult, Prefix, RoutePath, retval};

const BAD_TYPE: i32 = -1;
const NO_SUCH_POLICY: i32 = -2;
const NOT_FOUND: i32 = -4;
const NOT_ENCAP: i32 = -5;

/// VPP's `sr_steer` numbers.
const L2: u8 = 2;
const IP4: u8 = 4;
const IP6: u8 = 6;

/// SteeredTraffic that is steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteeredTraffic {
    /// `sr_steer`: 2 L2, 4 IPv4, 6 IPv6.
    pub traffic_type: u8,
    /// Of IP traffic. Its family is not looked at, `traffic_type` tells.
    pub prefix: Prefix,
    /// Of IP traffic; [`NONE`] = 0.
    pub table_id: u32,
    /// Of L2 traffic.
    pub sw_if_index: u32,
}

/// Steering as `sr_steering_pol_dump` shows it: VPP keeps prefix and interface in one place, so each is a part of the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteeringDetails {
    pub traffic_type: u8,
    pub fib_table: u32,
    pub prefix: Prefix,
    pub sw_if_index: u32,
    pub bsid: Ipv6Addr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Ip {
        family: Family,
        address: Ipv6Addr,
        len: u8,
        table: u32,
    },
    Interface(u32),
}

#[derive(Clone, Debug)]
pub(crate) struct Steering {
    key: Key,
    policy: u32,
}

impl Key {
    /// The route of IP traffic, and its table.
    fn route(self) -> Option<(u32, Prefix)> {
        match self {
            Self::Ip {
                family,
                address,
                len,
                table,
            } => {
                let address = match family {
                    Family::V4 => IpAddr::V4(ip4_of(address)),
                    Family::V6 => IpAddr::V6(address),
                };
                Some((table, Prefix::new(address, len)))
            }
            Self::Interface(_) => None,
        }
    }
}

impl Srv6 {
    fn steering_index(&self, key: Key) -> Option<u32> {
        self.steering
            .iter()
            .find(|(_, steering)| steering.key == key)
            .map(|(index, _)| index)
    }

    /// The policy that takes the frames of an interface.
    pub fn steered_frames(&self, sw_if_index: u32) -> Option<u32> {
        self.steering
            .iter()
            .find(|(_, steering)| steering.key == Key::Interface(sw_if_index))
            .map(|(_, steering)| steering.policy)
    }
}

impl Vpp {
    fn steering_key(&self, traffic: &SteeredTraffic) -> OpResult<Key> {
        let family = match traffic.traffic_type {
            L2 if self.interfaces.contains(traffic.sw_if_index) => {
                return Ok(Key::Interface(traffic.sw_if_index));
            }
            L2 => return Err(retval::INVALID_SW_IF_INDEX.into()),
            IP4 => Family::V4,
            IP6 => Family::V6,
            _ => return Err(BAD_TYPE.into()),
        };
        Ok(Key::Ip {
            family,
            address: to_ip46(traffic.prefix.address),
            len: traffic.prefix.len,
            table: if traffic.table_id == NONE {
                0
            } else {
                traffic.table_id
            },
        })
    }

    /// `sr_steering_add_del` without `is_del`; again with another binding SID it switches.
    ///
    /// # Errors
    /// −1 type, −2 no such interface or policy, −5 L2 or IPv4 into a policy that does not encapsulate. Fatal: an
    /// unknown table.
    pub fn sr_steering_add(&mut self, traffic: &SteeredTraffic, bsid: Ipv6Addr) -> OpResult {
        let key = self.steering_key(traffic)?;
        let (policy, is_encap) = match self.srv6.policy_by_bsid(bsid) {
            Some((index, policy)) => (index, policy.is_encap),
            None => return Err(NO_SUCH_POLICY.into()),
        };
        if let Some((table, prefix)) = key.route()
            && !self.fibs.exists(prefix.family(), table)
        {
            return Err(OpError::Fatal(format!(
                "sr_steering_add_del: a route in table {table}, which is not there"
            )));
        }
        match self.srv6.steering_index(key) {
            Some(index) => {
                if let Some(steering) = self.srv6.steering.get_mut(index) {
                    steering.policy = policy;
                }
            }
            None if !is_encap && traffic.traffic_type != IP6 => return Err(NOT_ENCAP.into()),
            None => {
                self.srv6.steering.insert(Steering { key, policy });
            }
        }
        if let Some((table, prefix)) = key.route() {
            // Through the binding SID in the hidden table, which has the id ~0.
            let via = RoutePath::recursive(NONE, bsid);
            self.fibs.set_source(table, prefix, source::SR, vec![via]);
        }
        Ok(())
    }

    /// `sr_steering_add_del` with `is_del`.
    ///
    /// # Errors
    /// −1 type, −2 no such interface, −4 none.
    pub fn sr_steering_del(&mut self, traffic: &SteeredTraffic) -> OpResult {
        let key = self.steering_key(traffic)?;
        let index = self.srv6.steering_index(key).ok_or(NOT_FOUND)?;
        self.srv6.steering.remove(index);
        if let Some((table, prefix)) = key.route() {
            self.fibs.remove_source(table, prefix, source::SR);
        }
        self.srv6.release_tables();
        Ok(())
    }

    /// `sr_steering_pol_dump`.
    pub fn sr_steering(&self) -> Vec<SteeringDetails> {
        let details = |steering: &Steering| {
            let bsid = self.srv6.bsids.get(&steering.policy).copied();
            let bsid = bsid.unwrap_or(Ipv6Addr::UNSPECIFIED);
            match steering.key {
                Key::Ip {
                    family,
                    address,
                    len,
                    table,
                } => {
                    let [a, b, c, d, ..] = address.octets();
                    SteeringDetails {
                        traffic_type: if family == Family::V4 { IP4 } else { IP6 },
                        fib_table: table,
                        prefix: Prefix::new(from_ip46(address), len),
                        sw_if_index: u32::from_le_bytes([a, b, c, d]),
                        bsid,
                    }
                }
                Key::Interface(sw_if_index) => {
                    let mut octets = [0; 16];
                    octets[..4].copy_from_slice(&sw_if_index.to_le_bytes());
                    SteeringDetails {
                        traffic_type: L2,
                        fib_table: 0,
                        prefix: Prefix::new(from_ip46(Ipv6Addr::from_octets(octets)), 0),
                        sw_if_index,
                        bsid,
                    }
                }
            }
        };
        self.srv6
            .steering
            .iter()
            .map(|(_, steering)| details(steering))
            .collect()
    }
}
