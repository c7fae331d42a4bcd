//! The daemon's watches: its own VppConfig, and all policies, address sets, Services and peers.
//!
//! A list becomes one `Replace` when it is complete: what vanished while a watch was away is in no event, only missing
//! from that list. One object that cannot be read does not stop a watch: it is as if it were unchanged.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;

use crds::{
    VppAddressSet, VppAddressSetSpec, VppConfig, VppPeerSlice, VppPeerSliceSpec, VppPolicy, VppPolicySpec,
    VppServiceSlice, VppServiceSliceSpec,
};
use futures::StreamExt;
use kube::core::DeserializeGuard;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::agent::Event;
use crate::cluster::object_key;

/// A change of one kind.
#[derive(Clone, Debug, PartialEq)]
pub enum KindChange<S> {
    /// These are all there are.
    Replace(BTreeMap<String, S>),
    /// This one is new or changed.
    Set(String, S),
    /// This one is gone.
    Remove(String),
}

impl<S> KindChange<S> {
    /// Takes the change over; returns whether the whole kind is known with it.
    pub fn apply(self, objects: &mut BTreeMap<String, S>) -> bool {
        match self {
            Self::Replace(all) => {
                *objects = all;
                true
            }
            Self::Set(name, spec) => {
                objects.insert(name, spec);
                false
            }
            Self::Remove(name) => {
                objects.remove(&name);
                false
            }
        }
    }
}

/// A change of what the daemon knows of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// VppPolicies.
    Policies(KindChange<VppPolicySpec>),
    /// VppAddressSets.
    Sets(KindChange<VppAddressSetSpec>),
    /// VppServiceSlices.
    Services(KindChange<Arc<VppServiceSliceSpec>>),
    /// VppPeerSlices.
    Peers(KindChange<VppPeerSliceSpec>),
}

/// Starts all watches; they send to `events` until the tasks' token is cancelled.
pub fn spawn(tasks: &mut runtime::Tasks, client: &Client, node: &str, events: &mpsc::Sender<Event>) {
    let own = own_config(client.clone(), node.to_owned(), events.clone(), tasks.token());
    tasks.spawn("watch VppConfig", own);
    let mut start = Start {
        tasks,
        client,
        events,
    };
    start.kind::<VppPolicy, _>("watch VppPolicy", |o| o.spec, Change::Policies);
    start.kind::<VppAddressSet, _>("watch VppAddressSet", |o| o.spec, Change::Sets);
    start.kind::<VppServiceSlice, _>("watch VppServiceSlice", |o| Arc::new(o.spec), Change::Services);
    start.kind::<VppPeerSlice, _>("watch VppPeerSlice", |o| o.spec, Change::Peers);
}

struct Start<'a> {
    tasks: &'a mut runtime::Tasks,
    client: &'a Client,
    events: &'a mpsc::Sender<Event>,
}

impl Start<'_> {
    fn kind<K, S>(&mut self, name: &'static str, spec: fn(K) -> S, wrap: fn(KindChange<S>) -> Change)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
        S: Send + 'static,
    {
        let api: Api<DeserializeGuard<K>> = Api::all(self.client.clone());
        let task = follow(api, spec, wrap, self.events.clone(), self.tasks.token());
        self.tasks.spawn(name, task);
    }
}

async fn follow<K, S>(
    api: Api<DeserializeGuard<K>>,
    spec: fn(K) -> S,
    wrap: fn(KindChange<S>) -> Change,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> Result<(), Infallible>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::kind(&());
    let mut listed = BTreeMap::new();
    let stream = watcher(api, watcher::Config::default().any_semantic()).default_backoff();
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stop.run_until_cancelled(stream.next()).await.flatten() {
        let change = match event {
            Ok(watcher::Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                if let Some((name, spec)) = read(object, spec) {
                    listed.insert(name, spec);
                }
                continue;
            }
            Ok(watcher::Event::InitDone) => KindChange::Replace(std::mem::take(&mut listed)),
            Ok(watcher::Event::Apply(object)) => match read(object, spec) {
                Some((name, spec)) => KindChange::Set(name, spec),
                None => continue,
            },
            Ok(watcher::Event::Delete(object)) => KindChange::Remove(key(&object)),
            Err(error) => {
                tracing::warn!(%kind, %error, "watch interrupted");
                continue;
            }
        };
        if events.send(Event::Cluster(wrap(change))).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn key<K: Resource<DynamicType = ()>>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => object_key(&namespace, &object.name_any()),
        None => object.name_any(),
    }
}

fn read<K, S>(object: DeserializeGuard<K>, spec: fn(K) -> S) -> Option<(String, S)>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let name = key(&object);
    match object.0 {
        Ok(object) => Some((name, spec(object))),
        Err(invalid) => {
            tracing::error!(kind = %K::kind(&()), name, error = invalid.error, "object cannot be read, ignored");
            None
        }
    }
}

async fn own_config(
    client: Client,
    node: String,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let api: Api<DeserializeGuard<VppConfig>> = Api::all(client);
    let config = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let stream = watcher(api, config).default_backoff();
    let mut stream = std::pin::pin!(stream);
    let mut listed = None;
    while let Some(event) = stop.run_until_cancelled(stream.next()).await.flatten() {
        let config = match event {
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed = readable(object);
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.take(),
            Ok(watcher::Event::Apply(object)) => match readable(object) {
                Some(config) => Some(config),
                None => continue,
            },
            Ok(watcher::Event::Delete(_)) => None,
            Err(error) => {
                tracing::warn!(kind = "VppConfig", %error, "watch interrupted");
                continue;
            }
        };
        if events.send(Event::Config(config)).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn readable(object: DeserializeGuard<VppConfig>) -> Option<Box<VppConfig>> {
    match object.0 {
        Ok(config) => Some(Box::new(config)),
        Err(invalid) => {
            tracing::error!(
                error = invalid.error,
                "this node's VppConfig cannot be read, ignored"
            );
            None
        }
    }
}
