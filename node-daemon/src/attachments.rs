//! Pods' attachments: what each one is, and the files that remember them.
//!
//! An attachment is written twice: as *reserved* when it gets its addresses, before anything is
//! made of it, and as *committed* with ADD's result when all of it is made. What is still reserved
//! when the daemon starts was interrupted and is undone. [`Attachments`] is the memory, pure;
//! [`AttachmentStore`] the disk, blocking.

mod host_port;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use cni_shim::{AttachmentKey, CniResult};
use crds::cnf::InterfaceKind;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

pub use host_port::HostPort;
pub use store::{AttachmentStore, Quarantined, StoreError};

/// How far an attachment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Its addresses are taken; its interface may or may not exist.
    Reserved,
    /// ADD has succeeded.
    Committed,
}

/// One interface of one container, made by ADD, with the further interfaces of a function's pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// The runtime's id of the sandbox.
    pub container_id: String,
    /// Name of the interface within the pod, usually `eth0`.
    pub ifname: String,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod.
    pub uid: String,
    /// How the interface is attached.
    pub kind: InterfaceKind,
    /// Addresses, at most one per family.
    pub addresses: Vec<IpAddr>,
    /// Ports of the node that lead to the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
    /// How far it has come.
    pub state: State,
    /// What ADD answered; present once committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<CniResult>,
}

/// The ends of an interface, whose hardware addresses must differ.
#[derive(Clone, Copy)]
enum Side {
    Pod,
    Vpp,
}

impl Attachment {
    /// The runtime's name for the attachment.
    pub fn key(&self) -> AttachmentKey {
        AttachmentKey {
            container_id: self.container_id.clone(),
            ifname: self.ifname.clone(),
        }
    }

    /// 16 hexadecimal digits that stand for container id and interface name.
    pub fn id(&self) -> String {
        id(&self.key())
    }

    /// Tag of the interface in VPP, by which a restarted daemon knows it again.
    pub fn tag(&self) -> String {
        format!("{TAG_PREFIX}{}", self.id())
    }

    /// Tag in VPP of a further interface of the pod; 64 bytes are VPP's limit, this takes at most 43.
    pub fn function_tag(&self, interface: &str) -> String {
        format!("{}/{interface}", self.tag())
    }

    /// Hardware address of the pod's end.
    pub fn pod_mac(&self) -> [u8; 6] {
        self.mac(&self.ifname, Side::Pod)
    }

    /// Hardware address of VPP's end.
    pub fn vpp_mac(&self) -> [u8; 6] {
        self.mac(&self.ifname, Side::Vpp)
    }

    /// Hardware address of the pod's end of a further interface.
    pub fn function_pod_mac(&self, interface: &str) -> [u8; 6] {
        self.mac(interface, Side::Pod)
    }

    /// Hardware address of VPP's end of a further interface.
    pub fn function_vpp_mac(&self, interface: &str) -> [u8; 6] {
        self.mac(interface, Side::Vpp)
    }

    /// Name of the node's end of a veth interface: 15 bytes, Linux' limit.
    pub fn veth_name(&self, interface: &str) -> String {
        let hash = hash(&[&self.container_id, &self.ifname, interface, "veth"]);
        format!("cv{:013x}", hash & 0x000f_ffff_ffff_ffff)
    }

    fn mac(&self, interface: &str, side: Side) -> [u8; 6] {
        let side = match side {
            Side::Pod => "pod",
            Side::Vpp => "vpp",
        };
        let hash = hash(&[&self.container_id, &self.ifname, interface, side]);
        let [_, _, _, a, b, c, d, e] = hash.to_be_bytes();
        // Locally administered, unicast (IEEE 802, 8.2.2).
        [0x02, a, b, c, d, e]
    }
}

/// What tags of pods' interfaces begin with in VPP.
pub const TAG_PREFIX: &str = "contiv/pod/";

/// 16 hexadecimal digits that stand for an attachment.
pub fn id(key: &AttachmentKey) -> String {
    format!("{:016x}", hash(&[&key.container_id, &key.ifname]))
}

/// Colon-separated hexadecimal, as CNI results and Linux write hardware addresses.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

// Lengths go in too, or ("a", "bc") and ("ab", "c") would be the same.
fn hash(parts: &[&str]) -> u64 {
    let mut state = Xxh3::new();
    for part in parts {
        state.update(&(part.len() as u64).to_be_bytes());
        state.update(part.as_bytes());
    }
    state.digest()
}

/// All attachments of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachments {
    by_key: BTreeMap<AttachmentKey, Attachment>,
}

impl Attachments {
    /// The attachment with this key.
    pub fn by_key(&self, key: &AttachmentKey) -> Option<&Attachment> {
        self.by_key.get(key)
    }

    /// The attachments of a pod: more than one for a moment when its sandbox is replaced, always
    /// when a runtime attaches it to several networks.
    pub fn of_pod(&self, uid: &str) -> impl Iterator<Item = &Attachment> {
        self.by_key.values().filter(move |each| each.uid == uid)
    }

    /// All of them, by container id and interface name.
    pub fn iter(&self) -> impl Iterator<Item = &Attachment> {
        self.by_key.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// An attachment, other than the one with this key, that holds one of these ports of the node, and which.
    pub fn holder_of(&self, key: &AttachmentKey, ports: &[HostPort]) -> Option<(&Attachment, HostPort)> {
        self.by_key
            .values()
            .filter(|each| each.key() != *key)
            .find_map(|each| {
                let held = each.host_ports.iter();
                let held = held
                    .copied()
                    .find(|held| ports.iter().any(|port| port.conflicts_with(held)))?;
                Some((each, held))
            })
    }

    /// Adds or replaces one; returns what it replaced.
    pub fn insert(&mut self, attachment: Attachment) -> Option<Attachment> {
        self.by_key.insert(attachment.key(), attachment)
    }

    /// Removes one.
    pub fn remove(&mut self, key: &AttachmentKey) -> Option<Attachment> {
        self.by_key.remove(key)
    }

    /// Keys of those that a GC with this list of valid ones removes.
    pub fn stale(&self, valid: &BTreeSet<AttachmentKey>) -> Vec<AttachmentKey> {
        let known = self.by_key.keys();
        known.filter(|key| !valid.contains(*key)).cloned().collect()
    }
}

impl FromIterator<Attachment> for Attachments {
    fn from_iter<I: IntoIterator<Item = Attachment>>(iter: I) -> Self {
        Self {
            by_key: iter.into_iter().map(|each| (each.key(), each)).collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An attachment of pod `default/web` with addresses of both families.
    pub(crate) fn attachment(container_id: &str) -> Attachment {
        Attachment {
            container_id: container_id.to_owned(),
            ifname: "eth0".to_owned(),
            netns: format!("/run/netns/{container_id}"),
            namespace: "default".to_owned(),
            pod: "web".to_owned(),
            uid: format!("uid-of-{container_id}"),
            kind: InterfaceKind::Tap,
            addresses: vec!["10.1.1.2".parse().unwrap(), "fd00:1::2".parse().unwrap()],
            host_ports: vec![],
            state: State::Reserved,
            result: None,
        }
    }

    #[test]
    fn every_end_has_its_own_local_unicast_mac() {
        let one = attachment("c1");
        let other = attachment("c2");
        let macs = BTreeSet::from([
            one.pod_mac(),
            one.vpp_mac(),
            one.function_pod_mac("in"),
            one.function_vpp_mac("in"),
            one.function_pod_mac("out"),
            one.function_vpp_mac("out"),
            other.pod_mac(),
            other.vpp_mac(),
        ]);
        assert_eq!(macs.len(), 8);
        for mac in macs {
            assert_eq!(mac[0] & 0b11, 0b10, "locally administered, not multicast");
        }
        assert_eq!(one.pod_mac(), attachment("c1").pod_mac());
    }

    #[test]
    fn names_fit_their_limits_and_keys_do_not_run_together() {
        let one = attachment("c1");
        assert_eq!(one.id().len(), 16);
        assert_eq!(one.tag(), format!("contiv/pod/{}", one.id()));
        assert!(one.function_tag("fifteen-letters").len() < 64);
        assert_eq!(one.veth_name("eth0").len(), 15);
        assert_ne!(one.veth_name("eth0"), one.veth_name("in"));
        let mut shifted = attachment("c1e");
        shifted.ifname = "th0".to_owned();
        assert_ne!(one.id(), shifted.id());
    }

    #[test]
    fn gc_removes_what_is_not_listed() {
        let all: Attachments = ["a", "b", "c"].map(attachment).into_iter().collect();
        let valid = BTreeSet::from([attachment("b").key(), attachment("unknown").key()]);
        let stale = all.stale(&valid);
        assert_eq!(stale, [attachment("a").key(), attachment("c").key()]);
        assert_eq!(all.stale(&BTreeSet::new()).len(), 3);
    }
}
