//! Order of creation, dependencies, what changes in place, and names for people.

use std::fmt;
use std::net::IpAddr;

use super::{Area, CHAIN_ACL_PREFIX, Key, Link, Object, Path, Vip};

impl Key {
    /// Place in the order of creation. Whatever a key depends on has a lower rank; deletion goes the other way.
    ///
    /// Links of pods come up last, so that a pod whose interface is made anew is never reachable before its policies.
    pub fn rank(&self) -> u8 {
        match self {
            Self::CnatSnat | Self::Acl(_) => 0,
            Self::Interface(_) => 1,
            Self::Up(link) if !link.is_pod_side() => 2,
            Self::Address(..) | Self::CnatExclude(_) => 3,
            Self::Unnumbered(_) => 4,
            Self::Neighbour(..) => 5,
            Self::Route(_) | Self::Translation(_) => 6,
            Self::AclBinding(_) | Self::CnatFeature(_) | Self::AbfPolicy(_) => 7,
            Self::AbfAttach(..) => 8,
            Self::Up(_) => 9,
        }
    }

    /// Whether anything may depend on it: see [`Object::dependencies`].
    pub fn is_depended_on(&self) -> bool {
        matches!(
            self,
            Self::Interface(_) | Self::Acl(_) | Self::CnatSnat | Self::AbfPolicy(_)
        )
    }

    /// The interface the key speaks of.
    pub fn link(&self) -> Option<&Link> {
        match self {
            Self::Interface(link)
            | Self::Up(link)
            | Self::Address(link, _)
            | Self::Unnumbered(link)
            | Self::Neighbour(link, _)
            | Self::AclBinding(link)
            | Self::CnatFeature(link)
            | Self::AbfAttach(link, _) => Some(link),
            _ => None,
        }
    }

    /// Which condition speaks of the key.
    pub fn area(&self) -> Area {
        match self {
            Self::Acl(tag) if tag.starts_with(CHAIN_ACL_PREFIX) => Area::Chains,
            Self::Acl(_) | Self::AclBinding(_) => Area::Policies,
            Self::CnatSnat | Self::CnatExclude(_) | Self::CnatFeature(_) | Self::Translation(_) => {
                Area::Services
            }
            Self::AbfPolicy(_) | Self::AbfAttach(..) => Area::Chains,
            other if matches!(other.link(), Some(Link::Function(..))) => Area::Chains,
            _ => Area::Interfaces,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(link) => write!(f, "interface {link}"),
            Self::Up(link) => write!(f, "up {link}"),
            Self::Address(link, address) => write!(f, "address {address} on {link}"),
            Self::Unnumbered(link) => write!(f, "unnumbered {link}"),
            Self::Neighbour(link, address) => write!(f, "neighbour {address} on {link}"),
            Self::Route(prefix) => write!(f, "route {prefix}"),
            Self::Acl(tag) => write!(f, "acl {tag}"),
            Self::AclBinding(link) => write!(f, "acl list of {link}"),
            Self::CnatSnat => f.write_str("source NAT addresses"),
            Self::CnatExclude(prefix) => write!(f, "source NAT exclusion {prefix}"),
            Self::CnatFeature(link) => write!(f, "cnat on {link}"),
            Self::Translation(vip) => write!(f, "translation {vip}"),
            Self::AbfPolicy(id) => write!(f, "forwarding policy {id:#x}"),
            Self::AbfAttach(link, id) => write!(f, "forwarding policy {id:#x} on {link}"),
        }
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(a) => write!(f, "{a}:{}/{}", self.port, self.protocol),
            IpAddr::V6(a) => write!(f, "[{a}]:{}/{}", self.port, self.protocol),
        }
    }
}

impl Object {
    /// What must be in VPP for this to be there.
    pub fn dependencies(&self, key: &Key) -> Vec<Key> {
        let mut keys = Vec::new();
        match (key, self) {
            // Membership of cnat's pod table is part of a function's interface.
            (Key::Interface(Link::Function(..)), _) => keys.push(Key::CnatSnat),
            (Key::Interface(_) | Key::CnatSnat | Key::Acl(_), _) => {}
            (_, Self::Unnumbered(lender)) => keys.push(Key::Interface(lender.clone())),
            (_, Self::Route(paths)) => {
                keys.extend(paths.iter().filter_map(Path::link).cloned().map(Key::Interface));
            }
            (_, Self::AclBinding(lists)) => {
                keys.extend(lists.input.iter().chain(&lists.output).cloned().map(Key::Acl));
            }
            (_, Self::AbfPolicy(policy)) => {
                keys.push(Key::Acl(policy.acl.clone()));
                keys.extend(policy.path.link().cloned().map(Key::Interface));
            }
            (Key::AbfAttach(_, id), _) => keys.push(Key::AbfPolicy(*id)),
            (Key::CnatExclude(_) | Key::CnatFeature(_) | Key::Translation(_), _) => {
                keys.push(Key::CnatSnat);
            }
            _ => {}
        }
        if let Some(link) = key.link()
            && !matches!(key, Key::Interface(_))
        {
            keys.push(Key::Interface(link.clone()));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// Whether VPP can turn `self` into `next` without deleting it first.
    pub fn updates_in_place(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Interface(old), Self::Interface(new)) => old.device == new.device,
            // The kind of balancing is taken only when a translation is created.
            (Self::Translation(old), Self::Translation(new)) => old.affinity == new.affinity,
            (Self::Neighbour(_), Self::Neighbour(_))
            | (Self::Route(_), Self::Route(_))
            | (Self::Acl(_), Self::Acl(_))
            | (Self::AclBinding(_), Self::AclBinding(_))
            | (Self::CnatSnat(_), Self::CnatSnat(_)) => true,
            _ => false,
        }
    }
}
