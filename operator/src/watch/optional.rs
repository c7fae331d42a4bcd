//! A kind that others define and a cluster may lack: it is watched while its CRD is there.
//!
//! Absent, its list is empty and nobody waits for it. When the CRD comes, the watch begins; when it goes, its objects
//! are gone with it. A CRD that no longer serves the version we read is another matter: the objects are still there,
//! so what was known of them stays.

use futures::{Stream, StreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use tracing::{info, warn};

use super::Follow;
use crate::state::Change;

/// What of the kind is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// No CRD.
    Absent,
    /// A CRD that does not serve our version (yet, or any more).
    Unserved,
    /// The kind can be watched.
    Served,
}

/// What is installed of a kind, at first and on each change of its CRD. Errors are retried and told.
pub fn installed<K: Resource<DynamicType = ()>>(client: Client) -> impl Stream<Item = Installed> {
    let name = format!("{}.{}", K::plural(&()), K::group(&()));
    let api: Api<CustomResourceDefinition> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut listed = Installed::Absent;
    watcher(api, config).default_backoff().filter_map(move |event| {
        let now = match event {
            Ok(Event::Init) => {
                listed = Installed::Absent;
                None
            }
            Ok(Event::InitApply(crd)) => {
                listed = serves(&crd, &K::version(&()));
                None
            }
            Ok(Event::InitDone) => Some(listed),
            Ok(Event::Apply(crd)) => Some(serves(&crd, &K::version(&()))),
            Ok(Event::Delete(_)) => Some(Installed::Absent),
            Err(error) => {
                warn!(crd = name, %error, "Watch interrupted; it goes on by itself");
                None
            }
        };
        std::future::ready(now)
    })
}

fn serves(crd: &CustomResourceDefinition, version: &str) -> Installed {
    let conditions = crd
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let established = conditions
        .into_iter()
        .any(|condition| condition.type_ == "Established" && condition.status == "True");
    let served = crd
        .spec
        .versions
        .iter()
        .any(|has| has.name == version && has.served);
    match established && served {
        true => Installed::Served,
        false => Installed::Unserved,
    }
}

impl<K: Resource<DynamicType = ()>, T> Follow<K, T> {
    /// As [`follow`](Follow::follow), while the kind is installed. Ends when the receiver is gone.
    pub async fn follow_while_installed<E>(
        &self,
        installed: impl Stream<Item = Installed>,
        events: impl Fn() -> E,
    ) where
        E: Stream<Item = watcher::Result<Event<K>>>,
    {
        let mut installed = std::pin::pin!(installed);
        let Some(mut now) = installed.next().await else {
            return;
        };
        let mut seen = false;
        loop {
            // Most changes of a CRD change nothing here.
            let different = async {
                while let Some(next) = installed.next().await {
                    if next != now {
                        return Some(next);
                    }
                }
                None
            };
            let next = match now {
                Installed::Served => {
                    info!(kind = self.name, "Installed: watching it");
                    seen = true;
                    tokio::select! {
                        () = self.follow(events()) => None,
                        next = different => next,
                    }
                }
                Installed::Absent | Installed::Unserved => {
                    let version = K::api_version(&());
                    match now {
                        Installed::Absent => {
                            info!(kind = self.name, %version, "Not installed: running without it");
                        }
                        _ => warn!(kind = self.name, %version, "The CRD does not serve this version"),
                    }
                    let keep = seen && now == Installed::Unserved;
                    if !keep && !self.nothing().await {
                        return;
                    }
                    different.await
                }
            };
            match next {
                Some(next) => now = next,
                None => return,
            }
        }
    }

    /// Says that there are no objects of the kind; false if nobody hears it.
    async fn nothing(&self) -> bool {
        self.gate.open();
        let none = Change::Replace {
            objects: Vec::new(),
            unreadable: Vec::new(),
        };
        self.inputs.send((self.wrap)(none)).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use crate::state::Input;
    use compiler::facts::ObjectKey;
    use compiler::k8s::{self, ClusterNetworkPolicy};
    use futures::stream;
    use prometheus_client::registry::Registry;
    use runtime::Readiness;
    use serde_json::json;
    use tokio::sync::mpsc;

    fn policy(name: &str) -> ClusterNetworkPolicy {
        serde_json::from_value(json!({
            "apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
            "metadata": {"name": name},
            "spec": {"tier": "Admin", "priority": 1, "subject": {"namespaces": {}}},
        }))
        .unwrap()
    }

    fn follow(
        sender: mpsc::Sender<Input>,
        readiness: &Readiness,
    ) -> Follow<ClusterNetworkPolicy, compiler::facts::ClusterPolicy> {
        Follow {
            name: "ClusterNetworkPolicy",
            read: |policy| Ok(k8s::cluster_policy(policy)),
            wrap: Input::ClusterPolicies,
            gate: readiness.gate("watch ClusterNetworkPolicy", "first list"),
            metrics: Metrics::register(&mut Registry::default()),
            inputs: sender,
        }
    }

    /// A watch that lists one policy and then waits for ever.
    fn one_policy() -> impl Stream<Item = watcher::Result<Event<ClusterNetworkPolicy>>> {
        let list = [Event::Init, Event::InitApply(policy("p")), Event::InitDone];
        stream::iter(list.map(Ok)).chain(stream::pending())
    }

    fn list(names: &[&str]) -> Input {
        let object = |name: &&str| (ObjectKey::new("", *name), k8s::cluster_policy(&policy(name)));
        Input::ClusterPolicies(Change::Replace {
            objects: names.iter().map(object).collect(),
            unreadable: vec![],
        })
    }

    #[tokio::test]
    async fn a_kind_comes_and_goes_and_readiness_never_waits_for_an_absent_one() {
        let (sender, mut inputs) = mpsc::channel(16);
        let readiness = Readiness::default();
        let follow = follow(sender, &readiness);
        let (says, said) = mpsc::channel(1);
        let installed = stream::unfold(said, |mut said| async {
            said.recv().await.map(|now| (now, said))
        });
        let task = tokio::spawn(async move {
            follow.follow_while_installed(installed, one_policy).await;
        });
        assert!(
            !readiness.missing().is_empty(),
            "not known yet whether it is there"
        );
        says.send(Installed::Absent).await.unwrap();
        assert_eq!(inputs.recv().await, Some(list(&[])));
        assert!(readiness.missing().is_empty());
        for now in [Installed::Absent, Installed::Served] {
            says.send(now).await.unwrap();
        }
        assert_eq!(
            inputs.recv().await,
            Some(list(&["p"])),
            "the second Absent said nothing new"
        );
        // The objects are still there: nothing is withdrawn.
        says.send(Installed::Unserved).await.unwrap();
        says.send(Installed::Served).await.unwrap();
        assert_eq!(inputs.recv().await, Some(list(&["p"])));
        says.send(Installed::Absent).await.unwrap();
        assert_eq!(inputs.recv().await, Some(list(&[])));
        drop(says);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_version_that_was_never_served_keeps_nobody_waiting() {
        let (sender, mut inputs) = mpsc::channel(16);
        let readiness = Readiness::default();
        let installed = stream::iter([Installed::Unserved]);
        follow(sender, &readiness)
            .follow_while_installed(installed, one_policy)
            .await;
        assert_eq!(inputs.recv().await, Some(list(&[])));
        assert!(readiness.missing().is_empty());
    }

    #[test]
    fn a_crd_serves_when_it_is_established_and_has_the_version() {
        let crd = |version: &str, served: bool, established: &str| -> CustomResourceDefinition {
            serde_json::from_value(json!({
                "metadata": {"name": "x"},
                "spec": {
                    "group": "g", "scope": "Cluster", "names": {"kind": "X", "plural": "x"},
                    "versions": [{"name": version, "served": served, "storage": true}],
                },
                "status": {"conditions": [{"type": "Established", "status": established}]},
            }))
            .unwrap()
        };
        for (crd, expected) in [
            (crd("v1alpha2", true, "True"), Installed::Served),
            (crd("v1alpha2", true, "False"), Installed::Unserved),
            (crd("v1alpha2", false, "True"), Installed::Unserved),
            (crd("v1alpha1", true, "True"), Installed::Unserved),
        ] {
            assert_eq!(serves(&crd, "v1alpha2"), expected);
        }
    }
}
