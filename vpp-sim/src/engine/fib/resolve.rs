//! From an entry to what happens with a packet: recursion, preference, weights, interface state.
use std::net::IpAddr;

use super::{Contribution, Found, source};
use crate::engine::types::{Family, NONE, PathKind, RoutePath};
use crate::engine::{Kind, Vpp};

/// Recursive next hops deeper than this count as a loop, which VPP detects and drops.
const MAX_RECURSION: u8 = 8;

/// The end of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Forward {
    Drop(&'static str),
    Unreach,
    Prohibit,
    /// Delivered to VPP itself.
    Local,
    /// To a next hop on an interface.
    Adjacency {
        sw_if_index: u32,
        next_hop: IpAddr,
    },
    /// The destination itself is on the interface's link, and nothing is known of it yet.
    Glean {
        sw_if_index: u32,
    },
    /// A virtual address of cnat.
    CnatClient,
    /// A local SID.
    SrLocalSid(u32),
    /// A policy, by steering or by its binding SID.
    SrPolicy {
        policy: u32,
        to_bsid: bool,
    },
}

impl Vpp {
    /// Looks a destination up and picks one path by the flow's hash.
    pub(crate) fn forward(&self, table: u32, destination: IpAddr, flow_hash: u32) -> Forward {
        self.forward_at(table, destination, flow_hash, 0, true)
    }

    /// As [`Self::forward`], blind to virtual addresses.
    pub(crate) fn forward_beneath_cnat(&self, table: u32, to: IpAddr, flow_hash: u32) -> Forward {
        self.forward_at(table, to, flow_hash, 0, false)
    }

    fn forward_at(&self, table: u32, destination: IpAddr, hash: u32, depth: u8, cnat: bool) -> Forward {
        if depth > MAX_RECURSION {
            return Forward::Drop("recursive loop");
        }
        let mut longest = Family::of(destination).bits();
        while let Some(found) = self.fibs.lookup(table, destination, longest) {
            let fallback = |this: &Self| {
                let mut sources: Vec<_> = found.entry.sources.iter().collect();
                sources.sort_by_key(|(id, _)| this.fibs.sources.priority(**id));
                sources.into_iter().find_map(|(id, c)| match c {
                    Contribution::Paths(list) => Some((*id, *list)),
                    _ => None,
                })
            };
            let paths = match found.contribution {
                Contribution::CnatClient { .. } if cnat => return Forward::CnatClient,
                Contribution::CnatClient { exclusive: true } => {
                    return Forward::Drop("cnat: no translation");
                }
                Contribution::SrLocalSid(index) => return Forward::SrLocalSid(*index),
                Contribution::SrPolicy(policy) => {
                    return Forward::SrPolicy {
                        policy: *policy,
                        to_bsid: true,
                    };
                }
                Contribution::Paths(list) => Some((found.source, *list)),
                Contribution::CnatClient { .. } | Contribution::Cover { .. } => fallback(self),
            };
            let usable = paths.filter(|(from, list)| {
                *from != source::ADJACENCY || self.adjacency_covered(table, &found, *list)
            });
            match usable {
                Some((_, list)) => return self.forward_list(list, destination, hash, depth, cnat),
                None if found.prefix.len == 0 => break,
                None => longest = found.prefix.len - 1,
            }
        }
        Forward::Drop("no route")
    }

    /// An entry made by a neighbour forwards only beneath a connected prefix of the same link, or of
    /// the interface from which that link borrows its address (`fib_entry_src_adj.c`).
    fn adjacency_covered(&self, table: u32, found: &Found<'_>, list: u32) -> bool {
        let Some(own) = self.fibs.path_lists.paths(list).first() else {
            return false;
        };
        let Some(longest) = found.prefix.len.checked_sub(1) else {
            return false;
        };
        let holder = self.address_holder(own.sw_if_index);
        let Some(cover) = self.fibs.lookup(table, found.prefix.address, longest) else {
            return false;
        };
        let Contribution::Paths(list) = cover.contribution else {
            return false;
        };
        self.fibs.path_lists.paths(*list).iter().any(|path| {
            path.kind == PathKind::Normal
                && path.next_hop.is_unspecified()
                && (path.sw_if_index == own.sw_if_index || path.sw_if_index == holder)
        })
    }

    /// Picks among the paths of a list and follows the one picked.
    pub(crate) fn forward_paths(&self, list: u32, destination: IpAddr, hash: u32) -> Forward {
        self.forward_list(list, destination, hash, 0, true)
    }

    fn forward_list(&self, list: u32, destination: IpAddr, hash: u32, depth: u8, cnat: bool) -> Forward {
        let Some(list) = self.fibs.path_lists.get(list) else {
            return Forward::Drop("no route");
        };
        let mut usable: Vec<(&RoutePath, Forward)> = Vec::new();
        for (path, poisoned) in list.paths.iter().zip(&list.poisoned) {
            if *poisoned {
                continue;
            }
            if let Some(forward) = self.forward_path(path, destination, hash, depth, cnat) {
                usable.push((path, forward));
            }
        }
        let Some(best) = usable.iter().map(|(path, _)| path.preference).min() else {
            return Forward::Drop("unresolved path");
        };
        usable.retain(|(path, _)| path.preference == best);
        let total: u32 = usable.iter().map(|(p, _)| u32::from(p.weight)).sum();
        let mut at = hash % total.max(1);
        for (path, forward) in usable {
            match at.checked_sub(u32::from(path.weight)) {
                Some(rest) => at = rest,
                None => return forward,
            }
        }
        Forward::Drop("unresolved path")
    }

    /// A tunnel with many peers: to which of them a packet goes, only a next hop tells (`fib_path.c`).
    fn is_multipoint(&self, sw_if_index: u32) -> bool {
        self.interfaces
            .get(sw_if_index)
            .is_some_and(|interface| match interface.kind {
                Kind::Wireguard { .. } => true,
                Kind::Ipip { tunnel } => self.ipip.is_multipoint(tunnel),
                _ => false,
            })
    }

    /// Where one path leads; None while it is unresolved (interface down, next hop unreachable).
    fn forward_path(
        &self,
        path: &RoutePath,
        destination: IpAddr,
        hash: u32,
        depth: u8,
        cnat: bool,
    ) -> Option<Forward> {
        match path.kind {
            PathKind::Drop => return Some(Forward::Drop("drop route")),
            PathKind::IcmpUnreach => return Some(Forward::Unreach),
            PathKind::IcmpProhibit => return Some(Forward::Prohibit),
            PathKind::Local => return Some(Forward::Local),
            PathKind::Other(_) => return None,
            PathKind::Normal => {}
        }
        if path.sw_if_index == NONE {
            if path.table_id == NONE {
                let policy = self.srv6.steered(path.next_hop, Family::of(destination))?;
                return Some(Forward::SrPolicy {
                    policy,
                    to_bsid: false,
                });
            }
            if path.next_hop.is_unspecified() {
                return self
                    .fibs
                    .exists(path.family, path.table_id)
                    .then(|| self.forward_at(path.table_id, destination, hash, depth + 1, cnat));
            }
            let via = self.forward_at(path.table_id, path.next_hop, hash, depth + 1, cnat);
            return match via {
                Forward::Drop(_) => None,
                Forward::Glean { sw_if_index } => Some(Forward::Adjacency {
                    sw_if_index,
                    next_hop: path.next_hop,
                }),
                other => Some(other),
            };
        }
        if !self.interface_is_up(path.sw_if_index) {
            return None;
        }
        Some(if path.next_hop.is_unspecified() {
            if self.is_multipoint(path.sw_if_index) {
                return Some(Forward::Drop("attached to a multipoint tunnel"));
            }
            Forward::Glean {
                sw_if_index: path.sw_if_index,
            }
        } else {
            Forward::Adjacency {
                sw_if_index: path.sw_if_index,
                next_hop: path.next_hop,
            }
        })
    }
}
