//! Interfaces of pods: `eth0` with its neighbours and routes, and the further interfaces of functions.

use std::net::IpAddr;

use crds::cnf::InterfaceKind;
use crds::net::Cidr;
use vpp_api::types::MacAddress;

use super::node::add_interface;
use super::{Desired, Inputs, LocalPod};
use crate::addressing;
use crate::attachments::Attachment;
use crate::objects::{Area, Device, Key, Link, Object, Path};

pub(super) fn add(inputs: &Inputs<'_>, pods: &[LocalPod<'_>], out: &mut Desired) {
    for pod in pods {
        add_main(inputs, pod.attachment, out);
        // A pod attached to several networks has its further interfaces on the first attachment only.
        if pod.attachment.ifname != MAIN_INTERFACE {
            continue;
        }
        for (index, interface) in pod.binding.interfaces.iter().enumerate() {
            let hops =
                addressing::function_next_hops(&inputs.spec.node.pod_cidrs, &pod.attachment.addresses, index);
            if hops.is_empty() {
                out.pend(
                    Area::Chains,
                    format!(
                        "pod {}/{} has no address within the node's pod prefixes, so its interface {} has no next hop",
                        pod.attachment.namespace, pod.attachment.pod, interface.name
                    ),
                );
                continue;
            }
            add_function(
                inputs,
                pod.attachment,
                &interface.name,
                interface.kind,
                &hops,
                out,
            );
        }
    }
}

/// The interface that carries a pod's own traffic, and that chains' functions hang on.
pub(crate) const MAIN_INTERFACE: &str = "eth0";

fn add_main(inputs: &Inputs<'_>, attachment: &Attachment, out: &mut Desired) {
    let link = Link::Pod(attachment.id());
    let pod_mac = MacAddress(attachment.pod_mac());
    let device = device(
        attachment,
        &attachment.ifname,
        attachment.kind,
        MacAddress(attachment.vpp_mac()),
        pod_mac,
    );
    add_interface(link.clone(), device, inputs.local.pod_mtu(inputs.spec), out);
    out.put(Key::Unnumbered(link.clone()), Object::Unnumbered(Link::Gateway));
    for &address in &attachment.addresses {
        // Static, or the first packet to a fresh pod is lost to ARP.
        out.put(Key::Neighbour(link.clone(), address), Object::Neighbour(pod_mac));
        out.put(
            Key::Route(Cidr::host(address)),
            Object::Route(vec![Path::Via(link.clone(), address)]),
        );
    }
}

fn add_function(
    inputs: &Inputs<'_>,
    attachment: &Attachment,
    name: &str,
    kind: InterfaceKind,
    next_hops: &[IpAddr],
    out: &mut Desired,
) {
    let link = Link::Function(attachment.id(), name.to_owned());
    let pod_mac = MacAddress(attachment.function_pod_mac(name));
    let vpp_mac = MacAddress(attachment.function_vpp_mac(name));
    let device = device(attachment, name, kind, vpp_mac, pod_mac);
    add_interface(link.clone(), device, inputs.local.pod_mtu(inputs.spec), out);
    out.put(Key::Unnumbered(link.clone()), Object::Unnumbered(Link::Gateway));
    for &hop in next_hops {
        out.put(Key::Neighbour(link.clone(), hop), Object::Neighbour(pod_mac));
    }
}

fn device(
    attachment: &Attachment,
    name: &str,
    kind: InterfaceKind,
    mac: MacAddress,
    host_mac: MacAddress,
) -> Device {
    match kind {
        InterfaceKind::Tap => Device::Tap {
            host_if_name: name.to_owned(),
            netns: Some(attachment.netns.clone()),
            mac,
            host_mac,
        },
        InterfaceKind::Veth => Device::AfPacket {
            host_if_name: attachment.veth_name(name),
            mac,
        },
        InterfaceKind::Memif => Device::Memif {
            socket: addressing::memif_socket(&attachment.netns, name),
            mac,
        },
    }
}
