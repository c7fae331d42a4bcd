//! The last known inputs on disk: a node that starts while the API server is away still serves its pods.
//!
//! # Guarantees
//! The file is whole or absent: written beside its place, synced, renamed, the directory synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crds::VppConfigSpec;
use crds::net::Cidr;
use crds::vpp_config::{DirectionBinding, PodBinding};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Saved {
    /// The node's configuration.
    pub spec: Option<VppConfigSpec>,
    /// Its generation.
    pub generation: Option<i64>,
    /// Bindings of attached pods that the configuration no longer has, by UID.
    pub retained: BTreeMap<String, Retained>,
    /// The rest of the cluster.
    pub cluster: Cluster,
    /// Destinations excluded from source NAT: VPP does not tell them.
    pub excluded: BTreeSet<Cidr>,
}

/// A binding that the configuration had, with what policies said of the pod then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retained {
    /// The binding; the places it names are those of a configuration that is gone.
    pub binding: PodBinding,
    /// What might reach the pod; `None` if it named no set.
    pub ingress: Option<DirectionBinding>,
    /// What the pod might reach; `None` if it named no set.
    pub egress: Option<DirectionBinding>,
}

impl Retained {
    /// A binding of `spec`.
    pub fn of(binding: PodBinding, spec: &VppConfigSpec) -> Self {
        Self {
            ingress: spec.policy_set(binding.ingress).cloned(),
            egress: spec.policy_set(binding.egress).cloned(),
            binding,
        }
    }

    /// Puts the pod back, into another configuration.
    pub fn restore(&self, spec: &mut VppConfigSpec) {
        // What named no set then must not name one now.
        let mut place = |set: &Option<DirectionBinding>| match set {
            Some(set) => spec.place_of(set.clone()),
            None => Some(u16::MAX),
        };
        let binding = PodBinding {
            ingress: place(&self.ingress),
            egress: place(&self.egress),
            ..self.binding.clone()
        };
        spec.pods.push(binding);
    }
}

/// The file. Methods block on the disk.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    last: Option<Saved>,
    /// When the last write ended, and how long it took.
    written: Option<(Instant, Duration)>,
}

/// Shortest time between writes: a cluster in motion is not worth a sync per event, and what the last moment brought
/// is told again by the API server.
const PAUSE: Duration = Duration::from_millis(500);

/// The pause as a multiple of the last write's time: what a large cluster's state costs is bounded by its share of a
/// processor.
const REST: u32 = 50;

impl StateFile {
    /// The file in `state_dir`.
    pub fn new(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("state.json"),
            last: None,
            written: None,
        }
    }

    /// What was saved. A file that cannot be read is as good as none: the API server has it all.
    pub fn load(&self) -> Option<Saved> {
        let bytes = fs::read(&self.path).ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(saved) => Some(saved),
            Err(error) => {
                tracing::error!(
                    path = %self.path.display(), %error,
                    "the last state cannot be read and is as good as none: pods get theirs once the API server answers"
                );
                None
            }
        }
    }

    /// Whether a write would be too soon after the last one.
    pub fn resting(&self) -> bool {
        self.written
            .is_some_and(|(at, took)| at.elapsed() < PAUSE.max(took * REST))
    }

    /// Writes `saved` unless it was written before.
    ///
    /// # Errors
    /// When the disk refuses; the file then holds what it held.
    pub fn save(&mut self, saved: Saved) -> io::Result<()> {
        if self.last.as_ref() == Some(&saved) {
            return Ok(());
        }
        let started = Instant::now();
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let beside = self.path.with_extension("json.new");
        let mut file = BufWriter::new(File::create(&beside)?);
        serde_json::to_writer(&mut file, &saved)?;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(directory)?.sync_all()?;
        self.written = Some((Instant::now(), started.elapsed()));
        self.last = Some(saved);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crds::vpp_config::PolicyRef;

    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_a_broken_file_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let mut file = StateFile::new(directory.path());
        assert_eq!(file.load(), None);
        let saved = Saved {
            generation: Some(7),
            excluded: ["10.1.0.0/16".parse().unwrap()].into(),
            ..Saved::default()
        };
        file.save(saved.clone()).unwrap();
        assert_eq!(StateFile::new(directory.path()).load(), Some(saved));
        fs::write(directory.path().join("state.json"), b"{\"spec\":").unwrap();
        assert_eq!(StateFile::new(directory.path()).load(), None);
    }

    /// As long as pods held their policies themselves.
    #[test]
    fn a_state_of_another_shape_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let pod = r#"{"namespace": "n", "name": "p", "uid": "u", "interface": "Tap", "forwarding": "Kernel",
                      "ingress": {"isolated": true, "policies": [{"namespace": "n", "name": "deny"}]}}"#;
        for text in [
            format!(r#"{{"spec": {{"revision": "r", "node": {{"id": 1}}, "pods": [{pod}]}}}}"#),
            format!(r#"{{"retained": {{"u": {pod}}}}}"#),
        ] {
            fs::write(directory.path().join("state.json"), &text).unwrap();
            assert_eq!(StateFile::new(directory.path()).load(), None, "{text}");
        }
    }

    #[test]
    fn a_retained_binding_keeps_its_policies_in_another_configuration() {
        let set = |name: &str| DirectionBinding {
            isolated: true,
            policies: vec![PolicyRef {
                namespace: "n".into(),
                name: name.into(),
            }],
        };
        let mut before = VppConfigSpec {
            policy_sets: vec![set("a"), set("b")],
            ..VppConfigSpec::default()
        };
        let pod = |ingress, egress| PodBinding {
            ingress,
            egress,
            ..PodBinding::default()
        };
        let kept = [pod(Some(1), Some(0)), pod(None, Some(2))].map(|pod| Retained::of(pod, &before));
        before.policy_sets = vec![set("c"), set("b")];
        kept.iter().for_each(|kept| kept.restore(&mut before));
        let sets: Vec<_> = before
            .pods
            .iter()
            .map(|pod| [before.policy_set(pod.ingress), before.policy_set(pod.egress)])
            .collect();
        assert_eq!(
            sets,
            [
                [Some(&set("b")), Some(&set("a"))],
                // Open stays open, and what was not known stays unknown.
                [Some(&DirectionBinding::default()), None],
            ]
        );
    }
}
