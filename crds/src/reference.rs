//! References to namespaced objects, in text `NAMESPACE/NAME`: one node's configuration holds hundreds.

use std::str::FromStr;

/// The text is not `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a reference: write NAMESPACE/NAME")]
pub struct ReferenceParseError(pub String);

/// Splits `NAMESPACE/NAME`; neither part may be empty or hold a slash.
///
/// # Errors
/// [`ReferenceParseError`].
pub(crate) fn split(text: &str) -> Result<(&str, &str), ReferenceParseError> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace, name))
        }
        _ => Err(ReferenceParseError(text.to_owned())),
    }
}

/// Text form, serialisation and schema of a struct of `namespace` and `name`.
macro_rules! reference {
    ($type:ty, $name:literal, $description:literal) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}/{}", self.namespace, self.name)
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::reference::ReferenceParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let (namespace, name) = $crate::reference::split(text)?;
                Ok(Self {
                    namespace: namespace.into(),
                    name: name.into(),
                })
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::reference::parse(deserializer)
            }
        }

        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $description,
                    "pattern": "^[^/]+/[^/]+$",
                    // A namespace has at most 63 characters, a name 253.
                    "maxLength": 317,
                })
            }
        }
    };
}
pub(crate) use reference;

/// Reads something from its text.
pub(crate) fn parse<'de, D: serde::Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}
