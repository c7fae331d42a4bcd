//! What the connected VPP offers: message ids by name and checksum.
//!
//! A message whose definition changed has another checksum and so another key. One binary serves several releases by
//! asking the table which variant is there.

use crate::message::Message;
use crate::messages;
use std::any::TypeId;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// Message ids of one connection. They differ between two starts of VPP: never keep them.
#[derive(Debug, Clone, Default)]
pub struct MessageTable {
    ids: HashMap<String, u16>,
    names: HashMap<u16, String>,
    /// Ids of the messages defined here: each request asks for two.
    typed: HashMap<TypeId, u16, BuildHasherDefault<TypeIdHasher>>,
}

/// A type's id is a hash already.
#[derive(Debug, Clone, Default)]
struct TypeIdHasher(u64);

impl Hasher for TypeIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_ne_bytes(word);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Messages this VPP does not offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Missing {
    /// VPP's version, empty while it is not known.
    pub version: String,
    /// Wanted `<name>_<crc>` and, where VPP has the message with another definition, that one's key.
    pub messages: BTreeMap<String, Option<String>>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version.as_str() {
            "" => f.write_str("VPP does not offer ")?,
            version => write!(f, "VPP {version} does not offer ")?,
        }
        for (index, (wanted, other)) in self.messages.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            let (name, crc) = split(wanted);
            write!(f, "{name} (CRC {crc}): ")?;
            match other {
                Some(other) => write!(f, "it has another definition of it (CRC {})", split(other).1)?,
                None => f.write_str("unknown to it; is the plugin loaded?")?,
            }
        }
        Ok(())
    }
}

fn split(name_crc: &str) -> (&str, &str) {
    name_crc.rsplit_once('_').unwrap_or((name_crc, ""))
}

impl FromIterator<(String, u16)> for MessageTable {
    fn from_iter<I: IntoIterator<Item = (String, u16)>>(entries: I) -> Self {
        let ids: HashMap<String, u16> = entries.into_iter().collect();
        let names = ids.iter().map(|(name, id)| (*id, name.clone())).collect();
        let known = messages::ALL.iter().flat_map(|(_, messages)| *messages);
        let typed = known
            .filter_map(|info| Some((info.type_id, *ids.get(info.name_crc)?)))
            .collect();
        Self { ids, names, typed }
    }
}

impl MessageTable {
    /// The id of `<name>_<crc>`.
    #[must_use]
    pub fn id(&self, name_crc: &str) -> Option<u16> {
        self.ids.get(name_crc).copied()
    }

    /// The id of `M`.
    #[must_use]
    pub fn id_of<M: Message>(&self) -> Option<u16> {
        let typed = self.typed.get(&TypeId::of::<M>()).copied();
        typed.or_else(|| self.id(M::NAME_CRC))
    }

    /// The `<name>_<crc>` of an id.
    #[must_use]
    pub fn name(&self, id: u16) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }

    /// Whether `M` is offered, with the definition we know.
    #[must_use]
    pub fn supports<M: Message>(&self) -> bool {
        self.id_of::<M>().is_some()
    }

    /// How many messages are offered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Checks that all of `wanted` (`<name>_<crc>`) are offered.
    ///
    /// # Errors
    /// [`Missing`] with every message that is not, and what is there instead.
    pub fn require<'a>(
        &self,
        version: &str,
        wanted: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), Missing> {
        let missing = self.missing(version, wanted);
        if missing.messages.is_empty() {
            Ok(())
        } else {
            Err(missing)
        }
    }

    /// Those of `wanted` that are not offered.
    pub(crate) fn missing<'a>(&self, version: &str, wanted: impl IntoIterator<Item = &'a str>) -> Missing {
        let messages = wanted
            .into_iter()
            .filter(|name_crc| !self.ids.contains_key(*name_crc))
            .map(|name_crc| (name_crc.to_owned(), self.other_definition(name_crc)))
            .collect();
        Missing {
            version: version.to_owned(),
            messages,
        }
    }

    fn other_definition(&self, name_crc: &str) -> Option<String> {
        let (name, _) = split(name_crc);
        self.ids.keys().find(|key| split(key).0 == name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::acl::AclDel;

    fn table() -> MessageTable {
        [
            ("acl_del_ef34fea4".to_owned(), 700),
            ("cnat_set_snat_policy_d3e6eaf4".to_owned(), 900),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn ids_are_found_by_name_and_checksum() {
        assert_eq!(table().id("acl_del_ef34fea4"), Some(700));
        assert_eq!(table().name(700), Some("acl_del_ef34fea4"));
        assert!(table().supports::<AclDel>());
        assert_eq!(table().id("acl_del_00000000"), None);
    }

    #[test]
    fn every_missing_message_is_named() {
        let missing = table()
            .require(
                "26.02-release",
                [
                    "acl_del_ef34fea4",
                    "cnat_set_snat_policy_37a3ce23",
                    "abf_policy_dump_51077d14",
                ],
            )
            .unwrap_err();
        assert_eq!(
            missing.to_string(),
            "VPP 26.02-release does not offer abf_policy_dump (CRC 51077d14): unknown to it; is the plugin \
             loaded?; cnat_set_snat_policy (CRC 37a3ce23): it has another definition of it (CRC d3e6eaf4)"
        );
    }
}
