//! Services and their EndpointSlices, which the harness keeps as the EndpointSlice controller would.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::node_name;
use crate::pod::Pod;
use crate::probe::Probe;
use crate::wait::{eventually, expect};

/// How long a changed Service may take to be in all dataplanes.
const PATIENCE: Duration = Duration::from_secs(30);
const MANAGER: &str = "endpointslice-controller.k8s.io";
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Addresses that the API server gave a Service.
pub async fn cluster_ips(client: &Client, namespace: &str, name: &str) -> Result<Vec<IpAddr>> {
    let api: Api<Service> = Api::namespaced(client.clone(), namespace);
    let service = api.get(name).await?;
    let ips = service.spec.and_then(|spec| spec.cluster_ips).unwrap_or_default();
    ips.iter()
        .map(|ip| {
            ip.parse()
                .with_context(|| format!("address {ip} of Service {name}"))
        })
        .collect()
}

impl Cluster {
    /// IPv4 and IPv6 address of a node.
    pub fn node_addresses(&self, number: u8) -> Result<[IpAddr; 2]> {
        let addresses = self.node_ref(number)?.addresses();
        Ok([addresses.host4().into(), addresses.host6().into()])
    }

    /// Waits until TCP to each address of the Service `web` is answered by exactly these pods; by nobody if there are none.
    pub async fn wait_backends(&self, from: &str, pods: &[&str]) -> Result<()> {
        let wanted: BTreeSet<&str> = pods.iter().copied().collect();
        for vip in self.service_addresses("web").await? {
            let what = format!("{from}: {vip} leads to {pods:?}");
            eventually(&what, PATIENCE, async || {
                let answers = self.ask(from, &Probe::tcp(vip, 8000).times(60)).await?;
                let right = answers.servers() == wanted && (answers.all_answered() || wanted.is_empty());
                Ok(expect(right, || answers.to_string()))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until each question ends with this error.
    pub async fn wait_error(&self, from: &str, probe: Probe, error: &str) -> Result<()> {
        let what = format!("{from}: {probe:?} ends with {error}");
        eventually(&what, PATIENCE, async || {
            let probe = probe.clone().times(2).patience(Duration::from_millis(700));
            let answers = self.ask(from, &probe).await?;
            Ok(expect(answers.all(error), || answers.to_string()))
        })
        .await
    }
}

/// Makes the EndpointSlices of every Service with a selector what the pods say: one per Service and
/// family, ready endpoints ready, those of pods that are not ready there but not ready.
pub async fn sync<'a>(client: &Client, pods: impl Iterator<Item = &'a Pod> + Clone) -> Result<()> {
    let services = Api::<Service>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let mut wanted = BTreeMap::new();
    for service in &services {
        let namespace = service.namespace().unwrap_or_default();
        let Some(spec) = &service.spec else { continue };
        let Some(selector) = &spec.selector else { continue };
        let backends: Vec<&Pod> = pods
            .clone()
            .filter(|pod| {
                pod.namespace() == namespace
                    && selector
                        .iter()
                        .all(|(key, value)| pod.labels().get(key) == Some(value))
            })
            .filter(|pod| !pod.addresses().is_empty())
            .collect();
        for family in spec.ip_families.clone().unwrap_or_default() {
            let slice = slice(service, &family, &backends);
            let name = format!("{}-{}", service.name_any(), family.to_lowercase());
            wanted.insert((namespace.clone(), name), slice);
        }
    }
    let all: Api<EndpointSlice> = Api::all(client.clone());
    let owned = ListParams::default().labels(&format!("endpointslice.kubernetes.io/managed-by={MANAGER}"));
    for existing in all.list(&owned).await? {
        let key = (existing.namespace().unwrap_or_default(), existing.name_any());
        if !wanted.contains_key(&key) {
            Api::<EndpointSlice>::namespaced(client.clone(), &key.0)
                .delete(&key.1, &DeleteParams::default())
                .await?;
        }
    }
    for ((namespace, name), slice) in wanted {
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
        api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&slice))
            .await
            .with_context(|| format!("EndpointSlice {name}"))?;
    }
    Ok(())
}

fn slice(service: &Service, family: &str, backends: &[&Pod]) -> Value {
    let spec = service.spec.clone().unwrap_or_default();
    let of_family = |ip: &&IpAddr| ip.is_ipv4() == (family == "IPv4");
    let endpoints: Vec<Value> = backends
        .iter()
        .filter_map(|pod| {
            let address = pod.addresses().iter().find(of_family)?;
            Some(json!({
                "addresses": [address.to_string()],
                "conditions": {
                    "ready": pod.is_ready() && !pod.is_terminating(),
                    "serving": pod.is_ready(),
                    "terminating": pod.is_terminating(),
                },
                "nodeName": node_name(pod.node()),
                "targetRef": {"kind": "Pod", "namespace": pod.namespace(), "name": pod.name(), "uid": pod.uid()},
            }))
        })
        .collect();
    let ports: Vec<Value> = spec
        .ports
        .unwrap_or_default()
        .iter()
        .filter_map(|port| {
            let number = match &port.target_port {
                Some(IntOrString::Int(number)) => *number,
                Some(IntOrString::String(name)) => i32::from(backends.iter().find_map(|pod| pod.named_port(name))?),
                None => port.port,
            };
            let name = port.name.clone().unwrap_or_default();
            Some(json!({"name": name, "port": number, "protocol": port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())}))
        })
        .collect();
    let name = service.name_any();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{name}-{}", family.to_lowercase()),
            "namespace": service.namespace(),
            "labels": {SERVICE_LABEL: name, "endpointslice.kubernetes.io/managed-by": MANAGER},
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": name, "uid": service.uid(), "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    })
}
