//! The CRDs as the files of the chart `charts/contiv-crds`.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// Folder of the generated files, relative to the repository's root.
pub const FOLDER: &str = "charts/contiv-crds/templates";
/// The command that writes the files anew.
pub const COMMAND: &str = "cargo run -p crds --bin crdgen";

/// File name → content of every CRD manifest.
///
/// Deleting a CRD deletes every object of its kind, so helm is told to keep them on uninstall.
///
/// # Errors
/// Only if a schema could not be written as YAML.
pub fn files(crds: Vec<CustomResourceDefinition>) -> Result<BTreeMap<String, String>, serde_norway::Error> {
    crds.into_iter()
        .map(|crd| {
            let name = format!("{}.yaml", crd.spec.names.plural);
            let mut value =
                serde_json::to_value(crd).map_err(<serde_norway::Error as serde::ser::Error>::custom)?;
            tidy(&mut value);
            value["metadata"]["annotations"] = json!({"helm.sh/resource-policy": "keep"});
            let body = serde_norway::to_string(&value)?;
            Ok((
                name,
                format!("# Generated from crds/src by `{COMMAND}`: do not edit.\n{body}"),
            ))
        })
        .collect()
}

/// Takes out what the API server would only warn about or ignore: Rust's integer formats are not
/// formats of OpenAPI, and their bounds are stated by minimum and maximum already.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let foreign = map
                .get("format")
                .and_then(Value::as_str)
                .is_some_and(|format| format.starts_with("uint") || matches!(format, "int8" | "int16"));
            if foreign {
                map.remove("format");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}
