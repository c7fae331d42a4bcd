//! Filling engines: what each node's daemon wants is made in the embedded dataplane by the daemon's own code.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use compiler::facts::Pod;
use compiler::{Cluster, ObjectKey, Output};
use crds::cnf::InterfaceRole;
use ipnet::IpNet;
use node_daemon::apply::{State, apply};
use node_daemon::attachments::{Attachment, Attachments, State as Stage};
use node_daemon::cluster::Cluster as Shared;
use node_daemon::desired::{Inputs, KernelInterfaces, ListedPods, Local, Uplink, desired};
use node_daemon::host::host_side;
use node_daemon::objects::{Key, Link, Object};
use node_daemon::plan::plan;
use node_daemon::vpp::Vpp as Connection;
use vpp_api::types::MacAddress;
use vpp_sim::engine::{Config, Vpp};

use super::dataplane::{Error, Node, Plug, Port};
use super::invent;
use super::kernel::Kernel;

/// MTU of the underlay.
const MTU: u32 = 1500;

/// A node and its pods' interfaces.
type Filled = (Node, Vec<(ObjectKey, Port)>);

/// Fills nodes on all processors; they come in the order of their names.
///
/// # Errors
/// If something that was planned was refused.
pub fn all(
    names: &[String],
    cluster: &Cluster,
    output: &Output,
    shared: &Shared,
) -> Result<Vec<Filled>, Error> {
    let mut local: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in cluster.pods() {
        if let Some(node) = &pod.node {
            local.entry(node).or_default().push(pod);
        }
    }
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(names.len());
    let work = || {
        let mut filled = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(index) else {
                return filled;
            };
            let pods = local.get(name.as_str()).map_or(&[][..], Vec::as_slice);
            filled.push((index, fill(index, name, pods, output, shared)));
        }
    };
    let mut filled: Vec<(usize, Result<Filled, Error>)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .flatten()
            .collect()
    });
    filled.sort_by_key(|(index, _)| *index);
    filled.into_iter().map(|(_, node)| node).collect()
}

fn fill(index: usize, name: &str, pods: &[&Pod], output: &Output, shared: &Shared) -> Result<Filled, Error> {
    let failed = |message: String| Error {
        node: name.to_owned(),
        message,
    };
    let Some(config) = output.configs.get(name) else {
        return Err(failed("it has no configuration".to_owned()));
    };
    let spec = &config.spec;
    let attached: BTreeMap<ObjectKey, Attachment> = spec
        .pods
        .iter()
        .filter_map(|binding| {
            let pod = pods.iter().find(|pod| pod.uid == binding.uid)?;
            Some((pod.key(), attach(pod)))
        })
        .collect();
    let is_stray = |ip: &IpAddr| !spec.node.pod_cidrs.iter().any(|cidr| cidr.contains(*ip));
    let ips = attached.values().flat_map(|attachment| &attachment.addresses);
    let strays = ips.copied().filter(is_stray).collect();
    let attachments: Attachments = attached.values().cloned().collect();
    // The world is behind the node's kernel, as it is without `--uplink-gateway`; where the node has no address of a
    // family that its pods have, behind a router of VPP's uplink.
    let faces = [false, true].map(|ipv6| !spec.node.addresses.iter().any(|ip| ip.is_ipv6() == ipv6));
    let local = settings(name, u32::try_from(index).unwrap_or(u32::MAX), faces);
    let wanted = desired(&Inputs {
        spec,
        cluster: shared,
        attachments: &attachments,
        deferred: &BTreeSet::new(),
        local: &local,
        last_rules: &BTreeMap::new(),
    });
    let (engine, state) = apply_in_process(&wanted.objects).map_err(failed)?;
    let links = &state.handles.links;
    let link = |link: &Link| {
        let found = links.get(link).copied();
        found.ok_or_else(|| failed(format!("there is no interface {}", link.tag())))
    };
    let (uplink, host) = (link(&Link::Uplink)?, link(&Link::Host)?);
    let mut plugs = HashMap::from([(uplink, Plug::Underlay), (host, Plug::Host)]);
    let mut ports = Vec::new();
    for (key, attachment) in attached {
        let interface = link(&Link::Pod(attachment.id()))?;
        plugs.insert(interface, Plug::Pod(key.clone()));
        let port = Port {
            node: index,
            interface,
            pod_mac: MacAddress(attachment.pod_mac()),
            vpp_mac: MacAddress(attachment.vpp_mac()),
        };
        ports.push((key, port));
        let binding = spec.pods.iter().find(|binding| binding.uid == attachment.uid);
        let functions = binding.map_or(&[][..], |binding| &binding.interfaces);
        for function in functions {
            let beyond = functions.iter().find(|other| match function.role {
                InterfaceRole::In => other.role == InterfaceRole::Out,
                InterfaceRole::Out => other.role == InterfaceRole::In,
                InterfaceRole::InOut => other.role == InterfaceRole::InOut,
            });
            let at = |name: &str| {
                links
                    .get(&Link::Function(attachment.id(), name.to_owned()))
                    .copied()
            };
            if let Some(beyond) = beyond
                && let (Some(here), Some(there)) = (at(&function.name), at(&beyond.name))
            {
                let port = Port {
                    node: index,
                    interface: there,
                    pod_mac: MacAddress(attachment.function_pod_mac(&beyond.name)),
                    vpp_mac: MacAddress(attachment.function_vpp_mac(&beyond.name)),
                };
                plugs.insert(here, Plug::Function(port));
            }
        }
    }
    let services = wanted
        .objects
        .iter()
        .filter_map(|(key, object)| match (key, object) {
            (Key::Translation(vip), Object::Translation(to)) => Some((*vip, to.clone())),
            _ => None,
        });
    let Some(side) = host_side(spec, shared, &local, &wanted.host) else {
        return Err(failed("nothing is planned for its kernel".to_owned()));
    };
    let node = Node {
        kernel: Kernel::new(side, spec.node.addresses.clone(), strays),
        faces,
        name: name.to_owned(),
        engine,
        addresses: spec.node.addresses.clone(),
        uplink,
        host,
        plugs,
        services: services.collect(),
        origins: wanted.origins,
    };
    Ok((node, ports))
}

fn attach(pod: &Pod) -> Attachment {
    let of_family = |ipv6: bool| pod.ips.iter().copied().find(|ip| ip.is_ipv6() == ipv6);
    Attachment {
        container_id: pod.uid.to_string(),
        ifname: "eth0".to_owned(),
        // VPP takes 63 characters, and a pod of a file is told by its namespace and name.
        netns: format!("/run/netns/{}", crds::revision::short_hash(&pod.uid)),
        namespace: pod.namespace.to_string(),
        pod: pod.name.to_string(),
        uid: pod.uid.to_string(),
        kind: pod.interface,
        addresses: [false, true].into_iter().filter_map(of_family).collect(),
        host_ports: Vec::new(),
        state: Stage::Committed,
        result: None,
    }
}

fn settings(node: &str, number: u32, faces: [bool; 2]) -> Local {
    let addresses = invent::underlay(number).into_iter();
    Local {
        node: node.to_owned(),
        uplink: Some(Uplink {
            interface: "uplink".to_owned(),
            addresses: addresses
                .filter_map(|(ip, len)| IpNet::new(ip, len).ok())
                .collect(),
            gateways: invent::routers()
                .into_iter()
                .filter(|router| faces[usize::from(router.is_ipv6())])
                .collect(),
            mtu: MTU,
        }),
        host_interface: Some("contiv0".to_owned()),
        mtu: None,
        cnat: true,
        cnat_v1: false,
        abf: true,
        kernel_interfaces: KernelInterfaces::default(),
        acl_lists: ListedPods::default(),
    }
}

/// Lets the daemon's code make the objects in an embedded dataplane of this process, over its API as ever.
fn apply_in_process(objects: &node_daemon::plan::Objects) -> Result<(Vpp, State), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let directory = tempfile::tempdir().map_err(|e| text(&e))?;
    let socket = directory.path().join("api.sock");
    let server = vpp_sim::server::spawn(Config::default(), &socket).map_err(|e| text(&e))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let state = runtime.map_err(|e| text(&e))?.block_on(async {
        let client = vpp_api::Client::connect(&socket, "kubectl-vpp")
            .await
            .map_err(|e| text(&e))?;
        let connection = Connection::open(client).await.map_err(|e| text(&e))?;
        let mut state = State::default();
        let plan = plan(objects, &state.objects, &BTreeSet::new());
        let report = apply(&connection, &mut state, &plan).await;
        match (report.failed.first_key_value(), plan.pending.first_key_value()) {
            (Some((key, failure)), _) => Err(format!("{key}: {failure}")),
            (None, Some((key, lacks))) => Err(format!("{key} lacks {lacks}")),
            (None, None) => Ok(state),
        }
    })?;
    match server.fatal() {
        Some(reason) => Err(format!("VPP would have crashed: {reason}")),
        None => Ok((server.engine(), state)),
    }
}
