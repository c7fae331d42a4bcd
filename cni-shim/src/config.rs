//! The network configuration that the runtime puts on the plugin's standard input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::{CniError, code};
use crate::result::Dns;
use crate::{DEFAULT_SOCKET, DEFAULT_STATE_DIR, SUPPORTED_VERSIONS};

/// What identifies an attachment: the specification's attachment parameters "container ID" and
/// "interface name", under which a container can be attached once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// Chosen by the runtime; for Kubernetes the sandbox's id.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Name of the interface within the container.
    pub ifname: String,
}

/// Network configuration of this plugin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetConf {
    /// CNI version in which the runtime wants the result.
    #[serde(default)]
    pub cni_version: String,
    /// Name of the network.
    #[serde(default)]
    pub name: String,
    /// Name of the plugin's binary.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Socket of the node daemon; [`DEFAULT_SOCKET`] if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// State directory of the node daemon; [`DEFAULT_STATE_DIR`] if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Name servers for the result.
    #[serde(default, skip_serializing_if = "Dns::is_empty")]
    pub dns: Dns,
    /// Result of the plugin before this one (ADD) or of the ADD (CHECK, DEL), in `cni_version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_result: Option<Value>,
    /// Values of the capabilities that the configuration declares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runtime_config: BTreeMap<String, Value>,
    /// GC: the attachments that are still wanted. A `null` is an empty list (libcni writes an
    /// empty list so), an absent key is not.
    #[serde(
        default,
        rename = "cni.dev/valid-attachments",
        deserialize_with = "null_is_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub valid_attachments: Option<Vec<AttachmentKey>>,
    /// Every other key.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<AttachmentKey>>, D::Error> {
    let list = Option::<Vec<AttachmentKey>>::deserialize(deserializer)?;
    Ok(Some(list.unwrap_or_default()))
}

/// Keys that runtimes and lists put beside a plugin's own and that mean nothing to us.
const IGNORED_KEYS: [&str; 7] = [
    "args",
    "capabilities",
    "cniVersions",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
    "plugins",
];

/// The one capability that this plugin has, by its name in `runtimeConfig`: ports of the node that lead to the
/// container, Kubernetes' `hostPort`.
pub const PORT_MAPPINGS: &str = "portMappings";

impl NetConf {
    /// Reads a configuration and checks what every command needs: JSON (code 6), a supported
    /// version (code 1), a valid network name and absolute paths (code 7).
    pub fn parse(bytes: &[u8]) -> Result<Self, CniError> {
        let config: Self = serde_json::from_slice(bytes).map_err(|error| {
            CniError::new(
                code::DECODING_FAILURE,
                "the network configuration on standard input is not valid JSON of the expected shape",
            )
            .with_details(error)
        })?;
        if !SUPPORTED_VERSIONS.contains(&config.cni_version.as_str()) {
            return Err(CniError::new(
                code::INCOMPATIBLE_VERSION,
                format!(
                    "cniVersion {:?} is not supported: use one of {}",
                    config.cni_version,
                    SUPPORTED_VERSIONS.join(", ")
                ),
            ));
        }
        if !is_identifier(&config.name) {
            return Err(CniError::new(
                code::INVALID_CONFIG,
                format!(
                    "network name {:?} is not valid: start with a letter or digit, go on with letters, digits, '_', '.' or '-'",
                    config.name
                ),
            ));
        }
        for (key, path) in [("socket", &config.socket), ("stateDir", &config.state_dir)] {
            if let Some(path) = path
                && !path.is_absolute()
            {
                return Err(CniError::new(
                    code::INVALID_CONFIG,
                    format!("{key} {path:?} is not an absolute path"),
                ));
            }
        }
        Ok(config)
    }

    /// Refuses what would be silently ignored (code 2, which must name key and value): unknown
    /// keys, and runtime configuration for capabilities that this plugin does not have.
    pub fn refuse_unsupported(&self) -> Result<(), CniError> {
        let unknown = self
            .other
            .iter()
            .filter(|(key, _)| !IGNORED_KEYS.contains(&key.as_str()) && !key.starts_with("cni.dev/"))
            .map(|(key, value)| (key.clone(), value));
        let capabilities = self
            .runtime_config
            .iter()
            .filter(|(key, value)| key.as_str() != PORT_MAPPINGS && !is_empty(value))
            .map(|(key, value)| (format!("runtimeConfig.{key}"), value));
        match unknown.chain(capabilities).next() {
            None => Ok(()),
            Some((key, value)) => Err(CniError::new(
                code::UNSUPPORTED_FIELD,
                format!("unsupported field {key} = {value} in the network configuration"),
            )),
        }
    }

    /// Socket of the node daemon.
    pub fn socket(&self) -> &Path {
        self.socket.as_deref().unwrap_or(Path::new(DEFAULT_SOCKET))
    }

    /// State directory of the node daemon.
    pub fn state_dir(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new(DEFAULT_STATE_DIR))
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The specification's rule for container ids and network names.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphanumeric())
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: Value) -> Result<NetConf, CniError> {
        NetConf::parse(value.to_string().as_bytes())
    }

    #[test]
    fn mistakes_have_their_codes() {
        let cases = [
            (json!({"cniVersion": "1.1.0"}), code::INVALID_CONFIG),
            (
                json!({"cniVersion": "1.1.0", "name": "a/b"}),
                code::INVALID_CONFIG,
            ),
            (json!({"name": "net"}), code::INCOMPATIBLE_VERSION),
            (
                json!({"cniVersion": "0.2.0", "name": "net"}),
                code::INCOMPATIBLE_VERSION,
            ),
            (json!({"cniVersion": 1, "name": "net"}), code::DECODING_FAILURE),
            (json!(["a list"]), code::DECODING_FAILURE),
            (
                json!({"cniVersion": "1.1.0", "name": "net", "socket": "run/x"}),
                code::INVALID_CONFIG,
            ),
            (
                json!({"cniVersion": "1.1.0", "name": "net", "cni.dev/valid-attachments": [{"ifname": "eth0"}]}),
                code::DECODING_FAILURE,
            ),
        ];
        for (config, expected) in cases {
            let error = parse(config.clone()).unwrap_err();
            assert_eq!(error.code, expected, "{config}: {error}");
        }
    }

    #[test]
    fn unsupported_fields_are_named_with_their_values() {
        let base = json!({"cniVersion": "1.1.0", "name": "net", "type": "contiv-cni",
            "capabilities": {"portMappings": true}, "disableGC": true, "cni.dev/attachments": []});
        assert_eq!(parse(base.clone()).unwrap().refuse_unsupported(), Ok(()));
        for (key, value, name) in [
            ("ipam", json!({"type": "host-local"}), "ipam"),
            ("sokcet", json!("/run/x"), "sokcet"),
            (
                "runtimeConfig",
                json!({"bandwidth": {"ingressRate": 80}}),
                "runtimeConfig.bandwidth",
            ),
        ] {
            let mut config = base.clone();
            config[key] = value.clone();
            let error = parse(config).unwrap().refuse_unsupported().unwrap_err();
            assert_eq!(error.code, code::UNSUPPORTED_FIELD);
            assert!(error.msg.contains(name), "{error}");
        }
        let mut config = base;
        config["runtimeConfig"] = json!({"portMappings": [{"hostPort": 80, "containerPort": 80}], "ips": []});
        assert_eq!(parse(config).unwrap().refuse_unsupported(), Ok(()));
    }

    #[test]
    fn absent_valid_attachments_are_not_an_empty_list() {
        let base = json!({"cniVersion": "1.1.0", "name": "net"});
        assert_eq!(parse(base.clone()).unwrap().valid_attachments, None);
        let mut null = base.clone();
        null["cni.dev/valid-attachments"] = Value::Null;
        assert_eq!(parse(null).unwrap().valid_attachments, Some(vec![]));
        let mut one = base;
        one["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
        let config = parse(one).unwrap();
        assert_eq!(config.valid_attachments.as_ref().map(Vec::len), Some(1));
        let again = serde_json::to_vec(&config).unwrap();
        assert_eq!(NetConf::parse(&again).unwrap(), config);
    }
}
