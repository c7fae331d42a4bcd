//! One watch per kind. Raw watch events become [`Input`]s, objects trimmed to facts as they arrive.
//!
//! A list becomes one `Replace` when it is complete: an object that vanished while the watch was
//! away is in no event, only missing from that list. Errors are retried by the watcher with
//! backoff; the readiness gate of a kind opens with its first complete list.

mod optional;

use std::convert::Infallible;
use std::fmt::Debug;

use compiler::facts::ObjectKey;
use compiler::k8s::{self, ClusterNetworkPolicy, NetworkPolicy, Pod};
use crds::{CNF, ServiceChain, VppConfig};
use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use runtime::{Gate, Readiness, Tasks};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics::Metrics;
use crate::objects::{Written, key, stored, version};
use crate::state::{Change, Input, Intent, NodeReport, Source, StoredStatus};

/// Starts the watches of every kind; they send to `inputs` until the tasks' token is cancelled.
pub fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    readiness: &Readiness,
    metrics: &Metrics,
    inputs: &mpsc::Sender<Input>,
) {
    let mut start = Start {
        tasks,
        client,
        readiness,
        metrics,
        inputs,
    };
    start.watch::<Pod, _>(Source::Pods, |pod| Ok(k8s::pod(pod)), Input::Pods);
    start.watch::<Node, _>(Source::Nodes, |node| Ok(k8s::node(node)), Input::Nodes);
    // Of a namespace only labels matter: a metadata watch moves less.
    start.watch::<PartialObjectMeta<Namespace>, _>(
        Source::Namespaces,
        |namespace| Ok(k8s::namespace(&namespace.metadata)),
        Input::Namespaces,
    );
    start.watch::<NetworkPolicy, _>(
        Source::Policies,
        |policy| Ok(k8s::policy(policy)),
        Input::Policies,
    );
    start.watch_if_installed::<ClusterNetworkPolicy, _>(
        Source::ClusterPolicies,
        |policy| Ok(k8s::cluster_policy(policy)),
        Input::ClusterPolicies,
    );
    start.watch::<Service, _>(
        Source::Services,
        |service| Ok(k8s::service(service)),
        Input::Services,
    );
    start.watch::<EndpointSlice, _>(
        Source::EndpointSlices,
        |slice| Ok(k8s::endpoint_slice(slice)),
        Input::EndpointSlices,
    );
    start.watch::<DeserializeGuard<ServiceChain>, _>(
        Source::Chains,
        |object| {
            let chain = object.0.as_ref().map_err(|invalid| invalid.error.clone())?;
            Ok(intent(chain, k8s::chain(chain), chain.status.as_ref()))
        },
        Input::Chains,
    );
    start.watch::<DeserializeGuard<CNF>, _>(
        Source::Cnfs,
        |object| {
            let cnf = object.0.as_ref().map_err(|invalid| invalid.error.clone())?;
            Ok(intent(cnf, k8s::cnf(cnf), cnf.status.as_ref()))
        },
        Input::Cnfs,
    );
    start.outputs::<crds::VppAddressSet>();
    start.outputs::<crds::VppServiceSlice>();
    start.outputs::<crds::VppPeerSlice>();
    start.outputs::<crds::VppPolicy>();
    start.watch::<DeserializeGuard<VppConfig>, _>(
        Source::Output(VppConfig::KIND),
        |object| Ok((stored(object), report(object))),
        |change| Input::Outputs(VppConfig::KIND, change),
    );
}

struct Start<'a> {
    tasks: &'a mut Tasks,
    client: &'a Client,
    readiness: &'a Readiness,
    metrics: &'a Metrics,
    inputs: &'a mpsc::Sender<Input>,
}

impl Start<'_> {
    fn watch<K, T>(&mut self, source: Source, read: fn(&K) -> Result<T, String>, wrap: fn(Change<T>) -> Input)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        T: Send + 'static,
    {
        let follow = self.follow(source, read, wrap);
        let events = events(self.client);
        let token = self.tasks.token();
        self.tasks.spawn(source.name(), follow.run(events, token));
    }

    /// As [`watch`](Self::watch), for a kind that the cluster may lack.
    fn watch_if_installed<K, T>(
        &mut self,
        source: Source,
        read: fn(&K) -> Result<T, String>,
        wrap: fn(Change<T>) -> Input,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
        T: Send + 'static,
    {
        let follow = self.follow(source, read, wrap);
        let client = self.client.clone();
        let token = self.tasks.token();
        self.tasks.spawn(source.name(), async move {
            let installed = optional::installed::<K>(client.clone());
            let following = follow.follow_while_installed(installed, || events(&client));
            token.run_until_cancelled(following).await;
            Ok::<_, Infallible>(())
        });
    }

    fn follow<K, T>(
        &self,
        source: Source,
        read: fn(&K) -> Result<T, String>,
        wrap: fn(Change<T>) -> Input,
    ) -> Follow<K, T> {
        let name = source.name();
        Follow {
            name,
            read,
            wrap,
            gate: self
                .readiness
                .gate(format!("watch {name}"), "the first list is outstanding"),
            metrics: self.metrics.clone(),
            inputs: self.inputs.clone(),
        }
    }

    fn outputs<K>(&mut self)
    where
        K: Written + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        self.watch::<DeserializeGuard<K>, _>(
            Source::Output(K::KIND),
            |object| Ok((stored(object), NodeReport::default())),
            |change| Input::Outputs(K::KIND, change),
        );
    }
}

/// Without backoff a bare watcher asks again at once after each error.
fn events<K>(client: &Client) -> impl Stream<Item = watcher::Result<Event<K>>> + use<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(Api::all(client.clone()), watcher::Config::default()).default_backoff()
}

fn intent<K: Resource, F, S: Clone + Default>(object: &K, fact: F, status: Option<&S>) -> Intent<F, S> {
    let meta = object.meta();
    Intent {
        fact,
        status: StoredStatus {
            uid: meta.uid.clone().unwrap_or_default(),
            version: version(meta),
            status: status.cloned().unwrap_or_default(),
        },
    }
}

/// What the daemon says in the status, and the id in the spec; nothing for an unreadable object.
pub fn report(object: &DeserializeGuard<VppConfig>) -> NodeReport {
    let Ok(config) = &object.0 else {
        return NodeReport::default();
    };
    let status = config.status.clone().unwrap_or_default();
    NodeReport {
        id: config.spec.node.id,
        observed_generation: status.observed_generation,
        tunnel_endpoints: status.tunnel_endpoints,
        chains: status.chains,
    }
}

struct Follow<K, T> {
    name: &'static str,
    read: fn(&K) -> Result<T, String>,
    wrap: fn(Change<T>) -> Input,
    gate: Gate,
    metrics: Metrics,
    inputs: mpsc::Sender<Input>,
}

impl<K: Resource<DynamicType = ()>, T> Follow<K, T> {
    async fn run(
        self,
        events: impl Stream<Item = watcher::Result<Event<K>>>,
        token: CancellationToken,
    ) -> Result<(), Infallible> {
        token.run_until_cancelled(self.follow(events)).await;
        Ok(())
    }

    /// Ends only when the receiver is gone: a watcher's stream never does.
    async fn follow(&self, events: impl Stream<Item = watcher::Result<Event<K>>>) {
        let mut events = std::pin::pin!(events);
        let mut list: Vec<(ObjectKey, T)> = Vec::new();
        let mut unreadable: Vec<ObjectKey> = Vec::new();
        while let Some(event) = events.next().await {
            let change = match event {
                Ok(Event::Init) => {
                    list.clear();
                    unreadable.clear();
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    match self.trim(&object) {
                        Ok(entry) => list.push(entry),
                        Err(key) => unreadable.push(key),
                    }
                    continue;
                }
                Ok(Event::InitDone) => {
                    self.metrics.watched(self.name, "list");
                    self.gate.open();
                    Change::Replace {
                        objects: std::mem::take(&mut list),
                        unreadable: std::mem::take(&mut unreadable),
                    }
                }
                Ok(Event::Apply(object)) => {
                    self.metrics.watched(self.name, "apply");
                    match self.trim(&object) {
                        Ok((key, fact)) => Change::Apply(key, fact),
                        Err(_) => continue,
                    }
                }
                Ok(Event::Delete(object)) => {
                    self.metrics.watched(self.name, "delete");
                    Change::Remove(key(object.meta()))
                }
                Err(error) => {
                    self.metrics.watched(self.name, "error");
                    warn!(kind = self.name, %error, "Watch interrupted; it goes on by itself");
                    if !self.gate.is_open() {
                        self.gate.close(error.to_string());
                    }
                    continue;
                }
            };
            if self.inputs.send((self.wrap)(change)).await.is_err() {
                return;
            }
        }
    }

    fn trim(&self, object: &K) -> Result<(ObjectKey, T), ObjectKey> {
        let key = key(object.meta());
        match (self.read)(object) {
            Ok(fact) => Ok((key, fact)),
            Err(error) => {
                self.metrics.watched(self.name, "unreadable");
                warn!(kind = self.name, object = %key, error, "Object can't be read; what was known of it stays");
                Err(key)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use compiler::facts;
    use futures::stream;
    use prometheus_client::registry::Registry;

    fn namespace(name: &str) -> PartialObjectMeta<Namespace> {
        let text = format!(
            r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{name}","labels":{{"a":"b"}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[tokio::test]
    async fn a_list_is_one_message_and_an_aborted_list_is_none() {
        let (sender, mut inputs) = mpsc::channel(16);
        let readiness = Readiness::default();
        let follow = Follow {
            name: "Namespace",
            read: |object: &PartialObjectMeta<Namespace>| Ok(k8s::namespace(&object.metadata)),
            wrap: Input::Namespaces,
            gate: readiness.gate("watch Namespace", "first list"),
            metrics: Metrics::register(&mut Registry::default()),
            inputs: sender,
        };
        let events = [
            Event::Init,
            Event::InitApply(namespace("stale")),
            // The list was cut off and begins again.
            Event::Init,
            Event::InitApply(namespace("x")),
            Event::InitDone,
            Event::Apply(namespace("y")),
            Event::Delete(namespace("x")),
        ];
        let failed = Err(watcher::Error::NoResourceVersion);
        let script = stream::iter([failed].into_iter().chain(events.map(Ok)));
        follow.follow(script).await;
        assert!(readiness.missing().is_empty());
        let key = |name: &str| ObjectKey::new("", name);
        let fact = |name: &str| -> facts::Namespace { k8s::namespace(&namespace(name).metadata) };
        let expected = [
            Input::Namespaces(Change::Replace {
                objects: vec![(key("x"), fact("x"))],
                unreadable: vec![],
            }),
            Input::Namespaces(Change::Apply(key("y"), fact("y"))),
            Input::Namespaces(Change::Remove(key("x"))),
        ];
        for input in expected {
            assert_eq!(inputs.recv().await, Some(input));
        }
        assert!(inputs.try_recv().is_err());
    }
}
