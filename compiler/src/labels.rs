//! Labels of an object.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::facts::Name;

/// Labels of an object, sorted by key, each key once. Copies share them.
///
/// A map's node has room for eleven labels, used or not; of these there may be hundreds of thousands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Name, Name)]>);

impl Labels {
    /// The value of a label.
    pub fn get(&self, key: &str) -> Option<&Name> {
        let at = self.0.binary_search_by(|(has, _)| has.as_str().cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Name)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These labels and one more, which replaces one of the same key.
    pub fn with(&self, key: impl Into<Name>, value: impl Into<Name>) -> Self {
        self.0
            .iter()
            .cloned()
            .chain([(key.into(), value.into())])
            .collect()
    }
}

/// Of two labels of one key the later counts.
impl<K: Into<Name>, V: Into<Name>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(labels: I) -> Self {
        let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into()));
        let mut labels: Vec<(Name, Name)> = labels.collect();
        if !labels.is_sorted_by(|(a, _), (b, _)| a < b) {
            labels.reverse();
            labels.sort_by(|(a, _), (b, _)| a.cmp(b));
            labels.dedup_by(|(a, _), (b, _)| a == b);
        }
        match labels.is_empty() {
            true => Self::default(),
            false => Self(labels.into()),
        }
    }
}

impl From<&BTreeMap<String, String>> for Labels {
    fn from(labels: &BTreeMap<String, String>) -> Self {
        labels.iter().collect()
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            // Writers in Go may say null for none.
            fn visit_unit<E>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels: Vec<(Name, Name)> = Vec::new();
                while let Some(label) = map.next_entry::<Name, Name>()? {
                    labels.push(label);
                }
                Ok(labels.into_iter().collect())
            }
        }

        deserializer.deserialize_any(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_a_map_whatever_their_order() {
        let labels: Labels = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        let pairs: Vec<_> = labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "2"), ("b", "3")], "the later counts");
        assert_eq!(labels.get("b").map(Name::as_str), Some("3"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels, serde_json::from_str(r#"{"b":"3","a":"2"}"#).unwrap());
        assert_eq!(labels.with("c", "4").get("c").map(Name::as_str), Some("4"));
        assert_eq!(labels.with("a", "4").get("a").map(Name::as_str), Some("4"));
        assert!(serde_json::from_str::<Labels>("null").unwrap().is_empty());
    }
}
