//! An image and its archive: an OCI image layout (image-spec 1.1), with the `manifest.json` of `docker save` beside it
//! for engines that read only that.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType};

use crate::layer::header;

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";
/// Equal input gives equal bytes, so images are made at no time in particular.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// How containers of an image are run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The program and its fixed arguments.
    pub entrypoint: Vec<String>,
    /// Arguments that a user replaces.
    pub command: Vec<String>,
    /// Environment, as NAME=VALUE.
    pub env: Vec<String>,
    /// UID:GID; root if empty.
    pub user: String,
    /// Labels, such as `org.opencontainers.image.title`.
    pub labels: BTreeMap<String, String>,
}

/// The text is no full image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No tag: what is installed later under the same name would differ.
    #[error("image reference {0:?} has no tag: write REGISTRY/NAME:TAG")]
    NoTag(String),
    /// A tag that moves.
    #[error("image reference {0:?}: `latest` says nothing of what is in the image; give it a version")]
    Latest(String),
}

/// An image of a name, with layers from the bottom up.
#[derive(Clone, Debug)]
pub struct Image {
    reference: String,
    config: Config,
    layers: Vec<Vec<u8>>,
}

struct Blob {
    digest: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        let digest = hex(&Sha256::digest(&content));
        Self { digest, content }
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.content.len()})
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Image {
    /// An image of these layers' tars.
    ///
    /// # Errors
    /// A reference without a tag, or with `latest`.
    pub fn new(reference: &str, config: Config, layers: Vec<Vec<u8>>) -> Result<Self, ReferenceError> {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        match name.split_once(':') {
            None | Some((_, "")) => Err(ReferenceError::NoTag(reference.to_owned())),
            Some((_, "latest")) => Err(ReferenceError::Latest(reference.to_owned())),
            Some(_) => Ok(Self {
                reference: reference.to_owned(),
                config,
                layers,
            }),
        }
    }

    /// Its full name.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// Writes the archive. Equal images give equal bytes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn archive(&self, out: impl io::Write) -> io::Result<()> {
        let layers: Vec<Blob> = self.layers.iter().cloned().map(Blob::new).collect();
        let config = Blob::new(text(&self.configuration(&layers)));
        let manifest = Blob::new(text(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": config.descriptor(CONFIG_TYPE),
            "layers": layers.iter().map(|layer| layer.descriptor(LAYER_TYPE)).collect::<Vec<_>>(),
            "annotations": self.config.labels,
        })));
        let mut entry = manifest.descriptor(MANIFEST_TYPE);
        entry["platform"] = json!({"os": "linux", "architecture": architecture()});
        entry["annotations"] = json!({
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": self.reference,
        });
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]});
        let docker = json!([{
            "Config": config.path(),
            "RepoTags": [self.reference],
            "Layers": layers.iter().map(Blob::path).collect::<Vec<_>>(),
        }]);
        let mut files = BTreeMap::from([
            (
                "oci-layout".to_owned(),
                text(&json!({"imageLayoutVersion": "1.0.0"})),
            ),
            ("index.json".to_owned(), text(&index)),
            ("manifest.json".to_owned(), text(&docker)),
        ]);
        for blob in layers.into_iter().chain([config, manifest]) {
            files.insert(blob.path(), blob.content);
        }
        let mut builder = Builder::new(out);
        for directory in ["blobs", "blobs/sha256"] {
            let mut header = header();
            header.set_entry_type(EntryType::Directory);
            header.set_mode(0o755);
            header.set_size(0);
            builder.append_data(&mut header, directory, io::empty())?;
        }
        for (path, content) in &files {
            let mut header = header();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_slice())?;
        }
        builder.finish()
    }

    fn configuration(&self, layers: &[Blob]) -> Value {
        let diff_ids: Vec<String> = layers
            .iter()
            .map(|layer| format!("sha256:{}", layer.digest))
            .collect();
        let mut config = json!({"Labels": self.config.labels});
        let mut set = |key: &str, value: &Vec<String>| {
            if !value.is_empty() {
                config[key] = json!(value);
            }
        };
        set("Entrypoint", &self.config.entrypoint);
        set("Cmd", &self.config.command);
        set("Env", &self.config.env);
        if !self.config.user.is_empty() {
            config["User"] = json!(self.config.user);
        }
        json!({
            "created": CREATED,
            "os": "linux",
            "architecture": architecture(),
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": vec![json!({"created": CREATED, "created_by": "contiv images"}); layers.len()],
        })
    }
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// This machine's architecture by the name images have for it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read as _;

    use super::*;
    use crate::Layer;

    fn image() -> Image {
        let mut layer = Layer::new();
        layer.content("/pause", "program", 0o755).unwrap();
        let config = Config {
            entrypoint: vec!["/pause".into()],
            user: "65532:65532".into(),
            labels: BTreeMap::from([("org.opencontainers.image.title".into(), "pause".into())]),
            ..Config::default()
        };
        Image::new(
            "registry.example:5000/contiv/pause:1.2",
            config,
            vec![layer.tar().unwrap()],
        )
        .unwrap()
    }

    fn unpacked(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        files
    }

    fn archive() -> Vec<u8> {
        let mut bytes = Vec::new();
        image().archive(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        assert_eq!(archive(), archive());
    }

    /// image-spec: every descriptor names a blob by its digest and size; diff_ids are those of the uncompressed layers.
    #[test]
    fn descriptors_lead_from_the_index_to_the_layers() {
        let files = unpacked(&archive());
        let parse = |path: &str| -> Value { serde_json::from_slice(&files[path]).unwrap() };
        assert_eq!(parse("oci-layout")["imageLayoutVersion"], "1.0.0");
        let follow = |descriptor: &Value| -> Vec<u8> {
            let digest = descriptor["digest"]
                .as_str()
                .unwrap()
                .strip_prefix("sha256:")
                .unwrap();
            let content = files[&format!("blobs/sha256/{digest}")].clone();
            assert_eq!(hex(&Sha256::digest(&content)), digest);
            assert_eq!(descriptor["size"], content.len());
            content
        };
        let index = parse("index.json");
        let entry = &index["manifests"][0];
        assert_eq!(
            entry["annotations"]["io.containerd.image.name"],
            "registry.example:5000/contiv/pause:1.2"
        );
        let manifest: Value = serde_json::from_slice(&follow(entry)).unwrap();
        let config: Value = serde_json::from_slice(&follow(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/pause"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(
            config["config"]["Labels"]["org.opencontainers.image.title"],
            "pause"
        );
        let layer = follow(&manifest["layers"][0]);
        assert_eq!(unpacked(&layer)["pause"], b"program");
        assert_eq!(
            config["rootfs"]["diff_ids"],
            json!([manifest["layers"][0]["digest"]])
        );
        // docker save's table of contents says the same.
        let docker = parse("manifest.json");
        assert_eq!(
            docker[0]["RepoTags"],
            json!(["registry.example:5000/contiv/pause:1.2"])
        );
        assert_eq!(files[docker[0]["Layers"][0].as_str().unwrap()], layer);
        assert!(files.contains_key(docker[0]["Config"].as_str().unwrap()));
    }

    #[test]
    fn a_tag_is_asked_for_and_latest_is_none() {
        let make = |reference: &str| Image::new(reference, Config::default(), Vec::new()).map(|_| ());
        assert_eq!(
            make("host:5000/x"),
            Err(ReferenceError::NoTag("host:5000/x".into()))
        );
        assert_eq!(make("x:"), Err(ReferenceError::NoTag("x:".into())));
        assert_eq!(make("x:latest"), Err(ReferenceError::Latest("x:latest".into())));
        assert_eq!(make("host:5000/x:1"), Ok(()));
    }
}
